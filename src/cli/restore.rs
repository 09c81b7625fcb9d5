//! `dumpvault restore` and `dumpvault cat`.

mod parts;

use super::args::{CatArgs, PartArgs, RestoreArgs};
use super::backup::{clients, connection};
use super::report::{CliError, Exit};
use super::{Context, prompt, render, verify};
use crate::config;
use crate::ops::OpError;
use crate::ops::restore::{Chosen, Expected, Findings, Jobs, Target, choose};
use crate::repo::reader::ReadStats;
use crate::snapshot::{Stream, StreamFormat};
use crate::source::command::{SinkOutput, open_sink};
use crate::source::postgres::{Connection, PostgresError, RestoreTarget};
use crate::source::process::{Invocation, Limits};
use parts::Picked;
use serde_json::json;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

pub(super) fn cat(context: &Context, args: &CatArgs) -> Result<Exit, CliError> {
    let chosen = chosen(context, &args.snapshot)?;
    let stream = chosen.stream(args.stream.as_deref())?.clone();
    to_stdout(&Work { context, chosen: &chosen, stream: &stream, picked: None, began: Instant::now() })
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
    let selection = parts::selection(&args.parts)?;
    let target =
        args.to_database.as_deref().map(|name| database(context, args, name, &limits)).transpose()?;
    let chosen = chosen(context, &args.snapshot)?;
    let stream = chosen.stream(args.stream.as_deref())?.clone();
    // What is wanted is known, and can be had, before anything is touched.
    let shows_all = args.dry_run && stream.format == StreamFormat::PgCustom;
    let picked = match selection.is_some() || args.jobs.is_some() || shows_all {
        true => Some(parts::pick(context, &chosen, &stream, selection.clone().unwrap_or_default())?),
        false => None,
    };
    if args.dry_run {
        return parts::dry_run(context, args, &chosen, &stream, picked.as_ref(), target.as_ref());
    }
    for left_out in picked.iter().flat_map(|picked| &picked.part.omitted) {
        context.warn(format!("left out: {left_out}, which is not restored"));
    }
    let work =
        Work { context, chosen: &chosen, stream: &stream, picked: picked.as_ref(), began: Instant::now() };
    if let Some(target) = target {
        if !agree(context, args, &chosen, &stream, &target)? {
            return Err(CliError::Failed { message: "nothing was restored: not confirmed".to_owned() });
        }
        return into_database(&work, args, target);
    }
    if args.command {
        let (program, rest) = args.program.split_first().ok_or_else(|| CliError::usage("no program"))?;
        let invocation = Invocation::new(program).args(rest);
        let open = || open_sink(&invocation, SinkOutput::Inherit, limits.clone());
        let into = format!("`{}`", invocation.program());
        let stats = work.send(Target::Program(&open, into.clone()))?;
        return Ok(done(&work, &into, stats, None));
    }
    match args.to.as_deref() {
        None => to_stdout(&work),
        Some(path) if path == Path::new("-") => to_stdout(&work),
        Some(path) => {
            let stats = work.send(Target::File(context.app.environment.directory.join(path)))?;
            Ok(done(&work, &format!("`{}`", path.display()), stats, None))
        }
    }
}

/// A restore that is about to begin.
struct Work<'a> {
    context: &'a Context,
    chosen: &'a Chosen,
    stream: &'a Stream,
    picked: Option<&'a Picked>,
    began: Instant,
}

impl Work<'_> {
    /// Sends what is wanted to its target.
    fn send(&self, target: Target<'_>) -> Result<ReadStats, OpError> {
        let Context { progress, cancel, .. } = self.context;
        match self.picked {
            None => self.chosen.restore(self.stream, target, progress, cancel),
            Some(Picked { part, .. }) => {
                self.chosen.restore_part(self.stream, &part.synthesis, target, progress, cancel)
            }
        }
    }
}

fn into_database(work: &Work<'_>, args: &RestoreArgs, target: RestoreTarget) -> Result<Exit, CliError> {
    let Work { context, chosen, stream, picked, .. } = work;
    let into = format!("database `{}`", target.database);
    // Also asked for before anything is touched.
    let expected = expected(work, args)?;
    let stats = match (args.jobs, picked) {
        (Some(jobs), Some(Picked { archive, part })) => {
            let scratch = context.app.environment.directory.join(std::env::temp_dir());
            let Context { progress, cancel, .. } = context;
            let workers = usize::from(jobs);
            let jobs = Jobs { workers, scratch: &scratch, observer: progress, cancel };
            chosen.restore_jobs(stream, archive, &part.entries, &target, &jobs)?
        }
        _ => work.send(Target::Database(Box::new(target.clone())))?,
    };
    let findings = match expected {
        None => None,
        Some(expected) => {
            let connections = args.jobs.map_or_else(|| context.cores(), usize::from);
            Some(expected.compare(&target, connections)?)
        }
    };
    Ok(done(work, &into, stats, findings.as_ref()))
}

