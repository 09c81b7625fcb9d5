use super::*;
use proptest::prelude::*;

/// Encoded, decoded, compared; the stored bytes, if it has rows.
fn there_and_back(encoder: &mut Encoder, decoder: &mut Decoder, plain: &[u8]) -> Option<Vec<u8>> {
    let mut stored = vec![9];
    if !encoder.encode(plain, 1, &mut stored).unwrap() {
        assert_eq!(stored, [9]);
        return None;
    }
    let mut back = vec![7; 3];
    decoder.decode(&stored[1..], plain.len(), &mut back).unwrap();
    assert!(
        back == plain,
        "{:?} became {:?}",
        String::from_utf8_lossy(plain),
        String::from_utf8_lossy(&back)
    );
    stored.remove(0);
    Some(stored)
}

fn frame(row: &[u8]) -> Vec<u8> {
    [&[0], &(row.len() as u32).to_le_bytes()[..], row].concat()
}

/// Values that are nearly of a type: whoever takes one of them for what it is not gives other bytes back.
const ODD: &[&str] = &[
    "\\N",
    "",
    "\\\\",
    "\\t",
    "\\n",
    "\\\\N",
    "-0",
    "0",
    "00",
    "-",
    "+1",
    "1e5",
    "007",
    "-7",
    "9223372036854775807",
    "-9223372036854775808",
    "1234567890123456789",
    "999999999999999999",
    "-99999999999999999",
    "100000000",
    "12345678901",
    "1.0",
    "1.00",
    "-0.00",
    "-0.50",
    "01.50",
    ".50",
    "1.",
    "0.000000000001",
    "12345678901234.56",
    "2024-02-29",
    "2023-02-29",
    "1900-02-29",
    "2000-02-29",
    "0000-01-01",
    "0000-02-29",
    "0000-12-31 23:59:59",
    "0001-01-01",
    "0001-01-01 00:00:00+00",
    "9999-12-31",
    "9999-12-31 23:59:59.999999+14",
    "10000-01-01",
    "10000-02-29 00:00:00-12",
    "2024-13-01",
    "2024-00-10",
    "2024-04-31",
    "2024-01-01 BC",
    "2024-02-29 23:59:59",
    "2024-02-29 23:59:59.5",
    "2024-02-29 23:59:59.50",
    "2024-02-29 23:59:59.123456",
    "2024-02-29 23:59:59.1234567",
    "2024-02-29 24:00:00",
    "2024-02-29 23:59:60",
    "2024-02-29 23:59:59+00",
    "2024-02-29 23:59:59.25+05:30",
    "2024-02-29 23:59:59-03:30:15",
    "2024-02-29 00:00:00.",
    "2024-02-29T23:59:59Z",
    "infinity",
    "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
    "6F9619FF-8B86-D011-B42D-00CF4FC964FF",
    "6f9619FF-8b86-D011-b42d-00cf4fc964ff",
    "6f9619ff-8b86-d011-b42d-00cf4fc964f",
    "6f9619ff08b86-d011-b42d-00cf4fc964ff",
    "\\\\x00ff",
    "deadbeef",
    "DEADBEEF",
    "abc",
    "{\"a\": 1, \"b\": \"x\"}",
    "{\"a\": \"\\\\\"\", \"b\": 2}",
    "{\"a\": \"it's\", \"b\": \"\"}",
    "{\\\\\"a\\\\\": \\\\\"x\\\\\"}",
    "{'a': \"b\", `c`: \"“d”\"}",
    "[\"a\", \"b\", [\"\"], {}]",
    "$$\"$$",
    "\"",
    "\"\"\"\"",
    "'",
    "a@b.example",
    "10.0.0.1",
    "a,b,,c",
    "é",
    "word",
    "word word",
    "t",
    "f",
];

