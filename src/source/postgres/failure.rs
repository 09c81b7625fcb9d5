//! Why a client program failed at its work, told from what it said.

use std::fmt;

/// The kind of failure: what a person can act on. [`super::ConnectProblem`] is the same for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Somebody holds a lock for longer than was to be waited.
    Locked,
    /// A statement ran into a time limit of the server's.
    StatementTimeout,
    /// The role lacks a right.
    PermissionDenied,
    /// Row-level security would hide rows.
    RowSecurity,
    /// Something belongs to a role that is not there.
    RoleMissing,
    /// The database is not there any more.
    DatabaseGone,
    /// The server went away.
    ServerGone,
    /// The server's disk is full.
    DiskFull,
    /// The server ran out of memory or of another limit.
    OutOfResources,
    /// More objects were to be locked at once than the server has room for.
    OutOfLocks,
    /// The server does not have an extension.
    ExtensionMissing,
    /// An extension refuses to be made: some are for a database of one name only.
    ExtensionRefused,
    /// The server does not have a tablespace.
    TablespaceMissing,
    /// The server does not know an encoding or locale.
    LocaleMissing,
    /// Something of that name is there already.
    AlreadyThere,
    /// A table or schema that was asked for is not there.
    NothingMatches,
    /// Something that is needed is not there.
    DependencyMissing,
    /// Rows contradict a unique key.
    Duplicate,
    /// Rows contradict a foreign key.
    ForeignKey,
    /// The client program is older than the server.
    ClientTooOld,
    /// The archive was written by a newer `pg_dump` than the `pg_restore` that reads it.
    ArchiveTooNew,
    /// The server does not know a setting or a command: it is older than the one that was dumped.
    ServerTooOld,
}

use Failure as F;

/// Words that have to be met, all of them; in this order: the more telling first.
const SIGNS: [(&[&str], Failure); 34] = [
    (&["No space left on device"], F::DiskFull),
    (&["could not extend file"], F::DiskFull),
    (&["invalid locale name"], F::LocaleMissing),
    (&["is not a valid encoding"], F::LocaleMissing),
    (&["aborting because of server version mismatch"], F::ClientTooOld),
    (&["unsupported version ("], F::ArchiveTooNew),
    (&["LOCK TABLE", "due to statement timeout"], F::Locked),
    (&["due to lock timeout"], F::Locked),
    (&["due to statement timeout"], F::StatementTimeout),
    (&["query would be affected by row-level security"], F::RowSecurity),
    (&["permission denied"], F::PermissionDenied),
    (&["must be owner of"], F::PermissionDenied),
    (&["must be superuser"], F::PermissionDenied),
    (&["must be able to SET ROLE"], F::PermissionDenied),
    (&["role \"", "does not exist"], F::RoleMissing),
    (&["tablespace \"", "does not exist"], F::TablespaceMissing),
    // A setting of that name, of which the reason stands in another line.
    (&["invalid value for parameter \"default_tablespace\""], F::TablespaceMissing),
    (&["extension", "is not available"], F::ExtensionMissing),
    (&["could not open extension control file"], F::ExtensionMissing),
    (&["can only create extension in database"], F::ExtensionRefused),
    (&["Command was: CREATE EXTENSION"], F::ExtensionRefused),
    (&["no matching"], F::NothingMatches),
    (&["database \"", "does not exist"], F::DatabaseGone),
    (&["out of memory"], F::OutOfResources),
    (&["out of shared memory"], F::OutOfLocks),
    (&["duplicate key value"], F::Duplicate),
    (&["could not create unique index"], F::Duplicate),
    (&["violates foreign key constraint"], F::ForeignKey),
    (&["already exists"], F::AlreadyThere),
    (&["unrecognized configuration parameter"], F::ServerTooOld),
    (&["does not exist"], F::DependencyMissing),
    (&["server closed the connection"], F::ServerGone),
    (&["terminating connection"], F::ServerGone),
    (&["connection to server was lost"], F::ServerGone),
];

impl Failure {
    /// Tells the kind from a client program's English words.
    pub fn of(text: &str) -> Option<Self> {
        let fits = |(words, _): &&(&[&str], Self)| words.iter().all(|word| text.contains(word));
        SIGNS.iter().find(fits).map(|(_, kind)| *kind)
    }

    /// Whether the server or the role is to blame and not what was dumped: elsewhere, or later, the same would go well.
    pub fn is_of_the_server(self) -> bool {
        match self {
            Self::Locked
            | Self::StatementTimeout
            | Self::PermissionDenied
            | Self::RowSecurity
            | Self::RoleMissing
            | Self::DatabaseGone
            | Self::ServerGone
            | Self::DiskFull
            | Self::OutOfResources
            | Self::OutOfLocks
            | Self::ExtensionMissing
            | Self::ExtensionRefused
            | Self::TablespaceMissing
            | Self::LocaleMissing
            | Self::ClientTooOld
            | Self::ArchiveTooNew
            | Self::ServerTooOld => true,
            Self::AlreadyThere
            | Self::NothingMatches
            | Self::DependencyMissing
            | Self::Duplicate
            | Self::ForeignKey => false,
        }
    }

