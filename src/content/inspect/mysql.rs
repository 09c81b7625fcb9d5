//! The script of `mysqldump` and `mariadb-dump`, which ends with a comment that says so.

use super::check::{Check, End};
use super::lines::lines_from_the_end;

/// How the comment at the front begins.
pub(super) const STARTS: [&[u8]; 2] = [b"-- MySQL dump ", b"-- MariaDB dump "];
const COMPLETED: &[u8] = b"-- Dump completed";
/// So much of the end is kept: the comment, and a few lines that somebody may have added.
const KEPT_BYTES: usize = 4096;

/// A script.
#[derive(Debug, Default)]
pub(super) struct Mysql {
    kept: Vec<u8>,
    offset: u64,
}

impl Check for Mysql {
    fn push(&mut self, bytes: &[u8]) {
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        let last = bytes.get(bytes.len().saturating_sub(KEPT_BYTES)..).unwrap_or(bytes);
        self.kept.extend_from_slice(last);
        let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
        self.kept.drain(..surplus);
    }

    fn finish(&mut self) -> End {
        let mut behind = None;
        for (at, line) in lines_from_the_end(&self.kept) {
            if line.starts_with(COMPLETED) {
                let start = self.offset - self.kept.len() as u64;
                return match behind {
                    Some(at) => End::Followed(start + at as u64),
                    None => End::Whole,
                };
            }
            behind = Some(at);
        }
        End::Cut("the script: its closing comment is missing")
    }
}
