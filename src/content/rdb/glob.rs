//! How a person names keys: with wildcards, as the command `KEYS` has them.

/// Whether a pattern means a key: `*` stands for any bytes, `?` for one, `[abc]`, `[a-z]` and `[^a]` for one of
/// several, and `\\` takes its meaning from what follows it.
pub(crate) fn matches(mut pattern: &[u8], mut key: &[u8]) -> bool {
    // On a mismatch, only the last `*` can have taken too little.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let matched = match pattern.split_first() {
            Some((b'*', later)) => {
                retry = Some((later, key));
                pattern = later;
                continue;
            }
            Some(_) => match key.split_first() {
                Some((byte, rest)) => one(pattern, *byte).map(|later| (later, rest)),
                None => return false,
            },
            None if key.is_empty() => return true,
            None => None,
        };
        match (matched, &mut retry) {
            (Some((later, rest)), _) => (pattern, key) = (later, rest),
            (None, Some((later, from))) => {
                let Some((_, rest)) = from.split_first() else { return false };
                *from = rest;
                (pattern, key) = (later, rest);
            }
            (None, None) => return false,
        }
    }
}

/// What follows the first part of a pattern, if that means the byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', later @ ..] => Some(later),
        [b'\\', literal, later @ ..] => (*literal == byte).then_some(later),
        [b'[', class @ ..] => {
            let (is_not, mut class) = match class {
                [b'^', rest @ ..] => (true, rest),
                class => (false, class),
            };
            let mut is_in = false;
            loop {
                class = match class {
                    [] | [b']', ..] => break,
                    [b'\\', literal, rest @ ..] => {
                        is_in |= *literal == byte;
                        rest
                    }
                    [from, b'-', to, rest @ ..] => {
                        is_in |= (*from.min(to)..=*from.max(to)).contains(&byte);
                        rest
                    }
                    [literal, rest @ ..] => {
                        is_in |= *literal == byte;
                        rest
                    }
                };
            }
            let later = class.strip_prefix(b"]").unwrap_or(class);
            (is_in != is_not).then_some(later)
        }
        [literal, later @ ..] => (*literal == byte).then_some(later),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_the_servers_make_of_them() {
        for (pattern, key, is_meant) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("bull:*", "bull:mail:1", true),
            ("bull:*", "bul", false),
            ("*:id", "a:b:id", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[ab]*", "bell", true),
            ("[^ab]*", "bell", false),
            ("x[0-9]", "x7", true),
            ("x[0-9]", "xa", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("[abc", "b", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), key.as_bytes()), is_meant, "{pattern} {key}");
        }
        // Bytes that are no text.
        assert!(matches(b"\xff*", b"\xff\x00"));
    }
}
