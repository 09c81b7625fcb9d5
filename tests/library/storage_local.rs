//! What the local storage promises beyond the contract: where files lie, what a crash leaves, what refuses.

// Clippy sees a test only where `#[test]` stands; there are helpers here.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, SystemTime};

use dumpvault::storage::local::LocalStorage;
use dumpvault::storage::{ErrorKind, Put, Storage, StorageError};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tempfile::TempDir;

/// What the system sends to who writes over the limit on file sizes.
const SIGXFSZ: i32 = Signal::XFSZ.as_raw();
/// Tells a child process where the repository is.
const REPOSITORY: &str = "DUMPVAULT_TEST_REPOSITORY";
const LIMIT_BYTES: usize = 64 * 1024;

fn repository() -> (TempDir, LocalStorage) {
    let folder = tempfile::tempdir().unwrap();
    let storage = LocalStorage::open(folder.path()).unwrap();
    (folder, storage)
}

fn keys(storage: &LocalStorage) -> Result<Vec<String>, StorageError> {
    let mut keys = Vec::new();
    storage.list("", &mut |listed| keys.push(listed.key))?;
    keys.sort();
    Ok(keys)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn given_no_folder_then_open_says_not_found_and_makes_none() {
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("a/b");
    let file = place.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [&missing, &file, &file.join("x")] {
        let error = LocalStorage::open(path).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        assert_eq!(error.object, path.display().to_string());
    }
    assert!(!missing.exists());
}

#[test]
fn given_no_folder_then_create_makes_it_and_its_parents_for_the_owner_only() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b");
    let storage = LocalStorage::create(&path).unwrap();
    storage.put("packs/ab/cd", b"1").unwrap();
    let expected = [
        ("a", 0o700),
        ("a/b", 0o700),
        ("a/b/packs", 0o700),
        ("a/b/packs/ab", 0o700),
        ("a/b/packs/ab/cd", 0o600),
    ];
    for (path, bits) in expected {
        assert_eq!(mode(&place.path().join(path)), bits, "{path}");
    }
}

#[test]
fn given_a_folder_then_create_takes_it_as_it_is() {
    let (folder, storage) = repository();
    storage.put("a", b"1").unwrap();
    set_mode(folder.path(), 0o750);
    let again = LocalStorage::create(folder.path()).unwrap();
    assert_eq!(again.get("a", 9).unwrap(), b"1");
    assert_eq!(mode(folder.path()), 0o750);
}

#[test]
fn an_object_is_the_file_under_its_key_and_nothing_else_stays() {
    let (folder, storage) = repository();
    storage.put("packs/ab/cd", b"content").unwrap();
    assert_eq!(fs::read(folder.path().join("packs/ab/cd")).unwrap(), b"content");
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn files_whose_names_are_no_keys_are_not_listed() {
    let (folder, storage) = repository();
    storage.put("packs/a", b"1").unwrap();
    for stranger in ["README.TXT", ".DS_Store", "packs/.nfs0001", "packs/a b", "packs/\u{e4}"] {
        fs::write(folder.path().join(stranger), b"").unwrap();
    }
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("lost+found/a"), b"").unwrap();
    assert_eq!(keys(&storage).unwrap(), ["packs/a"]);
}

#[test]
fn given_a_removed_root_then_a_listing_fails_instead_of_being_empty() {
    let (folder, storage) = repository();
    storage.put("packs/a", b"1").unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(storage.list("", &mut |_| {}).is_err());
    assert!(storage.list("packs/", &mut |_| {}).is_err());
}

#[test]
fn given_symbolic_links_then_nothing_is_written_or_read_through_them() {
    let (folder, storage) = repository();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    fs::write(&target, b"precious").unwrap();
    symlink(outside.path(), folder.path().join("packs")).unwrap();
    symlink(&target, folder.path().join("link")).unwrap();
    symlink(outside.path().join("nothing"), folder.path().join("dangling")).unwrap();

    for key in ["packs/new", "packs/ab/new", "packs/target", "link", "dangling"] {
        assert_eq!(storage.put(key, b"precious").unwrap_err().kind, ErrorKind::Other, "{key}");
        assert_eq!(storage.get(key, 100).unwrap_err().kind, ErrorKind::Other, "{key}");
        assert!(storage.size(key).is_err(), "{key}");
    }
    assert!(storage.delete("packs/target").is_err());
    assert!(keys(&storage).is_err(), "what lies behind a link would be missing");
    assert!(storage.list("packs/", &mut |_| {}).is_err());

    let left: Vec<PathBuf> =
        fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&target));
    assert_eq!(fs::read(target).unwrap(), b"precious");
}

