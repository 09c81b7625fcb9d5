//! `dumpvault restore` and `dumpvault cat`: where options send a stream, and what is asked before.

mod bucket;
mod database;
mod files;
mod parts;
mod redis;
mod server;
mod set;
mod swap;

use super::args::{CatArgs, RestoreArgs};
use super::exit::Exit;
use super::report::CliError;
use super::which::{chosen, stream_of};
use super::{Context, doubts, render, style, verify};
use crate::base::name::SnapshotName;
use crate::base::numbers::StreamFormat;
use crate::engine::OpError;
use crate::engine::report::Restore;
use crate::engine::restore::{Extract, Findings, Target};
use crate::settings;
use crate::vault::reader::ReadStats;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;
pub(super) use swap::swap_databases;

pub(super) fn cat(context: &Context, args: &CatArgs) -> Result<Exit, CliError> {
    let name = context.name(&args.snapshot)?;
    if name.stream.as_ref().is_some_and(|path| path.starts_with('/')) {
        return one_file(context, &name, args);
    }
    if args.object_version.is_some() {
        return Err(CliError::usage("--object-version goes with SNAPSHOT:/KEY"));
    }
    let wanted = stream_of(&name, args.stream.as_deref())?;
    let chosen = chosen(context, &name, args.which.any_host)?;
    let stream = chosen.stream(wanted.as_deref())?.clone();
    let extract = Extract::whole(chosen, stream);
    to_stdout(&Work { context, extract: &extract, began: Instant::now() })
}

