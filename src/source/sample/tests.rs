//! The sample is the same bytes for everybody, holds what it announces, and changes as it says.

use super::*;
use std::collections::{HashMap, HashSet};

const MB: u64 = 1_000_000;
const REFILL: usize = text::REFILL_BYTES;

fn bytes(config: SampleConfig) -> Vec<u8> {
    let mut all = Vec::new();
    SampleDump::new(config).unwrap().read_to_end(&mut all).unwrap();
    all
}

/// The rows of each data block, by the table's name.
fn rows(mut dump: SampleDump) -> HashMap<&'static str, Vec<Vec<u8>>> {
    let names: Vec<_> = dump.tables().map(|table| table.name).collect();
    // A fresh dump holds header, table of contents and the start of the first block, which has 6 bytes.
    let mut skipped = vec![0; dump.out.len() - 6];
    dump.read_exact(&mut skipped).unwrap();
    let mut all = Vec::new();
    dump.read_to_end(&mut all).unwrap();
    let mut rest = all.as_slice();
    let mut take = |len: usize| rest.split_off(..len).unwrap();
    let mut tables = HashMap::new();
    for (name, n) in names.into_iter().zip(3400u32..) {
        assert_eq!(take(1), [1], "{name}: type of the block");
        assert_eq!(take(5), [&[0], n.to_le_bytes().as_slice()].concat(), "{name}: dump id");
        let mut pieces = Vec::new();
        loop {
            let len = u32::from_le_bytes(take(5)[1..].try_into().unwrap());
            if len == 0 {
                break;
            }
            pieces.push(take(len as usize).to_vec());
        }
        assert_eq!(pieces.pop().unwrap(), b"\\.\n\n\n", "{name}: end of the rows");
        tables.insert(name, pieces);
    }
    assert!(rest.is_empty(), "nothing follows the last block");
    tables
}

#[test]
fn the_bytes_of_this_revision_are_known() {
    let day_0 = SampleConfig::new(42, MB);
    let known = [
        (day_0, "8ee4c065f4270ca783fd8eb0ba48e86276f33727b86ce01ecfde1bdc9874c872"),
        (day_0.day(3), "6a16d09056a9ce19aa4c776613a654473e8ea66d06b5360c7bed940028647151"),
    ];
    for (config, digest) in known {
        assert_eq!(
            blake3::hash(&bytes(config)).to_hex().as_str(),
            digest,
            "{config:?}: raise SAMPLE_REVISION"
        );
    }
}

#[test]
fn another_seed_is_another_shop() {
    let (one, other) = (bytes(SampleConfig::new(1, MB)), bytes(SampleConfig::new(2, MB)));
    let differing = one.iter().zip(&other).filter(|(a, b)| a != b).count();
    assert!(differing > one.len() / 2);
}

#[test]
fn the_size_of_the_reads_does_not_change_the_bytes() {
    let config = SampleConfig::new(7, 2 * MB).day(2);
    let whole = bytes(config);
    for sizes in [&[1usize, 2, 3, 5, 8][..], &[4096], &[65_537, 1], &[REFILL - 1, REFILL + 1, 0], &[9 << 20]]
    {
        let mut dump = SampleDump::new(config).unwrap();
        let mut read = Vec::new();
        for size in sizes.iter().cycle() {
            let mut buf = vec![0; *size];
            let len = dump.read(&mut buf).unwrap();
            read.extend_from_slice(&buf[..len]);
            if len == 0 && *size > 0 {
                break;
            }
        }
        assert!(read == whole, "reads of {sizes:?}");
        assert_eq!(dump.read(&mut [0; 10]).unwrap(), 0, "the end stays the end");
    }
}

#[test]
fn every_table_holds_the_rows_that_it_announces() {
    for day in [0, 1, 12] {
        let dump = SampleDump::new(SampleConfig::new(3, 3 * MB).day(day)).unwrap();
        let announced: Vec<_> = dump.tables().collect();
        let rows = rows(dump);
        for table in announced {
            assert_eq!(rows[table.name].len() as u64, table.rows, "day {day}, {}", table.name);
        }
    }
}

