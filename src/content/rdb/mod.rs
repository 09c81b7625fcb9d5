//! Redis's and Valkey's RDB file, read by its structure as it streams.
//!
//! The format has no specification; this follows what Redis 2.6 to 8.2 and Valkey 8 and 9 write. A file is a header,
//! then *opcodes*: some say something of the file or of the next key, all others are the type of a value, followed by
//! the key and the value. Every length is a length; every value is a fixed sequence of lengths, strings and raw bytes,
//! so that it can be passed over without being understood.
//!
//! | module | hides |
//! |---|---|
//! | `steps` | which fields each opcode and each type of value has |
//! | `reader` | fields that lie across pieces |
//! | `places` | where keys stand |
//! | `ordered` | the same data in an order of its own |
//! | `record` | keys with their values, one by one |
//! | `elements` | what a value is, whatever its form |
//! | `contents` | whether two files hold the same |
//! | `fields` | lengths in memory |
//! | `lzf` | how strings are compressed |
//! | `glob` | how keys are named with wildcards |
//! | `survey` | what the keys come to, by database and prefix |
//! | `map` | what is stored of that |

mod contents;
mod elements;
mod fields;
pub(crate) mod glob;
mod lzf;
mod map;
mod ordered;
mod places;
mod reader;
mod record;
mod steps;
mod survey;

pub use contents::Contents;
pub use fields::put_length;
pub use map::{KeyGroup, KeyMap, KeyMapError};
pub use ordered::Ordered;
pub use places::{Place, Places};
pub use reader::{Reader, Structure};
pub use record::{Record, Value};
pub use survey::{Group, PREFIXES_MAX, Survey};

#[cfg(test)]
mod tests;
