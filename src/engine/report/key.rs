//! Repositories that were made, and who holds keys to one.

use super::{Id, Report, Time};
use crate::base::id::AuthorId;
use crate::engine::keyring::{KeyAddJob, KeyAddPlan, RotatePlan};
use crate::vault::crypto::Role;
use crate::vault::format::author::{ANY_HOST, Statement};
use crate::vault::format::slot::SlotKind;
use crate::vault::rotation::RotateReport;
use crate::vault::{self, SlotInfo};
use schemars::JsonSchema;
use serde::Serialize;

/// A repository that was made.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NewRepository {
    /// Its id.
    pub id: Id,
    /// Where it lies.
    pub location: String,
    /// The fingerprint of its authority, for the recovery sheet.
    pub authority: Id,
}

impl Report for NewRepository {}

/// What `init --dry-run` would make.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NewRepositoryPlan {
    /// Always true: nothing was made.
    pub dry_run: bool,
    /// Where the repository would lie.
    pub location: String,
    /// The key file that would be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

impl Report for NewRepositoryPlan {}

impl From<&vault::Repository> for NewRepository {
    fn from(repo: &vault::Repository) -> Self {
        Self {
            id: Id::of(repo.id()),
            location: repo.location().to_owned(),
            authority: Id::of(repo.authority_fingerprint()),
        }
    }
}

/// A key slot that was added, removed, replaced, exported or imported.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeySlot {
    /// Nothing was changed, only looked: the slot is the one that would be removed, replaced or imported.
    pub dry_run: bool,
    /// The slot's id.
    pub id: Id,
}

impl Report for KeySlot {}

/// What `key add --dry-run` would add.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NewKeyPlan {
    /// Always true: nothing was added.
    pub dry_run: bool,
    /// `full`, or `append`.
    pub role: String,
    /// Its name.
    pub name: String,
    /// Hosts whose backups it could add; `*` for all.
    pub hosts: Vec<String>,
    /// Series that it could add to; null for all.
    pub series: Option<Vec<String>>,
}

impl Report for NewKeyPlan {}

impl NewKeyPlan {
    /// What the plan says.
    pub(crate) fn new(plan: &KeyAddPlan) -> Self {
        let KeyAddJob { is_append, name, hosts, series, .. } = &plan.job;
        let role = if *is_append { Role::Append } else { Role::Full };
        Self {
            dry_run: true,
            role: role.to_string(),
            name: name.clone(),
            hosts: if *is_append { hosts.clone() } else { vec![ANY_HOST.to_owned()] },
            series: (!series.is_empty()).then(|| series.clone()),
        }
    }
}

/// All keys to a repository.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeyList {
    /// Key slots: what opens the repository.
    pub keys: Vec<Slot>,
    /// Keys, and what each may do.
    pub authors: Vec<Author>,
    /// A slot is damaged. Anybody who can put objects can put what is no slot: that is no damage.
    #[serde(skip)]
    pub is_damaged: bool,
}

impl Report for KeyList {}

impl KeyList {
    /// The slots and keys of a repository.
    pub fn new(repo: &vault::Repository, slots: &[SlotInfo]) -> Self {
        let is_damaged = slots.iter().any(|slot| slot.label.as_ref().is_err_and(|error| !error.is_foreign()));
        Self { keys: slots.iter().map(Slot::from).collect(), authors: Author::all(repo), is_damaged }
    }
}

/// A key slot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Slot {
    /// One that can be read.
    Readable(ReadableSlot),
    /// One that cannot.
    Unreadable(UnreadableSlot),
}

/// A key slot that can be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ReadableSlot {
    /// Its id.
    pub id: Id,
    /// What opens it.
    pub kind: Kind,
    /// What the slot says that its key is: `full`, `append`.
    pub role: String,
    /// What the slot says that it is called.
    pub label: String,
    /// It opened the repository just now.
    pub current: bool,
    /// The key that it holds.
    pub author: Id,
    /// When it was made, as it says.
    pub created: Time,
}

/// A key slot that cannot be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UnreadableSlot {
    /// Its id.
    pub id: Id,
    /// Why.
    pub error: String,
    /// It opened the repository just now, for people.
    #[serde(skip)]
    pub is_current: bool,
}

/// What opens a key slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "SlotKind")]
pub enum Kind {
    /// A passphrase.
    #[serde(rename = "passphrase")]
    Passphrase,
    /// A key file.
    #[serde(rename = "key file")]
    KeyFile,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
        }
    }
}

