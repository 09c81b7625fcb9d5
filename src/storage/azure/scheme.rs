//! Containers as a kind of storage: their addresses, and the keys of `[azure]`.

use super::super::rest::Rest;
use super::super::retention::{LOCK, Retention};
use super::super::scheme::{
    Connected, Connecting, Location, Options, Scheme, options_of, own_options, understood,
};
use super::super::wire::keys::{CA_FILE, STALL_TIMEOUT, STALL_TIMEOUT_DEFAULT};
use super::super::wire::talk::{Bounds, Talk};
use super::super::{ErrorKind, StorageError};
use super::AzureAddress;
use super::auth::{Auth, Secrets};
use super::requests::Blobs;
use crate::base::setting::{Entry, FILE, Given, Key, Problem, Section, TEXT, Table};
use crate::base::unit::ObjectLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The kind.
pub struct Azure;

impl Scheme for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn forms(&self) -> &'static str {
        "azure://container/prefix or azure:https://host/container/prefix"
    }

    fn is_meant(&self, address: &str) -> bool {
        AzureAddress::is_meant(address)
    }

    fn location(&self, address: &str, _directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        understood(AzureAddress::parse(address))
    }

    fn sections(&self) -> Option<[&'static Section; 2]> {
        Some([&TABLE, &OF_COPY])
    }

    fn options(&self, table: Option<&mut Table<'_>>, given: &Given<'_>) -> Options {
        Arc::new(options_of(table, given, |table| AzureOptions::of(table, given)))
    }
}

/// `[azure]`, and what the environment says besides.
#[derive(Debug, Clone)]
pub struct AzureOptions {
    /// The storage account.
    pub account: Option<String>,
    /// How to authenticate.
    pub auth: String,
    /// The service, where the address names none.
    pub endpoint: Option<String>,
    /// Tier of packs.
    pub access_tier: Option<String>,
    /// How long objects are locked.
    pub object_lock: Option<ObjectLock>,
    /// A file with the account's key.
    pub account_key_file: Option<PathBuf>,
    /// A file with a shared access signature.
    pub sas_token_file: Option<PathBuf>,
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// A request is given up, and made again, when nothing moved for so long.
    pub stall_timeout: Duration,
    /// Credentials of the environment.
    pub secrets: Secrets,
    /// Where programs are.
    pub path: Option<PathBuf>,
}

impl Default for AzureOptions {
    fn default() -> Self {
        Self {
            account: None,
            auth: "auto".to_owned(),
            endpoint: None,
            access_tier: None,
            object_lock: None,
            account_key_file: None,
            sas_token_file: None,
            ca_file: None,
            stall_timeout: STALL_TIMEOUT_DEFAULT,
            secrets: Secrets::default(),
            path: None,
        }
    }
}

impl AzureOptions {
    /// `[azure]`, or that of a destination.
    fn of(table: &mut Table<'_>, given: &Given<'_>) -> Self {
        let variable = |name: &str| given.text(name);
        let text = |table: &mut Table<'_>, key: &Key<String>| table.take(key).map(|found| found.value);
        let identity = variable("IDENTITY_ENDPOINT").zip(variable("IDENTITY_HEADER"));
        let secrets = Secrets {
            key: variable("AZURE_STORAGE_ACCOUNT_KEY").or_else(|| variable("AZURE_STORAGE_KEY")),
            sas: variable("AZURE_STORAGE_SAS_TOKEN"),
            tenant: variable("AZURE_TENANT_ID"),
            client: variable("AZURE_CLIENT_ID"),
            client_secret: variable("AZURE_CLIENT_SECRET"),
            federated_token_file: (given.variable)("AZURE_FEDERATED_TOKEN_FILE"),
            authority: variable("AZURE_AUTHORITY_HOST"),
            identity,
            machine: variable("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
        };
        let account = || variable("AZURE_STORAGE_ACCOUNT_NAME").or_else(|| variable("AZURE_STORAGE_ACCOUNT"));
        Self {
            account: text(table, &ACCOUNT).or_else(account),
            auth: text(table, &AUTH).unwrap_or_else(|| "auto".to_owned()),
            endpoint: text(table, &ENDPOINT).or_else(|| variable("AZURE_ENDPOINT_URL")),
            access_tier: text(table, &ACCESS_TIER),
            object_lock: table.take(&LOCK).and_then(|found| found.value),
            account_key_file: table.take(&KEY_FILE).map(|found| found.value),
            sas_token_file: table.take(&SAS_FILE).map(|found| found.value),
            ca_file: table.take(&CA_FILE).map(|found| found.value),
            stall_timeout: table.take(&STALL_TIMEOUT).map(|found| found.value).unwrap_or_default(),
            secrets,
            path: (given.variable)("PATH"),
        }
    }

    /// What the environment says, and files in its place.
    fn secrets(&self) -> Result<Secrets, String> {
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path);
            text.map(|text| text.trim().to_owned())
                .map_err(|error| format!("cannot read `{}`: {error}", path.display()))
        };
        let key = self.account_key_file.as_ref().map(read).transpose()?;
        let sas = self.sas_token_file.as_ref().map(read).transpose()?;
        let env = &self.secrets;
        // A file that was named comes before what the environment has for another repository.
        let is_named = key.is_some() || sas.is_some();
        Ok(Secrets {
            key: key.or_else(|| env.key.clone().filter(|_| !is_named)),
            sas: sas.or_else(|| env.sas.clone().filter(|_| !is_named)),
            ..env.clone()
        })
    }

    fn has_tool(&self) -> bool {
        let folders = self.path.as_ref().map(|path| std::env::split_paths(path).collect::<Vec<_>>());
        folders.unwrap_or_default().iter().any(|folder| folder.join("az").is_file())
    }
}

