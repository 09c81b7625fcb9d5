//! From what somebody asks for to what is done: a job becomes a plan. Planning reads and checks; it writes nothing and
//! asks nobody, so that a command line, a schedule and a page can all show a plan before it runs.

mod backup;
mod copy;
mod programs;
mod set;
mod system;
mod verify;
mod verify_set;

pub use backup::{BackupJob, BackupPlan, PlannedBackup, ServerAt, Wanted, plan_backup};
pub use copy::{CopyJob, CopyPlan, PlannedCopy, plan_copy};
pub use programs::{Programs, words};
pub use set::{SetJob, SetPlan, SetStep, SetTarget, plan_set};
pub use system::{Afterwards, PlannedMember, SystemJob, SystemPlan, plan_system};
pub use verify::{VerifyJob, VerifyPlan, plan_verify};
pub use verify_set::{MemberTrial, VerifyMember, VerifySetJob, VerifySetPlan, plan_verify_set};

use super::OpError;
use crate::base::fault::Next;

/// Says of a job that it makes no sense.
fn refused(message: impl Into<String>, next: impl Into<Option<Next>>) -> OpError {
    OpError::Job { message: message.into(), next: next.into() }
}
