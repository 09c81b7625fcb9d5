//! How long two byte strings agree.

/// Bytes that are equal from the front.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (a.get(..len).unwrap_or_default(), b.get(..len).unwrap_or_default());
    let mut at = 0;
    // Whole kilobytes by the platform's memcmp, the one that differs by words.
    for (a, b) in a.as_chunks::<1024>().0.iter().zip(b.as_chunks::<1024>().0) {
        if a != b {
            return at + prefix_by_words(a, b);
        }
        at += a.len();
    }
    at + prefix_by_words(a.get(at..).unwrap_or_default(), b.get(at..).unwrap_or_default())
}

#[inline]
fn prefix_by_words(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    // A pair of vector instructions each: changed rows leave a few hundred equal bytes between them.
    for (x, y) in a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0) {
        if x != y {
            break;
        }
        at += 32;
    }
    let (a, b) = (a.get(at..).unwrap_or_default(), b.get(at..).unwrap_or_default());
    at + prefix_by_word(a, b)
}

#[inline]
fn prefix_by_word(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differs = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differs != 0 {
            return at + (differs.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = |bytes| <[u8]>::get(bytes, at..).unwrap_or_default();
    at + rest(a).iter().zip(rest(b)).take_while(|(x, y)| x == y).count()
}

/// Bytes that are equal from the back.
#[inline]
pub(super) fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    for (x, y) in a.as_rchunks::<8>().1.iter().rev().zip(b.as_rchunks::<8>().1.iter().rev()) {
        let differs = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differs != 0 {
            return at + (differs.leading_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = |bytes: &[u8]| bytes.len().saturating_sub(at);
    let (a, b) = (a.get(..rest(a)).unwrap_or_default(), b.get(..rest(b)).unwrap_or_default());
    at + a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prefix_and_suffix_agree_with_the_plain_definition(a in prop::collection::vec(0u8..2, 0..40), b in prop::collection::vec(0u8..2, 0..40), pad in 0usize..3000) {
            let plain = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            let back = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
            let with = |tail: &[u8]| [&vec![7u8; pad], tail].concat();
            prop_assert_eq!(common_prefix(&with(&a), &with(&b)), pad + plain);
            prop_assert_eq!(common_suffix(&a, &b), back);
            let with = |head: &[u8]| [head, &vec![7u8; pad]].concat();
            prop_assert_eq!(common_suffix(&with(&a), &with(&b)), pad + back);
        }
    }
}
