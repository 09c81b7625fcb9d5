//! Dumps that are looked into: whole or not, which tables, what changed, and parts of them restored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, text};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use serde_json::Value;
use std::io::Read;

/// The dump of a day of the sample shop, as `pg_dump -Fc -Z0` writes it.
fn shop(bytes: u64, day: u16) -> Vec<u8> {
    let mut dump = Vec::new();
    let config = SampleConfig::new(7, bytes).day(day);
    SampleDump::new(config).unwrap().read_to_end(&mut dump).unwrap();
    dump
}

const SCRIPT: &str = "--
-- PostgreSQL database dump
--

-- Dumped from database version 15.18
-- Dumped by pg_dump version 15.18

CREATE TABLE public.orders (id integer);

COPY public.orders (id) FROM stdin;
1
2
3
\\.

--
-- PostgreSQL database dump complete
--

";

fn tables(vault: &Vault, name: &str) -> Vec<Value> {
    let listed = vault.run(["ls", name, "--json"]).expect(exit::OK).json();
    listed["tables"].as_array().expect("an array of tables").clone()
}

fn table<'a>(tables: &'a [Value], name: &str) -> &'a Value {
    tables.iter().find(|table| table["name"] == name).unwrap_or_else(|| panic!("no table {name}"))
}

#[test]
fn a_whole_dump_proves_itself_and_a_cut_one_makes_no_snapshot_whatever_the_exit_status_says() {
    let vault = Vault::new();
    let dump = shop(300_000, 0);
    let whole = vault.backup("shop", &dump);
    assert_eq!(text(&vault.snapshot(&whole), "proof"), "structure");

    let file = vault.work().join("shop.dump");
    std::fs::write(&file, &dump).unwrap();
    vault.run(["backup", "--series", "by-command", "--command", "--", "cat", "shop.dump"]).expect(exit::OK);
    let newest = vault.snapshots().pop().unwrap();
    assert_eq!(text(&newest, "proof"), "exit-status+structure");

    let before = vault.ids();
    for cut in [5, 40, 5000, dump.len() / 2, dump.len() - 1] {
        let args = ["backup", "--stdin", "--series", "cut"];
        vault.run_with(args, &dump[..cut]).expect(exit::NOTHING_DONE).says("is incomplete").says("hint:");
        std::fs::write(&file, &dump[..cut]).unwrap();
        let args = ["backup", "--series", "cut", "--command", "--", "cat", "shop.dump"];
        vault.run(args).expect(exit::NOTHING_DONE).says("incomplete").says("(exit status was 0)");
    }
    let script = SCRIPT.as_bytes();
    let args = ["backup", "--stdin", "--series", "cut"];
    vault.run_with(args, &script[..script.len() / 2]).expect(exit::NOTHING_DONE).says("is incomplete");
    assert_eq!(vault.ids(), before, "a dump that is not whole became a snapshot");
    assert_eq!(text(&vault.snapshot(&vault.backup("script", script)), "proof"), "structure");
    // What is no dump of PostgreSQL's is none of the survey's business.
    assert_eq!(text(&vault.snapshot(&vault.backup("other", b"SELECT 1;")), "proof"), "unproven");
}

#[test]
fn a_dump_that_came_whole_and_makes_no_sense_is_kept_and_suspected() {
    let vault = Vault::new();
    vault.backup("shop", &shop(150_000, 0));
    let mut odd = shop(150_000, 1);
    let middle = odd.len() / 2;
    odd.drain(middle..middle + 100);
    let args = ["backup", "--stdin", "--series", "shop"];
    vault.run_with(args, &odd).expect(exit::PART_FAILED).says("suspect").says("damaged at offset");
    let kept = vault.snapshots().pop().unwrap();
    assert_eq!((text(&kept, "state"), text(&kept, "proof")), ("suspect".into(), "unproven".into()));
    assert!(vault.restore(&text(&kept, "id")).expect(exit::OK).stdout == odd);
    assert!(vault.restore("shop").expect(exit::OK).stdout == shop(150_000, 0), "the name means a good one");
}

