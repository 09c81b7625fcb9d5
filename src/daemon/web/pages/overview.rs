//! The first page: what is wrong, then how it stands.

use super::backups;
use super::layout::*;
use crate::daemon::due::Slots;
use crate::daemon::state::{JobRow, RunRow};
use crate::daemon::web::known::Listing;
use crate::daemon::web::pictures::{self, Day};
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::store::Role;
use crate::daemon::web::words;
use crate::settings::Job;
use jiff::ToSpan;
use jiff::civil::Date;
use maud::{Markup, html};
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;
/// A run that is later than its slot and this is overdue.
const GRACE_MS: i64 = 3_600_000;
const WEEKS: i32 = 53;

/// How a job stands.
pub(crate) struct Standing {
    /// The state's word.
    pub state: &'static str,
    /// Why.
    pub why: String,
    /// When it runs next.
    pub next: Option<i64>,
    /// By when there has to be a good run.
    pub due_by: Option<i64>,
}

/// How a job stands now.
pub(crate) fn standing(ask: &Ask<'_>, name: &str, job: &Job, row: Option<&JobRow>) -> Standing {
    let now = ask.now();
    let slots = Slots::of(&ask.web.machine, name, job);
    let paused = row.and_then(|row| row.paused_until).filter(|until| *until > now);
    let cursor = row.filter(|row| row.schedule == job.schedule.text()).map_or(now, |row| row.cursor);
    let next = slots.next(cursor.max(paused.unwrap_or(cursor))).map(|(_, due)| due).filter(|_| job.enabled);
    // The first slot after the last good run has to be good, too.
    let good = row.and_then(|row| row.last_good);
    let due_by = match good {
        Some(good) => slots.next(good).map(|(_, due)| due.saturating_add(GRACE_MS)),
        None => next.map(|next| next.saturating_add(GRACE_MS)),
    };
    let last = row.and_then(|row| row.last.as_ref());
    let has_failed = last.filter(|last| last.status == "FAILED");
    let (state, why) = match row {
        _ if !job.enabled => ("disabled", "in the configuration".to_owned()),
        Some(row) if row.open.as_ref().is_some_and(|open| open.status == "IN_PROGRESS") => {
            ("running", String::new())
        }
        Some(row) if row.open.is_some() => ("queued", String::new()),
        _ if paused.is_some() => (
            "paused",
            format!("until {}", words::short(paused.unwrap_or_default(), job.schedule.zone(), now)),
        ),
        _ if has_failed.is_some() => {
            ("failed", has_failed.and_then(|last| last.reason.clone()).unwrap_or_default())
        }
        _ if due_by.is_some_and(|due| due < now) && good.is_some() => {
            ("overdue", format!("by {}", words::time_ms(now - due_by.unwrap_or(now))))
        }
        _ if good.is_some() => ("good", String::new()),
        _ => ("never", "no run yet".to_owned()),
    };
    Standing { state, why, next, due_by: due_by.filter(|_| job.enabled) }
}

/// The page.
pub(super) fn show(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let rows = ask.web.state(|state| state.job_rows())?;
    let standings: Vec<(&String, &Job, Standing)> = ask
        .site
        .jobs
        .iter()
        .map(|(name, job)| (name, job, standing(ask, name, job, rows.get(name))))
        .collect();
    let (wrong, count) = needs(ask, &listing, &standings, &rows)?;
    let sub = match (count, ask.site.jobs.is_empty()) {
        (_, true) => "No jobs are configured.".to_owned(),
        (0, _) => "Everything is as it should be.".to_owned(),
        (1, _) => "One thing needs you.".to_owned(),
        (count, _) => format!("{count} things need you."),
    };
    let start = html! { @if ask.may(Role::Operator) { a.btn.btn-primary href=(ask.link("/settings/backup/run")) { (icon("play")) "Back up now" } } };
    let jobs = jobs_table(ask, &standings, &rows)?;
    let body = html! {
        (head(&html! { "Overview" }, &html! { (sub) }, &start, &[]))
        (unreachable(ask, &listing))
        @if count > 0 { (card("Needs you", &html! {}, &html! { span.small.muted { "worst first" } }, &html! { ul.list { (wrong) } })) }
        (backups::running(ask)?)
        (numbers(ask, &listing, &standings)?)
        (days(ask)?)
        (card("Jobs", &html! {}, &html! { a.btn.btn-sm href=(ask.link("/runs")) { "All runs" } }, &jobs))
        div.cols.even {
            div.c7.fill { (storage(ask, &listing)) }
            div.c5.fill { (next_runs(ask, &standings)) }
        }
        (proof(ask, &listing))
    };
    Ok(page(ask, "/", "Overview", &body))
}

