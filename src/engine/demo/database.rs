//! The database of the demonstration: a shop's, on a private server or made up.

use super::{DemoTable, SERIES, World};
use crate::base::event::Event;
use crate::base::pattern::PatternError;
use crate::content::pg::Selection;
use crate::engine::OpError;
use crate::engine::backup::StartedDump;
use crate::engine::restore::{Chosen, Target};
use crate::source::postgres::{PostgresSource, PrivateServer, RestoreTarget, kind_of_dump};
use crate::source::process::Limits;
use crate::source::sample::{Churn, SampleConfig, SampleDump, SampleError};
use crate::source::{Dump, SourceError};
use crate::vault::RepoError;
use crate::vault::snapshot::Proof;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::Instant;

const SEED: u64 = 2026;
const RESTORED: &str = "shop_restored";
/// The table that is lost: no other refers to it.
const LOST: &str = "reviews";

/// A day of business, as a statement and how many of 1024 rows it touches. The rows lie scattered over the whole table:
/// each is chosen by a hash of what stands for `$key`.
const CHANGES: [(&str, &str, u32); 15] = [
    ("UPDATE orders SET status = 'delivered', note = 'day $day' WHERE $chosen", "id", 24),
    ("UPDATE customers SET loyalty_points = loyalty_points + 25 WHERE $chosen", "id", 20),
    ("UPDATE payments SET status = 'settled' WHERE $chosen", "id", 16),
    ("UPDATE shipments SET status = 'delivered' WHERE $chosen", "id", 20),
    (
        "UPDATE inventory SET quantity = quantity + 40, counted_at = now() WHERE $chosen",
        "product_id * 8 + warehouse_id",
        30,
    ),
    ("UPDATE order_items SET discount = discount + 0.50 WHERE $chosen", "id", 10),
    ("UPDATE events SET processed = true, processed_at = now() WHERE $chosen", "id", 10),
    ("UPDATE sessions SET seen_at = now() WHERE $chosen", "id", 20),
    ("UPDATE products SET price = price + 1 WHERE $chosen", "id", 20),
    ("UPDATE documents SET file_name = 'day-$day-' || file_name WHERE $chosen", "id", 4),
    ("DELETE FROM sessions WHERE $chosen", "'gone ' || id", 4),
    ("DELETE FROM events WHERE $chosen", "'gone ' || id", 3),
    (
        "INSERT INTO events (customer_id, kind, payload, processed, occurred_at, processed_at) \
         SELECT customer_id, kind, payload, false, now(), now() FROM events WHERE $chosen",
        "'new ' || id",
        6,
    ),
    (
        "INSERT INTO reviews (product_id, customer_id, rating, body, helpful, created_at, updated_at) \
         SELECT product_id, customer_id, 5, body, 0, now(), now() FROM reviews WHERE $chosen",
        "'new ' || id",
        6,
    ),
    (
        "INSERT INTO audit.audit_log (txid, actor, request_id, action, table_name, row_id, changes, happened_at) \
         SELECT txid + 1, actor, md5(request_id::text)::uuid, action, table_name, row_id, changes, now() \
         FROM audit.audit_log WHERE $chosen",
        "'new ' || id",
        6,
    ),
];

/// What the dumps are of.
pub(super) enum Database {
    /// A server that runs.
    Private(Box<PrivateServer>),
    /// Nothing but a generator.
    Generated,
}

/// How a restored day compares.
pub(super) struct Comparison {
    pub(super) is_same: bool,
    pub(super) restore_ms: u64,
    pub(super) compare_ms: u64,
}

impl Database {
    /// Puts the first day's rows in.
    pub(super) fn load(&self, bytes: u64, world: &World<'_>) -> Result<(), OpError> {
        let Self::Private(server) = self else { return Ok(()) };
        let failed = |source| OpError::Source { what: "loading the private database".to_owned(), source };
        let target = RestoreTarget {
            create: true,
            // The private server knows no role of the sample's.
            no_owner: true,
            no_privileges: true,
            clients: server.clients(),
            ..RestoreTarget::new(server.connection(SERIES)?, SERIES, limits(world))
        };
        let mut dump = sample(bytes, 0)?;
        let mut buffer = vec![0; 256 << 10];
        let mut filled = read(&mut dump, &mut buffer)?;
        let prepared = target.prepare(kind_of_dump(buffer.get(..filled).unwrap_or_default()))?;
        let mut sink = prepared.open_sink().map_err(failed)?;
        let stream = "loading a private database".to_owned();
        world.observer.observe(Event::StreamStarted { stream: stream.clone(), bytes_expected: Some(bytes) });
        while filled > 0 {
            if sink.write_all(buffer.get(..filled).unwrap_or_default()).is_err() {
                return Err(failed(sink.fail_reason()));
            }
            world.observer.observe(Event::Advanced { bytes: filled as u64, bytes_known: 0 });
            filled = read(&mut dump, &mut buffer)?;
        }
        sink.finish().map_err(failed)?;
        world.observer.observe(Event::StreamFinished { stream });
        prepared.keep()?;
        Ok(())
    }

