//! The HTTP client of all services: what is sent is counted and kept to a rate, and a request that stops moving fails.
//!
//! It lies below any signing, so that it sees every request as it goes out, and its bodies byte by byte. It knows no
//! service: how requests are counted is an argument.
//!
//! | file | hides |
//! |---|---|
//! | `answers` | what answers say in the same words, whatever the service |
//! | `bodies` | memory of large bodies, which goes round |
//! | `failed` | why a connection failed, in plain words |
//! | `keys` | settings that the tables of all services have |
//! | `lanes` | executors, one for each thread that waits |
//! | `talk` | requests of our own, for services without an SDK |

pub(super) mod answers;
pub(super) mod bodies;
pub(super) mod failed;
pub(super) mod keys;
pub(super) mod lanes;
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(super) mod talk;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
#[cfg(feature = "s3")]
use aws_smithy_runtime_api::client::http::{SharedHttpClient, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::{DateTime, Format};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::storage::Requests;
use crate::storage::counted::Counted;
use crate::storage::limit::Rate;

/// A body is passed on in pieces of at most so many bytes.
const PIECE_BYTES: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A wait for so long is told, or half of the time limit if that is shorter.
const STALL_TOLD_AFTER: Duration = Duration::from_secs(10);
/// `skew_ms` before any answer told the time.
const SKEW_UNKNOWN: i64 = i64::MIN;

/// What a request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Get,
    Head,
    List,
    Delete,
    Other,
}

/// What a request is, as whoever made it knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub kind: Kind,
    /// Whose request it is, where that is to be told from another's.
    pub identity: Option<blake3::Hash>,
}

/// What went over the wire, and how fast it may.
#[derive(Debug)]
pub(super) struct Wire {
    look: fn(&HttpRequest) -> Seen,
    upload: Option<Arc<Rate>>,
    download: Option<Arc<Rate>>,
    stall_timeout: Duration,
    counted: Counted,
    skew_ms: AtomicI64,
    /// Whose request went out last.
    identity: Mutex<Option<blake3::Hash>>,
    /// When somebody was told last that nothing moves.
    told: Mutex<Option<Instant>>,
}

impl Wire {
    /// `look` says what a request is.
    pub(super) fn new(
        upload: Option<Arc<Rate>>,
        download: Option<Arc<Rate>>,
        stall_timeout: Duration,
        look: fn(&HttpRequest) -> Seen,
    ) -> Self {
        Self {
            look,
            upload,
            download,
            stall_timeout,
            counted: Counted::default(),
            skew_ms: AtomicI64::new(SKEW_UNKNOWN),
            identity: Mutex::default(),
            told: Mutex::default(),
        }
    }

    pub(super) fn requests(&self) -> Requests {
        self.counted.requests()
    }

    pub(super) fn skew_ms(&self) -> Option<i64> {
        Some(self.skew_ms.load(Ordering::Relaxed)).filter(|skew| *skew != SKEW_UNKNOWN)
    }

    /// The present moment by the service's clock, to the second.
    pub(super) fn service_time(&self) -> SystemTime {
        let ours = SystemTime::now();
        let skew_ms = self.skew_ms().unwrap_or(0);
        let skew = Duration::from_millis(skew_ms.unsigned_abs());
        let theirs = if skew_ms < 0 { ours.checked_sub(skew) } else { ours.checked_add(skew) };
        theirs.unwrap_or(ours)
    }

    /// How long a request may go without a byte.
    #[cfg(any(feature = "azure", feature = "gcs"))]
    pub(super) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// Whether the last request was made by that identity.
    #[cfg(feature = "s3")]
    pub(super) fn asked_as(&self, identity: blake3::Hash) -> bool {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) == Some(identity)
    }

    fn count(&self, request: &HttpRequest) {
        let Seen { kind, identity } = (self.look)(request);
        let counter = match kind {
            Kind::Put => &self.counted.put,
            Kind::Get => &self.counted.get,
            Kind::Head => &self.counted.head,
            Kind::List => &self.counted.list,
            Kind::Delete => &self.counted.delete,
            Kind::Other => &self.counted.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if identity.is_some() {
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        }
        tracing::debug!("{} {}", request.method(), answers::shown(request.uri()));
    }

    /// Compares the server's clock with ours; the header tells whole seconds.
    fn note_date(&self, response: &HttpResponse) {
        let told =
            response.headers().get("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let told = told.and_then(|date| date.to_millis().ok());
        let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
        if let (Some(told), Some(ours)) = (told, ours) {
            self.skew_ms.store(told.saturating_sub(ours.as_millis() as i64), Ordering::Relaxed);
        }
    }
}

/// The certificates of authorities to trust, in PEM, known to be some: the client panics on those that it cannot read,
/// and takes none for all that was meant.
pub(super) fn read_authorities(path: &Path) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let pem = std::fs::read(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("not a certificate in PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate in it cannot be read: {error}"))?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in PEM in it".into());
    }
    Ok(pem)
}

