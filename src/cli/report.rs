//! Errors become words and hints.

use super::clean;
use super::exit::Exit;
use super::said::Said;
use crate::base::fault::{Fault, Next};
use crate::base::name::{BadName, NameError};
use crate::engine::OpError;
use crate::engine::app::AppError;
use crate::engine::report::Failure;
use crate::settings::ConfigError;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Op(#[from] OpError),
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// A safety rule, or a question without an answer.
    #[error("{message}")]
    Refused { message: String, hint: Option<String> },
    #[error("the working directory is gone: {0}")]
    WorkingDirectory(#[source] std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[source] std::io::Error),
    #[error("`{path}`: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// One of several parts, and the exit code of all.
    #[error("{message}")]
    Told {
        message: String,
        hint: Option<String>,
        code: Option<&'static str>,
        kind: Option<String>,
        exit: Exit,
    },
    /// What to do next is known better than the error knows it by itself.
    #[error("{error}")]
    Hinted { error: Box<CliError>, hint: Option<String> },
    /// With one of several destinations.
    #[error("{name}: {error}")]
    Destination { name: String, error: Box<CliError> },
}

impl From<NameError> for CliError {
    fn from(error: NameError) -> Self {
        Self::Op(error.into())
    }
}

impl From<BadName> for CliError {
    fn from(error: BadName) -> Self {
        Self::Op(error.into())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::App(error.into())
    }
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// The same, with another exit code than its kind has elsewhere.
    pub(super) fn ends(self, exit: Exit) -> Self {
        match exit {
            _ if self.is_cancelled() => self,
            exit => Self::Told {
                message: self.to_string(),
                hint: self.hint(),
                code: self.code(),
                kind: self.kind(),
                exit,
            },
        }
    }

    /// Whether somebody asked to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.operation().is_some_and(OpError::is_cancelled)
    }

    pub(super) fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            // The same hints, whichever way the error came.
            Self::App(error) => hint_of(error),
            Self::Op(error) => hint_of(error),
            Self::Usage { hint, .. } | Self::Refused { hint, .. } | Self::Told { hint, .. } => hint.clone(),
            Self::Hinted { hint, .. } => hint.clone(),
            Self::Destination { error, .. } => error.hint(),
            _ => None,
        }
    }

    /// The operation's error, if that is what it is.
    pub(super) fn operation(&self) -> Option<&OpError> {
        match self {
            Self::Op(error) => Some(error),
            Self::Hinted { error, .. } | Self::Destination { error, .. } => error.operation(),
            _ => None,
        }
    }
}

impl CliError {
    /// A word for programs that stays the same.
    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            Self::App(error) => Some(error.code()),
            Self::Op(error) => Some(error.code()),
            Self::Usage { .. } => Some("usage"),
            Self::Refused { .. } => Some("refused"),
            Self::WorkingDirectory(_) => Some("working_directory"),
            Self::Output(_) => Some("output"),
            Self::File { .. } => Some("file"),
            Self::Hinted { error, .. } | Self::Destination { error, .. } => error.code(),
            Self::Told { code, .. } => *code,
        }
    }

    /// What failed in a database's programs: a word for programs.
    fn kind(&self) -> Option<String> {
        match self {
            Self::Told { kind, .. } => kind.clone(),
            other => Some(other.operation()?.failure()?.to_string()),
        }
    }
}

impl CliError {
    /// What the process ends with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::App(error) => error.class().into(),
            Self::Op(error) => error.class().into(),
            Self::Usage { .. } => Exit::Usage,
            Self::Refused { .. } => Exit::Refused,
            Self::WorkingDirectory(_) | Self::Output(_) | Self::File { .. } => Exit::NothingDone,
            Self::Hinted { error, .. } | Self::Destination { error, .. } => error.exit(),
            Self::Told { exit, .. } => *exit,
        }
    }
}

/// What to do next, with settings as options.
pub(super) fn hint_of(error: &dyn Fault) -> Option<String> {
    error.next().map(shown)
}

/// The next step, with settings as options.
pub(super) fn shown(next: Next) -> String {
    next.render(|setting| format!("--{}", setting.replace('_', "-")))
}

/// Tells what went wrong and what to do next. The exit code says the same.
pub(super) fn report(error: &CliError, said: &Said, json: bool, interrupted: bool) -> Exit {
    let interrupted = interrupted || error.is_cancelled();
    let exit = if interrupted { Exit::Interrupted } else { error.exit() };
    let message = if interrupted { "interrupted".to_owned() } else { error.to_string() };
    let hint = if interrupted { None } else { error.hint() };
    said.aside(|| {
        clean::tell(&format!("dumpvault: error: {message}"));
        if let Some(hint) = &hint {
            clean::tell(&format!("dumpvault: hint: {hint}"));
        }
    });
    if json {
        let failure = Failure {
            error: message,
            hint,
            exit_code: exit.code(),
            code: if interrupted { Some("cancelled") } else { error.code() }.map(str::to_owned),
            kind: error.kind(),
        };
        super::print_report(failure, said);
    }
    exit
}

// There are schemas of all commands, also of those that a build leaves out.
#[cfg(all(test, feature = "daemon"))]
mod tests {
    use crate::cli::args::Cli;
    use crate::engine::report::{FAILURE, schemas};
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_has_a_schema_and_every_schema_a_command() {
        let mut commands = BTreeSet::from([FAILURE.to_owned()]);
        for command in Cli::command().get_subcommands() {
            // Their output is the dump, the script, or text for Prometheus; or files.
            if ["cat", "complete", "completions", "manual", "metrics", "setup"].contains(&command.get_name())
            {
                continue;
            }
            let mut names: Vec<String> = command
                .get_subcommands()
                .map(|below| format!("{}-{}", command.get_name(), below.get_name()))
                .filter(|name| name != "config-example")
                .collect();
            if names.is_empty() {
                names.push(command.get_name().to_owned());
            }
            commands.extend(names);
        }
        let described: BTreeSet<String> = schemas().into_iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(described, commands);
    }
}
