//! The composition root: settings become storages, keys and an open repository.

mod opening;
mod passphrase;
mod registry;

pub use opening::{Opened, Reading, Vacancy};
pub use registry::{BUCKETS, KINDS, Kinds, Place, SCHEMES, Settings, sections};

use crate::base::clock::{Clock, SystemClock};
use crate::base::objects;
use crate::base::secret::{Entropy, OsEntropy};
use crate::settings::{
    ConfigError, Environment, Flags, KeySource, Repository as Settled, resolve, resolve_text,
};
use crate::storage::cache::Cached;
use crate::storage::limit::Rate;
use crate::storage::retry::{Backoff, RetryPolicy};
use crate::storage::scheme::{Connected, Connecting, Options};
use crate::storage::{ErrorKind, Requests, Storage, StorageError};
use crate::vault::crypto::{Credential, KeyFile, KeyFileError};
use crate::vault::reader::ReadSettings;
use crate::vault::snapshot::selection::Viewpoint;
use crate::vault::{Access, Identity, RepoError, Repository, Surroundings};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Temporary files of killed runs are removed once they are this old.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// Settings do not lead to a repository.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No repository was named.
    #[error("no repository given")]
    NoRepositoryNamed,
    /// No passphrase and no key file were given, and there is nobody to ask.
    #[error("no passphrase or key file given, and no terminal to ask")]
    NoCredential,
    /// The passphrase is empty.
    #[error("the passphrase from {origin} is empty")]
    EmptyPassphrase {
        /// Where it came from.
        origin: String,
    },
    /// The passphrase could not be read.
    #[error("cannot read the passphrase from {origin}: {reason}")]
    Passphrase {
        /// Where it should come from.
        origin: String,
        /// What went wrong.
        reason: String,
    },
    /// The command that prints the passphrase takes too long.
    #[error("the password command exceeded {limit:?} and was stopped")]
    PasswordCommandSlow {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The repository cannot be opened or made.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

impl AppError {
    /// What to do next, where that can be known.
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::Config(error) => return error.hint(),
            Self::NoRepositoryNamed => {
                "use --repo, set DUMPVAULT_REPOSITORY, or add `repository = \"…\"` to dumpvault.toml"
            }
            Self::NoCredential => "set DUMPVAULT_PASSWORD_FILE or use --key-file",
            Self::PasswordCommandSlow { .. } => {
                "find out what it waits for, or allow more with `password_command_timeout = \"5m\"`"
            }
            Self::EmptyPassphrase { .. } | Self::Passphrase { .. } | Self::KeyFile(_) | Self::Repo(_) => {
                return None;
            }
        };
        Some(words.to_owned())
    }
}

/// Requests under way at the same time, whatever the number of threads: services answer more of them with 503.
const REQUESTS_AT_ONCE: usize = 32;

/// Asks a person for a passphrase; `None` when there is nobody to ask.
pub type Ask<'a> = &'a dyn Fn() -> Option<std::io::Result<String>>;

/// Settings brought together: one repository, and what everything else goes by.
pub struct App {
    /// All settings.
    pub settings: Arc<Settings>,
    /// The surroundings.
    pub environment: Environment,
    /// The kinds of sources and storages that it knows.
    pub kinds: Kinds,
    repository: Settled<Place>,
    access: Access,
    entropy: Arc<dyn Entropy>,
    cancel: Arc<AtomicBool>,
    /// The storage, once it was reached, if that is over a wire: finding credentials may take a while.
    connected: OnceLock<Connected>,
}

/// A key, and what should be said about where it came from.
pub struct Found {
    /// The key.
    pub credential: Credential,
    /// What the person should be warned of.
    pub warnings: Vec<String>,
}

impl App {
    /// Reads the settings: what the command line says comes before environment and file. Once `cancel` is set, nothing
    /// that failed is tried again.
    ///
    /// # Errors
    /// When one is wrong.
    pub fn new(
        flags: &Flags,
        access: Access,
        environment: Environment,
        cancel: Arc<AtomicBool>,
    ) -> Result<Self, AppError> {
        Self::with_kinds(Kinds::OWN, flags, access, environment, cancel)
    }

