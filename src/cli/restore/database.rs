//! Restoring into a database: what has to hold before it is touched, and what is done around it.

use super::hooks::Hooks;
use super::parts::Picked;
use super::{Work, done};
use crate::cli::args::{PartArgs, RestoreArgs};
use crate::cli::backup::{clients, connection, exec};
use crate::cli::report::{CliError, Exit};
use crate::cli::{Context, prompt, render};
use crate::ops::OpError;
use crate::ops::restore::{Chosen, Expected, Findings, Jobs, Target};
use crate::ops::tables::table_map;
use crate::pattern::NamePattern;
use crate::repo::reader::ReadStats;
use crate::snapshot::Stream;
use crate::source::postgres::{Connection, PostgresError, RestoreTarget, TargetState, name_beside};
use crate::source::process::Limits;

/// The database that the options name.
pub(super) fn target(
    context: &Context,
    args: &RestoreArgs,
    name: &str,
    limits: &Limits,
) -> Result<RestoreTarget, CliError> {
    let (connection, database) = if name.starts_with("postgres://") || name.starts_with("postgresql://") {
        let connection = Connection::from_uri(name).map_err(OpError::from)?;
        let database = connection.database().map(str::to_owned);
        let database =
            database.ok_or_else(|| CliError::usage("the address of --to-database names no database"))?;
        (connection, database)
    } else {
        (connection(None, &args.server)?, name.to_owned())
    };
    if let Some(expected) = &args.expect_host {
        let environment = || context.app.environment.text("PGHOST").filter(|host| !host.starts_with('/'));
        let host = connection.host().or_else(environment).unwrap_or_else(|| "localhost".to_owned());
        if host != *expected {
            return Err(CliError::Usage {
                message: format!(
                    "the restore would go to host `{host}`, and --expect-host says `{expected}`"
                ),
                hint: Some("check --to-database, --pg-host and PGHOST".to_owned()),
            });
        }
    }
    Ok(RestoreTarget {
        create: args.create,
        clean: args.clean,
        // A part of a dump may stand beside what is there; data goes into tables that are.
        add: !args.parts.table.is_empty() || !args.parts.schema.is_empty() || args.parts.data_only,
        no_owner: args.no_owner,
        no_privileges: args.no_privileges,
        no_tablespaces: args.no_tablespaces,
        terminate: args.terminate_connections,
        clients: clients(context, exec(context, &args.server.exec)),
        ..RestoreTarget::new(connection, database, limits.clone())
    })
}

/// Restores into the database, after every question is answered.
pub(super) fn run(work: &Work<'_>, args: &RestoreArgs, target: RestoreTarget) -> Result<Exit, CliError> {
    let context = work.context;
    let state = target.inspect().map_err(OpError::from)?;
    refuse_protected(context, &target, &state)?;
    if !agree(work, args, &target, &state)? {
        return Err(CliError::Failed { message: "nothing was restored: not confirmed".to_owned() });
    }
    // Also asked for before anything is touched.
    let expected = expected(work, args)?;
    let hooks = Hooks::new(args, &context.app.config.restore);
    hooks.before(work, &target.database)?;
    let database = target.database.clone();
    let outcome = match args.swap {
        true => swap(work, args, target, expected),
        false => fill(work, args, &target, expected)
            .map(|(stats, findings)| done(work, &format!("database `{database}`"), stats, findings.as_ref())),
    };
    let is_good = matches!(outcome, Ok(Exit::Good));
    match (outcome, hooks.after(is_good, work, &database)) {
        // What went wrong first is what to tell.
        (Err(error), Err(after)) => {
            context.warn(after.to_string());
            Err(error)
        }
        (Ok(_), Err(error)) => Err(error),
        (outcome, Ok(())) => outcome,
    }
}

/// Restores, and counts what came.
fn fill(
    work: &Work<'_>,
    args: &RestoreArgs,
    target: &RestoreTarget,
    expected: Option<Expected>,
) -> Result<(ReadStats, Option<Findings>), CliError> {
    let Work { context, chosen, stream, picked, .. } = work;
    let stats = match (args.jobs, picked) {
        (Some(jobs), Some(Picked { archive, part })) => {
            let scratch = context.app.environment.directory.join(std::env::temp_dir());
            let Context { progress, cancel, .. } = context;
            let workers = usize::from(jobs);
            let jobs = Jobs { workers, scratch: &scratch, observer: progress, cancel };
            chosen.restore_jobs(stream, archive, &part.entries, target, &jobs)?
        }
        _ => work.send(Target::Database(Box::new(target.clone())))?,
    };
    let connections = args.jobs.map_or_else(|| context.cores(), usize::from);
    let findings = expected.map(|expected| expected.compare(target, connections)).transpose()?;
    Ok((stats, findings))
}

