//! The host that was broken into.

use super::*;
use crate::support::forger::{Forger, key_of, table_of_all};
use dumpvault::base::id::{AuthorId, PackId, SessionId};
use dumpvault::storage::StorageError;
use dumpvault::vault::format::index::{BlockKind, ChunkTable, Index, IndexedPack};
use dumpvault::vault::format::mark::{Mark, MarkKind};
use dumpvault::vault::format::session::SessionKind;
use dumpvault::vault::format::slot::{Label, Slot};
use dumpvault::vault::snapshot::Stream;

/// What it does: more than the others, since each of its acts is a single call or two.
const HOSTILE_ACTS: u64 = 4;
/// Kinds of such acts.
const ACTS: usize = 12;

/// What it knows of backups that nobody has made yet: it can name the chunks of any bytes.
pub struct Foreseen {
    /// Dumps that are yet to come.
    pub contents: Vec<Vec<u8>>,
    /// The packs that would hold their chunks.
    data: Vec<IndexedPack>,
    /// Packs that hold their recipes, which it has, and what is in them.
    recipes: Vec<(Vec<u8>, IndexedPack)>,
    streams: Vec<Stream>,
}

impl Foreseen {
    /// Where nobody is hostile.
    pub fn nothing() -> Self {
        Self { contents: Vec::new(), data: Vec::new(), recipes: Vec::new(), streams: Vec::new() }
    }

    /// Tried out on a copy of the repository.
    pub fn new(storage: &dyn Storage, around: &Surroundings) -> Self {
        let copy = dumpvault::storage::memory::MemoryStorage::new();
        for key in small::keys(storage, "") {
            copy.put(&key, &storage.get(&key, u64::MAX).unwrap()).unwrap();
        }
        let repo = Repository::open(Arc::new(copy.clone()), &hostile_credential(), around).unwrap();
        // Enough that data and recipes lie in packs of their own.
        let contents: Vec<Vec<u8>> = (0..3).map(|one| small::noise(200 + one, 80_000)).collect();
        let streams = contents.iter().map(|bytes| of_web(&repo, 100, 0, bytes).stream).collect();
        let forger = Forger::with(&copy, &hostile_credential(), Arc::clone(&around.entropy));
        let is_new = |pack: &IndexedPack| storage.size(&key_of_pack(&pack.id)).unwrap().is_none();
        let packs = forger.packs(&copy).unwrap().into_iter().filter(is_new);
        let is_recipe =
            |pack: &IndexedPack| pack.table.blocks.iter().any(|block| block.kind == BlockKind::Recipe);
        let (recipes, data): (Vec<_>, Vec<_>) = packs.partition(is_recipe);
        let bytes_of = |pack: IndexedPack| (copy.get(&key_of_pack(&pack.id), u64::MAX).unwrap(), pack);
        Self { contents, data, recipes: recipes.into_iter().map(bytes_of).collect(), streams }
    }
}

fn key_of_pack(id: &PackId) -> String {
    let hex = id.to_string();
    format!("packs/{}/{hex}", &hex[..2])
}

/// A host that was broken into.
pub struct Hostile<'a> {
    turnstile: &'a Turnstile,
    storage: Arc<dyn Storage>,
    entropy: Arc<ActorEntropy>,
    forger: Forger,
    dice: Dice,
    model: &'a Mutex<Model>,
    tally: &'a Tally,
}

type Act<'a> = fn(&mut Hostile<'a>) -> Result<(), StorageError>;

impl<'a> Hostile<'a> {
    /// `storage` is what it puts its objects into: through the turnstile, or past it.
    pub fn new(
        seed: u64,
        turnstile: &'a Turnstile,
        storage: Arc<dyn Storage>,
        model: &'a Mutex<Model>,
        tally: &'a Tally,
    ) -> Self {
        let entropy = ActorEntropy::new(seed, HOSTILE);
        // It came by its key at leisure.
        let forger = Forger::with(&turnstile.storage, &hostile_credential(), entropy.clone());
        let dice = Dice(seed.wrapping_mul(31) ^ HOSTILE as u64);
        Self { turnstile, storage, entropy, forger, dice, model, tally }
    }

