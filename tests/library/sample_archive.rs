//! The sample is an archive to PostgreSQL too, not only to this crate: pg_restore must be installed (PATH or
//! /usr/lib/postgresql/N/bin), or these tests fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use dumpvault::source::sample::{SampleConfig, SampleDump};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

/// The newest pg_restore of the machine.
fn pg_restore() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut majors: Vec<_> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin/pg_restore")))
        })
        .filter(|(_, program)| program.exists())
        .collect();
    majors.sort();
    majors.pop().map_or_else(|| PathBuf::from("pg_restore"), |(_, program)| program)
}

/// Feeds the dump to `pg_restore` over a pipe and returns what it prints.
fn restored(config: SampleConfig, args: &[&str]) -> String {
    let mut child = Command::new(pg_restore())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pg_restore must be installed for this test");
    let mut stdin = child.stdin.take().unwrap();
    let feeder = thread::spawn(move || io::copy(&mut SampleDump::new(config).unwrap(), &mut stdin));
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    // pg_restore -l hangs up behind the table of contents, so a broken pipe is no failure: its exit code tells.
    let _ = feeder.join().unwrap();
    assert!(child.wait().unwrap().success(), "pg_restore {args:?}");
    printed
}

#[test]
fn pg_restore_lists_every_table_of_the_sample() {
    let config = SampleConfig::new(42, 300_000).day(2);
    let list = restored(config, &["-l"]);
    assert!(list.contains("Dump Version: 1.14-0"), "{list}");
    assert!(list.contains("Archive created at 2026-03-03"), "{list}");
    for table in SampleDump::new(config).unwrap().tables() {
        for kind in ["TABLE", "TABLE DATA"] {
            let entry = format!(" {kind} {} {} shop\n", table.schema, table.name);
            assert!(list.contains(&entry), "no{entry} in\n{list}");
        }
    }
}

#[test]
fn pg_restore_prints_exactly_the_rows_that_were_announced() {
    for day in [0, 9] {
        let config = SampleConfig::new(42, 3_000_000).day(day);
        let script = restored(config, &["-f", "-"]);
        let mut rows = HashMap::new();
        let mut table = None;
        for line in BufReader::new(script.as_bytes()).lines() {
            let line = line.unwrap();
            if let Some(copy) = line.strip_prefix("COPY ") {
                let name = copy.split(' ').next().unwrap().to_owned();
                rows.insert(name.clone(), 0u64);
                table = Some(name);
            } else if line == "\\." {
                table = None;
            } else if let Some(name) = &table {
                *rows.get_mut(name).unwrap() += 1;
            }
        }
        let announced: HashMap<_, _> = SampleDump::new(config)
            .unwrap()
            .tables()
            .map(|table| (format!("{}.{}", table.schema, table.name), table.rows))
            .collect();
        assert_eq!(rows, announced, "day {day}");
    }
}
