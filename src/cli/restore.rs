//! `dumpvault restore` and `dumpvault cat`.

use super::args::{CatArgs, RestoreArgs};
use super::backup::{clients, connection};
use super::report::{CliError, Exit};
use super::{Context, prompt, render};
use crate::config;
use crate::ops::OpError;
use crate::ops::restore::{Chosen, Target, choose};
use crate::repo::reader::ReadStats;
use crate::snapshot::Stream;
use crate::source::command::{SinkOutput, open_sink};
use crate::source::postgres::{Connection, PostgresError, RestoreTarget};
use crate::source::process::{Invocation, Limits};
use serde_json::json;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

pub(super) fn cat(context: &Context, args: &CatArgs) -> Result<Exit, CliError> {
    let chosen = chosen(context, &args.snapshot)?;
    let stream = chosen.stream(args.stream.as_deref())?.clone();
    to_stdout(context, &chosen, &stream)
}

pub(super) fn run(context: &Context, args: &RestoreArgs) -> Result<Exit, CliError> {
    let timeout = args.timeout.as_deref().map(|text| config::duration(text, "--timeout")).transpose()?;
    let limits = Limits::new(context.cancel.clone()).with_timeout(timeout);
    // clap lets these pass beside a target that excludes a database.
    let database_only = args.create || args.clean || args.no_owner || args.no_privileges;
    if database_only && args.to_database.is_none() {
        return Err(CliError::usage(
            "--create, --clean, --no-owner and --no-privileges go with --to-database",
        ));
    }
    if !args.program.is_empty() && !args.command {
        return Err(CliError::usage("a program behind `--` goes with --command"));
    }
    if args.command && args.program.is_empty() {
        return Err(CliError::usage(
            "--command needs a program behind `--`: --command -- pg_restore -d app2",
        ));
    }
    let target =
        args.to_database.as_deref().map(|name| database(context, args, name, &limits)).transpose()?;
    let chosen = chosen(context, &args.snapshot)?;
    let stream = chosen.stream(args.stream.as_deref())?.clone();
    let began = Instant::now();
    if let Some(target) = target {
        if !agree(context, args, &chosen, &stream, &target)? {
            return Err(CliError::Failed { message: "nothing was restored: not confirmed".to_owned() });
        }
        let into = format!("database `{}`", target.database);
        let stats = chosen.restore(
            &stream,
            Target::Database(Box::new(target)),
            &context.progress,
            &context.cancel,
        )?;
        return Ok(done(context, &chosen, &stream, &into, stats, began));
    }
    if args.command {
        let (program, rest) = args.program.split_first().ok_or_else(|| CliError::usage("no program"))?;
        let invocation = Invocation::new(program).args(rest);
        let open = || open_sink(&invocation, SinkOutput::Inherit, limits.clone());
        let into = format!("`{}`", invocation.program());
        let target = Target::Program(&open, into.clone());
        let stats = chosen.restore(&stream, target, &context.progress, &context.cancel)?;
        return Ok(done(context, &chosen, &stream, &into, stats, began));
    }
    match args.to.as_deref() {
        None => to_stdout(context, &chosen, &stream),
        Some(path) if path == Path::new("-") => to_stdout(context, &chosen, &stream),
        Some(path) => {
            let target = Target::File(context.app.environment.directory.join(path));
            let stats = chosen.restore(&stream, target, &context.progress, &context.cancel)?;
            Ok(done(context, &chosen, &stream, &format!("`{}`", path.display()), stats, began))
        }
    }
}

fn chosen(context: &Context, name: &str) -> Result<Chosen, CliError> {
    let zone = context.app.config.calendar()?.zone;
    let repo = context.repository()?;
    Ok(choose(&repo, name, &zone, context.read_settings(), &context.progress)?)
}

fn to_stdout(context: &Context, chosen: &Chosen, stream: &Stream) -> Result<Exit, CliError> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        return Err(CliError::Usage {
            message: "a dump is not for a terminal".to_owned(),
            hint: Some("redirect the output, or give --to FILE".to_owned()),
        });
    }
    // Fewer turns between the two processes; safe to ignore because it only costs speed, and fails on what is no pipe.
    let _ = rustix::pipe::fcntl_setpipe_size(&stdout, 1 << 20);
    let fd = stdout.as_fd().try_clone_to_owned();
    let mut out =
        File::from(fd.map_err(|source| CliError::File { path: "standard output".to_owned(), source })?);
    let target = Target::Writer(&mut out);
    chosen.restore(stream, target, &context.progress, &context.cancel)?;
    let flushed = out.flush();
    flushed.map_err(|source| CliError::File { path: "standard output".to_owned(), source })?;
    Ok(Exit::Good)
}

fn database(
    context: &Context,
    args: &RestoreArgs,
    name: &str,
    limits: &Limits,
) -> Result<RestoreTarget, CliError> {
    let (connection, database) = if name.starts_with("postgres://") || name.starts_with("postgresql://") {
        let connection = Connection::from_uri(name).map_err(OpError::from)?;
        let database = connection.database().map(str::to_owned);
        let database =
            database.ok_or_else(|| CliError::usage("the address of --to-database names no database"))?;
        (connection, database)
    } else {
        (connection(None, &args.server)?, name.to_owned())
    };
    Ok(RestoreTarget {
        create: args.create,
        clean: args.clean,
        no_owner: args.no_owner,
        no_privileges: args.no_privileges,
        clients: clients(context),
        ..RestoreTarget::new(connection, database, limits.clone())
    })
}

/// Says what will be replaced, and asks. Only a database that holds something needs to be asked about.
fn agree(
    context: &Context,
    args: &RestoreArgs,
    chosen: &Chosen,
    stream: &Stream,
    target: &RestoreTarget,
) -> Result<bool, CliError> {
    let state = target.inspect().map_err(OpError::from)?;
    if state.is_empty() || args.yes {
        return Ok(true);
    }
    if !args.clean {
        let refused = PostgresError::NotEmpty {
            database: target.database.clone(),
            tables: state.tables,
            other_objects: state.other_objects,
        };
        return Err(OpError::from(refused).into());
    }
    let zone = context.app.config.calendar()?.zone;
    let question = format!(
        "Database `{}` on {} holds {} tables. What the dump of {} ({}) holds, too, will be replaced.",
        target.database,
        target.connection.display(),
        state.tables,
        render::time(chosen.summary.head.time_ms, &zone),
        render::bytes(stream.bytes),
    );
    prompt::confirm(&question).ok_or_else(|| CliError::Usage {
        message: format!(
            "database `{}` holds {} tables, and there is nobody to ask",
            target.database, state.tables
        ),
        hint: Some("say --yes to replace what the dump holds, too".to_owned()),
    })
}

fn done(
    context: &Context,
    chosen: &Chosen,
    stream: &Stream,
    into: &str,
    stats: ReadStats,
    began: Instant,
) -> Exit {
    let ms = began.elapsed().as_millis() as u64;
    let id = chosen.summary.id;
    if context.json {
        let object = json!({
            "version": 1, "snapshot": id.to_string(), "stream": stream.name, "bytes": stats.bytes,
            "blake3": stream.digest.to_string(), "blocks_opened": stats.blocks_opened,
            "bytes_fetched": stats.bytes_fetched, "duration_ms": ms,
        });
        context.output(&object.to_string());
    } else {
        context.say(&format!(
            "{}: snapshot {} restored into {into}, {} in {}, digest and length are right",
            chosen.summary.head.series,
            id.short(),
            render::bytes(stream.bytes),
            render::duration(ms)
        ));
    }
    Exit::Good
}
