//! Scripts that are restored or verified: nothing in them runs on this machine, and nothing leaves the database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli::{Output, Vault, exit, run};
use crate::support::pg::Server;

/// Refused by a safety rule.
const REFUSED: i32 = 6;

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    fn new() -> Self {
        let world = Self { server: Server::start(), vault: Vault::new() };
        world.server.create("app");
        world.server.psql("app", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS a");
        world
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.vault.command(args);
        self.server.reached_by(&mut command, "postgres");
        run(command, b"")
    }

    fn databases(&self) -> String {
        self.server.psql("postgres", "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database")
    }

    fn roles(&self) -> String {
        self.server.psql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'dumpvault%'")
    }

    fn plain(&self, options: &[&str]) -> String {
        String::from_utf8(self.server.dump("app", &[&["-Fp"], options].concat())).unwrap()
    }
}

// One server for all: starting one takes longer than everything that is done with it.

#[test]
fn nothing_in_a_script_runs_where_it_is_restored() {
    let world = World::new();
    a_shell_command_is_refused_before_anything_is_touched(&world);
    a_long_script_is_refused_on_its_way_and_rolled_back(&world);
    a_script_that_chooses_its_database_is_refused(&world);
    a_script_of_a_whole_server_is_neither_restored_nor_called_verified(&world);
    a_series_that_becomes_a_script_is_asked_about(&world);
    scripts_from_other_systems_are_restored(&world);
    text_that_is_no_sql_is_not_fed_to_psql(&world);
    what_cannot_be_compared_is_not_called_verified(&world);
    a_dump_is_tried_out_without_the_rights_of_a_superuser(&world);
}

fn a_shell_command_is_refused_before_anything_is_touched(world: &World) {
    let proof = world.vault.work().join("ran");
    let command = format!("\n\\! touch {}\nCREATE TABLE", proof.display());
    // A forger leaves out what would restrict psql.
    let free = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    let script: String = world.plain(&[]).lines().filter(free).map(|line| format!("{line}\n")).collect();
    let script = script.replacen("\nCREATE TABLE", &command, 1);
    let line = script.lines().position(|line| line.starts_with("\\!")).unwrap() + 1;
    world.vault.backup("forged", script.as_bytes());
    let before = world.databases();
    for args in [&["restore", "forged", "--to-database", "new", "--create"][..], &["verify", "forged"]] {
        let said = world.run(args).expect(REFUSED);
        said.says(&format!("psql command `\\!` in line {line}")).says("--allow-psql-commands");
    }
    assert!(!proof.exists(), "a script ran a shell");
    assert_eq!(world.databases(), before);
    let args = ["restore", "forged", "--to-database", "new", "--create", "--allow-psql-commands"];
    world.run(&args).expect(exit::OK);
    assert!(proof.exists(), "the flag allows it");
}

fn a_long_script_is_refused_on_its_way_and_rolled_back(world: &World) {
    let proof = world.vault.work().join("ran-late");
    let rows: String = (0..900_000).map(|i| format!("{i} of many\n")).collect();
    let script = format!(
        "CREATE TABLE long (t text);\nCOPY long FROM stdin;\n{rows}\\.\nSELECT 1 \\! touch {}\n",
        proof.display()
    );
    assert!(script.len() > 8 << 20);
    world.vault.backup("long", script.as_bytes());
    world.server.create("there");
    let said = world.run(&["restore", "long", "--to-database", "there"]).expect(REFUSED);
    said.says("psql command `\\!` in line 900004").says("`there` is unchanged");
    let said = world.run(&["restore", "long", "--to-database", "made", "--create"]).expect(REFUSED);
    said.says("dropped database");
    assert!(!world.server.has("made") && !proof.exists());
}

