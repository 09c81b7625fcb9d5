//! Where Azure's credentials come from, and how tokens are fetched.
//!
//! Unless a setting names one, they are looked for in this order: the account's key, a shared access signature, a
//! client secret, a workload's federated token, the command line tool `az`, the machine's identity. The last is asked
//! over the network, and so only when nothing else is there.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::super::ErrorKind;
use super::super::rest::tokens::{LIFE_UNTOLD, Token, Tokens, of_answer, of_command, seconds};
use super::super::wire::Kind;
use super::super::wire::talk::{Draft, Failure, Talk};
use super::address::Service;
use super::sign::AccountKey;

/// What tokens are for.
const RESOURCE: &str = "https://storage.azure.com/";
const SCOPE: &str = "https://storage.azure.com/.default";
/// Where a virtual machine asks for its identity.
const MACHINE: &str = "http://169.254.169.254";
/// How long the machine's identity is waited for when nobody said that there is one, and when somebody did.
const GUESS_TIMEOUT: Duration = Duration::from_secs(1);
const TOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// What the environment and files say of credentials. Never shown.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The account's key.
    pub key: Option<String>,
    /// A shared access signature.
    pub sas: Option<String>,
    /// The directory that the client is in.
    pub tenant: Option<String>,
    /// The client, or the identity of a machine that has several.
    pub client: Option<String>,
    /// The client's secret.
    pub client_secret: Option<String>,
    /// A file with the token of a workload.
    pub federated_token_file: Option<PathBuf>,
    /// Who gives tokens.
    pub authority: Option<String>,
    /// Where an app asks for its identity, and what it shows there.
    pub identity: Option<(String, String)>,
    /// Who answers for the machine's identity, in place of the usual address.
    pub machine: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// Who asks.
pub(super) enum Auth {
    Key(AccountKey),
    Signature(String),
    Tokens { sources: Vec<Source>, tokens: Tokens },
}

/// Who gives tokens.
pub(super) enum Source {
    Client { url: String, client: String, proof: Proof },
    App { url: String, header: String, client: Option<String> },
    Machine { url: String, client: Option<String>, within: Duration },
    Tool { tenant: Option<String> },
}

/// What a client shows.
pub(super) enum Proof {
    Secret(String),
    File(PathBuf),
}

impl Auth {
    /// # Errors
    /// What is missing for the way that was chosen.
    pub(super) fn new(
        way: &str,
        secrets: &Secrets,
        service: &Service,
        has_tool: bool,
    ) -> Result<Self, Failure> {
        let missing =
            |what: &str| Failure::new(ErrorKind::NoCredentials, format!("`auth = \"{way}\"` needs {what}"));
        let tokens = |sources| Ok(Self::Tokens { sources, tokens: Tokens::default() });
        match way {
            "key" => match &secrets.key {
                Some(key) => AccountKey::new(&service.account, key)
                    .map(Self::Key)
                    .map_err(|what| Failure::new(ErrorKind::Invalid, what)),
                None => Err(missing("AZURE_STORAGE_ACCOUNT_KEY or `account_key_file`")),
            },
            "sas" => match &secrets.sas {
                Some(sas) => Self::of_signature(sas),
                None => Err(missing("AZURE_STORAGE_SAS_TOKEN or `sas_token_file`")),
            },
            "client-secret" => {
                let proof = secrets.client_secret.clone().map(Proof::Secret);
                let source = proof.and_then(|proof| client(secrets, service, proof));
                tokens(vec![
                    source
                        .ok_or_else(|| missing("AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"))?,
                ])
            }
            "workload" => {
                let proof = secrets.federated_token_file.clone().map(Proof::File);
                let source = proof.and_then(|proof| client(secrets, service, proof));
                tokens(vec![source.ok_or_else(|| {
                    missing("AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE")
                })?])
            }
            "managed" => tokens(vec![machine(secrets, TOLD_TIMEOUT)]),
            "cli" => tokens(vec![Source::Tool { tenant: secrets.tenant.clone() }]),
            "auto" => {
                let has_client = secrets.tenant.is_some() && secrets.client.is_some();
                let found = if secrets.key.is_some() {
                    "key"
                } else if secrets.sas.is_some() {
                    "sas"
                } else if has_client && secrets.client_secret.is_some() {
                    "client-secret"
                } else if has_client && secrets.federated_token_file.is_some() {
                    "workload"
                } else {
                    let tool = has_tool.then(|| Source::Tool { tenant: secrets.tenant.clone() });
                    let machine = machine(secrets, GUESS_TIMEOUT);
                    let mut sources = vec![machine];
                    // An app's identity is told by its environment; a machine's is a guess, and comes last.
                    let at = if secrets.identity.is_some() { 1 } else { 0 };
                    if let Some(tool) = tool {
                        sources.insert(at, tool);
                    }
                    return tokens(sources);
                };
                Self::new(found, secrets, service, has_tool)
            }
            other => {
                let what = format!(
                    "`{other}` is not a way to authenticate: use auto, key, sas, client-secret, workload, managed or cli"
                );
                Err(Failure::new(ErrorKind::Invalid, what))
            }
        }
    }

    fn of_signature(sas: &str) -> Result<Self, Failure> {
        let sas = sas.trim().trim_start_matches('?');
        let is_one = sas.split('&').any(|part| part.starts_with("sig="))
            && sas.bytes().all(|byte| byte.is_ascii_graphic());
        match is_one {
            true => Ok(Self::Signature(sas.to_owned())),
            false => {
                let what = "AZURE_STORAGE_SAS_TOKEN is not a shared access signature: it has no `sig=`";
                Err(Failure::new(ErrorKind::Invalid, what))
            }
        }
    }

