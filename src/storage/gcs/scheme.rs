//! Buckets of Google's as a kind of storage: their addresses, and the keys of `[gcs]`.

use super::super::rest::Rest;
use super::super::retention::{LOCK, Retention};
use super::super::scheme::{
    Connected, Connecting, Location, Options, Scheme, options_of, own_options, understood,
};
use super::super::wire::keys::{CA_FILE, STALL_TIMEOUT, STALL_TIMEOUT_DEFAULT};
use super::super::wire::talk::{Bounds, Talk};
use super::super::{ErrorKind, StorageError};
use super::GcsAddress;
use super::auth::{Auth, Places};
use super::requests::Bucket;
use crate::base::setting::{COMMAND, Entry, FILE, Given, Key, Problem, Section, TEXT, Table};
use crate::base::unit::ObjectLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The kind.
pub struct Gcs;

impl Scheme for Gcs {
    fn name(&self) -> &'static str {
        "gcs"
    }

    fn forms(&self) -> &'static str {
        "gs://bucket/prefix"
    }

    fn is_meant(&self, address: &str) -> bool {
        GcsAddress::is_meant(address)
    }

    fn location(&self, address: &str, _directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        understood(GcsAddress::parse(address))
    }

    fn sections(&self) -> Option<[&'static Section; 2]> {
        Some([&TABLE, &OF_COPY])
    }

    fn options(&self, table: Option<&mut Table<'_>>, given: &Given<'_>) -> Options {
        Arc::new(options_of(table, given, |table| GcsOptions::of(table, given)))
    }
}

/// `[gcs]`, and what the environment says besides.
#[derive(Debug, Clone)]
pub struct GcsOptions {
    /// How to authenticate.
    pub auth: String,
    /// The service, in place of Google's.
    pub endpoint: Option<String>,
    /// Storage class of packs.
    pub storage_class: Option<String>,
    /// The project that pays for requests.
    pub user_project: Option<String>,
    /// How long objects are locked.
    pub object_lock: Option<ObjectLock>,
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// A request is given up, and made again, when nothing moved for so long.
    pub stall_timeout: Duration,
    /// Where credentials may be.
    pub places: Places,
}

impl Default for GcsOptions {
    fn default() -> Self {
        Self {
            auth: "auto".to_owned(),
            endpoint: None,
            storage_class: None,
            user_project: None,
            object_lock: None,
            ca_file: None,
            stall_timeout: STALL_TIMEOUT_DEFAULT,
            places: Places::default(),
        }
    }
}

impl GcsOptions {
    /// `[gcs]`, or that of a destination.
    fn of(table: &mut Table<'_>, given: &Given<'_>) -> Self {
        let variable = |name: &str| given.text(name);
        let text = |table: &mut Table<'_>, key: &Key<String>| table.take(key).map(|found| found.value);
        // A host alone, or with its scheme.
        let emulator = variable("STORAGE_EMULATOR_HOST");
        let emulator =
            emulator.map(|host| if host.contains("://") { host } else { format!("http://{host}") });
        let configuration = (given.variable)("CLOUDSDK_CONFIG")
            .or_else(|| Some((given.variable)("HOME")?.join(".config").join("gcloud")));
        let endpoint = text(table, &ENDPOINT).or_else(|| emulator.clone());
        let places = Places {
            key_file: table.take(&KEY_FILE).map(|found| found.value),
            token_command: table.take(&TOKEN_COMMAND).map(|found| found.value),
            adc: (given.variable)("GOOGLE_APPLICATION_CREDENTIALS"),
            usual_adc: configuration.map(|folder| folder.join("application_default_credentials.json")),
            machine: variable("GCE_METADATA_HOST"),
            is_emulator: emulator.is_some() && endpoint == emulator,
        };
        Self {
            auth: text(table, &AUTH).unwrap_or_else(|| "auto".to_owned()),
            endpoint,
            storage_class: text(table, &STORAGE_CLASS),
            user_project: text(table, &USER_PROJECT),
            object_lock: table.take(&LOCK).and_then(|found| found.value),
            ca_file: table.take(&CA_FILE).map(|found| found.value),
            stall_timeout: table.take(&STALL_TIMEOUT).map(|found| found.value).unwrap_or_default(),
            places,
        }
    }
}

impl Location for GcsAddress {
    fn scheme(&self) -> &'static str {
        Gcs.name()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn connect(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        let invalid =
            |what: String| StorageError::permanent("read", self.to_string(), ErrorKind::Invalid, what);
        let given: GcsOptions = own_options(options, self)?;
        let auth = Auth::new(&given.auth, &given.places);
        let auth = auth.map_err(|failure| failure.on("read", self.to_string()))?;
        let endpoint = given.endpoint.as_deref().unwrap_or(GOOGLE);
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(invalid(format!(
                "`{endpoint}` is not an address of a service: it begins with https://"
            )));
        }
        let bounds = Bounds {
            upload: around.upload.clone(),
            download: around.download.clone(),
            stall_timeout: given.stall_timeout,
            ca_file: given.ca_file.as_deref(),
        };
        let talk = Talk::new(bounds, Arc::clone(&around.backoff)).map_err(invalid)?;
        let (class, payer) = (given.storage_class.clone(), given.user_project.clone());
        let bucket = Bucket::new(self.clone(), endpoint, auth, class, payer);
        let retention = given.object_lock.map(Retention::from);
        Ok(Rest::new(bucket, talk, Arc::clone(&around.backoff), retention).connected(around))
    }
}

/// Google's own service.
const GOOGLE: &str = "https://storage.googleapis.com";

static AUTH: Key<String> = Key::new(
    &TEXT,
    Entry::new(
        "auth",
        "How to authenticate: auto, key-file, adc, metadata, token-command or none.",
        "\"metadata\"",
    )
    .default("auto"),
);
static ENDPOINT: Key<String> = Key::new(
    &TEXT,
    Entry::new(
        "endpoint",
        "Service to use in place of Google's; else STORAGE_EMULATOR_HOST.",
        "\"https://storage.me-central2.rep.googleapis.com\"",
    ),
);
static STORAGE_CLASS: Key<String> =
    Key::new(&TEXT, Entry::new("storage_class", "Storage class of packs.", "\"NEARLINE\""));
static USER_PROJECT: Key<String> = Key::new(
    &TEXT,
    Entry::new(
        "user_project",
        "Project that pays for requests, if the bucket's owner does not.",
        "\"my-project\"",
    ),
);
static KEY_FILE: Key<PathBuf> = Key::new(
    &FILE,
    Entry::new(
        "key_file",
        "File of credentials; else GOOGLE_APPLICATION_CREDENTIALS.",
        "\"/root/service-account.json\"",
    ),
);
static TOKEN_COMMAND: Key<String> = Key::new(
    &COMMAND,
    Entry::new("token_command", "Command that prints a token.", "\"gcloud auth print-access-token\""),
);

static TABLE: Section = Section {
    name: "gcs",
    which: "",
    about: "How buckets of Google Cloud Storage are reached. Keys do not belong here: they come from a file or the machine's account.",
    keys: &[
        &AUTH,
        &ENDPOINT,
        &STORAGE_CLASS,
        &USER_PROJECT,
        &LOCK,
        &KEY_FILE,
        &TOKEN_COMMAND,
        &CA_FILE,
        &STALL_TIMEOUT,
    ],
};

/// The same keys in another table.
static OF_COPY: Section = Section {
    name: "copy.NAME.gcs",
    which: "",
    about: "How the destination's bucket is reached, in the place of `[gcs]`.",
    keys: TABLE.keys,
};
