//! S3 over real HTTP, against a server in this process that checks signatures and fails when told to.

// Clippy sees a test only where `#[test]` stands; helpers here are plain functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod buckets;
mod buckets_restore;
mod buckets_servers;
mod buckets_system;
#[path = "../support/cli.rs"]
mod cli;
#[path = "../support/conformance.rs"]
mod conformance;
mod copy;
mod doctor;
mod faults;
mod figures;
#[allow(dead_code)]
#[path = "../support/independent.rs"]
mod independent;
mod latency;
mod lock;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/outside.rs"]
mod outside;
#[path = "../support/pg.rs"]
#[allow(dead_code)]
mod pg;
mod program;
#[path = "../support/reports.rs"]
mod reports;
mod requests;
#[path = "../support/s3.rs"]
mod s3;
mod servers;
mod writers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use conformance::{Place, conformance, place};
use dumpvault::storage::limit::Rate;
use dumpvault::storage::retry::{Backoff, Retry, RetryPolicy};
use dumpvault::storage::s3::{S3Address, S3Settings, S3Storage};
use dumpvault::storage::{ErrorKind, Put, Storage};
use s3::{Call, Conditional, HttpFault, TestServer};

/// The server that the environment names (DUMPVAULT_TEST_S3_ENDPOINT, DUMPVAULT_TEST_S3_BUCKET and the usual AWS
/// variables), or the one in this process.
fn s3_honouring_conditions() -> Place {
    if let Ok(endpoint) = std::env::var("DUMPVAULT_TEST_S3_ENDPOINT") {
        let bucket = std::env::var("DUMPVAULT_TEST_S3_BUCKET").unwrap_or_else(|_| s3::BUCKET.to_owned());
        let mut unique = [0; 8];
        getrandom::fill(&mut unique).unwrap();
        let prefix = format!("test-{:016x}", u64::from_le_bytes(unique));
        let address = S3Address::parse(&format!("s3:{endpoint}/{bucket}/{prefix}")).unwrap();
        let settings = S3Settings::new(Arc::new(Backoff::new(RetryPolicy::default(), 1, Arc::default())));
        return place(S3Storage::connect(address, settings).unwrap(), ());
    }
    let server = TestServer::new();
    place(server.storage("repo"), server)
}

/// Without conditions a race between two writers is not told apart; everything else holds.
fn s3_refusing_conditions() -> Place {
    let server = TestServer::new();
    server.set_conditional(Conditional::Refuses);
    place(server.storage(""), server)
}

fn s3_ignoring_conditions() -> Place {
    let server = TestServer::new();
    server.set_conditional(Conditional::Ignores);
    place(server.storage("a/b"), server)
}

conformance!(s3_honouring_conditions);
conformance!(
    s3_refusing_conditions,
    [
        what_was_put_is_read_back_whole,
        the_same_bytes_again_are_already_there,
        other_bytes_are_a_conflict_and_the_old_ones_stay,
        an_object_deleted_is_gone_and_its_key_is_free_again,
        errors_name_the_operation_and_the_object,
    ]
);
conformance!(
    s3_ignoring_conditions,
    [
        the_same_bytes_again_are_already_there,
        other_bytes_are_a_conflict_and_the_old_ones_stay,
        an_object_deleted_is_gone_and_its_key_is_free_again,
        errors_name_the_operation_and_the_object,
    ]
);

fn connect(server: &TestServer, change: impl FnOnce(&mut S3Settings)) -> S3Storage {
    let mut settings = server.settings();
    change(&mut settings);
    S3Storage::connect(S3Address::parse(&server.address("repo")).unwrap(), settings).unwrap()
}

fn retrying(server: &TestServer) -> Retry<S3Storage> {
    let settings = server.settings();
    let backoff = Arc::clone(&settings.backoff);
    Retry::new(connect(server, |own| own.backoff = Arc::clone(&backoff)), backoff)
}

