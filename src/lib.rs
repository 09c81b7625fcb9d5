//! dumpvault: a streaming, encrypted, deduplicating archiver for database dumps.
//!
//! The library is the house, the binary its door: [`cli::main`] parses, [`engine`] does what one command does.
//! `docs/architecture.md` shows the modules and where to add things, `docs/format.md` says what is stored.
//!
//! Arrows go downwards only. The table says which module may import which others; `tests/architecture.rs` reads it from
//! here and holds every file under `src` to it.
//!
//! | module | hides | may import |
//! |---|---|---|
//! | `base` | values that all share | |
//! | `content` | what bytes are | `base` |
//! | `storage` | where objects lie | `base` |
//! | `vault` | repositories: what is stored, and who decides | `base` `content` `storage` |
//! | `source` | where dumps come from and go to | `base` `content` |
//! | `settings` | configuration files and the environment, made typed values | `base` |
//! | `engine` | what one command does, without a terminal | `base` `content` `settings` `source` `storage` `vault` |
//! | `daemon` | what runs by itself, and what is remembered of it | `base` `settings` |
//! | `cli` | arguments, questions, what is drawn | `base` `content` `daemon` `engine` `settings` `source` `storage` `vault` |

#![warn(missing_docs, unreachable_pub)]

pub mod base;
pub mod cli;
pub mod content;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod engine;
pub mod settings;
pub mod source;
pub mod storage;
pub mod vault;

/// The program of `docs/embedding.md`, compiled and run by the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
pub struct Embedding;
