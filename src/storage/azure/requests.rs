//! How a blob is put, read, listed and locked: the requests of the Blob service's REST interface.

use std::time::SystemTime;

use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use jiff::fmt::rfc2822;
use jiff::{Timestamp, tz};

use super::super::bucket::BucketLock;
use super::super::rest::{Dialect, Locked, Page};
use super::super::wire::Kind;
use super::super::wire::talk::{Answer, Draft, Failure, Talk, encoded};
use super::super::{ErrorKind, Listed};
use super::address::{AzureAddress, Service};
use super::auth::Auth;
use super::error;
use super::xml::{element, text_of};

/// The version of the service's interface.
const VERSION: &str = "2023-11-03";
/// Objects a page, the most that there are.
const PAGE_OBJECTS: &str = "5000";

/// A container, and who asks.
pub(super) struct Blobs {
    address: AzureAddress,
    /// The container's URL.
    url: String,
    prefix: String,
    auth: Auth,
    /// Of packs.
    tier: Option<String>,
}

impl Blobs {
    pub(super) fn new(address: AzureAddress, service: &Service, auth: Auth, tier: Option<String>) -> Self {
        let url = format!("{}/{}", service.url, address.container);
        let prefix = if address.prefix.is_empty() { String::new() } else { format!("{}/", address.prefix) };
        Self { address, url, prefix, auth, tier }
    }

    fn blob(&self, kind: Kind, method: &'static str, name: &str) -> Draft {
        let path = name.split('/').map(encoded).collect::<Vec<_>>().join("/");
        Draft::new(kind, method, format!("{}/{path}", self.url))
    }

    fn locked(draft: Draft, lock: Locked) -> Draft {
        let mode = if lock.governance { "unlocked" } else { "locked" };
        draft
            .with("x-ms-immutability-policy-mode", mode)
            .with("x-ms-immutability-policy-until-date", http_date(lock.until))
    }
}

impl Dialect for Blobs {
    fn location(&self) -> String {
        self.address.to_string()
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn authorized(&self, talk: &Talk, draft: Draft) -> Result<Draft, Failure> {
        let draft = draft.with("x-ms-version", VERSION).with("x-ms-date", http_date(SystemTime::now()));
        self.auth.authorized(talk, draft)
    }

    fn renew(&self, refused: &Draft) -> bool {
        self.auth.renew(refused)
    }

    fn put(&self, name: &str, body: &Bytes, is_pack: bool, lock: Option<Locked>) -> Draft {
        // Also called CRC-64/NVME. Least significant byte first.
        let checksum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, body).to_le_bytes();
        let mut draft = self
            .blob(Kind::Put, "PUT", name)
            .with("x-ms-blob-type", "BlockBlob")
            .with("content-type", "application/octet-stream")
            .with("if-none-match", "*")
            // The service checks it. An MD5 instead of it takes as long as all else of an upload.
            .with("x-ms-content-crc64", base64::encode(checksum));
        // Everything else is small, and read often.
        if let Some(tier) = self.tier.as_ref().filter(|_| is_pack) {
            draft = draft.with("x-ms-access-tier", tier.clone());
        }
        if let Some(lock) = lock {
            draft = Self::locked(draft, lock);
        }
        if body.is_empty() { draft } else { draft.carrying(body.clone()) }
    }

    fn get(&self, name: &str, range: Option<(u64, u64)>) -> Draft {
        let draft = self.blob(Kind::Get, "GET", name);
        match range {
            Some((first, last)) => draft.with("range", format!("bytes={first}-{last}")),
            None => draft,
        }
    }

    fn head(&self, name: &str) -> Draft {
        self.blob(Kind::Head, "HEAD", name)
    }

    fn list(&self, prefix: &str, from: Option<&str>) -> Draft {
        let mut draft = Draft::new(Kind::List, "GET", self.url.clone())
            .asking("restype", "container")
            .asking("comp", "list")
            .asking("maxresults", PAGE_OBJECTS);
        if !prefix.is_empty() {
            draft = draft.asking("prefix", prefix);
        }
        match from {
            Some(from) => draft.asking("marker", from),
            None => draft,
        }
    }

    fn delete(&self, name: &str) -> Draft {
        self.blob(Kind::Delete, "DELETE", name)
    }

    fn extend(&self, name: &str, lock: Locked) -> Draft {
        Self::locked(self.blob(Kind::Other, "PUT", name).asking("comp", "immutabilityPolicies"), lock)
    }

    fn container(&self) -> Draft {
        Draft::new(Kind::Other, "GET", self.url.clone()).asking("restype", "container")
    }

    fn refusal(&self, answer: &Answer) -> Failure {
        error::refusal(answer)
    }

    fn is_taken(&self, failure: &Failure) -> bool {
        error::is_taken(failure)
    }

    fn is_doubtful(&self, failure: &Failure) -> bool {
        failure.status == 404 && failure.code.is_empty()
    }

    fn no_container(&self) -> Failure {
        let message = format!("there is no container `{}` ({})", self.address.container, error::NO_CONTAINER);
        Failure::new(ErrorKind::Invalid, message)
    }

    fn facts_of(&self, answer: &Answer) -> Option<(u64, Option<SystemTime>)> {
        let until = moment(answer.header("x-ms-immutability-policy-until-date"));
        Some((answer.header("content-length").parse().ok()?, until))
    }

