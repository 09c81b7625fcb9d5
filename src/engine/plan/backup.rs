//! What is to be backed up, by addresses, by names of the configuration, or as somebody describes it.

use super::{Programs, refused};
use crate::base::fault::{Next, as_it_is};
use crate::base::level::Level;
use crate::base::name::{NameKind, check_name, nearest};
use crate::base::pattern::NamePattern;
use crate::base::run::Run;
use crate::base::setting::Problem;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::backup::{BackupRequest, ParentChoice};
use crate::settings;
use crate::source::Source;
use crate::source::command::Program;
use crate::source::files::{Files, roots};
use crate::source::kind::{Around, Asked, Settled, SourceKind};
use crate::source::postgres::{Connection, ConnectionParts, DatabaseChoice, Databases, DumpFilter};
use crate::source::process::Invocation;
use crate::source::stdin::StandardInput;
use crate::source::surroundings::Surroundings;
use jiff::Timestamp;
use std::ffi::OsString;
use std::sync::Arc;
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
    /// Files and directories; relative paths begin at the working directory.
    Files(Files),
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
    /// What is not named is the environment's.
    pub fn parts(host: Option<String>, port: Option<u16>, user: Option<String>) -> Self {
        Self::Parts(ConnectionParts { database: None, host, port, user })
    }

    /// The way there.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn connection(&self) -> Result<Connection, OpError> {
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

struct Planner<'a> {
    job: &'a BackupJob,
    app: &'a App,
    run: &'a Run,
    programs: Programs<'a>,
    defaults: BackupRequest,
}

impl<'a> Planner<'a> {
    fn new(job: &'a BackupJob, app: &'a App, run: &'a Run) -> Result<Self, OpError> {
        let settings = &app.settings;
        let host = job.host.clone().unwrap_or_else(|| app.host());
        check_name(NameKind::Host, &host)?;
        job.tags.iter().try_for_each(|tag| check_name(NameKind::Tag, tag))?;
        let defaults = BackupRequest {
            series: String::new(),
            host,
            time: job.time,
            tags: job.tags.clone(),
            calendar: settings.calendar.clone(),
            level: job.level.unwrap_or(settings.compression),
            allow_empty: job.allow_empty,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            parent: job.parent.clone(),
            read_amplification_max: settings.max_read_amplification,
            suspect_below: job.suspect_below.unwrap_or(settings.suspect_below),
            source: Default::default(),
            set: None,
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
            Wanted::Files(files) => Ok(vec![self.planned(named(), self.files(files)?)?]),
            Wanted::Named { sources, filter } => self.named(sources, filter),
        }
    }

