//! How addresses of buckets are written, and how keys become names of objects.

use super::super::{ErrorKind, StorageError};

/// Longest prefix, in bytes: S3's keys have 1024, ours 255.
const PREFIX_BYTES_MAX: usize = 700;
/// The host of Amazon's own S3, whose endpoints the SDK finds by region.
const AMAZON: &str = "amazonaws.com";

/// Where a repository lies on S3. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Address {
    /// Scheme, host and port of the service; `None` is Amazon's, or what the environment says.
    pub endpoint: Option<String>,
    /// The region, where the address names it.
    pub region: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// What stands before every key, without slashes at its ends; may be empty.
    pub prefix: String,
}

impl S3Address {
    /// Whether `text` means to be such an address.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("s3:")
    }

    /// Understands `s3://bucket/prefix`, `s3:https://host:port/bucket/prefix` and `s3:host/bucket/prefix`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        // The address may hold a password; it is not repeated then.
        let refused = |shown: &str, reason: &str| {
            Err(StorageError::permanent("read", shown, ErrorKind::Invalid, reason.to_owned()))
        };
        let Some(rest) = text.strip_prefix("s3:") else {
            return refused(text, "an S3 address begins with s3:");
        };
        let (scheme, rest) = match rest {
            rest if rest.starts_with("https://") => ("https", rest.trim_start_matches("https://")),
            rest if rest.starts_with("http://") => ("http", rest.trim_start_matches("http://")),
            rest => match rest.strip_prefix("//") {
                Some(rest) => ("", rest),
                None => ("https", rest),
            },
        };
        if rest.contains(['@', '?', '#']) {
            let reason = "keys do not belong in an address: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile";
            return refused("s3:…", reason);
        }
        let (host, path) =
            if scheme.is_empty() { ("", rest) } else { rest.split_once('/').unwrap_or((rest, "")) };
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() {
            return refused(
                text,
                "it names no bucket: write s3://bucket/prefix or s3:https://host/bucket/prefix",
            );
        }
        if !is_bucket(bucket) {
            let rule = "bucket names have 3 characters or more: letters, digits, dots, hyphens, underscores";
            return refused(text, &format!("`{bucket}` is not a valid bucket name; {rule}"));
        }
        if prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(is_prefix_char) || has_odd_part(prefix) {
            return refused(text, "the prefix may hold letters, digits and ._-/ and no empty part");
        }
        let (endpoint, region) = match host {
            "" if scheme.is_empty() => (None, None),
            "" => return refused(text, "it names no host"),
            host if is_amazon(host) && scheme == "https" => (None, amazon_region(host)),
            host => (Some(format!("{scheme}://{host}")), None),
        };
        Ok(Self { endpoint, region, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// The name of the object `key`, or of a listing's prefix, in the bucket.
    pub(super) fn name(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    /// The key of an object in the bucket; `None` when it is not below the prefix.
    pub(super) fn key<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(name);
        }
        name.strip_prefix(&self.prefix)?.strip_prefix('/')
    }
}

impl std::fmt::Display for S3Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "s3:{endpoint}/{}", self.bucket)?,
            None => write!(f, "s3://{}", self.bucket)?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

fn is_bucket(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (3..=255).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.')
}

fn is_prefix_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-/".contains(c)
}

fn has_odd_part(prefix: &str) -> bool {
    !prefix.is_empty() && prefix.split('/').any(|part| part.is_empty() || part == "." || part == "..")
}

fn is_amazon(host: &str) -> bool {
    host.strip_suffix(AMAZON).is_some_and(|front| front == "s3." || front.starts_with("s3."))
}

/// The region in `s3.eu-west-1.amazonaws.com`.
fn amazon_region(host: &str) -> Option<String> {
    let middle = host.strip_prefix("s3.")?.strip_suffix(AMAZON)?.strip_suffix('.')?;
    (!middle.is_empty() && !middle.contains('.')).then(|| middle.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: Option<&str>, region: Option<&str>, bucket: &str, prefix: &str) -> S3Address {
        S3Address {
            endpoint: endpoint.map(str::to_owned),
            region: region.map(str::to_owned),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    #[test]
    fn the_ways_to_write_an_address_are_understood_and_shown_again() {
        for (text, expected, shown) in [
            ("s3://vault", address(None, None, "vault", ""), "s3://vault"),
            ("s3://vault/db/prod/", address(None, None, "vault", "db/prod"), "s3://vault/db/prod"),
            (
                "s3:https://minio.example:9000/vault/db",
                address(Some("https://minio.example:9000"), None, "vault", "db"),
                "s3:https://minio.example:9000/vault/db",
            ),
            (
                "s3:http://127.0.0.1:9000/vault",
                address(Some("http://127.0.0.1:9000"), None, "vault", ""),
                "s3:http://127.0.0.1:9000/vault",
            ),
            (
                "s3:objects.example/vault/db",
                address(Some("https://objects.example"), None, "vault", "db"),
                "s3:https://objects.example/vault/db",
            ),
            ("s3:s3.amazonaws.com/vault/db", address(None, None, "vault", "db"), "s3://vault/db"),
            (
                "s3:https://s3.eu-west-1.amazonaws.com/vault",
                address(None, Some("eu-west-1"), "vault", ""),
                "s3://vault",
            ),
        ] {
            let parsed = S3Address::parse(text).unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_secret_in_it_is_not_repeated() {
        for bad in [
            "s3:",
            "s3://",
            "s3:///x",
            "s3://a",
            "s3:https://host",
            "s3:https:///b/c",
            "s3://va ult",
            "s3://vault/a//b",
            "s3://vault/../x",
            "s3://vault/a b",
        ] {
            let error = S3Address::parse(bad).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{bad}");
        }
        let error = S3Address::parse("s3:https://key:hunter2@host/vault").unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    }

    #[test]
    fn a_bucket_that_cannot_be_one_is_named_with_the_rule() {
        let error = S3Address::parse("s3://b/p").unwrap_err().to_string();
        assert!(error.contains("`b` is not a valid bucket name; bucket names have 3"), "{error}");
        let error = S3Address::parse("s3:https://host/").unwrap_err().to_string();
        assert!(error.contains("it names no bucket"), "{error}");
    }

    #[test]
    fn names_and_keys_are_each_others_inverse_and_what_is_not_below_the_prefix_is_no_key() {
        let with = address(None, None, "vault", "db");
        assert_eq!(with.name("packs/a"), "db/packs/a");
        assert_eq!(with.key("db/packs/a"), Some("packs/a"));
        assert_eq!(with.key("db2/packs/a"), None);
        let without = address(None, None, "vault", "");
        assert_eq!(without.key(&without.name("config")), Some("config"));
    }
}
