//! Settings: which hold, where they come from, and which are wrong.

use super::Report;
use crate::base::setting::{self, Raw, SettingError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Whether the settings are right.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckedConfig {
    /// All of them are.
    pub ok: bool,
    /// The configuration file; null where there is none, or where settings are wrong.
    pub file: Option<String>,
    /// The settings that are wrong.
    pub errors: Vec<WrongSetting>,
    /// The exit code of the process.
    pub exit_code: u8,
}

impl Report for CheckedConfig {}

impl CheckedConfig {
    /// What is wrong with the settings.
    pub fn new(file: Option<&Path>, errors: &[SettingError], exit_code: u8) -> Self {
        let errors: Vec<WrongSetting> = errors.iter().map(WrongSetting::from).collect();
        Self { ok: errors.is_empty(), file: file.map(shown), errors, exit_code }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A setting that is wrong.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WrongSetting {
    /// Its name: `source.app.timeout`. Empty where a file as a whole is not what it should be.
    pub setting: String,
    /// Where its value stands.
    pub origin: Origin,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<&SettingError> for WrongSetting {
    fn from(error: &SettingError) -> Self {
        Self {
            setting: error.setting.clone(),
            origin: (&error.origin).into(),
            problem: error.problem.clone(),
            hint: error.next.clone(),
        }
    }
}

/// The settings that hold.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShownConfig {
    /// The configuration file; null where there is none.
    pub file: Option<String>,
    /// All settings, with those that nobody said anything about.
    pub settings: Vec<Setting>,
}

impl Report for ShownConfig {}

impl ShownConfig {
    /// The settings that hold.
    pub fn new(file: Option<&Path>, settings: &[setting::Shown]) -> Self {
        Self { file: file.map(shown), settings: settings.iter().map(Setting::from).collect() }
    }
}

/// A setting that holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Setting {
    /// Its name: `source.app.timeout`.
    pub setting: String,
    /// Its value, of whatever kind it is written as; null where it is secret.
    pub value: Value,
    /// The value is not shown.
    pub secret: bool,
    /// Where the value comes from.
    pub origin: Origin,
}

impl From<&setting::Shown> for Setting {
    fn from(shown: &setting::Shown) -> Self {
        Self {
            setting: shown.setting.clone(),
            value: shown.value.as_ref().map_or(Value::Null, value),
            secret: shown.value.is_none(),
            origin: (&shown.origin).into(),
        }
    }
}

fn value(raw: &Raw) -> Value {
    match raw {
        Raw::Word(word) => word.to_string_lossy().into(),
        Raw::Text(text) => text.as_str().into(),
        Raw::Integer(number) => (*number).into(),
        Raw::Float(number) => (*number).into(),
        Raw::Boolean(value) => (*value).into(),
        Raw::List(list) => list.iter().map(value).collect(),
        Raw::Table(table) => table.iter().map(|(name, raw)| (name.clone(), value(raw))).collect(),
        Raw::Other => Value::Null,
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SettingOrigin")]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file.
        path: String,
        /// The line, from 1 on.
        line: usize,
    },
    /// A variable of the environment.
    Variable {
        /// Its name.
        name: String,
    },
    /// An option of the command line.
    Flag {
        /// Its name.
        name: String,
    },
    /// Nobody said anything.
    Default,
}

impl From<&setting::Origin> for Origin {
    fn from(origin: &setting::Origin) -> Self {
        match origin {
            setting::Origin::File { path, line } => Self::File { path: shown(path), line: *line },
            setting::Origin::Variable(name) => Self::Variable { name: (*name).to_owned() },
            setting::Origin::Flag(name) => Self::Flag { name: (*name).to_owned() },
            setting::Origin::Default => Self::Default,
        }
    }
}
