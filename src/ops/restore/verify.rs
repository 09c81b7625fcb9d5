//! Proof of a backup: restored into a scratch database, counted, and dropped again.

use super::jobs::{Jobs, Parts};
use super::proof::Findings;
use super::{Archive, Chosen, Content, discard};
use crate::event::Event;
use crate::id::SnapshotId;
use crate::ops::OpError;
use crate::pgarchive::{DataKind, Entry, TableData};
use crate::snapshot::Stream;
use crate::source::postgres::{Constraints, DumpKind, Prepared, RestoreTarget};
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
    /// What would have acted by itself, or reached another server, and was not restored; of a script, everything is.
    pub left_out: Vec<String>,
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
        self.admit(stream, target, jobs.observer, jobs.cancel)?;
        let mut kind = self.dump_kind(stream, jobs.cancel)?;
        if kind == DumpKind::Tar {
            // Taken apart, it is restored like any other archive.
            kind = DumpKind::Archive { format: self.map(stream, jobs.observer, jobs.cancel)?.format_version };
        }
        let prepared = target.prepare(kind)?.in_parts();
        match self.restore_and_count(stream, target, &prepared, (kind, share), jobs) {
            Ok(found) => {
                prepared.discard()?;
                Ok(Verified { duration_ms: began.elapsed().as_millis() as u64, ..found })
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
    ) -> Result<Verified, OpError> {
        let &Jobs { observer, cancel, .. } = jobs;
        let mut left_out = Vec::new();
        let mut foreign_keys_expected = None;
        let expected = if let DumpKind::Archive { .. } = kind {
            let archive = self.archive(stream, observer, cancel)?;
            let inert = archive.inert()?;
            left_out = inert.left_out;
            let is_sample = share < 1.0;
            let chosen = match is_sample {
                true => sample(&archive, &inert.entries, share, &self.summary.id)?,
                false => inert.entries,
            };
            let parts = Parts::new(&archive, &archive.plan_jobs(&chosen, jobs.workers)?)?;
            self.fill(stream, &parts, prepared, jobs)?;
            if !is_sample {
                let entries = archive.toc()?;
                let keys = entries.entries().iter().filter(|entry| entry.desc == b"FK CONSTRAINT");
                foreign_keys_expected = Some(keys.count() as u64);
            }
            Some(archive.expected_of_entries(&chosen)?)
        } else {
            let content = Content { stream, parts: None, skipped: 0 };
            let content = Content { skipped: self.mark_bytes(content, kind, cancel)?, ..content };
            self.feed_database(content, prepared, &target.database, observer, cancel)?;
            self.expected(stream, observer, cancel)?
        };
        observer.observe(Event::Step { what: "counting rows".to_owned() });
        Ok(Verified {
            database: target.database.clone(),
            findings: expected.map(|expected| expected.compare(target, jobs.workers)).transpose()?,
            constraints: target.constraints()?,
            left_out,
            foreign_keys_expected,
            duration_ms: 0,
        })
    }
}

/// All definitions but foreign keys, and tables with about that share of the rows' bytes, at least one.
fn sample(
    archive: &Archive,
    all: &[usize],
    share: f64,
    snapshot: &SnapshotId,
) -> Result<Vec<usize>, OpError> {
    let toc = archive.toc()?;
    let restorable: HashSet<u32> =
        all.iter().filter_map(|at| toc.entries().get(*at)).map(|entry| entry.dump_id).collect();
    let is_table = |table: &&TableData| table.kind == DataKind::Table && restorable.contains(&table.dump_id);
    let mut tables: Vec<&TableData> = archive.map().tables.iter().filter(is_table).collect();
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
    let chosen = |at: &usize| toc.entries().get(*at).is_some_and(&is_chosen);
    Ok(all.iter().copied().filter(chosen).collect())
}
