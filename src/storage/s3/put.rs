//! Putting without replacing.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption, StorageClass};

use super::super::{ErrorKind, Put, Storage, StorageError};
use super::S3Storage;
use super::error::Failure;

/// How often `put` starts over when the object that was in its way is gone at the second look.
const PUT_ATTEMPTS: u32 = 8;
/// From so many bytes on, a body's hash is not signed.
const UNSIGNED_BYTES_MIN: usize = 1 << 20;
/// Services take no smaller parts, but for the last.
const PART_BYTES_MIN: usize = 5 << 20;

/// What is known of the service's `If-None-Match` on writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conditional {
    /// Nothing yet.
    Unknown = 0,
    /// It refused to replace an object.
    Honoured = 1,
    /// It refused the header.
    Absent = 2,
}

/// What is under a key, compared with bytes.
enum Found {
    Nothing,
    Same,
    Other,
}

impl S3Storage {
    fn conditional(&self) -> Conditional {
        match self.conditional.load(Ordering::Relaxed) {
            1 => Conditional::Honoured,
            2 => Conditional::Absent,
            _ => Conditional::Unknown,
        }
    }

    fn learn(&self, conditional: Conditional) {
        self.conditional.store(conditional as u8, Ordering::Relaxed);
    }

    /// Puts the object unless something is there. The key is valid.
    pub(super) fn put_new(&self, key: &str, bytes: &[u8]) -> Result<Put, StorageError> {
        let there_already = |found: &Found| match found {
            Found::Nothing => None,
            Found::Same => Some(Ok(Put::AlreadyThere)),
            Found::Other => {
                let what = "other bytes are there".to_owned();
                Some(Err(self.error("write", key, ErrorKind::Conflict, what)))
            }
        };
        // Shared by all attempts; the SDK wants a body of its own.
        let body = self.bodies.body(bytes);
        for _ in 0..PUT_ATTEMPTS {
            let conditional = self.conditional();
            let ask_first = match conditional {
                Conditional::Honoured => false,
                Conditional::Absent => true,
                // The service may ignore the header. Replacing an object that is named by its hash would be harmless.
                Conditional::Unknown => !is_named_by_hash(key),
            };
            if ask_first && let Some(outcome) = there_already(&self.compare(key, bytes)?) {
                return outcome;
            }
            let put = if bytes.len() > self.settings.single_put_bytes_max {
                self.put_parts(key, &body, conditional != Conditional::Absent)
            } else {
                self.put_whole(key, &body, conditional != Conditional::Absent)
            };
            match put {
                Ok(()) => return Ok(Put::Created),
                Err(failure) if failure.is_there_already() => {
                    if failure.status == 412 {
                        self.learn(Conditional::Honoured);
                    }
                    if let Some(outcome) = there_already(&self.compare(key, bytes)?) {
                        return outcome;
                    }
                }
                Err(failure) if failure.is_not_implemented() && conditional != Conditional::Absent => {
                    tracing::debug!("{} knows no If-None-Match", self.address);
                    self.learn(Conditional::Absent);
                }
                Err(failure) => return Err(self.failed("write", key)(failure)),
            }
        }
        let failure = Failure::cut("objects under this key come and go");
        Err(self.failed("write", key)(failure))
    }

    fn compare(&self, key: &str, bytes: &[u8]) -> Result<Found, StorageError> {
        let writing = |error: StorageError| StorageError { operation: "write", ..error };
        match self.size(key).map_err(writing)? {
            None => return Ok(Found::Nothing),
            Some(size) if size != bytes.len() as u64 => return Ok(Found::Other),
            Some(_) => {}
        }
        match self.get(key, bytes.len() as u64) {
            Ok(there) if there == bytes => Ok(Found::Same),
            Ok(_) => Ok(Found::Other),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(writing(error)),
        }
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
        self.with_or_without_hash(body, |unsigned| {
            let request = self
                .client
                .put_object()
                .bucket(&self.address.bucket)
                .key(self.address.name(key))
                .set_if_none_match(conditional.then(|| "*".to_owned()))
                .set_storage_class(self.storage_class(key))
                .set_server_side_encryption(self.encryption())
                .set_ssekms_key_id(self.settings.kms_key.clone())
                .set_object_lock_mode(self.lock_mode(key))
                .set_object_lock_retain_until_date(self.lock_end(key))
                .body(ByteStream::from(body.clone()))
                .customize();
            let request = if unsigned { request.disable_payload_signing() } else { request };
            self.wait(async { Ok(request.send().await.map(drop)?) })
        })
    }

