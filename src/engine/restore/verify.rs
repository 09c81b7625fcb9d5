//! Proof of a backup: restored into a scratch database, counted, and dropped again.

use super::archive::Findings;
use super::archive::{Jobs, Parts, needs_one_session, tell_one_session};
use super::look::Looked;
use super::{Archive, Chosen, Content, discard};
use crate::base::event::Event;
use crate::base::id::SnapshotId;
use crate::base::pattern::NamePattern;
use crate::content::pg::{DataKind, Entry, Selection, TableData};
use crate::engine::OpError;
use crate::source::SourceError;
use crate::source::postgres::{Constraints, DatabasePlan, DumpKind, Failure, Prepared, RestoreTarget};
use crate::vault::snapshot::Stream;
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
    /// What others found in it.
    pub looked: Vec<Looked>,
    /// How long restoring and counting took.
    pub duration_ms: u64,
}

/// Looks at a scratch database before it goes.
pub(super) type Look<'a> = &'a dyn Fn(&RestoreTarget) -> Result<Vec<Looked>, OpError>;

impl Verified {
    /// Whether everything is there.
    pub fn is_good(&self) -> bool {
        self.findings.as_ref().is_none_or(Findings::is_good)
            && self.constraints.indexes_not_valid == 0
            && self.looked.iter().all(|looked| looked.problem.is_none())
            && self.foreign_keys_expected.is_none_or(|expected| self.constraints.foreign_keys >= expected)
    }
}

impl Chosen {
    /// Restores a stream into the database of `target`, which must not be there yet, compares, and drops the database,
    /// whatever was found. With a `share` below 1 only the rows of so many tables come along, another choice for each
    /// snapshot; then foreign keys cannot be made.
    ///
    /// # Errors
    /// When the stream cannot be restored, or the database not be dropped.
    pub fn verify(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        share: f64,
        jobs: &Jobs<'_>,
        look: Look<'_>,
    ) -> Result<Verified, OpError> {
        let began = Instant::now();
        self.admit(stream, target, jobs.observer, jobs.cancel)?;
        let mut without = Vec::new();
        let mut one_session = false;
        loop {
            let trial = Trial { share, without: &without, one_session, look };
            let outcome = self.try_out(stream, target, &trial, jobs);
            let refused = outcome.as_ref().err().and_then(extension_refused);
            match (refused, outcome) {
                (_, Err(error)) if !one_session && is_for_one_session(&error) => {
                    tell_one_session(jobs.observer, &stream.name);
                    one_session = true;
                }
                // An extension that wants a database of another name says nothing about the dump, and all else can be
                // tried.
                (Some(name), Err(_)) if !without.contains(&NamePattern::exact(&name)) => {
                    let message = format!(
                        "extension `{name}` refuses to be made in a scratch database: `{}` is verified without it",
                        stream.name
                    );
                    jobs.observer.observe(Event::Warning { message });
                    without.push(NamePattern::exact(&name));
                }
                (_, Ok(verified)) => {
                    let duration_ms = began.elapsed().as_millis() as u64;
                    return Ok(Verified { duration_ms, ..verified });
                }
                (_, Err(error)) => return Err(error),
            }
        }
    }

    fn try_out(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        trial: &Trial<'_>,
        jobs: &Jobs<'_>,
    ) -> Result<Verified, OpError> {
        let mut kind = self.dump_kind(stream, jobs.cancel)?;
        if kind == DumpKind::Tar {
            // Taken apart, it is restored like any other archive.
            kind = DumpKind::Archive { format: self.map(stream, jobs.observer, jobs.cancel)?.format_version };
        }
        let (mut chosen, mut plan) = (None, None);
        if let DumpKind::Archive { .. } = kind {
            let archive = self.archive(stream, jobs.observer, jobs.cancel)?;
            // What cannot be had here is no fault of the dump; who may connect to a scratch database is nobody's
            // business.
            plan = archive.database_plan(true).map(|plan| DatabasePlan {
                owner: None,
                statements: plan.statements.into_iter().filter(|it| it.setting.is_some()).collect(),
                ..plan
            });
            chosen = Some(self.entries_to_try(stream, archive, trial, jobs)?);
        }
        let prepared = target.prepare_as(kind, plan.as_ref())?.in_parts();
        match self.restore_and_count(stream, target, &prepared, (kind, chosen), (jobs, trial.look)) {
            Ok(verified) => {
                prepared.discard()?;
                Ok(verified)
            }
            Err(failure) => Err(discard(prepared, &target.database, failure)),
        }
    }

