//! Lines of a text, from either end.

/// Lines with the places where they begin, without their ends.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    text.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, without_end(line))
    })
}

/// Lines that are not blank, the last one first.
pub(super) fn lines_from_the_end(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut end = text.len();
    let rest = text.split_inclusive(|byte| *byte == b'\n').rev();
    let numbered = rest.map(move |line| {
        end -= line.len();
        (end, line.trim_ascii_end())
    });
    numbered.filter(|(_, line)| !line.trim_ascii().is_empty())
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_from_the_end() {
        let found: Vec<_> = lines_from_the_end(b"one\r\n\ntwo\n \n").collect();
        assert_eq!(found, [(6, &b"two"[..]), (0, b"one")]);
        assert_eq!(lines_from_the_end(b"").count(), 0);
    }
}
