//! Programs as sources and as targets: what a program can do wrong is noticed, named, and leaves nothing running.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dumpvault::base::event::Cancel;
use dumpvault::source::command::{CommandSource, SinkOutput, open_sink};
use dumpvault::source::process::{Invocation, Limits};
use dumpvault::source::{Dump, Sink, SourceError, stdin};
use dumpvault::vault::snapshot::Proof;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than any wait that the code under test may do, shorter than the programs that hang.
const SOON: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Invocation {
    Invocation::new("/bin/sh").arg("-c").arg(script)
}

fn no_limits() -> Limits {
    Limits::new(Cancel::new())
}

fn open(invocation: Invocation, limits: Limits) -> Box<dyn Dump> {
    CommandSource::new(invocation, limits).open().unwrap()
}

/// Reads to the end and finishes; read errors are the source's business to explain.
fn drain(mut dump: Box<dyn Dump>) -> (Vec<u8>, Result<Proof, SourceError>) {
    let mut bytes = Vec::new();
    let _ = dump.read_to_end(&mut bytes);
    (bytes, dump.finish())
}

fn run(script: &str) -> (Vec<u8>, Result<Proof, SourceError>) {
    drain(open(sh(script), no_limits()))
}

fn sink(script: &str, limits: Limits) -> Box<dyn Sink> {
    open_sink(&sh(script), SinkOutput::Discard, limits).unwrap()
}

/// A named pipe whose reader sees the end exactly when the last process that holds it for writing is gone.
struct Lifeline {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Lifeline {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lifeline");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        Self { path, _dir: dir }
    }

    /// Blocks until a writer has opened it.
    fn open(&self) -> File {
        File::open(&self.path).unwrap()
    }
}

fn assert_nobody_holds(mut lifeline: File) {
    let since = Instant::now();
    assert_eq!(lifeline.read(&mut [0]).unwrap(), 0);
    assert!(since.elapsed() < SOON, "a process of the group outlived it");
}

// --- dumps that end well

#[test]
fn given_a_program_that_exits_with_0_when_read_to_the_end_then_its_bytes_are_proven() {
    let (bytes, end) = run("printf 'a dump'");
    assert_eq!(bytes, b"a dump");
    assert_eq!(end.unwrap(), Proof::Exited);
}

#[test]
fn given_a_program_that_writes_nothing_when_finished_then_the_caller_judges_the_emptiness() {
    let (bytes, end) = run("true");
    assert!(bytes.is_empty());
    assert_eq!(end.unwrap(), Proof::Exited);
}

#[test]
fn given_a_large_dump_when_read_then_every_byte_arrives() {
    let (bytes, end) = run("yes 0123456789abcde | head -c 48000000");
    assert_eq!(bytes.len(), 48_000_000);
    assert!(bytes.chunks(16).all(|row| row == b"0123456789abcde\n"));
    end.unwrap();
}

#[test]
fn given_a_handed_in_reader_when_finished_then_nothing_is_proven() {
    let (bytes, end) = drain(stdin::open(&b"from somewhere"[..]));
    assert_eq!(bytes, b"from somewhere");
    assert_eq!(end.unwrap(), Proof::Unproven);
}

#[test]
fn given_arguments_environment_and_directory_when_run_then_they_arrive_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().canonicalize().unwrap();
    let invocation = sh(r#"printf '%s|%s|%s|%s' "$1" "$ADDED" "${HOME-none}" "$(pwd)""#)
        .args(["sh", "a; $b `c` 'd"])
        .env("ADDED", "x y")
        .env_remove("HOME")
        .working_dir(&home);
    let (bytes, end) = drain(open(invocation, no_limits()));
    end.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("a; $b `c` 'd|x y|none|{}", home.display()));
}

#[test]
fn given_a_child_when_started_then_a_broken_pipe_kills_it_as_everywhere_and_its_input_is_empty() {
    // SIGPIPE is number 13: this process ignores it, and a child that did too would run on after its reader is gone.
    let (bytes, end) = run("cat; grep SigIgn /proc/self/status");
    end.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let ignored = u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << 12), 0, "{text}");
}

// --- dumps that do not

