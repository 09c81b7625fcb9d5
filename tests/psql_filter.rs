//! The filter of scripts against the real psql: what psql would run, the filter has refused; what `pg_dump` writes passes.
//!
//! `DUMPVAULT_TEST_SEED` replays; `DUMPVAULT_TEST_LONG` tries many more scripts.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test that cannot go on fails")]

#[allow(dead_code)]
#[path = "support/pg.rs"]
mod pg;
#[allow(dead_code)]
#[path = "support/small.rs"]
mod small;

use dumpvault::source::postgres::{FilterError, Reason, ScriptFilter, ScriptRefused, SessionSettings};
use pg::Server;
use small::Dice;
use std::io::Write;
use std::process::Stdio;

/// What psql prints when it runs a command of a script.
const MARK: &str = "psql-ran-this";

fn settings() -> SessionSettings {
    SessionSettings { conforming: Some(true), encoding: "UTF8".into() }
}

/// What the filter lets through, whatever pieces the script comes in.
fn filtered(script: &[u8], dice: &mut Dice) -> Result<Vec<u8>, ScriptRefused> {
    let mut filter = ScriptFilter::new("target", &settings());
    let mut out = Vec::new();
    let mut take = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let mut rest = script;
    let mut outcome = Ok(());
    while outcome.is_ok() && !rest.is_empty() {
        let (piece, behind) = rest.split_at(dice.below(rest.len() as u64 + 1) as usize);
        outcome = filter.push(piece, &mut take);
        rest = behind;
    }
    match outcome.and_then(|()| filter.finish(&mut take)) {
        Ok(()) => Ok(out),
        Err(FilterError::Refused(refused)) => Err(refused),
        Err(FilterError::Io(error)) => panic!("{error}"),
    }
}

fn judged(script: &str) -> Result<Vec<u8>, ScriptRefused> {
    filtered(script.as_bytes(), &mut Dice(1))
}

