//! Layers become values: the command line before the environment, the environment before the file, the file before what
//! is so by default.

use super::alerts;
use super::jobs::{self, jobs};
use super::keys::*;
use super::resolved::{
    Destination, Hooks, KeySource, Programs, Repository, Resolved, Source, StorageOptions, System,
};
use super::{Alerts, ConfigError, Environment, serve, trust};
use crate::base::calendar::Calendar;
use crate::base::name::{NameKind, check_name, nearest};
use crate::base::retention::Policy;
use crate::base::secret::Passphrase;
use crate::base::setting::{Book, File, Given, Key, Origin, Problem, Said, Section, Table, Value};
use jiff::tz::TimeZone;
use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// What the command line says of settings.
#[derive(Debug, Clone, Default)]
pub struct Flags(BTreeMap<&'static str, (&'static str, OsString)>);

impl Flags {
    /// The option was given with that word, if it was.
    pub fn say(&mut self, flag: &'static str, word: Option<impl Into<OsString>>) {
        if let Some(word) = word {
            self.say_as(flag, flag, word);
        }
    }

    /// Another option was given that says as much as `flag` does with that word.
    pub fn say_as(&mut self, flag: &'static str, given: &'static str, word: impl Into<OsString>) {
        self.0.insert(flag, (given, word.into()));
    }

    /// What the option says.
    pub fn get(&self, flag: &str) -> Option<&OsString> {
        self.0.get(flag).map(|(_, word)| word)
    }
}

/// Flags before variables.
struct Outside<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
}

impl Said for Outside<'_> {
    fn flag(&self, name: &str) -> Option<(&'static str, OsString)> {
        self.flags.0.get(name).cloned()
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.environment.path(name).map(PathBuf::into_os_string)
    }
}

/// What settings cannot know by themselves: which storages and kinds of sources there are.
pub trait Registry {
    /// Where a repository lies.
    type Place: Clone;
    /// What a kind makes of its table.
    type Source;

    /// Understands the address of a repository.
    ///
    /// # Errors
    /// When it is none.
    fn place(&self, address: &str) -> Result<Self::Place, Problem>;

    /// The kinds of storages that have settings.
    fn storages(&self) -> &[StorageKind];

    /// Takes the keys of one of these kinds out of its table; of a destination without a table of its own there is
    /// none.
    fn storage(
        &self,
        name: &str,
        table: Option<&mut Table<'_>>,
        given: &Given<'_>,
    ) -> Arc<dyn Any + Send + Sync>;

    /// The kinds of sources. The first is what a table is that does not tell.
    fn kinds(&self) -> &[SourceKind];

