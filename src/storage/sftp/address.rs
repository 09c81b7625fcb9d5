//! Addresses of folders on servers.

use crate::base::setting::Problem;
use std::fmt;

/// A folder on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpAddress {
    /// The user, where the address names one.
    pub user: Option<String>,
    /// The host's name, or its alias in ssh's configuration.
    pub host: String,
    /// The port, where the address names one.
    pub port: Option<u16>,
    /// The folder: from the root where it begins with a slash, else from where the server lets the user in.
    pub path: String,
    /// It was written as `sftp:host:path`.
    is_short: bool,
}

/// How addresses are written.
pub(super) const FORMS: &str = "sftp://user@host:port//path or sftp:host:path";

impl SftpAddress {
    /// Whether an address is meant for this kind.
    pub fn is_meant(address: &str) -> bool {
        address.starts_with("sftp:")
    }

    /// Understands `sftp://user@host:port/path` and `sftp:user@host:path`.
    ///
    /// # Errors
    /// When it is none, or names something that `ssh` would take for an option.
    pub fn parse(address: &str) -> Result<Self, Problem> {
        let bad = |why: &str| {
            // What stands before an `@` may be a secret.
            let shown = match (address.find(':'), address.rfind('@')) {
                (Some(colon), Some(at)) if colon < at => {
                    format!("sftp:…{}", address.get(at..).unwrap_or_default())
                }
                _ => address.to_owned(),
            };
            Problem::new(format!("`{shown}` is not a repository address: {why}")).next(format!("use {FORMS}"))
        };
        let rest = address.strip_prefix("sftp:").ok_or_else(|| bad("it does not begin with sftp:"))?;
        let (is_short, authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_once('/').ok_or_else(|| bad("it names no directory"))?;
                (false, authority, path)
            }
            None => {
                let (authority, path) = split_short(rest).ok_or_else(|| bad("it names no directory"))?;
                (true, authority, path)
            }
        };
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        // In the short form a password would stand where the path begins.
        let begins = path.split('/').next().unwrap_or_default();
        if user.is_some_and(|user| user.contains(':')) || (is_short && begins.contains('@')) {
            return Err(bad("a password does not belong in an address; ssh uses keys"));
        }
        let (host, port) =
            if is_short { (place, None) } else { split_port(place).ok_or_else(|| bad("invalid port"))? };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
        if host.is_empty() || host.starts_with('-') || !host.chars().all(is_host) {
            return Err(bad("invalid host name"));
        }
        let is_user = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
        if user.is_some_and(|user| user.is_empty() || user.starts_with('-') || !user.chars().all(is_user)) {
            return Err(bad("invalid user name"));
        }
        let trimmed = path.trim_end_matches('/');
        if trimmed.is_empty() || path.chars().any(char::is_control) {
            return Err(bad("it names no directory"));
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            path: trimmed.to_owned(),
            is_short,
        })
    }
}

/// `host:path`, where the host may be an address in brackets.
fn split_short(rest: &str) -> Option<(&str, &str)> {
    match rest.split_once("]:") {
        Some((host, path)) if host.contains('[') && !host.contains('/') => {
            Some((rest.get(..=host.len())?, path))
        }
        _ => rest.split_once(':'),
    }
}

/// `host:port`; the address of a host has colons of its own and stands in brackets then.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let colon = match place.rfind(']') {
        Some(bracket) => place.get(bracket..)?.find(':').map(|colon| bracket + colon),
        None => place.find(':'),
    };
    let Some(colon) = colon else { return Some((place, None)) };
    let port = place.get(colon + 1..)?.parse().ok().filter(|port| *port != 0)?;
    Some((place.get(..colon)?, Some(port)))
}

impl fmt::Display for SftpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_short { "sftp:" } else { "sftp://" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}{}", if self.is_short { ':' } else { '/' }, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_addresses_then_they_are_taken_apart_and_shown_as_they_were() {
        for (address, user, host, port, path) in [
            ("sftp://u@h:2222//srv/x", Some("u"), "h", Some(2222), "/srv/x"),
            ("sftp://h/x/y", None, "h", None, "x/y"),
            ("sftp://[::1]:22//x", None, "::1", Some(22), "/x"),
            ("sftp:alias:/srv/x", None, "alias", None, "/srv/x"),
            ("sftp:u@alias:x", Some("u"), "alias", None, "x"),
            ("sftp:u@[fe80::1%eth0]:x:y", Some("u"), "fe80::1%eth0", None, "x:y"),
        ] {
            let found = SftpAddress::parse(address).unwrap();
            let parts = (found.user.as_deref(), found.host.as_str(), found.port, found.path.as_str());
            assert_eq!(parts, (user, host, port, path), "{address}");
            assert_eq!(found.to_string(), address);
        }
        assert_eq!(SftpAddress::parse("sftp://h//x///").unwrap().to_string(), "sftp://h//x");
    }

    #[test]
    fn given_what_ssh_would_take_for_an_option_or_a_command_then_it_is_refused() {
        for address in [
            "sftp://-oProxyCommand=x/y",
            "sftp:-oProxyCommand=touch x:y",
            "sftp://u@-oProxyCommand=x/y",
            "sftp://-oProxyCommand=x@h/y",
            "sftp:-lx@h:y",
            "sftp://h;id/y",
            "sftp://`id`/y",
            "sftp://$(id)@h/y",
            "sftp://h h/y",
            "sftp://h\n/y",
            "sftp://h:0/y",
            "sftp://h:x/y",
            "sftp://h:99999/y",
            "sftp://h",
            "sftp://h/",
            "sftp://h//",
            "sftp:h",
            "sftp:h:",
            "sftp:",
            "sftp://@h/x",
            "sftp:///x",
            "sftp://h/a\nb",
        ] {
            assert!(SftpAddress::parse(address).is_err(), "{address:?}");
        }
    }

    #[test]
    fn given_a_password_in_an_address_then_it_is_refused_and_not_shown() {
        for address in ["sftp://u:secret@h/x", "sftp:u:secret@h:x", "sftp://u:secret@h"] {
            let problem = SftpAddress::parse(address).unwrap_err();
            assert!(!format!("{problem:?}").contains("secret"), "{problem:?}");
        }
    }
}
