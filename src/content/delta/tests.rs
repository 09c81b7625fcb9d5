//! Copies and literals rebuild the new stream, whatever its parent, and large common ranges are found.

use super::*;
use proptest::prelude::*;
use std::convert::Infallible;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    Copy(u64, u64),
    Literal(Vec<u8>),
}

#[derive(Default)]
struct Ops(Vec<Op>);

impl Sink for Ops {
    type Error = Infallible;

    fn copy(&mut self, offset: u64, len: u64) -> Result<(), Infallible> {
        self.0.push(Op::Copy(offset, len));
        Ok(())
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        match self.0.last_mut() {
            Some(Op::Literal(before)) => before.extend_from_slice(bytes),
            _ => self.0.push(Op::Literal(bytes.to_vec())),
        }
        Ok(())
    }
}

impl Ops {
    fn rebuild(&self, old: &[u8]) -> Vec<u8> {
        let mut new = Vec::new();
        for op in &self.0 {
            match op {
                Op::Copy(offset, len) => {
                    new.extend_from_slice(&old[*offset as usize..(offset + len) as usize])
                }
                Op::Literal(bytes) => new.extend_from_slice(bytes),
            }
        }
        new
    }

    fn literal_bytes(&self) -> usize {
        self.0.iter().map(|op| if let Op::Literal(bytes) = op { bytes.len() } else { 0 }).sum()
    }
}

/// A parent that gives out little at a time, and nothing of one region.
struct Fussy<'a> {
    bytes: &'a [u8],
    window_max: usize,
    damaged: std::ops::Range<u64>,
}

impl Parent for Fussy<'_> {
    type Error = u64;

    fn window(&mut self, offset: u64, want: usize) -> Result<&[u8], u64> {
        if self.damaged.contains(&offset) {
            return Err(offset);
        }
        let until_damage =
            self.damaged.start.checked_sub(offset).filter(|&len| len > 0 && !self.damaged.is_empty());
        let from = self.bytes.get(offset as usize..).unwrap_or_default();
        let len = from.len().min(want).min(self.window_max).min(until_damage.unwrap_or(u64::MAX) as usize);
        Ok(&from[..len])
    }
}

fn diff(old: &[u8], new: &[u8]) -> (Ops, Differ<Infallible>) {
    diff_in_pieces(old, new, 1 << 20)
}

fn diff_in_pieces(old: &[u8], new: &[u8], piece: usize) -> (Ops, Differ<Infallible>) {
    diff_with_sections(old, new, piece, [&[], &[]])
}

/// `ends`: where the sections of `old` and `new` end.
fn diff_with_sections(
    mut old: &[u8],
    new: &[u8],
    piece: usize,
    ends: [&[u64]; 2],
) -> (Ops, Differ<Infallible>) {
    let (mut differ, mut ops) = (Differ::with_sections(ends[0].to_vec()), Ops::default());
    ends[1].iter().for_each(|end| differ.section_ends(*end));
    for bytes in new.chunks(piece.max(1)) {
        differ.push(bytes, &mut old, &mut ops).unwrap();
    }
    differ.end_run(&mut old, &mut ops).unwrap();
    (ops, differ)
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
}

