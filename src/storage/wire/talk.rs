//! Requests of our own, for services without an SDK: sent over the watched connections, their answers read piece by
//! piece.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::super::limit::Rate;
use super::super::retry::Backoff;
use super::super::{ErrorKind, StorageError};
use super::failed::{NoAnswer, chain_of, find};
use super::lanes::Lanes;
use super::{Kind, Seen, Wire, connector, host_of, read_authorities};

/// An answer that is not an object is no longer: a page of a listing has some two megabytes.
pub(crate) const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Of a refusal so much is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// A request before it is signed and sent. Clones share the body.
#[derive(Clone)]
pub(crate) struct Draft {
    pub kind: Kind,
    pub method: &'static str,
    /// Up to the query; what stands in the path is encoded.
    pub url: String,
    /// Names and values as they are, before they are encoded.
    pub query: Vec<(&'static str, String)>,
    /// What else the query has, encoded: a signature that somebody else made.
    pub signature: String,
    /// Names in small letters.
    pub headers: Vec<(&'static str, String)>,
    /// Headers that a file names.
    pub others: Vec<(String, String)>,
    /// Pieces, in order.
    pub body: Vec<Bytes>,
}

impl Draft {
    pub(crate) fn new(kind: Kind, method: &'static str, url: String) -> Self {
        Self {
            kind,
            method,
            url,
            query: Vec::new(),
            signature: String::new(),
            headers: Vec::new(),
            others: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn asking(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn carrying(mut self, piece: impl Into<Bytes>) -> Self {
        self.body.push(piece.into());
        self
    }

    /// A form, as token services want it.
    pub(crate) fn form(url: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let pairs = fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        Self::new(Kind::Other, "POST", url.into())
            .with("content-type", "application/x-www-form-urlencoded")
            .carrying(pairs.collect::<Vec<_>>().join("&"))
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn request(&self) -> Result<HttpRequest, Failure> {
        let body = match self.body.is_empty() {
            true => SdkBody::empty(),
            false => SdkBody::from_body_1_x(Pieces(self.body.iter().cloned().collect())),
        };
        let mut request = HttpRequest::new(body);
        let wrong = |what: &dyn std::fmt::Display| Failure::new(ErrorKind::Invalid, format!("{what}"));
        request.set_method(self.method).map_err(|error| wrong(&error))?;
        let query = self.query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let signature = Some(self.signature.clone()).filter(|text| !text.is_empty());
        let query = query.chain(signature).collect::<Vec<_>>().join("&");
        let uri = if query.is_empty() { self.url.clone() } else { format!("{}?{query}", self.url) };
        // The address may carry a signature, which no error repeats.
        request.set_uri(uri).map_err(|_| wrong(&"the address is not valid"))?;
        let others = self.others.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in self.headers.iter().map(|(name, value)| (*name, value)).chain(others) {
            let inserted = request.headers_mut().try_insert(name.to_owned(), value.clone());
            inserted.map_err(|_| wrong(&format_args!("a header `{name}` cannot have such a value")))?;
        }
        if self.method != "GET" && self.method != "HEAD" {
            request.headers_mut().insert("content-length", self.body_bytes().to_string());
        }
        request.add_extension(self.kind);
        Ok(request)
    }
}

/// A request failed, or the service refused it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// 0 where there was no answer.
    pub status: u16,
    /// The service's word for it.
    pub code: String,
    pub kind: ErrorKind,
    pub retryable: bool,
    /// How long the service asks to be left alone.
    pub wait: Option<Duration>,
    pub message: String,
}

impl Failure {
    /// One that trying again does not cure.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status: 0, code: String::new(), kind, retryable: false, wait: None, message }
    }

    /// The connection failed half way through an answer.
    pub(crate) fn cut(message: impl std::fmt::Display) -> Self {
        let message = format!("the answer broke off: {message}");
        Self { retryable: true, ..Self::new(ErrorKind::Other, message) }
    }

    /// What answered is not the service: a login page, or a proxy.
    pub(crate) fn alien(status: u16, what: impl std::fmt::Display) -> Self {
        let message = format!(
            "the answer is not one of the service (HTTP {status}: {what}); check the endpoint, and whether a proxy or a login page stands in between"
        );
        Self { status, ..Self::new(ErrorKind::Other, message) }
    }

    pub(crate) fn on(self, operation: &'static str, object: String) -> StorageError {
        let Self { kind, retryable, wait, message, .. } = self;
        StorageError { operation, object, kind, retryable, wait, source: message.into() }
    }
}

/// An answer, whole.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// How long the service asks to be left alone.
    pub wait: Option<Duration>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_default()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// An answer that is coming in.
pub(crate) struct Incoming<'a> {
    pub status: u16,
    pub headers: Headers,
    wait: Option<Duration>,
    body: ByteStream,
    host: String,
    wire: &'a Wire,
}

impl<'a> Incoming<'a> {
    fn new(mut response: HttpResponse, host: String, wire: &'a Wire) -> Self {
        let body = ByteStream::new(response.take_body());
        let wait = super::answers::asked_wait(&response);
        let status = response.status().as_u16();
        Self { status, headers: response.headers().clone(), wait, body, host, wire }
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_default()
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length").parse().ok()
    }

    /// The next piece of the body.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        match self.wire.piece_of(&self.host, self.body.next()).await {
            Some(Some(piece)) => piece.map(Some).map_err(Failure::cut),
            Some(None) => Ok(None),
            None => {
                let limit = self.wire.stall_timeout().as_secs_f64();
                Err(Failure::cut(format_args!("nothing came for {limit:.1} s")))
            }
        }
    }

    /// The whole of an answer that is no object.
    pub(crate) async fn whole(mut self) -> Result<Answer, Failure> {
        let is_success = self.is_success();
        let bytes_max = if is_success { ANSWER_BYTES_MAX } else { REFUSAL_BYTES_MAX };
        let (mut body, told) = (Vec::new(), self.length());
        loop {
            match self.piece().await {
                Ok(Some(piece)) if body.len() + piece.len() > bytes_max => {
                    if is_success {
                        return Err(Failure::alien(self.status, "it has too many bytes"));
                    }
                    break;
                }
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break,
                // That it refuses is known; why may be cut short.
                Err(_) if !is_success => break,
                Err(failure) => return Err(failure),
            }
        }
        if is_success && told.is_some_and(|told| told != body.len() as u64) && !body.is_empty() {
            return Err(Failure::cut(format_args!("{} bytes came", body.len())));
        }
        Ok(Answer { status: self.status, headers: self.headers, body, wait: self.wait })
    }
}

/// Speaks to services.
pub(crate) struct Talk {
    lanes: Lanes,
    usual: SharedHttpConnector,
    /// Past any proxy: what serves one machine alone is asked by that machine.
    direct: SharedHttpConnector,
    pub wire: Arc<Wire>,
    backoff: Arc<Backoff>,
}

/// What a [`Talk`] keeps to.
pub(crate) struct Bounds<'a> {
    pub upload: Option<Arc<Rate>>,
    pub download: Option<Arc<Rate>>,
    pub stall_timeout: Duration,
    /// Certificates (PEM) of authorities to trust besides the system's.
    pub ca_file: Option<&'a Path>,
}

