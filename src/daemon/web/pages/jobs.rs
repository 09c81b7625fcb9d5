//! Jobs and runs.

use super::backups::progress;
use super::layout::*;
use super::overview::{below, job_columns, job_row, standing};
use crate::daemon::due::Slots;
use crate::daemon::launch;
use crate::daemon::state::RunRow;
use crate::daemon::web::doings;
use crate::daemon::web::pictures;
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::store::Role;
use crate::daemon::web::words;
use maud::{Markup, html};

const ROWS: u64 = 50;

/// All jobs.
pub(super) fn list(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let rows = ask.web.state(|state| state.job_rows())?;
    let mut lines = Vec::new();
    for (name, job) in &ask.site.jobs {
        let row = rows.get(name);
        lines.push(job_row(ask, name, job, &standing(ask, name, job, row), row)?);
    }
    let gaps = ask.web.state(|state| state.gaps(20))?;
    let missed = html! {
        ul.list { @for (at, job, decision, covers) in &gaps {
            (item(if decision == "missed" { "missed" } else { "skipped" }, &html! { a href=(ask.link_to("/jobs/", job)) { (job) } }, decision, &html! {
                "The slot of " (when(ask, *at)) @if *covers > 1 { ", the newest of " (covers) }
                @match decision.as_str() { "missed" => ": the scheduler was not running, and it was too late to make up for it.", "skipped" => ": the run before was still under way.", _ => ": the job was paused." }
            }, &html! {}))
        } }
    };
    let body = html! {
        (head(&html! { "Jobs" }, &html! { "What runs by itself, and when. The configuration file says so; this page runs, pauses and shows." }, &html! {}, &[]))
        section.card {
            @if lines.is_empty() { (empty("No jobs", &html! { "Run " code { "dumpvault schedule init" } " on the server: it prints a standard plan." })) }
            @else { (table("Jobs with state, last good run, next run and deadline", &job_columns(), &lines)) }
        }
        @if !gaps.is_empty() { (card("Slots without a run", &html! { "The newest ones." }, &html! {}, &missed)) }
    };
    Ok(page(ask, "/jobs", "Jobs", &body))
}

