//! Commands that only look: names of snapshots, lists, contents, differences, states.

use clap::Args;

pub(super) const NAMES: &str = "Snapshot names:
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
pub(in crate::cli) struct WhichArgs {
    /// If several hosts have the series, use the newest of all.
    #[arg(long)]
    pub any_host: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = format!("{CAT}\n\n{NAMES}"))]
pub(in crate::cli) struct CatArgs {
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
pub(in crate::cli) struct LsArgs {
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
pub(in crate::cli) struct FindArgs {
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
pub(in crate::cli) struct NameArgs {
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
pub(in crate::cli) struct DiffArgs {
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
pub(in crate::cli) struct SnapshotsArgs {
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
  dumpvault status --max-age 26h        # exit code 1 if a series has no good snapshot that recent
  dumpvault status --max-age 26h --nagios

A good snapshot is complete and not suspect. An append key is enough, so that another host
can monitor.
Exit codes: 0 all recent enough; 1 one is too old, or a configured source has none; 2 unknown.
With --nagios: 0 OK, 2 CRITICAL, 3 UNKNOWN.")]
pub(in crate::cli) struct StatusArgs {
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
