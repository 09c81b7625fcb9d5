//! Objects that come back, into a bucket and into a folder.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::buckets::{Site, newest};
use crate::cli::{HANGS, Running, exit, noise};
use crate::s3::{ACCESS_KEY, Call, Facts, HttpFault, SECRET_KEY, TestServer};

/// A site with objects that are backed up.
fn site() -> Site {
    let site = Site::new();
    let facts = Facts {
        content_type: Some("text/plain".to_owned()),
        cache_control: Some("no-store".to_owned()),
        metadata: Some([("by".to_owned(), "me".to_owned())].into()),
        tags: "a=1&b=2".to_owned(),
        ..Facts::default()
    };
    site.server.set_object_with("in/docs/a", b"alpha".to_vec(), None, facts);
    site.put("docs/b", &noise(2, 300_000));
    site.put("docs/empty", b"");
    site.put("z odd+key", b"odd");
    site.backup(exit::OK);
    site
}

fn target(site: &Site) -> String {
    site.server.address("out")
}

/// What lies below `out/`.
fn there(site: &Site) -> BTreeMap<String, Vec<u8>> {
    let names = site.server.names().into_iter().filter(|name| name.starts_with("out/"));
    names.map(|name| (name["out/".len()..].to_owned(), site.server.object(&name).unwrap().to_vec())).collect()
}

#[test]
fn given_an_empty_bucket_then_all_comes_back_with_what_it_had_and_again_puts_nothing() {
    let site = site();
    let to = target(&site);
    site.prints(&["restore", "uploads", "--to-bucket", &to], exit::OK, &["restored 4 objects"]);
    let keys: Vec<String> = there(&site).into_keys().collect();
    assert_eq!(keys, ["docs/a", "docs/b", "docs/empty", "z odd+key"]);
    assert_eq!(site.server.facts("out/docs/a"), site.server.facts("in/docs/a"));
    assert!(there(&site)["docs/b"] == noise(2, 300_000));
    site.server.forget_calls();
    let again =
        site.run(&["restore", "uploads", "--to-bucket", &to, "--yes", "--json"]).expect(exit::OK).json();
    assert_eq!((&again["objects"], &again["kept"]), (&0.into(), &4.into()), "{again}");
    assert_eq!(site.server.count("PUT"), 0);
}

#[test]
fn given_a_bucket_in_use_then_what_would_be_hit_is_named_and_nothing_is_touched_unasked() {
    let site = site();
    let to = target(&site);
    site.server.set_object("out/docs/a", b"mine".to_vec());
    site.server.set_object("out/own", b"own".to_vec());
    site.server.forget_calls();
    let args = ["restore", "uploads", "--to-bucket", &to];
    let output = site.run(&args).expect(exit::REFUSED);
    output.says("2 objects").says("1 object there would be replaced (/docs/a)").says("--yes");
    site.run(&[&args[..], &["--dry-run"]].concat()).expect(exit::OK);
    let dry = site.run(&[&args[..], &["--dry-run", "--json", "--delete"]].concat()).expect(exit::OK).json();
    assert_eq!(
        (&dry["replaced"], &dry["deleted"], &dry["there"]),
        (&1.into(), &1.into(), &2.into()),
        "{dry}"
    );
    assert_eq!(site.server.count("PUT") + site.server.count("DELETE"), 0);
    site.run(&[&args[..], &["--yes", "--overwrite", "never"]].concat()).expect(exit::OK);
    assert_eq!(there(&site)["docs/a"], b"mine");
    site.run(&[&args[..], &["--yes"]].concat()).expect(exit::OK);
    assert_eq!(there(&site)["docs/a"], b"alpha");
    assert_eq!(there(&site)["own"], b"own");
}

#[test]
fn given_delete_then_exactly_what_the_plan_names_goes_and_never_more_than_half_unforced() {
    let site = site();
    let to = target(&site);
    site.run(&["restore", "uploads", "--to-bucket", &to]).expect(exit::OK);
    for name in ["docs/extra", "x"] {
        site.server.set_object(&format!("out/{name}"), b"extra".to_vec());
    }
    site.server.set_object("outside", b"outside".to_vec());
    let args = ["restore", "uploads", "--to-bucket", &to, "--delete"];
    site.run(&args).expect(exit::REFUSED).says("2 objects would be deleted (/docs/extra, /x)");
    // With a path only what it is about.
    site.prints(&[&args[..], &["--path", "docs/", "--yes"]].concat(), exit::OK, &["1 object deleted"]);
    assert!(there(&site).contains_key("x") && !there(&site).contains_key("docs/extra"));
    site.run(&[&args[..], &["--yes"]].concat()).expect(exit::OK);
    assert_eq!(there(&site).len(), 4);
    assert!(site.server.object("outside").is_some());
    for number in 0..9 {
        site.server.set_object(&format!("out/many/{number}"), b"m".to_vec());
    }
    site.run(&[&args[..], &["--yes"]].concat())
        .expect(exit::REFUSED)
        .says("9 of 13 objects")
        .says("would be deleted");
    site.run(&[&args[..], &["--yes", "--force"]].concat()).expect(exit::OK);
    assert_eq!(there(&site).len(), 4);
}

