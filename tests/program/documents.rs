//! Documents: their links lead somewhere, their configurations hold, their commands do what they say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::pg::Server;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

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

#[test]
fn every_link_between_documents_leads_somewhere() {
    let all = documents();
    let anchor = |title: &str| -> String {
        let kept = title.trim().to_lowercase();
        let kept =
            kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    let mut wrong = Vec::new();
    for (name, text) in &all {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let path = match file {
                "" => root.join(name),
                file => root.join(name).parent().unwrap().join(file),
            };
            let known = path.exists()
                && (part.is_empty()
                    || std::fs::read_to_string(&path).is_ok_and(|text| {
                        text.lines()
                            .filter(|line| line.starts_with('#'))
                            .any(|line| anchor(line.trim_start_matches('#')) == part)
                    }));
            if !known {
                wrong.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_configuration_in_the_cookbook_holds() {
    let (_, text) = documents().into_iter().find(|(name, _)| name == "docs/cookbook.md").unwrap();
    let blocks: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 3);
    for block in blocks {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, block).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut check = Command::new(env!("CARGO_BIN_EXE_dumpvault"));
        let output = check.env_clear().arg("--config").arg(&path).args(["config", "check"]).output().unwrap();
        assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The first block of commands below a heading.
fn block_below<'a>(text: &'a str, heading: &str) -> &'a str {
    let below = text.split(&format!("\n{heading}\n")).nth(1).unwrap();
    below.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

#[test]
fn the_first_backup_of_the_install_page_works_as_it_stands_there() {
    let (_, text) = documents().into_iter().find(|(name, _)| name == "docs/install.md").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let script = block_below(&text, "## First backup")
        .replace("/etc/dumpvault", &format!("{root}/etc"))
        .replace("/srv/vault", &format!("{root}/vault"))
        .replace("/tmp/restored", &format!("{root}/restored"));
    let bin = Path::new(env!("CARGO_BIN_EXE_dumpvault")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-euc", &script])
        .env_clear()
        .envs([("PATH", path.as_str()), ("HOME", root), ("XDG_STATE_HOME", root), ("XDG_CACHE_HOME", root)])
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let restored = std::fs::read(dir.path().join("restored/etc/hostname")).unwrap();
    assert_eq!(restored, std::fs::read("/etc/hostname").unwrap());
}

/// Commands of the README that its test does not run, by what they begin with, and why.
const NOT_FOLLOWED: [(&str, &str); 1] = [("cargo install", "it builds the program, which this test has")];

/// From a machine with nothing of dumpvault to a verified backup and the lines of cron, each of which is run once; then
/// what follows there. Addresses stand as they are: `PGHOSTADDR` and `PGPORT` say where `db1` is.
#[allow(clippy::print_stdout, reason = "the time is what the test is to show")]
#[test]
fn the_five_minutes_of_the_readme_work_as_they_stand_there() {
    let (_, text) = documents().into_iter().find(|(name, _)| name == "README.md").unwrap();
    let section = text.split("\n## Five minutes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = |kind: &str| {
        let begin = format!("```{kind}\n");
        section.split(&begin).skip(1).filter_map(|rest| rest.split("```").next()).collect::<String>()
    };
    let server = Server::start();
    let rules = server.psql("postgres", "SHOW hba_file");
    let mut hba = std::fs::OpenOptions::new().append(true).open(rules.trim()).unwrap();
    hba.write_all(b"host all all 127.0.0.1/32 trust\n").unwrap();
    server.psql("postgres", "SELECT pg_reload_conf()");
    server.create("app");
    server.psql(
        "app",
        "CREATE TABLE orders AS SELECT i AS id, md5(i::text) AS what FROM generate_series(1, 5000) i",
    );
    // What the section says that a role needs.
    blocks("sql").lines().for_each(|line| drop(server.psql("postgres", line)));

    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_dumpvault")).parent().unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", bin.display(), server.bin().display());
    let shell = |script: &str| {
        let script = script.replace("/srv/", &format!("{root}/srv/"));
        let output = Command::new("sh")
            .args(["-euc", &script])
            .env_clear()
            .current_dir(root)
            .envs([("PATH", path.as_str()), ("HOME", root), ("XDG_CONFIG_HOME", root)])
            .envs([("PGHOSTADDR", "127.0.0.1"), ("PGPORT", &server.port().to_string())])
            .output()
            .unwrap();
        let [said, warned] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{script}\n{said}{warned}");
        said
    };
    std::fs::create_dir(dir.path().join("srv")).unwrap();
    let commands: Vec<String> =
        blocks("sh").lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
    let is_followed = |line: &&String| {
        !NOT_FOLLOWED.iter().any(|(begin, _)| line.starts_with(begin)) && !line.starts_with('#')
    };
    let started = Instant::now();
    let (mut said, mut before) = (Vec::new(), String::new());
    for line in commands.iter().filter(is_followed) {
        // One shell follows all of it: what is exported holds from there on.
        if line.starts_with("export ") {
            before = format!("{before}{line}\n");
            continue;
        }
        let line = &format!("{before}{line}");
        if said.is_empty() {
            // What it took is what a new user waits for.
            said.push(shell(line));
            println!("from nothing to a verified backup: {:.1} s", started.elapsed().as_secs_f64());
            let cron = said[0].lines().filter(|line| line.contains("  root  "));
            let jobs: Vec<&str> = cron.filter_map(|line| line.split("  root  ").nth(1)).collect();
            assert_eq!(jobs.len(), 3, "{}", said[0]);
            jobs.iter().for_each(|job| drop(shell(job)));
            println!("and its schedule, run once: {:.1} s", started.elapsed().as_secs_f64());
            server.psql("app", "DELETE FROM orders WHERE id > 4000");
        } else {
            said.push(shell(line));
        }
    }
    println!("all of it: {:.1} s", started.elapsed().as_secs_f64());
    assert!(said.len() > 8, "{commands:?}");
    assert!(said[0].contains("Done in ") && said[0].contains("verified"), "{}", said[0]);
    let rows = |database: &str| server.psql(database, "SELECT count(*) FROM orders").trim().to_owned();
    // What was deleted is in the first backup.
    assert_eq!(
        (rows("app"), rows("app_before"), rows("app_orders")),
        ("4000".into(), "5000".into(), "4000".into())
    );
    assert!(dir.path().join("app.dump").metadata().unwrap().len() > 100_000);
}

/// Whoever keeps the reader beside a repository has this one file.
#[test]
fn the_reader_in_python_names_the_packages_that_the_tests_give_it() {
    let read =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (reader, requirements) = (read("tests/independent_reader.py"), read("tests/requirements.txt"));
    let header = reader.split("# /// script\n").nth(1).unwrap().split("# ///\n").next().unwrap();
    let named: Vec<&str> =
        header.lines().filter_map(|line| line.strip_prefix("#     \"")?.strip_suffix("\",")).collect();
    let installed: Vec<&str> = requirements.split("\n\n").next().unwrap().lines().collect();
    let installed: Vec<&str> = installed.into_iter().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(named, installed);
}

/// All string literals of the program, run together.
fn source(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap().replace("\\\n", ""));
        }
    }
}

