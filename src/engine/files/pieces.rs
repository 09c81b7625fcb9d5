//! Contents of many files, read in few goes: ranges that lie close to each other become one, and what comes is split
//! again.

use super::{PlacedFile, Tree};
use crate::base::event::Cancel;
use crate::content::index::Row;
use crate::engine::OpError;
use crate::vault::RepoError;

/// Bytes of files that are not wanted are passed over up to so many: it costs less than to begin anew.
const GAP_BYTES: u64 = 1 << 20;

/// Takes contents, one file after another.
pub(super) trait Takes {
    /// A file begins; one that was begun and did not end is given up.
    fn begin(&mut self, row: &Row);

    /// Its next bytes.
    fn put(&mut self, row: &Row, bytes: &[u8]);

    /// All of it was given.
    fn end(&mut self, row: &Row);

    /// It cannot be read, and is not given.
    fn damaged(&mut self, row: &Row, why: &str);
}

impl Tree<'_> {
    /// Reads files that are in order.
    ///
    /// # Errors
    /// When they cannot be read for other reasons than damage, which is told file by file.
    pub(super) fn contents(
        &self,
        queue: &[PlacedFile],
        takes: &mut dyn Takes,
        cancel: &Cancel,
    ) -> Result<(), OpError> {
        let mut rest = queue;
        while !rest.is_empty() {
            let (run, _) = rest.split_at_checked(run_of(rest)).unwrap_or((rest, &[]));
            let (done, outcome) = self.run(run, takes, cancel);
            rest = rest.get(done..).unwrap_or_default();
            let Err(error) = outcome else { continue };
            if !error.is_integrity() {
                return Err(error.into());
            }
            // One of those that were read ahead is damaged: this one, by itself, tells whether it is.
            let Some((first, later)) = rest.split_first() else { break };
            match self.run(std::slice::from_ref(first), takes, cancel) {
                (_, Ok(())) => {}
                (_, Err(error)) if error.is_integrity() => takes.damaged(&first.row, &error.to_string()),
                (_, Err(error)) => return Err(error.into()),
            }
            rest = later;
        }
        Ok(())
    }

    /// Reads files whose bytes lie close to each other; how many of them are done, well or not.
    fn run(
        &self,
        run: &[PlacedFile],
        takes: &mut dyn Takes,
        cancel: &Cancel,
    ) -> (usize, Result<(), RepoError>) {
        let bytes = match (run.first(), run.last()) {
            (Some(first), Some(last)) => first.bytes.start..last.bytes.end,
            _ => return (0, Ok(())),
        };
        let (mut at, mut done, mut is_begun) = (bytes.start, 0, false);
        let mut take = |mut bytes: &[u8]| {
            while let Some(file) = run.get(done) {
                if at < file.bytes.start {
                    let skipped = usize::try_from(file.bytes.start - at).unwrap_or(usize::MAX);
                    let skipped = skipped.min(bytes.len());
                    at += skipped as u64;
                    bytes = bytes.get(skipped..).unwrap_or_default();
                }
                if at < file.bytes.start {
                    return;
                }
                if !is_begun {
                    takes.begin(&file.row);
                    is_begun = true;
                }
                let count = usize::try_from(file.bytes.end - at).unwrap_or(usize::MAX).min(bytes.len());
                let (of_file, behind) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
                takes.put(&file.row, of_file);
                at += count as u64;
                bytes = behind;
                if at < file.bytes.end {
                    return;
                }
                takes.end(&file.row);
                is_begun = false;
                done += 1;
            }
        };
        let outcome = self.read(bytes, cancel, &mut |part| {
            take(part);
            Ok(())
        });
        if outcome.is_ok() {
            // Those at the end that have no bytes.
            take(&[]);
        }
        (done, outcome)
    }
}

/// How many of the files lie close enough to be read in one go.
fn run_of(files: &[PlacedFile]) -> usize {
    let pairs = files.iter().zip(files.iter().skip(1));
    let close = pairs.take_while(|(one, next)| next.bytes.start.saturating_sub(one.bytes.end) <= GAP_BYTES);
    close.count() + 1
}
