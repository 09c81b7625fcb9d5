//! What is to be backed up, by addresses, by names of the configuration, or as somebody describes it.

use super::Programs;
use crate::base::fault::Next;
use crate::base::name::{NameKind, check_name, nearest};
use crate::base::pattern::NamePattern;
use crate::base::run::Run;
use crate::content::codec::Level;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::backup::{BackupRequest, ParentChoice, READ_AMPLIFICATION_MAX, SUSPECT_BELOW};
use crate::settings::{self, ConfigError, SourceConfig};
use crate::source::Source;
use crate::source::command::Program;
use crate::source::postgres::{Cluster, Connection, ConnectionParts, Database, DatabaseChoice, DumpFilter};
use crate::source::process::Invocation;
use crate::source::stdin::StandardInput;
use crate::source::surroundings::Surroundings;
use crate::source::wrapper::Wrapper;
use jiff::Timestamp;
use std::ffi::OsString;
use std::time::Duration;

/// What somebody asks to back up. What is not said is taken from the configuration.
#[derive(Debug, Clone)]
pub struct BackupJob {
    /// The sources.
    pub wanted: Wanted,
    /// Series to store in, in place of the source's own name.
    pub series: Option<String>,
    /// Tags, beside those of the sources.
    pub tags: Vec<String>,
    /// Host that the snapshots belong to.
    pub host: Option<String>,
    /// Moment of the dumps, for imports.
    pub time: Option<Timestamp>,
    /// How hard to compress.
    pub level: Option<Level>,
    /// How long each dump may take.
    pub timeout: Option<Duration>,
    /// An empty dump is no error.
    pub allow_empty: bool,
    /// A dump shorter than this share of what is usual is suspect.
    pub suspect_below: Option<f64>,
    /// What the dumps are compared with.
    pub parent: ParentChoice,
    /// How much more a restore may read than it gives.
    pub read_amplification_max: Option<f64>,
    /// Words that client programs are run behind.
    pub exec: Option<Vec<OsString>>,
}

impl BackupJob {
    /// A backup of `wanted`, all else as configured.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            series: None,
            tags: Vec::new(),
            host: None,
            time: None,
            level: None,
            timeout: None,
            allow_empty: false,
            suspect_below: None,
            parent: ParentChoice::Newest,
            read_amplification_max: None,
            exec: None,
        }
    }
}

/// Which sources.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// This process's standard input.
    StandardInput,
    /// What a program prints: its name, then its arguments.
    Program(Vec<OsString>),
    /// Databases of a PostgreSQL server.
    Postgres {
        /// Its address as a URI, or its parts.
        server: ServerAt,
        /// Which databases: names and patterns.
        databases: Vec<String>,
        /// All of them.
        all: bool,
        /// Not these: names and patterns.
        excluded: Vec<String>,
        /// Roles and tablespaces, too.
        globals: bool,
        /// What of each.
        filter: DumpFilter,
    },
    /// Sources of the configuration, and addresses, for which alone `filter` counts.
    Named {
        /// Names and addresses.
        sources: Vec<String>,
        /// What of each address's database.
        filter: DumpFilter,
    },
}

/// Where a PostgreSQL server is.
#[derive(Debug, Clone)]
pub enum ServerAt {
    /// `postgres://…`
    Address(String),
    /// As the client programs take it apart.
    Parts(ConnectionParts),
}

impl ServerAt {
    fn connection(&self) -> Result<Connection, OpError> {
        Ok(match self {
            Self::Address(uri) => Connection::from_uri(uri)?,
            Self::Parts(parts) => Connection::from_parts(parts.clone())?,
        })
    }
}

/// Snapshots to make, one after another.
pub struct BackupPlan {
    /// One a source.
    pub backups: Vec<PlannedBackup>,
}

/// A snapshot to make.
pub struct PlannedBackup {
    /// As what.
    pub request: BackupRequest,
    /// Of what.
    pub source: Box<dyn Source>,
}

