//! Restoring a dump into one database: all of it or nothing.

pub(super) mod count;
pub(super) mod create;
mod haste;
pub(super) mod likeness;
mod locks;
pub(super) mod made;
pub(super) mod swap;
pub(super) mod triggers;

use super::client::{Clients, FoundClient, ServerInfo, TIMEOUT_SETTING, Version, columns, unclear};
use super::filter::{ScriptFilter, SessionSettings};
use super::older::{ForOlderServer, ScriptSink};
use super::sink::{ArchiveSink, Around, SqlSink};
use super::{ConnectProblem, Connection, PostgresError};
use crate::base::event::Cancel;
use crate::content::inspect::Kind;
use crate::source::command::ProcessDump;
use crate::source::process::{Invocation, Limits};
use crate::source::{Dump, Sink, SourceError};
use create::DatabasePlan;
use made::Made;
use std::fmt;
use std::io::Write;
use std::path::Path;

/// How many of a stream's first bytes [`kind_of_dump`] wants to see, where there are so many.
pub const KIND_BYTES_WANTED: usize = crate::content::inspect::FRONT_BYTES;

/// Counts what a user made: tables, then all else. Not the system's, not an extension's (dependency `e`), not what is
/// there for another object's sake alone, like the sequence of a serial column (`a`, `i`).
const COUNT_OBJECTS: &str = "
WITH own AS (
  SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), bound AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
  UNION SELECT classid, objid FROM pg_depend WHERE deptype IN ('a', 'i') AND refclassid IN ('pg_class'::regclass, 'pg_type'::regclass)
), free_class AS (
  SELECT relkind FROM pg_class WHERE relnamespace IN (SELECT oid FROM own)
  AND NOT EXISTS (SELECT FROM bound WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid)
), tables AS (
  SELECT FROM pg_class WHERE relnamespace IN (SELECT oid FROM own) AND relkind IN ('r', 'p', 'f', 'm')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
), others AS (
  SELECT FROM free_class WHERE relkind IN ('v', 'S')
  UNION ALL SELECT FROM pg_proc WHERE pronamespace IN (SELECT oid FROM own)
    AND NOT EXISTS (SELECT FROM bound WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid)
  UNION ALL SELECT FROM pg_type WHERE typnamespace IN (SELECT oid FROM own)
    AND (typtype IN ('e', 'd', 'r') OR EXISTS (SELECT FROM pg_class WHERE oid = typrelid AND relkind = 'c'))
    AND NOT EXISTS (SELECT FROM bound WHERE classid = 'pg_type'::regclass AND objid = pg_type.oid)
  UNION ALL SELECT FROM own WHERE nspname <> 'public'
    AND NOT EXISTS (SELECT FROM bound WHERE classid = 'pg_namespace'::regclass AND objid = own.oid)
  UNION ALL SELECT FROM pg_largeobject_metadata
)
SELECT (SELECT count(*) FROM tables), (SELECT count(*) FROM others)";

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

/// What a stream is, as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpKind {
    /// An archive of `pg_dump -Fc`.
    Archive {
        /// The version of the archive format.
        format: (u8, u8),
    },
    /// An archive of `pg_dump -Ft`.
    Tar,
    /// A plain SQL dump, or SQL statements.
    Sql,
    /// What no program of PostgreSQL's takes.
    Other(Kind),
}

impl fmt::Display for DumpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive { format: (major, minor) } => {
                write!(f, "a pg_dump archive of format {major}.{minor}")
            }
            Self::Tar => f.write_str("a pg_dump tar archive"),
            Self::Sql => f.write_str("SQL text"),
            Self::Other(kind) => kind.fmt(f),
        }
    }
}

