//! What the command line and the configuration ask to back up.

use super::origin::{Origin, ServerPlan, connection, surroundings, surroundings_of, words};
use super::suspect_below;
use crate::base::name::{NameKind, check_name, nearest};
use crate::base::pattern::NamePattern;
use crate::cli::Context;
use crate::cli::args::{BackupArgs, DumpArgs, ExecArgs};
use crate::cli::report::CliError;
use crate::content::codec::Level;
use crate::engine::OpError;
use crate::settings;
use crate::source::configured::{Configured, pattern};
use crate::source::postgres::{Connection, DatabaseChoice, DumpFilter};
use crate::source::process::Invocation;
use crate::source::surroundings::Surroundings;
use crate::source::wrapper::Wrapper;
use std::time::Duration;

/// One source to back up as one snapshot.
pub(super) struct Job {
    pub series: String,
    pub origin: Origin,
    pub tags: Vec<String>,
    pub level: Level,
    pub allow_empty: bool,
    pub suspect_below: f64,
    pub timeout: Option<Duration>,
    /// What its programs find around them.
    pub surroundings: Surroundings,
}

pub(super) fn jobs(context: &Context, args: &BackupArgs) -> Result<Vec<Job>, CliError> {
    let level = args.compression.as_deref().map(|text| settings::level(text, "--compression")).transpose()?;
    let default_share = suspect_below(context, args, None)?;
    let timeout = args.timeout.as_deref().map(|text| settings::duration(text, "--timeout")).transpose()?;
    let job = |series: String, origin: Origin| Job {
        series,
        origin,
        tags: args.tag.clone(),
        level: level.unwrap_or(context.app.settings.compression),
        allow_empty: args.allow_empty,
        suspect_below: default_share,
        timeout,
        surroundings: surroundings(context),
    };
    if !args.program.is_empty() && !args.command {
        return Err(CliError::usage("a program behind `--` goes with --command"));
    }
    let named = || args.name.clone().unwrap_or_default();
    let dump = &args.postgres;
    let other = args.stdin || args.command;
    if other && (dump.filters() || dump.server.exec.exec.is_some()) {
        return Err(CliError::usage(
            "--table, --schema, --exec and the like go with PostgreSQL sources; give the program its own options",
        ));
    }
    let jobs = if args.stdin {
        vec![job(named(), Origin::Stdin)]
    } else if args.command {
        let (program, rest) = args.program.split_first().ok_or_else(|| {
            CliError::usage("--command needs a program behind `--`: --command -- pg_dump -Fc -Z0 app")
        })?;
        vec![job(named(), Origin::Command(Invocation::new(program).args(rest)))]
    } else if dump.names_a_server() {
        vec![server_job(context, args, job)?]
    } else {
        named_jobs(context, args, job)?
    };
    for job in &jobs {
        check_name(NameKind::Series, &job.series)?;
    }
    Ok(jobs)
}

/// A server that the options describe, or an address beside them.
fn server_job(
    context: &Context,
    args: &BackupArgs,
    job: impl Fn(String, Origin) -> Job,
) -> Result<Job, CliError> {
    let dump = &args.postgres;
    let server = match args.sources.as_slice() {
        [] => connection(None, &dump.server)?,
        [uri] if is_uri(uri) => Connection::from_uri(uri).map_err(OpError::from)?,
        _ => {
            return Err(CliError::usage(
                "--pg-database, --pg-all and --globals go with one address, and with no named sources",
            ));
        }
    };
    let choice = DatabaseChoice {
        all: dump.pg_all,
        wanted: patterns(&dump.pg_database)?,
        excluded: patterns(&dump.pg_exclude_database)?,
    };
    let filter = filter(dump)?;
    let exec = exec(context, &dump.server.exec);
    if let (Some(database), false) = (choice.single(), dump.globals) {
        let connection = server.with_database(&database);
        let origin = Origin::Postgres { connection, filter, exec };
        return Ok(job(args.name.clone().unwrap_or(database), origin));
    }
    let series = args.name.clone().or_else(|| server.host()).unwrap_or_else(|| "postgres".to_owned());
    let plan = ServerPlan { connection: server, choice, globals: dump.globals, filter, exec };
    Ok(job(series, Origin::Server(plan)))
}

fn is_uri(source: &str) -> bool {
    source.starts_with("postgres://") || source.starts_with("postgresql://")
}

fn patterns(texts: &[String]) -> Result<Vec<NamePattern>, CliError> {
    let each = texts.iter().map(|text| pattern(text).map_err(|problem| CliError::usage(problem.text)));
    each.collect()
}

