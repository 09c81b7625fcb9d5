//! What goes wrong between a server and its client programs: no snapshot of half a database, no half of a database in
//! the target, and words that say what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli;
use crate::support::cli::{Output, Running, Vault, exit};
use crate::support::pg::Server;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// 20 MB: more than all pipes and buffers between the server and the repository hold. Restored into a database called
/// `half…`, its rows stop coming in the middle.
const FILLER: &str = "
CREATE FUNCTION public.passes(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  IF i = 15000 AND current_database() LIKE 'half%' THEN PERFORM pg_sleep(600); END IF;
  RETURN true;
END $$;
CREATE TABLE small AS SELECT 1 AS one;
CREATE TABLE filler (i int CHECK (public.passes(i)), t text);
INSERT INTO filler SELECT i, repeat(md5(i::text), 31) FROM generate_series(1, 20000) i;
";

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    fn new() -> Self {
        let world = Self { server: Server::start(), vault: Vault::new() };
        world.server.create("filled");
        world.server.psql("filled", FILLER);
        world.run(&["backup", "--pg-database", "filled"]).expect(exit::OK);
        world
    }

    fn command_as(&self, user: &str, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        self.server.reached_by(&mut command, user);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        cli::run(self.command_as("postgres", args), b"")
    }

    /// Backs up, which must fail and leave no snapshot.
    #[track_caller]
    fn fails_to_back_up(&self, user: &str, args: &[&str]) -> Output {
        let before = self.vault.ids();
        let args = [&["backup", "--series", "faulty"], args].concat();
        let output = cli::run(self.command_as(user, &args), b"").expect(exit::NOTHING_DONE);
        assert_eq!(self.vault.ids(), before, "a snapshot was made of half a database");
        output.says("no snapshot of `faulty` created").says("hint: ")
    }

    /// An executable file in the program's directory.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.vault.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Words for `--pg-exec`, behind which the server's programs run; in the middle of a dump `harm` happens.
    fn harmful(&self, harm: &str) -> String {
        let bin = self.server.bin().display();
        self.script(
            "harmful",
            &format!(
                "#!/bin/bash\nset -o pipefail\nexport PATH={bin}:/usr/bin:/bin\n\
                 [ \"$1 $2\" = 'pg_dump --no-password' ] || exec \"$@\"\n\
                 \"$@\" | {{ dd bs=65536 count=16 iflag=fullblock status=none; {harm} >&2; cat; }}\n"
            ),
        )
    }

    fn databases(&self) -> String {
        self.server.psql("postgres", "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database")
    }

    /// A database with a table of its own in it, to be left alone.
    fn create_precious(&self) -> String {
        self.server.create("precious");
        self.server.psql("precious", "CREATE TABLE mine AS SELECT generate_series(1, 10) AS a");
        self.server.dump_plain("precious")
    }
}

// One server for each test: starting one takes longer than everything that is done with it.

#[test]
fn a_dump_that_cannot_be_whole_makes_no_snapshot() {
    let mut world = World::new();
    client_programs_that_are_missing_or_too_old_are_named(&world);
    a_table_that_may_not_be_read_is_named(&world);
    rows_that_a_policy_hides_are_not_left_out_in_silence(&world);
    a_database_that_is_dropped_during_its_dump_is_no_snapshot(&world);
    a_server_that_stops_during_a_dump_leaves_no_snapshot(&mut world);
}

fn client_programs_that_are_missing_or_too_old_are_named(world: &World) {
    let folder = world.vault.work().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    let exec = format!("/usr/bin/env PATH={}", folder.display());
    let backup = ["--pg-database", "filled", "--pg-exec", &exec];
    let restore = ["restore", "filled", "--to-database", "new", "--create", "--pg-exec", &exec];
    let before = world.databases();

    world.fails_to_back_up("postgres", &backup).says("psql").says("where --pg-exec runs them");
    world.run(&restore).expect(exit::TARGET).says("psql").says("where --pg-exec runs them");

    symlink(world.server.bin().join("psql"), folder.join("psql")).unwrap();
    let version = world.server.psql("postgres", "SELECT current_setting('server_version_num')::int / 10000");
    let package = format!("apt install postgresql-client-{version}");
    for program in ["programs/pg_dump", "programs/pg_restore"] {
        world.script(program, "#!/bin/sh\necho 'pg_any (PostgreSQL) 9.6.24'\n");
        let output = match program {
            "programs/pg_dump" => world.fails_to_back_up("postgres", &backup),
            _ => world.run(&restore).expect(exit::USAGE),
        };
        output.says("found: 9.6").says(&package);
        std::fs::remove_file(world.vault.work().join(program)).unwrap();
    }
    world
        .fails_to_back_up("postgres", &backup)
        .says("`pg_dump`")
        .says("not found (found: none)")
        .says(&package);
    world.run(&restore).expect(exit::USAGE).says("`pg_restore`").says("not found").says(&package);
    assert_eq!(world.databases(), before);
}

