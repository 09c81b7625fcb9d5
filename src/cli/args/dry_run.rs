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
const EXCUSED: [(&str, &str); 15] = [
    ("alert ack", "one alert, until it is good again"),
    ("demo", "in a directory of its own, which is removed"),
    ("history rebuild", "this host's history, from the repository; can be repeated"),
    ("key export", "writes one new file; one that is there is refused"),
    ("manual", "writes pages for the package"),
    ("metrics", "prints, or replaces one file that is named"),
    ("schedule daemon", "runs jobs, of which `schedule next` lists the slots"),
    ("schedule pause", "one job, until `schedule resume`"),
    ("schedule resume", "one job, until `schedule pause`"),
    ("schedule trigger", "one job, which `backup -n` or `run -n` shows"),
    ("serve", "runs jobs, of which `schedule next` lists the slots"),
    ("token add", "one token, which `token remove` takes away"),
    ("user add", "one user, whom `user remove` takes away"),
    ("user passwd", "one password, after it was typed twice"),
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
    assert!(with.len() > 20 && with.contains("prune") && with.contains("key add"), "{with:?}");
}

/// The command of that name.
fn command<'a>(all: &'a Command, name: &str) -> &'a Command {
    name.split(' ').fold(all, |command, word| command.find_subcommand(word).unwrap())
}

#[test]
fn no_dry_run_refuses_json() {
    let mut all = Cli::command();
    // Only then does a command know the global options.
    all.build();
    let mut found = Vec::new();
    leaves(&all, "", &mut found);
    for (name, _) in found.into_iter().filter(|(_, has)| *has) {
        let one = command(&all, &name);
        let dry_run = one.get_arguments().find(|arg| arg.get_long() == Some("dry-run")).unwrap();
        let refused = one.get_arg_conflicts_with(dry_run);
        assert!(!refused.into_iter().any(|arg| arg.get_long() == Some("json")), "{name}");
    }
}
