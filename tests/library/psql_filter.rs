//! The filter of scripts against the real psql: what psql would run, the filter has refused; what `pg_dump` writes
//! passes.
//!
//! `DUMPVAULT_TEST_SEED` replays; `DUMPVAULT_TEST_LONG` tries many more scripts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use crate::support::pg::Server;
use crate::support::small::Dice;
#[allow(dead_code)]
use dumpvault::source::postgres::{FilterError, Reason, ScriptFilter, ScriptRefused, SessionSettings};
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

// --- what is refused, and what passes

#[test]
fn commands_of_psql_are_refused_wherever_they_stand() {
    let copy = "COPY t FROM stdin;\n1\n\\.\n";
    for (script, line, name) in [
        ("\\! id\n", 1, "\\!"),
        ("SELECT 1; \\! id\n", 1, "\\!"),
        ("SELECT 1\n\\gexec\n", 2, "\\gexec"),
        ("SELECT 1\\; SELECT 2;\n", 1, "\\;"),
        ("\\copy t FROM PROGRAM 'id'\n", 1, "\\copy"),
        ("\\i /etc/passwd\n", 1, "\\i"),
        ("\\restrict `id`\n", 1, "\\restrict"),
        ("\\unrestrict a \\! id\n", 1, "\\unrestrict"),
        ("SELECT 1 \\encoding UTF8\n", 1, "\\encoding"),
        ("\\encoding `id`\n", 1, "\\encoding"),
        ("\\if true\n", 1, "\\if"),
        ("SELECT E'\\\\'; \\! id\n", 1, "\\!"),
        ("SELECT $a$ $b$ $a$ \\! id\n", 1, "\\!"),
        ("/* /* */ \\x */ \\! id\n", 1, "\\!"),
        ("-- comment\r\n\\! id\n", 2, "\\!"),
        (&format!("{copy}\\! id\n"), 4, "\\!"),
        ("COPY t TO stdout;\n\\! id\n\\.\n", 2, "\\!"),
        ("COPY s FROM '/x' WHERE b IS DISTINCT FROM stdin;\n\\! id\n\\.\n", 2, "\\!"),
        ("\\!", 1, "\\!"),
        ("SELECT 1 \\.\n", 1, "\\."),
    ] {
        let refused = judged(script).unwrap_err();
        assert_eq!((refused.line, refused.reason), (line, Reason::Command(name.into())), "{script}");
    }
}

