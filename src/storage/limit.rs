//! Bandwidth limits: a backup in the working day must not take the whole line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Listed, Put, Storage, StorageError};

/// So many bytes a second, shared by all who hold it.
///
/// Bytes are scheduled on a line of time (the virtual scheduling of ITU-T I.371's generic cell rate algorithm): each
/// share waits for those before it, and time that nobody used is not saved up beyond a moment.
#[derive(Debug)]
pub struct Rate {
    bytes_per_second: u64,
    /// When what was reserved so far will have gone.
    free: Mutex<Option<Instant>>,
}

/// What may go at once after a pause, as time.
const BURST: Duration = Duration::from_millis(100);

impl Rate {
    /// At most so many bytes a second; 0 counts as 1.
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free: Mutex::default() }
    }

    /// How many bytes to send or receive at a time, so that the line is used evenly.
    pub fn share_bytes(&self) -> usize {
        // Bounded by 64 KiB, so it fits.
        (self.bytes_per_second / 8).clamp(1 << 10, 64 << 10) as usize
    }

    /// Takes room for `bytes` bytes; they may go after the time given.
    pub fn reserve(&self, bytes: u64) -> Duration {
        self.reserve_at(Instant::now(), bytes)
    }

    fn reserve_at(&self, now: Instant, bytes: u64) -> Duration {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begins = free.map_or(earliest, |free| free.max(earliest));
        let ends = begins + takes;
        *free = Some(ends);
        ends.saturating_duration_since(now)
    }
}

/// A storage within bandwidth limits. Each call counts as a whole: it waits for its bytes' time before (put) or after
/// (get) it moves them, so that single objects go at full speed and their sum keeps to the rate. A backend that can
/// spread the bytes of one request takes the [`Rate`]s itself.
#[derive(Debug)]
pub struct Limited<S> {
    inner: S,
    upload: Option<Arc<Rate>>,
    download: Option<Arc<Rate>>,
}

impl<S> Limited<S> {
    /// Limits `inner`; `None` is no limit.
    pub fn new(inner: S, upload: Option<Arc<Rate>>, download: Option<Arc<Rate>>) -> Self {
        Self { inner, upload, download }
    }
}

fn wait(rate: Option<&Arc<Rate>>, bytes: u64) {
    if let Some(rate) = rate {
        std::thread::sleep(rate.reserve(bytes));
    }
}

impl<S: Storage> Storage for Limited<S> {
    fn put(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        wait(self.upload.as_ref(), bytes.len() as u64);
        self.inner.put(key, bytes)
    }

    fn get(&self, key: &str, bytes_max: u64) -> Result<Vec<u8>, StorageError> {
        let bytes = self.inner.get(key, bytes_max)?;
        wait(self.download.as_ref(), bytes.len() as u64);
        Ok(bytes)
    }

    fn get_range(&self, key: &str, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.inner.get_range(key, offset, buffer)?;
        wait(self.download.as_ref(), buffer.len() as u64);
        Ok(())
    }

    fn size(&self, key: &str) -> Result<Option<u64>, StorageError> {
        self.inner.size(key)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Listed)) -> Result<(), StorageError> {
        self.inner.list(prefix, each)
    }

    fn delete(&self, key: &str) -> Result<(), StorageError> {
        self.inner.delete(key)
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn beneath(&self) -> Option<&dyn Storage> {
        Some(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_many_shares_then_their_sum_keeps_to_the_rate() {
        let rate = Rate::new(1_000_000);
        let now = Instant::now();
        let waits: Vec<Duration> = (0..50).map(|_| rate.reserve_at(now, 100_000)).collect();
        // The first goes in the burst; the last waits for the 5 seconds that all take, less that.
        assert_eq!(waits[0], Duration::ZERO);
        assert_eq!(waits[49].as_millis(), 4900);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn given_a_pause_then_the_time_that_nobody_used_is_not_saved_up() {
        let rate = Rate::new(1_000_000);
        let now = Instant::now();
        rate.reserve_at(now, 100_000);
        let later = now + Duration::from_secs(3600);
        assert_eq!(rate.reserve_at(later, 1_100_000).as_millis(), 1000);
    }

    #[test]
    fn given_a_slow_rate_then_shares_are_small_enough_to_flow() {
        assert_eq!(Rate::new(0).share_bytes(), 1 << 10);
        assert_eq!(Rate::new(80_000).share_bytes(), 10_000);
        assert_eq!(Rate::new(u64::MAX).share_bytes(), 64 << 10);
    }

    #[test]
    fn given_a_limit_then_a_call_takes_the_time_of_its_bytes() {
        use crate::storage::memory::MemoryStorage;
        let rate = || Some(Arc::new(Rate::new(1_000_000)));
        let storage = Limited::new(MemoryStorage::new(), rate(), rate());
        let began = Instant::now();
        storage.put("a", &[0; 200_000]).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        let began = Instant::now();
        storage.get("a", 200_000).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    }
}
