//! The one way to a terminal or a log: nothing that a name hides is obeyed, reorders a line or begins a new one.
//!
//! Names of series, hosts, tables and streams, the words of marks and what servers say come from others. Each line is
//! cleaned as it goes out, whatever its parts are: so nothing has to be remembered where it is put together.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Whether a terminal or a reader may take this character for something else than a sign of its own: control characters
/// (C0, DEL and C1), line and paragraph separators, what turns the direction of writing, and what takes no room.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// One line: everything hidden in it is a `?`, ends of lines too.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    match text.contains(is_hidden) {
        true => Cow::Owned(text.replace(is_hidden, "?")),
        false => Cow::Borrowed(text),
    }
}

/// How a line of a message goes on: so what programs and files say is quoted, moved to the right. A line of ours begins
/// at the margin.
const GOES_ON: &str = "\n  ";

/// A message that may quote several lines. No line of it but the first begins at the margin.
pub(super) fn message(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<Cow<'_, str>> = text.split(GOES_ON).map(line).collect();
    Cow::Owned(lines.join(GOES_ON))
}

/// One JSON object in a line: what is hidden in its strings is written as `\uXXXX`. Outside of strings there is nothing
/// hidden.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match is_hidden(c) {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped += &format!("\\u{unit:04x}");
                }
            }
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Takes a JSON object in pieces, each of whole characters, and hands it on as [`json`] writes it.
pub(super) struct Json<W>(pub W);

impl<W: Write> Write for Json<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_all(json(text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The end of what was told, where the command writes itself down; `None` where it does not.
static KEPT: Mutex<Option<String>> = Mutex::new(None);
/// So much of it is kept.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// From now on what is told is kept.
#[cfg(feature = "daemon")]
pub(super) fn keep_lines() {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
}

/// The end of what was told, from the beginning of a line on.
#[cfg(feature = "daemon")]
pub(super) fn kept_lines() -> String {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    let from = kept.ceil_char_boundary(kept.len().saturating_sub(KEPT_BYTES_MAX));
    let end = kept.get(from..).unwrap_or_default();
    match end.split_once('\n') {
        Some((_, rest)) if from > 0 => rest.to_owned(),
        _ => end.to_owned(),
    }
}

/// Keeps a line, if lines are kept. What is too old goes once there is twice as much as is wanted.
pub(super) fn keep(text: &str) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(kept) = kept.as_mut() else { return };
    *kept += text;
    kept.push('\n');
    if kept.len() > 2 * KEPT_BYTES_MAX {
        let from = kept.ceil_char_boundary(kept.len().saturating_sub(KEPT_BYTES_MAX));
        kept.drain(..from);
    }
}

/// Writes a message and the end of its line to standard error.
pub(super) fn tell(text: &str) {
    keep(&message(text));
    // Safe to ignore because there is nowhere left to say it.
    let _ = writeln!(io::stderr().lock(), "{}", message(text));
}

/// Standard error for a log, whose every event comes as one write.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        keep(&message(text));
        writeln!(io::stderr().lock(), "{}", message(text))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [char; 22] = [
        '\0',
        '\u{7}',
        '\t',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{9b}',
        '\u{ad}',
        '\u{61c}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{feff}',
        '\u{e0041}',
    ];

    #[test]
    fn what_is_hidden_becomes_a_question_mark_and_what_people_write_stays() {
        for c in HOSTILE.into_iter().chain(['\n']) {
            assert_eq!(line(&format!("a{c}b")), "a?b", "{c:?}");
        }
        for text in ["plain", "Größe 12 €", "базы данных", "数据库", "قاعدة", "🗄 app"]
        {
            assert_eq!(line(text), text);
            assert_eq!(message(text), text);
            assert_eq!(json(text), text);
        }
    }

    #[test]
    fn a_message_quotes_lines_and_lets_none_begin_at_the_margin() {
        assert_eq!(message("failed:\n  psql: no\n  and no"), "failed:\n  psql: no\n  and no");
        assert_eq!(message("a\ndumpvault: error: b\n  c\u{1b}[2J"), "a?dumpvault: error: b\n  c?[2J");
        assert_eq!(message("a\n \nb\r\nc"), "a? ?b??c");
    }

    #[test]
    fn json_means_the_same_and_shows_nothing_hidden() {
        let hostile: String = HOSTILE.into_iter().chain(['\n', '"', '\\']).collect();
        let object = serde_json::json!({ "name": hostile });
        let text = object.to_string();
        let escaped = json(&text);
        assert!(!escaped.contains(is_hidden), "{escaped}");
        assert!(escaped.contains("\\u202e") && escaped.contains("\\udb40\\udc41"), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), object);
    }
}
