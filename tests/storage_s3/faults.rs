//! Faults of real services, each as it was met, and what is done about it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dumpvault::storage::bucket::{Bucket as _, BucketLock};
use dumpvault::storage::retry::{Backoff, Pauses, Retry, RetryPolicy};
use dumpvault::storage::s3::S3Address;
use dumpvault::storage::{ErrorKind, Put, Storage};

use crate::cli::{exit, noise, run};
use crate::program::Remote;
use crate::s3::{ACCESS_KEY, Call, Conditional, HttpFault, SECRET_KEY, TestServer};
use crate::{connect, pack, retrying};

const PAGE: &str = "<!DOCTYPE html><html><body>Please sign in to the hotel's network</body></html>";

fn puts(server: &TestServer) -> Vec<Call> {
    server.calls().into_iter().filter(|call| call.method == "PUT").collect()
}

#[test]
fn given_a_service_that_sends_the_whole_objects_checksum_with_a_range_then_the_range_is_read() {
    let server = TestServer::new();
    server.send_whole_checksums();
    let content: Vec<u8> = (0..200u8).collect();
    server.set_object("repo/a", content.clone());
    let storage = server.storage("repo");
    let mut buffer = [0; 50];
    storage.get_range("a", 100, &mut buffer).unwrap();
    assert!(buffer == content[100..150]);
    assert_eq!(storage.get("a", 1000).unwrap(), content);
    let asked: Vec<Call> = server.calls();
    assert!(asked.iter().all(|call| call.header("x-amz-checksum-mode").is_empty()), "{asked:?}");
}

#[test]
fn given_a_service_that_refuses_checksums_then_they_are_left_out_from_then_on() {
    let refusals = [
        HttpFault::Says(501, "NotImplemented", "Header 'x-amz-checksum-crc32' with value not implemented"),
        HttpFault::Says(501, "NotImplemented", "A header you provided implies functionality"),
        HttpFault::Says(400, "InvalidArgument", "x-amz-sdk-checksum-algorithm is not supported"),
        HttpFault::Says(400, "InvalidRequest", "it is not understood"),
    ];
    for refusal in refusals {
        let server = TestServer::new();
        server.set_hook(move |call| call.checksum.as_ref().map(|_| refusal));
        let storage = server.storage("repo");
        for content in [vec![1; 100], vec![2; 2 << 20], vec![3; 2 << 20]] {
            assert_eq!(storage.put(&pack(&content), &content).unwrap(), Put::Created, "{refusal:?}");
        }
        let puts = puts(&server);
        let learned = puts.iter().position(|put| put.checksum.is_none()).unwrap();
        let later = &puts[learned..];
        assert!(learned <= 2, "{refusal:?}: {learned} requests to learn it");
        assert_eq!(later.len(), 3, "{refusal:?}: each in one request");
        // Something vouches for the bytes, and nothing was taken for a refusal of If-None-Match.
        assert!(later.iter().all(|put| put.payload.len() == 64 && put.header("if-none-match") == "*"));
    }
}

