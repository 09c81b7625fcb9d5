//! Options of `restore` and `verify`.

use super::postgres::ServerArgs;
use super::{NAMES, WhichArgs};
use clap::{ArgGroup, Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const RESTORE: &str = "Examples:
  dumpvault restore app --output app.dump
  dumpvault restore app@2026-11-01 --to-database app_old --create
  dumpvault restore 1a2b3c4d --command -- pg_restore -d app2
  dumpvault restore latest --output - | pg_restore -l
  dumpvault restore app --table orders --to-database scratch --create
  dumpvault restore app --table 'audit.*' --data-only --to-database app --yes
  dumpvault restore app --to-database app_new --create --jobs 4
  dumpvault restore app --to-database app --swap --jobs 4 --after 'systemctl restart app'
  dumpvault restore app --schema audit --dry-run
  dumpvault restore db1 --all-databases --server postgres://postgres@new1
  dumpvault restore --set shop --plan
  dumpvault restore --set shop@2026-11-26 --apply --set-target db=postgres://postgres@new1
  dumpvault restore queue --to-redis redis://vault@queue2:6379
  dumpvault restore uploads --to-dir /srv/restored --path /srv/app/uploads/2026
  dumpvault restore media --to-bucket s3://media-restored --dry-run

Only the selected data is read. A file appears only when it is complete. A database that
exists is restored in one transaction; one that is created for the restore is dropped again
if it fails. Then rows are counted. If anything fails, a receiving program is killed before
its input ends, so it cannot mistake a truncated stream for a complete one.";

#[derive(Debug, Args)]
#[command(after_long_help = format!("{RESTORE}\n\n{NAMES}"))]
#[command(group = ArgGroup::new("into_server").args(["to_database", "all_databases", "to_redis"]))]
#[command(group = ArgGroup::new("into_server_or_set").args(["to_database", "all_databases", "to_redis", "set"]))]
#[command(group = ArgGroup::new("into_postgres").args(["to_database", "all_databases"]))]
#[command(group = ArgGroup::new("into_postgres_or_set").args(["to_database", "all_databases", "set"]))]
#[command(group = ArgGroup::new("into_store").args(["to_redis", "to_bucket", "to_dir"]))]
#[command(group = ArgGroup::new("into_files").args(["to_dir", "to_bucket"]))]
pub(in crate::cli) struct RestoreArgs {
    /// Snapshot to restore.
    #[arg(required_unless_present = "set")]
    pub snapshot: Option<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Restore all sources of a `dumpvault run`, in reverse order: SYSTEM, SYSTEM~N, SYSTEM@TIME, or the run's id.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["snapshot", "output", "to_dir", "command", "to_database", "to_redis", "all_databases", "stream", "dry_run"], help_heading = "Systems")]
    pub set: Option<String>,
    /// With --set: print the steps as commands, and exit (the default).
    #[arg(long, requires = "set", help_heading = "Systems")]
    pub plan: bool,
    /// With --set: run the steps. Stops at the first failure; the same command resumes there.
    #[arg(long, requires = "set", conflicts_with = "plan", help_heading = "Systems")]
    pub apply: bool,
    /// With --set: target of a source [default: its address in the configuration]; repeatable.
    #[arg(long = "set-target", value_name = "SOURCE=TARGET", requires = "set", help_heading = "Systems")]
    pub target: Vec<String>,
    /// With --set: skip this source; repeatable.
    #[arg(long, value_name = "SOURCE", requires = "set", help_heading = "Systems")]
    pub skip: Vec<String>,
    /// With --set --apply: repeat steps that an earlier run completed.
    #[arg(long, requires = "apply", help_heading = "Systems")]
    pub again: bool,
    /// Write to this file; `-` for standard output [default: -].
    #[arg(long, alias = "to", value_name = "PATH", conflicts_with_all = ["command", "to_database"], help_heading = None::<&str>)]
    pub output: Option<PathBuf>,
    /// Restore files into this directory, each under its full path.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "command", "to_database"], help_heading = "Files and objects")]
    pub to_dir: Option<PathBuf>,
    #[command(flatten)]
    pub files: RestoreFilesArgs,
    /// Send the stream to PROGRAM.
    #[arg(long, conflicts_with = "to_database", help_heading = None::<&str>)]
    pub command: bool,
    /// Program and arguments, after `--`.
    #[arg(last = true, value_name = "PROGRAM", requires = "command")]
    pub program: Vec<OsString>,
    /// Restore into this database: a name or postgres://user@host/name.
    #[arg(long, value_name = "DB", help_heading = "PostgreSQL database")]
    pub to_database: Option<String>,
    /// Restore roles, tablespaces and every database of a PostgreSQL server; skip databases that are already restored.
    #[arg(long, alias = "all", conflicts_with_all = ["output", "to_dir", "command", "to_database", "to_redis", "create", "clean", "verify"], help_heading = "PostgreSQL database")]
    pub all_databases: bool,
    /// Server for --all-databases: postgres://user@host [default: --pg-host and so on, else PG* variables].
    #[arg(long = "server", value_name = "URI", requires = "all_databases", conflicts_with_all = ["pg_host", "pg_port", "pg_user"], help_heading = "PostgreSQL database")]
    pub server_uri: Option<String>,
    /// With --all-databases: skip this database or pattern; repeatable.
    #[arg(long, value_name = "DB", requires = "all_databases", help_heading = "PostgreSQL database")]
    pub exclude_database: Vec<String>,
    /// With --all-databases: do not restore roles and tablespaces.
    #[arg(long, requires = "all_databases", help_heading = "PostgreSQL database")]
    pub no_globals: bool,
    /// Restore into this Redis or Valkey server: redis://user@host:6379.
    #[arg(long, value_name = "URL", conflicts_with_all = ["output", "command", "to_database"], help_heading = "Redis and Valkey")]
    pub to_redis: Option<String>,
    /// Restore objects into this bucket: s3://bucket/prefix, or s3:https://host/bucket/prefix.
    #[arg(long, value_name = "URL", conflicts_with_all = ["output", "to_dir", "command", "to_database", "to_redis"], help_heading = "Files and objects")]
    pub to_bucket: Option<String>,
    #[command(flatten)]
    pub bucket: RestoreBucketArgs,
    /// Replace all keys of the --to-redis server; with --delete, allow deleting more than half of a bucket, from `/` or
    /// your home directory, and what the backup left out.
    #[arg(long, requires = "into_store", help_heading = "Redis and Valkey")]
    pub force: bool,
    #[command(flatten)]
    pub keys: RestoreKeysArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Create the database as it was if it does not exist; drop it again on failure.
    #[arg(long, requires = "to_database", help_heading = "PostgreSQL database")]
    pub create: bool,
    /// Replace objects that already exist in the database.
    #[arg(long, requires = "to_database", help_heading = "PostgreSQL database")]
    pub clean: bool,
    /// Restore into a new database, count its rows, then rename it into place; keep the old one under another name.
    #[arg(long, requires = "to_database", conflicts_with_all = ["create", "clean", "table", "schema", "exclude_table", "schema_only", "data_only", "bare"], help_heading = "PostgreSQL database")]
    pub swap: bool,
    /// Terminate other connections that block --swap or --clean.
    #[arg(long, requires = "to_database", help_heading = "PostgreSQL database")]
    pub terminate_connections: bool,
    /// Wait this long for other connections to end before the swap: 30s, 2h [default: fail at the start if there are
    /// any].
    #[arg(long, value_name = "DURATION", requires = "swap", help_heading = "PostgreSQL database")]
    pub swap_timeout: Option<String>,
    /// Drop unfinished databases of killed runs without asking.
    #[arg(long, requires = "to_database", help_heading = "PostgreSQL database")]
    pub drop_leftovers: bool,
    /// Refuse to restore unless the target host is HOST.
    #[arg(long, value_name = "HOST", requires = "into_server", help_heading = "PostgreSQL database")]
    pub expect_host: Option<String>,
    /// Shell command to run before anything changes; if it fails, nothing is restored.
    #[arg(long, value_name = "COMMAND", requires = "to_database", help_heading = "PostgreSQL database")]
    pub before: Option<String>,
    /// Shell command to run after a successful restore.
    #[arg(long, value_name = "COMMAND", requires = "to_database", help_heading = "PostgreSQL database")]
    pub after: Option<String>,
    /// Shell command to run after a failed restore.
    #[arg(long, value_name = "COMMAND", requires = "to_database", help_heading = "PostgreSQL database")]
    pub after_failure: Option<String>,
    /// Do not restore object ownership.
    #[arg(long, requires = "into_postgres", help_heading = "PostgreSQL database")]
    pub no_owner: bool,
    /// Do not restore grants.
    #[arg(long, requires = "into_postgres", help_heading = "PostgreSQL database")]
    pub no_privileges: bool,
    /// Restore everything into the default tablespace of the database.
    #[arg(long, requires = "into_postgres", help_heading = "PostgreSQL database")]
    pub no_tablespaces: bool,
    #[command(flatten)]
    pub parts: PartArgs,
    /// Restore with N parallel workers into a new or empty database [default: one worker; for a database that this
    /// command creates, one per core, 2 to 4].
    #[arg(long, short, value_name = "N", requires = "into_postgres_or_set", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "PostgreSQL database")]
    pub jobs: Option<u16>,
    /// Count rows even with --data-only; other restores with rows are always counted.
    #[arg(
        long,
        requires = "to_database",
        conflicts_with = "no_verify",
        help_heading = "PostgreSQL database"
    )]
    pub verify: bool,
    /// Do not count rows after the restore.
    #[arg(long, requires = "into_postgres", help_heading = "PostgreSQL database")]
    pub no_verify: bool,
    /// Let a script run any psql command on this machine, including shell commands. Read the script first.
    #[arg(long, requires = "to_database", help_heading = "PostgreSQL database")]
    pub allow_psql_commands: bool,
    /// Restore a snapshot whose kind of dump or author changed; --yes does not imply this.
    #[arg(long, requires = "into_server_or_set", help_heading = None::<&str>)]
    pub accept_change: bool,
    /// Print what would be restored, and exit.
    #[arg(long, short = 'n', help_heading = None::<&str>)]
    pub dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long, short, help_heading = None::<&str>)]
    pub yes: bool,
    /// Stream to restore, if the snapshot has several.
    #[arg(long, value_name = "NAME", help_heading = None::<&str>)]
    pub stream: Option<String>,
    /// Stop the receiving program after this time: 90s, 30m, 2h [default: none].
    #[arg(long, value_name = "DURATION", help_heading = None::<&str>)]
    pub timeout: Option<String>,
}

