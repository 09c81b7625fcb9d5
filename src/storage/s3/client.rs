//! The SDK's client, and a new one when its credentials have run out.
//!
//! Credentials of a role last an hour, a dump may take longer. The SDK fetches new ones before the old ones end, where
//! it knows when that is. A profile that somebody rewrites, or a token that was taken back, it learns of only by the
//! service's refusal: then everything is read anew, once, until a request has succeeded with it. Where that gives the
//! same credentials, nothing is sent again.

use std::io;
use std::sync::{Mutex, PoisonError};

use aws_config::BehaviorVersion;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, ProvideCredentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::super::wire::lanes::Lanes;
use super::super::wire::{Kind, Seen, Wire};
use super::{S3Address, S3Settings};

/// Where no region is set: what services other than Amazon's expect.
const REGION_DEFAULT: &str = "us-east-1";

/// The client, with the credentials that were found last.
pub(super) struct Clients {
    http: SharedHttpClient,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    generation: u64,
    /// No request has succeeded with these credentials.
    unproven: bool,
}

/// What the environment and the SDK's files say besides credentials.
pub(super) struct Found {
    pub endpoint: Option<String>,
    /// Bodies are sent with checksums.
    pub checksums: bool,
}

impl Clients {
    /// Finds out whom to ask, and how.
    ///
    /// # Errors
    /// When no executor can be had.
    pub(super) fn connect(
        http: SharedHttpClient,
        lanes: &Lanes,
        address: &S3Address,
        settings: &S3Settings,
    ) -> io::Result<(Self, Found)> {
        let Loaded { client, endpoint, .. } = lanes.run(load(&http, address, settings))?;
        let checksum = client.config().request_checksum_calculation();
        let checksums = checksum != Some(&RequestChecksumCalculation::WhenRequired);
        // The first ones get their second chance, too: they may have been old when they were found.
        let current = Mutex::new(Current { client, generation: 0, unproven: false });
        Ok((Self { http, current }, Found { endpoint, checksums }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // A whole value is put in place of another, so a panic elsewhere cannot have left half of one.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client, and the number of its credentials.
    pub(super) fn current(&self) -> (Client, u64) {
        let current = self.lock();
        (current.client.clone(), current.generation)
    }

    /// A request has succeeded with the credentials of that number.
    pub(super) fn worked(&self, generation: u64) {
        let mut current = self.lock();
        if current.generation == generation {
            current.unproven = false;
        }
    }

    /// The service says that the credentials of that number have expired: looks for others. Whether there may be such.
    pub(super) fn renew(
        &self,
        generation: u64,
        (lanes, wire): (&Lanes, &Wire),
        address: &S3Address,
        settings: &S3Settings,
    ) -> bool {
        let mut current = self.lock();
        if current.generation != generation {
            return true;
        }
        if current.unproven {
            return false;
        }
        let found = lanes.run(async {
            let loaded = load(&self.http, address, settings).await;
            let credentials = loaded.credentials.as_ref()?.provide_credentials().await.ok()?;
            let is_other =
                !wire.asked_as(identity_of(credentials.access_key_id(), credentials.session_token()));
            is_other.then_some(loaded.client)
        });
        let Ok(Some(client)) = found else { return false };
        tracing::info!("the credentials have expired; going on with new ones");
        *current = Current { client, generation: generation + 1, unproven: true };
        true
    }
}

/// What a request to S3 is, and whose: as its signature tells.
pub(super) fn seen(request: &HttpRequest) -> Seen {
    let kind = match request.method() {
        "GET" if request.uri().contains("list-type=2") => Kind::List,
        "GET" => Kind::Get,
        "PUT" => Kind::Put,
        "HEAD" => Kind::Head,
        "DELETE" => Kind::Delete,
        _ => Kind::Other,
    };
    let header = |name: &str| request.headers().get(name);
    let key = header("authorization").and_then(|told| told.split_once("Credential=")?.1.split('/').next());
    Seen { kind, identity: key.map(|key| identity_of(key, header("x-amz-security-token"))) }
}

/// Tells credentials from others, and does not tell what they are.
fn identity_of(key: &str, token: Option<&str>) -> blake3::Hash {
    blake3::hash(format!("{key} {}", token.unwrap_or_default()).as_bytes())
}

struct Loaded {
    client: Client,
    credentials: Option<SharedCredentialsProvider>,
    endpoint: Option<String>,
}

/// Whether keys or a profile are set: the machine has no role to play then.
async fn has_keys(settings: &S3Settings) -> bool {
    let environment = EnvironmentVariableCredentialsProvider::new();
    settings.keys.is_some() || settings.profile.is_some() || environment.provide_credentials().await.is_ok()
}

async fn load(http: &SharedHttpClient, address: &S3Address, settings: &S3Settings) -> Loaded {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http.clone());
    let endpoint = address.endpoint.clone().or_else(|| settings.endpoint.clone());
    if let Some(region) = address.region.clone().or_else(|| settings.region.clone()) {
        loader = loader.region(Region::new(region));
    } else if endpoint.is_some() || has_keys(settings).await {
        // Nobody asks the machine where it is that is not asked who it is: on most there is no answer to wait for.
        let mut profile = ProfileFileRegionProvider::builder();
        if let Some(name) = &settings.profile {
            profile = profile.profile_name(name);
        }
        let said = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new());
        loader = loader.region(said.or_else(profile.build()).or_else(Region::new(REGION_DEFAULT)));
    }
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(profile) = &settings.profile {
        // A profile that was named comes before keys in the environment, which may be those of another repository.
        let provider = ProviderConfig::default().with_http_client(http.clone());
        let named = ProfileFileCredentialsProvider::builder().configure(&provider).profile_name(profile);
        loader = loader.profile_name(profile).credentials_provider(named.build());
    }
    if let Some((access, secret)) = &settings.keys {
        loader = loader.credentials_provider(Credentials::new(
            access,
            secret,
            settings.session_token.clone(),
            None,
            "settings",
        ));
    }
    let shared = loader.load().await;
    let path_style = settings.path_style.unwrap_or(shared.endpoint_url().is_some());
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Some services send the whole object's checksum with a part of it, and others refuse to be asked for any. What
        // is read is authenticated in any case.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(path_style);
    if shared.region().is_none() {
        config = config.region(Region::new(REGION_DEFAULT));
    }
    Loaded {
        client: Client::from_conf(config.build()),
        credentials: shared.credentials_provider(),
        endpoint: shared.endpoint_url().map(str::to_owned),
    }
}