#[test]
fn ls_tells_how_much_of_each_table_is_new() {
    let vault = Vault::new();
    let new_bytes = |name: &str| -> Vec<(String, u64, u64)> {
        let number = |table: &Value, key: &str| table[key].as_u64().unwrap();
        let told = |table: &Value| (text(table, "name"), number(table, "new_bytes"), number(table, "bytes"));
        tables(&vault, name).iter().map(told).collect()
    };
    let dump = shop(3_000_000, 0);
    vault.backup("shop", &dump);
    assert!(new_bytes("shop").iter().all(|(_, new, all)| new == all), "the first time, all of it is new");
    vault.backup("shop", &dump);
    assert!(new_bytes("shop").iter().all(|(_, new, _)| *new == 0), "nothing changed");

    // One byte of one row in the middle, and a few rows of the last table.
    let map = tables(&vault, "shop");
    let largest =
        map.iter().max_by_key(|table| table["bytes"].as_u64()).map(|table| text(table, "name")).unwrap();
    let mut changed = dump.clone();
    let header = changed.windows(4).position(|four| four == b"COPY").unwrap();
    changed[header + 4] = b'\t';
    let digit = (changed.len() / 2..)
        .find(|&at| changed[at].is_ascii_digit() && changed[at + 1].is_ascii_digit())
        .unwrap();
    changed[digit] = if changed[digit] == b'7' { b'8' } else { b'7' };
    vault.backup("shop", &changed);
    let told = new_bytes("shop");
    let touched: Vec<&(String, u64, u64)> = told.iter().filter(|(_, new, _)| *new > 0).collect();
    assert!(matches!(touched.as_slice(), [(name, 1..=300, _)] if *name == largest), "{touched:?}");
    let listed = vault.run(["ls", "shop"]).expect(exit::OK).stdout;
    assert!(String::from_utf8_lossy(&listed).contains("NEW"));

    vault.backup("script", SCRIPT.as_bytes());
    assert_eq!(
        new_bytes("script"),
        [("orders".to_owned(), 6, 6)],
        "three rows, and not the end mark behind them"
    );
    vault.backup("script", SCRIPT.replace("integer", "bigint").replace("\n2\n", "\n2\n77\n").as_bytes());
    assert_eq!(new_bytes("script"), [("orders".to_owned(), 2, 9)], "a row but for its newline, an old one");
}

#[test]
fn a_compressed_dump_is_stored_with_a_warning_that_tells_the_fix() {
    let vault = Vault::new();
    let mut dump = shop(150_000, 0);
    // Up to archive format 1.14, the level of compression stands behind the widths and the format: 0 becomes 6.
    let at = b"PGDMP".len() + 3 + 3;
    assert_eq!(dump[at..at + 5], [0; 5]);
    dump[at + 1] = 6;
    let args = ["backup", "--stdin", "--series", "shop"];
    vault.run_with(args, &dump).expect(exit::OK).says("compressed").says("-Z0");
    let listed = tables(&vault, "shop");
    assert_eq!(table(&listed, "orders")["rows"], Value::Null, "rows of a compressed dump are not known");
    assert!(table(&listed, "orders")["bytes"].as_u64().unwrap() > 0);
    assert_eq!(vault.restore("shop").expect(exit::OK).stdout, dump);
}

#[test]
fn tables_are_listed_with_their_rows_and_bytes() {
    let vault = Vault::new();
    vault.backup("shop", &shop(300_000, 0));
    vault.backup("script", SCRIPT.as_bytes());
    let script = tables(&vault, "script");
    assert_eq!(script.len(), 1);
    let orders = table(&script, "orders");
    assert_eq!(
        (&orders["schema"], &orders["rows"], &orders["bytes"]),
        (&"public".into(), &3.into(), &6.into())
    );
    let shop = tables(&vault, "shop");
    assert!(shop.len() >= 12, "{shop:?}");
    assert!(shop.iter().all(|table| table["rows"].is_u64() && table["stream"] == "shop"));
    let shown = vault.run(["ls", "shop"]).expect(exit::OK).text();
    for name in ["public.orders", "public.order_items", "audit."] {
        let line = shown.lines().find(|line| line.contains(name));
        assert!(name == "audit." || line.is_some(), "{name} is not in\n{shown}");
    }
    let rows = table(&shop, "order_items")["rows"].to_string();
    assert!(shown.lines().any(|line| line.contains("order_items") && line.contains(&rows)), "{shown}");
    // A dump that nobody can look into has no tables.
    vault.backup("other", b"no dump");
    assert!(tables(&vault, "other").is_empty());
}

#[test]
fn two_snapshots_are_compared_table_by_table_without_reading_data() {
    let vault = Vault::new();
    vault.backup("shop", &shop(300_000, 0));
    vault.backup("shop", &shop(300_000, 9));
    let (was, is) = (tables(&vault, "shop~1"), tables(&vault, "shop"));
    // Whatever is needed is in the snapshots: the data can be away.
    std::fs::rename(vault.repo().join("packs"), vault.home().join("packs-away")).unwrap();
    std::fs::create_dir(vault.repo().join("packs")).unwrap();
    let found = vault.run(["diff", "shop~1", "shop", "--json"]).expect(exit::OK).json();
    let changes = found["tables"].as_array().unwrap();
    assert_eq!(changes.len(), is.len());
    for change in changes {
        let name = text(change, "name");
        assert_eq!(change["before"]["rows"], table(&was, &name)["rows"], "{name}");
        assert_eq!(change["after"]["rows"], table(&is, &name)["rows"], "{name}");
    }
    assert!(changes.iter().any(|change| change["change"] == "changed"), "{changes:?}");
    let shown = vault.run(["diff", "shop~1", "shop"]).expect(exit::OK).text();
    assert!(shown.lines().any(|line| line.contains("orders") && line.contains('+')), "{shown}");
}

