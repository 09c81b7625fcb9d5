//! The pages: made by the server, whole without a script.
//!
//! | file | hides |
//! |---|---|
//! | `admin` | users, tokens, settings, the audit log |
//! | `alerts` | what is wrong, and who was told |
//! | `backups` | `/settings/backup` |
//! | `icons` | icons |
//! | `jobs` | jobs and runs |
//! | `layout` | what all pages are made of |
//! | `overview` | the first page |
//! | `people` | signing in, one's own account |
//! | `proof` | checks and operations |
//! | `series` | series, snapshots, differences |

mod admin;
mod alerts;
mod backups;
mod icons;
mod jobs;
mod layout;
mod overview;
mod people;
mod proof;
mod series;

pub(super) use admin::{make_token, take_token};
pub(super) use backups::{is_gone, next as next_backup, wanted};
pub(super) use overview::standing;

use super::request::{Refusal, Request, Response, encoded};
use super::route::Access::{Of, Open, Proved};
use super::route::{Ask, Route};
use super::site::Web;
use super::store::Role::{Admin, Operator, Viewer};
use super::{gate, words};
use maud::html;
use std::sync::Arc;

/// The routes of pages.
pub(super) const ROUTES: &[Route] = &[
    Route::page("GET", "/login", Open, people::login),
    Route::page("POST", "/login", Open, people::sign_in),
    Route::page("POST", "/logout", Of(Viewer), people::sign_out),
    Route::page("GET", "/account", Of(Viewer), people::account),
    Route::page("POST", "/account/password", Of(Viewer), people::change_password),
    Route::page("POST", "/account/sessions", Of(Viewer), people::end_sessions),
    Route::page("GET", "/", Of(Viewer), overview::show),
    Route::page("GET", "/settings/backup", Of(Viewer), backups::show),
    Route::page("GET", "/settings/backup/run", Of(Operator), backups::ask_run),
    Route::page("POST", "/settings/backup/run", Of(Operator), backups::run),
    Route::page("GET", "/settings/backup/{}/download", Of(Admin), backups::ask_download),
    Route::page("POST", "/settings/backup/{}/download", Proved(Admin), backups::download),
    Route::page("GET", "/settings/backup/{}/delete", Of(Admin), backups::ask_delete),
    Route::page("POST", "/settings/backup/{}/delete", Proved(Admin), backups::delete),
    Route::page("GET", "/download/{}", Of(Admin), backups::follow),
    Route::page("GET", "/jobs", Of(Viewer), jobs::list),
    Route::page("GET", "/jobs/{}", Of(Viewer), jobs::show),
    Route::page("POST", "/jobs/{}/run", Of(Operator), jobs::run),
    Route::page("POST", "/jobs/{}/pause", Of(Operator), jobs::pause),
    Route::page("POST", "/jobs/{}/resume", Of(Operator), jobs::resume),
    Route::page("GET", "/runs", Of(Viewer), jobs::runs),
    Route::page("GET", "/runs/{}", Of(Viewer), jobs::show_run),
    Route::page("POST", "/runs/{}/cancel", Of(Operator), jobs::cancel),
    Route::page("GET", "/series", Of(Viewer), series::list),
    Route::page("GET", "/series/{}", Of(Viewer), series::show),
    Route::page("GET", "/snapshots/{}", Of(Viewer), series::snapshot),
    Route::page("POST", "/snapshots/{}/pin", Of(Operator), series::pin),
    Route::page("POST", "/snapshots/{}/unpin", Of(Operator), series::unpin),
    Route::page("POST", "/snapshots/{}/verify", Of(Operator), series::verify),
    Route::page("POST", "/snapshots/{}/acknowledge", Of(Operator), series::acknowledge),
    Route::page("POST", "/snapshots/{}/restore", Proved(Admin), series::restore),
    Route::page("GET", "/diff", Of(Viewer), series::diff),
    Route::page("GET", "/checks", Of(Viewer), proof::checks),
    Route::page("GET", "/operations/{}", Of(Viewer), proof::operation),
    Route::page("GET", "/alerts", Of(Viewer), alerts::show),
    Route::page("POST", "/alerts/acknowledge", Of(Operator), alerts::acknowledge),
    Route::page("GET", "/audit", Of(Viewer), admin::audit),
    Route::page("GET", "/admin", Of(Admin), admin::show),
    Route::page("POST", "/admin/tokens", Proved(Admin), admin::add_token),
    Route::page("POST", "/admin/tokens/{}/remove", Proved(Admin), admin::remove_token),
];

