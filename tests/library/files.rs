//! Files: a tree that is backed up comes back as it was, what did not change is not read, and nothing leads out of the
//! directory that is restored into.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::small;
use crate::support::tree::{Seen, put_acl, put_xattr, seen};
use dumpvault::base::calendar::Calendar;
use dumpvault::base::clock::{Clock, SystemClock};
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::fault::{Class, Fault};
use dumpvault::base::id::StreamDigest;
use dumpvault::base::name::SnapshotName;
use dumpvault::base::numbers::{Proof, StreamFormat};
use dumpvault::base::run::{Room, Run};
use dumpvault::content::codec::Level;
use dumpvault::content::index::{Change, DataDigest, Extra, IndexWriter, Kind, Row, Time};
use dumpvault::engine::backup::{
    BackupReport, BackupRequest, ParentChoice, PlannedStream, READ_AMPLIFICATION_MAX, SUSPECT_BELOW,
    StartedDump, backup,
};
use dumpvault::engine::files::{FilesJob, FilesReport, Overwrite, PlacedFile, Tree, WantedFiles};
use dumpvault::engine::restore::{Chosen, OnRollback, Target, choose};
use dumpvault::source::files::{Choice, Files, Ownership, roots};
use dumpvault::source::indexed::PAIR;
use dumpvault::source::{Dump, Source, SourceError};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::Repository;
use dumpvault::vault::reader::ReadSettings;
use dumpvault::vault::snapshot::State;
use dumpvault::vault::snapshot::selection::Viewpoint;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A clock that is a minute ahead.
#[derive(Debug)]
struct Later;

impl Clock for Later {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(60)
    }
}

struct World {
    repo: Repository,
    home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        // Attributes and holes are those of a real file system.
        let home = tempfile::Builder::new().prefix("dv-files-").tempdir().unwrap();
        let repo = small::init(MemoryStorage::new(), &home.path().join("cache")).unwrap();
        let world = Self { repo, home };
        fs::create_dir(world.tree()).unwrap();
        world
    }

    fn tree(&self) -> PathBuf {
        self.home.path().join("tree")
    }

    fn files(&self) -> Files {
        Files { paths: roots(&[self.tree()], Path::new("/")).unwrap(), ..Files::default() }
    }

    /// So much later that whatever was changed before is settled.
    fn back_up(&self) -> BackupReport {
        self.back_up_of(self.files())
    }

    fn back_up_of(&self, files: Files) -> BackupReport {
        self.back_up_by(Arc::new(Later), files)
    }

    fn back_up_by(&self, clock: Arc<dyn Clock>, files: Files) -> BackupReport {
        let request = request(files.describe());
        self.back_up_as(request, clock, files)
    }

    fn back_up_as(&self, request: BackupRequest, clock: Arc<dyn Clock>, files: Files) -> BackupReport {
        let run = Run::new(clock, Arc::new(Silent), Cancel::new(), Room::default());
        let streams = Box::new(files).streams("files", &run).unwrap();
        backup(&self.repo, &SystemClock, request, streams, &Silent, &Cancel::new()).unwrap()
    }

    fn chosen(&self) -> Chosen {
        let name = SnapshotName::parse("files", &jiff::tz::TimeZone::UTC).unwrap();
        let from = Viewpoint { host: "here".into(), any_host: false };
        choose(&self.repo, &name, &from, OnRollback::Refuse, ReadSettings::local(2), &Silent).unwrap()
    }

    fn restore(&self, into: &Path, patterns: &[&str]) -> FilesReport {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let job = FilesJob {
            wanted: WantedFiles::of(&patterns).unwrap(),
            overwrite: Overwrite::Changed,
            ownership: Ownership::Numbers,
        };
        let chosen = self.chosen();
        let tree = Tree::of(&chosen, None).unwrap().unwrap();
        tree.restore(&job, into, &Silent, &Cancel::new()).unwrap()
    }

    /// What the newest snapshot says of the files below the tree.
    fn rows(&self) -> Vec<Row> {
        let (tree, mut rows) = (self.tree(), Vec::new());
        let path = tree.strip_prefix("/").unwrap().as_os_str().as_bytes();
        let chosen = self.chosen();
        let files = Tree::of(&chosen, None).unwrap().unwrap();
        let mut take = |file: PlacedFile| {
            rows.push(file.row);
            Ok(())
        };
        files.files(&WantedFiles::exactly(path), &Cancel::new(), &mut take).unwrap();
        rows.retain(|row| row.path.len() > path.len());
        rows
    }

    /// Where the tree lies below a directory that it was restored into.
    fn restored(&self, into: &Path) -> PathBuf {
        into.join(self.tree().strip_prefix("/").unwrap())
    }

    fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn request(source: BTreeMap<String, String>) -> BackupRequest {
    BackupRequest {
        series: "files".into(),
        host: "here".into(),
        time: None,
        tags: Vec::new(),
        calendar: Calendar::default(),
        level: Level::DEFAULT,
        allow_empty: false,
        workers: 2,
        parent: ParentChoice::Newest,
        read_amplification_max: READ_AMPLIFICATION_MAX,
        suspect_below: SUSPECT_BELOW,
        source,
        set: None,
    }
}

