//! Where dumps come from, and how they are started.

use super::jobs::Job;
use crate::base::event::Cancel;
use crate::cli::Context;
use crate::cli::args::ServerArgs;
use crate::cli::report::CliError;
use crate::engine::OpError;
use crate::engine::backup::{PlannedStream, StartedDump};
use crate::settings::{Environment, Programs};
use crate::source::command::CommandSource;
use crate::source::postgres::{
    Clients, Connection, ConnectionParts, DatabaseChoice, DumpFilter, GlobalsSource, PostgresDump,
    PostgresSource,
};
use crate::source::process::{Invocation, Limits};
use crate::source::surroundings::{Account, Surroundings};
use crate::source::wrapper::Wrapper;
use crate::source::{SourceError, stdin};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// The stream of a server's roles and tablespaces.
const GLOBALS: &str = "globals.sql";

/// Where a snapshot's streams come from.
pub(super) enum Origin {
    Stdin,
    Command(Invocation),
    Postgres { connection: Connection, filter: DumpFilter, exec: Wrapper },
    Server(ServerPlan),
}

/// Several databases of one server.
pub(super) struct ServerPlan {
    pub connection: Connection,
    pub choice: DatabaseChoice,
    pub globals: bool,
    pub filter: DumpFilter,
    /// What the client programs are run behind.
    pub exec: Wrapper,
}

pub(in crate::cli) fn connection(
    database: Option<String>,
    server: &ServerArgs,
) -> Result<Connection, CliError> {
    let parts = ConnectionParts {
        database,
        host: server.pg_host.clone(),
        port: server.pg_port,
        user: server.pg_user.clone(),
    };
    Ok(Connection::from_parts(parts).map_err(OpError::from)?)
}

/// Where PostgreSQL's client programs are looked for, behind those words if there are any.
pub(in crate::cli) fn clients(context: &Context, exec: Wrapper) -> Clients {
    let found = Clients::installed().with_directories(context.app.settings.pg_bin_dirs.clone());
    found.through(exec).within(surroundings(context))
}

/// What programs find around them that no source of the configuration says more of.
pub(in crate::cli) fn surroundings(context: &Context) -> Surroundings {
    let pass_env = context.app.settings.pass_env.clone();
    Surroundings { pass_env, ..Surroundings::default() }
}

/// What the programs of a source find around them.
pub(super) fn surroundings_of(
    context: &Context,
    name: &str,
    settings: &Programs,
) -> Result<Surroundings, CliError> {
    let environment = &context.app.environment;
    let mut around = surroundings(context);
    around.pass_env.extend(settings.pass_env.iter().cloned());
    if let Some(path) =
        settings.env_file.as_ref().filter(|path| is_exposed(&environment.directory.join(path)))
    {
        context.warn(format!(
            "environment file `{path}` is readable by other users: run `chmod 600 {path}`",
            path = path.display()
        ));
    }
    let variables = settings.variables(environment)?;
    around.env = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    around.directory = settings.workdir.as_ref().map(|folder| environment.directory.join(folder));
    around.account = settings.run_as.as_deref().map(|user| account(user, name, environment)).transpose()?;
    Ok(around)
}

fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o044 != 0)
}

fn account(user: &str, source: &str, environment: &Environment) -> Result<Account, CliError> {
    let wrong = |reason: String| CliError::usage(format!("source.{source}.run_as: {reason}"));
    let found = Account::find(user).map_err(|error| wrong(format!("`{user}`: {error}")))?;
    let account = found.ok_or_else(|| wrong(format!("there is no user `{user}` on this machine")))?;
    if !environment.is_root() && account.uid() != environment.uid {
        return Err(wrong(format!("only root can run programs as `{user}`")));
    }
    Ok(account)
}

