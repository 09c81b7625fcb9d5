//! The first minute: `setup`, `init` at a terminal, completions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit, run};
use crate::support::pg::Server;
use crate::support::terminal::AtTerminal;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

/// The program without any setting from the environment.
fn bare(vault: &Vault, args: &[&str]) -> Command {
    let mut command = vault.command(args);
    for name in ["DUMPVAULT_REPOSITORY", "DUMPVAULT_KEY_FILE", "DUMPVAULT_PASSWORD", "DUMPVAULT_CONFIG"] {
        command.env_remove(name);
    }
    command
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[allow(clippy::print_stdout, reason = "the time is what the test is to show")]
#[test]
fn given_a_database_then_setup_ends_with_a_verified_backup_and_says_how_it_goes_on() {
    let server = Server::start();
    server.create("shop");
    server.psql("shop", "CREATE TABLE orders AS SELECT i AS id FROM generate_series(1, 5000) i");
    let vault = Vault::empty();
    let config = vault.work().join("etc/config.toml");
    let repo = vault.work().join("new-vault");
    let (config_text, repo_text) = (config.to_str().unwrap(), repo.to_str().unwrap());
    let uri = server.uri("shop");
    let args = ["--config", config_text, "--repo", repo_text, "setup", &uri];

    let mut dry = bare(&vault, &[&args[..], &["-n"]].concat());
    server.reached_by(&mut dry, "postgres");
    assert!(run(dry, b"").expect(exit::OK).text().contains("[source.shop]"));
    assert!(!config.exists() && !repo.exists());

    let started = Instant::now();
    // No variable says where a scratch database may be made: at the source's server.
    let said = run(bare(&vault, &args), b"").expect(exit::OK).text();
    println!("from nothing to a verified backup: {:.1} s", started.elapsed().as_secs_f64());
    for words in [
        "created snapshot",
        "Recovery sheet",
        "$ dumpvault verify shop",
        "--quiet run nightly",
        "--quiet verify --server ",
    ] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    assert_eq!((mode(&config), mode(&config.with_file_name("repo.key"))), (0o600, 0o600));

    // As cron would.
    let mut nightly = bare(&vault, &["--config", config_text, "--quiet", "run", "nightly"]);
    server.reached_by(&mut nightly, "postgres");
    run(nightly, b"").expect(exit::OK);
    // What is there is not replaced.
    let text = std::fs::read_to_string(&config).unwrap();
    run(bare(&vault, &args), b"").expect(exit::USAGE).says("exists");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text);
}

#[test]
fn given_a_server_that_is_not_there_then_setup_leaves_no_configuration_and_the_key() {
    let vault = Vault::empty();
    let config = vault.work().join("etc/config.toml");
    let repo = vault.work().join("new-vault");
    let (config_text, repo_text) = (config.to_str().unwrap(), repo.to_str().unwrap());
    let uri = "postgres://someone:geheim@127.0.0.1:1/shop";
    let args = ["--config", config_text, "--repo", repo_text, "setup", uri];
    let said = run(bare(&vault, &args), b"").expect(exit::NOTHING_DONE).says("setup failed (see above)");
    said.does_not_say("geheim");
    assert!(!config.exists() && config.with_file_name("repo.key").exists());
    let dry = [&args[..], &["-n"]].concat();
    let shown = run(bare(&vault, &dry), b"").expect(exit::OK).text();
    assert!(shown.contains("someone:***@") && !shown.contains("geheim"), "{shown}");
    run(bare(&vault, &["--repo", repo_text, "setup", "shop"]), b"").expect(exit::USAGE).says("postgres://");
}

#[test]
fn given_no_passphrase_of_ones_own_then_a_generated_one_is_shown_and_typed_until_it_is_right() {
    let vault = Vault::empty();
    let mut init = AtTerminal::start(&vault.command(["init"]));
    init.wait_for("New passphrase: ");
    init.wait_until_hidden();
    init.enter("\n");
    init.wait_for("Repeat passphrase: ");
    init.wait_until_hidden();
    init.enter("something else\n");
    init.wait_for("try again");
    init.wait_for("Repeat passphrase: ");
    init.wait_until_hidden();
    let screen = init.screen();
    let (_, after) = screen.split_once("generated passphrase: ").unwrap();
    let made = after.split_whitespace().next().unwrap().to_owned();
    assert_eq!(made.len(), 29, "{made}");
    init.enter(&format!("{made}\n"));
    assert_eq!(init.end(), Some(exit::OK), "{}", init.screen());
    assert!(init.screen().contains("Recovery sheet"));
    let mut list = vault.command(["snapshots"]);
    list.env("DUMPVAULT_PASSWORD", &made);
    run(list, b"").expect(exit::OK);
}

