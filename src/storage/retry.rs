//! Trying again: what a wire needs, and a disk does not.
//!
//! Only errors that say of themselves that trying again may help are tried again, a bounded number of times within a
//! bounded time, and later each time. The waits are random within their bound (Brooker: "Exponential Backoff And
//! Jitter", 2015), so that many hosts that a storage refused at the same moment do not come back at the same moment.
//!
//! A storage that nobody ever reached is most likely a wrong address: that is said after seconds, and not after a
//! minute. One that stayed away for as long as something was tried, while nothing else succeeded, is taken to be down:
//! from then on everything is tried once only, until something succeeds. So an operation ends soon after its first
//! failure for good, however much it has to clear up.
//!
//! A `put` that failed may have arrived all the same; then the next attempt finds the very same bytes there, which is
//! success.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::{ErrorKind, Listed, ObjectLock, Put, Storage, StorageError};

/// How often and how long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts_max: u32,
    /// The longest wait before the second attempt; doubled for each later one.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
    /// No attempt begins later than this after the first one began.
    pub total: Duration,
    /// The same while nobody answered at all, ever.
    pub total_unreached: Duration,
    /// A storage that asks to be left alone for longer is left alone for so long.
    pub asked_max: Duration,
}

impl Default for RetryPolicy {
    /// Ten attempts; about a minute of waiting when a storage refuses at once, ten minutes when each attempt takes its
    /// time.
    fn default() -> Self {
        Self {
            attempts_max: 10,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(20),
            total: Duration::from_secs(600),
            total_unreached: Duration::from_secs(5),
            asked_max: Duration::from_secs(60),
        }
    }
}

/// Tells the time and waits: the system's way, or a test's.
pub trait Pauses: Send + Sync {
    /// The present moment.
    fn now(&self) -> Instant;
    /// Waits so long, or until `cancel` is set.
    fn pause(&self, duration: Duration, cancel: &AtomicBool);
}

/// Waits by sleeping.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemPauses;

/// How soon a wait notices that it is to end.
const CANCEL_POLL: Duration = Duration::from_millis(100);

impl Pauses for SystemPauses {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn pause(&self, duration: Duration, cancel: &AtomicBool) {
        let end = Instant::now() + duration;
        while !cancel.load(Ordering::SeqCst) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(CANCEL_POLL));
        }
    }
}

/// Does something again until it succeeds, fails for good, or was tried enough.
pub struct Backoff {
    policy: RetryPolicy,
    pauses: Box<dyn Pauses>,
    cancel: Arc<AtomicBool>,
    /// Grows with every wait, so that no two are alike.
    state: AtomicU64,
    retries: AtomicU64,
    /// Attempts that the storage answered, whatever it said.
    answers: AtomicU64,
    /// Attempts that succeeded, or failed for a reason that the storage gave.
    successes: AtomicU64,
    /// The storage stayed away while something was tried as often as can be, and nothing has succeeded since.
    is_away: AtomicBool,
}

impl Backoff {
    /// Once `cancel` is set, nothing is tried again. `seed` should differ from process to process.
    pub fn new(policy: RetryPolicy, seed: u64, cancel: Arc<AtomicBool>) -> Self {
        Self::with_pauses(policy, seed, cancel, SystemPauses)
    }

    /// As [`Backoff::new`], with another way to wait.
    pub fn with_pauses(
        policy: RetryPolicy,
        seed: u64,
        cancel: Arc<AtomicBool>,
        pauses: impl Pauses + 'static,
    ) -> Self {
        Self {
            policy,
            pauses: Box::new(pauses),
            cancel,
            state: AtomicU64::new(seed),
            retries: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            is_away: AtomicBool::new(false),
        }
    }

