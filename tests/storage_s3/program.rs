//! The program with a repository in a bucket.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{HANGS, Output, Running, Vault, exit, files_below, noise, run};
use crate::s3::{ACCESS_KEY, BUCKET, HttpFault, SECRET_KEY, TestServer};

/// A server, and a home of the program whose repository lies there.
pub(super) struct Remote {
    pub server: TestServer,
    pub vault: Vault,
}

impl Remote {
    /// With a repository.
    pub fn new() -> Self {
        let remote = Self::bare();
        remote.run(["init"]).expect(exit::OK);
        remote
    }

    pub fn bare() -> Self {
        Self::at(TestServer::new())
    }

    fn at(server: TestServer) -> Self {
        Self { server, vault: Vault::empty() }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        command
            .env("DUMPVAULT_REPOSITORY", self.server.address("repo"))
            .env("DUMPVAULT_KEY_FILE", self.vault.key_file())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    pub fn run<const N: usize>(&self, args: [&str; N]) -> Output {
        run(self.command(&args), b"")
    }

    /// Backs `bytes` up; what the program says of it as JSON.
    pub fn backup(&self, bytes: &[u8], options: &[&str]) -> Value {
        let args = [&["--json", "backup", "--stdin", "--series", "app"], options].concat();
        run(self.command(&args), bytes).expect(exit::OK).json()
    }

    pub fn restored(&self, options: &[&str]) -> Vec<u8> {
        let args = [&["restore", "app", "--output", "-"], options].concat();
        run(self.command(&args), b"").expect(exit::OK).stdout
    }

    fn packs_in_cache(&self) -> Vec<PathBuf> {
        let root = self.vault.cache().join("dumpvault/packs");
        let is_pack = |path: &String| path.rsplit('/').next().is_some_and(|name| name.len() == 64);
        files_below(&root)
            .into_iter()
            .filter(|path| is_pack(path) && !path.contains("/wanted/"))
            .map(|path| root.join(path))
            .collect()
    }
}

fn requests(report: &Value, kind: &str) -> u64 {
    report["requests"][kind].as_u64().unwrap()
}

fn stored(report: &Value) -> u64 {
    report["results"][0]["snapshot"]["bytes_stored"].as_u64().unwrap()
}

/// Rows of a hundred bytes that do not compress well, as a database has them, with those changed whose number
/// `is_changed`.
pub(super) fn table(rows: u32, is_changed: impl Fn(u32) -> bool) -> Vec<u8> {
    let mut text = Vec::new();
    for row in 0..rows {
        let day = u32::from(is_changed(row));
        let hash = blake3::hash(&[row.to_le_bytes(), day.to_le_bytes()].concat()).to_hex();
        text.extend_from_slice(format!("{row:08}\t{day}\t{hash}\tsome text of the row\n").as_bytes());
    }
    text
}

#[test]
fn given_a_bucket_then_dumps_go_there_and_come_back_and_the_second_one_costs_few_requests() {
    let remote = Remote::new();
    let dump = noise(1, 70 << 20);
    let first = remote.backup(&dump, &[]);
    // Three packs of data, one of the recipe, index, snapshot, mark.
    assert!(requests(&first, "put") <= 8, "{first}");
    let second = remote.backup(&dump, &[]);
    assert!(requests(&second, "total") <= 30, "{second}");
    assert!(requests(&second, "bytes_down") < 1 << 20, "{second}");
    assert!(stored(&second) < 100_000, "{second}");
    assert!(remote.restored(&[]) == dump);
    let config = remote.server.object("repo/config");
    assert!(config.is_some(), "{:?}", remote.server.names());
    remote.run(["check", "--read-data"]).expect(exit::OK);
    remote.run(["init"]).expect(exit::USAGE).says("already");
}

#[test]
fn given_a_person_who_turns_checksums_off_then_hashes_are_signed() {
    let remote = Remote::new();
    let mut command = remote.command(&["backup", "--stdin", "--series", "app"]);
    command.env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required");
    run(command, &noise(1, 2 << 20)).expect(exit::OK);
    let calls = remote.server.calls();
    let packs: Vec<_> = calls.iter().filter(|it| it.method == "PUT" && it.path.contains("/packs/")).collect();
    assert!(!packs.is_empty());
    assert!(packs.iter().all(|put| put.checksum.is_none() && put.payload.len() == 64), "{packs:?}");
}

#[test]
fn given_a_server_behind_tls_then_its_authority_has_to_be_trusted() {
    let remote = Remote::at(TestServer::over_tls());
    let authority = remote.vault.home().join("authority.pem");
    std::fs::write(&authority, remote.server.authority()).unwrap();
    let trusting = |args: &[&str], stdin: &[u8]| {
        let mut command = remote.command(args);
        command.env("AWS_CA_BUNDLE", &authority);
        run(command, stdin)
    };
    trusting(&["init"], b"").expect(exit::OK);
    let dump = noise(1, 5 << 20);
    trusting(&["backup", "--stdin", "--series", "app"], &dump).expect(exit::OK);
    assert!(
        trusting(&["restore", "app", "--output", "-", "--no-cache"], b"").expect(exit::OK).stdout == dump
    );

    let requests = remote.server.calls().len();
    remote.run(["snapshots"]).expect(exit::NOTHING_DONE).says("certificate");
    assert_eq!(remote.server.calls().len(), requests, "a stranger was told something");
    let section = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    for (pem, error) in [
        ("".to_owned(), "no certificate"),
        (section("="), "not a certificate"),
        (section("AAAA"), "cannot be read"),
    ] {
        std::fs::write(&authority, &pem).unwrap();
        trusting(&["snapshots"], b"").expect(exit::NOTHING_DONE).says("authority.pem").says(error);
    }
    std::fs::remove_file(&authority).unwrap();
    trusting(&["snapshots"], b"").expect(exit::NOTHING_DONE).says("authority.pem");
}

#[test]
fn given_a_proxy_in_the_environment_then_requests_go_through_it() {
    let remote = Remote::new();
    let dump = noise(1, 3 << 20);
    let proxied = |args: &[&str], stdin: &[u8]| {
        let mut command = remote.command(args);
        // Nobody but the proxy knows this host: it is the server itself.
        command.env("DUMPVAULT_REPOSITORY", format!("s3:http://storage.invalid/{BUCKET}/repo"));
        command.env("http_proxy", remote.server.endpoint());
        run(command, stdin)
    };
    proxied(&["backup", "--stdin", "--series", "app"], &dump).expect(exit::OK);
    assert!(proxied(&["restore", "app", "--output", "-", "--no-cache"], b"").expect(exit::OK).stdout == dump);
}

/// A proxy that lets connections through to the server, whatever host they name; its address.
fn tunnels_to(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || tunnel(client?, server));
        }
    });
    address
}

