//! A storage that fails on purpose. For the tests of every floor; nothing that runs in earnest uses it.
//!
//! Faults come from three places, asked in this order:
//!
//! 1. **The end**: after [`Faulty::stop_after`] mutations every call fails. Count an operation's mutations with
//!    [`Faulty::mutations`], then stop at each of them in turn, open what lies beneath, and look at what a crash left.
//! 2. **The hook**, called before each operation with no lock held: it orders exact faults, or acts on the storage as
//!    another host would at that very moment.
//! 3. **The rules**: probabilities for keys with a prefix. What a rule does depends on the seed, the operation, the
//!    key, and how often this operation met this key, and not on how threads interleave: a failing seed fails again.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ErrorKind, Listed, Put, Storage, StorageError};

/// Implements the named operations of a [`Storage`](crate::storage::Storage) by those of the field `inner`: for the
/// stand-ins of tests, which do something of their own in one or two operations.
#[macro_export]
macro_rules! passes_on {
    (@ put) => {
        fn put(&self, key: &str, bytes: &[u8]) -> Result<$crate::storage::Put, $crate::storage::StorageError> {
            self.inner.put(key, bytes)
        }
    };
    (@ get) => {
        fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, $crate::storage::StorageError> {
            self.inner.get(key, bytes_max)
        }
    };
    (@ get_range) => {
        fn get_range(
            &self,
            key: &str,
            offset: u64,
            buffer: &mut [u8],
        ) -> Result<(), $crate::storage::StorageError> {
            self.inner.get_range(key, offset, buffer)
        }
    };
    (@ size) => {
        fn size(&self, key: &str) -> Result<Option<u64>, $crate::storage::StorageError> {
            self.inner.size(key)
        }
    };
    (@ list) => {
        fn list(
            &self,
            prefix: &str,
            each: &mut dyn FnMut($crate::storage::Listed),
        ) -> Result<(), $crate::storage::StorageError> {
            self.inner.list(prefix, each)
        }
    };
    (@ delete) => {
        fn delete(&self, key: &str) -> Result<(), $crate::storage::StorageError> {
            self.inner.delete(key)
        }
    };
    (@ location) => {
        fn location(&self) -> String {
            self.inner.location()
        }
    };
    ($($operation:ident),+) => { $($crate::passes_on!(@ $operation);)+ };
}

/// The operations of a [`Storage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `put`
    Put,
    /// `get`
    Get,
    /// `get_range`
    GetRange,
    /// `size`
    Size,
    /// `list`
    List,
    /// `delete`
    Delete,
}

impl Operation {
    /// Whether it changes what is stored.
    pub fn mutates(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }

    /// As [`StorageError::operation`] calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Put => "write",
            Self::Get | Self::GetRange | Self::Size => "read",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// One call that is about to happen.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What is called.
    pub operation: Operation,
    /// The key, or a listing's prefix.
    pub key: &'a str,
    /// How many calls of any kind came before it.
    pub number: u64,
    /// How often this operation was called on this key before.
    pub repetition: u64,
}

/// What goes wrong with one call. What does not apply to its operation does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and has done nothing.
    FailBefore {
        /// The error's kind.
        kind: ErrorKind,
        /// Whether the error says that trying again may help.
        retryable: bool,
    },
    /// The call does its work, and fails all the same: the answer was lost. A listing gives all objects first.
    FailAfter {
        /// The error's kind.
        kind: ErrorKind,
        /// Whether the error says that trying again may help.
        retryable: bool,
    },
    /// One bit of what `get` or `get_range` gives is another.
    FlipBit,
    /// `get` gives the front part only, as if that were all; `get_range` finds the object too short; `list` breaks off
    /// with a retryable error after the front part.
    ShortRead,
    /// `list` gives what was there some puts ago: up to eight of the objects put last are not in it, and nothing says
    /// so. No storage that keeps the contract does that.
    StaleList,
    /// This call and every later one fails, as after [`Faulty::stop_after`].
    Gone,
}

