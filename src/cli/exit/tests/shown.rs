//! Every error as a person sees it: its code, its exit code, its text and its hint. `errors.txt`, in the folder above,
//! is read by whoever changes one of them; `DUMPVAULT_TEST_WRITE_DOCS=1` writes it anew.

use super::{
    Exit, damaged, io, of_operations, of_postgres, of_programs, of_redis, of_repository, storage, text,
};
use crate::base::fault::Fault;
use crate::base::id::{AuthorId, EpochId, SnapshotId};
use crate::base::secret::EntropyError;
use crate::cli::args::Cli;
use crate::cli::clean;
use crate::cli::report::hint_of;
use crate::content::index::IndexError;
use crate::content::pg::{ArchiveError, SelectError, SynthesisError};
use crate::engine::OpError;
use crate::engine::app::AppError;
use crate::settings::{ConfigError, Distrust};
use crate::source::bucket::BucketError;
use crate::source::files::FilesError;
use crate::source::indexed::IndexedError;
use crate::source::postgres::{ConnectProblem, PostgresError, Reason, ScriptRefused};
use crate::source::redis::{Form, RedisError};
use crate::source::{LastWords, SourceError};
use crate::storage::{ErrorKind, StorageError};
use crate::vault::RepoError;
use crate::vault::authors::Foreign;
use crate::vault::crypto::KeyFileError;
use crate::vault::format::FormatError;
use crate::vault::snapshot::selection::SelectionError;
use clap::CommandFactory;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// An error, and the variant of the enum that it is.
struct Shown {
    of: &'static str,
    variant: String,
    error: Box<dyn Fault>,
}

fn one<E: Fault + 'static>(of: &'static str, error: E) -> Shown {
    let debug = format!("{error:?}");
    let variant = debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    Shown { of, variant, error: Box::new(error) }
}

fn moment(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

/// Those of the table of exit codes, and what it leaves out because its code is that of what it holds.
fn all() -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let kinds = [ErrorKind::NoCredentials, ErrorKind::Unreachable, ErrorKind::Denied];
    let places =
        ["s3://bucket/packs/1a", "azure://box/packs/1a", "gs://bucket/packs/1a", "/srv/vault/packs/1a"];
    for kind in kinds {
        all.extend(
            places.map(|place| one("StorageError", StorageError::permanent("read", place, kind, "x"))),
        );
    }
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::ShortObject,
        ErrorKind::NoSpace,
        ErrorKind::Invalid,
        ErrorKind::Other,
    ] {
        all.push(one("StorageError", storage(kind)));
    }
    all.extend(of_repository().into_iter().map(|(error, _)| one("RepoError", error)));
    all.extend(of_vault().into_iter().map(|error| one("RepoError", error)));
    all.extend(of_programs().into_iter().map(|(error, _)| one("SourceError", error)));
    all.extend(of_sources().into_iter().map(|error| one("SourceError", error)));
    for (error, _) in of_redis() {
        if let SourceError::Redis(error) = error {
            all.push(one("RedisError", error));
        }
    }
    all.extend(of_servers().into_iter().map(|error| one("RedisError", error)));
    all.extend(of_postgres().into_iter().map(|(error, _)| one("PostgresError", error)));
    all.extend(of_databases().into_iter().map(|error| one("PostgresError", error)));
    all.extend(of_operations().into_iter().map(|(error, _)| one("OpError", error)));
    all.extend(of_engine().into_iter().map(|error| one("OpError", error)));
    all.extend(of_app().into_iter().map(|error| one("AppError", error)));
    all.extend(of_settings().into_iter().map(|error| one("ConfigError", error)));
    all
}

