//! dumpvault: a streaming, encrypted, deduplicating archiver for database dumps.
//!
//! The library is the house, the binary its door: [`cli::main`] parses, [`app`] puts storages and keys together, [`ops`] does what one
//! command does. `docs/architecture.md` walks through the rooms, `docs/format.md` says what is stored.
//!
//! Data flows one way. The table says which module may import which others; `tests/architecture.rs` reads it from here and holds
//! every file under `src` to it.
//!
//! | floor | module | may import |
//! |---|---|---|
//! | 0 values | `id` | |
//! | 0 values | `secret` | |
//! | 0 values | `clock` | |
//! | 0 values | `event` | |
//! | 0 values | `pattern` | |
//! | 0 values | `unfinished` | |
//! | 1 mechanisms | `chunker` | `secret` |
//! | 1 mechanisms | `codec` | |
//! | 1 mechanisms | `delta` | |
//! | 1 mechanisms | `crypto` | `id` `secret` |
//! | 1 mechanisms | `pgarchive` | `pattern` |
//! | 1 mechanisms | `content` | `pgarchive` |
//! | 1 mechanisms | `storage` | `clock` `unfinished` |
//! | 1 mechanisms | `snapshot` | `id` |
//! | 2 peers | `repo` | `chunker` `clock` `codec` `crypto` `delta` `event` `id` `secret` `snapshot` `storage` `unfinished` |
//! | 2 peers | `source` | `content` `event` `pattern` `snapshot` |
//! | 3 operations | `ops` | `clock` `codec` `content` `crypto` `event` `id` `pattern` `pgarchive` `repo` `secret` `snapshot` `source` `storage` `unfinished` |
//! | 4 settings | `config` | `codec` `snapshot` |
//! | 4 settings | `app` | `clock` `config` `crypto` `repo` `secret` `storage` |
//! | roof | `cli` | `app` `clock` `codec` `config` `content` `crypto` `event` `id` `ops` `pattern` `pgarchive` `repo` `secret` `snapshot` `source` `storage` |

#![warn(missing_docs)]

pub mod app;
pub mod chunker;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod content;
pub mod crypto;
pub mod delta;
pub mod event;
pub mod id;
pub mod ops;
pub mod pattern;
pub mod pgarchive;
pub mod repo;
pub mod secret;
pub mod snapshot;
pub mod source;
pub mod storage;
pub mod unfinished;
