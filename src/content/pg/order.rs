//! The order of rows that are loaded into tables which have their foreign keys already: what is referred to comes
//! first.
//!
//! An archive with definitions has its rows in the order of names, since keys are made after them.

use super::entry::{Entry, key_of};
use super::toc::Toc;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Puts the data among `entries` in an order in which no foreign key fails; gives the tables that refer to each other
/// in a circle, for which there is none.
pub(super) fn order_by_keys(toc: &Toc, entries: &mut [usize]) -> Vec<String> {
    let tables = Tables::of(toc);
    let is_rows = |index: usize| toc.entries().get(index).is_some_and(|entry| entry.desc() == b"TABLE DATA");
    let slots: Vec<usize> =
        (0..entries.len()).filter(|at| entries.get(*at).is_some_and(|it| is_rows(*it))).collect();
    let rows: Vec<usize> = slots.iter().filter_map(|at| entries.get(*at).copied()).collect();
    let mut of_table: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in rows {
        // Rows of a table that is not in the archive are nobody's.
        let table = tables.of_rows(toc, index).unwrap_or(index);
        of_table.entry(table).or_default().push(index);
    }
    let present: BTreeSet<usize> = of_table.keys().copied().collect();
    let (order, circular) = sorted(&present, &tables.references(toc));
    let ordered = order.iter().flat_map(|table| of_table.get(table).into_iter().flatten());
    for (slot, index) in slots.iter().zip(ordered) {
        if let Some(place) = entries.get_mut(*slot) {
            *place = *index;
        }
    }
    let name = |table: &usize| toc.entries().get(*table).map(|it| format!("{}.{}", it.schema(), it.name()));
    circular.iter().filter_map(name).collect()
}

/// The tables of an archive, partitions as their roots.
struct Tables {
    by_name: HashMap<Vec<u8>, usize>,
    parents: HashMap<usize, usize>,
}

impl Tables {
    fn of(toc: &Toc) -> Self {
        let is_table = |entry: &Entry| matches!(entry.desc(), b"TABLE" | b"FOREIGN TABLE");
        let named = toc.entries().iter().enumerate().filter(|(_, entry)| is_table(entry));
        let by_name: HashMap<_, _> =
            named.map(|(index, entry)| (key_of(entry.namespace(), entry.tag()), index)).collect();
        let mut tables = Self { by_name, parents: HashMap::new() };
        let attached = toc.entries().iter().enumerate().filter(|(_, entry)| entry.desc() == b"TABLE ATTACH");
        for (index, attach) in attached {
            let child = tables.by_name.get(&key_of(attach.namespace(), attach.tag())).copied();
            let parent = toc.needs(index).find(|needed| {
                Some(*needed) != child && toc.entries().get(*needed).is_some_and(|it| is_table(&it))
            });
            if let (Some(child), Some(parent)) = (child, parent) {
                tables.parents.insert(child, parent);
            }
        }
        tables
    }

    fn root(&self, table: usize) -> usize {
        // A chain is no longer than there are links, whatever an archive says.
        (0..self.parents.len()).fold(table, |table, _| self.parents.get(&table).copied().unwrap_or(table))
    }

    fn of_rows(&self, toc: &Toc, rows: usize) -> Option<usize> {
        let entry = toc.entries().get(rows)?;
        self.by_name.get(&key_of(entry.namespace(), entry.tag())).map(|table| self.root(*table))
    }

