//! Processes of runs: this program again, each in a process group of its own.
//!
//! Standard input of a run is an empty file that is locked. The lock lives as long as any process of the run, and not
//! as long as the scheduler: whoever finds it free knows that nothing of the run is left. Standard output and error go
//! to a file, which survives the scheduler, too.

use super::book::{OpenRun, RunId};
use super::due::ms;
use super::scheduler::Launcher;
use super::verdict::{Exit, Why};
use crate::base::secret::Entropy;
use crate::settings::{Job, Work};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The variable that tells a process of which run it is: the run, a colon, the try.
pub(crate) const RUN_VARIABLE: &str = "DUMPVAULT_RUN";
pub(crate) use crate::base::event::PROGRESS_VARIABLE;
/// What is kept of a run's log.
pub(crate) const LOG_BYTES_MAX: u64 = 64 << 10;
/// A log is cut while the run is under way once it is so long.
const LOG_BYTES_CUT: u64 = 4 << 20;
/// After SIGTERM a run has so long.
const TERM_WAIT: Duration = Duration::from_secs(30);

/// How this program is started again.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Options that come first: what the scheduler itself was given.
    pub options: Vec<OsString>,
}

/// Starts and watches processes.
pub(crate) struct Processes {
    program: Program,
    directory: PathBuf,
    entropy: Box<dyn Entropy>,
    runs: BTreeMap<RunId, Process>,
}

/// The process of a run.
struct Process {
    /// `None` where another scheduler started it.
    child: Option<Child>,
    /// The process group; found out anew where another scheduler started it.
    group: Option<Pid>,
    since: Instant,
    stopped: Option<(Why, Instant)>,
    /// Processor time at which something was last seen to be done.
    busy: (u64, Instant),
}

