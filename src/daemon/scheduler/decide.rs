//! Which slots are due, and what becomes of each: a run, a place in the queue, or nothing.

use super::super::alert::Fact;
use super::super::book::{
    Changes, Decision, JobState, Note, OpenRun, RunChange, RunId, SlotRow, Store, Trigger,
};
use super::{Alarm, Launcher, Scheduler};
use crate::settings::{Job, Overlap};
use std::collections::{BTreeMap, BTreeSet};

/// A job's open runs.
#[derive(Default, Clone)]
struct Busy {
    running: Option<RunId>,
    queued: Option<RunId>,
}

impl<S: Store, L: Launcher> Scheduler<S, L> {
    /// Every slot that is due.
    pub(super) fn decide(&mut self, now: i64, changes: &mut Changes) {
        let busy = self.busy(changes);
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in names {
            if self.is_quiet(&name, now) {
                continue;
            }
            let Some(job) = self.jobs.get(&name).cloned() else { continue };
            let state = self.states.get(&name).cloned();
            self.decide_job(&name, &job, state, busy.get(&name), now, changes);
        }
    }

    /// Whether nothing can be due: what most ticks find for most jobs.
    fn is_quiet(&self, name: &str, now: i64) -> bool {
        let (Some(job), Some(state)) = (self.jobs.get(name), self.states.get(name)) else { return false };
        let known = self.next.get(name).filter(|(cursor, _)| *cursor == state.cursor);
        let not_due = known.is_some_and(|(_, due)| due.is_none_or(|due| due > now));
        not_due && state.schedule == fingerprint(job) && state.paused_until.is_none_or(|until| until > now)
    }

    fn busy(&self, changes: &Changes) -> BTreeMap<String, Busy> {
        let ended: BTreeSet<&RunId> = changes
            .runs
            .iter()
            .filter(|(_, change)| matches!(change, RunChange::Ended { .. }))
            .map(|(run, _)| run)
            .collect();
        let again: BTreeSet<&RunId> = changes
            .runs
            .iter()
            .filter(|(_, change)| matches!(change, RunChange::Again { .. }))
            .map(|(run, _)| run)
            .collect();
        let mut busy: BTreeMap<String, Busy> = BTreeMap::new();
        for run in self.open.values().filter(|run| !ended.contains(&run.id)) {
            let entry = busy.entry(run.job.clone()).or_default();
            let place = if run.is_running() && !again.contains(&run.id) {
                &mut entry.running
            } else {
                &mut entry.queued
            };
            *place = Some(run.id.clone());
        }
        busy
    }

    fn decide_job(
        &mut self,
        name: &str,
        job: &Job,
        state: Option<JobState>,
        busy: Option<&Busy>,
        now: i64,
        changes: &mut Changes,
    ) {
        let schedule = fingerprint(job);
        let Some(mut state) = state.filter(|state| state.schedule == schedule) else {
            self.begin(name, job, now, busy.is_some(), changes);
            return;
        };
        let was_paused = state.paused_until;
        if state.paused_until.is_some_and(|until| until <= now) {
            state.paused_until = None;
            let text = "the pause is over".to_owned();
            changes.notes.push(Note { kind: "pause", object: name.to_owned(), text });
        }
        let slots = self.slots(name, job);
        let due = if job.enabled { slots.due_by(state.cursor, now) } else { None };
        if let Some(due) = due {
            if let Some((at, covers)) = due.older {
                let decision = if was_paused.is_some_and(|until| at < until) {
                    Decision::Paused
                } else {
                    Decision::Missed
                };
                if decision == Decision::Missed {
                    self.alarms.push(Alarm::Missed(format!("job `{name}`: {covers} missed")));
                }
                changes.slots.push(SlotRow { job: name.to_owned(), at, decision, covers, run: None });
            }
            let mut decision = due.decision(now, job.catch_up);
            if state.paused_until.is_some() || was_paused.is_some_and(|until| due.newest < until) {
                decision = Decision::Paused;
            }
            let in_the_way = busy.and_then(|busy| match job.overlap {
                Overlap::Skip => busy.running.clone().or_else(|| busy.queued.clone()),
                Overlap::Queue => busy.queued.clone(),
            });
            let mut run = None;
            match (decision, in_the_way) {
                (Decision::Run | Decision::CatchUp, Some(other)) => {
                    decision = Decision::Skipped;
                    run = Some(other);
                    state.skips = state.skips.saturating_add(1);
                    if state.skips >= 2 {
                        let text = "runs take longer than their interval";
                        self.alarms.push(Alarm::TooLong(format!("job `{name}`: {text}")));
                        changes.facts.push(Fact::bad(
                            "warning",
                            name,
                            text,
                            "slots are skipped because the job still runs",
                        ));
                    }
                }
                (Decision::Run | Decision::CatchUp, None) => {
                    let trigger =
                        if decision == Decision::Run { Trigger::Schedule } else { Trigger::CatchUp };
                    run = Some(self.queue(name, job, trigger, Some(due.newest), now, changes));
                    if std::mem::take(&mut state.skips) > 0 {
                        changes.facts.push(Fact::good("warning", name));
                    }
                }
                (Decision::Missed, _) => {
                    self.alarms.push(Alarm::Missed(format!("job `{name}`: the newest slot was missed")))
                }
                _ => {}
            }
            changes.slots.push(SlotRow { job: name.to_owned(), at: due.newest, decision, covers: 1, run });
            state.cursor = due.newest;
        }
        let next = slots.next(state.cursor).map(|(_, due)| due).filter(|_| job.enabled);
        self.next.insert(name.to_owned(), (state.cursor, next));
        if self.states.get(name) != Some(&state) {
            changes.jobs.insert(name.to_owned(), state);
        }
    }

    /// A job that is new, or has another schedule than before: nothing of what was is made up for.
    fn begin(&mut self, name: &str, job: &Job, now: i64, is_busy: bool, changes: &mut Changes) {
        let before = self.states.get(name).cloned();
        let cursor = before.as_ref().map_or(now, |before| before.cursor.max(now));
        if let Some(before) = &before {
            let text = format!("the schedule is `{}`, and was `{}`", fingerprint(job), before.schedule);
            changes.notes.push(Note { kind: "schedule", object: name.to_owned(), text });
        } else if job.run_at_start && job.enabled && !is_busy {
            let run = self.queue(name, job, Trigger::Schedule, Some(now), now, changes);
            let row =
                SlotRow { job: name.to_owned(), at: now, decision: Decision::Run, covers: 1, run: Some(run) };
            changes.slots.push(row);
        }
        let paused_until = before.and_then(|before| before.paused_until);
        let next = self.slots(name, job).next(cursor).map(|(_, due)| due).filter(|_| job.enabled);
        self.next.insert(name.to_owned(), (cursor, next));
        changes
            .jobs
            .insert(name.to_owned(), JobState { cursor, schedule: fingerprint(job), paused_until, skips: 0 });
    }

    pub(super) fn queue(
        &mut self,
        name: &str,
        job: &Job,
        trigger: Trigger,
        slot: Option<i64>,
        now: i64,
        changes: &mut Changes,
    ) -> RunId {
        let id = self.launcher.new_id(now);
        changes.queued.push(OpenRun {
            id: id.clone(),
            job: name.to_owned(),
            kind: job.work.word().to_owned(),
            trigger,
            slot,
            queued: now,
            not_before: now,
            attempt: 0,
            started: None,
            parts: Vec::new(),
        });
        id
    }
}

/// What a cursor was moved by.
fn fingerprint(job: &Job) -> String {
    if job.enabled { job.schedule.text() } else { String::new() }
}
