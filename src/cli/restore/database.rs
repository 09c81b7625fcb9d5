//! Restoring into a database: what has to hold before it is touched, and what is done around it.

use super::fill::fill;
use super::hooks::Hooks;
use super::made::{self, Making};
use super::parts::Picked;
use super::{Work, advice, done, swap};
use crate::cli::args::{PartArgs, RestoreArgs};
use crate::cli::exit::Exit;
use crate::cli::leftovers::{self, Consent};
use crate::cli::report::CliError;
use crate::cli::servers::{clients, connection};
use crate::cli::{Context, doubts, prompt, render};
use crate::content::pg::DataKind;
use crate::engine::OpError;
use crate::engine::restore::{Chosen, Expected};
use crate::engine::tables::table_map;
use crate::source::postgres::{
    BrokenKey, Connection, Difference, Leftover, PostgresError, RestoreTarget, TargetState, Triggers,
    name_beside,
};
use crate::source::process::Limits;
use crate::vault::snapshot::Stream;

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
    Ok(RestoreTarget {
        create: args.create,
        clean: args.clean,
        // A part of a dump may stand beside what is there; data goes into tables that are.
        add: !args.parts.table.is_empty() || !args.parts.schema.is_empty() || args.parts.data_only,
        no_owner: args.no_owner,
        no_privileges: args.no_privileges,
        no_tablespaces: args.no_tablespaces,
        terminate: args.terminate_connections,
        psql_commands: args.allow_psql_commands,
        clients: clients(context, &args.server.exec),
        maker: Some(context.app.maker(&context.clock)),
        ..RestoreTarget::new(connection, database, limits.clone())
    })
}

/// Restores into the database, after every question is answered.
pub(super) fn run(work: &Work<'_>, args: &RestoreArgs, target: RestoreTarget) -> Result<Exit, CliError> {
    restore(work, args, target).map_err(|error| advice::hinted(error, args))
}

