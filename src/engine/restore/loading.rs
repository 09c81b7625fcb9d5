//! Proving a Redis file: a server for a while loads it, and what it holds then is compared with the file.

use super::reading::ReadThrough;
use super::{Chosen, Target};
use crate::base::event::{Event, Observer};
use crate::base::words;
use crate::content::rdb::{Group, Reader, Survey};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::scratch::Scratch;
use crate::source::process::Limits;
use crate::source::redis::{Form, Holds, RedisError, ScratchServer, soon};
use crate::source::{Sink, SourceError};
use crate::vault::snapshot::Stream;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Magic and version.
const HEADER_BYTES: usize = 9;
/// Programs that load such files, those of the other family last.
const REDIS: [&str; 2] = ["redis-server", "valkey-server"];
const VALKEY: [&str; 2] = ["valkey-server", "redis-server"];

/// What loading a file into a server found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The server: its name and version.
    pub server: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Keys in the file.
    pub keys_expected: u64,
    /// Keys in the server. Keys that expire may be fewer.
    pub keys: u64,
    /// Keys whose values were compared. Others end soon, or are longer than 64 MiB.
    pub compared: u64,
    /// What is not as in the file, in words.
    pub wrong: Vec<String>,
    /// How long that took.
    pub duration_ms: u64,
}

/// Where servers are started.
pub(super) struct Servers<'a> {
    pub app: &'a App,
    pub events: &'a Arc<dyn Observer>,
    pub limits: &'a Limits,
    /// The program, where somebody named it.
    pub program: Option<&'a OsStr>,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Folders of servers are made here.
    pub parent: PathBuf,
}

/// A server that reads the file, or why there is none.
enum Usable {
    Server(Scratch, Box<ScratchServer>, String),
    None(String),
}

impl Servers<'_> {
    fn find(&self, file: Form) -> Result<Usable, OpError> {
        let known = if file.is_valkey { VALKEY } else { REDIS };
        let programs: Vec<OsString> = match self.program {
            Some(program) => vec![program.to_owned()],
            None => known.into_iter().map(OsString::from).collect(),
        };
        let mut why = Vec::new();
        for program in programs {
            let folder =
                Scratch::create(&self.parent, "dumpvault-verify-", false, false, self.app.entropy())?;
            let server = match ScratchServer::start(&program, folder.path(), self.limits) {
                Ok(server) => server,
                Err(SourceError::ProgramNotFound { .. }) if self.program.is_none() => continue,
                Err(error) => return Err(error.into()),
            };
            let target = server.target(self.limits, Arc::clone(self.events));
            let state = target.inspect()?;
            match target.misfit(&state, file) {
                None => return Ok(Usable::Server(folder, Box::new(server), state.info.name())),
                Some(_) => why.push(format!(
                    "{} reads RDB files up to version {}; this one has version {file}",
                    state.info.name(),
                    state.reads
                )),
            }
        }
        if why.is_empty() {
            why.push("neither `redis-server` nor `valkey-server` was found".to_owned());
        }
        Ok(Usable::None(why.join("; ")))
    }
}