impl From<&SlotInfo> for Slot {
    fn from(slot: &SlotInfo) -> Self {
        let id = Id::of(slot.id);
        match &slot.label {
            Ok((label, kind)) => Self::Readable(ReadableSlot {
                id,
                kind: match kind {
                    SlotKind::Passphrase => Kind::Passphrase,
                    SlotKind::KeyFile => Kind::KeyFile,
                },
                role: label.role.to_string(),
                label: label.text.clone(),
                current: slot.current,
                author: Id::of(label.author),
                created: Time::from_ms(label.created_ms),
            }),
            Err(error) => {
                Self::Unreadable(UnreadableSlot { id, error: error.to_string(), is_current: slot.current })
            }
        }
    }
}

/// A key, and what it may do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Author {
    /// Its id.
    pub author: Id,
    /// Its name.
    pub name: String,
    /// `full`, or `append`.
    pub role: String,
    /// Hosts whose backups it may add.
    pub hosts: Vec<String>,
    /// Series that it may add to; null for all.
    pub series: Option<Vec<String>>,
    /// It counts no more.
    pub revoked: bool,
    /// It is the key in use.
    pub own: bool,
    /// When it was last said what it may do.
    pub created: Time,
}

impl Author {
    /// The key that a statement is about.
    pub fn new(repo: &vault::Repository, statement: &Statement) -> Self {
        Self {
            author: Id::of(statement.author),
            name: statement.name.clone(),
            role: statement.role.to_string(),
            hosts: statement.hosts.clone(),
            series: statement.series.clone(),
            revoked: !repo.authors().all().iter().any(|other| other.author == statement.author),
            own: statement.author == repo.authors().me(),
            created: Time::from_ms(statement.time_ms),
        }
    }

    fn all(repo: &vault::Repository) -> Vec<Self> {
        let mut known: Vec<&Statement> = repo.authors().known().collect();
        known.sort_by(|a, b| (&a.name, a.author).cmp(&(&b.name, b.author)));
        known.into_iter().map(|statement| Self::new(repo, statement)).collect()
    }
}

/// What a key may do was changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeyGrant {
    /// Nothing was changed, only looked: the key stands there as it would be.
    pub dry_run: bool,
    /// The key, and what it may do now.
    pub author: Author,
}

impl Report for KeyGrant {}

/// A new key epoch was opened.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeyRotation {
    /// The epoch that is open now.
    pub epoch: u16,
    /// The content generation in which is written from now on.
    pub content_generation: u16,
    /// Keys that go on.
    pub authors: usize,
    /// Objects of revoked keys that do not count any more.
    pub objects_dropped: usize,
    /// Packs that were read whole and named anew, since what named them does not count any more.
    pub packs_named: usize,
    /// Packs that do not hold what was said of them.
    pub packs_refused: usize,
    /// Backups under way that were ended.
    pub sessions_ended: usize,
    /// Keys that were revoked.
    pub revoked: Vec<Id>,
}

impl Report for KeyRotation {}

/// What a rotation would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeyRotationPlan {
    /// Always true: nothing was changed.
    pub dry_run: bool,
    /// Keys that would be revoked.
    pub revoked: Vec<Id>,
    /// What a new content root would cost; only with `--content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentCost>,
}

/// What a new content root costs: what is stored is not found again.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ContentCost {
    /// Bytes of the newest dumps, which are stored once more.
    pub dump_bytes: u64,
    /// Series that they are of.
    pub series: usize,
    /// Bytes of packs that stay until their snapshots are gone.
    pub pack_bytes: u64,
}

impl Report for KeyRotationPlan {}

impl KeyRotationPlan {
    /// What the plan says.
    pub fn new(plan: &RotatePlan) -> Self {
        let content = plan.price.map(|price| ContentCost {
            dump_bytes: price.dump_bytes,
            series: price.series,
            pack_bytes: price.pack_bytes,
        });
        Self { dry_run: true, revoked: Id::all(&plan.revoked_ids()), content }
    }
}

impl KeyRotation {
    /// What a rotation did that revoked these keys.
    pub fn new(report: &RotateReport, revoked: &[AuthorId]) -> Self {
        let RotateReport { epoch, content_generation, authors, dropped, .. } = *report;
        let RotateReport { packs_named, packs_refused, sessions_ended, .. } = *report;
        Self {
            epoch,
            content_generation,
            authors,
            objects_dropped: dropped,
            packs_named,
            packs_refused,
            sessions_ended,
            revoked: Id::all(revoked),
        }
    }
}