impl Fault {
    /// A passing failure without effect.
    pub const LOST_REQUEST: Self = Self::FailBefore { kind: ErrorKind::Other, retryable: true };
    /// A passing failure after the effect.
    pub const LOST_ANSWER: Self = Self::FailAfter { kind: ErrorKind::Other, retryable: true };
}

/// How likely which fault is for the keys with a prefix. At most one fault happens to a call, so the sum should not
/// exceed 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    prefix: String,
    chances: Vec<(f64, Fault)>,
}

impl Rule {
    /// A rule for all keys, and listings of prefixes, that start with `prefix`. As yet nothing goes wrong with them.
    pub fn on(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), chances: Vec::new() }
    }

    /// Adds `fault` with a probability between 0 and 1.
    #[must_use]
    pub fn with(mut self, probability: f64, fault: Fault) -> Self {
        self.chances.push((probability, fault));
        self
    }
}

/// Decides on a call before it happens; `None` leaves it to the rules.
type Hook = dyn Fn(&Call<'_>) -> Option<Fault> + Send + Sync;

/// A decorator that makes another storage fail. Clones share rules, hook and counters. See the module.
#[derive(Clone)]
pub struct Faulty<S> {
    inner: S,
    remote: bool,
    state: Arc<Mutex<State>>,
}

struct State {
    seed: u64,
    rules: Vec<Rule>,
    hook: Option<Arc<Hook>>,
    mutations_max: u64,
    gone: bool,
    calls: u64,
    mutations: u64,
    faults: u64,
    repetitions: HashMap<(Operation, String), u64>,
    /// Keys put last, the newest in front.
    fresh: VecDeque<String>,
}

/// How many puts a stale listing is behind at most.
const STALE_MAX: usize = 8;

/// What was decided on a call.
struct Decision {
    fault: Option<Fault>,
    /// Random, for where a bit flips and where a read ends.
    random: u64,
}

impl<S> Faulty<S> {
    /// Decorates `inner`. Nothing goes wrong until it is asked for.
    pub fn new(inner: S, seed: u64) -> Self {
        let state = State {
            seed,
            rules: Vec::new(),
            hook: None,
            mutations_max: u64::MAX,
            gone: false,
            calls: 0,
            mutations: 0,
            faults: 0,
            repetitions: HashMap::new(),
            fresh: VecDeque::with_capacity(STALE_MAX),
        };
        Self { inner, remote: false, state: Arc::new(Mutex::new(state)) }
    }

    /// Says of itself that it is not local, whatever lies beneath.
    #[must_use]
    pub fn remote(mut self) -> Self {
        self.remote = true;
        self
    }

    /// Adds a rule. The first that fits a key holds for it.
    #[must_use]
    pub fn with_rule(self, rule: Rule) -> Self {
        self.lock().rules.push(rule);
        self
    }

    /// Takes away all rules and the hook: from now on nothing new goes wrong. What is gone stays gone.
    pub fn calm(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.hook = None;
    }

    /// Sets the hook. It may use the storage beneath; through this decorator it would call itself.
    pub fn set_hook(&self, hook: impl Fn(&Call<'_>) -> Option<Fault> + Send + Sync + 'static) {
        self.lock().hook = Some(Arc::new(hook));
    }

    /// Lets `mutations` mutations happen, counted from the decorator's beginning; then every call fails, reads too.
    /// With 0 nothing works at all.
    pub fn stop_after(&self, mutations: u64) {
        self.lock().mutations_max = mutations;
    }

    /// Puts and deletes that reached the storage beneath, whatever it answered.
    pub fn mutations(&self) -> u64 {
        self.lock().mutations
    }

    /// Calls of any kind, those that failed included.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Faults that the hook and the rules ordered. A test that relies on faults asserts that there were some.
    pub fn faults(&self) -> u64 {
        self.lock().faults
    }

    /// The storage beneath.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters and settings are whole after any panic: no change to them can stop half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Storage> Faulty<S> {
    /// Counts the call, and decides what goes wrong with it. Failures before the effect are errors right away.
    fn begin(&self, operation: Operation, key: &str) -> Result<Decision, StorageError> {
        let (call, hook, random) = {
            let mut state = self.lock();
            let number = state.calls;
            state.calls += 1;
            let repetitions = state.repetitions.entry((operation, key.to_owned())).or_insert(0);
            let repetition = *repetitions;
            *repetitions += 1;
            if state.is_gone() {
                return Err(self.gone(operation, key));
            }
            let call = Call { operation, key, number, repetition };
            (call, state.hook.clone(), random_for(state.seed, &call))
        };
        let scripted = hook.and_then(|hook| hook(&call));

        let mut state = self.lock();
        let fault = scripted.or_else(|| state.by_rule(key, random));
        state.faults += u64::from(fault.is_some());
        state.gone |= fault == Some(Fault::Gone);
        // Another thread, or the hook itself, may have used up the mutations in the meantime.
        if state.is_gone() {
            return Err(self.gone(operation, key));
        }
        if let Some(Fault::FailBefore { kind, retryable }) = fault {
            return Err(self.failure(operation, key, kind, retryable));
        }
        state.mutations += u64::from(operation.mutates());
        Ok(Decision { fault, random: mix(random) })
    }

    /// Loses the answer where that was decided.
    fn end(&self, operation: Operation, key: &str, decision: &Decision) -> Result<(), StorageError> {
        match decision.fault {
            Some(Fault::FailAfter { kind, retryable }) => Err(self.failure(operation, key, kind, retryable)),
            _ => Ok(()),
        }
    }

    fn failure(&self, operation: Operation, key: &str, kind: ErrorKind, retryable: bool) -> StorageError {
        StorageError {
            operation: operation.name(),
            object: format!("{}/{key}", self.inner.location()),
            kind,
            retryable,
            wait: None,
            source: "a fault was ordered".into(),
        }
    }

    fn gone(&self, operation: Operation, key: &str) -> StorageError {
        let object = format!("{}/{key}", self.inner.location());
        StorageError::permanent(operation.name(), object, ErrorKind::Other, "the storage is gone")
    }
}

impl State {
    fn is_gone(&self) -> bool {
        self.gone || self.mutations >= self.mutations_max
    }

    fn by_rule(&self, key: &str, random: u64) -> Option<Fault> {
        let rule = self.rules.iter().find(|rule| key.starts_with(&rule.prefix))?;
        // 53 bits are what a float holds exactly.
        let mut rest = (random >> 11) as f64 / (1u64 << 53) as f64;
        for (probability, fault) in &rule.chances {
            if rest < *probability {
                return Some(*fault);
            }
            rest -= probability;
        }
        None
    }
}

impl<S: Storage> Storage for Faulty<S> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        let decision = self.begin(Operation::Put, key)?;
        let put = self.inner.put(key, bytes)?;
        let mut state = self.lock();
        state.fresh.truncate(STALE_MAX - 1);
        state.fresh.push_front(key.to_owned());
        drop(state);
        self.end(Operation::Put, key, &decision)?;
        Ok(put)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let decision = self.begin(Operation::Get, key)?;
        let mut bytes = self.inner.get(key, bytes_max)?;
        self.end(Operation::Get, key, &decision)?;
        match decision.fault {
            Some(Fault::FlipBit) => flip_bit(&mut bytes, decision.random),
            Some(Fault::ShortRead) => bytes.truncate(below(decision.random, bytes.len())),
            _ => {}
        }
        Ok(bytes)
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let decision = self.begin(Operation::GetRange, key)?;
        self.inner.get_range(key, offset, buffer)?;
        self.end(Operation::GetRange, key, &decision)?;
        match decision.fault {
            Some(Fault::ShortRead) => {
                return Err(self.failure(Operation::GetRange, key, ErrorKind::ShortObject, false));
            }
            Some(Fault::FlipBit) => flip_bit(buffer, decision.random),
            _ => {}
        }
        Ok(())
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        let decision = self.begin(Operation::Size, key)?;
        let size = self.inner.size(key)?;
        self.end(Operation::Size, key, &decision)?;
        Ok(size)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        let decision = self.begin(Operation::List, prefix)?;
        if decision.fault == Some(Fault::ShortRead) {
            let mut listed = Vec::new();
            self.inner.list(prefix, &mut |one| listed.push(one))?;
            listed.truncate(below(decision.random, listed.len()));
            listed.into_iter().for_each(each);
            return Err(self.failure(Operation::List, prefix, ErrorKind::Other, true));
        }
        if decision.fault == Some(Fault::StaleList) {
            let behind = 1 + below(decision.random, STALE_MAX);
            let hidden: Vec<String> = self.lock().fresh.iter().take(behind).cloned().collect();
            return self.inner.list(prefix, &mut |one| {
                if !hidden.contains(&one.key) {
                    each(one);
                }
            });
        }
        self.inner.list(prefix, each)?;
        self.end(Operation::List, prefix, &decision)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        let decision = self.begin(Operation::Delete, key)?;
        self.inner.delete(key)?;
        self.end(Operation::Delete, key, &decision)
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn beneath(&self) -> Option<&dyn Storage> {
        Some(&self.inner)
    }

    fn is_local(&self) -> bool {
        !self.remote && self.inner.is_local()
    }
}

impl<S: fmt::Debug> fmt::Debug for Faulty<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Faulty")
            .field("inner", &self.inner)
            .field("seed", &state.seed)
            .field("rules", &state.rules)
            .field("mutations", &state.mutations)
            .finish_non_exhaustive()
    }
}

