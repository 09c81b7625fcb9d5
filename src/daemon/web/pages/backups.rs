//! `/settings/backup`: summary, a backup now, history, downloads, deletions, restore instructions.

use super::layout::*;
use super::{confirm, own_path};
use crate::daemon::due::Slots;
use crate::daemon::launch;
use crate::daemon::state::{Entry, Wanted};
use crate::daemon::web::doings;
use crate::daemon::web::known::{Listing, Snapshot};
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::store::Role;
use crate::daemon::web::words;
use jiff::civil::Date;
use maud::{Markup, html};

const ROWS: u64 = 25;

/// The filters of the history as the query has them.
pub(crate) fn wanted(ask: &Ask<'_>, listing: &Listing, limit: u64) -> (Wanted, u64) {
    let upper = |name: &str| ask.request.query(name).map(str::to_uppercase).filter(|text| text != "ALL");
    let page =
        ask.request.query("page").and_then(|text| text.parse::<u64>().ok()).unwrap_or(1).clamp(1, 1_000_000);
    let day = |name: &str, later: i64| {
        let day: Date = ask.request.query(name)?.parse().ok()?;
        let day = day.checked_add(jiff::Span::new().days(later)).ok()?;
        Some(day.to_zoned(ask.site.zone.clone()).ok()?.timestamp().as_millisecond())
    };
    let moment = |name: &str, later: i64| words::ms_of(ask.request.query(name)?).or_else(|| day(name, later));
    let ids: Vec<&str> = listing.snapshots.iter().map(|snapshot| snapshot.id.as_str()).collect();
    let wanted = Wanted {
        kind: upper("type"),
        status: upper("status"),
        series: ask.request.query("series").map(str::to_owned),
        sources: ask.sources().to_vec(),
        from: moment("from", 0),
        to: moment("to", 1),
        sort: ask.request.query("sort").unwrap_or("date").to_owned(),
        ascending: ask.request.query("order") == Some("asc"),
        limit: u32::try_from(limit).unwrap_or(ROWS as u32),
        offset: u32::try_from((page - 1) * limit).unwrap_or(u32::MAX),
        there: listing.is_known().then(|| serde_json::to_string(&ids).unwrap_or_default()),
    };
    (wanted, page)
}

/// When the next backup is due, and of which job.
pub(crate) fn next(ask: &Ask<'_>) -> Result<Option<(i64, String)>, Refusal> {
    let rows = ask.web.state(|state| state.job_rows())?;
    let names = doings::backups(ask).into_iter().map(|(name, _)| name);
    let due = names.filter_map(|name| {
        let job = ask.site.jobs.get(&name)?;
        let row = rows.get(&name).filter(|row| row.schedule == job.schedule.text());
        let cursor = row.map_or(ask.now(), |row| row.cursor.max(row.paused_until.unwrap_or(row.cursor)));
        Some((Slots::of(&ask.web.machine, &name, job).next(cursor)?.1, name))
    });
    Ok(due.min())
}

/// Whether a row's snapshot is not in the repository any more.
pub(crate) fn is_gone(entry: &Entry, listing: &Listing) -> bool {
    let snapshot = entry.record.as_ref().and_then(|record| record.snapshot.as_ref());
    let is_newer = entry.command.ended.unwrap_or(entry.command.started) > listing.at;
    listing.is_known()
        && !is_newer
        && entry.status() == "COMPLETED"
        && snapshot.is_some_and(|id| !listing.snapshots.iter().any(|own| own.id == *id))
}