impl Processes {
    /// Runs keep their files in `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new(
        program: Program,
        directory: PathBuf,
        entropy: Box<dyn Entropy>,
    ) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Self { program, directory, entropy, runs: BTreeMap::new() })
    }

    fn file(&self, run: &RunId, extension: &str) -> PathBuf {
        self.directory.join(format!("{run}.{extension}"))
    }

    /// The end of a run's log.
    pub(crate) fn log(&self, run: &RunId) -> String {
        tail(&self.file(run, "log")).unwrap_or_default()
    }

    /// Removes a run's files: what is worth keeping of them is kept elsewhere.
    pub(crate) fn forget(&self, run: &RunId) {
        for extension in ["log", "lock", "pid", "progress", "cancel"] {
            // Safe to ignore because the next start of the same run writes them anew.
            let _ = std::fs::remove_file(self.file(run, extension));
        }
    }

    /// Stops the runs that somebody asked to stop: with a file beside the run's log.
    pub(crate) fn heed(&mut self) {
        let asked: Vec<RunId> = self.runs.keys().filter(|run| self.is_asked_to_stop(run)).cloned().collect();
        asked.iter().for_each(|run| self.stop(run, Why::Asked));
    }

    /// Ends with force what did not end by itself, and cuts logs that grow.
    pub(crate) fn tend(&mut self) {
        for (run, process) in &self.runs {
            if let (Some((_, since)), Some(group)) = (process.stopped, process.group)
                && since.elapsed() > TERM_WAIT
            {
                // Safe to ignore because a group that is gone needs no signal.
                let _ = kill_process_group(group, Signal::KILL);
            }
            // Safe to ignore because a log that cannot be cut is only long.
            let _ = cut(&self.file(run, "log"));
        }
    }

    fn command(&self, run: &OpenRun, job: &Job) -> Command {
        let mut command = match &job.work {
            Work::Command(script) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(script);
                shell
            }
            work => {
                let mut own = Command::new(&self.program.path);
                own.args(&self.program.options).args(words(work, &run.parts));
                own
            }
        };
        // What the service manager told this process is not meant for others.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command.env(PROGRESS_VARIABLE, self.file(&run.id, "progress"));
        command.env(RUN_VARIABLE, format!("{}:{}", run.id, run.attempt)).process_group(0);
        command
    }

    fn spawn(&self, run: &OpenRun, job: &Job) -> std::io::Result<Process> {
        let mut options = OpenOptions::new();
        options.create(true).mode(0o600);
        let lock = options.clone().read(true).write(true).truncate(false).open(self.file(&run.id, "lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let log = options.append(true).open(self.file(&run.id, "log"))?;
        let mut command = self.command(run, job);
        command.stdin(Stdio::from(lock)).stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        // Safe to ignore: without it a run can still be waited for, and only not be stopped by a later scheduler.
        let _ = std::fs::write(self.file(&run.id, "pid"), group.as_raw_nonzero().to_string());
        let now = Instant::now();
        Ok(Process { child: Some(child), group: Some(group), since: now, stopped: None, busy: (0, now) })
    }

    fn is_locked(&self, run: &RunId) -> bool {
        let file = File::open(self.file(run, "lock"));
        file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
    }
}

/// The arguments of a job. No secret is one.
pub(crate) fn words(work: &Work, parts: &[String]) -> Vec<OsString> {
    let mut words: Vec<String> = Vec::new();
    let mut say = |all: &[&str]| words.extend(all.iter().map(|word| (*word).to_owned()));
    match work {
        Work::Run { .. } | Work::Backup { .. } if !parts.is_empty() => {
            say(&["backup"]);
            parts.iter().for_each(|part| say(&[part]));
        }
        Work::Run { system } => {
            say(&["run"]);
            system.iter().for_each(|system| say(&[system]));
        }
        Work::Backup { sources } => {
            say(&["backup"]);
            sources.iter().for_each(|source| say(&[source]));
        }
        Work::Check { part } => {
            say(&["check"]);
            part.iter().for_each(|part| say(&["--read-data-subset", &part.to_string()]));
        }
        Work::Verify { snapshot, server } => {
            say(&["verify", snapshot]);
            server.iter().for_each(|server| say(&["--server", server]));
        }
        Work::Forget => say(&["forget"]),
        Work::Prune => say(&["prune"]),
        Work::Copy { to } => {
            say(&["copy"]);
            to.iter().for_each(|to| say(&["--to", to]));
        }
        Work::LockExtend => say(&["object-lock", "extend"]),
        Work::Command(_) => {}
    }
    words.into_iter().map(OsString::from).collect()
}

impl Launcher for Processes {
    fn start(&mut self, run: &OpenRun, job: &Job) -> Result<(), String> {
        let process = self.spawn(run, job).map_err(|error| error.to_string())?;
        self.runs.insert(run.id.clone(), process);
        Ok(())
    }

    fn adopt(&mut self, run: &RunId) -> bool {
        if !self.is_locked(run) {
            return false;
        }
        let pid = std::fs::read_to_string(self.file(run, "pid")).ok().and_then(|text| text.parse().ok());
        let now = Instant::now();
        let process = Process {
            child: None,
            group: pid.and_then(Pid::from_raw),
            since: now,
            stopped: None,
            busy: (0, now),
        };
        self.runs.insert(run.clone(), process);
        true
    }

    fn has(&self, run: &RunId) -> bool {
        self.runs.contains_key(run)
    }

    fn is_asked_to_stop(&self, run: &RunId) -> bool {
        self.file(run, "cancel").exists()
    }

    fn age_ms(&self, run: &RunId) -> i64 {
        self.runs.get(run).map_or(0, |process| ms(process.since.elapsed()))
    }

    fn ended(&mut self) -> Vec<(RunId, Exit)> {
        let mut over = Vec::new();
        let adopted: BTreeSet<RunId> = self
            .runs
            .iter()
            .filter(|(_, process)| process.child.is_none())
            .map(|(run, _)| run.clone())
            .collect();
        let gone: BTreeSet<RunId> = adopted.into_iter().filter(|run| !self.is_locked(run)).collect();
        for (run, process) in &mut self.runs {
            let exit = match &mut process.child {
                None => gone.contains(run).then_some(Exit::Lost),
                Some(child) => match child.try_wait() {
                    Ok(None) => None,
                    Ok(Some(status)) => Some(match (status.code(), status.signal()) {
                        (Some(code), _) => Exit::Code(code),
                        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
                    }),
                    Err(_) => Some(Exit::Lost),
                },
            };
            let Some(exit) = exit else { continue };
            // One that had done its work when it was asked to stop has done it.
            let exit = match (&exit, process.stopped) {
                (Exit::Code(0), _) | (_, None) => exit,
                (_, Some((why, _))) => Exit::Stopped(why),
            };
            over.push((run.clone(), exit));
        }
        over.iter().for_each(|(run, _)| drop(self.runs.remove(run)));
        over
    }

    fn is_stalled(&mut self, run: &RunId, for_ms: i64) -> bool {
        let Some(process) = self.runs.get_mut(run) else { return false };
        let Some(group) = process.group.filter(|_| process.stopped.is_none()) else { return false };
        // Where the system does not tell, nobody knows.
        let Some(used) = processor_ms(group.as_raw_nonzero().get()) else { return false };
        // What only waits wakes up now and then: a thousandth is nothing.
        let little = u64::try_from(for_ms / 1000).unwrap_or_default();
        if used > process.busy.0.saturating_add(little) || used < process.busy.0 {
            process.busy = (used, Instant::now());
        }
        ms(process.busy.1.elapsed()) > for_ms
    }

    fn stop(&mut self, run: &RunId, why: Why) {
        let Some(process) = self.runs.get_mut(run) else { return };
        let Some(group) = process.group.filter(|_| process.stopped.is_none()) else { return };
        process.stopped = Some((why, Instant::now()));
        // Safe to ignore because a group that is gone needs no signal.
        let _ = kill_process_group(group, Signal::TERM);
    }

    fn new_id(&mut self, now_ms: i64) -> RunId {
        new_id(self.entropy.as_ref(), now_ms)
    }
}

const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A name that sorts by time: 48 bits of milliseconds and 80 random ones, in the letters of a ULID.
pub(crate) fn new_id(entropy: &dyn Entropy, now_ms: i64) -> RunId {
    let mut random = [0; 16];
    // Safe to ignore: a name that is there already is refused by the state, and the next tick draws another.
    let _ = entropy.fill(&mut random);
    name_of(random, now_ms)
}

/// The name that a thing has whoever names it: by what it is called elsewhere.
pub(crate) fn id_of(what: &str, at_ms: i64) -> RunId {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(blake3::hash(what.as_bytes()).as_bytes()).for_each(|(to, from)| *to = *from);
    name_of(bytes, at_ms)
}

/// When a thing was named, by its name.
pub(crate) fn moment_of(name: &str) -> Option<i64> {
    let letters = name.get(..10)?.bytes();
    letters
        .map(|letter| LETTERS.iter().position(|own| *own == letter))
        .try_fold(0, |all: i64, digit| all.checked_mul(32)?.checked_add(i64::try_from(digit?).ok()?))
}

fn name_of(random: [u8; 16], now_ms: i64) -> RunId {
    let time = u128::try_from(now_ms.max(0)).unwrap_or_default() << 80;
    let number = time | (u128::from_le_bytes(random) >> 48);
    let letter = |at: u32| {
        let index = usize::try_from((number >> (at * 5)) & 31).unwrap_or_default();
        char::from(LETTERS.get(index).copied().unwrap_or(b'0'))
    };
    RunId((0..26).rev().map(letter).collect())
}

/// Processor time that a process and all that it started have used.
fn processor_ms(leader: i32) -> Option<u64> {
    let mut found: BTreeMap<i32, (i32, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may hold anything; what counts is behind its last bracket.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let parent = fields.get(1).and_then(|text| text.parse().ok()).unwrap_or_default();
        // User and system time, of itself and of children that it waited for.
        found.insert(pid, (parent, (11..=14).map(number).sum()));
    }
    found.get(&leader)?;
    let mut family = BTreeSet::from([leader]);
    loop {
        let more: Vec<i32> = found
            .iter()
            .filter(|(pid, (parent, _))| family.contains(parent) && !family.contains(*pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        family.extend(more);
    }
    let ticks: u64 = family.iter().filter_map(|pid| found.get(pid)).map(|(_, ticks)| ticks).sum();
    // Linux counts a hundred a second for programs, whatever it does itself.
    Some(ticks.saturating_mul(10))
}

/// The end of a file as text, from the beginning of a line on.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LOG_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, rest)) if from > 0 => rest.to_owned(),
        _ => text,
    })
}

/// Cuts a file that has grown too long down to its end. Whoever writes goes on at its new end.
fn cut(path: &Path) -> std::io::Result<()> {
    if std::fs::metadata(path)?.len() > LOG_BYTES_CUT {
        let end = tail(path)?;
        std::fs::write(path, end)?;
    }
    Ok(())
}

/// The folder of runs in the state directory.
pub(crate) fn folder(state: &Path) -> PathBuf {
    state.join("schedule").join("runs")
}

/// Asks the scheduler to stop a run. It has to be rung afterwards.
///
/// # Errors
/// When the file that says so cannot be written.
pub(crate) fn ask_to_stop(state: &Path, run: &str) -> std::io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(folder(state).join(format!("{run}.cancel")))
        .map(drop)
}

/// The log of a run that goes on, and how far it is: what its command wrote, if it wrote something.
pub(crate) fn watch(state: &Path, run: &str) -> (String, Option<String>) {
    let file = |extension: &str| folder(state).join(format!("{run}.{extension}"));
    (tail(&file("log")).unwrap_or_default(), std::fs::read_to_string(file("progress")).ok())
}
