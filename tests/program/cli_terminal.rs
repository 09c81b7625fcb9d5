//! At a terminal: questions, their answers, and lines that move.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli;
use crate::support::cli::{PASSPHRASE, Vault, copy_folder, exit, noise};
use crate::support::terminal::AtTerminal;

/// The program at a terminal of its own.
fn start(vault: &Vault, args: &[&str]) -> AtTerminal {
    AtTerminal::start(&vault.command(args))
}

/// Answers a question whose answer is not shown.
fn answer(terminal: &mut AtTerminal, question: &str, keys: &str) {
    terminal.wait_for(question);
    terminal.wait_until_hidden();
    terminal.enter(keys);
}

#[test]
fn given_nobody_but_a_person_then_the_passphrase_is_asked_for_and_never_shown() {
    let vault = Vault::empty();
    let typed = format!("{PASSPHRASE}\n");
    let mut init = start(&vault, &["init"]);
    answer(&mut init, "New passphrase: ", &typed);
    answer(&mut init, "Repeat passphrase: ", &typed);
    assert_eq!(init.end(), Some(exit::OK), "{}", init.screen());
    assert!(init.shows_what_is_typed());
    assert!(init.screen().contains("created repository") && !init.screen().contains(PASSPHRASE));

    let mut list = start(&vault, &["snapshots"]);
    answer(&mut list, "passphrase of the repository: ", &typed);
    assert_eq!(list.end(), Some(exit::OK), "{}", list.screen());
    let mut wrong = start(&vault, &["snapshots"]);
    answer(&mut wrong, "passphrase of the repository: ", "another one altogether\n");
    assert_eq!(wrong.end(), Some(exit::WRONG_KEY), "{}", wrong.screen());
    for screen in [list.screen(), wrong.screen()] {
        assert!(!screen.contains(PASSPHRASE) && !screen.contains("another"), "{screen}");
    }
}

#[test]
fn given_two_answers_that_differ_then_no_repository_is_made() {
    let vault = Vault::empty();
    let mut init = start(&vault, &["init"]);
    for _ in 0..3 {
        answer(&mut init, "New passphrase: ", "one that is long enough\n");
        answer(&mut init, "Repeat passphrase: ", "one that is long enoggh\n");
    }
    assert_eq!(init.end(), Some(exit::USAGE), "{}", init.screen());
    assert_eq!(init.screen().matches("do not match").count(), 3, "{}", init.screen());
    assert!(vault.objects().is_empty());
}

#[test]
fn given_a_slip_or_a_passphrase_that_is_too_short_then_it_is_asked_for_once_more() {
    let vault = Vault::empty();
    let mut init = start(&vault, &["init"]);
    let question = "New passphrase: ";
    for (first, second) in [("one that is long enough\n", "another\n"), ("short\n", "short\n")] {
        answer(&mut init, question, first);
        answer(&mut init, "Repeat passphrase: ", second);
        init.wait_for("try again");
    }
    answer(&mut init, question, &format!("{PASSPHRASE}\n"));
    answer(&mut init, "Repeat passphrase: ", &format!("{PASSPHRASE}\n"));
    assert_eq!(init.end(), Some(exit::OK), "{}", init.screen());

    // Where nobody can be asked again it is refused, unless that is meant.
    let other = Vault::empty();
    let with = |args: &[&str]| {
        let mut command = other.command(args);
        command.env("DUMPVAULT_PASSWORD", "short");
        cli::run(command, b"")
    };
    with(&["init"]).expect(exit::REFUSED).says("less than 8 characters").says("--force");
    assert!(other.objects().is_empty());
    with(&["init", "--force"]).expect(exit::OK).says("the passphrase is short");
    with(&["snapshots"]).expect(exit::OK);
}

#[test]
fn given_a_person_who_thinks_better_of_it_then_the_program_ends_and_the_terminal_is_as_it_was() {
    let vault = Vault::empty();
    let mut init = start(&vault, &["init"]);
    answer(&mut init, "New passphrase: ", "half of\x03");
    assert_eq!(init.end(), Some(exit::INTERRUPTED), "{}", init.screen());
    assert!(init.shows_what_is_typed());
    assert!(init.screen().contains("interrupted") && !init.screen().contains("half of"), "{}", init.screen());
    assert!(vault.objects().is_empty());
}

