//! Figures of a bucket beside those of a folder: `benches/bucket.sh`.
//!
//! The server is a process of its own on the same cores: what it takes, the program does not have.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dumpvault::source::sample::{SampleConfig, SampleDump};
use dumpvault::vault::reader::ReadSettings;

use crate::cli::{Output, Running, Vault, exit, run};
use crate::latency::{ONE_AT_A_TIME, open, read};
use crate::program::Remote;
use crate::s3::{BUCKET, TestServer};

/// Bytes of the dump: `DUMPVAULT_TEST_FIGURES_MB`, or 400 MB.
fn dump_bytes() -> u64 {
    let given = std::env::var("DUMPVAULT_TEST_FIGURES_MB").ok().and_then(|text| text.parse::<u64>().ok());
    given.unwrap_or(400) * 1_000_000
}

/// One row in so many is followed by a token of so many random letters: then the whole compresses 3 : 1.
const ROWS_A_TOKEN: u8 = 5;
const TOKEN_LETTERS: usize = 100;

/// The rows of a day of the sample database, with tokens between them. A row that did not change has the same token on
/// every day, or none.
fn sample(day: u16) -> Vec<u8> {
    use std::io::BufRead;
    let config = SampleConfig::new(1, dump_bytes() / 12 * 11).day(day);
    let mut rows = std::io::BufReader::with_capacity(1 << 20, SampleDump::new(config).unwrap());
    let mut dump = b"rows, and tokens\n".to_vec();
    let (mut token, mut row) = ([0; TOKEN_LETTERS], dump.len());
    while rows.read_until(b'\n', &mut dump).unwrap() > 0 {
        let mut letters = blake3::Hasher::new().update(&dump[row..]).finalize_xof();
        letters.fill(&mut token);
        if token[0].is_multiple_of(ROWS_A_TOKEN) {
            dump.extend(token.map(|byte| b'0' + byte % 64));
            dump.push(b'\n');
        }
        row = dump.len();
    }
    dump
}

/// Lets the machine have memory at hand that was used before. A virtual one is slow to hand out other memory, and then
/// it is chance which of two runs gets it.
fn warm_memory() {
    let mut memory = vec![0u8; 3 << 30];
    memory.chunks_mut(4096).for_each(|page| page[0] = 1);
    std::hint::black_box(&memory);
}

/// Runs the program, and tells how long it took and how much memory it had at most, in MiB.
fn measured(command: Command, stdin: &[u8]) -> (Duration, u64, Output) {
    warm_memory();
    let began = Instant::now();
    let mut running = Running::start(command);
    let status = format!("/proc/{}/status", running.pid().as_raw_nonzero());
    let peak = AtomicU64::new(0);
    let ended = AtomicU64::new(0);
    let output = thread::scope(|scope| {
        // The kernel keeps the peak: a look now and then is enough.
        scope.spawn(|| {
            while ended.load(Ordering::SeqCst) == 0 {
                let text = fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
                peak.fetch_max(kib.unwrap_or(0) / 1024, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(10));
            }
        });
        running.feed(stdin);
        let output = running.wait();
        ended.store(1, Ordering::SeqCst);
        output
    });
    (began.elapsed(), peak.into_inner(), output.expect(exit::OK))
}

/// So often each is measured that is compared: backups, and restores of each of them.
const TURNS: usize = 5;
const RESTORES: usize = 5;

const SERVE: &str = "DUMPVAULT_TEST_SERVE";

/// A server in a process of its own, and a home of the program whose repository lies there.
struct Elsewhere {
    vault: Remote,
    address: String,
    /// It serves until its standard input ends.
    _server: Running,
}

impl Elsewhere {
    fn new() -> Self {
        let told = tempfile::tempdir().unwrap();
        let path = told.path().join("endpoint");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["figures::child_that_serves", "--exact", "--ignored"]).env(SERVE, &path);
        let server = Running::start(command);
        let began = Instant::now();
        let endpoint = loop {
            assert!(began.elapsed() < Duration::from_secs(60), "no server came up");
            match fs::read_to_string(&path) {
                Ok(endpoint) if endpoint.ends_with('\n') => break endpoint,
                _ => thread::sleep(Duration::from_millis(5)),
            }
        };
        let address = format!("s3:{}/{BUCKET}/repo", endpoint.trim_end());
        let elsewhere = Self { vault: Remote::bare(), address, _server: server };
        run(elsewhere.command(&["init"]), b"").expect(exit::OK);
        elsewhere
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        command.env("DUMPVAULT_REPOSITORY", &self.address);
        command
    }
}

