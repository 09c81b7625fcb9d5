//! How an object is put without replacing another, whatever of that the service supports.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::{Builder, RequestChecksumCalculation};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption, StorageClass};

use super::super::precondition::{self, Attempt, is_named_by_hash};
use super::super::{ErrorKind, Put, StorageError};
use super::S3Storage;
use super::error::Failure;
use super::manners::{Conditional, Manners};

/// Services take no smaller parts, but for the last.
const PART_BYTES_MIN: usize = 5 << 20;

/// What makes a request go without a checksum in a header.
pub(super) fn without_checksum() -> Builder {
    Builder::new().request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
}

impl S3Storage {
    /// Puts the object unless something is there. The key is valid.
    pub(super) fn put_new(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        // Shared by all attempts; the SDK wants a body of its own.
        let body = self.bodies.body(bytes);
        let mut guessed = false;
        precondition::put_new(self, key, bytes, &mut |look| {
            let conditional = self.manners.conditional();
            let ask_first = match conditional {
                Conditional::Honoured => false,
                Conditional::Absent => true,
                // The service may ignore the header. Replacing an object that is named by its hash would be harmless.
                Conditional::Unknown => !is_named_by_hash(key),
            };
            if ask_first && let Some(put) = look()? {
                return Ok(Attempt::Done(put));
            }
            let put = if bytes.len() > self.settings.single_put_bytes_max {
                self.put_parts(key, &body, conditional != Conditional::Absent)
            } else {
                self.put_whole(key, &body, conditional != Conditional::Absent)
            };
            match put {
                Ok(()) => Ok(Attempt::Done(Put::Created)),
                Err(failure) if failure.is_there_already() => {
                    if failure.status == 412 {
                        self.manners.set_conditional(Conditional::Honoured);
                    }
                    Ok(Attempt::Taken)
                }
                Err(failure)
                    if conditional == Conditional::Unknown && Manners::may_be_the_condition(&failure) =>
                {
                    tracing::debug!("{} may not know If-None-Match", self.address);
                    self.manners.set_conditional(Conditional::Absent);
                    guessed = true;
                    Ok(Attempt::Again)
                }
                Err(failure) => {
                    if guessed {
                        self.manners.set_conditional(Conditional::Unknown);
                    }
                    if !failure.retryable {
                        self.manners.give_up();
                    }
                    Err(self.failed("write", key)(failure))
                }
            }
        })
    }

    fn storage_class(&self, key: &str) -> Option<StorageClass> {
        // Everything else is small, and read often.
        let class = self.settings.storage_class.as_deref().filter(|_| key.starts_with("packs/"));
        class.map(StorageClass::from)
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.settings.encryption.as_deref().map(ServerSideEncryption::from)
    }

    fn put_whole(&self, key: &str, body: &bytes::Bytes, conditional: bool) -> Result<(), Failure> {
        self.manners.send(body.len(), |manner| {
            let lock_mode = self.lock_mode(key);
            // A lock asks for some checksum of the body.
            let needs_md5 = !manner.checksum && lock_mode.is_some();
            self.wait(async |client| {
                let request = client
                    .put_object()
                    .bucket(&self.address.bucket)
                    .key(self.address.name(key))
                    .set_if_none_match(conditional.then(|| "*".to_owned()))
                    .set_storage_class(self.storage_class(key))
                    .set_server_side_encryption(self.encryption())
                    .set_ssekms_key_id(self.settings.kms_key.clone())
                    .set_object_lock_mode(lock_mode.clone())
                    .set_object_lock_retain_until_date(self.lock_end(key))
                    .set_content_md5(needs_md5.then(|| md5_of(body)))
                    .body(ByteStream::from(body.clone()))
                    .customize();
                let request = if manner.signed { request } else { request.disable_payload_signing() };
                let request = match manner.checksum {
                    true => request,
                    false => request.config_override(without_checksum()),
                };
                Ok(request.send().await.map(drop)?)
            })
        })
    }

    /// Puts a large object in parts; on any failure the parts are given up.
    fn put_parts(&self, key: &str, body: &bytes::Bytes, conditional: bool) -> Result<(), Failure> {
        let name = self.address.name(key);
        let upload = self.manners.send(0, |manner| {
            self.wait(async |client| {
                let request = client
                    .create_multipart_upload()
                    .bucket(&self.address.bucket)
                    .key(&name)
                    .set_storage_class(self.storage_class(key))
                    .set_server_side_encryption(self.encryption())
                    .set_ssekms_key_id(self.settings.kms_key.clone())
                    .set_object_lock_mode(self.lock_mode(key))
                    .set_object_lock_retain_until_date(self.lock_end(key))
                    .customize();
                let request = match manner.checksum {
                    true => request,
                    false => request.config_override(without_checksum()),
                };
                Ok(request.send().await?)
            })
        })?;
        let id = upload.upload_id().unwrap_or_default().to_owned();
        let outcome = self.send_parts(&name, &id, body, conditional);
        if outcome.is_err() {
            // Safe to ignore because leftovers are cleared away later, and no listing shows them.
            let _ = self.wait(async |client| {
                let request = client.abort_multipart_upload();
                Ok(request.bucket(&self.address.bucket).key(&name).upload_id(&id).send().await?)
            });
        }
        outcome
    }

