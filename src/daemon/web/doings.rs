//! What may be asked for: runs, pauses, cancellations, deletions, restores, verifications, downloads. Pages and API ask
//! for the same.

use super::gate::{hash, hex};
use super::known::{Listing, Snapshot};
use super::request::{Body, Refusal, Response};
use super::route::Ask;
use super::store::{Link, Operation};
use super::words;
use crate::daemon::book::{OpenRun, Trigger};
use crate::daemon::launch;
use crate::daemon::serve::ring;
use crate::daemon::state::Asked;
use crate::settings::{Job, Work};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Links to downloads end so soon.
pub(super) const LINK_MS: i64 = 15 * 60_000;
/// A restore or a verification that takes longer is stopped.
const OPERATION_MAX: Duration = Duration::from_secs(24 * 3600);
const FORGET_MAX: Duration = Duration::from_secs(600);
/// A pause always ends.
const PAUSE_HOURS_MAX: i64 = 24 * 31;

/// The sources that a job backs up; none where it is no backup.
pub(super) fn sources_of(ask: &Ask<'_>, job: &Job) -> Vec<String> {
    match &job.work {
        Work::Backup { sources } => sources.clone(),
        Work::Run { system: Some(system) } => ask.site.systems.get(system).cloned().unwrap_or_default(),
        Work::Run { system: None } if ask.site.systems.len() == 1 => {
            ask.site.systems.values().next().cloned().unwrap_or_default()
        }
        Work::Run { system: None } => ask.site.sources.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Jobs that back something up and are enabled, with their sources.
pub(super) fn backups(ask: &Ask<'_>) -> Vec<(String, Vec<String>)> {
    let enabled = ask.site.jobs.iter().filter(|(_, job)| job.enabled);
    enabled
        .map(|(name, job)| (name.clone(), sources_of(ask, job)))
        .filter(|(_, sources)| !sources.is_empty())
        .collect()
}

/// When a source may be backed up by hand again, if that is later than now.
///
/// # Errors
/// When the state cannot be read.
pub(super) fn possible_at(ask: &Ask<'_>, source: &str) -> Result<Option<i64>, Refusal> {
    let every = i64::try_from(ask.site.serve.manual_every.as_millis()).unwrap_or(i64::MAX);
    let jobs: Vec<String> = backups(ask)
        .into_iter()
        .filter(|(_, sources)| sources.iter().any(|own| own == source))
        .map(|(name, _)| name)
        .collect();
    let last = ask.web.state(|state| state.asked_for(source, &jobs, ask.now().saturating_sub(every)))?;
    Ok(last.map(|last| last.saturating_add(every)).filter(|at| *at > ask.now()))
}

/// Backs up a source, or all of the first job that backs something up. The run's id.
///
/// # Errors
/// While it runs, and too soon after the last time.
pub(super) fn back_up(ask: &Ask<'_>, source: Option<&str>, note: Option<&str>) -> Result<String, Refusal> {
    let all = backups(ask);
    let covers = |sources: &[String]| source.is_none_or(|source| sources.iter().any(|own| own == source));
    let Some((job, sources)) = all.iter().find(|(_, sources)| covers(sources)) else {
        return Err(Refusal::new(404, "not_found", "no enabled job backs that up")
            .hint("add a [job.NAME] with the source to the configuration"));
    };
    let wanted: Vec<String> = source.map_or_else(|| sources.clone(), |source| vec![source.to_owned()]);
    if let Some(hidden) = wanted.iter().find(|source| !ask.sees(source)) {
        return Err(Refusal::new(403, "scope", format!("the token is not about `{hidden}`")));
    }
    let parts = if source.is_some() { wanted.clone() } else { Vec::new() };
    start(ask, job, parts, note, &wanted)
}

/// Runs a job now. The run's id.
///
/// # Errors
/// While it runs, and of backups too soon after the last time.
pub(super) fn run_job(ask: &Ask<'_>, name: &str) -> Result<String, Refusal> {
    let job = job(ask, name)?;
    if !job.enabled {
        return Err(Refusal::new(409, "disabled", format!("job `{name}` is disabled in the configuration")));
    }
    let sources = sources_of(ask, job);
    start(ask, name, Vec::new(), None, &sources)
}

/// The job of that name.
///
/// # Errors
/// Where there is none.
pub(super) fn job<'a>(ask: &'a Ask<'_>, name: &str) -> Result<&'a Job, Refusal> {
    ask.site
        .jobs
        .get(name)
        .ok_or_else(|| Refusal::unknown(format!("there is no job `{}`", words::line(name))))
}

fn start(
    ask: &Ask<'_>,
    name: &str,
    parts: Vec<String>,
    note: Option<&str>,
    sources: &[String],
) -> Result<String, Refusal> {
    let now = ask.now();
    let busy = |other: String| Refusal {
        other: Some(other),
        ..Refusal::new(409, "running", format!("job `{name}` has a run that has not ended"))
    };
    let rows = ask.web.state(|state| state.job_rows())?;
    if let Some(open) = rows.get(name).and_then(|row| row.open.as_ref()) {
        return Err(busy(open.id.clone()));
    }
    for source in sources {
        if let Some(at) = possible_at(ask, source)? {
            let wait = u64::try_from(at.saturating_sub(now)).unwrap_or_default().div_ceil(1000);
            let every = words::time(ask.site.serve.manual_every.as_secs());
            let detail = format!(
                "`{source}` was backed up by hand within {every}; the next time is possible in {}",
                words::time(wait)
            );
            return Err(Refusal { retry_after: Some(wait), ..Refusal::new(429, "too_soon", detail) });
        }
    }
    let run = OpenRun {
        id: launch::new_id(ask.web.entropy.as_ref(), now),
        job: name.to_owned(),
        kind: job(ask, name)?.work.word().to_owned(),
        trigger: Trigger::Manual,
        slot: None,
        queued: now,
        not_before: now,
        attempt: 0,
        started: None,
        parts,
    };
    if let Asked::Busy(other) = ask.web.state(|state| state.ask(&run, &ask.actor()))? {
        return Err(busy(other));
    }
    if let Some(note) = note {
        let note: String = words::line(note).chars().take(200).collect();
        ask.web.note(&ask.actor(), "note", &run.id.0, note)?;
    }
    ring(&ask.web.root);
    Ok(run.id.0)
}

/// Pauses a job for some hours, or ends its pause.
///
/// # Errors
/// Where there is no such job.
pub(super) fn pause(ask: &Ask<'_>, name: &str, hours: Option<i64>) -> Result<(), Refusal> {
    let schedule = job(ask, name)?.schedule.text();
    let until = match hours {
        None => None,
        Some(hours) if (1..=PAUSE_HOURS_MAX).contains(&hours) => {
            Some(ask.now().saturating_add(hours * 3_600_000))
        }
        Some(_) => return Err(Refusal::invalid("a pause lasts from 1 hour to 31 days")),
    };
    ask.web.state(|state| state.pause(name, &schedule, until, ask.now(), &ask.actor()))?;
    ring(&ask.web.root);
    Ok(())
}

/// Stops a run.
///
/// # Errors
/// Where it is not under way.
pub(super) fn cancel(ask: &Ask<'_>, id: &str) -> Result<(), Refusal> {
    let run = ask.web.state(|state| state.run(id))?.filter(|run| run.id == id);
    let run = run.ok_or_else(|| Refusal::unknown("there is no such run"))?;
    if run.status != "IN_PROGRESS" {
        return Err(Refusal::new(409, "not_running", "the run is not under way"));
    }
    launch::ask_to_stop(&ask.web.root, &run.id)
        .map_err(|error| Refusal::new(503, "state", format!("the run cannot be stopped: {error}")))?;
    ask.web.note(&ask.actor(), "cancel", &run.job, format!("run {} is to stop", run.id))?;
    ring(&ask.web.root);
    Ok(())
}

/// The snapshot that an id names: that of a row of the history, or of a snapshot.
///
/// # Errors
/// Where there is none in the repository.
pub(super) fn snapshot(ask: &Ask<'_>, listing: &Listing, id: &str) -> Result<Snapshot, Refusal> {
    let unknown = || Refusal::unknown("there is no such backup in the repository");
    let found = match id.split_once('.') {
        Some((command, number)) => {
            let rows = ask.web.state(|state| state.invocation(command))?;
            let row = rows.iter().find(|row| row.command.id == command && row.number.to_string() == number);
            let snapshot = row.and_then(|row| row.record.as_ref()?.snapshot.clone()).ok_or_else(unknown)?;
            listing.snapshots.iter().find(|own| own.id == snapshot)
        }
        None => listing.find(id),
    };
    let found = found.ok_or_else(unknown)?;
    if !ask.sees(&found.series) {
        return Err(unknown());
    }
    Ok(found.clone())
}

/// Removes a backup: never one that the rails hold.
///
/// # Errors
/// Where a rail holds it, and when the command refuses.
pub(super) fn delete(ask: &Ask<'_>, id: &str) -> Result<(), Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, id)?;
    if let Some((code, why)) = listing.guards(&snapshot, ask.now()) {
        return Err(Refusal::new(409, code, format!("the backup cannot be deleted: {why}")));
    }
    let words = vec!["forget".to_owned(), snapshot.id.clone()];
    let operation = begin(ask, "delete", &snapshot.id, &words)?;
    let ended = carry_out(ask.web, operation, &words, FORGET_MAX);
    match ended.error {
        Some(error) => Err(Refusal::new(409, "refused", error)),
        None => {
            let left = listing.snapshots.into_iter().filter(|own| own.id != snapshot.id).collect();
            let text = serde_json::to_string(&Listing { snapshots: left, ..listing }).unwrap_or_default();
            Ok(ask.web.access(|access| access.keep("listing", &text, ask.now()))?)
        }
    }
}

/// Restores a snapshot into a new database. The operation's id.
///
/// # Errors
/// For a name that is none, and while the same is under way.
pub(super) fn restore(ask: &Ask<'_>, id: &str, database: &str) -> Result<String, Refusal> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if database.is_empty()
        || database.len() > 63
        || !database.chars().all(is_plain)
        || database.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Refusal::invalid("name a new database: lower-case letters, digits and `_`"));
    }
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, id)?;
    let target = target(ask, database);
    let words = ["restore", &snapshot.id, "--to-database", &target, "--create", "--verify"]
        .map(str::to_owned)
        .to_vec();
    in_background(ask, "restore", &format!("{} into {database}", snapshot.short()), words)
}

