//! dumpvault

#![warn(missing_docs)]
pub mod app;
pub mod chunker;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod crypto;
pub mod delta;
pub mod event;
pub mod id;
pub mod ops;
pub mod repo;
pub mod secret;
pub mod snapshot;
pub mod source;
pub mod storage;
