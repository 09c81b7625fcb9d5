//! A bucket of somebody's own objects: keys of any letters, with whatever goes with each.

use super::super::retry::{Backoff, RetryPolicy};
use super::super::{ErrorKind, Storage, StorageError};
use super::error::Failure;
use super::facts::{Headers, facts_of};
use super::put::without_checksum;
use super::{S3, S3Address, S3Settings, S3Storage};
use crate::base::objects::{
    Facts, Object, Objects, ObjectsError, Page, Parts, Place, Reach, Reached, Taken, Trouble,
};
use crate::base::run::Run;
use crate::base::unit::Problem;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, EncodingType};
use std::ops::Range;
use std::sync::Arc;

/// What became of a request that the service answered.
type Answered<T> = Result<T, (Trouble, String)>;

impl Reach for S3 {
    fn place(&self, reached: &Reached) -> Result<Place, Problem> {
        let wrong = |error: StorageError| {
            Problem::new(format!("`{}` is not a bucket: {}", error.object, error.source))
        };
        let address = S3Address::parse(&reached.address).map_err(wrong)?;
        Ok(Place {
            endpoint: address.endpoint.or_else(|| reached.endpoint.clone()),
            bucket: address.bucket,
            prefix: address.prefix,
        })
    }

    fn open(&self, reached: &Reached, run: &Run) -> Result<Arc<dyn Objects>, ObjectsError> {
        let address = S3Address::parse(&reached.address).map_err(troubled)?;
        let seed = run.clock.now().as_nanosecond() as u64 ^ u64::from(std::process::id());
        let backoff = Arc::new(Backoff::new(RetryPolicy::default(), seed, run.cancel.flag()));
        let usual = S3Settings::new(backoff);
        let (keys, session_token) = match reached.keys.clone() {
            Some((access, secret, token)) => (Some((access, secret)), token),
            None => (None, None),
        };
        let settings = S3Settings {
            endpoint: reached.endpoint.clone(),
            region: reached.region.clone(),
            path_style: reached.path_style,
            profile: reached.profile.clone(),
            ca_file: reached.ca_file.clone(),
            stall_timeout: reached.stall_timeout.unwrap_or(usual.stall_timeout),
            keys,
            session_token,
            ..usual
        };
        Ok(Arc::new(S3Storage::connect(address, settings).map_err(troubled)?))
    }
}

fn troubled(error: StorageError) -> ObjectsError {
    let trouble = match error.kind {
        ErrorKind::NotFound => Trouble::Missing,
        ErrorKind::Denied => Trouble::Denied,
        ErrorKind::NoCredentials => Trouble::Credentials,
        ErrorKind::Invalid => Trouble::Invalid,
        ErrorKind::Unreachable => Trouble::Unreachable,
        _ => Trouble::Other,
    };
    // What a source may do is another list than what a repository may.
    let what = error.source.to_string().replace("docs/offsite.md", "docs/buckets.md");
    ObjectsError { operation: error.operation, object: error.object, what, trouble }
}

impl S3Storage {
    /// The object's name in the bucket. The protocol has keys in UTF-8 alone.
    fn named(&self, operation: &'static str, key: &[u8]) -> Result<String, ObjectsError> {
        let key = std::str::from_utf8(key).map_err(|_| ObjectsError {
            operation,
            object: self.object(&String::from_utf8_lossy(key)),
            what: "its key is not UTF-8".to_owned(),
            trouble: Trouble::Other,
        })?;
        Ok(self.address.name(key))
    }

    /// Asks, again where that may help; `act` tells what it made of an answer that is none of those.
    fn asked<T>(
        &self,
        operation: &'static str,
        key: &[u8],
        act: &mut dyn FnMut() -> Result<Answered<T>, Failure>,
    ) -> Result<T, ObjectsError> {
        let shown = String::from_utf8_lossy(key);
        let outcome = self.settings.backoff.run(&mut || act().map_err(self.failed(operation, &shown)));
        outcome.map_err(troubled)?.map_err(|(trouble, what)| ObjectsError {
            operation,
            object: self.object(&shown),
            what,
            trouble,
        })
    }

