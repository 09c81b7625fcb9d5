//! Databases that a run makes for itself: they do nothing while they are there, and they go, however the run ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Running, Vault, exit, run};
#[allow(dead_code)]
use crate::support::pg;
use crate::support::pg::Server;
use crate::support::terminal::AtTerminal;
use rustix::process::{Signal, kill_process_group};
use std::os::unix::process::CommandExt;

/// Restoring the index takes for ever anywhere but in the database that it was made in.
const SLOW: &str = "
CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  'BEGIN IF current_database() <> ''shop'' THEN PERFORM pg_sleep(600); END IF; RETURN i; END';
CREATE TABLE orders (id int PRIMARY KEY);
CREATE INDEX slowly ON orders (slow(id));
INSERT INTO orders SELECT generate_series(1, 10);
";

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    fn new(server: Server) -> Self {
        Self { server, vault: Vault::new() }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.vault.command(args);
        self.server.reached_by(&mut command, "postgres");
        // As a shell does with a job.
        command.process_group(0);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        run(self.command(args), b"")
    }

    /// Starts a run, and waits until it makes the index in a database whose name fits.
    fn stuck(&self, args: &[&str], database: &str) -> Running {
        let running = Running::start(self.command(args));
        self.server.wait_until("postgres", &format!("EXISTS ({})", at_work(database)));
        running
    }

    /// All databases but the server's own.
    fn databases(&self) -> Vec<String> {
        let sql =
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1";
        self.server.psql("postgres", sql).lines().map(str::to_owned).collect()
    }

    /// What a killed run's programs still do in a database ends, too.
    fn end_sessions(&self, database: &str) {
        let sessions = format!("FROM pg_stat_activity WHERE datname LIKE '{database}'");
        self.server.psql("postgres", &format!("SELECT count(pg_terminate_backend(pid)) {sessions}"));
        self.server.wait_until("postgres", &format!("NOT EXISTS (SELECT {sessions})"));
    }
}

fn at_work(database: &str) -> String {
    format!("SELECT FROM pg_stat_activity WHERE datname LIKE '{database}' AND query LIKE 'CREATE INDEX%'")
}

#[test]
fn every_signal_that_ends_the_program_lets_it_clean_up() {
    let world = World::new(Server::start());
    world.server.create("shop");
    world.server.psql("shop", SLOW);
    world.run(&["backup", "--pg-database", "shop"]).expect(exit::OK);
    let create = ["restore", "shop", "--to-database", "copy", "--create"];
    let with_jobs = ["restore", "shop", "--to-database", "copy", "--create", "--jobs", "2"];
    let swap = ["restore", "shop", "--to-database", "shop", "--swap", "--yes"];
    let verify = ["verify", "shop"];
    let runs: [(&[&str], &str); 4] = [
        (&create, "copy_new_%"),
        (&with_jobs, "copy_new_%"),
        (&swap, "shop_new_%"),
        (&verify, "dumpvault_verify_%"),
    ];
    let signals = [Signal::HUP, Signal::TERM, Signal::INT, Signal::QUIT, Signal::USR1, Signal::XCPU];
    for (at, signal) in signals.into_iter().enumerate() {
        // Every run meets some signals, and every signal some runs.
        for (args, database) in [runs[at % runs.len()], runs[(at + 1) % runs.len()]] {
            let running = world.stuck(args, database);
            // As `timeout` and service managers do: the program, and then all its group.
            running.signal(signal);
            let _ = kill_process_group(running.pid(), signal);
            running.wait().expect(exit::INTERRUPTED);
            assert_eq!(world.databases(), ["shop"], "{signal:?} {args:?}");
        }
    }
    // Under `nohup`, a hang-up is none.
    let mut command = std::process::Command::new("nohup");
    let program = world.command(&["restore", "shop", "--to-database", "copy", "--create"]);
    command.arg(program.get_program()).args(program.get_args()).process_group(0);
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let running = Running::start(command);
    world.server.wait_until("postgres", &format!("EXISTS ({})", at_work("copy_new_%")));
    running.signal(Signal::HUP);
    let cancel = at_work("copy_new_%").replace("SELECT FROM", "SELECT count(pg_cancel_backend(pid)) FROM");
    world.server.psql("postgres", &cancel);
    running.wait().expect(exit::TARGET).says("canceling statement");
    assert_eq!(world.databases(), ["shop"]);
    what_a_killed_run_left_is_found_and_dropped_when_somebody_says_so(&world);
}

