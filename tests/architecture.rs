//! The tree holds what the table in the crate's documentation says of it. The code is parsed, not searched: imports on
//! several lines, paths in expressions and inside macros, and inherent methods count like all others.

#![allow(clippy::unwrap_used, clippy::panic)]

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// A module by its path below the crate: `["vault", "gc", "mark"]`.
type Module = Vec<String>;

/// A file, the module that it is, and what is in it.
struct Source {
    name: String,
    module: Module,
    code: syn::File,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<Source> {
    let mut folders = vec![root()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                let module = name.trim_end_matches(".rs").trim_end_matches("/mod");
                let module = module.split('/').filter(|part| *part != "lib").map(str::to_owned).collect();
                let code = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
                sources.push(Source { name, module, code });
            }
        }
    }
    assert!(sources.len() > 200, "{}", sources.len());
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    sources
}

/// All paths of a file that lead to a place in this crate, or out of it, from the crate's root: `super` is put right.
struct Paths {
    module: Module,
    found: BTreeSet<Vec<String>>,
    /// Code of tests is left out: a test may look at anything.
    with_tests: bool,
}

impl Paths {
    fn of(source: &Source) -> BTreeSet<Vec<String>> {
        let mut paths = Self { module: source.module.clone(), found: BTreeSet::new(), with_tests: false };
        paths.visit_file(&source.code);
        paths.found
    }

    /// The same path, from the root; other crates' begin with an empty part.
    fn resolved(&self, path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        Some(match path.first()?.as_str() {
            "crate" => path[1..].to_vec(),
            "self" => [&self.module[..], &path[1..]].concat(),
            "super" => [&self.module[..self.module.len().checked_sub(supers)?], &path[supers..]].concat(),
            first if self.module.is_empty() && first != "std" => path.to_vec(),
            _ => [&[String::new()][..], path].concat(),
        })
    }

    fn take(&mut self, path: &[String]) {
        self.found.extend(self.resolved(path));
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Name(name) => {
                self.take(&[&before[..], &[name.ident.to_string()]].concat());
            }
            syn::UseTree::Rename(name) => self.take(&[&before[..], &[name.ident.to_string()]].concat()),
            syn::UseTree::Glob(_) => self.take(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.end(&mut path);
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.take(path);
        }
        path.clear();
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

impl<'a> Visit<'a> for Paths {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.take(&parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    // `pub(in crate::vault)` says who may look, and imports nothing.
    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if is_test(&item.attrs) && !self.with_tests {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }
}

/// Words in backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table: module -> modules that it may import.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let lib = std::fs::read_to_string(root().join("lib.rs")).unwrap();
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! |"));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let module = quoted(cells.first()?).pop()?;
        Some((module, quoted(cells.get(2)?).into_iter().collect()))
    })
    .collect()
}

