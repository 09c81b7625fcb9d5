//! Rotation: which keys do not go on, and what a new content root costs.

use crate::base::clock::Clock;
use crate::base::id::AuthorId;
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::listing::{Seen, sizes, survey};
use crate::vault::Repository;
use crate::vault::crypto::Credential;
use crate::vault::rotation::{RotateReport, RotateRequest, Rotation};
use std::collections::BTreeMap;

/// What somebody asks to rotate.
#[derive(Debug, Clone, Default)]
pub(crate) struct RotateJob {
    /// A key that does not go on: its name, or digits of its id.
    pub revoke: Option<String>,
    /// What that key stored after this moment does not count any more.
    pub since: Option<jiff::Timestamp>,
    /// A new content root, too.
    pub content: bool,
    /// Backups under way are not waited for.
    pub end_sessions: bool,
}

/// What a new content root costs: what is stored is not found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentPrice {
    /// Plain bytes of the newest dumps, which are stored once more.
    pub dump_bytes: u64,
    /// Series that they are of.
    pub series: usize,
    /// Bytes of packs that stay until their snapshots go.
    pub pack_bytes: u64,
}

/// A rotation.
#[derive(Debug, Clone)]
pub struct RotatePlan {
    /// Keys that do not go on, and their names.
    pub revoked: Vec<(AuthorId, String)>,
    /// What a new content root costs, if there is to be one.
    pub price: Option<ContentPrice>,
    job: RotateJob,
}

impl RotatePlan {
    /// Ids of the keys that do not go on.
    pub fn revoked_ids(&self) -> Vec<AuthorId> {
        self.revoked.iter().map(|(author, _)| *author).collect()
    }
}

/// Says what a rotation comes to. Changes nothing.
///
/// # Errors
/// When there is no such key, or the repository fails.
pub(crate) fn plan_rotate(job: RotateJob, repo: &Repository, run: &Run) -> Result<RotatePlan, OpError> {
    let mut revoked = Vec::new();
    if let Some(key) = &job.revoke {
        let author = repo.key_ring().find(key)?;
        revoked.push((author, repo.authors().name(&author).to_string()));
    }
    let price = if job.content { Some(price(repo, run)?) } else { None };
    Ok(RotatePlan { revoked, price, job })
}

/// Carries out a plan.
///
/// # Errors
/// When the key is no full one, backups do not end, or the repository fails.
pub(crate) fn run_rotate(
    plan: &RotatePlan,
    repo: &Repository,
    credential: &Credential,
    run: &Run,
) -> Result<RotateReport, OpError> {
    let request = RotateRequest {
        revoke: plan.revoked_ids(),
        since_ms: plan.job.since.map(jiff::Timestamp::as_millisecond),
        content: plan.job.content,
        end_sessions: plan.job.end_sessions,
        now_ms: Clock::now(run.clock.as_ref()).as_millisecond(),
    };
    Ok(Rotation::new(repo, request, run.events.as_ref(), &run.cancel).run(credential)?)
}

fn price(repo: &Repository, run: &Run) -> Result<ContentPrice, OpError> {
    let found = survey(repo, run.events.as_ref())?;
    let mut newest: BTreeMap<(&str, &str), &Seen> = BTreeMap::new();
    for seen in found.snapshots.iter().filter(|seen| !seen.summary.head.is_import()) {
        let head = &seen.summary.head;
        newest.insert((&head.host, &head.series), seen);
    }
    let dumps = newest.values().filter_map(|seen| seen.body.as_ref()).map(|body| sizes(body).0);
    Ok(ContentPrice { dump_bytes: dumps.sum(), series: newest.len(), pack_bytes: found.pack_bytes })
}
