//! A server in this process that speaks as Azure and Google do, as far as a repository needs it: it keeps locks, gives
//! tokens and takes them back, and fails when told to.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

/// A request, as it came.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub method: String,
    pub path: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// How many requests of this method and path came before.
    pub repetition: usize,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn asked(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// A field of a form.
    pub fn field(&self, name: &str) -> String {
        pairs(&String::from_utf8_lossy(&self.body)).remove(name).unwrap_or_default()
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This is the answer; nothing is done.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The connection closes; nothing is done.
    Drop,
    /// It is done, and the connection closes instead of an answer.
    DropAfter,
    /// The answer's body ends after so many bytes, with the connection.
    Cut(usize),
    /// The last byte of what is put arrives as another one.
    Spoil,
    /// The answer has this header besides.
    With(&'static str, &'static str),
}

#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    modified: SystemTime,
    lock: Option<(String, SystemTime)>,
}

type Hook = dyn Fn(&Call) -> Option<Fault> + Send + Sync;

struct State {
    objects: BTreeMap<String, Object>,
    calls: Vec<Call>,
    hook: Option<Arc<Hook>>,
    keeps_locks: bool,
    /// A deletion of what is locked hides it, as where versions are kept; else it is refused.
    hides: bool,
    /// What was deleted while it was locked.
    hidden: BTreeMap<String, Object>,
    page_max: usize,
    /// Every other page is empty.
    has_empty_pages: bool,
    /// The bearer token that is taken; any is, where there is none.
    token: Option<String>,
    tokens_given: usize,
    /// How long the first tokens last, and how many those are.
    short_lives: (Duration, usize),
    /// When the token that is taken ends.
    token_ends: Option<Instant>,
    skew: Duration,
    /// Listings of Azure's have the folders that objects are in, as accounts with a hierarchical namespace do.
    has_folders: bool,
}

/// A server on a port of its own; it stops when this is dropped.
pub struct Stub {
    state: Arc<Mutex<State>>,
    port: u16,
    is_over: Arc<AtomicBool>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.die();
    }
}

/// What came of a deletion.
enum Deleted {
    Gone,
    Missing,
    Locked,
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn saying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn json(value: &Value) -> Self {
        Self::new(200).with("content-type", "application/json").saying(value.to_string())
    }
}

impl Stub {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            calls: Vec::new(),
            hook: None,
            keeps_locks: true,
            hides: false,
            hidden: BTreeMap::new(),
            page_max: 1000,
            has_empty_pages: false,
            token: None,
            tokens_given: 0,
            short_lives: (Duration::ZERO, 0),
            token_ends: None,
            skew: Duration::ZERO,
            has_folders: false,
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&state), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (shared, over) = (Arc::clone(&shared), Arc::clone(&over));
                std::thread::spawn(move || {
                    // Safe to ignore because the other side closes when it likes.
                    let _ = serve(&shared, &over, stream.unwrap());
                });
            }
        });
        Self { state, port, is_over }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of an Azure container.
    pub fn azure(&self) -> String {
        format!("azure:{}/dev/vault/repo", self.endpoint())
    }

    pub fn set_hook(&self, hook: impl Fn(&Call) -> Option<Fault> + Send + Sync + 'static) {
        self.state().hook = Some(Arc::new(hook));
    }

    /// Answers nothing any more, for good.
    pub fn die(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }

    pub fn forget_locks(&self) {
        self.state().keeps_locks = false;
    }

    /// From now on a deletion of what is locked hides it.
    pub fn keep_versions(&self) {
        self.state().hides = true;
    }

    /// What was deleted while it was locked, and is still there.
    pub fn hidden(&self) -> Vec<String> {
        self.state().hidden.keys().cloned().collect()
    }

    /// All locks end so much sooner, as if the time had passed.
    pub fn age_locks(&self, by: Duration) {
        for object in self.state().objects.values_mut() {
            object.lock = object.lock.take().map(|(mode, until)| (mode, until - by));
        }
    }

    pub fn set_pages(&self, page_max: usize, has_empty_pages: bool) {
        let mut state = self.state();
        (state.page_max, state.has_empty_pages) = (page_max, has_empty_pages);
    }

    pub fn set_skew(&self, skew: Duration) {
        self.state().skew = skew;
    }

    /// Only tokens that are given from now on are taken.
    pub fn take_tokens_back(&self) {
        self.state().token = Some("none".to_owned());
    }

    /// The first `count` tokens last for `life`, the others for an hour. None is taken after its end.
    pub fn shorten_tokens(&self, life: Duration, count: usize) {
        self.state().short_lives = (life, count);
    }

    /// From now on Azure's listings have folders, too.
    pub fn show_folders(&self) {
        self.state().has_folders = true;
    }

    pub fn tokens_given(&self) -> usize {
        self.state().tokens_given
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }

    pub fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// The lock of an object: its mode, and when it ends.
    pub fn lock(&self, name: &str) -> Option<(String, SystemTime)> {
        self.state().objects[name].lock.clone()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let each = text.split('&').filter(|part| !part.is_empty());
    each.map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(n, v)| (decoded(n), decoded(v)))
        .collect()
}

