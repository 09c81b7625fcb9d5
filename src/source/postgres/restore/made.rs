//! Databases that a run makes: how it is told whose they are, whether their maker lives, and how they go again.
//!
//! Until it is kept, such a database bears a comment that names its maker, and a session of the maker stays in it. A
//! maker that is killed takes the session along: a database with the comment and without a session was left behind.
//! `DROP DATABASE` refuses a database that somebody is in, so that the server itself sees to it that none is dropped
//! whose maker lives.

use super::super::client::{Clients, columns, unclear};
use super::super::{Connection, PostgresError};
use super::swap::others_out;
use super::{RestoreTarget, quoted_name, quoted_text};
use crate::base::event::Cancel;
use crate::source::SourceError;
use crate::source::pipe::{WATCH_INTERVAL, ready};
use crate::source::process::{Limits, Running};
use rustix::event::PollFlags;
use std::io::{Read, Write};
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

/// How the comment of a database begins that is not finished.
const UNFINISHED: &str = "dumpvault: unfinished, made ";
/// The same of a database that is whole and waits to be swapped.
const WAITS: &str = "dumpvault: whole, waits to be swapped, made ";

/// What the session that stays says once it is there.
const HERE: &str = "dumpvault:here";

/// How long the session may take to be there.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

/// So often a step of cleaning up is tried when a signal ended its program: service managers send theirs to every
/// process.
const TRIES: usize = 3;

/// No limit of the server's may end a session that only waits. Old servers do not know all of them.
const STAY: &str = "SELECT set_config(name, '0', false) FROM pg_settings \
    WHERE name IN ('idle_session_timeout', 'idle_in_transaction_session_timeout', 'statement_timeout');";

/// Takes everything away that keeps a database with subscriptions from being dropped. Nothing is said to any publisher.
const DROP_SUBSCRIPTIONS: &str = "
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database() LOOP
    EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', name);
    EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', name);
    EXECUTE format('DROP SUBSCRIPTION %I', name);
  END LOOP;
END $$";

/// A database that a run before this one made and did not finish, and whose maker is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its name.
    pub database: String,
    /// When and by whom it was made, in words.
    pub made: String,
    /// It holds a whole dump that was not put in the place of another database. Otherwise it holds a part of one.
    pub is_whole: bool,
    /// Its object id: another one of the same name has another.
    oid: String,
}

/// The proof that a database is ours to drop.
#[derive(Debug)]
pub(in crate::source::postgres) struct Made {
    /// Where the server is asked about it.
    asked: Connection,
    oid: String,
    session: Option<Session>,
}

impl Made {
    /// Marks a database that was just made as unfinished, where the target says by whom.
    ///
    /// That it cannot be marked is no reason to give up: then less is known of it, should it be left behind.
    pub(in crate::source::postgres) fn new(target: &RestoreTarget, asked: Connection, oid: String) -> Self {
        let mut made = Self { asked, oid, session: None };
        if let Some(maker) = &target.maker {
            // The session first: what bears the mark and has no session is taken for left behind.
            let connection = target.connection.with_database(&target.database);
            made.session = Session::start(&target.clients, &connection).ok();
            if made.session.is_some() {
                let comment = format!("{UNFINISHED}{maker}");
                let _ = comment_on(target, &made.asked, Some(&comment));
            }
        }
        made
    }

    /// Where the server is asked about it.
    pub(in crate::source::postgres) fn asked(&self) -> &Connection {
        &self.asked
    }

    /// Takes the mark off, and the session away.
    pub(in crate::source::postgres) fn keep(self, target: &RestoreTarget) -> Result<(), PostgresError> {
        let Self { asked, oid, session } = self;
        if session.is_some() {
            // A comment of the dump's own stays.
            let statement = format!(
                "BEGIN IF shobj_description({oid}, 'pg_database') LIKE {} THEN COMMENT ON DATABASE {} IS NULL; END IF; END",
                quoted_text(&format!("{UNFINISHED}%")),
                quoted_name(&target.database)
            );
            let what = format!("take the mark off database `{}`", target.database);
            let sql = format!("DO {}", quoted_text(&statement));
            stubbornly(|| target.clients.ask(&asked, &what, &sql, &Cancel::new()))?;
        }
        Ok(())
    }