    /// For each table, those that it refers to; not by keys that are only checked when all is there.
    fn references(&self, toc: &Toc) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut references: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let keys = toc.entries().iter().enumerate().filter(|(_, entry)| entry.desc() == b"FK CONSTRAINT");
        for (index, key) in keys {
            let is_late = |sql: &[u8]| memchr::memmem::find(sql, b"INITIALLY DEFERRED").is_some();
            if key.definition().is_some_and(is_late) {
                continue;
            }
            // Its tag is its table's name, a space, and its own.
            let own = memchr::memchr_iter(b' ', key.tag())
                .filter_map(|space| {
                    self.by_name.get(&key_of(key.namespace(), key.tag().get(..space)?)).copied()
                })
                .next_back();
            let Some(own) = own.map(|table| self.root(table)) else { continue };
            let needed = toc.needs(index).filter_map(|needed| self.table_of(toc, needed));
            references.entry(own).or_default().extend(needed.filter(|table| *table != own));
        }
        references
    }

    /// The table that an entry is, or whose key it is.
    fn table_of(&self, toc: &Toc, index: usize) -> Option<usize> {
        let entry = toc.entries().get(index)?;
        match entry.desc() {
            b"TABLE" | b"FOREIGN TABLE" => Some(self.root(index)),
            b"CONSTRAINT" => memchr::memchr_iter(b' ', entry.tag())
                .filter_map(|space| {
                    self.by_name.get(&key_of(entry.namespace(), entry.tag().get(..space)?)).copied()
                })
                .next_back()
                .map(|table| self.root(table)),
            _ => None,
        }
    }
}

/// The tables, each behind those that it refers to, otherwise in their order; and those in circles.
fn sorted(
    tables: &BTreeSet<usize>,
    references: &BTreeMap<usize, BTreeSet<usize>>,
) -> (Vec<usize>, BTreeSet<usize>) {
    let of = |table: &usize| references.get(table).into_iter().flatten().filter(|it| tables.contains(it));
    let mut waits: BTreeMap<usize, usize> = tables.iter().map(|table| (*table, of(table).count())).collect();
    let mut dependants: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for table in tables {
        of(table).for_each(|needed| dependants.entry(*needed).or_default().push(*table));
    }
    let mut ready: BTreeSet<usize> =
        waits.iter().filter(|(_, count)| **count == 0).map(|(table, _)| *table).collect();
    let (mut order, mut circular) = (Vec::with_capacity(tables.len()), BTreeSet::new());
    while !waits.is_empty() {
        let next = ready.pop_first().unwrap_or_else(|| {
            let circle = circle(&waits, references);
            circular.extend(&circle);
            circle.first().copied().unwrap_or_default()
        });
        if waits.remove(&next).is_none() {
            // Only where nothing is left to wait for.
            break;
        }
        order.push(next);
        for dependant in dependants.get(&next).into_iter().flatten() {
            if let Some(count) = waits.get_mut(dependant) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    ready.insert(*dependant);
                }
            }
        }
    }
    (order, circular)
}

/// A circle among tables that all wait for others of them; its first by number first.
fn circle(waits: &BTreeMap<usize, usize>, references: &BTreeMap<usize, BTreeSet<usize>>) -> BTreeSet<usize> {
    let mut path: Vec<usize> = waits.keys().take(1).copied().collect();
    while let Some(at) = path.last() {
        let next = references.get(at).into_iter().flatten().find(|table| waits.contains_key(table));
        let Some(next) = next else { break };
        if let Some(start) = path.iter().position(|seen| seen == next) {
            return path.split_off(start).into_iter().collect();
        }
        path.push(*next);
    }
    path.into_iter().take(1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(count: usize, pairs: &[(usize, usize)]) -> (Vec<usize>, Vec<usize>) {
        let mut references: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (from, to) in pairs {
            references.entry(*from).or_default().insert(*to);
        }
        let (order, circular) = sorted(&(0..count).collect(), &references);
        (order, circular.into_iter().collect())
    }

    #[test]
    fn what_is_referred_to_comes_first_and_the_rest_stays_in_order() {
        assert_eq!(sort(4, &[]), (vec![0, 1, 2, 3], vec![]));
        assert_eq!(sort(4, &[(0, 2), (2, 3)]), (vec![1, 3, 2, 0], vec![]));
        // To a table that is not among them.
        assert_eq!(sort(2, &[(0, 7)]), (vec![0, 1], vec![]));
    }

    #[test]
    fn circles_are_told_and_end() {
        assert_eq!(sort(3, &[(0, 1), (1, 0), (2, 0)]), (vec![0, 1, 2], vec![0, 1]));
        let (order, circular) = sort(5, &[(4, 3), (3, 2), (2, 3), (0, 4), (1, 0)]);
        assert_eq!((order.len(), circular), (5, vec![2, 3]));
    }
}
