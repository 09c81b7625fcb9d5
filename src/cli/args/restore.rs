//! Options of `restore` and `verify`.

use super::postgres::ServerArgs;
use super::{NAMES, WhichArgs};
use clap::{ArgGroup, Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const RESTORE: &str = "Examples:
  dumpvault restore app --to app.dump
  dumpvault restore app@2026-11-01 --to-database app_old --create
  dumpvault restore 1a2b3c4d --command -- pg_restore -d app2
  dumpvault restore latest --to - | pg_restore -l
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

Only what is wanted of a dump is read. A file is replaced as a whole, and only once every byte is right. A database
that is there is restored in one transaction; one that is made for the restore is dropped again if that fails.
A program is killed before its input ends when
anything goes wrong, so that it cannot take a cut stream for a whole one.";

#[derive(Debug, Args)]
#[command(after_long_help = format!("{RESTORE}\n\n{NAMES}"))]
#[command(group = ArgGroup::new("into_server").args(["to_database", "all_databases", "to_redis"]))]
#[command(group = ArgGroup::new("into_server_or_set").args(["to_database", "all_databases", "to_redis", "set"]))]
#[command(group = ArgGroup::new("into_postgres").args(["to_database", "all_databases"]))]
#[command(group = ArgGroup::new("into_postgres_or_set").args(["to_database", "all_databases", "set"]))]
#[command(group = ArgGroup::new("into_store").args(["to_redis", "to_bucket"]))]
#[command(group = ArgGroup::new("into_files").args(["to_dir", "to_bucket"]))]
pub(in crate::cli) struct RestoreArgs {
    /// Snapshot to restore.
    #[arg(required_unless_present = "set")]
    pub snapshot: Option<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Restore all sources of a run of `dumpvault run`, in reverse order: SYSTEM, SYSTEM~N, SYSTEM@TIME, or the run's id.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["snapshot", "to", "to_dir", "command", "to_database", "to_redis", "all_databases", "stream", "dry_run"])]
    pub set: Option<String>,
    /// With --set: print the steps as commands, and do nothing (the default).
    #[arg(long, requires = "set")]
    pub plan: bool,
    /// With --set: do the steps. Stops at the first that fails; the same command goes on there.
    #[arg(long, requires = "set", conflicts_with = "plan")]
    pub apply: bool,
    /// With --set: where a source goes [default: where the configuration says that it lives]; repeatable.
    #[arg(long = "set-target", value_name = "SOURCE=TARGET", requires = "set")]
    pub target: Vec<String>,
    /// With --set: leave this source out; repeatable.
    #[arg(long, value_name = "SOURCE", requires = "set")]
    pub skip: Vec<String>,
    /// With --set --apply: repeat the steps that an earlier try has done.
    #[arg(long, requires = "apply")]
    pub again: bool,
    /// Write to this file, or to standard output with `-` (the default).
    #[arg(long, alias = "output", value_name = "PATH", conflicts_with_all = ["command", "to_database"])]
    pub to: Option<PathBuf>,
    /// Restore files into this directory, each by its whole path below it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "command", "to_database"])]
    pub to_dir: Option<PathBuf>,
    #[command(flatten)]
    pub files: RestoreFilesArgs,
    /// Feed the program behind `--`.
    #[arg(long, conflicts_with = "to_database")]
    pub command: bool,
    /// The program and its arguments.
    #[arg(last = true, value_name = "PROGRAM", requires = "command")]
    pub program: Vec<OsString>,
    /// Restore into this PostgreSQL database: a name, or postgres://user@host/name.
    #[arg(long, value_name = "DB")]
    pub to_database: Option<String>,
    /// Restore roles, tablespaces and every database into a PostgreSQL server. Databases that are back already are skipped; none is replaced.
    #[arg(long, alias = "all", conflicts_with_all = ["to", "to_dir", "command", "to_database", "to_redis", "create", "clean", "verify"])]
    pub all_databases: bool,
    /// Server for --all-databases: postgres://user@host [default: --pg-host and so on, else PG* variables].
    #[arg(long = "server", value_name = "URI", requires = "all_databases", conflicts_with_all = ["pg_host", "pg_port", "pg_user"])]
    pub server_uri: Option<String>,
    /// With --all-databases: not these; names and patterns.
    #[arg(long, value_name = "DB", requires = "all_databases")]
    pub exclude_database: Vec<String>,
    /// With --all-databases: restore no roles and tablespaces.
    #[arg(long, requires = "all_databases")]
    pub no_globals: bool,
    /// Restore into this Redis or Valkey server, in place of all that it holds: redis://user@host:6379.
    #[arg(long, value_name = "URL", conflicts_with_all = ["to", "command", "to_database"])]
    pub to_redis: Option<String>,
    /// Restore objects into this bucket: s3://bucket/prefix, or s3:https://host/bucket/prefix.
    #[arg(long, value_name = "URL", conflicts_with_all = ["to", "to_dir", "command", "to_database", "to_redis"])]
    pub to_bucket: Option<String>,
    #[command(flatten)]
    pub bucket: RestoreBucketArgs,
    /// Replace all that the server of --to-redis holds; with --delete, delete more than half of a bucket.
    #[arg(long, requires = "into_store")]
    pub force: bool,
    #[command(flatten)]
    pub keys: RestoreKeysArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Create the database, as the dump says that it was, if it does not exist; drop it again on failure.
    #[arg(long, requires = "to_database")]
    pub create: bool,
    /// Replace what the database holds and the dump holds, too.
    #[arg(long, requires = "to_database")]
    pub clean: bool,
    /// Restore beside the database, count, and only then rename: the old one stays under another name.
    #[arg(long, requires = "to_database", conflicts_with_all = ["create", "clean", "table", "schema", "exclude_table", "schema_only", "data_only", "bare"])]
    pub swap: bool,
    /// Terminate other connections that block --swap or --clean.
    #[arg(long, requires = "to_database")]
    pub terminate_connections: bool,
    /// Wait this long for other connections to end before the swap: 30s, 2h [default: do not start while there are any].
    #[arg(long, value_name = "DURATION", requires = "swap")]
    pub swap_timeout: Option<String>,
    /// Drop databases that killed runs left unfinished, without asking.
    #[arg(long, requires = "to_database")]
    pub drop_leftovers: bool,
    /// Refuse unless this is the host that would be restored to.
    #[arg(long, value_name = "HOST", requires = "into_server")]
    pub expect_host: Option<String>,
    /// Run this by `sh -c` before anything is touched: systemctl stop app. If it fails, nothing is restored.
    #[arg(long, value_name = "COMMAND", requires = "to_database")]
    pub before: Option<String>,
    /// Run this after a restore that went well: migrations, systemctl start app.
    #[arg(long, value_name = "COMMAND", requires = "to_database")]
    pub after: Option<String>,
    /// Run this after a restore that failed once --before had run.
    #[arg(long, value_name = "COMMAND", requires = "to_database")]
    pub after_failure: Option<String>,
    /// Leave everything to the user that restores, not to the owners in the dump.
    #[arg(long, requires = "into_postgres")]
    pub no_owner: bool,
    /// Restore no grants.
    #[arg(long, requires = "into_postgres")]
    pub no_privileges: bool,
    /// Restore everything into the database's own tablespace: for a server without those of the dump.
    #[arg(long, requires = "into_postgres")]
    pub no_tablespaces: bool,
    #[command(flatten)]
    pub parts: PartArgs,
    /// Restore with so many workers side by side, into a database that is new or empty [default: as many as cores, 2 to 4, into one that this command makes].
    #[arg(long, short, value_name = "N", requires = "into_postgres_or_set", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Count the rows of every restored table and compare them with the dump's. That is done anyway when tables were restored with their rows.
    #[arg(long, requires = "to_database", conflicts_with = "no_verify")]
    pub verify: bool,
    /// Do not count.
    #[arg(long, requires = "into_postgres")]
    pub no_verify: bool,
    /// Let a script run any psql command on this machine, shells included. Read it first.
    #[arg(long, requires = "to_database")]
    pub allow_psql_commands: bool,
    /// Restore a snapshot that holds another kind of dump than those before it; --yes does not say so.
    #[arg(long, requires = "into_server_or_set")]
    pub accept_change: bool,
    /// Say what would be restored, and restore nothing.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Which stream, where the snapshot holds several.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Stop the program that takes the restore after so long.
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
}

/// How files are restored.
#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreFilesArgs {
    /// With --to-dir or --to-bucket: restore only what matches, as in a .gitignore file in `/`, and what is below it; repeatable.
    #[arg(long, value_name = "PATTERN", requires = "into_files")]
    pub path: Vec<String>,
    /// With --to-dir or --to-bucket: which existing files or objects to replace [default: changed].
    #[arg(long, value_name = "WHICH", requires = "into_files", value_parser = ["never", "older", "changed", "always"])]
    pub overwrite: Option<String>,
    /// With --to-dir: whom files belong to [default: names for root, otherwise no].
    #[arg(long, value_name = "WHOM", requires = "to_dir", value_parser = ["names", "numeric", "no"])]
    pub owner: Option<String>,
}

