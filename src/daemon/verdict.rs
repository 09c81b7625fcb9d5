//! What an ended try means: whether the run did what it should, and whether there is another try.

use super::due::ms;
use crate::settings::Retry;

/// How the process of a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// The scheduler stopped it.
    Stopped(Why),
    /// It is gone, and nobody saw how.
    Lost,
    /// It could not be started.
    NotStarted(String),
}

/// Why the scheduler stops a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It took too long.
    Timeout,
    /// It did nothing any more.
    Stalled,
    /// The scheduler itself was asked to stop.
    Shutdown,
    /// Somebody asked for it.
    Asked,
    /// A backup needs its place.
    GivesWay,
}

/// What comes after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// All is well.
    Good,
    /// Nothing more is tried.
    Bad,
    /// Try again after a while.
    Later,
    /// Try the parts that failed again after a while.
    PartsLater,
    /// It was cut short by no fault of its own: try again at once.
    AtOnce,
    /// It made room for a backup: go on when there is room again, whatever was tried before.
    GaveWay,
}

impl Exit {
    /// What comes next, if another try is allowed at all.
    pub(super) fn next(&self) -> Next {
        match self {
            Self::Code(0) => Next::Good,
            Self::Code(1) => Next::PartsLater,
            Self::Code(2 | 5 | 7) | Self::NotStarted(_) => Next::Later,
            Self::Code(_) | Self::Signal(_) | Self::Stopped(Why::Asked) => Next::Bad,
            Self::Stopped(Why::Timeout | Why::Stalled) => Next::Later,
            Self::Stopped(Why::Shutdown) | Self::Lost => Next::AtOnce,
            Self::Stopped(Why::GivesWay) => Next::GaveWay,
        }
    }

    /// The exit code, if there is one.
    pub(super) fn code(&self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(*code),
            _ => None,
        }
    }

    /// Why it is not good, in words.
    pub(super) fn reason(&self) -> Option<String> {
        Some(match self {
            Self::Code(0) => return None,
            Self::Code(code) => {
                let words = match code {
                    1 => "something failed or is suspect",
                    2 => "nothing was stored or read",
                    3 => "usage or configuration error",
                    4 => "damage found, or verification failed",
                    5 => "conflict with another operation",
                    6 => "refused by a safety rule",
                    7 => "the target server failed or is not there",
                    10 => "no repository",
                    12 => "wrong or revoked key",
                    130 => "interrupted",
                    _ => "failed",
                };
                format!("{words} (exit code {code})")
            }
            Self::Signal(9) => "killed by signal 9; likely out of memory".to_owned(),
            Self::Signal(signal) => format!("killed by signal {signal}"),
            Self::Stopped(Why::Timeout) => "stopped: exceeded `timeout`".to_owned(),
            Self::Stopped(Why::Stalled) => "stopped: did nothing for the time of `stall`".to_owned(),
            Self::Stopped(Why::Asked) => "cancelled".to_owned(),
            Self::Stopped(Why::GivesWay) => "stopped to make room for a backup; it goes on later".to_owned(),
            Self::Stopped(Why::Shutdown) => "interrupted: the scheduler stopped".to_owned(),
            Self::Lost => "interrupted: its process is gone".to_owned(),
            Self::NotStarted(why) => format!("cannot be started: {why}"),
        })
    }
}

/// How long the try after `attempt` waits.
pub(super) fn backoff_ms(retry: &Retry, attempt: u32) -> i64 {
    let factor = i64::from(retry.factor).saturating_pow(attempt.saturating_sub(1).min(32));
    ms(retry.first).saturating_mul(factor)
}
