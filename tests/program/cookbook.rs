//! Recipes are tried as they stand in the documents: units, lines of cron, YAML, commands. Only what tests cannot have
//! is replaced: paths of the system, and the place of the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::cli::{Vault, exit, run};
use std::path::{Path, PathBuf};
use std::process::Command;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_dumpvault"))
}

/// Blocks of code in a language, each with the last line of prose before it.
fn blocks(text: &str, language: &str) -> Vec<(String, String)> {
    let (mut found, mut before, mut open) = (Vec::new(), String::new(), None);
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(own)) => open = Some((own == language, String::new())),
            (Some(_), Some(_)) => {
                let (is_wanted, code) = open.take().unwrap();
                if is_wanted {
                    found.push((before.clone(), code));
                }
            }
            (Some((_, code)), None) => {
                code.push_str(line);
                code.push('\n');
            }
            (None, None) if line.trim().is_empty() => {}
            (None, None) => before = line.to_owned(),
        }
    }
    found
}

#[test]
fn every_unit_of_the_cookbook_is_one_that_systemd_takes() {
    let text = page("cookbook.md");
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (before, unit) in blocks(&text, "ini") {
        let path = before.split('`').find(|part| part.starts_with("/etc/systemd/system/"));
        let name = path.unwrap_or_else(|| panic!("a unit without a path: {before}"));
        let name = name.rsplit('/').next().unwrap().to_owned();
        // The program is not installed where tests run; its arguments are tried below.
        let unit = unit.replace("/usr/local/bin/dumpvault", "/bin/true");
        std::fs::write(folder.path().join(&name), unit).unwrap();
        names.push(format!("./{name}"));
    }
    assert!(names.len() >= 4, "{names:?}");
    let mut verify = Command::new("systemd-analyze");
    let out = verify.arg("verify").args(&names).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn every_line_of_cron_has_its_fields_and_a_command_that_the_program_takes() {
    let mut tried = 0;
    for (name, text) in [("cookbook.md", page("cookbook.md")), ("../README.md", page("../README.md"))] {
        let all: String = blocks(&text, "").into_iter().map(|(_, code)| code).collect();
        for line in all.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit() || c == '*')) {
            let mut words = line.split_whitespace();
            let fields: Vec<&str> = words.by_ref().take(5).collect();
            let limits = [59, 23, 31, 12, 7];
            for (field, limit) in fields.iter().zip(limits) {
                let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number <= limit);
                let is_right = match field.split_once('/') {
                    Some(("*", step)) => number(step),
                    _ => *field == "*" || number(field),
                };
                assert!(is_right, "{name}: `{field}` in {line}");
            }
            let user = words.next().unwrap();
            assert!(user.chars().all(|c| c.is_ascii_lowercase()), "{name}: {line}");
            let command = words.next().unwrap();
            assert!(command == "/usr/local/bin/dumpvault" || command == "dumpvault", "{name}: {line}");
            // In a crontab a `%` ends the command.
            assert!(!line.contains('%'), "{name}: {line}");
            let arguments: Vec<&str> = words.collect();
            let mut help = Command::new(program());
            let out = help.args(&arguments).arg("--help").output().unwrap();
            assert!(out.status.success(), "{name}: {line}: {}", String::from_utf8_lossy(&out.stderr));
            tried += 1;
        }
    }
    assert!(tried >= 7, "{tried}");
}

#[test]
fn every_yaml_of_the_cookbook_is_yaml_and_names_commands_of_the_program() {
    let text = page("cookbook.md");
    let python = std::env::var_os("DUMPVAULT_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let yamls = blocks(&text, "yaml");
    assert_eq!(yamls.len(), 2);
    let script = "
import sys, yaml, json
def commands(node):
    if isinstance(node, dict):
        if 'args' in node: yield node['args']
        if 'entrypoint' in node: yield node['entrypoint'][1:]
        for below in node.values(): yield from commands(below)
    elif isinstance(node, list):
        for below in node: yield from commands(below)
print(json.dumps(list(commands(yaml.safe_load(sys.argv[1])))))
";
    for (_, yaml) in yamls {
        let out = Command::new(&python).args(["-c", script, &yaml]).output().unwrap();
        assert!(out.status.success(), "{yaml}: {}", String::from_utf8_lossy(&out.stderr));
        let commands: Vec<Vec<String>> = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(commands.len(), 1, "{yaml}");
        let mut help = Command::new(program());
        let out = help.args(&commands[0]).arg("--help").output().unwrap();
        assert!(out.status.success(), "{commands:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

/// The program as the first in PATH, in this home.
fn shell(vault: &Vault, script: &str) -> Command {
    let mut command = vault.shell(&format!("set -eu\n{script}"));
    let bin = program().parent().unwrap().to_owned();
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command
}

/// The first block of commands below a heading.
fn commands_below(text: &str, heading: &str) -> String {
    let below = text.split(&format!("\n{heading}\n")).nth(1).unwrap();
    blocks(below, "sh").swap_remove(0).1
}

#[test]
fn old_dumps_are_imported_by_the_commands_of_the_page() {
    let text = page("migrating.md");
    let script = commands_below(&text, "## Import old dumps");
    let vault = Vault::new();
    // Any bytes: what a dump is does not matter to the commands.
    std::fs::write(vault.work().join("app-2026-10-01.dump"), b"one").unwrap();
    let made = run(vault.shell("printf two | gzip > app-2026-10-02.sql.gz"), b"");
    made.expect(exit::OK);
    run(shell(&vault, &script), b"").expect(exit::OK);
    let times: Vec<String> =
        vault.snapshots().iter().map(|one| one["time"].as_str().unwrap()[..10].to_owned()).collect();
    assert_eq!(times, ["2026-10-01", "2026-10-02"]);
    assert_eq!(vault.run(["cat", "app@2026-10-02"]).expect(exit::OK).stdout, b"two");
}

#[test]
fn the_night_and_the_maintenance_have_keys_of_their_own_by_the_commands_of_the_page() {
    let text = page("cookbook.md");
    let script = commands_below(&text, "## Two keys: one for the night, one for maintenance");
    let (first, rest) = script.split_once("# Copy ").unwrap();
    let (night, maintenance) = rest.split_once("# On the maintenance host, nightly:\n").unwrap();
    let (_, night) = night.split_once('\n').unwrap();
    let vault = Vault::new();
    let key = vault.home().join("db1.key");
    let config = "host = 'db1'\n[retention]\nkeep_daily = 7\n[source.app]\ncommand = ['printf', 'one']\n";
    std::fs::write(vault.work().join("dumpvault.toml"), config).unwrap();
    run(shell(&vault, &first.replace("/root/db1.key", key.to_str().unwrap())), b"").expect(exit::OK);
    let mut by_night = shell(&vault, night);
    by_night.env("DUMPVAULT_KEY_FILE", &key);
    run(by_night, b"").expect(exit::OK);
    run(shell(&vault, maintenance), b"").expect(exit::OK);
    // The key of the night reads nothing.
    let mut read = vault.command(["cat", "db1/app"]);
    read.env("DUMPVAULT_KEY_FILE", &key);
    run(read, b"").expect(exit::WRONG_KEY);
    assert_eq!(vault.run(["cat", "db1/app"]).expect(exit::OK).stdout, b"one");
}
