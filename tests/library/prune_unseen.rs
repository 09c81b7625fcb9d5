//! What append keys, and whoever may put objects, can do to prunes: hold them up for some days once, and no more. And
//! what of an honest append host's is kept meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use crate::support::forger::{Forger, key_of, put, snapshot_id, table_of_all};
use crate::support::small;
use crate::support::small::{HandClock, Kept, keys, noise};
use dumpvault::base::clock::Clock;
use dumpvault::base::event::{Cancel, Silent};
use dumpvault::base::id::{NodeId, SnapshotId};
use dumpvault::base::secret::OsEntropy;
use dumpvault::storage::Storage;
use dumpvault::storage::memory::MemoryStorage;
use dumpvault::vault::crypto::{Credential, Role};
use dumpvault::vault::format::index::{BlockKind, ChunkTable, IndexedPack};
use dumpvault::vault::format::mark::MarkKind;
use dumpvault::vault::gc::{PruneReport, PruneSettings};
use dumpvault::vault::snapshot::Stream;
use dumpvault::vault::{NewKey, RepoError, Repository, Surroundings};
use std::sync::Arc;
use std::time::Duration;

const DAY: i64 = 24 * 60;

/// A repository with an owner and a host that has an append key.
struct Scene {
    clock: Arc<HandClock>,
    storage: MemoryStorage,
    owner: Repository,
    web: Repository,
    forger: Forger,
    counter: u64,
    /// Of a forgotten snapshot of the owner's.
    garbage: Vec<String>,
    kept: Kept,
    _caches: [tempfile::TempDir; 2],
}

fn web_key() -> Credential {
    small::another_credential(66)
}

fn around(clock: &Arc<HandClock>, cache: &tempfile::TempDir) -> Surroundings {
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    Surroundings { clock, ..small::surroundings(cache.path()) }
}

impl Scene {
    fn new() -> Self {
        let clock = HandClock::new();
        let storage = small::memory(&clock);
        let caches = [small::scratch(), small::scratch()];
        let shared = Arc::new(storage.clone());
        let owner = Repository::init(
            shared.clone(),
            &small::credential(),
            "",
            small::tiny(),
            &around(&clock, &caches[0]),
        );
        let owner = owner.unwrap();
        let new = NewKey {
            role: Role::Append,
            name: "web",
            hosts: vec!["*".to_owned()],
            series: None,
            share: true,
        };
        owner.key_ring().add(&web_key(), &new, 0).unwrap();
        let owner = owner.refreshed().unwrap();
        let web = Repository::open(shared, &web_key(), &around(&clock, &caches[1])).unwrap();
        let forger = Forger::with(&storage, &web_key(), Arc::new(OsEntropy));
        let first = small::backup(&owner, 1, &noise(1, 80_000), None).unwrap();
        let garbage = keys(&storage, "packs/");
        let kept = small::backup(&owner, 2, &noise(2, 80_000), None).unwrap();
        owner.forget(&[first.id]).unwrap();
        clock.advance_minutes(3 * DAY);
        Self { clock, storage, owner, web, forger, counter: 2, garbage, kept, _caches: caches }
    }

    /// The owner on a machine that never saw the repository.
    fn fresh(&self) -> (Repository, tempfile::TempDir) {
        let cache = small::scratch();
        let storage = Arc::new(self.storage.clone());
        (Repository::open(storage, &small::credential(), &around(&self.clock, &cache)).unwrap(), cache)
    }

    fn prune_by(&self, repo: &Repository) -> Result<PruneReport, RepoError> {
        let settings = PruneSettings { grace: Duration::ZERO, ..PruneSettings::new(self.clock.now_ms()) };
        repo.prune(&settings, &Silent, &Cancel::new())
    }

    fn prune(&self) -> Result<PruneReport, RepoError> {
        self.prune_by(&self.owner)
    }

    /// A backup by the host.
    fn backup(&mut self, bytes: &[u8]) -> Kept {
        self.counter += 1;
        small::backup(&self.web, self.counter, bytes, None).unwrap()
    }

