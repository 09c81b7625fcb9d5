//! How addresses of buckets are written.

use super::super::{ErrorKind, StorageError};

/// Longest prefix, in bytes: names of objects have 1024, keys 255.
const PREFIX_BYTES_MAX: usize = 700;
/// No object's name may begin so.
const RESERVED: &str = ".well-known/acme-challenge/";

/// Where a repository lies on Google Cloud Storage. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcsAddress {
    /// The bucket.
    pub bucket: String,
    /// What stands before every key, without slashes at its ends; may be empty.
    pub prefix: String,
}

impl GcsAddress {
    /// Whether `text` means to be such an address.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("gs:")
    }

    /// Understands `gs://bucket/prefix`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let refused = |shown: &str, reason: &str| {
            Err(StorageError::permanent("read", shown, ErrorKind::Invalid, reason.to_owned()))
        };
        if text.contains(['@', '?', '#']) {
            let reason = "keys do not belong in an address: set GOOGLE_APPLICATION_CREDENTIALS, or `key_file` in [gcs]";
            return refused("gs:…", reason);
        }
        let Some(path) = text.strip_prefix("gs://") else {
            return refused(text, "write gs://bucket/prefix");
        };
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() {
            return refused(text, "it names no bucket");
        }
        if !is_bucket(bucket) {
            let rule =
                "bucket names have 3 characters or more: small letters, digits, dots, hyphens, underscores";
            return refused(text, &format!("`{bucket}` is not a valid bucket name; {rule}"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if prefix.len() > PREFIX_BYTES_MAX
            || !prefix.chars().all(allowed)
            || !prefix.is_empty() && prefix.split('/').any(is_odd)
        {
            return refused(text, "the prefix may hold letters, digits and ._-/ and no empty part");
        }
        if format!("{prefix}/").starts_with(RESERVED) {
            return refused(text, "Google keeps names below `.well-known/acme-challenge/` for itself");
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl std::fmt::Display for GcsAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gs://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

fn is_bucket(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (3..=222).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_understood_and_shown_again() {
        for (text, bucket, prefix) in
            [("gs://vault", "vault", ""), ("gs://vault.example.org/db/prod", "vault.example.org", "db/prod")]
        {
            let parsed = GcsAddress::parse(text).unwrap();
            assert_eq!((parsed.bucket.as_str(), parsed.prefix.as_str()), (bucket, prefix));
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!(GcsAddress::parse("gs://vault/db/").unwrap().to_string(), "gs://vault/db");
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_secret_in_it_is_not_repeated() {
        let bad = [
            "gs:",
            "gs://",
            "gs:vault",
            "gs:///x",
            "gs://ab",
            "gs://Vault",
            "gs://vault/a//b",
            "gs://vault/../b",
            "gs://vault/a b",
        ];
        for bad in bad {
            assert_eq!(GcsAddress::parse(bad).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
        }
        for bad in ["gs://vault/.well-known/acme-challenge", "gs://vault/.well-known/acme-challenge/x/"] {
            assert!(GcsAddress::parse(bad).unwrap_err().to_string().contains("acme-challenge/`"), "{bad}");
        }
        // Names that only look like those, and ends that other clouds refuse.
        for (good, prefix) in [
            ("gs://vault/.well-known", ".well-known"),
            ("gs://vault/.well-known/acme-challenges/", ".well-known/acme-challenges"),
            ("gs://vault/db./", "db."),
        ] {
            assert_eq!(GcsAddress::parse(good).unwrap().prefix, prefix);
        }
        let error = GcsAddress::parse("gs://vault/x?access_token=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
    }
}