#[test]
fn every_message_that_is_explained_is_one_of_the_programs() {
    let (_, text) = documents().into_iter().find(|(name, _)| name == "docs/troubleshooting.md").unwrap();
    let mut said = String::new();
    source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut said);
    let mut tried = 0;
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let message = line.split('`').nth(1).unwrap();
        for part in message.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            tried += 1;
            assert!(said.contains(part), "no message has `{part}`");
        }
    }
    assert!(tried > 30, "{tried}");
}

// --- prose: docs/style_guide.md

/// Columns of a line of prose or of a comment.
const COLUMNS_MAX: usize = 120;
/// Words of a sentence, which ends at `.`, `!` or `?`.
const WORDS_MAX: usize = 40;

/// Lines of prose: of a document without its tables and code, or of comments without theirs. An empty line ends a
/// paragraph.
fn prose(path: &Path, text: &str) -> Vec<(usize, String)> {
    let is_code = path.extension().is_some_and(|end| end == "rs");
    let mut is_block = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let words = match is_code {
            false => trimmed,
            true => match trimmed.strip_prefix("//") {
                None => "",
                Some(comment) => comment.trim_start_matches(['/', '!']).trim_start(),
            },
        };
        if words.starts_with("```") {
            is_block = !is_block;
        }
        if is_block || words.starts_with(['|', '#']) || words.starts_with("```") || words.is_empty() {
            lines.push((at + 1, String::new()));
        } else {
            lines.push((at + 1, line.to_owned()));
        }
    }
    lines
}

