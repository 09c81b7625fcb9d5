//! Series with their restore points, snapshots with their tables, differences between two.

use super::layout::*;
use super::overview::below;
use crate::daemon::web::doings;
use crate::daemon::web::known::{self, Listing, Snapshot, Table};
use crate::daemon::web::pictures;
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::store::Role;
use crate::daemon::web::words;
use maud::{Markup, html};
use serde_json::Value;
use std::collections::BTreeMap;

const HOUR_MS: i64 = 3_600_000;
/// Tables that a picture names; the others are one.
const NAMED: usize = 3;
const TABLES_SHOWN: usize = 12;

fn hours(ask: &Ask<'_>, at: i64) -> f64 {
    (ask.now() - at).max(0) as f64 / HOUR_MS as f64
}

/// All series.
pub(super) fn list(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let rows: Vec<Vec<Markup>> = listing.series().into_iter().map(|series| {
        let own: Vec<&Snapshot> = listing.of(series).collect();
        let newest = own.last();
        let sizes: Vec<u64> = own.iter().rev().take(60).rev().map(|snapshot| snapshot.bytes).collect();
        vec![
            html! { a.plain href=(ask.link_to("/series/", series)) { (series) } @if let Some(newest) = newest { span.two { "on " (newest.host) } } },
            newest.map_or_else(|| badge("never"), |newest| if newest.state == "complete" { badge("good") } else { badge_saying("suspect", &newest.state) }),
            newest.map_or_else(|| html! {}, |newest| html! { (when(ask, newest.at())) " " span.faint { (ago(ask, newest.at())) } }),
            html! { (own.len()) },
            html! { (words::bytes(newest.map_or(0, |newest| newest.bytes))) },
            html! { (words::bytes(own.iter().map(|snapshot| snapshot.bytes_stored).sum())) },
            pictures::spark(&sizes),
        ]
    }).collect();
    let columns = [
        column("Series", "lead"),
        column("State", "st"),
        column("Newest", "nowrap"),
        column("Kept", "num"),
        column("Size", "num"),
        column("Stored", "num"),
        column("Size over time", "bars opt"),
    ];
    let body = html! {
        (head(&html! { "Series" }, &html! { "All backups of one source on one host are a series." }, &html! {}, &[]))
        (unreachable(ask, &listing))
        section.card {
            div.card-head { div { h2 { "All series" } } (as_of(ask, &listing)) }
            @if rows.is_empty() { (empty("No backups in the repository", &html! { "A series appears with its first backup." })) } @else { (table("Series", &columns, &rows)) }
        }
    };
    Ok(page(ask, "/series", "Series", &body))
}

/// One series.
pub(super) fn show(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let name = ask.param(0);
    let own: Vec<&Snapshot> = listing.of(name).collect();
    let Some(newest) = own.last() else {
        return Err(Refusal::unknown("the repository has no such series")
            .hint("it may not have been asked yet: try again in a minute"));
    };
    let proved = own
        .iter()
        .filter_map(|snapshot| Some((snapshot.verified_at()?, *snapshot)))
        .max_by_key(|(at, _)| *at);
    let stored: u64 = own.iter().map(|snapshot| snapshot.bytes_stored).sum();
    let plain: u64 = own.iter().map(|snapshot| snapshot.bytes).sum();
    let actions = html! {
        a.btn href=(ask.link_to("/snapshots/", &newest.id)) { "Newest backup" }
        @if ask.may(Role::Operator) { a.btn.btn-primary href=(ask.link("/settings/backup/run")) { (icon("play")) "Back up now" } }
    };
    let state =
        if newest.state == "complete" { badge("good") } else { badge_saying("suspect", &newest.state) };
    let body = html! {
        (head(&html! { (name) " " (state) }, &html! { "Backups of " strong { (newest.host) } "." }, &actions, &[(ask.link("/series"), "Series")]))
        dl.card.stats {
            (stat("Newest", "good", &big(&words::time_ms(ask.now() - newest.at())), &html! { "old" @if let Some(rpo) = ask.site.serve.rpo { ", RPO " (words::time(rpo.as_secs())) } }))
            (stat("Restore points", "monthly", &html! { (own.len()) }, &html! { "the oldest " (ago(ask, own.first().map_or(0, |oldest| oldest.at()))) }))
            (stat("Plain size", "db", &big(&words::bytes(newest.bytes)), &html! { "of the newest" }))
            (stat("Stored", "box", &big(&words::bytes(stored)), &html! { (words::bytes(plain)) " as plain files" }))
            (stat("Last proof", "shield", &proved.map_or_else(|| html! { span.faint { "none" } }, |(at, _)| big(&words::time_ms(ask.now() - at))), &html! { @if proved.is_some() { "ago, rows equal" } @else { "restore one for trial" } }))
        }
        (restore_points(ask, &listing, &own))
        div.cols.even { div.c6.fill { (growth(ask, &own)) } div.c6.fill { (new_bytes(ask, &own)) } }
        (tables_over_time(ask, &own))
    };
    Ok(page(ask, "/series", name, &body))
}

