//! The command line's shape and its help texts.

mod offsite;
mod postgres;
mod restore;

use offsite::DOCTOR;
pub(super) use offsite::{CopyArgs, LockArgs, LockCommand};
pub(super) use postgres::{DumpArgs, ExecArgs, ServerArgs};
pub(super) use restore::{PartArgs, RestoreArgs, SwapArgs, VerifyArgs};

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes:
  0    all well
  1    a source or a part failed; what succeeded is stored
  2    nothing was done, the storage failed
  3    wrong usage or configuration
  4    verification or integrity failure
  5    conflict, try again
  10   no repository
  12   wrong key
  130  interrupted

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
    Ls(NameArgs),
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
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault backup postgres://backup@db1/app
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
    /// Sources of the configuration file, or postgres://… addresses.
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
    /// Name of the series.
    #[arg(long, short, value_name = "SERIES")]
    pub name: Option<String>,
    #[command(flatten)]
    pub postgres: DumpArgs,
    /// A tag for the snapshot; may be given several times.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Name of the host that the snapshot belongs to.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Moment of the dump, when an old one is imported: 2026-11-01T03:00:00Z.
    #[arg(long, value_name = "RFC3339")]
    pub time: Option<String>,
    /// How hard to compress: fast, default, max, or 0 (off) to 19.
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
    pub max_read_amplification: Option<f64>,
    /// A dump shorter than this share of what is usual in its series is stored as suspect, and ends with 1 (0.5); 0 for never.
    #[arg(long, value_name = "SHARE")]
    pub suspect_below: Option<f64>,
}

const NAMES: &str = "Names of snapshots:
  1a2b3c4d        the beginning of an id, at least four digits
  latest          the newest complete snapshot of all
  app             the newest complete snapshot of the series `app`
  app@2026-11-01  the newest at or before that day (or moment)
  app~1           the one before the series' newest";

#[derive(Debug, Args)]
#[command(after_long_help = NAMES)]
pub(super) struct CatArgs {
    /// Which snapshot.
    pub snapshot: String,
    /// Which stream, where the snapshot holds several.
    #[arg(long, value_name = "NAME")]
    pub stream: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = NAMES)]
pub(super) struct NameArgs {
    /// Which snapshot.
    pub snapshot: String,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault diff app~1 app
  dumpvault diff app@2026-11-01 latest --json

Nothing but the snapshots themselves is read, so that it is quick however large the
dumps are. Rows are counted while a dump is stored; those of compressed dumps are
not known.")]
pub(super) struct DiffArgs {
    /// The older snapshot.
    pub before: String,
    /// The newer snapshot.
    pub after: String,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault snapshots
  dumpvault snapshots --series app --tag weekly
  dumpvault snapshots --json | jq -r '.snapshots[-1].id'")]
pub(super) struct SnapshotsArgs {
    /// Only this series.
    #[arg(long, value_name = "SERIES")]
    pub series: Option<String>,
    /// Only with this tag; daily, weekly and monthly count, too.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only of this host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
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
    #[arg(long, value_name = "PART", conflicts_with = "read_data")]
    pub read_data_subset: Option<String>,
    /// Without a key: compare every object's bytes with its name.
    #[arg(long)]
    pub storage_only: bool,
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
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  dumpvault forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --prune
  dumpvault forget --keep-within 30d --series redis
  dumpvault forget                      # by [retention] in dumpvault.toml
  dumpvault forget 1a2b3c4d

Rules are applied to each series of each host by itself. --keep-daily 7 keeps the
first good snapshot of each of the newest seven days that have one; so do the others
for hours, weeks, months and years, in the time zone of the configuration. Snapshots
that are suspect take no place, and partial ones only for the streams that they hold.
A snapshot stays if any rule keeps it. Always kept: the newest complete snapshot of a
series, what is pinned (dumpvault tag --pin), what is younger than 24 hours (unless
--force), and what bears a time that cannot be right.

In the configuration file:
  [retention]
  keep_daily = 7
  keep_weekly = 4
  [source.redis.retention]
  keep_within = \"7d\"

The space is given back by `dumpvault prune`, or --prune.")]
pub(super) struct ForgetArgs {
    /// Let go of these, whatever the rules say.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Only this series.
    #[arg(long, value_name = "SERIES", conflicts_with = "snapshots")]
    pub series: Option<String>,
    /// Only of this host.
    #[arg(long, value_name = "NAME", conflicts_with = "snapshots")]
    pub host: Option<String>,
    /// Prune afterwards.
    #[arg(long)]
    pub prune: bool,
    /// Say what would go and which rule keeps the others, and do nothing.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Also let go of what is younger than 24 hours.
    #[arg(long)]
    pub force: bool,
    /// Grace period for --prune: 36h, 2d [default: 24h].
    #[arg(long, value_name = "AGE", requires = "prune")]
    pub grace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    /// Keep the newest N.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_last: Option<u32>,
    /// Keep the first of each of the newest N hours that have one.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_hourly: Option<u32>,
    /// Keep the first of each of the newest N days that have one.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_daily: Option<u32>,
    /// Keep the first of each of the newest N weeks that have one.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_weekly: Option<u32>,
    /// Keep the first of each of the newest N months that have one.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_monthly: Option<u32>,
    /// Keep the first of each of the newest N years that have one.
    #[arg(long, value_name = "N", conflicts_with = "snapshots")]
    pub keep_yearly: Option<u32>,
    /// Keep snapshots at most this much older than the newest: 36h, 30d, 2w, 6m (months), 1y.
    #[arg(long, value_name = "AGE", conflicts_with = "snapshots")]
    pub keep_within: Option<String>,
    /// Keep all with this tag; may be given several times.
    #[arg(long, value_name = "TAG", conflicts_with = "snapshots")]
    pub keep_tag: Vec<String>,
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
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault tag app --pin               # forget does not let go of it
  dumpvault tag 1a2b3c4d --unpin
  dumpvault tag app@2026-11-01 --add before-upgrade --remove nightly")]
pub(super) struct TagArgs {
    /// Which snapshot.
    pub snapshot: String,
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
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Add a passphrase or a key file.
    #[command(after_long_help = "Examples:
  dumpvault key add --label ops                     # asks for a new passphrase
  dumpvault key add --new-key-file /root/db1.key --role append --label db1
  dumpvault key add --new-password-file /root/pw")]
    Add(KeyAddArgs),
    /// List the keys.
    List,
    /// Remove a key.
    Remove {
        /// The beginning of its id, as `key list` shows it.
        id: String,
    },
    /// Change the passphrase (or key file) that the repository was opened with.
    Passwd(NewKeyArgs),
    /// Write the key slot, still sealed, to a file, to be kept elsewhere.
    Export {
        /// The file; it must not be there yet.
        file: PathBuf,
    },
    /// Put an exported key slot back.
    Import {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct KeyAddArgs {
    #[command(flatten)]
    pub new: NewKeyArgs,
    /// What the key may do: full, or append (add backups; read none).
    #[arg(long, value_parser = ["full", "append"], default_value = "full")]
    pub role: String,
    /// Words shown beside the key in `key list`.
    #[arg(long, default_value = "")]
    pub label: String,
}

#[derive(Debug, Args)]
pub(super) struct NewKeyArgs {
    /// The new key is this key file; made if it is not there.
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    pub new_key_file: Option<PathBuf>,
    /// The new passphrase is the first line of this file.
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
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
