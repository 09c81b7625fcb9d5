//! Restoring into a Redis or Valkey server, as a whole or key by key: what has to hold before it is touched, and what
//! becomes of its keys.

use super::extract::Extract;
use super::guard::{ExpectedHost, refuse_protected};
use super::{Chosen, Target};
use crate::base::clock::Clock;
use crate::base::event::Event;
use crate::base::fault::{Class, Next};
use crate::base::run::Run;
use crate::base::words;
use crate::content::rdb::Reader;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::keys::key_map;
use crate::engine::plan::Programs;
use crate::source::SourceError;
use crate::source::kind::Home;
use crate::source::process::Limits;
use crate::source::redis::{
    self, Access, Choice, Conflict, Form, Outcome, RedisError, TargetState, Told, settled, soon,
};
use crate::vault::reader::ReadStats;
use crate::vault::snapshot::{Stream, StreamFormat};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Magic and version.
const HEADER_BYTES: usize = 9;
/// Keys that are named in a refusal.
const NAMED: usize = 5;
/// Prefixes of libraries that keep jobs in Redis.
const QUEUES: [&str; 7] = ["bull:", "bullmq:", "rq:", "resque:", "sidekiq:", "celery-task-meta-", "arq:"];

/// What somebody asks to restore into a server.
#[derive(Debug, Clone)]
pub struct RedisJob {
    /// Its address.
    pub address: String,
    /// Keys that are restored one by one, beside those that are there; `None` for the whole file, in place of all that
    /// is there.
    pub keys: Option<Choice>,
    /// Only the whole file will do.
    pub as_master: bool,
    /// Replace what is there.
    pub force: bool,
    /// Refuse another host.
    pub expected_host: ExpectedHost,
    /// How long the restore may take.
    pub timeout: Option<Duration>,
    /// Nothing will be restored: which keys are there is looked at all the same.
    pub dry_run: bool,
}

/// A restore into a server.
pub struct RedisPlan {
    /// What is restored: the first stream of keys.
    pub extract: Extract,
    /// All of them: a cluster has one a shard.
    pub streams: Vec<Stream>,
    /// The server, in words.
    pub server: String,
    /// How it stands.
    pub state: TargetState,
    /// Which keys are meant and are there, where that was looked at.
    pub looked: Option<Outcome>,
    /// As asked for.
    pub job: RedisJob,
    target: redis::Target,
}

impl RedisPlan {
    /// The server and what it holds, in words.
    pub fn about(&self) -> String {
        about(&self.server, &self.state)
    }

    /// Whether it holds keys.
    pub fn holds_keys(&self) -> bool {
        self.state.databases.values().any(|found| found.keys > 0)
    }
}

/// What became of a restore.
pub struct RedisReport {
    /// What was read.
    pub stats: ReadStats,
    /// What became of the keys, where they went one by one.
    pub outcome: Option<Outcome>,
    /// There are jobs among the keys, whose time went on.
    pub has_queue: bool,
}

impl RedisReport {
    /// What it comes to; `None` when all is there.
    pub fn class(&self) -> Option<Class> {
        let refused = self.outcome.as_ref().map_or(0, |outcome| outcome.refused);
        (refused > 0).then_some(Class::Partial)
    }
}

/// Looks at the server and says whether a restore can go there. Changes nothing.
///
/// # Errors
/// When the stream is no file of Redis, it is not the host that was expected, it holds what is not to be replaced, or
/// it cannot be asked.
pub fn plan_redis(
    mut job: RedisJob,
    chosen: Chosen,
    streams: Vec<Stream>,
    app: &App,
    run: &Run,
) -> Result<RedisPlan, OpError> {
    let Some(stream) = streams.first() else {
        return Err(OpError::Job { message: "the snapshot holds no Redis RDB file".to_owned(), next: None });
    };
    let limits = Limits::new(run.cancel.clone()).with_timeout(job.timeout);
    let said = access(&job.address, app, run)?;
    let is_by_sentinels = said.address.is_by_sentinels();
    let access = settled(&said, &limits)?;
    let server = access.address.server();
    let target = redis::Target { access, limits, events: Arc::clone(&run.events) };
    let mut reader = Reader::new();
    reader.push(&chosen.front(stream, HEADER_BYTES, &run.cancel)?);
    let file = Form::of(&reader.finish().1);
    let mut state = target.inspect()?;
    // Right after a failover they are not connected to it yet.
    state.is_watched |= is_by_sentinels;
    let address = &target.access.address;
    let names: Vec<&str> = [server.as_str()].into_iter().chain(address.host()).collect();
    job.expected_host.check(&names, "check {to_redis}, or {expect_host}")?;
    if !state.databases.is_empty() {
        let next = "restore into another server, or edit `protect`";
        refuse_protected(&app.settings.protect, &names, &format!("`{server}`"), &holds(&state), next)?;
    }
    if job.keys.is_none() && (streams.len() > 1 || state.info.is_cluster()) {
        if job.as_master {
            let message = "a cluster is restored key by key".to_owned();
            return Err(OpError::Job { message, next: Some(Next::new("leave out {via} master")) });
        }
        job.keys =
            Some(Choice { patterns: Vec::new(), databases: Default::default(), conflict: Conflict::Fail });
    }
    let extract = Extract::whole(chosen, stream.clone());
    let mut plan = RedisPlan { extract, streams, server, state, looked: None, job, target };
    match plan.job.keys.is_some() {
        true => plan.look_at_keys(run)?,
        false => plan.check_whole(file)?,
    }
    Ok(plan)
}

