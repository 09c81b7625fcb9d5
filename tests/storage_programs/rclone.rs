//! Remotes of rclone: the contract, the program's life, and what is left of rclone when the program ends.

use crate::cli::{HANGS, exit};
use crate::sftp_contract::conform;
use crate::sftp_life::{Life, table};
use crate::sshd::around;
use dumpvault::storage::rclone::{Rclone, RcloneOptions};
use dumpvault::storage::scheme::Scheme;
use dumpvault::storage::{ErrorKind, Storage};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

fn program() -> PathBuf {
    crate::independent::python().with_file_name("rclone")
}

/// A folder, and a configuration of rclone in which it is reached as the remote `disk:`.
struct Remote {
    folder: tempfile::TempDir,
}

impl Remote {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("dv-rclone-").tempdir().unwrap();
        std::fs::write(folder.path().join("rclone.conf"), "[disk]\ntype = local\n").unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self, name: &str) -> String {
        format!("rclone:disk:{}", self.path(name).display())
    }

    fn options(&self) -> RcloneOptions {
        RcloneOptions {
            program: program().to_str().unwrap().to_owned(),
            args: vec!["--config".to_owned(), self.path("rclone.conf").to_str().unwrap().to_owned()],
            ..RcloneOptions::default()
        }
    }

    fn storage(&self, name: &str) -> Arc<dyn Storage> {
        let location = Rclone.location(&self.address(name), Path::new("/")).unwrap();
        location.create(&(Arc::new(self.options()) as _), &around()).unwrap().storage
    }

    fn life(&self, repository: &str) -> Life {
        Life::new(&format!(
            "repository = \"{}\"\n[rclone]\nprogram = \"{}\"\nargs = [\"--config\", \"{}\"]\n",
            self.address(repository),
            program().display(),
            self.path("rclone.conf").display()
        ))
    }

    /// Processes of rclone that serve this folder.
    fn servers(&self) -> Vec<i32> {
        let mark = self.folder.path().to_str().unwrap().as_bytes().to_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let is_ours = words.windows(mark.len()).any(|part| part == mark);
            if is_ours && words.windows(7).any(|part| part == b"\0restic") && !words.starts_with(b"sh\0") {
                found.push(pid);
            }
        }
        found
    }

    /// Nothing of rclone is left, neither a process nor a socket.
    fn is_left_clean(&self) {
        let began = Instant::now();
        let sockets = || std::fs::read_dir(self.path("run")).unwrap().count();
        while !self.servers().is_empty() || sockets() > 0 {
            assert!(began.elapsed() < HANGS, "{:?} and {} folders are left", self.servers(), sockets());
            std::thread::yield_now();
        }
    }
}

