//! Streams of every kind: whole, cut, followed by something, and hostile ones.

use super::*;
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};

fn inspect(stream: &[u8], piece: usize) -> Inspection {
    let mut inspector = Inspector::new();
    stream.chunks(piece).for_each(|bytes| inspector.push(bytes));
    inspector.finish()
}

/// Whole, however it is cut into pushes, and of this kind.
fn assert_whole(stream: &[u8], kind: Kind) {
    for piece in [1, 7, 4096, usize::MAX] {
        let found = inspect(stream, piece);
        assert_eq!(
            (found.kind, found.verdict, found.remarks),
            (kind, Verdict::Whole(None), vec![]),
            "{piece}"
        );
    }
}

/// Wherever it is cut, somebody notices.
fn assert_cut_is_noticed(stream: &[u8], from: usize) {
    let step = (stream.len() / 300).max(1);
    for cut in (from..stream.len()).step_by(step).chain([stream.len() - 1]) {
        let found = inspect(&stream[..cut], 1000);
        let Verdict::Incomplete(error) = found.verdict else { panic!("cut at {cut}: {found:?}") };
        assert!(error.is_cut_off(), "cut at {cut}: {error}");
    }
}

/// What one of the machine's programs makes of some bytes.
fn piped(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let feeder = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Bytes that compress somewhat.
fn data(bytes: usize) -> Vec<u8> {
    let mut state = 12_345u32;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"0123456789 some text\n"[(state >> 16) as usize % 21]
    };
    (0..bytes).map(byte).collect()
}

const COMPRESSORS: [(&str, &[&str], Kind); 9] = [
    ("gzip", &["-c"], Kind::Gzip),
    ("gzip", &["-1", "-c"], Kind::Gzip),
    ("bzip2", &["-c", "-1"], Kind::Bzip2),
    ("xz", &["-c", "-0"], Kind::Xz),
    ("xz", &["-c", "-0", "--block-size=50000", "--check=sha256"], Kind::Xz),
    ("zstd", &["-c", "-q"], Kind::Zstd),
    ("zstd", &["-c", "-q", "--no-check", "-B100000"], Kind::Zstd),
    ("lz4", &["-c", "-q"], Kind::Lz4),
    ("lz4", &["-c", "-q", "-BX", "--no-frame-crc"], Kind::Lz4),
];

#[test]
fn given_compressed_data_then_it_proves_that_it_is_whole() {
    for (program, args, kind) in COMPRESSORS {
        for plain in [data(300_000), data(100), Vec::new(), vec![0; 200_000]] {
            let stream = piped(program, args, &plain);
            assert_whole(&stream, kind);
            let from = if kind == Kind::Bzip2 { 10 } else { 8 };
            assert_cut_is_noticed(&stream, from);
            // Two of them make one.
            let twice = [&stream[..], &stream].concat();
            assert_whole(&twice, kind);
            let cut = inspect(&twice[..twice.len() - 1], 1000).verdict;
            assert!(
                matches!(cut, Verdict::Incomplete(ref error) if error.is_cut_off()),
                "{program}: {cut:?}"
            );
        }
    }
}

#[test]
fn given_compressed_data_that_was_changed_then_it_is_not_whole() {
    for (program, args, kind) in COMPRESSORS {
        let mut stream = piped(program, args, &data(50_000));
        // Their end is found without reading what is before it.
        if matches!(kind, Kind::Zstd | Kind::Lz4 | Kind::Bzip2) {
            continue;
        }
        let end = stream.len() - 6;
        stream[end] ^= 0x10;
        assert!(matches!(inspect(&stream, 500).verdict, Verdict::Incomplete(_)), "{program}");
    }
    let mut stream = piped("gzip", &["-c"], &data(50_000));
    stream[10_000] ^= 1;
    assert!(matches!(inspect(&stream, 500).verdict, Verdict::Incomplete(_)));
}

#[test]
fn given_other_bytes_behind_compressed_data_then_it_is_told() {
    for (program, args, kind) in COMPRESSORS {
        let mut stream = piped(program, args, &data(5000));
        let end = stream.len() as u64;
        stream.extend_from_slice(b"Done. All is well.\n");
        let found = inspect(&stream, 333);
        if kind == Kind::Xz {
            // Its end is sought from the end of the stream.
            assert!(matches!(found.verdict, Verdict::Incomplete(_)), "{found:?}");
            continue;
        }
        assert_eq!(found.verdict, Verdict::Whole(None), "{program}");
        assert_eq!(found.remarks, [Remark::Behind { offset: end }], "{program}");
    }
    let padded = [piped("gzip", &["-c"], b"text"), vec![0; 500]].concat();
    assert_whole(&padded, Kind::Gzip);
}