fn tunnel(mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if !head.starts_with(b"CONNECT storage.invalid:443 ") {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n");
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let mut up = TcpStream::connect(server)?;
    let (mut from_server, mut to_client) = (up.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let copied = std::io::copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Both).and(copied)
    });
    std::io::copy(&mut client, &mut up)?;
    up.shutdown(Shutdown::Both)
}

#[test]
fn given_a_proxy_and_tls_then_requests_go_through_a_tunnel() {
    let remote = Remote::at(TestServer::over_tls());
    let authority = remote.vault.home().join("authority.pem");
    std::fs::write(&authority, remote.server.authority()).unwrap();
    let server = remote.server.endpoint().replace("https://localhost", "127.0.0.1").parse().unwrap();
    let proxy = tunnels_to(server);
    let proxied = |args: &[&str], stdin: &[u8]| {
        let mut command = remote.command(args);
        command.env("DUMPVAULT_REPOSITORY", format!("s3:https://storage.invalid/{BUCKET}/repo"));
        command.env("AWS_CA_BUNDLE", &authority).env("https_proxy", format!("http://{proxy}"));
        run(command, stdin)
    };
    let dump = noise(1, 3 << 20);
    proxied(&["init"], b"").expect(exit::OK);
    proxied(&["backup", "--stdin", "--series", "app"], &dump).expect(exit::OK);
    assert!(proxied(&["restore", "app", "--output", "-", "--no-cache"], b"").expect(exit::OK).stdout == dump);
}

