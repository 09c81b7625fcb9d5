//! Carrying out a plan of verification: stream after stream is restored for trial, and the snapshot bears that it was.

use super::loading::{Loaded, Servers};
use super::look::{Reference, dangling, smoke};
use super::reading::{ReadThrough, is_read_through};
use super::{Chosen, Jobs, Verified};
use crate::base::event::Event;
use crate::base::fault::{Class, Fault, Next};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::VerifyPlan;
use crate::source::SourceError;
use crate::source::postgres::{Doing, Failure, RestoreTarget, ScratchAttempt, ScratchRole};
use crate::source::process::Limits;
use crate::source::redis::RedisError;
use crate::vault::RepoError;
use crate::vault::crypto::CryptoError;
use crate::vault::format::mark::MarkKind;
use crate::vault::snapshot::{Stream, StreamFormat};
use std::ffi::OsString;
use std::path::PathBuf;

/// What became of a stream.
pub struct Tried {
    /// The stream.
    pub stream: String,
    /// What was found; an error says that it cannot be restored.
    pub result: Result<Found, OpError>,
}

/// What was found of a stream.
pub enum Found {
    /// It was restored into a scratch database.
    Restored(Box<Verified>),
    /// A server for a while loaded it.
    Loaded(Loaded),
    /// No database takes it: it was read.
    Read(ReadThrough),
}

impl Found {
    /// Whether everything is there.
    fn is_good(&self) -> bool {
        match self {
            Self::Restored(verified) => verified.is_good(),
            Self::Loaded(loaded) => loaded.wrong.is_empty(),
            Self::Read(_) => true,
        }
    }

    /// Whether something tells what should be there.
    fn is_compared(&self) -> bool {
        match self {
            Self::Restored(verified) => verified.findings.is_some(),
            Self::Loaded(_) => true,
            Self::Read(read) => read.is_proven,
        }
    }

    /// Whether it was restored, and not only read.
    fn is_restored(&self) -> bool {
        matches!(self, Self::Restored(_) | Self::Loaded(_))
    }
}

/// What became of all streams of a plan.
pub struct VerifyReport {
    /// In the order of the plan.
    pub tried: Vec<Tried>,
}

impl VerifyReport {
    /// What it comes to; `None` when all is well.
    pub fn class(&self) -> Option<Class> {
        let is_good = |tried: &Tried| tried.result.as_ref().is_ok_and(Found::is_good);
        let is_compared = |tried: &Tried| tried.result.as_ref().is_ok_and(Found::is_compared);
        match () {
            () if !self.tried.iter().all(is_good) => Some(Class::Integrity),
            // That it could be restored says nothing of what is in it.
            () if !self.tried.iter().all(is_compared) => Some(Class::Partial),
            () => None,
        }
    }
}

/// Restores each stream into a scratch database, compares, looks for what its rows refer to, runs the command, and
/// drops it; `each` is told of each as it ends.
///
/// # Errors
/// When the server, the repository or somebody stops it: nothing was found out. That a stream cannot be restored is
/// part of the report.
pub fn run_verify(
    plan: &VerifyPlan,
    references: &[Reference],
    app: &App,
    run: &Run,
    each: &mut dyn FnMut(&Stream, &Tried),
) -> Result<VerifyReport, OpError> {
    let warn = |message: String| run.events.observe(Event::Warning { message });
    let role = match plan.needs_server() {
        true => scratch_role(plan, app, run)?,
        false => None,
    };
    let scratch = app.environment.temporary();
    let trial = Trial { plan, references, pass_env: &app.settings.pass_env, run, scratch };
    let mut report = VerifyReport { tried: Vec::new() };
    for (at, stream) in plan.streams.iter().enumerate() {
        let database = format!("{}_{at}", plan.target.database);
        let target = RestoreTarget { database, ..plan.target.clone() };
        let result = match is_read_through(stream) {
            true if stream.format == StreamFormat::RedisRdb => trial.loaded(stream, app),
            true => plan.chosen.read_through(stream, run.events.as_ref(), &run.cancel).map(Found::Read),
            false => trial
                .as_role(stream, &target, role.as_ref())
                .map(|verified| Found::Restored(Box::new(verified))),
        };
        // That it cannot be restored is the very thing that was to be found out.
        if let Err(error) = &result
            && !is_about_the_dump(error)
        {
            // The role is ended as it is dropped.
            return result.map(|_| report);
        }
        let tried = Tried { stream: stream.name.clone(), result };
        each(stream, &tried);
        report.tried.push(tried);
    }
    if let Some(Err(error)) = role.map(ScratchRole::end) {
        warn(error.to_string());
    }
    // What was only read was not restored.
    let all_restored = plan.streams.iter().zip(&report.tried).all(|(stream, tried)| {
        // Settings are for a person to read.
        stream.format == StreamFormat::Settings || tried.result.as_ref().is_ok_and(Found::is_restored)
    });
    let is_whole = plan.job.share >= 1.0 && plan.job.stream.is_none() && all_restored;
    if is_whole && report.class().is_none() {
        remember(&plan.chosen, app, run)?;
    }
    Ok(report)
}

/// What to do about it: the options of a restore do not apply to a verification.
pub fn next_of_verify(error: &OpError) -> Option<Next> {
    match error.failure() {
        Some(failure) => failure.hint(Doing::Verify).map(Next::new),
        None => error.next(),
    }
}

