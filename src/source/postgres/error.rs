//! What goes wrong with a PostgreSQL server and its client programs, and what to do about it.

use super::client::{FoundClient, Version};
use super::failure::Failure;
use super::restore::DumpKind;
use super::restore::swap::InTheWay;
use crate::base::words::count;
use crate::source::{LastWords, SourceError};

/// Something about PostgreSQL failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// A connection URI that cannot be taken. Never quotes it: it may hold a password.
    #[error("invalid PostgreSQL URI: {reason}")]
    BadUri {
        /// What is wrong with it.
        reason: String,
    },
    /// A secret stands where it would be shown to everybody on the machine.
    #[error("`{parameter}` in the URI would be visible to other users")]
    SecretInUri {
        /// The parameter's name.
        parameter: String,
    },
    /// The server did not let us in, or is not there.
    #[error("cannot connect to {target}: {problem}{client_text}")]
    Connect {
        /// Where to; without a password.
        target: String,
        /// What kind of problem it is.
        problem: ConnectProblem,
        /// What the client program said.
        client_text: LastWords,
    },
    /// A client program of a fitting version is not installed.
    #[error("`{tool}` {needed} or newer not found (found: {})", list(found))]
    NoClient {
        /// The program.
        tool: &'static str,
        /// The oldest version that would do.
        needed: Version,
        /// What is there instead.
        found: Vec<FoundClient>,
    },
    /// No client program at all.
    #[error("`{tool}` not found")]
    NoClientAtAll {
        /// The program.
        tool: &'static str,
    },
    /// A client program failed at a step.
    #[error("cannot {what}: {source}")]
    Step {
        /// The step: "ask the server for its version".
        what: String,
        /// How the program failed.
        #[source]
        source: Box<SourceError>,
    },
    /// A client program answered something that makes no sense.
    #[error("cannot {what}: the answer `{answer}` is not understood")]
    Answer {
        /// The step.
        what: String,
        /// The answer's beginning.
        answer: String,
    },
    /// No database fits what was asked for.
    #[error("no database matches `{pattern}` (found: {})", there.join(", "))]
    NoneFits {
        /// What was asked for.
        pattern: String,
        /// What there is.
        there: Vec<String>,
    },
    /// The database to restore into is not there, and making it was not asked for.
    #[error("database `{database}` does not exist on {target}")]
    NoDatabase {
        /// Its name.
        database: String,
        /// The server.
        target: String,
    },
    /// The database to restore into holds something, and replacing it was not asked for.
    #[error("database `{database}` is not empty ({}, {})", count(*tables, "table"), count(*other_objects, "other object"))]
    NotEmpty {
        /// Its name.
        database: String,
        /// Its tables, materialized views and foreign tables, partitions included.
        tables: u64,
        /// Its views, sequences, functions, types, schemas and large objects.
        other_objects: u64,
    },
    /// A restore by several workers cannot be undone, and so wants an empty database.
    #[error(
        "database `{database}` is not empty ({}), and --jobs cannot roll back", count(*tables, "table")
    )]
    PartsNeedEmpty {
        /// The database's name.
        database: String,
        /// Its tables.
        tables: u64,
    },
    /// Others are connected to a database that was to be renamed.
    #[error("database `{database}` is in use: {by}")]
    InUse {
        /// Its name.
        database: String,
        /// By whom.
        by: InTheWay,
    },
    /// A database cannot be renamed, however long it is waited.
    #[error("database `{database}` cannot be renamed: {reason}")]
    CannotSwap {
        /// Its name.
        database: String,
        /// Why not.
        reason: String,
    },
    /// A plain SQL dump holds no list of what to drop.
    #[error("--clean needs a custom-format dump; this one is plain SQL")]
    CleanNeedsArchive {
        /// The database's name.
        database: String,
    },
    /// The stream is nothing that PostgreSQL's programs can read.
    #[error("not a PostgreSQL dump ({kind})")]
    NotADump {
        /// What it looks like.
        kind: DumpKind,
    },
    /// A script holds what is not fed to `psql`.
    #[error(transparent)]
    Script(#[from] super::ScriptRefused),
    /// A script holds the databases of a whole server.
    #[error(
        "refused: the script of pg_dumpall restores a whole server, and cannot go into database `{database}`"
    )]
    ClusterScript {
        /// The database's name.
        database: String,
    },
    /// A script goes by itself into another database than the one it was to be restored into.
    #[error("refused: the script connects to database `{named}` by itself, and cannot go into `{database}`")]
    ConnectsElsewhere {
        /// The database that it names.
        named: String,
        /// The database to restore into.
        database: String,
    },
    /// The restore failed, and the script holds text that is not of the dump.
    #[error("{source}{}line {line} of the script stands behind the end of the dump", after(source))]
    TextBehindDump {
        /// The first such line.
        line: u64,
        /// How the program failed.
        #[source]
        source: Box<SourceError>,
    },
    /// `psql` read everything and ended well, but never came to the commit at the end.
    #[error("restore rolled back: the script ends inside a COPY block, comment or conditional{last_words}")]
    NotCommitted {
        /// The end of what `psql` said.
        last_words: LastWords,
    },
}

