//! The HTTP API: `/api/v1`. JSON, problems by RFC 9457, times by RFC 3339 in UTC.

mod describe;

use super::doings;
use super::known::{self, Listing, Snapshot};
use super::pages::{make_token, take_token, wanted};
use super::request::{Body, Refusal, Response, Told};
use super::route::Access::{Of, Proved};
use super::route::{Ask, Route};
use super::site::Web;
use super::store::Operation;
use super::store::Role::{Admin, Operator, Viewer};
use super::words::{self, utc};
use crate::daemon::due::Slots;
use crate::daemon::launch;
use crate::daemon::state::{AuditFault, Entry};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Streams of events at the same time.
const STREAMS: usize = 64;
const LIMIT: u64 = 200;
/// Deliveries of alerts that are shown.
const DELIVERIES: u32 = 50;

const PAGE: (&str, &str) = ("page", "page, from 1 on");
const LIMIT_WORD: (&str, &str) = ("limit", "rows of a page, at most 200 [default: 50]");

/// The routes of the API.
pub(super) const ROUTES: &[Route] = &[
    Route::api(("GET", "/api/v1/openapi.json", Of(Viewer)), document, ("This description.", "Any")).scoped(),
    Route::api(("GET", "/api/v1/me", Of(Viewer)), me, ("Who asks.", "Me")).scoped(),
    Route::api(("GET", "/api/v1/readyz", Of(Viewer)), ready, ("Whether state and scheduler work.", "Ready")).scoped(),
    Route::api(("GET", "/api/v1/status", Of(Viewer)), status, ("How it stands: jobs, storage, the newest backups.", "Status")),
    Route::api(("POST", "/api/v1/admin/backup/trigger", Of(Operator)), trigger, ("Back up now: a source, or all of the first job. At most once an hour and source.", "Started"))
        .body(&[("source", "a source; all of the first job that backs something up otherwise"), ("description", "a note for the audit log")]).scoped(),
    Route::api(("GET", "/api/v1/admin/backup/history", Of(Viewer)), history, ("The history of backups.", "History"))
        .query(&[PAGE, LIMIT_WORD, ("type", "daily, weekly, monthly, manual"), ("status", "in_progress, completed, failed, expired"), ("series", "a source or series"), ("from", "from this day or moment on"), ("to", "to the end of this day, or before this moment"), ("sort", "date, size, duration, status, type"), ("order", "asc or desc")]).scoped(),
    Route::api(("GET", "/api/v1/admin/backup/{id}", Of(Viewer)), backup, ("One backup.", "Backup")).scoped(),
    Route::api(("GET", "/api/v1/admin/backup/{id}/download", Of(Admin)), download, ("The dump itself, decrypted; for a browser's session a link that works once, for 15 minutes. `Range` resumes.", "Bytes"))
        .query(&[("stream", "the stream, where a backup has several")]).scoped(),
    Route::api(("POST", "/api/v1/admin/backup/{id}/link", Proved(Admin)), link, ("A link to a download that works once, for 15 minutes, for whoever asked.", "Link"))
        .body(&[("stream", "the stream, where a backup has several"), ("password", "of a browser's session")]).scoped(),
    Route::api(("DELETE", "/api/v1/admin/backup/{id}", Proved(Admin)), delete, ("Remove a backup. Never one that is younger than 24 hours, pinned, the last good, or the last verified one.", ""))
        .body(&[("password", "of a browser's session")]),
    Route::api(("GET", "/api/v1/jobs", Of(Viewer)), jobs, ("All jobs.", "Jobs")),
    Route::api(("GET", "/api/v1/jobs/{job}", Of(Viewer)), job, ("One job.", "Job")),
    Route::api(("POST", "/api/v1/jobs/{job}/run", Of(Operator)), run_job, ("Run a job now.", "Started")),
    Route::api(("POST", "/api/v1/jobs/{job}/pause", Of(Operator)), pause, ("Pause a job. A pause ends by itself.", ""))
        .body(&[("hours", "how long, from 1 to 744 [default: 24]")]),
    Route::api(("POST", "/api/v1/jobs/{job}/resume", Of(Operator)), resume, ("End a pause.", "")),
    Route::api(("GET", "/api/v1/runs", Of(Viewer)), runs, ("Runs, the newest first.", "Runs"))
        .query(&[PAGE, LIMIT_WORD, ("job", "a job"), ("status", "queued, in_progress, completed, failed")]),
    Route::api(("GET", "/api/v1/runs/{id}", Of(Viewer)), run, ("One run, with how far it is.", "Run")),
    Route::api(("GET", "/api/v1/runs/{id}/log", Of(Viewer)), log, ("The end of a run's log.", "Text")),
    Route::api(("GET", "/api/v1/runs/{id}/events", Of(Viewer)), events, ("How far a run is, as server-sent events.", "Events")),
    Route::api(("POST", "/api/v1/runs/{id}/cancel", Of(Operator)), cancel, ("Stop a run.", "")),
    Route::api(("GET", "/api/v1/series", Of(Viewer)), series, ("All series.", "SeriesList")).scoped(),
    Route::api(("GET", "/api/v1/snapshots", Of(Viewer)), snapshots, ("What is in the repository.", "Snapshots"))
        .query(&[("series", "a series")]).scoped(),
    Route::api(("GET", "/api/v1/snapshots/{id}", Of(Viewer)), snapshot, ("One snapshot.", "Snapshot")).scoped(),
    Route::api(("GET", "/api/v1/snapshots/{id}/tables", Of(Viewer)), tables, ("Tables of a snapshot, with rows and bytes.", "Tables")).scoped(),
    Route::api(("POST", "/api/v1/snapshots/{id}/pin", Of(Operator)), pin, ("Keep a snapshot whatever the rules say.", "")),
    Route::api(("POST", "/api/v1/snapshots/{id}/unpin", Of(Operator)), unpin, ("Let the rules decide again.", "")),
    Route::api(("POST", "/api/v1/snapshots/{id}/verify", Of(Operator)), verify, ("Restore into a scratch database, count the rows, drop it.", "Started")),
    Route::api(("POST", "/api/v1/snapshots/{id}/acknowledge", Of(Operator)), acknowledge, ("Say that a suspect snapshot is right.", ""))
        .body(&[("note", "why")]),
    Route::api(("GET", "/api/v1/diff", Of(Viewer)), diff, ("What became of tables between two snapshots.", "Any"))
        .query(&[("before", "the older snapshot"), ("after", "the newer one")]).scoped(),
    Route::api(("POST", "/api/v1/restores", Proved(Admin)), restore, ("Restore a snapshot into a new database.", "Started"))
        .body(&[("snapshot", "the snapshot"), ("database", "the new database's name"), ("password", "of a browser's session")]),
    Route::api(("GET", "/api/v1/operations", Of(Viewer)), operations, ("Restores, verifications, deletions, pins.", "Operations")),
    Route::api(("GET", "/api/v1/operations/{id}", Of(Viewer)), operation, ("One of them.", "Operation")),
    Route::api(("GET", "/api/v1/operations/{id}/events", Of(Viewer)), operation_events, ("How far it is, as server-sent events.", "Events")),
    Route::api(("GET", "/api/v1/checks", Of(Viewer)), checks, ("Runs of checks and verifications.", "Runs")),
    Route::api(("GET", "/api/v1/alerts", Of(Viewer)), alerts, ("What is wrong now, and who was told.", "Alerts")),
    Route::api(("POST", "/api/v1/alerts/acknowledge", Of(Operator)), acknowledge_alert, ("Say that somebody knows: no more reminders.", ""))
        .body(&[("subject", "what the alert is about"), ("condition", "only alerts of this kind"), ("note", "what is known, for the others and the audit log")]),
    Route::api(("GET", "/api/v1/audit", Of(Viewer)), audit, ("The audit log, the newest first.", "Audit"))
        .query(&[("before", "entries before this number"), LIMIT_WORD]),
    Route::api(("GET", "/api/v1/audit/verify", Of(Viewer)), verify_audit, ("Whether the chain of the audit log is whole.", "Chain")),
    Route::api(("GET", "/api/v1/config", Of(Admin)), config, ("Settings that hold, without secrets.", "Config")),
    Route::api(("GET", "/api/v1/users", Of(Admin)), users, ("All users.", "Users")),
    Route::api(("GET", "/api/v1/tokens", Of(Admin)), tokens, ("All tokens.", "Tokens")),
    Route::api(("POST", "/api/v1/tokens", Proved(Admin)), add_token, ("Make a token. Its secret is shown this once.", "NewToken"))
        .body(&[("name", "what it is for"), ("role", "viewer, operator, admin"), ("days", "how long it lasts [default: 90]"), ("source", "only about this source"), ("password", "of a browser's session")]),
    Route::api(("DELETE", "/api/v1/tokens/{id}", Proved(Admin)), remove_token, ("Remove a token.", ""))
        .body(&[("password", "of a browser's session")]),
];