/// A database on the server that gets restored ones.
fn target(ask: &Ask<'_>, database: &str) -> String {
    let Some(server) = &ask.site.serve.restore_server else { return database.to_owned() };
    let (scheme, rest) = server.split_once("://").unwrap_or(("postgres", server));
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let host = place.split('/').next().unwrap_or_default();
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{scheme}://{host}/{database}{query}")
}

/// Restores a snapshot into a scratch database, counts its rows, and drops it. The operation's id.
///
/// # Errors
/// While the same is under way.
pub(super) fn verify(ask: &Ask<'_>, id: &str) -> Result<String, Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, id)?;
    let mut words = vec!["verify".to_owned(), snapshot.id.clone()];
    if let Some(server) = &ask.site.serve.restore_server {
        words.extend(["--server".to_owned(), server.clone()]);
    }
    in_background(ask, "verify", &snapshot.id, words)
}

/// Pins a snapshot, or not any more.
///
/// # Errors
/// When the command fails.
pub(super) fn pin(ask: &Ask<'_>, id: &str, is_pinned: bool) -> Result<(), Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, id)?;
    let option = if is_pinned { "--pin" } else { "--unpin" };
    let words = ["tag", &snapshot.id, option].map(str::to_owned).to_vec();
    let operation = begin(ask, if is_pinned { "pin" } else { "unpin" }, &snapshot.id, &words)?;
    if let Some(error) = carry_out(ask.web, operation, &words, FORGET_MAX).error {
        return Err(Refusal::new(409, "refused", error));
    }
    let mut listing = listing;
    listing.snapshots.iter_mut().filter(|own| own.id == snapshot.id).for_each(|own| own.pinned = is_pinned);
    let text = serde_json::to_string(&listing).unwrap_or_default();
    Ok(ask.web.access(|access| access.keep("listing", &text, ask.now()))?)
}

