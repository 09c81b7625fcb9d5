//! What is to be verified: which streams of a snapshot, on which server.

use super::{Programs, ServerAt, refused};
use crate::base::fault::Next;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::restore::{Chosen, Doubt, LeftBehind, is_cluster_script, is_read_through};
use crate::source::postgres::RestoreTarget;
use crate::source::process::Limits;
use crate::vault::snapshot::Stream;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

/// What somebody asks to verify.
#[derive(Debug, Clone)]
pub struct VerifyJob {
    /// Only this stream.
    pub stream: Option<String>,
    /// The server for scratch databases.
    pub server: ServerAt,
    /// Words that client programs are run behind.
    pub exec: Option<Vec<OsString>>,
    /// About which share of the rows is restored: 1 for all.
    pub share: f64,
    /// Workers that restore and count.
    pub workers: usize,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// What needs a superuser fails.
    pub no_superuser: bool,
    /// The program that loads Redis files.
    pub redis_server: Option<OsString>,
    /// Shell command that tries each scratch copy out: if it fails, so does the verification.
    pub smoke: Option<String>,
}

/// Streams to restore for trial, one after the other.
pub struct VerifyPlan {
    /// The snapshot.
    pub chosen: Arc<Chosen>,
    /// Its streams.
    pub streams: Vec<Stream>,
    /// The server; each stream gets a database of its own there.
    pub target: RestoreTarget,
    /// As asked for.
    pub job: VerifyJob,
}

impl VerifyPlan {
    /// Whether a stream goes into a scratch database.
    pub fn needs_server(&self) -> bool {
        !self.streams.iter().all(is_read_through)
    }

    /// Scratch databases that killed runs left on the server.
    pub fn leftovers(&self) -> Vec<LeftBehind> {
        // Safe to ignore: a role that may not ask the server about other databases may well make one.
        let mut found = self.target.leftovers().unwrap_or_default();
        found.retain(|leftover| !leftover.is_whole);
        LeftBehind::all(&self.target, &found)
    }

    /// What makes the snapshot doubtful, for somebody to answer before it is run.
    pub fn doubts(&self) -> Vec<Doubt> {
        self.streams.iter().flat_map(|stream| self.chosen.doubts(stream)).collect()
    }
}

/// Says what a verification comes to. Nothing is started, and no server is asked.
///
/// # Errors
/// When something of it makes no sense, or the snapshot holds nothing that can be verified.
pub fn plan_verify(
    job: VerifyJob,
    chosen: impl Into<Arc<Chosen>>,
    app: &App,
    run: &Run,
) -> Result<VerifyPlan, OpError> {
    let chosen = chosen.into();
    let all = chosen.body.streams.iter();
    let streams: Vec<Stream> = match &job.stream {
        Some(name) => vec![chosen.stream(Some(name))?.clone()],
        None => all.filter(|stream| !is_cluster_script(stream)).cloned().collect(),
    };
    if let Some(name) = streams.iter().find(|stream| is_cluster_script(stream)).map(|stream| &stream.name) {
        let message = format!("cannot verify `{name}`: roles and tablespaces belong to the whole server");
        return Err(refused(message, None));
    }
    if streams.is_empty() {
        let id = chosen.summary.id.short();
        let message = format!("nothing to verify in snapshot {id}: pg_dumpall scripts are not supported");
        return Err(refused(message, Next::new("back up with {pg_all} {pg_globals}")));
    }
    if job.smoke.is_some() && streams.iter().all(is_read_through) {
        let id = chosen.summary.id.short();
        let message = format!("{{run}}: snapshot {id} holds no database that a command could try out");
        return Err(refused(message.replace("{run}", "--run"), None));
    }
    let programs = Programs::of(app);
    let limits = Limits::new(run.cancel.clone()).with_timeout(job.timeout);
    let target = RestoreTarget {
        create: true,
        no_owner: true,
        no_privileges: true,
        // A scratch copy needs no disk of its own.
        no_tablespaces: true,
        scratch: true,
        clients: programs.clients(programs.wrapper(job.exec.as_deref())),
        maker: Some(app.maker(run.clock.as_ref())),
        ..RestoreTarget::new(job.server.connection()?, scratch_name(&chosen, run), limits)
    };
    Ok(VerifyPlan { chosen, streams, target, job })
}

/// A name that tells what the database is, should it ever be left behind, and that no other verification has: in
/// containers, all processes may have the same number.
fn scratch_name(chosen: &Chosen, run: &Run) -> String {
    let now = run.clock.now().as_millisecond();
    format!("dumpvault_verify_{}_{}_{now:x}", chosen.summary.id.short(), std::process::id())
}
