//! What belongs to a database as a whole, and what it may hold that a server has little room for: encodings, owners,
//! grants, tablespaces, extensions of one database, thousands of objects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
use crate::support::cli::{Output, Vault, exit, long, run};
use crate::support::pg::Server;

/// Refuses every database but one, as `pg_cron` does, and has rows of its user's in it.
const BOUND: &str = "
DO $$ BEGIN IF current_database() <> 'bound' THEN RAISE 'can only create extension in database bound'; END IF; END $$;
CREATE TABLE task (id int, what text);
SELECT pg_catalog.pg_extension_config_dump('task', '');
";

/// Refuses in words that nobody knows.
const PICKY: &str = "DO $$ BEGIN IF current_database() <> 'bound' THEN RAISE 'not here'; END IF; END $$;";

/// As PostGIS has its `spatial_ref_sys`: rows of its own, and those that a user adds.
const PLACES: &str = "
CREATE TABLE reference (id int PRIMARY KEY, what text, own boolean DEFAULT false);
INSERT INTO reference VALUES (1, 'shipped', false);
SELECT pg_catalog.pg_extension_config_dump('reference', 'WHERE own');
CREATE DOMAIN place AS int;
";

/// Leaves its search path behind in the session that makes it, as some versions of PostGIS do.
const LEAVES_PATH: &str = "
CREATE FUNCTION inner_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
SELECT pg_catalog.set_config('search_path', 'public', false);
";

struct World {
    server: Server,
    vault: Vault,
}

impl World {
    fn new(server: Server) -> Self {
        Self { server, vault: Vault::new() }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.vault.command(args);
        self.server.reached_by(&mut command, "postgres");
        run(command, b"")
    }

    fn back_up(&self, database: &str) {
        self.run(&["backup", "--pg-database", database, "--suspect-below", "0"]).expect(exit::OK);
    }

    /// Restores into a database that is made for it.
    fn restore(&self, series: &str, into: &str, options: &[&str]) -> Output {
        self.sql(&format!("DROP DATABASE IF EXISTS \"{into}\""));
        self.run(&[&["restore", series, "--to-database", into, "--create"], options].concat())
    }

    fn sql(&self, sql: &str) -> String {
        self.server.psql("postgres", sql)
    }