    /// A day of business passes, the one before `day`; gives how many rows it touched, which is an estimate where the
    /// rows are only made up.
    pub(super) fn live_a_day(&self, day: u16, rows: u64, world: &World<'_>) -> Result<u64, OpError> {
        let Self::Private(server) = self else {
            let Churn { update_ppm, insert_ppm, delete_ppm } = Churn::default();
            return Ok(rows.saturating_mul(u64::from(update_ppm + insert_ppm + delete_ppm)) / 1_000_000);
        };
        let what = "changing the private database";
        world.observer.observe(Event::Step { what: what.to_owned() });
        let statements: Vec<String> = CHANGES.iter().map(|change| statement(change, day)).collect();
        // The rows' old places become free, as a server's autovacuum would have it by the next day.
        let commands = statements.iter().map(String::as_str).chain(["VACUUM"]);
        let answer = server.run_sql(SERIES, commands, world.cancel);
        let answer = answer.map_err(|source| OpError::Source { what: what.to_owned(), source })?;
        Ok(answer.lines().filter_map(|line| line.parse::<u64>().ok()).sum())
    }

    /// Starts the dump of a day, the way a backup of such a database does.
    pub(super) fn dump(&self, bytes: u64, day: u16, world: &World<'_>) -> Result<StartedDump, SourceError> {
        let Self::Private(server) = self else {
            let dump = Box::new(GeneratedDump { sample: sample_of(bytes, day)?, ended: false });
            return Ok(StartedDump { dump, attributes: BTreeMap::new() });
        };
        let source = PostgresSource {
            clients: server.clients(),
            ..PostgresSource::new(server.connection(SERIES)?, limits(world))
        };
        let started = source.open()?;
        let attributes = BTreeMap::from([
            ("server_version".to_owned(), started.server.version_text),
            ("database".to_owned(), started.server.database),
            ("client".to_owned(), format!("pg_dump {}", started.client.version)),
        ]);
        Ok(StartedDump { dump: started.dump, attributes })
    }

    /// Restores a day's snapshot and compares it with what was dumped: database with database, or byte with byte.
    pub(super) fn restore(
        &self,
        chosen: &Chosen,
        bytes: u64,
        day: u16,
        world: &World<'_>,
    ) -> Result<Comparison, OpError> {
        let stream = chosen.stream(None)?;
        let begun = Instant::now();
        let Self::Private(server) = self else {
            let mut same = SameAs { original: sample(bytes, day)?, is_same: true, buffer: Vec::new() };
            chosen.restore(stream, Target::Writer(&mut same), world.observer, world.cancel)?;
            let restore_ms = super::elapsed_ms(begun);
            return Ok(Comparison { is_same: same.finish()?, restore_ms, compare_ms: 0 });
        };
        let target = RestoreTarget {
            create: true,
            clients: server.clients(),
            ..RestoreTarget::new(server.connection(SERIES)?, RESTORED, limits(world))
        };
        chosen.restore(stream, Target::Database(Box::new(target)), world.observer, world.cancel)?;
        let restore_ms = super::elapsed_ms(begun);
        world.observer.observe(Event::Step { what: "comparing the two databases".to_owned() });
        let begun = Instant::now();
        let is_same = server
            .dumps_are_same(SERIES, RESTORED, world.cancel)
            .map_err(|source| OpError::Source { what: "comparing the two databases".to_owned(), source })?;
        Ok(Comparison { is_same, restore_ms, compare_ms: super::elapsed_ms(begun) })
    }
}

impl Database {
    /// A table is dropped, and comes back from a snapshot with its rows; `None` where there is no server to drop it on.
    pub(super) fn lose_a_table(
        &self,
        chosen: &Chosen,
        world: &World<'_>,
    ) -> Result<Option<DemoTable>, OpError> {
        let Self::Private(server) = self else { return Ok(None) };
        world.observer.observe(Event::Step { what: format!("dropping table {LOST}") });
        let ask = |sql: &str| {
            let answer = server.run_sql(SERIES, [sql], world.cancel);
            answer.map_err(|source| OpError::Source { what: format!("table {LOST}"), source })
        };
        let content = format!("SELECT count(*), md5(string_agg({LOST}::text, ',' ORDER BY id)) FROM {LOST}");
        let before = ask(&content)?;
        ask(&format!("DROP TABLE {LOST}"))?;
        let begun = Instant::now();
        let stream = chosen.stream(None)?;
        let archive = chosen.archive(stream, world.observer, world.cancel)?;
        let wrong = |error: PatternError| OpError::Job { message: error.to_string(), next: None };
        let selection =
            Selection { tables: vec![LOST.parse().map_err(wrong)?], bare: true, ..Selection::default() };
        let parts = archive.synthesise(&archive.select(&selection)?.entries)?;
        let bytes = parts.len();
        let target = RestoreTarget {
            add: true,
            no_owner: true,
            no_privileges: true,
            clients: server.clients(),
            ..RestoreTarget::new(server.connection(SERIES)?, SERIES, limits(world))
        };
        chosen.restore_part(
            stream,
            &parts,
            Target::Database(Box::new(target)),
            world.observer,
            world.cancel,
        )?;
        let duration_ms = super::elapsed_ms(begun);
        let is_same = ask(&content)? == before;
        let rows = before.trim().split('|').next().and_then(|rows| rows.parse().ok()).unwrap_or(0);
        Ok(Some(DemoTable { table: LOST.to_owned(), rows, bytes, is_same, duration_ms }))
    }
}