    /// Sends a body. The signature of a large one covers its checksum (CRC), as the SDK makes it anyway, and not its SHA-256: that takes
    /// longer than anything else in an upload, and who could change a body on its way could as well answer that it arrived. A service, or
    /// the policy of a bucket, may demand the hash all the same (`s3:x-amz-content-sha256`): what it refuses is sent once more with it.
    fn with_or_without_hash<T>(
        &self,
        body: &[u8],
        send: impl Fn(bool) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let checksum = self.client.config().request_checksum_calculation();
        let has_checksum = checksum != Some(&RequestChecksumCalculation::WhenRequired);
        if body.len() < UNSIGNED_BYTES_MIN || !has_checksum || self.signs_bodies.load(Ordering::Relaxed) {
            return send(false);
        }
        match send(true) {
            Err(failure) if matches!(failure.status, 400 | 403 | 501) => {
                let sent = send(false);
                if sent.is_ok() {
                    tracing::debug!("{} wants hashes of bodies", self.address);
                    self.signs_bodies.store(true, Ordering::Relaxed);
                }
                sent
            }
            outcome => outcome,
        }
    }

    /// Puts a large object in parts; on any failure the parts are given up.
    fn put_parts(&self, key: &str, body: &bytes::Bytes, conditional: bool) -> Result<(), Failure> {
        let name = self.address.name(key);
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.address.bucket)
            .key(&name)
            .set_storage_class(self.storage_class(key))
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.settings.kms_key.clone())
            .set_object_lock_mode(self.lock_mode(key))
            .set_object_lock_retain_until_date(self.lock_end(key));
        let upload = self.wait(async { Ok(request.send().await?) })?;
        let id = upload.upload_id().unwrap_or_default().to_owned();
        let outcome = self.send_parts(&name, &id, body, conditional);
        if outcome.is_err() {
            let request = self.client.abort_multipart_upload();
            let request = request.bucket(&self.address.bucket).key(&name).upload_id(&id);
            // Safe to ignore because leftovers are cleared away later, and no listing shows them.
            let _ = self.wait(async { Ok(request.send().await?) });
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
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.address.bucket)
            .key(name)
            .upload_id(id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_if_none_match(conditional.then(|| "*".to_owned()));
        self.wait(async {
            request.send().await?;
            Ok(())
        })
    }

    /// Sends one part, again if need be: the others need not go again with it.
    fn send_part(
        &self,
        name: &str,
        id: &str,
        number: i32,
        part: &bytes::Bytes,
    ) -> Result<Option<String>, Failure> {
        let mut last = None;
        let sent = self.settings.backoff.run(&mut || {
            let sent = self.with_or_without_hash(part, |unsigned| {
                let request = self
                    .client
                    .upload_part()
                    .bucket(&self.address.bucket)
                    .key(name)
                    .upload_id(id)
                    .part_number(number)
                    .body(ByteStream::from(part.clone()))
                    .customize();
                let request = if unsigned { request.disable_payload_signing() } else { request };
                self.wait(async { Ok(request.send().await?) })
            });
            sent.map_err(|failure| {
                let retryable = failure.retryable;
                last = Some(failure);
                StorageError {
                    operation: "write",
                    object: format!("{}/{name} (part {number})", self.address.bucket),
                    kind: ErrorKind::Other,
                    retryable,
                    source: "a part failed".into(),
                }
            })
        });
        match sent {
            Ok(answer) => Ok(answer.e_tag),
            Err(error) => Err(last.unwrap_or_else(|| Failure::cut(error))),
        }
    }

    /// Gives up the parts of large objects that nobody has finished for `older_than` or longer, by the service's clock; tells how
    /// many. Whoever is still sending one of them gets an error from `put`, so leave a slow writer its time.
    ///
    /// # Errors
    /// When they cannot be listed, or one cannot be given up.
    pub fn remove_leftovers(&self, older_than: Duration) -> Result<u64, StorageError> {
        let mut removed = 0;
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.address.bucket)
                .set_prefix(Some(self.address.name("")).filter(|name| !name.is_empty()))
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker);
            let page = self.wait(async { Ok(request.send().await?) }).map_err(self.failed("list", ""))?;
            let now = self.service_time();
            for upload in page.uploads() {
                let begun = upload.initiated().and_then(|time| SystemTime::try_from(*time).ok());
                let age = begun.and_then(|begun| now.duration_since(begun).ok());
                let (Some(name), Some(id), Some(age)) = (upload.key(), upload.upload_id(), age) else {
                    continue;
                };
                if age < older_than || self.address.key(name).is_none() {
                    continue;
                }
                let request = self.client.abort_multipart_upload();
                let request = request.bucket(&self.address.bucket).key(name).upload_id(id);
                match self.wait(async { Ok(request.send().await?) }) {
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

    /// The present moment by the service's clock, to the second.
    pub(super) fn service_time(&self) -> SystemTime {
        let ours = SystemTime::now();
        let skew_ms = self.skew_ms().unwrap_or(0);
        let skew = Duration::from_millis(skew_ms.unsigned_abs());
        let theirs = if skew_ms < 0 { ours.checked_sub(skew) } else { ours.checked_add(skew) };
        theirs.unwrap_or(ours)
    }
}

/// Whether the last part of the key is a hash of 32 bytes in hex: then no two contents ever want it.
fn is_named_by_hash(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| blake3::Hash::from_hex(name).is_ok())
}
