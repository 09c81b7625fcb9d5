//! Buckets as sources and targets, on servers by other people.

use std::collections::BTreeMap;
use std::sync::Arc;

use dumpvault::base::objects::{Facts, Object, Objects, Trouble};

use crate::cli::{Output, Vault, exit, noise, run};
use crate::outside::{Kind, Outside};

/// A server with objects below `in/`, and a repository in a folder.
struct Site {
    server: Outside,
    vault: Vault,
}

/// Everything that an object is.
type Seen = BTreeMap<Vec<u8>, (Vec<u8>, Facts)>;

fn facts() -> Facts {
    Facts {
        content_type: Some("image/png".to_owned()),
        content_disposition: Some("inline".to_owned()),
        cache_control: Some("max-age=60".to_owned()),
        metadata: Some(vec![("by".to_owned(), "me".to_owned())]),
        tags: Some(vec![("kind".to_owned(), "in voice".to_owned()), ("year".to_owned(), "2026".to_owned())]),
        ..Facts::default()
    }
}

fn listed(objects: &dyn Objects) -> Vec<Object> {
    let (mut all, mut next) = (Vec::new(), None::<String>);
    loop {
        let page = objects.page(next.as_deref(), false).unwrap();
        all.extend(page.objects);
        next = page.next;
        if next.is_none() {
            return all;
        }
    }
}

fn seen(objects: &dyn Objects) -> Seen {
    let each = listed(objects).into_iter().map(|object| {
        let mut taken = objects.read(&object, 0..object.bytes).unwrap();
        if taken.tags > 0 {
            taken.facts.tags = Some(objects.tags(&object).unwrap());
        }
        (object.key.clone(), (taken.bytes, taken.facts))
    });
    each.collect()
}

impl Site {
    fn new(kind: Kind) -> Self {
        Self { server: Outside::start(kind), vault: Vault::new() }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.vault.command(args);
        self.server.surround(&mut command, "unused");
        command.env("DUMPVAULT_REPOSITORY", self.vault.repo());
        run(command, b"")
    }

    fn backup(&self) -> serde_json::Value {
        let address = self.server.address("in");
        let report = self.run(&["--json", "backup", &address, "--series", "up"]).expect(exit::OK).json();
        let streams = report["results"][0]["snapshot"]["streams"].as_array().unwrap().clone();
        streams.into_iter().find(|stream| stream["name"] == "up/index").unwrap()["attributes"].clone()
    }

    /// Objects that come, stay, change and go; what is restored is what there was.
    fn live(&self, keys: &[&str], many: usize) {
        let (source, target) = (self.server.objects("in"), self.server.objects("out"));
        for (number, key) in keys.iter().enumerate() {
            source.put(key.as_bytes(), noise(number as u64, 1000 * number), &facts()).unwrap();
        }
        for number in 0..many {
            source
                .put(format!("many/{number:05}").as_bytes(), noise(number as u64, 10), &Facts::default())
                .unwrap();
        }
        source.put(b"large", noise(99, 9 << 20), &facts()).unwrap();
        self.backup();
        // Its content is another one with the same length.
        source.put(keys[1].as_bytes(), noise(77, 1000), &facts()).unwrap();
        source.delete(keys[2].as_bytes()).unwrap();
        let second = self.backup();
        let count = keys.len() + many;
        assert_eq!(second["files"], count.to_string(), "{second}");
        assert_eq!(second["unchanged"], (count - 1).to_string(), "{second}");
        let third = self.backup();
        assert_eq!(third["unchanged"], count.to_string());
        assert_eq!(third["requests"], (count / 1000 + 1).to_string(), "{third}");

        let to = self.server.address("out");
        self.run(&["restore", "up", "--to-bucket", &to]).expect(exit::OK);
        assert!(seen(source.as_ref()) == seen(target.as_ref()));
        target.put(b"extra", b"extra".to_vec(), &Facts::default()).unwrap();
        let again = self.run(&["restore", "up", "--to-bucket", &to, "--delete", "--yes", "--json"]);
        let again = again.expect(exit::OK).json();
        assert_eq!((&again["objects"], &again["deleted"]), (&0.into(), &1.into()), "{again}");
        assert_eq!(listed(target.as_ref()).len(), count);
        let all_paths = keys.iter().all(|key| !key.contains("..") && !key.ends_with('/'));
        let expected = if all_paths { exit::OK } else { exit::PART_FAILED };
        self.run(&["restore", "up", "--to-dir", "into"]).expect(expected);
        assert!(std::fs::read(self.vault.work().join("into/large")).unwrap() == noise(99, 9 << 20));
        self.run(&["verify", "up"]).expect(exit::OK);
        self.run(&["check", "--read-data"]).expect(exit::OK);
    }

