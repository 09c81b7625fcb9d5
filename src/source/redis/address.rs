//! Where a Redis or Valkey server is and who asks, without ever showing a password.

use super::RedisError;
use std::fmt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The port of servers that say none.
const PORT_DEFAULT: u16 = 6379;

/// What addresses begin with, and whether TLS lies behind it.
const SCHEMES: [(&str, bool); 4] =
    [("redis://", false), ("rediss://", true), ("valkey://", false), ("valkeys://", true)];
const SOCKET: &str = "unix://";
/// What addresses of sentinels begin with, and whether TLS lies behind it.
const SENTINELS: [(&str, bool); 4] = [
    ("redis+sentinel://", false),
    ("rediss+sentinel://", true),
    ("valkey+sentinel://", false),
    ("valkeys+sentinel://", true),
];
/// The port of sentinels that say none.
const SENTINEL_PORT_DEFAULT: u16 = 26379;

/// Where a server is, and as whom to log in. Neither `Debug` nor [`Address::display`] shows the password.
#[derive(Clone)]
pub struct Address {
    /// `redis://`, as it was written.
    scheme: &'static str,
    pub(super) tls: bool,
    pub(super) place: Place,
    pub(super) user: Option<String>,
    password: Option<Zeroizing<String>>,
}

/// What to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp {
        host: String,
        port: u16,
    },
    Socket(PathBuf),
    /// Sentinels, each a host and a port, that know where the master of that name is.
    Sentinels {
        sentinels: Vec<(String, u16)>,
        master: String,
    },
}

impl Address {
    /// Parses `redis://[USER[:PASSWORD]@]HOST[:PORT]`, the same with `rediss://`, `valkey://` and `valkeys://`, or
    /// `unix://[USER[:PASSWORD]@]/PATH`, or `redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT][,…]/MASTER`.
    ///
    /// # Errors
    /// [`RedisError::BadAddress`], which does not quote it.
    pub fn from_uri(uri: &str) -> Result<Self, RedisError> {
        if let Some(rest) = uri.strip_prefix(SOCKET) {
            let (credentials, path) =
                rest.split_at(rest.find('/').ok_or_else(|| bad("the path of the socket is missing"))?);
            let credentials = match credentials {
                "" => "",
                some => some
                    .strip_suffix('@')
                    .ok_or_else(|| bad("`unix://` is followed by a path that begins with `/`"))?,
            };
            if path.contains(['?', '@']) {
                return Err(bad("a path with `?` or `@` in it must have them as `%3F` and `%40`"));
            }
            let (user, password) = logged_in(credentials)?;
            let place = Place::Socket(decoded(path)?.into());
            return Ok(Self { scheme: SOCKET, tls: false, place, user, password });
        }
        let watched =
            SENTINELS.iter().find_map(|(scheme, tls)| Some((*scheme, *tls, uri.strip_prefix(scheme)?)));
        if let Some((scheme, tls, rest)) = watched {
            return Self::of_sentinels(scheme, tls, rest);
        }
        let known = SCHEMES.iter().find_map(|(scheme, tls)| Some((*scheme, *tls, uri.strip_prefix(scheme)?)));
        let (scheme, tls, rest) = known.ok_or_else(|| {
            bad("it must begin with `redis://`, `rediss://`, `valkey://`, `valkeys://`, `unix://` or `redis+sentinel://`")
        })?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if tail.contains('@') || authority.matches('@').count() > 1 {
            return Err(bad(
                "an `@`, `/` or `?` in a user name or password must be written as `%40`, `%2F`, `%3F`",
            ));
        }
        if !matches!(tail, "" | "/") {
            return Err(bad("nothing may follow the port: all databases of a server are one stream"));
        }
        let (credentials, server) = authority.split_once('@').unwrap_or(("", authority));
        let (user, password) = logged_in(credentials)?;
        let (host, port) = server_at(server, PORT_DEFAULT)?;
        Ok(Self { scheme, tls, place: Place::Tcp { host, port }, user, password })
    }

    /// Sentinels, and the name of their master.
    fn of_sentinels(scheme: &'static str, tls: bool, rest: &str) -> Result<Self, RedisError> {
        let (authority, master) = rest
            .split_once('/')
            .filter(|(_, master)| !master.is_empty())
            .ok_or_else(|| bad("the name of the master is missing: `redis+sentinel://HOST:26379/NAME`"))?;
        if authority.matches('@').count() > 1 || master.contains(['/', '?', '#', '@']) {
            return Err(bad(
                "an `@`, `/` or `?` in a user name, password or master must be written as `%40`, `%2F`, `%3F`",
            ));
        }
        let (credentials, servers) = authority.split_once('@').unwrap_or(("", authority));
        let (user, password) = logged_in(credentials)?;
        let sentinels = servers.split(',').map(|server| server_at(server, SENTINEL_PORT_DEFAULT));
        let place =
            Place::Sentinels { sentinels: sentinels.collect::<Result<_, _>>()?, master: decoded(master)? };
        Ok(Self { scheme, tls, place, user, password })
    }

    /// A server that this one, or a sentinel, names: it is reached in the same way and by the same user.
    pub(super) fn beside(&self, host: &str, port: u16) -> Self {
        let scheme = if self.tls { "rediss://" } else { "redis://" };
        Self { scheme, place: Place::Tcp { host: host.to_owned(), port }, ..self.clone() }
    }

