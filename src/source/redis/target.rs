//! A server that is restored into: what must hold before, and how it is let go after.

use super::RedisError;
use super::cluster::shards;
use super::followed::Followed;
use super::login::Access;
use super::master::Master;
use super::server::{Keys, ServerInfo};
use super::wire::{Reply, Wire};
use crate::base::event::{Cancel, Observer};
use crate::base::secret::Entropy;
use crate::content::rdb::Survey;
use crate::source::process::Limits;
use crate::source::{Sink, SourceError};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Valkey counts the versions of its own form from here.
const VALKEY_FROM: u32 = 80;
/// The newest of Redis's forms that Valkey reads.
const VALKEY_READS: u32 = 11;
/// Versions of the file by which a server is older than this have no way to tell.
const WITHOUT_FUNCTIONS: u32 = 9;

/// The form of a file, or the newest that a server reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// The version in its header.
    pub version: u32,
    /// Whether Valkey is meant.
    pub is_valkey: bool,
}

impl Form {
    /// The form of a file of which that is known.
    pub fn of(survey: &Survey) -> Self {
        Self { version: survey.version, is_valkey: survey.is_valkey }
    }

    /// Whether a server that reads up to `self` can load a file of that form.
    pub fn reads(self, file: Self) -> bool {
        match (self.is_valkey && self.version >= VALKEY_FROM, file.is_valkey) {
            (true, true) => file.version <= self.version,
            (true, false) => file.version <= VALKEY_READS,
            (false, true) => false,
            (false, false) => file.version <= self.version,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)
    }
}

/// A server to restore into.
pub(crate) struct Target {
    /// How to get in.
    pub access: Access,
    /// How long all of it may take, and who may stop it.
    pub limits: Limits,
    /// Receives warnings, such as what a person has to do after a failure.
    pub events: Arc<dyn Observer>,
}

/// What was found there.
#[derive(Debug, Clone)]
pub struct TargetState {
    /// What it says of itself.
    pub info: ServerInfo,
    /// The newest form that it reads.
    pub reads: Form,
    /// Whether it empties itself before it has received anything.
    pub empties_first: bool,
    /// Keys of each database that has any; of a cluster, those of all its masters.
    pub databases: BTreeMap<u64, Keys>,
    /// Whether sentinels watch it.
    pub is_watched: bool,
}