fn keys(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    storage.list(prefix, &mut |listed| keys.push(listed.key)).unwrap();
    keys
}

/// A key named by the hash of its content, as packs are.
fn pack(content: &[u8]) -> String {
    let name = blake3::hash(content).to_hex();
    format!("packs/{}/{name}", &name[..2])
}

#[test]
fn given_a_new_pack_then_it_costs_one_request() {
    let server = TestServer::new();
    let storage = server.storage("repo");
    storage.put(&pack(b"1"), b"1").unwrap();
    let requests = storage.requests().unwrap();
    assert_eq!((requests.put, requests.total(), server.calls().len()), (1, 1, 1));
    assert_eq!(requests.bytes_up, 1);
    assert_eq!(server.names(), [format!("repo/{}", pack(b"1"))]);
    assert!(!storage.is_local());
}

#[test]
fn given_foreign_objects_and_other_prefixes_then_a_listing_gives_ours_only() {
    let server = TestServer::new();
    for name in ["repo/packs/a", "repo/packs/A B", "repo/packs/", "repository/packs/b", "packs/c", "repo/.x"]
    {
        server.set_object(name, "1");
    }
    assert_eq!(keys(&server.storage("repo"), ""), ["packs/a"]);
    assert_eq!(keys(&server.storage("repo"), "packs/"), ["packs/a"]);
}

#[test]
fn given_small_pages_one_of_which_fails_twice_then_a_listing_is_whole_and_each_object_given_once() {
    let server = TestServer::new();
    server.set_page_max(7);
    for n in 0..100 {
        server.set_object(&format!("repo/packs/{n:03}"), "1");
    }
    server.set_hook(|call| matches!(call.number, 5 | 6).then_some(HttpFault::Status(503, "SlowDown")));
    let storage = server.storage("repo");
    assert_eq!(keys(&storage, "packs/").len(), 100);
    assert_eq!(storage.requests().unwrap().list, 100 / 7 + 1 + 2);
}

#[test]
fn given_passing_failures_of_any_kind_then_every_operation_succeeds_in_the_end() {
    let faults = [
        HttpFault::Status(500, "InternalError"),
        HttpFault::Status(503, "SlowDown"),
        HttpFault::Status(429, "TooManyRequests"),
        HttpFault::Drop,
        HttpFault::DropAfter,
        HttpFault::Cut(10),
    ];
    for fault in faults {
        let server = TestServer::new();
        server.set_hook(move |call| (call.repetition % 3 == 0).then_some(fault));
        let storage = retrying(&server);
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let key = pack(&content);
        let put = storage.put(&key, &content).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let arrived = matches!(fault, HttpFault::DropAfter);
        assert_eq!(put == Put::AlreadyThere, arrived, "{fault:?}: a put that arrived is success");
        assert!(storage.get(&key, 400_000).unwrap() == content, "{fault:?}");
        let mut buffer = vec![0; 1000];
        storage.get_range(&key, 4000, &mut buffer).unwrap();
        assert!(buffer == content[4000..5000], "{fault:?}");
        assert_eq!(storage.size(&key).unwrap(), Some(400_000), "{fault:?}");
        assert_eq!(keys(&storage, "packs/"), [key.as_str()], "{fault:?}");
        storage.delete(&key).unwrap();
        server.calm();
        assert_eq!(storage.size(&key).unwrap(), None, "{fault:?}");
    }
}

#[test]
fn given_a_storm_that_does_not_end_then_the_error_names_bucket_key_and_cause_and_how_often_it_was_tried() {
    let server = TestServer::new();
    server.set_hook(|_| Some(HttpFault::Status(503, "SlowDown")));
    let error = retrying(&server).put(&pack(b"1"), b"1").unwrap_err();
    let text = error.to_string();
    assert!(error.retryable && error.kind == ErrorKind::Other);
    assert!(text.contains("vault/repo/packs/") && text.contains("SlowDown"), "{text}");
    assert!(text.contains("tried 6 times"), "{text}");
}