fn restore_points(ask: &Ask<'_>, listing: &Listing, own: &[&Snapshot]) -> Markup {
    let kept = |snapshot: &Snapshot| match (snapshot.pinned, listing.kept_by.get(&snapshot.id)) {
        (true, _) => "pinned".to_owned(),
        (_, Some(rules)) if rules.is_empty() => "goes with the next forget".to_owned(),
        (_, Some(rules)) => format!("kept by: {}", rules.join(", ")),
        (_, None) => "kept".to_owned(),
    };
    let short = |at: i64| words::short(at, &ask.site.zone, ask.now());
    let points: Vec<pictures::Point> = own
        .iter()
        .map(|snapshot| {
            (
                hours(ask, snapshot.at()),
                snapshot.kind(),
                format!("{}, {}: {}", short(snapshot.at()), snapshot.kind(), kept(snapshot)),
            )
        })
        .collect();
    let rpo = ask.site.serve.rpo.map(|rpo| i64::try_from(rpo.as_millis()).unwrap_or(i64::MAX));
    // Older ones are thinned by the rules; only the last week has to be dense.
    let week = ask.now() - 7 * 24 * HOUR_MS;
    let pairs = own.iter().zip(own.iter().skip(1)).filter(|(_, later)| later.at() > week);
    let holes: Vec<(f64, f64, String)> = pairs
        .filter_map(|(before, later)| {
            let wide = later.at() - before.at();
            (rpo.is_some_and(|rpo| wide > rpo + HOUR_MS)).then(|| {
                (
                    hours(ask, later.at()),
                    hours(ask, before.at()),
                    format!(
                        "No restore point for {} between {} and {}",
                        words::time_ms(wide),
                        short(before.at()),
                        short(later.at())
                    ),
                )
            })
        })
        .collect();
    let finding = format!(
        "{} between {} and {}; {} wider than the data that may be lost.",
        words::of(u64::try_from(own.len()).unwrap_or_default(), "restore point"),
        own.first().map_or_else(String::new, |one| short(one.at())),
        own.last().map_or_else(String::new, |one| short(one.at())),
        words::of(u64::try_from(holes.len()).unwrap_or_default(), "hole")
    );
    let rows: Vec<Vec<Markup>> = own.iter().rev().take(200).map(|snapshot| vec![
        html! { a.plain href=(ask.link_to("/snapshots/", &snapshot.id)) { (when(ask, snapshot.at())) } span.two.mono { (snapshot.short()) } },
        tag(snapshot.kind()),
        if snapshot.state == "complete" { if snapshot.verified_at().is_some() { badge("verified") } else { badge("completed") } } else { badge_saying("suspect", &snapshot.state) },
        html! { (words::bytes(snapshot.bytes)) },
        html! { (words::bytes(snapshot.bytes_stored)) },
        html! { (kept(snapshot)) },
    ]).collect();
    let columns = [
        column("Restore point", "lead nowrap"),
        column("Type", ""),
        column("State", "st"),
        column("Size", "num"),
        column("Stored for it", "num"),
        column("Kept by", "wide"),
    ];
    card(
        "Restore points",
        &html! { "How far back you can go. Each step to the left is a larger step in time." },
        &as_of(ask, listing),
        &html! {
            div.card-body { (pictures::restore_points(&points, &holes, &finding)) }
            (table("Restore points", &columns, &rows))
        },
    )
}

