//! Given blocks, fetched and opened many at a time, and handed over in the order in which they were asked for.

use super::ReadSettings;
use super::blocks::{BlockReader, Workspace, prefixes_of};
use super::turns::Turns;
use crate::base::event::Cancel;
use crate::content::codec::Codec;
use crate::vault::RepoError;
use crate::vault::catalog::PackRow;
use crossbeam_channel::Sender;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Plain bytes of the blocks that are fetched in one read.
const RUN_PLAIN_BYTES: u64 = 2 << 20;

/// A block that is wanted.
pub(crate) struct WantedBlock {
    /// Its pack.
    pub pack: Arc<PackRow>,
    /// Its number there.
    pub block: u32,
    /// Whether its compressed bytes will do.
    pub compressed: bool,
}

/// A block whose every id was checked.
pub(crate) struct FetchedBlock {
    /// How it was compressed.
    pub codec: Codec,
    /// What blinds its chunks, 16 bytes each, or nothing.
    pub prefixes: Vec<u8>,
    /// Its bytes: compressed where these will do, and plain otherwise.
    pub bytes: Vec<u8>,
}

/// Opens the `wanted` blocks and gives each, or what is wrong with it, to `each`, with its place in `wanted`. Memory:
/// for each worker some 2 MiB of plain blocks and what [`ReadSettings::run_bytes`] says.
///
/// # Errors
/// Those of `each`; when threads cannot be started, and when somebody cancels.
pub(crate) fn fetch_blocks<E: From<RepoError>>(
    blocks: &BlockReader,
    wanted: &[WantedBlock],
    settings: ReadSettings,
    cancel: &Cancel,
    mut each: impl FnMut(usize, Result<FetchedBlock, RepoError>) -> Result<(), E>,
) -> Result<(), E> {
    let runs = runs(wanted, settings.run_bytes);
    let workers = settings.workers.clamp(1, runs.len().max(1));
    let at_once = workers + 2;
    let (jobs_in, jobs) = crossbeam_channel::bounded::<usize>(at_once);
    let (done_in, done) = crossbeam_channel::bounded(at_once);
    let turns = Turns::default();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (jobs, done, runs, turns) = (jobs.clone(), done_in.clone(), &runs, &turns);
            let thread = std::thread::Builder::new().name("fetch".to_owned());
            let work = move || {
                let spare = RefCell::default();
                loop {
                    let mut turn = turns.next();
                    let Ok(number) = jobs.recv() else { break };
                    let run = runs.get(number).and_then(|run| wanted.get(run.clone())).unwrap_or_default();
                    let mut answer = Answer { number, opened: None, done: &done };
                    answer.opened = Some(open(blocks, run, &mut turn.workspace, &spare));
                }
            };
            thread.spawn_scoped(scope, work).map_err(|source| RepoError::Thread { source })?;
        }
        drop((jobs, done_in));
        // Dropped when this ends, however it does: the workers end then.
        let jobs_in = jobs_in;
        let done = done;
        let mut early = BTreeMap::new();
        let (mut asked, mut taken) = (0, 0);
        while let Some(run) = runs.get(taken) {
            if cancel.is_cancelled() {
                return Err(RepoError::Cancelled.into());
            }
            while asked < runs.len() && asked - taken < at_once {
                jobs_in.send(asked).map_err(|_| RepoError::Stopped)?;
                asked += 1;
            }
            let Some(opened) = early.remove(&taken) else {
                let (number, opened) = done.recv().map_err(|_| RepoError::Stopped)?;
                early.insert(number, opened);
                continue;
            };
            taken += 1;
            run.clone().zip(opened).try_for_each(|(at, block)| each(at, block))?;
        }
        Ok(())
    })
}

type Opened = Vec<Result<FetchedBlock, RepoError>>;

/// Given when dropped, so that nobody waits for ever for a thread that panicked.
struct Answer<'a> {
    number: usize,
    opened: Option<Opened>,
    done: &'a Sender<(usize, Opened)>,
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let opened = self.opened.take().unwrap_or_else(|| vec![Err(RepoError::Stopped)]);
        // Safe to ignore because whoever asked may have given up; then nobody asks for more.
        let _ = self.done.send((self.number, opened));
    }
}

/// Blocks that lie side by side in a pack, as far as they make up one read.
fn runs(wanted: &[WantedBlock], run_bytes: u64) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let (mut plain, mut stored) = (0, 0);
    for (at, block) in wanted.iter().enumerate() {
        let sizes = block.pack.block(block.block);
        let sizes = sizes.map_or((0, 0), |own| (u64::from(own.plain_bytes), u64::from(own.stored_bytes)));
        let follows = at.checked_sub(1).and_then(|before| wanted.get(before)).is_some_and(|before| {
            before.pack.id == block.pack.id && before.block.checked_add(1) == Some(block.block)
        });
        match runs.last_mut() {
            Some(run) if follows && plain + sizes.0 <= RUN_PLAIN_BYTES && stored + sizes.1 <= run_bytes => {
                run.end = at + 1;
                (plain, stored) = (plain + sizes.0, stored + sizes.1);
            }
            _ => {
                runs.push(at..at + 1);
                (plain, stored) = sizes;
            }
        }
    }
    runs
}

/// Opens a run of blocks; those that do not open each with its own error.
fn open(
    blocks: &BlockReader,
    run: &[WantedBlock],
    workspace: &mut Workspace,
    spare: &RefCell<Vec<u8>>,
) -> Opened {
    let mut opened = Vec::with_capacity(run.len());
    let outcome = open_side_by_side(blocks, run, workspace, spare, &mut opened);
    match outcome {
        Err(error) if error.is_integrity() && run.len() > 1 => {
            // One of them is damaged, or all: each by itself tells.
            let rest = run.get(opened.len()..).unwrap_or_default();
            for block in rest {
                let mut own = Vec::with_capacity(1);
                let outcome =
                    open_side_by_side(blocks, std::slice::from_ref(block), workspace, spare, &mut own);
                opened.push(outcome.and_then(|()| own.pop().unwrap_or(Err(RepoError::Stopped))));
            }
        }
        Err(error) => opened.push(Err(error)),
        Ok(()) => {}
    }
    opened
}

fn open_side_by_side(
    blocks: &BlockReader,
    run: &[WantedBlock],
    workspace: &mut Workspace,
    spare: &RefCell<Vec<u8>>,
    opened: &mut Opened,
) -> Result<(), RepoError> {
    let Some(first) = run.first() else { return Ok(()) };
    let numbers = first.block..first.block + run.len() as u32;
    let mut buffer = |_| spare.take();
    let mut each = |number: u32, stored: &[u8], plain: Vec<u8>| {
        let compressed = run.get((number - first.block) as usize).is_some_and(|block| block.compressed);
        let entry = first.pack.block(number);
        let prefixes = entry.map(|entry| prefixes_of(entry, stored)).unwrap_or_default();
        let bytes = if compressed {
            spare.replace(plain);
            stored.get(prefixes.len()..).unwrap_or_default().to_vec()
        } else {
            plain
        };
        let codec = entry.map_or(Codec::Raw, |entry| entry.codec);
        opened.push(Ok(FetchedBlock { codec, prefixes: prefixes.to_vec(), bytes }));
    };
    blocks.open_run_into(&first.pack, numbers, workspace, &mut buffer, &mut each)
}
