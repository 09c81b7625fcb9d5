//! One attempt to tell somebody. Secrets are read for it, and forgotten behind it; none is an argument of a program or
//! part of an error.

mod email;
mod http;
mod program;

use super::message::Message;
use super::redact::redact;
use crate::base::secret::Passphrase;
use crate::settings::{Channel, Environment, Secret, Way};
use std::time::Duration;

/// A command that prints a secret may take so long.
const SECRET_WAIT: Duration = Duration::from_secs(30);
/// A secret is one line.
const SECRET_BYTES_MAX: usize = 16 << 10;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// What went wrong, without secrets.
    pub reason: String,
    /// Whether another attempt would end like this one.
    pub is_permanent: bool,
}

impl SendError {
    fn new(reason: impl AsRef<str>) -> Self {
        Self { reason: redact(reason.as_ref()), is_permanent: false }
    }

    fn permanent(reason: impl AsRef<str>) -> Self {
        Self { reason: redact(reason.as_ref()), is_permanent: true }
    }
}

/// Tells it. `id` is the same in every attempt to deliver the same message; `now_ms` goes into the signature.
///
/// # Errors
/// When the receiver did not take it, or nobody can know.
pub fn send(
    channel: &Channel,
    message: &Message,
    id: &str,
    now_ms: i64,
    environment: &Environment,
) -> Result<(), SendError> {
    match &channel.way {
        Way::Email { .. } => email::send(&channel.way, message, id, environment),
        Way::Webhook { .. } => http::post(&channel.way, message, id, now_ms, environment),
        Way::Ping { .. } => http::ping(&channel.way, message, id, environment),
        Way::Command { command, timeout } => {
            let body = message.body(crate::settings::Preset::Plain, id, None).0;
            program::run(command, body.as_bytes(), *timeout, environment).map(drop)
        }
    }
}

/// The secret, from where it is kept.
fn read(secret: &Secret, environment: &Environment) -> Result<Passphrase, SendError> {
    let text = match secret {
        Secret::Text(text) => return Ok(text.clone()),
        Secret::File(path) => {
            let path = environment.file(path);
            std::fs::read(&path)
                .map_err(|error| SendError::permanent(format!("cannot read {}: {error}", path.display())))?
        }
        Secret::Command(command) => program::run(command, b"", SECRET_WAIT, environment)?,
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || line.len() > SECRET_BYTES_MAX {
        return Err(SendError::permanent("the secret is empty, or longer than a secret is"));
    }
    Ok(Passphrase::new(line.to_owned()))
}

fn text(secret: &Passphrase) -> String {
    String::from_utf8_lossy(secret.expose()).into_owned()
}
