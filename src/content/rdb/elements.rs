//! What a value is, whatever its form: servers keep the same list, set or hash in several, and change between them.

use super::fields::number;
use super::record::string;

/// The elements of a value.
#[derive(Debug, PartialEq)]
pub(super) enum Elements {
    /// One after another: a string is one of them.
    InOrder(Vec<Vec<u8>>),
    /// In any order, each of so many parts.
    Unordered(Vec<Vec<Vec<u8>>>),
}

/// A byte in front of each list pack in a list; the other is a string.
const PACKED: u64 = 2;
/// Fields of Valkey that do not end.
const NO_END: i64 = -1;

/// Takes a value apart; `None` where its type has no other form, or is not known. One of which a part ends before
/// `soon_ms` is none, too.
pub(super) fn of(kind: u8, is_valkey: bool, bytes: &[u8], soon_ms: u64) -> Option<Elements> {
    let whole = |elements| Some(Elements::Unordered(elements));
    match kind {
        0 => Some(Elements::InOrder(vec![string(bytes)?.0])),
        1 => Some(Elements::InOrder(strings(bytes, 1)?.into_iter().flatten().collect())),
        10 => Some(Elements::InOrder(zip_list(&string(bytes)?.0)?)),
        14 => {
            let lists = strings(bytes, 1)?.into_iter().flatten();
            let lists: Vec<Vec<Vec<u8>>> = lists.map(|list| zip_list(&list)).collect::<Option<_>>()?;
            Some(Elements::InOrder(lists.concat()))
        }
        18 => list_of_packs(bytes),
        2 => whole(strings(bytes, 1)?),
        11 => whole(singles(integers(&string(bytes)?.0)?)),
        20 => whole(singles(list_pack(&string(bytes)?.0)?)),
        4 => whole(strings(bytes, 2)?),
        13 => whole(pairs(zip_list(&string(bytes)?.0)?)?),
        16 => whole(pairs(list_pack(&string(bytes)?.0)?)?),
        22 if is_valkey => ending_fields(bytes, soon_ms),
        24 | 25 => {
            let (least, rest) = bytes.split_first_chunk::<8>()?;
            // The first end of all.
            if u64::from_le_bytes(*least) < soon_ms {
                return None;
            }
            match kind {
                24 => metadata(rest),
                _ => whole(
                    list_pack(&string(rest)?.0)?
                        .chunks_exact(3)
                        .map(|of| of.iter().take(2).cloned().collect())
                        .collect(),
                ),
            }
        }
        3 => scored(bytes, text_score),
        5 => scored(bytes, |bytes| {
            let (score, rest) = bytes.split_first_chunk::<8>()?;
            Some((f64::from_le_bytes(*score), rest))
        }),
        12 => whole(with_scores(zip_list(&string(bytes)?.0)?)?),
        17 => whole(with_scores(list_pack(&string(bytes)?.0)?)?),
        _ => None,
    }
}

fn singles(elements: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    elements.into_iter().map(|element| vec![element]).collect()
}

fn pairs(elements: Vec<Vec<u8>>) -> Option<Vec<Vec<Vec<u8>>>> {
    elements.len().is_multiple_of(2).then(|| elements.chunks_exact(2).map(<[_]>::to_vec).collect())
}

fn with_scores(elements: Vec<Vec<u8>>) -> Option<Vec<Vec<Vec<u8>>>> {
    let each = pairs(elements)?.into_iter().map(|mut pair| {
        let score: f64 = std::str::from_utf8(pair.get(1)?).ok()?.parse().ok()?;
        *pair.get_mut(1)? = shown(score);
        Some(pair)
    });
    each.collect()
}

/// The bytes of a score, of which there are two for nothing.
fn shown(score: f64) -> Vec<u8> {
    (score + 0.0).to_bits().to_le_bytes().to_vec()
}

/// So many strings each, as often as a length in front says.
fn strings(bytes: &[u8], each: usize) -> Option<Vec<Vec<Vec<u8>>>> {
    let (count, mut rest) = number(bytes)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let mut parts = Vec::with_capacity(each);
        for _ in 0..each {
            let (text, after) = string(rest)?;
            parts.push(text);
            rest = after;
        }
        found.push(parts);
    }
    rest.is_empty().then_some(found)
}