fn growth(ask: &Ask<'_>, own: &[&Snapshot]) -> Markup {
    let sub = html! { "What one dump weighs, and what all kept ones take." };
    let (Some(first), Some(last)) = (own.first(), own.last()) else { return html! {} };
    if own.len() < 2 {
        return card_body(
            "Growth",
            &sub,
            &empty("One backup so far", &html! { "The picture appears with the second." }),
        );
    }
    let mut sum = 0;
    let all: Vec<(i64, u64, u64)> = own
        .iter()
        .map(|snapshot| {
            sum += snapshot.bytes_stored;
            (snapshot.at(), snapshot.bytes, sum)
        })
        .collect();
    let thin: Vec<&(i64, u64, u64)> = all.iter().step_by(all.len().div_ceil(120)).collect();
    let span = (last.at() - first.at()).max(1) as f64;
    let x = |at: i64| (at - first.at()) as f64 / span;
    let most = all.iter().map(|(_, one, all)| (*one).max(*all)).max().unwrap_or(1);
    let plot = pictures::Plot {
        id: "gr",
        title: "One plain dump against all that is stored",
        finding: &format!(
            "The plain dump went from {} to {}; all {} together take {}.",
            words::bytes(first.bytes),
            words::bytes(last.bytes),
            own.len(),
            words::bytes(sum)
        ),
        most: pictures::round_up(most as f64),
        label: &|value| words::bytes(value as u64),
        below: below(ask, first.at(), last.at()),
    };
    let hints: Vec<(f64, String)> = thin
        .iter()
        .map(|(at, one, all)| {
            (
                x(*at),
                format!(
                    "{}\none dump {}\nall stored {}",
                    words::short(*at, &ask.site.zone, ask.now()),
                    words::bytes(*one),
                    words::bytes(*all)
                ),
            )
        })
        .collect();
    let rows: Vec<Vec<String>> = thin
        .iter()
        .rev()
        .map(|(at, one, all)| {
            vec![words::short(*at, &ask.site.zone, ask.now()), words::bytes(*one), words::bytes(*all)]
        })
        .collect();
    let lines = [
        ("c2", thin.iter().map(|(at, _, all)| (x(*at), *all as f64)).collect(), true),
        ("c1", thin.iter().map(|(at, one, _)| (x(*at), *one as f64)).collect(), false),
    ];
    card_body(
        "Growth",
        &sub,
        &html! {
            (plot.lines(&lines, &hints))
            ul.legend { li { svg viewBox="0 0 12 12" aria-hidden="true" { rect.col width="12" height="12" rx="2" {} } "one plain dump" } li { svg viewBox="0 0 12 12" aria-hidden="true" { rect.col2 width="12" height="12" rx="2" {} } "all stored" } }
            (data("The same as a table", &["Backup", "One dump", "All stored"], &rows))
        },
    )
}

/// The newest snapshots with their tables, as far as those are known, the oldest first.
fn with_tables<'a>(ask: &Ask<'_>, own: &[&'a Snapshot], most: usize) -> Vec<(&'a Snapshot, Vec<Table>)> {
    let newest = own.iter().rev().take(most).rev();
    newest
        .filter_map(|snapshot| Some((*snapshot, known::tables_kept(ask.web, &snapshot.id)?)))
        .filter(|(_, tables)| !tables.is_empty())
        .collect()
}

