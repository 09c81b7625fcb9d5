//! The demonstration: three days of a changing system, a database and a folder of files, backed up, restored, compared,
//! checked, in a folder that is removed. A table and a file are lost and come back; a bit of the repository is flipped
//! and found.
//!
//! Everything goes the way that a user's data goes: [`backup`], [`choose`] and restore, [`check`]. What is told is what
//! was measured.

mod database;
mod scratch;
mod uploads;

pub(crate) use scratch::{passphrase_file, repository};

use super::OpError;
use super::backup::{
    BackupRequest, ParentChoice, PlannedStream, READ_AMPLIFICATION_MAX, SUSPECT_BELOW, backup,
};
use super::check::check;
use super::listing::sizes;
use super::restore::{Chosen, OnRollback, choose};
use crate::base::calendar::Calendar;
use crate::base::clock::Clock;
use crate::base::event::{Cancel, Event, Observer, Silent};
use crate::base::id::SnapshotId;
use crate::base::name::SnapshotName;
use crate::base::run::Run;
use crate::base::secret::Entropy;
use crate::content::codec::Level;
use crate::engine::scratch::Scratch;
use crate::source::postgres::{Clients, PrivateServer};
use crate::storage::local::LocalStorage;
use crate::vault::check::{CheckReport, CheckSettings, ReadData};
use crate::vault::crypto::Credential;
use crate::vault::format::config::Config;
use crate::vault::reader::ReadSettings;
use crate::vault::snapshot::selection::Viewpoint;
use crate::vault::{RepoError, Repository, Surroundings};
use database::Database;
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use uploads::{Lived, Uploads};

/// Days that are backed up.
const DAYS: u16 = 3;
const SERIES: &str = "shop";
/// The series of the files.
const UPLOADS: &str = "uploads";
const HOST: &str = "demo";

/// What is to be shown, and where.
#[derive(Debug, Clone)]
pub(crate) struct DemoPlan {
    /// Size of the first day's dump in bytes, about.
    pub bytes: u64,
    /// Keep the folder with the repository and its passphrase.
    pub keep: bool,
    /// Where the folder is made.
    pub scratch_parent: PathBuf,
    /// The folder may be passed through by a server that runs as another user.
    pub scratch_passable: bool,
    /// Threads that compress and open.
    pub workers: usize,
    /// Directory of a PostgreSQL server's programs, or why there is none.
    pub server: Result<PathBuf, WhyGenerated>,
}

/// Why the dumps are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyGenerated {
    /// It was wished.
    Wished,
    /// No PostgreSQL server is installed.
    NoServer,
    /// A server is installed and does not start here.
    DoesNotStart,
}

impl DemoPlan {
    /// Looks for a server among the client programs' directories and in `search_path`, what `PATH` holds.
    pub(crate) fn server(clients: &Clients, search_path: Option<&OsStr>) -> Result<PathBuf, WhyGenerated> {
        PrivateServer::find(clients, search_path).ok_or(WhyGenerated::NoServer)
    }
}

/// What the demonstration works with.
pub(crate) struct World<'a> {
    /// The time.
    pub clock: &'a dyn Clock,
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// Receives progress.
    pub observer: &'a dyn Observer,
    /// Asks to stop.
    pub cancel: &'a Cancel,
    /// The same for what runs in threads of its own.
    pub run: Run,
}