    /// Drops the database. `false` when it is another one by now, or gone. Works after a cancel, too.
    pub(in crate::source::postgres) fn drop_database(
        self,
        target: &RestoreTarget,
    ) -> Result<bool, PostgresError> {
        let Self { asked, oid, session } = self;
        drop(session);
        drop_by_id(target, &asked, &target.database, &oid, Force::Yes)
    }
}

/// Whether the sessions of others in a database go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Force {
    Yes,
    No,
}

fn drop_by_id(
    target: &RestoreTarget,
    asked: &Connection,
    database: &str,
    oid: &str,
    force: Force,
) -> Result<bool, PostgresError> {
    let cancel = Cancel::new();
    let what = format!("drop database `{database}`");
    let ask = |sql: &str| stubbornly(|| target.clients.ask(asked, &what, sql, &cancel));
    let row = ask(&format!(
        "SELECT oid, current_setting('server_version_num')::int >= 130000 FROM pg_database WHERE datname = {}",
        quoted_text(database)
    ))?;
    let mut columns = columns(&row);
    if columns.next() != Some(oid) {
        return Ok(false);
    }
    let can_force = columns.next() == Some("t");
    // A server before PostgreSQL 10 knows of no subscriptions.
    let subscriptions = ask(&format!("SELECT count(*) FROM pg_subscription WHERE subdbid = {oid}"));
    if subscriptions.is_ok_and(|count| count != "0") {
        let connection = target.connection.with_database(database);
        stubbornly(|| target.clients.ask(&connection, &what, DROP_SUBSCRIPTIONS, &cancel))?;
    }
    let plain = format!("DROP DATABASE IF EXISTS {}", quoted_name(database));
    // The server may not have noticed yet that the restore's connections are gone.
    let with_force = match (force, can_force) {
        (Force::No, _) => Ok(None),
        (Force::Yes, true) => ask(&format!("{plain} WITH (FORCE)")).map(Some),
        (Force::Yes, false) => ask(&others_out(database)).map(|_| None),
    };
    match with_force {
        Ok(Some(_)) => {}
        Ok(None) => drop(ask(&plain)?),
        // A worker of autovacuum is nobody's, so that only a superuser ends it by force. Without, the server itself
        // ends it, and waits for the others.
        Err(refused) => drop(ask(&plain).map_err(|_| refused)?),
    }
    Ok(true)
}

/// Tries again when the program was killed: the signal was meant for this one.
fn stubbornly<T>(mut step: impl FnMut() -> Result<T, PostgresError>) -> Result<T, PostgresError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match step() {
            Err(PostgresError::Step { source, .. })
                if tries < TRIES && matches!(*source, SourceError::Killed { .. }) => {}
            outcome => return outcome,
        }
    }
}

fn comment_on(
    target: &RestoreTarget,
    asked: &Connection,
    comment: Option<&str>,
) -> Result<(), PostgresError> {
    let text = comment.map_or_else(|| "NULL".to_owned(), quoted_text);
    let sql = format!("COMMENT ON DATABASE {} IS {text}", quoted_name(&target.database));
    let what = format!("mark database `{}`", target.database);
    target.clients.ask(asked, &what, &sql, &Cancel::new()).map(drop)
}

impl RestoreTarget {
    /// Marks the database as whole and waiting to be swapped, so that a later run finds it.
    ///
    /// # Errors
    /// When the server cannot be asked, or refuses.
    pub fn mark_waiting(&self) -> Result<(), PostgresError> {
        let Some(maker) = &self.maker else { return Ok(()) };
        let (asked, _) = self.maintenance(&Cancel::new())?;
        comment_on(self, &asked, Some(&format!("{WAITS}{maker}")))
    }

