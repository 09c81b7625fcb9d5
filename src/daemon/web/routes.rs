//! The table of all routes, and the way of a request through the gate to its handler.

use super::request::{Refusal, Request, Response};
use super::route::{Access, Ask, Route};
use super::site::Web;
use super::{api, assets, gate, pages};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who has routes. What answers a request stands in one of these tables and nowhere else.
const TABLES: &[&[Route]] = &[assets::ROUTES, pages::ROUTES, api::ROUTES];

/// All routes.
pub fn all() -> impl Iterator<Item = &'static Route> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Answers a request.
pub(super) fn answer(web: &Arc<Web>, listening: Option<SocketAddr>, request: &Request) -> Response {
    match handled(web, listening, request) {
        Ok(response) => response,
        Err(refusal) => refused(web, request, &refusal),
    }
}

fn handled(web: &Arc<Web>, listening: Option<SocketAddr>, request: &Request) -> Result<Response, Refusal> {
    let site = web.site();
    gate::check_origin(&site, listening, request)?;
    let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
    let mut is_path = false;
    let found = all().find_map(|route| {
        let params = route.matches(&request.path)?;
        is_path = true;
        (route.method == method).then_some((route, params))
    });
    // Nobody learns what there is without having come in.
    let who = match found {
        Some((route, _)) if route.access == Access::Open && !request.path.starts_with("/login") => None,
        _ => gate::who(web, &site, request)?,
    };
    let is_open = found.as_ref().is_some_and(|(route, _)| route.access == Access::Open);
    if !is_open && web.access(|access| access.users())?.is_empty() {
        return Err(Refusal::new(503, "no_users", "nobody may sign in yet: there are no users")
            .hint("run `dumpvault user add NAME --role admin` on the server"));
    }
    let Some((route, params)) = found else {
        return Err(match (&who, is_path) {
            (None, _) => Refusal::new(401, "sign_in", "sign in first"),
            (Some(_), true) => Refusal::new(405, "method", "this cannot be done here"),
            (Some(_), false) => Refusal::unknown("there is no such page"),
        });
    };
    let is_proved = gate::enter(web, request, route, who.as_ref())?;
    let ask = Ask { web, site, request, params, who, is_proved };
    (route.handler)(&ask)
}

/// A refusal as whoever asked reads it.
fn refused(web: &Arc<Web>, request: &Request, refusal: &Refusal) -> Response {
    let mut response = if request.is_api() || request.path == "/healthz" {
        let mut problem = json!({
            "type": format!("urn:dumpvault:problem:{}", refusal.code),
            "title": refusal.code,
            "status": refusal.status,
            "code": refusal.code,
            "detail": super::words::line(&refusal.detail),
        });
        if let (Some(hint), Some(fields)) = (&refusal.hint, problem.as_object_mut()) {
            fields.insert("hint".to_owned(), json!(hint));
        }
        if let (Some(other), Some(fields)) = (&refusal.other, problem.as_object_mut()) {
            fields.insert("id".to_owned(), json!(other));
        }
        let mut response = Response::json(refusal.status, &problem);
        response.headers = vec![("content-type", "application/problem+json".to_owned())];
        response
    } else {
        pages::refused(web, request, refusal)
    };
    if refusal.status == 401 {
        response = response.with("www-authenticate", "Bearer realm=\"dumpvault\"");
    }
    match refusal.retry_after {
        Some(seconds) => response.with("retry-after", seconds.to_string()),
        None => response,
    }
}