/// Somebody knows of an alert, and wants no reminders: of the fields `subject`, `condition` and `note`.
///
/// # Errors
/// Where nothing is wrong with that.
pub(super) fn acknowledge_alert(ask: &Ask<'_>) -> Result<(), Refusal> {
    let subject = ask.field("subject").ok_or_else(|| Refusal::invalid("name the `subject` of the alert"))?;
    let note = ask.field("note").map(|note| words::line(&note).chars().take(500).collect::<String>());
    let (condition, actor, now) = (ask.field("condition"), ask.actor(), ask.now());
    let known = ask
        .web
        .state(|state| state.acknowledge(&subject, condition.as_deref(), note.as_deref(), now, &actor))?;
    match known {
        0 => Err(Refusal::unknown("nothing is wrong with that; it may have ended meanwhile")),
        _ => Ok(()),
    }
}

/// Somebody looked at a suspect snapshot and says that it is right.
///
/// # Errors
/// Without a note.
pub(super) fn acknowledge(ask: &Ask<'_>, id: &str, note: &str) -> Result<(), Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, id)?;
    let note: String = words::line(note.trim()).chars().take(500).collect();
    if note.is_empty() {
        return Err(Refusal::invalid("say why the backup is right"));
    }
    let who = ask.who.as_ref().map_or("", |who| who.name.as_str());
    ask.web.access(|access| access.acknowledge(&snapshot.id, who, &note, ask.now()))?;
    Ok(ask.web.note(&ask.actor(), "acknowledge", &snapshot.id, note)?)
}

