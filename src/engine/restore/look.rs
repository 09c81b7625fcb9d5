//! Looking at a scratch copy with other eyes than the dump's: an application's own smoke test, and whether what its
//! rows refer to is there.

use super::Chosen;
use crate::base::event::Event;
use crate::base::run::Run;
use crate::base::words::count;
use crate::content::index::{Kind, Of};
use crate::engine::OpError;
use crate::engine::files::{Tree, WantedFiles};
use crate::source::SourceError;
use crate::source::command::CommandSource;
use crate::source::postgres::{PostgresError, RestoreTarget};
use crate::source::process::{Invocation, Limits};
use crate::source::surroundings::Surroundings;
use crate::vault::snapshot::Stream;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

/// So many keys without what they refer to are named.
const NAMED: usize = 5;

/// What somebody else found in a scratch copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// What was looked at.
    pub what: String,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
}

/// Rows that name files of another snapshot of the same run.
#[derive(Clone)]
pub struct Reference {
    /// The database with the rows; `None` where the snapshot has only one.
    pub database: Option<String>,
    /// The source of the files.
    pub to: String,
    /// The query: the first column of each row is a path. Without `/` in front, it is one below any folder.
    pub query: String,
    /// The snapshot with the files.
    pub files: Arc<Chosen>,
}

/// Runs a command of the application's with the address of the scratch copy. It is told nothing secret but that.
pub(super) fn smoke(
    command: &str,
    (chosen, stream): (&Chosen, &Stream),
    target: &RestoreTarget,
    (pass_env, run): (&[std::ffi::OsString], &Run),
) -> Result<Looked, OpError> {
    let around = Surroundings { is_bare: true, pass_env: pass_env.to_vec(), ..Surroundings::default() };
    let address = target.connection.with_database(&target.database).uri_with_password();
    let invocation = Invocation::new("sh")
        .args(["-c", command])
        .within(&around)
        .env("DUMPVAULT_SCRATCH_URL", address.as_str())
        .env("DUMPVAULT_SNAPSHOT", chosen.summary.id.to_string())
        .env("DUMPVAULT_SERIES", &chosen.summary.head.series)
        .env("DUMPVAULT_STREAM", &stream.name);
    let what = format!("`{command}`");
    let failed = |source: SourceError| OpError::Source { what: what.clone(), source };
    let limits = Limits { cancel: run.cancel.clone(), ..target.limits.clone() };
    let mut running = CommandSource::new(invocation, limits).open().map_err(failed)?;
    for line in BufReader::new(&mut running).split(b'\n') {
        // An error of reading is told by `finish`.
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        run.events.observe(Event::Step { what: line });
    }
    match running.finish() {
        Ok(_) => Ok(Looked { what, problem: None }),
        Err(source @ (SourceError::Exited { .. } | SourceError::TimedOut { .. })) => {
            let problem = Some(source.to_string());
            Ok(Looked { what, problem })
        }
        Err(source) => Err(failed(source)),
    }
}

/// Looks for the files that the rows of a scratch copy name.
pub(super) fn dangling(reference: &Reference, target: &RestoreTarget, run: &Run) -> Result<Looked, OpError> {
    let mut wanted: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
    let what = format!("references to `{}`", reference.to);
    let asked = target.each_value(&format!("ask for {what}"), &reference.query, &mut |key| {
        wanted.insert(key.to_vec(), false);
    });
    match asked {
        Ok(()) => {}
        Err(error @ PostgresError::Connect { .. }) => return Err(error.into()),
        // The copy lacks what the query needs.
        Err(error) => return Ok(Looked { what, problem: Some(error.to_string()) }),
    }
    let keys = count(wanted.len() as u64, "key");
    let what = format!("{what}: {keys}");
    let Some(tree) = Tree::of(&reference.files, None)? else {
        let problem = format!("the snapshot of `{}` holds no list of files", reference.to);
        return Ok(Looked { what, problem: Some(problem) });
    };
    let is_of_objects = tree.holds() == Of::Objects;
    tree.files(&WantedFiles::of(&[]).unwrap_or_default(), &run.cancel, &mut |file| {
        // What could not be read is not there.
        if file.row.kind == Kind::Unreadable {
            return Ok(());
        }
        let path = file.row.path.as_slice();
        if is_of_objects {
            // A key is whole; rows may have a slash before it, as addresses of objects do.
            for key in [path.to_vec(), [b"/", path].concat()] {
                if let Some(found) = wanted.get_mut(&key) {
                    *found = true;
                }
            }
            return Ok(());
        }
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let whole: Vec<u8> = [b"/", path].concat();
        if let Some(found) = wanted.get_mut(&whole) {
            *found = true;
        }
        let below = std::iter::once(0)
            .chain(path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1));
        for at in below {
            if let Some(found) = path.get(at..).and_then(|key| wanted.get_mut(key)) {
                *found = true;
            }
        }
        Ok(())
    })?;
    let missing: Vec<String> = wanted
        .iter()
        .filter(|(_, found)| !**found)
        .map(|(key, _)| String::from_utf8_lossy(key).into_owned())
        .collect();
    let problem = (!missing.is_empty()).then(|| {
        let more = match missing.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named: Vec<&str> = missing.iter().take(NAMED).map(String::as_str).collect();
        let noun = tree.noun();
        let article = if is_of_objects { "an" } else { "a" };
        format!("{} without {article} {noun}: {}{more}", missing.len(), named.join(", "))
    });
    Ok(Looked { what, problem })
}