fn column() -> impl Strategy<Value = Vec<String>> {
    let odd = prop::sample::select(ODD).prop_map(str::to_owned);
    let one = prop_oneof![
        any::<i64>().prop_map(|it| it.to_string()),
        (-50i64..50).prop_map(|it| it.to_string()),
        (0i64..100_000).prop_map(|it| format!("{}.{:02}", it / 100, it % 100)),
        (1u32..10_000, 1u32..13, 1u32..32).prop_map(|(y, m, d)| format!("{y:04}-{m:02}-{d:02}")),
        (0u32..24, 0u32..60, 0u32..1_000_000)
            .prop_map(|(h, s, f)| format!("2024-02-29 {h:02}:30:{s:02}.{f:06}+02")),
        any::<u128>().prop_map(|it| {
            let hex = format!("{it:032x}");
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }),
        "[a-f0-9]{4,40}",
        "[a-z]{1,8}@[a-z]{1,8}\\.example",
        "(\\{\"id\": [0-9]{1,5}, \"name\": \"[ -!#-~]{0,12}\"\\})",
        "[^\\t\\n]{0,60}",
    ];
    let alike = (odd.clone(), 0usize..4, prop::collection::vec(prop::sample::select(ODD), 0..3));
    let few = alike.prop_map(|(word, _, others)| {
        let mut rows = vec![word; 60];
        rows.iter_mut().skip(7).step_by(11).zip(others).for_each(|(row, other)| *row = other.to_owned());
        rows
    });
    prop_oneof![
        prop::collection::vec(odd, 60),
        prop::collection::vec(one, 60),
        few,
        prop::sample::select(vec![
            "{}",
            "a{}",
            "{}z",
            "{:05}",
            "2024-02-{:02}",
            "x,{},y",
            "1.{:02}",
            "\"{}\""
        ])
        .prop_map(|form| (0..60)
            .map(|it| form
                .replace("{:05}", &format!("{it:05}"))
                .replace("{:02}", &format!("{:02}", it % 29 + 1))
                .replace("{}", &it.to_string()))
            .collect()),
    ]
}

/// Rows, some ragged, framed or not, with something between.
fn dump() -> impl Strategy<Value = Vec<u8>> {
    let shape = (any::<bool>(), 0usize..60, any::<bool>());
    (prop::collection::vec(column(), 1..6), 0usize..61, shape).prop_map(
        |(columns, rows, (is_framed, broken, is_other))| {
            let mut plain = if is_other { b"COPY t (a, b) FROM stdin;\n".to_vec() } else { Vec::new() };
            for row in 0..rows {
                let mut line: Vec<&str> =
                    columns.iter().map(|column| column[row % column.len()].as_str()).collect();
                if is_other && row == broken {
                    line.push("ragged");
                }
                let line = line.join("\t") + "\n";
                plain.extend(if is_framed { frame(line.as_bytes()) } else { line.into_bytes() });
            }
            plain
        },
    )
}

/// Runs of rows of their own widths, many of one row, many too short to be worth it; and rows whose width changes from
/// one to the next.
fn ragged() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![Just(1), 1usize..4, ROWS_MIN - 2..ROWS_MIN + 3, Just(40)];
    let run = (lengths, 1usize..6, 0usize..ODD.len(), any::<bool>(), any::<bool>());
    prop::collection::vec(run, 1..12).prop_map(|runs| {
        let mut plain = Vec::new();
        for (rows, columns, first, is_framed, is_uneven) in runs {
            for row in 0..rows {
                let columns = columns + if is_uneven { row % 3 } else { 0 };
                let values = (0..columns).map(|column| ODD[(first + column + row / 20) % ODD.len()]);
                let line = values.collect::<Vec<_>>().join("\t") + "\n";
                plain.extend(if is_framed { frame(line.as_bytes()) } else { line.into_bytes() });
            }
        }
        plain
    })
}

