//! Where a PostgreSQL server is and who asks, without ever showing a password.

use super::PostgresError;
use crate::source::process::Invocation;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use zeroize::Zeroizing;

/// URI parameters that are secret and that the client programs take on their command line only, where everybody can
/// read them.
const SECRET_PARAMETERS: [&str; 4] =
    ["sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

/// How to reach a database: what is not said here, the client programs take from the `PG*` variables, the service file
/// and `.pgpass`, as they always do.
///
/// The password of a URI is kept apart and handed to the client programs in their environment, never on the command
/// line; neither `Debug` nor [`Connection::display`] shows it.
#[derive(Clone, Default)]
pub struct Connection {
    /// Percent-encoded, as are `hosts` and `parameters`.
    user: Option<String>,
    /// Host and port pairs, comma-separated.
    hosts: String,
    database: Option<String>,
    /// `key=value`, without those that have a field here.
    parameters: Vec<String>,
    password: Option<Zeroizing<Vec<u8>>>,
    /// Variables that are set, or taken away.
    env: Vec<(OsString, Option<OsString>)>,
}

/// The parts of a connection, where no URI is given.
#[derive(Debug, Clone, Default)]
pub struct ConnectionParts {
    /// The database's name.
    pub database: Option<String>,
    /// Host name, address, or the directory of the server's Unix socket.
    pub host: Option<String>,
    /// Port number.
    pub port: Option<u16>,
    /// The role to log in as.
    pub user: Option<String>,
}

impl Connection {
    /// Parses `postgres://…` or `postgresql://…` as libpq does, but stricter. An `@` that is not percent-encoded is
    /// refused anywhere behind the host, and a port must be a number. Both are how a password with reserved characters
    /// in it would slip into a part that is shown.
    ///
    /// # Errors
    /// [`PostgresError::BadUri`], [`PostgresError::SecretInUri`]; neither quotes the URI.
    pub fn from_uri(uri: &str) -> Result<Self, PostgresError> {
        let rest = ["postgresql://", "postgres://"]
            .into_iter()
            .find_map(|scheme| uri.strip_prefix(scheme))
            .ok_or_else(|| bad("it must begin with `postgresql://` or `postgres://`"))?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if tail.contains('@') || authority.matches('@').count() > 1 {
            return Err(bad(
                "an `@`, `/` or `?` in a user name, password or parameter must be written as `%40`, `%2F`, `%3F`",
            ));
        }
        let (credentials, hosts) = match authority.split_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let mut connection = Self { hosts: checked_hosts(hosts)?, ..Self::default() };
        if let Some(credentials) = credentials {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            decode(user)?;
            connection.user = Some(user.to_owned()).filter(|user| !user.is_empty());
            connection.set_password(password)?;
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let name = decode_text(path.strip_prefix('/').unwrap_or(path))?;
        connection.database = Some(name).filter(|name| !name.is_empty());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            connection.take_parameter(pair)?;
        }
        Ok(connection)
    }

    /// Puts a connection together. Nothing said is fine.
    ///
    /// # Errors
    /// [`PostgresError::SecretInUri`] when the database's name is a connection string with a password in it.
    pub fn from_parts(parts: ConnectionParts) -> Result<Self, PostgresError> {
        let database = parts.database.filter(|name| !name.is_empty());
        if database.as_deref().is_some_and(looks_like_conninfo) {
            return Err(PostgresError::SecretInUri { parameter: "password".to_owned() });
        }
        let mut hosts = parts.host.as_deref().map(encode).unwrap_or_default();
        if hosts.contains("%3A") {
            // An IPv6 address.
            hosts = format!("[{}]", hosts.replace("%3A", ":"));
        }
        if let Some(port) = parts.port {
            hosts = format!("{hosts}:{port}");
        }
        let user = parts.user.as_deref().filter(|user| !user.is_empty()).map(encode);
        Ok(Self { user, hosts, database, ..Self::default() })
    }

    /// The same server and role, another database.
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..self.clone() }
    }

    /// The same server and database, another role; name and password of letters, digits and `_`.
    pub(super) fn logged_in_as(&self, user: &str, password: &str) -> Self {
        let password = Some(Zeroizing::new(password.as_bytes().to_vec()));
        Self { user: Some(encode(user)), password, ..self.clone() }
    }

    /// Sets a variable in the environment of the client programs (`PGPASSFILE`, `PGSERVICEFILE`, `PGSSLMODE`, …).
    pub fn with_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), Some(value.into())));
        self
    }

    /// Takes a variable away from the environment of the client programs, so that it cannot lead them elsewhere.
    pub fn without_env(mut self, key: impl Into<OsString>) -> Self {
        self.env.push((key.into(), None));
        self
    }

    /// The database's name, where it is said here.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The first host's name, where one is said here that is no directory.
    pub fn host(&self) -> Option<String> {
        let first = self.hosts.split(',').next().unwrap_or_default();
        let name = match first.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None => first.split(':').next().unwrap_or_default(),
        };
        let name = decode_text(name).ok()?;
        (!name.is_empty() && !name.starts_with('/')).then_some(name)
    }

    /// The URI without its password: for people, logs, and the client programs' command line.
    pub fn display(&self) -> String {
        let mut uri = "postgresql://".to_owned();
        if let Some(user) = &self.user {
            uri += user;
            uri.push('@');
        }
        uri += &self.hosts;
        if let Some(database) = &self.database {
            uri.push('/');
            uri += &encode(database);
        }
        for (at, parameter) in self.parameters.iter().enumerate() {
            uri.push(if at == 0 { '?' } else { '&' });
            uri += parameter;
        }
        uri
    }

    /// The URI with its password, where one is said here: for a program that is to connect.
    pub fn uri_with_password(&self) -> Zeroizing<String> {
        let shown = self.display();
        let (Some(user), Some(password)) = (&self.user, &self.password) else { return Zeroizing::new(shown) };
        let password = Zeroizing::new(String::from_utf8_lossy(password).into_owned());
        let with = format!("postgresql://{user}:{}@", encode(&password));
        Zeroizing::new(shown.replacen(&format!("postgresql://{user}@"), &with, 1))
    }

    /// As [`Connection::display`], without a database: `postgresql://` where nothing is said here.
    pub fn server_uri(&self) -> String {
        Self { database: None, ..self.clone() }.display()
    }

    /// A client program that connects to this database and never asks for a password.
    pub(super) fn client(&self, program: impl Into<OsString>) -> Invocation {
        let mut invocation = Invocation::new(program)
            .args(["--no-password", "-d"])
            .arg(self.display())
            .env("PGAPPNAME", "dumpvault")
            // Messages in English: their kind is told from their text.
            .env("LC_ALL", "C")
            // And without colours, which only a terminal understands.
            .env("PG_COLOR", "never");
        if let Some(password) = &self.password {
            invocation = invocation.env("PGPASSWORD", OsString::from_vec(password.to_vec()));
        }
        for (key, value) in &self.env {
            invocation = match value {
                Some(value) => invocation.env(key, value),
                None => invocation.env_remove(key),
            };
        }
        invocation
    }

    fn set_password(&mut self, encoded: &str) -> Result<(), PostgresError> {
        let password = decode(encoded)?;
        // libpq takes an empty one for none.
        if !password.is_empty() {
            self.password = Some(password);
        }
        Ok(())
    }

    fn take_parameter(&mut self, pair: &str) -> Result<(), PostgresError> {
        let (key, value) = pair.split_once('=').ok_or_else(|| bad("a parameter has no `=`"))?;
        let name = decode_text(key)?;
        decode(value)?;
        match name.as_str() {
            "password" => self.set_password(value)?,
            "dbname" => {
                let database = decode_text(value)?;
                if looks_like_conninfo(&database) {
                    return Err(PostgresError::SecretInUri { parameter: "password".to_owned() });
                }
                self.database = Some(database);
            }
            name if SECRET_PARAMETERS.contains(&name) => {
                return Err(PostgresError::SecretInUri { parameter: name.to_owned() });
            }
            _ => self.parameters.push(pair.to_owned()),
        }
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&OsString> = self.env.iter().map(|(key, _)| key).collect();
        f.debug_struct("Connection")
            .field("uri", &self.display())
            .field("has_password", &self.password.is_some())
            .field("env", &keys)
            .finish()
    }
}

