//! Objects in a container of Azure Blob Storage.
//!
//! The object under `packs/ab/cd` is the block blob `<prefix>/packs/ab/cd`. Each is one *Put Blob* with
//! `If-None-Match: *` and the CRC-64 of its bytes, which the service checks. Requests are written here and signed with
//! the account's key, a shared access signature, or a token; `storage/rest` sends them.
//!
//! | file | hides |
//! |---|---|
//! | `address` | how containers are addressed, and which host has them |
//! | `auth` | where credentials come from, and how tokens are fetched |
//! | `error` | what a refusal means |
//! | `requests` | how a blob is put, read, listed and locked |
//! | `scheme` | the keys of `[azure]` |
//! | `sign` | what the account's key signs |
//! | `xml` | as much of XML as answers need |

mod address;
mod auth;
mod error;
mod requests;
mod scheme;
mod sign;
mod xml;

pub use address::AzureAddress;
pub use auth::Secrets;
pub use scheme::{Azure, AzureOptions};
