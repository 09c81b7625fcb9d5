//! Azure and Google over real HTTP: against emulators by other people, and servers in this process that fail when told
//! to and keep locks.

// Clippy sees a test only where `#[test]` stands; helpers here are plain functions.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "../support/cli.rs"]
mod cli;
mod clouds;
mod commands;
#[path = "../support/conformance.rs"]
mod conformance;
mod credentials;
mod faults;
#[allow(dead_code)]
#[path = "../support/independent.rs"]
mod independent;
mod locks;
#[path = "../support/night.rs"]
mod night;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/reports.rs"]
mod reports;
mod servers;
mod stub;