/// What the database must hold afterwards. Rows that are added to tables in use prove little, and are only counted when asked for.
fn expected(work: &Work<'_>, args: &RestoreArgs) -> Result<Option<Expected>, CliError> {
    let Work { context, chosen, stream, picked, .. } = work;
    let PartArgs { schema_only, data_only, .. } = args.parts;
    if args.no_verify || schema_only || (data_only && !args.verify) {
        return Ok(None);
    }
    let expected = match picked {
        Some(Picked { archive, part }) => Some(archive.expected_of(part)?),
        None => chosen.expected(stream, &context.progress, &context.cancel)?,
    };
    if expected.is_none() && args.verify {
        context.warn("nothing is known of this dump's tables: their rows cannot be compared".to_owned());
    }
    Ok(expected.map(|expected| if data_only { expected.beside_others() } else { expected }))
}

pub(super) fn chosen(context: &Context, name: &str) -> Result<Chosen, CliError> {
    let zone = context.app.config.calendar()?.zone;
    let repo = context.repository()?;
    Ok(choose(&repo, name, &zone, context.read_settings(), &context.progress)?)
}

fn to_stdout(work: &Work<'_>) -> Result<Exit, CliError> {
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
    work.send(Target::Writer(&mut out))?;
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
        // A part of a dump may stand beside what is there; data goes into tables that are.
        add: !args.parts.table.is_empty() || !args.parts.schema.is_empty() || args.parts.data_only,
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
    if !args.clean && !target.add {
        let refused = PostgresError::NotEmpty {
            database: target.database.clone(),
            tables: state.tables,
            other_objects: state.other_objects,
        };
        return Err(OpError::from(refused).into());
    }
    let zone = context.app.config.calendar()?.zone;
    let what = match (args.clean, args.parts.data_only) {
        (true, _) => "What the dump holds, too, will be replaced by that of",
        (false, true) => "Rows will be added to its tables from the dump of",
        (false, false) => "The part that was chosen will be added from the dump of",
    };
    let question = format!(
        "Database `{}` on {} holds {} tables. {what} {} ({}).",
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
        hint: Some("say --yes to do it unasked".to_owned()),
    })
}

fn done(work: &Work<'_>, into: &str, stats: ReadStats, findings: Option<&Findings>) -> Exit {
    let exit = if findings.is_none_or(Findings::is_good) { Exit::Good } else { Exit::Integrity };
    let Work { context, chosen, stream, picked, began } = work;
    let ms = began.elapsed().as_millis() as u64;
    let id = chosen.summary.id;
    if context.json {
        let mut object = json!({
            "version": 1, "snapshot": id.to_string(), "stream": stream.name, "bytes": stats.bytes,
            "blake3": stream.digest.to_string(), "blocks_opened": stats.blocks_opened,
            "bytes_fetched": stats.bytes_fetched, "duration_ms": ms,
        });
        if let (Some(picked), Some(object)) = (picked, object.as_object_mut()) {
            // The digest is that of the whole stream.
            object.remove("blake3");
            object.insert("tables".to_owned(), parts::tables_json(&picked.part));
        }
        if let (Some(findings), Some(object)) = (findings, object.as_object_mut()) {
            object.insert("verified".to_owned(), json!(findings.is_good()));
            object.insert("verification".to_owned(), verify::findings_json(findings));
        }
        context.output(&object.to_string());
        return exit;
    }
    let (bytes, checked) = match picked {
        None => (stream.bytes, "digest and length are right".to_owned()),
        Some(picked) => {
            (stats.bytes, format!("{} tables with data; every chunk is right", picked.part.tables.len()))
        }
    };
    context.say(&format!(
        "{}: snapshot {} restored into {into}, {} in {}, {checked}",
        chosen.summary.head.series,
        id.short(),
        render::bytes(bytes),
        render::duration(ms)
    ));
    if let Some(findings) = findings {
        verify::tell(context, findings);
    }
    exit
}