/// The page.
pub(super) fn show(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let (wanted, page_number) = wanted(ask, &listing, ROWS);
    let history = ask.web.state(|state| state.browse(&wanted))?;
    let rules = ask.site.rules.clone().unwrap_or_else(|| "no retention rules: everything stays".to_owned());
    let sub = html! {
        (words::of(u64::try_from(ask.site.sources.len()).unwrap_or_default(), "source")) " on " strong { (ask.site.host) } ". Kept: " (rules) "."
    };
    let start = html! {
        @if ask.may(Role::Operator) {
            a.btn.btn-primary #start href=(ask.link("/settings/backup/run")) data-do="open" data-target="start-dialog" { (icon("play")) span.w { "Create backup now" } }
        }
    };
    let rows: Vec<Vec<Markup>> = history.entries.iter().map(|entry| row(ask, entry, &listing)).collect();
    let pages = pager("Pages of the history", (page_number, ROWS, history.total), "backups", &|number| {
        query(ask, "/settings/backup", &[("page", &number.to_string())])
    });
    let list = html! {
        @if rows.is_empty() {
            @if ask.request.query.iter().any(|(name, value)| name != "page" && !value.is_empty()) {
                (empty("No backup matches", &html! { "Change the filters, or " a href=(ask.link("/settings/backup")) { "show all" } "." }))
            } @else {
                (empty("No backups yet", &html! { "The first one appears here after a job ran, or after “Create backup now”." }))
            }
        } @else { (table("Backups", &columns(ask), &rows)) }
    };
    let body = html! {
        (head(&html! { "Backups" }, &sub, &start, &[]))
        (unreachable(ask, &listing))
        (running(ask)?)
        (summary(ask, &listing)?)
        section.card {
            div.card-head { div { h2 { "History" } } (as_of(ask, &listing)) }
            div.card-body { (filters(ask)) }
            (list)
            div.card-foot { (pages) }
        }
        (instructions(ask, &listing))
        (dialogs(ask)?)
    };
    Ok(page(ask, "/settings/backup", "Backups", &body))
}

fn summary(ask: &Ask<'_>, listing: &Listing) -> Result<Markup, Refusal> {
    let of = |status: &str| ask.web.state(|state| state.newest_of(status, ask.sources()));
    let (good, bad) = (of("COMPLETED")?, of("FAILED")?);
    let next = next(ask)?;
    let never = html! { span.faint { "never" } };
    let since_good = |entry: &Entry| good.as_ref().filter(|good| good.command.id > entry.command.id);
    Ok(html! {
        dl.card.stats {
            (match &good {
                Some(entry) => stat("Last successful backup", "good", &when(ask, entry.command.started), &html! {
                    @if let Some(bytes) = entry.record.as_ref().and_then(|record| record.bytes) { (words::bytes(bytes)) ", " }
                    (ago(ask, entry.command.started))
                }),
                None => stat("Last successful backup", "never", &never, &html! { "nothing was stored yet" }),
            })
            (match &next {
                Some((due, job)) => stat("Next scheduled", "miss", &when(ask, *due), &html! { (job) ", " (ago(ask, *due)) }),
                None => stat("Next scheduled", "miss", &html! { span.faint { "none" } }, &html! { "no enabled job backs anything up" }),
            })
            (stat("Total storage used", "box", &if listing.is_known() { big(&words::bytes(listing.disk_bytes)) } else { html! { span.faint { "unknown" } } }, &html! {
                (words::count(u64::try_from(listing.snapshots.len()).unwrap_or_default())) " kept, " (words::bytes(listing.plain_bytes)) " as plain files"
            }))
            (match &bad {
                Some(entry) => stat("Last failed", "bad", &when(ask, entry.command.started), &html! {
                    @if let Some(good) = since_good(entry) { "good again since " (when(ask, good.command.started)) } @else { "nothing good since then" }
                }),
                None => stat("Last failed", "good", &never, &html! { "no failure in the history" }),
            })
        }
    })
}

fn filters(ask: &Ask<'_>) -> Markup {
    let chosen =
        |name: &str, value: &str| ask.request.query(name).unwrap_or_default().eq_ignore_ascii_case(value);
    let text = |name: &str| ask.request.query(name).unwrap_or_default();
    html! {
        form.filters method="get" action=(ask.link("/settings/backup")) role="search" aria-label="Filter the history" {
            div.field { label for="f-type" { "Type" } select.in id="f-type" name="type" {
                option value="" { "All types" }
                @for kind in ["Daily", "Weekly", "Monthly", "Manual"] { option value=(kind.to_lowercase()) selected[chosen("type", kind)] { (kind) } }
            } }
            div.field { label for="f-status" { "Status" } select.in id="f-status" name="status" {
                option value="" { "All states" }
                @for (value, word) in [("in_progress", "In progress"), ("completed", "Completed"), ("failed", "Failed"), ("expired", "Expired")] {
                    option value=(value) selected[chosen("status", value)] { (word) }
                }
            } }
            div.field { label for="f-series" { "Source" } select.in id="f-series" name="series" {
                option value="" { "All sources" }
                @for name in ask.site.sources.keys() { option value=(name) selected[text("series") == name] { (name) } }
            } }
            fieldset.field.range-field {
                legend.sr { "Date range" }
                span.lab aria-hidden="true" { "Date range" }
                div.range {
                    input.in type="date" name="from" value=(text("from")) aria-label="From";
                    span.faint.to aria-hidden="true" { "to" }
                    input.in type="date" name="to" value=(text("to")) aria-label="To";
                }
            }
            div.actions { button.btn type="submit" { "Apply" } a.btn.btn-quiet href=(ask.link("/settings/backup")) { "Reset" } }
        }
    }
}