    /// The same, with other kinds of sources and storages than those of this program.
    ///
    /// # Errors
    /// As [`App::new`].
    pub fn with_kinds(
        kinds: Kinds,
        flags: &Flags,
        access: Access,
        environment: Environment,
        cancel: Arc<AtomicBool>,
    ) -> Result<Self, AppError> {
        let known = registry::Known::new(&environment.directory, kinds);
        let settings = Arc::new(resolve(flags, &environment, &known)?);
        let repository = settings.repository.clone();
        let access = Access { dedup_all: settings.dedup_all, ..access };
        let entropy = Arc::new(OsEntropy);
        Ok(Self {
            settings,
            environment,
            kinds,
            repository,
            access,
            entropy,
            cancel,
            connected: OnceLock::new(),
        })
    }

    /// The same for another repository.
    pub fn at(&self, repository: &Settled<Place>) -> Self {
        Self {
            settings: Arc::clone(&self.settings),
            environment: self.environment.clone(),
            kinds: self.kinds,
            repository: repository.clone(),
            access: self.access.clone(),
            entropy: Arc::clone(&self.entropy),
            cancel: Arc::clone(&self.cancel),
            connected: OnceLock::new(),
        }
    }

    /// Where random bytes come from.
    pub fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    /// This host's name in snapshots.
    pub fn host(&self) -> String {
        self.settings
            .host
            .clone()
            .unwrap_or_else(|| rustix::system::uname().nodename().to_str().unwrap_or("localhost").to_owned())
    }

    /// What a database that is made bears until it is finished: when it was made, and by whom.
    pub fn maker(&self, clock: &dyn Clock) -> String {
        let now = clock.now().strftime("%Y-%m-%d %H:%M:%S UTC");
        format!("{now} by {}, process {}", self.host(), std::process::id())
    }

    fn place(&self) -> Result<Place, AppError> {
        let place = self.repository.place.as_ref().ok_or(AppError::NoRepositoryNamed)?;
        Ok(place.value.clone())
    }

    /// The repository's place in a bucket, where an object of that place can be one of the repository's.
    pub fn overlap(&self, place: &objects::Place) -> Option<objects::Place> {
        let own = self.place().ok()?;
        let options = self.repository.storages.get(own.scheme()).cloned();
        let own = own.bucket(&options.unwrap_or_else(|| Arc::new(())))?;
        let usual = || {
            let variable = |name| self.environment.text(name).filter(|text| !text.is_empty());
            variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"))
        };
        let whole = |place: &objects::Place| objects::Place {
            endpoint: place.endpoint.clone().or_else(usual),
            ..place.clone()
        };
        whole(&own).overlaps(&whole(place)).then_some(own)
    }

    /// Whether reading the repository costs a wire. False also where there is none.
    pub fn is_remote(&self) -> bool {
        self.place().is_ok_and(|place| !place.is_local())
    }

    /// From where names of snapshots are looked at: this host's series come first, unless `any_host`.
    pub fn viewpoint(&self, any_host: bool) -> Viewpoint {
        Viewpoint { host: self.host(), any_host }
    }

    /// How much is read ahead, which depends on where the repository is.
    pub fn read_settings(&self) -> ReadSettings {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        if self.is_remote() { ReadSettings::remote() } else { ReadSettings::local(cores) }
    }

    /// Bounds of the bandwidth, up and down.
    fn rates(&self) -> [Option<Arc<Rate>>; 2] {
        let rate = |bytes: Option<u64>| bytes.map(|bytes| Arc::new(Rate::new(bytes)));
        [rate(self.settings.limit_upload), rate(self.settings.limit_download)]
    }

    /// What the storage is connected with, and what its settings come to.
    fn connecting(&self, place: &Place) -> Result<(Options, Connecting), AppError> {
        let mut seed = [0; 8];
        self.entropy.fill(&mut seed).map_err(RepoError::from)?;
        let seed = u64::from_le_bytes(seed);
        let backoff = Arc::new(Backoff::new(RetryPolicy::default(), seed, Arc::clone(&self.cancel)));
        let [upload, download] = self.rates();
        let options = self.repository.storages.get(place.scheme()).cloned();
        let around = Connecting { upload, download, backoff, requests_at_once: REQUESTS_AT_ONCE };
        Ok((options.unwrap_or_else(|| Arc::new(())), around))
    }

