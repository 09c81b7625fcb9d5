//! How values are written. Each parser takes a value only in the one way in which `output` writes it:
//! `write(parse(x)) == x`.

/// Where a field lies in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub start: u32,
    pub end: u32,
}

impl Field {
    pub(super) fn of(self, plain: &[u8]) -> &[u8] {
        plain.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub(super) fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }
}

/// Powers of ten that an `i64` holds.
pub(super) const TENS: [i64; 19] = {
    let mut tens = [1i64; 19];
    let mut at = 1;
    while at < 19 {
        tens[at] = tens[at - 1] * 10;
        at += 1;
    }
    tens
};

pub(super) const DAY_MICROS: i64 = 86_400_000_000;
/// 1 January of year 1 and 31 December of year 9999, in days since 1 March of year 0.
pub(super) const DAYS: std::ops::RangeInclusive<i64> = 306..=3_652_364;

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Eight digits at once; `word` holds them in the order of memory, and zeros in front.
fn eight_digits(word: u64) -> Option<u64> {
    let high = word & 0xf0f0_f0f0_f0f0_f0f0;
    let above = word.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
    if high != ZEROS || above != ZEROS {
        return None;
    }
    let pairs = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(2561) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(6_553_601) >> 16;
    Some((fours & 0x0000_ffff_0000_ffff).wrapping_mul(42_949_672_960_001) >> 32)
}

/// The word of the last `len` (1 to 8) digits that end at `end`.
fn last_digits(plain: &[u8], end: usize, len: usize) -> Option<u64> {
    if let Some(word) =
        end.checked_sub(8).and_then(|at| plain.get(at..end)).and_then(|it| it.first_chunk::<8>())
    {
        let empty = 64 - 8 * len as u32;
        let own = u64::MAX.checked_shl(empty).unwrap_or_default();
        return eight_digits(u64::from_le_bytes(*word) & own | ZEROS & !own);
    }
    slow_digits(plain.get(end.checked_sub(len)?..end)?)
}

fn slow_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u64::from(digit))
    })
}

/// Digits alone, 1 to 18 of them.
pub(super) fn digits(plain: &[u8], field: Field) -> Option<i64> {
    let (len, end) = (field.len(), field.end as usize);
    let value = match len {
        1..=8 => last_digits(plain, end, len)?,
        9..=16 => last_digits(plain, end - 8, len - 8)? * 100_000_000 + last_digits(plain, end, 8)?,
        17..=18 => slow_digits(field.of(plain))?,
        _ => return None,
    };
    Some(value as i64)
}

/// Without the sign, and whether there was one.
fn unsigned(plain: &[u8], field: Field) -> Option<(bool, Field)> {
    let first = *plain.get(field.start as usize)?;
    match first == b'-' {
        true => Some((true, Field { start: field.start + 1, ..field })),
        false => Some((false, field)),
    }
}

/// An integer of at most 18 characters: no `-0`, no zeros in front.
pub(super) fn int(plain: &[u8], field: Field) -> Option<i64> {
    if !(1..=18).contains(&field.len()) {
        return None;
    }
    let (is_negative, bare) = unsigned(plain, field)?;
    let value = digits(plain, bare)?;
    if plain.get(bare.start as usize) == Some(&b'0') && (bare.len() > 1 || is_negative) {
        return None;
    }
    Some(if is_negative { -value } else { value })
}

/// A decimal with `scale` (1 to 12) digits behind the point, at most 17 characters.
pub(super) fn decimal(plain: &[u8], field: Field, scale: usize) -> Option<i64> {
    let len = field.len();
    if len < scale + 2 || len > 17 {
        return None;
    }
    let point = field.end - scale as u32 - 1;
    if plain.get(point as usize) != Some(&b'.') {
        return None;
    }
    let (is_negative, bare) = unsigned(plain, Field { end: point, ..field })?;
    if bare.len() > 1 && plain.get(bare.start as usize) == Some(&b'0') {
        return None;
    }
    let whole = digits(plain, bare)?;
    let part = digits(plain, Field { start: point + 1, ..field })?;
    let value = whole * TENS.get(scale)? + part;
    match (is_negative, value) {
        (true, 0) => None,
        (true, value) => Some(-value),
        (false, value) => Some(value),
    }
}

const MONTH_DAYS: [i64; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1
}

/// Year, month and day of a day since 1 March of year 0.
///
/// Neri and Schneider, "Euclidean affine functions and their application to calendar algorithms", 2022: divisions by
/// constants that are multiplications, and no branch.
#[inline(always)]
pub(super) fn civil(days: u32) -> (u32, u32, u32) {
    let in_centuries = 4 * days + 3;
    let century = in_centuries / 146_097;
    let in_years = (in_centuries % 146_097) | 3;
    let product = 2_939_745 * u64::from(in_years);
    let year_of_century = (product >> 32) as u32;
    let of_year = (product as u32 / 2_939_745) / 4;
    let in_months = 2141 * of_year + 197_913;
    let is_next_year = of_year >= 306;
    let month = (in_months >> 16) - if is_next_year { 12 } else { 0 };
    (100 * century + year_of_century + u32::from(is_next_year), month, (in_months & 0xffff) / 2141 + 1)
}

