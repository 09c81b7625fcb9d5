//! `dumpvault verify`, and what a restore tells of the rows that it counted.

mod set;

use super::args::VerifyArgs;
use super::exit::Exit;
use super::leftovers::{self, Consent};
use super::report::{CliError, shown};
use super::servers::{exec, server};
use super::{Context, doubts, render, which};
use crate::base::event::{Event, Observer};
use crate::engine::OpError;
use crate::engine::plan::{VerifyJob, VerifyPlan, plan_verify};
use crate::engine::report::Verify;
use crate::engine::restore::{
    Chosen, Findings, Found, Loaded, ReadThrough, Tried, Verified, next_of_verify, run_verify,
};
use crate::settings;
use crate::vault::snapshot::Stream;

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    if let Some(set) = &args.set {
        return set::run(context, args, set);
    }
    let name = context.name(&args.snapshot)?;
    let settings = &context.app.settings;
    let has_series = settings.sources.values().any(|source| source.series == name.word);
    if settings.systems.contains_key(&name.word) && !has_series && name.stream.is_none() {
        return set::run(context, args, &args.snapshot);
    }
    let job = job(args, which::stream_of(&name, args.stream.as_deref())?)?;
    let chosen = which::chosen(context, &name, args.which.any_host)?;
    let run = context.run();
    let plan = plan_verify(job, chosen, &context.app, &run)?;
    settle(context, args, &plan)?;
    let each = &mut |stream: &Stream, tried: &Tried| tell_tried(context, &plan.chosen, stream, tried);
    let verified = run_verify(&plan, &[], &context.app, &run, each).map_err(|error| hinted(error.into()))?;
    if context.json {
        context.report(Verify::new(&plan.chosen.summary.id, &verified, &shown));
    }
    Ok(verified.class().map_or(Exit::Good, Exit::from))
}

/// What is asked for; told before a passphrase is asked for.
fn job(args: &VerifyArgs, stream: Option<String>) -> Result<VerifyJob, CliError> {
    let job = VerifyJob {
        stream,
        server: server(args.server.as_ref(), &args.parts),
        exec: exec(&args.parts.exec),
        share: args.sample.as_deref().map_or(Ok(1.0), |text| settings::part(text, "--sample"))?,
        workers: usize::from(args.jobs),
        timeout: args.timeout.as_deref().map(|text| settings::duration(text, "--timeout")).transpose()?,
        no_superuser: args.no_superuser,
        redis_server: args.redis_server.clone(),
        smoke: args.run.clone(),
    };
    // An address that is none is told at once.
    job.server.connection()?;
    Ok(job)
}

/// Everything that is asked before a snapshot is tried out.
fn settle(context: &Context, args: &VerifyArgs, plan: &VerifyPlan) -> Result<(), CliError> {
    for stream in &plan.streams {
        doubts::settle(context, &plan.chosen, stream, args.accept_change)?;
    }
    if plan.needs_server() {
        let consent = Consent::new(args.drop_leftovers, false);
        leftovers::offer(context, consent, plan.leftovers())?;
    }
    Ok(())
}

/// Tells what became of a stream.
fn tell_tried(context: &Context, chosen: &Chosen, stream: &Stream, tried: &Tried) {
    match &tried.result {
        Ok(Found::Restored(verified)) => report(context, chosen, stream, verified),
        Ok(Found::Loaded(found)) => loaded(context, chosen, stream, found),
        Ok(Found::Read(read)) => read_through(context, chosen, stream, read),
        Err(error) => {
            let hint = hint(error).map_or_else(String::new, |hint| format!(" ({hint})"));
            context.warn(format!("`{}` cannot be restored: {error}{hint}", stream.name));
        }
    }
}

/// The error with the hint that fits a verification.
fn hinted(error: CliError) -> CliError {
    let CliError::Op(operation) = &error else { return error };
    let hint = hint(operation);
    CliError::Hinted { error: Box::new(error), hint }
}

/// What to do about it.
fn hint(error: &OpError) -> Option<String> {
    next_of_verify(error).map(shown)
}

