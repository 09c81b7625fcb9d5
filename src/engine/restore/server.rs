//! A whole server: roles, tablespaces and every database of a snapshot. Nothing that holds something is replaced.
//!
//! A database that an earlier run made whole is told by what it holds: its tables are those of the dump, with as many
//! rows. One that a run did not finish bears that run's comment, and is made anew. So the same command goes on where it
//! was stopped.

use super::{Chosen, Findings, Jobs, Target};
use crate::base::event::Event;
use crate::base::fault::{Class, Fault, Next};
use crate::base::pattern::NamePattern;
use crate::base::run::Run;
use crate::content::pg::{DumpForm, Selection};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::{Programs, ServerAt};
use crate::engine::tables::table_map;
use crate::source::postgres::{
    Globals, GlobalsPlan, GlobalsTarget, Leftover, RestoreTarget, ServerInfo, TargetState,
};
use crate::source::process::Limits;
use crate::vault::snapshot::{Stream, StreamFormat};
use std::ffi::OsString;
use std::time::Duration;

/// What somebody asks to restore.
#[derive(Debug, Clone)]
pub struct ServerJob {
    /// The server.
    pub server: ServerAt,
    /// Words that client programs are run behind.
    pub exec: Option<Vec<OsString>>,
    /// Databases that stay out of it.
    pub excluded: Vec<NamePattern>,
    /// Roles and tablespaces, too.
    pub globals: bool,
    /// What of a database is left behind: owners, grants, tablespaces.
    pub without: Without,
    /// Workers for each database; `None` for one stream each.
    pub workers: Option<usize>,
    /// Rows are counted afterwards.
    pub count: bool,
    /// How long each restore may take.
    pub timeout: Option<Duration>,
}

/// What of a database is not restored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Without {
    /// Owners.
    pub owner: bool,
    /// Grants.
    pub privileges: bool,
    /// Tablespaces.
    pub tablespaces: bool,
}

/// How a database stands before the restore, and so what is done.
#[derive(Debug, Clone)]
pub enum Standing {
    /// It is not there, and is made.
    Missing,
    /// A run before this one did not finish it: it is made anew.
    Unfinished(Leftover),
    /// It is there and empty, and is filled.
    Empty,
    /// It is there and holds what the dump does: it stays as it is.
    Back {
        /// Its tables.
        tables: u64,
    },
    /// It holds something else, and nothing is restored.
    InTheWay {
        /// Its tables.
        tables: u64,
        /// What differs, in words.
        differs: String,
    },
}

/// A database of the snapshot.
pub struct PlannedDatabase {
    /// Its name.
    pub name: String,
    /// Its dump.
    pub stream: Stream,
    /// How it stands.
    pub standing: Standing,
    target: RestoreTarget,
}

/// What is restored into a server.
pub struct ServerPlan {
    /// The snapshot.
    pub chosen: Chosen,
    /// What the server says of itself.
    pub server: ServerInfo,
    /// Roles and tablespaces; `None` where the snapshot holds none, or nobody wants them.
    pub globals: Option<GlobalsPlan>,
    /// In the order of the snapshot.
    pub databases: Vec<PlannedDatabase>,
    /// Streams that are no dumps of databases.
    pub skipped: Vec<String>,
    script: Option<(Globals, GlobalsTarget)>,
    job: ServerJob,
}

impl ServerPlan {
    /// Databases that hold something else than the snapshot does.
    pub fn in_the_way(&self) -> Vec<&PlannedDatabase> {
        let is = |one: &&PlannedDatabase| matches!(one.standing, Standing::InTheWay { .. });
        self.databases.iter().filter(is).collect()
    }

    /// Whether there is anything to do.
    pub fn is_done(&self) -> bool {
        let globals = self.globals.iter();
        globals.into_iter().all(|plan| plan.roles.is_empty() && plan.tablespaces.is_empty())
            && self.databases.iter().all(|one| matches!(one.standing, Standing::Back { .. }))
    }
}

/// What became of a database.
pub struct DatabaseOutcome {
    /// Its name.
    pub name: String,
    /// What was done, or why it failed.
    pub result: Result<Restored, OpError>,
}

/// What was done.
pub enum Restored {
    /// Nothing: it was back already.
    WasBack {
        /// Its tables.
        tables: u64,
    },
    /// It was restored.
    Whole {
        /// Plain bytes of its dump.
        bytes: u64,
        /// How long it took.
        duration_ms: u64,
        /// What was counted.
        findings: Option<Findings>,
    },
}

impl DatabaseOutcome {
    /// What it comes to; `None` when it is there, all of it.
    pub fn class(&self) -> Option<Class> {
        match &self.result {
            Ok(Restored::Whole { findings: Some(findings), .. }) if !findings.is_good() => {
                Some(Class::Integrity)
            }
            Ok(_) => None,
            Err(error) => Some(error.class()),
        }
    }
}

