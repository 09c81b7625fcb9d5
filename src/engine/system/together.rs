//! Sources that are read at the same time, their moments in the order of the plan.
//!
//! What refers to others is listed first. A source therefore begins when nothing that changes from then on gets into
//! those before it: they have ended, or are settled ([`Event::Settled`]), as a dump is once its database has given it a
//! snapshot. Files and buckets are settled when they were read. One that may be tried again is not settled before it
//! ends: what began meanwhile would be earlier than its second attempt.

mod shown;

use super::{Ended, Fate, MemberOutcome, Place, member};
use crate::base::event::{Event, Observer};
use crate::base::run::Run;
use crate::engine::plan::PlannedMember;
use crate::vault::RepoError;
use crate::vault::writer::Share;
use crossbeam_channel::{Receiver, Sender, unbounded};
use shown::Shown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Scope};

/// What a source's thread says, with the number of the source.
enum Told {
    Settled(usize),
    Ended(usize, Box<MemberOutcome>),
}

/// A source that was begun.
struct Begun {
    name: String,
    state: State,
}

enum State {
    Reads,
    Settled,
    Ended(Box<MemberOutcome>),
}

impl Begun {
    fn is_settled(&self) -> bool {
        !matches!(self.state, State::Reads)
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    fn outcome(&self) -> Option<&MemberOutcome> {
        match &self.state {
            State::Ended(outcome) => Some(outcome),
            State::Reads | State::Settled => None,
        }
    }

    fn into_outcome(self) -> Option<MemberOutcome> {
        match self.state {
            State::Ended(outcome) => Some(*outcome),
            State::Reads | State::Settled => None,
        }
    }
}

/// Makes the snapshots of all sources, at most `at_once` of them at a time. The outcomes are in the order of the plan;
/// `each` is told of each as it ends. Once somebody asks to stop, no other begins.
pub(super) fn all(
    members: Vec<PlannedMember>,
    at_once: usize,
    place: Place<'_>,
    run: &Run,
    each: &mut dyn FnMut(Ended<'_>),
) -> Vec<MemberOutcome> {
    let at_once = at_once.clamp(1, members.len().max(1));
    let share = if at_once == 1 { Share::Whole } else { Share::Half };
    let shown = Arc::new(Shown::new(Arc::clone(&run.events)));
    let (tell, told) = unbounded();
    let all = std::thread::scope(|scope| {
        let mut all: Vec<Begun> = Vec::with_capacity(members.len());
        for (number, planned) in members.into_iter().enumerate() {
            while !may_begin(&planned, &all, at_once) {
                hear(&told, &mut all, each);
            }
            if run.cancel.is_cancelled() || all.iter().any(was_cancelled) {
                break;
            }
            let name = planned.name.clone();
            let state = match missing(&planned, &all) {
                Some(needs) => {
                    let outcome = without(&planned, Fate::Skipped { needs });
                    each(Ended::Member(&outcome));
                    State::Ended(Box::new(outcome))
                }
                None => {
                    let tell = tell.clone();
                    let (shown, may_follow) = (Arc::clone(&shown), AtomicBool::new(true));
                    let own = Own { number, name: name.clone(), shown, tell, may_follow };
                    start(scope, planned, share, place, run, own);
                    State::Reads
                }
            };
            all.push(Begun { name, state });
        }
        while !all.iter().all(Begun::has_ended) {
            hear(&told, &mut all, each);
        }
        all
    });
    all.into_iter().filter_map(Begun::into_outcome).collect()
}

/// Whether nothing is in the way of a source: those before it, their number, and that of what it needs all is known.
fn may_begin(planned: &PlannedMember, all: &[Begun], at_once: usize) -> bool {
    let under_way = all.iter().filter(|one| !one.has_ended()).count();
    let is_ready = |one: &Begun| one.is_settled() && (one.has_ended() || !planned.needs.contains(&one.name));
    under_way < at_once && all.iter().all(is_ready)
}

/// What it needs, and what has no snapshot.
fn missing(planned: &PlannedMember, all: &[Begun]) -> Option<String> {
    let has_snapshot = |needed: &&String| {
        let outcomes = || all.iter().filter_map(Begun::outcome);
        outcomes().any(|other| other.name == **needed && other.report().is_some())
    };
    planned.needs.iter().find(|needed| !has_snapshot(needed)).cloned()
}

fn was_cancelled(one: &Begun) -> bool {
    one.outcome().is_some_and(|one| matches!(&one.fate, Fate::Failed(error) if error.is_cancelled()))
}

/// What becomes of a source that is not read.
fn without(planned: &PlannedMember, fate: Fate) -> MemberOutcome {
    let PlannedMember { name, series, required, .. } = planned;
    MemberOutcome { name: name.clone(), series: series.clone(), required: *required, attempts: 0, fate }
}

/// Waits until a thread says something.
fn hear(told: &Receiver<Told>, all: &mut [Begun], each: &mut dyn FnMut(Ended<'_>)) {
    let (number, state) = match told.recv() {
        Ok(Told::Settled(number)) => (number, State::Settled),
        Ok(Told::Ended(number, outcome)) => {
            each(Ended::Member(&outcome));
            (number, State::Ended(outcome))
        }
        // Never: whoever calls this holds a sender.
        Err(_) => return,
    };
    if let Some(one) = all.get_mut(number) {
        one.state = state;
    }
}

fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    planned: PlannedMember,
    share: Share,
    place: Place<'env>,
    run: &Run,
    own: Own,
) {
    let own = Arc::new(own);
    let events = Arc::clone(&run.events);
    let run = Run { events: Arc::clone(&own) as Arc<dyn Observer>, ..run.clone() };
    let name = planned.name.clone();
    // What it comes to by a panic, which goes on in who started the thread.
    let stopped = without(&planned, Fate::Failed(RepoError::Stopped.into()));
    let mut end = End { own, outcome: Some(Box::new(stopped)) };
    let body = move || {
        let begins = |may_follow| end.own.may_follow.store(may_follow, Ordering::SeqCst);
        let outcome = member(planned, share, place, &run, &begins);
        end.is(outcome);
    };
    if let Err(source) = Builder::new().name("source".to_owned()).spawn_scoped(scope, body) {
        let message = format!("{name}: {}", RepoError::Thread { source });
        events.observe(Event::Warning { message });
    }
}

/// Tells that a source has ended, however it did.
struct End {
    own: Arc<Own>,
    outcome: Option<Box<MemberOutcome>>,
}

impl End {
    fn is(&mut self, outcome: MemberOutcome) {
        self.outcome = Some(Box::new(outcome));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // Safe to ignore because nobody waits for it any more.
        let _ = self.outcome.take().map(|outcome| self.own.tell.send(Told::Ended(self.own.number, outcome)));
    }
}

/// Who is told of what happens to one source.
struct Own {
    number: usize,
    name: String,
    shown: Arc<Shown>,
    tell: Sender<Told>,
    /// Another attempt may follow the present one.
    may_follow: AtomicBool,
}

impl Observer for Own {
    fn observe(&self, event: Event) {
        match event {
            Event::Settled => {
                if !self.may_follow.load(Ordering::SeqCst) {
                    // Safe to ignore because nobody waits for it any more.
                    let _ = self.tell.send(Told::Settled(self.number));
                }
            }
            event => self.shown.observe(self.number, &self.name, event),
        }
    }
}
