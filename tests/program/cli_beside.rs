//! Processes beside each other: many backups on one host that share a catalog, with `forget`, `prune` and
//! `prune --end-sessions` in between. Nothing is damaged, and nobody says so.
//!
//! 200 backups, with `DUMPVAULT_TEST_LONG` 1,000.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use crate::support::cli::{Output, Running, Vault, exit, long, noise, rows};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const AT_ONCE: usize = 12;
/// Try again.
const CONFLICT: i32 = 5;

fn backups() -> usize {
    if long() { 1000 } else { 200 }
}

/// Something that all series share, and something of its own.
fn dump(number: usize) -> Vec<u8> {
    [rows(1, 2000), noise(number as u64, 20_000)].concat()
}

fn command(vault: &Vault, cache: Option<usize>, args: &[&str]) -> Command {
    let mut command = vault.command(args);
    if let Some(cache) = cache {
        command.env("XDG_CACHE_HOME", vault.home().join(format!("cache-{cache}")));
    }
    command
}

fn back_up(vault: &Vault, cache: Option<usize>, series: usize, number: usize) -> Output {
    let name = format!("c{series}");
    let args = ["--quiet", "backup", "--stdin", "--series", &name, "--suspect-below", "0"];
    let mut running = Running::start(command(vault, cache, &args));
    running.feed(&dump(number));
    running.close();
    running.wait()
}

/// Runs `total` of something, several at a time.
fn side_by_side(total: usize, each: impl Fn(usize, usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let (next, each) = (&next, &each);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= total {
                        break;
                    }
                    each(worker, number);
                }
            });
        }
    });
}

/// How often each command ended with which status; those that end as they must not, with their words.
#[derive(Default)]
struct Ends {
    counts: BTreeMap<(&'static str, i32), usize>,
    wrong: Vec<String>,
}

impl Ends {
    fn take(&mut self, what: &'static str, allowed: &[i32], output: &Output) {
        let code = output.code.unwrap_or(-1);
        *self.counts.entry((what, code)).or_default() += 1;
        if !allowed.contains(&code) {
            self.wrong.push(format!("{what} ended with {code}: {}", output.stderr));
        }
    }

    fn judge(&self) {
        eprintln!("{:?}", self.counts);
        assert!(
            self.wrong.is_empty(),
            "{} of {:?}:\n{}",
            self.wrong.len(),
            self.counts,
            self.wrong.join("\n")
        );
    }
}

#[test]
fn given_many_backups_on_one_host_at_once_then_each_ends_well() {
    let vault = Vault::new();
    let ends = Mutex::new(Ends::default());
    side_by_side(backups(), |worker, number| {
        let output = back_up(&vault, None, worker, number);
        ends.lock().unwrap().take("backup", &[exit::OK], &output);
    });
    ends.into_inner().unwrap().judge();
    vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_forgets_and_prunes_beside_backups_then_all_end_well_or_with_a_conflict() {
    for end_sessions in [false, true] {
        let vault = Vault::new();
        let ends = Mutex::new(Ends::default());
        let over = AtomicBool::new(false);
        let tidy = |cache: usize| {
            let grace: &[&str] = match end_sessions {
                true => &["--quiet", "prune", "--grace", "0", "--end-sessions"],
                false => &["--quiet", "prune", "--grace", "1s"],
            };
            while !over.load(Ordering::SeqCst) {
                for (what, args) in
                    [("forget", &["--quiet", "forget", "--keep-last", "2", "--force"][..]), ("prune", grace)]
                {
                    let output = Running::start(command(&vault, Some(cache), args)).wait();
                    ends.lock().unwrap().take(what, &[exit::OK, CONFLICT], &output);
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| tidy(100));
            scope.spawn(|| tidy(100));
            side_by_side(backups() / 2, |worker, number| {
                // Half of them on one host, the others on hosts of their own.
                let cache = (worker % 2 == 0).then_some(worker);
                let output = back_up(&vault, cache, worker, number);
                ends.lock().unwrap().take("backup", &[exit::OK, CONFLICT], &output);
            });
            over.store(true, Ordering::SeqCst);
        });
        ends.into_inner().unwrap().judge();
        vault.run(["check", "--read-data"]).expect(exit::OK);
    }
}