/// A block with columns of every kind.
pub(super) fn every_kind(rows: u32, is_framed: bool) -> Vec<u8> {
    let mut plain = b"-- a table\nCOPY t FROM stdin;\n".to_vec();
    for row in 0..rows {
        let noise = u64::from_le_bytes(*blake3::hash(&row.to_le_bytes()).as_bytes().first_chunk().unwrap());
        let special = if row % 3 == 0 { "\\N".to_owned() } else { (noise % 1000).to_string() };
        let word = ["new", "paid", "sent"][(noise % 3) as usize];
        let line = [
            row.to_string(),
            (noise as i64 / 1000).to_string(),
            format!("{}.{:02}", noise % 900, noise % 100),
            format!("20{:02}-{:02}-{:02}", noise % 30, noise % 12 + 1, noise % 28 + 1),
            format!(
                "2024-02-29 {:02}:{:02}:{:02}.{:03}5+01",
                noise % 24,
                noise % 60,
                noise % 59,
                noise % 1000
            ),
            format!("{noise:08x}-0000-4000-8000-{noise:012x}").chars().take(36).collect(),
            word.to_owned(),
            special,
            format!("SKU-{:06}", noise % 1_000_000),
            format!("{noise:x}"),
            format!("{{\"id\": {row}, \"s\": \"{word}\", \"n\": \"{}\"}}", noise % 77),
            format!("u{}@{}.example", noise % 999, word),
            format!("some text of {noise} and {word}{}", "!".repeat((noise % 5) as usize)),
            "constant".to_owned(),
        ]
        .join("\t")
            + "\n";
        plain.extend(if is_framed { frame(line.as_bytes()) } else { line.into_bytes() });
    }
    plain
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_back_byte_for_byte(dumps in prop::collection::vec(dump(), 1..4)) {
        // One encoder for all: a plan of one table must not spoil another.
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for plain in &dumps {
            there_and_back(&mut encoder, &mut decoder, plain);
        }
        there_and_back(&mut encoder, &mut decoder, &dumps.concat());
        there_and_back(&mut encoder, &mut decoder, &dumps[0]);
    }

    #[test]
    fn ragged_and_one_row_runs_come_back(dumps in prop::collection::vec(ragged(), 1..4)) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for plain in dumps.iter().chain([&dumps.concat()]) {
            there_and_back(&mut encoder, &mut decoder, plain);
        }
    }

    #[test]
    fn a_block_cut_anywhere_comes_back(is_framed: bool, start in 0usize..6000, end in 0usize..6000) {
        let plain = every_kind(60, is_framed);
        let start = start.min(plain.len());
        there_and_back(&mut Encoder::default(), &mut Decoder::default(), &plain[start..plain.len() - end.min(plain.len() - start)]);
    }

    #[test]
    fn any_bytes_are_dealt_with(bytes in prop::collection::vec(any::<u8>(), 0..600), plain_bytes in 0usize..5000) {
        let mut plain = Vec::new();
        if Decoder::default().decode(&bytes, plain_bytes, &mut plain).is_ok() {
            prop_assert_eq!(plain.len(), plain_bytes);
        }
        there_and_back(&mut Encoder::default(), &mut Decoder::default(), &bytes);
    }

    #[test]
    fn values_are_parsed_only_as_they_are_written(text in "[-0-9.: +]{0,27}", scale in 1usize..13) {
        let whole = value::Field { start: 0, end: text.len() as u32 };
        let written = |write: &dyn Fn(&mut output::Output<'_>)| {
            let mut bytes = vec![0; 200];
            let mut out = output::Output::new(&mut bytes);
            write(&mut out);
            let len = out.len();
            String::from_utf8(bytes[..len].to_vec()).unwrap()
        };
        if let Some(value) = value::int(text.as_bytes(), whole) {
            prop_assert_eq!(&value.to_string(), &text);
        }
        if let Some(value) = value::date(text.as_bytes()) {
            prop_assert_eq!(written(&|out| out.date(value as u32).unwrap()), text.clone());
        }
        if let Some(value) = value::decimal(text.as_bytes(), whole, scale) {
            prop_assert_eq!(value.to_string().replace('-', ""), text.replace(['-', '.'], "").trim_start_matches('0').to_owned());
        }
    }
}

