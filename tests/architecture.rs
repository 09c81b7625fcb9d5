//! The table of allowed imports in the crate's documentation holds for every file.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Words in backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table: module -> modules that it may import.
fn table(lib: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! |"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let module = quoted(cells.get(1)?).pop()?;
        Some((module, quoted(cells.get(2)?).into_iter().collect()))
    })
    .collect()
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The first parts of all paths that begin with `crate::`, also of a group in braces.
fn imports(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        // `$crate` and names that end in `crate` are others.
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group.split([',', '}']).map(word).filter(|name| !name.is_empty())),
            None => found.push(word(rest)),
        }
    }
    found
}

#[test]
fn every_import_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = read(&root.join("lib.rs"));
    let allowed = table(&lib);
    let declared: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, allowed.keys().cloned().collect(), "the table names every module, and no other");

    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "{}", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let inner = file.strip_prefix(&root).unwrap();
        let first = inner.iter().next().unwrap().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        if module == "lib" || module == "main" {
            continue;
        }
        for (number, line) in read(file).lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for import in imports(line) {
                if import != module && !allowed[module].contains(&import) {
                    wrong.push(format!(
                        "{}:{}: `{module}` may not import `{import}`",
                        inner.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_form_no_cycle() {
    let allowed = table(&read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")));
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < allowed.len() {
        let next = allowed.iter().find(|(module, imports)| {
            !done.contains(module.as_str()) && imports.iter().all(|import| done.contains(import.as_str()))
        });
        let Some((module, _)) = next else { panic!("a cycle among {:?}", allowed.keys()) };
        done.insert(module);
    }
}

#[test]
fn imports_are_found_in_all_their_forms() {
    assert_eq!(imports("use crate::vault::x; let y = crate::base::id::Z;"), ["repo", "id"]);
    assert_eq!(imports("use crate::{event::Event, id};"), ["event", "id"]);
}

#[test]
fn only_the_filter_and_what_has_a_reason_write_to_a_terminal() {
    // Questions; the output of a restore and of commands of the caller's own; lines that went through the filter; what only looks at
    // the terminal.
    let allowed = [
        "cli/clean.rs",
        "cli/prompt.rs",
        "cli/restore.rs",
        "cli/restore/hooks.rs",
        "cli/mod.rs",
        "cli/style.rs",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let touches = ["stderr()", "stdout()", "ProgressBar::println", "print!("];
        let touches = |line: &str| {
            touches.iter().any(|word| line.contains(word))
                && !line.contains("take_")
                && !line.contains("use_stderr()")
                && !line.trim_start().starts_with("//")
        };
        let found = read(&file).lines().any(touches);
        assert!(!found || allowed.contains(&name.as_str()), "{name} writes past the filter of `cli::clean`");
    }
}