/// The HTTP client for an SDK: TLS by rustls, the system's certificates and those in `ca_pem`, proxies as the
/// environment says.
#[cfg(feature = "s3")]
pub(super) fn http_client(
    wire: Arc<Wire>,
    ca_pem: Option<Vec<u8>>,
) -> Result<SharedHttpClient, aws_smithy_http_client::HttpClientError> {
    let watched = connector(wire, ca_pem, true)?;
    Ok(http_client_fn(move |_, _| watched.clone()))
}

/// The same for requests of our own, with or without the environment's proxy.
pub(super) fn connector(
    wire: Arc<Wire>,
    ca_pem: Option<Vec<u8>>,
    by_proxy: bool,
) -> Result<SharedHttpConnector, aws_smithy_http_client::HttpClientError> {
    let trust = TrustStore::default();
    let trust = match ca_pem {
        Some(pem) => trust.with_pem_certificate(pem),
        None => trust,
    };
    let tls = TlsContext::builder().with_trust_store(trust).build()?;
    let connectors =
        Connectors { tls, is_proxied: by_proxy && has_proxy(), by_proxy, lanes: Mutex::default() };
    Ok(SharedHttpConnector::new(Watched { connectors, wire }))
}

/// The connections of each lane.
#[derive(Debug)]
struct Connectors {
    tls: TlsContext,
    /// Whether the environment's proxy is asked.
    by_proxy: bool,
    /// Whether there is one.
    is_proxied: bool,
    lanes: Mutex<HashMap<usize, Arc<Connections>>>,
}

/// Each made when it is first needed: the system's certificates are more than a hundred files.
#[derive(Debug, Default)]
struct Connections {
    secure: OnceLock<SharedHttpConnector>,
    plain: OnceLock<SharedHttpConnector>,
}

impl Connectors {
    fn for_request(&self, request: &HttpRequest) -> SharedHttpConnector {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = Arc::clone(lanes.entry(lanes::current()).or_default());
        drop(lanes);
        let builder = || {
            let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
            Connector::builder().connector_settings(settings).sleep_impl(TokioSleep).proxy_config(match self
                .by_proxy
            {
                true => ProxyConfig::from_env(),
                false => ProxyConfig::disabled(),
            })
        };
        // The way to a proxy may be encrypted even so.
        let connector = if request.uri().starts_with("http://") && !self.is_proxied {
            connections.plain.get_or_init(|| SharedHttpConnector::new(builder().build_http()))
        } else {
            connections.secure.get_or_init(|| {
                let builder = builder().tls_provider(Provider::Rustls(CryptoMode::Ring));
                SharedHttpConnector::new(builder.tls_context(self.tls.clone()).build())
            })
        };
        connector.clone()
    }
}

/// Whether the environment names a proxy for anything.
fn has_proxy() -> bool {
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    names.into_iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Lets the connector measure its time limit.
#[derive(Debug)]
struct TokioSleep;

impl AsyncSleep for TokioSleep {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration))
    }
}

/// A connector whose requests are counted, paced, and given up when nothing moves.
#[derive(Debug)]
struct Watched {
    connectors: Connectors,
    wire: Arc<Wire>,
}

impl HttpConnector for Watched {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (inner, wire) = (self.connectors.for_request(&request), Arc::clone(&self.wire));
        let host = host_of(request.uri());
        HttpConnectorFuture::new(async move {
            wire.count(&request);
            let moved = Arc::new(Moved::new());
            let sent = Arc::clone(&moved);
            let own = Arc::clone(&wire);
            let request = request.map(move |body| {
                let counter = Arc::clone(&own);
                let note = move |bytes: u64| {
                    counter.counted.bytes_up.fetch_add(bytes, Ordering::Relaxed);
                };
                Paced::wrap(body, own.upload.clone(), Arc::clone(&sent), Box::new(note))
            });
            let answer = wire.until_stalled(inner.call(request), &moved, &host).await;
            let response = answer.map_err(|error| failed::explain(error, &host, CONNECT_TIMEOUT))?;
            wire.note_date(&response);
            let received = Arc::clone(&moved);
            Ok(response.map(move |body| {
                let counter = Arc::clone(&wire);
                let note = move |bytes: u64| {
                    counter.counted.bytes_down.fetch_add(bytes, Ordering::Relaxed);
                };
                Paced::wrap(body, wire.download.clone(), Arc::clone(&received), Box::new(note))
            }))
        })
    }
}

