//! What a directory holds and a snapshot does not: found before a restore, and deleted by it where that is asked for.

use super::into_bucket::first;
use super::{Tree, WantedFiles};
use crate::base::fault::Next;
use crate::base::run::Run;
use crate::base::words;
use crate::content::index::{Kind, Of, canonical};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::restore::refuse_protected;
use crate::source::files::{Lying, There};
use std::cmp::Ordering;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What somebody who wants it deleted has said besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Assent {
    /// Nobody is asked.
    pub yes: bool,
    /// Also what is refused otherwise.
    pub force: bool,
}

/// Of what would be deleted so many are named.
const SHOWN: usize = 3;

/// What would be deleted.
#[derive(Debug, Default)]
pub struct Extras {
    /// Each of it: a directory before what is in it.
    pub paths: Vec<Lying>,
    /// Something that the snapshot has is there.
    met: bool,
}

impl Extras {
    /// The first of it, as a person reads it.
    pub fn first(&self) -> Vec<String> {
        self.paths.iter().take(SHOWN).map(|lying| words::path(&lying.path)).collect()
    }
}

fn refused(message: String, next: &'static str) -> OpError {
    OpError::Refused { message: format!("refused: {message}"), next: Some(Next::new(next)) }
}

/// `protect` in the configuration: these directories are not touched while they hold something.
///
/// # Errors
/// When it is one.
pub fn check_protected_directory(app: &App, into: &Path) -> Result<(), OpError> {
    let whole = whole(into).display().to_string();
    let next = "restore into another directory, or edit `protect`";
    refuse_protected(&app.settings.protect, &[&whole], &format!("`{whole}`"), "files", next)
}

/// The path without links, as far as it is there.
fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Tree<'_> {
    /// Finds what lies in the directories that were backed up, as they would be below `into`, is wanted, and is not in
    /// the snapshot. Changes nothing.
    ///
    /// # Errors
    /// When the snapshot does not say what belongs there, the directory is not one to delete from, or cannot be read.
    pub fn extras(
        &self,
        wanted: &WantedFiles,
        into: &Path,
        assent: Assent,
        app: &App,
        run: &Run,
    ) -> Result<Extras, OpError> {
        if self.holds() != Of::Files {
            let message =
                "only directories of files are compared with what is there, and not objects".to_owned();
            let next = Some(Next::new("restore objects with {to_bucket}, or into a new directory"));
            return Err(OpError::Job { message, next });
        }
        if !assent.force {
            self.check_whole()?;
            check_place(into, app)?;
        }
        let extras = self.find_extras(wanted, into, run)?;
        if !extras.met && !extras.paths.is_empty() && !assent.yes {
            let message = format!(
                "nothing of snapshot {} is in `{}`, and {} would be deleted{}",
                self.chosen.summary.id.short(),
                into.display(),
                words::count(extras.paths.len() as u64, "path"),
                first(&extras.first(), extras.paths.len() as u64)
            );
            return Err(refused(message, "check the directory, leave out {delete}, or use {yes}"));
        }
        Ok(extras)
    }

    /// What the backup left out is not in the snapshot either.
    fn check_whole(&self) -> Result<(), OpError> {
        let excluded = self.index.attributes.get("excluded").and_then(|count| count.parse().ok());
        match excluded.unwrap_or(0u64) {
            0 => Ok(()),
            excluded => Err(refused(
                format!(
                    "the backup left out {} (`exclude`, `newer_than` and the like), which would be deleted",
                    words::count(excluded, "path")
                ),
                "leave out {delete}, or use {force}",
            )),
        }
    }

    /// The directories that were backed up, in the order of the index.
    fn roots(&self) -> Vec<Vec<u8>> {
        let paths = self.chosen.body.source.get("paths").map_or("", String::as_str);
        let path = |line: &str| line.strip_prefix('/').map(|path| path.as_bytes().to_vec());
        let mut roots: Vec<Vec<u8>> = paths.lines().filter_map(path).collect();
        roots.sort_by(|one, other| canonical(one, other));
        roots
    }

    /// Goes through the directories and the index side by side: both have one order.
    fn find_extras(&self, wanted: &WantedFiles, into: &Path, run: &Run) -> Result<Extras, OpError> {
        let failed = |source: io::Error| OpError::File { path: into.to_owned(), source };
        let mut extras = Extras::default();
        let mut there = match There::below(into, self.roots()) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(extras),
            Err(error) => return Err(failed(error)),
        };
        // What is in one that could not be read is not known.
        let mut closed: Option<Vec<u8>> = None;
        let mut next = there.advance().map_err(failed)?;
        let take = |lying: Lying, closed: &Option<Vec<u8>>, extras: &mut Extras| {
            let is_closed = closed.as_ref().is_some_and(|path| super::lies_below(&lying.path, path));
            if !is_closed && wanted.fits(&lying.path, lying.is_directory) {
                extras.paths.push(lying);
            }
        };
        self.files(wanted, &run.cancel, &mut |file| {
            let path = &file.row.path;
            while let Some(lying) = next.take() {
                match canonical(&lying.path, path) {
                    Ordering::Less => take(lying, &closed, &mut extras),
                    Ordering::Equal => extras.met = true,
                    Ordering::Greater => {
                        next = Some(lying);
                        break;
                    }
                }
                next = there.advance().map_err(failed)?;
            }
            if matches!(file.row.kind, Kind::Unreadable | Kind::Vanished) {
                closed = Some(file.row.path);
            }
            Ok(())
        })?;
        while let Some(lying) = next {
            take(lying, &closed, &mut extras);
            next = there.advance().map_err(failed)?;
        }
        Ok(extras)
    }
}

/// Nobody means all of a machine, or all that is theirs.
fn check_place(into: &Path, app: &App) -> Result<(), OpError> {
    let (place, home) = (whole(into), whole(&app.environment.home()));
    // A home that nobody has is that of a service.
    let is_homes = home.as_os_str().as_bytes() != b"/" && home.starts_with(&place);
    if place != Path::new("/") && !is_homes {
        return Ok(());
    }
    let what =
        if place == Path::new("/") { "the root directory" } else { "your home directory, or above it" };
    let message = format!("`{}` is {what}, from which nothing is deleted", place.display());
    Err(refused(message, "restore into another directory, or bound it with {path} and use {force}"))
}
