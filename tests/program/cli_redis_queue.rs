//! Jobs of a real queue, BullMQ's, survive a backup and a restore: its package comes from npm, as `tests/run.sh`
//! installs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Vault, exit};
use crate::support::redis::Redis;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The npm package, as `tests/run.sh` installs it.
const BULLMQ: &str = "bullmq@5.63.0";

/// The folder of the package, installed on first use.
fn modules() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-queue");
    if !fs::read_to_string(folder.join("installed")).is_ok_and(|found| found.trim() == BULLMQ) {
        fs::create_dir_all(&folder).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg(BULLMQ);
        let output = npm.output().unwrap();
        assert!(output.status.success(), "{npm:?}: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(folder.join("installed"), BULLMQ).unwrap();
    }
    folder.join("node_modules")
}

fn queue(what: &str, server: &Redis) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/queue.cjs");
    let mut node = Command::new("node");
    node.arg(script).args([what, &server.port.to_string()]).env("NODE_PATH", modules());
    let output = node.output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn given_jobs_of_bullmq_in_every_state_then_all_are_there_after_a_restore_and_a_worker_does_them() {
    let source = Redis::start("redis70");
    queue("fill", &source);
    let counts = queue("counts", &source);
    assert_eq!(
        counts,
        r#"{"active":1,"delayed":5,"failed":4,"completed":16,"prioritized":10,"waiting":1,"paused":0}"#
    );
    let vault = Vault::new();
    vault.run(["backup", &source.uri(), "--series", "queue"]).expect(exit::OK);
    for (into, via) in [("redis82", "master"), ("valkey91", "keys")] {
        let target = Redis::start_with(into, &["--appendonly", "yes"]);
        let told =
            vault.run(["restore", "queue", "--to-redis", &target.uri(), "--via", via]).expect(exit::OK);
        assert!(told.text().contains("jobs"), "what a queue does next is told: {told}");
        assert_eq!(queue("counts", &target), counts, "{into} {via}");
        // Those that were delayed to a time that has passed, and the one that a worker held, run now.
        let done = queue("work", &target);
        assert_eq!(done, r#"{"first":10,"held":1,"later":5,"plain":1}"#, "{into} {via}");
    }
}
