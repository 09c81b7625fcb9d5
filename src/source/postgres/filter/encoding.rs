//! How psql's lexer sees the bytes of a line in a client encoding.
//!
//! In five families of encodings the second byte of a character may be an ASCII byte, a backslash or a quote among
//! them. psql hides such bytes from its lexer, line by line; whether it does depends on `client_encoding`, which any
//! function may change.

/// What psql's lexer sees in place of the later bytes of a character.
const HIDDEN: u8 = 0xff;

/// Names that PostgreSQL knows, without what is no letter and no digit, of encodings in which no ASCII byte is part of
/// another character.
const SAFE: [&str; 60] = [
    "utf8",
    "unicode",
    "sqlascii",
    "eucjp",
    "eucjis2004",
    "euckr",
    "euccn",
    "euctw",
    "muleinternal",
    "latin1",
    "latin2",
    "latin3",
    "latin4",
    "latin5",
    "latin6",
    "latin7",
    "latin8",
    "latin9",
    "latin10",
    "iso88591",
    "iso88592",
    "iso88593",
    "iso88594",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "iso88599",
    "iso885910",
    "iso885913",
    "iso885914",
    "iso885915",
    "iso885916",
    "koi8",
    "koi8r",
    "koi8u",
    "alt",
    "win",
    "win866",
    "win874",
    "win1250",
    "win1251",
    "win1252",
    "win1253",
    "win1254",
    "win1255",
    "win1256",
    "win1257",
    "win1258",
    "windows866",
    "windows874",
    "windows1250",
    "windows1251",
    "windows1252",
    "windows1253",
    "windows1254",
    "windows1255",
    "windows1256",
    "windows1257",
    "windows1258",
];

/// How long the characters of an encoding are, as far as psql's lexer minds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// No ASCII byte is part of another character.
    Safe,
    /// Two bytes: BIG5, GBK, UHC.
    Two,
    /// Two bytes, but for half-width letters.
    ShiftJis,
    /// Two bytes, or four where the second is a digit.
    Gb18030,
    /// Two bytes, or three behind 0x8F.
    Johab,
}

/// A client encoding that PostgreSQL knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoding {
    name: String,
    family: Family,
}

impl Encoding {
    /// Takes any of its names; `None` for what is none.
    pub(super) fn named(name: &str) -> Option<Self> {
        let letters = name.chars().filter(char::is_ascii_alphanumeric);
        let clean: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
        let family = match clean.as_str() {
            "sjis" | "shiftjis" | "mskanji" | "win932" | "windows932" | "shiftjis2004" => Family::ShiftJis,
            "big5" | "win950" | "windows950" | "gbk" | "win936" | "windows936" | "uhc" | "win949"
            | "windows949" => Family::Two,
            "gb18030" => Family::Gb18030,
            "johab" => Family::Johab,
            safe if SAFE.contains(&safe) => Family::Safe,
            _ => return None,
        };
        Some(Self { name: clean, family })
    }

    /// A name of letters and digits alone.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Hides the later bytes of characters, as psql does. Starts anew with every line.
#[derive(Debug, Default)]
pub(super) struct Mask {
    hidden: u8,
    is_second: bool,
}

impl Mask {
    /// The byte that psql's lexer sees.
    pub(super) fn see(&mut self, byte: u8, encoding: Option<&Encoding>) -> u8 {
        let family = encoding.map_or(Family::Safe, |encoding| encoding.family);
        if byte == b'\n' || family == Family::Safe {
            *self = Self::default();
            return byte;
        }
        if self.hidden > 0 {
            self.hidden -= 1;
            if self.is_second && family == Family::Gb18030 && byte.is_ascii_digit() {
                self.hidden = 2;
            }
            self.is_second = false;
            return HIDDEN;
        }
        self.hidden = match (family, byte) {
            (_, ..=0x7f) | (Family::ShiftJis, 0xa1..=0xdf) => 0,
            (Family::Johab, 0x8f) => 2,
            _ => 1,
        };
        self.is_second = self.hidden > 0;
        byte
    }
}

/// Tells which bytes would be hidden in *some* encoding.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    ahead: u8,
}

impl Doubt {
    /// Whether there is an encoding that hides the byte.
    pub(super) fn see(&mut self, byte: u8) -> bool {
        if byte == b'\n' {
            self.ahead = 0;
            return false;
        }
        let may_be_hidden = self.ahead > 0;
        let rest = self.ahead.saturating_sub(1);
        self.ahead = match byte {
            0x8f => 2,
            0x80.. => rest.max(1),
            // The second byte of four.
            b'0'..=b'9' if may_be_hidden => 2,
            _ => rest,
        };
        may_be_hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(encoding: &str, line: &[u8]) -> Vec<u8> {
        let encoding = Encoding::named(encoding);
        let mut mask = Mask::default();
        line.iter().map(|byte| mask.see(*byte, encoding.as_ref())).collect()
    }

    #[test]
    fn second_bytes_are_hidden_where_psql_hides_them() {
        for (encoding, line, sees) in [
            ("UTF8", &b"\x95\\x"[..], &b"\x95\\x"[..]),
            ("SJIS", b"\x95\\x", b"\x95\xffx"),
            ("sjis", b"\xb1\\x", b"\xb1\\x"),
            ("BIG5", b"\xb1\\x", b"\xb1\xffx"),
            ("GB18030", b"\x95\x30\x95'x", b"\x95\xff\xff\xffx"),
            ("GB18030", b"\x95\\0'x", b"\x95\xff0'x"),
            ("JOHAB", b"\x8f\\'x", b"\x8f\xff\xffx"),
            ("win936", b"\x95\n'", b"\x95\n'"),
        ] {
            assert_eq!(seen(encoding, line), sees, "{encoding} {line:x?}");
            // Whatever is hidden was in doubt.
            let mut doubt = Doubt::default();
            for (raw, seen) in line.iter().zip(sees) {
                assert!(doubt.see(*raw) || raw == seen, "{encoding} {line:x?}");
            }
        }
        assert_eq!(Encoding::named("KOI-8-R").map(|encoding| encoding.name), Some("koi8r".to_owned()));
        assert_eq!(Encoding::named("x-unknown"), None);
    }
}
