//! Folders on servers as a kind of storage: the keys of `[sftp]`.

use super::super::StorageError;
use super::super::scheme::{Connected, Connecting, Location, Options, Scheme, options_of, own_options};
use super::address::FORMS;
use super::ssh::Ssh;
use super::{SftpAddress, SftpSettings, SftpStorage};
use crate::base::setting::{COUNT, Entry, FILE, Given, Key, PATIENCE, Problem, Section, Table, WORDS};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// The kind.
pub struct Sftp;

impl Scheme for Sftp {
    fn name(&self) -> &'static str {
        "sftp"
    }

    fn forms(&self) -> &'static str {
        FORMS
    }

    fn is_meant(&self, address: &str) -> bool {
        SftpAddress::is_meant(address)
    }

    fn location(&self, address: &str, _directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        let address = SftpAddress::parse(address)?;
        Ok(Arc::new(At { address, connected: Mutex::default() }))
    }

    fn sections(&self) -> Option<[&'static Section; 2]> {
        Some([&TABLE, &OF_COPY])
    }

    fn options(&self, table: Option<&mut Table<'_>>, given: &Given<'_>) -> Options {
        Arc::new(options_of(table, given, SftpOptions::of))
    }
}

/// `[sftp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpOptions {
    /// The program and its first words.
    pub command: Vec<OsString>,
    /// The file of the only key to use.
    pub identity: Option<PathBuf>,
    /// Connections at the same time, at most.
    pub connections: usize,
    /// A connection is given up when nothing moved for so long.
    pub stall_timeout: Duration,
}

impl Default for SftpOptions {
    fn default() -> Self {
        let settings = SftpSettings::default();
        Self {
            command: vec!["ssh".into()],
            identity: None,
            connections: settings.connections,
            stall_timeout: settings.stall_timeout,
        }
    }
}

impl SftpOptions {
    fn of(table: &mut Table<'_>) -> Self {
        let usual = Self::default();
        Self {
            command: table.take(&COMMAND).map_or(usual.command, |found| found.value),
            identity: table.take(&IDENTITY).map(|found| found.value),
            connections: table.take(&CONNECTIONS).map_or(usual.connections, |found| found.value as usize),
            stall_timeout: table.take(&STALL_TIMEOUT).map_or(usual.stall_timeout, |found| found.value),
        }
    }
}

/// A folder on a server.
struct At {
    address: SftpAddress,
    /// What was connected to it last, which knows how to reach it.
    connected: Mutex<Weak<SftpStorage>>,
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "At({})", self.address)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl At {
    fn storage(&self, options: &Options, around: &Connecting) -> Result<Arc<SftpStorage>, StorageError> {
        let given: SftpOptions = own_options(options, self)?;
        let settings = SftpSettings {
            connections: given.connections,
            stall_timeout: given.stall_timeout,
            upload: around.upload.clone(),
            download: around.download.clone(),
        };
        let ssh = Ssh {
            command: given.command.clone(),
            identity: given.identity.clone(),
            patience: given.stall_timeout,
        };
        let address = self.address.clone();
        let dial = Box::new(move || ssh.dial(&address));
        let storage = SftpStorage::new(self.address.path.clone(), self.address.to_string(), dial, settings);
        let storage = Arc::new(storage);
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&storage);
        Ok(storage)
    }

    fn last(&self) -> Option<Arc<SftpStorage>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }
}

impl Location for At {
    fn scheme(&self) -> &'static str {
        Sftp.name()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn connect(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        Ok(Connected::by_wire(self.storage(options, around)?, around))
    }

    fn create(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        // Whoever looked for a repository a moment ago is connected already.
        let storage = self.last().map_or_else(|| self.storage(options, around), Ok)?;
        around.backoff.run(&mut || storage.make_root())?;
        Ok(Connected::by_wire(storage, around))
    }

    fn remove_leftovers(&self, older_than: Duration) -> Result<(), StorageError> {
        self.last().map_or(Ok(()), |storage| storage.remove_leftovers(older_than))
    }

    fn leftovers(&self) -> usize {
        self.last().and_then(|storage| storage.leftovers().ok()).unwrap_or_default()
    }
}

static COMMAND: Key<Vec<OsString>> = Key::new(
    &WORDS,
    Entry::new(
        "command",
        "OpenSSH's client, and words that go before its other options.",
        "[\"ssh\", \"-F\", \"/etc/dumpvault/ssh_config\"]",
    )
    .default("ssh"),
);
static IDENTITY: Key<PathBuf> = Key::new(
    &FILE,
    Entry::new(
        "identity",
        "File of the only private key to use; else what ssh finds.",
        "\"/root/.ssh/vault\"",
    ),
);
static CONNECTIONS: Key<u32> =
    Key::new(&COUNT, Entry::new("connections", "Connections at the same time, at most.", "4").default("2"));
static STALL_TIMEOUT: Key<Duration> = Key::new(
    &PATIENCE,
    Entry::new(
        "stall_timeout",
        "Give up a connection, and make another, when nothing moved for this long.",
        "\"20s\"",
    )
    .default("60s"),
);

static TABLE: Section = Section {
    name: "sftp",
    which: "",
    about: "How servers are reached by SFTP. Users, ports, keys and jump hosts can also stand in ssh's own configuration.",
    keys: &[&COMMAND, &IDENTITY, &CONNECTIONS, &STALL_TIMEOUT],
};

/// The same keys in another table.
static OF_COPY: Section = Section {
    name: "copy.NAME.sftp",
    which: "",
    about: "How the destination's server is reached, in the place of `[sftp]`.",
    keys: TABLE.keys,
};