impl PostgresError {
    /// What went wrong in the server, where its words are known.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Step { source, .. } => match source.as_ref() {
                SourceError::Exited { last_words, .. } => Failure::of(last_words.as_str()),
                _ => None,
            },
            _ => None,
        }
    }

    /// What to do about it, where that can be known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadUri { .. } => "use postgresql://USER@HOST:PORT/DATABASE".to_owned(),
            Self::SecretInUri { .. } => {
                "use a service file, `.pgpass`, or postgresql://USER:PASSWORD@HOST/DATABASE".to_owned()
            }
            Self::Connect { problem, .. } => return problem.hint().map(str::to_owned),
            Self::NoClient { needed, .. } => {
                format!("`apt install postgresql-client-{needed}`")
            }
            Self::NoClientAtAll { .. } => "`apt install postgresql-client`, or set `pg_bin_dirs`".to_owned(),
            // As shells, `env`, `docker exec` and `ssh` tell that they found no program of that name.
            Self::Step { source, .. }
                if matches!(**source, SourceError::Exited { status: 126 | 127, .. }) =>
            {
                "install PostgreSQL's client programs where --pg-exec runs them, and have them in the PATH there"
                    .to_owned()
            }
            Self::Step { source, .. } => return source.hint(),
            Self::NoDatabase { .. } => "use --create, or check the name".to_owned(),
            Self::NotEmpty { .. } => {
                "use a new name with --create, or --clean, or --swap".to_owned()
            }
            Self::PartsNeedEmpty { .. } => {
                "use --create, or omit --jobs".to_owned()
            }
            Self::InUse { by, .. } if by.prepared > 0 => {
                "commit or roll back what is prepared: `SELECT gid FROM pg_prepared_xacts`".to_owned()
            }
            Self::InUse { .. } => {
                "stop what uses it, or use --terminate-connections, or --swap-timeout to wait for it"
                    .to_owned()
            }
            Self::CannotSwap { .. } => {
                "restore as its owner with CREATEDB, or as a superuser (--pg-user)".to_owned()
            }
            Self::CleanNeedsArchive { .. } => "restore into a new database (--create)".to_owned(),
            Self::NotADump { .. } => {
                "use --output FILE or --command".to_owned()
            }
            Self::NoneFits { .. } => {
                "`*` stands for any characters, `?` for one; databases that take no connections do not count"
                    .to_owned()
            }
            Self::Script(refused) => return refused.hint(),
            Self::ClusterScript { .. } | Self::ConnectsElsewhere { .. } => {
                "run it as a whole: `dumpvault cat SNAPSHOT | psql -X -d postgres`".to_owned()
            }
            Self::TextBehindDump { .. } => {
                "a wrapper may have written to the same output: make it write to standard error, or cut the text off and feed `psql` yourself"
                    .to_owned()
            }
            Self::Answer { .. } | Self::NotCommitted { .. } => return None,
        })
    }
}

/// What stands between a failure and more about it: the last words of a program have lines of their own.
fn after(source: &SourceError) -> &'static str {
    if source.to_string().contains('\n') { "\n  " } else { "; " }
}

fn list(found: &[FoundClient]) -> String {
    if found.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<String> =
        found.iter().map(|client| format!("{} at `{}`", client.version, client.path.display())).collect();
    each.join(", ")
}

/// Why a connection failed: what a person can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectProblem {
    /// Nobody listens there.
    NotRunning,
    /// The host's name means nothing, or no way leads there.
    HostUnreachable,
    /// No answer in time.
    NoAnswer,
    /// The server starts, stops or recovers.
    NotReady,
    /// All its connections are in use.
    TooManyConnections,
    /// It wants a password, and none was found.
    PasswordMissing,
    /// It does not take the password or the identity.
    AuthenticationFailed,
    /// Its host-based rules have no entry for us.
    NotAllowed,
    /// There is no such role.
    NoRole,
    /// There is no such database.
    NoDatabase,
    /// The role may not connect to that database.
    NoPermission,
    /// Encryption could not be agreed on, or a certificate is not trusted.
    Encryption,
    /// The service file does not know the service.
    NoService,
    /// Something else; the client's text tells.
    Other,
}

