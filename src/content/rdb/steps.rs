//! Which fields each opcode, and each type of value, has.

/// A field, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes that say nothing here.
    Bytes(u64),
    /// A length that says nothing here.
    Length,
    /// A string.
    Text,
    /// A number as text, with a byte in front that says how long it is, or that it is none.
    ShortDouble,
    /// A length, then these fields so many times.
    Times(&'static [Step]),
    /// These fields, so many times more.
    Repeat(u64, &'static [Step]),
    /// Fields of a module's own, each with a number that says what it is, up to an end.
    Module,
    /// The bytes of a string that is compressed: a length, a length, bytes.
    Compressed,
    /// The second length of these, and so many bytes.
    CompressedRest(u64),
}

use Step::{Bytes, Length, Module, ShortDouble, Text, Times};

/// Opcodes that are no type of a value.
pub(super) mod opcode {
    pub(crate) const SLOT_IMPORT: u8 = 243;
    pub(crate) const SLOT_INFO: u8 = 244;
    pub(crate) const FUNCTION: u8 = 245;
    pub(crate) const MODULE_AUX: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQUENCY: u8 = 249;
    pub(crate) const AUX: u8 = 250;
    pub(crate) const SIZES: u8 = 251;
    pub(crate) const EXPIRES_MS: u8 = 252;
    pub(crate) const EXPIRES: u8 = 253;
    pub(crate) const DATABASE: u8 = 254;
    pub(crate) const END: u8 = 255;
}

/// What comes behind an opcode that is passed over.
pub(super) fn of_opcode(opcode: u8) -> Option<&'static [Step]> {
    Some(match opcode {
        opcode::SLOT_IMPORT => &[Text, Times(&[Length, Length])],
        opcode::SLOT_INFO => &[Length, Length, Length],
        opcode::FUNCTION => &[Text],
        opcode::MODULE_AUX => &[Length, Length, Length, Module],
        opcode::IDLE => &[Length],
        opcode::FREQUENCY => &[Bytes(1)],
        opcode::SIZES => &[Length, Length],
        _ => return None,
    })
}

const PENDING: &[Step] = &[Bytes(16), Bytes(8), Length];
const CONSUMER: &[Step] = &[Text, Bytes(8), Times(&[Bytes(16)])];
const CONSUMER_3: &[Step] = &[Text, Bytes(16), Times(&[Bytes(16)])];
const GROUP: &[Step] = &[Text, Length, Length, Times(PENDING), Times(CONSUMER)];
const GROUP_2: &[Step] = &[Text, Length, Length, Length, Times(PENDING), Times(CONSUMER)];
const GROUP_3: &[Step] = &[Text, Length, Length, Length, Times(PENDING), Times(CONSUMER_3)];
const ENTRIES: Step = Times(&[Text, Text]);

/// The value of a type, without its key; `None` where the type is not known. Valkey has a type that Redis gave to
/// something else.
pub(super) fn of_value(kind: u8, is_valkey: bool) -> Option<&'static [Step]> {
    Some(match kind {
        // Strings, and everything that is kept in the form of one: zip maps, zip lists, integer sets, list packs.
        0 | 9..=13 | 16 | 17 | 20 => &[Text],
        // Lists, sets, lists of zip lists.
        1 | 2 | 14 => &[Times(&[Text])],
        3 => &[Times(&[Text, ShortDouble])],
        4 => &[Times(&[Text, Text])],
        5 => &[Times(&[Text, Bytes(8)])],
        7 => &[Length, Module],
        15 => &[ENTRIES, Length, Length, Length, Times(GROUP)],
        18 => &[Times(&[Length, Text])],
        19 => &[ENTRIES, Length, Length, Length, Length, Length, Length, Length, Length, Times(GROUP_2)],
        21 => &[ENTRIES, Length, Length, Length, Length, Length, Length, Length, Length, Times(GROUP_3)],
        // Hashes whose fields may end: of Valkey 9, then of Redis 7.4.
        22 if is_valkey => &[Times(&[Text, Text, Bytes(8)])],
        24 => &[Bytes(8), Times(&[Length, Text, Text])],
        25 => &[Bytes(8), Text],
        _ => return None,
    })
}

/// What a type of values is called by those who store them, as `TYPE` has it.
pub(super) fn word_of(kind: u8) -> &'static str {
    match kind {
        0 => "string",
        1 | 10 | 14 | 18 => "list",
        2 | 11 | 20 => "set",
        3 | 5 | 12 | 17 => "zset",
        4 | 9 | 13 | 16 | 22 | 24 | 25 => "hash",
        15 | 19 | 21 => "stream",
        _ => "module",
    }
}
