//! How a restore is spread over workers.
//!
//! The order is `pg_restore`'s own: definitions, data, then indexes and keys, then privileges, and last what must see
//! those: materialised views and event triggers.

use super::entry::{Entry, Section};
use super::freeze::{copy_target, may_freeze};
use super::map::TableMap;
use super::synthesise::{LargeObject, Synthesis, SynthesisError, WithData, synthesise, synthesise_frozen};
use super::toc::Toc;
use std::collections::{HashMap, HashSet};

/// A part of a restore: an archive of its own, for one run of `pg_restore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Places in the table of contents, ascending.
    pub entries: Vec<usize>,
    /// Bytes of data to be copied.
    pub data_bytes: u64,
    /// What `pg_restore` must be told for this part.
    pub arguments: &'static [&'static str],
    with_data: WithData,
    /// Entries whose rows may be frozen.
    frozen: Vec<usize>,
}

impl Part {
    fn new(entries: Vec<usize>) -> Self {
        Self { entries, data_bytes: 0, arguments: &[], with_data: WithData::Yes, frozen: Vec::new() }
    }

    /// There is nothing to do but to set the encoding.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The archive. Of a tar archive, `objects` are the large objects.
    ///
    /// # Errors
    /// When data is missing in the map.
    pub fn synthesise(
        &self,
        toc: &Toc,
        map: &TableMap,
        objects: &[LargeObject],
    ) -> Result<Synthesis, SynthesisError> {
        synthesise(toc, map, objects, &self.entries, self.with_data)
    }

    /// The same. Tables that this restore makes are emptied and filled in one transaction, and their rows are frozen:
    /// the server need not write them again later. For PostgreSQL 14 and newer, and a `pg_restore` that talks to the
    /// server itself.
    ///
    /// # Errors
    /// As [`Part::synthesise`].
    pub fn synthesise_frozen(
        &self,
        toc: &Toc,
        map: &TableMap,
        objects: &[LargeObject],
    ) -> Result<Synthesis, SynthesisError> {
        synthesise_frozen(toc, map, objects, &self.entries, &self.frozen, self.with_data)
    }
}

/// The parts of a restore, to be run one after the other; those of `data` side by side. Each is restored by a run of
/// `pg_restore` of its own, so that no transaction spans them: the target is a new database, which takes its name when
/// all is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobsPlan {
    /// Definitions, by one worker.
    pub pre_data: Part,
    /// Data, a part for each worker, none of them empty; the largest first.
    pub data: Vec<Part>,
    /// Indexes and keys, none of the parts empty. As a file, each can be given to `pg_restore -j`. The tables are in
    /// it, too, so that `pg_restore` sees which entries lock the same one. After each, partitioned indexes have to be
    /// made valid. Connections that attach the last parts of two partitions at the same time leave the index above both
    /// invalid, and the foreign keys, which refer to it, come with the second part.
    pub post_data: Vec<Part>,
    /// Privileges, then materialised views, event triggers and statistics.
    pub last: Part,
}

/// When `pg_restore` would restore an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Setting,
    PreData,
    Data,
    PostData,
    Last,
}

impl Pass {
    fn of(entry: &Entry, section: Section) -> Self {
        match entry.desc() {
            b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" => return Self::Setting,
            b"ACL" | b"ACL LANGUAGE" | b"DEFAULT ACL" => return Self::Last,
            b"EVENT TRIGGER" | b"MATERIALIZED VIEW DATA" | b"STATISTICS DATA" => return Self::Last,
            b"COMMENT" | b"SECURITY LABEL" if entry.tag().starts_with(b"EVENT TRIGGER ") => {
                return Self::Last;
            }
            _ => {}
        }
        match section {
            Section::None | Section::PreData => Self::PreData,
            Section::Data => Self::Data,
            Section::PostData => Self::PostData,
        }
    }
}

/// Plans a restore of chosen entries with so many workers (at least one) for the data.
///
/// Tables that must not be loaded side by side stay together. These are partitions loaded through one root; tables that
/// are not defined in the archive (an extension's, or all of a `--data-only` archive), in their order; and large
/// objects with their metadata, comments and labels.
pub fn plan_jobs(toc: &Toc, map: &TableMap, chosen: &[usize], workers: usize) -> JobsPlan {
    let passes: Vec<(usize, Pass)> = chosen
        .iter()
        .filter_map(|&index| {
            let entry = toc.entries().get(index)?;
            // From PostgreSQL 17 on, privileges of large objects are those of an entry, which `pg_restore` looks for
            // beside them.
            let of_large_objects = toc.section(index) == Section::Data && needs_large_object(toc, index);
            let pass = if of_large_objects { Pass::Data } else { Pass::of(&entry, toc.section(index)) };
            Some((index, pass))
        })
        .collect();
    let of = |pass| passes.iter().filter(move |(_, is)| *is == pass).map(|&(index, _)| index);
    let settings: Vec<usize> = of(Pass::Setting).collect();
    let part = |entries: Vec<usize>| {
        let mut all = entries;
        if !all.is_empty() {
            all.extend(&settings);
            all.sort_unstable();
        }
        Part::new(all)
    };

    let pre_data = part(of(Pass::PreData).collect());
    let made: HashSet<usize> = of(Pass::PreData).collect();
    let mut units = units(toc, map, of(Pass::Data));
    for unit in &mut units {
        // What empties a table must be the first to fill it.
        if let &[only] = unit.entries.as_slice()
            && may_freeze(toc, only, &made)
        {
            unit.frozen.push(only);
        }
    }
    let data = spread(units, workers.max(1))
        .into_iter()
        .map(|unit| Part { data_bytes: unit.bytes, frozen: unit.frozen, ..part(unit.entries) })
        .collect();
    let is_table = |&index: &usize| is(toc, index, b"TABLE") || is(toc, index, b"TABLE DATA");
    let tables: Vec<usize> = chosen.iter().copied().filter(is_table).collect();
    let post_data = stages(toc, of(Pass::PostData))
        .into_iter()
        .filter(|stage| !stage.is_empty())
        .map(|mut stage| {
            stage.extend(&tables);
            Part { arguments: &["--section=post-data"], with_data: WithData::No, ..part(stage) }
        })
        .collect();
    let last = part(of(Pass::Last).collect());
    JobsPlan { pre_data, data, post_data, last }
}