/// One job.
pub(super) fn show(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let name = ask.param(0);
    let job = doings::job(ask, name)?;
    let rows = ask.web.state(|state| state.job_rows())?;
    let row = rows.get(name);
    let standing = standing(ask, name, job, row);
    let (runs, total) = ask.web.state(|state| state.runs(Some(name), None, (60, 0)))?;
    let is_paused = standing.state == "paused";
    let is_free = job.enabled && row.is_none_or(|row| row.open.is_none());
    let actions = html! {
        @if ask.may(Role::Operator) {
            @if is_paused { form method="post" action=(ask.link(&format!("/jobs/{name}/resume"))) { (csrf(ask)) button.btn type="submit" { "Resume" } } }
            @else if job.enabled { form.actions method="post" action=(ask.link(&format!("/jobs/{name}/pause"))) {
                (csrf(ask)) label.sr for="hours" { "Pause for" }
                select.in id="hours" name="hours" { @for (hours, word) in [("3", "3 hours"), ("24", "1 day"), ("72", "3 days"), ("168", "1 week")] { option value=(hours) selected[hours == "24"] { (word) } } }
                button.btn type="submit" { (icon("pause")) "Pause" }
            } }
            @if is_free { form method="post" action=(ask.link(&format!("/jobs/{name}/run"))) { (csrf(ask)) button.btn.btn-primary type="submit" { (icon("play")) "Run now" } } }
        }
    };
    let zone = job.schedule.zone();
    let slots = Slots::of(&ask.web.machine, name, job);
    let mut coming = Vec::new();
    let mut cursor = row.map_or(ask.now(), |row| row.cursor);
    while let Some((slot, due)) = slots.next(cursor).filter(|_| coming.len() < 5) {
        coming.push((slot, due));
        cursor = slot;
    }
    let zoned =
        |ms: i64| words::moment(ms).to_zoned(zone.clone()).strftime("%a %-d %b %H:%M:%S %:z").to_string();
    let sources = doings::sources_of(ask, job);
    let plan = facts(&[
        ("Does", html! { (job.work.word()) @if !sources.is_empty() { span.sub { (sources.join(", ")) } } }),
        (
            "Schedule",
            html! { code { (job.schedule.text()) } span.sub { (job.schedule.words()) ", " (zone.iana_name().unwrap_or("local time")) } },
        ),
        ("Jitter", html! { (words::time(job.jitter.as_secs())) }),
        (
            "Stopped",
            html! { "after " (words::time(job.stall.as_secs())) " without doing anything" @if let Some(timeout) = job.timeout { ", and after " (words::time(timeout.as_secs())) } },
        ),
        (
            "Tries",
            html! { (job.retry.attempts) ", the second after " (words::time(job.retry.first.as_secs())) },
        ),
    ]);
    let next: Vec<Vec<Markup>> = coming
        .iter()
        .map(|(slot, due)| {
            vec![
                html! { (zoned(*due)) },
                html! { (words::utc(*due)) },
                html! { "+ " (words::time_ms(due - slot)) },
            ]
        })
        .collect();
    let body = html! {
        (head(&html! { (name) " " (badge(standing.state)) }, &html! { @if !standing.why.is_empty() { (words::line(&standing.why)) ". " } @if let Some(due) = standing.due_by { "Due again by " (when(ask, due)) "." } }, &actions, &[(ask.link("/jobs"), "Jobs")]))
        @if let Some(open) = row.and_then(|row| row.open.as_ref()) { (progress(ask, open, "Run in progress")?) }
        div.cols.even {
            div.c6.fill { (card_body("Plan", &html! {}, &plan)) }
            div.c6.fill { (card("Next", &html! { "What will run, in the job's own zone and in UTC." }, &html! {}, &table("The next five runs", &[column("When", "lead nowrap"), column("UTC", "nowrap"), column("Jitter", "nowrap")], &next))) }
        }
        (durations(ask, &runs))
        (card("Runs", &html! { "The newest of " (total) "." }, &html! { a.btn.btn-sm href=(query(ask, "/runs", &[("job", name)])) { "All" } }, &runs_table(ask, runs.get(..10.min(runs.len())).unwrap_or_default())))
    };
    Ok(page(ask, "/jobs", name, &body))
}

fn durations(ask: &Ask<'_>, runs: &[RunRow]) -> Markup {
    let ended: Vec<(&RunRow, i64)> =
        runs.iter().rev().filter_map(|run| Some((run, run.ended? - run.started?))).collect();
    if ended.len() < 3 {
        return html! {};
    }
    let mut sorted: Vec<i64> = ended.iter().map(|(_, ms)| *ms).collect();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let most = sorted.last().copied().unwrap_or(1) as f64 / 1000.0;
    let first = ended.first().and_then(|(run, _)| run.started).unwrap_or_default();
    let last = ended.last().and_then(|(run, _)| run.started).unwrap_or_default();
    let plot = pictures::Plot {
        id: "du",
        title: "How long each run took",
        finding: &format!("The median of {} runs is {}.", ended.len(), words::time_ms(median)),
        most: pictures::round_up(most),
        label: &|seconds| {
            if seconds < 10.0 { format!("{seconds:.1} s") } else { words::time(seconds as u64) }
        },
        below: below(ask, first, last),
    };
    let columns: Vec<Vec<(&str, f64)>> = ended
        .iter()
        .map(|(run, ms)| vec![(if run.status == "FAILED" { "fb" } else { "col" }, *ms as f64 / 1000.0)])
        .collect();
    let hints: Vec<String> = ended
        .iter()
        .map(|(run, ms)| {
            format!(
                "{}\n{}, {}",
                words::short(run.started.unwrap_or_default(), &ask.site.zone, ask.now()),
                words::time_ms(*ms),
                run.status.to_lowercase()
            )
        })
        .collect();
    let table: Vec<Vec<String>> = ended
        .iter()
        .rev()
        .map(|(run, ms)| {
            vec![
                words::short(run.started.unwrap_or_default(), &ask.site.zone, ask.now()),
                run.status.to_lowercase(),
                words::time_ms(*ms),
            ]
        })
        .collect();
    card_body(
        "Duration",
        &html! { "The median is " (words::time_ms(median)) "." },
        &html! { (plot.columns(&columns, &hints)) (data("The same as a table", &["Run", "State", "Duration"], &table)) },
    )
}

