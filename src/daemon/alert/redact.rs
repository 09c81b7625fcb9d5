//! Which text is a secret: what is told of programs' errors goes through here first.

/// What stands in a secret's place.
const GONE: &str = "…";
/// Words before a secret.
const NAMES: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "token", "api_key", "apikey", "access_key", "authorization"];
/// A text that is told is no longer than this, in characters.
const TEXT_MAX: usize = 2000;

/// The text without userinfo of addresses, without what stands behind `password=` and its like, and not too long.
pub(crate) fn redact(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let words: Vec<String> = text.split(' ').map(addresses).collect();
    let mut clean = named(&words.join(" "));
    if let Some((end, _)) = clean.char_indices().nth(TEXT_MAX) {
        clean.truncate(end);
        clean.push('…');
    }
    clean
}

/// Scheme and host of an address: all of one that may be shown.
pub(crate) fn host_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return GONE.to_owned() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

/// Addresses lose their userinfo, and those of HTTP everything behind the host: paths of webhooks are secrets.
fn addresses(word: &str) -> String {
    let Some(at) = word.find("://") else { return word.to_owned() };
    let start = word.get(..at).unwrap_or_default();
    let scheme = start.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '+');
    let start = scheme.len();
    let (before, url) = word.split_at(start);
    let end = url.find(|c: char| "\"'`<>),;".contains(c) || c.is_whitespace()).unwrap_or(url.len());
    let (url, after) = url.split_at(end);
    let short = host_of(url);
    let rest = if url.starts_with("http") {
        if url.len() > short.len() && !url.ends_with(&short) { "/…".to_owned() } else { String::new() }
    } else {
        url.split_once("://")
            .map_or("", |(_, rest)| rest)
            .split_once('/')
            .map_or(String::new(), |(_, path)| {
                format!("/{}", path.split(['?', '#']).next().unwrap_or_default())
            })
    };
    format!("{before}{short}{rest}{}", addresses(after))
}

/// `password=x`, `"token": "x"`, `Authorization: Bearer x`.
fn named(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    while let Some((start, name)) =
        NAMES.iter().filter_map(|name| Some((lower.get(from..)?.find(name)? + from, *name))).min()
    {
        let behind = start + name.len();
        let rest = text.get(behind..).unwrap_or_default();
        let blank = |c: char| c == '"' || c == '\'' || c == ' ';
        // `secret_key` is one as well.
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let sign = rest.trim_start_matches(blank);
        clean.push_str(text.get(from..behind).unwrap_or_default());
        from = behind;
        if !sign.starts_with(['=', ':']) {
            continue;
        }
        let value = sign.get(1..).unwrap_or_default().trim_start_matches(blank);
        let value = ["bearer ", "basic "]
            .iter()
            .find(|word| value.to_ascii_lowercase().starts_with(**word))
            .map_or(value, |word| value.get(word.len()..).unwrap_or_default());
        let length = value.find(|c: char| c.is_whitespace() || "\"'&,;".contains(c)).unwrap_or(value.len());
        if length == 0 {
            continue;
        }
        let end = text.len() - value.len() + length;
        let begin = text.len() - value.len();
        clean.push_str(text.get(behind..begin).unwrap_or_default());
        clean.push_str(GONE);
        from = end;
    }
    clean.push_str(text.get(from..).unwrap_or_default());
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_planted_secret_stays_and_the_rest_does() {
        for text in [
            "cannot reach postgres://backup:CANARY@db1:5432/app",
            "https://hooks.example.org/T0/CANARY answered 500",
            "(https://user:CANARY@host/x?token=CANARY), and more",
            "connection failed: password=CANARY host=db1",
            "{\"token\": \"CANARY\", \"a\": 1}",
            "Authorization: Bearer CANARY",
            "secret_key='CANARY' access_key: CANARY",
            "redis://:CANARY@cache/0 and mysql://a:CANARY@b",
            "PASSWORD = CANARY",
        ] {
            let clean = redact(text);
            assert!(!clean.contains("CANARY"), "{text} became {clean}");
        }
        assert_eq!(
            redact("cannot reach postgres://b:x@db1:5432/app, try"),
            "cannot reach postgres://db1:5432/app, try"
        );
        assert_eq!(redact("token expired; run `a`"), "token expired; run `a`");
        assert_eq!(redact("no space left on /var/lib/x"), "no space left on /var/lib/x");
        assert_eq!(redact("https://hooks.example.org answered"), "https://hooks.example.org answered");
        assert_eq!(redact("a\u{1b}[31mb"), "a [31mb");
        assert!(redact(&"ä".repeat(5000)).chars().count() <= TEXT_MAX + 1);
        assert_eq!(host_of("https://a:b@c.d:1/e?f"), "https://c.d:1");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,200}") {
            let _ = redact(&text);
        }

        #[test]
        fn text_with_signs_is_taken(text in "[a-z:/@=\"' ätokenpassword]{0,80}") {
            let _ = redact(&text);
        }
    }
}
