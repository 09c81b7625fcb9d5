//! What all pages are made of: the frame, cards, tables, badges, forms.

pub(super) use super::icons::{icon, icon_with};
use crate::daemon::web::assets::PATHS;
use crate::daemon::web::known::Listing;
use crate::daemon::web::request::{Response, encoded};
use crate::daemon::web::route::{Ask, Way};
use crate::daemon::web::words;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Entries of the navigation: path, icon, word. Whoever adds pages adds theirs here.
const NAV: &[(&str, &str, &str)] = &[
    ("/", "home", "Overview"),
    ("/settings/backup", "box", "Backups"),
    ("/jobs", "wait", "Jobs"),
    ("/runs", "runs", "Runs"),
    ("/series", "series", "Series"),
    ("/checks", "shield", "Checks"),
    ("/alerts", "bell", "Alerts"),
    ("/audit", "log", "Audit"),
    ("/admin", "lock", "Admin"),
];

const BRAND: &str = r#"<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" aria-hidden="true"><rect x="2.6" y="2.6" width="18.8" height="18.8" rx="5"/><path d="M7 8.2h10M7 12h10M7 15.8h6" stroke-linecap="round"/></svg>"#;

/// The document around a body.
pub(super) fn document(base: &str, title: &str, body: &Markup) -> Markup {
    let [style, script, icon] = &*PATHS;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · dumpvault" }
                link rel="icon" href={ (base) (icon) } type="image/svg+xml";
                link rel="stylesheet" href={ (base) (style) };
                script type="module" src={ (base) (script) } {}
            }
            body { (body) }
        }
    }
}

/// The brand's mark and name.
pub(super) fn brand() -> Markup {
    html! { (PreEscaped(BRAND)) "dumpvault" }
}

/// A page before somebody has signed in, or one that says why there is none.
pub(super) fn gate(base: &str, title: &str, body: &Markup) -> Markup {
    let body = html! { main.gate { div.gate-in { div.brand { (brand()) } (body) } } };
    document(base, title, &body)
}

/// A page in its frame.
pub(super) fn page(ask: &Ask<'_>, nav: &str, title: &str, body: &Markup) -> Response {
    Response::page(framed(ask, nav, title, body))
}

/// A page in its frame, as text.
pub(super) fn framed(ask: &Ask<'_>, nav: &str, title: &str, body: &Markup) -> Markup {
    let now = ask.now();
    let zone = &ask.site.zone;
    let offset = words::moment(now).to_zoned(zone.clone()).strftime("%:z").to_string();
    let zone_name = zone.iana_name().unwrap_or("local time");
    let who = ask.who.as_ref().map(|who| format!("{} · {}", who.name, who.role.word())).unwrap_or_default();
    let theirs =
        NAV.iter().filter(|(path, ..)| *path != "/admin" || ask.may(crate::daemon::web::store::Role::Admin));
    let whole = html! {
        a.skip href="#main" { "Skip to content" }
        div.shell {
            header.side {
                a.brand href=(ask.link("/")) { (brand()) }
                nav.nav aria-label="Main" {
                    ul {
                        @for (path, name, word) in theirs {
                            li { a href=(ask.link(path)) aria-current=[(*path == nav).then_some("page")] { (icon(name)) (word) } }
                        }
                    }
                }
                div.side-foot {
                    dl {
                        div { dt { "Repository" } dd { (ask.site.repository) } }
                        div { dt { "Times" } dd { (zone_name) ", " (offset) } }
                    }
                    div.me {
                        a href=(ask.link("/account")) aria-current=[(nav == "/account").then_some("page")] { (who) }
                        button.btn.btn-quiet.btn-icon type="button" data-do="theme" aria-label="Switch between light and dark" { (icon("theme")) }
                    }
                }
            }
            main.main #main tabindex="-1" {
                div.wrap {
                    (body)
                    footer.foot {
                        span { "dumpvault " (env!("CARGO_PKG_VERSION")) }
                        span { "Page made " (when(ask, now)) " " (offset) }
                    }
                }
            }
        }
    };
    let base = ask.link("");
    document(&base, title, &whole)
}

