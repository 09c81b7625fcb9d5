//! `type = "bucket"`: what a table of the configuration says of a bucket.

use super::{Bucket, Tags};
use crate::base::objects::{Place, Reach, Reached};
use crate::base::setting::{
    BOOLEAN, Described, Entry, FILE, Key, Kind, PATIENCE, Problem, Raw, Section, TEXT, Table,
};
use crate::source::Source;
use crate::source::kind::{Addressed, Around, Asked, Home, Settled, SourceKind};
use crate::source::surroundings::Surroundings;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The kind, and who speaks to its buckets.
pub(crate) struct BucketKind(pub &'static dyn Reach);

impl SourceKind for BucketKind {
    fn name(&self) -> &'static str {
        "bucket"
    }

    fn section(&self) -> &'static Section {
        &SECTION
    }

    fn of_table(&self, _name: &str, table: &mut Table<'_>) -> Option<Arc<dyn Settled>> {
        let is_there = table.has(BUCKET.entry.name);
        let address = table.take(&BUCKET);
        let reached = Reached {
            address: address.as_ref().map(|found| found.value.clone()).unwrap_or_default(),
            endpoint: table.take(&ENDPOINT).map(|found| found.value),
            region: table.take(&REGION).map(|found| found.value),
            path_style: table.take(&PATH_STYLE).map(|found| found.value),
            profile: table.take(&PROFILE).map(|found| found.value),
            ca_file: table.take(&CA_FILE).map(|found| found.value),
            stall_timeout: table.take(&STALL_TIMEOUT).map(|found| found.value),
            keys: None,
        };
        let tags = table.take(&OBJECT_TAGS).map(|found| found.value).unwrap_or_default();
        let versions = table.take(&VERSIONS).is_some_and(|found| found.value);
        if !is_there {
            let next = "name it: `\"s3://uploads\"` or `\"s3://uploads/prefix\"`";
            table.wrong(None, Problem::new("`bucket` is missing").next(next));
        }
        let origin = address?.origin;
        let place = self.0.place(&reached);
        let place = place.map_err(|problem| table.wrong(Some((BUCKET.entry.name, &origin)), problem)).ok()?;
        Some(Arc::new(Bucket { reach: self.0, reached, place, tags, versions, timeout: None }))
    }

    fn schemes(&self) -> &'static [&'static str] {
        &["s3:"]
    }

    fn of_address(&self, address: &str, _asked: &Asked<'_>) -> Result<Addressed, Problem> {
        let reached = Reached { address: address.to_owned(), ..Reached::default() };
        let place @ Place { .. } = self.0.place(&reached)?;
        let series = place.bucket.clone();
        let source = Arc::new(Bucket {
            reach: self.0,
            reached,
            place,
            tags: Tags::default(),
            versions: false,
            timeout: None,
        });
        Ok(Addressed { source, series: Ok(series) })
    }
}

impl Settled for Bucket {
    fn source(&self, around: &Around) -> Box<dyn Source> {
        let reached = self.reached_within(&around.programs);
        Box::new(Self { reached, timeout: around.timeout, ..self.clone() })
    }

    fn home(&self) -> Option<Home> {
        Some(Home { address: self.reached.address.clone(), exec: None })
    }

    fn bucket(&self, programs: &Surroundings) -> Option<Reached> {
        Some(self.reached_within(programs))
    }
}

impl Bucket {
    /// How it is reached, with the keys that its own variables hold.
    fn reached_within(&self, programs: &Surroundings) -> Reached {
        let said = |wanted: &str| {
            let found = programs.env.iter().rev().find(|(name, _)| name == wanted)?;
            Some(found.1.to_string_lossy().into_owned())
        };
        let keys = said("AWS_ACCESS_KEY_ID").zip(said("AWS_SECRET_ACCESS_KEY"));
        let keys = keys.map(|(access, secret)| (access, secret, said("AWS_SESSION_TOKEN")));
        Reached { keys, ..self.reached.clone() }
    }
}

/// Which tags are kept.
const WHICH_TAGS: Kind<Tags> = Kind {
    word: "choice",
    parse: |raw| match raw.text()? {
        "changed" => Ok(Tags::Changed),
        "all" => Ok(Tags::All),
        "none" => Ok(Tags::None),
        other => Err(Problem::new(format!("invalid value `{other}`")).next("use changed, all or none")),
    },
    show: |raw: &Raw| Some(raw.clone()),
};

macro_rules! keys {
    ($($key:ident: $type:ty = $kind:ident, $entry:expr;)*) => {
        $(static $key: Key<$type> = Key::new(&$kind, $entry);)*
        static SECTION: Section = Section {
            name: "source.NAME",
            which: "with `type = \"bucket\"`",
            about: "Objects of an S3 bucket. Access keys come from the environment, the source's `env` or `env_file`, a profile or the machine's role.",
            keys: &[$(&$key as &dyn Described),*],
        };
    };
}

keys! {
    BUCKET: String = TEXT, Entry::new("bucket", "The bucket, and perhaps a prefix: what lies below it is backed up.",
        "\"s3://uploads/prefix\"");
    ENDPOINT: String = TEXT, Entry::new("endpoint", "S3 service to use if the address names none; else AWS_ENDPOINT_URL.",
        "\"https://minio.internal:9000\"");
    REGION: String = TEXT, Entry::new("region", "Region of the bucket; else AWS_REGION.", "\"eu-central-1\"");
    PATH_STYLE: bool = BOOLEAN, Entry::new("path_style",
        "Whether the bucket stands in the path (`host/bucket/key`) and not in the host's name.", "true");
    PROFILE: String = TEXT, Entry::new("profile", "Profile in ~/.aws with the keys.", "\"uploads-read\"");
    CA_FILE: PathBuf = FILE, Entry::new("ca_file", "Certificates of authorities to trust besides the system's.",
        "\"/etc/ssl/private-ca.pem\"");
    STALL_TIMEOUT: Duration = PATIENCE, Entry::new("stall_timeout",
        "Give up a request, and make it again, when nothing moved for this long.", "\"20s\"").default("60s");
    OBJECT_TAGS: Tags = WHICH_TAGS, Entry::new("object_tags",
        "Which tags to keep: `changed` asks for those of objects that are read and have some, `all` asks for those of each object, `none` asks for none.",
        "\"none\"").default("changed");
    VERSIONS: bool = BOOLEAN, Entry::new("versions",
        "Whether to keep versions that are not current, too, of a bucket that has them.", "true");
}
