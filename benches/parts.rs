//! Speed of the parts, each on one core: chunker, ids, codec, seal, the survey of dumps, and a backup and restore in
//! memory.
//!
//! `cargo bench --bench parts`

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::RepoId;
use dumpvault::base::secret::{OsEntropy, Passphrase, SecretKey};
use dumpvault::content::chunker::{ChunkSizes, Chunker};
use dumpvault::content::codec::{Codec, Compressor, Decompressor, Level};
use dumpvault::content::columns::{Decoder, Encoder};
use dumpvault::content::inspect::{Inspector, Verdict};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::{Credential, KeyBundle};
use dumpvault::vault::format::config::Config;
use dumpvault::vault::format::index::{BlockKind, Naming};
use dumpvault::vault::format::pack::PackBuffer;
use dumpvault::vault::reader::{Locator, ReadSettings};
use dumpvault::vault::snapshot::{Proof, StreamFormat};
use dumpvault::vault::writer::{Basis, CommitRequest, Committed, PipelineSettings};
use dumpvault::vault::{Repository, Surroundings};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read;
use std::sync::{Arc, Mutex};

fn sample(bytes: u64) -> Vec<u8> {
    let mut dump = Vec::new();
    SampleDump::new(SampleConfig::new(1, bytes)).unwrap().read_to_end(&mut dump).unwrap();
    dump
}

fn parts(c: &mut Criterion) {
    let dump = sample(32 << 20);
    let key = SecretKey::from_bytes([7; 32]);
    let chunker = Chunker::new(&key, ChunkSizes::DEFAULT);
    let cuts = |mut rest: &[u8]| {
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, others) = rest.split_at(chunker.cut(rest));
            chunks.push(chunk.to_vec());
            rest = others;
        }
        chunks
    };
    let chunks = cuts(&dump);
    let block = &dump[..1 << 20];

    let mut group = c.benchmark_group("parts");
    group.throughput(Throughput::Bytes(dump.len() as u64));
    group.bench_function("chunker", |b| {
        b.iter(|| {
            let mut rest = dump.as_slice();
            while !rest.is_empty() {
                rest = &rest[chunker.cut(rest)..];
            }
        });
    });
    group.bench_function("chunk ids", |b| {
        b.iter(|| {
            for chunk in &chunks {
                black_box(blake3::keyed_hash(key.expose(), chunk));
            }
        });
    });
    group.throughput(Throughput::Bytes(block.len() as u64));
    for (name, level) in [
        ("fast", Level::FAST),
        ("zstd", Level::ZSTD),
        ("columns", Level::Columns),
        ("level 3", Level::Zstd(3)),
    ] {
        let (mut compressor, mut stored) = (Compressor::default(), Vec::new());
        group.bench_function(format!("compress {name}"), |b| {
            b.iter(|| compressor.compress(block, level, &mut stored).unwrap());
        });
    }
    let mut stored = Vec::new();
    Compressor::default().compress(block, Level::ZSTD, &mut stored).unwrap();
    let (mut decompressor, mut plain) = (Decompressor::default(), Vec::new());
    group.bench_function("decompress", |b| {
        b.iter(|| decompressor.decompress(Codec::Zstd, &stored, block.len(), &mut plain).unwrap());
    });
    by_column(&mut group, &dump);
    let keys = KeyBundle::generate(&OsEntropy).unwrap();
    group.throughput(Throughput::Bytes(32 << 20));
    for (name, read_back) in [("seal a pack", false), ("seal a pack and read it back", true)] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let mut pack = PackBuffer::reuse(Vec::with_capacity(34 << 20));
                    (0..32u8).for_each(|n| {
                        pack.push(
                            Naming::first(BlockKind::Data),
                            Codec::Raw,
                            &[],
                            block,
                            &[([n; 32], 1 << 18); 4],
                        )
                    });
                    pack
                },
                |pack| pack.seal(RepoId::from_bytes([1; 16]), &keys, &OsEntropy, read_back).unwrap(),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// A whole dump by column, block after block, so that plans of tables serve; without the decoding and comparing of the