#[test]
fn given_a_program_that_fails_after_output_when_finished_then_status_and_last_words_are_told() {
    let (bytes, end) = run("echo row; echo 'connection lost' >&2; exit 3");
    assert_eq!(bytes, b"row\n");
    let error = end.unwrap_err();
    let SourceError::Exited { program, status, last_words } = &error else { panic!("{error:?}") };
    assert_eq!((program.as_str(), *status, last_words.as_str()), ("/bin/sh", 3, "connection lost"));
    assert_eq!(error.to_string(), "`/bin/sh` failed with exit status 3:\n  connection lost");
}

#[test]
fn given_a_program_that_a_signal_kills_when_finished_then_the_signal_is_named() {
    let (bytes, end) = run("echo row; kill -9 $$");
    assert_eq!(bytes, b"row\n");
    let error = end.unwrap_err();
    assert!(error.to_string().contains("killed by SIGKILL (9)"), "{error}");
    assert!(error.hint().unwrap().contains("memory"));
}

#[test]
fn given_no_such_program_when_opened_then_it_is_named_and_path_is_hinted_at() {
    let error =
        CommandSource::new(Invocation::new("no-such-dump-program"), no_limits()).open().err().unwrap();
    assert_eq!(error.to_string(), "program `no-such-dump-program` not found");
    assert!(error.hint().unwrap().contains("PATH"));
}

#[test]
fn given_no_such_directory_when_opened_then_the_program_is_not_blamed() {
    let gone = tempfile::tempdir().unwrap().path().join("gone");
    let error = CommandSource::new(sh("true").working_dir(&gone), no_limits()).open().err().unwrap();
    assert!(
        matches!(&error, SourceError::NoWorkingDirectory { directory, .. } if *directory == gone),
        "{error}"
    );
}

#[test]
fn given_a_file_that_may_not_be_run_when_opened_then_the_systems_reason_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = CommandSource::new(Invocation::new(file.path()), no_limits()).open().err().unwrap();
    assert!(matches!(&error, SourceError::Start { .. }), "{error:?}");
    assert!(error.to_string().contains("ermission denied"), "{error}");
}

#[test]
fn given_a_dump_not_read_to_its_end_when_finished_then_it_is_no_dump() {
    let mut dump = open(sh("echo one; echo two"), no_limits());
    dump.read_exact(&mut [0; 4]).unwrap();
    let error = dump.finish().unwrap_err();
    assert!(matches!(error, SourceError::NotReadToEnd { .. }), "{error}");
}

#[test]
fn given_much_on_stderr_when_read_then_the_program_is_not_blocked_and_whole_last_lines_are_kept() {
    let (bytes, end) =
        run("yes 'a line of complaint' | head -n 500000 >&2; echo done; echo 'the last line' >&2; exit 1");
    assert_eq!(bytes, b"done\n");
    let error = end.unwrap_err();
    let SourceError::Exited { last_words, .. } = &error else { panic!("{error:?}") };
    let kept = last_words.as_str();
    assert!(kept.len() <= 8192 && kept.len() > 8000, "{}", kept.len());
    assert!(kept.starts_with("a line of complaint\n") && kept.ends_with("\nthe last line"), "{kept}");
}

#[test]
fn given_control_characters_on_stderr_when_told_then_a_terminal_has_nothing_to_obey() {
    let error = run(r"printf '\033[2Jwiped\377\n' >&2; exit 1").1.unwrap_err();
    assert!(error.to_string().ends_with(":\n   [2Jwiped\u{fffd}"), "{error:?}");
}

#[test]
fn given_a_silent_program_when_its_time_is_up_then_reading_stops_and_the_limit_is_told() {
    let limit = Duration::from_millis(300);
    let since = Instant::now();
    let mut dump = open(sh("echo begun; echo waiting >&2; sleep 60"), no_limits().with_timeout(Some(limit)));
    let mut bytes = Vec::new();
    dump.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(bytes, b"begun\n");
    let error = dump.finish().unwrap_err();
    assert!(since.elapsed() < SOON);
    assert!(matches!(&error, SourceError::TimedOut { limit: told, .. } if *told == limit), "{error:?}");
    assert!(error.to_string().contains("300ms") && error.to_string().contains("waiting"), "{error}");
}