#[test]
fn rclone_keeps_the_contract() {
    let remote = Remote::new();
    conform(
        &[
            // A folder of others is a folder to it, and answered with 500. No key of a repository is one.
            "what_is_not_there_is_not_found",
            // Nobody hears of another who writes in the same moment.
            "of_eight_equal_puts_at_once_one_creates",
            "of_eight_different_puts_at_once_one_wins_and_stays",
            // It adds to the names of files that it writes, and a name that long is too long then.
            "the_longest_key_and_all_its_letters_work",
            // On a local disk it writes into place.
            "a_listing_never_shows_half_an_object",
            // A listing of a folder from which files go while it is read ends with an error, and is made again.
            "a_listing_in_a_short_storm_gives_what_was_there_before",
        ],
        |name| remote.storage(name),
    );
    let storage = remote.storage("missing");
    assert_eq!(storage.get("packs/ab/cd", 9).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(storage.get_range("packs/ab/cd", 0, &mut [0]).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(storage.size("packs/ab/cd").unwrap(), None);
    drop(storage);
    remote.is_left_clean();
}

#[test]
fn given_rclone_then_the_program_does_all_that_it_does() {
    let remote = Remote::new();
    let life = remote.life("repo");
    life.live("rclone", &remote.address("copy"));
    let doctor = life.command(&["doctor"], b"").expect(exit::OK).text();
    assert!(doctor.contains("rclone replaces objects"), "{doctor}");
    life.command(&["object-lock", "extend"], b"").expect(exit::USAGE).says("--object-lock");
}

#[test]
fn given_a_directory_that_was_removed_then_it_does_not_read_as_an_empty_repository() {
    let remote = Remote::new();
    let storage = remote.storage("repo");
    storage.put("packs/ab/cd", b"1").unwrap();
    std::fs::remove_dir_all(remote.path("repo")).unwrap();
    for prefix in ["packs/", ""] {
        assert_eq!(storage.list(prefix, &mut |_| {}).unwrap_err().kind, ErrorKind::NotFound, "{prefix}");
    }
}

#[test]
fn given_a_remote_that_rclone_does_not_know_or_no_rclone_then_it_ends_at_once() {
    let remote = Remote::new();
    let life = remote.life("repo");
    let output = life.command(&["-v", "--repo", "rclone:nosuch:x", "init"], b"").expect(exit::NOTHING_DONE);
    output.says("didn't find section").does_not_say("trying again");
    let life = Life::new("repository = \"rclone:disk:x\"\n[rclone]\nprogram = \"no-such-rclone\"\n");
    life.command(&["init"], b"").expect(exit::NOTHING_DONE).says("`no-such-rclone` is not installed");
    let old = remote.path("old");
    std::fs::write(&old, "#!/bin/sh\necho 'rclone v1.60.1-DEV'\n").unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let life =
        Life::new(&format!("repository = \"rclone:disk:x\"\n[rclone]\nprogram = \"{}\"\n", old.display()));
    life.command(&["init"], b"").expect(exit::NOTHING_DONE).says("rclone 1.60.1-DEV is too old");
    let refused =
        life.command(&["--repo", "rclone::s3,secret_access_key=xyzzy:b", "init"], b"").expect(exit::USAGE);
    refused.does_not_say("xyzzy");
}

#[test]
fn given_rclone_killed_in_a_backup_then_it_is_started_anew_and_the_backup_ends_well() {
    let remote = Remote::new();
    let life = remote.life("repo");
    life.command(&["init"], b"").expect(exit::OK);
    let mut dump = table(1_000, |_| false);
    let mut noise = vec![0; 80 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    dump.extend(noise);
    let mut command = life.prepared(&["backup", "--stdin", "--series", "app"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        let dump = &dump;
        scope.spawn(move || stdin.write_all(dump).unwrap());
        let began = Instant::now();
        while std::fs::read_dir(remote.path("repo/packs")).map_or(0, Iterator::count) == 0 {
            assert!(began.elapsed() < HANGS, "no pack comes");
            std::thread::yield_now();
        }
        let servers = remote.servers();
        assert!(!servers.is_empty());
        for pid in servers {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(life.restored(&["--no-cache"]) == dump);
    life.command(&["check", "--read-data"], b"").expect(exit::OK);
}

#[test]
fn given_a_program_that_ends_in_any_way_then_neither_a_process_nor_a_socket_of_rclone_is_left() {
    let remote = Remote::new();
    let life = remote.life("repo");
    let run = |args: &[&str]| {
        let mut command = life.prepared(args);
        command.env("TMPDIR", remote.path("run"));
        command
    };
    crate::cli::run(run(&["init"]), b"").expect(exit::OK);
    remote.is_left_clean();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut command = run(&["backup", "--stdin", "--series", "app"]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        while remote.servers().is_empty() {
            assert!(began.elapsed() < HANGS, "rclone does not start");
            std::thread::yield_now();
        }
        assert!(std::fs::read_dir(remote.path("run")).unwrap().count() > 0);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!child.wait().unwrap().success(), "{said}");
        remote.is_left_clean();
    }
}
