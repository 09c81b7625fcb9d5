//! The command line: one file a command; only here is a terminal drawn on.

#[cfg(feature = "daemon")]
mod alert;
mod args;
mod backup;
mod check;
mod clean;
mod complete;
mod config;
mod copy;
mod demo;
mod doctor;
mod doubts;
mod exit;
mod files;
mod forget;
#[cfg(feature = "daemon")]
mod history;
mod key;
mod keys;
mod leftovers;
mod list;
mod lock;
mod manual;
#[cfg(feature = "daemon")]
mod metrics;
#[cfg(not(feature = "daemon"))]
mod no_history;
mod progress;
mod prompt;
#[cfg(feature = "daemon")]
mod rebuild;
mod render;
mod repair;
mod report;
mod restore;
mod said;
#[cfg(feature = "daemon")]
mod schedule;
#[cfg(feature = "daemon")]
mod serve;
mod servers;
mod setup;
mod signals;
mod status;
mod style;
mod system;
mod table;
mod tables;
mod usage;
mod verify;
mod which;

use crate::base::clock::SystemClock;
use crate::base::event::{Cancel, Event, Observer};
use crate::base::name::SnapshotName;
use crate::base::run::{Room, Run};
use crate::engine::app::{App, Opened, Reading};
use crate::engine::plan::Programs;
use crate::engine::report::{Document, Report};
use crate::settings::{Environment, Flags};
use crate::vault::Repository;
use args::{Cli, Command, Globals};
use clap::{CommandFactory, Parser};
use exit::Exit;
#[cfg(feature = "daemon")]
use history::{Memoir, note_gone};
#[cfg(not(feature = "daemon"))]
use no_history::{Memoir, note_gone, remember};
use progress::Progress;
#[cfg(feature = "daemon")]
use rebuild::remember;
use report::CliError;
use said::Said;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use table::Table;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Parses the arguments, runs the command, reports. `is_stdout_closed` says whether standard output was closed when the
/// process began, which only the binary can tell.
pub fn main(is_stdout_closed: bool) -> ExitCode {
    if is_stdout_closed {
        style::note_closed();
    }
    keep_memory_private();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::refuse(error).into(),
    };
    let said = Said::default();
    start_logging(cli.globals.verbose, &said);
    let cancel = Cancel::new();
    // The scheduler hears them by itself: SIGHUP is no end to it.
    let is_daemon = cli.command.is_daemon();
    if !is_daemon && let Err(error) = signals::watch(&cancel) {
        tracing::warn!("signals cannot be watched: {error}");
    }
    let json = cli.globals.json;
    let memoir = Arc::new(Memoir::default());
    let exit = match run(cli, &cancel, &said, &memoir) {
        Ok(Exit::Good) if OUTPUT_FAILED.load(Ordering::SeqCst) => (Exit::NothingDone, None),
        Ok(exit) => (exit, None),
        Err(error) => {
            let exit = report::report(&error, &said, json, cancel.is_cancelled());
            (exit, Some((error.to_string(), error.hint())))
        }
    };
    let (exit, error) = exit;
    memoir.end(exit, error);
    if exit == Exit::Unheard {
        // Safe to ignore because the exit code says the same to a shell.
        let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
    }
    exit.into()
}

/// Keys and dumps stand in this process's memory: no core dump of it, or of a program that it starts, shall hold them,
/// and no other process of the same user shall read it.
fn keep_memory_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Both are safe to ignore because nothing depends on them: a system that has neither loses a second line of
    // defence.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Warnings go where all warnings go; the rest to standard error, where --verbose asks for it.
fn start_logging(verbose: u8, said: &Said) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let not_a_warning = filter_fn(|metadata| *metadata.level() > tracing::Level::WARN);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| clean::Log)
        .with_ansi(false)
        .with_target(false)
        .with_filter(not_a_warning);
    let filter = tracing_subscriber::EnvFilter::new(format!("dumpvault={level}"));
    tracing_subscriber::registry().with(filter).with(lines).with(said.clone()).init();
}

/// What every command works with.
struct Context {
    app: App,
    cancel: Cancel,
    clock: SystemClock,
    json: bool,
    quiet: bool,
    progress: Arc<Progress>,
    /// The process's memory, which all jobs share.
    room: Room,
    /// What is written down of the command.
    memoir: Arc<Memoir>,
}

