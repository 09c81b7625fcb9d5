//! What belongs to a server as a whole, taken from a script of `pg_dumpall --globals-only`: what of it a server lacks,
//! and how it gets that.
//!
//! Roles and tablespaces that are there stay as they are: whoever restores is one of them. New roles come in one
//! transaction with all that is said of them, so that a role which is there is whole. A tablespace cannot be made in a
//! transaction; its folder may not exist.

use super::client::{Clients, unclear};
use super::filter::{ScriptFilter, SessionSettings};
use super::sink::{Around, SqlSink};
use super::{Connection, PostgresError};
use crate::source::process::Limits;
use crate::source::{Sink, SourceError};
use std::collections::BTreeSet;
use std::io::Write;

/// A word or a name, and whether it stood in quotes.
type Word = (String, bool);

/// So many of a statement's first words tell what it is about.
const FRONT_WORDS: usize = 12;

/// What a statement of the script is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    /// How the others are to be read.
    Setting,
    /// It makes a role.
    NewRole(String),
    /// It says more of these roles.
    Roles(Vec<String>),
    /// It makes a tablespace.
    NewTablespace(String),
    /// It says more of a tablespace.
    Tablespace(String),
    /// It comes with its database.
    Database,
    /// Anything else, such as rights to parameters.
    Other,
}

/// The roles and tablespaces of a server, as a script makes them.
#[derive(Debug, Clone)]
pub struct Globals {
    statements: Vec<(About, Vec<u8>)>,
}

/// What of it a server has, and what it lacks. All in the script's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlobalsPlan {
    /// Roles to make.
    pub roles: Vec<String>,
    /// Roles that are there.
    pub roles_there: Vec<String>,
    /// Tablespaces to make.
    pub tablespaces: Vec<String>,
    /// Tablespaces that are there.
    pub tablespaces_there: Vec<String>,
}

/// A server to be given roles and tablespaces.
#[derive(Debug, Clone)]
pub struct GlobalsTarget {
    /// Where it is.
    pub connection: Connection,
    /// Where to look for client programs.
    pub clients: Clients,
    /// How long it may take, and who may stop it.
    pub limits: Limits,
}

impl Globals {
    /// Takes a script apart.
    pub fn parse(script: &[u8]) -> Self {
        let statements = split(script).into_iter().map(|text| (about(&front(&text)), text));
        Self { statements: statements.collect() }
    }

    fn plan(&self, roles: &BTreeSet<String>, tablespaces: &BTreeSet<String>) -> GlobalsPlan {
        let mut plan = GlobalsPlan::default();
        for (about, _) in &self.statements {
            match about {
                About::NewRole(name) if roles.contains(name) => plan.roles_there.push(name.clone()),
                About::NewRole(name) => plan.roles.push(name.clone()),
                About::NewTablespace(name) if tablespaces.contains(name) => {
                    plan.tablespaces_there.push(name.clone());
                }
                About::NewTablespace(name) => plan.tablespaces.push(name.clone()),
                _ => {}
            }
        }
        plan
    }

    /// The script that makes the roles of a plan.
    fn roles(&self, plan: &GlobalsPlan) -> Vec<u8> {
        let is_new = |name: &String| plan.roles.contains(name);
        let is_wanted = |about: &About| match about {
            About::Setting | About::Other => true,
            About::NewRole(name) => is_new(name),
            About::Roles(names) => names.iter().any(is_new),
            About::NewTablespace(_) | About::Tablespace(_) | About::Database => false,
        };
        let mut script = Vec::new();
        for (_, text) in self.statements.iter().filter(|(about, _)| is_wanted(about)) {
            script.extend_from_slice(text);
            script.extend_from_slice(b";\n");
        }
        script
    }

    /// What is said of a tablespace.
    fn tablespace<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = String> + 'a {
        let is_about = move |about: &About| match about {
            About::NewTablespace(name) | About::Tablespace(name) => name == wanted,
            _ => false,
        };
        let own = self.statements.iter().filter(move |(about, _)| is_about(about));
        own.map(|(_, text)| String::from_utf8_lossy(text).into_owned())
    }
}

impl GlobalsTarget {
    /// A database of the server that can be asked.
    fn asked(&self) -> Result<Connection, PostgresError> {
        Ok(self.clients.databases(&self.connection, &self.limits.cancel)?.1)
    }

