//! The scheduler: jobs run by themselves, at the time that their schedule says, once. And the history of what ran, and
//! the page that shows it.
//!
//! | file | hides |
//! |---|---|
//! | `alert` | what is wrong, who is told, and how |
//! | `book` | what is kept, and the contract of where |
//! | `due` | which slots are due |
//! | `launch` | processes of runs |
//! | `metrics` | what Prometheus is told |
//! | `process` | which process it is |
//! | `scheduler` | the state machine |
//! | `serve` | the loop, signals, the service manager |
//! | `state` | the SQLite file |
//! | `verdict` | what an exit means |
//! | `watch` | what is found missing |
//! | `witness` | who looks into the repository |
//! | `web` | the page and the HTTP API |

pub mod alert;
pub mod book;
pub(crate) mod due;
pub(crate) mod launch;
pub mod metrics;
pub(crate) mod process;
pub mod scheduler;
pub(crate) mod serve;
pub mod state;
mod verdict;
pub(crate) mod watch;
#[cfg(feature = "daemon")]
pub mod web;
mod witness;

pub use verdict::{Exit, Why};
