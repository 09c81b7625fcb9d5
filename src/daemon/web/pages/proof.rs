//! Checks, and what people asked for that is no job.

use super::layout::*;
use crate::daemon::state::RunRow;
use crate::daemon::web::known::Listing;
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::store::Operation;
use crate::daemon::web::words;
use maud::{Markup, html};

/// Checks, verifications and operations.
pub(super) fn checks(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let operations = ask.web.access(|access| access.operations(30))?;
    let mut runs: Vec<RunRow> = Vec::new();
    for (name, _) in ask.site.jobs.iter().filter(|(_, job)| matches!(job.work.word(), "check" | "verify")) {
        runs.extend(ask.web.state(|state| state.runs(Some(name), None, (15, 0)))?.0);
    }
    runs.sort_by(|one, other| other.id.cmp(&one.id));
    let last = |kind: &str| {
        runs.iter().find(|run| run.kind == kind && run.status == "COMPLETED").and_then(|run| run.ended)
    };
    let failed = runs.iter().find(|run| run.status == "FAILED");
    let number = |at: Option<i64>| {
        at.map_or_else(|| html! { span.faint { "never" } }, |at| big(&words::time_ms(ask.now() - at)))
    };
    let proved = listing.snapshots.iter().filter(|snapshot| snapshot.verified_at().is_some()).count();
    let body = html! {
        (head(&html! { "Checks" }, &html! { "A check reads what is stored and looks for damage. A verification restores a backup and counts its rows." }, &html! {}, &[]))
        (unreachable(ask, &listing))
        dl.card.stats {
            (stat("Last good check", "shield", &number(last("check")), &html! { "ago, by a job" }))
            (stat("Last good verification", "good", &number(last("verify")), &html! { "ago, by a job" }))
            (stat("Proved backups", "db", &html! { (proved) }, &html! { "of " (listing.snapshots.len()) " kept" }))
            (stat("Last failure", "bad", &failed.and_then(|run| run.ended).map_or_else(|| html! { span.faint { "none" } }, |at| when(ask, at)), &html! { @if let Some(run) = failed { a href=(ask.link_to("/runs/", &run.id)) { (run.job) } } }))
        }
        (card("Runs of checks", &html! { "Jobs of the kinds check and verify." }, &html! {}, &check_runs(ask, &runs)))
        (card("Asked for", &html! { "Restores, verifications, deletions and pins, by people and programs." }, &html! {}, &operations_table(ask, &operations)))
    };
    Ok(page(ask, "/checks", "Checks", &body))
}

fn check_runs(ask: &Ask<'_>, runs: &[RunRow]) -> Markup {
    if runs.is_empty() {
        return empty(
            "No checks yet",
            &html! { "Add a job of the kind " code { "check" } " or " code { "verify" } " to the configuration." },
        );
    }
    let rows: Vec<Vec<Markup>> = runs.iter().take(30).map(|run| vec![
        html! { a.plain href=(ask.link_to("/runs/", &run.id)) { (when(ask, run.started.unwrap_or(run.queued))) } },
        html! { (run.job) span.two { (run.kind) } },
        html! { (badge(&run.status)) @if let Some(reason) = &run.reason { span.two.why { (words::line(reason)) } } },
        run.started.zip(run.ended).map_or_else(|| html! { span.faint { "none" } }, |(from, to)| html! { (words::time_ms(to - from)) }),
    ]).collect();
    table(
        "Runs of checks",
        &[
            column("Started", "lead nowrap"),
            column("Job", ""),
            column("State", "st"),
            column("Duration", "num"),
        ],
        &rows,
    )
}

fn operations_table(ask: &Ask<'_>, operations: &[Operation]) -> Markup {
    if operations.is_empty() {
        return empty("Nothing yet", &html! { "A backup's own page restores, verifies and pins it." });
    }
    let rows: Vec<Vec<Markup>> = operations.iter().map(|operation| vec![
        html! { a.plain href=(ask.link_to("/operations/", &operation.id)) { (when(ask, operation.started)) } },
        html! { (operation.kind) },
        html! { span.mono { (words::line(operation.object.get(..40).unwrap_or(&operation.object))) } },
        html! { (badge(&operation.status)) @if let Some(error) = &operation.error { span.two.why { (words::line(error)) } } },
        html! { (words::line(&operation.actor)) },
    ]).collect();
    table(
        "What was asked for",
        &[
            column("Started", "lead nowrap"),
            column("What", ""),
            column("About", "wide"),
            column("State", "st"),
            column("By", "opt"),
        ],
        &rows,
    )
}

/// One operation.
pub(super) fn operation(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let found = ask.web.access(|access| access.operation(ask.param(0)))?;
    let operation = found.ok_or_else(|| Refusal::unknown("there is no such operation"))?;
    let is_open = operation.status == "IN_PROGRESS";
    let api = ask.link(&format!("/api/v1/operations/{}", operation.id));
    let report: serde_json::Value =
        operation.report.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let found = report.pointer("/verified").or_else(|| report.get("ok")).and_then(serde_json::Value::as_bool);
    let body = html! {
        (head(&html! { (operation.kind) " " (badge(&operation.status)) }, &html! { "Asked for by " (words::line(&operation.actor)) ", " (when(ask, operation.started)) "." }, &html! {}, &[(ask.link("/checks"), "Checks")]))
        @if is_open {
            section.card data-events={ (api) "/events" } data-run=(api) {
                div.card-head { div { h2 { "In progress" } p { "Begun " (ago(ask, operation.started)) ". You can leave this page; it goes on." } } }
                div.card-body { div.prog { progress aria-label="Progress" {} div.line aria-live="polite" { span data-says { "it is under way" } } } }
            }
        }
        @if let Some(error) = &operation.error { (note("failed", "What went wrong", &html! { code { (words::line(error)) } })) }
        @else if found == Some(true) { (note("verified", "Every row is there", &html! { "The tables were counted and are equal to what was backed up." })) }
        (card_body("Facts", &html! {}, &facts(&[
            ("About", html! { code.small { (words::line(&operation.object)) } }),
            ("Command", html! { code.small { (words::line(&operation.words)) } }),
            ("Duration", html! { @match operation.ended { Some(ended) => (words::time_ms(ended - operation.started)), None => "not over" } }),
            ("Exit code", html! { @match operation.exit { Some(code) => (code), None => "none" } }),
        ])))
        @if !report.is_null() { section.card { div.card-head { div { h2 { "Report" } } } div.card-body { pre.told tabindex="0" { (words::lines(&serde_json::to_string_pretty(&report).unwrap_or_default())) } } } }
    };
    Ok(page(ask, "/checks", &operation.kind, &body))
}
