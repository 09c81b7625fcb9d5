//! Backup: streams of a source become one snapshot.

mod guard;
mod parent;
mod structure;

pub use parent::ParentChoice;
pub(super) use parent::Parents;

use super::OpError;
use crate::clock::Clock;
use crate::codec::Level;
use crate::event::{Cancel, Event, Observer};
use crate::id::SnapshotId;
use crate::repo::history::History;
use crate::repo::session::SKEW_MAX;
use crate::repo::writer::{BackupSession, CommitRequest, Committed, Finished, PipelineSettings, SUSPECT};
use crate::repo::{RepoError, Repository};
use crate::snapshot::retention::good;
use crate::snapshot::tags::{Calendar, calendar_tags};
use crate::snapshot::{Body, FailedStream, Proof, Stream, StreamFormat, Summary, timestamp};
use crate::source::postgres::{DumpKind, kind_of_dump};
use crate::source::{Dump, SourceError};
use guard::Guard;
use jiff::Timestamp;
use std::collections::BTreeMap;
use structure::{Surveyed, TABLE_MAPS_BYTES_MAX, encode_map, judge};

/// What to back up as, besides the streams.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// Name of the series.
    pub series: String,
    /// Host that the series belongs to.
    pub host: String,
    /// Moment of the dump, for imports; the present otherwise.
    pub time: Option<Timestamp>,
    /// The user's tags.
    pub tags: Vec<String>,
    /// How calendar tags are reckoned.
    pub calendar: Calendar,
    /// Compression of data.
    pub level: Level,
    /// An empty stream is no error.
    pub allow_empty: bool,
    /// Threads that compress.
    pub workers: usize,
    /// Which snapshot's streams the new ones are compared with.
    pub parent: ParentChoice,
    /// A stream is stored afresh when restoring its parent would read more than so many times what it takes by itself.
    pub read_amplification_max: f64,
    /// A stream shorter than this share of what is usual in its series makes the snapshot suspect; 0 for never.
    pub suspect_below: f64,
    /// What the source is: kind, database and the like.
    pub source: BTreeMap<String, String>,
}

/// [`BackupRequest::read_amplification_max`] where nobody says otherwise.
pub const READ_AMPLIFICATION_MAX: f64 = 3.0;

/// [`BackupRequest::suspect_below`] where nobody says otherwise.
pub const SUSPECT_BELOW: f64 = 0.5;

/// A dump that was started.
pub struct StartedDump {
    /// Its bytes and its end.
    pub dump: Box<dyn Dump>,
    /// What is known of it: server version, client version.
    pub attributes: BTreeMap<String, String>,
}

/// A stream to back up: a name, and how to start it.
pub struct PlannedStream<'a> {
    /// Name, unique in the snapshot.
    pub name: String,
    /// Starts the dump.
    pub start: Box<dyn FnOnce() -> Result<StartedDump, SourceError> + 'a>,
}

/// What a backup did.
#[derive(Debug)]
pub struct BackupReport {
    /// The snapshot.
    pub committed: Committed,
    /// Damage met on the way. The snapshot is whole all the same.
    pub damage: Vec<String>,
    /// Why the snapshot is suspect, if it is.
    pub suspects: Vec<String>,
}

impl BackupReport {
    /// Whether everything went well: all streams stored, none suspect, no damage met.
    pub fn is_clean(&self) -> bool {
        self.committed.body.failed.is_empty() && self.damage.is_empty() && self.suspects.is_empty()
    }
}