fn columns<'a>(ask: &Ask<'_>) -> Vec<Column<'a>> {
    let sort = ask.request.query("sort").unwrap_or("date").to_owned();
    let ascending = ask.request.query("order") == Some("asc");
    let by = |label: &'a str, class: &'a str, key: &str| {
        let now = match (sort == key, ascending) {
            (true, true) => "ascending",
            (true, false) => "descending",
            _ => "",
        };
        let order = if now == "descending" { "asc" } else { "desc" };
        let link = query(ask, "/settings/backup", &[("sort", key), ("order", order), ("page", "")]);
        Column { label, class, sort: Some((link, now)) }
    };
    vec![
        by("Date", "lead", "date"),
        column("Source", "nowrap"),
        by("Type", "", "type"),
        by("Size", "num", "size"),
        by("Duration", "num", "duration"),
        by("Status", "st", "status"),
        column("Actions", "act"),
    ]
}

fn row(ask: &Ask<'_>, entry: &Entry, listing: &Listing) -> Vec<Markup> {
    let record = entry.record.as_ref();
    let snapshot = record.and_then(|record| record.snapshot.clone());
    let there = snapshot.as_ref().and_then(|id| listing.snapshots.iter().find(|own| own.id == *id));
    let is_gone = is_gone(entry, listing);
    let is_suspect = record.is_some_and(|record| record.suspect.is_some());
    let date = html! {
        @match there {
            Some(there) => a.plain href=(ask.link_to("/snapshots/", &there.id)) { (when(ask, entry.command.started)) },
            None => strong { (when(ask, entry.command.started)) },
        }
        @if there.is_some_and(|there| there.pinned) { span.two { "pinned" } }
        @else if let Some(expires) = record.and_then(|record| record.expires).filter(|_| there.is_some()) {
            span.two { "kept until " (when(ask, expires)) }
        }
    };
    let none = || html! { span.faint { "none" } };
    let source = record.map(|record| record.source.clone()).unwrap_or_else(|| entry.command.words.clone());
    let why = record.and_then(|record| record.suspect.clone()).or_else(|| entry.error());
    let gone_by = record.and_then(|record| record.gone_by.as_deref());
    let status = html! {
        @if is_gone { (badge("expired")) span.two { "forgotten by the rules, or by somebody" } }
        @else if is_suspect { (badge("suspect")) }
        @else if let Some(warning) = entry.warning() { (badge("warning")) span.two.why.w { (warning) } }
        @else if there.is_some_and(|there| there.verified_at().is_some()) { (badge_saying("verified", "Completed, verified")) }
        @else { (badge(entry.status())) }
        @if let Some(by) = gone_by { span.two { (words::line(by)) } }
        @if let Some(why) = &why { span class={ "two why" @if is_suspect { " w" } } { (words::line(why)) } }
    };
    let actions = html! { div.actions {
        @if let Some(there) = there { (get_and_delete(ask, &entry.id(), there, listing)) }
        @else if let Some(run) = &entry.command.run { a.btn.btn-quiet.btn-sm href=(ask.link_to("/runs/", run)) { @if entry.status() == "IN_PROGRESS" { "Watch" } @else { "What happened" } } }
    } };
    vec![
        date,
        html! { (words::line(&source)) },
        tag(entry.kind()),
        record.and_then(|record| record.bytes).map_or_else(none, |bytes| html! { (words::bytes(bytes)) }),
        record
            .and_then(|record| record.duration)
            .map_or_else(none, |ms| html! { (words::time_ms(i64::try_from(ms).unwrap_or_default())) }),
        status,
        actions,
    ]
}

