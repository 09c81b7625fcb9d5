//! Documents show commands: each is one that this program takes. `docs/cli.md` is made from the program.

use super::Cli;
use crate::cli::manual::{own, visible};
use clap::{CommandFactory, Parser};
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

/// The help of all commands, as a page.
fn reference() -> String {
    let mut page = "# Command line

This page is made from `dumpvault help`. Options of the first section go with every command.
"
    .to_owned();
    let mut root = Cli::command();
    root.build();
    let mut left = vec![("dumpvault".to_owned(), root)];
    while let Some((name, command)) = left.pop() {
        // The last one pushed comes first.
        let below: Vec<_> =
            visible(&command).map(|one| (format!("{name} {}", one.get_name()), own(one.clone()))).collect();
        left.extend(below.into_iter().rev());
        let help = command.term_width(100).render_long_help().to_string();
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
