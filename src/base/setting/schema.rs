//! One description of each setting: of it are made the typed value, the example file and the manual.

use super::file::value_of;
use super::kind::{Kind, Raw};
use crate::base::unit::Problem;
use std::fmt::Write;

/// What is said of a setting, whatever its type.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name in its table.
    pub name: &'static str,
    /// What it is, in one sentence or two.
    pub about: &'static str,
    /// A value as a file has it.
    pub example: &'static str,
    /// What holds where nobody says anything, as a variable would have it.
    pub default: Option<&'static str>,
    /// The variable of the environment that says the same.
    pub variable: Option<&'static str>,
    /// The option of the command line that says the same.
    pub flag: Option<&'static str>,
    /// Whether it may stand in a file.
    pub in_file: bool,
}

impl Entry {
    /// A setting of a file.
    pub const fn new(name: &'static str, about: &'static str, example: &'static str) -> Self {
        Self { name, about, example, default: None, variable: None, flag: None, in_file: true }
    }

    /// The same, with a default.
    pub const fn default(self, text: &'static str) -> Self {
        Self { default: Some(text), ..self }
    }

    /// The same, which a variable may say, too.
    pub const fn variable(self, name: &'static str) -> Self {
        Self { variable: Some(name), ..self }
    }

    /// The same, which an option may say, too.
    pub const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    /// The same, which may not stand in a file.
    pub const fn not_in_file(self) -> Self {
        Self { in_file: false, ..self }
    }
}

/// A setting: its description and the type of its value.
pub struct Key<T: 'static> {
    /// What is said of it.
    pub entry: Entry,
    /// The kind of its value.
    pub kind: &'static Kind<T>,
}

impl<T> Key<T> {
    /// A setting of that kind.
    pub const fn new(kind: &'static Kind<T>, entry: Entry) -> Self {
        Self { entry, kind }
    }
}

/// A setting, whatever its type.
pub trait Described: Sync {
    /// What is said of it.
    fn entry(&self) -> &Entry;
    /// What kind of value it has.
    fn word(&self) -> &'static str;
    /// Sees whether a value is one of its kind.
    ///
    /// # Errors
    /// When it is none.
    fn check(&self, raw: &Raw) -> Result<(), Problem>;
}

impl<T> Described for Key<T> {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn word(&self) -> &'static str {
        self.kind.word
    }

    fn check(&self, raw: &Raw) -> Result<(), Problem> {
        (self.kind.parse)(raw).map(drop)
    }
}

/// A table of a file.
pub struct Section {
    /// Its name: `source.NAME`; empty for what stands in no table.
    pub name: &'static str,
    /// Which tables of that name: "with `type = \"postgres\"`"; empty for all.
    pub which: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its settings.
    pub keys: &'static [&'static dyn Described],
}

/// A file with everything that can be set, commented out.
pub fn example(sections: &[&Section]) -> String {
    let mut text = String::new();
    let mut before = "";
    for section in sections {
        if !section.name.is_empty() {
            text += "\n";
        }
        comment(&mut text, section.about);
        match (section.name == before, section.which) {
            (true, which) => comment(&mut text, &format!("Only {which}:")),
            (false, _) => drop(writeln!(text, "#[{}]", table_name(section.name))),
        }
        before = section.name;
        for entry in section.keys.iter().map(|key| key.entry()).filter(|entry| entry.in_file) {
            text += "\n";
            comment(&mut text, entry.about);
            if let Some(default) = entry.default.filter(|default| !default.is_empty()) {
                comment(&mut text, &format!("Default: {default}."));
            }
            // Writing to text cannot fail.
            let _ = writeln!(text, "#{} = {}", entry.name, entry.example);
        }
    }
    text.trim_start().to_owned()
}

/// A name that a table may have, in the place of `NAME`.
fn table_name(name: &str) -> String {
    name.replace("source.NAME", "source.app")
        .replace("copy.NAME", "copy.offsite")
        .replace("job.NAME", "job.nightly")
        .replace("alert.NAME", "alert.ops")
        .replace("watch.NAME", "watch.app")
}

fn comment(text: &mut String, words: &str) {
    const COLUMNS: usize = 78;
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() >= COLUMNS {
            // Writing to text cannot fail.
            let _ = writeln!(text, "# {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if !line.is_empty() {
        let _ = writeln!(text, "# {line}");
    }
}

/// The sections as a page of the manual.
pub fn manual(sections: &[&Section]) -> String {
    let mut text = String::new();
    for section in sections {
        let title = match (section.name, section.which) {
            ("", _) => "Outside of tables".to_owned(),
            (name, "") => format!("`[{name}]`"),
            (name, which) => format!("`[{name}]` {which}"),
        };
        // Writing to text cannot fail.
        let _ = writeln!(text, "\n## {title}\n\n{}\n", section.about);
        text += "| Setting | Value | Meaning | Default | Also |\n|---|---|---|---|---|\n";
        for key in section.keys.iter().filter(|key| key.entry().in_file) {
            let entry = key.entry();
            let default = entry.default.filter(|default| !default.is_empty());
            let default = default.map_or_else(String::new, |default| format!("`{default}`"));
            let also: Vec<String> =
                entry.flag.iter().chain(&entry.variable).map(|name| format!("`{name}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {}: `{}` | {} | {default} | {} |",
                entry.name,
                key.word(),
                cell(entry.example),
                cell(entry.about),
                also.join(", ")
            );
        }
    }
    text += "\n## Environment variables\n\n| Variable | Meaning |\n|---|---|\n";
    for entry in sections.iter().flat_map(|section| section.keys).map(|key| key.entry()) {
        if let Some(variable) = entry.variable {
            let _ = writeln!(text, "| `{variable}` | {} |", cell(entry.about));
        }
    }
    text
}

/// A bar ends a cell, in code, too.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

impl Section {
    /// Examples and defaults that are no values of their kind.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for key in self.keys {
            let entry = key.entry();
            let example = value_of(entry.example).and_then(|raw| key.check(&raw));
            let default = entry.default.map_or(Ok(()), |text| key.check(&Raw::Word(text.into())));
            for outcome in [example, default] {
                faults.extend(outcome.err().map(|error| format!("{}.{}: {error}", self.name, entry.name)));
            }
        }
        faults
    }
}
