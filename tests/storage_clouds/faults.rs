//! What goes wrong at a service, over a server that fails when told to: the same for Azure and Google.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dumpvault::storage::azure::{AzureOptions, Secrets};
use dumpvault::storage::gcs::{GcsOptions, Places};
use dumpvault::storage::scheme::Connected;
use dumpvault::storage::{ErrorKind, Put, Storage, StorageError};

use crate::cli::noise;
use crate::clouds::{ACCOUNT_KEY, azure, gcs};
use crate::stub::{Call, Fault, Stub};

/// The same bucket in both dialects, each with a server of its own.
pub fn both() -> [(&'static str, Stub, Connected); 2] {
    let secrets = Secrets { key: Some(ACCOUNT_KEY.to_owned()), ..Secrets::default() };
    let one = Stub::new();
    let azure = azure(&one.azure(), AzureOptions { secrets, ..AzureOptions::default() });
    let other = Stub::new();
    let places = Places { is_emulator: true, ..Places::default() };
    let options = GcsOptions { endpoint: Some(other.endpoint()), places, ..GcsOptions::default() };
    [("azure", one, azure), ("gcs", other, gcs("gs://vault/repo", options))]
}

/// A key named by the hash of its content, as packs are.
fn pack(content: &[u8]) -> String {
    let name = blake3::hash(content).to_hex();
    format!("packs/{}/{name}", &name[..2])
}

fn keys(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    let mut keys = Vec::new();
    storage.list(prefix, &mut |listed| keys.push(listed.key)).unwrap();
    keys
}

fn is_put(call: &Call) -> bool {
    call.method == "PUT" || call.path.starts_with("/upload")
}

fn refusal(status: u16, code: &str) -> Fault {
    let body = format!(r#"{{"error":{{"code":{status},"message":"no","errors":[{{"reason":"{code}"}}]}}}}"#);
    Fault::Answer(status, vec![("x-ms-error-code", code.to_owned())], body)
}

#[test]
fn given_a_new_pack_then_it_is_one_request() {
    for (name, server, Connected { storage, .. }) in both() {
        let content = noise(1, 32 << 20);
        assert_eq!(storage.put(&pack(&content), &content).unwrap(), Put::Created);
        let requests = storage.requests().unwrap();
        assert_eq!((requests.put, requests.total(), server.calls().len()), (1, 1, 1), "{name}");
        assert!(storage.get(&pack(&content), 32 << 20).unwrap() == content);
        // What is decoded on its way is not what was asked for.
        assert!(server.calls().iter().all(|call| call.header("accept-encoding").is_empty()), "{name}");
    }
}

#[test]
fn given_two_writers_of_one_key_two_hundred_times_then_one_creates_and_the_other_is_told_the_truth() {
    for (name, _server, Connected { storage, .. }) in both() {
        for round in 0..200 {
            let same = round % 2 == 0;
            let key = format!("index/{round}");
            let put = |writer: u8| storage.put(&key, &[if same { 0 } else { writer }]);
            let (one, other) = std::thread::scope(|scope| {
                let one = scope.spawn(|| put(1));
                let other = put(2);
                (one.join().unwrap(), other)
            });
            let created = [&one, &other].into_iter().filter(|put| matches!(put, Ok(Put::Created))).count();
            assert_eq!(created, 1, "{name}, round {round}");
            let second = if matches!(one, Ok(Put::Created)) { other } else { one };
            match second {
                Ok(put) => assert!(same && put == Put::AlreadyThere, "{name}, round {round}"),
                Err(error) => assert!(!same && error.kind == ErrorKind::Conflict, "{name}: {error}"),
            }
        }
    }
}

#[test]
fn given_an_answer_that_is_lost_then_a_put_is_success_and_never_a_conflict() {
    for (name, server, Connected { storage, .. }) in both() {
        server.set_hook(|call| (is_put(call) && call.repetition == 0).then_some(Fault::DropAfter));
        let content = noise(1, 100_000);
        assert_eq!(storage.put(&pack(&content), &content).unwrap(), Put::AlreadyThere, "{name}");
        assert!(storage.get(&pack(&content), 100_000).unwrap() == content);
    }
}

#[test]
fn given_passing_failures_of_any_kind_then_every_operation_succeeds_in_the_end() {
    let faults = [
        refusal(500, "InternalError"),
        refusal(503, "ServerBusy"),
        refusal(429, "rateLimitExceeded"),
        Fault::Answer(502, Vec::new(), "<html><body>bad gateway</body></html>".to_owned()),
        Fault::Drop,
        Fault::DropAfter,
        Fault::Cut(10),
    ];
    for fault in faults {
        for (name, server, Connected { storage, .. }) in both() {
            let fault = fault.clone();
            let shown = format!("{name}, {fault:?}");
            server.set_hook(move |call| (call.repetition % 3 == 0).then(|| fault.clone()));
            let content = noise(1, 100_000);
            let key = pack(&content);
            storage.put(&key, &content).unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert!(storage.get(&key, 100_000).unwrap() == content, "{shown}");
            let mut part = vec![0; 1000];
            storage.get_range(&key, 4000, &mut part).unwrap();
            assert!(part == content[4000..5000], "{shown}");
            assert_eq!(storage.size(&key).unwrap(), Some(100_000), "{shown}");
            assert_eq!(keys(&storage, "packs/"), [key.as_str()], "{shown}");
            storage.delete(&key).unwrap();
            assert_eq!(storage.size(&key).unwrap(), None, "{shown}");
        }
    }
}

#[test]
fn given_a_refusal_then_its_code_decides_and_nothing_is_sent_twice() {
    for (status, code, kind) in [
        (403, "AuthorizationFailure", ErrorKind::Denied),
        (409, "BlobImmutableDueToPolicy", ErrorKind::Denied),
        (412, "LeaseIdMissing", ErrorKind::Denied),
        (409, "ContainerBeingDeleted", ErrorKind::Invalid),
        (507, "InsufficientStorage", ErrorKind::NoSpace),
        (403, "quotaExceeded", ErrorKind::NoSpace),
        (403, "retentionPolicyNotMet", ErrorKind::Denied),
        (400, "userProjectMissing", ErrorKind::Invalid),
    ] {
        for (name, server, Connected { bare, .. }) in both() {
            let is_azures = code.starts_with(|c: char| c.is_ascii_uppercase());
            if is_azures != (name == "azure") && status != 507 {
                continue;
            }
            server.set_hook(move |_| Some(refusal(status, code)));
            let error = bare.put(&pack(b"1"), b"1").unwrap_err();
            assert_eq!((error.kind, error.retryable), (kind, false), "{name} {status} {code}: {error}");
            assert_eq!(server.calls().len(), 1, "{name} {code}");
        }
    }
}

#[test]
fn given_an_answer_that_asks_to_wait_then_the_error_says_how_long() {
    for (name, server, Connected { bare, .. }) in both() {
        server.set_hook(|_| Some(Fault::Answer(503, vec![("retry-after", "7".to_owned())], String::new())));
        let error = bare.get("config", 9).unwrap_err();
        assert_eq!((error.retryable, error.wait), (true, Some(Duration::from_secs(7))), "{name}");
    }
}

#[test]
fn given_small_and_empty_pages_then_a_listing_is_whole_and_each_object_given_once() {
    for (name, server, Connected { storage, .. }) in both() {
        for n in 0..25 {
            storage.put(&format!("packs/{n:02}"), b"1").unwrap();
        }
        server.set_pages(4, true);
        server.forget_calls();
        assert_eq!(keys(&storage, "packs/").len(), 25, "{name}");
        assert!(server.calls().len() > 10, "{name}: {}", server.calls().len());
        // One page that fails in between is asked for again by itself.
        let count = Arc::new(AtomicUsize::new(0));
        server.set_hook(move |_| (count.fetch_add(1, Ordering::SeqCst) == 3).then_some(Fault::Drop));
        assert_eq!(keys(&storage, "packs/").len(), 25, "{name}");
    }
}

#[test]
fn given_bytes_that_are_spoilt_on_their_way_then_they_are_refused_and_sent_again_and_for_good_that_is_told() {
    for (name, server, Connected { storage, bare, .. }) in both() {
        let content = noise(1, 100_000);
        let key = pack(&content);
        server.set_hook(|call| (is_put(call) && call.repetition == 0).then_some(Fault::Spoil));
        assert_eq!(storage.put(&key, &content).unwrap(), Put::Created, "{name}");
        assert_eq!(server.calls().len(), 2, "{name}");
        assert!(storage.get(&key, 100_000).unwrap() == content, "{name}");
        // A request that is spoilt again and again is not stored, and the service's own word is told.
        server.set_hook(|call| is_put(call).then_some(Fault::Spoil));
        let error = bare.put("packs/other", &content).unwrap_err();
        let word = if name == "azure" { "Crc64Mismatch" } else { "CRC32C doesn't match" };
        assert!(error.retryable && error.to_string().contains(word), "{name}: {error}");
        assert_eq!(server.names(), [format!("repo/{key}")], "{name}");
    }
}

#[test]
fn given_an_object_of_no_bytes_then_no_range_of_it_is_asked_for_and_416_is_its_end() {
    for (name, server, Connected { bare, .. }) in both() {
        bare.put("config", b"").unwrap();
        server.forget_calls();
        bare.get_range("config", 0, &mut []).unwrap();
        assert_eq!(bare.get_range("keys/a", 0, &mut []).unwrap_err().kind, ErrorKind::NotFound, "{name}");
        assert!(server.calls().iter().all(|call| call.header("range").is_empty()), "{name}");
        assert_eq!(bare.get("config", 0).unwrap(), b"", "{name}");
        for offset in [0, 1, 1 << 40] {
            let error = bare.get_range("config", offset, &mut [0; 4]).unwrap_err();
            assert_eq!((error.kind, error.retryable), (ErrorKind::ShortObject, false), "{name}: {error}");
        }
    }
}

#[test]
fn given_a_service_that_compresses_on_the_way_then_it_is_neither_asked_to_nor_are_bytes_changed() {
    for (name, server, Connected { storage, .. }) in both() {
        let content = noise(1, 5000);
        storage.put(&pack(&content), &content).unwrap();
        server.set_hook(|call| (!is_put(call)).then_some(Fault::With("content-encoding", "gzip")));
        assert!(storage.get(&pack(&content), 5000).unwrap() == content, "{name}");
        let mut part = [0; 1000];
        storage.get_range(&pack(&content), 100, &mut part).unwrap();
        assert!(part[..] == content[100..1100], "{name}");
        for call in server.calls() {
            assert_eq!((call.header("accept-encoding"), call.header("content-encoding")), ("", ""), "{name}");
            let facts = String::from_utf8_lossy(&call.body[..call.body.len().min(300)]).into_owned();
            assert!(!facts.contains("contentEncoding"), "{name}: {facts}");
        }
    }
}

#[test]
fn given_folders_in_the_listing_of_a_hierarchy_then_they_are_no_objects() {
    let [(_, server, Connected { storage, .. }), _] = both();
    for key in ["config", "packs/ab/cd", "packs/ab/ce"] {
        storage.put(key, b"1").unwrap();
    }
    server.show_folders();
    assert_eq!(keys(&storage, ""), ["config", "packs/ab/cd", "packs/ab/ce"]);
    assert_eq!(keys(&storage, "packs/"), ["packs/ab/cd", "packs/ab/ce"]);
    // A folder is a blob, too, and the pages of a listing may hold nothing else.
    server.set_pages(1, true);
    assert_eq!(keys(&storage, "packs/"), ["packs/ab/cd", "packs/ab/ce"]);
}

#[test]
fn given_an_answer_of_somebody_else_then_it_is_not_taken_for_an_object_or_a_listing() {
    for (name, server, Connected { bare, .. }) in both() {
        let page = || {
            Fault::Answer(
                200,
                vec![("content-type", "text/html".to_owned())],
                "<html>log in</html>".to_owned(),
            )
        };
        server.set_hook(move |_| Some(page()));
        let check =
            |error: StorageError| assert!(error.to_string().contains("login page"), "{name}: {error}");
        check(bare.get("config", 100).unwrap_err());
        check(bare.get_range("config", 0, &mut [0; 4]).unwrap_err());
        check(bare.list("", &mut |_| {}).unwrap_err());
    }
}

#[test]
fn given_another_range_than_asked_for_then_its_bytes_are_not_taken() {
    for (name, server, Connected { bare, .. }) in both() {
        bare.put("config", b"0123456789").unwrap();
        for (status, range, body, kind) in [
            (206, "bytes 0-3/10", "0123", ErrorKind::Other),
            (206, "bytes 2-9/10", "23456789", ErrorKind::Other),
            (206, "bytes 2-3/4", "23", ErrorKind::ShortObject),
            (206, "", "", ErrorKind::ShortObject),
            (200, "", "0123456789", ErrorKind::Other),
        ] {
            server.set_hook(move |_| {
                let headers = vec![("content-range", range.to_owned())];
                Some(Fault::Answer(status, headers, body.to_owned()))
            });
            let error = bare.get_range("config", 2, &mut [0; 4]).unwrap_err();
            assert_eq!(error.kind, kind, "{name} {range}: {error}");
        }
    }
}

#[test]
fn given_a_clock_that_is_off_then_the_storage_tells_by_how_much() {
    for (name, server, Connected { storage, .. }) in both() {
        assert_eq!(storage.skew_ms(), None);
        server.set_skew(Duration::from_secs(600));
        storage.size("config").unwrap();
        let skew = storage.skew_ms().unwrap();
        assert!((595_000..=601_000).contains(&skew), "{name}: {skew}");
    }
}

#[test]
fn given_a_service_that_stays_away_then_it_is_tried_ten_times_and_once_for_everything_after_that() {
    for (name, server, Connected { storage, .. }) in both() {
        storage.put("sessions/a", b"1").unwrap();
        server.set_hook(|_| Some(Fault::Drop));
        server.forget_calls();
        let error = storage.put(&pack(b"1"), b"1").unwrap_err();
        assert!(error.retryable, "{name}: {error}");
        assert_eq!(server.calls().len(), 10, "{name}: {error}");
        for _ in 0..3 {
            storage.delete("sessions/a").unwrap_err();
        }
        storage.list("", &mut |_| ()).unwrap_err();
        assert_eq!(server.calls().len(), 10 + 4, "{name}: each once");
        server.set_hook(|_| None);
        storage.delete("sessions/a").unwrap();
    }
}

#[test]
fn given_nobody_at_the_address_then_it_is_said_so() {
    for (name, server, Connected { storage, .. }) in both() {
        drop(server);
        // Its last connection is served until it closes.
        let error = storage.get("config", 9).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{name}: {error}");
        assert!(error.to_string().contains("cannot connect to 127.0.0.1"), "{name}: {error}");
    }
}
