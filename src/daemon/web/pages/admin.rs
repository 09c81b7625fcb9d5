//! Users, tokens, settings, the audit log.

use super::layout::*;
use super::new_token;
use crate::daemon::launch;
use crate::daemon::state::AuditFault;
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::store::{Role, Token};
use crate::daemon::web::{gate, words};
use maud::{Markup, html};

const ENTRIES: u32 = 50;
const DAY_MS: i64 = 86_400_000;

/// The audit log.
pub(super) fn audit(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let before = ask.request.query("before").and_then(|text| text.parse().ok());
    let entries = ask.web.state(|state| state.audit_page(ENTRIES, before))?;
    let rows: Vec<Vec<Markup>> = entries
        .iter()
        .map(|entry| {
            vec![
                html! { (when(ask, entry.at)) span.two { "no. " (entry.seq) } },
                html! { (words::line(&entry.actor)) },
                html! { (entry.kind) },
                html! { span.mono { (words::line(entry.object.get(..40).unwrap_or(&entry.object))) } },
                html! { (words::line(&entry.detail)) },
            ]
        })
        .collect();
    let is_whole = ask.request.query("verify").is_some();
    let fault = if is_whole { Some(AuditFault::find(&ask.web.state(|state| state.audit())?)) } else { None };
    let newest = entries.first().filter(|_| before.is_none()).map(|entry| gate::hex(&entry.hash));
    let columns = [
        column("When", "lead nowrap"),
        column("Who", ""),
        column("Kind", ""),
        column("About", ""),
        column("What", "wide"),
    ];
    let older = entries.last().map(|entry| entry.seq).filter(|seq| *seq > 1);
    let body = html! {
        (head(&html! { "Audit" }, &html! { "Who did what. Entries are chained by hashes, and never deleted." }, &html! { a.btn href=(ask.link("/audit?verify=1")) { (icon("shield")) "Check the chain" } }, &[]))
        @match &fault {
            Some(None) => (note("good", "The chain is whole", &html! { "No entry was changed or taken out. A cut at the end cannot be seen: keep the newest hash elsewhere." @if let Some(newest) = &newest { br; code.small { (newest) } } })),
            Some(Some(fault)) => (note("failed", "The chain is broken", &html! { "At entry " (fault.seq) ": " (fault.problem) "." })),
            None => {},
        }
        section.card {
            @if rows.is_empty() { (empty("No entries", &html! { "Everything that people and the scheduler decide is written here." })) } @else { (table("Audit log, the newest first", &columns, &rows)) }
            div.card-foot { span { "the newest first" } @if let Some(older) = older { a href=(query(ask, "/audit", &[("before", &older.to_string()), ("verify", "")])) { "Older" } } }
        }
    };
    Ok(page(ask, "/audit", "Audit", &body))
}

/// Users, tokens, settings.
pub(super) fn show(ask: &Ask<'_>) -> Result<Response, Refusal> {
    shown(ask, None)
}