/// What psql prints and says of a script; `stops` at the first error, as in a restore.
fn run(server: &Server, database: &str, script: &[u8], stops: bool) -> (String, String) {
    let mut psql = server.client("psql");
    psql.args(["-X", "-q", "-o", "/dev/null", "-f", "-", "-d", database]);
    if stops {
        psql.args(["-v", "ON_ERROR_STOP=1"]);
    }
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = psql.stdin.take().unwrap();
    // It may have stopped at an error.
    let _ = stdin.write_all(script);
    drop(stdin);
    let output = psql.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

// --- scripts made at random

/// Pieces that decide how what follows is read.
const PIECES: &[&[u8]] = &[
    b"'", b"'", b"''", b"\\'", b"\\", b"\\\\", b"\"", b"\"\"", b"E'", b" e'", b"U&'", b"u&\"", b" b'", b" x'", b"n'",
    b"$$", b"$a$", b"$b$", b"$", b"$1", b"$a", b"--", b"--", b"/*", b"*/", b"/", b"*", b"-", b"\n", b"\n", b"\n", b"\r\n",
    b"\r", b" ", b" ", b"\t", b"\x0b", b";", b";\n", b";\n", b"(", b")", b":", b"::", b":'a'", b":\"b\"", b":c", b":USER",
    b":{?a}", b"a", b"1", b"1e", b"1.", b"_", b"x1", b"0x1", b"select ", b"select '", b" begin ", b" end ", b" case ",
    b" atomic ", b"create function f() ", b"create or replace procedure ", b"\x95\\", b"\x8f", b"\x95", b"\x950",
    b"\xe2\x82\xac", b"\xe2\x82\xac'", b"\xc3\xa9", b"\xc3\xa9'", b"'\\'", b"'a\\''", b"\\.\n", b"\\;", b"+", b"&", b"|",
    b"set standard_conforming_strings = off;\n", b"set standard_conforming_strings = on;\n",
    b"select set_config('standard_conforming_strings', 'off', false);\n",
    b"select set_config('standard_conforming_strings', 'on', false);\n",
    b"set client_encoding = 'SJIS';\n", b"set client_encoding to big5;\n", b"set names 'UTF8';\n",
    b"select set_config('client_encoding', 'GB18030', false);\n", b"select set_config('client_encoding', 'JOHAB', false);\n",
    b"select set_config('client_encoding', 'UTF8', false);\n", b"\\encoding GBK\n", b"\\encoding UTF8\n", b"reset all;\n",
];

fn soup(dice: &mut Dice, pieces: u64) -> Vec<u8> {
    let mut script = Vec::new();
    for _ in 0..pieces {
        match dice.below(8) {
            0 => script.extend_from_slice(format!("\\echo {MARK}\n").as_bytes()),
            _ => script.extend_from_slice(PIECES[dice.below(PIECES.len() as u64) as usize]),
        }
    }
    script
}

/// A script of statements that a server takes, most of them, with the mark where a dump may have it: in strings, comments, rows.
fn plausible(dice: &mut Dice) -> Vec<u8> {
    let mut script = Vec::new();
    for _ in 0..1 + dice.below(6) {
        let soup = {
            let pieces = dice.below(4);
            soup(dice, pieces)
        };
        let fill = String::from_utf8_lossy(&soup).into_owned();
        let flat = fill.replace(['\'', '"', '\\', '$'], "");
        let statement = match dice.below(16) {
            0 => format!("select '{}\\echo {MARK}\n{flat}';\n", fill.replace('\'', "''")),
            1 => format!("select E'\\\\echo {MARK}\\'\n{flat}';\n"),
            2 => format!("select '\\'';\n\\echo {MARK}\n--';\n"),
            3 => format!("select $q${fill}\n\\echo {MARK}\n$q$;\n"),
            4 => format!("-- {flat}\n/* {flat} \n\\echo {MARK}\n*/;\n"),
            5 => format!("copy t from stdin;\n{flat}\n\\\\echo {MARK}\n\\N\n\\.\n"),
            6 => format!("copy public.t (a) from stdin with (format csv);\n\"{flat}\"\n\\echo {MARK}\n\\.\n"),
            7 => format!("COPY t FROM stdin;\n\\echo {MARK}\n\\.\r\n"),
            8 => format!("copy s from '/dev/null' where b is distinct from stdin;\n\\echo {MARK}\n\\.\n"),
            9 => format!("create or replace function f() returns int begin atomic select case when true then 1 end; end;\ncopy t from stdin;\n\\echo {MARK}\n\\.\n"),
            10 => "select set_config('standard_conforming_strings', 'off', false);\n".into(),
            11 => "do $$ begin perform set_config('client_encoding', 'SJIS', false); end $$;\n".into(),
            12 => format!("select 'a'\n'\\echo {MARK}\n';\n"),
            13 => "set standard_conforming_strings = off;\n".into(),
            14 => format!("comment on table t is 'caf\u{e9}'; copy t from stdin;\n\\echo {MARK}\n\\.\n"),
            _ => format!("create rule r{} as on insert to t do also (select 1; select '\\echo {MARK}\n');\n", dice.below(99)),
        };
        script.extend_from_slice(statement.as_bytes());
        if dice.one_in(6) {
            script.extend_from_slice(&soup);
        }
        if dice.one_in(12) && !script.is_empty() {
            let at = dice.below(script.len() as u64) as usize;
            script.remove(at);
        }
    }
    script
}

/// Tries scripts that the filter lets through, and that hold the mark.
fn try_scripts(count: u64, stops: bool, make: impl Fn(&mut Dice) -> Vec<u8>) {
    let server = Server::shared();
    let database = if stops { "rows" } else { "soup" };
    server.create(database);
    server.psql(database, "CREATE TABLE t (a text); CREATE TABLE s (b text, stdin text)");
    let seed = std::env::var("DUMPVAULT_TEST_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 32);
    let (mut tried, mut turn, mut guarded) = (0, 0, 0);
    while tried < count {
        let mut dice = Dice(seed ^ turn);
        turn += 1;
        let script = make(&mut dice);
        if memchr::memmem::find(&script, MARK.as_bytes()).is_none() {
            continue;
        }
        let Ok(passed) = filtered(&script, &mut dice) else { continue };
        tried += 1;
        guarded += u64::from(passed.len() > script.len());
        let passed = if stops { [b"BEGIN;\n", &passed[..]].concat() } else { passed };
        let (out, err) = run(&server, database, &passed, stops);
        assert!(
            !out.contains(MARK),
            "seed {seed}, turn {}: psql ran a command that the filter let through:\n{}\n---\n{err}",
            turn - 1,
            passed.escape_ascii()
        );
    }
    eprintln!("{tried} of {turn} scripts passed the filter, {guarded} of them guarded");
}

fn long() -> bool {
    std::env::var_os("DUMPVAULT_TEST_LONG").is_some()
}

#[test]
fn psql_reads_strings_names_and_comments_as_the_filter_does() {
    try_scripts(if long() { 40_000 } else { 300 }, false, |dice| {
        let pieces = 2 + dice.below(14);
        soup(dice, pieces)
    });
}

#[test]
fn psql_reads_statements_and_rows_as_the_filter_does() {
    try_scripts(if long() { 20_000 } else { 300 }, true, plausible);
}