/// `YYYY-MM-DD`, years 1 to 9999: days since 1 March of year 0.
pub(super) fn date(bytes: &[u8]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *bytes else { return None };
    let all = eight_digits(u64::from_le_bytes([y0, y1, y2, y3, m0, m1, d0, d1]))? as i64;
    let (year, month, day) = (all / 10_000, all / 100 % 100, all % 100);
    let longest = *MONTH_DAYS.get(usize::try_from(month).ok()?)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if year == 0 || day < 1 || day > longest || (month == 2 && day == 29 && !is_leap) {
        return None;
    }
    Some(days(year, month, day))
}

/// `YYYY-MM-DD HH:MM:SS[.f]` and `suffix`: microseconds since 1 March of year 0. A fraction has no zero at its end.
pub(super) fn time(bytes: &[u8], suffix: &[u8]) -> Option<i64> {
    let bare = bytes.strip_suffix(suffix)?;
    let (day, rest) = bare.split_first_chunk::<10>()?;
    let (clock, fraction) = rest.split_first_chunk::<9>()?;
    let [b' ', h0, h1, b':', m0, m1, b':', s0, s1] = *clock else { return None };
    let all = eight_digits(u64::from_le_bytes([b'0', b'0', h0, h1, m0, m1, s0, s1]))? as i64;
    let (hours, minutes, seconds) = (all / 10_000, all / 100 % 100, all % 100);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = match fraction {
        [] => 0,
        [b'.', .., b'0'] => return None,
        [b'.', digits @ ..] if (1..=6).contains(&digits.len()) => {
            slow_digits(digits)? as i64 * TENS.get(6 - digits.len())?
        }
        _ => return None,
    };
    Some((date(day)? * 86_400 + hours * 3600 + minutes * 60 + seconds) * 1_000_000 + micros)
}

/// The value of a digit of lower case.
fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// What eight hexadecimal digits of lower case say, all in the order of memory.
fn eight_nibbles(digits: u64) -> Option<u32> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let values = (digits & (0x0f * ONES)) + (digits >> 6 & ONES) * 9;
    // Written again it must be the same. That tells digits from all other bytes where values are below 16.
    if values & (0xf0 * ONES) != 0 || hex_digits(values) != digits {
        return None;
    }
    let bytes = (values << 4 | values >> 8) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    Some((pairs | pairs >> 16) as u32)
}

/// The digit of each byte, all below 16.
pub(super) fn hex_digits(values: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let letters = (values + 0x76 * ONES) >> 7 & ONES;
    values + ZEROS + letters * 39
}

/// Appends what hexadecimal digits of lower case say, two a byte; one that is left over makes a byte of its own.
pub(super) fn hex(digits: &[u8], out: &mut Vec<u8>) -> bool {
    let (words, rest) = digits.as_chunks::<8>();
    for word in words {
        let Some(bytes) = eight_nibbles(u64::from_le_bytes(*word)) else { return false };
        out.extend_from_slice(&bytes.to_le_bytes());
    }
    rest.chunks(2).all(|pair| {
        let byte = match *pair {
            [high, low] => nibble(high).zip(nibble(low)).map(|(high, low)| high << 4 | low),
            [last] => nibble(last),
            _ => None,
        };
        out.extend(byte);
        byte.is_some()
    })
}

/// The 16 bytes of a UUID in lower case.
pub(super) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let [
        a0,
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        b'-',
        b0,
        b1,
        b2,
        b3,
        b'-',
        b4,
        b5,
        b6,
        b7,
        b'-',
        c0,
        c1,
        c2,
        c3,
        b'-',
        c4,
        c5,
        c6,
        c7,
        d0,
        d1,
        d2,
        d3,
        d4,
        d5,
        d6,
        d7,
    ] = *<&[u8; 36]>::try_from(text).ok()?
    else {
        return None;
    };
    let a = eight_nibbles(u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]))?;
    let b = eight_nibbles(u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]))?;
    let c = eight_nibbles(u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]))?;
    let d = eight_nibbles(u64::from_le_bytes([d0, d1, d2, d3, d4, d5, d6, d7]))?;
    let front = u128::from(u64::from(a) | u64::from(b) << 32);
    let back = u128::from(u64::from(c) | u64::from(d) << 32);
    Some((front | back << 64).to_le_bytes())
}

/// Calls `each` with the offsets of `byte` in `bytes`.
pub(super) fn each_of(bytes: &[u8], byte: u8, mut each: impl FnMut(u32)) {
    let pattern = u64::from(byte) * 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let mut marks = zero_bytes(u64::from_le_bytes(*word) ^ pattern);
        while marks != 0 {
            each(at + marks.trailing_zeros() / 8);
            marks &= marks - 1;
        }
        at += 8;
    }
    rest.iter().zip(at..).filter(|(found, _)| **found == byte).for_each(|(_, at)| each(at));
}

/// The high bit of every byte that is zero, and of no other.
pub(super) fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((word & LOW) + LOW) | word | LOW)
}
