//! A database that is ready to be restored into: what is fed, and what becomes of it after success or failure.

use super::super::PostgresError;
use super::super::client::{FoundClient, ServerInfo, TIMEOUT_SETTING, Version, columns, unclear};
use super::super::filter::{ScriptFilter, SessionSettings};
use super::super::older::{ForOlderServer, ScriptSink};
use super::super::sink::{ArchiveSink, Around, SqlSink};
use super::create::DatabasePlan;
use super::made::Made;
use super::{DumpKind, RestoreTarget};
use crate::base::event::Cancel;
use crate::source::command::ProcessDump;
use crate::source::process::{Invocation, Limits};
use crate::source::{Dump, Sink, SourceError};
use std::io::Write;
use std::path::Path;

/// Rows are loaded before their triggers are made, and foreign keys are checked when they are added: only event
/// triggers heed this in a dump. Nobody but a superuser may say it, or make one.
const NO_EVENT_TRIGGERS: &[u8] = b"SELECT set_config('session_replication_role', 'replica', false) \
    FROM pg_roles WHERE rolname = current_user AND rolsuper;\n";

/// Level by level, as long as that helps: of an index that is not whole in the dump either, nothing changes. Nor of one
/// that was there before and is somebody else's.
const VALIDATE_INDEXES: &str = "
DO $$ DECLARE pair record; invalid bigint; before bigint; BEGIN
  LOOP
    SELECT count(*) INTO invalid FROM pg_index JOIN pg_class ON oid = indexrelid
      WHERE NOT indisvalid AND relkind = 'I' AND pg_has_role(relowner, 'USAGE');
    EXIT WHEN invalid = 0 OR invalid >= before;
    before := invalid;
    FOR pair IN SELECT inhparent::regclass AS whole, min(inhrelid)::regclass AS part
      FROM pg_inherits JOIN pg_index ON indexrelid = inhparent JOIN pg_class ON oid = inhparent
      WHERE NOT indisvalid AND pg_has_role(relowner, 'USAGE') GROUP BY inhparent
    LOOP EXECUTE format('ALTER INDEX %s ATTACH PARTITION %s', pair.whole, pair.part); END LOOP;
  END LOOP;
END $$";

/// A database that is ready to be restored into.
///
/// After the restore, say how it went: [`Prepared::keep`] or [`Prepared::discard`]. Dropping it is discarding it in
/// silence. End the [`Sink`] before.
#[derive(Debug)]
pub struct Prepared {
    pub(super) target: RestoreTarget,
    pub(super) kind: DumpKind,
    pub(super) client: FoundClient,
    pub(super) server: ServerInfo,
    pub(super) created: Option<Made>,
    /// What the database is to get when it is whole.
    pub(super) plan: DatabasePlan,
    pub(super) was_empty: bool,
    pub(super) in_parts: bool,
}

/// What became of the database after a restore that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discarded {
    /// It was there before the restore, empty, and was found empty again.
    WasThereBefore,
    /// It was there before the restore, and the restore was one transaction. It held something, or could not be looked
    /// into: nothing was compared.
    RolledBack,
    /// It was there before the restore, empty, and holds something now: a plain dump with large objects in it has a
    /// COMMIT of its own around them.
    PartlyFilled {
        /// As in [`TargetState`](super::TargetState).
        tables: u64,
        /// As in [`TargetState`](super::TargetState).
        other_objects: u64,
    },
    /// It was made for the restore, and is gone again.
    Dropped,
    /// It was made for the restore, and somebody else has replaced or dropped it since.
    NotOursAnyMore,
}

impl Prepared {
    /// Whether the database was made for this restore.
    pub fn created(&self) -> bool {
        self.created.is_some()
    }

    /// The server, and the database that was asked about the target or the target itself.
    pub fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// The program that takes the dump.
    pub fn client(&self) -> &FoundClient {
        &self.client
    }

    /// Whether the database was there, and held nothing: nothing but the restore itself is lost when it fails.
    pub fn is_empty_one(&self) -> bool {
        self.created.is_none() && self.was_empty
    }

