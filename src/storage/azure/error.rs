//! What a refusal of Azure's means: its code comes before its status.

use super::super::ErrorKind;
use super::super::wire::answers::{is_full, is_page};
use super::super::wire::talk::{Answer, Failure};
use super::xml::text_of;

/// So much of what the service says is looked at.
const SAID_BYTES_MAX: usize = 4096;

pub(super) fn refusal(answer: &Answer) -> Failure {
    let body = answer.body.get(..SAID_BYTES_MAX).unwrap_or(&answer.body);
    let body = String::from_utf8_lossy(body);
    let mut code = answer.header("x-ms-error-code").to_owned();
    if code.is_empty() {
        code = text_of(&body, "Code").unwrap_or_default();
    }
    let status = answer.status;
    if code.is_empty() && is_page(&body) {
        let (kind, retryable) = classify(status, "");
        return Failure { kind, retryable, ..Failure::alien(status, "a web page") };
    }
    let words = text_of(&body, "Message").unwrap_or_default();
    // Behind the first line are numbers of the request.
    let words = words.lines().next().unwrap_or_default().trim().to_owned();
    // The detail of a wrong signature repeats what was signed: only what it says of time is told.
    let detail = text_of(&body, "AuthenticationErrorDetail").unwrap_or_default();
    let timing = ["not valid in the specified time frame", "is too old", "Request date header", "expired"];
    let is_timing = timing.into_iter().any(|sign| detail.contains(sign));
    let (kind, retryable) = match is_full(status, &format!("{code} {words}").to_ascii_lowercase()) {
        true => (ErrorKind::NoSpace, false),
        false => classify(status, &code),
    };
    let told = [code.as_str(), words.as_str(), if is_timing { detail.trim() } else { "" }];
    let told = told.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    let hint = hint(status, &code, is_timing).map(|hint| format!(" ({hint})")).unwrap_or_default();
    let message = format!("HTTP {status}{}{told}{hint}", if told.is_empty() { "" } else { " " });
    Failure { status, code, kind, retryable, wait: answer.wait, message }
}

/// Something is under that name. Other codes with the same status are not that: locks, leases, a container that is
/// going.
pub(super) fn is_taken(failure: &Failure) -> bool {
    match failure.code.as_str() {
        "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet" => true,
        // A signature that may create and not write is refused in this way.
        "UnauthorizedBlobOverwrite" => true,
        code => failure.status == 412 && code.is_empty(),
    }
}

fn classify(status: u16, code: &str) -> (ErrorKind, bool) {
    match code {
        "BlobNotFound" | "ResourceNotFound" => return (ErrorKind::NotFound, false),
        "ContainerNotFound"
        | "ContainerDisabled"
        | "InvalidUri"
        | "InvalidResourceName"
        | "OutOfRangeInput"
        | "AccountIsDisabled"
        | "UnsupportedHeader"
        | "FeatureNotSupportedForAccount" => {
            return (ErrorKind::Invalid, false);
        }
        // Made anew under the same name within half a minute, it is refused.
        "ContainerBeingDeleted" => return (ErrorKind::Invalid, false),
        "AuthenticationFailed"
        | "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "AuthorizationProtocolMismatch"
        | "AuthorizationServiceMismatch"
        | "AuthorizationResourceTypeMismatch"
        | "AuthorizationSourceIPMismatch"
        | "InsufficientAccountPermissions"
        | "InvalidAuthenticationInfo"
        | "KeyBasedAuthenticationNotPermitted"
        | "NoAuthenticationInformation"
        | "PublicAccessNotPermitted"
        | "BlobImmutableDueToPolicy"
        | "BlobImmutableDueToLegalHold"
        | "LeaseIdMissing" => return (ErrorKind::Denied, false),
        "BlobArchived" | "BlobBeingRehydrated" => return (ErrorKind::Other, false),
        "ServerBusy"
        | "OperationTimedOut"
        | "InternalError"
        | "Md5Mismatch"
        | "Crc64Mismatch"
        | "IncompleteBody"
        | "RequestBodyTooSmall" => return (ErrorKind::Other, true),
        _ => {}
    }
    match status {
        401 | 403 => (ErrorKind::Denied, false),
        404 => (ErrorKind::NotFound, false),
        507 => (ErrorKind::NoSpace, false),
        408 | 425 | 429 | 500 | 502..=504 => (ErrorKind::Other, true),
        _ => (ErrorKind::Other, false),
    }
}