fn list_of_packs(bytes: &[u8]) -> Option<Elements> {
    let (count, mut rest) = number(bytes)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (container, after) = number(rest)?;
        let (text, after) = string(after)?;
        match container {
            PACKED => found.extend(list_pack(&text)?),
            _ => found.push(text),
        }
        rest = after;
    }
    rest.is_empty().then_some(Elements::InOrder(found))
}

fn ending_fields(bytes: &[u8], soon_ms: u64) -> Option<Elements> {
    let (count, mut rest) = number(bytes)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (field, after) = string(rest)?;
        let (value, after) = string(after)?;
        let (end, after) = after.split_first_chunk::<8>()?;
        let end = i64::from_le_bytes(*end);
        if end != NO_END && u64::try_from(end).ok()? < soon_ms {
            return None;
        }
        found.push(vec![field, value]);
        rest = after;
    }
    Some(Elements::Unordered(found))
}

fn metadata(bytes: &[u8]) -> Option<Elements> {
    let (count, mut rest) = number(bytes)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (field, after) = string(number(rest)?.1)?;
        let (value, after) = string(after)?;
        found.push(vec![field, value]);
        rest = after;
    }
    Some(Elements::Unordered(found))
}

fn scored(bytes: &[u8], score: impl Fn(&[u8]) -> Option<(f64, &[u8])>) -> Option<Elements> {
    let (count, mut rest) = number(bytes)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (member, after) = string(rest)?;
        let (value, after) = score(after)?;
        found.push(vec![member, shown(value)]);
        rest = after;
    }
    Some(Elements::Unordered(found))
}

fn text_score(bytes: &[u8]) -> Option<(f64, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    match length {
        253 => Some((f64::NAN, rest)),
        254 => Some((f64::INFINITY, rest)),
        255 => Some((f64::NEG_INFINITY, rest)),
        length => {
            let (text, rest) = rest.split_at_checked(usize::from(*length))?;
            Some((std::str::from_utf8(text).ok()?.parse().ok()?, rest))
        }
    }
}