/// When a request's body last moved.
#[derive(Debug)]
struct Moved(Mutex<Instant>);

impl Moved {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// It moves now, or will after so long: who waits for the rate has not stalled.
    fn within(&self, wait: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + wait;
    }

    fn idle(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Wire {
    /// Waits for the answer as long as the request's body moves, and for the time limit after its end.
    async fn until_stalled(
        &self,
        call: HttpConnectorFuture,
        moved: &Moved,
        host: &str,
    ) -> Result<HttpResponse, ConnectorError> {
        let mut call = std::pin::pin!(call);
        let mut told = false;
        loop {
            let limit = if told { self.stall_timeout } else { self.told_after() };
            let left = limit.saturating_sub(moved.idle()).max(Duration::from_millis(10));
            match tokio::time::timeout(left, call.as_mut()).await {
                Ok(outcome) => return outcome,
                Err(_) if moved.idle() < limit => {}
                Err(_) if !told => {
                    told = true;
                    self.tell_of_stall(host);
                }
                Err(_) => {
                    let message = format!("nothing moved for {:.1} s", limit.as_secs_f64());
                    return Err(ConnectorError::timeout(message.into()));
                }
            }
        }
    }

    /// When a person is told that nothing moves: what only waits looks as if it hung.
    fn told_after(&self) -> Duration {
        STALL_TOLD_AFTER.min(self.stall_timeout / 2)
    }

    /// Waits for the next piece of an answer from `host`, and says so when that takes long; `None` when it does not
    /// come.
    pub(super) async fn piece_of<T>(&self, host: &str, piece: impl Future<Output = T>) -> Option<T> {
        let mut piece = std::pin::pin!(piece);
        let first = self.told_after();
        if let Ok(piece) = tokio::time::timeout(first, piece.as_mut()).await {
            return Some(piece);
        }
        self.tell_of_stall(host);
        tokio::time::timeout(self.stall_timeout.saturating_sub(first), piece).await.ok()
    }

    /// One line, however many requests wait.
    fn tell_of_stall(&self, host: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= self.stall_timeout) {
            *told = Some(Instant::now());
            let (silent, limit) = (self.told_after().as_secs_f64(), self.stall_timeout.as_secs_f64());
            tracing::warn!(
                "no data from or to {host} for {silent:.1} s; waiting up to {limit:.1} s, then trying again"
            );
        }
    }
}

/// Host and port of an address, as it names them.
pub(super) fn host_of(uri: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().to_owned()
}

type Note = Box<dyn Fn(u64) + Send + Sync>;

/// A body in small pieces, each when the rate allows it.
struct Paced {
    inner: SdkBody,
    rest: Bytes,
    piece: Option<Bytes>,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
    rate: Option<Arc<Rate>>,
    moved: Arc<Moved>,
    note: Note,
}

impl Paced {
    fn wrap(inner: SdkBody, rate: Option<Arc<Rate>>, moved: Arc<Moved>, note: Note) -> SdkBody {
        // An empty body stays what it is: that it is empty decides on headers.
        if inner.bytes().is_some_and(<[u8]>::is_empty) {
            return inner;
        }
        let (rest, piece, waiting) = (Bytes::new(), None, None);
        SdkBody::from_body_1_x(Self { inner, rest, piece, waiting, rate, moved, note })
    }

    fn take_piece(&mut self) {
        let bytes_max = self.rate.as_ref().map_or(PIECE_BYTES, |rate| rate.share_bytes());
        let piece = self.rest.split_to(self.rest.len().min(bytes_max));
        let wait = self.rate.as_ref().map_or(Duration::ZERO, |rate| rate.reserve(piece.len() as u64));
        self.moved.within(wait);
        self.waiting = (!wait.is_zero()).then(|| Box::pin(tokio::time::sleep(wait)));
        self.piece = Some(piece);
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            if let Some(piece) = self.piece.take() {
                self.moved.within(Duration::ZERO);
                (self.note)(piece.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if !self.rest.is_empty() {
                self.take_piece();
                continue;
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                end => return Poll::Ready(end),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.piece.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = (self.rest.len() + self.piece.as_ref().map_or(0, Bytes::len)) as u64;
        let inner = http_body::Body::size_hint(&self.inner);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + held);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced").field("inner", &self.inner).finish_non_exhaustive()
    }
}
