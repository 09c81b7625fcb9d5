//! What goes wrong on the way, and at the other end.

use crate::cli::{HANGS, exit};
use crate::sftp_life::{Life, table};
use crate::sshd::{SFTP_SERVER, Sshd};
use crate::stub::{Stub, Ways};
use dumpvault::storage::scheme::Scheme;
use dumpvault::storage::sftp::{Sftp, SftpOptions};
use dumpvault::storage::{ErrorKind, Put, Storage};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

/// A key named by the hash of its content, as packs are.
fn pack(content: &[u8]) -> String {
    let name = blake3::hash(content).to_hex();
    format!("packs/{}/{name}", &name[..2])
}

#[test]
fn given_a_server_that_waits_for_many_requests_then_reads_and_writes_are_pipelined() {
    // One request at a time would never be answered.
    let stub = Stub::new(Ways { waits_for: 16, ..Ways::default() });
    let storage = stub.bare();
    let content = noise(1, 32 * (32 << 10));
    assert_eq!(storage.put("packs/a", &content).unwrap(), Put::Created);
    assert!(storage.get("packs/a", u64::MAX).unwrap() == content);
    let mut range = vec![0; 16 * (32 << 10)];
    storage.get_range("packs/a", 5, &mut range).unwrap();
    assert!(range == content[5..5 + range.len()]);
}

#[test]
fn given_a_line_with_latency_then_as_many_bytes_are_under_way_as_ssh_carries() {
    // OpenSSH carries 2 MiB of a channel at a time: at 50 ms that is 40 MB/s. A window that is smaller would be the
    // bound itself. The server answers only when all of them have come.
    let pieces = 2 << 20 >> 15;
    let stub = Stub::new(Ways { waits_for: pieces, ..Ways::default() });
    let storage = stub.bare();
    let content = noise(2, 2 * pieces * (32 << 10));
    assert_eq!(storage.put("packs/a", &content).unwrap(), Put::Created);
    assert!(storage.get("packs/a", u64::MAX).unwrap() == content);
}

#[test]
fn given_a_small_object_then_it_is_put_in_few_requests() {
    let stub = Stub::new(Ways::default());
    let storage = stub.bare();
    storage.put("index/a", b"1").unwrap();
    // What is asked in vain comes before this.
    storage.size("index/a").unwrap();
    let before = stub.asked().len();
    storage.put("index/b", b"2").unwrap();
    storage.size("index/b").unwrap();
    // Look, create, open the folder; write, sync, close; link, sync; close, remove. The last is the question for the
    // size.
    let asked = stub.asked();
    assert_eq!(asked[before..], [7, 3, 3, 6, 200, 4, 200, 200, 4, 13, 7], "{:?}", &asked[before..]);
}

#[test]
fn given_a_connection_that_ends_at_any_step_of_a_put_then_the_object_is_there_once_and_nothing_else_is() {
    for step in 1..30 {
        let stub = Stub::new(Ways { ends_after: vec![step], ..Ways::default() });
        let storage = stub.storage();
        let put = storage.put("packs/ab/cd", b"12345").unwrap();
        assert!(matches!(put, Put::Created | Put::AlreadyThere));
        assert_eq!(storage.get("packs/ab/cd", 9).unwrap(), b"12345");
        let mut keys = Vec::new();
        storage.list("", &mut |listed| keys.push(listed.key)).unwrap();
        assert_eq!(keys, ["packs/ab/cd"], "step {step}");
        assert!(stub.dialled() <= 2);
    }
}

#[test]
fn given_what_a_killed_writer_left_then_it_is_removed_when_it_is_old() {
    let stub = Stub::new(Ways::default());
    let storage = stub.bare();
    storage.put("a", b"1").unwrap();
    let left = stub.folder().join("tmp/left");
    std::fs::write(&left, b"half").unwrap();
    storage.remove_leftovers(Duration::from_secs(3600)).unwrap();
    assert_eq!((left.exists(), storage.leftovers().unwrap()), (true, 1));
    let old = std::time::SystemTime::now() - Duration::from_secs(7200);
    std::fs::File::options().write(true).open(&left).unwrap().set_modified(old).unwrap();
    storage.remove_leftovers(Duration::from_secs(3600)).unwrap();
    assert_eq!((left.exists(), storage.leftovers().unwrap()), (false, 0));
    assert_eq!(storage.get("a", 9).unwrap(), b"1");
}

