//! A kind of source in one file: nothing here is known to the program but what stands in the list that it is given.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small::{self, restore};
use dumpvault::base::clock::SystemClock;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::numbers::Proof;
use dumpvault::base::run::{Room, Run};
use dumpvault::base::setting::{COUNT, Entry, Key, Problem, Section, Table};
use dumpvault::engine::app::{App, Kinds};
use dumpvault::engine::backup::run_backups;
use dumpvault::engine::plan::{BackupJob, Wanted, plan_backup};
use dumpvault::settings::{Environment, Flags};
use dumpvault::source::kind::{Addressed, Around, Asked, Settled, SourceKind};
use dumpvault::source::{Dump, PlannedStream, Source, SourceError, StartedDump};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::Access;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

/// `type = "zeros"`: so many bytes of zero.
struct Zeros;

static BYTES: Key<u32> = Key::new(&COUNT, Entry::new("zeros", "How many bytes.", "7"));
static SECTION: Section = Section {
    name: "source.NAME",
    which: "with `type = \"zeros\"`",
    about: "Bytes of zero.",
    keys: &[&BYTES],
};
static KINDS: [&dyn SourceKind; 1] = [&Zeros];

impl SourceKind for Zeros {
    fn name(&self) -> &'static str {
        "zeros"
    }

    fn section(&self) -> &'static Section {
        &SECTION
    }

    fn of_table(&self, _: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        let found = table.take(&BYTES)?;
        Some(Arc::new(Count(found.value)))
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["zeros:"]
    }

    fn of_address(&self, address: &str, _: &Asked<'_>) -> Result<Addressed, Problem> {
        let count = address.trim_start_matches("zeros:").parse();
        let count = count.map_err(|_| Problem::new("no number").next("say how many"))?;
        Ok(Addressed { source: Arc::new(Count(count)), series: Ok("addressed".to_owned()) })
    }
}

#[derive(Clone, Copy)]
struct Count(u32);

impl Settled for Count {
    fn source(&self, _: &Around) -> Box<dyn Source> {
        Box::new(*self)
    }
}

impl Source for Count {
    fn describe(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("kind".to_owned(), "zeros".to_owned())])
    }

    fn streams(self: Box<Self>, series: &str, _: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let bytes = Cursor::new(vec![0; self.0 as usize]);
        let start = move || Ok(StartedDump { dump: Box::new(Bytes(bytes)), attributes: BTreeMap::new() });
        Ok(vec![PlannedStream { name: series.to_owned(), start: Box::new(start) }])
    }
}

struct Bytes(Cursor<Vec<u8>>);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Dump for Bytes {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Exited)
    }
}

fn app(directory: &Path, text: &str) -> Result<App, String> {
    std::fs::write(directory.join("dumpvault.toml"), text).unwrap();
    let uid = rustix::process::getuid().as_raw();
    let environment = Environment {
        variables: Default::default(),
        directory: directory.to_owned(),
        uid,
        is_interactive: false,
    };
    let mut flags = Flags::default();
    flags.say("--config", Some(directory.join("dumpvault.toml")));
    App::with_kinds(
        Kinds { sources: &KINDS, ..Kinds::OWN },
        &flags,
        Access::default(),
        environment,
        Arc::default(),
    )
    .map_err(|error| error.to_string())
}

#[test]
fn given_a_kind_that_the_program_does_not_know_then_tables_and_addresses_of_it_are_backed_up() {
    let scratch = small::scratch();
    let app = app(scratch.path(), "[source.a]\ntype = \"zeros\"\nzeros = 1000\ntags = [\"x\"]\n").unwrap();
    let run = Run::new(Arc::new(SystemClock), Arc::new(Silent), Cancel::new(), Room::default());
    let wanted = |sources: &[&str]| Wanted::Named {
        sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        filter: Default::default(),
    };
    let plan = plan_backup(&BackupJob::new(wanted(&["a", "zeros:500"])), &app, &run).unwrap();
    let repo = small::init(MemoryStorage::new(), &scratch.path().join("cache")).unwrap();
    let report = run_backups(plan, &repo, &run, &mut |_| ());
    assert_eq!(report.class(), None);
    let heads: Vec<_> =
        report.outcomes.iter().map(|outcome| &outcome.result.as_ref().unwrap().committed.summary).collect();
    assert_eq!(heads[0].head.series, "a");
    assert_eq!(heads[1].head.series, "addressed");
    assert!(restore(&repo, &heads[0].id).unwrap() == vec![0; 1000]);
    assert!(restore(&repo, &heads[1].id).unwrap() == vec![0; 500]);

    let error = plan_backup(&BackupJob::new(wanted(&["zeros:many"])), &app, &run).err().unwrap();
    assert_eq!(error.to_string(), "no number");
}

#[test]
fn given_a_kind_that_is_not_in_the_list_then_its_table_is_refused() {
    let scratch = small::scratch();
    let error = app(scratch.path(), "[source.a]\ntype = \"postgres\"\n").err().unwrap();
    assert!(error.contains("source.a"), "{error}");
    let error = app(scratch.path(), "[source.a]\ntype = \"zeros\"\nzeros = \"many\"\n").err().unwrap();
    assert!(error.contains("source.a.zeros"), "{error}");
}