#[test]
fn given_a_service_that_refuses_conditions_and_checksums_then_it_is_used_without_either() {
    let server = TestServer::new();
    server.set_conditional(Conditional::Refuses);
    server.set_hook(|call| call.checksum.as_ref().map(|_| HttpFault::Status(501, "NotImplemented")));
    let storage = server.storage("repo");
    storage.put("config", b"first").unwrap();
    assert_eq!(storage.put("config", b"second").unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(storage.put("config", b"first").unwrap(), Put::AlreadyThere);
    let before = puts(&server).len();
    storage.put(&pack(b"2"), b"2").unwrap();
    assert_eq!(puts(&server).len(), before + 1, "learned once");
}

#[test]
fn given_a_service_without_checksums_and_a_lock_then_a_hash_of_the_body_comes_along() {
    let server = TestServer::new();
    server.set_hook(|call| {
        call.checksum.as_ref().map(|_| HttpFault::Says(501, "NotImplemented", "x-amz-checksum-crc32"))
    });
    let retention =
        dumpvault::storage::s3::Retention { governance: true, lasts: Duration::from_secs(86_400) };
    let storage = connect(&server, |settings| settings.retention = Some(retention));
    storage.put("config", b"1").unwrap();
    // The MD5 of "1".
    assert_eq!(puts(&server).last().unwrap().header("content-md5"), "xMpCOKC5I4INzFCab3WEmw==");
}

#[test]
fn given_a_refused_head_then_a_get_tells_why() {
    for (status, code, words) in [
        (403, "SignatureDoesNotMatch", "secret key"),
        (403, "InvalidAccessKeyId", "access key"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "session token"),
        (301, "PermanentRedirect", "AWS_REGION"),
    ] {
        let server = TestServer::new();
        server.set_hook(move |_| Some(HttpFault::Status(status, code)));
        let error = retrying(&server).size("config").unwrap_err().to_string();
        assert!(error.contains(code) && error.contains(words), "{error}");
        assert!(server.count("GET") == 1 && server.count("HEAD") == 1, "{code}");
    }
    let server = TestServer::new();
    server.set_hook(|call| (call.method == "HEAD").then_some(HttpFault::Status(403, "AccessDenied")));
    let storage = server.storage("repo");
    assert_eq!(storage.size("config").unwrap(), None, "whoever may read it is told");
    server.set_object("repo/config", vec![7; 100]);
    server.set_object("repo/empty", Vec::new());
    assert_eq!(storage.size("config").unwrap(), Some(100));
    assert_eq!(storage.size("empty").unwrap(), Some(0));
}

#[test]
fn given_wrong_keys_at_init_then_the_program_says_that_they_are_wrong() {
    let remote = Remote::bare();
    let mut command = remote.command(&["init"]);
    command.env("AWS_SECRET_ACCESS_KEY", "wrong");
    run(command, b"").expect(exit::NOTHING_DONE).says("SignatureDoesNotMatch").does_not_say("policy");
    let mut command = remote.command(&["init"]);
    command.env("AWS_ACCESS_KEY_ID", "AKIANOBODY");
    // The server's own code for it, which nothing is known of here.
    run(command, b"").expect(exit::NOTHING_DONE).says("NotSignedUp").does_not_say("policy");
}

#[test]
fn given_a_refusal_that_is_not_about_the_body_then_the_body_goes_once() {
    for (status, code) in [
        (400, "ExpiredToken"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "RequestTimeTooSkewed"),
        (400, "EntityTooLarge"),
        (404, "NoSuchBucket"),
    ] {
        let server = TestServer::new();
        server.set_hook(move |_| Some(HttpFault::Status(status, code)));
        let content = vec![1; 2 << 20];
        retrying(&server).put(&pack(&content), &content).unwrap_err();
        let sent: u64 = puts(&server).iter().map(Call::body_bytes).sum();
        assert_eq!(sent, 2 << 20, "{code}");
    }
}

#[test]
fn given_a_policy_that_denies_writing_then_that_is_tried_out_once_a_process() {
    let server = TestServer::new();
    server.set_hook(|_| Some(HttpFault::Status(403, "AccessDenied")));
    let storage = retrying(&server);
    for n in 0..4 {
        let content = vec![n; 2 << 20];
        assert_eq!(storage.put(&pack(&content), &content).unwrap_err().kind, ErrorKind::Denied);
    }
    assert_eq!(server.count("PUT"), 2 + 1 + 1 + 1, "the first one once more, with the hash of its body");
}

/// Waits for nothing, and remembers for how long it should have.
#[derive(Clone)]
struct Noted(Instant, Arc<Mutex<Vec<Duration>>>);

impl Pauses for Noted {
    fn now(&self) -> Instant {
        self.0 + self.1.lock().unwrap().iter().sum::<Duration>()
    }

    fn pause(&self, duration: Duration, _cancel: &AtomicBool) {
        self.1.lock().unwrap().push(duration);
    }
}

#[test]
fn given_a_service_that_says_when_to_come_back_then_nobody_comes_sooner_nor_waits_for_ever() {
    for (value, expected) in [("7", 7), ("86400", 60), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", 0)] {
        let server = TestServer::new();
        server.set_object("repo/config", "1");
        server.set_hook(move |call| {
            (call.repetition < 3).then_some(HttpFault::With(503, "SlowDown", ("retry-after", value)))
        });
        let noted = Noted(Instant::now(), Arc::default());
        let backoff = Backoff::with_pauses(RetryPolicy::default(), 1, Arc::default(), noted.clone());
        let storage = Retry::new(server.storage("repo"), Arc::new(backoff));
        assert_eq!(storage.get("config", 9).unwrap(), b"1");
        let waits = noted.1.lock().unwrap().clone();
        assert_eq!(waits.len(), 3);
        let at_least = Duration::from_secs(expected);
        let usual = Duration::from_secs(2);
        assert!(
            waits.iter().all(|wait| *wait >= at_least && *wait <= at_least.max(usual)),
            "{value}: {waits:?}"
        );
    }
}

#[test]
fn given_an_answer_of_somebody_else_then_the_error_says_so_in_plain_words() {
    let server = TestServer::new();
    server.set_hook(|_| Some(HttpFault::Page(200, PAGE)));
    let storage = retrying(&server);
    let errors = [
        storage.list("", &mut |_| ()).unwrap_err(),
        storage.get("config", 1 << 20).unwrap_err(),
        storage.get_range("config", 0, &mut [0; 4]).unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("not one of an S3 service") && text.contains("web page"), "{text}");
        assert!(!error.retryable, "{text}");
    }
    // A service that does not know a question lists the bucket instead.
    let list = "<ListBucketResult><Name>vault</Name></ListBucketResult>";
    server.set_hook(move |_| Some(HttpFault::Page(200, list)));
    let storage = server.storage("repo");
    assert!(matches!(storage.bucket_lock(), Ok(BucketLock::Off | BucketLock::Unknown(_))));
    server.set_hook(|_| Some(HttpFault::Page(200, "ok")));
    assert_eq!(storage.bucket_lock().unwrap(), BucketLock::Unknown("HTTP 200".to_owned()));
    assert_eq!(storage.keeps_versions().unwrap(), None);
}