/// Tells what a stream is from its first [`KIND_BYTES_WANTED`] bytes, or all of them if it has fewer.
pub fn kind_of_dump(first_bytes: &[u8]) -> DumpKind {
    match Kind::of(first_bytes) {
        Kind::PgCustom { format } => DumpKind::Archive { format },
        Kind::PgTar => DumpKind::Tar,
        Kind::PgScript { .. } | Kind::Sql => DumpKind::Sql,
        kind => DumpKind::Other(kind),
    }
}

/// The oldest `pg_restore` that reads the archive format.
fn reader_needed(kind: DumpKind) -> Version {
    match kind {
        DumpKind::Archive { format: (1, minor) } => match minor {
            0..=12 => Version::OLDEST,
            13 => Version::new(10),
            14 => Version::new(12),
            15 => Version::new(16),
            16 => Version::new(17),
            _ => Version::new(19),
        },
        DumpKind::Archive { format: (0, _) } => Version::OLDEST,
        DumpKind::Archive { .. } => Version::new(19),
        _ => Version::OLDEST,
    }
}

/// A database to restore into.
#[derive(Debug, Clone)]
pub struct RestoreTarget {
    /// The server and the role; its database, if any, is only used to ask the server.
    pub connection: Connection,
    /// The database's name.
    pub database: String,
    /// Make the database when it is not there.
    pub create: bool,
    /// Replace what the database holds and the archive holds too.
    pub clean: bool,
    /// Restore beside what the database holds; what both have is an error.
    pub add: bool,
    /// Leave everything to the role that restores, instead of its owners in the archive.
    pub no_owner: bool,
    /// Restore no grants.
    pub no_privileges: bool,
    /// Restore everything into the database's own tablespace.
    pub no_tablespaces: bool,
    /// The triggers of tables are off while their rows are loaded, those of foreign keys, too; only a superuser may do
    /// that.
    pub disable_triggers: bool,
    /// A copy that is only looked at: event triggers of a script do not fire in it.
    pub scratch: bool,
    /// A database that is made gets this one's owner and tablespace; encoding and locale, too, where nothing is known
    /// of the dump's.
    pub like: Option<String>,
    /// Connections of others to the database are ended before the restore.
    pub terminate: bool,
    /// Scripts may hold any commands of psql's: they run on this machine.
    pub psql_commands: bool,
    /// Where to look for client programs.
    pub clients: Clients,
    /// When and by whom a database that is made was made, in words. It bears them until it is kept, so that a later run
    /// can tell whether it was left behind.
    pub maker: Option<String>,
    /// How long the restore may take, and who may stop it.
    pub limits: Limits,
}

/// How a database stands before a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// The server.
    pub server: ServerInfo,
    /// Whether the database is there.
    pub exists: bool,
    /// Its tables, materialized views and foreign tables, partitions included; none of an extension's.
    pub tables: u64,
    /// Its views, free sequences, functions, types, schemas (but `public`) and large objects; none of an extension's.
    pub other_objects: u64,
}

impl TargetState {
    /// Whether it holds nothing that a user made.
    pub fn is_empty(&self) -> bool {
        self.tables == 0 && self.other_objects == 0
    }
}

impl RestoreTarget {
    /// The database `database` of the server that `connection` leads to; to be there and empty.
    pub fn new(connection: Connection, database: impl Into<String>, limits: Limits) -> Self {
        Self {
            connection,
            database: database.into(),
            create: false,
            clean: false,
            add: false,
            no_owner: false,
            no_privileges: false,
            no_tablespaces: false,
            disable_triggers: false,
            scratch: false,
            like: None,
            terminate: false,
            psql_commands: false,
            clients: Clients::installed(),
            maker: None,
            limits,
        }
    }

    /// Whether a database that is made is to be what the dump's was: not where a part is restored, nor where it is to
    /// be like another.
    pub fn is_for_all(&self) -> bool {
        !self.add && self.like.is_none()
    }

