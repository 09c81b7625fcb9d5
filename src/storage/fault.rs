//! Class, code and next step of each failure of a storage.

use super::{ErrorKind, StorageError};
use crate::base::fault::{Class, Fault, Next};

impl Fault for StorageError {
    fn class(&self) -> Class {
        match self.kind {
            ErrorKind::Conflict => Class::Conflict,
            ErrorKind::NotFound
            | ErrorKind::ShortObject
            | ErrorKind::NoSpace
            | ErrorKind::Denied
            | ErrorKind::NoCredentials
            | ErrorKind::Unreachable
            | ErrorKind::Invalid
            | ErrorKind::Other => Class::NothingDone,
        }
    }

    fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::Conflict => "storage_conflict",
            ErrorKind::NotFound => "storage_not_found",
            ErrorKind::ShortObject => "storage_short_object",
            ErrorKind::NoSpace => "storage_full",
            ErrorKind::Denied => "storage_denied",
            ErrorKind::NoCredentials => "storage_no_credentials",
            ErrorKind::Unreachable => "storage_unreachable",
            ErrorKind::Invalid => "storage_invalid",
            ErrorKind::Other => "storage_failed",
        }
    }

    fn next(&self) -> Option<Next> {
        Some(Next::new(match self.kind {
            ErrorKind::NoSpace => {
                "free space or raise the quota, or run `dumpvault forget` and `dumpvault prune {full_store}`, which work on a full storage; stored snapshots are intact"
            }
            ErrorKind::NoCredentials if self.object.starts_with("azure:") => {
                "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or `auth` in [azure]; -v shows where they were looked for"
            }
            ErrorKind::NoCredentials if self.object.starts_with("gs:") => {
                "set GOOGLE_APPLICATION_CREDENTIALS, or `key_file` or `token_command` in [gcs]; -v shows where they were looked for"
            }
            ErrorKind::NoCredentials => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for a profile in ~/.aws; -v shows where they were looked for"
            }
            ErrorKind::Unreachable => "check the address, the network and the service; -v shows the details",
            // The message says which credential or policy it is.
            ErrorKind::Denied
                if ["s3:", "azure:", "gs:"].iter().any(|word| self.object.starts_with(word)) =>
            {
                "`dumpvault doctor` tries each permission; docs/offsite.md lists the policies"
            }
            ErrorKind::Denied => {
                "check the permissions of the repository and the user that dumpvault runs as"
            }
            ErrorKind::Conflict => "another program wrote to this object: run `dumpvault check`",
            ErrorKind::NotFound | ErrorKind::ShortObject | ErrorKind::Invalid | ErrorKind::Other => {
                return None;
            }
        }))
    }
}
