//! A PostgreSQL server of one's own: a fresh cluster in a folder, on a Unix socket in it, gone when dropped.
//!
//! Nothing leads from here to another server: the client programs are told the socket, and every variable of the
//! environment that could send them elsewhere is taken away.

use super::client::{Clients, ServerInfo};
use super::connection::{Connection, ConnectionParts};
use super::error::{ConnectProblem, PostgresError};
use crate::base::event::Cancel;
use crate::source::command::ProcessDump;
use crate::source::process::{Invocation, Limits, Running, Standing};
use crate::source::surroundings::Account;
use crate::source::{Dump, SourceError};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What has to be in one directory for a server and its clients to fit each other.
const PROGRAMS: [&str; 5] = ["initdb", "postgres", "psql", "pg_dump", "pg_restore"];

/// The superuser. Nobody but who may enter the folder can reach the socket, so that no password is needed.
const SUPERUSER: &str = "postgres";
const PORT: u16 = 5432;

/// The system's limit for a socket's path is 108 bytes on Linux and 104 elsewhere, one of them a zero.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// How long making a cluster may take, and how long a server may take from its start to its first answer.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// An immediate shutdown gives the server's processes 5 s before it kills them.
const QUIT_WAIT: Duration = Duration::from_secs(10);

/// How often a server that starts is looked at.
const START_NAP: Duration = Duration::from_millis(10);

/// Variables that decide where the client programs go, as whom and how; and what the server itself would heed.
const VARIABLES: [&str; 24] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGOPTIONS",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGCHANNELBINDING",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGSSLROOTCERT",
    "PGGSSENCMODE",
    "PGTARGETSESSIONATTRS",
    "PGCONNECT_TIMEOUT",
    "PGMINPROTOCOLVERSION",
    "PGCLIENTENCODING",
    "PGDATESTYLE",
    "PGTZ",
    "PGGEQO",
    "PGDATA",
];

/// A private server could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// PostgreSQL refuses to run as root, and there is nobody to run it as.
    #[error("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`")]
    NoAccount,
    /// The socket's path would be longer than the system allows.
    #[error("`{}` is too long for the path of a socket", path.display())]
    PathTooLong {
        /// The socket.
        path: PathBuf,
    },
    /// A file or folder could not be made or read.
    #[error("`{}`: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server did not answer in time.
    #[error("the server did not answer within {limit:?}: {source}")]
    NotReady {
        /// How long it was waited for.
        limit: Duration,
        /// What the last try gave.
        #[source]
        source: PostgresError,
    },
    /// A program failed: `initdb`, or the server itself.
    #[error(transparent)]
    Program(#[from] SourceError),
    /// The server could not be asked.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

impl PrivateError {
    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Program(SourceError::Cancelled { .. }) => true,
            Self::Postgres(PostgresError::Step { source, .. }) => {
                matches!(**source, SourceError::Cancelled { .. })
            }
            _ => false,
        }
    }
}

/// A running private server. Dropping it stops it, with everything that it started, and removes its folder.
pub struct PrivateServer {
    // Dropped in this order: the server stops before its folder goes.
    postmaster: Postmaster,
    home: Home,
    programs: PathBuf,
    version: String,
}

impl PrivateServer {
    /// The first directory that holds a server with all its client programs: those of `clients`, then those of
    /// `search_path`, which is what `PATH` holds.
    pub fn find(clients: &Clients, search_path: Option<&OsStr>) -> Option<PathBuf> {
        let named = clients.directories().iter().cloned();
        let searched = search_path.into_iter().flat_map(std::env::split_paths);
        named
            .chain(searched)
            .filter(|directory| directory.is_absolute())
            .find(|directory| PROGRAMS.iter().all(|program| directory.join(program).is_file()))
    }

    /// Makes `home`, which must not be there yet, and in it a cluster, and starts the programs of the directory
    /// `programs` on it. As root, which PostgreSQL refuses, it runs as `postgres` or `nobody`, who must be able to pass
    /// the folders above.
    ///
    /// # Errors
    /// When it does not start; nothing is left then.
    pub fn start(programs: &Path, home: &Path, cancel: &Cancel) -> Result<Self, PrivateError> {
        let socket = home.join(format!(".s.PGSQL.{PORT}"));
        if socket.as_os_str().as_bytes().len() > SOCKET_PATH_BYTES_MAX {
            return Err(PrivateError::PathTooLong { path: socket });
        }
        let account = account()?;
        let home = Home::make(home, account)?;
        let limits = Limits::new(cancel.clone());
        let data = home.0.join("data");
        let initdb = within(&home.0, account, Invocation::new(programs.join("initdb")))
            .args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data);
        output_of(&initdb, limits.clone().with_timeout(Some(START_TIMEOUT)))?;

