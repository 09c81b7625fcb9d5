//! The independent reader in Python, as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What opens a repository, on the command line's terms.
pub enum Unlock<'a> {
    Password(&'a str),
    KeyFile(&'a Path),
}

/// Where the reader lies.
pub fn script() -> PathBuf {
    Path::new(ROOT).join("tests/independent_reader.py")
}

/// Runs the reader on `repository` with `arguments`.
pub fn read(repository: &Path, unlock: &Unlock<'_>, arguments: &[&str]) -> Output {
    read_by(&script(), repository, unlock, arguments)
}

/// The same with another reader.
pub fn read_by(script: &Path, repository: &Path, unlock: &Unlock<'_>, arguments: &[&str]) -> Output {
    let mut command = Command::new(python());
    command.arg(script).arg(repository).args(arguments);
    command.env_remove("DUMPVAULT_PASSWORD");
    match unlock {
        Unlock::Password(password) => command.env("DUMPVAULT_PASSWORD", password),
        Unlock::KeyFile(path) => command.arg("--key-file").arg(path),
    };
    command.output().unwrap()
}

/// What the reader wrote; fails with its message when it refused.
pub fn stdout(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "the independent reader: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The interpreter with the packages of `tests/requirements.txt`: `DUMPVAULT_TEST_PYTHON`, or one of our own under the
/// target folder, made on first use in the way of `tests/run.sh`.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| match std::env::var_os("DUMPVAULT_TEST_PYTHON") {
        Some(path) => path.into(),
        None => installed(),
    })
}

fn installed() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join("test-python");
    let requirements = Path::new(ROOT).join("tests/requirements.txt");
    let stamp = folder.join("requirements.installed");
    let (wanted, found) = (std::fs::read(&requirements).unwrap(), std::fs::read(&stamp));
    if !found.is_ok_and(|found| found == wanted) {
        // Two test programs may do this at the same time: each makes its own, and one takes the place.
        let fresh = target.join(format!("test-python.{}", std::process::id()));
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&fresh));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(fresh.join("bin/python")).args(pip).arg(&requirements));
        std::fs::write(fresh.join("requirements.installed"), &wanted).unwrap();
        // Safe to ignore because an old one may not be there; the rename tells whether the place is free.
        let _ = std::fs::remove_dir_all(&folder);
        if std::fs::rename(&fresh, &folder).is_err() {
            std::fs::remove_dir_all(&fresh).unwrap();
        }
    }
    folder.join("bin/python")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
