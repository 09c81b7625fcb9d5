//! Snapshots as values: what was backed up, when, and how it is known to be whole.

/// What proves that a stream is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: a bare standard input of an unknown format.
    Unproven,
    /// Every process behind the stream exited with status 0.
    Exited,
    /// The stream's own structure is complete.
    Structure,
    /// Both.
    ExitedAndStructure,
}
