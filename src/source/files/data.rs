//! The data stream: contents of files that changed, and ranges of the parent's for those that did not. Rows of the
//! index come of it.

use super::content::{Content, Ended};
use super::facts::{Owners, change, mtime, row, special, xattrs};
use super::walk::{Counted, Found, Walked, walk};
use super::{Choice, Dump, Files, FilesError, RACY};
use crate::base::event::Event;
use crate::base::id::StreamDigest;
use crate::base::numbers::{Proof, StreamFormat};
use crate::base::run::Run;
use crate::base::unit::Age;
use crate::base::words::path as shown;
use crate::content::index::{Change, Kind, Of, Row};
use crate::source::SourceError;
use crate::source::indexed::{Before, Copies, Deadline, Kept, ParentIndex, Rows};
use crossbeam_channel::Receiver;
use jiff::tz::TimeZone;
use rustix::fs::{FileType, Stat, readlinkat};
use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;
use std::thread::JoinHandle;

/// Files that wait to be looked at; each may hold a directory open.
const AHEAD: usize = 256;
/// So many files that could not be read are named.
const NAMED_MAX: u64 = 20;

/// The data stream.
pub(super) struct Data {
    found: Option<Receiver<Found>>,
    walker: Option<JoinHandle<Result<Counted, FilesError>>>,
    /// Name of the index, in the parent too.
    index_name: String,
    parent: Option<ParentIndex>,
    /// The file under way: its row, without its digest.
    current: Option<(Row, Content)>,
    copies: Copies,
    has_ended: bool,
    rows: Rows,
    links: HashMap<(u64, u64), Vec<u8>>,
    owners: Owners,
    /// What changed before that second is taken for settled.
    settled_before: i64,
    told: Told,
    failure: Option<FilesError>,
    kept: Kept,
    deadline: Deadline,
    run: Run,
}

/// What a person is told of.
#[derive(Default)]
struct Told {
    unread: u64,
    torn: u64,
    vanished: u64,
}

impl Told {
    fn unread(&mut self, run: &Run, path: &[u8], why: &str) {
        self.unread += 1;
        self.name(run, self.unread, format!("cannot read `{}`: {why}", shown(path)));
    }

    fn torn(&mut self, run: &Run, path: &[u8]) {
        self.torn += 1;
        self.name(run, self.torn, format!("`{}` changed while it was read", shown(path)));
    }

    fn name(&self, run: &Run, count: u64, message: String) {
        if count <= NAMED_MAX {
            run.events.observe(Event::Warning { message });
        }
    }
}

impl Data {
    /// Begins to walk.
    pub(super) fn start(files: Files, index_name: String, kept: Kept, run: Run) -> Result<Self, FilesError> {
        let began = run.clock.now().as_second();
        let settled_before = began.saturating_sub(RACY.as_secs().cast_signed());
        let Files { paths, choice, newer_than, crosses, skips_caches, timeout } = files;
        let since = |age: Age| age.before(run.clock.now(), &TimeZone::UTC).as_second();
        let choice = newer_than.map(since).into_iter().fold(choice, Choice::newer_than);
        let (found_in, found) = crossbeam_channel::bounded(AHEAD);
        let cancel = run.cancel.clone();
        let walker = std::thread::Builder::new().name("walk".to_owned());
        let walker = walker
            .spawn(move || walk(&paths, &Walked { choice, crosses, skips_caches }, &found_in, &cancel))
            .map_err(|source| FilesError::Walk { source })?;
        Ok(Self {
            found: Some(found),
            walker: Some(walker),
            index_name,
            parent: None,
            current: None,
            copies: Copies::default(),
            has_ended: false,
            rows: Rows::new(Of::Files),
            links: HashMap::new(),
            owners: Owners::of_system(),
            settled_before,
            told: Told::default(),
            failure: None,
            kept,
            deadline: Deadline::after(timeout),
            run,
        })
    }

