//! The walk over a tar: headers, files, and the two blocks of zeros that end it. All dialects that are in use: ustar,
//! pax, GNU.

/// A tar consists of blocks of so many bytes.
pub(super) const BLOCK_BYTES: usize = 512;
/// A pax header that is longer is passed over: those in use have some hundred bytes.
const PAX_BYTES_MAX: u64 = 1 << 20;

/// Where in a header things stand.
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
/// Old GNU sparse files: whether a further block of their map follows, in the header and in such a block.
const SPARSE_GOES_ON: usize = 482;
const SPARSE_BLOCK_GOES_ON: usize = 504;

/// A file's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// As it stands there, without a pax header's additions.
    pub name: &'a [u8],
    size: u64,
    kind: u8,
    is_sparse: bool,
}

impl<'a> Header<'a> {
    /// Reads a block; `None` if it is no header.
    pub(super) fn read(block: &'a [u8]) -> Option<Self> {
        let block = block.get(..BLOCK_BYTES)?;
        let stated = octal(block.get(CHECKSUM)?)?;
        let blank = |at: usize, byte: u8| if CHECKSUM.contains(&at) { b' ' } else { byte };
        let sum = |sign: fn(u8) -> i64| -> i64 {
            block.iter().enumerate().map(|(at, byte)| sign(blank(at, *byte))).sum()
        };
        // Some old programs reckoned with signed bytes.
        let is_right = [sum(i64::from), sum(|byte| i64::from(byte as i8))].contains(&(stated as i64));
        let name = block.get(NAME)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let kind = block.get(TYPE).copied()?;
        Some(Self {
            name: name.get(..end)?,
            size: number(block.get(SIZE)?)?,
            kind,
            is_sparse: kind == b'S' && block.get(SPARSE_GOES_ON).is_some_and(|more| *more != 0),
        })
        .filter(|_| is_right)
    }

    /// Bytes that stand behind it. Links, devices and folders may state a size and have none.
    fn data_bytes(&self) -> u64 {
        if matches!(self.kind, b'1'..=b'6') { 0 } else { self.size }
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte))?;
    let rest = field.get(start..)?;
    let end = rest.iter().position(is_blank).unwrap_or(rest.len());
    u64::from_str_radix(std::str::from_utf8(rest.get(..end)?).ok()?, 8).ok()
}

/// A size: octal, or in base 256 where the first bit says so.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first() {
        Some((0x80, rest)) => rest.iter().try_fold(0u64, |sum, byte| {
            sum.checked_mul(256).and_then(|sum| sum.checked_add(u64::from(*byte)))
        }),
        Some((0xff, _)) => None,
        _ if field.iter().all(|byte| matches!(byte, b' ' | 0)) => Some(0),
        _ => octal(field),
    }
}

/// The size that a pax header gives the next file.
fn pax_size(mut records: &[u8]) -> Option<u64> {
    loop {
        let blank = records.iter().position(|byte| *byte == b' ')?;
        let len: usize = std::str::from_utf8(records.get(..blank)?).ok()?.parse().ok()?;
        let record = records.get(blank.checked_add(1)?..len)?;
        if let Some(size) = record.strip_prefix(b"size=") {
            return std::str::from_utf8(size.strip_suffix(b"\n").unwrap_or(size)).ok()?.parse().ok();
        }
        records = records.get(len..)?;
    }
}

/// Is told of the files of a tar, in their order.
pub(super) trait Files {
    /// A file begins: its name, where its header and its bytes stand in the stream.
    fn begin(&mut self, _name: &[u8], _header_at: u64, _at: u64) {}

    /// The next bytes of it.
    fn data(&mut self, _bytes: &[u8]) {}

    /// It has ended, there in the stream, and the next header stands there.
    fn end(&mut self, _end: u64, _next_at: u64) {}
}

impl Files for () {}

