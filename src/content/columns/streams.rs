//! How streams are compressed and laid down: small ones together, each larger one as a frame of its own.

use super::{Cursor, stream_bytes_max, streams_max};
use super::{Malformed, NotCompressed, how, malformed, put_varint};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_error_name};

/// Streams shorter than this share one frame.
const SMALL_BYTES: usize = 1024;
const SPARE_MAX: usize = 96;
/// Short values are copied as words, whatever follows: there is room behind the last.
const ARENA_ROOM: usize = 32;

/// What a stream holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Text,
    /// Bytes of numbers, which may be as good as random.
    Binary,
}

struct Stream {
    /// Memory that may be longer.
    bytes: Vec<u8>,
    len: usize,
    content: Content,
}

/// The streams of a block in the making, and memory for the next.
#[derive(Default)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    spare: Vec<Vec<u8>>,
    context: Option<CCtx<'static>>,
    small: Vec<u8>,
    body: Vec<u8>,
    total: usize,
}

impl Streams {
    /// Begins a block.
    pub(super) fn begin(&mut self) {
        while let Some(stream) = self.streams.pop() {
            self.give_back(stream.bytes);
        }
        self.total = 0;
    }

    /// Memory of at least `len` bytes, whatever is in it.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        bytes
    }

    /// Takes memory back that became no stream.
    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(bytes);
        }
    }

    /// The next stream: the first `len` of `bytes`.
    pub(super) fn put(&mut self, bytes: Vec<u8>, len: usize, content: Content) {
        self.total += len;
        self.streams.push(Stream { bytes, len, content });
    }

    /// Puts text in the place of the first stream, which was empty.
    pub(super) fn put_first(&mut self, bytes: Vec<u8>) {
        if let Some(first) = self.streams.first_mut() {
            self.total += bytes.len();
            *first = Stream { len: bytes.len(), bytes, content: Content::Text };
        }
    }

    /// Lays all down behind the description; false where they are longer or more than a reader takes.
    pub(super) fn finish(
        &mut self,
        head: &[u8],
        plain_bytes: usize,
        level: i32,
        out: &mut Vec<u8>,
    ) -> Result<bool, NotCompressed> {
        if self.streams.len() > streams_max(plain_bytes)
            || self.total + head.len() > stream_bytes_max(plain_bytes)
        {
            return Ok(false);
        }
        let context = self.context.get_or_insert_with(CCtx::create);
        let failed = |code| NotCompressed { reason: get_error_name(code) };
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(failed)?;
        let (small, body) = (&mut self.small, &mut self.body);
        small.clear();
        put_varint(small, head.len() as u64);
        small.extend_from_slice(head);
        let mut table = Vec::new();
        let mut body_len = 0;
        for stream in &self.streams {
            let bytes = stream.bytes.get(..stream.len).unwrap_or_default();
            let len = (stream.len as u64) << 2;
            if stream.len < SMALL_BYTES {
                put_varint(&mut table, len | how::SMALL);
                small.extend_from_slice(bytes);
                continue;
            }
            let most = body_len + compress_bound(stream.len);
            if body.len() < most {
                body.resize(most, 0);
            }
            let place = body.get_mut(body_len..).unwrap_or_default();
            if stream.content == Content::Text || !is_random(bytes) {
                let made = context.compress2(place, bytes).map_err(failed)?;
                if made + 16 < stream.len {
                    put_varint(&mut table, len | how::ZSTD);
                    put_varint(&mut table, made as u64);
                    body_len += made;
                    continue;
                }
            }
            put_varint(&mut table, len | how::STORED);
            place.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            body_len += stream.len;
        }
        let mut frame = Vec::with_capacity(compress_bound(small.len()));
        context.compress2(&mut frame, small).map_err(failed)?;
        put_varint(out, small.len() as u64);
        put_varint(out, frame.len() as u64);
        put_varint(out, self.streams.len() as u64);
        out.extend_from_slice(&table);
        out.extend_from_slice(&frame);
        out.extend_from_slice(body.get(..body_len).unwrap_or_default());
        Ok(true)
    }
}

/// Whether a sample has next to as many different bytes as chance gives: storing them is as good, and quicker.
fn is_random(bytes: &[u8]) -> bool {
    let step = (bytes.len() / 1024).max(1);
    let mut counts = [0u32; 256];
    let mut sampled = 0u32;
    for byte in bytes.iter().step_by(step) {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
        sampled += 1;
    }
    let pairs: u64 = counts.iter().map(|count| u64::from(count * count)).sum();
    let sampled = u64::from(sampled);
    let by_chance = sampled * sampled / 256 + sampled;
    pairs < by_chance + by_chance / 10
}

/// Where a stream lies in the arena.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(super) fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    pub(super) fn of(self, arena: &[u8]) -> &[u8] {
        arena.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

#[derive(Clone, Copy)]
enum Place {
    Small,
    Stored,
    Zstd { bytes: u32 },
}

/// The streams of a stored block; each is unpacked when it is asked for.
#[derive(Default)]
pub(super) struct StoredStreams {
    context: Option<DCtx<'static>>,
    table: Vec<(u32, Place)>,
    next: usize,
    /// The description and the small streams, then what was unpacked.
    arena: Vec<u8>,
    arena_end: usize,
    small_at: usize,
    small_end: usize,
    body_at: usize,
}