    /// What the server says of a database, its name aside.
    fn properties(&self, database: &str) -> String {
        self.sql(&format!(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, pg_get_userbyid(datdba), datconnlimit, \
               (SELECT array_agg(acl::text ORDER BY acl::text) FROM unnest(datacl) acl), shobj_description(d.oid, 'pg_database'), spcname, \
               (SELECT array_agg(setrole::regrole || setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid), \
               to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale' \
             FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = '{database}'"
        ))
    }
}

/// Both ways of a whole restore.
const WAYS: [&[&str]; 2] = [&[], &["--jobs", "2"]];

// A server for each test: starting one takes longer than most of what is done with it.

#[test]
fn a_database_comes_back_as_it_was() {
    let world = World::new(Server::start());
    encoding_and_locale_are_those_of_the_dump(&world);
    a_database_that_is_there_keeps_its_encoding_and_locale_and_that_is_told(&world);
    a_script_in_another_encoding_is_converted_and_that_is_told(&world);
    owner_settings_grants_limit_and_comment_are_those_of_the_dump(&world);
    what_the_server_does_not_let_come_back_is_told(&world);
    a_swap_takes_encoding_and_locale_of_the_dump_and_all_else_of_the_live_one(&world);
    databases_that_take_nobody_are_skipped(&world);
    quotes_in_the_names_of_databases_mean_themselves(&world);
}

#[test]
fn what_a_database_holds_comes_back_in_an_order_that_works() {
    let world = World::new(Server::start());
    tablespaces_that_are_missing_can_be_done_without(&world);
    a_partitioned_table_with_a_key_is_replaced(&world);
    rows_alone_come_in_the_order_of_their_keys(&world);
    tables_that_refer_to_each_other_in_a_circle_are_loaded(&world);
    a_dump_of_rows_or_statistics_alone_is_not_called_bad(&world);
}

#[test]
fn extensions_do_not_stand_in_the_way() {
    let extensions = [("bound", BOUND), ("picky", PICKY), ("places", PLACES), ("leaves_path", LEAVES_PATH)];
    let world = World::new(Server::start_with_extensions(&extensions));
    an_extension_of_one_database_does_not_make_a_backup_bad(&world);
    rows_of_an_extensions_user_are_named(&world);
    an_index_that_needs_a_search_path_is_judged_the_same_way_everywhere(&world);
}

fn encoding_and_locale_are_those_of_the_dump(world: &World) {
    let databases = [
        ("ascii", "ENCODING 'SQL_ASCII' LOCALE 'C'"),
        ("latin", "ENCODING 'LATIN1' LOCALE 'C'"),
        match world.server.version() {
            // Debian's programs know ICU, those from elsewhere do not.
            15 => ("provided", "ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'de'"),
            16 => ("provided", "ENCODING 'UTF8' LOCALE 'C.UTF-8'"),
            _ => ("provided", "ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"),
        },
    ];
    for (database, clauses) in databases {
        world.sql(&format!("CREATE DATABASE {database} TEMPLATE template0 {clauses}"));
        let sql = "CREATE TABLE t AS SELECT convert_from('\\x636166e9', 'LATIN1') AS a";
        let sql = if database == "ascii" { "CREATE TABLE t AS SELECT E'caf\\351' AS a" } else { sql };
        world.server.psql(database, sql);
        world.back_up(database);
        for options in WAYS {
            world.restore(database, "back", options).expect(exit::OK).does_not_say("warning");
            assert_eq!(world.properties("back"), world.properties(database), "{options:?}");
            let bytes = "SELECT a::bytea FROM t";
            let (there, back) = (world.server.psql(database, bytes), world.server.psql("back", bytes));
            assert_eq!(back, there, "{database} {options:?}");
        }
        // A part goes into a database of the same encoding, and what was set for the whole is not set for it.
        world.sql(&format!("COMMENT ON DATABASE {database} IS 'of the whole'"));
        world.back_up(database);
        world.restore(database, "back", &["--table", "t"]).expect(exit::OK);
        let encoding = "SELECT count(DISTINCT encoding), count(shobj_description(oid, 'pg_database')) FROM pg_database \
                        WHERE datname IN ('back', '";
        assert_eq!(world.sql(&format!("{encoding}{database}')")), "1|1");
        world.run(&["verify", database]).expect(exit::OK);
    }
}

fn a_script_in_another_encoding_is_converted_and_that_is_told(world: &World) {
    for (database, encoding) in [("latin", "LATIN1"), ("ascii", "SQL_ASCII")] {
        let series = format!("{database}_script");
        world.vault.backup(&series, &world.server.dump(database, &["-Fp"]));
        let way = format!("made by `createdb -T template0 -E {encoding} --locale=C NAME`");
        for (there, has) in [(false, "will have"), (true, "has")] {
            world.sql("DROP DATABASE IF EXISTS made");
            if there {
                world.sql("CREATE DATABASE made TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
            }
            // These bytes are no UTF-8, and some versions take them all the same.
            let output = world.run(&["restore", &series, "--to-database", "made", "--create"]);
            let output = output.expect_one_of(&[exit::OK, exit::TARGET]);
            let told = format!("warning: database `made` {has} encoding UTF8; the script is in {encoding}.");
            output.says(&told).says(&way);
            if database == "latin" {
                assert_eq!(world.server.psql("made", "SELECT a FROM t"), "café");
            }
        }
        world.sql("DROP DATABASE IF EXISTS made");
        world.sql(&format!("CREATE DATABASE made TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"));
        let output = world.run(&["restore", &series, "--to-database", "made"]);
        output.expect(exit::OK).does_not_say("warning: database");
        let bytes = "SELECT a::bytea FROM t";
        assert_eq!(world.server.psql("made", bytes), world.server.psql(database, bytes));
    }
    world.sql("DROP DATABASE made");
}

fn a_database_that_is_there_keeps_its_encoding_and_locale_and_that_is_told(world: &World) {
    let provider = match world.server.version() {
        15 => "locale provider libc, was icu; locale C, was de",
        16 => "locale C, was C.UTF-8",
        _ => "locale provider libc, was builtin; locale C, was C.UTF-8",
    };
    let told = |series: &str, options: &[&str]| {
        world.sql("DROP DATABASE IF EXISTS there");
        world.sql("CREATE DATABASE there TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
        world.run(&[&["restore", series, "--to-database", "there"], options].concat())
    };
    for (series, differs) in [("latin", "encoding UTF8, was LATIN1"), ("provided", provider)] {
        let warning = format!("database `there` differs from the dumped one: {differs}. To keep the dump's");
        // With `--create` it is there all the same.
        for options in [&[][..], &["--jobs", "2"], &["--table", "t"], &["--create"]] {
            let output = told(series, options).expect(exit::OK);
            output.says(&format!("warning: {warning}, restore into a new database with --create"));
            assert_eq!(world.server.psql("there", "SELECT a FROM t"), "café");
        }
        let report = told(series, &["--json"]).expect(exit::OK).json();
        let warnings = report["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|it| it.as_str().unwrap().starts_with(&warning)), "{report}");
    }
    // Before anything fails of it: these bytes are no UTF-8. Some versions take them all the same.
    told("ascii", &[]).expect_one_of(&[exit::OK, exit::TARGET]).says("encoding UTF8, was SQL_ASCII");
    world.sql("CREATE DATABASE same TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let args = ["restore", "latin", "--to-database", "same"];
    world.run(&args).expect(exit::OK).does_not_say("warning");
    world
        .run(&["restore", "latin", "--to-database", "same", "--swap", "--yes"])
        .expect(exit::OK)
        .does_not_say("differs");
}

fn owner_settings_grants_limit_and_comment_are_those_of_the_dump(world: &World) {
    for statement in [
        "CREATE ROLE \"The boss\" LOGIN",
        "CREATE ROLE \"DATABASE\"",
        "CREATE DATABASE props OWNER \"The boss\"",
        "ALTER DATABASE props SET search_path = shop, public",
        "ALTER DATABASE props SET \"my.Own\" = 'it''s; \"x\"'",
        "ALTER DATABASE props SET default_transaction_read_only = on",
        "ALTER ROLE \"The boss\" IN DATABASE props SET work_mem = '7MB'",
        "REVOKE CONNECT ON DATABASE props FROM PUBLIC",
        "GRANT CREATE ON DATABASE props TO \"DATABASE\" WITH GRANT OPTION",
        "ALTER DATABASE props CONNECTION LIMIT 7",
        "COMMENT ON DATABASE props IS 'of DATABASE props; it''s \\ '",
    ] {
        world.sql(statement);
    }
    let writable = "BEGIN READ WRITE; CREATE SCHEMA shop; CREATE TABLE shop.t AS SELECT 1 AS a; COMMIT";
    world.server.psql("props", writable);
    world.back_up("props");
    let original = world.properties("props");
    assert!(original.contains("my.Own") && original.contains("work_mem"), "{original}");
    for options in WAYS {
        for name in ["props_back", "the \"new\" one; DATABASE's"] {
            let args = ["restore", "props", "--to-database", name, "--create"];
            world.run(&[&args[..], options].concat()).expect(exit::OK).does_not_say("warning");
            assert_eq!(world.properties(&name.replace('\'', "''")), original, "{options:?}");
            world.sql(&format!("DROP DATABASE \"{}\"", name.replace('"', "\"\"")));
        }
    }
    let mine = world.restore("props", "back", &["--no-owner", "--no-privileges"]).expect(exit::OK);
    mine.does_not_say("warning");
    let owner = "SELECT pg_get_userbyid(datdba), datacl IS NULL, datconnlimit FROM pg_database WHERE datname = 'back'";
    assert_eq!(world.sql(owner), "postgres|t|7");
    world.run(&["verify", "props"]).expect(exit::OK).does_not_say("warning");
}

fn what_the_server_does_not_let_come_back_is_told(world: &World) {
    world.sql("CREATE ROLE passing");
    world.sql("CREATE DATABASE given");
    world.sql("ALTER DATABASE given OWNER TO passing");
    world.sql("GRANT CONNECT ON DATABASE given TO \"DATABASE\"");
    world.back_up("given");
    world.sql("DROP DATABASE given");
    world.sql("DROP ROLE passing");
    for options in WAYS {
        world
            .restore("given", "back", options)
            .expect(exit::OK)
            .says("lacks something that the dump's had: `ALTER DATABASE \"back\" OWNER TO \"passing\"`")
            .says("role \"passing\" does not exist");
        // What can be had is.
        let granted = "SELECT has_database_privilege('DATABASE', 'back', 'CONNECT'), datacl::text LIKE '%DATABASE=c%' \
                       FROM pg_database WHERE datname = 'back'";
        assert_eq!(world.sql(granted), "t|t");
    }
}

fn a_swap_takes_encoding_and_locale_of_the_dump_and_all_else_of_the_live_one(world: &World) {
    world.sql("CREATE DATABASE live OWNER \"The boss\"");
    world.sql("COMMENT ON DATABASE live IS 'the live one'");
    world.server.psql("live", "CREATE TABLE old (a int)");
    let args = ["restore", "latin", "--to-database", "live", "--swap", "--yes"];
    world.run(&args).expect(exit::OK);
    let now = "SELECT pg_encoding_to_char(encoding), pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') \
               FROM pg_database WHERE datname = 'live'";
    assert_eq!(world.sql(now), "LATIN1|The boss|the live one");
    assert_eq!(world.server.psql("live", "SELECT a::bytea FROM t"), "\\x636166e9");
}

fn tablespaces_that_are_missing_can_be_done_without(world: &World) {
    let server = &world.server;
    world.sql("ALTER ROLE postgres SET allow_in_place_tablespaces = on");
    world.sql("CREATE TABLESPACE fast LOCATION ''");
    world.sql("CREATE DATABASE roomy TABLESPACE fast");
    world.sql("CREATE DATABASE spread");
    server.psql("roomy", "CREATE TABLE t AS SELECT 1 AS a");
    server.psql("spread", "CREATE TABLE t (a int) TABLESPACE fast; INSERT INTO t VALUES (1); CREATE INDEX ON t (a) TABLESPACE fast");
    for database in ["roomy", "spread"] {
        world.back_up(database);
        for options in WAYS {
            world.restore(database, "back", options).expect(exit::OK);
            assert_eq!(world.properties("back"), world.properties(database));
        }
        world.sql("DROP DATABASE back");
        world.sql(&format!("DROP DATABASE {database}"));
    }
    world.sql("DROP TABLESPACE fast");
    for database in ["roomy", "spread"] {
        for options in WAYS {
            let refused = world.restore(database, "back", options).says("--no-tablespaces");
            assert!(refused.code != Some(exit::OK), "{refused}");
            let options = [options, &["--no-tablespaces"]].concat();
            world.restore(database, "back", &options).expect(exit::OK).does_not_say("warning");
            assert_eq!(server.psql("back", "SELECT a FROM t"), "1");
        }
        world.run(&["verify", database]).expect(exit::OK);
    }
}

fn a_partitioned_table_with_a_key_is_replaced(world: &World) {
    world.sql("CREATE DATABASE news");
    world.server.psql(
        "news",
        "CREATE TABLE news (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
         CREATE TABLE \"news 1\" PARTITION OF news FOR VALUES FROM (0) TO (10) PARTITION BY LIST (id); \
         CREATE TABLE \"news 1 rest\" PARTITION OF \"news 1\" DEFAULT; \
         CREATE TABLE news_2 PARTITION OF news FOR VALUES FROM (10) TO (20); \
         CREATE INDEX ON news (day); \
         CREATE TABLE seen (id int, day int, FOREIGN KEY (id, day) REFERENCES news, UNIQUE (id)); \
         INSERT INTO news SELECT i, i % 20 FROM generate_series(1, 100) i; INSERT INTO seen SELECT * FROM news",
    );
    world.back_up("news");
    let original = world.server.dump_plain("news");
    world.server.psql("news", "DELETE FROM seen; DELETE FROM news WHERE id > 50");
    let clean = |series: &str| {
        world.run(&["restore", series, "--to-database", "news", "--clean", "--yes"]).expect(exit::OK);
        assert_eq!(world.server.dump_plain("news"), original);
    };
    clean("news");
    let table = ["restore", "news", "--table", "news", "--to-database", "news", "--clean", "--yes"];
    world.server.psql("news", "ALTER TABLE seen DROP CONSTRAINT seen_id_day_fkey");
    world.run(&table).expect(exit::OK);
    clean("news");
}

fn an_extension_of_one_database_does_not_make_a_backup_bad(world: &World) {
    let server = &world.server;
    world.sql("CREATE DATABASE bound");
    server.psql(
        "bound",
        "CREATE EXTENSION bound; CREATE EXTENSION picky; INSERT INTO task VALUES (1, 'sweep'); CREATE TABLE mine AS SELECT 1 AS a",
    );
    world.back_up("bound");
    of_a_script_no_extension_can_be_left_out(world);
    for options in WAYS {
        world
            .run(&[&["verify", "bound"], options].concat())
            .expect(exit::OK)
            .says("extension `bound` refuses")
            .says("extension `picky` refuses")
            .says("skipped TABLE DATA public.task: EXTENSION bound is not restored");
        let refused = world.restore("bound", "back", options).expect(exit::TARGET);
        refused.says("can only create extension").says("--exclude-extension");
        let without = ["--exclude-extension", "bound", "--exclude-extension", "p*y"];
        let told = world.restore("bound", "back", &[options, &without].concat()).expect(exit::OK);
        told.says("skipped TABLE DATA public.task: EXTENSION bound is not restored");
        assert_eq!(server.psql("back", "SELECT a FROM mine"), "1");
        // Where it belongs, it comes back whole.
        world.sql("DROP DATABASE bound");
        world.restore("bound", "bound", options).expect(exit::OK);
        assert_eq!(server.psql("bound", "SELECT what FROM task"), "sweep");
    }
    let swap = ["restore", "bound", "--to-database", "bound", "--swap", "--yes"];
    world.run(&swap).expect(exit::TARGET).says("--exclude-extension");
    let without = ["--exclude-extension", "bound", "--exclude-extension", "picky"];
    world.run(&[&swap[..], &without].concat()).expect(exit::OK);
    assert_eq!(server.psql("bound", "SELECT a FROM mine"), "1");
    world.restore("bound", "back", &["--exclude-extension", "typo"]).expect(exit::USAGE).says("typo");
}

fn of_a_script_no_extension_can_be_left_out(world: &World) {
    let pg_dump = world.server.bin().join("pg_dump");
    let backup =
        ["backup", "--series", "bound-script", "--command", "--", pg_dump.to_str().unwrap(), "bound"];
    world.run(&backup).expect(exit::OK);
    let refused = world.run(&["verify", "bound-script"]).expect(exit::TARGET);
    refused.says("can only create extension").says("such an archive is verified without the extension");
    let refused = world.restore("bound-script", "back", &[]).expect(exit::TARGET);
    refused.says("of the name that the extension wants").does_not_say("--exclude-extension");
    assert!(!world.server.has("back"));
}

fn rows_of_an_extensions_user_are_named(world: &World) {
    let server = &world.server;
    world.sql("CREATE DATABASE map");
    server.psql(
        "map",
        "CREATE EXTENSION places; INSERT INTO reference VALUES (2, 'mine', true); CREATE TABLE house (at place); INSERT INTO house VALUES (2)",
    );
    world.back_up("map");
    let told = world.restore("map", "back", &["--table", "house"]).expect(exit::OK);
    told.says(
        "skipped rows of public.reference: they belong to EXTENSION places; add the table with --table",
    );
    let both = ["--table", "house", "--table", "public.reference"];
    world.restore("map", "back", &both).expect(exit::OK).does_not_say("skipped");
    assert_eq!(
        server.psql("back", "SELECT string_agg(what, ',' ORDER BY id) FROM reference"),
        "shipped,mine"
    );
}

fn an_index_that_needs_a_search_path_is_judged_the_same_way_everywhere(world: &World) {
    let server = &world.server;
    world.sql("CREATE DATABASE lax");
    server.psql(
        "lax",
        "CREATE EXTENSION leaves_path; CREATE FUNCTION outer_one(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN inner_one(i); END'; \
         CREATE TABLE t AS SELECT i FROM generate_series(1, 10) i",
    );
    // From 17 on, no index is made by such a function.
    if server.version() >= 17 {
        return;
    }
    server.psql("lax", "CREATE INDEX ON t (outer_one(i))");
    world.back_up("lax");
    for options in WAYS {
        world.restore("lax", "back", options).expect(exit::OK);
        assert_eq!(server.dump_plain("back"), server.dump_plain("lax"), "{options:?}");
        world.run(&[&["verify", "lax"], options].concat()).expect(exit::OK);
    }
}

/// Names in the order that keys refuse.
const KEYED: &str = "
CREATE TABLE a_child (id int PRIMARY KEY, mother int);
CREATE TABLE m_mother (id int PRIMARY KEY, land int);
CREATE TABLE z_land (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE z_land_1 PARTITION OF z_land FOR VALUES IN (1);
CREATE TABLE a_land_2 PARTITION OF z_land FOR VALUES IN (2);
INSERT INTO z_land VALUES (1, 1), (2, 2);
INSERT INTO m_mother SELECT i, 1 + i % 2 FROM generate_series(1, 20) i;
INSERT INTO a_child SELECT i, i FROM generate_series(1, 20) i;
ALTER TABLE m_mother ADD COLUMN part int;
UPDATE m_mother SET part = land;
ALTER TABLE a_child ADD FOREIGN KEY (mother) REFERENCES m_mother;
ALTER TABLE m_mother ADD FOREIGN KEY (land, part) REFERENCES z_land;
";

fn rows_alone_come_in_the_order_of_their_keys(world: &World) {
    let server = &world.server;
    world.sql("CREATE DATABASE keyed");
    server.psql("keyed", KEYED);
    world.back_up("keyed");
    let rows = "SELECT (SELECT count(*) FROM a_child), (SELECT count(*) FROM m_mother), (SELECT count(*) FROM z_land)";
    world.restore("keyed", "back", &["--schema-only"]).expect(exit::OK);
    world.run(&["restore", "keyed", "--to-database", "back", "--data-only", "--yes"]).expect(exit::OK);
    assert_eq!(server.psql("back", rows), "20|20|2");
    // Of some of them, too.
    world.restore("keyed", "back", &["--schema-only"]).expect(exit::OK);
    let some = ["--table", "m_mother", "--table", "z_land"];
    let args = [&["restore", "keyed", "--to-database", "back", "--data-only", "--yes"], &some[..]].concat();
    world.run(&args).expect(exit::OK);
    assert_eq!(server.psql("back", rows), "0|20|2");
}

fn tables_that_refer_to_each_other_in_a_circle_are_loaded(world: &World) {
    let server = &world.server;
    world.sql("CREATE DATABASE circle");
    server.psql(
        "circle",
        "CREATE TABLE hen (id int PRIMARY KEY, egg int); CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen); \
         INSERT INTO hen SELECT i, i FROM generate_series(1, 50) i; INSERT INTO egg SELECT i, 51 - i FROM generate_series(1, 50) i; \
         ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg",
    );
    world.back_up("circle");
    world.restore("circle", "back", &["--schema-only"]).expect(exit::OK);
    let args = ["restore", "circle", "--to-database", "back", "--data-only", "--yes"];
    world.run(&args).expect(exit::OK).says("public.egg, public.hen").says("in a circle");
    assert_eq!(server.psql("back", "SELECT count(*) FROM hen JOIN egg ON hen.egg = egg.id"), "50");
    // The triggers are on again.
    let enabled = "SELECT bool_and(tgenabled = 'O'), count(*) FROM pg_trigger";
    assert_eq!(server.psql("back", enabled), server.psql("circle", enabled));
}

fn databases_that_take_nobody_are_skipped(world: &World) {
    world.sql("CREATE DATABASE cut_short");
    world.sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'cut_short'");
    world.run(&["backup", "--pg-all", "--series", "all"]).expect(exit::OK).does_not_say("cut_short");
    world.sql("DROP DATABASE cut_short");
}

fn quotes_in_the_names_of_databases_mean_themselves(world: &World) {
    for name in ["qu'o\"te", "two\"quotes\"here", "a.dot"] {
        world.sql(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")));
        world.run(&["backup", "--pg-database", name, "--series", "odd"]).expect(exit::OK);
        world
            .run(&["backup", "--pg-all", "--pg-exclude-database", name, "--series", "others"])
            .expect(exit::OK);
        let listed = world.vault.run(["show", "others"]).expect(exit::OK).text();
        assert!(!listed.contains(name), "{listed}");
        world.run(&["restore", "odd", "--to-database", name]).expect(exit::OK);
        world.sql(&format!("DROP DATABASE \"{}\"", name.replace('"', "\"\"")));
        world.run(&["restore", "odd", "--to-database", name, "--create"]).expect(exit::OK);
        world.run(&["verify", "odd"]).expect(exit::OK);
        world.sql(&format!("DROP DATABASE \"{}\"", name.replace('"', "\"\"")));
    }
}

fn a_dump_of_rows_or_statistics_alone_is_not_called_bad(world: &World) {
    let mut alone = vec![("--data-only", "rows")];
    if world.server.version() >= 18 {
        alone.push(("--statistics-only", "statistics"));
    }
    world.server.psql("keyed", "ANALYZE");
    for (option, what) in alone {
        let dump = world.server.dump("keyed", &["-Fc", "-Z0", option]);
        let id = world.vault.backup(&format!("alone{option}"), &dump);
        world
            .run(&["verify", &id])
            .expect(exit::USAGE)
            .says(&format!("it holds {what} without the tables"))
            .does_not_say("cannot be restored");
    }
}

// A server with little room for locks: what needs 64 for each connection elsewhere needs a few here.

#[test]
fn thousands_of_objects_are_restored_where_there_is_room_for_few_locks() {
    let world =
        World::new(Server::start_with_settings(&["max_locks_per_transaction = 15", "max_connections = 20"]));
    let server = &world.server;
    world.sql("CREATE DATABASE many");
    for part in 0..8 {
        let sql = format!(
            "DO $$ BEGIN FOR i IN 1..50 LOOP EXECUTE format('CREATE TABLE t_%s (id int PRIMARY KEY, v text)', {part} * 50 + i); \
             END LOOP; END $$"
        );
        server.psql("many", &sql);
    }
    server.psql("many", "INSERT INTO t_1 VALUES (1, 'x')");
    world.sql("CREATE DATABASE objects");
    server.psql("objects", "CREATE ROLE reader");
    // On request as many as large applications have.
    let rounds = if long() { 200 } else { 10 };
    (0..rounds).for_each(|_| make_objects(server, 150));
    let all = format!("{0}|{0}|{0}|1", rounds * 150);
    for database in ["many", "objects"] {
        world.back_up(database);
    }
    for options in WAYS {
        world.restore("many", "back", options).expect(exit::OK);
        assert_eq!(server.psql("back", TABLES), "400");
        world.restore("objects", "back", options).expect(exit::OK);
        assert_eq!(server.psql("back", OBJECTS), all);
    }
    // Whatever worker takes them, and whenever.
    for _ in 0..3 {
        world.run(&["verify", "objects", "--jobs", "3"]).expect(exit::OK);
    }
    world.run(&["verify", "objects", "--sample", "10%"]).expect(exit::OK);
    world.run(&["verify", "many"]).expect(exit::OK);
    // One transaction has no room for all: into an empty database they go in several.
    for (series, facts, right) in [("many", TABLES, "400"), ("objects", OBJECTS, all.as_str())] {
        world.sql("DROP DATABASE back");
        server.create("back");
        let told = world.run(&["restore", series, "--to-database", "back"]).expect(exit::OK);
        // Some versions have room for all the large objects.
        if series == "many" {
            told.says("max_locks_per_transaction").says("restoring in several transactions");
        }
        assert_eq!(server.psql("back", facts), right);
    }
    // A script, too: into a database of its own, a scratch database, and one that is there and empty.
    world.vault.backup("script", &server.dump("many", &["--format=plain"]));
    world.run(&["verify", "script"]).expect(exit::OK);
    let told = world.restore("script", "back", &[]).expect(exit::OK);
    told.does_not_say("several transactions");
    assert_eq!(server.psql("back", TABLES), "400");
    world.sql("DROP DATABASE back");
    server.create("back");
    let told = world.run(&["restore", "script", "--to-database", "back"]).expect(exit::OK);
    told.says("restoring in several transactions");
    assert_eq!(server.psql("back", TABLES), "400");
    // All or nothing wants room for all.
    world.sql("DROP DATABASE back");
    server.create("back");
    server.psql("back", "CREATE TABLE mine (a int)");
    world
        .run(&["restore", "many", "--to-database", "back", "--clean", "--yes"])
        .expect(exit::TARGET)
        .says("max_locks_per_transaction")
        .says("--create")
        .says("rolled back");
    assert_eq!(server.psql("back", TABLES), "1");
}

/// Waits, in a scratch database, until somebody is there who has no role: a worker of autovacuum.
const AWAITS_VACUUM: &str = "
CREATE FUNCTION awaits_vacuum(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
  WHILE current_database() LIKE 'dumpvault_verify%' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND usesysid IS NULL
  ) LOOP PERFORM pg_catalog.pg_stat_clear_snapshot(), pg_catalog.pg_sleep(0.02); END LOOP;
  RETURN $1;
END $$;
CREATE TABLE vacuumed AS SELECT i, repeat('x', 500) AS x FROM generate_series(1, 10000) i;
CREATE TABLE small AS SELECT 1 AS a;
CREATE INDEX ON small (awaits_vacuum(a));
";

// A worker of autovacuum that takes its time is in the scratch database when that goes.
#[test]
fn a_scratch_database_that_is_being_vacuumed_goes_all_the_same() {
    let world = World::new(Server::start_with_settings(&[
        "autovacuum_naptime = 1",
        "autovacuum_vacuum_insert_threshold = 0",
        "autovacuum_vacuum_insert_scale_factor = 0",
        "autovacuum_vacuum_cost_limit = 1",
        "autovacuum_vacuum_cost_delay = 100",
    ]));
    world.sql("CREATE DATABASE app");
    world.server.psql("app", AWAITS_VACUUM);
    world.back_up("app");
    world.run(&["verify", "app"]).expect(exit::OK).does_not_say("terminat");
    assert_eq!(world.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'dumpvault%'"), "0");
}

// As many as some applications have, with a comment, a grant and an owner each, and the settings that a server comes
// with; or fewer of both.
#[test]
fn large_objects_are_restored_in_every_way_or_in_none() {
    let is_long = std::env::var_os("DUMPVAULT_TEST_LONG").is_some();
    let (objects, settings): (u64, &[&str]) = match is_long {
        true => (30_000, &[]),
        // Room for 140 locks, and more than it promises.
        false => (
            1_200,
            &[
                "max_locks_per_transaction = 10",
                "max_connections = 10",
                "superuser_reserved_connections = 1",
                "max_wal_senders = 0",
                "wal_level = minimal",
                "max_worker_processes = 2",
                "autovacuum_max_workers = 1",
            ],
        ),
    };
    let world = World::new(Server::start_with_settings(settings));
    let server = &world.server;
    world.sql("CREATE DATABASE objects");
    server.psql("objects", "CREATE ROLE reader");
    (0..objects / 100).for_each(|_| make_objects(server, 100));
    let right = format!("{objects}|{objects}|{objects}|1");
    world.back_up("objects");
    world.restore("objects", "back", &[]).expect(exit::OK).does_not_say("warning");
    for options in [&["--create"][..], &["--create", "--jobs", "2"], &["--jobs", "2"], &[]] {
        world.sql("DROP DATABASE back");
        if !options.contains(&"--create") {
            server.create("back");
        }
        let args = [&["restore", "objects", "--to-database", "back"], options].concat();
        let told = world.run(&args).expect(exit::OK);
        // It is known beforehand that they do not fit.
        assert_eq!(told.stderr.contains("in several transactions"), options.is_empty(), "{told}");
        assert_eq!(server.psql("back", OBJECTS), right, "{options:?}");
    }
    world.run(&["verify", "objects"]).expect(exit::OK);
    world.run(&["verify", "objects", "--jobs", "3"]).expect(exit::OK);
    // What fails later leaves a part, and that is told: a role that is not there.
    world.sql("DROP DATABASE back");
    server.create("back");
    world.sql("CREATE ROLE passing");
    server
        .psql("objects", "CREATE TABLE last (a int); CREATE POLICY passing ON last TO passing USING (true)");
    world.back_up("objects");
    server.psql("objects", "DROP POLICY passing ON last");
    world.sql("DROP ROLE passing");
    let args = ["restore", "objects", "--to-database", "back"];
    world.run(&args).expect(exit::TARGET).says("was empty and now holds a part of the dump");
}

fn make_objects(server: &Server, count: u64) {
    let sql = format!(
        "DO $$ DECLARE o oid; BEGIN FOR i IN 1..{count} LOOP o := lo_from_bytea(0, 'x'); \
         EXECUTE format('COMMENT ON LARGE OBJECT %s IS %L', o, i); EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO reader', o); \
         EXECUTE format('ALTER LARGE OBJECT %s OWNER TO keeper', o); END LOOP; END $$"
    );
    server.psql("objects", &sql);
}

const TABLES: &str = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
const OBJECTS: &str = "SELECT count(*), count(obj_description(oid, 'pg_largeobject')), count(lomacl), count(DISTINCT lomowner) \
                       FROM pg_largeobject_metadata";
