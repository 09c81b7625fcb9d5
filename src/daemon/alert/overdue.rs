//! When a job should have had a good run.

use super::Fact;
use crate::daemon::due::{Slots, ms};
use crate::settings::Job;

/// What of a job's past decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// Since when the job has its present schedule.
    pub began: i64,
    /// The moment that the newest good run stands for: its slot, or when it was asked for.
    pub good: Option<i64>,
    /// The newest slot that was skipped by a pause.
    pub paused: Option<i64>,
    /// A pause that goes on until then.
    pub paused_until: Option<i64>,
    /// When the run that has not ended was queued.
    pub open: Option<i64>,
}

/// Until when there must be a good run: the first slot behind the last good one, when that is due, and its grace.
pub(crate) fn deadline(slots: &Slots<'_>, job: &Job, past: &Past) -> Option<i64> {
    let from = past.began.max(past.good.unwrap_or(i64::MIN)).max(past.paused.unwrap_or(i64::MIN));
    let (_, due) = slots.next(from).filter(|_| job.enabled)?;
    Some(due.saturating_add(ms(job.grace)))
}

/// Whether the job is overdue. Nothing is said of one that is paused, or that runs and has for no longer than its
/// grace.
pub(crate) fn is_overdue(deadline: Option<i64>, job: &Job, past: &Past, now: i64) -> bool {
    let is_paused = past.paused_until.is_some_and(|until| until > now);
    let is_at_it = past.open.is_some_and(|queued| now.saturating_sub(queued) <= ms(job.grace));
    deadline.is_some_and(|deadline| deadline < now) && !is_paused && !is_at_it
}

/// What there is to say of a job.
pub(crate) fn fact(name: &str, slots: &Slots<'_>, job: &Job, past: &Past, now: i64) -> Fact {
    let deadline = deadline(slots, job, past);
    if !is_overdue(deadline, job, past, now) {
        return Fact::good("overdue", name);
    }
    let text = match past.good {
        Some(_) => "no good run within `grace` of its slot",
        None => "never had a good run, and its first slot has passed",
    };
    Fact::bad("overdue", name, "overdue", text)
}
