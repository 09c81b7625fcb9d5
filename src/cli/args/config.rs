//! Arguments of `config`.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  dumpvault config check                            # before a new file is put in place:
  dumpvault --config /tmp/new.toml config check
  dumpvault config show                             # what holds, and where it comes from
  dumpvault config show --json | jq '.settings[] | select(.setting == \"compression\")'
  dumpvault config example > dumpvault.toml

Every command checks the whole file, also what it does not need itself. The command
line comes before the environment, the environment before the file. Secrets are never
shown. Exit code 3: something is wrong; all of it is told, with file and line.")]
pub(in crate::cli) struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Check every setting, and list all that are wrong.
    Check,
    /// Show every setting that holds, and where it comes from.
    Show,
    /// Print a configuration file with everything that can be set, commented out.
    Example,
}