fn a_script_that_chooses_its_database_is_refused(world: &World) {
    let own = world.plain(&["-C"]);
    let elsewhere: String = own
        .lines()
        .filter(|line| !line.starts_with("CREATE DATABASE"))
        .map(|line| format!("{line}\n"))
        .collect();
    world.server.create("scratch");
    for (series, script, words) in [
        ("elsewhere", elsewhere.as_str(), "connects to database `app` by itself"),
        ("own", own.as_str(), "connects to database `app` by itself"),
        ("makes", "CREATE DATABASE other;\nCREATE TABLE x ();\n", "CREATE or DROP DATABASE in line 1"),
        ("hops", "CREATE TABLE x ();\n\\connect app\nDROP TABLE t;\n", "`\\connect app`"),
    ] {
        world.vault.backup(series, script.as_bytes());
        let said = world.run(&["restore", series, "--to-database", "scratch"]).expect(REFUSED);
        said.says(words).says("dumpvault cat SNAPSHOT | psql");
        world.run(&["verify", series]).expect(REFUSED);
    }
    assert_eq!(world.server.psql("app", "SELECT count(*) FROM t"), "1000");
    assert_eq!(
        world.server.psql("scratch", "SELECT count(*) FROM pg_class WHERE relname IN ('t', 'x')"),
        "0"
    );
    // Into the database that it names, its \connect changes nothing.
    world.server.psql("postgres", "ALTER DATABASE app RENAME TO kept");
    world.server.create("app");
    world.run(&["restore", "elsewhere", "--to-database", "app"]).expect(exit::OK);
    assert_eq!(world.server.psql("app", "SELECT count(*) FROM t"), "1000");
}

fn a_script_of_a_whole_server_is_neither_restored_nor_called_verified(world: &World) {
    let mut all = world.server.client("pg_dumpall");
    let script = all.output().unwrap().stdout;
    world.vault.backup("all", &script);
    let before = world.databases();
    let said = world.run(&["restore", "all", "--to-database", "target", "--create"]).expect(REFUSED);
    said.says("the script of pg_dumpall").says("dumpvault cat SNAPSHOT | psql");
    assert_eq!(world.databases(), before);
    world.run(&["verify", "all"]).expect(exit::USAGE).says("nothing to verify in snapshot");
    let json = world.run(&["--json", "verify", "all"]).expect(exit::USAGE).json();
    assert_eq!(json["exit_code"], 3, "{json}");
}

fn a_series_that_becomes_a_script_is_asked_about(world: &World) {
    let archive = world.server.dump("app", &["-Fc", "-Z0"]);
    let genuine = world.vault.backup("turned", &archive);
    world.run(&["verify", "turned"]).expect(exit::OK);
    // As long as the archive: a much shorter one is suspect anyway.
    let padding = format!("\n{}SET ", "-- padding\n".repeat(600));
    let script = world.plain(&[]).replacen("\nSET ", &padding, 1);
    for _ in 0..2 {
        world
            .vault
            .backup("turned", script.replacen("padding", &world.vault.ids().len().to_string(), 1).as_bytes());
        // The second one follows a script, but the newest verified snapshot still is an archive.
        for args in [
            &["restore", "turned", "--to-database", "turned", "--create", "--yes"][..],
            &["verify", "turned"],
        ] {
            let said = world.run(args).expect(REFUSED).says("the kind of dump in series `turned` changed");
            said.says(&genuine[..8]).says("a pg_dump archive").says("--accept-change");
        }
        assert!(!world.server.has("turned"));
    }
    let said = world.run(&["restore", "turned", "--output", "out.sql"]).expect(exit::OK);
    said.says("the kind of dump in series `turned` changed");
    world.run(&["verify", "turned", "--accept-change"]).expect(exit::OK);
    world.run(&["verify", &genuine]).expect(exit::OK).does_not_say("the kind of dump");
    let args = ["restore", "turned", "--to-database", "turned", "--create", "--accept-change"];
    world.run(&args).expect(exit::OK);
}

