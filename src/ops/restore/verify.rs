//! Proof of a backup: restored into a scratch database, counted, and dropped again.

use super::jobs::{Jobs, Parts};
use super::proof::Findings;
use super::{Chosen, Content, discard};
use crate::event::Event;
use crate::ops::OpError;
use crate::snapshot::Stream;
use crate::source::postgres::{Constraints, DumpKind, Prepared, RestoreTarget};
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
    /// was found.
    ///
    /// # Errors
    /// When the stream cannot be restored, or the database not be dropped.
    pub fn verify(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        jobs: &Jobs<'_>,
    ) -> Result<Verified, OpError> {
        let began = Instant::now();
        let kind = self.dump_kind(stream, jobs.cancel)?;
        let prepared = target.prepare(kind)?.in_parts();
        match self.restore_and_count(stream, target, &prepared, kind, jobs) {
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
        kind: DumpKind,
        jobs: &Jobs<'_>,
    ) -> Result<(Option<Findings>, Constraints, Option<u64>), OpError> {
        let &Jobs { observer, cancel, .. } = jobs;
        let mut foreign_keys = None;
        if let DumpKind::Archive { .. } = kind {
            let archive = self.archive(stream, observer, cancel)?;
            let all: Vec<usize> = (0..archive.toc()?.entries().len()).collect();
            let parts = Parts::new(&archive, &archive.plan_jobs(&all, jobs.workers)?)?;
            self.fill(stream, &parts, prepared, jobs)?;
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
