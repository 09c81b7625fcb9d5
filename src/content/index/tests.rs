use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd =
        prop::collection::vec(any::<u8>().prop_filter("none of a name", |b| !matches!(b, 0 | b'/')), 1..12);
    prop_oneof![odd, Just(b"a".to_vec()), Just(b"a-b".to_vec()), Just(b"\xff\xfe\n".to_vec())]
        .prop_filter("no name", |name| name != b"." && name != b"..")
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => prop::collection::vec(name(), 1..5).prop_map(|names| names.join(&b'/')),
        // 5,000 bytes and more, which no system call takes at once.
        1 => prop::collection::vec(Just(vec![b'x'; 250]), 20..22).prop_map(|names| names.join(&b'/')),
    ]
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Time { seconds, nanos })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (0..1u64 << 50, any::<[u8; 32]>()).prop_map(|(size, digest)| Kind::File { size, digest }),
        Just(Kind::Directory),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Kind::Symlink),
        // Sorts before whatever else there is here.
        Just(Kind::HardLink(b"\x01".to_vec())),
        (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Kind::CharDevice(major, minor)),
        (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| Kind::BlockDevice(major, minor)),
        Just(Kind::Fifo),
        Just(Kind::Socket),
        Just(Kind::Unreadable),
        Just(Kind::Vanished),
    ]
}

fn extra() -> impl Strategy<Value = Extra> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(ByteVec::from);
    let names = (bytes(), bytes());
    let xattrs = prop::collection::vec((bytes(), bytes()), 1..3);
    (prop::option::of(xattrs), prop::option::of(names), prop::option::of(time()), prop::option::of(".{0,9}"))
        .prop_map(|(xattrs, names, birth, reason)| Extra { xattrs, names, birth, reason, ..Extra::default() })
}

fn entry() -> impl Strategy<Value = (Kind, Extra, u32, Time, bool, Change)> {
    let change = (time(), any::<u64>(), any::<bool>());
    let change = change.prop_map(|(ctime, inode, is_clean)| Change { ctime, inode, is_clean });
    (kind(), extra(), 0u32..0o10000, time(), any::<bool>(), change)
}

/// Rows in order, as a walk would give them.
fn entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((path(), entry()), 0..most).prop_map(|rows| {
        let sorted: BTreeMap<Vec<Vec<u8>>, _> = rows
            .into_iter()
            .filter(|(path, _)| path.as_slice() > b"\x01".as_slice())
            .map(|(path, rest)| (path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect(), rest))
            .collect();
        let entry = |(names, (kind, extra, mode, mtime, is_torn, change)): (Vec<Vec<u8>>, _)| {
            let path = names.join(&b'/');
            let (uid, gid) = (1000, u32::MAX);
            Entry { row: Row { path, kind, mode, uid, gid, mtime, is_torn, is_old: false, extra }, change }
        };
        sorted.into_iter().map(entry).collect()
    })
}

