//! Finding the server's version and the client program that fits it.

pub(super) mod databases;
pub(super) mod holes;

use super::{ConnectProblem, Connection, PostgresError};
use crate::base::event::Cancel;
use crate::source::command::ProcessDump;
use crate::source::process::{Invocation, Limits};
use crate::source::surroundings::Surroundings;
use crate::source::wrapper::Wrapper;
use crate::source::{Dump, SourceError};
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a question to a server, or to a program about its version, may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Separates the columns of an answer: not to be met in names.
pub(super) const COLUMN_SEPARATOR: char = '\u{1f}';

/// A major version of PostgreSQL: 15, 9.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    /// Before 10, the second number belongs to the major version.
    minor: u32,
}

impl Version {
    /// Older than all that is met today.
    pub const OLDEST: Self = Self { major: 8, minor: 4 };

    /// PostgreSQL `major`, 10 or later.
    pub const fn new(major: u32) -> Self {
        Self { major, minor: 0 }
    }

    /// From `server_version_num`, like 150014 or 90624.
    fn from_num(num: u32) -> Self {
        let major = num / 10_000;
        Self { major, minor: if major < 10 { num / 100 % 100 } else { 0 } }
    }

    /// The minor version in what `--version` prints: 14 of `pg_dump (PostgreSQL) 15.14 (Debian …)`; none of `17beta1`.
    fn minor_of_banner(banner: &str) -> Option<u32> {
        let (_, number) = banner.split_once("(PostgreSQL) ")?;
        let (major, minor) = number.split_once('.')?;
        let is_release = major.parse::<u32>().is_ok_and(|major| major >= 10);
        minor.split(|c: char| !c.is_ascii_digit()).next().filter(|_| is_release)?.parse().ok()
    }

    /// The number.
    pub fn major(self) -> u32 {
        self.major
    }

    /// From what `--version` prints: `pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`,
    /// `psql (PostgreSQL) 17beta1`.
    fn from_banner(banner: &str) -> Option<Self> {
        let (_, number) = banner.split_once("(PostgreSQL) ")?;
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse().ok()?;
        let minor = if major < 10 { parts.next()?.parse().ok()? } else { 0 };
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.major {
            0..10 => write!(f, "{}.{}", self.major, self.minor),
            _ => write!(f, "{}", self.major),
        }
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its major version.
    pub version: Version,
    /// Its version in full, as it tells it: `15.14 (Debian 15.14-0+deb12u1)`.
    pub version_text: String,
    /// The database that the connection leads to.
    pub database: String,
    /// The host as the client program knows it, whatever named it (a URI, an option, `PGHOST`, a service): a name, an
    /// address, or the directory of a socket.
    pub host: String,
    /// The port that goes with it.
    pub port: String,
    /// The server's own address, where the connection is over TCP.
    pub address: Option<String>,
}

impl ServerInfo {
    /// Host and port for people: `db1:5432 (10.0.0.7)`, `localhost:5432 (socket /run/postgresql)`.
    pub fn place(&self) -> String {
        let Self { host, port, address, .. } = self;
        match address {
            _ if self.is_local() => format!("localhost:{port} (socket {host})"),
            Some(address) if address != host => format!("{host}:{port} ({address})"),
            _ => format!("{host}:{port}"),
        }
    }

    /// The host's name or address; `localhost` behind a socket.
    pub fn host_name(&self) -> &str {
        if self.is_local() { "localhost" } else { &self.host }
    }

    fn is_local(&self) -> bool {
        // An abstract socket begins with an `@`.
        self.host.starts_with(['/', '@'])
    }
}

/// A client program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundClient {
    /// Its path, or its bare name where it comes from `PATH`.
    pub path: PathBuf,
    /// Its major version.
    pub version: Version,
    /// Its minor version, of a release of 10 or later.
    pub minor: Option<u32>,
}

impl FoundClient {
    /// Whether what it sends begins with a setting that the server does not know.
    pub(super) fn is_too_new_for(&self, server: Version) -> bool {
        server < TIMEOUT_SETTING && self.version >= TIMEOUT_SETTING
    }
}

/// From this version on there is `transaction_timeout`, which `pg_dump` and `pg_restore` set before all else.
pub(super) const TIMEOUT_SETTING: Version = Version::new(17);