#[test]
fn every_day_and_every_number_of_digits_comes_back() {
    let mut bytes = vec![0; 200];
    for day in value::DAYS {
        let mut out = output::Output::new(&mut bytes);
        out.date(day as u32).unwrap();
        assert_eq!(value::date(&bytes[..10]), Some(day));
    }
    let edges = value::TENS.iter().flat_map(|ten| [ten - 1, *ten, ten + 1]);
    for number in edges.chain([i64::MAX, 12_345_678, 98_765_432_109_876_543]) {
        let mut out = output::Output::new(&mut bytes);
        out.number(number as u64).unwrap();
        let len = out.len();
        assert_eq!(bytes[..len], *number.to_string().as_bytes());
        let text = [b"padding!", &bytes[..len]].concat();
        let field = value::Field { start: 8, end: text.len() as u32 };
        assert_eq!(value::int(&text, field), (len <= 18).then_some(number));
    }
}

/// One form a kind of column: whoever takes the odd value among such rows for one of theirs gives other bytes back.
const FORMS: [fn(u32) -> String; 14] = [
    |row| (row * 7919 % 1000).to_string(),
    |row| (u64::from(row) * 1_234_567_890_123_457).to_string(),
    |row| format!("-{}.{:02}", row % 90, row % 100),
    |row| format!("{:04}-{:02}-{:02}", 1 + row * 37 % 9999, row % 12 + 1, row % 28 + 1),
    |row| format!("2024-02-29 {:02}:30:{:02}.5+02", row % 24, row % 60),
    |row| format!("2024-02-29 {:02}:30:{:02}", row % 24, row % 60),
    |row| format!("{:08x}-0000-4000-8000-{:012x}", row.wrapping_mul(2_654_435_761), row),
    |row| ["yes", "no", "perhaps"][row as usize % 3].to_owned(),
    |row| format!("SKU-{:06}-x", row * 31),
    |row| format!("{:x}", row.wrapping_mul(2_654_435_761)),
    |row| format!("{{\"id\": {row}, \"s\": \"w{}\"}}", row % 7),
    |row| format!("{:05}", row * 13),
    |row| if row % 3 == 0 { "\\N".to_owned() } else { format!("text {row}{}", "!".repeat(row as usize % 4)) },
    |_| "the same".to_owned(),
];

/// Once, a few times and at both ends of a run, framed or not: alone the value is text, among many it has to be told.
#[test]
fn every_odd_value_among_rows_of_every_kind_comes_back() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut by_column = 0;
    for (form, odd) in FORMS.iter().flat_map(|form| ODD.iter().map(move |odd| (form, odd))) {
        for (places, is_framed) in [(&[20][..], false), (&[0, 39], true), (&[3, 4, 17, 25], false)] {
            let mut plain = Vec::new();
            for row in 0..40 {
                let value = if places.contains(&row) { (*odd).to_owned() } else { form(row) };
                let line = format!("{row}\t{value}\tend\n").into_bytes();
                plain.extend(if is_framed { frame(&line) } else { line });
            }
            by_column += usize::from(there_and_back(&mut encoder, &mut decoder, &plain).is_some());
        }
    }
    assert_eq!(by_column, FORMS.len() * ODD.len() * 3);
}

#[test]
fn every_kind_of_column_comes_back_and_is_smaller() {
    for is_framed in [false, true] {
        let plain = every_kind(3000, is_framed);
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let stored = there_and_back(&mut encoder, &mut decoder, &plain).unwrap();
        let zstd = zstd::bulk::compress(&plain, 1).unwrap();
        assert!(stored.len() * 10 < zstd.len() * 8, "{} and {}", stored.len(), zstd.len());
        // With the plans of the first, the second is as small.
        let again = there_and_back(&mut encoder, &mut decoder, &plain).unwrap();
        assert!(again.len() <= stored.len() + stored.len() / 100);
    }
}

#[test]
fn a_frame_cut_at_every_byte_comes_back() {
    let plain = every_kind(40, true);
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let row = plain.len() / 41;
    for cut in 0..2 * row {
        there_and_back(&mut encoder, &mut decoder, &plain[cut..]);
        there_and_back(&mut encoder, &mut decoder, &plain[..plain.len() - cut]);
    }
}