fn write(entries: &[Entry]) -> (Vec<u8>, SectionMap) {
    let mut writer = IndexWriter::default();
    let mut bytes = Vec::new();
    for Entry { row, change } in entries {
        writer.push(row, change).unwrap();
        bytes.extend(writer.take());
    }
    let (last, map) = writer.finish();
    bytes.extend(last);
    (bytes, map)
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, IndexError> {
    let mut reader = IndexReader::new(Of::Files, bytes);
    let mut all = Vec::new();
    while let Some(section) = reader.section()? {
        all.extend(section);
    }
    Ok(all)
}

fn file(path: &str, size: u64) -> Row {
    let kind = Kind::File { size, digest: *blake3::hash(path.as_bytes()).as_bytes() };
    let (mtime, extra) = (Time { seconds: 1_700_000_000, nanos: 5 }, Extra::default());
    Row { path: path.into(), kind, mode: 0o644, uid: 1, gid: 2, mtime, is_torn: false, is_old: false, extra }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_come_back_as_they_were_and_are_written_the_same_again(entries in entries(60)) {
        let (bytes, map) = write(&entries);
        let back = read(&bytes).unwrap();
        prop_assert_eq!(&back, &entries);
        prop_assert_eq!(write(&back), (bytes.clone(), map.clone()));
        prop_assert_eq!(SectionMap::decode(&map.encode()).unwrap(), map.clone());
        // Each section by itself, where the map says that it is.
        let mut apart = Vec::new();
        for placed in map.placed() {
            let section = read_section(Of::Files, &bytes[placed.index.start as usize..placed.index.end as usize]).unwrap();
            prop_assert_eq!(&section[0].row.path, &placed.section.first);
            prop_assert_eq!(section.len() as u64, placed.section.rows);
            apart.extend(section);
        }
        prop_assert_eq!(apart, entries);
    }

    #[test]
    fn an_index_cut_at_any_byte_is_an_error(entries in entries(12)) {
        let (bytes, map) = write(&entries);
        for at in 0..bytes.len() {
            prop_assert!(read(&bytes[..at]).is_err(), "cut at {}", at);
        }
        prop_assert_eq!(read(&[&bytes[..], b"x"].concat()), Err(IndexError::GoesOn));
        let map = map.encode();
        for at in 0..map.len() {
            prop_assert!(SectionMap::decode(&map[..at]).is_err(), "map cut at {}", at);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        for (of, kind) in [(Of::Files, 1), (Of::Objects, 2)] {
            let whole = [of.magic(), &bytes[..]].concat();
            let _ = IndexReader::new(of, &whole[..]).section();
            let _ = read_section(of, &bytes);
            let _ = SectionMap::decode(&[&[0xa3, 0, 2, 1, kind][..], &bytes].concat());
        }
        let _ = SectionMap::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_is_an_error_or_another_index(entries in entries(20), at: prop::sample::Index, value: u8) {
        let (mut bytes, _) = write(&entries);
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(entries) = read(&bytes) {
            prop_assert_eq!(read(&write(&entries).0).unwrap(), entries);
        }
    }
}

#[test]
fn a_directory_stands_right_before_what_is_in_it() {
    let sorted = ["a", "a/b", "a/b/c", "a/b-c", "a-b", "a-b/x", "a.b", "ab"];
    for pair in sorted.windows(2) {
        assert_eq!(canonical(pair[0].as_bytes(), pair[1].as_bytes()), Ordering::Less, "{pair:?}");
        assert_eq!(canonical(pair[1].as_bytes(), pair[0].as_bytes()), Ordering::Greater, "{pair:?}");
    }
}

#[test]
fn a_file_more_changes_one_row_and_no_other_section() {
    let rows: Vec<Row> = (0..5000).map(|at| file(&format!("srv/data/{at:06}"), at)).collect();
    let all = |rows: &[Row]| {
        write(
            &rows.iter().map(|row| Entry { row: row.clone(), change: Change::default() }).collect::<Vec<_>>(),
        )
    };
    let (before, map) = all(&rows);
    let mut more = rows.clone();
    more.insert(2500, file("srv/data/002499-new", 7));
    let (after, map_after) = all(&more);
    assert!(map.sections.len() > 3, "{}", map.sections.len());
    let differ = map.sections.iter().zip(&map_after.sections).filter(|(one, other)| one != other);
    assert_eq!((map.sections.len(), differ.count()), (map_after.sections.len(), 1));
    let front = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    let back = before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count();
    // The rows behind the new one and the next are the same bytes, up to the columns at the end of the section.
    let behind = &before[front + 200..front + 1200];
    assert!(back > before.len() / 3 && after.windows(behind.len()).any(|bytes| bytes == behind));
    assert_eq!((map_after.rows(), map_after.data_bytes()), (5001, map.data_bytes() + 7));
}

#[test]
fn another_inode_changes_no_row() {
    let row = file("srv/x", 3);
    let with = |inode| write(&[Entry { row: row.clone(), change: Change { inode, ..Change::default() } }]).0;
    let (one, other) = (with(5), with(6));
    let differ: Vec<usize> = (0..one.len()).filter(|at| one[*at] != other[*at]).collect();
    // The last byte before the end marks.
    assert_eq!(differ, [one.len() - 3]);
}

#[test]
fn sections_end_where_they_would_grow_without_bound() {
    let paths = (0..).map(|at| format!("f{at:08}")).filter(|path| !restarts(path.as_bytes()));
    let entries: Vec<Entry> = paths
        .take(SECTION_ROWS_MAX + 10)
        .map(|path| Entry { row: file(&path, 1), change: Change::default() })
        .collect();
    let (bytes, map) = write(&entries);
    assert_eq!(map.sections.iter().map(|s| s.rows).collect::<Vec<_>>(), [SECTION_ROWS_MAX as u64, 10]);
    assert_eq!(read(&bytes).unwrap().len(), entries.len());
}

#[test]
fn a_length_that_is_announced_takes_no_memory_before_it_comes() {
    // 2 MiB are allowed, and 3 bytes come.
    let mut bytes = Of::Files.magic().to_vec();
    wire::put_number(&mut bytes, ROW_BYTES_MAX as u64);
    bytes.extend(b"abc");
    assert_eq!(read(&bytes), Err(IndexError::CutShort));
    let mut bytes = Of::Files.magic().to_vec();
    wire::put_number(&mut bytes, ROW_BYTES_MAX as u64 + 1);
    assert_eq!(read(&bytes), Err(malformed("a length too large")));
}

#[test]
fn paths_that_lead_elsewhere_are_neither_written_nor_read() {
    for path in ["/etc", "a/../b", "..", ".", "a//b", "a/", "a\0b", "a/./b"] {
        assert_eq!(
            IndexWriter::default().push(&file(path, 1), &Change::default()),
            Err(malformed("a path that is none")),
            "{path}"
        );
    }
    // A good one, made bad behind the writer's back.
    let (bytes, _) = write(&[Entry { row: file("ax/b", 1), change: Change::default() }]);
    let at = bytes.windows(4).position(|four| four == b"ax/b").unwrap();
    let mut bad = bytes.clone();
    bad[at..at + 4].copy_from_slice(b"../b");
    assert_eq!(read(&bad), Err(malformed("a path that is none")));
    let mut writer = IndexWriter::default();
    writer.push(&file("b", 1), &Change::default()).unwrap();
    assert_eq!(writer.push(&file("a", 1), &Change::default()), Err(malformed("rows out of order")));
}

#[test]
fn keys_of_any_bytes_are_kept_in_their_plain_order_and_are_no_files() {
    let keys: [&[u8]; 9] = [b"", b"\x01\xff", b"../x", b"/", b"//", b"a", b"a-b", b"a/", b"a/b"];
    let row = |key: &[u8]| Row { path: key.to_vec(), ..file("", 3) };
    let mut writer = IndexWriter::new(Of::Objects);
    for key in keys {
        let mut row = row(key);
        row.extra.etag = Some("0123".to_owned());
        let content_type = Some("text/plain".to_owned());
        row.extra.facts = Some(Facts { content_type, ..Facts::default() });
        writer.push(&row, &Change::default()).unwrap();
    }
    let (bytes, map) = writer.finish();
    assert!(bytes.starts_with(b"DVOIDX1\n"));
    assert_eq!(SectionMap::decode(&map.encode()).unwrap(), map);
    let mut reader = IndexReader::new(Of::Objects, &bytes[..]);
    let mut read = Vec::new();
    while let Some(section) = reader.section().unwrap() {
        read.extend(section.into_iter().map(|entry| entry.row.path));
    }
    assert_eq!(read, keys);
    assert_eq!(IndexReader::new(Of::Files, &bytes[..]).section(), Err(IndexError::NotAnIndex));
    let mut writer = IndexWriter::new(Of::Objects);
    writer.push(&row(b"a"), &Change::default()).unwrap();
    assert!(writer.push(&row(b"a"), &Change::default()).is_err());
    let old = Row { is_old: true, ..row(b"a") };
    writer.push(&old, &Change::default()).unwrap();
    writer.push(&old, &Change::default()).unwrap();
    let (versions, map) = writer.finish();
    assert_eq!(map.sections[0].rows, 3);
    let section = IndexReader::new(Of::Objects, &versions[..]).section().unwrap().unwrap();
    assert_eq!(section.iter().map(|entry| entry.row.is_old).collect::<Vec<_>>(), [false, true, true]);
    assert!(IndexWriter::default().push(&Row { is_old: true, ..file("a", 1) }, &Change::default()).is_err());
    let mut writer = IndexWriter::new(Of::Objects);
    let directory = Row { kind: Kind::Directory, ..row(b"a") };
    assert!(writer.push(&directory, &Change::default()).is_err());
    assert!(writer.push(&row(&vec![b'k'; PATH_BYTES_MAX + 1]), &Change::default()).is_err());
    assert!([&b"a/b"[..], b"\xff"].into_iter().all(is_path));
    let none: [&[u8]; 8] = [b"", b"/a", b"a//b", b"a/", b"../x", b"a/./b", b"a\0", &[b'n'; 256]];
    assert!(!none.into_iter().any(is_path));
}

#[test]
fn holes_are_no_data_and_lie_within_the_file() {
    let with = |holes: &[u64]| {
        let mut row = file("sparse", 100);
        row.extra.holes = Some(holes.to_vec());
        row
    };
    assert_eq!(with(&[0, 10, 50, 50]).data_bytes(), 40);
    assert!(with(&[0, 100]).data_digest().is_none());
    let entries = [Entry { row: with(&[0, 10, 50, 50]), change: Change::default() }];
    assert_eq!(read(&write(&entries).0).unwrap(), entries);
    for bad in [&[0u64, 101][..], &[5], &[10, 5, 15, 5], &[10, 5, 12, 1], &[0, 0], &[u64::MAX, 2]] {
        assert!(with(bad).check(Of::Files).is_err(), "{bad:?}");
    }
}

#[test]
fn attributes_of_later_versions_are_passed_over() {
    let mut extra = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut extra);
    encoder
        .map(2)
        .unwrap()
        .u8(4)
        .unwrap()
        .str("why")
        .unwrap()
        .u8(99)
        .unwrap()
        .array(1)
        .unwrap()
        .u8(1)
        .unwrap();
    let read: Extra = minicbor::decode(&extra).unwrap();
    assert_eq!(read, Extra { reason: Some("why".to_owned()), ..Extra::default() });
}