#[test]
fn given_a_storage_that_stays_away_then_after_the_first_failure_everything_is_tried_once_until_it_is_back() {
    let server = TestServer::new();
    let storage = retrying(&server);
    storage.put("sessions/a", b"1").unwrap();
    server.set_hook(|_| Some(HttpFault::Status(503, "ServiceUnavailable")));
    storage.put(&pack(b"1"), b"1").unwrap_err();
    let before = server.calls().len();
    for _ in 0..3 {
        storage.delete("sessions/a").unwrap_err();
    }
    storage.list("", &mut |_| ()).unwrap_err();
    assert_eq!(server.calls().len(), before + 4, "each once");
    server.calm();
    storage.delete("sessions/a").unwrap();
    server.set_hook(|call| (call.repetition == 0).then_some(HttpFault::Status(503, "SlowDown")));
    storage.put(&pack(b"2"), b"2").unwrap();
}

#[test]
fn given_credentials_that_expire_and_a_profile_with_new_ones_then_the_program_goes_on_with_those() {
    let remote = Remote::new();
    let aws = remote.vault.home().join(".aws");
    std::fs::create_dir(&aws).unwrap();
    let profile = |more: &str| {
        format!("[vault]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n{more}")
    };
    let file = aws.join("credentials");
    std::fs::write(&file, profile("")).unwrap();
    let renewed = profile("aws_session_token = NEW\n");
    // From the first pack on the service wants others, which are in the profile by then.
    let expired = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&expired);
    remote.server.set_hook(move |call| {
        if call.path.contains("/packs/") && !told.swap(true, Ordering::SeqCst) {
            std::fs::write(&file, &renewed).unwrap();
        }
        let is_old = call.header("x-amz-security-token") != "NEW";
        (told.load(Ordering::SeqCst) && is_old).then_some(HttpFault::Status(400, "ExpiredToken"))
    });
    let mut command = remote.command(&["backup", "--stdin", "--series", "app"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("AWS_PROFILE", "vault");
    run(command, &noise(1, 5 << 20)).expect(exit::OK);
    assert!(expired.load(Ordering::SeqCst));
    remote.server.calm();
    assert!(remote.restored(&[]) == noise(1, 5 << 20));
}

#[test]
fn given_credentials_that_expired_for_good_then_that_is_said_and_nothing_sent_twice() {
    let server = TestServer::new();
    server.set_hook(|_| Some(HttpFault::Status(400, "ExpiredToken")));
    let storage = retrying(&server);
    for _ in 0..2 {
        let error = storage.get("config", 9).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    }
    assert_eq!(server.calls().len(), 2);
}

#[test]
fn given_an_answer_that_stalls_then_a_line_says_so_and_the_request_goes_again() {
    let remote = Remote::new();
    let dump = noise(1, 3 << 20);
    remote.backup(&dump, &[]);
    std::fs::write(remote.vault.work().join("dumpvault.toml"), "[s3]\nstall_timeout = '1s'\n").unwrap();
    remote.server.set_hook(|call| {
        let is_pack = call.method == "GET" && call.path.contains("/packs/");
        (is_pack && call.repetition == 0).then_some(HttpFault::StallBody(1000))
    });
    let args = ["restore", "app", "--output", "-", "--no-cache"];
    let restored = run(remote.command(&args), b"").expect(exit::OK).says("no data from or to 127.0.0.1:");
    assert!(restored.stdout == dump);
    std::fs::write(remote.vault.work().join("dumpvault.toml"), "[s3]\nstall_timeout = '1ms'\n").unwrap();
    remote.run(["snapshots"]).expect(exit::USAGE).says("stall_timeout");
}

#[test]
fn given_a_dead_endpoint_then_the_program_says_so_in_plain_words() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let remote = Remote::new();
    let dead = format!("s3:http://{address}/vault/repo");
    let words = format!("cannot connect to {address}: connection refused");
    let said = remote.run(["--repo", &dead, "snapshots"]).expect(exit::NOTHING_DONE);
    let said = said.says(&words).says("hint: check the address");
    said.does_not_say("dispatch").does_not_say("WARN").does_not_say("10 times");
    remote.run(["--repo", &dead, "-v", "snapshots"]).expect(exit::NOTHING_DONE).says("tcp connect error");
    let unknown = "s3:http://no-such-host.invalid/vault/repo";
    remote.run(["--repo", unknown, "snapshots"]).expect(exit::NOTHING_DONE).says("no-such-host.invalid");
}