impl RedisPlan {
    /// A whole file takes the place of all that is there.
    fn check_whole(&self, file: Form) -> Result<(), OpError> {
        let state = &self.state;
        let refusal = self.target.refusal(state).or_else(|| self.target.misfit(state, file));
        refusal.map_or(Ok(()), |refusal| Err(failed(refusal)))?;
        let refused = |message: String, next: &'static str| {
            Err(OpError::Refused { message, next: Some(Next::new(next)) })
        };
        match self.holds_keys() {
            true if !self.job.force => refused(
                format!("refused: {} is not empty", self.about()),
                "use {force} to replace all that it holds",
            ),
            true if state.empties_first => refused(
                format!("refused: {} empties itself before it has received anything", self.about()),
                "`CONFIG SET repl-diskless-load disabled` there keeps its data until all has come",
            ),
            _ => Ok(()),
        }
    }

    /// Nothing is sent before it is known that it can be.
    fn look_at_keys(&mut self, run: &Run) -> Result<(), OpError> {
        let Some(choice) = self.job.keys.clone() else { return Ok(()) };
        if self.state.info.is_replica() && !self.state.info.is_cluster() {
            let refusal = self.target.refusal(&self.state);
            refusal.map_or(Ok(()), |refusal| Err(failed(refusal)))?;
        }
        let is_empty = self.state.databases.is_empty();
        if !self.job.dry_run && (choice.conflict != Conflict::Fail || is_empty) {
            return Ok(());
        }
        let (looked, _) = self.send(&choice, true, run)?;
        none_meant(&looked, &choice)?;
        if looked.there > 0 && choice.conflict == Conflict::Fail {
            let some: Vec<&str> = looked.named.iter().take(NAMED).map(|(key, _)| key.as_str()).collect();
            return Err(OpError::Refused {
                message: format!(
                    "refused: {} of the snapshot are in {} already: {}",
                    words::count(looked.there, "key"),
                    self.about(),
                    some.join(", ")
                ),
                next: Some(Next::new("use {on_conflict} skip to keep them, or {on_conflict} replace")),
            });
        }
        self.looked = Some(looked);
        Ok(())
    }

    fn send(&self, choice: &Choice, is_look: bool, run: &Run) -> Result<(Outcome, ReadStats), OpError> {
        let told = Told::default();
        let now_ms = u64::try_from(Clock::now(run.clock.as_ref()).as_millisecond()).unwrap_or_default();
        let version = self.state.reads.version;
        let open = || redis::open_keys(&self.target, choice, version, is_look, now_ms, &told);
        let mut sent = Ok(ReadStats::default());
        for stream in &self.streams {
            let target = Target::Program(&open, format!("server `{}`", self.server));
            let more = self.extract.chosen.restore(stream, target, run.events.as_ref(), &run.cancel);
            sent = more.and_then(|more| Ok(sum(sent?, &more)));
            if sent.is_err() {
                break;
            }
        }
        let outcome = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if sent.is_err() && outcome.restored > 0 {
            let keys = words::count(outcome.restored, "key");
            let message = format!("{keys} had been restored before this failed, and stay");
            run.events.observe(Event::Warning { message });
        }
        Ok((outcome, sent?))
    }
}