fn new_bytes(ask: &Ask<'_>, own: &[&Snapshot]) -> Markup {
    let sub = html! { "Which tables make backups grow: bytes that were not there before." };
    // The first has nothing before it: all of it is new, and would hide the others.
    let known: Vec<(&Snapshot, Vec<Table>)> =
        with_tables(ask, own, 30).into_iter().filter(|(snapshot, _)| snapshot.parent.is_some()).collect();
    let (Some((first, _)), Some((last, _))) = (known.first(), known.last()) else {
        return card_body(
            "New bytes",
            &sub,
            &empty("Not known yet", &html! { "The picture appears once tables of two backups were read." }),
        );
    };
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    known
        .iter()
        .flat_map(|(_, tables)| tables)
        .for_each(|table| *sums.entry(table.full_name()).or_default() += table.new_bytes.unwrap_or_default());
    let mut largest: Vec<(String, u64)> = sums.into_iter().filter(|(_, sum)| *sum > 0).collect();
    largest.sort_by_key(|(_, sum)| std::cmp::Reverse(*sum));
    let named: Vec<&str> = largest.iter().take(NAMED).map(|(name, _)| name.as_str()).collect();
    let classes = ["col", "col2", "col3"];
    let parts: Vec<Vec<u64>> = known
        .iter()
        .map(|(_, tables)| {
            let of = |name: &str| {
                tables
                    .iter()
                    .filter(|table| table.full_name() == name)
                    .filter_map(|table| table.new_bytes)
                    .sum::<u64>()
            };
            let mut parts: Vec<u64> = named.iter().map(|name| of(name)).collect();
            let all: u64 = tables.iter().filter_map(|table| table.new_bytes).sum();
            parts.push(all.saturating_sub(parts.iter().sum()));
            parts
        })
        .collect();
    let most = parts.iter().map(|parts| parts.iter().sum::<u64>()).max().unwrap_or(1).max(1);
    let names: Vec<String> =
        named.iter().map(|name| words::line(name)).chain(["others".to_owned()]).collect();
    let plot = pictures::Plot {
        id: "nb",
        title: "New bytes by table",
        finding: &format!("The table with most new bytes is {}.", names.first().cloned().unwrap_or_default()),
        most: pictures::round_up(most as f64),
        label: &|value| words::bytes(value as u64),
        below: below(ask, first.at(), last.at()),
    };
    let columns: Vec<Vec<(&str, f64)>> = parts
        .iter()
        .map(|parts| {
            classes
                .iter()
                .copied()
                .take(named.len())
                .chain(["colr"])
                .zip(parts)
                .map(|(class, value)| (class, *value as f64))
                .collect()
        })
        .collect();
    let short = |snapshot: &Snapshot| words::short(snapshot.at(), &ask.site.zone, ask.now());
    let hints: Vec<String> = known
        .iter()
        .zip(&parts)
        .map(|((snapshot, _), parts)| {
            let lines: Vec<String> = names
                .iter()
                .zip(parts)
                .map(|(name, value)| format!("{name} {}", words::bytes(*value)))
                .collect();
            format!("{}\n{}", short(snapshot), lines.join("\n"))
        })
        .collect();
    let heads: Vec<&str> = std::iter::once("Backup").chain(names.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = known
        .iter()
        .zip(&parts)
        .rev()
        .map(|((snapshot, _), parts)| {
            std::iter::once(short(snapshot)).chain(parts.iter().map(|value| words::bytes(*value))).collect()
        })
        .collect();
    card_body(
        "New bytes",
        &sub,
        &html! {
            (plot.columns(&columns, &hints))
            ul.legend { @for (name, class) in names.iter().zip(classes.iter().take(named.len()).chain(&["colr"])) { li { svg viewBox="0 0 12 12" aria-hidden="true" { rect class=(class) width="12" height="12" rx="2" {} } (name) } } }
            (data("The same as a table", &heads, &rows))
        },
    )
}

fn tables_over_time(ask: &Ask<'_>, own: &[&Snapshot]) -> Markup {
    let known = with_tables(ask, own, 30);
    let Some((newest, tables)) = known.last() else { return html! {} };
    let search = ask.request.query("table").map(str::to_lowercase);
    let mut largest: Vec<&Table> = tables
        .iter()
        .filter(|table| search.as_ref().is_none_or(|text| table.full_name().to_lowercase().contains(text)))
        .collect();
    largest.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    let rows: Vec<Vec<Markup>> = largest.iter().take(10).map(|table| {
        let name = table.full_name();
        let of = |tables: &[Table]| tables.iter().find(|own| own.full_name() == name && own.stream == table.stream).map_or(0, |own| own.bytes);
        let sizes: Vec<u64> = known.iter().map(|(_, tables)| of(tables)).collect();
        let before = sizes.first().copied().unwrap_or_default();
        let change = if before == 0 { 0.0 } else { (table.bytes as f64 / before as f64 - 1.0) * 100.0 };
        vec![
            html! { strong.mono { (words::line(&name)) } },
            pictures::spark(&sizes),
            html! { (words::bytes(table.bytes)) },
            table.rows.map_or_else(|| html! { span.faint { "unknown" } }, |rows| html! { (words::count(rows)) }),
            html! { span class=(if change < -5.0 { "drop" } else { "up" }) { @if change < -5.0 { "▾ " } (if change < 0.0 { "−" } else { "+" }) (format!("{:.1} %", change.abs())) } },
        ]
    }).collect();
    let find = html! { form.actions method="get" role="search" { label.sr for="tq" { "Find a table" } input.in id="tq" name="table" type="search" placeholder="Find a table" value=(ask.request.query("table").unwrap_or_default()); } };
    let columns = [
        column("Table", "lead"),
        column("Size over time", "bars"),
        column("Bytes", "num"),
        column("Rows", "num"),
        column("Change", "num"),
    ];
    card(
        "Tables",
        &html! { "The largest in the dump, over the last " (known.len()) " backups that were looked into." },
        &find,
        &html! {
            @if rows.is_empty() { (empty("No table of that name", &html! { "Search for a part of a name." })) } @else { (table("Largest tables over time", &columns, &rows)) }
            div.card-foot { span { (largest.len()) " tables" } a href=(ask.link_to("/snapshots/", &newest.id)) { "All tables of the newest backup" } }
        },
    )
}

/// One snapshot.
pub(super) fn snapshot(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let snapshot = doings::snapshot(ask, &listing, ask.param(0))?;
    let before =
        listing.of(&snapshot.series).rfind(|other| other.host == snapshot.host && other.at() < snapshot.at());
    let tables = known::tables(ask.web, &snapshot.id);
    let acknowledged = ask.web.access(|access| access.acknowledged(&snapshot.id))?;
    let rows: Option<u64> =
        tables.as_ref().ok().map(|tables| tables.iter().filter_map(|table| table.rows).sum());
    let state = if snapshot.state == "complete" {
        badge("completed")
    } else {
        badge_saying("suspect", &snapshot.state)
    };
    let actions = html! { @if ask.may(Role::Operator) {
        form method="post" action=(ask.link(&format!("/snapshots/{}/{}", snapshot.id, if snapshot.pinned { "unpin" } else { "pin" }))) { (csrf(ask)) button.btn type="submit" { (icon("pin")) @if snapshot.pinned { "Unpin" } @else { "Pin" } } }
        form method="post" action=(ask.link(&format!("/snapshots/{}/verify", snapshot.id))) { (csrf(ask)) button.btn type="submit" { (icon("shield")) "Verify" } }
    } };
    let sub = html! { "Taken " (when(ask, snapshot.at())) ", " (ago(ask, snapshot.at())) ", on " (snapshot.host) "." };
    let rate = snapshot.bytes.saturating_mul(1000) / snapshot.duration_ms.max(1);
    let body = html! {
        (head(&html! { (snapshot.series) " " span.mono { (snapshot.short()) } " " (state) " " (tag(snapshot.kind())) }, &sub, &actions, &[(ask.link("/series"), "Series"), (ask.link_to("/series/", &snapshot.series), snapshot.series.as_str())]))
        @if snapshot.state != "complete" { (suspect(ask, &snapshot, acknowledged.as_ref())) }
        dl.card.stats {
            (stat("Rows", "table", &rows.map_or_else(|| html! { span.faint { "unknown" } }, |rows| html! { (words::count(rows)) }), &html! { @if let Ok(tables) = &tables { "in " (words::of(u64::try_from(tables.len()).unwrap_or_default(), "table")) } }))
            (stat("Plain size", "db", &big(&words::bytes(snapshot.bytes)), &html! { @if let Some(before) = before { (difference(snapshot.bytes, before.bytes)) " since the one before" } }))
            (stat("New", "plus", &big(&words::bytes(snapshot.bytes_new())), &html! { (format!("{:.2} % of the dump", snapshot.bytes_new() as f64 * 100.0 / snapshot.bytes.max(1) as f64)) }))
            (stat("Stored for it", "box", &big(&words::bytes(snapshot.bytes_stored)), &html! { "after compression" }))
            (stat("Duration", "miss", &big(&words::time_ms(i64::try_from(snapshot.duration_ms).unwrap_or_default())), &html! { (words::bytes(rate)) "/s" }))
        }
        (match &tables { Ok(tables) => tables_card(ask, &snapshot, tables), Err(refusal) => note("failed", "The tables cannot be read", &html! { code { (words::line(&refusal.detail)) } }) })
        @if let Some(before) = before { (compare_card(ask, &listing, &snapshot, before)) }
        div.cols {
            div.c6 { (card_body("Facts", &html! {}, &snapshot_facts(ask, &listing, &snapshot))) }
            div.c6 { (restore_card(ask, &snapshot)) }
        }
    };
    Ok(page(ask, "/series", &format!("{} {}", snapshot.series, snapshot.short()), &body))
}

fn suspect(ask: &Ask<'_>, snapshot: &Snapshot, acknowledged: Option<&(String, i64, String)>) -> Markup {
    let row = ask.web.state(|state| state.row_of(&snapshot.id)).ok().flatten();
    let why = row.and_then(|row| row.record).and_then(|record| record.suspect.or(record.error));
    html! {
        div.note.is-warn {
            (icon("warn")) h2 { "This backup is " (snapshot.state) }
            p { (words::line(why.as_deref().unwrap_or("It is much smaller than usual, or parts of it are missing."))) }
            @match acknowledged {
                Some((who, at, note)) => p { strong { (who) } " said " (ago(ask, *at)) " that it is right: “" (words::line(note)) "”" },
                None => @if ask.may(Role::Operator) {
                    form.actions method="post" action=(ask.link(&format!("/snapshots/{}/acknowledge", snapshot.id))) {
                        (csrf(ask)) label.sr for="ack" { "Why it is right" }
                        input.in id="ack" name="note" required maxlength="500" placeholder="Why it is right";
                        button.btn.btn-sm type="submit" { "It is right" }
                    }
                },
            }
        }
    }
}

fn difference(now: u64, before: u64) -> String {
    if now >= before {
        format!("+{}", words::bytes(now - before))
    } else {
        format!("−{}", words::bytes(before - now))
    }
}

fn tables_card(ask: &Ask<'_>, snapshot: &Snapshot, tables: &[Table]) -> Markup {
    if tables.is_empty() {
        return card(
            "Tables",
            &html! {},
            &html! {},
            &empty("No tables", &html! { "The backup holds no dump whose tables are known." }),
        );
    }
    let search = ask.request.query("table").map(str::to_lowercase);
    let mut shown: Vec<&Table> = tables
        .iter()
        .filter(|table| search.as_ref().is_none_or(|text| table.full_name().to_lowercase().contains(text)))
        .collect();
    shown.sort_by_key(|table| (std::cmp::Reverse(table.new_bytes), std::cmp::Reverse(table.bytes)));
    let most = shown.iter().filter_map(|table| table.new_bytes).max().unwrap_or_default();
    let limit =
        if ask.request.query("all").is_some() || search.is_some() { shown.len() } else { TABLES_SHOWN };
    let rows: Vec<Vec<Markup>> = shown.iter().take(limit).map(|table| vec![
        html! { strong.mono { (words::line(&table.full_name())) } @if !table.database.is_empty() { span.two { (words::line(&table.database)) } } },
        table.rows.map_or_else(|| html! { span.faint { "unknown" } }, |rows| html! { (words::count(rows)) }),
        html! { (words::bytes(table.bytes)) },
        table.new_bytes.filter(|new| *new > 0).map_or_else(|| html! { span.faint { "none" } }, |new| html! { (words::bytes(new)) }),
        pictures::bar(table.new_bytes.unwrap_or_default(), most),
    ]).collect();
    let find = html! { form.actions method="get" role="search" { label.sr for="tq" { "Find a table" } input.in id="tq" name="table" type="search" placeholder="Find a table" value=(ask.request.query("table").unwrap_or_default()); } };
    let columns = [
        column("Table", "lead"),
        column("Rows", "num"),
        column("Bytes", "num"),
        column("New bytes", "num"),
        column("Share of what is new", "bars"),
    ];
    card(
        "Tables",
        &html! { "The bar shows how much of what this backup added came from a table." },
        &find,
        &html! {
            (table("Tables of this backup", &columns, &rows))
            div.card-foot { span { (rows.len()) " of " (words::of(u64::try_from(tables.len()).unwrap_or_default(), "table")) } @if rows.len() < shown.len() { a href={ (ask.link_to("/snapshots/", &snapshot.id)) "?all=1" } { "Show all" } } }
        },
    )
}

fn compare_card(ask: &Ask<'_>, listing: &Listing, snapshot: &Snapshot, before: &Snapshot) -> Markup {
    let others = listing.of(&snapshot.series).rev().filter(|other| other.id != snapshot.id).take(50);
    let form = html! {
        form.actions method="get" action=(ask.link("/diff")) {
            input type="hidden" name="after" value=(snapshot.id);
            label.sr for="cmp" { "Compare with" }
            select.in id="cmp" name="before" { @for other in others { option value=(other.id) selected[other.id == before.id] { (words::short(other.at(), &ask.site.zone, ask.now())) ", " (other.kind()) } } }
            button.btn type="submit" { "Compare" }
        }
    };
    card(
        "Difference to the one before",
        &html! { "Against " a href=(ask.link_to("/snapshots/", &before.id)) { (before.short()) } " of " (when(ask, before.at())) "." },
        &form,
        &diff_table(ask, &before.id, &snapshot.id),
    )
}

fn diff_table(ask: &Ask<'_>, before: &str, after: &str) -> Markup {
    let report = match known::diff(ask.web, before, after) {
        Ok(report) => report,
        Err(refusal) => {
            return html! { div.card-body { p.err { (icon("bad")) (words::line(&refusal.detail)) } } };
        }
    };
    let tables: Vec<&Value> = report.get("tables").and_then(Value::as_array).into_iter().flatten().collect();
    let number = |table: &Value, side: &str, what: &str| {
        table.pointer(&format!("/{side}/{what}")).and_then(Value::as_u64)
    };
    let text =
        |table: &Value, key: &str| table.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let changed: Vec<&&Value> = tables.iter().filter(|table| text(table, "change") != "none").collect();
    let delta = |table: &Value| {
        let before = number(table, "before", "rows").unwrap_or_default();
        let after = number(table, "after", "rows").unwrap_or_default();
        i64::try_from(after).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX)
    };
    let most = changed.iter().map(|table| delta(table).unsigned_abs()).max().unwrap_or(1);
    let mut changed = changed;
    changed.sort_by_key(|table| std::cmp::Reverse(delta(table).unsigned_abs()));
    let rows: Vec<Vec<Markup>> = changed.iter().take(200).map(|table| {
        let schema = text(table, "schema");
        let name = if schema.is_empty() || schema == "public" { text(table, "name") } else { format!("{schema}.{}", text(table, "name")) };
        let rows = |side: &str| number(table, side, "rows").map_or_else(|| html! { span.faint { "none" } }, |rows| html! { (words::count(rows)) });
        let change = delta(table);
        let word = text(table, "change");
        vec![
            html! { strong.mono { (words::line(&name)) } @if word == "gone" || word == "removed" { " " (badge_saying("warning", "Gone")) } @else if word == "new" || word == "added" { " " (badge_saying("good", "New")) } },
            rows("before"),
            pictures::up_down(change, most),
            rows("after"),
            html! { span class=(if change < 0 { "drop" } else { "up" }) { (if change < 0 { "−" } else { "+" }) (words::count(change.unsigned_abs())) } },
            html! { (difference(number(table, "after", "bytes").unwrap_or_default(), number(table, "before", "bytes").unwrap_or_default())) },
        ]
    }).collect();
    let columns = [
        column("Table", "lead"),
        column("Rows before", "num"),
        column("Went / came", "bars"),
        column("Rows after", "num"),
        column("Rows", "num"),
        column("Bytes", "num"),
    ];
    let same = tables.len().saturating_sub(changed.len());
    html! {
        @if rows.is_empty() { (empty("No difference", &html! { "All tables have as many rows and bytes as before." })) } @else { (table("Tables that differ", &columns, &rows)) }
        div.card-foot { span { (words::of(u64::try_from(same).unwrap_or_default(), "table")) " without a difference in rows or bytes" } }
    }
}