fn get_and_delete(ask: &Ask<'_>, id: &str, there: &Snapshot, listing: &Listing) -> Markup {
    if !ask.may(Role::Admin) {
        return html! {};
    }
    let what = format!("{} {}", there.series, words::short(there.at(), &ask.site.zone, ask.now()));
    let size = words::bytes(there.bytes);
    let path = |verb: &str| ask.link(&format!("/settings/backup/{id}/{verb}"));
    let guard = listing.guards(there, ask.now());
    html! {
        @if there.streams.len() == 1 {
            a.btn.btn-quiet.btn-icon href=(path("download")) title="Download" { (icon("down")) span.lbl { "Download" } span.sr { " " (what) ", " (size) } }
        } @else {
            a.btn.btn-quiet.btn-icon href=(path("download")) title="Download a stream" { (icon("down")) span.lbl { "Download" } span.sr { " a stream of " (what) } }
        }
        @match guard {
            Some((_, why)) => button.btn.btn-quiet.btn-icon type="button" aria-disabled="true" title={ "Cannot be deleted: " (why) } { (icon("lock")) span.lbl { "Delete" } span.sr { " " (what) ": not possible, " (why) } },
            None => a.btn.btn-quiet.btn-icon href=(path("delete")) title="Delete" { (icon("trash")) span.lbl { "Delete" } span.sr { " " (what) } },
        }
    }
}

/// Backups that are under way, each with how far it is.
pub(super) fn running(ask: &Ask<'_>) -> Result<Markup, Refusal> {
    let rows = ask.web.state(|state| state.job_rows())?;
    let names: Vec<String> = doings::backups(ask).into_iter().map(|(name, _)| name).collect();
    let open = rows.iter().filter(|(name, _)| names.contains(name)).filter_map(|(_, row)| row.open.as_ref());
    let open: Vec<_> = open.collect();
    Ok(html! { @for run in open { (progress(ask, run, "Backup in progress")?) } })
}

/// A run that is under way.
pub(super) fn progress(
    ask: &Ask<'_>,
    run: &crate::daemon::state::RunRow,
    title: &str,
) -> Result<Markup, Refusal> {
    let told = launch::watch(&ask.web.root, &run.id).1;
    let told: serde_json::Value = told.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let number = |key: &str| told.get(key).and_then(serde_json::Value::as_u64);
    let stream = told.get("stream").and_then(|value| value.as_str()).map(words::line);
    let bytes = number("bytes").unwrap_or_default();
    let sources = ask.site.jobs.get(&run.job).map(|job| doings::sources_of(ask, job)).unwrap_or_default();
    let usual = match sources.as_slice() {
        [one] => ask.web.state(|state| state.usual(one))?,
        _ => None,
    };
    let whole = usual.map(|(bytes, _)| bytes).or_else(|| number("expected"));
    let api = ask.link(&format!("/api/v1/runs/{}", run.id));
    let end = usual
        .zip(run.started)
        .map(|((_, ms), started)| started.saturating_add(i64::try_from(ms).unwrap_or_default()));
    Ok(html! {
        section.card aria-labelledby={ "r-" (run.id) } data-events={ (api) "/events" } data-run=(api) data-usual=[whole] {
            div.card-head {
                div {
                    h2 id={ "r-" (run.id) } { (title) ": " (run.job) }
                    p { @if run.status == "QUEUED" { "Waits to be started. " } @else if let Some(started) = run.started { "Started " (when(ask, started)) ", " (ago(ask, started)) ". " } "You can leave this page; it goes on." }
                }
                div.actions {
                    a.btn.btn-sm href=(ask.link_to("/runs/", &run.id)) { "Watch" }
                    @if ask.may(Role::Operator) && run.status == "IN_PROGRESS" {
                        form method="post" action=(ask.link(&format!("/runs/{}/cancel", run.id))) { (csrf(ask)) button.btn.btn-sm.btn-quiet type="submit" { "Cancel" span.sr { " the run of " (run.job) } } }
                    }
                }
            }
            div.card-body { div.prog {
                @match whole {
                    Some(whole) => progress value=(bytes.min(whole)) max=(whole.max(1)) aria-label={ "Progress of " (run.job) } {},
                    None => progress aria-label={ "Progress of " (run.job) } {},
                }
                div.line aria-live="polite" {
                    span data-says { @if let Some(stream) = &stream { (stream) ": " } (words::bytes(bytes)) @if let Some(whole) = whole { " of about " (words::bytes(whole)) } }
                    @if let Some(end) = end { span { "done about " (when(ask, end)) ", as the median of earlier runs" } }
                }
            } }
        }
    })
}