    /// Commits a snapshot of the host's over these streams; its key.
    fn commit(&mut self, streams: Vec<Stream>) -> String {
        self.counter += 1;
        let head = self.forger.head("app", "web", self.clock.now_ms(), self.counter);
        let key = put(&self.storage, "snapshots", &self.forger.snapshot(&head, streams)).unwrap();
        self.say_committed(&key);
        key
    }

    fn say_committed(&self, key: &str) {
        put(&self.storage, "marks", &self.forger.mark(MarkKind::Committed, key, Some("app"))).unwrap();
    }

    /// A stream over a recipe that never was.
    fn over_nothing(&self) -> Stream {
        Stream { root: NodeId::from_bytes([9; 32]), ..self.kept.stream.clone() }
    }

    /// The pack of recipes, or of data, that came since `before`.
    fn pack_since(&self, before: &[String], kind: BlockKind) -> String {
        let packs = self.forger.packs(&self.storage).unwrap();
        let fits = |pack: &&IndexedPack| pack.table.blocks.iter().any(|block| block.kind == kind);
        let mut fresh = packs.iter().filter(fits).map(|pack| dumpvault::vault::pack_key(&pack.id));
        fresh.find(|key| !before.contains(key)).unwrap()
    }

    fn take_away(&self, key: &str) -> Vec<u8> {
        let bytes = self.storage.get(key, u64::MAX).unwrap();
        self.storage.delete(key).unwrap();
        bytes
    }

    fn has_garbage(&self) -> bool {
        let there = keys(&self.storage, "packs/");
        self.garbage.iter().any(|key| there.contains(key))
    }

    #[track_caller]
    fn assert_restores(&self, kept: &Kept) {
        let (fresh, _cache) = self.fresh();
        for repo in [&self.owner, &fresh] {
            assert!(small::restore(repo, &kept.id).unwrap() == *kept.bytes);
        }
    }
}

#[track_caller]
fn names(report: &PruneReport, key: &str) {
    let short = snapshot_id(key).short();
    assert!(report.warnings.iter().any(|warning| warning.contains(&short)), "{short}: {report:?}");
}

#[test]
fn given_snapshots_of_an_append_key_over_nothing_then_prunes_go_on_and_wait_a_week_once() {
    let mut scene = Scene::new();
    let first = scene.commit(vec![scene.over_nothing()]);
    let begun = scene.clock.now();
    for day in 0..7 {
        let (fresh, _cache) = scene.fresh();
        for repo in [&scene.owner, &fresh] {
            let report = scene.prune_by(repo).unwrap();
            names(&report, &first);
            let until = jiff::Timestamp::try_from(report.held_until.unwrap()).unwrap();
            assert_eq!(until, begun + jiff::SignedDuration::from_hours(7 * 24), "day {day}");
            assert!(report.condemned.is_empty() && scene.has_garbage(), "day {day}: {report:?}");
        }
        scene.clock.advance_minutes(DAY);
        // One more each day puts nothing off.
        scene.commit(vec![scene.over_nothing()]);
    }
    scene.clock.advance_minutes(1);
    let report = scene.prune().unwrap();
    names(&report, &first);
    assert!(report.held_until.is_none() && !scene.has_garbage(), "{report:?}");
    scene.assert_restores(&scene.kept);
    // Neither does what comes when the old ones were marked, and nothing is left of them once they are forgotten.
    let (clock, cancel) = (scene.clock.as_ref(), Cancel::new());
    dumpvault::engine::repair::repair_snapshots(&scene.owner, clock, "test", 1, &Silent, &cancel).unwrap();
    let last = scene.commit(vec![scene.over_nothing()]);
    let report = scene.prune().unwrap();
    names(&report, &last);
    assert!(report.held_until.is_none(), "{report:?}");
    let listed = small::listed(&scene.owner).unwrap();
    let forged: Vec<SnapshotId> = listed.into_iter().filter(|id| *id != scene.kept.id).collect();
    assert_eq!(forged.len(), 9);
    scene.owner.forget(&forged).unwrap();
    assert!(scene.prune().unwrap().warnings.is_empty());
    assert!(small::check(&scene.owner).unwrap().is_clean());
}