#[test]
fn given_a_program_that_never_stops_writing_when_its_time_is_up_then_it_is_stopped() {
    let since = Instant::now();
    let limits = no_limits().with_timeout(Some(Duration::from_millis(300)));
    let mut dump = open(sh("exec yes"), limits);
    let mut buffer = vec![0; 1 << 20];
    while dump.read(&mut buffer).is_ok_and(|count| count > 0) {}
    assert!(matches!(dump.finish().unwrap_err(), SourceError::TimedOut { .. }));
    assert!(since.elapsed() < SOON);
}

#[test]
fn given_a_program_that_closed_its_output_when_it_hangs_then_the_time_limit_catches_it() {
    let limits = no_limits().with_timeout(Some(Duration::from_millis(400)));
    let (bytes, end) = drain(open(sh("echo all; exec >&-; sleep 60"), limits));
    assert_eq!(bytes, b"all\n");
    let error = end.unwrap_err();
    assert!(matches!(&error, SourceError::HungAfterOutput { .. }), "{error:?}");
    assert!(error.to_string().contains("closed its output and did not end within 400ms"), "{error}");
}

#[test]
fn given_no_time_limit_when_a_program_hangs_after_its_output_then_the_grace_catches_it() {
    let limits = Limits { exit_grace: Duration::from_millis(200), ..no_limits() };
    let end = drain(open(sh("exec >&-; sleep 60"), limits)).1;
    assert!(matches!(end.unwrap_err(), SourceError::HungAfterOutput { .. }));
}

#[test]
fn given_a_failed_program_when_a_leftover_holds_its_pipe_then_the_failure_is_told_at_once() {
    let since = Instant::now();
    let (bytes, end) = run("echo part; sleep 60 & exit 4");
    assert_eq!(bytes, b"part\n");
    assert!(matches!(end.unwrap_err(), SourceError::Exited { status: 4, .. }));
    assert!(since.elapsed() < SOON);
}

#[test]
fn given_a_program_that_ended_well_when_a_leftover_holds_its_pipe_silent_then_that_is_an_error() {
    let limits = Limits { exit_grace: Duration::from_millis(200), ..no_limits() };
    let end = drain(open(sh("echo part; sleep 60 & exit 0"), limits)).1;
    let error = end.unwrap_err();
    assert!(matches!(&error, SourceError::PipeHeldOpen { .. }), "{error:?}");
}

#[test]
fn given_a_silent_program_when_cancelled_then_reading_stops_soon() {
    let cancel = Cancel::new();
    let lifeline = Lifeline::new();
    let script = format!("sleep 60 > {}", lifeline.path.display());
    let mut dump = open(sh(&script), Limits::new(cancel.clone()));
    let reader = std::thread::spawn(move || {
        let result = dump.read(&mut [0; 16]);
        (result, dump.finish())
    });
    let held = lifeline.open();
    let since = Instant::now();
    cancel.cancel();
    let (read, end) = reader.join().unwrap();
    assert!(since.elapsed() < SOON);
    // Not `Interrupted`: readers would try again for ever.
    assert_ne!(read.unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    assert!(matches!(end.unwrap_err(), SourceError::Cancelled { .. }));
    assert_nobody_holds(held);
}

#[test]
fn given_a_cancelled_operation_when_opened_then_nothing_is_started() {
    let cancel = Cancel::new();
    cancel.cancel();
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("started");
    let script = format!("touch {}", marker.display());
    let error = CommandSource::new(sh(&script), Limits::new(cancel)).open().err().unwrap();
    assert!(matches!(error, SourceError::Cancelled { .. }));
    assert!(!marker.exists());
}

#[test]
fn given_a_dump_with_grandchildren_when_dropped_unfinished_then_all_of_them_are_gone() {
    let lifeline = Lifeline::new();
    let script = format!("(sleep 60; true) > {0} & echo up; wait", lifeline.path.display());
    let mut dump = open(sh(&script), no_limits());
    let held = lifeline.open();
    dump.read_exact(&mut [0; 3]).unwrap();
    drop(dump);
    assert_nobody_holds(held);
}

#[test]
fn given_a_program_that_cleans_up_when_dropped_then_it_is_given_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("cleaned");
    let script = format!("trap 'touch {}; exit' TERM; echo up; sleep 60 & wait", marker.display());
    let mut dump = open(sh(&script), no_limits());
    dump.read_exact(&mut [0; 3]).unwrap();
    drop(dump);
    assert!(marker.exists());
}

