//! A PostgreSQL server of the test's own: real, private, gone when the test is.
//!
//! `tests/run.sh --prepare` installs the versions that the tests need; a version that is not there fails them.
//! `DUMPVAULT_TEST_PG=18` chooses the version of all servers that a test does not choose itself; else it is the newest
//! of Debian's.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};

/// A role that has to give a password: over TCP, [`Server::uri_as`].
pub const PASSWORD_USER: &str = "keeper";
/// Its password, with characters in it that a URI must encode.
pub const PASSWORD: &str = "p@ss:w/rd%";
/// The same, encoded.
pub const PASSWORD_ENCODED: &str = "p%40ss%3Aw%2Frd%25";

/// A running server. Its superuser `postgres` needs no password.
pub struct Server {
    postgres: Child,
    bin: PathBuf,
    /// Where the server's own program file lies.
    runs: PathBuf,
    port: u16,
    home: tempfile::TempDir,
}

/// The versions of servers, and of client programs, that are tested.
pub const VERSIONS: [u32; 4] = [15, 16, 17, 18];

/// An extension for a server of its own: name, version 1.0's script.
pub type Extension<'a> = (&'a str, &'a str);

impl Server {
    /// Makes a cluster and starts a server for it, on a free port of 127.0.0.1 and on a Unix socket.
    pub fn start() -> Self {
        Self::start_with(chosen_bin(), &[], &[])
    }

    /// The same, of a version that the test chooses.
    pub fn start_version(version: u32) -> Self {
        Self::start_with(bin_of(version), &[], &[])
    }

    /// The same, and the server offers more extensions, which no other server sees.
    pub fn start_with_extensions(extensions: &[Extension<'_>]) -> Self {
        Self::start_with(chosen_bin(), extensions, &[])
    }

    /// The same with settings of its own: `name=value`.
    pub fn start_with_settings(settings: &[&str]) -> Self {
        Self::start_with(chosen_bin(), &[], settings)
    }

    fn start_with(bin: PathBuf, extensions: &[Extension<'_>], settings: &[&str]) -> Self {
        let account = account();
        let home = tempfile::Builder::new().prefix("dv-pg-").tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        if let Some((uid, gid)) = account {
            chown(home.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = home.path().join("data");
        let mut initdb = as_account(&bin.join("initdb"), account, home.path());
        initdb
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data);
        succeed(&mut initdb);
        let rules = "local all all trust\n\
                     host all postgres 127.0.0.1/32 trust\n\
                     host all keeper 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        if !settings.is_empty() {
            use std::io::Write;
            let mut file =
                std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
            writeln!(file, "{}", settings.join("\n")).unwrap();
        }

        let runs = match extensions {
            [] => bin.clone(),
            extensions => installed_beside(&bin, home.path(), extensions),
        };
        // Another process may take the port between the look and the start: then the next one is tried.
        let (postgres, port) = (0..10)
            .find_map(|_| {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                run_server(&runs, account, home.path(), port, None).map(|postgres| (postgres, port))
            })
            .expect("the server did not start on any of 10 ports");
        let server = Self { postgres, bin, runs, port, home };
        let quoted = PASSWORD.replace('\'', "''");
        server.psql("postgres", &format!("CREATE ROLE {PASSWORD_USER} LOGIN CREATEDB PASSWORD '{quoted}'"));
        server
    }

    /// The server that the tests of one file share while one of them is using it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        // A test that failed to start it must not fail the others by poison.
        let mut shared = SHARED.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start());
        *shared = Arc::downgrade(&server);
        server
    }

