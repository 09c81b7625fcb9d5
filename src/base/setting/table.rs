//! Tables of a file: each key is asked for once, by its description; what nobody asks for is refused.

use super::file::{Content, File, Item, value_of};
use super::kind::Raw;
use super::schema::{Key, Section};
use super::{Origin, SettingError, Value};
use crate::base::name::nearest;
use crate::base::unit::Problem;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// What is said outside of files.
pub trait Said {
    /// What an option of the command line says, and what that option was called, if it was given.
    fn flag(&self, name: &str) -> Option<(&'static str, OsString)>;
    /// What a variable says that is set and not empty.
    fn variable(&self, name: &str) -> Option<OsString>;
}

/// A value that holds, for people who ask where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The setting: `source.app.timeout`.
    pub setting: String,
    /// The value; `None` where it is secret.
    pub value: Option<Raw>,
    /// Its origin.
    pub origin: Origin,
}

/// Takes down what was read: every value, and everything that is wrong.
pub struct Book<'a> {
    said: &'a dyn Said,
    errors: RefCell<Vec<SettingError>>,
    shown: RefCell<Vec<Shown>>,
}

impl<'a> Book<'a> {
    /// An empty one.
    pub fn new(said: &'a dyn Said) -> Self {
        Self { said, errors: RefCell::default(), shown: RefCell::default() }
    }

    /// Something is wrong. What depends on it may take any value: nobody will get to see it.
    pub fn wrong(&self, error: SettingError) {
        self.errors.borrow_mut().push(error);
    }

    /// All that was read, if nothing was wrong.
    ///
    /// # Errors
    /// All that was, in the order of the file.
    pub fn close(self) -> Result<Vec<Shown>, Vec<SettingError>> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|error| match &error.origin {
            Origin::File { line, .. } => *line,
            _ => 0,
        });
        if errors.is_empty() { Ok(self.shown.into_inner()) } else { Err(errors) }
    }
}

