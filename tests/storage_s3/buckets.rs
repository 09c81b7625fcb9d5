//! A bucket as a source: what a backup of it reads, keeps and tells.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::cli::{Output, Vault, exit, noise, run};
use crate::s3::{ACCESS_KEY, BUCKET, Facts, HttpFault, SECRET_KEY, TestServer};

/// A bucket, and a repository in a folder.
pub(super) struct Site {
    pub server: TestServer,
    pub vault: Vault,
}

impl Site {
    /// With `[source.uploads]`, the objects below `in/`.
    pub fn new() -> Self {
        Self::with("")
    }

    /// The same, with more in the table.
    pub fn with(more: &str) -> Self {
        let site = Self { server: TestServer::new(), vault: Vault::new() };
        let endpoint = site.server.endpoint();
        let table =
            format!("[source.uploads]\nbucket = \"s3://{BUCKET}/in\"\nendpoint = \"{endpoint}\"\n{more}\n");
        std::fs::write(site.vault.work().join("dumpvault.toml"), table).unwrap();
        site
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.vault.command(args);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
        command.args(["--config", "dumpvault.toml"]);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        run(self.command(args), b"")
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.server.set_object(&format!("in/{key}"), bytes.to_vec());
    }

    /// Backs the bucket up; the snapshot as JSON.
    pub fn backup(&self, expected: i32) -> Value {
        let report = self.run(&["--json", "backup", "uploads"]).expect(expected).json();
        report["results"][0]["snapshot"].clone()
    }

    /// As `run`, with words demanded on standard output.
    pub fn prints(&self, args: &[&str], code: i32, words: &[&str]) -> Output {
        let output = self.run(args).expect(code);
        for word in words {
            assert!(output.text().contains(word), "no `{word}` in {output}");
        }
        output
    }

    pub fn lines(&self, args: &[&str]) -> Vec<String> {
        self.run(args).expect(exit::OK).text().lines().map(str::to_owned).collect()
    }

    fn cat(&self, key: &str) -> Vec<u8> {
        self.run(&["cat", &format!("uploads:/{key}")]).expect(exit::OK).stdout
    }
}

fn stream<'a>(snapshot: &'a Value, name: &str) -> &'a Value {
    let streams = snapshot["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["name"] == name).unwrap()
}

