//! The storage contract over the backends and decorators that need no server. A new one joins with one `conformance!`
//! line.

// Clippy sees a test only where `#[test]` stands; the cases here are plain functions.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use dumpvault::storage::at_most::AtMost;
use dumpvault::storage::cache::Cached;
use dumpvault::storage::faulty::{Fault, Faulty, Rule};
use dumpvault::storage::limit::{Limited, Rate};
use dumpvault::storage::local::LocalStorage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::storage::retry::{Backoff, Retry, RetryPolicy};

use crate::support::conformance::{self, Place, conformance, place};

fn memory() -> Place {
    place(MemoryStorage::new(), ())
}

fn local() -> Place {
    let folder = tempfile::tempdir().unwrap();
    place(LocalStorage::open(folder.path()).unwrap(), folder)
}

fn faulty_without_faults() -> Place {
    place(Faulty::new(MemoryStorage::new(), 1), ())
}

fn cached() -> Place {
    let folder = tempfile::tempdir().unwrap();
    place(Cached::new(MemoryStorage::new(), folder.path(), 1 << 30), folder)
}

/// A policy that does not wait.
fn backoff() -> Arc<Backoff> {
    let wait = Duration::from_micros(100);
    let policy = RetryPolicy { attempts_max: 20, first: wait, longest: wait, ..RetryPolicy::default() };
    Arc::new(Backoff::new(policy, 1, Arc::default()))
}

/// What passes is never seen above the retries.
fn retrying_over_passing_faults() -> Place {
    // (After a lost answer a put finds its own bytes there, which is success of another name.)
    let rule = Rule::on("").with(0.2, Fault::LOST_REQUEST);
    place(Retry::new(Faulty::new(MemoryStorage::new(), 3).with_rule(rule), backoff()), ())
}

fn limited() -> Place {
    let rate = || Some(Arc::new(Rate::new(u64::MAX)));
    place(Limited::new(MemoryStorage::new(), rate(), rate()), ())
}

fn two_requests_at_most() -> Place {
    place(AtMost::new(MemoryStorage::new(), 2), ())
}

/// All of them, in the order that the program has them.
fn decorated() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let retrying = Retry::new(AtMost::new(MemoryStorage::new(), 4), backoff());
    let limited = Limited::new(retrying, Some(Arc::new(Rate::new(u64::MAX))), None);
    place(Cached::new(limited, folder.path(), 1 << 30), folder)
}

conformance!(retrying_over_passing_faults);
conformance!(limited);
conformance!(two_requests_at_most);
conformance!(decorated);
conformance!(memory);
conformance!(local);
conformance!(faulty_without_faults);
conformance!(cached);
