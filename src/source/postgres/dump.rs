//! Dumping one database with `pg_dump`.

use super::client::{Clients, FoundClient, ServerInfo};
use super::connection::Connection;
use crate::source::command::ProcessDump;
use crate::source::process::Limits;
use crate::source::{Dump, SourceError};
use std::ffi::OsString;

/// One database of a PostgreSQL server, dumped in the custom archive format, uncompressed: compression would hide what did
/// not change.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    /// The server and the database.
    pub connection: Connection,
    /// Where to look for client programs.
    pub clients: Clients,
    /// How long the dump may take, and who may stop it.
    pub limits: Limits,
    /// More options for `pg_dump` (`--schema=…`, `--lock-wait-timeout=…`). Its format and compression cannot be changed.
    pub extra_args: Vec<OsString>,
}

/// A dump that was started, and what is known of it.
pub struct PostgresDump {
    /// The bytes: an archive of `pg_dump -Fc -Z0`.
    pub dump: Box<dyn Dump>,
    /// The server, and the name of the database that is dumped.
    pub server: ServerInfo,
    /// The `pg_dump` that was chosen.
    pub client: FoundClient,
}

impl PostgresSource {
    /// The database that `connection` leads to, dumped by whatever fitting `pg_dump` is installed.
    pub fn new(connection: Connection, limits: Limits) -> Self {
        Self { connection, clients: Clients::installed(), limits, extra_args: Vec::new() }
    }

    /// Asks for the server's version, chooses the `pg_dump` of the same version or else the oldest newer one, and starts it.
    ///
    /// # Errors
    /// [`SourceError::Postgres`] when the server cannot be reached or no fitting `pg_dump` is installed: nothing was started
    /// then. What goes wrong later is told by [`Dump::finish`].
    pub fn open(&self) -> Result<PostgresDump, SourceError> {
        let cancel = &self.limits.cancel;
        let server = self.clients.server(&self.connection, cancel)?;
        let client = self.clients.choose("pg_dump", server.version, server.version, cancel)?;
        let invocation = self
            .connection
            // The server's own name for it: what was asked about is what is dumped.
            .with_database(&server.database)
            .client(&client.path)
            .args(self.extra_args.iter().cloned())
            .args(["--format=custom", "--compress=0"]);
        let dump = Box::new(ProcessDump::start(&invocation, self.limits.clone())?);
        Ok(PostgresDump { dump, server, client })
    }
}