fn snapshot_facts(ask: &Ask<'_>, listing: &Listing, snapshot: &Snapshot) -> Markup {
    let kept = match listing.kept_by.get(&snapshot.id) {
        _ if snapshot.pinned => "pinned: it stays".to_owned(),
        Some(rules) if rules.is_empty() => "nothing: it goes with the next forget".to_owned(),
        Some(rules) => rules.join(", "),
        None => "no rules are configured".to_owned(),
    };
    let stream = snapshot.streams.first();
    let attribute = |name: &str| {
        stream.and_then(|stream| stream.attributes.get(name)).and_then(Value::as_str).map(words::line)
    };
    let guard = listing.guards(snapshot, ask.now());
    let mut rows = vec![
        ("Id", html! { code.small { (snapshot.id) } }),
        (
            "Dump",
            html! { (attribute("client").unwrap_or_else(|| stream.and_then(|stream| stream.format.clone()).unwrap_or_else(|| "bytes".to_owned()))) span.sub { "proof of its end: " (snapshot.proof.as_deref().unwrap_or("none")) } },
        ),
        ("Kept by", html! { (kept) }),
        (
            "Last proof",
            html! { @match snapshot.verified_at() { Some(at) => { "rows equal, " (when(ask, at)) }, None => "never restored for trial" } },
        ),
        (
            "Deletion",
            html! { @match guard { Some((_, why)) => { "not possible: " (why) }, None => "possible" } },
        ),
    ];
    if let Some(server) = attribute("server_version") {
        rows.insert(2, ("Server", html! { (server) }));
    }
    if let Some(stream) = stream {
        rows.push(("BLAKE3", html! { code.small { (stream.blake3) } }));
    }
    if let Some(digest) = attribute("sha256") {
        rows.push(("SHA-256", html! { code.small { (digest) } }));
    }
    facts(&rows)
}