/// Tells of a file that a server loaded.
fn loaded(context: &Context, chosen: &Chosen, stream: &Stream, found: &Loaded) {
    let is_good = found.wrong.is_empty();
    let line = format!(
        "{}: snapshot {}, `{}` {}: {} loaded {} in {}",
        chosen.summary.head.series,
        chosen.summary.id.short(),
        stream.name,
        if is_good { "verified" } else { "FAILED verification" },
        found.server,
        render::count(found.keys as usize, "key"),
        render::duration(found.duration_ms)
    );
    match is_good {
        true => context.say(&line),
        false if context.json => {}
        false => context.output(&line),
    }
    for what in &found.wrong {
        complain(context, what);
    }
}

/// Tells of a stream that no database takes.
fn read_through(context: &Context, chosen: &Chosen, stream: &Stream, read: &ReadThrough) {
    context.say(&format!(
        "{}: snapshot {}, `{}` read: {} in {}{}",
        chosen.summary.head.series,
        chosen.summary.id.short(),
        stream.name,
        render::bytes(read.bytes),
        render::duration(read.duration_ms),
        if read.is_proven { ", whole; not restored" } else { "" }
    ));
    if !read.is_proven {
        context.warn(format!("`{}` is as it was stored; nothing tells whether it is whole", stream.name));
    }
}

/// Tells what was found: what is wrong always, what is well not with `--quiet`.
fn report(context: &Context, chosen: &Chosen, stream: &Stream, verified: &Verified) {
    let verdict = match (verified.is_good(), &verified.findings) {
        (false, _) => "FAILED verification",
        (true, Some(_)) => "verified",
        (true, None) => "not compared",
    };
    let keys = &verified.constraints;
    let line = format!(
        "{}: snapshot {}, `{}` {verdict}: restored, {}, in {}",
        chosen.summary.head.series,
        chosen.summary.id.short(),
        stream.name,
        render::count(keys.foreign_keys, "foreign key"),
        render::duration(verified.duration_ms)
    );
    match verified.is_good() {
        true => context.say(&line),
        false if context.json => {}
        false => context.output(&line),
    }
    for looked in &verified.looked {
        match &looked.problem {
            None => context.say(&format!("{}: good", looked.what)),
            Some(problem) => complain(context, &format!("{}: {problem}", looked.what)),
        }
    }
    if !verified.left_out.is_empty() {
        context.say(&format!("left out of the scratch database: {}", some_of(&verified.left_out)));
    }
    match &verified.findings {
        Some(findings) => tell(context, findings),
        None => context.warn("nothing is known of the dump's tables: rows were not compared".to_owned()),
    }
    if let Some(expected) = verified.foreign_keys_expected.filter(|expected| keys.foreign_keys < *expected) {
        complain(
            context,
            &format!("{expected} foreign keys are in the dump, {} were restored", keys.foreign_keys),
        );
    }
    if keys.indexes_not_valid > 0 {
        complain(context, &format!("{} not valid", render::count(keys.indexes_not_valid, "index")));
    }
    if keys.foreign_keys_not_valid > 0 {
        context.say(&format!(
            "{} NOT VALID, as in the dump",
            render::count(keys.foreign_keys_not_valid, "foreign key")
        ));
    }
}

/// The first few, and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Tells what was counted; what is wrong even with `--quiet`.
pub(super) fn tell(context: &Context, findings: &Findings) {
    for table in findings.wrong() {
        complain(context, &table.to_string());
    }
    if let Some((expected, found)) = findings.large_objects.filter(|_| !findings.large_objects_are_right()) {
        complain(context, &format!("{found} large objects restored, {expected} in the dump"));
    }
    let uncounted = findings.tables.iter().filter(|table| table.expected.is_none()).count();
    if uncounted > 0 {
        context.say(&format!(
            "{}: readable; the dump's row count is not known",
            render::count(uncounted as u64, "table")
        ));
    }
    // Of what was not compared nothing is claimed.
    for (at_least, verdict) in [(false, "all counts match"), (true, "at least the rows of the dump")] {
        let counted = || {
            let compared = findings.tables.iter().filter(|table| table.expected.is_some());
            compared.filter(|table| table.at_least == at_least)
        };
        let rows: u64 = counted().filter_map(|table| table.found.as_ref().ok()).sum();
        if findings.is_good() && counted().next().is_some() {
            let tables = render::count(counted().count() as u64, "table");
            context.say(&format!("{tables}, {}: {verdict}", render::count(rows, "row")));
        }
    }
}

fn complain(context: &Context, what: &str) {
    context.progress.observe(Event::Warning { message: what.to_owned() });
}