    /// How often something was tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Whether nothing is to be tried again any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    /// Calls `attempt` until it succeeds or trying again makes no sense.
    ///
    /// # Errors
    /// The last attempt's.
    pub fn run<T>(&self, attempt: &mut dyn FnMut() -> Result<T, StorageError>) -> Result<T, StorageError> {
        let began = self.pauses.now();
        let successes = self.successes.load(Ordering::Relaxed);
        let mut attempts = 0;
        loop {
            let outcome = attempt();
            self.note(&outcome);
            let error = match outcome {
                Err(error) if error.retryable => error,
                outcome => return outcome,
            };
            attempts += 1;
            let asked = error.wait.unwrap_or_default().min(self.policy.asked_max);
            let wait = self.wait(attempts).max(asked);
            let later = self.pauses.now().saturating_duration_since(began) + wait;
            if attempts >= self.policy.attempts_max || later > self.total() {
                if self.successes.load(Ordering::Relaxed) == successes {
                    self.is_away.store(true, Ordering::Relaxed);
                }
                return Err(exhausted(error, attempts));
            }
            if self.is_away.load(Ordering::Relaxed) {
                return Err(exhausted(error, attempts));
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            // The first failures are everyday life on a wire; those that go on are worth knowing of while one waits.
            if attempts < 3 || self.answers.load(Ordering::Relaxed) == 0 {
                tracing::debug!("{error}; trying again in {} ms", wait.as_millis());
            } else {
                tracing::warn!("{error}; trying again in {:.1} s", wait.as_secs_f64());
            }
            self.pauses.pause(wait, &self.cancel);
            if self.is_cancelled() {
                return Err(error);
            }
        }
    }

    /// Learns from an attempt whether the storage is there.
    fn note<T>(&self, outcome: &Result<T, StorageError>) {
        let kind = outcome.as_ref().err().map(|error| error.kind);
        if kind != Some(ErrorKind::Unreachable) {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        // What it refuses, or does not have, it has answered.
        if !matches!(kind, Some(ErrorKind::Unreachable | ErrorKind::Other)) {
            self.successes.fetch_add(1, Ordering::Relaxed);
            self.is_away.store(false, Ordering::Relaxed);
        }
    }

    /// For how long something is tried.
    fn total(&self) -> Duration {
        match self.answers.load(Ordering::Relaxed) {
            0 => self.policy.total_unreached.min(self.policy.total),
            _ => self.policy.total,
        }
    }

    /// The wait after so many failures: at random between half of the bound and the bound.
    fn wait(&self, failures: u32) -> Duration {
        let doubled = 1u32.checked_shl(failures - 1).and_then(|factor| self.policy.first.checked_mul(factor));
        let bound = doubled.unwrap_or(self.policy.longest).min(self.policy.longest);
        let random = mix(self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed));
        bound / 2 + (bound / 2).mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("policy", &self.policy).finish_non_exhaustive()
    }
}

fn exhausted(mut error: StorageError, attempts: u32) -> StorageError {
    if attempts > 1 {
        error.source = format!("{} (tried {attempts} times)", error.source).into();
    }
    error
}

/// The output function of SplitMix64 (Steele, Lea, Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A storage whose passing failures are tried again. See the module.
#[derive(Debug)]
pub struct Retry<S> {
    inner: S,
    backoff: Arc<Backoff>,
}

impl<S> Retry<S> {
    /// Tries `inner` again as `backoff` says.
    pub fn new(inner: S, backoff: Arc<Backoff>) -> Self {
        Self { inner, backoff }
    }
}

impl<S: Storage> Storage for Retry<S> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        self.backoff.run(&mut || self.inner.put(key, bytes))
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        self.backoff.run(&mut || self.inner.get(key, bytes_max))
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.backoff.run(&mut || self.inner.get_range(key, offset, buffer))
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        self.backoff.run(&mut || self.inner.size(key))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        // What was given before a listing broke off is not given again. 128 bits of a hash stand for a key: a listing
        // may have millions.
        let mut given: HashSet<[u8; 16]> = HashSet::new();
        self.backoff.run(&mut || {
            self.inner.list(prefix, &mut |listed| {
                let mut name = [0; 16];
                let hash = blake3::hash(listed.key.as_bytes());
                name.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
                if given.insert(name) {
                    each(listed);
                }
            })
        })
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.backoff.run(&mut || self.inner.delete(key))
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn beneath(&self) -> Option<&dyn Storage> {
        Some(&self.inner)
    }

    fn lock(&self) -> Option<&dyn ObjectLock> {
        self.inner.lock().map(|_| self as &dyn ObjectLock)
    }
}

