//! `dumpvault metrics`: to standard output, or into a file that is there as a whole or not at all.

use super::args::MetricsArgs;
use super::exit::Exit;
use super::report::CliError;
use super::schedule::machine;
use super::{Context, print_as_is};
use crate::base::clock::Clock;
use crate::daemon::metrics::render;
use crate::daemon::state::State;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(super) fn run(context: &Context, args: &MetricsArgs) -> Result<Exit, CliError> {
    let state = State::open(&context.app.environment.state_root())?;
    let now = context.clock.now().as_millisecond();
    let text = render(&state, &context.app.settings.jobs, &machine(context), now)?;
    match &args.textfile {
        None => print_as_is(text.trim_end()),
        Some(path) => {
            let path = context.app.environment.directory.join(path);
            write(&path, &text)
                .map_err(|source| CliError::File { path: path.display().to_string(), source })?;
        }
    }
    Ok(Exit::Good)
}

/// A reader finds the old text or the new one. The node exporter runs as another user: everybody may read it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    // What reads a folder of such files looks at names that end with `.prom`.
    let part = path.with_extension(format!("part{}", std::process::id()));
    let written = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    written().inspect_err(|_| {
        // Safe to ignore because it is the other error that is told.
        let _ = std::fs::remove_file(&part);
    })
}
