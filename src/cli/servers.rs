//! The server and the words before client programs that options describe.

use super::args::{ExecArgs, ServerArgs};
use crate::engine::plan::{ServerAt, words};
use std::ffi::OsString;

/// The words of `--pg-exec`.
pub(super) fn exec(args: &ExecArgs) -> Option<Vec<OsString>> {
    args.pg_exec.as_deref().map(words)
}

/// The server at an address, or else the one that options describe.
pub(super) fn server(address: Option<&String>, args: &ServerArgs) -> ServerAt {
    match address {
        Some(address) => ServerAt::Address(address.clone()),
        None => ServerAt::parts(args.pg_host.clone(), args.pg_port, args.pg_user.clone()),
    }
}
