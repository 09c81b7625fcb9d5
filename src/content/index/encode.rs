//! Rows to bytes.

use super::wire::{put_bytes, put_number, put_signed};
use super::{
    Change, Extra, IndexError, Kind, Of, ROW_BYTES_MAX, Row, SECTION_BYTES_MAX, SECTION_ROWS_MAX, Section,
    SectionMap, malformed, restarts,
};

/// Writes an index. What is ready lies in [`IndexWriter::take`]; memory is a section.
#[derive(Debug)]
pub struct IndexWriter {
    of: Of,
    out: Vec<u8>,
    scratch: Vec<u8>,
    last: Vec<u8>,
    has_rows: bool,
    section: Section,
    columns: Columns,
    map: SectionMap,
}

/// What stands at the end of a section.
#[derive(Debug, Default)]
struct Columns {
    flags: Vec<u8>,
    seconds: Vec<u8>,
    nanos: Vec<u8>,
    inodes: Vec<u8>,
    last_inode: u64,
}

impl Default for IndexWriter {
    fn default() -> Self {
        Self::new(Of::default())
    }
}

impl IndexWriter {
    /// Begins an index.
    pub fn new(of: Of) -> Self {
        Self {
            of,
            out: of.magic().to_vec(),
            scratch: Vec::new(),
            last: Vec::new(),
            has_rows: false,
            section: Section::default(),
            columns: Columns::default(),
            map: SectionMap { of, ..SectionMap::default() },
        }
    }

    /// Adds a row, which has to come after all before it.
    ///
    /// # Errors
    /// When it does not, or the row cannot be written.
    pub fn push(&mut self, row: &Row, change: &Change) -> Result<(), IndexError> {
        row.check(self.of)?;
        if self.has_rows && !self.of.follows(&self.last, row) {
            return Err(malformed("rows out of order"));
        }
        if change.ctime.nanos >= 1_000_000_000 {
            return Err(malformed("a mode or time out of range"));
        }
        let is_full = self.section.rows >= SECTION_ROWS_MAX as u64
            || self.section.index_bytes >= SECTION_BYTES_MAX as u64;
        let is_another = !self.has_rows || self.last != row.path;
        if self.section.rows > 0 && (is_full || is_another && restarts(&row.path)) {
            self.end_section();
        }
        if self.section.rows == 0 {
            self.section.first.clone_from(&row.path);
            self.last.clear();
        }
        let data_bytes = self.section.data_bytes.checked_add(row.data_bytes());
        let data_bytes = data_bytes.ok_or(malformed("lengths overflow"))?;
        self.scratch.clear();
        encode_row(row, &self.last, &mut self.scratch)?;
        if self.scratch.len() > ROW_BYTES_MAX {
            return Err(malformed("a row too long"));
        }
        let before = self.out.len();
        put_bytes(&mut self.out, &self.scratch);
        self.section.index_bytes += (self.out.len() - before) as u64;
        self.section.rows += 1;
        self.section.data_bytes = data_bytes;
        self.section.clean_rows += u64::from(change.is_clean);
        self.columns.push(row, change);
        self.last.clone_from(&row.path);
        self.has_rows = true;
        Ok(())
    }

    /// What was written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Ends the index: the last bytes, and the map.
    pub fn finish(mut self) -> (Vec<u8>, SectionMap) {
        if self.section.rows > 0 {
            self.end_section();
        }
        self.out.extend([0, 0]);
        (self.out, self.map)
    }

    fn end_section(&mut self) {
        let before = self.out.len();
        let columns = std::mem::take(&mut self.columns);
        self.scratch.clear();
        put_number(&mut self.scratch, self.section.rows);
        for column in [&columns.flags, &columns.seconds, &columns.nanos, &columns.inodes] {
            put_bytes(&mut self.scratch, column);
        }
        self.out.push(0);
        put_bytes(&mut self.out, &self.scratch);
        self.section.index_bytes += (self.out.len() - before) as u64;
        self.map.sections.push(std::mem::take(&mut self.section));
    }
}

impl Columns {
    fn push(&mut self, row: &Row, change: &Change) {
        self.flags.push(u8::from(change.is_clean));
        put_signed(&mut self.seconds, change.ctime.seconds.wrapping_sub(row.mtime.seconds));
        put_number(&mut self.nanos, u64::from(change.ctime.nanos));
        put_signed(&mut self.inodes, change.inode.wrapping_sub(self.last_inode).cast_signed());
        self.last_inode = change.inode;
    }
}

fn encode_row(row: &Row, last: &[u8], out: &mut Vec<u8>) -> Result<(), IndexError> {
    let shared = row.path.iter().zip(last).take_while(|(one, other)| one == other).count();
    out.push(match &row.kind {
        Kind::File { .. } => b'f',
        Kind::Directory => b'd',
        Kind::Symlink(_) => b'l',
        Kind::HardLink(_) => b'h',
        Kind::CharDevice(..) => b'c',
        Kind::BlockDevice(..) => b'b',
        Kind::Fifo => b'p',
        Kind::Socket => b's',
        Kind::Unreadable => b'u',
        Kind::Vanished => b'v',
    });
    put_number(out, shared as u64);
    put_bytes(out, row.path.get(shared..).unwrap_or_default());
    for value in [row.mode, row.uid, row.gid] {
        put_number(out, u64::from(value));
    }
    put_signed(out, row.mtime.seconds);
    put_number(out, u64::from(row.mtime.nanos));
    match &row.kind {
        Kind::File { size, digest } => {
            put_number(out, *size);
            out.extend_from_slice(digest);
        }
        Kind::Symlink(text) | Kind::HardLink(text) => put_bytes(out, text),
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => {
            put_number(out, u64::from(*major));
            put_number(out, u64::from(*minor));
        }
        _ => {}
    }
    put_number(out, u64::from(row.is_torn) | u64::from(row.is_old) << 1);
    if row.extra != Extra::default() {
        minicbor::encode(&row.extra, out).map_err(|_| malformed("attributes that cannot be written"))?;
    }
    Ok(())
}
