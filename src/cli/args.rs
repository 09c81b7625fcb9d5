//! The command line's shape and its help texts.

mod access;
mod config;
mod keys;
mod offsite;
mod postgres;
mod restore;
mod schedule;

pub(super) use access::AccessArgs;
pub(super) use config::{ConfigArgs, ConfigCommand};
pub(super) use keys::{GrantArgs, KeyAddArgs, KeyCommand, NewKeyArgs, RotateArgs};
use offsite::DOCTOR;
pub(super) use offsite::{CopyArgs, LockArgs, LockCommand};
pub(super) use postgres::{DumpArgs, ExecArgs, ServerArgs};
pub(super) use restore::{OnConflict, PartArgs, RestoreArgs, RestoreFilesArgs, SwapArgs, VerifyArgs, Via};

pub(super) use schedule::{
    AuditArgs, AuditCommand, HistoryArgs, HistoryCommand, ScheduleArgs, ScheduleCommand,
};

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
the machine's role; never from an argument.";

/// A streaming, encrypted, deduplicating archiver for database dumps.
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
    /// The repository: a path, file:///path, s3://bucket/prefix or s3:https://host/bucket/prefix.
    #[arg(long, short, global = true, value_name = "REPO", help_heading = "Global options")]
    pub repo: Option<String>,
    /// Configuration file, instead of the usual places.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// File that holds the passphrase in its first line.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub password_file: Option<PathBuf>,
    /// Key file (32 raw bytes) instead of a passphrase.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub key_file: Option<PathBuf>,
    /// S3 service to use when the repository's address names none; also AWS_ENDPOINT_URL.
    #[arg(long, global = true, value_name = "URL", help_heading = "Remote repositories")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket; also AWS_REGION.
    #[arg(long, global = true, value_name = "REGION", help_heading = "Remote repositories")]
    pub s3_region: Option<String>,
    /// Send at most so many bytes a second, as 500K or 10M.
    #[arg(long, global = true, value_name = "RATE", help_heading = "Remote repositories")]
    pub limit_upload: Option<String>,
    /// Receive at most so many bytes a second.
    #[arg(long, global = true, value_name = "RATE", help_heading = "Remote repositories")]
    pub limit_download: Option<String>,
    /// Lock what is stored, so that nobody can delete it for so long: compliance:30d, governance:30d.
    #[arg(long, global = true, value_name = "MODE:AGE", help_heading = "Remote repositories")]
    pub object_lock: Option<String>,
    /// Keep at most so many bytes of packs on this machine [default: 2G].
    #[arg(long, global = true, value_name = "SIZE", help_heading = "Remote repositories")]
    pub cache_size: Option<String>,
    /// Keep no packs on this machine; backups then find only whole chunks again.
    #[arg(long, global = true, help_heading = "Remote repositories", conflicts_with = "cache_size")]
    pub no_cache: bool,
    #[command(flatten)]
    pub access: AccessArgs,
    /// Say only what went wrong.
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// Log more to standard error; twice for still more.
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Print one JSON object instead of text.
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new repository.
    Init(InitArgs),
    /// Store a dump as a new snapshot.
    Backup(Box<BackupArgs>),
    /// Back up all sources of a system, then do what the configuration wants: forget, prune, check, copy.
    Run(RunArgs),
    /// Run jobs at their times, and say when they run.
    Schedule(ScheduleArgs),
    /// List what was backed up from this host, also what failed.
    History(HistoryArgs),
    /// List who did what to jobs, in a log that shows changes.
    Audit(AuditArgs),
    /// Tell how old the newest good snapshot of each series is.
    Status(StatusArgs),
    /// Bring a snapshot's stream back: to standard output, a file, a program or a database.
    Restore(Box<RestoreArgs>),
    /// Write a snapshot's stream to standard output (restore --to -).
    Cat(CatArgs),
    /// Finish a `restore --swap`: put a restored database in the place of a live one.
    Swap(SwapArgs),
    /// Prove a backup: restore it into a scratch database, count every table's rows, drop it.
    Verify(Box<VerifyArgs>),
    /// List snapshots.
    Snapshots(SnapshotsArgs),
    /// List what a snapshot holds: streams, and the tables of a PostgreSQL dump with rows and bytes.
    Ls(LsArgs),
    /// Find files of a snapshot by patterns.
    Find(FindArgs),
    /// Compare two snapshots table by table: rows and bytes gained and lost, tables that came or went.
    Diff(DiffArgs),
    /// Show all about one snapshot.
    Show(NameArgs),
    /// Show what the snapshots hold and what they take.
    Stats,
    /// Look for damage.
    Check(CheckArgs),
    /// Do what can be done about damage.
    Repair(RepairArgs),
    /// Let go of snapshots that no rule keeps.
    Forget(ForgetArgs),
    /// Delete what no snapshot reaches.
    Prune(PruneArgs),
    /// Prolong the locks of what the kept snapshots need.
    Lock(LockArgs),
    /// Copy snapshots into another repository; only what is missing there.
    Copy(CopyArgs),
    /// Pin a snapshot, or change its tags.
    Tag(TagArgs),
    /// Manage the keys of the repository.
    Key(KeyArgs),
    /// Look at what dumpvault works with: storage, rights, clocks, programs, cache; say what to put right.
    #[command(after_long_help = DOCTOR)]
    Doctor,
    /// Check, show or write a configuration file.
    Config(ConfigArgs),
    /// Try dumpvault in a scratch folder: back up a changing database, restore it, prove it.
    Demo(DemoArgs),
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault --repo /srv/vault init
  dumpvault --repo /srv/vault --key-file /root/vault.key init

