//! A year of daily backups of a database that changes a little everywhere, with the real code over a storage in memory.
//!
//! ```text
//! cargo run --profile dist --example year                  # everything kept
//! cargo run --profile dist --example year -- --keep 7/4/12 # 7 daily, 4 weekly and 12 monthly, forgotten and pruned every day
//! ```
//!
//! The sample order database, 1 % of its rows updated a day, 0.5 % inserted, 0.3 % deleted. Per day: bytes stored,
//! ranges a MiB of stream, bytes that a restore reads for each byte that the stream takes by itself, how much of what
//! is read is dead, recipe bytes. With `--patch` the `zstd` program also makes of each day what `--patch-from` the day
//! before makes of it: the bound that needs both whole dumps on disk. With `--restore` every tenth day is restored and
//! compared.

use clap::Parser;
use dumpvault::base::calendar::Calendar;
use dumpvault::base::clock::{Clock, FixedClock};
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::secret::{OsEntropy, Passphrase};
use dumpvault::content::codec::Level;
use dumpvault::engine::backup::{
    BackupRequest, ParentChoice, PlannedStream, READ_AMPLIFICATION_MAX, StartedDump, backup,
};
use dumpvault::source::sample::{Churn, SampleConfig, SampleDump};
use dumpvault::source::{Dump, SourceError};
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::Credential;
use dumpvault::vault::format::config::Config;
use dumpvault::vault::gc::PruneSettings;
use dumpvault::vault::reader::{BlockReader, Locator, ReadCost, ReadSettings, RecipeWalker};
use dumpvault::vault::snapshot::retention::{Candidate, Policy, Reckoning, decide};
use dumpvault::vault::snapshot::{Proof, Stream};
use dumpvault::vault::{Repository, Surroundings};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about = "Simulates a year of daily backups", version)]
struct Args {
    /// Size of the dump of day 0 in MB (1,000,000 bytes)
    #[arg(long, default_value_t = 32)]
    mb: u64,
    /// Days to simulate
    #[arg(long, default_value_t = 365)]
    days: u16,
    /// `all`, or how many daily, weekly and monthly snapshots are kept: `7/4/12`
    #[arg(long, default_value = "all")]
    keep: String,
    /// Rows updated a day, in millionths
    #[arg(long, default_value_t = 10_000)]
    update_ppm: u32,
    /// Rows inserted a day, in millionths
    #[arg(long, default_value_t = 5_000)]
    insert_ppm: u32,
    /// Rows deleted a day, in millionths
    #[arg(long, default_value_t = 3_000)]
    delete_ppm: u32,
    /// Store afresh when a restore would read more than so many times what the stream takes by itself
    #[arg(long, default_value_t = READ_AMPLIFICATION_MAX)]
    max_read_amplification: f64,
    /// Print every so many days
    #[arg(long, default_value_t = 1)]
    every: u16,
    /// Compare with `zstd -3 --long=31 --patch-from`
    #[arg(long)]
    patch: bool,
    /// Restore every tenth day and compare
    #[arg(long)]
    restore: bool,
}

/// The simulation's clock, for the storage as well.
struct Days(AtomicI64);

impl Clock for Days {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap_or_default()
    }
}

struct Sample(SampleDump);

impl Read for Sample {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Dump for Sample {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Structure)
    }
}

/// What one day came to.
struct Day {
    bytes: u64,
    stored: u64,
    recipe: u64,
    survey: ReadCost,
}

struct Year {
    args: Args,
    repo: Repository,
    storage: MemoryStorage,
    clock: Arc<Days>,
}

/// Noon of 1 January 2026, a moment without changes of the clock.
const START: i64 = 1_767_268_800;

fn main() -> Result<()> {
    let args = Args::parse();
    let clock = Arc::new(Days(AtomicI64::new(START)));
    let storage = MemoryStorage::with_clock(clock.clone());
    let cache = tempfile::tempdir()?;
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.path().into());
    let credential = Credential::Passphrase(Passphrase::new("a simulation of a year".into()));
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let repo = Repository::init(shared, &credential, "", Config::new(START * 1000), &surroundings)?;
    let mut out = io::stdout().lock();
    Year { args, repo, storage, clock }.run(cache.path(), &mut out)
}