fn shown(ask: &Ask<'_>, secret: Option<&str>) -> Result<Response, Refusal> {
    let users = ask.web.access(|access| access.users())?;
    let tokens = ask.web.access(|access| access.tokens())?;
    let sessions = ask.web.access(|access| access.sessions(None, ask.now()))?;
    let people: Vec<Vec<Markup>> = users
        .iter()
        .map(|user| {
            vec![
                html! { strong { (user.name) } },
                html! { (user.role.word()) },
                html! { (when(ask, user.created)) },
                html! { (sessions.iter().filter(|session| session.user == user.name).count()) },
            ]
        })
        .collect();
    let programs: Vec<Vec<Markup>> = tokens.iter().map(|token| vec![
        html! { strong { (words::line(&token.name)) } span.two.mono { (token.id) } },
        html! { (token.role.word()) @if !token.sources.is_empty() { span.two { "only " (token.sources.join(", ")) } } },
        html! { (token.creator) },
        match token.expires { Some(at) if at < ask.now() => html! { (badge_saying("expired", "Expired")) }, Some(at) => html! { (when(ask, at)) }, None => html! { "never" } },
        token.used.map_or_else(|| html! { span.faint { "never" } }, |at| html! { (ago(ask, at)) }),
        html! { form method="post" action=(ask.link(&format!("/admin/tokens/{}/remove", token.id))) { (csrf(ask)) (password(ask, &format!("p-{}", token.id))) button.btn.btn-quiet.btn-sm type="submit" { (icon("trash")) "Remove" span.sr { " the token " (words::line(&token.name)) } } } },
    ]).collect();
    let settings: Vec<Vec<Markup>> = ask
        .site
        .settings
        .iter()
        .map(|(name, value, origin)| {
            vec![html! { code { (name) } }, html! { (words::line(value)) }, html! { (words::line(origin)) }]
        })
        .collect();
    let form = html! {
        form.filters method="post" action=(ask.link("/admin/tokens")) {
            (csrf(ask))
            div.field { label for="t-name" { "What for" } input.in id="t-name" name="name" required maxlength="64"; }
            div.field { label for="t-role" { "Role" } select.in id="t-role" name="role" { @for role in Role::ALL { option value=(role.word()) { (role.word()) } } } }
            div.field { label for="t-days" { "Lasts" } select.in id="t-days" name="days" { @for (days, word) in [("30", "30 days"), ("90", "90 days"), ("365", "a year")] { option value=(days) selected[days == "90"] { (word) } } } }
            div.field { label for="t-source" { "About" } select.in id="t-source" name="source" { option value="" { "all sources" } @for name in ask.site.sources.keys() { option value=(name) { "only " (name) } } } }
            (password(ask, "t-pw"))
            div.actions { button.btn type="submit" { (icon("plus")) "Make a token" } }
        }
    };
    let body = html! {
        (head(&html! { "Admin" }, &html! { "Who and what may come in. Jobs and sources are changed in the configuration file." }, &html! {}, &[]))
        @if let Some(secret) = secret { (note("good", "The new token", &html! { "It is shown this once. Send it as " code { "Authorization: Bearer …" } "." (command(secret)) })) }
        (card("Users", &html! { "Made on the server: " code { "dumpvault user add NAME --role viewer" } }, &html! {}, &table("Users", &[column("Name", "lead"), column("Role", ""), column("Since", "nowrap"), column("Sessions", "num")], &people)))
        section.card {
            div.card-head { div { h2 { "Tokens" } p { "For programs that use the API. " a href=(ask.link("/api/v1/openapi.json")) { "Its description" } "." } } }
            div.card-body { (form) }
            @if programs.is_empty() { (empty("No tokens", &html! { "A token has a role and an end. Only its hash is kept." })) }
            @else { (table("Tokens", &[column("What for", "lead"), column("Role", ""), column("Made by", ""), column("Ends", "nowrap"), column("Last used", "nowrap"), column("Actions", "act")], &programs)) }
        }
        (card("Settings", &html! { "What holds, and where it comes from. Secrets are left out." }, &html! {}, &table("Settings", &[column("Setting", "lead"), column("Value", "wide"), column("From", "")], &settings)))
    };
    Ok(page(ask, "/admin", "Admin", &body))
}

/// Makes a token.
pub(super) fn add_token(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let (secret, _) = make_token(ask)?;
    shown(ask, Some(&secret))
}

/// Makes a token of the fields `name`, `role`, `days` and `source`: its secret, and what is known of it.
///
/// # Errors
/// For a role that is none, or one above that of whoever asks.
pub(crate) fn make_token(ask: &Ask<'_>) -> Result<(String, Token), Refusal> {
    let role = ask
        .field("role")
        .as_deref()
        .and_then(Role::of)
        .ok_or_else(|| Refusal::invalid("name a role: viewer, operator or admin"))?;
    let days: i64 = ask.field("days").and_then(|text| text.parse().ok()).unwrap_or(90);
    if !(1..=3660).contains(&days) {
        return Err(Refusal::invalid("a token lasts from 1 day to 10 years"));
    }
    let name: String = words::line(&ask.field("name").unwrap_or_default()).chars().take(64).collect();
    let sources: Vec<String> = ask.field("source").into_iter().collect();
    if let Some(unknown) = sources.iter().find(|source| !ask.site.sources.contains_key(*source)) {
        return Err(Refusal::invalid(format!("there is no source `{}`", words::line(unknown))));
    }
    let (secret, hash) = new_token(ask.web)?;
    let token = Token {
        id: launch::new_id(ask.web.entropy.as_ref(), ask.now()).0,
        name: name.clone(),
        role,
        creator: ask.who.as_ref().map_or_else(String::new, |who| who.name.clone()),
        sources,
        created: ask.now(),
        expires: Some(ask.now().saturating_add(days * DAY_MS)),
        used: None,
    };
    ask.web.access(|access| access.add_token(&hash, &token))?;
    ask.web.note(
        &ask.actor(),
        "token",
        &token.id,
        format!("made for {name}, role {}, {days} days", role.word()),
    )?;
    Ok((secret, token))
}

/// Removes a token.
pub(super) fn remove_token(ask: &Ask<'_>) -> Result<Response, Refusal> {
    take_token(ask, ask.param(0))?;
    Ok(Response::see_other(ask.link("/admin")))
}

/// Removes a token, and says so in the log.
///
/// # Errors
/// Where there is none.
pub(crate) fn take_token(ask: &Ask<'_>, id: &str) -> Result<(), Refusal> {
    if !ask.web.access(|access| access.remove_token(id))? {
        return Err(Refusal::unknown("there is no such token"));
    }
    Ok(ask.web.note(&ask.actor(), "token", id, "removed".to_owned())?)
}