/// A change of [`CHANGES`] as a query that counts the rows.
fn statement((sql, key, of_1024): &(&str, &str, u32), day: u16) -> String {
    let chosen = format!("(hashtext(({key})::text || ' on day {day}') & 1023) < {of_1024}");
    let sql = sql.replace("$chosen", &chosen).replace("$day", &day.to_string());
    format!("WITH touched AS ({sql} RETURNING 1) SELECT count(*) FROM touched")
}

fn limits(world: &World<'_>) -> Limits {
    Limits::new(world.cancel.clone())
}

/// Tables and rows of the first day.
pub(super) fn extent(bytes: u64) -> Result<(u64, u64), OpError> {
    let dump = sample(bytes, 0)?;
    Ok(dump.tables().fold((0, 0), |(tables, rows), table| (tables + 1, rows + table.rows)))
}

fn sample(bytes: u64, day: u16) -> Result<SampleDump, OpError> {
    sample_of(bytes, day).map_err(|source| OpError::Source { what: "the sample database".to_owned(), source })
}

fn sample_of(bytes: u64, day: u16) -> Result<SampleDump, SourceError> {
    let failed = |error: SampleError| io_error("make", io::Error::other(error));
    SampleDump::new(SampleConfig::new(SEED, bytes).day(day)).map_err(failed)
}

fn io_error(operation: &'static str, source: io::Error) -> SourceError {
    SourceError::Io { program: "the sample database".to_owned(), operation, source }
}

fn read(dump: &mut SampleDump, buffer: &mut [u8]) -> Result<usize, OpError> {
    dump.read(buffer).map_err(|source| RepoError::Input { source }.into())
}

/// A generated dump as a source has it.
struct GeneratedDump {
    sample: SampleDump,
    ended: bool,
}

impl Read for GeneratedDump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.sample.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

impl Dump for GeneratedDump {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        if !self.ended {
            return Err(SourceError::NotReadToEnd { program: "the sample database".to_owned() });
        }
        // Its maker ended it, behind the last block.
        Ok(Proof::Structure)
    }
}

/// Takes bytes and compares them with another stream of them.
struct SameAs<R> {
    original: R,
    is_same: bool,
    buffer: Vec<u8>,
}

impl<R: Read> SameAs<R> {
    /// Whether all bytes were the same, and there are no more of them.
    fn finish(mut self) -> Result<bool, OpError> {
        let more = self.original.read(&mut [0]).map_err(|source| RepoError::Input { source })?;
        Ok(self.is_same && more == 0)
    }
}

impl<R: Read> Write for SameAs<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.clear();
        let count = self.original.by_ref().take(bytes.len() as u64).read_to_end(&mut self.buffer)?;
        self.is_same &= count == bytes.len() && self.buffer == bytes;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(original: &[u8], pieces: &[&[u8]]) -> bool {
        let mut same = SameAs { original, is_same: true, buffer: Vec::new() };
        pieces.iter().for_each(|piece| same.write_all(piece).unwrap());
        same.finish().unwrap()
    }

    #[test]
    fn given_the_same_bytes_in_other_pieces_then_they_are_the_same() {
        assert!(compared(b"a dump", &[b"a ", b"", b"du", b"mp"]));
        assert!(compared(b"", &[]));
    }

    #[test]
    fn given_a_flipped_missing_or_surplus_byte_then_they_are_not() {
        assert!(!compared(b"a dump", &[b"a d", b"Ump"]));
        assert!(!compared(b"a dump", &[b"a dum"]));
        assert!(!compared(b"a dump", &[b"a dump", b"s"]));
    }

    #[test]
    fn given_a_generated_dump_that_was_not_read_to_its_end_then_nothing_is_proven() {
        let mut dump = Box::new(GeneratedDump { sample: sample_of(1, 0).unwrap(), ended: false });
        dump.read_exact(&mut [0; 100]).unwrap();
        assert!(matches!(dump.finish(), Err(SourceError::NotReadToEnd { .. })));
    }
}
