//! Files that real servers wrote: `tests/fixtures/README.md` says how.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dumpvault::content::inspect::{Inspector, Kind, Verdict};
use dumpvault::content::rdb::{Reader, Structure};
use std::path::Path;

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rdb");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn files_of_real_servers_are_read_to_their_end() {
    for (name, version, functions) in
        [("redis62.rdb", 9, 0), ("redis82.rdb", 12, 1), ("valkey81.rdb", 11, 1), ("valkey91.rdb", 80, 1)]
    {
        let bytes = file(name);
        let mut reader = Reader::new();
        bytes.chunks(777).for_each(|piece| reader.push(piece));
        let (structure, survey) = reader.finish();
        assert_eq!(structure, Structure::Whole, "{name}");
        assert_eq!((survey.version, survey.functions), (version, functions), "{name}");
        let keys = |database, prefix: &str| survey.groups[&(database, prefix.as_bytes().to_vec())].keys;
        let expiring = survey.groups[&(0, b"session:".to_vec())].expiring;
        assert_eq!((keys(0, "session:"), expiring), (20, 7), "{name}");
        for (prefix, count) in [("l:", 3), ("s:", 2), ("si:", 2), ("z:", 2), ("h:", 2), ("x:", 2), ("*", 5)] {
            assert_eq!(keys(0, prefix), count, "{name} {prefix}");
        }
        assert_eq!((keys(5, "other:"), keys(5, "*")), (1, 1), "{name}");

        let verdict = |bytes: &[u8]| {
            let mut inspector = Inspector::new();
            inspector.push(bytes);
            let found = inspector.finish();
            assert_eq!(found.kind, Kind::RedisRdb);
            found.verdict
        };
        assert!(matches!(verdict(&bytes), Verdict::Whole(_)), "{name}");
        for cut in (500..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
            assert!(matches!(verdict(&bytes[..cut]), Verdict::Incomplete(_)), "{name} {cut}");
        }
    }
}
