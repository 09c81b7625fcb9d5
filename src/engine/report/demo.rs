//! What the demonstration proved.

use super::{Id, Report};
use crate::engine::demo::{DemoDatabase, DemoDay, DemoReport, DemoSaved, DemoUploads, WhyGenerated};
use schemars::JsonSchema;
use serde::Serialize;

/// What came of the demonstration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Demo {
    /// What was restored is the same, and nothing is damaged.
    pub ok: bool,
    /// The database.
    pub database: Database,
    /// Its days.
    pub days: Vec<Day>,
    /// Plain bytes of all dumps.
    pub bytes: u64,
    /// Bytes that they take in the repository.
    pub bytes_stored: u64,
    /// Bytes that so many compressed copies would take.
    pub bytes_full_copies: u64,
    /// The last day's restore.
    pub restore: RestoredDay,
    /// A table that was dropped and restored by itself; null where there was no server.
    pub table: Option<ReturnedTable>,
    /// A file that was deleted and restored by itself.
    pub file: ReturnedFile,
    /// The check of all data.
    pub check: Checked,
    /// A bit of a pack that was flipped and put back.
    pub flip: FlippedBit,
    /// What the days come to, database and files.
    pub saved: Saved,
    /// How long everything took.
    pub duration_ms: u64,
    /// The folder, if it was to be kept.
    pub folder: Option<String>,
}

impl Report for Demo {}

/// The database that was backed up.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoDatabase")]
pub struct Database {
    /// Where its dumps came from.
    pub source: Source,
    /// Its tables.
    pub tables: u64,
    /// Its rows on the first day.
    pub rows: u64,
    /// How long it took to be there.
    pub duration_ms: u64,
}

/// Where dumps came from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoSource")]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// From a private server.
    Postgres {
        /// What the server says of its version.
        version: String,
    },
    /// They were generated.
    Generated {
        /// Why.
        reason: Reason,
    },
}

/// Why dumps were generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WhyGenerated")]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Somebody asked for it.
    Wished,
    /// No server is installed.
    NoServer,
    /// The server does not start.
    DoesNotStart,
}

/// One day's backup.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoDay")]
pub struct Day {
    /// From 1.
    pub day: u16,
    /// The snapshot.
    pub snapshot: Id,
    /// Rows that were changed, added or removed since the day before.
    pub rows_touched: u64,
    /// Size of the dump.
    pub bytes: u64,
    /// Bytes that the day added to the repository.
    pub bytes_stored: u64,
    /// Bytes that a compressed copy would take: what the first day took.
    pub bytes_full_copy: u64,
    /// How long the backup took.
    pub duration_ms: u64,
    /// How fast the dump was stored.
    pub bytes_per_second: u64,
    /// The files beside the database.
    pub uploads: Uploads,
}

/// One day's backup of the files.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoUploads")]
pub struct Uploads {
    /// The snapshot.
    pub snapshot: Id,
    /// Files that were there.
    pub files: u64,
    /// Files that were added, changed or deleted since the day before.
    pub files_touched: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that the day added to the repository.
    pub bytes_stored: u64,
    /// How long the backup took.
    pub duration_ms: u64,
}

/// A file that was deleted and restored by itself.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoFile")]
pub struct ReturnedFile {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// It is the same as before.
    pub same: bool,
    /// How long the restore took.
    pub duration_ms: u64,
}

/// What was saved in all, database and files.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoSaved")]
pub struct Saved {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes that they take in the repository.
    pub bytes_stored: u64,
    /// Bytes that a compressed copy a day would take: what the first day took, for each day.
    pub bytes_full_copies: u64,
    /// Restores that were tried.
    pub restores: u64,
    /// Those that brought back the same.
    pub restores_proven: u64,
}

/// The last day's restore.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoRestore")]
pub struct RestoredDay {
    /// The day.
    pub day: u16,
    /// Into what.
    pub into: Into,
    /// Everything is the same, byte for byte.
    pub same: bool,
    /// Size of the dump.
    pub bytes: u64,
    /// How long the restore took.
    pub duration_ms: u64,
    /// How long it took to compare, where that came after the restore.
    pub compare_ms: u64,
}

/// What the last day was restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "DemoTarget")]
#[serde(rename_all = "kebab-case")]
pub enum Into {
    /// A second database, compared by `pg_dump`.
    Database,
    /// The stream itself was compared.
    Stream,
}

