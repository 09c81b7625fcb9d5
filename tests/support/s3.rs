//! A server that speaks S3 over real HTTP and checks real signatures, in this process: `s3s` does the protocol, the
//! objects lie in memory. It can be told to fail, to be slow, and to know less than Amazon's.

#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dumpvault::storage::retry::{Backoff, RetryPolicy};
use dumpvault::storage::s3::{S3Address, S3Settings, S3Storage};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use tokio_rustls::{TlsAcceptor, rustls};

pub const BUCKET: &str = "vault";
pub const ACCESS_KEY: &str = "AKIDTEST";
pub const SECRET_KEY: &str = "not-a-secret";

/// How the server treats `If-None-Match: *` on a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditional {
    Honours,
    Ignores,
    Refuses,
}

/// One request that is about to be served.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
    /// How many requests came before it.
    pub number: u64,
    /// How often this method met this path before.
    pub repetition: u64,
    /// What is signed of the body: its hash, or that it is none.
    pub payload: String,
    /// The body's checksum, where the header has one.
    pub checksum: Option<String>,
    /// All headers, with names in small letters.
    pub headers: HashMap<String, String>,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// What a body has, by its header.
    pub fn body_bytes(&self) -> u64 {
        self.header("content-length").parse().unwrap_or(0)
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy)]
pub enum HttpFault {
    /// An error of the service; nothing is done.
    Status(u16, &'static str),
    /// The same, with words.
    Says(u16, &'static str, &'static str),
    /// The same, with a header.
    With(u16, &'static str, (&'static str, &'static str)),
    /// Another server answers: a status, and a page.
    Page(u16, &'static str),
    /// The connection closes; nothing is done.
    Drop,
    /// It is done, and the connection closes instead of an answer.
    DropAfter,
    /// No answer ever comes.
    Stall,
    /// The answer's body ends after so many bytes, with the connection.
    Cut(usize),
    /// The answer's body stops after so many bytes, and the connection stays.
    StallBody(usize),
    /// One bit of the answer's body is another.
    FlipBit,
    /// The answer says that it is another range than the one asked for.
    OtherRange,
}

type Hook = dyn Fn(&Call) -> Option<HttpFault> + Send + Sync;

struct Object {
    bytes: Bytes,
    modified: SystemTime,
    /// It was put in parts: its ETag is another one.
    in_parts: bool,
    class: Option<String>,
    locked_until: Option<SystemTime>,
    facts: Facts,
}

/// What an object has besides its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_disposition: Option<String>,
    pub cache_control: Option<String>,
    pub metadata: Option<HashMap<String, String>>,
    /// As the header has them: `name=value&name=value`.
    pub tags: String,
}

struct Upload {
    facts: Facts,
    key: String,
    parts: BTreeMap<i32, Bytes>,
    initiated: SystemTime,
}

struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    uploads_made: u64,
    conditional: Conditional,
    page_max: usize,
    latency: Duration,
    connections: Vec<tokio::task::JoinHandle<()>>,
    skew: Duration,
    ignores_ranges: bool,
    sends_whole_checksums: bool,
    quota: Option<u64>,
    hook: Option<Arc<Hook>>,
    calls: Vec<Call>,
    /// Requests that wait for their answer just now, and how many did at most.
    under_way: usize,
    under_way_max: usize,
    repetitions: HashMap<(String, String), u64>,
    hidden: Vec<String>,
}

type Shared = Arc<Mutex<State>>;

/// A server on a port of its own; it stops when this is dropped.
pub struct TestServer {
    state: Shared,
    address: SocketAddr,
    /// Whom to trust, in PEM, where it speaks TLS.
    authority: Option<String>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Default for TestServer {
    fn default() -> Self {
        Self::new()
    }
}

impl TestServer {
    pub fn new() -> Self {
        Self::start(None)
    }

    /// One that speaks TLS as `localhost` and `storage.invalid`, with a certificate that nobody in the world trusts.
    pub fn over_tls() -> Self {
        let names = ["localhost", "storage.invalid"].map(str::to_owned);
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let key = own.signing_key.serialize_der().try_into().unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![own.cert.der().clone()], key)
                .unwrap();
        Self::start(Some((TlsAcceptor::from(Arc::new(config)), own.cert.pem())))
    }