fn needs(
    ask: &Ask<'_>,
    listing: &Listing,
    standings: &[(&String, &Job, Standing)],
    rows: &BTreeMap<String, JobRow>,
) -> Result<(Markup, usize), Refusal> {
    let mut items = Vec::new();
    for (name, _, standing) in standings.iter().filter(|(.., standing)| standing.state == "failed") {
        let row = rows.get(*name);
        let last = row.and_then(|row| row.last.as_ref());
        let text = html! {
            (words::line(&standing.why)) ". "
            @match row.and_then(|row| row.last_good) { Some(good) => { "Last good " (when(ask, good)) ", " (ago(ask, good)) "." }, None => { "It was never good." } }
        };
        let action = html! { @if let Some(last) = last { a.btn.btn-sm href=(ask.link_to("/runs/", &last.id)) { "See what happened" } } };
        items.push(item(
            "failed",
            &html! { a href=(ask.link_to("/jobs/", name)) { (name) } },
            "failed",
            &text,
            &action,
        ));
    }
    for (name, _, standing) in standings.iter().filter(|(.., standing)| standing.state == "overdue") {
        let text = html! { "No good run since " @if let Some(good) = rows.get(*name).and_then(|row| row.last_good) { (when(ask, good)) } ", and one was due." };
        items.push(item(
            "overdue",
            &html! { a href=(ask.link_to("/jobs/", name)) { (name) } },
            &format!("overdue {}", standing.why),
            &text,
            &html! {},
        ));
    }
    for series in listing.series() {
        let Some(newest) = listing.of(series).next_back().filter(|newest| newest.state != "complete") else {
            continue;
        };
        if ask.web.access(|access| access.acknowledged(&newest.id))?.is_some() {
            continue;
        }
        let text = html! { "The newest backup, of " (when(ask, newest.at())) ", is " (newest.state) ". It is stored, and not counted as good until somebody has looked." };
        let action = html! { a.btn.btn-sm href=(ask.link_to("/snapshots/", &newest.id)) { "Look at it" } };
        items.push(item(
            "suspect",
            &html! { a href=(ask.link_to("/series/", series)) { (series) } },
            &newest.state,
            &text,
            &action,
        ));
    }
    let count = items.len();
    Ok((html! { @for item in items { (item) } }, count))
}

fn numbers(
    ask: &Ask<'_>,
    listing: &Listing,
    standings: &[(&String, &Job, Standing)],
) -> Result<Markup, Refusal> {
    let newest = listing
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.state == "complete")
        .max_by_key(|snapshot| snapshot.at());
    let proved = listing
        .snapshots
        .iter()
        .filter_map(|snapshot| Some((snapshot.verified_at()?, snapshot)))
        .max_by_key(|(at, _)| *at);
    let late: Vec<&str> = standings
        .iter()
        .filter(|(.., one)| matches!(one.state, "overdue" | "failed"))
        .map(|(name, ..)| name.as_str())
        .collect();
    let passed = |at: i64| words::time_ms(ask.now().saturating_sub(at).max(0));
    let unknown = || html! { span.faint { "none" } };
    let ratio = listing.plain_bytes as f64 / listing.disk_bytes.max(1) as f64;
    Ok(html! { dl.card.stats {
        (stat("Newest good backup", "good", &newest.map_or_else(unknown, |newest| big(&passed(newest.at()))), &newest.map_or_else(|| html! { "nothing is stored" }, |newest| html! { (newest.series) ", " (when(ask, newest.at())) })))
        (stat("Failed or overdue", if late.is_empty() { "good" } else { "miss" }, &html! { (late.len()) }, &html! { @if late.is_empty() { "all jobs are in time" } @else { (late.join(", ")) } }))
        (stat("Last proof by restore", "shield", &proved.map_or_else(unknown, |(at, _)| big(&passed(at))), &proved.map_or_else(|| html! { "no backup was restored for trial" }, |(at, snapshot)| html! { (snapshot.series) ", " (when(ask, at)) })))
        (stat("Stored", "box", &if listing.is_known() { big(&words::bytes(listing.disk_bytes)) } else { unknown() }, &html! { (words::bytes(listing.plain_bytes)) " as plain dumps" @if ratio >= 1.0 { ", ×" (format!("{ratio:.1}")) } }))
    } })
}

