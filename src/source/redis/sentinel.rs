//! Sentinels: who is the master at the moment.
//!
//! Sentinels may not agree while they make another server the master, and one that was cut off tells of the old one. So
//! all of them are asked, most of them count, and the server itself has to say that it is a master.

use super::address::Place;
use super::login::Access;
use super::server::ServerInfo;
use super::wire::{Reply, Wire};
use super::{RedisError, Watch};
use crate::source::SourceError;
use crate::source::process::Limits;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long another server is waited for to become the master.
const FAILOVER_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// The way to one server, whose password is known: sentinels are asked where the master is.
///
/// # Errors
/// When they cannot be asked, know no such master, or the password cannot be had.
pub(crate) fn settled(access: &Access, limits: &Limits) -> Result<Access, SourceError> {
    let access = &access.with_password(&limits.cancel)?;
    let Place::Sentinels { sentinels, master } = &access.address.place else { return Ok(access.clone()) };
    let watch = Watch::new(limits.clone());
    let server = access.address.server();
    let began = Instant::now();
    loop {
        watch.look(&server)?;
        let (host, port) = told(access, sentinels, master, limits)?;
        let found = access.beside(&host, port);
        match is_master(&found, limits) {
            Ok(true) => return Ok(found),
            Err(error @ SourceError::Cancelled { .. }) => return Err(error),
            outcome if began.elapsed() >= FAILOVER_MAX => {
                outcome?;
                return Err(
                    RedisError::NotMaster { server: found.address.server(), master: master.clone() }.into()
                );
            }
            _ => std::thread::sleep(PAUSE),
        }
    }
}

/// Whether a server takes itself for a master. One that may not be asked is believed to be one.
fn is_master(access: &Access, limits: &Limits) -> Result<bool, SourceError> {
    let mut wire = access.enter(limits)?;
    Ok(!ServerInfo::ask(&mut wire)?.is_replica())
}

/// Where most sentinels say that the master is.
fn told(
    access: &Access,
    sentinels: &[(String, u16)],
    master: &str,
    limits: &Limits,
) -> Result<(String, u16), SourceError> {
    let mut votes: BTreeMap<(String, u16), usize> = BTreeMap::new();
    let mut failed = None;
    for (host, port) in sentinels {
        match ask(&access.beside(host, *port), master, limits) {
            Ok(Some(found)) => *votes.entry(found).or_default() += 1,
            Ok(None) => {}
            Err(error @ SourceError::Cancelled { .. }) => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    let found = votes.into_iter().max_by_key(|(_, votes)| *votes);
    match (found, failed) {
        (Some((found, _)), _) => Ok(found),
        (None, Some(error)) => Err(error),
        (None, None) => {
            Err(RedisError::UnknownMaster { server: access.address.server(), master: master.to_owned() }
                .into())
        }
    }
}

/// What one sentinel says; none where it knows no such master. Sentinels have users of their own: the password is tried
/// where they want one.
fn ask(access: &Access, master: &str, limits: &Limits) -> Result<Option<(String, u16)>, SourceError> {
    let open = access.without_login();
    let mut wire = open.enter(limits)?;
    let reply = match question(&mut wire, master)? {
        Reply::Error(text) if text.starts_with("NOAUTH") => {
            wire = access.enter(limits)?;
            question(&mut wire, master)?
        }
        reply => reply,
    };
    match reply {
        Reply::Nothing => Ok(None),
        Reply::Error(text) => Err(wire.refused("SENTINEL", text)),
        Reply::List(parts) => {
            let mut parts = parts.into_iter().map(Reply::into_text);
            let port = |text: String| text.parse::<u16>().ok();
            let found = parts.next().zip(parts.next().and_then(port));
            found.map(Some).ok_or_else(|| wire.not_redis("where the master is"))
        }
        _ => Err(wire.not_redis("where the master is")),
    }
}

fn question(wire: &mut Wire, master: &str) -> Result<Reply, SourceError> {
    wire.ask(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master.as_bytes()])
}
