//! Bearer tokens: fetched when they are needed, by one thread for all, and again before they end.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::ErrorKind;
use super::super::wire::talk::{Answer, Failure};
use serde_json::Value;

/// A token is fetched anew so long before it ends, or a quarter of its life if that is less.
const EARLY: Duration = Duration::from_secs(120);
/// How long a program may take to give one.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// A program that prints only a token does not say how long it lasts: less than any service gives.
pub(crate) const LIFE_UNTOLD: Duration = Duration::from_secs(600);

/// A token.
pub(crate) struct Token {
    /// Never shown.
    pub secret: String,
    /// How long it lasts from now on.
    pub lasts: Duration,
}

/// The token that is used at the moment.
#[derive(Default)]
pub(crate) struct Tokens {
    current: Mutex<Option<(String, Instant)>>,
}

impl Tokens {
    /// The token in use, or what `fetch` gives. Others wait meanwhile: one fetches for all.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub(crate) fn get(&self, fetch: impl FnOnce() -> Result<Token, Failure>) -> Result<String, Failure> {
        // A whole value is put in place of another, so a panic elsewhere cannot have left half of one.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((secret, until)) = current.as_ref()
            && Instant::now() < *until
        {
            return Ok(secret.clone());
        }
        let Token { secret, lasts } = fetch()?;
        let until = Instant::now() + lasts.saturating_sub(EARLY.min(lasts / 4));
        *current = Some((secret.clone(), until));
        Ok(secret)
    }

    /// The service refused this one: it is not used again.
    pub(crate) fn forget(&self, secret: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(known, _)| known == secret) {
            *current = None;
        }
    }
}

/// The token in the answer of `whom`, in the words of OAuth 2 (RFC 6749).
///
/// # Errors
/// What the token service says; for good, unless it is only busy.
pub(crate) fn of_answer(answer: &Answer, whom: &str) -> Result<Token, Failure> {
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status;
    if !answer.is_success() {
        let word = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let description = word("error_description");
        let parts = [word("error"), description.lines().next().unwrap_or_default().to_owned()];
        let said = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        let retryable = matches!(status, 408 | 429 | 500 | 502..=504);
        let kind = if retryable { ErrorKind::Other } else { ErrorKind::Denied };
        let message = format!("{whom} gives no token: HTTP {status} {said}");
        return Err(Failure { retryable, wait: answer.wait, ..Failure::new(kind, message.trim_end()) });
    }
    let secret = told.get("access_token").and_then(Value::as_str).filter(|secret| !secret.is_empty());
    let secret = secret.ok_or_else(|| Failure::alien(status, format_args!("{whom} gives no token")))?;
    Ok(Token {
        secret: secret.to_owned(),
        lasts: told.get("expires_in").and_then(seconds).unwrap_or(LIFE_UNTOLD),
    })
}

/// A number, or one in quotes.
pub(crate) fn seconds(told: &Value) -> Option<Duration> {
    told.as_u64().or_else(|| told.as_str()?.trim().parse().ok()).map(Duration::from_secs)
}

/// What a program of the person's prints; errors call it by `name`. What it says is kept for the error.
///
/// # Errors
/// When it cannot be started, fails, or takes too long.
pub(crate) fn of_command(name: &str, words: &[String]) -> Result<String, Failure> {
    let (program, args) = words.split_first().ok_or_else(|| missing("no program gives a token"))?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(format!("cannot run {name}: {error}")))?;
    let reader = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                // Safe to ignore because what came until then is judged.
                let _ = pipe.take(64 << 10).read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).trim().to_owned()
        })
    };
    let out = reader(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let err = reader(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let end = Instant::now() + COMMAND_TIMEOUT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                // Safe to ignore because it may have ended by itself just now.
                let _ = child.kill();
                let _ = child.wait();
                let limit = COMMAND_TIMEOUT.as_secs();
                return Err(missing(format!("{name} gave no token within {limit} s")));
            }
            Err(error) => return Err(missing(format!("cannot wait for {name}: {error}"))),
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if !status.success() || out.is_empty() {
        let last: Vec<&str> = err.lines().rev().take(3).collect();
        let said = last.into_iter().rev().collect::<Vec<_>>().join("; ");
        return Err(missing(format!("{name} gave no token ({status}): {said}")));
    }
    Ok(out)
}

fn missing(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::NoCredentials, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn given_eight_threads_then_one_fetches_for_all_and_a_refused_token_is_fetched_once_more() {
        let (tokens, fetched) = (Tokens::default(), AtomicUsize::new(0));
        let fetch = || {
            let number = fetched.fetch_add(1, Ordering::SeqCst);
            Ok(Token { secret: format!("t{number}"), lasts: Duration::from_secs(3600) })
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(tokens.get(fetch).unwrap(), "t0"));
            }
        });
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    tokens.forget("t0");
                    assert_eq!(tokens.get(fetch).unwrap(), "t1");
                });
            }
        });
        assert_eq!(fetched.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn given_a_token_at_its_end_then_it_is_fetched_anew() {
        let tokens = Tokens::default();
        let fetch = |secret: &str, lasts| Ok(Token { secret: secret.to_owned(), lasts });
        assert_eq!(tokens.get(|| fetch("a", Duration::ZERO)).unwrap(), "a");
        assert_eq!(tokens.get(|| fetch("b", Duration::from_secs(60))).unwrap(), "b");
        assert_eq!(tokens.get(|| fetch("c", Duration::from_secs(60))).unwrap(), "b");
    }

    #[test]
    fn given_a_program_then_what_it_prints_is_the_token_and_its_failure_is_told() {
        let words = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        assert_eq!(of_command("it", &words("echo abc")).unwrap(), "abc");
        let failure = of_command("it", &words("echo 'please log in' >&2; exit 3")).unwrap_err();
        assert!(failure.message.contains("please log in"), "{}", failure.message);
        assert_eq!(failure.kind, ErrorKind::NoCredentials);
        assert!(of_command("it", &words("true")).is_err());
        assert!(of_command("it", &["/nowhere/at-all".to_owned()]).is_err());
    }
}
