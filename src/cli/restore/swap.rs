//! `dumpvault swap`: what is asked before a live database is replaced.

use super::database::manners;
use crate::cli::args::SwapArgs;
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::servers::{exec, server};
use crate::cli::{Context, prompt, render};
use crate::engine::report::Swap;
use crate::engine::restore::{SwapJob, SwapPlan, plan_swap, run_swap};

/// `dumpvault swap`.
pub(in crate::cli) fn swap_databases(context: &Context, args: &SwapArgs) -> Result<Exit, CliError> {
    let job = SwapJob {
        new: args.new.clone(),
        live: args.live.clone(),
        server: server(args.uri.as_ref(), &args.server),
        exec: exec(&args.server.exec),
        manners: manners(args.terminate_connections, args.swap_timeout.as_deref())?,
    };
    let plan = plan_swap(job, &context.app, &context.run())?;
    if args.dry_run {
        let SwapPlan { kept, .. } = plan;
        if context.json {
            let (database, replaced) = (args.live.clone(), args.new.clone());
            context.report(Swap { dry_run: true, database, replaced, kept });
        } else {
            context.output(&format!(
                "`{}` would replace `{}`, which would be kept as `{kept}`",
                args.new, args.live
            ));
        }
        return Ok(Exit::Good);
    }
    if !prompt::agreed(context, &question(&plan), args.yes)? {
        return Err(CliError::Refused { message: "cancelled; nothing was changed".to_owned(), hint: None });
    }
    run_swap(&plan)?;
    let SwapPlan { kept, .. } = plan;
    if context.json {
        context.report(Swap {
            dry_run: false,
            database: args.live.clone(),
            replaced: args.new.clone(),
            kept,
        });
    } else {
        context.say(&format!("`{}` replaced `{}`; the old database is now `{kept}`", args.new, args.live));
    }
    Ok(Exit::Good)
}

fn question(plan: &SwapPlan) -> String {
    let SwapPlan { new_state, live_state, kept, job, .. } = plan;
    format!(
        "Replace `{}` ({}) with `{}` ({}) on {}? `{}` will be kept as `{kept}`.",
        job.live,
        render::count(live_state.tables, "table"),
        job.new,
        render::count(new_state.tables, "table"),
        live_state.server.place(),
        job.live
    )
}
