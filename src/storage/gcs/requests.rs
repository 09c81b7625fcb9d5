//! How an object is put, read, listed and locked: the requests of the JSON interface.

use std::time::SystemTime;

use aws_smithy_types::base64;
use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::bucket::BucketLock;
use super::super::rest::{Dialect, Locked, Page};
use super::super::wire::Kind;
use super::super::wire::talk::{Answer, Draft, Failure, Talk, encoded};
use super::super::{ErrorKind, Listed};
use super::address::GcsAddress;
use super::auth::Auth;
use super::error;

/// Objects a page, the most that there are.
const PAGE_OBJECTS: &str = "1000";

/// A bucket, and who asks.
pub(super) struct Bucket {
    address: GcsAddress,
    endpoint: String,
    prefix: String,
    auth: Auth,
    /// Of packs.
    class: Option<String>,
    /// Who pays.
    user_project: Option<String>,
}

impl Bucket {
    pub(super) fn new(
        address: GcsAddress,
        endpoint: &str,
        auth: Auth,
        class: Option<String>,
        user_project: Option<String>,
    ) -> Self {
        let prefix = if address.prefix.is_empty() { String::new() } else { format!("{}/", address.prefix) };
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Self { address, endpoint, prefix, auth, class, user_project }
    }

    fn draft(&self, kind: Kind, method: &'static str, path: &str) -> Draft {
        let draft = Draft::new(kind, method, format!("{}/{path}", self.endpoint));
        match &self.user_project {
            Some(project) => draft.asking("userProject", project.clone()),
            None => draft,
        }
    }

    fn of_bucket(&self, kind: Kind, method: &'static str, rest: &str) -> Draft {
        self.draft(kind, method, &format!("storage/v1/b/{}{rest}", self.address.bucket))
    }

    fn object(&self, kind: Kind, method: &'static str, name: &str) -> Draft {
        self.of_bucket(kind, method, &format!("/o/{}", encoded(name)))
    }
}

fn retention_of(lock: Locked) -> Value {
    let mode = if lock.governance { "Unlocked" } else { "Locked" };
    let until = Timestamp::try_from(lock.until).unwrap_or(Timestamp::UNIX_EPOCH);
    json!({ "mode": mode, "retainUntilTime": until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() })
}

fn moment(told: Option<&Value>) -> Option<SystemTime> {
    told?.as_str()?.parse::<Timestamp>().ok().map(SystemTime::from)
}

fn number(told: Option<&Value>) -> Option<u64> {
    let told = told?;
    told.as_u64().or_else(|| told.as_str()?.parse().ok())
}

impl Dialect for Bucket {
    fn location(&self) -> String {
        self.address.to_string()
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn authorized(&self, talk: &Talk, draft: Draft) -> Result<Draft, Failure> {
        self.auth.authorized(talk, draft)
    }

    fn renew(&self, refused: &Draft) -> bool {
        self.auth.renew(refused)
    }

    fn put(&self, name: &str, body: &Bytes, is_pack: bool, lock: Option<Locked>) -> Draft {
        let checksum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, body) as u32;
        // The service checks it.
        let mut facts = json!({ "name": name, "crc32c": base64::encode(checksum.to_be_bytes()) });
        if let Some(facts) = facts.as_object_mut() {
            // Everything else is small, and read often.
            if let Some(class) = self.class.as_ref().filter(|_| is_pack) {
                facts.insert("storageClass".to_owned(), class.as_str().into());
            }
            if let Some(lock) = lock {
                facts.insert("retention".to_owned(), retention_of(lock));
            }
        }
        // No bytes hold their own checksum and length in words by chance.
        let boundary = format!("dumpvault-{checksum:08x}-{:x}", body.len());
        let head = format!(
            "--{boundary}\r\ncontent-type: application/json\r\n\r\n{facts}\r\n--{boundary}\r\ncontent-type: application/octet-stream\r\n\r\n"
        );
        self.draft(Kind::Put, "POST", &format!("upload/storage/v1/b/{}/o", self.address.bucket))
            .asking("uploadType", "multipart")
            .asking("ifGenerationMatch", "0")
            .asking("fields", "generation")
            .with("content-type", format!("multipart/related; boundary={boundary}"))
            .carrying(head)
            .carrying(body.clone())
            .carrying(format!("\r\n--{boundary}--\r\n"))
    }

