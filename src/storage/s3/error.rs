//! The service's errors, told apart by what a caller can do.

use std::error::Error as StdError;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::{ErrorKind, StorageError};

/// An error of the service before it is tied to an object.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: u16,
    pub code: String,
    pub kind: ErrorKind,
    pub retryable: bool,
    message: String,
}

impl Failure {
    pub fn on(self, operation: &'static str, object: String) -> StorageError {
        let Self { kind, retryable, message, .. } = self;
        StorageError { operation, object, kind, retryable, source: message.into() }
    }

    /// The wire failed half way through an answer.
    pub fn cut(message: impl std::fmt::Display) -> Self {
        let message = format!("the answer broke off: {message}");
        Self { status: 0, code: String::new(), kind: ErrorKind::Other, retryable: true, message }
    }

    /// The object is there already, or somebody is putting it just now.
    pub fn is_there_already(&self) -> bool {
        self.status == 412 || self.code == "PreconditionFailed" || self.code == "ConditionalRequestConflict"
    }

    /// The service does not know what `If-None-Match` is on a write.
    pub fn is_not_implemented(&self) -> bool {
        self.status == 501 || self.code == "NotImplemented"
    }

    pub fn is_invalid_range(&self) -> bool {
        self.status == 416 || self.code == "InvalidRange"
    }
}

impl<E: ProvideErrorMetadata + StdError + 'static> From<SdkError<E, HttpResponse>> for Failure {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let service = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = service.and_then(|meta| meta.code()).unwrap_or_default().to_owned();
        let said = service.and_then(|meta| meta.message()).unwrap_or_default();
        let (kind, retryable) = classify(status, &code);
        let message = match &error {
            SdkError::ServiceError(_) => {
                let told = [code.as_str(), said].into_iter().filter(|part| !part.is_empty());
                let told = told.collect::<Vec<_>>().join(": ");
                let hint = hint(status, &code).map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("HTTP {status}{}{told}{hint}", if told.is_empty() { "" } else { " " })
            }
            other => causes(other),
        };
        let failure = Self { status, code, kind, retryable, message };
        match &error {
            SdkError::ServiceError(_) => failure,
            SdkError::ConstructionFailure(_) => Self { retryable: false, ..failure }.without_credentials(),
            SdkError::DispatchFailure(dispatch) => {
                let retryable = dispatch.is_io() || dispatch.is_timeout();
                let failure = Self { retryable: retryable || dispatch.is_other(), ..failure };
                if retryable { failure.without_trust() } else { failure.without_credentials() }
            }
            // An answer that is none, or came too late.
            _ => Self { retryable: true, kind: ErrorKind::Other, ..failure },
        }
    }
}

impl Failure {
    /// The SDK tells missing credentials in words only.
    fn without_credentials(mut self) -> Self {
        let message = self.message.to_ascii_lowercase();
        if message.contains("credentials") || message.contains("identity") {
            self.kind = ErrorKind::Denied;
            self.retryable = false;
            self.message.push_str(
                "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for a profile in ~/.aws",
            );
            return self;
        }
        self.without_trust()
    }

    /// A certificate that is not trusted is told as a failure of the connection.
    fn without_trust(mut self) -> Self {
        if self.message.contains("certificate") {
            self.retryable = false;
            self.message.push_str("; a private authority's certificate is given with AWS_CA_BUNDLE");
        }
        self
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
        "InvalidAccessKeyId" => "the access key is unknown there: look at AWS_ACCESS_KEY_ID or the profile",
        "SignatureDoesNotMatch" => "the secret key does not fit the access key",
        "ExpiredToken" | "ExpiredTokenException" => "the session token is out of date: fetch a new one",
        "RequestTimeTooSkewed" => "this host's clock is wrong: set it right",
        "AccessDenied" => {
            "the policy of user or bucket does not allow this; docs/offsite.md lists what is needed"
        }
        _ if status == 301 || status == 307 => {
            "the bucket is in another region: set AWS_REGION or --s3-region"
        }
        _ if status == 403 => {
            "the policy of user or bucket does not allow this; docs/offsite.md lists what is needed"
        }
        _ => return None,
    })
}

/// An error and all that it says of its causes, each once.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
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