    /// The storage behind the repository's address, for whoever looks at it closely.
    ///
    /// # Errors
    /// [`RepoError::NoRepository`] when it is not there.
    pub fn connected(&self) -> Result<Connected, AppError> {
        if let Some(connected) = self.connected.get() {
            return Ok(connected.clone());
        }
        let place = self.place()?;
        let (options, around) = self.connecting(&place)?;
        let connected = place.connect(&options, &around).map_err(|error| absent(&place, error))?;
        Ok(match place.is_local() {
            true => connected,
            false => self.connected.get_or_init(|| connected).clone(),
        })
    }

    /// Puts the pack cache in front of a storage that is not local.
    fn cached(&self, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        let bytes = self.settings.cache_bytes;
        if bytes == 0 || storage.is_local() {
            return storage;
        }
        // Packs are named by their content: repositories at the same address, one after another, do no harm to each
        // other.
        let name = blake3::hash(storage.location().as_bytes()).to_hex();
        let folder = self.environment.cache_root().join("packs").join(name.get(..32).unwrap_or_default());
        Arc::new(Cached::new(storage, folder, bytes))
    }

    /// What went over the wire so far, where there is one.
    pub fn requests(&self) -> Option<Requests> {
        self.connected.get().and_then(|connected| connected.storage.requests())
    }

    /// How far the storage's clock is ahead of this host's, in milliseconds, where it told.
    pub fn skew_ms(&self) -> Option<i64> {
        self.connected.get().and_then(|connected| connected.storage.skew_ms())
    }

    /// Removes what killed writers left unfinished and nobody wrote to for `older_than`.
    ///
    /// # Errors
    /// When the storage fails.
    fn remove_leftovers(&self, older_than: Duration) -> Result<(), AppError> {
        Ok(self.place()?.remove_leftovers(older_than).map_err(RepoError::from)?)
    }

    /// Removes unfinished objects that killed runs left more than a day ago. That it cannot is no reason to fail.
    pub fn remove_old_leftovers(&self) {
        if let Err(error) = self.remove_leftovers(LEFTOVER_AGE) {
            tracing::info!("old temporary files were not removed: {error}");
        }
    }

