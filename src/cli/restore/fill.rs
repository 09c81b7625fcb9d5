//! Filling a database and counting what came.

use super::Work;
use super::parts::Picked;
use crate::cli::Context;
use crate::cli::args::RestoreArgs;
use crate::cli::report::CliError;
use crate::engine::restore::{Expected, Findings, Jobs, Target};
use crate::source::postgres::RestoreTarget;
use crate::vault::reader::ReadStats;

/// Restores, and counts what came.
pub(super) fn fill(
    work: &Work<'_>,
    args: &RestoreArgs,
    target: &RestoreTarget,
    expected: Option<Expected>,
) -> Result<(ReadStats, Option<Findings>), CliError> {
    let Work { context, chosen, stream, picked, .. } = work;
    let stats = match (args.jobs, picked) {
        (Some(jobs), Some(Picked { archive, part })) => {
            let scratch = context.app.environment.temporary();
            let Context { progress, cancel, .. } = context;
            let workers = usize::from(jobs);
            let jobs = Jobs { workers, scratch: &scratch, observer: progress, cancel };
            chosen.restore_jobs(stream, archive, &part.entries, target, &jobs)?
        }
        _ => work.send(Target::Database(Box::new(target.clone())))?,
    };
    let connections = args.jobs.map_or_else(|| context.cores(), usize::from);
    let findings = expected.map(|expected| expected.compare(target, connections)).transpose()?;
    Ok((stats, findings))
}
