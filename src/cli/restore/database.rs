//! Restoring into a database: what is asked before it is touched, and what is told meanwhile.

use super::{Work, done};
use crate::cli::args::RestoreArgs;
use crate::cli::exit::Exit;
use crate::cli::leftovers::{self, Consent};
use crate::cli::report::{CliError, shown};
use crate::cli::servers::{exec, server};
use crate::cli::{Context, doubts, prompt, render};
use crate::engine::OpError;
use crate::engine::restore::{
    Advice, Count, DatabaseJob, DatabasePlan, Effect, ExpectedHost, Extract, Filled, Manners, Restoring,
    Without, plan_database, run_database,
};
use crate::settings::{self, Hooks};
use std::fmt::Display;
use std::time::Instant;

/// The restore that the options ask for.
pub(super) fn job(args: &RestoreArgs, name: &str) -> Result<DatabaseJob, CliError> {
    let is_address = name.starts_with("postgres://") || name.starts_with("postgresql://");
    let (address, database) = match is_address {
        true => (Some(name.to_owned()), None),
        false => (None, Some(name.to_owned())),
    };
    Ok(DatabaseJob {
        database,
        exec: exec(&args.server.exec),
        create: args.create,
        clean: args.clean,
        swap: args.swap,
        manners: manners(args.terminate_connections, args.swap_timeout.as_deref())?,
        without: Without {
            owner: args.no_owner,
            privileges: args.no_privileges,
            tablespaces: args.no_tablespaces,
        },
        psql_commands: args.allow_psql_commands,
        expected_host: ExpectedHost(args.expect_host.clone()),
        hooks: Hooks {
            before: args.before.clone(),
            after: args.after.clone(),
            after_failure: args.after_failure.clone(),
        },
        workers: args.jobs.map(usize::from),
        count: match (args.no_verify, args.verify) {
            (true, _) => Count::Never,
            (false, true) => Count::Always,
            (false, false) => Count::Usual,
        },
        timeout: args.timeout.as_deref().map(|text| settings::duration(text, "--timeout")).transpose()?,
        ..DatabaseJob::new(server(address.as_ref(), &args.server))
    })
}

/// How connections of others are met.
pub(super) fn manners(terminate: bool, patience: Option<&str>) -> Result<Manners, CliError> {
    let patience = patience.map(|text| settings::duration(text, "--swap-timeout")).transpose()?;
    Ok(Manners { terminate, patience })
}

/// Restores into the database, after every question is answered.
pub(super) fn run(
    context: &Context,
    args: &RestoreArgs,
    job: DatabaseJob,
    extract: Extract,
    began: Instant,
) -> Result<Exit, CliError> {
    let advice = Advice::of(&job, &extract);
    restore(context, args, job, extract, began).map_err(|error| hinted(error, &advice))
}

fn restore(
    context: &Context,
    args: &RestoreArgs,
    job: DatabaseJob,
    extract: Extract,
    began: Instant,
) -> Result<Exit, CliError> {
    let run = context.run();
    doubts::settle(context, &extract.chosen, &extract.stream, args.accept_change)?;
    let mut plan = plan_database(job, extract, &context.app, &run)?;
    let consent = Consent::new(args.drop_leftovers, args.yes);
    if leftovers::offer(context, consent, plan.left_behind())? {
        // It may have been this very database.
        plan = plan.again(&context.app, &run)?;
    }
    if let Some(refusal) = plan.refusal.take() {
        return Err(refusal.into());
    }
    tell(context, &plan);
    if !agree(context, args, &plan)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let database = plan.target.database.clone();
    let report = run_database(plan, &context.app, &run, &mut |event| match event {
        Restoring::WaitsFor(in_the_way) => waits_for(context, &database, in_the_way),
        Restoring::Filled(extract, filled) => filled_with(&Work { context, extract, began }, filled),
    });
    let class = report.class();
    match report.failure {
        Some(error) => Err(error.into()),
        None => Ok(class.map_or(Exit::Good, Exit::from)),
    }
}

/// The error with the hint that fits the options.
fn hinted(error: CliError, advice: &Advice) -> CliError {
    let hint = match &error {
        // Settings as options.
        CliError::Op(OpError::Hook { when, command, source }) if !error.is_cancelled() => {
            let option = when.word().replace('_', "-");
            return CliError::Told {
                message: format!("--{option} `{command}`: {source}"),
                hint: error.hint(),
                code: error.code(),
                kind: None,
                exit: error.exit(),
            };
        }
        CliError::Op(operation) => advice.next(operation).map(shown),
        _ => return error,
    };
    CliError::Hinted { error: Box::new(error), hint }
}

