//! A role without rights of its own, for as long as a stranger's SQL is tried out.
//!
//! A dump runs any SQL as the role that restores it, and for a superuser that is any program on the server's machine
//! (`COPY … FROM PROGRAM`). `SET ROLE` is no wall: the SQL can take it back. So the scratch role logs in by itself.

use super::client::Clients;
use super::restore::{RestoreTarget, quoted_name};
use super::{Connection, PostgresError};
use crate::base::event::Cancel;
use crate::source::SourceError;
use crate::source::command::ProcessSink;
use crate::source::process::Limits;
use std::io::Write;

/// A role that may log in and make databases, and nothing else. Gone when dropped, if nothing belongs to it any more.
#[derive(Debug)]
pub struct ScratchRole {
    clients: Clients,
    asked: Connection,
    login: Connection,
    name: String,
    is_there: bool,
}

/// What came of the wish for a scratch role.
#[derive(Debug)]
pub enum ScratchAttempt {
    /// It is there, and can log in.
    Role(Box<ScratchRole>),
    /// The target's own role is not a superuser: it needs no other.
    NotSuperuser,
    /// It cannot be made, or the server does not let it log in. It is gone.
    Refused(PostgresError),
}

impl ScratchRole {
    /// Makes the role `name` on the server of `target`. The password is of letters and digits.
    ///
    /// # Errors
    /// When the server cannot be asked, or the role is there and not to be removed.
    pub fn make(target: &RestoreTarget, name: &str, password: &str) -> Result<ScratchAttempt, PostgresError> {
        let cancel = &target.limits.cancel;
        let clients = &target.clients;
        let (asked, _) = target.maintenance(cancel)?;
        let sql = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
        if clients.ask(&asked, "ask for the role's rights", sql, cancel)? != "t" {
            return Ok(ScratchAttempt::NotSuperuser);
        }
        let login = target.connection.logged_in_as(name, password);
        let mut role = Self {
            clients: clients.clone(),
            asked,
            login,
            name: name.to_owned(),
            // Also where it is not clear whether the command came through.
            is_there: true,
        };
        if let Err(refused) = role.create(password, &target.limits) {
            role.remove()?;
            return Ok(ScratchAttempt::Refused(refused));
        }
        let database = role.asked.database().unwrap_or("postgres").to_owned();
        match clients.server(&role.login.with_database(&database), cancel) {
            Ok(_) => Ok(ScratchAttempt::Role(Box::new(role))),
            Err(refused) => {
                role.remove()?;
                Ok(ScratchAttempt::Refused(refused))
            }
        }
    }

    /// The same target, as this role.
    pub fn target(&self, target: &RestoreTarget) -> RestoreTarget {
        RestoreTarget { connection: self.login.clone(), ..target.clone() }
    }

    /// Drops the role.
    ///
    /// # Errors
    /// When something still belongs to it, or the server cannot be asked.
    pub fn end(mut self) -> Result<(), PostgresError> {
        self.remove()
    }

    /// Over standard input: arguments are shown to every user of the machine, and statements may be logged.
    fn create(&self, password: &str, limits: &Limits) -> Result<(), PostgresError> {
        let sql = format!(
            "BEGIN; SET LOCAL log_statement = 'none'; SET LOCAL log_min_duration_statement = -1;\n\
             CREATE ROLE {} LOGIN NOSUPERUSER CREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '{password}';\n\
             COMMIT;\n",
            quoted_name(&self.name)
        );
        let failed = |source: SourceError| PostgresError::Step {
            what: "make a role for the scratch database".to_owned(),
            source: Box::new(source),
        };
        let psql = self.clients.client(&self.asked, self.clients.any_psql());
        let invocation = psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", "-"]);
        let mut sink = ProcessSink::start_keeping_output(&invocation, limits.clone()).map_err(failed)?;
        if sink.write_all(sql.as_bytes()).is_err() {
            return Err(failed(sink.reason()));
        }
        sink.finish_with_output().map(drop).map_err(failed)
    }

    fn remove(&mut self) -> Result<(), PostgresError> {
        if !std::mem::take(&mut self.is_there) {
            return Ok(());
        }
        let what = format!("drop role `{}`, which was made for a scratch database", self.name);
        let sql = format!("DROP ROLE IF EXISTS {}", quoted_name(&self.name));
        self.clients.ask(&self.asked, &what, &sql, &Cancel::new()).map(drop)
    }
}

impl Drop for ScratchRole {
    fn drop(&mut self) {
        // Safe to ignore: who wants to know calls `end`. A role that stays has a name that says what it was, and owns
        // nothing.
        let _ = self.remove();
    }
}