/// Where client programs are looked for.
///
/// Directories come before `PATH`: on Debian, the programs in `PATH` are wrappers that may choose a version and even a
/// server by themselves, so that a question and a dump could go to different servers.
#[derive(Debug, Clone)]
pub struct Clients {
    directories: Vec<PathBuf>,
    search_path: bool,
    /// Program and arguments that run the clients somewhere else.
    through: Wrapper,
    surroundings: Surroundings,
}

impl Clients {
    /// Looks in `directories`, then in `PATH` if `search_path`.
    pub fn new(directories: Vec<PathBuf>, search_path: bool) -> Self {
        Self { directories, search_path, through: Wrapper::default(), surroundings: Surroundings::default() }
    }

    /// Looks where the packages of Debian, Red Hat and Homebrew put the versions side by side, then in `PATH`.
    pub fn installed() -> Self {
        let mut directories = Vec::new();
        for (parent, prefix) in [
            ("/usr/lib/postgresql", ""),
            ("/usr", "pgsql-"),
            ("/opt/homebrew/opt", "postgresql@"),
            ("/usr/local/opt", "postgresql@"),
        ] {
            // A parent that is not there, or may not be listed, holds no clients for us.
            let Ok(entries) = std::fs::read_dir(parent) else {
                continue;
            };
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let mut versions: Vec<(u32, PathBuf)> = names
                .filter_map(|name| {
                    let version = name.strip_prefix(prefix)?.split('.').next()?.parse().ok()?;
                    Some((version, Path::new(parent).join(&name).join("bin")))
                })
                .collect();
            // Newest first: the newest `psql` asks the questions.
            versions.sort_by(|a, b| b.cmp(a));
            directories.extend(versions.into_iter().map(|(_, directory)| directory));
        }
        Self::new(directories, true)
    }

    /// The same with more directories, which come first.
    pub fn with_directories(mut self, mut directories: Vec<PathBuf>) -> Self {
        directories.append(&mut self.directories);
        Self { directories, ..self }
    }

    /// The same programs where another one runs them: in a container (`docker exec -i db`), on another host
    /// (`ssh db1`). They are found in the `PATH` there. Nothing changes if the wrapper is empty.
    pub fn through(self, wrapper: Wrapper) -> Self {
        match wrapper.is_empty() {
            true => self,
            false => Self { directories: Vec::new(), search_path: true, through: wrapper, ..self },
        }
    }

    /// The same programs with these surroundings.
    pub fn within(self, surroundings: Surroundings) -> Self {
        Self { surroundings, ..self }
    }

    /// Whether the programs run where this machine's files are.
    pub(super) fn are_local(&self) -> bool {
        self.through.is_empty()
    }

    /// A client program that connects to a database.
    pub(super) fn client(&self, connection: &Connection, program: impl Into<OsString>) -> Invocation {
        connection.client(program).within(&self.surroundings).behind(&self.through)
    }

    /// A client program that connects to nothing.
    pub(super) fn program(&self, program: impl Into<OsString>) -> Invocation {
        Invocation::new(program).env("LC_ALL", "C").behind(&self.through)
    }

    /// The directories that come before `PATH`.
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Asks the server that `connection` leads to.
    ///
    /// # Errors
    /// [`PostgresError::Connect`] when it cannot be reached; [`PostgresError::NoClientAtAll`] without a `psql`.
    pub fn server(&self, connection: &Connection, cancel: &Cancel) -> Result<ServerInfo, PostgresError> {
        let what = "ask the server for its version";
        let sql = "SELECT current_setting('server_version_num'), current_setting('server_version'), current_database(), \
                   host(inet_server_addr())";
        // Only the client program knows which of several hosts it is, and what a service or a variable said.
        let answer =
            self.answer(connection, what, &["-c", sql, "-c", "\\echo :PORT :HOST"], question(cancel))?;
        let (row, place) = answer.split_once('\0').unwrap_or((&answer, ""));
        let mut columns = columns(row);
        let (Some(num), Some(version_text), Some(database), Some(address)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            return Err(unclear(what, row));
        };
        let num: u32 = num.parse().map_err(|_| unclear(what, row))?;
        tracing::debug!("server {}: PostgreSQL {version_text}, database {database}", connection.display());
        let (port, host) = place.trim().split_once(' ').unwrap_or_default();
        Ok(ServerInfo {
            version: Version::from_num(num),
            version_text: version_text.to_owned(),
            database: database.to_owned(),
            host: host.to_owned(),
            port: port.to_owned(),
            address: Some(address.to_owned()).filter(|address| !address.is_empty()),
        })
    }

