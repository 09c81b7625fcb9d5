//! Opening and asking a catalog of many chunks: times, and memory that it takes more than an empty one.
//!
//! `cargo bench --bench catalog -- 1 16` makes catalogs of 1 and 16 million chunks in a temporary directory (16 million
//! take a few minutes and 2 GB), then opens each with and without its saved filter.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use dumpvault::base::id::{PackId, RepoId};
use dumpvault::content::codec::Codec;
use dumpvault::vault::catalog::Catalog;
use dumpvault::vault::catalog::filter::chunk_key;
use dumpvault::vault::format::index::{BlockKind, ChunkTable, IndexedPack, Naming};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

const REPO: RepoId = RepoId::from_bytes([1; 16]);
/// As a pack of 32 MiB holds them at a ratio of 3.
const CHUNKS_PER_PACK: u64 = 1500;

fn id(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn pack(number: u64) -> IndexedPack {
    let mut table = ChunkTable::default();
    for block in 0..CHUNKS_PER_PACK / 15 {
        let first = number * CHUNKS_PER_PACK + block * 15;
        let chunks: Vec<_> = (first..first + 15).map(|n| (id(n), 65_536)).collect();
        table.push(Naming::first(BlockKind::Data), Codec::Zstd, 300_000, &chunks);
    }
    IndexedPack { id: PackId::from_bytes(id(u64::MAX - number)), bytes: 32 << 20, table }
}

fn open(dir: &Path) -> Catalog {
    Catalog::open(dir, &REPO, [0; 16]).unwrap()
}

/// Memory of this process, in MiB.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Runs `work` in a process of its own turn: prints time and memory.
fn measure<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (before, began) = (resident_mib(), Instant::now());
    let outcome = work();
    let (seconds, more) = (began.elapsed().as_secs_f64(), resident_mib() - before);
    println!("{what:<44} {seconds:>8.3} s {more:>8.1} MiB more");
    outcome
}

fn run(millions: u64) {
    let dir = tempfile::tempdir().unwrap();
    let packs = millions * 1_000_000 / CHUNKS_PER_PACK;
    let chunks = packs * CHUNKS_PER_PACK;
    println!("{chunks} chunks in {packs} packs");
    measure("made", || {
        let mut catalog = open(dir.path());
        for first in (0..packs).step_by(64) {
            let some: Vec<_> = (first..packs.min(first + 64)).map(pack).collect();
            catalog.add_packs(None, None, &some).unwrap();
        }
    });
    measure("opened without a saved filter", || {
        let mut catalog = open(dir.path());
        let (filter, until) = catalog.filter().unwrap();
        catalog.save_filter(&filter, until).unwrap();
    });
    let (mut catalog, filter) = measure("opened with the saved filter", || {
        let mut catalog = open(dir.path());
        let (filter, _) = catalog.filter().unwrap();
        (catalog, filter)
    });
    println!("{:<44} {:>19.1} MiB", "the filter", filter.memory_bytes() as f64 / f64::from(1 << 20));
    let count = 1_000_000;
    let keys: Vec<u64> = (0..count).map(|n| chunk_key(&id(chunks + n))).collect();
    measure("1,000,000 chunks that are new", || {
        black_box(keys.iter().filter(|key| filter.may_contain(**key)).count());
    });
    let step = chunks / 10_000;
    let known: Vec<[u8; 32]> = (0..10_000).map(|n| id(n * step)).collect();
    measure("10,000 known chunks, far from each other", || {
        known.iter().for_each(|id| drop(black_box(catalog.find(id, BlockKind::Data, |_| true).unwrap())));
    });
}

fn main() {
    let wanted: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    for millions in if wanted.is_empty() { vec![1] } else { wanted } {
        run(millions);
    }
}
