//! What a column is, and how it is laid down: its type, its dictionary, its common ends, its parts.

use super::output::{Output, ROOM};
use super::plan::Plan;
use super::streams::{Content, Streams};
use super::value::{self, Field, each_of};
use super::{DEPTH_MAX, PARTS_MAX, WORDS_MAX, ints, put_varint, tag};

/// Dictionaries and parts are looked for in columns of at least so many values.
const WORDS_FROM: usize = 16;
const PARTS_FROM: usize = 32;
/// Columns deeper than this are text, so that each shape that may follow still fits a reader's limit.
const DEPTH_LOOKED_AT: usize = DEPTH_MAX - 4;
/// Values in which a delimiter is looked for.
const SAMPLED: usize = 48;
/// Longer values are text.
const PARTED_BYTES_MAX: usize = 4096;
const DELIMITERS: &[u8; 14] = b"\",:;|/-.@_= +~";
/// Places of the dictionary's hash table.
const PLACES: usize = 1024;

/// A value that stands for none.
pub(super) const NULL: &[u8] = b"\\N";

/// Lays columns of one block down.
pub(super) struct Columns<'a> {
    pub plain: &'a [u8],
    pub head: &'a mut Vec<u8>,
    pub streams: &'a mut Streams,
    pub scratch: &'a mut Scratch,
    /// Nodes so far.
    pub nodes: usize,
}

/// Memory used again for each column.
#[derive(Default)]
pub(super) struct Scratch {
    values: Vec<i64>,
    offsets: Vec<u64>,
    fields: Vec<Vec<Field>>,
}

impl Scratch {
    fn fields(&mut self) -> Vec<Field> {
        let mut fields = self.fields.pop().unwrap_or_default();
        fields.clear();
        fields
    }
}