/// What a form bears that proves that it is ours.
pub(super) fn csrf(ask: &Ask<'_>) -> Markup {
    let token = match ask.who.as_ref().map(|who| &who.way) {
        Some(Way::Session { csrf, .. }) => csrf.as_str(),
        _ => "",
    };
    html! { input type="hidden" name="csrf" value=(token); }
}

/// Asks for the password, where it was not given of late.
pub(super) fn password(ask: &Ask<'_>, id: &str) -> Markup {
    html! {
        @if !ask.is_proved {
            div.field {
                label for=(id) { "Your password" }
                input.in id=(id) type="password" name="password" autocomplete="current-password" required;
            }
        }
    }
}

/// A moment in the site's zone; its title is the moment in UTC.
pub(super) fn when(ask: &Ask<'_>, ms: i64) -> Markup {
    let zoned = words::moment(ms).to_zoned(ask.site.zone.clone());
    let utc = words::moment(ms).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let iso = zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    html! { time datetime=(iso) title=(utc) { (words::short(ms, &ask.site.zone, ask.now())) } }
}

/// How long ago, in words.
pub(super) fn ago(ask: &Ask<'_>, ms: i64) -> String {
    let passed = ask.now().saturating_sub(ms);
    if passed < 0 {
        format!("in {}", words::time_ms(-passed))
    } else {
        format!("{} ago", words::time_ms(passed))
    }
}

/// A state's class, icon and word.
fn state(name: &str) -> (&'static str, &'static str, &'static str) {
    match name {
        "completed" | "COMPLETED" => ("good", "good", "Completed"),
        "good" => ("good", "good", "Good"),
        "warning" => ("warn", "warn", "Warning"),
        "suspect" => ("warn", "warn", "Suspect"),
        "failed" | "FAILED" => ("bad", "bad", "Failed"),
        "overdue" => ("miss", "miss", "Overdue"),
        "missed" => ("miss", "miss", "Missed"),
        "running" | "IN_PROGRESS" => ("busy", "busy", "In progress"),
        "queued" | "QUEUED" => ("idle", "wait", "Queued"),
        "never" => ("idle", "never", "Never run"),
        "paused" => ("idle", "pause", "Paused"),
        "disabled" => ("idle", "pause", "Disabled"),
        "skipped" => ("idle", "skip", "Skipped"),
        "expired" | "EXPIRED" => ("idle", "expired", "Expired"),
        "deleted" | "DELETED" => ("idle", "trash", "Deleted"),
        "verified" => ("good", "shield", "Verified"),
        "pinned" => ("idle", "pin", "Pinned"),
        _ => ("idle", "never", "Unknown"),
    }
}

/// A state: shape, colour and word.
pub(super) fn badge(name: &str) -> Markup {
    badge_saying(name, state(name).2)
}

/// The same, with another word.
pub(super) fn badge_saying(name: &str, word: &str) -> Markup {
    let (class, shape, _) = state(name);
    html! { span class={ "badge is-" (class) } { (icon(shape)) (word) } }
}

/// A kind of backup.
pub(super) fn tag(kind: &str) -> Markup {
    let kind = kind.to_lowercase();
    let mut letters = kind.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
    html! { span.tag { (icon(&kind)) (first) (letters.as_str()) } }
}

/// The head of a page.
pub(super) fn head(title: &Markup, sub: &Markup, actions: &Markup, crumbs: &[(String, &str)]) -> Markup {
    html! {
        div.page-head {
            div {
                @if !crumbs.is_empty() {
                    nav.crumbs aria-label="Path" { ol { @for (path, word) in crumbs { li { a href=(path) { (word) } } } } }
                }
                h1 { (title) }
                p.sub { (sub) }
            }
            div.actions { (actions) }
        }
    }
}

