//! The files beside the database: how they change from day to day, how they are backed up, and how one that was deleted
//! comes back.

use super::{DemoFile, World, elapsed_ms};
use crate::engine::OpError;
use crate::engine::files::{FilesJob, Overwrite, Tree, WantedFiles};
use crate::engine::restore::Chosen;
use crate::source::files::{Files, Ownership};
use crate::source::{PlannedStream, Source};
use std::collections::{BTreeMap, btree_map::Entry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Bytes of a photo, about: it does not compress.
const PHOTO_BYTES: u64 = 16 << 10;
/// Lines of an invoice, which is text.
const INVOICE_LINES: u64 = 40;
/// The size of all files against that of the first dump.
const OF_THE_DUMP: u64 = 20;
/// Of so many files one changes on a day, and one is deleted. One comes for twice as many.
const ONE_OF: u64 = 64;
/// The file that is lost: it stays as it was made, on every day.
const LOST: &str = "invoices/0000.txt";

/// A folder of photos and invoices.
pub(super) struct Uploads {
    folder: PathBuf,
    /// What is there, with the day on which it was last written.
    files: BTreeMap<String, u16>,
    made: u64,
}

/// What a day did to the files.
#[derive(Default)]
pub(super) struct Lived {
    /// Files that are there.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Files that were added, changed or deleted since the day before.
    pub(super) touched: u64,
}

impl Uploads {
    /// An empty folder.
    pub(super) fn create(folder: PathBuf) -> Result<Self, OpError> {
        for kind in ["photos", "invoices"] {
            let path = folder.join(kind);
            std::fs::create_dir_all(&path).map_err(|source| OpError::File { path, source })?;
        }
        Ok(Self { folder, files: BTreeMap::new(), made: 0 })
    }

    /// A day of business passes; on the first one everything comes, about a twentieth of a dump of `bytes`.
    pub(super) fn live_a_day(&mut self, day: u16, bytes: u64) -> Result<Lived, OpError> {
        let mut lived = Lived::default();
        for name in self.files.keys().cloned().collect::<Vec<_>>() {
            match number_of(&format!("{name} on day {day}")) % ONE_OF {
                _ if name == LOST => continue,
                0 => {
                    let path = self.folder.join(&name);
                    std::fs::remove_file(&path).map_err(|source| OpError::File { path, source })?;
                    self.files.remove(&name);
                }
                1 => self.write(name, day)?,
                _ => continue,
            }
            lived.touched += 1;
        }
        let pairs = match day {
            0 => (bytes / OF_THE_DUMP / PHOTO_BYTES).clamp(16, 2000),
            _ => (self.made / ONE_OF / 4).max(2),
        };
        for number in self.made..self.made + pairs {
            self.write(format!("photos/{number:04}.jpg"), day)?;
            self.write(format!("invoices/{number:04}.txt"), day)?;
        }
        self.made += pairs;
        lived.touched += if day == 0 { 0 } else { 2 * pairs };
        lived.files = self.files.len() as u64;
        lived.bytes = self.files.iter().map(|(name, day)| content(name, *day).len() as u64).sum();
        Ok(lived)
    }

    fn write(&mut self, name: String, day: u16) -> Result<(), OpError> {
        let path = self.folder.join(&name);
        std::fs::write(&path, content(&name, day)).map_err(|source| OpError::File { path, source })?;
        match self.files.entry(name) {
            Entry::Occupied(mut there) => *there.get_mut() = day,
            Entry::Vacant(new) => drop(new.insert(day)),
        }
        Ok(())
    }

    /// What a backup of the folder reads, and what it says of its source.
    pub(super) fn source(
        &self,
        series: &str,
        world: &World<'_>,
    ) -> Result<(Vec<PlannedStream<'static>>, BTreeMap<String, String>), OpError> {
        let files = Files { paths: vec![self.folder.clone()], ..Files::default() };
        let described = files.describe();
        let streams = Box::new(files).streams(series, &world.run);
        let failed = |source| OpError::Source { what: "the uploads".to_owned(), source };
        Ok((streams.map_err(failed)?, described))
    }

    /// A file is deleted, and comes back from a snapshot, by way of the folder `restored`.
    pub(super) fn lose_a_file(
        &self,
        chosen: &Chosen,
        restored: &Path,
        world: &World<'_>,
    ) -> Result<DemoFile, OpError> {
        let path = self.folder.join(LOST);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| OpError::File { path, source }
        };
        let before = std::fs::read(&path).map_err(failed(&path))?;
        std::fs::remove_file(&path).map_err(failed(&path))?;
        let begun = Instant::now();
        // The index has whole paths, without the first slash.
        let inside = path.strip_prefix("/").unwrap_or(&path);
        let job = FilesJob {
            wanted: WantedFiles::exactly(inside.as_os_str().as_bytes()),
            overwrite: Overwrite::Never,
            ownership: Ownership::None,
        };
        let tree = Tree::any(chosen, None)?;
        let report = tree.restore(&job, restored, world.observer, world.cancel)?;
        let back = restored.join(inside);
        std::fs::rename(&back, &path).map_err(failed(&back))?;
        let duration_ms = elapsed_ms(begun);
        let is_same = report.class().is_none() && std::fs::read(&path).map_err(failed(&path))? == before;
        Ok(DemoFile { name: LOST.to_owned(), bytes: before.len() as u64, is_same, duration_ms })
    }

    /// Removes the folder.
    pub(super) fn close(self, restored: &Path) -> Result<(), OpError> {
        for path in [&self.folder, restored] {
            let gone = std::fs::remove_dir_all(path);
            gone.map_err(|source| OpError::File { path: path.to_owned(), source })?;
        }
        Ok(())
    }
}

