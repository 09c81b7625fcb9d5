//! Dumps with as many tables as the largest servers have: what is remembered of each is little, and lists are made as
//! they are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit};
use crate::support::independent::python;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};

/// Runs the program behind it and writes down the most memory that it had, in KiB.
const MEASURED: &str = "
import os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
open(sys.argv[1], 'w').write(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status) % 256)
";

fn is_long() -> bool {
    std::env::var_os("DUMPVAULT_TEST_LONG").is_some()
}

struct World {
    vault: Vault,
    tables: u64,
}

impl World {
    /// Runs the program, feeds it with `feed`, and gives the first bytes that it printed and its peak of memory in MiB.
    fn run(&self, args: &[&str], feed: impl FnOnce(&mut dyn Write) + Send) -> (Vec<u8>, u64) {
        let peak = self.vault.work().join("peak");
        let program = self.vault.command(args);
        let mut command = Command::new(python());
        command.arg("-c").arg(MEASURED).arg(&peak).arg(program.get_program()).args(program.get_args());
        command.env_clear().current_dir(self.vault.work());
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut printed = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut input = BufWriter::with_capacity(1 << 20, input);
                feed(&mut input);
                input.flush().unwrap();
            });
            std::io::Read::read_to_end(&mut output, &mut printed).unwrap();
        });
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(exit::OK), "{args:?}");
        let kib: u64 = std::fs::read_to_string(&peak).unwrap().parse().unwrap();
        (printed, kib / 1024)
    }

    fn tell(&self, what: &str, mib: u64) {
        // For the person who reads a long run.
        let _ = writeln!(std::io::stderr(), "{} tables, {what}: {mib} MiB", self.tables);
    }

    /// Runs it and demands that it stays within so many MiB.
    fn within(&self, mib_max: u64, args: &[&str]) -> Vec<u8> {
        let (printed, mib) = self.run(args, |_| ());
        self.tell(&args.join(" "), mib);
        assert!(mib <= mib_max, "{args:?}: {mib} MiB, and {mib_max} are enough");
        printed
    }

    fn back_up(&self, mib_max: u64, feed: impl FnOnce(&mut dyn Write) + Send) {
        let (_, mib) = self.run(&["backup", "--stdin", "--series", "many"], feed);
        self.tell("backup", mib);
        assert!(mib <= mib_max, "backup: {mib} MiB, and {mib_max} are enough");
    }
}

fn name(table: u64) -> String {
    format!("measured_{table:06}")
}

fn int(out: &mut dyn Write, value: i64) {
    out.write_all(&[u8::from(value < 0)]).unwrap();
    out.write_all(&(value.unsigned_abs() as u32).to_le_bytes()).unwrap();
}

fn text(out: &mut dyn Write, text: Option<&str>) {
    int(out, text.map_or(-1, |text| text.len() as i64));
    out.write_all(text.unwrap_or_default().as_bytes()).unwrap();
}

/// An archive as `pg_dump -Fc -Z0` of PostgreSQL 15 writes it, of so many tables of one or two rows each.
fn archive(out: &mut dyn Write, tables: u64, day: u64) {
    out.write_all(b"PGDMP\x01\x0e\x00\x04\x08\x01").unwrap();
    [0, 0, 0, 3, 27, 10, 126, 0].into_iter().for_each(|part| int(out, part));
    ["app", "15.8", "15.8"].into_iter().for_each(|word| text(out, Some(word)));
    int(out, 2 * tables as i64);
    for table in 0..2 * tables {
        let (is_data, at) = (table >= tables, table % tables);
        let (id, oid, named) = (table + 1, 20_000 + at, name(at));
        int(out, id as i64);
        int(out, i64::from(is_data));
        text(out, Some(if is_data { "0" } else { "1259" }));
        text(out, Some(&oid.to_string()));
        text(out, Some(&named));
        text(out, Some(if is_data { "TABLE DATA" } else { "TABLE" }));
        int(out, if is_data { 3 } else { 2 });
        let create = format!("CREATE TABLE public.{named} (\n    id integer NOT NULL,\n    what text\n);\n");
        text(out, (!is_data).then_some(create.as_str()));
        let drop = format!("DROP TABLE public.{named};\n");
        text(out, (!is_data).then_some(drop.as_str()));
        let copy = format!("COPY public.{named} (id, what) FROM stdin;\n");
        text(out, is_data.then_some(copy.as_str()));
        text(out, Some("public"));
        text(out, None);
        text(out, (!is_data).then_some("heap"));
        text(out, Some("app"));
        text(out, Some("false"));
        if is_data {
            text(out, Some(&(at + 1).to_string()));
        }
        text(out, None);
        out.write_all(&[if is_data { 1 } else { 3 }]).unwrap();
        out.write_all(&[0; 8]).unwrap();
    }
    for table in 0..tables {
        let rows = format!("{}\\.\n\n\n", rows(table, day));
        out.write_all(&[1]).unwrap();
        int(out, (tables + table + 1) as i64);
        int(out, rows.len() as i64);
        out.write_all(rows.as_bytes()).unwrap();
        int(out, 0);
    }
}

