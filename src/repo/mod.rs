//! The repository.
pub mod catalog;
pub mod format;
