//! Bytes to rows. Whatever the bytes are, the answer is rows that could have been written, or an error.

use super::wire::{Rest, number};
use super::{
    Change, Entry, Extra, IndexError, Kind, MAGIC_BYTES, Of, PATH_BYTES_MAX, ROW_BYTES_MAX, Row,
    SECTION_BYTES_MAX, SECTION_ROWS_MAX, Time, malformed,
};
use std::io::{ErrorKind, Read};

/// What a number at the end of a section takes at most, in bytes.
const NUMBER_BYTES_MAX: usize = 10;
/// The block at the end of a section is never longer: four columns.
const BLOCK_BYTES_MAX: usize = SECTION_ROWS_MAX * (1 + 3 * NUMBER_BYTES_MAX) + 5 * NUMBER_BYTES_MAX;

/// Reads an index section by section.
#[derive(Debug)]
pub struct IndexReader<R> {
    of: Of,
    input: R,
    last: Option<Vec<u8>>,
    has_begun: bool,
    has_ended: bool,
}

impl<R: Read> IndexReader<R> {
    /// Reads an index of that from `input`, which had better be buffered.
    pub fn new(of: Of, input: R) -> Self {
        Self { of, input, last: None, has_begun: false, has_ended: false }
    }

    /// The next section's rows; nothing after the last.
    ///
    /// # Errors
    /// When the index is cut short or makes no sense.
    pub fn section(&mut self) -> Result<Option<Vec<Entry>>, IndexError> {
        if self.has_ended {
            return Ok(None);
        }
        if !self.has_begun {
            let mut magic = [0; MAGIC_BYTES];
            fill(&mut self.input, &mut magic)?;
            if magic != *self.of.magic() {
                return Err(IndexError::NotAnIndex);
            }
            self.has_begun = true;
        }
        let section = section(self.of, &mut self.input)?;
        let Some((first, last)) = section.first().zip(section.last()) else {
            self.has_ended = true;
            return match self.input.read(&mut [0]) {
                Ok(0) => Ok(None),
                Ok(_) => Err(IndexError::GoesOn),
                Err(error) => Err(IndexError::Unreadable { what: error.to_string() }),
            };
        };
        if let Some(before) = &self.last {
            in_order(self.of, before, &first.row)?;
        }
        self.last = Some(last.row.path.clone());
        Ok(Some(section))
    }
}

/// The rows of one section, whose bytes are `bytes`.
///
/// # Errors
/// When they are not exactly one section.
pub fn read_section(of: Of, mut bytes: &[u8]) -> Result<Vec<Entry>, IndexError> {
    let section = section(of, &mut bytes)?;
    if section.is_empty() {
        return Err(malformed("a section without rows"));
    }
    if bytes.is_empty() { Ok(section) } else { Err(IndexError::GoesOn) }
}

/// The rows of the next section; none at the end of the index.
fn section(of: Of, input: &mut impl Read) -> Result<Vec<Entry>, IndexError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut last = Vec::new();
    let (mut buffer, mut total, mut data_bytes) = (Vec::new(), 0usize, 0u64);
    loop {
        let len = length(input, ROW_BYTES_MAX)?;
        if len == 0 {
            break;
        }
        if entries.len() >= SECTION_ROWS_MAX || total >= SECTION_BYTES_MAX {
            return Err(malformed("a section too long"));
        }
        read_bytes(input, len, &mut buffer)?;
        total += len;
        let row = decode_row(of, &buffer, &last)?;
        if !entries.is_empty() {
            in_order(of, &last, &row)?;
        }
        data_bytes = data_bytes.checked_add(row.data_bytes()).ok_or(malformed("lengths overflow"))?;
        last.clone_from(&row.path);
        entries.push(Entry { row, change: Change::default() });
    }
    let len = length(input, BLOCK_BYTES_MAX)?;
    if len == 0 {
        return match entries.is_empty() {
            true => Ok(entries),
            false => Err(malformed("a section without its end")),
        };
    }
    read_bytes(input, len, &mut buffer)?;
    decode_changes(&buffer, &mut entries)?;
    Ok(entries)
}

fn in_order(of: Of, before: &[u8], row: &Row) -> Result<(), IndexError> {
    if of.follows(before, row) { Ok(()) } else { Err(malformed("rows out of order")) }
}