impl ConnectProblem {
    /// Tells the kind from a client program's English words; [`ConnectProblem::Other`] for a server that speaks another
    /// language.
    pub(super) fn from_text(text: &str) -> Self {
        // In this order: "no pg_hba.conf entry … no encryption" is about rules, and a host list may fail in several
        // ways, of which the one that got furthest tells most.
        let signs: [(&[&str], Self); 13] = [
            (&["no password supplied"], Self::PasswordMissing),
            (&["no pg_hba.conf entry"], Self::NotAllowed),
            (&["authentication failed", "pg_hba.conf rejects"], Self::AuthenticationFailed),
            (&["permission denied for database", "not permitted to log in"], Self::NoPermission),
            (&["starting up", "shutting down", "in recovery mode", "not yet accepting"], Self::NotReady),
            (&["too many clients", "too many connections", "connection slots"], Self::TooManyConnections),
            (&["definition of service", "service file"], Self::NoService),
            (&["role \""], Self::NoRole),
            (&["database \""], Self::NoDatabase),
            (&["SSL", "certificate", "GSSAPI"], Self::Encryption),
            (&["timeout expired", "timed out"], Self::NoAnswer),
            (&["could not translate host name", "No route to host", "unreachable"], Self::HostUnreachable),
            (&["Connection refused", "No such file or directory"], Self::NotRunning),
        ];
        let fits = |words: &str| {
            text.contains(words)
                // Both names are quoted in other messages, too.
                && (!words.ends_with('"') || text.contains("does not exist"))
        };
        signs
            .iter()
            .find(|(words, _)| words.iter().any(|word| fits(word)))
            .map_or(Self::Other, |(_, kind)| *kind)
    }

    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::NotRunning => "start the server, or check host and port (PGHOST, PGPORT)",
            Self::HostUnreachable => "check the host's name and the network",
            Self::NoAnswer => "check host, port and firewall",
            Self::NotReady => "try again when the server is up",
            Self::TooManyConnections => "try again later, or raise `max_connections`",
            Self::PasswordMissing => "add it to `.pgpass` (mode 0600) or the URI",
            Self::AuthenticationFailed => {
                "check user and password (`.pgpass`, PGPASSWORD), or the server's `pg_hba.conf`"
            }
            Self::NotAllowed => {
                "add an entry for this user, database and address to the server's `pg_hba.conf`"
            }
            Self::NoRole => "give the role's name (--pg-user, or in the URI), or create it",
            Self::NoDatabase => "check the database's name; `psql -l` lists them",
            Self::NoPermission => "grant CONNECT on the database to the role, or use another role",
            Self::Encryption => "check `sslmode` and the certificates",
            Self::NoService => "check PGSERVICEFILE and the service's name",
            Self::Other => return None,
        })
    }
}

impl std::fmt::Display for ConnectProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotRunning => "no server is listening there",
            Self::HostUnreachable => "the host cannot be reached",
            Self::NoAnswer => "no answer in time",
            Self::NotReady => "the server is not ready",
            Self::TooManyConnections => "the server has no connection left",
            Self::PasswordMissing => "the server requires a password",
            Self::AuthenticationFailed => "authentication failed",
            Self::NotAllowed => "the server does not allow this user, database and address",
            Self::NoRole => "the role does not exist",
            Self::NoDatabase => "the database does not exist",
            Self::NoPermission => "the role may not connect to the database",
            Self::Encryption => "no encrypted connection could be made",
            Self::NoService => "the service is not defined",
            Self::Other => "the client program failed",
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
                "connection to server at \"127.0.0.1\", port 5 failed: Connection refused\n\tIs the server running?",
                ConnectProblem::NotRunning,
            ),
            (
                "connection to server on socket \"/x/.s.PGSQL.5\" failed: No such file or directory",
                ConnectProblem::NotRunning,
            ),
            ("could not translate host name \"nix\" to address: x", ConnectProblem::HostUnreachable),
            ("failed: fe_sendauth: no password supplied", ConnectProblem::PasswordMissing),
            ("FATAL:  password authentication failed for user \"a\"", ConnectProblem::AuthenticationFailed),
            ("FATAL:  Peer authentication failed for user \"a\"", ConnectProblem::AuthenticationFailed),
            (
                "no pg_hba.conf entry for host \"h\", user \"u\", database \"d\", SSL encryption",
                ConnectProblem::NotAllowed,
            ),
            ("FATAL:  database \"d\" does not exist", ConnectProblem::NoDatabase),
            ("FATAL:  role \"r\" does not exist", ConnectProblem::NoRole),
            ("FATAL:  the database system is starting up", ConnectProblem::NotReady),
            ("FATAL:  sorry, too many clients already", ConnectProblem::TooManyConnections),
            ("server does not support SSL, but SSL was required", ConnectProblem::Encryption),
            ("definition of service \"s\" not found", ConnectProblem::NoService),
            ("FATAL:  Datenbank »d« existiert nicht", ConnectProblem::Other),
        ] {
            assert_eq!(ConnectProblem::from_text(text), kind, "{text}");
        }
    }
}
