//! Settings from a TOML file and the environment. Knows nothing of the command line.
//!
//! Files, the first that is there: `./dumpvault.toml`, `$XDG_CONFIG_HOME/dumpvault/config.toml`, `/etc/dumpvault/config.toml`. The environment
//! comes before the file, the command line before both.

mod env_file;
mod trust;
mod values;

pub use trust::Distrust;
pub use values::{age, bytes, duration, fraction, grace, level, part, since};

use crate::base::calendar::Calendar;
use crate::base::name::{BadName, NameKind, check_name};
use crate::vault::snapshot::retention::{Policy, Representative};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A setting is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What lies beneath.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else may have written the file.
    #[error("configuration `{path}` is not trusted: {}", blame(path, place, reason), path = path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// The file itself, or its folder.
        place: PathBuf,
        /// What is wrong with that.
        reason: Distrust,
    },
    /// The file is not what it should be.
    #[error("configuration `{path}`: {}", indented(source), path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value has not the form that it must have.
    #[error("{setting}: invalid {kind} `{text}`")]
    Form {
        /// The setting.
        setting: String,
        /// What it should be: "fraction", "time".
        kind: &'static str,
        /// As given.
        text: String,
        /// What to write.
        hint: &'static str,
    },
    /// Something new would be called what nothing may be called.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A value makes no sense.
    #[error("{setting}: {reason}")]
    Value {
        /// The setting.
        setting: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What is wrong with a file, in the folder's name if that is what it is.
fn blame(path: &Path, place: &Path, reason: &Distrust) -> String {
    match path == place {
        true => reason.to_string(),
        false => format!("of its folder `{}`: {reason}", place.display()),
    }
}

/// What takes several lines, such as a place in a file, with all but the first moved to the right.
fn indented(text: &impl std::fmt::Display) -> String {
    text.to_string().trim_end().replace('\n', "\n  ")
}

impl ConfigError {
    /// What to do next, where that can be known.
    pub fn hint(&self) -> Option<String> {
        match self {
            // A folder with the sticky bit is meant for everybody.
            Self::Untrusted { reason: Distrust::Mode { mode }, .. } if mode & 0o1000 != 0 => Some(
                "keep it in a folder that only you may write to, or name another file with --config".to_owned(),
            ),
            Self::Untrusted { place, reason: Distrust::Mode { .. }, .. } => Some(format!(
                "run `chmod go-w {}` if you trust what the file says; or name another with --config",
                place.display()
            )),
            Self::Untrusted { reason: Distrust::Owner { .. }, .. } => Some(
                "run dumpvault from another folder, or as that user; or name a file of your own with --config"
                    .to_owned(),
            ),
            Self::Form { hint, .. } => Some((*hint).to_owned()),
            Self::Name(error) => Some(error.hint().to_owned()),
            _ => None,
        }
    }
}

/// The process's surroundings, taken once.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Environment variables.
    pub variables: HashMap<OsString, OsString>,
    /// Working directory.
    pub directory: PathBuf,
    /// The effective user.
    pub uid: u32,
    /// Whether a person sits at the terminal that the process was started from.
    pub is_interactive: bool,
}

impl Environment {
    /// A variable that is set and not empty, as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.path(name).and_then(|value| value.into_os_string().into_string().ok())
    }

    /// A variable that is set and not empty, as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn home(&self) -> PathBuf {
        self.path("HOME").unwrap_or_else(|| self.directory.clone())
    }

    /// Whether the process runs as root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Where catalogs are kept.
    pub fn cache_root(&self) -> PathBuf {
        match self.path("XDG_CACHE_HOME") {
            Some(root) => root.join("dumpvault"),
            None if self.is_root() => PathBuf::from("/var/cache/dumpvault"),
            None => self.home().join(".cache/dumpvault"),
        }
    }

    /// Where it is kept what must not be lost: what this host remembers of repositories.
    pub fn state_root(&self) -> PathBuf {
        match self.path("XDG_STATE_HOME") {
            Some(root) => root.join("dumpvault"),
            None if self.is_root() => PathBuf::from("/var/lib/dumpvault"),
            None => self.home().join(".local/state/dumpvault"),
        }
    }

    /// Whether the process runs in a container, as Docker and Podman tell.
    pub fn in_container(&self) -> bool {
        ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists())
    }

    fn config_files(&self) -> [PathBuf; 3] {
        let user = self.path("XDG_CONFIG_HOME").unwrap_or_else(|| self.home().join(".config"));
        [
            self.directory.join("dumpvault.toml"),
            user.join("dumpvault/config.toml"),
            PathBuf::from("/etc/dumpvault/config.toml"),
        ]
    }
}

