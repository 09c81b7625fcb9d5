//! Damage: whatever happens to an object, a restore gives exactly the right bytes or names the object and fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use crate::support::cli::{Output, Vault, copy_folder, exit, files_below, long, noise, number, rows};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What happens to an object.
#[derive(Debug, Clone)]
enum Harm {
    Missing,
    CutTo(usize),
    Longer,
    Flip(usize),
    Zeroed,
    /// Its bytes change places with those of another object of its kind.
    SwappedWith(String),
    /// A copy of another object of its kind stands in its place.
    ReplacedBy(String),
}

/// A repository with two snapshots whose objects are harmed one by one.
struct Patient {
    vault: Vault,
    /// The untouched repository.
    healthy: tempfile::TempDir,
    /// The cache as it was after the last backup.
    warm: tempfile::TempDir,
    /// What the host remembered then.
    state: tempfile::TempDir,
    first: (String, Vec<u8>),
    second: (String, Vec<u8>),
}

impl Patient {
    fn new() -> Self {
        let mut vault = Vault::new();
        let old = [noise(1, 700_000), rows(1, 20_000)].concat();
        let new = [&old[..], &noise(2, 400_000), &rows(2, 5_000)].concat();
        let first = (vault.backup("app", &old), old);
        let second = (vault.backup("app", &new), new);
        let healthy = tempfile::tempdir().unwrap();
        copy_folder(&vault.repo(), healthy.path());
        let warm = tempfile::tempdir().unwrap();
        copy_folder(vault.cache(), warm.path());
        let state = tempfile::tempdir().unwrap();
        copy_folder(&vault.state(), state.path());
        vault.forget_cache();
        Self { vault, healthy, warm, state, first, second }
    }

    /// All objects healthy; the cache is the one of before, or none.
    fn reset(&mut self, warm: bool) {
        fs::remove_dir_all(self.vault.repo()).unwrap();
        copy_folder(self.healthy.path(), &self.vault.repo());
        self.vault.forget_cache();
        // What the host remembers of later days would tell that the repository was turned back.
        self.vault.forget_state();
        copy_folder(self.state.path(), &self.vault.state());
        if warm {
            copy_folder(self.warm.path(), self.vault.cache());
        }
    }

    /// Every object, with every harm that can be done to it.
    fn harms(&self) -> Vec<(String, Harm)> {
        let objects = self.vault.objects();
        let mut harms = Vec::new();
        for key in &objects {
            let len = fs::metadata(self.vault.repo().join(key)).unwrap().len() as usize;
            let mut own = vec![Harm::Missing, Harm::CutTo(0), Harm::CutTo(len / 2), Harm::CutTo(len - 1)];
            own.extend([Harm::Longer, Harm::Zeroed]);
            // Every field of a header, then places all over the object; a pack's footer is its last 24 bytes.
            let step = if long() { 997 } else { len.div_ceil(12) };
            let mut places: Vec<usize> =
                vec![0, 8, 9, 10, 12, 14, 16, 33, 70, len - 1, len - 10, len - 14, len - 20];
            places.extend((40..len).step_by(step));
            own.extend(places.into_iter().filter(|at| *at < len).map(Harm::Flip));
            for sibling in objects.iter().filter(|other| *other != key && kind(other) == kind(key)) {
                own.extend([Harm::SwappedWith(sibling.clone()), Harm::ReplacedBy(sibling.clone())]);
            }
            harms.extend(own.into_iter().map(|harm| (key.clone(), harm)));
        }
        harms
    }

    fn inflict(&self, key: &str, harm: &Harm) {
        let root = self.vault.repo();
        let read = |key: &str| fs::read(root.join(key)).unwrap();
        let mut bytes = read(key);
        match harm {
            Harm::Missing => return fs::remove_file(root.join(key)).unwrap(),
            Harm::CutTo(len) => bytes.truncate(*len),
            Harm::Longer => bytes.extend_from_slice(&[0; 70]),
            Harm::Flip(at) => bytes[*at] ^= 1 << (at % 8),
            Harm::Zeroed => bytes.fill(0),
            Harm::SwappedWith(other) => {
                overwrite(&root.join(other), &bytes);
                bytes = read_from(self.healthy.path(), other);
            }
            Harm::ReplacedBy(other) => bytes = read(other),
        }
        overwrite(&root.join(key), &bytes);
    }
}