    fn acts() -> [(&'static str, Act<'a>); ACTS] {
        [
            ("INDEX", Self::lying_index),
            ("INDEX", Self::lying_index),
            ("HOLLOW", Self::hollow_pack),
            ("HALF", Self::half_snapshot),
            ("SNAPSHOT", Self::forged_snapshot),
            ("SNAPSHOT", Self::forged_snapshot),
            ("MARK", Self::forged_mark),
            ("SESSION", Self::forged_session),
            ("PLAN", Self::forged_plan),
            ("SLOT", Self::forged_slot),
            ("NEWER", Self::claimed_newer),
            ("JUNK", Self::misnamed),
        ]
    }

    /// One act after another, with hours between them.
    pub fn live(&mut self) {
        for _ in 0..HOSTILE_ACTS {
            let hours = [0, 0, 1, 1, 7, 25, 50][self.dice.below(7) as usize];
            self.turnstile.idle(HOSTILE, hours * HOUR + self.dice.below(40) as i64 * MINUTE);
            let at = self.dice.below(ACTS as u64) as usize;
            let (what, act) = Self::acts()[at];
            self.turnstile.begin(HOSTILE, &format!("HOSTILE {what}"));
            let outcome = self.does(act);
            let words = outcome.as_ref().err().map_or("ok".to_owned(), ToString::to_string);
            self.turnstile.end(HOSTILE, &words);
            count(&self.tally.hostile, u64::from(outcome.is_ok()));
        }
    }

    /// About half of all that it can do, at once.
    pub fn strike(&mut self) {
        for (_, act) in Self::acts() {
            for _ in 0..self.dice.below(3) {
                // What is there already cannot be put again.
                let outcome = self.does(act);
                count(&self.tally.hostile, u64::from(outcome.is_ok()));
            }
        }
    }

    /// As itself, with a signature that is none, or in the name of the owner.
    fn does(&mut self, act: Act<'a>) -> Result<(), StorageError> {
        self.entropy.begin();
        let own = self.forger.as_it_is();
        match self.dice.below(6) {
            0 => self.forger.signs_badly = true,
            1 => self.forger = own.posing_as(template().owner),
            _ => {}
        }
        let outcome = act(self);
        self.forger = own;
        outcome
    }

    fn put(&self, folder: &str, bytes: &[u8]) -> Result<String, StorageError> {
        let key = key_of(folder, bytes);
        held(self.model).forged.insert(key.clone());
        self.storage.put(&key, bytes)?;
        Ok(key)
    }

    fn index(&self, packs: Vec<IndexedPack>) -> Result<(), StorageError> {
        self.put("index", &self.forger.index(packs)).map(|_| ())
    }

    /// Junk that an index says holds what is in `packs`.
    fn junk_for(&mut self, packs: &[IndexedPack], kind: BlockKind) -> Result<IndexedPack, StorageError> {
        let table = table_of_all(packs, kind);
        let bytes = small::noise(self.dice.next(), table.end() as usize);
        held(self.model).junk.insert(key_of("packs", &bytes));
        let key = self.put("packs", &bytes)?;
        Ok(IndexedPack { id: key[9..].parse().unwrap(), bytes: bytes.len() as u64, table })
    }

    /// What is there, looked at past the turnstile.
    fn packs(&self) -> Vec<IndexedPack> {
        self.forger.packs(&self.turnstile.storage).unwrap()
    }

    /// Says that junk holds everything, also what is yet to come; that packs hold nothing, or that too; that they are
    /// of another size; or that what others said holds no more.
    fn lying_index(&mut self) -> Result<(), StorageError> {
        let packs = self.packs();
        match self.dice.below(6) {
            0 => {
                let kind =
                    [BlockKind::Data, BlockKind::Recipe, BlockKind::Blinded][self.dice.below(3) as usize];
                let junk = self.junk_for(&packs, kind)?;
                self.index(vec![junk])
            }
            1 => {
                let junk = self.junk_for(&template().foreseen.data, BlockKind::Data)?;
                self.index(vec![junk])
            }
            2 => {
                let nothing = |pack| IndexedPack { table: ChunkTable::default(), ..pack };
                self.index(packs.into_iter().map(nothing).collect())
            }
            3 => {
                let table = table_of_all(&template().foreseen.data, BlockKind::Data);
                let more = |pack| IndexedPack { table: table.clone(), ..pack };
                self.index(packs.into_iter().map(more).collect())
            }
            4 => {
                let longer = |pack: IndexedPack| IndexedPack { bytes: pack.bytes + 1, ..pack };
                self.index(packs.into_iter().map(longer).collect())
            }
            _ => {
                let names = small::keys(&self.turnstile.storage, "index/");
                let replaces = names.iter().map(|name| name["index/".len()..].parse().unwrap()).collect();
                self.put("index", &self.forger.index_of(&Index { packs: vec![], replaces })).map(|_| ())
            }
        }
    }