impl<S: Storage> Retry<S> {
    fn with_lock<T>(
        &self,
        operation: &'static str,
        key: &str,
        act: &dyn Fn(&dyn ObjectLock) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let lock = self.inner.lock();
        let lock = lock.ok_or_else(|| {
            StorageError::permanent(operation, key, ErrorKind::Other, "the storage locks nothing")
        })?;
        self.backoff.run(&mut || act(lock))
    }
}

impl<S: Storage> ObjectLock for Retry<S> {
    fn lasts(&self) -> Duration {
        self.inner.lock().map_or(Duration::ZERO, ObjectLock::lasts)
    }

    fn now(&self) -> SystemTime {
        self.inner.lock().map_or_else(SystemTime::now, ObjectLock::now)
    }

    fn locked_until(&self, key: &str) -> Result<Option<SystemTime>, StorageError> {
        self.with_lock("look at the lock", key, &|lock| lock.locked_until(key))
    }

    fn extend(&self, key: &str, until: SystemTime) -> Result<(), StorageError> {
        self.with_lock("extend the lock", key, &|lock| lock.extend(key, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ErrorKind;
    use crate::storage::faulty::{Call, Fault, Faulty, Operation, Rule};
    use crate::storage::memory::MemoryStorage;
    use std::sync::Mutex;

    /// A clock that only waiting moves.
    #[derive(Clone)]
    struct Fake {
        began: Instant,
        waits: Arc<Mutex<Vec<Duration>>>,
        cancel_after: usize,
    }

    impl Fake {
        fn new() -> Self {
            Self { began: Instant::now(), waits: Arc::default(), cancel_after: usize::MAX }
        }

        fn waits(&self) -> Vec<Duration> {
            self.waits.lock().unwrap().clone()
        }
    }

    impl Pauses for Fake {
        fn now(&self) -> Instant {
            self.began + self.waits().iter().sum::<Duration>()
        }

        fn pause(&self, duration: Duration, cancel: &AtomicBool) {
            let mut waits = self.waits.lock().unwrap();
            waits.push(duration);
            if waits.len() >= self.cancel_after {
                cancel.store(true, Ordering::SeqCst);
            }
        }
    }

    fn backoff(policy: RetryPolicy, fake: &Fake) -> Arc<Backoff> {
        Arc::new(Backoff::with_pauses(policy, 1, Arc::default(), fake.clone()))
    }

    fn failing(retryable: bool) -> StorageError {
        StorageError {
            operation: "read",
            object: "a".to_owned(),
            kind: ErrorKind::Other,
            retryable,
            wait: None,
            source: "it was ordered".into(),
        }
    }

    #[test]
    fn given_a_passing_failure_then_waits_double_up_to_the_bound_and_are_random_within() {
        let fake = Fake::new();
        let outcome: Result<(), _> = backoff(RetryPolicy::default(), &fake).run(&mut || Err(failing(true)));
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("(tried 10 times)"), "{error}");
        let bounds = [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000, 20_000];
        let waits = fake.waits();
        assert_eq!(waits.len(), bounds.len());
        for (wait, bound) in waits.iter().zip(bounds) {
            let bound = Duration::from_millis(bound);
            assert!(*wait >= bound / 2 && *wait <= bound, "{wait:?} of {bound:?}");
        }
        assert_ne!(waits[7], waits[8]);
    }

    #[test]
    fn given_a_failure_for_good_then_it_is_not_tried_again() {
        let fake = Fake::new();
        let mut attempts = 0;
        let outcome: Result<(), _> = backoff(RetryPolicy::default(), &fake).run(&mut || {
            attempts += 1;
            Err(failing(false))
        });
        assert!(outcome.is_err());
        assert_eq!((attempts, fake.waits().len()), (1, 0));
    }

    #[test]
    fn given_a_total_then_no_attempt_begins_after_it() {
        let fake = Fake::new();
        let policy =
            RetryPolicy { attempts_max: 1000, total: Duration::from_secs(60), ..RetryPolicy::default() };
        let outcome: Result<(), _> = backoff(policy, &fake).run(&mut || Err(failing(true)));
        assert!(outcome.is_err());
        let waited: Duration = fake.waits().iter().sum();
        assert!(waited <= Duration::from_secs(60) && waited > Duration::from_secs(30), "{waited:?}");
    }

    #[test]
    fn given_a_cancel_while_waiting_then_the_failure_is_told_at_once() {
        let fake = Fake { cancel_after: 2, ..Fake::new() };
        let mut attempts = 0;
        let outcome: Result<(), _> = backoff(RetryPolicy::default(), &fake).run(&mut || {
            attempts += 1;
            Err(failing(true))
        });
        assert!(outcome.is_err());
        assert_eq!(attempts, 2);
    }

    fn unreachable() -> StorageError {
        StorageError { kind: ErrorKind::Unreachable, ..failing(true) }
    }

    #[test]
    fn given_a_storage_that_nobody_ever_reached_then_that_is_told_after_seconds() {
        let fake = Fake::new();
        let backoff = backoff(RetryPolicy::default(), &fake);
        let outcome: Result<(), _> = backoff.run(&mut || Err(unreachable()));
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Unreachable);
        let waited: Duration = fake.waits().iter().sum();
        assert!(waited > Duration::ZERO && waited <= Duration::from_secs(5), "{waited:?}");
    }

    #[test]
    fn given_a_storage_that_was_reached_before_then_it_gets_its_time() {
        let fake = Fake::new();
        let backoff = backoff(RetryPolicy::default(), &fake);
        backoff.run(&mut || Ok(())).unwrap();
        let outcome: Result<(), _> = backoff.run(&mut || Err(unreachable()));
        assert!(outcome.unwrap_err().to_string().contains("(tried 10 times)"));
    }

    #[test]
    fn given_a_storage_that_asks_to_be_left_alone_then_it_is_for_so_long_within_reason() {
        for (asked, waits) in [(7, 7), (3600, 60)] {
            let fake = Fake::new();
            let wait = Some(Duration::from_secs(asked));
            let mut answers = vec![Ok(()), Err(StorageError { wait, ..failing(true) })];
            backoff(RetryPolicy::default(), &fake).run(&mut || answers.pop().unwrap()).unwrap();
            assert_eq!(fake.waits(), [Duration::from_secs(waits)]);
        }
    }

    #[test]
    fn given_a_storage_that_stayed_away_then_everything_is_tried_once_until_something_succeeds() {
        let fake = Fake::new();
        let backoff = backoff(RetryPolicy::default(), &fake);
        let attempts = |error: fn() -> StorageError| {
            let mut attempts = 0;
            let outcome: Result<(), _> = backoff.run(&mut || {
                attempts += 1;
                Err(error())
            });
            outcome.unwrap_err();
            attempts
        };
        assert_eq!((attempts(|| failing(true)), attempts(|| failing(true))), (10, 1));
        backoff.run(&mut || Ok(())).unwrap();
        assert_eq!((attempts(|| failing(true)), attempts(unreachable)), (10, 1));
    }

    #[test]
    fn given_one_object_that_cannot_be_had_and_others_that_can_then_those_keep_their_attempts() {
        let fake = Fake::new();
        let backoff = backoff(RetryPolicy::default(), &fake);
        let outcome: Result<(), _> = backoff.run(&mut || {
            // Meanwhile another thread is served.
            backoff.run(&mut || Ok(()))?;
            Err(failing(true))
        });
        outcome.unwrap_err();
        let mut answers = vec![Ok(()), Err(failing(true))];
        backoff.run(&mut || answers.pop().unwrap()).unwrap();
    }

    #[test]
    fn given_a_lost_answer_to_a_put_then_the_retry_finds_the_bytes_and_succeeds() {
        let faulty = Faulty::new(MemoryStorage::new(), 1);
        faulty.set_hook(|call: &Call<'_>| {
            (call.operation == Operation::Put && call.repetition == 0).then_some(Fault::LOST_ANSWER)
        });
        let fake = Fake::new();
        let storage = Retry::new(faulty.clone(), backoff(RetryPolicy::default(), &fake));
        storage.put("a", b"1").unwrap();
        assert_eq!(faulty.inner().get("a", 9).unwrap(), b"1");
        assert_eq!(storage.put("a", b"2").unwrap_err().kind, ErrorKind::Conflict);
    }

