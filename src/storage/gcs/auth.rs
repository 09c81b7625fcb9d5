//! Where Google's credentials come from, and how tokens are fetched.
//!
//! Unless a setting names one, they are looked for in this order: a key file, a token command,
//! `GOOGLE_APPLICATION_CREDENTIALS`, the file of `gcloud auth application-default login`, the machine's own account.
//! The last is asked over the network, and so only when nothing else is there. An emulator needs none.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::ErrorKind;
use super::super::rest::tokens::{LIFE_UNTOLD, Token, Tokens, of_answer, of_command};
use super::super::wire::Kind;
use super::super::wire::talk::{Draft, Failure, Talk};
use super::sign::Signer;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const MACHINE: &str = "metadata.google.internal";
/// How long the machine's account is waited for when nobody said that there is one, and when somebody did.
const GUESS_TIMEOUT: Duration = Duration::from_secs(1);
const TOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// Where credentials may be.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The file that a setting names.
    pub key_file: Option<PathBuf>,
    /// A command that prints a token.
    pub token_command: Option<String>,
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    pub adc: Option<PathBuf>,
    /// The file that `gcloud` writes, which need not be there.
    pub usual_adc: Option<PathBuf>,
    /// Who answers for the machine, in place of the usual name.
    pub machine: Option<String>,
    /// Nobody asks who one is.
    pub is_emulator: bool,
}

/// Who asks.
pub(super) enum Auth {
    Nobody,
    Tokens(Box<Source>, Tokens),
}

/// Who gives tokens.
pub(super) enum Source {
    Account { signer: Signer, url: String },
    Person { url: String, client: String, secret: String, refresh: String },
    Federated(Federated),
    Machine { host: String, within: Duration },
    Program(String),
}

/// A token of somebody else's, exchanged for one of Google's (RFC 8693).
pub(super) struct Federated {
    audience: String,
    kind: String,
    url: String,
    subject: Subject,
    /// The field of a JSON in which the token is.
    field: Option<String>,
    impersonation: Option<String>,
}

enum Subject {
    File(PathBuf),
    Url { url: String, headers: Vec<(String, String)> },
}

fn missing(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::NoCredentials, message)
}

impl Auth {
    /// # Errors
    /// What is missing for the way that was chosen.
    pub(super) fn new(way: &str, places: &Places) -> Result<Self, Failure> {
        let of = |source| Ok(Self::Tokens(Box::new(source), Tokens::default()));
        let machine = |within| {
            let host = places.machine.clone().unwrap_or_else(|| MACHINE.to_owned());
            Source::Machine { host, within }
        };
        let usual = places.usual_adc.as_ref().filter(|path| path.is_file());
        match way {
            "key-file" => {
                let path = places.key_file.as_ref().or(places.adc.as_ref());
                of(of_file(path.ok_or_else(|| missing("`auth = \"key-file\"` needs `key_file`"))?)?)
            }
            "adc" => {
                let path = places.adc.as_ref().or(usual);
                let what = "no application default credentials: set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`";
                of(of_file(path.ok_or_else(|| missing(what))?)?)
            }
            "metadata" => of(machine(TOLD_TIMEOUT)),
            "token-command" => {
                let command = places.token_command.clone();
                of(Source::Program(
                    command.ok_or_else(|| missing("`auth = \"token-command\"` needs `token_command`"))?,
                ))
            }
            "none" => Ok(Self::Nobody),
            "auto" if places.key_file.is_some() => Self::new("key-file", places),
            "auto" if places.token_command.is_some() => Self::new("token-command", places),
            "auto" if places.is_emulator => Ok(Self::Nobody),
            "auto" if places.adc.is_some() || usual.is_some() => Self::new("adc", places),
            "auto" => of(machine(GUESS_TIMEOUT)),
            other => {
                let what = format!(
                    "`{other}` is not a way to authenticate: use auto, key-file, adc, metadata, token-command or none"
                );
                Err(Failure::new(ErrorKind::Invalid, what))
            }
        }
    }

    pub(super) fn authorized(&self, talk: &Talk, draft: Draft) -> Result<Draft, Failure> {
        match self {
            Self::Nobody => Ok(draft),
            Self::Tokens(source, tokens) => {
                let token = tokens.get(|| fetch(source, talk))?;
                Ok(draft.with("authorization", format!("Bearer {token}")))
            }
        }
    }

    /// The service refused who asked: whether there may be other credentials now.
    pub(super) fn renew(&self, refused: &Draft) -> bool {
        let Self::Tokens(_, tokens) = self else { return false };
        let used = refused.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        used.inspect(|used| tokens.forget(used)).is_some()
    }
}

