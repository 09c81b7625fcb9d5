//! `type = "redis"`: what a table of the configuration says of a server.

use super::address::Address;
use super::login::{Access, Secret, VARIABLE};
use super::server::ServerInfo;
use super::settings::HasData;
use super::tls::Certificates;
use super::wire::Wire;
use super::{RedisError, bgsave, cluster, normal, pull, scan, sentinel, settings, shard};
use crate::base::event::{Event, Observer};
use crate::base::run::Run;
use crate::base::secret::Passphrase;
use crate::base::setting::{
    BOOLEAN, COMMAND, Described, Entry, FILE, Key, Kind, PORT, Problem, Raw, SECRET, SIZE, Section, TEXT,
    Table, WORDS,
};
use crate::source::kind::{Addressed, Around, Asked, Home, Settled, SourceKind};
use crate::source::process::Limits;
use crate::source::surroundings::Surroundings;
use crate::source::wrapper::Wrapper;
use crate::source::{PlannedStream, Source, SourceError, StartedDump};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The kind.
pub(crate) struct Redis;

/// What is held in memory for a storage that is slower than the server, unless somebody says otherwise.
const BUFFER_BYTES: u64 = 64 << 20;
/// The same for putting keys in order.
const SORT_BYTES: u64 = 128 << 20;
const HOST_DEFAULT: &str = "localhost";

impl SourceKind for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn section(&self) -> &'static Section {
        &SECTION
    }

    fn of_table(&self, _name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        server(table).map(|found| Arc::new(found) as Arc<dyn Settled>)
    }

    fn schemes(&self) -> &'static [&'static str] {
        &[
            "redis://",
            "rediss://",
            "valkey://",
            "valkeys://",
            "unix://",
            "redis+sentinel://",
            "rediss+sentinel://",
            "valkey+sentinel://",
            "valkeys+sentinel://",
        ]
    }

    fn of_address(&self, address: &str, asked: &Asked<'_>) -> Result<Addressed, Problem> {
        let access = Access::of_words(address, asked.variable).map_err(|error| problem(&error))?;
        let series = access.address.host().unwrap_or(HOST_DEFAULT).to_owned();
        let server = Server {
            access,
            buffer_bytes: BUFFER_BYTES,
            sort_bytes: Some(SORT_BYTES),
            method: Method::Auto,
            place: bgsave::Place::default(),
            settings: true,
        };
        Ok(Addressed { source: Arc::new(server), series: Ok(series) })
    }
}

/// A server, all of whose databases are one stream; of a cluster, each master is one.
#[derive(Debug, Clone)]
struct Server {
    access: Access,
    buffer_bytes: u64,
    /// Memory to put keys in order; none where they stay as the server sends them.
    sort_bytes: Option<u64>,
    method: Method,
    /// Where the file is that it saves.
    place: bgsave::Place,
    /// Whether settings and users are stored, too.
    settings: bool,
}

/// How a server is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// By replication, or key by key where that is refused.
    Auto,
    /// By replication.
    Psync,
    /// Key by key.
    Scan,
    /// By the file that it saves.
    Save,
}

impl Settled for Server {
    fn source(&self, around: &Around) -> Box<dyn Source> {
        let access = self.access_within(&around.programs);
        let place = bgsave::Place { around: around.programs.clone(), ..self.place.clone() };
        Box::new(Reading { server: Self { access, place, ..self.clone() }, timeout: around.timeout })
    }

    fn home(&self) -> Option<Home> {
        Some(Home { address: self.access.address.display(), exec: None })
    }

    fn redis(&self, programs: &Surroundings) -> Option<Access> {
        Some(self.access_within(programs))
    }
}

/// A server that is about to be read.
#[derive(Debug)]
struct Reading {
    server: Server,
    timeout: Option<Duration>,
}