/// The check of all data.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoCheck")]
pub struct Checked {
    /// Nothing is damaged.
    pub ok: bool,
    /// Packs in the repository.
    pub packs: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// A table that was dropped and restored by itself.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoTable")]
pub struct ReturnedTable {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// What was read of the dump for it.
    pub bytes: u64,
    /// Its rows are the same as before.
    pub same: bool,
    /// How long the restore took.
    pub duration_ms: u64,
}

/// A bit of a pack that was flipped and put back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "DemoFlip")]
pub struct FlippedBit {
    /// The pack's name.
    pub pack: String,
    /// A check named the pack, and another found it right when the bit was put back.
    pub found: bool,
    /// Snapshots that the check named.
    pub snapshots: u64,
    /// How long it took.
    pub duration_ms: u64,
}

impl From<&DemoReport> for Demo {
    fn from(report: &DemoReport) -> Self {
        let full_copy = report.bytes_full_copy();
        let (restore, check) = (&report.restore, &report.check);
        Self {
            ok: report.is_proven(),
            database: (&report.database).into(),
            days: report.days.iter().map(|day| Day::new(day, full_copy)).collect(),
            bytes: report.bytes(),
            bytes_stored: report.bytes_stored(),
            bytes_full_copies: full_copy.saturating_mul(report.days.len() as u64),
            restore: RestoredDay {
                day: restore.day,
                into: if restore.into_database { Into::Database } else { Into::Stream },
                same: restore.is_same,
                bytes: restore.bytes,
                duration_ms: restore.duration_ms,
                compare_ms: restore.compare_ms,
            },
            check: Checked {
                ok: check.report.is_clean(),
                packs: check.report.packs,
                bytes_read: check.report.bytes_read,
                duration_ms: check.duration_ms,
            },
            table: report.table.as_ref().map(|table| ReturnedTable {
                table: table.table.clone(),
                rows: table.rows,
                bytes: table.bytes,
                same: table.is_same,
                duration_ms: table.duration_ms,
            }),
            file: ReturnedFile {
                name: report.file.name.clone(),
                bytes: report.file.bytes,
                same: report.file.is_same,
                duration_ms: report.file.duration_ms,
            },
            saved: report.saved().into(),
            flip: FlippedBit {
                pack: report.flip.pack.clone(),
                found: report.flip.is_found,
                snapshots: report.flip.snapshots,
                duration_ms: report.flip.duration_ms,
            },
            duration_ms: report.duration_ms,
            folder: report.folder.as_ref().map(|folder| folder.display().to_string()),
        }
    }
}

impl From<&DemoDatabase> for Database {
    fn from(database: &DemoDatabase) -> Self {
        let source = match &database.server {
            Ok(version) => Source::Postgres { version: version.clone() },
            Err(why) => Source::Generated {
                reason: match why {
                    WhyGenerated::Wished => Reason::Wished,
                    WhyGenerated::NoServer => Reason::NoServer,
                    WhyGenerated::DoesNotStart => Reason::DoesNotStart,
                },
            },
        };
        Self { source, tables: database.tables, rows: database.rows, duration_ms: database.duration_ms }
    }
}

impl Day {
    fn new(day: &DemoDay, bytes_full_copy: u64) -> Self {
        Self {
            day: day.day,
            snapshot: Id::of(day.snapshot),
            rows_touched: day.rows_touched,
            bytes: day.bytes,
            bytes_stored: day.bytes_stored,
            bytes_full_copy,
            duration_ms: day.duration_ms,
            bytes_per_second: day.bytes.saturating_mul(1000) / day.duration_ms.max(1),
            uploads: (&day.uploads).into(),
        }
    }
}

impl From<&DemoUploads> for Uploads {
    fn from(uploads: &DemoUploads) -> Self {
        let DemoUploads { files, files_touched, bytes, bytes_stored, duration_ms, .. } = *uploads;
        let snapshot = Id::of(uploads.snapshot);
        Self { snapshot, files, files_touched, bytes, bytes_stored, duration_ms }
    }
}

impl From<DemoSaved> for Saved {
    fn from(saved: DemoSaved) -> Self {
        let DemoSaved { snapshots, bytes, bytes_stored, bytes_full_copies, restores, restores_proven } =
            saved;
        Self { snapshots, bytes, bytes_stored, bytes_full_copies, restores, restores_proven }
    }
}
