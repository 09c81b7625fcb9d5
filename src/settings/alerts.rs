//! `[alert.NAME]`: whom to tell, of what, and how. `[watch.NAME]`: series of which something is to be told when they
//! get old.

use crate::base::name::nearest;
use crate::base::schedule::Schedule;
use crate::base::secret::Passphrase;
use crate::base::setting::{
    AGE, BOOLEAN, COMMAND, Described, Entry, FILE, Key, Kind, PATIENCE, PORT, Problem, Raw, Section, TEXT,
    TEXTS, TIME, Table,
};
use crate::base::unit::Age;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// What a person may want to hear of: the words of `on`.
pub const TOPICS: [&str; 14] = [
    "failure",
    "warning",
    "overdue",
    "suspect",
    "integrity",
    "storage",
    "retention",
    "config",
    "clock",
    "channel",
    "security",
    "recovery",
    "digest",
    "success",
];
/// What nobody hears of who does not ask for it.
const QUIET: [&str; 2] = ["digest", "success"];

/// Where a secret comes from.
#[derive(Debug, Clone)]
pub enum Secret {
    /// It stands in the configuration.
    Text(Passphrase),
    /// The first line of a file; `credential:NAME` is one of the service manager.
    File(PathBuf),
    /// The first line that a shell command prints.
    Command(String),
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// In the clear first, then encrypted, or not at all.
    StartTls,
    /// Encrypted from the first byte.
    Implicit,
    /// In the clear.
    None,
}

/// Whose words a webhook speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Its own.
    Plain,
    /// Slack's.
    Slack,
    /// Discord's.
    Discord,
    /// Teams'.
    Teams,
    /// ntfy's.
    Ntfy,
    /// Telegram's bots'.
    Telegram,
    /// Mattermost's.
    Mattermost,
}

/// What an HTTP channel needs besides its address.
#[derive(Debug, Clone)]
pub struct Http {
    /// How long a request may take.
    pub timeout: Duration,
    /// Certificates besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether addresses that only this machine or its network know are spoken to.
    pub allow_link_local: bool,
}

/// The way to somebody.
#[derive(Debug, Clone)]
pub enum Way {
    /// Mail.
    Email {
        /// The server.
        host: String,
        /// Its port.
        port: Option<u16>,
        /// How it is spoken to.
        tls: MailTls,
        /// Certificates besides the system's.
        ca_file: Option<PathBuf>,
        /// User and password.
        login: Option<(String, Secret)>,
        /// The sender.
        from: String,
        /// The recipients.
        to: Vec<String>,
        /// How long the server may be silent.
        timeout: Duration,
    },
    /// An HTTP request.
    Webhook {
        /// Whose words.
        preset: Preset,
        /// The address.
        url: Secret,
        /// What messages are signed with.
        secret: Option<Secret>,
        /// A token for the receiver.
        token: Option<Secret>,
        /// Telegram's chat.
        chat: Option<String>,
        /// The rest.
        http: Http,
    },
    /// A service that tells by itself when it hears nothing.
    Ping {
        /// The address after a good run.
        url: Secret,
        /// At a start; the other with `/start` otherwise.
        start: Option<Secret>,
        /// After a bad run; the other with `/fail` otherwise.
        fail: Option<Secret>,
        /// The rest.
        http: Http,
    },
    /// A shell command that gets the message.
    Command {
        /// The command.
        command: String,
        /// How long it may take.
        timeout: Duration,
    },
}

impl Way {
    /// The word for `kind`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Email { .. } => "email",
            Self::Webhook { .. } => "webhook",
            Self::Ping { .. } => "ping",
            Self::Command { .. } => "command",
        }
    }
}

/// `[alert.NAME]`.
#[derive(Debug, Clone)]
pub struct Channel {
    /// How.
    pub way: Way,
    /// Of what.
    pub on: BTreeSet<String>,
    /// Only of these jobs; of all where it is empty.
    pub jobs: BTreeSet<String>,
    /// How often somebody is reminded.
    pub remind: Duration,
    /// When a digest is due.
    pub digest: Option<Schedule>,
}

