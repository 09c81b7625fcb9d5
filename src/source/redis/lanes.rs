//! Sending each key to the server that has its slot, many at once.
//!
//! Slots may move meanwhile. A server then says where a key belongs, and what was sent is sent there.

use super::cluster::{SLOTS, shards, slot_of};
use super::login::Access;
use super::wire::{Reply, Wire};
use super::{RedisError, Watch};
use crate::base::event::Cancel;
use crate::source::SourceError;
use crate::source::process::Limits;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// So much is sent before the answers are waited for.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_WORDS: usize = 2000;
/// How often a key is sent after its slot.
const MOVES_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// A server, and what it is still to be sent.
struct Lane<A> {
    wire: Wire,
    database: Option<u64>,
    batch: Vec<u8>,
    asked: Vec<(A, Range<usize>)>,
}

/// One server, or all masters of a cluster. `A` is what is remembered of each thing that is asked.
pub(super) struct Lanes<A> {
    access: Access,
    lanes: Vec<Lane<A>>,
    /// The lane of each slot; none where there is one server for all.
    slots: Option<Vec<usize>>,
    places: BTreeMap<(String, u16), usize>,
    pub watch: Watch,
    answers: Vec<(A, Reply)>,
}

impl<A> Lanes<A> {
    /// One server.
    pub(super) fn of_one(access: &Access, wire: Wire, watch: Watch) -> Self {
        let lane = Lane { wire, database: None, batch: Vec::new(), asked: Vec::new() };
        Self {
            access: access.clone(),
            lanes: vec![lane],
            slots: None,
            places: BTreeMap::new(),
            watch,
            answers: Vec::new(),
        }
    }

    /// All masters of the cluster that a server belongs to.
    pub(super) fn of_cluster(access: &Access, mut wire: Wire, watch: Watch) -> Result<Self, SourceError> {
        let found = shards(&mut wire, access)?;
        let unserved = super::cluster::unserved(&found);
        if !unserved.is_empty() {
            let slots = super::cluster::shown(&unserved);
            return Err(RedisError::Unserved { server: wire.server, slots }.into());
        }
        let mut lanes = Self {
            access: access.clone(),
            lanes: Vec::new(),
            slots: None,
            places: BTreeMap::new(),
            watch,
            answers: Vec::new(),
        };
        let mut slots = vec![0; usize::from(SLOTS)];
        for shard in found {
            let at = lanes.lane_at(&shard.host, shard.port)?;
            for slot in shard.slots.into_iter().flatten() {
                if let Some(lane) = slots.get_mut(usize::from(slot)) {
                    *lane = at;
                }
            }
        }
        lanes.slots = Some(slots);
        Ok(lanes)
    }

    /// Whether each key has a server of its own.
    pub(super) fn is_cluster(&self) -> bool {
        self.slots.is_some()
    }

    /// How many servers there are.
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// The name of the first server.
    pub(super) fn server(&self) -> String {
        self.access.address.server()
    }

    fn lane_at(&mut self, host: &str, port: u16) -> Result<usize, SourceError> {
        let place = (host.to_owned(), port);
        if let Some(at) = self.places.get(&place) {
            return Ok(*at);
        }
        // What is under way is ended by `watch`, between two batches.
        let wire = self.access.beside(host, port).enter(&Limits::new(Cancel::new()))?;
        self.lanes.push(Lane { wire, database: None, batch: Vec::new(), asked: Vec::new() });
        self.places.insert(place, self.lanes.len() - 1);
        Ok(self.lanes.len() - 1)
    }

    /// The lane of a key.
    pub(super) fn of_key(&self, key: &[u8]) -> usize {
        let slots = self.slots.as_ref();
        slots.and_then(|slots| slots.get(usize::from(slot_of(key))).copied()).unwrap_or(0)
    }

