//! Dumping one database with `pg_dump`.

use super::client::{Clients, FoundClient, ServerInfo};
use super::connection::Connection;
use crate::source::command::ProcessDump;
use crate::source::process::Limits;
use crate::source::{Dump, SourceError};
use std::time::Duration;

/// One database of a PostgreSQL server, dumped in the custom archive format, uncompressed: compression would hide what
/// did not change.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    /// The server and the database.
    pub connection: Connection,
    /// Where to look for client programs.
    pub clients: Clients,
    /// How long the dump may take, and who may stop it.
    pub limits: Limits,
    /// What of it, and how.
    pub filter: DumpFilter,
}

/// What of a database is dumped, in the words of `pg_dump`; everything by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpFilter {
    /// `--table`: only these.
    pub tables: Vec<String>,
    /// `--exclude-table`
    pub exclude_tables: Vec<String>,
    /// `--schema`: only these.
    pub schemas: Vec<String>,
    /// `--exclude-schema`
    pub exclude_schemas: Vec<String>,
    /// `--exclude-table-data`: their definitions alone.
    pub exclude_table_data: Vec<String>,
    /// `--schema-only`: definitions alone.
    pub schema_only: bool,
    /// `--lock-wait-timeout`: how long to wait for tables that somebody has locked.
    pub lock_wait: Option<Duration>,
}

impl DumpFilter {
    /// The options of `pg_dump` that choose what is dumped. A name of a table or schema that is none is an error to it.
    pub fn choices(&self) -> Vec<String> {
        let lists = [
            ("--table", &self.tables),
            ("--exclude-table", &self.exclude_tables),
            ("--schema", &self.schemas),
            ("--exclude-schema", &self.exclude_schemas),
            ("--exclude-table-data", &self.exclude_table_data),
        ];
        let mut choices: Vec<String> = lists
            .into_iter()
            .flat_map(|(option, names)| names.iter().map(move |name| format!("{option}={name}")))
            .collect();
        if !self.tables.is_empty() || !self.schemas.is_empty() {
            choices.push("--strict-names".to_owned());
        }
        if self.schema_only {
            choices.push("--schema-only".to_owned());
        }
        choices
    }

    fn args(&self) -> Vec<String> {
        let mut args = self.choices();
        // In milliseconds every version of `pg_dump` understands it.
        args.extend(self.lock_wait.map(|wait| format!("--lock-wait-timeout={}", wait.as_millis())));
        args
    }
}

/// A dump that was started, and what is known of it.
pub struct PostgresDump {
    /// The bytes: an archive of `pg_dump -Fc -Z0`.
    pub dump: Box<dyn Dump>,
    /// The server, and the name of the database that is dumped.
    pub server: ServerInfo,
    /// The program that dumps.
    pub tool: &'static str,
    /// Which of them was chosen.
    pub client: FoundClient,
}

impl PostgresSource {
    /// The database that `connection` leads to, dumped by whatever fitting `pg_dump` is installed.
    pub fn new(connection: Connection, limits: Limits) -> Self {
        Self { connection, clients: Clients::installed(), limits, filter: DumpFilter::default() }
    }

    /// Asks for the server's version, chooses the `pg_dump` of the same version or else the oldest newer one, and
    /// starts it.
    ///
    /// # Errors
    /// [`SourceError::Postgres`] when the server cannot be reached or no fitting `pg_dump` is installed: nothing was
    /// started then. What goes wrong later is told by [`Dump::finish`].
    pub fn open(&self) -> Result<PostgresDump, SourceError> {
        let cancel = &self.limits.cancel;
        let server = self.clients.server(&self.connection, cancel)?;
        let client = self.clients.choose("pg_dump", server.version, server.version, cancel)?;
        // The server's own name for it: what was asked about is what is dumped.
        let connection = self.connection.with_database(&server.database);
        let invocation = self
            .clients
            .client(&connection, &client.path)
            .args(self.filter.args())
            .args(["--format=custom", "--compress=0"]);
        let dump = ProcessDump::start(&invocation, self.limits.clone())?;
        // It writes the head of an archive when it has its snapshot, its locks and all definitions.
        let dump = Box::new(dump.settled_once_it_prints());
        Ok(PostgresDump { dump, server, tool: "pg_dump", client })
    }
}