/// Everything about alerts.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// By name.
    pub channels: BTreeMap<String, Channel>,
    /// How long messages wait for others of the same cause.
    pub group: Duration,
    /// A storage with a smaller share of free space is told of.
    pub space_below: f64,
    /// `[watch.NAME]`: how old the newest good snapshot of a series may be.
    pub watched: BTreeMap<String, Age>,
}

fn shown(raw: &Raw) -> Option<Raw> {
    Some(raw.clone())
}

/// Of an address, what may be shown.
fn host_of(raw: &Raw) -> Option<Raw> {
    let (scheme, rest) = raw.text().ok()?.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?.rsplit('@').next()?;
    Some(Raw::Text(format!("{scheme}://{host}/…")))
}

fn choice(raw: &Raw, known: &[&str]) -> Result<String, Problem> {
    let text = raw.text()?;
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    let next = match nearest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of {}", known.join(", ")),
    };
    Err(Problem::new(format!("invalid value `{text}`")).next(next))
}

const WAY: Kind<String> =
    Kind { word: "choice", parse: |raw| choice(raw, &["email", "webhook", "ping", "command"]), show: shown };
const TOPIC_LIST: Kind<Vec<String>> = Kind {
    word: "list of topics",
    parse: |raw| raw.texts()?.into_iter().map(|word| choice(&Raw::Text(word), &TOPICS)).collect(),
    show: shown,
};
/// The address is the secret: who knows it may write.
const ADDRESS: Kind<Passphrase> = Kind {
    word: "URL",
    parse: |raw| {
        let text = raw.text()?;
        let is_http = text.starts_with("https://") || text.starts_with("http://");
        let wrong = || Problem::new("not the address of a webhook").next("use https://host/path");
        is_http.then(|| Passphrase::new(text.to_owned())).ok_or_else(wrong)
    },
    show: host_of,
};
const TLS: Kind<MailTls> = Kind {
    word: "choice",
    parse: |raw| {
        Ok(match choice(raw, &["starttls", "implicit", "none"])?.as_str() {
            "starttls" => MailTls::StartTls,
            "implicit" => MailTls::Implicit,
            _ => MailTls::None,
        })
    },
    show: shown,
};
const PRESET_KIND: Kind<Preset> = Kind {
    word: "choice",
    parse: |raw| {
        let known = ["plain", "slack", "discord", "teams", "ntfy", "telegram", "mattermost"];
        Ok(match choice(raw, &known)?.as_str() {
            "slack" => Preset::Slack,
            "discord" => Preset::Discord,
            "teams" => Preset::Teams,
            "ntfy" => Preset::Ntfy,
            "telegram" => Preset::Telegram,
            "mattermost" => Preset::Mattermost,
            _ => Preset::Plain,
        })
    },
    show: shown,
};

