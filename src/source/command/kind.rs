//! `type = "command"`: what a table of the configuration says of a program whose output is the dump.

use super::Program;
use crate::base::setting::{Entry, Key, Kind, Problem, Section, Table, WORDS};
use crate::source::Source;
use crate::source::kind::{Around, Settled, SourceKind};
use crate::source::process::Invocation;
use std::sync::Arc;

/// The kind.
pub struct Command;

impl SourceKind for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn section(&self) -> &'static Section {
        &SECTION
    }

    fn of_table(&self, _name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        let is_there = table.has(COMMAND.entry.name);
        let found = table.take(&COMMAND);
        if !is_there {
            table.wrong(None, Problem::new("`command` is missing").next("name a program and its arguments"));
        }
        found.map(|found| Arc::new(found.value) as Arc<dyn Settled>)
    }
}

impl Settled for Invocation {
    fn source(&self, around: &Around) -> Box<dyn Source> {
        Box::new(Program { invocation: self.clone().within(&around.programs), timeout: around.timeout })
    }
}

/// The program and its arguments, which may be secret.
const PROGRAM: Kind<Invocation> = Kind {
    word: "list of words",
    parse: |raw| {
        let words = raw.texts()?;
        let next = "name a program and its arguments: `[\"redis-cli\", \"--rdb\", \"-\"]`";
        let (program, rest) =
            words.split_first().ok_or_else(|| Problem::new("it names no program").next(next))?;
        Ok(Invocation::new(program).args(rest))
    },
    show: WORDS.show,
};

static COMMAND: Key<Invocation> = Key::new(
    &PROGRAM,
    Entry::new(
        "command",
        "Program and arguments whose standard output is the dump; no shell.",
        "[\"redis-cli\", \"--rdb\", \"-\"]",
    ),
);

static SECTION: Section = Section {
    name: "source.NAME",
    which: "with `type = \"command\"`",
    about: "The output of a program.",
    keys: &[&COMMAND],
};
