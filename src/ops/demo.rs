//! The demonstration: three days of a changing database, backed up, restored, compared, checked.

use super::OpError;
use super::backup::{BackupRequest, PlannedStream, StartedDump, backup};
use super::restore::{Target, choose};
use super::survey::sizes;
use crate::clock::Clock;
use crate::codec::Level;
use crate::event::{Cancel, Event, Observer};
use crate::repo::reader::ReadSettings;
use crate::repo::verify::CheckSettings;
use crate::repo::{RepoError, Repository};
use crate::snapshot::tags::Calendar;
use crate::source::postgres::{PostgresSource, PrivateServer, RestoreTarget};
use crate::source::process::Limits;
use crate::source::sample::{SampleConfig, SampleDump};
use crate::source::{SourceError, stdin};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::Instant;

/// Days that are backed up.
pub const DAYS: u16 = 3;
const SERIES: &str = "shop";
const SEED: u64 = 2026;

/// Where the demonstration's dumps come from.
pub enum DemoSource {
    /// A private server, running.
    Postgres(PrivateServer),
    /// Generated archives.
    Generated,
}

/// What the demonstration needs.
pub struct Demo<'a> {
    /// An empty repository.
    pub repo: Repository,
    /// Where dumps come from.
    pub source: DemoSource,
    /// Size of the first day's dump, about, in bytes.
    pub bytes: u64,
    /// Threads that compress and open.
    pub cores: usize,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Receives progress.
    pub observer: &'a dyn Observer,
    /// Asks to stop.
    pub cancel: &'a Cancel,
}

/// One day's backup.
#[derive(Debug, Clone, Copy)]
pub struct DemoDay {
    /// From 1.
    pub day: u16,
    /// Size of the dump in bytes.
    pub bytes: u64,
    /// Bytes that the day added to the repository.
    pub bytes_stored: u64,
    /// How long the backup took.
    pub duration_ms: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct DemoReport {
    /// The days.
    pub days: Vec<DemoDay>,
    /// How long the restore took.
    pub restore_ms: u64,
    /// Whether what was restored is what was backed up.
    pub restored_equal: bool,
    /// Whether the check found no damage.
    pub check_clean: bool,
    /// Bytes that the check read.
    pub bytes_checked: u64,
}

impl DemoReport {
    /// Whether everything that was promised held.
    pub fn is_proven(&self) -> bool {
        self.restored_equal && self.check_clean
    }
}

impl Demo<'_> {
    /// Runs the demonstration; `told` gets each day as it is done.
    ///
    /// # Errors
    /// When a step fails. A restore or check with a wrong outcome is in the answer.
    pub fn run(&self, told: &mut dyn FnMut(&DemoDay)) -> Result<DemoReport, OpError> {
        if let DemoSource::Postgres(server) = &self.source {
            self.step("filling the database");
            self.load(server)?;
        }
        let mut days = Vec::new();
        for day in 0..DAYS {
            if let (DemoSource::Postgres(server), 1..) = (&self.source, day) {
                self.step("a day of business: orders, events, changes");
                self.change(server, day)?;
            }
            let done = self.back_up(day)?;
            told(&done);
            days.push(done);
        }
        self.step("restoring the last day");
        let began = Instant::now();
        let restored_equal = self.restore_and_compare()?;
        let restore_ms = began.elapsed().as_millis() as u64;
        let settings = CheckSettings { read_data: true, workers: self.cores };
        let check = self.repo.check(settings, self.observer, self.cancel)?;
        Ok(DemoReport {
            days,
            restore_ms,
            restored_equal,
            check_clean: check.is_clean(),
            bytes_checked: check.bytes_read,
        })
    }

    fn step(&self, what: &str) {
        self.observer.observe(Event::Step { what: what.to_owned() });
    }

    fn limits(&self) -> Limits {
        Limits::new(self.cancel.clone())
    }

    /// Fills the private server's database with the first day of the sample.
    fn load(&self, server: &PrivateServer) -> Result<(), OpError> {
        let target = RestoreTarget {
            create: true,
            no_owner: true,
            no_privileges: true,
            clients: server.clients().clone(),
            ..RestoreTarget::new(server.connection(SERIES)?, SERIES, self.limits())
        };
        let failed = |source| OpError::Source { what: "filling the database".to_owned(), source };
        let mut dump = sample(self.bytes, 0).map_err(failed)?;
        let mut front = vec![0; 4096];
        let filled = dump.read(&mut front).unwrap_or(0);
        front.truncate(filled);
        let prepared = target.prepare(crate::source::postgres::kind_of_dump(&front))?;
        let mut sink = prepared.open_sink().map_err(failed)?;
        let fed = sink.write_all(&front).and_then(|()| std::io::copy(&mut dump, &mut sink));
        if fed.is_err() {
            return Err(failed(sink.fail_reason()));
        }
        sink.finish().map_err(failed)?;
        prepared.keep();
        Ok(())
    }