fn begin(ask: &Ask<'_>, kind: &'static str, object: &str, words: &[String]) -> Result<Operation, Refusal> {
    let operation = Operation {
        id: launch::new_id(ask.web.entropy.as_ref(), ask.now()).0,
        kind: kind.to_owned(),
        object: object.to_owned(),
        words: format!("dumpvault {}", words.join(" ")),
        actor: ask.actor(),
        status: "IN_PROGRESS".to_owned(),
        started: ask.now(),
        ended: None,
        exit: None,
        report: None,
        error: None,
    };
    if let Some(other) = ask.web.access(|access| access.begin_operation(&operation))? {
        let refusal = Refusal::new(409, "running", "the same is under way");
        return Err(Refusal { other: Some(other), ..refusal });
    }
    ask.web.note(&operation.actor, kind, object, format!("asked for: {}", operation.words))?;
    Ok(operation)
}

fn carry_out(
    web: &super::site::Web,
    mut operation: Operation,
    words: &[String],
    limit: Duration,
) -> Operation {
    let progress = launch::folder(&web.root).join(format!("{}.progress", operation.id));
    let answer = web.children.run(words, limit, Some(&progress));
    // Safe to ignore: a file that is left tells of an operation that has ended.
    let _ = std::fs::remove_file(&progress);
    operation.status = if answer.error.is_none() { "COMPLETED" } else { "FAILED" }.to_owned();
    (operation.ended, operation.exit, operation.error) = (Some(web.now()), answer.exit, answer.error);
    operation.report = (!answer.report.is_null()).then(|| answer.report.to_string());
    let outcome = operation.error.clone().unwrap_or_else(|| "done".to_owned());
    let kind = match operation.kind.as_str() {
        "restore" => "restore",
        "verify" => "verify",
        "delete" => "delete",
        _ => "tag",
    };
    // Safe to ignore: what cannot be written is told by every page.
    let _ = web.access(|access| access.end_operation(&operation));
    let _ = web.note(&operation.actor, kind, &operation.object, words::line(&outcome));
    operation
}

