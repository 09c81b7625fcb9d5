//! Options of PostgreSQL: where a server is, what is dumped of it, and through which command client programs run.

use clap::Args;

#[derive(Debug, Args, Clone, Default)]
pub(in crate::cli) struct ServerArgs {
    /// PostgreSQL's host, or the directory of its socket.
    #[arg(long, value_name = "HOST")]
    pub pg_host: Option<String>,
    /// PostgreSQL's port.
    #[arg(long, value_name = "PORT")]
    pub pg_port: Option<u16>,
    /// PostgreSQL's user.
    #[arg(long, value_name = "USER")]
    pub pg_user: Option<String>,
    #[command(flatten)]
    pub exec: ExecArgs,
}

#[derive(Debug, Args, Clone, Default)]
pub(in crate::cli) struct ExecArgs {
    /// Run PostgreSQL's programs behind these words: 'docker exec -i db', 'ssh db1 sudo -u postgres' (quoted for the remote shell).
    #[arg(long, value_name = "COMMAND")]
    pub exec: Option<String>,
}

/// What of a PostgreSQL server is dumped.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "PostgreSQL")]
pub(in crate::cli) struct DumpArgs {
    /// Dump this database, or those that a pattern fits (shop_*); may be given several times. All PG* variables, service files and .pgpass work.
    #[arg(long, value_name = "DB")]
    pub pg_database: Vec<String>,
    /// Dump all databases of the server, as streams of one snapshot.
    #[arg(long, conflicts_with = "pg_database")]
    pub pg_all: bool,
    /// Not these databases; a name or a pattern.
    #[arg(long, value_name = "DB")]
    pub pg_exclude_database: Vec<String>,
    /// Roles, their settings and tablespaces too (pg_dumpall --globals-only); passwords only as a superuser.
    #[arg(long)]
    pub globals: bool,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Only these tables, in pg_dump's notation; may be given several times, as may the next four.
    #[arg(long, value_name = "PATTERN")]
    pub table: Vec<String>,
    /// Not these tables.
    #[arg(long, value_name = "PATTERN")]
    pub exclude_table: Vec<String>,
    /// Only these schemas.
    #[arg(long, value_name = "PATTERN")]
    pub schema: Vec<String>,
    /// Not these schemas.
    #[arg(long, value_name = "PATTERN")]
    pub exclude_schema: Vec<String>,
    /// These tables without their rows.
    #[arg(long, value_name = "PATTERN")]
    pub exclude_table_data: Vec<String>,
    /// Definitions alone, no rows.
    #[arg(long)]
    pub schema_only: bool,
    /// Give up when a table stays locked for so long: 30s, 5m.
    #[arg(long, value_name = "DURATION")]
    pub lock_wait_timeout: Option<String>,
}

impl DumpArgs {
    /// Whether a database, several, or globals are asked for here.
    pub fn names_a_server(&self) -> bool {
        self.pg_all || self.globals || !self.pg_database.is_empty()
    }

    /// Whether something is said of how to dump.
    pub fn filters(&self) -> bool {
        let lists =
            [&self.table, &self.exclude_table, &self.schema, &self.exclude_schema, &self.exclude_table_data];
        self.schema_only || self.lock_wait_timeout.is_some() || lists.iter().any(|list| !list.is_empty())
    }
}