    /// Takes the keys of one of these kinds out of the table of the source `name`; `None` when something is wrong with
    /// them, which the table was told.
    fn source(&self, kind: &str, name: &str, table: &mut Table<'_>) -> Option<Self::Source>;
}

/// Reads the file that `--config` or DUMPVAULT_CONFIG names, or the first of the usual ones that is there, and brings
/// all layers together.
///
/// # Errors
/// When a file is there and cannot be read, or somebody else may have written it; when the file named is not there; and
/// all settings that are wrong.
pub fn resolve<R: Registry>(
    flags: &Flags,
    environment: &Environment,
    registry: &R,
) -> Result<Resolved<R::Place, R::Source>, ConfigError> {
    resolve_text(file(flags, environment)?, flags, environment, registry)
}

/// As [`resolve`], of a file that was read: its name, and what it says.
///
/// # Errors
/// All settings that are wrong.
pub fn resolve_text<R: Registry>(
    file: Option<(PathBuf, String)>,
    flags: &Flags,
    environment: &Environment,
    registry: &R,
) -> Result<Resolved<R::Place, R::Source>, ConfigError> {
    let file = match file {
        Some((path, text)) => Some(File::parse(path, &text).map_err(ConfigError::Settings)?),
        None => None,
    };
    let path = file.as_ref().map(|file| file.path().clone());
    let outside = Outside { flags, environment };
    let book = Book::new(&outside);
    let layers = Layers { book: &book, environment, flags, registry };
    let mut table = Table::of_file(file, &book);
    let resolved = layers.file(&mut table);
    table.finish(&[]);
    let shown = book.close().map_err(ConfigError::Settings)?;
    // Without an error, everything was there.
    let resolved = resolved.ok_or_else(|| ConfigError::Settings(Vec::new()))?;
    Ok(Resolved { file: path, shown, ..resolved })
}

/// The file, and what it says.
fn file(flags: &Flags, environment: &Environment) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let given = flags.get("--config").map(PathBuf::from).or_else(|| environment.path("DUMPVAULT_CONFIG"));
    if let Some(path) = given {
        return match trust::read(&path, environment.uid)? {
            Some(text) => Ok(Some((path, text))),
            None => Err(ConfigError::Missing { path }),
        };
    }
    for path in environment.config_files() {
        if let Some(text) = trust::read(&path, environment.uid)? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

/// What all tables are read with.
struct Layers<'a, R> {
    book: &'a Book<'a>,
    environment: &'a Environment,
    flags: &'a Flags,
    registry: &'a R,
}

/// The value alone.
fn value<T>(table: &mut Table<'_>, key: &Key<T>) -> Option<T> {
    table.take(key).map(|found| found.value)
}

fn list<T>(table: &mut Table<'_>, key: &Key<Vec<T>>) -> Vec<T> {
    value(table, key).unwrap_or_default()
}

fn words(table: &mut Table<'_>, key: &Key<Vec<String>>) -> Vec<OsString> {
    list(table, key).into_iter().map(OsString::from).collect()
}

impl<R: Registry> Layers<'_, R> {
    fn file(&self, table: &mut Table<'_>) -> Option<Resolved<R::Place, R::Source>> {
        let place = table.take_and(&REPOSITORY, |address| self.place(&address));
        let key = first([
            table.take(&KEY_FILE).map(key_file),
            table.take(&PASSWORD).map(passphrase),
            table.take(&PASSWORD_FILE).map(passphrase_file),
            table.take(&PASSWORD_COMMAND).map(passphrase_command),
        ]);
        let host = value(table, &HOST_NAME);
        let zone = value(table, &TIME_ZONE).unwrap_or_else(TimeZone::system);
        let week_start = value(table, &WEEK_START);
        let compression = value(table, &COMPRESSION);
        let max_read_amplification = value(table, &MAX_READ_AMPLIFICATION);
        let suspect_below = value(table, &SUSPECT_BELOW);
        let dedup_all = value(table, &DEDUP_REACH);
        let limit = |bytes: &u64| *bytes > 0;
        let limit_upload = value(table, &LIMIT_UPLOAD).filter(limit);
        let limit_download = value(table, &LIMIT_DOWNLOAD).filter(limit);
        let cache_bytes = value(table, &CACHE_SIZE);
        let password_command_timeout = value(table, &PASSWORD_COMMAND_TIMEOUT);
        let pg_bin_dirs = list(table, &PG_BIN_DIRS);
        let protect = list(table, &PROTECT);
        let exec = value(table, &EXEC);
        let exec_shell = value(table, &EXEC_SHELL);
        let pass_env = words(table, &PASS_ENV);
        let repository = Repository { place, key, storages: self.storages(table, None) };
        let retention = table.table_there("retention").and_then(policy);
        let restore = hooks(table.table("restore"));
        // Also those of which something is wrong: that is told there.
        let (known, known_copies) = (table.names("source"), table.names("copy"));
        let sources = self.sources(table);
        let copies = self.copies(table, &repository);
        let known_systems = table.names("system");
        let systems = systems(table, (&known, &known_copies));
        let named =
            jobs::Known { systems: &known_systems, sources: &known, copies: &known_copies, zone: &zone };
        let known_jobs = table.names("job");
        let (jobs, common) = jobs(table, &named);
        let alerts = Alerts {
            channels: alerts::channels(table, &known_jobs, &zone),
            group: common.group,
            space_below: common.space_below,
            watched: alerts::watched(table),
        };
        let serve = serve::serve(table);
        Some(Resolved {
            file: None,
            repository,
            copies,
            sources,
            systems,
            jobs,
            jobs_parallel: common.most,
            alerts,
            serve: serve?,
            maintenance_key_file: value(table, &MAINTENANCE_KEY_FILE),
            host,
            calendar: Calendar { zone, week_anchor: week_start? },
            compression: compression?,
            max_read_amplification: max_read_amplification?,
            suspect_below: suspect_below?,
            dedup_all: dedup_all?,
            limit_upload,
            limit_download,
            cache_bytes: cache_bytes?,
            password_command_timeout: password_command_timeout?,
            pg_bin_dirs,
            retention,
            protect,
            restore,
            exec,
            exec_shell: exec_shell?,
            pass_env,
            shown: Vec::new(),
        })
    }