#[test]
fn given_a_tar_then_its_end_is_that_of_the_blocks_of_zeros() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one"), data(3000)).unwrap();
    std::fs::write(folder.path().join("x".repeat(200)), data(10)).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let mut tar = Command::new("tar");
        let path = folder.path().to_str().unwrap();
        tar.args(["--format", format, "-b1", "-cf", "-", "-C", path]);
        tar.args(if format == "ustar" { ["one"] } else { ["."] });
        let stream = tar.output().unwrap().stdout;
        assert_whole(&stream, Kind::Tar);
        assert_cut_is_noticed(&stream, 512);
    }
}

fn rdb(version: &str, content: &[u8], sum: Option<u64>) -> Vec<u8> {
    let mut file = [format!("REDIS{version}").as_bytes(), content, &[0xff]].concat();
    let own = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &file);
    file.extend(sum.unwrap_or(own).to_le_bytes());
    file
}

fn rdb_valkey(content: &[u8]) -> Vec<u8> {
    let mut file = [b"VALKEY080", content, &[0xff]].concat();
    let own = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, &file);
    file.extend(own.to_le_bytes());
    file
}

#[test]
fn given_a_redis_file_then_its_checksum_proves_it() {
    // The check value of Redis's own source.
    assert_eq!(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Redis, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    let values = data(20_000);
    let keys: Vec<u8> = values.chunks(50).flat_map(|value| [&[0, 1, b'k', 50], value].concat()).collect();
    let file = rdb("0011", &keys, None);
    // What is not known of a file's structure leaves its checksum to say whether it is whole.
    let unknown = inspect(&rdb("0099", &[&keys[..], &[99], &values].concat(), None), 100);
    assert_eq!(unknown.verdict, Verdict::Whole(None));
    assert_eq!(unknown.remarks, [Remark::NotKnown { offset: 9 + keys.len() as u64 }]);
    // A checksum that fits does not make up for what makes no sense: a length of none, one that leads too far, an end
    // before the end.
    for content in [
        &[&keys[..], &[0, 0xc9]].concat(),
        &[&keys[..], &[0, 1, b'k', 50]].concat(),
        &[&[0xff; 9], &keys[..]].concat(),
    ] {
        let wrong = inspect(&rdb("0011", content, None), 100);
        assert!(matches!(wrong.verdict, Verdict::Incomplete(ContentError::Damaged { .. })), "{wrong:?}");
    }
    assert_whole(&[&rdb_valkey(&keys)[..]].concat(), Kind::RedisRdb);
    let followed = inspect(&[&file[..], b"and more"].concat(), 100);
    assert!(!matches!(followed.verdict, Verdict::Whole(_)), "{followed:?}");
    let mut harmed = rdb("0011", &keys, Some(0));
    harmed[10] = 0xc9;
    assert!(!matches!(inspect(&harmed, 100).verdict, Verdict::Whole(_) | Verdict::Unknown));
    assert_whole(&file, Kind::RedisRdb);
    assert_cut_is_noticed(&file, 9);
    assert_eq!(inspect(&rdb("0011", &keys, Some(0)), 100).verdict, Verdict::Unknown);
    assert_eq!(inspect(&[&b"REDIS0003"[..], &keys, &[0xff]].concat(), 100).verdict, Verdict::Unknown);
    let append_only = rdb("0011", b"\xfa\x0caof-preamble\xc0\x01", None);
    let append_only = [&append_only[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    assert_eq!(inspect(&append_only, 100).verdict, Verdict::Unknown);
}

#[test]
fn given_a_mysql_dump_then_its_closing_comment_proves_it() {
    let dump = "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n-- Host: localhost\n\
                /*!40101 SET NAMES utf8 */;\nINSERT INTO `t` VALUES (1,'-- Dump completed');\n\n\
                -- Dump completed on 2026-11-27  3:00:00\n";
    assert_whole(dump.as_bytes(), Kind::Mysql { at: 0 });
    assert_cut_is_noticed(&dump.as_bytes()[..dump.len() - 30], 60);
    let warned = format!("mysqldump: [Warning] Using a password can be insecure.\n{dump}");
    let found = inspect(warned.as_bytes(), 50);
    assert_eq!(found.verdict, Verdict::Whole(None));
    assert_eq!(found.remarks, [Remark::TextBefore { bytes: 55, is_fatal: false }]);
    let followed = inspect(format!("{dump}Done.\n").as_bytes(), 50);
    assert_eq!(followed.remarks, [Remark::Behind { offset: dump.len() as u64 }]);
    let mariadb = dump.replace("-- MySQL dump", "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump");
    assert_whole(mariadb.as_bytes(), Kind::Mysql { at: 41 });
}

/// What `mariadb-dump` of MariaDB 10.11 writes, shortened between its first and its last lines.
const MARIADB: &str = "/*M!999999\\- enable the sandbox mode */ \n\
    -- MariaDB dump 10.19  Distrib 10.11.14-MariaDB, for debian-linux-gnu (x86_64)\n--\n\
    -- Host: localhost    Database: shop\n-- ------------------------------------------------------\n\
    -- Server version\t10.11.14-MariaDB-0+deb12u2\n\n\
    /*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n\
    /*!40000 ALTER TABLE `t` DISABLE KEYS */;\nINSERT INTO `t` VALUES\n(1,'x'),\n\
    (2,'-- Dump completed on 2026'),\n(3,'multi\\n-- Dump completed\\n');\n/*!40000 ALTER TABLE `t` ENABLE KEYS */;\n\
    /*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;\n/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n";

#[test]
fn given_a_dump_of_mariadb_then_its_closing_comment_proves_it_where_there_are_comments() {
    for end in ["-- Dump completed on 2026-11-27  6:48:47\n", "-- Dump completed\n"] {
        let dump = format!("{MARIADB}{end}");
        assert_whole(dump.as_bytes(), Kind::Mysql { at: 41 });
        assert_cut_is_noticed(MARIADB.as_bytes(), 200);
    }
    // `--skip-comments` and `--compact` write none, neither at the front nor at the end; `--xml` is another thing:
    // nothing is concluded.
    for other in [
        "/*M!999999\\- enable the sandbox mode */ \n\n/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n",
        "/*M!999999\\- enable the sandbox mode */ \n/*!40101 SET @saved_cs_client     = @@character_set_client */;\n",
        "\n/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n",
        "<?xml version=\"1.0\"?>\n<mysqldump xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n</mysqldump>\n",
    ] {
        let found = inspect(other.as_bytes(), 50);
        assert_eq!((found.kind, found.verdict), (Kind::Unknown, Verdict::Unknown), "{other}");
    }
}

/// A BSON document of texts, truths and the numbers that an archive's documents hold.
fn document(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        let kind = match (*name, *value) {
            (_, "true" | "false") => 8,
            ("concurrent_collections" | "size", _) => 16,
            ("CRC", _) => 18,
            _ => 2,
        };
        bytes.push(kind);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        match kind {
            8 => bytes.push(u8::from(*value == "true")),
            16 => bytes.extend(value.parse::<i32>().unwrap().to_le_bytes()),
            18 => bytes.extend(value.parse::<i64>().unwrap().to_le_bytes()),
            _ => {
                bytes.extend((value.len() as u32 + 1).to_le_bytes());
                bytes.extend_from_slice(value.as_bytes());
                bytes.push(0);
            }
        }
    }
    bytes.push(0);
    [&(bytes.len() as u32 + 4).to_le_bytes()[..], &bytes].concat()
}

#[test]
fn given_a_mongodb_archive_then_the_ends_of_its_collections_prove_it() {
    const MARK: [u8; 4] = [0xff; 4];
    let named = |name| document(&[("db", "shop"), ("collection", name), ("type", "collection")]);
    let block = |name| document(&[("db", "shop"), ("collection", name)]);
    let last = |name| document(&[("db", "shop"), ("collection", name), ("EOF", "true")]);
    let row = document(&[("name", &"x".repeat(300))]);
    let begun =
        [&mongo::MAGIC[..], &document(&[("version", "0.1")]), &named("a"), &named("b"), &MARK].concat();
    let a = [&block("a")[..], &row, &row, &MARK, &last("a"), &MARK].concat();
    let b = [&last("b")[..], &MARK].concat();
    let archive = [&begun[..], &a, &b].concat();
    assert_whole(&archive, Kind::MongoArchive);
    // Between two blocks, only what was begun is known to be missing.
    let between = [begun.len(), begun.len() + a.len()];
    for cut in (4..archive.len()).filter(|cut| !between.contains(cut)) {
        let verdict = inspect(&archive[..cut], 50).verdict;
        assert!(
            matches!(verdict, Verdict::Incomplete(ref error) if error.is_cut_off()),
            "{cut}: {verdict:?}"
        );
    }
    for cut in between {
        assert_eq!(inspect(&archive[..cut], 50).verdict, Verdict::Unknown);
    }
}

/// As `mongodump` writes them: every field of its documents, collections interleaved, one of them empty, a view, a time
/// series.
#[test]
fn given_a_mongodb_archive_of_several_collections_at_a_time_then_all_of_them_have_to_end() {
    const MARK: [u8; 4] = [0xff; 4];
    let described = |name, kind| {
        let metadata = format!("{{\"indexes\":[],\"collectionName\":\"{name}\",\"type\":\"{kind}\"}}");
        document(&[
            ("db", "shop"),
            ("collection", name),
            ("metadata", &metadata),
            ("size", "0"),
            ("type", kind),
        ])
    };
    let header = |name, is_end: &str, crc| {
        document(&[("db", "shop"), ("collection", name), ("EOF", is_end), ("CRC", crc)])
    };
    let row = document(&[("name", &"x".repeat(300))]);
    let rows = |name| [&header(name, "false", "0")[..], &row, &row, &MARK].concat();
    let end = |name| [&header(name, "true", "-6613219563454613456")[..], &MARK].concat();
    let versions = [
        ("concurrent_collections", "4"),
        ("version", "0.1"),
        ("server_version", "7.0.14"),
        ("tool_version", "100.10.0"),
    ];
    let prelude = [
        &mongo::MAGIC[..],
        &document(&versions),
        &described("a", "collection"),
        &described("b", "collection"),
        &described("none", "collection"),
        &described("shown", "view"),
        &described("sensed", "timeseries"),
        &MARK,
    ]
    .concat();
    let empty = [&header("none", "false", "0")[..], &MARK].concat();
    let measured = "system.buckets.sensed";
    let blocks = [rows("a"), rows("b"), empty, rows("a"), rows(measured), end("none"), end("a"), rows("b")];
    let archive = [prelude, blocks.concat(), end(measured), end("b")].concat();
    assert_whole(&archive, Kind::MongoArchive);
    // Whatever is cut off, one of them has not ended.
    let last = archive.len() - end("b").len();
    let verdict = inspect(&archive[..last], 50).verdict;
    assert!(matches!(verdict, Verdict::Incomplete(ref error) if error.is_cut_off()), "{verdict:?}");
}

const SCRIPT: &str = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.1\n\n\
    CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$ SELECT 'it''s' $$;\n\n\
    COPY public.t (a, b) FROM stdin;\n1\tone\n2\ttwo\n\\.\n\n\nCOPY public.none (a) FROM stdin;\n\\.\n\n\n\
    --\n-- PostgreSQL database dump complete\n--\n\n";

fn rows(inspection: &Inspection) -> Vec<(String, Option<u64>, u64, u64)> {
    let Verdict::Whole(Some(map)) = &inspection.verdict else { panic!("{inspection:?}") };
    map.tables.iter().map(|t| (t.name.to_owned(), t.rows, t.offset, t.data_bytes)).collect()
}

#[test]
fn given_a_script_with_other_line_ends_then_its_rows_are_counted_and_a_cut_is_noticed() {
    let plain = inspect(SCRIPT.as_bytes(), 9);
    assert!(plain.remarks.is_empty());
    let counted = rows(&plain);
    let windows = SCRIPT.replace('\n', "\r\n");
    for piece in [1, 2, 3, 5, 4096] {
        let found = inspect(windows.as_bytes(), piece);
        assert_eq!(found.remarks, [Remark::CarriageReturns]);
        let tables = rows(&found);
        let start = windows.find("1\tone").unwrap() as u64;
        assert_eq!(tables[0], ("t".into(), Some(2), start, 14));
        assert_eq!((&tables[1].0, tables[1].1, tables[1].3), (&"none".to_owned(), Some(0), 0));
    }
    assert_cut_is_noticed(&windows.as_bytes()[..windows.len() - 2], 40);
    let marked = format!("\u{feff}{SCRIPT}");
    let found = inspect(marked.as_bytes(), 100);
    assert_eq!((found.kind, &found.remarks[..]), (Kind::PgScript { at: 3 }, &[Remark::ByteOrderMark][..]));
    let moved: Vec<_> = counted.into_iter().map(|(n, r, offset, b)| (n, r, offset + 3, b)).collect();
    assert_eq!(rows(&found), moved);
    let recoded: Vec<u8> =
        [0xfeffu16].into_iter().chain(SCRIPT.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let found = inspect(&recoded, 100);
    assert_eq!(
        (found.kind, found.verdict, found.remarks),
        (Kind::Utf16, Verdict::Unknown, vec![Remark::Utf16])
    );
}

#[test]
fn given_text_around_a_script_then_it_is_told_and_the_dump_is_still_proven() {
    let before = inspect(format!("NOTICE: can't do \"that\nreally\n{SCRIPT}").as_bytes(), 60);
    assert_eq!(before.remarks, [Remark::TextBefore { bytes: 30, is_fatal: false }]);
    assert_eq!(rows(&before).len(), 2);
    // What somebody wrote to be run before and behind it is theirs.
    let wrapped = inspect(format!("SET ROLE owner;\n{SCRIPT}-- the end\n").as_bytes(), 60);
    assert_eq!((rows(&wrapped).len(), &wrapped.remarks[..]), (2, &[][..]));
    let end = SCRIPT.len() as u64;
    for behind in ["Done, it's all.\n", "ANALYZE;\n", "\\echo done\n"] {
        let found = inspect(format!("{SCRIPT}{behind}").as_bytes(), 60);
        assert_eq!(
            (rows(&found).len(), &found.remarks[..]),
            (2, &[Remark::Behind { offset: end }][..]),
            "{behind}"
        );
    }
    let twice = inspect(SCRIPT.repeat(2).as_bytes(), 60);
    assert_eq!((rows(&twice).len(), &twice.remarks[..]), (4, &[Remark::Several][..]));
    let cut = inspect(&SCRIPT.repeat(2).as_bytes()[..SCRIPT.len() + 100], 60);
    assert!(matches!(cut.verdict, Verdict::Incomplete(ref error) if error.is_cut_off()));
    let cluster = "--\n-- PostgreSQL database cluster dump\n--\n\nCREATE ROLE a;\n\\connect one\n\n";
    let cluster = format!(
        "{cluster}{SCRIPT}\\connect two\n\n{SCRIPT}--\n-- PostgreSQL database cluster dump complete\n--\n\n"
    );
    let found = inspect(cluster.as_bytes(), 60);
    assert_eq!((rows(&found).len(), &found.remarks[..]), (4, &[][..]));
}

#[test]
fn given_text_before_an_archive_then_it_is_told_and_nothing_is_proven() {
    let mut archive = Vec::new();
    // Header and no entries, as version 1.14 writes them.
    archive.extend_from_slice(b"PGDMP\x01\x0e\x00\x04\x08\x01");
    archive.extend_from_slice(&[0; 5 * 8]);
    archive.extend_from_slice(&[[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0; 5]].concat());
    assert!(matches!(inspect(&archive, 10).verdict, Verdict::Whole(Some(_))));
    let text = b"pg_dump: warning: something\n";
    let found = inspect(&[&text[..], &archive].concat(), 10);
    assert_eq!(found.kind, Kind::PgCustomBehindText { at: text.len() });
    assert_eq!(found.remarks, [Remark::TextBefore { bytes: text.len() as u64, is_fatal: true }]);
    assert_eq!(found.verdict, Verdict::Unknown);
    let cut = inspect(&[&text[..], &archive[..40]].concat(), 10);
    assert!(matches!(cut.verdict, Verdict::Incomplete(ref error) if error.is_cut_off()));
}

#[test]
fn given_what_nobody_recognises_then_it_is_unknown() {
    let noise: Vec<u8> = (0..9000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for stream in
        [&b"{\"a\": [1, 2]}\n"[..], b"HOME=/root\nPATH=/bin\n", b"hello\n", b"\0\0\0", &noise, b"P1"]
    {
        let found = inspect(stream, 100);
        assert_eq!((found.kind, found.verdict), (Kind::Unknown, Verdict::Unknown), "{stream:?}");
        assert_eq!(found.kind.word(), None);
    }
    assert_eq!(inspect(b"", 1).kind, Kind::Empty);
    assert_eq!(inspect(b"SELECT 1;\n", 1).kind, Kind::Sql);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever follows the first bytes of any kind, nothing panics, and the pushes make no difference.
    #[test]
    fn hostile_bytes_behind_any_beginning_are_dealt_with(
        start in prop::sample::select(vec![
            &b"\x1f\x8b\x08"[..], b"\x1f\x8b\x08\x1f", b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18",
            b"\x50\x2a\x4d\x18", b"REDIS0011", b"\x6d\xe2\x99\x81", b"PGDMP\x01\x0e", b"toc.dat\0", b"-- MySQL dump ",
            b"--\n-- PostgreSQL database dump\n", b"\xef\xbb\xbf", b"",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..6000),
        piece in 1usize..5000,
    ) {
        let stream = [start, &bytes].concat();
        prop_assert_eq!(inspect(&stream, piece), inspect(&stream, usize::MAX));
    }
}