    /// The directory of the server's own client programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Its TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.home.path()
    }

    /// Its major version.
    pub fn version(&self) -> u32 {
        let num = self.psql("postgres", "SELECT current_setting('server_version_num')::int / 10000");
        num.parse().unwrap()
    }

    /// Lets a client program find it over its socket, as `user`, and its own client programs in `PATH`.
    pub fn reached_by<'a>(&self, command: &'a mut Command, user: &str) -> &'a mut Command {
        let port = self.port.to_string();
        command.env("PATH", path_with(&self.bin)).env("PGHOST", self.socket_dir());
        command.env("PGPORT", port).env("PGUSER", user)
    }

    /// A URI for the superuser over TCP.
    pub fn uri(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A URI for another role over TCP; `credentials` as they stand before the `@`.
    pub fn uri_as(&self, credentials: &str, database: &str) -> String {
        format!("postgresql://{credentials}@127.0.0.1:{}/{database}", self.port)
    }

    /// A client program that reaches the server as its superuser.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        self.reached_by(&mut command, "postgres").stdin(Stdio::null());
        command
    }

    /// Runs SQL and gives the answer, unadorned: columns separated by `|`, rows by line ends.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        String::from_utf8(succeed(&mut psql).stdout).unwrap().trim_end().to_owned()
    }

    /// Makes an empty database.
    pub fn create(&self, database: &str) {
        succeed(self.client("createdb").arg(database));
    }

    /// Whether a database is there.
    pub fn has(&self, database: &str) -> bool {
        let sql =
            format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", database.replace('\'', "''"));
        self.psql("postgres", &sql) == "1"
    }

    /// The database as plain SQL. Equal texts mean equal databases: lines that differ from run to run are left out.
    pub fn dump_plain(&self, database: &str) -> String {
        let text = String::from_utf8(self.dump(database, &["--format=plain"])).unwrap();
        let fleeting = |line: &&str| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ");
        text.lines().filter(fleeting).map(|line| format!("{line}\n")).collect()
    }

    /// The server's process, of which all its backends are children.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.postgres)
    }

    /// Waits until a condition holds in the database, looking again and again; fails when it never does.
    pub fn wait_until(&self, database: &str, condition: &str) {
        let sql = format!(
            "SET statement_timeout = '100s'; DO $$ BEGIN WHILE NOT ({condition}) LOOP \
             PERFORM pg_stat_clear_snapshot(), pg_sleep(0.02); END LOOP; END $$"
        );
        self.psql(database, &sql);
    }

    /// Ends the server as a power cut would: nothing is finished, nobody is told. [`Self::start_again`] recovers.
    pub fn stop_now(&mut self) {
        let _ = rustix::process::kill_process(self.pid(), rustix::process::Signal::QUIT);
        self.postgres.wait().unwrap();
    }

    /// Starts the same cluster at the same place.
    pub fn start_again(&mut self) {
        self.postgres =
            run_server(&self.runs, account(), self.home.path(), self.port, None).expect("it starts again");
    }

    /// Starts it over; no file of it may grow beyond so many bytes, which is to the server as a disk that is full.
    pub fn start_over_with_files_of(&mut self, bytes_max: u64) {
        self.stop_now();
        let limited = run_server(&self.runs, account(), self.home.path(), self.port, Some(bytes_max));
        self.postgres = limited.expect("it starts again");
    }

    /// What `pg_dump` writes with these options.
    pub fn dump(&self, database: &str, options: &[&str]) -> Vec<u8> {
        succeed(self.client("pg_dump").args(options).args(["-d", database])).stdout
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT is an immediate shutdown: the postmaster takes its children with it. Nothing is to be saved.
        let pid = rustix::process::Pid::from_child(&self.postgres);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.postgres.wait();
    }
}

/// Starts `postgres` and waits until it says that it is ready; `None` if it ended before.
fn run_server(
    bin: &Path,
    account: Option<(u32, u32)>,
    home: &Path,
    port: u16,
    file_bytes_max: Option<u64>,
) -> Option<Child> {
    let mut command = as_account(Path::new("/bin/sh"), account, home);
    // The shell counts in blocks of 512 bytes.
    let limit = file_bytes_max.map_or("unlimited".to_owned(), |bytes| (bytes / 512).to_string());
    command.args(["-c", "ulimit -S -f \"$0\" && exec \"$@\"", &limit]).arg(bin.join("postgres"));
    if bin.join("../share").exists() {
        // Some of its extensions need libraries that lie beside them, and would find the machine's.
        command.env("LD_LIBRARY_PATH", bin.parent().unwrap().join("lib"));
    }
    command.arg("-D").arg(home.join("data")).arg("-k").arg(home).args(["-p", &port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "max_wal_size=1GB",
        "shared_buffers=64MB",
        "logging_collector=off",
        "log_destination=stderr",
        "lc_messages=C",
    ] {
        command.args(["-c", setting]);
    }
    let mut postgres =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(postgres.stderr.take().unwrap());
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        if line.contains("ready to accept connections") {
            // Read on, so that the server never blocks on its log; ends with the server.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Some(postgres);
        }
        line.clear();
    }
    let _ = postgres.wait();
    None
}