/// How files are restored.
#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreFilesArgs {
    /// With --to-dir or --to-bucket: restore only paths that match this .gitignore pattern, and everything below
    /// them; repeatable.
    #[arg(long, value_name = "PATTERN", requires = "into_files", help_heading = "Files and objects")]
    pub path: Vec<String>,
    /// With --to-dir or --to-bucket: which existing files or objects to replace [default: changed].
    #[arg(long, value_name = "WHICH", requires = "into_files", value_parser = ["never", "older", "changed", "always"], help_heading = "Files and objects")]
    pub overwrite: Option<String>,
    /// With --to-dir: how to set owners [default: names for root, otherwise no].
    #[arg(long, value_name = "WHOM", requires = "to_dir", value_parser = ["names", "numeric", "no"], help_heading = "Files and objects")]
    pub owner: Option<String>,
}

/// How objects are restored into a bucket.
#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreBucketArgs {
    /// Endpoint of --to-bucket if the address has none [env: AWS_ENDPOINT_URL].
    #[arg(long, value_name = "URL", requires = "to_bucket", help_heading = "Files and objects")]
    pub bucket_endpoint: Option<String>,
    /// Region of --to-bucket [env: AWS_REGION].
    #[arg(long, value_name = "REGION", requires = "to_bucket", help_heading = "Files and objects")]
    pub bucket_region: Option<String>,
    /// AWS profile with the credentials for --to-bucket.
    #[arg(long, value_name = "NAME", requires = "to_bucket", help_heading = "Files and objects")]
    pub bucket_profile: Option<String>,
    /// Delete what is not in the snapshot from --to-bucket, or from the restored directories below --to-dir; with
    /// --path, only what matches.
    #[arg(long, requires = "into_files", help_heading = "Files and objects")]
    pub delete: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault swap shop_new_20261127_030000 shop
  dumpvault swap shop_new_20261127_030000 shop --server postgres://postgres@db1 --swap-timeout 30m