    /// Looks what the server lacks. Changes nothing.
    ///
    /// # Errors
    /// When the server cannot be reached or asked.
    pub fn look(&self, globals: &Globals) -> Result<GlobalsPlan, PostgresError> {
        let what = "list the server's roles and tablespaces";
        let sql = "SELECT json_build_array((SELECT json_agg(rolname::text) FROM pg_roles), \
                   (SELECT json_agg(spcname::text) FROM pg_tablespace))";
        let row = self.clients.ask(&self.asked()?, what, sql, &self.limits.cancel)?;
        let (roles, tablespaces): (BTreeSet<String>, BTreeSet<String>) =
            serde_json::from_str(&row).map_err(|_| unclear(what, &row))?;
        Ok(globals.plan(&roles, &tablespaces))
    }

    /// Makes the roles that the server lacks, with all that the script says of them: every one or none.
    ///
    /// # Errors
    /// When the server refuses one.
    pub fn make_roles(&self, globals: &Globals, plan: &GlobalsPlan) -> Result<(), SourceError> {
        if plan.roles.is_empty() {
            return Ok(());
        }
        let asked = self.asked()?;
        let settings = SessionSettings { conforming: Some(true), encoding: "UTF8".to_owned() };
        let filter = ScriptFilter::new(asked.database().unwrap_or_default(), &settings);
        let client = self.clients.client(&asked, self.clients.psql());
        let before = b"SET standard_conforming_strings = on;\nSET client_encoding = 'UTF8';\n";
        let sink = SqlSink::start(client, self.limits.clone(), Some(filter), (Around::Transaction, before))?;
        let mut sink = Box::new(sink);
        match sink.write_all(&globals.roles(plan)) {
            Ok(()) => sink.finish(),
            Err(_) => Err(sink.fail_reason()),
        }
    }

    /// Makes the tablespaces that the server lacks. Gives those that could not be had, and why.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn make_tablespaces(
        &self,
        globals: &Globals,
        plan: &GlobalsPlan,
    ) -> Result<Vec<(String, String)>, PostgresError> {
        let mut lost = Vec::new();
        if plan.tablespaces.is_empty() {
            return Ok(lost);
        }
        let asked = self.asked()?;
        for name in &plan.tablespaces {
            let what = format!("make tablespace `{name}`");
            for text in globals.tablespace(name) {
                // The blank: a text that begins with a backslash is a command of `psql`.
                match self.clients.ask(&asked, &what, &format!(" {text}"), &self.limits.cancel) {
                    Ok(_) => {}
                    Err(error @ PostgresError::Connect { .. }) => return Err(error),
                    Err(error) => {
                        let said = error.to_string();
                        let reason = said.split_once("ERROR:").map_or(said.as_str(), |(_, reason)| reason);
                        let reason = reason.trim().lines().next().unwrap_or_default().to_owned();
                        lost.push((name.clone(), reason));
                        break;
                    }
                }
            }
        }
        Ok(lost)
    }
}

/// The statements of a script, without their semicolons, comments before them, and commands of `psql`.
fn split(script: &[u8]) -> Vec<Vec<u8>> {
    let mut statements = Vec::new();
    let mut text: Vec<u8> = Vec::new();
    let mut quote: Option<(u8, bool)> = None;
    let mut bytes = script.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if let Some((end, escapes)) = quote {
            text.push(byte);
            match byte {
                b'\\' if escapes => text.extend(bytes.next()),
                _ if byte == end => quote = None,
                _ => {}
            }
            continue;
        }
        match byte {
            b'\'' | b'"' => {
                let escapes = byte == b'\'' && matches!(text.last(), Some(b'E' | b'e'));
                quote = Some((byte, escapes));
                text.push(byte);
            }
            b';' => statements.push(std::mem::take(&mut text)),
            b'\\' if text.is_empty() => while bytes.next_if(|byte| *byte != b'\n').is_some() {},
            b'-' if bytes.peek() == Some(&b'-') => while bytes.next_if(|byte| *byte != b'\n').is_some() {},
            _ if text.is_empty() && byte.is_ascii_whitespace() => {}
            _ => text.push(byte),
        }
    }
    statements.retain(|text| !text.is_empty());
    statements
}

/// The first words and names of a statement.
fn front(text: &[u8]) -> Vec<Word> {
    let text = String::from_utf8_lossy(text);
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        if words.len() == FRONT_WORDS {
            break;
        }
        if first == '"' {
            let mut name = String::new();
            while let Some(next) = chars.next() {
                if next == '"' && chars.next_if_eq(&'"').is_none() {
                    break;
                }
                name.push(next);
            }
            words.push((name, true));
        } else if first.is_alphanumeric() || first == '_' {
            let mut word = String::from(first);
            while let Some(next) = chars.next_if(|next| next.is_alphanumeric() || "_$".contains(*next)) {
                word.push(next);
            }
            words.push((word, false));
        }
    }
    words
}

