//! Somebody who has a key and may put objects, and writes by hand what the program would not.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dumpvault::base::id::{AuthorId, PackId, RepoId, SessionId, SnapshotId};
use dumpvault::base::secret::Entropy;
use dumpvault::content::codec::Codec;
use dumpvault::storage::{Storage, StorageError};
use dumpvault::vault::Repository;
use dumpvault::vault::crypto::{Credential, KdfCaps, KeyBundle, Role};
use dumpvault::vault::format::index::{BlockKind, ChunkTable, Index, IndexedPack, Naming};
use dumpvault::vault::format::mark::{Mark, MarkKind};
use dumpvault::vault::format::pack::{PackBuffer, SealedPack};
use dumpvault::vault::format::plan::Plan;
use dumpvault::vault::format::session::{SessionKind, SessionState};
use dumpvault::vault::format::slot::Slot;
use dumpvault::vault::format::snapshot;
use dumpvault::vault::snapshot::{Body, Head, Proof, State, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key of a repository in the wrong hands.
pub struct Forger {
    pub repo: RepoId,
    pub keys: KeyBundle,
    pub entropy: Arc<dyn Entropy>,
    /// What it signs with is not its own key.
    pub signs_badly: bool,
}

impl Forger {
    /// With the bundle that `credential` opens in `storage`.
    pub fn with(storage: &dyn Storage, credential: &Credential, entropy: Arc<dyn Entropy>) -> Self {
        let repo = Repository::identify(storage).unwrap().id;
        let mut slots = Vec::new();
        storage.list("keys/", &mut |listed| slots.push(listed.key)).unwrap();
        let open = |key: &String| {
            let slot = Slot::decode(&storage.get(key, u64::MAX).unwrap(), &repo).ok()?;
            slot.open(credential, KdfCaps::USUAL).ok()
        };
        let keys = slots.iter().find_map(open).expect("a slot that opens");
        Self { repo, keys, entropy, signs_badly: false }
    }

    /// The same once more.
    pub fn as_it_is(&self) -> Self {
        let keys = KeyBundle::decode(&self.keys.encode().unwrap()).unwrap();
        Self { repo: self.repo, keys, entropy: Arc::clone(&self.entropy), signs_badly: self.signs_badly }
    }

    /// The same keys of the epoch, and an author of whom no statement tells.
    pub fn as_nobody(&self) -> Self {
        let keys = self.keys.for_new_author(Role::Append, self.entropy.as_ref());
        // Only whoever has the secret of the epoch can make an author; a bundle of chance has it all the same.
        let keys = keys.unwrap_or_else(|_| self.keys.to_append());
        Self { repo: self.repo, keys, entropy: Arc::clone(&self.entropy), signs_badly: self.signs_badly }
    }

    /// Names another author in what it writes, and signs with its own secret.
    pub fn posing_as(&self, author: AuthorId) -> Self {
        let mut bundle = self.keys.encode().unwrap().to_vec();
        let own = self.keys.author().id();
        let at = bundle.windows(AuthorId::LEN).position(|part| part == own.as_bytes()).unwrap();
        bundle[at..at + AuthorId::LEN].copy_from_slice(author.as_bytes());
        let keys = KeyBundle::decode(&bundle).unwrap();
        Self { repo: self.repo, keys, entropy: Arc::clone(&self.entropy), signs_badly: false }
    }

    /// A pack whose own table names the chunks of `packs`, and whose blocks hold other bytes.
    pub fn hollow_pack(&self, packs: &[IndexedPack]) -> SealedPack {
        let mut buffer = PackBuffer::default();
        for pack in packs {
            for block in &pack.table.blocks {
                let bytes = vec![0; block.plain_bytes as usize];
                buffer.push(block.naming(), Codec::Raw, b"", &bytes, pack.table.chunks_of(block));
            }
        }
        buffer.seal(self.repo, &self.keys, self.entropy.as_ref(), false).unwrap()
    }

    /// The signature is at the end of all objects.
    fn signed(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(last) = bytes.last_mut().filter(|_| self.signs_badly) {
            *last ^= 1;
        }
        bytes
    }

    pub fn snapshot(&self, head: &Head, streams: Vec<Stream>) -> Vec<u8> {
        let body = Body { streams, failed: Vec::new(), source: BTreeMap::new(), parent: None };
        self.signed(snapshot::seal(head, &body, self.repo, &self.keys, self.entropy.as_ref()).unwrap())
    }

    pub fn head(&self, series: &str, host: &str, time_ms: i64, counter: u64) -> Head {
        Head {
            series: series.into(),
            host: host.into(),
            time_ms,
            state: State::Complete,
            tags: Vec::new(),
            counter,
            predecessor: None,
            finished_ms: time_ms,
            time_zone: "UTC".into(),
            calendar: Vec::new(),
            proof: Proof::Exited,
            program: "forged".into(),
            origin: None,
            author: self.keys.author().id(),
            pins: None,
            import: None,
            origin_author: None,
            set: None,
            system: None,
            role: None,
        }
    }

    pub fn mark(&self, kind: MarkKind, object: &str, value: Option<&str>) -> Vec<u8> {
        let mark = Mark {
            kind,
            object: object.to_owned(),
            time_ms: 0,
            supersedes: Vec::new(),
            value: value.map(str::to_owned),
            host: "forged".into(),
        };
        self.mark_of(&mark)
    }

    pub fn mark_of(&self, mark: &Mark) -> Vec<u8> {
        self.signed(mark.seal(self.repo, &self.keys, self.entropy.as_ref()).unwrap())
    }

    pub fn index_of(&self, index: &Index) -> Vec<u8> {
        self.signed(index.seal(self.repo, &self.keys, self.entropy.as_ref()).unwrap())
    }

    pub fn index(&self, packs: Vec<IndexedPack>) -> Vec<u8> {
        self.index_of(&Index { packs, replaces: Vec::new() })
    }

    /// The same object with another byte of its header, signed again.
    pub fn claiming(&self, bytes: &[u8], at: usize, value: u8) -> Vec<u8> {
        let mut body = bytes[..bytes.len() - 64].to_vec();
        body[at] = value;
        let signature = self.keys.author().sign(&[b"dumpvault v1 signed", &body[..]].concat());
        self.signed([&body[..], &signature].concat())
    }

    pub fn plan(&self, packs: Vec<PackId>) -> Vec<u8> {
        let plan = Plan { time_ms: 0, packs };
        self.signed(plan.seal(self.repo, &self.keys, self.entropy.as_ref()).unwrap())
    }

    /// Name and bytes of a session's object.
    pub fn session(
        &self,
        kind: SessionKind,
        id: SessionId,
        number: u64,
        began_ms: Option<i64>,
    ) -> (String, Vec<u8>) {
        let state = SessionState { kind, plans: Vec::new(), began_ms };
        let bytes = state.seal((id, number), self.repo, &self.keys, self.entropy.as_ref()).unwrap();
        (format!("sessions/{id}-{number}"), self.signed(bytes))
    }

    /// What the index objects that this key can read say of all packs.
    pub fn packs(&self, storage: &dyn Storage) -> Result<Vec<IndexedPack>, StorageError> {
        let mut keys = Vec::new();
        storage.list("index/", &mut |listed| keys.push(listed.key))?;
        let mut packs = BTreeMap::new();
        for key in keys {
            // A prune may remove it meanwhile.
            let Ok(bytes) = storage.get(&key, u64::MAX) else { continue };
            let Ok(index) = Index::open(&bytes, &self.repo, &self.keys) else { continue };
            packs.extend(index.content.packs.into_iter().map(|pack| (pack.id, pack)));
        }
        Ok(packs.into_values().collect())
    }
}

/// The table of a pack that would hold all that those packs hold of one kind.
pub fn table_of_all(packs: &[IndexedPack], kind: BlockKind) -> ChunkTable {
    let mut table = ChunkTable::default();
    for pack in packs {
        for block in pack.table.blocks.iter().filter(|block| block.kind == kind) {
            table.push(
                Naming { kind, generation: block.generation },
                block.codec,
                block.stored_bytes,
                pack.table.chunks_of(block),
            );
        }
    }
    table
}

/// Where an object of that folder with these bytes belongs.
pub fn key_of(folder: &str, bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex();
    if folder == "packs" {
        format!("packs/{}/{hex}", &hash[..2], hex = hash)
    } else {
        format!("{folder}/{hash}")
    }
}

/// Puts an object under its hash; its key.
pub fn put(storage: &dyn Storage, folder: &str, bytes: &[u8]) -> Result<String, StorageError> {
    let key = key_of(folder, bytes);
    storage.put(&key, bytes)?;
    Ok(key)
}

/// The id of the snapshot with that key.
pub fn snapshot_id(key: &str) -> SnapshotId {
    key.strip_prefix("snapshots/").unwrap().parse().unwrap()
}
