//! One conversation with a server, shared by threads: many requests are under way at the same time, and each answer
//! finds its thread.
//!
//! A thread of its own reads answers, always: so a server that waits for its answers to be taken is never waited for.
//! When the conversation ends, for whatever reason, every thread that waits hears of it.

use super::packets::{self, Answer, Request, Status};
use super::trouble::Trouble;
use crate::storage::ErrorKind;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// What every server takes and gives at a time (draft-ietf-secsh-filexfer-02, section 3).
const PIECE_BYTES: u32 = 32 << 10;
/// A piece is never larger, whatever a server allows.
const PIECE_BYTES_MAX: u32 = 255 << 10;

/// A way to a server that is open.
pub struct Link {
    /// What the server says.
    pub input: Box<dyn Read + Send>,
    /// What it is told.
    pub output: Box<dyn Write + Send>,
    /// How the way is closed, and why it closed.
    pub close: Box<dyn Close>,
}

/// Closes a way, and tells why it closed.
pub trait Close: Send + Sync {
    /// Closes it, so that who reads or writes ends.
    fn close(&self);

    /// What was printed last by the program that made it, and its exit code.
    fn said(&self) -> (String, Option<i32>);
}

/// What a server can do, as it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Bring files to the disk.
    pub syncs: bool,
    /// Give files a second name, which never replaces.
    pub links: bool,
    /// Tell how much room there is.
    pub tells_room: bool,
    /// How much it gives at a time.
    pub read_bytes_max: u32,
    /// How much it takes at a time.
    pub write_bytes_max: u32,
}

/// The answer to a request; `None` where there is none, since the conversation ended.
type Arrived = (u32, Option<Answer>);

/// A conversation.
pub(super) struct Session {
    /// Taken when the conversation is over, by which the server learns that it is.
    output: Mutex<Option<Box<dyn Write + Send>>>,
    shared: Arc<Shared>,
    close: Box<dyn Close>,
    /// Nothing moves for so long: the conversation is given up.
    patience: Duration,
    abilities: Abilities,
    /// Why it ended, once somebody asked.
    reason: OnceLock<Trouble>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Packets that came.
    came: AtomicU64,
    /// The server said that it speaks SFTP.
    was_reached: AtomicBool,
}

#[derive(Default)]
struct State {
    next: u32,
    waiting: HashMap<u32, Sender<Arrived>>,
    /// Set once: nothing more will come.
    end: Option<Option<Trouble>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one step: a panic beside it leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("abilities", &self.abilities).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What was asked in vain is still done: the server hears of the end after it.
        self.output.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        self.close.said();
    }
}

