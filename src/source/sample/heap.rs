//! Which rows a table holds on a given day, and in which physical order a dump meets them.
//!
//! A table of PostgreSQL is a heap of slots. An update does not overwrite: it leaves the old version dead and puts the
//! new one into a free slot or at the end. A vacuum makes the dead slots free. After some weeks the physical order is
//! thus far from the order of the ids, and that is what a dump shows. Not modelled: pages (a new version prefers its
//! old page) and the truncation of empty pages at the end.

use super::text::{Dice, mix};

/// How many rows a table has, gains and loses. All rates are a day's rows in millionths of the rows on day 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    /// Units (orders) that the database has on day 0; a multiple of 40.
    pub(super) units: u64,
    /// New units a day in millionths of `units`.
    pub(super) insert_ppm: u64,
    /// The table's rows per unit, as a fraction; a numerator of 0 is a table of `fixed` rows.
    pub(super) rows_per_unit: (u64, u64),
    pub(super) fixed: u64,
    pub(super) update_ppm: u64,
    pub(super) delete_ppm: u64,
}

/// What happens to a table on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Changes {
    updates: u64,
    inserts: u64,
    deletes: u64,
}

impl Growth {
    /// The database's units on a day. Four orders share twelve lines and twenty make a product with four rows of
    /// inventory: whole groups only, or a row would refer to one that is not there yet.
    fn units(&self, day: u16) -> u64 {
        (self.units + share(self.units, self.insert_ppm, day)) / 20 * 20
    }

    /// The highest id given out until a day, which is the number of rows if none were deleted.
    pub(super) fn last_id(&self, day: u16) -> u64 {
        match self.rows_per_unit {
            (0, _) => self.fixed,
            (rows, units) => (u128::from(self.units(day)) * u128::from(rows) / u128::from(units)) as u64,
        }
    }

    /// `live` is the number of rows on the evening before.
    fn changes(&self, day: u16, live: u64) -> Changes {
        let base = self.last_id(0);
        let daily = |ppm| share(base, ppm, day) - share(base, ppm, day.saturating_sub(1));
        Changes {
            updates: daily(self.update_ppm),
            inserts: self.last_id(day) - self.last_id(day.saturating_sub(1)),
            // Deletes that outrun the inserts would empty the table in the long run: stop at half of it.
            deletes: daily(self.delete_ppm).min(live.saturating_sub(base / 2)),
        }
    }

    /// Rows that a dump of this day holds.
    pub(super) fn live_rows(&self, day: u16) -> u64 {
        (1..=day).fold(self.last_id(0), |live, day| {
            let changes = self.changes(day, live);
            live + changes.inserts - changes.deletes
        })
    }
}

/// `ppm` millionths of `of`, `days` times, rounded once.
fn share(of: u64, ppm: u64, days: u16) -> u64 {
    (u128::from(of) * u128::from(ppm) * u128::from(days) / 1_000_000) as u64
}

/// One row of the dump: which, and the day of its last change (0: as it was made).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowVersion {
    pub(super) id: u64,
    pub(super) changed: u16,
}

/// A table's rows in physical order.
pub(super) enum Table {
    /// True slots: 6 bytes a row in memory.
    Slots { heap: Heap, next: usize },
    /// Updates in place, no deletes: nothing in memory, whatever the size.
    InPlace { growth: Growth, key: u64, day: u16, next: u64, born: u16, born_last: u64 },
}

impl Table {
    /// The table as it is on `day`; `key` tells tables and seeds apart.
    pub(super) fn slots(growth: &Growth, key: u64, day: u16) -> Self {
        Self::Slots { heap: Heap::on_day(growth, key, day), next: 0 }
    }

    /// The same without slots, for tables too large for memory.
    pub(super) fn in_place(growth: &Growth, key: u64, day: u16) -> Self {
        Self::InPlace { growth: *growth, key, day, next: 1, born: 0, born_last: growth.last_id(0) }
    }
}

impl Iterator for Table {
    type Item = RowVersion;

    #[inline]
    fn next(&mut self) -> Option<RowVersion> {
        match self {
            Self::Slots { heap, next } => loop {
                let slot = *next;
                let (&id, &changed) = (heap.ids.get(slot)?, heap.changed.get(slot)?);
                *next += 1;
                if id != 0 {
                    return Some(RowVersion { id: u64::from(id), changed });
                }
            },
            Self::InPlace { growth, key, day, next, born, born_last } => {
                let id = *next;
                while id > *born_last {
                    if *born == *day {
                        return None;
                    }
                    *born += 1;
                    *born_last = growth.last_id(*born);
                }
                *next += 1;
                let row = mix(*key, id);
                let limit = (growth.update_ppm << 32) / 1_000_000;
                let changed = (*born + 1..=*day).rev().find(|&day| mix(row, u64::from(day)) >> 32 < limit);
                Some(RowVersion { id, changed: changed.unwrap_or(0) })
            }
        }
    }
}

/// The slots of one table.
pub(super) struct Heap {
    /// The row in each slot; 0 is an empty slot.
    ids: Vec<u32>,
    /// The day of that row's last change.
    changed: Vec<u16>,
    /// Slots that a vacuum gave back, lowest first; those before `free_from` are taken again.
    free: Vec<u32>,
    free_from: usize,
    /// Slots that died today: nobody may use them before tomorrow.
    dead: Vec<u32>,
}