fn facts() -> Facts {
    Facts {
        content_type: Some("image/png".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        content_disposition: Some("attachment; filename=\"a.png\"".to_owned()),
        cache_control: Some("max-age=60".to_owned()),
        metadata: Some(HashMap::from([("owner".to_owned(), "somebody".to_owned())])),
        tags: "kind=invoice&year=2026".to_owned(),
    }
}

#[test]
fn given_a_bucket_then_its_objects_are_kept_with_all_that_they_have() {
    let site = Site::new();
    site.server.set_object_with("in/a/1.png", noise(1, 200_000), None, facts());
    site.put("a/2", b"two");
    site.put("empty", b"");
    site.put("b c+d%ü\n", b"odd");
    site.server.set_object("beside", b"not below the prefix".to_vec());
    let snapshot = site.backup(exit::OK);
    assert_eq!(stream(&snapshot, "uploads/index")["format"], "object-index");
    assert_eq!(stream(&snapshot, "uploads/data")["bytes"], 200_006);

    assert_eq!(site.lines(&["ls", "uploads:/"]), ["/a/", "/b c+d%ü?", "/empty"]);
    assert_eq!(site.lines(&["ls", "uploads:/a"]), ["/a/1.png", "/a/2"]);
    assert_eq!(site.lines(&["ls", "uploads:/a/"]), ["/a/1.png", "/a/2"]);
    assert_eq!(site.lines(&["ls", "-R", "uploads:/"]).len(), 4);
    assert_eq!(site.lines(&["find", "uploads", "*.png"]), ["/a/1.png"]);
    let long = site.lines(&["ls", "--long", "uploads:/a/1.png"]);
    assert!(long[0].contains("image/png") && long[0].contains("195.31 KiB"), "{long:?}");
    let json = site.run(&["ls", "--json", "uploads:/a/1.png"]).expect(exit::OK).json();
    let object = &json["files"][0]["object"];
    assert_eq!(object["content_type"], "image/png", "{json}");
    assert_eq!(object["metadata"]["owner"], "somebody");
    assert_eq!(object["tags"]["year"], "2026");
    assert!(site.cat("a/1.png") == noise(1, 200_000));
    assert_eq!((site.cat("empty"), site.cat("b c+d%ü\n")), (Vec::new(), b"odd".to_vec()));
    site.run(&["cat", "uploads:/nothing"]).expect(exit::USAGE).says("not in the snapshot");
    site.run(&["ls", "uploads:/nothing"]).expect(exit::USAGE).says("has no");
    // Each object is read and held against its digest.
    let verified = site.run(&["verify", "uploads", "--json"]).expect(exit::OK).json();
    assert!(verified["streams"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{verified}");
    site.run(&["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_objects_that_did_not_change_then_the_listing_is_all_that_is_asked_for() {
    let site = Site::new();
    for number in 0..2_345 {
        site.put(&format!("{}/{number:05}", number % 7), &noise(number, 300));
    }
    site.backup(exit::OK);
    site.server.forget_calls();
    let second = site.backup(exit::OK);
    let calls = site.server.calls();
    assert_eq!(calls.len(), 3, "three pages: {calls:?}");
    let data = stream(&second, "uploads/data");
    assert_eq!(
        (&data["bytes_copied"], &data["bytes"]),
        (&(2_345 * 300).into(), &(2_345 * 300).into()),
        "{second}"
    );

    site.put("3/00003", b"changed");
    site.put("9/new", b"new");
    site.server.remove_object("in/0/00007");
    site.server.forget_calls();
    site.backup(exit::OK);
    let read: Vec<String> = site
        .server
        .calls()
        .into_iter()
        .filter(|call| !call.query.contains("list-type"))
        .map(|call| call.path)
        .collect();
    assert_eq!(read.len(), 2, "{read:?}");
    let changes = site.lines(&["diff", "uploads~1:/", "uploads:/"]);
    assert_eq!(changes, ["- /0/00007", "M /3/00003", "+ /9/new"]);
    assert_eq!(site.cat("3/00003"), b"changed");
    assert!(site.cat("6/02344") == noise(2_344, 300));
}

#[test]
fn given_metadata_alone_changed_then_it_is_seen_and_diff_says_so() {
    let site = Site::new();
    site.server.set_object_with("in/a", b"the same".to_vec(), None, Facts::default());
    site.backup(exit::OK);
    // A copy onto itself: the ETag stays, the time does not.
    site.server.set_object_with("in/a", b"the same".to_vec(), None, facts());
    site.backup(exit::OK);
    assert_eq!(site.lines(&["diff", "uploads~1:/", "uploads:/"]), ["m /a"]);
}

#[test]
fn given_an_object_that_is_overwritten_between_list_and_read_then_what_it_is_now_is_stored() {
    let site = Site::new();
    site.put("a", b"first");
    site.put("b", b"beside");
    let server = Arc::new(site);
    let inside = Arc::downgrade(&server);
    server.server.set_hook(move |call| {
        if call.method == "GET" && call.path.ends_with("/in/a") && call.repetition == 0 {
            inside.upgrade()?.put("a", b"second, and longer");
        }
        None
    });
    server.backup(exit::OK);
    server.server.calm();
    assert_eq!(server.cat("a"), b"second, and longer");
    // Its row is of what was read: nothing is read by the next.
    server.server.forget_calls();
    server.backup(exit::OK);
    assert_eq!(server.server.calls().len(), 1);
}

#[test]
fn given_an_object_that_changes_each_time_it_is_read_then_it_is_told_and_the_snapshot_is_partial() {
    let site = Arc::new(Site::new());
    site.put("a", b"0");
    site.put("b", b"beside");
    let (inside, count) = (Arc::downgrade(&site), AtomicU64::new(0));
    site.server.set_hook(move |call| {
        if call.method == "GET" && call.path.ends_with("/in/a") {
            let count = count.fetch_add(1, Ordering::Relaxed);
            inside.upgrade()?.put("a", format!("{count} and more").as_bytes());
        }
        None
    });
    let output = site.run(&["backup", "uploads"]).expect(exit::PART_FAILED);
    output.says("cannot read `/a`: it was overwritten each time that it was read");
    assert_eq!(site.vault.snapshots()[0]["state"], "partial");
    site.server.calm();
    // A partial snapshot is a parent all the same, and what is missing in it is read.
    site.server.forget_calls();
    site.backup(exit::OK);
    let read = site.server.calls().iter().filter(|call| !call.query.contains("list-type")).count();
    assert_eq!(read, 1);
    assert!(String::from_utf8(site.cat("a")).unwrap().ends_with(" and more"));
}

#[test]
fn given_an_object_that_vanishes_between_list_and_read_then_it_is_counted_and_all_is_well() {
    let site = Arc::new(Site::new());
    site.put("a", b"soon gone");
    site.put("b", b"stays");
    let inside = Arc::downgrade(&site);
    site.server.set_hook(move |call| {
        if call.method == "GET" && call.path.ends_with("/in/a") {
            inside.upgrade()?.server.remove_object("in/a");
        }
        None
    });
    let snapshot = site.backup(exit::OK);
    assert_eq!(stream(&snapshot, "uploads/index")["attributes"]["vanished"], "1", "{snapshot}");
    assert_eq!(site.lines(&["ls", "uploads:/"]), ["/b"]);
}

#[test]
fn given_archived_and_denied_objects_then_they_are_named_and_the_snapshot_is_partial() {
    let site = Site::new();
    site.server.set_object_with("in/cold", noise(1, 100), Some("GLACIER"), Facts::default());
    site.put("secret", b"not for you");
    site.put("warm", b"warm");
    site.server
        .set_hook(|call| call.path.ends_with("/in/secret").then_some(HttpFault::Status(403, "AccessDenied")));
    let output = site.run(&["backup", "uploads"]).expect(exit::PART_FAILED);
    output
        .says("cannot read `/cold`: it is archived")
        .says("cannot read `/secret`: HTTP 403 AccessDenied")
        .says("docs/buckets.md");
    assert_eq!(site.vault.snapshots()[0]["state"], "partial");
    let listed = site.run(&["ls", "--json", "uploads:/"]).json();
    let kinds: Vec<&str> =
        listed["files"].as_array().unwrap().iter().map(|file| file["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["unreadable", "unreadable", "object"], "{listed}");
    // What was archived since costs nothing.
    let site = Site::new();
    site.put("a", b"as it was");
    site.backup(exit::OK);
    site.server.set_hook(|call| {
        call.path.ends_with("/in/a").then_some(HttpFault::Status(403, "InvalidObjectState"))
    });
    site.backup(exit::OK);
}

#[test]
fn given_tags_that_may_not_be_read_then_the_objects_are_stored_and_it_is_said_once() {
    let site = Site::new();
    for name in ["a", "b", "c"] {
        site.server.set_object_with(&format!("in/{name}"), name.as_bytes().to_vec(), None, facts());
    }
    site.server
        .set_hook(|call| call.query.contains("tagging").then_some(HttpFault::Status(403, "AccessDenied")));
    let output = site.run(&["backup", "uploads"]).expect(exit::OK).says("tags are not backed up");
    assert_eq!(output.stderr.matches("tags are not backed up").count(), 1, "{output}");
    let site = Site::with("object_tags = \"none\"");
    site.server.set_object_with("in/a", b"a".to_vec(), None, facts());
    site.backup(exit::OK);
    assert!(site.server.calls().iter().all(|call| !call.query.contains("tagging")));
}

#[test]
fn given_a_change_of_tags_alone_then_it_is_seen_where_all_tags_are_asked_for_and_nowhere_else() {
    for (setting, requests, year) in [("", 0, "2026"), ("object_tags = \"all\"", 3, "2027")] {
        let site = Site::with(setting);
        for name in ["a", "b"] {
            site.server.set_object_with(&format!("in/{name}"), name.repeat(1000).into_bytes(), None, facts());
        }
        site.put("c", b"without");
        site.backup(exit::OK);
        site.server.set_tags("in/a", "kind=invoice&year=2027");
        site.server.set_tags("in/b", "");
        site.server.forget_calls();
        let second = site.backup(exit::OK);
        let calls = site.server.calls();
        assert_eq!(calls.iter().filter(|call| call.query.contains("tagging")).count(), requests, "{setting}");
        assert_eq!(calls.len(), requests + 1, "nothing is read but the listing and tags: {calls:?}");
        let data = stream(&second, "uploads/data");
        assert_eq!(data["bytes_copied"], data["bytes"], "{second}");
        let listed = site.run(&["ls", "--json", "uploads:/"]).expect(exit::OK).json();
        let tags = |at: usize| listed["files"][at]["object"]["tags"].clone();
        assert_eq!(tags(0)["year"], year, "{setting}: {listed}");
        let changes = site.lines(&["diff", "uploads~1:/", "uploads:/"]);
        let expected: &[&str] = if requests > 0 { &["m /a", "m /b"] } else { &[] };
        assert_eq!(changes, expected, "{setting}");
        // The day after they are as they were.
        let third = site.backup(exit::OK);
        assert_eq!(stream(&third, "uploads/index")["attributes"]["unchanged"], "3", "{third}");
        assert!(site.cat("a") == b"a".repeat(1000));
    }
}

#[test]
fn given_the_same_bytes_under_another_etag_then_they_are_read_and_take_no_space() {
    let site = Site::new();
    site.put("a", &noise(1, 300_000));
    site.backup(exit::OK);
    // An upload in parts: the ETag tells uploads apart, and not contents.
    site.server.put_in_parts("in/a");
    site.server.forget_calls();
    let second = site.backup(exit::OK);
    let read = site.server.calls().iter().filter(|call| call.path.ends_with("/in/a")).count();
    assert_eq!(read, 1);
    let stored = stream(&second, "uploads/data")["bytes_stored"].as_u64().unwrap();
    assert!(stored < 10_000, "{second}");
    assert!(site.cat("a") == noise(1, 300_000));
    // And it goes back as it is, whatever its ETag was.
    site.run(&["check", "--read-data"]).expect(exit::OK);
}

#[test]
fn given_a_listing_that_is_cut_then_nothing_is_stored() {
    let site = Site::new();
    site.server.set_page_max(10);
    for number in 0..35 {
        site.put(&format!("{number:03}"), b"x");
    }
    site.backup(exit::OK);
    site.server.set_hook(|call| {
        (call.query.contains("continuation-token") && call.query.contains("019"))
            .then_some(HttpFault::Status(403, "AccessDenied"))
    });
    site.run(&["backup", "uploads"]).expect(exit::NOTHING_DONE).says("cannot list").says(BUCKET);
    assert_eq!(site.vault.snapshots().len(), 1);
    // A page that fails once is asked for again.
    site.server.set_hook(|call| {
        (call.query.contains("019") && call.repetition % 2 == 0).then_some(HttpFault::Status(503, "SlowDown"))
    });
    site.backup(exit::OK);
}

#[test]
fn given_a_bucket_that_is_empty_all_at_once_then_the_snapshot_is_suspect() {
    let site = Site::new();
    site.put("only", b"one small object");
    site.backup(exit::OK);
    site.server.remove_object("in/only");
    let output = site.run(&["backup", "uploads"]).expect(exit::PART_FAILED);
    output.says("suspect").says("0 objects, usually about 1 object");
    // One that was always empty is not.
    let empty = Site::new();
    empty.backup(exit::OK);
    empty.backup(exit::OK);
    assert_eq!(empty.lines(&["ls", "uploads:/"]), [""; 0]);
}

#[test]
fn given_wrong_credentials_or_nobody_there_then_nothing_is_stored_and_it_is_said_where() {
    let site = Site::new();
    site.put("a", b"a");
    let mut wrong = site.command(&["backup", "uploads"]);
    wrong.env("AWS_ACCESS_KEY_ID", "AKIDOTHER");
    run(wrong, b"").expect(exit::NOTHING_DONE).says("cannot list `s3:").says("vault/in").says("403");
    let mut none = site.command(&["backup", "uploads"]);
    none.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    run(none, b"").expect(exit::NOTHING_DONE).says("no S3 credentials found").says("AWS_ACCESS_KEY_ID");
    // The source has its own.
    let own =
        format!("env = {{ AWS_ACCESS_KEY_ID = \"{ACCESS_KEY}\", AWS_SECRET_ACCESS_KEY = \"{SECRET_KEY}\" }}");
    let site = Site::with(&own);
    site.put("a", b"a");
    let mut other = site.command(&["backup", "uploads"]);
    other.env("AWS_ACCESS_KEY_ID", "AKIDOTHER");
    run(other, b"").expect(exit::OK);

    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("s3:http://{dead}/uploads");
    site.run(&["backup", &address])
        .expect(exit::NOTHING_DONE)
        .says(&dead.to_string())
        .says("check `endpoint`");
    site.run(&["backup", &site.server.address("in").replace("/vault/", "/nothing/")])
        .expect(exit::NOTHING_DONE)
        .says("NoSuchBucket");
}

#[test]
fn given_a_bucket_that_holds_the_repository_then_it_is_refused_before_anything_starts() {
    let site = Site::new();
    let other = Vault::empty();
    let command = |args: &[&str], repository: &str| {
        let mut command = other.command(args);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.env("AWS_REGION", "us-east-1").env("DUMPVAULT_REPOSITORY", site.server.address(repository));
        command.env("DUMPVAULT_KEY_FILE", other.key_file());
        command
    };
    run(command(&["init"], "in/repo"), b"").expect(exit::OK);
    site.server.forget_calls();
    for address in [site.server.address(""), site.server.address("in"), site.server.address("in/repo/packs")]
    {
        let output = run(command(&["backup", &address], "in/repo"), b"");
        output.expect(exit::USAGE).says("holds the repository");
    }
    // However the service is written.
    let mut by_variable = command(&["backup", "s3://vault/in"], "in/repo");
    by_variable.env("AWS_ENDPOINT_URL", site.server.endpoint().replace("127.0.0.1", "localhost"));
    run(by_variable, b"").expect(exit::USAGE).says("holds the repository");
    assert!(site.server.calls().is_empty());
    site.put("beside/a", b"a");
    run(command(&["backup", &site.server.address("in/beside")], "in/repo"), b"").expect(exit::OK);
}

#[test]
fn given_an_address_then_its_kind_and_series_are_known_by_it() {
    let site = Site::new();
    site.put("a", b"a");
    let address = site.server.address("in");
    site.run(&["backup", &address]).expect(exit::OK);
    assert_eq!(site.vault.snapshots()[0]["series"], BUCKET);
    assert_eq!(site.vault.snapshots()[0]["source"]["kind"], "bucket");
    site.run(&["backup", "s3://a"]).expect(exit::USAGE).says("is not a bucket");
}

#[test]
fn given_a_large_object_then_it_is_read_in_pieces_and_one_that_is_overwritten_on_the_way_is_told() {
    let site = Site::new();
    let large = noise(7, 41 << 20);
    site.put("large", &large);
    site.put("z", b"behind it");
    site.backup(exit::OK);
    assert!(site.cat("large") == large);
    assert_eq!(site.cat("z"), b"behind it");
    site.put("large", &noise(8, 41 << 20));
    // The first pieces are of one object, the last would be of another.
    site.server.set_hook(|call| {
        let is_last = call.path.ends_with("/in/large") && call.header("range").starts_with("bytes=41943040-");
        is_last.then_some(HttpFault::Status(412, "PreconditionFailed"))
    });
    site.run(&["backup", "uploads"])
        .expect(exit::PART_FAILED)
        .says("cannot read `/large`: it was overwritten");
    site.server.calm();
    let last = noise(9, 41 << 20);
    site.put("large", &last);
    let json = site.run(&["ls", "--json", &format!("{}:/", newest(&site))]).expect(exit::OK).json();
    assert_eq!(json["files"][0]["torn"], true, "{json}");
    site.backup(exit::OK);
    assert!(site.cat("large") == last);
    site.run(&["check", "--read-data"]).expect(exit::OK);
}

/// The newest snapshot's id, whether or not it is complete.
pub(super) fn newest(site: &Site) -> String {
    site.vault.snapshots().last().unwrap()["id"].as_str().unwrap().to_owned()
}
