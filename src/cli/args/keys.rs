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

An append key adds backups of its hosts and reads none. Give each host a key of its
own: then a host that was broken into cannot add backups for the others, and its key
can be revoked.")]
    Add(KeyAddArgs),
    /// List the keys and their slots.
    List,
    /// Change which hosts and series an append key may back up.
    #[command(after_long_help = "Examples:
  dumpvault key grant db1 --host db1-new            # db1 got a new host name
  dumpvault key grant db1 --series app --series redis")]
    Grant(GrantArgs),
    /// Start a new key epoch: objects of copied keys that were revoked no longer count.
    #[command(after_long_help = "Examples:
  dumpvault key rotate
  dumpvault key rotate --content                    # also new names for all content

Rotation needs nobody's passphrase and reaches hosts that are away: their keys follow
by themselves. It does not encrypt old data again: who had a key and a copy of the
data can still read that data.

The content root names chunks. Who holds an old one can confirm guesses of large chunks
that were stored under it. With --content, data that is stored from now on has other
names: the next backup of every series is a full one, because nothing that is stored now
is found again. Old snapshots stay as they are.")]
    Rotate(RotateArgs),
    /// Revoke a key: rotate without it.
    #[command(after_long_help = "Examples:
  dumpvault key revoke db1
  dumpvault key revoke db1 --since 2026-11-20T00:00:00Z   # db1 was broken into then
  dumpvault key revoke db1 --content                # db1 can confirm nothing stored later

With --since, what the key stored after that time no longer counts. It is not deleted
until `dumpvault forget --foreign`.")]
    Revoke {
        /// Name of the key, or the beginning of its author id, as `key list` shows it.
        key: String,
        /// Nothing that the key stored after this time counts any more (RFC 3339).
        #[arg(long, value_name = "TIME")]
        since: Option<jiff::Timestamp>,
        #[command(flatten)]
        rotate: RotateArgs,
    },
    /// Remove a key slot. Whoever copied it keeps access until the key is revoked.
    Remove {
        /// The beginning of its id, as `key list` shows it.
        id: String,
        /// Also remove the slot in use, or the last one of a full key.
        #[arg(long)]
        force: bool,
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
pub(in crate::cli) struct KeyAddArgs {
    #[command(flatten)]
    pub new: NewKeyArgs,
    /// What the key may do: full, or append (add backups; read none).
    #[arg(long, value_parser = ["full", "append"], default_value = "full")]
    pub role: String,
    /// The same as --role append.
    #[arg(long, conflicts_with = "role")]
    pub append: bool,
    /// Name of the key.
    #[arg(long, visible_alias = "name", default_value = "")]
    pub label: String,
    /// Hosts that an append key may add backups of; `*` for all [default: this host].
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Series that an append key may add to [default: all].
    #[arg(long = "series", value_name = "SERIES")]
    pub series: Vec<String>,
    /// Let two append keys add backups of the same host.
    #[arg(long)]
    pub share: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct GrantArgs {
    /// Name of the key, or the beginning of its author id, as `key list` shows it.
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
    /// Allow only what is given here, and nothing of what was allowed before.
    #[arg(long)]
    pub only: bool,
    /// Give the key another name.
    #[arg(long, value_name = "NAME")]
    pub rename: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// Also rotate the content root. The next backup of every series is a full one.
    #[arg(long)]
    pub content: bool,
    /// Rotate the content root without asking.
    #[arg(long, requires = "content")]
    pub yes: bool,
    /// Do not wait for running backups: they fail and are tried again.
    #[arg(long)]
    pub end_sessions: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NewKeyArgs {
    /// The new key is this key file; made if it is not there.
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    pub new_key_file: Option<PathBuf>,
    /// The new passphrase is the first line of this file.
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    /// Accept a passphrase of less than 8 characters.
    #[arg(long)]
    pub force: bool,
}
