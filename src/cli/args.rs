//! The command line's shape and its help texts.

mod access;
mod config;
// Documents show all commands, also those that a build leaves out.
#[cfg(test)]
#[cfg(feature = "daemon")]
mod documents;
#[cfg(test)]
#[cfg(feature = "daemon")]
mod dry_run;
mod help;
mod keys;
mod offsite;
mod postgres;
mod restore;
#[cfg(feature = "daemon")]
mod schedule;
#[cfg(feature = "daemon")]
mod serve;

pub(super) use access::AccessArgs;
pub(super) use config::{ConfigArgs, ConfigCommand};
pub(super) use help::{asked_for, shown};
pub(super) use keys::{GrantArgs, KeyAddArgs, KeyCommand, NewKeyArgs, PasswdArgs, RotateArgs};
use offsite::DOCTOR;
pub(super) use offsite::{CopyArgs, ObjectLockArgs, ObjectLockCommand};
pub(super) use postgres::{DumpArgs, ExecArgs, ServerArgs};
pub(super) use restore::{
    OnConflict, PartArgs, RestoreArgs, RestoreFilesArgs, RestoreKeysArgs, SwapArgs, VerifyArgs, Via,
};
#[cfg(feature = "daemon")]
pub(super) use schedule::{
    AlertArgs, AlertCommand, AuditArgs, AuditCommand, HistoryArgs, HistoryCommand, MetricsArgs, ScheduleArgs,
    ScheduleCommand,
};

#[cfg(feature = "daemon")]
use serve::SERVE;
#[cfg(feature = "daemon")]
pub(super) use serve::{RoleName, TokenArgs, TokenCommand, UserArgs, UserCommand};

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes:
  0    success
  1    something failed or is suspect; something was stored
  2    nothing was stored or read: every source failed, or the storage
  3    usage or configuration error, found before anything started
  4    damage found, or verification failed
  5    conflict with another operation; try again
  6    refused by a safety rule, or not confirmed; nothing was changed
  7    the target of a restore (server, program) failed or is not there
  10   no repository at this address
  12   wrong passphrase or key file, or the key's role is too weak
  130  interrupted
  141  the reader of standard output went away

Secrets: DUMPVAULT_PASSWORD, DUMPVAULT_PASSWORD_FILE, DUMPVAULT_PASSWORD_COMMAND,
DUMPVAULT_KEY_FILE, --key-file, or a prompt. The repository: --repo,
DUMPVAULT_REPOSITORY, or `repository` in ./dumpvault.toml,
$XDG_CONFIG_HOME/dumpvault/config.toml or /etc/dumpvault/config.toml. Keys for S3
come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE), or
the machine's role; for Azure from AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN
or a token; for Google from GOOGLE_APPLICATION_CREDENTIALS or the machine's account;
never from an argument.";

