//! The same data, in an order of its own: what did not change is the same bytes, whatever the server made of its
//! tables.
//!
//! A server keeps keys in hash tables with a seed that it draws at each start, and writes them in that order. It also
//! notes how long each key was not used. So two files of the same data have hardly a row in common. Here keys are
//! sorted by database and name, elements of sets and hashes by their bytes, and what changes by itself is left out. Any
//! order is right for a server that loads it.

use super::fields::{number, put_length};
use super::places::{Place, Places};
use super::steps::opcode;
use super::survey::Survey;
use crc_fast::{CrcAlgorithm, Digest};

const SET: u8 = 2;
const HASH: u8 = 4;
const HASH_OF_VALKEY: u8 = 22;
const HASH_WITH_ENDS: u8 = 24;
/// Bytes of one time at which something ends.
const END_BYTES: usize = 8;

/// A key's name, and its number in the file.
type Named<'a> = (&'a [u8], usize);

/// A file that is held as it came, and given in order.
pub struct Ordered {
    file: Vec<u8>,
    functions: Vec<Place>,
    keys: Vec<Place>,
    /// The numbers of `keys`, as they are given.
    order: Vec<usize>,
    header: Vec<u8>,
    next: usize,
    has_begun: bool,
    has_ended: bool,
    database: Option<u64>,
    sum: Digest,
}

impl std::fmt::Debug for Ordered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ordered").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Ordered {
    /// Bytes of memory that each key takes beside the file.
    pub const KEY_BYTES: usize = size_of::<Place>() + size_of::<Named<'_>>();

    /// A file that is whole, and where its keys stand in it. What stands elsewhere comes back as it is: a file with
    /// more than keys.
    ///
    /// # Errors
    /// The file, where it holds something that cannot be put in order.
    pub fn new(file: Vec<u8>, survey: &Survey, places: Places) -> Result<Self, Vec<u8>> {
        const OLDEST: u32 = 6;
        let Places { mut keys, mut functions, has_more } = places;
        let header = match survey.is_valkey {
            true => format!("VALKEY{:03}", survey.version),
            false => format!("REDIS{:04}", survey.version),
        };
        if has_more || survey.version < OLDEST || !file.starts_with(header.as_bytes()) {
            return Err(file);
        }
        functions.sort_by(|a, b| bytes_of(&file, a).cmp(bytes_of(&file, b)));
        // Servers write one database after the other.
        if !keys.is_sorted_by_key(|place| place.database) {
            keys.sort_by_key(|place| place.database);
        }
        // Names are looked for once, not at each of a key's twenty comparisons.
        let mut named: Vec<Named<'_>> = Vec::with_capacity(keys.len());
        let name = |(number, place)| (name_of(bytes_of(&file, place)), number);
        named.extend(keys.iter().enumerate().map(name));
        let of_database = |one: &Named<'_>, other: &Named<'_>| {
            let of = |named: &Named<'_>| keys.get(named.1).map(|place| place.database);
            of(one) == of(other)
        };
        named.chunk_by_mut(of_database).for_each(|named| named.sort_unstable());
        let order = named.into_iter().map(|(_, number)| number).collect();
        Ok(Self {
            file,
            functions,
            keys,
            order,
            header: header.into_bytes(),
            next: 0,
            has_begun: false,
            has_ended: false,
            database: None,
            sum: Digest::new(CrcAlgorithm::Crc64Redis),
        })
    }

    /// Adds the next part to `to`; false at the end.
    pub fn next(&mut self, to: &mut Vec<u8>) -> bool {
        if self.has_ended {
            return false;
        }
        let from = to.len();
        if !self.has_begun {
            self.has_begun = true;
            to.extend_from_slice(&self.header);
            for place in &self.functions {
                to.extend_from_slice(bytes_of(&self.file, place));
            }
        } else if let Some(place) = self.key(self.next).copied() {
            if self.database != Some(place.database) {
                self.database = Some(place.database);
                self.begin_database(place.database, to);
            }
            if let Some(end) = place.ends_ms {
                to.push(opcode::EXPIRES_MS);
                to.extend_from_slice(&end.to_le_bytes());
            }
            value(bytes_of(&self.file, &place), to);
            self.next += 1;
        } else {
            self.has_ended = true;
            to.push(opcode::END);
            self.sum.update(to.get(from..).unwrap_or_default());
            to.extend_from_slice(&self.sum.finalize().to_le_bytes());
            return true;
        }
        self.sum.update(to.get(from..).unwrap_or_default());
        true
    }

    fn key(&self, at: usize) -> Option<&Place> {
        self.keys.get(*self.order.get(at)?)
    }

    /// The number of the database, and how many keys come: the loader makes room for them.
    fn begin_database(&self, database: u64, to: &mut Vec<u8>) {
        let coming = (self.next..self.keys.len()).map_while(|at| self.key(at));
        let of_it = coming.take_while(|place| place.database == database);
        let (keys, ending) = of_it
            .fold((0, 0), |(keys, ending), place| (keys + 1, ending + u64::from(place.ends_ms.is_some())));
        to.push(opcode::DATABASE);
        put_length(database, to);
        to.push(opcode::SIZES);
        put_length(keys, to);
        put_length(ending, to);
    }
}