impl Source for Reading {
    fn describe(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("kind".to_owned(), "redis".to_owned()),
            ("address".to_owned(), self.server.access.address.display()),
        ])
    }

    fn bytes_open(&self) -> u64 {
        self.server.buffer_bytes.saturating_add(self.server.sort_bytes.unwrap_or_default())
    }

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let limits = Limits::new(run.cancel.clone()).with_timeout(self.timeout);
        let access = sentinel::settled(&self.server.access, &limits)?;
        let server = Server { access, ..self.server };
        let mut wire = server.access.enter(&limits)?;
        let info = ServerInfo::ask(&mut wire)?;
        let told = if server.settings { settings::ask(&mut wire)? } else { None };
        let mut planned = match info.is_cluster() {
            true => server.of_shards(series, &mut wire, &limits, &run.events)?,
            false => {
                let (name, events) = (series.to_owned(), Arc::clone(&run.events));
                let start =
                    Box::new(move || server.open(Some((wire, info)), &name, &limits, events.as_ref()));
                vec![PlannedStream { name: series.to_owned(), start }]
            }
        };
        if let Some(bytes) = told {
            let has_data = HasData::default();
            let noting = |PlannedStream { name, start }: PlannedStream<'static>| {
                let has_data = Arc::clone(&has_data);
                let start = Box::new(move || Ok(settings::noted(start()?, has_data)));
                PlannedStream { name, start }
            };
            planned = planned.into_iter().map(noting).collect();
            let start = Box::new(move || settings::stream(bytes, &has_data));
            planned.push(PlannedStream { name: format!("{series}/settings"), start });
        }
        Ok(planned)
    }
}

impl Server {
    /// The way in, with what its programs find around them.
    fn access_within(&self, programs: &Surroundings) -> Access {
        let mut access = Access { around: programs.clone(), ..self.access.clone() };
        // What the source's own `env` says comes before what all of them find.
        let said = programs.env.iter().rev().find(|(name, _)| name == VARIABLE);
        if let (Secret::None | Secret::Here(_), Some((_, text))) = (&access.secret, said) {
            access.secret = Secret::Here(Zeroizing::new(text.to_string_lossy().into_owned()));
        }
        access
    }

    /// A stream for each master of a cluster.
    fn of_shards(
        &self,
        series: &str,
        wire: &mut Wire,
        limits: &Limits,
        events: &Arc<dyn Observer>,
    ) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let all = cluster::shards(wire, &self.access)?;
        let unserved = cluster::unserved(&all);
        let none = || RedisError::Unserved { server: wire.server.clone(), slots: cluster::shown(&unserved) };
        if all.is_empty() {
            return Err(none().into());
        }
        let each = all.iter().map(|shard| {
            let name = format!("{series}/{}", shard.name());
            let access = self.access.beside(&shard.host, shard.port);
            let server = Self { access: access.clone(), ..self.clone() };
            let (shard, before, limits) = (shard.clone(), all.clone(), limits.clone());
            let (events, stream) = (Arc::clone(events), name.clone());
            let start = Box::new(move || {
                let started = server.open(None, &stream, &limits, events.as_ref())?;
                Ok(shard::Watched::of(started, &shard, before, access, limits, events))
            });
            PlannedStream { name, start }
        });
        let mut planned: Vec<PlannedStream<'static>> = each.collect();
        if !unserved.is_empty() {
            let error = none();
            let start = Box::new(move || Err(error.into()));
            planned.push(PlannedStream { name: format!("{series}/unserved"), start });
        }
        Ok(planned)
    }

    /// Starts reading; by `entered`, where that is a connection which still is one.
    fn open(
        &self,
        entered: Option<(Wire, ServerInfo)>,
        stream: &str,
        limits: &Limits,
        events: &dyn Observer,
    ) -> Result<StartedDump, SourceError> {
        let pull = || {
            let entered =
                entered.and_then(|(mut wire, info)| wire.ask(&[b"PING"]).is_ok().then_some((wire, info)));
            let started = match entered {
                Some((wire, info)) => pull::of(wire, &info, self.buffer_bytes)?,
                None => pull::open(&self.access, self.buffer_bytes, limits)?,
            };
            self.in_order(started)
        };
        let scan = || {
            let started = scan::open(&self.access, limits)?;
            self.in_order(started).map(scan::Made::of)
        };
        match self.method {
            Method::Scan => scan(),
            Method::Psync => pull(),
            Method::Save => self.in_order(bgsave::open(&self.access, &self.place, limits)?),
            Method::Auto => match pull() {
                Err(SourceError::Redis(error)) if error.is_no_replication() => {
                    let message = format!(
                        "{error}: stream `{stream}` is read key by key, and is not of one moment. \
                         Set `method = \"scan\"` if that is as it should be"
                    );
                    match scan() {
                        // It lacks the rights for both: those for the better way are named.
                        Err(SourceError::Redis(scanned)) if scanned.is_no_right() => Err(error.into()),
                        outcome => {
                            events.observe(Event::Warning { message });
                            outcome
                        }
                    }
                }
                outcome => outcome,
            },
        }
    }

    fn in_order(&self, started: StartedDump) -> Result<StartedDump, SourceError> {
        match self.sort_bytes {
            Some(bytes_max) => normal::in_order(started, bytes_max, &self.access.address.server()),
            None => Ok(started),
        }
    }
}

