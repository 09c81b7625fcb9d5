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
    /// Sessions waited for each other's locks, and the server ended this one's statement.
    Deadlock,
    /// The server does not have an extension.
    ExtensionMissing,
    /// An extension refuses to be made: some are for a database of one name only.
    ExtensionRefused,
    /// The same in a script, of which nothing can be left out.
    ExtensionOfScript,
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
const SIGNS: [(&[&str], Failure); 37] = [
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
    (&["must be member of role"], F::PermissionDenied),
    (&["role \"", "does not exist"], F::RoleMissing),
    (&["tablespace \"", "does not exist"], F::TablespaceMissing),
    // A setting of that name, of which the reason stands in another line.
    (&["invalid value for parameter \"default_tablespace\""], F::TablespaceMissing),
    (&["extension", "is not available"], F::ExtensionMissing),
    (&["could not open extension control file"], F::ExtensionMissing),
    (&["psql:", "can only create extension in database"], F::ExtensionOfScript),
    (&["can only create extension in database"], F::ExtensionRefused),
    (&["Command was: CREATE EXTENSION"], F::ExtensionRefused),
    (&["no matching"], F::NothingMatches),
    (&["database \"", "does not exist"], F::DatabaseGone),
    (&["out of memory"], F::OutOfResources),
    (&["out of shared memory"], F::OutOfLocks),
    (&["deadlock detected"], F::Deadlock),
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
            | Self::Deadlock
            | Self::ExtensionMissing
            | Self::ExtensionRefused
            | Self::ExtensionOfScript
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

    /// What to do about it. Names no option that does not apply, and none that was given already.
    pub fn hint(self, doing: Doing) -> Option<&'static str> {
        Some(match self {
            Self::Locked => match doing {
                Doing::Dump => {
                    "another session holds a table lock; find it with `SELECT * FROM pg_locks WHERE NOT granted`, or raise --lock-wait-timeout"
                }
                _ => {
                    "another session holds a table lock; find it with `SELECT * FROM pg_locks WHERE NOT granted`"
                }
            },
            Self::StatementTimeout => {
                "raise `statement_timeout` for this role: `ALTER ROLE … SET statement_timeout = 0`"
            }
            Self::PermissionDenied => permission_denied(doing),
            Self::RowSecurity => "use a role with BYPASSRLS, or the owner of the tables",
            Self::RoleMissing => match doing {
                Doing::Restore(given) if !given.no_owner || !given.no_privileges => {
                    "create the role on this server first (`backup --pg-globals` stores roles), or use --no-owner --no-privileges"
                }
                _ => "create the role on this server first (`backup --pg-globals` stores roles)",
            },
            Self::DatabaseGone => {
                "the database was dropped or renamed meanwhile; `psql -l` lists what is there"
            }
            Self::ServerGone => "the server stopped, or cut the connection: see its log, then try again",
            Self::DiskFull => "make room on the server's disk, then try again",
            Self::OutOfResources => "see the server's log",
            Self::OutOfLocks => match doing {
                Doing::Restore(given) if !given.is_new() => {
                    "raise `max_locks_per_transaction` on the server; a restore with --create or --swap does not need a lock for every object at once"
                }
                _ => "raise `max_locks_per_transaction` on the server",
            },
            Self::Deadlock => "see the server's log for the other session, then try again",
            Self::ExtensionMissing => {
                "install the extension's package on this server (postgresql-contrib, postgis, …)"
            }
            Self::ExtensionRefused => match doing {
                Doing::Restore(_) => {
                    "restore into a database of the name that the extension wants, or leave it out (--exclude-extension)"
                }
                _ => "the extension may want a database of another name, or a setting of the server",
            },
            Self::ExtensionOfScript => match doing {
                Doing::Verify => {
                    "back up with `pg_dump -Fc`: such an archive is verified without the extension"
                }
                _ => {
                    "restore into a database of the name that the extension wants; of an archive (`pg_dump -Fc`) the extension can be left out"
                }
            },
            Self::TablespaceMissing => match doing {
                Doing::Restore(given) if !given.no_tablespaces => {
                    "create the tablespace on this server first, or use --no-tablespaces"
                }
                _ => "create the tablespace on this server first",
            },
            Self::LocaleMissing => {
                "create the database with an encoding and locale that this server has, then restore into it"
            }
            Self::AlreadyThere => return already_there(doing),
            Self::NothingMatches => {
                "check the names: they are patterns of pg_dump, and case matters only within double quotes"
            }
            Self::DependencyMissing => return dependency_missing(doing),
            Self::Duplicate => match doing {
                Doing::Restore(given) if !given.is_new() => {
                    "the rows are there already: use a new database (--create), or empty the table first"
                }
                _ => {
                    "the dump itself has rows that contradict a unique key: check the index of the original with `REINDEX`"
                }
            },
            Self::ForeignKey => match doing {
                Doing::Restore(given) if given.selection => "also restore the referenced tables",
                _ => "the dump itself has rows without the rows that they reference: check the original",
            },
            Self::ClientTooOld => "install the client programs of the server's version",
            Self::ArchiveTooNew => {
                "install a `pg_restore` at least as new as the `pg_dump` that made the archive"
            }
            Self::ServerTooOld => {
                "the server does not know a setting that the dump makes: restore into the same or a newer PostgreSQL version"
            }
        })
    }
}

