//! What pages look like: three files, compiled in. Their names bear a hash of what they say, so that browsers may keep
//! them for ever.

use super::request::{Refusal, Response};
use super::route::{Access, Ask, Route};
use std::sync::LazyLock;

const STYLE: &str = concat!(include_str!("style.css"), include_str!("more.css"));
const SCRIPT: &str = include_str!("app.js");
const ICON: &str = include_str!("icon.svg");

/// Those who are not signed in see the page that asks them to.
pub(super) const ROUTES: &[Route] = &[
    Route::page("GET", "/assets/{}", Access::Open, asset),
    Route::page("GET", "/healthz", Access::Open, healthz),
    Route::page("GET", "/favicon.ico", Access::Open, favicon),
];

/// The paths of style, script and icon.
pub(super) static PATHS: LazyLock<[String; 3]> = LazyLock::new(|| {
    let path = |name: &str, extension: &str, text: &str| {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        format!("/assets/{name}-{}.{extension}", hash.get(..12).unwrap_or_default())
    };
    [path("style", "css", STYLE), path("app", "js", SCRIPT), path("icon", "svg", ICON)]
});

fn asset(ask: &Ask<'_>) -> Result<Response, Refusal> {
    let wanted = format!("/assets/{}", ask.param(0));
    let known = [
        (STYLE, "text/css; charset=utf-8"),
        (SCRIPT, "text/javascript; charset=utf-8"),
        (ICON, "image/svg+xml"),
    ];
    let found = PATHS.iter().zip(known).find(|(path, _)| **path == wanted);
    let (text, kind) =
        found.map(|(_, known)| known).ok_or_else(|| Refusal::unknown("there is no such file"))?;
    Ok(Response::of(200, kind, text.as_bytes().to_vec()))
}

fn favicon(_: &Ask<'_>) -> Result<Response, Refusal> {
    Ok(Response::of(200, "image/svg+xml", ICON.as_bytes().to_vec()))
}

/// Whether the process lives. It says nothing else to those whom nobody knows.
fn healthz(_: &Ask<'_>) -> Result<Response, Refusal> {
    Ok(Response::json(200, &serde_json::json!({"ok": true})))
}
