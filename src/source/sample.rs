//! A realistic order database that nobody has to install: the dump of any day of it, as `pg_dump -Fc -Z0` of PostgreSQL
//! 15 would write it (custom archive, format 1.14).
//!
//! For `demo`, tests and benchmarks. The stream is a pure function of its [`SampleConfig`]: same bytes on every machine
//! and in every version of this crate that keeps [`SAMPLE_REVISION`]. `pg_restore` lists it, prints it and restores it,
//! foreign keys included. Day 0 is the base; on every later day rows scattered over the tables are updated, some are
//! made, some deleted, and new versions take the place in the heap that PostgreSQL would give them.

mod heap;
mod rows;
mod schema;
mod text;
mod toc;

use heap::{Growth, Table};
use jiff::ToSpan;
use jiff::civil::{Date, date};
use rows::Rows;
use schema::TABLES;
use std::io::{self, Read};
use text::Out;

/// Raised when the bytes of an unchanged configuration change.
pub const SAMPLE_REVISION: u32 = 1;

/// Up to this `bytes_target` every table keeps true heap slots (6 bytes for each row of the largest table: about 12 MB
/// per GB of dump). Larger samples update rows in place, never delete, and need no memory for rows.
pub const HEAP_BYTES_MAX: u64 = 8 << 30;

/// The last day that can be asked for.
pub const DAY_MAX: u16 = 3650;

const MILLION: u64 = 1_000_000;
const DATABASE: &str = "shop";
/// The dump of day 0 is taken when this day begins.
const DAY_0: Date = date(2026, 3, 1);
/// Day 0's rows came at the pace of the later inserts, but within this many days.
const HISTORY_DAYS_MAX: u64 = 3650;
/// The least common multiple of what the tables' rows per unit divide by.
const UNITS_STEP: u64 = 40;

/// What changes in a day, in millionths of all rows of day 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Churn {
    /// Rows that get a new version. At most 100,000 (10 %).
    pub update_ppm: u32,
    /// New rows. At most 20,000 (2 %).
    pub insert_ppm: u32,
    /// Rows that go away. At most 20,000 (2 %). No table shrinks below half of its size of day 0.
    pub delete_ppm: u32,
}

impl Churn {
    /// Nothing ever happens.
    pub const NONE: Self = Self { update_ppm: 0, insert_ppm: 0, delete_ppm: 0 };
}

impl Default for Churn {
    /// A shop's night: 1.2 % updated, 0.4 % new, 0.1 % deleted.
    fn default() -> Self {
        Self { update_ppm: 12_000, insert_ppm: 4_000, delete_ppm: 1_000 }
    }
}

/// Which dump to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleConfig {
    /// Another seed, another shop.
    pub seed: u64,
    /// Length that the dump of day 0 should have, met within about 1 % from 1 MB on. The smallest sample is about 150
    /// KB.
    pub bytes_target: u64,
    /// Which day's dump; 0 is the base, [`DAY_MAX`] the last.
    pub day: u16,
    /// What happens between two days.
    pub churn: Churn,
}

impl SampleConfig {
    /// The base dump of a sample of this size, with the default churn.
    #[must_use]
    pub fn new(seed: u64, bytes_target: u64) -> Self {
        Self { seed, bytes_target, day: 0, churn: Churn::default() }
    }

    /// The same database some days later.
    #[must_use]
    pub fn day(self, day: u16) -> Self {
        Self { day, ..self }
    }
}

/// Why a sample cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A rate of [`Churn`] is above its limit.
    #[error("{what} of {ppm} millionths a day is more than the sample can change ({ppm_max})")]
    ChurnTooHigh {
        /// Which rate.
        what: &'static str,
        /// What was asked for.
        ppm: u32,
        /// What is allowed.
        ppm_max: u32,
    },
    /// A day after [`DAY_MAX`].
    #[error("day {day} is after the sample's last day {DAY_MAX}")]
    DayTooLate {
        /// What was asked for.
        day: u16,
    },
    /// More bytes than the sample's clock has microseconds for.
    #[error("{bytes} bytes are more than a sample can have ({bytes_max})")]
    TooLarge {
        /// What was asked for.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
    },
}

/// A table of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleTable {
    /// Its schema.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Rows that the dump holds.
    pub rows: u64,
}