#[test]
fn given_a_snapshot_of_an_append_key_whose_body_is_none_then_a_prune_goes_on() {
    let mut scene = Scene::new();
    let whole = scene.commit(vec![scene.kept.stream.clone()]);
    // A head that counts, with another snapshot's body: the signature is right, since its author made it.
    let bytes = scene.take_away(&whole);
    let mut body = bytes[..bytes.len() - 64].to_vec();
    let at = body.len() - 20;
    body[at] ^= 1;
    let signature = scene.forger.keys.author().sign(&[b"dumpvault v1 signed", &body[..]].concat());
    let key = put(&scene.storage, "snapshots", &[&body[..], &signature].concat()).unwrap();
    scene.say_committed(&key);
    let report = scene.prune().unwrap();
    names(&report, &key);
    assert!(report.held_until.is_some());
    scene.clock.advance_minutes(7 * DAY + 1);
    assert!(scene.prune().unwrap().held_until.is_none() && !scene.has_garbage());
    scene.assert_restores(&scene.kept);
}

#[test]
fn given_an_append_snapshot_that_a_prune_saw_whole_when_its_recipe_is_away_then_prunes_stop_until_it_is_back()
{
    let mut scene = Scene::new();
    let before = keys(&scene.storage, "packs/");
    let honest = scene.backup(&noise(3, 80_000));
    let recipe = scene.pack_since(&before, BlockKind::Recipe);
    let marks = keys(&scene.storage, "marks/").len();
    scene.prune().unwrap();
    assert_eq!(keys(&scene.storage, "marks/").len(), marks + 1, "it says that it saw it whole");
    scene.prune().unwrap();
    assert_eq!(keys(&scene.storage, "marks/").len(), marks + 1, "and says so once");
    let bytes = scene.take_away(&recipe);
    // For as long as it takes, and on a machine that never saw it.
    for _ in 0..3 {
        let objects = keys(&scene.storage, "");
        let (fresh, _cache) = scene.fresh();
        for repo in [&scene.owner, &fresh] {
            assert!(scene.prune_by(repo).unwrap_err().is_integrity());
        }
        assert_eq!(keys(&scene.storage, ""), objects);
        scene.clock.advance_minutes(10 * DAY);
    }
    scene.storage.put(&recipe, &bytes).unwrap();
    scene.prune().unwrap();
    scene.assert_restores(&honest);
}

#[test]
fn given_an_append_snapshot_that_nobody_saw_when_its_recipe_is_away_for_days_then_nothing_of_it_goes() {
    let mut scene = Scene::new();
    let shared = noise(4, 80_000);
    // What the host's next snapshot finds again lies in packs of the owner's, which nothing else keeps.
    scene.counter += 1;
    let first = small::backup(&scene.owner, scene.counter, &shared, None).unwrap();
    let before = keys(&scene.storage, "packs/");
    let honest = scene.backup(&[shared, noise(5, 2_000)].concat());
    let recipe = scene.pack_since(&before, BlockKind::Recipe);
    scene.owner.forget(&[first.id]).unwrap();
    let bytes = scene.take_away(&recipe);
    for _ in 0..6 {
        let report = scene.prune().unwrap();
        assert!(report.held_until.is_some() && report.packs_deleted == 0, "{report:?}");
        scene.clock.advance_minutes(DAY);
    }
    scene.storage.put(&recipe, &bytes).unwrap();
    assert!(scene.prune().unwrap().held_until.is_none());
    scene.assert_restores(&honest);
    assert!(!scene.has_garbage());
}

#[test]
fn given_a_plan_made_before_when_a_snapshot_hides_something_then_it_waits_as_well() {
    let mut scene = Scene::new();
    let settings = PruneSettings::new(scene.clock.now_ms());
    let planned = scene.owner.prune(&settings, &Silent, &Cancel::new()).unwrap();
    assert!(!planned.condemned.is_empty());
    scene.commit(vec![scene.over_nothing()]);
    scene.clock.advance_minutes(2 * DAY);
    let report = scene.prune().unwrap();
    assert_eq!((report.waiting.len(), report.packs_deleted), (1, 0), "{report:?}");
    assert!(scene.has_garbage());
    scene.clock.advance_minutes(6 * DAY);
    assert!(scene.prune().unwrap().packs_deleted > 0 && !scene.has_garbage());
}