impl Context {
    /// What a job works with.
    fn run(&self) -> Run {
        let events = Arc::clone(&self.progress) as Arc<dyn Observer>;
        Run::new(Arc::new(self.clock), events, self.cancel.clone(), self.room.clone())
    }

    /// The same for a part of a command, whose report is not the command's.
    fn muted(&self) -> Self {
        Self {
            app: self.app.at(&self.app.settings.repository),
            cancel: self.cancel.clone(),
            clock: self.clock,
            json: false,
            quiet: self.quiet || self.json,
            progress: Arc::clone(&self.progress),
            room: self.room.clone(),
            memoir: Arc::clone(&self.memoir),
        }
    }

    /// What the configuration says of programs.
    fn programs(&self) -> Programs<'_> {
        Programs::of(&self.app)
    }

    fn repository(&self) -> Result<Repository, CliError> {
        let repo = self.opened(Reading::Cached)?.repo;
        let environment = &self.app.environment;
        if repo.is_new_here() && environment.in_container() {
            let state = crate::engine::doctor::state(&environment.state_root(), true);
            if let Some(next) = state.next {
                self.warn(format!("state directory {}: {next}", state.detail));
            }
        }
        Ok(repo)
    }

    /// The repository as the storage has it, past any cache.
    fn repository_uncached(&self) -> Result<Repository, CliError> {
        Ok(self.opened(Reading::Afresh)?.repo)
    }

    /// The repository, with what opened it.
    fn opened(&self, reading: Reading) -> Result<Opened, CliError> {
        let ask = || prompt::ask("passphrase of the repository: ");
        Ok(self.app.unlock(reading, &ask, &self.progress)?)
    }

    fn warn(&self, message: String) {
        self.progress.observe(Event::Warning { message });
    }

    /// A line for people, left out with --quiet and --json.
    fn say(&self, line: &str) {
        if !self.quiet && !self.json {
            self.progress.suspend(|| print(line));
        }
    }

    /// A line that is the command's very output.
    fn output(&self, line: &str) {
        self.progress.suspend(|| {
            tell_if_closed();
            print(line);
        });
    }

    /// A table that is the command's very output.
    fn table(&self, table: &Table<'_>) {
        self.progress.suspend(|| print_table(table));
    }

    /// A table for people, left out with --quiet and --json.
    fn say_table(&self, table: &Table<'_>) {
        if !self.quiet && !self.json {
            self.table(table);
        }
    }

    /// The command's report for programs, with every warning that was told on the way.
    fn report(&self, report: impl Report) {
        let report = Document::new(report, self.progress.said().warnings());
        self.progress.suspend(|| print_document(&report));
    }

    /// Tells why one of several parts failed.
    fn fail(&self, error: &CliError, interrupted: bool) -> Exit {
        self.progress.end();
        report::report(error, self.progress.said(), false, interrupted)
    }

    /// A snapshot's name, taken apart.
    fn name(&self, text: &str) -> Result<SnapshotName, CliError> {
        Ok(SnapshotName::parse(text, &self.app.settings.calendar.zone)?)
    }

    /// A snapshot's name where a stream has no business.
    fn whole_name(&self, text: &str) -> Result<SnapshotName, CliError> {
        let name = self.name(text)?;
        match name.stream {
            Some(_) => Err(CliError::usage_hint(
                format!("`{text}` names a stream, and this is about whole snapshots"),
                format!("use `{name}`"),
            )),
            None => Ok(name),
        }
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(2, usize::from)
    }
}

/// Set when a line could not be written: what a script takes for the whole list would not be.
static OUTPUT_FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line.
fn print(line: &str) {
    print_as_is(&clean::line(line));
}

/// Prints a report, with the warnings that were told on the way.
fn print_report(report: impl Report, said: &Said) {
    print_document(&Document::new(report, said.warnings()));
}

/// Prints a report in one line, as it is made: some have a million members.
fn print_document(report: &Document<impl Report>) {
    tell_if_closed();
    let mut out = clean::Json(BufWriter::new(std::io::stdout().lock()));
    let written = report.write_json(&mut out).map_err(std::io::Error::from);
    let clean::Json(mut out) = out;
    printed(written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()));
}

fn tell_if_closed() {
    if style::is_closed() {
        output_failed("it is closed");
    }
}