/// The snapshot bears from now on that it was restored and compared.
fn remember(chosen: &Chosen, app: &App, run: &Run) -> Result<(), OpError> {
    let (id, now_ms) = (&chosen.summary.id, run.clock.now().as_millisecond());
    match chosen.repo().marks().mark_snapshot(id, MarkKind::Verified, Some(None), &app.host(), now_ms) {
        Err(RepoError::Crypto(CryptoError::RoleTooWeak { .. })) => {
            let message = "verified, but not recorded: this key cannot write to the repository".to_owned();
            run.events.observe(Event::Warning { message });
            Ok(())
        }
        other => Ok(other.map(drop)?),
    }
}

/// How streams are tried out.
struct Trial<'a> {
    plan: &'a VerifyPlan,
    references: &'a [Reference],
    pass_env: &'a [OsString],
    run: &'a Run,
    scratch: PathBuf,
}

impl Trial<'_> {
    /// Loads a Redis file into a server for a while.
    fn loaded(&self, stream: &Stream, app: &App) -> Result<Found, OpError> {
        let Self { plan, run, scratch, .. } = self;
        let limits = Limits::new(run.cancel.clone()).with_timeout(plan.job.timeout);
        let program = plan.job.redis_server.as_deref();
        let now_ms = u64::try_from(run.clock.now().as_millisecond()).unwrap_or_default();
        let parent = scratch.clone();
        let servers = Servers { app, events: &run.events, limits: &limits, program, now_ms, parent };
        let found = plan.chosen.load(stream, &servers)?;
        Ok(found.map_or_else(Found::Read, Found::Loaded))
    }

    /// As the scratch role first, if there is one; as the server's own role only where the dump needs that.
    fn as_role(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        role: Option<&ScratchRole>,
    ) -> Result<Verified, OpError> {
        let Some(role) = role else { return self.try_out(stream, target) };
        match self.try_out(stream, &role.target(target)) {
            Err(error) if !self.plan.job.no_superuser && needs_superuser(&error) => {
                let message = format!(
                    "`{}` needs more permissions than the scratch role has; restoring it as a superuser: {error}",
                    stream.name
                );
                self.run.events.observe(Event::Warning { message });
                self.try_out(stream, target)
            }
            outcome => outcome,
        }
    }

    fn try_out(&self, stream: &Stream, target: &RestoreTarget) -> Result<Verified, OpError> {
        let Self { plan, references, pass_env, run, scratch } = self;
        let workers = plan.job.workers;
        let jobs = Jobs { workers, scratch, observer: run.events.as_ref(), cancel: &run.cancel };
        let look = |target: &RestoreTarget| {
            let mut looked = Vec::new();
            let is_of = |reference: &&Reference| {
                reference.database.as_ref().is_none_or(|database| *database == stream.name)
            };
            for reference in references.iter().filter(is_of) {
                looked.push(dangling(reference, target, run)?);
            }
            if let Some(command) = &plan.job.smoke {
                looked.push(smoke(command, (&plan.chosen, stream), target, (pass_env, run))?);
            }
            Ok(looked)
        };
        plan.chosen.verify(stream, target, plan.job.share, &jobs, &look)
    }
}

/// Whether an honest dump may fail like this for want of rights. None needs programs or files of the server's machine.
fn needs_superuser(error: &OpError) -> bool {
    let text = error.to_string();
    let reaches_out = ["external program", "_server_program", "_server_files", "COPY to or from a file"];
    error.failure() == Some(Failure::PermissionDenied)
        && !reaches_out.iter().any(|words| text.contains(words))
}

/// A role without rights, where the server's own role is a superuser and lets others log in.
fn scratch_role(plan: &VerifyPlan, app: &App, run: &Run) -> Result<Option<ScratchRole>, OpError> {
    let mut random = [0; 24];
    app.entropy().fill(&mut random).map_err(RepoError::from)?;
    let letters: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let (name, password) = letters.split_at_checked(8).unwrap_or((&letters, ""));
    match ScratchRole::make(&plan.target, &format!("dumpvault_verify_role_{name}"), password)? {
        ScratchAttempt::Role(role) => Ok(Some(*role)),
        ScratchAttempt::NotSuperuser => Ok(None),
        ScratchAttempt::Refused(error) if plan.job.no_superuser || run.cancel.is_cancelled() => {
            Err(error.into())
        }
        ScratchAttempt::Refused(error) => {
            let message =
                format!("the dump is restored as a superuser, because no other role can log in: {error}");
            run.events.observe(Event::Warning { message });
            Ok(None)
        }
    }
}

fn is_about_the_dump(error: &OpError) -> bool {
    match error {
        error if error.is_cancelled() => false,
        // Nothing was tried.
        error if error.is_refused_script() => false,
        // A server for a while that is not there says nothing of the dump.
        OpError::Source {
            source: SourceError::Redis(RedisError::NotStarted { .. }) | SourceError::ProgramNotFound { .. },
            ..
        } => false,
        // A full disk of the test server, say: nothing was found out.
        error if error.failure().is_some_and(Failure::is_of_the_server) => false,
        OpError::Source { .. } | OpError::Incomplete { .. } | OpError::Archive(_) => true,
        OpError::Aftermath { failure, .. } => is_about_the_dump(failure),
        _ => false,
    }
}