    /// Databases of this server that runs before this one left behind: marked by them, and nobody is connected. Empty
    /// where the server is too old to be asked.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, PostgresError> {
        let cancel = &self.limits.cancel;
        let (asked, _) = self.maintenance(cancel)?;
        let what = "look for databases that were left behind";
        let sql = "
SELECT coalesce(array_to_json(array_agg(json_build_array(datname, oid::text, shobj_description(oid, 'pg_database')))), '[]')
FROM pg_database d WHERE shobj_description(oid, 'pg_database') LIKE 'dumpvault: %' AND NOT EXISTS (
  SELECT FROM pg_stat_activity WHERE datid = d.oid AND backend_type IS DISTINCT FROM 'autovacuum worker')";
        let answer = match self.clients.ask(&asked, what, sql, cancel) {
            Ok(answer) => answer,
            Err(PostgresError::Step { source, .. }) if matches!(*source, SourceError::Exited { .. }) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let found: Vec<(String, String, String)> =
            serde_json::from_str(&answer).map_err(|_| unclear(what, &answer))?;
        let known = |(database, oid, comment): (String, String, String)| {
            let (made, is_whole) = match (comment.strip_prefix(UNFINISHED), comment.strip_prefix(WAITS)) {
                (Some(made), _) => (made, false),
                (None, Some(made)) => (made, true),
                (None, None) => return None,
            };
            Some(Leftover { database, made: made.to_owned(), is_whole, oid })
        };
        Ok(found.into_iter().filter_map(known).collect())
    }

    /// Drops what was left behind. `false` when it is another database by now, or gone.
    ///
    /// # Errors
    /// When the server refuses: somebody is connected to it again.
    pub fn drop_leftover(&self, leftover: &Leftover) -> Result<bool, PostgresError> {
        let (asked, _) = self.maintenance_beside(&[&leftover.database], &Cancel::new())?;
        drop_by_id(self, &asked, &leftover.database, &leftover.oid, Force::No)
    }

    /// Drops the database, which must be the caller's own.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn drop_database(&self) -> Result<(), PostgresError> {
        let cancel = Cancel::new();
        let (asked, _) = self.maintenance(&cancel)?;
        match self.oid(&asked, &cancel)? {
            Some(oid) => drop_by_id(self, &asked, &self.database, &oid, Force::Yes).map(drop),
            None => Ok(()),
        }
    }
}

/// A `psql` that stays connected to a database and does nothing. Its input ends with this process, and so does it.
struct Session {
    // Dropped in this order: the program is ended before its input is closed.
    running: Running,
    _input: ChildStdin,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("program", &self.running.program()).finish()
    }
}

impl Session {
    /// Connects, and waits until it is there.
    fn start(clients: &Clients, connection: &Connection) -> Result<Self, SourceError> {
        let invocation = clients.client(connection, clients.psql()).args(["-X", "-A", "-t", "-q", "-f", "-"]);
        let limits = Limits::new(Cancel::new()).with_timeout(Some(SESSION_TIMEOUT));
        let mut running = Running::start(&invocation, Stdio::piped(), Stdio::piped(), limits)?;
        let mut input = running.take_stdin()?;
        let mut output = running.take_stdout()?;
        let failed = |running: &mut Running, source| running.io_error("write to", source);
        input
            .write_all(format!("{STAY}\n\\echo {HERE}\n").as_bytes())
            .map_err(|source| failed(&mut running, source))?;
        let mut said = Vec::new();
        let mut buffer = [0u8; 256];
        while !String::from_utf8_lossy(&said).contains(HERE) {
            if let Some(why) = running.overrun() {
                return Err(running.stop(why));
            }
            let is_ready = ready(&output, PollFlags::IN, WATCH_INTERVAL);
            if !is_ready.map_err(|source| running.io_error("read from", source))? {
                continue;
            }
            match output.read(&mut buffer).map_err(|source| running.io_error("read from", source))? {
                0 => return Err(running.failure()),
                count => said.extend(buffer.iter().take(count)),
            }
        }
        Ok(Self { running, _input: input })
    }
}
