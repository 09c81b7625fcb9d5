//! What a stream is, whether it is whole, and what is in it: found out as it passes, and told once. Pure.
//!
//! [`Kind::of`] tells from the first bytes what a stream is; an [`Inspector`] follows the rest by the structure of that
//! kind. It never fails, takes bounded memory, and on bytes that make no sense it costs nothing from there on. What
//! nobody recognises is unknown, and nothing is concluded from it.
//!
//! | file | hides |
//! |---|---|
//! | `kind` | how each kind begins |
//! | `text` | what text is, by its first lines |
//! | `check` | what the checks have in common |
//! | `tar` | the blocks of a tar |
//! | `pg_tar` | the tar of `pg_dump -Ft`, and where its large objects are |
//! | `gzip`, `xz`, `bzip2`, `frames` (zstd, lz4) | where compressed data ends |
//! | `rdb`, `mysql`, `mongo` | where dumps of other databases end |
//!
//! What PostgreSQL's own dumps hold is [`crate::content::pg`]'s secret.

#![deny(clippy::indexing_slicing)]

mod bzip2;
mod check;
mod frames;
mod gzip;
mod kind;
mod lines;
mod mongo;
mod mysql;
mod pg_tar;
mod rdb;
mod tar;
mod text;
mod xz;

#[cfg(test)]
mod tests;

pub use kind::Kind;
pub use pg_tar::ObjectFinder;
pub use text::BYTE_ORDER_MARK;

use crate::content::pg::{ArchiveError, ArchiveSurvey, ScriptError, ScriptScanner, TableMap};
use crate::content::rdb::KeyMap;
use check::{Check, End};
use pg_tar::PgTar;
use std::fmt;

/// How many of a stream's first bytes [`Kind::of`] wants to see, where there are so many.
pub const FRONT_BYTES: usize = 4096;

/// How scripts begin.
const SCRIPT_STARTS: [&[u8]; 2] =
    [b"--\n-- PostgreSQL database dump\n", b"--\n-- PostgreSQL database cluster dump\n"];
/// Fewer bytes of a tar's first name say nothing.
const TAR_START_BYTES_MIN: usize = 4;

/// A stream is not whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// An archive of PostgreSQL's.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A script.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Something else that ends too early.
    #[error("{kind} is cut off after {bytes} bytes, within {within}")]
    Cut {
        /// What it is.
        kind: Kind,
        /// Within what.
        within: &'static str,
        /// Length of the stream.
        bytes: u64,
    },
    /// Something else that makes no sense.
    #[error("{kind} is damaged near offset {offset}: {what}")]
    Damaged {
        /// What it is.
        kind: Kind,
        /// What makes no sense.
        what: &'static str,
        /// Where in the stream.
        offset: u64,
    },
}

impl ContentError {
    /// Whether the stream ends too early; else all of it came, and it makes no sense to this program.
    pub fn is_cut_off(&self) -> bool {
        match self {
            Self::Archive(error) => {
                matches!(error, ArchiveError::Truncated { .. } | ArchiveError::Unfinished { .. })
            }
            Self::Script(error) => matches!(error, ScriptError::Truncated { .. }),
            Self::Cut { .. } => true,
            Self::Damaged { .. } => false,
        }
    }
}

/// What is known of a stream when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Whole by its own structure; a dump of PostgreSQL's has a map.
    Whole(Option<Box<TableMap>>),
    /// Cut off or damaged, whatever its program's exit status says.
    Incomplete(ContentError),
    /// An archive that this program cannot read: whole or not, nobody knows.
    Unreadable(ArchiveError),
    /// Nothing is known.
    Unknown,
}