fn document(ask: &Ask<'_>) -> Result<Response, Refusal> {
    Ok(Response::json(200, &describe::document(ROUTES, &ask.link(""))))
}

fn me(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let who = ask.who.as_ref().ok_or_else(|| Refusal::new(401, "sign_in", "sign in first"))?;
    Ok(Response::json(200, &json!({"name": who.name, "role": who.role.word(), "sources": ask.sources()})))
}

fn ready(ask: &Ask<'_>) -> Result<Response, Refusal> {
    ask.web.state(|state| state.last_end())?;
    let scheduler = crate::daemon::serve::is_running(&ask.web.root);
    Ok(Response::json(if scheduler { 200 } else { 503 }, &json!({"state": true, "scheduler": scheduler})))
}

/// The page and the rows of a page that are wanted.
fn place(ask: &Ask<'_>) -> Result<(u64, u64), Refusal> {
    let number = |name: &str, default: u64| match ask.request.query(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Refusal::invalid(format!("`{name}` is a number"))),
    };
    let (page, limit) = (number("page", 1)?, number("limit", 50)?);
    if page == 0 || limit == 0 || limit > LIMIT || page > 1_000_000 {
        return Err(Refusal::invalid(format!("`page` is 1 or more, `limit` from 1 to {LIMIT}")));
    }
    Ok((page, limit))
}