#[test]
fn given_errors_that_do_not_pass_then_they_are_told_apart_and_tried_once() {
    for (status, code, kind, words) in [
        (403, "AccessDenied", ErrorKind::Denied, "policy"),
        (403, "SignatureDoesNotMatch", ErrorKind::Denied, "secret key"),
        (403, "RequestTimeTooSkewed", ErrorKind::Denied, "clock"),
        (400, "ExpiredToken", ErrorKind::Denied, "session token"),
        (404, "NoSuchBucket", ErrorKind::Invalid, "bucket"),
        (301, "PermanentRedirect", ErrorKind::Invalid, "AWS_REGION"),
        (507, "InsufficientStorage", ErrorKind::NoSpace, "507"),
    ] {
        let server = TestServer::new();
        server.set_hook(move |_| Some(HttpFault::Status(status, code)));
        let error = retrying(&server).get("config", 100).unwrap_err();
        assert_eq!((error.kind, error.retryable), (kind, false), "{code}: {error}");
        assert!(error.to_string().contains(words), "{code}: {error}");
        assert_eq!(server.calls().len(), 1, "{code}");
    }
}

#[test]
fn given_wrong_keys_then_the_signature_is_refused() {
    let server = TestServer::new();
    for keys in [("AKIDTEST", "wrong"), ("NOBODY", "not-a-secret")] {
        let keys = (keys.0.to_owned(), keys.1.to_owned());
        let error = connect(&server, |settings| settings.keys = Some(keys)).get("config", 10).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    }
}

