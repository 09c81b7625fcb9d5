//! What bytes are and how they are cut, compressed, compared and read. Pure: no input, no output, no clock.
//!
//! | module | hides |
//! |---|---|
//! | `chunker` | where streams are cut |
//! | `codec` | how blocks are compressed |
//! | `columns` | how rows of a dump are stored by column, and come back |
//! | `delta` | which rows of a stream were in its parent |
//! | `index` | rows of a file backup: what was found, and what tells that it changed |
//! | `inspect` | what kind of content a stream is, and whether it is whole |
//! | `pg` | archives and scripts of `pg_dump` |
//! | `rdb` | files of Redis and Valkey |

pub mod chunker;
pub mod codec;
pub mod columns;
pub mod delta;
pub mod index;
pub mod inspect;
pub mod pg;
pub mod rdb;
