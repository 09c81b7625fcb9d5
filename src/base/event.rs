//! What the library tells while it works, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The variable that names the file into which a command writes how far it is.
pub const PROGRESS_VARIABLE: &str = "DUMPVAULT_PROGRESS";

/// Something that happened during an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A step of the operation begins, in words ("reading the index").
    Step {
        /// The words.
        what: String,
    },
    /// A stream begins to flow.
    StreamStarted {
        /// The stream's name.
        stream: String,
        /// Its length in bytes, where it is known beforehand; of a dump the length that it had the time before.
        bytes_expected: Option<u64>,
    },
    /// More of the present stream was dealt with. All figures count plain bytes since the last such event.
    Advanced {
        /// Bytes read from the source, or written to the target.
        bytes: u64,
        /// Of these, bytes that the repository held already.
        bytes_known: u64,
    },
    /// No later change of what a backup reads gets into it, though it may be read for long.
    Settled,
    /// The present stream ended well.
    StreamFinished {
        /// The stream's name.
        stream: String,
    },
    /// The present stream failed. Why, is told apart from this.
    StreamFailed {
        /// The stream's name.
        stream: String,
    },
    /// Something that does not stop the operation, and that a person should know.
    Warning {
        /// The words.
        message: String,
    },
    /// A command that somebody configured printed a line.
    Printed {
        /// The line.
        line: String,
    },
    /// An object of the repository is damaged or missing. The operation went on without it.
    Damage {
        /// The object's key in the storage.
        object: String,
        /// What is wrong with it, and what was done about it.
        message: String,
    },
}

/// Receives [`Event`]s. Called from several threads; must be quick.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn observe(&self, event: Event);
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: Event) {
        self.as_ref().observe(event);
    }
}

/// An observer that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _event: Event) {}
}

/// A request to stop, shared by all threads of an operation. Set once, never cleared.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    /// What this is a part of: stopped with it.
    above: Option<Arc<Cancel>>,
}

impl Cancel {
    /// A request that nobody has made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request to stop a part: made by whoever stops the whole, or for the part alone.
    pub fn child(&self) -> Self {
        Self { own: Arc::default(), above: Some(Arc::new(self.clone())) }
    }

    /// Asks everything that holds a clone, or a child, to stop.
    pub fn cancel(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.own.load(Ordering::SeqCst) || self.above.as_ref().is_some_and(|above| above.is_cancelled())
    }

    /// The flag itself, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_stops_with_its_parent_and_not_the_other_way_round() {
        let whole = Cancel::new();
        let (one, other) = (whole.child(), whole.clone().child());
        one.cancel();
        assert!(one.child().is_cancelled() && one.is_cancelled());
        assert!(!whole.is_cancelled() && !other.is_cancelled());
        whole.cancel();
        assert!(other.is_cancelled() && other.child().is_cancelled());
    }
}
