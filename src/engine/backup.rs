//! Backup: streams of a source become one snapshot.

mod guard;
mod parent;
mod run;
mod structure;

pub use parent::ParentChoice;
pub(super) use parent::Parents;
pub use run::{BackupsReport, Foreseen, Outcome, class_of, foresee_backups, run_backups};
pub(super) use run::{run_one, take_room};

use super::OpError;
use crate::base::calendar::{Calendar, calendar_tags};
use crate::base::clock::{Clock, timestamp};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::fault::{Fault as _, Next};
use crate::base::id::{AuthorId, SnapshotId};
use crate::base::name::{NameKind, check_name};
use crate::content::codec::Level;
use crate::content::inspect::Kind;
use crate::source::SourceError;
pub use crate::source::{PlannedStream, StartedDump};
use crate::vault::history::History;
use crate::vault::session::SKEW_MAX;
use crate::vault::snapshot::retention::good;
use crate::vault::snapshot::selection::newer;
use crate::vault::snapshot::{
    Body, CONTENT, FailedStream, Proof, SetMember, State, Stream, StreamFormat, Summary,
};
use crate::vault::writer::{
    BackupSession, Basis, CommitRequest, Committed, Finished, PipelineSettings, SHA256, SUSPECT, Share,
};
use crate::vault::{RepoError, Repository};
use guard::Guard;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use structure::{Surveyed, TABLE_MAPS_BYTES_MAX, encode_map, fit_section_map, judge};

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
    /// The run over a system that it is made in.
    pub set: Option<SetMember>,
}

/// [`BackupRequest::read_amplification_max`] where nobody says otherwise.
pub const READ_AMPLIFICATION_MAX: f64 = 3.0;

/// [`BackupRequest::suspect_below`] where nobody says otherwise.
pub const SUSPECT_BELOW: f64 = 0.5;

/// What a backup did.
#[derive(Debug)]
pub struct BackupReport {
    /// The snapshot.
    pub committed: Committed,
    /// Damage met on the way. The snapshot is whole all the same.
    pub damage: Vec<String>,
    /// Why the snapshot is suspect, if it is.
    pub suspects: Vec<String>,
    /// What this host has seen in the repository and is gone: somebody turned it back.
    pub turned_back: Vec<String>,
}