#[test]
fn given_a_server_that_is_full_then_that_is_told() {
    let stub = Stub::new(Ways { room: Some(100), ..Ways::default() });
    let error = stub.storage().put("packs/a", &noise(1, 1000)).unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::NoSpace, false), "{error}");
    // Where there is room, it is another failure.
    let stub = Stub::new(Ways { room: Some(1 << 30), ..Ways::default() });
    let storage = stub.storage();
    assert_eq!(storage.put("packs/a", &noise(1, 1000)).unwrap_err().kind, ErrorKind::Other);
    // What is asked in vain comes before this.
    storage.size("packs/a").unwrap();
    assert_eq!(std::fs::read_dir(stub.folder().join("tmp")).unwrap().count(), 0);
}

#[test]
fn given_a_server_that_says_something_else_then_it_is_told_and_not_tried_again() {
    for says in [
        &b"Welcome to the machine!\r\n"[..],
        b"\0\0\0\x05\x02\0\0\0\x02",
        b"\0\0\0\x05\x65\0\0\0\x03",
        b"\0\0\0\x01\x02",
        b"\0\0\0\0",
    ] {
        let stub = Stub::new(Ways { says: Some(says), ..Ways::default() });
        let storage = stub.storage();
        let error = storage.size("config").unwrap_err();
        assert!(!error.retryable, "{error}");
        assert!(error.to_string().contains("stub"), "{error}");
        storage.size("config").unwrap_err();
        assert_eq!(stub.dialled(), 1, "{error}");
    }
}

#[test]
fn given_a_server_that_falls_silent_then_it_is_given_up() {
    let stub = Stub::new(Ways { is_mute: true, ..Ways::default() });
    let error = stub.bare().size("config").unwrap_err();
    assert!(error.retryable && error.to_string().contains("said nothing"), "{error}");
    assert_eq!(error.kind, ErrorKind::Unreachable);
}

