//! Object Lock: what a restore needs cannot be deleted by anybody for a while, whatever keys a thief has.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};

use super::super::retention::{Retention, is_kept};
use super::super::{ErrorKind, ObjectLock, StorageError, check_key};
use super::S3Storage;
use super::error::Failure;

impl S3Storage {
    fn retention(&self, key: &str) -> Option<Retention> {
        self.settings.retention.filter(|_| is_kept(key))
    }

    pub(super) fn lock_mode(&self, key: &str) -> Option<ObjectLockMode> {
        self.retention(key).map(|retention| match retention.governance {
            true => ObjectLockMode::Governance,
            false => ObjectLockMode::Compliance,
        })
    }

    pub(super) fn lock_end(&self, key: &str) -> Option<DateTime> {
        let end = self.wire.service_time().checked_add(self.retention(key)?.lasts)?;
        Some(DateTime::from(end))
    }
}

impl ObjectLock for S3Storage {
    fn lasts(&self) -> Duration {
        self.settings.retention.map_or(Duration::ZERO, |retention| retention.lasts)
    }

    fn now(&self) -> SystemTime {
        self.wire.service_time()
    }

    fn locked_until(&self, key: &str) -> Result<Option<SystemTime>, StorageError> {
        check_key("read", key)?;
        self.settings.backoff.run(&mut || {
            // Told with the object's size, and known to more services than the question for the lock alone.
            let answer = self.wait(async |client| match self.head_object(client, key).await {
                Err(failure) if failure.is_unexplained() => {
                    let status = failure.status;
                    match self.ask_by_get(client, key, failure).await {
                        Ok(_) => Err(Failure::alien(status, "it lets the object be read, and not asked for")),
                        Err(failure) => Err(failure),
                    }
                }
                answer => answer,
            });
            let answer = answer.map_err(self.failed("read the lock of", key))?;
            Ok(answer.object_lock_retain_until_date().and_then(|end| SystemTime::try_from(*end).ok()))
        })
    }

    fn extend(&self, key: &str, until: SystemTime) -> Result<(), StorageError> {
        check_key("write", key)?;
        let mode = match self.settings.retention {
            Some(Retention { governance: true, .. }) => ObjectLockRetentionMode::Governance,
            _ => ObjectLockRetentionMode::Compliance,
        };
        let retention =
            ObjectLockRetention::builder().mode(mode).retain_until_date(DateTime::from(until)).build();
        let extended = self.settings.backoff.run(&mut || {
            let locked = self.wait(async |client| {
                let request = client.put_object_retention().bucket(&self.address.bucket);
                let request = request.key(self.address.name(key)).retention(retention.clone());
                Ok(request.send().await?)
            });
            locked.map_err(self.failed("lock", key)).map(|_| ())
        });
        match extended {
            // One that lasts longer, of a host that locks for longer, cannot be made shorter.
            Err(error) if error.kind == ErrorKind::Denied => match self.locked_until(key) {
                Ok(Some(end)) if end >= until => Ok(()),
                _ => Err(error),
            },
            outcome => outcome,
        }
    }
}