fn text_of(number: i64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// A number with its sign, the low byte first.
fn signed(bytes: &[u8]) -> i64 {
    let bits = 8 * bytes.len() as u32;
    let value = bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    ((value << (64 - bits)) as i64) >> (64 - bits)
}

fn integers(set: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (width, rest) = set.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let width = u32::from_le_bytes(*width) as usize;
    matches!(width, 2 | 4 | 8).then(|| rest.chunks_exact(width).map(|bytes| text_of(signed(bytes))).collect())
}

/// The elements of a list pack: numbers as text.
fn list_pack(pack: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = pack.get(6..)?;
    let mut found = Vec::new();
    loop {
        let (first, after) = rest.split_first()?;
        let take = |bytes: usize| after.split_at_checked(bytes);
        let word = |bytes: usize| take(bytes).map(|(text, left)| (text.to_vec(), left));
        let (element, left) = match first {
            0xff => return Some(found),
            0..0x80 => (text_of(i64::from(*first)), after),
            0x80..0xc0 => word(usize::from(first & 0x3f))?,
            0xc0..0xe0 => {
                let (low, left) = after.split_first()?;
                let value = i64::from(first & 0x1f) << 8 | i64::from(*low);
                (text_of(if value >= 1 << 12 { value - (1 << 13) } else { value }), left)
            }
            0xe0..0xf0 => {
                let (low, left) = after.split_first()?;
                let (text, left) =
                    left.split_at_checked(usize::from(first & 0x0f) << 8 | usize::from(*low))?;
                (text.to_vec(), left)
            }
            0xf0 => {
                let (length, left) = after.split_first_chunk::<4>()?;
                let (text, left) = left.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                (text.to_vec(), left)
            }
            0xf1..=0xf4 => {
                let width = match first {
                    0xf1 => 2,
                    0xf2 => 3,
                    0xf3 => 4,
                    _ => 8,
                };
                let (bytes, left) = take(width)?;
                (text_of(signed(bytes)), left)
            }
            _ => return None,
        };
        let length = rest.len() - left.len();
        let back = match length {
            0..128 => 1,
            128..16_384 => 2,
            16_384..2_097_152 => 3,
            2_097_152..268_435_456 => 4,
            _ => 5,
        };
        found.push(element);
        rest = left.get(back..)?;
    }
}

/// The elements of a zip list, which older servers have in the place of a list pack.
fn zip_list(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = list.get(10..)?;
    let mut found = Vec::new();
    loop {
        let (first, after) = rest.split_first()?;
        let after = match first {
            0xff => return Some(found),
            0xfe => after.get(4..)?,
            _ => after,
        };
        let (form, after) = after.split_first()?;
        let take =
            |bytes: usize| after.split_at_checked(bytes).map(|(text, left)| (text_of(signed(text)), left));
        let (element, left) = match form {
            0..0x40 => {
                after.split_at_checked(usize::from(*form)).map(|(text, left)| (text.to_vec(), left))?
            }
            0x40..0x80 => {
                let (low, left) = after.split_first()?;
                let (text, left) =
                    left.split_at_checked(usize::from(form & 0x3f) << 8 | usize::from(*low))?;
                (text.to_vec(), left)
            }
            0x80 => {
                let (length, left) = after.split_first_chunk::<4>()?;
                let (text, left) = left.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                (text.to_vec(), left)
            }
            0xc0 => take(2)?,
            0xd0 => take(4)?,
            0xe0 => take(8)?,
            0xf0 => take(3)?,
            0xfe => take(1)?,
            0xf1..=0xfd => (text_of(i64::from(form & 0x0f) - 1), after),
            _ => return None,
        };
        found.push(element);
        rest = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn numbers_of_all_widths_are_text() {
        assert_eq!(signed(&[0xff, 0xff]), -1);
        assert_eq!(signed(&[0, 0, 0x80]), -8_388_608);
        let pack = [0, 0, 0, 0, 0, 0, 5, 1, 0x82, b'a', b'b', 3, 0xdf, 0xff, 2, 0xf1, 0x00, 0x80, 3, 0xff];
        assert_eq!(list_pack(&pack), Some(words(&["5", "ab", "-1", "-32768"])));
        let list = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf3, 2, 2, b'a', b'b', 4, 0xfe, 0xff, 0xff];
        assert_eq!(zip_list(&list), Some(words(&["2", "ab", "-1"])));
        let set = [2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0xff, 0xff];
        assert_eq!(integers(&set), Some(words(&["1", "-1"])));
        for cut in 0..pack.len() {
            assert_eq!(list_pack(&pack[..cut]), None, "{cut}");
        }
        for cut in 0..list.len() {
            assert_eq!(zip_list(&list[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn the_same_value_is_the_same_in_each_form() {
        let pack = [14, 0, 0, 0, 0, 0, 0, 0, 0x81, b'a', 2, 7, 1, 0xff];
        let list = [13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'a', 3, 0xf8, 0xff];
        let with_length = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
        let pack = [&pack[..6], &pack[8..]].concat();
        let plain = [1, 1, b'a', 0xc0, 7];
        let hash = of(4, false, &plain, 0).unwrap();
        assert_eq!(hash, Elements::Unordered(vec![words(&["a", "7"])]));
        assert_eq!(of(16, false, &with_length(&pack), 0), Some(hash));
        assert_eq!(of(13, false, &with_length(&list), 0), of(4, false, &plain, 0));
        let score = [&[1, 1, b'a'][..], &7f64.to_le_bytes()].concat();
        assert_eq!(of(5, false, &score, 0), of(17, false, &with_length(&pack), 0));
        assert_eq!(of(3, false, &[1, 1, b'a', 1, b'7'], 0), of(12, false, &with_length(&list), 0));
        let ending = |end: u64| [&[1, 1, b'a', 1, b'b'][..], &end.to_le_bytes()].concat();
        assert!(of(22, true, &ending(u64::MAX), 99).is_some() && of(22, true, &ending(100), 99).is_some());
        assert!(of(22, true, &ending(98), 99).is_none());
    }
}