impl Chosen {
    /// Loads a file into a server for a while, and compares. Without a server that reads it, the file is read whole.
    ///
    /// # Errors
    /// When the file cannot be read, is not whole, or a server cannot be had that was named.
    pub(super) fn load(
        &self,
        stream: &Stream,
        servers: &Servers<'_>,
    ) -> Result<Result<Loaded, ReadThrough>, OpError> {
        let began = Instant::now();
        let Servers { limits, events, .. } = servers;
        let mut header = Reader::new();
        header.push(&self.front(stream, HEADER_BYTES, &limits.cancel)?);
        let file = Form::of(&header.finish().1);
        let (folder, server, name) = match servers.find(file)? {
            Usable::Server(folder, server, name) => (folder, server, name),
            Usable::None(why) => {
                let message = format!(
                    "`{}` is read and not loaded into a server: {why}. Install one, or name it with --redis-server",
                    stream.name
                );
                events.observe(Event::Warning { message });
                return self.read_through(stream, events.as_ref(), &limits.cancel).map(Err);
            }
        };
        let soon_ms = soon(servers.now_ms);
        let reader = Arc::new(Mutex::new(Some(Holds::new(soon_ms))));
        let target = server.target(limits, Arc::clone(events));
        let open = || {
            let sink = target.open(stream.bytes, servers.app.entropy(), None)?;
            Ok(Box::new(Watched { sink, reader: Arc::clone(&reader) }) as Box<dyn Sink>)
        };
        let outcome =
            self.restore(stream, Target::Program(&open, name.clone()), events.as_ref(), &limits.cancel);
        let holds = reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (_, file, values) = holds.unwrap_or_else(|| Holds::new(soon_ms)).finish();
        let mut loaded = Loaded {
            server: name,
            bytes: stream.bytes,
            keys_expected: file.keys(),
            keys: 0,
            compared: 0,
            wrong: Vec::new(),
            duration_ms: 0,
        };
        match outcome {
            Ok(_) => {
                let (found, there) = server.holds(soon_ms, limits)?;
                loaded.keys = found.keys();
                loaded.compared = values.keys();
                loaded.wrong = differences(&file, &found);
                let differing = values.differences(&there).into_iter();
                let in_words =
                    |(database, word)| format!("database {database}: values of type {word} are others");
                // What is not there was told already.
                loaded.wrong.extend(differing.map(in_words).take_while(|_| found.keys() == file.keys()));
            }
            // To find that out is what the server is for.
            Err(OpError::Source { source: SourceError::Redis(error), .. }) if is_about_the_file(&error) => {
                loaded.wrong.push(format!("{error}; its last words: {}", server.last_words()));
            }
            Err(error) => return Err(error),
        }
        drop(server);
        folder.close()?;
        loaded.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Ok(loaded))
    }
}

fn is_about_the_file(error: &RedisError) -> bool {
    use RedisError::{Closed, Connect, Counts, Gone, Lost, NotLoaded};
    // A server that cannot load a file ends.
    let has_ended = matches!(error, Gone { .. } | Lost { .. } | Closed { .. } | Connect { .. });
    has_ended || matches!(error, NotLoaded { .. } | Counts { .. })
}

/// What the server does not hold as the file has it. Keys that expire may have done so.
fn differences(file: &Survey, found: &Survey) -> Vec<String> {
    let names: BTreeSet<(u64, &'static str)> = file.types.keys().chain(found.types.keys()).copied().collect();
    let group = |of: &Survey, name: &(u64, &'static str)| of.types.get(name).copied().unwrap_or_default();
    let lasting = |group: Group| group.keys - group.expiring;
    let wrong = |name: (u64, &'static str)| {
        let (expected, there) = (group(file, &name), group(found, &name));
        let is_right = lasting(expected) == lasting(there) && there.expiring <= expected.expiring;
        let (there, expected) = (words::count(there.keys, "key"), words::count(expected.keys, "key"));
        (!is_right)
            .then(|| format!("database {}: {there} of type {}, {expected} in the file", name.0, name.1))
    };
    let functions = (file.functions != found.functions)
        .then(|| format!("{} libraries of functions, {} in the file", found.functions, file.functions));
    names.into_iter().filter_map(wrong).chain(functions).collect()
}

/// Surveys what passes to a server.
struct Watched {
    sink: Box<dyn Sink>,
    reader: Arc<Mutex<Option<Holds>>>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        let passed = bytes.get(..count).unwrap_or_default();
        if let Some(holds) = &mut *self.reader.lock().unwrap_or_else(PoisonError::into_inner) {
            holds.push(passed);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl Sink for Watched {
    fn finish(self: Box<Self>) -> Result<(), SourceError> {
        self.sink.finish()
    }

    fn abort(self: Box<Self>) {
        self.sink.abort();
    }

    fn fail_reason(self: Box<Self>) -> SourceError {
        self.sink.fail_reason()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(keys: u64, expiring: u64) -> Survey {
        let group = Group { keys, expiring, ..Group::default() };
        let mut survey = Survey::default();
        survey.types.insert((0, "string"), group);
        survey
    }

    #[test]
    fn only_keys_that_expire_may_be_fewer() {
        for (there, is_right) in [((10, 4), true), ((6, 0), true), ((5, 0), false), ((11, 5), false)] {
            let wrong = differences(&survey(10, 4), &survey(there.0, there.1));
            assert_eq!(wrong.is_empty(), is_right, "{there:?}: {wrong:?}");
        }
        assert_eq!(differences(&survey(0, 0), &survey(1, 0)).len(), 1);
    }
}
