//! Exit codes: a part of the interface, the same for every command. `README.md` lists them.
//!
//! Every error says its class ([`Fault`]) in a `match` that names all variants of its type: a new kind of error without
//! one does not compile.

use crate::base::fault::Class;
use std::process::ExitCode;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// All well.
    Good,
    /// Something failed or is suspect; something was stored.
    Partial,
    /// Nothing was stored or read: every source failed, or the storage did.
    NothingDone,
    /// Wrong usage or configuration, found before anything started.
    Usage,
    /// Damage, or a verification that failed.
    Integrity,
    /// Another operation is in the way: try again.
    Conflict,
    /// Refused by a safety rule, or by a question that nobody answered with yes. Nothing was changed.
    Refused,
    /// The server, or whatever else a restore goes into, failed or is not there.
    Target,
    /// There is no repository.
    NoRepository,
    /// The key is wrong, or too weak.
    WrongKey,
    /// Somebody asked to stop.
    Interrupted,
    /// Whoever read standard output went away. The process ends as programs do that nobody listens to any more.
    Unheard,
}

impl Exit {
    /// All that a process of this program ends with by itself.
    pub(super) const ALL: [Self; 11] = [
        Self::Good,
        Self::Partial,
        Self::NothingDone,
        Self::Usage,
        Self::Integrity,
        Self::Conflict,
        Self::Refused,
        Self::Target,
        Self::NoRepository,
        Self::WrongKey,
        Self::Interrupted,
    ];

    /// Of a process of this program that ended with `code`; other codes are failures of the whole.
    pub(super) fn of_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::NothingDone)
    }

    /// What kind of failure it tells of.
    pub(super) fn class(self) -> Option<Class> {
        Some(match self {
            Self::Good => return None,
            Self::Partial => Class::Partial,
            // What was not read to its end did nothing.
            Self::NothingDone | Self::Unheard => Class::NothingDone,
            Self::Usage => Class::Usage,
            Self::Integrity => Class::Integrity,
            Self::Conflict => Class::Conflict,
            Self::Refused => Class::Refused,
            Self::Target => Class::Target,
            Self::NoRepository => Class::NoRepository,
            Self::WrongKey => Class::WrongKey,
            Self::Interrupted => Class::Interrupted,
        })
    }

    /// The number that a shell sees.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Partial => 1,
            Self::NothingDone => 2,
            Self::Usage => 3,
            Self::Integrity => 4,
            Self::Conflict => 5,
            Self::Refused => 6,
            Self::Target => 7,
            Self::NoRepository => 10,
            Self::WrongKey => 12,
            Self::Interrupted => 130,
            // What a shell shows of a process that SIGPIPE ended.
            Self::Unheard => 141,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Partial => Self::Partial,
            Class::NothingDone => Self::NothingDone,
            Class::Usage => Self::Usage,
            Class::Integrity => Self::Integrity,
            Class::Conflict => Self::Conflict,
            Class::Refused => Self::Refused,
            Class::Target => Self::Target,
            Class::NoRepository => Self::NoRepository,
            Class::WrongKey => Self::WrongKey,
            Class::Interrupted => Self::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests;