#[test]
fn given_a_terminal_then_a_line_tells_how_far_it_is_and_goes_away_and_without_one_there_is_none() {
    let vault = Vault::new();
    let dump = noise(1, 40 << 20);
    std::fs::write(vault.work().join("dump"), &dump).unwrap();
    // It waits in the middle until somebody saw the line.
    let script = "head -c 30000000 dump; until test -e go; do sleep 0.05; done; tail -c +30000001 dump";
    let args = ["backup", "--series", "app", "--command", "--", "sh", "-c", script];
    let mut backup = start(&vault, &args);
    backup.wait_for("\u{1b}[");
    backup.wait_for("app");
    backup.wait_for(" MiB new, 0 B deduplicated");
    std::fs::write(vault.work().join("go"), "").unwrap();
    assert_eq!(backup.end(), Some(exit::OK), "{}", backup.screen());
    // What stays on the screen begins where the last line that moved was wiped.
    let screen = backup.screen();
    let (_, stays) = screen.rsplit_once("\u{1b}[2K").unwrap();
    assert!(stays.contains("app: created snapshot") && !stays.contains(" new, 0 B"), "{stays:?}");

    let plain = vault.run(args).expect(exit::OK);
    assert!(!plain.stderr.contains('\u{1b}') && !plain.text().contains('\u{1b}'), "{plain}");
    assert!(vault.restore("app").expect(exit::OK).stdout == dump);
    let mut quiet = start(&vault, &[&["--quiet"], &args[..]].concat());
    assert_eq!(quiet.end(), Some(exit::OK));
    assert_eq!(quiet.screen(), "");
}

#[test]
fn given_a_dump_that_fails_then_no_line_of_its_progress_stays_beside_the_error() {
    let vault = Vault::new();
    std::fs::write(vault.work().join("dump"), noise(1, 30 << 20)).unwrap();
    let script = "cat dump; until test -e go; do sleep 0.05; done; echo 'no more' >&2; exit 7";
    let args = ["backup", "--series", "app", "--command", "--", "sh", "-c", script];
    let mut backup = start(&vault, &args);
    backup.wait_for(" MiB new, 0 B deduplicated");
    std::fs::write(vault.work().join("go"), "").unwrap();
    assert_eq!(backup.end(), Some(exit::NOTHING_DONE), "{}", backup.screen());
    let screen = backup.screen();
    // Behind the first word of the error nothing moves any more.
    let (_, stays) = screen.split_once("dumpvault: ").unwrap();
    assert!(!stays.contains(" new, 0 B") && stays.contains("no more"), "{stays:?}");
}

#[test]
fn given_a_repository_that_was_turned_back_then_a_restore_asks_each_time_and_a_yes_restores_what_is_left() {
    let mut vault = Vault::new();
    vault.backup_with("app", &noise(1, 50_000), &["--host", "db"]);
    let copy = vault.home().join("copy");
    copy_folder(&vault.repo(), &copy);
    vault.backup_with("app", &noise(2, 50_000), &["--host", "db"]);
    std::fs::remove_dir_all(vault.repo()).unwrap();
    copy_folder(&copy, &vault.repo());
    vault.forget_cache();
    let left = vault.ids().pop().unwrap();

    let target = vault.work().join("dump");
    let args = ["restore", "app", "--output", target.to_str().unwrap()];
    for (word, code) in [("no\n", exit::REFUSED), ("yes\n", exit::OK), ("no\n", exit::REFUSED)] {
        let mut restore = start(&vault, &args);
        restore.wait_for("the repository was turned back: ");
        restore.wait_for(&format!("Go on with {}? Type `yes`", &left[..8]));
        restore.enter(word);
        assert_eq!(restore.end(), Some(code), "{}", restore.screen());
        assert_eq!(target.exists(), code == exit::OK);
        if code == exit::OK {
            assert!(std::fs::read(&target).unwrap() == noise(1, 50_000));
            std::fs::remove_file(&target).unwrap();
        }
    }
    // What was said at the terminal lets nothing be deleted, and nobody to ask is no yes.
    vault.run(["prune"]).expect(exit::INTEGRITY).says("was not forgotten");
    vault.run(args).expect(exit::REFUSED).says("--accept-rollback");
    assert!(!target.exists());
    let mut verify = start(&vault, &["cat", "app"]);
    verify.wait_for("Go on with");
    verify.enter("\x03");
    verify.end();
    // Once it was accepted nobody is asked.
    vault.run(["check", "--accept-rollback"]).expect(exit::OK);
    let mut restore = start(&vault, &args);
    assert_eq!(restore.end(), Some(exit::OK), "{}", restore.screen());
    assert!(!restore.screen().contains("turned back"));
}

#[test]
fn given_a_new_content_root_then_its_price_is_told_and_a_person_decides() {
    let vault = Vault::new();
    vault.backup_with("app", &noise(1, 300_000), &["--host", "db"]);
    vault.backup_with("app", &noise(2, 400 << 10), &["--host", "db"]);
    for (word, code, epochs) in [("no\n", exit::REFUSED, 0), ("yes\n", exit::OK, 1)] {
        let mut rotate = start(&vault, &["key", "rotate", "--content"]);
        // The newest of each series is what a full backup is.
        rotate.wait_for("400.00 KiB of dumps in 1 series");
        rotate.wait_for("Type `yes`");
        rotate.enter(word);
        assert_eq!(rotate.end(), Some(code), "{}", rotate.screen());
        assert_eq!(vault.objects_in("epochs").len(), epochs);
    }
    assert!(vault.restore("app").expect(exit::OK).stdout == noise(2, 400 << 10));
}