fn in_background(
    ask: &Ask<'_>,
    kind: &'static str,
    object: &str,
    words: Vec<String>,
) -> Result<String, Refusal> {
    let operation = begin(ask, kind, object, &words)?;
    let id = operation.id.clone();
    let web = Arc::clone(ask.web);
    let thread = std::thread::Builder::new().name(kind.to_owned());
    let started = thread.spawn(move || drop(carry_out(&web, operation, &words, OPERATION_MAX)));
    started.map_err(|error| Refusal::new(503, "threads", error.to_string()))?;
    Ok(id)
}

/// What may be downloaded of a snapshot: the command, its length, a name and a digest.
struct Download {
    words: Vec<String>,
    bytes: u64,
    file: String,
    digest: Option<String>,
}

fn downloadable(snapshot: &Snapshot, stream: Option<&str>) -> Result<Download, Refusal> {
    let streams = &snapshot.streams;
    let found = match (stream, streams.as_slice()) {
        (Some(name), _) => streams.iter().find(|own| own.name == name),
        (None, [one]) => Some(one),
        (None, _) => {
            let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
            let detail = format!("the backup has several streams; name one of {}", names.join(", "));
            return Err(Refusal::invalid(detail));
        }
    };
    let found = found.ok_or_else(|| Refusal::unknown("the backup has no such stream"))?;
    let time = words::moment(snapshot.at()).strftime("%Y-%m-%dT%H-%M");
    let mut words = vec!["cat".to_owned(), snapshot.id.clone()];
    if streams.len() > 1 {
        words.extend(["--stream".to_owned(), found.name.clone()]);
    }
    let sha256 = found.attributes.get("sha256").and_then(|value| value.as_str());
    let digest = sha256.map(|digest| format!("sha256:{digest}"));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = snapshot.series.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    Ok(Download {
        words,
        bytes: found.bytes,
        file: format!("{plain}_{time}_{}.dump", snapshot.short()),
        digest: digest.or_else(|| (!found.blake3.is_empty()).then(|| format!("blake3:{}", found.blake3))),
    })
}

/// A link to a download for whoever asks, once.
///
/// # Errors
/// Where there is no such backup.
pub(super) fn link(ask: &Ask<'_>, id: &str, stream: Option<&str>) -> Result<String, Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, id)?;
    let download = downloadable(&snapshot, stream)?;
    let secret = ask.web.secret().map_err(|error| Refusal::new(503, "entropy", error.to_string()))?;
    let secret = hex(&secret);
    let link = Link {
        user: ask.who.as_ref().map_or_else(String::new, |who| who.name.clone()),
        snapshot: snapshot.id.clone(),
        stream: stream.map(str::to_owned),
        bytes: download.bytes,
        file: download.file,
        digest: download.digest,
        expires: ask.now().saturating_add(LINK_MS),
    };
    ask.web.access(|access| access.add_link(&hash(&secret), &link))?;
    ask.web.note(&ask.actor(), "download", &snapshot.id, "a link was made".to_owned())?;
    Ok(ask.link(&format!("/download/{secret}")))
}

/// Follows a link.
///
/// # Errors
/// Where it was used, has ended, or is another's.
pub(super) fn follow(ask: &Ask<'_>, secret: &str) -> Result<Response, Refusal> {
    let user = ask.who.as_ref().map_or("", |who| who.name.as_str());
    // A look is no use of it.
    if ask.request.method == "HEAD" {
        return Err(Refusal::new(405, "method", "the link works once, with GET"));
    }
    let link = ask.web.access(|access| access.take_link(&hash(secret), user, ask.now()))?;
    let link = link.ok_or_else(|| {
        Refusal::new(410, "link", "the link was used, has expired, or is not yours")
            .hint("ask for another one")
    })?;
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, &link.snapshot)?;
    send(ask, &snapshot, downloadable(&snapshot, link.stream.as_deref())?)
}