#[test]
fn a_day_changes_one_or_two_rows_in_a_hundred_scattered_over_the_tables() {
    for day in [0, 1, 29] {
        let of_day = |day| rows(SampleDump::new(SampleConfig::new(5, 10 * MB).day(day)).unwrap());
        let (before, after) = (of_day(day), of_day(day + 1));
        let all: usize = after.values().map(Vec::len).sum();
        let (mut new, mut tables) = (0, 0);
        for (name, rows) in &after {
            let known: HashSet<_> = before[name].iter().collect();
            let here = rows.iter().filter(|row| !known.contains(row)).count();
            new += here;
            tables += usize::from(here > 0);
        }
        assert!((all / 100..=all / 50).contains(&new), "day {day}: {new} of {all} rows are new");
        assert!(tables >= 10, "day {day}: only {tables} tables changed");
    }
}

#[test]
fn without_churn_every_day_has_the_same_rows() {
    let config = SampleConfig { churn: Churn::NONE, ..SampleConfig::new(5, MB) };
    let of_day = |day| rows(SampleDump::new(config.day(day)).unwrap());
    assert!(of_day(0) == of_day(100));
}

#[test]
fn rows_refer_only_to_rows_that_exist() {
    // Given a small shop, whose tables grow in uneven steps
    let tables = rows(SampleDump::new(SampleConfig::new(9, MB).day(33)).unwrap());
    let column = |table: &str, n: usize| -> HashSet<u64> {
        let field = |row: &Vec<u8>| {
            std::str::from_utf8(row).unwrap().split('\t').nth(n).unwrap().trim().parse().unwrap()
        };
        tables[table].iter().map(field).collect()
    };
    for (from, n, to) in [
        ("orders", 2, "customers"),
        ("order_items", 1, "orders"),
        ("order_items", 3, "products"),
        ("payments", 1, "orders"),
        ("shipments", 1, "orders"),
        ("documents", 1, "orders"),
        ("inventory", 0, "products"),
        ("inventory", 1, "warehouses"),
        ("products", 2, "categories"),
        ("reviews", 1, "products"),
        ("reviews", 2, "customers"),
        ("sessions", 1, "customers"),
    ] {
        assert!(column(from, n).is_subset(&column(to, 0)), "{from} to {to}");
    }
}

#[test]
fn the_dump_has_the_size_asked_for() {
    for target in [MB, 5 * MB, 40 * MB] {
        let len = bytes(SampleConfig::new(11, target)).len() as u64;
        let off = len.abs_diff(target);
        assert!(off < target / 50 + 100_000, "{len} for {target}");
    }
    assert!(bytes(SampleConfig::new(11, 0)).len() < 200_000);
}

#[test]
fn a_sample_without_slots_holds_what_it_announces_and_changes_as_much() {
    let of_day = |day| {
        let mut dump = SampleDump::new(SampleConfig::new(5, 4 * MB).day(day)).unwrap();
        dump.plan.has_slots = false;
        dump.stage = dump.plan.begin(&mut Out::new(), 0);
        let announced: Vec<_> = dump.tables().collect();
        (announced, rows(dump))
    };
    let ((_, before), (announced, after)) = (of_day(7), of_day(8));
    for table in announced {
        assert_eq!(after[table.name].len() as u64, table.rows, "{}", table.name);
    }
    let all: usize = after.values().map(Vec::len).sum();
    let known: HashSet<_> = before.values().flatten().collect();
    let new = after.values().flatten().filter(|row| !known.contains(row)).count();
    assert!((all / 100..=all / 50).contains(&new), "{new} of {all} rows are new");
}

#[test]
fn the_largest_sample_starts_at_once() {
    // Given a dump of 20 TB on its 90th day: nothing may be kept per row, or this would not return.
    let mut dump = SampleDump::new(SampleConfig::new(1, 20_000_000 * MB).day(90)).unwrap();
    assert!(dump.tables().map(|table| table.rows).sum::<u64>() > 80_000_000_000);
    let mut start = vec![0; 4 << 20];
    dump.read_exact(&mut start).unwrap();
}

#[test]
fn what_cannot_be_made_is_refused() {
    let config = SampleConfig::new(1, MB);
    let wild = Churn { delete_ppm: 20_001, ..Churn::default() };
    let refused = SampleDump::new(SampleConfig { churn: wild, ..config }).err();
    assert_eq!(refused, Some(SampleError::ChurnTooHigh { what: "delete", ppm: 20_001, ppm_max: 20_000 }));
    assert_eq!(SampleDump::new(config.day(3651)).err(), Some(SampleError::DayTooLate { day: 3651 }));
    assert!(matches!(
        SampleDump::new(SampleConfig::new(1, 1 << 51)).err(),
        Some(SampleError::TooLarge { .. })
    ));
}