/// What a file of credentials holds.
fn of_file(path: &Path) -> Result<Source, Failure> {
    let wrong = |what: String| missing(format!("`{}`: {what}", path.display()));
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    // What is wrong with the JSON would be told with a piece of it.
    let told: Value = serde_json::from_slice(&text).map_err(|_| wrong("it is not JSON".to_owned()))?;
    let word = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
    let need = |name: &str| word(name).ok_or_else(|| wrong(format!("it has no `{name}`")));
    match word("type").as_deref() {
        Some("service_account") => {
            let key_id = word("private_key_id").unwrap_or_default();
            let signer =
                Signer::new(&need("client_email")?, &key_id, &need("private_key")?).map_err(wrong)?;
            Ok(Source::Account { signer, url: word("token_uri").unwrap_or_else(|| TOKEN_URL.to_owned()) })
        }
        Some("authorized_user") => Ok(Source::Person {
            url: word("token_uri").unwrap_or_else(|| TOKEN_URL.to_owned()),
            client: need("client_id")?,
            secret: need("client_secret")?,
            refresh: need("refresh_token")?,
        }),
        Some("external_account") => {
            let source = told.get("credential_source").unwrap_or(&Value::Null);
            let of_source = |name: &str| source.get(name).and_then(Value::as_str).map(str::to_owned);
            let subject = match (of_source("file"), of_source("url")) {
                (Some(file), _) => Subject::File(file.into()),
                (None, Some(url)) if of_source("environment_id").is_none() => {
                    let headers = source.get("headers").and_then(Value::as_object);
                    let headers = headers.into_iter().flatten();
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    Subject::Url {
                        url,
                        headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
                    }
                }
                _ => {
                    let what = "its `credential_source` is neither a file nor a URL: use `token_command` with `gcloud auth print-access-token`";
                    return Err(wrong(what.to_owned()));
                }
            };
            let format = source.get("format").unwrap_or(&Value::Null);
            let is_json = format.get("type").and_then(Value::as_str) == Some("json");
            let field = format.get("subject_token_field_name").and_then(Value::as_str).map(str::to_owned);
            Ok(Source::Federated(Federated {
                audience: need("audience")?,
                kind: need("subject_token_type")?,
                url: need("token_url")?,
                subject,
                field: field.filter(|_| is_json),
                impersonation: word("service_account_impersonation_url"),
            }))
        }
        Some(other) => {
            Err(wrong(format!("credentials of type `{other}` are not supported: use `token_command`")))
        }
        None => Err(wrong("it has no `type`: it is not a file of credentials".to_owned())),
    }
}

fn fetch(source: &Source, talk: &Talk) -> Result<Token, Failure> {
    match source {
        Source::Account { signer, url } => {
            let claim = signer.claim(SCOPE, url, SystemTime::now()).map_err(missing)?;
            let kind = "urn:ietf:params:oauth:grant-type:jwt-bearer";
            let draft = Draft::form(url, &[("grant_type", kind), ("assertion", &claim)]);
            of_answer(&talk.ask(&draft)?, "Google")
        }
        Source::Person { url, client, secret, refresh } => {
            let fields = [
                ("grant_type", "refresh_token"),
                ("client_id", client),
                ("client_secret", secret),
                ("refresh_token", refresh),
            ];
            of_answer(&talk.ask(&Draft::form(url, &fields))?, "Google")
        }
        Source::Federated(federated) => federated.fetch(talk),
        Source::Machine { host, within } => {
            let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
            let draft = Draft::new(Kind::Other, "GET", url).with("metadata-flavor", "Google");
            talk.ask_near(&draft, *within).and_then(|answer| of_answer(&answer, "the machine's account")).map_err(
                |failure| match failure.retryable {
                    true if *within > GUESS_TIMEOUT => failure,
                    _ => missing(format!(
                        "no Google credentials found: no file of credentials, and the machine has no account ({})",
                        failure.message
                    )),
                },
            )
        }
        Source::Program(command) => {
            let words = ["sh", "-c", command].map(str::to_owned);
            Ok(Token { secret: of_command("the token command", &words)?, lasts: LIFE_UNTOLD })
        }
    }
}

impl Federated {
    fn fetch(&self, talk: &Talk) -> Result<Token, Failure> {
        let subject = self.subject(talk)?;
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", self.audience.as_str()),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", self.kind.as_str()),
            ("subject_token", subject.as_str()),
        ];
        let token = of_answer(&talk.ask(&Draft::form(&self.url, &fields))?, "the token exchange")?;
        let Some(url) = &self.impersonation else { return Ok(token) };
        let draft = Draft::new(Kind::Other, "POST", url.clone())
            .with("content-type", "application/json")
            .with("authorization", format!("Bearer {}", token.secret))
            .carrying(json!({ "scope": [SCOPE], "lifetime": "3600s" }).to_string());
        let answer = talk.ask(&draft)?;
        if !answer.is_success() {
            let refused = super::error::refusal(&answer);
            let message = format!("the service account cannot be impersonated: {}", refused.message);
            return Err(Failure { message, ..refused });
        }
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let word = |name: &str| told.get(name).and_then(Value::as_str);
        let secret = word("accessToken").ok_or_else(|| Failure::alien(answer.status, "no token"))?;
        let ends = word("expireTime").and_then(|ends| ends.parse::<Timestamp>().ok());
        let left = ends.and_then(|ends| SystemTime::from(ends).duration_since(SystemTime::now()).ok());
        Ok(Token { secret: secret.to_owned(), lasts: left.unwrap_or(LIFE_UNTOLD) })
    }

    /// The token that is exchanged. It is read each time: it is replaced before it ends.
    fn subject(&self, talk: &Talk) -> Result<String, Failure> {
        let text = match &self.subject {
            Subject::File(path) => std::fs::read_to_string(path)
                .map_err(|error| missing(format!("cannot read `{}`: {error}", path.display())))?,
            Subject::Url { url, headers } => {
                let mut draft = Draft::new(Kind::Other, "GET", url.clone());
                draft.others.clone_from(headers);
                let answer = talk.ask(&draft)?;
                if !answer.is_success() {
                    let message = format!("`{url}` gives no token to exchange: HTTP {}", answer.status);
                    return Err(missing(message));
                }
                String::from_utf8_lossy(&answer.body).into_owned()
            }
        };
        match &self.field {
            None => Ok(text.trim().to_owned()),
            Some(field) => {
                let told: Value = serde_json::from_str(&text).unwrap_or_default();
                let found = told.get(field).and_then(Value::as_str);
                found
                    .map(str::to_owned)
                    .ok_or_else(|| missing(format!("the token to exchange has no `{field}`")))
            }
        }
    }
}