        let postgres = server_invocation(programs, &home.0, account, cancel).arg("-D").arg(&data);
        let running = Running::start(&postgres, Stdio::null(), Stdio::null(), limits)?;
        let mut server = Self {
            postmaster: Postmaster(running),
            home,
            programs: programs.to_owned(),
            version: String::new(),
        };
        server.version = server.first_answer(&socket, cancel)?.version_text;
        Ok(server)
    }

    /// Waits until the server answers.
    fn first_answer(&mut self, socket: &Path, cancel: &Cancel) -> Result<ServerInfo, PrivateError> {
        let begun = Instant::now();
        let connection = self.connection("postgres")?;
        loop {
            let postmaster = &mut self.postmaster.0;
            let standing = postmaster.standing().map_err(|source| postmaster.io_error("wait for", source))?;
            if standing != Standing::Runs {
                return Err(postmaster.failure().into());
            }
            if let Some(why) = postmaster.overrun() {
                return Err(postmaster.stop(why).into());
            }
            // Without the socket there is nothing to ask.
            if socket.exists() || begun.elapsed() >= START_TIMEOUT {
                match self.clients().server(&connection, cancel) {
                    Ok(info) => return Ok(info),
                    Err(source) if !may_be_starting(&source) => return Err(source.into()),
                    Err(source) if begun.elapsed() >= START_TIMEOUT => {
                        return Err(PrivateError::NotReady { limit: START_TIMEOUT, source });
                    }
                    Err(_) => {}
                }
            }
            std::thread::sleep(START_NAP);
        }
    }

    /// The server's version in full, as it tells it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How to reach a database of the server, and no other server.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn connection(&self, database: &str) -> Result<Connection, PostgresError> {
        let connection = Connection::from_parts(ConnectionParts {
            database: Some(database.to_owned()),
            host: Some(self.home.0.display().to_string()),
            port: Some(PORT),
            user: Some(SUPERUSER.to_owned()),
        })?;
        Ok(VARIABLES.iter().fold(connection, |connection, name| connection.without_env(name)))
    }

    /// Its own client programs, and no others.
    pub fn clients(&self) -> Clients {
        Clients::new(vec![self.programs.clone()], false)
    }

    /// Runs SQL commands one after another, each in a transaction of its own, however long they take; gives what they
    /// answer, a line a row.
    ///
    /// # Errors
    /// When the server refuses one, or somebody asks to stop.
    pub fn run_sql<'a>(
        &self,
        database: &str,
        commands: impl IntoIterator<Item = &'a str>,
        cancel: &Cancel,
    ) -> Result<String, SourceError> {
        let mut psql = self.connection(database)?.client(self.programs.join("psql")).args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
        ]);
        for command in commands {
            psql = psql.arg("-c").arg(command);
        }
        output_of(&psql, Limits::new(cancel.clone()))
    }

    /// Whether `pg_dump` writes the same for both databases, byte for byte, the rows of a table in whatever order: a
    /// table has none, and a server puts rows where there is room. The lines that `pg_dump` makes up anew in every run
    /// are left out.
    ///
    /// # Errors
    /// When a dump fails.
    pub fn dumps_are_same(&self, one: &str, other: &str, cancel: &Cancel) -> Result<bool, SourceError> {
        let one = PlainDump::start(self, one, cancel)?.digest()?;
        Ok(one == PlainDump::start(self, other, cancel)?.digest()?)
    }
}

/// The server process.
struct Postmaster(Running);

impl Drop for Postmaster {
    fn drop(&mut self) {
        // An immediate shutdown: nothing is to be saved, and the server's processes go with it.
        self.0.kill_after(Signal::QUIT, QUIT_WAIT);
    }
}

/// The server's folder.
struct Home(PathBuf);

impl Home {
    fn make(path: &Path, account: Ids) -> Result<Self, PrivateError> {
        let failed = |source| PrivateError::File { path: path.to_owned(), source };
        std::fs::DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
        let home = Self(path.to_owned());
        if let Some((uid, gid)) = account {
            chown(path, Some(uid), Some(gid)).map_err(failed)?;
        }
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Safe to ignore: whoever made the folder above finds that it is not empty.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// User and group that the server runs as, where that is not the caller.
type Ids = Option<(u32, u32)>;

fn account() -> Result<Ids, PrivateError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        match Account::find(name) {
            Ok(Some(found)) => return Ok(Some((found.uid(), found.gid()))),
            Ok(None) => {}
            Err(source) => return Err(PrivateError::File { path: PathBuf::from("/etc/passwd"), source }),
        }
    }
    Err(PrivateError::NoAccount)
}

