//! The listener: connections, limits, headers that every answer has.

use super::gate;
use super::request::{Body, Request, Response, Told, pairs};
use super::routes;
use super::site::Web;
use crate::daemon::alert::Fact;
use crate::settings::{Listen, Tls};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Connections at the same time.
const CONNECTIONS: usize = 256;
/// Handlers at the same time.
const HANDLERS: usize = 16;
/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(200);
/// A body may be so long.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Headers and body have to be there in that time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whoever takes nothing of an answer for so long is sent away.
const TAKING: Duration = Duration::from_secs(30);
/// Answers under way are waited for so long.
const STOP_WAIT: Duration = Duration::from_secs(3);
/// How often streams of events look.
const EVENTS_EVERY: Duration = Duration::from_secs(1);
/// A stream that has nothing to tell says so now and then, so that a reader that is gone is noticed.
const EVENTS_ALIVE: u32 = 15;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// This machine.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long a certificate is used without a look at whether it was renewed.
const RENEWAL: Duration = Duration::from_secs(5);

/// A server that runs in threads of its own.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
    web: Arc<Web>,
    /// Where it listens, as people are told it.
    pub address: String,
}

/// A listener of either kind.
enum Listener {
    Address(tokio::net::TcpListener, SocketAddr),
    Socket(tokio::net::UnixListener, PathBuf),
}

