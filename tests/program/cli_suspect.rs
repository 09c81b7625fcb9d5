//! The anomaly guard: a dump that shrank is stored, restorable and not trusted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, noise, text};
use std::fs;

/// A series with three good snapshots of so many bytes.
fn with_history(bytes: usize) -> Vault {
    let vault = Vault::new();
    for seed in 1..=3 {
        vault.backup("app", &noise(seed, bytes));
    }
    vault
}

fn newest(vault: &Vault) -> serde_json::Value {
    vault.snapshots().pop().unwrap()
}

const STDIN: [&str; 4] = ["backup", "--stdin", "--series", "app"];

#[test]
fn given_a_dump_of_less_than_half_the_usual_size_then_it_is_suspect_restorable_and_ends_with_1() {
    let vault = with_history(100_000);
    let small = noise(9, 49_000);
    vault
        .run_with(STDIN, &small)
        .expect(exit::PART_FAILED)
        .says("suspect")
        .says("47.85 KiB, usually about 97.66 KiB");
    let suspect = newest(&vault);
    assert_eq!(text(&suspect, "state"), "suspect");
    assert_eq!(suspect["tags"].as_array().unwrap().len(), 0, "it stands for no day, week or month");
    assert!(
        suspect["streams"][0]["attributes"]["suspect"].as_str().unwrap().contains("97.66 KiB"),
        "{suspect}"
    );
    assert!(vault.restore(&text(&suspect, "id")).expect(exit::OK).stdout == small);
    assert!(vault.restore("app").expect(exit::OK).stdout == noise(3, 100_000), "the name means a good one");
    let json = vault.run_with(STDIN.iter().chain(&["--json"]), &small).expect(exit::PART_FAILED).json();
    let result = &json["results"][0];
    assert!(result["ok"] == false && result["suspect"].as_array().unwrap().len() == 1, "{json}");

    // A good one again: compared with the last good one, and not with what is suspect.
    let parent = vault.ids()[2].clone();
    vault.run_with(STDIN, &noise(3, 100_000)).expect(exit::OK);
    let good = newest(&vault);
    assert_eq!((text(&good, "state"), text(&good, "parent")), ("complete".to_owned(), parent));
}

#[test]
fn given_suspect_snapshots_then_they_take_no_place_in_the_retention() {
    let vault = with_history(100_000);
    let good = vault.ids();
    for seed in 11..14 {
        vault.run_with(STDIN, &noise(seed, 20_000)).expect(exit::PART_FAILED);
    }
    vault.run(["forget", "--keep-last", "2", "--force"]).expect(exit::OK);
    let left = vault.ids();
    assert!(left.contains(&good[1]) && left.contains(&good[2]), "the last two good ones stay: {left:?}");
    assert!(!left.contains(&good[0]));
}

#[test]
fn given_a_size_that_is_right_then_saying_so_once_is_enough() {
    let vault = with_history(100_000);
    vault.run_with(STDIN.iter().chain(&["--suspect-below", "0"]), &noise(9, 20_000)).expect(exit::OK);
    assert_eq!(text(&newest(&vault), "state"), "complete");
    vault.run_with(STDIN, &noise(10, 19_000)).expect(exit::OK);
    assert_eq!(text(&newest(&vault), "state"), "complete");
    vault.run_with(STDIN, &noise(10, 9_000)).expect(exit::PART_FAILED);
}

#[test]
fn given_ordinary_changes_of_size_then_nothing_is_suspect() {
    let vault = with_history(100_000);
    for bytes in [51_000, 300_000, 90_000, 60_000] {
        vault.run_with(STDIN, &noise(9, bytes)).expect(exit::OK);
    }
    // Another series has its own history, and tiny dumps have none.
    vault.backup("other", &noise(1, 4_000));
    vault.backup("other", &noise(1, 40));
}

#[test]
fn given_the_configuration_then_the_share_is_set_for_all_or_for_a_source() {
    let vault = with_history(100_000);
    let dump = vault.work().join("dump");
    let config = |text: &str| fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
    let source = format!("[source.app]\ncommand = [\"cat\", \"{}\"]\n", dump.display());
    fs::write(&dump, noise(9, 85_000)).unwrap();
    config(&format!("suspect_below = 0.9\n{source}"));
    vault.run(["backup", "app"]).expect(exit::PART_FAILED).says("suspect");
    config(&format!("suspect_below = 0.9\n{source}suspect_below = 0.8\n"));
    vault.run(["backup", "app"]).expect(exit::OK);
    vault.run(["backup", "app", "--suspect-below", "1.5"]).expect(exit::USAGE);
}

/// A script of `pg_dump` with so many rows in each of two tables.
fn script(orders: usize, audit: usize) -> Vec<u8> {
    let mut script = "--\n-- PostgreSQL database dump\n--\n\n".to_owned();
    for (table, rows) in [("orders", orders), ("audit", audit)] {
        script += &format!("COPY public.{table} (id, what) FROM stdin;\n");
        (0..rows).for_each(|row| script += &format!("{row}\tsomething of {table}\n"));
        script += "\\.\n\n\n";
    }
    script += "--\n-- PostgreSQL database dump complete\n--\n\n";
    script.into_bytes()
}

#[test]
fn given_a_table_that_lost_all_its_rows_then_the_dump_is_suspect_though_its_size_is_usual() {
    let vault = Vault::new();
    vault.backup("app", &script(20_000, 1_500));
    vault.backup("app", &script(20_000, 1_200));
    vault
        .run_with(STDIN, &script(21_000, 0))
        .expect(exit::PART_FAILED)
        .says("no rows in table public.audit (had at least 1200 rows)");
    assert_eq!(text(&newest(&vault), "state"), "suspect");
    // A table that had few rows may be empty, and one that is gone was dropped by somebody's will.
    vault.run_with(STDIN, &script(21_000, 500)).expect(exit::OK);
    vault.run_with(STDIN, &script(21_000, 0)).expect(exit::OK);
    assert_eq!(text(&newest(&vault), "state"), "complete");
}
