//! The demonstration keeps what it promises, and leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn demo(temp: &Path, args: &[&str]) -> (Value, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_dumpvault"))
        .args(["demo", "--json", "--size", "8"])
        .args(args)
        .env("TMPDIR", temp)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {words}"));
    (report, output.status.code().unwrap())
}

fn temp() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::Builder::new().prefix("dv-demo-").tempdir().unwrap();
    // The private server may run as another user.
    std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    temp
}

fn assert_proven(report: &Value) {
    assert_eq!(report["ok"], true, "{report}");
    let days = report["days"].as_array().unwrap();
    assert_eq!(days.len(), 3);
    let stored = |day: usize| days[day]["bytes_stored"].as_u64().unwrap();
    assert!(stored(1) < stored(0) && stored(2) < stored(0), "later days cost less: {report}");
}

fn assert_gone(temp: &Path) {
    assert_eq!(std::fs::read_dir(temp).unwrap().count(), 0, "the scratch folder is gone");
    let inside = temp.display().to_string();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        assert!(!arguments.contains(&inside), "left behind: {arguments}");
    }
}

#[test]
fn given_a_postgresql_server_then_three_days_go_there_and_back() {
    let temp = temp();
    let (report, code) = demo(temp.path(), &[]);
    assert_eq!(code, 0, "{report}");
    assert_proven(&report);
    assert_gone(temp.path());
}

#[test]
fn given_no_server_then_generated_dumps_do_the_same() {
    let temp = temp();
    let (report, code) = demo(temp.path(), &["--generated"]);
    assert_eq!(code, 0, "{report}");
    assert_proven(&report);
    assert_gone(temp.path());
}

#[test]
fn given_keep_then_the_repository_opens_with_the_passphrase_beside_it() {
    let temp = temp();
    let (_, code) = demo(temp.path(), &["--generated", "--keep"]);
    assert_eq!(code, 0);
    let scratch = std::fs::read_dir(temp.path()).unwrap().next().unwrap().unwrap().path();
    let output = Command::new(env!("CARGO_BIN_EXE_dumpvault"))
        .args(["snapshots", "--json", "--repo"])
        .arg(scratch.join("repository"))
        .arg("--password-file")
        .arg(scratch.join("passphrase"))
        .env("XDG_CACHE_HOME", temp.path())
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 3);
}