#[test]
fn given_an_append_snapshot_that_only_lacks_chunks_then_a_prune_goes_on_at_once_and_keeps_the_rest() {
    let mut scene = Scene::new();
    let before = keys(&scene.storage, "packs/");
    let honest = scene.backup(&noise(5, 80_000));
    let lost = scene.pack_since(&before, BlockKind::Data);
    let recipe = scene.pack_since(&before, BlockKind::Recipe);
    scene.take_away(&lost);
    // Whether an index names them or not.
    for is_named in [true, false] {
        if !is_named {
            keys(&scene.storage, "index/").iter().for_each(|key| scene.storage.delete(key).unwrap());
            scene.owner.drop_catalog().unwrap();
        }
        let report = scene.prune().unwrap();
        names(&report, &format!("snapshots/{}", honest.id));
        assert!(report.held_until.is_none() && !scene.has_garbage(), "{report:?}");
        assert!(keys(&scene.storage, "packs/").contains(&recipe));
        let (fresh, _cache) = scene.fresh();
        names(&scene.prune_by(&fresh).unwrap(), &format!("snapshots/{}", honest.id));
    }
    scene.assert_restores(&scene.kept);
}

#[test]
fn given_chunks_that_only_a_lying_index_of_an_append_key_names_then_their_snapshot_was_never_whole() {
    let mut scene = Scene::new();
    let before = keys(&scene.storage, "packs/");
    let honest = scene.backup(&noise(6, 80_000));
    let data = scene.pack_since(&before, BlockKind::Data);
    // Bytes of chance take the place of the data, and an index says that they are it.
    let packs = scene.forger.packs(&scene.storage).unwrap();
    let said = packs.into_iter().find(|pack| dumpvault::vault::pack_key(&pack.id) == data).unwrap();
    let junk = noise(7, usize::try_from(said.table.end()).unwrap());
    let key = put(&scene.storage, "packs", &junk).unwrap();
    let lie = IndexedPack { id: key[9..].parse().unwrap(), bytes: junk.len() as u64, table: said.table };
    put(&scene.storage, "index", &scene.forger.index(vec![lie])).unwrap();
    scene.take_away(&data);
    let marks = keys(&scene.storage, "marks/");
    let report = scene.prune().unwrap();
    names(&report, &format!("snapshots/{}", honest.id));
    assert_eq!(keys(&scene.storage, "marks/"), marks, "nobody says that it was whole");
    assert!(!scene.has_garbage());
}

/// One object of each kind that a prune reads, by `forger`.
fn one_of_each(scene: &Scene, forger: &Forger) -> Vec<(&'static str, Vec<u8>)> {
    let head = forger.head("app", "web", scene.clock.now_ms(), 77);
    vec![
        ("snapshots", forger.snapshot(&head, vec![scene.kept.stream.clone()])),
        ("marks", forger.mark(MarkKind::Pinned, "snapshots/1", None)),
        ("index", forger.index(vec![])),
        ("gc", forger.plan(vec![])),
    ]
}

