//! What must hold when all are gone.

use super::*;
use crate::support::forger::Forger;
use dumpvault::vault::format::mark::Mark;

/// The owner, who is left.
struct Owner<'a> {
    turnstile: &'a Turnstile,
    model: &'a Mutex<Model>,
    repo: Repository,
    _cache: tempfile::TempDir,
}

/// All are gone, and half an hour has passed.
pub fn quiet(seed: u64, turnstile: &Turnstile, model: &Mutex<Model>, tally: &Tally) {
    turnstile.clock.advance(HOUR);
    let has_hostile = has_hostile(seed);
    let owner = Owner::new(turnstile, model);
    for id in owner.repo.give_up_missing(turnstile.clock.now_ms()).unwrap() {
        assert!(!held(model).kept.contains_key(&id), "acknowledged and gone: {id}");
    }
    owner.restores("before the last prune");
    if has_hostile {
        let storage = Arc::new(turnstile.storage.clone());
        Hostile::new(!seed, turnstile, storage, model, tally).strike();
        owner.is_under_attack(&mut Dice(!seed));
        owner.notices_what_is_gone();
        turnstile.clock.advance(HOUR);
    }
    let mut report = owner.prune();
    if report.held_until.is_some() {
        assert!(has_hostile, "{report:?}");
        owner.restores("while nothing is deleted");
        // What the hostile host committed over nothing holds deletion back for some days, and no longer.
        turnstile.clock.advance(7 * 24 * HOUR);
        report = owner.prune();
    }
    assert_eq!((report.held_until, report.waiting.len()), (None, 0), "{report:?}");
    owner.restores("after the last prune");
    if has_hostile {
        owner.is_not_deceived();
        owner.restores("after another backup");
    }
    owner.cleans_up();
    owner.prune();
    owner.restores("after what was hostile is gone");
    let report = small::check(&owner.repo).unwrap();
    // Junk that nobody names is left alone for a while: it may be a backup's that was cut short.
    let is_junk = |damage: &Damage| held(model).junk.contains(&damage.object);
    assert!(report.hits.is_empty() && report.damage.iter().all(is_junk), "after all: {report:?}");
    // Lies about packs may keep a plan from being carried out: then its packs stay, which is no loss.
    let left = small::keys(&turnstile.storage, "gc/");
    assert!(has_hostile || left.is_empty(), "plans that nobody carries out: {left:?}");
}

impl<'a> Owner<'a> {
    /// On a machine that sees the repository for the first time.
    fn new(turnstile: &'a Turnstile, model: &'a Mutex<Model>) -> Self {
        let cache = small::scratch();
        let clock = Arc::clone(&turnstile.clock) as Arc<dyn dumpvault::base::clock::Clock>;
        // The same for the same seed, and others on each machine that writes.
        let objects = small::keys(&turnstile.storage, "").len() as u64;
        let entropy = Arc::new(small::SeededEntropy::new(turnstile.steps() << 32 | objects));
        let around = Surroundings { clock, entropy, ..small::surroundings(cache.path()) };
        let storage = Arc::new(turnstile.storage.clone());
        let repo = Repository::open(storage, &small::credential(), &around).unwrap();
        Self { turnstile, model, repo, _cache: cache }
    }

    fn of_host(&self, host: &str) -> Vec<SnapshotId> {
        let history = self.repo.history(&mut self.repo.catalog(&Silent).unwrap()).unwrap();
        let all = history.snapshots.into_iter().filter(|summary| summary.head.host == host);
        all.map(|summary| summary.id).collect()
    }

    fn restores(&self, when: &str) {
        let model = held(self.model);
        let honest = model.honest.keys().copied();
        for id in self.of_host("test").into_iter().chain(honest) {
            let restored = small::restore(&self.repo, &id);
            let restored =
                restored.unwrap_or_else(|error| panic!("{when}: listed, and not whole: {id}: {error}"));
            let kept = model.kept.get(&id).or_else(|| model.honest.get(&id));
            assert!(kept.is_none_or(|kept| *kept.bytes == *restored), "{when}: wrong bytes: {id}");
        }
        let listed = small::listed(&self.repo).unwrap();
        let lost: Vec<_> = model.kept.keys().filter(|id| !listed.contains(id)).collect();
        assert!(lost.is_empty(), "{when}: acknowledged and gone: {lost:?}");
        oracle::nobody_is_believed(&self.repo, &model);
    }

    fn settings(&self, grace: Duration) -> PruneSettings {
        PruneSettings { grace, ..PruneSettings::new(self.turnstile.clock.now_ms()) }
    }

    fn prune(&self) -> dumpvault::vault::gc::PruneReport {
        let settings = self.settings(Duration::ZERO);
        let report = self.repo.prune(&settings, &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.lost_chunks, 0, "{report:?}");
        report
    }