/// The configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the repository.
    pub repository: Option<String>,
    /// File that holds the passphrase.
    pub password_file: Option<PathBuf>,
    /// Shell command that prints the passphrase.
    pub password_command: Option<String>,
    /// How long such a command may take, as `30s` or `2m`.
    pub password_command_timeout: Option<String>,
    /// Key file.
    pub key_file: Option<PathBuf>,
    /// Name of this host in snapshots.
    pub host: Option<String>,
    /// IANA name of the zone whose days count.
    pub time_zone: Option<String>,
    /// First day of the week.
    pub week_start: Option<String>,
    /// As `--compression`.
    pub compression: Option<String>,
    /// As `--max-read-amplification`.
    pub max_read_amplification: Option<f64>,
    /// Whose packs backups with an append key rely on.
    pub dedup: Option<DedupReach>,
    /// As `--suspect-below`.
    pub suspect_below: Option<Fraction>,
    /// As `--limit-upload`.
    pub limit_upload: Option<String>,
    /// As `--limit-download`.
    pub limit_download: Option<String>,
    /// As `--cache-size`.
    pub cache_size: Option<String>,
    /// How S3 is reached.
    #[serde(default)]
    pub s3: S3Config,
    /// Directories with PostgreSQL's client programs, searched first.
    #[serde(default)]
    pub pg_bin_dirs: Vec<PathBuf>,
    /// What `forget` keeps of a series whose source does not say otherwise.
    pub retention: Option<RetentionConfig>,
    /// Databases that no restore touches while they hold something: names and patterns.
    #[serde(default)]
    pub protect: Vec<String>,
    /// What runs around restores.
    #[serde(default)]
    pub restore: RestoreConfig,
    /// As `--exec`, for all sources and restores.
    pub exec: Option<Words>,
    /// Whether a shell takes the words behind `exec` apart once more, as `ssh` has it.
    #[serde(default)]
    pub exec_shell: bool,
    /// Names of variables that all programs get though they look like secrets of dumpvault: `AWS_PROFILE`.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// Sources, by name.
    #[serde(default, rename = "source")]
    pub sources: BTreeMap<String, SourceConfig>,
    /// Other repositories that snapshots are copied into, by name.
    #[serde(default, rename = "copy")]
    pub copies: BTreeMap<String, CopyConfig>,
}

/// Whose packs a backup with an append key relies on, and so does not store again what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DedupReach {
    /// Those of full keys and its own.
    Trusted,
    /// Those of every key. A host that was broken into can then spoil later backups of others.
    All,
}

/// `[copy.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyConfig {
    /// Address of the repository to copy into.
    pub repository: String,
    /// File that holds its passphrase.
    pub password_file: Option<PathBuf>,
    /// Shell command that prints its passphrase.
    pub password_command: Option<String>,
    /// Its key file.
    pub key_file: Option<PathBuf>,
    /// How it is reached, in the place of `[s3]`.
    pub s3: Option<S3Config>,
    /// Only these series.
    #[serde(default)]
    pub series: Vec<String>,
    /// Only of this host.
    pub host: Option<String>,
    /// Only with all of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// As `--since`.
    pub since: Option<String>,
    /// As `--compression`.
    pub compression: Option<String>,
}

/// `[s3]`. Keys do not belong here: they come from the environment or the SDK's own files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// As `--s3-endpoint`.
    pub endpoint: Option<String>,
    /// As `--s3-region`.
    pub region: Option<String>,
    /// `host/bucket/key` instead of `bucket.host/key`.
    pub path_style: Option<bool>,
    /// Profile in the SDK's files.
    pub profile: Option<String>,
    /// Storage class of packs, `STANDARD_IA` and the like.
    pub storage_class: Option<String>,
    /// Server-side encryption: `AES256` or `aws:kms`.
    pub encryption: Option<String>,
    /// The key of `aws:kms`.
    pub kms_key: Option<String>,
    /// As `--object-lock`.
    pub object_lock: Option<String>,
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// A request is given up, and made again, when nothing moved for so long.
    pub stall_timeout: Option<String>,
}

