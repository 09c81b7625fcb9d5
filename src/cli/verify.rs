//! `dumpvault verify`, and what a restore tells of the rows that it counted.

use super::args::{ServerArgs, VerifyArgs};
use super::backup::{clients, connection, exec};
use super::report::{CliError, Exit};
use super::{Context, render, restore};
use crate::clock::Clock;
use crate::config;
use crate::crypto::CryptoError;
use crate::event::{Event, Observer};
use crate::ops::OpError;
use crate::ops::restore::{Chosen, Findings, Jobs, Verified};
use crate::ops::tables::table_map;
use crate::pgarchive::DumpForm;
use crate::repo::RepoError;
use crate::repo::format::mark::MarkKind;
use crate::snapshot::Stream;
use crate::source::postgres::{Connection, Failure, RestoreTarget};
use crate::source::process::Limits;
use serde_json::{Value, json};

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let timeout = args.timeout.as_deref().map(|text| config::duration(text, "--timeout")).transpose()?;
    let limits = Limits::new(context.cancel.clone()).with_timeout(timeout);
    let share = args.sample.as_deref().map_or(Ok(1.0), sample)?;
    let connection = match &args.server {
        Some(uri) => Connection::from_uri(uri).map_err(OpError::from)?,
        None => connection(None, &ServerArgs::default())?,
    };
    let chosen = restore::chosen(context, &args.snapshot)?;
    let streams: Vec<Stream> = match &args.stream {
        Some(name) => vec![chosen.stream(Some(name))?.clone()],
        None => chosen.body.streams.iter().filter(|stream| !is_cluster_script(stream)).cloned().collect(),
    };
    if let Some(name) = streams.iter().find(|stream| is_cluster_script(stream)).map(|stream| &stream.name) {
        return Err(CliError::usage(format!(
            "`{name}` makes roles and tablespaces of a whole server: it cannot be tried in a scratch database"
        )));
    }
    let mut exit = Exit::Good;
    let mut results = Vec::new();
    for (at, stream) in streams.iter().enumerate() {
        let target = RestoreTarget {
            create: true,
            no_owner: true,
            no_privileges: true,
            // A scratch copy needs no disk of its own.
            no_tablespaces: true,
            clients: clients(context, exec(context, &args.exec)),
            ..RestoreTarget::new(connection.clone(), scratch_name(&chosen, at), limits.clone())
        };
        let outcome = one(context, &chosen, stream, &target, share, usize::from(args.jobs));
        match &outcome {
            Ok(verified) => {
                if !verified.is_good() {
                    exit = Exit::Integrity;
                }
                if !context.json {
                    report(context, &chosen, stream, verified);
                }
            }
            // That it cannot be restored is the very thing that was to be found out.
            Err(error) if is_about_the_dump(error) => {
                exit = Exit::Integrity;
                context.warn(format!("`{}` cannot be restored: {error}", stream.name));
            }
            Err(_) => {}
        }
        let found = match outcome {
            Err(error) if !is_about_the_dump(&error) => return Err(error.into()),
            found => found,
        };
        results.push(result_json(stream, &found));
    }
    if exit == Exit::Good && share >= 1.0 && args.stream.is_none() && !results.is_empty() {
        remember(context, &chosen)?;
    }
    if context.json {
        let object = json!({
            "version": 1, "snapshot": chosen.summary.id.to_string(), "ok": exit == Exit::Good,
            "streams": results,
        });
        context.output(&object.to_string());
    }
    Ok(exit)
}

/// The snapshot bears from now on that it was restored and compared.
fn remember(context: &Context, chosen: &Chosen) -> Result<(), CliError> {
    let now_ms = context.clock.now().as_millisecond();
    let marked = chosen.repo().mark_snapshot(
        &chosen.summary.id,
        MarkKind::Verified,
        Some(None),
        &context.app.host(),
        now_ms,
    );
    match marked {
        Err(RepoError::Crypto(CryptoError::RoleTooWeak { .. })) => {
            context.warn("this key may not write into the repository: that the snapshot is verified is not remembered there".to_owned());
            Ok(())
        }
        other => Ok(other.map_err(OpError::from)?),
    }
}

fn sample(text: &str) -> Result<f64, CliError> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0).filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| CliError::usage(format!("--sample: `{text}` is no share: write 10%")))
}

