//! What a backup of a bucket costs whose objects did not change: requests, time, and memory.
//!
//! A server in this process answers as S3 does, with objects that are made as they are asked for and signatures that
//! nobody checks. The program makes a first backup of it, then two more.
//!
//! `OBJECTS=1000000 cargo bench --bench objects`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes of each object.
const BYTES: usize = 64;
/// Objects on a page of a listing.
const PAGE: u64 = 1000;

/// What the server was asked for.
#[derive(Default)]
struct Asked {
    pages: AtomicU64,
    objects: AtomicU64,
}

fn key(number: u64) -> String {
    format!("{:04}/{:03}/object-{number:08}.json", number / 100_000, number / 500 % 200)
}

/// What an object is called that stands at a place of the listing, and the content that goes with it.
fn content(key: &str) -> Vec<u8> {
    let mut content = vec![0; BYTES];
    blake3::Hasher::new().update(key.as_bytes()).finalize_xof().fill(&mut content);
    content
}

fn etag(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex()[..32].to_owned()
}

fn page(keys: &[String], from: u64) -> String {
    let end = (from + PAGE).min(keys.len() as u64);
    let mut text = String::from(
        "<?xml version=\"1.0\"?><ListBucketResult><Name>bench</Name><EncodingType>url</EncodingType>",
    );
    for key in &keys[from as usize..end as usize] {
        text += &format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-01T03:00:00.000Z</LastModified><ETag>&quot;{}&quot;</ETag><Size>{BYTES}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            etag(key)
        );
    }
    let is_cut = end < keys.len() as u64;
    text += &format!("<IsTruncated>{is_cut}</IsTruncated>");
    if is_cut {
        text += &format!("<NextContinuationToken>{end}</NextContinuationToken>");
    }
    text + "</ListBucketResult>"
}

fn serve(stream: TcpStream, keys: &[String], asked: &Asked) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut length = 0;
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let path = first.split(' ').nth(1).unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if query.contains("list-type=2") {
            asked.pages.fetch_add(1, Ordering::Relaxed);
            let token = query.split('&').find_map(|pair| pair.strip_prefix("continuation-token="));
            let body = page(keys, token.and_then(|token| token.parse().ok()).unwrap_or(0));
            write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            continue;
        }
        asked.objects.fetch_add(1, Ordering::Relaxed);
        let key = path.trim_start_matches("/bench/");
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"{}\"\r\nContent-Length: {BYTES}\r\n\r\n", etag(key))
                .into_bytes();
        answer.extend(content(key));
        writer.write_all(&answer)?;
    }
}

/// Runs the program; how long it took, and how much memory it held at most.
fn run(home: &Path, endpoint: &str, args: &[&str]) -> (f64, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dumpvault"));
    command.args(args).current_dir(home).env_clear().stdin(Stdio::null());
    command
        .env("HOME", home)
        .env("DUMPVAULT_REPOSITORY", home.join("repo"))
        .env("DUMPVAULT_KEY_FILE", home.join("key"));
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
    let began = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut memory_kib = 0;
    let code = loop {
        // The most that it ever held, as the system counts it.
        let told = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = told
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        memory_kib = memory_kib.max(peak.unwrap_or(0));
        match child.try_wait().expect("the program can be waited for") {
            Some(code) => break code,
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    assert!(code.success(), "{args:?}: {code}");
    (began.elapsed().as_secs_f64(), memory_kib / 1024)
}

fn main() {
    let count = std::env::var("OBJECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let mut keys: Vec<String> = (0..count).map(key).collect();
    keys.sort();
    let (keys, asked) = (Arc::new(keys), Arc::new(Asked::default()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let endpoint = format!("http://{}", listener.local_addr().expect("it has an address"));
    let (served, counted) = (Arc::clone(&keys), Arc::clone(&asked));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (keys, asked) = (Arc::clone(&served), Arc::clone(&counted));
            // Safe to ignore because a client that goes away is no failure.
            std::thread::spawn(move || drop(serve(stream, &keys, &asked)));
        }
    });
    let home = tempfile::tempdir().expect("a folder can be made");
    let key_file = home.path().join("key");
    run(home.path(), &endpoint, &["init", "--key-file", &key_file.to_string_lossy()]);
    println!("{count} objects of {BYTES} B");
    for name in ["first", "unchanged", "unchanged"] {
        asked.pages.store(0, Ordering::Relaxed);
        asked.objects.store(0, Ordering::Relaxed);
        let (seconds, mib) = run(home.path(), &endpoint, &["backup", "s3://bench", "--series", "bench"]);
        println!(
            "{name}: {seconds:.1} s, {mib} MiB, {} listings, {} objects read",
            asked.pages.load(Ordering::Relaxed),
            asked.objects.load(Ordering::Relaxed)
        );
    }
}
