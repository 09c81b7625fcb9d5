//! Kinds of sources: which keys a table of each may have, which addresses are meant for it, and what it makes of them.

use super::Source;
use super::postgres::DumpFilter;
use super::redis::Access;
use super::surroundings::Surroundings;
use super::wrapper::Wrapper;
use crate::base::objects::Reached;
use crate::base::setting::{Problem, Section, Table};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A kind of source. `docs/architecture.md` says how to add one.
pub trait SourceKind: Sync {
    /// Its word for `type`.
    fn name(&self) -> &'static str;

    /// Its own keys in `[source.NAME]`.
    fn section(&self) -> &'static Section;

    /// Takes its keys out of the table of the source `name`; `None` when something is wrong with them, which the table
    /// was told.
    fn of_table(&self, name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>>;

    /// What addresses for it begin with, such as `postgres://`.
    fn schemes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Understands an address that begins with one of its schemes.
    ///
    /// # Errors
    /// When it is none.
    fn of_address(&self, _address: &str, _asked: &Asked<'_>) -> Result<Addressed, Problem> {
        Err(Problem::new(format!("a source of type `{}` has no address", self.name())))
    }
}

/// A source that an address names.
pub struct Addressed {
    /// The source.
    pub source: Arc<dyn Settled>,
    /// What its series is called where the job does not tell, or why a job must.
    pub series: Result<String, Problem>,
}

/// What a job says beside an address.
pub struct Asked<'a> {
    /// What of each database.
    pub filter: &'a DumpFilter,
    /// Variables of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// A source whose settings are known: it becomes one to read once it is known what its programs find around them.
pub trait Settled: Send + Sync {
    /// The source to read. Nothing is started, and no server is asked.
    fn source(&self, around: &Around) -> Box<dyn Source>;

    /// Where a restore of the whole source brings it back to, unless somebody says otherwise; `None` where only a
    /// person knows.
    fn home(&self) -> Option<Home> {
        None
    }

    /// The way into a bucket, where it is one: a restore into it needs the same service and keys.
    fn bucket(&self, _programs: &Surroundings) -> Option<Reached> {
        None
    }

    /// The way into a Redis or Valkey server, where it is one: a restore into it needs the same passwords and
    /// certificates.
    fn redis(&self, _programs: &Surroundings) -> Option<Access> {
        None
    }
}

/// Where a source lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// A server's address without its password, or a folder.
    pub address: String,
    /// Words that client programs are run behind.
    pub exec: Option<Vec<OsString>>,
}

/// What holds for a source, whichever its kind.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// What programs find around them.
    pub programs: Surroundings,
    /// How long reading it may take.
    pub timeout: Option<Duration>,
    /// What the job has client programs run behind.
    pub exec: Option<Wrapper>,
    /// What they are run behind where neither the job nor the source tells.
    pub usual_exec: Wrapper,
    /// Where PostgreSQL's client programs are looked for.
    pub pg_bin_dirs: Vec<PathBuf>,
}

impl Around {
    /// What client programs of a source are run behind whose own settings say `own`.
    pub fn wrapper(&self, own: Option<&[OsString]>) -> Wrapper {
        match (&self.exec, own) {
            (Some(wrapper), _) => wrapper.clone(),
            (None, Some(own)) => Wrapper::new(own.to_vec()),
            (None, None) => self.usual_exec.clone(),
        }
    }
}
