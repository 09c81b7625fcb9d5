//! The daemon: one thread that sleeps until something is due, a signal comes, a process ends, or somebody rings.

use super::book::StateError;
use super::launch::{Processes, Program};
use super::scheduler::{Alarm, Scheduler};
use super::state::State;
use crate::base::clock::Clock;
use crate::base::secret::Entropy;
use crate::settings::Job;
use rustix::fs::{FlockOperation, flock};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After an error of the state it is tried again so soon.
const ERROR_WAIT_MS: i64 = 5_000;
/// History is kept for two years.
const HISTORY_MS: i64 = 2 * 366 * 86_400_000;
const DAY_MS: i64 = 86_400_000;

/// The daemon cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is another one.
    #[error("another scheduler is running for `{path}`", path = path.display())]
    Running {
        /// The state directory.
        path: PathBuf,
    },
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file, socket or signal failed.
    #[error("`{path}`: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
}

/// The jobs of the configuration, and how many run at the same time.
pub type Jobs = (BTreeMap<String, Job>, u32);

/// What the daemon works with.
pub struct Daemon<'a> {
    /// The state directory.
    pub state: PathBuf,
    /// This program.
    pub program: Program,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Where random bytes come from.
    pub entropy: Box<dyn Entropy>,
    /// The machine's name, for jitter.
    pub machine: String,
    /// What the service manager wants to be told: `NOTIFY_SOCKET`.
    pub notify: Option<OsString>,
    /// How often it wants to hear: `WATCHDOG_USEC`.
    pub watchdog: Option<Duration>,
    /// The jobs of the configuration.
    pub jobs: Jobs,
    /// Reads the configuration again.
    pub reload: &'a mut dyn FnMut() -> Result<Jobs, String>,
    /// Tells a line to people.
    pub tell: &'a mut dyn FnMut(&str),
    /// Called once, when this is the one daemon and its state can be used: starts what runs beside.
    pub begun: &'a mut dyn FnMut() -> Result<(), ServeError>,
}