/// Something that was reached, in this order.
#[derive(Debug)]
pub(crate) enum Milestone<'a> {
    /// The folder is there.
    Scratch(&'a Path),
    /// The database is there.
    Database(&'a DemoDatabase),
    /// A day was backed up.
    Day(&'a DemoDay),
    /// The last day was restored and compared.
    Restored(&'a DemoRestore),
    /// A table was lost and came back.
    Returned(&'a DemoTable),
    /// A file was lost and came back.
    FileReturned(&'a DemoFile),
    /// The repository was checked.
    Checked(&'a DemoCheck),
    /// A bit of it was flipped, looked for, and put back.
    Flipped(&'a DemoFlip),
}

/// The database.
#[derive(Debug, Clone)]
pub struct DemoDatabase {
    /// Version of the private server, or why the dumps are generated.
    pub server: Result<String, WhyGenerated>,
    /// Its tables.
    pub tables: u64,
    /// Its rows on the first day.
    pub rows: u64,
    /// How long it took to be there.
    pub duration_ms: u64,
}

/// One day's backup.
#[derive(Debug, Clone)]
pub struct DemoDay {
    /// From 1.
    pub day: u16,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Rows that were changed, added or removed since the day before.
    pub rows_touched: u64,
    /// Size of the dump in bytes.
    pub bytes: u64,
    /// Bytes that the day added to the repository.
    pub bytes_stored: u64,
    /// How long the backup took, from opening the repository to the commit.
    pub duration_ms: u64,
    /// The files of that day.
    pub uploads: DemoUploads,
}

/// One day's backup of the files.
#[derive(Debug, Clone)]
pub struct DemoUploads {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Files that were there.
    pub files: u64,
    /// Files that were added, changed or deleted since the day before.
    pub files_touched: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that the day added to the repository.
    pub bytes_stored: u64,
    /// How long the backup took.
    pub duration_ms: u64,
}

/// The last day's restore.
#[derive(Debug, Clone)]
pub struct DemoRestore {
    /// The day.
    pub day: u16,
    /// Into a second database, compared by `pg_dump`; otherwise the stream itself was compared.
    pub into_database: bool,
    /// Whether everything is the same, byte for byte.
    pub is_same: bool,
    /// Size of the dump in bytes.
    pub bytes: u64,
    /// How long the restore took.
    pub duration_ms: u64,
    /// How long it took to compare, where that came after the restore.
    pub compare_ms: u64,
}

/// The check of all data.
#[derive(Debug)]
pub struct DemoCheck {
    /// What was found.
    pub report: CheckReport,
    /// How long it took.
    pub duration_ms: u64,
}

/// A table that was dropped and restored by itself.
#[derive(Debug, Clone)]
pub struct DemoTable {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// What was read of the dump for it, in bytes.
    pub bytes: u64,
    /// Whether its rows are the same as before.
    pub is_same: bool,
    /// How long the restore took.
    pub duration_ms: u64,
}

/// A file that was deleted and restored by itself.
#[derive(Debug, Clone)]
pub struct DemoFile {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it is the same as before.
    pub is_same: bool,
    /// How long the restore took.
    pub duration_ms: u64,
}

/// A bit that was flipped in a pack and put back.
#[derive(Debug, Clone)]
pub struct DemoFlip {
    /// The pack's name.
    pub pack: String,
    /// A check named the pack, and another found it right when the bit was put back.
    pub is_found: bool,
    /// Snapshots that the check named.
    pub snapshots: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct DemoReport {
    /// The database.
    pub database: DemoDatabase,
    /// The days.
    pub days: Vec<DemoDay>,
    /// The restore.
    pub restore: DemoRestore,
    /// The table that was lost, where there was a server.
    pub table: Option<DemoTable>,
    /// The file that was lost.
    pub file: DemoFile,
    /// The check.
    pub check: DemoCheck,
    /// The bit that was flipped.
    pub flip: DemoFlip,
    /// How long everything took.
    pub duration_ms: u64,
    /// The folder, if it was to be kept; it is gone otherwise.
    pub folder: Option<PathBuf>,
}

impl DemoReport {
    /// Whether every proof held.
    pub fn is_proven(&self) -> bool {
        let is_back = self.table.as_ref().is_none_or(|table| table.is_same);
        let is_same = self.restore.is_same && self.file.is_same && is_back;
        is_same && self.check.report.is_clean() && self.flip.is_found
    }

    /// What the three days come to: database and files.
    pub fn saved(&self) -> DemoSaved {
        let uploads = || self.days.iter().map(|day| &day.uploads);
        let restores = [Some(self.restore.is_same), self.table.as_ref().map(|table| table.is_same)];
        let restores = || restores.into_iter().flatten().chain([self.file.is_same]);
        let full_copy = self.days.first().map_or(0, |day| day.bytes_stored + day.uploads.bytes_stored);
        DemoSaved {
            snapshots: 2 * self.days.len() as u64,
            bytes: self.bytes() + uploads().map(|day| day.bytes).sum::<u64>(),
            bytes_stored: self.bytes_stored() + uploads().map(|day| day.bytes_stored).sum::<u64>(),
            bytes_full_copies: full_copy.saturating_mul(self.days.len() as u64),
            restores: restores().count() as u64,
            restores_proven: restores().filter(|is_same| *is_same).count() as u64,
        }
    }

    /// Bytes of all dumps.
    pub fn bytes(&self) -> u64 {
        self.days.iter().map(|day| day.bytes).sum()
    }

    /// Bytes that they take.
    pub fn bytes_stored(&self) -> u64 {
        self.days.iter().map(|day| day.bytes_stored).sum()
    }

    /// Bytes that a compressed copy of one whole dump takes: what the first day took, when nothing was there yet.
    pub fn bytes_full_copy(&self) -> u64 {
        self.days.first().map_or(0, |day| day.bytes_stored)
    }
}

/// What was saved in all.
#[derive(Debug, Clone, Copy)]
pub struct DemoSaved {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes that were read, of dumps and files.
    pub bytes: u64,
    /// Bytes that they take.
    pub bytes_stored: u64,
    /// Bytes that a compressed copy a day would take: what the first day took, for each day.
    pub bytes_full_copies: u64,
    /// Restores that were tried.
    pub restores: u64,
    /// Those that brought back the same.
    pub restores_proven: u64,
}

impl DemoPlan {
    /// Does what is planned; `told` gets each [`Milestone`] as it is reached. Whatever the outcome, no process is left,
    /// and no folder but one that is to be kept.
    ///
    /// # Errors
    /// When a step fails or somebody asks to stop. A proof that does not hold is in the answer.
    pub(crate) fn execute(
        &self,
        world: &World<'_>,
        told: &mut dyn FnMut(&Milestone<'_>),
    ) -> Result<DemoReport, OpError> {
        let begun = Instant::now();
        let entropy = world.entropy.as_ref();
        let scratch = Scratch::create(
            &self.scratch_parent,
            "dumpvault-demo-",
            self.keep,
            self.scratch_passable,
            entropy,
        )?;
        told(&Milestone::Scratch(scratch.path()));
        let mut report = self.run(&scratch, world, told)?;
        report.folder = scratch.close()?;
        report.duration_ms = elapsed_ms(begun);
        Ok(report)
    }

    /// Everything in the folder; the server is gone when this returns.
    fn run(
        &self,
        scratch: &Scratch,
        world: &World<'_>,
        told: &mut dyn FnMut(&Milestone<'_>),
    ) -> Result<DemoReport, OpError> {
        let repo = init(scratch, world)?;
        let (database, described) = self.database(scratch, world)?;
        told(&Milestone::Database(&described));
        let mut uploads = Uploads::create(scratch.path().join(UPLOADS))?;
        let mut days = Vec::new();
        for day in 0..DAYS {
            let rows_touched = match day {
                0 => 0,
                _ => database.live_a_day(day, described.rows, world)?,
            };
            let lived = uploads.live_a_day(day, self.bytes)?;
            let files = self.back_up_files(&repo, (&uploads, lived), day, world)?;
            let done = DemoDay { rows_touched, ..self.back_up(&repo, &database, files, day, world)? };
            told(&Milestone::Day(&done));
            days.push(done);
        }
        let chosen = self.newest(&repo, SERIES, world)?;
        let restore = self.restore(&chosen, &database, world)?;
        told(&Milestone::Restored(&restore));
        let table = database.lose_a_table(&chosen, world)?;
        if let Some(table) = &table {
            told(&Milestone::Returned(table));
        }
        let restored = scratch.path().join("restored");
        let file = uploads.lose_a_file(&self.newest(&repo, UPLOADS, world)?, &restored, world)?;
        told(&Milestone::FileReturned(&file));
        uploads.close(&restored)?;
        let check = self.check(&repo, world)?;
        told(&Milestone::Checked(&check));
        let flip = self.flip(&repo, scratch, world)?;
        told(&Milestone::Flipped(&flip));
        Ok(DemoReport {
            database: described,
            days,
            restore,
            table,
            file,
            check,
            flip,
            duration_ms: 0,
            folder: None,
        })
    }

    /// The private server with the first day's rows, or the generator.
    fn database(&self, scratch: &Scratch, world: &World<'_>) -> Result<(Database, DemoDatabase), OpError> {
        let begun = Instant::now();
        let (tables, rows) = database::extent(self.bytes)?;
        let mut server = self.server.as_deref().map_err(|why| *why).map(|_| String::new());
        let mut database = Database::Generated;
        if let Ok(programs) = &self.server {
            world.observer.observe(Event::Step { what: "starting a private server".to_owned() });
            match PrivateServer::start(programs, &scratch.path().join("postgres"), world.cancel) {
                Ok(started) => {
                    server = Ok(started.version().to_owned());
                    database = Database::Private(Box::new(started));
                    database.load(self.bytes, world)?;
                }
                Err(error) if error.is_cancelled() => return Err(RepoError::Cancelled.into()),
                Err(error) => {
                    let message = format!("a private PostgreSQL server cannot be had: {error}");
                    world.observer.observe(Event::Warning { message });
                    server = Err(WhyGenerated::DoesNotStart);
                }
            }
        }
        Ok((database, DemoDatabase { server, tables, rows, duration_ms: elapsed_ms(begun) }))
    }

    fn back_up(
        &self,
        repo: &Repository,
        database: &Database,
        uploads: DemoUploads,
        day: u16,
        world: &World<'_>,
    ) -> Result<DemoDay, OpError> {
        let begun = Instant::now();
        let kind = if matches!(database, Database::Private(_)) { "postgres" } else { "generated" };
        let request =
            self.request(SERIES, BTreeMap::from([("kind".to_owned(), kind.to_owned())]), day, world);
        let start = Box::new(|| database.dump(self.bytes, day, world));
        let stream = PlannedStream { name: SERIES.to_owned(), start };
        let stored = backup(repo, world.clock, request, vec![stream], world.observer, world.cancel)?;
        let (bytes, bytes_stored) = sizes(&stored.committed.body);
        Ok(DemoDay {
            day: day + 1,
            snapshot: stored.committed.summary.id,
            rows_touched: 0,
            bytes,
            bytes_stored,
            duration_ms: elapsed_ms(begun),
            uploads,
        })
    }

    fn back_up_files(
        &self,
        repo: &Repository,
        (uploads, lived): (&Uploads, Lived),
        day: u16,
        world: &World<'_>,
    ) -> Result<DemoUploads, OpError> {
        let begun = Instant::now();
        let (streams, described) = uploads.source(UPLOADS, world)?;
        let request = self.request(UPLOADS, described, day, world);
        let stored = backup(repo, world.clock, request, streams, world.observer, world.cancel)?;
        Ok(DemoUploads {
            snapshot: stored.committed.summary.id,
            files: lived.files,
            files_touched: lived.touched,
            bytes: lived.bytes,
            bytes_stored: sizes(&stored.committed.body).1,
            duration_ms: elapsed_ms(begun),
        })
    }

    fn request(
        &self,
        series: &str,
        source: BTreeMap<String, String>,
        day: u16,
        world: &World<'_>,
    ) -> BackupRequest {
        // All of them long ago: what is younger than a day would be no import, and not build on those before.
        let days_ago = SignedDuration::from_hours(24 * i64::from(DAYS + 1 - day));
        BackupRequest {
            series: series.to_owned(),
            host: HOST.to_owned(),
            // One a day, as the snapshots of a real database would be.
            time: world.clock.now().checked_sub(days_ago).ok(),
            tags: Vec::new(),
            calendar: Calendar::default(),
            level: Level::DEFAULT,
            allow_empty: false,
            workers: self.workers,
            parent: ParentChoice::Newest,
            read_amplification_max: READ_AMPLIFICATION_MAX,
            suspect_below: SUSPECT_BELOW,
            source,
            set: None,
        }
    }

    /// The last day's snapshot of a series.
    fn newest(&self, repo: &Repository, series: &str, world: &World<'_>) -> Result<Chosen, OpError> {
        let from = Viewpoint { host: HOST.to_owned(), any_host: true };
        let name = SnapshotName::parse(series, &Calendar::default().zone)?;
        let settings = ReadSettings::local(self.workers);
        choose(repo, &name, &from, OnRollback::Refuse, settings, world.observer)
    }

    fn restore(
        &self,
        chosen: &Chosen,
        database: &Database,
        world: &World<'_>,
    ) -> Result<DemoRestore, OpError> {
        let compared = database.restore(chosen, self.bytes, DAYS - 1, world)?;
        Ok(DemoRestore {
            day: DAYS,
            into_database: matches!(database, Database::Private(_)),
            is_same: compared.is_same,
            bytes: sizes(&chosen.body).0,
            duration_ms: compared.restore_ms,
            compare_ms: compared.compare_ms,
        })
    }

    /// Flips a bit in the largest pack, checks, puts it back, and checks again.
    fn flip(&self, repo: &Repository, scratch: &Scratch, world: &World<'_>) -> Result<DemoFlip, OpError> {
        let begun = Instant::now();
        world.observer.observe(Event::Step { what: "flipping a bit of a pack".to_owned() });
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpError::File { path, source }
        };
        let packs = repository(scratch.path()).join("packs");
        let path = largest(&packs).map_err(failed(&packs))?;
        let pack = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).map_err(failed(&path))?;
        let mut harmed = bytes.clone();
        let middle = harmed.len() / 2;
        if let Some(byte) = harmed.get_mut(middle) {
            *byte ^= 1;
        }
        replace(&path, &harmed).map_err(failed(&path))?;
        let found = self.read_all(repo, world);
        // A repository that is kept holds what was stored, whatever came of the check.
        replace(&path, &bytes).map_err(failed(&path))?;
        let found = found?;
        let is_named = found.damage.iter().any(|damage| damage.object.contains(&pack));
        let is_right_again = self.read_all(repo, world)?.is_clean();
        let hit: BTreeSet<SnapshotId> = found.hits.iter().map(|hit| hit.id).collect();
        Ok(DemoFlip {
            pack,
            is_found: is_named && is_right_again,
            snapshots: hit.len() as u64,
            duration_ms: elapsed_ms(begun),
        })
    }

    /// A check of every byte that tells nothing by itself.
    fn read_all(&self, repo: &Repository, world: &World<'_>) -> Result<CheckReport, OpError> {
        let settings = CheckSettings::new(ReadData::All, world.clock.now().as_millisecond(), self.workers);
        check(repo, world.clock, HOST, settings, &Silent, world.cancel)
    }

    fn check(&self, repo: &Repository, world: &World<'_>) -> Result<DemoCheck, OpError> {
        let begun = Instant::now();
        let settings = CheckSettings::new(ReadData::All, world.clock.now().as_millisecond(), self.workers);
        let report = check(repo, world.clock, HOST, settings, world.observer, world.cancel)?;
        Ok(DemoCheck { report, duration_ms: elapsed_ms(begun) })
    }
}

/// Makes the repository, with a passphrase that nobody knows.
fn init(scratch: &Scratch, world: &World<'_>) -> Result<Repository, OpError> {
    // Not the user's own cache and state, where they would stay.
    let surroundings = Surroundings::new(Arc::clone(&world.entropy), scratch.path().join("cache"));
    let credential = Credential::Passphrase(scratch::passphrase(scratch.path(), world.entropy.as_ref())?);
    let storage = LocalStorage::create(repository(scratch.path())).map_err(RepoError::from)?;
    let config = Config::new(world.clock.now().as_millisecond());
    Ok(Repository::init(Arc::new(storage), &credential, "demo", config, &surroundings)?)
}

/// The largest file two folders down.
fn largest(folder: &Path) -> io::Result<PathBuf> {
    let mut found: Option<(u64, PathBuf)> = None;
    for below in std::fs::read_dir(folder)? {
        for file in std::fs::read_dir(below?.path())? {
            let file = file?;
            let bytes = file.metadata()?.len();
            if found.as_ref().is_none_or(|(most, _)| bytes > *most) {
                found = Some((bytes, file.path()));
            }
        }
    }
    found.map(|(_, path)| path).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Another file in its place: objects may not be written to.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::remove_file(path)?;
    std::fs::write(path, bytes)
}

fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
