//! The values: typed, checked, complete. Nothing behind this parses text that a person wrote into a file.

use super::{Alerts, ConfigError, Environment, Job, Serve, env_file};
use crate::base::calendar::Calendar;
use crate::base::level::Level;
use crate::base::name::SeriesName;
use crate::base::pattern::NamePattern;
use crate::base::retention::Policy;
use crate::base::secret::Passphrase;
use crate::base::setting::{Origin, Shown, Value};
use crate::base::unit::{Age, Since};
use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// All settings. `P` is where a repository lies, `S` what a kind of source makes of its table; both are the registry's.
pub struct Resolved<P, S> {
    /// The configuration file, where there is one.
    pub file: Option<PathBuf>,
    /// The repository.
    pub repository: Repository<P>,
    /// `[copy.NAME]`, and the destination that the command line names, by its address.
    pub copies: BTreeMap<String, Destination<P>>,
    /// `[source.NAME]`.
    pub sources: BTreeMap<String, Source<S>>,
    /// `[system.NAME]`.
    pub systems: BTreeMap<String, System>,
    /// `[job.NAME]`.
    pub jobs: BTreeMap<String, Job>,
    /// How many jobs may run at the same time.
    pub jobs_parallel: u32,
    /// `[alert.NAME]` and `[watch.NAME]`.
    pub alerts: Alerts,
    /// `[serve]`.
    pub serve: Serve,
    /// A full key, where backups have an append key.
    pub maintenance_key_file: Option<PathBuf>,
    /// Name of this host in snapshots, where it is not the machine's.
    pub host: Option<String>,
    /// How days and weeks are reckoned.
    pub calendar: Calendar,
    /// How hard to compress.
    pub compression: Level,
    /// Bound of the read amplification of a delta.
    pub max_read_amplification: f64,
    /// Dumps below this fraction of the usual are suspect.
    pub suspect_below: f64,
    /// Whether backups rely on what any author says of packs.
    pub dedup_all: bool,
    /// Bytes a second that may be sent.
    pub limit_upload: Option<u64>,
    /// Bytes a second that may be received.
    pub limit_download: Option<u64>,
    /// What the pack cache may hold, in bytes; 0 for none.
    pub cache_bytes: u64,
    /// How long a password command may take.
    pub password_command_timeout: Duration,
    /// Directories with PostgreSQL's client programs.
    pub pg_bin_dirs: Vec<PathBuf>,
    /// What `forget` keeps of series without rules of their own.
    pub retention: Option<Policy>,
    /// Databases that no restore touches while they hold something.
    pub protect: Vec<NamePattern>,
    /// What runs around restores.
    pub restore: Hooks,
    /// Words that PostgreSQL's client programs are run behind.
    pub exec: Option<Vec<OsString>>,
    /// Whether a shell takes these apart once more.
    pub exec_shell: bool,
    /// Variables that programs get though they look like secrets.
    pub pass_env: Vec<OsString>,
    /// Every value that holds, with its origin.
    pub shown: Vec<Shown>,
}

impl<P, S> Resolved<P, S> {
    /// Leaves out of `shown` what nobody set of a job: it is the same for all, and a service that holds it for
    /// thousands of jobs holds little else.
    pub fn drop_defaults_of_jobs(&mut self) {
        self.shown.retain(|shown| shown.origin != Origin::Default || !shown.setting.starts_with("job."));
        self.shown.shrink_to_fit();
    }

    /// What `forget` keeps of runs, by system.
    pub fn retention_of_systems(&self) -> BTreeMap<String, Policy> {
        let own =
            self.systems.iter().filter_map(|(name, system)| Some((name.clone(), system.retention.clone()?)));
        own.collect()
    }

    /// What `forget` keeps: of all series, and by series where a source has rules of its own.
    pub fn retention(&self) -> (Option<Policy>, BTreeMap<String, Policy>) {
        let own = self.sources.values().filter_map(|source| {
            let policy = source.retention.clone()?;
            Some((source.series.clone(), policy))
        });
        (self.retention.clone(), own.collect())
    }
}