/// Stores the streams one after another and commits what ended well.
///
/// # Errors
/// When no stream ended well, or the repository failed: then there is no snapshot.
pub fn backup(
    repo: &Repository,
    clock: &dyn Clock,
    request: BackupRequest,
    streams: Vec<PlannedStream<'_>>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BackupReport, OpError> {
    observer.observe(Event::Step { what: "opening the repository".to_owned() });
    let watched = WithDamage::new(observer);
    // First: what is looked up from now on stays, or a prune ends the session.
    let registered = repo.register_backup()?;
    let skew = registered.skew_seconds(clock.now().as_millisecond());
    let (mut catalog, history, presence) = repo.synced(&watched)?;
    for damage in &history.damaged {
        watched.damage(&damage.error);
    }
    let mut parents = Parents::open(repo, &mut catalog, &history, &request, &watched)?;
    let guard = Guard::open(repo, &mut catalog, &history, &request, &watched)?;
    let settings = PipelineSettings { level: request.level, read_back: true, workers: request.workers };
    let mut session = repo.begin_registered(registered, catalog, presence, settings)?;
    if skew.unsigned_abs() > SKEW_MAX.as_secs() {
        let message = format!(
            "this machine's clock and the storage's differ by {skew} seconds: the snapshot may bear a wrong time, and forget and prune will refuse"
        );
        observer.observe(Event::Warning { message });
    }

    let mut finished = Vec::new();
    let mut failed = Vec::new();
    let mut first_hint = None;
    let mut map_room = TABLE_MAPS_BYTES_MAX;
    for planned in streams {
        let name = planned.name.clone();
        let stored = store_stream(
            &mut session,
            planned,
            &mut parents,
            request.allow_empty,
            &mut map_room,
            &watched,
            cancel,
        );
        if stored.is_err() {
            observer.observe(Event::StreamFailed { stream: name.clone() });
        }
        match stored {
            Ok(stream) => finished.push(guard.judge(stream)),
            Err(OpError::Source { source, .. }) if !matches!(source, SourceError::Cancelled { .. }) => {
                observer.observe(Event::Warning { message: format!("stream `{name}` failed: {source}") });
                first_hint = first_hint.or_else(|| source.hint());
                failed.push(FailedStream { name, reason: source.to_string() });
            }
            Err(OpError::NothingStored { reasons, hint, .. }) => {
                observer.observe(Event::Warning { message: format!("stream `{name}` failed: {reasons}") });
                first_hint = first_hint.or(hint);
                failed.push(FailedStream { name, reason: reasons });
            }
            Err(error @ OpError::Incomplete { .. }) => {
                observer.observe(Event::Warning { message: error.to_string() });
                first_hint = first_hint.or_else(|| error.hint());
                failed.push(FailedStream { name, reason: error.to_string() });
            }
            Err(error) => {
                session.abandon();
                return Err(error);
            }
        }
    }
    if finished.is_empty() {
        session.abandon();
        let reasons: Vec<&str> = failed.iter().map(|stream| stream.reason.as_str()).collect();
        return Err(OpError::NothingStored {
            series: request.series,
            reasons: reasons.join("; "),
            hint: first_hint,
        });
    }
    if cancel.is_cancelled() {
        session.abandon();
        return Err(RepoError::Cancelled.into());
    }
    observer.observe(Event::Step { what: "committing".to_owned() });
    let commit = commit_request(&history, request, parents.used(), failed, clock.now());
    let committed = session.commit(finished, commit)?;
    let mut damage = watched.into_damage();
    damage.extend(pack_damage(&committed, observer));
    let suspects = suspects(&committed.body, observer);
    Ok(BackupReport { committed, damage, suspects })
}

/// Says aloud which packs could not be relied on.
pub(super) fn pack_damage(committed: &Committed, observer: &dyn Observer) -> Vec<String> {
    let healed = committed.healed.iter().map(|(pack, reason)| {
        (pack, format!("{reason}; the chunks that this backup needed were stored again"))
    });
    let lost = committed.lost.iter().map(|(pack, reason)| {
        (pack, format!("{reason}: `dumpvault check` tells which snapshots are not whole"))
    });
    let messages = healed.chain(lost).map(|(pack, what)| format!("{}: {what}", crate::repo::pack_key(pack)));
    let unlocked = committed.lock_failure.as_ref().map(|error| {
        format!("the locks of what the snapshot relies on were not prolonged: {error}; run `dumpvault lock extend`")
    });
    let messages: Vec<String> = messages.chain(unlocked).collect();
    for message in &messages {
        observer.observe(Event::Warning { message: message.clone() });
    }
    messages
}

/// Says aloud which streams are suspect.
fn suspects(body: &Body, observer: &dyn Observer) -> Vec<String> {
    let why = |stream: &Stream| {
        stream.attributes.get(SUSPECT).map(|why| format!("stream `{}` is suspect: {why}", stream.name))
    };
    let suspects: Vec<String> = body.streams.iter().filter_map(why).collect();
    for why in &suspects {
        let message = format!(
            "{why}; it is stored and can be restored, and does not count as a good copy (--suspect-below 0 if it is right)"
        );
        observer.observe(Event::Warning { message });
    }
    suspects
}