impl Session {
    /// Begins a conversation. Whoever asks waits `patience` for the next sign of life, and then gives it up.
    pub(super) fn begin(link: Link, patience: Duration) -> Result<Self, Trouble> {
        let Link { mut input, output, close } = link;
        let shared = Arc::new(Shared::default());
        let (send, welcome) = mpsc::channel();
        let reading = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("sftp".to_owned())
            .spawn(move || {
                let end = read(&mut *input, &reading, &send).err();
                let mut state = reading.lock();
                state.end = Some(end);
                for (id, waiting) in state.waiting.drain() {
                    // Safe to ignore because an error says that nobody waits any more.
                    let _ = waiting.send((id, None));
                }
            })
            .map_err(|error| Trouble::passing(ErrorKind::Other, error.to_string()))?;
        let mut session = Self {
            output: Mutex::new(Some(output)),
            shared,
            close,
            patience,
            abilities: Abilities::default(),
            reason: OnceLock::new(),
        };
        session.write(&packets::hello())?;
        let first = match welcome.recv_timeout(patience) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return Err(session.stalled()),
            Err(RecvTimeoutError::Disconnected) => return Err(session.reason()),
        };
        let (version, extensions) = packets::welcome(&first)?;
        if version < packets::VERSION {
            let text = format!("the server speaks version {version} of SFTP, and 3 is needed");
            return Err(Trouble::permanent(ErrorKind::Invalid, text));
        }
        session.shared.was_reached.store(true, Ordering::Relaxed);
        session.learn(&extensions)?;
        Ok(session)
    }

    fn learn(&mut self, extensions: &[String]) -> Result<(), Trouble> {
        let has = |name: &str| extensions.iter().any(|other| other == name);
        let mut abilities = Abilities {
            syncs: has(packets::FSYNC),
            links: has(packets::HARDLINK),
            tells_room: has(packets::STATVFS),
            read_bytes_max: PIECE_BYTES,
            write_bytes_max: PIECE_BYTES,
        };
        if has(packets::LIMITS)
            && let Answer::Extended(told) = self.lane().ask(Request::Limits)?
        {
            let (read, write) = packets::limits(&told)?;
            let piece = |told: u64| match u32::try_from(told) {
                Ok(0) => PIECE_BYTES,
                told => told.unwrap_or(PIECE_BYTES_MAX).clamp(1024, PIECE_BYTES_MAX),
            };
            (abilities.read_bytes_max, abilities.write_bytes_max) = (piece(read), piece(write));
        }
        self.abilities = abilities;
        Ok(())
    }

    pub(super) fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.lock().end.is_some()
    }

    /// Asks for something whose answer nobody waits for.
    pub(super) fn ask_in_vain(&self, request: Request<'_>) {
        let (nobody, _) = mpsc::channel();
        // Safe to ignore because it only clears up; what is left of a conversation that ended, the server clears up
        // itself.
        let _ = self.send(request, nobody);
    }

    /// A place where answers to requests arrive.
    pub(super) fn lane(&self) -> Lane<'_> {
        let (sender, receiver) = mpsc::channel();
        Lane { session: self, sender, receiver }
    }

    fn send(&self, request: Request<'_>, to: Sender<Arrived>) -> Result<u32, Trouble> {
        let id = {
            let mut state = self.shared.lock();
            if state.end.is_some() {
                drop(state);
                return Err(self.reason());
            }
            // Four billion requests later no one waits for the first one any more.
            let id = state.next;
            state.next = id.wrapping_add(1);
            state.waiting.insert(id, to);
            id
        };
        let mut packet = Vec::with_capacity(match request {
            Request::Put(_, _, bytes) => bytes.len() + 300,
            _ => 600,
        });
        packets::encode(id, &request, &mut packet);
        self.write(&packet).map(|()| id)
    }

    fn write(&self, packet: &[u8]) -> Result<(), Trouble> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let wrote = match output.as_mut() {
            Some(output) => output.write_all(packet).and_then(|()| output.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        drop(output);
        wrote.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => self.stalled(),
            _ => {
                let reason = self.reason();
                // Half a packet may have gone: nothing can follow it.
                self.close.close();
                reason
            }
        })
    }

    /// Nothing moves any more.
    fn stalled(&self) -> Trouble {
        self.close.close();
        let text = format!("the server said nothing for {} s", self.patience.as_secs());
        let kind = match self.shared.was_reached.load(Ordering::Relaxed) {
            true => ErrorKind::Other,
            false => ErrorKind::Unreachable,
        };
        self.reason.get_or_init(|| Trouble::passing(kind, text)).clone()
    }

    /// Why the conversation ended.
    fn reason(&self) -> Trouble {
        let told = self.shared.lock().end.clone().flatten();
        let reason = self.reason.get_or_init(|| {
            told.unwrap_or_else(|| {
                let (printed, code) = self.close.said();
                super::trouble::ended(&printed, code, self.shared.was_reached.load(Ordering::Relaxed))
            })
        });
        reason.clone()
    }
}