/// A card with a heading.
pub(super) fn card(title: &str, sub: &Markup, aside: &Markup, body: &Markup) -> Markup {
    html! {
        section.card {
            div.card-head { div { h2 { (title) } @if !sub.0.is_empty() { p { (sub) } } } (aside) }
            (body)
        }
    }
}

/// A card whose body has room around it.
pub(super) fn card_body(title: &str, sub: &Markup, body: &Markup) -> Markup {
    card(title, sub, &html! {}, &html! { div.card-body { (body) } })
}

/// A number of a summary.
pub(super) fn stat(label: &str, shape: &str, value: &Markup, detail: &Markup) -> Markup {
    html! {
        div.stat { dt { (icon(shape)) (label) } dd.v { (value) } dd.d { (detail) } }
    }
}

/// A value with its unit set small: `34.8 GB`, `6 h 22 min`.
pub(super) fn big(text: &str) -> Markup {
    let words: Vec<&str> = text.split(' ').collect();
    html! {
        @for pair in words.chunks(2) {
            (pair.first().unwrap_or(&""))
            @if let Some(unit) = pair.get(1) { span.unit { (unit) } " " }
        }
    }
}

/// A column of a table: label, class, and the link that sorts by it with how it is sorted now.
pub(super) struct Column<'a> {
    /// Its heading.
    pub label: &'a str,
    /// Its class.
    pub class: &'a str,
    /// The link that sorts by it, and `ascending`, `descending` or nothing.
    pub sort: Option<(String, &'a str)>,
}

/// A column that nothing is sorted by.
pub(super) fn column<'a>(label: &'a str, class: &'a str) -> Column<'a> {
    Column { label, class, sort: None }
}