fn restore_card(ask: &Ask<'_>, snapshot: &Snapshot) -> Markup {
    let id = snapshot.short();
    let is_dump = snapshot
        .streams
        .iter()
        .any(|stream| stream.format.as_deref().is_some_and(|format| format.starts_with("pg_dump")));
    card_body(
        "Restore",
        &html! { "On any host that has the repository and a key." },
        &html! { div.stack {
            @if ask.may(Role::Admin) && is_dump {
                form.stack method="post" action=(ask.link(&format!("/snapshots/{}/restore", snapshot.id))) {
                    (csrf(ask))
                    div.field { label for="db" { "Into a new database named" } input.in id="db" name="database" required pattern="[a-z_][a-z0-9_]*" maxlength="63" placeholder={ (snapshot.series.replace(['-', '.'], "_").to_lowercase()) "_copy" }; p.hint { "It is made, filled and counted. A database that holds something is never touched." } }
                    (password(ask, "rpw"))
                    div.actions { button.btn type="submit" { "Restore" } }
                }
            } @else if is_dump { div { p.small.muted { "Into a new database; rows are counted afterwards" } (command(&format!("dumpvault restore {id} --to-database NAME --create"))) } }
            div { p.small.muted { "In the place of a live database: beside it first, then the names are exchanged" } (command(&format!("dumpvault restore {id} --to-database NAME --swap"))) }
            div { p.small.muted { "As a file" } (command(&format!("dumpvault restore {id} --output {}.dump", snapshot.series))) }
        } },
    )
}