/// How objects are restored into a bucket.
#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreBucketArgs {
    /// Service of --to-bucket, if the address names none; else AWS_ENDPOINT_URL.
    #[arg(long, value_name = "URL", requires = "to_bucket")]
    pub bucket_endpoint: Option<String>,
    /// Region of --to-bucket; else AWS_REGION.
    #[arg(long, value_name = "REGION", requires = "to_bucket")]
    pub bucket_region: Option<String>,
    /// Profile in ~/.aws with the keys for --to-bucket.
    #[arg(long, value_name = "NAME", requires = "to_bucket")]
    pub bucket_profile: Option<String>,
    /// Delete objects of --to-bucket that the snapshot does not have; with --path only those that match.
    #[arg(long, requires = "to_bucket")]
    pub delete: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault swap shop_new_20261127_030000 shop
  dumpvault swap shop_new_20261127_030000 shop --server postgres://postgres@db1 --swap-timeout 30m

Finishes a `restore --swap` that could not replace the database because it was in use. NEW
gets the owner's grants, the settings and the comment of LIVE; then both are renamed in one
transaction. LIVE stays under another name. No repository is needed.")]
pub(in crate::cli) struct SwapArgs {
    /// Database that takes the place of LIVE.
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Database that is replaced, and kept under another name.
    #[arg(value_name = "LIVE")]
    pub live: String,
    /// Server of both databases: postgres://user@host [default: PG* variables].
    #[arg(long = "server", value_name = "URI", conflicts_with_all = ["pg_host", "pg_port", "pg_user"])]
    pub uri: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Terminate other connections to LIVE.
    #[arg(long)]
    pub terminate_connections: bool,
    /// Wait this long for other connections to end: 30s, 2h [default: do not wait].
    #[arg(long, value_name = "DURATION")]
    pub swap_timeout: Option<String>,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault verify                                  # the newest snapshot of all
  dumpvault verify app --server postgres://postgres@test1/postgres
  dumpvault verify app@2026-11-01 --jobs 4 --json
  dumpvault verify app --run 'psql $DUMPVAULT_SCRATCH_URL -f smoke.sql'
  dumpvault verify --set shop                       # each source of its newest run, and what its rows refer to

A database with a name of its own is made on the server, the dump restored into it
without owners and grants, the rows of every table counted and compared with those
that were counted in the dump, foreign keys and indexes looked at, and the database
dropped. Nothing else on the server is touched. The role needs CREATEDB. A superuser
does not run the dump's SQL itself: it makes a role without rights for that, and
drops it again. Where the dump needs more (extensions, owners in a script) it is
restored as the superuser, with a warning, or not at all with --no-superuser.

A system of the configuration stands for its newest complete run: each source is
verified, and files that `references` queries name are looked for. The command of
--run finds the address of the scratch copy in DUMPVAULT_SCRATCH_URL, and no secret
but that.

Exit code 0: everything is there. 4: something is missing, or the dump cannot be
restored. 1: it was restored, and there was nothing to compare it with. 6: refused.
Others: nothing was found out.")]
pub(in crate::cli) struct VerifyArgs {
    /// Snapshot to verify, or a system: its newest complete run.
    #[arg(default_value = "latest")]
    pub snapshot: String,
    /// Verify all sources of a run: SYSTEM, SYSTEM~N, SYSTEM@TIME, or the run's id.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["snapshot", "stream"])]
    pub set: Option<String>,
    /// Try each scratch copy out with this command of `sh -c`; if it fails, so does the verification (4).
    #[arg(long, value_name = "COMMAND")]
    pub run: Option<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Server for the scratch database: postgres://user@host/database [default: --pg-host and so on, else PG* variables].
    #[arg(long, value_name = "URI", conflicts_with_all = ["pg_host", "pg_port", "pg_user"])]
    pub server: Option<String>,
    #[command(flatten)]
    pub parts: ServerArgs,
    /// Drop databases that killed runs left unfinished, without asking.
    #[arg(long)]
    pub drop_leftovers: bool,
    /// Only this stream.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// Restore the rows of only about this share of the dump, other tables each time: 10%. The snapshot does not count as verified.
    #[arg(long, value_name = "FRACTION")]
    pub sample: Option<String>,
    /// Restore and count with so many workers side by side.
    #[arg(long, short, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Verify a snapshot that holds another kind of dump than those before it.
    #[arg(long)]
    pub accept_change: bool,
    /// Fail where the dump needs a superuser, instead of restoring it as one.
    #[arg(long)]
    pub no_superuser: bool,
    /// Load Redis files with this program [default: redis-server or valkey-server, if one is found].
    #[arg(long, value_name = "PROGRAM")]
    pub redis_server: Option<OsString>,
    /// Give up after so long.
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
}

/// Keys of Redis and Valkey.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Keys of a Redis or Valkey server")]
pub(in crate::cli) struct RestoreKeysArgs {
    /// Only keys that match, key by key, beside those that are there: 'bull:*'; may be given several times.
    #[arg(long, value_name = "PATTERN", requires = "to_redis")]
    pub key: Vec<String>,
    /// Only this database; 3:5 restores database 3 into database 5. May be given several times.
    #[arg(long, value_name = "N[:M]", requires = "to_redis")]
    pub db: Vec<String>,
    /// Send the whole file as a master does, or key by key [default: master; keys with --key, --db or --on-conflict].
    #[arg(long, value_enum, value_name = "WAY", requires = "to_redis")]
    pub via: Option<Via>,
    /// What becomes of keys that are there already [default: fail, before anything is restored].
    #[arg(long, value_enum, value_name = "WHAT", requires = "to_redis")]
    pub on_conflict: Option<OnConflict>,
}

impl RestoreKeysArgs {
    /// Whether the restore goes key by key.
    pub fn by_key(&self) -> bool {
        let is_said = !self.key.is_empty() || !self.db.is_empty() || self.on_conflict.is_some();
        is_said || self.via == Some(Via::Keys)
    }
}

/// How a server gets its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Via {
    /// The whole file, in place of all that it holds.
    Master,
    /// Key by key.
    Keys,
}