/// `PATH` with a directory before all others.
pub fn path_with(directory: &Path) -> std::ffi::OsString {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&others));
    std::env::join_paths(all).unwrap()
}

/// The directory of a version's programs: `DUMPVAULT_TEST_PG18`, else where `tests/run.sh` or Debian puts them.
pub fn bin_of(version: u32) -> PathBuf {
    let named = std::env::var_os(format!("DUMPVAULT_TEST_PG{version}")).map(PathBuf::from);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let places = [
        target.join(format!("test-postgres/{version}/bin")),
        PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")),
    ];
    let found = named.into_iter().chain(places).find(|bin| bin.join("initdb").exists());
    found.unwrap_or_else(|| panic!("PostgreSQL {version} is not installed: `tests/run.sh --prepare`"))
}

/// The directory of the server's programs, where the test does not choose a version.
fn chosen_bin() -> PathBuf {
    match std::env::var("DUMPVAULT_TEST_PG") {
        Ok(version) => bin_of(version.parse().expect("DUMPVAULT_TEST_PG is a major version")),
        Err(_) => newest_bin(),
    }
}

/// The directory of Debian's newest server.
fn newest_bin() -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(root).into_iter().flatten().flatten();
    versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("postgres").exists() && bin.join("initdb").exists())
        .max()
        .map(|(_, bin)| bin)
        .unwrap_or_else(|| panic!("no PostgreSQL server under {}: `apt install postgresql`", root.display()))
}

/// A server looks for extensions where its own program file lies. So: a copy of it, and links to all that it came with.
/// Debian's programs have their version in both paths, those of others lie beside a folder `share`.
fn installed_beside(bin: &Path, home: &Path, extensions: &[Extension<'_>]) -> PathBuf {
    let version = bin.parent().unwrap();
    let number = version.file_name().unwrap();
    let (shared, own, own_shared) = match version.join("share") {
        beside if beside.exists() => (beside, home.join("install"), home.join("install/share")),
        _ => (
            Path::new("/usr/share/postgresql").join(number),
            home.join("lib/postgresql").join(number),
            home.join("share/postgresql").join(number),
        ),
    };
    std::fs::create_dir_all(own.join("bin")).unwrap();
    std::fs::create_dir_all(own_shared.join("extension")).unwrap();
    std::fs::copy(bin.join("postgres"), own.join("bin/postgres")).unwrap();
    std::os::unix::fs::symlink(version.join("lib"), own.join("lib")).unwrap();
    for (from, to) in [(&shared, &own_shared), (&shared.join("extension"), &own_shared.join("extension"))] {
        for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_name() != "extension" {
                std::os::unix::fs::symlink(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    for (name, script) in extensions {
        let file = |suffix: &str| own_shared.join("extension").join(format!("{name}{suffix}"));
        std::fs::write(file(".control"), "default_version = '1.0'\n").unwrap();
        std::fs::write(file("--1.0.sql"), script).unwrap();
    }
    own.join("bin")
}

/// Whom to run the server as: PostgreSQL refuses to run as root.
fn account() -> Option<(u32, u32)> {
    let myself = std::fs::metadata("/proc/self").unwrap().uid();
    if myself != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).expect("root, and no account to run PostgreSQL as"))
}

fn as_account(program: &Path, account: Option<(u32, u32)>, home: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    // The tests' own directory may be closed to that account.
    command.current_dir(home).env("LC_ALL", "C");
    command
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    let args: Vec<&OsStr> = command.get_args().collect();
    assert!(
        output.status.success(),
        "{:?} {args:?}: {}\n{}",
        command.get_program(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
