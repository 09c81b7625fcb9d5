//! Object locks: those that end too soon are told, and prolonged.

use super::OpError;
use super::report::LockExtension;
use crate::base::clock::Clock;
use crate::base::event::Event;
use crate::base::run::Run;
use crate::vault::Repository;
use crate::vault::check::CheckReport;
use crate::vault::object_locks::ShortLock;
use jiff::Timestamp;

/// So many objects are named.
const NAMED: usize = 5;

/// Locks of objects that snapshots need and that end too soon, where objects are to be locked. Of a damaged repository
/// it cannot be told what is needed.
///
/// # Errors
/// When the storage fails.
pub(super) fn short_locks(
    repo: &Repository,
    report: &CheckReport,
    run: &Run,
) -> Result<Vec<ShortLock>, OpError> {
    if !report.is_clean() || !repo.object_locks().locks() {
        return Ok(Vec::new());
    }
    let now_ms = run.clock.now().as_millisecond();
    let (short, objects) = repo.object_locks().short_locks(now_ms, run.events.as_ref(), &run.cancel)?;
    if short.is_empty() {
        return Ok(short);
    }
    let words = |lock: &ShortLock| {
        let until = lock.until.and_then(|until| Timestamp::try_from(until).ok());
        format!(
            "{} ({})",
            lock.object,
            until.map_or_else(|| "not locked".to_owned(), |until| until.to_string())
        )
    };
    let named: Vec<String> = short.iter().take(NAMED).map(words).collect();
    let more = match short.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "of {objects} objects that snapshots need, the locks of {} end too soon: {}{more}; run `dumpvault object-lock extend`",
        short.len(),
        named.join(", ")
    );
    run.events.observe(Event::Warning { message });
    Ok(short)
}

/// Prolongs the locks of all that kept snapshots need; with `dry_run`, says only what it would do.
///
/// # Errors
/// When the storage fails or refuses, it was not told to lock, or a snapshot cannot be followed.
pub(crate) fn extend_locks(dry_run: bool, repo: &Repository, run: &Run) -> Result<LockExtension, OpError> {
    let now_ms = Clock::now(run.clock.as_ref()).as_millisecond();
    let locks = repo.object_locks();
    let extended = locks.extend_all_locks(now_ms, dry_run, run.events.as_ref(), &run.cancel)?;
    let until = Timestamp::try_from(extended.until).unwrap_or(Timestamp::MAX);
    Ok(LockExtension { dry_run, objects: extended.objects, until: until.into() })
}
