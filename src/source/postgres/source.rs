//! Databases and whole servers as sources.

use super::client::Clients;
use super::client::databases::{DatabaseChoice, GlobalsSource};
use super::connection::Connection;
use super::dump::{DumpFilter, PostgresDump, PostgresSource};
use crate::base::event::Event;
use crate::base::run::Run;
use crate::source::process::Limits;
use crate::source::{PlannedStream, Source, SourceError, StartedDump};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The stream of a server's roles and tablespaces.
const GLOBALS: &str = "globals.sql";

/// One database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where it is. Without a database's name, the one that the client programs find in their surroundings.
    pub connection: Connection,
    /// The client programs.
    pub clients: Clients,
    /// What of it, and how.
    pub filter: DumpFilter,
    /// How long its dump may take.
    pub timeout: Option<Duration>,
}

/// Several databases of one server, and its roles.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Where the server is.
    pub connection: Connection,
    /// Which databases.
    pub choice: DatabaseChoice,
    /// Roles and tablespaces, too.
    pub globals: bool,
    /// The client programs.
    pub clients: Clients,
    /// What of each database, and how.
    pub filter: DumpFilter,
    /// How long each dump may take.
    pub timeout: Option<Duration>,
}

fn described(connection: &Connection) -> BTreeMap<String, String> {
    BTreeMap::from([("kind".to_owned(), "postgres".to_owned()), ("address".to_owned(), connection.display())])
}

impl Source for Database {
    fn describe(&self) -> BTreeMap<String, String> {
        described(&self.connection)
    }

    fn streams(self: Box<Self>, series: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let name = self.connection.database().unwrap_or(series).to_owned();
        let limits = Limits::new(run.cancel.clone()).with_timeout(self.timeout);
        let Self { connection, clients, filter, .. } = *self;
        Ok(vec![stream(name, PostgresSource { connection, clients, limits, filter })])
    }
}

impl Source for Cluster {
    fn describe(&self) -> BTreeMap<String, String> {
        described(&self.connection)
    }

    fn streams(self: Box<Self>, _: &str, run: &Run) -> Result<Vec<PlannedStream<'static>>, SourceError> {
        let limits = Limits::new(run.cancel.clone()).with_timeout(self.timeout);
        let Self { connection, choice, globals, clients, filter, .. } = *self;
        let (there, asked) = clients.databases(&connection, &limits.cancel)?;
        let chosen = choice.choose(&there)?;
        // Found now, and not after the first databases.
        let server = clients.server(&asked, &limits.cancel)?;
        clients.choose("pg_dump", server.version, server.version, &limits.cancel)?;
        let mut streams = Vec::new();
        if globals {
            if chosen.iter().any(|name| name == GLOBALS) {
                return Err(SourceError::StreamName { name: GLOBALS });
            }
            let source =
                GlobalsSource { connection: asked, clients: clients.clone(), limits: limits.clone() };
            streams.push(globals_stream(source, run));
        }
        for database in chosen {
            let source = PostgresSource {
                connection: connection.with_database(&database),
                clients: clients.clone(),
                limits: limits.clone(),
                filter: filter.clone(),
            };
            streams.push(stream(database, source));
        }
        Ok(streams)
    }
}

fn globals_stream(source: GlobalsSource, run: &Run) -> PlannedStream<'static> {
    let events = Arc::clone(&run.events);
    let start = Box::new(move || {
        let (started, with_passwords) = source.open()?;
        if !with_passwords {
            events.observe(Event::Warning {
                message: "the role is no superuser: roles are stored without their passwords".to_owned(),
            });
        }
        let mut started = started_dump(started, &DumpFilter::default());
        started.attributes.insert("passwords".to_owned(), with_passwords.to_string());
        Ok(started)
    });
    PlannedStream { name: GLOBALS.to_owned(), start }
}

fn stream(name: String, source: PostgresSource) -> PlannedStream<'static> {
    let start = Box::new(move || Ok(started_dump(source.open()?, &source.filter)));
    PlannedStream { name, start }
}

fn started_dump(started: PostgresDump, filter: &DumpFilter) -> StartedDump {
    let mut attributes = BTreeMap::from([
        ("server_version".to_owned(), started.server.version_text.clone()),
        ("database".to_owned(), started.server.database.clone()),
        ("client".to_owned(), format!("{} {}", started.tool, started.client.version)),
    ]);
    let choices = filter.choices();
    if !choices.is_empty() {
        attributes.insert("filter".to_owned(), choices.join(" "));
    }
    StartedDump { dump: started.dump, attributes }
}
