//! dumpvault

#![warn(missing_docs)]
pub mod clock;
pub mod event;
pub mod id;
pub mod secret;
pub mod snapshot;
pub mod source;
pub mod storage;