fn days(ask: &Ask<'_>) -> Result<Markup, Refusal> {
    let today = words::moment(ask.now()).to_zoned(ask.site.zone.clone()).date();
    let monday =
        today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).unwrap_or(today);
    let first = monday.checked_sub((WEEKS - 1).weeks()).unwrap_or(monday);
    let since = first.to_zoned(ask.site.zone.clone()).map_or(0, |zoned| zoned.timestamp().as_millisecond());
    let mut by_day: BTreeMap<Date, (Day, BTreeMap<String, Day>, usize)> = BTreeMap::new();
    let zone = ask.site.zone.clone();
    let mut last = (i64::MIN, today);
    for (at, status, job) in ask.web.state(|state| state.days(since))? {
        // Moments of an hour are of one day, but for the hour in which a day begins: then it is asked.
        let hour = at.div_euclid(900_000);
        if hour != last.0 {
            last = (hour, words::moment(at).to_zoned(zone.clone()).date());
        }
        let state = match status.as_str() {
            "COMPLETED" => Day::Good,
            "WARNING" | "SKIPPED" => Day::Warning,
            "MISSED" => Day::Missed,
            _ => Day::Failed,
        };
        let day = by_day.entry(last.1).or_insert((Day::None, BTreeMap::new(), 0));
        day.0 = day.0.max(state);
        day.2 += 1;
        if state > Day::Good {
            let of_job = day.1.entry(job).or_insert(state);
            *of_job = state.max(*of_job);
        }
    }
    let mut all = Vec::new();
    let mut day = first;
    while day <= today {
        let (state, why, runs) = by_day.remove(&day).unwrap_or((Day::None, BTreeMap::new(), 0));
        let why: Vec<String> =
            why.iter().take(4).map(|(job, state)| format!("{} {}", words::line(job), state.word())).collect();
        let why = if why.is_empty() && runs > 0 { format!("{runs} good") } else { why.join("; ") };
        all.push((day, state, why));
        let Ok(next) = day.tomorrow() else { break };
        day = next;
    }
    let bad: Vec<Vec<String>> = all
        .iter()
        .rev()
        .filter(|(_, state, _)| *state > Day::Good)
        .map(|(day, state, why)| {
            vec![day.strftime("%a %-d %b %Y").to_string(), state.word().to_owned(), why.clone()]
        })
        .collect();
    let label = format!(
        "{} that were not good, as a table",
        words::of(u64::try_from(bad.len()).unwrap_or_default(), "day")
    );
    let body = html! {
        div.heat-grid { div { (pictures::year(&all)) } (pictures::day_key(&all)) }
        @if !bad.is_empty() { (data(&label, &["Day", "State", "Why"], &bad)) }
    };
    Ok(card_body("Days", &html! { "The worst result of all jobs, each day of 53 weeks." }, &body))
}

fn jobs_table(
    ask: &Ask<'_>,
    standings: &[(&String, &Job, Standing)],
    rows: &BTreeMap<String, JobRow>,
) -> Result<Markup, Refusal> {
    if standings.is_empty() {
        return Ok(empty(
            "No jobs",
            &html! { "Run " code { "dumpvault schedule init" } " on the server: it prints a standard plan for the configuration." },
        ));
    }
    let mut lines = Vec::new();
    for (name, job, standing) in standings {
        lines.push(job_row(ask, name, job, standing, rows.get(*name))?);
    }
    Ok(table("Jobs with state, last good run, next run and deadline", &job_columns(), &lines))
}

