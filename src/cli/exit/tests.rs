//! The table of exit codes, error by error. That no error is forgotten is the compiler's affair: no `match` has a
//! catch-all.

mod shown;

use super::*;
use crate::base::fault::{Fault as _, Next};
use crate::base::name::{NameKind, SnapshotName, check_name};
use crate::cli::report::CliError;
use crate::content::inspect::ContentError;
use crate::engine::OpError;
use crate::engine::app::AppError;
use crate::engine::backup::class_of;
use crate::engine::copy::Side;
use crate::engine::restore::When;
use crate::settings::ConfigError;
use crate::source::LastWords;
use crate::source::SourceError;
use crate::source::postgres::PostgresError;
use crate::source::postgres::{ConnectProblem, DumpKind, InTheWay, Version};
use crate::storage::{ErrorKind, StorageError};
use crate::vault::RepoError;
use crate::vault::catalog::CatalogError;
use crate::vault::crypto::CryptoError;
use crate::vault::crypto::KeyFileError;
use crate::vault::format::FormatError;
use crate::vault::snapshot::Proof;
use crate::vault::snapshot::retention::Rule;
use crate::vault::snapshot::selection::SelectionError;
use std::io::Error as IoError;
use std::time::Duration;

pub(super) fn text(word: &str) -> String {
    word.to_owned()
}

pub(super) fn io() -> IoError {
    IoError::other("x")
}

pub(super) fn storage(kind: ErrorKind) -> StorageError {
    StorageError::permanent("read", "x", kind, "x")
}

pub(super) fn damaged(object: &str, source: FormatError) -> RepoError {
    RepoError::Damaged { object: text(object), source }
}

/// Errors of the repository, in the order of their codes.
pub(super) fn of_repository() -> Vec<(RepoError, u8)> {
    let missing = RepoError::Missing { object: text("config") };
    let input = RepoError::Input { source: io() };
    let output = RepoError::Output { source: io() };
    let io_of_catalog = CatalogError::Io { path: "x".into(), source: io() };
    let lost = RepoError::ChunkLost { what: "chunk", id: text("1a"), hint: text("x") };
    vec![
        (storage(ErrorKind::NotFound).into(), 2),
        (storage(ErrorKind::ShortObject).into(), 2),
        (storage(ErrorKind::NoSpace).into(), 2),
        (storage(ErrorKind::Denied).into(), 2),
        (storage(ErrorKind::Invalid).into(), 2),
        (storage(ErrorKind::Other).into(), 2),
        (damaged("config", FormatError::NewerVersion { version: 9 }), 2),
        (damaged("config", FormatError::UnknownFeatures { bits: 1 }), 2),
        (RepoError::Catalog(io_of_catalog), 2),
        (RepoError::Format(FormatError::CutShort), 2),
        (CryptoError::Unsealed.into(), 2),
        (CryptoError::BadSignature.into(), 2),
        (CryptoError::TooLong.into(), 2),
        (CryptoError::UnknownEpoch { epoch: 1 }.into(), 2),
        (CryptoError::Malformed { what: "x" }.into(), 2),
        (CryptoError::KdfCosts { passes: 1, memory_kib: 1, lanes: 1 }.into(), 2),
        (input, 2),
        (output, 2),
        (RepoError::CacheTooSmall { pack_bytes: 1, cache_bytes: 1 }, 2),
        (RepoError::Thread { source: io() }, 2),
        (RepoError::Stopped, 2),
        (RepoError::AlreadyExists { location: text("x") }, 3),
        (RepoError::NotEmpty { location: text("x"), found: text("y") }, 3),
        (RepoError::NoLock, 3),
        (damaged("config", FormatError::CutShort), 4),
        (damaged("packs/1a", FormatError::NewerVersion { version: 9 }), 4),
        (missing, 4),
        (lost, 4),
        (RepoError::Inconsistent { object: text("x"), what: text("y") }, 4),
        (RepoError::NoSlots { location: text("x"), detail: text("y") }, 4),
        (RepoError::Codec(crate::content::codec::CodecError::ReadBack), 4),
        (storage(ErrorKind::Conflict).into(), 5),
        (RepoError::Busy { what: text("x") }, 5),
        (RepoError::Fenced { why: text("x") }, 5),
        (RepoError::SlotRefused { reason: text("x") }, 6),
        (RepoError::ClockSkew { seconds: 900 }, 6),
        (RepoError::NoRepository { location: text("x") }, 10),
        (RepoError::WrongKey { credential: "passphrase", slots: 1, location: text("x") }, 12),
        (CryptoError::RoleTooWeak { needed: "x" }.into(), 12),
        (RepoError::Cancelled, 130),
    ]
}

