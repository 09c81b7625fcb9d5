//! `dumpvault backup`.

use super::args::{BackupArgs, ServerArgs};
use super::report::{CliError, Exit, op_exit};
use super::{Context, render};
use crate::codec::Level;
use crate::config::{self, SourceConfig};
use crate::event::Cancel;
use crate::ops::OpError;
use crate::ops::backup::{
    BackupReport, BackupRequest, ParentChoice, PlannedStream, READ_AMPLIFICATION_MAX, SUSPECT_BELOW,
    StartedDump, backup,
};
use crate::ops::survey::{Seen, sizes};
use crate::source::command::CommandSource;
use crate::source::postgres::{Clients, Connection, ConnectionParts, PostgresSource};
use crate::source::process::{Invocation, Limits};
use crate::source::{SourceError, stdin};
use serde_json::json;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

/// Temporary files of killed runs are removed once they are this old.
pub(super) const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// One source to back up as one snapshot.
struct Job {
    series: String,
    origin: Origin,
    tags: Vec<String>,
    level: Level,
    allow_empty: bool,
    suspect_below: f64,
    timeout: Option<Duration>,
}

enum Origin {
    Stdin,
    Command(Invocation),
    Postgres(Connection),
}

pub(super) fn run(context: &Context, args: &BackupArgs) -> Result<Exit, CliError> {
    // Everything that can be wrong with the arguments is told before anything is touched.
    let jobs = jobs(context, args)?;
    let time = args.time.as_deref().map(parse_time).transpose()?;
    let calendar = context.app.config.calendar()?;
    let parent = match &args.parent {
        _ if args.no_parent => ParentChoice::None,
        Some(name) => ParentChoice::Named(name.clone()),
        None => ParentChoice::Newest,
    };
    let read_amplification_max = read_amplification_max(context, args)?;
    let repo = context.repository()?;
    sweep(context);
    let host = args.host.clone().unwrap_or_else(|| context.app.host());
    let mut outcomes = Vec::new();
    for job in jobs {
        let request = BackupRequest {
            series: job.series.clone(),
            host: host.clone(),
            time,
            tags: job.tags.clone(),
            calendar: calendar.clone(),
            level: job.level,
            allow_empty: job.allow_empty,
            workers: context.cores(),
            parent: parent.clone(),
            read_amplification_max,
            suspect_below: job.suspect_below,
            source: describe(&job.origin),
        };
        let series = job.series.clone();
        let stream = plan(context, job);
        let outcome =
            backup(&repo, &context.clock, request, vec![stream], &context.progress, &context.cancel);
        if outcome.as_ref().is_err_and(OpError::is_cancelled) || context.cancel.is_cancelled() {
            return outcome.map(|_| Exit::Interrupted).map_err(CliError::from);
        }
        if let Ok(report) = &outcome {
            context.say(&summary_line(report));
        }
        outcomes.push((series, outcome));
    }
    conclude(context, outcomes)
}

fn read_amplification_max(context: &Context, args: &BackupArgs) -> Result<f64, CliError> {
    let configured = context.app.config.max_read_amplification;
    let max = args.max_read_amplification.or(configured).unwrap_or(READ_AMPLIFICATION_MAX);
    if max.is_finite() && max >= 1.0 {
        return Ok(max);
    }
    Err(CliError::usage("--max-read-amplification: a number from 1 on, such as 3"))
}

/// How short a dump may be, from the command line or else the configuration of the source or of all.
fn suspect_below(
    context: &Context,
    args: &BackupArgs,
    source: Option<&SourceConfig>,
) -> Result<f64, CliError> {
    let configured = source.and_then(|source| source.suspect_below).or(context.app.config.suspect_below);
    let share = args.suspect_below.or(configured).unwrap_or(SUSPECT_BELOW);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(CliError::usage("--suspect-below: a share from 0 to 1, such as 0.5"))
}

