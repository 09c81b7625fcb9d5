//! Numbers in messages: a count with its noun, bytes in binary units; paths.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The path of a file or an object of a snapshot, as a person reads it: "/etc/hosts".
pub(crate) fn path(bytes: &[u8]) -> String {
    format!("/{}", Path::new(std::ffi::OsStr::from_bytes(bytes)).display())
}

/// "1 pack", "2 packs"; "1 index", "2 indexes"; "1 database entry", "2 database entries"; "1 series", "2 series".
pub(crate) fn count(number: impl TryInto<u64>, noun: &str) -> String {
    let number: u64 = number.try_into().unwrap_or(u64::MAX);
    if number == 1 {
        return format!("1 {noun}");
    }
    let before_y = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match before_y {
        Some(stem) => format!("{number} {stem}ies"),
        None if noun.ends_with("series") => format!("{number} {noun}"),
        None if noun.ends_with(['x', 's']) => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

/// "270 B", "1.50 KiB", "2.00 GiB".
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = number as f64;
    let mut shown = None;
    for unit in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        shown = Some(unit);
    }
    shown.map_or_else(|| format!("{number} B"), |unit| format!("{scaled:.2} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thing_is_not_several() {
        assert_eq!([0u64, 1, 2].map(|number| count(number, "pack")), ["0 packs", "1 pack", "2 packs"]);
        assert_eq!(count(2u64, "index"), "2 indexes");
        assert_eq!([1, 2].map(|number| count(number, "entry")), ["1 entry", "2 entries"]);
        assert_eq!(count(2, "day"), "2 days");
        assert_eq!([1, 2].map(|number| count(number, "series")), ["1 series", "2 series"]);
    }

    #[test]
    fn bytes_have_binary_units_and_two_decimals() {
        let shown = [0, 270, 1023, 1024, 393_216, 1 << 30, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "270 B", "1023 B", "1.00 KiB", "384.00 KiB", "1.00 GiB", "16.00 EiB"]);
    }
}