/// Whoever sends a request again with the same key gets the same answer.
fn once(ask: &Ask<'_>, act: impl FnOnce() -> Result<Response, Refusal>) -> Result<Response, Refusal> {
    let Some(key) = ask.request.header("idempotency-key") else { return act() };
    if key.len() > 200 {
        return Err(Refusal::invalid("`Idempotency-Key` has 200 characters at most"));
    }
    let who = ask.who.as_ref().map_or("", |who| who.name.as_str());
    let key = format!("{who} {} {key}", ask.request.path);
    if let Some((status, body)) = ask.web.access(|access| access.answer(&key))? {
        return Ok(Response::of(status, "application/json", body.into_bytes()));
    }
    let response = act()?;
    if let Body::Whole(body) = &response.body {
        let body = String::from_utf8_lossy(body).into_owned();
        ask.web.access(|access| access.keep_answer(&key, response.status, &body, ask.now()))?;
    }
    Ok(response)
}

fn started(ask: &Ask<'_>, id: &str, path: &str) -> Response {
    let there = ask.link(&format!("/api/v1/{path}/{id}"));
    Response::json(
        202,
        &json!({"id": id, "status": "IN_PROGRESS", "message": "It was started.", "url": there}),
    )
    .with("location", there)
}

fn entry_json(ask: &Ask<'_>, entry: &Entry, listing: &Listing) -> Value {
    let record = entry.record.clone().unwrap_or_default();
    let there = record.snapshot.as_ref().and_then(|id| listing.snapshots.iter().find(|own| own.id == *id));
    let gone = super::pages::is_gone(entry, listing);
    let checksum = record.sha256.map(|digest| format!("sha256:{digest}"));
    json!({
        "id": entry.id(),
        "filename": entry.file_name(),
        "size": record.bytes,
        "sizeHuman": record.bytes.map(words::bytes),
        "stored": record.stored,
        "new": record.new,
        "checksum": checksum.or_else(|| record.digest.map(|digest| format!("blake3:{digest}"))),
        "type": entry.kind(),
        "storage": entry.storage(),
        "storagePath": record.snapshot.as_ref().map(|id| format!("{} {id}", ask.site.repository)),
        "status": if gone { "EXPIRED" } else { entry.status() },
        "duration": record.duration.map(|ms| ms as f64 / 1000.0),
        "tableCount": record.tables,
        "rows": record.rows,
        "error": entry.error(),
        "suspect": record.suspect,
        "warning": entry.warning(),
        "removedBy": record.gone_by,
        "source": if record.source.is_empty() { entry.command.words.clone() } else { record.source },
        "series": (!record.series.is_empty()).then_some(record.series),
        "snapshot": record.snapshot,
        "run": entry.command.run,
        "pinned": there.is_some_and(|there| there.pinned),
        "verifiedAt": there.and_then(Snapshot::verified_at).map(utc),
        "keptBy": there.and_then(|there| listing.kept_by.get(&there.id)),
        "createdAt": utc(entry.command.started),
        "endedAt": entry.command.ended.map(utc),
        "expiresAt": record.expires.map(utc),
    })
}