fn is(toc: &Toc, index: usize, desc: &[u8]) -> bool {
    toc.entries().get(index).is_some_and(|entry| entry.desc() == desc)
}

/// Where indexes are attached: foreign keys, and what needs them, apart from all that comes before. `post_data` is in
/// the archive's order, in which nothing stands before what it needs.
fn stages(toc: &Toc, post_data: impl Iterator<Item = usize>) -> [Vec<usize>; 2] {
    let mut stages = [post_data.collect(), Vec::new()];
    let [first, second] = &mut stages;
    if first.iter().any(|&index| is(toc, index, b"INDEX ATTACH")) {
        let mut late = HashSet::new();
        first.retain(|&index| {
            let is_late = is(toc, index, b"FK CONSTRAINT") || toc.needs(index).any(|it| late.contains(&it));
            if is_late {
                late.insert(index);
                second.push(index);
            }
            !is_late
        });
    }
    stages
}

/// Data that one worker has to load.
#[derive(Debug, Default)]
struct Unit {
    entries: Vec<usize>,
    /// Those of them whose rows may be frozen.
    frozen: Vec<usize>,
    bytes: u64,
}

/// Why data stays together.
#[derive(PartialEq, Eq, Hash)]
enum Together {
    /// Nothing else goes there.
    Target(Vec<u8>),
    Entry(usize),
    LargeObjects,
    /// In the archive's order.
    InOrder,
}

fn units(toc: &Toc, map: &TableMap, data: impl Iterator<Item = usize>) -> Vec<Unit> {
    let bytes: HashMap<u32, u64> = map.tables.iter().map(|table| (table.dump_id, table.len)).collect();
    let mut numbers = HashMap::new();
    let mut units: Vec<Unit> = Vec::new();
    for index in data {
        let Some(entry) = toc.entries().get(index) else { continue };
        let is_defined = toc.needs(index).any(|needed| {
            toc.entries().get(needed).is_some_and(|entry| matches!(entry.desc(), b"TABLE" | b"FOREIGN TABLE"))
        });
        let together = match (entry.desc(), entry.copy()) {
            _ if is_large_object(&entry) || needs_large_object(toc, index) => Together::LargeObjects,
            (b"TABLE DATA", Some(copy)) if is_defined => Together::Target(copy_target(copy).to_vec()),
            (b"TABLE DATA", None) if is_defined => Together::Entry(index),
            _ => Together::InOrder,
        };
        let number = *numbers.entry(together).or_insert(units.len());
        if number == units.len() {
            units.push(Unit::default());
        }
        if let Some(unit) = units.get_mut(number) {
            unit.entries.push(index);
            unit.bytes += bytes.get(&entry.dump_id).copied().unwrap_or(0);
        }
    }
    units
}

fn is_large_object(entry: &Entry) -> bool {
    matches!(entry.desc(), b"BLOBS" | b"BLOB METADATA" | b"BLOB COMMENTS")
}

/// Whether an entry says something of large objects that come with the data. Before PostgreSQL 17 they are made with
/// the definitions.
fn needs_large_object(toc: &Toc, index: usize) -> bool {
    toc.needs(index).any(|needed| toc.entries().get(needed).is_some_and(|it| is_large_object(&it)))
}

/// Gives the largest unit to the worker that has least, and so on.
fn spread(mut units: Vec<Unit>, workers: usize) -> Vec<Unit> {
    units.sort_by_key(|unit| (std::cmp::Reverse(unit.bytes), unit.entries.first().copied()));
    let mut loads: Vec<Unit> = Vec::new();
    loads.resize_with(workers.min(units.len()), Unit::default);
    for unit in units {
        if let Some(load) = loads.iter_mut().min_by_key(|load| (load.bytes, load.entries.len())) {
            load.entries.extend(unit.entries);
            load.frozen.extend(unit.frozen);
            load.bytes += unit.bytes;
        }
    }
    loads.sort_by_key(|load| std::cmp::Reverse(load.bytes));
    for load in &mut loads {
        load.entries.sort_unstable();
        load.frozen.sort_unstable();
    }
    loads
}