fn problem(error: &RedisError) -> Problem {
    Problem { text: error.to_string(), next: error.hint() }
}

/// An address, shown without its password.
const URI: Kind<Address> = Kind {
    word: "address",
    parse: |raw| Address::from_uri(raw.text()?).map_err(|error| problem(&error)),
    show: |raw| Some(Raw::Text(Address::from_uri(raw.text().ok()?).ok()?.display())),
};

const METHODS: Kind<Method> = Kind {
    word: "psync, scan, bgsave or auto",
    parse: |raw| match raw.text()? {
        "auto" => Ok(Method::Auto),
        "psync" => Ok(Method::Psync),
        "scan" => Ok(Method::Scan),
        "bgsave" => Ok(Method::Save),
        _ => Err(Problem::new("it is psync, scan, bgsave or auto")),
    },
    show: |raw| Some(raw.clone()),
};

macro_rules! keys {
    ($($key:ident: $type:ty = $kind:ident, $entry:expr;)*) => {
        $(static $key: Key<$type> = Key::new(&$kind, $entry);)*
        static SECTION: Section = Section {
            name: "source.NAME",
            which: "with `type = \"redis\"`",
            about: "A Redis or Valkey server: all its databases as one RDB file.",
            keys: &[$(&$key as &dyn Described),*],
        };
    };
}

keys! {
    URI_KEY: Address = URI, Entry::new("uri", "The server: redis://, rediss:// (TLS), valkey://, valkeys://, unix://, or redis+sentinel://HOST,HOST/MASTER.",
        "\"rediss://vault@queue1:6379\"");
    HOST: String = TEXT, Entry::new("host", "The server's host, or the path of its socket [default: localhost].", "\"queue1\"");
    PORT_KEY: u16 = PORT, Entry::new("port", "The server's port [default: 6379].", "6380");
    USER: String = TEXT, Entry::new("user", "User to log in as.", "\"vault\"");
    PASSWORD: Passphrase = SECRET, Entry::new("redis_password", "Password for Redis servers whose source names none.", "\"\"")
        .variable(VARIABLE).not_in_file();
    PASSWORD_FILE: PathBuf = FILE, Entry::new("password_file", "File with the user's password in its first line.",
        "\"/root/redis.pass\"");
    PASSWORD_COMMAND: String = COMMAND, Entry::new("password_command", "Shell command that prints the user's password.",
        "\"pass show redis\"");
    TLS: bool = BOOLEAN, Entry::new("tls", "Connect by TLS; `rediss://` says so, too.", "true");
    TLS_CA: PathBuf = FILE, Entry::new("tls_ca", "Certificates that vouch for the server, in PEM, in place of the system's.",
        "\"/etc/redis/ca.crt\"");
    TLS_CERT: PathBuf = FILE, Entry::new("tls_cert", "Certificate to show to the server, in PEM.", "\"/root/vault.crt\"");
    TLS_KEY: PathBuf = FILE, Entry::new("tls_key", "Its private key, in PEM.", "\"/root/vault.key\"");
    BUFFER: u64 = SIZE, Entry::new("buffer",
        "Memory for data that the storage cannot take as fast as the server sends it: a server cuts off who stops reading.",
        "\"256M\"").default("64M");
    NORMALISE: bool = BOOLEAN, Entry::new("normalise",
        "Store keys sorted, and without how long they were not used: a backup after a restart of the server adds little.",
        "false").default("true");
    METHOD: Method = METHODS, Entry::new("method",
        "How the server is read: psync (by replication: one moment), scan (key by key), auto (scan where replication is refused), or bgsave (the file that it saves).",
        "\"scan\"").default("auto");
    RDB_PATH: PathBuf = FILE, Entry::new("rdb_path",
        "With `method = \"bgsave\"`, the file that the server saves; by default it is asked for its path.", "\"/var/lib/redis/dump.rdb\"");
    EXEC: Vec<OsString> = WORDS, Entry::new("exec", "With `method = \"bgsave\"`, words behind which the file is read.",
        "[\"docker\", \"exec\", \"-i\", \"redis\"]");
    SETTINGS: bool = BOOLEAN, Entry::new("settings",
        "Store settings and users, too (`CONFIG`, `ACL`), without passwords, as far as the user may read them.", "false").default("true");
    SORT_MEMORY: u64 = SIZE, Entry::new("sort_memory",
        "Memory for `normalise`. A server with more data is stored in the order in which it sends its keys.",
        "\"512M\"").default("128M");
}