/// The words of the longest sentence in a paragraph.
fn longest(paragraph: &str) -> usize {
    // Code between backticks is one word, whatever it holds.
    let plain: String =
        paragraph.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { "x" } else { part }).collect();
    let mut longest = 0;
    let mut count = 0;
    for word in plain.split_whitespace() {
        count += 1;
        longest = longest.max(count);
        if word.trim_end_matches([')', '*', '"']).ends_with(['.', '!', '?']) {
            count = 0;
        }
    }
    longest
}

/// Every document, and every file of code.
fn written() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left: Vec<PathBuf> =
        ["docs", "src", "tests", "benches", "fuzz"].iter().map(|folder| root.join(folder)).collect();
    let mut found = vec![root.join("README.md")];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            match path.extension().and_then(|end| end.to_str()) {
                _ if path.is_dir() && name != "fixtures" && name != "target" => left.push(path),
                // The parser makes these of what is looked at where it is written.
                Some("md") if name != "cli.md" && name != "configuration.md" => found.push(path),
                Some("rs") => found.push(path),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn no_line_of_prose_is_too_long_and_no_sentence_goes_on_and_on() {
    let mut wrong = Vec::new();
    for path in written() {
        let text = std::fs::read_to_string(&path).unwrap();
        let (mut paragraph, mut begin) = (String::new(), 0);
        let mut end = |paragraph: &mut String, begin: usize| {
            let words = longest(paragraph);
            if words > WORDS_MAX {
                wrong.push(format!("{}:{begin}: a sentence of {words} words", path.display()));
            }
            paragraph.clear();
        };
        let mut long = Vec::new();
        for (at, line) in prose(&path, &text) {
            // A word alone, such as an address, cannot be broken.
            let can_break = line.trim_start_matches(['/', '!', ' ', '-']).contains(' ');
            if line.chars().count() > COLUMNS_MAX && can_break && !line.contains("://") {
                long.push(format!("{}:{at}: {} columns", path.display(), line.chars().count()));
            }
            let words =
                line.trim_start().trim_start_matches("//").trim_start_matches(['/', '!']).trim_start();
            let is_item = words.starts_with("- ")
                || words.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
            if line.is_empty() || is_item {
                end(&mut paragraph, begin);
                begin = at;
            }
            paragraph.push(' ');
            paragraph.push_str(words);
        }
        end(&mut paragraph, begin);
        wrong.extend(long);
    }
    assert!(wrong.is_empty(), "{} places:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_counts_of_the_trust_page_are_those_of_the_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (_, page) = documents().into_iter().find(|(name, _)| name == "docs/trust.md").unwrap();
    let fuzzed = std::fs::read_dir(root.join("fuzz/corpus")).unwrap().count();
    // What a test says, and what the page makes of it.
    for (file, constant, words) in [
        ("library/simulation.rs", "if long { 100_000 } else { 2000 }", "| 2,000 | 100,000 |"),
        (
            "library/simulation.rs",
            "const HOSTILE_SEEDS: u64 = 300;",
            "| of these with a hostile host | 100 |",
        ),
        ("library/simulation.rs", "seed.is_multiple_of(3)", "| one in three |"),
        ("program/cli_crash.rs", "if long() { 500 } else { 50 }", "| 50 | 500 |"),
        ("library/bit_rot.rs", "const RANDOM_BITS: usize = 1000;", "| 1,000 | 2,000 |"),
        ("library/fuzz_replay.rs", "fuzz", &format!("the corpora of {fuzzed} decoders")),
    ] {
        let text = std::fs::read_to_string(root.join("tests").join(file)).unwrap();
        assert!(text.contains(constant), "{file} has no `{constant}` any more: see docs/trust.md");
        assert!(page.contains(words), "docs/trust.md does not say `{words}`");
    }
}

/// Whether a file in `folder`, or below it, is `NAME.rs` or lies in a folder `NAME`, and has the function.
fn has_test(folder: &Path, name: &str, function: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return has_test(&path, name, function);
        }
        let is_named = path.file_stem().is_some_and(|stem| stem == name)
            || path.components().any(|part| part.as_os_str() == name);
        is_named && std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("fn {function}(")))
    })
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let (_, text) = documents().into_iter().find(|(name, _)| name == "docs/threat-model.md").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = std::collections::BTreeSet::new();
    named.extend(text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::")));
    named.remove(&("file", "function"));
    let is_there = |&&(file, function): &&(&str, &str)| match file.strip_suffix(".rs") {
        Some(_) => std::fs::read_to_string(root.join(file))
            .is_ok_and(|text| text.contains(&format!("fn {function}("))),
        None => match file.rsplit_once('/') {
            Some((folder, name)) => has_test(&root.join("tests").join(folder), name, function),
            None => ["library", "program"]
                .iter()
                .any(|folder| has_test(&root.join("tests").join(folder), file, function)),
        },
    };
    let missing: Vec<_> = named.iter().filter(|one| !is_there(one)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Each attack of the table has one.
    let table = text.split("## Attacks that a review found").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let without: Vec<_> = rows.iter().filter(|row| !row.contains("::")).collect();
    assert!(rows.len() > 25 && named.len() > 60 && without.is_empty(), "{} {without:?}", named.len());
}

/// `cat` writes bytes out before their length and digest are proven; `restore` gives a database all or nothing.
#[test]
fn a_page_that_pipes_a_dump_into_psql_says_what_protects_nobody_there() {
    let mut piped = Vec::new();
    for (name, text) in documents().into_iter().filter(|(name, _)| name != "docs/CHANGELOG.md") {
        let text = text.replace("\n- ", "\n\n- ");
        for part in
            text.split("\n\n").filter(|part| part.contains("dumpvault cat") && part.contains("| psql"))
        {
            let flat = part.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains("No filter") && flat.contains("before the dump"), "{name}: {flat}");
            piped.push(name.clone());
        }
    }
    assert_eq!(piped, ["docs/postgres.md"]);
}

