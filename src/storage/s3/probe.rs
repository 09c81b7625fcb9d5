//! What a service does that nothing relies on and a person wants to know.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled};

use super::super::bucket::{Bucket, BucketLock, Replacing};
use super::super::{ErrorKind, StorageError, check_key};
use super::S3Storage;
use super::error::Failure;
use super::put::without_checksum;

impl Bucket for S3Storage {
    /// Puts `bytes` under `key`, which holds others, and sees what comes of it.
    ///
    /// # Errors
    /// When it fails in a way that tells nothing.
    fn probe_replacing(&self, key: &str, bytes: &[u8]) -> Result<Replacing, StorageError> {
        check_key("write", key)?;
        let put = self.wait(async |client| {
            let request = client
                .put_object()
                .bucket(&self.address.bucket)
                .key(self.address.name(key))
                .if_none_match("*")
                .body(ByteStream::from(bytes.to_vec()))
                .customize();
            let request = match self.manners.of(bytes.len()).checksum {
                true => request,
                false => request.config_override(without_checksum()),
            };
            Ok(request.send().await?)
        });
        match put {
            Ok(_) => Ok(Replacing::Replaced),
            Err(failure) if failure.is_there_already() => Ok(Replacing::Refused),
            Err(failure) if failure.is_not_implemented() => Ok(Replacing::HeaderUnknown),
            Err(failure) => Err(self.failed("write", key)(failure)),
        }
    }

    /// Whether the bucket has Object Lock.
    ///
    /// # Errors
    /// When the service does not answer.
    fn bucket_lock(&self) -> Result<BucketLock, StorageError> {
        let answer = self.wait(async |client| {
            Ok(client.get_object_lock_configuration().bucket(&self.address.bucket).send().await?)
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) if failure.code == "ObjectLockConfigurationNotFoundError" => {
                return Ok(BucketLock::Off);
            }
            Err(failure) if says_nothing(&failure) => {
                let status = failure.status;
                let code = Some(failure.code).filter(|code| !code.is_empty());
                return Ok(BucketLock::Unknown(code.unwrap_or_else(|| format!("HTTP {status}"))));
            }
            Err(failure) => return Err(self.failed("read", "")(failure)),
        };
        let lock = answer.object_lock_configuration();
        if lock.and_then(|lock| lock.object_lock_enabled()) != Some(&ObjectLockEnabled::Enabled) {
            return Ok(BucketLock::Off);
        }
        let retention = lock.and_then(|lock| lock.rule()).and_then(|rule| rule.default_retention());
        Ok(BucketLock::On(retention.map(|retention| {
            let mode = retention.mode().map_or("?", |mode| mode.as_str()).to_ascii_lowercase();
            match (retention.days(), retention.years()) {
                (Some(days), _) => format!("{mode} for {days} days"),
                (None, Some(years)) => format!("{mode} for {years} years"),
                (None, None) => mode,
            }
        })))
    }

    /// Whether what is replaced or deleted in the bucket is kept as an old version; `None` where the bucket does not
    /// say.
    ///
    /// # Errors
    /// When the service does not answer.
    fn keeps_versions(&self) -> Result<Option<bool>, StorageError> {
        let answer = self.wait(async |client| {
            Ok(client.get_bucket_versioning().bucket(&self.address.bucket).send().await?)
        });
        match answer {
            Ok(answer) => Ok(Some(answer.status() == Some(&BucketVersioningStatus::Enabled))),
            Err(failure) if says_nothing(&failure) => Ok(None),
            Err(failure) => Err(self.failed("read", "")(failure)),
        }
    }
}

/// Whether the service, or the policy, does not let this be known.
fn says_nothing(failure: &Failure) -> bool {
    failure.is_not_implemented()
        // An answer of success that is none: it does not know the question, and lists the bucket instead.
        || matches!(failure.status, 200 | 400 | 405)
        || matches!(failure.kind, ErrorKind::Denied | ErrorKind::NotFound)
}
