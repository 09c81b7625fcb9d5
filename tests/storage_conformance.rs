//! The storage contract over the backends and decorators that need no server. A new one joins with one `conformance!` line.

// Clippy sees a test only where `#[test]` stands; the cases here are plain functions.
#![allow(clippy::unwrap_used, clippy::panic)]

use dumpvault::storage::cache::Cached;
use dumpvault::storage::faulty::Faulty;
use dumpvault::storage::local::LocalStorage;
use dumpvault::storage::memory::MemoryStorage;

#[path = "support/conformance.rs"]
mod conformance;

use conformance::{Place, conformance, place};

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

conformance!(memory);
conformance!(local);
conformance!(faulty_without_faults);
conformance!(cached);