pub(super) fn of_programs() -> Vec<(SourceError, u8)> {
    let (program, last_words, limit) = (text("psql"), LastWords::default(), Duration::from_secs(1));
    vec![
        (SourceError::NotReadToEnd { program: program.clone() }, 2),
        (SourceError::InputTimedOut { limit }, 2),
        (SourceError::ProgramNotFound { program: program.clone() }, 7),
        (SourceError::NoWorkingDirectory { program: program.clone(), directory: "x".into() }, 7),
        (SourceError::Start { program: program.clone(), source: io() }, 7),
        (SourceError::Io { program: program.clone(), operation: "write to", source: io() }, 7),
        (SourceError::Exited { program: program.clone(), status: 1, last_words: last_words.clone() }, 7),
        (
            SourceError::Killed {
                program: program.clone(),
                signal: text("x"),
                last_words: last_words.clone(),
            },
            7,
        ),
        (SourceError::TimedOut { program: program.clone(), limit, last_words: last_words.clone() }, 7),
        (SourceError::HungAfterOutput { program: program.clone(), limit, last_words: last_words.clone() }, 7),
        (SourceError::PipeHeldOpen { program: program.clone(), limit, last_words: last_words.clone() }, 7),
        (SourceError::StoppedReading { program: program.clone(), last_words }, 7),
        (SourceError::Cancelled { program }, 130),
    ]
}

pub(super) fn of_redis() -> Vec<(SourceError, u8)> {
    use crate::source::redis::RedisError;
    let server = text("queue1:6379");
    let all = [
        (RedisError::BadAddress { reason: text("x") }, 3),
        (RedisError::SecretInAddress { server: server.clone() }, 3),
        (RedisError::Connect { server: server.clone(), source: io() }, 7),
        (RedisError::Cut { server: server.clone(), bytes: 1 }, 7),
        (RedisError::IsReplica { server: server.clone(), master: text("x") }, 6),
        (RedisError::HasReplicas { server: server.clone(), replicas: 1 }, 6),
        (RedisError::NotLoaded { server }, 7),
        (RedisError::BadDatabase { text: text("x") }, 3),
        (RedisError::Unreadable { reason: text("x") }, 4),
        (RedisError::NotStarted { program: text("redis-server"), reason: text("x") }, 7),
        (RedisError::Counts { database: 0, there: 1, expected: 2 }, 4),
        (RedisError::Damaged { reason: text("x") }, 4),
        (RedisError::Differs { server: text("x"), what: text("x") }, 4),
        (RedisError::Watched { server: text("x") }, 6),
        (RedisError::NotMaster { server: text("x"), master: text("x") }, 7),
        (RedisError::UnknownMaster { server: text("x"), master: text("x") }, 7),
        (RedisError::Unserved { server: text("x"), slots: text("x") }, 7),
        (RedisError::NotSaved { server: text("x"), status: text("x") }, 7),
        (RedisError::NoFile { path: "x".into(), source: io() }, 7),
        (RedisError::OtherFile { path: "x".into(), server: text("x") }, 7),
    ];
    all.map(|(error, code)| (error.into(), code)).into()
}