/// The difference between any two.
pub(super) fn diff(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let listing = Listing::last(ask.web)?;
    let (Some(before), Some(after)) = (ask.request.query("before"), ask.request.query("after")) else {
        return Err(Refusal::invalid("name two backups: before and after"));
    };
    let (before, after) = (doings::snapshot(ask, &listing, before)?, doings::snapshot(ask, &listing, after)?);
    let short = |snapshot: &Snapshot| html! { a href=(ask.link_to("/snapshots/", &snapshot.id)) { (snapshot.series) " " (snapshot.short()) } " of " (when(ask, snapshot.at())) };
    let body = html! {
        (head(&html! { "Difference" }, &html! { "From " (short(&before)) " to " (short(&after)) "." }, &html! {}, &[(ask.link("/series"), "Series"), (ask.link_to("/series/", &after.series), after.series.as_str())]))
        (card("Tables", &html! { "Totals of rows and bytes. Rows that were changed in place are not counted." }, &html! {}, &diff_table(ask, &before.id, &after.id)))
    };
    Ok(page(ask, "/series", "Difference", &body))
}

/// Pins.
pub(super) fn pin(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::pin(ask, ask.param(0), true)?;
    Ok(Response::see_other(ask.link_to("/snapshots/", ask.param(0))))
}

/// Unpins.
pub(super) fn unpin(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::pin(ask, ask.param(0), false)?;
    Ok(Response::see_other(ask.link_to("/snapshots/", ask.param(0))))
}

/// Verifies.
pub(super) fn verify(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let id = doings::verify(ask, ask.param(0))?;
    Ok(Response::see_other(ask.link_to("/operations/", &id)))
}

/// Says that a suspect one is right.
pub(super) fn acknowledge(ask: &Ask<'_>) -> Result<Response, Refusal> {
    doings::acknowledge(ask, ask.param(0), &ask.field("note").unwrap_or_default())?;
    Ok(Response::see_other(ask.link_to("/snapshots/", ask.param(0))))
}

/// Restores into a new database.
pub(super) fn restore(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let id = doings::restore(ask, ask.param(0), &ask.field("database").unwrap_or_default())?;
    Ok(Response::see_other(ask.link_to("/operations/", &id)))
}
