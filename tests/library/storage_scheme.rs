//! A kind of storage in one file: nothing here is known to the program but what stands in the list that it is given.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small;
use dumpvault::base::setting::{COUNT, Entry, Given, Key, Problem, Section, TEXT, Table};
use dumpvault::engine::app::{App, Kinds};
use dumpvault::settings::{Environment, Flags};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::storage::scheme::{Connected, Connecting, Location, Options, Scheme};
use dumpvault::storage::{Storage as _, StorageError};
use dumpvault::vault::Access;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// `shelf://NAME`: a storage in memory, on one of so many shelves.
struct Shelf;

/// What `[shelf]` says.
#[derive(Debug, Clone, PartialEq)]
struct Shelves {
    floor: Option<u32>,
    label: Option<String>,
}

static FLOOR: Key<u32> = Key::new(&COUNT, Entry::new("floor", "Which floor.", "3"));
static LABEL: Key<String> = Key::new(&TEXT, Entry::new("label", "What stands on it.", "\"books\""));
static TABLE: Section = Section { name: "shelf", which: "", about: "Shelves.", keys: &[&FLOOR, &LABEL] };
static OF_COPY: Section = Section { name: "copy.NAME.shelf", ..Section { keys: TABLE.keys, ..EMPTY } };
const EMPTY: Section = Section { name: "", which: "", about: "Shelves of a destination.", keys: &[] };
static STORAGES: [&dyn Scheme; 1] = [&Shelf];
static SHELVES: Mutex<BTreeMap<String, MemoryStorage>> = Mutex::new(BTreeMap::new());

impl Scheme for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn forms(&self) -> &'static str {
        "shelf://NAME"
    }

    fn is_meant(&self, address: &str) -> bool {
        address.starts_with("shelf:")
    }

    fn location(&self, address: &str, _directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        match address.strip_prefix("shelf://") {
            Some(name) if !name.is_empty() => Ok(Arc::new(At(name.to_owned()))),
            _ => Err(Problem::new(format!("`{address}` names no shelf"))),
        }
    }

    fn sections(&self) -> Option<[&'static Section; 2]> {
        Some([&TABLE, &OF_COPY])
    }

    fn options(&self, table: Option<&mut Table<'_>>, given: &Given<'_>) -> Options {
        let other = given.other.and_then(|other| other.downcast_ref::<Shelves>()).cloned();
        let own = table.map(|table| Shelves {
            floor: table.take(&FLOOR).map(|found| found.value),
            label: table.take(&LABEL).map(|found| found.value),
        });
        Arc::new(own.or(other).unwrap_or(Shelves { floor: None, label: None }))
    }
}

#[derive(Debug)]
struct At(String);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shelf://{}", self.0)
    }
}

impl Location for At {
    fn scheme(&self) -> &'static str {
        "shelf"
    }

    fn is_local(&self) -> bool {
        false
    }

    fn connect(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        assert!(options.downcast_ref::<Shelves>().unwrap().floor == Some(3) && around.requests_at_once > 1);
        let storage = Arc::new(SHELVES.lock().unwrap().entry(self.0.clone()).or_default().clone());
        Ok(Connected { storage: storage.clone(), bare: storage, bucket: None })
    }
}

fn app(directory: &Path, text: &str) -> Result<App, String> {
    std::fs::write(directory.join("dumpvault.toml"), text).unwrap();
    let variables = [("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state")];
    let environment = Environment {
        variables: variables.iter().map(|(name, of)| (name.into(), directory.join(of).into())).collect(),
        directory: directory.to_owned(),
        uid: rustix::process::getuid().as_raw(),
        is_interactive: false,
    };
    let mut flags = Flags::default();
    flags.say("--config", Some(directory.join("dumpvault.toml")));
    let kinds = Kinds { storages: &STORAGES, ..Kinds::OWN };
    App::with_kinds(kinds, &flags, Access::default(), environment, Arc::default())
        .map_err(|error| error.to_string())
}

#[test]
fn given_a_storage_that_the_program_does_not_know_then_repositories_are_made_and_opened_there() {
    let scratch = small::scratch();
    let text = "repository = \"shelf://left\"\n[shelf]\nfloor = 3\nlabel = \"x\"\n[copy.c]\nrepository = \"shelf://right\"\n\
                [copy.d]\nrepository = \"shelf://up\"\n[copy.d.shelf]\nfloor = 3\n";
    let app = app(scratch.path(), text).unwrap();
    let credential = small::credential();
    let made = app.init(&credential, "", 0).unwrap();
    assert_eq!(app.identify().unwrap().id, made.id());
    app.open(&app.identify().unwrap(), &credential).unwrap();
    let left = SHELVES.lock().unwrap()["left"].clone();
    assert!(left.size("config").unwrap().is_some());
    // A destination has the settings of all, or of a table of its own.
    let of_copy = |name: &str| {
        let options = &app.settings.copies[name].repository.storages["shelf"];
        options.downcast_ref::<Shelves>().unwrap().clone()
    };
    assert_eq!(of_copy("c"), Shelves { floor: Some(3), label: Some("x".to_owned()) });
    assert_eq!(of_copy("d"), Shelves { floor: Some(3), label: None });
    app.at(&app.settings.copies["c"].repository).init(&credential, "", 0).unwrap();
    assert!(SHELVES.lock().unwrap().contains_key("right"));
}

#[test]
fn given_a_storage_that_is_not_in_the_list_then_its_address_and_table_are_refused() {
    let scratch = small::scratch();
    for (text, says) in [
        ("repository = \"s3://bucket/x\"\n", "`s3:` is not a supported storage"),
        ("repository = \"/folder\"\n", "is not a repository address"),
        ("[s3]\nregion = \"x\"\n", "s3"),
        ("repository = \"shelf://\"\n", "names no shelf"),
        ("[shelf]\nfloor = \"top\"\n", "shelf.floor"),
        ("[copy.c]\nrepository = \"shelf://x\"\n[copy.c.shelf]\nflor = 1\n", "copy.c.shelf.flor"),
    ] {
        let error = app(scratch.path(), text).err().unwrap();
        assert!(error.contains(says), "{text}: {error}");
    }
}
