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
        if errors.is_empty() {
            let items = items(text, table.into_inner());
            return Ok(Self { path, items });
        }
        let wrong = |error: toml::de::Error| {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
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
    let item = items(&document, table.into_inner()).remove("value");
    Ok(item.map_or(Raw::Other, |item| item.raw()))
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn items(text: &str, table: DeTable<'_>) -> BTreeMap<String, Item> {
    let item = |(name, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let line = line_of(text, name.span().start);
        let name: std::borrow::Cow<'_, str> = name.into_inner();
        let content = match value.into_inner() {
            DeValue::Table(table) => Content::Table(items(text, table)),
            other => Content::Value(raw(text, other)),
        };
        (name.into_owned(), Item { line, content })
    };
    table.into_iter().map(item).collect()
}

fn raw(text: &str, value: DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.into_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Other, Raw::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Raw::Other, Raw::Float),
        DeValue::Boolean(value) => Raw::Boolean(value),
        DeValue::Datetime(_) => Raw::Other,
        DeValue::Array(list) => Raw::List(list.into_iter().map(|one| raw(text, one.into_inner())).collect()),
        DeValue::Table(table) => {
            Raw::Table(items(text, table).into_iter().map(|(name, item)| (name, item.raw())).collect())
        }
    }
}
