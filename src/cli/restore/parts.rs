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
use crate::engine::restore::{Archive, Chosen, Part};
use crate::source::postgres::RestoreTarget;
use crate::vault::snapshot::Stream;
use std::collections::BTreeMap;

/// A part that was chosen, and the archive that it is of.
pub(super) struct Picked {
    pub archive: Archive,
    pub part: Part,
}

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

pub(super) fn pick(
    context: &Context,
    chosen: &Chosen,
    stream: &Stream,
    selection: Selection,
) -> Result<Picked, CliError> {
    let archive = chosen.archive(stream, &context.progress, &context.cancel)?;
    let part = archive.select(&selection)?;
    Ok(Picked { archive, part })
}

/// Says what a restore would do.
pub(super) fn dry_run(
    context: &Context,
    args: &RestoreArgs,
    chosen: &Chosen,
    stream: &Stream,
    picked: Option<&Picked>,
    target: Option<&RestoreTarget>,
) -> Result<Exit, CliError> {
    let jobs = match (picked, args.jobs) {
        (Some(Picked { archive, part }), Some(jobs)) => {
            Some(archive.plan_jobs(&part.entries, usize::from(jobs))?)
        }
        _ => None,
    };
    let bytes = match picked {
        Some(Picked { archive, part }) if part.entries.len() < archive.toc()?.entries().len() => {
            archive.synthesise(&part.entries)?.len()
        }
        _ => stream.bytes,
    };
    if context.json {
        let database = target.map(|target| target.database.as_str());
        let plan = RestorePlan::new(&chosen.summary.id, stream, database);
        let plan = match picked {
            Some(picked) => plan.of_part(&picked.part, bytes, kinds(picked)?),
            None => plan,
        };
        let worker_bytes = jobs.map(|jobs| jobs.data.iter().map(|part| part.data_bytes).collect());
        context.report(RestorePlan { worker_bytes, ..plan });
        return Ok(Exit::Good);
    }
    let zone = context.app.settings.calendar.zone.clone();
    let into = match target {
        Some(target) => into_database(target),
        None => "the output".to_owned(),
    };
    context.output(&format!(
        "would restore {} of `{}` of {} (snapshot {}) into {into}",
        render::bytes(bytes),
        stream.name,
        render::time(chosen.summary.head.time_ms, &zone),
        chosen.summary.id.short(),
    ));
    if let Some(picked) = picked {
        for (kind, count) in kinds(picked)? {
            context.output(&format!("{count:>6} {kind}"));
        }
        if !picked.part.tables.is_empty() {
            let rows = Made(|| picked.part.tables.iter().map(row));
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

/// The database, and the server as it says itself who it is. A plan can be had without a server, and then names what was given.
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

/// How many entries of each kind.
fn kinds(picked: &Picked) -> Result<BTreeMap<String, usize>, CliError> {
    let toc = picked.archive.toc()?;
    let mut kinds = BTreeMap::new();
    for entry in picked.part.entries.iter().filter_map(|index| toc.entries().get(*index)) {
        *kinds.entry(entry.kind().into_owned()).or_insert(0) += 1;
    }
    Ok(kinds)
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