#[test]
fn tables_and_schemas_that_came_or_went_are_named() {
    let vault = Vault::new();
    vault.backup("db", SCRIPT.as_bytes());
    vault.backup("db", SCRIPT.replace("public.orders", "archive.old_orders").as_bytes());
    let found = vault.run(["diff", "db~1", "db", "--json"]).expect(exit::OK).json();
    let changes: Vec<(String, String)> = found["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (text(change, "name"), text(change, "change")))
        .collect();
    assert_eq!(changes, [("old_orders".into(), "new".into()), ("orders".into(), "gone".into())]);
    assert_eq!(found["schemas_new"][0]["schema"], "archive");
    assert_eq!(found["schemas_gone"][0]["schema"], "public");
    let shown = vault.run(["diff", "db~1", "db"]).expect(exit::OK).text();
    assert!(shown.contains("schema new: archive") && shown.contains("schema gone: public"), "{shown}");
}

#[test]
fn one_small_table_is_restored_by_reading_little_more_than_it() {
    let vault = Vault::new();
    let dump = shop(150_000_000, 0);
    vault.backup("shop", &dump);
    let whole = vault.run(["restore", "shop", "--output", "whole", "--json"]).expect(exit::OK).json();
    let args = ["restore", "shop", "--table", "warehouses", "--output", "part", "--json"];
    let part = vault.run(args).expect(exit::OK).json();
    let bytes = part["bytes_fetched"].as_u64().unwrap();
    let share = bytes as f64 / whole["bytes_fetched"].as_u64().unwrap() as f64;
    let rows = part["tables"][0]["rows"].as_u64().unwrap();
    assert_eq!(text(&part["tables"][0], "name"), "warehouses");
    assert!(rows > 0 && share < 0.03, "{bytes} bytes read, {share} of all");

    // Of packs that hold nothing of the table, not a byte is needed.
    let packs = vault.objects_in("packs");
    let damaged = packs.iter().filter(|key| {
        let path = vault.repo().join(key);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let again = vault.run(args).code == Some(exit::OK);
        std::fs::write(&path, bytes).unwrap();
        !again
    });
    let needed = damaged.count();
    assert!((1..=3).contains(&needed), "{needed} of {} packs are needed", packs.len());
}

#[test]
fn a_part_of_a_dump_is_an_archive_that_can_be_stored_again() {
    let vault = Vault::new();
    vault.backup("shop", &shop(300_000, 0));
    let all = tables(&vault, "shop");
    for (options, names) in [
        (&["--table", "orders", "--bare"][..], &["orders"][..]),
        (&["--table", "public.orders", "--table", "ware*"], &["orders", "warehouses"]),
        (&["--table", "orders", "--schema-only"], &[]),
        (&["--table", "ord*", "--exclude-table", "order_items", "--data-only"], &["orders"]),
    ] {
        let args = [&["restore", "shop", "--output", "part"], options].concat();
        vault.run(args).expect(exit::OK);
        // It is whole by its own structure, or it would be refused.
        let part = std::fs::read(vault.work().join("part")).unwrap();
        let id = vault.backup_with("part", &part, &["--suspect-below", "0"]);
        assert_eq!(text(&vault.snapshot(&id), "proof"), "structure");
        let held = tables(&vault, &id);
        let held_names: Vec<String> = held.iter().map(|table| text(table, "name")).collect();
        assert_eq!(held_names, names, "{options:?}");
        for name in names {
            assert_eq!(table(&held, name)["rows"], table(&all, name)["rows"]);
            assert_eq!(table(&held, name)["bytes"], table(&all, name)["bytes"]);
        }
    }
}

#[test]
fn what_is_not_there_or_cannot_be_taken_apart_is_told() {
    let vault = Vault::new();
    vault.backup("shop", &shop(150_000, 0));
    vault.backup("script", SCRIPT.as_bytes());
    let to = ["--output", "out"];
    let refused = |args: &[&str]| vault.run([&["restore"], args, &to].concat()).expect(exit::USAGE);
    refused(&["shop", "--table", "oders"]).says("oders").says("ls");
    refused(&["shop", "--schema", "nowhere"]).says("nowhere");
    refused(&["shop", "--table", "a.b.c"]);
    refused(&["shop", "--bare"]).says("--table");
    refused(&["script", "--table", "orders"]).says("pg_dump -Fc");
    refused(&["shop", "--schema-only", "--data-only"]);
    assert!(!vault.work().join("out").exists());
    // What a foreign key needs is not there: it is named, and left out.
    let warned = vault.run(["restore", "shop", "--table", "order_items", "--output", "out"]).expect(exit::OK);
    assert!(warned.stderr.contains("skipped FK CONSTRAINT"), "{warned}");
}

#[test]
fn a_dry_run_tells_the_plan_and_restores_nothing() {
    let vault = Vault::new();
    vault.backup("shop", &shop(300_000, 0));
    let args = ["restore", "shop", "--table", "orders", "--output", "out", "--dry-run"];
    let plan = vault.run(args).expect(exit::OK).text();
    assert!(plan.contains("TABLE DATA") && plan.contains("public.orders"), "{plan}");
    assert!(!vault.work().join("out").exists());
    let plan = vault.run([&args[..], &["--json"]].concat()).expect(exit::OK).json();
    assert_eq!(plan["entries"]["TABLE DATA"], 1);
    assert!(plan["bytes"].as_u64().unwrap() < 300_000);
}

/// What a program of this machine makes of some bytes.
fn piped(vault: &Vault, program: &str, input: &[u8]) -> Vec<u8> {
    let file = vault.work().join("plain");
    std::fs::write(&file, input).unwrap();
    std::process::Command::new(program).arg("-c").arg(&file).output().unwrap().stdout
}

#[test]
fn given_a_stream_of_another_kind_then_it_is_called_what_it_is() {
    let vault = Vault::new();
    let shown = |name: &str, bytes: &[u8]| {
        let stored = vault.run_with(["backup", "--stdin", "--series", name], bytes).expect(exit::OK);
        let stream =
            vault.run(["show", name, "--json"]).expect(exit::OK).json()["snapshot"]["streams"][0].clone();
        assert!(vault.restore(name).expect(exit::OK).stdout == bytes);
        (text(&stream, "format"), text(&stream, "proof"), stored)
    };
    let is = |name: &str, bytes: &[u8], format: &str, proof: &str| {
        let (word, found, stored) = shown(name, bytes);
        assert_eq!((word.as_str(), found.as_str()), (format, proof), "{name}");
        stored
    };
    is("json", b"{\"rows\": [1, 2]}\n", "unknown", "unproven");
    is("env", b"HOME=/root\nPATH=/bin\n", "unknown", "unproven");
    is("sql", b"SELECT 1;", "plain-sql", "unproven");
    is("script", SCRIPT.as_bytes(), "plain-sql", "structure");
    let mysql = b"-- MySQL dump 10.13  Distrib 8.0\n\nCREATE TABLE `t` (`a` int);\n-- Dump completed\n";
    is("mysql", mysql, "mysql", "structure");
    for program in ["gzip", "xz", "zstd", "bzip2"] {
        let bytes = piped(&vault, program, SCRIPT.repeat(50).as_bytes());
        is(program, &bytes, program, "structure").says("already compressed");
        let args = ["backup", "--stdin", "--series", program];
        vault.run_with(args, &bytes[..bytes.len() - 3]).expect(exit::NOTHING_DONE).says("cut off");
    }
    let listed = vault.run(["ls", "mysql"]).expect(exit::OK).text();
    assert!(listed.contains("mysql") && listed.contains("structure"), "{listed}");
}

#[test]
fn given_a_script_that_something_changed_on_its_way_then_it_is_told_and_rows_are_counted() {
    let vault = Vault::new();
    let stored = |name: &str, script: &str| {
        vault.run_with(["backup", "--stdin", "--series", name], script.as_bytes()).expect(exit::OK)
    };
    let rows = |name: &str| table(&tables(&vault, name), "orders")["rows"].as_u64();
    for (name, script, said) in [
        ("windows", SCRIPT.replace('\n', "\r\n"), "CR LF"),
        ("marked", format!("\u{feff}{SCRIPT}"), "byte order mark"),
        ("before", format!("pg_dump: warning: it's odd\n{SCRIPT}"), "stand before the dump"),
        ("behind", format!("{SCRIPT}All is well.\n"), "follows the end"),
        ("twice", SCRIPT.repeat(2), "several dumps"),
    ] {
        stored(name, &script).says(said);
        assert_eq!(rows(name), Some(if name == "twice" { 6 } else { 3 }), "{name}");
        assert_eq!(text(&vault.snapshots().pop().unwrap(), "proof"), "structure", "{name}");
    }
    let noise = [b"pg_dump: warning: odd\n", &shop(100_000, 0)[..]].concat();
    let args = ["backup", "--stdin", "--series", "noise"];
    vault.run_with(args, &noise).expect(exit::OK).says("stand before the archive");
    vault.run_with(args, &noise[..noise.len() / 2]).expect(exit::NOTHING_DONE).says("is incomplete");
}