#[test]
fn a_release_asks_for_known_weaknesses_before_it_builds_and_builds_with_what_is_pinned() {
    let read =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let release = read(".ci/release");
    let at = |words: &str| release.find(words).unwrap_or_else(|| panic!("no `{words}` in .ci/release"));
    let build = at("cargo auditable build --locked");
    assert!(at("\n    .ci/deny bans licenses sources advisories\n") < build);
    // Another folder gives the same program.
    assert!(at("\n.ci/reproducible \"$files/dumpvault-$version-$host\"\n") > build);
    assert!(at("--remap-path-prefix=$PWD=") < build && at("cargo cyclonedx") > build);
    let toolchain: toml::Value = toml::from_str(&read("rust-toolchain.toml")).unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    assert!(channel.split('.').count() == 3 && channel.split('.').all(|part| part.parse::<u32>().is_ok()));
    let deny: toml::Value = toml::from_str(&read("deny.toml")).unwrap();
    assert_eq!(deny["advisories"]["yanked"].as_str(), Some("deny"));
    assert_eq!(deny["sources"]["unknown-registry"].as_str(), Some("deny"));
    // An advisory that is passed over has its reason.
    let ignored =
        deny["advisories"].get("ignore").and_then(|list| list.as_array()).cloned().unwrap_or_default();
    assert!(ignored.iter().all(|one| one.get("reason").is_some()), "{ignored:?}");
    // Each change is held against the rest of it.
    assert!(read(".ci/run").contains(".ci/deny"));
}