/// Sends a backup to whoever has a token.
///
/// # Errors
/// Where there is no such backup.
pub(super) fn download(ask: &Ask<'_>, id: &str, stream: Option<&str>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = snapshot(ask, &listing, id)?;
    send(ask, &snapshot, downloadable(&snapshot, stream)?)
}

/// The range that is wanted: from where on, and how many bytes.
fn range(ask: &Ask<'_>, bytes: u64, etag: &str) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(text) = ask.request.header("range") else { return Ok(None) };
    if ask.request.header("if-range").is_some_and(|wanted| wanted != etag) {
        return Ok(None);
    }
    let wrong = || Refusal::new(416, "range", format!("the backup has {bytes} bytes"));
    let (from, to) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(wrong)?;
    let last = bytes.checked_sub(1).ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
    let (from, to) = match (from, to) {
        ("", tail) => (bytes.saturating_sub(number(tail)?), last),
        (from, "") => (number(from)?, last),
        (from, to) => (number(from)?, number(to)?.min(last)),
    };
    if from > to { Err(wrong()) } else { Ok(Some((from, to - from + 1))) }
}

fn send(ask: &Ask<'_>, snapshot: &Snapshot, download: Download) -> Result<Response, Refusal> {
    let etag = format!("\"{}\"", download.digest.as_deref().unwrap_or(&snapshot.id));
    let range = range(ask, download.bytes, &etag)?;
    let (skip, bytes) = range.unwrap_or((0, download.bytes));
    ask.web.note(
        &ask.actor(),
        "download",
        &snapshot.id,
        format!("{bytes} bytes are sent, from byte {skip}"),
    )?;
    let (web, actor, object) = (Arc::clone(ask.web), ask.actor(), snapshot.id.clone());
    let told = move |sent: u64, wrong: Option<String>| {
        let end =
            wrong.map_or_else(|| "complete".to_owned(), |why| format!("broke off: {}", words::line(&why)));
        // Safe to ignore: the beginning stands in the log.
        let _ = web.note(&actor, "download", &object, format!("{sent} bytes were sent; {end}"));
    };
    let pieces = ask.web.children.pipe(&download.words, (skip, bytes), told);
    let pieces = pieces.map_err(|error| Refusal::new(502, "repository", error.to_string()))?;
    let status = if range.is_some() { 206 } else { 200 };
    let mut response = Response { status, headers: Vec::new(), body: Body::Pieces(bytes, pieces) }
        .with("content-type", "application/octet-stream")
        .with("content-disposition", format!("attachment; filename=\"{}\"", download.file))
        .with("accept-ranges", "bytes")
        .with("etag", etag);
    if range.is_some() {
        let last = (skip + bytes).saturating_sub(1);
        response = response.with("content-range", format!("bytes {skip}-{last}/{}", download.bytes));
    }
    Ok(response)
}

/// A run as the API shows it and as events tell it.
pub(super) fn run_json(web: &super::site::Web, run: &crate::daemon::state::RunRow) -> serde_json::Value {
    let is_open = matches!(run.status.as_str(), "QUEUED" | "IN_PROGRESS");
    let progress = if is_open { launch::watch(&web.root, &run.id).1 } else { None };
    let progress: serde_json::Value =
        progress.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    json!({
        "id": run.id,
        "job": run.job,
        "kind": run.kind,
        "trigger": run.trigger,
        "slot": run.slot.map(words::utc),
        "status": run.status,
        "queuedAt": words::utc(run.queued),
        "startedAt": run.started.map(words::utc),
        "endedAt": run.ended.map(words::utc),
        "attempts": run.attempts,
        "exitCode": run.exit,
        "reason": run.reason,
        "progress": progress,
    })
}