    fn place(&self, address: &str) -> Result<R::Place, Problem> {
        self.registry.place(address)
    }

    /// The tables of kinds of storages; of a destination those in its own, and else what `other` has.
    fn storages(&self, table: &mut Table<'_>, other: Option<&StorageOptions>) -> StorageOptions {
        let variable = |name: &str| self.environment.path(name);
        let option = |name: &str| other.and_then(|_| self.flags.get(name)).cloned();
        let each = self.registry.storages().iter().map(|kind| {
            let theirs = other.and_then(|other| other.get(kind.name)).map(AsRef::as_ref);
            let given = Given { variable: &variable, option: &option, other: theirs };
            let mut own = match other {
                None => Some(table.table(kind.name)),
                Some(_) => table.table_there(kind.name),
            };
            let options = self.registry.storage(kind.name, own.as_mut(), &given);
            if let Some(own) = own {
                own.finish(&[]);
            }
            (kind.name, options)
        });
        each.collect()
    }

    fn sources(&self, table: &mut Table<'_>) -> BTreeMap<String, Source<R::Source>> {
        let tables = table.tables("source");
        tables
            .into_iter()
            .filter_map(|(name, table)| Some((name.clone(), self.source(&name, table)?)))
            .collect()
    }

    fn source(&self, name: &str, mut table: Table<'_>) -> Option<Source<R::Source>> {
        let table_ref = &mut table;
        let kinds = self.registry.kinds();
        let given = table_ref.take(&KIND);
        let kind = kind_of(kinds, given, table_ref);
        let series = value(table_ref, &SOURCE_SERIES);
        if series.is_none()
            && let Err(error) = check_name(NameKind::Series, name)
        {
            table_ref.wrong(None, Problem::new(error.to_string()).next(error.hint()));
        }
        let common = (
            list(table_ref, &SOURCE_TAGS),
            value(table_ref, &SOURCE_TIMEOUT),
            value(table_ref, &ALLOW_EMPTY),
            value(table_ref, &SOURCE_COMPRESSION),
            value(table_ref, &SOURCE_SUSPECT_BELOW),
        );
        let programs = Programs {
            env: value(table_ref, &SOURCE_ENV).unwrap_or_default(),
            env_file: value(table_ref, &ENV_FILE),
            pass_env: words(table_ref, &SOURCE_PASS_ENV),
            run_as: value(table_ref, &RUN_AS),
            workdir: value(table_ref, &WORKDIR),
        };
        let run = (
            value(table_ref, &REQUIRED),
            list(table_ref, &NEEDS),
            value(table_ref, &REFERENCES).unwrap_or_default(),
            value(table_ref, &RETRIES).unwrap_or_default(),
            Hooks {
                before: value(table_ref, &BACKUP_BEFORE),
                after: value(table_ref, &BACKUP_AFTER),
                after_failure: value(table_ref, &BACKUP_AFTER_FAILURE),
            },
        );
        let retention = table_ref.table_there("retention").and_then(policy);
        // What the keys of an unknown kind mean is not known.
        let own = self.registry.source(kind?.name, name, table_ref);
        let others: Vec<&Section> = kinds.iter().map(|kind| kind.section).collect();
        table.finish(&others);
        let (tags, timeout, allow_empty, compression, suspect_below) = common;
        let (required, needs, references, retries, hooks) = run;
        Some(Source {
            kind: own?,
            series: series.unwrap_or_else(|| name.to_owned()),
            tags,
            timeout,
            allow_empty: allow_empty?,
            compression,
            suspect_below,
            programs,
            retention,
            required: required?,
            needs,
            references,
            retries,
            hooks,
        })
    }

