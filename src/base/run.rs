//! What every job works with: a clock, somebody to tell, a way to stop it, and its share of the process's memory.

use super::clock::Clock;
use super::event::{Cancel, Observer};
use super::permits::{Permit, Permits};
use std::sync::Arc;

/// One job under way. Clones are the same job; [`Run::child`] is a part of it that can be stopped alone.
#[derive(Clone)]
pub struct Run {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Is told what happens.
    pub events: Arc<dyn Observer>,
    /// Whether it is to stop.
    pub cancel: Cancel,
    /// The process's memory, which all jobs share.
    pub room: Room,
}

impl Run {
    /// A job in the process's room.
    pub fn new(clock: Arc<dyn Clock>, events: Arc<dyn Observer>, cancel: Cancel, room: Room) -> Self {
        Self { clock, events, cancel, room }
    }

    /// A part of it: stopped with it, or alone.
    pub fn child(&self) -> Self {
        Self { cancel: self.cancel.child(), ..self.clone() }
    }
}

/// Bytes that the jobs of a process may hold open together.
///
/// A job takes what it may need at most before it starts its source, and waits where others have it. One that needs
/// more than there is runs alone.
#[derive(Debug, Clone)]
pub struct Room(Permits);

impl Room {
    /// What a process holds if nobody says otherwise: as much as one backup or one copy takes, as
    /// `docs/data_path.md` has it.
    pub const BYTES_DEFAULT: u64 = 384 << 20;

    /// So many bytes for all jobs.
    pub fn new(bytes: u64) -> Self {
        Self(Permits::new(bytes))
    }

    /// Waits until so many bytes are free; given back when dropped. `None` once cancelled.
    pub fn take(&self, bytes: u64, cancel: &Cancel) -> Option<Permit> {
        self.0.take(bytes, cancel)
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new(Self::BYTES_DEFAULT)
    }
}
