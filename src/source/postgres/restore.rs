//! Restoring a dump into one database: all of it or nothing.

pub(super) mod count;
pub(super) mod create;
mod haste;
pub(super) mod likeness;
mod locks;
pub(super) mod made;
mod prepared;
pub(super) mod swap;
pub(super) mod triggers;

use super::client::{Clients, ServerInfo, Version, columns, unclear};
use super::{ConnectProblem, Connection, PostgresError};
use crate::base::event::Cancel;
use crate::content::inspect::Kind;
use crate::source::process::Limits;
use create::DatabasePlan;
use made::Made;
pub use prepared::{Discarded, Prepared};
use std::fmt;

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
