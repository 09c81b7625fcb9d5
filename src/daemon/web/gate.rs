//! Who may come in: hosts, origins, sessions, tokens, roles. Whatever is not allowed here is refused.

use super::password::same;
use super::request::{Refusal, Request};
use super::route::{Access, Route, Way, Who};
use super::site::{Site, Web};
use super::store::Session;
use crate::daemon::alert::{Fact, SIGN_IN};
use crate::daemon::serve::ring;
use std::net::{IpAddr, SocketAddr};

/// A password that was given is good for so long.
const PROVED_MS: i64 = 5 * 60_000;
/// What tokens begin with.
pub const TOKEN_PREFIX: &str = "dv_";

/// What is kept of a secret.
pub fn hash(secret: &str) -> Vec<u8> {
    blake3::hash(secret.as_bytes()).as_bytes().to_vec()
}

/// What forms bear, made of the session's secret.
fn csrf(secret: &str) -> String {
    let key = blake3::derive_key("dumpvault 2026-11 token of forms", secret.as_bytes());
    hex(key.get(..16).unwrap_or_default())
}

/// Bytes as digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the cookie, and what stands behind its value.
pub(super) fn cookie(site: &Site) -> (&'static str, String) {
    let (base, is_https) = match &site.serve.external_url {
        Some(url) => (url.base.as_str(), url.is_https || site.serve.tls.is_some()),
        None => ("", site.serve.tls.is_some()),
    };
    let secure = if is_https { "; Secure" } else { "" };
    let name = match (is_https, base.is_empty()) {
        (true, true) => "__Host-dv",
        (true, false) => "__Secure-dv",
        (false, _) => "dv",
    };
    (name, format!("; Path={base}/; HttpOnly; SameSite=Strict{secure}"))
}

/// Whom a request is from: behind a proxy of ours, whom that names.
pub(super) fn address(site: &Site, peer: IpAddr, forwarded: Option<&str>) -> IpAddr {
    let is_proxy = |address: &IpAddr| site.serve.trusted_proxies.contains(address);
    if !is_proxy(&peer) {
        return peer;
    }
    let named = forwarded.into_iter().flat_map(|text| text.rsplit(',')).map(|text| text.trim().parse().ok());
    named.take_while(Option::is_some).flatten().find(|address| !is_proxy(address)).unwrap_or(peer)
}

/// Whether the listener itself is reached under that name. A socket of this machine has no name, and programs send
/// `localhost`. Browsers leave out the port that the scheme has by itself.
fn is_listener(listening: Option<SocketAddr>, is_encrypted: bool, host: &str) -> bool {
    let Some(listening) = listening else { return host.eq_ignore_ascii_case("localhost") };
    let port = listening.port();
    let is_usual = port == if is_encrypted { 443 } else { 80 };
    let mut names = vec![match listening.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }];
    // A listener on every address is reached on this machine, too.
    if listening.ip().is_loopback() || listening.ip().is_unspecified() {
        names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    }
    let host = host.to_ascii_lowercase();
    names.iter().any(|name| host == format!("{name}:{port}") || (is_usual && host == *name))
}

fn is_our_host(site: &Site, listening: Option<SocketAddr>, host: &str) -> bool {
    let external = site.serve.external_url.as_ref();
    external.is_some_and(|url| url.host.eq_ignore_ascii_case(host))
        || is_listener(listening, site.serve.tls.is_some(), host)
}

fn is_our_origin(site: &Site, listening: Option<SocketAddr>, origin: &str) -> bool {
    let external = site.serve.external_url.as_ref();
    let scheme = if site.serve.tls.is_some() { "https://" } else { "http://" };
    let plain = origin.strip_prefix(scheme);
    external.is_some_and(|url| url.origin.eq_ignore_ascii_case(origin))
        || plain.is_some_and(|host| is_listener(listening, site.serve.tls.is_some(), host))
}

/// What holds for every request, whoever sends it.
///
/// # Errors
/// Where the host is not ours, or another site's page sent it.
pub(super) fn check_origin(
    site: &Site,
    listening: Option<SocketAddr>,
    request: &Request,
) -> Result<(), Refusal> {
    let hosts: Vec<&str> =
        request.headers.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.as_str()).collect();
    match hosts.as_slice() {
        [host] if is_our_host(site, listening, host) => {}
        _ => {
            let hint = "set `external_url` in [serve] to the address that browsers use";
            return Err(Refusal::new(403, "host", "this name is not one of this service").hint(hint));
        }
    }
    if request.only_asks() {
        return Ok(());
    }
    let foreign = || Refusal::new(403, "cross_origin", "a page of another site sent this request");
    let site_of_page = request.header("sec-fetch-site");
    if site_of_page.is_some_and(|from| !matches!(from, "same-origin" | "none")) {
        return Err(foreign());
    }
    match request.header("origin") {
        Some(origin) if !is_our_origin(site, listening, origin) => Err(foreign()),
        _ => Ok(()),
    }
}