/// A command line's words, split at spaces.
pub(super) fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// The streams of a job, ready to be started one after the other. A server is asked which databases it has.
pub(super) fn streams<'a>(context: &'a Context, job: Job) -> Result<Vec<PlannedStream<'a>>, OpError> {
    let limits = Limits::new(context.cancel.clone()).with_timeout(job.timeout);
    let cancel = context.cancel.clone();
    let start: Box<dyn FnOnce() -> Result<StartedDump, SourceError> + 'a> = match job.origin {
        Origin::Stdin => Box::new(move || start_stdin(job.timeout, cancel)),
        Origin::Command(invocation) => Box::new(move || {
            let invocation = invocation.within(&job.surroundings);
            let dump = CommandSource::new(invocation, limits).open()?;
            Ok(StartedDump { dump, attributes: BTreeMap::new() })
        }),
        Origin::Postgres { connection, filter, exec } => {
            let name = connection.database().unwrap_or(&job.series).to_owned();
            let clients = clients(context, exec).within(job.surroundings);
            let source = PostgresSource { connection, clients, limits, filter };
            return Ok(vec![database_stream(name, source)]);
        }
        Origin::Server(plan) => return server_streams(context, plan, job.surroundings, limits),
    };
    Ok(vec![PlannedStream { name: job.series, start }])
}

fn server_streams<'a>(
    context: &'a Context,
    plan: ServerPlan,
    surroundings: Surroundings,
    limits: Limits,
) -> Result<Vec<PlannedStream<'a>>, OpError> {
    let ServerPlan { connection, choice, globals, filter, exec } = plan;
    let clients = clients(context, exec).within(surroundings);
    let (there, asked) = clients.databases(&connection, &limits.cancel)?;
    let chosen = choice.choose(&there)?;
    // Found now, and not after the first databases.
    let server = clients.server(&asked, &limits.cancel)?;
    clients.choose("pg_dump", server.version, server.version, &limits.cancel)?;
    let mut streams = Vec::new();
    if globals {
        if chosen.iter().any(|name| name == GLOBALS) {
            return Err(OpError::StreamName { name: GLOBALS });
        }
        let source =
            GlobalsSource { connection: asked.clone(), clients: clients.clone(), limits: limits.clone() };
        let start = Box::new(move || {
            let (started, with_passwords) = source.open()?;
            if !with_passwords {
                context.warn("the role is no superuser: roles are stored without their passwords".to_owned());
            }
            let mut started = started_dump(started, &DumpFilter::default());
            started.attributes.insert("passwords".to_owned(), with_passwords.to_string());
            Ok(started)
        });
        streams.push(PlannedStream { name: GLOBALS.to_owned(), start });
    }
    for database in chosen {
        let source = PostgresSource {
            connection: connection.with_database(&database),
            clients: clients.clone(),
            limits: limits.clone(),
            filter: filter.clone(),
        };
        streams.push(database_stream(database, source));
    }
    Ok(streams)
}

fn database_stream<'a>(name: String, source: PostgresSource) -> PlannedStream<'a> {
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

fn start_stdin(timeout: Option<Duration>, cancel: Cancel) -> Result<StartedDump, SourceError> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| SourceError::Io {
        program: "standard input".to_owned(),
        operation: "read from",
        source,
    })?;
    Ok(StartedDump { dump: stdin::open_fd(fd, timeout, cancel), attributes: BTreeMap::new() })
}

/// What the snapshot says of its source. Arguments may hold secrets and stay out.
pub(super) fn describe(origin: &Origin) -> BTreeMap<String, String> {
    let pair = |key: &str, value: String| (key.to_owned(), value);
    match origin {
        Origin::Stdin => BTreeMap::from([pair("kind", "stdin".to_owned())]),
        Origin::Command(invocation) => {
            BTreeMap::from([pair("kind", "command".to_owned()), pair("program", invocation.program())])
        }
        Origin::Postgres { connection, .. } | Origin::Server(ServerPlan { connection, .. }) => {
            BTreeMap::from([pair("kind", "postgres".to_owned()), pair("address", connection.display())])
        }
    }
}