#[test]
fn given_no_credentials_then_that_is_said_first_and_where_they_were_looked_for_only_when_asked() {
    let remote = Remote::new();
    let without = |args: &[&str]| {
        let mut command = remote.command(args);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        run(command, b"").expect(exit::NOTHING_DONE)
    };
    let said = without(&["snapshots"]);
    said.says("no S3 credentials found").says("hint: set AWS_ACCESS_KEY_ID").does_not_say("IMDS");
    without(&["-v", "snapshots"]).says("looking for credentials");
}

#[test]
fn given_a_store_that_is_full_in_other_words_then_it_is_full_all_the_same() {
    for (status, code, words) in [
        (403, "AccessDenied", "Data byte limit exceeded"),
        (403, "AccessDenied", "Cannot upload files, storage cap exceeded"),
        (400, "QuotaExceeded", "the quota of the bucket"),
        (500, "InternalError", "write /data/x: no space left on device"),
    ] {
        let server = TestServer::new();
        server.set_hook(move |_| Some(HttpFault::Says(status, code, words)));
        let error = retrying(&server).put(&pack(b"1"), b"1").unwrap_err();
        assert_eq!((error.kind, server.calls().len()), (ErrorKind::NoSpace, 1), "{error}");
    }
}

#[test]
fn given_a_full_store_then_snapshots_can_be_forgotten_and_their_packs_pruned() {
    let remote = Remote::new();
    for n in 0..3 {
        remote.backup(&noise(n, 2 << 20), &[]);
    }
    let full = remote.server.bytes();
    remote.server.set_quota(Some(full));
    let backup = run(remote.command(&["backup", "--stdin", "--series", "app"]), &noise(9, 1 << 20));
    backup.expect(exit::NOTHING_DONE).says("507").says("hint: free space").says("--full-store");
    assert!(remote.restored(&["--no-cache"]) == noise(2, 2 << 20), "what is there can be read");
    // Nothing is dead yet: nothing goes, and why is told.
    remote.run(["prune", "--grace", "0", "--full-store"]).expect(exit::NOTHING_DONE).says("507");
    assert_eq!(remote.server.bytes(), full);
    remote.run(["forget", "--keep-last", "1", "--force"]).expect(exit::OK);
    // Not a byte is free, whatever was forgotten.
    remote.server.set_quota(Some(remote.server.bytes()));
    remote.run(["prune", "--grace", "0"]).expect(exit::NOTHING_DONE).says("--full-store");
    let pruned = remote.run(["prune", "--grace", "0", "--full-store"]).expect(exit::OK);
    assert!(pruned.text().contains("deleted"), "{pruned}");
    assert!(remote.server.bytes() < full - (3 << 20), "{} of {full}", remote.server.bytes());
    remote.run(["check", "--read-data"]).expect(exit::OK);
    assert!(remote.restored(&["--no-cache"]) == noise(2, 2 << 20));
    remote.server.set_quota(None);
    remote.backup(&noise(3, 2 << 20), &[]);
    remote.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_a_full_store_and_a_backup_under_way_then_it_is_not_pruned_beside() {
    let remote = Remote::new();
    remote.backup(&noise(1, 1 << 20), &[]);
    remote.backup(&noise(2, 1 << 20), &[]);
    remote.run(["forget", "--keep-last", "1", "--force"]).expect(exit::OK);
    // Somebody backs up meanwhile.
    let mut backup = remote.command(&["backup", "--stdin", "--series", "slow"]);
    let mut backup = backup.stdin(std::process::Stdio::piped()).spawn().unwrap();
    while !remote.server.names().iter().any(|name| name.contains("/sessions/")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let bytes = remote.server.bytes();
    remote.server.set_quota(Some(bytes));
    remote.run(["prune", "--grace", "0", "--full-store"]).expect(5).says("under way");
    assert_eq!(remote.server.bytes(), bytes);
    backup.kill().unwrap();
    backup.wait().unwrap();
}

#[test]
fn given_an_address_that_cannot_be_a_bucket_then_the_rule_is_told() {
    let remote = Remote::new();
    remote.run(["--repo", "s3://b/p", "snapshots"]).expect(exit::USAGE).says("3 characters");
    assert!(S3Address::parse("s3://abc/p").is_ok());
}
