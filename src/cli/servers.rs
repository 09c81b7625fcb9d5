//! The server and the words before client programs that options describe.

use super::args::{ExecArgs, ServerArgs};
use crate::engine::plan::words;
use crate::source::postgres::ConnectionParts;
use std::ffi::OsString;

/// The words of `--pg-exec`.
pub(super) fn exec(args: &ExecArgs) -> Option<Vec<OsString>> {
    args.pg_exec.as_deref().map(words)
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