impl<P, S> std::fmt::Debug for Resolved<P, S> {
    // What may be shown is known of each; commands and passphrases are none of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved")
            .field("file", &self.file)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

/// How a repository is reached and opened.
#[derive(Clone)]
pub struct Repository<P> {
    /// Where it lies, if anything says so.
    pub place: Option<Value<P>>,
    /// What opens it, if anything says so.
    pub key: Option<Value<KeySource>>,
    /// By the name of each kind of storage, what its settings come to for this repository.
    pub storages: StorageOptions,
}

/// What the settings of kinds of storages come to, by name. Only the kinds know the types.
pub type StorageOptions = BTreeMap<&'static str, Arc<dyn Any + Send + Sync>>;

/// Where the key of a repository comes from.
#[derive(Clone)]
pub enum KeySource {
    /// A key file.
    KeyFile(PathBuf),
    /// The passphrase itself.
    Passphrase(Passphrase),
    /// The first line of a file.
    PassphraseFile(PathBuf),
    /// The first line that a shell command prints.
    PassphraseCommand(String),
}

/// `[copy.NAME]`.
#[derive(Clone)]
pub struct Destination<P> {
    /// The repository to copy into.
    pub repository: Repository<P>,
    /// Only these series.
    pub series: Vec<SeriesName>,
    /// Only of this host.
    pub host: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<String>,
    /// Only dumps made since then.
    pub since: Option<Since>,
    /// How hard to compress there.
    pub compression: Option<Level>,
}

/// `[source.NAME]`.
pub struct Source<S> {
    /// What its kind makes of it.
    pub kind: S,
    /// Name of its series.
    pub series: String,
    /// Tags for its snapshots.
    pub tags: Vec<String>,
    /// Time limit of a dump.
    pub timeout: Option<Duration>,
    /// An empty dump is no error.
    pub allow_empty: bool,
    /// How hard to compress, in the place of what holds for all.
    pub compression: Option<Level>,
    /// Dumps below this fraction of the usual are suspect, in the place of what holds for all.
    pub suspect_below: Option<f64>,
    /// What its programs find around them.
    pub programs: Programs,
    /// What `forget` keeps of its series.
    pub retention: Option<Policy>,
    /// Its failure is one of the run over its system.
    pub required: bool,
    /// Sources without which it is not read in such a run.
    pub needs: Vec<String>,
    /// By source of files, the query that names files of it.
    pub references: BTreeMap<String, String>,
    /// How often it is tried again in such a run.
    pub retries: u32,
    /// What runs around its backups.
    pub hooks: Hooks,
}

/// `[system.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Its sources, in the order in which they are read. Each is configured.
    pub sources: Vec<String>,
    /// How many of them are read at the same time.
    pub parallel: u32,
    /// Apply the retention rules afterwards.
    pub forget: bool,
    /// Prune afterwards when the last time is so long ago.
    pub prune: Option<Age>,
    /// Check so much of the packs afterwards.
    pub check: Option<f64>,
    /// Copy to these destinations afterwards. Each is configured.
    pub copy: Vec<String>,
    /// What `forget` keeps of its runs: with a run, what it holds.
    pub retention: Option<Policy>,
}

/// What the programs of a source find around them.
#[derive(Clone, Default)]
pub struct Programs {
    /// Variables.
    pub env: BTreeMap<String, String>,
    /// File with more of them.
    pub env_file: Option<PathBuf>,
    /// Names of variables that may be passed on.
    pub pass_env: Vec<OsString>,
    /// The user.
    pub run_as: Option<String>,
    /// The folder.
    pub workdir: Option<PathBuf>,
}

impl Programs {
    /// The variables of `env_file` and `env`. Later ones replace earlier ones of the same name.
    ///
    /// # Errors
    /// When the file cannot be read or is not to be trusted, or a line of it is no variable.
    pub fn variables(&self, environment: &Environment) -> Result<Vec<(String, String)>, ConfigError> {
        let path: Option<&Path> = self.env_file.as_deref();
        let mut variables = match path {
            Some(path) => env_file::read(&environment.directory.join(path), environment.uid)?,
            None => Vec::new(),
        };
        variables.extend(self.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        Ok(variables)
    }
}

/// Commands for `sh -c` around restores into databases (`[restore]`) or around backups of a source.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Before anything is touched.
    pub before: Option<String>,
    /// After success.
    pub after: Option<String>,
    /// After failure.
    pub after_failure: Option<String>,
}