impl Talk {
    /// # Errors
    /// What is wrong with the settings, in words.
    pub(crate) fn new(bounds: Bounds<'_>, backoff: Arc<Backoff>) -> Result<Self, String> {
        let Bounds { upload, download, stall_timeout, ca_file } = bounds;
        let ca_pem = ca_file
            .map(|path| read_authorities(path).map_err(|error| format!("`{}`: {error}", path.display())));
        let ca_pem = ca_pem.transpose()?;
        let look = |request: &HttpRequest| Seen {
            kind: request.extension().copied().unwrap_or(Kind::Other),
            identity: None,
        };
        let wire = Arc::new(Wire::new(upload, download, stall_timeout, look));
        let make = |is_proxied| connector(Arc::clone(&wire), ca_pem.clone(), is_proxied);
        let made = |connector: Result<_, aws_smithy_http_client::HttpClientError>| {
            connector.map_err(|error| error.to_string())
        };
        let (usual, direct) = (made(make(true))?, made(make(false))?);
        Ok(Self { lanes: Lanes::default(), usual, direct, wire, backoff })
    }

    /// Sends a request, and lets `take` read the answer on the caller's thread.
    ///
    /// # Errors
    /// When there is no answer; what `take` says.
    pub(crate) fn send<T>(
        &self,
        draft: &Draft,
        take: impl AsyncFnOnce(Incoming<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.send_by(&self.usual, draft, take)
    }

    /// The whole answer, whatever its status.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn ask(&self, draft: &Draft) -> Result<Answer, Failure> {
        self.send(draft, async |incoming| incoming.whole().await)
    }

    /// The same of a service that this machine alone reaches, without a proxy, within a time.
    ///
    /// # Errors
    /// When there is no answer by then.
    pub(crate) fn ask_near(&self, draft: &Draft, within: Duration) -> Result<Answer, Failure> {
        let asked = self.lanes.drive(&self.backoff, async {
            let answer = self.exchange(&self.direct, draft, async |incoming| incoming.whole().await);
            tokio::time::timeout(within, answer).await
        });
        match asked {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                let message =
                    format!("no answer from {} within {:.1} s", host_of(&draft.url), within.as_secs_f64());
                Err(Failure::new(ErrorKind::Unreachable, message))
            }
            Err(words) => Err(Failure::cut(words)),
        }
    }

    fn send_by<T>(
        &self,
        connector: &SharedHttpConnector,
        draft: &Draft,
        take: impl AsyncFnOnce(Incoming<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let outcome = self.lanes.drive(&self.backoff, self.exchange(connector, draft, take));
        outcome.unwrap_or_else(|words| Err(Failure::cut(words)))
    }

    async fn exchange<T>(
        &self,
        connector: &SharedHttpConnector,
        draft: &Draft,
        take: impl AsyncFnOnce(Incoming<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let request = draft.request()?;
        let host = host_of(request.uri());
        let response = connector.call(request).await.map_err(|error| match find::<NoAnswer>(&error) {
            Some(told) => {
                let kind = if told.unreachable { ErrorKind::Unreachable } else { ErrorKind::Other };
                Failure { retryable: told.retryable, ..Failure::new(kind, told.to_string()) }
            }
            None => Failure { retryable: true, ..Failure::new(ErrorKind::Other, chain_of(&error)) },
        })?;
        take(Incoming::new(response, host, &self.wire)).await
    }
}

/// A body in pieces that nobody copies together.
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A name or value as it stands in a query, or a part of a path (RFC 3986, unreserved letters stay).
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
