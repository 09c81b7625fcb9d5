//! The service's errors, told apart by what a caller can do.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::wire::answers::{asked_wait, is_full, is_page};
use super::super::wire::failed::{NoAnswer, chain_of, find};
use super::super::{ErrorKind, StorageError};

/// So much of what the service says is looked at.
const SAID_BYTES_MAX: usize = 4096;

/// An error of the service before it is tied to an object.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: u16,
    pub code: String,
    pub kind: ErrorKind,
    pub retryable: bool,
    /// How long the service asks to be left alone.
    pub wait: Option<Duration>,
    message: String,
    /// All that the service said, in small letters: some name a header only somewhere in it.
    said: String,
}

impl Failure {
    pub(super) fn on(self, operation: &'static str, object: String) -> StorageError {
        let Self { kind, retryable, wait, message, .. } = self;
        StorageError { operation, object, kind, retryable, wait, source: message.into() }
    }

    fn new(kind: ErrorKind, retryable: bool, message: String) -> Self {
        let (code, said) = (String::new(), String::new());
        Self { status: 0, code, kind, retryable, wait: None, message, said }
    }

    /// The connection failed half way through an answer.
    pub(super) fn cut(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Other, true, format!("the answer broke off: {message}"))
    }

    /// What answered is not the service: a login page, or a proxy.
    pub(super) fn alien(status: u16, what: impl std::fmt::Display) -> Self {
        let message = format!(
            "the answer is not one of an S3 service (HTTP {status}: {what}); check the endpoint, and whether a proxy or a login page stands in between"
        );
        Self { status, ..Self::new(ErrorKind::Other, false, message) }
    }

    /// The object is there already, or somebody is putting it just now.
    pub(super) fn is_there_already(&self) -> bool {
        self.status == 412 || self.code == "PreconditionFailed" || self.code == "ConditionalRequestConflict"
    }

    /// The service does not know what the request asks for.
    pub(super) fn is_not_implemented(&self) -> bool {
        self.status == 501 || self.code == "NotImplemented"
    }

    pub(super) fn is_invalid_range(&self) -> bool {
        self.status == 416 || self.code == "InvalidRange"
    }

    /// The answer to a HEAD has no body, and so no code: it says that something is wrong, and not what.
    pub(super) fn is_unexplained(&self) -> bool {
        matches!(self.status, 301 | 307 | 400..=403) && (self.code.is_empty() || self.code == "BadRequest")
    }

    /// The credentials were good until a while ago.
    pub(super) fn has_expired_credentials(&self) -> bool {
        matches!(self.code.as_str(), "ExpiredToken" | "ExpiredTokenException" | "InvalidToken")
    }

    /// Whether the service's words, in small letters, hold one of these.
    pub(super) fn names(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.said.contains(word))
    }
}

impl<E: ProvideErrorMetadata + StdError + 'static> From<SdkError<E, HttpResponse>> for Failure {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match &error {
            SdkError::ServiceError(_) => Self::of_service(&error),
            SdkError::ConstructionFailure(_) => Self::without_credentials(&error),
            SdkError::DispatchFailure(dispatch) => match find::<NoAnswer>(&error) {
                Some(no_answer) => {
                    let kind = match no_answer.unreachable {
                        true => ErrorKind::Unreachable,
                        false => ErrorKind::Other,
                    };
                    Self::new(kind, no_answer.retryable, no_answer.to_string())
                }
                None if dispatch.is_io() || dispatch.is_timeout() => {
                    Self::new(ErrorKind::Other, true, chain_of(&error))
                }
                None => {
                    let failure = Self::without_credentials(&error);
                    Self { retryable: dispatch.is_other() && failure.kind == ErrorKind::Other, ..failure }
                }
            },
            // An answer that is none, or came too late.
            _ => Self::new(ErrorKind::Other, true, chain_of(&error)),
        }
    }
}