/// Who asks, if that is somebody. A token that is no good is refused, whatever cookies there are.
///
/// # Errors
/// For a token or a session that is none, or has ended.
pub(super) fn who(web: &Web, site: &Site, request: &Request) -> Result<Option<Who>, Refusal> {
    let now = web.now();
    if let Some(header) = request.header("authorization") {
        let unknown = || Refusal::new(401, "token", "the token is unknown or has expired");
        let token = header.strip_prefix("Bearer ").ok_or_else(unknown)?.trim();
        let found = web.access(|access| access.token(&hash(token), now))?.ok_or_else(unknown)?;
        let way = Way::Token { id: found.id, sources: found.sources };
        // Nobody may do more by a token than by themselves.
        let user = web.access(|access| access.user(&found.creator))?.ok_or_else(unknown)?;
        return Ok(Some(Who { name: found.creator, role: found.role.min(user.role), way }));
    }
    let (name, _) = cookie(site);
    let Some(secret) = request.cookie(name) else { return Ok(None) };
    let Some((session, user)) = web.access(|access| access.session(&hash(secret), now))? else {
        return Ok(None);
    };
    let way = Way::Session { hash: session.hash, proved: session.proved, csrf: csrf(secret) };
    Ok(Some(Who { name: user.name, role: user.role, way }))
}

/// Lets a request in, or not. Tells whether the password was given of late.
///
/// # Errors
/// Whatever is missing.
pub(super) fn enter(web: &Web, request: &Request, route: &Route, who: Option<&Who>) -> Result<bool, Refusal> {
    let (role, must_prove) = match route.access {
        Access::Open => return Ok(false),
        Access::Of(role) => (role, false),
        Access::Proved(role) => (role, true),
    };
    let Some(who) = who else {
        return Err(Refusal::new(401, "sign_in", "sign in first"));
    };
    if who.role < role {
        let detail = format!("this needs the role {}; {} is {}", role.word(), who.name, who.role.word());
        return Err(Refusal::new(403, "role", detail));
    }
    match &who.way {
        Way::Token { sources, .. } if !sources.is_empty() && !route.scoped => {
            Err(Refusal::new(403, "scope", "the token is about some sources only, and this is about all"))
        }
        Way::Token { .. } => {
            is_json(request)?;
            Ok(true)
        }
        Way::Session { proved, csrf, hash } => {
            if !request.only_asks() {
                let form = request.form();
                let in_form = form.iter().find(|(name, _)| name == "csrf").map(|(_, value)| value.as_str());
                let given = request.header("x-csrf").or(in_form).unwrap_or_default();
                if !same(given.as_bytes(), csrf.as_bytes()) {
                    let hint = "load the page again, and send the form from there";
                    return Err(Refusal::new(403, "csrf", "the form is not one of this session").hint(hint));
                }
                is_json(request)?;
            }
            let is_proved = web.now().saturating_sub(*proved) < PROVED_MS;
            if !must_prove || is_proved || request.only_asks() {
                return Ok(is_proved);
            }
            prove(web, request, who, hash)
        }
    }
}

/// What writes to the API is JSON: no form of another site can send that.
fn is_json(request: &Request) -> Result<(), Refusal> {
    let kind = request.header("content-type").unwrap_or_default();
    if request.only_asks()
        || !request.is_api()
        || request.body.is_empty()
        || kind.starts_with("application/json")
    {
        return Ok(());
    }
    Err(Refusal::new(415, "media_type", "send `application/json`"))
}

/// The password is asked for again where something cannot be undone, or all data goes out.
fn prove(web: &Web, request: &Request, who: &Who, session: &[u8]) -> Result<bool, Refusal> {
    let form = request.form();
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let in_form = form.iter().find(|(name, _)| name == "password").map(|(_, value)| value.as_str());
    let given =
        in_form.or_else(|| body.get("password").and_then(serde_json::Value::as_str)).unwrap_or_default();
    if given.is_empty() {
        return Err(Refusal::new(403, "password", "this needs your password again"));
    }
    check_password(web, &who.name, request.address, given)?;
    web.access(|access| access.prove(session, web.now()))?;
    Ok(true)
}