impl Location for AzureAddress {
    fn scheme(&self) -> &'static str {
        Azure.name()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn connect(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        let wrong = |kind, what: String| StorageError::permanent("read", self.to_string(), kind, what);
        let invalid = |what: String| wrong(ErrorKind::Invalid, what);
        let given: AzureOptions = own_options(options, self)?;
        let service = self.service(given.endpoint.as_deref(), given.account.as_deref()).map_err(invalid)?;
        let secrets = given.secrets().map_err(|what| wrong(ErrorKind::NoCredentials, what))?;
        let auth = Auth::new(&given.auth, &secrets, &service, given.has_tool());
        let auth = auth.map_err(|failure| failure.on("read", self.to_string()))?;
        let bounds = Bounds {
            upload: around.upload.clone(),
            download: around.download.clone(),
            stall_timeout: given.stall_timeout,
            ca_file: given.ca_file.as_deref(),
        };
        let talk = Talk::new(bounds, Arc::clone(&around.backoff)).map_err(invalid)?;
        let blobs = Blobs::new(self.clone(), &service, auth, given.access_tier.clone());
        let retention = given.object_lock.map(Retention::from);
        Ok(Rest::new(blobs, talk, Arc::clone(&around.backoff), retention).connected(around))
    }
}

static ACCOUNT: Key<String> = Key::new(
    &TEXT,
    Entry::new("account", "Storage account; else AZURE_STORAGE_ACCOUNT_NAME.", "\"companyvault\""),
);
static AUTH: Key<String> = Key::new(
    &TEXT,
    Entry::new(
        "auth",
        "How to authenticate: auto, key, sas, client-secret, workload, managed or cli.",
        "\"managed\"",
    )
    .default("auto"),
);
static ENDPOINT: Key<String> = Key::new(
    &TEXT,
    Entry::new(
        "endpoint",
        "Blob service to use if the address names none; else AZURE_ENDPOINT_URL.",
        "\"https://companyvault.blob.core.chinacloudapi.cn\"",
    ),
);
static ACCESS_TIER: Key<String> =
    Key::new(&TEXT, Entry::new("access_tier", "Access tier of packs: Hot, Cool or Cold.", "\"Cool\""));
static KEY_FILE: Key<PathBuf> = Key::new(
    &FILE,
    Entry::new(
        "account_key_file",
        "File with the account's key; else AZURE_STORAGE_ACCOUNT_KEY.",
        "\"/root/azure.key\"",
    ),
);
static SAS_FILE: Key<PathBuf> = Key::new(
    &FILE,
    Entry::new(
        "sas_token_file",
        "File with a shared access signature; else AZURE_STORAGE_SAS_TOKEN.",
        "\"/root/azure.sas\"",
    ),
);

static TABLE: Section = Section {
    name: "azure",
    which: "",
    about: "How containers of Azure Blob Storage are reached. Keys do not belong here: they come from the environment, a file, or a token.",
    keys: &[&ACCOUNT, &AUTH, &ENDPOINT, &ACCESS_TIER, &LOCK, &KEY_FILE, &SAS_FILE, &CA_FILE, &STALL_TIMEOUT],
};

/// The same keys in another table.
static OF_COPY: Section = Section {
    name: "copy.NAME.azure",
    which: "",
    about: "How the destination's container is reached, in the place of `[azure]`.",
    keys: TABLE.keys,
};