    /// Looks at the database. Changes nothing.
    ///
    /// # Errors
    /// When the server cannot be reached or asked.
    pub fn inspect(&self) -> Result<TargetState, PostgresError> {
        let what = format!("look into database `{}`", self.database);
        let target = self.connection.with_database(&self.database);
        let cancel = &self.limits.cancel;
        match self.clients.ask(&target, &what, COUNT_OBJECTS, cancel) {
            Ok(row) => {
                let mut counts = columns(&row).map(str::parse);
                let (Some(Ok(tables)), Some(Ok(other_objects))) = (counts.next(), counts.next()) else {
                    return Err(unclear(&what, &row));
                };
                let server = self.clients.server(&target, cancel)?;
                Ok(TargetState { server, exists: true, tables, other_objects })
            }
            Err(refused) if may_mean_missing(&refused) => {
                // Without a way to ask, the first answer is the one to tell.
                let Ok((asked, server)) = self.maintenance(cancel) else {
                    return Err(refused);
                };
                match self.oid(&asked, cancel)? {
                    Some(_) => Err(refused),
                    None => Ok(TargetState { server, exists: false, tables: 0, other_objects: 0 }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Checks everything that can be checked before the first byte: server, database, the kind of the dump, the client
    /// program. Then makes the database, where that is wanted and needed.
    ///
    /// # Errors
    /// When the restore must not or cannot begin; nothing was changed then.
    pub fn prepare(&self, kind: DumpKind) -> Result<Prepared, PostgresError> {
        self.prepare_as(kind, None)
    }

    /// The same; a database that is made is made as `plan` says.
    ///
    /// # Errors
    /// As [`RestoreTarget::prepare`].
    pub fn prepare_as(&self, kind: DumpKind, plan: Option<&DatabasePlan>) -> Result<Prepared, PostgresError> {
        let cancel = &self.limits.cancel;
        let state = self.inspect()?;
        let database = self.database.clone();
        if !state.exists && !self.create {
            return Err(PostgresError::NoDatabase { database, target: state.server.place() });
        }
        if !state.is_empty() && !self.clean && !self.add {
            let TargetState { tables, other_objects, .. } = state;
            return Err(PostgresError::NotEmpty { database, tables, other_objects });
        }
        let tool = match kind {
            DumpKind::Archive { .. } | DumpKind::Tar => "pg_restore",
            DumpKind::Sql if !state.is_empty() => {
                return Err(PostgresError::CleanNeedsArchive { database });
            }
            DumpKind::Sql => "psql",
            kind => return Err(PostgresError::NotADump { kind }),
        };
        let version = state.server.version;
        let client = match tool {
            "pg_restore" => self.clients.choose_restorer(version, reader_needed(kind), cancel)?,
            tool => self.clients.choose(tool, version, reader_needed(kind), cancel)?,
        };
        let mut prepared = Prepared {
            target: self.clone(),
            kind,
            client,
            was_empty: state.is_empty(),
            server: state.server,
            created: None,
            plan: DatabasePlan::default(),
            in_parts: false,
        };
        if !state.exists {
            let mut plan = plan.cloned().unwrap_or_default();
            let created = prepared.created.insert(self.create_database(&mut plan)?);
            self.begin(created.asked(), &mut plan);
            self.hasten(created.asked(), &plan);
            prepared.plan = plan;
        } else if self.terminate {
            self.terminate_others()?;
        }
        Ok(prepared)
    }

    /// A database of the same server that can be asked about the target, and what the server says of itself. Never the
    /// target, nor the one that it is to be like: neither can be renamed or dropped while somebody is in it.
    pub(super) fn maintenance(&self, cancel: &Cancel) -> Result<(Connection, ServerInfo), PostgresError> {
        self.maintenance_beside(&[], cancel)
    }

    /// The same, and none of `others` either.
    pub(super) fn maintenance_beside(
        &self,
        others: &[&str],
        cancel: &Cancel,
    ) -> Result<(Connection, ServerInfo), PostgresError> {
        let is_free = |name: &&str| {
            *name != self.database && self.like.as_deref() != Some(*name) && !others.contains(name)
        };
        let mut first_error = None;
        for database in
            self.connection.database().into_iter().chain(["postgres", "template1"]).filter(is_free)
        {
            let connection = self.connection.with_database(database);
            match self.clients.server(&connection, cancel) {
                Ok(server) => return Ok((connection, server)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(PostgresError::NoClientAtAll { tool: "psql" }))
    }

    /// The database's object id: another one of the same name has another.
    pub(super) fn oid(&self, asked: &Connection, cancel: &Cancel) -> Result<Option<String>, PostgresError> {
        let what = format!("look for database `{}`", self.database);
        Ok(Some(self.clients.ask(asked, &what, &self.oid_query(), cancel)?).filter(|oid| !oid.is_empty()))
    }

    fn oid_query(&self) -> String {
        format!("SELECT oid FROM pg_database WHERE datname = {}", quoted_text(&self.database))
    }

    fn create_database(&self, plan: &mut DatabasePlan) -> Result<Made, PostgresError> {
        // Not stoppable from here on: what was made must be known, so that it can be dropped.
        let cancel = Cancel::new();
        let (asked, server) = self.maintenance(&cancel)?;
        let what = format!("create database `{}`", self.database);
        // `template0` holds nothing of the site's own, which the dump may hold, too.
        let properties = self.clauses(&asked, server.version, plan)?;
        let create =
            format!("CREATE DATABASE {} TEMPLATE template0{properties}", quoted_name(&self.database));
        let oid = self.clients.ask_after(&asked, &what, &create, &self.oid_query(), &cancel)?;
        if oid.is_empty() {
            return Err(unclear(&what, &oid));
        }
        Ok(Made::new(self, asked, oid))
    }
}

/// `Other`, too: a server that speaks another language says it in words that are not known here.
fn may_mean_missing(error: &PostgresError) -> bool {
    matches!(
        error,
        PostgresError::Connect { problem: ConnectProblem::NoDatabase | ConnectProblem::Other, .. }
    )
}

/// A database that is ready to be restored into.
///
/// After the restore, say how it went: [`Prepared::keep`] or [`Prepared::discard`]. Dropping it is discarding it in
/// silence. End the [`Sink`] before.
#[derive(Debug)]
pub struct Prepared {
    target: RestoreTarget,
    kind: DumpKind,
    client: FoundClient,
    server: ServerInfo,
    created: Option<Made>,
    /// What the database is to get when it is whole.
    plan: DatabasePlan,
    was_empty: bool,
    in_parts: bool,
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
        /// As in [`TargetState`].
        tables: u64,
        /// As in [`TargetState`].
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

/// An identifier, quoted for SQL.
pub(super) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted for SQL; means the same whatever `standard_conforming_strings` is.
pub(super) fn quoted_text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_a_stream_is() {
        for (bytes, kind) in [
            (&b"PGDMP\x01\x0e\x00\x04\x08\x01"[..], DumpKind::Archive { format: (1, 14) }),
            (b"--\n-- PostgreSQL database dump\n--\n", DumpKind::Sql),
            (b"SELECT 1;", DumpKind::Sql),
            (b"PGDMP", DumpKind::Archive { format: (0, 0) }),
            (b"\x1f\x8b\x08", DumpKind::Other(Kind::Gzip)),
            (b"toc.dat\0\0", DumpKind::Tar),
            (b"REDIS0011\xfa\x00", DumpKind::Other(Kind::RedisRdb)),
            (b"", DumpKind::Other(Kind::Empty)),
            (b"{\"a\": 1}", DumpKind::Other(Kind::Unknown)),
        ] {
            assert_eq!(kind_of_dump(bytes), kind, "{bytes:?}");
        }
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted_name(r#"a"b; --"#), r#""a""b; --""#);
        assert_eq!(quoted_text(r"it's \x"), r"E'it''s \\x'");
    }
}