/// Whether it is the password of that user. Guesses are counted, by address and by address and name.
///
/// # Errors
/// Where it is not, or after too many guesses.
pub(super) fn check_password(web: &Web, name: &str, address: IpAddr, password: &str) -> Result<(), Refusal> {
    let now = web.now();
    let address = network(address);
    let (by_address, by_pair) = (format!("address {address}"), format!("user {name} at {address}"));
    let keys = [by_address.as_str(), by_pair.as_str()];
    let wait = |until: i64, failures: i64| {
        let seconds = u64::try_from(until.saturating_sub(now)).unwrap_or_default().div_ceil(1000);
        let detail =
            format!("{failures} wrong tries; the next one is possible in {}", super::words::time(seconds));
        Refusal { retry_after: Some(seconds), ..Refusal::new(429, "throttled", detail) }
    };
    let before = web.access(|access| access.throttled(&keys, now))?;
    if before.until > now {
        return Err(wait(before.until, before.failures));
    }
    let user = web.access(|access| access.user(name))?;
    if web.passwords.is_right(password, user.as_ref().map(|user| user.password.as_str())) {
        return Ok(web.access(|access| access.forgive(&keys))?);
    }
    let after = web.access(|access| access.guessed(&keys, now))?;
    let actor = format!("nobody known ({address})");
    web.note(&actor, "login", &shortened(name), "refused: wrong name or password".to_owned())?;
    if after.until > now {
        let what = format!("{} wrong passwords; the address waits", after.failures);
        web.note(&actor, "security", &shortened(name), what)?;
        tell_of_guessing(web, address, now)?;
        return Err(wait(after.until, after.failures));
    }
    let left = 5_i64.saturating_sub(after.failures).max(0);
    let tries = if left == 1 { "1 try is".to_owned() } else { format!("{left} tries are") };
    Err(Refusal::new(
        403,
        "login",
        format!("Name or password is wrong. {tries} left, then a pause of 1 minute."),
    ))
}

/// Whoever wants to hear of security does, once for all addresses: the watch of the daemon ends it.
fn tell_of_guessing(web: &Web, address: IpAddr, now: i64) -> Result<(), Refusal> {
    let text = match web.access(|access| access.waiting_addresses(now))? {
        0 | 1 => format!("wrong passwords from {address}, which has to wait"),
        many => format!("wrong passwords from {many} addresses, which have to wait; {address} is the last"),
    };
    let fact = Fact::Bad {
        condition: "security",
        subject: SIGN_IN.to_owned(),
        cause: "wrong passwords".to_owned(),
        text,
        hint: Some("list every try: dumpvault audit list".to_owned()),
        run: None,
    };
    web.state(|state| state.state_facts(now, &[fact]))?;
    ring(&web.root);
    Ok(())
}

/// What somebody typed for a name may be anything, also a password.
fn shortened(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    if name.len() <= 64 && name.chars().all(is_plain) { name.to_owned() } else { "?".to_owned() }
}

/// Whoever has one IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(own) if own.to_ipv4_mapped().is_none() => {
            IpAddr::V6((u128::from(own) & !u128::from(u64::MAX)).into())
        }
        other => other,
    }
}

/// Begins a session: what the cookie is to say.
///
/// # Errors
/// When it cannot be kept.
pub(super) fn begin(web: &Web, site: &Site, user: &str, request: &Request) -> Result<String, Refusal> {
    let now = web.now();
    let secret = web.secret().map_err(|error| Refusal::new(503, "entropy", error.to_string()))?;
    let secret = hex(&secret);
    let agent: String = request.header("user-agent").unwrap_or_default().chars().take(200).collect();
    let session = Session {
        hash: hash(&secret),
        user: user.to_owned(),
        created: now,
        seen: now,
        proved: now,
        address: request.address.to_string(),
        agent,
    };
    web.access(|access| access.begin_session(&session))?;
    let (name, rest) = cookie(site);
    Ok(format!("{name}={secret}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_without_the_port_that_its_scheme_has() {
        let is = |listening: &str, is_encrypted, host: &str| {
            is_listener(Some(listening.parse().unwrap()), is_encrypted, host)
        };
        for (listening, is_encrypted, host) in [
            ("127.0.0.1:443", true, "localhost"),
            ("127.0.0.1:443", true, "LOCALHOST:443"),
            ("[::1]:443", true, "[::1]"),
            ("0.0.0.0:443", true, "localhost"),
            ("192.0.2.1:443", true, "192.0.2.1"),
            ("127.0.0.1:80", false, "localhost"),
            ("127.0.0.1:7878", true, "localhost:7878"),
        ] {
            assert!(is(listening, is_encrypted, host), "{listening} {host}");
        }
        for (listening, is_encrypted, host) in [
            ("127.0.0.1:443", false, "localhost"),
            ("127.0.0.1:80", true, "localhost"),
            ("127.0.0.1:7878", true, "localhost"),
            ("192.0.2.1:443", true, "localhost"),
            ("127.0.0.1:443", true, "evil.example"),
            ("0.0.0.0:443", true, "evil.example"),
        ] {
            assert!(!is(listening, is_encrypted, host), "{listening} {host}");
        }
    }
}