section! {
    /// A channel.
    ALERT_TABLE, "alert.NAME", "", "Somebody whom `dumpvault schedule daemon` tells when something is wrong.",
    ALERT_KIND: String = WAY, Entry::new("kind", "How: email, webhook, ping, command.", "\"email\"");
    ON: Vec<String> = TOPIC_LIST, Entry::new(
        "on", "Of what: failure, warning, overdue, suspect, integrity, storage, retention, config, clock, channel, security, recovery, digest, success. All but the last two otherwise. A ping has no choice.",
        "[\"failure\", \"overdue\", \"recovery\"]");
    ONLY_JOBS: Vec<String> = TEXTS, Entry::new("jobs", "Only of these jobs; of all otherwise.", "[\"nightly\"]");
    REMIND: Duration = TIME, Entry::new("remind", "Tell again of what is still wrong after this.", "\"24h\"").default("24h");
    DIGEST: String = TEXT, Entry::new(
        "digest", "When a digest is sent, if `on` has it: a time of day, with a day of the week before it.", "\"mon 08:00\"")
        .default("mon 08:00");
    WAIT: Duration = PATIENCE, Entry::new("timeout", "Stop an attempt that takes longer.", "\"10s\"").default("10s");
    URL: Passphrase = ADDRESS, Entry::new(
        "url", "For webhook and ping: the address. Whoever knows it can use it: `url_file` keeps it out of this file.",
        "\"https://hooks.example.org/T0/B0/x\"");
    URL_FILE: PathBuf = FILE, Entry::new("url_file", "File with the address in its first line.", "\"/etc/dumpvault/slack.url\"");
    URL_COMMAND: String = COMMAND, Entry::new("url_command", "Shell command that prints the address.", "\"pass show slack\"");
    START_URL: Passphrase = ADDRESS, Entry::new(
        "start_url", "For ping: the address at a start; that of `url` with /start otherwise.", "\"https://ping.example.org/x/start\"");
    FAIL_URL: Passphrase = ADDRESS, Entry::new(
        "fail_url", "For ping: the address after a bad run; that of `url` with /fail otherwise.", "\"https://ping.example.org/x/fail\"");
    PRESET: Preset = PRESET_KIND, Entry::new(
        "preset", "For webhook: whose form the message has: plain, slack, discord, teams, ntfy, telegram, mattermost.", "\"slack\"")
        .default("plain");
    SECRET_FILE: PathBuf = FILE, Entry::new(
        "secret_file", "For webhook: file with the key that messages are signed with (HMAC-SHA256).", "\"credential:hook.key\"");
    SECRET_COMMAND: String = COMMAND, Entry::new("secret_command", "Shell command that prints that key.", "\"pass show hook\"");
    TOKEN_FILE: PathBuf = FILE, Entry::new(
        "token_file", "For ntfy and telegram: file with the token.", "\"credential:telegram.token\"");
    TOKEN_COMMAND: String = COMMAND, Entry::new("token_command", "Shell command that prints the token.", "\"pass show telegram\"");
    CHAT: String = TEXT, Entry::new("chat", "For telegram: the chat.", "\"-1001234\"");
    LINK_LOCAL: bool = BOOLEAN, Entry::new(
        "allow_link_local", "For webhook and ping: speak to link-local addresses, as those of cloud metadata are.", "true")
        .default("false");
    MAIL_HOST: String = TEXT, Entry::new("host", "For email: the server.", "\"smtp.example.org\"");
    MAIL_PORT: u16 = PORT, Entry::new("port", "Its port; 587, 465 with implicit TLS, 25 without TLS otherwise.", "587");
    MAIL_TLS: MailTls = TLS, Entry::new(
        "tls", "For email: starttls (nothing is sent if the server has none), implicit, none.", "\"starttls\"").default("starttls");
    ALERT_CA: PathBuf = FILE, Entry::new(
        "ca_file", "Certificates to be trusted besides the system's, PEM.", "\"/etc/dumpvault/ca.pem\"");
    MAIL_USER: String = TEXT, Entry::new("user", "For email: the user; no login otherwise.", "\"backup\"");
    MAIL_PASSWORD_FILE: PathBuf = FILE, Entry::new(
        "password_file", "File with the password in its first line.", "\"credential:smtp.password\"");
    MAIL_PASSWORD_COMMAND: String = COMMAND, Entry::new("password_command", "Shell command that prints the password.", "\"pass show smtp\"");
    FROM: String = TEXT, Entry::new("from", "For email: the sender.", "\"Backups <backup@example.org>\"");
    TO: Vec<String> = TEXTS, Entry::new("to", "For email: the recipients.", "[\"ops@example.org\"]");
    ALERT_COMMAND: String = COMMAND, Entry::new(
        "command", "For command: a shell command; it gets the message as JSON on standard input.", "\"logger -t dumpvault\"");
}

section! {
    /// A series of another host.
    WATCH_TABLE, "watch.NAME", "",
    "A series, `HOST/NAME` or of any host, whose age `dumpvault schedule daemon` watches in the repository, whoever writes it.",
    MAX_AGE: Age = AGE, Entry::new("max_age", "How old its newest good snapshot may be.", "\"26h\"");
}