    /// A page of the listing of what begins with `name`.
    fn listed(&self, name: &str, from: Option<&str>, most: Option<i32>) -> Result<Page, ObjectsError> {
        let page = self.asked("list", b"", &mut || {
            let outcome = self.wait(async |client| {
                let request = client
                    .list_objects_v2()
                    .bucket(&self.address.bucket)
                    .encoding_type(EncodingType::Url)
                    .set_max_keys(most)
                    .set_prefix(Some(name.to_owned()).filter(|name| !name.is_empty()))
                    .set_continuation_token(from.map(str::to_owned));
                Ok(request.send().await?)
            });
            outcome.map(Ok)
        })?;
        let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
        let mut objects = Vec::with_capacity(page.contents().len());
        for object in page.contents() {
            let name = object.key().unwrap_or_default();
            let name = if is_encoded { decoded(name) } else { name.as_bytes().to_vec() };
            let front = self.address.name("");
            let Some(key) = name.strip_prefix(front.as_bytes()) else { continue };
            let modified = object.last_modified().map(|time| (time.secs(), time.subsec_nanos()));
            objects.push(Object {
                key: key.to_vec(),
                bytes: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
                etag: object.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
                modified: modified.unwrap_or_default(),
                class: object
                    .storage_class()
                    .map(|class| class.as_str().to_owned())
                    .filter(|class| class != "STANDARD"),
                version: None,
                is_old: false,
            });
        }
        let next = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
        if page.is_truncated == Some(true) && next.is_none() {
            let what = "the service says that there is more, and not where".to_owned();
            let object = self.object("");
            return Err(ObjectsError { operation: "list", object, what, trouble: Trouble::Other });
        }
        Ok(Page { objects, next })
    }
}

impl S3Storage {
    /// A page of the listing of all versions. Where the next begins is the last key and version, apart by a byte that
    /// no key has.
    fn versions(&self, name: &str, from: Option<&str>) -> Result<Page, ObjectsError> {
        let (key_marker, id_marker) = from.and_then(|from| from.split_once('\0')).unzip();
        let page = self.asked("list", b"", &mut || {
            let outcome = self.wait(async |client| {
                let request = client
                    .list_object_versions()
                    .bucket(&self.address.bucket)
                    .encoding_type(EncodingType::Url)
                    .set_prefix(Some(name.to_owned()).filter(|name| !name.is_empty()))
                    .set_key_marker(key_marker.map(str::to_owned))
                    .set_version_id_marker(id_marker.filter(|id| !id.is_empty()).map(str::to_owned));
                Ok(request.send().await?)
            });
            outcome.map(Ok)
        })?;
        let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
        let plain = |name: &str| if is_encoded { decoded(name) } else { name.as_bytes().to_vec() };
        let mut objects = Vec::with_capacity(page.versions().len());
        for version in page.versions() {
            let name = plain(version.key().unwrap_or_default());
            let front = self.address.name("");
            let Some(key) = name.strip_prefix(front.as_bytes()) else { continue };
            let modified = version.last_modified().map(|time| (time.secs(), time.subsec_nanos()));
            objects.push(Object {
                key: key.to_vec(),
                bytes: u64::try_from(version.size().unwrap_or(0)).unwrap_or(0),
                etag: version.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
                modified: modified.unwrap_or_default(),
                class: version
                    .storage_class()
                    .map(|class| class.as_str().to_owned())
                    .filter(|class| class != "STANDARD"),
                version: version.version_id().map(str::to_owned),
                is_old: version.is_latest() != Some(true),
            });
        }
        let marker = page.next_key_marker().map(plain).and_then(|key| String::from_utf8(key).ok());
        let next = marker.filter(|_| page.is_truncated() == Some(true));
        if page.is_truncated() == Some(true) && next.is_none() {
            let what = "the service says that there is more, and not where".to_owned();
            let object = self.object("");
            return Err(ObjectsError { operation: "list", object, what, trouble: Trouble::Other });
        }
        let id = page.next_version_id_marker().unwrap_or_default();
        Ok(Page { objects, next: next.map(|key| format!("{key}\0{id}")) })
    }
}

