//! The parser and the scanner on streams that are split, cut and damaged in every way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use dumpvault::content::inspect::{ContentError, Inspector, Remark, Verdict};
use dumpvault::content::pg::{
    ArchiveError, DataKind, Selection, TableMap, Toc, WithData, plan_jobs, select, synthesise,
};
use dumpvault::source::sample::{SampleConfig, SampleDump};
use proptest::prelude::*;
use std::io::Read;
use std::sync::LazyLock;

static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| sample(200_000));

/// As pg_dump 15 wrote it, with what a scanner may fall over: a function's body that looks like a dump, a quoted name,
/// an empty table, rows with backslashes.
static SCRIPT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = r#"--
-- PostgreSQL database dump
--

\restrict abc

-- Dumped from database version 15.18
-- Dumped by pg_dump version 15.18

SET standard_conforming_strings = on;

/* a comment /* in a comment */
COPY public.hidden (a) FROM stdin;
*/
CREATE FUNCTION public.f(integer) RETURNS text
    LANGUAGE sql
    AS $_$ SELECT 'it''s $1
COPY public.nothing (a) FROM stdin;
--
-- PostgreSQL database dump complete
--

' $_$;

CREATE FUNCTION public.g() RETURNS text
    AS E'\\ \'
COPY public.nothing (a) FROM stdin;
' || '\';

COMMENT ON FUNCTION public.g() IS 'a $tag$ in ''it''; -- no comment
COPY public.nothing (a) FROM stdin;
';

COPY public.plain (a, b) FROM stdin;
1	\\.
\\.	x
\N	-- PostgreSQL database dump complete
\.

COPY "Odd ""one"".".empty FROM stdin;
\.

SELECT pg_catalog.setval('public.s', 1, true);

--
-- PostgreSQL database dump complete
--

\unrestrict abc

"#;
    text.as_bytes().to_vec()
});

fn sample(bytes: u64) -> Vec<u8> {
    let mut dump = Vec::new();
    SampleDump::new(SampleConfig::new(7, bytes)).unwrap().read_to_end(&mut dump).unwrap();
    dump
}

fn verdict<'a>(pushes: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut survey = Inspector::new();
    pushes.into_iter().for_each(|bytes| survey.push(bytes));
    survey.finish().verdict
}

fn map(stream: &[u8]) -> TableMap {
    match verdict([stream]) {
        Verdict::Whole(Some(map)) => *map,
        verdict => panic!("{verdict:?}"),
    }
}

/// The archive's integers.
fn int(value: i64) -> Vec<u8> {
    let mut bytes = vec![u8::from(value < 0)];
    bytes.extend((value.unsigned_abs() as u32).to_le_bytes());
    bytes
}

fn text(value: Option<&str>) -> Vec<u8> {
    match value {
        Some(value) => [int(value.len() as i64), value.as_bytes().to_vec()].concat(),
        None => int(-1),
    }
}

/// An archive of any version: entries with data, given by number, kind and name, and what follows the table of
/// contents.
fn archive(minor: u8, entries: &[(i64, &str, &str)], blocks: &[u8]) -> Vec<u8> {
    let mut bytes = b"PGDMP".to_vec();
    bytes.extend([1, minor, 0, 4, 8, 1]);
    match minor {
        15.. => bytes.push(0),
        _ => bytes.extend(int(0)),
    }
    [30, 59, 23, 31, 11, 125, 0].into_iter().for_each(|part| bytes.extend(int(part)));
    ["db", "17.2", "17.2"].into_iter().for_each(|word| bytes.extend(text(Some(word))));
    bytes.extend(int(entries.len() as i64));
    for (id, kind, name) in entries {
        bytes.extend(int(*id));
        bytes.extend(int(1));
        for word in [Some("0"), Some("16390"), Some(name), Some(kind)] {
            bytes.extend(text(word));
        }
        bytes.extend(int(3));
        for word in [None, None, Some("COPY public.t (a) FROM stdin;\n"), Some("public"), None] {
            bytes.extend(text(word));
        }
        if minor >= 14 {
            bytes.extend(text(None));
        }
        if minor >= 16 {
            bytes.extend(int(i64::from(b'r')));
        }
        for word in [Some("owner"), Some("false"), Some("5"), None] {
            bytes.extend(text(word));
        }
        bytes.push(1);
        bytes.extend([0; 8]);
    }
    bytes.extend(blocks);
    bytes
}

fn table_block(id: i64, pieces: &[&str]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend(int(id));
    pieces.iter().for_each(|piece| bytes.extend(text(Some(piece))));
    bytes.extend(int(0));
    bytes
}