    /// Puts an address together.
    pub(super) fn of_parts(host: &str, port: Option<u16>, tls: bool) -> Self {
        let place = match host.starts_with('/') {
            true => Place::Socket(host.into()),
            false => Place::Tcp { host: host.to_owned(), port: port.unwrap_or(PORT_DEFAULT) },
        };
        let scheme = match (&place, tls) {
            (Place::Socket(_), _) => SOCKET,
            (_, true) => "rediss://",
            (_, false) => "redis://",
        };
        Self { scheme, tls, place, user: None, password: None }
    }

    /// The same, logging in as `user`.
    pub(super) fn with_user(self, user: String) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The same place, as nobody.
    pub(super) fn without_login(&self) -> Self {
        Self { user: None, password: None, ..self.clone() }
    }

    /// The host's name, or that of the master that sentinels know; none where the server listens on a socket.
    pub fn host(&self) -> Option<&str> {
        match &self.place {
            Place::Tcp { host, .. } => Some(host),
            Place::Sentinels { master, .. } => Some(master),
            Place::Socket(_) => None,
        }
    }

    /// Whether sentinels say where the server is.
    pub fn is_by_sentinels(&self) -> bool {
        matches!(self.place, Place::Sentinels { .. })
    }

    /// Host and port, or the path of the socket: for messages.
    pub fn server(&self) -> String {
        match &self.place {
            Place::Tcp { host, port } => shown(host, *port),
            Place::Socket(path) => path.display().to_string(),
            Place::Sentinels { sentinels, master } => {
                let each: Vec<String> = sentinels.iter().map(|(host, port)| shown(host, *port)).collect();
                format!("{}/{master}", each.join(","))
            }
        }
    }

    /// The address without its password.
    pub fn display(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{}{user}{}", self.scheme, self.server())
    }

    /// Whether a password stands in it.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    pub(super) fn password(&self) -> Option<&Zeroizing<String>> {
        self.password.as_ref()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.display()).finish()
    }
}

fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn bad(reason: &str) -> RedisError {
    RedisError::BadAddress { reason: reason.to_owned() }
}

type LoggedIn = (Option<String>, Option<Zeroizing<String>>);

fn logged_in(credentials: &str) -> Result<LoggedIn, RedisError> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (user, password) = (decoded(user)?, Zeroizing::new(decoded(password)?));
    Ok((Some(user).filter(|user| !user.is_empty()), Some(password).filter(|password| !password.is_empty())))
}

fn server_at(server: &str, port_default: u16) -> Result<(String, u16), RedisError> {
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| bad("`[` is not closed"))?;
            (host.to_owned(), port.strip_prefix(':').unwrap_or(port))
        }
        None if server.matches(':').count() > 1 => {
            return Err(bad("an IPv6 address stands in brackets: `[::1]`"));
        }
        None => {
            let (host, port) = server.split_once(':').unwrap_or((server, ""));
            (decoded(host)?, port)
        }
    };
    let port = match port {
        "" => port_default,
        port => port.parse().map_err(|_| bad("the port is not a number from 1 to 65535"))?,
    };
    if host.is_empty() || port == 0 {
        return Err(bad("it names no host, or port 0"));
    }
    Ok((host, port))
}

/// Puts bytes in the place of `%41`.
fn decoded(text: &str) -> Result<String, RedisError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let pair =
            digit().zip(digit()).ok_or_else(|| bad("`%` is not followed by two hexadecimal digits"))?;
        bytes.push((pair.0 << 4 | pair.1) as u8);
    }
    String::from_utf8(bytes).map_err(|_| bad("it is not in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_shown_without_their_password() {
        for (text, shown, tls, user, password) in [
            ("redis://localhost", "redis://localhost:6379", false, None, None),
            ("rediss://vault:p%40ss@db1:6380/", "rediss://vault@db1:6380", true, Some("vault"), Some("p@ss")),
            ("valkey://:s3cret@[::1]:7000", "valkey://[::1]:7000", false, None, Some("s3cret")),
            (
                "redis+sentinel://vault:s3cret@s1,[::1]:5000,s3:1/my%2Fmaster",
                "redis+sentinel://vault@s1:26379,[::1]:5000,s3:1/my/master",
                false,
                Some("vault"),
                Some("s3cret"),
            ),
            ("unix:///run/redis.sock", "unix:///run/redis.sock", false, None, None),
            ("unix://me:s3cret@/run/r%20s", "unix://me@/run/r s", false, Some("me"), Some("s3cret")),
        ] {
            let address = Address::from_uri(text).unwrap();
            assert_eq!(address.display(), shown);
            assert_eq!((address.tls, address.user.as_deref()), (tls, user), "{text}");
            assert_eq!(address.password().map(|text| text.as_str()), password);
            let debug = format!("{address:?}");
            assert!(!debug.contains("s3cret") && !debug.contains("p@ss"), "{debug}");
        }
    }

    #[test]
    fn what_could_hide_a_password_or_mean_less_than_the_server_is_refused_unquoted() {
        for text in [
            "redis://",
            "redis://a@b@c",
            "redis://u:s3cret/x@h",
            "redis://h:s3cret",
            "redis://h/3",
            "redis://h?db=3",
            "redis://h:0",
            "redis://::1",
            "redis://%4",
            "unix://run/s3cret",
            "unix:///run/x?db=1",
            "mongodb://s3cret@h",
            "redis+sentinel://u:s3cret@h",
            "redis+sentinel://u:s3cret@h/",
            "redis+sentinel://u:s3cret@h,/name",
            "redis+sentinel://h/name/s3cret",
        ] {
            let error = Address::from_uri(text).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
