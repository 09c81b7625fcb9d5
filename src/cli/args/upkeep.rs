//! Upkeep: check, repair, retention, tags.

use super::WhichArgs;
use clap::{Args, Subcommand};

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
pub(in crate::cli) struct CheckArgs {
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
pub(in crate::cli) struct RepairArgs {
    #[command(subcommand)]
    pub command: RepairCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RepairCommand {
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
pub(in crate::cli) struct ForgetArgs {
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
pub(in crate::cli) struct RuleArgs {
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
  dumpvault prune --dry-run
  dumpvault prune                       # daily: schedules today, deletes a day later
  dumpvault prune --grace 0             # at once; only while no backup runs

Works in two runs, so it is safe beside backups. The first run schedules packs that are
at least half unreferenced, or small, for deletion, and copies what is still referenced
in them. A run after the grace period deletes them, once no backup runs that began
before. A snapshot or recipe that cannot be read stops it before anything is deleted.")]
pub(in crate::cli) struct PruneArgs {
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
pub(in crate::cli) struct TagArgs {
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