/// Restores beside the database, and renames both once the new one is whole.
fn swap(
    work: &Work<'_>,
    args: &RestoreArgs,
    live: RestoreTarget,
    expected: Option<Expected>,
) -> Result<Exit, CliError> {
    let context = work.context;
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d_%H%M%S").to_string();
    let kept = name_beside(&live.database, &format!("_before_{stamp}"));
    let fresh = RestoreTarget {
        database: name_beside(&live.database, &format!("_new_{stamp}")),
        create: true,
        clean: false,
        terminate: false,
        like: Some(live.database.clone()),
        ..live.clone()
    };
    let (stats, findings) = fill(work, args, &fresh, expected)?;
    if findings.as_ref().is_some_and(|findings| !findings.is_good()) {
        let exit = done(work, &format!("database `{}`", fresh.database), stats, findings.as_ref());
        fresh.drop_database().map_err(OpError::from)?;
        context.warn(format!(
            "the rows differ from the dump's: `{}` is as it was, and the new database was dropped",
            live.database
        ));
        return Ok(exit);
    }
    if let Err(error) = fresh.take_place_of(&live.database, &kept, args.terminate_connections) {
        context.warn(format!(
            "the dump is restored whole in database `{}`, which was not put in the place of `{}`",
            fresh.database, live.database
        ));
        return Err(OpError::from(error).into());
    }
    let into = format!("database `{}`, and the old one is now `{kept}`", live.database);
    Ok(done(work, &into, stats, findings.as_ref()))
}

/// `protect` in the configuration: these databases are not touched while they hold something.
fn refuse_protected(context: &Context, target: &RestoreTarget, state: &TargetState) -> Result<(), CliError> {
    for text in &context.app.config.protect {
        let pattern: NamePattern =
            text.parse().map_err(|error| CliError::usage(format!("protect: {error}")))?;
        if pattern.matches(&target.database) && !state.is_empty() {
            return Err(CliError::Usage {
                message: format!(
                    "database `{}` on {} holds {} tables and is protected (`protect = [\"{text}\"]`)",
                    target.database,
                    target.connection.display(),
                    state.tables
                ),
                hint: Some(
                    "restore into another database, or take the name out of `protect` in the configuration first"
                        .to_owned(),
                ),
            });
        }
    }
    Ok(())
}

/// What the database must hold afterwards. Rows that are added to tables in use prove little, and are only counted when asked for.
fn expected(work: &Work<'_>, args: &RestoreArgs) -> Result<Option<Expected>, CliError> {
    let Work { context, chosen, stream, picked, .. } = work;
    let PartArgs { schema_only, data_only, .. } = args.parts;
    if args.no_verify || schema_only || (data_only && !args.verify) {
        return Ok(None);
    }
    let expected = match picked {
        Some(Picked { archive, part }) => Some(archive.expected_of(part)?),
        None => chosen.expected(stream, &context.progress, &context.cancel)?,
    };
    if expected.is_none() && args.verify {
        context.warn("nothing is known of this dump's tables: their rows cannot be compared".to_owned());
    }
    Ok(expected.map(|expected| if data_only { expected.beside_others() } else { expected }))
}

/// Says what will be replaced by what, and asks. Only a database that holds something needs to be asked about.
fn agree(
    work: &Work<'_>,
    args: &RestoreArgs,
    target: &RestoreTarget,
    state: &TargetState,
) -> Result<bool, CliError> {
    if args.swap && !state.exists {
        let refused = PostgresError::NoDatabase {
            database: target.database.clone(),
            target: target.connection.display(),
        };
        return Err(OpError::from(refused).into());
    }
    if state.is_empty() {
        return Ok(true);
    }
    if !args.clean && !args.swap && !target.add {
        let refused = PostgresError::NotEmpty {
            database: target.database.clone(),
            tables: state.tables,
            other_objects: state.other_objects,
        };
        return Err(OpError::from(refused).into());
    }
    let Work { context, chosen, stream, .. } = work;
    let what = match (args.swap, args.clean, args.parts.data_only) {
        (true, _, _) => "It will be renamed, and its place taken by",
        (_, true, _) => "What the dump holds, too, will be replaced by that of",
        (_, false, true) => "Rows will be added to its tables from",
        (_, false, false) => "The part that was chosen will be added from",
    };
    let question = format!(
        "Database `{}` on {} (PostgreSQL {}) holds {} tables. {what} {}.",
        target.database,
        target.connection.display(),
        state.server.version,
        state.tables,
        summary(context, chosen, stream)?,
    );
    if args.yes {
        context.say(&question);
        return Ok(true);
    }
    let answer = prompt::confirm(&question, &context.cancel).ok_or_else(|| CliError::Usage {
        message: format!(
            "database `{}` holds {} tables, and there is nobody to ask",
            target.database, state.tables
        ),
        hint: Some("say --yes to do it unasked".to_owned()),
    })?;
    answer.map_err(|error| CliError::usage(error.to_string()))
}

/// A dump in a few words.
fn summary(context: &Context, chosen: &Chosen, stream: &Stream) -> Result<String, CliError> {
    let zone = context.app.config.calendar()?.zone;
    let when = render::time(chosen.summary.head.time_ms, &zone);
    let mut about = vec![render::bytes(stream.bytes)];
    if let Ok(Some(map)) = table_map(stream) {
        about.push(format!("{} tables with data", map.tables.len()));
        if !map.server_version.is_empty() {
            about.push(format!("PostgreSQL {}", map.server_version));
        }
    }
    Ok(format!("the dump of `{}` of {when} ({})", chosen.summary.head.series, about.join(", ")))
}