/// The server of a table; `None` when something is wrong, which the table was told.
fn server(table: &mut Table<'_>) -> Option<Server> {
    let uri = table.take(&URI_KEY);
    let host = table.take(&HOST);
    let port = table.take(&PORT_KEY);
    let user = table.take(&USER);
    let tls = table.take(&TLS).is_some_and(|tls| tls.value);
    let password = table.take(&PASSWORD);
    let file = table.take(&PASSWORD_FILE);
    let command = table.take(&PASSWORD_COMMAND);
    let ca = table.take(&TLS_CA).map(|found| found.value);
    let (certificate, key) = (table.take(&TLS_CERT), table.take(&TLS_KEY));
    let buffer = table.take(&BUFFER);
    let normalise = table.take(&NORMALISE).is_none_or(|found| found.value);
    let sort = table.take(&SORT_MEMORY).map_or(SORT_BYTES, |found| found.value);
    let method = table.take(&METHOD).map_or(Method::Auto, |found| found.value);
    let path = table.take(&RDB_PATH).map(|found| found.value);
    let exec = table.take(&EXEC).map(|found| Wrapper::new(found.value));
    let settings = table.take(&SETTINGS).is_none_or(|found| found.value);
    let refuse = |text: &str| table.wrong(None, Problem::new(text));
    if uri.is_some() && (host.is_some() || port.is_some() || user.is_some() || tls) {
        refuse("`uri` cannot be combined with `host`, `port`, `user` or `tls`");
    }
    if file.is_some() && command.is_some() {
        refuse("`password_file` cannot be combined with `password_command`");
    }
    if certificate.is_some() != key.is_some() {
        refuse("`tls_cert` and `tls_key` go together");
    }
    if (path.is_some() || exec.is_some()) && method != Method::Save {
        refuse("`rdb_path` and `exec` go with `method = \"bgsave\"`");
    }
    let address = match uri {
        Some(uri) => uri.value,
        None => {
            let host = host.as_ref().map_or(HOST_DEFAULT, |host| &host.value);
            let address = Address::of_parts(host, port.map(|port| port.value), tls);
            match user {
                Some(user) => address.with_user(user.value),
                None => address,
            }
        }
    };
    let secret = match (file, command, password) {
        (Some(file), _, _) => Secret::File(file.value),
        (None, Some(command), _) => Secret::Command(command.value),
        (None, None, Some(text)) => {
            Secret::Here(Zeroizing::new(String::from_utf8_lossy(text.value.expose()).into_owned()))
        }
        (None, None, None) => Secret::None,
    };
    let own = certificate.zip(key).map(|(certificate, key)| (certificate.value, key.value));
    let access = Access { certificates: Certificates { ca, own }, ..Access::new(address, secret) };
    let buffer_bytes = buffer.map_or(BUFFER_BYTES, |found| found.value);
    let place = bgsave::Place { path, exec, ..bgsave::Place::default() };
    Some(Server { access, buffer_bytes, sort_bytes: normalise.then_some(sort), method, place, settings })
}
