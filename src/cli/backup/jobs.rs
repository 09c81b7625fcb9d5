//! What the command line asks to back up.

use crate::base::name::start_of;
use crate::cli::Context;
use crate::cli::args::{BackupArgs, DumpArgs};
use crate::cli::report::CliError;
use crate::cli::servers::{exec, server};
use crate::engine::backup::ParentChoice;
use crate::engine::plan::{BackupJob, Wanted};
use crate::settings;
use crate::source::files::{Choice, Files};
use crate::source::postgres::DumpFilter;

/// The job, once the arguments make sense together.
pub(super) fn job(context: &Context, args: &BackupArgs) -> Result<BackupJob, CliError> {
    let level = args.compression.as_deref().map(|text| settings::level(text, "--compression")).transpose()?;
    let timeout = args.timeout.as_deref().map(|text| settings::duration(text, "--timeout")).transpose()?;
    let suspect_below = args.suspect_below.as_deref();
    let suspect_below = suspect_below.map(|text| settings::fraction(text, "--suspect-below")).transpose()?;
    let wanted = wanted(context, args)?;
    let zone = context.app.settings.calendar.zone.clone();
    let time = args.time.as_deref().map(|text| parse_time(text, &zone)).transpose()?;
    let parent = match &args.parent {
        _ if args.no_parent => ParentChoice::None,
        Some(name) => ParentChoice::Named(Box::new(context.whole_name(name)?)),
        None => ParentChoice::Newest,
    };
    Ok(BackupJob {
        series: args.series.clone(),
        tags: args.tag.clone(),
        host: args.host.clone(),
        time,
        level,
        timeout,
        allow_empty: args.allow_empty,
        suspect_below,
        parent,
        exec: exec(&args.postgres.server.exec),
        ..BackupJob::new(wanted)
    })
}

fn wanted(context: &Context, args: &BackupArgs) -> Result<Wanted, CliError> {
    if !args.program.is_empty() && !args.command {
        return Err(CliError::usage("a program behind `--` goes with --command"));
    }
    let dump = &args.postgres;
    if (args.stdin || args.command) && (dump.filters() || dump.server.exec.pg_exec.is_some()) {
        return Err(CliError::usage_hint(
            "--table, --schema and --pg-exec need a PostgreSQL source",
            "pass these options to the program itself",
        ));
    }
    if args.stdin {
        return Ok(Wanted::StandardInput);
    }
    if args.command {
        return match args.program.is_empty() {
            true => Err(CliError::usage(
                "--command needs a program behind `--`: --command -- pg_dump -Fc -Z0 app",
            )),
            false => Ok(Wanted::Program(args.program.clone())),
        };
    }
    if !args.path.is_empty() {
        let choice = Choice::excluding(&args.exclude).map_err(|error| CliError::usage(error.to_string()))?;
        let newer_than = args.newer_than.as_deref();
        let newer_than = newer_than.map(|text| settings::age(text, "--newer-than")).transpose()?;
        let paths = args.path.clone();
        return Ok(Wanted::Files(Files {
            paths,
            choice,
            newer_than,
            crosses: args.cross_file_systems,
            skips_caches: args.exclude_caches,
            timeout: None,
        }));
    }
    let filter = filter(dump)?;
    if dump.names_a_server() {
        // Not quoted: there may be a password in it.
        if dump.pg_database.iter().chain(&dump.pg_exclude_database).any(|name| name.contains("://")) {
            return Err(CliError::usage_hint(
                "--pg-database takes the name of a database, not an address",
                "give the address alone: dumpvault backup postgresql://USER@HOST:PORT/DATABASE",
            ));
        }
        let server = match args.sources.as_slice() {
            [] => server(None, &dump.server),
            [uri] if uri.contains("://") => server(Some(uri), &dump.server),
            _ => {
                return Err(CliError::usage(
                    "--pg-database, --pg-all and --pg-globals go with one address, and with no named sources",
                ));
            }
        };
        return Ok(Wanted::Postgres {
            server,
            databases: dump.pg_database.clone(),
            all: dump.pg_all,
            excluded: dump.pg_exclude_database.clone(),
            globals: dump.pg_globals,
            filter,
        });
    }
    if args.series.is_some() && args.sources.len() > 1 {
        return Err(CliError::usage("--series goes with one source only"));
    }
    let configured = args.sources.iter().find(|source| context.app.settings.sources.contains_key(*source));
    if let (Some(source), true) = (configured, dump.filters()) {
        return Err(CliError::usage_hint(
            format!("pg_dump options cannot be given for the configured source `{source}`"),
            format!("set `tables`, `lock_wait_timeout` and so on in [source.{source}]"),
        ));
    }
    Ok(Wanted::Named { sources: args.sources.clone(), filter })
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

/// As names of snapshots have times; a day alone says too little of a dump.
fn parse_time(text: &str, zone: &jiff::tz::TimeZone) -> Result<jiff::Timestamp, CliError> {
    let time = start_of(text, zone).filter(|_| text.len() > 10);
    time.ok_or_else(|| {
        CliError::usage_hint(
            format!("--time: invalid time `{text}`"),
            "use 2026-11-01T03:00, 2026-11-01T03:00:00Z or 2026-11-01T03:00:00+01:00",
        )
    })
}
