//! Buckets as a kind of storage: their addresses, and the keys of `[s3]`.

use super::super::StorageError;
use super::super::retention::LOCK;
use super::super::scheme::{
    Connected, Connecting, Location, Options, Scheme, options_of, own_options, understood,
};
use super::super::wire::keys::{STALL_TIMEOUT, STALL_TIMEOUT_DEFAULT};
use super::{Retention, S3Address, S3Settings, S3Storage};
use crate::base::objects::Place;
use crate::base::setting::{BOOLEAN, Entry, FILE, Given, Key, Origin, Problem, Section, TEXT, Table, Value};
use crate::base::unit::ObjectLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The kind.
pub struct S3;

impl Scheme for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn forms(&self) -> &'static str {
        "s3://bucket/prefix or s3:https://host/bucket/prefix"
    }

    fn is_meant(&self, address: &str) -> bool {
        S3Address::is_meant(address)
    }

    fn location(&self, address: &str, _directory: &Path) -> Result<Arc<dyn Location>, Problem> {
        understood(S3Address::parse(address))
    }

    fn sections(&self) -> Option<[&'static Section; 2]> {
        Some([&TABLE, &OF_COPY])
    }

    fn options(&self, table: Option<&mut Table<'_>>, given: &Given<'_>) -> Options {
        let other = given.other.and_then(|other| other.downcast_ref::<S3Options>());
        let options = options_of(table, given, |table| S3Options::of(table, other, given));
        let profile = (given.option)("--to-s3-profile").map(|word| word.to_string_lossy().into_owned());
        Arc::new(S3Options { profile: profile.or(options.profile.clone()), ..options })
    }
}

/// `[s3]`.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The service, where the address names none.
    pub endpoint: Option<Value<String>>,
    /// Region of the bucket.
    pub region: Option<Value<String>>,
    /// `host/bucket/key` instead of `bucket.host/key`.
    pub path_style: Option<bool>,
    /// Profile in the SDK's files.
    pub profile: Option<String>,
    /// Storage class of packs.
    pub storage_class: Option<String>,
    /// Server-side encryption.
    pub encryption: Option<String>,
    /// The key of `aws:kms`.
    pub kms_key: Option<String>,
    /// How long objects are locked.
    pub object_lock: Option<ObjectLock>,
    /// Certificates of authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// A request is given up, and made again, when nothing moved for so long.
    pub stall_timeout: Duration,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            profile: None,
            storage_class: None,
            encryption: None,
            kms_key: None,
            object_lock: None,
            ca_file: None,
            stall_timeout: STALL_TIMEOUT_DEFAULT,
        }
    }
}

impl S3Options {
    /// `[s3]`, or that of a destination: then its own service comes before the one that the command line names, which
    /// is the other's.
    fn of(table: &mut Table<'_>, other: Option<&Self>, given: &Given<'_>) -> Self {
        let said = |own: Option<Value<String>>, other: Option<&Value<String>>| {
            own.or_else(|| other.filter(|other| matches!(other.origin, Origin::Flag(_))).cloned())
        };
        let (endpoint, region) = match other {
            None => (table.take(&ENDPOINT), table.take(&REGION)),
            Some(other) => {
                let own = (table.take_in_file(&ENDPOINT), table.take_in_file(&REGION));
                (said(own.0, other.endpoint.as_ref()), said(own.1, other.region.as_ref()))
            }
        };
        let text = |table: &mut Table<'_>, key: &Key<String>| table.take(key).map(|found| found.value);
        Self {
            endpoint,
            region,
            path_style: table.take(&PATH_STYLE).map(|found| found.value),
            profile: text(table, &PROFILE),
            storage_class: text(table, &STORAGE_CLASS),
            encryption: text(table, &ENCRYPTION),
            kms_key: text(table, &KMS_KEY),
            object_lock: table.take(&LOCK).and_then(|found| found.value),
            ca_file: table
                .take(&CA_FILE)
                .map(|found| found.value)
                .or_else(|| (given.variable)("AWS_CA_BUNDLE")),
            stall_timeout: table.take(&STALL_TIMEOUT).map(|found| found.value).unwrap_or_default(),
        }
    }
}