fn a_table_that_may_not_be_read_is_named(world: &World) {
    world.server.create("closed");
    world.server.psql(
        "closed",
        "CREATE ROLE partial LOGIN; CREATE TABLE open AS SELECT 1 AS a; CREATE TABLE \"Not yours\" AS SELECT 2 AS b; \
         GRANT SELECT ON open TO partial",
    );
    let output = world.fails_to_back_up("partial", &["--pg-database", "closed"]);
    output.says("permission denied for table Not yours").says("hint: grant the role `pg_read_all_data`");
}

fn rows_that_a_policy_hides_are_not_left_out_in_silence(world: &World) {
    let World { server, .. } = world;
    server.create("policed");
    server.psql(
        "policed",
        "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; CREATE ROLE landlord LOGIN; \
         CREATE TABLE \"Rows of all\" AS SELECT i FROM generate_series(1, 100) i; \
         ALTER TABLE \"Rows of all\" OWNER TO landlord; ALTER TABLE \"Rows of all\" ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY few ON \"Rows of all\" USING (i < 10)",
    );
    let policed = ["--pg-database", "policed"];
    let told = "row-level security policy for table \"Rows of all\"";
    world.fails_to_back_up("reader", &policed).says(told).says("BYPASSRLS");
    // The owner is above the policy, and so is who may be.
    let backup = ["backup", "--pg-database", "policed"];
    let backs_up = |user: &str| cli::run(world.command_as(user, &backup), b"").expect(exit::OK);
    backs_up("landlord");
    server.psql("policed", "ALTER TABLE \"Rows of all\" FORCE ROW LEVEL SECURITY");
    world.fails_to_back_up("landlord", &policed).says(told).says("BYPASSRLS");
    server.psql("postgres", "ALTER ROLE reader BYPASSRLS");
    backs_up("reader");
    world.run(&["restore", "policed", "--to-database", "policed_back", "--create"]).expect(exit::OK);
    assert_eq!(server.dump_plain("policed_back"), server.dump_plain("policed"));
    // Who restores without passing the policy cannot count all rows, and so does not call them right.
    server.psql("postgres", "DROP DATABASE policed_back");
    server.psql("postgres", "ALTER ROLE landlord CREATEDB");
    let restore = ["restore", "policed", "--to-database", "policed_back", "--create", "--no-privileges"];
    let output = cli::run(world.command_as("landlord", &restore), b"");
    assert!(output.code != Some(exit::OK), "{output}");
    output.says("row-level security");
}

fn a_database_that_is_dropped_during_its_dump_is_no_snapshot(world: &World) {
    let World { server, .. } = world;
    server.create("doomed");
    server.psql("doomed", FILLER);
    let exec = world.harmful("psql -X -q -d postgres -c 'DROP DATABASE doomed WITH (FORCE)'");
    let doomed = ["--pg-database", "doomed", "--pg-exec", &exec];
    let output = world.fails_to_back_up("postgres", &doomed);
    output.says("contents of table \"filler\"").says("cut the connection");
    assert!(!server.has("doomed"));
    // From then on it is said what is wrong, and of several databases the others are stored.
    world.fails_to_back_up("postgres", &doomed).says("database \"doomed\" does not exist");
    let args = ["backup", "--pg-database", "doomed", "--pg-database", "closed", "--series", "both"];
    world.run(&args).expect(exit::PART_FAILED).says("stream `doomed` failed");
    world.run(&["restore", "both", "--to-database", "closed_back", "--create"]).expect(exit::OK);
}

fn a_server_that_stops_during_a_dump_leaves_no_snapshot(world: &mut World) {
    let exec = world.harmful(&format!("kill -QUIT {}", world.server.pid().as_raw_nonzero()));
    let args = ["--pg-database", "filled", "--pg-exec", &exec];
    let output = world.fails_to_back_up("postgres", &args);
    output.says("contents of table \"filler\"").says("the server stopped");
    world.server.stop_now();
    world.fails_to_back_up("postgres", &["--pg-database", "filled"]).says("is the server running");
    // It is back, and nothing of all that is in the way.
    world.server.start_again();
    world.run(&["backup", "--pg-database", "filled", "--series", "faulty"]).expect(exit::OK);
    world.run(&["verify", "faulty"]).expect(exit::OK);
}

#[test]
fn a_restore_that_cannot_be_whole_leaves_no_half_of_a_database() {
    let mut world = World::new();
    owners_that_are_missing_are_named(&world);
    a_server_that_stops_leaves_what_was_there(&mut world);
    a_disk_that_is_full_leaves_what_was_there(&mut world);
}