/// Something that does not make a stream incomplete, and that a person should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// Text stands before a dump.
    TextBefore {
        /// Its length.
        bytes: u64,
        /// Whether nothing can restore the dump with it.
        is_fatal: bool,
    },
    /// Something follows a dump that has ended.
    Behind {
        /// Where it begins.
        offset: u64,
    },
    /// Something that is not known stands in it: only its checksum says that it is whole.
    NotKnown {
        /// Where.
        offset: u64,
    },
    /// Several dumps, one behind the other.
    Several,
    /// Lines end as on Windows.
    CarriageReturns,
    /// A byte order mark stands at the front.
    ByteOrderMark,
    /// The text is in UTF-16.
    Utf16,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TextBefore { bytes, is_fatal: false } => write!(
                f,
                "{bytes} bytes of other text stand before the dump: a restore fails on them unless they are SQL. \
                 Keep messages of programs out of the dump (`2>&1`)"
            ),
            Self::TextBefore { bytes, is_fatal: true } => write!(
                f,
                "{bytes} bytes of other text stand before the archive: `pg_restore` cannot read it like this. \
                 Keep messages of programs out of the dump (`2>&1`)"
            ),
            Self::Behind { offset } => write!(
                f,
                "other data follows the end of the dump, from offset {offset}: a restore may fail on it, or pass over it"
            ),
            Self::NotKnown { offset } => write!(
                f,
                "something at offset {offset} is not known to this program: only the checksum shows that it is complete"
            ),
            Self::Several => f.write_str(
                "it holds several dumps, one after another: a restore runs all of them into the same database. \
                 Store each as a stream of its own",
            ),
            Self::CarriageReturns => f.write_str(
                "its lines end with CR LF, as `pg_dump` does not write them: texts and function bodies come back with them. \
                 Dump in binary mode (`pg_dump -f FILE`)",
            ),
            Self::ByteOrderMark => f.write_str(
                "a byte order mark stands at the front, which `pg_dump` does not write: what else was changed is not known. \
                 Dump in binary mode (`pg_dump -f FILE`)",
            ),
            Self::Utf16 => f.write_str(
                "it is text in UTF-16, which no database restores from. Dump in binary mode (`pg_dump -f FILE`), \
                 not through a shell that recodes it",
            ),
        }
    }
}

/// A stream that was inspected to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What it is.
    pub kind: Kind,
    /// Whether it is whole.
    pub verdict: Verdict,
    /// The keys of a Redis file that is whole.
    pub keys: Option<Box<KeyMap>>,
    /// What else a person should know.
    pub remarks: Vec<Remark>,
}

/// Inspects any stream as it passes: give it every byte, then ask.
#[derive(Debug)]
pub struct Inspector {
    /// The first bytes, until there are enough of them.
    front: Vec<u8>,
    bytes: u64,
    /// What the stream is, once that is known.
    begun: Option<(Kind, Follower)>,
    remarks: Vec<Remark>,
}

#[derive(Debug)]
enum Follower {
    Archive(Box<ArchiveSurvey>),
    Script(Box<ScriptScanner>),
    Tar(Box<PgTar>),
    Check(Box<dyn Check>),
    PlainTar(Box<tar::Walk>),
    Nothing,
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new()
    }
}

impl Inspector {
    /// An inspector of a stream that has not begun.
    pub fn new() -> Self {
        Self { front: Vec::new(), bytes: 0, begun: None, remarks: Vec::new() }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        match &mut self.begun {
            Some((_, follower)) => follower.push(bytes),
            None => {
                self.front.extend_from_slice(bytes);
                if self.front.len() >= FRONT_BYTES {
                    self.begin();
                }
            }
        }
    }

    /// Where the sections of a dump begin and end that have passed, by number and ascending.
    pub fn edge(&self, number: usize) -> Option<u64> {
        match &self.begun {
            Some((_, Follower::Archive(archive))) => archive.edge(number),
            Some((_, Follower::Script(script))) => script.edge(number),
            Some((_, Follower::Tar(tar))) => tar.edge(number),
            _ => None,
        }
    }