/// The exit code over all sources. A single source's error goes up as it is.
fn conclude(
    context: &Context,
    mut outcomes: Vec<(String, Result<BackupReport, OpError>)>,
) -> Result<Exit, CliError> {
    if let [(_, outcome)] = outcomes.as_mut_slice()
        && outcome.is_err()
        && let Some((_, Err(error))) = outcomes.pop()
    {
        return Err(error.into());
    }
    if context.json {
        let results: Vec<_> = outcomes.iter().map(|(series, outcome)| result_json(series, outcome)).collect();
        let requests = context.app.requests().map(|requests| render::requests_json(&requests));
        context.output(&json!({"version": 1, "results": results, "requests": requests}).to_string());
    }
    let mut exit = Exit::Good;
    let stored = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    for (series, outcome) in &outcomes {
        match outcome {
            Ok(report) if report.is_clean() => {}
            Ok(_) => exit = Exit::Partial,
            Err(error) => {
                let failed = CliError::Failed { message: format!("{series}: {error}") };
                super::report::report(&failed, false, false);
                exit = if stored == 0 { op_exit(error) } else { Exit::Partial };
            }
        }
    }
    Ok(exit)
}

fn jobs(context: &Context, args: &BackupArgs) -> Result<Vec<Job>, CliError> {
    let config = &context.app.config;
    let level = args.compression.as_deref().map(|text| config::level(text, "--compression")).transpose()?;
    let default_level =
        config.compression.as_deref().map(|text| config::level(text, "compression")).transpose()?;
    let default_share = suspect_below(context, args, None)?;
    let timeout = args.timeout.as_deref().map(|text| config::duration(text, "--timeout")).transpose()?;
    let job = |series: String, origin: Origin| Job {
        series,
        origin,
        tags: args.tag.clone(),
        level: level.or(default_level).unwrap_or(Level::DEFAULT),
        allow_empty: args.allow_empty,
        suspect_below: default_share,
        timeout,
    };
    let named = || args.name.clone().unwrap_or_default();
    if !args.program.is_empty() && !args.command {
        return Err(CliError::usage("a program behind `--` goes with --command"));
    }
    let jobs = if args.stdin {
        vec![job(named(), Origin::Stdin)]
    } else if args.command {
        let (program, rest) = args.program.split_first().ok_or_else(|| {
            CliError::usage("--command needs a program behind `--`: --command -- pg_dump -Fc -Z0 app")
        })?;
        vec![job(named(), Origin::Command(Invocation::new(program).args(rest)))]
    } else if let Some(database) = &args.pg_database {
        let connection = connection(Some(database.clone()), &args.server)?;
        vec![job(args.name.clone().unwrap_or_else(|| database.clone()), Origin::Postgres(connection))]
    } else {
        configured_jobs(context, args, job)?
    };
    for job in &jobs {
        check_name(&job.series)?;
    }
    Ok(jobs)
}

fn configured_jobs(
    context: &Context,
    args: &BackupArgs,
    job: impl Fn(String, Origin) -> Job,
) -> Result<Vec<Job>, CliError> {
    if args.sources.is_empty() {
        return Err(CliError::Usage {
            message: "nothing to back up was named".to_owned(),
            hint: Some("name a source: see the examples of `dumpvault backup --help`".to_owned()),
        });
    }
    if args.name.is_some() && args.sources.len() > 1 {
        return Err(CliError::usage("--name goes with one source only"));
    }
    let mut jobs = Vec::new();
    for source in &args.sources {
        if source.starts_with("postgres://") || source.starts_with("postgresql://") {
            let connection = Connection::from_uri(source).map_err(OpError::from)?;
            let database = connection.database().map(str::to_owned);
            let series =
                args.name.clone().or(database).or_else(|| context.app.environment.text("PGDATABASE"));
            let series =
                series.ok_or_else(|| CliError::usage("the address names no database: give --name, too"))?;
            jobs.push(job(series, Origin::Postgres(connection)));
            continue;
        }
        let settings = context.app.config.sources.get(source).ok_or_else(|| {
            let known: Vec<&str> = context.app.config.sources.keys().map(String::as_str).collect();
            CliError::Usage {
                message: format!("there is no source `{source}` in the configuration"),
                hint: Some(if known.is_empty() {
                    "the configuration has no [source.NAME] at all".to_owned()
                } else {
                    format!("it has: {}", known.join(", "))
                }),
            }
        })?;
        let series = args.name.clone().or_else(|| settings.series.clone()).unwrap_or_else(|| source.clone());
        let mut own = job(series, configured_origin(source, settings)?);
        own.tags = settings.tags.iter().chain(&args.tag).cloned().collect();
        own.allow_empty |= settings.allow_empty;
        own.suspect_below = suspect_below(context, args, Some(settings))?;
        let place = |key: &str| format!("source.{source}.{key}");
        if let (Some(text), None) = (&settings.timeout, own.timeout) {
            own.timeout = Some(config::duration(text, &place("timeout"))?);
        }
        if let (Some(text), None) = (&settings.compression, &args.compression) {
            own.level = config::level(text, &place("compression"))?;
        }
        jobs.push(own);
    }
    Ok(jobs)
}