impl BackupReport {
    /// Whether everything went well: all streams stored, none suspect, no damage met.
    pub fn is_clean(&self) -> bool {
        self.committed.body.failed.is_empty()
            && self.committed.summary.head.state != State::Partial
            && self.damage.is_empty()
            && self.suspects.is_empty()
            && self.turned_back.is_empty()
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
    backup_within(Share::Whole, repo, clock, request, streams, observer, cancel)
}

/// As [`backup`], in so much memory.
fn backup_within(
    share: Share,
    repo: &Repository,
    clock: &dyn Clock,
    request: BackupRequest,
    streams: Vec<PlannedStream<'_>>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BackupReport, OpError> {
    check_names(&request, &streams)?;
    observer.observe(Event::Step { what: "opening the repository".to_owned() });
    let watched = WithDamage::new(observer);
    // Before a dump is taken that could not be stored.
    repo.authors().may_add(&request.series, &request.host).map_err(RepoError::from)?;
    // First: what is looked up from now on stays, or a prune ends the session.
    let registered = repo.writer().register_backup()?;
    let now = clock.now();
    let skew = registered.skew_seconds(now.as_millisecond());
    let is_skewed = skew.unsigned_abs() > SKEW_MAX.as_secs();
    // A wrong clock of this machine must neither stop a backup nor give it a wrong time.
    let now =
        if is_skewed { now.saturating_sub(SignedDuration::from_secs(skew)).unwrap_or(now) } else { now };
    if let Some(time) = request.time.filter(|time| *time > now + CLOCK_TOLERANCE) {
        return Err(OpError::FutureTime { time });
    }
    let (mut catalog, history, presence) = repo.synced(&watched)?;
    for damage in history.damaged.iter().filter(|damage| damage.is_failure()) {
        watched.damage(&damage.error);
    }
    for message in history.damage_beside() {
        observer.observe(Event::Warning { message });
    }
    for lie in &presence.lies {
        observer.observe(Event::Warning { message: lie.clone() });
    }
    for what in &history.turned_back {
        watched.observe(Event::Damage {
            object: "snapshots".to_owned(),
            message: format!("the repository was turned back: {what}"),
        });
    }
    let import = request.time.filter(|time| is_import(*time, now));
    let mut parents = Parents::open(repo, &mut catalog, &history, &request, import, &watched)?;
    let guard = Guard::open(repo, &mut catalog, &history, &request, &watched)?;
    let settings = PipelineSettings { level: request.level, read_back: true, workers: request.workers };
    let writer = repo.writer().within(share);
    let mut session = writer.begin_registered(registered, catalog, presence, settings)?;
    if is_skewed {
        let message = format!(
            "the clocks of this machine and of the storage differ by {skew} seconds: the snapshot gets the storage's time; forget and prune will refuse until the clock is set"
        );
        observer.observe(Event::Warning { message });
    }

    let mut finished = Vec::new();
    let mut failed = Vec::new();
    // Each failure is told once: of an only stream by the error that ends the backup.
    let is_told = streams.len() > 1;
    let tell = |message: String| {
        if is_told {
            watched.observe(Event::Warning { message });
        }
    };
    let mut first_hint = None;
    let mut map_room = TABLE_MAPS_BYTES_MAX;
    let mut left = streams.len();
    for planned in streams {
        let name = planned.name.clone();
        left -= 1;
        let stored = store_stream(
            &mut session,
            (planned, left == 0),
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
                tell(format!("stream `{name}` failed: {source}"));
                first_hint = first_hint.or_else(|| source.next());
                failed.push(FailedStream { name, reason: source.to_string() });
            }
            Err(OpError::NothingStored { reasons, hint, .. }) => {
                tell(format!("stream `{name}` failed: {reasons}"));
                first_hint = first_hint.or(hint);
                failed.push(FailedStream { name, reason: reasons });
            }
            Err(error @ OpError::Incomplete { .. }) => {
                tell(error.to_string());
                first_hint = first_hint.or_else(|| error.next());
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
        let reasons = match failed.as_slice() {
            [only] if !is_told => only.reason.clone(),
            several => format!("all {} streams failed (see above)", several.len()),
        };
        return Err(OpError::NothingStored { series: request.series, reasons, hint: first_hint });
    }
    if cancel.is_cancelled() {
        session.abandon();
        return Err(RepoError::Cancelled.into());
    }
    observer.observe(Event::Step { what: "committing".to_owned() });
    let now = if is_skewed { now } else { clock.now() };
    let commit = commit_request(&history, request, parents.used(), failed, now, repo.authors().me());
    let committed = session.commit(finished, commit)?;
    let mut damage = watched.into_damage();
    damage.extend(pack_damage(&committed, observer));
    let suspects = suspects(&committed.body, observer);
    Ok(BackupReport { committed, damage, suspects, turned_back: history.turned_back })
}

/// A time so much ahead is that of another clock, and no mistake.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// A dump whose time was given, and is so much older, is an import.
const IMPORT_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Sees that series, host, tags and streams are called as they may be.
///
/// # Errors
/// When one is not.
pub fn check_names(request: &BackupRequest, streams: &[PlannedStream<'_>]) -> Result<(), OpError> {
    check_name(NameKind::Series, &request.series)?;
    check_name(NameKind::Host, &request.host)?;
    request.tags.iter().try_for_each(|tag| check_name(NameKind::Tag, tag))?;
    streams.iter().try_for_each(|stream| check_name(NameKind::Stream, &stream.name))?;
    Ok(())
}

/// Says aloud which packs could not be relied on.
pub(super) fn pack_damage(committed: &Committed, observer: &dyn Observer) -> Vec<String> {
    let healed = committed
        .healed
        .iter()
        .map(|(pack, reason)| (pack, format!("{reason}; stored the needed chunks again")));
    let lost = committed
        .lost
        .iter()
        .map(|(pack, reason)| (pack, format!("{reason}; `dumpvault check` lists the affected snapshots")));
    let messages = healed.chain(lost).map(|(pack, what)| format!("{}: {what}", crate::vault::pack_key(pack)));
    let unlocked = committed.lock_failure.as_ref().map(|error| {
        format!(
            "cannot extend the object locks that this snapshot needs: {error}; run `dumpvault object-lock extend`"
        )
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
            "{why}; it is stored and can be restored; if it is right, run once with --suspect-below 0"
        );
        observer.observe(Event::Warning { message });
    }
    suspects
}

fn store_stream(
    session: &mut BackupSession,
    (planned, is_last): (PlannedStream<'_>, bool),
    parents: &mut Parents,
    allow_empty: bool,
    map_room: &mut usize,
    observer: &WithDamage<'_>,
    cancel: &Cancel,
) -> Result<Finished, OpError> {
    let PlannedStream { name, start } = planned;
    let source_failed = |source| OpError::Source { what: name.clone(), source };
    let StartedDump { mut dump, mut attributes } = start().map_err(source_failed)?;
    let bytes_expected = parents.bytes_of(&name);
    observer.observe(Event::StreamStarted { stream: name.clone(), bytes_expected });
    let basis = parents.basis(session, &name, observer);
    if let (Basis::Parent(_), Some(wanted)) = (&basis, dump.wants())
        && let Some(parent) = parents.stream_beside(&name, &wanted)
    {
        dump.give(parent);
    }
    let mut surveyed = Surveyed::new(dump.as_mut(), is_last.then_some(observer));
    session.tally(surveyed.edges());
    let outcome = session.store_input(&name, &mut surveyed, basis, observer, cancel);
    let inspection = surveyed.inspection();
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
    let (known, map, unread) = (dump.format(), dump.map(), dump.unread());
    let exited = dump.finish().map_err(source_failed)?;
    let Some(inspection) = inspection else {
        stored.set_table_map(map.and_then(|map| fit_section_map(&name, map, map_room, observer)));
        parents.conclude(&name, &stored, observer);
        observer.observe(Event::StreamFinished { stream: name });
        let finished = stored.finish(exited, known.unwrap_or(StreamFormat::Unknown), attributes);
        return Ok(match unread {
            Some(what) => finished.without(what),
            None => finished,
        });
    };
    let kind = inspection.kind;
    if stored.bytes() == 0 && !allow_empty {
        return Err(OpError::NothingStored {
            series: name,
            reasons: match exited {
                Proof::Unproven => "standard input was empty".to_owned(),
                _ => "the program succeeded but wrote no data".to_owned(),
            },
            hint: Some(Next::new("use {allow_empty} if this is expected")),
        });
    }
    let mut judged = judge(&name, inspection, exited, observer)?;
    if let Some(map) = &mut judged.map {
        if let Some(new_bytes) = &stored.new_bytes {
            map.tables.set_new_bytes(|range| new_bytes.within(range));
        }
        stored.set_table_map(encode_map(&name, map, map_room, observer));
        for (key, value) in [("server_version", &map.server_version), ("database", &map.database)] {
            if !value.is_empty() {
                attributes.entry(key.to_owned()).or_insert_with(|| value.clone());
            }
        }
    }
    if let Some(keys) = &judged.keys {
        stored.set_table_map(fit_section_map(&name, keys.encode(), map_room, observer));
    }
    parents.conclude(&name, &stored, observer);
    observer.observe(Event::StreamFinished { stream: name });
    let format = format_of(kind);
    if let (StreamFormat::Unknown, Some(word)) = (format, kind.word()) {
        attributes.entry(CONTENT.to_owned()).or_insert_with(|| word.to_owned());
    }
    let finished = stored.finish(judged.proof, format, attributes);
    let finished = match unread {
        Some(what) => finished.without(what),
        None => finished,
    };
    Ok(match judged.suspicion {
        Some(why) => finished.suspect(why),
        None => finished,
    })
}

/// The format's number for a kind of content.
fn format_of(kind: Kind) -> StreamFormat {
    match kind {
        Kind::PgCustom { .. } => StreamFormat::PgCustom,
        Kind::PgTar => StreamFormat::PgTar,
        Kind::PgScript { .. } | Kind::Sql => StreamFormat::PlainSql,
        Kind::RedisRdb => StreamFormat::RedisRdb,
        _ => StreamFormat::Unknown,
    }
}

/// Whether a dump of that time comes long after it was made: it is sorted in by its time, and no backup builds on it.
fn is_import(time: Timestamp, now: Timestamp) -> bool {
    now.duration_since(time) > IMPORT_AGE
}

/// Where the new snapshot stands in its series.
fn commit_request(
    history: &History,
    request: BackupRequest,
    parent: Option<SnapshotId>,
    failed: Vec<FailedStream>,
    now: Timestamp,
    me: AuthorId,
) -> CommitRequest {
    let time = request.time.unwrap_or(now);
    let is_import = request.time.is_some_and(|time| is_import(time, now));
    let newest = history
        .series(&request.series, &request.host)
        .filter(|summary| !is_import && !summary.head.is_import())
        .max_by(|a, b| newer(a, b));
    let all: Vec<&Summary> = history.series(&request.series, &request.host).collect();
    let good = all.iter().zip(good(&all)).filter(|(_, good)| *good);
    let mut times: Vec<Timestamp> = good.map(|(summary, _)| summary.head.time()).collect();
    times.push(time);
    let calendar = calendar_tags(&times, &request.calendar).pop().unwrap_or_default();
    CommitRequest {
        time_ms: time.as_millisecond(),
        now_ms: now.as_millisecond(),
        tags: request.tags,
        counter: match is_import {
            true => 0,
            false => newest.map_or(0, |summary| summary.head.counter).saturating_add(1),
        },
        predecessor: newest.map(|summary| summary.id),
        time_zone: request.calendar.zone_name(),
        calendar: calendar.into_iter().map(|tag| tag.word().to_owned()).collect(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        source: request.source,
        parent,
        failed,
        pins: pins(history, &request.series, &request.host, me),
        series: request.series,
        host: request.host,
        origin: None,
        origin_author: None,
        is_import,
        set: request.set,
    }
}

/// The newest snapshots of other series that are newer than this author's last one: whoever reads the new snapshot
/// knows that they were there.
fn pins(history: &History, series: &str, host: &str, me: AuthorId) -> Vec<SnapshotId> {
    let own = history.snapshots.iter().filter(|summary| summary.head.author == me);
    let since = own.map(|summary| summary.stored_ms).max().unwrap_or(i64::MIN);
    let mut newest: BTreeMap<(&str, &str), &Summary> = BTreeMap::new();
    for summary in &history.snapshots {
        let best = newest.entry((&summary.head.host, &summary.head.series)).or_insert(summary);
        if summary.rank() > best.rank() {
            *best = summary;
        }
    }
    newest.remove(&(host, series));
    let mut newest: Vec<&Summary> =
        newest.into_values().filter(|summary| summary.stored_ms >= since).collect();
    newest.sort_by_key(|summary| std::cmp::Reverse(summary.stored_ms));
    newest.into_iter().map(|summary| summary.id).collect()
}

/// SHA-256 of a stream, where it was reckoned.
pub fn sha256_of(stream: &Stream) -> Option<&str> {
    stream.attributes.get(SHA256).map(String::as_str)
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
                *place = found.into_iter().map(crate::vault::snapshot::CalendarTag::word).collect();
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
    pub(super) fn new(inner: &'a dyn Observer) -> Self {
        Self { inner, seen: std::sync::Mutex::default() }
    }

    pub(super) fn damage(&self, error: &RepoError) {
        let object = error.object().unwrap_or_default().to_owned();
        self.observe(Event::Damage { object, message: error.to_string() });
    }

    pub(super) fn into_damage(self) -> Vec<String> {
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
