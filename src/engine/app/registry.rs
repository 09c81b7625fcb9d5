//! What settings do not know by themselves: which storages and which kinds of sources this program has.

use crate::base::objects::Reach;
use crate::base::setting::{Given, Problem, Section, Table};
use crate::settings::{self, Registry, Resolved, StorageKind};
use crate::source::bucket::BucketKind;
use crate::source::command::Command;
use crate::source::files::FilesKind;
use crate::source::kind::{Settled, SourceKind};
use crate::source::postgres::Postgres;
use crate::source::redis::Redis;
#[cfg(feature = "azure")]
use crate::storage::azure::Azure;
#[cfg(feature = "gcs")]
use crate::storage::gcs::Gcs;
#[cfg(not(feature = "s3"))]
use crate::storage::left_out::S3;
use crate::storage::local::Directory;
#[cfg(feature = "rclone")]
use crate::storage::rclone::Rclone;
#[cfg(feature = "s3")]
use crate::storage::s3::S3;
use crate::storage::scheme::{Location, Options, Scheme};
#[cfg(feature = "sftp")]
use crate::storage::sftp::Sftp;
use std::path::Path;
use std::sync::Arc;

/// All settings of this program.
pub type Settings = Resolved<Place, Arc<dyn Settled>>;

/// Where a repository lies.
pub type Place = Arc<dyn Location>;

/// The buckets that this program reaches.
pub static BUCKETS: &dyn Reach = &S3;

/// The kinds of sources that this program knows. The first is what a table is that does not tell.
pub static KINDS: &[&dyn SourceKind] = &[&Postgres, &Redis, &Command, &FilesKind, &BucketKind(&S3)];

/// The kinds of storages that this program knows. The last is what an address is that is meant for no other.
pub static SCHEMES: &[&dyn Scheme] = &[
    &S3,
    #[cfg(feature = "azure")]
    &Azure,
    #[cfg(feature = "gcs")]
    &Gcs,
    #[cfg(feature = "sftp")]
    &Sftp,
    #[cfg(feature = "rclone")]
    &Rclone,
    &Directory,
];

/// What a program knows.
#[derive(Clone, Copy)]
pub struct Kinds {
    /// Kinds of sources.
    pub sources: &'static [&'static dyn SourceKind],
    /// Kinds of storages.
    pub storages: &'static [&'static dyn Scheme],
}

impl Kinds {
    /// All that this program has.
    pub const OWN: Self = Self { sources: KINDS, storages: SCHEMES };

    fn told(self) -> (Vec<settings::SourceKind>, Vec<StorageKind>) {
        let source = |kind: &&'static dyn SourceKind| settings::SourceKind {
            name: kind.name(),
            section: kind.section(),
            schemes: kind.schemes(),
        };
        let storage = |scheme: &&'static dyn Scheme| {
            let [section, of_copy] = scheme.sections()?;
            Some(StorageKind { name: scheme.name(), section, of_copy })
        };
        (self.sources.iter().map(source).collect(), self.storages.iter().filter_map(storage).collect())
    }
}

/// Every table of a configuration file.
pub fn sections() -> Vec<&'static Section> {
    let (sources, storages) = Kinds::OWN.told();
    settings::sections(&sources, &storages)
}

/// Storages and kinds of sources.
pub(super) struct Known<'a> {
    directory: &'a Path,
    kinds: Kinds,
    sources: Vec<settings::SourceKind>,
    storages: Vec<StorageKind>,
}

impl<'a> Known<'a> {
    /// Paths that have no beginning begin at `directory`.
    pub(super) fn new(directory: &'a Path, kinds: Kinds) -> Self {
        let (sources, storages) = kinds.told();
        Self { directory, kinds, sources, storages }
    }

    /// How addresses are written.
    fn forms(&self) -> String {
        // Folders last in the list, and first in what people use.
        let forms: Vec<&str> = self.kinds.storages.iter().rev().map(|scheme| scheme.forms()).collect();
        let forms: Vec<&str> = forms.into_iter().filter(|forms| !forms.is_empty()).collect();
        format!("use {}", forms.join(", "))
    }
}

impl Registry for Known<'_> {
    type Place = Place;
    type Source = Arc<dyn Settled>;

    fn place(&self, address: &str) -> Result<Place, Problem> {
        let meant = self.kinds.storages.iter().find(|scheme| scheme.is_meant(address));
        // A word and a colon that no kind knows is no folder.
        let is_unknown = meant.is_none_or(|scheme| scheme.name() == Directory.name());
        if let Some(scheme) = scheme_of(address).filter(|word| is_unknown && *word != Directory.name()) {
            let next = format!("{}; prefix a local path with `./` if it contains a colon", self.forms());
            return Err(Problem::new(format!("`{scheme}:` is not a supported storage")).next(next));
        }
        let bad = || Problem::new(format!("`{address}` is not a repository address"));
        match meant {
            Some(scheme) => scheme.location(address, self.directory).map_err(|problem| match problem.next {
                None if problem.text == bad().text => problem.next(self.forms()),
                _ => problem,
            }),
            None => Err(bad().next(self.forms())),
        }
    }

    fn storages(&self) -> &[StorageKind] {
        &self.storages
    }

    fn storage(&self, name: &str, table: Option<&mut Table<'_>>, given: &Given<'_>) -> Options {
        let scheme = self.kinds.storages.iter().find(|scheme| scheme.name() == name);
        scheme.map_or_else(|| Arc::new(()) as Options, |scheme| scheme.options(table, given))
    }

    fn kinds(&self) -> &[settings::SourceKind] {
        &self.sources
    }

    fn source(&self, kind: &str, name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        self.kinds.sources.iter().find(|known| known.name() == kind)?.of_table(name, table)
    }
}

/// What an address begins with that is none of a local path: `sftp` of `sftp:host:/x`. A path with a colon has a `/`
/// before it.
fn scheme_of(address: &str) -> Option<&str> {
    let (word, _) = address.split_once(':')?;
    let is_word = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '@'));
    (is_word && !word.is_empty()).then_some(word)
}

// They know what all storages are called, and what each has for settings.
#[cfg(test)]
#[cfg(feature = "s3")]
mod tests;