pub(super) fn run(context: &Context, args: &RestoreArgs) -> Result<Exit, CliError> {
    if let Some(set) = &args.set {
        return set::run(context, args, set);
    }
    let timeout = args.timeout.as_deref().map(|text| settings::duration(text, "--timeout")).transpose()?;
    // clap lets these pass beside a target that excludes a database.
    let database_only =
        args.create || args.clean || args.no_owner || args.no_privileges || args.no_tablespaces;
    if database_only && args.to_database.is_none() && !args.all_databases {
        return Err(CliError::usage(
            "--create, --clean, --no-owner, --no-privileges and --no-tablespaces go with --to-database",
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
    let selection = parts::job(&args.parts)?.selection()?;
    let run = context.run();
    let job = args.to_database.as_deref().map(|name| database::job(args, name)).transpose()?;
    // An address that is none is told at once.
    let target = job.as_ref().map(|job| job.target(&context.app, &run)).transpose()?;
    let snapshot = args.snapshot.as_deref();
    let name = context.name(snapshot.ok_or_else(|| CliError::usage("no snapshot is named"))?)?;
    let wanted = stream_of(&name, args.stream.as_deref())?;
    if args.all_databases {
        if selection.is_some() || wanted.is_some() || args.create || args.clean {
            let message = "--all-databases restores every database of the snapshot, each as a whole";
            return Err(CliError::usage_hint(message, "--exclude-database leaves some out"));
        }
        let job = server::job(args)?;
        return server::run(context, args, job, chosen(context, &name, args.which.any_host)?);
    }
    let mut chosen = chosen(context, &name, args.which.any_host)?;
    if let Some(directory) = &args.to_dir {
        return files::run(context, args, &chosen, wanted.as_deref(), directory);
    }
    if let Some(address) = &args.to_bucket {
        return bucket::run(context, args, &chosen, wanted.as_deref(), address);
    }
    let began = Instant::now();
    if let Some(address) = &args.to_redis {
        if selection.is_some() || args.jobs.is_some() {
            return Err(CliError::usage("--to-redis restores the whole stream"));
        }
        return redis::run(
            context,
            args,
            redis::job(args, address, timeout)?,
            chosen,
            wanted.as_deref(),
            began,
        );
    }
    let stream = chosen.take_stream(wanted.as_deref())?;
    if args.dry_run || job.is_none() {
        doubts::tell(context, &chosen, &stream);
    }
    // What is wanted is known, and can be had, before anything is touched.
    let shows_all = args.dry_run && stream.format == StreamFormat::PgCustom;
    let extract = match selection.is_some() || args.jobs.is_some() || shows_all {
        true => Extract::part(chosen, stream, selection.unwrap_or_default(), &run)?,
        false => Extract::whole(chosen, stream),
    };
    if args.dry_run {
        if let (Some(job), Some(target)) = (&job, &target) {
            job.check_host(target)?;
        }
        return parts::dry_run(context, args, extract, target.as_ref());
    }
    for left_out in extract.picked.iter().flat_map(|picked| &picked.part.omitted) {
        context.warn(format!("skipped {left_out}"));
    }
    if let Some(job) = job {
        let circular = extract.circular();
        if !circular.is_empty() {
            context.warn(format!(
                "the foreign keys of {} refer to each other in a circle: triggers are off while their rows are loaded",
                circular.join(", ")
            ));
        }
        return database::run(context, args, job, extract, began);
    }
    let work = Work { context, extract: &extract, began };
    if args.command {
        let (program, rest) = args.program.split_first().ok_or_else(|| CliError::usage("no program"))?;
        let stats = extract.send_to_program(program, rest, timeout, &context.app, &context.run())?;
        return Ok(done(&work, &format!("`{}`", program.display()), stats, None));
    }
    match args.output.as_deref() {
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
    extract: &'a Extract,
    began: Instant,
}

impl Work<'_> {
    /// Sends what is wanted to its target.
    fn send(&self, target: Target<'_>) -> Result<ReadStats, OpError> {
        self.extract.send(target, &self.context.run())
    }
}

/// Writes one file of a snapshot to standard output.
fn one_file(context: &Context, name: &SnapshotName, args: &CatArgs) -> Result<Exit, CliError> {
    let chosen = chosen(context, name, args.which.any_host)?;
    let path = name.stream.clone().unwrap_or_default();
    let tree = super::files::tree_of(&chosen, &path)?;
    let mut out = stdout()?;
    listened(
        tree.cat(tree.path_of(&path), args.object_version.as_deref(), &mut out, &context.cancel)
            .and_then(|()| out.flush().map_err(OpError::output)),
    )
}

/// Nobody listens any more: `… | pg_restore -l` has what it wanted. It is for the reader to say whether that is all.
fn listened(outcome: Result<(), OpError>) -> Result<Exit, CliError> {
    match outcome {
        Err(error) if error.is_unheard() => Ok(Exit::Unheard),
        outcome => Ok(outcome.map(|()| Exit::Good)?),
    }
}

fn to_stdout(work: &Work<'_>) -> Result<Exit, CliError> {
    let mut out = stdout()?;
    listened(work.send(Target::Writer(&mut out)).and_then(|_| out.flush().map_err(OpError::output)))
}

/// Standard output, for bytes.
fn stdout() -> Result<File, CliError> {
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        return Err(CliError::Usage {
            message: "refusing to write a dump to the terminal".to_owned(),
            hint: Some("redirect it, or use --output FILE".to_owned()),
        });
    }
    if style::is_closed() {
        let source = std::io::Error::other("it is closed");
        return Err(CliError::Output(source));
    }
    // Fewer turns between the two processes; safe to ignore because it only costs speed, and fails on what is no pipe.
    let _ = rustix::pipe::fcntl_setpipe_size(&stdout, 1 << 20);
    let fd = stdout.as_fd().try_clone_to_owned();
    Ok(File::from(fd.map_err(CliError::Output)?))
}

fn done(work: &Work<'_>, into: &str, stats: ReadStats, findings: Option<&Findings>) -> Exit {
    let exit = if findings.is_none_or(Findings::is_good) { Exit::Good } else { Exit::Integrity };
    let Work { context, extract: Extract { chosen, stream, picked, .. }, began } = work;
    let ms = began.elapsed().as_millis() as u64;
    let id = chosen.summary.id;
    if context.json {
        context.report(Restore::new(&id, stream, picked.as_ref(), &stats, ms, findings));
        return exit;
    }
    let (bytes, checked) = match picked {
        None => (stream.bytes, "digest and length match".to_owned()),
        Some(picked) => {
            let tables = render::count(picked.tables().len(), "table");
            (stats.bytes, format!("{tables} with data; every chunk matches"))
        }
    };
    context.say(&format!(
        "{}: restored snapshot {} to {into}: {} in {}, {checked}",
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