    /// A pack that says itself that it holds what is yet to come, and does not; an index object may name it.
    fn hollow_pack(&mut self) -> Result<(), StorageError> {
        let pack = self.forger.hollow_pack(&template().foreseen.data);
        let (id, bytes) = (pack.id, pack.bytes.len() as u64);
        held(self.model).junk.insert(key_of("packs", &pack.bytes));
        self.put("packs", &pack.bytes)?;
        if self.dice.one_in(2) {
            self.index(vec![IndexedPack { id, bytes, table: pack.table }])
        } else {
            Ok(())
        }
    }

    /// A snapshot whose recipe is there. Its chunks are in junk, by what an index object says.
    fn half_snapshot(&mut self) -> Result<(), StorageError> {
        let foreseen = &template().foreseen;
        let mut named = Vec::new();
        for (bytes, pack) in &foreseen.recipes {
            self.put("packs", bytes)?;
            named.push(pack.clone());
        }
        self.index(named)?;
        let junk = self.junk_for(&foreseen.data, BlockKind::Data)?;
        self.index(vec![junk])?;
        let stream = foreseen.streams[self.dice.below(3) as usize].clone();
        let now = self.turnstile.clock.now_ms();
        self.put_snapshot("web", now, vec![stream], true)
    }

    fn put_snapshot(
        &mut self,
        host: &str,
        time_ms: i64,
        streams: Vec<Stream>,
        is_committed: bool,
    ) -> Result<(), StorageError> {
        let head = self.forger.head("app", host, time_ms, self.dice.below(2000));
        let key = self.put("snapshots", &self.forger.snapshot(&head, streams))?;
        if !is_committed {
            return Ok(());
        }
        self.put("marks", &self.forger.mark(MarkKind::Committed, &key, Some("app"))).map(|_| ())
    }

    /// Of its own series or another host's, with any counter and time, over streams of others or of nothing, committed
    /// or not.
    fn forged_snapshot(&mut self) -> Result<(), StorageError> {
        let mut stream = {
            let model = held(self.model);
            model.kept.values().next().map(|kept| kept.stream.clone())
        };
        if let Some(stream) = stream.as_mut().filter(|_| self.dice.one_in(2)) {
            stream.root = dumpvault::base::id::NodeId::from_bytes([9; 32]);
        }
        let host = if self.dice.one_in(3) { "test" } else { "web" };
        let hours = match self.dice.below(4) {
            0 => -(self.dice.below(23) as i64),
            1 => self.dice.below(2000) as i64 * 24 - 24_000,
            // Of the days on which it was honest.
            _ => -(self.dice.below(14 * 24) as i64),
        };
        let time_ms = self.turnstile.clock.now_ms() + hours * HOUR;
        let is_committed = !self.dice.one_in(4);
        self.put_snapshot(host, time_ms, stream.into_iter().collect(), is_committed)
    }

    /// Of a snapshot or pack that is there; some of them would take back what others said.
    fn forged_mark(&mut self) -> Result<(), StorageError> {
        let kinds = [
            MarkKind::Damaged,
            MarkKind::Cleared,
            MarkKind::GivenUp,
            MarkKind::Forgotten,
            MarkKind::Verified,
            MarkKind::TimeConfirmed,
            MarkKind::Committed,
            MarkKind::Pinned,
            MarkKind::Tags,
            MarkKind::Other(200),
        ];
        let kind = kinds[self.dice.below(kinds.len() as u64) as usize];
        let mut objects = small::keys(&self.turnstile.storage, "snapshots/");
        let value = objects.iter().map(|key| key["snapshots/".len()..].to_owned()).collect::<Vec<_>>();
        objects.extend(small::keys(&self.turnstile.storage, "packs/"));
        let object = objects[self.dice.below(objects.len() as u64) as usize].clone();
        let marks = small::keys(&self.turnstile.storage, "marks/");
        let supersedes = marks.iter().map(|mark| mark["marks/".len()..].parse().unwrap()).collect();
        let mark = Mark {
            kind,
            object,
            time_ms: 0,
            supersedes: if self.dice.one_in(2) { supersedes } else { vec![] },
            value: Some(value.join("\n")),
            host: String::new(),
        };
        self.put("marks", &self.forger.mark_of(&mark)).map(|_| ())
    }