fn about(words: &[Word]) -> About {
    let is = |at: usize, keyword: &str| {
        words.get(at).is_some_and(|(word, quoted)| !quoted && word.eq_ignore_ascii_case(keyword))
    };
    let name = |at: usize| words.get(at).map(|(word, _)| word.clone()).unwrap_or_default();
    let is_grant = is(0, "GRANT") || is(0, "REVOKE");
    // `COMMENT ON ROLE`, `SECURITY LABEL FOR provider ON ROLE`, `GRANT CREATE ON TABLESPACE`
    let on = (1..words.len()).find(|at| is(*at, "ON")).unwrap_or(words.len());
    let is_on = is_grant || is(0, "COMMENT") || is(0, "SECURITY");
    match () {
        () if is(0, "SET") || is(0, "SELECT") => About::Setting,
        () if is(0, "CREATE") && is(1, "ROLE") => About::NewRole(name(2)),
        () if is(0, "CREATE") && is(1, "TABLESPACE") => About::NewTablespace(name(2)),
        () if is(0, "ALTER") && is(1, "ROLE") && is(3, "IN") && is(4, "DATABASE") => About::Database,
        () if is(0, "ALTER") && is(1, "ROLE") => About::Roles(vec![name(2)]),
        () if is(0, "ALTER") && is(1, "TABLESPACE") => About::Tablespace(name(2)),
        () if is_grant && (is(2, "TO") || is(2, "FROM")) => About::Roles(vec![name(1), name(3)]),
        () if is_on && is(on + 1, "ROLE") => About::Roles(vec![name(on + 2)]),
        () if is_on && is(on + 1, "TABLESPACE") => About::Tablespace(name(on + 2)),
        () => About::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"
--
-- PostgreSQL database cluster dump; it's one
--

\restrict abc

SET default_transaction_read_only = off;
SET client_encoding = 'UTF8';

CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:a;b$c:d';
COMMENT ON ROLE app IS 'it''s; an
-- application';
CREATE ROLE "The ""boss""; ROLE";
ALTER ROLE "The ""boss""; ROLE" SET search_path TO 'a', E'b\';c';
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
ALTER ROLE app IN DATABASE shop SET work_mem TO '1MB';
GRANT "The ""boss""; ROLE" TO app WITH INHERIT TRUE GRANTED BY postgres;
GRANT pg_monitor TO postgres;
CREATE TABLESPACE fast OWNER app LOCATION '/srv/fast;1';
ALTER TABLESPACE fast SET (random_page_cost=1.1);
REVOKE ALL ON TABLESPACE fast FROM PUBLIC;
GRANT SET ON PARAMETER work_mem TO app;

\unrestrict abc
"#;

    #[test]
    fn a_script_comes_apart_into_roles_and_tablespaces_whatever_stands_in_quotes() {
        let globals = Globals::parse(SCRIPT.as_bytes());
        let there = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let plan = globals.plan(&there(&["postgres"]), &there(&["pg_default"]));
        assert_eq!(plan.roles, ["app", "The \"boss\"; ROLE"]);
        assert_eq!(
            (plan.roles_there, plan.tablespaces),
            (vec!["postgres".to_owned()], vec!["fast".to_owned()])
        );
        assert_eq!(globals.tablespace("fast").count(), 3);
        assert!(globals.tablespace("fast").next().unwrap().contains("'/srv/fast;1'"));
        let plan = globals.plan(&there(&["postgres"]), &there(&["fast"]));
        assert_eq!(plan.tablespaces_there, ["fast"]);
    }

    #[test]
    fn only_what_is_said_of_new_roles_is_run() {
        let globals = Globals::parse(SCRIPT.as_bytes());
        let plan = GlobalsPlan { roles: vec!["app".to_owned()], ..GlobalsPlan::default() };
        let script = String::from_utf8(globals.roles(&plan)).unwrap();
        let parts = [
            "SET client_encoding",
            "CREATE ROLE app;",
            "a;b$c:d",
            "it''s; an",
            "TO app WITH INHERIT",
            "PARAMETER",
        ];
        for part in parts {
            assert!(script.contains(part), "{part}: {script}");
        }
        for part in
            ["CREATE ROLE \"The", "ROLE postgres", "pg_monitor", "TABLESPACE", "IN DATABASE", "restrict"]
        {
            assert!(!script.contains(part), "{part}: {script}");
        }
    }
}
