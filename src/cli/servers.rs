//! The server and the client programs that options describe.

use super::Context;
use super::args::{ExecArgs, ServerArgs};
use super::report::CliError;
use crate::engine::OpError;
use crate::engine::plan::words;
use crate::source::postgres::{Clients, Connection, ConnectionParts};
use std::ffi::OsString;

/// The words of `--exec`.
pub(super) fn exec(args: &ExecArgs) -> Option<Vec<OsString>> {
    args.exec.as_deref().map(words)
}

/// The server that options describe, as its client programs take it apart.
pub(super) fn parts(database: Option<String>, server: &ServerArgs) -> ConnectionParts {
    ConnectionParts {
        database,
        host: server.pg_host.clone(),
        port: server.pg_port,
        user: server.pg_user.clone(),
    }
}

/// The way to that server.
pub(super) fn connection(database: Option<String>, server: &ServerArgs) -> Result<Connection, CliError> {
    Ok(Connection::from_parts(parts(database, server)).map_err(OpError::from)?)
}

/// PostgreSQL's client programs, behind the words of the options or else of the configuration.
pub(super) fn clients(context: &Context, args: &ExecArgs) -> Clients {
    let programs = context.programs();
    programs.clients(programs.wrapper(exec(args).as_deref()))
}