/// Says what a job comes to. Nothing is started, and no server is asked.
///
/// # Errors
/// When something of it makes no sense, or a source that it names is not configured.
pub fn plan_backup(job: &BackupJob, app: &App, run: &Run) -> Result<BackupPlan, OpError> {
    Ok(BackupPlan { backups: Planner::new(job, app, run)?.backups()? })
}

/// Whether a source is named by its address.
pub(super) fn is_address(source: &str) -> bool {
    source.starts_with("postgres://") || source.starts_with("postgresql://")
}

/// Says of a job that it makes no sense.
fn refused(message: impl Into<String>, next: impl Into<Option<Next>>) -> OpError {
    OpError::Job { message: message.into(), next: next.into() }
}

fn wrong(source: &str, reason: &str) -> OpError {
    ConfigError::Value { setting: format!("source.{source}"), reason: reason.to_owned() }.into()
}

struct Planner<'a> {
    job: &'a BackupJob,
    app: &'a App,
    run: &'a Run,
    programs: Programs<'a>,
    defaults: BackupRequest,
}

impl<'a> Planner<'a> {
    fn new(job: &'a BackupJob, app: &'a App, run: &'a Run) -> Result<Self, OpError> {
        let config = &app.config;
        let configured = config.compression.as_deref().map(|text| settings::level(text, "compression"));
        let configured = configured.transpose()?;
        let host = job.host.clone().unwrap_or_else(|| app.host());
        check_name(NameKind::Host, &host)?;
        job.tags.iter().try_for_each(|tag| check_name(NameKind::Tag, tag))?;
        let defaults = BackupRequest {
            series: String::new(),
            host,
            time: job.time,
            tags: job.tags.clone(),
            calendar: config.calendar()?,
            level: job.level.or(configured).unwrap_or(Level::DEFAULT),
            allow_empty: job.allow_empty,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            parent: job.parent.clone(),
            read_amplification_max: read_amplification_max(job, app)?,
            suspect_below: suspect_below(job, app, None)?,
            source: Default::default(),
        };
        Ok(Self { job, app, run, programs: Programs::of(app), defaults })
    }

    fn backups(&self) -> Result<Vec<PlannedBackup>, OpError> {
        let named = || self.job.series.clone().unwrap_or_default();
        match &self.job.wanted {
            Wanted::StandardInput => {
                let source = StandardInput { timeout: self.job.timeout };
                Ok(vec![self.planned(named(), Box::new(source))?])
            }
            Wanted::Program(words) => {
                let source = self.program(words, self.programs.surroundings(), self.job.timeout);
                let source = source.ok_or_else(|| refused("no program to run", None))?;
                Ok(vec![self.planned(named(), source)?])
            }
            Wanted::Postgres { server, databases, all, excluded, globals, filter } => {
                let choice = choice(databases, *all, excluded)?;
                Ok(vec![self.server(server.connection()?, choice, *globals, filter)?])
            }
            Wanted::Named { sources, filter } => self.named(sources, filter),
        }
    }

    fn planned(&self, series: String, source: Box<dyn Source>) -> Result<PlannedBackup, OpError> {
        check_name(NameKind::Series, &series)?;
        let request = BackupRequest { series, source: source.describe(), ..self.defaults.clone() };
        Ok(PlannedBackup { request, source })
    }

    fn program(
        &self,
        words: &[OsString],
        around: Surroundings,
        timeout: Option<Duration>,
    ) -> Option<Box<dyn Source>> {
        let (program, rest) = words.split_first()?;
        let invocation = Invocation::new(program).args(rest).within(&around);
        Some(Box::new(Program { invocation, timeout }))
    }

    /// A server that the job describes.
    fn server(
        &self,
        server: Connection,
        choice: DatabaseChoice,
        globals: bool,
        filter: &DumpFilter,
    ) -> Result<PlannedBackup, OpError> {
        let clients = self.programs.clients(self.programs.wrapper(self.job.exec.as_deref()));
        let (filter, timeout) = (filter.clone(), self.job.timeout);
        if let (Some(database), false) = (choice.single(), globals) {
            let connection = server.with_database(&database);
            let source = Database { connection, clients, filter, timeout };
            return self.planned(self.job.series.clone().unwrap_or(database), Box::new(source));
        }
        let series =
            self.job.series.clone().or_else(|| server.host()).unwrap_or_else(|| "postgres".to_owned());
        let source = Cluster { connection: server, choice, globals, clients, filter, timeout };
        self.planned(series, Box::new(source))
    }