fn row(id: u64, version: u64) -> Vec<u8> {
    let mut next = random(id * 1000 + version);
    let text = format!(
        "{id}\tcustomer-{:x}\t2026-03-{:02}\t{:x}\n",
        next(),
        next() % 28,
        next() % (1 << (next() % 60))
    );
    [&[0][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn table(rows: std::ops::Range<u64>) -> Vec<u8> {
    rows.flat_map(|id| row(id, 0)).collect()
}

/// Records with lengths and no newlines.
fn record(id: u64, version: u64) -> Vec<u8> {
    let mut next = random(id * 1000 + version + 7);
    let len = 20 + next() % 200;
    let value = (0..len).map(|_| (next() as u8).max(11));
    [0, 14].into_iter().chain(id.to_be_bytes().map(|b| b | 0x40)).chain([len as u8]).chain(value).collect()
}

/// Edits of a stream of bytes as they come from a strategy: (where, how many go, what comes).
fn edited(old: &[u8], edits: &[(u32, u16, Vec<u8>)]) -> Vec<u8> {
    let mut new = old.to_vec();
    for (at, gone, added) in edits {
        let at = *at as usize % (new.len() + 1);
        let end = (at + *gone as usize).min(new.len());
        new.splice(at..end, added.iter().copied());
    }
    new
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0u64..2000, 0u64..3000).prop_map(|(from, len)| table(from..from + len)),
        (0u64..2000, 0u64..2000)
            .prop_map(|(from, len)| (from..from + len).flat_map(|id| record(id, 0)).collect()),
        prop::collection::vec(0u8..4, 0..3000),
        (0usize..300_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

/// Where sections may end; mostly not at all where they do.
fn ends() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(0u64..400_000, 0..6).prop_map(|ends| ends.into_iter().collect())
}

fn edits() -> impl Strategy<Value = Vec<(u32, u16, Vec<u8>)>> {
    prop::collection::vec((any::<u32>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..400)), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn copies_and_literals_rebuild_the_stream(old in stream(), edits in edits(), other in stream(), mix in 0u8..4, ends in [ends(), ends()]) {
        let mut new = edited(&old, &edits);
        if mix == 0 {
            new.splice(new.len() / 2..new.len() / 2, other);
        }
        let (ops, differ) = diff_with_sections(&old, &new, 1 << 20, [&ends[0], &ends[1]]);
        prop_assert!(ops.rebuild(&old) == new);
        for pair in ops.0.windows(2) {
            if let [Op::Copy(offset, len), Op::Copy(next, _)] = pair {
                prop_assert_ne!(offset + len, *next, "joinable copies");
            }
        }
        prop_assert_eq!(differ.summary().literal_bytes as usize, ops.literal_bytes());
        prop_assert!(ops.0.iter().all(|op| !matches!(op, Op::Copy(_, len) if *len < MATCH_MIN as u64)));
    }

    #[test]
    fn the_split_into_pushes_and_windows_changes_nothing(old in stream(), edits in edits(), pieces in prop::collection::vec(1usize..90_000, 1..20), window_max in 1usize..70_000, ends in [ends(), ends()]) {
        let new = edited(&old, &edits);
        let whole = diff_with_sections(&old, &new, usize::MAX, [&ends[0], &ends[1]]).0;
        let mut parent = Fussy { bytes: &old, window_max: window_max.max(64), damaged: 0..0 };
        let (mut differ, mut ops) = (Differ::with_sections(ends[0].clone()), Ops::default());
        ends[1].iter().for_each(|end| differ.section_ends(*end));
        let mut rest = &new[..];
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*piece));
            differ.push(now, &mut parent, &mut ops).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        differ.end_run(&mut parent, &mut ops).unwrap();
        prop_assert!(ops.0 == whole.0);
    }

    #[test]
    fn damage_in_the_parent_costs_copies_but_never_truth(rows in 100u64..3000, start in any::<u32>(), len in 1u64..50_000, edits in edits()) {
        let old = table(0..rows);
        let start = u64::from(start) % old.len() as u64;
        let damaged = start..(start + len).min(old.len() as u64);
        let new = edited(&old, &edits);
        let mut parent = Fussy { bytes: &old, window_max: 5000, damaged: damaged.clone() };
        let (mut differ, mut ops) = (Differ::new(), Ops::default());
        differ.push(&new, &mut parent, &mut ops).unwrap();
        differ.end_run(&mut parent, &mut ops).unwrap();
        prop_assert!(ops.rebuild(&old) == new);
        let touched = |op: &Op| matches!(op, Op::Copy(at, len) if *at < damaged.end && damaged.start < at + len);
        prop_assert!(!ops.0.iter().any(touched), "copied from damaged bytes");
        prop_assert_eq!(differ.summary().parent_failures > 0, differ.take_failure().is_some());
    }
}

#[test]
fn given_single_bytes_pushed_then_the_result_is_the_same() {
    let old = table(0..3000);
    let new = edited(&old, &[(70_000, 50, b"inserted".to_vec()), (9_000, 2000, vec![])]);
    assert!(diff_in_pieces(&old, &new, 1).0.0 == diff(&old, &new).0.0);
}

#[test]
fn given_equal_streams_then_one_copy_is_all() {
    let old = table(0..20_000);
    assert_eq!(diff(&old, &old).0.0, [Op::Copy(0, old.len() as u64)]);
}

#[test]
fn given_rows_deleted_then_nothing_is_literal_and_given_rows_inserted_then_only_they_are() {
    let old = table(0..20_000);
    let kept: Vec<u8> = (0..20_000).filter(|id| id % 50 != 7).flat_map(|id| row(id, 0)).collect();
    let (ops, _) = diff(&old, &kept);
    assert_eq!(ops.literal_bytes(), 0);
    assert!(ops.0.len() <= 401);

    let (ops, _) = diff(&kept, &old);
    let inserted: usize = (0..20_000).filter(|id| id % 50 == 7).map(|id| row(id, 0).len()).sum();
    assert!(ops.literal_bytes() <= inserted, "{} of {inserted}", ops.literal_bytes());
}

#[test]
fn given_one_column_changed_in_place_then_the_long_columns_around_it_are_copied() {
    let wide = |id: u64, value: &str| {
        let text = format!("{id}\t{}\t{value}\t{}\n", "left ".repeat(40), "right ".repeat(40));
        [&[0][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    };
    let old: Vec<u8> = (0..2000).flat_map(|id| wide(id, "5")).collect();
    let new: Vec<u8> = (0..2000).flat_map(|id| wide(id, if id % 20 == 3 { "12345" } else { "5" })).collect();
    let (ops, _) = diff(&old, &new);
    assert!(ops.literal_bytes() <= 100 * 20, "{}", ops.literal_bytes());
}

/// Else the rows that a copy was cut out of are stored in halves, which are no rows.
#[test]
fn given_rows_in_another_order_then_copies_among_new_rows_are_whole_rows() {
    let mut next = random(8);
    let rows: Vec<String> =
        (0..40_000).map(|id| format!("{id}\ta street of {:08x}\t{:032x}\n", next() as u32, next())).collect();
    let mut shuffled = rows.clone();
    shuffled.sort_by_key(|row| *blake3::hash(row.as_bytes()).as_bytes());
    let (old, new) = (rows.concat().into_bytes(), shuffled.concat().into_bytes());
    let (ops, differ) = diff(&old, &new);
    assert!(ops.rebuild(&old) == new);
    assert_eq!(differ.summary().literal_bytes, ops.literal_bytes() as u64);
    let among_new =
        |before: &Op| matches!(before, Op::Literal(bytes) if bytes.len() as u64 > 4 * SHORT_COPY as u64);
    let copies: Vec<(usize, usize)> = ops
        .0
        .windows(2)
        .filter(|pair| among_new(&pair[0]))
        .filter_map(
            |pair| if let Op::Copy(at, len) = pair[1] { Some((at as usize, len as usize)) } else { None },
        )
        .collect();
    assert!(copies.len() > 5, "{}", copies.len());
    for (at, len) in copies {
        assert!(at == 0 || old[at - 1] == b'\n', "a copy begins within a row at {at}");
        assert_eq!(old[at + len - 1], b'\n', "a copy ends within a row at {at}");
    }
}

/// In binary data a newline means nothing.
#[test]
fn given_pieces_of_a_binary_stream_among_new_bytes_then_they_are_copied_as_they_are() {
    let mut next = random(9);
    let mut noise = |len: usize| -> Vec<u8> { (0..len).map(|_| (next() as u8).max(11)).collect() };
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let piece = [noise(50), noise(500), noise(50)].join(&b'\n');
        new.extend_from_slice(&noise(3000));
        new.extend_from_slice(&piece);
        old.extend_from_slice(&piece);
    }
    let (ops, _) = diff(&old, &new);
    assert!(ops.rebuild(&old) == new);
    let added = new.len() - old.len();
    assert!(ops.literal_bytes() < added + old.len() / 10, "{} of {added}", ops.literal_bytes());
}

#[test]
fn given_a_known_position_then_the_next_run_is_compared_from_there() {
    let old = table(0..40_000);
    let mut parent = &old[..];
    let (mut differ, mut ops) = (Differ::new(), Ops::default());
    let middle = old.len() / 2;
    differ.known(Some(middle as u64), 1000, &mut parent, &mut ops).unwrap();
    differ.push(&old[middle..middle + 10_000], &mut parent, &mut ops).unwrap();
    differ.known(None, 500, &mut parent, &mut ops).unwrap();
    differ.push(&old[middle + 10_500..middle + 20_000], &mut parent, &mut ops).unwrap();
    differ.end_run(&mut parent, &mut ops).unwrap();
    assert_eq!(ops.0, [Op::Copy(middle as u64, 10_000), Op::Copy(middle as u64 + 10_500, 9500)]);
}

#[test]
fn given_damage_then_a_known_position_behind_it_is_used_again() {
    let old = table(0..40_000);
    let mut parent = Fussy { bytes: &old, window_max: 1 << 20, damaged: 100_000..200_000 };
    let (mut differ, mut ops) = (Differ::new(), Ops::default());
    differ.push(&old[..500_000], &mut parent, &mut ops).unwrap();
    differ.known(Some(600_000), 100_000, &mut parent, &mut ops).unwrap();
    differ.push(&old[600_000..700_000], &mut parent, &mut ops).unwrap();
    differ.end_run(&mut parent, &mut ops).unwrap();
    assert_eq!(differ.take_failure(), Some(100_000));
    let copies: Vec<_> = ops.0.iter().filter(|op| matches!(op, Op::Copy(..))).collect();
    assert_eq!(copies, [&Op::Copy(0, 100_000), &Op::Copy(600_000, 100_000)]);
}

#[test]
fn given_a_large_deletion_then_the_alignment_is_found_again() {
    let old = table(0..350_000);
    let cut = old.len() / 3;
    let new = [&old[..cut], &old[cut + 10_000_000..]].concat();
    let (ops, _) = diff(&old, &new);
    assert!(old.len() > 15_000_000 && ops.rebuild(&old) == new);
    assert!(ops.literal_bytes() < 300 << 10, "{}", ops.literal_bytes());
}

#[test]
fn given_two_tables_swapped_then_both_are_found() {
    let (a, b, c) = (table(0..60_000), table(100_000..150_000), table(200_000..220_000));
    let (old, new) = ([&a[..], &b, &c].concat(), [&b[..], &a, &c].concat());
    let (ops, _) = diff(&old, &new);
    assert!(ops.rebuild(&old) == new);
    assert!(ops.literal_bytes() < 300 << 10, "{} of {}", ops.literal_bytes(), new.len());
}

/// Where each of `parts` ends, put one after another.
fn ends_of(parts: &[&[u8]]) -> Vec<u64> {
    parts
        .iter()
        .scan(0, |end, part| {
            *end += part.len() as u64;
            Some(*end)
        })
        .collect()
}

#[test]
fn given_rows_added_to_a_section_then_the_parents_others_are_not_searched_for_them() {
    let (a, added, b) = (table(0..20_000), table(500_000..520_000), table(100_000..400_000));
    let (old, new) = ([&a[..], &b].concat(), [&a[..], &added, &b].concat());
    let ends = [&ends_of(&[&a, &b])[..], &ends_of(&[&[&a[..], &added].concat(), &b])];
    let (without, blind) = diff(&old, &new);
    for piece in [100_000, usize::MAX] {
        let (ops, differ) = diff_with_sections(&old, &new, piece, ends);
        assert!(ops.0 == without.0 && ops.literal_bytes() <= added.len());
        let spared = blind.work() - differ.work();
        assert!(spared > 10_000_000 && differ.work() < 2 * new.len() as u64, "{spared} spared");
    }
}

#[test]
fn given_sections_then_what_lies_far_ahead_in_one_or_behind_one_that_is_gone_is_found() {
    let (a, b, c) = (table(0..20_000), table(100_000..400_000), table(600_000..620_000));
    let old = [&a[..], &b, &c].concat();
    let cut = &b[10_000_000..];
    for middle in [cut, &[]] {
        let new = [&a[..], middle, &c].concat();
        let ends = [&ends_of(&[&a, &b, &c])[..], &ends_of(&[&a, middle, &c])];
        let (ops, _) = diff_with_sections(&old, &new, 100_000, ends);
        assert!(ops.rebuild(&old) == new);
        assert!(ops.literal_bytes() < 300 << 10, "{}", ops.literal_bytes());
    }
}

#[test]
fn given_a_binary_stream_with_scattered_changes_then_literals_stay_near_them() {
    let old: Vec<u8> = (0..50_000).flat_map(|id| record(id, 0)).collect();
    let (mut new, mut changed) = (Vec::new(), 0);
    for id in 0..50_000 {
        let version = u64::from(id % 97 == 5);
        if id % 211 == 9 {
            continue;
        }
        let record = record(id, version);
        changed += record.len() * usize::from(version == 1);
        new.extend(record);
    }
    let (ops, _) = diff(&old, &new);
    assert!(ops.rebuild(&old) == new);
    assert!(ops.literal_bytes() <= changed + changed / 10, "{} of {changed}", ops.literal_bytes());
}

#[test]
fn given_adversarial_streams_then_the_work_stays_linear() {
    let rows: Vec<Vec<u8>> = (0..60_000).map(|id| row(id, 0)).collect();
    let forward = rows.concat();
    let reversed: Vec<u8> = rows.iter().rev().flatten().copied().collect();
    let mut next = random(5);
    let shuffled: Vec<u8> = (0..60_000).flat_map(|_| rows[next() as usize % rows.len()].clone()).collect();
    let noise: Vec<u8> = (0..4_000_000).map(|_| next() as u8).collect();
    let flat = vec![b'x'; 4_000_000];
    let flat_rows: Vec<u8> = b"\\N\t\\N\tthe same row again and again\n".repeat(120_000);
    let newlines = vec![b'\n'; 4_000_000];
    let sawtooth: Vec<u8> =
        (0..4_000_000u32).map(|at| if at % 331 == 0 { (next() % 4) as u8 } else { b'a' }).collect();
    let ping_pong: Vec<u8> =
        (0..30_000).flat_map(|id| rows[if id % 2 == 0 { id } else { id + 3000 }].clone()).collect();
    let streams = [forward, reversed, shuffled, noise, flat, flat_rows, newlines, sawtooth, ping_pong];
    for (one, old) in streams.iter().enumerate() {
        for (two, new) in streams.iter().enumerate() {
            let (ops, differ) = diff(old, new);
            assert!(ops.rebuild(old) == *new, "{one} to {two}");
            // The parent is scanned at most once, searched near the alignment on credit; the rest is a constant for
            // each new byte.
            let bound = 2 * old.len() as u64 + 8 * new.len() as u64;
            assert!(differ.work() <= bound, "{one} to {two}: {} for {} bytes", differ.work(), new.len());
        }
    }
}
