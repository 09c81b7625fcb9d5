//! What a restored database holds, compared with its dump.

use super::{Hint, Id, Report};
use crate::base::id::SnapshotId;
use crate::engine::restore::{
    Findings, Found, Looked, MemberVerified, Tried, Verified, VerifyReport, VerifySetReport, next_of_verify,
};
use crate::engine::system::SeenSet;
use schemars::JsonSchema;
use serde::Serialize;

/// A snapshot that was restored for trial.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Verify {
    /// The snapshot.
    pub snapshot: Id,
    /// Every stream was restored, compared, and is as it should be.
    pub ok: bool,
    /// What was found of each stream.
    pub streams: Vec<VerifiedStream>,
}

impl Report for Verify {}

impl Verify {
    /// What was found of a snapshot's streams.
    pub fn new(snapshot: &SnapshotId, found: &VerifyReport, hint: Hint<'_>) -> Self {
        let streams = VerifiedStream::all(&found.tried, hint);
        Self { snapshot: Id::of(snapshot), ok: found.class().is_none(), streams }
    }
}

/// A run over a system that was restored for trial.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VerifySet {
    /// What the snapshots of the run have in common.
    pub set: Id,
    /// The system's name; null where all sources were meant.
    pub system: Option<String>,
    /// Every source is as it should be, and so is what its rows refer to.
    pub ok: bool,
    /// In the order of the run.
    pub sources: Vec<VerifiedSource>,
}

impl Report for VerifySet {}

impl VerifySet {
    /// What became of the run `set`.
    pub fn new(set: &SeenSet, found: &VerifySetReport, hint: Hint<'_>) -> Self {
        let member = |member: &MemberVerified| VerifiedSource {
            source: member.source.clone(),
            snapshot: Id::of(member.snapshot),
            ok: member.class.is_none(),
            streams: VerifiedStream::all(&member.tried, hint),
            error: member.error.clone(),
        };
        Self {
            set: Id::of(set.set),
            system: set.system.clone(),
            ok: found.class().is_none(),
            sources: found.members.iter().map(member).collect(),
        }
    }
}

/// A source of a run that was restored for trial.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct VerifiedSource {
    /// Its name.
    pub source: String,
    /// The snapshot.
    pub snapshot: Id,
    /// It is as it should be.
    pub ok: bool,
    /// What was found of each stream.
    pub streams: Vec<VerifiedStream>,
    /// Why nothing was found out.
    pub error: Option<String>,
}

/// What was found of a stream.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum VerifiedStream {
    /// It was restored.
    Restored(RestoredStream),
    /// A server for a while loaded it.
    Loaded(LoadedStream),
    /// No database takes it: it was read.
    Read(ReadStream),
    /// It cannot be restored.
    Failed(UnrestorableStream),
}

/// A stream that was restored for trial.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredStream {
    /// The stream.
    pub stream: String,
    /// Everything that is known to be in the dump is there.
    pub ok: bool,
    /// The scratch database, which is gone again.
    pub database: String,
    /// How long restoring and counting took.
    pub duration_ms: u64,
    /// Rows and large objects; null where nothing is known of the dump's tables.
    pub verification: Option<Verification>,
    /// Foreign keys in the database.
    pub foreign_keys: u64,
    /// Foreign keys in the archive; null of a script.
    pub foreign_keys_expected: Option<u64>,
    /// Foreign keys that were not validated, as in the database that was dumped.
    pub foreign_keys_not_valid: u64,
    /// Indexes that are not valid. A restore makes none.
    pub indexes_not_valid: u64,
    /// What would have acted by itself, or reached another server, and was not restored.
    pub left_out: Vec<String>,
    /// What the command of --run and the references of the configuration found.
    pub looked: Vec<LookedAt>,
}

/// Something that was looked at in a scratch database.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LookedAt {
    /// What was looked at.
    pub what: String,
    /// Nothing is wrong.
    pub ok: bool,
    /// What is wrong.
    pub problem: Option<String>,
}

impl LookedAt {
    fn new(looked: &Looked) -> Self {
        Self { what: looked.what.clone(), ok: looked.problem.is_none(), problem: looked.problem.clone() }
    }
}

/// A Redis file that a server for a while loaded.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LoadedStream {
    /// The stream.
    pub stream: String,
    /// The server holds what the file has, by database and type.
    pub ok: bool,
    /// Always true.
    pub restored: bool,
    /// The server: its name and version.
    pub server: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Keys in the server. Keys that expire may be fewer.
    pub keys: u64,
    /// Keys in the file.
    pub keys_expected: u64,
    /// Keys whose values were compared. Others end soon, or are longer than 64 MiB.
    pub keys_compared: u64,
    /// What is not as in the file, in words.
    pub wrong: Vec<String>,
    /// How long that took.
    pub duration_ms: u64,
}

