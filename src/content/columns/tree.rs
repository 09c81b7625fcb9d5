//! A column that is read back, value by value: a tree of what its description says, each node with its place in its
//! streams.

use super::output::Output;
use super::shape::NULL;
use super::streams::{Span, StoredStreams};
use super::value::{DAY_MICROS, DAYS, TENS};
use super::{Cursor, DEPTH_MAX, Malformed, PARTS_MAX, WORDS_MAX, malformed, mode, tag, unzigzag};

/// Reads the descriptions of a run's columns.
pub(super) struct Planter<'a, 's> {
    /// The description.
    pub cursor: Cursor<'a>,
    /// The whole stored block.
    pub stored: &'a [u8],
    pub streams: &'s mut StoredStreams,
    /// Where the description begins in the arena.
    pub head_start: u32,
    /// Nodes that may still come.
    pub nodes_left: usize,
}

/// A column, or a part of one.
pub(super) enum Node {
    Same(Span),
    Special { is_null: bool, bits: Span, row: u32, inner: Option<Box<Node>> },
    Int(Box<Ints>),
    Decimal(Box<Ints>, u8),
    Date(Box<Ints>),
    Time(Box<Ints>, Span),
    Padded(Box<Ints>, u8),
    Uuid(Span),
    Words(Box<Words>),
    Affix(Span, Span, Box<Node>),
    Hex(Box<Ints>, Span),
    Parts(Box<Parts>),
    Text(Span),
}

/// A dictionary.
pub(super) struct Words {
    text: Span,
    /// Where each word's line ends, its end of line included.
    ends: Box<[u32]>,
    numbers: Span,
}

/// Parts between delimiters.
pub(super) struct Parts {
    delimiter: u8,
    columns: Box<[Node]>,
    odd: Option<(Span, Span)>,
    row: u32,
}

/// Integers.
pub(super) struct Ints {
    mode: u8,
    width: u8,
    factor: u64,
    base: i64,
    /// The sum of differences; the row of a series.
    state: u64,
    /// Where the next byte of each plane lies, the highest first.
    planes: [u32; 8],
}

impl Ints {
    #[inline(always)]
    fn next(&mut self, arena: &[u8]) -> Result<i64, Malformed> {
        let mut word = 0u64;
        for plane in self.planes.iter_mut().take(usize::from(self.width)) {
            let byte = *arena.get(*plane as usize).ok_or(malformed("a column shorter than its run"))?;
            *plane += 1;
            word = word << 8 | u64::from(byte);
        }
        let times = match self.mode {
            mode::OFFSETS => word,
            mode::DELTAS => {
                self.state = self.state.wrapping_add(unzigzag(word) as u64);
                self.state
            }
            _ => {
                let times = self.state;
                self.state = times.wrapping_add(1);
                times
            }
        };
        Ok(self.base.wrapping_add(self.factor.wrapping_mul(times) as i64))
    }
}

impl Planter<'_, '_> {
    /// Where the next `len` bytes of the description lie in the arena.
    fn literal(&mut self) -> Result<Span, Malformed> {
        let len = self.cursor.count(self.cursor.bytes.len())?;
        self.literal_of(len)
    }

    fn literal_of(&mut self, len: usize) -> Result<Span, Malformed> {
        let start = self.head_start + self.cursor.at as u32;
        self.cursor.take(len)?;
        Ok(Span { start, end: start + len as u32 })
    }

    /// A column of `rows` values, at least one.
    pub(super) fn node(&mut self, rows: usize, depth: usize) -> Result<Node, Malformed> {
        if depth > DEPTH_MAX {
            return Err(malformed("columns too deep"));
        }
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(malformed("too many columns"))?;
        Ok(match self.cursor.byte()? {
            tag::SAME => Node::Same(self.literal()?),
            tag::SPECIAL => {
                let is_null = self.cursor.byte()? == 1;
                let rest = self.cursor.count(rows)?;
                let bits = self.bits(rows, rows - rest)?;
                let inner = if rest == 0 { None } else { Some(Box::new(self.node(rest, depth + 1)?)) };
                Node::Special { is_null, bits, row: 0, inner }
            }
            tag::INT => Node::Int(self.ints(rows)?),
            tag::DECIMAL => {
                let scale = self.digits(12)?;
                Node::Decimal(self.ints(rows)?, scale)
            }
            tag::DATE => Node::Date(self.ints(rows)?),
            tag::TIME => {
                let len = self.cursor.byte()?;
                let suffix = self.literal_of(usize::from(len))?;
                Node::Time(self.ints(rows)?, suffix)
            }
            tag::PADDED => {
                let width = self.digits(18)?;
                Node::Padded(self.ints(rows)?, width)
            }
            tag::UUID => Node::Uuid(self.streams.take_exactly(self.stored, rows * 16)?),
            tag::WORDS => Node::Words(self.words(rows)?),
            tag::AFFIX => {
                let (before, behind) = (self.literal()?, self.literal()?);
                Node::Affix(before, behind, Box::new(self.node(rows, depth + 1)?))
            }
            tag::HEX => {
                let lens = self.ints(rows)?;
                Node::Hex(lens, self.streams.take(self.stored)?)
            }
            tag::PARTS => Node::Parts(self.parts(rows, depth)?),
            tag::TEXT => Node::Text(self.streams.take(self.stored)?),
            _ => return Err(malformed("a column of an unknown kind")),
        })
    }

