//! Redis and Valkey: a server is read as its replica would be, and restored into as its master would.
//!
//! | module | hides |
//! |---|---|
//! | `address` | how servers are named |
//! | `login` | where passwords come from |
//! | `wire` | RESP, and what carries it |
//! | `tls` | certificates |
//! | `server` | what a server says of itself |
//! | `target` | what must hold before a restore |
//! | `followed` | a server that follows us, and how it is let go |
//! | `master` | feeding a server that takes us for its master |
//! | `scan` | reading key by key |
//! | `scratch` | a server for a while, to try a file on |
//! | `keys` | restoring key by key |
//! | `normal` | an order that stays from day to day |
//! | `bgsave` | having a server write its file, and reading that |
//! | `settings` | what stands in no file |
//! | `pull` | reading everything by replication |
//! | `sentinel` | who the master is at the moment |
//! | `cluster` | which server of a cluster has which keys |
//! | `shard` | one server of a cluster, whose keys may move |
//! | `lanes` | sending each key to the server that has its slot |
//! | `proof` | whether a server holds what a file does |
//! | `kind` | addresses and tables of the configuration |

mod address;
mod bgsave;
mod cluster;
mod error;
mod followed;
mod keys;
mod kind;
mod lanes;
mod login;
mod master;
mod normal;
mod proof;
mod pull;
mod scan;
mod scratch;
mod sentinel;
mod server;
mod settings;
mod shard;
mod target;
mod tls;
mod wire;

pub(crate) use error::RedisError;
pub(crate) use keys::{Choice, Conflict, Outcome, Told, databases, open_keys};
pub(crate) use kind::Redis;
pub(crate) use login::Access;
pub(crate) use proof::{Holds, soon};
pub(crate) use scratch::ScratchServer;
pub(crate) use sentinel::settled;
pub(crate) use target::{Form, Target, TargetState};

use super::SourceError;
use crate::source::process::Limits;
use std::time::Instant;

/// How long something may take in all, and who may stop it.
#[derive(Debug, Clone)]
pub(in crate::source::redis) struct Watch {
    began: Instant,
    limits: Limits,
}

impl Watch {
    fn new(limits: Limits) -> Self {
        Self { began: Instant::now(), limits }
    }

    /// Whether it may go on.
    fn look(&self, server: &str) -> Result<(), SourceError> {
        if self.limits.cancel.is_cancelled() {
            return Err(SourceError::Cancelled { program: server.to_owned() });
        }
        match self.limits.timeout {
            Some(limit) if self.began.elapsed() >= limit => {
                Err(RedisError::TimedOut { server: server.to_owned(), limit }.into())
            }
            _ => Ok(()),
        }
    }
}
