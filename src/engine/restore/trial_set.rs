//! A whole run is verified, source after source: one that fails does not stop the others.

use super::trial::{Tried, VerifyReport, run_verify};
use super::{Chosen, Target};
use crate::base::fault::Class;
use crate::base::id::SnapshotId;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::{MemberTrial, VerifyMember, VerifyPlan, VerifySetPlan};
use crate::vault::snapshot::Stream;
use std::fmt::Display;

/// Whoever verifies a run is asked before each snapshot, and told what happens.
pub trait VerifyAsker<E> {
    /// Everything that is asked before a snapshot is tried out.
    ///
    /// # Errors
    /// When the answer is no: the snapshot is not tried out.
    fn settle(&mut self, plan: &VerifyPlan) -> Result<(), E>;

    /// A stream of a snapshot was tried out.
    fn tried(&mut self, chosen: &Chosen, stream: &Stream, tried: &Tried);

    /// A stream of which nothing is known was read.
    fn read(&mut self, source: &str, stream: &Stream);

    /// A snapshot could not be tried out. Of which class that is.
    fn failed(&mut self, error: E) -> Class;
}

/// What became of a snapshot of a run.
pub struct MemberVerified {
    /// Its source.
    pub source: String,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What became of its streams.
    pub tried: Vec<Tried>,
    /// What it comes to; `None` when all is well.
    pub class: Option<Class>,
    /// Why nothing was found out.
    pub error: Option<String>,
}

/// What became of a run.
pub struct VerifySetReport {
    /// In the order of the run; those behind an interruption were not begun.
    pub members: Vec<MemberVerified>,
}

impl VerifySetReport {
    /// What it comes to; `None` when all is well. What is wrong in one is worse than what was not found out.
    pub fn class(&self) -> Option<Class> {
        let classes = || self.members.iter().filter_map(|member| member.class);
        let worst = [Class::Interrupted, Class::Integrity]
            .into_iter()
            .find(|worst| classes().any(|own| own == *worst));
        worst.or_else(|| classes().next())
    }
}

/// Tries out every snapshot of a plan. An interruption ends the list.
pub fn run_verify_set<E: From<OpError> + Display>(
    plan: VerifySetPlan,
    app: &App,
    run: &Run,
    asker: &mut dyn VerifyAsker<E>,
) -> VerifySetReport {
    let mut report = VerifySetReport { members: Vec::new() };
    for member in plan.members {
        let (source, snapshot) = (member.source.clone(), member.chosen.summary.id);
        let (tried, class, error) = match one(member, app, run, asker) {
            Ok(report) => {
                let class = report.class();
                (report.tried, class, None)
            }
            Err(error) => {
                let why = error.to_string();
                (Vec::new(), Some(asker.failed(error)), Some(why))
            }
        };
        report.members.push(MemberVerified { source, snapshot, tried, class, error });
        if run.cancel.is_cancelled() {
            break;
        }
    }
    report
}

fn one<E: From<OpError>>(
    member: VerifyMember,
    app: &App,
    run: &Run,
    asker: &mut dyn VerifyAsker<E>,
) -> Result<VerifyReport, E> {
    let VerifyMember { source, chosen, trial, references } = member;
    match trial? {
        MemberTrial::Verify(plan) => {
            asker.settle(&plan)?;
            let each = &mut |stream: &Stream, tried: &Tried| asker.tried(&chosen, stream, tried);
            Ok(run_verify(&plan, &references, app, run, each)?)
        }
        MemberTrial::Read => {
            for stream in &chosen.body.streams {
                let target = Target::Writer(&mut std::io::sink());
                chosen.restore(stream, target, run.events.as_ref(), &run.cancel)?;
                asker.read(&source, stream);
            }
            Ok(VerifyReport { tried: Vec::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(classes: &[Option<Class>]) -> Option<Class> {
        let member = |class: &Option<Class>| MemberVerified {
            source: String::new(),
            snapshot: SnapshotId::from_bytes([0; SnapshotId::LEN]),
            tried: Vec::new(),
            class: *class,
            error: None,
        };
        VerifySetReport { members: classes.iter().map(member).collect() }.class()
    }

    #[test]
    fn what_is_wrong_in_one_source_is_worse_than_what_was_not_found_out() {
        let (target, wrong, cut) = (Some(Class::Target), Some(Class::Integrity), Some(Class::Interrupted));
        for (classes, worst) in [
            (vec![None, None], None),
            (vec![None, target, Some(Class::Partial)], target),
            (vec![target, wrong, None], wrong),
            (vec![wrong, cut], cut),
        ] {
            assert_eq!(of(&classes), worst, "{classes:?}");
        }
    }
}
