//! What commands tell programs: a type for each report, and the JSON schemas that describe them.
//!
//! The fields' documentation is the description in the schema. `docs/json/` holds a schema for each command, which a
//! test keeps equal to what [`schemas`] gives.
//!
//! | file | the reports of |
//! |---|---|
//! | `alert` | `alert` |
//! | `backup` | `backup` |
//! | `change` | what became of tables and keys |
//! | `check` | `check`, `repair`, `object-lock` |
//! | `config` | `config` |
//! | `copy` | `copy` |
//! | `demo` | `demo` |
//! | `doctor` | `doctor` |
//! | `files` | `restore`, `ls`, `find` and `diff` of files |
//! | `forget` | `forget`, `prune`, `tag` |
//! | `key` | `init`, `key` |
//! | `keys` | keys of Redis and Valkey |
//! | `list` | `snapshots`, `ls`, `show`, `stats` |
//! | `restore` | `restore`, `swap` |
//! | `schedule` | `schedule`, `history`, `audit` |
//! | `serve` | `user`, `token` |
//! | `server` | `restore --all-databases` |
//! | `set` | `restore --set` |
//! | `snapshot` | what a snapshot and a stream are, wherever they are reported |
//! | `status` | `status` |
//! | `system` | `run` |
//! | `tables` | tables of dumps, and `diff` |
//! | `verify` | `verify` |

mod alert;
mod backup;
mod change;
mod check;
mod config;
mod copy;
mod demo;
mod doctor;
mod files;
mod forget;
mod key;
mod keys;
mod list;
mod restore;
mod schedule;
mod serve;
mod server;
mod set;
mod snapshot;
mod status;
mod system;
mod tables;
mod verify;

pub use alert::{Alert, AlertAcknowledged, AlertChannel, AlertTested, Alerts};
pub use backup::{Backups, BackupsPlan};
pub use check::{
    Check, LockExtension, RepairedIndex, RepairedMarks, RepairedPacks, RepairedSnapshots, RepairedTimes,
    ShortLock, SnapshotHit,
};
pub use config::{CheckedConfig, ShownConfig};
pub use copy::{Copies, CopyResult};
pub use demo::Demo;
pub use doctor::Doctor;
pub use files::{
    ChangedFile, ChangedFiles, ListedFile, ListedFiles, ListedObject, RestoreFilesPlan, RestoreObjectsPlan,
    RestoredFiles, RestoredObjects,
};
pub use forget::{Forgotten, ForgottenForeign, Prune, Pruned, Tagged, Young};
pub use key::{
    Author, ContentCost, KeyGrant, KeyList, KeyRotation, KeyRotationPlan, KeySlot, NewKeyPlan, NewRepository,
    NewRepositoryPlan, Slot,
};
pub use keys::{ChangedKeys, KeyAmount};
pub use list::{Listed, ListedSnapshot, Shown, Snapshots, Stats};
pub use restore::{Restore, RestorePlan, RestoreRedisPlan, RestoredKeys, Swap};
pub use schedule::{
    AuditLine, AuditLog, AuditVerified, BackupRecord, ExplainedSlot, History, HistoryRebuilt, HistoryShown,
    NextSlot, Schedule, ScheduleEnded, ScheduleExplained, ScheduleGap, ScheduleNext, SchedulePaused,
    SchedulePlan, ScheduleTriggered, ScheduledJob, ScheduledRun,
};
pub use serve::{ListedToken, ListedUser, MadeToken, TokenList, UserChanged, UserList};
pub use server::{RestoreServerPlan, RestoredServer};
pub use set::{RestoredSet, SetStepStatus};
pub use snapshot::{Requests, Snapshot, format_word};
pub use status::Status;
pub use system::{Sets, SystemRun, SystemRunPlan};
pub use tables::{Diff, Members, PickedTable, Streamed, TableAmount};
pub use verify::{Verify, VerifySet};

use crate::base::clock::timestamp;
use crate::base::fault::Next;
use jiff::Timestamp;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;
use std::marker::PhantomData;
use std::time::SystemTime;

/// What a command tells programs, without what all of them tell.
pub trait Report: Serialize {
    /// Warnings of its own, which may have been told on the way or not.
    fn warnings(&self) -> &[String] {
        &[]
    }
}

/// A report as it is printed.
#[derive(Debug, Serialize, JsonSchema)]
// The report's own description is told.
#[schemars(rename = "{R}", description = "")]
pub struct Document<R> {
    /// Version of the report's form. It changes when a field goes or changes its meaning; new fields may come without.
    version: Version,
    #[serde(flatten)]
    report: R,
    /// What a person should know, in words: all that was told on standard error on the way. Each is listed once.
    warnings: Vec<String>,
}