/// A program of the server's side, run in its folder: the caller's own may be closed to that account.
fn within(home: &Path, account: Ids, program: Invocation) -> Invocation {
    let mut invocation = program.working_dir(home).env("LC_ALL", "C");
    for name in VARIABLES {
        invocation = invocation.env_remove(name);
    }
    match account {
        Some((uid, gid)) => invocation.account(uid, gid),
        None => invocation,
    }
}

/// The server, but for its data folder.
fn server_invocation(programs: &Path, home: &Path, account: Ids, cancel: &Cancel) -> Invocation {
    let postgres = programs.join("postgres");
    // Where the system can do that, the server ends even when this process is killed and cleans up nothing.
    let guarded = || Invocation::new("setpriv").args(["--pdeathsig", "QUIT", "--"]).arg(&postgres);
    let probe = within(home, account, guarded()).arg("--version");
    let limits = Limits::new(cancel.clone()).with_timeout(Some(START_TIMEOUT));
    let invocation = match output_of(&probe, limits) {
        Ok(_) => guarded(),
        Err(_) => Invocation::new(postgres),
    };
    let mut invocation =
        within(home, account, invocation).arg("-k").arg(home).arg("-p").arg(PORT.to_string());
    for setting in [
        "listen_addresses=",
        "unix_socket_permissions=0700",
        // A server that does not outlive its folder need not bring anything to the disk.
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "wal_level=minimal",
        "max_wal_senders=0",
        "max_wal_size=1GB",
        // What it does is for its owner to say.
        "autovacuum=off",
        "logging_collector=off",
        "log_destination=stderr",
        "lc_messages=C",
    ] {
        invocation = invocation.arg("-c").arg(setting);
    }
    invocation
}

/// Whether a connection failed as it does while a server starts.
fn may_be_starting(error: &PostgresError) -> bool {
    matches!(
        error,
        PostgresError::Connect {
            problem: ConnectProblem::NotRunning | ConnectProblem::NotReady | ConnectProblem::NoAnswer,
            ..
        }
    )
}

/// Runs a program to its end and gives what it printed.
fn output_of(invocation: &Invocation, limits: Limits) -> Result<String, SourceError> {
    let mut dump = Box::new(ProcessDump::start(invocation, limits)?);
    let mut answer = Vec::new();
    // An error of reading is told by `finish`.
    let _ = dump.read_to_end(&mut answer);
    dump.finish()?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A plain dump under way, line by line.
struct PlainDump {
    lines: BufReader<Box<ProcessDump>>,
    line: Vec<u8>,
}

impl PlainDump {
    fn start(server: &PrivateServer, database: &str, cancel: &Cancel) -> Result<Self, SourceError> {
        let pg_dump = server.connection(database)?.client(server.programs.join("pg_dump"));
        let dump = ProcessDump::start(&pg_dump.arg("--format=plain"), Limits::new(cancel.clone()))?;
        Ok(Self { lines: BufReader::with_capacity(1 << 20, Box::new(dump)), line: Vec::new() })
    }

    /// Goes to the next line. False at the end, good or bad.
    fn advance(&mut self) -> bool {
        // Each run has a random word of its own here. A row begins like this only if its first character is a carriage
        // return.
        let fleeting = |line: &[u8]| line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ");
        loop {
            self.line.clear();
            // An error of reading is told by `finish`.
            if !self.lines.read_until(b'\n', &mut self.line).is_ok_and(|count| count > 0) {
                return false;
            }
            if !fleeting(&self.line) {
                return true;
            }
        }
    }

    /// A digest of all lines, rows of a table in whatever order.
    fn digest(mut self) -> Result<blake3::Hash, SourceError> {
        let mut whole = blake3::Hasher::new();
        // The sum of the rows' own digests does not depend on their order.
        let (mut rows, mut is_data) = ([0u64; 4], false);
        while self.advance() {
            if is_data && self.line != b"\\.\n" {
                let row = blake3::hash(&self.line);
                for (sum, word) in rows.iter_mut().zip(row.as_bytes().chunks_exact(8)) {
                    let word = word.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
                    *sum = sum.wrapping_add(word);
                }
                continue;
            }
            is_data = self.line.starts_with(b"COPY ") && self.line.ends_with(b" FROM stdin;\n");
            for sum in std::mem::take(&mut rows) {
                whole.update(&sum.to_le_bytes());
            }
            whole.update(&self.line);
        }
        // What looks like the end may be a failure.
        self.lines.into_inner().finish()?;
        Ok(whole.finalize())
    }
}