    /// Sources by their names in the configuration, or by address.
    fn named(&self, sources: &[String], filter: &DumpFilter) -> Result<Vec<PlannedBackup>, OpError> {
        let known: Vec<&str> = self.app.config.sources.keys().map(String::as_str).collect();
        if sources.is_empty() {
            let next = match known.as_slice() {
                [] => "name a postgres:// address, or use {command}".to_owned(),
                known => {
                    format!("name one of {}, a postgres:// address, or use {{command}}", known.join(", "))
                }
            };
            return Err(refused("no source given", Next::new(next)));
        }
        let each = sources.iter().map(|source| match self.app.config.sources.get(source) {
            _ if is_address(source) => self.address(source, filter),
            Some(settings) => self.configured(source, settings),
            None => Err(unknown(source, &known)),
        });
        each.collect()
    }

    fn address(&self, uri: &str, filter: &DumpFilter) -> Result<PlannedBackup, OpError> {
        let connection = Connection::from_uri(uri)?;
        let database = connection.database().map(str::to_owned);
        let series = self.job.series.clone().or(database);
        let series = series.or_else(|| self.app.environment.text("PGDATABASE")).ok_or_else(|| {
            let next = "name one, say {pg_all} for all of the server's, or give the series a {name}";
            refused("the address names no database", Next::new(next))
        })?;
        let clients = self.programs.clients(self.programs.wrapper(self.job.exec.as_deref()));
        let source = Database { connection, clients, filter: filter.clone(), timeout: self.job.timeout };
        self.planned(series, Box::new(source))
    }

    fn configured(&self, name: &str, settings: &SourceConfig) -> Result<PlannedBackup, OpError> {
        let place = |key: &str| format!("source.{name}.{key}");
        let around = self.programs.surroundings_of(name, settings, self.run.events.as_ref())?;
        let own = settings.timeout.as_deref().map(|text| settings::duration(text, &place("timeout")));
        let timeout = self.job.timeout.or(own.transpose()?);
        let source = match kind_of(name, settings)? {
            Kind::Command => {
                let words: Vec<OsString> = settings.command.iter().flatten().map(OsString::from).collect();
                let source = self.program(&words, around, timeout);
                source.ok_or_else(|| wrong(name, "`command` names no program"))?
            }
            Kind::Postgres => self.postgres(name, settings, around, timeout)?,
        };
        let series = self.job.series.clone().or_else(|| settings.series.clone());
        let mut planned = self.planned(series.unwrap_or_else(|| name.to_owned()), source)?;
        let request = &mut planned.request;
        request.tags = settings.tags.iter().chain(&self.job.tags).cloned().collect();
        request.allow_empty |= settings.allow_empty;
        request.suspect_below = suspect_below(self.job, self.app, Some(settings))?;
        if let (Some(text), None) = (&settings.compression, self.job.level) {
            request.level = settings::level(text, &place("compression"))?;
        }
        Ok(planned)
    }