pub(super) fn of_postgres() -> Vec<(PostgresError, u8)> {
    let (database, target, what) = (text("app"), text("db1"), text("x"));
    let step = |source: SourceError| PostgresError::Step { what: text("x"), source: Box::new(source) };
    let client_text = LastWords::default();
    let problem = ConnectProblem::NotRunning;
    vec![
        (PostgresError::BadUri { reason: what.clone() }, 3),
        (PostgresError::SecretInUri { parameter: what.clone() }, 3),
        (PostgresError::NoClient { tool: "pg_dump", needed: Version::new(17), found: Vec::new() }, 3),
        (PostgresError::NoClientAtAll { tool: "pg_dump" }, 3),
        (PostgresError::NoneFits { pattern: what.clone(), there: Vec::new() }, 3),
        (PostgresError::CleanNeedsArchive { database: database.clone() }, 3),
        (PostgresError::NotADump { kind: DumpKind::Sql }, 3),
        (PostgresError::NotEmpty { database: database.clone(), tables: 1, other_objects: 0 }, 6),
        (PostgresError::PartsNeedEmpty { database: database.clone(), tables: 1 }, 6),
        (PostgresError::InUse { database: database.clone(), by: InTheWay::default() }, 5),
        (PostgresError::CannotSwap { database: database.clone(), reason: what.clone() }, 6),
        (PostgresError::Connect { target: target.clone(), problem, client_text: client_text.clone() }, 7),
        (step(SourceError::ProgramNotFound { program: text("psql") }), 7),
        (PostgresError::Answer { what, answer: text("y") }, 7),
        (PostgresError::NotCommitted { last_words: client_text }, 7),
        (PostgresError::NoDatabase { database, target }, 7),
        (step(SourceError::Cancelled { program: text("psql") }), 130),
    ]
}

pub(super) fn of_operations() -> Vec<(OpError, u8)> {
    let (snapshot, series, stream) = (text("1a2b3c4d"), text("app"), text("app"));
    let parse = |name: &str| SnapshotName::parse(name, &jiff::tz::TimeZone::UTC).unwrap_err();
    let nothing = OpError::NothingStored { series: series.clone(), reasons: text("x"), hint: None };
    let hidden = OpError::Hidden { name: series.clone(), visible: snapshot.clone(), damage: text("x") };
    let damage = text("x");
    let not_copied = |source: OpError| OpError::NotCopied {
        snapshot: text("1a2b3c4d"),
        series: text("app"),
        side: Side::Source,
        source: Box::new(source),
    };
    let hook = |when, source| OpError::Hook { when, command: text("x"), source };
    let exited = || SourceError::Exited { program: text("sh"), status: 1, last_words: LastWords::default() };
    let aftermath = |failure: OpError| OpError::Aftermath {
        failure: Box::new(failure),
        aftermath: text("x"),
        changed: false,
    };
    vec![
        (nothing, 2),
        (
            OpError::Incomplete {
                stream: stream.clone(),
                exited: Proof::Exited,
                source: ContentError::Archive(crate::content::pg::ArchiveError::NotAnArchive),
            },
            2,
        ),
        (OpError::File { path: "x".into(), source: io() }, 2),
        (OpError::NoParts { stream: stream.clone(), what: "x" }, 3),
        (OpError::AlreadyRunning { system: None }, 5),
        (OpError::from(SourceError::StreamName { name: "globals.sql" }), 3),
        (OpError::Job { message: text("x"), next: None }, 3),
        (OpError::Refused { message: text("x"), next: None }, 6),
        (hook(When::Before, exited()), 6),
        (hook(When::After, exited()), 1),
        (hook(When::AfterFailure, exited()), 1),
        (hook(When::Before, SourceError::Cancelled { program: text("sh") }), 130),
        (OpError::Hinted { source: Box::new(OpError::NoPolicy), next: Next::new("x") }, 3),
        (OpError::App(AppError::NoCredential), 3),
        (OpError::SnapshotName(parse("app~x")), 3),
        (OpError::Name(check_name(NameKind::Series, "--help").unwrap_err()), 3),
        (SelectionError::NoSnapshots.into(), 3),
        (OpError::WhichStream { snapshot: snapshot.clone(), problem: text("x"), streams: Vec::new() }, 3),
        (OpError::SameRepository { location: text("x") }, 3),
        (OpError::NoDestination { location: text("x") }, 10),
        (OpError::NoPolicy, 3),
        (OpError::SelectionAmidDamage { source: Box::new(SelectionError::NoSnapshots), damage }, 4),
        (hidden, 4),
        (OpError::Kept { snapshot: snapshot.clone(), rules: vec![Rule::Newest] }, 6),
        (OpError::PinnedInSeries { series, snapshots: vec![snapshot] }, 6),
        (not_copied(RepoError::Stopped.into()), 2),
        (not_copied(RepoError::Missing { object: text("x") }.into()), 4),
        (aftermath(PostgresError::NotCommitted { last_words: LastWords::default() }.into()), 7),
    ]
}