    /// What is read is what was listed, or nothing.
    fn changes(&self) {
        let source: Arc<dyn Objects> = self.server.objects("in");
        source.put(b"once", b"before".to_vec(), &Facts::default()).unwrap();
        let object = source.look(b"once").unwrap().unwrap();
        assert_eq!(source.look(b"onc").unwrap(), None);
        source.put(b"once", b"behind".to_vec(), &Facts::default()).unwrap();
        assert_eq!(source.read(&object, 0..6).unwrap_err().trouble, Trouble::Changed);
        source.delete(b"once").unwrap();
        assert_eq!(source.read(&object, 0..6).unwrap_err().trouble, Trouble::Missing);
        source.delete(b"once").unwrap();
    }

    /// An object that is put in parts is there once it is whole.
    fn parts(&self) {
        let source: Arc<dyn Objects> = self.server.objects("in");
        let mut parts = source.begin(b"parts", &facts()).unwrap();
        parts.put(noise(1, 5 << 20)).unwrap();
        parts.put(noise(2, 100)).unwrap();
        assert_eq!(source.look(b"parts").unwrap(), None);
        parts.finish().unwrap();
        let object = source.look(b"parts").unwrap().unwrap();
        let taken = source.read(&object, (5 << 20) - 1..(5 << 20) + 100).unwrap();
        assert!(taken.bytes.ends_with(&noise(2, 100)) && taken.bytes.len() == 101);
        assert_eq!(taken.facts.content_type.as_deref(), Some("image/png"));
        drop(source.begin(b"never", &facts()).unwrap());
        assert_eq!(source.look(b"never").unwrap(), None);
    }
}