fn runs_table(ask: &Ask<'_>, runs: &[RunRow]) -> Markup {
    if runs.is_empty() {
        return empty(
            "No runs yet",
            &html! { "Runs appear here when a slot comes, or when somebody asks for one." },
        );
    }
    let rows: Vec<Vec<Markup>> = runs.iter().map(|run| {
        let took = run.started.zip(run.ended).map(|(from, to)| to - from);
        vec![
            html! { a.plain href=(ask.link_to("/runs/", &run.id)) { (when(ask, run.started.unwrap_or(run.queued))) } },
            html! { a.plain href=(ask.link_to("/jobs/", &run.job)) { (run.job) } span.two { (run.kind) } },
            html! { (badge(&run.status)) @if let Some(reason) = &run.reason { span.two.why { (words::line(reason)) } } },
            html! { (run.trigger.replace('_', "-")) },
            took.map_or_else(|| html! { span.faint { "none" } }, |ms| html! { (words::time_ms(ms)) }),
            html! { (run.attempts) },
        ]
    }).collect();
    table(
        "Runs",
        &[
            column("Started", "lead nowrap"),
            column("Job", ""),
            column("State", "st"),
            column("Why", "opt"),
            column("Duration", "num"),
            column("Tries", "num opt"),
        ],
        &rows,
    )
}

/// All runs.
pub(super) fn runs(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let page_number =
        ask.request.query("page").and_then(|text| text.parse::<u64>().ok()).unwrap_or(1).clamp(1, 1_000_000);
    let (job, status) = (ask.request.query("job"), ask.request.query("status").map(str::to_uppercase));
    let place =
        (u32::try_from(ROWS).unwrap_or(50), u32::try_from((page_number - 1) * ROWS).unwrap_or(u32::MAX));
    let (runs, total) = ask.web.state(|state| state.runs(job, status.as_deref(), place))?;
    let chosen = |value: &str| status.as_deref() == Some(value);
    let filters = html! {
        form.filters method="get" action=(ask.link("/runs")) role="search" aria-label="Filter the runs" {
            div.field { label for="f-job" { "Job" } select.in id="f-job" name="job" { option value="" { "All jobs" } @for name in ask.site.jobs.keys() { option value=(name) selected[job == Some(name.as_str())] { (name) } } } }
            div.field { label for="f-status" { "State" } select.in id="f-status" name="status" { option value="" { "All states" } @for (value, word) in [("COMPLETED", "Completed"), ("FAILED", "Failed"), ("IN_PROGRESS", "In progress"), ("QUEUED", "Queued")] { option value=(value) selected[chosen(value)] { (word) } } } }
            div.actions { button.btn type="submit" { "Apply" } a.btn.btn-quiet href=(ask.link("/runs")) { "Reset" } }
        }
    };
    let body = html! {
        (head(&html! { "Runs" }, &html! { "Everything that jobs did, the newest first." }, &html! {}, &[]))
        section.card {
            div.card-body { (filters) }
            (runs_table(ask, &runs))
            div.card-foot { (pager("Pages of the runs", (page_number, ROWS, total), "runs", &|number| query(ask, "/runs", &[("page", &number.to_string())]))) }
        }
    };
    Ok(page(ask, "/runs", "Runs", &body))
}

