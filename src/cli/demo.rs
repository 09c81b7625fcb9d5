//! `dumpvault demo`.

use super::Context;
use super::args::DemoArgs;
use super::report::{CliError, Exit};

pub(super) fn run(_context: &Context, _args: &DemoArgs) -> Result<Exit, CliError> {
    Err(CliError::usage("not yet"))
}
