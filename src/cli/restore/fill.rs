//! Filling a database and counting what came.

use super::Work;
use super::parts::Picked;
use crate::cli::Context;
use crate::engine::OpError;
use crate::engine::restore::{Expected, Findings, Jobs, Target};
use crate::source::postgres::RestoreTarget;
use crate::vault::reader::ReadStats;

/// Restores, by so many workers where a number is given, and counts what came.
pub(super) fn fill(
    work: &Work<'_>,
    workers: Option<usize>,
    target: &RestoreTarget,
    expected: Option<Expected>,
) -> Result<(ReadStats, Option<Findings>), OpError> {
    let Work { context, chosen, stream, picked, .. } = work;
    let stats = match (workers, picked) {
        (Some(workers), Some(Picked { archive, part })) => {
            let scratch = context.app.environment.temporary();
            let Context { progress, cancel, .. } = context;
            let jobs = Jobs { workers, scratch: &scratch, observer: progress, cancel };
            chosen.restore_jobs(stream, archive, &part.entries, target, &jobs)?
        }
        _ => work.send(Target::Database(Box::new(target.clone())))?,
    };
    let connections = workers.unwrap_or_else(|| context.cores());
    let findings = expected.map(|expected| expected.compare(target, connections)).transpose()?;
    Ok((stats, findings))
}