#[test]
fn every_version_of_the_format_is_read() {
    for minor in 12..=16 {
        let objects =
            [vec![3], int(8), int(-5), text(Some("abc")), text(Some("de")), int(0), int(0)].concat();
        let blocks = [table_block(7, &["1\n", "2\n", "\\.\n\n\n"]), objects].concat();
        let stream = archive(minor, &[(7, "TABLE DATA", "t"), (8, "BLOBS", "BLOBS")], &blocks);
        let map = map(&stream);
        assert_eq!(map.format_version, (1, minor));
        let created = map.created.unwrap();
        assert_eq!((created.year, created.month, created.day, created.hour), (2025, 12, 31, 23));
        let facts: Vec<_> = map.tables.iter().map(|t| (t.dump_id, t.kind, t.rows, t.data_bytes)).collect();
        assert_eq!(facts, [(7, DataKind::Table, Some(2), 4), (8, DataKind::LargeObjects, Some(1), 5)]);
        assert_eq!(Toc::parse(&stream).unwrap().head_bytes(), map.head_bytes);
    }
}

#[test]
fn rows_are_counted_however_they_are_cut_into_pieces() {
    // From PostgreSQL 19 a piece is no row; and a piece of 10 bytes has a newline in its length.
    for pieces in [
        &["1\n2\n3\n\\.\n\n\n"][..],
        &["1\n2", "\n3\n\\", ".\n\n", "\n"],
        &["1", "\n", "2", "\n", "3", "\n", "\\", ".", "\n", "\n", "\n"],
        &["123456789\n", "123456789\n", "12\n", "\\.\n\n\n"],
    ] {
        let map = map(&archive(16, &[(7, "TABLE DATA", "t")], &table_block(7, pieces)));
        assert_eq!(map.tables.get(0).unwrap().rows, Some(3), "{pieces:?}");
    }
    let map = map(&archive(16, &[(7, "TABLE DATA", "t")], &table_block(7, &["no end\n"])));
    assert_eq!(map.tables.get(0).unwrap().rows, None);
}

#[test]
fn what_is_no_dump_is_left_alone() {
    let tar = {
        let mut bytes = archive(14, &[], b"");
        bytes[10] = 3;
        bytes
    };
    assert!(matches!(verdict([&tar[..]]), Verdict::Unreadable(ArchiveError::Format { format: 3 })));
    for minor in [0, 11, 17, 255] {
        let stream = archive(minor, &[], b"");
        assert!(matches!(
            verdict([&stream[..]]),
            Verdict::Unreadable(ArchiveError::Version { major: 1, .. })
        ));
    }
    assert_eq!(verdict([&b""[..]]), Verdict::Unknown);
    assert_eq!(verdict([&b"REDIS"[..]]), Verdict::Unknown);
    assert_eq!(verdict([&b"SELECT 1;\n"[..]]), Verdict::Unknown);
}

#[test]
fn hostile_counts_are_refused() {
    let fail = |stream: Vec<u8>| match verdict([&stream[..]]) {
        Verdict::Incomplete(ContentError::Archive(error)) => error,
        verdict => panic!("{verdict:?}"),
    };
    let entry = [(7, "TABLE DATA", "t")];
    let header_len = archive(16, &[], b"").len();
    // Negative, and of 2^31, where a length stands: of the number of entries, of a name, of a piece.
    for value in [int(-1), vec![0, 0, 0, 0, 0x80], vec![0, 255, 255, 255, 255], vec![7, 1, 0, 0, 0]] {
        let mut stream = archive(16, &entry, b"");
        stream[header_len - 5..header_len].copy_from_slice(&value);
        fail(stream);
        let mut stream = archive(16, &entry, b"");
        stream[header_len..header_len + 5].copy_from_slice(&value);
        fail(stream);
        let block = [vec![1], int(7), value].concat();
        fail(archive(16, &entry, &block));
    }
    let huge = [int(7), int(1), int(i64::from(i32::MAX))].concat();
    let mut stream = archive(16, &entry, b"");
    stream.splice(header_len.., huge);
    assert!(matches!(fail(stream), ArchiveError::TooLong { .. }));
    // Blocks that nobody announced, twice the same, of an unknown type, too few, too many bytes.
    let block = table_block(7, &["\\.\n\n\n"]);
    assert!(matches!(fail(archive(16, &entry, &table_block(9, &[]))), ArchiveError::Damaged { .. }));
    assert!(matches!(
        fail(archive(16, &entry, &[&block[..], &block].concat())),
        ArchiveError::Damaged { .. }
    ));
    assert!(matches!(fail(archive(16, &entry, b"\x02")), ArchiveError::Damaged { .. }));
    assert!(matches!(fail(archive(16, &entry, &[&block[..], b"\n"].concat())), ArchiveError::Damaged { .. }));
    let two = [(7, "TABLE DATA", "t"), (8, "TABLE DATA", "u")];
    let error = fail(archive(16, &two, &block));
    assert!(
        error.to_string().contains("1 of 2 data blocks are missing, starting with TABLE DATA public.u"),
        "{error}"
    );
    let twice = [(7, "TABLE DATA", "t"), (7, "TABLE DATA", "u")];
    assert!(matches!(fail(archive(16, &twice, &block)), ArchiveError::Damaged { .. }));
    assert!(Toc::parse(&archive(16, &twice, &block)).is_err());
}