impl<R: Report> Document<R> {
    /// A report, and the warnings that were told on the way.
    pub fn new(report: R, told: Vec<String>) -> Self {
        let mut warnings = told;
        for own in report.warnings() {
            if !warnings.contains(own) {
                warnings.push(own.clone());
            }
        }
        Self { version: Version, report, warnings }
    }

    /// Writes the object in one line, in pieces of whole characters.
    ///
    /// # Errors
    /// Those of `out`. The reports of this module can all be written.
    pub fn write_json(&self, out: impl Write) -> Result<(), serde_json::Error> {
        serde_json::to_writer(out, self)
    }
}

/// A command failed. Printed in the place of its report.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Failure {
    /// What failed, in words.
    pub error: String,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
    /// The exit code of the process.
    pub exit_code: u8,
    /// A word that stays the same from version to version: `no_repository`.
    pub code: Option<String>,
    /// What failed in a database's client programs: `permission-denied`.
    pub kind: Option<String>,
}

impl Report for Failure {}

/// How a next step is shown to whoever reads the report: settings as options, say.
pub type Hint<'a> = &'a dyn Fn(Next) -> String;

/// The version of a report's form.
#[derive(Debug, Clone, Copy, Default)]
struct Version;

impl Version {
    const NUMBER: u8 = 1;
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(Self::NUMBER)
    }
}

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"const": Self::NUMBER})
    }
}

/// A moment: RFC 3339, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(Timestamp);

impl Time {
    /// From milliseconds since the epoch.
    pub fn from_ms(ms: i64) -> Self {
        Self(timestamp(ms))
    }

    /// Milliseconds since the epoch.
    pub fn ms(&self) -> i64 {
        self.0.as_millisecond()
    }

    /// A moment of the system's clock; `None` where no calendar reaches.
    pub fn of_system(time: SystemTime) -> Option<Self> {
        Timestamp::try_from(time).ok().map(Self)
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// So many digits of an id are shown to people.
const SHORT_DIGITS: usize = 8;

/// An id: lower-case hexadecimal digits, all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Id(String);

impl Id {
    /// Any kind of id, which prints as its digits.
    pub fn of(id: impl Display) -> Self {
        Self(id.to_string())
    }

    /// The first digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT_DIGITS).unwrap_or(&self.0)
    }

    /// Several of them.
    pub fn all<'a, I: Display + 'a>(ids: impl IntoIterator<Item = &'a I>) -> Vec<Self> {
        ids.into_iter().map(Self::of).collect()
    }
}

impl Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9a-f]+$"})
    }
}

/// One report or another, of a command that has two.
struct Either<A, B>(PhantomData<(A, B)>);

impl<A: JsonSchema, B: JsonSchema> JsonSchema for Either<A, B> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_{}", A::schema_name(), B::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [generator.subschema_for::<A>(), generator.subschema_for::<B>()]})
    }
}

/// What any command prints in the place of its report when it fails.
pub const FAILURE: &str = "error";