fn bad(reason: &str) -> PostgresError {
    PostgresError::BadUri { reason: reason.to_owned() }
}

/// A database name that is a connection string in libpq's other notation, with a password in it.
fn looks_like_conninfo(database: &str) -> bool {
    let squeezed: String = database.chars().filter(|c| !c.is_whitespace()).collect();
    squeezed.contains("password=")
        || squeezed.starts_with("postgres://")
        || squeezed.starts_with("postgresql://")
}

/// Checks `host[:port],…`; hosts may be bracketed IPv6 addresses or percent-encoded directories.
fn checked_hosts(hosts: &str) -> Result<String, PostgresError> {
    for one in hosts.split(',') {
        let port = match one.strip_prefix('[') {
            Some(bracketed) => {
                let (_, behind) = bracketed.split_once(']').ok_or_else(|| bad("a `[` has no `]`"))?;
                match behind.strip_prefix(':') {
                    Some(port) => port,
                    None if behind.is_empty() => "",
                    None => return Err(bad("there is text between `]` and the port")),
                }
            }
            None => one.split_once(':').map_or("", |(_, port)| port),
        };
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err(bad("a port is not a number from 0 to 65535"));
        }
        decode(one)?;
    }
    Ok(hosts.to_owned())
}

/// Everything but unreserved characters as `%XX`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, PostgresError> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad("a `%` is not followed by two hexadecimal digits; write a `%` itself as `%25`"));
        };
        match u8::try_from(high * 16 + low) {
            Ok(byte) if byte != 0 => decoded.push(byte),
            _ => return Err(bad("`%00` is not allowed")),
        }
    }
    Ok(decoded)
}

