//! Signing in and out, and one's own account.

use super::layout::{ago, card, card_body, column, csrf, facts, gate as gate_page, head, icon, page, table};
use super::{own_path, session_of};
use crate::daemon::web::gate;
use crate::daemon::web::password::LENGTH_MIN;
use crate::daemon::web::request::{Refusal, Response};
use crate::daemon::web::route::Ask;
use crate::daemon::web::words;
use maud::{Markup, html};

/// The form that asks who it is.
pub(super) fn login(ask: &Ask<'_>) -> Result<Response, Refusal> {
    if ask.who.is_some() {
        return Ok(Response::see_other(ask.link(&own_path(ask.request.query("next")))));
    }
    Ok(form(ask, "", None))
}

fn form(ask: &Ask<'_>, name: &str, wrong: Option<&Refusal>) -> Response {
    let next = own_path(ask.field("next").as_deref().or(ask.request.query("next")));
    let no_users = ask.web.access(|access| access.users()).is_ok_and(|users| users.is_empty());
    let body = html! {
        div.card {
            div { h1 { "Sign in" } p.muted.small { (ask.site.host) } }
            @if no_users {
                div.note.is-warn { (icon("warn")) p { "There are no users yet. An administrator makes the first one on the server." } }
            }
            form method="post" action=(ask.link("/login")) {
                input type="hidden" name="next" value=(next);
                div.field {
                    label for="user" { "Name" }
                    input.in id="user" name="user" autocomplete="username" autocapitalize="none" spellcheck="false" value=(name) required;
                }
                div.field {
                    label for="pw" { "Password" }
                    input.in id="pw" type="password" name="password" autocomplete="current-password" required
                        aria-invalid=[wrong.map(|_| "true")] aria-describedby=[wrong.map(|_| "pw-e")];
                    @if let Some(wrong) = wrong { p.err id="pw-e" { (icon("bad")) (wrong.detail) } }
                }
                button.btn.btn-primary type="submit" { "Sign in" }
            }
        }
        p.under { "No account? An administrator makes one on the server with" br; code { "dumpvault user add NAME --role viewer" } }
    };
    let mut response = Response::page(gate_page(&ask.link(""), "Sign in", &body));
    if let Some(wrong) = wrong {
        response.status = wrong.status;
        if let Some(seconds) = wrong.retry_after {
            response = response.with("retry-after", seconds.to_string());
        }
    }
    response
}

/// Signs in.
pub(super) fn sign_in(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let name = ask.field("user").unwrap_or_default();
    let password = ask.field("password").unwrap_or_default();
    match gate::check_password(ask.web, &name, ask.request.address, &password) {
        Err(refusal) if refusal.code == "state" => return Err(refusal),
        Err(refusal) => return Ok(form(ask, &name, Some(&refusal))),
        Ok(()) => {}
    }
    let cookie = gate::begin(ask.web, &ask.site, &name, ask.request)?;
    ask.web.note(&format!("{name} ({})", ask.request.address), "login", &name, "signed in".to_owned())?;
    let next = own_path(ask.field("next").as_deref());
    Ok(Response::see_other(ask.link(&next)).with("set-cookie", cookie))
}

/// Signs out.
pub(super) fn sign_out(ask: &Ask<'_>) -> Result<Response, Refusal> {
    if let (Some(hash), Some(who)) = (session_of(ask), &ask.who) {
        ask.web.access(|access| access.end_session(&who.name, hash, false))?;
        ask.web.note(&ask.actor(), "login", &who.name, "signed out".to_owned())?;
    }
    let (name, rest) = gate::cookie(&ask.site);
    Ok(Response::see_other(ask.link("/login")).with("set-cookie", format!("{name}={rest}; Max-Age=0")))
}

/// One's own account.
pub(super) fn account(ask: &Ask<'_>) -> Result<Response, Refusal> {
    shown(ask, None)
}