    /// A bit for each row, so many of them set.
    fn bits(&mut self, rows: usize, set: usize) -> Result<Span, Malformed> {
        let bits = self.streams.take_exactly(self.stored, rows.div_ceil(8))?;
        let ones: u32 = bits.of(self.streams.arena()).iter().map(|byte| byte.count_ones()).sum();
        if ones as usize == set { Ok(bits) } else { Err(malformed("bits that do not fit their column")) }
    }

    fn digits(&mut self, max: u8) -> Result<u8, Malformed> {
        let digits = self.cursor.byte()?;
        if (1..=max).contains(&digits) { Ok(digits) } else { Err(malformed("an invalid number of digits")) }
    }

    fn ints(&mut self, rows: usize) -> Result<Box<Ints>, Malformed> {
        let mode = self.cursor.byte()?;
        let mut ints = Ints { mode, width: 0, factor: 0, base: 0, state: 0, planes: [0; 8] };
        match mode {
            mode::SERIES => {
                ints.base = self.cursor.signed()?;
                ints.factor = self.cursor.signed()? as u64;
            }
            mode::OFFSETS | mode::DELTAS => {
                ints.width = self.cursor.byte()?;
                ints.base = self.cursor.signed()?;
                ints.factor = self.cursor.varint()?;
                let planes = ints.planes.get_mut(..usize::from(ints.width));
                for plane in planes.ok_or(malformed("integers too wide"))? {
                    *plane = self.streams.take_exactly(self.stored, rows)?.start;
                }
            }
            _ => return Err(malformed("integers stored in an unknown way")),
        }
        Ok(Box::new(ints))
    }

    fn words(&mut self, rows: usize) -> Result<Box<Words>, Malformed> {
        let count = usize::from(self.cursor.byte()?);
        if count == 0 || count > WORDS_MAX || count * 2 >= rows {
            return Err(malformed("a dictionary of an invalid length"));
        }
        let text = self.streams.take(self.stored)?;
        let ends = memchr::memchr_iter(b'\n', text.of(self.streams.arena()));
        let mut ends: Vec<u32> = ends.map(|end| end as u32 + 1).take(count).collect();
        ends.shrink_to_fit();
        if ends.len() != count || ends.last() != Some(&(text.end - text.start)) {
            return Err(malformed("a dictionary that does not fit its text"));
        }
        let numbers = self.streams.take_exactly(self.stored, rows)?;
        Ok(Box::new(Words { text, ends: ends.into_boxed_slice(), numbers }))
    }

    fn parts(&mut self, rows: usize, depth: usize) -> Result<Box<Parts>, Malformed> {
        let (delimiter, count) = (self.cursor.byte()?, usize::from(self.cursor.byte()?));
        let odd_rows = self.cursor.count(rows)?;
        if !(2..=PARTS_MAX).contains(&count) || odd_rows == rows {
            return Err(malformed("an invalid number of parts"));
        }
        let odd = match odd_rows {
            0 => None,
            _ => {
                let bits = self.bits(rows, odd_rows)?;
                Some((bits, self.streams.take(self.stored)?))
            }
        };
        let columns = (0..count).map(|_| self.node(rows - odd_rows, depth + 1)).collect::<Result<_, _>>()?;
        Ok(Box::new(Parts { delimiter, columns, odd, row: 0 }))
    }
}

/// Whether the bit of `row` is set; the number of the row goes up.
#[inline(always)]
fn next_bit(arena: &[u8], bits: Span, row: &mut u32) -> Result<bool, Malformed> {
    let byte =
        arena.get((bits.start + *row / 8) as usize).ok_or(malformed("a column shorter than its run"))?;
    let bit = byte >> (*row % 8) & 1;
    *row += 1;
    Ok(bit == 1)
}

#[inline(always)]
fn literal(out: &mut Output<'_>, arena: &[u8], span: Span) -> Result<(), Malformed> {
    out.copy(arena, span.start as usize, span.len())
}

#[inline(always)]
fn line(out: &mut Output<'_>, arena: &[u8], text: &mut Span) -> Result<(), Malformed> {
    text.start = out.line(arena, text.start as usize, text.end as usize)? as u32;
    Ok(())
}

