//! What a process finds around it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The process's surroundings, taken once.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Environment variables.
    pub variables: HashMap<OsString, OsString>,
    /// Working directory.
    pub directory: PathBuf,
    /// The effective user.
    pub uid: u32,
    /// Whether a person sits at the terminal that the process was started from.
    pub is_interactive: bool,
}

impl Environment {
    /// A variable that is set and not empty, as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.path(name).and_then(|value| value.into_os_string().into_string().ok())
    }

    /// A variable that is set and not empty, as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// A file with a secret: `credential:NAME` is what the service manager gave under that name, in the folder that it
    /// alone can read.
    pub fn credential(&self, path: &Path) -> PathBuf {
        let name = path.to_str().and_then(|text| text.strip_prefix("credential:"));
        match (name.filter(|name| !name.contains('/')), self.path("CREDENTIALS_DIRECTORY")) {
            (Some(name), Some(folder)) => folder.join(name),
            _ => path.to_owned(),
        }
    }

    /// The same, from the root.
    pub fn file(&self, path: &Path) -> PathBuf {
        self.directory.join(self.credential(path))
    }

    /// The home directory; where nobody has one, the working directory.
    pub fn home(&self) -> PathBuf {
        self.path("HOME").unwrap_or_else(|| self.directory.clone())
    }

    /// Whether the process runs as root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Where files go that nobody needs for long.
    pub fn temporary(&self) -> PathBuf {
        self.directory.join(self.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp")))
    }

    /// Where catalogs are kept.
    pub fn cache_root(&self) -> PathBuf {
        match self.path("XDG_CACHE_HOME") {
            Some(root) => root.join("dumpvault"),
            None if self.is_root() => PathBuf::from("/var/cache/dumpvault"),
            None => self.home().join(".cache/dumpvault"),
        }
    }

    /// Where it is kept what must not be lost: what this host remembers of repositories.
    pub fn state_root(&self) -> PathBuf {
        match self.path("XDG_STATE_HOME") {
            Some(root) => root.join("dumpvault"),
            None if self.is_root() => PathBuf::from("/var/lib/dumpvault"),
            None => self.home().join(".local/state/dumpvault"),
        }
    }

    /// Whether the process runs in a container, as Docker and Podman tell.
    pub fn in_container(&self) -> bool {
        ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists())
    }

    /// Configuration files, the nearest first.
    pub fn config_files(&self) -> [PathBuf; 3] {
        let user = self.path("XDG_CONFIG_HOME").unwrap_or_else(|| self.home().join(".config"));
        [
            self.directory.join("dumpvault.toml"),
            user.join("dumpvault/config.toml"),
            PathBuf::from("/etc/dumpvault/config.toml"),
        ]
    }
}