/// `[source.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// `postgres` or `command`; may be left out where the other keys tell.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The command and its arguments; no shell.
    pub command: Option<Vec<String>>,
    /// `postgres://…`
    pub uri: Option<String>,
    /// The database's name.
    pub database: Option<String>,
    /// Several databases: names and patterns.
    #[serde(default)]
    pub databases: Vec<String>,
    /// As `--pg-all`.
    #[serde(default)]
    pub all_databases: bool,
    /// As `--pg-exclude-database`.
    #[serde(default)]
    pub exclude_databases: Vec<String>,
    /// As `--globals`.
    #[serde(default)]
    pub globals: bool,
    /// As `--table`.
    #[serde(default)]
    pub tables: Vec<String>,
    /// As `--exclude-table`.
    #[serde(default)]
    pub exclude_tables: Vec<String>,
    /// As `--schema`.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// As `--exclude-schema`.
    #[serde(default)]
    pub exclude_schemas: Vec<String>,
    /// As `--exclude-table-data`.
    #[serde(default)]
    pub exclude_table_data: Vec<String>,
    /// As `--schema-only`.
    #[serde(default)]
    pub schema_only: bool,
    /// As `--lock-wait-timeout`.
    pub lock_wait_timeout: Option<String>,
    /// As `--exec`; as a list where an argument holds a space.
    pub exec: Option<Words>,
    /// Whether a shell takes the words behind `exec` apart once more, as `ssh` has it.
    #[serde(default)]
    pub exec_shell: bool,
    /// Variables for its programs.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// File with more of them, `NAME=value` a line; those of `env` come before it.
    pub env_file: Option<PathBuf>,
    /// Names of variables that its programs get though they look like secrets of dumpvault.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// User of the system that its programs run as.
    pub run_as: Option<String>,
    /// Folder that its programs run in.
    pub workdir: Option<PathBuf>,
    /// PostgreSQL's host or socket directory.
    pub host: Option<String>,
    /// PostgreSQL's port.
    pub port: Option<u16>,
    /// PostgreSQL's user.
    pub user: Option<String>,
    /// Name of the series; the source's own otherwise.
    pub series: Option<String>,
    /// Tags for its snapshots.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Time limit of the dump, as `30m` or `2h`.
    pub timeout: Option<String>,
    /// An empty dump is no error.
    #[serde(default)]
    pub allow_empty: bool,
    /// As `--compression`.
    pub compression: Option<String>,
    /// As `--suspect-below`.
    pub suspect_below: Option<Fraction>,
    /// What `forget` keeps of its series, in the place of `[retention]`.
    pub retention: Option<RetentionConfig>,
}

impl SourceConfig {
    /// The variables of `env_file` and `env`. Later ones replace earlier ones of the same name.
    ///
    /// # Errors
    /// When the file cannot be read or is not to be trusted, or something is no variable.
    pub fn variables(
        &self,
        name: &str,
        environment: &Environment,
    ) -> Result<Vec<(String, String)>, ConfigError> {
        let mut variables = match &self.env_file {
            Some(path) => env_file::read(&environment.directory.join(path), environment.uid)?,
            None => Vec::new(),
        };
        for (variable, value) in &self.env {
            if !env_file::is_name(variable) || value.contains('\0') {
                let setting = format!("source.{name}.env");
                let reason = format!("`{variable}` is not a name of a variable, or its value holds a NUL");
                return Err(ConfigError::Value { setting, reason });
            }
            variables.push((variable.clone(), value.clone()));
        }
        Ok(variables)
    }
}

/// `[restore]`: commands for `sh -c` around restores into databases.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreConfig {
    /// As `--before`.
    pub before: Option<String>,
    /// As `--after`.
    pub after: Option<String>,
    /// As `--after-failure`.
    pub after_failure: Option<String>,
}

/// A fraction of one, as a number or as text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Fraction {
    /// 0.1
    Number(f64),
    /// "10%", "1/30"
    Text(String),
}

impl std::fmt::Display for Fraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Words of a command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// Split at spaces.
    Text(String),
    /// As they are.
    List(Vec<String>),
}

impl Words {
    /// The words, each for itself.
    pub fn split(&self) -> Vec<OsString> {
        match self {
            Self::Text(text) => text.split_whitespace().map(OsString::from).collect(),
            Self::List(words) => words.iter().map(OsString::from).collect(),
        }
    }
}

/// `[retention]` or `[source.NAME.retention]`: as the options of `forget`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// `--keep-last`
    #[serde(default)]
    pub keep_last: u32,
    /// `--keep-hourly`
    #[serde(default)]
    pub keep_hourly: u32,
    /// `--keep-daily`
    #[serde(default)]
    pub keep_daily: u32,
    /// `--keep-weekly`
    #[serde(default)]
    pub keep_weekly: u32,
    /// `--keep-monthly`
    #[serde(default)]
    pub keep_monthly: u32,
    /// `--keep-yearly`
    #[serde(default)]
    pub keep_yearly: u32,
    /// `--keep-within`
    pub keep_within: Option<String>,
    /// `--keep-tag`
    #[serde(default)]
    pub keep_tags: Vec<String>,
    /// `--keep`
    #[serde(default)]
    pub keep: Keep,
}

/// Which snapshot of a day, week and so on is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

impl From<Keep> for Representative {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::First => Self::First,
            Keep::Last => Self::Last,
        }
    }
}

