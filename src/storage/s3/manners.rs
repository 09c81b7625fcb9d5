//! What a service takes of a write, learned once.
//!
//! Not every service that speaks S3 knows all of it: some refuse `If-None-Match`, some a checksum in a header
//! (`x-amz-checksum-crc32`), some a body whose hash is not signed. A refusal that names the header decides; any other
//! that can mean it leads to the next manner on the ladder, and what works is kept for the rest of the process. What
//! cannot mean it, credentials above all, is never a reason to send a body twice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::error::Failure;

/// From so many bytes on, a body's hash is not signed.
const UNSIGNED_BYTES_MIN: usize = 1 << 20;

/// What is known of the service's `If-None-Match` on writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conditional {
    /// Nothing yet.
    Unknown = 0,
    /// It refused to replace an object.
    Honoured = 1,
    /// It refused the header.
    Absent = 2,
}

/// How a body is sent.
///
/// The signature of a large one covers its checksum (CRC) and not its SHA-256: that takes longer than anything else in
/// an upload, and who could change a body on its way could as well answer that it arrived. A service, or the policy of
/// a bucket, may demand the hash all the same (`s3:x-amz-content-sha256`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// With its CRC-32 in a header.
    pub checksum: bool,
    /// With its SHA-256 in the signature.
    pub signed: bool,
}

impl Manner {
    /// What to try after the service refused this one with `failure`.
    fn next(self, failure: &Failure, guess: bool) -> Vec<Self> {
        let hashed = Self { signed: true, ..self };
        let bare = Self { checksum: false, signed: true };
        match Blame::of(failure) {
            Some(Blame::Checksum) => vec![bare],
            Some(Blame::Hash) => vec![hashed],
            Some(Blame::Policy) if guess => vec![hashed],
            Some(Blame::Something) if guess => vec![hashed, bare],
            _ => Vec::new(),
        }
    }
}

/// What a refusal may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Condition,
    Checksum,
    Hash,
    /// A policy may want the hash of the body.
    Policy,
    /// Any of the headers.
    Something,
}

impl Blame {
    fn of(failure: &Failure) -> Option<Self> {
        let code = failure.code.as_str();
        let can_mean_it = failure.is_not_implemented()
            || code == "XAmzContentSHA256Mismatch"
            || failure.status == 400
                && matches!(code, "InvalidRequest" | "InvalidArgument" | "InvalidHeader" | "BadRequest" | "");
        if can_mean_it && failure.names(&["if-none-match"]) {
            Some(Self::Condition)
        } else if can_mean_it && failure.names(&["content-sha256", "unsigned-payload", "contentsha256"]) {
            Some(Self::Hash)
        } else if can_mean_it && failure.names(&["checksum"]) {
            Some(Self::Checksum)
        } else if can_mean_it {
            Some(Self::Something)
        } else {
            (code == "AccessDenied").then_some(Self::Policy)
        }
    }
}

/// What is known of a service.
#[derive(Debug)]
pub(super) struct Manners {
    conditional: AtomicU8,
    checksum: AtomicBool,
    signed: AtomicBool,
    /// Every manner was refused once: it is not the manner.
    in_vain: AtomicBool,
}

impl Manners {
    /// Of a service that nothing is known of; without checksums if a person wants none.
    pub(super) fn new(checksum: bool) -> Self {
        Self {
            conditional: AtomicU8::new(Conditional::Unknown as u8),
            checksum: AtomicBool::new(checksum),
            // Something has to vouch for the body.
            signed: AtomicBool::new(!checksum),
            in_vain: AtomicBool::new(false),
        }
    }

    pub(super) fn conditional(&self) -> Conditional {
        match self.conditional.load(Ordering::Relaxed) {
            1 => Conditional::Honoured,
            2 => Conditional::Absent,
            _ => Conditional::Unknown,
        }
    }

    pub(super) fn set_conditional(&self, conditional: Conditional) {
        self.conditional.store(conditional as u8, Ordering::Relaxed);
    }

    /// Whether a refusal may be about `If-None-Match`.
    pub(super) fn may_be_the_condition(failure: &Failure) -> bool {
        match Blame::of(failure) {
            Some(Blame::Condition) => true,
            Some(Blame::Something) => failure.is_not_implemented(),
            _ => false,
        }
    }

    /// How a body of so many bytes is sent.
    pub(super) fn of(&self, bytes: usize) -> Manner {
        let signed = self.signed.load(Ordering::Relaxed) || bytes < UNSIGNED_BYTES_MIN;
        Manner { checksum: self.checksum.load(Ordering::Relaxed), signed }
    }

    /// Nothing helped: the next refusal is taken for what it says.
    pub(super) fn give_up(&self) {
        self.in_vain.store(true, Ordering::Relaxed);
    }

    /// Sends a body of so many bytes in the first manner that the service takes.
    pub(super) fn send<T>(
        &self,
        bytes: usize,
        send: impl Fn(Manner) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let usual = self.of(bytes);
        let (mut tried, mut queue, mut first) = (Vec::new(), VecDeque::from([usual]), None);
        while let Some(manner) = queue.pop_front() {
            if tried.contains(&manner) {
                continue;
            }
            tried.push(manner);
            match send(manner) {
                Err(failure) if failure.retryable => return Err(failure),
                Err(failure) if !failure.is_there_already() => {
                    queue.extend(manner.next(&failure, !self.in_vain.load(Ordering::Relaxed)));
                    first.get_or_insert(failure);
                }
                outcome => {
                    self.learn(usual, manner);
                    return outcome;
                }
            }
        }
        Err(first.unwrap_or_else(|| Failure::cut("nothing was sent")))
    }

    fn learn(&self, usual: Manner, works: Manner) {
        if works == usual {
            return;
        }
        tracing::debug!("the service takes bodies as {works:?}");
        if !works.checksum {
            self.checksum.store(false, Ordering::Relaxed);
        }
        if works.signed && !usual.signed || !works.checksum {
            self.signed.store(true, Ordering::Relaxed);
        }
    }
}