    fn page_of(&self, answer: &Answer) -> Result<Page, String> {
        let text = std::str::from_utf8(&answer.body).map_err(|_| "it is not text".to_owned())?;
        if !text.contains("<EnumerationResults") {
            return Err("it is not a listing".to_owned());
        }
        let mut page = Page::default();
        let mut rest = text;
        while let Some((blob, behind)) = element(rest, "Blob") {
            rest = behind;
            let is_folder = text_of(blob, "ResourceType").as_deref() == Some("directory")
                || text_of(blob, "hdi_isfolder").as_deref() == Some("true");
            let name = text_of(blob, "Name").ok_or("a blob has no name")?;
            if is_folder {
                continue;
            }
            let told = |tag: &str| text_of(blob, tag).ok_or_else(|| format!("`{name}` has no {tag}"));
            let bytes = told("Content-Length")?;
            let bytes = bytes.parse().map_err(|_| format!("`{name}` has no size"))?;
            let modified = moment(&told("Last-Modified")?).unwrap_or(SystemTime::UNIX_EPOCH);
            page.objects.push(Listed { key: name, bytes, modified });
        }
        // An empty page may have a next one.
        page.next = text_of(rest, "NextMarker").filter(|next| !next.is_empty());
        if page.next.is_none() && !text.contains("</EnumerationResults>") {
            return Err("it ends too early".to_owned());
        }
        Ok(page)
    }

    fn protection_of(&self, answer: &Answer) -> (BucketLock, Option<bool>) {
        let lock = match answer.header("x-ms-immutable-storage-with-versioning-enabled") {
            "true" => BucketLock::On(None),
            "false" => BucketLock::Off,
            _ => BucketLock::Unknown("the container does not tell".to_owned()),
        };
        // Version-level immutability needs versions. Otherwise only the account's own properties tell of them.
        let versions = matches!(lock, BucketLock::On(_)).then_some(true);
        (lock, versions)
    }

    fn lock_hint(&self) -> &'static str {
        "turn on version-level immutability for the container or its account"
    }
}

/// A moment as headers have it: `Fri, 26 Jun 2015 23:39:12 GMT`.
fn http_date(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    let utc = time.to_zoned(tz::TimeZone::UTC);
    utc.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn moment(text: &str) -> Option<SystemTime> {
    rfc2822::parse(text).ok().map(|time| SystemTime::from(time.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_runtime_api::http::Headers;

    fn blobs() -> Blobs {
        let address = AzureAddress::parse("azure:http://127.0.0.1:1/dev/vault/db").unwrap();
        let service = address.service(None, None).unwrap();
        Blobs::new(address, &service, Auth::none(), Some("Cool".to_owned()))
    }

    fn page(body: &str) -> Result<Page, String> {
        let (headers, body) = (Headers::new(), body.as_bytes().to_vec());
        blobs().page_of(&Answer { status: 200, headers, body, wait: None })
    }

    fn blob(name: &str, more: &str) -> String {
        format!(
            "<Blob><Name>{name}</Name><Properties><Last-Modified>Fri, 26 Jun 2015 23:39:12 GMT</Last-Modified><Content-Length>5</Content-Length>{more}</Properties></Blob>"
        )
    }

    #[test]
    fn a_page_is_understood_and_folders_of_a_hierarchy_are_left_out() {
        let listing = format!(
            "<?xml version=\"1.0\"?><EnumerationResults ServiceEndpoint=\"x\"><Prefix>db/</Prefix><Blobs>{}{}{}</Blobs><NextMarker>2!a&amp;b</NextMarker></EnumerationResults>",
            blob("db/a", ""),
            blob("db/packs", "<ResourceType>directory</ResourceType>"),
            blob("db/b&amp;c", ""),
        );
        let page = page(&listing).unwrap();
        let names: Vec<&str> = page.objects.iter().map(|listed| listed.key.as_str()).collect();
        assert_eq!(names, ["db/a", "db/b&c"]);
        assert_eq!(page.objects[0].bytes, 5);
        assert_eq!(http_date(page.objects[0].modified), "Fri, 26 Jun 2015 23:39:12 GMT");
        assert_eq!(page.next.as_deref(), Some("2!a&b"));
    }

    #[test]
    fn an_empty_page_may_have_a_next_one_and_half_a_page_is_none() {
        let empty = "<EnumerationResults><Blobs /><NextMarker>n</NextMarker></EnumerationResults>";
        assert_eq!(page(empty).unwrap().next.as_deref(), Some("n"));
        let last = "<EnumerationResults><Blobs></Blobs><NextMarker/></EnumerationResults>";
        assert_eq!(page(last).unwrap().next, None);
        for bad in [
            "<EnumerationResults><Blobs>",
            "<html></html>",
            "",
            "<EnumerationResults><Blob><Name>a</Name></Blob>",
        ] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pack_is_put_with_condition_hash_tier_and_lock() {
        let until = SystemTime::from("2027-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
        let lock = Some(Locked { governance: false, until });
        let put = blobs().put("db/packs/a", &Bytes::from_static(b"123456789"), true, lock);
        assert_eq!(put.url, "http://127.0.0.1:1/dev/vault/db/packs/a");
        for (name, value) in [
            ("if-none-match", "*"),
            // The check value of CRC-64/NVME is ae8b14860a799888.
            ("x-ms-content-crc64", "iJh5CoYUi64="),
            ("x-ms-access-tier", "Cool"),
            ("x-ms-immutability-policy-mode", "locked"),
            ("x-ms-immutability-policy-until-date", "Fri, 01 Jan 2027 00:00:00 GMT"),
        ] {
            assert_eq!(put.header(name), Some(value));
        }
        let small = blobs().put("db/config", &Bytes::from_static(b"hello"), false, None);
        assert_eq!(
            (small.header("x-ms-access-tier"), small.header("x-ms-immutability-policy-mode")),
            (None, None)
        );
    }
}
