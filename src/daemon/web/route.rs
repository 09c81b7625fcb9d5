//! What a route is, and what its handler is given.

use super::request::{Refusal, Request, Response, encoded};
use super::site::{Site, Web};
use super::store::Role;
use std::sync::Arc;

/// Answers a request.
pub(super) type Handler = fn(&Ask<'_>) -> Result<Response, Refusal>;

/// Who may use a route. There is no default: what is in no table is answered by nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody: the way in, what pages look like, and whether the process lives.
    Open,
    /// Whoever has that role.
    Of(Role),
    /// Whoever has that role and has given the password within five minutes, or gives it now. Tokens need none.
    Proved(Role),
}

/// A route.
#[derive(Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, `DELETE`. What answers `GET` answers `HEAD`.
    pub method: &'static str,
    /// Its path: `{}` stands for one segment.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// Whether a token that is about some sources only may use it: it then shows no others.
    pub scoped: bool,
    /// Answers it.
    pub handler: Handler,
    /// What it does, for the API's description.
    pub about: &'static str,
    /// What the query may say: name, and what it means.
    pub query: &'static [(&'static str, &'static str)],
    /// What the body may say.
    pub body: &'static [(&'static str, &'static str)],
    /// The name of its answer's schema.
    pub answer: &'static str,
}

impl Route {
    /// A page.
    pub const fn page(method: &'static str, path: &'static str, access: Access, handler: Handler) -> Self {
        Self { method, path, access, scoped: false, handler, about: "", query: &[], body: &[], answer: "" }
    }

    /// A route of the API.
    pub const fn api(
        (method, path, access): (&'static str, &'static str, Access),
        handler: Handler,
        (about, answer): (&'static str, &'static str),
    ) -> Self {
        Self { method, path, access, scoped: false, handler, about, query: &[], body: &[], answer }
    }

    /// With what the query may say.
    pub const fn query(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }

    /// With what the body may say.
    pub const fn body(self, body: &'static [(&'static str, &'static str)]) -> Self {
        Self { body, ..self }
    }

    /// Open to tokens that are about some sources only.
    pub const fn scoped(self) -> Self {
        Self { scoped: true, ..self }
    }

    /// The segments that stand for something, if the path is this route's.
    pub fn matches(&self, path: &str) -> Option<Vec<String>> {
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        let mut found = Vec::new();
        loop {
            match (own.next(), given.next()) {
                (None, None) => return Some(found),
                (Some(own), Some(given)) if own.starts_with('{') && !given.is_empty() => {
                    found.push(super::request::decoded(given));
                }
                (Some(own), Some(given)) if own == given => {}
                _ => return None,
            }
        }
    }
}

/// How somebody came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// With a cookie.
    Session {
        /// The session's hash.
        hash: Vec<u8>,
        /// When the password was given last.
        proved: i64,
        /// What their forms bear.
        csrf: String,
    },
    /// With a token.
    Token {
        /// Its id.
        id: String,
        /// Only about these sources; all where it is empty.
        sources: Vec<String>,
    },
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The user, or the one who made the token.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// How they came in.
    pub way: Way,
}

/// What a handler is given.
pub struct Ask<'a> {
    /// What all share.
    pub web: &'a Arc<Web>,
    /// The configuration.
    pub site: Arc<Site>,
    /// The request.
    pub request: &'a Request,
    /// What stands for `{}` in the path.
    pub params: Vec<String>,
    /// Who asks; nobody known on open routes.
    pub who: Option<Who>,
    /// Whether the password was given within five minutes.
    pub is_proved: bool,
}

impl Ask<'_> {
    /// What stands for the `at`th `{}`.
    pub fn param(&self, at: usize) -> &str {
        self.params.get(at).map_or("", String::as_str)
    }

    /// A path of ours as a browser has to ask for it.
    pub fn link(&self, path: &str) -> String {
        let base = self.site.serve.external_url.as_ref().map_or("", |url| url.base.as_str());
        format!("{base}{path}")
    }

    /// A path with a name in it.
    pub fn link_to(&self, before: &str, name: &str) -> String {
        self.link(&format!("{before}{}", encoded(name)))
    }

    /// Whether whoever asks has that role.
    pub fn may(&self, role: Role) -> bool {
        self.who.as_ref().is_some_and(|who| who.role >= role)
    }

    /// Who asks, for the audit log.
    pub fn actor(&self) -> String {
        let address = self.request.address;
        match &self.who {
            None => format!("nobody known ({address})"),
            Some(Who { name, way: Way::Session { .. }, .. }) => format!("{name} ({address})"),
            Some(Who { name, way: Way::Token { id, .. }, .. }) => format!("token {id} of {name} ({address})"),
        }
    }

    /// The sources that whoever asks may see; all where it is empty.
    pub fn sources(&self) -> &[String] {
        match &self.who {
            Some(Who { way: Way::Token { sources, .. }, .. }) => sources,
            _ => &[],
        }
    }

    /// Whether a source or its series may be seen.
    pub fn sees(&self, source_or_series: &str) -> bool {
        let own = self.sources();
        let is_series_of = |source: &String| {
            self.site.sources.get(source).is_some_and(|(series, _)| series == source_or_series)
        };
        own.is_empty() || own.iter().any(|source| source == source_or_series || is_series_of(source))
    }

    /// A field of the form, or of the JSON object in the body.
    pub fn field(&self, name: &str) -> Option<String> {
        let form = self.request.form().into_iter().find(|(own, _)| own == name).map(|(_, value)| value);
        let json = || match self.json().get(name)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Bool(true) => Some("on".to_owned()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        form.or_else(json).filter(|text| !text.is_empty())
    }

    /// The body as JSON; nothing where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.request.body).unwrap_or_default()
    }

    /// The present moment in milliseconds.
    pub fn now(&self) -> i64 {
        self.web.now()
    }
}