fn number_of(text: &str) -> u64 {
    blake3::hash(text.as_bytes())
        .as_bytes()
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What a file holds that was written on that day.
fn content(name: &str, day: u16) -> Vec<u8> {
    let seed = format!("{name}, day {day}");
    let number = number_of(&seed);
    if name.starts_with("photos/") {
        let bytes = PHOTO_BYTES / 2 + number % PHOTO_BYTES;
        let mut photo = vec![0; usize::try_from(bytes).unwrap_or_default()];
        blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut photo);
        return photo;
    }
    let lines = (0..INVOICE_LINES).map(|line| {
        let item = number.rotate_left(u32::try_from(line).unwrap_or_default());
        format!(
            "{line:3}  article {:06}  quantity {:2}  price {:6}.00\n",
            item % 1_000_000,
            item % 13,
            item % 997
        )
    });
    format!("Invoice of {seed}\n\n{}", lines.collect::<String>()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_days_of_business_then_files_come_change_and_go_and_the_lost_one_stays() {
        let temp = tempfile::tempdir().unwrap();
        let mut uploads = Uploads::create(temp.path().join("uploads")).unwrap();
        let first = uploads.live_a_day(0, 100_000_000).unwrap();
        assert!(first.files > 600 && (4_000_000..8_000_000).contains(&first.bytes), "{}", first.bytes);
        assert_eq!(first.touched, 0);
        let before = std::fs::read(temp.path().join("uploads").join(LOST)).unwrap();
        let names = uploads.files.clone();
        let second = uploads.live_a_day(1, 100_000_000).unwrap();
        let changed =
            uploads.files.iter().filter(|(name, day)| names.contains_key(*name) && **day == 1).count();
        let gone = names.keys().filter(|name| !uploads.files.contains_key(*name)).count();
        let new = uploads.files.keys().filter(|name| !names.contains_key(*name)).count();
        assert!(changed > 0 && gone > 0 && new > 0, "{changed} {gone} {new}");
        assert_eq!(second.touched, (changed + gone + new) as u64);
        assert_eq!(std::fs::read(temp.path().join("uploads").join(LOST)).unwrap(), before);
    }
}
