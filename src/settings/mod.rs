//! Settings: the command line, the environment and a TOML file become typed values, each with its origin.
//!
//! Files, the first that is there: `./dumpvault.toml`, `$XDG_CONFIG_HOME/dumpvault/config.toml`,
//! `/etc/dumpvault/config.toml`. The environment comes before the file, the command line before both. Every value is
//! checked when the file is read, also those that nobody needs now.
//!
//! | file | hides |
//! |---|---|
//! | `alerts` | whom to tell when something is wrong |
//! | `args` | options of commands that are no settings |
//! | `env_file` | files of variables |
//! | `environment` | what the process finds around it |
//! | `jobs` | what the scheduler runs, and when |
//! | `keys` | the settings: the description of each |
//! | `resolve` | how layers become values |
//! | `resolved` | the values |
//! | `serve` | how the page is reached |
//! | `trust` | whose word a file is |

mod args;
mod env_file;
mod environment;
#[macro_use]
mod keys;
mod alerts;
mod jobs;
mod resolve;
mod resolved;
mod serve;
mod trust;

pub use alerts::{Alerts, Channel, Http, MailTls, Preset, Secret, TOPICS, Way};
pub use args::{age, duration, fraction, grace, level, part, since};
pub use environment::Environment;
pub use jobs::{CatchUp, Job, Overlap, Retry, Work};
pub use keys::{SourceKind, StorageKind, manual, sections};
pub use resolve::{Flags, Registry, resolve, resolve_text};
pub use resolved::{
    Destination, Hooks, KeySource, Programs, Repository, Resolved, Source, StorageOptions, System,
};
pub use serve::{ExternalUrl, Listen, Serve, Tls};
pub use trust::Distrust;

use crate::base::setting::SettingError;
use std::path::{Path, PathBuf};

/// A setting is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else may have written the file.
    #[error("configuration `{path}` is not trusted: {}", blame(path, place, reason), path = path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// The file itself, or its folder.
        place: PathBuf,
        /// What is wrong with that.
        reason: Distrust,
    },
    /// The file that was named is not there.
    #[error("configuration file `{path}` not found", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Settings are wrong: all of them that are.
    #[error("{}", joined(.0))]
    Settings(Vec<SettingError>),
}

impl From<SettingError> for ConfigError {
    fn from(error: SettingError) -> Self {
        Self::Settings(vec![error])
    }
}

/// What is wrong with a file, in the folder's name if that is what it is.
fn blame(path: &Path, place: &Path, reason: &Distrust) -> String {
    match path == place {
        true => reason.to_string(),
        false => format!("its directory `{}`: {reason}", place.display()),
    }
}

/// One error as it is; several a line each, with what to do about each.
fn joined(errors: &[SettingError]) -> String {
    if let [error] = errors {
        return error.to_string();
    }
    let mut lines = vec![format!("{} settings are wrong", errors.len())];
    for error in errors {
        let next = error.next.as_ref().map_or_else(String::new, |next| format!("; {next}"));
        lines.push(format!("{error}{next}").replace('\n', " "));
    }
    lines.join("\n  ")
}

impl ConfigError {
    /// What to do next, where that can be known.
    pub fn hint(&self) -> Option<String> {
        match self {
            // A folder with the sticky bit is meant for everybody.
            Self::Untrusted { reason: Distrust::Mode { mode }, .. } if mode & 0o1000 != 0 => Some(
                "keep it in a directory that only you can write to, or give another file with --config".to_owned(),
            ),
            Self::Untrusted { place, reason: Distrust::Mode { .. }, .. } => Some(format!(
                "run `chmod go-w {}` if you trust what the file says; or name another with --config",
                place.display()
            )),
            Self::Untrusted { reason: Distrust::Owner { .. }, .. } => Some(
                "run dumpvault from another directory, or as that user; or give a file of your own with --config"
                    .to_owned(),
            ),
            Self::Settings(errors) => match errors.as_slice() {
                [error] => error.next.clone(),
                _ => None,
            },
            Self::Missing { .. } => Some(
                "check --config or DUMPVAULT_CONFIG; `dumpvault config example` prints a file to start from".to_owned(),
            ),
            Self::Read { .. } => Some("check that it is a file that this user may read".to_owned()),
        }
    }
}
