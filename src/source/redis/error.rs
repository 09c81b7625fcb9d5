//! What goes wrong with Redis and Valkey servers.

use crate::base::fault::{Class, Fault, Next};
use crate::base::words;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A server could not be read, or not be restored into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The address makes no sense. It is not quoted: it may hold a password.
    #[error("invalid address of a Redis server: {reason}")]
    BadAddress {
        /// Why.
        reason: String,
    },
    /// A password where other users of the machine can read it.
    #[error("the address of `{server}` holds a password, and others can read the command line")]
    SecretInAddress {
        /// The server.
        server: String,
    },
    /// The password cannot be had.
    #[error("cannot get the password for `{server}`: {reason}")]
    Password {
        /// The server.
        server: String,
        /// Why.
        reason: String,
    },
    /// There is no connection.
    #[error("cannot connect to `{server}`: {source}")]
    Connect {
        /// The server.
        server: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot use TLS with `{server}`: {reason}")]
    Tls {
        /// The server.
        server: String,
        /// Why.
        reason: String,
    },
    /// The connection broke.
    #[error("lost the connection to `{server}` {during}: {source}")]
    Lost {
        /// The server.
        server: String,
        /// What was being done.
        during: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server closed the connection where it should have answered.
    #[error("`{server}` closed the connection {during}")]
    Closed {
        /// The server.
        server: String,
        /// What was being done.
        during: &'static str,
    },
    /// The server closed the connection before its data had ended.
    #[error("`{server}` closed the connection before its data ended, after {}", words::bytes(*bytes))]
    Cut {
        /// The server.
        server: String,
        /// Bytes that had come.
        bytes: u64,
    },
    /// The data came to its end, and has none.
    #[error("what `{server}` sent does not end as an RDB file does")]
    NoEnd {
        /// The server.
        server: String,
    },
    /// Nothing came for too long.
    #[error("`{server}` sent nothing for {} s {during}", limit.as_secs())]
    Silent {
        /// The server.
        server: String,
        /// What was being done.
        during: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It took longer than it may.
    #[error("reading `{server}` exceeded {limit:?} and was stopped")]
    TimedOut {
        /// The server.
        server: String,
        /// The time limit.
        limit: Duration,
    },
    /// The server refused.
    #[error("`{server}` refused {command}: {text}")]
    Said {
        /// The server.
        server: String,
        /// What it was asked.
        command: &'static str,
        /// Its answer.
        text: String,
    },
    /// What answers speaks something else.
    #[error("`{server}` does not answer as a Redis server does: {what}")]
    NotRedis {
        /// The server.
        server: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A part of a cluster.
    #[error("`{server}` is a part of a cluster")]
    Cluster {
        /// The server.
        server: String,
    },
    /// No sentinel knows it.
    #[error("the sentinels at `{server}` know no master `{master}`")]
    UnknownMaster {
        /// The sentinels.
        server: String,
        /// The master's name.
        master: String,
    },
    /// Sentinels name a server that says that it is none.
    #[error("`{server}` is not a master, and the sentinels call it `{master}`")]
    NotMaster {
        /// The server.
        server: String,
        /// The master's name.
        master: String,
    },
    /// Sentinels would undo what a restore does.
    #[error("sentinels watch `{server}`")]
    Watched {
        /// The server.
        server: String,
    },
    /// A cluster lacks servers.
    #[error("the cluster of `{server}` has no server for slots {slots}")]
    Unserved {
        /// A server of it.
        server: String,
        /// The slots.
        slots: String,
    },
    /// Nothing else was stored.
    #[error("settings are not stored without the data")]
    NoData,
    /// A save failed.
    #[error("`{server}` did not save its data: {status}")]
    NotSaved {
        /// The server.
        server: String,
        /// What it says.
        status: String,
    },
    /// What was saved cannot be read.
    #[error("cannot read `{}`, which the server saves: {source}", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What was saved is not the file that was read.
    #[error("`{}` is not what `{server}` saved just now", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// The server.
        server: String,
    },
    /// It cannot be made to come to us.
    #[error("cannot wait for `{server}` to connect: {source}")]
    Listen {
        /// The server.
        server: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It did not come.
    #[error("`{server}` did not connect back to this machine; it is as before")]
    Unreached {
        /// The server.
        server: String,
    },
    /// It follows another server.
    #[error("`{server}` is a replica of `{master}`")]
    IsReplica {
        /// The server.
        server: String,
        /// Its master.
        master: String,
    },
    /// Others follow it.
    #[error("`{server}` has {}, which would be replaced, too", words::count(*replicas, "replica"))]
    HasReplicas {
        /// The server.
        server: String,
        /// How many.
        replicas: u64,
    },
    /// It does not know the file's form, and would empty itself for nothing.
    #[error("{name} at `{server}` reads RDB files up to version {reads}; this one has version {file}")]
    TooNew {
        /// The server.
        server: String,
        /// Its name and version.
        name: String,
        /// The form of the file.
        file: super::Form,
        /// The newest form that the server reads.
        reads: super::Form,
    },
    /// It took the file, and did not load it.
    #[error("`{server}` did not load the file, and may be empty now")]
    NotLoaded {
        /// The server.
        server: String,
    },
    /// The file itself is wrong.
    #[error("the stored file would end a server that loads it: {reason}; nothing was restored")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
    /// It is not there any more.
    #[error("`{server}` does not answer any more")]
    Gone {
        /// The server.
        server: String,
    },
    /// A database that is none.
    #[error("`{text}` is not a database: write 3, or 3:5 for database 3 into database 5")]
    BadDatabase {
        /// What was given.
        text: String,
    },
    /// The stored file cannot be read key by key.
    #[error("the stored file cannot be read to its end: {reason}; the keys before that were restored")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// A server for a while did not come up.
    #[error("`{program}` did not start: {reason}")]
    NotStarted {
        /// The program.
        program: String,
        /// The last line of its log.
        reason: String,
    },
    /// Its values are others than those of the file.
    #[error("`{server}` does not hold what the file does: {what}")]
    Differs {
        /// The server.
        server: String,
        /// What differs.
        what: String,
    },
    /// It holds something else than the file.
    #[error("database {database} holds {} after the restore, not {expected}", words::count(*there, "key"))]
    Counts {
        /// The database.
        database: u64,
        /// Keys that are there.
        there: u64,
        /// Keys that the file has.
        expected: u64,
    },
}

impl RedisError {
    /// Whether the user may not do it.
    pub(super) fn is_no_right(&self) -> bool {
        matches!(self, Self::Said { text, .. } if text.starts_with("NOPERM"))
    }

    /// Whether a server does not let itself be replicated.
    pub(super) fn is_no_replication(&self) -> bool {
        let Self::Said { command: "PSYNC" | "REPLCONF", text, .. } = self else { return false };
        let lower = text.to_ascii_lowercase();
        let words = ["noperm", "unknown command", "not supported", "not allowed"];
        words.iter().any(|word| lower.contains(word))
    }

    /// What to do about it, where that can be known.
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::BadAddress { .. } => "write redis://USER@HOST:PORT, rediss:// for TLS, or unix:///PATH",
            Self::SecretInAddress { .. } => {
                "set REDISCLI_AUTH, or use `password_file` or `password_command` of a configured source"
            }
            Self::Connect { .. } => {
                "check host, port and firewall, and that the server listens there (`bind`)"
            }
            Self::Tls { .. } => {
                "name the certificates with `tls_ca`, `tls_cert` and `tls_key` of a configured source"
            }
            Self::Cut { .. } => {
                "see the server's log: it may have ended, run out of memory for the copy, or waited longer than its `repl-timeout`"
            }
            Self::TimedOut { .. } => "raise --timeout",
            Self::Unreached { .. } => {
                "the server connects to the address that this machine reaches it from: check firewalls, and run the restore on its host"
            }
            Self::IsReplica { .. } => {
                "name the master; after a restore that was killed, `redis-cli REPLICAOF NO ONE` makes it a master again"
            }
            Self::HasReplicas { .. } => "detach them first: `redis-cli REPLICAOF NO ONE` on each",
            Self::TooNew { .. } => {
                "restore into a newer server of the same family; --via keys restores what this one understands, key by key"
            }
            Self::NotLoaded { .. } => "see the server's log",
            Self::Gone { .. } => "see whether it runs; `redis-cli REPLICAOF NO ONE` makes it a master again",
            Self::Cluster { .. } => "a cluster is restored key by key: --via keys",
            Self::UnknownMaster { .. } => "check the name behind the `/` of the address",
            Self::NotMaster { .. } => "try again: sentinels may be making another server the master",
            Self::Watched { .. } => {
                "use --via keys, or end that for the time of the restore: `SENTINEL REMOVE NAME` on each sentinel"
            }
            Self::Unserved { .. } => "see `redis-cli --cluster check`",
            Self::NotSaved { .. } => {
                "see the server's log: its disk may be full; `method = \"psync\"` needs none"
            }
            Self::NoFile { .. } => {
                "set `rdb_path` to where this machine sees the file, or `exec` to what reads it where it is"
            }
            Self::OtherFile { .. } => "set `rdb_path` to the file that this server saves",
            Self::Said { text, command, .. } => return said(command, text),
            _ => return None,
        };
        Some(words.to_owned())
    }
}

/// What to do about an error of a server's. It begins with a word that says its kind.
fn said(command: &str, text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let words = match text.split_whitespace().next().unwrap_or_default() {
        "NOAUTH" => "the server wants a password: set REDISCLI_AUTH, `password_file` or `password_command`",
        "WRONGPASS" => "check the user in the address and its password",
        "NOPERM" if command == "REPLICAOF" => {
            "give the user the rights: `ACL SETUSER NAME +replicaof +slaveof +info +function|dump`"
        }
        "NOPERM" if command.starts_with("CLUSTER") => {
            "give the user the rights on every server: `ACL SETUSER NAME +cluster|slots +cluster|nodes`"
        }
        "NOPERM" if matches!(command, "BGSAVE" | "CONFIG GET" | "TIME") => {
            "give the user the rights: `ACL SETUSER NAME +bgsave +info +time +config|get`"
        }
        "NOPERM" if !matches!(command, "PSYNC" | "REPLCONF") => {
            "give the user the rights: `ACL SETUSER NAME ~* +scan +dump +pttl +pexpiretime +select +time +randomkey +info +function|dump`"
        }
        "NOPERM" => {
            "give the user the rights: `ACL SETUSER NAME +psync +replconf +info`; to be read key by key it needs \
             `~* +scan +dump +pttl +pexpiretime +select +time +randomkey +info +function|dump`"
        }
        "LOADING" => "the server is still loading its data: try again",
        "NOMASTERLINK" | "MASTERDOWN" => "it is a replica without its master: name the master, or try again",
        _ if lower.contains("unknown command")
            || lower.contains("not supported")
            || lower.contains("not allowed") =>
        {
            "this server does not let itself be replicated, as many managed ones: set `method = \"scan\"` at its source"
        }
        _ if lower.contains("invalid password") => "check the user in the address and its password",
        _ => return None,
    };
    Some(words.to_owned())
}

impl Fault for RedisError {
    fn class(&self) -> Class {
        match self {
            Self::BadAddress { .. } | Self::SecretInAddress { .. } | Self::BadDatabase { .. } => Class::Usage,
            Self::IsReplica { .. }
            | Self::HasReplicas { .. }
            | Self::TooNew { .. }
            | Self::Watched { .. } => Class::Refused,
            Self::Counts { .. } | Self::Differs { .. } | Self::Damaged { .. } | Self::Unreadable { .. } => {
                Class::Integrity
            }
            _ => Class::Target,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadAddress { .. } => "bad_address",
            Self::SecretInAddress { .. } => "secret_in_address",
            Self::Password { .. } => "server_password",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Lost { .. } => "connection_lost",
            Self::Closed { .. } => "connection_closed",
            Self::Cut { .. } => "stream_cut",
            Self::NoEnd { .. } => "stream_without_end",
            Self::Silent { .. } => "server_silent",
            Self::TimedOut { .. } => "server_timed_out",
            Self::Said { .. } => "server_refused",
            Self::NotRedis { .. } => "not_redis",
            Self::Cluster { .. } => "cluster",
            Self::UnknownMaster { .. } => "unknown_master",
            Self::NotMaster { .. } => "not_master",
            Self::Watched { .. } => "watched_by_sentinels",
            Self::Unserved { .. } => "slots_unserved",
            Self::NoData => "settings_alone",
            Self::NotSaved { .. } => "not_saved",
            Self::NoFile { .. } => "no_saved_file",
            Self::OtherFile { .. } => "other_file",
            Self::Listen { .. } => "listen",
            Self::Unreached { .. } => "not_reached",
            Self::IsReplica { .. } => "is_replica",
            Self::HasReplicas { .. } => "has_replicas",
            Self::TooNew { .. } => "too_new",
            Self::NotLoaded { .. } => "not_loaded",
            Self::Gone { .. } => "server_gone",
            Self::BadDatabase { .. } => "bad_database",
            Self::Unreadable { .. } => "file_unreadable",
            Self::NotStarted { .. } => "server_not_started",
            Self::Counts { .. } => "counts_differ",
            Self::Differs { .. } => "values_differ",
            Self::Damaged { .. } => "file_damaged",
        }
    }

    fn next(&self) -> Option<Next> {
        self.hint().map(Next::new)
    }
}
