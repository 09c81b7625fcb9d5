//! Proving a stream that no database takes: it is read whole, every chunk and its digest are checked, and so is what
//! its own structure tells.

use super::{Chosen, Content};
use crate::base::event::{Cancel, Observer};
use crate::content::inspect::{Inspector, Verdict};
use crate::engine::OpError;
use crate::vault::snapshot::{Stream, StreamFormat};
use std::time::Instant;

/// What reading a stream found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadThrough {
    /// Its bytes.
    pub bytes: u64,
    /// Its own structure, or the digest of each of its files, says that it is whole.
    pub is_proven: bool,
    /// How long that took.
    pub duration_ms: u64,
}

/// Whether a stream is read instead of restored into a scratch database: no program of a database takes it.
pub fn is_read_through(stream: &Stream) -> bool {
    !matches!(stream.format, StreamFormat::PgCustom | StreamFormat::PlainSql | StreamFormat::PgTar)
}

/// Whether its own structure tells if it is whole. Of files, each digest is checked against the index; settings are for
/// a person to read.
fn is_inspected(format: StreamFormat) -> bool {
    format != StreamFormat::Settings && !format.is_index() && !format.is_contents()
}

impl Chosen {
    /// Reads a stream whole.
    pub(super) fn read_through(
        &self,
        stream: &Stream,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<ReadThrough, OpError> {
        let began = Instant::now();
        let mut inspector = is_inspected(stream.format).then(Inspector::new);
        let content = Content { stream, parts: None, skipped: 0 };
        let stats = self.read(content, observer, cancel, &mut |bytes| {
            if let Some(inspector) = &mut inspector {
                inspector.push(bytes);
            }
            Ok(())
        })?;
        let is_proven = match inspector.map(|inspector| inspector.finish().verdict) {
            None | Some(Verdict::Whole(_)) => true,
            Some(Verdict::Incomplete(source)) => {
                let (stream, exited) = (stream.name.clone(), stream.proof);
                return Err(OpError::Incomplete { stream, exited, source });
            }
            Some(Verdict::Unreadable(_) | Verdict::Unknown) => false,
        };
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(ReadThrough { bytes: stats.bytes, is_proven, duration_ms })
    }
}