    fn begin(&mut self) {
        let front = std::mem::take(&mut self.front);
        let kind = Kind::of(front.get(..FRONT_BYTES).unwrap_or(&front));
        let mut skipped = 0;
        let mut follower = match kind {
            Kind::PgCustom { .. } => Follower::Archive(Box::default()),
            Kind::PgCustomBehindText { at } => {
                self.remarks.push(Remark::TextBefore { bytes: at as u64, is_fatal: true });
                skipped = at;
                Follower::Archive(Box::default())
            }
            Kind::PgTar => Follower::Tar(Box::new(PgTar::new())),
            Kind::PgScript { at } => {
                self.look_before(front.get(..at).unwrap_or_default());
                skipped = at;
                Follower::Script(Box::new(ScriptScanner::at(at as u64)))
            }
            Kind::Mysql { at } => {
                self.look_before(front.get(..at).unwrap_or_default());
                Follower::Check(Box::new(mysql::Mysql::default()))
            }
            Kind::Utf16 => {
                self.remarks.push(Remark::Utf16);
                Follower::Nothing
            }
            Kind::Sql if front.starts_with(text::BYTE_ORDER_MARK) => {
                self.remarks.push(Remark::ByteOrderMark);
                Follower::Nothing
            }
            Kind::Tar => Follower::PlainTar(Box::new(tar::Walk::new())),
            Kind::Gzip => Follower::Check(Box::new(gzip::Gzip::new())),
            Kind::Xz => Follower::Check(Box::new(xz::Xz::default())),
            Kind::Bzip2 => Follower::Check(Box::new(bzip2::Bzip2::new())),
            Kind::Zstd | Kind::Lz4 => Follower::Check(Box::new(frames::Frames::follow())),
            Kind::RedisRdb => Follower::Check(Box::new(rdb::Rdb::new(&front))),
            Kind::MongoArchive => Follower::Check(Box::new(mongo::Archive::follow())),
            Kind::Empty | Kind::Sql | Kind::Unknown => Follower::Nothing,
        };
        follower.push(front.get(skipped..).unwrap_or_default());
        self.begun = Some((kind, follower));
    }

    /// Looks at what stands before a script. What somebody wrote to run before it is part of it.
    fn look_before(&mut self, before: &[u8]) {
        let text = match before.strip_prefix(text::BYTE_ORDER_MARK) {
            Some(text) => {
                self.remarks.push(Remark::ByteOrderMark);
                text
            }
            None => before,
        };
        // MySQL's first line may be a comment that is a command.
        let belongs = text.is_empty() || text::is_sql(text) || text.starts_with(b"/*");
        if !belongs {
            self.remarks.push(Remark::TextBefore { bytes: text.len() as u64, is_fatal: false });
        }
    }

    /// No more bytes will come: [`Self::edge`] knows of all edges from now on, also where there were too few bytes
    /// until now to tell what they are.
    pub fn settle(&mut self) {
        if self.begun.is_none() && beginning(&self.front).is_none() {
            self.begin();
        }
    }

    /// The end of the stream.
    pub fn finish(mut self) -> Inspection {
        self.settle();
        if let (None, Some((kind, error))) = (&self.begun, beginning(&self.front)) {
            return Inspection { kind, verdict: Verdict::Incomplete(error), keys: None, remarks: Vec::new() };
        }
        let Self { bytes, begun, mut remarks, .. } = self;
        let (kind, follower) = begun.unwrap_or((Kind::Unknown, Follower::Nothing));
        let mut keys = None;
        let verdict = follower.finish(kind, bytes, &mut remarks, &mut keys);
        let keys = keys.filter(|_| matches!(verdict, Verdict::Whole(_)));
        Inspection { kind, verdict, keys, remarks }
    }
}