/// The tables of alerts.
pub(super) static SECTIONS: [&Section; 2] = [&ALERT_TABLE, &WATCH_TABLE];

/// All channels.
pub(super) fn channels(table: &mut Table<'_>, jobs: &[String], zone: &TimeZone) -> BTreeMap<String, Channel> {
    let tables = table.tables("alert");
    tables.into_iter().filter_map(|(name, table)| Some((name, channel(table, jobs, zone)?))).collect()
}

/// All series that are watched.
pub(super) fn watched(table: &mut Table<'_>) -> BTreeMap<String, Age> {
    let tables = table.tables("watch");
    let each = tables.into_iter().filter_map(|(name, mut table)| {
        let age = table.take(&MAX_AGE).map(|found| found.value);
        if age.is_none() && !table.has("max_age") {
            table.wrong(None, Problem::new("`max_age` is missing").next("such as `max_age = \"26h\"`"));
        }
        table.finish(&[]);
        Some((name, age?))
    });
    each.collect()
}

/// Which keys a kind of channel has besides those of all.
fn keys_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "email" => &[
            "host",
            "port",
            "tls",
            "ca_file",
            "user",
            "password_file",
            "password_command",
            "from",
            "to",
            "timeout",
        ],
        "webhook" => &[
            "preset",
            "url",
            "url_file",
            "url_command",
            "secret_file",
            "secret_command",
            "token_file",
            "token_command",
            "chat",
            "ca_file",
            "allow_link_local",
            "timeout",
        ],
        "ping" => &[
            "url",
            "url_file",
            "url_command",
            "start_url",
            "fail_url",
            "ca_file",
            "allow_link_local",
            "timeout",
        ],
        _ => &["command", "timeout"],
    }
}

fn take<T>(table: &mut Table<'_>, key: &Key<T>) -> Option<T> {
    table.take(key).map(|found| found.value)
}

fn secret(
    table: &mut Table<'_>,
    text: Option<&Key<Passphrase>>,
    file: &Key<PathBuf>,
    command: &Key<String>,
) -> Option<Secret> {
    let text = text.and_then(|text| take(table, text)).map(Secret::Text);
    let file = take(table, file).map(Secret::File);
    let command = take(table, command).map(Secret::Command);
    let all: Vec<Secret> = [text, file, command].into_iter().flatten().collect();
    if all.len() > 1 {
        table.wrong(None, Problem::new("several settings say the same secret").next("keep one of them"));
    }
    all.into_iter().next()
}

fn channel(mut table: Table<'_>, jobs: &[String], zone: &TimeZone) -> Option<Channel> {
    let table_ref = &mut table;
    let kind = take(table_ref, &ALERT_KIND);
    if kind.is_none() && !table_ref.has("kind") {
        let next = "use email, webhook, ping or command";
        table_ref.wrong(None, Problem::new("`kind` is missing").next(next));
    }
    let on = take(table_ref, &ON);
    let usual = || -> BTreeSet<String> {
        TOPICS.iter().filter(|topic| !QUIET.contains(topic)).map(|topic| (*topic).to_owned()).collect()
    };
    let on = on.map_or_else(usual, |on| on.into_iter().collect());
    let only = table_ref.take(&ONLY_JOBS);
    if let Some(only) = &only {
        for name in only.value.iter().filter(|name| !jobs.contains(name)) {
            let problem = Problem::new(format!("there is no `[job.{name}]`"));
            table_ref.wrong(Some(("jobs", &only.origin)), problem.next("name jobs of the configuration"));
        }
    }
    let remind = take(table_ref, &REMIND);
    let digest = table_ref.take_and(&DIGEST, |text| digest(&text, zone));
    let foreign: Vec<&str> = ALERT_TABLE
        .keys
        .iter()
        .map(|key| key.entry().name)
        .filter(|name| !["kind", "on", "jobs", "remind", "digest"].contains(name))
        .filter(|name| {
            kind.as_deref().is_some_and(|kind| !keys_of(kind).contains(name)) && table_ref.has(name)
        })
        .collect();
    for name in foreign {
        let kind = kind.as_deref().unwrap_or_default();
        let problem = Problem::new(format!("an alert of kind {kind} has no `{name}`"));
        table_ref.wrong(Some((name, &table_ref.origin())), problem.next("take it out, or change `kind`"));
    }
    let way = way(table_ref, kind.as_deref());
    table.finish(&[]);
    let digest = digest.map(|found| found.value).filter(|_| on.contains("digest"));
    Some(Channel {
        way: way?,
        on,
        jobs: only.map(|only| only.value.into_iter().collect()).unwrap_or_default(),
        remind: remind?,
        digest,
    })
}