/// A script of the same.
fn script(out: &mut dyn Write, tables: u64, day: u64) {
    out.write_all(b"--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.8\n\n")
        .unwrap();
    for table in 0..tables {
        write!(out, "COPY public.{} (id, what) FROM stdin;\n{}\\.\n\n\n", name(table), rows(table, day))
            .unwrap();
    }
    out.write_all(b"--\n-- PostgreSQL database dump complete\n--\n\n").unwrap();
}

/// One row; on the second day each thousandth table has another one.
fn rows(table: u64, day: u64) -> String {
    let more = if day > 0 && table % 1000 == 7 { format!("2\tof day {day}\n") } else { String::new() };
    format!("1\trow of {table}\n{more}")
}

/// How much memory is enough, in MiB.
struct Bounds {
    backup: u64,
    list: u64,
    part: u64,
}

/// As many as a server may have; or fewer, within less. The program is not optimised here: it has more code in memory.
fn bounds() -> Bounds {
    match is_long() {
        true => Bounds { backup: 256, list: 256, part: 256 },
        false => Bounds { backup: 90, list: 64, part: 90 },
    }
}

fn lists_and_comparisons_stay_small(tables: u64, feed: impl Fn(&mut dyn Write, u64, u64) + Sync) -> World {
    let world = World { vault: Vault::new(), tables };
    let Bounds { backup, list, .. } = bounds();
    world.back_up(backup, |out| feed(out, tables, 0));
    world.back_up(backup, |out| feed(out, tables, 1));
    for command in [&["show", "many"][..], &["stats"], &["check"], &["snapshots"]] {
        world.within(list, command);
    }
    let listed = world.within(list, &["ls", "many"]);
    assert_eq!(listed.iter().filter(|byte| **byte == b'\n').count() as u64, tables + 5);
    let listed: serde_json::Value =
        serde_json::from_slice(&world.within(list, &["ls", "many", "--json"])).unwrap();
    let found = listed["tables"].as_array().unwrap();
    assert_eq!((found.len() as u64, found[7]["rows"].as_u64()), (tables, Some(2)));
    assert_eq!(found[8]["name"], name(8));
    let diff = ["diff", "many~1", "many"];
    let told = String::from_utf8(world.within(list, &diff)).unwrap();
    let differ = tables / 1000;
    let end = format!("{differ} tables differ in rows or bytes, {} do not", tables - differ);
    assert!(told.contains(&end), "{told:.1000}");
    let told = world.within(list, &[&diff[..], &["--json"]].concat());
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    let changed = told["tables"].as_array().unwrap().iter().filter(|it| it["change"] == "changed");
    assert_eq!(changed.count() as u64, differ);
    world
}

#[test]
fn an_archive_of_very_many_tables_is_stored_listed_and_compared_in_little_memory() {
    let world = lists_and_comparisons_stay_small(if is_long() { 900_000 } else { 90_000 }, archive);
    // The table of contents is in memory, compressed: as it is, it has some 470 bytes for a table.
    let Bounds { part, .. } = bounds();
    let file = world.vault.work().join("part.dump");
    let one = ["restore", "many", "--table", &name(7), "--output", file.to_str().unwrap()];
    world.within(part, &one);
    let part_of_it = std::fs::read(&file).unwrap();
    assert!(part_of_it.windows(18).any(|bytes| bytes == b"1\trow of 7\n2\tof da"));
    let planned = String::from_utf8(world.within(part, &["restore", "many", "--dry-run"])).unwrap();
    assert!(planned.contains(&format!("{} TABLE DATA", world.tables)), "{planned:.1000}");
    let plan = |options: &[&str]| world.within(part, &[&["restore", "many", "--dry-run"], options].concat());
    let listed: serde_json::Value = serde_json::from_slice(&plan(&["--json"])).unwrap();
    assert_eq!(listed["tables"].as_array().unwrap().len() as u64, world.tables);
    assert!(String::from_utf8(plan(&["--table", &name(7)])).unwrap().contains("     1 TABLE DATA"));
    let others = String::from_utf8(plan(&["--exclude-table", &name(7)])).unwrap();
    assert!(others.contains(&format!("{} TABLE DATA", world.tables - 1)), "{others:.1000}");
}

#[test]
fn a_script_of_very_many_tables_is_stored_listed_and_compared_in_little_memory() {
    lists_and_comparisons_stay_small(if is_long() { 900_000 } else { 90_000 }, script);
}