    fn postgres(
        &self,
        name: &str,
        settings: &SourceConfig,
        around: Surroundings,
        timeout: Option<Duration>,
    ) -> Result<Box<dyn Source>, OpError> {
        let exec = match (&self.job.exec, &settings.exec) {
            (None, Some(own)) => Wrapper::new(own.split()),
            (words, _) => self.programs.wrapper(words.as_deref()),
        };
        let clients = self.programs.clients(exec.with_shell(settings.exec_shell)).within(around);
        let lock_wait = settings.lock_wait_timeout.as_deref();
        let place = format!("source.{name}.lock_wait_timeout");
        let filter = DumpFilter {
            tables: settings.tables.clone(),
            exclude_tables: settings.exclude_tables.clone(),
            schemas: settings.schemas.clone(),
            exclude_schemas: settings.exclude_schemas.clone(),
            exclude_table_data: settings.exclude_table_data.clone(),
            schema_only: settings.schema_only,
            lock_wait: lock_wait.map(|text| settings::duration(text, &place)).transpose()?,
        };
        let server = match &settings.uri {
            Some(uri) => Connection::from_uri(uri)?,
            None => Connection::from_parts(ConnectionParts {
                database: None,
                host: settings.host.clone(),
                port: settings.port,
                user: settings.user.clone(),
            })?,
        };
        if settings.all_databases || settings.globals || !settings.databases.is_empty() {
            if settings.database.is_some() {
                let reason = "`database` goes with neither `databases`, `all_databases` nor `globals`";
                return Err(wrong(name, reason));
            }
            let choice = choice(&settings.databases, settings.all_databases, &settings.exclude_databases)?;
            let globals = settings.globals;
            return Ok(Box::new(Cluster { connection: server, choice, globals, clients, filter, timeout }));
        }
        let connection = match (&settings.database, server.database()) {
            (Some(database), _) => server.with_database(database),
            (None, Some(_)) => server,
            (None, None) if settings.uri.is_some() => server,
            (None, None) => server.with_database(name),
        };
        Ok(Box::new(Database { connection, clients, filter, timeout }))
    }
}

/// What kind a configured source is of.
enum Kind {
    Command,
    Postgres,
}

fn kind_of(name: &str, settings: &SourceConfig) -> Result<Kind, OpError> {
    match settings.kind.as_deref() {
        Some("command") => Ok(Kind::Command),
        Some("postgres") => Ok(Kind::Postgres),
        None if settings.command.is_some() => Ok(Kind::Command),
        None => Ok(Kind::Postgres),
        Some(_) => Err(wrong(name, "`type` is `postgres` or `command`")),
    }
}

fn unknown(source: &str, known: &[&str]) -> OpError {
    let near = nearest(source, known.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let next = match known {
        [] => format!("no sources are configured; add [source.{source}] or use {{name}} with {{command}}"),
        known => format!("{near}the configuration has: {}", known.join(", ")),
    };
    refused(format!("unknown source `{source}`"), Next::new(next))
}

fn choice(wanted: &[String], all: bool, excluded: &[String]) -> Result<DatabaseChoice, OpError> {
    Ok(DatabaseChoice { all, wanted: patterns(wanted)?, excluded: patterns(excluded)? })
}

/// Names without wildcards mean themselves, dots and all; quotes too, but for those around the whole.
fn patterns(texts: &[String]) -> Result<Vec<NamePattern>, OpError> {
    let is_quoted = |text: &str| text.len() > 2 && text.starts_with('"') && text.ends_with('"');
    let each = texts.iter().map(|text| match text.contains(['*', '?']) || is_quoted(text) {
        true => text.parse().map_err(|error| refused(format!("{error}"), None)),
        false => Ok(NamePattern::exact(text)),
    });
    each.collect()
}

fn read_amplification_max(job: &BackupJob, app: &App) -> Result<f64, OpError> {
    let max = job.read_amplification_max.or(app.config.max_read_amplification);
    let max = max.unwrap_or(READ_AMPLIFICATION_MAX);
    match max.is_finite() && max >= 1.0 {
        true => Ok(max),
        false => Err(refused("--max-read-amplification: a number from 1 on, such as 3", None)),
    }
}

/// How short a dump may be, from the job or else the configuration of the source or of all.
fn suspect_below(job: &BackupJob, app: &App, source: Option<&SourceConfig>) -> Result<f64, OpError> {
    if let Some(share) = job.suspect_below {
        return Ok(share);
    }
    let own = source.and_then(|source| source.suspect_below.as_ref());
    let configured = own.or(app.config.suspect_below.as_ref());
    Ok(configured.map_or(Ok(SUSPECT_BELOW), |text| settings::fraction(&text.to_string(), "suspect_below"))?)
}