#[test]
fn every_import_is_in_the_table() {
    let allowed = table();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = source.module.first().filter(|own| *own != "main") else { continue };
        for path in Paths::of(&source) {
            let first = path.first().cloned().unwrap_or_default();
            if allowed.contains_key(&first) && first != *own && !allowed[own].contains(&first) {
                wrong.push(format!("{}: `{own}` may not import `{}`", source.name, path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_names_every_module_and_its_arrows_go_downwards() {
    let allowed = table();
    let lib = sources().into_iter().find(|source| source.name == "lib.rs").unwrap();
    let declared: BTreeSet<String> = lib
        .code
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(declared, allowed.keys().cloned().collect());
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < allowed.len() {
        let next = allowed.iter().find(|(module, imports)| {
            !done.contains(module.as_str()) && imports.iter().all(|import| done.contains(import.as_str()))
        });
        let Some((module, _)) = next else { panic!("a circle among {:?}", allowed.keys()) };
        done.insert(module);
    }
}

/// Files that import one another in a circle. That a child uses what its parent holds, and the parent its child, is
/// what modules are.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reach = |from: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = open.pop() {
            for next in edges.get(&module).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        edges.keys().map(|module| (module, reach(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, reaches) in &reached {
        let circle: Vec<Module> = reaches
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(*module)))
            .cloned()
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

#[test]
fn no_files_of_a_module_import_one_another_in_a_circle() {
    let sources = sources();
    let files: BTreeSet<Module> = sources.iter().map(|source| source.module.clone()).collect();
    let file_of = |path: &[String]| {
        (1..=path.len()).rev().map(|end| path[..end].to_vec()).find(|path| files.contains(path))
    };
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for source in &sources {
        let imported = Paths::of(source).into_iter().filter_map(|path| file_of(&path));
        let others =
            imported.filter(|other| !source.module.starts_with(other) && !other.starts_with(&source.module));
        edges.insert(source.module.clone(), others.collect());
    }
    let found: Vec<String> = circles(&edges)
        .into_iter()
        .map(|circle| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(", "))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Inherent methods: type, and the files that have some.
fn methods(sources: &[Source]) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut methods: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        for item in &source.code.items {
            let syn::Item::Impl(block) = item else { continue };
            let (None, syn::Type::Path(path)) = (&block.trait_, block.self_ty.as_ref()) else { continue };
            let name = path.path.segments.last().unwrap().ident.to_string();
            let top = source.module.first().cloned().unwrap_or_default();
            methods.entry((top, name)).or_default().insert(source.name.clone());
        }
    }
    methods
}

#[test]
fn a_type_has_its_methods_in_the_folder_of_its_own_module() {
    let sources = sources();
    let mut homes: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        for item in &source.code.items {
            let name = match item {
                syn::Item::Struct(item) => &item.ident,
                syn::Item::Enum(item) => &item.ident,
                syn::Item::Union(item) => &item.ident,
                _ => continue,
            };
            let top = source.module.first().cloned().unwrap_or_default();
            let home = source.name.trim_end_matches("/mod.rs").trim_end_matches(".rs");
            homes.entry((top, name.to_string())).or_default().insert(home.to_owned());
        }
    }
    let mut wrong = Vec::new();
    for ((top, name), files) in methods(&sources) {
        let homes = homes.get(&(top.clone(), name.clone())).cloned().unwrap_or_default();
        for file in files {
            let place = file.trim_end_matches("/mod.rs").trim_end_matches(".rs");
            if !homes.iter().any(|home| place == home || place.starts_with(&format!("{home}/"))) {
                wrong.push(format!("{file}: methods of `{name}`, which lives in {homes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files with methods of `Repository`. A job that callers ask for belongs to a type of its own
/// (`docs/design/0022-owners-of-what-a-repository-does.md`): the list only gets shorter.
const METHODS_OF_REPOSITORY: [&str; 12] = [
    "vault/gc/alone.rs",
    "vault/gc/forget.rs",
    "vault/gc/full.rs",
    "vault/gc/mod.rs",
    "vault/gc/survey.rs",
    "vault/gc/sweep.rs",
    "vault/gc/tables.rs",
    "vault/history.rs",
    "vault/mod.rs",
    "vault/objects.rs",
    "vault/session.rs",
    "vault/sync.rs",
];

#[test]
fn the_repository_gets_no_methods_in_other_rooms() {
    let methods = methods(&sources());
    let found = &methods[&("vault".to_owned(), "Repository".to_owned())];
    let wanted: BTreeSet<String> = METHODS_OF_REPOSITORY.map(str::to_owned).into();
    let new: Vec<_> = found.difference(&wanted).collect();
    assert!(new.is_empty(), "give these an owner instead: {new:?}");
    let gone: Vec<_> = wanted.difference(found).collect();
    assert!(gone.is_empty(), "take these off the list: {gone:?}");
}

#[test]
fn only_the_command_line_knows_of_arguments_and_terminals() {
    let terminal = ["clap", "clap_complete", "indicatif", "rpassword"];
    // Questions; the output of a restore and of commands of the caller's own; lines that went through the filter; what
    // only looks at the terminal.
    let writers =
        ["cli/clean.rs", "cli/prompt.rs", "cli/restore.rs", "main.rs", "cli/mod.rs", "cli/style.rs"];
    let mut wrong = Vec::new();
    for source in sources() {
        let is_cli = source.module.first().is_some_and(|module| module == "cli");
        for path in Paths::of(&source) {
            let is_foreign = path.first().is_some_and(String::is_empty);
            let outer = path.get(1).filter(|_| is_foreign).map(String::as_str).unwrap_or_default();
            if terminal.contains(&outer) && !is_cli {
                wrong.push(format!("{} uses {outer}", source.name));
            }
            let is_writer = matches!(path.last().map(String::as_str), Some("stderr" | "stdout"))
                && is_foreign
                && matches!(outer, "std" | "io");
            if is_writer && !writers.contains(&source.name.as_str()) {
                wrong.push(format!("{} writes past the filter of `cli::clean`", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What outside `cli` reaches past the observer: `Visit` over a file, tests left out.
struct Reaches {
    found: Vec<String>,
}

impl Reaches {
    fn of(source: &Source) -> Vec<String> {
        let mut reaches = Self { found: Vec::new() };
        reaches.visit_file(&source.code);
        reaches.found
    }
}

impl<'a> Visit<'a> for Reaches {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        let name = call.path.segments.last().map(|part| part.ident.to_string()).unwrap_or_default();
        if ["print", "println", "eprint", "eprintln", "dbg"].contains(&name.as_str()) {
            self.found.push(format!("{name}!"));
        }
        visit::visit_macro(self, call);
    }

    fn visit_expr_path(&mut self, path: &'a syn::ExprPath) {
        let parts: Vec<String> = path.path.segments.iter().map(|part| part.ident.to_string()).collect();
        // A child's output that is this process's own.
        if let [.., stdio, inherit] = parts.as_slice()
            && stdio == "Stdio"
            && inherit == "inherit"
        {
            self.found.push("Stdio::inherit".to_owned());
        }
        visit::visit_expr_path(self, path);
    }

    fn visit_lit_str(&mut self, text: &'a syn::LitStr) {
        if ["/dev/tty", "/dev/stdout", "/dev/stderr", "/dev/console"].contains(&text.value().as_str()) {
            self.found.push(text.value());
        }
    }
}

/// Programs that write where this one does: what a restore was told to feed with `--command`, and the complaints of the
/// command that prints a passphrase.
const SHARES_ITS_OUTPUT: [&str; 2] = ["engine/app/passphrase.rs", "source/command.rs"];

#[test]
fn only_the_command_line_writes_to_a_terminal() {
    let streams = ["stdout", "stderr", "Stdout", "Stderr", "IsTerminal", "StdoutLock", "StderrLock"];
    let mut wrong = Vec::new();
    let mut sharing = BTreeSet::new();
    for source in sources() {
        // `main.rs` asks whether standard output is open, before the runtime opens it.
        if source.module.first().is_some_and(|module| module == "cli" || module == "main") {
            continue;
        }
        for path in Paths::of(&source).into_iter().filter(|path| path.first().is_some_and(String::is_empty)) {
            let outer = path.get(1).map(String::as_str).unwrap_or_default();
            let last = path.last().map(String::as_str).unwrap_or_default();
            let is_stream = ["std", "io", "rustix", "libc"].contains(&outer) && streams.contains(&last);
            let is_whole = path.iter().map(String::as_str).eq(["", "std", "io"]);
            if is_stream || path.iter().any(|part| part == "termios") {
                wrong.push(format!("{} uses {}", source.name, path.join("::")));
            }
            // `use std::io::*` would hide the rest.
            assert!(
                !is_whole || !has_glob(&source.code),
                "{}: import what is used of `std::io`",
                source.name
            );
        }
        for reached in Reaches::of(&source) {
            match reached.as_str() {
                "Stdio::inherit" if SHARES_ITS_OUTPUT.contains(&source.name.as_str()) => {
                    sharing.insert(source.name.clone());
                }
                _ => wrong.push(format!("{} uses {reached}", source.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "only `cli` may write to a terminal:\n{}", wrong.join("\n"));
    assert_eq!(sharing.len(), SHARES_ITS_OUTPUT.len(), "a file shares it no more: take it off the list");
}

/// Whether a file has `use std::io::*`.
fn has_glob(code: &syn::File) -> bool {
    struct Globs(bool);
    impl<'a> Visit<'a> for Globs {
        fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
            let (mut tree, mut path) = (&item.tree, Vec::new());
            while let syn::UseTree::Path(inner) = tree {
                path.push(inner.ident.to_string());
                tree = &inner.tree;
            }
            self.0 |= matches!(tree, syn::UseTree::Glob(_)) && path == ["std", "io"];
        }
    }
    let mut globs = Globs(false);
    globs.visit_file(code);
    globs.0
}

/// What `cli` names of the modules below the engine: values that jobs, plans and reports of the engine are made of. The
/// list only gets shorter; what is new goes through `engine`.
const BELOW_THE_ENGINE: &str = include_str!("fixtures/cli_names_below_engine.txt");

/// A path without what is inside its first type: `vault::RepoError::Crypto` is `vault::RepoError`.
fn item(path: &[String]) -> String {
    let is_type = |part: &String| part.starts_with(|first: char| first.is_ascii_uppercase());
    let end = path.iter().position(is_type).map_or(path.len(), |at| at + 1);
    path[..end].join("::")
}

#[test]
fn the_command_line_names_nothing_new_below_the_engine() {
    let below = ["content", "source", "storage", "vault"];
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let is_test = source.name.ends_with("/tests.rs");
        if is_test || source.module.first().is_none_or(|module| module != "cli") {
            continue;
        }
        for path in Paths::of(&source) {
            if path.first().is_some_and(|first| below.contains(&first.as_str())) {
                named.entry(item(&path)).or_default().insert(source.name.clone());
            }
        }
    }
    let frozen: Vec<&str> =
        BELOW_THE_ENGINE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(frozen.is_sorted(), "the list is in order");
    let new: Vec<String> = named
        .iter()
        .filter(|(item, _)| !frozen.contains(&item.as_str()))
        .map(|(item, files)| format!("{item} (in {})", files.iter().cloned().collect::<Vec<_>>().join(", ")))
        .collect();
    assert!(new.is_empty(), "`cli` gets this from `engine`, or `engine` does it:\n{}", new.join("\n"));
    let gone: Vec<&str> = frozen.into_iter().filter(|item| !named.contains_key(*item)).collect();
    assert!(gone.is_empty(), "named no more: take it off the list:\n{}", gone.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut missing = Vec::new();
    for folder in ["library", "program", "storage_clouds", "storage_programs", "storage_s3", "support"] {
        let folder = tests.join(folder);
        let main = if folder.ends_with("support") { "mod.rs" } else { "main.rs" };
        let main = syn::parse_file(&std::fs::read_to_string(folder.join(main)).unwrap()).unwrap();
        let declared: BTreeSet<String> = main
            .items
            .iter()
            .filter_map(|item| match item {
                syn::Item::Mod(module) => Some(module.ident.to_string()),
                _ => None,
            })
            .collect();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_code = path.extension().is_some_and(|extension| extension == "rs");
            if is_code && !["main", "mod"].contains(&name.as_str()) && !declared.contains(&name) {
                missing.push(path.display().to_string());
            }
        }
    }
    assert!(missing.is_empty(), "compiled into no test: {missing:?}");
}

#[test]
fn paths_are_found_in_all_their_forms() {
    let code = "use crate::{\n    vault::{x, y as z},\n    base::id,\n};\nfn f() -> super::G { let a: crate::storage::S; assert!(crate::source::ok(self::h())); std::io::stdout() }\n\
                #[cfg(test)] mod tests { use crate::cli; }";
    let code = syn::parse_file(code).unwrap();
    let module = vec!["engine".to_owned(), "copy".to_owned()];
    let found = Paths::of(&Source { name: String::new(), module, code });
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        [
            "::std::io::stdout",
            "base::id",
            "engine::G",
            "engine::copy::h",
            "source::ok",
            "storage::S",
            "vault::x",
            "vault::y",
        ]
    );
    let module = |name: &str| vec![name.to_owned()];
    let edges = BTreeMap::from([
        (module("a"), BTreeSet::from([module("b")])),
        (module("b"), BTreeSet::from([module("c")])),
        (module("c"), BTreeSet::from([module("a")])),
        (module("d"), BTreeSet::from([module("a")])),
    ]);
    assert_eq!(circles(&edges), [vec![module("a"), module("b"), module("c")]]);
}