fn owners_that_are_missing_are_named(world: &World) {
    let World { server, .. } = world;
    server.create("owned");
    server.psql(
        "owned",
        "CREATE ROLE \"The boss\"; CREATE ROLE guest; CREATE TABLE mine AS SELECT 1 AS a; CREATE TABLE ours AS SELECT 2 AS b; \
         ALTER TABLE mine OWNER TO \"The boss\"; GRANT SELECT ON ours TO guest",
    );
    world.run(&["backup", "--pg-database", "owned"]).expect(exit::OK);
    server.psql("postgres", "DROP DATABASE owned");
    server.psql("postgres", "DROP ROLE \"The boss\"");
    let before = world.databases();
    let restore = |options: &[&str]| {
        world.run(&[&["restore", "owned", "--to-database", "owned", "--create"], options].concat())
    };
    for jobs in [&[][..], &["--jobs", "2"]] {
        restore(jobs)
            .expect(exit::TARGET)
            .says("role \"The boss\" does not exist")
            .says("--pg-globals")
            .says("--no-owner --no-privileges");
        assert_eq!(world.databases(), before, "{jobs:?}");
        // Both advices work.
        restore(&[jobs, &["--no-owner", "--no-privileges"]].concat()).expect(exit::OK);
        assert_eq!(server.psql("owned", "SELECT a, b FROM mine, ours"), "1|2");
        server.psql("postgres", "DROP DATABASE owned");
        server.psql("postgres", "CREATE ROLE \"The boss\"");
        restore(jobs).expect(exit::OK);
        assert_eq!(
            server.psql("owned", "SELECT relowner::regrole FROM pg_class WHERE relname = 'mine'"),
            "\"The boss\""
        );
        server.psql("postgres", "DROP DATABASE owned");
        server.psql("postgres", "DROP ROLE \"The boss\"");
    }
}

fn a_server_that_stops_leaves_what_was_there(world: &mut World) {
    let original = world.server.dump_plain("filled");
    let precious = world.create_precious();
    for jobs in [&[][..], &["--jobs", "2"]] {
        for create in [true, false] {
            let mut args = [&["restore", "filled", "--to-database", "half"], jobs].concat();
            if create {
                args.push("--create");
            } else {
                world.server.create("half");
            }
            let restore = Running::start(world.command_as("postgres", &args));
            let stalled =
                "EXISTS (SELECT FROM pg_stat_activity WHERE datname LIKE 'half%' AND wait_event = 'PgSleep')";
            world.server.wait_until("postgres", stalled);
            world.server.stop_now();
            let output = restore.wait().expect(exit::TARGET).says("hint: the server stopped");
            world.server.start_again();
            // One that the restore makes has another name until it is whole.
            let name =
                world.server.psql("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'half%'");
            assert_eq!(name.starts_with("half_new_"), create, "{name}");
            let tables =
                world.server.psql(&name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
            match (create, jobs.is_empty()) {
                // Made for the restore, and nobody there to drop it: that is said.
                (true, _) => output
                    .says(&format!("could not drop database `{name}`, which this restore created"))
                    .says("drop it before you retry"),
                (false, true) => output.says("the restore into database `half` was rolled back"),
                (false, false) => output.says("`half` may hold a part of the dump"),
            };
            assert!(
                create || !jobs.is_empty() || tables == "0",
                "{tables} tables of a restore that was one transaction"
            );
            // What is said to be next works, under a name that lets all rows pass.
            world.server.psql("postgres", &format!("DROP DATABASE {name}"));
        }
        let whole = [&["restore", "filled", "--to-database", "whole", "--create"], jobs].concat();
        world.run(&whole).expect(exit::OK);
        assert!(world.server.dump_plain("whole") == original);
        world.server.psql("postgres", "DROP DATABASE whole");
    }
    assert_eq!(world.server.dump_plain("precious"), precious);
}

fn a_disk_that_is_full_leaves_what_was_there(world: &mut World) {
    let precious = world.server.dump_plain("precious");
    // As large as a file of the write-ahead log, and smaller than the table.
    world.server.start_over_with_files_of(16 << 20);
    let before = world.databases();
    for jobs in [&[][..], &["--jobs", "2"]] {
        let restore = |target: &str, options: &[&str]| {
            let args = [&["restore", "filled", "--to-database", target], jobs, options].concat();
            world.run(&args).expect(exit::TARGET).says("could not extend file").says("COPY filler")
        };
        restore("small", &["--create"]).says("make room on the server's disk").says("dropped database");
        assert_eq!(world.databases(), before);
    }
    let said = world.run(&["restore", "filled", "--to-database", "precious", "--clean", "--yes"]);
    said.expect(exit::TARGET)
        .says("make room on the server's disk")
        .says("the restore into database `precious` was rolled back");
    let said = world.run(&["restore", "filled", "--to-database", "precious", "--swap", "--yes"]);
    said.expect(exit::TARGET).says("make room on the server's disk");
    assert_eq!(world.databases(), before, "the database that was to take its place is left");
    assert_eq!(world.server.dump_plain("precious"), precious);
    // That says nothing of the backup, which is as good as ever.
    world
        .run(&["verify", "filled"])
        .expect(exit::TARGET)
        .says("make room")
        .does_not_say("cannot be restored");
    assert_eq!(world.databases(), before, "a scratch database is left");
    world.server.stop_now();
    world.server.start_again();
    world.run(&["verify", "filled"]).expect(exit::OK);
}