#[test]
fn given_a_link_in_place_of_the_folder_for_unfinished_objects_then_put_fails() {
    let (folder, storage) = repository();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), folder.path().join("tmp")).unwrap();
    assert!(storage.put("a", b"1").is_err());
    assert!(storage.leftovers().is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn given_a_fifo_then_it_is_no_object_and_nobody_waits_for_it() {
    let (folder, storage) = repository();
    let root = fs::File::open(folder.path()).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(&root, "a", rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(storage.get("a", 9).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(storage.size("a").unwrap(), None);
    assert_eq!(keys(&storage).unwrap(), [""; 0]);
    assert!(storage.put("a", b"1").is_err());
}

#[test]
fn leftovers_are_removed_by_age_and_objects_never() {
    let (folder, storage) = repository();
    storage.put("packs/a", b"1").unwrap();
    let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(3600 * hours);
    for (name, bytes, hours) in [("old", 5, 25), ("young", 7, 1), ("future", 9, 0)] {
        let path = folder.path().join("tmp").join(name);
        fs::write(&path, vec![0; bytes]).unwrap();
        let time = if hours == 0 { SystemTime::now() + Duration::from_secs(3600) } else { hours_ago(hours) };
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    }
    let names = |leftovers: Vec<dumpvault::storage::local::Leftover>| {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let named = leftovers.into_iter().map(|one| (name(one.path), one.bytes));
        named.collect::<BTreeMap<String, u64>>()
    };
    let expected =
        |list: &[(&str, u64)]| list.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();

    let all: BTreeMap<String, u64> = expected(&[("old", 5), ("young", 7), ("future", 9)]);
    assert_eq!(names(storage.leftovers().unwrap()), all);
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(names(storage.remove_leftovers(day).unwrap()), expected(&[("old", 5)]));
    assert_eq!(names(storage.remove_leftovers(Duration::ZERO).unwrap()), expected(&[("young", 7)]));
    assert_eq!(names(storage.leftovers().unwrap()), expected(&[("future", 9)]));
    assert_eq!(keys(&storage).unwrap(), ["packs/a"]);
}

#[test]
fn given_nothing_was_ever_put_then_there_are_no_leftovers() {
    let (_folder, storage) = repository();
    assert_eq!(storage.leftovers().unwrap(), []);
    assert_eq!(storage.remove_leftovers(Duration::ZERO).unwrap(), []);
}

/// Runs `act` in a thread without the capabilities by which root passes over permissions. Others have none to lose.
fn bound_by_permissions<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let bound = move || {
        let mut sets = capabilities(None).unwrap();
        let over = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        sets.effective.remove(over);
        set_capabilities(None, sets).unwrap();
        act()
    };
    thread::scope(|scope| scope.spawn(bound).join().unwrap())
}

#[test]
fn given_a_folder_without_permission_then_every_operation_is_denied() {
    let (folder, storage) = repository();
    storage.put("packs/a", b"1").unwrap();
    let packs = folder.path().join("packs");

    // Readable, not writable.
    set_mode(&packs, 0o500);
    bound_by_permissions(|| {
        assert_eq!(storage.put("packs/b", b"1").unwrap_err().kind, ErrorKind::Denied);
        assert_eq!(storage.delete("packs/a").unwrap_err().kind, ErrorKind::Denied);
        assert_eq!(storage.put("packs/a", b"1").unwrap(), Put::AlreadyThere);
        assert_eq!(storage.get("packs/a", 9).unwrap(), b"1");
        assert_eq!(storage.leftovers().unwrap(), []);
    });

    // Not even readable.
    set_mode(&packs, 0);
    bound_by_permissions(|| {
        let denied = |error: StorageError| {
            assert_eq!((error.kind, error.retryable), (ErrorKind::Denied, false), "{error}");
        };
        denied(storage.get("packs/a", 9).unwrap_err());
        denied(storage.get_range("packs/a", 0, &mut [0]).unwrap_err());
        denied(storage.size("packs/a").unwrap_err());
        denied(keys(&storage).unwrap_err());
        denied(storage.delete("packs/a").unwrap_err());
    });
    bound_by_permissions(|| {
        let error = LocalStorage::open(&packs).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
        let error = LocalStorage::create(packs.join("sub")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
    });

    set_mode(&packs, 0o700);
    assert_eq!(keys(&storage).unwrap(), ["packs/a"]);
}

/// Runs one of the children below in a process of its own, started by `wrapper` if that is not empty.
fn run_child(name: &str, repository: &Path, wrapper: &[&str]) -> ExitStatus {
    let test = std::env::current_exe().unwrap();
    let name = format!("storage_local::{name}");
    let arguments = ["--ignored", "--exact", &name];
    let mut command = match wrapper {
        [] => Command::new(&test),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&test);
            command
        }
    };
    command.args(arguments).env(REPOSITORY, repository);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // One that was killed says nothing; one that ended has run its one test.
    assert!(output.status.signal().is_some() || said.contains("1 passed"), "{said}");
    output.status
}

/// The repository, in a child; nothing when somebody runs the ignored tests by hand.
fn repository_of_child() -> Option<LocalStorage> {
    std::env::var_os(REPOSITORY).map(|path| LocalStorage::open(path).unwrap())
}

fn limit(resource: Resource, bytes: u64) {
    setrlimit(resource, Rlimit { current: Some(bytes), maximum: Some(bytes) }).unwrap();
}

#[test]
#[ignore = "a process that the crash test starts"]
fn child_that_is_killed_while_it_writes() {
    let Some(storage) = repository_of_child() else {
        return;
    };
    limit(Resource::Core, 0);
    limit(Resource::Fsize, LIMIT_BYTES as u64);
    // The system's answer to the first byte over the limit is to kill.
    let _ = storage.put("packs/big", &vec![1; 2 * LIMIT_BYTES]);
}

#[test]
fn given_a_writer_killed_while_it_wrote_then_there_is_a_leftover_and_no_object() {
    let (folder, storage) = repository();
    let status = run_child("child_that_is_killed_while_it_writes", folder.path(), &[]);
    assert_eq!(status.signal(), Some(SIGXFSZ));

    assert_eq!(keys(&storage).unwrap(), [""; 0]);
    assert_eq!(storage.size("packs/big").unwrap(), None);
    let leftovers = storage.leftovers().unwrap();
    let sizes: Vec<u64> = leftovers.iter().map(|one| one.bytes).collect();
    assert_eq!(sizes, [LIMIT_BYTES as u64]);

    // The next writer is not in its way, and the sweep takes it.
    assert_eq!(storage.put("packs/big", &vec![1; 2 * LIMIT_BYTES]).unwrap(), Put::Created);
    assert_eq!(storage.remove_leftovers(Duration::ZERO).unwrap(), leftovers);
    assert_eq!(keys(&storage).unwrap(), ["packs/big"]);
}

#[test]
#[ignore = "a process that the test of a full storage starts"]
fn child_with_a_limit_on_file_sizes() {
    let Some(storage) = repository_of_child() else {
        return;
    };
    // With a handler, writing over the limit is an error instead of the end.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).unwrap();
    limit(Resource::Fsize, LIMIT_BYTES as u64);
    assert_no_room_for(&storage, 2 * LIMIT_BYTES);
}

#[test]
#[ignore = "a process that the test of a full storage starts"]
fn child_on_a_small_file_system() {
    let Some(storage) = repository_of_child() else {
        return;
    };
    assert_no_room_for(&storage, 4 * 1024 * 1024);
}

fn assert_no_room_for(storage: &LocalStorage, bytes: usize) {
    let error = storage.put("packs/big", &vec![1; bytes]).unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::NoSpace, false), "{error}");
    assert_eq!(storage.size("packs/big").unwrap(), None);
    // What was written of it gave its room back.
    assert_eq!(storage.leftovers().unwrap(), []);
    assert_eq!(storage.put("packs/small", &[1; 1024]).unwrap(), Put::Created);
    assert_eq!(keys(storage).unwrap(), ["packs/small"]);
}

#[test]
fn given_no_room_then_put_says_so_and_leaves_nothing() {
    // A limit on file sizes can be set by anyone anywhere.
    let (folder, _storage) = repository();
    let status = run_child("child_with_a_limit_on_file_sizes", folder.path(), &[]);
    assert!(status.success(), "{status}");

    // A truly full file system, too, where the system lets us have one that nobody else sees.
    let mount = r#"mount -t tmpfs -o size=1m tmpfs "$DUMPVAULT_TEST_REPOSITORY""#;
    let unshared = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
    let (folder, _storage) = repository();
    let mut trial = Command::new(unshared[0]);
    trial.args(&unshared[1..]).arg(mount).env(REPOSITORY, folder.path());
    if trial.output().is_ok_and(|output| output.status.success()) {
        let script = format!(r#"{mount} && exec "$0" "$@""#);
        let wrapper = [&unshared[..], &[script.as_str()]].concat();
        let status = run_child("child_on_a_small_file_system", folder.path(), &wrapper);
        assert!(status.success(), "{status}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it was not in the mount");
    }
}