fn of_vault() -> Vec<RepoError> {
    let author = AuthorId::from_bytes([0x1a; 16]);
    vec![
        RepoError::ChunksLost { chunks: 3 },
        RepoError::SlotsLeft { credential: "passphrase", tried: 32, left: 5, location: text("/srv/vault") },
        RepoError::WrongKey { credential: "passphrase", slots: 0, location: text("/srv/vault") },
        RepoError::WrongKey { credential: "key file", slots: 0, location: text("/srv/vault") },
        RepoError::Revoked { author },
        RepoError::TwoEpochs {
            epoch: 2,
            objects: vec![EpochId::from_bytes([0x1a; 32]), EpochId::from_bytes([0x2b; 32])],
        },
        RepoError::NoAuthor { name: text("db1"), known: vec![text("db2"), text("ops")] },
        RepoError::TurnedBack { what: text("the snapshot 1a2b3c4d of `app` is missing") },
        RepoError::NotAllowed(Foreign::NotAllowed("back up the series `app`")),
        RepoError::NotAllowed(Foreign::Revoked(author)),
        RepoError::Entropy(EntropyError { reason: text("x") }),
        RepoError::Overtaken { what: text("snapshot 1a2b3c4d") },
        RepoError::ListsLate { object: text("sessions/1a") },
        RepoError::OlderContent { generation: 1 },
        damaged("snapshots/1a", FormatError::CutShort),
    ]
}

fn of_sources() -> Vec<SourceError> {
    let limit = Duration::from_secs(90);
    vec![
        SourceError::StreamName { name: "globals.sql" },
        SourceError::Postgres(PostgresError::NoClientAtAll { tool: "pg_dump" }),
        SourceError::Redis(RedisError::NoData),
        SourceError::Files(FilesError::NoPaths),
        SourceError::Files(FilesError::Root { path: "/srv/app".into(), source: io() }),
        SourceError::Bucket(BucketError::Unsorted { place: text("s3://media") }),
        SourceError::Indexed(IndexedError::TimedOut { limit }),
        SourceError::Indexed(IndexedError::Index { source: IndexError::CutShort }),
    ]
}

fn of_servers() -> Vec<RedisError> {
    let server = || text("queue1:6379");
    let limit = Duration::from_secs(60);
    let (file, reads) = (Form { version: 12, is_valkey: false }, Form { version: 11, is_valkey: false });
    let said = |command, text: &str| RedisError::Said { server: server(), command, text: text.to_owned() };
    vec![
        RedisError::Password { server: server(), reason: text("x") },
        RedisError::Tls { server: server(), reason: text("x") },
        RedisError::Lost { server: server(), during: "PSYNC", source: io() },
        RedisError::Closed { server: server(), during: "PSYNC" },
        RedisError::NoEnd { server: server() },
        RedisError::Silent { server: server(), during: "PSYNC", limit },
        RedisError::TimedOut { server: server(), limit },
        said("PSYNC", "NOAUTH Authentication required."),
        said("AUTH", "WRONGPASS invalid username-password pair"),
        said("REPLICAOF", "NOPERM this user has no permissions"),
        said("PSYNC", "NOPERM this user has no permissions"),
        RedisError::NotRedis { server: server(), what: "an HTTP answer" },
        RedisError::Cluster { server: server() },
        RedisError::NoData,
        RedisError::Listen { server: server(), source: io() },
        RedisError::Unreached { server: server() },
        RedisError::TooNew { server: server(), name: text("Redis 7.0.15"), file, reads },
        RedisError::Gone { server: server() },
    ]
}

fn of_databases() -> Vec<PostgresError> {
    let problems = [
        ConnectProblem::HostUnreachable,
        ConnectProblem::NoAnswer,
        ConnectProblem::NotReady,
        ConnectProblem::TooManyConnections,
        ConnectProblem::PasswordMissing,
        ConnectProblem::AuthenticationFailed,
        ConnectProblem::NotAllowed,
        ConnectProblem::NoRole,
        ConnectProblem::NoDatabase,
        ConnectProblem::NoPermission,
        ConnectProblem::Encryption,
        ConnectProblem::NoService,
        ConnectProblem::Other,
    ];
    let connect = |problem| PostgresError::Connect {
        target: text("postgresql://db1"),
        problem,
        client_text: LastWords::new("psql: error: x"),
    };
    let refused = |reason| PostgresError::Script(ScriptRefused { line: 7, reason });
    let exited =
        SourceError::Exited { program: text("psql"), status: 3, last_words: LastWords::new("ERROR: x;") };
    let mut all: Vec<PostgresError> = problems.map(connect).into();
    all.extend([
        refused(Reason::Command(text("!"))),
        refused(Reason::Connect(text("\\connect app"))),
        refused(Reason::NotText),
        refused(Reason::ForeignRows(text("public.far"))),
        refused(Reason::Schedule(text("cron.job"))),
        PostgresError::ClusterScript { database: text("app") },
        PostgresError::ConnectsElsewhere { named: text("app"), database: text("other") },
        PostgresError::TextBehindDump { line: 7, source: Box::new(exited) },
    ]);
    all
}

