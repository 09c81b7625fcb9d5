//! What a server is told and its file does not hold: settings and users, as far as the user may read them.

use super::RedisError;
use super::wire::{Reply, Wire};
use crate::base::id::StreamDigest;
use crate::base::numbers::{Proof, StreamFormat};
use crate::source::{Dump, SourceError, StartedDump};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Settings that are secret, or hold a secret.
const SECRET: [&str; 4] = ["requirepass", "masterauth", "tls-key-file-pass", "tls-client-key-file-pass"];

/// Sorted, so that the same settings are the same bytes.
#[derive(Debug, Serialize)]
struct Settings {
    config: BTreeMap<String, String>,
    acl: Vec<String>,
}

/// Asks; `None` where the user may not.
pub(super) fn ask(wire: &mut Wire) -> Result<Option<Vec<u8>>, SourceError> {
    let mut list = |words: &[&[u8]]| match wire.ask(words)? {
        Reply::List(list) => Ok(list.into_iter().map(Reply::into_text).collect::<Vec<_>>()),
        // It may not, or the server does not know the question.
        _ => Ok::<_, SourceError>(Vec::new()),
    };
    let words = list(&[b"CONFIG", b"GET", b"*"])?;
    // Passwords of users are hashes there.
    let acl = list(&[b"ACL", b"LIST"])?;
    let pairs = words.chunks_exact(2).filter_map(|pair| match pair {
        [name, value] if !SECRET.contains(&name.as_str()) => Some((name.clone(), value.clone())),
        _ => None,
    });
    let settings = Settings { config: pairs.collect(), acl };
    if settings.config.is_empty() && settings.acl.is_empty() {
        return Ok(None);
    }
    // Text in maps becomes JSON without fail.
    let mut bytes = serde_json::to_vec_pretty(&settings).unwrap_or_default();
    bytes.push(b'\n');
    Ok(Some(bytes))
}

/// Whether any data came to a good end: settings alone are no backup.
pub(super) type HasData = Arc<AtomicBool>;

/// The stream of what was told, where there is data beside it.
pub(super) fn stream(bytes: Vec<u8>, has_data: &HasData) -> Result<StartedDump, SourceError> {
    if !has_data.load(Ordering::Relaxed) {
        return Err(RedisError::NoData.into());
    }
    Ok(StartedDump { dump: Box::new(Told(Cursor::new(bytes))), attributes: BTreeMap::new() })
}

/// A stream of data, which is noted when it comes to a good end.
pub(super) fn noted(started: StartedDump, has_data: HasData) -> StartedDump {
    let StartedDump { dump, attributes } = started;
    StartedDump { dump: Box::new(Noted { dump, has_data }), attributes }
}

struct Noted {
    dump: Box<dyn Dump>,
    has_data: HasData,
}

impl Read for Noted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.dump.read(buffer)
    }
}

impl Dump for Noted {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        let proof = self.dump.finish()?;
        self.has_data.store(true, Ordering::Relaxed);
        Ok(proof)
    }

    fn format(&self) -> Option<StreamFormat> {
        self.dump.format()
    }

    fn digest(&self) -> Option<StreamDigest> {
        self.dump.digest()
    }

    fn is_settled(&self) -> bool {
        self.dump.is_settled()
    }

    fn map(&self) -> Option<Vec<u8>> {
        self.dump.map()
    }

    fn unread(&self) -> Option<String> {
        self.dump.unread()
    }
}

struct Told(Cursor<Vec<u8>>);

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Dump for Told {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        // The answer was whole, and so is what was made of it.
        Ok(Proof::ExitedAndStructure)
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(StreamFormat::Settings)
    }

    fn is_settled(&self) -> bool {
        true
    }
}
