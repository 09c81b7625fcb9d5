//! Storages that another program reaches: SFTP through `ssh`, and everything that rclone knows.

// Clippy sees a test only where `#[test]` stands; helpers here are plain functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/cli.rs"]
mod cli;
#[path = "../support/conformance.rs"]
mod conformance;
#[allow(dead_code)]
#[path = "../support/independent.rs"]
mod independent;
#[path = "../support/night.rs"]
mod night;
#[path = "../support/reports.rs"]
mod reports;
#[path = "../support/sshd.rs"]
mod sshd;

mod rclone;
mod sftp_contract;
mod sftp_faults;
mod sftp_life;
mod stub;