fn decode_text(text: &str) -> Result<String, PostgresError> {
    let decoded = decode(text)?;
    String::from_utf8(decoded.to_vec()).map_err(|_| bad("a name is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(connection: &Connection) -> Option<&[u8]> {
        connection.password.as_ref().map(|password| password.as_slice())
    }

    #[test]
    fn the_password_of_a_uri_is_kept_apart_and_decoded() {
        let secret = "p%40ss%3Aw%2Frd%25";
        for uri in [
            format!("postgres://app:{secret}@db.example:5433/shop?sslmode=require"),
            format!("postgresql://app@db.example:5433/shop?password={secret}&sslmode=require"),
            format!("postgresql://app@db.example:5433?sslmode=require&dbname=shop&password={secret}"),
        ] {
            let connection = Connection::from_uri(&uri).unwrap();
            assert_eq!(password(&connection), Some(&b"p@ss:w/rd%"[..]));
            assert_eq!(connection.display(), "postgresql://app@db.example:5433/shop?sslmode=require");
            assert_eq!(connection.database(), Some("shop"));
            let invocation = connection.client("psql");
            for shown in [format!("{connection:?}"), format!("{invocation:?}")] {
                assert!(!shown.contains("p%40ss") && !shown.contains("p@ss"), "{shown}");
            }
        }
    }

    #[test]
    fn what_libpq_understands_is_passed_on() {
        for uri in [
            "postgresql://",
            "postgresql://localhost",
            "postgresql://:5433/shop",
            "postgresql://app@/shop?host=/run/pg&port=5433",
            "postgresql://app@%2Frun%2Fpg:5433/shop",
            "postgresql://a:1,[::1]:2,c/shop?target_session_attrs=any",
            "postgresql:///shop?service=nightly",
            "postgresql://app@h/a%2Fb%20c",
        ] {
            assert_eq!(Connection::from_uri(uri).unwrap().display(), uri);
        }
        assert_eq!(Connection::from_uri("postgres://h/a%2Fb").unwrap().database(), Some("a/b"));
        assert_eq!(password(&Connection::from_uri("postgres://u:@h/d").unwrap()), None);
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_shown() {
        for uri in [
            "postgres://app:s3cret@more@host/shop",
            "postgres://app:s3cret/more@host/shop",
            "postgres://app:12/s3cret@host/shop",
            "postgres://app:s3cret?more@host/shop",
            "postgres://app:s3cret",
            "postgres://host/shop?password=s3c@ret",
            "postgres://host/shop?sslpassword=s3cret",
            "postgres://host/shop?dbname=host%3Dx%20password%3Ds3cret",
            "postgres://app:%zzs3cret@host",
            "postgres://app:s3cret%00@host",
            "host=x password=s3cret",
        ] {
            let error = Connection::from_uri(uri).unwrap_err();
            assert!(
                !error.to_string().contains("s3c") && !format!("{error:?}").contains("s3c"),
                "{uri}: {error}"
            );
        }
        let parts =
            ConnectionParts { database: Some("host=x password = s3cret".to_owned()), ..Default::default() };
        assert!(!Connection::from_parts(parts).unwrap_err().to_string().contains("s3cret"));
    }

    #[test]
    fn parts_become_a_uri_that_means_the_same() {
        let parts = |host: &str, database: &str| ConnectionParts {
            database: Some(database.to_owned()),
            host: Some(host.to_owned()),
            port: Some(5433),
            user: Some("the app".to_owned()),
        };
        for (host, database, uri) in [
            ("db.example", "shop", "postgresql://the%20app@db.example:5433/shop"),
            ("/run/pg", "a=b", "postgresql://the%20app@%2Frun%2Fpg:5433/a%3Db"),
            ("::1", "x", "postgresql://the%20app@[::1]:5433/x"),
        ] {
            assert_eq!(Connection::from_parts(parts(host, database)).unwrap().display(), uri);
        }
        assert_eq!(Connection::from_parts(ConnectionParts::default()).unwrap().display(), "postgresql://");
    }
}