#[test]
fn given_objects_that_claim_a_newer_format_then_only_a_full_keys_word_stops_a_prune() {
    let versions = [(9, 2), (10, 0x80)];
    let scene = Scene::new();
    let owner = Forger::with(&scene.storage, &small::credential(), Arc::new(OsEntropy));
    let mut junk = Vec::new();
    let mut badly = Forger::with(&scene.storage, &web_key(), Arc::new(OsEntropy));
    badly.signs_badly = true;
    for (at, value) in versions {
        for forger in [&scene.forger, &badly] {
            for (folder, bytes) in one_of_each(&scene, forger) {
                let bytes = forger.claiming(&bytes, at, value);
                junk.push(put(&scene.storage, folder, &bytes).unwrap());
            }
        }
    }
    let report = scene.prune().unwrap();
    assert!(report.held_until.is_none() && !scene.has_garbage(), "{report:?}");
    let report = small::check(&scene.owner).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let mut told: Vec<&String> = report.foreign.iter().map(|foreign| &foreign.object).collect();
    told.sort();
    junk.sort();
    assert_eq!(told, junk.iter().collect::<Vec<_>>());

    for (at, value) in versions {
        for (folder, bytes) in one_of_each(&scene, &owner) {
            let bytes = owner.claiming(&bytes, at, value);
            let key = put(&scene.storage, folder, &bytes).unwrap();
            let what = format!("{key} {at}");
            let error = scene.prune().unwrap_err();
            assert!(error.to_string().contains("use a newer dumpvault"), "{what}: {error}");
            let error = scene.owner.forget_foreign().unwrap_err();
            assert!(error.to_string().contains("use a newer dumpvault"), "{what}: {error}");
            let told = small::check(&scene.owner).unwrap();
            assert!(told.damage.iter().any(|damage| damage.object == key), "{what}: {told:?}");
            scene.storage.delete(&key).unwrap();
        }
    }
    let mut gone = scene.owner.forget_foreign().unwrap();
    gone.sort();
    assert_eq!(gone, junk);
    assert!(small::check(&scene.owner).unwrap().foreign.is_empty());
    scene.assert_restores(&scene.kept);
}

#[test]
fn given_sessions_that_claim_a_newer_format_then_only_a_full_keys_is_waited_for() {
    let scene = Scene::new();
    let owner = Forger::with(&scene.storage, &small::credential(), Arc::new(OsEntropy));
    let session = |forger: &Forger, byte: u8| {
        let id: dumpvault::base::id::SessionId =
            [byte; 16].iter().map(|b| format!("{b:02x}")).collect::<String>().parse().unwrap();
        let kind = dumpvault::vault::format::session::SessionKind::Write;
        let (key, bytes) = forger.session(kind, id, 0, None);
        let mut body = bytes[..bytes.len() - 64].to_vec();
        body[9] = 2;
        let message = [b"dumpvault v1 signed", id.as_bytes().as_slice(), &0u64.to_le_bytes(), &body].concat();
        let signature = forger.keys.author().sign(&message);
        scene.storage.put(&key, &[&body[..], &signature].concat()).unwrap();
        key
    };
    let of_web = session(&scene.forger, 1);
    scene.prune().unwrap();
    assert!(!keys(&scene.storage, "sessions/").contains(&of_web));
    session(&owner, 2);
    assert!(matches!(scene.prune().unwrap_err(), RepoError::Busy { .. }));
}

#[test]
fn given_bytes_that_do_not_fit_their_name_then_only_those_that_a_full_key_commits_stop_prunes_for_good() {
    for (by_full, with_mark) in [(false, true), (false, false), (true, true)] {
        let scene = Scene::new();
        let junk = format!("snapshots/{}", blake3::hash(b"another").to_hex());
        scene.storage.put(&junk, b"not what the name says").unwrap();
        if by_full {
            let owner = Forger::with(&scene.storage, &small::credential(), Arc::new(OsEntropy));
            put(&scene.storage, "marks", &owner.mark(MarkKind::Committed, &junk, Some("app"))).unwrap();
        } else if with_mark {
            scene.say_committed(&junk);
        } else {
            // A mark that cannot be read may say so.
            let mark = format!("marks/{}", blake3::hash(b"a mark").to_hex());
            scene.storage.put(&mark, b"nor this").unwrap();
        }
        let outcome = scene.prune();
        assert_eq!(outcome.is_err(), by_full, "{outcome:?}");
        assert!(outcome.is_err() || outcome.unwrap().held_until.is_some());
        scene.clock.advance_minutes(7 * DAY + 1);
        let outcome = scene.prune();
        assert_eq!((outcome.is_err(), scene.has_garbage()), (by_full, by_full), "{outcome:?}");
        // `check` goes on telling.
        let report = small::check(&scene.owner).unwrap();
        assert!(report.damage.iter().any(|damage| damage.object == junk), "{report:?}");
        scene.assert_restores(&scene.kept);
    }
}

