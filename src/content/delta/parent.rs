//! Reading the parent: what fails is unreadable, never wrong.

use super::compare::common_prefix;

/// The parent's bytes, as the caller can reach them.
pub trait Parent {
    /// Why bytes could not be had.
    type Error;

    /// Bytes of the parent from `offset` on: at least one and at most `want`, none at or after its end.
    ///
    /// Mostly called with ascending offsets, often the same ones again within some hundred kilobytes; jumps happen,
    /// their number is bounded by the bytes pushed. The bytes must have been checked: the differ copies what it sees
    /// here.
    fn window(&mut self, offset: u64, want: usize) -> Result<&[u8], Self::Error>;
}

impl<P: Parent + ?Sized> Parent for &mut P {
    type Error = P::Error;

    fn window(&mut self, offset: u64, want: usize) -> Result<&[u8], Self::Error> {
        (**self).window(offset, want)
    }
}

/// A parent in memory.
impl Parent for &[u8] {
    type Error = std::convert::Infallible;

    fn window(&mut self, offset: u64, want: usize) -> Result<&[u8], Self::Error> {
        let from = usize::try_from(offset).ok().and_then(|from| self.get(from..)).unwrap_or_default();
        Ok(from.get(..want).unwrap_or(from))
    }
}

/// After so many failed reads the parent is not asked again.
const FAILURES_MAX: u64 = 16;

/// What was met while reading the parent.
#[derive(Debug)]
pub(super) struct Reading<E> {
    pub(super) first_failure: Option<E>,
    pub(super) failures: u64,
    /// A read failed since the last known position: ask no more until the next one.
    blind: bool,
    /// Bytes compared, hashed or copied: bounds the time, see the tests.
    pub(super) work: u64,
}

impl<E> Reading<E> {
    pub(super) fn new() -> Self {
        Self { first_failure: None, failures: 0, blind: false, work: 0 }
    }

    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    /// A new position is known: the damage may lie behind.
    pub(super) fn look_again(&mut self) {
        self.blind = self.failures >= FAILURES_MAX;
    }

    /// Hands pieces of the parent's bytes `offset..offset + len` to `each`, until it returns false, the parent ends or
    /// fails.
    fn walk<P: Parent<Error = E>>(
        &mut self,
        parent: &mut P,
        offset: u64,
        len: usize,
        mut each: impl FnMut(&[u8]) -> bool,
    ) {
        let mut done = 0;
        while done < len && !self.blind {
            match parent.window(offset.saturating_add(done as u64), len - done) {
                Ok([]) => return,
                Ok(piece) => {
                    let piece = piece.get(..len - done).unwrap_or(piece);
                    done += piece.len();
                    if !each(piece) {
                        return;
                    }
                }
                Err(failure) => {
                    self.blind = true;
                    self.failures += 1;
                    self.first_failure.get_or_insert(failure);
                }
            }
        }
    }

    /// How many of `bytes` the parent has at `offset`.
    pub(super) fn agrees<P: Parent<Error = E>>(
        &mut self,
        parent: &mut P,
        offset: u64,
        bytes: &[u8],
    ) -> usize {
        let mut same = 0;
        self.walk(parent, offset, bytes.len(), |piece| {
            let agreed = common_prefix(piece, bytes.get(same..).unwrap_or_default());
            same += agreed;
            agreed == piece.len()
        });
        self.work += same as u64 + 8;
        same
    }

    /// Puts the parent's bytes `offset..offset + len`, or what there is of them, into `out`.
    pub(super) fn fetch<P: Parent<Error = E>>(
        &mut self,
        parent: &mut P,
        offset: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        self.walk(parent, offset, len, |piece| {
            out.extend_from_slice(piece);
            true
        });
        self.work += out.len() as u64;
    }
}