fn scripts_from_other_systems_are_restored(world: &World) {
    let windows = world.plain(&[]).replace('\n', "\r\n");
    world.vault.backup("windows", windows.as_bytes());
    world.run(&["restore", "windows", "--to-database", "windows", "--create"]).expect(exit::OK);
    assert_eq!(world.server.psql("windows", "SELECT count(*) FROM t"), "1000");
    world.vault.backup("marked", format!("\u{feff}{}", world.plain(&[])).as_bytes());
    world.run(&["restore", "marked", "--to-database", "marked", "--create"]).expect(exit::OK);
    assert_eq!(world.server.psql("marked", "SELECT count(*) FROM t"), "1000");
    let wrapped = format!("{}Dump finished, 1 warning\n", world.plain(&[]));
    world.vault.backup("wrapped", wrapped.as_bytes());
    let line = wrapped.lines().count();
    let said = world.run(&["restore", "wrapped", "--to-database", "wrapped", "--create"]);
    said.expect(exit::TARGET).says(&format!("line {line} of the script stands behind the end of the dump"));
}

fn text_that_is_no_sql_is_not_fed_to_psql(world: &World) {
    for (series, text) in [
        ("json", "{\"a\": 1}\n"),
        ("env", "PATH=/usr/bin\nHOME=/root\n"),
        ("mysql", "-- MySQL dump 10.13\n-- Dump completed on 2026-11-01\n"),
    ] {
        world.vault.backup(series, text.as_bytes());
        let said = world.run(&["restore", series, "--to-database", "text", "--create"]);
        said.expect(exit::USAGE).says("not a PostgreSQL dump");
        assert!(!world.server.has("text"));
    }
}

fn what_cannot_be_compared_is_not_called_verified(world: &World) {
    let id = world.vault.backup("by-hand", b"CREATE TABLE x (a int);\nINSERT INTO x VALUES (1);\n");
    let said = world.run(&["verify", "by-hand"]).expect(exit::PART_FAILED);
    said.says("rows were not compared").does_not_say("` verified");
    let json = world.run(&["--json", "verify", "by-hand"]).expect(exit::PART_FAILED).json();
    assert_eq!(json["ok"], false, "{json}");
    assert!(!world.vault.snapshot(&id).to_string().contains("verified\":true"));
}

fn a_dump_is_tried_out_without_the_rights_of_a_superuser(world: &World) {
    let proof = world.server.socket_dir().join("server-ran");
    world.server.create("evil");
    world.server.psql(
        "evil",
        &format!(
            "CREATE TABLE a (t text); INSERT INTO a VALUES ('x');
             CREATE FUNCTION run() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
               IF current_database() LIKE 'dumpvault%' THEN COPY (SELECT 1) TO PROGRAM 'touch {}'; END IF; RETURN true;
             END $$;
             ALTER TABLE a ADD CHECK (run());",
            proof.display()
        ),
    );
    world.run(&["backup", "--pg-database", "evil"]).expect(exit::OK);
    for options in [&[][..], &["--no-superuser"]] {
        let said = world.run(&[&["verify", "evil"], options].concat()).expect(exit::TARGET);
        said.says("pg_execute_server_program").does_not_say("restoring it as a superuser");
    }
    assert!(!proof.exists(), "a dump ran a program on the server");
    // An ordinary dump needs no more; a script with an owner does.
    world.run(&["backup", "--pg-database", "app"]).expect(exit::OK);
    let good = world.run(&["--json", "verify", "app"]).expect(exit::OK);
    good.does_not_say("superuser");
    world.vault.backup("owned", world.plain(&[]).as_bytes());
    world.run(&["verify", "owned"]).expect(exit::OK).says("restoring it as a superuser");
    let refused = world.run(&["verify", "owned", "--no-superuser"]).expect(exit::TARGET);
    // As PostgreSQL 15 and 16 say it.
    let words = ["must be member of role", "must be able to SET ROLE"];
    assert!(words.iter().any(|words| refused.stderr.contains(words)), "{refused}");
    world.vault.backup("unowned", world.plain(&["--no-owner"]).as_bytes());
    world.run(&["verify", "unowned", "--no-superuser"]).expect(exit::OK).does_not_say("superuser");
    assert_eq!(world.roles(), "0", "scratch roles are gone");
    assert!(!world.databases().contains("dumpvault_verify"), "{}", world.databases());
}