/// The columns of jobs.
pub(super) fn job_columns() -> [Column<'static>; 6] {
    [
        column("Job", "lead"),
        column("State", "st"),
        column("Last good", "nowrap"),
        column("Next run", "nowrap"),
        column("Due by", "nowrap"),
        column("Last 14 runs", "opt"),
    ]
}

/// A job's row.
pub(super) fn job_row(
    ask: &Ask<'_>,
    name: &str,
    job: &Job,
    standing: &Standing,
    row: Option<&JobRow>,
) -> Result<Vec<Markup>, Refusal> {
    let (runs, _) = ask.web.state(|state| state.runs(Some(name), None, (14, 0)))?;
    let ended: Vec<(bool, u32)> = runs
        .iter()
        .rev()
        .filter(|run: &&RunRow| matches!(run.status.as_str(), "COMPLETED" | "FAILED"))
        .map(|run| (run.status == "COMPLETED", run.attempts))
        .collect();
    let in_zone = |ms: i64| {
        let zoned = words::moment(ms).to_zoned(job.schedule.zone().clone());
        let utc = words::moment(ms).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        let offset = if job.schedule.zone() == &ask.site.zone {
            String::new()
        } else {
            zoned.strftime(" %:z").to_string()
        };
        html! { time datetime=(zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()) title=(utc) { (words::short(ms, job.schedule.zone(), ask.now())) (offset) } }
    };
    let is_late = matches!(standing.state, "failed" | "overdue");
    Ok(vec![
        html! { a.plain href=(ask.link_to("/jobs/", name)) { (name) } span.two { (job.work.word()) " · " (job.schedule.words()) } },
        html! { (badge(standing.state)) @if !standing.why.is_empty() { span.two { (words::line(&standing.why)) } } },
        row.and_then(|row| row.last_good).map_or_else(|| html! { span.faint { "no run yet" } }, in_zone),
        standing.next.map_or_else(|| html! { span.faint { "none" } }, in_zone),
        standing.due_by.map_or_else(
            || html! { span.faint { "never" } },
            |due| html! { @if is_late { span.drop { (in_zone(due)) } } @else { (in_zone(due)) } },
        ),
        if ended.is_empty() {
            html! { span.faint.xs { "shown after the first run" } }
        } else {
            pictures::strip(&ended)
        },
    ])
}

fn storage(ask: &Ask<'_>, listing: &Listing) -> Markup {
    let since =
        html! { "What all kept backups weigh as plain files, and what they added to the repository." };
    let points: Vec<(i64, u64, u64)> = listing
        .snapshots
        .iter()
        .scan((0, 0), |sums, snapshot| {
            sums.0 += snapshot.bytes;
            sums.1 += snapshot.bytes_stored;
            Some((snapshot.at(), sums.0, sums.1))
        })
        .collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return card_body(
            "Storage",
            &since,
            &empty("Nothing stored yet", &html! { "The picture appears with the first two backups." }),
        );
    };
    if points.len() < 2 {
        return card_body(
            "Storage",
            &since,
            &empty("One backup so far", &html! { "The picture appears with the second." }),
        );
    }
    let span = (last.0 - first.0).max(1) as f64;
    let x = |at: i64| (at - first.0) as f64 / span;
    let plot = pictures::Plot {
        id: "st",
        title: "Kept backups as plain files and as stored",
        finding: &format!(
            "All kept backups are {} as plain files; they added {} to the repository.",
            words::bytes(last.1),
            words::bytes(last.2)
        ),
        most: pictures::round_up(last.1 as f64),
        label: &|value| words::bytes(value as u64),
        below: below(ask, first.0, last.0),
    };
    let thin: Vec<&(i64, u64, u64)> =
        points.iter().step_by(points.len().div_ceil(200)).chain(points.last()).collect();
    let lines = [
        ("c1", thin.iter().map(|(at, plain, _)| (x(*at), *plain as f64)).collect(), false),
        ("c2", thin.iter().map(|(at, _, stored)| (x(*at), *stored as f64)).collect(), true),
    ];
    let hints: Vec<(f64, String)> = thin
        .iter()
        .map(|(at, plain, stored)| {
            (
                x(*at),
                format!(
                    "{}\nplain {}\nstored {}",
                    words::short(*at, &ask.site.zone, ask.now()),
                    words::bytes(*plain),
                    words::bytes(*stored)
                ),
            )
        })
        .collect();
    let table: Vec<Vec<String>> = thin
        .iter()
        .rev()
        .map(|(at, plain, stored)| {
            vec![words::short(*at, &ask.site.zone, ask.now()), words::bytes(*plain), words::bytes(*stored)]
        })
        .collect();
    card(
        "Storage",
        &since,
        &as_of(ask, listing),
        &html! { div.card-body {
            (plot.lines(&lines, &hints))
            ul.legend { li { svg viewBox="0 0 12 12" aria-hidden="true" { rect.col width="12" height="12" rx="2" {} } "as plain files" } li { svg viewBox="0 0 12 12" aria-hidden="true" { rect.col2 width="12" height="12" rx="2" {} } "stored" } }
            (data("The same as a table", &["Backup", "Plain", "Stored"], &table))
        } },
    )
}