Finishes a `restore --swap` that could not replace the database because it was in use. NEW
gets the owner, grants, settings and comment of LIVE; then both are renamed in one
transaction. LIVE is kept under another name. Needs no repository.")]
pub(in crate::cli) struct SwapArgs {
    /// Database that replaces LIVE.
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Database to replace; it is kept under another name.
    #[arg(value_name = "LIVE")]
    pub live: String,
    /// Server of both databases: postgres://user@host [default: PG* variables].
    #[arg(long = "server", value_name = "URI", conflicts_with_all = ["pg_host", "pg_port", "pg_user"])]
    pub uri: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Terminate other connections to LIVE.
    #[arg(long, help_heading = None::<&str>)]
    pub terminate_connections: bool,
    /// Wait this long for other connections to end: 30s, 2h [default: do not wait].
    #[arg(long, value_name = "DURATION", help_heading = None::<&str>)]
    pub swap_timeout: Option<String>,
    /// Print what would be replaced, and exit.
    #[arg(long, short = 'n', help_heading = None::<&str>)]
    pub dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long, short, help_heading = None::<&str>)]
    pub yes: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault verify                                  # the newest snapshot of all
  dumpvault verify app --server postgres://postgres@test1/postgres
  dumpvault verify app@2026-11-01 --jobs 4 --json
  dumpvault verify app --run 'psql $DUMPVAULT_SCRATCH_URL -f smoke.sql'
  dumpvault verify --set shop                       # each source of the newest run, and its files