#[test]
fn given_another_machine_without_cache_then_it_restores_the_same() {
    let mut remote = Remote::new();
    let dump = noise(2, 40 << 20);
    remote.backup(&dump, &[]);
    remote.vault.forget_cache();
    assert!(remote.restored(&["--no-cache"]) == dump);
    assert!(remote.packs_in_cache().is_empty());
    assert!(remote.restored(&[]) == dump);
}

#[test]
fn given_scattered_changes_then_the_parent_is_read_from_the_cache_and_little_is_stored() {
    let mut remote = Remote::new();
    remote.backup(&table(200_000, |_| false), &[]);
    let changed = table(200_000, |row| row % 97 == 0);
    let second = remote.backup(&changed, &[]);
    let whole = 200_000 * 100;
    assert!(stored(&second) < whole / 20, "{second}");
    assert!(requests(&second, "bytes_down") < 1 << 20, "nothing is fetched that was just sent: {second}");
    assert!(remote.restored(&[]) == changed);

    // A cache that is lost is filled again: the parent's packs are fetched whole, once.
    remote.vault.forget_cache();
    let changed = table(200_000, |row| row % 97 < 2);
    let third = remote.backup(&changed, &[]);
    assert!(stored(&third) < whole / 20, "{third}");
    assert!(!remote.packs_in_cache().is_empty());
    assert!(remote.restored(&[]) == changed);

    // Without one, whole chunks must do.
    let changed = table(200_000, |row| row % 97 < 3);
    let fourth = remote.backup(&changed, &["--no-cache"]);
    assert!(stored(&fourth) > whole / 20, "{fourth}");
    assert!(requests(&fourth, "bytes_down") < 2 << 20, "{fourth}");
    assert!(remote.restored(&[]) == changed);

    // Nor does one help that cannot hold the parent.
    let changed = table(200_000, |row| row % 97 < 4);
    let args = ["backup", "--stdin", "--series", "app", "--cache-size", "1M"];
    run(remote.command(&args), &changed).expect(exit::OK).says("--cache-size");
    assert!(remote.restored(&[]) == changed);
}

#[test]
fn given_flipped_bits_in_the_cache_then_they_are_found_and_backup_and_restore_are_right_all_the_same() {
    let remote = Remote::new();
    remote.backup(&table(100_000, |_| false), &[]);
    let packs = remote.packs_in_cache();
    assert!(!packs.is_empty());
    for path in &packs {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(path, bytes).unwrap();
    }
    let changed = table(100_000, |row| row % 97 == 0);
    let second = remote.backup(&changed, &[]);
    assert!(stored(&second) < 1_000_000, "the parent's packs were fetched again: {second}");
    assert!(remote.restored(&[]) == changed);
}

#[test]
fn given_damage_in_the_bucket_then_a_check_finds_it_though_the_cache_is_whole() {
    let remote = Remote::new();
    remote.backup(&noise(3, 4 << 20), &[]);
    let packs = remote.server.names().into_iter().filter(|name| name.contains("/packs/"));
    for name in packs {
        let mut bytes = remote.server.object(&name).unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        remote.server.set_object(&name, bytes);
    }
    remote.run(["check", "--read-data"]).expect(exit::INTEGRITY);
}