#[test]
fn given_a_program_that_ignores_sigterm_when_dropped_then_it_is_gone_all_the_same() {
    let lifeline = Lifeline::new();
    let script = format!("trap '' TERM; exec 3> {}; echo up; sleep 60; sleep 60", lifeline.path.display());
    let mut dump = open(sh(&script), no_limits());
    let held = lifeline.open();
    dump.read_exact(&mut [0; 3]).unwrap();
    let since = Instant::now();
    drop(dump);
    assert!(since.elapsed() < SOON);
    assert_nobody_holds(held);
}

#[test]
fn given_a_dump_that_was_dropped_when_looked_for_then_it_is_reaped() {
    let mut dump = open(sh("echo $$; sleep 60"), no_limits());
    let mut bytes = [0u8; 16];
    let count = dump.read(&mut bytes).unwrap();
    let pid = String::from_utf8_lossy(&bytes[..count]).trim().to_owned();
    assert!(Path::new("/proc").join(&pid).exists());
    drop(dump);
    assert!(!Path::new("/proc").join(&pid).exists(), "{pid} is still there, if only as a zombie");
}

// --- sinks

#[test]
fn given_a_program_that_reads_all_when_finished_then_it_got_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let mut sink = sink(&format!("cat > {}", copy.display()), no_limits());
    let bytes: Vec<u8> = (0..5_000_000u32).flat_map(u32::to_le_bytes).collect();
    sink.write_all(&bytes).unwrap();
    sink.finish().unwrap();
    assert!(std::fs::read(&copy).unwrap() == bytes);
}

#[test]
fn given_a_program_that_fails_after_the_last_byte_when_finished_then_its_failure_is_told() {
    let mut sink = sink("cat > /dev/null; echo 'no room' >&2; exit 5", no_limits());
    sink.write_all(b"bytes").unwrap();
    let error = sink.finish().unwrap_err();
    assert_eq!(error.to_string(), "`/bin/sh` failed with exit status 5:\n  no room");
}

#[test]
fn given_a_program_that_stops_reading_and_fails_when_asked_then_its_own_error_is_told() {
    let mut sink = sink("head -c 10 > /dev/null; echo 'bad row' >&2; exit 6", no_limits());
    let chunk = vec![0; 1 << 20];
    while sink.write_all(&chunk).is_ok() {}
    let error = sink.fail_reason();
    assert_eq!(error.to_string(), "`/bin/sh` failed with exit status 6:\n  bad row");
}

#[test]
fn given_a_program_that_stops_reading_and_exits_well_when_asked_then_that_is_an_error_too() {
    let mut sink = sink("head -c 10 > /dev/null", no_limits());
    let chunk = vec![0; 1 << 20];
    while sink.write_all(&chunk).is_ok() {}
    assert!(matches!(sink.fail_reason(), SourceError::StoppedReading { .. }));
}

#[test]
fn given_a_program_that_never_reads_when_a_small_stream_is_finished_then_it_is_not_taken_for_restored() {
    // So few bytes fit into the pipe: the write succeeds while the program is there.
    let mut sink = sink("read go; exit 0", no_limits());
    let mut bytes = vec![0; 50_000];
    bytes[..3].copy_from_slice(b"go\n");
    sink.write_all(&bytes).unwrap();
    let error = sink.finish().unwrap_err();
    assert!(matches!(error, SourceError::StoppedReading { .. }), "{error}");
}

#[test]
fn given_a_write_that_failed_when_finished_all_the_same_then_it_is_not_taken_for_restored() {
    let lifeline = Lifeline::new();
    let script = format!("exec 0<&-; : > {}", lifeline.path.display());
    let mut sink = sink(&script, no_limits());
    // Nobody reads any more: not one byte gets into the pipe, and none is left in it.
    assert_nobody_holds(lifeline.open());
    sink.write_all(b"a small dump").unwrap_err();
    let error = sink.finish().unwrap_err();
    assert!(matches!(error, SourceError::StoppedReading { .. }), "{error}");
}