/// The schemas of all reports, by the command's words with `-` between them, and of [`FAILURE`].
pub fn schemas() -> Vec<(&'static str, Schema)> {
    type Either2<A, B> = Either<Document<A>, Document<B>>;
    vec![
        ("alert-ack", schema::<Document<AlertAcknowledged>>()),
        ("alert-list", schema::<Document<Alerts>>()),
        ("alert-test", schema::<Document<AlertTested>>()),
        ("audit-export", schema::<Document<AuditLog>>()),
        ("audit-list", schema::<Document<AuditLog>>()),
        ("audit-verify", schema::<Document<AuditVerified>>()),
        ("backup", schema::<Either2<Backups, BackupsPlan>>()),
        ("check", schema::<Document<Check>>()),
        ("config-check", schema::<Document<CheckedConfig>>()),
        ("config-show", schema::<Document<ShownConfig>>()),
        ("copy", schema::<Document<Copies>>()),
        ("demo", schema::<Document<Demo>>()),
        ("diff", schema::<Either2<Diff, ChangedFiles>>()),
        ("doctor", schema::<Document<Doctor>>()),
        (FAILURE, schema::<Document<Failure>>()),
        ("find", schema::<Document<ListedFiles>>()),
        ("forget", schema::<Either2<Forgotten, ForgottenForeign>>()),
        ("history-export", schema::<Document<History>>()),
        ("history-list", schema::<Document<History>>()),
        ("history-rebuild", schema::<Document<HistoryRebuilt>>()),
        ("history-show", schema::<Document<HistoryShown>>()),
        ("init", schema::<Either2<NewRepository, NewRepositoryPlan>>()),
        ("key-add", schema::<Either2<KeySlot, NewKeyPlan>>()),
        ("key-export", schema::<Document<KeySlot>>()),
        ("key-grant", schema::<Document<KeyGrant>>()),
        ("key-import", schema::<Document<KeySlot>>()),
        ("key-list", schema::<Document<KeyList>>()),
        ("key-passwd", schema::<Document<KeySlot>>()),
        ("key-remove", schema::<Document<KeySlot>>()),
        ("key-revoke", schema::<Either2<KeyRotation, KeyRotationPlan>>()),
        ("key-rotate", schema::<Either2<KeyRotation, KeyRotationPlan>>()),
        ("object-lock-extend", schema::<Document<LockExtension>>()),
        ("ls", schema::<Either2<Listed, ListedFiles>>()),
        ("prune", schema::<Document<Prune>>()),
        ("repair-index", schema::<Document<RepairedIndex>>()),
        ("repair-marks", schema::<Document<RepairedMarks>>()),
        ("repair-packs", schema::<Document<RepairedPacks>>()),
        ("repair-snapshots", schema::<Document<RepairedSnapshots>>()),
        ("repair-times", schema::<Document<RepairedTimes>>()),
        (
            "restore",
            schema::<
                Either<
                    Either<
                        Either<Either2<Restore, RestorePlan>, Document<RestoreRedisPlan>>,
                        Either2<RestoredFiles, RestoreFilesPlan>,
                    >,
                    Either<
                        Either2<RestoredObjects, RestoreObjectsPlan>,
                        Either<Either2<RestoredServer, RestoreServerPlan>, Document<RestoredSet>>,
                    >,
                >,
            >(),
        ),
        ("run", schema::<Either2<SystemRun, SystemRunPlan>>()),
        ("schedule-daemon", schema::<Document<ScheduleEnded>>()),
        ("schedule-explain", schema::<Document<ScheduleExplained>>()),
        ("user-list", schema::<Document<UserList>>()),
        ("user-add", schema::<Document<UserChanged>>()),
        ("user-remove", schema::<Document<UserChanged>>()),
        ("user-passwd", schema::<Document<UserChanged>>()),
        ("token-list", schema::<Document<TokenList>>()),
        ("token-add", schema::<Document<MadeToken>>()),
        ("token-remove", schema::<Document<UserChanged>>()),
        ("serve", schema::<Document<ScheduleEnded>>()),
        ("schedule-init", schema::<Document<SchedulePlan>>()),
        ("schedule-list", schema::<Document<Schedule>>()),
        ("schedule-next", schema::<Document<ScheduleNext>>()),
        ("schedule-pause", schema::<Document<SchedulePaused>>()),
        ("schedule-resume", schema::<Document<SchedulePaused>>()),
        ("schedule-trigger", schema::<Document<ScheduleTriggered>>()),
        ("show", schema::<Document<Shown>>()),
        ("snapshots", schema::<Either2<Snapshots, Sets>>()),
        ("stats", schema::<Document<Stats>>()),
        ("status", schema::<Document<Status>>()),
        ("swap", schema::<Document<Swap>>()),
        ("tag", schema::<Document<Tagged>>()),
        ("verify", schema::<Either2<Verify, VerifySet>>()),
    ]
}

fn schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize().with_transform(Closed);
    settings.into_generator().into_root_schema_for::<T>()
}

/// Says of every object that it has no other fields: a field without a description would be one that nobody can rely
/// on.
#[derive(Debug, Clone)]
struct Closed;

impl Transform for Closed {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(object) = schema.as_object_mut()
            && object.contains_key("properties")
            && !object.contains_key("additionalProperties")
        {
            object.insert("additionalProperties".to_owned(), false.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::gc::PruneReport;
    use serde_json::Value;

    #[test]
    fn a_warning_of_a_report_is_listed_once_however_often_it_was_told() {
        let own = vec!["damage".to_owned(), "more".to_owned()];
        let found = PruneReport { warnings: own, ..PruneReport::default() };
        let told = vec!["told".to_owned(), "damage".to_owned()];
        let mut printed = Vec::new();
        Document::new(Prune::new(&found, true), told).write_json(&mut printed).unwrap();
        let printed: Value = serde_json::from_slice(&printed).unwrap();
        assert_eq!(printed["warnings"], serde_json::json!(["told", "damage", "more"]));
        assert_eq!(
            (&printed["version"], &printed["dry_run"], &printed["packs"]),
            (&1.into(), &true.into(), &0.into())
        );
    }
}