#[test]
fn given_addresses_whose_last_word_says_nothing_then_setup_names_the_source_after_the_host_or_its_kind() {
    let vault = Vault::empty();
    for (address, name) in [
        ("redis://queue1:6379/0", "queue1"),
        ("redis://127.0.0.1:6379/0", "redis"),
        ("postgres://backup@db1/app", "app"),
        ("postgres://backup@db1/42", "db1"),
        ("postgres:///%D1%8F", "postgres"),
        ("s3://media", "media"),
    ] {
        let said = run(bare(&vault, &["--repo", "/srv/vault", "setup", address, "-n"]), b"");
        let said = said.expect(exit::OK).text();
        assert!(said.contains(&format!("[source.{name}]")), "{address}: {said}");
        assert!(!said.contains('?'), "{said}");
    }
}

/// What bash would offer behind these words, the last of which is being typed.
fn offered(vault: &Vault, words: &[&str]) -> Vec<String> {
    let script = format!(
        "source <(dumpvault completions bash); COMP_WORDS=(dumpvault {}); COMP_CWORD={}; \
         COMPREPLY=(); _dumpvault_dynamic dumpvault \"${{COMP_WORDS[COMP_CWORD]}}\" x; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len()
    );
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_dumpvault")).parent().unwrap();
    let as_a_model = vault.command(["x"]);
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &script]).current_dir(vault.work());
    bash.envs(as_a_model.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bash.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn given_series_sources_and_snapshots_then_bash_offers_them() {
    let vault = Vault::new();
    std::fs::write(vault.work().join("dumpvault.toml"), "[source.queue]\ncommand = ['true']\n").unwrap();
    let id = vault.backup("apple", b"one");
    vault.backup("banana", b"two");
    assert_eq!(offered(&vault, &["restore", "ap"]), ["apple"]);
    let all = offered(&vault, &["show", ""]);
    let has = |word: &str| all.iter().any(|one| one == word);
    assert!(has("apple") && has("banana") && has(&id[..8]), "{all:?}");
    assert_eq!(offered(&vault, &["snapshots", "--series", "b"]), ["banana"]);
    assert_eq!(offered(&vault, &["backup", "q"]), ["queue"]);
    // A host with an append key chooses names of series.
    vault.backup("$(touch${IFS}taken)", b"three");
    assert_eq!(offered(&vault, &["show", "$"]), ["\\$\\(touch\\$\\{IFS\\}taken\\)"]);
    assert!(!vault.work().join("taken").exists(), "a name was run as a command");
    // As `~` and quotes stand there, and `=` is a word of its own in bash.
    let (repo, home) = (vault.repo(), vault.home());
    let mut elsewhere = vault.command(["complete", "--", "--repo", "=", "~/repo", "show"]);
    elsewhere.env_remove("DUMPVAULT_REPOSITORY");
    assert!(run(elsewhere, b"").expect(exit::OK).text().contains("apple"), "{repo:?} {home:?}");
    std::fs::write(vault.work().join("other.toml"), "[source.other]\ncommand = ['true']\n").unwrap();
    assert_eq!(offered(&vault, &["--config", "other.toml", "backup", "o"]), ["other"]);
    // Without a key nothing is offered and nothing is asked.
    let mut without = vault.command(["complete", "--", "restore"]);
    without.env_remove("DUMPVAULT_KEY_FILE").env_remove("DUMPVAULT_PASSWORD");
    let said = run(without, b"");
    assert!(said.stdout.is_empty());
}

/// A shell at a terminal in which the completions of this program are loaded.
fn shell_with_names(vault: &Vault, shell: &str, args: &[&str], load: &str) -> AtTerminal {
    vault.backup("apple", b"one");
    // A host with an append key chooses names of series.
    vault.backup("$(touch${IFS}taken)", b"two");
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_dumpvault")).parent().unwrap();
    let mut command = vault.command(["x"]);
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    command.env("XDG_DATA_HOME", vault.home().join("data")).env("LC_ALL", "C.UTF-8");
    let mut at = Command::new(shell);
    at.args(args).current_dir(vault.work());
    at.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut terminal = AtTerminal::start(&at);
    // What the line that is typed does not hold.
    terminal.enter(&format!("{load}; echo load''ed\n"));
    terminal.wait_for("loaded");
    terminal
}

fn completes_names(vault: &Vault, terminal: &mut AtTerminal) {
    terminal.enter("dumpvault show ap\t");
    terminal.wait_for("ple");
    // Away with the line.
    terminal.enter("\u{15}dumpvault show \\$\t");
    terminal.wait_for("taken");
    terminal.enter("\u{15}echo all''done\n");
    terminal.wait_for("alldone");
    assert!(!vault.work().join("taken").exists(), "a name was run as a command: {}", terminal.screen());
}

#[test]
fn given_names_that_a_shell_would_run_then_zsh_offers_them_as_they_are() {
    let vault = Vault::new();
    let load = "autoload -U compinit; compinit -u -D; source <(dumpvault completions zsh)";
    let mut terminal = shell_with_names(&vault, "zsh", &["-f", "-i"], load);
    completes_names(&vault, &mut terminal);
}

#[test]
fn given_names_that_a_shell_would_run_then_fish_offers_them_as_they_are() {
    let vault = Vault::new();
    let load = "dumpvault completions fish | source";
    let mut terminal = shell_with_names(&vault, "fish", &["-i", "--no-config"], load);
    completes_names(&vault, &mut terminal);
}