fn bytes_of<'a>(file: &'a [u8], place: &Place) -> &'a [u8] {
    file.get(place.from as usize..place.to as usize).unwrap_or_default()
}

/// By what a key is put in order: its text, or what stands for it where it is written in another form.
fn name_of(record: &[u8]) -> &[u8] {
    let rest = record.get(1..).unwrap_or_default();
    match text(rest) {
        Some((content, _)) if !content.is_empty() => content,
        _ => rest,
    }
}

/// A value with its type and key. Elements of sets and hashes that stand in the order of a hash table are put in order.
fn value(record: &[u8], to: &mut Vec<u8>) {
    if sorted(record, to).is_none() {
        to.extend_from_slice(record);
    }
}

fn sorted(record: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let (kind, rest) = record.split_first()?;
    if ![SET, HASH, HASH_OF_VALKEY, HASH_WITH_ENDS].contains(kind) {
        return None;
    }
    let (_, rest) = text(rest)?;
    let rest = if *kind == HASH_WITH_ENDS { rest.get(END_BYTES..)? } else { rest };
    let (count, mut rest) = number(rest)?;
    let front = record.len() - rest.len();
    // No element is shorter than a byte.
    let mut elements: Vec<&[u8]> = Vec::with_capacity(usize::try_from(count).ok()?.min(rest.len()));
    for _ in 0..count {
        let after = match *kind {
            SET => text(rest)?.1,
            HASH => text(text(rest)?.1)?.1,
            HASH_OF_VALKEY => text(text(rest)?.1)?.1.get(END_BYTES..)?,
            HASH_WITH_ENDS => text(text(number(rest)?.1)?.1)?.1,
            _ => return None,
        };
        elements.push(rest.get(..rest.len() - after.len())?);
        rest = after;
    }
    if !rest.is_empty() {
        return None;
    }
    elements.sort_unstable();
    to.extend_from_slice(record.get(..front)?);
    elements.into_iter().for_each(|element| to.extend_from_slice(element));
    Some(())
}

/// A string at the front: its content where that stands there plainly, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0xc0..=0xc2 => Some((&[], rest.get(1 << (first & 3)..)?)),
        0xc3 => {
            let (packed, rest) = number(rest)?;
            let (_, rest) = number(rest)?;
            Some((&[], rest.get(usize::try_from(packed).ok()?..)?))
        }
        _ => {
            let (count, rest) = number(bytes)?;
            rest.split_at_checked(usize::try_from(count).ok()?)
        }
    }
}
