//! `type = "postgres"`: what a table of the configuration says of databases.

use super::{
    Clients, Cluster, Connection, ConnectionParts, Database, DatabaseChoice, DumpFilter, PostgresError,
};
use crate::base::pattern::{NamePattern, PatternError};
use crate::base::setting::{
    BOOLEAN, Described, Entry, Key, Kind, PORT, Problem, Raw, Section, TEXT, TEXTS, TIME, Table, Value, WORDS,
};
use crate::source::Source;
use crate::source::kind::{Addressed, Around, Asked, Home, Settled, SourceKind};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

/// The kind.
pub struct Postgres;

impl SourceKind for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn section(&self) -> &'static Section {
        &SECTION
    }

    fn of_table(&self, name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        databases(name, table).map(|found| Arc::new(found) as Arc<dyn Settled>)
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["postgres://", "postgresql://"]
    }

    fn of_address(&self, address: &str, asked: &Asked<'_>) -> Result<Addressed, Problem> {
        let connection = Connection::from_uri(address).map_err(|error| problem(&error))?;
        let database = connection.database().map(str::to_owned);
        let series = database.or_else(|| (asked.variable)("PGDATABASE")).ok_or_else(|| {
            Problem::new(format!("{} has no database name", connection.display()))
                .next("add /DATABASE, or use {pg_all} for every database of the server")
        });
        let source = Databases {
            connection,
            choice: None,
            globals: false,
            filter: asked.filter.clone(),
            exec: None,
            exec_shell: false,
        };
        Ok(Addressed { source: Arc::new(source), series })
    }
}

/// Databases of a PostgreSQL server.
#[derive(Clone)]
pub struct Databases {
    /// The server, and the database where it is only one.
    pub connection: Connection,
    /// Which databases, where it may be several.
    pub choice: Option<DatabaseChoice>,
    /// Roles and tablespaces, too.
    pub globals: bool,
    /// What of each.
    pub filter: DumpFilter,
    /// Words that the client programs are run behind.
    pub exec: Option<Vec<OsString>>,
    /// Whether a shell takes these apart once more.
    pub exec_shell: bool,
}

impl Settled for Databases {
    fn source(&self, around: &Around) -> Box<dyn Source> {
        let wrapper = around.wrapper(self.exec.as_deref()).with_shell(self.exec_shell);
        let found = Clients::installed().with_directories(around.pg_bin_dirs.clone());
        let clients = found.through(wrapper).within(around.programs.clone());
        let (connection, filter, globals) = (self.connection.clone(), self.filter.clone(), self.globals);
        let timeout = around.timeout;
        match self.choice.clone() {
            Some(choice) => Box::new(Cluster { connection, choice, globals, clients, filter, timeout }),
            None => Box::new(Database { connection, clients, filter, timeout }),
        }
    }

    fn home(&self) -> Option<Home> {
        Some(Home { address: self.connection.server_uri(), exec: self.exec.clone() })
    }
}

fn problem(error: &PostgresError) -> Problem {
    Problem { text: error.to_string(), next: error.hint() }
}

/// An address, shown without its password.
const URI: Kind<Connection> = Kind {
    word: "address",
    parse: |raw| Connection::from_uri(raw.text()?).map_err(|error| problem(&error)),
    show: |raw| Some(Raw::Text(Connection::from_uri(raw.text().ok()?).ok()?.display())),
};
/// Names of databases, or patterns.
const DATABASES: Kind<Vec<NamePattern>> = Kind {
    word: "list of names and patterns",
    parse: |raw| {
        let problem = |error: PatternError| Problem::new(error.to_string());
        raw.texts()?.iter().map(|text| NamePattern::name_or_pattern(text).map_err(problem)).collect()
    },
    show: |raw| Some(raw.clone()),
};

macro_rules! keys {
    ($($key:ident: $type:ty = $kind:ident, $name:literal, $about:literal, $example:literal;)*) => {
        $(static $key: Key<$type> = Key::new(&$kind, Entry::new($name, $about, $example));)*
        static SECTION: Section = Section {
            name: "source.NAME",
            which: "with `type = \"postgres\"`",
            about: "Databases of a PostgreSQL server. What is not said here comes from the PG* variables, the service file and .pgpass.",
            keys: &[$(&$key as &dyn Described),*],
        };
    };
}

