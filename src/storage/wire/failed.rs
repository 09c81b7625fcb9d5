//! Why a connection failed, in plain words. What the HTTP client says of it is a chain of a dozen errors, which only
//! the log shows.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_smithy_runtime_api::client::result::ConnectorError;

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct NoAnswer {
    words: String,
    /// There was no connection to begin with.
    pub unreachable: bool,
    /// Trying again may help.
    pub retryable: bool,
    #[source]
    source: ConnectorError,
}

/// Says in plain words why `host` did not answer.
pub(crate) fn explain(error: ConnectorError, host: &str, connect_timeout: Duration) -> ConnectorError {
    if error.is_user() {
        return error;
    }
    let chain = chain_of(&error);
    tracing::info!("{host}: {chain}");
    let io = find_io(&error);
    let is_connect =
        ["(Connect)", "connect timeout", "dns error", "resolve"].into_iter().any(|sign| chain.contains(sign));
    let is_untrusted = chain.contains("certificate");
    let reason = match io {
        _ if is_untrusted => format!(
            "its certificate is not trusted: {}; a private authority's certificate is given with AWS_CA_BUNDLE",
            innermost(&error)
        ),
        _ if chain.contains("dns error") || chain.contains("resolve") => {
            "the name of the host cannot be resolved".to_owned()
        }
        _ if chain.contains("connect timeout") => {
            format!("no answer within {} s", connect_timeout.as_secs())
        }
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
            "there is no route to it".to_owned()
        }
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => "connection reset".to_owned(),
        _ => innermost(&error),
    };
    let words = match is_connect || is_untrusted {
        true => format!("cannot connect to {host}: {reason}"),
        false => format!("the connection to {host} failed: {reason}"),
    };
    let is_timeout = error.is_timeout();
    let retryable = !is_untrusted && (is_timeout || error.is_io() || error.is_other());
    let told = NoAnswer { words, unreachable: is_connect && !is_untrusted, retryable, source: error };
    if is_timeout { ConnectorError::timeout(told.into()) } else { ConnectorError::io(told.into()) }
}

/// An error and all that it says of its causes, each once.
pub(crate) fn chain_of(error: &dyn Error) -> String {
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

/// The first error of type `E` below `error`.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn find_io(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    find::<io::Error>(error).map(io::Error::kind)
}

/// What the last cause says: the others only tell who passed it on.
fn innermost(error: &dyn Error) -> String {
    let (mut said, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        let words = cause.to_string();
        if !words.is_empty() {
            said = words;
        }
        source = cause.source();
    }
    said
}