    /// Everything works at once: a prune, retention, and backups of what the hostile host foresaw.
    fn is_under_attack(&self, dice: &mut Dice) {
        let grace = Duration::from_secs(3600);
        let report = self.repo.prune(&self.settings(grace), &Silent, &Cancel::new()).unwrap();
        assert_eq!(report.lost_chunks, 0, "{report:?}");
        let history = self.repo.history(&mut self.repo.catalog(&Silent).unwrap()).unwrap();
        oracle::let_go(&history, &held(self.model), dice, &self.turnstile.clock);
        let first = dice.below(3) as usize;
        self.backs_up(first);
        self.backs_up(first);
        self.restores("under attack");
    }

    /// A prune has repeated nothing that it did not see.
    fn is_not_deceived(&self) {
        for content in 0..template().foreseen.contents.len() {
            self.backs_up(content);
        }
    }

    /// From a machine of its own, by what the storage says alone.
    fn backs_up(&self, content: usize) {
        let bytes = &template().foreseen.contents[content];
        let counter = {
            let mut model = held(self.model);
            model.counter += 1;
            model.counter
        };
        let kept = small::backup(&Owner::new(self.turnstile, self.model).repo, counter, bytes, None).unwrap();
        let restored = small::restore(&Owner::new(self.turnstile, self.model).repo, &kept.id);
        let restored = restored.unwrap_or_else(|error| panic!("a backup is not whole: {error}"));
        assert!(restored == *bytes, "a backup has wrong bytes");
        held(self.model).kept.insert(kept.id, kept);
    }

    /// Nothing is deleted while something is missing that this machine knows of.
    fn notices_what_is_gone(&self) {
        let storage = &self.turnstile.storage;
        let id = *held(self.model).kept.keys().next().unwrap();
        // The newest snapshot, as if the storage was turned back.
        self.of_host("test");
        let newest = format!("snapshots/{}", self.newest());
        let marks = small::keys(storage, "marks/");
        let is_of_it = |key: &String| {
            let forger = Forger::with(storage, &small::credential(), Arc::new(small::SeededEntropy::new(1)));
            let bytes = storage.get(key, u64::MAX).unwrap();
            Mark::open(&bytes, &forger.repo, &forger.keys).is_ok_and(|mark| mark.content.object == newest)
        };
        let mut gone: Vec<String> = marks.into_iter().filter(is_of_it).collect();
        gone.push(newest.clone());
        self.without(&gone, |prune| {
            assert!(matches!(prune, Err(RepoError::TurnedBack { .. })), "turned back, and prunes: {prune:?}");
            let forgotten = self.repo.forget(&[id]);
            assert!(matches!(forgotten, Err(RepoError::TurnedBack { .. })), "turned back, and forgets");
        });
    }

    /// What a prune comes to while these objects are not there.
    fn without(
        &self,
        keys: &[String],
        then: impl FnOnce(Result<dumpvault::vault::gc::PruneReport, RepoError>),
    ) {
        let storage = &self.turnstile.storage;
        let taken: Vec<Vec<u8>> = keys.iter().map(|key| storage.get(key, u64::MAX).unwrap()).collect();
        keys.iter().for_each(|key| storage.delete(key).unwrap());
        then(self.repo.prune(&self.settings(Duration::from_secs(3600)), &Silent, &Cancel::new()));
        for (key, bytes) in keys.iter().zip(taken) {
            storage.put(key, &bytes).unwrap();
        }
    }

    fn newest(&self) -> SnapshotId {
        let history = self.repo.history(&mut self.repo.catalog(&Silent).unwrap()).unwrap();
        let of_test = history.snapshots.iter().filter(|summary| summary.head.host == "test");
        of_test.max_by_key(|summary| summary.rank()).unwrap().id
    }

    /// The owner finds out, and removes what the hostile host has put.
    fn cleans_up(&self) {
        let repo = &self.repo;
        let honest: BTreeSet<SnapshotId> = held(self.model).honest.keys().copied().collect();
        let forged: Vec<_> = self.of_host("web").into_iter().filter(|id| !honest.contains(id)).collect();
        repo.forget(&forged).unwrap();
        let history = repo.history(&mut repo.catalog(&Silent).unwrap()).unwrap();
        let unreadable = history.damaged.iter().filter_map(|damage| damage.error.object());
        let unreadable = unreadable.filter_map(|key| key.strip_prefix("snapshots/")?.parse().ok());
        repo.forget(&unreadable.collect::<Vec<SnapshotId>>()).unwrap();
        let now_ms = self.turnstile.clock.now_ms();
        repo.give_up_unreadable(now_ms).unwrap();
        repo.forget_foreign().unwrap();
        repo.give_up_missing(now_ms).unwrap();
        repo.repairer().repair_index(now_ms, &Silent, &Cancel::new()).unwrap();
    }
}