#[test]
#[ignore = "a process that the figures start"]
fn child_that_serves() {
    let Some(path) = std::env::var_os(SERVE) else { return };
    let server = TestServer::new();
    fs::write(path, format!("{}\n", server.endpoint())).unwrap();
    // Until whoever started it has enough.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

fn median(times: impl IntoIterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.into_iter().collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Prints the medians, and that of the ratios of each two that were measured one after the other.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn compare(what: &str, folder: &[f64], bucket: &[f64]) {
    let ratio = median(folder.iter().zip(bucket).map(|(folder, bucket)| folder / bucket));
    let (folder, bucket) = (median(folder.iter().copied()), median(bucket.iter().copied()));
    println!(
        "{what}: folder {folder:.3} s, bucket {bucket:.3} s, {:.0} % of the folder's speed",
        100.0 * ratio
    );
}

#[test]
#[ignore = "takes minutes, and prints figures instead of judging"]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn figures_of_a_bucket_beside_those_of_a_folder() {
    let days = [sample(0), sample(1)];
    let megabytes = days[0].len() as f64 / 1e6;
    let report = |what: &str, command: Command, stdin: &[u8]| {
        let (time, peak, output) = measured(command, stdin);
        let seconds = time.as_secs_f64();
        println!("{what:<36} {seconds:>6.2} s {:>6.0} MB/s {peak:>5} MiB", megabytes / seconds);
        if let Some(requests) = output.stdout.first().filter(|byte| **byte == b'{').map(|_| output.json()) {
            println!("    {}", requests["requests"]);
        }
        time
    };
    let backup = ["--json", "backup", "--stdin", "--series", "app"];
    let restore = ["restore", "app", "--output", "/dev/null"];
    let uncached = ["restore", "app", "--output", "/dev/null", "--no-cache"];
    println!("a dump of {megabytes:.0} MB");
    // Both in turn, each into a repository of its own: the machine is not as fast in one minute as in the next.
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..TURNS {
        let (local, elsewhere) = (Vault::new(), Elsewhere::new());
        let [put_folder, put_bucket, get_folder, get_bucket] = &mut times;
        let note = |times: &mut Vec<f64>, time: Duration| times.push(time.as_secs_f64());
        note(put_folder, report("first backup, folder", local.command(backup), &days[0]));
        note(put_bucket, report("first backup, bucket", elsewhere.command(&backup), &days[0]));
        for _ in 0..RESTORES {
            note(get_folder, report("restore, folder", local.command(restore), b""));
            note(get_bucket, report("restore, bucket, no cache", elsewhere.command(&uncached), b""));
        }
    }
    let [put_folder, put_bucket, get_folder, get_bucket] = times;
    compare("first backup", &put_folder, &put_bucket);
    compare("restore", &get_folder, &get_bucket);

    let (local, remote) = (Vault::new(), Remote::new());
    run(local.command(backup), &days[0]).expect(exit::OK);
    report("first backup, bucket", remote.command(&backup), &days[0]);
    report("unchanged, bucket", remote.command(&backup), &days[0]);
    remote.server.set_latency(Duration::from_millis(50));
    let before = remote.server.count("GET");
    report("restore, bucket, 50 ms", remote.command(&uncached), b"");
    println!("    {} requests to read", remote.server.count("GET") - before);
    report("unchanged, bucket, 50 ms", remote.command(&backup), &days[0]);
    report("the next day, bucket, 50 ms", remote.command(&backup), &days[1]);
    report("restore the next day, 50 ms", remote.command(&uncached), b"");
    let other = ["--json", "backup", "--stdin", "--series", "other", "--no-parent"];
    remote.run(["forget", "--keep-last", "1", "--force"]).expect(exit::OK);
    report("the same as another series, 50 ms", remote.command(&other), &days[1]);
    let (repo, _cache) = open(&remote);
    let many = read(&repo, ReadSettings::remote(), &days[1]);
    let one = read(&repo, ONE_AT_A_TIME, &days[1]);
    println!(
        "one request at a time {one:.2?}, as it is {many:.2?}: {:.1} times",
        one.as_secs_f64() / many.as_secs_f64()
    );

    // From the folder and from the bucket, as bytes and block by block.
    remote.server.set_latency(Duration::ZERO);
    for from in ["folder", "bucket"] {
        for (way, init) in [("as bytes", false), ("by blocks", true)] {
            let to = remote.server.address(&format!("{from} {init}").replace(' ', "-"));
            if !init {
                remote.run(["--repo", &to, "init"]).expect(exit::OK);
            }
            let (folder, offsite) = (local.repo(), remote.vault.key_file());
            let source: &[&str] = match from {
                "folder" => &["--repo", folder.to_str().unwrap()],
                _ => &[],
            };
            let copy = ["copy", "--to", &to, "--to-key-file", offsite.to_str().unwrap()];
            let options: &[&str] = if init { &["--init"] } else { &[] };
            let mut command = remote.command(&[source, &copy, options].concat());
            if from == "folder" {
                command.env("DUMPVAULT_KEY_FILE", local.key_file());
            }
            report(&format!("copy, {from} to bucket, {way}"), command, b"");
        }
    }
}