/// Words below an axis of time.
pub(super) fn below(ask: &Ask<'_>, from: i64, to: i64) -> Vec<(f64, String)> {
    let form = if to - from > 200 * DAY_MS {
        "%b %Y"
    } else if to - from > 3 * DAY_MS {
        "%-d %b"
    } else {
        "%-d %b %H:%M"
    };
    let word = |at: i64| words::moment(at).to_zoned(ask.site.zone.clone()).strftime(form).to_string();
    let middle = from + (to - from) / 2;
    let mut all = vec![(0.0, word(from)), (50.0, word(middle)), (100.0, word(to))];
    all.dedup_by(|one, other| one.1 == other.1);
    all
}

fn next_runs(ask: &Ask<'_>, standings: &[(&String, &Job, Standing)]) -> Markup {
    let mut next: Vec<(i64, &str, &Job)> = standings
        .iter()
        .filter_map(|(name, job, standing)| Some((standing.next?, name.as_str(), *job)))
        .collect();
    next.sort_by_key(|(at, name, _)| (*at, *name));
    card(
        "Next runs",
        &html! {},
        &html! {},
        &html! {
            @if next.is_empty() { (empty("Nothing is planned", &html! { "No enabled job has a slot." })) }
            @else { ul.next { @for (at, name, job) in next.iter().take(7) {
                li { span.at { (when(ask, *at)) } span { strong { (name) } span.two { (job.work.word()) } } span.faint.small { (ago(ask, *at)) } }
            } } }
        },
    )
}

fn proof(ask: &Ask<'_>, listing: &Listing) -> Markup {
    let rows: Vec<Vec<Markup>> = listing.series().into_iter().map(|series| {
        let proved = listing.of(series).filter_map(|snapshot| Some((snapshot.verified_at()?, snapshot))).max_by_key(|(at, _)| *at);
        vec![
            html! { a.plain href=(ask.link_to("/series/", series)) { (series) } },
            if proved.is_some() { badge("verified") } else { badge_saying("never", "Not proved") },
            proved.map_or_else(|| html! { span.faint { "not yet" } }, |(at, _)| html! { (when(ask, at)) " " span.faint { (ago(ask, at)) } }),
            proved.map_or_else(|| html! { "schedule a job of the kind verify" }, |(_, snapshot)| html! { a href=(ask.link_to("/snapshots/", &snapshot.id)) { (snapshot.short()) } " of " (when(ask, snapshot.at())) ": rows equal" }),
        ]
    }).collect();
    let columns = [
        column("Series", "lead"),
        column("State", "st"),
        column("Last proof", "nowrap"),
        column("What was found", "wide"),
    ];
    card(
        "Proof",
        &html! { "Restored somewhere else and counted. A backup that was never restored is a hope." },
        &html! { a.btn.btn-sm href=(ask.link("/checks")) { "Checks" } },
        &html! {
            @if rows.is_empty() { (empty("Nothing to prove yet", &html! { "Series appear with their first backup." })) } @else { (table("Proof of each series", &columns, &rows)) }
        },
    )
}