/// Prints a table, as wide as the terminal.
fn print_table(table: &Table<'_>) {
    tell_if_closed();
    let mut lines = Lines::new();
    let in_colour = style::wanted(&std::io::stdout());
    table.each_line(style::columns(), in_colour, &mut |line| lines.put(&[&line, "\n"]));
    lines.end();
}

/// Output that is printed piece by piece. After the first piece that cannot be printed there are no others.
struct Lines {
    out: BufWriter<StdoutLock<'static>>,
    outcome: std::io::Result<()>,
}

impl Lines {
    fn new() -> Self {
        Self { out: BufWriter::new(std::io::stdout().lock()), outcome: Ok(()) }
    }

    fn put(&mut self, texts: &[&str]) {
        for text in texts {
            if self.outcome.is_ok() {
                self.outcome = self.out.write_all(text.as_bytes());
            }
        }
    }

    fn end(mut self) {
        let flushed = self.outcome.and_then(|()| self.out.flush());
        printed(flushed);
    }
}

/// Prints lines. A reader that went away is no error of ours: `… | head` is a fine thing to do.
fn print_as_is(lines: &str) {
    clean::keep(lines);
    let mut out = std::io::stdout().lock();
    printed(writeln!(out, "{lines}").and_then(|()| out.flush()));
}

fn printed(outcome: std::io::Result<()>) {
    if let Err(error) = outcome
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        output_failed(&error.to_string());
    }
}

/// Tells once that standard output does not take what is printed. The exit code says it, too.
fn output_failed(why: &str) {
    if !OUTPUT_FAILED.swap(true, Ordering::SeqCst) {
        // Safe to ignore because there is nowhere left to say it.
        let _ =
            writeln!(std::io::stderr().lock(), "dumpvault: error: cannot write to standard output: {why}");
    }
}

fn run(cli: Cli, cancel: &Cancel, said: &Said, memoir: &Arc<Memoir>) -> Result<Exit, CliError> {
    let mut globals = cli.globals;
    if let Command::Completions { shell } = cli.command {
        // Into memory first: written in pieces, a reader that went away would be a panic.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "dumpvault", &mut script);
        let script = complete::extend(shell, String::from_utf8_lossy(&script).into_owned());
        print_as_is(script.trim_end());
        return Ok(Exit::Good);
    }
    if let Command::Manual { directory } = &cli.command {
        let count = manual::write(directory, &crate::engine::app::sections())
            .map_err(|source| CliError::File { path: directory.display().to_string(), source })?;
        print(&format!("wrote {count} pages"));
        return Ok(Exit::Good);
    }
    let environment = Environment {
        variables: std::env::vars_os().collect(),
        directory: std::env::current_dir().map_err(CliError::WorkingDirectory)?,
        uid: rustix::process::geteuid().as_raw(),
        is_interactive: std::io::stdin().is_terminal() || std::io::stderr().is_terminal(),
    };
    if let Command::Complete { words } = &cli.command {
        complete::take_globals(&mut globals, words, environment.text("HOME").as_deref());
    }
    memoir.begin(&cli.command, &environment);
    let flags = flags(&globals, &cli.command);
    if let Command::Config(args) = &cli.command {
        return config::run(args.command, &flags, &environment, globals.json, said);
    }
    if let Command::Setup(args) = &cli.command {
        return setup::run(args, &globals, &environment);
    }
    let access = globals
        .access
        .read()
        .map_err(|(path, source)| CliError::File { path: path.display().to_string(), source })?;
    let draw = !globals.quiet && !globals.json;
    let told_in = environment.path(crate::base::event::PROGRESS_VARIABLE);
    let app = App::new(&flags, access, environment, cancel.flag())?;
    #[cfg(feature = "daemon")]
    let mut app = app;
    #[cfg(feature = "daemon")]
    if matches!(cli.command, Command::Schedule(_) | Command::Serve)
        && let Some(settings) = Arc::get_mut(&mut app.settings)
    {
        settings.drop_defaults_of_jobs();
    }
    let context = Context {
        app,
        cancel: cancel.clone(),
        clock: SystemClock,
        json: globals.json,
        quiet: globals.quiet,
        progress: Arc::new(
            Progress::new(draw, std::io::stderr().is_terminal(), said.clone()).told_in(told_in),
        ),
        room: Room::default(),
        memoir: Arc::clone(memoir),
    };
    if let Some(place) = &context.app.settings.repository.place {
        memoir.repository(place.value.to_string());
    }
    let outcome = match cli.command {
        #[cfg(feature = "daemon")]
        Command::Schedule(args) => schedule::run(&context, &args, &flags),
        #[cfg(feature = "daemon")]
        Command::Serve => serve::run(&context, &flags),
        command => dispatch(&context, command),
    };
    if let Some(requests) = context.app.requests() {
        tracing::info!("{}", render::requests(&(&requests).into()));
    }
    outcome
}

