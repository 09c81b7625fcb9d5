//! `backup`: what is backed up, and how.

use super::DumpArgs;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault backup postgres://backup@db1/app
  dumpvault backup redis://vault@queue1:6379
  dumpvault backup --pg-database app --pg-host /run/postgresql
  dumpvault backup postgres://backup@db1 --pg-all --pg-globals --series db1
  dumpvault backup --pg-database 'shop_*' --exclude-table-data 'audit.*' --series shops
  dumpvault backup --pg-database app --pg-user postgres --pg-exec 'docker exec -i db'
  dumpvault backup --series app --command -- pg_dump -Fc -Z0 app
  redis-cli --rdb - | dumpvault backup --stdin --series redis
  dumpvault backup app redis            # [source.app], [source.redis] in dumpvault.toml

Stores each source as a new snapshot. A snapshot is created only if the dump ended
without error and, for PostgreSQL dumps, is structurally complete.

Prefer --command to --stdin, which cannot see whether the program behind the pipe
failed: such a snapshot is `unproven` unless the structure of the dump shows that it is
complete. Use `pg_dump -Z0`: a compressed dump cannot be deduplicated.")]
pub(in crate::cli) struct BackupArgs {
    /// Sources from the configuration file, or addresses: postgres://, redis://, s3://.
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Read the dump from standard input; the exit status of its producer is unknown.
    #[arg(long, requires = "series", conflicts_with_all = ["sources", "command", "pg_database", "pg_all", "pg_globals"])]
    pub stdin: bool,
    /// Run PROGRAM without a shell and store its standard output.
    #[arg(long, requires = "series", conflicts_with_all = ["sources", "pg_database", "pg_all", "pg_globals"])]
    pub command: bool,
    /// Program and arguments, after `--`.
    #[arg(last = true, value_name = "PROGRAM", requires = "command")]
    pub program: Vec<OsString>,
    /// Back up this file or directory and everything below it; repeatable.
    #[arg(long, value_name = "PATH", requires = "series", conflicts_with_all = ["sources", "stdin", "command", "pg_database", "pg_all", "pg_globals"], help_heading = "Files")]
    pub path: Vec<PathBuf>,
    /// With --path: skip paths that match this .gitignore pattern, relative to `/`; repeatable.
    #[arg(long, value_name = "PATTERN", requires = "path", help_heading = "Files")]
    pub exclude: Vec<String>,
    /// With --path: skip directories that contain a CACHEDIR.TAG file.
    #[arg(long, requires = "path", help_heading = "Files")]
    pub exclude_caches: bool,
    /// With --path: skip files last modified longer ago than this: 36h, 7d.
    #[arg(long, value_name = "AGE", requires = "path", help_heading = "Files")]
    pub newer_than: Option<String>,
    /// With --path: enter file systems mounted below the paths.
    #[arg(long, requires = "path", help_heading = "Files")]
    pub cross_file_systems: bool,
    /// Series to store the snapshot in [default: source, database or host name].
    #[arg(long, alias = "name", value_name = "SERIES", help_heading = "Snapshot")]
    pub series: Option<String>,
    #[command(flatten)]
    pub postgres: DumpArgs,
    /// Add a tag to the snapshot; repeatable.
    #[arg(long, value_name = "TAG", help_heading = "Snapshot")]
    pub tag: Vec<String>,
    /// Host to record [default: `host` in the configuration, else this machine's name].
    #[arg(long, value_name = "NAME", help_heading = "Snapshot")]
    pub host: Option<String>,
    /// Time of the dump, to import an old one: 2026-11-01T03:00, 2026-11-01T03:00:00Z [default: now].
    #[arg(long, value_name = "TIME", help_heading = "Snapshot")]
    pub time: Option<String>,
    /// Compression: columns (rows by column), auto (zstd while the source is faster than that), zstd, fast, max, or a
    /// zstd level from 0 (off) to 19 [default: columns].
    #[arg(long, value_name = "LEVEL", help_heading = "Advanced")]
    pub compression: Option<String>,
    /// Accept an empty dump.
    #[arg(long, help_heading = "Snapshot")]
    pub allow_empty: bool,
    /// Stop a dump that runs longer than this: 90s, 30m, 2h [default: none].
    #[arg(long, value_name = "DURATION", help_heading = "Snapshot")]
    pub timeout: Option<String>,
    /// Compare with this snapshot [default: newest complete snapshot of the series].
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "no_parent", help_heading = "Advanced")]
    pub parent: Option<String>,
    /// Compare with no snapshot; deduplicate whole chunks only.
    #[arg(long, help_heading = "Advanced")]
    pub no_parent: bool,
    /// Store a full copy once restoring the parent would read more than FACTOR times its own stored size [default: 3].
    #[arg(long, value_name = "FACTOR", help_heading = "Advanced")]
    pub max_read_amplification: Option<String>,
    /// Mark the snapshot suspect if a stream is smaller than this fraction of its usual size, or lost all rows of a
    /// table [default: 0.5; 0 disables].
    #[arg(long, value_name = "FRACTION", help_heading = "Snapshot")]
    pub suspect_below: Option<String>,
    /// Print what would be backed up, and exit. Servers are asked for their databases; no dump is started.
    #[arg(long, short = 'n', help_heading = None::<&str>)]
    pub dry_run: bool,
}
