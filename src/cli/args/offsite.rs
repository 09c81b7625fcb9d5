//! Arguments of what concerns other repositories and buckets: `copy`, `lock`, `doctor`.

use super::WhichArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault --object-lock compliance:30d lock extend
  dumpvault lock extend                 # as object_lock in [s3] says

With --object-lock every object that a restore needs is locked when it is put, and a
backup prolongs the locks of all that its snapshot relies on. What only older
snapshots need runs out in time: run this weekly, and nobody, whatever keys he has,
can delete what `snapshots` lists. `check` reports locks that end too soon. The bucket
must have been made with Object Lock; `doctor` tells.")]
pub(in crate::cli) struct LockArgs {
    #[command(subcommand)]
    pub command: LockCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LockCommand {
    /// Lock everything that the kept snapshots need, from now on for as long as --object-lock says, and an eighth more.
    Extend,
}

pub(super) const DOCTOR: &str = "Examples:
  dumpvault doctor
  dumpvault --repo s3://company-vault/db1 doctor --json

Puts a small object into the repository's folder `sessions`, reads it back, whole and
in part, tries to replace it, and deletes it. Nothing is left behind, unless the keys
may not delete: then its name is told. Everything is looked at, also after an error.
The exit code is that of the first error; warnings are none.";

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault copy --to s3://company-vault/db1 --to-key-file /root/offsite.key --init
  dumpvault copy --to /mnt/disk/vault --series app --since 30d
  dumpvault copy app@2026-11-01 --to s3:https://objects.example/vault/db1
  dumpvault copy                        # to every [copy.NAME] in dumpvault.toml
  dumpvault --repo s3://company-vault/db1 copy --to /srv/vault      # and back again

What opens the other repository: --to-key-file, --to-password-file,
DUMPVAULT_TO_KEY_FILE, DUMPVAULT_TO_PASSWORD, …_PASSWORD_FILE, …_PASSWORD_COMMAND or
[copy.NAME]; where none is given, what opens the source.

--init makes it where it is not there yet, with keys of its own and with the same
names for the same content: blocks then go as they are, every one of them checked, and
only those that are missing there are read. Into a repository that was made by
`dumpvault init` each snapshot is read whole, checked against the digest of the dump,
and stored as a backup of its own.

Snapshots go one after another, oldest first, and each is listed at the destination
only once it is whole there. What was copied before is known by its origin and left
out; a run that was cut short goes on where it was. Keep the destination's history by
its own `forget`. Pins and tags come along, also those that were added since.

In the configuration file:
  [copy.offsite]
  repository = \"s3://company-vault/db1\"
  key_file = \"/root/offsite.key\"
  series = [\"app\"]
  since = \"30d\"

Exit code 4: something at the source is damaged; what is whole was copied.")]
pub(in crate::cli) struct CopyArgs {
    /// Snapshots to copy [default: all that match the options].
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub which: WhichArgs,
    /// The repository to copy into, or the name of a [copy.NAME] in the configuration; otherwise all of these.
    #[arg(long, value_name = "REPO")]
    pub to: Option<String>,
    /// Make the destination where it is not there yet: blocks are then copied as they are.
    #[arg(long)]
    pub init: bool,
    /// File that holds the destination's passphrase in its first line.
    #[arg(long, value_name = "FILE", requires = "to")]
    pub to_password_file: Option<PathBuf>,
    /// Key file of the destination.
    #[arg(long, value_name = "FILE", requires = "to", conflicts_with = "to_password_file")]
    pub to_key_file: Option<PathBuf>,
    /// Profile in ~/.aws with the keys of the destination's bucket.
    #[arg(long, value_name = "PROFILE", requires = "to")]
    pub to_s3_profile: Option<String>,
    /// Copy the snapshots of this run over a system: SYSTEM, SYSTEM~1, SYSTEM@TIME, or the run's id.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["snapshots", "series", "host", "tag", "since"])]
    pub set: Option<String>,
    /// Copy only this series: app, or db1/app; repeatable.
    #[arg(long, value_name = "SERIES")]
    pub series: Vec<String>,
    /// Only of this host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only with this tag; daily, weekly and monthly count, too. Several must all be there.
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Only dumps made since then: 2026-11-01, 2026-11-01T03:00:00Z, or an age as 30d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Compression at the destination: columns, zstd, fast, max, or a zstd level, 0 (off) to 19.
    #[arg(long, value_name = "LEVEL")]
    pub compression: Option<String>,
    /// Say what would be copied, and copy nothing.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}