#[test]
fn given_all_kinds_of_junk_then_forgetting_what_is_foreign_leaves_nothing_of_it() {
    let mut scene = Scene::new();
    let honest = scene.backup(&noise(8, 30_000));
    scene.prune().unwrap();
    let before = keys(&scene.storage, "");
    let all = scene.forger.packs(&scene.storage).unwrap().iter().map(|pack| pack.id).collect();
    put(&scene.storage, "gc", &scene.forger.plan(all)).unwrap();
    for folder in ["gc", "index", "snapshots", "marks", "keys", "authors", "packs"] {
        put(&scene.storage, folder, &noise(9, 30_000)).unwrap();
    }
    let (fresh, _cache) = scene.fresh();
    let told = small::check(&fresh).unwrap();
    assert!(told.is_clean() && told.foreign.len() == 7, "{:?}", told.foreign);
    let would_go = fresh.foreign_objects().unwrap();
    let mut gone = fresh.forget_foreign().unwrap();
    assert_eq!(would_go, gone);
    gone.sort();
    let mut left = keys(&scene.storage, "");
    left.retain(|key| !before.contains(key) && !key.starts_with("marks/"));
    assert_eq!((gone.len(), left), (8, Vec::<String>::new()));
    for key in ["gc", "packs", "authors"] {
        assert!(gone.iter().any(|gone| *gone == key_of(key, &noise(9, 30_000))), "{key}: {gone:?}");
    }
    scene.assert_restores(&honest);
    scene.assert_restores(&scene.kept);
    assert!(small::check(&scene.owner).unwrap().foreign.is_empty());
}

/// What a dump would be made of, found out in a copy of the repository.
fn foreseen(scene: &Scene, dump: &[u8]) -> Vec<IndexedPack> {
    let copy = small::copy_of(&scene.storage, &scene.clock);
    let cache = small::scratch();
    let repo = Repository::open(Arc::new(copy.clone()), &small::credential(), &around(&scene.clock, &cache));
    small::backup(&repo.unwrap(), 99, dump, None).unwrap();
    let known = keys(&scene.storage, "packs/");
    let mut packs = Forger::with(&copy, &web_key(), Arc::new(OsEntropy)).packs(&copy).unwrap();
    packs.retain(|pack| {
        !known.contains(&dumpvault::vault::pack_key(&pack.id))
            && pack.table.blocks.iter().any(|block| block.kind == BlockKind::Data)
    });
    assert!(!packs.is_empty());
    packs
}

/// Both a pack that goes and one that lies stand in one index object: the first makes a prune write it anew.
#[test]
fn given_an_index_of_an_append_key_that_a_prune_writes_anew_then_it_repeats_only_what_it_opened() {
    let scene = Scene::new();
    let dump = noise(50, 80_000);
    let hollow = scene.forger.hollow_pack(&foreseen(&scene, &dump));
    let mut named = scene.forger.packs(&scene.storage).unwrap();
    named.retain(|pack| scene.garbage.contains(&dumpvault::vault::pack_key(&pack.id)));
    assert!(!named.is_empty());
    let later =
        |scene: &Scene| scene.owner.prune(&PruneSettings::new(scene.clock.now_ms()), &Silent, &Cancel::new());
    later(&scene).unwrap();
    scene.clock.advance_minutes(DAY + 1);
    // Too young to go.
    put(&scene.storage, "packs", &hollow.bytes).unwrap();
    named.push(IndexedPack { id: hollow.id, bytes: hollow.bytes.len() as u64, table: hollow.table });
    let index = put(&scene.storage, "index", &scene.forger.index(named)).unwrap();
    let report = later(&scene).unwrap();
    assert!(!scene.has_garbage() && !keys(&scene.storage, "index/").contains(&index), "{report:?}");
    let there = keys(&scene.storage, "packs/");
    assert!(there.contains(&key_of("packs", &hollow.bytes)), "{report:?}");
    let (host, _cache) = scene.fresh();
    let kept = small::backup(&host, 9, &dump, None).unwrap();
    scene.assert_restores(&kept);
}