    fn send_parts(
        &self,
        name: &str,
        id: &str,
        body: &bytes::Bytes,
        conditional: bool,
    ) -> Result<(), Failure> {
        let part_bytes = (self.settings.single_put_bytes_max / 4).max(PART_BYTES_MIN);
        let mut parts = Vec::new();
        for (number, start) in (1..).zip((0..body.len()).step_by(part_bytes)) {
            let part = body.slice(start..body.len().min(start + part_bytes));
            let tag = self.send_part(name, id, number, &part)?;
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(tag).build());
        }
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        self.wait(async |client| {
            let request = client
                .complete_multipart_upload()
                .bucket(&self.address.bucket)
                .key(name)
                .upload_id(id)
                .multipart_upload(whole.clone())
                .set_if_none_match(conditional.then(|| "*".to_owned()));
            request.send().await?;
            Ok(())
        })
    }

    /// Sends one part, again if need be: the others need not go again with it.
    pub(super) fn send_part(
        &self,
        name: &str,
        id: &str,
        number: i32,
        part: &bytes::Bytes,
    ) -> Result<Option<String>, Failure> {
        let mut last = None;
        let sent = self.settings.backoff.run(&mut || {
            let sent = self.manners.send(part.len(), |manner| {
                self.wait(async |client| {
                    let request = client
                        .upload_part()
                        .bucket(&self.address.bucket)
                        .key(name)
                        .upload_id(id)
                        .part_number(number)
                        .body(ByteStream::from(part.clone()))
                        .customize();
                    let request = if manner.signed { request } else { request.disable_payload_signing() };
                    let request = match manner.checksum {
                        true => request,
                        false => request.config_override(without_checksum()),
                    };
                    Ok(request.send().await?)
                })
            });
            sent.map_err(|failure| {
                let (kind, retryable, wait) = (failure.kind, failure.retryable, failure.wait);
                last = Some(failure);
                let object = format!("{}/{name} (part {number})", self.address.bucket);
                StorageError {
                    operation: "write",
                    object,
                    kind,
                    retryable,
                    wait,
                    source: "a part failed".into(),
                }
            })
        });
        match sent {
            Ok(answer) => Ok(answer.e_tag),
            Err(error) => Err(last.unwrap_or_else(|| Failure::cut(error))),
        }
    }

    /// Gives up the parts of large objects that nobody has finished for `older_than` or longer, by the service's clock;
    /// tells how many. Whoever is still sending one of them gets an error from `put`, so leave a slow writer its time.
    ///
    /// # Errors
    /// When they cannot be listed, or one cannot be given up.
    pub fn remove_leftovers(&self, older_than: Duration) -> Result<u64, StorageError> {
        let mut removed = 0;
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let page = self.wait(async |client| {
                let request = client
                    .list_multipart_uploads()
                    .bucket(&self.address.bucket)
                    .set_prefix(Some(self.address.name("")).filter(|name| !name.is_empty()))
                    .set_key_marker(key_marker.clone())
                    .set_upload_id_marker(id_marker.clone());
                Ok(request.send().await?)
            });
            let page = page.map_err(self.failed("list", ""))?;
            let now = self.wire.service_time();
            for upload in page.uploads() {
                let begun = upload.initiated().and_then(|time| SystemTime::try_from(*time).ok());
                let age = begun.and_then(|begun| now.duration_since(begun).ok());
                let (Some(name), Some(id), Some(age)) = (upload.key(), upload.upload_id(), age) else {
                    continue;
                };
                if age < older_than || self.address.key(name).is_none() {
                    continue;
                }
                let aborted = self.wait(async |client| {
                    let request = client.abort_multipart_upload();
                    Ok(request.bucket(&self.address.bucket).key(name).upload_id(id).send().await?)
                });
                match aborted {
                    Ok(_) => removed += 1,
                    Err(failure) if failure.kind == ErrorKind::NotFound => {}
                    Err(failure) => return Err(self.failed("delete", name)(failure)),
                }
            }
            if !page.is_truncated().unwrap_or(false) || page.next_key_marker.is_none() {
                return Ok(removed);
            }
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
        }
    }
}

/// As the header wants it.
fn md5_of(body: &[u8]) -> String {
    use md5::Digest as _;
    aws_smithy_types::base64::encode(md5::Md5::digest(body))
}