With --key-file the file is made if it is not there. Keep a copy of it, or of the
passphrase, off this machine: without either nothing can be read any more.")]
pub(super) struct InitArgs {
    /// Words shown beside the key in `key list`.
    #[arg(long, default_value = "")]
    pub label: String,
    /// Accept a passphrase of less than 8 characters.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault backup postgres://backup@db1/app
  dumpvault backup redis://vault@queue1:6379
  dumpvault backup --pg-database app --pg-host /run/postgresql
  dumpvault backup postgres://backup@db1 --pg-all --globals --name db1
  dumpvault backup --pg-database 'shop_*' --exclude-table-data 'audit.*' --name shops
  dumpvault backup --pg-database app --pg-user postgres --exec 'docker exec -i db'
  dumpvault backup --name app --command -- pg_dump -Fc -Z0 app
  redis-cli --rdb - | dumpvault backup --stdin --name redis
  dumpvault backup app redis            # [source.app], [source.redis] in dumpvault.toml

Prefer --command to --stdin: on a pipe dumpvault cannot see whether the program
that feeds it failed. A pg_dump that was cut short is noticed all the same, by its
own structure; a snapshot of other bytes is shown as `unproven`.

Dump without compression (-Z0): compressed bytes change everywhere when a row does,
and nothing is found again. dumpvault compresses by itself.")]
pub(super) struct BackupArgs {
    /// Sources of the configuration file, or addresses: postgres://…, redis://….
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// Read the dump from standard input; its producer's exit status cannot be seen, so prefer --command.
    #[arg(long, requires = "name", conflicts_with_all = ["sources", "command", "pg_database", "pg_all", "globals"])]
    pub stdin: bool,
    /// Run the program behind `--` and store what it prints; no shell.
    #[arg(long, requires = "name", conflicts_with_all = ["sources", "pg_database", "pg_all", "globals"])]
    pub command: bool,
    /// The program and its arguments.
    #[arg(last = true, value_name = "PROGRAM", requires = "command")]
    pub program: Vec<OsString>,
    /// Back up this file or directory with everything below it; repeatable.
    #[arg(long, value_name = "PATH", requires = "name", conflicts_with_all = ["sources", "stdin", "command", "pg_database", "pg_all", "globals"])]
    pub path: Vec<PathBuf>,
    /// With --path: leave out what matches this pattern, as in a .gitignore file in `/`; repeatable.
    #[arg(long, value_name = "PATTERN", requires = "path")]
    pub exclude: Vec<String>,
    /// With --path: leave out files last modified longer ago than this: 36h, 7d.
    #[arg(long, value_name = "AGE", requires = "path")]
    pub newer_than: Option<String>,
    /// With --path: enter file systems that are mounted below the paths.
    #[arg(long, requires = "path")]
    pub cross_file_systems: bool,
    /// Series to store the snapshot in [default: source, database or host name].
    #[arg(long, visible_alias = "series", value_name = "SERIES")]
    pub name: Option<String>,
    #[command(flatten)]
    pub postgres: DumpArgs,
    /// A tag for the snapshot; may be given several times.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Name of the host that the snapshot belongs to.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Time of the dump, to import an old one: 2026-11-01T03:00, 2026-11-01T03:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Compression: columns (rows by column), auto (columns, or zstd while the source is faster), zstd, fast, max, or a zstd level, 0 (off) to 19 [default: columns].
    #[arg(long, value_name = "LEVEL")]
    pub compression: Option<String>,
    /// An empty dump is no error.
    #[arg(long)]
    pub allow_empty: bool,
    /// Stop a dump that takes longer: 90s, 30m, 2h.
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Compare with this snapshot; otherwise with the series' newest complete one.
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "no_parent")]
    pub parent: Option<String>,
    /// Compare with no snapshot: only whole chunks are found again.
    #[arg(long)]
    pub no_parent: bool,
    /// Store a stream afresh when restoring its parent would read more than so many times what it takes by itself (3).
    #[arg(long, value_name = "FACTOR")]
    pub max_read_amplification: Option<String>,
    /// Mark the snapshot suspect if a stream is smaller than this fraction of its usual size, or lost all rows of a table [default: 0.5; 0 disables].
    #[arg(long, value_name = "FRACTION")]
    pub suspect_below: Option<String>,
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