    fn get(&self, name: &str, range: Option<(u64, u64)>) -> Draft {
        let draft = self.object(Kind::Get, "GET", name).asking("alt", "media");
        match range {
            Some((first, last)) => draft.with("range", format!("bytes={first}-{last}")),
            None => draft,
        }
    }

    fn head(&self, name: &str) -> Draft {
        self.object(Kind::Head, "GET", name).asking("fields", "size,retention")
    }

    fn list(&self, prefix: &str, from: Option<&str>) -> Draft {
        let mut draft = self
            .of_bucket(Kind::List, "GET", "/o")
            .asking("maxResults", PAGE_OBJECTS)
            // Not when it was changed last: a lock that is prolonged changes it.
            .asking("fields", "items(name,size,timeCreated),nextPageToken");
        if !prefix.is_empty() {
            draft = draft.asking("prefix", prefix);
        }
        match from {
            Some(from) => draft.asking("pageToken", from),
            None => draft,
        }
    }

    fn delete(&self, name: &str) -> Draft {
        self.object(Kind::Delete, "DELETE", name)
    }

    fn extend(&self, name: &str, lock: Locked) -> Draft {
        self.object(Kind::Other, "PATCH", name)
            .asking("fields", "retention")
            .with("content-type", "application/json")
            .carrying(json!({ "retention": retention_of(lock) }).to_string())
    }

    fn container(&self) -> Draft {
        self.of_bucket(Kind::Other, "GET", "").asking("fields", "versioning,objectRetention,retentionPolicy")
    }

    fn refusal(&self, answer: &Answer) -> Failure {
        error::refusal(answer)
    }

    fn is_taken(&self, failure: &Failure) -> bool {
        error::is_taken(failure)
    }

    fn is_doubtful(&self, failure: &Failure) -> bool {
        failure.kind == ErrorKind::NotFound
    }

    fn no_container(&self) -> Failure {
        let message = format!("there is no bucket `{}` ({})", self.address.bucket, error::NO_BUCKET);
        Failure::new(ErrorKind::Invalid, message)
    }

    fn facts_of(&self, answer: &Answer) -> Option<(u64, Option<SystemTime>)> {
        let told: Value = serde_json::from_slice(&answer.body).ok()?;
        let until = told.get("retention").and_then(|retention| moment(retention.get("retainUntilTime")));
        Some((number(told.get("size"))?, until))
    }

    fn page_of(&self, answer: &Answer) -> Result<Page, String> {
        let told: Value =
            serde_json::from_slice(&answer.body).map_err(|_| "it is not a listing".to_owned())?;
        let told = told.as_object().ok_or("it is not a listing")?;
        let mut page = Page::default();
        for item in told.get("items").and_then(Value::as_array).into_iter().flatten() {
            let name = item.get("name").and_then(Value::as_str).ok_or("an object has no name")?;
            let bytes = number(item.get("size")).ok_or_else(|| format!("`{name}` has no size"))?;
            let modified = moment(item.get("timeCreated")).unwrap_or(SystemTime::UNIX_EPOCH);
            page.objects.push(Listed { key: name.to_owned(), bytes, modified });
        }
        // An empty page may have a next one.
        let next = told.get("nextPageToken").and_then(Value::as_str).filter(|next| !next.is_empty());
        page.next = next.map(str::to_owned);
        Ok(page)
    }

