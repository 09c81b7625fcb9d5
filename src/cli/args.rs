//! The command line's shape and its help texts.

mod access;
mod backup;
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
mod look;
mod offsite;
mod postgres;
mod restore;
#[cfg(feature = "daemon")]
mod schedule;
#[cfg(feature = "daemon")]
mod serve;
mod upkeep;

pub(super) use access::AccessArgs;
pub(super) use backup::BackupArgs;
pub(super) use config::{ConfigArgs, ConfigCommand};
pub(super) use help::{asked_for, shown};
pub(super) use keys::{GrantArgs, KeyAddArgs, KeyCommand, NewKeyArgs, PasswdArgs, RotateArgs};
use look::NAMES;
pub(super) use look::{CatArgs, DiffArgs, FindArgs, LsArgs, NameArgs, SnapshotsArgs, StatusArgs, WhichArgs};
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
pub(super) use upkeep::{CheckArgs, ForgetArgs, PruneArgs, RepairArgs, RepairCommand, RuleArgs, TagArgs};

use clap::{Args, Parser, Subcommand};
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
