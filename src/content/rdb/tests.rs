use super::*;

/// A file, written by hand.
struct Writer(Vec<u8>);

impl Writer {
    fn new(magic: &str) -> Self {
        Self(magic.as_bytes().to_vec())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn length(self, length: u64) -> Self {
        match length {
            0..64 => self.bytes(&[length as u8]),
            64..16384 => self.bytes(&[0x40 | (length >> 8) as u8, length as u8]),
            _ => self.bytes(&[0x81]).bytes(&length.to_be_bytes()),
        }
    }

    fn text(self, text: &[u8]) -> Self {
        self.length(text.len() as u64).bytes(text)
    }

    fn key(self, kind: u8, key: &str) -> Self {
        self.bytes(&[kind]).text(key.as_bytes())
    }

    fn end(self) -> Vec<u8> {
        self.bytes(&[0xff]).bytes(&[1, 2, 3, 4, 5, 6, 7, 8]).0
    }
}

fn read_in(bytes: &[u8], piece: usize) -> (Structure, Survey) {
    let mut reader = Reader::new();
    bytes.chunks(piece).for_each(|piece| reader.push(piece));
    reader.finish()
}

fn read(bytes: &[u8]) -> (Structure, Survey) {
    read_in(bytes, bytes.len().max(1))
}

/// A key of every type, what may stand before one, and what belongs to none.
fn every_type() -> (Vec<u8>, u64) {
    let group = |writer: Writer, more: bool, active: bool| {
        let writer = writer.length(1).text(b"group").length(70_000).length(1);
        let writer = if more { writer.length(9) } else { writer };
        let writer = writer.length(1).bytes(&[7; 16]).bytes(&[8; 8]).length(3);
        let writer = writer.length(1).text(b"consumer").bytes(&[9; 8]);
        let writer = if active { writer.bytes(&[10; 8]) } else { writer };
        writer.length(1).bytes(&[7; 16])
    };
    let mut writer = Writer::new("REDIS0012")
        .bytes(&[0xfa])
        .text(b"redis-ver")
        .text(b"8.2.3")
        .bytes(&[0xfa])
        .text(b"ctime")
        .bytes(&[0xc2, 1, 2, 3, 4])
        .bytes(&[0xf5])
        .text(b"#!lua name=x")
        .bytes(&[0xf7])
        .length(1 << 40)
        .length(2)
        .length(1)
        .length(5)
        .text(b"of a module")
        .length(0)
        .bytes(&[0xfe, 0, 0xfb])
        .length(20)
        .length(2);
    writer = writer.bytes(&[0xf4]).length(1).length(2).length(3);
    writer =
        writer.bytes(&[0xfc, 1, 2, 3, 4, 5, 6, 7, 8, 0xf8]).length(100).key(0, "session:1").text(b"value");
    writer = writer.bytes(&[0xfd, 1, 2, 3, 4, 0xf9, 5]).key(0, "session:2").bytes(&[0xc0, 5]);
    writer = writer.key(0, "zipped").bytes(&[0xc3]).length(4).length(40).bytes(&[1, 2, 3, 4]);
    writer = writer.key(0, "wide").text(&[b'x'; 20_000]);
    for kind in [9, 10, 11, 12, 13, 16, 17, 20] {
        writer = writer.key(kind, "packed:x").text(b"packed");
    }
    for kind in [1, 2, 14] {
        writer = writer.key(kind, "list:x").length(2).text(b"a").bytes(&[0xc1, 1, 2]);
    }
    writer = writer.key(3, "z:1").length(2).text(b"a").bytes(&[3]).bytes(b"1.5").text(b"b").bytes(&[254]);
    writer = writer.key(5, "z:2").length(1).text(b"a").bytes(&[1; 8]);
    writer = writer.key(4, "h:1").length(1).text(b"field").text(b"value");
    writer = writer.key(24, "h:2").bytes(&[3; 8]).length(1).length(77).text(b"field").text(b"value");
    writer = writer.key(25, "h:3").bytes(&[3; 8]).text(b"pack");
    writer = writer.key(18, "l:1").length(2).length(2).text(b"pack").length(1).text(b"plain");
    writer = writer.key(7, "module:1").length(12345);
    writer = writer.length(1).length(1).length(2).length(2).length(3).bytes(&[0; 4]).length(4).bytes(&[0; 8]);
    writer = writer.length(5).text(b"text").length(0);
    writer = writer.key(15, "s:1").length(1).text(&[1; 16]).text(b"pack").length(1).length(2).length(3);
    writer = group(writer, false, false);
    for (kind, active) in [(19, false), (21, true)] {
        writer = writer.key(kind, "s:2").length(1).text(&[1; 16]).text(b"pack");
        for number in 1..=8 {
            writer = writer.length(number * 1000);
        }
        writer = group(writer, true, active);
    }
    let keys = 4 + 8 + 3 + 2 + 3 + 1 + 1 + 3;
    writer = writer.bytes(&[0xfe, 3]).key(0, "other").text(b"value");
    (writer.end(), keys + 1)
}

#[test]
fn every_type_and_opcode_is_passed_over_and_counted() {
    let (bytes, keys) = every_type();
    let (structure, survey) = read(&bytes);
    assert_eq!(structure, Structure::Whole);
    assert_eq!((survey.version, survey.is_valkey, survey.functions), (12, false, 1));
    assert_eq!(survey.fields[&b"redis-ver"[..]], b"8.2.3");
    assert_eq!(survey.fields[&b"ctime"[..]], b"67305985");
    assert_eq!(survey.keys(), keys);
    let session = survey.groups[&(0, b"session:".to_vec())];
    assert_eq!((session.keys, session.expiring), (2, 2));
    assert_eq!(session.bytes, (9 + 3 + 1 + 10 + 6) + (5 + 2 + 1 + 10 + 2));
    assert_eq!(survey.groups[&(0, b"packed:".to_vec())].keys, 8);
    assert_eq!(survey.groups[&(3, b"*".to_vec())], Group { keys: 1, bytes: 1 + 6 + 6, ..Group::default() });
}

#[test]
fn pieces_of_any_size_say_the_same() {
    let (bytes, _) = every_type();
    let whole = read(&bytes);
    for piece in [1, 2, 3, 7, 16, 1000] {
        assert!(read_in(&bytes, piece) == whole, "{piece}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_not_whole() {
    let (bytes, _) = every_type();
    for cut in 0..bytes.len() {
        let (structure, _) = read(&bytes[..cut]);
        assert!(matches!(structure, Structure::Cut(_)), "{cut}: {structure:?}");
    }
    let more = [&bytes[..], b"x"].concat();
    assert_eq!(read(&more).0, Structure::Followed(bytes.len() as u64));
}

#[test]
fn any_byte_may_be_any_other() {
    let (bytes, _) = every_type();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x40, 0x80, 0x81, 0x82, 0xc0, 0xc3, 0xc4, 0xfe, 0xff] {
            let mut harmed = bytes.clone();
            harmed[at] = value;
            read_in(&harmed, 5);
        }
    }
}

#[test]
fn what_is_not_known_ends_what_can_be_said() {
    let known = Writer::new("REDIS0099").key(0, "a").text(b"b").0;
    let unknown = [&known[..], &[99, 1, 2, 3]].concat();
    let (structure, survey) = read(&unknown);
    assert_eq!(structure, Structure::Unknown { at: known.len() as u64 });
    assert_eq!(survey.keys(), 1);
    // Valkey has another type of the same number.
    let hash = |magic| Writer::new(magic).key(22, "h").length(1).text(b"f").text(b"v").bytes(&[1; 8]).end();
    assert_eq!(read(&hash("VALKEY080")).0, Structure::Whole);
    assert!(matches!(read(&hash("REDIS0012")).0, Structure::Unknown { .. }));
    for bytes in [&b"REDIS00x1"[..], b"VALKEY08x", b"SOMETHING"] {
        assert!(matches!(read(bytes).0, Structure::Damaged { .. }), "{bytes:?}");
    }
    assert_eq!(read(&Writer::new("REDIS0003").key(0, "a").text(b"b").bytes(&[0xff]).0).0, Structure::Whole);
}

#[test]
fn lengths_that_are_said_take_no_memory() {
    let key = Writer::new("REDIS0011").bytes(&[0]).length(u64::MAX >> 1).0;
    let list = Writer::new("REDIS0011").key(1, "l").length(u64::MAX >> 1).0;
    for bytes in [key, list] {
        let mut reader = Reader::new();
        reader.push(&bytes);
        for _ in 0..100 {
            reader.push(&[1; 4096]);
        }
        assert!(reader.kept_bytes() <= 4096, "{}", reader.kept_bytes());
        assert_eq!(reader.finish().0, Structure::Cut("a value"));
    }
    // As many groups as there can be.
    let mut writer = Writer::new("REDIS0011");
    for database in [0, 1] {
        writer = writer.bytes(&[0xfe, database]);
        for number in 0..1000 {
            writer = writer.key(0, &format!("{number}:x")).text(b"v");
        }
    }
    let (_, survey) = read(&writer.end());
    assert_eq!(survey.keys(), 2000);
    assert!(survey.groups.len() <= 2 * (PREFIXES_MAX + 1), "{}", survey.groups.len());
}

#[test]
fn a_key_that_is_compressed_is_told_by_its_beginning() {
    // "aaaa…": a byte, then as it was one byte before.
    let key = [0x00, b'a', 0xe0, 20, 0x00, 0x03, b':', b'b', b'c', b'd'];
    let file = Writer::new("REDIS0011").bytes(&[0, 0xc3]).length(key.len() as u64).length(34).bytes(&key);
    let (structure, survey) = read(&file.text(b"value").end());
    assert_eq!(structure, Structure::Whole);
    let groups: Vec<_> = survey.groups.keys().collect();
    assert_eq!(groups, [&(0, [&[b'a'; 30][..], b":"].concat())]);
}

#[test]
fn a_cut_between_two_keys_is_told_from_one_within_a_key() {
    let first = Writer::new("REDIS0011").key(1, "l").length(2).text(b"a").text(b"b").0;
    let (structure, survey) = read(&first);
    assert_eq!(structure, Structure::Cut("the data: the end mark is missing"));
    assert_eq!(survey.keys(), 1);
    let mut within = first;
    // When the second key ends, and no key.
    within.extend([0xfc, 1, 2, 3, 4, 5, 6, 7, 8]);
    for cut in within.len() - 8..=within.len() {
        let (structure, survey) = read(&within[..cut]);
        assert_eq!((structure, survey.keys()), (Structure::Cut("a value"), 1), "{cut}");
    }
}

#[test]
fn keys_are_counted_by_type_and_by_whether_they_had_ended() {
    let seconds = 1_700_000_000u64;
    let ends = |writer: Writer, at: u64| writer.bytes(&[0xfc]).bytes(&at.to_le_bytes());
    let mut writer = Writer::new("REDIS0011").bytes(&[0xfa]).text(b"ctime").bytes(&[0xc2]);
    writer = writer.bytes(&(seconds as u32).to_le_bytes());
    writer = ends(writer, seconds * 1000 - 1).key(0, "a:1").text(b"v");
    writer = ends(writer, seconds * 1000 + 1).key(0, "a:2").text(b"v");
    writer = writer.bytes(&[0xfd]).bytes(&(seconds as u32 - 1).to_le_bytes()).key(0, "a:3").text(b"v");
    writer = writer.key(16, "a:4").text(b"v").key(7, "a:5").length(1).length(0);
    let (structure, survey) = read(&writer.end());
    assert_eq!(structure, Structure::Whole);
    let group = survey.groups[&(0, b"a:".to_vec())];
    assert_eq!((group.keys, group.expiring, group.expired), (5, 3, 2));
    let keys = |word| survey.types[&(0, word)].keys;
    assert_eq!((keys("string"), keys("hash"), keys("module")), (3, 1, 1));
    assert_eq!(survey.types[&(0, "string")].expired, 2);
}

#[test]
fn groups_are_bounded_over_all_databases() {
    let mut writer = Writer::new("REDIS0011");
    for database in 0..60 {
        writer = writer.bytes(&[0xfe, database]);
        for number in 0..200 {
            writer = writer.key(0, &format!("{number}:x")).text(b"v");
        }
    }
    let (_, survey) = read(&writer.end());
    assert_eq!(survey.keys(), 60 * 200);
    assert!(survey.groups.len() <= 4096 + 2 * 60, "{}", survey.groups.len());
}

fn ordered(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::with_places();
    bytes.chunks(7).for_each(|piece| reader.push(piece));
    let (structure, survey, places) = reader.finish_places();
    assert_eq!(structure, Structure::Whole);
    let mut ordered = Ordered::new(bytes.to_vec(), &survey, places).ok()?;
    let mut out = Vec::new();
    while ordered.next(&mut out) {}
    Some(out)
}

#[test]
fn files_of_the_same_data_are_the_same_in_order() {
    let key = |writer: Writer, name: &str| match name {
        "s" => writer.key(2, "s").length(2).text(b"one").text(b"two"),
        "ends" => writer.bytes(&[0xfc]).bytes(&9u64.to_le_bytes()).key(0, "ends").text(b"x"),
        name => writer.key(0, name).text(name.as_bytes()),
    };
    let file = |names: &[&str], idle: bool| {
        let mut writer =
            Writer::new("REDIS0011").bytes(&[0xfa]).text(b"ctime").text(if idle { b"12" } else { b"99" });
        writer = writer.bytes(&[0xfe]).length(0).bytes(&[0xfb]).length(4).length(1);
        for name in names {
            writer = if idle { writer.bytes(&[0xf8]).length(77) } else { writer };
            writer = key(writer, name);
        }
        writer.end()
    };
    let one = ordered(&file(&["a", "s", "ends", "b"], false)).unwrap();
    assert_eq!(one, ordered(&file(&["ends", "b", "a", "s"], true)).unwrap());
    let (structure, survey) = read(&one);
    assert_eq!((structure, survey.keys()), (Structure::Whole, 4));
    // Elements of a set are put in order, too.
    let set = |first: &[u8], second: &[u8]| {
        let writer = Writer::new("REDIS0011").bytes(&[0xfe]).length(0);
        ordered(&writer.key(2, "s").length(2).text(first).text(second).end()).unwrap()
    };
    assert_eq!(set(b"one", b"two"), set(b"two", b"one"));
    // A list has an order of its own.
    let list = |first: &[u8], second: &[u8]| {
        let writer = Writer::new("REDIS0011").bytes(&[0xfe]).length(0);
        ordered(&writer.key(1, "s").length(2).text(first).text(second).end()).unwrap()
    };
    assert_ne!(list(b"one", b"two"), list(b"two", b"one"));
}

#[test]
fn a_file_of_every_type_keeps_its_keys_in_order_and_one_with_more_than_keys_is_left_alone() {
    let (bytes, keys) = every_type();
    match ordered(&bytes) {
        Some(out) => assert_eq!(read(&out).1.keys(), keys),
        None => assert!(bytes.contains(&0xf7)),
    }
    let aux = Writer::new("REDIS0011").bytes(&[0xf7]).length(5).length(2).length(1).length(0);
    assert!(ordered(&aux.bytes(&[0xfe]).length(0).key(0, "a").text(b"x").end()).is_none());
}