#[test]
fn scripts_that_leave_the_database_are_refused() {
    for script in [
        "\\connect other\n",
        "\\c target postgres\n",
        "\\connect -reuse-previous=on \"dbname='other'\"\n",
        "\\connect \"host=elsewhere dbname=target\"\n",
        "\\connect\n",
    ] {
        assert!(matches!(judged(script).unwrap_err().reason, Reason::Connect(_)), "{script}");
    }
    for script in ["CREATE DATABASE target;\n", "drop /* */ database target;"] {
        assert_eq!(judged(script).unwrap_err().reason, Reason::OwnDatabase, "{script}");
    }
    for script in ["\\connect target\n", "\\connect -reuse-previous=on \"dbname='target'\"\n"] {
        assert_eq!(judged(&format!("SELECT 1;\n{script}SELECT 2;\n")).unwrap(), b"SELECT 1;\n\nSELECT 2;\n");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for script in [
        "SELECT 1;\rSELECT 2;\n",
        "-- a\rb\n",
        "COPY t FROM stdin; SELECT 1;\n",
        "COPY t FROM :file;\n",
        "CREATE FUNCTION begin() RETURNS int AS 'SELECT 1' LANGUAGE sql;\n",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS begin; END; COPY t FROM stdin; END;\n",
        "SELECT 'a'\n'\\';\n",
        "SELECT 1E'a';\n",
        "SELECT 1e--2;\n",
        "SELECT $1$a$;\n",
        "RESET ALL; SELECT '\\';\n",
        "SET client_encoding = 'x'; SELECT '\u{e9}';\n",
    ] {
        assert!(matches!(judged(script).unwrap_err().reason, Reason::Ambiguous(_)), "{script}");
    }
    assert_eq!(judged("SELECT :USER;").unwrap_err().reason, Reason::Variable("USER".into()));
    assert_eq!(judged("SELECT 1;\0").unwrap_err().reason, Reason::NotText);
}

#[test]
fn a_statement_that_settings_decide_goes_out_behind_them() {
    for (script, passes) in [
        ("SELECT 'it''s';\n", "SELECT 'it''s';\n"),
        ("SELECT '\\x00';\n", "SELECT '\\x00';\n"),
        ("SELECT 'C:\\';\n", "SET standard_conforming_strings = on;\nSELECT 'C:\\';\n"),
        ("SELECT 'f\u{fc}r';\n", "SELECT 'f\u{fc}r';\n"),
        ("SELECT 'caf\u{e9}';\n", "SET client_encoding = 'utf8';\nSELECT 'caf\u{e9}';\n"),
        (
            "SELECT 1; SELECT '\u{20ac}\\';\n",
            "SELECT 1;\nSET standard_conforming_strings = on;SET client_encoding = 'utf8';\n SELECT '\u{20ac}\\';\n",
        ),
        (
            "SET standard_conforming_strings = off;\nSELECT 'it\\'s';\n",
            "SET standard_conforming_strings = off;\nSET standard_conforming_strings = off;\nSELECT 'it\\'s';\n",
        ),
        (
            "SET client_encoding = 'BIG5';\nSELECT '\u{20ac}\\' \u{20ac}';\n",
            "SET client_encoding = 'BIG5';\nSET client_encoding = 'big5';\nSELECT '\u{20ac}\\' \u{20ac}';\n",
        ),
        ("\u{feff}SELECT 1;\r\n", "SELECT 1;\r\n"),
        (
            "COPY t FROM stdin;\r\n\\! id\r\n\\.\r\nSELECT 1;\r\n",
            "COPY t FROM stdin;\r\n\\! id\r\n\\.\r\nSELECT 1;\r\n",
        ),
    ] {
        let passed = judged(script).unwrap();
        assert_eq!(String::from_utf8_lossy(&passed), passes);
    }
    // A long statement is not held back as a whole.
    let long = format!("SELECT '{}', 'C:\\';\n", "x".repeat(1 << 20));
    let passed = judged(&long).unwrap();
    assert!(
        passed.starts_with(b"SET standard_conforming_strings = on;SET client_encoding = 'utf8';\nSELECT")
    );
    assert!(passed.ends_with(b"xx', 'C:\\';\n"));
}

/// Whatever a person may have in a database.
const ODD: &str = r#"
CREATE TABLE public."odd \ ""name""" (id int PRIMARY KEY, "c:\" text DEFAULT 'C:\', list int[], bytes bytea);
COMMENT ON TABLE public."odd \ ""name""" IS 'Der Pfad C:\
\! touch /tmp/x
-- \connect postgres';
INSERT INTO "odd \ ""name""" SELECT i, E'back\\slash\t\n\\! id\n\\.\n''quote\r ' || i, ARRAY[i, 2, 3], '\x5c27' FROM generate_series(1, 200) i;
CREATE TABLE kanji (t text CHECK (t <> '表\'));
INSERT INTO kanji VALUES ('表'), ('ソース'), ('功能'), ('表''\'), ('“quoted”'), ('café');
COMMENT ON TABLE kanji IS '表';
CREATE VIEW slices AS SELECT list[1:id] AS a, list[:2] AS b, replace("c:\", '\', '/') AS c FROM "odd \ ""name""";
CREATE FUNCTION body() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN 'C:\' LIKE 'x\%' ESCAPE '\' THEN 1 ELSE 2 END; END;
CREATE FUNCTION plain() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN $$ \! id $$ || 'C:\'; /* ' */ END $f$;
CREATE PROCEDURE proc() LANGUAGE sql AS 'SELECT E''\\''; SELECT 1';
CREATE RULE two AS ON UPDATE TO kanji DO ALSO (SELECT 1; SELECT ';\');
SELECT lo_from_bytea(0, '\x5c00');
"#;

#[test]
fn what_pg_dump_writes_passes_and_is_restored_the_same() {
    let server = Server::shared();
    server.create("odd");
    server.psql("odd", ODD);
    let ways: [&[&str]; 7] = [
        &[],
        &["--inserts"],
        &["--column-inserts", "--rows-per-insert=50", "--quote-all-identifiers"],
        &["--encoding=SJIS", "--exclude-table=odd*", "--exclude-table=slices"],
        &["--encoding=SJIS", "--inserts", "--table=kanji"],
        &["--encoding=GB18030", "--inserts", "--table=kanji"],
        &["--clean", "--if-exists"],
    ];
    // Not every letter is in every encoding.
    for (number, options) in ways.iter().enumerate() {
        if options.iter().any(|option| option.starts_with("--encoding")) {
            server.psql("odd", "DELETE FROM kanji WHERE t ~ '[“é功]'");
        }
        let script = server.dump("odd", &[&["-Fp"], *options].concat());
        let mut dice = Dice(number as u64);
        let passed = filtered(&script, &mut dice).unwrap();
        let database = format!("odd{number}");
        server.create(&database);
        let (_, err) = run(&server, &database, &passed, true);
        assert!(!err.contains("ERROR"), "{options:?}: {err}");
        let count = "SELECT md5(string_agg(t, ',' ORDER BY t)) FROM kanji";
        assert_eq!(server.psql(&database, count), server.psql("odd", count), "{options:?}");
    }
    for unlike in ["odd0", "odd1"] {
        server.psql("odd", "TRUNCATE kanji");
        server.psql(unlike, "TRUNCATE kanji");
        assert_eq!(server.dump_plain(unlike), server.dump_plain("odd"));
    }
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
    b"'",
    b"'",
    b"''",
    b"\\'",
    b"\\",
    b"\\\\",
    b"\"",
    b"\"\"",
    b"E'",
    b" e'",
    b"U&'",
    b"u&\"",
    b" b'",
    b" x'",
    b"n'",
    b"$$",
    b"$a$",
    b"$b$",
    b"$",
    b"$1",
    b"$a",
    b"--",
    b"--",
    b"/*",
    b"*/",
    b"/",
    b"*",
    b"-",
    b"\n",
    b"\n",
    b"\n",
    b"\r\n",
    b"\r",
    b" ",
    b" ",
    b"\t",
    b"\x0b",
    b";",
    b";\n",
    b";\n",
    b"(",
    b")",
    b":",
    b"::",
    b":'a'",
    b":\"b\"",
    b":c",
    b":USER",
    b":{?a}",
    b"a",
    b"1",
    b"1e",
    b"1.",
    b"_",
    b"x1",
    b"0x1",
    b"select ",
    b"select '",
    b" begin ",
    b" end ",
    b" case ",
    b" atomic ",
    b"create function f() ",
    b"create or replace procedure ",
    b"\x95\\",
    b"\x8f",
    b"\x95",
    b"\x950",
    b"\xe2\x82\xac",
    b"\xe2\x82\xac'",
    b"\xc3\xa9",
    b"\xc3\xa9'",
    b"'\\'",
    b"'a\\''",
    b"\\.\n",
    b"\\;",
    b"+",
    b"&",
    b"|",
    b"set standard_conforming_strings = off;\n",
    b"set standard_conforming_strings = on;\n",
    b"select set_config('standard_conforming_strings', 'off', false);\n",
    b"select set_config('standard_conforming_strings', 'on', false);\n",
    b"set client_encoding = 'SJIS';\n",
    b"set client_encoding to big5;\n",
    b"set names 'UTF8';\n",
    b"select set_config('client_encoding', 'GB18030', false);\n",
    b"select set_config('client_encoding', 'JOHAB', false);\n",
    b"select set_config('client_encoding', 'UTF8', false);\n",
    b"\\encoding GBK\n",
    b"\\encoding UTF8\n",
    b"reset all;\n",
];

/// Settings changed behind the filter's back, as any function of a script may do it.
const HIDDEN: &[&str] = &[
    "select set_config('standard_conforming_strings', 'off', false);\n",
    "do $$ begin perform set_config('client_encoding', 'SJIS', false); end $$;\n",
    "do $$ begin perform set_config('client_encoding', 'BIG5', false); end $$;\n",
    "do $$ begin perform set_config('client_encoding', 'GB18030', false); end $$;\n",
    "do $$ begin perform set_config('client_encoding', 'JOHAB', false); end $$;\n",
    "",
];

fn soup(dice: &mut Dice, pieces: u64) -> Vec<u8> {
    let mut script = HIDDEN[dice.below(HIDDEN.len() as u64) as usize].as_bytes().to_vec();
    for _ in 0..pieces {
        match dice.below(8) {
            0 => script.extend_from_slice(format!("\\echo {MARK}\n").as_bytes()),
            _ => script.extend_from_slice(PIECES[dice.below(PIECES.len() as u64) as usize]),
        }
    }
    script
}

/// A script of statements that a server takes, most of them, with the mark where a dump may have it: in strings,
/// comments, rows.
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
            9 => format!(
                "create or replace function f() returns int begin atomic select case when true then 1 end; end;\ncopy t from stdin;\n\\echo {MARK}\n\\.\n"
            ),
            10 => "select set_config('standard_conforming_strings', 'off', false);\n".into(),
            11 => "do $$ begin perform set_config('client_encoding', 'SJIS', false); end $$;\n".into(),
            12 => format!("select 'a'\n'\\echo {MARK}\n';\n"),
            13 => "set standard_conforming_strings = off;\n".into(),
            14 => format!("comment on table t is 'caf\u{e9}'; copy t from stdin;\n\\echo {MARK}\n\\.\n"),
            _ => format!(
                "create rule r{} as on insert to t do also (select 1; select '\\echo {MARK}\n');\n",
                dice.below(99)
            ),
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
