//! Files that were restored, or would be, and lists of files.

use super::{Id, Report};
use crate::base::id::SnapshotId;
use crate::engine::files::{FilesPlan, FilesReport};
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
