//! What packs say of themselves, beside what indexes say of them.
//!
//! A pack's own table was sealed together with its blocks, and the pack is named by the hash of it all. An index object
//! that says otherwise is wrong, or lies. So nothing goes because of what an index says of it before its own table was
//! read.

use super::survey::Survey;
use crate::base::event::Cancel;
use crate::base::id::{IndexId, PackId};
use crate::vault::catalog::{Catalog, KnownPack};
use crate::vault::format::index::IndexedPack;
use crate::vault::reader::Locator;
use crate::vault::{RepoError, Repository};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Tables read at a time where each waits for a wire.
const AT_ONCE: usize = 16;

/// How a pack's own table compares with the catalog's.
enum Word {
    Agrees,
    /// It is not there any more.
    Gone,
    Differs(Box<IndexedPack>),
    Unreadable(String),
}

/// Index objects that say otherwise of a pack.
type Against = BTreeMap<PackId, BTreeSet<IndexId>>;

pub(super) type Listed = HashMap<PackId, (u64, SystemTime)>;

impl Repository {
    /// Which of `packs` must stay although the index holds that nobody needs them, and why: their own tables say
    /// otherwise, or cannot be read while indexes disagree.
    pub(super) fn disputed(
        &self,
        survey: &Survey,
        packs: &HashSet<PackId>,
        cancel: &Cancel,
    ) -> Result<BTreeMap<PackId, String>, RepoError> {
        let mut witness = survey.witness();
        let known = {
            let mut locator = survey.locator();
            let mut known = survey.packs(&mut locator, |id| packs.contains(id))?;
            known.retain(|pack| !witness.agreed.contains(&pack.id));
            known
        };
        let words = self.own_words(&survey.locator, &known, &survey.listed, cancel)?;
        let mut open = BTreeMap::new();
        for (pack, word) in words {
            match word {
                Word::Agrees | Word::Gone => {
                    witness.agreed.insert(pack.id);
                }
                word => {
                    open.insert(pack.id, (pack, word));
                }
            }
        }
        if open.is_empty() {
            return Ok(BTreeMap::new());
        }
        let against = self.said_against(&mut survey.locator(), &open)?;
        let mut disputed = BTreeMap::new();
        for (id, (pack, word)) in open {
            match (word, against.get(&id)) {
                // Nobody says otherwise, and it is not known to hold anything that is needed.
                (Word::Unreadable(_), None) if pack.indexed => {
                    witness.agreed.insert(id);
                }
                (word, against) => {
                    disputed.insert(id, words_of(&word, against));
                }
            }
        }
        if disputed.values().any(|why| why.starts_with(CATALOG)) {
            self.drop_catalog()?;
        }
        Ok(disputed)
    }

    /// Reads the own tables of all packs and puts right what the catalog says otherwise; what it was, in words. For
    /// when a snapshot wants what no index seems to name.
    pub(super) fn believe_own_tables(
        &self,
        locator: &Mutex<Locator>,
        listed: &Listed,
        cancel: &Cancel,
    ) -> Result<BTreeMap<PackId, String>, RepoError> {
        let known = {
            let mut locator = locator.lock().unwrap_or_else(PoisonError::into_inner);
            let mut known = locator.catalog().packs()?;
            known.retain(|pack| listed.contains_key(&pack.id));
            known
        };
        let words = self.own_words(locator, &known, listed, cancel)?;
        let differ = words.into_iter().filter(|(_, word)| matches!(word, Word::Differs(_)));
        let open: BTreeMap<PackId, (KnownPack, Word)> =
            differ.map(|(pack, word)| (pack.id, (pack, word))).collect();
        let mut locator = locator.lock().unwrap_or_else(PoisonError::into_inner);
        let against = if open.is_empty() { Against::new() } else { self.said_against(&mut locator, &open)? };
        let mut put_right = BTreeMap::new();
        for (id, (_, word)) in open {
            put_right.insert(id, words_of(&word, against.get(&id)));
            let Word::Differs(own) = word else { continue };
            locator.catalog().replace_pack(&own)?;
        }
        locator.forget();
        Ok(put_right)
    }

