//! How addresses of containers are written, and which host has them.

use super::super::{ErrorKind, StorageError};

/// Longest prefix, in bytes: names of blobs have 1024, keys 255.
const PREFIX_BYTES_MAX: usize = 700;
/// Where accounts of the public cloud are.
const PUBLIC: &str = "blob.core.windows.net";

/// Where a repository lies on Azure. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureAddress {
    /// Scheme, host, port, and the account where it stands in the path; `None` is the account's usual endpoint.
    pub endpoint: Option<String>,
    /// The container.
    pub container: String,
    /// What stands before every key, without slashes at its ends; may be empty.
    pub prefix: String,
}

impl AzureAddress {
    /// Whether `text` means to be such an address.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("azure:")
    }

    /// Understands `azure://container/prefix` and `azure:https://host/container/prefix`. A host that is a number or one
    /// word has the account in its path: `azure:http://127.0.0.1:10000/account/container`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        // The address may hold a signature; it is not repeated then.
        let refused = |shown: &str, reason: &str| {
            Err(StorageError::permanent("read", shown, ErrorKind::Invalid, reason.to_owned()))
        };
        let rest = text.strip_prefix("azure:").unwrap_or_default();
        if rest.contains(['@', '?', '#']) {
            let reason = "signatures and keys do not belong in an address: set AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_ACCOUNT_KEY";
            return refused("azure:…", reason);
        }
        let (endpoint, path) = match rest.strip_prefix("//") {
            Some(path) => (None, path),
            None => {
                let Some((scheme, rest)) = rest.split_once("://") else {
                    return refused(
                        text,
                        "write azure://container/prefix or azure:https://host/container/prefix",
                    );
                };
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                if !matches!(scheme, "http" | "https") || host.is_empty() {
                    return refused(text, "it names no host");
                }
                match has_account_in_path(host) {
                    false => (Some(format!("{scheme}://{host}")), path),
                    true => {
                        let (account, path) = path.split_once('/').unwrap_or((path, ""));
                        (Some(format!("{scheme}://{host}/{account}")), path)
                    }
                }
            }
        };
        let (container, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        if container.is_empty() {
            return refused(text, "it names no container");
        }
        if !is_container(container) {
            let rule = "container names have 3 to 63 characters: small letters, digits, hyphens";
            return refused(text, &format!("`{container}` is not a valid container name; {rule}"));
        }
        if prefix.split('/').any(|part| part.ends_with('.')) {
            return refused(text, "no part of the prefix may end in a dot, which the service cuts off");
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(allowed) || prefix.contains("//") {
            return refused(text, "the prefix may hold letters, digits and ._-/ and no empty part");
        }
        Ok(Self { endpoint, container: container.to_owned(), prefix: prefix.to_owned() })
    }

    /// The service's address, up to the container: the one that the address names, the one set, or the account's.
    ///
    /// # Errors
    /// When nothing names the account.
    pub(super) fn service(&self, endpoint: Option<&str>, account: Option<&str>) -> Result<Service, String> {
        let named = self.endpoint.as_deref().or(endpoint).map(|found| found.trim_end_matches('/'));
        let Some(named) = named else {
            let account = account.ok_or(
                "nothing names the storage account: set `account` in [azure] or AZURE_STORAGE_ACCOUNT_NAME",
            )?;
            let url = format!("https://{account}.{PUBLIC}");
            return Ok(Service { url, account: account.to_owned() });
        };
        let rest = named.split_once("://").map(|(_, rest)| rest);
        let rest =
            rest.ok_or_else(|| format!("`{named}` is not an address of a service: it begins with https://"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let in_path = has_account_in_path(host);
        let told = match (in_path, path) {
            (true, "") => account.map(str::to_owned),
            (true, path) => path.split('/').next().map(str::to_owned),
            // `account-secondary` is the account's second region.
            (false, _) => host.split('.').next().map(|word| word.trim_end_matches("-secondary").to_owned()),
        };
        let account = match (account, told) {
            (Some(account), _) if !in_path => account.to_owned(),
            (_, Some(told)) => told,
            _ => return Err("nothing names the storage account".to_owned()),
        };
        let url = match in_path && path.is_empty() {
            true => format!("{named}/{account}"),
            false => named.to_owned(),
        };
        Ok(Service { url, account })
    }
}

/// Where requests go, and whose container it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub url: String,
    pub account: String,
}

impl std::fmt::Display for AzureAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "azure:{endpoint}/{}", self.container)?,
            None => write!(f, "azure://{}", self.container)?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

