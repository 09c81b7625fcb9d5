//! The repository.
pub mod format;
