//! A request as handlers see it, and what they answer: whole values, taken apart once.

use hyper::body::Bytes;
use std::net::IpAddr;
use tokio::sync::mpsc::Receiver;

/// A request, read whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`, `DELETE`.
    pub method: String,
    /// The path, without the base path, decoded where a segment is taken.
    pub path: String,
    /// What stands behind `?`, decoded.
    pub query: Vec<(String, String)>,
    /// Headers by lower-case name. Those that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Who sent it: the peer, or whom a trusted proxy names.
    pub address: IpAddr,
}

impl Request {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// What the query says of a name, if it says something.
    pub fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let all =
            self.headers.iter().filter(|(own, _)| own == "cookie").flat_map(|(_, value)| value.split(';'));
        all.filter_map(|pair| pair.trim().split_once('='))
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    /// The fields of a form.
    pub fn form(&self) -> Vec<(String, String)> {
        let is_form = self.header("content-type").is_some_and(|kind| {
            kind.split(';').next().unwrap_or_default().trim() == "application/x-www-form-urlencoded"
        });
        if is_form { pairs(&String::from_utf8_lossy(&self.body)) } else { Vec::new() }
    }

    /// Whether the method only asks.
    pub fn only_asks(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// Whether it is for the API.
    pub fn is_api(&self) -> bool {
        self.path.starts_with("/api/")
    }
}

/// The pairs of a query or a form.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let each = text.split('&').filter(|pair| !pair.is_empty()).take(100);
    each.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
    })
    .collect()
}

/// Text of which bytes are written as `%XX`.
pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match digits.filter(|_| *byte == b'%') {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Text as it may stand in a path or a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// Tells the next event, `None` where nothing changed; after the last one [`Told::End`].
pub(super) type Teller = Box<dyn FnMut() -> Told + Send>;

/// What there is to tell.
pub enum Told {
    /// An event: its name, and one line of JSON.
    Event(&'static str, String),
    /// Nothing new.
    Nothing,
    /// There is nothing more to come.
    End,
}

/// What follows the headers.
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Server-sent events.
    Events(Teller),
    /// So many bytes in pieces. After an error the connection breaks off.
    Pieces(u64, Receiver<std::io::Result<Bytes>>),
}

/// An answer.
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers, besides those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// What follows.
    pub body: Body,
}

impl Response {
    /// A page.
    pub fn page(markup: maud::Markup) -> Self {
        Self::of(200, "text/html; charset=utf-8", markup.into_string().into_bytes())
    }

    /// A value.
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::of(status, "application/json", value.to_string().into_bytes())
    }

    /// Bytes of that type.
    pub fn of(status: u16, kind: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("content-type", kind.to_owned())], body: Body::Whole(body) }
    }

    /// Nothing here, look there.
    pub fn see_other(there: String) -> Self {
        Self { status: 303, headers: vec![("location", there)], body: Body::Whole(Vec::new()) }
    }

    /// Nothing to say.
    pub fn done() -> Self {
        Self { status: 204, headers: Vec::new(), body: Body::Whole(Vec::new()) }
    }

    /// With one header more.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Why a request is not done: RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// A stable word.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u64>,
    /// The id of what is in the way.
    pub other: Option<String>,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), hint: None, retry_after: None, other: None }
    }

    /// With what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// There is nothing of that name.
    pub fn unknown(what: impl Into<String>) -> Self {
        Self::new(404, "not_found", what)
    }

    /// A value of the request is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid", detail)
    }
}

impl From<crate::daemon::book::StateError> for Refusal {
    fn from(error: crate::daemon::book::StateError) -> Self {
        Self::new(503, "state", error.to_string()).hint("see whether the state directory can be written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back_and_what_is_wrong_stays_as_it_is() {
        for text in ["", "a b&c=d", "ä/€", "%", "100%"] {
            assert_eq!(decoded(&encoded(text)), text);
        }
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(
            pairs("a=1&b=x+y&&c"),
            [("a", "1"), ("b", "x y"), ("c", "")].map(|(a, b)| (a.into(), b.into()))
        );
    }
}