fn history(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let (page, limit) = place(ask)?;
    let listing = Listing::last(ask.web)?;
    let (wanted, _) = wanted(ask, &listing, limit);
    let found = ask.web.state(|state| state.browse(&wanted))?;
    let backups: Vec<Value> = found.entries.iter().map(|entry| entry_json(ask, entry, &listing)).collect();
    let next = super::pages::next_backup(ask)?.map(|(due, _)| utc(due));
    Ok(Response::json(
        200,
        &json!({
            "backups": backups,
            "pagination": {"page": page, "limit": limit, "total": found.total, "pages": found.total.div_ceil(limit)},
            "summary": {"storageBytes": listing.is_known().then_some(listing.disk_bytes), "storageHuman": listing.is_known().then(|| words::bytes(listing.disk_bytes)), "kept": listing.snapshots.len(), "nextScheduled": next, "asOf": listing.is_known().then(|| utc(listing.at))},
        }),
    ))
}

fn backup(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let unknown = || Refusal::unknown("there is no such backup");
    let (command, number) = ask.param(0).split_once('.').ok_or_else(unknown)?;
    let rows = ask.web.state(|state| state.invocation(command))?;
    let row = rows.into_iter().find(|row| row.command.id == command && row.number.to_string() == number);
    let row = row.filter(|row| {
        row.record.as_ref().map_or(ask.sources().is_empty(), |record| ask.sees(&record.source))
    });
    Ok(Response::json(200, &entry_json(ask, &row.ok_or_else(unknown)?, &Listing::last(ask.web)?)))
}

fn trigger(ask: &Ask<'_>) -> Result<Response, Refusal> {
    once(ask, || {
        let id = doings::back_up(ask, ask.field("source").as_deref(), ask.field("description").as_deref())?;
        Ok(started(ask, &id, "runs"))
    })
}

fn download(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let stream = ask.request.query("stream");
    match ask.who.as_ref().map(|who| &who.way) {
        Some(super::route::Way::Token { .. }) => doings::download(ask, ask.param(0), stream),
        // A browser has to prove that it is not a page of others that asks.
        _ if !ask.is_proved => Err(Refusal::new(403, "password", "ask for a link with your password first")
            .hint("POST to `link` beside this, or use the page")),
        _ => Ok(Response::see_other(doings::link(ask, ask.param(0), stream)?)),
    }
}

fn link(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let url = doings::link(ask, ask.param(0), ask.field("stream").as_deref())?;
    Ok(Response::json(201, &json!({"url": url, "expiresAt": utc(ask.now().saturating_add(doings::LINK_MS))})))
}

