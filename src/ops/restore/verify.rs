//! Proof of a backup: restored into a scratch database, counted, and dropped again.

use super::jobs::{Jobs, Parts};
use super::proof::Findings;
use super::{Archive, Chosen, Content, discard};
use crate::event::Event;
use crate::id::SnapshotId;
use crate::ops::OpError;
use crate::pgarchive::{DataKind, Entry, TableData};
use crate::snapshot::Stream;
use crate::source::postgres::{Constraints, DatabasePlan, DumpKind, Prepared, RestoreTarget};
use std::collections::HashSet;
use std::time::Instant;

/// What a verification found.
#[derive(Debug)]
pub struct Verified {
    /// The scratch database, which is gone again.
    pub database: String,
    /// Rows and large objects; `None` when nothing is known of the dump's tables.
    pub findings: Option<Findings>,
    /// Keys and indexes.
    pub constraints: Constraints,
    /// Foreign keys in the archive; `None` in a script.
    pub foreign_keys_expected: Option<u64>,
    /// How long restoring and counting took.
    pub duration_ms: u64,
}

impl Verified {
    /// Whether everything is there.
    pub fn is_good(&self) -> bool {
        self.findings.as_ref().is_none_or(Findings::is_good)
            && self.constraints.indexes_not_valid == 0
            && self.foreign_keys_expected.is_none_or(|expected| self.constraints.foreign_keys >= expected)
    }
}

impl Chosen {
    /// Restores a stream into the database of `target`, which must not be there yet, compares, and drops the database, whatever
    /// was found. With a `share` below 1 only the rows of so many tables come along, another choice for each snapshot; then
    /// foreign keys cannot be made.
    ///
    /// # Errors
    /// When the stream cannot be restored, or the database not be dropped.
    pub fn verify(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        share: f64,
        jobs: &Jobs<'_>,
    ) -> Result<Verified, OpError> {
        let began = Instant::now();
        let kind = self.dump_kind(stream, jobs.cancel)?;
        let plan = match kind {
            DumpKind::Archive { .. } => {
                let plan = self.archive(stream, jobs.observer, jobs.cancel)?.database_plan(true)?;
                // What cannot be had here is no fault of the dump; who may connect to a scratch database is nobody's business.
                plan.map(|plan| DatabasePlan {
                    owner: None,
                    statements: plan.statements.into_iter().filter(|it| it.setting.is_some()).collect(),
                    ..plan
                })
            }
            _ => None,
        };
        let prepared = target.prepare_as(kind, plan.as_ref())?.in_parts();
        match self.restore_and_count(stream, target, &prepared, (kind, share), jobs) {
            Ok((findings, constraints, foreign_keys_expected)) => {
                prepared.discard()?;
                Ok(Verified {
                    database: target.database.clone(),
                    findings,
                    constraints,
                    foreign_keys_expected,
                    duration_ms: began.elapsed().as_millis() as u64,
                })
            }
            Err(failure) => Err(discard(prepared, &target.database, failure)),
        }
    }

    fn restore_and_count(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        prepared: &Prepared,
        (kind, share): (DumpKind, f64),
        jobs: &Jobs<'_>,
    ) -> Result<(Option<Findings>, Constraints, Option<u64>), OpError> {
        let &Jobs { observer, cancel, .. } = jobs;
        let mut foreign_keys = None;
        if let DumpKind::Archive { .. } = kind {
            let archive = self.archive(stream, observer, cancel)?;
            let all: Vec<usize> = (0..archive.toc()?.entries().len()).collect();
            let is_sample = share < 1.0;
            let chosen = if is_sample { sample(&archive, share, &self.summary.id)? } else { all };
            let parts = Parts::new(&archive, &archive.plan_jobs(&chosen, jobs.workers)?)?;
            self.fill(stream, &parts, prepared, jobs)?;
            if is_sample {
                observer.observe(Event::Step { what: "counting rows".to_owned() });
                let expected = archive.expected_of_entries(&chosen)?;
                return Ok((Some(expected.compare(target, jobs.workers)?), target.constraints()?, None));
            }
            let entries = archive.toc()?;
            let keys = entries.entries().iter().filter(|entry| entry.desc == b"FK CONSTRAINT");
            foreign_keys = Some(keys.count() as u64);
        } else {
            let content = Content { stream, parts: None };
            self.feed_database(content, prepared, &target.database, observer, cancel)?;
        }
        observer.observe(Event::Step { what: "counting rows".to_owned() });
        let expected = self.expected(stream, observer, cancel)?;
        let findings = expected.map(|expected| expected.compare(target, jobs.workers)).transpose()?;
        Ok((findings, target.constraints()?, foreign_keys))
    }
}

/// All definitions but foreign keys, and tables with about that share of the rows' bytes, at least one.
fn sample(archive: &Archive, share: f64, snapshot: &SnapshotId) -> Result<Vec<usize>, OpError> {
    let toc = archive.toc()?;
    let mut tables: Vec<&TableData> =
        archive.map().tables.iter().filter(|table| table.kind == DataKind::Table).collect();
    tables.sort_by_cached_key(|table| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(snapshot.as_bytes()).update(&table.dump_id.to_le_bytes());
        *hasher.finalize().as_bytes()
    });
    let wanted = tables.iter().map(|table| table.len).sum::<u64>() as f64 * share;
    let mut bytes = 0;
    let mut ids = HashSet::new();
    for table in tables {
        if bytes as f64 >= wanted && !ids.is_empty() {
            break;
        }
        bytes += table.len;
        ids.insert(table.dump_id);
    }
    let is_chosen = |entry: &Entry<'_>| match entry.desc {
        b"TABLE DATA" => ids.contains(&entry.dump_id),
        b"FK CONSTRAINT" | b"BLOBS" | b"BLOB" | b"BLOB METADATA" => false,
        _ => true,
    };
    let entries = toc.entries().iter().enumerate();
    Ok(entries.filter(|(_, entry)| is_chosen(entry)).map(|(at, _)| at).collect())
}
