//! What a refusal of Google's means: its reason comes before its status.

use serde_json::Value;

use super::super::ErrorKind;
use super::super::wire::answers::{is_full, is_page};
use super::super::wire::talk::{Answer, Failure};

/// So much of what the service says is told.
const SAID_CHARS_MAX: usize = 500;

pub(super) fn refusal(answer: &Answer) -> Failure {
    let status = answer.status;
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = told.get("error").unwrap_or(&Value::Null);
    let first = error.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&Value::Null);
    let word = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = word(first, "reason");
    let body = String::from_utf8_lossy(&answer.body);
    if told.is_null() && (is_page(&body) || answer.header("content-type").starts_with("text/html")) {
        let (kind, retryable) = classify(status, "", "");
        return Failure { kind, retryable, ..Failure::alien(status, "a web page") };
    }
    let words = match word(error, "message") {
        words if words.is_empty() => body.lines().next().unwrap_or_default().to_owned(),
        words => words,
    };
    let words: String = words.chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect();
    let small = words.to_ascii_lowercase();
    let (kind, retryable) = match classify(status, &code, &small) {
        (ErrorKind::Denied | ErrorKind::Other, false) if is_full(status, &format!("{code} {small}")) => {
            (ErrorKind::NoSpace, false)
        }
        told => told,
    };
    let said = [code.as_str(), words.as_str()].into_iter().filter(|part| !part.is_empty());
    let said = said.collect::<Vec<_>>().join(": ");
    let hint = hint(status, &code, kind).map(|hint| format!(" ({hint})")).unwrap_or_default();
    let message = format!("HTTP {status}{}{said}{hint}", if said.is_empty() { "" } else { " " });
    Failure { status, code, kind, retryable, wait: answer.wait, message }
}

/// Something is under that name.
pub(super) fn is_taken(failure: &Failure) -> bool {
    // Who may create and not delete is told that the right to delete is missing where an object would be replaced.
    failure.status == 412 || failure.status == 403 && failure.message.contains("storage.objects.delete")
}

fn classify(status: u16, reason: &str, words: &str) -> (ErrorKind, bool) {
    match reason {
        "userRateLimitExceeded" | "rateLimitExceeded" | "backendError" | "internalError" => {
            return (ErrorKind::Other, true);
        }
        "userProjectMissing" | "userProjectInconsistent" | "accountDisabled" | "billingNotEnabled" => {
            return (ErrorKind::Invalid, false);
        }
        "retentionPolicyNotMet" | "objectUnderActiveHold" => return (ErrorKind::Denied, false),
        _ => {}
    }
    match status {
        404 if words.contains("bucket does not exist") => (ErrorKind::Invalid, false),
        // What arrived has another checksum than what was sent.
        400 if words.contains("doesn't match calculated")
            || words.contains("does not match") && words.contains("crc32c") =>
        {
            (ErrorKind::Other, true)
        }
        401 | 403 => (ErrorKind::Denied, false),
        404 => (ErrorKind::NotFound, false),
        507 => (ErrorKind::NoSpace, false),
        408 | 409 | 425 | 429 | 500 | 502..=504 => (ErrorKind::Other, true),
        _ => (ErrorKind::Other, false),
    }
}

/// What to do next, where the reason tells.
fn hint(status: u16, reason: &str, kind: ErrorKind) -> Option<&'static str> {
    Some(match reason {
        "userProjectMissing" => "the bucket's requests are paid by who asks: set `user_project` in [gcs]",
        "retentionPolicyNotMet" => "a lock or the bucket's retention policy keeps it until its time is over",
        "objectUnderActiveHold" => "a hold keeps it",
        _ if status == 404 && kind == ErrorKind::Invalid => NO_BUCKET,
        _ if status == 401 => "the token is not valid: check the key file, or the clock of this host",
        _ if status == 403 => "docs/offsite.md lists the roles and rights",
        _ => return None,
    })
}

pub(super) const NO_BUCKET: &str = "make the bucket first; dumpvault never makes one";

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_runtime_api::http::Headers;

    fn refused(status: u16, reason: &str, message: &str) -> Failure {
        let body = serde_json::json!({
            "error": { "code": status, "message": message, "errors": [{ "reason": reason }] }
        });
        let (headers, body) = (Headers::new(), body.to_string().into_bytes());
        refusal(&Answer { status, headers, body, wait: None })
    }

    #[test]
    fn reasons_come_before_the_status_and_only_what_passes_is_retryable() {
        for (status, reason, message, expected) in [
            (404, "notFound", "No such object: vault/a", (ErrorKind::NotFound, false)),
            (404, "notFound", "The specified bucket does not exist.", (ErrorKind::Invalid, false)),
            (403, "forbidden", "x does not have storage.objects.get access", (ErrorKind::Denied, false)),
            (403, "userRateLimitExceeded", "", (ErrorKind::Other, true)),
            (403, "retentionPolicyNotMet", "", (ErrorKind::Denied, false)),
            (403, "quotaExceeded", "the quota of this project is used up", (ErrorKind::NoSpace, false)),
            (400, "userProjectMissing", "", (ErrorKind::Invalid, false)),
            (
                400,
                "invalid",
                "Provided CRC32C \"a\" doesn't match calculated CRC32C \"b\".",
                (ErrorKind::Other, true),
            ),
            (401, "authError", "Invalid Credentials", (ErrorKind::Denied, false)),
            (429, "rateLimitExceeded", "rate limit: exceeded quota", (ErrorKind::Other, true)),
            (503, "backendError", "", (ErrorKind::Other, true)),
            (507, "", "", (ErrorKind::NoSpace, false)),
        ] {
            let failure = refused(status, reason, message);
            assert_eq!((failure.kind, failure.retryable), expected, "{status} {reason}: {}", failure.message);
        }
    }

    #[test]
    fn only_what_says_that_something_is_there_is_taken_for_that() {
        assert!(is_taken(&refused(412, "conditionNotMet", "")));
        assert!(is_taken(&refused(403, "forbidden", "a@b does not have storage.objects.delete access")));
        assert!(!is_taken(&refused(403, "retentionPolicyNotMet", "")));
        assert!(!is_taken(&refused(409, "conflict", "")));
    }
}
