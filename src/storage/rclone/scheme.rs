//! Remotes of rclone as a kind of storage: their addresses, and the keys of `[rclone]`.

use super::super::StorageError;
use super::super::scheme::{Connected, Connecting, Location, Options, Scheme, options_of, own_options};
use super::RcloneStorage;
use super::process::Program;
use crate::base::setting::{Entry, Given, Key, PATIENCE, Problem, Section, TEXT, TEXTS, Table};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The kind.
pub struct Rclone;

/// How addresses are written.
const FORMS: &str = "rclone:remote:path";

impl Scheme for Rclone {
    fn name(&self) -> &'static str {
        "rclone"
    }

    fn forms(&self) -> &'static str {
        FORMS
    }

    fn is_meant(&self, address: &str) -> bool {
        address.starts_with("rclone:")
    }

    fn location(&self, address: &str, _directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        parse(address).map(|remote| Arc::new(At { remote }) as Arc<dyn Location>)
    }

    fn sections(&self) -> Option<[&'static Section; 2]> {
        Some([&TABLE, &OF_COPY])
    }

    fn options(&self, table: Option<&mut Table<'_>>, given: &Given<'_>) -> Options {
        Arc::new(options_of(table, given, RcloneOptions::of))
    }
}

/// `remote:path` of an address.
fn parse(address: &str) -> Result<String, Problem> {
    let bad = |shown: &str, why: &str| {
        Problem::new(format!("`{shown}` is not a repository address: {why}")).next(format!("use {FORMS}"))
    };
    let remote = address.strip_prefix("rclone:").unwrap_or(address);
    // A remote described in the address has parameters, which may be secrets: they are not shown, and every user of the
    // machine could read them in the list of processes.
    let (name, path) = remote.split_once(':').ok_or_else(|| bad(address, "it names no remote"))?;
    if name.is_empty() || name.contains([',', '=']) {
        return Err(bad("rclone:…", "describe the remote in rclone's configuration, and name it here"));
    }
    let is_name = |c: char| c.is_alphanumeric() || "_-.+@ ".contains(c);
    if name.starts_with(['-', ' ']) || !name.chars().all(is_name) || path.chars().any(char::is_control) {
        return Err(bad(address, "invalid name of a remote"));
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Err(bad(address, "it names no directory"));
    }
    Ok(format!("{name}:{path}"))
}

/// `[rclone]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcloneOptions {
    /// The program.
    pub program: String,
    /// More options for it.
    pub args: Vec<String>,
    /// A request is given up, and made again, when nothing moved for so long.
    pub stall_timeout: Duration,
}

impl Default for RcloneOptions {
    fn default() -> Self {
        Self { program: "rclone".to_owned(), args: Vec::new(), stall_timeout: Duration::from_secs(300) }
    }
}

impl RcloneOptions {
    fn of(table: &mut Table<'_>) -> Self {
        let usual = Self::default();
        Self {
            program: table.take(&PROGRAM).map_or(usual.program, |found| found.value),
            args: table.take(&ARGS).map_or(usual.args, |found| found.value),
            stall_timeout: table.take(&STALL_TIMEOUT).map_or(usual.stall_timeout, |found| found.value),
        }
    }
}

/// A directory of a remote.
#[derive(Debug)]
struct At {
    remote: String,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rclone:{}", self.remote)
    }
}

impl At {
    fn storage(&self, options: &Options, around: &Connecting) -> Result<RcloneStorage, StorageError> {
        let given: RcloneOptions = own_options(options, self)?;
        let program =
            Program { program: given.program.into(), args: given.args, remote: self.remote.clone() };
        let (upload, download) = (around.upload.clone(), around.download.clone());
        Ok(RcloneStorage::new(program, given.stall_timeout, upload, download))
    }
}

impl Location for At {
    fn scheme(&self) -> &'static str {
        Rclone.name()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn connect(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        Ok(Connected::by_wire(Arc::new(self.storage(options, around)?), around))
    }

    fn create(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        let storage = self.storage(options, around)?;
        around.backoff.run(&mut || storage.make_root())?;
        Ok(Connected::by_wire(Arc::new(storage), around))
    }
}

static PROGRAM: Key<String> =
    Key::new(&TEXT, Entry::new("program", "rclone's program.", "\"/opt/rclone/rclone\"").default("rclone"));
static ARGS: Key<Vec<String>> = Key::new(
    &TEXTS,
    Entry::new(
        "args",
        "More options for rclone. Secrets belong into rclone's own configuration.",
        "[\"--config\", \"/etc/dumpvault/rclone.conf\"]",
    ),
);
static STALL_TIMEOUT: Key<Duration> = Key::new(
    &PATIENCE,
    Entry::new(
        "stall_timeout",
        "Give up a request, and make it again, when nothing moved for this long.",
        "\"2m\"",
    )
    .default("300s"),
);

static TABLE: Section = Section {
    name: "rclone",
    which: "",
    about: "How remotes of rclone are reached. The remotes themselves stand in rclone's configuration.",
    keys: &[&PROGRAM, &ARGS, &STALL_TIMEOUT],
};

/// The same keys in another table.
static OF_COPY: Section = Section {
    name: "copy.NAME.rclone",
    which: "",
    about: "How the destination's remote is reached, in the place of `[rclone]`.",
    keys: TABLE.keys,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_addresses_then_remotes_are_named_and_never_described() {
        assert_eq!(parse("rclone:b2:bucket/x/").unwrap(), "b2:bucket/x");
        assert_eq!(parse("rclone:my remote:a:b").unwrap(), "my remote:a:b");
        for address in
            ["rclone:", "rclone:x", "rclone:x:", "rclone:-x:y", "rclone:x:/", "rclone:x/y:z", "rclone:x:a\nb"]
        {
            assert!(parse(address).is_err(), "{address}");
        }
        for address in ["rclone::s3,secret_access_key=xyzzy:b/x", "rclone:b2,key=xyzzy:b/x"] {
            let problem = parse(address).unwrap_err();
            assert!(!format!("{problem:?}").contains("xyzzy"), "{problem:?}");
        }
    }
}
