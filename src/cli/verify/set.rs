//! `dumpvault verify SYSTEM`: what is asked and told while every source of a run is tried out.

use super::{hinted, job, settle, tell_tried};
use crate::base::fault::Class;
use crate::cli::args::VerifyArgs;
use crate::cli::exit::Exit;
use crate::cli::report::{CliError, shown};
use crate::cli::{Context, render};
use crate::engine::plan::{VerifyPlan, VerifySetJob, plan_verify_set};
use crate::engine::report::VerifySet;
use crate::engine::restore::{Chosen, Tried, VerifyAsker, run_verify_set};
use crate::vault::snapshot::Stream;

pub(super) fn run(context: &Context, args: &VerifyArgs, set: &str) -> Result<Exit, CliError> {
    let name = context.name(set)?;
    if name.stream.is_some() {
        return Err(CliError::usage("--set verifies whole snapshots; name a stream without --set"));
    }
    let job = VerifySetJob { name, each: job(args, None)? };
    let run = context.run();
    let plan = plan_verify_set(&job, &context.repository()?, &context.app, &run)?;
    let (seen, all) = (plan.set.clone(), plan.members.len());
    let report = run_verify_set(plan, &context.app, &run, &mut Told { context, args });
    let good = report.members.iter().filter(|member| member.class.is_none()).count();
    let short = seen.set.to_string();
    let all = render::count(all, "source");
    context.say(&format!("run {}: {good} of {all} good", short.get(..8).unwrap_or_default()));
    if context.json {
        context.report(VerifySet::new(&seen, &report, &shown));
    }
    Ok(report.class().map_or(Exit::Good, Exit::from))
}

/// What is asked and told meanwhile.
struct Told<'a> {
    context: &'a Context,
    args: &'a VerifyArgs,
}

impl VerifyAsker<CliError> for Told<'_> {
    fn settle(&mut self, plan: &VerifyPlan) -> Result<(), CliError> {
        settle(self.context, self.args, plan)
    }

    fn tried(&mut self, chosen: &Chosen, stream: &Stream, tried: &Tried) {
        tell_tried(self.context, chosen, stream, tried);
    }

    fn read(&mut self, source: &str, stream: &Stream) {
        let bytes = render::bytes(stream.bytes);
        self.context.say(&format!("{source}: `{}` read: {bytes}, as it was stored", stream.name));
    }

    fn failed(&mut self, error: CliError) -> Class {
        self.context.fail(&hinted(error), false).class().unwrap_or(Class::NothingDone)
    }
}
