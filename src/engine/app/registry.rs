//! What settings do not know by themselves: which storages and which kinds of sources this program has.

use crate::base::setting::{Problem, Section, Table};
use crate::settings::{self, Registry, Resolved};
use crate::source::command::Command;
use crate::source::files::FilesKind;
use crate::source::kind::{Settled, SourceKind};
use crate::source::postgres::Postgres;
use crate::storage::s3::S3Address;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All settings of this program.
pub type Settings = Resolved<Place, Arc<dyn Settled>>;

/// Where a repository lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a folder.
    Folder(PathBuf),
    /// In a bucket.
    Bucket(S3Address),
}

/// The kinds of sources that this program knows. The first is what a table is that does not tell.
pub static KINDS: [&dyn SourceKind; 3] = [&Postgres, &Command, &FilesKind];

/// What settings are told of kinds.
fn told(kinds: &[&'static dyn SourceKind]) -> Vec<settings::SourceKind> {
    kinds.iter().map(|kind| settings::SourceKind { name: kind.name(), section: kind.section() }).collect()
}

/// Every table of a configuration file.
pub fn sections() -> Vec<&'static Section> {
    settings::sections(&told(&KINDS))
}

/// Storages and kinds of sources.
pub(super) struct Known<'a> {
    directory: &'a Path,
    kinds: &'a [&'static dyn SourceKind],
    told: Vec<settings::SourceKind>,
}

impl<'a> Known<'a> {
    /// Paths that have no beginning begin at `directory`.
    pub fn new(directory: &'a Path, kinds: &'a [&'static dyn SourceKind]) -> Self {
        Self { directory, kinds, told: told(kinds) }
    }
}

impl Registry for Known<'_> {
    type Place = Place;
    type Source = Arc<dyn Settled>;

    fn place(&self, address: &str) -> Result<Place, Problem> {
        place(address, self.directory)
    }

    fn kinds(&self) -> &[settings::SourceKind] {
        &self.told
    }

    fn source(&self, kind: &str, name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        self.kinds.iter().find(|known| known.name() == kind)?.of_table(name, table)
    }
}

const FORMS: &str = "use a directory, file:///path, s3://bucket/prefix or s3:https://host/bucket/prefix";

fn place(address: &str, directory: &Path) -> Result<Place, Problem> {
    let bad = |address: &str| Problem::new(format!("`{address}` is not a repository address"));
    if S3Address::is_meant(address) {
        // The address as the error has it: without what may be a secret.
        let wrong = |error: crate::storage::StorageError| {
            let Problem { text, next } = bad(&error.object);
            Problem { text: format!("{text}: {}", error.source), next }
        };
        return S3Address::parse(address).map(Place::Bucket).map_err(wrong);
    }
    if let Some(path) = address.strip_prefix("file://") {
        return match path.starts_with('/') {
            true => Ok(Place::Folder(path.into())),
            false => Err(bad(address).next(FORMS)),
        };
    }
    if let Some(scheme) = scheme(address) {
        let next = format!("{FORMS}; prefix a local path with `./` if it contains a colon");
        return Err(Problem::new(format!("`{scheme}:` is not a supported storage")).next(next));
    }
    match address.is_empty() || address.contains("://") {
        true => Err(bad(address).next(FORMS)),
        false => Ok(Place::Folder(directory.join(address))),
    }
}

/// What an address begins with that is none of a local path: `sftp` of `sftp:host:/x`. A path with a colon has a `/` before it.
fn scheme(address: &str) -> Option<&str> {
    let (word, _) = address.split_once(':')?;
    let is_word = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '@'));
    (is_word && !word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests;