impl Columns<'_> {
    /// Lays one column down, of at least one value.
    pub(super) fn column(&mut self, fields: &[Field], plan: &mut Plan, depth: usize) {
        self.nodes += 1;
        let guessed = match plan.guess() {
            Some(tag) if depth < DEPTH_LOOKED_AT => self.as_before(tag, fields, plan, depth),
            _ => false,
        };
        if !guessed {
            self.anew(fields, plan, depth);
        }
    }

    fn as_before(&mut self, tag: u8, fields: &[Field], plan: &mut Plan, depth: usize) -> bool {
        let detail = plan.detail;
        match tag {
            tag::SAME => self.same(fields),
            tag::SPECIAL => self.special(fields, detail, plan, depth),
            tag::UUID => self.uuid(fields),
            tag::WORDS => self.words(fields),
            tag::AFFIX => self.affix(fields, plan, depth),
            tag::HEX => self.hex(fields),
            tag::PARTS => self.parts(fields, (detail, plan.parts), plan, depth),
            tag::TEXT => {
                self.text_column(fields);
                true
            }
            _ => self.typed(fields, tag, detail),
        }
    }

    fn anew(&mut self, fields: &[Field], plan: &mut Plan, depth: usize) {
        if depth >= DEPTH_LOOKED_AT {
            return self.text_column(fields);
        }
        if self.same(fields) {
            return plan.keep(tag::SAME, 0, 0);
        }
        let empty = fields.iter().filter(|field| field.len() == 0).count();
        let null = fields.iter().filter(|field| field.len() == 2 && field.of(self.plain) == NULL).count();
        if empty + null > 0 {
            let word = u8::from(null >= empty);
            plan.keep(tag::SPECIAL, word, 0);
            self.special(fields, word, plan, depth);
            return;
        }
        let first = fields.first().map(|field| field.of(self.plain)).unwrap_or_default();
        for (tag, detail) in candidates(first).into_iter().flatten() {
            if self.typed(fields, tag, detail) {
                return plan.keep(tag, detail, 0);
            }
        }
        if self.uuid(fields) {
            return plan.keep(tag::UUID, 0, 0);
        }
        if self.words(fields) {
            return plan.keep(tag::WORDS, 0, 0);
        }
        if self.affix(fields, plan, depth) {
            return;
        }
        if self.hex(fields) {
            return plan.keep(tag::HEX, 0, 0);
        }
        if let Some((delimiter, parts)) = self.delimiter(fields)
            && self.parts(fields, (delimiter, parts), plan, depth)
        {
            return;
        }
        plan.keep(tag::TEXT, 0, 0);
        self.text_column(fields);
    }

    /// All values the same.
    fn same(&mut self, fields: &[Field]) -> bool {
        let plain = self.plain;
        let first = fields.first().map(|field| field.of(plain)).unwrap_or_default();
        if fields.iter().any(|field| field.len() != first.len() || field.of(plain) != first) {
            return false;
        }
        self.head.push(tag::SAME);
        put_varint(self.head, first.len() as u64);
        self.head.extend_from_slice(first);
        true
    }

    /// Which values are none (or empty), and the others.
    fn special(&mut self, fields: &[Field], word: u8, plan: &mut Plan, depth: usize) -> bool {
        let special: &[u8] = if word == 1 { NULL } else { b"" };
        let (plain, len) = (self.plain, fields.len().div_ceil(8));
        let mut rest = self.scratch.fields();
        let mut bits = self.streams.buffer(len);
        for (to, eight) in bits.iter_mut().zip(fields.chunks(8)) {
            *to = 0;
            for (at, field) in eight.iter().enumerate() {
                if field.len() == special.len() && field.of(plain) == special {
                    *to |= 1 << at;
                } else {
                    rest.push(*field);
                }
            }
        }
        let found = rest.len() < fields.len();
        if found {
            self.head.extend_from_slice(&[tag::SPECIAL, word]);
            put_varint(self.head, rest.len() as u64);
            self.streams.put(bits, len, Content::Binary);
            if !rest.is_empty()
                && let Some(inner) = plan.part(0)
            {
                self.column(&rest, inner, depth + 1);
            }
        } else {
            self.streams.give_back(bits);
        }
        self.scratch.fields.push(rest);
        found
    }

    /// All values of a type that is written in one way.
    fn typed(&mut self, fields: &[Field], tag: u8, detail: u8) -> bool {
        let plain = self.plain;
        let mut values = std::mem::take(&mut self.scratch.values);
        let scale = usize::from(detail);
        let suffix = match fields.first() {
            Some(first) if tag == tag::TIME => zone(first.of(plain)),
            _ => &[],
        };
        let is_all = match tag {
            tag::INT => parse(fields, &mut values, |field| value::int(plain, field)),
            tag::DECIMAL => parse(fields, &mut values, |field| value::decimal(plain, field, scale)),
            tag::DATE => parse(fields, &mut values, |field| value::date(field.of(plain))),
            tag::TIME => parse(fields, &mut values, |field| value::time(field.of(plain), suffix)),
            tag::PADDED => {
                let own = |field: Field| (field.len() == scale).then(|| value::digits(plain, field))?;
                parse(fields, &mut values, own)
            }
            _ => false,
        };
        let before = self.head.len();
        if is_all {
            self.head.push(tag);
            match tag {
                tag::DECIMAL | tag::PADDED => self.head.push(detail),
                tag::TIME => {
                    self.head.push(suffix.len() as u8);
                    self.head.extend_from_slice(suffix);
                }
                _ => {}
            }
        }
        let bytes_max = fields.iter().map(|field| field.len() + 1).sum();
        let is_put =
            is_all && ints::put(&values, &mut self.scratch.offsets, bytes_max, self.head, self.streams);
        if !is_put {
            self.head.truncate(before);
        }
        self.scratch.values = values;
        is_put
    }

    fn uuid(&mut self, fields: &[Field]) -> bool {
        if fields.first().is_none_or(|first| first.len() != 36) {
            return false;
        }
        let len = fields.len() * 16;
        let mut bytes = self.streams.buffer(len);
        let (places, _) = bytes.as_chunks_mut::<16>();
        let is_all = places.iter_mut().zip(fields).all(|(to, field)| {
            let own = value::uuid(field.of(self.plain));
            *to = own.unwrap_or_default();
            own.is_some()
        });
        if is_all {
            self.streams.put(bytes, len, Content::Binary);
            self.head.push(tag::UUID);
        } else {
            self.streams.give_back(bytes);
        }
        is_all
    }

    /// Few different values, each a number.
    fn words(&mut self, fields: &[Field]) -> bool {
        if fields.len() < WORDS_FROM {
            return false;
        }
        let mut numbers = self.streams.buffer(fields.len());
        let words = find_words(self.plain, fields, &mut numbers);
        let Some(words) = words.filter(|words| words.len() * 2 < fields.len()) else {
            self.streams.give_back(numbers);
            return false;
        };
        self.head.extend_from_slice(&[tag::WORDS, words.len() as u8]);
        self.text(&words);
        self.streams.put(numbers, fields.len(), Content::Binary);
        true
    }

    /// The same bytes in front, or behind.
    fn affix(&mut self, fields: &[Field], plan: &mut Plan, depth: usize) -> bool {
        let (before, behind) = common_ends(self.plain, fields);
        if before + behind == 0 {
            return false;
        }
        let first = fields.first().map(|field| field.of(self.plain)).unwrap_or_default();
        self.head.push(tag::AFFIX);
        for end in [first.get(..before), first.get(first.len() - behind..)] {
            let end = end.unwrap_or_default();
            put_varint(self.head, end.len() as u64);
            self.head.extend_from_slice(end);
        }
        let mut rest = self.scratch.fields();
        let (before, behind) = (before as u32, behind as u32);
        rest.extend(fields.iter().map(|it| Field { start: it.start + before, end: it.end - behind }));
        plan.keep(tag::AFFIX, 0, 0);
        if let Some(inner) = plan.part(0) {
            self.column(&rest, inner, depth + 1);
        }
        self.scratch.fields.push(rest);
        true
    }

    /// Hexadecimal digits.
    fn hex(&mut self, fields: &[Field]) -> bool {
        let plain = self.plain;
        let mut bytes = self.streams.buffer(0);
        bytes.clear();
        let is_long = fields.iter().take(8).all(|field| field.len() >= 4);
        let is_all = is_long && fields.iter().all(|field| value::hex(field.of(plain), &mut bytes));
        let before = self.head.len();
        if is_all {
            let mut lens = std::mem::take(&mut self.scratch.values);
            lens.clear();
            lens.extend(fields.iter().map(|field| field.len() as i64));
            self.head.push(tag::HEX);
            let is_put = ints::put(&lens, &mut self.scratch.offsets, usize::MAX, self.head, self.streams);
            self.scratch.values = lens;
            if is_put {
                let len = bytes.len();
                self.streams.put(bytes, len, Content::Binary);
                return true;
            }
        }
        self.head.truncate(before);
        self.streams.give_back(bytes);
        false
    }

    /// The delimiter that nearly all sampled values have equally often, and the number of parts.
    fn delimiter(&self, fields: &[Field]) -> Option<(u8, u8)> {
        let bytes: usize = fields.iter().map(|field| field.len()).sum();
        if fields.len() < PARTS_FROM || bytes / fields.len() > PARTED_BYTES_MAX {
            return None;
        }
        let sampled = fields.len().min(SAMPLED);
        let step = fields.len() / sampled;
        DELIMITERS.iter().find_map(|delimiter| {
            let mut counts = [0usize; PARTS_MAX];
            for field in fields.iter().step_by(step).take(sampled) {
                let count = field.of(self.plain).iter().filter(|byte| *byte == delimiter).count();
                if let Some(count) = counts.get_mut(count) {
                    *count += 1;
                }
            }
            let most = counts.iter().enumerate().skip(1).max_by_key(|(_, rows)| **rows);
            let (count, _) = most.filter(|(_, rows)| **rows * 10 >= sampled * 9)?;
            Some((*delimiter, count as u8 + 1))
        })
    }

    /// Parts between delimiters, each a column; values with another number of parts are text.
    fn parts(
        &mut self,
        fields: &[Field],
        (delimiter, count): (u8, u8),
        plan: &mut Plan,
        depth: usize,
    ) -> bool {
        let plain = self.plain;
        let mut odd = self.scratch.fields();
        let mut columns: Vec<Vec<Field>> = (0..count).map(|_| self.scratch.fields()).collect();
        let len = fields.len().div_ceil(8);
        let mut bits = self.streams.buffer(len);
        let mut ends = [0u32; PARTS_MAX];
        for (to, eight) in bits.iter_mut().zip(fields.chunks(8)) {
            *to = 0;
            for (at, field) in eight.iter().enumerate() {
                let mut found = 0;
                each_of(field.of(plain), delimiter, |end| {
                    if let Some(place) = ends.get_mut(found) {
                        *place = field.start + end;
                    }
                    found += 1;
                });
                if found + 1 != usize::from(count) {
                    odd.push(*field);
                    *to |= 1 << at;
                    continue;
                }
                if let Some(last) = ends.get_mut(found) {
                    *last = field.end;
                }
                let mut start = field.start;
                for (column, end) in columns.iter_mut().zip(&ends) {
                    column.push(Field { start, end: *end });
                    start = end + 1;
                }
            }
        }
        let fits = odd.len() * 4 <= fields.len();
        if fits {
            self.head.extend_from_slice(&[tag::PARTS, delimiter, count]);
            put_varint(self.head, odd.len() as u64);
            if odd.is_empty() {
                self.streams.give_back(bits);
            } else {
                self.streams.put(bits, len, Content::Binary);
                self.text(&odd);
            }
            plan.keep(tag::PARTS, delimiter, count);
            for (number, column) in columns.iter().enumerate() {
                if let Some(inner) = plan.part(number) {
                    self.column(column, inner, depth + 1);
                }
            }
        } else {
            self.streams.give_back(bits);
        }
        self.scratch.fields.push(odd);
        self.scratch.fields.append(&mut columns);
        fits
    }

    fn text_column(&mut self, fields: &[Field]) {
        self.head.push(tag::TEXT);
        self.text(fields);
    }

    /// Values as lines.
    fn text(&mut self, fields: &[Field]) {
        let len: usize = fields.iter().map(|field| field.len() + 1).sum();
        let mut bytes = self.streams.buffer(len + ROOM);
        let mut out = Output::new(&mut bytes);
        for field in fields {
            // Safe to ignore because the buffer was made for exactly these.
            let _ = out.copy(self.plain, field.start as usize, field.len());
            let _ = out.byte(b'\n');
        }
        self.streams.put(bytes, len, Content::Text);
    }
}