Restores every stream into a new scratch database without owners and grants, compares
the row count of each table with the dump, checks foreign keys and indexes, and drops
the database. Nothing else on the server changes. The role needs CREATEDB. A superuser
does not run the dump's SQL: it creates a role without privileges for that, and drops it
afterwards. A dump that needs more (extensions, owners in a script) is restored as the
superuser, with a warning; --no-superuser refuses that.

The name of a system stands for its newest complete run: each source is verified, and
the files named by `references` queries are looked up. The command of --run gets the
address of the scratch copy in DUMPVAULT_SCRATCH_URL, and no other secret.

Exit codes: 0 everything is there; 4 data is missing or cannot be restored; 1 restored,
but there is nothing to compare with; 6 refused; others: the test did not finish.")]
pub(in crate::cli) struct VerifyArgs {
    /// Snapshot to verify, or a system for its newest complete run.
    #[arg(default_value = "latest")]
    pub snapshot: String,
    /// Verify all sources of a run: SYSTEM, SYSTEM~N, SYSTEM@TIME, or the run's id.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["snapshot", "stream"])]
    pub set: Option<String>,
    /// Shell command to test each scratch copy with; if it fails, so does the verification (4).
    #[arg(long, value_name = "COMMAND")]
    pub run: Option<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Server for the scratch database: postgres://user@host/database [default: --pg-host and so on, else PG*
    /// variables].
    #[arg(long, value_name = "URI", conflicts_with_all = ["pg_host", "pg_port", "pg_user"])]
    pub server: Option<String>,
    #[command(flatten)]
    pub parts: ServerArgs,
    /// Drop unfinished databases of killed runs without asking.
    #[arg(long, help_heading = None::<&str>)]
    pub drop_leftovers: bool,
    /// Verify only this stream; the snapshot is not marked verified.
    #[arg(long, value_name = "NAME", help_heading = None::<&str>)]
    pub stream: Option<String>,
    /// Restore the rows of only about this fraction, different tables for each snapshot: 10%; the snapshot is not
    /// marked verified.
    #[arg(long, value_name = "FRACTION", help_heading = None::<&str>)]
    pub sample: Option<String>,
    /// Parallel workers.
    #[arg(long, short, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = None::<&str>)]
    pub jobs: u16,
    /// Verify a snapshot whose kind of dump or author changed.
    #[arg(long, help_heading = None::<&str>)]
    pub accept_change: bool,
    /// Fail if the dump needs a superuser instead of restoring it as one.
    #[arg(long, help_heading = None::<&str>)]
    pub no_superuser: bool,
    /// Load Redis files with this program [default: redis-server or valkey-server, if found].
    #[arg(long, value_name = "PROGRAM", help_heading = None::<&str>)]
    pub redis_server: Option<OsString>,
    /// Give up after this time: 30m, 2h [default: none].
    #[arg(long, value_name = "DURATION", help_heading = None::<&str>)]
    pub timeout: Option<String>,
}