#[inline(always)]
fn sign(out: &mut Output<'_>, value: i64) -> Result<u64, Malformed> {
    if value < 0 {
        out.byte(b'-')?;
    }
    Ok(value.unsigned_abs())
}

/// Of a date or a time, which lies in the range that can be written.
fn in_range(value: i64) -> Result<u32, Malformed> {
    let day = Some(value).filter(|day| DAYS.contains(day)).and_then(|day| u32::try_from(day).ok());
    day.ok_or(malformed("a date outside the years 1 to 9999"))
}

impl Node {
    /// Whether, after the last row, nothing is left of text and digits; all else has the length of its rows.
    pub(super) fn is_used_up(&self) -> bool {
        let is_at_end = |text: &Span| text.start == text.end;
        match self {
            Self::Text(text) | Self::Hex(_, text) => is_at_end(text),
            Self::Special { inner: Some(inner), .. } | Self::Affix(_, _, inner) => inner.is_used_up(),
            Self::Parts(parts) => {
                parts.odd.as_ref().is_none_or(|(_, text)| is_at_end(text))
                    && parts.columns.iter().all(Self::is_used_up)
            }
            _ => true,
        }
    }

    /// Writes the next value.
    pub(super) fn write(&mut self, arena: &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
        match self {
            Self::Same(value) => literal(out, arena, *value),
            Self::Int(ints) => {
                let value = sign(out, ints.next(arena)?)?;
                out.number(value)
            }
            Self::Text(text) => line(out, arena, text),
            Self::Words(words) => words.write(arena, out),
            Self::Special { is_null, bits, row, inner } => match (next_bit(arena, *bits, row)?, inner) {
                (true, _) if *is_null => out.copy(NULL, 0, NULL.len()),
                (true, _) => Ok(()),
                (false, Some(inner)) => inner.write(arena, out),
                (false, None) => Err(malformed("more values than the column has")),
            },
            Self::Affix(before, behind, inner) => {
                literal(out, arena, *before)?;
                inner.write(arena, out)?;
                literal(out, arena, *behind)
            }
            Self::Parts(parts) => parts.write(arena, out),
            Self::Decimal(ints, scale) => {
                let value = sign(out, ints.next(arena)?)?;
                let one = TENS.get(usize::from(*scale)).copied().unwrap_or(1) as u64;
                out.number(value / one)?;
                out.byte(b'.')?;
                out.padded(value % one, usize::from(*scale))
            }
            Self::Date(ints) => out.date(in_range(ints.next(arena)?)?),
            Self::Time(ints, suffix) => {
                let micros = ints.next(arena)?;
                out.date(in_range(micros.div_euclid(DAY_MICROS))?)?;
                out.clock(micros.rem_euclid(DAY_MICROS) as u64)?;
                literal(out, arena, *suffix)
            }
            Self::Padded(ints, width) => {
                let value = ints.next(arena)?;
                if TENS.get(usize::from(*width)).is_none_or(|end| !(0..*end).contains(&value)) {
                    return Err(malformed("a number of too many digits"));
                }
                let value = value as u64;
                out.padded(value, usize::from(*width))
            }
            Self::Uuid(bytes) => {
                let own = arena.get(bytes.start as usize..).and_then(|it| it.first_chunk::<16>());
                let own = own.ok_or(malformed("a column shorter than its run"))?;
                bytes.start += 16;
                out.uuid(own)
            }
            Self::Hex(lens, bytes) => {
                let len = usize::try_from(lens.next(arena)?).unwrap_or(usize::MAX);
                let own = bytes.of(arena).get(..len.div_ceil(2));
                let own = own.ok_or(malformed("a column shorter than its run"))?;
                bytes.start += own.len() as u32;
                match own.split_last() {
                    Some((last, pairs)) if len % 2 == 1 => {
                        out.hex(pairs)?;
                        out.nibble(*last)
                    }
                    _ => out.hex(own),
                }
            }
        }
    }
}

impl Words {
    #[inline(always)]
    fn write(&mut self, arena: &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
        let number =
            *arena.get(self.numbers.start as usize).ok_or(malformed("a column shorter than its run"))?;
        self.numbers.start += 1;
        let number = usize::from(number);
        let end = *self.ends.get(number).ok_or(malformed("a word that the dictionary does not have"))?;
        let start = match number.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or_default(),
            None => 0,
        };
        out.copy(arena, (self.text.start + start) as usize, (end - start - 1) as usize)
    }
}

impl Parts {
    fn write(&mut self, arena: &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
        if let Some((bits, text)) = &mut self.odd
            && next_bit(arena, *bits, &mut self.row)?
        {
            return line(out, arena, text);
        }
        let mut columns = self.columns.iter_mut();
        if let Some(first) = columns.next() {
            first.write(arena, out)?;
        }
        columns.try_for_each(|column| {
            out.byte(self.delimiter)?;
            column.write(arena, out)
        })
    }
}
