//! The composition root: settings become storages, keys and an open repository.

mod passphrase;

use crate::base::clock::SystemClock;
use crate::base::secret::{Entropy, OsEntropy};
use crate::settings::{Config, ConfigError, CopyConfig, DedupReach, Environment};
use crate::storage::at_most::AtMost;
use crate::storage::cache::{CACHE_BYTES_DEFAULT, Cached};
use crate::storage::limit::{Limited, Rate};
use crate::storage::local::LocalStorage;
use crate::storage::retry::{Backoff, Retry, RetryPolicy};
use crate::storage::s3::{Retention, S3Address, S3Settings, S3Storage};
use crate::storage::{ErrorKind, Requests, Storage, StorageError};
use crate::vault::crypto::{Credential, KeyFile, KeyFileError};
use crate::vault::{Access, Identity, RepoError, Repository, Surroundings};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Settings do not lead to a repository.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No repository was named.
    #[error("no repository given")]
    NoRepositoryNamed,
    /// The address is of no known kind.
    #[error("`{address}` is not a repository address")]
    BadAddress {
        /// As given.
        address: String,
    },
    /// The address begins as one of a storage that there is none of here.
    #[error("`{scheme}:` is not a supported storage")]
    UnknownScheme {
        /// What it begins with.
        scheme: String,
    },
    /// The address of a bucket is not one.
    #[error("`{address}` is not a repository address: {reason}")]
    Address {
        /// As given, without secrets.
        address: String,
        /// What is wrong.
        reason: String,
    },
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
    #[error("the password command did not end within {limit:?} and was stopped")]
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
            Self::BadAddress { .. } => {
                "use a directory, file:///path, s3://bucket/prefix or s3:https://host/bucket/prefix"
            }
            Self::UnknownScheme { .. } => {
                "use a directory, file:///path, s3://bucket/prefix or s3:https://host/bucket/prefix; \
                 prefix a local path with `./` if it contains a colon"
            }
            Self::NoCredential => "set DUMPVAULT_PASSWORD_FILE or use --key-file",
            Self::PasswordCommandSlow { .. } => {
                "find out what it waits for, or allow more with `password_command_timeout = \"5m\"`"
            }
            Self::Address { .. }
            | Self::EmptyPassphrase { .. }
            | Self::Passphrase { .. }
            | Self::KeyFile(_)
            | Self::Repo(_) => return None,
        };
        Some(words.to_owned())
    }
}

/// What the command line says of repository and key; it comes before environment and file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--repo`
    pub repository: Option<String>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--password-file`
    pub password_file: Option<PathBuf>,
    /// `--key-file`
    pub key_file: Option<PathBuf>,
    /// `--s3-endpoint`
    pub s3_endpoint: Option<String>,
    /// `--s3-region`
    pub s3_region: Option<String>,
    /// `--limit-upload`
    pub limit_upload: Option<String>,
    /// `--limit-download`
    pub limit_download: Option<String>,
    /// `--object-lock`
    pub object_lock: Option<String>,
    /// `--cache-size`
    pub cache_size: Option<String>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--key-slot`, `--allow-costly-kdf`, `--trust-epoch`, `--accept-rollback`
    pub access: Access,
}

/// What the command line says of a copy's destination; it comes before environment and file.
#[derive(Debug, Clone, Default)]
pub struct ToOverrides {
    /// `--to-password-file`
    pub password_file: Option<PathBuf>,
    /// `--to-key-file`
    pub key_file: Option<PathBuf>,
    /// `--to-s3-profile`
    pub s3_profile: Option<String>,
}

/// Where the environment says what opens a repository; with `DUMPVAULT_TO_` in front, what opens a copy's destination.
const CREDENTIAL_VARIABLES: [&str; 4] = ["KEY_FILE", "PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND"];

/// A storage without retries, and the bucket that it is, if it is one.
pub type BareStorage = (Arc<dyn Storage>, Option<Arc<S3Storage>>);

/// Requests under way at the same time, whatever the number of threads: services answer more of them with 503.
const REQUESTS_AT_ONCE: usize = 32;

/// Where a repository lies.
enum Place {
    Folder(PathBuf),
    Bucket(S3Address),
}

