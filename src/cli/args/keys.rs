//! Options and help of `dumpvault key`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeyCommand {
    /// Add a key for another person or host.
    #[command(after_long_help = "Examples:
  dumpvault key add --name ops                      # asks for a new passphrase
  dumpvault key add --append --name db1 --new-key-file /root/db1.key
  dumpvault key add --append --name db2 --host db2 --host db2-old --new-password-file /root/pw

An append key adds backups of its hosts and cannot read any. Give each host its own key:
a compromised host then cannot add backups for the others, and its key can be revoked.")]
    Add(KeyAddArgs),
    /// List keys and their slots.
    #[command(after_long_help = "Examples:
  dumpvault key list
  dumpvault key list --json | jq -r '.authors[] | select(.revoked | not) | .name'

A key is what somebody may do; a slot is the object that a passphrase or key file opens
to use that key. `key grant` and `key revoke` take a key, `key remove` takes a slot. A
star marks the slot in use.")]
    List,
    /// Change which hosts and series an append key may back up.
    #[command(after_long_help = "Examples:
  dumpvault key grant db1 --host db1-new            # the host was renamed
  dumpvault key grant db1 --series app --series redis")]
    Grant(GrantArgs),
    /// Start a new key epoch, so that objects of revoked keys no longer count.
    #[command(after_long_help = "Examples:
  dumpvault key rotate
  dumpvault key rotate --content                    # also new names for all content

Rotation needs no other passphrase, and the keys of hosts that are offline follow when
they return. It does not re-encrypt old data: an attacker with a key and a copy of the
data can still read that data.

Chunk names depend on the content root. An attacker who has it can confirm guesses of
large chunks. With --content, new data gets new names, so the next backup of every series
is a full one. Old snapshots stay as they are.")]
    Rotate(RotateArgs),
    /// Revoke a key: rotate without it.
    #[command(after_long_help = "Examples:
  dumpvault key revoke db1
  dumpvault key revoke db1 --since 2026-11-20T00:00:00Z   # db1 was compromised then
  dumpvault key revoke db1 --content                # db1 can confirm nothing stored later

With --since, objects that the key stored after that time no longer count.
`dumpvault forget --foreign` deletes them.")]
    Revoke {
        /// Name of the key, or author id prefix, from `key list`.
        key: String,
        /// Ignore objects that the key stored after this time (RFC 3339).
        #[arg(long, value_name = "TIME")]
        since: Option<jiff::Timestamp>,
        #[command(flatten)]
        rotate: RotateArgs,
    },
    /// Remove a key slot; a copy of the slot keeps access until the key is revoked.
    Remove {
        /// Id prefix from `key list`, at least 4 digits.
        id: String,
        /// Also remove the slot in use, or the last one of a full key.
        #[arg(long)]
        force: bool,
        /// Print which slot would be removed, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Replace the passphrase or key file in use.
    Passwd(PasswdArgs),
    /// Save the key slot in use, still encrypted, to a file.
    Export {
        /// New file to write.
        file: PathBuf,
    },
    /// Restore an exported key slot.
    Import {
        /// File written by `key export`.
        file: PathBuf,
        /// Print which slot would be restored, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct KeyAddArgs {
    #[command(flatten)]
    pub new: NewKeyArgs,
    /// Role of the key: full (everything) or append (add backups, cannot read any).
    #[arg(long, value_parser = ["full", "append"], default_value = "full")]
    pub role: String,
    /// Same as --role append.
    #[arg(long, conflicts_with = "role")]
    pub append: bool,
    /// Name to show in `key list`.
    #[arg(long, visible_alias = "name", default_value = "", hide_default_value = true)]
    pub label: String,
    /// Host that an append key may back up; `*` for all [default: this host]; repeatable.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Series that an append key may add to [default: all]; repeatable.
    #[arg(long = "series", value_name = "SERIES")]
    pub series: Vec<String>,
    /// Allow a host that another append key already covers.
    #[arg(long)]
    pub share: bool,
    /// Print the key that would be added, and exit; no passphrase is asked for.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PasswdArgs {
    #[command(flatten)]
    pub new: NewKeyArgs,
    /// Print which slot would be replaced, and exit; no passphrase is asked for.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GrantArgs {
    /// Name of the key, or author id prefix, from `key list`.
    pub key: String,
    /// Also allow this host.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Also allow this series.
    #[arg(long = "series", value_name = "SERIES", conflicts_with = "all_series")]
    pub series: Vec<String>,
    /// Allow all series.
    #[arg(long)]
    pub all_series: bool,
    /// Replace the allowed hosts and series instead of adding to them.
    #[arg(long)]
    pub only: bool,
    /// Rename the key.
    #[arg(long, value_name = "NAME")]
    pub rename: Option<String>,
    /// Print what the key would be allowed, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// Also rotate the content root; the next backup of every series is a full one.
    #[arg(long)]
    pub content: bool,
    /// Rotate the content root without asking.
    #[arg(long, requires = "content")]
    pub yes: bool,
    /// Do not wait for running backups; they fail when they commit.
    #[arg(long)]
    pub end_sessions: bool,
    /// Print which keys would be revoked and what it would cost, and exit.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewKeyArgs {
    /// Use this key file as the new key; created if missing.
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    pub new_key_file: Option<PathBuf>,
    /// Use the first line of FILE as the new passphrase [default: prompt].
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// Accept a passphrase of less than 8 characters.
    #[arg(long)]
    pub force: bool,
}
