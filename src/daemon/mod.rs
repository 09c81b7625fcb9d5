//! The scheduler: jobs run by themselves, at the time that their schedule says, once. And the history of what ran, and the page that shows it.
//!
//! | file | hides |
//! |---|---|
//! | `book` | what is kept, and the contract of where |
//! | `due` | which slots are due |
//! | `launch` | processes of runs |
//! | `process` | which process it is |
//! | `scheduler` | the state machine |
//! | `serve` | the loop, signals, the service manager |
//! | `state` | the SQLite file |
//! | `verdict` | what an exit means |
//! | `web` | the page and the HTTP API |

pub mod book;
pub mod due;
pub mod launch;
pub mod process;
pub mod scheduler;
pub mod serve;
pub mod state;
mod verdict;
#[cfg(feature = "daemon")]
pub mod web;

pub use verdict::{Exit, Why};