/// The time after which a request that does not move is given up. Shorter ones would end requests that only wait for their turn.
fn stall_timeout(text: &str) -> Result<Duration, ConfigError> {
    const SETTING: &str = "[s3] stall_timeout";
    let timeout = crate::settings::duration(text, SETTING)?;
    match timeout >= Duration::from_secs(1) {
        true => Ok(timeout),
        false => Err(ConfigError::Value {
            setting: SETTING.to_owned(),
            reason: format!("`{text}` is too short: at least 1s"),
        }),
    }
}

/// Asks a person for a passphrase; `None` when there is nobody to ask.
pub type Ask<'a> = &'a dyn Fn() -> Option<std::io::Result<String>>;

/// Settings brought together.
pub struct App {
    /// The configuration file.
    pub config: Config,
    /// The surroundings.
    pub environment: Environment,
    overrides: Overrides,
    entropy: Arc<dyn Entropy>,
    cancel: Arc<AtomicBool>,
    /// The bucket, once it was reached: finding credentials may take a while.
    bucket: OnceLock<Arc<Bucket>>,
}

/// A bucket, and as others see it.
struct Bucket {
    raw: Arc<S3Storage>,
    retrying: Arc<dyn Storage>,
}

/// A key, and what should be said about where it came from.
pub struct Found {
    /// The key.
    pub credential: Credential,
    /// What the person should be warned of.
    pub warnings: Vec<String>,
}