fn configured_origin(name: &str, settings: &SourceConfig) -> Result<Origin, CliError> {
    let wrong = |reason: &str| CliError::usage(format!("source.{name}: {reason}"));
    let is_command = match settings.kind.as_deref() {
        Some("command") => true,
        Some("postgres") => false,
        None => settings.command.is_some(),
        Some(_) => return Err(wrong("`type` is `postgres` or `command`")),
    };
    if is_command {
        let (program, rest) = settings
            .command
            .as_deref()
            .unwrap_or_default()
            .split_first()
            .ok_or_else(|| wrong("`command` names no program"))?;
        return Ok(Origin::Command(Invocation::new(program).args(rest)));
    }
    if let Some(uri) = &settings.uri {
        return Ok(Origin::Postgres(Connection::from_uri(uri).map_err(OpError::from)?));
    }
    let server =
        ServerArgs { pg_host: settings.host.clone(), pg_port: settings.port, pg_user: settings.user.clone() };
    let database = settings.database.clone().unwrap_or_else(|| name.to_owned());
    Ok(Origin::Postgres(connection(Some(database), &server)?))
}

pub(super) fn connection(database: Option<String>, server: &ServerArgs) -> Result<Connection, CliError> {
    let parts = ConnectionParts {
        database,
        host: server.pg_host.clone(),
        port: server.pg_port,
        user: server.pg_user.clone(),
    };
    Ok(Connection::from_parts(parts).map_err(OpError::from)?)
}

/// Where PostgreSQL's client programs are looked for.
pub(super) fn clients(context: &Context) -> Clients {
    Clients::installed().with_directories(context.app.config.pg_bin_dirs.clone())
}

fn plan<'a>(context: &'a Context, job: Job) -> PlannedStream<'a> {
    let limits = Limits::new(context.cancel.clone()).with_timeout(job.timeout);
    let cancel = context.cancel.clone();
    let name = match &job.origin {
        Origin::Postgres(connection) => connection.database().unwrap_or(&job.series).to_owned(),
        _ => job.series.clone(),
    };
    let start: Box<dyn FnOnce() -> Result<StartedDump, SourceError> + 'a> = match job.origin {
        Origin::Stdin => Box::new(move || start_stdin(cancel)),
        Origin::Command(invocation) => Box::new(move || {
            let dump = CommandSource::new(invocation, limits).open()?;
            Ok(StartedDump { dump, attributes: BTreeMap::new() })
        }),
        Origin::Postgres(connection) => {
            let clients = clients(context);
            Box::new(move || start_postgres(connection, limits, clients))
        }
    };
    PlannedStream { name, start }
}

fn start_stdin(cancel: Cancel) -> Result<StartedDump, SourceError> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| SourceError::Io {
        program: "standard input".to_owned(),
        operation: "read from",
        source,
    })?;
    Ok(StartedDump { dump: stdin::open_fd(fd, cancel), attributes: BTreeMap::new() })
}