/// What the command line says of settings.
fn flags(globals: &Globals, command: &Command) -> Flags {
    let mut flags = Flags::default();
    flags.say("--repo", globals.repo.as_ref());
    flags.say("--config", globals.config.as_ref());
    flags.say("--password-file", globals.password_file.as_ref());
    flags.say("--key-file", globals.key_file.as_ref());
    flags.say("--s3-endpoint", globals.s3_endpoint.as_ref());
    flags.say("--s3-region", globals.s3_region.as_ref());
    flags.say("--object-lock", globals.object_lock.as_ref());
    flags.say("--limit-upload", globals.limit_upload.as_ref());
    flags.say("--limit-download", globals.limit_download.as_ref());
    flags.say("--cache-size", globals.cache_size.as_ref());
    if globals.no_cache {
        flags.say_as("--cache-size", "--no-cache", "0");
    }
    match command {
        Command::Copy(args) => {
            flags.say("--to", args.to.as_ref());
            flags.say("--to-password-file", args.to_password_file.as_ref());
            flags.say("--to-key-file", args.to_key_file.as_ref());
            flags.say("--to-s3-profile", args.to_s3_profile.as_ref());
        }
        Command::Backup(args) => {
            flags.say("--max-read-amplification", args.max_read_amplification.as_ref());
        }
        _ => {}
    }
    flags
}

fn dispatch(context: &Context, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Complete { words } => complete::run(context, &words),
        Command::Init(args) => key::init(context, &args),
        Command::Backup(args) => backup::run(context, &args),
        Command::Run(args) => system::run(context, &args),
        #[cfg(feature = "daemon")]
        Command::User(args) => serve::user(context, &args),
        #[cfg(feature = "daemon")]
        Command::Token(args) => serve::token(context, &args),
        #[cfg(feature = "daemon")]
        Command::History(args) if matches!(args.command, args::HistoryCommand::Rebuild) => {
            rebuild::run(context)
        }
        #[cfg(feature = "daemon")]
        Command::History(args) => history::run(context, &args),
        #[cfg(feature = "daemon")]
        Command::Audit(args) => history::audit(context, &args),
        #[cfg(feature = "daemon")]
        Command::Alert(args) => alert::run(context, &args),
        #[cfg(feature = "daemon")]
        Command::Metrics(args) => metrics::run(context, &args),
        Command::Status(args) => status::run(context, &args),
        Command::Restore(args) => restore::run(context, &args),
        Command::Cat(args) => restore::cat(context, &args),
        Command::Snapshots(args) => list::snapshots(context, &args),
        Command::Ls(args) => list::ls(context, &args),
        Command::Find(args) => files::find(context, &args),
        Command::Diff(args) if args.before.contains(":/") => files::diff(context, &args),
        Command::Diff(args) => tables::diff(context, &args),
        Command::Swap(args) => restore::swap_databases(context, &args),
        Command::Verify(args) => verify::run(context, &args),
        Command::Show(args) => list::show(context, &args),
        Command::Stats => list::stats(context),
        Command::Check(args) => check::run(context, &args),
        Command::Repair(args) => repair::run(context, &args.command),
        Command::Forget(args) => forget::forget(context, &args),
        Command::Prune(args) => forget::prune(context, &args),
        Command::ObjectLock(args) => lock::run(context, &args),
        Command::Copy(args) => copy::run(context, &args),
        Command::Tag(args) => forget::tag(context, &args),
        Command::Key(args) => key::run(context, &args.command),
        Command::Demo(args) => demo::run(context, &args),
        Command::Doctor => doctor::run(context),
        // They take the options.
        #[cfg(feature = "daemon")]
        Command::Schedule(_) | Command::Serve => Ok(Exit::Good),
        // Done before there was an app.
        Command::Config(_) | Command::Setup(_) | Command::Completions { .. } | Command::Manual { .. } => {
            Ok(Exit::Good)
        }
    }
}
