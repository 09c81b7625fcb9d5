//! A restore of objects into a bucket, from what somebody asks for: which bucket is meant, and what must not happen to
//! it.

use super::bucket::{BucketJob, BucketPlan, BucketReport};
use super::hits::first;
use super::{Overwrite, Tree};
use crate::base::fault::Next;
use crate::base::objects::{Objects, Place, Reached};
use crate::base::run::Run;
use crate::base::words;
use crate::content::index::Of;
use crate::engine::OpError;
use crate::engine::app::{App, BUCKETS};
use crate::engine::plan::Programs;
use crate::engine::restore::{Chosen, refuse_protected};
use crate::source::SourceError;
use crate::source::bucket::BucketError;
use crate::source::kind::Home;
use std::sync::Arc;

/// What somebody asks to restore.
#[derive(Debug, Clone)]
pub struct IntoBucketJob {
    /// The bucket.
    pub reached: Reached,
    /// Which objects, and what becomes of those that are there.
    pub objects: BucketJob,
    /// Delete more than half of what is there.
    pub force: bool,
}

/// A restore into a bucket.
pub struct IntoBucketPlan<'a> {
    /// The objects of the snapshot.
    pub tree: Tree<'a>,
    /// What would be done.
    pub plan: BucketPlan,
    /// Where they go, in words.
    pub place: String,
    /// Why they do not. [`run_into_bucket`] fails with it.
    pub refusal: Option<OpError>,
    job: IntoBucketJob,
    into: Arc<dyn Objects>,
}

/// Says what a restore would do. Changes nothing.
///
/// # Errors
/// When the snapshot holds no objects, the bucket holds the repository or is protected, or it cannot be listed.
pub fn plan_into_bucket<'a>(
    job: IntoBucketJob,
    chosen: &'a Chosen,
    stream: Option<&str>,
    app: &App,
    run: &Run,
) -> Result<IntoBucketPlan<'a>, OpError> {
    let tree = Tree::any(chosen, stream)?;
    let wrong = |message: String, next: &'static str| OpError::Job { message, next: Some(Next::new(next)) };
    if tree.holds() != Of::Objects {
        let message = format!("snapshot {} holds files, and no objects", chosen.summary.id.short());
        return Err(wrong(message, "restore files with {to_dir}"));
    }
    if job.objects.overwrite == Overwrite::Older {
        return Err(wrong(
            "`older` is for files: objects are compared by what they hold".to_owned(),
            "{overwrite} older goes with {to_dir}",
        ));
    }
    let problem = |problem: crate::base::setting::Problem| OpError::Job {
        message: problem.text,
        next: problem.next.map(Next::new),
    };
    let job = IntoBucketJob { reached: reached(job.reached, app, run)?, ..job };
    let place = BUCKETS.place(&job.reached).map_err(problem)?;
    if let Some(own) = app.overlap(&place) {
        let message = format!("`{place}` holds the repository `{own}`");
        return Err(wrong(message, "restore into another bucket, or below another prefix"));
    }
    let failed = |error| OpError::from(SourceError::from(BucketError::from(error)));
    let into = BUCKETS.open(&job.reached, run).map_err(failed)?;
    let plan = tree.plan_bucket(&job.objects, &into, run)?;
    tree.check_matches(plan.objects + plan.unreadable + plan.deleted)?;
    let place = into.place();
    if plan.there > 0 {
        check_protected(app, &place, plan.there)?;
    }
    let refusal = (plan.deleted > plan.there / 2 && !job.force).then(|| OpError::Refused {
        message: format!(
            "refused: {} of {} in `{place}` would be deleted{}",
            plan.deleted,
            words::count(plan.there, "object"),
            first(&plan.deleted_first, plan.deleted)
        ),
        next: Some(Next::new("check the address, leave out {delete}, or use {force}")),
    });
    Ok(IntoBucketPlan { tree, plan, place: place.to_string(), refusal, job, into })
}

/// How the bucket is reached: as is said, or if only its address is, as the source of the configuration with this
/// address is.
fn reached(said: Reached, app: &App, run: &Run) -> Result<Reached, OpError> {
    let is_said = said.endpoint.is_some() || said.region.is_some() || said.profile.is_some();
    let is_it = |home: &Home| home.address == said.address;
    let mut named = app.settings.sources.iter();
    match named.find(|(_, source)| source.kind.home().as_ref().is_some_and(is_it)) {
        Some((name, source)) if !is_said => {
            let around = Programs::of(app).surroundings_of(name, &source.programs, run.events.as_ref())?;
            Ok(source.kind.bucket(&around).unwrap_or(said))
        }
        _ => Ok(said),
    }
}

/// Carries out a plan.
///
/// # Errors
/// When it cannot go on. Objects that failed are in the report.
pub fn run_into_bucket(plan: IntoBucketPlan<'_>, run: &Run) -> Result<BucketReport, OpError> {
    match plan.refusal {
        Some(refusal) => Err(refusal),
        None => plan.tree.restore_bucket(&plan.job.objects, &plan.into, run),
    }
}

/// `protect` in the configuration: these buckets are not touched while they hold something.
fn check_protected(app: &App, place: &Place, there: u64) -> Result<(), OpError> {
    let (whole, endpoint) = (place.to_string(), place.endpoint.clone().unwrap_or_default());
    let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
    let names = [place.bucket.as_str(), whole.as_str(), host, host.split(':').next().unwrap_or(host)];
    let next = "restore into another bucket, or edit `protect`";
    let holds = words::count(there, "object");
    refuse_protected(&app.settings.protect, &names, &format!("`{whole}`"), &holds, next)
}