#[test]
fn given_a_path_then_only_what_matches_comes_back() {
    let site = site();
    let to = target(&site);
    site.run(&["restore", "uploads", "--to-bucket", &to, "--path", "/docs/a"]).expect(exit::OK);
    assert_eq!(there(&site).into_keys().collect::<Vec<_>>(), ["docs/a"]);
    let none = site.run(&["restore", "uploads", "--to-bucket", &to, "--path", "/nowhere/at/all"]);
    none.expect(exit::USAGE).says("no object in the snapshot matches").says("--path");
}

#[test]
fn given_objects_that_could_not_be_read_then_those_in_the_target_are_not_deleted() {
    let site = Site::new();
    site.put("a", b"a");
    site.put("denied", b"denied");
    site.server
        .set_hook(|call| call.path.ends_with("/in/denied").then_some(HttpFault::Status(403, "AccessDenied")));
    site.backup(exit::PART_FAILED);
    site.server.calm();
    let to = target(&site);
    site.server.set_object("out/denied", b"still there".to_vec());
    let id = newest(&site);
    let output = site.run(&["restore", &id, "--to-bucket", &to, "--delete", "--yes"]).expect(exit::OK);
    output.says("1 object: could not be read when the backup was made");
    assert_eq!(there(&site)["denied"], b"still there");
}

#[test]
fn given_a_target_that_refuses_or_is_not_there_then_it_is_the_target_that_failed() {
    let site = site();
    let to = target(&site);
    site.server.set_hook(|call| {
        (call.method == "PUT" && call.path.ends_with("docs/b"))
            .then_some(HttpFault::Status(403, "AccessDenied"))
    });
    let output = site.run(&["restore", "uploads", "--to-bucket", &to]).expect(exit::PART_FAILED);
    output.says("cannot restore `/docs/b`: HTTP 403 AccessDenied");
    // What is missing stands in the way of deleting.
    site.server.set_object("out/extra", b"extra".to_vec());
    let output =
        site.run(&["restore", "uploads", "--to-bucket", &to, "--yes", "--delete"]).expect(exit::PART_FAILED);
    output.says("nothing was deleted");
    assert!(there(&site).contains_key("extra"));
    site.server.calm();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("s3:http://{dead}/uploads");
    site.run(&["restore", "uploads", "--to-bucket", &address]).expect(exit::TARGET).says(&dead.to_string());
    let missing = to.replace("/vault/", "/nothing/");
    site.run(&["restore", "uploads", "--to-bucket", &missing]).expect(exit::TARGET).says("NoSuchBucket");
}

#[test]
fn given_protect_or_the_repository_itself_then_the_target_is_refused() {
    let site = site();
    let to = target(&site);
    let config = site.vault.work().join("dumpvault.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("protect = [\"vault\"]\n{text}")).unwrap();
    site.run(&["restore", "uploads", "--to-bucket", &to]).expect(exit::OK);
    let output = site.run(&["restore", "uploads", "--to-bucket", &to, "--yes", "--overwrite", "always"]);
    output.expect(exit::REFUSED).says("protected by `protect = [\"vault\"]`");
    fs::write(&config, text).unwrap();
    let copy = site.server.address("repo");
    site.run(&["copy", "--to", &copy, "--init"]).expect(exit::OK);
    let mut command = site.command(&["restore", "uploads", "--to-bucket", &site.server.address("repo/sub")]);
    command.env("DUMPVAULT_REPOSITORY", &copy);
    crate::cli::run(command, b"").expect(exit::USAGE).says("holds the repository");
    site.vault.run(["backup", "--path", ".", "--series", "tree"]).expect(exit::OK);
    site.run(&["restore", "tree", "--to-bucket", &to])
        .expect(exit::USAGE)
        .says("holds files, and no objects");
}

#[test]
fn given_large_objects_then_they_go_in_parts_and_one_that_is_damaged_is_never_seen() {
    let site = Site::new();
    let large = noise(3, 70 << 20);
    site.put("large", &large);
    site.put("small", b"small");
    site.backup(exit::OK);
    let to = target(&site);
    site.run(&["restore", "uploads", "--to-bucket", &to]).expect(exit::OK);
    assert!(there(&site)["large"] == large);
    assert_eq!(site.server.uploads(), 0);
    // One byte of the repository is another.
    let packs = site.vault.objects_in("packs");
    let largest =
        packs.iter().max_by_key(|key| fs::metadata(site.vault.repo().join(key)).unwrap().len()).unwrap();
    let path = site.vault.repo().join(largest);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
    let other = site.server.address("other");
    let output = site.run(&["restore", "uploads", "--to-bucket", &other]).expect(exit::INTEGRITY);
    output.says("not restored: `/large`");
    assert!(site.server.object("other/large").is_none() && site.server.object("other/small").is_some());
    assert_eq!(site.server.uploads(), 0);
}