/// What became of a server.
#[derive(Default)]
pub struct ServerReport {
    /// Roles and tablespaces that were made.
    pub made: GlobalsPlan,
    /// Tablespaces that could not be made, and why.
    pub lost: Vec<(String, String)>,
    /// In the order of the plan. Those after an interruption are missing.
    pub databases: Vec<DatabaseOutcome>,
    /// Somebody asked to stop.
    pub is_interrupted: bool,
}

impl ServerReport {
    /// What it comes to; `None` when the server is back, all of it.
    pub fn class(&self) -> Option<Class> {
        let classes: Vec<Class> = self.databases.iter().filter_map(DatabaseOutcome::class).collect();
        let all_failed = classes.len() == self.databases.len();
        match classes.first() {
            _ if self.is_interrupted => Some(Class::Interrupted),
            _ if classes.contains(&Class::Integrity) => Some(Class::Integrity),
            Some(first) if all_failed => Some(*first),
            Some(_) => Some(Class::Partial),
            None => (!self.lost.is_empty()).then_some(Class::Partial),
        }
    }
}

/// Looks at the server and says what a restore would do. Changes nothing.
///
/// # Errors
/// When the snapshot holds no databases, or the server cannot be asked.
pub fn plan_server(job: ServerJob, chosen: Chosen, app: &App, run: &Run) -> Result<ServerPlan, OpError> {
    let connection = job.server.connection()?;
    let programs = Programs::of(app);
    let clients = programs.clients(programs.wrapper(job.exec.as_deref()));
    let limits = Limits::new(run.cancel.clone()).with_timeout(job.timeout);
    let is_wanted = |name: &str| !job.excluded.iter().any(|pattern| pattern.matches(name));
    let (archives, others): (Vec<&Stream>, Vec<&Stream>) =
        chosen.body.streams.iter().partition(|stream| stream.format == StreamFormat::PgCustom);
    let (scripts, others): (Vec<&Stream>, Vec<&Stream>) =
        others.into_iter().partition(|stream| is_cluster_script(stream));
    let dumps: Vec<Stream> =
        archives.into_iter().filter(|stream| is_wanted(database_of(stream))).cloned().collect();
    if dumps.is_empty() {
        let message = format!("snapshot {} holds no dumps of databases", chosen.summary.id.short());
        let next = Next::new("back up a server with {pg_all} {pg_globals}, or `all_databases = true`");
        return Err(OpError::Job { message, next: Some(next) });
    }
    let (_, asked) = clients.databases(&connection, &run.cancel)?;
    let server = clients.server(&asked, &run.cancel)?;
    let mut script = None;
    let mut globals = None;
    if let Some(stream) = scripts.first().filter(|_| job.globals) {
        let target = GlobalsTarget {
            connection: connection.clone(),
            clients: clients.clone(),
            limits: Limits::new(run.cancel.clone()),
        };
        let mut text = Vec::new();
        chosen.restore(stream, Target::Writer(&mut text), run.events.as_ref(), &run.cancel)?;
        let parsed = Globals::parse(&text);
        globals = Some(target.look(&parsed)?);
        script = Some((parsed, target));
    }
    let base = RestoreTarget {
        create: true,
        no_owner: job.without.owner,
        no_privileges: job.without.privileges,
        no_tablespaces: job.without.tablespaces,
        clients,
        maker: Some(app.maker(run.clock.as_ref())),
        ..RestoreTarget::new(connection, "", limits)
    };
    let leftovers = base.leftovers()?;
    let skipped = others.iter().map(|stream| stream.name.clone()).collect();
    let mut databases = Vec::new();
    for stream in dumps {
        let name = database_of(&stream).to_owned();
        let target = RestoreTarget { database: name.clone(), ..base.clone() };
        let leftover = leftovers.iter().find(|leftover| leftover.database == name && !leftover.is_whole);
        let standing = match leftover {
            Some(leftover) => Standing::Unfinished(leftover.clone()),
            None => standing(&chosen, &stream, &target, run)?,
        };
        databases.push(PlannedDatabase { name, stream, standing, target });
    }
    Ok(ServerPlan { chosen, server, globals, databases, skipped, script, job })
}

/// Roles of a server: not for trying out beside those that are there.
pub fn is_cluster_script(stream: &Stream) -> bool {
    matches!(table_map(stream), Ok(Some(map)) if map.form == DumpForm::ClusterScript)
}

/// The database that a stream is a dump of.
fn database_of(stream: &Stream) -> &str {
    stream.attributes.get("database").unwrap_or(&stream.name)
}