/// Carries out a plan.
///
/// # Errors
/// When it fails. A server that takes a whole file holds what it held, or nothing; of keys, those that were sent stay.
pub fn run_redis(plan: &RedisPlan, app: &App, run: &Run) -> Result<RedisReport, OpError> {
    if let Some(choice) = &plan.job.keys {
        let (outcome, stats) = plan.send(choice, false, run)?;
        none_meant(&outcome, choice)?;
        return Ok(RedisReport { stats, outcome: Some(outcome), has_queue: has_queue(&plan.streams) });
    }
    let now_ms = u64::try_from(Clock::now(run.clock.as_ref()).as_millisecond()).unwrap_or_default();
    let open = || plan.target.open(plan.extract.stream.bytes, app.entropy(), Some(soon(now_ms)));
    let into = format!("server `{}`", plan.server);
    let stats = plan.extract.send(Target::Program(&open, into), run)?;
    Ok(RedisReport { stats, outcome: None, has_queue: has_queue(&plan.streams) })
}

/// The streams that are restored: the one that is named, or all that are of keys.
///
/// # Errors
/// When there is none, or the one that is named is none of keys.
pub fn streams_of_keys(chosen: &Chosen, wanted: Option<&str>) -> Result<Vec<Stream>, OpError> {
    let all = chosen.body.streams.iter().filter(|stream| stream.format == StreamFormat::RedisRdb);
    let all: Vec<Stream> = all.cloned().collect();
    if wanted.is_none() && !all.is_empty() {
        return Ok(all);
    }
    let stream = chosen.stream(wanted)?;
    match stream.format == StreamFormat::RedisRdb {
        true => Ok(vec![stream.clone()]),
        false => Err(OpError::Job {
            message: format!("stream `{}` is not a Redis RDB file", stream.name),
            next: None,
        }),
    }
}

/// The way to the server: that of a source of the configuration with this address, or what the address and the
/// environment say.
fn access(address: &str, app: &App, run: &Run) -> Result<Access, OpError> {
    let variable = |name: &str| app.environment.text(name);
    let said = Access::of_words(address, &variable).map_err(failed)?;
    let shown = said.address.display();
    let is_it = |home: &Home| home.address == shown;
    let mut named = app.settings.sources.iter();
    let Some((name, source)) = named.find(|(_, source)| source.kind.home().as_ref().is_some_and(is_it))
    else {
        return Ok(said);
    };
    let around = Programs::of(app).surroundings_of(name, &source.programs, run.events.as_ref())?;
    Ok(source.kind.redis(&around).unwrap_or(said))
}

/// Whether a library keeps jobs in what is restored.
fn has_queue(streams: &[Stream]) -> bool {
    let is_queue = |prefix: &[u8]| QUEUES.iter().any(|name| prefix == name.as_bytes());
    streams.iter().any(|stream| {
        let map = key_map(stream).ok().flatten();
        map.is_some_and(|map| map.groups.iter().any(|group| is_queue(&group.prefix)))
    })
}

fn sum(before: ReadStats, more: &ReadStats) -> ReadStats {
    ReadStats {
        bytes: before.bytes + more.bytes,
        blocks_opened: before.blocks_opened + more.blocks_opened,
        bytes_fetched: before.bytes_fetched + more.bytes_fetched,
    }
}

/// Reads `3` or `3:5`: a database of the snapshot, and the one that its keys go to.
///
/// # Errors
/// When it is neither.
pub fn numbers(text: &str) -> Result<(u64, u64), OpError> {
    Ok(redis::databases(text).map_err(SourceError::from)?)
}

/// Which keys are meant, in words.
pub fn meant(choice: &Choice) -> String {
    let patterns: Vec<String> =
        choice.patterns.iter().map(|pattern| format!("`{}`", String::from_utf8_lossy(pattern))).collect();
    let keys =
        if patterns.is_empty() { "all keys".to_owned() } else { format!("keys {}", patterns.join(", ")) };
    let databases: Vec<String> = choice.databases.iter().map(|(from, _)| from.to_string()).collect();
    match databases.is_empty() {
        true => keys,
        false => format!("{keys} of database {}", databases.join(", ")),
    }
}

fn none_meant(outcome: &Outcome, choice: &Choice) -> Result<(), OpError> {
    match outcome.meant == 0 && !choice.is_all() {
        true => Err(OpError::Job {
            message: format!("the snapshot has none of {}; nothing was restored", meant(choice)),
            next: Some(Next::new("`ls SNAPSHOT` lists prefixes and databases")),
        }),
        false => Ok(()),
    }
}

fn about(server: &str, state: &TargetState) -> String {
    format!("`{server}` ({}, {})", state.info.name(), holds(state))
}

/// Keys by database, in a few words.
fn holds(state: &TargetState) -> String {
    let each = state.databases.iter();
    let each: Vec<String> = each
        .map(|(number, found)| format!("{} in database {number}", words::count(found.keys, "key")))
        .collect();
    if each.is_empty() { "empty".to_owned() } else { each.join(", ") }
}

fn failed(error: RedisError) -> OpError {
    SourceError::from(error).into()
}