    /// Sees that what is sent to a lane from now on is meant for that database. What the server says against it is
    /// given.
    pub(super) fn select(&mut self, at: usize, database: u64) -> Result<Option<SourceError>, SourceError> {
        let Some(lane) = self.lanes.get(at) else { return Ok(None) };
        // A server begins with the first one.
        if lane.database == Some(database) {
            return Ok(None);
        }
        self.flush(at)?;
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(None) };
        let number = database.to_string();
        match lane.wire.ask(&[b"SELECT", number.as_bytes()])? {
            Reply::Error(text) => Ok(Some(lane.wire.refused("SELECT", text))),
            _ => {
                lane.database = Some(database);
                Ok(None)
            }
        }
    }

    /// Sends words to a server, sooner or later.
    pub(super) fn add(&mut self, at: usize, words: &[&[u8]], asked: A) -> Result<(), SourceError> {
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        let from = lane.batch.len();
        lane.batch.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            lane.batch.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            lane.batch.extend_from_slice(word);
            lane.batch.extend_from_slice(b"\r\n");
        }
        lane.asked.push((asked, from..lane.batch.len()));
        match lane.batch.len() >= BATCH_BYTES || lane.asked.len() >= BATCH_WORDS {
            true => self.flush(at),
            false => Ok(()),
        }
    }

    /// Sends what is left to all servers.
    pub(super) fn flush_all(&mut self) -> Result<(), SourceError> {
        (0..self.lanes.len()).try_for_each(|at| self.flush(at))
    }

    /// What was answered since it was last asked for.
    pub(super) fn take_answers(&mut self) -> Vec<(A, Reply)> {
        std::mem::take(&mut self.answers)
    }

    /// Sends what was gathered for a server, and hears what became of it.
    fn flush(&mut self, at: usize) -> Result<(), SourceError> {
        self.watch.look(&self.access.address.server())?;
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        lane.wire.write(&lane.batch)?;
        let batch = std::mem::take(&mut lane.batch);
        let mut moved = Vec::new();
        for (asked, range) in std::mem::take(&mut lane.asked) {
            let reply = lane.wire.answer()?;
            match place_of(&reply) {
                Some(_) if self.slots.is_some() => moved.push((asked, range, reply)),
                _ => self.answers.push((asked, reply)),
            }
        }
        for (asked, range, reply) in moved {
            let reply = self.follow(at, batch.get(range).unwrap_or_default(), reply)?;
            self.answers.push((asked, reply));
        }
        Ok(())
    }

    /// Sends something to where a server says that it belongs, until one takes it.
    fn follow(&mut self, at: usize, bytes: &[u8], reply: Reply) -> Result<Reply, SourceError> {
        let (mut at, mut reply) = (at, reply);
        for _ in 0..MOVES_MAX {
            let Some(place) = place_of(&reply) else { break };
            let mut asks_first = false;
            match place {
                Elsewhere::Moved { slot, host, port } => {
                    at = self.lane_of(at, &host, port)?;
                    if let Some(lane) = self.slots.as_mut().and_then(|slots| slots.get_mut(usize::from(slot)))
                    {
                        *lane = at;
                    }
                }
                Elsewhere::Asked { host, port } => {
                    at = self.lane_of(at, &host, port)?;
                    asks_first = true;
                }
                Elsewhere::Later => {
                    self.watch.look(&self.access.address.server())?;
                    std::thread::sleep(PAUSE);
                }
            }
            let Some(lane) = self.lanes.get_mut(at) else { break };
            if asks_first {
                lane.wire.order("ASKING", &[b"ASKING"])?;
            }
            lane.wire.write(bytes)?;
            reply = lane.wire.answer()?;
        }
        Ok(reply)
    }

    /// The lane to a server that another one names; without a name it is that one itself, at another port.
    fn lane_of(&mut self, at: usize, host: &str, port: u16) -> Result<usize, SourceError> {
        if !host.is_empty() {
            return self.lane_at(host, port);
        }
        let own = self.places.iter().find(|(_, lane)| **lane == at).map(|((host, _), _)| host.clone());
        self.lane_at(&own.unwrap_or_default(), port)
    }
}

/// Where something belongs that a server does not take.
#[derive(Debug, PartialEq, Eq)]
enum Elsewhere {
    Moved { slot: u16, host: String, port: u16 },
    Asked { host: String, port: u16 },
    Later,
}

fn place_of(reply: &Reply) -> Option<Elsewhere> {
    let Reply::Error(text) = reply else { return None };
    let mut words = text.split(' ');
    let kind = words.next()?;
    if matches!(kind, "TRYAGAIN" | "CLUSTERDOWN") {
        return Some(Elsewhere::Later);
    }
    let slot = words.next()?.parse().ok()?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let (host, port) = (host.to_owned(), port.parse().ok()?);
    match kind {
        "MOVED" => Some(Elsewhere::Moved { slot, host, port }),
        "ASK" => Some(Elsewhere::Asked { host, port }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_where_a_key_belongs() {
        let place = |text: &str| place_of(&Reply::Error(text.to_owned()));
        let host = || "10.0.0.1".to_owned();
        assert_eq!(place("MOVED 99 10.0.0.1:7"), Some(Elsewhere::Moved { slot: 99, host: host(), port: 7 }));
        assert_eq!(place("ASK 99 10.0.0.1:7"), Some(Elsewhere::Asked { host: host(), port: 7 }));
        assert_eq!(
            place("MOVED 9 fe80::1:7"),
            Some(Elsewhere::Moved { slot: 9, host: "fe80::1".to_owned(), port: 7 })
        );
        assert_eq!(place("TRYAGAIN Multiple keys"), Some(Elsewhere::Later));
        assert_eq!(place("ERR MOVED 1 x:1"), None);
        assert_eq!(place_of(&Reply::Line("OK".to_owned())), None);
    }
}