    /// A storage whose locks fail for some calls.
    #[derive(Debug)]
    struct Stubborn {
        inner: MemoryStorage,
        failures_left: Mutex<u32>,
        until: Mutex<Option<SystemTime>>,
    }

    impl Stubborn {
        fn fail(&self) -> Result<(), StorageError> {
            let mut left = self.failures_left.lock().unwrap();
            let failed = left.checked_sub(1).map(|fewer| *left = fewer);
            failed.map_or(Ok(()), |()| Err(failing(true)))
        }
    }

    impl Storage for Stubborn {
        crate::passes_on!(put, get, get_range, size, list, delete, location);

        fn lock(&self) -> Option<&dyn ObjectLock> {
            Some(self)
        }
    }

    impl ObjectLock for Stubborn {
        fn lasts(&self) -> Duration {
            Duration::from_secs(9)
        }
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
        fn locked_until(&self, _key: &str) -> Result<Option<SystemTime>, StorageError> {
            self.fail().map(|()| *self.until.lock().unwrap())
        }
        fn extend(&self, _key: &str, until: SystemTime) -> Result<(), StorageError> {
            self.fail().map(|()| *self.until.lock().unwrap() = Some(until))
        }
    }

    #[test]
    fn given_passing_failures_of_a_lock_then_it_is_tried_again_through_any_decorator() {
        let inner = MemoryStorage::new();
        let stubborn = Stubborn { inner, failures_left: Mutex::new(2), until: Mutex::default() };
        let storage = Retry::new(stubborn, backoff(RetryPolicy::default(), &Fake::new()));
        let storage = crate::storage::at_most::AtMost::new(storage, 2);
        let lock = storage.lock().unwrap();
        let until = lock.now() + lock.lasts();
        lock.extend("packs/a", until).unwrap();
        assert_eq!(lock.locked_until("packs/a").unwrap(), Some(until));
        assert!(
            Retry::new(MemoryStorage::new(), backoff(RetryPolicy::default(), &Fake::new())).lock().is_none()
        );
    }