fn serve(state: &Mutex<State>, is_over: &AtomicBool, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut call = Call { method, path: path.to_owned(), query: pairs(query), ..Call::default() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            call.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let len = call.header("content-length").parse().unwrap_or(0);
        call.body = vec![0; len];
        reader.read_exact(&mut call.body)?;
        if is_over.load(Ordering::SeqCst) {
            return stream.shutdown(Shutdown::Both);
        }
        let (fault, skew) = {
            let mut state = state.lock().unwrap();
            let same = |other: &&Call| other.method == call.method && other.path == call.path;
            call.repetition = state.calls.iter().filter(same).count();
            let mut noted = call.clone();
            // Bodies of packs are not kept twice.
            noted.body.truncate(4096);
            state.calls.push(noted);
            (state.hook.clone().and_then(|hook| hook(&call)), state.skew)
        };
        let mut cut = usize::MAX;
        let reply = match fault {
            Some(Fault::Drop) => return stream.shutdown(Shutdown::Both),
            Some(Fault::DropAfter) => {
                answer(state, &call);
                return stream.shutdown(Shutdown::Both);
            }
            Some(Fault::Answer(status, headers, body)) => {
                let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                Reply { status, headers, body: body.into_bytes() }
            }
            Some(Fault::Cut(bytes)) => {
                cut = bytes;
                answer(state, &call)
            }
            Some(Fault::Spoil) => {
                // Behind a body of several parts stands their boundary.
                let parts = call.header("content-type").split_once("boundary=");
                let behind = parts.map_or(0, |(_, boundary)| boundary.len() + "\r\n----\r\n".len());
                let last = call.body.len() - behind - 1;
                call.body[last] ^= 1;
                answer(state, &call)
            }
            Some(Fault::With(name, value)) => answer(state, &call).with(name, value),
            None => answer(state, &call),
        };
        let date = http_date(SystemTime::now() + skew);
        let mut head = format!("HTTP/1.1 {} X\r\ndate: {date}\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !reply.headers.iter().any(|(name, _)| name == "content-length") {
            head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        if call.method != "HEAD" {
            stream.write_all(&reply.body[..reply.body.len().min(cut)])?;
        }
        if cut < reply.body.len() {
            return stream.shutdown(Shutdown::Both);
        }
    }
}

fn http_date(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn answer(state: &Mutex<State>, call: &Call) -> Reply {
    let mut state = state.lock().unwrap();
    let is_token = ["/token", "/generateAccessToken", "/subject"].iter().any(|end| call.path.ends_with(end));
    if is_token {
        return state.give_token(call);
    }
    let bearer = call.header("authorization").strip_prefix("Bearer ");
    let is_over = state.token_ends.is_some_and(|ends| ends < Instant::now());
    if let (Some(wanted), Some(bearer)) = (&state.token, bearer)
        && (wanted != bearer || is_over)
    {
        let body = json!({"error": {"code": 401, "message": "Invalid Credentials", "errors": [{"reason": "authError"}]}});
        return Reply::new(401).with("x-ms-error-code", "InvalidAuthenticationInfo").saying(body.to_string());
    }
    match call.path.strip_prefix("/dev/vault") {
        Some(rest) => state.azure(call, &decoded(rest.trim_start_matches('/'))),
        None if call.path.starts_with("/dev/") => azure_error(404, "ContainerNotFound"),
        None => state.gcs(call),
    }
}

fn azure_error(status: u16, code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>words\nRequestId:1</Message></Error>"
    );
    Reply::new(status).with("x-ms-error-code", code).saying(body)
}

fn gcs_error(status: u16, reason: &str, message: &str) -> Reply {
    let body = json!({"error": {"code": status, "message": message, "errors": [{"reason": reason}]}});
    Reply::new(status).saying(body.to_string())
}

/// The bytes that are asked for.
fn part(call: &Call, bytes: &[u8]) -> Option<Reply> {
    let Some(range) = call.header("range").strip_prefix("bytes=") else {
        return Some(Reply::new(200).saying(bytes));
    };
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (usize, usize) =
        (first.parse().unwrap_or(usize::MAX), last.parse().unwrap_or(usize::MAX));
    if first >= bytes.len() {
        return None;
    }
    let last = last.min(bytes.len() - 1);
    let told = format!("bytes {first}-{last}/{}", bytes.len());
    Some(Reply::new(206).with("content-range", told).saying(&bytes[first..=last]))
}

impl State {
    fn give_token(&mut self, call: &Call) -> Reply {
        if call.path.ends_with("/subject") {
            return Reply::new(200).saying(r#"{"id_token":"the-subject"}"#);
        }
        let token = format!("secret-token-{}", self.tokens_given);
        let (short, count) = self.short_lives;
        let life = if self.tokens_given < count { short } else { Duration::from_secs(3600) };
        self.tokens_given += 1;
        self.token = Some(token.clone());
        self.token_ends = Some(Instant::now() + life);
        let life_s = life.as_secs();
        if call.path.ends_with("/generateAccessToken") {
            let ends = rfc3339(SystemTime::now() + life);
            return Reply::json(&json!({"accessToken": token, "expireTime": ends}));
        }
        // Some say it as a number, some as text.
        let lasts = if call.method == "GET" { json!(life_s.to_string()) } else { json!(life_s) };
        Reply::json(&json!({"access_token": token, "expires_in": lasts, "token_type": "Bearer"}))
    }

    fn page(&self, prefix: &str, from: &str) -> (Vec<(String, Object)>, Option<String>) {
        // A page is told by the name that it begins behind; an empty one by a mark in front.
        let is_empty = self.has_empty_pages && !from.starts_with('!') && !from.is_empty();
        let from = from.trim_start_matches('!');
        if is_empty {
            return (Vec::new(), Some(format!("!{from}")));
        }
        let mut left =
            self.objects.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > from);
        let page: Vec<_> =
            left.by_ref().take(self.page_max).map(|(name, object)| (name.clone(), object.clone())).collect();
        let next = left.next().and(page.last()).map(|(name, _)| name.clone());
        (page, next)
    }

    fn is_locked(&self, name: &str) -> bool {
        let lock = self.objects.get(name).and_then(|object| object.lock.as_ref());
        lock.is_some_and(|(_, until)| *until > SystemTime::now())
    }

    fn delete(&mut self, name: &str) -> Deleted {
        let is_locked = self.is_locked(name);
        if is_locked && !self.hides {
            return Deleted::Locked;
        }
        let Some(object) = self.objects.remove(name) else { return Deleted::Missing };
        if is_locked {
            self.hidden.insert(name.to_owned(), object);
        }
        Deleted::Gone
    }

    /// Sets a lock, which nobody makes shorter.
    fn set_lock(&mut self, name: &str, mode: &str, until: SystemTime) -> bool {
        let object = self.objects.get_mut(name).unwrap();
        if object.lock.as_ref().is_some_and(|(_, end)| *end > until) {
            return false;
        }
        object.lock = Some((mode.to_owned(), until));
        true
    }

    fn azure(&mut self, call: &Call, name: &str) -> Reply {
        let until = jiff::fmt::rfc2822::parse(call.header("x-ms-immutability-policy-until-date"));
        let lock = until.ok().map(|until| {
            (call.header("x-ms-immutability-policy-mode").to_owned(), SystemTime::from(until.timestamp()))
        });
        match (call.method.as_str(), call.asked("comp")) {
            ("GET", "list") => {
                let (page, next) = self.page(call.asked("prefix"), call.asked("marker"));
                let blob = |name: &str, object: &Object, inside: &str, behind: &str| {
                    format!(
                        "<Blob><Name>{name}</Name><Properties><Last-Modified>{}</Last-Modified><Content-Length>{}</Content-Length>{inside}</Properties>{behind}</Blob>",
                        http_date(object.modified),
                        object.bytes.len()
                    )
                };
                let mut blobs = String::new();
                for (name, object) in &page {
                    // Each folder again before each object: of some it is only the metadata that tell.
                    let marks = [
                        ("<ResourceType>directory</ResourceType>", ""),
                        ("", "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"),
                    ];
                    let folders = name.match_indices('/').map(|(at, _)| &name[..at]);
                    for (folder, (inside, behind)) in folders.zip(marks.into_iter().cycle()) {
                        if self.has_folders && folder.starts_with(call.asked("prefix")) {
                            let none = Object { bytes: Vec::new(), ..object.clone() };
                            blobs.push_str(&blob(folder, &none, inside, behind));
                        }
                    }
                    blobs.push_str(&blob(name, object, "", ""));
                }
                Reply::new(200).saying(format!(
                    "<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker>{}</NextMarker></EnumerationResults>",
                    next.unwrap_or_default()
                ))
            }
            ("GET", _) if call.asked("restype") == "container" => {
                let told = if self.keeps_locks { "true" } else { "false" };
                Reply::new(200).with("x-ms-immutable-storage-with-versioning-enabled", told)
            }
            ("PUT", "immutabilityPolicies") => match (self.objects.contains_key(name), lock) {
                (false, _) => azure_error(404, "BlobNotFound"),
                (true, Some((mode, until))) if self.set_lock(name, &mode, until) => Reply::new(200),
                _ => azure_error(409, "BlobImmutableDueToPolicy"),
            },
            ("PUT", _) => {
                if self.objects.contains_key(name) {
                    return azure_error(409, "BlobAlreadyExists");
                }
                let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &call.body).to_le_bytes();
                let told = aws_smithy_types::base64::decode(call.header("x-ms-content-crc64"));
                if told.is_ok_and(|told| told != sum) {
                    return azure_error(400, "Crc64Mismatch");
                }
                if call.header("x-ms-content-crc64").is_empty() || call.header("if-none-match") != "*" {
                    return azure_error(400, "InvalidHeaderValue");
                }
                let lock = lock.filter(|_| self.keeps_locks);
                let object = Object { bytes: call.body.clone(), modified: SystemTime::now(), lock };
                self.objects.insert(name.to_owned(), object);
                Reply::new(201)
            }
            ("DELETE", _) => match self.delete(name) {
                Deleted::Locked => azure_error(409, "BlobImmutableDueToPolicy"),
                Deleted::Gone => Reply::new(202),
                Deleted::Missing => azure_error(404, "BlobNotFound"),
            },
            ("GET" | "HEAD", _) => {
                let Some(object) = self.objects.get(name) else { return azure_error(404, "BlobNotFound") };
                let Some(mut reply) = part(call, &object.bytes) else {
                    return azure_error(416, "InvalidRange");
                };
                if let Some((mode, until)) = &object.lock {
                    reply = reply
                        .with("x-ms-immutability-policy-until-date", http_date(*until))
                        .with("x-ms-immutability-policy-mode", mode.clone());
                }
                if call.method == "HEAD" {
                    reply = reply.with("content-length", object.bytes.len().to_string());
                }
                reply
            }
            _ => azure_error(405, "UnsupportedHttpVerb"),
        }
    }

    fn gcs(&mut self, call: &Call) -> Reply {
        let missing = || gcs_error(404, "notFound", "No such object");
        let lock_of = |told: &Value| {
            let until = told["retention"]["retainUntilTime"].as_str()?.parse::<Timestamp>().ok()?;
            Some((told["retention"]["mode"].as_str()?.to_owned(), SystemTime::from(until)))
        };
        let Some(rest) = call.path.strip_prefix("/storage/v1/b/vault") else {
            if call.path != "/upload/storage/v1/b/vault/o" {
                return gcs_error(404, "notFound", "Not Found");
            }
            let (facts, bytes) = multipart(call);
            let name = facts["name"].as_str().unwrap().to_owned();
            let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes) as u32;
            if facts["crc32c"] != aws_smithy_types::base64::encode(sum.to_be_bytes()) {
                return gcs_error(400, "invalid", "Provided CRC32C doesn't match calculated CRC32C");
            }
            if self.objects.contains_key(&name) || call.asked("ifGenerationMatch") != "0" {
                return gcs_error(412, "conditionNotMet", "At least one of the pre-conditions did not hold.");
            }
            let lock = lock_of(&facts).filter(|_| self.keeps_locks);
            self.objects.insert(name, Object { bytes, modified: SystemTime::now(), lock });
            return Reply::json(&json!({"generation": "1"}));
        };
        if rest.is_empty() {
            let mode = if self.keeps_locks { json!({"mode": "Enabled"}) } else { json!({}) };
            return Reply::json(&json!({"objectRetention": mode, "versioning": {"enabled": self.hides}}));
        }
        let Some(name) = rest.strip_prefix("/o/").map(decoded) else {
            let (page, next) = self.page(call.asked("prefix"), call.asked("pageToken"));
            let items: Vec<Value> = page
                .iter()
                .map(|(name, object)| {
                    let (size, time) = (object.bytes.len().to_string(), rfc3339(object.modified));
                    json!({"name": name, "size": size, "timeCreated": time})
                })
                .collect();
            let mut told = json!({"items": items});
            if let Some(next) = next {
                told["nextPageToken"] = next.into();
            }
            return Reply::json(&told);
        };
        match call.method.as_str() {
            "DELETE" => match self.delete(&name) {
                Deleted::Locked => gcs_error(403, "retentionPolicyNotMet", "Object is under retention"),
                Deleted::Gone => Reply::new(204),
                Deleted::Missing => missing(),
            },
            "PATCH" if !self.objects.contains_key(&name) => missing(),
            "PATCH" => {
                let told: Value = serde_json::from_slice(&call.body).unwrap();
                let (mode, until) = lock_of(&told).unwrap();
                match self.set_lock(&name, &mode, until) {
                    true => Reply::json(&json!({})),
                    false => gcs_error(403, "forbidden", "retention cannot be shortened"),
                }
            }
            _ => {
                let Some(object) = self.objects.get(&name) else { return missing() };
                if call.asked("alt") == "media" {
                    return part(call, &object.bytes).unwrap_or_else(|| Reply::new(416));
                }
                let mut told = json!({"size": object.bytes.len().to_string()});
                if let Some((mode, until)) = &object.lock {
                    told["retention"] = json!({"mode": mode, "retainUntilTime": rfc3339(*until)});
                }
                Reply::json(&told)
            }
        }
    }
}

/// What is told of an object, and its bytes.
fn multipart(call: &Call) -> (Value, Vec<u8>) {
    let boundary = call.header("content-type").split_once("boundary=").unwrap().1.to_owned();
    let find = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|window| window == what).unwrap();
    let line = format!("--{boundary}\r\n");
    let rest = call.body.strip_prefix(line.as_bytes()).unwrap();
    let rest = &rest[find(rest, b"\r\n\r\n") + 4..];
    let end = find(rest, format!("\r\n{line}").as_bytes());
    let facts = serde_json::from_slice(&rest[..end]).unwrap();
    let rest = &rest[end + 2 + line.len()..];
    let rest = &rest[find(rest, b"\r\n\r\n") + 4..];
    let bytes = rest.strip_suffix(format!("\r\n--{boundary}--\r\n").as_bytes()).unwrap();
    (facts, bytes.to_vec())
}