    /// About one row in a hundred is touched, spread over the tables.
    fn change(&self, server: &PrivateServer, day: u16) -> Result<(), OpError> {
        for sql in [
            format!(
                "UPDATE orders SET status = status, note = 'checked on day {day}', updated_at = now() \
                 WHERE id % 83 = {day}"
            ),
            format!(
                "UPDATE customers SET loyalty_points = loyalty_points + 10, updated_at = now() WHERE id % 97 = {day}"
            ),
            format!("UPDATE events SET processed = true, processed_at = now() WHERE id % 101 = {day}"),
            format!("DELETE FROM sessions WHERE abs(hashtext(sessions::text)) % 211 = {day}"),
            "INSERT INTO events SELECT nextval('events_id_seq'), customer_id, kind, payload, false, now(), now() \
             FROM events WHERE id % 151 = 7"
                .to_owned(),
        ] {
            server.sql(SERIES, &sql, self.cancel)?;
        }
        Ok(())
    }

    fn back_up(&self, day: u16) -> Result<DemoDay, OpError> {
        let request = BackupRequest {
            series: SERIES.to_owned(),
            host: "demo".to_owned(),
            // Midnight to midnight, so that the snapshots show as three dailies.
            time: self
                .clock
                .now()
                .checked_sub(jiff::SignedDuration::from_hours(24 * i64::from(DAYS - 1 - day)))
                .ok(),
            tags: Vec::new(),
            calendar: Calendar { zone: TimeZone::UTC, ..Calendar::default() },
            level: Level::DEFAULT,
            allow_empty: false,
            workers: self.cores,
            source: BTreeMap::from([("kind".to_owned(), "demo".to_owned())]),
        };
        let start: Box<dyn FnOnce() -> Result<StartedDump, SourceError> + '_> = match &self.source {
            DemoSource::Postgres(server) => Box::new(|| {
                let connection = server.connection(SERIES)?;
                let clients = server.clients().clone();
                let dump =
                    PostgresSource { clients, ..PostgresSource::new(connection, self.limits()) }.open()?.dump;
                Ok(StartedDump { dump, attributes: BTreeMap::new() })
            }),
            DemoSource::Generated => Box::new(move || {
                let dump = stdin::open(sample(self.bytes, day)?);
                Ok(StartedDump { dump, attributes: BTreeMap::new() })
            }),
        };
        let stream = PlannedStream { name: SERIES.to_owned(), start };
        let report = backup(&self.repo, self.clock, request, vec![stream], self.observer, self.cancel)?;
        let (bytes, bytes_stored) = sizes(&report.committed.body);
        let streams = &report.committed.body.streams;
        let duration_ms = streams.iter().map(|stream| stream.stats.duration_ms).sum();
        Ok(DemoDay { day: day + 1, bytes, bytes_stored, duration_ms })
    }

    fn restore_and_compare(&self) -> Result<bool, OpError> {
        let settings = ReadSettings::local(self.cores);
        let chosen = choose(&self.repo, SERIES, &TimeZone::UTC, settings, self.observer)?;
        let stream = chosen.stream(None)?.clone();
        let DemoSource::Postgres(server) = &self.source else {
            let mut restored = Digest(blake3::Hasher::new());
            chosen.restore(&stream, Target::Writer(&mut restored), self.observer, self.cancel)?;
            let mut original = blake3::Hasher::new();
            let failed = |source| OpError::Source { what: "the sample".to_owned(), source };
            let dump = sample(self.bytes, DAYS - 1).map_err(failed)?;
            original.update_reader(dump).map_err(|source| RepoError::Input { source })?;
            return Ok(restored.0.finalize() == original.finalize());
        };
        let target = RestoreTarget {
            create: true,
            clients: server.clients().clone(),
            ..RestoreTarget::new(server.connection("postgres")?, "shop_restored", self.limits())
        };
        chosen.restore(&stream, Target::Database(Box::new(target)), self.observer, self.cancel)?;
        self.step("comparing the two databases");
        let digest = |database: &str| {
            let outcome = server.plain_digest(database, self.cancel);
            outcome.map_err(|source| OpError::Source { what: format!("database `{database}`"), source })
        };
        Ok(digest(SERIES)? == digest("shop_restored")?)
    }
}

/// A day of the sample database.
fn sample(bytes: u64, day: u16) -> Result<SampleDump, SourceError> {
    SampleDump::new(SampleConfig::new(SEED, bytes).day(day)).map_err(|error| SourceError::Io {
        program: "the sample".to_owned(),
        operation: "read from",
        source: std::io::Error::other(error),
    })
}

/// Takes bytes and keeps their digest alone.
struct Digest(blake3::Hasher);

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