fn standing(
    chosen: &Chosen,
    stream: &Stream,
    target: &RestoreTarget,
    run: &Run,
) -> Result<Standing, OpError> {
    let state = target.inspect()?;
    let TargetState { exists, tables, .. } = state;
    if !exists {
        return Ok(Standing::Missing);
    }
    let archive = chosen.archive(stream, run.events.as_ref(), &run.cancel)?;
    let (has_content, in_dump) = {
        let toc = archive.toc();
        let is_table = |desc: &[u8]| matches!(desc, b"TABLE" | b"FOREIGN TABLE" | b"MATERIALIZED VIEW");
        let in_dump = toc.entries().iter().filter(|entry| is_table(entry.desc())).count() as u64;
        let is_frame = |desc: &[u8]| {
            matches!(desc, b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" | b"DATABASE" | b"DATABASE PROPERTIES")
        };
        let is_of_database = |tag: &[u8]| tag.starts_with(b"DATABASE ");
        let has_content = toc.entries().iter().any(|entry| {
            !(is_frame(entry.desc())
                || matches!(entry.desc(), b"COMMENT" | b"ACL" | b"SECURITY LABEL")
                    && is_of_database(entry.tag()))
        });
        (has_content, in_dump)
    };
    if state.is_empty() {
        return Ok(if has_content { Standing::Empty } else { Standing::Back { tables } });
    }
    if tables != in_dump {
        let differs = format!("{in_dump} in the dump");
        return Ok(Standing::InTheWay { tables, differs });
    }
    run.events.observe(Event::Step { what: format!("counting rows of `{}`", target.database) });
    let expected = chosen.expected(stream, run.events.as_ref(), &run.cancel)?;
    let findings = expected.map(|expected| expected.compare(target, 1)).transpose()?.unwrap_or_default();
    if findings.is_good() {
        return Ok(Standing::Back { tables });
    }
    let differs = match findings.wrong().next() {
        Some(table) => table.to_string(),
        None => "large objects are missing".to_owned(),
    };
    Ok(Standing::InTheWay { tables, differs })
}

/// Carries out a plan: roles and tablespaces, then database after database. One that fails does not stop the others.
///
/// # Errors
/// When the roles cannot be made: no database was touched then.
pub fn run_server(
    plan: ServerPlan,
    app: &App,
    run: &Run,
    each: &mut dyn FnMut(&DatabaseOutcome),
) -> Result<ServerReport, OpError> {
    let ServerPlan { chosen, globals, databases, script, job, .. } = plan;
    let mut report = ServerReport::default();
    if let (Some(globals), Some((script, target))) = (globals, script) {
        let failed = |source| OpError::Source { what: "roles".to_owned(), source };
        target.make_roles(&script, &globals).map_err(failed)?;
        report.lost = target.make_tablespaces(&script, &globals)?;
        for (name, reason) in &report.lost {
            let message = format!(
                "tablespace `{name}` cannot be made: {reason}; databases are restored without tablespaces"
            );
            run.events.observe(Event::Warning { message });
        }
        report.made = globals;
        let lost = &report.lost;
        report.made.tablespaces.retain(|name| !lost.iter().any(|(other, _)| other == name));
    }
    let no_tablespaces = job.without.tablespaces || !report.lost.is_empty();
    for planned in databases {
        let began = run.clock.now();
        let PlannedDatabase { name, stream, standing, target } = planned;
        let target = RestoreTarget { no_tablespaces, ..target };
        let result = match standing {
            Standing::Back { tables } => Ok(Restored::WasBack { tables }),
            standing => bring_back(&chosen, &stream, (&target, standing), &job, app, run).map(|findings| {
                let duration_ms = run.clock.now().duration_since(began).as_millis().max(0) as u64;
                Restored::Whole { bytes: stream.bytes, duration_ms, findings }
            }),
        };
        report.is_interrupted =
            run.cancel.is_cancelled() || matches!(&result, Err(error) if error.is_cancelled());
        let outcome = DatabaseOutcome { name, result };
        each(&outcome);
        report.databases.push(outcome);
        if report.is_interrupted {
            break;
        }
    }
    Ok(report)
}

fn bring_back(
    chosen: &Chosen,
    stream: &Stream,
    (target, standing): (&RestoreTarget, Standing),
    job: &ServerJob,
    app: &App,
    run: &Run,
) -> Result<Option<Findings>, OpError> {
    if let Standing::Unfinished(leftover) = &standing {
        target.drop_leftover(leftover)?;
    }
    let observer = run.events.as_ref();
    let expected = match job.count {
        true => chosen.expected(stream, observer, &run.cancel)?,
        false => None,
    };
    match job.workers {
        None => {
            chosen.restore(stream, Target::Database(Box::new(target.clone())), observer, &run.cancel)?;
        }
        Some(workers) => {
            let archive = chosen.archive(stream, observer, &run.cancel)?;
            let part = archive.select(&Selection::default())?;
            let scratch = app.environment.temporary();
            let jobs = Jobs { workers, scratch: &scratch, observer, cancel: &run.cancel };
            chosen.restore_jobs(stream, &archive, &part.entries, target, &jobs)?;
        }
    }
    expected.map(|expected| expected.compare(target, job.workers.unwrap_or(1))).transpose()
}