#[test]
fn given_many_small_indexes_then_a_prune_merges_those_of_full_keys_and_opens_no_pack_for_those_of_others() {
    let mut scene = Scene::new();
    let before = keys(&scene.storage, "index/");
    scene.backup(&noise(60, 5_000));
    let mut of_web = keys(&scene.storage, "index/");
    of_web.retain(|key| !before.contains(key));
    for counter in 10..20 {
        small::backup(&scene.owner, counter, &noise(counter, 5_000), None).unwrap();
    }
    let many = keys(&scene.storage, "index/").len();
    scene.clock.advance_minutes(3 * DAY);
    let report = scene.prune().unwrap();
    let left = keys(&scene.storage, "index/");
    assert!(left.len() + 8 < many, "{many} -> {}: {report:?}", left.len());
    assert!(of_web.len() == 1 && left.contains(&of_web[0]), "{left:?}");
}

#[test]
fn given_a_statement_that_somebody_hides_then_what_its_snapshots_reach_is_there_when_it_is_back() {
    let mut scene = Scene::new();
    let kept = scene.backup(&noise(70, 80_000));
    scene.clock.advance_minutes(3 * DAY);
    let statements = keys(&scene.storage, "authors/");
    let is_of_web = |key: &String| {
        let bytes = scene.take_away(key);
        let cache = small::scratch();
        let storage = Arc::new(scene.storage.clone());
        let opened = Repository::open(storage, &small::credential(), &around(&scene.clock, &cache));
        let foreign = opened.and_then(|repo| repo.history(&mut repo.catalog(&Silent)?));
        scene.storage.put(key, &bytes).unwrap();
        foreign.is_ok_and(|history| history.foreign_snapshots().any(|id| id == kept.id))
    };
    let hidden = statements.into_iter().find(is_of_web).unwrap();
    let bytes = scene.take_away(&hidden);
    let (fresh, _cache) = scene.fresh();
    scene.prune_by(&fresh).unwrap();
    assert!(!scene.has_garbage());
    scene.storage.put(&hidden, &bytes).unwrap();
    let (later, _cache) = scene.fresh();
    assert!(small::restore(&later, &kept.id).unwrap() == *kept.bytes);
}

/// The object is named so that every other host reads it first.
#[test]
fn given_an_index_of_an_append_key_that_says_packs_are_longer_then_backups_rely_on_them_and_report_no_damage()
{
    let scene = Scene::new();
    let mut packs = scene.forger.packs(&scene.storage).unwrap();
    packs.iter_mut().for_each(|pack| pack.bytes += 1);
    let first = keys(&scene.storage, "index/").into_iter().min().unwrap();
    let lie = loop {
        let lie = scene.forger.index(packs.clone());
        if key_of("index", &lie) < first {
            break put(&scene.storage, "index", &lie).unwrap();
        }
    };
    let (fresh, _cache) = scene.fresh();
    let before = keys(&scene.storage, "packs/");
    let mut session = small::begin(&fresh).unwrap();
    let stored = small::store(&mut session, &scene.kept.bytes, None).unwrap();
    let committed = small::commit(session, stored, 9).unwrap();
    assert!(committed.healed.is_empty(), "{:?}", committed.healed);
    // A new recipe at most: the data is known.
    let mut fresh_packs = scene.forger.packs(&scene.storage).unwrap();
    fresh_packs.retain(|pack| !before.contains(&dumpvault::vault::pack_key(&pack.id)));
    let is_data = |pack: &IndexedPack| pack.table.blocks.iter().any(|block| block.kind == BlockKind::Data);
    assert!(!fresh_packs.iter().any(is_data), "{fresh_packs:?}");
    let (_, _, presence) = scene.fresh().0.synced(&Silent).unwrap();
    assert!(
        presence.unusable.is_empty() && presence.lies.iter().any(|what| what.contains(&lie)),
        "{presence:?}"
    );
}

