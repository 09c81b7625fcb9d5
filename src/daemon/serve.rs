//! The daemon: one thread that sleeps until something is due, a signal comes, a process ends, or somebody rings.

use super::alert::Fact;
use super::alert::post::{Post, Postman};
use super::book::StateError;
use super::launch::{Processes, Program};
use super::process::is_there;
use super::scheduler::{Alarm, Scheduler};
use super::state::State;
use super::watch::Watch;
use super::witness::Witness;
use crate::base::clock::Clock;
use crate::base::secret::Entropy;
use crate::settings::{Alerts, Job};
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
/// How often it is looked for what is gone or old.
const TIDY_MS: i64 = 60_000;

/// The daemon cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
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

/// The jobs of the configuration, how many run at the same time, and who is told.
pub(crate) type Jobs = (BTreeMap<String, Job>, u32, Alerts);

/// What the daemon works with.
pub(crate) struct Daemon<'a> {
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
    /// Who tells, and how.
    pub postman: Postman,
    /// Disks that may fill: what each is, and a folder of it.
    pub disks: Vec<(&'static str, PathBuf)>,
    /// Reads the configuration again.
    pub reload: &'a mut dyn FnMut() -> Result<Jobs, String>,
    /// Tells a line to people.
    pub tell: &'a mut dyn FnMut(&str),
    /// Called once, when this is the one daemon and its state can be used: starts what runs beside.
    pub begun: &'a mut dyn FnMut() -> Result<(), ServeError>,
}