    fn start(tls: Option<(TlsAcceptor, String)>) -> Self {
        let state = Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            uploads_made: 0,
            conditional: Conditional::Honours,
            page_max: 1000,
            latency: Duration::ZERO,
            connections: Vec::new(),
            skew: Duration::ZERO,
            ignores_ranges: false,
            sends_whole_checksums: false,
            quota: None,
            hook: None,
            calls: Vec::new(),
            under_way: 0,
            under_way_max: 0,
            repetitions: HashMap::new(),
            hidden: Vec::new(),
        }));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let mut builder = S3ServiceBuilder::new(MemoryS3(Arc::clone(&state)));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let server = Server { state: Arc::clone(&state), s3: builder.build() };
        let (acceptor, authority) = tls.unzip();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (server, acceptor) = (server.clone(), acceptor.clone());
                let accepting = Arc::clone(&server.state);
                let connection = tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| server.clone().serve(request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = match acceptor {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
                let mut state = accepting.lock().unwrap();
                state.connections.retain(|connection| !connection.is_finished());
                state.connections.push(connection);
            }
        });
        Self { state, address, authority, runtime: Some(runtime) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn endpoint(&self) -> String {
        match self.authority {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// The certificate of the authority behind its own, in PEM.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().unwrap()
    }

    /// The repository's address below `prefix`.
    pub fn address(&self, prefix: &str) -> String {
        format!("s3:{}/{BUCKET}/{prefix}", self.endpoint())
    }

    /// Settings that reach it, and give up soon.
    pub fn settings(&self) -> S3Settings {
        let policy = RetryPolicy {
            attempts_max: 6,
            first: Duration::from_millis(2),
            longest: Duration::from_millis(20),
            ..RetryPolicy::default()
        };
        let backoff = Arc::new(Backoff::new(policy, 1, Arc::default()));
        S3Settings {
            keys: Some((ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())),
            region: Some("us-east-1".to_owned()),
            stall_timeout: Duration::from_secs(20),
            ..S3Settings::new(backoff)
        }
    }

    pub fn storage(&self, prefix: &str) -> S3Storage {
        S3Storage::connect(S3Address::parse(&self.address(prefix)).unwrap(), self.settings()).unwrap()
    }

    pub fn set_conditional(&self, conditional: Conditional) {
        self.lock().conditional = conditional;
    }

    pub fn set_page_max(&self, page_max: usize) {
        self.lock().page_max = page_max;
    }

    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Closes all connections, whether or not somebody still means to use them.
    pub fn close_connections(&self) {
        let connections = std::mem::take(&mut self.lock().connections);
        connections.iter().for_each(tokio::task::JoinHandle::abort);
        while connections.iter().any(|connection| !connection.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Answers with the whole object, whatever range is asked for.
    pub fn ignore_ranges(&self) {
        self.lock().ignores_ranges = true;
    }

    /// Sends the checksum of the whole object with a range of it, as some services do.
    pub fn send_whole_checksums(&self) {
        self.lock().sends_whole_checksums = true;
    }

    /// What all objects together may have; `None` is no bound.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.lock().quota = bytes;
    }

    /// What all objects have together.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes()
    }

    pub fn set_skew(&self, ahead: Duration) {
        self.lock().skew = ahead;
    }

    pub fn set_hook(&self, hook: impl Fn(&Call) -> Option<HttpFault> + Send + Sync + 'static) {
        self.lock().hook = Some(Arc::new(hook));
    }

    pub fn calm(&self) {
        self.lock().hook = None;
    }

    /// Requests so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    pub fn count(&self, method: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.method == method).count()
    }

    /// How many requests waited for their answers at the same time since the last call.
    pub fn take_under_way_max(&self) -> usize {
        std::mem::take(&mut self.lock().under_way_max)
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub fn object(&self, name: &str) -> Option<Bytes> {
        self.lock().objects.get(name).map(|object| object.bytes.clone())
    }

    /// When nobody is kept from deleting the object any more.
    pub fn locked_until(&self, name: &str) -> Option<SystemTime> {
        self.lock().objects.get(name).and_then(|object| object.locked_until)
    }

    /// Lets every lock end so much sooner, as if that time had passed.
    pub fn age_locks(&self, by: Duration) {
        for object in self.lock().objects.values_mut() {
            object.locked_until = object.locked_until.map(|until| until - by);
        }
    }

    /// Names of locked objects that somebody deleted: what was seen is gone, the version stays.
    pub fn hidden(&self) -> Vec<String> {
        self.lock().hidden.clone()
    }

    pub fn class(&self, name: &str) -> Option<String> {
        self.lock().objects.get(name).and_then(|object| object.class.clone())
    }

    /// Changes an object behind everybody's back.
    pub fn set_object(&self, name: &str, bytes: impl Into<Bytes>) {
        self.set_object_with(name, bytes, None, Facts::default());
    }

    /// The same, with all that an object can have.
    pub fn set_object_with(&self, name: &str, bytes: impl Into<Bytes>, class: Option<&str>, facts: Facts) {
        let (bytes, class) = (bytes.into(), class.map(str::to_owned));
        let modified = SystemTime::now();
        let object = Object { bytes, modified, in_parts: false, class, locked_until: None, facts };
        self.lock().objects.insert(name.to_owned(), object);
    }

    /// Puts the same bytes as an upload in parts, which has another ETag.
    pub fn put_in_parts(&self, name: &str) {
        let mut state = self.lock();
        let object = state.objects.get_mut(name).unwrap();
        (object.in_parts, object.modified) = (true, SystemTime::now());
    }

    /// Changes its tags: nothing else of it shows that.
    pub fn set_tags(&self, name: &str, tags: &str) {
        tags.clone_into(&mut self.lock().objects.get_mut(name).unwrap().facts.tags);
    }

    pub fn facts(&self, name: &str) -> Option<Facts> {
        self.lock().objects.get(name).map(|object| object.facts.clone())
    }

    pub fn remove_object(&self, name: &str) {
        self.lock().objects.remove(name);
    }

    /// Forgets the requests so far.
    pub fn forget_calls(&self) {
        self.lock().calls.clear();
    }

    pub fn uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    pub fn start_upload(&self, key: &str, age: Duration) {
        let upload = Upload {
            facts: Facts::default(),
            key: key.to_owned(),
            parts: BTreeMap::new(),
            initiated: SystemTime::now() - age,
        };
        self.lock().uploads.insert(format!("old-{key}"), upload);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Server {
    state: Shared,
    s3: S3Service,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Server {
    async fn serve(
        self,
        mut request: Request<hyper::body::Incoming>,
    ) -> Result<Response<FaultyBody>, Failure> {
        let (fault, latency, skew) = self.begin(&request);
        if !latency.is_zero() {
            // Even a sleep of nothing lasts until the timer's next tick, a millisecond.
            tokio::time::sleep(latency).await;
        }
        self.state.lock().unwrap().under_way -= 1;
        let whole = |status: u16, code: &str, words: &str| {
            let text = format!("<Error><Code>{code}</Code><Message>{words}</Message></Error>");
            let body = FaultyBody { inner: Body::from(text), left: usize::MAX, fault: None };
            Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap()
        };
        match fault {
            Some(HttpFault::Status(..) | HttpFault::Says(..) | HttpFault::With(..) | HttpFault::Page(..)) => {
                // As a real server does: what is sent is read first.
                let _ = request.body_mut().collect().await;
                return Ok(match fault {
                    Some(HttpFault::Status(status, code)) => whole(status, code, "it was ordered"),
                    Some(HttpFault::Says(status, code, words)) => whole(status, code, words),
                    Some(HttpFault::With(status, code, (name, value))) => {
                        let mut answer = whole(status, code, "it was ordered");
                        answer.headers_mut().insert(name, value.parse().unwrap());
                        answer
                    }
                    Some(HttpFault::Page(status, text)) => {
                        let body =
                            FaultyBody { inner: Body::from(text.to_owned()), left: usize::MAX, fault: None };
                        let answer = Response::builder().status(status).header("content-type", "text/html");
                        answer.body(body).unwrap()
                    }
                    _ => unreachable!(),
                });
            }
            Some(HttpFault::Drop) => return Err("dropped".into()),
            Some(HttpFault::Stall) => std::future::pending().await,
            _ => {}
        }
        let response = self.s3.call(request.map(Body::from)).await.map_err(|error| format!("{error:?}"))?;
        if matches!(fault, Some(HttpFault::DropAfter)) {
            return Err("dropped after".into());
        }
        let left = match fault {
            Some(HttpFault::Cut(left) | HttpFault::StallBody(left)) => left,
            _ => usize::MAX,
        };
        let length = response.body().size_hint().exact();
        let mut response = response.map(|inner| FaultyBody { inner, left, fault });
        if let Some(length) = length.filter(|_| left < usize::MAX) {
            response.headers_mut().entry("content-length").or_insert(length.into());
        }
        if response.status() == 206 && self.state.lock().unwrap().sends_whole_checksums {
            response.headers_mut().insert("x-amz-checksum-crc32", "AAAAAA==".parse().unwrap());
        }
        if matches!(fault, Some(HttpFault::OtherRange)) {
            response.headers_mut().insert("content-range", "bytes 1-10/100".parse().unwrap());
        }
        if !skew.is_zero() {
            let date = httpdate(SystemTime::now() + skew);
            response.headers_mut().insert("date", date.parse().unwrap());
        }
        Ok(response)
    }

    fn begin(&self, request: &Request<hyper::body::Incoming>) -> (Option<HttpFault>, Duration, Duration) {
        let (call, hook, latency, skew, room) = {
            let mut state = self.state.lock().unwrap();
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let repetitions = state.repetitions.entry((method.clone(), path.clone())).or_insert(0);
            let repetition = *repetitions;
            *repetitions += 1;
            let number = state.calls.len() as u64;
            let query = request.uri().query().unwrap_or_default().to_owned();
            let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
            let payload = header("x-amz-content-sha256").unwrap_or_default();
            let checksum = header("x-amz-checksum-crc32");
            let headers = request.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            let headers = headers.collect();
            let call = Call { method, path, query, number, repetition, payload, checksum, headers };
            state.calls.push(call.clone());
            state.under_way += 1;
            state.under_way_max = state.under_way_max.max(state.under_way);
            let room = state.quota.map(|quota| quota.saturating_sub(state.bytes()));
            (call, state.hook.clone(), state.latency, state.skew, room)
        };
        if call.method == "PUT" && room.is_some_and(|room| call.body_bytes() > room) {
            return (Some(HttpFault::Status(507, "InsufficientStorage")), latency, skew);
        }
        (hook.and_then(|hook| hook(&call)), latency, skew)
    }
}

fn httpdate(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A body that may end badly.
struct FaultyBody {
    inner: Body,
    left: usize,
    fault: Option<HttpFault>,
}

impl http_body::Body for FaultyBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.left == 0 {
            return match self.fault {
                Some(HttpFault::StallBody(_)) => Poll::Pending,
                _ => Poll::Ready(Some(Err("cut".into()))),
            };
        }
        match std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let Ok(mut data) = frame.into_data() else { return Poll::Ready(None) };
                data.truncate(self.left);
                if self.left != usize::MAX {
                    self.left -= data.len();
                }
                if matches!(self.fault, Some(HttpFault::FlipBit)) && !data.is_empty() {
                    let mut changed = data.to_vec();
                    changed[0] ^= 1;
                    data = changed.into();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left > 0 && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The operations that dumpvault uses, over a map.
struct MemoryS3(Shared);

impl MemoryS3 {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// As Amazon has keys in listings on request.
fn url_encoded(key: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' | b'/' => {
            char::from(byte).to_string()
        }
        b' ' => "+".to_owned(),
        byte => format!("%{byte:02X}"),
    };
    key.bytes().map(one).collect()
}

impl Object {
    fn tag(&self) -> ETag {
        match (tag(&self.bytes), self.in_parts) {
            (ETag::Strong(tag), true) => ETag::Strong(format!("{tag}-2")),
            (tag, _) => tag,
        }
    }
}

fn tag(bytes: &[u8]) -> ETag {
    ETag::Strong(blake3::hash(bytes).to_hex()[..32].to_owned())
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let mut body = Body::from(body);
    // Piece by piece into its place: memory that was never used before is dear.
    let mut whole = Vec::with_capacity(body.size_hint().lower() as usize);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| s3_error!(IncompleteBody))?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.into())
}

/// To the second, as on the wire.
fn moment(time: Timestamp) -> SystemTime {
    let mut text = Vec::new();
    time.format(TimestampFormat::EpochSeconds, &mut text).unwrap();
    let seconds: f64 = String::from_utf8(text).unwrap().parse().unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds as u64)
}

fn check_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

impl State {
    fn bytes(&self) -> u64 {
        self.objects.values().map(|object| object.bytes.len() as u64).sum()
    }

    fn insert_new(
        &mut self,
        key: String,
        bytes: Bytes,
        new: bool,
        (class, facts): (Option<String>, Facts),
    ) -> S3Result<()> {
        match self.conditional {
            Conditional::Refuses if new => {
                return Err(s3_error!(
                    NotImplemented,
                    "A header implies functionality that is not implemented"
                ));
            }
            Conditional::Honours if new && self.objects.contains_key(&key) => {
                return Err(s3_error!(PreconditionFailed));
            }
            _ => {}
        }
        let modified = SystemTime::now() + self.skew;
        let object = Object { bytes, modified, in_parts: false, class, locked_until: None, facts };
        self.objects.insert(key, object);
        Ok(())
    }
}

#[async_trait::async_trait]
impl S3 for MemoryS3 {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let PutObjectInput {
            bucket,
            key,
            body,
            if_none_match,
            storage_class,
            object_lock_mode,
            object_lock_retain_until_date,
            content_type,
            content_encoding,
            content_disposition,
            cache_control,
            metadata,
            tagging,
            ..
        } = request.input;
        let tags = tagging.unwrap_or_default();
        let facts =
            Facts { content_type, content_encoding, content_disposition, cache_control, metadata, tags };
        if object_lock_mode.is_some() != object_lock_retain_until_date.is_some() {
            return Err(s3_error!(InvalidArgument, "a lock has a mode and an end"));
        }
        check_bucket(&bucket)?;
        let bytes = collect(body).await?;
        let e_tag = Some(tag(&bytes));
        let class = storage_class.map(|class| class.as_str().to_owned());
        let mut state = self.lock();
        state.insert_new(key.clone(), bytes, if_none_match.is_some(), (class, facts))?;
        if let Some(object) = state.objects.get_mut(&key) {
            object.locked_until = object_lock_retain_until_date.map(moment);
        }
        drop(state);
        Ok(S3Response::new(PutObjectOutput { e_tag, ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let GetObjectInput { bucket, key, range, .. } = request.input;
        check_bucket(&bucket)?;
        let wanted =
            request.headers.get("if-match").map(|tag| tag.to_str().unwrap().trim_matches('"').to_owned());
        let (bytes, range, facts, e_tag) = {
            let state = self.lock();
            let object = state.objects.get(&key).ok_or_else(|| s3_error!(NoSuchKey))?;
            if wanted.is_some_and(|wanted| object.tag() != ETag::Strong(wanted)) {
                return Err(s3_error!(PreconditionFailed));
            }
            if object.class.as_deref() == Some("GLACIER") {
                return Err(s3_error!(
                    InvalidObjectState,
                    "The operation is not valid for the object's storage class"
                ));
            }
            let range = range.filter(|_| !state.ignores_ranges);
            (object.bytes.clone(), range, object.facts.clone(), Some(object.tag()))
        };
        let Facts { content_type, content_encoding, content_disposition, cache_control, metadata, tags } =
            facts;
        let tag_count = tags.split('&').filter(|tag| !tag.is_empty()).count() as i32;
        let total = bytes.len();
        let (bytes, content_range) = match range {
            None => (bytes, None),
            Some(range) => {
                let range = range.check(total as u64)?;
                let told = format!("bytes {}-{}/{total}", range.start, range.end - 1);
                (bytes.slice(range.start as usize..range.end as usize), Some(told))
            }
        };
        let content_length = Some(bytes.len() as i64);
        let body = Some(StreamingBlob::from(Body::from(bytes)));
        Ok(S3Response::new(GetObjectOutput {
            body,
            content_length,
            content_range,
            content_type,
            content_encoding,
            content_disposition,
            cache_control,
            metadata,
            tag_count: Some(tag_count).filter(|count| *count > 0),
            e_tag,
            ..Default::default()
        }))
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let state = self.lock();
        let object = state.objects.get(&request.input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let pairs = object.facts.tags.split('&').filter_map(|tag| tag.split_once('='));
        let tag_set =
            pairs.map(|(key, value)| Tag { key: Some(key.to_owned()), value: Some(value.to_owned()) });
        let tag_set = tag_set.collect();
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set, ..Default::default() }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        check_bucket(&request.input.bucket)?;
        let state = self.lock();
        let object = state.objects.get(&request.input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let content_length = Some(object.bytes.len() as i64);
        let object_lock_retain_until_date = object.locked_until.map(Into::into);
        Ok(S3Response::new(HeadObjectOutput {
            content_length,
            object_lock_retain_until_date,
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        check_bucket(&request.input.bucket)?;
        let key = request.input.key;
        let mut state = self.lock();
        // As in a bucket with versions: a locked version stays, behind a marker that hides it.
        if let Some(object) = state.objects.remove(&key)
            && object.locked_until.is_some_and(|until| until > SystemTime::now())
        {
            state.hidden.push(key);
        }
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let ListObjectsV2Input { bucket, prefix, continuation_token, encoding_type, max_keys, .. } =
            request.input;
        check_bucket(&bucket)?;
        let prefix = prefix.unwrap_or_default();
        let after = continuation_token.unwrap_or_default();
        let is_url = encoding_type.as_ref().is_some_and(|kind| kind.as_str() == "url");
        let state = self.lock();
        let page_max = max_keys.map_or(state.page_max, |max| state.page_max.min(max as usize));
        let mut found = state
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix) && key.as_str() > after.as_str())
            .take(page_max + 1)
            .map(|(key, object)| s3s::dto::Object {
                key: Some(key.clone()),
                e_tag: Some(object.tag()),
                storage_class: object.class.clone().map(Into::into),
                size: Some(object.bytes.len() as i64),
                last_modified: Some(object.modified.into()),
                ..Default::default()
            })
            .collect::<Vec<_>>();
        let is_truncated = found.len() > page_max;
        found.truncate(page_max);
        let next = found.last().and_then(|object| object.key.clone()).filter(|_| is_truncated);
        for object in found.iter_mut().filter(|_| is_url) {
            object.key = object.key.as_deref().map(url_encoded);
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(bucket),
            key_count: Some(found.len() as i32),
            contents: Some(found),
            is_truncated: Some(is_truncated),
            encoding_type,
            next_continuation_token: next,
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput {
            bucket,
            key,
            content_type,
            content_encoding,
            content_disposition,
            cache_control,
            metadata,
            tagging,
            ..
        } = request.input;
        check_bucket(&bucket)?;
        let tags = tagging.unwrap_or_default();
        let facts =
            Facts { content_type, content_encoding, content_disposition, cache_control, metadata, tags };
        let mut state = self.lock();
        state.uploads_made += 1;
        let id = format!("upload-{}", state.uploads_made);
        let upload = Upload { facts, key: key.clone(), parts: BTreeMap::new(), initiated: SystemTime::now() };
        state.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn put_object_retention(
        &self,
        request: S3Request<PutObjectRetentionInput>,
    ) -> S3Result<S3Response<PutObjectRetentionOutput>> {
        let PutObjectRetentionInput { key, retention, .. } = request.input;
        let until = retention.and_then(|retention| retention.retain_until_date).map(moment);
        let mut state = self.lock();
        let object = state.objects.get_mut(&key).ok_or_else(|| s3_error!(NoSuchKey))?;
        if object.locked_until > until {
            return Err(s3_error!(AccessDenied, "a lock is never made shorter"));
        }
        object.locked_until = until;
        Ok(S3Response::new(PutObjectRetentionOutput::default()))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { upload_id, part_number, body, .. } = request.input;
        let bytes = collect(body).await?;
        let e_tag = Some(tag(&bytes));
        let mut state = self.lock();
        let upload = state.uploads.get_mut(&upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(part_number, bytes);
        Ok(S3Response::new(UploadPartOutput { e_tag, ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let CompleteMultipartUploadInput { upload_id, multipart_upload, if_none_match, key, .. } =
            request.input;
        let mut state = self.lock();
        let upload = state.uploads.get(&upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut whole = Vec::new();
        for part in named {
            let bytes = part.part_number.and_then(|number| upload.parts.get(&number));
            let bytes = bytes.filter(|bytes| Some(tag(bytes)) == part.e_tag);
            whole.extend_from_slice(bytes.ok_or_else(|| s3_error!(InvalidPart))?);
        }
        let facts = upload.facts.clone();
        state.insert_new(key, whole.into(), if_none_match.is_some(), (None, facts))?;
        state.uploads.remove(&upload_id);
        Ok(S3Response::new(CompleteMultipartUploadOutput::default()))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        match self.lock().uploads.remove(&request.input.upload_id) {
            Some(_) => Ok(S3Response::new(AbortMultipartUploadOutput::default())),
            None => Err(s3_error!(NoSuchUpload)),
        }
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let prefix = request.input.prefix.unwrap_or_default();
        let state = self.lock();
        let uploads = state.uploads.iter().filter(|(_, upload)| upload.key.starts_with(&prefix));
        let uploads = uploads.map(|(id, upload)| MultipartUpload {
            key: Some(upload.key.clone()),
            upload_id: Some(id.clone()),
            initiated: Some(upload.initiated.into()),
            ..Default::default()
        });
        let uploads = Some(uploads.collect());
        Ok(S3Response::new(ListMultipartUploadsOutput { uploads, ..Default::default() }))
    }
}
