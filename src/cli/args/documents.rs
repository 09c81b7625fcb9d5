//! Documents show commands: each is one that this program takes. `docs/cli.md` is made from the program.

use super::{Cli, shown};
use crate::cli::manual::{own, visible};
use clap::{CommandFactory, Parser};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// All documents, with their names.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = vec![root.join("README.md")];
    for folder in ["docs", "docs/design"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        paths.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|end| end == "md")),
        );
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The words of a line of a shell, as far as documents need it; `None` where only a shell can tell.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote, mut is_open) = (Vec::new(), String::new(), None, false);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(mark), _) if letter == mark => quote = None,
            (Some(_), _) => word.push(letter),
            (None, '\'' | '"') => (quote, is_open) = (Some(letter), true),
            (None, '#') if !is_open => break,
            (None, '|' | '>' | '<' | ';' | '&') => break,
            (None, '$' | '`' | '…' | '[') => return None,
            (None, ' ') if is_open => {
                words.push(std::mem::take(&mut word));
                is_open = false;
            }
            (None, ' ') => {}
            (None, _) => {
                word.push(letter);
                is_open = true;
            }
        }
    }
    if is_open {
        words.push(word);
    }
    quote.is_none().then_some(words)
}

/// Commands in blocks of code, and between backticks in a table whose second column is one.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            let begin = line.find("dumpvault ").filter(|at| {
                let before = line[..*at].trim_end();
                before.is_empty() || before.ends_with(['$', '|', '/']) || before.ends_with("root")
            });
            found.extend(begin.map(|at| line[at..].to_owned()));
        } else {
            let marked = line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("dumpvault "));
            found.extend(marked.map(str::to_owned));
        }
    }
    found
}

/// Words that stand for something: NAME, FILE.
fn is_for_something(word: &str) -> bool {
    let letters = word.trim_matches(|letter: char| !letter.is_ascii_alphabetic());
    letters.len() > 1
        && letters.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_' || letter == '-')
}

/// What names old commands, or words that only look like commands.
fn is_no_manual(name: &str) -> bool {
    name.ends_with("CHANGELOG.md") || name.ends_with("format.md")
}

#[test]
fn every_command_in_the_documents_is_one() {
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for (name, text) in documents().into_iter().filter(|(name, _)| !is_no_manual(name)) {
        for command in commands(&text) {
            let Some(words) = words(&command) else { continue };
            // Only an example of how commands look.
            if words.iter().any(|word| is_for_something(word) || word.starts_with("/usr/")) {
                continue;
            }
            tried += 1;
            match Cli::try_parse_from(&words) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        clap::error::ErrorKind::DisplayHelp
                            | clap::error::ErrorKind::DisplayVersion
                            | clap::error::ErrorKind::MissingRequiredArgument
                            | clap::error::ErrorKind::MissingSubcommand
                            | clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    ) =>
                {
                    wrong.push(format!("{name}: {command}: {}", error.kind()));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 150, "only {tried} commands found");
}

/// Names that still work and that nobody is told of: hidden aliases of options and commands, and hidden options.
#[derive(Default)]
struct OldNames {
    /// Words that no command has for something else.
    words: BTreeSet<String>,
    current: BTreeSet<String>,
}

impl OldNames {
    fn of(command: &clap::Command) -> Self {
        let mut names = Self::default();
        names.add(command);
        let Self { words, current } = &mut names;
        words.retain(|word| !current.contains(word));
        names
    }

    fn add(&mut self, command: &clap::Command) {
        for arg in command.get_arguments() {
            let visible = arg.get_long().into_iter().chain(arg.get_visible_aliases().unwrap_or_default());
            self.current.extend(visible.map(|name| format!("--{name}")));
            let all = arg.get_all_aliases().unwrap_or_default();
            self.words.extend(all.iter().map(|name| format!("--{name}")));
        }
        for one in command.get_subcommands() {
            let is_shown = |alias: &&str| one.get_visible_aliases().any(|visible| visible == *alias);
            for alias in one.get_all_aliases().filter(|alias| !is_shown(alias)) {
                self.words.extend([format!("dumpvault {alias} "), format!("`{alias} ")]);
            }
            self.add(one);
        }
    }

    /// The first old name in a text of any kind.
    fn in_text<'a>(&'a self, text: &str) -> Option<&'a str> {
        let is_there = |word: &&String| {
            text.match_indices(word.as_str()).any(|(at, _)| {
                let after = text[at + word.len()..].chars().next();
                word.ends_with(' ') || !after.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_')
            })
        };
        self.words.iter().find(is_there).map(String::as_str)
    }
}

/// The first old name among the words of a command line.
fn old_name(words: &[String]) -> Option<String> {
    let mut command = Cli::command();
    for word in words.iter().skip(1).take_while(|word| *word != "--") {
        if let Some(long) = word.strip_prefix("--") {
            let long = long.split('=').next().unwrap_or_default();
            let is_hidden = command.get_arguments().any(|arg| {
                let is_alias = arg.get_all_aliases().is_some_and(|all| all.contains(&long));
                let is_shown = arg.get_visible_aliases().is_some_and(|all| all.contains(&long));
                is_alias && !is_shown || arg.is_hide_set() && arg.get_long() == Some(long)
            });
            if is_hidden {
                return Some(word.clone());
            }
        } else if let Some(below) = command.find_subcommand(word) {
            if below.get_name() != word && !below.get_visible_aliases().any(|alias| alias == word) {
                return Some(word.clone());
            }
            command = below.clone();
        }
    }
    None
}