/// A table of a file, or none where nobody wrote one: then what is said elsewhere holds.
pub struct Table<'a> {
    book: &'a Book<'a>,
    path: Arc<PathBuf>,
    /// `source.app`; empty for the file.
    name: String,
    line: usize,
    items: BTreeMap<String, Item>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// The whole file, or nothing at all.
    pub fn of_file(file: Option<File>, book: &'a Book<'a>) -> Self {
        let file = file.unwrap_or_else(|| File { path: Arc::default(), items: BTreeMap::new() });
        Self { book, path: file.path, name: String::new(), line: 1, items: file.items, known: Vec::new() }
    }

    /// An empty table of that name.
    pub fn empty(name: impl Into<String>, book: &'a Book<'a>) -> Self {
        Self { name: name.into(), ..Self::of_file(None, book) }
    }

    /// Its own line.
    pub fn origin(&self) -> Origin {
        Origin::File { path: Arc::clone(&self.path), line: self.line }
    }

    /// The table's name: `source.app`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the file has that key here.
    pub fn has(&self, name: &str) -> bool {
        self.items.contains_key(name)
    }

    /// What the file has under that key, where it is a text. It stays there.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.items.get(name)?.content {
            Content::Value(raw) => raw.text().ok(),
            Content::Table(_) => None,
        }
    }

    fn setting(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Something is wrong with this table, or what one of its keys says.
    pub fn wrong(&self, key: Option<(&str, &Origin)>, problem: Problem) {
        self.book.wrong(match key {
            None => SettingError::new(self.name.clone(), self.origin(), problem),
            Some((key, origin)) => SettingError::new(self.setting(key), origin.clone(), problem),
        });
    }

    /// The value of a key, from the command line, the environment, the file, or as it is by default. What the file says
    /// is looked at also where something else comes before it.
    pub fn take<T>(&mut self, key: &Key<T>) -> Option<Value<T>> {
        let said = self.said(key);
        self.best(key, said, key.kind.parse)
    }

    /// The same of a key whose values are looked at more closely than its kind does by itself, in every layer.
    pub fn take_and<T, U>(
        &mut self,
        key: &Key<T>,
        then: impl Fn(T) -> Result<U, Problem>,
    ) -> Option<Value<U>> {
        let said = self.said(key);
        self.best(key, said, |raw| (key.kind.parse)(raw).and_then(&then))
    }

    /// The value of a key that the file has, or as it is by default: what is said elsewhere is meant for another table.
    pub fn take_in_file<T>(&mut self, key: &Key<T>) -> Option<Value<T>> {
        self.best(key, Vec::new(), key.kind.parse)
    }

    fn best<T, U>(
        &mut self,
        key: &Key<T>,
        said: Vec<(Raw, Origin)>,
        parse: impl Fn(&Raw) -> Result<U, Problem>,
    ) -> Option<Value<U>> {
        let entry = &key.entry;
        let mut in_file = None;
        if entry.in_file {
            self.known.push(entry.name);
            in_file = self.items.remove(entry.name);
        }
        let mut best = None;
        for (raw, origin) in said.into_iter().chain(in_file.map(|item| {
            let origin = Origin::File { path: Arc::clone(&self.path), line: item.line };
            (item.raw(), origin)
        })) {
            match parse(&raw) {
                Ok(value) if best.is_none() => best = Some((raw, Value { value, origin })),
                Ok(_) => {}
                Err(problem) => self.wrong(Some((entry.name, &origin)), problem),
            }
        }
        let (raw, value) = match best {
            Some(best) => best,
            None => {
                let text = entry.default?;
                let value = parse(&Raw::Word(text.into())).ok()?;
                // Numbers are shown as such.
                let raw = value_of(text).unwrap_or_else(|_| Raw::Word(text.into()));
                (raw, Value { value, origin: Origin::Default })
            }
        };
        self.book.shown.borrow_mut().push(Shown {
            setting: self.setting(entry.name),
            value: (key.kind.show)(&raw),
            origin: value.origin.clone(),
        });
        Some(value)
    }

    /// What option and variable say of a key, the option first.
    fn said<T>(&self, key: &Key<T>) -> Vec<(Raw, Origin)> {
        let said = self.book.said;
        let flag = key.entry.flag.and_then(|flag| said.flag(flag));
        let variable = key.entry.variable.and_then(|name| Some((name, said.variable(name)?)));
        let flag = flag.map(|(named, word)| (Raw::Word(word), Origin::Flag(named)));
        let variable = variable.map(|(name, word)| (Raw::Word(word), Origin::Variable(name)));
        flag.into_iter().chain(variable).collect()
    }

    /// The table in that table; an empty one where there is none.
    pub fn table(&mut self, key: &'static str) -> Self {
        self.table_there(key).unwrap_or_else(|| Self::empty(self.setting(key), self.book))
    }

    /// The table in that table, where there is one.
    pub fn table_there(&mut self, key: &'static str) -> Option<Self> {
        self.known.push(key);
        let item = self.items.remove(key)?;
        self.open(key, item)
    }

    /// The tables in that table, each with its name.
    pub fn tables(&mut self, key: &'static str) -> Vec<(String, Self)> {
        let Some(outer) = self.table_there(key) else { return Vec::new() };
        let open = |(name, item): (String, Item)| Some((name.clone(), outer.open(&name, item)?));
        outer.items.clone().into_iter().filter_map(open).collect()
    }

    /// The names in that table, which stays as it is.
    pub fn names(&self, key: &str) -> Vec<String> {
        match self.items.get(key).map(|item| &item.content) {
            Some(Content::Table(items)) => items.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn open(&self, key: &str, item: Item) -> Option<Self> {
        let Item { line, content } = item;
        let name = self.setting(key);
        let path = Arc::clone(&self.path);
        match content {
            Content::Table(items) => {
                Some(Self { book: self.book, path, name, line, items, known: Vec::new() })
            }
            Content::Value(_) => {
                let problem =
                    Problem::new("expected a table").next(format!("write `[{name}]` above its settings"));
                self.wrong(Some((key, &Origin::File { path, line })), problem);
                None
            }
        }
    }

    /// Refuses what nobody asked for. `elsewhere` are tables that have a key of that name, for whoever puts one into
    /// the wrong place.
    pub fn finish(self, elsewhere: &[&Section]) {
        for (name, item) in &self.items {
            let origin = Origin::File { path: Arc::clone(&self.path), line: item.line };
            let problem = Problem::new("unknown setting");
            let of_other = elsewhere.iter().find(|section| {
                section.keys.iter().any(|key| key.entry().name == name && key.entry().in_file)
            });
            let next = match (nearest(name, self.known.iter().copied()), of_other) {
                (_, Some(other)) => Some(format!("it belongs to `[{}]` {}", other.name, other.which)),
                (Some(near), None) => Some(format!("did you mean `{near}`?")),
                (None, None) => Some("`dumpvault config example` lists all settings".to_owned()),
            };
            let next = next.map(|next| next.trim_end().to_owned());
            self.wrong(Some((name, &origin)), Problem { next, ..problem });
        }
    }
}
