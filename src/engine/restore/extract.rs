//! What of a snapshot leaves the repository: a stream, or a part of its archive.

use super::{Archive, Chosen, Part, Target};
use crate::base::pattern::PatternError;
use crate::base::run::Run;
use crate::content::pg::{Sections, Selection, TableData, TableMap};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::Programs;
use crate::engine::tables::table_map;
use crate::source::command::{SinkOutput, open_sink};
use crate::source::process::{Invocation, Limits};
use crate::vault::reader::ReadStats;
use crate::vault::snapshot::Stream;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::str::FromStr;
use std::time::Duration;

/// What somebody asks for of a dump. Patterns stand as they were given.
#[derive(Debug, Clone, Default)]
pub struct PartsJob {
    /// Tables.
    pub tables: Vec<String>,
    /// Schemas.
    pub schemas: Vec<String>,
    /// Not these tables.
    pub exclude_tables: Vec<String>,
    /// Not these extensions.
    pub exclude_extensions: Vec<String>,
    /// Nothing that the named parts need comes along.
    pub bare: bool,
    /// Large objects come along with named parts.
    pub large_objects: bool,
    /// Definitions, and no rows.
    pub schema_only: bool,
    /// Rows, and nothing else.
    pub data_only: bool,
}

impl PartsJob {
    /// What that selects; `None` when it is everything.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn selection(&self) -> Result<Option<Wanted>, OpError> {
        let selection = Selection {
            tables: parsed(&self.tables)?,
            schemas: parsed(&self.schemas)?,
            exclude_tables: parsed(&self.exclude_tables)?,
            exclude_extensions: parsed(&self.exclude_extensions)?,
            bare: self.bare,
            large_objects: self.large_objects,
            sections: match (self.schema_only, self.data_only) {
                (true, _) => Sections::SCHEMA_ONLY,
                (_, true) => Sections::DATA_ONLY,
                _ => Sections::ALL,
            },
        };
        Ok((selection != Selection::default()).then_some(Wanted(selection)))
    }
}

fn parsed<T: FromStr<Err = PatternError>>(texts: &[String]) -> Result<Vec<T>, OpError> {
    let wrong = |error: PatternError| OpError::Job { message: error.to_string(), next: None };
    texts.iter().map(|text| text.parse().map_err(wrong)).collect()
}

/// What is wanted of a dump.
#[derive(Debug, Clone, Default)]
pub struct Wanted(Selection);

/// A part that was chosen, and the archive that it is of.
pub struct Picked {
    /// The archive.
    pub archive: Archive,
    /// The part.
    pub part: Part,
}

impl Picked {
    /// The tables and large objects in it that have data.
    pub fn tables(&self) -> impl ExactSizeIterator<Item = TableData<'_>> + Clone {
        self.archive.tables(&self.part)
    }

    /// How many entries of each kind.
    pub fn kinds(&self) -> BTreeMap<String, usize> {
        let toc = self.archive.toc();
        let mut kinds = BTreeMap::new();
        for entry in self.part.entries.iter().filter_map(|index| toc.entries().get(*index)) {
            *kinds.entry(entry.kind().into_owned()).or_insert(0) += 1;
        }
        kinds
    }
}

/// How several workers share out a part: how many entries each restores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Definitions, which go first.
    pub first: usize,
    /// For each worker, and the bytes of its rows.
    pub workers: Vec<(usize, u64)>,
    /// Privileges and materialised views, which go last.
    pub last: usize,
}

/// What is restored.
pub struct Extract {
    /// The snapshot.
    pub chosen: Chosen,
    /// The stream.
    pub stream: Stream,
    /// The part of it; `None` for the whole, as it is. Then its archive has the stream's map, and the stream none.
    pub picked: Option<Picked>,
    selection: Selection,
}

impl Extract {
    /// A stream as it is.
    pub fn whole(chosen: Chosen, stream: Stream) -> Self {
        Self { chosen, stream, picked: None, selection: Selection::default() }
    }

    /// What a selection picks of a stream, by the table of contents of its archive.
    ///
    /// # Errors
    /// When the stream has no parts, nothing of it fits, or it cannot be read.
    pub fn part(chosen: Chosen, mut stream: Stream, wanted: Wanted, run: &Run) -> Result<Self, OpError> {
        let Wanted(selection) = wanted;
        let archive = chosen.take_archive(&mut stream, run.events.as_ref(), &run.cancel)?;
        let part = archive.select(&selection)?;
        Ok(Self { chosen, stream, picked: Some(Picked { archive, part }), selection })
    }

