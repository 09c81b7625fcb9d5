//! A PostgreSQL server of one's own, for a demonstration: in a folder, on a Unix socket in it, gone when dropped.

use super::client::Clients;
use super::connection::{Connection, ConnectionParts};
use super::error::PostgresError;
use crate::event::Cancel;
use crate::source::Dump;
use crate::source::SourceError;
use crate::source::command::ProcessDump;
use crate::source::process::{Invocation, Limits};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running private server. Its superuser `postgres` needs no password; only the socket's folder leads to it.
pub struct PrivateServer {
    postgres: Child,
    home: PathBuf,
    clients: Clients,
}

/// User and group that the server runs as, where that is not the caller.
type Account = Option<(u32, u32)>;

impl PrivateServer {
    /// Directory of an installed server's programs, the newest; `None` without one.
    pub fn installed() -> Option<PathBuf> {
        let entries = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let versions = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        });
        let complete = versions.filter(|(_, bin)| {
            ["initdb", "postgres", "pg_dump", "pg_restore", "psql"]
                .iter()
                .all(|tool| bin.join(tool).is_file())
        });
        complete.max().map(|(_, bin)| bin)
    }

    /// Makes a cluster in `home`, a folder that is there and empty, and starts the programs in `bin` on it. PostgreSQL refuses to
    /// run as root: then it runs as `postgres` or `nobody`, who must be able to reach `home`.
    ///
    /// # Errors
    /// When a program cannot be started, or the server does not become ready.
    pub fn start(bin: &Path, home: &Path) -> io::Result<Self> {
        let account = account()?;
        if let Some((uid, gid)) = account {
            chown(home, Some(uid), Some(gid))?;
        }
        let data = home.join("data");
        let mut initdb = as_account(&bin.join("initdb"), account, home);
        initdb
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data);
        let made = initdb.stdin(Stdio::null()).output()?;
        if !made.status.success() {
            let words = String::from_utf8_lossy(&made.stderr);
            return Err(io::Error::other(format!("initdb failed: {}", words.trim())));
        }
        let mut command = as_account(&bin.join("postgres"), account, home);
        command.arg("-D").arg(&data).arg("-k").arg(home).args(["-p", "5432"]);
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_wal_size=1GB",
            "logging_collector=off",
            "log_destination=stderr",
            "lc_messages=C",
        ] {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut server = Self {
            postgres: command.spawn()?,
            home: home.to_owned(),
            clients: Clients::new(vec![bin.to_owned()], false),
        };
        server.await_readiness()?;
        Ok(server)
    }

    fn await_readiness(&mut self) -> io::Result<()> {
        let stderr = self.postgres.stderr.take().ok_or_else(|| io::Error::other("the server has no log"))?;
        let mut log = BufReader::new(stderr);
        let mut said = String::new();
        loop {
            let start = said.len();
            if log.read_line(&mut said)? == 0 {
                return Err(io::Error::other(format!("the server did not start: {}", said.trim())));
            }
            if said.get(start..).is_some_and(|line| line.contains("ready to accept connections")) {
                break;
            }
        }
        // Read on, so that the server never blocks on its log; the thread ends with the server.
        std::thread::Builder::new()
            .name("postgres log".to_owned())
            .spawn(move || io::copy(&mut log, &mut io::sink()))?;
        Ok(())
    }

    /// How to reach a database of the server.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn connection(&self, database: &str) -> Result<Connection, PostgresError> {
        Connection::from_parts(ConnectionParts {
            database: Some(database.to_owned()),
            host: Some(self.home.display().to_string()),
            port: Some(5432),
            user: Some("postgres".to_owned()),
        })
    }

    /// Its own client programs.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Runs SQL and gives the answer's first row.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn sql(&self, database: &str, sql: &str, cancel: &Cancel) -> Result<String, PostgresError> {
        self.clients.ask(&self.connection(database)?, "change the demonstration's database", sql, cancel)
    }

    /// Digest of the database's plain dump, without the lines that differ from run to run: equal digests, equal databases.
    ///
    /// # Errors
    /// When `pg_dump` fails.
    pub fn plain_digest(&self, database: &str, cancel: &Cancel) -> Result<blake3::Hash, SourceError> {
        let connection = self.connection(database)?;
        let server = self.clients.server(&connection, cancel)?;
        let client = self.clients.choose("pg_dump", server.version, server.version, cancel)?;
        let invocation: Invocation = connection.client(&client.path).arg("--format=plain");
        let mut dump = Box::new(ProcessDump::start(&invocation, Limits::new(cancel.clone()))?);
        let mut hasher = blake3::Hasher::new();
        let mut lines = BufReader::with_capacity(1 << 20, &mut dump);
        let mut line = Vec::new();
        // An error of reading is told by `finish`.
        while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if !line.starts_with(b"\\restrict ") && !line.starts_with(b"\\unrestrict ") {
                hasher.update(&line);
            }
            line.clear();
        }
        drop(lines);
        dump.finish()?;
        Ok(hasher.finalize())
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // SIGQUIT is an immediate shutdown: the postmaster takes its children with it. Nothing is to be saved.
        // Safe to ignore because a server that is gone already needs no signal.
        let _ = kill_process(Pid::from_child(&self.postgres), Signal::QUIT);
        let _ = self.postgres.wait();
    }
}

fn account() -> io::Result<Account> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = ids("postgres").or_else(|| ids("nobody"));
    found.map(Some).ok_or_else(|| io::Error::other("root, and no account to run PostgreSQL as"))
}

fn as_account(program: &Path, account: Account, home: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    // The caller's own directory may be closed to that account.
    command.current_dir(home).env("LC_ALL", "C").env_remove("DUMPVAULT_PASSWORD");
    command
}
