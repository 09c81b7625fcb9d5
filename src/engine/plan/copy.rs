//! What is to be copied, and where to.

use super::refused;
use crate::base::fault::Next;
use crate::base::level::Level;
use crate::base::name::{SeriesName, SnapshotName};
use crate::base::run::Run;
use crate::base::unit::Since;
use crate::engine::OpError;
use crate::engine::app::{App, Place};
use crate::engine::copy::CopyRequest;
use crate::settings::Destination;
use crate::vault::reader::ReadSettings;

/// Plain bytes of the source's blocks held open unless they are too few, bytes of a read, and reads at a time: the
/// destination needs room beside them.
const OPEN_BYTES: u64 = 32 << 20;
const RUN_BYTES_MAX: u64 = 2 << 20;
const WORKERS_MAX: usize = 8;

/// What somebody asks to copy. What is not said is taken from the configuration.
#[derive(Debug, Clone, Default)]
pub struct CopyJob {
    /// The destination; all of the configuration if there is none.
    pub to: Option<String>,
    /// Snapshots by name; all if there is none.
    pub names: Vec<SnapshotName>,
    /// A host with none of its own takes names to mean the newest of all hosts'.
    pub any_host: bool,
    /// Only these series …
    pub series: Vec<SeriesName>,
    /// … and this host …
    pub host: Option<String>,
    /// … with all of these tags …
    pub tags: Vec<String>,
    /// … and not older than this.
    pub since: Option<Since>,
    /// How hard to compress.
    pub level: Option<Level>,
    /// Say what would be copied.
    pub dry_run: bool,
}

/// Copies to make, one destination after another.
pub struct CopyPlan {
    /// One a destination.
    pub copies: Vec<PlannedCopy>,
}

/// A copy to make.
pub struct PlannedCopy {
    /// The destination's name or address.
    pub name: String,
    /// Where it is, and how it is opened.
    pub destination: Destination<Place>,
    /// What goes there.
    pub request: CopyRequest,
}

/// Says what a job comes to. Nothing is opened.
///
/// # Errors
/// When nothing says where to copy to.
pub fn plan_copy(job: &CopyJob, app: &App, run: &Run) -> Result<CopyPlan, OpError> {
    let known = &app.settings.copies;
    let wanted: Vec<_> = match &job.to {
        Some(to) => known.get_key_value(to).into_iter().collect(),
        None => known.iter().collect(),
    };
    if wanted.is_empty() {
        let next = "give {to} REPO, or write [copy.offsite] with `repository = \"…\"` into dumpvault.toml";
        return Err(refused("nothing says where to copy to", Next::new(next)));
    }
    let copies = wanted.into_iter().map(|(name, destination)| PlannedCopy {
        name: name.clone(),
        destination: destination.clone(),
        request: request(job, destination, app, run),
    });
    Ok(CopyPlan { copies: copies.collect() })
}

fn request(job: &CopyJob, settings: &Destination<Place>, app: &App, run: &Run) -> CopyRequest {
    let calendar = app.settings.calendar.clone();
    let own_level = job.level.or(settings.compression);
    let since = job.since.or(settings.since).map(|since| since.moment(&calendar.zone, run.clock.now()));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let read = if app.is_remote() { ReadSettings::remote() } else { ReadSettings::local(cores) };
    CopyRequest {
        names: job.names.clone(),
        any_host: job.any_host,
        series: if job.series.is_empty() { settings.series.clone() } else { job.series.clone() },
        // One that the configuration names may have its first backup yet to come.
        series_must_be: !job.series.is_empty(),
        host: job.host.clone().or_else(|| settings.host.clone()),
        tags: if job.tags.is_empty() { settings.tags.clone() } else { job.tags.clone() },
        since,
        calendar,
        level: own_level.unwrap_or(app.settings.compression),
        recompress: own_level.is_some(),
        workers: cores,
        read: ReadSettings {
            workers: read.workers.min(WORKERS_MAX),
            open_bytes: OPEN_BYTES,
            run_bytes: read.run_bytes.min(RUN_BYTES_MAX),
            ..read
        },
        by: app.host(),
        dry_run: job.dry_run,
    }
}
