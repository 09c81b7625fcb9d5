//! Those who are told: a mail server and HTTP receivers in this process, with and without TLS, that do what a script
//! says.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A certificate for `localhost`, and its PEM.
pub fn certificate() -> (Arc<ServerConfig>, String) {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), own.cert.pem())
}

fn encrypted(config: &Arc<ServerConfig>, stream: TcpStream) -> Box<dyn Wire> {
    Box::new(StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream))
}

/// What an HTTP receiver does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status, with headers.
    Status(u16, &'static str),
    /// Nothing for so long, then the connection is closed.
    Silence(Duration),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An HTTP server. Requests beyond its script are answered with 200.
pub struct Http {
    pub address: SocketAddr,
    is_encrypted: bool,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
}

impl Http {
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, script) =
            (Arc::<Mutex<Vec<Request>>>::default(), Arc::<Mutex<VecDeque<Answer>>>::default());
        let (heard, told, is_encrypted) = (Arc::clone(&requests), Arc::clone(&script), tls.is_some());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, told, tls) = (Arc::clone(&heard), Arc::clone(&told), tls.clone());
                thread::spawn(move || {
                    let wire: Box<dyn Wire> = match &tls {
                        Some(config) => encrypted(config, stream),
                        None => Box::new(stream),
                    };
                    // Whoever goes away in between is no failure of the receiver's.
                    let _ = answer(wire, &heard, &told);
                });
            }
        });
        Self { address, is_encrypted, requests, script }
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    wire: Box<dyn Wire>,
    heard: &Mutex<Vec<Request>>,
    told: &Mutex<VecDeque<Answer>>,
) -> std::io::Result<()> {
    let mut wire = BufReader::new(wire);
    let mut line = String::new();
    wire.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        wire.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    wire.read_exact(&mut body)?;
    heard.lock().unwrap().push(Request { path, headers, body: String::from_utf8(body).unwrap() });
    let next = told.lock().unwrap().pop_front().unwrap_or(Answer::Status(200, ""));
    match next {
        Answer::Silence(time) => thread::sleep(time),
        Answer::Status(status, more) => {
            let wire = wire.get_mut();
            write!(wire, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n{more}\r\n")?;
            wire.flush()?;
        }
    }
    Ok(())
}

/// How the mail server is spoken to.
#[derive(Clone)]
pub enum Mode {
    Plain,
    StartTls(Arc<ServerConfig>),
    Implicit(Arc<ServerConfig>),
}

/// A mail as it came.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    pub text: String,
    pub login: Option<String>,
    pub was_encrypted: bool,
}

/// A mail server.
pub struct Smtp {
    pub port: u16,
    mails: Arc<Mutex<Vec<Mail>>>,
    refusals: Arc<Mutex<VecDeque<&'static str>>>,
}

impl Smtp {
    pub fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::<Mutex<Vec<Mail>>>::default();
        let refusals = Arc::<Mutex<VecDeque<&'static str>>>::default();
        let (heard, refuse) = (Arc::clone(&mails), Arc::clone(&refusals));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, refuse, mode) = (Arc::clone(&heard), Arc::clone(&refuse), mode.clone());
                thread::spawn(move || {
                    // As above.
                    let _ = converse(stream, &mode, &heard, &refuse);
                });
            }
        });
        Self { port, mails, refusals }
    }

    /// The next mails are answered so at their end.
    pub fn refuse(&self, answers: impl IntoIterator<Item = &'static str>) {
        self.refusals.lock().unwrap().extend(answers);
    }

    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().unwrap().clone()
    }
}

fn converse(
    stream: TcpStream,
    mode: &Mode,
    heard: &Mutex<Vec<Mail>>,
    refuse: &Mutex<VecDeque<&'static str>>,
) -> std::io::Result<()> {
    let spare = stream.try_clone()?;
    let mut mail = Mail { was_encrypted: matches!(mode, Mode::Implicit(_)), ..Mail::default() };
    let first: Box<dyn Wire> = match mode {
        Mode::Implicit(config) => encrypted(config, stream),
        _ => Box::new(stream),
    };
    let mut wire = BufReader::new(first);
    let say = |wire: &mut BufReader<Box<dyn Wire>>, text: &str| -> std::io::Result<()> {
        wire.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        wire.get_mut().flush()
    };
    say(&mut wire, "220 test")?;
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "EHLO" => {
                let offers_tls = matches!(mode, Mode::StartTls(_)) && !mail.was_encrypted;
                say(
                    &mut wire,
                    if offers_tls { "250-test\r\n250 STARTTLS" } else { "250-test\r\n250 AUTH PLAIN" },
                )?;
            }
            "STARTTLS" => {
                say(&mut wire, "220 go")?;
                let Mode::StartTls(config) = mode else { return Ok(()) };
                wire = BufReader::new(encrypted(config, spare.try_clone()?));
                mail.was_encrypted = true;
            }
            "AUTH" => {
                mail.login = line.split(' ').nth(2).map(str::to_owned);
                say(&mut wire, "235 ok")?;
            }
            "MAIL" => {
                mail.from = line;
                say(&mut wire, "250 ok")?;
            }
            "RCPT" => {
                mail.to.push(line);
                say(&mut wire, "250 ok")?;
            }
            "DATA" => {
                say(&mut wire, "354 go")?;
                loop {
                    let mut line = String::new();
                    wire.read_line(&mut line)?;
                    if line == ".\r\n" {
                        break;
                    }
                    mail.text.push_str(&line);
                }
                let refusal = refuse.lock().unwrap().pop_front();
                if refusal.is_none() {
                    heard.lock().unwrap().push(mail.clone());
                }
                say(&mut wire, refusal.unwrap_or("250 taken"))?;
            }
            "QUIT" => {
                say(&mut wire, "221 bye")?;
                return Ok(());
            }
            _ => say(&mut wire, "250 ok")?,
        }
    }
}

/// A folder for files of this test; the path of one with that text.
pub fn file(folder: &std::path::Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
