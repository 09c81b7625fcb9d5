//! Check: find damage, and remember it, so that the next backup stores anew what it hits.

use super::OpError;
use crate::clock::Clock;
use crate::event::{Cancel, Event, Observer};
use crate::id::PackId;
use crate::repo::Repository;
use crate::repo::verify::{CheckReport, CheckSettings, ReadData};

/// Checks the repository. Where packs are read, those found damaged are marked, so that no new snapshot relies on them, and those that
/// were marked and are whole are so no more.
///
/// # Errors
/// When nothing can be said. Damage is in the answer.
pub fn check(
    repo: &Repository,
    clock: &dyn Clock,
    host: &str,
    settings: CheckSettings,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<CheckReport, OpError> {
    let report = repo.check(settings, observer, cancel)?;
    if settings.read == ReadData::Nothing {
        return Ok(report);
    }
    let now_ms = clock.now().as_millisecond();
    let warn = |message: String| observer.observe(Event::Warning { message });
    let marked = repo.history(&mut repo.catalog(observer)?)?.damaged_packs;
    for damage in &report.damage {
        let pack = damage.object.strip_prefix("packs/").and_then(|key| key.rsplit('/').next());
        let Some(Ok(pack)) = pack.map(str::parse::<PackId>) else { continue };
        // A pack that is missing or short shows without a mark.
        let shows = damage.what.contains("missing") || damage.what.contains("should have");
        if marked.contains_key(&pack) || shows {
            continue;
        }
        if let Err(error) = repo.mark_damaged(&pack, &damage.what, host, now_ms) {
            warn(format!("cannot mark `{}` as damaged: {error}", damage.object));
        }
    }
    for pack in &report.recovered {
        if let Err(error) = repo.clear_damaged(pack, host, now_ms) {
            warn(format!("cannot take back that pack {} is damaged: {error}", pack.short()));
        }
    }
    Ok(report)
}
