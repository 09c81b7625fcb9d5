//! Databases that killed runs left on a server.

use crate::engine::OpError;
use crate::source::postgres::{Leftover, RestoreTarget};

/// A database that a killed run left on a server.
#[derive(Debug, Clone)]
pub struct LeftBehind {
    /// Its name.
    pub database: String,
    /// When and by whom it was made, in words.
    pub made: String,
    /// It holds a whole dump that was not put in the place of another database. Otherwise it holds a part of one.
    pub is_whole: bool,
    leftover: Leftover,
    target: RestoreTarget,
}

impl LeftBehind {
    pub(in crate::engine) fn all(target: &RestoreTarget, found: &[Leftover]) -> Vec<Self> {
        let one = |leftover: &Leftover| Self {
            database: leftover.database.clone(),
            made: leftover.made.clone(),
            is_whole: leftover.is_whole,
            leftover: leftover.clone(),
            target: target.clone(),
        };
        found.iter().map(one).collect()
    }

    /// Drops it. False if it is gone, or is another one by now.
    ///
    /// # Errors
    /// When the server cannot be asked, or somebody uses it.
    pub fn drop_now(&self) -> Result<bool, OpError> {
        Ok(self.target.drop_leftover(&self.leftover)?)
    }
}
