//! `[serve]`: how the page and the API are reached, and what they say.

use super::jobs::SERVER_KIND;
use crate::base::setting::{
    Described, Entry, FILE, Key, Kind, Origin, Problem, Raw, Section, TEXT, TEXTS, TIME, Table,
};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// `[serve]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serve {
    /// Where it listens.
    pub listen: Listen,
    /// How it encrypts, if it does so itself.
    pub tls: Option<Tls>,
    /// How a browser gets there, if that is another way.
    pub external_url: Option<ExternalUrl>,
    /// Proxies whose word counts on who asks.
    pub trusted_proxies: Vec<IpAddr>,
    /// A source may be backed up by hand once in that time.
    pub manual_every: Duration,
    /// The server that gets restored databases, without a password.
    pub restore_server: Option<String>,
    /// What a site promises to lose at most.
    pub rpo: Option<Duration>,
    /// How long a site promises a restore to take at most.
    pub rto: Option<Duration>,
    /// Who is to be called.
    pub contact: Option<String>,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// At an address.
    Address(SocketAddr),
    /// At a socket in the file system. Whoever may write to it may connect.
    Socket(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The address that browsers use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUrl {
    /// `https://backup.example.org`, as a browser names an origin.
    pub origin: String,
    /// `backup.example.org`, as it stands in `Host`.
    pub host: String,
    /// `/dv`, or nothing.
    pub base: String,
    /// Whether it is encrypted.
    pub is_https: bool,
}

fn shown(raw: &Raw) -> Option<Raw> {
    Some(raw.clone())
}

const ADDRESS: Kind<Listen> = Kind {
    word: "address and port, or unix:PATH",
    parse: |raw| {
        let text = raw.text()?;
        if let Some(path) = text.strip_prefix("unix:") {
            let next = "name it from the root on, such as unix:/run/dumpvault/http.sock";
            return match path.starts_with('/') {
                true => Ok(Listen::Socket(path.into())),
                false => Err(Problem::new(format!("invalid path of a socket `{path}`")).next(next)),
            };
        }
        let next = "use an address and a port, such as 127.0.0.1:7878, or unix:/run/dumpvault/http.sock";
        text.parse()
            .map(Listen::Address)
            .map_err(|_| Problem::new(format!("invalid address `{text}`")).next(next))
    },
    show: shown,
};

const URL: Kind<ExternalUrl> = Kind { word: "address", parse: |raw| url(raw.text()?), show: shown };

fn url(text: &str) -> Result<ExternalUrl, Problem> {
    let wrong = || {
        Problem::new(format!("invalid address `{text}`"))
            .next("use http:// or https://, a host, and perhaps a path: https://backup.example.org/dv")
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !["http", "https"].contains(&scheme)
        || host.is_empty()
        || !host.chars().all(is_host)
        || !path.chars().all(is_path)
    {
        return Err(wrong());
    }
    let host = host.to_ascii_lowercase();
    let path = path.trim_matches('/');
    Ok(ExternalUrl {
        origin: format!("{scheme}://{host}"),
        host,
        base: if path.is_empty() { String::new() } else { format!("/{path}") },
        is_https: scheme == "https",
    })
}

section! {
    /// The page and the API.
    SERVE_TABLE, "serve", "", "The page and the HTTP API of `dumpvault serve`.",
    LISTEN: Listen = ADDRESS, Entry::new(
        "listen", "Listen here: an address and port, or `unix:PATH`. An address that other machines reach needs `tls_certificate`, or `trusted_proxies` where a proxy encrypts.",
        "\"127.0.0.1:7878\"").default("127.0.0.1:7878");
    TLS_CERTIFICATE: PathBuf = FILE, Entry::new(
        "tls_certificate", "Encrypt with this certificate, in PEM, the chain behind it. A renewed one is taken within a minute.", "\"/etc/dumpvault/tls.crt\"");
    TLS_KEY: PathBuf = FILE, Entry::new("tls_key", "The certificate's private key, in PEM.", "\"/etc/dumpvault/tls.key\"");
    EXTERNAL_URL: ExternalUrl = URL, Entry::new(
        "external_url", "The address that browsers use, with its path, where a proxy is in between.", "\"https://backup.example.org/dv\"");
    TRUSTED_PROXIES: Vec<String> = TEXTS, Entry::new(
        "trusted_proxies", "Addresses of proxies. `X-Forwarded-For` counts from these only.", "[\"127.0.0.1\"]");
    MANUAL_EVERY: Duration = TIME, Entry::new(
        "manual_every", "A source may be backed up by hand once in this time.", "\"1h\"").default("1h");
    RESTORE_SERVER: String = SERVER_KIND, Entry::new(
        "restore_server", "Server that gets restored databases, without a password; PG* variables otherwise.", "\"postgres://postgres@test1/postgres\"");
    RPO: Duration = TIME, Entry::new("rpo", "How much may be lost, as the page says it.", "\"24h\"");
    RTO: Duration = TIME, Entry::new("rto", "How long a restore may take, as the page says it.", "\"1h\"");
    CONTACT: String = TEXT, Entry::new("contact", "Whom to call in an emergency.", "\"On call: +49 30 555 01 234\"");
}

/// The table, where all of it is right.
pub(super) fn serve(table: &mut Table<'_>) -> Option<Serve> {
    let mut own = table.table("serve");
    let own_ref = &mut own;
    let listen = own_ref.take(&LISTEN);
    let (certificate, key) = (own_ref.take(&TLS_CERTIFICATE), own_ref.take(&TLS_KEY));
    let external_url = own_ref.take(&EXTERNAL_URL).map(|found| found.value);
    let proxies = own_ref.take(&TRUSTED_PROXIES);
    let manual_every = own_ref.take(&MANUAL_EVERY);
    let restore_server = own_ref.take(&RESTORE_SERVER).map(|found| found.value);
    let (rpo, rto) = (own_ref.take(&RPO), own_ref.take(&RTO));
    let contact = own_ref.take(&CONTACT).map(|found| found.value);
    let trusted_proxies = match &proxies {
        None => Vec::new(),
        Some(found) => addresses(own_ref, &found.value, &found.origin),
    };
    let tls = match (&certificate, &key) {
        (Some(certificate), Some(key)) => {
            Some(Tls { certificate: certificate.value.clone(), key: key.value.clone() })
        }
        (None, None) => None,
        _ => {
            let problem = Problem::new("a certificate and its key belong together");
            own_ref.wrong(None, problem.next("set both `tls_certificate` and `tls_key`, or none"));
            None
        }
    };
    if let (Some(found), Some(_)) = (&listen, &tls)
        && matches!(found.value, Listen::Socket(_))
    {
        let problem = Problem::new("a socket of this machine is not encrypted");
        let next = "leave `tls_certificate` and `tls_key` out: the proxy in front of it encrypts";
        own_ref.wrong(Some((LISTEN.entry.name, &found.origin)), problem.next(next));
    }
    if let Some(found) = &listen
        && matches!(found.value, Listen::Address(address) if !address.ip().is_loopback())
        && proxies.is_none()
        && certificate.is_none()
    {
        let problem = Problem::new(format!("`{}` would be reached without encryption", found.value)).next(
            "set `tls_certificate` and `tls_key`; or listen on 127.0.0.1 behind a proxy that encrypts, or name that proxy in `trusted_proxies`",
        );
        own_ref.wrong(Some((LISTEN.entry.name, &found.origin)), problem);
    }
    own.finish(&[]);
    Some(Serve {
        listen: listen?.value,
        tls,
        external_url,
        trusted_proxies,
        manual_every: manual_every?.value,
        restore_server,
        rpo: rpo.map(|found| found.value),
        rto: rto.map(|found| found.value),
        contact,
    })
}

fn addresses(table: &Table<'_>, texts: &[String], origin: &Origin) -> Vec<IpAddr> {
    let each = texts.iter().filter_map(|text| match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let problem = Problem::new(format!("`{text}` is not an IP address"));
            table.wrong(
                Some((TRUSTED_PROXIES.entry.name, origin)),
                problem.next("use addresses such as 127.0.0.1"),
            );
            None
        }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_anything_else_is_refused() {
        let whole = url("https://Backup.example.org/a/dv/").unwrap();
        assert_eq!((whole.origin.as_str(), whole.base.as_str()), ("https://backup.example.org", "/a/dv"));
        assert!(whole.is_https && url("http://h:81").unwrap().base.is_empty());
        for wrong in ["", "backup", "ftp://x", "https://", "https://a b", "https://h/\"x", "https://u:p@h/"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
