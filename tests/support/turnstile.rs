//! Threads that take turns: an actor runs until its next storage call, then a seeded draw says who goes on, what time
//! it is by then, and whether somebody is suspended, killed, or loses an answer.
//!
//! An actor is a thread with a storage of its own, which shows the one that all share. A backup has threads of its own,
//! too. Those that store packs are told that it is done, and the packs are put, one by one and in an order of their
//! own, before the actor's next call: it has no other until all are there. Those that read the parent ahead read as
//! they like, since packs never change.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::small::Dice;
use dumpvault::base::clock::Clock;
use dumpvault::base::secret::{Entropy, EntropyError};
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::storage::{ErrorKind, Listed, Put, Storage, StorageError};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The time that all clocks show.
pub struct SimClock(AtomicI64);

impl SimClock {
    pub fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap()
    }
}

/// What befell an operation from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    pub killed: bool,
    pub faults: u32,
    /// The longest time in which it showed no life: since it began, or put a session object. In ms.
    pub silence_ms: i64,
}

/// How often what happens, one in so many calls.
#[derive(Debug, Clone, Copy)]
pub struct Odds {
    pub suspend: u64,
    pub kill: u64,
    pub fault: u64,
    /// The same actor goes on with this many chances in ten.
    pub sticky: u64,
}

#[derive(Default)]
struct Actor {
    done: bool,
    /// Not before this moment, ms.
    until: i64,
    /// Within an operation, which may be killed.
    busy: bool,
    last_life: i64,
    fate: Fate,
    fault: Option<bool>,
}

struct State {
    dice: Dice,
    odds: Odds,
    actors: Vec<Actor>,
    turn: usize,
    steps: u64,
    trace: Option<String>,
    /// Prunes that end the sessions of others began so often …
    evictions: u64,
    /// … and so many are under way.
    evicting: u64,
}

pub struct Turnstile {
    state: Mutex<State>,
    changed: Condvar,
    pub clock: Arc<SimClock>,
    pub storage: MemoryStorage,
}

/// What a call is to do.
enum Verdict {
    Go,
    /// Nothing works any more.
    Dead,
    FailBefore,
    FailAfter,
}

impl Turnstile {
    pub fn new(seed: u64, actors: usize, odds: Odds, begin: Timestamp, trace: bool) -> Arc<Self> {
        let clock = Arc::new(SimClock(AtomicI64::new(begin.as_millisecond())));
        let storage = MemoryStorage::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let actors = (0..actors).map(|_| Actor { last_life: clock.now_ms(), ..Actor::default() }).collect();
        let state = State {
            dice: Dice(seed),
            odds,
            actors,
            turn: 0,
            steps: 0,
            trace: trace.then(String::new),
            evictions: 0,
            evicting: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new(), clock, storage })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for the actor's first turn.
    pub fn enter(&self, actor: usize) {
        let state = self.lock();
        drop(self.changed.wait_while(state, |state| state.turn != actor).unwrap());
    }

    /// The actor does nothing for so long.
    pub fn idle(&self, actor: usize, ms: i64) {
        let mut state = self.lock();
        state.actors[actor].until = self.clock.now_ms() + ms;
        self.next(&mut state, actor);
        drop(self.changed.wait_while(state, |state| state.turn != actor).unwrap());
    }

    /// The actor begins an operation, which may be killed from now on.
    pub fn begin(&self, actor: usize, what: &str) {
        let mut state = self.lock();
        let now = self.clock.now_ms();
        state.actors[actor].busy = true;
        state.actors[actor].fate = Fate::default();
        state.actors[actor].last_life = now;
        state.note(now, actor, what);
    }

    /// The operation is over.
    pub fn end(&self, actor: usize, what: &str) -> Fate {
        let mut state = self.lock();
        state.note(self.clock.now_ms(), actor, what);
        let own = &mut state.actors[actor];
        own.busy = false;
        std::mem::take(&mut own.fate)
    }