impl App {
    /// Reads the configuration. Once `cancel` is set, nothing that failed is tried again.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn new(
        overrides: Overrides,
        environment: Environment,
        cancel: Arc<AtomicBool>,
    ) -> Result<Self, AppError> {
        let given = overrides.config.clone().or_else(|| environment.path("DUMPVAULT_CONFIG"));
        let config = Config::load(given.as_deref(), &environment)?;
        let entropy = Arc::new(OsEntropy);
        Ok(Self { config, environment, overrides, entropy, cancel, bucket: OnceLock::new() })
    }

    /// The same for another repository: that of `settings`, which the command line may say more of. Where nothing says how that one is
    /// opened, it is what opens this one.
    pub fn destination(&self, settings: &CopyConfig, given: ToOverrides) -> Self {
        let mut overrides = Overrides {
            repository: Some(settings.repository.clone()),
            config: None,
            password_file: given.password_file,
            key_file: given.key_file,
            ..self.overrides.clone()
        };
        let mut config = Config { repository: None, ..self.config.clone() };
        let mut environment = self.environment.clone();
        let variable = |prefix: &str, name: &str| OsString::from(format!("DUMPVAULT_{prefix}{name}"));
        let own: Vec<(&str, OsString)> = CREDENTIAL_VARIABLES
            .iter()
            .filter_map(|name| {
                let value = environment.variables.get(&variable("TO_", name))?;
                Some((*name, value.clone())).filter(|(_, value)| !value.is_empty())
            })
            .collect();
        let by_line = overrides.password_file.is_some() || overrides.key_file.is_some();
        let by_file = settings.password_file.is_some()
            || settings.password_command.is_some()
            || settings.key_file.is_some();
        if by_line || by_file || !own.is_empty() {
            for name in CREDENTIAL_VARIABLES {
                environment.variables.remove(&variable("", name));
            }
            environment.variables.extend(own.into_iter().map(|(name, value)| (variable("", name), value)));
            config.password_file.clone_from(&settings.password_file);
            config.password_command.clone_from(&settings.password_command);
            config.key_file.clone_from(&settings.key_file);
        } else {
            overrides.password_file.clone_from(&self.overrides.password_file);
            overrides.key_file.clone_from(&self.overrides.key_file);
        }
        if let Some(s3) = &settings.s3 {
            config.s3 = s3.clone();
            overrides.s3_endpoint = s3.endpoint.clone().or(overrides.s3_endpoint);
            overrides.s3_region = s3.region.clone().or(overrides.s3_region);
        }
        if given.s3_profile.is_some() {
            config.s3.profile = given.s3_profile;
        }
        Self {
            config,
            environment,
            overrides,
            entropy: Arc::clone(&self.entropy),
            cancel: Arc::clone(&self.cancel),
            bucket: OnceLock::new(),
        }
    }

    /// Where random bytes come from.
    pub fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    /// This host's name in snapshots.
    pub fn host(&self) -> String {
        self.config
            .host
            .clone()
            .unwrap_or_else(|| rustix::system::uname().nodename().to_str().unwrap_or("localhost").to_owned())
    }

    fn place(&self) -> Result<Place, AppError> {
        let address = self
            .overrides
            .repository
            .clone()
            .or_else(|| self.environment.text("DUMPVAULT_REPOSITORY"))
            .or_else(|| self.config.repository.clone())
            .ok_or(AppError::NoRepositoryNamed)?;
        if S3Address::is_meant(&address) {
            let bucket = S3Address::parse(&address).map_err(|error| {
                // The address as the error has it: without what may be a secret.
                AppError::Address { address: error.object.clone(), reason: error.source.to_string() }
            })?;
            return Ok(Place::Bucket(bucket));
        }
        if let Some(path) = address.strip_prefix("file://") {
            return if path.starts_with('/') {
                Ok(Place::Folder(path.into()))
            } else {
                Err(AppError::BadAddress { address })
            };
        }
        if let Some(scheme) = scheme(&address) {
            return Err(AppError::UnknownScheme { scheme: scheme.to_owned() });
        }
        if address.is_empty() || address.contains("://") {
            return Err(AppError::BadAddress { address });
        }
        Ok(Place::Folder(self.environment.directory.join(address)))
    }

    /// Whether reading the repository costs a wire. False also where there is none.
    pub fn is_remote(&self) -> bool {
        matches!(self.place(), Ok(Place::Bucket(_)))
    }

    fn rate(&self, given: Option<&String>, name: &str) -> Result<Option<Arc<Rate>>, AppError> {
        let rate = given.map(|text| crate::settings::bytes(text, name)).transpose()?;
        Ok(rate.filter(|rate| *rate > 0).map(|rate| Arc::new(Rate::new(rate))))
    }

    /// Bounds of the bandwidth, up and down.
    fn rates(&self) -> Result<[Option<Arc<Rate>>; 2], AppError> {
        let Overrides { limit_upload, limit_download, .. } = &self.overrides;
        Ok([
            self.rate(limit_upload.as_ref().or(self.config.limit_upload.as_ref()), "--limit-upload")?,
            self.rate(limit_download.as_ref().or(self.config.limit_download.as_ref()), "--limit-download")?,
        ])
    }

    /// How long objects are to be locked.
    fn retention(&self) -> Result<Option<Retention>, AppError> {
        let text = self.overrides.object_lock.as_ref().or(self.config.s3.object_lock.as_ref());
        let Some(text) = text.filter(|text| *text != "off") else { return Ok(None) };
        let wrong = || ConfigError::Value {
            setting: "--object-lock".to_owned(),
            reason: format!("`{text}` is no lock: write compliance:30d, governance:30d or off"),
        };
        let (mode, age) = text.split_once(':').ok_or_else(wrong)?;
        let governance = match mode {
            "governance" => true,
            "compliance" => false,
            _ => return Err(wrong().into()),
        };
        let lasts = crate::settings::age(age, "--object-lock").map_err(|_| wrong())?;
        let lasts = Duration::try_from(lasts.approximate()).map_err(|_| wrong())?;
        Ok(Some(Retention { governance, lasts }))
    }

    fn bucket(&self, address: S3Address) -> Result<Arc<Bucket>, AppError> {
        if let Some(bucket) = self.bucket.get() {
            return Ok(Arc::clone(bucket));
        }
        let mut seed = [0; 8];
        self.entropy.fill(&mut seed).map_err(RepoError::from)?;
        let seed = u64::from_le_bytes(seed);
        let backoff = Arc::new(Backoff::new(RetryPolicy::default(), seed, Arc::clone(&self.cancel)));
        let [upload, download] = self.rates()?;
        let given = &self.config.s3;
        let settings = S3Settings {
            endpoint: self.overrides.s3_endpoint.clone().or_else(|| given.endpoint.clone()),
            region: self.overrides.s3_region.clone().or_else(|| given.region.clone()),
            path_style: given.path_style,
            profile: given.profile.clone(),
            ca_file: given.ca_file.clone().or_else(|| self.environment.path("AWS_CA_BUNDLE")),
            storage_class: given.storage_class.clone(),
            encryption: given.encryption.clone(),
            kms_key: given.kms_key.clone(),
            retention: self.retention()?,
            upload,
            download,
            ..S3Settings::new(Arc::clone(&backoff))
        };
        let settings = match given.stall_timeout.as_deref() {
            Some(text) => S3Settings { stall_timeout: stall_timeout(text)?, ..settings },
            None => settings,
        };
        let raw = Arc::new(S3Storage::connect(address, settings).map_err(RepoError::from)?);
        // Beneath the retries: who waits to try again takes nobody's place.
        let retrying = Arc::new(Retry::new(AtMost::new(Arc::clone(&raw), REQUESTS_AT_ONCE), backoff));
        Ok(Arc::clone(self.bucket.get_or_init(|| Arc::new(Bucket { raw, retrying }))))
    }

    /// Puts the pack cache in front of a storage that is not local.
    fn cached(&self, storage: Arc<dyn Storage>) -> Result<Arc<dyn Storage>, AppError> {
        let bytes = self.cache_bytes()?;
        if bytes == 0 || storage.is_local() {
            return Ok(storage);
        }
        // Packs are named by their content: repositories at the same address, one after another, do no harm to each other.
        let name = blake3::hash(storage.location().as_bytes()).to_hex();
        let folder = self.environment.cache_root().join("packs").join(name.get(..32).unwrap_or_default());
        Ok(Arc::new(Cached::new(storage, folder, bytes)))
    }

    /// What went over the wire so far, where there is one.
    pub fn requests(&self) -> Option<Requests> {
        self.bucket.get().and_then(|bucket| bucket.raw.requests())
    }

    /// How far the storage's clock is ahead of this host's, in milliseconds, where it told.
    pub fn skew_ms(&self) -> Option<i64> {
        self.bucket.get().and_then(|bucket| bucket.raw.skew_ms())
    }

    /// Removes what killed writers left unfinished and nobody wrote to for `older_than`.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn remove_leftovers(&self, older_than: Duration) -> Result<(), AppError> {
        match self.place()? {
            Place::Folder(path) => {
                let storage = LocalStorage::open(path).map_err(RepoError::from)?;
                storage.remove_leftovers(older_than).map_err(RepoError::from)?;
            }
            // Objects are put in one request: parts are left by very large ones only, and a request costs money.
            Place::Bucket(_) => {}
        }
        Ok(())
    }

    /// How many unfinished objects there are; not known of a bucket.
    pub fn leftovers(&self) -> usize {
        match self.place() {
            Ok(Place::Folder(path)) => LocalStorage::open(path)
                .and_then(|storage| storage.leftovers())
                .map_or(0, |found| found.len()),
            _ => 0,
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            entropy: Arc::clone(&self.entropy),
            cache_root: self.environment.cache_root(),
            state_root: self.environment.state_root(),
            clock: Arc::new(SystemClock),
            access: Access {
                dedup_all: self.config.dedup == Some(DedupReach::All),
                ..self.overrides.access.clone()
            },
        }
    }

    /// The storage behind the repository's address as it is, without retries; and the bucket, where it is one.
    ///
    /// # Errors
    /// [`RepoError::NoRepository`] when it is not there.
    pub fn bare_storage(&self) -> Result<BareStorage, AppError> {
        match self.place()? {
            Place::Folder(path) => {
                let storage = LocalStorage::open(&path).map_err(|error| absent(&path, error))?;
                Ok((Arc::new(storage), None))
            }
            Place::Bucket(address) => {
                let raw = Arc::clone(&self.bucket(address)?.raw);
                Ok((Arc::clone(&raw) as Arc<dyn Storage>, Some(raw)))
            }
        }
    }

    /// What the pack cache may hold, in bytes; 0 for none.
    ///
    /// # Errors
    /// When the setting is no size.
    pub fn cache_bytes(&self) -> Result<u64, AppError> {
        let size = self.overrides.cache_size.as_ref().or(self.config.cache_size.as_ref());
        let bytes = size.map(|text| crate::settings::bytes(text, "--cache-size")).transpose()?;
        Ok(if self.overrides.no_cache { 0 } else { bytes.unwrap_or(CACHE_BYTES_DEFAULT) })
    }

    /// The storage behind the repository's address, which must be there.
    ///
    /// # Errors
    /// [`RepoError::NoRepository`] when it is not.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, AppError> {
        match self.place()? {
            Place::Folder(path) => {
                let storage = LocalStorage::open(&path).map_err(|error| absent(&path, error))?;
                self.limited(storage)
            }
            Place::Bucket(address) => Ok(Arc::clone(&self.bucket(address)?.retrying)),
        }
    }

    fn limited(&self, storage: LocalStorage) -> Result<Arc<dyn Storage>, AppError> {
        Ok(match self.rates()? {
            [None, None] => Arc::new(storage),
            [upload, download] => Arc::new(Limited::new(storage, upload, download)),
        })
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
        Ok(match self.place()? {
            Place::Folder(path) => self.limited(LocalStorage::create(&path).map_err(RepoError::from)?)?,
            Place::Bucket(address) => Arc::clone(&self.bucket(address)?.retrying),
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
        let storage = self.cached(self.storage()?)?;
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

    /// The key that opens the repository: from the command line, the environment, the file, or a person.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn credential(&self, ask: Ask<'_>) -> Result<Found, AppError> {
        let Overrides { password_file, key_file, .. } = &self.overrides;
        let environment = &self.environment;
        if let Some(path) = key_file {
            return self.key_file(path);
        }
        if let Some(path) = password_file {
            return passphrase::of_file(path);
        }
        if let Some(path) = environment.path("DUMPVAULT_KEY_FILE") {
            return self.key_file(&path);
        }
        if let Some(text) = environment.text("DUMPVAULT_PASSWORD") {
            return passphrase::found(text, "DUMPVAULT_PASSWORD");
        }
        if let Some(path) = environment.path("DUMPVAULT_PASSWORD_FILE") {
            return passphrase::of_file(&path);
        }
        if let Some(command) = environment.text("DUMPVAULT_PASSWORD_COMMAND") {
            return self.password_command(&command);
        }
        if let Some(path) = &self.config.key_file {
            return self.key_file(path);
        }
        if let Some(path) = &self.config.password_file {
            return passphrase::of_file(path);
        }
        if let Some(command) = &self.config.password_command {
            return self.password_command(command);
        }
        match ask() {
            None => Err(AppError::NoCredential),
            Some(Ok(text)) => passphrase::found(text, "the terminal"),
            Some(Err(error)) => {
                Err(AppError::Passphrase { origin: "the terminal".to_owned(), reason: error.to_string() })
            }
        }
    }

    fn key_file(&self, path: &Path) -> Result<Found, AppError> {
        let (key, exposed) = KeyFile::read(path)?;
        let warning = exposed.then(|| {
            format!("key file `{path}` can be read by others: run `chmod 600 {path}`", path = path.display())
        });
        Ok(Found { credential: Credential::KeyFile(key), warnings: warning.into_iter().collect() })
    }

    fn password_command(&self, command: &str) -> Result<Found, AppError> {
        let by_variable = self.environment.text("DUMPVAULT_PASSWORD_COMMAND_TIMEOUT");
        let timeout = match (&by_variable, &self.config.password_command_timeout) {
            (Some(text), _) => crate::settings::duration(text, "DUMPVAULT_PASSWORD_COMMAND_TIMEOUT")?,
            (None, Some(text)) => crate::settings::duration(text, "password_command_timeout")?,
            (None, None) => passphrase::COMMAND_TIMEOUT_DEFAULT,
        };
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

    /// The key file that [`App::credential`] would read: the command line, the environment or the file names it, and nothing that goes
    /// before says otherwise.
    pub fn key_file_named(&self) -> Option<PathBuf> {
        let Overrides { key_file, password_file, .. } = &self.overrides;
        if key_file.is_some() || password_file.is_some() {
            return key_file.clone();
        }
        let in_environment = self.environment.path("DUMPVAULT_KEY_FILE");
        let passphrases = ["DUMPVAULT_PASSWORD", "DUMPVAULT_PASSWORD_FILE", "DUMPVAULT_PASSWORD_COMMAND"];
        if in_environment.is_some() || passphrases.iter().any(|name| self.environment.text(name).is_some()) {
            return in_environment;
        }
        self.config.key_file.clone()
    }
}

/// What an address begins with that is none of a local path: `sftp` of `sftp:host:/x`. A path with a colon has a `/` before it.
fn scheme(address: &str) -> Option<&str> {
    let (word, _) = address.split_once(':')?;
    let is_word = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '@'));
    (is_word && !word.is_empty()).then_some(word)
}

fn absent(path: &Path, error: StorageError) -> AppError {
    match error.kind {
        ErrorKind::NotFound => RepoError::NoRepository { location: path.display().to_string() }.into(),
        _ => RepoError::from(error).into(),
    }
}