    /// Looks at the next file, and begins to read it where it has to be read.
    fn step(&mut self) -> Result<(), FilesError> {
        let next = self.found.as_ref().and_then(|found| found.recv().ok());
        let Some(Found { path, place, stat }) = next else { return self.end() };
        let before = self.parent.as_mut().and_then(|parent| parent.find(&path));
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) => return self.unreadable(path, None, &error),
        };
        if let Some(first) = self.link(&path, &stat) {
            let row = row(&path, Kind::HardLink(first), &stat, &self.owners);
            return Ok(self.rows.push(&row, &change(&stat, self.settled_before))?);
        }
        if let Some(before) = before.filter(|before| is_unchanged(before, &stat)) {
            self.note_link(&path, &stat);
            return self.unchanged(before);
        }
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => {
                let Some((directory, name)) = &place else { return Ok(()) };
                let content = match Content::open(directory, name) {
                    Ok(content) => content,
                    Err(error) => return self.gone_or_unreadable(path, &stat, &error),
                };
                let mut row = row(&path, Kind::Unreadable, &stat, &self.owners);
                row.extra.xattrs = self.attributes(&path, directory, name);
                self.copies.settle();
                self.current = Some((row, content));
                return Ok(());
            }
            FileType::Symlink => {
                let Some((directory, name)) = &place else { return Ok(()) };
                match readlinkat(&**directory, &**name, Vec::new()) {
                    Ok(text) => Kind::Symlink(text.into_bytes()),
                    Err(error) => return self.gone_or_unreadable(path, &stat, &error.into()),
                }
            }
            _ => match special(&stat) {
                Some(kind) => kind,
                None => {
                    return self.unreadable(path, Some(&stat), &io::Error::other("an unknown kind of file"));
                }
            },
        };
        let mut row = row(&path, kind, &stat, &self.owners);
        if let Some((directory, name)) = &place {
            row.extra.xattrs = self.attributes(&path, directory, name);
        }
        Ok(self.rows.push(&row, &change(&stat, self.settled_before))?)
    }

    /// Path of the first name of a file that has several, unless this is it.
    fn link(&mut self, path: &[u8], stat: &Stat) -> Option<Vec<u8>> {
        let is_linked = stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode).is_file();
        is_linked
            .then(|| self.links.get(&(stat.st_dev, stat.st_ino)).filter(|first| *first != path).cloned())?
    }

    fn note_link(&mut self, path: &[u8], stat: &Stat) {
        if stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode).is_file() {
            self.links.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_vec());
        }
    }

    fn attributes(
        &self,
        path: &[u8],
        directory: &std::os::fd::OwnedFd,
        name: &[u8],
    ) -> Option<Vec<(minicbor::bytes::ByteVec, minicbor::bytes::ByteVec)>> {
        xattrs(directory, name).unwrap_or_else(|error| {
            let message = format!("cannot read the attributes of `{}`: {error}", shown(path));
            self.run.events.observe(Event::Warning { message });
            None
        })
    }

    /// The file is as it was: its row is the parent's, and so are its bytes.
    fn unchanged(&mut self, before: Before) -> Result<(), FilesError> {
        let Before { row, change, bytes } = before;
        self.rows.unchanged(&row, &change)?;
        self.copies.push(bytes);
        Ok(())
    }

    fn gone_or_unreadable(
        &mut self,
        path: Vec<u8>,
        stat: &Stat,
        error: &io::Error,
    ) -> Result<(), FilesError> {
        if error.kind() == io::ErrorKind::NotFound {
            self.told.vanished += 1;
            return Ok(());
        }
        self.unreadable(path, Some(stat), error)
    }

    fn unreadable(
        &mut self,
        path: Vec<u8>,
        stat: Option<&Stat>,
        error: &io::Error,
    ) -> Result<(), FilesError> {
        self.told.unread(&self.run, &path, &error.to_string());
        let mut row = match stat {
            Some(stat) => row(&path, Kind::Unreadable, stat, &self.owners),
            None => Row {
                path,
                kind: Kind::Unreadable,
                mode: 0,
                uid: 0,
                gid: 0,
                mtime: Default::default(),
                is_torn: false,
                is_old: false,
                extra: Default::default(),
            },
        };
        row.extra.reason = Some(error.to_string());
        Ok(self.rows.push(&row, &Change::default())?)
    }

    /// The file under way was read.
    fn end_file(&mut self, row: Row, content: Content) -> Result<(), FilesError> {
        let Ended { stat, size, holes, digest, is_torn, is_steady, failure } = content.end();
        let mut row = Row { kind: Kind::File { size, digest }, mtime: mtime(&stat), is_torn, ..row };
        row.extra.holes = (!holes.is_empty()).then_some(holes);
        let mut change = change(&stat, self.settled_before);
        change.is_clean &= is_steady;
        match &failure {
            Some(error) => {
                self.told.unread(&self.run, &row.path, &error.to_string());
                row.extra.reason = Some(error.to_string());
            }
            None if is_torn => self.told.torn(&self.run, &row.path),
            None => {}
        }
        self.rows.push(&row, &change)?;
        self.note_link(&row.path, &stat);
        Ok(())
    }

    /// The walk is over: whether it went well.
    fn end(&mut self) -> Result<(), FilesError> {
        self.found = None;
        self.has_ended = true;
        self.copies.settle();
        let panicked = || Err(FilesError::Walk { source: io::Error::other("the walk ended early") });
        let counted = match self.walker.take() {
            Some(walker) => walker.join().unwrap_or_else(|_| panicked())?,
            None => return panicked().map(drop),
        };
        if self.run.cancel.is_cancelled() {
            return Err(FilesError::Cancelled);
        }
        self.told.vanished += counted.vanished;
        let counts = [
            ("excluded", counted.excluded),
            ("vanished", self.told.vanished),
            ("torn", self.told.torn),
            ("unreadable", self.told.unread),
        ];
        Ok(self.rows.finish(&counts, &self.kept)?)
    }

    /// The next bytes; 0 where a range of the parent comes first, and at the end.
    fn next_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, FilesError> {
        loop {
            self.deadline.look()?;
            if self.copies.are_ready() {
                return Ok(0);
            }
            if let Some((row, mut content)) = self.current.take() {
                let count = content.read(buffer);
                if count > 0 {
                    self.current = Some((row, content));
                    return Ok(count);
                }
                self.end_file(row, content)?;
                continue;
            }
            if self.has_ended {
                return Ok(0);
            }
            self.step()?;
        }
    }
}