/// A table whose rows become cards where there is little room.
pub(super) fn table(caption: &str, columns: &[Column<'_>], rows: &[Vec<Markup>]) -> Markup {
    let of_head = |class: &str| {
        class.split(' ').filter(|one| ["num", "opt", "act"].contains(one)).collect::<Vec<_>>().join(" ")
    };
    html! {
        table.tbl.fold-rows role="table" {
            caption.sr { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for column in columns {
                        @let class = of_head(column.class);
                        @let sorted = column.sort.as_ref().map(|(_, now)| *now).filter(|now| !now.is_empty());
                        th role="columnheader" scope="col" class=[(!class.is_empty()).then_some(&class)] aria-sort=[sorted] {
                            @match &column.sort {
                                None => (column.label),
                                Some((link, _)) => a href=(link) { (column.label) (icon(if sorted == Some("descending") { "sortd" } else if sorted.is_some() { "sorta" } else { "sort" })) },
                            }
                        }
                    }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (column, cell) in columns.iter().zip(row) {
                            td role="cell" class=[(!column.class.is_empty()).then_some(column.class)] data-label=(column.label) { div.cell { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// The same as a chart, as a table.
pub(super) fn data(label: &str, heads: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        details.more {
            summary { (icon("chev")) (label) }
            div.box tabindex="0" role="region" aria-label={ "Table: " (heads.join(", ").to_lowercase()) } {
                table.tbl.mini {
                    thead { tr { @for (at, head) in heads.iter().enumerate() { th scope="col" class=[(at > 0).then_some("num")] { (head) } } } }
                    tbody { @for row in rows { tr { @for (at, cell) in row.iter().enumerate() { td class=[(at > 0).then_some("num")] { (cell) } } } } }
                }
            }
        }
    }
}

/// A notice: what, why, what to do.
pub(super) fn note(name: &str, title: &str, text: &Markup) -> Markup {
    let (class, shape, _) = state(name);
    html! { div class={ "note is-" (class) } { (icon(shape)) h2 { (title) } p { (text) } } }
}

/// A list's row: a shape, a title with a state, a sentence, actions.
pub(super) fn item(name: &str, title: &Markup, word: &str, text: &Markup, actions: &Markup) -> Markup {
    let (class, shape, _) = state(name);
    html! {
        li class={ "is-" (class) } {
            span.shape { (icon(shape)) }
            div { p.t { span { (title) } span.state { (word) } } p { (text) } }
            @if !actions.0.is_empty() { div.actions { (actions) } }
        }
    }
}

/// A command with a button that copies it.
pub(super) fn command(text: &str) -> Markup {
    html! {
        div.cmd {
            pre tabindex="0" { (text) }
            button.btn type="button" data-do="copy" { (icon("copy")) span.w aria-live="polite" { "Copy" } }
        }
    }
}

/// Nothing here yet, and what makes it fill.
pub(super) fn empty(title: &str, text: &Markup) -> Markup {
    html! { div.empty { h3 { (title) } p { (text) } } }
}

/// Facts, one a line.
pub(super) fn facts(rows: &[(&str, Markup)]) -> Markup {
    html! { dl.facts { @for (name, value) in rows { div { dt { (name) } dd { (value) } } } } }
}

/// Links to pages of a list.
pub(super) fn pager(
    name: &str,
    (page, limit, total): (u64, u64, u64),
    things: &str,
    link: &dyn Fn(u64) -> String,
) -> Markup {
    let last = total.div_ceil(limit.max(1)).max(1);
    let first_row = if total == 0 { 0 } else { (page - 1) * limit + 1 };
    let mut shown: Vec<u64> = vec![1, page.saturating_sub(1), page, page + 1, last];
    shown.retain(|one| (1..=last).contains(one));
    shown.sort_unstable();
    shown.dedup();
    html! {
        nav.pager aria-label=(name) {
            span { (words::count(first_row)) " to " (words::count((page * limit).min(total))) " of " (words::count(total)) " " (things) }
            ul {
                li { @if page > 1 { a href=(link(page - 1)) { "Newer" } } @else { span.off { "Newer" } } }
                @for (at, one) in shown.iter().enumerate() {
                    @if at > 0 && shown.get(at - 1).is_some_and(|before| before + 1 < *one) { li { span aria-hidden="true" { "…" } } }
                    li { a href=(link(*one)) aria-current=[(*one == page).then_some("page")] aria-label={ "Page " (one) } { (one) } }
                }
                li { @if page < last { a href=(link(page + 1)) { "Older" } } @else { span.off { "Older" } } }
            }
        }
    }
}

/// The query of a page with some values changed.
pub(super) fn query(ask: &Ask<'_>, path: &str, changes: &[(&str, &str)]) -> String {
    let kept = ask
        .request
        .query
        .iter()
        .filter(|(name, value)| !value.is_empty() && !changes.iter().any(|(other, _)| other == name));
    let mut pairs: Vec<String> =
        kept.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let new = changes.iter().filter(|(_, value)| !value.is_empty());
    pairs.extend(new.map(|(name, value)| format!("{name}={}", encoded(value))));
    let path = ask.link(path);
    if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
}

/// How old what the repository said is, or why it says nothing.
pub(super) fn as_of(ask: &Ask<'_>, listing: &Listing) -> Markup {
    html! {
        @if listing.is_known() { span.small.muted { "as of " (when(ask, listing.at)) } }
        @else { span.small.muted aria-busy="true" { "the repository is being asked" } }
    }
}

/// What is to be told of the repository before anything else.
pub(super) fn unreachable(ask: &Ask<'_>, listing: &Listing) -> Markup {
    html! {
        @if let Some((since, why)) = &listing.error {
            (note("failed", "The repository cannot be reached", &html! {
                "Since " (when(ask, *since)) ": " code { (words::line(why)) } ". "
                @if listing.is_known() { "What is shown was known at " (when(ask, listing.at)) ". " }
                "Run " code { "dumpvault doctor" } " on the server."
            }))
        }
    }
}