/// Files of the scheduler in the state directory.
fn folder(state: &Path) -> PathBuf {
    state.join("schedule")
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> ServeError {
    let path = path.to_owned();
    move |source| ServeError::Io { path: path.clone(), source }
}

/// Takes the lock that only one daemon has. It is free again when the file is closed, however the process ends.
fn lock(state: &Path) -> Result<File, ServeError> {
    let path = folder(state).join("daemon.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io(&path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| ServeError::Running { path: state.to_owned() })?;
    Ok(file)
}

/// Whether a daemon runs on that state directory.
pub fn is_running(state: &Path) -> bool {
    let file = File::open(folder(state).join("daemon.lock"));
    file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

/// Wakes the daemon, if there is one.
pub fn ring(state: &Path) {
    // Safe to ignore: it looks by itself within half a minute.
    let _ = UnixDatagram::unbound().and_then(|bell| bell.send_to(b"!", folder(state).join("bell")));
}

/// What wakes the daemon: signals and those who ring.
struct Bell {
    socket: UnixDatagram,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Bell {
    fn new(state: &Path) -> Result<Self, ServeError> {
        let path = folder(state).join("bell");
        // Left by a daemon that was killed. Only one has the lock.
        let _ = std::fs::remove_file(&path);
        // A path may be too long for a socket: then nobody can ring.
        let (socket, signals) = match UnixDatagram::bind(&path) {
            Ok(socket) => {
                let signals = UnixDatagram::unbound().map_err(io(&path))?;
                signals.connect(&path).map_err(io(&path))?;
                (socket, signals)
            }
            Err(_) => UnixDatagram::pair().map_err(io(&path))?,
        };
        let (stop, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for (signal, flag) in
            [(SIGTERM, Some(&stop)), (SIGINT, Some(&stop)), (SIGHUP, Some(&reload)), (SIGCHLD, None)]
        {
            if let Some(flag) = flag {
                signal_hook::flag::register(signal, Arc::clone(flag)).map_err(io(&path))?;
            }
            let signals = signals.try_clone().map_err(io(&path))?;
            signal_hook::low_level::pipe::register(signal, signals).map_err(io(&path))?;
        }
        Ok(Self { socket, stop, reload })
    }

    fn wait(&self, time: Duration) {
        // Safe to ignore: both only make the next look come sooner.
        let _ = self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1))));
        let _ = self.socket.recv(&mut [0; 16]);
    }
}

/// Runs jobs until it is asked to stop.
///
/// # Errors
/// When it cannot begin. What fails later is told, and tried again.
pub fn serve(mut daemon: Daemon<'_>) -> Result<(), ServeError> {
    let folder = folder(&daemon.state);
    let processes =
        Processes::new(daemon.program, folder.join("runs"), daemon.entropy).map_err(io(&folder))?;
    let _lock = lock(&daemon.state)?;
    let state = State::open(&daemon.state)?;
    let bell = Bell::new(&daemon.state)?;
    (daemon.begun)()?;
    let mut scheduler = Scheduler::new(state, processes, daemon.machine);
    scheduler.configure(daemon.jobs.0, daemon.jobs.1);
    let notify = daemon.notify.take();
    let say = |words: &str| notify.iter().for_each(|socket| notify_manager(socket, words));
    let (mut is_stopping, mut is_ready, mut tidied) = (false, false, i64::MIN);
    let mut told: BTreeSet<String> = BTreeSet::new();
    loop {
        if bell.stop.load(Ordering::SeqCst) && !is_stopping {
            is_stopping = true;
            say("STOPPING=1");
            scheduler.stop();
        }
        if bell.reload.swap(false, Ordering::SeqCst) {
            match (daemon.reload)() {
                Ok((jobs, most)) => {
                    (daemon.tell)(&format!("configuration read again: {} jobs", jobs.len()));
                    scheduler.configure(jobs, most);
                }
                Err(why) => (daemon.tell)(&format!(
                    "the configuration is wrong and the old one stays in force: {why}"
                )),
            }
            // The service manager learns that it was heard.
            is_ready = false;
        }
        let now = daemon.clock.now().as_millisecond();
        let wake = match scheduler.tick(now, since_boot()) {
            Ok(wake) => {
                told.retain(|line| !line.starts_with("state"));
                wake
            }
            Err(error) => {
                let line = format!("state: {error}; nothing is started until it can be written");
                if told.insert(line.clone()) {
                    (daemon.tell)(&line);
                }
                now.saturating_add(ERROR_WAIT_MS)
            }
        };
        scheduler.launcher.heed();
        scheduler.launcher.tend();
        keep_logs(&mut scheduler);
        if now.saturating_sub(tidied) > DAY_MS {
            tidied = now;
            // Safe to ignore: it is tried again tomorrow, and nothing depends on it.
            let _ = scheduler.store.forget_before(now.saturating_sub(HISTORY_MS));
        }
        tell_alarms(scheduler.alarms(), &mut told, daemon.tell);
        say("WATCHDOG=1");
        if !std::mem::replace(&mut is_ready, true) {
            say("READY=1");
        }
        if is_stopping && scheduler.running_count() == 0 {
            break;
        }
        let sleep = u64::try_from(wake.saturating_sub(now)).unwrap_or_default();
        let sleep = Duration::from_millis(if is_stopping { sleep.min(1000) } else { sleep });
        bell.wait(daemon.watchdog.map_or(sleep, |watchdog| sleep.min(watchdog / 2)));
    }
    // Safe to ignore: whoever rings notices that nobody hears.
    let _ = std::fs::remove_file(folder.join("bell"));
    Ok(())
}

/// What a person should know; a clock that stays wrong is told once.
fn tell_alarms(alarms: Vec<Alarm>, told: &mut BTreeSet<String>, tell: &mut dyn FnMut(&str)) {
    let mut is_clock_wrong = false;
    for alarm in alarms {
        match alarm {
            Alarm::Clock(text) => {
                is_clock_wrong = true;
                if told.insert("clock".to_owned()) {
                    tell(&text);
                }
            }
            Alarm::TooLong(text) | Alarm::Failed(text) | Alarm::Missed(text) => tell(&text),
        }
    }
    if !is_clock_wrong {
        told.remove("clock");
    }
}

/// Logs of runs that have ended go into the state, and their files away.
fn keep_logs(scheduler: &mut Scheduler<State, Processes>) {
    // Safe to ignore: they are kept at the next look.
    for run in scheduler.store.without_log().unwrap_or_default() {
        let log = scheduler.launcher.log(&run);
        if scheduler.store.keep_log(&run, &log).is_ok() {
            scheduler.launcher.forget(&run);
        }
    }
}

/// Milliseconds since the machine was started, sleep included; `None` where the system does not tell.
fn since_boot() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let (seconds, hundredths): (i64, i64) = (seconds.parse().ok()?, hundredths.parse().ok()?);
    Some(seconds.saturating_mul(1000).saturating_add(hundredths.saturating_mul(10)))
}

/// Tells the service manager.
fn notify_manager(socket: &OsString, words: &str) {
    use std::os::unix::ffi::OsStrExt;
    let send = || -> std::io::Result<()> {
        let out = UnixDatagram::unbound()?;
        #[cfg(target_os = "linux")]
        if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            return out.send_to_addr(words.as_bytes(), &address).map(drop);
        }
        out.send_to(words.as_bytes(), Path::new(socket)).map(drop)
    };
    // Safe to ignore: a manager that hears nothing does by itself what it does then.
    let _ = socket.as_bytes().first().and_then(|_| send().err());
}