/// What a stream of a few bytes would have become.
fn beginning(front: &[u8]) -> Option<(Kind, ContentError)> {
    let bytes = front.len() as u64;
    if bytes == 0 {
        return None;
    }
    let truncated = |what| ContentError::from(ArchiveError::Truncated { what, bytes });
    if kind::CUSTOM.starts_with(front) {
        return Some((Kind::PgCustom { format: (0, 0) }, truncated("the header")));
    }
    if front.len() >= TAR_START_BYTES_MIN && kind::TAR_OF_DUMP.starts_with(front) {
        return Some((Kind::PgTar, truncated("the first file's header")));
    }
    let is_script = |start: &&[u8]| start.starts_with(front) && front.len() < start.len();
    let error = || ScriptError::Truncated { what: "the opening comment".into(), bytes };
    SCRIPT_STARTS.iter().any(is_script).then(|| (Kind::PgScript { at: 0 }, error().into()))
}

impl Follower {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Archive(archive) => archive.push(bytes),
            Self::Script(script) => script.push(bytes),
            Self::Tar(tar) => tar.push(bytes),
            Self::Check(check) => check.push(bytes),
            Self::PlainTar(walk) => walk.push(bytes, &mut ()),
            Self::Nothing => {}
        }
    }

    fn finish(
        self,
        kind: Kind,
        bytes: u64,
        remarks: &mut Vec<Remark>,
        keys: &mut Option<Box<KeyMap>>,
    ) -> Verdict {
        let end = match self {
            Self::Nothing => return Verdict::Unknown,
            Self::Archive(archive) => return of_archive(archive.finish(), kind),
            Self::Tar(tar) => {
                return match tar.finish() {
                    Ok((map, behind)) => {
                        remarks.extend(behind.map(|offset| Remark::Behind { offset }));
                        Verdict::Whole(Some(Box::new(map)))
                    }
                    Err(error) => of_archive(Err(error), kind),
                };
            }
            Self::Script(script) => {
                remarks.extend(script.has_carriage_returns().then_some(Remark::CarriageReturns));
                remarks.extend(script.holds_several().then_some(Remark::Several));
                remarks.extend(script.behind().map(|offset| Remark::Behind { offset }));
                return match script.finish() {
                    Ok(map) => Verdict::Whole(Some(Box::new(map))),
                    Err(ScriptError::NotADump) => Verdict::Unknown,
                    Err(error) => Verdict::Incomplete(error.into()),
                };
            }
            Self::Check(mut check) => {
                let end = check.finish();
                *keys = check.keys().map(Box::new);
                end
            }
            Self::PlainTar(walk) => match walk.finish() {
                tar::TarEnd::Whole { behind: None } => End::Whole,
                tar::TarEnd::Whole { behind: Some(at) } => End::Followed(at),
                tar::TarEnd::Cut { within } => End::Cut(within),
                tar::TarEnd::Damaged { at } => End::Damaged { what: "a file's header", at },
            },
        };
        match end {
            End::Whole => Verdict::Whole(None),
            End::WholeBySum(offset) => {
                remarks.push(Remark::NotKnown { offset });
                Verdict::Whole(None)
            }
            End::Followed(offset) => {
                remarks.push(Remark::Behind { offset });
                Verdict::Whole(None)
            }
            End::Cut(within) => Verdict::Incomplete(ContentError::Cut { kind, within, bytes }),
            End::Damaged { what, at } => {
                Verdict::Incomplete(ContentError::Damaged { kind, what, offset: at })
            }
            End::Unsure => Verdict::Unknown,
        }
    }
}

fn of_archive(outcome: Result<TableMap, ArchiveError>, kind: Kind) -> Verdict {
    match (outcome, kind) {
        // Whole, and nobody can restore it as it is: its places in the stream are others, too.
        (Ok(_), Kind::PgCustomBehindText { .. }) => Verdict::Unknown,
        (Ok(map), _) => Verdict::Whole(Some(Box::new(map))),
        (Err(error), _) if error.is_foreign() => Verdict::Unreadable(error),
        (Err(error), _) => Verdict::Incomplete(error.into()),
    }
}