/// Encrypted, deduplicated backups of databases, files, Redis and buckets.
#[derive(Debug, Parser)]
#[command(name = "dumpvault", version, after_long_help = EXIT_CODES, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Globals {
    /// Repository: a directory, s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix, sftp://host/path or
    /// rclone:remote:path.
    #[arg(long, short, global = true, value_name = "REPO", help_heading = "Global options")]
    pub repo: Option<String>,
    /// Read this configuration file instead of the default ones.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Read the passphrase from the first line of FILE.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub password_file: Option<PathBuf>,
    /// Use a key file (32 random bytes) instead of a passphrase.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub key_file: Option<PathBuf>,
    /// S3 endpoint if the address has none [env: AWS_ENDPOINT_URL].
    #[arg(long, global = true, value_name = "URL", help_heading = "Remote repositories")]
    pub s3_endpoint: Option<String>,
    /// Bucket region [env: AWS_REGION].
    #[arg(long, global = true, value_name = "REGION", help_heading = "Remote repositories")]
    pub s3_region: Option<String>,
    /// Limit upload bandwidth in bytes per second: 500K, 10M [default: unlimited].
    #[arg(long, global = true, value_name = "RATE", help_heading = "Remote repositories")]
    pub limit_upload: Option<String>,
    /// Limit download bandwidth in bytes per second: 500K, 10M [default: unlimited].
    #[arg(long, global = true, value_name = "RATE", help_heading = "Remote repositories")]
    pub limit_download: Option<String>,
    /// Lock new objects against deletion: compliance:30d, governance:30d, off [default: off].
    #[arg(long, global = true, value_name = "MODE:AGE", help_heading = "Remote repositories")]
    pub object_lock: Option<String>,
    /// Maximum size of the local pack cache [default: 2G; 0 disables].
    #[arg(long, global = true, value_name = "SIZE", help_heading = "Remote repositories")]
    pub cache_size: Option<String>,
    /// Disable the pack cache; backups then deduplicate whole chunks only.
    #[arg(long, global = true, help_heading = "Remote repositories", conflicts_with = "cache_size")]
    pub no_cache: bool,
    #[command(flatten)]
    pub access: AccessArgs,
    /// Print only warnings, errors and damage.
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Log details to standard error; repeat for more.
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Print one JSON object on standard output instead of text.
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a configuration for a source, create the repository, make a first backup and verify it.
    Setup(SetupArgs),
    /// Create a repository.
    Init(InitArgs),
    /// Back up databases, files, buckets, commands or standard input.
    Backup(Box<BackupArgs>),
    /// Back up all sources of a system, then forget, prune, check and copy as configured.
    Run(RunArgs),
    /// Run jobs on a schedule, and show the schedule.
    #[cfg(feature = "daemon")]
    Schedule(ScheduleArgs),
    /// Run jobs on a schedule, and serve a web page and an HTTP API.
    #[cfg(feature = "daemon")]
    #[command(after_long_help = SERVE)]
    Serve,
    /// Manage the users of the web page.
    #[cfg(feature = "daemon")]
    User(UserArgs),
    /// Manage access tokens of the HTTP API.
    #[cfg(feature = "daemon")]
    Token(TokenArgs),
    /// List the backups made on this host, including failed ones.
    #[cfg(feature = "daemon")]
    History(HistoryArgs),
    /// List who changed which job, in a log that reveals tampering.
    #[cfg(feature = "daemon")]
    Audit(AuditArgs),
    /// List and acknowledge what is wrong, and test the channels that tell it.
    #[cfg(feature = "daemon")]
    Alert(AlertArgs),
    /// Print metrics for Prometheus.
    #[cfg(feature = "daemon")]
    Metrics(MetricsArgs),
    /// Print the age of the newest good snapshot of each series.
    Status(StatusArgs),
    /// Restore a snapshot to a database, server, bucket, directory, file or program.
    Restore(Box<RestoreArgs>),
    /// Write a stream to standard output.
    Cat(CatArgs),
    /// Finish a `restore --swap`: replace a live database with a restored one.
    Swap(SwapArgs),
    /// Test-restore a snapshot and count its rows.
    Verify(Box<VerifyArgs>),
    /// List snapshots.
    Snapshots(SnapshotsArgs),
    /// List streams, tables and files in a snapshot.
    Ls(LsArgs),
    /// Find files in a snapshot by pattern.
    Find(FindArgs),
    /// Compare the tables, keys or files of two snapshots.
    Diff(DiffArgs),
    /// Show details of a snapshot.
    Show(NameArgs),
    /// Show repository statistics.
    #[command(after_long_help = "Examples:
  dumpvault stats
  dumpvault stats --json | jq .")]
    Stats,
    /// Check the repository for damage.
    Check(CheckArgs),
    /// Repair a damaged repository.
    Repair(RepairArgs),
    /// Remove snapshots by retention policy.
    Forget(ForgetArgs),
    /// Delete unreferenced data.
    Prune(PruneArgs),
    /// Extend the object locks of a bucket.
    #[command(alias = "lock")]
    ObjectLock(ObjectLockArgs),
    /// Copy snapshots to another repository.
    Copy(CopyArgs),
    /// Pin a snapshot or change its tags.
    Tag(TagArgs),
    /// Manage repository keys.
    Key(KeyArgs),
    /// Check the setup and suggest fixes.
    #[command(after_long_help = DOCTOR)]
    Doctor,
    /// Check, show or write a configuration file.
    Config(ConfigArgs),
    /// Try dumpvault on a scratch database and a folder of files.
    Demo(DemoArgs),
    /// Generate shell completions.
    #[command(after_long_help = "Examples:
  dumpvault completions bash > /etc/bash_completion.d/dumpvault
  dumpvault completions fish > ~/.config/fish/completions/dumpvault.fish")]
    Completions {
        /// Shell to generate them for.
        shell: clap_complete::Shell,
    },
    /// Print the series, sources and snapshots that may come next on a command line.
    #[command(hide = true)]
    Complete {
        /// The command line up to the word before the cursor.
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// Write the manual pages into a directory.
    #[command(hide = true)]
    Manual {
        /// Directory to write them to.
        directory: PathBuf,
    },
}