/// The stream of one dump. Reading never fails, and gives the same bytes however the reads are split.
pub struct SampleDump {
    plan: Plan,
    out: Out,
    /// How much of `out` was handed out.
    taken: usize,
    /// The table whose rows come next, and those rows.
    stage: Option<(usize, Table)>,
}

impl SampleDump {
    /// Prepares the dump. Costs milliseconds; a table's days are played through when its turn comes.
    ///
    /// # Errors
    /// When the configuration asks for what cannot be made.
    pub fn new(config: SampleConfig) -> Result<Self, SampleError> {
        config.check()?;
        let plan = Plan::new(config);
        let mut out = Out::new();
        let last_ids: Vec<u64> = plan.growth.iter().map(|growth| growth.last_id(config.day)).collect();
        let taken_on = DAY_0.saturating_add(i32::from(config.day).days());
        toc::write(&mut out, DATABASE, taken_on, &last_ids);
        let stage = plan.begin(&mut out, 0);
        Ok(Self { plan, out, taken: 0, stage })
    }

    /// The tables in the order of their data, with the exact number of rows of this dump.
    pub fn tables(&self) -> impl Iterator<Item = SampleTable> + '_ {
        let rows = |growth: &Growth| match self.plan.has_slots {
            true => growth.live_rows(self.plan.day),
            false => growth.last_id(self.plan.day),
        };
        TABLES.iter().zip(&self.plan.growth).map(move |(spec, growth)| SampleTable {
            schema: spec.schema,
            name: spec.name,
            rows: rows(growth),
        })
    }

    fn refill(&mut self) {
        self.out.clear();
        self.taken = 0;
        while !self.out.is_full() {
            let Some((table, rows)) = &mut self.stage else {
                break;
            };
            let table = *table;
            if self.plan.write_rows(&mut self.out, table, rows) {
                self.stage = self.plan.begin(&mut self.out, table + 1);
            }
        }
    }
}

impl Read for SampleDump {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.out.len() {
            self.refill();
        }
        let filled = self.out.filled().get(self.taken..).unwrap_or_default();
        let len = filled.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), filled.get(..len)) {
            to.copy_from_slice(from);
        }
        self.taken += len;
        Ok(len)
    }
}

impl SampleConfig {
    fn check(&self) -> Result<(), SampleError> {
        const BYTES_MAX: u64 = 1 << 50;
        let Churn { update_ppm, insert_ppm, delete_ppm } = self.churn;
        for (what, ppm, ppm_max) in
            [("update", update_ppm, 100_000), ("insert", insert_ppm, 20_000), ("delete", delete_ppm, 20_000)]
        {
            if ppm > ppm_max {
                return Err(SampleError::ChurnTooHigh { what, ppm, ppm_max });
            }
        }
        if self.day > DAY_MAX {
            return Err(SampleError::DayTooLate { day: self.day });
        }
        if self.bytes_target > BYTES_MAX {
            return Err(SampleError::TooLarge { bytes: self.bytes_target, bytes_max: BYTES_MAX });
        }
        Ok(())
    }

    /// Days that day 0's rows took to come.
    fn history_days(&self) -> u64 {
        match u64::from(self.churn.insert_ppm) {
            0 => 365,
            ppm => (MILLION / ppm).min(HISTORY_DAYS_MAX),
        }
    }
}

/// A configuration worked out: how many rows each table has, and what they look like.
struct Plan {
    day: u16,
    has_slots: bool,
    growth: Vec<Growth>,
    rows: Rows,
}

impl Plan {
    fn new(config: SampleConfig) -> Self {
        // A row's length depends a little on its id's digits, and these on the number of rows: two rounds settle it.
        let mut plan = Self::of_units(config, (config.bytes_target / 2700).max(1));
        for _ in 0..2 {
            let measured = plan.measure();
            let micro_bytes =
                u128::from(config.bytes_target.saturating_sub(measured.fixed)) * u128::from(MILLION);
            plan = Self::of_units(
                config,
                (micro_bytes / u128::from(measured.micro_bytes_per_unit.max(1))) as u64,
            );
        }
        plan
    }