#[test]
fn an_archive_cut_anywhere_is_incomplete() {
    let archive = &*ARCHIVE;
    assert!(matches!(verdict([&archive[..]]), Verdict::Whole(_)));
    // One survey that goes on byte by byte cannot be asked twice: the cuts of the first bytes, then those around every
    // border.
    let map = map(archive);
    let borders = map.tables.iter().flat_map(|t| [t.offset, t.range().end]).chain([map.head_bytes]);
    let near = borders.flat_map(|at| at.saturating_sub(20)..=at + 20).map(|at| at as usize);
    let anywhere = (0..1000).map(|n| n * 7919 % archive.len());
    let all: Vec<usize> =
        (1..65_536).chain(near).chain(anywhere).filter(|at| (1..archive.len()).contains(at)).collect();
    for at in all {
        let verdict = verdict([&archive[..at]]);
        assert!(matches!(verdict, Verdict::Incomplete(_)), "{at}: {verdict:?}");
    }
}

#[test]
fn a_script_is_scanned_as_psql_reads_it() {
    let map = map(&SCRIPT);
    let tables: Vec<_> = map.tables.iter().map(|t| (t.schema, t.name, t.rows, t.data_bytes)).collect();
    let bytes = "1\t\\\\.\n\\\\.\tx\n\\N\t-- PostgreSQL database dump complete\n".len() as u64;
    assert_eq!(tables, [("public", "plain", Some(3), bytes), ("Odd \"one\".", "empty", Some(0), 0)]);
    assert_eq!((map.server_version.as_str(), map.dump_version.as_str()), ("15.18", "15.18"));
    assert_eq!(map.stream_bytes, SCRIPT.len() as u64);
}

#[test]
fn a_script_cut_anywhere_is_incomplete() {
    for at in 1..SCRIPT.len() {
        let verdict = verdict([&SCRIPT[..at]]);
        assert!(matches!(verdict, Verdict::Incomplete(_)), "{at}: {verdict:?}");
    }
}

#[test]
fn commands_behind_the_end_are_told_and_make_the_dump_no_less_whole() {
    let more = [&SCRIPT[..], b"SELECT 1;\n"].concat();
    let mut inspector = Inspector::new();
    inspector.push(&more);
    let found = inspector.finish();
    assert!(matches!(found.verdict, Verdict::Whole(Some(_))));
    assert_eq!(found.remarks, [Remark::Behind { offset: SCRIPT.len() as u64 }]);
    // Two dumps one after the other are two whole dumps.
    let twice = [&SCRIPT[..], &SCRIPT[..]].concat();
    assert_eq!(map(&twice).tables.len(), 4);
}

#[test]
fn maps_are_stored_and_read_back() {
    for stream in [&*ARCHIVE, &*SCRIPT] {
        let map = map(stream);
        let bytes = map.encode();
        assert_eq!(TableMap::decode(&bytes).unwrap(), map);
        assert!(
            bytes.len() < 120 + 60 * map.tables.len(),
            "{} bytes for {} tables",
            bytes.len(),
            map.tables.len()
        );
        // A newer version is told from damage.
        let newer = [&bytes[..2], &[2], &bytes[3..]].concat();
        assert!(TableMap::decode(&newer).unwrap_err().to_string().contains("newer"));
        for at in 0..bytes.len() {
            let _ = TableMap::decode(&bytes[..at]);
        }
    }
}