fn filter(dump: &DumpArgs) -> Result<DumpFilter, CliError> {
    let lock_wait = dump.lock_wait_timeout.as_deref();
    Ok(DumpFilter {
        tables: dump.table.clone(),
        exclude_tables: dump.exclude_table.clone(),
        schemas: dump.schema.clone(),
        exclude_schemas: dump.exclude_schema.clone(),
        exclude_table_data: dump.exclude_table_data.clone(),
        schema_only: dump.schema_only,
        lock_wait: lock_wait.map(|text| settings::duration(text, "--lock-wait-timeout")).transpose()?,
    })
}

/// The command line's words, or else the configuration's for all.
pub(in crate::cli) fn exec(context: &Context, args: &ExecArgs) -> Wrapper {
    let settings = &context.app.settings;
    let configured = || settings.exec.clone().unwrap_or_default();
    let words = args.exec.as_deref().map_or_else(configured, words);
    Wrapper::new(words).with_shell(settings.exec_shell)
}

/// Sources by their names in the configuration, or by address.
fn named_jobs(
    context: &Context,
    args: &BackupArgs,
    job: impl Fn(String, Origin) -> Job,
) -> Result<Vec<Job>, CliError> {
    if args.sources.is_empty() {
        return Err(CliError::Usage {
            message: "no source given".to_owned(),
            hint: Some(match context.app.settings.sources.keys().next() {
                Some(_) => {
                    let known: Vec<&str> = context.app.settings.sources.keys().map(String::as_str).collect();
                    format!("name one of {}, a postgres:// address, or use --command", known.join(", "))
                }
                None => "name a postgres:// address, or use --command".to_owned(),
            }),
        });
    }
    if args.name.is_some() && args.sources.len() > 1 {
        return Err(CliError::usage("--name goes with one source only"));
    }
    let mut jobs = Vec::new();
    for source in &args.sources {
        if is_uri(source) {
            jobs.push(address_job(context, args, source, &job)?);
            continue;
        }
        let settings = context.app.settings.sources.get(source).ok_or_else(|| {
            let known: Vec<&str> = context.app.settings.sources.keys().map(String::as_str).collect();
            let near = nearest(source, known.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let hint = match known.as_slice() {
                [] => {
                    format!("no sources are configured; add [source.{source}] or use --name with --command")
                }
                known => format!("{near}the configuration has: {}", known.join(", ")),
            };
            CliError::usage_hint(format!("unknown source `{source}`"), hint)
        })?;
        if args.postgres.filters() {
            return Err(CliError::usage_hint(
                format!("pg_dump options cannot be given for the configured source `{source}`"),
                format!("set `tables`, `lock_wait_timeout` and so on in [source.{source}]"),
            ));
        }
        let series = args.name.clone().unwrap_or_else(|| settings.series.clone());
        let mut own = job(series, configured_origin(context, &args.postgres.server.exec, &settings.kind));
        own.tags = settings.tags.iter().chain(&args.tag).cloned().collect();
        own.allow_empty |= settings.allow_empty;
        own.surroundings = surroundings_of(context, source, &settings.programs)?;
        own.suspect_below = suspect_below(context, args, settings.suspect_below)?;
        own.timeout = own.timeout.or(settings.timeout);
        if let (Some(level), None) = (settings.compression, &args.compression) {
            own.level = level;
        }
        jobs.push(own);
    }
    Ok(jobs)
}

fn address_job(
    context: &Context,
    args: &BackupArgs,
    uri: &str,
    job: impl Fn(String, Origin) -> Job,
) -> Result<Job, CliError> {
    let connection = Connection::from_uri(uri).map_err(OpError::from)?;
    let database = connection.database().map(str::to_owned);
    let series = args.name.clone().or(database).or_else(|| context.app.environment.text("PGDATABASE"));
    let series = series.ok_or_else(|| CliError::Usage {
        message: "the address names no database".to_owned(),
        hint: Some("name one, say --pg-all for all of the server's, or give the series a --name".to_owned()),
    })?;
    let (filter, exec) = (filter(&args.postgres)?, exec(context, &args.postgres.server.exec));
    Ok(job(series, Origin::Postgres { connection, filter, exec }))
}

fn configured_origin(context: &Context, args: &ExecArgs, kind: &Configured) -> Origin {
    let table = match kind {
        Configured::Command(invocation) => return Origin::Command(invocation.as_ref().clone()),
        Configured::Postgres(table) => table.as_ref().clone(),
    };
    let exec = match (&args.exec, table.exec) {
        (None, Some(own)) => Wrapper::new(own),
        _ => exec(context, args),
    };
    let exec = exec.with_shell(table.exec_shell);
    let (connection, filter) = (table.connection, table.filter);
    match table.choice {
        Some(choice) => {
            Origin::Server(ServerPlan { connection, choice, globals: table.globals, filter, exec })
        }
        None => Origin::Postgres { connection, filter, exec },
    }
}