fn waits_for(context: &Context, database: &str, in_the_way: &dyn Display) {
    context.say(&format!("database `{database}` is in use: {in_the_way}; waiting for it at the end"));
}

fn filled_with(work: &Work<'_>, filled: &Filled) {
    let database = &filled.database;
    let into = match &filled.kept {
        None => format!("database `{database}`"),
        Some(kept) => format!("database `{database}`, and the old database is now `{kept}`"),
    };
    done(work, &into, filled.stats, filled.findings.as_ref());
}

/// What a person should know of the database before it is asked about.
fn tell(context: &Context, plan: &DatabasePlan) {
    let database = &plan.target.database;
    if let Some(in_the_way) = &plan.waits_for {
        waits_for(context, database, in_the_way);
    }
    if !plan.differences.is_empty() {
        context.warn(format!(
            "database `{database}` differs from the dumped one: {}. To keep the dump's, restore into a new database with --create",
            plan.differences.join("; ")
        ));
    }
    tell_encoding(context, plan);
}

/// Says that texts of a script will be converted.
fn tell_encoding(context: &Context, plan: &DatabasePlan) {
    let Some((is, was)) = plan.conversion() else { return };
    let database = &plan.target.database;
    let has = if plan.state.exists { "has" } else { "will have" };
    context.warn(format!(
        "database `{database}` {has} encoding {is}; the script is in {was}. To keep that, restore into a database \
         made by `createdb -T template0 -E {was} --locale=C NAME`"
    ));
}

/// Says what will be replaced by what, and asks. Only a database that holds something needs to be asked about.
fn agree(context: &Context, args: &RestoreArgs, plan: &DatabasePlan) -> Result<bool, CliError> {
    let DatabasePlan { target, state, .. } = plan;
    let database = &target.database;
    let firing = plan.triggers.firing.join(", ");
    let about_triggers = match plan.turns_triggers_off() {
        _ if firing.is_empty() => String::new(),
        true => format!(" Triggers are off meanwhile: {firing}; foreign keys are checked afterwards."),
        false => format!(" Triggers will fire, and may change other tables: {firing}."),
    };
    let what = match plan.effect {
        Effect::Nothing => return Ok(true),
        Effect::Swapped => format!("`{database}` will be replaced and kept under another name."),
        Effect::Cleaned => "Existing objects of the same name will be replaced.".to_owned(),
        Effect::RowsAdded => "Rows will be added to existing tables.".to_owned(),
        Effect::ObjectsAdded => "The selected objects will be added.".to_owned(),
    };
    if !plan.turns_triggers_off() && !firing.is_empty() && args.yes {
        context.warn(format!("triggers fire for the restored rows, and may change other tables: {firing}"));
    }
    let end = if args.yes { '.' } else { '?' };
    let question = format!(
        "Restore {} into `{database}` on {} (PostgreSQL {}, {}){end} {what}{about_triggers}",
        summary(context, &plan.extract),
        state.server.place(),
        state.server.version,
        render::count(state.tables, "table"),
    );
    if args.yes {
        context.say(&question);
        return Ok(true);
    }
    let answer = prompt::confirm(&question, &context.cancel).ok_or_else(|| CliError::Refused {
        message: format!(
            "`{database}` on {} is not empty ({}) and there is no terminal to confirm",
            state.server.place(),
            render::count(state.tables, "table")
        ),
        hint: Some("use --yes".to_owned()),
    })?;
    answer.map_err(|error| CliError::usage(error.to_string()))
}

/// A dump in a few words.
fn summary(context: &Context, extract: &Extract) -> String {
    let Extract { chosen, stream, .. } = extract;
    let zone = &context.app.settings.calendar.zone;
    let summary = &chosen.summary;
    let mut about = vec![render::time(summary.head.time_ms, zone), render::bytes(stream.bytes)];
    if let Some((tables, server_version)) = extract.known() {
        about.push(format!("{} with data", render::count(tables as u64, "table")));
        if !server_version.is_empty() {
            about.push(format!("PostgreSQL {server_version}"));
        }
    }
    format!("snapshot {} of `{}` ({})", summary.id.short(), summary.head.series, about.join(", "))
}
