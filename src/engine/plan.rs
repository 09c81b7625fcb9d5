//! From what somebody asks for to what is done: a job becomes a plan. Planning reads and checks; it writes nothing and asks nobody, so
//! that a command line, a schedule and a page can all show a plan before it runs.

mod backup;
mod programs;

pub use backup::{BackupJob, BackupPlan, PlannedBackup, ServerAt, Wanted, plan_backup};
pub use programs::{Programs, words};