    /// A session of its own, a prune's, or one of another host's, with a number beyond all.
    fn forged_session(&mut self) -> Result<(), StorageError> {
        let others = small::keys(&self.turnstile.storage, "sessions/");
        let other = others.first().and_then(|key| key["sessions/".len()..].split('-').next()?.parse().ok());
        let mut own = [0; SessionId::LEN];
        self.entropy.fill(&mut own).unwrap();
        let own = SessionId::from_bytes(own);
        let kind = if self.dice.one_in(2) { SessionKind::Prune } else { SessionKind::Write };
        let (id, number) = match other.filter(|_| self.dice.one_in(2)) {
            Some(other) => (other, 1_000_000),
            None => (own, 0),
        };
        let began = (number > 0).then(|| self.turnstile.clock.now_ms());
        let (key, bytes) = self.forger.session(kind, id, number, began);
        held(self.model).forged.insert(key.clone());
        self.storage.put(&key, &bytes).map(|_| ())
    }

    fn forged_plan(&mut self) -> Result<(), StorageError> {
        let all = self.packs().into_iter().map(|pack| pack.id).collect();
        self.put("gc", &self.forger.plan(all)).map(|_| ())
    }

    /// What only a newer program could read, by what it says.
    fn claimed_newer(&mut self) -> Result<(), StorageError> {
        let head = self.forger.head("app", "web", self.turnstile.clock.now_ms(), 1);
        let (folder, bytes) = match self.dice.below(4) {
            0 => ("snapshots", self.forger.snapshot(&head, vec![])),
            1 => ("marks", self.forger.mark(MarkKind::Pinned, "snapshots/1", None)),
            2 => ("index", self.forger.index(vec![])),
            _ => ("gc", self.forger.plan(vec![])),
        };
        let (at, value) = if self.dice.one_in(2) { (9, 2) } else { (10, 1) };
        self.put(folder, &self.forger.claiming(&bytes, at, value)).map(|_| ())
    }

    /// Bytes that do not fit their name, and the word that they are a snapshot.
    fn misnamed(&mut self) -> Result<(), StorageError> {
        let folder = ["snapshots", "snapshots", "marks", "index", "gc"][self.dice.below(5) as usize];
        let key = key_of(folder, &small::noise(self.dice.next(), 10));
        held(self.model).junk.insert(key.clone());
        self.storage.put(&key, b"other bytes")?;
        if folder == "snapshots" && self.dice.one_in(2) {
            self.put("marks", &self.forger.mark(MarkKind::Committed, &key, Some("app")))?;
        }
        Ok(())
    }

    fn forged_slot(&mut self) -> Result<(), StorageError> {
        let author = self.forger.keys.author().id();
        let label = Label { text: "offsite".to_owned(), created_ms: 0, role: Role::Full, author };
        let Forger { repo, keys, .. } = &self.forger;
        let slot = Slot::seal(*repo, keys, &hostile_credential(), &label, self.entropy.as_ref()).unwrap();
        let slot = if self.dice.one_in(2) { small::noise(self.dice.next(), 300) } else { slot };
        self.put("keys", &slot).map(|_| ())
    }
}

/// A snapshot of the host that is broken into later.
pub fn of_web(repo: &Repository, counter: u64, time_ms: i64, bytes: &[u8]) -> Kept {
    let mut session = small::begin(repo).unwrap();
    let stored = small::store(&mut session, bytes, None).unwrap();
    let format = dumpvault::vault::snapshot::StreamFormat::Unknown;
    let finished = stored.finish(dumpvault::vault::snapshot::Proof::Exited, format, BTreeMap::new());
    let request = CommitRequest { host: "web".into(), time_ms, now_ms: time_ms, ..small::request(counter) };
    Kept::new(&session.commit(vec![finished], request).unwrap(), bytes)
}

/// Who the owner is, as every key can read.
pub fn owner_of(repo: &Repository) -> AuthorId {
    repo.authors().me()
}
