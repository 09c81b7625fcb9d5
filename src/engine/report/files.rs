//! Files that were restored, or would be, and lists of files.

use super::{Id, Report, Time};
use crate::base::id::SnapshotId;
use crate::base::words;
use crate::content::index::{Kind, Row};
use crate::engine::files::{Became, BucketPlan, BucketReport, ChangedRow, Extras, FilesPlan, FilesReport};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
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
    /// Files and directories that were deleted, since the snapshot does not have them.
    pub deleted: u64,
    /// Paths of damaged files: they were not restored.
    pub damaged: Vec<String>,
    /// Files that could not be written, or not be deleted.
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
            deleted: report.deleted,
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
    /// Files and directories that would be deleted, since the snapshot does not have them; below the directory.
    pub deleted: Vec<String>,
    /// Files that could not be read when the backup was made.
    pub unreadable: u64,
    /// Objects whose keys are no paths: they cannot be restored into a directory.
    pub unfit: u64,
}

impl Report for RestoreFilesPlan {}

impl RestoreFilesPlan {
    /// What a restore would do.
    pub fn new(snapshot: &SnapshotId, plan: &FilesPlan, extras: &Extras, into: &Path) -> Self {
        Self {
            dry_run: true,
            snapshot: Id::of(snapshot),
            directory: into.display().to_string(),
            files: plan.files,
            directories: plan.directories,
            bytes: plan.bytes,
            replaced: plan.replaced,
            kept: plan.kept,
            deleted: extras.paths.iter().map(|lying| words::path(&lying.path)).collect(),
            unreadable: plan.unreadable,
            unfit: plan.unfit,
        }
    }
}

/// Objects that were restored into a bucket.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredObjects {
    /// The snapshot.
    pub snapshot: Id,
    /// The bucket, and the prefix.
    pub bucket: String,
    /// Objects that were put.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were there and stayed.
    pub kept: u64,
    /// Objects that were deleted.
    pub deleted: u64,
    /// Keys of damaged objects: they were not restored.
    pub damaged: Vec<String>,
    /// Objects that could not be put, or not be deleted.
    pub failed: u64,
    /// Objects that could not be read when the backup was made.
    pub unreadable: u64,
    /// How long all of it took.
    pub duration_ms: u64,
}

impl Report for RestoredObjects {}

impl RestoredObjects {
    /// What a restore did.
    pub fn new(snapshot: &SnapshotId, report: &BucketReport, into: &str, duration_ms: u64) -> Self {
        Self {
            snapshot: Id::of(snapshot),
            bucket: into.to_owned(),
            objects: report.objects,
            bytes: report.bytes,
            kept: report.kept,
            deleted: report.deleted,
            damaged: report.damaged.clone(),
            failed: report.failed,
            unreadable: report.unreadable,
            duration_ms,
        }
    }
}

/// What a restore of objects into a bucket would do, by `--dry-run`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoreObjectsPlan {
    /// Always true.
    pub dry_run: bool,
    /// The snapshot.
    pub snapshot: Id,
    /// The bucket, and the prefix.
    pub bucket: String,
    /// Objects of the snapshot that are wanted.
    pub objects: u64,
    /// Bytes of those that would be put.
    pub bytes: u64,
    /// Objects that are there, wanted or not.
    pub there: u64,
    /// Objects that are there and would be replaced.
    pub replaced: u64,
    /// Objects that are there and would stay.
    pub kept: u64,
    /// Objects that would be deleted.
    pub deleted: u64,
    /// Objects that could not be read when the backup was made.
    pub unreadable: u64,
}

impl Report for RestoreObjectsPlan {}

impl RestoreObjectsPlan {
    /// What a restore would do.
    pub fn new(snapshot: &SnapshotId, plan: &BucketPlan, into: &str) -> Self {
        Self {
            dry_run: true,
            snapshot: Id::of(snapshot),
            bucket: into.to_owned(),
            objects: plan.objects,
            bytes: plan.bytes,
            there: plan.there,
            replaced: plan.replaced,
            kept: plan.kept,
            deleted: plan.deleted,
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
    /// `file`, `object`, `directory`, `symlink`, `hardlink`, `char-device`, `block-device`, `fifo`, `socket`,
    /// `unreadable` or `vanished`.
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
    /// What an object of a bucket has besides; absent for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ListedObject>,
}

/// What an object of a bucket has besides its bytes. What it does not have is null.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListedObject {
    /// What its service tells one upload from another by.
    pub etag: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// It is a version that is not the current one.
    pub old: bool,
    /// Storage class, where it is not the usual one.
    pub storage_class: Option<String>,
    /// Media type.
    pub content_type: Option<String>,
    /// How its bytes are coded.
    pub content_encoding: Option<String>,
    /// How a browser shows it.
    pub content_disposition: Option<String>,
    /// Its languages.
    pub content_language: Option<String>,
    /// How long others may keep it.
    pub cache_control: Option<String>,
    /// Until when others may keep it.
    pub expires: Option<String>,
    /// Where a website sends who asks for it.
    pub redirect: Option<String>,
    /// The user's own metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl ListedObject {
    fn of(row: &Row) -> Option<Self> {
        let is_one = row.extra.etag.is_some() || row.extra.facts.is_some();
        let facts = row.extra.facts.clone().unwrap_or_default();
        let pairs = |pairs: Option<Vec<(String, String)>>| pairs.into_iter().flatten().collect();
        is_one.then(|| Self {
            etag: row.extra.etag.clone(),
            version: row.extra.version.clone(),
            old: row.is_old,
            storage_class: facts.class,
            content_type: facts.content_type,
            content_encoding: facts.content_encoding,
            content_disposition: facts.content_disposition,
            content_language: facts.content_language,
            cache_control: facts.cache_control,
            expires: facts.expires,
            redirect: facts.redirect,
            metadata: pairs(facts.metadata),
            tags: pairs(facts.tags),
        })
    }
}

impl ListedFile {
    /// A row of an index.
    pub fn new(row: &Row) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let hex = || Id::of(row.path.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let object = ListedObject::of(row);
        let (kind, size, target) = match &row.kind {
            Kind::File { size, .. } if object.is_some() => ("object", *size, None),
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
            object,
        }
    }

    /// What keys of objects have in common, up to and with a slash.
    pub fn folder(key: &[u8]) -> Self {
        Self::new(&Row {
            path: key.to_vec(),
            kind: Kind::Directory,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Default::default(),
            is_torn: false,
            is_old: false,
            extra: Default::default(),
        })
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
    /// `added`, `removed`, `changed`, `moved`, or `metadata` where the contents are the same.
    pub became: &'static str,
    /// Where a file was that moved. Bytes that are not UTF-8 are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The file in the second snapshot; in the first where it was removed.
    pub file: ListedFile,
}

impl ChangedFile {
    /// A row, and what became of it.
    pub fn new(change: &ChangedRow) -> Self {
        let became = match change.became {
            Became::Added => "added",
            Became::Removed => "removed",
            Became::Changed => "changed",
            Became::Moved => "moved",
            Became::Adorned => "metadata",
        };
        let from = change.from.as_ref().map(|from| String::from_utf8_lossy(from).into_owned());
        Self { became, from, file: ListedFile::new(&change.row) }
    }
}