impl Read for Data {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next_bytes(buffer).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failure = Some(error);
            told
        })
    }
}

impl Dump for Data {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        match self.failure {
            Some(failure) => Err(failure.into()),
            None if self.has_ended => Ok(Proof::Structure),
            None => Err(SourceError::NotReadToEnd { program: "the files".to_owned() }),
        }
    }

    fn format(&self) -> Option<StreamFormat> {
        Some(StreamFormat::FileData)
    }

    fn wants(&self) -> Option<String> {
        Some(self.index_name.clone())
    }

    fn give(&mut self, parent: Box<dyn Read + Send>) {
        self.parent = Some(ParentIndex::new(Of::Files, parent));
    }

    fn copy(&mut self) -> Option<Range<u64>> {
        self.copies.take()
    }

    fn digest(&self) -> Option<StreamDigest> {
        Some(self.rows.digest())
    }

    fn unread(&self) -> Option<String> {
        let count = self.told.unread;
        (count > 0).then(|| format!("{} could not be read", crate::base::words::count(count, "file")))
    }
}

/// Whether a file that is as `stat` says is still the one that the parent's row is of.
fn is_unchanged(before: &Before, stat: &Stat) -> bool {
    let now = change(stat, i64::MAX);
    let row = &before.row;
    let is_of_kind = match (&row.kind, FileType::from_raw_mode(stat.st_mode)) {
        (Kind::File { size, .. }, FileType::RegularFile) => u64::try_from(stat.st_size) == Ok(*size),
        (Kind::Directory, FileType::Directory) | (Kind::Symlink(_), FileType::Symlink) => true,
        (kind, _) => special(stat).as_ref() == Some(kind),
    };
    is_of_kind
        && before.change.is_clean
        && row.mtime == mtime(stat)
        && (before.change.ctime, before.change.inode) == (now.ctime, now.inode)
}
