//! OpenSSH's own server: a real `sshd` on a free port, with keys of its own, that only this test's key opens.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use dumpvault::storage::Storage;
use dumpvault::storage::retry::{Backoff, RetryPolicy};
use dumpvault::storage::scheme::{Connected, Connecting, Location, Scheme};
use dumpvault::storage::sftp::{Sftp, SftpOptions};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

pub struct Sshd {
    child: Option<Child>,
    pub port: u16,
    folder: TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Sshd {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With more lines in its configuration.
    pub fn start_with(lines: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("dv-ssh-").tempdir().unwrap();
        for name in ["host", "user", "other"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(name));
            assert!(keygen.status().unwrap().success());
        }
        fs::copy(folder.path().join("user.pub"), folder.path().join("authorized_keys")).unwrap();
        if rustix::process::getuid().is_root() {
            // Debian's server wants a folder that its service makes.
            fs::create_dir_all("/run/sshd").unwrap();
            fs::set_permissions("/run/sshd", fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Another process may be given the same free port; then this one ends, and it is tried again.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = Self { child: None, port, folder: tempfile::tempdir().unwrap() };
            server.configure(folder.path(), lines);
            if server.try_run(folder.path()) {
                let mut server = server;
                server.folder = folder;
                return server;
            }
        }
        panic!("sshd does not start");
    }

    fn configure(&self, folder: &Path, lines: &str) {
        let shown = folder.display();
        let subsystem = if lines.contains("Subsystem") { "" } else { "Subsystem sftp internal-sftp\n" };
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized_keys\nStrictModes no\n\
             PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             MaxStartups 100\nLogLevel ERROR\n{subsystem}{lines}\n",
            self.port
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        self.client(folder, "ssh_config", self.port, "user", "host.pub");
    }

    /// A configuration of the client, in which the host is called `vault`.
    fn client(&self, folder: &Path, name: &str, port: u16, key: &str, host_key: &str) {
        let shown = folder.display();
        let known = fs::read_to_string(folder.join(host_key)).unwrap();
        fs::write(folder.join(format!("{name}.hosts")), format!("vault {known}")).unwrap();
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let config = format!(
            "Host vault\nHostName 127.0.0.1\nPort {port}\nUser {}\nHostKeyAlias vault\nIdentityFile {shown}/{key}\nIdentitiesOnly yes\n\
             UserKnownHostsFile {shown}/{name}.hosts\nGlobalKnownHostsFile none\n",
            user.trim()
        );
        fs::write(folder.join(name), config).unwrap();
    }

    /// The file of a client's configuration that goes to `port`, with the given key, and knows the host by the given
    /// one.
    pub fn client_with(&self, name: &str, port: u16, key: &str, host_key: &str) -> PathBuf {
        self.client(self.folder.path(), name, port, key, host_key);
        self.folder.path().join(name)
    }

    fn try_run(&mut self, folder: &Path) -> bool {
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if child.try_wait().unwrap().is_some() || began.elapsed() > super::cli::HANGS {
                let _ = child.kill();
                child.wait().unwrap();
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
        true
    }

    /// Kills the server and all that it started, as a power failure does.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let mut all = Self::sessions_of(child.id());
        all.push(child.id());
        for pid in all {
            let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
        }
        let _ = child.wait();
    }

    /// Kills what the server started for connections, not the server.
    pub fn kill_sessions(&self) -> usize {
        let sessions = Self::sessions_of(self.child.as_ref().unwrap().id());
        for pid in &sessions {
            let _ = kill_process(Pid::from_raw(*pid as i32).unwrap(), Signal::KILL);
        }
        sessions.len()
    }

    fn sessions_of(parent: u32) -> Vec<u32> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let of = stat
                .rsplit_once(')')
                .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
            if of == Some(parent) {
                found.push(pid);
                found.extend(Self::sessions_of(pid));
            }
        }
        found
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        let folder = self.folder.path().to_owned();
        let began = Instant::now();
        while !self.try_run(&folder) {
            assert!(began.elapsed() < super::cli::HANGS, "sshd does not start again");
        }
    }

    /// The file of the client's configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    /// Where what it stores lies on this machine.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A repository's address.
    pub fn address(&self, name: &str) -> String {
        format!("sftp:vault:{}", self.path(name).display())
    }

    pub fn options(&self) -> SftpOptions {
        SftpOptions {
            command: vec!["ssh".into(), "-F".into(), self.config().into()],
            ..SftpOptions::default()
        }
    }

    /// `[sftp]` of a configuration file.
    pub fn table(&self) -> String {
        format!("[sftp]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n", self.config().display())
    }

    pub fn connect(&self, name: &str, options: SftpOptions) -> Connected {
        let location = Sftp.location(&self.address(name), Path::new("/")).unwrap();
        connect(location.as_ref(), options)
    }

    pub fn storage(&self, name: &str) -> Arc<dyn Storage> {
        self.connect(name, self.options()).storage
    }
}

/// Connects as the program does, and makes the directory.
pub fn connect(location: &dyn Location, options: SftpOptions) -> Connected {
    location.create(&(Arc::new(options) as _), &around()).unwrap()
}

pub fn around() -> Connecting {
    let backoff = Arc::new(Backoff::new(RetryPolicy::default(), 1, Arc::default()));
    Connecting { upload: None, download: None, backoff, requests_at_once: 32 }
}
