//! Webhooks and pings: one request, no redirects, and no address that only this machine's network knows.

use super::super::message::Message;
use super::super::redact::host_of;
use super::{SendError, read, text};
use crate::settings::{Environment, Http, Preset, Way};
use ring::hmac;
use rustls_native_certs::load_native_certs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// What a dead-man service takes along.
const PING_BYTES_MAX: usize = 10_000;

/// Looks names up, and leaves out what nobody outside could mean.
#[derive(Debug)]
struct Guard {
    inner: DefaultResolver,
    allow_link_local: bool,
}

/// Addresses of one link. Clouds answer there with the machine's own credentials.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_link_local(IpAddr::V4(v4)),
            None => {
                v6.is_unicast_link_local()
                    || v6.is_unspecified()
                    || v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
            }
        },
    }
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        let is_meant = |address: &&SocketAddr| self.allow_link_local || !is_link_local(address.ip());
        found.iter().filter(is_meant).for_each(|address| allowed.push(*address));
        if allowed.is_empty() {
            let words = "its address is link-local; `allow_link_local = true` allows that";
            return Err(ureq::Error::Io(std::io::Error::other(words)));
        }
        Ok(allowed)
    }
}

/// Certificates of the system, and of the file.
fn roots(http: &Http, environment: &Environment) -> Result<RootCerts, SendError> {
    // What is wrong with some of the system's certificates keeps nobody from using the others.
    let mut all: Vec<Certificate<'static>> =
        load_native_certs().certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    if let Some(path) = &http.ca_file {
        let path = environment.file(path);
        let bad = |why: String| SendError::permanent(format!("certificates {}: {why}", path.display()));
        let pem = std::fs::read(&path).map_err(|error| bad(error.to_string()))?;
        let before = all.len();
        all.extend(parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        }));
        if all.len() == before {
            return Err(bad("there is none in the file".to_owned()));
        }
    }
    Ok(RootCerts::Specific(Arc::new(all)))
}

fn agent(http: &Http, environment: &Environment) -> Result<Agent, SendError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(roots(http, environment)?)
        .build();
    let config = Config::builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("dumpvault/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(http.timeout))
        .build();
    let guard = Guard { inner: DefaultResolver::default(), allow_link_local: http.allow_link_local };
    Ok(Agent::with_parts(config, DefaultConnector::new(), guard))
}

/// Sends a request. An error names the host, and nothing else of the address.
fn request(
    url: &str,
    body: &str,
    headers: &[(&str, String)],
    http: &Http,
    environment: &Environment,
) -> Result<(), SendError> {
    let host = host_of(url);
    let mut request = agent(http, environment)?.post(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    // The library's words may hold the address.
    let words = |error: &ureq::Error| error.to_string().replace(url, &host);
    let answer = request.send(body).map_err(|error| match &error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            SendError::permanent(format!("{host}: not an address of HTTP"))
        }
        _ => SendError::new(format!("{host}: {}", words(&error))),
    })?;
    let status = answer.status().as_u16();
    match status {
        200..=299 => Ok(()),
        300..=399 => {
            Err(SendError::permanent(format!("{host} answered {status}; redirects are not followed")))
        }
        408 | 429 => Err(SendError::new(format!("{host} answered {status}"))),
        400..=499 => Err(SendError::permanent(format!("{host} answered {status}"))),
        _ => Err(SendError::new(format!("{host} answered {status}"))),
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the seconds, a dot, and the body.
pub(super) fn signature(key: &[u8], seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

pub(super) fn post(
    way: &Way,
    message: &Message,
    id: &str,
    now_ms: i64,
    environment: &Environment,
) -> Result<(), SendError> {
    let Way::Webhook { preset, url, secret, token, chat, http } = way else { return Ok(()) };
    let mut url = text(&read(url, environment)?);
    let token = token.as_ref().map(|token| read(token, environment)).transpose()?.map(|token| text(&token));
    let (body, mut headers) = message.body(*preset, id, chat.as_deref());
    if *preset != Preset::Ntfy {
        headers.push(("Content-Type", "application/json".to_owned()));
    }
    match (preset, &token) {
        (Preset::Telegram, Some(token)) => {
            url = format!("{}/bot{token}/sendMessage", url.trim_end_matches('/'))
        }
        (_, Some(token)) => headers.push(("Authorization", format!("Bearer {token}"))),
        _ => {}
    }
    headers.push(("X-Dumpvault-Delivery", id.to_owned()));
    if let Some(secret) = secret {
        let key = read(secret, environment)?;
        headers.push(("X-Dumpvault-Signature", signature(key.expose(), now_ms / 1000, &body)));
    }
    request(&url, &body, &headers, http, environment)
}

pub(super) fn ping(
    way: &Way,
    message: &Message,
    id: &str,
    environment: &Environment,
) -> Result<(), SendError> {
    let Way::Ping { url, start, fail, http } = way else { return Ok(()) };
    let (own, suffix) = match message.event.as_str() {
        "start" => (start.as_ref(), "/start"),
        "failed" => (fail.as_ref(), "/fail"),
        _ => (None, ""),
    };
    let base = text(&read(own.unwrap_or(url), environment)?);
    let suffix = if own.is_some() { "" } else { suffix };
    // What stands behind a `?` stays behind it.
    let (path, query) =
        base.split_once('?').map_or((base.as_str(), None), |(path, query)| (path, Some(query)));
    let run = message.items.first().and_then(|item| item.run.clone()).unwrap_or_default();
    let query = query.map_or_else(|| format!("rid={run}"), |query| format!("{query}&rid={run}"));
    let url = format!("{}{suffix}?{query}", path.trim_end_matches('/'));
    let body = message.text();
    let end =
        body.char_indices().map(|(at, _)| at).take_while(|at| *at <= PING_BYTES_MAX - 4).last().unwrap_or(0);
    let body = if body.len() > PING_BYTES_MAX { body.get(..end).unwrap_or_default() } else { &body };
    request(&url, body, &[("X-Dumpvault-Delivery", id.to_owned())], http, environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_a_receiver_computes_by_rfc_2104() {
        // Of Python: hmac.new(b"key", b"1700000000.{}", "sha256").hexdigest()
        let expected = "t=1700000000,v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae";
        assert_eq!(signature(b"key", 1_700_000_000, "{}"), expected);
    }

    #[test]
    fn addresses_of_one_link_are_known_in_every_form() {
        for text in ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0", "::"]
        {
            assert!(is_link_local(text.parse().unwrap()), "{text}");
        }
        for text in ["127.0.0.1", "10.0.0.1", "192.0.2.1", "2001:db8::1", "::1"] {
            assert!(!is_link_local(text.parse().unwrap()), "{text}");
        }
    }
}
