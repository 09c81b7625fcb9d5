//! How many requests things take. They cost time, and money.

use serde_json::Value;

use crate::cli::{Vault, exit, number, run};
use crate::program::{Remote, table};

/// Snapshots of the series that is copied.
const SNAPSHOTS: u32 = 125;

/// A small table that changes a little every day.
fn day(day: u32) -> Vec<u8> {
    table(800, |row| row % 125 < day)
}

/// A folder with a long series of small snapshots, and a copy of it in a bucket: by blocks, or by bytes into a
/// repository of its own.
fn copied(by_blocks: bool) -> (Remote, Value) {
    let remote = if by_blocks { Remote::bare() } else { Remote::new() };
    let vault = Vault::new();
    for n in 0..SNAPSHOTS {
        let args =
            ["backup", "--stdin", "--series", "app", "--time", &format!("2026-01-01T00:00:{:02}Z", n % 60)];
        let args = if n < 60 { &args[..] } else { &args[..4] };
        run(vault.command(args), &day(n)).expect(exit::OK);
    }
    let to = remote.server.address("repo");
    let args = ["--json", "copy", "--to", &to, "--init"];
    let mut command = vault.command(if by_blocks { &args[..] } else { &args[..4] });
    command
        .env("DUMPVAULT_TO_KEY_FILE", remote.vault.key_file())
        .env("AWS_ACCESS_KEY_ID", crate::s3::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", crate::s3::SECRET_KEY)
        .env("AWS_REGION", "us-east-1");
    let report = run(command, b"").expect(exit::OK).json();
    (remote, report)
}

#[test]
fn given_a_long_series_of_small_snapshots_then_a_copy_and_the_backup_after_it_take_few_requests() {
    let (remote, report) = copied(true);
    assert_few_requests(&report);
    let listed = remote.run(["--json", "snapshots"]).expect(exit::OK).json();

    // The cache of a machine that never saw the bucket: that of `snapshots` holds what is small, and no packs.
    // Of the index it knows nothing yet: each of its objects is read once.
    let indexes = remote.server.names().iter().filter(|name| name.contains("/index/")).count() as u64;
    let requests = remote.backup(&day(SNAPSHOTS), &[])["requests"].clone();
    eprintln!("a backup into it: {requests}");
    assert!(number(&requests, "total") <= 30 + indexes, "{requests}, {indexes} index objects");
    assert!(indexes < 5, "{indexes}");
    assert!(remote.restored(&["--no-cache"]) == day(SNAPSHOTS));
    remote.run(["check", "--read-data"]).expect(exit::OK);
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(SNAPSHOTS as usize), "{listed}");
}

fn assert_few_requests(report: &Value) {
    let requests = &report["results"][0]["requests"];
    eprintln!("a copy of {SNAPSHOTS} snapshots: {requests}");
    let snapshots = u64::from(SNAPSHOTS);
    assert!(number(requests, "total") <= 6 * snapshots, "{requests}");
    assert!(number(requests, "list") < snapshots / 4, "no listing for each of them: {requests}");
}

#[test]
fn given_a_destination_with_names_of_its_own_then_a_copy_by_bytes_takes_as_few_requests() {
    let (remote, report) = copied(false);
    assert_few_requests(&report);
    for n in [0, 1, 63, 64, 65, SNAPSHOTS - 1] {
        let name = format!("app~{}", SNAPSHOTS - 1 - n);
        let restored = run(remote.command(&["restore", &name, "--output", "-"]), b"").expect(exit::OK).stdout;
        assert!(restored == day(n), "{name}");
    }
    remote.run(["check", "--read-data"]).expect(exit::OK);
    let listed = remote.run(["--json", "snapshots"]).expect(exit::OK).json();
    let stored: u64 =
        listed["snapshots"].as_array().unwrap().iter().map(|one| number(one, "bytes_stored")).sum();
    assert!(stored < 30 * day(0).len() as u64, "each is compared with the one before: {stored}");
}

#[test]
fn given_a_small_parent_in_many_packs_that_the_cache_lost_then_it_is_stored_afresh_and_not_fetched() {
    let remote = Remote::new();
    for n in 0..40 {
        remote.backup(&day(n), &[]);
    }
    std::fs::remove_dir_all(remote.vault.cache().join("dumpvault/packs")).unwrap();
    let report = remote.backup(&day(41), &[]);
    assert!(number(&report["requests"], "total") <= 34, "{report}");
    let next = remote.backup(&day(42), &[]);
    assert!(number(&next["requests"], "get") <= 10, "{next}");
    assert!(remote.restored(&["--no-cache"]) == day(42));
}

#[test]
fn given_a_machine_without_a_cache_then_a_list_reads_each_snapshot_and_its_mark_and_no_index() {
    const DAYS: u32 = 20;
    let remote = Remote::new();
    for n in 0..DAYS {
        remote.backup(&day(n), &[]);
    }
    for args in [&["--json", "snapshots"][..], &["--json", "ls", "app~3"]] {
        std::fs::remove_dir_all(remote.vault.cache()).unwrap();
        let (gets, calls) = (remote.server.count("GET"), remote.server.calls().len());
        run(remote.command(args), b"").expect(exit::OK);
        let gets = remote.server.count("GET") - gets;
        eprintln!(
            "{args:?}: {gets} reads, {} requests for {DAYS} snapshots",
            remote.server.calls().len() - calls
        );
        // Two of each, and config, key slot, the author's statement and listings.
        assert!(gets <= 2 * DAYS as usize + 15, "{args:?}: {gets}");
    }
}