impl Objects for S3Storage {
    fn place(&self) -> Place {
        let S3Address { endpoint, bucket, prefix, .. } = self.address.clone();
        Place { endpoint, bucket, prefix }
    }

    fn page(&self, from: Option<&str>, versions: bool) -> Result<Page, ObjectsError> {
        let front = self.address.name("");
        if versions { self.versions(&front, from) } else { self.listed(&front, from, None) }
    }

    fn look(&self, key: &[u8]) -> Result<Option<Object>, ObjectsError> {
        // A listing, and no HEAD: what it says is compared with what listings said.
        let name = self.named("read", key)?;
        let page = self.listed(&name, None, Some(1))?;
        Ok(page.objects.into_iter().find(|object| object.key == key))
    }

    fn read(&self, object: &Object, range: Range<u64>) -> Result<Taken, ObjectsError> {
        let name = self.named("read", &object.key)?;
        let is_whole = range.start == 0 && range.end >= object.bytes;
        let wanted = (!is_whole).then(|| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let etag = Some(format!("\"{}\"", object.etag)).filter(|_| !object.etag.is_empty());
        self.asked("read", &object.key, &mut || {
            let outcome = self.wait(async |client| {
                let request = client
                    .get_object()
                    .bucket(&self.address.bucket)
                    .key(&name)
                    .set_if_match(etag.clone())
                    .set_version_id(object.version.clone())
                    .set_range(wanted.clone());
                let mut answer = request.send().await?;
                if !is_whole && answer.content_range().is_none() {
                    return Ok(Err((
                        Trouble::Other,
                        "the service gave other bytes than those asked for".to_owned(),
                    )));
                }
                // Not every service knows the condition, and each tells what it gives.
                let given = answer.e_tag().map(|tag| tag.trim_matches('"'));
                if given.is_some_and(|given| !object.etag.is_empty() && given != object.etag) {
                    return Ok(Err((Trouble::Changed, "it was overwritten".to_owned())));
                }
                let facts = facts_of(&answer);
                let tags = u32::try_from(answer.tag_count().unwrap_or(0)).unwrap_or(0);
                let mut bytes = Vec::with_capacity(len.min(64 << 20));
                while let Some(piece) = self.piece(&mut answer).await? {
                    if bytes.len() + piece.len() > len {
                        return Ok(Err((Trouble::Changed, "it is longer than the listing says".to_owned())));
                    }
                    bytes.extend_from_slice(&piece);
                }
                match bytes.len() == len {
                    true => Ok(Ok(Taken { bytes, facts, tags })),
                    // A length that the service itself told is the length of the object.
                    false => Err(Failure::cut(format_args!("{} bytes of {len}", bytes.len()))),
                }
            });
            told(outcome)
        })
    }

    fn tags(&self, object: &Object) -> Result<Vec<(String, String)>, ObjectsError> {
        let name = self.named("read", &object.key)?;
        let answer = self.asked("read", &object.key, &mut || {
            told(self.wait(async |client| {
                let request = client.get_object_tagging().bucket(&self.address.bucket).key(&name);
                Ok(Ok(request.set_version_id(object.version.clone()).send().await?))
            }))
        })?;
        let mut tags: Vec<(String, String)> =
            answer.tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect();
        tags.sort();
        Ok(tags)
    }

    fn put(&self, key: &[u8], bytes: Vec<u8>, facts: &Facts) -> Result<(), ObjectsError> {
        let name = self.named("write", key)?;
        let (body, headers) = (bytes::Bytes::from(bytes), Headers::of(facts));
        self.asked("write", key, &mut || {
            let outcome = self.manners.send(body.len(), |manner| {
                self.wait(async |client| {
                    let request = client.put_object().bucket(&self.address.bucket).key(&name);
                    let request = headers.on_put(request);
                    let request = request.body(ByteStream::from(body.clone())).customize();
                    let request = if manner.signed { request } else { request.disable_payload_signing() };
                    let request = match manner.checksum {
                        true => request,
                        false => request.config_override(without_checksum()),
                    };
                    Ok(request.send().await?)
                })
            });
            told(outcome.map(|_| Ok(())))
        })
    }

    fn begin(&self, key: &[u8], facts: &Facts) -> Result<Box<dyn Parts + '_>, ObjectsError> {
        let name = self.named("write", key)?;
        let headers = Headers::of(facts);
        let upload = self.asked("write", key, &mut || {
            told(self.wait(async |client| {
                let request = client.create_multipart_upload().bucket(&self.address.bucket).key(&name);
                Ok(Ok(headers.on_parts(request).send().await?))
            }))
        })?;
        let id = upload.upload_id.unwrap_or_default();
        Ok(Box::new(Uploading {
            storage: self,
            key: key.to_vec(),
            name,
            id,
            parts: Vec::new(),
            is_over: false,
        }))
    }