impl Location for S3Address {
    fn scheme(&self) -> &'static str {
        S3.name()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn bucket(&self, options: &Options) -> Option<Place> {
        let given = options.downcast_ref::<S3Options>().and_then(|given| given.endpoint.as_ref());
        let endpoint = self.endpoint.clone().or_else(|| given.map(|found| found.value.clone()));
        Some(Place { endpoint, bucket: self.bucket.clone(), prefix: self.prefix.clone() })
    }

    fn connect(&self, options: &Options, around: &Connecting) -> Result<Connected, StorageError> {
        let given: S3Options = own_options(options, self)?;
        let settings = S3Settings {
            endpoint: given.endpoint.map(|found| found.value),
            region: given.region.map(|found| found.value),
            path_style: given.path_style,
            profile: given.profile,
            ca_file: given.ca_file,
            storage_class: given.storage_class,
            encryption: given.encryption,
            kms_key: given.kms_key,
            retention: given.object_lock.map(Retention::from),
            upload: around.upload.clone(),
            download: around.download.clone(),
            stall_timeout: given.stall_timeout,
            ..S3Settings::new(Arc::clone(&around.backoff))
        };
        let bucket = Arc::new(S3Storage::connect(self.clone(), settings)?);
        Ok(Connected { bucket: Some(Arc::clone(&bucket) as _), ..Connected::by_wire(bucket, around) })
    }
}

static ENDPOINT: Key<String> = Key::new(
    &TEXT,
    Entry::new(
        "endpoint",
        "S3 service to use if the address names none; else AWS_ENDPOINT_URL.",
        "\"https://objects.example\"",
    )
    .flag("--s3-endpoint"),
);
static REGION: Key<String> = Key::new(
    &TEXT,
    Entry::new("region", "Region of the bucket; else AWS_REGION.", "\"eu-central-1\"").flag("--s3-region"),
);
static PATH_STYLE: Key<bool> = Key::new(
    &BOOLEAN,
    Entry::new(
        "path_style",
        "Whether the bucket stands in the path (`host/bucket/key`) and not in the host's name.",
        "true",
    ),
);
static PROFILE: Key<String> =
    Key::new(&TEXT, Entry::new("profile", "Profile in ~/.aws with the keys.", "\"backup\""));
static STORAGE_CLASS: Key<String> =
    Key::new(&TEXT, Entry::new("storage_class", "Storage class of packs.", "\"STANDARD_IA\""));
static ENCRYPTION: Key<String> =
    Key::new(&TEXT, Entry::new("encryption", "Server-side encryption: AES256 or aws:kms.", "\"aws:kms\""));
static KMS_KEY: Key<String> = Key::new(&TEXT, Entry::new("kms_key", "Key of `aws:kms`.", "\"alias/backup\""));
static CA_FILE: Key<PathBuf> = Key::new(
    &FILE,
    Entry::new(
        "ca_file",
        "Certificates of authorities to trust besides the system's; else AWS_CA_BUNDLE.",
        "\"/etc/ssl/private-ca.pem\"",
    ),
);

static TABLE: Section = Section {
    name: "s3",
    which: "",
    about: "How buckets are reached. Keys do not belong here: they come from the environment, a profile or the machine's role.",
    keys: &[
        &ENDPOINT,
        &REGION,
        &PATH_STYLE,
        &PROFILE,
        &STORAGE_CLASS,
        &ENCRYPTION,
        &KMS_KEY,
        &LOCK,
        &CA_FILE,
        &STALL_TIMEOUT,
    ],
};

/// The same keys in another table.
static OF_COPY: Section = Section {
    name: "copy.NAME.s3",
    which: "",
    about: "How the destination's bucket is reached, in the place of `[s3]`.",
    keys: TABLE.keys,
};