    /// Starts the program that takes the whole stream, its first bytes included.
    ///
    /// Into a database that was there, the restore is one transaction (but see [`Prepared::in_parts`]), which is only
    /// committed by [`Sink::finish`]: a stream that is cut, even by the death of this process, leaves the database as
    /// it was. The exception is a plain dump that commits by itself, as `pg_dump` makes them around large objects;
    /// [`Prepared::discard`] finds out.
    ///
    /// One that was made for the restore is dropped when that fails. So it needs no single transaction, which would
    /// need a lock for every object of the dump at once.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn open_sink(&self) -> Result<Box<dyn Sink>, SourceError> {
        let target = &self.target;
        let format = match self.kind {
            DumpKind::Archive { .. } => "--format=custom",
            DumpKind::Tar => "--format=tar",
            _ => {
                let filter = self.script_filter()?;
                let before: &[u8] = if target.scratch { NO_EVENT_TRIGGERS } else { b"" };
                let limits = target.limits.clone();
                let around = match self.is_all_or_nothing() {
                    true => Around::Transaction,
                    false => Around::Nothing,
                };
                let sink = Box::new(SqlSink::start(self.connected(), limits, filter, (around, before))?);
                return Ok(match self.server.version < TIMEOUT_SETTING {
                    true => Box::new(ForOlderServer::new(sink)),
                    false => sink,
                });
            }
        };
        let mut options = match self.is_all_or_nothing() {
            true => vec!["--single-transaction"],
            false => self.batches(),
        };
        if target.clean && self.created.is_none() {
            options.extend(["--clean", "--if-exists"]);
        }
        self.open_archive(format, &options)
    }

    /// Whether the restore is one transaction.
    fn is_all_or_nothing(&self) -> bool {
        self.created.is_none() && !self.in_parts
    }

    /// Several objects in one transaction, but not so many that the server runs out of locks.
    fn batches(&self) -> Vec<&'static str> {
        match self.client.version >= Version::new(17) {
            true => vec!["--transaction-size=100"],
            false => Vec::new(),
        }
    }

    fn open_archive(&self, format: &str, options: &[&str]) -> Result<Box<dyn Sink>, SourceError> {
        let limits = self.target.limits.clone();
        let invocation = self.restoring(format).args(options.iter().copied());
        if !self.writes_script() {
            return Ok(Box::new(ArchiveSink::start(&invocation, limits)?));
        }
        let RestoreTarget { connection, database, clients, .. } = &self.target;
        let psql =
            clients.client(&connection.with_database(database), self.client.path.with_file_name("psql"));
        // What an archive says is SQL to the server; to `psql` it could be more.
        Ok(Box::new(ScriptSink::start(&invocation, psql, self.script_filter()?, limits)?))
    }

    /// Whether `pg_restore` is too new to talk to the server itself.
    fn writes_script(&self) -> bool {
        self.client.is_too_new_for(self.server.version)
    }

    /// Says that the restore is made of several runs: what failed then leaves something behind that
    /// [`Prepared::discard`] looks for.
    pub fn in_parts(mut self) -> Self {
        self.in_parts = true;
        self
    }

    /// Starts the program for a part of the restore: an archive made of parts of the dump. Other parts may have been
    /// committed, so that this one is no transaction of its own.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn open_part(&self) -> Result<Box<dyn Sink>, SourceError> {
        self.open_archive("--format=custom", &self.batches())
    }

    /// Whether tables can be emptied and filled with frozen rows: in a database that nobody else uses yet, since such
    /// rows show at once, and by a program that sends both commands together. Before PostgreSQL 14 a vacuum had to
    /// write the pages again all the same.
    pub fn may_freeze(&self) -> bool {
        let is_alone = self.created.is_some() && !self.target.disable_triggers;
        is_alone && self.server.version >= Version::new(14) && !self.writes_script()
    }

    /// Whether the program can be given files of this machine.
    pub fn reads_files(&self) -> bool {
        self.target.clients.are_local() && !self.writes_script()
    }

    /// Runs the program on an archive, over one connection: for a program that reads no files of this machine.
    ///
    /// # Errors
    /// When the program cannot be started, or fails.
    pub fn run_bytes(&self, archive: &[u8], arguments: &[&str]) -> Result<(), SourceError> {
        let mut sink = self.open_archive("--format=custom", arguments)?;
        match sink.write_all(archive) {
            Ok(()) => sink.finish(),
            Err(_) => Err(sink.fail_reason()),
        }
    }

    /// Runs the program on an archive in a file, with so many connections; `arguments` say what of it is wanted.
    ///
    /// # Errors
    /// When the program cannot be started, or fails.
    pub fn run_file(&self, path: &Path, jobs: usize, arguments: &[&str]) -> Result<(), SourceError> {
        let invocation = self
            .restoring("--format=custom")
            .arg(format!("--jobs={}", jobs.max(1)))
            .args(arguments.iter().copied())
            .arg(path);
        let mut run = Box::new(ProcessDump::start(&invocation, self.target.limits.clone())?);
        // It prints nothing; an error of reading is told by `finish`.
        let _ = std::io::copy(&mut run, &mut std::io::sink());
        run.finish().map(drop)
    }

    /// Makes partitioned indexes valid of which all parts are there. Connections that attach the last parts of two
    /// partitions at the same time do not see each other's, and the index above both stays invalid; attaching a part
    /// once more looks again.
    ///
    /// # Errors
    /// When the server cannot be asked, or refuses.
    pub fn validate_indexes(&self) -> Result<(), PostgresError> {
        let RestoreTarget { connection, database, clients, limits, .. } = &self.target;
        let target = connection.with_database(database);
        let what = "look at partitioned indexes again";
        clients.ask_at_leisure(&target, what, VALIDATE_INDEXES, "SELECT 1", limits).map(drop)
    }

    /// What stands between a script and `psql`, if anything is to.
    fn script_filter(&self) -> Result<Option<ScriptFilter>, PostgresError> {
        if self.target.psql_commands {
            return Ok(None);
        }
        let RestoreTarget { connection, database, clients, limits, .. } = &self.target;
        let what = "ask how the server reads strings";
        let sql = "SELECT current_setting('standard_conforming_strings'), current_setting('client_encoding')";
        let row = clients.ask(&connection.with_database(database), what, sql, &limits.cancel)?;
        let mut columns = columns(&row);
        let (Some(conforming), Some(encoding)) = (columns.next(), columns.next()) else {
            return Err(unclear(what, &row));
        };
        let settings =
            SessionSettings { conforming: Some(conforming == "on"), encoding: encoding.to_owned() };
        let filter = ScriptFilter::new(database, &settings);
        Ok(Some(if self.target.scratch { filter.keep_from_others() } else { filter }))
    }

    /// The program, connected to the database.
    fn connected(&self) -> Invocation {
        let RestoreTarget { connection, database, clients, .. } = &self.target;
        clients.client(&connection.with_database(database), &self.client.path)
    }

    fn restoring(&self, format: &str) -> Invocation {
        let target = &self.target;
        let program = match self.writes_script() {
            true => target.clients.program(&self.client.path).args(["--file", "-"]),
            false => self.connected(),
        };
        let options = [
            (target.no_owner, "--no-owner"),
            (target.no_privileges, "--no-privileges"),
            (target.no_tablespaces, "--no-tablespaces"),
            // It asks to be told twice that there are rows alone.
            (target.disable_triggers, "--data-only"),
            (target.disable_triggers, "--disable-triggers"),
        ];
        let wanted = options.into_iter().filter(|(wanted, _)| *wanted).map(|(_, option)| option);
        program.args(["--exit-on-error", format]).args(wanted)
    }

    /// The restore went well: the database stays, and gets what the dump says of it. Gives what of that could not be
    /// had, in words.
    ///
    /// # Errors
    /// When the server cannot be told: the database is whole, and still marked as one that was not finished.
    pub fn keep(mut self) -> Result<Vec<String>, PostgresError> {
        let plan = std::mem::take(&mut self.plan);
        let Some(made) = self.created.take() else { return Ok(Vec::new()) };
        self.target.slow_down(made.asked(), &plan);
        let lost = self.target.complete(made.asked(), plan);
        made.keep(&self.target)?;
        Ok(lost)
    }

    /// The restore failed: drops the database if, and only if, it was made for it. Works after a cancel, too.
    ///
    /// # Errors
    /// When the database is still there, or cannot be looked into.
    pub fn discard(mut self) -> Result<Discarded, PostgresError> {
        let done = self.drop_created()?;
        if done != Discarded::WasThereBefore {
            return Ok(done);
        }
        if !self.was_empty {
            return Ok(Discarded::RolledBack);
        }
        let looking = RestoreTarget { limits: Limits::new(Cancel::new()), ..self.target.clone() };
        let state = match looking.inspect() {
            Ok(state) => state,
            // An archive that was not committed is not there, whether the server can be asked or not.
            Err(_) if self.kind != DumpKind::Sql && !self.in_parts => return Ok(Discarded::RolledBack),
            Err(error) => return Err(error),
        };
        if state.is_empty() {
            return Ok(done);
        }
        Ok(Discarded::PartlyFilled { tables: state.tables, other_objects: state.other_objects })
    }

    fn drop_created(&mut self) -> Result<Discarded, PostgresError> {
        match self.created.take().map(|made| made.drop_database(&self.target)) {
            None => Ok(Discarded::WasThereBefore),
            Some(dropped) => Ok(if dropped? { Discarded::Dropped } else { Discarded::NotOursAnyMore }),
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Safe to ignore: who wants to know calls `discard`. What may stay is a database that the next restore finds
        // empty.
        let _ = self.drop_created();
    }
}
