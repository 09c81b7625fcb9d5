//! Sources: what a dump comes from, and how it goes back.
//!
//! A source plans its streams, opens them one by one as [`Dump`]s, and says at the end of each whether it ended well. It knows
//! nothing of the repository.

pub mod sample;

use crate::snapshot::Proof;
use std::io::Read;

/// A dump that is running: bytes to read, then an end to ask for.
pub trait Dump: Read + Send {
    /// Call when the bytes ended. Waits for every process behind the stream and says what proves that it is whole.
    ///
    /// # Errors
    /// When the dump did not end well: the bytes read are then not a dump.
    fn finish(self: Box<Self>) -> Result<Proof, SourceError>;
}

/// placeholder
#[derive(Debug, thiserror::Error)]
#[error("placeholder")]
pub struct SourceError;