fn what_a_killed_run_left_is_found_and_dropped_when_somebody_says_so(world: &World) {
    let left = || world.databases().iter().filter(|name| *name != "shop").cloned().collect::<Vec<_>>();
    // One that lives, and one whose maker was killed.
    let alive = world.stuck(&["verify", "shop"], "dumpvault_verify_%");
    let living = left();
    let killed =
        world.stuck(&["restore", "shop", "--to-database", "copy", "--create", "--jobs", "2"], "copy_new_%");
    killed.signal(Signal::KILL);
    killed.wait();
    world.end_sessions("copy_new_%");
    assert!(!world.server.has("copy"), "nothing half-restored ever has the name");
    let copy = left().into_iter().find(|name| name.starts_with("copy_new_")).unwrap();

    world.server.create("other");
    world.server.psql("other", "CREATE TABLE t (a int)");
    world.run(&["backup", "--pg-database", "other"]).expect(exit::OK);
    let told = world.run(&["verify", "other"]).expect(exit::OK);
    assert!(told.stderr.contains(&format!("database `{copy}` was left unfinished (made 20")), "{told}");
    assert!(told.stderr.contains("--drop-leftovers"), "{told}");
    assert!(!told.stderr.contains(&living[0]), "its maker lives: {told}");
    assert!(world.server.has(&copy));
    let dropped = world.run(&["verify", "other", "--drop-leftovers"]).expect(exit::OK).text();
    assert!(dropped.contains(&format!("dropped database `{copy}`")), "{dropped}");
    assert_eq!(left(), [&living[..], &["other".to_owned()]].concat());
    alive.signal(Signal::TERM);
    alive.wait().expect(exit::INTERRUPTED);
    assert_eq!(left(), ["other"]);

    // A restore meets what it left itself, and a verification what a verification left.
    let killed = world.stuck(&["verify", "shop"], "dumpvault_verify_%");
    killed.signal(Signal::KILL);
    killed.wait();
    world.end_sessions("dumpvault_verify_%");
    // A person is asked, and may say no.
    let said = terminal_says(world, &["verify", "other"], "no\n");
    assert!(said.contains("was left unfinished") && said.contains("Drop it?"), "{said}");
    assert_eq!(left().len(), 2);
    let again = ["restore", "other", "--to-database", "fresh", "--create"];
    world.run(&again).expect(exit::OK).says("was left unfinished");
    let said = terminal_says(world, &["verify", "other"], "yes\n");
    assert!(said.contains("dropped database `dumpvault_verify_"), "{said}");
    assert_eq!(left(), ["fresh", "other"]);
    // A database that was kept bears no mark.
    let comments = "SELECT count(*) FROM pg_shdescription WHERE description LIKE 'dumpvault%'";
    assert_eq!(world.server.psql("postgres", comments), "0");
}

/// What the program shows at a terminal where somebody answers like that.
fn terminal_says(world: &World, args: &[&str], answer: &str) -> String {
    let mut terminal = AtTerminal::start(&world.command(args));
    terminal.wait_for("Type `yes` to continue: ");
    terminal.enter(answer);
    assert_eq!(terminal.end(), Some(exit::OK), "{}", terminal.screen());
    terminal.screen()
}

/// What a scheduler of the name would run.
const CRON: pg::Extension<'_> = (
    "pg_cron",
    "CREATE SCHEMA cron; CREATE TABLE cron.job (jobid int, command text); \
     CREATE TABLE cron.job_run_details (jobid int, status text); \
     SELECT pg_extension_config_dump('cron.job', ''); \
     SELECT pg_extension_config_dump('cron.job_run_details', '');",
);