    #[test]
    fn given_a_listing_that_breaks_off_again_and_again_then_each_object_is_given_once() {
        let faulty = Faulty::new(MemoryStorage::new(), 5);
        for n in 0..100 {
            faulty.inner().put(&format!("index/{n}"), b"1").unwrap();
        }
        let faulty = faulty.with_rule(Rule::on("index/").with(0.7, Fault::ShortRead));
        let policy = RetryPolicy { attempts_max: 100, total: Duration::MAX, ..RetryPolicy::default() };
        let storage = Retry::new(faulty.clone(), backoff(policy, &Fake::new()));
        let mut keys = Vec::new();
        for _ in 0..10 {
            keys.clear();
            storage.list("index/", &mut |listed| keys.push(listed.key)).unwrap();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 100);
        }
        assert!(faulty.faults() > 5);
    }

    #[test]
    fn given_a_storm_then_everything_succeeds_in_the_end() {
        let faulty = Faulty::new(MemoryStorage::new(), 3)
            .with_rule(Rule::on("").with(0.3, Fault::LOST_REQUEST).with(0.2, Fault::LOST_ANSWER));
        let policy = RetryPolicy { attempts_max: 100, total: Duration::MAX, ..RetryPolicy::default() };
        let backoff = backoff(policy, &Fake::new());
        let storage = Retry::new(faulty.clone(), Arc::clone(&backoff));
        for n in 0..50u8 {
            let key = format!("packs/{n}");
            storage.put(&key, &[n; 10]).unwrap();
            assert_eq!(storage.size(&key).unwrap(), Some(10));
            assert_eq!(storage.get(&key, 10).unwrap(), [n; 10]);
            let mut buffer = [0; 5];
            storage.get_range(&key, 5, &mut buffer).unwrap();
            assert_eq!(buffer, [n; 5]);
            storage.delete(&key).unwrap();
            assert_eq!(storage.size(&key).unwrap(), None);
        }
        assert!(backoff.retries() > 50, "{}", backoff.retries());
    }
}