keys! {
    URI_KEY: Connection = URI, "uri", "The server, and perhaps the database.", "\"postgres://backup@db1/app\"";
    HOST: String = TEXT, "host", "The server's host, or the directory of its socket.", "\"/run/postgresql\"";
    PORT_KEY: u16 = PORT, "port", "The server's port.", "5432";
    USER: String = TEXT, "user", "Role to connect as.", "\"backup\"";
    DATABASE: String = TEXT, "database", "The database; the source's name otherwise.", "\"app\"";
    DATABASES_KEY: Vec<NamePattern> = DATABASES, "databases",
        "Several databases as streams of one snapshot: names and patterns.", "[\"shop_*\", \"billing\"]";
    ALL_DATABASES: bool = BOOLEAN, "all_databases", "Every database of the server.", "true";
    EXCLUDE_DATABASES: Vec<NamePattern> = DATABASES, "exclude_databases",
        "Not these databases: names and patterns.", "[\"scratch_*\"]";
    GLOBALS: bool = BOOLEAN, "globals",
        "Roles, role settings and tablespaces, too; role passwords need a superuser.", "true";
    TABLES: Vec<String> = TEXTS, "tables", "Only these tables, in pg_dump's patterns.", "[\"orders\", \"audit.*\"]";
    EXCLUDE_TABLES: Vec<String> = TEXTS, "exclude_tables", "Not these tables.", "[\"tmp_*\"]";
    SCHEMAS: Vec<String> = TEXTS, "schemas", "Only these schemas.", "[\"public\"]";
    EXCLUDE_SCHEMAS: Vec<String> = TEXTS, "exclude_schemas", "Not these schemas.", "[\"scratch\"]";
    EXCLUDE_TABLE_DATA: Vec<String> = TEXTS, "exclude_table_data",
        "These tables without their rows.", "[\"sessions\"]";
    SCHEMA_ONLY: bool = BOOLEAN, "schema_only", "Definitions only, no rows.", "true";
    LOCK_WAIT_TIMEOUT: Duration = TIME, "lock_wait_timeout",
        "Fail if a table stays locked for this long.", "\"5m\"";
    EXEC: Vec<OsString> = WORDS, "exec", "In the place of `exec` for all.", "[\"docker\", \"exec\", \"-i\", \"db\"]";
    EXEC_SHELL: bool = BOOLEAN, "exec_shell",
        "Whether that command has a shell split its arguments once more, as `ssh` does.", "true";
}

/// The databases of a table of the source `name`; `None` when something is wrong, which the table was told.
fn databases(name: &str, table: &mut Table<'_>) -> Option<Databases> {
    let is = |found: Option<Value<bool>>| found.is_some_and(|found| found.value);
    let uri = table.take(&URI_KEY);
    let parts = ConnectionParts {
        database: None,
        host: table.take(&HOST).map(|found| found.value),
        port: table.take(&PORT_KEY).map(|found| found.value),
        user: table.take(&USER).map(|found| found.value),
    };
    let database = table.take(&DATABASE);
    let wanted = table.take(&DATABASES_KEY).map(|found| found.value).unwrap_or_default();
    let all = is(table.take(&ALL_DATABASES));
    let excluded = table.take(&EXCLUDE_DATABASES).map(|found| found.value).unwrap_or_default();
    let globals = is(table.take(&GLOBALS));
    let mut list = |key| table.take(key).map(|found: Value<Vec<String>>| found.value).unwrap_or_default();
    let filter = DumpFilter {
        tables: list(&TABLES),
        exclude_tables: list(&EXCLUDE_TABLES),
        schemas: list(&SCHEMAS),
        exclude_schemas: list(&EXCLUDE_SCHEMAS),
        exclude_table_data: list(&EXCLUDE_TABLE_DATA),
        schema_only: is(table.take(&SCHEMA_ONLY)),
        lock_wait: table.take(&LOCK_WAIT_TIMEOUT).map(|found| found.value),
    };
    let exec = table.take(&EXEC).map(|found| found.value);
    let exec_shell = is(table.take(&EXEC_SHELL));
    let has_uri = uri.is_some();
    let server = match uri {
        Some(uri) => uri.value,
        None => Connection::from_parts(parts).map_err(|error| table.wrong(None, problem(&error))).ok()?,
    };
    let several = all || globals || !wanted.is_empty();
    if several && let Some(database) = &database {
        let text = "it cannot be combined with `databases`, `all_databases` or `globals`";
        table.wrong(Some((DATABASE.entry.name, &database.origin)), Problem::new(text));
    }
    let connection = match (database, server.database()) {
        _ if several => server,
        (Some(database), _) => server.with_database(&database.value),
        (None, Some(_)) => server,
        (None, None) if has_uri => server,
        (None, None) => server.with_database(name),
    };
    let choice = several.then_some(DatabaseChoice { all, wanted, excluded });
    Some(Databases { connection, choice, globals, filter, exec, exec_shell })
}
