//! What the golden repositories' streams hold: pure functions of a name, the same for ever.

/// Text rows of a table as `COPY` writes them: `count` rows, of which every `changed`-th (0: none) has another value.
fn rows(seed: u64, count: u32, changed: u32) -> Vec<u8> {
    let mut text = Vec::new();
    for row in 0..count {
        let version = u64::from(changed != 0 && row % changed == 0);
        let digest = blake3::hash(&[seed, u64::from(row), version].map(u64::to_le_bytes).concat());
        text.extend_from_slice(format!("{row}\torder {}\t{}\n", &digest.to_hex()[..20], row % 97).as_bytes());
    }
    text
}

/// A dump of one table in plain SQL.
fn dump(rows: &[u8]) -> Vec<u8> {
    let head = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.14\n\n\
                CREATE TABLE public.orders (id integer, what text, customer integer);\n\n\
                COPY public.orders (id, what, customer) FROM stdin;\n";
    let end = "\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n";
    [head.as_bytes(), rows, end.as_bytes()].concat()
}

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise
}

/// The stream with that name.
pub fn content(name: &str) -> Vec<u8> {
    match name {
        "empty" => Vec::new(),
        "one byte" => vec![b'x'],
        "zeros" => vec![0; 700_000],
        "noise" => noise(1, 20_000),
        "globals" => b"CREATE ROLE app LOGIN;\nCREATE ROLE backup REPLICATION;\n".to_vec(),
        "app day 0" => rows(1, 900, 0),
        "app day 1" => rows(1, 900, 90),
        "app day 2" => rows(1, 905, 45),
        "cache" => rows(2, 400, 0),
        "shop day 0" => dump(&rows(5, 1500, 0)),
        "shop day 1" => dump(&rows(5, 1500, 90)),
        "shop day 2" => dump(&rows(5, 1510, 45)),
        "mixed" => [rows(3, 200, 0), noise(3, 9_000), vec![b'\n'; 12_000], rows(3, 200, 7)].concat(),
        "swapped 0" => rows(4, 40, 0),
        _ => match name.strip_prefix("swapped ").and_then(|number| number.parse::<u32>().ok()) {
            Some(number) => {
                let mut bytes = content("swapped 0");
                let len = bytes.len();
                (1..=number).for_each(|number| bytes.rotate_left(swapped_by(number, len)));
                bytes
            }
            None => panic!("no content is called {name:?}"),
        },
    }
}

/// By how many bytes `swapped N` is rotated against `swapped N-1`.
pub fn swapped_by(number: u32, bytes: usize) -> usize {
    number as usize * 131 % bytes
}
