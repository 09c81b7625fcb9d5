//! Speed of the row diff on equal streams, on a day's change and on a stream that has nothing in common with its
//! parent.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dumpvault::content::delta::{Differ, Sink};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use std::convert::Infallible;
use std::hint::black_box;
use std::io::Read;

const BYTES: u64 = 64_000_000;

struct Count(u64);

impl Sink for Count {
    type Error = Infallible;

    fn copy(&mut self, offset: u64, len: u64) -> Result<(), Infallible> {
        self.0 = self.0.wrapping_add(black_box(offset ^ len));
        Ok(())
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0 = self.0.wrapping_add(black_box(bytes).len() as u64);
        Ok(())
    }
}

fn dump(seed: u64, day: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(mut dump) = SampleDump::new(SampleConfig::new(seed, BYTES).day(day)) {
        let _ = dump.read_to_end(&mut bytes);
    }
    bytes
}

fn diff(old: &[u8], new: &[u8]) -> u64 {
    let (mut differ, mut parent, mut sink) = (Differ::new(), old, Count(0));
    for piece in new.chunks(1 << 20) {
        let Ok(()) = differ.push(piece, &mut parent, &mut sink);
    }
    let Ok(()) = differ.end_run(&mut parent, &mut sink);
    sink.0
}

fn delta(criterion: &mut Criterion) {
    let (day_0, day_1, other) = (dump(1, 0), dump(1, 1), dump(2, 0));
    // A copy: comparing a buffer with itself would read memory only once.
    let same = day_0.clone();
    let mut group = criterion.benchmark_group("delta");
    group.sample_size(20);
    for (name, new) in [("equal", &same), ("a day later", &day_1), ("another database", &other)] {
        group.throughput(Throughput::Bytes(new.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| diff(&day_0, new)));
    }
    group.finish();
}

criterion_group!(benches, delta);
criterion_main!(benches);
