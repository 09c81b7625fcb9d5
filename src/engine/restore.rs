//! Restore: a snapshot's stream goes out, to a file, a program, a database, or a writer.

mod advice;
mod archive;
mod choose;
mod database;
mod doubt;
mod extract;
mod guard;
mod journal;
mod left_behind;
mod loading;
mod look;
mod reading;
mod redis;
mod script;
mod send;
mod server;
mod set;
mod swap;
mod transaction;
mod trial;
mod trial_set;
mod verify;

pub use advice::Advice;
pub use archive::{Archive, Compared, Expected, Findings, Jobs, Part};
pub use choose::{
    OnRollback, check_stream, choose, choose_foreign, find, find_in, rollback_words, tell_rollback,
};
pub use database::{
    Count, DatabaseJob, DatabasePlan, DatabaseReport, Effect, Filled, Restoring, When, plan_database,
    run_database,
};
pub use doubt::Doubt;
pub use extract::{Extract, PartsJob, Picked, Shares, Wanted};
pub use guard::ExpectedHost;
pub(in crate::engine) use guard::refuse_protected;
pub use left_behind::LeftBehind;
pub use loading::Loaded;
pub use look::{Looked, Reference};
pub use reading::{ReadThrough, is_read_through};
pub use redis::{RedisJob, RedisPlan, RedisReport, meant, numbers, plan_redis, run_redis, streams_of_keys};
pub use send::Target;
pub use server::is_cluster_script;
pub use server::{
    DatabaseOutcome, PlannedDatabase, Restored, ServerJob, ServerPlan, ServerReport, Standing, Without,
    plan_server, run_server,
};
pub use set::{SetCommand, SetReport, StepEnd, run_set, set_commands};
pub use swap::{Manners, SwapJob, SwapPlan, plan_swap, quoted, run_swap};
pub use trial::{Found, Tried, VerifyReport, next_of_verify, run_verify};
pub use trial_set::{MemberVerified, VerifyAsker, VerifySetReport, run_verify_set};
pub use verify::Verified;

use super::OpError;
use crate::vault::Repository;
use crate::vault::catalog::Catalog;
use crate::vault::history::History;
use crate::vault::reader::{Locator, ReadSettings};
use crate::vault::snapshot::{Body, Stream, StreamFormat, Summary};
use choose::which_stream;
use send::{Content, aftermath, discard, keep};
use std::sync::{Arc, Mutex};

/// A snapshot that was chosen, with its body read.
pub struct Chosen {
    /// Id and head.
    pub summary: Summary,
    /// Streams and the rest.
    pub body: Body,
    locator: Arc<Mutex<Locator>>,
    /// Snapshots of its series that it is held against.
    earlier: Vec<doubt::Earlier>,
    repo: Repository,
    settings: ReadSettings,
}

impl Chosen {
    /// The repository that it is in.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }

    /// A chosen snapshot of `repo`.
    pub fn new(
        repo: &Repository,
        catalog: Catalog,
        history: &History,
        summary: Summary,
        body: Body,
        settings: ReadSettings,
    ) -> Self {
        let locator = Locator::new(repo, catalog, history.damaged_packs.clone());
        let earlier = doubt::earlier_of(history, &summary);
        Self { summary, body, locator: Arc::new(Mutex::new(locator)), earlier, repo: repo.clone(), settings }
    }

    /// The stream of that name, or the only one.
    ///
    /// # Errors
    /// When there is none of that name, or several to choose from.
    pub fn stream(&self, name: Option<&str>) -> Result<&Stream, OpError> {
        match (name, self.body.streams.as_slice()) {
            (Some(name), _) => check_stream(&self.summary, &self.body, name),
            (None, [only]) => Ok(only),
            // What stands beside the data is meant where it is named.
            (None, [first, others @ ..])
                if first.format != StreamFormat::Settings
                    && others.iter().all(|stream| stream.format == StreamFormat::Settings) =>
            {
                Ok(first)
            }
            (None, _) => Err(which_stream(&self.summary, &self.body, "has several streams".to_owned())),
        }
    }

    /// The same, and its map goes with it, which is large with a million tables: the body holds none of this stream any
    /// more.
    ///
    /// # Errors
    /// As [`Chosen::stream`].
    pub fn take_stream(&mut self, name: Option<&str>) -> Result<Stream, OpError> {
        let name = self.stream(name)?.name.clone();
        let found = self.body.streams.iter_mut().find(|stream| stream.name == name);
        let map = found.and_then(|stream| stream.table_map.take());
        let stream = self.stream(Some(&name))?.clone();
        Ok(Stream { table_map: map, ..stream })
    }
}