/// Keys of Redis and Valkey.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Redis and Valkey")]
pub(in crate::cli) struct RestoreKeysArgs {
    /// Restore only keys that match, beside existing ones: 'bull:*'; repeatable.
    #[arg(long, value_name = "PATTERN", requires = "to_redis")]
    pub key: Vec<String>,
    /// Restore only this database; 3:5 restores database 3 into database 5; repeatable.
    #[arg(long, value_name = "N[:M]", requires = "to_redis")]
    pub db: Vec<String>,
    /// Send the whole file as a master does, or each key [default: master; keys with --key, --db or --on-conflict].
    #[arg(long, value_enum, value_name = "WAY", requires = "to_redis")]
    pub via: Option<Via>,
    /// What to do with existing keys [default: fail before anything is restored].
    #[arg(long, value_enum, value_name = "WHAT", requires = "to_redis")]
    pub on_conflict: Option<OnConflict>,
}

impl RestoreKeysArgs {
    /// Whether the restore goes key by key.
    pub(crate) fn by_key(&self) -> bool {
        let is_said = !self.key.is_empty() || !self.db.is_empty() || self.on_conflict.is_some();
        is_said || self.via == Some(Via::Keys)
    }
}

/// How a server gets its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Via {
    /// Replace all keys of the server.
    Master,
    /// Restore each key.
    Keys,
}

/// What becomes of a key that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OnConflict {
    /// Restore nothing.
    Fail,
    /// Keep the existing key.
    Skip,
    /// Replace the existing key.
    Replace,
}

/// Parts of a PostgreSQL archive.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Selection from a PostgreSQL dump")]
pub(in crate::cli) struct PartArgs {
    /// Restore this table, view or sequence with its indexes, constraints and dependencies: orders, audit.*;
    /// repeatable.
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
    /// Restore this schema and its dependencies; repeatable.
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Vec<String>,
    /// Skip this table and everything that depends on it; repeatable.
    #[arg(long, value_name = "TABLE")]
    pub exclude_table: Vec<String>,
    /// Skip this extension and everything that depends on it; repeatable.
    #[arg(long, value_name = "EXTENSION")]
    pub exclude_extension: Vec<String>,
    /// Restore definitions only.
    #[arg(long, conflicts_with = "data_only")]
    pub schema_only: bool,
    /// Restore rows only, into existing tables.
    #[arg(long)]
    pub data_only: bool,
    /// Restore only the tables and their rows: no indexes, constraints or dependencies.
    #[arg(long)]
    pub bare: bool,
    /// Include large objects when --table or --schema is given.
    #[arg(long)]
    pub large_objects: bool,
}