impl Heap {
    fn on_day(growth: &Growth, key: u64, day: u16) -> Self {
        let base = growth.last_id(0);
        // Room for all that can be appended, so that no growing doubles the memory.
        let slots = (growth.last_id(day) + 2 * share(base, growth.update_ppm, 1) + 64) as usize;
        let mut heap = Self {
            ids: Vec::with_capacity(slots),
            changed: Vec::with_capacity(slots),
            free: Vec::new(),
            free_from: 0,
            dead: Vec::new(),
        };
        for id in 1..=base {
            heap.append(id as u32, 0);
        }
        let mut live = base;
        for today in 1..=day {
            let changes = growth.changes(today, live);
            heap.pass_day(growth.last_id(today - 1), today, changes, &mut Dice::new(key, u64::from(today)));
            live = live + changes.inserts - changes.deletes;
        }
        heap
    }

    fn append(&mut self, id: u32, changed: u16) {
        self.ids.push(id);
        self.changed.push(changed);
    }

    fn pass_day(&mut self, last_id: u64, today: u16, changes: Changes, dice: &mut Dice) {
        for _ in 0..changes.updates {
            if let Some(id) = self.kill(dice) {
                self.place(id, today);
            }
        }
        for n in 1..=changes.inserts {
            self.place((last_id + n) as u32, 0);
        }
        for _ in 0..changes.deletes {
            self.kill(dice);
        }
        self.vacuum();
    }

    /// Empties the slot of any one row and returns the row.
    fn kill(&mut self, dice: &mut Dice) -> Option<u32> {
        // Half of the slots are taken at the very least, so a draw that never hits means an empty table.
        for _ in 0..256 {
            let slot = dice.below(self.ids.len() as u64);
            let Some(id) = self.ids.get_mut(slot as usize) else {
                break;
            };
            if *id != 0 {
                self.dead.push(slot as u32);
                return Some(std::mem::take(id));
            }
        }
        None
    }

    fn place(&mut self, id: u32, changed: u16) {
        let Some(&slot) = self.free.get(self.free_from) else {
            return self.append(id, changed);
        };
        self.free_from += 1;
        let slot = slot as usize;
        if let (Some(to_id), Some(to_changed)) = (self.ids.get_mut(slot), self.changed.get_mut(slot)) {
            (*to_id, *to_changed) = (id, changed);
        }
    }

    fn vacuum(&mut self) {
        self.free.drain(..self.free_from);
        self.free_from = 0;
        self.free.append(&mut self.dead);
        self.free.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn growth() -> Growth {
        Growth {
            units: 4000,
            insert_ppm: 4000,
            rows_per_unit: (3, 1),
            fixed: 0,
            update_ppm: 12_000,
            delete_ppm: 2000,
        }
    }

    #[test]
    fn day_zero_holds_every_row_in_order_of_its_id() {
        let rows: Vec<_> = Table::slots(&growth(), 7, 0).collect();
        assert_eq!(rows.len(), 12_000);
        assert!(rows.iter().zip(1..).all(|(row, id)| *row == RowVersion { id, changed: 0 }));
    }

    #[test]
    fn each_day_has_the_rows_that_were_announced_and_none_twice() {
        for day in [1, 2, 9, 60] {
            let rows: Vec<_> = Table::slots(&growth(), 7, day).collect();
            let ids: HashMap<_, _> = rows.iter().map(|row| (row.id, row.changed)).collect();
            assert_eq!(ids.len(), rows.len(), "day {day}");
            assert_eq!(rows.len() as u64, growth().live_rows(day), "day {day}");
        }
    }

    #[test]
    fn an_updated_row_leaves_its_slot_and_its_slot_is_used_again_from_the_next_day_on() {
        let of_day = |day| match Table::slots(&growth(), 7, day) {
            Table::Slots { heap, .. } => heap.ids,
            Table::InPlace { .. } => unreachable!(),
        };
        let (zero, one, two) = (of_day(0), of_day(1), of_day(2));
        let emptied: Vec<_> = (0..zero.len()).filter(|&slot| one[slot] == 0).collect();
        assert!((100..200).contains(&emptied.len()), "{} slots died", emptied.len());
        assert!(
            one[zero.len()..].iter().any(|&id| u64::from(id) <= 12_000),
            "new versions go to the end while no slot is free"
        );
        assert!(emptied.iter().filter(|&&slot| two[slot] != 0).count() > emptied.len() * 9 / 10);
        assert!(two.len() < one.len() + 100, "the second day's versions went into freed slots");
    }

    #[test]
    fn deletes_that_outrun_the_inserts_stop_at_half_of_the_table() {
        let shrinking = Growth { insert_ppm: 0, delete_ppm: 50_000, ..growth() };
        assert_eq!(shrinking.live_rows(3000), 6000);
        assert_eq!(Table::slots(&shrinking, 7, 300).count(), 6000);
    }

    #[test]
    fn in_place_tables_change_the_same_share_of_rows_a_day() {
        let versions = |day| -> HashMap<_, _> {
            Table::in_place(&growth(), 7, day).map(|row| (row.id, row.changed)).collect()
        };
        let days: Vec<_> = (10..=30).map(versions).collect();
        let mut changed = 0;
        for (before, after) in days.iter().zip(&days[1..]) {
            changed +=
                after.iter().filter(|(id, day)| before.get(*id).is_some_and(|was| was != *day)).count();
            assert!(before.keys().all(|id| after.contains_key(id)));
        }
        // 1.2 % of some 12,700 rows on each of twenty days.
        assert!((2850..3250).contains(&changed), "{changed} changes");
        assert_eq!(days[20].len() as u64, growth().last_id(30));
    }
}