/// Reads to the end of the conversation.
fn read(input: &mut dyn Read, shared: &Shared, welcome: &Sender<Vec<u8>>) -> Result<(), Trouble> {
    let mut is_first = true;
    loop {
        let mut length = [0; 4];
        if input.read_exact(&mut length).is_err() {
            return Ok(());
        }
        let bytes = u32::from_be_bytes(length);
        if bytes == 0 || bytes > packets::PACKET_BYTES_MAX {
            return Err(Trouble::permanent(
                ErrorKind::Invalid,
                match is_first {
                    true => {
                        "the server prints something before SFTP begins; look for a shell's start file that does"
                    }
                    false => "the server breaks the protocol: a packet is too large",
                },
            ));
        }
        let mut packet = vec![0; bytes as usize];
        if input.read_exact(&mut packet).is_err() {
            return Ok(());
        }
        shared.came.fetch_add(1, Ordering::Relaxed);
        if is_first {
            is_first = false;
            // Safe to ignore because whoever waits for it no longer does when the conversation is given up.
            let _ = welcome.send(packet);
            continue;
        }
        let (id, answer) = packets::decode(&packet)?;
        let waiting = shared.lock().waiting.remove(&id);
        let Some(waiting) = waiting else {
            return Err(packets::Malformed("an answer to nothing that was asked").into());
        };
        // Safe to ignore because an error says that nobody waits any more.
        let _ = waiting.send((id, Some(answer)));
    }
}

/// Where the answers for one thread arrive.
pub(super) struct Lane<'a> {
    session: &'a Session,
    sender: Sender<Arrived>,
    receiver: Receiver<Arrived>,
}

impl<'a> Lane<'a> {
    pub(super) fn session(&self) -> &'a Session {
        self.session
    }

    /// Asks, and does not wait.
    pub(super) fn send(&self, request: Request<'_>) -> Result<u32, Trouble> {
        self.session.send(request, self.sender.clone())
    }

    /// The next answer to anything that was asked here.
    pub(super) fn receive(&self) -> Result<(u32, Answer), Trouble> {
        loop {
            let before = self.session.shared.came.load(Ordering::Relaxed);
            match self.receiver.recv_timeout(self.session.patience) {
                Ok((id, Some(answer))) => return Ok((id, answer)),
                Ok((_, None)) => return Err(self.session.reason()),
                Err(_) if self.session.shared.came.load(Ordering::Relaxed) == before => {
                    return Err(self.session.stalled());
                }
                Err(_) => {}
            }
        }
    }

    /// Asks for several things at once; the answers in their order.
    pub(super) fn ask_all<const N: usize>(&self, requests: [Request<'_>; N]) -> Result<[Answer; N], Trouble> {
        let mut ids = [0; N];
        for (id, request) in ids.iter_mut().zip(requests) {
            *id = self.send(request)?;
        }
        let mut answers = [const { Answer::Status(Status::Good, String::new()) }; N];
        let mut left = N;
        while left > 0 {
            let (id, answer) = self.receive()?;
            // Others may come in between: to what was asked before something failed.
            if let Some((_, place)) = ids.iter().zip(&mut answers).find(|(own, _)| **own == id) {
                *place = answer;
                left -= 1;
            }
        }
        Ok(answers)
    }

    /// Asks for one thing; its answer, whatever it is.
    pub(super) fn ask(&self, request: Request<'_>) -> Result<Answer, Trouble> {
        self.ask_all([request]).map(|[answer]| answer)
    }

    /// Asks for something that is answered by whether it was done.
    pub(super) fn done(&self, request: Request<'_>) -> Result<(), Trouble> {
        done(self.ask(request)?)
    }
}

/// Whether it was done.
pub(super) fn done(answer: Answer) -> Result<(), Trouble> {
    match answer {
        Answer::Status(Status::Good, _) => Ok(()),
        other => Err(refused(other)),
    }
}

/// The answer is not what was asked for.
pub(super) fn refused(answer: Answer) -> Trouble {
    match answer {
        Answer::Status(status, words) if status != Status::Good => Trouble::Refused(status, words),
        _ => packets::Malformed("an answer of the wrong type").into(),
    }
}