fn shown(ask: &Ask<'_>, wrong: Option<&str>) -> Result<Response, Refusal> {
    let Some(who) = &ask.who else { return Err(Refusal::new(401, "sign_in", "sign in first")) };
    let sessions = ask.web.access(|access| access.sessions(Some(&who.name), ask.now()))?;
    let own = session_of(ask);
    let rows: Vec<Vec<Markup>> = sessions
        .iter()
        .map(|session| {
            let is_own = own == Some(session.hash.as_slice());
            vec![
                html! { strong { (session.address) } @if is_own { span.two { "this one" } } },
                html! { (words::line(&session.agent)) },
                html! { (ago(ask, session.created)) },
                html! { (ago(ask, session.seen)) },
            ]
        })
        .collect();
    let columns = [
        column("From", "lead"),
        column("With", "wide"),
        column("Signed in", "nowrap"),
        column("Last click", "nowrap"),
    ];
    let others = html! {
        @if sessions.len() > 1 {
            form method="post" action=(ask.link("/account/sessions")) { (csrf(ask)) button.btn.btn-sm type="submit" { "End all others" } }
        }
    };
    let form = html! {
        form.stack.narrow method="post" action=(ask.link("/account/password")) {
            (csrf(ask))
            div.field { label for="old" { "Password now" } input.in id="old" type="password" name="old" autocomplete="current-password" required; }
            div.field {
                label for="new" { "New password" }
                input.in id="new" type="password" name="new" autocomplete="new-password" minlength=(LENGTH_MIN) required
                    aria-invalid=[wrong.map(|_| "true")] aria-describedby={ "new-h" @if wrong.is_some() { " new-e" } };
                p.hint id="new-h" { "At least " (LENGTH_MIN) " characters. There are no other rules." }
                @if let Some(wrong) = wrong { p.err id="new-e" { (icon("bad")) (wrong) } }
            }
            div.actions { button.btn.btn-primary type="submit" { "Change the password" } }
        }
    };
    let out = html! { form method="post" action=(ask.link("/logout")) { (csrf(ask)) button.btn type="submit" { (icon("out")) "Sign out" } } };
    let body = html! {
        (head(&html! { "Account" }, &html! { "You are signed in as " strong { (who.name) } "." }, &out, &[]))
        (card_body("You", &html! {}, &facts(&[
            ("Name", html! { (who.name) }),
            ("Role", html! { (who.role.word()) span.sub { @match who.role.word() { "viewer" => "sees everything but secrets", "operator" => "also runs, cancels, verifies, pauses", _ => "also downloads, restores, deletes, manages" } } }),
        ])))
        (card("Sessions", &html! { "A session ends after 30 minutes without a click, and after 12 hours." }, &others, &table("Your sessions", &columns, &rows)))
        (card_body("Password", &html! { "A change ends all your other sessions." }, &form))
    };
    Ok(page(ask, "/account", "Account", &body))
}

/// Changes one's password.
pub(super) fn change_password(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let Some(who) = &ask.who else { return Err(Refusal::new(401, "sign_in", "sign in first")) };
    let (old, new) = (ask.field("old").unwrap_or_default(), ask.field("new").unwrap_or_default());
    if let Err(refusal) = gate::check_password(ask.web, &who.name, ask.request.address, &old) {
        return if refusal.status == 403 {
            shown(ask, Some("The password now is wrong."))
        } else {
            Err(refusal)
        };
    }
    if new.chars().count() < LENGTH_MIN {
        return shown(ask, Some("The new password is too short."));
    }
    let hash = ask.web.passwords.hash(&new, ask.web.entropy.as_ref());
    let hash = hash.map_err(|error| Refusal::new(503, "entropy", error.to_string()))?;
    let own = session_of(ask);
    ask.web.access(|access| access.change_password(&who.name, &hash, own, ask.now()))?;
    ask.web.note(&ask.actor(), "user", &who.name, "password changed".to_owned())?;
    Ok(Response::see_other(ask.link("/account")))
}

/// Ends all sessions but this one.
pub(super) fn end_sessions(ask: &Ask<'_>) -> Result<Response, Refusal> {
    if let (Some(hash), Some(who)) = (session_of(ask), &ask.who) {
        ask.web.access(|access| access.end_session(&who.name, hash, true))?;
        ask.web.note(&ask.actor(), "login", &who.name, "all other sessions ended".to_owned())?;
    }
    Ok(Response::see_other(ask.link("/account")))
}
