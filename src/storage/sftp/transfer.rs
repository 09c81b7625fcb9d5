//! Bytes of files, many requests at a time: what a line with latency needs.

use super::packets::{Answer, Attributes, Kind, Request, Status};
use super::session::{Lane, Session, refused};
use super::trouble::Trouble;
use crate::storage::ErrorKind;
use crate::storage::limit::Rate;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes under way at the same time. `ssh` itself has 2 MiB on the line at most.
const WINDOW_BYTES: u64 = 4 << 20;

/// A handle of the server, given back when dropped.
pub(super) struct Handle<'a> {
    session: &'a Session,
    name: Vec<u8>,
    is_open: bool,
}

impl<'a> Handle<'a> {
    /// The handle that was asked for.
    pub(super) fn of(session: &'a Session, answer: Answer) -> Result<Self, Trouble> {
        match answer {
            Answer::Handle(name) => Ok(Self { session, name, is_open: true }),
            other => Err(refused(other)),
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.session.ask_in_vain(Request::Close(&self.name));
        }
    }
}

/// What lies under a path; `None` where nothing does.
pub(super) fn looked(answer: Answer) -> Result<Option<Attributes>, Trouble> {
    match answer {
        Answer::Attributes(found) => Ok(Some(found)),
        Answer::Status(Status::Missing, _) => Ok(None),
        other => Err(refused(other)),
    }
}

/// The file at `path`, opened to be read, and its size; `None` where there is none.
pub(super) fn open<'a>(lane: &Lane<'a>, path: &str) -> Result<Option<(Handle<'a>, u64)>, Trouble> {
    // Both at once: the answers come in one trip.
    let [found, opened] = lane.ask_all([Request::Look(path), Request::Read(path)])?;
    let handle = Handle::of(lane.session(), opened);
    let Some(found) = looked(found)? else { return Ok(None) };
    match found.kind() {
        Kind::Folder | Kind::Other => return Ok(None),
        Kind::Link => return Err(link_in_the_way()),
        Kind::File => {}
    }
    let size = found.size.ok_or_else(|| Trouble::permanent(ErrorKind::Other, "the server tells no size"))?;
    match handle {
        Ok(handle) => Ok(Some((handle, size))),
        // It went in between.
        Err(trouble) if trouble.is_missing() => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Nothing is followed below the root, so that whoever can make a link there cannot aim reads and writes at other
/// files.
pub(super) fn link_in_the_way() -> Trouble {
    Trouble::permanent(ErrorKind::Other, "a symbolic link is in the way")
}

/// Fills `buffer` with bytes of a file that has them.
pub(super) fn fetch(
    lane: &Lane<'_>,
    handle: &Handle<'_>,
    offset: u64,
    buffer: &mut [u8],
    rate: Option<&Arc<Rate>>,
) -> Result<(), Trouble> {
    let piece = u64::from(lane.session().abilities().read_bytes_max);
    let end = buffer.len() as u64;
    let (mut next, mut under_way) = (0, 0);
    // Begin and length of each piece that was asked for.
    let mut pieces: HashMap<u32, (u64, u64)> = HashMap::new();
    loop {
        while next < end && under_way < WINDOW_BYTES {
            let length = piece.min(end - next);
            // A piece has fewer bytes than 4 GiB, and the caller has held the range against the file's size.
            let asked = Request::Get(handle.name(), offset.saturating_add(next), length as u32);
            pieces.insert(lane.send(asked)?, (next, length));
            next += length;
            under_way += length;
        }
        if pieces.is_empty() {
            return Ok(());
        }
        let (id, answer) = lane.receive()?;
        let Some((begin, length)) = pieces.remove(&id) else { continue };
        under_way -= length;
        let bytes = match answer {
            Answer::Data(bytes) if !bytes.is_empty() && bytes.len() as u64 <= length => bytes,
            Answer::Status(Status::End, _) => {
                return Err(Trouble::permanent(ErrorKind::ShortObject, "it got shorter while it was read"));
            }
            other => return Err(refused(other)),
        };
        let came = bytes.len() as u64;
        let place = usize::try_from(begin).ok().and_then(|begin| buffer.get_mut(begin..begin + bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(&bytes);
        }
        if let Some(rate) = rate {
            std::thread::sleep(rate.reserve(came));
        }
        if came < length {
            // A server may give less than was asked for.
            let (begin, length) = (begin + came, length - came);
            let asked = Request::Get(handle.name(), offset.saturating_add(begin), length as u32);
            pieces.insert(lane.send(asked)?, (begin, length));
            under_way += length;
        }
    }
}

/// Writes all of a new file, brings it to the disk where the server can, and closes it: all of it was done when this
/// succeeds.
pub(super) fn fill(
    lane: &Lane<'_>,
    mut handle: Handle<'_>,
    bytes: &[u8],
    rate: Option<&Arc<Rate>>,
) -> Result<(), Trouble> {
    let abilities = lane.session().abilities();
    let piece = abilities.write_bytes_max as usize;
    let mut under_way: HashMap<u32, u64> = HashMap::new();
    let mut bytes_under_way = 0;
    let settle = |under_way: &mut HashMap<u32, u64>, below: u64, now: &mut u64| -> Result<(), Trouble> {
        while *now > below || (below == 0 && !under_way.is_empty()) {
            let (id, answer) = lane.receive()?;
            *now -= under_way.remove(&id).unwrap_or_default();
            super::session::done(answer)?;
        }
        Ok(())
    };
    let mut offset = 0;
    for part in bytes.chunks(piece) {
        if let Some(rate) = rate {
            std::thread::sleep(rate.reserve(part.len() as u64));
        }
        settle(&mut under_way, WINDOW_BYTES - part.len() as u64, &mut bytes_under_way)?;
        under_way.insert(lane.send(Request::Put(handle.name(), offset, part))?, part.len() as u64);
        bytes_under_way += part.len() as u64;
        offset += part.len() as u64;
    }
    // Requests on one file are served in their order (section 3 of the draft): these two come after every write.
    if abilities.syncs {
        under_way.insert(lane.send(Request::Sync(handle.name()))?, 0);
    }
    under_way.insert(lane.send(Request::Close(handle.name()))?, 0);
    handle.is_open = false;
    settle(&mut under_way, 0, &mut bytes_under_way)
}