/// How a tar ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TarEnd {
    /// With two blocks of zeros; other bytes may follow from a place on.
    Whole { behind: Option<u64> },
    /// Before them.
    Cut { within: &'static str },
    /// A header makes no sense.
    Damaged { at: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    /// Further blocks of a sparse file's map.
    Sparse {
        size: u64,
    },
    Data {
        left: u64,
        padding: u64,
    },
    Padding {
        left: u64,
    },
    /// One block of zeros has come.
    HalfEnded,
    Ended {
        behind: Option<u64>,
    },
    Damaged {
        at: u64,
    },
}

/// Walks over a tar as it streams, however it is cut into pushes.
#[derive(Debug)]
pub(super) struct Walk {
    stage: Stage,
    block: Vec<u8>,
    offset: u64,
    /// The pax header under way, and the size that the last one gave.
    pax: Option<Vec<u8>>,
    pax_size: Option<u64>,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self::at(0)
    }

    /// A walk that begins with a header at `offset` of the stream.
    pub(super) fn at(offset: u64) -> Self {
        Self { stage: Stage::Header, block: Vec::new(), offset, pax: None, pax_size: None }
    }

    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8], files: &mut impl Files) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.stage {
                Stage::Header | Stage::HalfEnded | Stage::Sparse { .. } => self.fill(rest, files),
                Stage::Data { left, padding } => {
                    let part = rest.get(..left.min(rest.len() as u64) as usize).unwrap_or(rest);
                    if let Some(pax) = &mut self.pax {
                        pax.extend_from_slice(part);
                    }
                    files.data(part);
                    self.data_taken(left - part.len() as u64, padding, part.len(), files)
                }
                Stage::Padding { left } => {
                    let taken = left.min(rest.len() as u64);
                    self.stage = match left - taken {
                        0 => Stage::Header,
                        left => Stage::Padding { left },
                    };
                    self.offset += taken;
                    taken as usize
                }
                Stage::Ended { behind: None } => {
                    let other = rest.iter().position(|byte| *byte != 0);
                    let behind = other.map(|at| self.offset + at as u64);
                    self.stage = Stage::Ended { behind };
                    self.offset += rest.len() as u64;
                    rest.len()
                }
                Stage::Ended { .. } | Stage::Damaged { .. } => return,
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn data_taken(&mut self, left: u64, padding: u64, taken: usize, files: &mut impl Files) -> usize {
        self.offset += taken as u64;
        if left > 0 {
            self.stage = Stage::Data { left, padding };
            return taken;
        }
        files.end(self.offset, self.offset + padding);
        if let Some(pax) = self.pax.take() {
            self.pax_size = pax_size(&pax);
        }
        self.stage = if padding == 0 { Stage::Header } else { Stage::Padding { left: padding } };
        taken
    }

    /// Takes bytes until a block is whole.
    fn fill(&mut self, bytes: &[u8], files: &mut impl Files) -> usize {
        let wanted = BLOCK_BYTES - self.block.len();
        let part = bytes.get(..wanted).unwrap_or(bytes);
        self.block.extend_from_slice(part);
        if self.block.len() == BLOCK_BYTES {
            let block = std::mem::take(&mut self.block);
            self.block(&block, files);
            self.block = block;
            self.block.clear();
        }
        part.len()
    }

    fn block(&mut self, block: &[u8], files: &mut impl Files) {
        let at = self.offset;
        self.offset += BLOCK_BYTES as u64;
        if let Stage::Sparse { size } = self.stage {
            if block.get(SPARSE_BLOCK_GOES_ON).is_none_or(|more| *more == 0) {
                self.expect(size, files);
            }
            return;
        }
        if block.iter().all(|byte| *byte == 0) {
            self.stage = match self.stage {
                Stage::HalfEnded => Stage::Ended { behind: None },
                _ => Stage::HalfEnded,
            };
            return;
        }
        let Some(header) = Header::read(block) else {
            self.stage = Stage::Damaged { at };
            return;
        };
        files.begin(header.name, at, self.offset);
        let given = self.pax_size.take().filter(|_| header.data_bytes() == header.size);
        let size = given.unwrap_or(header.data_bytes());
        // A header for all that follows, `g`, gives no sizes.
        self.pax = (header.kind == b'x' && size <= PAX_BYTES_MAX).then(Vec::new);
        match header.is_sparse {
            true => self.stage = Stage::Sparse { size },
            false => self.expect(size, files),
        }
    }

    fn expect(&mut self, size: u64, files: &mut impl Files) {
        let padding = (BLOCK_BYTES as u64 - size % BLOCK_BYTES as u64) % BLOCK_BYTES as u64;
        // So that offsets stay numbers, whatever a header claims.
        if self.offset.checked_add(size).and_then(|end| end.checked_add(padding)).is_none() {
            self.stage = Stage::Damaged { at: self.offset - BLOCK_BYTES as u64 };
            return;
        }
        self.stage = Stage::Data { left: size, padding };
        if size == 0 {
            self.data_taken(0, 0, 0, files);
        }
    }

    /// The end of the stream.
    pub(super) fn finish(&self) -> TarEnd {
        let within = match self.stage {
            Stage::Ended { behind } => return TarEnd::Whole { behind },
            Stage::Damaged { at } => return TarEnd::Damaged { at },
            Stage::Header if self.block.is_empty() => "the files: the blocks that end a tar are missing",
            Stage::Header | Stage::Sparse { .. } => "a file's header",
            Stage::Data { .. } | Stage::Padding { .. } => "a file",
            Stage::HalfEnded => "the blocks that end a tar",
        };
        TarEnd::Cut { within }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ustar header.
    pub(in crate::content::inspect) fn header(name: &str, size: &str, kind: u8) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size.as_bytes());
        block[TYPE] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    fn file(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, &format!("{:011o}", data.len()), b'0');
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes
    }

    fn ended(bytes: &[u8], piece: usize) -> TarEnd {
        let mut walk = Walk::new();
        bytes.chunks(piece).for_each(|part| walk.push(part, &mut ()));
        walk.finish()
    }

    #[test]
    fn given_a_tar_cut_anywhere_then_it_is_not_whole() {
        let tar = [file("one", b"some bytes"), file("none", b""), file("two", &[7; 1024]), vec![0; 1024]];
        let tar = tar.concat();
        assert_eq!(ended(&tar, 7), TarEnd::Whole { behind: None });
        for cut in 1..tar.len() {
            assert!(matches!(ended(&tar[..cut], 100), TarEnd::Cut { .. }), "{cut}");
        }
        let padded = [&tar[..], &[0; 9000]].concat();
        assert_eq!(ended(&padded, 4096), TarEnd::Whole { behind: None });
        let followed = [&padded[..], b"text"].concat();
        assert_eq!(ended(&followed, 4096), TarEnd::Whole { behind: Some(padded.len() as u64) });
    }

    #[test]
    fn given_sizes_beyond_octal_then_they_are_read() {
        let mut large = header("large", "", b'0');
        large[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]);
        assert_eq!(number(&large[SIZE]), Some((2 << 32) + 1));
        assert_eq!(pax_size(b"12 path=abc\n14 size=10240\n"), Some(10240));
        assert_eq!(pax_size(b"99 path=abc\n"), None);
        let pax = b"15 size=100000\n";
        let mut tar = header("pax", &format!("{:011o}", pax.len()), b'x');
        tar.extend_from_slice(pax);
        tar.resize(1024, 0);
        tar.extend(header("large", "00000000000", b'0'));
        tar.extend(vec![1; 100_000]);
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES) + 1024, 0);
        assert_eq!(ended(&tar, 333), TarEnd::Whole { behind: None });
    }

    proptest! {
        #[test]
        fn any_bytes_are_dealt_with(bytes in prop::collection::vec(any::<u8>(), 0..3000), piece in 1usize..600) {
            ended(&bytes, piece);
            let mut tar = file("one", &bytes);
            tar.extend([0; 1024]);
            prop_assert_eq!(ended(&tar, piece), TarEnd::Whole { behind: None });
        }
    }
}