#[test]
fn a_changed_block_is_an_error_or_of_the_promised_length_and_takes_bounded_memory() {
    let plain = every_kind(60, true);
    let stored = there_and_back(&mut Encoder::default(), &mut Decoder::default(), &plain).unwrap();
    // What is inside the frames, too: as somebody with a stolen key would write it.
    let mut decoder = Decoder::default();
    let mut back = Vec::new();
    let mut same = 0;
    for bit in 0..stored.len() * 8 {
        let mut changed = stored.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if decoder.decode(&changed, plain.len(), &mut back).is_ok() {
            assert_eq!(back.len(), plain.len());
            same += usize::from(back == plain);
        }
        let held = decoder.memory_bytes() + back.capacity();
        assert!(held <= 4 * plain.len(), "{held} bytes for a block of {}", plain.len());
    }
    // A zstd frame has bits that mean nothing.
    assert!(same * 100 < stored.len() * 8, "{same} changes do nothing");
    for len in 0..stored.len() {
        assert!(decoder.decode(&stored[..len], plain.len(), &mut back).is_err());
    }
    assert!(decoder.decode(&stored, plain.len() - 1, &mut back).is_err());
    assert!(decoder.decode(&stored, plain.len() + 1, &mut back).is_err());
}

/// A block as somebody writes it who wants to hurt: any description, any streams.
fn forged(head: &[u8], streams: &[Vec<u8>]) -> Vec<u8> {
    let mut small = Vec::new();
    put_varint(&mut small, head.len() as u64);
    small.extend_from_slice(head);
    streams.iter().for_each(|stream| small.extend_from_slice(stream));
    let frame = zstd::bulk::compress(&small, 1).unwrap();
    let mut stored = Vec::new();
    for number in [small.len(), frame.len(), streams.len()] {
        put_varint(&mut stored, number as u64);
    }
    streams.iter().for_each(|stream| put_varint(&mut stored, (stream.len() as u64) << 2 | how::SMALL));
    stored.extend(frame);
    stored
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn forged_descriptions_are_dealt_with(
        rows in 16u8..40,
        columns in 1u8..6,
        tree in prop::collection::vec(prop_oneof![0u8..14, 0u8..3, any::<u8>()], 0..80),
        streams in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), 0u8..4, any::<u8>()], 0..80), 0..12),
    ) {
        let head = [&[0, rows, columns << 1][..], &tree].concat();
        let streams = [vec![Vec::new()], streams].concat();
        let stored = forged(&head, &streams);
        let mut plain = Vec::new();
        // Text and planes of as many bytes as rows pass the first checks.
        let fitted: Vec<_> = streams.iter().map(|it| it.iter().copied().cycle().take(usize::from(rows)).collect()).collect();
        for stored in [stored, forged(&head, &fitted)] {
            for plain_bytes in [200, 1000, 3000] {
                if Decoder::default().decode(&stored, plain_bytes, &mut plain).is_ok() {
                    prop_assert_eq!(plain.len(), plain_bytes);
                }
            }
        }
    }
}

#[test]
fn a_bomb_of_columns_is_refused_without_its_memory() {
    let deep = [&[0, 16, 2][..], &[tag::AFFIX, 0, 0].repeat(100_000)].concat();
    let wide = [&[0, 16, 0xe8, 0x07][..], &[tag::SAME, 0].repeat(10_000)].concat();
    let long = [&[0, 0xff, 0xff, 0xff, 0xff, 0x0f, 2][..], &[tag::SAME, 0]].concat();
    for head in [deep, wide, long] {
        let mut decoder = Decoder::default();
        let mut plain = Vec::new();
        assert!(decoder.decode(&forged(&head, &[Vec::new()]), 100_000, &mut plain).is_err());
        assert!(decoder.memory_bytes() + plain.capacity() < 400_000);
    }
}

#[test]
fn what_has_no_rows_is_left_alone() {
    let mut noise = vec![0; 100_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let few = every_kind(15, false);
    for plain in [&noise[..], b"", b"\n", b"one line", &few] {
        assert_eq!(there_and_back(&mut Encoder::default(), &mut Decoder::default(), plain), None);
    }
}