/// The owner's index objects rot; an append key says instead that packs of data hold nothing. What it says of the packs
/// of recipes is true.
fn with_rotten_indexes(scene: &Scene) -> Vec<String> {
    let packs = scene.forger.packs(&scene.storage).unwrap();
    for key in keys(&scene.storage, "index/") {
        assert!(scene.storage.tamper(&key, |bytes| bytes[100] ^= 1));
    }
    let holds_data =
        |pack: &IndexedPack| pack.table.blocks.iter().all(|block| block.kind != BlockKind::Recipe);
    let said = packs.iter().cloned().map(|pack| match holds_data(&pack) {
        true => IndexedPack { table: ChunkTable::default(), ..pack },
        false => pack,
    });
    put(&scene.storage, "index", &scene.forger.index(said.collect())).unwrap();
    let data = packs.iter().filter(|pack| holds_data(pack)).map(|pack| dumpvault::vault::pack_key(&pack.id));
    let kept: Vec<String> = data.filter(|key| !scene.garbage.contains(key)).collect();
    assert!(!kept.is_empty());
    kept
}

#[test]
fn given_rotten_indexes_and_an_append_key_that_says_packs_hold_nothing_then_a_prune_asks_the_packs_and_goes_on()
 {
    let scene = Scene::new();
    let data = with_rotten_indexes(&scene);
    let (fresh, _cache) = scene.fresh();
    scene.prune_by(&fresh).unwrap();
    let left = keys(&scene.storage, "packs/");
    assert!(data.iter().all(|key| left.contains(key)), "{left:?}");
    scene.assert_restores(&scene.kept);
}

/// Nothing seems to be missing: junk is said to hold what the packs do.
#[test]
fn given_rotten_indexes_and_junk_that_is_said_to_hold_all_then_no_pack_goes_before_its_own_table_was_read() {
    let scene = Scene::new();
    let packs = scene.forger.packs(&scene.storage).unwrap();
    let table = table_of_all(&packs, BlockKind::Data);
    let junk = noise(80, usize::try_from(table.end()).unwrap());
    let key = put(&scene.storage, "packs", &junk).unwrap();
    let data = with_rotten_indexes(&scene);
    let lie = IndexedPack { id: key[9..].parse().unwrap(), bytes: junk.len() as u64, table };
    put(&scene.storage, "index", &scene.forger.index(vec![lie])).unwrap();
    let (fresh, _cache) = scene.fresh();
    for _ in 0..2 {
        // It may refuse; it may not delete.
        let _ = scene.prune_by(&fresh);
        scene.clock.advance_minutes(3 * DAY);
    }
    let left = keys(&scene.storage, "packs/");
    assert!(data.iter().all(|key| left.contains(key)), "{left:?}");
    let (owner, _other) = scene.fresh();
    owner.repairer().repair_index(scene.clock.now_ms(), &Silent, &Cancel::new()).unwrap();
    scene.assert_restores(&scene.kept);
}

/// Nobody lies here: a program with a full key was wrong.
#[test]
fn given_an_index_of_a_full_key_that_is_wrong_when_a_prune_writes_it_anew_then_the_contradiction_ends() {
    let scene = Scene::new();
    let owner = Forger::with(&scene.storage, &small::credential(), Arc::new(OsEntropy));
    let said = owner.packs(&scene.storage).unwrap().into_iter().map(|pack| {
        match scene.garbage.contains(&dumpvault::vault::pack_key(&pack.id)) {
            true => pack,
            false => IndexedPack { table: ChunkTable::default(), ..pack },
        }
    });
    put(&scene.storage, "index", &owner.index(said.collect())).unwrap();
    let lies = || scene.fresh().0.synced(&Silent).unwrap().2.lies;
    assert!(!lies().is_empty());
    scene.prune_by(&scene.fresh().0).unwrap();
    assert!(!scene.has_garbage());
    assert_eq!(lies(), Vec::<String>::new());
    scene.assert_restores(&scene.kept);
}