/// How names of snapshots are understood.
#[derive(Debug, Args, Clone, Copy, Default)]
pub(super) struct WhichArgs {
    /// If several hosts have the series, use the newest of all.
    #[arg(long)]
    pub any_host: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = NAMES)]
pub(super) struct CatArgs {
    /// Snapshot to read.
    pub snapshot: String,
    /// Stream to write, if the snapshot has several.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
    /// With SNAPSHOT:/KEY: this version of the object, as `ls --versions` lists it.
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
    /// Snapshot to look at; SNAPSHOT:/PATH lists files.
    pub snapshot: String,
    /// With SNAPSHOT:/PATH: everything below it, too.
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// With SNAPSHOT:/PATH: mode, owner, size and time of each file.
    #[arg(long, short)]
    pub long: bool,
    /// With SNAPSHOT:/PATH: versions of objects that are not current, too.
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
    /// Snapshot to look at.
    pub snapshot: String,
    /// What to find, as in a .gitignore file in `/`; repeatable.
    #[arg(required = true, value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Mode, owner, size and time of each file.
    #[arg(long, short)]
    pub long: bool,
    #[command(flatten)]
    pub which: WhichArgs,
}

#[derive(Debug, Args)]
#[command(after_long_help = NAMES)]
pub(super) struct NameArgs {
    /// Snapshot to look at.
    pub snapshot: String,
    #[command(flatten)]
    pub which: WhichArgs,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault diff app~1 app
  dumpvault diff app@2026-11-01 latest --json
  dumpvault diff uploads~1:/srv/app uploads:/srv/app    # files

Nothing but the snapshots themselves is read, so that it is quick however large the
dumps are. Rows are counted while a dump is stored; those of compressed dumps are
not known.")]
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

Without options (--structure): every metadata object is read and compared with its
name, every pack must be there with its size, every snapshot is followed down to its
chunks. With --read-data every byte is read, opened and compared as well; packs found
damaged are marked, and the next backup stores anew what they should hold; marked
packs found whole are cleared. Of a part, those packs are read that were not read for
the longest time: this machine remembers. Nothing is locked: backups may go on.")]
pub(super) struct CheckArgs {
    /// Read metadata only, and see that all packs are there (the default).
    #[arg(long, conflicts_with_all = ["read_data", "read_data_subset", "storage_only", "time_box"])]
    pub structure: bool,
    /// Read every byte of every pack.
    #[arg(long)]
    pub read_data: bool,
    /// Read a part of the packs, those not read for the longest time: 5%, 1/30.
    #[arg(long, value_name = "FRACTION", conflicts_with = "read_data")]
    pub read_data_subset: Option<String>,
    /// Without a key: compare every object's bytes with its name.
    #[arg(long)]
    pub storage_only: bool,
    /// List objects whose author may not write them. They count for nothing.
    #[arg(long, conflicts_with = "storage_only")]
    pub foreign: bool,
    /// Read packs for so long at most, as 20m; those not read for the longest time come first.
    #[arg(long = "for", value_name = "DURATION")]
    pub time_box: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault check --read-data           # find and mark what is damaged
  dumpvault repair packs                # save what still opens
  dumpvault backup app                  # stores anew what it meets
  dumpvault repair snapshots            # mark what cannot be whole
  dumpvault repair index                # after index objects were lost

Nothing is deleted. Damaged packs stay; once nothing needs them, a prune removes them.
Each repair can be run again, and beside backups. The exit code is 4 as long as
something is lost.")]
pub(super) struct RepairArgs {
    #[command(subcommand)]
    pub command: RepairCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum RepairCommand {
    /// Make the index anew from the packs' own tables.
    Index,
    /// Copy what opens in damaged packs into new ones; take the mark off those that are whole.
    Packs,
    /// Mark snapshots that cannot be whole as suspect, and take the mark off those that are whole again.
    Snapshots,
    /// List marks and snapshots that cannot be read, and give up on them so that pruning can continue.
    Marks {
        /// Only list them.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Confirm the times of snapshots whose time does not match when they were stored, as after moving a repository.
    Times {
        /// Only list them.
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

Rules are applied to each series of each host by itself. --keep-daily 7 keeps the
FIRST good snapshot of each of the newest seven days that have one; so do the others
for hours, weeks, months and years, in the time zone of the configuration. Other tools
keep the last one of a day: --keep last, or keep = \"last\", does so here. Snapshots
that are suspect take no place, and partial ones only for the streams that they hold.
A snapshot stays if any rule keeps it. Always kept: the newest complete snapshot of a
series, what is pinned (dumpvault tag --pin), what is younger than 24 hours (unless
--force), and what bears a time that cannot be right. --even-the-last lifts the first
of these for a snapshot that is named; --series SERIES --all removes all of a series.

In the configuration file:
  [retention]
  keep_daily = 7
  keep_weekly = 4
  keep = \"last\"                        # of a day, a week; the first otherwise
  [source.redis.retention]
  keep_within = \"7d\"

The space is given back by `dumpvault prune`, or --prune.")]
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
    /// Only of this host.
    #[arg(long, value_name = "NAME", conflicts_with = "snapshots")]
    pub host: Option<String>,
    /// Prune afterwards.
    #[arg(long)]
    pub prune: bool,
    /// Say what would go and which rule keeps the others, and do nothing.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Also remove snapshots younger than 24 hours.
    #[arg(long)]
    pub force: bool,
    /// Remove objects whose author may not write them; they count for nothing.
    #[arg(long, conflicts_with_all = ["snapshots", "series", "host"])]
    pub foreign: bool,
    /// Grace period for --prune: 36h, 2d [default: 24h].
    #[arg(long, value_name = "AGE", requires = "prune")]
    pub grace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    /// Keep the newest N.
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
    /// Which one of an hour, day, week, month or year to keep [default: first].
    #[arg(long, value_name = "WHICH", value_parser = ["first", "last"], conflicts_with = "snapshots")]
    pub keep: Option<String>,
    /// Keep snapshots at most this much older than the newest: 36h, 30d, 2w, 6m (months), 1y.
    #[arg(long, value_name = "AGE", conflicts_with = "snapshots")]
    pub keep_within: Option<String>,
    /// Keep all with this tag; may be given several times.
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
    /// Print what would be done, and do nothing.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault status --max-age 26h        # exit code 1 if a series has no good snapshot as new as that
  dumpvault status --max-age 26h --nagios

A good snapshot is complete and not suspect. An append key is enough, so another host can watch.
Exit codes: 0 all new enough; 1 at least one too old, or a configured source has none; 2 cannot tell.
With --nagios: 0 OK, 2 CRITICAL, 3 UNKNOWN.")]
pub(super) struct StatusArgs {
    /// Oldest age that is good enough: 26h, 2d.
    #[arg(long, value_name = "AGE")]
    pub max_age: Option<String>,
    /// Only this series; HOST/SERIES for one host's.
    #[arg(long)]
    pub series: Option<String>,
    /// Print one line and exit as monitoring plugins do.
    #[arg(long, conflicts_with = "json")]
    pub nagios: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault prune --dry-run
  dumpvault prune                       # daily: plans today, deletes a day later
  dumpvault prune --grace 0             # at once, while no backup is under way

A prune works in two steps, so that it can run beside backups. It condemns packs that
are dead or mostly dead: what is live in them is copied, and no backup that begins
later relies on them. Once the grace is over, the next run deletes them, as soon as no
backup is under way that began before. A snapshot or recipe that cannot be read stops
it before anything is deleted.")]
pub(super) struct PruneArgs {
    /// Keep scheduled packs, and never touch newer ones, for this long: 36h, 2d [default: 24h; 0 deletes at once].
    #[arg(long, value_name = "AGE")]
    pub grace: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Do not wait for backups that may have been killed; one that is under way fails at its end.
    #[arg(long)]
    pub end_sessions: bool,
    /// Prune a store that takes no more objects: deletes only packs that nothing needs. Run no backup meanwhile.
    #[arg(long)]
    pub full_store: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault tag app --pin               # forget does not let go of it
  dumpvault tag 1a2b3c4d --unpin
  dumpvault tag app@2026-11-01 --add before-upgrade --remove nightly")]
pub(super) struct TagArgs {
    /// Snapshot to change.
    pub snapshot: String,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Add a tag; may be given several times.
    #[arg(long, value_name = "TAG")]
    pub add: Vec<String>,
    /// Take a tag away; may be given several times.
    #[arg(long, value_name = "TAG")]
    pub remove: Vec<String>,
    /// Keep the snapshot whatever the rules say.
    #[arg(long, conflicts_with = "unpin")]
    pub pin: bool,
    /// Let the rules decide again.
    #[arg(long)]
    pub unpin: bool,
    /// Confirm the time of a snapshot that is doubtful.
    #[arg(long)]
    pub confirm_time: bool,
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault demo
  dumpvault demo --keep                 # look around in the repository afterwards
  dumpvault demo --generated --size 500 --json

Everything happens in a folder of its own in $TMPDIR (or /tmp), which is removed at
the end, also after Ctrl-C. The database is a private PostgreSQL server in that
folder where one is installed, reachable from nowhere else; without one, dumps are
generated. No other server and no other repository is touched. The exit code is 0
only if the last day came back the same and the check found no damage.")]
pub(super) struct DemoArgs {
    /// Keep the repository, and say how to open it.
    #[arg(long)]
    pub keep: bool,
    /// Size of the first day's dump in megabytes.
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub size: u64,
    /// Do not start a private PostgreSQL server; use generated dumps.
    #[arg(long)]
    pub generated: bool,
}