fn is_container(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_plain = (3..=63).contains(&name.len()) && name.bytes().all(allowed);
    is_plain && !name.starts_with('-') && !name.ends_with('-') && !name.contains("--")
}

/// Emulators have all accounts on one host.
fn has_account_in_path(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(_) => return true,
        None => host.split(':').next().unwrap_or_default(),
    };
    !name.contains('.') || name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_an_address_are_understood_and_shown_again() {
        for (text, endpoint, container, prefix) in [
            ("azure://vault", None, "vault", ""),
            ("azure://vault/db/prod", None, "vault", "db/prod"),
            (
                "azure:https://a.blob.core.chinacloudapi.cn/vault/db",
                Some("https://a.blob.core.chinacloudapi.cn"),
                "vault",
                "db",
            ),
            ("azure:http://127.0.0.1:10000/dev/vault/db", Some("http://127.0.0.1:10000/dev"), "vault", "db"),
            ("azure:http://azurite:10000/dev/vault", Some("http://azurite:10000/dev"), "vault", ""),
            ("azure:http://[::1]:10000/dev/vault", Some("http://[::1]:10000/dev"), "vault", ""),
        ] {
            let parsed = AzureAddress::parse(text).unwrap();
            let expected = AzureAddress {
                endpoint: endpoint.map(str::to_owned),
                container: container.to_owned(),
                prefix: prefix.to_owned(),
            };
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_a_signature_in_it_is_not_repeated() {
        for bad in [
            "azure:",
            "azure://",
            "azure:///x",
            "azure://ab",
            "azure://Vault",
            "azure://va--ult",
            "azure:https://host.example",
            "azure:ftp://host.example/vault",
            "azure://vault/a//b",
            "azure://vault/a./b",
            "azure://vault/a b",
            "azure:http://127.0.0.1:1/dev",
        ] {
            assert_eq!(AzureAddress::parse(bad).unwrap_err().kind, ErrorKind::Invalid, "{bad}");
        }
        let error = AzureAddress::parse("azure://vault/x?sv=2024&sig=hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("AZURE_STORAGE_SAS_TOKEN"), "{error}");
    }

    #[test]
    fn a_prefix_that_the_service_would_cut_short_is_refused_or_written_without_its_slash() {
        assert_eq!(AzureAddress::parse("azure://vault/db//").unwrap().prefix, "db");
        assert_eq!(AzureAddress::parse("azure://vault/.db/a.b").unwrap().prefix, ".db/a.b");
        for bad in [
            "azure://vault/db.",
            "azure://vault/db./",
            "azure://vault/a./b",
            "azure://vault/..",
            "azure://vault/a/.",
        ] {
            let error = AzureAddress::parse(bad).unwrap_err();
            assert!(
                error.kind == ErrorKind::Invalid && error.to_string().contains("end in a dot"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_account_is_told_by_the_setting_the_host_or_the_path() {
        let service = |address: &str, endpoint: Option<&str>, account: Option<&str>| {
            let found = AzureAddress::parse(address).unwrap().service(endpoint, account);
            found.map(|found| (found.url, found.account))
        };
        let told = |url: &str, account: &str| Ok((url.to_owned(), account.to_owned()));
        let usual = told("https://shop.blob.core.windows.net", "shop");
        assert_eq!(service("azure://vault", None, Some("shop")), usual);
        assert!(service("azure://vault", None, None).unwrap_err().contains("AZURE_STORAGE_ACCOUNT_NAME"));
        let other = "https://shop.blob.core.usgovcloudapi.net";
        assert_eq!(service("azure://vault", Some(other), None), told(other, "shop"));
        assert_eq!(
            service("azure:http://127.0.0.1:1/dev/vault", None, Some("shop")),
            told("http://127.0.0.1:1/dev", "dev")
        );
        assert_eq!(
            service("azure://vault", Some("http://127.0.0.1:1"), Some("shop")),
            told("http://127.0.0.1:1/shop", "shop")
        );
        // A host of one's own before the account.
        assert_eq!(
            service("azure:https://blobs.example.org/vault", None, Some("shop")),
            told("https://blobs.example.org", "shop")
        );
    }
}
