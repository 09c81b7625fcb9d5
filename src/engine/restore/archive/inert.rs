//! A scratch copy does nothing: what of a dump would act by itself, or reach another server, is left out of it.
//!
//! Left out are subscriptions and event triggers with all that depends on them, and user mappings, without which no
//! foreign server that wants a login is reached. So are rows of foreign tables, which would be written to their server;
//! refreshes of materialised views over foreign tables, which would read from it; and the rows that tell schedulers
//! what to run. Publications, foreign servers and foreign tables themselves do nothing, and are restored.

use super::Archive;
use crate::content::pg::{Entries, Entry, Toc};
use std::collections::{HashMap, HashSet};

/// Kinds of entries that act by themselves.
const ACTIVE: [&[u8]; 4] = [b"SUBSCRIPTION", b"SUBSCRIPTION TABLE", b"EVENT TRIGGER", b"USER MAPPING"];

/// Tables that tell a scheduler what to run: pg_cron's, TimescaleDB's.
const SCHEDULES: [(&[u8], &[u8]); 2] = [(b"cron", b"job"), (b"_timescaledb_config", b"bgw_job")];

/// What of an archive goes into a scratch copy.
pub(in crate::engine::restore) struct Inert {
    /// Places in the table of contents, ascending.
    pub entries: Vec<usize>,
    /// The others, in words: `SUBSCRIPTION s`. What only hangs on one of them is not named.
    pub left_out: Vec<String>,
}

impl Archive {
    /// All that can be in a scratch copy without doing anything.
    pub(in crate::engine::restore) fn inert(&self) -> Inert {
        let toc = self.toc();
        let left_out = active(toc);
        let mut named = Vec::new();
        let mut entries = Vec::new();
        for (at, entry) in toc.entries().iter().enumerate() {
            match left_out.get(&entry.dump_id) {
                None => entries.push(at),
                Some(true) => named.push(words(&entry)),
                Some(false) => {}
            }
        }
        Inert { entries, left_out: named }
    }
}

fn words(entry: &Entry) -> String {
    let (kind, name) = (entry.kind(), entry.name());
    match entry.schema() {
        schema if schema.is_empty() => format!("{kind} {name}"),
        schema => format!("{kind} {schema}.{name}"),
    }
}

/// The numbers of the entries that are left out, each with whether it is so for its own sake.
fn active(toc: &Toc) -> HashMap<u32, bool> {
    let entries = toc.entries();
    let foreign: HashSet<u32> =
        entries.iter().filter(|entry| entry.desc() == b"FOREIGN TABLE").map(|entry| entry.dump_id).collect();
    let reading = reading(entries, &foreign);
    let mut left_out = HashMap::new();
    for entry in entries.iter() {
        let acts = match entry.desc() {
            b"TABLE DATA" => {
                let name = (entry.namespace().unwrap_or_default(), entry.tag());
                SCHEDULES.contains(&name) || entry.dependencies().any(|id| foreign.contains(&id))
            }
            b"MATERIALIZED VIEW DATA" => reading.contains(&entry.dump_id),
            desc => ACTIVE.contains(&desc),
        };
        if acts {
            left_out.insert(entry.dump_id, true);
        }
    }
    // Comments and labels of what is not there. On data hangs nothing that could not be without it.
    let is_data = |entry: &Entry| matches!(entry.desc(), b"TABLE DATA" | b"MATERIALIZED VIEW DATA");
    let data: HashSet<u32> = entries.iter().filter(is_data).map(|entry| entry.dump_id).collect();
    let hangs_on =
        |entry: &Entry| entry.dependencies().any(|id| left_out.contains_key(&id) && !data.contains(&id));
    let hanging: Vec<u32> = entries.iter().filter(hangs_on).map(|entry| entry.dump_id).collect();
    for id in hanging {
        left_out.entry(id).or_insert(false);
    }
    left_out
}

/// The numbers of all entries that need one of `roots`, however indirectly.
fn reading(entries: Entries<'_>, roots: &HashSet<u32>) -> HashSet<u32> {
    let mut needed_by: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in entries.iter() {
        for id in entry.dependencies() {
            needed_by.entry(id).or_default().push(entry.dump_id);
        }
    }
    let mut found = HashSet::new();
    let mut open: Vec<u32> = roots.iter().copied().collect();
    while let Some(id) = open.pop() {
        for user in needed_by.get(&id).into_iter().flatten() {
            if found.insert(*user) {
                open.push(*user);
            }
        }
    }
    found
}