    /// The program `tool` that fits best: not older than `at_least`; of version `best` exactly, else the oldest newer
    /// one, else the newest older one.
    ///
    /// # Errors
    /// [`PostgresError::NoClient`] with all that was found.
    pub fn choose(
        &self,
        tool: &'static str,
        best: Version,
        at_least: Version,
        cancel: &Cancel,
    ) -> Result<FoundClient, PostgresError> {
        let found = self.find(tool, cancel)?;
        let fitting = || found.iter().filter(|client| client.version >= at_least);
        // `min_by_key` keeps the first of equals, and directories come first.
        let newer = fitting().filter(|client| client.version >= best).min_by_key(|client| client.version);
        match newer.or_else(|| fitting().max_by_key(|client| client.version)) {
            Some(client) => {
                tracing::debug!("client {}: version {}", client.path.display(), client.version);
                Ok(client.clone())
            }
            // The one to install is the server's own, where that will do.
            None => Err(PostgresError::NoClient { tool, needed: best.max(at_least), found }),
        }
    }

    /// The `pg_restore` that fits best: not older than `at_least`; one that talks to the server itself, and of these
    /// chosen as [`Clients::choose`] does; else the newest, whose script `psql` runs.
    ///
    /// # Errors
    /// [`PostgresError::NoClient`] with all that was found.
    pub fn choose_restorer(
        &self,
        server: Version,
        at_least: Version,
        cancel: &Cancel,
    ) -> Result<FoundClient, PostgresError> {
        let tool = "pg_restore";
        let found = self.find(tool, cancel)?;
        let fitting = || found.iter().filter(|client| client.version >= at_least);
        let direct = || fitting().filter(|client| !client.is_too_new_for(server));
        let newer = direct().filter(|client| client.version >= server).min_by_key(|client| client.version);
        let best = newer.or_else(|| direct().max_by_key(|client| client.version));
        match best.or_else(|| fitting().max_by_key(|client| client.version)) {
            Some(client) => Ok(client.clone()),
            None => Err(PostgresError::NoClient { tool, needed: server.max(at_least), found }),
        }
    }

    fn version_question(&self, path: &Path) -> Invocation {
        let question = Invocation::new(path).arg("--version").env("LC_ALL", "C");
        question.within(&self.surroundings).behind(&self.through)
    }

    /// Every program `tool` that is there and tells its version.
    ///
    /// # Errors
    /// When somebody cancels.
    pub fn find(&self, tool: &'static str, cancel: &Cancel) -> Result<Vec<FoundClient>, PostgresError> {
        let mut found = Vec::new();
        for path in self.places(tool) {
            let banner = match run(&self.version_question(&path), question(cancel)) {
                Ok(banner) => banner,
                Err(source @ SourceError::Cancelled { .. }) => {
                    return Err(step(&format!("ask `{tool}` for its version"), source));
                }
                // A program that cannot even tell its version is none that could be chosen.
                Err(_) => continue,
            };
            if let Some(version) = Version::from_banner(&banner) {
                found.push(FoundClient { path, version, minor: Version::minor_of_banner(&banner) });
            }
        }
        Ok(found)
    }

    /// A `psql`: the first that is there.
    pub(super) fn any_psql(&self) -> PathBuf {
        self.places("psql").into_iter().next().unwrap_or_else(|| PathBuf::from("psql"))
    }

    /// Where `tool` may be: files in the directories, and its bare name for `PATH`.
    fn places(&self, tool: &str) -> Vec<PathBuf> {
        let files = self.directories.iter().map(|directory| directory.join(tool));
        let mut places: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
        if self.search_path {
            places.push(PathBuf::from(tool));
        }
        places
    }

    /// Puts one SQL command to the server and gives the first row of the answer, to be taken apart by [`columns`];
    /// empty when there is none. `what` names the step in errors.
    pub(super) fn ask(
        &self,
        connection: &Connection,
        what: &str,
        sql: &str,
        cancel: &Cancel,
    ) -> Result<String, PostgresError> {
        self.put(connection, what, &["-c", sql], question(cancel))
    }

    /// The same over one connection, after another command with no answer.
    pub(super) fn ask_after(
        &self,
        connection: &Connection,
        what: &str,
        first: &str,
        sql: &str,
        cancel: &Cancel,
    ) -> Result<String, PostgresError> {
        self.put(connection, what, &["-c", first, "-c", sql], question(cancel))
    }