fn store_stream(
    session: &mut BackupSession,
    planned: PlannedStream<'_>,
    parents: &mut Parents,
    allow_empty: bool,
    map_room: &mut usize,
    observer: &WithDamage<'_>,
    cancel: &Cancel,
) -> Result<Finished, OpError> {
    let PlannedStream { name, start } = planned;
    let source_failed = |source| OpError::Source { what: name.clone(), source };
    let StartedDump { mut dump, mut attributes } = start().map_err(source_failed)?;
    observer.observe(Event::StreamStarted { stream: name.clone(), bytes_expected: None });
    let basis = parents.basis(session, &name, observer);
    let mut surveyed = Surveyed::new(dump.as_mut());
    session.tally(surveyed.edges());
    let outcome = session.store(&name, &mut surveyed, basis, observer, cancel);
    let verdict = surveyed.verdict();
    let mut stored = match outcome {
        Ok(stored) => stored,
        // The dump itself knows best why it could not be read.
        Err(error @ RepoError::Input { .. }) => {
            return Err(match dump.finish() {
                Err(source) => source_failed(source),
                Ok(_) => error.into(),
            });
        }
        Err(error) => return Err(error.into()),
    };
    let exited = dump.finish().map_err(source_failed)?;
    if stored.bytes() == 0 && !allow_empty {
        return Err(OpError::NothingStored {
            series: name,
            reasons: "the dump is empty, though its program ended well".to_owned(),
            hint: Some("if it may be empty, say --allow-empty".to_owned()),
        });
    }
    let mut judged = judge(&name, verdict, exited, observer)?;
    if let Some(map) = &mut judged.map {
        if let Some(new_bytes) = &stored.new_bytes {
            map.tables.iter_mut().for_each(|table| table.new_bytes = Some(new_bytes.within(table.range())));
        }
        stored.set_table_map(encode_map(&name, map, map_room, observer));
        for (key, value) in [("server_version", &map.server_version), ("database", &map.database)] {
            if !value.is_empty() {
                attributes.entry(key.to_owned()).or_insert_with(|| value.clone());
            }
        }
    }
    parents.conclude(&name, &stored, observer);
    observer.observe(Event::StreamFinished { stream: name });
    let format = format_of(&stored.front);
    let finished = stored.finish(judged.proof, format, attributes);
    Ok(match judged.suspicion {
        Some(why) => finished.suspect(why),
        None => finished,
    })
}

/// What a stream is, told by its first bytes.
fn format_of(front: &[u8]) -> StreamFormat {
    match kind_of_dump(front) {
        DumpKind::Archive { .. } => StreamFormat::PgCustom,
        DumpKind::Sql => StreamFormat::PlainSql,
        _ => StreamFormat::Unknown,
    }
}

/// Where the new snapshot stands in its series.
fn commit_request(
    history: &History,
    request: BackupRequest,
    parent: Option<SnapshotId>,
    failed: Vec<FailedStream>,
    now: Timestamp,
) -> CommitRequest {
    let time = request.time.unwrap_or(now);
    let newest = history
        .series(&request.series, &request.host)
        .max_by_key(|summary| (summary.head.counter, summary.head.time_ms));
    let all: Vec<&Summary> = history.series(&request.series, &request.host).collect();
    let good = all.iter().zip(good(&all)).filter(|(_, good)| *good);
    let mut times: Vec<Timestamp> = good.map(|(summary, _)| summary.head.time()).collect();
    times.push(time);
    let calendar = calendar_tags(&times, &request.calendar).pop().unwrap_or_default();
    CommitRequest {
        time_ms: time.as_millisecond(),
        now_ms: now.as_millisecond(),
        tags: request.tags,
        counter: newest.map_or(0, |summary| summary.head.counter).saturating_add(1),
        predecessor: newest.map(|summary| summary.id),
        time_zone: request.calendar.zone_name(),
        calendar: calendar.into_iter().map(|tag| tag.word().to_owned()).collect(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        source: request.source,
        parent,
        failed,
        series: request.series,
        host: request.host,
        origin: None,
    }
}

/// The calendar tags of every snapshot of `all`, reckoned per series over its good ones, in the order of `all`.
pub fn tags_of(all: &[Summary], calendar: &Calendar) -> Vec<Vec<&'static str>> {
    let mut tags = vec![Vec::new(); all.len()];
    let mut groups: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (at, summary) in all.iter().enumerate() {
        groups.entry((&summary.head.series, &summary.head.host)).or_default().push(at);
    }
    for mut members in groups.into_values() {
        let own: Vec<&Summary> = members.iter().filter_map(|at| all.get(*at)).collect();
        let mut good = good(&own).into_iter();
        members.retain(|_| good.next().unwrap_or(false));
        let times: Vec<Timestamp> = members
            .iter()
            .filter_map(|at| all.get(*at))
            .map(|summary| timestamp(summary.head.time_ms))
            .collect();
        for (at, found) in members.iter().zip(calendar_tags(&times, calendar)) {
            if let Some(place) = tags.get_mut(*at) {
                *place = found.into_iter().map(crate::snapshot::CalendarTag::word).collect();
            }
        }
    }
    tags
}

/// Passes events on and remembers the damage among them.
pub(super) struct WithDamage<'a> {
    inner: &'a dyn Observer,
    seen: std::sync::Mutex<Vec<String>>,
}

impl<'a> WithDamage<'a> {
    pub fn new(inner: &'a dyn Observer) -> Self {
        Self { inner, seen: std::sync::Mutex::default() }
    }

    pub fn damage(&self, error: &RepoError) {
        let object = error.object().unwrap_or_default().to_owned();
        self.observe(Event::Damage { object, message: error.to_string() });
    }

    pub fn into_damage(self) -> Vec<String> {
        self.seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Observer for WithDamage<'_> {
    fn observe(&self, event: Event) {
        if let Event::Damage { message, .. } = &event {
            self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message.clone());
        }
        self.inner.observe(event);
    }
}

impl Proof {
    /// Whether nothing at all says that the stream is whole.
    pub fn is_missing(self) -> bool {
        self == Self::Unproven
    }
}