    fn copies(
        &self,
        table: &mut Table<'_>,
        from: &Repository<R::Place>,
    ) -> BTreeMap<String, Destination<R::Place>> {
        let tables = table.tables("copy");
        let mut copies: BTreeMap<String, _> = tables
            .into_iter()
            .filter_map(|(name, table)| Some((name, self.destination(table, None, from)?)))
            .collect();
        let to = self.flags.get("--to").map(|to| to.to_string_lossy().into_owned());
        if let Some(to) = to.filter(|to| !copies.contains_key(to)) {
            let address = Value { value: to.clone(), origin: Origin::Flag("--to") };
            let table = Table::empty("copy", self.book);
            copies.extend(self.destination(table, Some(address), from).map(|destination| (to, destination)));
        }
        copies
    }

    /// The place that the command line names.
    fn place_said(&self, table: &Table<'_>, address: Value<String>) -> Option<Value<R::Place>> {
        let Value { value, origin } = address;
        match self.place(&value) {
            Ok(value) => Some(Value { value, origin }),
            Err(problem) => {
                table.wrong(Some((COPY_REPOSITORY.entry.name, &origin)), problem);
                None
            }
        }
    }

    /// What opens a destination is what opens the source, where nothing else is said of it.
    fn destination(
        &self,
        mut table: Table<'_>,
        address: Option<Value<String>>,
        from: &Repository<R::Place>,
    ) -> Option<Destination<R::Place>> {
        let table_ref = &mut table;
        let place = match address {
            Some(address) => self.place_said(table_ref, address),
            None => {
                if !table_ref.has(COPY_REPOSITORY.entry.name) {
                    let next = "name the repository to copy into";
                    table_ref.wrong(None, Problem::new("`repository` is missing").next(next));
                }
                table_ref.take_and(&COPY_REPOSITORY, |address| self.place(&address))
            }
        };
        let key = first([
            table_ref.take(&TO_KEY_FILE).map(key_file),
            table_ref.take(&TO_PASSWORD).map(passphrase),
            table_ref.take(&TO_PASSWORD_FILE).map(passphrase_file),
            table_ref.take(&TO_PASSWORD_COMMAND).map(passphrase_command),
        ]);
        let storages = self.storages(table_ref, Some(&from.storages));
        let destination = Destination {
            repository: Repository { place, key: key.or_else(|| from.key.clone()), storages },
            series: list(table_ref, &COPY_SERIES),
            host: value(table_ref, &COPY_HOST),
            tags: list(table_ref, &COPY_TAGS),
            since: value(table_ref, &COPY_SINCE),
            compression: value(table_ref, &COPY_COMPRESSION),
        };
        table.finish(&[]);
        Some(destination)
    }
}

/// `[system.NAME]`. What it names must be there.
fn systems(table: &mut Table<'_>, known: (&[String], &[String])) -> BTreeMap<String, System> {
    let tables = table.tables("system");
    tables.into_iter().filter_map(|(name, table)| Some((name, system(table, known)?))).collect()
}