    /// How many unfinished objects there are; not known of a bucket.
    pub fn leftovers(&self) -> usize {
        self.place().map_or(0, |place| place.leftovers())
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            entropy: Arc::clone(&self.entropy),
            cache_root: self.environment.cache_root(),
            state_root: self.environment.state_root(),
            clock: Arc::new(SystemClock),
            access: self.access.clone(),
        }
    }

    /// The storage behind the repository's address, which must be there.
    ///
    /// # Errors
    /// [`RepoError::NoRepository`] when it is not.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, AppError> {
        Ok(self.connected()?.storage)
    }

    /// Makes a repository at the address.
    ///
    /// # Errors
    /// When there is one, or it cannot be made.
    pub fn init(&self, credential: &Credential, label: &str, now_ms: i64) -> Result<Repository, AppError> {
        let config = crate::vault::format::config::Config::new(now_ms);
        Ok(Repository::init(self.vacant()?, credential, label, config, &self.surroundings())?)
    }

    /// Makes a repository at the address for copies of `original`, whose blocks can be copied into it as they are.
    ///
    /// # Errors
    /// As [`App::init`].
    pub fn init_alike(
        &self,
        original: &Repository,
        credential: &Credential,
        now_ms: i64,
    ) -> Result<Repository, AppError> {
        Ok(original.init_alike(self.vacant()?, credential, "", now_ms, &self.surroundings())?)
    }

    /// Where a repository is to be made.
    fn vacant(&self) -> Result<Arc<dyn Storage>, AppError> {
        let place = self.place()?;
        if let Some(connected) = self.connected.get().filter(|_| !place.is_local()) {
            // Found without a repository a moment ago. What makes room for one is not connected again.
            let (options, around) = self.connecting(&place)?;
            place.create(&options, &around).map_err(RepoError::from)?;
            return Ok(Arc::clone(&connected.storage));
        }
        let (options, around) = self.connecting(&place)?;
        let connected = place.create(&options, &around).map_err(RepoError::from)?;
        Ok(match place.is_local() {
            true => connected.storage,
            false => Arc::clone(&self.connected.get_or_init(|| connected).storage),
        })
    }

    /// Which repository is at the address: told before a passphrase is asked for.
    ///
    /// # Errors
    /// When there is none.
    pub fn identify(&self) -> Result<Identity, AppError> {
        Ok(Repository::identify(self.storage()?.as_ref())?)
    }

    /// Opens the repository that was found at the address, with a pack cache where it is not on this machine.
    ///
    /// # Errors
    /// When the key is wrong, or something is damaged.
    pub fn open(&self, identity: &Identity, credential: &Credential) -> Result<Repository, AppError> {
        let storage = self.cached(self.storage()?);
        Ok(Repository::open_identified(storage, identity, credential, &self.surroundings())?)
    }

    /// Opens the repository without a pack cache: what is read is what the storage holds.
    ///
    /// # Errors
    /// As [`App::open`].
    pub fn open_uncached(
        &self,
        identity: &Identity,
        credential: &Credential,
    ) -> Result<Repository, AppError> {
        Ok(Repository::open_identified(self.storage()?, identity, credential, &self.surroundings())?)
    }

    /// The key that opens the repository: from where the settings say, or a person.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn credential(&self, ask: Ask<'_>) -> Result<Found, AppError> {
        if let Some(key) = &self.repository.key {
            return match &key.value {
                KeySource::KeyFile(path) => self.key_file(path),
                KeySource::Passphrase(text) => {
                    let text = String::from_utf8_lossy(text.expose()).into_owned();
                    passphrase::found(text, &key.origin.to_string())
                }
                KeySource::PassphraseFile(path) => passphrase::of_file(&self.environment.credential(path)),
                KeySource::PassphraseCommand(command) => self.password_command(command),
            };
        }
        match ask() {
            None => Err(AppError::NoCredential),
            Some(Ok(text)) => passphrase::found(text, "the terminal"),
            Some(Err(error)) => {
                Err(AppError::Passphrase { origin: "the terminal".to_owned(), reason: error.to_string() })
            }
        }
    }

    /// The key of `maintenance_key_file`, where there is such a file.
    pub fn maintenance_credential(&self) -> Option<Result<Found, AppError>> {
        self.settings.maintenance_key_file.as_ref().map(|path| self.key_file(path))
    }

    fn key_file(&self, path: &Path) -> Result<Found, AppError> {
        let path = &self.environment.credential(path);
        let (key, exposed) = KeyFile::read(path)?;
        let warning = exposed.then(|| {
            format!(
                "key file `{path}` is readable by other users: run `chmod 600 {path}`",
                path = path.display()
            )
        });
        Ok(Found { credential: Credential::KeyFile(key), warnings: warning.into_iter().collect() })
    }

    fn password_command(&self, command: &str) -> Result<Found, AppError> {
        let timeout = self.settings.password_command_timeout;
        let is_interactive = self.environment.is_interactive;
        passphrase::of_command(command, &passphrase::Limits { timeout, cancel: &self.cancel, is_interactive })
    }

    /// The passphrase in the first line of a file.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn passphrase_file(path: &Path) -> Result<Found, AppError> {
        passphrase::of_file(path)
    }

    /// The key file that [`App::credential`] would read, if that is what it would read.
    pub fn key_file_named(&self) -> Option<PathBuf> {
        match &self.repository.key.as_ref()?.value {
            KeySource::KeyFile(path) => Some(self.environment.credential(path)),
            _ => None,
        }
    }
}

/// All settings, with what this build knows of storages and sources.
///
/// # Errors
/// When one is wrong.
pub fn settings(flags: &Flags, environment: &Environment) -> Result<Settings, ConfigError> {
    resolve(flags, environment, &registry::Known::new(&environment.directory, Kinds::OWN))
}

/// What a file's text says by itself, with nothing said elsewhere.
///
/// # Errors
/// When something in it is wrong.
pub fn settings_of_text(path: PathBuf, text: &str) -> Result<Settings, ConfigError> {
    let environment = Environment {
        variables: HashMap::new(),
        directory: PathBuf::from("/"),
        uid: 0,
        is_interactive: false,
    };
    let known = registry::Known::new(&environment.directory, Kinds::OWN);
    resolve_text(Some((path, text.to_owned())), &Flags::default(), &environment, &known)
}

fn absent(place: &Place, error: StorageError) -> AppError {
    match error.kind {
        ErrorKind::NotFound => RepoError::NoRepository { location: place.to_string() }.into(),
        _ => RepoError::from(error).into(),
    }
}
