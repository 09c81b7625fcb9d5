//! What the account's key signs of a request ("Authorize with Shared Key", version 2015-02-21 and later).

use aws_smithy_types::base64;
use ring::hmac;

use super::super::wire::talk::Draft;

/// Headers that are signed by their place, in that order; an absent one leaves its line empty.
const PLACES: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// The account's key.
pub(super) struct AccountKey {
    account: String,
    key: hmac::Key,
}

impl AccountKey {
    /// # Errors
    /// When the key is not one, in words that do not repeat it.
    pub(super) fn new(account: &str, key: &str) -> Result<Self, String> {
        let bytes = base64::decode(key.trim()).map_err(|_| "the account key is not base64".to_owned())?;
        Ok(Self { account: account.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    /// The value of the header `authorization`.
    pub(super) fn sign(&self, draft: &Draft) -> String {
        let tag = hmac::sign(&self.key, to_sign(draft, &self.account).as_bytes());
        format!("SharedKey {}:{}", self.account, base64::encode(tag))
    }
}

fn to_sign(draft: &Draft, account: &str) -> String {
    let mut text = format!("{}\n", draft.method);
    for place in PLACES {
        match draft.body_bytes() {
            0 => {}
            bytes if place == "content-length" => text.push_str(&bytes.to_string()),
            _ => {}
        }
        text.push_str(draft.header(place).unwrap_or_default());
        text.push('\n');
    }
    let mut own: Vec<&(&str, String)> =
        draft.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
    own.sort();
    for (name, value) in own {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    let path = draft.url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    text.push_str(&format!("/{account}/{}", path.map_or("", |(_, path)| path)));
    let mut query: Vec<&(&str, String)> = draft.query.iter().collect();
    query.sort();
    for (name, value) in query {
        text.push_str(&format!("\n{name}:{value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::wire::Kind;
    use super::*;

    #[test]
    fn what_is_signed_is_what_the_documentation_says() {
        let draft =
            Draft::new(Kind::List, "GET", "https://myaccount.blob.core.windows.net/mycontainer".to_owned())
                .asking("restype", "container")
                .asking("comp", "list")
                .with("x-ms-version", "2015-02-21")
                .with("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT");
        // An empty body has an empty length.
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:list\nrestype:container";
        assert_eq!(to_sign(&draft, "myaccount"), expected);
        let put = Draft::new(Kind::Put, "PUT", "http://127.0.0.1:1/dev/c/k".to_owned())
            .with("content-md5", "m")
            .with("if-none-match", "*")
            .with("x-ms-blob-type", "BlockBlob")
            .carrying(&b"hello"[..]);
        let expected = "PUT\n\n\n5\nm\n\n\n\n\n*\n\n\nx-ms-blob-type:BlockBlob\n/dev/dev/c/k";
        assert_eq!(to_sign(&put, "dev"), expected);
    }

    #[test]
    fn a_key_that_is_none_is_not_repeated() {
        assert!(!AccountKey::new("a", "hunter2!").err().unwrap().contains("hunter2"));
    }
}