fn system(mut table: Table<'_>, (sources, copies): (&[String], &[String])) -> Option<System> {
    let table_ref = &mut table;
    let named = |table: &mut Table<'_>, key: &Key<Vec<String>>, known: &[String], kind: &str| {
        let found = table.take(key)?;
        let unknown = found.value.iter().find(|name| !known.contains(name));
        if let Some(name) = unknown {
            let next = match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add [{kind}.{name}]"),
            };
            let problem = Problem::new(format!("there is no `[{kind}.{name}]`")).next(next);
            table.wrong(Some((key.entry.name, &found.origin)), problem);
        }
        Some(found.value)
    };
    let own = named(table_ref, &SYSTEM_SOURCES, sources, "source").unwrap_or_default();
    if own.is_empty() {
        let next = "name its sources, such as `sources = [\"queue\", \"db\"]`";
        table_ref.wrong(None, Problem::new("a system has sources").next(next));
    }
    let system = System {
        sources: own,
        parallel: value(table_ref, &SYSTEM_PARALLEL)?,
        forget: value(table_ref, &SYSTEM_FORGET)?,
        prune: value(table_ref, &SYSTEM_PRUNE),
        check: value(table_ref, &SYSTEM_CHECK),
        copy: named(table_ref, &SYSTEM_COPY, copies, "copy").unwrap_or_default(),
        retention: table_ref.table_there("retention").and_then(policy),
    };
    table.finish(&[]);
    Some(system)
}

/// The kind that `type` names, or that has the most of the keys which are there.
fn kind_of(kinds: &[SourceKind], given: Option<Value<String>>, table: &Table<'_>) -> Option<SourceKind> {
    let Some(Value { value: name, origin }) = given else {
        // Kinds have some names of keys in common; of an address there is no doubt.
        let is_its = |kind: &&SourceKind| {
            let uri = table.text("uri").unwrap_or_default();
            kind.schemes.iter().any(|scheme| uri.starts_with(scheme))
        };
        if let Some(kind) = kinds.iter().find(is_its) {
            return Some(*kind);
        }
        let own =
            |kind: &SourceKind| kind.section.keys.iter().filter(|key| table.has(key.entry().name)).count();
        // Of several with as many keys the first.
        return kinds.iter().rev().copied().max_by_key(own);
    };
    let found = kinds.iter().copied().find(|kind| kind.name == name);
    if found.is_none() {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        let next = match nearest(&name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of {}", names.join(", ")),
        };
        let problem = Problem::new(format!("unknown kind of source `{name}`")).next(next);
        table.wrong(Some((KIND.entry.name, &origin)), problem);
    }
    found
}

/// What comes first: by layer, and of one layer by order.
fn first<const N: usize>(keys: [Option<Value<KeySource>>; N]) -> Option<Value<KeySource>> {
    keys.into_iter().flatten().min_by_key(|key| key.origin.rank())
}

fn key_file(path: Value<PathBuf>) -> Value<KeySource> {
    path.map(KeySource::KeyFile)
}

fn passphrase(text: Value<Passphrase>) -> Value<KeySource> {
    text.map(KeySource::Passphrase)
}

fn passphrase_file(path: Value<PathBuf>) -> Value<KeySource> {
    path.map(KeySource::PassphraseFile)
}

fn passphrase_command(command: Value<String>) -> Value<KeySource> {
    command.map(KeySource::PassphraseCommand)
}

fn hooks(mut table: Table<'_>) -> Hooks {
    let hooks = Hooks {
        before: value(&mut table, &BEFORE),
        after: value(&mut table, &AFTER),
        after_failure: value(&mut table, &AFTER_FAILURE),
    };
    table.finish(&[]);
    hooks
}

/// A policy that keeps something.
fn policy(mut table: Table<'_>) -> Option<Policy> {
    let table_ref = &mut table;
    let mut count = |key| value(table_ref, key).unwrap_or_default();
    let counts =
        [&KEEP_LAST, &KEEP_HOURLY, &KEEP_DAILY, &KEEP_WEEKLY, &KEEP_MONTHLY, &KEEP_YEARLY].map(&mut count);
    let [last, hourly, daily, weekly, monthly, yearly] = counts;
    let within = value(&mut table, &KEEP_WITHIN);
    let tags = list(&mut table, &KEEP_TAGS).into_iter().collect();
    let representative = value(&mut table, &KEEP_WHICH).unwrap_or_default();
    let policy = Policy { last, hourly, daily, weekly, monthly, yearly, within, tags, representative };
    if policy.is_empty() {
        let problem = Problem::new("no rule keeps anything").next("add one, such as `keep_daily = 7`");
        table.wrong(None, problem);
    }
    table.finish(&[]);
    Some(policy)
}