/// All texts below a folder of the project whose names end so.
fn texts(folder: &Path, ends: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, ends, found);
        } else if path.extension().is_some_and(|end| ends.iter().any(|one| end == *one)) {
            found.push(path);
        }
    }
}

#[test]
fn the_documents_use_no_old_name() {
    let mut wrong = Vec::new();
    let (mut tried, names) = (0, OldNames::of(&Cli::command()));
    assert!(names.words.contains("--pg-globals".replace("pg-", "").as_str()), "{:?}", names.words);
    for (name, text) in documents().into_iter().filter(|(name, _)| !name.ends_with("CHANGELOG.md")) {
        for command in commands(&text) {
            let Some(words) = words(&command) else { continue };
            tried += 1;
            wrong.extend(old_name(&words).map(|word| format!("{name}: {command}: `{word}` is an old name")));
        }
        wrong.extend(names.in_text(&text).map(|word| format!("{name}: `{word}` is an old name")));
    }
    assert!(tried > 150, "only {tried} commands found");
    // Hints, errors and tests, too.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "contrib"] {
        texts(&root.join(folder), &["rs", "sh", "py", "service", "timer", "yml"], &mut paths);
    }
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        wrong.extend(names.in_text(&text).map(|word| format!("{}: `{word}` is an old name", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn old_names_still_work() {
    for (old, new) in [
        ("backup --name app --stdin", "backup --series app --stdin"),
        ("backup --pg-all --GLOBALS", "backup --pg-all --pg-globals"),
        ("backup --pg-all --EXEC ssh", "backup --pg-all --pg-exec ssh"),
        ("restore app --to app.dump", "restore app --output app.dump"),
        ("verify app --EXEC ssh", "verify app --pg-exec ssh"),
        ("check --structure", "check"),
        ("LOCK extend", "object-lock extend"),
    ] {
        // In capitals, so that this file has none of the old names.
        let old = old.replace("GLOBALS", "globals").replace("EXEC", "exec").replace("LOCK", "lock");
        let parsed = |line: &str| {
            let cli = Cli::try_parse_from(std::iter::once("dumpvault").chain(line.split(' '))).unwrap();
            format!("{:?}", cli.command).replace("structure: true", "structure: false")
        };
        assert_eq!(parsed(&old), parsed(new));
    }
}

/// Columns of help at most, as the command line has it.
const HELP_COLUMNS: usize = 100;

/// The help of all commands, as a page.
fn reference() -> String {
    let mut page = "# Command line

This page is made from `dumpvault help`. Options of the first section go with every command.
"
    .to_owned();
    let mut left = vec![("dumpvault".to_owned(), shown())];
    while let Some((name, command)) = left.pop() {
        // The last one pushed comes first.
        let below: Vec<_> =
            visible(&command).map(|one| (format!("{name} {}", one.get_name()), own(one.clone()))).collect();
        left.extend(below.into_iter().rev());
        let words = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let broken = words.lines().find(|line| line.chars().count() > HELP_COLUMNS);
        assert_eq!(broken, None, "{name}: a line that is broken anew is hard to read");
        let help = command.term_width(HELP_COLUMNS).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    }
    page
}

#[test]
fn the_reference_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let made = reference();
    if std::env::var_os("DUMPVAULT_TEST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "write docs/cli.md anew: DUMPVAULT_TEST_WRITE_DOCS=1 cargo test --lib documents");
}

/// Commands with `--dry-run`, as `docs/json` names them.
fn with_dry_run() -> Vec<String> {
    let mut root = Cli::command();
    root.build();
    let (mut left, mut found) = (vec![(String::new(), root)], Vec::new());
    while let Some((name, command)) = left.pop() {
        if command.get_arguments().any(|option| option.get_long() == Some("dry-run")) {
            found.push(name.clone());
        }
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        left.extend(below.map(|below| (format!("{name}-{}", below.get_name()), below.clone())));
    }
    found.sort();
    found.iter().map(|name| name.trim_start_matches('-').to_owned()).collect()
}

#[test]
fn every_dry_run_has_a_plan_for_programs() {
    // It prints what several commands print, and refuses `--json` as a whole.
    const FOR_PEOPLE: [&str; 1] = ["setup"];
    let schemas: BTreeMap<_, _> = crate::engine::report::schemas().into_iter().collect();
    let commands = with_dry_run();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands.iter().filter(|command| !FOR_PEOPLE.contains(&command.as_str())) {
        let schema = schemas.get(command.as_str()).map(|schema| schema.as_value().to_string());
        let schema = schema.unwrap_or_else(|| panic!("no schema of `{command}`"));
        assert!(schema.contains("\"dry_run\":"), "`{command} --dry-run --json` does not say that it is one");
    }
}

#[test]
fn no_sentence_of_the_help_has_more_than_40_words() {
    let page = reference();
    let mut wrong = Vec::new();
    let is_prose = |paragraph: &&str| {
        let begin = paragraph.trim_start();
        !["Examples", "dumpvault ", "Usage", "Exit codes", "Snapshot names", "[", "Commands", "#"]
            .iter()
            .any(|word| begin.starts_with(word))
    };
    for paragraph in page.split("\n\n").filter(is_prose) {
        let mut words = 0;
        for word in paragraph.split_whitespace() {
            words += 1;
            if words > 40 {
                wrong.push(paragraph.trim().to_owned());
                break;
            }
            if word.trim_end_matches([')', '`', '"']).ends_with(['.', '!', '?']) {
                words = 0;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