fn parse(fields: &[Field], values: &mut Vec<i64>, one: impl Fn(Field) -> Option<i64>) -> bool {
    values.clear();
    values.resize(fields.len(), 0);
    for (to, field) in values.iter_mut().zip(fields) {
        match one(*field) {
            Some(value) => *to = value,
            None => return false,
        }
    }
    true
}

/// What stands behind the seconds of a time, beginning with its sign; nothing where there is none.
fn zone(text: &[u8]) -> &[u8] {
    let clock = text.get(19..).unwrap_or_default();
    let at = clock.iter().position(|byte| matches!(byte, b'+' | b'-'));
    at.and_then(|at| clock.get(at..)).filter(|zone| zone.len() <= 9).unwrap_or_default()
}

/// Types that the first value may be of, with what goes with them.
fn candidates(first: &[u8]) -> [Option<(u8, u8)>; 5] {
    let len = first.len();
    if !matches!(first, [b'0'..=b'9' | b'-', ..]) {
        return [None; 5];
    }
    let scale = memchr::memrchr(b'.', first).map(|point| len - point - 1);
    let decimal = scale.filter(|scale| (1..=12).contains(scale) && len <= 17);
    [
        (len <= 18 && scale.is_none()).then_some((tag::INT, 0)),
        decimal.map(|scale| (tag::DECIMAL, scale as u8)),
        (len == 10).then_some((tag::DATE, 0)),
        (len >= 19).then_some((tag::TIME, 0)),
        (2..=18).contains(&len).then_some((tag::PADDED, len as u8)),
    ]
}

