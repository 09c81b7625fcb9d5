//! Locks, over a server that keeps them.

use std::time::{Duration, SystemTime};

use dumpvault::base::unit::ObjectLock;
use dumpvault::storage::azure::{AzureOptions, Secrets};
use dumpvault::storage::bucket::BucketLock;
use dumpvault::storage::gcs::{GcsOptions, Places};
use dumpvault::storage::scheme::Connected;
use dumpvault::storage::{ErrorKind, Storage as _};

use crate::clouds::{ACCOUNT_KEY, azure, gcs};
use crate::stub::Stub;

const DAY: Duration = Duration::from_secs(86_400);

fn both(governance: bool) -> [(&'static str, Stub, Connected); 2] {
    let object_lock = Some(ObjectLock { governance, lasts: 30 * DAY });
    let secrets = Secrets { key: Some(ACCOUNT_KEY.to_owned()), ..Secrets::default() };
    let one = Stub::new();
    let azure = azure(&one.azure(), AzureOptions { secrets, object_lock, ..AzureOptions::default() });
    let other = Stub::new();
    let places = Places { is_emulator: true, ..Places::default() };
    let endpoint = Some(other.endpoint());
    let gcs = gcs("gs://vault/repo", GcsOptions { endpoint, places, object_lock, ..GcsOptions::default() });
    [("azure", one, azure), ("gcs", other, gcs)]
}

#[test]
fn given_a_lock_then_what_a_restore_needs_is_locked_and_cannot_be_deleted() {
    for (governance, modes) in [(true, ["unlocked", "Unlocked"]), (false, ["locked", "Locked"])] {
        for ((name, server, Connected { storage, .. }), mode) in both(governance).into_iter().zip(modes) {
            for key in ["config", "keys/a", "packs/ab/cd", "snapshots/a"] {
                storage.put(key, b"1").unwrap();
                let (found, until) = server.lock(&format!("repo/{key}")).unwrap();
                assert_eq!(found, mode, "{name} {key}");
                let left = until.duration_since(SystemTime::now()).unwrap();
                assert!(left > 29 * DAY && left <= 30 * DAY, "{name} {key}: {left:?}");
                assert_eq!(storage.delete(key).unwrap_err().kind, ErrorKind::Denied, "{name} {key}");
            }
            // Sessions come and go.
            storage.put("sessions/a", b"1").unwrap();
            assert_eq!(server.lock("repo/sessions/a"), None, "{name}");
            storage.delete("sessions/a").unwrap();
            // The same bytes again are there already, and nothing else.
            storage.put("config", b"1").unwrap();
            assert_eq!(storage.put("config", b"2").unwrap_err().kind, ErrorKind::Conflict, "{name}");
        }
    }
}

#[test]
fn given_a_lock_then_it_is_prolonged_and_never_shortened() {
    for (name, server, Connected { storage, .. }) in both(false) {
        storage.put("packs/ab/cd", b"1").unwrap();
        let lock = storage.lock().unwrap();
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let first = lock.locked_until("packs/ab/cd").unwrap().unwrap();
        let later = first + 10 * DAY;
        lock.extend("packs/ab/cd", later).unwrap();
        assert_eq!(seconds(lock.locked_until("packs/ab/cd").unwrap().unwrap()), seconds(later), "{name}");
        // One that lasts longer stays, and is success.
        lock.extend("packs/ab/cd", first).unwrap();
        assert_eq!(seconds(server.lock("repo/packs/ab/cd").unwrap().1), seconds(later), "{name}");
        let missing = lock.extend("packs/ab/ce", later).unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound, "{name}: {missing}");
        assert_eq!(lock.lasts(), 30 * DAY);
    }
}

#[test]
fn given_a_container_that_takes_locks_and_keeps_none_then_the_first_put_says_so() {
    for (name, server, Connected { storage, bucket, .. }) in both(false) {
        server.forget_locks();
        let error = storage.put("config", b"1").unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Invalid, false), "{name}: {error}");
        assert!(error.to_string().contains("keeps none"), "{name}: {error}");
        assert_eq!(bucket.unwrap().bucket_lock().unwrap(), BucketLock::Off, "{name}");
    }
}

#[test]
fn given_a_container_that_keeps_locks_then_it_is_looked_at_once_and_tells() {
    for (name, server, Connected { storage, bucket, .. }) in both(false) {
        server.keep_versions();
        for n in 0..5 {
            storage.put(&format!("packs/{n}"), b"1").unwrap();
        }
        assert_eq!(server.calls().len(), 6, "{name}");
        let bucket = bucket.unwrap();
        assert_eq!(bucket.bucket_lock().unwrap(), BucketLock::On(None), "{name}");
        assert_eq!(bucket.keeps_versions().unwrap(), Some(true), "{name}");
    }
}
