//! A whole run goes back, step by step: what is done already is left alone, and the first step that fails is the last.

use super::journal::Journal;
use crate::base::event::Event;
use crate::base::fault::{Class, Next};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::plan::{SetPlan, SetStep};
use std::ffi::OsString;
use std::path::Path;

/// The command that does a step.
#[derive(Debug, Clone)]
pub struct SetCommand {
    /// The source that comes back.
    pub source: String,
    /// The command's words, without the program's name.
    pub words: Vec<OsString>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepEnd {
    /// It is done.
    Restored,
    /// An earlier try did it.
    Skipped,
    /// It is done, but for something that was told.
    Partial,
    /// It failed.
    Failed {
        /// What kind of failure it is.
        class: Class,
        /// Why, where an error says so.
        why: Option<String>,
    },
}

/// What became of a run that goes back.
#[derive(Debug)]
pub struct SetReport {
    /// How each step ended, in their order; those behind a failure were not begun.
    pub ends: Vec<StepEnd>,
    /// The run has no snapshot of some source.
    pub lacks: bool,
}

impl SetReport {
    /// The class of the failure, if all is not well.
    pub fn class(&self) -> Option<Class> {
        let class = |end: &StepEnd| match end {
            StepEnd::Failed { class, .. } => Some(*class),
            StepEnd::Partial => Some(Class::Partial),
            StepEnd::Restored | StepEnd::Skipped => None,
        };
        let worst = self.ends.iter().rev().find_map(class);
        worst.or_else(|| self.lacks.then_some(Class::Partial))
    }
}

/// The commands of a plan. All of them are known before anything is touched.
///
/// # Errors
/// When nothing says where a snapshot goes back to.
pub fn set_commands(plan: &SetPlan) -> Result<Vec<SetCommand>, OpError> {
    let command = |step: &SetStep| {
        let words = step.words().ok_or_else(|| no_target(&step.source))?;
        Ok(SetCommand { source: step.source.clone(), words })
    };
    plan.steps.iter().map(command).collect()
}

fn no_target(source: &str) -> OpError {
    let next = Next::new(format!("use {{set_target}} {source}=FILE, or {{skip}} {source}"));
    OpError::Job { message: format!("source `{source}`: no target is known"), next: Some(next) }
}

/// Does the commands of [`set_commands`] in their order. `restore` carries one out; `skipped` is told of one that an
/// earlier try has done. What is done is noted below `state_root`, and `again` forgets that first.
///
/// # Errors
/// When what was done cannot be forgotten. Steps that fail are in the report.
pub fn run_set(
    plan: &SetPlan,
    commands: &[SetCommand],
    again: bool,
    state_root: &Path,
    run: &Run,
    skipped: &mut dyn FnMut(usize, &SetCommand),
    restore: &mut dyn FnMut(usize, &SetCommand) -> StepEnd,
) -> Result<SetReport, OpError> {
    let mut journal = Journal::open(state_root, plan.set.set);
    if again {
        journal.clear().map_err(|error| OpError::Job {
            message: format!("cannot forget what was done: {error}"),
            next: None,
        })?;
    }
    let lacks = plan.set.end.iter().any(|end| !end.missing.is_empty());
    let mut report = SetReport { ends: Vec::new(), lacks };
    for (at, command) in commands.iter().enumerate() {
        if journal.has(&command.words) {
            skipped(at, command);
            report.ends.push(StepEnd::Skipped);
            continue;
        }
        let end = restore(at, command);
        // Only what is done as a whole need not be done again.
        if end == StepEnd::Restored
            && let Err(error) = journal.note(&command.words)
        {
            let message = format!("cannot note that this step is done: {error}");
            run.events.observe(Event::Warning { message });
        }
        let is_last = matches!(end, StepEnd::Failed { .. });
        report.ends.push(end);
        if is_last {
            break;
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::event::{Cancel, Silent};
    use crate::base::run::Room;
    use crate::engine::system::{SeenSet, SetEnd};
    use crate::vault::snapshot::SetId;
    use std::sync::Arc;

    fn run() -> Run {
        Run::new(Arc::new(SystemClock), Arc::new(Silent), Cancel::new(), Room::default())
    }

    fn plan(missing: &[&str]) -> SetPlan {
        let missing = missing.iter().map(|source| ((*source).to_owned(), "no".to_owned())).collect();
        let end = Some(SetEnd { missing, ..SetEnd::default() });
        let set = SeenSet { set: SetId([7; 16]), system: None, members: Vec::new(), end };
        SetPlan { set, steps: Vec::new(), newer: None }
    }

    fn failed(class: Class) -> StepEnd {
        StepEnd::Failed { class, why: None }
    }

    /// What a try does: which steps it carries out, and what it comes to.
    fn attempt(
        home: &Path,
        plan: &SetPlan,
        again: bool,
        ends: &[StepEnd],
    ) -> (Vec<usize>, Option<Class>, usize) {
        let command = |at: usize| SetCommand { source: "a".to_owned(), words: vec![at.to_string().into()] };
        let commands: Vec<SetCommand> = (0..ends.len()).map(command).collect();
        let mut done = Vec::new();
        let report = run_set(plan, &commands, again, home, &run(), &mut |_, _| (), &mut |at, _| {
            done.push(at);
            ends[at].clone()
        });
        let report = report.unwrap();
        (done, report.class(), report.ends.len())
    }

    #[test]
    fn given_a_step_that_fails_then_it_is_the_last_and_the_next_try_goes_on_there() {
        let home = tempfile::tempdir().unwrap();
        let (good, bad) = (StepEnd::Restored, failed(Class::Target));
        let plan = plan(&[]);
        let first = attempt(home.path(), &plan, false, &[good.clone(), bad, good.clone()]);
        assert_eq!(first, (vec![0, 1], Some(Class::Target), 2));
        let all = [good.clone(), good.clone(), good];
        assert_eq!(attempt(home.path(), &plan, false, &all), (vec![1, 2], None, 3));
        assert_eq!(attempt(home.path(), &plan, false, &all), (vec![], None, 3));
        assert_eq!(attempt(home.path(), &plan, true, &all), (vec![0, 1, 2], None, 3));
    }

    #[test]
    fn given_a_step_that_is_done_in_part_then_the_others_follow_and_it_is_done_again() {
        let home = tempfile::tempdir().unwrap();
        let ends = [StepEnd::Partial, StepEnd::Restored];
        let plan = plan(&[]);
        assert_eq!(attempt(home.path(), &plan, false, &ends), (vec![0, 1], Some(Class::Partial), 2));
        assert_eq!(attempt(home.path(), &plan, false, &ends), (vec![0], Some(Class::Partial), 2));
    }

    #[test]
    fn given_a_run_that_lacks_a_source_then_all_steps_done_is_not_all() {
        let home = tempfile::tempdir().unwrap();
        let outcome = attempt(home.path(), &plan(&["b"]), false, &[StepEnd::Restored]);
        assert_eq!(outcome, (vec![0], Some(Class::Partial), 1));
        let outcome = attempt(home.path(), &plan(&["b"]), true, &[failed(Class::Integrity)]);
        assert_eq!(outcome.1, Some(Class::Integrity));
    }
}
