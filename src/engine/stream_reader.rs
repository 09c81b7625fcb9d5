//! A stored stream as something to read from: a thread fetches it.

use crate::base::event::{Cancel, Silent};
use crate::vault::reader::{Locator, ReadSettings};
use crate::vault::snapshot::Stream;
use crate::vault::{RepoError, Repository};
use crossbeam_channel::{Receiver, Sender};
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

/// Pieces of up to a megabyte that wait to be read.
const PIECES: usize = 4;

/// Reads a stream. It ends well only when all of it was there, with its digest; dropping it stops the thread.
pub(super) struct StreamReader {
    pieces: Receiver<Result<Vec<u8>, RepoError>>,
    piece: Vec<u8>,
    at: usize,
    has_ended: bool,
    failure: Arc<Mutex<Option<RepoError>>>,
    stop: Cancel,
}

impl StreamReader {
    /// Begins to read `stream`.
    pub(super) fn open(repo: &Repository, stream: Stream) -> Self {
        let (pieces_in, pieces) = crossbeam_channel::bounded(PIECES);
        let (repo, stop) = (repo.clone(), Cancel::new());
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("beside".to_owned());
        let failed = pieces_in.clone();
        let spawned = thread.spawn(move || {
            let outcome = fetch(&repo, &stream, &pieces_in, &stopped);
            // Safe to ignore because a reader that is gone wants to know nothing more. An empty piece is the end.
            let _ = pieces_in.send(outcome.map(|()| Vec::new()));
        });
        if let Err(source) = spawned {
            // Safe to ignore because the channel has room for it.
            let _ = failed.send(Err(RepoError::Thread { source }));
        }
        Self { pieces, piece: Vec::new(), at: 0, has_ended: false, failure: Arc::default(), stop }
    }
}

impl StreamReader {
    /// Where it puts why it could not be read on: whoever decodes what it reads makes words of it.
    pub(super) fn failure(&self) -> Arc<Mutex<Option<RepoError>>> {
        Arc::clone(&self.failure)
    }
}

fn fetch(
    repo: &Repository,
    stream: &Stream,
    pieces: &Sender<Result<Vec<u8>, RepoError>>,
    stop: &Cancel,
) -> Result<(), RepoError> {
    let locator = Locator::new(repo, repo.catalog_as_it_is(&Silent)?, Default::default());
    let locator = Arc::new(Mutex::new(locator));
    let mut output = |bytes: &[u8]| {
        let gone = |_| io::Error::other("nobody reads on");
        if bytes.is_empty() { Ok(()) } else { pieces.send(Ok(bytes.to_vec())).map_err(gone) }
    };
    let settings = ReadSettings::local(1);
    repo.reader().read_stream(&locator, stream, settings, &Silent, stop, &mut output).map(|_| ())
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() && !self.has_ended {
            match self.pieces.recv() {
                Ok(Ok(piece)) => {
                    self.has_ended = piece.is_empty();
                    (self.piece, self.at) = (piece, 0);
                }
                Ok(Err(error)) => {
                    let told = io::Error::other(error.to_string());
                    if let Ok(mut failure) = self.failure.lock() {
                        failure.get_or_insert(error);
                    }
                    return Err(told);
                }
                Err(_) => return Err(io::Error::other("the stream cannot be read on")),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