#[test]
fn given_a_bucket_with_versions_then_those_that_are_not_current_are_kept_on_request() {
    let site = Site::new(Kind::Moto);
    let source = site.server.objects("in");
    // More than a page, so that a key stands on two of them.
    for number in 0..1_010 {
        source.put(b"much", format!("{number}").into_bytes(), &Facts::default()).unwrap();
    }
    source.put(b"a", b"first".to_vec(), &Facts::default()).unwrap();
    source.put(b"a", b"second".to_vec(), &facts()).unwrap();
    source.put(b"gone", b"deleted since".to_vec(), &Facts::default()).unwrap();
    source.delete(b"gone").unwrap();
    source.put(b"z", b"one".to_vec(), &Facts::default()).unwrap();
    let table = format!("[source.up]\nbucket = \"{}\"\nversions = true\n", site.server.address("in"));
    std::fs::write(site.vault.work().join("dumpvault.toml"), table).unwrap();
    let backup = || {
        let report =
            site.run(&["--config", "dumpvault.toml", "--json", "backup", "up"]).expect(exit::OK).json();
        let streams = report["results"][0]["snapshot"]["streams"].as_array().unwrap().clone();
        streams.into_iter().find(|stream| stream["name"] == "up/index").unwrap()["attributes"].clone()
    };
    let first = backup();
    assert_eq!((&first["files"], &first["rows"]), (&"3".into(), &"1014".into()), "{first}");
    let second = backup();
    assert_eq!((&second["unchanged"], &second["requests"]), (&"1014".into(), &"2".into()), "{second}");
    // What was current is an old version now, and is not read again.
    source.put(b"a", b"third".to_vec(), &Facts::default()).unwrap();
    let third = backup();
    assert_eq!((&third["unchanged"], &third["rows"]), (&"1014".into(), &"1015".into()), "{third}");

    let listed = site.run(&["ls", "-R", "up:/"]).expect(exit::OK).text();
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["/a", "/much", "/z"]);
    let all = site.run(&["ls", "-R", "--versions", "--json", "up:/"]).expect(exit::OK).json();
    let all = all["files"].as_array().unwrap();
    assert_eq!(all.len(), 1_015);
    let cat = |path: &str, version: &serde_json::Value| {
        let name = format!("up:{path}");
        let id = version["object"]["version"].as_str().unwrap();
        site.run(&["cat", &name, "--object-version", id]).expect(exit::OK).text()
    };
    let of = |path: &'static str| all.iter().filter(move |file| file["path"] == path);
    let contents: Vec<String> = of("/a").map(|version| cat("/a", version)).collect();
    assert_eq!(contents, ["third", "second", "first"]);
    assert_eq!(
        of("/a").map(|version| version["object"]["old"] == true).collect::<Vec<_>>(),
        [false, true, true]
    );
    assert_eq!(cat("/gone", of("/gone").next().unwrap()), "deleted since");
    assert_eq!(cat("/much", of("/much").next_back().unwrap()), "0");
    site.run(&["cat", "up:/a", "--object-version", "none"]).expect(exit::USAGE).says("not in the snapshot");
    assert_eq!(site.run(&["cat", "up:/much"]).expect(exit::OK).text(), "1009");
    let changes = site.run(&["diff", "up~1:/", "up:/"]).expect(exit::OK).text();
    assert_eq!(changes.trim_end(), "M /a");
    // What is restored is what was current.
    let to = site.server.address("out");
    site.run(&["restore", "up", "--to-bucket", &to]).expect(exit::OK);
    let target = site.server.objects("out");
    assert_eq!(listed_keys(target.as_ref()), ["a", "much", "z"]);
    assert_eq!(seen(target.as_ref())[&b"a"[..]].0, b"third");
    site.run(&["verify", "up"]).expect(exit::OK);
    site.run(&["check", "--read-data"]).expect(exit::OK);
    // Without the setting nothing is read again either.
    let address = site.server.address("in");
    let args = ["--json", "backup", &address, "--series", "up", "--suspect-below", "0"];
    let report = site.run(&args).expect(exit::OK).json();
    let streams = report["results"][0]["snapshot"]["streams"].as_array().unwrap().clone();
    let index = streams.into_iter().find(|stream| stream["name"] == "up/index").unwrap();
    assert_eq!(index["attributes"]["unchanged"], "3", "{index}");
}

fn listed_keys(objects: &dyn Objects) -> Vec<String> {
    listed(objects).into_iter().map(|object| String::from_utf8(object.key).unwrap()).collect()
}

#[test]
fn moto_is_backed_up_and_restored_into() {
    let site = Site::new(Kind::Moto);
    site.live(&["a/1", "a/2", "b", "z ü+%", "a-b/", "../up"], 1_200);
    site.changes();
    site.parts();
}

#[test]
fn rclone_is_backed_up_and_restored_into() {
    // Its answer to the beginning of an upload in parts is one that no client of Amazon's reads.
    let site = Site::new(Kind::Rclone);
    site.live(&["a/1", "a/2", "b", "z ü+%", "a-b"], 20);
    site.changes();
}

#[test]
fn s3rver_is_backed_up_and_restored_into() {
    let site = Site::new(Kind::S3rver);
    site.live(&["a/1", "a/2", "b", "z ü+%", "a-b"], 20);
    site.changes();
    site.parts();
}
