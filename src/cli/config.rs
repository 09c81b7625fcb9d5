//! `dumpvault config`.

use super::args::ConfigCommand;
use super::exit::Exit;
use super::report::CliError;
use super::table::Table;
use super::{clean, print, print_as_is, print_json, print_table};
use crate::base::setting::{Origin, Raw, SettingError, Shown, example};
use crate::engine::app::{self, sections};
use crate::settings::{ConfigError, Environment, Flags};
use serde_json::{Value, json};

pub(super) fn run(
    command: ConfigCommand,
    flags: &Flags,
    environment: &Environment,
    is_json: bool,
) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Example => {
            print_as_is(example(&sections()).trim_end());
            Ok(Exit::Good)
        }
        ConfigCommand::Check => check(flags, environment, is_json),
        ConfigCommand::Show => show(flags, environment, is_json),
    }
}

fn check(flags: &Flags, environment: &Environment, is_json: bool) -> Result<Exit, CliError> {
    let (file, errors) = match app::settings(flags, environment) {
        Ok(settings) => (settings.file, Vec::new()),
        Err(ConfigError::Settings(errors)) => (None, errors),
        Err(error) => return Err(error.into()),
    };
    let exit = if errors.is_empty() { Exit::Good } else { Exit::Usage };
    if is_json {
        let errors: Vec<Value> = errors.iter().map(error_json).collect();
        let object = json!({"version": 1, "ok": errors.is_empty(), "file": file, "errors": errors, "exit_code": exit.code()});
        print_json(&object.to_string());
        return Ok(exit);
    }
    for SettingError { setting, origin, problem, next } in &errors {
        // A file as a whole has no setting, and an option is called by its own name.
        let is_named = !setting.is_empty() && matches!(origin, Origin::File { .. });
        let setting = if is_named { format!("{setting}: ") } else { String::new() };
        clean::tell(&format!("{origin}: {setting}{problem}"));
        if let Some(next) = next {
            clean::tell(&format!("  hint: {next}"));
        }
    }
    match (errors.len(), file) {
        (0, Some(file)) => print(&format!("{}: ok", file.display())),
        (0, None) => print("no configuration file: ok"),
        (1, _) => clean::tell("dumpvault: error: 1 setting is wrong"),
        (count, _) => clean::tell(&format!("dumpvault: error: {count} settings are wrong")),
    }
    Ok(exit)
}

fn show(flags: &Flags, environment: &Environment, is_json: bool) -> Result<Exit, CliError> {
    let settings = app::settings(flags, environment)?;
    if is_json {
        let list: Vec<Value> = settings.shown.iter().map(shown_json).collect();
        print_json(&json!({"version": 1, "file": settings.file, "settings": list}).to_string());
        return Ok(Exit::Good);
    }
    // Defaults of each source and destination say little, and are many.
    let is_told = |shown: &&Shown| {
        shown.origin != Origin::Default
            || !shown.setting.starts_with("source.") && !shown.setting.starts_with("copy.")
    };
    let row = |shown: &Shown| {
        let value = shown.value.as_ref().map_or_else(|| "(secret)".to_owned(), ToString::to_string);
        vec![shown.setting.clone(), value, shown.origin.to_string()]
    };
    let rows: Vec<Vec<String>> = settings.shown.iter().filter(is_told).map(row).collect();
    let table = Table { fixed: &[0, 1, 2], ..Table::new(&["SETTING", "VALUE", "FROM"], &[], &rows) };
    print_table(&table);
    Ok(Exit::Good)
}

fn shown_json(shown: &Shown) -> Value {
    json!({
        "setting": shown.setting, "value": shown.value.as_ref().map(raw_json), "secret": shown.value.is_none(),
        "origin": origin_json(&shown.origin),
    })
}

fn error_json(error: &SettingError) -> Value {
    json!({
        "setting": error.setting, "origin": origin_json(&error.origin), "problem": error.problem, "hint": error.next,
    })
}

fn origin_json(origin: &Origin) -> Value {
    match origin {
        Origin::File { path, line } => json!({"kind": "file", "path": path.as_path(), "line": line}),
        Origin::Variable(name) => json!({"kind": "variable", "name": name}),
        Origin::Flag(name) => json!({"kind": "flag", "name": name}),
        Origin::Default => json!({"kind": "default"}),
    }
}

fn raw_json(raw: &Raw) -> Value {
    match raw {
        Raw::Word(word) => word.to_string_lossy().into(),
        Raw::Text(text) => text.as_str().into(),
        Raw::Integer(number) => (*number).into(),
        Raw::Float(number) => (*number).into(),
        Raw::Boolean(value) => (*value).into(),
        Raw::List(list) => list.iter().map(raw_json).collect(),
        Raw::Table(table) => table.iter().map(|(name, raw)| (name.clone(), raw_json(raw))).collect(),
        Raw::Other => Value::Null,
    }
}