    /// The extension that a client program could not make, where it says so.
    pub fn extension_refused(text: &str) -> Option<String> {
        let (_, command) = text.split_once("Command was: CREATE EXTENSION IF NOT EXISTS ")?;
        let name = match command.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?,
            None => command.split([' ', ';', '\n']).next()?,
        };
        (Self::of(text) == Some(Self::ExtensionRefused)).then(|| name.to_owned())
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Locked => {
                "somebody holds a lock on the table (`SELECT * FROM pg_locks WHERE NOT granted`): try again later, or wait longer with --lock-wait-timeout"
            }
            Self::StatementTimeout => {
                "raise `statement_timeout` for this role: `ALTER ROLE … SET statement_timeout = 0`"
            }
            Self::PermissionDenied => {
                "to dump, grant the role `pg_read_all_data` (PostgreSQL 14 on); to restore, use the owner of the objects or a superuser, or --no-owner --no-privileges"
            }
            Self::RowSecurity => {
                "the role has to pass row-level security: `ALTER ROLE … BYPASSRLS`, or dump as the tables' owner"
            }
            Self::RoleMissing => {
                "create the role on this server first (roles are in a backup with --globals), or restore with --no-owner --no-privileges"
            }
            Self::DatabaseGone => {
                "somebody dropped or renamed the database meanwhile; `psql -l` lists what is there"
            }
            Self::ServerGone => "the server stopped, or cut the connection: see its log, then try again",
            Self::DiskFull => "make room on the server's disk, then try again",
            Self::OutOfResources => "see the server's log",
            Self::OutOfLocks => {
                "raise `max_locks_per_transaction` on the server; a restore with --create or --swap does not need a lock for every object at once"
            }
            Self::ExtensionMissing => {
                "install the extension's package on this server (postgresql-contrib, postgis, …)"
            }
            Self::ExtensionRefused => {
                "restore into a database of the name that the extension wants, or leave it out (--exclude-extension)"
            }
            Self::TablespaceMissing => {
                "create the tablespace on this server first, or restore with --no-tablespaces"
            }
            Self::LocaleMissing => {
                "create the database with an encoding and locale that this server has, then restore into it"
            }
            Self::AlreadyThere => {
                "restore into a new database (--create), or replace what is there (--clean)"
            }
            Self::NothingMatches => {
                "check the names: they are patterns of pg_dump, and case matters only within double quotes"
            }
            Self::DependencyMissing => {
                "something that the part needs is not in the database: restore it, too, or leave out --bare"
            }
            Self::Duplicate => {
                "the rows are there already: restore into a new database (--create), or empty the table first"
            }
            Self::ForeignKey => "restore the tables that the rows point to, too",
            Self::ClientTooOld => "install the client programs of the server's version",
            Self::ArchiveTooNew => {
                "install a `pg_restore` at least as new as the `pg_dump` that made the archive"
            }
            Self::ServerTooOld => {
                "the server does not know a setting that the dump makes: it is older than the server or the `pg_dump` of the dump"
            }
        }
    }
}

impl fmt::Display for Failure {
    /// One word, stable: for programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locked => "locked",
            Self::StatementTimeout => "statement-timeout",
            Self::PermissionDenied => "permission-denied",
            Self::RowSecurity => "row-security",
            Self::RoleMissing => "role-missing",
            Self::DatabaseGone => "database-gone",
            Self::ServerGone => "server-gone",
            Self::DiskFull => "disk-full",
            Self::OutOfResources => "out-of-resources",
            Self::OutOfLocks => "out-of-locks",
            Self::ExtensionMissing => "extension-missing",
            Self::ExtensionRefused => "extension-refused",
            Self::TablespaceMissing => "tablespace-missing",
            Self::LocaleMissing => "locale-missing",
            Self::AlreadyThere => "already-there",
            Self::NothingMatches => "nothing-matches",
            Self::DependencyMissing => "dependency-missing",
            Self::Duplicate => "duplicate",
            Self::ForeignKey => "foreign-key",
            Self::ClientTooOld => "client-too-old",
            Self::ArchiveTooNew => "archive-too-new",
            Self::ServerTooOld => "server-too-old",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_words_become_a_kind() {
        for (text, kind) in [
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\npg_dump: detail: Query was: LOCK TABLE public.orders IN ACCESS SHARE MODE",
                Some(F::Locked),
            ),
            ("ERROR:  canceling statement due to statement timeout", Some(F::StatementTimeout)),
            (
                "pg_dump: error: query failed: ERROR:  permission denied for table x",
                Some(F::PermissionDenied),
            ),
            ("ERROR:  role \"boss\" does not exist", Some(F::RoleMissing)),
            ("ERROR:  relation \"orders\" already exists", Some(F::AlreadyThere)),
            ("ERROR:  type \"mood\" does not exist", Some(F::DependencyMissing)),
            ("pg_dump: error: no matching tables were found for pattern \"x\"", Some(F::NothingMatches)),
            ("ERROR:  could not extend file \"base/1/2\": No space left on device", Some(F::DiskFull)),
            ("FATAL:  terminating connection due to administrator command", Some(F::ServerGone)),
            ("pg_restore: error: unsupported version (1.16) in file header", Some(F::ArchiveTooNew)),
            (
                "ERROR:  insert or update on table \"a\" violates foreign key constraint \"b\"",
                Some(F::ForeignKey),
            ),
            ("ERROR:  unrecognized configuration parameter \"transaction_timeout\"", Some(F::ServerTooOld)),
            (
                "ERROR:  can only create extension in database postgres\nCommand was: CREATE EXTENSION IF NOT EXISTS pg_cron;",
                Some(F::ExtensionRefused),
            ),
            ("FEHLER:  keine Berechtigung", None),
        ] {
            assert_eq!(Failure::of(text), kind, "{text}");
        }
    }
}
