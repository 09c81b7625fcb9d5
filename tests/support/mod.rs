//! What several test files share. Each binary uses a part of it only.

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cli;
pub mod conformance;
pub mod contents;
pub mod forger;
pub mod golden;
pub mod hostile;
pub mod http;
pub mod independent;
pub mod night;
pub mod node;
pub mod outside;
pub mod pg;
pub mod receivers;
pub mod redis;
pub mod reports;
pub mod s3;
pub mod small;
#[cfg(feature = "sftp")]
pub mod sshd;
pub mod terminal;
pub mod test_writer;
pub mod tree;
pub mod turnstile;
