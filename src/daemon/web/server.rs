//! The listener: connections, limits, headers that every answer has.

use super::gate;
use super::request::{Body, Request, Response, Told, pairs};
use super::routes;
use super::site::Web;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

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
/// Answers under way are waited for so long.
const STOP_WAIT: Duration = Duration::from_secs(3);
/// How often streams of events look.
const EVENTS_EVERY: Duration = Duration::from_secs(1);
/// A stream that has nothing to tell says so now and then, so that a reader that is gone is noticed.
const EVENTS_ALIVE: u32 = 15;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// A server that runs in threads of its own.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
    web: Arc<Web>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// Where the address is taken, or no thread can be started.
    pub fn start(web: Arc<Web>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(web.site().serve.listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(HANDLERS)
            .thread_name("web")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::clone(&web);
        let thread = std::thread::Builder::new().name("web".to_owned()).spawn(move || {
            runtime.block_on(accept(listener, shared, address, stopped));
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

async fn accept(listener: TcpListener, web: Arc<Web>, own: SocketAddr, stopped: watch::Receiver<bool>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::time::timeout(LOOK, listener.accept()).await;
        if *stopped.borrow() {
            break;
        }
        let (stream, peer) = match accepted {
            Ok(Ok(accepted)) => accepted,
            Err(_) => continue,
            // Out of file descriptors: soon there are others.
            Ok(Err(_)) => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        // Whoever comes when all places are taken is sent away, and nobody who is there waits for that.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let shared = Arc::clone(&web);
        let stopping = stopped.clone();
        let service = service_fn(move |request| {
            let (web, stopping) = (Arc::clone(&shared), stopping.clone());
            async move {
                web.answering.fetch_add(1, Ordering::SeqCst);
                let answer = answer(Arc::clone(&web), own, peer, request, stopping).await;
                web.answering.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // Safe to ignore: a connection that broke off has nobody to be told.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let began = tokio::time::Instant::now();
    while web.answering.load(Ordering::SeqCst) > 0 && began.elapsed() < STOP_WAIT {
        tokio::time::sleep(LOOK / 10).await;
    }
}

type Answer = hyper::Response<BoxBody<Bytes, std::io::Error>>;

async fn answer(
    web: Arc<Web>,
    own: SocketAddr,
    peer: SocketAddr,
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
    let forwarded =
        headers.iter().find(|(name, _)| name == "x-forwarded-for").map(|(_, value)| value.as_str());
    let address = gate::address(&site, peer.ip().to_canonical(), forwarded);
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
        Ok(response) => finished(web, response, is_asset, stopping),
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

fn finished(web: Arc<Web>, response: Response, is_asset: bool, stopping: watch::Receiver<bool>) -> Answer {
    let body = match response.body {
        Body::Whole(bytes) => Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed(),
        Body::Events(teller) => BodyExt::boxed(events(web, teller, stopping)),
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
fn events(web: Arc<Web>, mut teller: super::request::Teller, stopping: watch::Receiver<bool>) -> Pieces {
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
            let is_gone = !text.is_empty() && send.send(Ok(Bytes::from(text))).await.is_err();
            if is_gone || matches!(told, Told::End) {
                break;
            }
            tokio::time::sleep(EVENTS_EVERY).await;
            if send.is_closed() || *stopping.borrow() {
                break;
            }
        }
        web.streams.fetch_sub(1, Ordering::SeqCst);
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
