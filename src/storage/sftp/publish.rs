//! How a file gets its name: whole, on the disk, once, and never in the place of another.

use super::packets::{Kind, Request, Status};
use super::session::{Lane, done, refused};
use super::transfer::{self, Handle};
use super::trouble::Trouble;
use super::{LARGE_BYTES, SftpStorage, TMP, packets, parent};
use crate::storage::{ErrorKind, Manner, Put};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// How often `put` starts over when the object that was in its way is gone at the second look.
const PUT_ATTEMPTS: u32 = 8;
/// How much of an object that is there already is compared at a time.
const COMPARE_BYTES: usize = 2 << 20;

/// Nobody has tried yet what a rename does to a name that is taken.
pub(super) const UNKNOWN: u8 = 0;
const REFUSES: u8 = 1;
const REPLACES: u8 = 2;

/// What a `put` came to.
pub(super) enum Outcome {
    Put(Put),
    Conflict,
}

/// A file in `tmp/`, removed when dropped.
struct Temporary<'a> {
    lane: &'a Lane<'a>,
    path: String,
    is_there: bool,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.is_there {
            self.lane.session().ask_in_vain(Request::Remove(&self.path));
        }
    }
}

/// The present moment by the server's clock, as the time of a new file.
pub(super) fn clock(lane: &Lane<'_>, path: &str) -> Result<SystemTime, Trouble> {
    let handle = Handle::of(lane.session(), lane.ask(Request::Create(path))?)?;
    let _temporary = Temporary { lane, path: path.to_owned(), is_there: true };
    // Some servers make the file only when something is written.
    transfer::fill(lane, handle, b"now", None)?;
    let found = transfer::looked(lane.ask(Request::Look(path))?)?;
    found
        .map(|found| found.modified())
        .ok_or_else(|| Trouble::passing(ErrorKind::Other, "a new file is gone"))
}

impl SftpStorage {
    pub(super) fn try_put(&self, key: &str, bytes: &[u8]) -> Result<Outcome, Trouble> {
        let used = self.session(bytes.len() >= LARGE_BYTES)?;
        let lane = used.session.lane();
        let path = self.path(key);
        // Looked at first, so that what is there already is not written once more, nor needs room. Both in one trip.
        let mut temporary = Temporary { lane: &lane, path: self.temporary()?, is_there: false };
        let [found, made, folder] = lane.ask_all([
            Request::Look(&path),
            Request::Create(&temporary.path),
            // A folder is opened as a file to be brought to the disk.
            Request::Read(parent(&path)),
        ])?;
        let folder = Handle::of(lane.session(), folder).ok();
        let found = transfer::looked(found)?;
        let handle = match Handle::of(lane.session(), made) {
            Err(trouble) if trouble.is_missing() && found.is_none() => {
                self.make_tmp(&lane)?;
                Handle::of(lane.session(), lane.ask(Request::Create(&temporary.path))?)
            }
            made => made,
        };
        temporary.is_there = handle.is_ok();
        if let Some(found) = found {
            drop(handle);
            return self.compare(&lane, &path, found, bytes);
        }
        if folder.is_none() || !lane.session().abilities().syncs {
            self.folder_made(&lane, parent(&path))?;
        }
        transfer::fill(&lane, handle?, bytes, self.settings.upload.as_ref())
            .map_err(|trouble| self.why_not_written(&lane, trouble, bytes.len()))?;
        self.counted.bytes_up.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        for _ in 0..PUT_ATTEMPTS {
            if self.name(&lane, &mut temporary, &path, folder.as_ref())? {
                return Ok(Outcome::Put(Put::Created));
            }
            if let Some(found) = transfer::looked(lane.ask(Request::Look(&path))?)? {
                return self.compare(&lane, &path, found, bytes);
            }
        }
        Err(Trouble::permanent(ErrorKind::Other, "objects under this key come and go"))
    }

