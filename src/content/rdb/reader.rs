//! Reads the fields of a file that comes in pieces of any size.

use super::lzf::front_of;
use super::places::{Place, Places};
use super::record::{Capture, Record};
use super::steps::{Step, of_opcode, of_value, opcode, word_of};
use super::survey::{Key, Survey};

/// Magic and digits of the version.
const MAGIC_BYTES: usize = 9;
/// The first version with a checksum at the end.
const VERSION_WITH_SUM: u32 = 5;
const SUM_BYTES: usize = 8;
/// Of a key, and of what the file says of itself, so much is kept.
const KEPT_BYTES_MAX: u64 = 512;
/// The longest field that is looked at as a whole.
const FIELD_BYTES_MAX: usize = 16;

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    /// At its end mark. Whether its checksum fits is not said by this.
    Whole,
    /// The same, and other bytes follow from this place on.
    Followed(u64),
    /// Within this.
    Cut(&'static str),
    /// It makes no sense at this place.
    Damaged {
        /// What does not.
        what: &'static str,
        /// Offset in the file, in bytes.
        at: u64,
    },
    /// Something that is not known stands here: nothing can be said of what comes behind it.
    Unknown {
        /// Offset in the file, in bytes.
        at: u64,
    },
}

/// What a string is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Key,
    Name,
    Value,
}

/// What is to be read next.
#[derive(Debug, Clone, Copy)]
enum Task {
    Magic,
    Opcode,
    Step(Step),
    /// A string that is kept.
    Keep(Kept),
    /// A number that stands for one, of so many bytes.
    KeepNumber(Kept, usize),
    /// The lengths of one that is compressed.
    KeepCompressed(Kept),
    KeepCompressedRest(Kept, u64),
    /// So many bytes to keep, then so many to pass over.
    KeepBytes {
        what: Kept,
        keep: u64,
        pass: u64,
        compressed: bool,
    },
    Database,
    /// When the next key ends: seconds, or milliseconds.
    Ends(u64),
    KeyEnds(u8),
    FunctionEnds,
    Sum,
}

/// A length, or what stands in its place.
enum Length {
    Of(u64),
    /// A string in another form.
    Form(u8),
}

/// Follows a file in bounded memory, whatever its bytes are.
#[derive(Debug)]
pub struct Reader {
    /// The last is the next.
    tasks: Vec<Task>,
    held: [u8; FIELD_BYTES_MAX],
    held_bytes: usize,
    /// Bytes to pass over.
    pass: u64,
    offset: u64,
    database: u64,
    ends_ms: Option<u64>,
    /// Where the type of the value stands that passes.
    value_from: u64,
    /// Where the first opcode that belongs to the next key stands.
    key_from: Option<u64>,
    key: Vec<u8>,
    name: Vec<u8>,
    kept: Vec<u8>,
    ended: Option<Structure>,
    survey: Survey,
    capture: Option<Capture>,
    places: Option<Places>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            tasks: vec![Task::Magic],
            held: [0; FIELD_BYTES_MAX],
            held_bytes: 0,
            pass: 0,
            offset: 0,
            database: 0,
            ends_ms: None,
            value_from: 0,
            key_from: None,
            key: Vec::new(),
            name: Vec::new(),
            kept: Vec::new(),
            ended: None,
            survey: Survey::default(),
            capture: None,
            places: None,
        }
    }
}

impl Reader {
    /// A file from its first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same; every key is handed over with its value by [`Self::take_records`]. Of a value that is longer than
    /// `bytes_max` only that is said.
    pub fn with_records(bytes_max: usize) -> Self {
        Self { capture: Some(Capture::new(bytes_max)), ..Self::default() }
    }

    /// The same; where each key stands is told at the end.
    pub fn with_places() -> Self {
        Self { places: Some(Places::default()), ..Self::default() }
    }

    /// What has passed so far.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Keys that have passed.
    pub fn keys(&self) -> u64 {
        self.places.as_ref().map_or(0, |places| places.keys.len() as u64)
    }

    /// The end of the file: how it ended, and where its keys are.
    pub fn finish_places(mut self) -> (Structure, Survey, Places) {
        let places = self.places.take().unwrap_or_default();
        let (structure, survey) = self.finish();
        (structure, survey, places)
    }

    /// Keys and functions that ended within the bytes so far, in order.
    pub fn take_records(&mut self) -> Vec<Record> {
        self.capture.as_mut().map(Capture::take).unwrap_or_default()
    }