    /// Picks all of an archive, where nothing is picked: several workers share it out.
    ///
    /// # Errors
    /// When the stream has no parts, or cannot be read.
    pub(super) fn pick_all(&mut self, run: &Run) -> Result<(), OpError> {
        if self.picked.is_none() {
            let archive = self.chosen.take_archive(&mut self.stream, run.events.as_ref(), &run.cancel)?;
            let part = archive.select(&self.selection)?;
            self.picked = Some(Picked { archive, part });
        }
        Ok(())
    }

    /// Some tables or schemas were named, or left out.
    pub(super) fn names_parts(&self) -> bool {
        let Selection { tables, schemas, exclude_tables, .. } = &self.selection;
        !tables.is_empty() || !schemas.is_empty() || !exclude_tables.is_empty()
    }

    /// Nothing comes along that the named parts need.
    pub(super) fn is_bare(&self) -> bool {
        self.selection.bare
    }

    /// How many tables and large objects of the stream have data, and the version of its server, as far as that is
    /// known.
    pub fn known(&self) -> Option<(usize, String)> {
        let told = |map: &TableMap| (map.tables.len(), map.server_version.clone());
        match &self.picked {
            Some(picked) => Some(told(picked.archive.map())),
            None => table_map(&self.stream).ok().flatten().map(|map| told(&map)),
        }
    }

    /// It holds rows, and nothing that they could go into.
    pub fn is_rows_alone(&self) -> bool {
        self.selection.sections == Sections::DATA_ONLY
    }

    /// It holds definitions, and no rows.
    pub fn is_schema_alone(&self) -> bool {
        self.selection.sections == Sections::SCHEMA_ONLY
    }

    /// A part of a dump may stand beside what is there; data goes into tables that are.
    pub(super) fn stands_beside(&self) -> bool {
        let Selection { tables, schemas, .. } = &self.selection;
        !tables.is_empty() || !schemas.is_empty() || self.is_rows_alone()
    }

    /// Tables whose foreign keys refer to each other in a circle: their triggers are off while their rows are loaded.
    pub fn circular(&self) -> &[String] {
        self.picked.as_ref().map(|picked| picked.part.circular.as_slice()).unwrap_or_default()
    }

    /// Plain bytes of it.
    ///
    /// # Errors
    /// When the table of contents is damaged.
    pub fn bytes(&self) -> Result<u64, OpError> {
        match &self.picked {
            Some(Picked { archive, part }) if part.entries.len() < archive.toc().entries().len() => {
                archive.bytes_of(&part.entries)
            }
            _ => Ok(self.stream.bytes),
        }
    }

    /// How several workers would share it out; `None` where there is no part to share out.
    pub fn shares(&self, workers: usize) -> Option<Shares> {
        let Picked { archive, part } = self.picked.as_ref()?;
        let jobs = archive.plan_jobs(&part.entries, workers);
        Some(Shares {
            first: jobs.pre_data.entries.len(),
            workers: jobs.data.iter().map(|part| (part.entries.len(), part.data_bytes)).collect(),
            last: jobs.last.entries.len(),
        })
    }

    /// Sends it to a program's standard input. What the program prints goes where this process's own output goes.
    ///
    /// # Errors
    /// When it cannot be read, or the program fails; nothing of it counts as restored then.
    pub fn send_to_program(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        timeout: Option<Duration>,
        app: &App,
        run: &Run,
    ) -> Result<ReadStats, OpError> {
        let around = Programs::of(app).surroundings();
        let invocation = Invocation::new(program).args(arguments).within(&around);
        let limits = Limits::new(run.cancel.clone()).with_timeout(timeout);
        let open = || open_sink(&invocation, SinkOutput::Inherit, limits.clone());
        self.send(Target::Program(&open, format!("`{}`", invocation.program())), run)
    }

    /// Sends it to its target.
    ///
    /// # Errors
    /// When it cannot be read, or the target fails; nothing of it counts as restored then.
    pub fn send(&self, target: Target<'_>, run: &Run) -> Result<ReadStats, OpError> {
        let events = run.events.as_ref();
        match &self.picked {
            None => self.chosen.restore(&self.stream, target, events, &run.cancel),
            Some(Picked { archive, part }) => {
                let parts = archive.synthesise(&part.entries)?;
                self.chosen.restore_part(&self.stream, &parts, target, events, &run.cancel)
            }
        }
    }
}
