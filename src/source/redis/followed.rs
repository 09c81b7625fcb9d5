//! A server that follows us during a restore, and how it is let go.

use super::RedisError;
use super::login::Access;
use super::server::ServerInfo;
use super::wire::{Reply, Wire};
use crate::base::event::{Cancel, Event, Observer};
use crate::source::SourceError;
use crate::source::process::Limits;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that is loading takes no order: how long it is waited for.
const LOADING_MAX: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(50);

/// A server that follows us, and goes on by itself in the end, however it ends.
pub(super) struct Followed {
    wire: Option<Wire>,
    access: Access,
    events: Arc<dyn Observer>,
}

impl Followed {
    /// Makes it follow what listens there.
    pub(super) fn begin(
        access: Access,
        events: Arc<dyn Observer>,
        mut wire: Wire,
        host: &str,
        port: u16,
    ) -> Result<Self, SourceError> {
        let port = port.to_string();
        let asked = wire.order("REPLICAOF", &[b"REPLICAOF", host.as_bytes(), port.as_bytes()]);
        let followed = Self { wire: Some(wire), access, events };
        match asked {
            Ok(_) => Ok(followed),
            Err(error @ SourceError::Redis(RedisError::Said { .. })) => {
                // It never followed.
                let mut followed = followed;
                followed.wire = None;
                Err(error)
            }
            Err(error) => {
                followed.let_go()?;
                Err(error)
            }
        }
    }

    pub(super) fn server(&self) -> String {
        self.access.address.server()
    }

    pub(super) fn info(&mut self) -> Result<ServerInfo, SourceError> {
        match &mut self.wire {
            Some(wire) => ServerInfo::ask(wire),
            None => Err(RedisError::Gone { server: self.server() }.into()),
        }
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    pub(super) fn warn(&self, message: String) {
        self.events.observe(Event::Warning { message });
    }

    /// Lets it go, and sees what it holds.
    pub(super) fn let_go(mut self) -> Result<ServerInfo, SourceError> {
        let wire = self.wire.take();
        self.release(wire)
    }

    fn release(&self, wire: Option<Wire>) -> Result<ServerInfo, SourceError> {
        let freed = match wire {
            Some(mut wire) => free(&mut wire),
            None => Err(RedisError::Gone { server: self.server() }.into()),
        };
        // The connection may be what is broken.
        let freed = freed.or_else(|_| free(&mut self.access.enter(&Limits::new(Cancel::new()))?));
        freed.map_err(|error| {
            let server = self.server();
            let message = format!(
                "`{server}` could not be told to go on by itself ({error}); once it runs, `redis-cli REPLICAOF NO ONE` does that"
            );
            self.events.observe(Event::Warning { message });
            RedisError::Gone { server }.into()
        })
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.take() {
            // It tells by itself where that fails.
            let _ = self.release(Some(wire));
        }
    }
}

fn free(wire: &mut Wire) -> Result<ServerInfo, SourceError> {
    let began = Instant::now();
    loop {
        match wire.ask(&[b"REPLICAOF", b"NO", b"ONE"])? {
            Reply::Error(text) if text.starts_with("LOADING") && began.elapsed() < LOADING_MAX => {
                std::thread::sleep(PAUSE);
            }
            Reply::Error(text) => return Err(wire.refused("REPLICAOF", text)),
            _ => return ServerInfo::ask(wire),
        }
    }
}
