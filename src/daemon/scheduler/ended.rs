//! What the end of a run comes to: a verdict, another try, facts for alerts.

use super::super::alert::Fact;
use super::super::book::{Changes, Ending, OpenRun, RunChange, RunId, StateError, Store};
use super::super::verdict::{Exit, Next, Why, backoff_ms};
use super::{Alarm, Launcher, Scheduler, is_backup};
use crate::settings::{Job, Work};

impl<S: Store, L: Launcher> Scheduler<S, L> {
    /// What ended, and what there is to do about it.
    pub(super) fn take_ended(&mut self, now: i64, changes: &mut Changes) -> Result<(), StateError> {
        let ended: Vec<(RunId, Exit)> =
            self.ended.iter().map(|(run, exit)| (run.clone(), exit.clone())).collect();
        for (id, exit) in ended {
            // What does not run has its verdict: the write of it was reported as failed, and was kept all the same.
            let Some(run) = self.open.get(&id).filter(|run| run.is_running()).cloned() else {
                self.ended.remove(&id);
                continue;
            };
            let exit = match exit {
                Exit::Lost => self.what_was_lost(&id)?,
                other => other,
            };
            let gives_way = exit == Exit::Stopped(Why::GivesWay);
            if gives_way {
                let times = self.gave_way.entry(id.clone()).or_default();
                *times = times.saturating_add(1);
            }
            let change = self.verdict(&run, &exit, now)?;
            if let RunChange::Ended { .. } = &change
                && gives_way
            {
                // Another run of the job waits, or the job is gone: nothing is wrong.
            } else if let RunChange::Ended { ok, ending } = &change {
                self.ended_count += u64::from(*ok && run.kind != "command");
                if !ok {
                    let why = ending.reason.clone().unwrap_or_default();
                    self.alarms.push(Alarm::Failed(format!("job `{}`: {why}", run.job)));
                }
                let has_failed = *ok || ending.exit != Some(1) || !self.store.failed_parts(&id)?.is_empty();
                changes.facts.extend(facts(&run, self.jobs.get(&run.job), *ok, ending, has_failed));
            }
            changes.runs.push((id, change));
        }
        // A run whose job is gone is ended: it would wait forever.
        let is_gone =
            |run: &&OpenRun| !run.is_running() && self.jobs.get(&run.job).is_none_or(|job| !job.enabled);
        for run in self.open.values().filter(is_gone) {
            let reason = Some("the job was taken out of the configuration, or disabled".to_owned());
            changes.runs.push((
                run.id.clone(),
                RunChange::Ended { ok: false, ending: Ending { reason, exit: None } },
            ));
        }
        Ok(())
    }

    /// How a run ended that nobody watched. One that was stopped together with its scheduler says that it was
    /// interrupted, and nobody asked for that: it is as lost as one that says nothing.
    fn what_was_lost(&self, run: &RunId) -> Result<Exit, StateError> {
        const INTERRUPTED: i32 = 130;
        Ok(match self.store.noted_exit(run)? {
            Some(code) if code != INTERRUPTED => Exit::Code(code),
            _ if self.launcher.is_asked_to_stop(run) => Exit::Stopped(Why::Asked),
            _ => Exit::Lost,
        })
    }

    fn verdict(&self, run: &OpenRun, exit: &Exit, now: i64) -> Result<RunChange, StateError> {
        let ending = Ending { reason: exit.reason(), exit: exit.code() };
        let next = exit.next();
        let parts = match next {
            Next::PartsLater => self.store.failed_parts(&run.id)?,
            _ => run.parts.clone(),
        };
        let wait = match (next, self.jobs.get(&run.job)) {
            (Next::Later, Some(job)) => Some(backoff_ms(&job.retry, run.attempt)),
            (Next::PartsLater, Some(job)) if !parts.is_empty() => Some(backoff_ms(&job.retry, run.attempt)),
            (Next::AtOnce | Next::GaveWay, Some(_)) => Some(0),
            _ => None,
        };
        let not_before = wait.map(|wait| now.saturating_add(wait));
        let took = now.saturating_sub(run.started.unwrap_or(now)).max(0);
        let allowed = not_before.filter(|not_before| self.may_try_again(run, *not_before, took, next));
        Ok(match allowed {
            Some(not_before) => RunChange::Again { not_before, parts, ending },
            None => RunChange::Ended { ok: next == Next::Good, ending },
        })
    }

    /// A try must not outlast the time to the next slot, which would be one by itself.
    fn may_try_again(&self, run: &OpenRun, not_before: i64, took: i64, next: Next) -> bool {
        let Some(job) = self.jobs.get(&run.job).filter(|job| job.enabled) else { return false };
        let other_waits =
            self.open.values().any(|other| other.job == run.job && other.id != run.id && !other.is_running());
        if other_waits || next == Next::GaveWay {
            return !other_waits;
        }
        let attempts = run.attempt.saturating_sub(self.gave_way.get(&run.id).copied().unwrap_or_default());
        if attempts >= job.retry.attempts.max(if next == Next::AtOnce { 2 } else { 1 }) {
            return false;
        }
        let cursor = self.states.get(&run.job).map(|state| state.cursor).max(run.slot);
        let next_due = cursor.and_then(|cursor| self.slots(&run.job, job).next(cursor)).map(|(_, due)| due);
        let took = if next == Next::AtOnce { 0 } else { took };
        next_due.is_none_or(|due| not_before.saturating_add(took) < due)
    }
}

/// What the end of a run means for alerts. `has_failed` is false of a backup that stored all, and something of it is
/// suspect.
fn facts(run: &OpenRun, job: Option<&Job>, ok: bool, ending: &Ending, has_failed: bool) -> Vec<Fact> {
    let name = run.job.as_str();
    if ok {
        let mut facts: Vec<Fact> = ["failure", "overdue", "retention", "suspect"]
            .map(|condition| Fact::good(condition, name))
            .into();
        // Damage is gone when a check says so that would find it. One of a part may have looked elsewhere.
        match job.map(|job| &job.work) {
            Some(Work::Check { part: Some(part) }) if *part >= 1.0 => {
                facts.push(Fact::good("integrity", "*"))
            }
            Some(Work::Check { part: None } | Work::Verify { .. }) => {
                facts.push(Fact::good("integrity", name))
            }
            _ => {}
        }
        return facts;
    }
    let is_backup = is_backup(&run.kind);
    let condition = match (ending.exit, run.kind.as_str()) {
        (Some(4), _) => "integrity",
        (Some(6), "forget" | "prune") => "retention",
        (Some(1), _) if is_backup && !has_failed => "suspect",
        _ => "failure",
    };
    let reason = ending.reason.clone().unwrap_or_default();
    vec![Fact::Bad {
        condition,
        subject: name.to_owned(),
        cause: reason.clone(),
        text: format!("{} failed: {reason}", run.kind),
        hint: None,
        run: Some(run.id.0.clone()),
    }]
}
