//! Parts of a dump: what of it is wanted, and what that will be.

use super::super::args::{PartArgs, RestoreArgs};
use super::super::exit::Exit;
use super::super::render;
use super::super::report::CliError;
use super::super::table::{Made, Table};
use super::Context;
use crate::base::pattern::PatternError;
use crate::content::pg::{DataKind, JobsPlan, Sections, Selection, TableData};
use crate::engine::report::RestorePlan;
use crate::engine::restore::Extract;
use crate::source::postgres::RestoreTarget;
use std::path::Path;

/// What is wanted; `None` when that is everything.
pub(super) fn selection(args: &PartArgs) -> Result<Option<Selection>, CliError> {
    fn parsed<T: std::str::FromStr<Err = PatternError>>(texts: &[String]) -> Result<Vec<T>, CliError> {
        let wrong = |error: PatternError| CliError::usage(error.to_string());
        texts.iter().map(|text| text.parse().map_err(wrong)).collect()
    }
    let selection = Selection {
        tables: parsed(&args.table)?,
        schemas: parsed(&args.schema)?,
        exclude_tables: parsed(&args.exclude_table)?,
        exclude_extensions: parsed(&args.exclude_extension)?,
        bare: args.bare,
        large_objects: args.large_objects,
        sections: match (args.schema_only, args.data_only) {
            (true, _) => Sections::SCHEMA_ONLY,
            (_, true) => Sections::DATA_ONLY,
            _ => Sections::ALL,
        },
    };
    let is_named = !selection.tables.is_empty() || !selection.schemas.is_empty();
    if (args.bare || args.large_objects) && !is_named {
        return Err(CliError::usage("--bare and --large-objects go with --table or --schema"));
    }
    Ok((selection != Selection::default()).then_some(selection))
}

/// Says what a restore would do.
pub(super) fn dry_run(
    context: &Context,
    args: &RestoreArgs,
    extract: Extract,
    target: Option<&RestoreTarget>,
) -> Result<Exit, CliError> {
    let workers = args.jobs.map(usize::from);
    let jobs = workers.and_then(|workers| extract.plan_jobs(workers));
    if context.json {
        let database = target.map(|target| target.database.as_str());
        context.report(RestorePlan::new(extract, database, jobs.as_ref())?);
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
            let rows = Made(|| picked.tables().map(row));
            context.table(&Table::new(&["TABLE", "ROWS", "SIZE"], &[1, 2], &rows));
        }
        for left_out in &picked.part.omitted {
            context.output(&format!("skipped {left_out}"));
        }
    }
    if let Some(jobs) = &jobs {
        tell_jobs(context, jobs);
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

fn tell_jobs(context: &Context, jobs: &JobsPlan) {
    context.output(&format!("first: definitions, {} entries", jobs.pre_data.entries.len()));
    for (at, part) in jobs.data.iter().enumerate() {
        let bytes = render::bytes(part.data_bytes);
        context.output(&format!("worker {}: {} entries, {bytes}", at + 1, part.entries.len()));
    }
    context.output(&format!(
        "then: indexes and keys; last: privileges, materialised views ({} entries)",
        jobs.last.entries.len()
    ));
}

fn row(table: TableData<'_>) -> Vec<String> {
    let name = match table.kind {
        DataKind::LargeObjects => "large objects".to_owned(),
        DataKind::Table if table.schema.is_empty() => table.name.to_owned(),
        DataKind::Table => format!("{}.{}", table.schema, table.name),
    };
    let rows = table.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
    vec![name, rows, render::bytes(table.data_bytes)]
}