fn restore(work: &Work<'_>, args: &RestoreArgs, target: RestoreTarget) -> Result<Exit, CliError> {
    let context = work.context;
    doubts::settle(context, work.chosen, work.stream, args.accept_change)?;
    if work.picked.is_none() {
        work.chosen.admit(work.stream, &target, &context.progress, &context.cancel)?;
    }
    let mut state = target.inspect().map_err(OpError::from)?;
    refuse_other_host(args, &state)?;
    let concerns = |leftover: &Leftover| {
        let name = &leftover.database;
        !leftover.is_whole || name.starts_with(&name_beside(&target.database, "_new_"))
    };
    leftovers::offer(context, &target, Consent::new(args.drop_leftovers, args.yes), concerns)?;
    if state.exists {
        // It may have been one of them.
        state = target.inspect().map_err(OpError::from)?;
    }
    refuse_protected(context, &target, &state)?;
    let hooks = Hooks::new(args, &context.app.settings.restore);
    let swaps = args.swap && state.exists;
    // What a hook stops is still there.
    if swaps && !hooks.has_before() {
        swap::look(context, args, &target)?;
    }
    if state.exists && !args.swap {
        tell_differences(work, &target)?;
    }
    let loaded = loaded_tables(work, args);
    let triggers = target_triggers(&target, &state, &loaded)?;
    let disable_triggers = target.disable_triggers || turns_off(&triggers);
    let target = RestoreTarget { disable_triggers, ..target };
    if !agree(work, args, &target, &state, &triggers)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let Making { picked, workers, is_beside } = made::plan(work, args, &target, &state);
    let work = &Work { picked: picked.as_ref().or(work.picked), ..*work };
    // Also asked for before anything is touched.
    let expected = expected(work, args)?;
    hooks.before(work, &target.database)?;
    let database = target.database.clone();
    let outcome = match args.swap {
        true => swap_it(work, args, target, (workers, expected), hooks.has_before()),
        false if is_beside => made::run(work, &target, workers, expected),
        false => {
            fill(work, workers, &target, expected).map_err(CliError::from).and_then(|(stats, findings)| {
                let exit = done(work, &format!("database `{database}`"), stats, findings.as_ref());
                let keys_hold = !target.disable_triggers || keys_hold(context, &target, &loaded)?;
                Ok(if keys_hold { exit } else { Exit::Integrity })
            })
        }
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

/// A database that is there keeps its encoding and locale, whatever the dump says of its own.
fn tell_differences(work: &Work<'_>, target: &RestoreTarget) -> Result<(), CliError> {
    let Work { context, chosen, stream, picked, .. } = work;
    let plan = match picked {
        Some(Picked { archive, .. }) => archive.database_plan(false)?,
        None => chosen.database_plan(stream, &context.progress, &context.cancel)?,
    };
    let Some(plan) = plan else { return Ok(()) };
    let differences = target.differences(&plan).map_err(OpError::from)?;
    if !differences.is_empty() {
        let all: Vec<String> = differences.iter().map(Difference::to_string).collect();
        context.warn(format!(
            "database `{}` differs from the dumped one: {}. To keep the dump's, restore into a new database with --create",
            target.database,
            all.join("; ")
        ));
    }
    Ok(())
}

/// Tables that are there and get rows.
fn loaded_tables(work: &Work<'_>, args: &RestoreArgs) -> Vec<(String, String)> {
    let tables =
        work.picked.iter().filter(|_| args.parts.data_only).flat_map(|picked| picked.part.tables.iter());
    let tables = tables.filter(|table| table.kind == DataKind::Table);
    tables.map(|table| (table.schema.to_owned(), table.name.to_owned())).collect()
}

fn target_triggers(
    target: &RestoreTarget,
    state: &TargetState,
    tables: &[(String, String)],
) -> Result<Triggers, CliError> {
    match state.exists && !tables.is_empty() {
        true => Ok(target.triggers(tables).map_err(OpError::from)?),
        false => Ok(Triggers::default()),
    }
}

/// Where no trigger would fire, foreign keys stay on, too.
fn turns_off(triggers: &Triggers) -> bool {
    triggers.can_be_off && !triggers.firing.is_empty()
}

/// Says what rows the foreign keys forbid that were loaded while their triggers were off.
fn keys_hold(
    context: &Context,
    target: &RestoreTarget,
    tables: &[(String, String)],
) -> Result<bool, CliError> {
    let broken = target.broken_keys(tables).map_err(OpError::from)?;
    for BrokenKey { table, name, rows } in &broken {
        context.warn(match rows {
            Some(rows) => format!(
                "foreign key {name} does not hold: {} of {table} without the row that is referenced",
                render::count(*rows, "row")
            ),
            None => format!("foreign key {name} of {table} could not be checked"),
        });
    }
    Ok(broken.iter().all(|key| key.rows.is_none()))
}

fn swap_it(
    work: &Work<'_>,
    args: &RestoreArgs,
    target: RestoreTarget,
    filling: (Option<usize>, Option<Expected>),
    after_hook: bool,
) -> Result<Exit, CliError> {
    if after_hook {
        swap::look(work.context, args, &target)?;
    }
    swap::run(work, args, target, filling)
}

/// Refuses another host than the one that was to be expected, where one was.
pub(super) fn check_host(args: &RestoreArgs, target: &RestoreTarget) -> Result<(), CliError> {
    match args.expect_host {
        Some(_) => refuse_other_host(args, &target.inspect().map_err(OpError::from)?),
        None => Ok(()),
    }
}

/// The server itself says which host it is, whatever named it.
fn refuse_other_host(args: &RestoreArgs, state: &TargetState) -> Result<(), CliError> {
    let Some(expected) = &args.expect_host else { return Ok(()) };
    let host = state.server.host_name();
    if host == expected || state.server.address.as_ref() == Some(expected) {
        return Ok(());
    }
    Err(CliError::Refused {
        message: format!("refused: the target host is `{host}`, not `{expected}` (--expect-host)"),
        hint: Some("check --to-database, --pg-host, PGHOST and the service file".to_owned()),
    })
}

/// `protect` in the configuration: these databases are not touched while they hold something.
fn refuse_protected(context: &Context, target: &RestoreTarget, state: &TargetState) -> Result<(), CliError> {
    for pattern in &context.app.settings.protect {
        if pattern.matches(&target.database) && !state.is_empty() {
            return Err(CliError::Refused {
                message: format!(
                    "refused: `{}` on {} is not empty ({}) and is protected by `protect = [\"{pattern}\"]`",
                    target.database,
                    state.server.place(),
                    render::count(state.tables, "table")
                ),
                hint: Some("restore under another name, or edit `protect`".to_owned()),
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
    triggers: &Triggers,
) -> Result<bool, CliError> {
    if args.swap && !state.exists {
        let refused =
            PostgresError::NoDatabase { database: target.database.clone(), target: state.server.place() };
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
    let database = &target.database;
    let firing = triggers.firing.join(", ");
    let about_triggers = match turns_off(triggers) {
        _ if firing.is_empty() => String::new(),
        true => format!(" Triggers are off meanwhile: {firing}; foreign keys are checked afterwards."),
        false => format!(" Triggers will fire, and may change other tables: {firing}."),
    };
    if !turns_off(triggers) && !firing.is_empty() && args.yes {
        context.warn(format!("triggers fire for the restored rows, and may change other tables: {firing}"));
    }
    let what = match (args.swap, args.clean, args.parts.data_only) {
        (true, _, _) => format!("`{database}` will be replaced and kept under another name."),
        (_, true, _) => "Existing objects of the same name will be replaced.".to_owned(),
        (_, false, true) => "Rows will be added to existing tables.".to_owned(),
        (_, false, false) => "The selected objects will be added.".to_owned(),
    };
    let end = if args.yes { '.' } else { '?' };
    let question = format!(
        "Restore {} into `{database}` on {} (PostgreSQL {}, {}){end} {what}{about_triggers}",
        summary(context, chosen, stream)?,
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
fn summary(context: &Context, chosen: &Chosen, stream: &Stream) -> Result<String, CliError> {
    let zone = context.app.settings.calendar.zone.clone();
    let summary = &chosen.summary;
    let mut about = vec![render::time(summary.head.time_ms, &zone), render::bytes(stream.bytes)];
    if let Ok(Some(map)) = table_map(stream) {
        about.push(format!("{} with data", render::count(map.tables.len() as u64, "table")));
        if !map.server_version.is_empty() {
            about.push(format!("PostgreSQL {}", map.server_version));
        }
    }
    Ok(format!("snapshot {} of `{}` ({})", summary.id.short(), summary.head.series, about.join(", ")))
}