fn hash(word: &[u8]) -> usize {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let start = (word.len() as u64).wrapping_mul(MIX);
    let all = match (word.first_chunk::<8>(), word.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let first = (start ^ u64::from_le_bytes(*first)).wrapping_mul(MIX);
            (first ^ first >> 29 ^ u64::from_le_bytes(*last)).wrapping_mul(MIX)
        }
        _ => word.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(MIX)),
    };
    (all >> 54) as usize
}

/// The different values of a column in the order in which they come, if they are few; the number of each value goes to
/// `numbers`.
fn find_words(plain: &[u8], fields: &[Field], numbers: &mut [u8]) -> Option<Vec<Field>> {
    let mut places = [0u8; PLACES];
    let mut words: Vec<Field> = Vec::new();
    for ((row, field), number) in fields.iter().enumerate().zip(numbers) {
        let word = field.of(plain);
        let mut at = hash(word);
        loop {
            let place = places.get_mut(at % PLACES)?;
            match (*place).checked_sub(1) {
                Some(found) if words.get(usize::from(found)).is_some_and(|it| it.of(plain) == word) => {
                    *number = found;
                    break;
                }
                Some(_) => at += 1,
                None => {
                    if words.len() >= WORDS_MAX || (row >= 256 && words.len() * 4 > row) {
                        return None;
                    }
                    *number = words.len() as u8;
                    words.push(*field);
                    *place = words.len() as u8;
                    break;
                }
            }
        }
    }
    Some(words)
}

/// How many bytes all values have in common in front and behind; the two do not overlap in any.
fn common_ends(plain: &[u8], fields: &[Field]) -> (usize, usize) {
    let first = fields.first().map(|field| field.of(plain)).unwrap_or_default();
    let (mut before, mut behind, mut least) = (first.len(), first.len(), first.len());
    for field in fields {
        let value = field.of(plain);
        least = least.min(value.len());
        let same = |(a, b): &(&u8, &u8)| a == b;
        before = first.iter().take(before).zip(value).take_while(same).count();
        behind = first.iter().rev().take(behind).zip(value.iter().rev()).take_while(same).count();
        if before + behind == 0 {
            return (0, 0);
        }
    }
    let before = before.min(least);
    (before, behind.min(least - before))
}