fn kind(key: &str) -> &str {
    key.split('/').next().unwrap()
}

fn name(key: &str) -> &str {
    key.rsplit('/').next().unwrap()
}

fn read_from(root: &Path, key: &str) -> Vec<u8> {
    fs::read(root.join(key)).unwrap()
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Whether the message names the object, or the one that it changed places with.
fn names(output: &Output, key: &str, harm: &Harm) -> bool {
    // Where the only key slot is gone, its folder is named. People see the first digits of a name at least.
    if kind(key) == "keys" && matches!(harm, Harm::Missing) {
        return output.stderr.contains("`keys`");
    }
    let named = |key: &str| output.stderr.contains(&name(key)[..name(key).len().min(8)]);
    named(key) || matches!(harm, Harm::SwappedWith(other) if named(other))
}

/// How a restore of a harmed repository may end.
fn judge(output: &Output, right: &[u8], key: &str, harm: &Harm, what: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{what}, {key} {harm:?}: {why}; {output}"));
    let code = output.code.unwrap_or(-1);
    if code == exit::OK {
        return if output.stdout == right { Ok(()) } else { wrong("WRONG BYTES WITH STATUS 0") };
    }
    if output.stdout.len() > right.len() || output.stdout != right[..output.stdout.len()] {
        return wrong("wrong bytes were let out");
    }
    let expected: &[i32] = match (kind(key), harm) {
        // Without its mark nobody knows of a snapshot.
        ("marks", Harm::Missing) => &[exit::INTEGRITY, exit::USAGE],
        // A config with another version or other features could be a newer program's.
        ("config", Harm::Flip(9..12)) => &[exit::NOTHING_DONE],
        _ => &[exit::INTEGRITY],
    };
    if !expected.contains(&code) {
        return wrong("another exit code");
    }
    if code == exit::INTEGRITY && !names(output, key, harm) {
        return wrong("the object is not named");
    }
    Ok(())
}

#[test]
fn given_any_object_harmed_in_any_way_then_a_restore_is_right_or_fails_and_names_it() {
    let mut patient = Patient::new();
    let mut failures = Vec::new();
    let harms = patient.harms();
    assert!(harms.len() > 150, "{}", harms.len());
    for (at, (key, harm)) in harms.iter().enumerate() {
        for warm in [true, false] {
            // Flipped bits are many: they take turns, unless there is time.
            if matches!(harm, Harm::Flip(_)) && !long() && warm != (at % 2 == 0) {
                continue;
            }
            patient.reset(warm);
            patient.inflict(key, harm);
            for (id, right) in [&patient.first, &patient.second] {
                let output = patient.vault.restore(id);
                let what = if warm { "warm cache" } else { "fresh cache" };
                failures.extend(judge(&output, right, key, harm, what).err());
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), harms.len() * 4, failures.join("\n"));
}

#[test]
fn given_any_object_harmed_in_any_way_then_check_finds_it() {
    let mut patient = Patient::new();
    let mut failures = Vec::new();
    for (key, harm) in patient.harms() {
        if matches!((kind(&key), &harm), ("marks", Harm::Missing)) {
            continue;
        }
        patient.reset(true);
        patient.inflict(&key, &harm);
        let output = patient.vault.run(["check", "--read-data"]);
        let expected: &[i32] = match kind(&key) {
            "config" if matches!(harm, Harm::Flip(9..12)) => &[exit::NOTHING_DONE],
            // The packs themselves say what they hold: an index that is gone is no damage.
            "index" if matches!(harm, Harm::Missing) => &[exit::OK, exit::INTEGRITY],
            _ => &[exit::INTEGRITY],
        };
        let code = output.code.unwrap_or(-1);
        if !expected.contains(&code) {
            failures.push(format!("{key} {harm:?}: {output}"));
        } else if code == exit::INTEGRITY && !names(&with_stdout(&output), &key, &harm) {
            failures.push(format!("{key} {harm:?} is not named: {output}"));
        }
    }
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}

/// A report may stand on either stream.
fn with_stdout(output: &Output) -> Output {
    let said = output.stderr.clone() + &String::from_utf8_lossy(&output.stdout);
    Output { code: output.code, signal: output.signal, stdout: Vec::new(), stderr: said }
}

#[test]
fn given_a_quick_check_then_missing_and_short_packs_and_harmed_metadata_are_found_without_reading_the_data() {
    let mut patient = Patient::new();
    for (key, harm) in patient.harms() {
        let quick = matches!(
            (kind(&key), &harm),
            ("packs", Harm::Missing | Harm::CutTo(_) | Harm::Longer)
                | ("snapshots" | "index", Harm::Flip(_) | Harm::CutTo(_))
        );
        if quick {
            patient.reset(true);
            patient.inflict(&key, &harm);
            let output = patient.vault.run(["check"]);
            assert!(output.code == Some(exit::INTEGRITY), "{key} {harm:?}: {output}");
        }
    }
    patient.reset(false);
    patient.vault.run(["check"]).expect(exit::OK);
    patient.vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_packs_that_are_missing_or_short_then_the_next_backup_names_them_stores_afresh_and_ends_with_1() {
    let mut patient = Patient::new();
    let dump = patient.second.1.clone();
    let mut relied_on = 0;
    for key in patient.vault.objects_in("packs") {
        let harms = [
            (Harm::Missing, true),
            (Harm::Missing, false),
            (Harm::CutTo(5000), true),
            (Harm::CutTo(0), false),
        ];
        for (harm, warm) in harms {
            patient.reset(warm);
            patient.inflict(&key, &harm);
            let vault = &patient.vault;
            let is_relied_on = vault.restore(&patient.second.0).code != Some(exit::OK);
            let args = ["backup", "--stdin", "--series", "app"];
            let output = vault.run_with(args, &dump);
            let what = format!("{key} {harm:?} {warm}");
            if is_relied_on {
                relied_on += 1;
                let told = output.code == Some(exit::PART_FAILED) && names(&output, &key, &harm);
                assert!(told, "{what}: {output}");
            }
            assert!(vault.restore("latest").expect(exit::OK).stdout == dump, "{what}");
            // The damage stays known, and does not spoil what comes after.
            vault.run_with(args, &dump).expect_one_of(&[exit::OK, exit::PART_FAILED]);
            assert!(vault.restore("latest").expect(exit::OK).stdout == dump, "{what}");
            vault.run(["check"]).expect(exit::INTEGRITY);
        }
    }
    assert!(relied_on >= 8, "{relied_on}");
}

#[test]
fn given_data_that_a_check_found_damaged_then_the_next_backup_stores_it_afresh() {
    let mut patient = Patient::new();
    let dump = patient.second.1.clone();
    for key in patient.vault.objects_in("packs") {
        patient.reset(true);
        patient.inflict(&key, &Harm::Flip(150));
        patient.vault.run(["check", "--read-data"]).expect(exit::INTEGRITY);
        let args = ["backup", "--stdin", "--series", "app"];
        patient.vault.run_with(args, &dump).expect_one_of(&[exit::OK, exit::PART_FAILED]);
        let restored = patient.vault.restore("latest").expect(exit::OK);
        assert!(restored.stdout == dump, "{key}");
    }
}

#[test]
fn given_all_indexes_lost_then_nothing_but_time_is() {
    let mut patient = Patient::new();
    for warm in [true, false] {
        patient.reset(warm);
        for key in patient.vault.objects_in("index") {
            patient.inflict(&key, &Harm::Missing);
        }
        for (id, right) in [&patient.first, &patient.second] {
            assert!(&patient.vault.restore(id).expect(exit::OK).stdout == right);
        }
        let again = patient.vault.run_with(["backup", "--stdin", "--series", "app"], &patient.second.1);
        again.expect_one_of(&[exit::OK, exit::PART_FAILED]);
        let newest = patient.vault.snapshots().pop().unwrap();
        assert!(number(&newest, "bytes_stored") < 10_000, "{newest}");
    }
}

// --- the catalog

#[test]
fn given_a_catalog_that_is_deleted_cut_or_filled_with_rubbish_then_it_is_made_anew() {
    let mut patient = Patient::new();
    let files = files_below(patient.warm.path());
    assert!(!files.is_empty(), "the cache holds a catalog");
    let rubbish = |len: u64| noise(9, len as usize);
    type Spoil<'a> = &'a dyn Fn(&Path, u64);
    let spoils: [(&str, Spoil); 6] = [
        ("deleted", &|path, _| fs::remove_file(path).unwrap()),
        ("emptied", &|path, _| fs::write(path, b"").unwrap()),
        ("cut", &|path, len| fs::write(path, &fs::read(path).unwrap()[..len as usize / 2]).unwrap()),
        ("rubbish", &|path, len| fs::write(path, rubbish(len)).unwrap()),
        ("longer", &|path, len| {
            fs::write(path, [fs::read(path).unwrap(), rubbish(len + 1)].concat()).unwrap()
        }),
        ("rubbish behind its head", &|path, len| {
            let head = &fs::read(path).unwrap()[..len.min(200) as usize];
            fs::write(path, [head, &rubbish(len.saturating_sub(200))].concat()).unwrap();
        }),
    ];
    for file in &files {
        for (what, spoil) in spoils {
            patient.reset(true);
            let path = patient.vault.cache().join(file);
            spoil(&path, fs::metadata(&path).unwrap().len());
            assert_whole(&patient, &format!("{file} {what}"));
        }
    }
    patient.reset(false);
    assert_whole(&patient, "all of it deleted");
}

#[test]
fn given_a_catalog_with_single_bits_flipped_then_nothing_but_time_is_lost() {
    let mut patient = Patient::new();
    let files = files_below(patient.warm.path());
    let mut places = noise(11, 4096).into_iter().map(usize::from);
    let mut draw = |limit: usize| (0..3).fold(0, |sum, _| sum * 256 + places.next().unwrap()) % limit;
    let mut failures = Vec::new();
    for round in 0..if long() { 400 } else { 60 } {
        patient.reset(true);
        let file = &files[round % files.len()];
        let path = patient.vault.cache().join(file);
        let mut bytes = fs::read(&path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = draw(bytes.len());
        bytes[at] ^= 1 << draw(8);
        fs::write(&path, bytes).unwrap();
        failures.extend(whole(&patient).err().map(|why| format!("{file}, byte {at}: {why}")));
    }
    assert!(failures.is_empty(), "{}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn given_a_catalog_of_an_older_state_of_the_repository_then_it_catches_up() {
    let mut patient = Patient::new();
    let vault = &mut patient.vault;
    // Another machine makes a snapshot; then we look, with a cache from before it.
    let third = vault.backup_with("app", &rows(3, 1000), &["--suspect-below", "0"]);
    vault.forget_cache();
    copy_folder(patient.warm.path(), vault.cache());
    assert!(vault.restore(&third).expect(exit::OK).stdout == rows(3, 1000));
    assert_whole(&patient, "older");
}

#[test]
fn given_the_catalog_of_another_repository_then_it_is_noticed_and_made_anew() {
    let mut patient = Patient::new();
    let other = Vault::new();
    other.backup("app", &[noise(1, 700_000), rows(1, 20_000)].concat());
    let theirs = files_below(other.cache());
    for file in files_below(patient.warm.path()) {
        patient.reset(true);
        let name = |file: &str| Path::new(file).file_name().unwrap().to_owned();
        let Some(their) = theirs.iter().find(|their| name(their) == name(&file)) else { continue };
        fs::copy(other.cache().join(their), patient.vault.cache().join(&file)).unwrap();
        assert_whole(&patient, &format!("{file} of another repository"));
    }
}

#[test]
fn given_a_catalog_from_before_a_prune_then_nothing_is_taken_from_packs_that_are_gone() {
    let vault = Vault::new();
    let kept = rows(1, 5000);
    let gone = noise(1, 300_000);
    let first = vault.backup("kept", &kept);
    let forgotten = vault.backup("gone", &gone);
    let older = tempfile::tempdir().unwrap();
    copy_folder(vault.cache(), older.path());
    // A series never loses all it has.
    vault.backup_with("gone", &rows(9, 20), &["--suspect-below", "0"]);
    vault.run(["forget", &forgotten, "--force"]).expect(exit::OK);
    vault.run(["prune", "--grace", "0"]).expect(exit::OK);
    fs::remove_dir_all(vault.cache()).unwrap();
    copy_folder(older.path(), vault.cache());
    // The very bytes that the old catalog knows a place for.
    let again = vault.backup("gone", &gone);
    assert!(vault.restore(&again).expect(exit::OK).stdout == gone);
    assert!(vault.restore(&first).expect(exit::OK).stdout == kept);
    vault.run(["check", "--read-data"]).expect(exit::OK);
}

#[track_caller]
fn assert_whole(patient: &Patient, what: &str) {
    if let Err(why) = whole(patient) {
        panic!("{what}: {why}");
    }
}

/// Whether both snapshots restore, and a backup of known bytes finds them.
fn whole(patient: &Patient) -> Result<(), String> {
    let vault = &patient.vault;
    for (id, right) in [&patient.first, &patient.second] {
        let output = vault.restore(id);
        if output.code != Some(exit::OK) || &output.stdout != right {
            return Err(format!("restore: {output}"));
        }
    }
    let args = ["backup", "--stdin", "--series", "app", "--json"];
    let output = vault.run_with(args, &patient.second.1);
    if output.code != Some(exit::OK) {
        return Err(format!("backup: {output}"));
    }
    let newest = vault.snapshots().pop().unwrap();
    let stored = number(&newest, "bytes_stored");
    // What another snapshot changed since is found by whole chunks: not where a change begins within one.
    if stored > 100_000 {
        return Err(format!("{stored} bytes stored again"));
    }
    let output = vault.restore("latest");
    if output.code != Some(exit::OK) || output.stdout != patient.second.1 {
        return Err(format!("restore of the new one: {output}"));
    }
    Ok(())
}

#[test]
fn given_a_pack_that_is_gone_and_wanted_then_a_prune_deletes_nothing_until_that_is_put_right() {
    for (is_recipe, fresh_cache) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut vault = Vault::new();
        let (one, other) = (noise(1, 1_200_000), noise(2, 1_200_000));
        vault.backup("gone", &one);
        vault.backup("app", &one);
        // A short last chunk is stored once a series: only what the last backup puts is certainly wanted.
        let unsure = vault.objects_in("packs");
        vault.backup("app", &other);
        vault.run(["forget", "--series", "gone", "--all", "--yes"]).expect(exit::OK);
        let mut packs = vault.objects_in("packs");
        packs.retain(|key| !unsure.contains(key));
        assert_eq!(packs.len(), 2);
        packs.sort_by_key(|key| fs::metadata(vault.repo().join(key)).unwrap().len());
        let wanted = if is_recipe { packs.first() } else { packs.last() };
        fs::remove_file(vault.repo().join(wanted.unwrap())).unwrap();
        if fresh_cache {
            vault.forget_cache();
        }
        let before = vault.objects();
        vault.run(["prune", "--grace", "0d"]).expect(exit::INTEGRITY);
        let of_packs = |objects: &[String]| -> Vec<String> {
            objects.iter().filter(|key| key.starts_with("packs") || key.starts_with("gc")).cloned().collect()
        };
        assert_eq!(of_packs(&vault.objects()), of_packs(&before), "{is_recipe} {fresh_cache}");
        vault.run(["check"]).expect(exit::INTEGRITY);
        vault.run(["repair", "snapshots"]).expect_one_of(&[exit::OK, exit::INTEGRITY, exit::PART_FAILED]);
        vault.run(["prune", "--grace", "0d"]).expect(exit::OK);
    }
}