#[test]
fn entries_that_need_each_other_in_a_circle_are_no_trap() {
    let mut stream = archive(16, &[(5, "TABLE", "a"), (7, "TABLE", "b")], b"");
    // Both need 5, also 5 itself; now the second is needed by the first.
    let five = [int(1), b"5".to_vec()].concat();
    let at = stream.windows(five.len()).position(|window| window == five).unwrap();
    stream[at + 5] = b'7';
    let toc = Toc::parse(&stream).unwrap();
    let selection = Selection { tables: vec!["a".parse().unwrap()], ..Selection::default() };
    assert_eq!(select(&toc, &selection).unwrap().entries, [0, 1]);
    let selection = Selection { exclude_tables: vec!["a".parse().unwrap()], ..Selection::default() };
    assert!(select(&toc, &selection).unwrap().entries.is_empty());
}

#[test]
fn data_that_the_map_does_not_have_is_not_left_out_silently() {
    let toc = Toc::parse(&ARCHIVE).unwrap();
    let mut map = map(&ARCHIVE);
    map.tables = map.tables.iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, table)| table).collect();
    let chosen = select(&toc, &Selection::default()).unwrap();
    assert!(synthesise(&toc, &map, &[], &chosen.entries, WithData::Yes).is_err());
    assert!(synthesise(&toc, &map, &[], &chosen.entries, WithData::No).is_ok());
    assert!(synthesise(&toc, &map, &[], &[usize::MAX], WithData::No).is_err());
}

/// Everything that can be done with a table of contents.
fn use_all(bytes: &[u8], map: &TableMap) {
    let Ok(toc) = Toc::parse(bytes) else { return };
    for selection in [
        Selection::default(),
        Selection { tables: vec!["o*".parse().unwrap()], ..Selection::default() },
        Selection { exclude_tables: vec!["*s".parse().unwrap()], ..Selection::default() },
    ] {
        let Ok(chosen) = select(&toc, &selection) else { continue };
        let _ = synthesise(&toc, map, &[], &chosen.entries, WithData::Yes);
        let plan = plan_jobs(&toc, map, &chosen.entries, 3);
        plan.data.iter().for_each(|part| {
            let _ = part.synthesise(&toc, map, &[]);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_map_does_not_depend_on_how_the_stream_is_split(
        sizes in prop::collection::vec(prop_oneof![1usize..8, 1usize..300, 1usize..70_000], 1..40),
        is_script: bool,
    ) {
        let stream: &[u8] = if is_script { &SCRIPT } else { &ARCHIVE };
        let mut rest = stream;
        let mut sizes = sizes.into_iter().cycle();
        let pushes = std::iter::from_fn(|| {
            let size = sizes.next()?.min(rest.len());
            let (push, others) = rest.split_at(size);
            rest = others;
            (!push.is_empty()).then_some(push)
        });
        prop_assert_eq!(verdict(pushes), Verdict::Whole(Some(Box::new(map(stream)))));
    }

    #[test]
    fn an_archive_cut_at_random_is_incomplete(at in 1usize..200_000, extra in prop::collection::vec(any::<u8>(), 0..3)) {
        let at = at.min(ARCHIVE.len() - 1);
        prop_assert!(matches!(verdict([&ARCHIVE[..at]]), Verdict::Incomplete(_)));
        let longer = [&ARCHIVE[..], &extra].concat();
        prop_assert_eq!(matches!(verdict([&longer[..]]), Verdict::Whole(_)), extra.is_empty());
    }

    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((prop_oneof![0usize..400, 0usize..12_000, 0usize..200_000], any::<u8>()), 1..12),
        is_script: bool,
    ) {
        let mut stream = if is_script { SCRIPT.clone() } else { ARCHIVE.clone() };
        for (at, byte) in changes {
            let len = stream.len();
            stream[at % len] = byte;
        }
        verdict(stream.chunks(1000));
        use_all(&stream, &map(&ARCHIVE));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        verdict([&[&b"PGDMP\x01\x0e\x00\x04\x08\x01"[..], &bytes].concat()[..]]);
        verdict([&[&b"--\n-- PostgreSQL database dump\n--\n\n"[..], &bytes].concat()[..]]);
        let _ = TableMap::decode(&bytes);
    }
}

#[test]
fn every_single_byte_of_a_header_and_its_contents_may_be_anything() {
    let small = archive(16, &[(7, "TABLE DATA", "t")], &table_block(7, &["1\n", "\\.\n\n\n"]));
    let whole = map(&small);
    for at in 0..small.len() {
        for byte in 0..=255 {
            let mut stream = small.clone();
            stream[at] = byte;
            verdict([&stream[..]]);
            use_all(&stream, &whole);
        }
    }
}
