//! How a column of integers becomes streams: an arithmetic series, offsets from the least, or differences; by bytes of
//! equal weight.

use super::streams::{Content, Streams};
use super::value::DAY_MICROS;
use super::{mode, put_varint, zigzag};

/// So many values tell whether offsets or differences are shorter.
const SAMPLED: usize = 256;

struct Seen {
    least: i64,
    most: i64,
    is_series: bool,
}

/// Describes `values` and lays down their streams. False, and nothing done, where that takes more than `bytes_max`.
pub(super) fn put(
    values: &[i64],
    scratch: &mut Vec<u64>,
    bytes_max: usize,
    head: &mut Vec<u8>,
    streams: &mut Streams,
) -> bool {
    let Some(first) = values.first().copied() else { return false };
    let seen = look(values, first);
    if seen.is_series {
        let step = values.get(1).map_or(0, |second| second.wrapping_sub(first));
        head.push(mode::SERIES);
        put_varint(head, zigzag(first));
        put_varint(head, zigzag(step));
        return true;
    }
    let is_by_difference = differences_are_shorter(values, seen.least);
    let base = if is_by_difference { first } else { seen.least };
    let factor = common_factor(values, &seen);
    scratch.clear();
    if is_by_difference {
        let mut last = first;
        scratch.extend(values.iter().map(|value| {
            let difference = value.wrapping_sub(last);
            last = *value;
            zigzag(difference)
        }));
        if factor > 1 {
            // A difference of two multiples is one.
            scratch.iter_mut().for_each(|it| *it = zigzag(super::unzigzag(*it) / factor as i64));
        }
    } else {
        scratch.extend(values.iter().map(|value| value.wrapping_sub(base) as u64));
        match factor {
            1 => {}
            1000 => scratch.iter_mut().for_each(|it| *it /= 1000),
            1_000_000 => scratch.iter_mut().for_each(|it| *it /= 1_000_000),
            _ => scratch.iter_mut().for_each(|it| *it /= factor),
        }
    }
    let all = scratch.iter().fold(0, |all, it| all | it);
    let width = (64 - all.leading_zeros() as usize).div_ceil(8);
    if width * values.len() > bytes_max {
        return false;
    }
    head.push(if is_by_difference { mode::DELTAS } else { mode::OFFSETS });
    head.push(width as u8);
    put_varint(head, zigzag(base));
    put_varint(head, factor);
    for plane in (0..width).rev() {
        let mut bytes = streams.buffer(values.len());
        bytes.iter_mut().zip(scratch.iter()).for_each(|(to, from)| *to = (from >> (8 * plane)) as u8);
        streams.put(bytes, values.len(), Content::Binary);
    }
    true
}

fn look(values: &[i64], first: i64) -> Seen {
    let (mut least, mut most) = (first, first);
    for value in values {
        least = least.min(*value);
        most = most.max(*value);
    }
    let step = values.get(1).map_or(0, |second| second.wrapping_sub(first));
    let pairs = values.iter().zip(values.iter().skip(1));
    let is_series = pairs.clone().all(|(before, after)| after.wrapping_sub(*before) == step);
    Seen { least, most, is_series }
}

fn bits(value: u64) -> u64 {
    u64::from(64 - value.leading_zeros())
}

fn differences_are_shorter(values: &[i64], least: i64) -> bool {
    let step = (values.len() / SAMPLED).max(1);
    let pairs = values.iter().zip(values.iter().skip(1)).step_by(step);
    let (mut by_difference, mut by_offset) = (0, 0);
    for (before, after) in pairs {
        by_difference += bits(zigzag(after.wrapping_sub(*before)));
        by_offset += bits(after.wrapping_sub(least) as u64);
    }
    let sampled = (values.len() / step) as u64;
    by_difference + sampled / 2 < by_offset
}

/// What divides all offsets: whole days, seconds or milliseconds.
fn common_factor(values: &[i64], seen: &Seen) -> u64 {
    let range = seen.most.wrapping_sub(seen.least) as u64;
    if range < 1000 || !divides::<1000>(values, seen.least) {
        return 1;
    }
    if range < 1_000_000 || !divides::<1_000_000>(values, seen.least) {
        return 1000;
    }
    const DAY: u64 = DAY_MICROS as u64;
    if range >= DAY && divides::<DAY>(values, seen.least) { DAY } else { 1_000_000 }
}

fn divides<const FACTOR: u64>(values: &[i64], least: i64) -> bool {
    values.iter().all(|value| (value.wrapping_sub(least) as u64).is_multiple_of(FACTOR))
}