/// What a client program was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Dumping.
    Dump,
    /// Restoring, with these options.
    Restore(Given),
    /// Restoring into a scratch database, without owners and grants.
    Verify,
}

/// Options of a restore that were given, as far as a hint depends on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// The database was made for the restore: --create.
    pub create: bool,
    /// The same, to take the place of another: --swap.
    pub swap: bool,
    /// --clean.
    pub clean: bool,
    /// Only a part of the dump: --table, --schema and the like.
    pub selection: bool,
    /// --bare.
    pub bare: bool,
    /// --no-owner.
    pub no_owner: bool,
    /// --no-privileges.
    pub no_privileges: bool,
    /// --no-tablespaces.
    pub no_tablespaces: bool,
}

impl Given {
    fn is_new(self) -> bool {
        self.create || self.swap
    }
}

fn permission_denied(doing: Doing) -> &'static str {
    match doing {
        Doing::Dump => {
            "grant the role `pg_read_all_data` (PostgreSQL 14 or newer), or dump as the owner of the tables"
        }
        Doing::Restore(given) if !given.no_owner || !given.no_privileges => {
            "restore as the owner of the objects or as a superuser, or use --no-owner --no-privileges"
        }
        Doing::Restore(_) => "restore as the owner of the objects or as a superuser",
        Doing::Verify => "verify as a superuser, or on a server where the role is one",
    }
}

fn already_there(doing: Doing) -> Option<&'static str> {
    match doing {
        // Into a fresh database nothing can be there that the dump did not bring itself.
        Doing::Verify | Doing::Dump => None,
        Doing::Restore(given) if given.is_new() => {
            Some("the dump makes it twice, or the server's template database holds it")
        }
        // What several parts need, a type say, is there after the first.
        Doing::Restore(Given { selection: true, bare: false, clean: false, .. }) => Some(
            "restore into a new database (--create), replace what is there (--clean), or restore only the tables and their rows (--bare)",
        ),
        Doing::Restore(Given { selection: true, bare: false, .. }) => {
            Some("restore into a new database (--create), or only the tables and their rows (--bare)")
        }
        Doing::Restore(Given { clean: false, .. }) => {
            Some("restore into a new database (--create), or replace what is there (--clean)")
        }
        Doing::Restore(_) => Some("restore into a new database (--create)"),
    }
}

fn dependency_missing(doing: Doing) -> Option<&'static str> {
    match doing {
        Doing::Restore(Given { bare: true, .. }) => Some(
            "the selection depends on an object that the database lacks; restore it as well, or omit --bare",
        ),
        Doing::Restore(Given { selection: true, .. }) => {
            Some("the selection depends on an object that the database lacks; restore it as well")
        }
        Doing::Dump => None,
        // The usual reason with a whole dump: restores run with an empty `search_path`.
        Doing::Restore(_) | Doing::Verify => Some(
            "if the object is in the dump, a function finds it by `search_path` only: name its schema there (`public.f`), or set it with `ALTER FUNCTION … SET search_path`",
        ),
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
            Self::Deadlock => "deadlock",
            Self::ExtensionMissing => "extension-missing",
            Self::ExtensionRefused | Self::ExtensionOfScript => "extension-refused",
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
    fn hints_name_no_option_that_was_given_or_does_not_apply() {
        let all = SIGNS.map(|(_, failure)| failure);
        let given = Given {
            create: true,
            swap: true,
            clean: true,
            selection: true,
            bare: true,
            no_owner: true,
            no_privileges: true,
            no_tablespaces: true,
        };
        let none = Given::default();
        for failure in all {
            let hint = |doing| failure.hint(doing).unwrap_or_default();
            for option in
                ["--create", "--clean", "--swap", "--no-owner", "--no-privileges", "--no-tablespaces"]
            {
                assert!(!hint(Doing::Restore(given)).contains(option), "{failure} {option}");
                assert!(!hint(Doing::Verify).contains(option), "{failure} {option}");
                assert!(!hint(Doing::Dump).contains(option), "{failure} {option}");
            }
            assert!(!hint(Doing::Restore(none)).contains("--bare"), "{failure}");
            assert!(!hint(Doing::Restore(none)).contains("--lock-wait-timeout"), "{failure}");
        }
        assert!(F::DependencyMissing.hint(Doing::Restore(none)).unwrap().contains("search_path"));
        let bare = Given { selection: true, bare: true, ..none };
        assert!(F::DependencyMissing.hint(Doing::Restore(bare)).unwrap().contains("omit --bare"));
        let part = Given { selection: true, ..none };
        assert!(F::AlreadyThere.hint(Doing::Restore(part)).unwrap().contains("--bare"));
    }

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
            (
                "pg_restore: error: COPY failed for table \"t\": ERROR:  out of shared memory",
                Some(F::OutOfLocks),
            ),
            ("pg_restore: error: COPY failed for table \"t\": ERROR:  deadlock detected", Some(F::Deadlock)),
            ("FEHLER:  keine Berechtigung", None),
        ] {
            assert_eq!(Failure::of(text), kind, "{text}");
        }
    }
}