/// A refusal as a page.
pub(super) fn refused(web: &Arc<Web>, request: &Request, refusal: &Refusal) -> Response {
    let site = web.site();
    let base = site.serve.external_url.as_ref().map_or("", |url| url.base.as_str());
    if refusal.code == "sign_in" && request.only_asks() {
        let whole = request.query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let query: Vec<String> = whole.collect();
        let path = if query.is_empty() {
            request.path.clone()
        } else {
            format!("{}?{}", request.path, query.join("&"))
        };
        return Response::see_other(format!("{base}/login?next={}", encoded(&path)));
    }
    let title = match refusal.status {
        404 | 410 => "Not found",
        429 => "Not yet",
        409 => "Not possible now",
        503 if refusal.code == "no_users" => "No users yet",
        _ => "Refused",
    };
    let back = request.header("referer").is_none_or(|from| !from.contains("/login"));
    let body = html! {
        div.card.gate-card {
            h1 { (title) }
            p { (words::line(&refusal.detail)) }
            @if let Some(hint) = &refusal.hint { p.small.muted { (words::line(hint)) } }
            @if refusal.code == "no_users" { (layout::command("dumpvault user add NAME --role admin")) }
            @else if refusal.code != "host" && back {
                p {
                    @if let Some(other) = &refusal.other { a.btn href={ (base) "/runs/" (encoded(other)) } { "Watch the run" } " " }
                    a.btn href={ (base) "/" } { "To the overview" }
                }
            }
        }
    };
    let mut response = Response::page(layout::gate(base, title, &body));
    response.status = refusal.status;
    response
}

/// A page that says what would happen, for browsers without dialogs; its button does it.
fn confirm(
    ask: &Ask<'_>,
    title: &str,
    text: &maud::Markup,
    action: &str,
    (verb, class): (&str, &str),
    more: &maud::Markup,
) -> Response {
    let back = ask.link("/settings/backup");
    let body = html! {
        (layout::head(&html! { (title) }, text, &html! {}, &[(back.clone(), "Backups")]))
        section.card { div.card-body {
            form.stack method="post" action=(action) {
                (more)
                div.actions { a.btn href=(back) { "Back" } button class={ "btn " (class) } type="submit" { (verb) } }
            }
        } }
    };
    layout::page(ask, "/settings/backup", title, &body)
}

/// The user's own path to go back to, and nobody else's.
fn own_path(path: Option<&str>) -> String {
    let path = path.unwrap_or("/");
    let is_own = path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\n', '\r']);
    if is_own { path.to_owned() } else { "/".to_owned() }
}

/// The hash of the session, if it is one.
fn session_of<'a>(ask: &'a Ask<'_>) -> Option<&'a [u8]> {
    match ask.who.as_ref().map(|who| &who.way) {
        Some(super::route::Way::Session { hash, .. }) => Some(hash),
        _ => None,
    }
}

/// The secret of a new token, and what is kept of it.
///
/// # Errors
/// Without randomness.
pub(super) fn new_token(web: &Web) -> Result<(String, Vec<u8>), Refusal> {
    let secret = web.secret().map_err(|error| Refusal::new(503, "entropy", error.to_string()))?;
    let secret = format!("{}{}", gate::TOKEN_PREFIX, gate::hex(&secret));
    let hash = gate::hash(&secret);
    Ok((secret, hash))
}