    /// Gives the file its name, durably; false when something has it.
    fn name(
        &self,
        lane: &Lane<'_>,
        temporary: &mut Temporary<'_>,
        path: &str,
        folder: Option<&Handle<'_>>,
    ) -> Result<bool, Trouble> {
        if lane.session().abilities().links && self.links.load(Ordering::Relaxed) {
            match self.link(lane, &temporary.path, path, folder) {
                Ok(()) => return Ok(true),
                // No reason is given: the name may be taken, or the file system knows no second names.
                Err(Trouble::Refused(..)) => {
                    if transfer::looked(lane.ask(Request::Look(path))?)?.is_some() {
                        return Ok(false);
                    }
                }
                Err(trouble) => return Err(trouble),
            }
        }
        if self.replaces(lane)? && transfer::looked(lane.ask(Request::Look(path))?)?.is_some() {
            return Ok(false);
        }
        match lane.done(Request::Rename(&temporary.path, path)) {
            Ok(()) => {
                // Now it is known why no second name could be made.
                self.links.store(false, Ordering::Relaxed);
                temporary.is_there = false;
                self.sync_folder(lane, parent(path)).map(|()| true)
            }
            Err(trouble @ Trouble::Refused(..)) => {
                match transfer::looked(lane.ask(Request::Look(path))?)?.is_some() {
                    true => Ok(false),
                    false => Err(trouble),
                }
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Gives the file a second name, and brings the folder to the disk.
    fn link(
        &self,
        lane: &Lane<'_>,
        from: &str,
        to: &str,
        folder: Option<&Handle<'_>>,
    ) -> Result<(), Trouble> {
        let Some(folder) = folder.filter(|_| lane.session().abilities().syncs) else {
            lane.done(Request::Link(from, to))?;
            return self.sync_folder(lane, parent(to));
        };
        // In one trip: the only server that knows these requests serves them in their order.
        let [linked, synced] = lane.ask_all([Request::Link(from, to), Request::Sync(folder.name())])?;
        done(linked)?;
        self.synced(done(synced))
    }

    /// Whether a rename replaces what has the name. Tried once, with two files of its own.
    fn replaces(&self, lane: &Lane<'_>) -> Result<bool, Trouble> {
        let known = self.renames.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return Ok(known == REPLACES);
        }
        let (from, to) = (self.temporary()?, self.temporary()?);
        let mut files = Vec::new();
        for path in [&from, &to] {
            let handle = match Handle::of(lane.session(), lane.ask(Request::Create(path))?) {
                Err(trouble) if trouble.is_missing() => {
                    self.make_tmp(lane)?;
                    Handle::of(lane.session(), lane.ask(Request::Create(path))?)?
                }
                made => made?,
            };
            files.push(Temporary { lane, path: path.clone(), is_there: true });
            transfer::fill(lane, handle, b"probe", None)?;
        }
        let replaces = match lane.done(Request::Rename(&from, &to)) {
            Ok(()) => true,
            Err(Trouble::Refused(..)) => false,
            Err(trouble) => return Err(trouble),
        };
        self.renames.store(if replaces { REPLACES } else { REFUSES }, Ordering::Relaxed);
        Ok(replaces)
    }

    fn make_tmp(&self, lane: &Lane<'_>) -> Result<(), Trouble> {
        // Its entry in the root need not be durable: a leftover that a crash takes is no loss.
        match lane.done(Request::Make(&self.path(TMP))) {
            Err(trouble) if trouble.is_missing() => {
                Err(Trouble::permanent(ErrorKind::NotFound, "the directory does not exist"))
            }
            // Another writer made it in the meantime, or whoever opens a file in it hears why not.
            Ok(()) | Err(Trouble::Refused(..)) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Makes the folders down to `folder`, below the root, where they are not known to be there.
    fn folder_made(&self, lane: &Lane<'_>, folder: &str) -> Result<(), Trouble> {
        let below = folder.strip_prefix(self.root.as_str()).unwrap_or_default();
        if below.is_empty() || self.folders().contains(folder) {
            return Ok(());
        }
        let is_there = transfer::looked(lane.ask(Request::Look(folder))?)?.is_some();
        let mut path = self.root.clone();
        for part in below.split('/').filter(|part| !part.is_empty() && !is_there) {
            let above = path.clone();
            path = format!("{}/{part}", path.trim_end_matches('/'));
            match lane.done(Request::Make(&path)) {
                // Refused: it may be there already, and if it is not the next step tells why.
                Ok(()) | Err(Trouble::Refused(..)) => self.sync_folder(lane, &above)?,
                Err(trouble) => return Err(trouble),
            }
        }
        match transfer::looked(lane.ask(Request::Look(folder))?)?.map(|found| found.kind()) {
            Some(Kind::Folder) => {}
            Some(Kind::Link) => return Err(transfer::link_in_the_way()),
            Some(_) => {
                return Err(Trouble::permanent(ErrorKind::Other, "there is a file in the place of a folder"));
            }
            None => return lane.done(Request::Make(folder)),
        }
        self.folders().insert(folder.to_owned());
        Ok(())
    }

    /// Brings the names in a folder to the disk, where the server does so.
    pub(super) fn sync_folder(&self, lane: &Lane<'_>, folder: &str) -> Result<(), Trouble> {
        if !lane.session().abilities().syncs {
            return Ok(());
        }
        let synced = match Handle::of(lane.session(), lane.ask(Request::Read(folder))?) {
            Ok(handle) => lane.done(Request::Sync(handle.name())),
            Err(trouble) => Err(trouble),
        };
        self.synced(synced)
    }

    fn synced(&self, synced: Result<(), Trouble>) -> Result<(), Trouble> {
        match synced {
            Ok(()) => {
                self.synced_folders.store(true, Ordering::Relaxed);
                Ok(())
            }
            // A server that does not open folders as files never did; one that did has a broken disk.
            Err(Trouble::Refused(..)) if !self.synced_folders.load(Ordering::Relaxed) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Holds what is there against `bytes`. When they are the same, they are on the disk, too.
    fn compare(
        &self,
        lane: &Lane<'_>,
        path: &str,
        found: packets::Attributes,
        bytes: &[u8],
    ) -> Result<Outcome, Trouble> {
        match found.kind() {
            Kind::File => {}
            Kind::Link => return Err(transfer::link_in_the_way()),
            Kind::Folder | Kind::Other => {
                let text = "something that is not a file has this name";
                return Err(Trouble::permanent(ErrorKind::Other, text));
            }
        }
        let Some((handle, size)) = transfer::open(lane, path)? else {
            return Err(Trouble::passing(ErrorKind::Other, "the object was deleted meanwhile"));
        };
        if size != bytes.len() as u64 {
            return Ok(Outcome::Conflict);
        }
        let mut buffer = vec![0; COMPARE_BYTES.min(bytes.len())];
        let mut offset = 0;
        for expected in bytes.chunks(COMPARE_BYTES) {
            // No chunk is longer than the buffer; were one, they would not be the same.
            let Some(there) = buffer.get_mut(..expected.len()) else { return Ok(Outcome::Conflict) };
            transfer::fetch(lane, &handle, offset, there, self.settings.download.as_ref())?;
            if there != expected {
                return Ok(Outcome::Conflict);
            }
            offset += expected.len() as u64;
        }
        if lane.session().abilities().syncs {
            // Refused for a file that is only read, by some servers: then whoever wrote it has brought it to the disk.
            match lane.done(Request::Sync(handle.name())) {
                Ok(()) | Err(Trouble::Refused(..)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        self.sync_folder(lane, parent(path))?;
        Ok(Outcome::Put(Put::AlreadyThere))
    }

    /// A server says "failure" and no more. Where it tells how much room there is, that may be the reason.
    fn why_not_written(&self, lane: &Lane<'_>, trouble: Trouble, wanted: usize) -> Trouble {
        if !matches!(trouble, Trouble::Refused(Status::Failed, _)) || !lane.session().abilities().tells_room {
            return trouble;
        }
        let room = lane.ask(Request::Room(&self.root)).and_then(|answer| match answer {
            packets::Answer::Extended(told) => Ok(packets::room(&told)?),
            other => Err(refused(other)),
        });
        match room {
            Ok(room) if room < wanted as u64 => {
                Trouble::permanent(ErrorKind::NoSpace, format!("the server has {room} bytes of room left"))
            }
            _ => trouble,
        }
    }

    /// What the server can do and what it does, tried with files of its own in `tmp/`.
    pub(super) fn try_manners(&self) -> Result<Vec<Manner>, Trouble> {
        let used = self.session(false)?;
        let lane = used.session.lane();
        let abilities = lane.session().abilities().clone();
        let mut links = false;
        if abilities.links {
            let from = self.temporary()?;
            let made = match Handle::of(lane.session(), lane.ask(Request::Create(&from))?) {
                Err(trouble) if trouble.is_missing() => {
                    self.make_tmp(&lane)?;
                    Handle::of(lane.session(), lane.ask(Request::Create(&from))?)
                }
                made => made,
            };
            transfer::fill(&lane, made?, b"probe", None)?;
            let _from = Temporary { lane: &lane, path: from.clone(), is_there: true };
            let to = Temporary { lane: &lane, path: format!("{from}.2"), is_there: true };
            links = done(lane.ask(Request::Link(&from, &to.path))?).is_ok();
        }
        const NAME: &str = "writing without replacing";
        let naming = match (links, self.replaces(&lane)?) {
            (true, _) => Manner::good(NAME, "the server makes hard links, which never replace"),
            (false, false) => Manner::good(NAME, "the server makes no hard links; a rename does not replace"),
            (false, true) => Manner::lacking(
                NAME,
                "the server makes no hard links, and a rename replaces",
                "nothing relies on it; do not run two `init` at the same moment",
            ),
        };
        self.sync_folder(&lane, &self.root)?;
        const DISK: &str = "durability";
        let disk = match (abilities.syncs, self.synced_folders.load(Ordering::Relaxed)) {
            (true, true) => Manner::good(DISK, "files and directories are synced to the server's disk"),
            (true, false) => Manner::good(DISK, "files are synced to the server's disk; directories are not"),
            (false, _) => Manner::lacking(
                DISK,
                "the server does not sync files (fsync@openssh.com)",
                "after a power failure of the server run `dumpvault check`: the newest backups may be damaged",
            ),
        };
        Ok(vec![naming, disk])
    }
}