/// One run: how far it is, or what became of it.
pub(super) fn show_run(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let run = ask
        .web
        .state(|state| state.run(ask.param(0)))?
        .ok_or_else(|| Refusal::unknown("there is no such run"))?;
    let is_open = matches!(run.status.as_str(), "QUEUED" | "IN_PROGRESS");
    let log = match &run.log {
        Some(log) => log.clone(),
        None => launch::watch(&ask.web.root, &run.id).0,
    };
    let stored = ask.web.state(|state| state.rows_of_run(&run.id))?;
    let took = run.started.zip(run.ended).map(|(from, to)| words::time_ms(to - from));
    let hint = stored.iter().rev().find_map(|row| row.command.hint.clone());
    let rows: Vec<Vec<Markup>> = stored.iter().map(|row| {
        let record = row.record.as_ref();
        let number = |value: Option<u64>| value.map_or_else(|| html! { span.faint { "none" } }, |value| html! { (words::bytes(value)) });
        vec![
            html! { strong { (words::line(record.map_or(&row.command.words, |record| &record.source))) } },
            html! { (badge(row.status())) @if let Some(error) = row.error() { span.two.why { (words::line(&error)) } } },
            number(record.and_then(|record| record.bytes)),
            number(record.and_then(|record| record.stored)),
            match record.and_then(|record| record.snapshot.as_ref()) { Some(id) => html! { a.mono href=(ask.link_to("/snapshots/", id)) { (id.get(..8).unwrap_or_default()) } }, None => html! { span.faint { "none" } } },
        ]
    }).collect();
    let sub = html! {
        "Job " a href=(ask.link_to("/jobs/", &run.job)) { (run.job) } ", "
        @match run.trigger.as_str() { "manual" => "asked for by hand", "catch_up" => "made up for a slot that was missed", _ => "by the schedule" }
        @if let Some(slot) = run.slot { ", slot " (when(ask, slot)) } "."
    };
    let body = html! {
        (head(&html! { "Run of " (run.job) " " (badge(&run.status)) }, &sub, &html! {}, &[(ask.link("/runs"), "Runs")]))
        @if is_open { (progress(ask, &run, "In progress")?) }
        @if run.status == "FAILED" {
            (note("failed", "What went wrong", &html! { (words::line(run.reason.as_deref().unwrap_or("not known"))) @for row in &stored { @if let Some(error) = row.error() { br; code { (words::line(&error)) } } } @if let Some(hint) = &hint { br; strong { "What to do: " } (words::line(hint)) } }))
        }
        dl.card.stats {
            (stat("Queued", "wait", &when(ask, run.queued), &html! { (ago(ask, run.queued)) }))
            (stat("Started", "play", &run.started.map_or_else(|| html! { span.faint { "not yet" } }, |at| when(ask, at)), &html! { "try " (run.attempts) }))
            (stat("Ended", "good", &run.ended.map_or_else(|| html! { span.faint { "not yet" } }, |at| when(ask, at)), &html! { @if let Some(took) = &took { "after " (took) } }))
            (stat("Exit code", "log", &run.exit.map_or_else(|| html! { span.faint { "none" } }, |code| html! { (code) }), &html! { @if run.exit == Some(0) { "all is well" } }))
        }
        @if !rows.is_empty() { (card("Stored", &html! { "What became of each source." }, &html! {}, &table("What the run stored", &[column("Source", "lead"), column("State", "st"), column("Size", "num"), column("Stored for it", "num"), column("Snapshot", "nowrap")], &rows))) }
        section.card {
            div.card-head { div { h2 { "Log" } p { "The end of what it told, at most 64 KiB." } } }
            div.card-body { @if log.trim().is_empty() { p.muted { "It told nothing." } } @else { pre.told tabindex="0" { (words::lines(&log)) } } }
        }
    };
    Ok(page(ask, "/runs", "Run", &body))
}

/// Runs a job.
pub(super) fn run(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let id = doings::run_job(ask, ask.param(0))?;
    Ok(Response::see_other(ask.link_to("/runs/", &id)))
}

/// Pauses a job.
pub(super) fn pause(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let hours = ask.field("hours").and_then(|text| text.parse().ok()).unwrap_or(24);
    doings::pause(ask, ask.param(0), Some(hours))?;
    Ok(Response::see_other(ask.link_to("/jobs/", ask.param(0))))
}

/// Ends a pause.
pub(super) fn resume(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::pause(ask, ask.param(0), None)?;
    Ok(Response::see_other(ask.link_to("/jobs/", ask.param(0))))
}

/// Stops a run.
pub(super) fn cancel(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::cancel(ask, ask.param(0))?;
    Ok(Response::see_other(ask.link_to("/runs/", ask.param(0))))
}
