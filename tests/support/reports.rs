//! What `--json` prints is what the schema of its command in `docs/json` says, and nothing else. Every run of the
//! program is held to it.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use jsonschema::Validator;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the schemas lie.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json")
}

/// What a command line lets expect on standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promise {
    /// A report of this command, or an error.
    Report(String),
    /// Something else, and an error in its place.
    Stream,
    /// Anything.
    Nothing,
}

impl Promise {
    /// What this command line promises.
    pub fn of(command: &Command) -> Self {
        let all: Vec<&OsStr> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
        let other = std::env::var_os("DUMPVAULT_TEST_PROGRAM");
        let is_program = |word: &&OsStr| {
            other.as_deref() == Some(*word) || Path::new(word).file_name() == Some(OsStr::new("dumpvault"))
        };
        let Some(at) = all.iter().position(is_program) else { return Self::Nothing };
        let words = all[at + 1..].iter().map(|word| word.to_string_lossy());
        let words: Vec<_> = words.take_while(|word| word != "--").collect();
        let has = |name: &str| words.iter().any(|word| word == name);
        if !has("--json") || ["--help", "-h", "--version", "-V"].into_iter().any(has) {
            return Self::Nothing;
        }
        let commands = || validators().keys().map(String::as_str).filter(|name| *name != "error");
        let first = |word: &&str| *word == "cat" || commands().any(|name| is_of(name, word));
        let mut rest = words.iter().map(AsRef::as_ref).skip_while(|word| !first(word));
        match rest.next() {
            None => Self::Nothing,
            Some("cat") => Self::Stream,
            Some("restore") if !has("--dry-run") && !has("-n") && writes_to_stdout(&words) => Self::Stream,
            Some(word) if commands().any(|name| name == word) => Self::Report(word.to_owned()),
            Some(word) => {
                let both = rest.map(|second| format!("{word}-{second}"));
                let mut known = both.filter(|both| commands().any(|name| name == both));
                known.next().map_or(Self::Nothing, Self::Report)
            }
        }
    }

    /// Holds what was printed to it.
    #[track_caller]
    pub fn hold(&self, code: Option<i32>, stdout: &[u8]) {
        let printed = std::str::from_utf8(stdout).ok();
        let value = printed.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let is_error = value
            .as_ref()
            .is_some_and(|value| value.get("error").is_some() && value.get("exit_code").is_some());
        let schema = match self {
            _ if is_error && *self != Self::Nothing => "error",
            Self::Report(_) if stdout.is_empty() => {
                assert_ne!(code, Some(0), "{self:?}: nothing was printed");
                return;
            }
            Self::Report(command) => command,
            Self::Stream | Self::Nothing => return,
        };
        let shown = printed.unwrap_or("no text");
        let value = value.unwrap_or_else(|| panic!("{self:?}: no object, or more than one: {shown}"));
        assert_eq!(shown.trim_end().lines().count(), 1, "{self:?}: {shown}");
        let wrong = faults(schema, &value);
        assert!(wrong.is_empty(), "{schema}: {}\n{shown}", wrong.join("\n"));
        if let (true, Some(code)) = (is_error, code) {
            assert_eq!(value["exit_code"], code, "{shown}");
        }
    }
}

/// Whether a report is of this command, or of one below it.
fn is_of(name: &str, command: &str) -> bool {
    name.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn writes_to_stdout<W: AsRef<str>>(words: &[W]) -> bool {
    let words = || words.iter().map(AsRef::as_ref);
    let elsewhere = |word: &str| {
        let name = word.split('=').next();
        matches!(name, Some("--to-database" | "--to-dir" | "--command"))
            || (word.starts_with("--output=") && word != "--output=-")
    };
    let to = words().zip(words().skip(1)).find(|(word, _)| *word == "--output").map(|(_, to)| to);
    !words().any(elsewhere) && to.is_none_or(|to| to == "-")
}

/// What of a report is not as its schema says.
pub fn faults(schema: &str, report: &Value) -> Vec<String> {
    let validator = validators().get(schema).unwrap_or_else(|| panic!("no schema `{schema}`"));
    validator.iter_errors(report).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// All schemas by their names.
fn validators() -> &'static BTreeMap<String, Validator> {
    static VALIDATORS: OnceLock<BTreeMap<String, Validator>> = OnceLock::new();
    VALIDATORS.get_or_init(|| {
        let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
        let named = files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".schema.json")?.to_owned();
            let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let options = jsonschema::options().should_validate_formats(true);
            Some((name, options.build(&schema).unwrap()))
        });
        named.collect()
    })
}
