//! Backups that are killed or run out of room: what was there before stays, nothing half appears, what was stored is
//! used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use crate::support::cli;
use crate::support::cli::{
    Output, Running, Vault, copy_folder, exit, long, may_mount, noise, number, rows, run,
};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

// --- kill -9

/// How many backups are killed: `DUMPVAULT_TEST_KILL_ROUNDS`, else 50, else 500 in long tests.
fn rounds() -> u64 {
    let asked = std::env::var("DUMPVAULT_TEST_KILL_ROUNDS").ok().map(|text| text.parse().unwrap());
    asked.unwrap_or(if long() { 500 } else { 50 })
}

/// SplitMix64: the same seed kills at the same places, as far as the machine's own pace allows.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let asked = std::env::var("DUMPVAULT_TEST_SEED").ok().map(|text| text.parse().unwrap());
        let seed = asked.unwrap_or_else(|| u64::from(std::process::id()));
        eprintln!("DUMPVAULT_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

/// The dump of a round: mostly new.
fn dump(round: u64) -> Vec<u8> {
    [rows(7, 10_000), noise(round, 300_000), rows(round, 3_000)].concat()
}

/// How long a backup goes on after the last byte of its input.
fn time_to_finish(vault: &Vault) -> Duration {
    let mut running = Running::start(vault.command(["backup", "--stdin", "--series", "app"]));
    running.feed(&dump(0));
    let since = Instant::now();
    running.wait().expect(exit::OK);
    since.elapsed()
}

/// Starts a backup and kills it: in the midst of its input, or at some moment after it.
fn killed_backup(vault: &Vault, round: u64, finish: Duration, dice: &mut Dice) -> Output {
    let bytes = dump(round);
    let mut running = Running::start(vault.command(["backup", "--stdin", "--series", "app"]));
    if dice.below(4) == 0 {
        let len = dice.below(bytes.len() as u64) as usize;
        running.feed(&bytes[..len]);
    } else {
        running.feed(&bytes);
        running.close();
        // The random moment itself, up to a little after the usual end.
        let moment = dice.below(finish.as_micros() as u64 * 5 / 4);
        std::thread::sleep(Duration::from_micros(moment));
    }
    running.signal(Signal::KILL);
    running.wait()
}

#[test]
fn given_backups_killed_at_random_moments_then_earlier_snapshots_restore_and_none_is_half() {
    let vault = Vault::new();
    let finish = (0..3).map(|_| time_to_finish(&vault)).max().unwrap();
    let mut good: Vec<(String, u64)> = vault.ids().into_iter().map(|id| (id, 0)).collect();
    let mut dice = Dice::new();
    let (mut survived, mut killed) = (0, 0);
    for round in 1..=rounds() {
        let output = killed_backup(&vault, round, finish, &mut dice);
        let known: Vec<String> = good.iter().map(|(id, _)| id.clone()).collect();
        let listed = vault.ids();
        let (old, new) = listed.split_at(known.len().min(listed.len()));
        assert_eq!(old, known, "round {round}: an earlier snapshot is gone");
        match new {
            [] => {
                assert!(output.code != Some(exit::OK), "round {round}: done, and no snapshot: {output}");
                killed += 1;
            }
            // It was killed after its commit, or not at all: then the snapshot has to be whole.
            [id] => {
                good.push((id.clone(), round));
                assert!(vault.restore(id).expect(exit::OK).stdout == dump(round), "round {round}");
                survived += 1;
            }
            more => panic!("round {round}: {more:?}"),
        }
        let (id, made) = &good[dice.below(good.len() as u64) as usize];
        assert!(vault.restore(id).expect(exit::OK).stdout == dump(*made), "round {round}: {id}");
        if round % 10 == 0 {
            vault.run(["check"]).expect(exit::OK);
            let id = vault.backup("app", &dump(round));
            assert!(vault.restore(&id).expect(exit::OK).stdout == dump(round), "after round {round}");
            good.push((id, round));
        }
    }
    eprintln!("{killed} backups were killed before their commit, {survived} after it");
    assert!(killed * 4 >= rounds(), "too few were killed in time to prove anything: {killed}");
    vault.run(["check", "--read-data"]).expect(exit::OK);
    for (id, round) in &good {
        assert!(vault.restore(id).expect(exit::OK).stdout == dump(*round), "{id}");
    }
}

/// Backs up, forgets what came before, and prunes: what is kept shares packs with what is not.
fn worn(vault: &Vault, round: u64) -> (String, Vec<u8>) {
    let kept = [noise(7, 300_000), noise(1000 + round, 50_000)].concat();
    let gone = vault.backup("gone", &[&kept[200_000..], &noise(round, 400_000)].concat());
    let id = vault.backup(&format!("kept-{round}"), &kept);
    forget(vault, &gone);
    (id, kept)
}

/// Forgets the newest snapshot of the series `gone`, once there is a newer one: a series never loses all it has.
fn forget(vault: &Vault, id: &str) {
    vault.backup_with("gone", &rows(9, 20), &["--suspect-below", "0"]);
    vault.run(["forget", id, "--force"]).expect(exit::OK);
}

#[test]
fn given_prunes_killed_at_random_moments_then_every_snapshot_restores_and_the_next_prune_cleans_up() {
    let vault = Vault::new();
    let prune = ["prune", "--grace", "0", "--end-sessions"];
    let mut good = vec![worn(&vault, 0)];
    let began = Instant::now();
    vault.run(prune).expect(exit::OK);
    let whole = began.elapsed();
    let mut dice = Dice::new();
    let mut killed = 0;
    for round in 1..=rounds() / 4 {
        good.push(worn(&vault, round));
        let running = Running::start(vault.command(prune));
        // The random moment itself.
        std::thread::sleep(Duration::from_micros(dice.below(whole.as_micros() as u64)));
        running.signal(Signal::KILL);
        killed += u64::from(running.wait().signal.is_some());
        let (id, bytes) = &good[dice.below(good.len() as u64) as usize];
        assert!(vault.restore(id).expect(exit::OK).stdout == *bytes, "round {round}: {id}");
        if round % 5 == 0 {
            vault.run(prune).expect(exit::OK);
            vault.run(["check", "--read-data"]).expect(exit::OK);
        }
    }
    assert!(killed * 4 >= rounds() / 4, "too few were killed in time to prove anything: {killed}");
    vault.run(prune).expect(exit::OK);
    vault.run(["check", "--read-data"]).expect(exit::OK);
    assert_eq!(vault.objects_in("gc").len(), 0, "plans are carried out in the end");
    for (id, bytes) in &good {
        assert!(vault.restore(id).expect(exit::OK).stdout == *bytes, "{id}");
    }
}

#[test]
fn given_a_backup_killed_after_it_stored_packs_then_the_next_one_does_not_store_them_again() {
    let mut vault = Vault::new();
    // Two packs and a half.
    let dump = noise(1, 80 << 20);
    let mut running = Running::start(vault.command(["backup", "--stdin", "--series", "app"]));
    assert!(running.feed(&dump));
    // The input stays open, so that the backup cannot end by itself.
    let deadline = Instant::now() + cli::HANGS;
    while vault.objects_in("packs").len() < 2 {
        assert!(Instant::now() < deadline, "no pack was stored");
        std::thread::yield_now();
    }
    running.signal(Signal::KILL);
    running.wait();
    assert_eq!(vault.snapshots().len(), 0);
    vault.run(["check"]).expect(exit::OK);
    let stored = vault.repo_bytes();

    for fresh_cache in [false, true] {
        if fresh_cache {
            vault.forget_cache();
        }
        let id = vault.backup("app", &dump);
        let added = number(&vault.snapshot(&id), "bytes_stored");
        assert!(added < 20 << 20, "{added} bytes stored though {stored} were there");
        assert!(vault.restore(&id).expect(exit::OK).stdout == dump);
    }
    vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_unreferenced_packs_of_a_killed_backup_then_check_reports_them_and_no_damage() {
    let vault = Vault::new();
    vault.backup("app", &rows(1, 1000));
    // What a killed backup leaves: a pack that no index and no snapshot names.
    let kept = vault.objects();
    vault.backup("app", &noise(2, 100_000));
    for key in vault.objects() {
        if !kept.contains(&key) && !key.starts_with("packs/") {
            fs::remove_file(vault.repo().join(key)).unwrap();
        }
    }
    vault.forget_state();
    fs::create_dir_all(vault.repo().join("tmp")).unwrap();
    fs::write(vault.repo().join("tmp/left-by-a-crash"), b"half an object").unwrap();
    let output = vault.run(["check"]).expect(exit::OK);
    let said = (output.text() + &output.stderr).to_lowercase();
    assert!(said.contains("unreferenced"), "{output}");
    vault.run(["check", "--read-data"]).expect(exit::OK);
    assert!(vault.restore("app").expect(exit::OK).stdout == rows(1, 1000));
}

// --- no room

/// Runs `act`'s script with the repository on a file system of so many KiB, and brings the repository back. `None`
/// where this user may make no file systems.
fn on_a_small_disk(vault: &Vault, kib: u64, script: &str) -> Option<Output> {
    let scratch = vault.home().join("small-disk");
    fs::create_dir_all(&scratch).unwrap();
    let script = format!(
        "set -e
        mount -t tmpfs -o size={kib}k,mode=700 tmpfs '{disk}'
        cp -a '{repo}/.' '{disk}'
        export DUMPVAULT_REPOSITORY='{disk}'
        set +e
        {script}
        status=$?
        rm -rf '{repo}'
        cp -a '{disk}' '{repo}' || exit 99
        exit $status",
        disk = scratch.display(),
        repo = vault.repo().display(),
    );
    // A mount namespace of its own: the file system is gone with the script, whatever happens.
    let words = may_mount(vault)?;
    let mut command = vault.shell(&format!("exec unshare {words} sh -c \"$script\""));
    command.env("script", &script);
    Some(run(command, b""))
}

#[track_caller]
fn assert_usable(vault: &Vault, earlier: &str, dump: &[u8]) {
    assert_eq!(vault.ids(), [earlier], "a snapshot of a backup that had no room");
    assert!(vault.restore(earlier).expect(exit::OK).stdout == dump);
    vault.run(["check", "--read-data"]).expect(exit::OK);
    let id = vault.backup("app", &noise(5, 50_000_000));
    assert!(vault.restore(&id).expect(exit::OK).stdout == noise(5, 50_000_000));
    vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_a_full_disk_during_a_backup_then_it_says_so_and_the_repository_stays_usable() {
    let vault = Vault::new();
    let dump = rows(1, 50_000);
    let earlier = vault.backup("app", &dump);
    fs::write(vault.home().join("large"), noise(5, 50_000_000)).unwrap();
    let script = "\"$dumpvault\" backup --stdin --series app <../large";
    match on_a_small_disk(&vault, 24 << 10, script) {
        Some(output) => {
            output.expect(exit::NOTHING_DONE).says("no space left");
        }
        None => {
            eprintln!("this user may not mount: a limit on file sizes stands for the full disk");
            full_by_limit(&vault, script);
        }
    }
    assert_usable(&vault, &earlier, &dump);
}

#[test]
fn given_disks_that_fill_up_at_random_points_then_backups_and_prunes_fail_and_nothing_is_lost() {
    let vault = Vault::new();
    let dump = rows(1, 5000);
    let earlier = vault.backup("app", &dump);
    let gone = vault.backup("gone", &[&noise(2, 300_000)[..], &dump[..100_000]].concat());
    forget(&vault, &gone);
    let mut dice = Dice::new();
    let mut full = 0;
    for round in 0..if long() { 80 } else { 8 } {
        fs::write(vault.home().join("large"), noise(5 + round, 2_000_000)).unwrap();
        // Files take whole pages, and folders some.
        let used = vault.repo_bytes() / 1024 + vault.objects().len() as u64 * 4 + 100;
        let room = dice.below(2200);
        let script = match round % 4 {
            3 => "\"$dumpvault\" prune --grace 0 --end-sessions",
            _ => "\"$dumpvault\" backup --stdin --series large <../large",
        };
        let output = on_a_small_disk(&vault, used + room, script).unwrap_or_else(|| {
            // This user may not mount: no file grows beyond a part of a pack.
            run(vault.shell(&format!("trap '' XFSZ; ulimit -f {}; {script}", 1 + room / 2)), b"")
        });
        output.code.filter(|code| [exit::OK, exit::NOTHING_DONE].contains(code)).unwrap_or_else(|| {
            panic!("round {round}, {room} KiB of room: {output}");
        });
        full += u64::from(output.code == Some(exit::NOTHING_DONE));
        assert!(vault.restore(&earlier).expect(exit::OK).stdout == dump, "round {round}");
        vault.run(["check", "--read-data"]).expect(exit::OK);
    }
    assert!(full > 0, "no disk was full");
    vault.run(["prune", "--grace", "0", "--end-sessions"]).expect(exit::OK);
    let id = vault.backup("app", &dump);
    assert!(vault.restore(&id).expect(exit::OK).stdout == dump);
    vault.run(["check", "--read-data"]).expect(exit::OK);
}

/// No file may grow beyond 8 MiB; a write that would fails with EFBIG, since the signal is ignored.
fn full_by_limit(vault: &Vault, script: &str) {
    let script = format!("trap '' XFSZ; ulimit -f 16384; {script}");
    run(vault.shell(&script), b"").expect(exit::NOTHING_DONE).says("large");
}

#[test]
fn given_a_limit_on_file_sizes_then_the_backup_fails_and_the_repository_stays_usable() {
    let vault = Vault::new();
    let dump = rows(1, 50_000);
    let earlier = vault.backup("app", &dump);
    fs::write(vault.home().join("large"), noise(5, 50_000_000)).unwrap();
    full_by_limit(&vault, "\"$dumpvault\" backup --stdin --series app <../large");
    assert_usable(&vault, &earlier, &dump);
}

#[test]
fn given_a_repository_copied_in_the_midst_of_its_life_then_the_copy_is_one() {
    let vault = Vault::new();
    vault.backup("app", &rows(1, 1000));
    let copy = vault.home().join("copy");
    copy_folder(&vault.repo(), &copy);
    let restored = vault.run([Path::new("--repo"), &copy, "cat".as_ref(), "app".as_ref()]);
    assert!(restored.expect(exit::OK).stdout == rows(1, 1000));
}