fn dialogs(ask: &Ask<'_>) -> Result<Markup, Refusal> {
    if !ask.may(Role::Operator) {
        return Ok(html! {});
    }
    Ok(html! {
        dialog.modal id="start-dialog" aria-labelledby="start-h" {
            form method="post" action=(ask.link("/settings/backup/run")) {
                h2 id="start-h" { "Create a backup now?" }
                (start_fields(ask, "d")?)
                div.actions { button.btn type="button" data-do="close" { "Cancel" } button.btn.btn-primary type="submit" { "Create backup" } }
            }
        }
    })
}

fn start_fields(ask: &Ask<'_>, id: &str) -> Result<Markup, Refusal> {
    let mut sources: Vec<String> =
        doings::backups(ask).into_iter().flat_map(|(_, sources)| sources).collect();
    sources.sort();
    sources.dedup();
    let first = sources.first();
    let usual = match first {
        Some(first) if sources.len() == 1 => ask.web.state(|state| state.usual(first))?,
        _ => None,
    };
    Ok(html! {
        (csrf(ask))
        p { "It runs beside normal work and locks no tables. One manual backup of a source is allowed in " (words::time(ask.site.serve.manual_every.as_secs())) "." }
        @if sources.is_empty() { p.err { (icon("bad")) "No enabled job backs anything up: add one to the configuration." } }
        div.field { label for={ (id) "-source" } { "What" } select.in id={ (id) "-source" } name="source" {
            @for source in &sources {
                @let title = ask.site.sources.get(source).map(|(_, title)| title.as_str()).unwrap_or_default();
                option value=(source) { (source) @if !title.is_empty() { ", " (title) } }
            }
            @if sources.len() > 1 { option value="" { "everything of the first job" } }
        } }
        @if let Some((bytes, ms)) = usual {
            (facts(&[("Usual size", html! { (words::bytes(bytes)) }), ("Usual duration", html! { (words::time_ms(i64::try_from(ms).unwrap_or_default())) })]))
        }
        div.field { label for={ (id) "-note" } { "Note " span.faint { "(optional)" } } input.in id={ (id) "-note" } name="description" maxlength="200"; }
    })
}

/// The question before a backup, as a page.
pub(super) fn ask_run(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let fields = start_fields(ask, "p")?;
    let action = ask.link("/settings/backup/run");
    Ok(confirm(ask, "Create a backup now?", &html! {}, &action, ("Create backup", "btn-primary"), &fields))
}

/// Starts a backup.
pub(super) fn run(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let source = ask.field("source");
    doings::back_up(ask, source.as_deref(), ask.field("description").as_deref())?;
    Ok(Response::see_other(ask.link("/settings/backup")))
}

/// The question before a download.
pub(super) fn ask_download(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = doings::snapshot(ask, &listing, ask.param(0))?;
    let title = format!("Download the backup of {}?", words::short(snapshot.at(), &ask.site.zone, ask.now()));
    let text = html! { "The file is the decrypted dump of " strong { (snapshot.series) } ". The link works once, for 15 minutes, and is written to the audit log." };
    let more = html! {
        (csrf(ask))
        @if snapshot.streams.len() > 1 {
            div.field { label for="stream" { "Stream" } select.in id="stream" name="stream" {
                @for stream in &snapshot.streams { option value=(stream.name) { (stream.name) ", " (words::bytes(stream.bytes)) } }
            } }
        } @else { (facts(&[("Size", html! { (words::bytes(snapshot.bytes)) }), ("BLAKE3", html! { code.small { (snapshot.streams.first().map(|stream| stream.blake3.as_str()).unwrap_or_default()) } })])) }
        (password(ask, "pw"))
    };
    let action = ask.link(&format!("/settings/backup/{}/download", ask.param(0)));
    Ok(confirm(ask, &title, &text, &action, ("Get the link", "btn-primary"), &more))
}

/// Makes a link and shows it.
pub(super) fn download(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let link = doings::link(ask, ask.param(0), ask.field("stream").as_deref())?;
    let until = when(ask, ask.now().saturating_add(doings::LINK_MS));
    let body = html! {
        (head(&html! { "Your download" }, &html! { "The link works once, until " (until) ", for you alone." }, &html! {}, &[(ask.link("/settings/backup"), "Backups")]))
        section.card { div.card-body.stack {
            p { "The file is the decrypted dump. Keep it where only those can read it who may." }
            div.actions { a.btn.btn-primary href=(link) download { (icon("down")) "Download" } a.btn href=(ask.link("/settings/backup")) { "Back" } }
        } }
    };
    Ok(page(ask, "/settings/backup", "Download", &body))
}

