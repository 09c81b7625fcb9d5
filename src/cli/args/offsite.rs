//! Arguments of what concerns other repositories and buckets: `copy`, `object-lock`, `doctor`.

use super::WhichArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault --object-lock compliance:30d object-lock extend
  dumpvault object-lock extend          # object_lock from [s3]

Backups with --object-lock lock every object that their own snapshot needs. Run this
weekly to keep older snapshots locked too; then no credentials can delete what
`snapshots` lists. `check` reports locks that end too soon. The bucket must have Object
Lock enabled; `doctor` checks that.")]
pub(in crate::cli) struct ObjectLockArgs {
    #[command(subcommand)]
    pub command: ObjectLockCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ObjectLockCommand {
    /// Extend the object locks of everything that kept snapshots need, to the --object-lock age and one eighth more.
    Extend {
        /// Print how many object locks would be extended, and until when.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
}

pub(super) const DOCTOR: &str = "Examples:
  dumpvault doctor
  dumpvault --repo s3://company-vault/db1 doctor --json

Checks storage access and permissions, latency, clocks, Object Lock, versioning, the
key, the cache directory and client programs. Writes a small object below `sessions/` and
deletes it; if it may not delete, it names what it left. Continues after an error where
it can, and exits with the code of the first one. Warnings do not change the exit code.";

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault copy --to s3://company-vault/db1 --to-key-file /root/offsite.key --init
  dumpvault copy --to /mnt/disk/vault --series app --since 30d
  dumpvault copy app@2026-11-01 --to s3:https://objects.example/vault/db1
  dumpvault copy                        # every [copy.NAME]
  dumpvault --repo s3://company-vault/db1 copy --to /srv/vault      # and back again

The destination's key comes from --to-key-file, --to-password-file, DUMPVAULT_TO_*
variables or [copy.NAME]; else the source's key is tried.

A destination created with --init has its own keys and the same chunk names: it receives
blocks as they are, each of them checked, and only missing ones are read. For any other
destination each snapshot is read, checked and stored again.

Copies missing snapshots, oldest first. A snapshot is listed at the destination once it
is complete, and an interrupted copy resumes. Tags and pins are copied too. Run `forget`
on the destination for its own retention.

In the configuration file:
  [copy.offsite]
  repository = \"s3://company-vault/db1\"
  key_file = \"/root/offsite.key\"
  series = [\"app\"]
  since = \"30d\"

Exit code 4: the source is damaged; intact snapshots were copied.")]
pub(in crate::cli) struct CopyArgs {
    /// Snapshots to copy [default: all that match the options].
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// Destination address, or NAME of a [copy.NAME] [default: every [copy.NAME]].
    #[arg(long, value_name = "REPO")]
    pub to: Option<String>,
    /// Create the destination if it does not exist.
    #[arg(long)]
    pub init: bool,
    /// Passphrase file of the destination.
    #[arg(long, value_name = "FILE", requires = "to")]
    pub to_password_file: Option<PathBuf>,
    /// Key file of the destination.
    #[arg(long, value_name = "FILE", requires = "to", conflicts_with = "to_password_file")]
    pub to_key_file: Option<PathBuf>,
    /// AWS profile with the destination's credentials.
    #[arg(long, value_name = "PROFILE", requires = "to")]
    pub to_s3_profile: Option<String>,
    /// Copy the snapshots of this run over a system: SYSTEM, SYSTEM~1, SYSTEM@TIME, or the run's id.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["snapshots", "series", "host", "tag", "since"])]
    pub set: Option<String>,
    /// Copy only this series: app, or db1/app; repeatable.
    #[arg(long, value_name = "SERIES")]
    pub series: Vec<String>,
    /// Copy only snapshots of this host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Copy only snapshots with this tag, calendar tags included; repeatable, all must match.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Copy only snapshots from this time on: 2026-11-01, 2026-11-01T03:00:00Z, 30d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Compress again: columns, zstd, fast, max, or a zstd level from 0 (off) to 19.
    #[arg(long, value_name = "LEVEL")]
    pub compression: Option<String>,
    /// Print what would be copied, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}
