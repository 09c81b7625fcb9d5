//! The composition root: settings become storages, keys and an open repository.

use crate::config::{Config, ConfigError, Environment};
use crate::crypto::{Credential, KeyFile, KeyFileError};
use crate::repo::{RepoError, Repository, Surroundings};
use crate::secret::{Entropy, OsEntropy, Passphrase};
use crate::storage::local::LocalStorage;
use crate::storage::{ErrorKind, Storage, StorageError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Settings do not lead to a repository.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No repository was named.
    #[error("no repository was named")]
    NoRepositoryNamed,
    /// The address is of no known kind.
    #[error("`{address}` is no repository address")]
    BadAddress {
        /// As given.
        address: String,
    },
    /// No passphrase and no key file were given, and there is nobody to ask.
    #[error("no passphrase and no key file were given")]
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
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The repository cannot be opened or made.
    #[error(transparent)]
    Repo(#[from] RepoError),
}

impl AppError {
    /// What to do next, where that can be known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoRepositoryNamed => Some(
                "give --repo PATH, set DUMPVAULT_REPOSITORY, or write `repository = \"…\"` into dumpvault.toml",
            ),
            Self::BadAddress { .. } => Some("give a path or file:///path"),
            Self::NoCredential => Some(
                "set DUMPVAULT_PASSWORD, DUMPVAULT_PASSWORD_FILE or DUMPVAULT_PASSWORD_COMMAND, or give --key-file FILE",
            ),
            _ => None,
        }
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
}

/// A key, and what should be said about where it came from.
pub struct Found {
    /// The key.
    pub credential: Credential,
    /// A warning for the person, if one is due.
    pub warning: Option<String>,
}

impl App {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When it is wrong.
    pub fn new(overrides: Overrides, environment: Environment) -> Result<Self, AppError> {
        let given = overrides.config.clone().or_else(|| environment.path("DUMPVAULT_CONFIG"));
        let config = Config::load(given.as_deref(), &environment)?;
        Ok(Self { config, environment, overrides, entropy: Arc::new(OsEntropy) })
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

    /// Directory of a repository on this machine.
    ///
    /// # Errors
    /// When none was named, or the address is of another kind.
    pub fn repository_path(&self) -> Result<PathBuf, AppError> {
        let address = self
            .overrides
            .repository
            .clone()
            .or_else(|| self.environment.text("DUMPVAULT_REPOSITORY"))
            .or_else(|| self.config.repository.clone())
            .ok_or(AppError::NoRepositoryNamed)?;
        if let Some(path) = address.strip_prefix("file://") {
            return if path.starts_with('/') {
                Ok(path.into())
            } else {
                Err(AppError::BadAddress { address })
            };
        }
        if address.is_empty() || address.contains("://") {
            return Err(AppError::BadAddress { address });
        }
        Ok(self.environment.directory.join(address))
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings { entropy: Arc::clone(&self.entropy), cache_root: self.environment.cache_root() }
    }

    /// The storage behind the repository's address, which must be there.
    ///
    /// # Errors
    /// [`RepoError::NoRepository`] when it is not.
    pub fn storage(&self) -> Result<Arc<LocalStorage>, AppError> {
        let path = self.repository_path()?;
        Ok(Arc::new(LocalStorage::open(&path).map_err(|error| absent(&path, error))?))
    }

    /// Makes a repository at the address.
    ///
    /// # Errors
    /// When there is one, or it cannot be made.
    pub fn init(&self, credential: &Credential, label: &str, now_ms: i64) -> Result<Repository, AppError> {
        let path = self.repository_path()?;
        let storage = Arc::new(LocalStorage::create(&path).map_err(RepoError::from)?);
        let config = crate::repo::format::config::Config::new(now_ms);
        Ok(Repository::init(storage, credential, label, config, &self.surroundings())?)
    }

    /// Opens the repository at the address.
    ///
    /// # Errors
    /// When there is none, or the key is wrong.
    pub fn open(&self, credential: &Credential) -> Result<Repository, AppError> {
        let storage: Arc<dyn Storage> = self.storage()?;
        Ok(Repository::open(storage, credential, &self.surroundings())?)
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
            return passphrase_file(path);
        }
        if let Some(path) = environment.path("DUMPVAULT_KEY_FILE") {
            return self.key_file(&path);
        }
        if let Some(text) = environment.text("DUMPVAULT_PASSWORD") {
            return found(text, "DUMPVAULT_PASSWORD");
        }
        if let Some(path) = environment.path("DUMPVAULT_PASSWORD_FILE") {
            return passphrase_file(&path);
        }
        if let Some(command) = environment.text("DUMPVAULT_PASSWORD_COMMAND") {
            return passphrase_command(&command);
        }
        if let Some(path) = &self.config.key_file {
            return self.key_file(path);
        }
        if let Some(path) = &self.config.password_file {
            return passphrase_file(path);
        }
        if let Some(command) = &self.config.password_command {
            return passphrase_command(command);
        }
        match ask() {
            None => Err(AppError::NoCredential),
            Some(Ok(text)) => found(text, "the terminal"),
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
        Ok(Found { credential: Credential::KeyFile(key), warning })
    }

    /// The key file that the command line or the environment names.
    pub fn key_file_named(&self) -> Option<PathBuf> {
        let environment = || self.environment.path("DUMPVAULT_KEY_FILE");
        self.overrides.key_file.clone().or_else(environment).or_else(|| self.config.key_file.clone())
    }
}

fn absent(path: &Path, error: StorageError) -> AppError {
    match error.kind {
        ErrorKind::NotFound => RepoError::NoRepository { location: path.display().to_string() }.into(),
        _ => RepoError::from(error).into(),
    }
}

fn found(text: String, origin: &str) -> Result<Found, AppError> {
    if text.is_empty() {
        return Err(AppError::EmptyPassphrase { origin: origin.to_owned() });
    }
    Ok(Found { credential: Credential::Passphrase(Passphrase::new(text)), warning: None })
}

/// The first line of a file, as other tools read their password files.
fn passphrase_file(path: &Path) -> Result<Found, AppError> {
    use std::os::unix::fs::PermissionsExt;
    let origin = format!("`{}`", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| AppError::Passphrase { origin: origin.clone(), reason: error.to_string() })?;
    let mut outcome = found(first_line(&text), &origin)?;
    let exposed = path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0);
    outcome.warning =
        exposed.then(|| format!("password file {origin} can be read by others: run `chmod 600`"));
    Ok(outcome)
}

fn passphrase_command(command: &str) -> Result<Found, AppError> {
    let origin = "the password command".to_owned();
    let failed = |reason: String| AppError::Passphrase { origin: origin.clone(), reason };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = shell.output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("it failed with {}", output.status)));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| failed("it printed no text".to_owned()))?;
    found(first_line(&text), &origin)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
