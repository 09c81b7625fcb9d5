//! The contents of one file: what of it is data, and whether it stayed the same while it was read.

use super::facts::is_same;
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, seek};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Files up to this size are read whole. If one changes while it is read, it is read again.
const WHOLE_MAX: u64 = 1 << 20;

/// A file that is being read.
pub(super) struct Content {
    file: File,
    before: Stat,
    /// What of it is data and was not given yet.
    rest: VecDeque<Range<u64>>,
    /// Bytes that were read ahead, and how many of them were given.
    whole: Option<(Vec<u8>, usize)>,
    hasher: blake3::Hasher,
    holes: Vec<u64>,
    size: u64,
    is_torn: bool,
    failure: Option<io::Error>,
}

/// What a file was.
pub(super) struct Ended {
    pub stat: Stat,
    pub size: u64,
    pub holes: Vec<u64>,
    pub digest: [u8; 32],
    pub is_torn: bool,
    /// Nothing changed from the beginning to the end.
    pub is_steady: bool,
    /// Why not all of it could be read.
    pub failure: Option<io::Error>,
}

impl Content {
    /// Opens a file that is a regular one, whatever came in its place since.
    pub(super) fn open(directory: &OwnedFd, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        // The time of the last reading stays what it was, where that is allowed.
        let opened = match openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(rustix::io::Errno::PERM) => openat(directory, name, flags, Mode::empty()),
            opened => opened,
        };
        let file = File::from(opened?);
        let before = fstat(&file)?;
        if !FileType::from_raw_mode(before.st_mode).is_file() {
            return Err(io::Error::other("it is not a regular file any more"));
        }
        let mut content = Self {
            file,
            before,
            rest: VecDeque::new(),
            whole: None,
            hasher: blake3::Hasher::new(),
            holes: Vec::new(),
            size: 0,
            is_torn: false,
            failure: None,
        };
        content.plan()?;
        if content.data_bytes() <= WHOLE_MAX {
            content.read_whole()?;
        }
        Ok(content)
    }

    /// Finds out what of it is data.
    fn plan(&mut self) -> io::Result<()> {
        self.size = u64::try_from(self.before.st_size).unwrap_or_default();
        let held = u64::try_from(self.before.st_blocks).unwrap_or_default().saturating_mul(512);
        (self.rest, self.holes) = match held < self.size {
            true => segments(&self.file, self.size)?,
            false => (all_of(self.size), Vec::new()),
        };
        self.rest.retain(|range| !range.is_empty());
        Ok(())
    }

    fn data_bytes(&self) -> u64 {
        self.rest.iter().map(|range| range.end - range.start).sum()
    }

    /// Reads all of it; once more if it changed meanwhile.
    fn read_whole(&mut self) -> io::Result<()> {
        for is_last in [false, true] {
            let mut bytes = Vec::with_capacity(self.data_bytes() as usize);
            let mut short = None;
            for range in &self.rest {
                let start = bytes.len();
                bytes.resize(start + (range.end - range.start) as usize, 0);
                let read = read_at(&self.file, bytes.get_mut(start..).unwrap_or_default(), range.start)?;
                bytes.truncate(start + read);
                if range.start + (read as u64) < range.end {
                    short = Some(range.start + read as u64);
                    break;
                }
            }
            let after = fstat(&self.file)?;
            let is_longer_log = short.is_none() && after.st_size > self.before.st_size;
            if is_last || is_longer_log || short.is_none() && is_same(&self.before, &after) {
                if let Some(end) = short {
                    self.cut(end);
                }
                self.whole = Some((bytes, 0));
                return Ok(());
            }
            self.before = after;
            self.plan()?;
            if self.data_bytes() > WHOLE_MAX {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The file ended before its time.
    fn cut(&mut self, end: u64) {
        self.is_torn = true;
        self.rest.clear();
        self.size = end;
        let (pairs, _) = self.holes.as_chunks::<2>();
        self.holes = pairs.iter().filter(|[offset, len]| offset + len <= end).flatten().copied().collect();
    }

    /// The next bytes; 0 when there are no more, or no more can be read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.fill(buffer);
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        count
    }

    fn fill(&mut self, buffer: &mut [u8]) -> usize {
        if let Some((bytes, given)) = &mut self.whole {
            let rest = bytes.get(*given..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
                to.copy_from_slice(from);
            }
            *given += count;
            return count;
        }
        let Some(range) = self.rest.front().cloned() else { return 0 };
        let want = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(buffer.len());
        let count = match self.file.read_at(buffer.get_mut(..want).unwrap_or_default(), range.start) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.fill(buffer),
            Err(error) => {
                self.failure = Some(error);
                0
            }
        };
        let at = range.start + count as u64;
        match count {
            0 => self.cut(at),
            _ if at == range.end => {
                self.rest.pop_front();
            }
            _ => {
                if let Some(front) = self.rest.front_mut() {
                    front.start = at;
                }
            }
        }
        count
    }

    /// All was given: what it was.
    pub(super) fn end(self) -> Ended {
        let after = fstat(&self.file);
        let is_steady = !self.is_torn && after.as_ref().is_ok_and(|after| is_same(&self.before, after));
        // What was added behind the end while the rest was read, as logs have it, is for the next backup.
        let is_longer = after.is_ok_and(|after| after.st_size > self.before.st_size);
        Ended {
            stat: self.before,
            size: self.size,
            holes: self.holes,
            digest: *self.hasher.finalize().as_bytes(),
            is_torn: self.is_torn || !is_steady && !is_longer,
            is_steady,
            failure: self.failure,
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn all_of(size: u64) -> VecDeque<Range<u64>> {
    std::iter::once(0..size).collect()
}

/// Ranges of data, and the holes between them: offset and length in turn.
fn segments(file: &File, size: u64) -> io::Result<(VecDeque<Range<u64>>, Vec<u64>)> {
    let (mut data, mut holes, mut at) = (VecDeque::new(), Vec::new(), 0);
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => size,
            // A file system that does not tell.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => {
                return Ok((all_of(size), Vec::new()));
            }
            Err(error) => return Err(error.into()),
        };
        if start > at {
            holes.extend([at, start - at]);
        }
        let end = if start < size { seek(file, SeekFrom::Hole(start))?.clamp(start, size) } else { size };
        if end > start {
            data.push_back(start..end);
        }
        at = end.max(start);
        if end == start && start < size {
            // The file changes under this: the rest is read as it comes.
            data.push_back(start..size);
            break;
        }
    }
    Ok((data, holes))
}