#[test]
fn given_a_service_that_fails_now_and_then_then_backup_and_restore_succeed() {
    let remote = Remote::new();
    let dump = noise(4, 70 << 20);
    remote.server.set_hook(|call| match call.number % 7 {
        2 => Some(HttpFault::Status(503, "SlowDown")),
        4 => Some(HttpFault::DropAfter),
        6 => Some(HttpFault::Cut(1000)),
        _ => None,
    });
    remote.backup(&dump, &[]);
    assert!(remote.restored(&["--no-cache"]) == dump);
    remote.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_the_bucket_in_one_place_and_the_service_in_another_then_the_repository_is_found() {
    let remote = Remote::new();
    let endpoint = remote.server.endpoint();
    let short = format!("s3://{BUCKET}/repo");
    let mut by_variable = remote.command(&["--repo", &short, "snapshots"]);
    by_variable.env("AWS_ENDPOINT_URL", &endpoint);
    run(by_variable, b"").expect(exit::OK);
    remote.run(["--repo", &short, "--s3-endpoint", &endpoint, "snapshots"]).expect(exit::OK);

    let config = remote.vault.work().join("dumpvault.toml");
    let text = format!("repository = '{short}'\n[s3]\nendpoint = '{endpoint}'\nregion = 'eu-west-1'\n");
    std::fs::write(config, text).unwrap();
    let mut by_file = remote.command(&["snapshots"]);
    by_file.env_remove("DUMPVAULT_REPOSITORY").env_remove("AWS_REGION");
    run(by_file, b"").expect(exit::OK);
}

#[test]
fn given_keys_in_a_profile_then_they_are_found_and_given_none_the_error_says_what_to_set() {
    let remote = Remote::new();
    let aws = remote.vault.home().join(".aws");
    std::fs::create_dir(&aws).unwrap();
    let text = format!("[vault]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    std::fs::write(aws.join("credentials"), text).unwrap();
    let without_keys = |profile: Option<&str>| {
        let mut command = remote.command(&["snapshots"]);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        profile.map(|profile| command.env("AWS_PROFILE", profile));
        run(command, b"")
    };
    without_keys(Some("vault")).expect(exit::OK);
    without_keys(None).expect(exit::NOTHING_DONE).says("AWS_ACCESS_KEY_ID");
}

#[test]
fn given_what_is_wrong_with_a_bucket_then_the_program_says_what_and_never_a_secret() {
    let remote = Remote::new();
    let wrong_bucket = format!("s3:{}/elsewhere/repo", remote.server.endpoint());
    remote
        .run(["--repo", &wrong_bucket, "snapshots"])
        .expect(exit::NOTHING_DONE)
        .says("elsewhere")
        .says("make the bucket first");
    let nothing_there = remote.server.address("nothing");
    remote.run(["--repo", &nothing_there, "snapshots"]).expect(exit::NO_REPOSITORY);
    remote
        .run(["--repo", "s3:https://key:hunter2@host/vault", "snapshots"])
        .expect(exit::USAGE)
        .does_not_say("hunter2");

    let mut wrong_key = remote.command(&["snapshots"]);
    wrong_key.env("AWS_SECRET_ACCESS_KEY", "hunter2");
    run(wrong_key, b"").expect(exit::NOTHING_DONE).says("SignatureDoesNotMatch").does_not_say("hunter2");

    remote.server.set_hook(|call| (call.method == "PUT").then_some(HttpFault::Status(403, "AccessDenied")));
    let args = ["backup", "--stdin", "--series", "app"];
    run(remote.command(&args), b"some dump").expect(exit::NOTHING_DONE).says("docs/offsite.md");
    remote.run(["snapshots"]).expect(exit::OK);
}

#[test]
fn given_a_clock_that_is_off_then_every_command_warns_of_it() {
    let remote = Remote::new();
    remote.server.set_skew(Duration::from_secs(600));
    remote.run(["snapshots"]).expect(exit::OK).says("clock");
    remote.server.set_skew(Duration::ZERO);
    remote.run(["snapshots"]).expect(exit::OK).does_not_say("clock");
}

#[test]
fn given_a_policy_without_deletion_then_backup_and_restore_work() {
    let remote = Remote::new();
    remote
        .server
        .set_hook(|call| (call.method == "DELETE").then_some(HttpFault::Status(403, "AccessDenied")));
    for day in 0..2 {
        let dump = table(10_000, |row| row < day);
        remote.backup(&dump, &[]);
        assert!(remote.restored(&[]) == dump);
    }
}

#[test]
fn given_a_storage_that_refuses_deletions_then_the_jobs_fail_that_is_told_and_the_records_stay() {
    let remote = Remote::new();
    for day in 1..=2 {
        remote.backup(&noise(day, 100_000), &["--time", &format!("2026-02-0{day}T03:00:00Z")]);
    }
    remote.backup(&noise(3, 100_000), &[]);
    let config = "[retention]\nkeep_last = 2\n[schedule]\ngroup_alerts = \"1s\"\nspace_below = 0\n\
        [job.clean]\nkind = \"forget\"\ncron = \"@yearly\"\nretry = { attempts = 1 }\n\
        [alert.ops]\nkind = \"command\"\ncommand = \"cat >> told; echo >> told\"\n";
    std::fs::write(remote.vault.work().join("dumpvault.toml"), config).unwrap();
    let refuse = || {
        remote
            .server
            .set_hook(|call| (call.method == "DELETE").then_some(HttpFault::Status(403, "AccessDenied")));
    };
    refuse();
    let daemon = Running::start(remote.command(&["schedule", "daemon"]));
    let told = |event: &str| -> Option<Value> {
        let told = std::fs::read_to_string(remote.vault.work().join("told")).unwrap_or_default();
        let messages = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages.into_iter().find(|message| message["event"] == event)
    };
    let wait = |what: &str, look: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !look() {
            assert!(begun.elapsed() < HANGS, "never: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let is_triggered = || remote.run(["schedule", "trigger", "clean"]).code == Some(exit::OK);
    let statuses = || {
        remote.run(["history", "rebuild"]).expect(exit::OK);
        let history = remote.run(["history", "list", "--json"]).expect(exit::OK).json();
        let all = history["backups"].as_array().unwrap().clone();
        all.iter().map(|backup| backup["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    wait("the scheduler runs", &is_triggered);
    wait("the message", &|| told("failing").is_some());
    let message = told("failing").unwrap();
    let item = &message["items"][0];
    assert_eq!((&message["condition"], &item["subject"]), (&"failure".into(), &"clean".into()), "{message}");
    assert_eq!(statuses(), ["COMPLETED"; 3], "what could not be deleted is not called deleted");
    let listed = remote.run(["snapshots", "--json"]).expect(exit::OK).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 3, "{listed}");

    // Deletions are allowed again: the job is good, and so is the record.
    remote.server.set_hook(|_| None);
    wait("the job is free", &is_triggered);
    wait("its end is told", &|| told("recovered").is_some());
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait().expect(exit::OK);
    assert_eq!(statuses(), ["COMPLETED", "COMPLETED", "EXPIRED"]);

    // Nor does a prune say that packs are gone which are not.
    refuse();
    remote.run(["prune", "--grace", "0"]).expect(exit::NOTHING_DONE).says("403");
    assert_eq!(statuses(), ["COMPLETED", "COMPLETED", "EXPIRED"]);
}

#[test]
fn given_credentials_that_only_read_then_a_full_key_reads_all_and_changes_nothing() {
    let remote = Remote::new();
    let dump = table(10_000, |_| false);
    remote.backup(&dump, &[]);
    remote.backup(&table(10_000, |row| row < 9), &[]);
    let before = remote.server.names();
    remote.server.set_hook(|call| {
        (!["GET", "HEAD"].contains(&call.method.as_str())).then_some(HttpFault::Status(403, "AccessDenied"))
    });
    assert!(remote.run(["restore", "app~1", "--output", "-"]).expect(exit::OK).stdout == dump);
    remote.run(["check", "--read-data"]).expect(exit::OK);
    let backup = run(remote.command(&["backup", "--stdin", "--series", "app"]), &dump);
    backup.expect(exit::NOTHING_DONE);
    for command in [
        &["forget", "--keep-last", "1"][..],
        &["prune", "--grace", "0"],
        &["tag", "app", "--add", "seen"],
        &["key", "rotate"],
        &["key", "passwd", "--new-key-file", "other"],
    ] {
        run(remote.command(command), b"").expect(exit::NOTHING_DONE);
    }
    assert_eq!(remote.server.names(), before);
}

#[test]
fn given_a_wire_with_latency_then_a_restore_does_not_wait_for_one_request_after_another() {
    let remote = Remote::new();
    let dump = noise(5, 70 << 20);
    remote.backup(&dump, &[]);
    let before = remote.server.count("GET");
    remote.server.set_latency(Duration::from_millis(100));
    remote.server.take_under_way_max();
    assert!(remote.restored(&["--no-cache"]) == dump);
    let gets = remote.server.count("GET") - before;
    assert!(gets < 60, "blocks that lie side by side are fetched in one request: {gets}");
    let under_way = remote.server.take_under_way_max();
    // How many more depends on how busy the machine is.
    assert!(under_way >= 3, "{under_way} of {gets} requests at the same time");
}
