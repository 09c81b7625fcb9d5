//! The notation of configuration files: values, and the line that each stands in.

use super::kind::Raw;
use super::{Origin, SettingError};
use crate::base::unit::Problem;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and its line; tables are opened when they are asked for.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub line: usize,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Value(Raw),
    Table(BTreeMap<String, Item>),
}

impl Item {
    /// The value that it is, a table's with all that is in it.
    pub(super) fn raw(&self) -> Raw {
        match &self.content {
            Content::Value(raw) => raw.clone(),
            Content::Table(items) => {
                Raw::Table(items.iter().map(|(name, item)| (name.clone(), item.raw())).collect())
            }
        }
    }
}

/// A file, understood as far as its notation goes.
#[derive(Debug, Clone)]
pub struct File {
    pub(super) path: Arc<PathBuf>,
    pub(super) items: BTreeMap<String, Item>,
}

impl File {
    /// Understands a file's text.
    ///
    /// # Errors
    /// All places that cannot be understood.
    pub fn parse(path: PathBuf, text: &str) -> Result<Self, Vec<SettingError>> {
        let path = Arc::new(path);
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        if errors.is_empty() {
            let items = items(&lines, table.into_inner());
            return Ok(Self { path, items });
        }
        let wrong = |error: toml::de::Error| {
            let line = lines.line_of(error.span().map_or(0, |span| span.start));
            let origin = Origin::File { path: Arc::clone(&path), line };
            SettingError::new("", origin, Problem::new(error.message()))
        };
        Err(errors.into_iter().map(wrong).collect())
    }

    /// The file's name.
    pub fn path(&self) -> &PathBuf {
        &self.path
    }
}

/// The value that the text is in a file.
pub(super) fn value_of(text: &str) -> Result<Raw, Problem> {
    let document = format!("value = {text}");
    let table = DeTable::parse(&document).map_err(|error| Problem::new(error.message()))?;
    let item = items(&Lines::of(&document), table.into_inner()).remove("value");
    Ok(item.map_or(Raw::Other, |item| item.raw()))
}

/// Where the lines of a text end: looked for once, and not again for each of its values.
struct Lines {
    ends: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at);
        Self { ends: ends.collect() }
    }

    /// The number of the line that a byte stands in, from 1 on.
    fn line_of(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| *end < offset) + 1
    }
}

fn items(lines: &Lines, table: DeTable<'_>) -> BTreeMap<String, Item> {
    let item = |(name, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let line = lines.line_of(name.span().start);
        let name: std::borrow::Cow<'_, str> = name.into_inner();
        let content = match value.into_inner() {
            DeValue::Table(table) => Content::Table(items(lines, table)),
            other => Content::Value(raw(lines, other)),
        };
        (name.into_owned(), Item { line, content })
    };
    table.into_iter().map(item).collect()
}

fn raw(lines: &Lines, value: DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.into_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Other, Raw::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Raw::Other, Raw::Float),
        DeValue::Boolean(value) => Raw::Boolean(value),
        DeValue::Datetime(_) => Raw::Other,
        DeValue::Array(list) => Raw::List(list.into_iter().map(|one| raw(lines, one.into_inner())).collect()),
        DeValue::Table(table) => {
            Raw::Table(items(lines, table).into_iter().map(|(name, item)| (name, item.raw())).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_in_the_line_that_its_text_says() {
        let text = "\na = 1\n\n[b]\nc = \"\u{e4}\"\nd = { e = 1 }";
        let lines = Lines::of(text);
        for at in 0..=text.len() {
            let ends = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            assert_eq!(lines.line_of(at), ends + 1, "byte {at}");
        }
    }

    /// With a look through the text for each value this takes a quarter of an hour, and else a second or two.
    #[test]
    fn a_long_file_is_read_in_one_pass() {
        use std::fmt::Write;
        let mut text = String::new();
        for number in 0..300_000 {
            write!(text, "[job.j{number}]\na = 1\nb = 2\nc = 3\nd = 4\n").unwrap();
        }
        let begun = std::time::Instant::now();
        let file = File::parse(PathBuf::new(), &text).unwrap();
        let Some(Item { content: Content::Table(jobs), .. }) = file.items.get("job") else { panic!() };
        let Content::Table(last) = &jobs["j299999"].content else { panic!() };
        assert_eq!((jobs.len(), last["d"].line), (300_000, 1_500_000));
        assert!(begun.elapsed().as_secs() < 120, "it hangs");
    }
}