    /// Somebody is about to end the sessions of others, live or not; or has done so.
    pub fn evict(&self, begins: bool) {
        let mut state = self.lock();
        state.evictions += u64::from(begins);
        state.evicting = if begins { state.evicting + 1 } else { state.evicting - 1 };
    }

    /// How often that began, and how many are at it.
    pub fn evictions(&self) -> (u64, u64) {
        let state = self.lock();
        (state.evictions, state.evicting)
    }

    /// The actor does nothing any more.
    pub fn leave(&self, actor: usize) {
        let mut state = self.lock();
        state.actors[actor].done = true;
        self.next(&mut state, actor);
    }

    pub fn trace(&self) -> String {
        self.lock().trace.clone().unwrap_or_default()
    }

    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Draws who goes on. When all sleep, time passes.
    fn next(&self, state: &mut State, present: usize) {
        state.steps += 1;
        let ms = state.dice.below(3) as i64 * 500;
        self.clock.advance(ms);
        let now = self.clock.now_ms();
        let awake = |at: &usize, state: &State| !state.actors[*at].done && state.actors[*at].until <= now;
        let count = state.actors.len();
        let sticks = state.dice.below(10) < state.odds.sticky && awake(&present, state);
        if sticks {
            state.turn = present;
        } else {
            let ready: Vec<usize> = (0..count).filter(|at| awake(at, state)).collect();
            if ready.is_empty() {
                let first = (0..count).filter(|at| !state.actors[*at].done);
                let Some(first) = first.min_by_key(|at| state.actors[*at].until) else { return };
                self.clock.advance(state.actors[first].until - now);
                state.turn = first;
            } else {
                let drawn = state.dice.below(ready.len() as u64) as usize;
                state.turn = ready[drawn];
            }
        }
        self.changed.notify_all();
    }

    /// Waits for the actor's turn to make a call.
    fn pause(&self, actor: usize, operation: &str, key: &str) -> Verdict {
        let mut state = self.lock();
        if state.actors[actor].fate.killed {
            return Verdict::Dead;
        }
        // Where a moment decides most, something happens more often.
        let decides = key.starts_with("snapshots/") || key.starts_with("marks/") || key.starts_with("gc/");
        let decides = decides && operation != "get" || operation == "delete" || operation == "size";
        let weight = if decides { 8 } else { 1 };
        let odds = state.odds;
        if state.dice.one_in(odds.suspend / weight) {
            let spans = [20 * MINUTE, 35 * MINUTE, 2 * HOUR, 25 * HOUR, 8 * 24 * HOUR];
            let span = spans[state.dice.below(spans.len() as u64) as usize];
            state.actors[actor].until = self.clock.now_ms() + span;
            state.note(self.clock.now_ms(), actor, &format!("sleeps {} min", span / MINUTE));
        }
        self.next(&mut state, actor);
        let mut state = self.changed.wait_while(state, |state| state.turn != actor).unwrap();
        let now = self.clock.now_ms();
        let busy = state.actors[actor].busy;
        let killed = busy && state.dice.one_in(odds.kill / weight);
        let fault = busy && state.dice.one_in(odds.fault / weight);
        let after = fault && state.dice.one_in(2);
        let own = &mut state.actors[actor];
        own.fate.silence_ms = own.fate.silence_ms.max(now - own.last_life);
        if operation == "put" && key.starts_with("sessions/") {
            own.last_life = now;
        }
        own.fate.killed |= killed;
        own.fate.faults += u32::from(fault);
        let (verdict, word) = match (killed, fault, after) {
            (true, ..) => (Verdict::Dead, " KILLED"),
            (_, true, false) => (Verdict::FailBefore, " FAILS BEFORE"),
            (_, true, true) => (Verdict::FailAfter, " FAILS AFTER"),
            _ => (Verdict::Go, ""),
        };
        if state.trace.is_some() {
            let short = key.get(..22).unwrap_or(key);
            state.note(now, actor, &format!("{operation} {short}{word}"));
        }
        verdict
    }

    fn is_dead(&self, actor: usize) -> bool {
        self.lock().actors[actor].fate.killed
    }
}