impl Failure {
    fn of_service<E: ProvideErrorMetadata + StdError + 'static>(error: &SdkError<E, HttpResponse>) -> Self {
        let response = error.raw_response();
        let status = response.map_or(0, |response| response.status().as_u16());
        let body = response.and_then(|response| response.body().bytes()).unwrap_or_default();
        let body = String::from_utf8_lossy(body.get(..SAID_BYTES_MAX).unwrap_or(body));
        let service = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = service.and_then(|meta| meta.code()).unwrap_or_default().to_owned();
        let words = service.and_then(|meta| meta.message()).unwrap_or_default();
        let said = format!("{code} {words} {body}").to_ascii_lowercase();
        if code.is_empty() && is_page(&body) {
            let (kind, retryable) = classify(status, "");
            return Self { kind, retryable, ..Self::alien(status, "a web page") };
        }
        if code.is_empty() && (200..300).contains(&status) {
            return Self::alien(status, chain_of(error));
        }
        let (kind, retryable) = match is_full(status, &said) {
            true => (ErrorKind::NoSpace, false),
            false => classify(status, &code),
        };
        let told = [code.as_str(), words].into_iter().filter(|part| !part.is_empty());
        let told = told.collect::<Vec<_>>().join(": ");
        let hint = hint(status, &code).map(|hint| format!(" ({hint})")).unwrap_or_default();
        let message = format!("HTTP {status}{}{told}{hint}", if told.is_empty() { "" } else { " " });
        let wait = response.and_then(asked_wait);
        Self { status, code, kind, retryable, wait, message, said }
    }

    /// The SDK tells missing credentials in words only.
    fn without_credentials(error: &dyn StdError) -> Self {
        let chain = chain_of(error);
        let small = chain.to_ascii_lowercase();
        if !small.contains("credentials") && !small.contains("identity") {
            return Self::new(ErrorKind::Other, false, chain);
        }
        tracing::info!("looking for credentials: {chain}");
        Self::new(ErrorKind::NoCredentials, false, "no S3 credentials found".to_owned())
    }
}

fn classify(status: u16, code: &str) -> (ErrorKind, bool) {
    match code {
        "NoSuchKey" => return (ErrorKind::NotFound, false),
        "NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed" | "InvalidBucketName" => {
            return (ErrorKind::Invalid, false);
        }
        // Some with status 400.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed" => return (ErrorKind::Denied, false),
        "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "InsufficientCapacity" => {
            return (ErrorKind::NoSpace, false);
        }
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "RequestTimeout"
        | "InternalError"
        | "ServiceUnavailable"
        | "OperationAborted"
        | "BadDigest"
        | "IncompleteBody" => {
            return (ErrorKind::Other, true);
        }
        _ => {}
    }
    match status {
        401 | 403 => (ErrorKind::Denied, false),
        404 => (ErrorKind::NotFound, false),
        301 | 307 => (ErrorKind::Invalid, false),
        507 => (ErrorKind::NoSpace, false),
        408 | 409 | 425 | 429 | 500 | 502..=504 | 509 => (ErrorKind::Other, true),
        _ => (ErrorKind::Other, false),
    }
}

/// What to do next, where the code tells.
fn hint(status: u16, code: &str) -> Option<&'static str> {
    Some(match code {
        "NoSuchBucket" => "make the bucket first; dumpvault never makes one",
        "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
            "the bucket is in another region: set AWS_REGION or --s3-region"
        }
        "InvalidAccessKeyId" => {
            "the service does not know this access key: check AWS_ACCESS_KEY_ID or the profile"
        }
        "SignatureDoesNotMatch" => "the secret key does not belong to the access key",
        "ExpiredToken" | "ExpiredTokenException" => "the session token has expired: fetch a new one",
        "RequestTimeTooSkewed" => "this host's clock is wrong: set it (timedatectl)",
        "AccessDenied" => {
            "the policy of the user or the bucket denies this; docs/offsite.md lists the policies"
        }
        _ if status == 301 || status == 307 => {
            "the bucket is in another region: set AWS_REGION or --s3-region"
        }
        _ if status == 403 && code.is_empty() => {
            "the policy of the user or the bucket denies this; docs/offsite.md lists the policies"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_before_the_status_and_only_what_passes_is_retryable() {
        for (status, code, expected) in [
            (404, "NoSuchKey", (ErrorKind::NotFound, false)),
            (404, "NoSuchBucket", (ErrorKind::Invalid, false)),
            (404, "", (ErrorKind::NotFound, false)),
            (403, "AccessDenied", (ErrorKind::Denied, false)),
            (403, "RequestTimeTooSkewed", (ErrorKind::Denied, false)),
            (400, "RequestTimeout", (ErrorKind::Other, true)),
            (400, "InvalidArgument", (ErrorKind::Other, false)),
            (503, "SlowDown", (ErrorKind::Other, true)),
            (500, "InternalError", (ErrorKind::Other, true)),
            (429, "", (ErrorKind::Other, true)),
            (501, "NotImplemented", (ErrorKind::Other, false)),
            (507, "", (ErrorKind::NoSpace, false)),
            (301, "PermanentRedirect", (ErrorKind::Invalid, false)),
        ] {
            assert_eq!(classify(status, code), expected, "{status} {code}");
        }
    }
}
