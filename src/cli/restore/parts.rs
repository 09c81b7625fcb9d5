//! Parts of a dump: what of it is wanted, and what that will be.

use super::super::args::{PartArgs, RestoreArgs};
use super::super::exit::Exit;
use super::super::render;
use super::super::report::CliError;
use super::super::table::{Made, Table};
use super::Context;
use crate::engine::report::{PickedTable, RestorePlan};
use crate::engine::restore::{Extract, PartsJob, Shares};
use crate::source::postgres::RestoreTarget;
use std::path::Path;

/// What is asked for.
pub(super) fn job(args: &PartArgs) -> Result<PartsJob, CliError> {
    let is_named = !args.table.is_empty() || !args.schema.is_empty();
    if (args.bare || args.large_objects) && !is_named {
        return Err(CliError::usage("--bare and --large-objects go with --table or --schema"));
    }
    Ok(PartsJob {
        tables: args.table.clone(),
        schemas: args.schema.clone(),
        exclude_tables: args.exclude_table.clone(),
        exclude_extensions: args.exclude_extension.clone(),
        bare: args.bare,
        large_objects: args.large_objects,
        schema_only: args.schema_only,
        data_only: args.data_only,
    })
}

/// Says what a restore would do.
pub(super) fn dry_run(
    context: &Context,
    args: &RestoreArgs,
    extract: Extract,
    target: Option<&RestoreTarget>,
) -> Result<Exit, CliError> {
    let workers = args.jobs.map(usize::from);
    let shares = workers.and_then(|workers| extract.shares(workers));
    if context.json {
        let database = target.map(|target| target.database.as_str());
        context.report(RestorePlan::new(extract, database, shares.as_ref())?);
        return Ok(Exit::Good);
    }
    let bytes = extract.bytes()?;
    let Extract { chosen, stream, picked, .. } = &extract;
    let zone = context.app.settings.calendar.zone.clone();
    let into = match target {
        Some(target) => into_database(target),
        None => output(args),
    };
    context.output(&format!(
        "would restore {} of `{}` of {} (snapshot {}) into {into}",
        render::bytes(bytes),
        stream.name,
        render::time(chosen.summary.head.time_ms, &zone),
        chosen.summary.id.short(),
    ));
    if let Some(picked) = picked {
        for (kind, count) in picked.kinds() {
            context.output(&format!("{count:>6} {kind}"));
        }
        if picked.tables().len() > 0 {
            let rows = Made(|| picked.tables().map(|table| row(&table.into())));
            context.table(&Table::new(&["TABLE", "ROWS", "SIZE"], &[1, 2], &rows));
        }
        for left_out in &picked.part.omitted {
            context.output(&format!("skipped {left_out}"));
        }
    }
    if let Some(shares) = &shares {
        tell_shares(context, shares);
    }
    Ok(Exit::Good)
}

/// Where it goes that is not a database.
fn output(args: &RestoreArgs) -> String {
    match (&args.output, args.program.first()) {
        (_, Some(program)) => format!("the program `{}`", program.to_string_lossy()),
        (Some(path), None) if path != Path::new("-") => format!("the file `{}`", path.display()),
        _ => "standard output".to_owned(),
    }
}

/// The database, and the server as it says itself who it is. A plan can be had without a server, and then names what
/// was given.
fn into_database(target: &RestoreTarget) -> String {
    let database = &target.database;
    match target.inspect() {
        Ok(state) => {
            let tables = match state.exists {
                true => format!(", {}", render::count(state.tables, "table")),
                false => String::new(),
            };
            format!(
                "database `{database}` on {} (PostgreSQL {}{tables})",
                state.server.place(),
                state.server.version
            )
        }
        Err(_) => format!("database `{database}` on {} (not reached)", target.connection.display()),
    }
}

fn tell_shares(context: &Context, shares: &Shares) {
    context.output(&format!("first: definitions, {} entries", shares.first));
    for (at, (entries, bytes)) in shares.workers.iter().enumerate() {
        context.output(&format!("worker {}: {entries} entries, {}", at + 1, render::bytes(*bytes)));
    }
    context.output(&format!(
        "then: indexes and keys; last: privileges, materialised views ({} entries)",
        shares.last
    ));
}

fn row(table: &PickedTable) -> Vec<String> {
    let rows = table.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
    vec![table.shown(), rows, render::bytes(table.bytes)]
}