    fn planned(&self, series: String, source: Box<dyn Source>) -> Result<PlannedBackup, OpError> {
        check_name(NameKind::Series, &series)?;
        if let Some((own, place)) = source.place().and_then(|place| Some((self.app.overlap(&place)?, place)))
        {
            let next = "keep the repository in another bucket, or below a prefix that is not backed up";
            let message = format!("`{place}` holds the repository `{own}`, which would back up itself");
            return Err(refused(message, Next::new(next)));
        }
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

    fn files(&self, files: &Files) -> Result<Box<dyn Source>, OpError> {
        let paths = roots(&files.paths, &self.app.environment.directory);
        let paths =
            paths.map_err(|error| refused(error.to_string(), Next::new("name a file or a directory")))?;
        Ok(Box::new(Files { paths, timeout: self.job.timeout, ..files.clone() }))
    }

    /// What holds for every source of the job; `programs` for that one.
    fn around(&self, programs: Surroundings, timeout: Option<Duration>) -> Around {
        Around {
            programs,
            timeout,
            exec: self.job.exec.as_deref().map(|words| self.programs.wrapper(Some(words))),
            usual_exec: self.programs.wrapper(None),
            pg_bin_dirs: self.app.settings.pg_bin_dirs.clone(),
        }
    }

    /// A server that the job describes.
    fn server(
        &self,
        server: Connection,
        choice: DatabaseChoice,
        globals: bool,
        filter: &DumpFilter,
    ) -> Result<PlannedBackup, OpError> {
        let single = choice.single().filter(|_| !globals);
        let series = single.clone().or_else(|| server.host()).unwrap_or_else(|| "postgres".to_owned());
        let connection = single.as_ref().map_or(server.clone(), |database| server.with_database(database));
        let choice = single.is_none().then_some(choice);
        let filter = filter.clone();
        let found = Databases { connection, choice, globals, filter, exec: None, exec_shell: false };
        let around = self.around(self.programs.surroundings(), self.job.timeout);
        self.planned(self.job.series.clone().unwrap_or(series), found.source(&around))
    }

    /// Sources by their names in the configuration, or by address.
    fn named(&self, sources: &[String], filter: &DumpFilter) -> Result<Vec<PlannedBackup>, OpError> {
        let known: Vec<&str> = self.app.settings.sources.keys().map(String::as_str).collect();
        let every: Vec<String>;
        let sources = match (sources, known.is_empty()) {
            ([], true) => {
                let next = "name an address (postgres://, redis://), use {command} or {path}, or add [source.NAME] to the configuration";
                return Err(refused("no source given", Next::new(next)));
            }
            ([], false) => {
                every = known.iter().map(|name| (*name).to_owned()).collect();
                &every
            }
            (named, _) => named,
        };
        let each = sources.iter().map(|source| {
            if let Some(kind) = self.kind_of(source) {
                return self.address(kind, source, filter);
            }
            match self.app.settings.sources.get(source) {
                Some(settings) => self.configured(source, settings),
                None => Err(unknown(source, &known)),
            }
        });
        each.collect()
    }

    /// The kind that an address is meant for; `None` where it is none.
    fn kind_of(&self, source: &str) -> Option<&'static dyn SourceKind> {
        let is_its = |kind: &&&dyn SourceKind| kind.schemes().iter().any(|scheme| source.starts_with(scheme));
        self.app.kinds.sources.iter().find(is_its).copied()
    }

    fn address(
        &self,
        kind: &dyn SourceKind,
        address: &str,
        filter: &DumpFilter,
    ) -> Result<PlannedBackup, OpError> {
        let wrong = |problem: Problem| refused(problem.text, problem.next.map(Next::new));
        let variable = |name: &str| self.app.environment.text(name);
        let found = kind.of_address(address, &Asked { filter, variable: &variable }).map_err(wrong)?;
        let series = self.job.series.clone().map_or(found.series, Ok).map_err(wrong)?;
        let around = self.around(self.programs.surroundings(), self.job.timeout);
        self.planned(series, found.source.source(&around))
    }

    fn configured(
        &self,
        name: &str,
        settings: &settings::Source<Arc<dyn Settled>>,
    ) -> Result<PlannedBackup, OpError> {
        let around = self.programs.surroundings_of(name, &settings.programs, self.run.events.as_ref())?;
        let timeout = self.job.timeout.or(settings.timeout);
        let source = settings.kind.source(&self.around(around, timeout));
        let series = self.job.series.clone().unwrap_or_else(|| settings.series.clone());
        let mut planned = self.planned(series, source)?;
        let request = &mut planned.request;
        request.tags = settings.tags.iter().chain(&self.job.tags).cloned().collect();
        request.allow_empty |= settings.allow_empty;
        let suspect_below = self.job.suspect_below.or(settings.suspect_below);
        request.suspect_below = suspect_below.unwrap_or(request.suspect_below);
        request.level = self.job.level.or(settings.compression).unwrap_or(request.level);
        Ok(planned)
    }
}

fn unknown(source: &str, known: &[&str]) -> OpError {
    let near = nearest(source, known.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let next = match known {
        [] => format!(
            "no sources are configured; add [source.{}] or use {{series}} with {{command}}",
            as_it_is(source)
        ),
        known => as_it_is(&format!("{near}the configuration has: {}", known.join(", "))).into_owned(),
    };
    refused(format!("unknown source `{source}`"), Next::new(next))
}

fn choice(wanted: &[String], all: bool, excluded: &[String]) -> Result<DatabaseChoice, OpError> {
    Ok(DatabaseChoice { all, wanted: patterns(wanted)?, excluded: patterns(excluded)? })
}

fn patterns(texts: &[String]) -> Result<Vec<NamePattern>, OpError> {
    let each = texts
        .iter()
        .map(|text| NamePattern::name_or_pattern(text).map_err(|error| refused(error.to_string(), None)));
    each.collect()
}