#[test]
fn given_links_in_the_repository_then_nothing_follows_them() {
    let stub = Stub::new(Ways::default());
    let storage = stub.storage();
    storage.put("packs/ab/cd", b"1").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", stub.folder().join("packs/ab/ce")).unwrap();
    for error in [
        storage.get("packs/ab/ce", 1 << 20).unwrap_err(),
        storage.size("packs/ab/ce").unwrap_err(),
        storage.put("packs/ab/ce", b"1").unwrap_err(),
        storage.list("packs/", &mut |_| {}).unwrap_err(),
    ] {
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
}

#[test]
fn given_a_directory_that_was_removed_then_it_does_not_read_as_an_empty_repository() {
    let server = Sshd::start();
    let storage = server.storage("repo");
    storage.put("packs/ab/cd", b"1").unwrap();
    std::fs::remove_dir_all(server.path("repo")).unwrap();
    assert_eq!(storage.list("packs/", &mut |_| {}).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(storage.put("packs/ab/ce", b"1").unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn given_a_directory_that_cannot_be_written_then_it_is_denied() {
    if rustix::process::getuid().is_root() {
        // Permissions do not bind root; a server that only reads binds everybody.
        let server = Sshd::start_with(&format!("Subsystem sftp {SFTP_SERVER} -R"));
        std::fs::create_dir_all(server.path("repo/tmp")).unwrap();
        std::fs::write(server.path("repo/a"), b"1").unwrap();
        let storage = server.storage("repo");
        assert_eq!(storage.get("a", 9).unwrap(), b"1");
        assert_eq!(storage.put("b", b"1").unwrap_err().kind, ErrorKind::Denied);
        assert_eq!(storage.delete("a").unwrap_err().kind, ErrorKind::Denied);
    }
}

/// Runs a command that must fail soon, and for good.
fn fails(configuration: &str, says: &str) {
    let life = Life::new(configuration);
    let began = Instant::now();
    let output = life.command(&["-vv", "init"], b"").expect(exit::NOTHING_DONE);
    output.says(says).does_not_say("tried 10 times").does_not_say("trying again");
    // Not a figure: the bound that the promise names.
    assert!(began.elapsed() < HANGS, "{:?}", began.elapsed());
}

#[test]
fn given_a_wrong_host_key_then_it_ends_at_once_and_says_so() {
    let server = Sshd::start();
    let config = server.client_with("wrong_host", server.port, "user", "other.pub");
    let table = format!(
        "repository = \"{}\"\n[sftp]\ncommand = \"ssh -F {}\"\n",
        server.address("x"),
        config.display()
    );
    fails(&table, "another key than the one in known_hosts");
    let unknown = server.client_with("unknown_host", server.port, "user", "other.pub");
    std::fs::write(unknown.with_extension("hosts"), "").unwrap();
    let text =
        std::fs::read_to_string(&unknown).unwrap().replace("HostKeyAlias vault", "HostKeyAlias nobody");
    std::fs::write(&unknown, text).unwrap();
    let table = format!(
        "repository = \"{}\"\n[sftp]\ncommand = \"ssh -F {}\"\n",
        server.address("x"),
        unknown.display()
    );
    fails(&table, "not in known_hosts");
}

#[test]
fn given_a_key_that_the_server_does_not_know_or_that_needs_a_passphrase_then_it_ends_at_once() {
    let server = Sshd::start();
    let config = server.client_with("wrong_key", server.port, "other", "host.pub");
    let table = format!(
        "repository = \"{}\"\n[sftp]\ncommand = \"ssh -F {}\"\n",
        server.address("x"),
        config.display()
    );
    fails(&table, "accepts none of the keys");
    let sealed = server.path("user");
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-N", "xyzzy-passphrase", "-f"]).arg(&sealed);
    assert!(keygen.status().unwrap().success());
    let table = format!("repository = \"{}\"\n{}", server.address("x"), server.table());
    fails(&table, "ssh may not ask for a passphrase");
}

#[test]
fn given_no_sftp_at_the_other_end_or_no_ssh_then_it_ends_at_once() {
    let server = Sshd::start_with("Subsystem other internal-sftp");
    fails(&format!("repository = \"{}\"\n{}", server.address("x"), server.table()), "offers no SFTP");
    fails(
        "repository = \"sftp:h:/x\"\n[sftp]\ncommand = \"no-such-ssh\"\n",
        "`no-such-ssh` is not installed",
    );
    let server = Sshd::start_with("ForceCommand echo hello, I am a shell that talks");
    fails(
        &format!("repository = \"{}\"\n{}", server.address("x"), server.table()),
        "prints something before SFTP begins",
    );
}

#[test]
fn given_a_host_that_ssh_would_take_for_an_option_then_nothing_is_started() {
    let life = Life::new("");
    let witness = life.vault.work().join("witness");
    for address in [
        format!("sftp://-oProxyCommand=touch${{IFS}}{}/x", witness.display()),
        format!("sftp:-oProxyCommand=touch {}:x", witness.display()),
        "sftp://-oProxyCommand=id@h/x".to_owned(),
    ] {
        life.command(&["--repo", &address, "init"], b"")
            .expect(exit::USAGE)
            .says("is not a repository address");
    }
    assert!(!witness.exists());
    let refused = life.command(&["--repo", "sftp://me:xyzzy-secret@h/x", "init"], b"").expect(exit::USAGE);
    refused.does_not_say("xyzzy-secret").says("ssh uses keys");
}

#[test]
fn given_a_server_that_is_not_there_then_that_is_told_soon() {
    let life =
        Life::new("repository = \"sftp://nobody@127.0.0.1:1//x\"\n[sftp]\ncommand = \"ssh -F none\"\n");
    life.command(&["init"], b"").expect(exit::NOTHING_DONE).says("Connection refused");
}

#[test]
fn given_a_server_whose_connections_are_killed_again_and_again_then_the_storage_goes_on() {
    let server = Sshd::start();
    let storage = server.storage("repo");
    let killed = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for seed in 0..40 {
                let content = noise(seed, 1 << 20);
                storage.put(&pack(&content), &content).unwrap();
                assert!(storage.get(&pack(&content), u64::MAX).unwrap() == content);
            }
        });
        let (mut killed, mut seen) = (0, 0);
        while !writer.is_finished() && killed < 6 {
            let packs = std::fs::read_dir(server.path("repo/packs")).map_or(0, Iterator::count);
            if packs >= seen + 4 {
                seen = packs;
                killed += usize::from(server.kill_sessions() > 0);
            }
            std::thread::yield_now();
        }
        writer.join().unwrap();
        killed
    });
    assert!(killed > 2, "{killed}");
    let mut count = 0;
    storage
        .list("packs/", &mut |listed| {
            assert_eq!(listed.bytes, 1 << 20);
            count += 1;
        })
        .unwrap();
    assert_eq!(count, 40);
}

