//! What a server says of itself.

use super::wire::{Reply, Wire};
use crate::source::SourceError;
use std::collections::BTreeMap;

/// Keys of a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys {
    /// How many there are.
    pub keys: u64,
    /// Of these, how many end by themselves.
    pub expiring: u64,
}

/// The answer to `INFO`; empty where the user may not ask.
#[derive(Debug, Clone, Default)]
pub struct ServerInfo(BTreeMap<String, String>);

impl ServerInfo {
    /// Asks. A user that may not gets an empty answer.
    pub(super) fn ask(wire: &mut Wire) -> Result<Self, SourceError> {
        match wire.ask(&[b"INFO"])? {
            Reply::Error(text) if text.starts_with("NOPERM") => Ok(Self::default()),
            Reply::Error(text) => Err(wire.refused("INFO", text)),
            reply => Ok(Self::of(&reply.into_text())),
        }
    }

    pub(super) fn of(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Whether it is Valkey.
    pub fn is_valkey(&self) -> bool {
        self.get("server_name") == Some("valkey")
    }

    /// Its version; Valkey's own where it is one. Empty where it is not known.
    pub fn version(&self) -> &str {
        let own = self.get("valkey_version").filter(|_| self.is_valkey());
        own.or_else(|| self.get("redis_version")).unwrap_or_default()
    }

    /// `Valkey 9.1.2`
    pub fn name(&self) -> String {
        let name = if self.is_valkey() { "Valkey" } else { "Redis" };
        format!("{name} {}", self.version()).trim_end().to_owned()
    }

    /// The two first numbers of Redis's version, which Valkey has for what it can do.
    pub(super) fn redis_version(&self) -> (u32, u32) {
        let mut numbers =
            self.get("redis_version").unwrap_or_default().split('.').map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Whether it is a part of a cluster.
    pub fn is_cluster(&self) -> bool {
        self.number("cluster_enabled") == 1
    }

    /// Whether it follows another server.
    pub fn is_replica(&self) -> bool {
        self.get("role") == Some("slave")
    }

    /// Servers that follow it.
    pub fn replicas(&self) -> u64 {
        self.number("connected_slaves")
    }

    /// Keys of each database that has any.
    pub fn databases(&self) -> BTreeMap<u64, Keys> {
        let of = |(name, value): (&String, &String)| {
            let number = name.strip_prefix("db")?.parse().ok()?;
            let field = |name: &str| {
                value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
            };
            Some((number, Keys { keys: field("keys")?, expiring: field("expires").unwrap_or(0) }))
        };
        self.0.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_understood() {
        let info = ServerInfo::of(
            "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nrole:master\r\n\
             cluster_enabled:0\r\n# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=5\r\ndb11:keys=1,expires=0\r\n",
        );
        assert_eq!((info.name().as_str(), info.redis_version()), ("Valkey 9.1.2", (7, 2)));
        assert!(!info.is_cluster() && !info.is_replica());
        let keys = |keys, expiring| Keys { keys, expiring };
        assert_eq!(info.databases(), BTreeMap::from([(0, keys(12, 3)), (11, keys(1, 0))]));
        assert_eq!(ServerInfo::of("redis_version:6.2.5").name(), "Redis 6.2.5");
        assert_eq!(ServerInfo::default().name(), "Redis");
    }
}
