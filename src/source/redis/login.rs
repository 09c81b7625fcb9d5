//! Where the password for a server comes from, and how to get in.

use super::address::Address;
use super::tls::Certificates;
use super::wire::Wire;
use super::{RedisError, Watch};
use crate::base::event::Cancel;
use crate::source::SourceError;
use crate::source::command::CommandSource;
use crate::source::process::{Invocation, Limits};
use crate::source::surroundings::Surroundings;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// The variable by which Redis's own client knows the password, and Valkey's.
pub(super) const VARIABLE: &str = "REDISCLI_AUTH";
const SECRET_BYTES_MAX: u64 = 64 << 10;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// Where a password is. The one of an address counts before all others.
#[derive(Clone, Default)]
pub enum Secret {
    /// Nowhere.
    #[default]
    None,
    /// Here.
    Here(Zeroizing<String>),
    /// In the first line of a file.
    File(PathBuf),
    /// A shell command prints it.
    Command(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Here(_) => "Here(…)",
            Self::File(_) => "File(…)",
            Self::Command(_) => "Command(…)",
        })
    }
}

/// How to get into a server.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where it is.
    pub address: Address,
    /// Where the password is.
    pub secret: Secret,
    pub(super) certificates: Certificates,
    /// What a command finds around it that prints the password.
    pub around: Surroundings,
}

impl Access {
    /// The way to that address, where no more is said.
    pub fn new(address: Address, secret: Secret) -> Self {
        Self { address, secret, certificates: Certificates::default(), around: Surroundings::default() }
    }

    /// The way to an address that stands on a command line, with the password of the environment.
    ///
    /// # Errors
    /// When it makes no sense, or holds a password.
    pub fn of_words(address: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, RedisError> {
        let address = Address::from_uri(address)?;
        if address.has_password() {
            return Err(RedisError::SecretInAddress { server: address.server() });
        }
        let secret = variable(VARIABLE).filter(|text| !text.is_empty());
        let secret = secret.map_or(Secret::None, |text| Secret::Here(Zeroizing::new(text)));
        Ok(Self::new(address, secret))
    }

    /// The same way, with the password itself in the place of where it is.
    pub(super) fn with_password(&self, cancel: &Cancel) -> Result<Self, SourceError> {
        let secret = match self.password(cancel)? {
            Some(password) => Secret::Here(password),
            None => Secret::None,
        };
        Ok(Self { secret, ..self.clone() })
    }

    /// Connects and logs in.
    pub(super) fn enter(&self, limits: &Limits) -> Result<Wire, SourceError> {
        let password = self.password(&limits.cancel)?;
        let mut wire = Wire::connect(&self.address, &self.certificates, Watch::new(limits.clone()))?;
        if let Some(password) = password {
            let password = password.as_bytes();
            match &self.address.user {
                Some(user) => wire.order("the login", &[b"AUTH", user.as_bytes(), password])?,
                None => wire.order("the login", &[b"AUTH", password])?,
            };
        }
        Ok(wire)
    }

    /// The same way, as nobody.
    pub(super) fn without_login(&self) -> Self {
        Self { address: self.address.without_login(), secret: Secret::None, ..self.clone() }
    }

    /// The way to another server of the same owner.
    pub(super) fn beside(&self, host: &str, port: u16) -> Self {
        Self { address: self.address.beside(host, port), ..self.clone() }
    }

    fn password(&self, cancel: &Cancel) -> Result<Option<Zeroizing<String>>, SourceError> {
        if let Some(password) = self.address.password() {
            return Ok(Some(password.clone()));
        }
        let failed = |reason: String| RedisError::Password { server: self.address.server(), reason };
        let text = match &self.secret {
            Secret::None => return Ok(None),
            Secret::Here(text) => return Ok(Some(text.clone())),
            Secret::File(path) => {
                let wrong = |error: std::io::Error| failed(format!("`{}`: {error}", path.display()));
                let file = std::fs::File::open(path).map_err(wrong)?;
                read(file).map_err(wrong)?
            }
            Secret::Command(command) => {
                let invocation =
                    Invocation::new("/bin/sh").args(["-c", command.as_str()]).within(&self.around);
                let limits = Limits::new(cancel.clone()).with_timeout(Some(COMMAND_TIMEOUT));
                let mut dump = CommandSource::new(invocation, limits).open()?;
                let text = read(&mut dump).map_err(|error| failed(error.to_string()))?;
                dump.finish().map_err(|error| match error {
                    error @ SourceError::Cancelled { .. } => error,
                    error => failed(error.to_string()).into(),
                })?;
                text
            }
        };
        let first = Zeroizing::new(text.lines().next().unwrap_or_default().to_owned());
        match first.is_empty() {
            true => Err(failed("its first line is empty".to_owned()).into()),
            false => Ok(Some(first)),
        }
    }
}

fn read(from: impl Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    from.take(SECRET_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