/// A stream that was read: every chunk and its digest were checked.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReadStream {
    /// The stream.
    pub stream: String,
    /// Its own structure, or the digest of each of its files, says that it is whole.
    pub ok: bool,
    /// Always false: it was not restored.
    pub restored: bool,
    /// Its bytes.
    pub bytes: u64,
    /// How long reading took.
    pub duration_ms: u64,
}

/// A stream that cannot be restored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UnrestorableStream {
    /// The stream.
    pub stream: String,
    /// Always false.
    pub ok: bool,
    /// What failed.
    pub error: String,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
}

impl VerifiedStream {
    fn all(tried: &[Tried], hint: Hint<'_>) -> Vec<Self> {
        let each = tried.iter().map(|tried| match &tried.result {
            Ok(found) => Self::found(&tried.stream, found),
            Err(error) => Self::failed(&tried.stream, error.to_string(), next_of_verify(error).map(hint)),
        });
        each.collect()
    }

    /// A stream of which that was found.
    fn found(stream: &str, found: &Found) -> Self {
        match found {
            Found::Restored(verified) => Self::restored(stream, verified),
            Found::Loaded(loaded) => Self::Loaded(LoadedStream {
                stream: stream.to_owned(),
                ok: loaded.wrong.is_empty(),
                restored: true,
                server: loaded.server.clone(),
                bytes: loaded.bytes,
                keys: loaded.keys,
                keys_expected: loaded.keys_expected,
                keys_compared: loaded.compared,
                wrong: loaded.wrong.clone(),
                duration_ms: loaded.duration_ms,
            }),
            Found::Read(read) => Self::Read(ReadStream {
                stream: stream.to_owned(),
                ok: read.is_proven,
                restored: false,
                bytes: read.bytes,
                duration_ms: read.duration_ms,
            }),
        }
    }

    /// A stream that was restored.
    fn restored(stream: &str, verified: &Verified) -> Self {
        let keys = &verified.constraints;
        Self::Restored(RestoredStream {
            stream: stream.to_owned(),
            ok: verified.is_good(),
            database: verified.database.clone(),
            duration_ms: verified.duration_ms,
            verification: verified.findings.as_ref().map(Verification::from),
            foreign_keys: keys.foreign_keys,
            foreign_keys_expected: verified.foreign_keys_expected,
            foreign_keys_not_valid: keys.foreign_keys_not_valid,
            indexes_not_valid: keys.indexes_not_valid,
            left_out: verified.left_out.clone(),
            looked: verified.looked.iter().map(LookedAt::new).collect(),
        })
    }

    /// A stream that cannot be.
    fn failed(stream: &str, error: String, hint: Option<String>) -> Self {
        Self::Failed(UnrestorableStream { stream: stream.to_owned(), ok: false, error, hint })
    }
}

/// Rows and large objects, compared.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Verification {
    /// Every table with data.
    pub tables: Vec<CountedTable>,
    /// Large objects, where the stream has some.
    pub large_objects: Option<CountedObjects>,
}

/// A table that was counted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CountedTable {
    /// The schema.
    pub schema: String,
    /// The name.
    pub name: String,
    /// Rows in the stream; null where they are not known: then it is enough that the table can be read.
    pub rows_expected: Option<u64>,
    /// More of them are right, too: the dump holds a part of the table only.
    pub at_least: bool,
    /// Rows in the database; null where they could not be counted.
    pub rows: Option<u64>,
    /// Why they could not be counted.
    pub error: Option<String>,
    /// The database holds what the stream had.
    pub ok: bool,
}

/// Large objects that were counted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CountedObjects {
    /// In the stream.
    pub expected: u64,
    /// In the database.
    pub found: u64,
}

impl From<&Findings> for Verification {
    fn from(findings: &Findings) -> Self {
        let tables = findings.tables.iter().map(|table| CountedTable {
            schema: table.schema.clone(),
            name: table.name.clone(),
            rows_expected: table.expected,
            at_least: table.at_least,
            rows: table.found.as_ref().ok().copied(),
            error: table.found.as_ref().err().cloned(),
            ok: table.is_right(),
        });
        Self {
            tables: tables.collect(),
            large_objects: findings.large_objects.map(|(expected, found)| CountedObjects { expected, found }),
        }
    }
}
