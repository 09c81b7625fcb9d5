//! PostgreSQL: dumps by `pg_dump`, restores by `pg_restore` or `psql`.
//!
//! The client programs do the work, so that everything they know keeps holding: `PG*` variables, service files,
//! `.pgpass`, certificates. They are run without a shell and never ask for a password. Which of them is run is decided,
//! and checked, before a dump or a restore begins.

mod client;
mod connection;
mod dump;
mod error;
mod failure;
mod filter;
mod globals;
mod kind;
mod older;
mod private;
mod restore;
mod role;
mod sink;
mod source;

pub use client::databases::{DatabaseChoice, GlobalsSource};
pub use client::{Clients, FoundClient, ServerInfo, Version};
pub use connection::{Connection, ConnectionParts};
pub use dump::{DumpFilter, PostgresDump, PostgresSource};
pub use error::{ConnectProblem, PostgresError};
pub use failure::{Doing, Failure, Given};
pub use filter::{FilterError, Reason, ScriptFilter, ScriptRefused, SessionSettings};
pub use globals::{Globals, GlobalsPlan, GlobalsTarget};
pub use kind::{Databases, Postgres};
pub use private::{PrivateError, PrivateServer};
pub use restore::count::{Belonging, Constraints, Count};
pub use restore::create::{DatabasePlan, PlanStatement};
pub use restore::likeness::Difference;
pub use restore::made::Leftover;
pub use restore::swap::{InTheWay, name_beside};
pub use restore::triggers::{BrokenKey, Triggers};
pub use restore::{
    Discarded, DumpKind, KIND_BYTES_WANTED, Prepared, RestoreTarget, TargetState, kind_of_dump,
};
pub use role::{ScratchAttempt, ScratchRole};
pub use source::{Cluster, Database};
