//! What latency costs a repository on a server: OpenSSH's own on this machine, behind a proxy that holds every byte for
//! a while.
//!
//! `LATENCY_MS=50 cargo bench --bench sftp`

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

use dumpvault::storage::Storage;
use dumpvault::storage::scheme::Scheme;
use dumpvault::storage::sftp::{Sftp, SftpOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

mod cli {
    pub const HANGS: std::time::Duration = std::time::Duration::from_secs(120);
}
#[path = "../tests/support/sshd.rs"]
mod sshd;

const PACK_BYTES: usize = 32 << 20;
const PACKS: u64 = 8;

/// Passes bytes on after half a round trip, as many as come.
fn pump(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (due, bytes) in receive {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 || send.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
}

/// A port behind which `port` is, so far away.
fn proxy(port: u16, round_trip: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            pump(near.try_clone().unwrap(), far.try_clone().unwrap(), round_trip / 2);
            pump(far, near, round_trip / 2);
        }
    });
    own
}

fn noise(seed: u64) -> Vec<u8> {
    let mut noise = vec![0; PACK_BYTES];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

fn main() {
    let latency_ms: u64 = std::env::var("LATENCY_MS").map_or(50, |text| text.parse().unwrap());
    let server = sshd::Sshd::start();
    let port = proxy(server.port, Duration::from_millis(latency_ms));
    let config = server.client_with("far", port, "user", "host.pub");
    println!("round trip {latency_ms} ms");
    for connections in [1, 2] {
        let options = SftpOptions {
            command: vec!["ssh".into(), "-F".into(), config.clone().into()],
            connections,
            ..SftpOptions::default()
        };
        let address = server.address(&format!("repo{connections}"));
        let location = Sftp.location(&address, Path::new("/")).unwrap();
        let storage = sshd::connect(location.as_ref(), options).storage;
        measure(&*storage, connections);
    }
}

fn measure(storage: &dyn Storage, connections: usize) {
    let packs: Vec<(String, Vec<u8>)> = (0..PACKS).map(|n| (format!("packs/0{n}/pack"), noise(n))).collect();
    storage.put("warm", b"up").unwrap();
    let megabytes = (PACKS as usize * PACK_BYTES) as f64 / 1e6;
    let rate = |began: Instant| megabytes / began.elapsed().as_secs_f64();

    // A backup has two threads that put packs.
    let began = Instant::now();
    std::thread::scope(|scope| {
        for half in packs.chunks(PACKS as usize / 2) {
            scope.spawn(|| {
                half.iter().for_each(|(key, bytes)| {
                    storage.put(key, bytes).unwrap();
                })
            });
        }
    });
    println!("{connections} connections: put {:.1} MB/s", rate(began));

    let began = Instant::now();
    for (key, bytes) in &packs {
        assert!(storage.get(key, u64::MAX).unwrap() == *bytes);
    }
    let (pipelined, took) = (rate(began), began.elapsed());
    println!("{connections} connections: get {pipelined:.1} MB/s");

    // Pieces of 32 KiB, each asked for when the one before has come, as a simple client does; each is opened first, so
    // half of the time counts.
    let (key, bytes) = &packs[0];
    let began = Instant::now();
    let pieces = 16;
    for piece in 0..pieces {
        let mut buffer = vec![0; 32 << 10];
        storage.get_range(key, (piece * buffer.len()) as u64, &mut buffer).unwrap();
        assert!(bytes[piece * buffer.len()..].starts_with(&buffer));
    }
    let all = PACKS as usize * PACK_BYTES / (32 << 10);
    let simple = began.elapsed() / 2 * (all / pieces) as u32;
    println!(
        "{connections} connections: one request at a time takes {:.0} times as long",
        simple.as_secs_f64() / took.as_secs_f64()
    );

    let began = Instant::now();
    for n in 0..20 {
        storage.put(&format!("index/{n}"), b"small").unwrap();
    }
    println!(
        "{connections} connections: a small object takes {:.0} ms",
        began.elapsed().as_secs_f64() * 50.0
    );
}
