//! What answers say in the same words, whatever the service; and addresses without their secrets.

use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::date_time::{DateTime, Format};

/// How long the answer asks to be left alone: in seconds, or until a moment by the service's own clock.
pub(crate) fn asked_wait(response: &HttpResponse) -> Option<Duration> {
    let asked = response.headers().get("retry-after")?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = |text: &str| DateTime::from_str(text, Format::HttpDate).ok()?.to_millis().ok();
    let now = moment(response.headers().get("date")?)?;
    u64::try_from(moment(asked)?.saturating_sub(now)).ok().map(Duration::from_millis)
}

/// Whether it is a web page: somebody else answers.
pub(crate) fn is_page(body: &str) -> bool {
    let begin = body.trim_start().get(..9).unwrap_or_default().to_ascii_lowercase();
    begin == "<!doctype" || begin.starts_with("<html")
}

/// Some services tell a full store in words only. (Too many requests are a quota, too, and pass.)
pub(crate) fn is_full(status: u16, said: &str) -> bool {
    let words = ["quota", "storage cap exceeded", "data byte limit exceeded", "no space left"];
    !matches!(status, 429 | 503) && words.into_iter().any(|word| said.contains(word))
}

/// First and last byte of the range that a header `Content-Range` tells.
pub(crate) fn ends_of(told: &str) -> Option<(u64, u64)> {
    let (first, last) = told.strip_prefix("bytes ")?.split_once('/')?.0.split_once('-')?;
    // Room for the end.
    Some((first.parse().ok()?, last.parse().ok().filter(|last| *last < u64::MAX)?))
}

/// An address as a log may show it: without the signature that some carry in their query.
pub(crate) fn shown(uri: &str) -> String {
    let Some((path, query)) = uri.split_once('?') else { return uri.to_owned() };
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        name == "sig" || name.contains("signature") || name.contains("token") && name != "pagetoken"
    };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=…"),
        _ => part.to_owned(),
    });
    format!("{path}?{}", parts.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_a_secret() {
        let uri = "https://a.blob.core.windows.net/c/k?sv=2024&comp=list&sig=abc%2Fd&sp=rl";
        let expected = "https://a.blob.core.windows.net/c/k?sv=2024&comp=list&sig=…&sp=rl";
        assert_eq!(shown(uri), expected);
        assert_eq!(
            shown("http://h/x?X-Amz-Signature=abc&pageToken=n"),
            "http://h/x?X-Amz-Signature=…&pageToken=n"
        );
        assert_eq!(shown("http://h/x"), "http://h/x");
    }

    #[test]
    fn the_ends_of_a_range_are_told_and_what_is_none_is_not() {
        assert_eq!(ends_of("bytes 2-5/10"), Some((2, 5)));
        assert_eq!(ends_of("bytes 2-5/*"), Some((2, 5)));
        assert_eq!(ends_of("bytes */10"), None);
        assert_eq!(ends_of("2-5/10"), None);
        assert_eq!(ends_of("bytes 0-18446744073709551615/*"), None);
    }
}
