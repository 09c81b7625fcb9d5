//! Options of PostgreSQL: where a server is, what is dumped of it, and through which command client programs run.

use clap::Args;

#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "PostgreSQL connection")]
pub(in crate::cli) struct ServerArgs {
    /// Server host or socket directory.
    #[arg(long, value_name = "HOST")]
    pub pg_host: Option<String>,
    /// Server port.
    #[arg(long, value_name = "PORT")]
    pub pg_port: Option<u16>,
    /// Role to connect as.
    #[arg(long, value_name = "USER")]
    pub pg_user: Option<String>,
    #[command(flatten)]
    pub exec: ExecArgs,
}

#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "PostgreSQL connection")]
pub(in crate::cli) struct ExecArgs {
    /// Run the PostgreSQL client programs through this command: 'docker exec -i db', 'ssh db1 sudo -u postgres'.
    #[arg(long, alias = "exec", value_name = "COMMAND")]
    pub pg_exec: Option<String>,
}

/// What of a PostgreSQL server is dumped.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "PostgreSQL dump")]
pub(in crate::cli) struct DumpArgs {
    /// Database or pattern to dump, such as shop_*; repeatable.
    #[arg(long, value_name = "DB")]
    pub pg_database: Vec<String>,
    /// Dump every database of the server, each as one stream of the snapshot.
    #[arg(long, conflicts_with = "pg_database")]
    pub pg_all: bool,
    /// Skip this database or pattern; repeatable.
    #[arg(long, value_name = "DB")]
    pub pg_exclude_database: Vec<String>,
    /// Also dump roles, role settings and tablespaces; role passwords need a superuser.
    #[arg(long, alias = "globals")]
    pub pg_globals: bool,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Dump only these tables (pg_dump pattern); repeatable.
    #[arg(long, value_name = "PATTERN", help_heading = "PostgreSQL dump")]
    pub table: Vec<String>,
    /// Skip these tables; repeatable.
    #[arg(long, value_name = "PATTERN", help_heading = "PostgreSQL dump")]
    pub exclude_table: Vec<String>,
    /// Dump only these schemas; repeatable.
    #[arg(long, value_name = "PATTERN", help_heading = "PostgreSQL dump")]
    pub schema: Vec<String>,
    /// Skip these schemas; repeatable.
    #[arg(long, value_name = "PATTERN", help_heading = "PostgreSQL dump")]
    pub exclude_schema: Vec<String>,
    /// Dump the definitions but not the rows of these tables; repeatable.
    #[arg(long, value_name = "PATTERN", help_heading = "PostgreSQL dump")]
    pub exclude_table_data: Vec<String>,
    /// Dump definitions only, no rows.
    #[arg(long, help_heading = "PostgreSQL dump")]
    pub schema_only: bool,
    /// Fail if a table stays locked this long: 30s, 5m [default: wait].
    #[arg(long, value_name = "DURATION", help_heading = "PostgreSQL dump")]
    pub lock_wait_timeout: Option<String>,
}

impl DumpArgs {
    /// Whether a database, several, or globals are asked for here.
    pub(crate) fn names_a_server(&self) -> bool {
        self.pg_all || self.pg_globals || !self.pg_database.is_empty()
    }

    /// Whether something is said of how to dump.
    pub(crate) fn filters(&self) -> bool {
        let lists =
            [&self.table, &self.exclude_table, &self.schema, &self.exclude_schema, &self.exclude_table_data];
        self.schema_only || self.lock_wait_timeout.is_some() || lists.iter().any(|list| !list.is_empty())
    }
}
