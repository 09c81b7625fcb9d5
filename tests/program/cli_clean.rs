//! Names and words from a repository are shown and never obeyed: on a terminal, in a log, in JSON.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Vault, exit, run, text};
use crate::support::terminal::AtTerminal;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::secret::OsEntropy;
use dumpvault::content::codec::Level;
use dumpvault::storage::local::LocalStorage;
use dumpvault::vault::crypto::{Credential, KeyFile};
use dumpvault::vault::format::mark::MarkKind;
use dumpvault::vault::snapshot::{Proof, StreamFormat};
use dumpvault::vault::writer::{Basis, CommitRequest, PipelineSettings};
use dumpvault::vault::{Repository, Surroundings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sets the terminal's title, goes up a line, writes backwards, hides, and begins a line that looks like ours.
const HOSTILE: &str =
    "e\u{1b}]0;pwned\u{7}\u{9b}1A\u{202e}x\u{2066}y\u{200b}\u{feff}\u{7f}\r\ndumpvault: error: FORGED";

fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn assert_clean(shown: &str, what: &str) {
    assert!(!shown.contains(is_hidden), "{what}: {shown:?}");
    let forged = shown.lines().any(|line| line.trim_start().starts_with("dumpvault: error: FORGED"));
    assert!(!forged, "{what}: {shown}");
}

fn assert_output_clean(output: &Output, what: &str) {
    assert_clean(&String::from_utf8(output.stdout.clone()).unwrap(), what);
    assert_clean(&output.stderr, what);
}

/// A vault in which somebody with a key wrote a series, a host, tags, a stream and words of marks that are hostile.
fn hostile_vault() -> Vault {
    let vault = Vault::new();
    let good = vault.backup("app", b"a good dump");
    let surroundings = Surroundings::new(Arc::new(OsEntropy), vault.home().join("other-cache"));
    let credential = Credential::KeyFile(KeyFile::read(&vault.key_file()).unwrap().0);
    let storage = Arc::new(LocalStorage::open(vault.repo()).unwrap());
    let repo = Repository::open(storage, &credential, &surroundings).unwrap();
    let (catalog, _, presence) = repo.synced(&Silent).unwrap();
    let pipeline = PipelineSettings { level: Level::DEFAULT, read_back: true, workers: 1 };
    let mut session = repo.writer().begin_backup(catalog, presence, pipeline).unwrap();
    let bytes = b"a hostile dump";
    let stored = session.store(HOSTILE, &mut &bytes[..], Basis::Chunks, &Silent, &Cancel::new()).unwrap();
    let finished = stored.finish(Proof::Exited, StreamFormat::Unknown, BTreeMap::new());
    let request = CommitRequest {
        series: HOSTILE.into(),
        host: HOSTILE.into(),
        time_ms: 1_790_000_000_000,
        now_ms: 1_790_000_001_000,
        tags: vec![HOSTILE.into()],
        counter: 1,
        predecessor: None,
        time_zone: "UTC".into(),
        calendar: vec![],
        program: HOSTILE.into(),
        source: BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]),
        parent: None,
        failed: vec![],
        origin: None,
        origin_author: None,
        set: None,
        is_import: false,
        pins: Vec::new(),
    };
    let committed = session.commit(vec![finished], request).unwrap();
    let id = committed.summary.id;
    let words = Some(Some(HOSTILE.to_owned()));
    repo.marks().mark_snapshot(&id, MarkKind::Damaged, words, HOSTILE, 1_790_000_002_000).unwrap();
    for key in vault.objects_in("packs") {
        let pack = key.rsplit('/').next().unwrap().parse().unwrap();
        repo.marks().mark_damaged(&pack, HOSTILE, HOSTILE, 1_790_000_002_000).unwrap();
    }
    assert!(vault.repo().join("snapshots").join(good).exists());
    vault
}

#[test]
fn given_hostile_names_and_words_of_marks_then_no_command_lets_any_of_it_out() {
    let vault = hostile_vault();
    let snapshots = vault.run(["snapshots", "--json"]).expect(exit::OK);
    assert_output_clean(&snapshots, "snapshots --json");
    let listed = snapshots.json()["snapshots"].as_array().unwrap().clone();
    let hostile = listed.iter().find(|one| text(one, "series") == HOSTILE).expect("the name as it is");
    let id = text(hostile, "id");
    let before = vault.ids().len();
    let commands: Vec<Vec<&str>> = vec![
        vec!["snapshots"],
        vec!["ls", &id],
        vec!["show", &id],
        vec!["diff", "app", &id],
        vec!["stats"],
        vec!["check"],
        vec!["check", "--read-data"],
        vec!["restore", "nosuch"],
        vec!["restore", HOSTILE, "--output", "out"],
        vec!["restore", &id, "--output", "out"],
        vec!["restore", &id, "--stream", "nosuch"],
        vec!["forget", "--dry-run", "--keep-last", "1"],
        vec!["prune", "--dry-run"],
        vec!["tag", &id, "--add", HOSTILE],
        vec!["backup", HOSTILE],
        vec!["backup", "--series", "app", "--command", "--", "echo", "another dump"],
        vec!["repair", "snapshots"],
        vec!["--no-such-option", HOSTILE],
        vec![HOSTILE],
    ];
    for command in commands {
        for more in [&[][..], &["--json"], &["-v"], &["-vv"]] {
            let output = vault.run(command.iter().chain(more));
            assert_output_clean(&output, &format!("{command:?} {more:?}"));
        }
    }
    assert!(vault.ids().len() > before, "the backups ran");
}

#[test]
fn given_hostile_names_at_a_terminal_then_its_title_stays() {
    let vault = hostile_vault();
    let mut list = AtTerminal::start(&vault.command(["snapshots"]));
    assert_eq!(list.end(), Some(exit::OK), "{}", list.screen());
    assert!(!list.screen().contains("\u{1b}]0;") && list.screen().contains("?]0;pwned"), "{}", list.screen());
}

#[test]
fn given_a_program_that_says_much_then_its_lines_are_quoted_and_none_begins_at_the_margin() {
    let vault = Vault::new();
    let script = "printf 'first\\ndumpvault: error: FORGED\\n\\033[2Jlast\\n' >&2; echo half; exit 4";
    let failed = vault.run(["backup", "--series", "app", "--command", "--", "sh", "-c", script]);
    let failed = failed.expect(exit::NOTHING_DONE).says("\n  first\n").says("[2Jlast");
    assert!(!failed.stderr.contains('\u{1b}'), "{failed}");
    assert!(!failed.stderr.lines().any(|line| line.starts_with("dumpvault: error: FORGED")), "{failed}");
}

#[test]
fn given_a_hostile_name_of_a_file_then_errors_show_it_cleaned() {
    let vault = Vault::new();
    let mut command = vault.command(["snapshots", "--json", "--config", HOSTILE]);
    command.env("DUMPVAULT_REPOSITORY", HOSTILE);
    let output = run(command, b"").expect(exit::USAGE);
    assert_output_clean(&output, "a configuration that is not there");
    assert!(output.json()["error"].as_str().unwrap().contains(HOSTILE), "{output}");
}