fn flip_bit(bytes: &mut [u8], random: u64) {
    let at = below(random, bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (random >> 61);
    }
}

/// A number below `end`, or 0 when there is none. Small ends only, so the bias of a remainder does not matter.
fn below(random: u64, end: usize) -> usize {
    (random % (end as u64).max(1)) as usize
}

/// A number that looks random and depends on nothing but the arguments.
fn random_for(seed: u64, call: &Call<'_>) -> u64 {
    let start = mix(seed ^ mix(call.repetition)) ^ call.operation as u64;
    call.key.bytes().fold(mix(start), |state, byte| mix(state ^ u64::from(byte)))
}

/// One step of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStorage;

    fn faulty() -> Faulty<MemoryStorage> {
        Faulty::new(MemoryStorage::new(), 7)
    }

    fn ordered(fault: Fault) -> Faulty<MemoryStorage> {
        faulty().with_rule(Rule::on("").with(1.0, fault))
    }

    #[test]
    fn given_a_stop_after_two_mutations_then_two_happen_and_everything_later_fails() {
        let storage = faulty();
        storage.stop_after(2);
        storage.put("a", b"1").unwrap();
        storage.get("a", 9).unwrap();
        storage.delete("a").unwrap();

        let error = storage.put("b", b"1").unwrap_err();
        assert!(!error.retryable);
        assert!(storage.get("a", 9).is_err());
        assert!(storage.get_range("a", 0, &mut [0]).is_err());
        assert!(storage.size("a").is_err());
        assert!(storage.list("", &mut |_| {}).is_err());
        assert!(storage.delete("a").is_err());
        assert_eq!((storage.mutations(), storage.calls()), (2, 9));
        assert_eq!(storage.inner().size("b").unwrap(), None);
    }

    #[test]
    fn given_many_threads_then_no_more_mutations_happen_than_allowed() {
        let storage = faulty();
        storage.stop_after(10);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let storage = &storage;
                scope.spawn(move || {
                    for n in 0..8 {
                        // Most of these have to fail.
                        let _ = storage.put(&format!("{thread}/{n}"), b"1");
                    }
                });
            }
        });
        let mut count = 0;
        storage.inner().list("", &mut |_| count += 1).unwrap();
        assert_eq!((count, storage.mutations()), (10, 10));
    }

    #[test]
    fn a_failure_before_the_effect_leaves_nothing_and_one_after_it_leaves_all() {
        let before = ordered(Fault::LOST_REQUEST);
        assert!(before.put("a", b"1").unwrap_err().retryable);
        assert_eq!((before.inner().size("a").unwrap(), before.mutations()), (None, 0));

        let after = ordered(Fault::LOST_ANSWER);
        assert!(after.put("a", b"1").unwrap_err().retryable);
        assert_eq!((after.inner().size("a").unwrap(), after.mutations()), (Some(1), 1));
    }

    #[test]
    fn a_flipped_bit_is_one_bit_and_a_short_read_is_a_front_part() {
        let content = [0u8; 100];
        let flips = ordered(Fault::FlipBit);
        flips.inner().put("a", &content).unwrap();
        let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
        assert_eq!(ones(&flips.get("a", 100).unwrap()), 1);
        let mut buffer = [0; 10];
        flips.get_range("a", 5, &mut buffer).unwrap();
        assert_eq!(ones(&buffer), 1);

        let short = ordered(Fault::ShortRead);
        short.inner().put("a", &content).unwrap();
        assert!(short.get("a", 100).unwrap().len() < 100);
        assert_eq!(short.get_range("a", 5, &mut buffer).unwrap_err().kind, ErrorKind::ShortObject);
        let mut count = 0;
        assert!(short.list("", &mut |_| count += 1).is_err());
        assert_eq!(count, 0);
    }

    #[test]
    fn rules_hold_for_their_prefix_only_and_the_first_that_fits_wins() {
        let storage = faulty()
            .with_rule(Rule::on("packs/good/"))
            .with_rule(Rule::on("packs/").with(1.0, Fault::LOST_REQUEST));
        storage.put("packs/good/a", b"1").unwrap();
        storage.put("index/a", b"1").unwrap();
        storage.list("index/", &mut |_| {}).unwrap();
        assert!(storage.put("packs/a", b"1").is_err());
        assert!(storage.list("packs/", &mut |_| {}).is_err());
        assert_eq!(storage.faults(), 2);
        storage.calm();
        storage.put("packs/a", b"1").unwrap();
    }

    #[test]
    fn the_same_seed_fails_the_same_calls_in_whatever_order_they_come() {
        let failing = |seed: u64, keys: &mut dyn Iterator<Item = u32>| {
            let rule = Rule::on("").with(0.3, Fault::LOST_REQUEST).with(0.2, Fault::LOST_ANSWER);
            let storage = Faulty::new(MemoryStorage::new(), seed).with_rule(rule);
            let mut failed: Vec<u32> =
                keys.filter(|key| storage.put(&key.to_string(), b"1").is_err()).collect();
            failed.sort_unstable();
            failed
        };
        let forwards = failing(1, &mut (0..1000));
        assert_eq!(forwards, failing(1, &mut (0..1000).rev()));
        assert_ne!(forwards, failing(2, &mut (0..1000)));
        assert!((400..600).contains(&forwards.len()), "{} of 1000 failed instead of half", forwards.len());
    }

    #[test]
    fn a_call_that_is_repeated_is_decided_on_anew() {
        let storage = faulty().with_rule(Rule::on("").with(0.5, Fault::LOST_REQUEST));
        let answers: Vec<bool> = (0..64).map(|_| storage.size("a").is_ok()).collect();
        assert!(answers.contains(&true) && answers.contains(&false));
    }

    #[test]
    fn the_hook_sees_each_call_and_orders_an_exact_fault() {
        let storage = faulty();
        let beneath = storage.inner().clone();
        storage.set_hook(move |call| match (call.operation, call.key, call.repetition) {
            // Another host is quicker by a moment.
            (Operation::Put, "raced", _) => {
                beneath.put("raced", b"theirs").err().map(|_| Fault::LOST_REQUEST)
            }
            (Operation::Get, "b", 1) => Some(Fault::FailBefore { kind: ErrorKind::Denied, retryable: false }),
            (Operation::Delete, ..) => Some(Fault::Gone),
            _ => None,
        });
        assert_eq!(storage.put("raced", b"ours").unwrap_err().kind, ErrorKind::Conflict);
        storage.put("b", b"1").unwrap();
        storage.get("b", 1).unwrap();
        assert_eq!(storage.get("b", 1).unwrap_err().kind, ErrorKind::Denied);
        storage.get("b", 1).unwrap();
        assert!(storage.delete("b").is_err());
        assert!(storage.get("b", 1).is_err());
        assert_eq!(storage.inner().size("b").unwrap(), Some(1));
    }
}