    fn protection_of(&self, answer: &Answer) -> (BucketLock, Option<bool>) {
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let word = |of: &str, name: &str| told.get(of).and_then(|of| of.get(name)).cloned();
        let seconds = number(word("retentionPolicy", "retentionPeriod").as_ref());
        let default =
            seconds.map(|seconds| format!("the bucket's policy keeps objects for {} days", seconds / 86_400));
        let lock = match word("objectRetention", "mode").and_then(|mode| mode.as_str().map(str::to_owned)) {
            Some(mode) if mode.eq_ignore_ascii_case("enabled") => BucketLock::On(default),
            _ if default.is_some() => BucketLock::On(default),
            _ => BucketLock::Off,
        };
        (lock, Some(word("versioning", "enabled").and_then(|told| told.as_bool()) == Some(true)))
    }

    fn lock_hint(&self) -> &'static str {
        "make the bucket with object retention enabled"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_runtime_api::http::Headers;

    fn bucket() -> Bucket {
        let address = GcsAddress::parse("gs://vault/db").unwrap();
        let payer = Some("payer".to_owned());
        Bucket::new(
            address,
            "https://storage.googleapis.com/",
            Auth::Nobody,
            Some("NEARLINE".to_owned()),
            payer,
        )
    }

    fn page(body: &str) -> Result<Page, String> {
        let (headers, body) = (Headers::new(), body.as_bytes().to_vec());
        bucket().page_of(&Answer { status: 200, headers, body, wait: None })
    }

    #[test]
    fn a_pack_is_put_with_condition_checksum_class_lock_and_payer_and_its_bytes_are_not_copied() {
        let until = SystemTime::from("2027-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
        let body = Bytes::from_static(b"123456789");
        let put = bucket().put("db/packs/a", &body, true, Some(Locked { governance: true, until }));
        assert_eq!(put.url, "https://storage.googleapis.com/upload/storage/v1/b/vault/o");
        let query =
            |name: &str| put.query.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        assert_eq!((query("ifGenerationMatch"), query("userProject")), (Some("0"), Some("payer")));
        assert_eq!(put.body[1].as_ptr(), body.as_ptr());
        let head = String::from_utf8(put.body[0].to_vec()).unwrap();
        let facts: Value = serde_json::from_str(head.lines().nth(3).unwrap()).unwrap();
        // The check value of CRC-32C is e3069283.
        let expected = json!({
            "name": "db/packs/a", "crc32c": "4waSgw==", "storageClass": "NEARLINE",
            "retention": { "mode": "Unlocked", "retainUntilTime": "2027-01-01T00:00:00Z" },
        });
        assert_eq!(facts, expected);
    }

    #[test]
    fn names_are_one_part_of_the_path() {
        let get = bucket().get("db/packs/ab/cd", Some((0, 9)));
        assert_eq!(get.url, "https://storage.googleapis.com/storage/v1/b/vault/o/db%2Fpacks%2Fab%2Fcd");
        assert_eq!(get.header("range"), Some("bytes=0-9"));
    }

    #[test]
    fn a_page_is_understood_and_may_be_empty_with_a_next_one() {
        // A lock that is prolonged moves `updated`.
        let item = r#"{"name":"db/a","size":"5","updated":"2026-02-02T03:04:05Z","timeCreated":"2026-01-02T03:04:05.678Z"}"#;
        let listed = page(&format!(r#"{{"items":[{item}],"nextPageToken":"n"}}"#)).unwrap();
        assert_eq!((listed.objects[0].key.as_str(), listed.objects[0].bytes), ("db/a", 5));
        let created = SystemTime::from("2026-01-02T03:04:05.678Z".parse::<Timestamp>().unwrap());
        assert_eq!((listed.objects[0].modified, listed.next.as_deref()), (created, Some("n")));
        let empty = page(r#"{"nextPageToken":"n"}"#).unwrap();
        assert_eq!((empty.objects.len(), empty.next.as_deref()), (0, Some("n")));
        assert_eq!(page("{}").unwrap().next, None);
        for bad in ["", "[]", "<html>", r#"{"items":[{"size":"5"}]}"#, r#"{"items":[{"name":"a"}]}"#] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }
}