fn delete(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::delete(ask, ask.param(0))?;
    Ok(Response::done())
}

fn job_json(ask: &Ask<'_>, name: &str) -> Result<Value, Refusal> {
    let job = doings::job(ask, name)?;
    let rows = ask.web.state(|state| state.job_rows())?;
    let row = rows.get(name);
    let standing = super::pages::standing(ask, name, job, row);
    let slots = Slots::of(&ask.web.machine, name, job);
    let run = |run: &crate::daemon::state::RunRow| doings::run_json(ask.web, run);
    Ok(json!({
        "name": name,
        "kind": job.work.word(),
        "sources": doings::sources_of(ask, job),
        "schedule": job.schedule.text(),
        "timeZone": job.schedule.zone().iana_name(),
        "enabled": job.enabled,
        "state": standing.state,
        "reason": standing.why,
        "next": standing.next.map(utc),
        "slot": row.and_then(|row| slots.next(row.cursor)).map(|(slot, _)| utc(slot)),
        "dueBy": standing.due_by.map(utc),
        "pausedUntil": row.and_then(|row| row.paused_until).filter(|until| *until > ask.now()).map(utc),
        "lastGood": row.and_then(|row| row.last_good).map(utc),
        "open": row.and_then(|row| row.open.as_ref()).map(run),
        "last": row.and_then(|row| row.last.as_ref()).map(run),
    }))
}

fn jobs(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let all: Result<Vec<Value>, Refusal> = ask.site.jobs.keys().map(|name| job_json(ask, name)).collect();
    Ok(Response::json(200, &json!({"jobs": all?})))
}

fn job(ask: &Ask<'_>) -> Result<Response, Refusal> {
    Ok(Response::json(200, &job_json(ask, ask.param(0))?))
}

fn run_job(ask: &Ask<'_>) -> Result<Response, Refusal> {
    once(ask, || Ok(started(ask, &doings::run_job(ask, ask.param(0))?, "runs")))
}

fn pause(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let hours = match ask.field("hours") {
        None => 24,
        Some(text) => text.parse().map_err(|_| Refusal::invalid("`hours` is a number"))?,
    };
    doings::pause(ask, ask.param(0), Some(hours))?;
    Ok(Response::done())
}

fn resume(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::pause(ask, ask.param(0), None)?;
    Ok(Response::done())
}

fn runs_page(ask: &Ask<'_>, job: Option<&str>) -> Result<Value, Refusal> {
    let (page, limit) = place(ask)?;
    let status = ask.request.query("status").map(str::to_uppercase);
    let place = (u32::try_from(limit).unwrap_or(50), u32::try_from((page - 1) * limit).unwrap_or(u32::MAX));
    let (runs, total) = ask.web.state(|state| state.runs(job, status.as_deref(), place))?;
    let runs: Vec<Value> = runs.iter().map(|run| doings::run_json(ask.web, run)).collect();
    Ok(
        json!({"runs": runs, "pagination": {"page": page, "limit": limit, "total": total, "pages": total.div_ceil(limit)}}),
    )
}

fn runs(ask: &Ask<'_>) -> Result<Response, Refusal> {
    Ok(Response::json(200, &runs_page(ask, ask.request.query("job"))?))
}

fn found_run(web: &Web, id: &str) -> Result<crate::daemon::state::RunRow, Refusal> {
    let run = web.state(|state| state.run(id))?.filter(|run| run.id == id);
    run.ok_or_else(|| Refusal::unknown("there is no such run"))
}

fn run(ask: &Ask<'_>) -> Result<Response, Refusal> {
    Ok(Response::json(200, &doings::run_json(ask.web, &found_run(ask.web, ask.param(0))?)))
}

fn log(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let run = found_run(ask.web, ask.param(0))?;
    let log = run.log.unwrap_or_else(|| launch::watch(&ask.web.root, &run.id).0);
    Ok(Response::of(200, "text/plain; charset=utf-8", words::lines(&log).into_bytes()))
}

