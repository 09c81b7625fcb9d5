//! Files that were restored, or would be, and lists of files.

use super::{Id, Report, Time};
use crate::base::id::SnapshotId;
use crate::content::index::{Kind, Row};
use crate::engine::files::{Became, FilesPlan, FilesReport};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// Files that were restored into a directory.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredFiles {
    /// The snapshot.
    pub snapshot: Id,
    /// The directory.
    pub directory: String,
    /// Files, links and the like that were written.
    pub files: u64,
    /// Directories that were made or set right.
    pub directories: u64,
    /// Bytes of contents that were written.
    pub bytes: u64,
    /// Files that were there and stayed.
    pub kept: u64,
    /// Paths of damaged files: they were not restored.
    pub damaged: Vec<String>,
    /// Files that could not be written.
    pub failed: u64,
    /// Owners, attributes, modes or times that could not be set.
    pub attributes_lost: u64,
    /// Files that could not be read when the backup was made.
    pub unreadable: u64,
    /// How long all of it took.
    pub duration_ms: u64,
}

impl Report for RestoredFiles {}

impl RestoredFiles {
    /// What a restore did.
    pub fn new(snapshot: &SnapshotId, report: &FilesReport, into: &Path, duration_ms: u64) -> Self {
        Self {
            snapshot: Id::of(snapshot),
            directory: into.display().to_string(),
            files: report.files,
            directories: report.directories,
            bytes: report.bytes,
            kept: report.kept,
            damaged: report.damaged.clone(),
            failed: report.failed,
            attributes_lost: report.attributes_lost,
            unreadable: report.unreadable,
            duration_ms,
        }
    }
}

/// What a restore of files would do, by `--dry-run`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoreFilesPlan {
    /// Always true.
    pub dry_run: bool,
    /// The snapshot.
    pub snapshot: Id,
    /// The directory.
    pub directory: String,
    /// Files, links and the like.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes of contents, without holes.
    pub bytes: u64,
    /// Files that are there and would be replaced.
    pub replaced: u64,
    /// Files that are there and would stay.
    pub kept: u64,
    /// Files that could not be read when the backup was made.
    pub unreadable: u64,
}

impl Report for RestoreFilesPlan {}

impl RestoreFilesPlan {
    /// What a restore would do.
    pub fn new(snapshot: &SnapshotId, plan: &FilesPlan, into: &Path) -> Self {
        Self {
            dry_run: true,
            snapshot: Id::of(snapshot),
            directory: into.display().to_string(),
            files: plan.files,
            directories: plan.directories,
            bytes: plan.bytes,
            replaced: plan.replaced,
            kept: plan.kept,
            unreadable: plan.unreadable,
        }
    }
}

/// Files of a snapshot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListedFiles {
    /// The snapshot.
    pub snapshot: Id,
    /// The files, directories before what is in them.
    pub files: Vec<ListedFile>,
}

impl Report for ListedFiles {}

impl ListedFiles {
    /// Files of a snapshot.
    pub fn new(snapshot: &SnapshotId, files: Vec<ListedFile>) -> Self {
        Self { snapshot: Id::of(snapshot), files }
    }
}

/// A file of a snapshot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListedFile {
    /// Its path; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// The path's bytes in hexadecimal digits, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<Id>,
    /// `file`, `directory`, `symlink`, `hardlink`, `char-device`, `block-device`, `fifo`, `socket`, `unreadable` or `vanished`.
    pub kind: &'static str,
    /// Its length, holes included.
    pub size: u64,
    /// The lower twelve bits of its mode.
    pub mode: u32,
    /// Number of its owner.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
    /// When it was last modified; null where no calendar reaches.
    pub modified: Option<Time>,
    /// What a link says; null for all else.
    pub target: Option<String>,
    /// It changed while it was read.
    pub torn: bool,
}

impl ListedFile {
    /// A row of an index.
    pub fn new(row: &Row) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let hex = || Id::of(row.path.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let (kind, size, target) = match &row.kind {
            Kind::File { size, .. } => ("file", *size, None),
            Kind::Directory => ("directory", 0, None),
            Kind::Symlink(to) => ("symlink", 0, Some(text(to))),
            Kind::HardLink(to) => ("hardlink", 0, Some(format!("/{}", text(to)))),
            Kind::CharDevice(..) => ("char-device", 0, None),
            Kind::BlockDevice(..) => ("block-device", 0, None),
            Kind::Fifo => ("fifo", 0, None),
            Kind::Socket => ("socket", 0, None),
            Kind::Unreadable => ("unreadable", 0, None),
            Kind::Vanished => ("vanished", 0, None),
        };
        Self {
            path: format!("/{}", text(&row.path)),
            path_hex: std::str::from_utf8(&row.path).is_err().then(hex),
            kind,
            size,
            mode: row.mode,
            uid: row.uid,
            gid: row.gid,
            modified: jiff::Timestamp::new(row.mtime.seconds, row.mtime.nanos.cast_signed())
                .ok()
                .map(Time::from),
            target,
            torn: row.is_torn,
        }
    }
}

/// Files that differ between two snapshots.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChangedFiles {
    /// The first snapshot.
    pub before: Id,
    /// The second.
    pub after: Id,
    /// The files that differ.
    pub files: Vec<ChangedFile>,
}

impl Report for ChangedFiles {}

impl ChangedFiles {
    /// Files that differ between two snapshots.
    pub fn new(before: &SnapshotId, after: &SnapshotId, files: Vec<ChangedFile>) -> Self {
        Self { before: Id::of(before), after: Id::of(after), files }
    }
}

/// A file that differs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChangedFile {
    /// `added`, `removed`, `changed`, or `metadata` where the contents are the same.
    pub became: &'static str,
    /// The file in the second snapshot; in the first where it was removed.
    pub file: ListedFile,
}

impl ChangedFile {
    /// A row, and what became of it.
    pub fn new(became: Became, row: &Row) -> Self {
        let became = match became {
            Became::Added => "added",
            Became::Removed => "removed",
            Became::Changed => "changed",
            Became::Adorned => "metadata",
        };
        Self { became, file: ListedFile::new(row) }
    }
}
