//! Every command that changes something can say what it would do, or stands in a short list with the reason.

use super::Cli;
use clap::{Command, CommandFactory};
use std::collections::BTreeSet;

/// Commands that change nothing but caches and this host's memory of the repository.
const READS: [&str; 29] = [
    "alert list",
    "audit export",
    "audit list",
    "audit verify",
    "cat",
    "check",
    "complete",
    "completions",
    "config check",
    "config example",
    "config show",
    "diff",
    "doctor",
    "find",
    "history export",
    "history list",
    "history show",
    "key list",
    "ls",
    "schedule explain",
    "schedule init",
    "schedule list",
    "schedule next",
    "show",
    "snapshots",
    "stats",
    "status",
    "token list",
    "user list",
];

/// Commands that change something and have no -n, and why.
const EXCUSED: [(&str, &str); 25] = [
    ("alert ack", "one alert, until it is good again"),
    ("demo", "in a directory of its own, which is removed"),
    ("history rebuild", "this host's history, from the repository; can be repeated"),
    ("key add", "adds one slot, which `key remove` takes away; asks for a passphrase"),
    ("key export", "writes one new file"),
    ("key grant", "one key; `key list` shows what it may do, and another grant changes it back"),
    ("key import", "puts one slot back; what is there is never replaced"),
    ("key passwd", "replaces one slot after the new passphrase was typed twice"),
    ("key remove", "one slot that is named; the last one of a full key is refused"),
    ("manual", "writes pages for the package"),
    ("metrics", "prints, or replaces one file that is named"),
    ("repair index", "deletes no data, can be repeated; what it says is the same as what it does"),
    ("repair packs", "`check --read-data` lists the same packs; deletes nothing"),
    ("repair snapshots", "`check` lists the same snapshots; deletes nothing"),
    ("schedule daemon", "runs jobs, of which `schedule next` lists the slots"),
    ("schedule pause", "one job, until `schedule resume`"),
    ("schedule resume", "one job, until `schedule pause`"),
    ("schedule trigger", "one job, which `backup -n` or `run -n` shows"),
    ("serve", "runs jobs, of which `schedule next` lists the slots"),
    ("token add", "one token, which `token remove` takes away"),
    ("token remove", "one token that is named"),
    ("user add", "one user, whom `user remove` takes away"),
    ("user passwd", "one password, after it was typed twice"),
    ("user remove", "one user that is named"),
    ("verify", "in a scratch database, which is dropped"),
];

fn leaves(command: &Command, name: &str, found: &mut Vec<(String, bool)>) {
    let below: Vec<&Command> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    for one in &below {
        leaves(one, format!("{name} {}", one.get_name()).trim(), found);
    }
    if below.is_empty() {
        let dry_run = command.get_arguments().find(|arg| arg.get_long() == Some("dry-run"));
        assert!(dry_run.is_none_or(|arg| arg.get_short() == Some('n')), "{name}: --dry-run is -n everywhere");
        let is_n_taken = command
            .get_arguments()
            .any(|arg| arg.get_short() == Some('n') && arg.get_long() != Some("dry-run"));
        assert!(!is_n_taken, "{name}: -n is --dry-run everywhere");
        found.push((name.to_owned(), dry_run.is_some()));
    }
}

#[test]
fn every_command_that_changes_something_has_a_dry_run_or_a_reason_not_to() {
    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    let with: BTreeSet<&str> = found.iter().filter(|(_, has)| *has).map(|(name, _)| name.as_str()).collect();
    let without: BTreeSet<&str> =
        found.iter().filter(|(_, has)| !has).map(|(name, _)| name.as_str()).collect();
    let excused = EXCUSED.iter().map(|(name, _)| *name);
    let listed: BTreeSet<&str> = READS.into_iter().chain(excused).collect();
    assert_eq!(without, listed, "name it in one of the lists, or give it -n");
    assert!(with.len() > 12 && with.contains("prune") && with.contains("init"), "{with:?}");
}