    /// Nobody: for tests of requests.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::Signature(String::new())
    }

    pub(super) fn authorized(&self, talk: &Talk, mut draft: Draft) -> Result<Draft, Failure> {
        match self {
            Self::Key(key) => {
                let signature = key.sign(&draft);
                Ok(draft.with("authorization", signature))
            }
            Self::Signature(sas) => {
                draft.signature.clone_from(sas);
                Ok(draft)
            }
            Self::Tokens { sources, tokens } => {
                let token = tokens.get(|| fetch_any(sources, talk))?;
                Ok(draft.with("authorization", format!("Bearer {token}")))
            }
        }
    }

    /// The service refused who asked: whether there may be other credentials now.
    pub(super) fn renew(&self, refused: &Draft) -> bool {
        let Self::Tokens { tokens, .. } = self else { return false };
        let used = refused.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
        used.inspect(|used| tokens.forget(used)).is_some()
    }
}

fn client(secrets: &Secrets, service: &Service, proof: Proof) -> Option<Source> {
    let authority = secrets.authority.clone().unwrap_or_else(|| {
        let host = service.url.split('/').nth(2).unwrap_or_default();
        let known = match host {
            host if host.ends_with(".chinacloudapi.cn") => "https://login.chinacloudapi.cn",
            host if host.ends_with(".usgovcloudapi.net") => "https://login.microsoftonline.us",
            _ => "https://login.microsoftonline.com",
        };
        known.to_owned()
    });
    let url = format!("{}/{}/oauth2/v2.0/token", authority.trim_end_matches('/'), secrets.tenant.as_ref()?);
    Some(Source::Client { url, client: secrets.client.clone()?, proof })
}

fn machine(secrets: &Secrets, within: Duration) -> Source {
    let client = secrets.client.clone();
    match secrets.identity.clone() {
        Some((url, header)) => Source::App { url, header, client },
        None => {
            let host = secrets.machine.clone().unwrap_or_else(|| MACHINE.to_owned());
            let url = format!("{}/metadata/identity/oauth2/token", host.trim_end_matches('/'));
            Source::Machine { url, client, within }
        }
    }
}

fn fetch_any(sources: &[Source], talk: &Talk) -> Result<Token, Failure> {
    let mut told = Vec::new();
    for source in sources {
        match fetch(source, talk) {
            Ok(token) => return Ok(token),
            Err(failure) if sources.len() == 1 && !matches!(source, Source::Machine { .. }) => {
                return Err(failure);
            }
            Err(failure) => {
                tracing::info!("looking for credentials: {}", failure.message);
                told.push(failure.message);
            }
        }
    }
    let message = format!("no Azure credentials found: {}", told.join("; "));
    Err(Failure::new(ErrorKind::NoCredentials, message))
}

fn fetch(source: &Source, talk: &Talk) -> Result<Token, Failure> {
    match source {
        Source::Client { url, client, proof } => {
            let mut fields =
                vec![("grant_type", "client_credentials"), ("client_id", client.as_str()), ("scope", SCOPE)];
            let assertion;
            match proof {
                Proof::Secret(secret) => fields.push(("client_secret", secret)),
                Proof::File(path) => {
                    // Read each time: it is replaced before it ends.
                    assertion = read(path)?;
                    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                    fields
                        .extend([("client_assertion_type", kind), ("client_assertion", assertion.as_str())]);
                }
            }
            of_answer(&talk.ask(&Draft::form(url, &fields))?, "the directory")
        }
        Source::App { url, header, client } => {
            let draft = identity(url, client.as_deref(), "2019-08-01").with("x-identity-header", header);
            of_answer(&talk.ask_near(&draft, TOLD_TIMEOUT)?, "the app's identity")
        }
        Source::Machine { url, client, within } => {
            let draft = identity(url, client.as_deref(), "2018-02-01").with("metadata", "true");
            of_answer(&talk.ask_near(&draft, *within)?, "the machine's identity")
        }
        Source::Tool { tenant } => of_tool(tenant.as_deref()),
    }
}

fn identity(url: &str, client: Option<&str>, version: &str) -> Draft {
    let draft = Draft::new(Kind::Other, "GET", url.to_owned())
        .asking("api-version", version)
        .asking("resource", RESOURCE);
    match client {
        Some(client) => draft.asking("client_id", client),
        None => draft,
    }
}

/// A token of the person who signed in with `az login`.
fn of_tool(tenant: Option<&str>) -> Result<Token, Failure> {
    let mut words = vec!["az", "account", "get-access-token", "--resource", RESOURCE, "--output", "json"];
    words.extend(tenant.map(|tenant| ["--tenant", tenant]).into_iter().flatten());
    let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    let told: Value = serde_json::from_str(&of_command("`az`", &words)?).unwrap_or_default();
    let secret = told.get("accessToken").and_then(Value::as_str);
    let secret = secret.ok_or_else(|| Failure::new(ErrorKind::NoCredentials, "`az` printed no token"))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ends = told.get("expires_on").and_then(seconds);
    let lasts = ends.map_or(LIFE_UNTOLD, |ends| ends.saturating_sub(now));
    Ok(Token { secret: secret.to_owned(), lasts })
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(ErrorKind::NoCredentials, format!("cannot read `{}`: {error}", path.display()))
    })?;
    Ok(text.trim().to_owned())
}
