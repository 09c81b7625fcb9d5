//! Clusters: which server has which keys.

use super::login::Access;
use super::wire::{Reply, Wire};
use crate::source::SourceError;
use std::ops::RangeInclusive;

/// All keys of a cluster lie in so many slots.
pub(super) const SLOTS: u16 = 16384;

/// A master of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    /// Its slots, the lowest first.
    pub slots: Vec<RangeInclusive<u16>>,
    pub host: String,
    pub port: u16,
}

impl Shard {
    /// What it is called: nodes change, slots seldom do.
    pub(super) fn name(&self) -> String {
        format!("shard-{}", self.slots.first().map_or(0, |range| *range.start()))
    }

    /// `0-5460, 9000-9002`
    pub(super) fn shown(&self) -> String {
        shown(&self.slots)
    }
}

/// Slots in words.
pub(super) fn shown(slots: &[RangeInclusive<u16>]) -> String {
    let range = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
        (from, to) if from == to => from.to_string(),
        (from, to) => format!("{from}-{to}"),
    };
    slots.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// The masters, by their lowest slots.
pub(super) fn shards(wire: &mut Wire, access: &Access) -> Result<Vec<Shard>, SourceError> {
    let Reply::List(rows) = wire.order("CLUSTER SLOTS", &[b"CLUSTER", b"SLOTS"])? else {
        return Err(wire.not_redis("its answer to CLUSTER SLOTS"));
    };
    let asked = access.address.host().unwrap_or_default();
    let mut found: Vec<Shard> = Vec::new();
    for row in rows {
        let (range, host, port) = of_row(row, asked, access.address.tls)
            .ok_or_else(|| wire.not_redis("its answer to CLUSTER SLOTS"))?;
        match found.iter_mut().find(|shard| shard.host == host && shard.port == port) {
            Some(shard) => shard.slots.push(range),
            None => found.push(Shard { slots: vec![range], host, port }),
        }
    }
    for shard in &mut found {
        shard.slots.sort_by_key(|range| *range.start());
    }
    found.sort_by_key(|shard| shard.slots.first().map(|range| *range.start()));
    Ok(found)
}

/// A row of `CLUSTER SLOTS`: first and last slot, the master, its replicas.
fn of_row(row: Reply, asked: &str, tls: bool) -> Option<(RangeInclusive<u16>, String, u16)> {
    let Reply::List(parts) = row else { return None };
    let mut parts = parts.into_iter();
    let mut slot = || match parts.next()? {
        Reply::Number(number) => u16::try_from(number).ok().filter(|slot| *slot < SLOTS),
        _ => None,
    };
    let (from, to) = (slot()?, slot()?);
    let Some(Reply::List(master)) = parts.next() else { return None };
    let mut master = master.into_iter();
    let host = master.next()?.into_text();
    let Some(Reply::Number(port)) = master.next() else { return None };
    // A certificate names hosts, where a server knows the name of its own.
    let named = match master.nth(1) {
        Some(Reply::List(more)) if tls => {
            let more: Vec<String> = more.into_iter().map(Reply::into_text).collect();
            let pair = more.chunks_exact(2).find(|pair| pair.first().is_some_and(|name| name == "hostname"));
            pair.and_then(|pair| pair.get(1).cloned()).filter(|name| !name.is_empty())
        }
        _ => None,
    };
    // A server that does not know its own address is the one that was asked.
    let host = named.unwrap_or(if matches!(host.as_str(), "" | "?") { asked.to_owned() } else { host });
    (from <= to).then_some(())?;
    Some((from..=to, host, u16::try_from(port).ok()?))
}

/// Slots that no master has.
pub(super) fn unserved(shards: &[Shard]) -> Vec<RangeInclusive<u16>> {
    let mut served: Vec<&RangeInclusive<u16>> = shards.iter().flat_map(|shard| &shard.slots).collect();
    served.sort_by_key(|range| *range.start());
    let mut free = Vec::new();
    let mut next = 0;
    for range in served {
        if next < *range.start() {
            free.push(next..=range.start() - 1);
        }
        next = next.max(range.end() + 1);
    }
    if next < SLOTS {
        free.push(next..=SLOTS - 1);
    }
    free
}

/// Whether keys of a server are on their way to or from another.
pub(super) fn is_moving(wire: &mut Wire) -> Result<bool, SourceError> {
    let text = wire.order("CLUSTER NODES", &[b"CLUSTER", b"NODES"])?.into_text();
    let own = text.lines().find(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself")));
    Ok(own.is_some_and(|line| line.contains(" [")))
}

/// The slot of a key. Of one with `{…}` in it only what stands between counts.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let open = memchr::memchr(b'{', key).map(|at| at + 1);
    let tag = open.and_then(|open| {
        let rest = key.get(open..)?;
        rest.get(..memchr::memchr(b'}', rest)?).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16 as XMODEM has it.
fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    bytes.iter().fold(0, |crc: u16, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
        assert_eq!(slot_of(b"foo{bar}{zap}"), crc16(b"bar") % SLOTS);
    }

    #[test]
    fn slots_without_a_master_are_found() {
        let shard =
            |slots: &[RangeInclusive<u16>]| Shard { slots: slots.to_vec(), host: String::new(), port: 1 };
        let all = [shard(&[0..=99, 200..=300]), shard(&[100..=150, 301..=SLOTS - 2])];
        assert_eq!(shown(&unserved(&all)), "151-199, 16383");
        assert_eq!(unserved(&[shard(&[0..=SLOTS - 1])]), []);
        assert_eq!(shown(&unserved(&[])), "0-16383");
        assert_eq!(all[1].name(), "shard-100");
    }

    #[test]
    fn a_row_tells_slots_and_master() {
        let text = |text: &str| Reply::Bytes(text.as_bytes().to_vec());
        let row = |host: &str, more: Vec<Reply>| {
            let master = [text(host), Reply::Number(7), text("id")].into_iter().chain(more).collect();
            Reply::List(vec![Reply::Number(5), Reply::Number(9), Reply::List(master)])
        };
        let more = || vec![Reply::List(vec![text("hostname"), text("db1")])];
        assert_eq!(of_row(row("10.0.0.1", more()), "x", false), Some((5..=9, "10.0.0.1".to_owned(), 7)));
        assert_eq!(of_row(row("10.0.0.1", more()), "x", true), Some((5..=9, "db1".to_owned(), 7)));
        assert_eq!(of_row(row("", vec![]), "x", true), Some((5..=9, "x".to_owned(), 7)));
        assert_eq!(of_row(Reply::List(vec![Reply::Number(16384)]), "x", true), None);
    }
}