    /// Whether it goes on being understood.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            match self.ended {
                Some(Structure::Whole) => self.ended = Some(Structure::Followed(self.offset)),
                Some(_) => return,
                None if self.pass > 0 => {
                    let bytes = self.pass.min(input.len() as u64);
                    let (passed, rest) = input.split_at(bytes as usize);
                    self.capture(passed);
                    input = rest;
                    self.pass -= bytes;
                    self.offset += bytes;
                }
                None => self.go_on(&mut input),
            }
        }
    }

    /// Bytes that are held, for whatever reason.
    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        let strings = self.key.capacity() + self.name.capacity() + self.kept.capacity();
        strings + self.tasks.capacity() * size_of::<Task>()
    }

    /// The end of the file: how it ended, and what was in it.
    pub fn finish(mut self) -> (Structure, Survey) {
        // What needs no bytes is done: a key may have ended with the last of them.
        while self.pass == 0 && self.ended.is_none() {
            let Some(task) = self.tasks.pop() else { break };
            // Of a string that is kept some bytes are missing: doing it again would leave it as it is.
            if matches!(task, Task::KeepBytes { .. }) || self.carry_out(task, &mut &[][..]).is_none() {
                self.tasks.push(task);
                break;
            }
        }
        let inside = match self.tasks.last() {
            Some(Task::Magic) => "the header",
            Some(Task::Sum) => "the checksum",
            None | Some(Task::Opcode) if self.pass == 0 && self.key_from.is_none() => {
                "the data: the end mark is missing"
            }
            _ => "a value",
        };
        (self.ended.take().unwrap_or(Structure::Cut(inside)), self.survey)
    }

    /// Does the next task, or takes all of `input` for it.
    fn go_on(&mut self, input: &mut &[u8]) {
        let task = self.tasks.pop().unwrap_or(Task::Opcode);
        if self.carry_out(task, input).is_none() && self.ended.is_none() {
            // It needs more bytes than there are.
            self.tasks.push(task);
        }
    }

    fn carry_out(&mut self, task: Task, input: &mut &[u8]) -> Option<()> {
        match task {
            Task::Magic => self.magic(input),
            Task::Opcode => self.opcode(input),
            Task::Step(step) => self.step(step, input),
            Task::Keep(what) => self.keep(what, input),
            Task::KeepNumber(what, bytes) => self.keep_number(what, bytes, input),
            Task::KeepCompressed(what) => {
                let bytes = self.plain_length(input)?;
                self.tasks.push(Task::KeepCompressedRest(what, bytes));
                Some(())
            }
            Task::KeepCompressedRest(what, bytes) => {
                self.plain_length(input)?;
                self.keep_bytes(what, bytes, true);
                Some(())
            }
            Task::KeepBytes { what, keep, pass, compressed } => {
                self.take_kept(what, keep, pass, compressed, input);
                Some(())
            }
            Task::Database => {
                self.database = self.plain_length(input)?;
                self.key_from = None;
                Some(())
            }
            Task::Ends(unit_ms) => {
                let bytes = if unit_ms == 1 { 8 } else { 4 };
                let held = self.field(bytes, input)?;
                let little = held.get(..bytes)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                self.ends_ms = Some(little.saturating_mul(unit_ms));
                Some(())
            }
            Task::KeyEnds(kind) => {
                self.key_ends(kind);
                Some(())
            }
            Task::FunctionEnds => {
                self.end_capture(None, true);
                Some(())
            }
            Task::Sum => {
                self.field(SUM_BYTES, input)?;
                self.ended = Some(Structure::Whole);
                Some(())
            }
        }
    }

    /// So many bytes as one, once all are there.
    fn field(&mut self, bytes: usize, input: &mut &[u8]) -> Option<[u8; FIELD_BYTES_MAX]> {
        self.peek(bytes, input)?;
        self.held_bytes = 0;
        Some(self.held)
    }

    /// The same, and they are read again.
    fn peek(&mut self, bytes: usize, input: &mut &[u8]) -> Option<[u8; FIELD_BYTES_MAX]> {
        let missing = bytes.saturating_sub(self.held_bytes).min(input.len());
        let (taken, rest) = input.split_at(missing);
        let free = self.held.get_mut(self.held_bytes..self.held_bytes + missing)?;
        free.copy_from_slice(taken);
        self.capture(taken);
        self.held_bytes += missing;
        self.offset += missing as u64;
        *input = rest;
        (self.held_bytes >= bytes).then_some(self.held)
    }

    fn capture(&mut self, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.push(bytes);
        }
    }

    fn damaged(&mut self, what: &'static str) {
        self.ended = Some(Structure::Damaged { what, at: self.offset });
    }

    fn magic(&mut self, input: &mut &[u8]) -> Option<()> {
        let held = self.field(MAGIC_BYTES, input)?;
        let front = held.get(..MAGIC_BYTES)?;
        let (digits, is_valkey) = match (front.strip_prefix(b"REDIS"), front.strip_prefix(b"VALKEY")) {
            (Some(digits), _) => (digits, false),
            (_, Some(digits)) => (digits, true),
            _ => (&[][..], false),
        };
        let version = digits
            .iter()
            .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')));
        match version.filter(|_| !digits.is_empty()) {
            Some(version) => (self.survey.version, self.survey.is_valkey) = (version, is_valkey),
            None => self.damaged("the header"),
        }
        Some(())
    }

    fn opcode(&mut self, input: &mut &[u8]) -> Option<()> {
        let at = self.offset;
        let kind = *self.field(1, input)?.first()?;
        if let (Some(places), opcode::MODULE_AUX | opcode::SLOT_INFO | opcode::SLOT_IMPORT) =
            (&mut self.places, kind)
        {
            places.has_more = true;
        }
        // What is said before a key belongs to it.
        match kind {
            opcode::AUX
            | opcode::SIZES
            | opcode::DATABASE
            | opcode::FUNCTION
            | opcode::MODULE_AUX
            | opcode::SLOT_INFO
            | opcode::SLOT_IMPORT => {
                self.key_from = None;
            }
            _ => {
                self.key_from.get_or_insert(at);
            }
        }
        match kind {
            opcode::END if self.survey.is_valkey || self.survey.version >= VERSION_WITH_SUM => {
                self.tasks.push(Task::Sum);
            }
            opcode::END => self.ended = Some(Structure::Whole),
            opcode::AUX => self.tasks.extend([Task::Keep(Kept::Value), Task::Keep(Kept::Name)]),
            opcode::DATABASE => self.tasks.push(Task::Database),
            opcode::EXPIRES => self.tasks.push(Task::Ends(1000)),
            opcode::EXPIRES_MS => self.tasks.push(Task::Ends(1)),
            _ => {
                self.survey.functions += u64::from(kind == opcode::FUNCTION);
                match (of_opcode(kind), of_value(kind, self.survey.is_valkey)) {
                    (Some(steps), _) => {
                        if kind == opcode::FUNCTION {
                            self.tasks.push(Task::FunctionEnds);
                            self.begin_capture(kind);
                        }
                        self.push_steps(steps);
                    }
                    (None, Some(steps)) => {
                        self.tasks.push(Task::KeyEnds(kind));
                        self.begin_capture(kind);
                        self.push_steps(steps);
                        self.tasks.push(Task::Keep(Kept::Key));
                    }
                    (None, None) => self.ended = Some(Structure::Unknown { at }),
                }
            }
        }
        Some(())
    }

    fn begin_capture(&mut self, kind: u8) {
        self.value_from = self.offset - 1;
        if let Some(capture) = &mut self.capture {
            capture.begin(kind);
        }
    }

    fn end_capture(&mut self, ends_ms: Option<u64>, is_function: bool) {
        let (database, is_valkey) = (self.database, self.survey.is_valkey);
        if let Some(capture) = &mut self.capture {
            capture.end(database, ends_ms, is_valkey);
        }
        let place = Place { database, ends_ms, from: self.value_from, to: self.offset };
        if let Some(places) = &mut self.places {
            places.add(place, is_function);
        }
    }

    fn push_steps(&mut self, steps: &[Step]) {
        self.tasks.extend(steps.iter().rev().map(|step| Task::Step(*step)));
    }

    fn step(&mut self, step: Step, input: &mut &[u8]) -> Option<()> {
        match step {
            Step::Bytes(bytes) => self.pass = bytes,
            Step::Length => {
                self.plain_length(input)?;
            }
            Step::Text => match self.length(input)? {
                Length::Of(bytes) => self.pass = bytes,
                Length::Form(form @ 0..=2) => self.pass = 1 << form,
                Length::Form(3) => self.tasks.push(Task::Step(Step::Compressed)),
                Length::Form(_) => self.damaged("the form of a string"),
            },
            Step::Compressed => {
                let bytes = self.plain_length(input)?;
                self.tasks.push(Task::Step(Step::CompressedRest(bytes)));
            }
            Step::CompressedRest(bytes) => {
                self.plain_length(input)?;
                self.pass = bytes;
            }
            Step::ShortDouble => {
                let bytes = *self.field(1, input)?.first()?;
                // 253 to 255 are the numbers that have no digits.
                self.pass = if bytes >= 253 { 0 } else { u64::from(bytes) };
            }
            Step::Times(steps) => {
                let times = self.plain_length(input)?;
                self.tasks.push(Task::Step(Step::Repeat(times, steps)));
            }
            Step::Repeat(0, _) => {}
            Step::Repeat(times, steps) => {
                self.tasks.push(Task::Step(Step::Repeat(times - 1, steps)));
                self.push_steps(steps);
            }
            Step::Module => {
                let next = match self.plain_length(input)? {
                    0 => return Some(()),
                    1 | 2 => Step::Length,
                    3 => Step::Bytes(4),
                    4 => Step::Bytes(8),
                    5 => Step::Text,
                    _ => {
                        self.damaged("a field of a module");
                        return Some(());
                    }
                };
                self.tasks.extend([Task::Step(Step::Module), Task::Step(next)]);
            }
        }
        Some(())
    }

    /// A length where no other form makes sense.
    fn plain_length(&mut self, input: &mut &[u8]) -> Option<u64> {
        match self.length(input)? {
            Length::Of(length) => Some(length),
            Length::Form(_) => {
                self.damaged("a length");
                None
            }
        }
    }

    /// The first two bits say how long a length is: 6 bits, 14 bits, 4 or 8 bytes, or a string in another form.
    fn length(&mut self, input: &mut &[u8]) -> Option<Length> {
        let first = *self.peek(1, input)?.first()?;
        let bytes = match first {
            0..0x40 => 1,
            0x40..0x80 => 2,
            0x80 => 5,
            0x81 => 9,
            0x82..0xc0 => {
                self.damaged("a length");
                return None;
            }
            0xc0.. => 1,
        };
        let held = self.field(bytes, input)?;
        let big = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Some(match first {
            0xc0.. => Length::Form(first & 0x3f),
            0x80.. => Length::Of(big(held.get(1..bytes)?)),
            _ => Length::Of(big(held.get(..bytes)?) & 0x3fff),
        })
    }

    fn keep(&mut self, what: Kept, input: &mut &[u8]) -> Option<()> {
        match self.length(input)? {
            Length::Of(bytes) => self.keep_bytes(what, bytes, false),
            Length::Form(form @ 0..=2) => self.tasks.push(Task::KeepNumber(what, 1 << form)),
            Length::Form(3) => self.tasks.push(Task::KeepCompressed(what)),
            Length::Form(_) => self.damaged("the form of a string"),
        }
        Some(())
    }

    fn keep_bytes(&mut self, what: Kept, bytes: u64, compressed: bool) {
        let keep = bytes.min(KEPT_BYTES_MAX);
        self.kept.clear();
        match keep {
            0 => self.kept_is_whole(what, false),
            _ => self.tasks.push(Task::KeepBytes { what, keep, pass: bytes - keep, compressed }),
        }
    }

    fn take_kept(&mut self, what: Kept, keep: u64, pass: u64, compressed: bool, input: &mut &[u8]) {
        let bytes = keep.min(input.len() as u64);
        let (taken, rest) = input.split_at(bytes as usize);
        self.kept.extend_from_slice(taken);
        self.capture(taken);
        self.offset += bytes;
        *input = rest;
        match keep - bytes {
            0 => {
                self.pass = pass;
                self.kept_is_whole(what, compressed);
            }
            keep => self.tasks.push(Task::KeepBytes { what, keep, pass, compressed }),
        }
    }

    fn keep_number(&mut self, what: Kept, bytes: usize, input: &mut &[u8]) -> Option<()> {
        let held = self.field(bytes, input)?;
        let [a, b, c, d, ..] = held;
        let number = match bytes {
            1 => i32::from(i8::from_le_bytes([a])),
            2 => i32::from(i16::from_le_bytes([a, b])),
            _ => i32::from_le_bytes([a, b, c, d]),
        };
        self.kept = number.to_string().into_bytes();
        self.kept_is_whole(what, false);
        Some(())
    }

    fn kept_is_whole(&mut self, what: Kept, compressed: bool) {
        if compressed {
            self.kept = front_of(&self.kept, KEPT_BYTES_MAX as usize);
        }
        match what {
            Kept::Key => std::mem::swap(&mut self.key, &mut self.kept),
            Kept::Name => std::mem::swap(&mut self.name, &mut self.kept),
            Kept::Value => {
                self.survey.say(std::mem::take(&mut self.name), std::mem::take(&mut self.kept));
            }
        }
    }

    fn key_ends(&mut self, kind: u8) {
        let from = self.key_from.take().unwrap_or(self.offset);
        let bytes = self.offset.saturating_sub(from);
        self.end_capture(self.ends_ms, false);
        let key = Key { word: word_of(kind), bytes, ends_ms: self.ends_ms.take() };
        self.survey.count(self.database, &self.key, key);
    }
}