fn start_postgres(
    connection: Connection,
    limits: Limits,
    clients: Clients,
) -> Result<StartedDump, SourceError> {
    let started = PostgresSource { clients, ..PostgresSource::new(connection, limits) }.open()?;
    let attributes = BTreeMap::from([
        ("server_version".to_owned(), started.server.version_text.clone()),
        ("database".to_owned(), started.server.database.clone()),
        ("client".to_owned(), format!("pg_dump {}", started.client.version)),
    ]);
    Ok(StartedDump { dump: started.dump, attributes })
}

/// What the snapshot says of its source. Arguments may hold secrets and stay out.
fn describe(origin: &Origin) -> BTreeMap<String, String> {
    let pair = |key: &str, value: String| (key.to_owned(), value);
    match origin {
        Origin::Stdin => BTreeMap::from([pair("kind", "stdin".to_owned())]),
        Origin::Command(invocation) => {
            BTreeMap::from([pair("kind", "command".to_owned()), pair("program", invocation.program())])
        }
        Origin::Postgres(connection) => {
            BTreeMap::from([pair("kind", "postgres".to_owned()), pair("address", connection.display())])
        }
    }
}

fn check_name(name: &str) -> Result<(), CliError> {
    let odd = |c: char| c.is_control() || c == '@' || c == '~' || c == '/';
    if name.is_empty() || name.len() > 200 || name.chars().any(odd) || name == "latest" {
        return Err(CliError::usage(format!(
            "`{name}` cannot name a series: 1 to 200 characters without `@`, `~`, `/`, and not `latest`"
        )));
    }
    Ok(())
}

fn parse_time(text: &str) -> Result<jiff::Timestamp, CliError> {
    text.parse().map_err(|error| CliError::Usage {
        message: format!("--time: `{text}` is no moment: {error}"),
        hint: Some("write it as 2026-11-01T03:00:00Z or 2026-11-01T03:00:00+01:00".to_owned()),
    })
}

/// Removes temporary files that killed runs left in the repository's directory.
fn sweep(context: &Context) {
    if let Err(error) = context.app.remove_leftovers(LEFTOVER_AGE) {
        tracing::info!("old temporary files were not removed: {error}");
    }
}

fn summary_line(report: &BackupReport) -> String {
    let committed = &report.committed;
    let head = &committed.summary.head;
    let (plain, stored) = sizes(&committed.body);
    let stats = committed.body.streams.iter().map(|stream| stream.stats);
    let (ms, known) =
        stats.fold((0, 0), |(ms, known), stats| (ms + stats.duration_ms, known + stats.bytes_known));
    let rate = plain.saturating_mul(1000) / ms.max(1);
    let mut line = format!(
        "{}: snapshot {}, {} in {} ({}/s), {} known, {} stored",
        head.series,
        committed.summary.id.short(),
        render::bytes(plain),
        render::duration(ms),
        render::bytes(rate),
        render::bytes(known),
        render::bytes(stored),
    );
    let tags: Vec<&str> = head.calendar.iter().chain(&head.tags).map(String::as_str).collect();
    if !tags.is_empty() {
        line += &format!("; {}", tags.join(", "));
    }
    if !report.suspects.is_empty() {
        line += "; SUSPECT";
    }
    if head.proof.is_missing() {
        line += "; unproven: standard input says nothing of how its producer ended";
    }
    line
}

fn result_json(series: &str, outcome: &Result<BackupReport, OpError>) -> serde_json::Value {
    match outcome {
        Ok(report) => {
            let committed = &report.committed;
            let seen = Seen { summary: committed.summary.clone(), body: Some(committed.body.clone()) };
            let calendar: Vec<&str> = seen.summary.head.calendar.iter().map(String::as_str).collect();
            let tags = render::tags(&calendar, &seen.summary);
            json!({
                "source": series, "ok": report.is_clean(),
                "snapshot": render::snapshot(&seen, tags), "damage": report.damage,
                "suspect": report.suspects,
            })
        }
        Err(error) => {
            json!({"source": series, "ok": false, "error": error.to_string(), "hint": error.hint()})
        }
    }
}