    fn of_units(config: SampleConfig, units: u64) -> Self {
        let units = units.div_ceil(UNITS_STEP).max(1) * UNITS_STEP;
        // Rates are of all rows; tables differ by weight. Rows of fixed tables never change and are too few to count.
        let rows_per_step = |(rows, units): (u64, u64)| rows * UNITS_STEP / units;
        let weighted = |weight: fn(&schema::TableSpec) -> u64| -> u64 {
            TABLES.iter().map(|table| rows_per_step(table.rows_per_unit) * weight(table)).sum()
        };
        let (all, updates, deletes) =
            (weighted(|_| 1), weighted(|t| t.update_weight), weighted(|t| t.delete_weight));
        let rate = |ppm: u32, weight: u64, weights: u64| u64::from(ppm) * weight * all / weights.max(1);
        let growth: Vec<Growth> = TABLES
            .iter()
            .map(|table| Growth {
                units,
                insert_ppm: u64::from(config.churn.insert_ppm),
                rows_per_unit: table.rows_per_unit,
                fixed: table.fixed,
                update_ppm: rate(config.churn.update_ppm, table.update_weight, updates),
                delete_ppm: rate(config.churn.delete_ppm, table.delete_weight, deletes),
            })
            .collect();
        let rows_of = |name| {
            TABLES.iter().zip(&growth).find(|(spec, _)| spec.name == name).map_or(1, |(_, g)| g.last_id(0))
        };
        let history_days = config.history_days() as u32;
        let first = DAY_0.saturating_sub(i64::from(history_days).days());
        let rows = Rows::new(
            config.seed,
            first,
            history_days,
            config.day,
            rows_of("customers"),
            rows_of("products"),
        );
        Self { day: config.day, has_slots: config.bytes_target <= HEAP_BYTES_MAX, growth, rows }
    }

    /// Writes some rows of day 0 of every table to see how long they are.
    fn measure(&self) -> Measured {
        const SAMPLES: u64 = 256;
        let mut measured = Measured { fixed: 40 << 10, micro_bytes_per_unit: 0 };
        let mut out = Out::new();
        for (n, (spec, growth)) in TABLES.iter().zip(&self.growth).enumerate() {
            let last = growth.last_id(0);
            let (key, pace) = self.key_and_pace(n);
            let mut bytes = 0;
            let samples = SAMPLES.min(last);
            for sample in 0..samples {
                let version = heap::RowVersion { id: 1 + sample * last / samples, changed: 0 };
                out.clear();
                out.piece(|out| (spec.write)(&self.rows, out, self.rows.row(key, pace, version)));
                bytes += out.len() as u64;
            }
            match spec.rows_per_unit {
                (0, _) => measured.fixed += bytes,
                (rows, units) => {
                    measured.micro_bytes_per_unit += bytes * MILLION * rows / units / samples.max(1)
                }
            }
        }
        measured
    }

    fn key_and_pace(&self, table: usize) -> (u64, u64) {
        let rows = self.growth.get(table).map_or(1, |growth| growth.last_id(0));
        (self.rows.key(table as u64), self.rows.pace_us(rows))
    }

    /// Opens a table's data block; nothing when there are no more tables.
    fn begin(&self, out: &mut Out, table: usize) -> Option<(usize, Table)> {
        let growth = self.growth.get(table)?;
        out.byte(1);
        out.int(toc::data_dump_id(table));
        // Dice of their own: which rows change must not depend on what is in them.
        let key = !self.rows.key(table as u64).rotate_left(17);
        let rows = match self.has_slots {
            true => Table::slots(growth, key, self.day),
            false => Table::in_place(growth, key, self.day),
        };
        Some((table, rows))
    }

    /// Writes rows until the buffer is full, or the end of the block behind the last row; true in that case.
    fn write_rows(&self, out: &mut Out, table: usize, rows: &mut Table) -> bool {
        let Some(spec) = TABLES.get(table) else {
            return true;
        };
        let (key, pace) = self.key_and_pace(table);
        while !out.is_full() {
            let Some(version) = rows.next() else {
                out.piece(|out| out.text("\\.\n\n\n"));
                out.int(0);
                return true;
            };
            out.piece(|out| (spec.write)(&self.rows, out, self.rows.row(key, pace, version)));
        }
        false
    }
}

/// How long rows are.
struct Measured {
    fixed: u64,
    micro_bytes_per_unit: u64,
}

#[cfg(test)]
mod tests;