/// So long the service manager is waited for with each message.
const MANAGER_PATIENCE: Duration = Duration::from_secs(1);

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
pub(crate) fn is_running(state: &Path) -> bool {
    let file = File::open(folder(state).join("daemon.lock"));
    file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

/// Wakes the daemon, if there is one.
pub(crate) fn ring(state: &Path) {
    // Safe to ignore: it looks by itself within half a minute.
    let ring = |bell: UnixDatagram| {
        // Where the bell has no more place, it was rung.
        bell.set_nonblocking(true)?;
        bell.send_to(b"!", folder(state).join("bell"))
    };
    let _ = UnixDatagram::unbound().and_then(ring);
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
pub(crate) fn serve(mut daemon: Daemon<'_>) -> Result<(), ServeError> {
    let folder = folder(&daemon.state);
    let witness = Witness::new(daemon.program.clone());
    let processes =
        Processes::new(daemon.program, folder.join("runs"), daemon.entropy).map_err(io(&folder))?;
    let _lock = lock(&daemon.state)?;
    let state = State::open(&daemon.state)?;
    let bell = Bell::new(&daemon.state)?;
    (daemon.begun)()?;
    let watch = Watch::new(daemon.machine.clone(), daemon.postman.zone.clone(), daemon.disks);
    let (jobs, most, alerts) = daemon.jobs;
    let post = Post::start(daemon.postman, alerts.clone()).map_err(io(&folder))?;
    let mut scheduler = Scheduler::new(state, processes, daemon.machine);
    scheduler.configure(jobs, most);
    let mut round =
        Round { scheduler, watch, witness, post, alerts, told: BTreeSet::new(), tidied: i64::MIN };
    let notify = daemon.notify.take();
    let say = |words: &str| notify.iter().for_each(|socket| notify_manager(socket, words));
    let (mut is_stopping, mut is_ready) = (false, false);
    loop {
        if bell.stop.load(Ordering::SeqCst) && !is_stopping {
            is_stopping = true;
            say("STOPPING=1");
            round.scheduler.stop();
        }
        let now = daemon.clock.now().as_millisecond();
        if bell.reload.swap(false, Ordering::SeqCst) {
            round.reload((daemon.reload)(), now, daemon.tell);
            // The service manager learns that it was heard.
            is_ready = false;
        }
        let wake = round.turn(now, daemon.tell);
        say("WATCHDOG=1");
        if !std::mem::replace(&mut is_ready, true) {
            say("READY=1");
        }
        if is_stopping && round.scheduler.running_count() == 0 {
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

/// What the loop works with.
struct Round {
    scheduler: Scheduler<State, Processes>,
    watch: Watch,
    witness: Witness,
    post: Post,
    alerts: Alerts,
    /// Lines that were told and are still so.
    told: BTreeSet<String>,
    tidied: i64,
}

impl Round {
    fn reload(&mut self, read: Result<Jobs, String>, now: i64, tell: &mut dyn FnMut(&str)) {
        let fact = match read {
            Ok((jobs, most, alerts)) => {
                tell(&format!("configuration read again: {} jobs", jobs.len()));
                self.scheduler.configure(jobs, most);
                self.post.configure(alerts.clone());
                self.alerts = alerts;
                Fact::good("config", "configuration")
            }
            Err(why) => {
                let text = format!("the configuration is wrong and the old one stays in force: {why}");
                tell(&text);
                Fact::bad("config", "configuration", "the configuration is wrong", text)
            }
        };
        if let Err(error) = self.scheduler.store.state_facts(now, &[fact]) {
            tell(&format!("state: {error}"));
        }
    }

    /// Everything that is to be done at that moment. Says when to come again.
    fn turn(&mut self, now: i64, tell: &mut dyn FnMut(&str)) -> i64 {
        let wake = match self.scheduler.tick(now, since_boot()) {
            Ok(wake) => {
                self.told.retain(|line| !line.starts_with("state"));
                wake
            }
            Err(error) => {
                let line = format!("state: {error}; nothing is started until it can be written");
                if self.told.insert(line.clone()) {
                    tell(&line);
                    // What cannot be written cannot wait in the state either.
                    self.post.urgent(line);
                }
                now.saturating_add(ERROR_WAIT_MS)
            }
        };
        self.scheduler.launcher.heed();
        self.scheduler.launcher.tend();
        keep_logs(&mut self.scheduler);
        let alarms = self.scheduler.alarms();
        self.clock(&alarms, now);
        tell_alarms(alarms, &mut self.told, tell);
        let ended = self.scheduler.ended_count();
        let (store, jobs) = self.scheduler.state_and_jobs();
        // Safe to ignore: what cannot be looked at now is looked at in a minute, and a state that fails is told above.
        let _ = self.witness.look(store, &self.alerts, ended, now);
        let _ = self.watch.look(store, jobs, &self.alerts, now);
        if now.saturating_sub(self.tidied).unsigned_abs() > TIDY_MS.unsigned_abs() {
            self.tidied = now;
            // As above.
            let _ = store.end_gone(now, &is_there);
            let _ = store.set_counter("heartbeat", now);
            let _ = store.forget_before(now.saturating_sub(HISTORY_MS));
        }
        self.post.look();
        self.post.trouble().iter().for_each(|line| tell(line));
        wake
    }

    /// A clock that is wrong is an alert; one that is right again ends it.
    fn clock(&mut self, alarms: &[Alarm], now: i64) {
        let wrong = alarms.iter().find_map(|alarm| match alarm {
            Alarm::Clock(text) => Some(text.clone()),
            _ => None,
        });
        let is_new = wrong.is_some() != self.told.contains("clock");
        if is_new {
            let fact = match wrong {
                Some(text) => Fact::bad("clock", "clock", "the clock is wrong", text),
                None => Fact::good("clock", "clock"),
            };
            // Safe to ignore: the line on standard error tells it, too.
            let _ = self.scheduler.store.state_facts(now, &[fact]);
        }
    }
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

/// Tells the service manager. One that does not read is not waited for longer than a moment: backups go on.
fn notify_manager(socket: &OsString, words: &str) {
    use std::os::unix::ffi::OsStrExt;
    let send = || -> std::io::Result<()> {
        let out = UnixDatagram::unbound()?;
        out.set_write_timeout(Some(MANAGER_PATIENCE))?;
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