impl StoredStreams {
    /// Reads the table and unpacks the description; answers where that lies in the arena.
    pub(super) fn begin(&mut self, stored: &[u8], plain_bytes: usize) -> Result<Span, Malformed> {
        let mut cursor = Cursor::new(stored);
        let bytes_max = stream_bytes_max(plain_bytes);
        let small_bytes = cursor.count(bytes_max)?;
        let frame_bytes = cursor.count(stored.len())?;
        let count = cursor.count(streams_max(plain_bytes))?;
        self.table.clear();
        self.table.reserve(count);
        let mut total = small_bytes;
        for _ in 0..count {
            let entry = cursor.varint()?;
            let len = usize::try_from(entry >> 2).ok().filter(|len| *len <= bytes_max);
            let len = len.ok_or(malformed("a stream too long"))?;
            let place = match entry & 3 {
                how::SMALL => Place::Small,
                how::STORED => Place::Stored,
                how::ZSTD => Place::Zstd { bytes: cursor.count(stored.len())? as u32 },
                _ => return Err(malformed("a stream stored in an unknown way")),
            };
            if !matches!(place, Place::Small) {
                total += len;
            }
            self.table.push((len as u32, place));
        }
        if total > bytes_max {
            return Err(malformed("streams too long"));
        }
        let frame = cursor.take(frame_bytes)?;
        self.body_at = cursor.at;
        (self.next, self.arena_end) = (0, 0);
        let small = self.unpack(frame, small_bytes)?;
        let mut head = Cursor::new(small.of(&self.arena));
        let head_bytes = head.count(small_bytes)?;
        head.take(head_bytes)?;
        let start = head.at - head_bytes;
        (self.small_at, self.small_end) = (head.at, small_bytes);
        Ok(Span { start: start as u32, end: head.at as u32 })
    }

    fn room_for(&mut self, len: usize) -> Result<Span, Malformed> {
        let (start, end) = (self.arena_end, self.arena_end + len);
        if self.arena.len() < end + ARENA_ROOM {
            self.arena.resize(end + ARENA_ROOM, 0);
        }
        self.arena_end = end;
        Ok(Span { start: start as u32, end: end as u32 })
    }

    /// Unpacks one frame into the arena.
    fn unpack(&mut self, frame: &[u8], len: usize) -> Result<Span, Malformed> {
        let span = self.room_for(len)?;
        let context = self.context.get_or_insert_with(DCtx::create);
        let place = self.arena.get_mut(span.start as usize..span.end as usize).unwrap_or_default();
        match context.decompress(place, frame) {
            Ok(made) if made == len => Ok(span),
            Ok(_) => Err(malformed("a stream of another length")),
            Err(code) => Err(Malformed { reason: get_error_name(code) }),
        }
    }

    /// The next stream.
    pub(super) fn take(&mut self, stored: &[u8]) -> Result<Span, Malformed> {
        let (len, place) = *self.table.get(self.next).ok_or(malformed("too few streams"))?;
        self.next += 1;
        let len = len as usize;
        match place {
            Place::Small => {
                let start = self.small_at;
                let end = start + len;
                if end > self.small_end {
                    return Err(malformed("small streams longer than their frame"));
                }
                self.small_at = end;
                Ok(Span { start: start as u32, end: end as u32 })
            }
            Place::Stored => {
                let from =
                    stored.get(self.body_at..self.body_at + len).ok_or(malformed("it ends too early"))?;
                self.body_at += len;
                let span = self.room_for(len)?;
                let place = self.arena.get_mut(span.start as usize..span.end as usize).unwrap_or_default();
                place.copy_from_slice(from);
                Ok(span)
            }
            Place::Zstd { bytes } => {
                let end = self.body_at + bytes as usize;
                let frame = stored.get(self.body_at..end).ok_or(malformed("it ends too early"))?;
                self.body_at = end;
                self.unpack(frame, len)
            }
        }
    }

    /// The next stream, which must have exactly `len` bytes.
    pub(super) fn take_exactly(&mut self, stored: &[u8], len: usize) -> Result<Span, Malformed> {
        let span = self.take(stored)?;
        if span.len() != len {
            return Err(malformed("a stream of another length than its column"));
        }
        Ok(span)
    }

    /// Where spans lie.
    pub(super) fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// Where streams unpacked from now on begin.
    pub(super) fn watermark(&self) -> usize {
        self.arena_end
    }

    /// Forgets streams unpacked since `watermark`.
    pub(super) fn forget_from(&mut self, watermark: usize) {
        self.arena_end = watermark;
    }

    /// Checks that everything was used.
    pub(super) fn finish(&self, stored: &[u8]) -> Result<(), Malformed> {
        let is_done =
            self.next == self.table.len() && self.small_at == self.small_end && self.body_at == stored.len();
        if is_done { Ok(()) } else { Err(malformed("bytes that no column uses")) }
    }

    /// Memory that is held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.arena.capacity() + self.table.capacity() * size_of::<(u32, Place)>()
    }
}