    /// Compares what the catalog says of `packs` with their own tables: those that agree, and those that do not, or
    /// cannot be read.
    pub(super) fn compare_tables(
        &self,
        locator: &Mutex<Locator>,
        packs: &[KnownPack],
        listed: &Listed,
        cancel: &Cancel,
    ) -> Result<(Vec<PackId>, Vec<PackId>), RepoError> {
        let words = self.own_words(locator, packs, listed, cancel)?;
        let (agreed, lying): (Vec<_>, Vec<_>) =
            words.into_iter().partition(|(_, word)| matches!(word, Word::Agrees));
        let ids = |words: Vec<(KnownPack, Word)>| words.into_iter().map(|(pack, _)| pack.id).collect();
        Ok((ids(agreed), ids(lying)))
    }

    fn own_words(
        &self,
        locator: &Mutex<Locator>,
        packs: &[KnownPack],
        listed: &Listed,
        cancel: &Cancel,
    ) -> Result<Vec<(KnownPack, Word)>, RepoError> {
        let repo = self.past_cache();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if repo.storage.is_local() { cores } else { AT_ONCE };
        let next = AtomicUsize::new(0);
        let words = Mutex::new((Vec::with_capacity(packs.len()), None));
        let work = || {
            while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = match cancel.is_cancelled() {
                    true => Err(RepoError::Cancelled),
                    false => repo.own_word(locator, pack, listed),
                };
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    _ if words.1.is_some() => return,
                    Ok(word) => words.0.push((*pack, word)),
                    Err(error) => words.1 = Some(error),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(packs.len()) {
                // Safe to ignore because fewer threads only take longer.
                let _ = std::thread::Builder::new().name("tables".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        let (words, failure) = words.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(words), Err)
    }

    fn own_word(
        &self,
        locator: &Mutex<Locator>,
        pack: &KnownPack,
        listed: &Listed,
    ) -> Result<Word, RepoError> {
        let bytes = listed.get(&pack.id).map_or(pack.bytes, |(bytes, _)| *bytes);
        let own = match self.read_pack_table(&pack.id, bytes) {
            Ok(own) => own,
            Err(RepoError::Missing { .. }) => return Ok(Word::Gone),
            Err(error) if error.is_integrity() => return Ok(Word::Unreadable(error.to_string())),
            Err(error) => return Err(error),
        };
        let row = locator.lock().unwrap_or_else(PoisonError::into_inner).catalog().pack(pack.number)?;
        let agrees = own.bytes == row.bytes && own.table == row.table;
        Ok(if agrees { Word::Agrees } else { Word::Differs(Box::new(own)) })
    }

    /// Goes through all index objects for what they say of the packs in `open`.
    fn said_against(
        &self,
        locator: &mut Locator,
        open: &BTreeMap<PackId, (KnownPack, Word)>,
    ) -> Result<Against, RepoError> {
        let mut against = Against::new();
        for index in self.list_names::<IndexId>("index/")? {
            let named = match self.read_index(&index) {
                Ok((Ok(_), named)) => named.packs,
                // Nobody who counts says so.
                Ok((Err(_), _)) => continue,
                Err(error) if error.is_integrity() => continue,
                Err(error) => return Err(error),
            };
            for said in named {
                let Some((pack, word)) = open.get(&said.id) else { continue };
                let agrees = match word {
                    Word::Differs(own) => said == **own,
                    _ => says_the_same(locator.catalog(), pack, &said)?,
                };
                if !agrees {
                    against.entry(said.id).or_default().insert(index);
                }
            }
        }
        Ok(against)
    }
}

fn says_the_same(catalog: &mut Catalog, pack: &KnownPack, said: &IndexedPack) -> Result<bool, RepoError> {
    let row = catalog.pack(pack.number)?;
    Ok(row.bytes == said.bytes && row.table == said.table)
}

/// How the words about a catalog begin that says what no index does.
const CATALOG: &str = "the catalog of this host";

fn words_of(word: &Word, against: Option<&BTreeSet<IndexId>>) -> String {
    let names: Vec<String> = against.into_iter().flatten().map(|id| format!("`index/{id}`")).collect();
    let who = match names.as_slice() {
        [] => CATALOG.to_owned(),
        names => names.join(", "),
    };
    match word {
        Word::Unreadable(why) if names.is_empty() => format!("its own table cannot be read: {why}"),
        Word::Unreadable(why) => {
            format!(
                "its own table cannot be read ({why}), and {who} disagrees with other index objects about it"
            )
        }
        _ => format!("{who} contradicts the pack's own table"),
    }
}