impl State {
    fn note(&mut self, now: i64, actor: usize, what: &str) {
        let steps = self.steps;
        if let Some(trace) = &mut self.trace {
            let minutes = now / MINUTE % 1_000_000;
            writeln!(trace, "{steps:5} {minutes:6} min  actor {actor}: {what}").unwrap();
        }
    }
}

/// A key and the bytes that are to be put there.
type Pack = (String, Vec<u8>);

/// The shared storage as one actor sees it.
#[derive(Clone)]
pub struct Door {
    turnstile: Arc<Turnstile>,
    actor: usize,
    /// Packs that the actor was told are there.
    pending: Arc<Mutex<Vec<Pack>>>,
}

impl Door {
    pub fn new(turnstile: &Arc<Turnstile>, actor: usize) -> Self {
        Self { turnstile: Arc::clone(turnstile), actor, pending: Arc::default() }
    }

    /// What an operation that is over left unsaid.
    pub fn forget_pending(&self) {
        self.pending.lock().unwrap().clear();
    }

    fn failure(operation: &'static str, key: &str) -> StorageError {
        StorageError::permanent(operation, key, ErrorKind::Other, "the wire was cut")
    }

    fn call<T>(
        &self,
        operation: &'static str,
        key: &str,
        act: impl FnOnce(&MemoryStorage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let thread = std::thread::current();
        if thread.name().is_some_and(|name| name.starts_with("parent")) {
            if self.turnstile.is_dead(self.actor) {
                return Err(Self::failure(operation, key));
            }
            return act(&self.turnstile.storage);
        }
        loop {
            let next = {
                let mut pending = self.pending.lock().unwrap();
                pending.sort_by(|a, b| (b.1.len(), &a.0).cmp(&(a.1.len(), &b.0)));
                pending.pop()
            };
            let Some((key, bytes)) = next else { break };
            self.act("put", &key, |storage| storage.put(&key, &bytes).map(|_| ()))?;
        }
        self.act(operation, key, act)
    }

    fn act<T>(
        &self,
        operation: &'static str,
        key: &str,
        act: impl FnOnce(&MemoryStorage) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match self.turnstile.pause(self.actor, operation, key) {
            Verdict::Go => act(&self.turnstile.storage),
            Verdict::Dead | Verdict::FailBefore => Err(Self::failure(operation, key)),
            Verdict::FailAfter => act(&self.turnstile.storage).and(Err(Self::failure(operation, key))),
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Door({})", self.actor)
    }
}

impl Storage for Door {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        if std::thread::current().name() == Some("write") {
            self.pending.lock().unwrap().push((key.to_owned(), bytes.to_vec()));
            return Ok(Put::Created);
        }
        self.call("put", key, |storage| storage.put(key, bytes))
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        self.call("get", key, |storage| storage.get(key, bytes_max))
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.call("get", key, |storage| storage.get_range(key, offset, buffer))
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        self.call("size", key, |storage| storage.size(key))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        self.call("list", prefix, |storage| storage.list(prefix, each))
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.call("delete", key, |storage| storage.delete(key))
    }

    fn location(&self) -> String {
        "simulation:".to_owned()
    }
}

/// An actor's random bytes. The threads that store packs draw in an order of their own: they all get the same, anew
/// with each operation.
pub struct ActorEntropy {
    seed: u64,
    drawn: Mutex<(u64, u64)>,
}

impl ActorEntropy {
    pub fn new(seed: u64, actor: usize) -> Arc<Self> {
        Arc::new(Self { seed: Dice(seed ^ actor as u64).next(), drawn: Mutex::new((0, 0)) })
    }

    /// Another operation begins.
    pub fn begin(&self) {
        self.drawn.lock().unwrap().0 += 1;
    }
}

impl Entropy for ActorEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let mut drawn = self.drawn.lock().unwrap();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(&drawn.0.to_le_bytes());
        if std::thread::current().name() != Some("write") {
            drawn.1 += 1;
            hasher.update(&drawn.1.to_le_bytes());
        }
        hasher.finalize_xof().fill(bytes);
        Ok(())
    }
}