    /// The same for what may take long: within `limits`.
    pub(super) fn ask_at_leisure(
        &self,
        connection: &Connection,
        what: &str,
        first: &str,
        sql: &str,
        limits: &Limits,
    ) -> Result<String, PostgresError> {
        self.put(connection, what, &["-c", first, "-c", sql], limits.clone())
    }

    /// A `psql`: the first that is there.
    pub(super) fn psql(&self) -> PathBuf {
        self.places("psql").into_iter().next().unwrap_or_else(|| PathBuf::from("psql"))
    }

    /// The first row of the answer to the last command.
    fn put(
        &self,
        connection: &Connection,
        what: &str,
        commands: &[&str],
        limits: Limits,
    ) -> Result<String, PostgresError> {
        let answer = self.answer(connection, what, commands, limits)?;
        Ok(answer.split('\0').next().unwrap_or_default().to_owned())
    }

    /// All that `psql` prints: rows, each with a zero byte behind it.
    fn answer(
        &self,
        connection: &Connection,
        what: &str,
        commands: &[&str],
        limits: Limits,
    ) -> Result<String, PostgresError> {
        for psql in self.places("psql") {
            let invocation = self
                .client(connection, psql)
                // Rows end with a zero byte: a database's name may hold a line end, and cut there it is another
                // database's.
                .args(["-X", "-A", "-t", "-q", "-0", "-v", "ON_ERROR_STOP=1", "-F"])
                .arg(COLUMN_SEPARATOR.to_string())
                .args(commands.iter().copied());
            return match run(&invocation, limits.clone()) {
                Ok(answer) => Ok(answer),
                Err(SourceError::ProgramNotFound { .. }) if self.are_local() => continue,
                // `psql` says with status 2 that there is no connection.
                Err(SourceError::Exited { status: 2, last_words, .. }) => Err(PostgresError::Connect {
                    target: connection.display(),
                    problem: ConnectProblem::from_text(last_words.as_str()),
                    client_text: last_words,
                }),
                Err(SourceError::TimedOut { last_words, .. }) => Err(PostgresError::Connect {
                    target: connection.display(),
                    problem: ConnectProblem::NoAnswer,
                    client_text: last_words,
                }),
                Err(source) => Err(step(what, source)),
            };
        }
        Err(PostgresError::NoClientAtAll { tool: "psql" })
    }
}

/// Takes a row apart that [`Clients::ask`] gave.
pub(super) fn columns(row: &str) -> impl Iterator<Item = &str> {
    row.split(COLUMN_SEPARATOR)
}

pub(super) fn step(what: &str, source: SourceError) -> PostgresError {
    PostgresError::Step { what: what.to_owned(), source: Box::new(source) }
}

pub(super) fn unclear(what: &str, answer: &str) -> PostgresError {
    PostgresError::Answer { what: what.to_owned(), answer: answer.chars().take(100).collect() }
}

fn question(cancel: &Cancel) -> Limits {
    Limits::new(cancel.clone()).with_timeout(Some(QUESTION_TIMEOUT))
}

/// Runs a program to its end and gives what it printed.
fn run(invocation: &Invocation, limits: Limits) -> Result<String, SourceError> {
    let mut dump = Box::new(ProcessDump::start(invocation, limits)?);
    let mut answer = Vec::new();
    // An error of reading is told by `finish`, which also finds an answer that is longer than it may be: not read to
    // its end.
    let _ = dump.by_ref().take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    dump.finish()?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_numbers_and_banners() {
        for (num, banner, shown) in [
            (150_014, "pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", "15"),
            (170_000, "psql (PostgreSQL) 17beta1\n", "17"),
            (90_624, "pg_dump (PostgreSQL) 9.6.24\n", "9.6"),
        ] {
            let version = Version::from_num(num);
            assert_eq!(Version::from_banner(banner), Some(version));
            assert_eq!(version.to_string(), shown);
            let minor = banner.split_once("15.14").map(|_| 14);
            assert_eq!(Version::minor_of_banner(banner), minor, "{banner}");
        }
        for nonsense in ["", "pg_dump 15", "pg_dump (PostgreSQL) x", "pg_dump (PostgreSQL) 9"] {
            assert_eq!(Version::from_banner(nonsense), None, "{nonsense}");
        }
        assert!(Version::from_num(90_624) < Version::new(10));
    }
}
