//! How a person names tables and databases: with wildcards.

use std::fmt;
use std::str::FromStr;

/// No pattern is longer, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// A name with wildcards: `*` stands for any characters, `?` for one. Case matters, as it does in the list of a dump's
/// tables. Within double quotes, all characters stand for themselves, `""` for a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    parts: Vec<Part>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Char(char),
    One,
    Any,
}

/// A table's name, with or without its schema: `orders`, `audit.*`, `"odd.name"`. Without one, any schema will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    schema: Option<NamePattern>,
    name: NamePattern,
    text: String,
}

/// A pattern that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A part of it is empty.
    #[error("`{pattern}` names no table or schema")]
    Empty {
        /// The pattern.
        pattern: String,
    },
    /// A quote is not closed.
    #[error("`{pattern}`: a quote is not closed")]
    Unclosed {
        /// The pattern.
        pattern: String,
    },
    /// More than schema and table.
    #[error("`{pattern}` has more parts than schema and table; put names with dots into double quotes")]
    Parts {
        /// The pattern.
        pattern: String,
    },
    /// Too long.
    #[error("a name of {len} bytes is too long")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// Splits at dots that are not quoted.
fn parse(text: &str) -> Result<Vec<NamePattern>, PatternError> {
    let pattern = || text.to_owned();
    if text.len() > PATTERN_BYTES_MAX {
        return Err(PatternError::TooLong { len: text.len() });
    }
    let mut names = Vec::new();
    let mut parts = Vec::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    let ended = |parts: Vec<Part>| match parts.is_empty() {
        true => Err(PatternError::Empty { pattern: pattern() }),
        false => Ok(NamePattern { parts, text: pattern() }),
    };
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => parts.push(Part::Char('"')),
            '"' => quoted = !quoted,
            _ if quoted => parts.push(Part::Char(c)),
            '.' => names.push(ended(std::mem::take(&mut parts))?),
            '*' => parts.push(Part::Any),
            '?' => parts.push(Part::One),
            _ => parts.push(Part::Char(c)),
        }
    }
    if quoted {
        return Err(PatternError::Unclosed { pattern: pattern() });
    }
    names.push(ended(parts)?);
    Ok(names)
}

impl NamePattern {
    /// This name and no other, whatever characters are in it.
    pub fn exact(name: &str) -> Self {
        Self { parts: name.chars().map(Part::Char).collect(), text: name.to_owned() }
    }

    /// A name without wildcards means itself, dots and all; quotes too, but for those around the whole.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn name_or_pattern(text: &str) -> Result<Self, PatternError> {
        let is_quoted = text.len() > 2 && text.starts_with('"') && text.ends_with('"');
        match text.contains(['*', '?']) || is_quoted {
            true => text.parse(),
            false => Ok(Self::exact(text)),
        }
    }

    /// The only name that is meant, if there are no wildcards.
    pub fn literal(&self) -> Option<String> {
        let char = |part: &Part| match part {
            Part::Char(c) => Some(*c),
            Part::One | Part::Any => None,
        };
        self.parts.iter().map(char).collect()
    }

    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        // On a mismatch, only the last `*` can have taken too little.
        let (mut rest, mut parts) = (name.chars(), self.parts.as_slice());
        let mut retry: Option<(std::str::Chars, &[Part])> = None;
        loop {
            let matched = match parts.split_first() {
                Some((Part::Any, later)) => {
                    retry = Some((rest.clone(), later));
                    parts = later;
                    continue;
                }
                Some((part, later)) => match rest.next() {
                    Some(c) if *part == Part::One || *part == Part::Char(c) => Some(later),
                    Some(_) => None,
                    None => return false,
                },
                None if rest.as_str().is_empty() => return true,
                None => None,
            };
            match (matched, &mut retry) {
                (Some(later), _) => parts = later,
                (None, Some((from, later))) => {
                    if from.next().is_none() {
                        return false;
                    }
                    (rest, parts) = (from.clone(), later);
                }
                (None, None) => return false,
            }
        }
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut names = parse(text)?;
        match (names.pop(), names.pop()) {
            (Some(name), None) => Ok(name),
            _ => Err(PatternError::Parts { pattern: text.to_owned() }),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TablePattern {
    /// Whether a table is meant.
    pub fn matches(&self, schema: &str, name: &str) -> bool {
        self.schema.as_ref().is_none_or(|pattern| pattern.matches(schema)) && self.name.matches(name)
    }
}

impl FromStr for TablePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut names = parse(text)?;
        match (names.pop(), names.pop(), names.pop()) {
            (Some(name), schema, None) => Ok(Self { schema, name, text: text.to_owned() }),
            _ => Err(PatternError::Parts { pattern: text.to_owned() }),
        }
    }
}

impl fmt::Display for TablePattern {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> TablePattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_table_is_named_with_or_without_its_schema() {
        assert!(table("orders").matches("public", "orders"));
        assert!(table("orders").matches("audit", "orders"));
        assert!(table("audit.orders").matches("audit", "orders"));
        assert!(!table("audit.orders").matches("public", "orders"));
        assert!(!table("orders").matches("public", "Orders"));
        assert!(!table("orders").matches("public", "orders2"));
    }

    #[test]
    fn wildcards_stand_for_characters_but_not_in_quotes() {
        assert!(table("*.order*").matches("x", "orders"));
        assert!(table("o*r*s").matches("x", "orders"));
        assert!(table("o*r*s").matches("x", "oars and orders"));
        assert!(!table("o*r*s").matches("x", "order"));
        assert!(table("größ?").matches("x", "größe"));
        assert!(!table("größ?").matches("x", "größ"));
        assert!(table("\"a.b*\"\"c\"").matches("x", "a.b*\"c"));
        assert!(!table("\"a*\"").matches("x", "ab"));
        assert!(table("*").matches("", ""));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in ["", ".", "a.", ".b", "a.b.c", "\"a", "\"\""] {
            assert!(text.parse::<TablePattern>().is_err(), "{text}");
        }
        assert!("a.b".parse::<NamePattern>().is_err());
    }
}