fn of_engine() -> Vec<OpError> {
    let time = moment("2026-11-01T03:00:00Z");
    let stored = moment("2026-11-02T03:00:00Z");
    let (name, id) = (text("app"), text("1a2b3c4d"));
    let doubtful =
        |visible| OpError::Doubtful { name: text("app"), doubtful: text("1a2b3c4d"), time, stored, visible };
    let series = vec![text("app"), text("{repo}")];
    let exited = SourceError::Exited {
        program: text("pg_restore"),
        status: 1,
        last_words: LastWords::new("ERROR: x\nCommand was: ALTER TABLE public.a OWNER TO ops;"),
    };
    vec![
        RepoError::NoLock.into(),
        OpError::Config(ConfigError::Missing { path: "/etc/dumpvault/config.toml".into() }),
        OpError::NotByItself { stream: name.clone(), what: "rows" },
        SelectError::NoMatch { what: "table", pattern: text("ordres") }.into(),
        SelectError::NoRows { view: text("public.v") }.into(),
        SelectError::ShowsExcluded { view: text("public.v"), table: text("public.t") }.into(),
        ArchiveError::NotAnArchive.into(),
        SynthesisError::NoEntry { index: 1 }.into(),
        SelectionError::NotFound { name: text("ap"), near: Some(name.clone()), series: series.clone() }
            .into(),
        SelectionError::NoSeries { name: text("ap"), near: None, series }.into(),
        SelectionError::Ambiguous { name: text("1a2b"), candidates: vec![id.clone(), text("1a2b9999")] }
            .into(),
        SelectionError::SeveralHosts {
            name: name.clone(),
            example: text("db1/app"),
            candidates: vec![text("db1/app"), text("db2/app")],
        }
        .into(),
        SelectionError::TooFarBack {
            name: text("{repo}~9"),
            series: text("{repo}"),
            count: text("2 complete snapshots"),
            oldest: text("{repo}~1"),
        }
        .into(),
        OpError::TurnedBack { missing: text("x"), name: name.clone(), visible: id.clone(), time },
        doubtful(None),
        doubtful(Some(text("2b3c4d5e"))),
        OpError::ForeignSnapshot {
            snapshot: SnapshotId::from_bytes([0x1a; 32]),
            why: text("its author is unknown"),
            claim: text("it is of `app` of db1"),
        },
        OpError::FutureTime { time },
        PostgresError::NoClientAtAll { tool: "pg_dump" }.into(),
        OpError::WhichStream {
            snapshot: id,
            problem: text("has several streams"),
            streams: vec![name, text("b")],
        },
        OpError::Aftermath {
            failure: Box::new(OpError::Source { what: text("database `app`"), source: exited }),
            aftermath: text("dropped database `app`, which this restore created"),
            changed: false,
        },
    ]
}

fn of_app() -> Vec<AppError> {
    let origin = || text("DUMPVAULT_PASSWORD_FILE");
    vec![
        AppError::Config(ConfigError::Missing { path: "dumpvault.toml".into() }),
        AppError::NoRepositoryNamed,
        AppError::NoCredential,
        AppError::EmptyPassphrase { origin: origin() },
        AppError::Passphrase { origin: origin(), reason: text("x") },
        AppError::PasswordCommandSlow { limit: Duration::from_secs(60) },
        AppError::KeyFile(KeyFileError::WrongLength { path: "/root/vault.key".into(), bytes: 31 }),
        AppError::Repo(RepoError::NoLock),
    ]
}

fn of_settings() -> Vec<ConfigError> {
    let untrusted = |place: &str, reason| ConfigError::Untrusted {
        path: "/etc/dumpvault/config.toml".into(),
        place: place.into(),
        reason,
    };
    vec![
        ConfigError::Missing { path: "/etc/dumpvault/config.toml".into() },
        ConfigError::Read { path: "/etc/dumpvault/config.toml".into(), source: io() },
        untrusted("/etc/dumpvault/config.toml", Distrust::Mode { mode: 0o664 }),
        untrusted("/etc/dumpvault", Distrust::Mode { mode: 0o1777 }),
        untrusted("/etc/dumpvault", Distrust::Owner { uid: 1000 }),
        ConfigError::Settings(Vec::new()),
    ]
}