#[test]
fn every_error_has_the_code_that_the_manual_says() {
    for (error, code) in of_repository() {
        assert_eq!(Exit::from(error.class()).code(), code, "{error:?}");
        let shown = format!("{error:?}");
        assert_eq!(CliError::from(OpError::from(error)).exit().code(), code, "{shown}");
    }
    for (error, code) in of_programs().into_iter().chain(of_redis()) {
        let shown = format!("{error:?}");
        assert_eq!(
            Exit::from(OpError::Source { what: text("x"), source: error }.class()).code(),
            code,
            "{shown}"
        );
    }
    for (error, code) in of_postgres() {
        let shown = format!("{error:?}");
        assert_eq!(Exit::from(OpError::from(error).class()).code(), code, "{shown}");
    }
    for (error, code) in of_operations() {
        let shown = format!("{error:?}");
        assert_eq!(CliError::from(error).exit().code(), code, "{shown}");
    }
}

#[test]
fn settings_are_found_wrong_before_anything_starts() {
    let wrong = [
        AppError::Config(ConfigError::Settings(Vec::new())),
        AppError::NoRepositoryNamed,
        AppError::NoCredential,
        AppError::EmptyPassphrase { origin: text("x") },
        AppError::Passphrase { origin: text("x"), reason: text("y") },
        AppError::KeyFile(KeyFileError::WrongLength { path: "x".into(), bytes: 1 }),
    ];
    for error in wrong {
        assert_eq!(CliError::App(error).exit(), Exit::Usage);
    }
    assert_eq!(CliError::App(AppError::Repo(RepoError::NoLock)).exit(), Exit::Usage);
    assert_eq!(CliError::usage("x").exit().code(), 3);
    assert_eq!(CliError::Refused { message: text("x"), hint: None }.exit().code(), 6);
    assert_eq!(CliError::File { path: text("x"), source: io() }.exit().code(), 2);
    assert_eq!(CliError::WorkingDirectory(io()).exit().code(), 2);
    assert_eq!(CliError::Output(io()).exit().code(), 2);
}

#[test]
fn a_server_is_a_source_to_a_backup_and_a_target_to_a_restore() {
    let problem = ConnectProblem::NotRunning;
    let down = || PostgresError::Connect { target: text("db1"), problem, client_text: LastWords::default() };
    assert_eq!(Exit::from(OpError::from(down()).class()), Exit::Target);
    assert_eq!(Exit::from(class_of(&down().into())), Exit::NothingDone);
    assert_eq!(Exit::from(class_of(&RepoError::Fenced { why: text("x") }.into())), Exit::Conflict);
}

#[test]
fn help_lists_every_code() {
    use clap::CommandFactory;
    let help = super::super::args::Cli::command().render_long_help().to_string();
    let all = [
        Exit::Good,
        Exit::Partial,
        Exit::NothingDone,
        Exit::Usage,
        Exit::Integrity,
        Exit::Conflict,
        Exit::Refused,
        Exit::Target,
        Exit::NoRepository,
        Exit::WrongKey,
        Exit::Interrupted,
        Exit::Unheard,
    ];
    for exit in all {
        let line = format!("  {:<4} ", exit.code());
        assert!(help.lines().any(|text| text.starts_with(&line)), "{exit:?}");
    }
}

#[test]
fn every_exit_code_is_in_the_help_and_in_the_readme() {
    let readme = include_str!("../../../README.md");
    let help = <crate::cli::args::Cli as clap::CommandFactory>::command().render_long_help().to_string();
    for exit in Exit::ALL {
        let code = exit.code();
        assert!(help.lines().any(|line| line.starts_with(&format!("  {code:<4} "))), "{exit:?} in the help");
        assert!(readme.contains(&format!("\n| {code} | ")), "{exit:?} in README.md");
        assert_eq!(Exit::of_code(code), exit);
    }
}
