//! How close the row diff comes to what really changed between two dumps.

#![allow(clippy::unwrap_used, reason = "a test")]

use dumpvault::content::delta::{Differ, Sink, Summary};
use dumpvault::source::sample::{Churn, SampleConfig, SampleDump};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;

/// Rebuilds the new stream from the old one, and keeps the literals for the compressor.
struct Rebuild<'a> {
    old: &'a [u8],
    new: Vec<u8>,
    literals: Vec<u8>,
    operations: usize,
    in_literal: bool,
}

impl Sink for Rebuild<'_> {
    type Error = Infallible;

    fn copy(&mut self, offset: u64, len: u64) -> Result<(), Infallible> {
        self.new.extend_from_slice(&self.old[offset as usize..(offset + len) as usize]);
        self.operations += 1;
        self.in_literal = false;
        Ok(())
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.new.extend_from_slice(bytes);
        self.literals.extend_from_slice(bytes);
        self.operations += usize::from(!self.in_literal);
        self.in_literal = true;
        Ok(())
    }
}

fn day(day: u16, churn: Churn) -> Vec<u8> {
    let mut bytes = Vec::new();
    let config = SampleConfig { churn, ..SampleConfig::new(7, 20_000_000).day(day) };
    SampleDump::new(config).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn diff<'a>(old: &'a [u8], new: &[u8]) -> (Rebuild<'a>, Summary) {
    let mut out = Rebuild { old, new: Vec::new(), literals: Vec::new(), operations: 0, in_literal: false };
    let (mut differ, mut parent) = (Differ::new(), old);
    for piece in new.chunks(300_000) {
        differ.push(piece, &mut parent, &mut out).unwrap();
    }
    differ.end_run(&mut parent, &mut out).unwrap();
    assert!(out.new == new, "the stream was not rebuilt");
    (out, differ.summary())
}

/// Bytes of the rows in `new` that `old` does not have.
fn changed_row_bytes(old: &[u8], new: &[u8]) -> u64 {
    let mut rows: HashMap<&[u8], usize> = HashMap::new();
    for row in old.split_inclusive(|&byte| byte == b'\n') {
        *rows.entry(row).or_default() += 1;
    }
    let mut changed = 0;
    for row in new.split_inclusive(|&byte| byte == b'\n') {
        match rows.get_mut(row) {
            Some(count) if *count > 0 => *count -= 1,
            _ => changed += row.len() as u64,
        }
    }
    changed
}

#[test]
fn given_two_days_of_a_database_then_hardly_more_than_the_changed_rows_is_literal() {
    let days: Vec<_> = (0..3).map(|number| day(number, Churn::default())).collect();
    for pair in days.windows(2) {
        let (out, summary) = diff(&pair[0], &pair[1]);
        let changed = changed_row_bytes(&pair[0], &pair[1]);
        assert!(
            summary.literal_bytes * 10 <= changed * 11,
            "{} literal bytes for {changed} changed",
            summary.literal_bytes
        );
        // An operation for each changed row and one for what is between them.
        let rows = changed / 60;
        assert!(out.operations as u64 <= 3 * rows, "{} operations", out.operations);
    }
}

#[test]
fn given_heavy_churn_then_literals_still_stay_near_the_changed_rows() {
    let churn = Churn { update_ppm: 100_000, insert_ppm: 20_000, delete_ppm: 20_000 };
    let (old, new) = (day(2, churn), day(3, churn));
    let (_, summary) = diff(&old, &new);
    let changed = changed_row_bytes(&old, &new);
    assert!(summary.literal_bytes * 10 <= changed * 13, "{} for {changed}", summary.literal_bytes);
}

#[test]
fn given_half_the_dump_deleted_in_the_middle_then_the_rest_is_found() {
    let (old, new) = (day(0, Churn::default()), day(1, Churn::default()));
    let changed = changed_row_bytes(&old, &new);
    let cut = new.len() / 4;
    let shorter = [&new[..cut], &new[cut + 10_000_000..]].concat();
    let (_, summary) = diff(&old, &shorter);
    assert!(summary.literal_bytes <= changed + (256 << 10), "{} for {changed}", summary.literal_bytes);
}

#[test]
fn given_the_order_of_the_parts_changed_then_all_of_them_are_found() {
    let (old, new) = (day(0, Churn::default()), day(1, Churn::default()));
    let changed = changed_row_bytes(&old, &new);
    let (first, second) = (new.len() / 3, new.len() * 2 / 3);
    let swapped = [&new[second..], &new[first..second], &new[..first]].concat();
    let (_, summary) = diff(&old, &swapped);
    assert!(summary.literal_bytes <= changed + (512 << 10), "{} for {changed}", summary.literal_bytes);
}