#[test]
fn given_a_server_that_is_killed_in_a_backup_and_in_a_restore_and_comes_back_then_both_end_well() {
    let mut server = Sshd::start();
    let life = Life::new(&format!("repository = \"{}\"\n{}", server.address("repo"), server.table()));
    life.command(&["init"], b"").expect(exit::OK);
    let dump = [table(20_000, |_| false), noise(1, 80 << 20)].concat();

    let mut command = life.prepared(&["--json", "backup", "--stdin", "--series", "app"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        let dump = &dump;
        scope.spawn(move || stdin.write_all(dump).unwrap());
        let began = Instant::now();
        while std::fs::read_dir(server.path("repo/packs")).map_or(0, Iterator::count) == 0 {
            assert!(began.elapsed() < HANGS, "no pack comes");
            std::thread::yield_now();
        }
        server.kill();
        server.restart();
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    life.command(&["check", "--read-data"], b"").expect(exit::OK);

    let mut command = life.prepared(&["--no-cache", "restore", "app", "--output", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut restored = vec![0; 1 << 20];
    stdout.read_exact(&mut restored).unwrap();
    server.kill();
    server.restart();
    stdout.read_to_end(&mut restored).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(restored == dump);
}

#[test]
fn given_secrets_in_the_environment_then_ssh_gets_none_and_no_output_has_them() {
    let server = Sshd::start();
    let seen = server.path("seen");
    let wrapper = server.path("wrapper");
    let script = format!(
        "#!/bin/sh\nenv >>{0}\nprintf '%s\\n' \"$@\" >>{0}\nexec ssh -F {1} \"$@\"\n",
        seen.display(),
        server.config().display()
    );
    std::fs::write(&wrapper, script).unwrap();
    let table = format!(
        "repository = \"{}\"\n[sftp]\ncommand = [\"sh\", \"{}\"]\n",
        server.address("repo"),
        wrapper.display()
    );
    let life = Life::new(&table);
    let mut command = life.prepared(&["-vvv", "init"]);
    command
        .env_remove("DUMPVAULT_KEY_FILE")
        .env("DUMPVAULT_PASSWORD", "xyzzy-1-is-long-enough")
        .env("PGPASSWORD", "xyzzy-2")
        .env("AWS_SECRET_ACCESS_KEY", "xyzzy-3");
    let output = crate::cli::run(command, b"").expect(exit::OK);
    output.does_not_say("xyzzy");
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("BatchMode=yes") && seen.contains("HOME=") && !seen.contains("xyzzy"), "{seen}");
}

#[test]
fn given_rclone_as_the_server_then_a_rename_that_replaces_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let rclone = crate::independent::python().with_file_name("rclone");
    let shell =
        format!("exec {} serve sftp --stdio --config= {}", rclone.display(), scratch.path().display());
    let options = SftpOptions {
        command: vec!["sh".into(), "-c".into(), shell.into()],
        connections: 1,
        ..SftpOptions::default()
    };
    let storage = |name: &str| {
        let location = Sftp.location(&format!("sftp:rclone:/{name}"), scratch.path()).unwrap();
        crate::sshd::connect(location.as_ref(), options.clone()).storage
    };
    let mut tried = 0;
    for (name, case) in crate::conformance::CASES {
        // The cases that hold where a rename replaces; the others take a server minutes that keeps a cache.
        if name.contains("are_already_there")
            || name.contains("are_a_conflict")
            || name.contains("is_read_back_whole")
        {
            case(&*storage(name));
            tried += 1;
        }
    }
    assert_eq!(tried, 3);
    let manners = storage("manners").manners().unwrap();
    assert!(manners.iter().any(|manner| manner.detail.contains("a rename replaces")), "{manners:?}");
    assert!(manners.iter().any(|manner| manner.name == "durability" && manner.next.is_some()), "{manners:?}");
}