impl RetentionConfig {
    /// The policy that it describes; `setting` names the table in errors.
    ///
    /// # Errors
    /// When a duration is none, or nothing would be kept.
    pub fn policy(&self, setting: &str) -> Result<Policy, ConfigError> {
        let within = self.keep_within.as_deref().map(|text| age(text, &format!("{setting}.keep_within")));
        let policy = Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: within.transpose()?,
            tags: self.keep_tags.iter().cloned().collect(),
            representative: self.keep.into(),
        };
        if policy.is_empty() {
            let reason = "it keeps nothing: say keep_daily = 7 or the like".to_owned();
            return Err(ConfigError::Value { setting: setting.to_owned(), reason });
        }
        Ok(policy)
    }
}

impl Config {
    /// The policies of the file: the one for all, and by series those of sources that have their own.
    ///
    /// # Errors
    /// When one of them makes no sense.
    pub fn retention(&self) -> Result<(Option<Policy>, BTreeMap<String, Policy>), ConfigError> {
        let default = self.retention.as_ref().map(|own| own.policy("retention")).transpose()?;
        let mut by_series = BTreeMap::new();
        for (name, source) in &self.sources {
            if let Some(own) = &source.retention {
                let series = source.series.as_ref().unwrap_or(name).clone();
                by_series.insert(series, own.policy(&format!("source.{name}.retention"))?);
            }
        }
        Ok((default, by_series))
    }

    /// Reads the file given, or the first of the usual ones that is there; the defaults without any.
    ///
    /// # Errors
    /// When a file is there and cannot be read or understood, or somebody else may have written it; or when the file given is not there.
    pub fn load(given: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        if let Some(path) = given {
            let missing =
                || ConfigError::Read { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() };
            let text = trust::read(path, environment.uid)?.ok_or_else(missing)?;
            return Self::parse(path, &text);
        }
        for path in environment.config_files() {
            if let Some(text) = trust::read(&path, environment.uid)? {
                return Self::parse(&path, &text);
            }
        }
        Ok(Self::default())
    }

    /// Parses what the file holds that is called `path` in errors.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let parsed: Result<Self, _> = toml::from_str(text);
        let config = parsed
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        config.check_names()?;
        Ok(config)
    }

    /// Sees that what the file calls series, hosts and tags may be called so.
    fn check_names(&self) -> Result<(), ConfigError> {
        if let Some(host) = &self.host {
            check_name(NameKind::Host, host)?;
        }
        for (name, source) in &self.sources {
            check_name(NameKind::Series, source.series.as_ref().unwrap_or(name))?;
            source.tags.iter().try_for_each(|tag| check_name(NameKind::Tag, tag))?;
        }
        Ok(())
    }

    /// How calendar tags are reckoned: in the zone given, or the system's.
    ///
    /// # Errors
    /// When zone or weekday are unknown.
    pub fn calendar(&self) -> Result<Calendar, ConfigError> {
        let value =
            |setting: &str, reason: String| ConfigError::Value { setting: setting.to_owned(), reason };
        let zone = match &self.time_zone {
            Some(name) => {
                TimeZone::get(name).map_err(|error| value("time_zone", format!("`{name}`: {error}")))?
            }
            None => TimeZone::system(),
        };
        let week_anchor = match self.week_start.as_deref() {
            None => Weekday::Sunday,
            Some(day) => weekday(day).ok_or_else(|| {
                value("week_start", format!("`{day}` is no day of the week: write sunday, monday, …"))
            })?,
        };
        Ok(Calendar { zone, week_anchor })
    }
}

fn weekday(name: &str) -> Option<Weekday> {
    Some(match name.to_ascii_lowercase().as_str() {
        "sunday" => Weekday::Sunday,
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_in_the_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        let environment = Environment {
            variables: HashMap::new(),
            directory: dir.path().into(),
            uid: 1000,
            is_interactive: false,
        };
        for text in
            ["host = 'a/b'", "[source.'--help']", "[source.app]\nseries = 'a:b'", "[source.a]\ntags = ['']"]
        {
            std::fs::write(&path, text).unwrap();
            let error = Config::load(Some(&path), &environment).unwrap_err();
            assert!(matches!(error, ConfigError::Name(_)) && error.hint().is_some(), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_place() {
        let text = "repository = '/b'\n[source.app]\ndatabse = 'app'\n";
        let error = Config::parse(Path::new("x.toml"), text).unwrap_err().to_string();
        assert!(error.contains("databse") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn weekdays_and_zones_parse() {
        let config = Config { week_start: Some("Monday".into()), ..Config::default() };
        assert_eq!(config.calendar().unwrap().week_anchor, Weekday::Monday);
        let config = Config { time_zone: Some("Mars/Olympus".into()), ..Config::default() };
        assert!(config.calendar().is_err());
    }
}
