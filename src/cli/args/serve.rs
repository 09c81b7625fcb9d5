//! Arguments of who may come in: `user`, `token`.

use clap::{Args, Subcommand, ValueEnum};

pub(super) const SERVE: &str = "Examples:
  dumpvault user add mara --role admin
  dumpvault serve                       # http://127.0.0.1:7878

  [serve]
  listen = \"127.0.0.1:7878\"
  external_url = \"https://backup.example.org/dv\"
  trusted_proxies = [\"127.0.0.1\"]

Serves what `schedule daemon` does, and a page and an HTTP API. It opens no repository and
holds no key: what needs one runs in child processes. Without users it only says so.";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum RoleName {
    /// Sees.
    Viewer,
    /// Runs, cancels, verifies, pauses, acknowledges.
    Operator,
    /// Downloads, restores, deletes, manages.
    Admin,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault user add mara --role admin
  printf '%s\\n' \"$password\" | dumpvault user add deploy --role operator --stdin
  dumpvault user passwd mara            # ends all sessions
  dumpvault user list
  dumpvault user remove deploy --dry-run")]
pub(in crate::cli) struct UserArgs {
    #[command(subcommand)]
    pub command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UserCommand {
    /// Add a user; asks for a password of at least 12 characters.
    Add {
        /// Name: letters, digits, `.`, `_`, `-` and `@`.
        name: String,
        /// What they may do.
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleName,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        stdin: bool,
    },
    /// List users.
    List,
    /// Remove a user, with all sessions and tokens.
    Remove {
        /// Name.
        name: String,
        /// Print what would be removed, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Change a password; ends all sessions of the user.
    Passwd {
        /// Name.
        name: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        stdin: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault token add grafana --user mara --role viewer
  dumpvault token add deploy --user mara --role operator --source app --expires 30d
  dumpvault token list
  dumpvault token remove 01KB2M")]
pub(in crate::cli) struct TokenArgs {
    #[command(subcommand)]
    pub command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TokenCommand {
    /// Make a token, and print it this once.
    Add {
        /// What it is for.
        name: String,
        /// The user in whose name it acts.
        #[arg(long, value_name = "NAME")]
        user: String,
        /// What it may do.
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleName,
        /// Only about this source; repeatable.
        #[arg(long, value_name = "SOURCE")]
        source: Vec<String>,
        /// How long it lasts: 90d, 1y, never.
        #[arg(long, value_name = "AGE", default_value = "90d")]
        expires: String,
    },
    /// List tokens.
    List,
    /// Remove a token.
    Remove {
        /// Its id.
        id: String,
        /// Print which token would be removed, and exit.
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
}