    fn delete(&self, key: &[u8]) -> Result<(), ObjectsError> {
        let name = self.named("delete", key)?;
        let outcome = self.asked("delete", key, &mut || {
            told(self.wait(async |client| {
                let request = client.delete_object().bucket(&self.address.bucket).key(&name);
                request.send().await?;
                Ok(Ok(()))
            }))
        });
        match outcome {
            Err(error) if error.trouble == Trouble::Missing => Ok(()),
            outcome => outcome,
        }
    }

    fn requests(&self) -> u64 {
        Storage::requests(self).map_or(0, |requests| requests.total())
    }
}

/// An answer that is no failure of the service.
fn told<T>(outcome: Result<Answered<T>, Failure>) -> Result<Answered<T>, Failure> {
    match outcome {
        Err(failure) if failure.status == 412 || failure.code == "PreconditionFailed" => {
            Ok(Err((Trouble::Changed, "it was overwritten".to_owned())))
        }
        Err(failure) if failure.code == "InvalidObjectState" => {
            Ok(Err((Trouble::Archived, "it is archived; restore it in the bucket first".to_owned())))
        }
        outcome => outcome,
    }
}

/// An object that is put in parts.
struct Uploading<'a> {
    storage: &'a S3Storage,
    key: Vec<u8>,
    name: String,
    id: String,
    parts: Vec<CompletedPart>,
    is_over: bool,
}

impl Parts for Uploading<'_> {
    fn put(&mut self, bytes: Vec<u8>) -> Result<(), ObjectsError> {
        let (storage, body) = (self.storage, bytes::Bytes::from(bytes));
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let etag = storage.asked("write", &self.key, &mut || {
            told(storage.send_part(&self.name, &self.id, number, &body).map(Ok))
        })?;
        self.parts.push(CompletedPart::builder().part_number(number).set_e_tag(etag).build());
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ObjectsError> {
        let whole = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let storage = self.storage;
        storage.asked("write", &self.key, &mut || {
            told(storage.wait(async |client| {
                let request = client
                    .complete_multipart_upload()
                    .bucket(&storage.address.bucket)
                    .key(&self.name)
                    .upload_id(&self.id)
                    .multipart_upload(whole.clone());
                request.send().await?;
                Ok(Ok(()))
            }))
        })?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for Uploading<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let storage = self.storage;
            // Safe to ignore because no listing shows what is left, and the bucket's rules clear it away.
            let _ = storage.wait(async |client| {
                let request = client.abort_multipart_upload().bucket(&storage.address.bucket);
                Ok(request.key(&self.name).upload_id(&self.id).send().await?)
            });
        }
    }
}

/// A name as listings have it in the way of URLs: `%2F` for a byte, `+` for a blank.
fn decoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match escaped {
            Some(escaped) => {
                bytes.push(escaped);
                behind.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(if *byte == b'+' { b' ' } else { *byte });
                behind
            }
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_urls_are_decoded_and_what_is_none_stays() {
        assert_eq!(decoded("a%2Fb+c%2B%01"), b"a/b c+\x01");
        assert_eq!(decoded("100%"), b"100%");
        assert_eq!(decoded("%zz%4"), b"%zz%4");
        assert_eq!(decoded("%C3%BC%FF"), b"\xc3\xbc\xff");
    }
}