impl Year {
    fn run(&self, scratch: &Path, out: &mut impl Write) -> Result<()> {
        writeln!(
            out,
            "{:>4} {:>9} {:>10} {:>9} {:>8} {:>8} {:>6} {:>11} {:>6} {:>5}",
            "day",
            "MB",
            "KB stored",
            "patch KB",
            "recipe %",
            "ext/MiB",
            "read x",
            "dead %",
            "repo MB",
            "fulls"
        )?;
        let (mut written, mut recipes, mut streams, mut patches) = (0, 0, 0, 0);
        let (mut first, mut worst_read, mut worst_repo) = (0, 0f64, 0f64);
        for day in 0..self.args.days {
            self.clock.0.store(START + i64::from(day) * 86_400, Ordering::SeqCst);
            let found = self.back_up(day)?;
            let patch = if self.args.patch { self.patch(day, scratch)? } else { 0 };
            self.expire()?;
            if day == 0 {
                first = found.stored;
            } else {
                (recipes, streams) = (recipes + found.recipe, streams + found.bytes);
                patches += patch;
            }
            written += found.stored;
            let read = found.survey.read_amplification();
            let repository = self.storage_bytes()?;
            // What the newest dump takes alone: what all the rest is measured by.
            let full = found.survey.stored_own.max(1);
            let fulls = repository as f64 / full as f64;
            (worst_read, worst_repo) = (worst_read.max(read), worst_repo.max(fulls));
            if day.is_multiple_of(self.args.every) || day + 1 == self.args.days {
                writeln!(
                    out,
                    "{day:>4} {:>9.1} {:>10} {:>9} {:>8.3} {:>8.0} {read:>6.2} {:>11.1} {:>6.1} {fulls:>5.2}",
                    found.bytes as f64 / 1e6,
                    found.stored / 1000,
                    patch / 1000,
                    100.0 * found.recipe as f64 / found.bytes as f64,
                    found.survey.extents as f64 / (found.bytes as f64 / 1_048_576.0),
                    100.0 * (1.0 - found.survey.stored_own as f64 / found.survey.stored_read as f64),
                    repository as f64 / 1e6,
                )?;
            }
        }
        writeln!(
            out,
            "\nwritten in all: {:.1} MB, the first day {:.1} MB",
            written as f64 / 1e6,
            first as f64 / 1e6
        )?;
        writeln!(
            out,
            "recipe bytes of day 1 on: {:.3} % of the streams",
            100.0 * recipes as f64 / streams as f64
        )?;
        writeln!(out, "read for each byte of the stream's own: at most {worst_read:.2}")?;
        writeln!(out, "repository: at most {worst_repo:.2} times what the newest dump takes alone")?;
        if self.args.patch {
            let bound = (first + patches) as f64;
            writeln!(
                out,
                "written against one full dump and all daily patches ({:.1} MB): {:.2}",
                bound / 1e6,
                written as f64 / bound
            )?;
        }
        Ok(())
    }

    fn sample(&self, day: u16) -> SampleConfig {
        let Args { update_ppm, insert_ppm, delete_ppm, .. } = self.args;
        let churn = Churn { update_ppm, insert_ppm, delete_ppm };
        SampleConfig { churn, ..SampleConfig::new(42, self.args.mb * 1_000_000).day(day) }
    }

    fn back_up(&self, day: u16) -> Result<Day> {
        let dump = SampleDump::new(self.sample(day))?;
        let request = BackupRequest {
            series: "orders".into(),
            host: "here".into(),
            time: None,
            tags: Vec::new(),
            calendar: Calendar::default(),
            level: Level::DEFAULT,
            allow_empty: false,
            workers: 2,
            parent: ParentChoice::Newest,
            read_amplification_max: self.args.max_read_amplification,
            suspect_below: 0.0,
            source: BTreeMap::new(),
            set: None,
        };
        let start = Box::new(|| {
            Ok(StartedDump { dump: Box::new(Sample(dump)) as Box<dyn Dump>, attributes: BTreeMap::new() })
        });
        let stream = PlannedStream { name: "orders".into(), start };
        let clock = FixedClock(self.clock.now());
        let report = backup(&self.repo, &clock, request, vec![stream], &Silent, &Cancel::new())?;
        let stream = report.committed.body.streams.first().ok_or("no stream")?;
        let survey = self.survey(stream)?;
        if self.args.restore && day % 10 == 9 {
            self.compare(stream, day)?;
        }
        let recipe = stream.stats.recipe_bytes_stored;
        Ok(Day { bytes: stream.bytes, stored: stream.stats.bytes_stored + recipe, recipe, survey })
    }