/// What came in: a connection, and from where. Whoever comes by a socket of this machine is on this machine.
enum Came {
    Address(tokio::net::TcpStream, SocketAddr),
    Socket(tokio::net::UnixStream),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Came> {
        Ok(match self {
            Self::Address(listener, _) => {
                let (stream, peer) = listener.accept().await?;
                Came::Address(stream, peer)
            }
            Self::Socket(listener, _) => Came::Socket(listener.accept().await?.0),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Socket(_, path) = self {
            // Safe to ignore: the next one to listen there removes it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Binds a socket in the file system, for this user and group. One that is there was left by a service that was killed:
/// only one runs.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// Where the address is taken, the certificate cannot be used, or no thread can be started.
    pub fn start(web: Arc<Web>) -> std::io::Result<Self> {
        let serve = web.site().serve.clone();
        let tls = serve.tls.map(Certificate::open).transpose()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(HANDLERS)
            .thread_name("web")
            .enable_all()
            .build()?;
        let within = runtime.enter();
        let (listener, address) = match serve.listen {
            Listen::Address(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let own = listener.local_addr()?;
                let scheme = if tls.is_some() { "https" } else { "http" };
                (
                    Listener::Address(tokio::net::TcpListener::from_std(listener)?, own),
                    format!("{scheme}://{own}"),
                )
            }
            Listen::Socket(path) => {
                let listener = tokio::net::UnixListener::from_std(bind(&path)?)?;
                let address = format!("unix:{}", path.display());
                (Listener::Socket(listener, path), address)
            }
        };
        drop(within);
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::clone(&web);
        let thread = std::thread::Builder::new().name("web".to_owned()).spawn(move || {
            runtime.block_on(accept(listener, tls, shared, stopped));
            runtime.shutdown_timeout(STOP_WAIT);
        })?;
        Ok(Self { stop, thread, web, address })
    }

    /// Ends: answers under way are finished, within reason.
    pub fn stop(self) {
        // Safe to ignore: whoever hears nothing has ended already.
        let _ = self.stop.send(true);
        self.web.children.stop();
        let _ = self.thread.join();
    }
}

/// A certificate that may be renewed while it is used.
struct Certificate {
    files: Tls,
    looked: Instant,
    changed: [Option<SystemTime>; 2],
    acceptor: TlsAcceptor,
    /// What is wrong with the files since the last look.
    wrong: Option<String>,
    /// What is known of it to whoever is told of alerts; nothing yet.
    told: Option<Option<String>>,
}

impl Certificate {
    fn open(files: Tls) -> std::io::Result<Self> {
        let (changed, acceptor) = (changed(&files), acceptor(&files)?);
        Ok(Self { files, looked: Instant::now(), changed, acceptor, wrong: None, told: None })
    }

    /// Looks whether the files are others, if it is time. Those that cannot be used are looked at again later, and the
    /// old ones go on. Says what there is to be told: of files that are wrong at two looks, since one may come between
    /// the two files of a renewal.
    fn look(&mut self) -> Option<Fact> {
        if self.told.is_some() && self.looked.elapsed() < RENEWAL {
            return None;
        }
        self.looked = Instant::now();
        let changed = changed(&self.files);
        let mut wrong = None;
        if changed != self.changed {
            match acceptor(&self.files) {
                Ok(acceptor) => (self.changed, self.acceptor) = (changed, acceptor),
                Err(error) => wrong = Some(error.to_string()),
            }
        }
        let before = std::mem::replace(&mut self.wrong, wrong);
        let certain = (before == self.wrong).then(|| self.wrong.clone())?;
        if self.told.as_ref() == Some(&certain) {
            return None;
        }
        self.told = Some(certain.clone());
        Some(match certain {
            Some(why) => Fact::Bad {
                condition: "config",
                subject: "certificate".to_owned(),
                cause: "the renewed certificate cannot be used".to_owned(),
                text: format!("the renewed certificate cannot be used, and the old one stays in use: {why}"),
                hint: Some("put a certificate and its key in place; they are used within seconds".to_owned()),
                run: None,
            },
            None => Fact::good("config", "certificate"),
        })
    }
}

fn changed(files: &Tls) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.key].map(|file| std::fs::metadata(file).and_then(|file| file.modified()).ok())
}

fn acceptor(files: &Tls) -> std::io::Result<TlsAcceptor> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display| {
        std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("`{}`: {why}", file.display()))
    };
    let of_certificate = |why: &dyn std::fmt::Display| wrong(&files.certificate, why);
    let of_key = |why: &dyn std::fmt::Display| wrong(&files.key, why);
    let chain = CertificateDer::pem_file_iter(&files.certificate).map_err(|error| of_certificate(&error))?;
    let chain: Vec<CertificateDer<'static>> =
        chain.collect::<Result<_, _>>().map_err(|error| of_certificate(&error))?;
    if chain.is_empty() {
        return Err(of_certificate(&"no certificate in PEM is in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| of_key(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| of_key(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(
    listener: Listener,
    mut tls: Option<Certificate>,
    web: Arc<Web>,
    stopped: watch::Receiver<bool>,
) {
    let own = match &listener {
        Listener::Address(_, own) => Some(*own),
        Listener::Socket(..) => None,
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::time::timeout(LOOK, listener.accept()).await;
        if *stopped.borrow() {
            break;
        }
        if let Some(fact) = tls.as_mut().and_then(Certificate::look) {
            let web = Arc::clone(&web);
            // Safe to ignore: a state that cannot be written is an alert by itself.
            tokio::task::spawn_blocking(move || web.state(|state| state.state_facts(web.now(), &[fact])));
        }
        let came = match accepted {
            Ok(Ok(came)) => came,
            Err(_) => continue,
            // Out of file descriptors: soon there are others.
            Ok(Err(_)) => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        // Whoever comes when all places are taken is sent away, and nobody who is there waits for that.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (web, stopped) = (Arc::clone(&web), stopped.clone());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor.clone());
        tokio::spawn(async move {
            match (came, acceptor) {
                (Came::Socket(stream), _) => converse(stream, web, None, LOCAL, stopped).await,
                (Came::Address(stream, peer), None) => converse(stream, web, own, peer.ip(), stopped).await,
                (Came::Address(stream, peer), Some(acceptor)) => {
                    // Safe to ignore: one that does not get to be encrypted has nobody to be told.
                    if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                        converse(stream, web, own, peer.ip(), stopped).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    let began = tokio::time::Instant::now();
    while web.answering.load(Ordering::SeqCst) > 0 && began.elapsed() < STOP_WAIT {
        tokio::time::sleep(LOOK / 10).await;
    }
}

/// A request that is being answered.
struct Answering(Arc<Web>);

impl Answering {
    fn of(web: Arc<Web>) -> Self {
        web.answering.fetch_add(1, Ordering::SeqCst);
        Self(web)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers what comes over a connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    web: Arc<Web>,
    own: Option<SocketAddr>,
    peer: IpAddr,
    stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let (web, stopping) = (Arc::clone(&web), stopped.clone());
        async move {
            // Counted down also when the connection breaks off.
            let _answering = Answering::of(Arc::clone(&web));
            Ok::<_, Infallible>(answer(web, own, peer, request, stopping).await)
        }
    });
    serve_over(stream, TAKING, service).await;
}

/// Serves over a connection until its end, or until nothing of an answer was taken for as long as `taking`.
async fn serve_over(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    taking: Duration,
    service: impl Service<hyper::Request<Incoming>, Response = Answer, Error = Infallible>,
) {
    let stream = Patient { stream, taking, waits: None };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    // Safe to ignore: a connection that broke off has nobody to be told.
    let _ = connection.await;
}

/// A connection that fails once its other side takes nothing for too long: its place is for others.
struct Patient<S> {
    stream: S,
    taking: Duration,
    /// Runs out while nothing is taken.
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<S> Patient<S> {
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if polled.is_ready() {
            self.waits = None;
            return polled;
        }
        let taking = self.taking;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(taking)));
        waits.as_mut().poll(context).map(|()| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

type Answer = hyper::Response<BoxBody<Bytes, std::io::Error>>;

async fn answer(
    web: Arc<Web>,
    own: Option<SocketAddr>,
    peer: IpAddr,
    request: hyper::Request<Incoming>,
    stopping: watch::Receiver<bool>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let read = tokio::time::timeout(PATIENCE, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = match read {
        Ok(Ok(body)) => body.to_bytes().to_vec(),
        Ok(Err(_)) => return plain(413, "the body is too long"),
        Err(_) => return plain(408, "the body took too long"),
    };
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let site = web.site();
    // A proxy may add a line of its own to those that it was sent.
    let forwarded: Vec<&str> = headers
        .iter()
        .filter(|(name, _)| name == "x-forwarded-for")
        .map(|(_, value)| value.as_str())
        .collect();
    let forwarded = (!forwarded.is_empty()).then(|| forwarded.join(","));
    let address = gate::address(&site, peer.to_canonical(), forwarded.as_deref());
    let base = site.serve.external_url.as_ref().map_or("", |url| url.base.as_str());
    let path = parts.uri.path();
    // A proxy may have taken the base path away, or not.
    let path = path.strip_prefix(base).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let request = Request {
        method: parts.method.as_str().to_owned(),
        path: path.to_owned(),
        query: pairs(parts.uri.query().unwrap_or_default()),
        headers,
        body,
        address,
    };
    let is_asset = request.path.starts_with("/assets/");
    let shared = Arc::clone(&web);
    let done = tokio::task::spawn_blocking(move || routes::answer(&shared, own, &request)).await;
    match done {
        Ok(response) => finished(response, is_asset, stopping),
        Err(_) => plain(500, "something is wrong in the service; its log says more"),
    }
}

fn plain(status: u16, text: &str) -> Answer {
    let body = Full::new(Bytes::from(format!("{text}\n"))).map_err(|never| match never {}).boxed();
    let mut answer = hyper::Response::new(body);
    *answer.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    answer.headers_mut().insert("connection", hyper::header::HeaderValue::from_static("close"));
    answer
}

fn finished(response: Response, is_asset: bool, stopping: watch::Receiver<bool>) -> Answer {
    let body = match response.body {
        Body::Whole(bytes) => Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed(),
        Body::Events(teller) => BodyExt::boxed(events(teller, stopping)),
        Body::Pieces(length, pieces) => BodyExt::boxed(Pieces { left: Some(length), pieces }),
    };
    let mut answer = hyper::Response::new(body);
    *answer.status_mut() = hyper::StatusCode::from_u16(response.status).unwrap_or_default();
    let fixed = [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
        ("cache-control", if is_asset { "public, max-age=31536000, immutable" } else { "no-store" }),
    ];
    let own = response.headers.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in fixed.into_iter().chain(own) {
        // What cannot stand in a header is left out.
        if let Ok(value) = hyper::header::HeaderValue::from_str(value) {
            answer.headers_mut().append(hyper::header::HeaderName::from_static(name), value);
        }
    }
    answer
}

/// Events, in a task that looks each second.
fn events(mut teller: super::request::Teller, stopping: watch::Receiver<bool>) -> Pieces {
    let (send, pieces) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let mut quiet = 0;
        loop {
            let looked = tokio::task::spawn_blocking(move || {
                let told = teller();
                (teller, told)
            });
            let Ok((back, told)) = looked.await else { break };
            teller = back;
            let text = match &told {
                Told::Event(name, line) => format!("event: {name}\ndata: {line}\n\n"),
                Told::Nothing if quiet < EVENTS_ALIVE => String::new(),
                Told::Nothing => ": still here\n\n".to_owned(),
                Told::End => "event: end\ndata: {}\n\n".to_owned(),
            };
            quiet = if text.is_empty() { quiet + 1 } else { 0 };
            // Who reads nothing for so long is gone, too.
            let is_gone =
                !text.is_empty() && send.send_timeout(Ok(Bytes::from(text)), PATIENCE).await.is_err();
            if is_gone || matches!(told, Told::End) {
                break;
            }
            tokio::time::sleep(EVENTS_EVERY).await;
            if send.is_closed() || *stopping.borrow() {
                break;
            }
        }
    });
    Pieces { left: None, pieces }
}

/// A body that comes in pieces.
struct Pieces {
    left: Option<u64>,
    pieces: Receiver<std::io::Result<Bytes>>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let polled = self.pieces.poll_recv(context);
        polled.map(|piece| {
            let piece = piece?;
            if let (Ok(bytes), Some(left)) = (&piece, self.left.as_mut()) {
                *left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or_default());
            }
            Some(piece.map(Frame::data))
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Nothing takes so long that is not stuck.
    const HANGS: Duration = Duration::from_secs(60);

    #[test]
    fn who_asks_and_takes_nothing_is_sent_away() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut reader, server) = std::os::unix::net::UnixStream::pair().unwrap();
            server.set_nonblocking(true).unwrap();
            reader.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let service = service_fn(|_| async {
                let body = Full::new(Bytes::from(vec![b'x'; 32 << 20])).map_err(|never| match never {});
                Ok::<_, Infallible>(hyper::Response::new(body.boxed()))
            });
            let stream = tokio::net::UnixStream::from_std(server).unwrap();
            let served = serve_over(stream, Duration::from_millis(50), service);
            assert!(tokio::time::timeout(HANGS, served).await.is_ok(), "its place is kept for ever");
        });
    }
}
