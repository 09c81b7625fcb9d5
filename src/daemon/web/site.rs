//! What all handlers share: the configuration as it is now, the two files, the clock, this program.

use super::children::Children;
use super::password::Passwords;
use super::store::Access;
use crate::base::clock::Clock;
use crate::base::secret::Entropy;
use crate::daemon::book::{Note, StateError};
use crate::daemon::serve::ring;
use crate::daemon::state::State;
use crate::settings::{Job, Serve};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What the configuration says.
#[derive(Clone)]
pub struct Site {
    /// The jobs.
    pub jobs: BTreeMap<String, Job>,
    /// The sources: their series, and what they are in words.
    pub sources: BTreeMap<String, (String, String)>,
    /// Sources of each system.
    pub systems: BTreeMap<String, Vec<String>>,
    /// The repository's address, without what is secret in it.
    pub repository: String,
    /// This host in snapshots.
    pub host: String,
    /// The zone of days.
    pub zone: TimeZone,
    /// `[serve]`.
    pub serve: Serve,
    /// What the retention rules keep, in words.
    pub rules: Option<String>,
    /// Destinations of copies, by name.
    pub copies: Vec<String>,
    /// Every value that holds, and where it comes from; secrets are left out.
    pub settings: Vec<(String, String, String)>,
}

/// What all handlers share.
pub struct Web {
    /// The state directory.
    pub root: PathBuf,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// The machine's name, for jitter.
    pub machine: String,
    /// Computes hashes of passwords.
    pub passwords: Passwords,
    /// Starts this program again.
    pub children: Children,
    /// Streams of events that are open.
    pub streams: AtomicUsize,
    /// Requests that are being answered.
    pub answering: AtomicUsize,
    site: RwLock<Arc<Site>>,
    states: Mutex<Vec<State>>,
    accesses: Mutex<Vec<Access>>,
}

impl Web {
    /// With the configuration as it is now.
    pub fn new(
        root: PathBuf,
        machine: String,
        children: Children,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        site: Site,
    ) -> Self {
        Self {
            root,
            clock,
            entropy,
            machine,
            passwords: Passwords::default(),
            children,
            streams: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            site: RwLock::new(Arc::new(site)),
            states: Mutex::default(),
            accesses: Mutex::default(),
        }
    }

    /// The configuration.
    pub fn site(&self) -> Arc<Site> {
        Arc::clone(&self.site.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The configuration was read again. Where it listens stays.
    pub fn configure(&self, site: Site) {
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }

    /// The present moment in milliseconds.
    pub fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Works with the history.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn state<T>(&self, act: impl FnOnce(&mut State) -> Result<T, StateError>) -> Result<T, StateError> {
        pooled(&self.states, || State::open(&self.root), act)
    }

    /// Works with users, sessions and operations.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn access<T>(&self, act: impl FnOnce(&mut Access) -> Result<T, StateError>) -> Result<T, StateError> {
        pooled(&self.accesses, || Access::open(&self.root), act)
    }

    /// Writes into the audit log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(
        &self,
        actor: &str,
        kind: &'static str,
        object: &str,
        text: String,
    ) -> Result<(), StateError> {
        let note = Note { kind, object: object.to_owned(), text };
        self.state(|state| state.note(&note, self.now(), actor))?;
        if matches!(kind, "user" | "token") {
            // Whoever is told of users and tokens is told now.
            ring(&self.root);
        }
        Ok(())
    }

    /// Random bytes.
    ///
    /// # Errors
    /// Without randomness.
    pub fn secret(&self) -> Result<[u8; 32], crate::base::secret::EntropyError> {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// Takes one out of the pool, and puts it back if all went well.
fn pooled<P, T>(
    pool: &Mutex<Vec<P>>,
    open: impl FnOnce() -> Result<P, StateError>,
    act: impl FnOnce(&mut P) -> Result<T, StateError>,
) -> Result<T, StateError> {
    let found = pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut own = match found {
        Some(own) => own,
        None => open()?,
    };
    let outcome = act(&mut own);
    if outcome.is_ok() {
        pool.lock().unwrap_or_else(PoisonError::into_inner).push(own);
    }
    outcome
}
