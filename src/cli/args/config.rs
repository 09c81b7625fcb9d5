//! Arguments of `config`.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault config check
  dumpvault --config /tmp/new.toml config check     # before you install a new file
  dumpvault config show                             # each value and its origin
  dumpvault config show --json | jq '.settings[] | select(.setting == \"compression\")'
  dumpvault config example > dumpvault.toml

Every command checks the whole file. Options override the environment, and the
environment overrides the file. Secrets are never printed. Exit code 3: errors were
found; each is printed with file and line.")]
pub(in crate::cli) struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Check every setting and list all errors.
    Check,
    /// Show every setting in effect and its origin.
    Show,
    /// Print a configuration file with every setting, commented out.
    Example,
}