/// Roles of a server are not for trying out beside those that are there.
fn is_cluster_script(stream: &Stream) -> bool {
    matches!(table_map(stream), Ok(Some(map)) if map.form == DumpForm::ClusterScript)
}

fn one(
    context: &Context,
    chosen: &Chosen,
    stream: &Stream,
    target: &RestoreTarget,
    share: f64,
    workers: usize,
) -> Result<Verified, OpError> {
    let scratch = context.app.environment.directory.join(std::env::temp_dir());
    let jobs = Jobs { workers, scratch: &scratch, observer: &context.progress, cancel: &context.cancel };
    chosen.verify(stream, target, share, &jobs)
}

/// A name that tells what the database is, should it ever be left behind, and that no other verification has.
fn scratch_name(chosen: &Chosen, at: usize) -> String {
    format!("dumpvault_verify_{}_{}_{at}", chosen.summary.id.short(), std::process::id())
}

fn is_about_the_dump(error: &OpError) -> bool {
    match error {
        error if error.is_cancelled() => false,
        // A full disk of the test server, say: nothing was found out.
        error if error.failure().is_some_and(Failure::is_of_the_server) => false,
        OpError::Source { .. } | OpError::Incomplete { .. } | OpError::Archive(_) => true,
        OpError::Aftermath { failure, .. } => is_about_the_dump(failure),
        _ => false,
    }
}

fn report(context: &Context, chosen: &Chosen, stream: &Stream, verified: &Verified) {
    let verdict = if verified.is_good() { "verified" } else { "NOT as it should be" };
    let keys = &verified.constraints;
    context.output(&format!(
        "{}: snapshot {}, `{}` {verdict}: restored, {} foreign keys, in {}",
        chosen.summary.head.series,
        chosen.summary.id.short(),
        stream.name,
        keys.foreign_keys,
        render::duration(verified.duration_ms)
    ));
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
        complain(context, &format!("{} indexes are not valid", keys.indexes_not_valid));
    }
    if keys.foreign_keys_not_valid > 0 {
        context.say(&format!(
            "{} foreign keys are NOT VALID, as they are in the dump",
            keys.foreign_keys_not_valid
        ));
    }
}

/// Tells what was counted; what is wrong even with `--quiet`.
pub(super) fn tell(context: &Context, findings: &Findings) {
    for table in findings.wrong() {
        complain(context, &table.to_string());
    }
    if let Some((expected, found)) = findings.large_objects.filter(|_| !findings.large_objects_are_right()) {
        complain(context, &format!("{found} large objects, and the dump has {expected}"));
    }
    let uncounted = findings.tables.iter().filter(|table| table.expected.is_none()).count();
    if uncounted > 0 {
        context.say(&format!(
            "{uncounted} tables could be read; how many rows the dump has of them is not known"
        ));
    }
    if findings.is_good() {
        let counted = findings.tables.len() - uncounted;
        context.say(&format!("{counted} tables with {} rows are as in the dump", findings.rows()));
    }
}

fn complain(context: &Context, what: &str) {
    context.progress.observe(Event::Warning { message: format!("not as in the dump: {what}") });
}

pub(super) fn findings_json(findings: &Findings) -> Value {
    let tables: Vec<Value> = findings
        .tables
        .iter()
        .map(|table| {
            json!({
                "schema": table.schema, "name": table.name, "rows_expected": table.expected,
                "at_least": table.at_least, "rows": table.found.as_ref().ok(),
                "error": table.found.as_ref().err(), "ok": table.is_right(),
            })
        })
        .collect();
    let objects =
        findings.large_objects.map(|(expected, found)| json!({"expected": expected, "found": found}));
    json!({"tables": tables, "large_objects": objects})
}

fn result_json(stream: &Stream, outcome: &Result<Verified, OpError>) -> Value {
    match outcome {
        Ok(verified) => {
            let keys = &verified.constraints;
            json!({
                "stream": stream.name, "ok": verified.is_good(), "database": verified.database,
                "duration_ms": verified.duration_ms,
                "verification": verified.findings.as_ref().map(findings_json),
                "foreign_keys": keys.foreign_keys, "foreign_keys_expected": verified.foreign_keys_expected,
                "foreign_keys_not_valid": keys.foreign_keys_not_valid,
                "indexes_not_valid": keys.indexes_not_valid,
            })
        }
        Err(error) => {
            json!({"stream": stream.name, "ok": false, "error": error.to_string(), "hint": error.hint()})
        }
    }
}
