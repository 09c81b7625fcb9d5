//! `dumpvault config`.

use super::args::ConfigCommand;
use super::exit::Exit;
use super::report::CliError;
use super::said::Said;
use super::table::Table;
use super::{clean, print, print_as_is, print_report, print_table};
use crate::base::setting::{Origin, SettingError, Shown, example};
use crate::engine::app::{self, sections};
use crate::engine::report::{CheckedConfig, ShownConfig};
use crate::settings::{ConfigError, Environment, Flags};

pub(super) fn run(
    command: ConfigCommand,
    flags: &Flags,
    environment: &Environment,
    is_json: bool,
    said: &Said,
) -> Result<Exit, CliError> {
    match command {
        ConfigCommand::Example => {
            print_as_is(example(&sections()).trim_end());
            Ok(Exit::Good)
        }
        ConfigCommand::Check => check(flags, environment, is_json, said),
        ConfigCommand::Show => show(flags, environment, is_json, said),
    }
}

fn check(flags: &Flags, environment: &Environment, is_json: bool, said: &Said) -> Result<Exit, CliError> {
    let (file, errors) = match app::settings(flags, environment) {
        Ok(settings) => (settings.file, Vec::new()),
        Err(ConfigError::Settings(errors)) => (None, errors),
        Err(error) => return Err(error.into()),
    };
    let exit = if errors.is_empty() { Exit::Good } else { Exit::Usage };
    if is_json {
        print_report(CheckedConfig::new(file.as_deref(), &errors, exit.code()), said);
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
        (0, None) => {
            let places = environment.config_files().map(|path| format!("`{}`", path.display())).join(", ");
            print("no configuration file found; options, environment variables and defaults are used");
            print(&format!("looked for {places}; `dumpvault config example` prints a file to start from"));
        }
        (1, _) => clean::tell("dumpvault: error: 1 setting is wrong"),
        (count, _) => clean::tell(&format!("dumpvault: error: {count} settings are wrong")),
    }
    Ok(exit)
}

fn show(flags: &Flags, environment: &Environment, is_json: bool, said: &Said) -> Result<Exit, CliError> {
    let settings = app::settings(flags, environment)?;
    if is_json {
        print_report(ShownConfig::new(settings.file.as_deref(), &settings.shown), said);
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
