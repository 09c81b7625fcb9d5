//! How long reading a tree or a bucket may take.

use super::IndexedError;
use std::time::{Duration, Instant};

/// A moment at which reading is given up.
#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Deadline {
    began: Instant,
    limit: Option<Duration>,
}

impl Deadline {
    /// So long from now; never, where nobody says.
    pub(crate) fn after(limit: Option<Duration>) -> Self {
        Self { began: Instant::now(), limit }
    }

    /// Whether reading may go on.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) fn look(&self) -> Result<(), IndexedError> {
        match self.limit {
            Some(limit) if self.began.elapsed() >= limit => Err(IndexedError::TimedOut { limit }),
            _ => Ok(()),
        }
    }
}