/// The variants of an enum, as its file has them.
fn variants(text: &str, name: &str) -> BTreeSet<String> {
    let body =
        text.split(&format!("pub enum {name} {{\n")).nth(1).and_then(|rest| rest.split("\n}\n").next());
    let lines = body.unwrap_or_default().lines();
    let word = |line: &str| {
        let word =
            line.strip_prefix("    ").filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))?;
        word.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned)
    };
    lines.filter_map(word).collect()
}

#[test]
fn no_error_is_left_out() {
    let all = all();
    for (name, text) in [
        ("RepoError", include_str!("../../../vault/error.rs")),
        ("SourceError", include_str!("../../../source/mod.rs")),
        ("RedisError", include_str!("../../../source/redis/error.rs")),
        ("PostgresError", include_str!("../../../source/postgres/error.rs")),
        ("OpError", include_str!("../../../engine/mod.rs")),
        ("AppError", include_str!("../../../engine/app.rs")),
        ("ConfigError", include_str!("../../../settings/mod.rs")),
    ] {
        let own = all.iter().filter(|shown| shown.of == name);
        let known: BTreeSet<String> = own.map(|shown| shown.variant.clone()).collect();
        let there = variants(text, name);
        assert!(there.len() > 3, "{name} is not where it was");
        assert_eq!(known.intersection(&there).count(), there.len(), "{name}: {:?}", there.difference(&known));
    }
}

#[test]
fn every_text_and_every_hint_is_as_it_was_read() {
    let mut shown = String::from(
        "Every error: its code, its exit code, its text and its hint. Made by a test of src/cli/exit/tests/shown.rs; read each\n\
         change of it as a stranger would.\n",
    );
    for Shown { of, variant, error } in all() {
        let exit = Exit::from(error.class()).code();
        write!(shown, "\n{of}::{variant}: {} ({exit})\n", error.code()).unwrap();
        let hint = hint_of(&*error).map(|hint| format!("hint: {hint}"));
        for line in error.to_string().lines().chain(hint.iter().flat_map(|hint| hint.lines())) {
            writeln!(shown, "  {line}").unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/exit/errors.txt");
    if std::env::var_os("DUMPVAULT_TEST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, shown,
        "read the changes; DUMPVAULT_TEST_WRITE_DOCS=1 writes src/cli/exit/errors.txt"
    );
}

#[test]
fn every_text_and_every_hint_follows_the_style_guide() {
    let mut options = BTreeSet::new();
    let mut left = vec![Cli::command()];
    while let Some(command) = left.pop() {
        options
            .extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")));
        left.extend(command.get_subcommands().cloned());
    }
    // Of other programs.
    options.extend(["--cluster", "--include-foreign-data", "--help"].map(str::to_owned));
    let mut wrong = Vec::new();
    for Shown { of, variant, error } in all() {
        let text = error.to_string();
        let hint = hint_of(&*error).unwrap_or_default();
        let name = format!("{of}::{variant}");
        for words in [&text, &hint] {
            // A server's own words end as it likes.
            if words.ends_with('.') && variant != "Said"
                || words.contains(";;")
                || words.contains('{') && !words.contains("{repo}")
            {
                wrong.push(format!("{name}: {words}"));
            }
            // A line that does not go on as such would be shown as part of the one before, behind a `?`.
            if clean::message(words) != *words {
                wrong.push(format!("{name}: a line that begins at the margin: {words}"));
            }
            if words.starts_with(|c: char| c.is_uppercase()) && !words.starts_with(|c| "XSRCP".contains(c)) {
                wrong.push(format!("{name}: begins with a capital: {words}"));
            }
            let each = words
                .split(|c: char| !(c.is_alphanumeric() || c == '-'))
                .filter(|word| word.starts_with("--"));
            wrong.extend(
                each.filter(|word| !options.contains(*word)).map(|word| format!("{name}: no option {word}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