/// Follows a link.
pub(super) fn follow(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::follow(ask, ask.param(0))
}

/// The question before a deletion.
pub(super) fn ask_delete(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = doings::snapshot(ask, &listing, ask.param(0))?;
    if let Some((code, why)) = listing.guards(&snapshot, ask.now()) {
        return Err(Refusal::new(409, code, format!("the backup cannot be deleted: {why}")));
    }
    let title = format!("Delete the backup of {}?", words::short(snapshot.at(), &ask.site.zone, ask.now()));
    let text = html! { "The backup of " strong { (snapshot.series) } " can no longer be restored. The space comes back with the next prune. No other backup depends on it." };
    let action = ask.link(&format!("/settings/backup/{}/delete", ask.param(0)));
    Ok(confirm(
        ask,
        &title,
        &text,
        &action,
        ("Delete backup", "btn-danger"),
        &html! { (csrf(ask)) (password(ask, "pw")) },
    ))
}

/// Deletes a backup.
pub(super) fn delete(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::delete(ask, ask.param(0))?;
    Ok(Response::see_other(ask.link(&own_path(Some("/settings/backup")))))
}

/// What to do in an emergency, with the commands filled in.
fn instructions(ask: &Ask<'_>, listing: &Listing) -> Markup {
    let is_good = |snapshot: &&Snapshot| snapshot.state == "complete";
    let is_dump = |snapshot: &&Snapshot| {
        let mut formats = snapshot.streams.iter().filter_map(|stream| stream.format.as_deref());
        formats.any(|format| format.starts_with("pg_dump"))
    };
    let newest = || listing.snapshots.iter().rev().filter(is_good);
    // The commands below are about databases.
    let good = newest().find(is_dump).or_else(|| newest().next());
    let name = good.map_or_else(|| "app".to_owned(), |snapshot| snapshot.series.clone());
    let id = good.map_or_else(|| name.clone(), |snapshot| snapshot.short().to_owned());
    let serve = &ask.site.serve;
    let duration = |time: std::time::Duration| words::time(time.as_secs());
    html! {
        details.card.fold #restore {
            summary { (icon_with("chev", "chev")) div { h2 { "Restore instructions" } p { "Step by step, with the commands filled in." @if let Some(rpo) = serve.rpo { " At most " (duration(rpo)) " of data are lost." } } } }
            div.card-body { div.cols {
                div.c8 { ol.steps {
                    li { h3 { "Stop what writes" } p { "Stop the application, so that nothing is written while the database is put back." } }
                    li { h3 { "Choose a backup" } p { @if let Some(good) = good { "The newest good one is of " (when(ask, good.at())) ". " } "Look into it before you use it: tables, rows, what changed." } (command(&format!("dumpvault ls {id}"))) }
                    li { h3 { "Restore beside the live database" } p { "Nothing is overwritten: the dump is loaded under another name, its rows are counted, and only then the names are exchanged." } (command(&format!("dumpvault restore {id} --to-database {name} --swap"))) }
                    li { h3 { "Only some tables?" } p { "This reads those tables alone, into a scratch database." } (command(&format!("dumpvault restore {id} --table NAME --to-database scratch --create"))) }
                    li { h3 { "Start again" } p { "Start the application, and look at a few records that you know." } }
                } }
                div.c4 { div.stack {
                    (note("warning", "What is lost", &html! {
                        "Everything written after the backup you choose."
                        @if let Some(good) = good { " The newest is " (ago(ask, good.at())) "." }
                        @if let Some(rpo) = serve.rpo { " The site promises to lose at most " (duration(rpo)) " (RPO)." }
                        @if let Some(rto) = serve.rto { " A restore may take " (duration(rto)) " (RTO)." }
                    }))
                    div.note.is-idle { (icon("phone")) h2 { "In an emergency" } p {
                        @match &serve.contact { Some(contact) => (words::line(contact)), None => { "Nobody is named yet. Set " code { "contact" } " in " code { "[serve]" } "." } }
                    } }
                    p.small.muted { "Print this: the page may be down when you need it." }
                } }
            } }
        }
    }
}