fn count(report: &BackupReport, name: &str) -> u64 {
    let streams = &report.committed.body.streams;
    streams.iter().find_map(|stream| stream.attributes.get(name)).unwrap().parse().unwrap()
}

fn set_mtime(path: &Path, seconds: i64, nanos: u32) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 1, tv_nsec: 0 },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[derive(Debug, Clone)]
enum Made {
    File { bytes: Vec<u8>, hole: Option<u8>, xattr: Option<Vec<u8>>, acl: bool },
    Directory,
    Symlink(Vec<u8>),
    HardLink,
    Fifo,
    Socket,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| if matches!(byte, 0 | b'/') { b'x' } else { byte });
    let names = proptest::collection::vec(byte, 1..12);
    prop_oneof![3 => names, 1 => "[a-c]{1,2}".prop_map(String::into_bytes)]
        .prop_filter("a name", |name| !matches!(name.as_slice(), b"." | b".."))
}

fn made() -> impl Strategy<Value = Made> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..3000);
    let xattr = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        4 => (bytes, proptest::option::of(1u8..5), xattr, any::<bool>())
            .prop_map(|(bytes, hole, xattr, acl)| Made::File { bytes, hole, xattr, acl }),
        2 => Just(Made::Directory),
        1 => name().prop_map(Made::Symlink),
        1 => Just(Made::HardLink),
        1 => Just(Made::Fifo),
        1 => Just(Made::Socket),
    ]
}