/// `mon 08:00`, or `08:00`.
fn digest(text: &str, zone: &TimeZone) -> Result<Schedule, Problem> {
    let wrong =
        || Problem::new(format!("invalid time of a digest `{text}`")).next("use `mon 08:00` or `08:00`");
    let (day, time) = text.split_once(' ').unwrap_or(("*", text));
    let (hour, minute) = time.trim().split_once(':').ok_or_else(wrong)?;
    Schedule::cron(&format!("{minute} {hour} * * {day}"), zone.clone()).map_err(|_| wrong())
}

fn way(table: &mut Table<'_>, kind: Option<&str>) -> Option<Way> {
    let url = secret(table, Some(&URL), &URL_FILE, &URL_COMMAND);
    let start = take(table, &START_URL).map(Secret::Text);
    let fail = take(table, &FAIL_URL).map(Secret::Text);
    let preset = take(table, &PRESET)?;
    let key = secret(table, None, &SECRET_FILE, &SECRET_COMMAND);
    let token = secret(table, None, &TOKEN_FILE, &TOKEN_COMMAND);
    let chat = take(table, &CHAT);
    let (ca_file, allow_link_local) = (take(table, &ALERT_CA), take(table, &LINK_LOCAL));
    let timeout = take(table, &WAIT)?;
    let (host, port, tls) = (take(table, &MAIL_HOST), take(table, &MAIL_PORT), take(table, &MAIL_TLS)?);
    let user = take(table, &MAIL_USER);
    let password = secret(table, None, &MAIL_PASSWORD_FILE, &MAIL_PASSWORD_COMMAND);
    let (from, to) = (take(table, &FROM), take(table, &TO).unwrap_or_default());
    let command = take(table, &ALERT_COMMAND);
    let http = Http { timeout, ca_file: ca_file.clone(), allow_link_local: allow_link_local? };
    let missing = |name: &str| {
        let kind = kind.unwrap_or_default();
        table.wrong(None, Problem::new(format!("an alert of kind {kind} needs `{name}`")));
        None
    };
    match kind? {
        "email" => {
            let login = match (user, password) {
                (Some(user), Some(password)) => Some((user, password)),
                (None, None) => None,
                (Some(_), None) => return missing("password_file"),
                (None, Some(_)) => return missing("user"),
            };
            let Some(host) = host else { return missing("host") };
            let Some(from) = from else { return missing("from") };
            if to.is_empty() {
                return missing("to");
            }
            if tls == MailTls::None && login.is_some() {
                let next = "use `tls = \"starttls\"`, or a server that needs no login";
                table.wrong(None, Problem::new("a password is not sent in the clear").next(next));
            }
            Some(Way::Email { host, port, tls, ca_file, login, from, to, timeout })
        }
        "webhook" => {
            let telegram = || Secret::Text(Passphrase::new("https://api.telegram.org".to_owned()));
            let url = url.or_else(|| (preset == Preset::Telegram).then(telegram));
            let Some(url) = url else { return missing("url") };
            if preset == Preset::Telegram && (token.is_none() || chat.is_none()) {
                return missing(if chat.is_none() { "chat" } else { "token_file" });
            }
            Some(Way::Webhook { preset, url, secret: key, token, chat, http })
        }
        "ping" => {
            let Some(url) = url else { return missing("url") };
            Some(Way::Ping { url, start, fail, http })
        }
        _ => {
            let Some(command) = command else { return missing("command") };
            Some(Way::Command { command, timeout })
        }
    }
}