    fn locator(&self) -> Result<Arc<Mutex<Locator>>> {
        let catalog = self.repo.catalog(&Silent)?;
        Ok(Arc::new(Mutex::new(Locator::new(&self.repo, catalog, Default::default()))))
    }

    fn survey(&self, stream: &Stream) -> Result<ReadCost> {
        let locator = self.locator()?;
        let mut walker = RecipeWalker::new(Arc::new(BlockReader::new(&self.repo)), Arc::clone(&locator));
        Ok(ReadCost::of(stream, &mut walker, &locator, 2)?)
    }

    fn compare(&self, stream: &Stream, day: u16) -> Result<()> {
        let mut right = SampleDump::new(self.sample(day))?;
        let mut buffer = Vec::new();
        let mut compare = |bytes: &[u8]| {
            buffer.resize(bytes.len(), 0);
            right.read_exact(&mut buffer)?;
            if buffer == bytes { Ok(()) } else { Err(io::Error::other("the restored bytes differ")) }
        };
        let settings = ReadSettings::local(2);
        let stats = self.repo.reader().read_stream(
            &self.locator()?,
            stream,
            settings,
            &Silent,
            &Cancel::new(),
            &mut compare,
        )?;
        let blocks = self.survey(stream)?.blocks.len();
        if stats.blocks_opened as f64 > 1.2 * blocks as f64 {
            return Err(
                format!("day {day}: {} blocks opened, and it has {blocks}", stats.blocks_opened).into()
            );
        }
        Ok(())
    }

    /// Forgets and prunes as the policy says.
    fn expire(&self) -> Result<()> {
        let counts: Vec<u32> = self.args.keep.split('/').filter_map(|count| count.parse().ok()).collect();
        let [daily, weekly, monthly] = counts[..] else { return Ok(()) };
        let policy = Policy { daily, weekly, monthly, ..Policy::default() };
        let mut catalog = self.repo.catalog(&Silent)?;
        let history = self.repo.history(&mut catalog)?;
        drop(catalog);
        let candidates: Vec<Candidate<'_>> = history
            .snapshots
            .iter()
            .map(|summary| Candidate {
                summary,
                streams: vec!["orders"],
                failed: Vec::new(),
                pinned: false,
                verified: false,
            })
            .collect();
        let now = self.clock.now();
        let verdicts =
            decide(&policy, &candidates, &Reckoning { calendar: &Calendar::default(), now, force: false });
        let gone: Vec<_> = history
            .snapshots
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| !verdict.is_kept())
            .map(|(summary, _)| summary.id)
            .collect();
        self.repo.forget(&gone)?;
        let settings = PruneSettings {
            grace: SignedDuration::ZERO.unsigned_abs(),
            ..PruneSettings::new(now.as_millisecond())
        };
        self.repo.prune(&settings, &Silent, &Cancel::new())?;
        Ok(())
    }

    fn storage_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        self.storage.list("", &mut |listed| bytes += listed.bytes)?;
        Ok(bytes)
    }

    fn patch(&self, day: u16, scratch: &Path) -> Result<u64> {
        let dump = |day: u16| scratch.join(format!("day{}", day % 2));
        let mut file = io::BufWriter::new(std::fs::File::create(dump(day))?);
        io::copy(&mut SampleDump::new(self.sample(day))?, &mut file)?;
        file.flush()?;
        if day == 0 {
            return Ok(0);
        }
        let patched = scratch.join("patch");
        let status = std::process::Command::new("zstd")
            .args(["-q", "-3", "-f", "--long=31", "--single-thread"])
            .arg(format!("--patch-from={}", dump(day - 1).display()))
            .arg(dump(day))
            .arg("-o")
            .arg(&patched)
            .status()?;
        if !status.success() {
            return Err("zstd failed".into());
        }
        Ok(std::fs::metadata(&patched)?.len())
    }
}
