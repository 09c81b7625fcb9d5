//! `type = "files"`: what a table of the configuration says of files and directories.

use super::{Choice, Files, roots};
use crate::base::setting::{AGE, BOOLEAN, Entry, Key, Kind, Problem, Section, Table};
use crate::base::unit::Age;
use crate::source::Source;
use crate::source::kind::{Around, Home, Settled, SourceKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The kind.
pub struct FilesKind;

impl SourceKind for FilesKind {
    fn name(&self) -> &'static str {
        "files"
    }

    fn section(&self) -> &'static Section {
        &SECTION
    }

    fn of_table(&self, _name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        let is_there = table.has(PATHS.entry.name);
        let paths = table.take(&PATHS).map(|found| found.value);
        let choice = table.take(&EXCLUDE).map(|found| found.value).unwrap_or_default();
        let newer_than = table.take(&NEWER_THAN).map(|found| found.value);
        let crosses = table.take(&ONE_FILE_SYSTEM).is_some_and(|found| !found.value);
        if !is_there {
            let next = "name files and directories: `[\"/etc\", \"/srv/app/uploads\"]`";
            table.wrong(None, Problem::new("`paths` is missing").next(next));
        }
        let skips_caches = table.take(&EXCLUDE_CACHES).is_some_and(|found| found.value);
        Some(Arc::new(Files { paths: paths?, choice, newer_than, crosses, skips_caches, timeout: None }))
    }
}

impl Settled for Files {
    fn source(&self, around: &Around) -> Box<dyn Source> {
        Box::new(Self { timeout: around.timeout, ..self.clone() })
    }

    /// Each file has its whole path in the snapshot.
    fn home(&self) -> Option<Home> {
        Some(Home { address: "/".to_owned(), exec: None })
    }
}

/// Absolute paths: what a relative one means would depend on where the program is run.
const ROOTS: Kind<Vec<PathBuf>> = Kind {
    word: "list of paths",
    parse: |raw| {
        let paths: Vec<PathBuf> = raw.texts()?.into_iter().map(PathBuf::from).collect();
        if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
            let text = format!("`{}` is a relative path", path.display());
            return Err(Problem::new(text).next("write it from `/` on"));
        }
        roots(&paths, Path::new("/")).map_err(|error| Problem::new(error.to_string()))
    },
    show: |raw| Some(raw.clone()),
};

/// Patterns in the way of git.
const PATTERNS: Kind<Choice> = Kind {
    word: "list of patterns",
    parse: |raw| Choice::excluding(&raw.texts()?).map_err(|error| Problem::new(error.to_string())),
    show: |raw| Some(raw.clone()),
};

static PATHS: Key<Vec<PathBuf>> = Key::new(
    &ROOTS,
    Entry::new(
        "paths",
        "Files and directories to back up, with everything below them.",
        "[\"/etc/nginx\", \"/srv/app/uploads\"]",
    ),
);
static EXCLUDE: Key<Choice> = Key::new(
    &PATTERNS,
    Entry::new(
        "exclude",
        "What to leave out: patterns as in a .gitignore file that lies in `/`.",
        "[\"*.tmp\", \"/srv/app/uploads/cache/\"]",
    ),
);
static EXCLUDE_CACHES: Key<bool> = Key::new(
    &BOOLEAN,
    Entry::new(
        "exclude_caches",
        "Whether to leave out what lies in directories with a `CACHEDIR.TAG`.",
        "true",
    ),
);
static NEWER_THAN: Key<Age> =
    Key::new(&AGE, Entry::new("newer_than", "Leave out files last modified longer ago than this.", "\"7d\""));
static ONE_FILE_SYSTEM: Key<bool> = Key::new(
    &BOOLEAN,
    Entry::new(
        "one_file_system",
        "Whether what is mounted below the paths is left out; true unless said otherwise.",
        "false",
    ),
);

static SECTION: Section = Section {
    name: "source.NAME",
    which: "with `type = \"files\"`",
    about: "Files and directories.",
    keys: &[&PATHS, &EXCLUDE, &EXCLUDE_CACHES, &NEWER_THAN, &ONE_FILE_SYSTEM],
};