fn make(path: &Path, made: &Made, mode: u32, last_file: &mut Option<PathBuf>) {
    match made {
        Made::Directory => fs::create_dir(path).unwrap(),
        Made::Symlink(text) => symlink(OsStr::from_bytes(text), path).unwrap(),
        Made::Fifo => mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
        Made::Socket => mknodat(CWD, path, FileType::Socket, Mode::RWXU, 0).unwrap(),
        Made::HardLink => match last_file {
            Some(first) => fs::hard_link(first, path).unwrap(),
            None => return,
        },
        Made::File { bytes, hole, xattr, acl } => {
            let file = fs::File::create(path).unwrap();
            let start = u64::from(hole.unwrap_or(0)) * 70_000;
            file.set_len(start + bytes.len() as u64 + u64::from(hole.is_some()) * 9000).unwrap();
            file.write_all_at(bytes, start).unwrap();
            *last_file = Some(path.to_owned());
            if let Some(value) = xattr {
                put_xattr(path, "user.dumpvault", value);
            }
            if *acl {
                put_acl(path);
            }
        }
    }
    if !matches!(made, Made::Symlink(_) | Made::HardLink) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    if !matches!(made, Made::HardLink) {
        set_mtime(path, i64::from(mode) * 1_000_000 - 5, mode * 1000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn given_any_tree_when_restored_then_it_is_as_it_was(
        things in proptest::collection::vec((any::<prop::sample::Index>(), name(), made(), 0u32..0o7777), 1..30)
    ) {
        let world = World::new();
        let mut directories = vec![world.tree()];
        let mut last_file = None;
        for (parent, name, made, mode) in &things {
            let path = parent.get(&directories).join(OsStr::from_bytes(name));
            if path.symlink_metadata().is_ok() {
                continue;
            }
            make(&path, made, *mode, &mut last_file);
            if matches!(made, Made::Directory) {
                directories.push(path);
            }
        }
        // Making a thing changed the times of the directory that it is in.
        for (at, directory) in directories.iter().enumerate() {
            set_mtime(directory, 1_000_000_000 + at as i64, 7);
        }
        let report = world.back_up();
        prop_assert_eq!(report.committed.summary.head.state, State::Complete);
        let into = world.home.path().join("into");
        let restored = world.restore(&into, &[]);
        prop_assert_eq!((restored.failed, restored.attributes_lost, restored.damaged.len()), (0, 0, 0));
        let (was, is) = (seen(&world.tree()), seen(&world.restored(&into)));
        prop_assert_eq!(was, is);
        // Once more over the same: nothing is written.
        let again = world.restore(&into, &[]);
        let regular = things.iter().filter(|(_, _, made, _)| matches!(made, Made::File { .. })).count() as u64;
        prop_assert!(again.bytes == 0 && again.kept <= regular);
    }
}

#[test]
fn given_paths_of_5000_bytes_then_they_are_backed_up_and_come_back() {
    let world = World::new();
    // Longer than any path that a system call takes.
    let names: Vec<String> = (0..24).map(|at| format!("{at:02}{}", "n".repeat(200))).collect();
    let mut at = rustix::fs::openat(CWD, world.tree(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for name in &names {
        rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, name.as_str(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&at, "deep", flags, Mode::RWXU).unwrap();
    rustix::io::write(&file, b"down here").unwrap();
    assert_eq!(world.back_up().committed.summary.head.state, State::Complete);
    let into = world.home.path().join("into");
    assert_eq!(world.restore(&into, &[]).failed, 0);
    let mut at =
        rustix::fs::openat(CWD, world.restored(&into), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for name in &names {
        at = rustix::fs::openat(&at, name.as_str(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&at, "deep", rustix::fs::OFlags::RDONLY, Mode::empty()).unwrap();
    let mut bytes = [0; 32];
    let len = rustix::io::read(&file, &mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"down here");
}

#[test]
fn given_nothing_changed_then_the_next_backup_reads_no_contents_and_adds_nothing() {
    let world = World::new();
    for at in 0..200 {
        world.write(&format!("d{}/f{at}", at % 7), &small::noise(at, 2000));
    }
    let first = world.back_up();
    assert_eq!(count(&first, "unchanged"), 0);
    let second = world.back_up();
    // Directories above the tree change under everybody's hands.
    assert!(count(&second, "unchanged") + 3 >= count(&second, "rows"));
    assert_eq!(second.committed.body.parent, Some(first.committed.summary.id));
    let stats = &second.committed.body.streams[0].stats;
    assert_eq!((stats.bytes_new, stats.bytes_copied), (0, 200 * 2000));
    // One of them changes, one goes, one comes.
    world.write("d1/f1", b"another");
    fs::remove_file(world.tree().join("d2/f2")).unwrap();
    world.write("d3/new", b"new");
    let third = world.back_up();
    assert_eq!(third.committed.body.streams[0].stats.bytes_copied, 198 * 2000);
    let into = world.home.path().join("into");
    world.restore(&into, &[]);
    assert_eq!(seen(&world.tree()), seen(&world.restored(&into)));
}

#[test]
fn given_other_inodes_or_another_time_of_change_alone_then_files_are_read_again_and_no_row_is_another() {
    let world = World::new();
    let paths: Vec<PathBuf> =
        (0..50).map(|at| world.write(&format!("d{}/f{at}", at % 7), &small::noise(at, 2000))).collect();
    let folders: Vec<PathBuf> = (0..7).map(|at| world.tree().join(format!("d{at}"))).collect();
    for path in paths.iter().chain(&folders) {
        set_mtime(path, 1_000_000_000, 7);
    }
    world.back_up();
    let rows = world.rows();
    let copied = |report: &BackupReport| {
        let stats = &report.committed.body.streams[0].stats;
        assert_eq!(stats.bytes_new, 0);
        stats.bytes_copied
    };
    // A disk is copied to another one, or a file system gives other numbers each time it is mounted.
    for path in &paths {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(&copy, path).unwrap();
    }
    for path in paths.iter().chain(&folders) {
        set_mtime(path, 1_000_000_000, 7);
    }
    // The end of a stream that was read is compared with the parent's, and may be a copy: less than one file.
    assert!(copied(&world.back_up()) < 2000, "equal times and sizes are no proof of equal bytes");
    assert_eq!(world.rows(), rows);
    // A nightly `chmod -R` changes nothing but the time of change.
    for path in &paths {
        let mode = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, mode).unwrap();
    }
    assert!(copied(&world.back_up()) < 2000);
    assert_eq!(world.rows(), rows);
    assert_eq!(copied(&world.back_up()), 50 * 2000);
}

#[test]
fn given_a_parent_that_takes_too_much_to_restore_then_unchanged_files_are_still_not_read() {
    let world = World::new();
    (0..20).for_each(|at| drop(world.write(&format!("f{at}"), &small::noise(at, 5000))));
    world.back_up();
    // Any parent is more than that: a dump would be stored afresh.
    let request = BackupRequest { read_amplification_max: 0.0, ..request(world.files().describe()) };
    let second = world.back_up_as(request, Arc::new(Later), world.files());
    let stats = &second.committed.body.streams[0].stats;
    assert_eq!((stats.bytes_new, stats.bytes_copied), (0, 20 * 5000));
}

#[test]
fn given_a_part_is_wanted_then_it_alone_comes_back_with_the_directories_above() {
    let world = World::new();
    for at in 0..3000 {
        world.write(&format!("d{}/f{at}", at % 40), at.to_string().as_bytes());
    }
    fs::set_permissions(world.tree().join("d7"), fs::Permissions::from_mode(0o710)).unwrap();
    world.back_up();
    let into = world.home.path().join("into");
    let pattern = format!("{}/d7/f7", world.tree().display());
    let report = world.restore(&into, &[&pattern]);
    assert_eq!((report.files, report.bytes), (1, 1));
    let found = seen(&world.restored(&into));
    let paths: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
    assert_eq!(paths, [&b""[..], b"d7", b"d7/f7"]);
    assert_eq!(found[&b"d7"[..]].mode & 0o777, 0o710);
    let into = world.home.path().join("others");
    let report = world.restore(&into, &["f1?", "d39/"]);
    assert_eq!(report.files, 10 + 75);
}

#[test]
fn given_a_link_in_the_place_of_a_directory_then_nothing_is_written_through_it() {
    let world = World::new();
    world.write("d/inner/file", b"ours");
    world.write("other", b"fine");
    world.back_up();
    let (into, outside) = (world.home.path().join("into"), world.home.path().join("outside"));
    fs::create_dir_all(world.restored(&into)).unwrap();
    fs::create_dir_all(outside.join("inner")).unwrap();
    symlink(&outside, world.restored(&into).join("d")).unwrap();
    // A file that is a link is replaced, and what it leads to stays.
    fs::write(outside.join("precious"), b"precious").unwrap();
    symlink(outside.join("precious"), world.restored(&into).join("other")).unwrap();
    let report = world.restore(&into, &[]);
    assert!(report.failed >= 1, "{report:?}");
    assert_eq!(fs::read_dir(outside.join("inner")).unwrap().count(), 0);
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious");
    let other = world.restored(&into).join("other");
    assert!(!other.is_symlink());
    assert_eq!(fs::read(other).unwrap(), b"fine");
    let left: Vec<Vec<u8>> = seen(&into).into_keys().collect();
    assert!(left.iter().all(|path| !path.windows(10).any(|part| part == b".dumpvault")), "{left:?}");
}

#[test]
fn given_what_is_left_out_then_it_is_not_in_the_backup() {
    let world = World::new();
    for path in ["keep/a", "keep/b.tmp", "cache/x", "old"] {
        world.write(path, path.as_bytes());
    }
    set_mtime(&world.tree().join("old"), 1_000_000, 0);
    let patterns = ["*.tmp".to_owned(), format!("{}/cache/", world.tree().display())];
    let age = dumpvault::base::unit::age("7d").unwrap();
    let choice = Choice::excluding(&patterns).unwrap();
    let report = world.back_up_of(Files { choice, newer_than: Some(age), ..world.files() });
    assert_eq!(count(&report, "excluded"), 3);
    let into = world.home.path().join("into");
    world.restore(&into, &[]);
    let paths: Vec<Vec<u8>> = seen(&world.restored(&into)).into_keys().collect();
    assert_eq!(paths, [&b""[..], b"keep", b"keep/a"]);
}

#[test]
fn given_a_file_that_is_written_all_the_time_then_no_row_is_clean_and_wrong() {
    let world = World::new();
    let path = world.write("log", &[b'a'; 4096]);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = {
        let (path, stop) = (path.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let mut letter = b'b';
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all_at(&[letter; 4096], 0).unwrap();
                // The time is set back: only the time of the inode tells.
                set_mtime(&path, 1_000_000_000, 0);
                letter = if letter == b'z' { b'b' } else { letter + 1 };
            }
        })
    };
    for _ in 0..5 {
        world.back_up_by(Arc::new(SystemClock), world.files());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    world.back_up_by(Arc::new(SystemClock), world.files());
    let into = world.home.path().join("into");
    assert_eq!(world.restore(&into, &[]).damaged, [""; 0]);
    assert_eq!(fs::read(world.restored(&into).join("log")).unwrap(), fs::read(&path).unwrap());
}

#[test]
fn given_devices_pipes_and_sockets_then_they_are_rows_and_never_opened() {
    let world = World::new();
    // Whoever opened one of these to read would wait for ever.
    mknodat(CWD, world.tree().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.tree().join("socket")).unwrap();
    let report = world.back_up();
    assert_eq!(report.committed.summary.head.state, State::Complete);
    let into = world.home.path().join("into");
    assert_eq!(world.restore(&into, &[]).failed, 0);
    let found: Vec<Seen> = seen(&world.restored(&into)).into_values().collect();
    assert_eq!(found.len(), 3);
}

/// Bytes of a stream of files, or of its index, as somebody says.
struct Said {
    bytes: io::Cursor<Vec<u8>>,
    format: StreamFormat,
    digest: Option<StreamDigest>,
    map: Option<Vec<u8>>,
}

impl io::Read for Said {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Dump for Said {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        Ok(Proof::Structure)
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(self.format)
    }

    fn digest(&self) -> Option<StreamDigest> {
        self.digest
    }

    fn map(&self) -> Option<Vec<u8>> {
        self.map.clone()
    }
}

#[test]
fn given_a_file_whose_bytes_are_not_those_of_its_digest_then_reading_all_or_it_tells() {
    let world = World::new();
    let (mut writer, mut digest) = (IndexWriter::default(), DataDigest::default());
    for (path, bytes) in [("", None), ("good", Some(&b"good"[..])), ("wrong", Some(b"well"))] {
        let file = |bytes: &[u8]| Kind::File { size: 4, digest: *blake3::hash(bytes).as_bytes() };
        let row = Row {
            path: path.into(),
            kind: bytes.map_or(Kind::Directory, file),
            mode: 0o700,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            is_torn: false,
            is_old: false,
            extra: Extra::default(),
        };
        digest.row(&row);
        writer.push(&row, &Change::default()).unwrap();
    }
    let mut index = writer.take();
    let (end, map) = writer.finish();
    index.extend(end);
    let said =
        |bytes: Vec<u8>, format, digest, map| Said { bytes: io::Cursor::new(bytes), format, digest, map };
    let digest = StreamDigest::from_bytes(digest.finish());
    let data = said(b"goodevil".to_vec(), StreamFormat::FileData, Some(digest), None);
    let index = said(index, StreamFormat::FileIndex, None, Some(map.encode()));
    let planned = |name: &str, pair: &str, dump: Said| {
        let attributes = [(PAIR.to_owned(), pair.to_owned())].into();
        let start = Box::new(move || Ok(StartedDump { dump: Box::new(dump), attributes }));
        PlannedStream { name: name.to_owned(), start }
    };
    let streams = vec![planned("data", "index", data), planned("index", "data", index)];
    backup(&world.repo, &SystemClock, request(BTreeMap::new()), streams, &Silent, &Cancel::new()).unwrap();

    let chosen = world.chosen();
    let stream = chosen.stream(Some("data")).unwrap();
    let mut out = Vec::new();
    let error = chosen.restore(stream, Target::Writer(&mut out), &Silent, &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("/wrong"), "{error}");
    assert_eq!(error.class(), Class::Integrity);
    let into = world.home.path().join("into");
    let report = world.restore(&into, &[]);
    assert_eq!(report.damaged, ["/wrong"]);
    assert_eq!(fs::read(into.join("good")).unwrap(), b"good");
    assert_eq!(fs::read_dir(&into).unwrap().count(), 1);
}