/// A place for a stream of events: free again when it is dropped, however the stream ends.
struct Place(Arc<Web>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

fn stream(ask: &Ask<'_>) -> Result<Place, Refusal> {
    let taken = ask.web.streams.fetch_add(1, Ordering::SeqCst);
    let place = Place(Arc::clone(ask.web));
    if taken >= STREAMS {
        return Err(Refusal {
            retry_after: Some(10),
            ..Refusal::new(503, "streams", "too many streams of events are open")
        });
    }
    Ok(place)
}

/// Tells a value each time that it is another, and ends once its status is an end.
fn telling(look: impl Fn() -> Option<Value> + Send + 'static) -> Response {
    let mut told = Value::Null;
    let mut is_over = false;
    let teller = move || {
        if is_over {
            return Told::End;
        }
        let Some(now) = look() else { return Told::End };
        is_over = matches!(now.get("status").and_then(Value::as_str), Some("COMPLETED" | "FAILED"));
        if now == told {
            return Told::Nothing;
        }
        told = now;
        Told::Event("run", told.to_string())
    };
    Response { status: 200, headers: Vec::new(), body: Body::Events(Box::new(teller)) }
        .with("content-type", "text/event-stream")
        .with("x-accel-buffering", "no")
}

fn events(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let run = found_run(ask.web, ask.param(0))?;
    let place = stream(ask)?;
    Ok(telling(move || Some(doings::run_json(&place.0, &found_run(&place.0, &run.id).ok()?))))
}

fn cancel(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::cancel(ask, ask.param(0))?;
    Ok(Response::done())
}

fn snapshot_json(snapshot: &Snapshot, listing: &Listing, now: i64) -> Value {
    let guard = listing.guards(snapshot, now);
    json!({
        "id": snapshot.id, "series": snapshot.series, "host": snapshot.host, "time": snapshot.time, "type": snapshot.kind().to_uppercase(),
        "tags": snapshot.tags, "state": snapshot.state, "size": snapshot.bytes, "stored": snapshot.bytes_stored, "new": snapshot.bytes_new(),
        "durationMs": snapshot.duration_ms, "pinned": snapshot.pinned, "verifiedAt": snapshot.verified_at().map(utc),
        "keptBy": listing.kept_by.get(&snapshot.id), "notDeletable": guard.map(|(code, _)| code),
        "streams": snapshot.streams.iter().map(|stream| json!({"name": stream.name, "bytes": stream.bytes, "blake3": stream.blake3, "format": stream.format})).collect::<Vec<_>>(),
    })
}

fn series(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let all: Vec<Value> = listing.series().into_iter().filter(|series| ask.sees(series)).filter_map(|series| {
        let newest = listing.of(series).next_back()?;
        let good = listing.of(series).rfind(|snapshot| snapshot.state == "complete");
        let proved = listing.of(series).filter_map(Snapshot::verified_at).max();
        Some(json!({"series": series, "snapshots": listing.of(series).count(), "newest": newest.id, "newestTime": newest.time, "lastGood": good.map(|good| good.time.clone()), "lastVerified": proved.map(utc), "stored": listing.of(series).map(|snapshot| snapshot.bytes_stored).sum::<u64>()}))
    }).collect();
    Ok(Response::json(
        200,
        &json!({"series": all, "asOf": listing.is_known().then(|| utc(listing.at)), "error": listing.error.map(|(_, why)| why)}),
    ))
}

fn snapshots(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let wanted = ask.request.query("series");
    let own = listing.snapshots.iter().rev().filter(|snapshot| {
        ask.sees(&snapshot.series) && wanted.is_none_or(|series| snapshot.series == series)
    });
    let all: Vec<Value> =
        own.take(1000).map(|snapshot| snapshot_json(snapshot, &listing, ask.now())).collect();
    Ok(Response::json(200, &json!({"snapshots": all, "asOf": listing.is_known().then(|| utc(listing.at))})))
}

fn snapshot(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = doings::snapshot(ask, &listing, ask.param(0))?;
    Ok(Response::json(200, &snapshot_json(&snapshot, &listing, ask.now())))
}

fn tables(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let snapshot = doings::snapshot(ask, &Listing::last(ask.web)?, ask.param(0))?;
    let tables = known::tables(ask.web, &snapshot.id)?;
    Ok(Response::json(200, &json!({"snapshot": snapshot.id, "tables": tables})))
}

fn pin(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::pin(ask, ask.param(0), true)?;
    Ok(Response::done())
}

fn unpin(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::pin(ask, ask.param(0), false)?;
    Ok(Response::done())
}

fn verify(ask: &Ask<'_>) -> Result<Response, Refusal> {
    once(ask, || Ok(started(ask, &doings::verify(ask, ask.param(0))?, "operations")))
}

fn acknowledge(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::acknowledge(ask, ask.param(0), &ask.field("note").unwrap_or_default())?;
    Ok(Response::done())
}

fn diff(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let (Some(before), Some(after)) = (ask.request.query("before"), ask.request.query("after")) else {
        return Err(Refusal::invalid("name `before` and `after`"));
    };
    let (before, after) = (doings::snapshot(ask, &listing, before)?, doings::snapshot(ask, &listing, after)?);
    Ok(Response::json(200, &known::diff(ask.web, &before.id, &after.id)?))
}

fn restore(ask: &Ask<'_>) -> Result<Response, Refusal> {
    once(ask, || {
        let snapshot = ask.field("snapshot").ok_or_else(|| Refusal::invalid("name a `snapshot`"))?;
        let id = doings::restore(ask, &snapshot, &ask.field("database").unwrap_or_default())?;
        Ok(started(ask, &id, "operations"))
    })
}

fn operation_json(web: &Web, operation: &Operation) -> Value {
    let progress =
        std::fs::read_to_string(launch::folder(&web.root).join(format!("{}.progress", operation.id))).ok();
    let progress: Value = progress.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let report: Value =
        operation.report.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    json!({
        "id": operation.id, "kind": operation.kind, "object": operation.object, "actor": operation.actor, "status": operation.status,
        "startedAt": utc(operation.started), "endedAt": operation.ended.map(utc), "exitCode": operation.exit, "report": report,
        "error": operation.error, "progress": progress,
    })
}

fn operations(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let all = ask.web.access(|access| access.operations(200))?;
    let all: Vec<Value> = all.iter().map(|operation| operation_json(ask.web, operation)).collect();
    Ok(Response::json(200, &json!({"operations": all})))
}

fn found_operation(web: &Web, id: &str) -> Result<Operation, Refusal> {
    web.access(|access| access.operation(id))?.ok_or_else(|| Refusal::unknown("there is no such operation"))
}

fn operation(ask: &Ask<'_>) -> Result<Response, Refusal> {
    Ok(Response::json(200, &operation_json(ask.web, &found_operation(ask.web, ask.param(0))?)))
}

fn operation_events(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let id = found_operation(ask.web, ask.param(0))?.id;
    let place = stream(ask)?;
    Ok(telling(move || Some(operation_json(&place.0, &found_operation(&place.0, &id).ok()?))))
}

fn checks(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let mut all = Vec::new();
    for (name, _) in ask.site.jobs.iter().filter(|(_, job)| matches!(job.work.word(), "check" | "verify")) {
        all.extend(ask.web.state(|state| state.runs(Some(name), None, (50, 0)))?.0);
    }
    all.sort_by(|one, other| other.id.cmp(&one.id));
    let runs: Vec<Value> = all.iter().map(|run| doings::run_json(ask.web, run)).collect();
    let total = runs.len();
    Ok(Response::json(
        200,
        &json!({"runs": runs, "pagination": {"page": 1, "limit": total, "total": total, "pages": 1}}),
    ))
}

fn alerts(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let alerts = ask.web.state(|state| state.alerts())?;
    let deliveries = ask.web.state(|state| state.deliveries(DELIVERIES))?;
    let alerts: Vec<Value> = alerts.into_iter().map(|alert| json!({"condition": alert.condition, "subject": alert.subject, "text": alert.text, "hint": alert.hint, "since": utc(alert.since), "count": alert.count, "run": alert.run, "lastGood": alert.last_good.map(utc), "acknowledgedBy": alert.acked_by, "note": alert.note})).collect();
    let deliveries: Vec<Value> = deliveries.into_iter().map(|one| json!({"id": one.id, "channel": one.channel, "event": one.event, "madeAt": utc(one.made), "attempts": one.attempts, "endedAt": one.ended.map(utc), "result": one.result, "error": one.error})).collect();
    Ok(Response::json(200, &json!({"alerts": alerts, "deliveries": deliveries})))
}

fn acknowledge_alert(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::acknowledge_alert(ask)?;
    Ok(Response::done())
}

fn audit(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let (_, limit) = place(ask)?;
    let before = ask.request.query("before").and_then(|text| text.parse().ok());
    let entries = ask.web.state(|state| state.audit_page(u32::try_from(limit).unwrap_or(50), before))?;
    let entries: Vec<Value> = entries.iter().map(|entry| json!({"seq": entry.seq, "at": utc(entry.at), "actor": entry.actor, "kind": entry.kind, "object": entry.object, "detail": entry.detail, "hash": super::gate::hex(&entry.hash)})).collect();
    Ok(Response::json(200, &json!({"entries": entries})))
}

fn verify_audit(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let entries = ask.web.state(|state| state.audit())?;
    let fault = AuditFault::find(&entries);
    Ok(Response::json(
        200,
        &json!({"ok": fault.is_none(), "entries": entries.len(), "head": entries.last().map(|entry| super::gate::hex(&entry.hash)), "brokenAt": fault.map(|fault| fault.seq)}),
    ))
}

fn config(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let all: Vec<Value> = ask
        .site
        .settings
        .iter()
        .map(|(name, value, origin)| json!({"setting": name, "value": value, "origin": origin}))
        .collect();
    Ok(Response::json(200, &json!({"settings": all})))
}

fn users(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let users = ask.web.access(|access| access.users())?;
    let users: Vec<Value> = users
        .iter()
        .map(|user| json!({"name": user.name, "role": user.role.word(), "createdAt": utc(user.created)}))
        .collect();
    Ok(Response::json(200, &json!({"users": users})))
}

fn token_json(token: &super::store::Token) -> Value {
    json!({"id": token.id, "name": token.name, "role": token.role.word(), "creator": token.creator, "sources": token.sources, "createdAt": utc(token.created), "expiresAt": token.expires.map(utc), "usedAt": token.used.map(utc)})
}

fn tokens(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let tokens = ask.web.access(|access| access.tokens())?;
    Ok(Response::json(200, &json!({"tokens": tokens.iter().map(token_json).collect::<Vec<_>>()})))
}

fn add_token(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let (secret, token) = make_token(ask)?;
    let mut answer = token_json(&token);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("token".to_owned(), json!(secret));
    }
    Ok(Response::json(201, &answer))
}

fn remove_token(ask: &Ask<'_>) -> Result<Response, Refusal> {
    take_token(ask, ask.param(0))?;
    Ok(Response::done())
}

fn status(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let all: Result<Vec<Value>, Refusal> = ask.site.jobs.keys().map(|name| job_json(ask, name)).collect();
    let newest = ask
        .web
        .state(|state| state.newest_of("COMPLETED", &[]))?
        .map(|entry| entry_json(ask, &entry, &listing));
    Ok(Response::json(
        200,
        &json!({
            "jobs": all?, "lastGood": newest, "storageBytes": listing.is_known().then_some(listing.disk_bytes), "plainBytes": listing.plain_bytes, "snapshots": listing.snapshots.len(),
            "asOf": listing.is_known().then(|| utc(listing.at)), "repositoryError": listing.error.map(|(_, why)| why),
        }),
    ))
}
