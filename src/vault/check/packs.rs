//! Packs read one by one, the longest unread first, as many as there is time for.

use super::remember::{Depth, Remembered};
use super::{CheckSettings, ReadData};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::PackId;
use crate::vault::RepoError;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// A pack that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub id: PackId,
    pub bytes: u64,
    /// Its number in the catalog, where there is one.
    pub number: i64,
}

/// What reading came to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub packs: u64,
    pub bytes: u64,
    /// Packs that were to be read, and for which there was no time.
    pub left: u64,
    /// Packs that were not what they should be, with the reason.
    pub bad: HashMap<PackId, String>,
    /// Packs of which every block was opened.
    pub whole: Vec<PackId>,
}

/// Chooses what to read: those never read first, then by when they were read last.
pub(super) fn choose(mut packs: Vec<Due>, read: ReadData, times: &HashMap<PackId, i64>) -> Vec<Due> {
    packs.sort_by_key(|pack| (times.get(&pack.id).copied(), pack.id));
    let share = match read {
        ReadData::Nothing => return Vec::new(),
        ReadData::All => return packs,
        ReadData::Share(share) => share.clamp(0.0, 1.0),
    };
    // At least this share, so that 30 readings of 1/30 come round to everything.
    let wanted = packs.iter().map(|pack| pack.bytes as f64).sum::<f64>() * share;
    let mut before = 0.0;
    packs.retain(|pack| {
        let is_wanted = before < wanted;
        before += pack.bytes as f64;
        is_wanted
    });
    packs
}

/// Reads the packs with `look`, which says how closely it looked, or what is wrong, or fails; several at a time.
///
/// # Errors
/// When the storage fails, or somebody cancels.
pub(super) fn read(
    packs: &[Due],
    settings: &CheckSettings,
    remembered: &Remembered,
    observer: &dyn Observer,
    cancel: &Cancel,
    look: &(dyn Fn(&Due) -> Result<Depth, RepoError> + Sync),
) -> Result<Reading, RepoError> {
    let bytes_expected = Some(packs.iter().map(|pack| pack.bytes).sum());
    observer.observe(Event::StreamStarted { stream: "packs".to_owned(), bytes_expected });
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new((Reading::default(), None));
    std::thread::scope(|scope| {
        for _ in 0..settings.workers.max(1) {
            scope.spawn(|| {
                while let Some(pack) = packs.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if cancel.is_cancelled() {
                        break;
                    }
                    let is_late = settings.deadline.is_some_and(|deadline| Instant::now() >= deadline);
                    let outcome = (!is_late).then(|| look(pack));
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    let (reading, failure) = &mut *outcomes;
                    let Some(outcome) = outcome else {
                        reading.left += 1;
                        continue;
                    };
                    observer.observe(Event::Advanced { bytes: pack.bytes, bytes_known: 0 });
                    match outcome {
                        Ok(depth) => {
                            remembered.note(&pack.id, depth, settings.now_ms);
                            if depth == Depth::Opened {
                                reading.whole.push(pack.id);
                            }
                        }
                        // Whether it should be there is seen from the listings.
                        Err(RepoError::Missing { .. }) => {
                            remembered.forget(&pack.id);
                            continue;
                        }
                        Err(error) if error.is_integrity() => {
                            remembered.forget(&pack.id);
                            reading.bad.insert(pack.id, words(&error));
                        }
                        Err(error) => {
                            failure.get_or_insert(error);
                            break;
                        }
                    }
                    reading.packs += 1;
                    reading.bytes += pack.bytes;
                }
            });
        }
    });
    if cancel.is_cancelled() {
        return Err(RepoError::Cancelled);
    }
    let (reading, failure) = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failure {
        return Err(error);
    }
    observer.observe(Event::StreamFinished { stream: "packs".to_owned() });
    Ok(reading)
}

/// What is wrong, without the name of the object.
pub(super) fn words(error: &RepoError) -> String {
    match error {
        RepoError::Damaged { source, .. } => source.to_string(),
        RepoError::Missing { .. } => "it is missing".to_owned(),
        RepoError::Inconsistent { what, .. } => what.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_readings_of_a_thirtieth_come_round_to_everything_the_oldest_first() {
        let packs: Vec<Due> = (1..=100u8)
            .map(|n| Due { id: PackId::from_bytes([n; 32]), bytes: u64::from(n % 7 + 1) * 1000, number: 0 })
            .collect();
        let mut times = HashMap::new();
        for day in 0..30 {
            let chosen = choose(packs.clone(), ReadData::Share(1.0 / 30.0), &times);
            let oldest_left = packs
                .iter()
                .filter(|pack| !chosen.contains(pack))
                .map(|pack| times.get(&pack.id).copied())
                .min();
            for pack in chosen {
                assert!(times.get(&pack.id).copied() <= oldest_left.unwrap());
                times.insert(pack.id, day);
            }
        }
        assert_eq!(times.len(), 100);
        assert_eq!(choose(packs.clone(), ReadData::Share(0.0), &times), []);
        assert_eq!(choose(packs.clone(), ReadData::All, &times).len(), 100);
    }
}