    /// The entries of an archive that are restored; tells what goes with the extensions that are left out.
    fn entries_to_try(
        &self,
        stream: &Stream,
        archive: Archive,
        trial: &Trial<'_>,
        jobs: &Jobs<'_>,
    ) -> Result<ToTry, OpError> {
        let &Trial { share, without, one_session, .. } = trial;
        if let Some(what) = archive.lacks_definitions() {
            return Err(OpError::NotByItself { stream: stream.name.clone(), what });
        }
        let inert = archive.inert();
        let mut entries = inert.entries;
        if !without.is_empty() {
            let selection = Selection { exclude_extensions: without.to_vec(), ..Selection::default() };
            let part = archive.select(&selection)?;
            for left_out in &part.omitted {
                jobs.observer.observe(Event::Warning { message: format!("skipped {left_out}") });
            }
            let selected: HashSet<usize> = part.entries.into_iter().collect();
            entries.retain(|index| selected.contains(index));
        }
        let is_sample = share < 1.0;
        if is_sample {
            entries = sample(&archive, &entries, share, &self.summary.id)?;
        }
        Ok(ToTry { archive, entries, left_out: inert.left_out, is_sample, one_session })
    }

    fn restore_and_count(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        prepared: &Prepared,
        (kind, to_try): (DumpKind, Option<ToTry>),
        (jobs, look): (&Jobs<'_>, Look<'_>),
    ) -> Result<Verified, OpError> {
        let &Jobs { observer, cancel, .. } = jobs;
        let mut left_out = Vec::new();
        let mut foreign_keys_expected = None;
        let expected = if let Some(to_try) = to_try {
            let ToTry { archive, entries, is_sample, one_session, .. } = &to_try;
            if *one_session {
                let whole = archive.synthesise(entries)?;
                let content = Content { stream, parts: Some(&whole), skipped: 0 };
                self.feed_database(content, prepared, &target.database, observer, cancel)?;
            } else {
                let parts = Parts::new(archive, &archive.plan_jobs(entries, jobs.workers))?;
                self.fill(stream, &parts, prepared, jobs)?;
            }
            if !is_sample {
                let toc = archive.toc();
                let chosen = entries.iter().filter_map(|index| toc.entries().get(*index));
                let keys = chosen.filter(|entry| entry.desc() == b"FK CONSTRAINT").count();
                foreign_keys_expected = Some(keys as u64);
            }
            let expected = archive.expected_of_entries(entries);
            left_out = to_try.left_out;
            Some(expected)
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
            looked: look(target)?,
            duration_ms: 0,
        })
    }
}

/// What of an archive is restored to verify it.
struct ToTry {
    archive: Archive,
    entries: Vec<usize>,
    /// What is not, because it would act by itself, in words.
    left_out: Vec<String>,
    is_sample: bool,
    one_session: bool,
}

/// How a stream is tried out.
struct Trial<'a> {
    share: f64,
    /// Extensions that are left out.
    without: &'a [NamePattern],
    /// Over one connection, as a restore without workers is.
    one_session: bool,
    look: Look<'a>,
}

fn is_for_one_session(error: &OpError) -> bool {
    match error {
        OpError::Aftermath { failure, .. } => needs_one_session(failure),
        _ => false,
    }
}

/// The extension that could not be made, if it was that.
pub(super) fn extension_refused(error: &OpError) -> Option<String> {
    match error {
        OpError::Aftermath { failure, .. } => extension_refused(failure),
        OpError::Source { source: SourceError::Exited { last_words, .. }, .. } => {
            Failure::extension_refused(last_words.as_str())
        }
        _ => None,
    }
}

/// All definitions but foreign keys, and tables with about that share of the rows' bytes, at least one.
fn sample(
    archive: &Archive,
    all: &[usize],
    share: f64,
    snapshot: &SnapshotId,
) -> Result<Vec<usize>, OpError> {
    let toc = archive.toc();
    let restorable: HashSet<u32> =
        all.iter().filter_map(|at| toc.entries().get(*at)).map(|entry| entry.dump_id).collect();
    let is_table =
        |table: &TableData<'_>| table.kind == DataKind::Table && restorable.contains(&table.dump_id);
    let mut tables: Vec<TableData<'_>> = archive.map().tables.iter().filter(is_table).collect();
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
    let is_large_object = |entry: &Entry| matches!(entry.desc(), b"BLOBS" | b"BLOB" | b"BLOB METADATA");
    // What is said of them goes with them.
    let large_objects: HashSet<u32> =
        toc.entries().iter().filter(is_large_object).map(|entry| entry.dump_id).collect();
    let is_chosen = |entry: &Entry| match entry.desc() {
        b"TABLE DATA" => ids.contains(&entry.dump_id),
        b"FK CONSTRAINT" => false,
        _ => !is_large_object(entry) && !entry.dependencies().any(|id| large_objects.contains(&id)),
    };
    let chosen = |at: &usize| toc.entries().get(*at).is_some_and(|entry| is_chosen(&entry));
    Ok(all.iter().copied().filter(chosen).collect())
}