fn length(input: &mut impl Read, max: usize) -> Result<usize, IndexError> {
    let len = number(|| {
        let mut byte = [0];
        fill(input, &mut byte)?;
        let [byte] = byte;
        Ok(byte)
    })?;
    usize::try_from(len).ok().filter(|len| *len <= max).ok_or(malformed("a length too large"))
}

fn read_bytes(input: &mut impl Read, len: usize, buffer: &mut Vec<u8>) -> Result<(), IndexError> {
    buffer.clear();
    // `take` grows the buffer with what comes, not with what was announced.
    match input.take(len as u64).read_to_end(buffer) {
        Ok(count) if count == len => Ok(()),
        Ok(_) => Err(IndexError::CutShort),
        Err(error) => Err(IndexError::Unreadable { what: error.to_string() }),
    }
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), IndexError> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => IndexError::CutShort,
        _ => IndexError::Unreadable { what: error.to_string() },
    })
}

fn decode_row(of: Of, bytes: &[u8], last: &[u8]) -> Result<Row, IndexError> {
    let mut rest = Rest(bytes);
    let letter = rest.byte()?;
    let path = decode_path(&mut rest, last)?;
    let (mode, uid, gid) = (rest.small()?, rest.small()?, rest.small()?);
    let mtime = Time { seconds: rest.signed()?, nanos: rest.small()? };
    let kind = match letter {
        b'f' => {
            let size = rest.number()?;
            let digest = rest.take(32)?.first_chunk::<32>().ok_or(malformed("a row cut short"))?;
            Kind::File { size, digest: *digest }
        }
        b'd' => Kind::Directory,
        b'l' => Kind::Symlink(rest.bytes()?.to_vec()),
        b'h' => Kind::HardLink(rest.bytes()?.to_vec()),
        b'c' => Kind::CharDevice(rest.small()?, rest.small()?),
        b'b' => Kind::BlockDevice(rest.small()?, rest.small()?),
        b'p' => Kind::Fifo,
        b's' => Kind::Socket,
        b'u' => Kind::Unreadable,
        b'v' => Kind::Vanished,
        _ => return Err(malformed("a row of an unknown kind")),
    };
    // Bits that are not known yet are passed over.
    let flags = rest.number()?;
    let (is_torn, is_old) = (flags & 1 == 1, of == Of::Objects && flags & 2 == 2);
    let extra = match rest.0 {
        [] => Extra::default(),
        bytes => minicbor::decode(bytes).map_err(|_| malformed("attributes that cannot be read"))?,
    };
    let row = Row { path, kind, mode, uid, gid, mtime, is_torn, is_old, extra };
    row.check(of)?;
    Ok(row)
}

fn decode_path(rest: &mut Rest<'_>, last: &[u8]) -> Result<Vec<u8>, IndexError> {
    let shared = usize::try_from(rest.number()?).unwrap_or(usize::MAX);
    let front = last.get(..shared).ok_or(malformed("a path that shares more than there is"))?;
    let suffix = rest.bytes()?;
    if front.len() + suffix.len() > PATH_BYTES_MAX {
        return Err(malformed("a path too long"));
    }
    Ok([front, suffix].concat())
}

fn decode_changes(block: &[u8], entries: &mut [Entry]) -> Result<(), IndexError> {
    let mut rest = Rest(block);
    if rest.number()? != entries.len() as u64 {
        return Err(malformed("a section with rows more or less"));
    }
    let [mut flags, mut seconds, mut nanos, mut inodes] =
        [Rest(rest.bytes()?), Rest(rest.bytes()?), Rest(rest.bytes()?), Rest(rest.bytes()?)];
    let mut inode = 0u64;
    for Entry { row, change } in entries {
        let ctime =
            Time { seconds: row.mtime.seconds.wrapping_add(seconds.signed()?), nanos: nanos.small()? };
        if ctime.nanos >= 1_000_000_000 {
            return Err(malformed("a mode or time out of range"));
        }
        inode = inode.wrapping_add_signed(inodes.signed()?);
        *change = Change { ctime, inode, is_clean: flags.byte()? & 1 == 1 };
    }
    match [rest, flags, seconds, nanos, inodes].iter().all(|rest| rest.0.is_empty()) {
        true => Ok(()),
        false => Err(malformed("numbers that no row takes")),
    }
}
