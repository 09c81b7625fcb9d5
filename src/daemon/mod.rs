//! The scheduler: jobs run by themselves, at the time that their schedule says, once. And the history of what ran.
//!
//! | file | hides |
//! |---|---|
//! | `book` | what is kept, and the contract of where |
//! | `due` | which slots are due |
//! | `launch` | processes of runs |
//! | `scheduler` | the state machine |
//! | `serve` | the loop, signals, the service manager |
//! | `state` | the SQLite file |
//! | `verdict` | what an exit means |

pub mod book;
pub mod due;
pub mod launch;
pub mod scheduler;
pub mod serve;
pub mod state;
mod verdict;

pub use verdict::{Exit, Why};