impl Command {
    /// Whether it runs until it is asked to stop, and hears signals by itself.
    pub(super) fn is_daemon(&self) -> bool {
        match self {
            #[cfg(feature = "daemon")]
            Self::Schedule(args) => matches!(args.command, ScheduleCommand::Daemon),
            #[cfg(feature = "daemon")]
            Self::Serve => true,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault --repo /srv/vault setup postgres://backup@db1/app
  dumpvault --repo /srv/vault setup postgres://backup@db1/app --server postgres://test1/postgres
  dumpvault --repo s3://company-vault/db1 setup redis://vault@queue1:6379 --dry-run

Writes a configuration and a key file, both with mode 0600, and runs `config check`,
`init`, `backup` and `verify`. Each command is printed. Then prints the lines of cron
that run it every night. If a step fails, the configuration is removed and the key file
stays. The configuration is --config, else /etc/dumpvault/config.toml for root and
~/.config/dumpvault/config.toml for others; the key file is --key-file, else repo.key
beside it.")]
pub(super) struct SetupArgs {
    /// Source to back up: postgres://user@host/database, redis://host or s3://bucket.
    #[arg(value_name = "SOURCE", conflicts_with = "json")]
    pub source: String,
    /// Series to store the snapshots in [default: database or host name].
    #[arg(long, value_name = "SERIES")]
    pub series: Option<String>,
    /// Server for the scratch database of the verification: postgres://user@host/database [default: the source's
    /// server].
    #[arg(long, value_name = "URI")]
    pub server: Option<String>,
    /// Print the configuration, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault --repo /srv/vault init
  dumpvault --repo /srv/vault --key-file /root/vault.key init

Creates an encrypted repository in a new or empty directory, or under an unused bucket
prefix; the bucket must exist. With --key-file, a missing key file is created with mode
0600. Without a key, a passphrase is asked for; an empty answer generates one.

Prints a recovery sheet. Keep it, and a copy of the key file or passphrase, on another
machine: without the key the data cannot be read.")]
pub(super) struct InitArgs {
    /// Label to show for the key in `key list`.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub label: String,
    /// Accept a passphrase of less than 8 characters.
    #[arg(long)]
    pub force: bool,
    /// Check that the repository can be created there, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

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
pub(super) struct BackupArgs {
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

const NAMES: &str = "Snapshot names:
  1a2b3c4d        id prefix, at least 4 digits
  latest          newest complete snapshot
  app             newest complete one of series app
  app~1           one before the newest complete one; ~2, ~3 and so on
  app@2026-11-01  newest complete one up to that day or time
  db1/app         the same of host db1: db1/app~1, db1/app@2026-11-01
  app:NAME        stream NAME of it: app:globals.sql, db1/app~1:orders
  app:/PATH       file or directory of it: app:/srv/app/uploads
A series is this host's, else that of the only host that has it.";

const CAT: &str = "Examples:
  dumpvault cat app > app.dump
  dumpvault cat app@2026-11-01 | pg_restore -l
  dumpvault cat uploads:/srv/app/logo.png > logo.png";

const SHOW: &str = "Examples:
  dumpvault show app
  dumpvault show app~1 --json";

/// How names of snapshots are understood.
#[derive(Debug, Args, Clone, Copy, Default)]
pub(super) struct WhichArgs {
    /// If several hosts have the series, use the newest of all.
    #[arg(long)]
    pub any_host: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = format!("{CAT}\n\n{NAMES}"))]
pub(super) struct CatArgs {
    /// Snapshot to read.
    pub snapshot: String,
    /// Stream to write, if the snapshot has several.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// With SNAPSHOT:/KEY: read this version of the object, from `ls --versions`.
    #[arg(long, value_name = "ID", conflicts_with = "stream")]
    pub object_version: Option<String>,
    #[command(flatten)]
    pub which: WhichArgs,
}

#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:
  dumpvault ls app
  dumpvault ls uploads:/srv/app/uploads --long
  dumpvault ls uploads~1:/srv/app -R

{NAMES}"))]
pub(super) struct LsArgs {
    /// Snapshot to list; SNAPSHOT:/PATH lists files.
    pub snapshot: String,
    /// With SNAPSHOT:/PATH: also list everything below it.
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// With SNAPSHOT:/PATH: print mode, owner, size and time of each file.
    #[arg(long, short)]
    pub long: bool,
    /// With SNAPSHOT:/PATH: also list versions of objects that are not current.
    #[arg(long)]
    pub versions: bool,
    #[command(flatten)]
    pub which: WhichArgs,
}

#[derive(Debug, Args)]
#[command(after_long_help = format!("Examples:
  dumpvault find uploads '*.pdf'
  dumpvault find uploads~1 '/srv/app/**/config.*' --long

{NAMES}"))]
pub(super) struct FindArgs {
    /// Snapshot to search.
    pub snapshot: String,
    /// .gitignore patterns to find, relative to `/`.
    #[arg(required = true, value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Print mode, owner, size and time of each file.
    #[arg(long, short)]
    pub long: bool,
    #[command(flatten)]
    pub which: WhichArgs,
}

#[derive(Debug, Args)]
#[command(after_long_help = format!("{SHOW}\n\n{NAMES}"))]
pub(super) struct NameArgs {
    /// Snapshot to show.
    pub snapshot: String,
    #[command(flatten)]
    pub which: WhichArgs,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault diff app~1 app
  dumpvault diff app@2026-11-01 latest --json
  dumpvault diff uploads~1:/srv/app uploads:/srv/app    # files

Reads no pack data, so it is fast at any size. Rows of compressed dumps are unknown.")]
pub(super) struct DiffArgs {
    /// Older snapshot; SNAPSHOT:/PATH compares files.
    pub before: String,
    /// Newer snapshot.
    pub after: String,
    #[command(flatten)]
    pub which: WhichArgs,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault snapshots
  dumpvault snapshots --series app --tag weekly
  dumpvault snapshots --latest 1 --compact
  dumpvault snapshots --series db1/app --since 30d
  dumpvault snapshots --sets            # runs over systems, a line each
  dumpvault snapshots --json | jq -r '.snapshots[-1].id'")]
pub(super) struct SnapshotsArgs {
    /// Show only this series: app, or db1/app.
    #[arg(long, value_name = "SERIES")]
    pub series: Option<String>,
    /// Show only snapshots with this tag, calendar tags included; repeatable, all must match.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Show only snapshots of this host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Show only the newest N of each series and host.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub latest: Option<u32>,
    /// Show only snapshots from this time on: 2026-11-01, 2026-11-01T03:00:00Z, 30d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Show fewer columns.
    #[arg(long)]
    pub compact: bool,
    /// Show runs of `dumpvault run` instead, and what each stored.
    #[arg(long, conflicts_with_all = ["series", "tag", "host", "latest", "since", "compact"])]
    pub sets: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault check
  dumpvault check --read-data
  dumpvault check --read-data-subset 1/30        # daily: everything within a month
  dumpvault check --for 20m                      # as much as 20 minutes are enough for
  dumpvault check --storage-only                 # on the storage's own machine, no key

Reads all metadata, checks that every pack exists with the right size, and follows
every snapshot to its chunks. With --read-data it also reads and verifies every byte,
marks damaged packs so that the next backup stores their data again, and clears the
marks of intact packs. Subsets take the packs that this machine read longest ago. Safe
beside running backups.")]
pub(super) struct CheckArgs {
    /// Check metadata only, which is the default.
    #[arg(long, hide = true, conflicts_with_all = ["read_data", "read_data_subset", "storage_only", "time_box"])]
    pub structure: bool,
    /// Also read and verify every pack.
    #[arg(long)]
    pub read_data: bool,
    /// Also read and verify part of the packs: 5%, 1/30.
    #[arg(long, value_name = "FRACTION", conflicts_with = "read_data")]
    pub read_data_subset: Option<String>,
    /// Compare every object with its hash, without a key; detects corruption but not missing objects.
    #[arg(long)]
    pub storage_only: bool,
    /// List objects that do not count because their author may not write them.
    #[arg(long, conflicts_with = "storage_only")]
    pub foreign: bool,
    /// Read packs for at most this time: 20m; the pack in progress is finished.
    #[arg(long = "for", value_name = "DURATION")]
    pub time_box: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault check --read-data           # find and mark what is damaged
  dumpvault repair packs --dry-run      # what is lost, and what could be saved
  dumpvault repair packs                # save what is still readable
  dumpvault backup app                  # stores damaged data again
  dumpvault repair snapshots            # mark incomplete snapshots
  dumpvault repair index                # after index objects were lost
  dumpvault repair times --dry-run      # after the repository was moved

Deletes nothing, can be repeated, and runs beside backups. A prune removes damaged packs
once nothing needs them. Exit code 4 while data is still lost.")]
pub(super) struct RepairArgs {
    #[command(subcommand)]
    pub command: RepairCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum RepairCommand {
    /// Rebuild the index from the packs.
    Index {
        /// Read every pack's table, print what the new index would name, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Copy readable data out of damaged packs; clear the mark of intact ones.
    Packs {
        /// Print which packs would be cleared or set aside, and what would be copied, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Mark incomplete snapshots suspect; clear the mark of complete ones.
    Snapshots {
        /// Print which snapshots would be marked or cleared, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Record unreadable marks and snapshots as lost, so that prune can continue.
    #[command(after_long_help = "Examples:
  dumpvault repair marks --dry-run
  dumpvault repair marks

Records only what nothing else depends on: marks, prune plans, and snapshots that were
never completed. Deletes nothing.")]
    Marks {
        /// Print what would be recorded as lost, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Confirm snapshot times that do not match when they were stored, as after moving a repository.
    Times {
        /// Print which times would be confirmed, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  dumpvault forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --prune
  dumpvault forget --keep-within 30d --series redis
  dumpvault forget                      # by [retention] in dumpvault.toml
  dumpvault forget 1a2b3c4d
  dumpvault forget --series db1/app --all          # a customer who leaves: all of it

Applies the --keep-* rules, else [retention] of the configuration, to each series and
host. A snapshot is kept if any rule matches. --keep-daily 7 keeps the FIRST complete
snapshot of each of the newest 7 days that have one, in the configured time zone; other
tools keep the last one, as --keep last does here. Suspect snapshots do not count, and
partial ones count only for the streams that they have.

Always kept: the newest complete snapshot of a series, pinned snapshots, snapshots
younger than 24 hours (unless --force), and those with an implausible time.
--even-the-last removes a named newest one; --series SERIES --all removes a whole series.

In the configuration file:
  [retention]
  keep_daily = 7
  keep_weekly = 4
  keep = \"last\"                        # default: \"first\"
  [source.redis.retention]
  keep_within = \"7d\"

Run `dumpvault prune`, or add --prune, to free the space.")]
pub(super) struct ForgetArgs {
    /// Remove these snapshots instead of applying a policy.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Apply to this series only: app, or db1/app.
    #[arg(long, value_name = "SERIES", conflicts_with = "snapshots")]
    pub series: Option<String>,
    /// Remove the whole series, its newest snapshot included; asks first.
    #[arg(long, requires = "series", conflicts_with_all = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly", "keep_within", "keep_tag", "keep"])]
    pub all: bool,
    /// Do not ask for confirmation of --all.
    #[arg(long, short, requires = "all")]
    pub yes: bool,
    /// Also remove a snapshot that is the newest complete one of its series.
    #[arg(long, requires = "snapshots")]
    pub even_the_last: bool,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Apply to this host only.
    #[arg(long, value_name = "NAME", conflicts_with = "snapshots")]
    pub host: Option<String>,
    /// Run `prune` afterwards.
    #[arg(long)]
    pub prune: bool,
    /// Print what would be removed, and the rules that keep the rest.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Also remove snapshots younger than 24 hours.
    #[arg(long)]
    pub force: bool,
    /// Remove objects that do not count because their author may not write them.
    #[arg(long, conflicts_with_all = ["snapshots", "series", "host"])]
    pub foreign: bool,
    /// Grace period for --prune: 36h, 2d [default: 24h].
    #[arg(long, value_name = "AGE", requires = "prune")]
    pub grace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    /// Keep the newest N snapshots.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_last: Option<u32>,
    /// Keep the first snapshot of each of the last N hours that have one; --keep last keeps the last.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_hourly: Option<u32>,
    /// Keep the first snapshot of each of the last N days that have one; --keep last keeps the last.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_daily: Option<u32>,
    /// Keep the first snapshot of each of the last N weeks that have one; --keep last keeps the last.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_weekly: Option<u32>,
    /// Keep the first snapshot of each of the last N months that have one; --keep last keeps the last.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_monthly: Option<u32>,
    /// Keep the first snapshot of each of the last N years that have one; --keep last keeps the last.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_yearly: Option<u32>,
    /// Which snapshot of an hour, day, week, month or year to keep [default: first].
    #[arg(long, value_name = "WHICH", value_parser = ["first", "last"], conflicts_with = "snapshots")]
    pub keep: Option<String>,
    /// Keep snapshots at most this much older than the newest: 36h, 30d, 2w, 6mo, 1y.
    #[arg(long, value_name = "AGE", conflicts_with = "snapshots")]
    pub keep_within: Option<String>,
    /// Keep snapshots with this tag; repeatable.
    #[arg(long, value_name = "TAG", conflicts_with = "snapshots")]
    pub keep_tag: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault run                         # the only system; without [system], every source
  dumpvault run shop --quiet            # from cron

  [system.shop]
  sources = [\"queue\", \"db\", \"uploads\"]
  forget = true
  prune = \"7d\"
  check = \"1/30\"
  copy = [\"offsite\"]

Exit codes: 0 all sources stored and all steps done; 1 something failed, something was stored;
2 nothing was stored; 3 wrong configuration, found before anything started; 4 damage was found.")]
pub(super) struct RunArgs {
    /// System of the configuration: [system.NAME].
    pub system: Option<String>,
    /// Print the sources in order and the steps, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault status --max-age 26h        # exit code 1 if a series has no good snapshot that recent
  dumpvault status --max-age 26h --nagios

A good snapshot is complete and not suspect. An append key is enough, so that another host
can monitor.
Exit codes: 0 all recent enough; 1 one is too old, or a configured source has none; 2 unknown.
With --nagios: 0 OK, 2 CRITICAL, 3 UNKNOWN.")]
pub(super) struct StatusArgs {
    /// Fail if the newest good snapshot of a series is older than this: 26h, 2d.
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<String>,
    /// Show only this series: app, or db1/app.
    #[arg(long)]
    pub series: Option<String>,
    /// Print one line and exit like a Nagios plugin.
    #[arg(long, conflicts_with = "json")]
    pub nagios: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault prune --dry-run
  dumpvault prune                       # daily: schedules today, deletes a day later
  dumpvault prune --grace 0             # at once; only while no backup runs

Works in two runs, so it is safe beside backups. The first run schedules packs that are
at least half unreferenced, or small, for deletion, and copies what is still referenced
in them. A run after the grace period deletes them, once no backup runs that began
before. A snapshot or recipe that cannot be read stops it before anything is deleted.")]
pub(super) struct PruneArgs {
    /// Keep scheduled packs, and never touch newer ones, for this long: 36h, 2d [default: 24h; 0 deletes at once].
    #[arg(long, value_name = "AGE")]
    pub grace: Option<String>,
    /// Print what would be deleted, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not wait for other sessions; a backup that is still running fails when it commits.
    #[arg(long)]
    pub end_sessions: bool,
    /// Prune a full storage: delete only unreferenced packs and write nothing. Run no backup meanwhile.
    #[arg(long)]
    pub full_store: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault tag app --pin               # forget never removes it
  dumpvault tag 1a2b3c4d --unpin
  dumpvault tag app@2026-11-01 --add before-upgrade --remove nightly")]
pub(super) struct TagArgs {
    /// Snapshot to change.
    pub snapshot: String,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Add a tag; repeatable.
    #[arg(long, value_name = "TAG")]
    pub add: Vec<String>,
    /// Remove a tag; repeatable.
    #[arg(long, value_name = "TAG")]
    pub remove: Vec<String>,
    /// Exempt the snapshot from retention.
    #[arg(long, conflicts_with = "unpin")]
    pub pin: bool,
    /// Make the snapshot subject to retention again.
    #[arg(long)]
    pub unpin: bool,
    /// Confirm a snapshot time that is in doubt.
    #[arg(long)]
    pub confirm_time: bool,
    /// Print the tags that the snapshot would have, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault key list
  dumpvault key add --append --name db1 --new-key-file /root/db1.key
  dumpvault key passwd                  # asks for a new passphrase
  dumpvault key remove 1a2b3c4d         # a slot, by its id from `key list`
  dumpvault key revoke db1              # db1 was compromised
  dumpvault key export repo.slot        # still encrypted; keep it beside the recovery sheet
  dumpvault key import repo.slot        # after key slots were lost")]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault demo
  dumpvault demo --keep                 # keep the repository and explore it
  dumpvault demo --generated --size 500 --json

Backs up three days of a shop: a changing database, and a folder of uploads beside it.
Restores the last day and compares it. Drops a table and brings it back; deletes a file and
brings it back. Checks the repository, flips one bit in it and finds that. Then prints what was
saved: bytes read, bytes stored, restores that brought back the same. Uses a private PostgreSQL
server if one is installed, else generated dumps. Everything happens in a new directory in
$TMPDIR (or /tmp), which is removed afterwards, also after Ctrl-C. Exits with 0 only if
everything that came back is identical, no damage was found and the bit was.")]
pub(super) struct DemoArgs {
    /// Keep the repository and print how to open it.
    #[arg(long)]
    pub keep: bool,
    /// Size of the first dump in MB.
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub size: u64,
    /// Use generated dumps even if PostgreSQL is installed.
    #[arg(long)]
    pub generated: bool,
}