/// What becomes of a key that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum OnConflict {
    /// Nothing is restored.
    Fail,
    /// It stays.
    Skip,
    /// It is replaced.
    Replace,
}

/// Parts of a PostgreSQL archive.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Parts of a PostgreSQL dump")]
pub(in crate::cli) struct PartArgs {
    /// Only this table (view, sequence), with its keys, indexes, and what it needs: orders, audit.*, "odd.name"; may be given several times.
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
    /// Only this schema and what its objects need; may be given several times.
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Vec<String>,
    /// Not this table, nor what cannot be without it; may be given several times.
    #[arg(long, value_name = "TABLE")]
    pub exclude_table: Vec<String>,
    /// Not this extension, nor what cannot be without it; may be given several times.
    #[arg(long, value_name = "EXTENSION")]
    pub exclude_extension: Vec<String>,
    /// Definitions without data.
    #[arg(long, conflicts_with = "data_only")]
    pub schema_only: bool,
    /// Data without definitions: the tables are there already.
    #[arg(long)]
    pub data_only: bool,
    /// The tables and their rows alone: no keys, no indexes, nothing that they need.
    #[arg(long)]
    pub bare: bool,
    /// Large objects, too, where tables or schemas are named.
    #[arg(long)]
    pub large_objects: bool,
}