#[test]
fn given_no_such_bucket_then_it_is_told_from_a_missing_object() {
    let server = TestServer::new();
    let address = S3Address::parse(&format!("s3:{}/other-bucket/repo", server.endpoint())).unwrap();
    let storage = S3Storage::connect(address, server.settings()).unwrap();
    let error = storage.get("config", 10).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("make the bucket first"), "{error}");
    assert_eq!(storage.list("", &mut |_| ()).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn given_nobody_listens_then_the_error_says_so_and_may_pass() {
    let server = TestServer::new();
    let (address, settings) = (S3Address::parse(&server.address("repo")).unwrap(), server.settings());
    drop(server);
    let storage = S3Storage::connect(address, settings).unwrap();
    let error = storage.get("config", 10).unwrap_err();
    assert!(error.retryable, "{error}");
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

#[test]
fn given_a_stalled_server_or_body_then_the_request_fails_after_the_time_limit_and_may_be_tried_again() {
    for fault in [HttpFault::Stall, HttpFault::StallBody(10)] {
        let server = TestServer::new();
        server.set_object("repo/config", vec![7; 100_000]);
        server.set_hook(move |_| Some(fault));
        let storage = connect(&server, |settings| settings.stall_timeout = Duration::from_millis(300));
        let began = Instant::now();
        let error = storage.get("config", 1 << 20).unwrap_err();
        assert!(error.retryable, "{fault:?}: {error}");
        assert!(began.elapsed() >= Duration::from_millis(250), "{fault:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", began.elapsed());
        let mut buffer = [0; 1000];
        assert!(storage.get_range("config", 5, &mut buffer).unwrap_err().retryable, "{fault:?}");
    }
}

#[test]
fn given_a_stalled_request_and_a_person_who_stops_the_program_then_it_ends_soon() {
    let server = TestServer::new();
    server.set_hook(|_| Some(HttpFault::Stall));
    let cancel = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let backoff = Arc::new(Backoff::new(RetryPolicy::default(), 1, cancel));
    let storage = Retry::new(connect(&server, |settings| settings.backoff = backoff.clone()), backoff);
    let began = Instant::now();
    let error = storage.get("config", 10).unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn given_an_upload_that_is_never_answered_then_it_fails_after_the_time_limit() {
    let server = TestServer::new();
    server.set_hook(|_| Some(HttpFault::Stall));
    let storage = connect(&server, |settings| settings.stall_timeout = Duration::from_millis(300));
    let error = storage.put(&pack(b"1"), &vec![1; 20 << 20]).unwrap_err();
    assert!(error.retryable && error.to_string().contains("nothing moved"), "{error}");
}

#[test]
fn given_a_service_that_gives_another_range_or_all_then_nothing_of_it_is_believed() {
    for ignores in [false, true] {
        let server = TestServer::new();
        server.set_object("repo/a", (0..100u8).collect::<Vec<_>>());
        if ignores {
            server.ignore_ranges();
        } else {
            server.set_hook(|_| Some(HttpFault::OtherRange));
        }
        let mut buffer = [0; 10];
        let error = server.storage("repo").get_range("a", 20, &mut buffer).unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Other, false), "{error}");
    }
}

#[test]
fn given_an_object_larger_than_allowed_then_its_body_is_not_read() {
    let server = TestServer::new();
    server.set_object("repo/a", vec![0; 8 << 20]);
    let storage = server.storage("repo");
    assert!(storage.get("a", 1000).is_err());
    assert!(storage.requests().unwrap().bytes_down < 4 << 20, "{:?}", storage.requests());
}

#[test]
fn given_a_large_object_then_its_checksum_is_signed_instead_of_its_hash() {
    let server = TestServer::new();
    let storage = connect(&server, |settings| settings.single_put_bytes_max = 6 << 20);
    for bytes in [1 << 10, 2 << 20, 7 << 20] {
        let content = vec![1; bytes];
        storage.put(&pack(&content), &content).unwrap();
    }
    let puts: Vec<Call> = server.calls().into_iter().filter(|call| call.method == "PUT").collect();
    let unsigned: Vec<bool> = puts.iter().map(|put| put.payload == "UNSIGNED-PAYLOAD").collect();
    assert_eq!(unsigned, [false, true, true, true], "a small one, a large one, two parts");
    assert!(puts.iter().all(|put| put.checksum.is_some()), "{puts:?}");
}

#[test]
fn given_a_bucket_that_wants_hashes_then_it_gets_them_and_is_asked_once() {
    let server = TestServer::new();
    let storage = server.storage("repo");
    let wants_hashes =
        |call: &Call| (call.payload == "UNSIGNED-PAYLOAD").then_some(HttpFault::Status(403, "AccessDenied"));
    let large = |n: u8| vec![n; 2 << 20];
    server.set_hook(wants_hashes);
    for n in 1..4 {
        assert_eq!(storage.put(&pack(&large(n)), &large(n)).unwrap(), Put::Created);
        assert!(server.object(&format!("repo/{}", pack(&large(n)))).unwrap() == large(n));
    }
    assert_eq!(server.count("PUT"), 2 + 1 + 1, "learned, and twice known");
}

#[test]
fn given_a_large_object_then_it_goes_in_parts_and_never_replaces() {
    let server = TestServer::new();
    let storage = connect(&server, |settings| settings.single_put_bytes_max = 6 << 20);
    let content: Vec<u8> = (0..3_500_000u32).flat_map(u32::to_le_bytes).collect();
    // Parts fail now and then, and go again by themselves.
    server.set_hook(|call| {
        (call.query.contains("partNumber") && call.repetition == 1).then_some(HttpFault::Drop)
    });
    let key = pack(&content);
    assert_eq!(storage.put(&key, &content).unwrap(), Put::Created);
    assert!(server.object(&format!("repo/{key}")).unwrap() == content);
    assert_eq!(server.count("PUT"), 3 + 1, "three parts, one of them twice");
    assert_eq!(storage.put(&key, &content).unwrap(), Put::AlreadyThere);
    let error = storage.put(&key, &content[1..]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(server.uploads(), 0, "parts that were not needed are given up");
}

#[test]
fn given_parts_that_fail_for_good_then_they_are_given_up_and_no_object_is_there() {
    let server = TestServer::new();
    let storage = connect(&server, |settings| settings.single_put_bytes_max = 6 << 20);
    server.set_hook(|call| {
        call.query.contains("partNumber=2").then_some(HttpFault::Status(403, "AccessDenied"))
    });
    let error = storage.put("packs/a", &vec![1; 12 << 20]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert_eq!((server.uploads(), server.names().len()), (0, 0));
}

#[test]
fn given_parts_that_killed_writers_left_then_old_ones_below_the_prefix_are_cleared_away() {
    let server = TestServer::new();
    let day = Duration::from_secs(86_400);
    server.start_upload("repo/packs/old", 2 * day);
    server.start_upload("repo/packs/young", Duration::ZERO);
    server.start_upload("other/packs/old", 2 * day);
    assert_eq!(server.storage("repo").remove_leftovers(day).unwrap(), 1);
    assert_eq!(server.uploads(), 2);
}

#[test]
fn given_a_service_without_conditions_then_packs_go_in_one_request_and_the_config_is_never_replaced() {
    let server = TestServer::new();
    server.set_conditional(Conditional::Ignores);
    let storage = server.storage("repo");
    storage.put(&pack(b"1"), b"1").unwrap();
    assert_eq!(server.calls().len(), 1);
    storage.put("config", b"first").unwrap();
    assert_eq!(storage.put("config", b"second").unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(storage.get("config", 10).unwrap(), b"first");
}

#[test]
fn given_limits_then_bodies_keep_to_them_and_flow_evenly() {
    let server = TestServer::new();
    let rate = || Some(Arc::new(Rate::new(2_000_000)));
    let storage = connect(&server, |settings| {
        (settings.upload, settings.download) = (rate(), rate());
        // Shorter than the whole takes: what waits for its turn has not stalled.
        settings.stall_timeout = Duration::from_millis(700);
    });
    let content = vec![9; 2_000_000];
    let began = Instant::now();
    storage.put("packs/a", &content).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(850), "{:?}", began.elapsed());
    let began = Instant::now();
    assert!(storage.get("packs/a", 2_000_000).unwrap() == content);
    assert!(began.elapsed() >= Duration::from_millis(850), "{:?}", began.elapsed());
}

#[test]
fn given_a_server_whose_clock_is_ahead_then_the_skew_is_known_after_the_first_answer() {
    let server = TestServer::new();
    server.set_skew(Duration::from_secs(600));
    let storage = server.storage("repo");
    assert_eq!(storage.skew_ms(), None);
    storage.size("config").unwrap();
    let skew = storage.skew_ms().unwrap();
    assert!((597_000..=601_000).contains(&skew), "{skew}");
}

#[test]
fn given_a_storage_class_then_packs_have_it_and_what_is_read_often_does_not() {
    let server = TestServer::new();
    let storage = connect(&server, |settings| settings.storage_class = Some("STANDARD_IA".to_owned()));
    storage.put("packs/a", b"1").unwrap();
    storage.put("index/a", b"1").unwrap();
    assert_eq!(server.class("repo/packs/a").as_deref(), Some("STANDARD_IA"));
    assert_eq!(server.class("repo/index/a"), None);
}

#[test]
fn given_eight_threads_and_a_slow_wire_then_their_requests_go_side_by_side() {
    let server = TestServer::new();
    server.set_latency(Duration::from_millis(50));
    let storage = server.storage("repo");
    storage.put("a", b"1").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5).for_each(|_| assert_eq!(storage.get("a", 9).unwrap(), b"1")));
        }
    });
    assert!(server.take_under_way_max() > 4);
}

#[test]
fn given_a_server_that_closed_its_connections_meanwhile_then_nobody_notices() {
    let server = TestServer::new();
    // It does not try again.
    let storage = server.storage("repo");
    storage.put("a", b"1").unwrap();
    let reads = |_| assert_eq!(storage.get("a", 9).unwrap(), b"1");
    for _ in 0..3 {
        server.close_connections();
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| (0..3).for_each(reads)))));
    }
}
