//! Programs from npm, installed on first use in the way of `tests/run.sh`.

#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The packages, as `tests/run.sh` installs them.
const PACKAGES: &str = "s3rver@3.7.1 azurite@3.37.0";

/// The program of one of the packages.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let folder = target.join("test-node");
        if !fs::read_to_string(folder.join("installed")).is_ok_and(|found| found.trim() == PACKAGES) {
            // Two test programs may do this at the same time: each makes its own, and one takes the place.
            let fresh = target.join(format!("test-node.{}", std::process::id()));
            fs::create_dir_all(&fresh).unwrap();
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&fresh);
            npm.args(PACKAGES.split(' '));
            let output = npm.output().unwrap();
            assert!(output.status.success(), "{npm:?}: {}", String::from_utf8_lossy(&output.stderr));
            fs::write(fresh.join("installed"), PACKAGES).unwrap();
            // Safe to ignore because an old one may not be there; the rename tells whether the place is free.
            let _ = fs::remove_dir_all(&folder);
            if fs::rename(&fresh, &folder).is_err() {
                fs::remove_dir_all(&fresh).unwrap();
            }
        }
        folder
    });
    folder.join("node_modules/.bin").join(name)
}
