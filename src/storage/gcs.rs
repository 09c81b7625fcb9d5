//! Objects in a bucket of Google Cloud Storage, by its JSON interface.
//!
//! The object under `packs/ab/cd` is `<prefix>/packs/ab/cd`. Each is put by one multipart request with
//! `ifGenerationMatch=0` and the CRC32C of its bytes, which the service checks. Requests are written here and bear a
//! token; `storage/rest` sends them.
//!
//! | file | hides |
//! |---|---|
//! | `address` | how buckets are addressed |
//! | `auth` | where credentials come from, and how tokens are fetched |
//! | `error` | what a refusal means |
//! | `requests` | how an object is put, read, listed and locked |
//! | `scheme` | the keys of `[gcs]` |
//! | `sign` | what a service account signs to get a token |

mod address;
mod auth;
mod error;
mod requests;
mod scheme;
mod sign;

pub use address::GcsAddress;
pub use auth::Places;
pub use scheme::{Gcs, GcsOptions};