/// What to do next, where the code tells.
fn hint(status: u16, code: &str, is_timing: bool) -> Option<&'static str> {
    Some(match code {
        "ContainerNotFound" => NO_CONTAINER,
        "ContainerBeingDeleted" => "the container is being deleted: wait a minute, and make it again",
        "AuthenticationFailed" if is_timing => {
            "the shared access signature has ended or has not begun, or this host's clock is wrong"
        }
        "AuthenticationFailed" => {
            "the key or signature does not belong to the account, or this host's clock is wrong"
        }
        "KeyBasedAuthenticationNotPermitted" => {
            "the account takes no keys: use a token, as with `auth = \"managed\"`"
        }
        "BlobArchived" | "BlobBeingRehydrated" => "thaw it first: rehydrate it to the Cool or Hot tier",
        "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold" => {
            "a lock keeps it until its time is over"
        }
        "UnsupportedHeader" | "FeatureNotSupportedForAccount" => {
            "locks need a container with version-level immutability"
        }
        _ if matches!(status, 401 | 403) => "docs/offsite.md lists the roles and rights",
        _ => return None,
    })
}

pub(super) const NO_CONTAINER: &str = "make the container first; dumpvault never makes one";

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_runtime_api::http::Headers;

    fn refused(status: u16, code: &str, body: &str) -> Failure {
        let mut headers = Headers::new();
        if !code.is_empty() {
            headers.insert("x-ms-error-code", code.to_owned());
        }
        refusal(&Answer { status, headers, body: body.as_bytes().to_vec(), wait: None })
    }

    #[test]
    fn codes_come_before_the_status_and_only_what_passes_is_retryable() {
        for (status, code, expected) in [
            (404, "BlobNotFound", (ErrorKind::NotFound, false)),
            (404, "ContainerNotFound", (ErrorKind::Invalid, false)),
            (404, "", (ErrorKind::NotFound, false)),
            (403, "AuthenticationFailed", (ErrorKind::Denied, false)),
            (403, "", (ErrorKind::Denied, false)),
            (409, "BlobImmutableDueToPolicy", (ErrorKind::Denied, false)),
            (409, "ContainerBeingDeleted", (ErrorKind::Invalid, false)),
            (409, "BlobArchived", (ErrorKind::Other, false)),
            (412, "LeaseIdMissing", (ErrorKind::Denied, false)),
            (503, "ServerBusy", (ErrorKind::Other, true)),
            (500, "OperationTimedOut", (ErrorKind::Other, true)),
            (429, "", (ErrorKind::Other, true)),
            (400, "Md5Mismatch", (ErrorKind::Other, true)),
            (507, "", (ErrorKind::NoSpace, false)),
        ] {
            let failure = refused(status, code, "");
            assert_eq!((failure.kind, failure.retryable), expected, "{status} {code}");
        }
    }

    #[test]
    fn only_what_says_that_something_is_there_is_taken_for_that() {
        for (status, code, taken) in [
            (409, "BlobAlreadyExists", true),
            (412, "ConditionNotMet", true),
            (412, "", true),
            (403, "UnauthorizedBlobOverwrite", true),
            (409, "BlobImmutableDueToPolicy", false),
            (412, "LeaseIdMissing", false),
            (409, "ContainerBeingDeleted", false),
            (409, "", false),
        ] {
            assert_eq!(is_taken(&refused(status, code, "")), taken, "{status} {code}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_time_is_told_and_what_was_signed_is_not() {
        let body = |detail: &str| {
            format!(
                "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>Server failed.\nRequestId:1</Message><AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
            )
        };
        let late = refused(403, "", &body("Signature not valid in the specified time frame: Expiry [Fri]"));
        assert!(
            late.message.contains("Expiry [Fri]") && late.message.contains("has ended"),
            "{}",
            late.message
        );
        assert!(!late.message.contains("RequestId"), "{}", late.message);
        let wrong =
            refused(403, "", &body("The MAC signature found in the HTTP request 'hunter2=' is not the same"));
        assert!(!wrong.message.contains("hunter2"), "{}", wrong.message);
    }
}