#[test]
fn given_a_program_that_closes_its_input_and_lives_on_when_asked_then_its_late_failure_is_told() {
    let mut sink = sink("exec 0<&-; echo 'closing down' >&2; sleep 0.3; exit 7", no_limits());
    let chunk = vec![0; 1 << 20];
    while sink.write_all(&chunk).is_ok() {}
    assert!(matches!(sink.fail_reason(), SourceError::Exited { status: 7, .. }));
}

/// A program that writes a marker when it sees the end of its input, the way a restore commits.
fn committing(marker: &Path, prelude: &str) -> String {
    format!("{prelude} cat > /dev/null; touch {}", marker.display())
}

#[test]
fn given_a_whole_stream_when_finished_then_the_program_saw_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("committed");
    let mut sink = sink(&committing(&marker, ""), no_limits());
    sink.write_all(b"whole").unwrap();
    sink.finish().unwrap();
    assert!(marker.exists());
}

#[test]
fn given_a_cut_stream_when_aborted_then_the_program_never_saw_the_end() {
    let dir = tempfile::tempdir().unwrap();
    for (name, prelude) in [("plain", ""), ("stubborn", "trap '' TERM;"), ("tidy", "trap 'exit 0' TERM;")] {
        let marker = dir.path().join(name);
        let mut sink = sink(&committing(&marker, prelude), no_limits());
        // More than the pipe holds: the program reads by then.
        sink.write_all(&vec![0; 4 << 20]).unwrap();
        sink.abort();
        assert!(!marker.exists(), "{name}");
    }
}

#[test]
fn given_a_cut_stream_when_the_sink_is_dropped_then_the_program_never_saw_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("committed");
    // A subshell reads: the whole group has to be gone before the input is closed.
    let script = format!("({}); true", committing(&marker, "trap '' TERM;"));
    let mut sink = sink(&script, no_limits());
    // More than the pipe holds: the program reads by then.
    sink.write_all(&vec![0; 4 << 20]).unwrap();
    drop(sink);
    assert!(!marker.exists());
}

#[test]
fn given_a_program_that_does_not_read_when_cancelled_then_writing_stops_and_no_end_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("committed");
    let cancel = Cancel::new();
    let script = format!("sleep 60; {}", committing(&marker, ""));
    let mut sink = sink(&script, Limits::new(cancel.clone()));
    let chunk = vec![0; 4 << 20];
    let writer = std::thread::spawn(move || {
        let written = sink.write_all(&chunk);
        (written, sink.fail_reason())
    });
    let since = Instant::now();
    cancel.cancel();
    let (written, error) = writer.join().unwrap();
    written.unwrap_err();
    assert!(since.elapsed() < SOON);
    assert!(matches!(error, SourceError::Cancelled { .. }), "{error}");
    assert!(!marker.exists());
}

#[test]
fn given_a_program_that_does_not_read_when_its_time_is_up_then_the_limit_is_told() {
    let limits = no_limits().with_timeout(Some(Duration::from_millis(300)));
    let mut sink = sink("sleep 60", limits);
    sink.write_all(&vec![0; 4 << 20]).unwrap_err();
    assert!(matches!(sink.fail_reason(), SourceError::TimedOut { .. }));
}

#[test]
fn given_a_program_that_hangs_after_the_last_byte_when_its_time_is_up_then_finishing_fails() {
    let limits = no_limits().with_timeout(Some(Duration::from_millis(300)));
    let mut sink = sink("cat > /dev/null; sleep 60", limits);
    sink.write_all(b"all").unwrap();
    assert!(matches!(sink.finish().unwrap_err(), SourceError::TimedOut { .. }));
}

#[test]
fn given_a_program_that_fails_while_a_leftover_holds_its_input_when_writing_then_it_does_not_hang() {
    let since = Instant::now();
    // The leftover never reads: without a look at the program the pipe would stay full for ever.
    let mut sink = sink("sleep 60 <&0 & exit 8", no_limits());
    sink.write_all(&vec![0; 4 << 20]).unwrap_err();
    assert!(matches!(sink.fail_reason(), SourceError::Exited { status: 8, .. }));
    assert!(since.elapsed() < SOON);
}
