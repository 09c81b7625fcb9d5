//! How values are written. Each parser takes a value only in the one way in which `output` writes it: `write(parse(x)) == x`.

/// Where a field lies in the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    pub start: u32,
    pub end: u32,
}

impl Field {
    pub fn of(self, plain: &[u8]) -> &[u8] {
        plain.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }
}

/// Powers of ten that an `i64` holds.
pub const TENS: [i64; 19] = {
    let mut tens = [1i64; 19];
    let mut at = 1;
    while at < 19 {
        tens[at] = tens[at - 1] * 10;
        at += 1;
    }
    tens
};

pub const DAY_MICROS: i64 = 86_400_000_000;
/// 1 January of year 1 and 31 December of year 9999, in days since 1 March of year 0.
pub const DAYS: std::ops::RangeInclusive<i64> = 306..=3_652_364;

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
pub fn digits(plain: &[u8], field: Field) -> Option<i64> {
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
pub fn int(plain: &[u8], field: Field) -> Option<i64> {
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
pub fn decimal(plain: &[u8], field: Field, scale: usize) -> Option<i64> {
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

fn two(bytes: [u8; 2]) -> Option<i64> {
    let [tens, ones] = bytes.map(|byte| byte.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

const MONTH_DAYS: [i64; 13] = [0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1
}

/// Year, month and day of a day since 1 March of year 0.
pub fn civil(days: u32) -> (u32, u32, u32) {
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

/// `YYYY-MM-DD`, years 1 to 9999: days since 1 March of year 0.
pub fn date(bytes: &[u8]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *bytes else { return None };
    let year = two([y0, y1])? * 100 + two([y2, y3])?;
    let (month, day) = (two([m0, m1])?, two([d0, d1])?);
    let longest = *MONTH_DAYS.get(usize::try_from(month).ok()?)?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if year == 0 || day < 1 || day > longest || (month == 2 && day == 29 && !is_leap) {
        return None;
    }
    Some(days(year, month, day))
}

/// `YYYY-MM-DD HH:MM:SS[.f]` and `suffix`: microseconds since 1 March of year 0. A fraction has no zero at its end.
pub fn time(bytes: &[u8], suffix: &[u8]) -> Option<i64> {
    let bare = bytes.strip_suffix(suffix)?;
    let (day, rest) = bare.split_first_chunk::<10>()?;
    let (clock, fraction) = rest.split_first_chunk::<9>()?;
    let [b' ', h0, h1, b':', m0, m1, b':', s0, s1] = *clock else { return None };
    let (hours, minutes, seconds) = (two([h0, h1])?, two([m0, m1])?, two([s0, s1])?);
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

/// The value of a digit of lower case, or 255.
fn nibble(byte: u8) -> u8 {
    let digit = byte.wrapping_sub(b'0');
    let letter = byte.wrapping_sub(b'a');
    if digit <= 9 {
        digit
    } else if letter <= 5 {
        letter + 10
    } else {
        255
    }
}

/// Appends what hexadecimal digits of lower case say, two a byte; one that is left over makes a byte of its own.
pub fn hex(digits: &[u8], out: &mut Vec<u8>) -> bool {
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut bad = 0;
    out.extend(pairs.iter().map(|pair| {
        let [high, low] = pair.map(nibble);
        bad |= high | low;
        high << 4 | low & 15
    }));
    if let [last] = rest {
        let last = nibble(*last);
        bad |= last;
        out.push(last);
    }
    bad < 16
}

/// Appends the 16 bytes of a UUID in lower case.
pub fn uuid(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(text) = bytes.first_chunk::<36>().filter(|_| bytes.len() == 36) else { return false };
    let hyphens = [8, 13, 18, 23].iter().all(|at| text.get(*at) == Some(&b'-'));
    let mut digits = [0u8; 32];
    let bare = text.iter().zip(0..).filter(|(_, at)| !matches!(at, 8 | 13 | 18 | 23));
    digits.iter_mut().zip(bare).for_each(|(to, (from, _))| *to = *from);
    hyphens && hex(&digits, out)
}

/// Calls `each` with the offsets of `byte` in `bytes`.
pub fn each_of(bytes: &[u8], byte: u8, mut each: impl FnMut(u32)) {
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
pub fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((word & LOW) + LOW) | word | LOW)
}