#[test]
fn a_scratch_copy_does_nothing_and_goes() {
    let world = World::new(Server::start_with_extensions(&[CRON]));
    let World { server, .. } = &world;
    server.create("far");
    server.psql("far", "CREATE TABLE far (a int); INSERT INTO far VALUES (1), (2)");
    server.create("shop");
    let port = server.port();
    server.psql(
        "shop",
        &format!(
            "CREATE TABLE near (a int); INSERT INTO near VALUES (1);
             CREATE EXTENSION pg_cron; INSERT INTO cron.job VALUES (1, 'DROP TABLE near');
             INSERT INTO cron.job_run_details VALUES (1, 'succeeded');
             CREATE EXTENSION postgres_fdw;
             CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname 'far');
             CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'postgres', password 'none');
             CREATE FOREIGN TABLE far (a int) SERVER far;
             CREATE VIEW over_far AS SELECT * FROM far;
             CREATE MATERIALIZED VIEW seen AS SELECT * FROM over_far; CREATE MATERIALIZED VIEW own AS SELECT * FROM near;
             CREATE PUBLICATION p FOR ALL TABLES;
             CREATE FUNCTION shout() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
             CREATE EVENT TRIGGER loud ON ddl_command_end WHEN TAG IN ('REFRESH MATERIALIZED VIEW') EXECUTE FUNCTION shout();
             COMMENT ON EVENT TRIGGER loud IS 'loud';
             CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p
               WITH (connect = false, slot_name = 'theirs');
             COMMENT ON SUBSCRIPTION s IS 'theirs'"
        ),
    );
    let dump = |name: &str, options: &[&str]| {
        let pg_dump = server.bin().join("pg_dump");
        let program = pg_dump.to_str().unwrap();
        let args = [&["backup", "--series", name, "--command", "--", program], options, &["shop"]].concat();
        world.run(&args).expect(exit::OK);
    };
    dump("archive", &["-Fc", "-Z0", "--include-foreign-data=*"]);
    dump("jobs", &[]);
    dump("jobs-inserted", &["--inserts"]);
    let answer = world.run(&["verify", "archive", "--json"]).expect(exit::OK).json();
    let mut left_out: Vec<&str> = answer["streams"][0]["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    left_out.sort_unstable();
    assert_eq!(
        left_out,
        [
            "EVENT TRIGGER loud",
            "MATERIALIZED VIEW DATA public.seen",
            "SUBSCRIPTION s",
            "TABLE DATA cron.job",
            "TABLE DATA public.far",
            "USER MAPPING USER MAPPING public SERVER far",
        ]
    );
    let said = world.run(&["verify", "archive"]).expect(exit::OK).text();
    assert!(said.contains("left out of the scratch database: ") && said.contains("and 1 more"), "{said}");
    assert!(said.contains("1 table, 1 row: all counts match"), "{said}");
    // What a job did is a row of an extension's table.
    assert!(said.contains("1 table, 1 row: at least the rows of the dump"), "{said}");
    world.run(&["verify", "archive", "--sample", "50%"]).expect(exit::OK);
    // Jobs of a script are refused before one of them is there.
    for name in ["jobs", "jobs-inserted"] {
        let said = world.run(&["verify", name]).expect(6);
        said.says("rows of `cron.job`, which tell a scheduler of the server what to run, in line")
            .says("--exclude-table-data=cron.job");
        assert_eq!(world.databases(), ["far", "shop"], "{name}");
    }
    dump("script", &["--exclude-table-data=cron.job"]);
    world.run(&["verify", "script"]).expect(exit::OK);
    server.psql("shop", "TRUNCATE cron.job");
    dump("script", &[]);
    // A script is run as it is: its subscription is taken away before the database is.
    world.run(&["verify", "script"]).expect(exit::OK);
    assert_eq!(server.psql("postgres", "SELECT count(*) FROM pg_subscription"), "1");
    assert_eq!(world.databases(), ["far", "shop"]);
    assert_eq!(server.psql("far", "SELECT count(*) FROM far"), "2", "no row was written there");

    // Rows of a script for another server's table are refused, on the way in a long one; what stands before them is
    // gone again.
    let rows_for_far = |name: &str, options: &[&str]| {
        dump(name, &[&["--include-foreign-data=*"], options].concat());
        let said = world.run(&["verify", name]).expect(6);
        said.says("rows for foreign table `public.far`, which would be written to its server, in line");
        assert_eq!(world.databases(), ["far", "shop"], "{name}");
        assert_eq!(server.psql("far", "SELECT count(*) FROM far"), "2", "{name}: no row was written there");
    };
    rows_for_far("copied", &[]);
    rows_for_far("inserted", &["--inserts"]);
    server.psql("shop", "CREATE TABLE bulk AS SELECT repeat('x', 1000) FROM generate_series(1, 9000)");
    rows_for_far("long", &[]);
    server.psql("shop", "INSERT INTO cron.job VALUES (1, 'DROP TABLE near')");
    dump("jobs-long", &[]);
    world.run(&["verify", "jobs-long"]).expect(6).says("rows of `cron.job`");
    assert_eq!(world.databases(), ["far", "shop"]);
    server.psql("shop", "DROP TABLE bulk");

    // A restore that is no scratch copy brings everything.
    server.psql("shop", "DROP MATERIALIZED VIEW seen; DROP EVENT TRIGGER loud");
    dump("quiet", &[]);
    world.run(&["restore", "quiet", "--to-database", "copy", "--create"]).expect(exit::OK);
    let subscriptions = "SELECT subenabled, subslotname FROM pg_subscription ORDER BY oid";
    assert_eq!(server.psql("copy", subscriptions), "f|theirs\nf|theirs");
    assert_eq!(server.psql("copy", "SELECT command FROM cron.job"), "DROP TABLE near");
}
