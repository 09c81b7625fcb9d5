//! What is wrong now, and who was told.

use super::layout::*;
use crate::daemon::alert::AlertRow;
use crate::daemon::state::DeliveryRow;
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::store::Role;
use crate::daemon::web::{doings, words};
use maud::{Markup, html};

/// Deliveries that are shown.
const DELIVERIES: u32 = 50;

/// Alerts and deliveries.
pub(super) fn show(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let alerts = ask.web.state(|state| state.alerts())?;
    let deliveries = ask.web.state(|state| state.deliveries(DELIVERIES))?;
    let waiting: u64 = ask.web.state(|state| state.waiting_deliveries())?.values().sum();
    let known = alerts.iter().filter(|alert| alert.acked_by.is_some()).count();
    let last =
        deliveries.iter().filter(|delivery| delivery.result == "sent").filter_map(|one| one.ended).max();
    let body = html! {
        (head(&html! { "Alerts" }, &html! { "What is wrong now. An alert ends by itself once its cause is gone." }, &html! {}, &[]))
        dl.card.stats {
            (stat("Wrong now", if alerts.is_empty() { "good" } else { "bad" }, &html! { (alerts.len()) }, &html! { (known) " acknowledged" }))
            (stat("Messages waiting", "wait", &html! { (waiting) }, &html! { "for their delivery" }))
            (stat("Last message", "bell", &last.map_or_else(|| html! { span.faint { "never" } }, |at| big(&words::time_ms(ask.now() - at))), &html! { @if last.is_some() { "ago" } }))
        }
        section.card {
            div.card-head { div { h2 { "Wrong now" } p { "The oldest first." } } }
            @if alerts.is_empty() { (empty("Nothing is wrong", &html! { "Failed, missed and overdue runs, damage and full disks are shown here." })) }
            @else { ul.list { @for alert in &alerts { (row(ask, alert)) } } }
        }
        (card("Messages", &html! { "Who was told of late. Channels are in the configuration; " code { "dumpvault alert test NAME" } " tries one." }, &html! {}, &messages(ask, &deliveries)))
    };
    Ok(page(ask, "/alerts", "Alerts", &body))
}

fn row(ask: &Ask<'_>, alert: &AlertRow) -> Markup {
    let text = html! {
        (words::line(&alert.text))
        @if let Some(hint) = &alert.hint { span.two { (words::line(hint)) } }
        span.two {
            "since " (when(ask, alert.since)) ", " (words::of(alert.count, "time"))
            @if let Some(run) = &alert.run { ", " a href=(ask.link_to("/runs/", run)) { "the run" } }
        }
        @if let Some(by) = &alert.acked_by {
            span.two { "Acknowledged by " (words::line(by)) @if let Some(note) = &alert.note { ": " (words::line(note)) } }
        }
    };
    let id = format!("note-{}", alert.id);
    let actions = html! {
        @if alert.acked_by.is_none() && ask.may(Role::Operator) {
            form method="post" action=(ask.link("/alerts/acknowledge")) {
                (csrf(ask))
                input type="hidden" name="subject" value=(alert.subject);
                input type="hidden" name="condition" value=(alert.condition);
                div.field { label for=(id) { "What is known" } input.in id=(id) name="note" maxlength="500"; }
                button.btn type="submit" { "Acknowledge" }
            }
        }
    };
    let state = if alert.acked_by.is_some() { "warning" } else { "failed" };
    item(state, &html! { (words::line(&alert.subject)) }, &alert.condition, &text, &actions)
}

fn messages(ask: &Ask<'_>, deliveries: &[DeliveryRow]) -> Markup {
    if deliveries.is_empty() {
        return empty(
            "No messages yet",
            &html! { "Add an " code { "[alert.NAME]" } " to the configuration: until then nobody is told." },
        );
    }
    let rows: Vec<Vec<Markup>> = deliveries
        .iter()
        .map(|delivery| {
            let (state, word) = match delivery.result.as_str() {
                "sent" => ("completed", "Sent"),
                "failed" => ("failed", "Failed"),
                _ => ("queued", "Waiting"),
            };
            vec![
                html! { (when(ask, delivery.made)) },
                html! { (words::line(&delivery.channel)) },
                html! { (words::line(&delivery.event)) },
                html! { (badge_saying(state, word)) @if let Some(error) = &delivery.error { span.two.why { (words::line(error)) } } },
                html! { (delivery.attempts) },
            ]
        })
        .collect();
    let columns = [
        column("Made", "lead nowrap"),
        column("Channel", ""),
        column("Event", ""),
        column("State", "st"),
        column("Tries", "num"),
    ];
    table("Messages, the newest first", &columns, &rows)
}

/// Somebody knows of it.
pub(super) fn acknowledge(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::acknowledge_alert(ask)?;
    Ok(Response::see_other(ask.link("/alerts")))
}
