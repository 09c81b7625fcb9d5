//! The audit log: entries that are chained, so that one which is changed or taken out is noticed.
//!
//! The hash of an entry is BLAKE3 over the hash before it, and over every field with its length. A cut at the end is
//! not seen by the chain itself: keep the newest hash elsewhere.

use super::notices::notice;
use super::{State, StateError};
use crate::daemon::book::Note;
use rusqlite::{OptionalExtension, Transaction, params};

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number; there is no gap.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Who did it: `scheduler`, or a user of the system.
    pub actor: String,
    /// A word for the kind.
    pub kind: String,
    /// What it is about.
    pub object: String,
    /// What happened.
    pub detail: String,
    /// Its hash, with which the next is chained.
    pub hash: Vec<u8>,
}

/// The chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFault {
    /// The first entry that does not fit.
    pub seq: i64,
    /// What is wrong.
    pub problem: &'static str,
}

const BEGINNING: &[u8] = b"dumpvault audit 1";

fn chained(before: &[u8], entry: &AuditEntry) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    let numbers = [entry.seq.to_le_bytes(), entry.at.to_le_bytes()];
    let texts = [&entry.actor, &entry.kind, &entry.object, &entry.detail].map(|text| text.as_bytes());
    for part in [before].into_iter().chain(numbers.iter().map(|number| number.as_slice())).chain(texts) {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().as_bytes().to_vec()
}

/// Adds an entry.
pub(in crate::daemon) fn append(
    db: &Transaction<'_>,
    at: i64,
    actor: &str,
    note: &Note,
) -> rusqlite::Result<()> {
    let last = db
        .query_row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })
        .optional()?;
    let (seq, before) =
        last.map_or_else(|| (1, BEGINNING.to_vec()), |(seq, hash)| (seq.saturating_add(1), hash));
    let entry = AuditEntry {
        seq,
        at,
        actor: actor.to_owned(),
        kind: note.kind.to_owned(),
        object: note.object.clone(),
        detail: note.text.clone(),
        hash: Vec::new(),
    };
    let hash = chained(&before, &entry);
    let row = params![entry.seq, entry.at, entry.actor, entry.kind, entry.object, entry.detail, hash];
    db.execute(
        "INSERT INTO audit(seq, at, actor, kind, object, detail, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        row,
    )?;
    Ok(())
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        seq: row.get(0)?,
        at: row.get(1)?,
        actor: row.get(2)?,
        kind: row.get(3)?,
        object: row.get(4)?,
        detail: row.get(5)?,
        hash: row.get(6)?,
    })
}

impl State {
    /// Adds an entry to the audit log.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note(&mut self, note: &Note, at: i64, actor: &str) -> Result<(), StateError> {
        self.write(|db| {
            append(db, at, actor, note)?;
            // Whoever may come in is told of, whoever changed it.
            if matches!(note.kind, "user" | "token") {
                let (subject, text) =
                    (format!("{} {}", note.kind, note.object), format!("{}, by {actor}", note.text));
                notice(db, at, "security", &subject, None, &text)?;
            }
            Ok(())
        })
    }

    /// When an entry of that kind was last written.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(in crate::daemon) fn last_noted(&self, kind: &str) -> Result<Option<i64>, StateError> {
        self.read(|db| {
            let sql = "SELECT at FROM audit WHERE kind = ? ORDER BY seq DESC LIMIT 1";
            db.prepare_cached(sql)?.query_row([kind], |row| row.get(0)).optional()
        })
    }

    /// The newest entries of the audit log before that number, newest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn audit_page(&self, most: u32, before: Option<i64>) -> Result<Vec<AuditEntry>, StateError> {
        self.read(|db| {
            let sql = "SELECT seq, at, actor, kind, object, detail, hash FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?";
            let mut all = db.prepare_cached(sql)?;
            all.query_map(params![before.unwrap_or(i64::MAX), most], entry)?.collect()
        })
    }

    /// The audit log, oldest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn audit(&self) -> Result<Vec<AuditEntry>, StateError> {
        self.read(|db| {
            let sql = "SELECT seq, at, actor, kind, object, detail, hash FROM audit ORDER BY seq";
            let mut all = db.prepare(sql)?;
            let rows = all.query_map([], entry)?;
            rows.collect()
        })
    }
}

impl AuditFault {
    /// The first fault of a log, if it has one.
    pub fn find(entries: &[AuditEntry]) -> Option<Self> {
        let mut before = BEGINNING.to_vec();
        for (expected, entry) in (1..).zip(entries) {
            if entry.seq != expected {
                return Some(Self { seq: expected, problem: "the entry is missing" });
            }
            if chained(&before, entry) != entry.hash {
                return Some(Self { seq: entry.seq, problem: "the entry was changed" });
            }
            before.clone_from(&entry.hash);
        }
        None
    }
}