impl Target {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) fn inspect(&self) -> Result<TargetState, SourceError> {
        let (mut wire, info) = self.enter()?;
        let reads = Form { version: newest_read(&mut wire, &info)?, is_valkey: info.is_valkey() };
        let loads = wire.ask(&[b"CONFIG", b"GET", b"repl-diskless-load"])?;
        let empties_first = match loads {
            Reply::List(list) => list.into_iter().any(|word| word.into_text() == "flush-before-load"),
            _ => false,
        };
        let is_watched = is_watched(&mut wire)?;
        let mut state = TargetState { databases: info.databases(), info, reads, empties_first, is_watched };
        if state.info.is_cluster() {
            state.databases.clear();
            for shard in shards(&mut wire, &self.access)? {
                let access = self.access.beside(&shard.host, shard.port);
                let mut wire = access.enter(&Limits::new(Cancel::new()))?;
                let info = ServerInfo::ask(&mut wire)?;
                let reads = Form { version: newest_read(&mut wire, &info)?, is_valkey: info.is_valkey() };
                // Each key has to be one that its own server reads: the oldest counts.
                if reads.version < state.reads.version {
                    state.reads = reads;
                }
                for (database, keys) in info.databases() {
                    let sum = state.databases.entry(database).or_default();
                    *sum = Keys { keys: sum.keys + keys.keys, expiring: sum.expiring + keys.expiring };
                }
            }
        }
        Ok(state)
    }

    pub(super) fn enter(&self) -> Result<(Wire, ServerInfo), SourceError> {
        // What is said to it at the end must be heard, whoever wants to stop.
        let mut wire = self.access.enter(&Limits::new(Cancel::new()))?;
        match wire.ask(&[b"INFO"])? {
            Reply::Error(text) => Err(wire.refused("INFO", text)),
            reply => {
                let info = ServerInfo::of(&reply.into_text());
                Ok((wire, info))
            }
        }
    }

    /// Why this server is not one to restore into, whatever it holds.
    pub(crate) fn refusal(&self, state: &TargetState) -> Option<RedisError> {
        let watched =
            || state.is_watched.then(|| RedisError::Watched { server: self.access.address.server() });
        self.refusal_of(&state.info).or_else(watched)
    }

    fn refusal_of(&self, info: &ServerInfo) -> Option<RedisError> {
        let server = self.access.address.server();
        if info.is_cluster() {
            return Some(RedisError::Cluster { server });
        }
        if info.is_replica() {
            let field = |name| info.get(name).unwrap_or("?");
            let master = format!("{}:{}", field("master_host"), field("master_port"));
            return Some(RedisError::IsReplica { server, master });
        }
        (info.replicas() > 0).then(|| RedisError::HasReplicas { server, replicas: info.replicas() })
    }

    /// Why it cannot take a file of that form.
    pub(crate) fn misfit(&self, state: &TargetState, file: Form) -> Option<RedisError> {
        let (server, name) = (self.access.address.server(), state.info.name());
        let fits = state.reads.reads(file);
        (!fits).then_some(RedisError::TooNew { server, name, file, reads: state.reads })
    }

    /// Makes it wait for a file of so many bytes. What it holds in the end is compared with that, but for keys that end
    /// before `soon_ms`.
    ///
    /// # Errors
    /// When it cannot be had; it is then as before.
    pub(crate) fn open(
        &self,
        bytes: u64,
        entropy: &dyn Entropy,
        soon_ms: Option<u64>,
    ) -> Result<Box<dyn Sink>, SourceError> {
        let (wire, info) = self.enter()?;
        if let Some(refusal) = self.refusal_of(&info) {
            return Err(refusal.into());
        }
        let begin = |wire, host: &str, port| {
            Followed::begin(self.access.clone(), Arc::clone(&self.events), wire, host, port)
        };
        Ok(Box::new(Master::start(wire, begin, &self.limits, bytes, entropy, soon_ms)?))
    }
}

/// Whether sentinels listen to it: they would make another server the master in the middle of a restore.
fn is_watched(wire: &mut Wire) -> Result<bool, SourceError> {
    match wire.ask(&[b"PUBSUB", b"NUMSUB", b"__sentinel__:hello"])? {
        Reply::List(list) => Ok(list.into_iter().any(|part| matches!(part, Reply::Number(1..)))),
        _ => Ok(false),
    }
}

/// The newest version that a server reads: it stands in the last bytes of what it dumps, whether it has functions or
/// not.
fn newest_read(wire: &mut Wire, info: &ServerInfo) -> Result<u32, SourceError> {
    if let Reply::Bytes(dump) = wire.ask(&[b"FUNCTION", b"DUMP"])?
        && let Some([low, high, ..]) = dump.last_chunk::<10>()
    {
        return Ok(u32::from(u16::from_le_bytes([*low, *high])));
    }
    Ok(match (info.is_valkey(), info.redis_version()) {
        (_, (..5, _)) => 8,
        (_, (5 | 6, _)) => WITHOUT_FUNCTIONS,
        (_, (7, ..2)) => 10,
        (true, _) => VALKEY_READS,
        (_, (7, 2 | 3)) => 11,
        _ => 12,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_reads_what_is_not_newer_and_of_its_family() {
        let redis = |version| Form { version, is_valkey: false };
        let valkey = |version| Form { version, is_valkey: true };
        for (server, file, fits) in [
            (redis(9), redis(9), true),
            (redis(9), redis(10), false),
            (redis(12), redis(11), true),
            (redis(12), valkey(80), false),
            (redis(80), valkey(80), false),
            (valkey(11), redis(11), true),
            (valkey(11), redis(12), false),
            (valkey(11), valkey(80), false),
            (valkey(80), redis(11), true),
            (valkey(80), redis(12), false),
            (valkey(80), valkey(80), true),
            (valkey(80), valkey(81), false),
        ] {
            assert_eq!(server.reads(file), fits, "{server:?} {file:?}");
        }
    }
}