/// Starts the program, and stops it by Ctrl-C once it waits for that request.
fn interrupted(site: &Site, args: &[&str], method: &'static str, key: &'static str) {
    let is_it =
        move |call: &Call| call.method == method && call.path.ends_with(key) && !call.query.contains("list");
    site.server.set_hook(move |call| is_it(call).then_some(HttpFault::Stall));
    site.server.forget_calls();
    let running = Running::start(site.command(args));
    let began = Instant::now();
    while !site.server.calls().iter().any(is_it) {
        assert!(began.elapsed() < HANGS);
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::INT);
    running.wait().expect(exit::INTERRUPTED);
    site.server.calm();
}

#[test]
fn given_an_interruption_then_backups_and_restores_end_and_can_be_run_again() {
    let site = site();
    site.put("z", b"new");
    interrupted(&site, &["backup", "uploads"], "GET", "/in/z");
    assert_eq!(site.vault.snapshots().len(), 1);
    site.backup(exit::OK);
    let to = target(&site);
    interrupted(&site, &["restore", "uploads", "--to-bucket", &to], "PUT", "/out/docs/b");
    assert!(!there(&site).contains_key("docs/b"));
    site.run(&["restore", "uploads", "--to-bucket", &to, "--yes"]).expect(exit::OK);
    assert_eq!(there(&site).len(), 5);
}

/// The commands of `docs/buckets.md`, in their order, with two servers for its buckets.
#[test]
fn the_commands_of_the_manual_do_what_it_says() {
    let manual = include_str!("../../docs/buckets.md");
    let commands = manual.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let (site, other) = (Site::new(), TestServer::new());
    let media = site.server.address("in");
    let put = |key: &str, bytes: &[u8]| site.put(key, bytes);
    put("invoices/2026/17.pdf", b"first");
    put("a.png", b"png");
    site.run(&["backup", &media, "--series", "media"]).expect(exit::OK);
    put("invoices/2026/17.pdf", b"second");
    let mut count = 0;
    for line in commands.lines() {
        let line = line.replace("s3://media-restored", &other.address("in")).replace("s3://media", &media);
        let mut command = site.vault.shell(&line.replacen("dumpvault", "$dumpvault", 1));
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.env("AWS_REGION", "us-east-1");
        crate::cli::run(command, b"").expect(exit::OK);
        count += 1;
    }
    assert_eq!(count, 10);
    let work = site.vault.work();
    assert_eq!(fs::read(work.join("17.pdf")).unwrap(), b"first");
    assert_eq!(fs::read(work.join("restored/invoices/2026/17.pdf")).unwrap(), b"second");
    assert!(!work.join("restored/a.png").exists());
    assert_eq!(other.names(), ["in/a.png", "in/invoices/2026/17.pdf"]);
}

#[test]
fn given_a_folder_then_keys_that_are_paths_are_files_and_all_others_are_told_and_nothing_escapes() {
    let site = Site::new();
    for key in
        ["plain", "docs/a", "docs/b/c", "../../etc/passwd", "/absolute", "a//b", "folder/", "./dot", "x/../y"]
    {
        site.put(key, key.as_bytes());
    }
    // A key that is a folder of others, and one that no file system takes.
    site.put("docs", b"file or folder");
    site.put(&"n".repeat(300), b"long");
    site.backup(exit::OK);
    assert_eq!(site.lines(&["ls", "-R", "uploads:/"]).len(), 11);
    let before: Vec<_> =
        fs::read_dir(site.vault.home()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let dry = ["restore", "uploads", "--to-dir", "into/deep", "--dry-run"];
    site.prints(
        &dry,
        exit::OK,
        &["would restore 4 objects", "7 objects cannot be restored into a directory"],
    );
    let output = site.run(&["restore", "uploads", "--to-dir", "into/deep"]).expect(exit::PART_FAILED);
    output.says("its key is not a path").says("/../../etc/passwd").says("cannot restore `/docs");
    let root = site.vault.work().join("into/deep");
    assert_eq!(fs::read(root.join("plain")).unwrap(), b"plain");
    let after: Vec<_> = fs::read_dir(site.vault.home()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(before, after);
    let names = |path: &std::path::Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&site.vault.work().join("into")), ["deep"]);
    assert_eq!(names(&root), ["docs", "plain"]);
    // A link in the way is not followed.
    let other = site.vault.work().join("other");
    fs::create_dir_all(site.vault.work().join("linked")).unwrap();
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(&other, site.vault.work().join("linked/docs")).unwrap();
    let args = ["restore", "uploads", "--to-dir", "linked", "--path", "docs/a", "--yes"];
    site.run(&args).expect(exit::PART_FAILED).says("cannot restore `/docs/a`");
    assert_eq!(names(&other), [""; 0]);
    // Again into the same folder: what is there and equal stays.
    let again =
        site.run(&["restore", "uploads", "--to-dir", "into/deep", "--path", "plain", "--yes", "--json"]);
    assert_eq!(again.expect(exit::OK).json()["kept"], 1);
}