/// compressor.
fn by_column(group: &mut BenchmarkGroup<'_, WallTime>, dump: &[u8]) {
    group.throughput(Throughput::Bytes(dump.len() as u64));
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut stored = Vec::new();
    group.bench_function("columns encode", |b| {
        b.iter(|| {
            for block in dump.chunks(1 << 20) {
                stored.clear();
                encoder.encode(block, 1, &mut stored).unwrap();
            }
        });
    });
    let encode = |block: &[u8]| {
        let mut stored = Vec::new();
        assert!(encoder.encode(block, 1, &mut stored).unwrap());
        (stored, block.len())
    };
    let blocks: Vec<_> = dump.chunks(1 << 20).map(encode).collect();
    let mut plain = Vec::new();
    group.bench_function("columns decode", |b| {
        b.iter(|| blocks.iter().for_each(|(stored, len)| decoder.decode(stored, *len, &mut plain).unwrap()));
    });
}

/// A script with the rows of an archive: what `pg_dump -Fp` would write.
fn script(rows: &[u8]) -> Vec<u8> {
    let mut script = b"--\n-- PostgreSQL database dump\n--\n\nCOPY public.t (a) FROM stdin;\n".to_vec();
    for row in rows.split_inclusive(|&byte| byte == b'\n').filter(|row| *row != b"\\.\n") {
        script.extend_from_slice(row);
    }
    script.extend_from_slice(b"\n\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n");
    script
}

/// The surveys that run beside every backup.
fn surveys(c: &mut Criterion) {
    let archive = sample(64 << 20);
    let script = script(&archive);
    let mut group = c.benchmark_group("survey");
    for (name, stream) in [("archive", &archive), ("script", &script)] {
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut survey = Inspector::new();
                // As large as the pieces that a pipe is read in.
                stream.chunks(256 << 10).for_each(|bytes| survey.push(bytes));
                let verdict = survey.finish().verdict;
                assert!(matches!(verdict, Verdict::Whole(_)), "{verdict:?}");
                verdict
            });
        });
    }
    group.finish();
}

fn backup(repo: &Repository, dump: &[u8]) -> Committed {
    let (catalog, _, presence) = repo.synced(&Silent).unwrap();
    let settings = PipelineSettings { level: Level::DEFAULT, read_back: true, workers: 2 };
    let mut session = repo.writer().begin_backup(catalog, presence, settings).unwrap();
    let stored = session.store("bench", &mut &dump[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    let finished = stored.finish(Proof::Exited, StreamFormat::PgCustom, BTreeMap::new());
    let request = CommitRequest {
        series: "bench".into(),
        host: "bench".into(),
        time_ms: 0,
        now_ms: 0,
        tags: vec![],
        counter: 1,
        predecessor: None,
        time_zone: "UTC".into(),
        calendar: vec![],
        program: "bench".into(),
        source: BTreeMap::new(),
        set: None,
        parent: None,
        failed: vec![],
        origin: None,
        origin_author: None,
        is_import: false,
        pins: Vec::new(),
    };
    session.commit(vec![finished], request).unwrap()
}

fn whole(c: &mut Criterion) {
    let dump = sample(256 << 20);
    let cache = tempfile::tempdir().unwrap();
    let surroundings = Surroundings::new(Arc::new(OsEntropy), cache.path().into());
    let credential = Credential::Passphrase(Passphrase::new("bench".into()));
    let fresh = || {
        let storage = Arc::new(MemoryStorage::new());
        Repository::init(storage, &credential, "", Config::new(0), &surroundings).unwrap()
    };
    let mut group = c.benchmark_group("in memory, all cores");
    group.sample_size(10).throughput(Throughput::Bytes(dump.len() as u64));
    group.bench_function("first backup", |b| {
        b.iter_batched(fresh, |repo| backup(&repo, &dump), BatchSize::PerIteration);
    });
    let repo = fresh();
    let committed = backup(&repo, &dump);
    group.bench_function("the same again", |b| b.iter(|| backup(&repo, &dump)));
    group.bench_function("restore", |b| {
        b.iter(|| {
            let locator = Locator::new(&repo, repo.catalog(&Silent).unwrap(), Default::default());
            let (locator, settings) = (Arc::new(Mutex::new(locator)), ReadSettings::local(2));
            let stream = &committed.body.streams[0];
            let mut output = |bytes: &[u8]| {
                black_box(bytes);
                Ok(())
            };
            repo.reader()
                .read_stream(&locator, stream, settings, &Silent, &Cancel::new(), &mut output)
                .unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, parts, surveys, whole);
criterion_main!(benches);
