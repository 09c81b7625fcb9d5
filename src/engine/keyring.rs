//! Keys of a repository: new ones, what each may do, rotation, and slots that leave and come back.

mod fresh;
mod rotate;

pub(crate) use fresh::{PASSPHRASE_MIN, check_passphrase, fresh_key_file, key_file_or_fresh};
pub(crate) use rotate::{ContentPrice, RotateJob, RotatePlan, plan_rotate, run_rotate};

use super::OpError;
use crate::base::clock::Clock;
use crate::base::fault::Next;
use crate::base::id::SlotId;
use crate::base::run::Run;
use crate::engine::app::App;
use crate::storage::Storage;
use crate::vault::crypto::{Credential, Role};
use crate::vault::format::author::Statement;
use crate::vault::format::slot::SLOT_BYTES_MAX;
use crate::vault::{KeyRing, NewKey, Repository, SlotInfo};
use std::io::{Read, Write};
use std::path::Path;

/// So many digits of a slot's id are enough to remove it.
const DIGITS_MIN: usize = 4;

/// What somebody asks of a key that is to be added.
#[derive(Debug, Clone)]
pub(crate) struct KeyAddJob {
    /// It may add backups, and nothing else.
    pub is_append: bool,
    /// Its name.
    pub name: String,
    /// Hosts that an append key may add backups of; none for this one.
    pub hosts: Vec<String>,
    /// Series that an append key may add to; none for all.
    pub series: Vec<String>,
    /// Another append key may add backups of the same host.
    pub share: bool,
}

/// A key to add.
#[derive(Debug, Clone)]
pub(crate) struct KeyAddPlan {
    /// As asked for, with all hosts.
    pub job: KeyAddJob,
}

/// Says what a job comes to.
///
/// # Errors
/// When a full key is to be bound to hosts or series.
pub(crate) fn plan_key_add(job: KeyAddJob, app: &App) -> Result<KeyAddPlan, OpError> {
    if !job.is_append && (!job.hosts.is_empty() || !job.series.is_empty()) {
        let message = "hosts and series are for append keys: a full key may do everything".to_owned();
        return Err(OpError::Job { message, next: Some(Next::new("leave out {host} and {series}")) });
    }
    let hosts = if job.hosts.is_empty() { vec![app.host()] } else { job.hosts };
    Ok(KeyAddPlan { job: KeyAddJob { hosts, ..job } })
}

/// Adds the key.
///
/// # Errors
/// When another key may add backups of one of the hosts already, or the repository fails.
pub(crate) fn run_key_add(
    plan: &KeyAddPlan,
    credential: &Credential,
    repo: &Repository,
    run: &Run,
) -> Result<SlotId, OpError> {
    Ok(repo.key_ring().add(credential, &plan.new_key(), now_ms(run))?)
}

/// Whether [`run_key_add`] would add the key. Nothing is written.
///
/// # Errors
/// Those of [`run_key_add`].
pub(crate) fn check_key_add(plan: &KeyAddPlan, repo: &Repository) -> Result<(), OpError> {
    Ok(repo.key_ring().check_add(&plan.new_key())?)
}

impl KeyAddPlan {
    fn new_key(&self) -> NewKey<'_> {
        let KeyAddJob { is_append, name, hosts, series, share } = &self.job;
        let role = if *is_append { Role::Append } else { Role::Full };
        let series = (!series.is_empty()).then(|| series.clone());
        NewKey { role, name, hosts: hosts.clone(), series, share: *share }
    }
}

/// What somebody asks to change of what a key may do.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrantJob {
    /// The key: its name, or digits of its id.
    pub key: String,
    /// Hosts that it may add backups of, too.
    pub hosts: Vec<String>,
    /// Series that it may add to, too.
    pub series: Vec<String>,
    /// It may add to all series.
    pub all_series: bool,
    /// Nothing of what it might do before.
    pub only: bool,
    /// Its name from now on.
    pub rename: Option<String>,
}

impl GrantJob {
    fn change(&self, statement: &mut Statement) {
        if self.only && !self.hosts.is_empty() {
            statement.hosts.clear();
        }
        statement.hosts.extend(self.hosts.iter().cloned());
        statement.hosts.sort();
        statement.hosts.dedup();
        if self.all_series {
            statement.series = None;
        } else if !self.series.is_empty() {
            let before = if self.only { Some(Vec::new()) } else { statement.series.take() };
            // Whoever may add to all series may add to these, too.
            statement.series = before.map(|before| {
                let mut series: Vec<String> = before.into_iter().chain(self.series.iter().cloned()).collect();
                series.sort();
                series.dedup();
                series
            });
        }
        if let Some(name) = &self.rename {
            statement.name.clone_from(name);
        }
    }
}

/// Changes what a key may do; or says what it would be allowed.
///
/// # Errors
/// When there is no such key, it is a full one, or the repository fails.
pub(crate) fn run_grant(
    job: &GrantJob,
    dry_run: bool,
    repo: &Repository,
    run: &Run,
) -> Result<Statement, OpError> {
    let ring = repo.key_ring();
    let author = ring.find(&job.key)?;
    if dry_run {
        return Ok(ring.foresee_grant(&author, now_ms(run), |statement| job.change(statement))?);
    }
    Ok(ring.grant(&author, now_ms(run), |statement| job.change(statement))?)
}

/// All slots, and which of them opened the repository.
///
/// # Errors
/// When the storage fails. Slots that cannot be read are in the answer.
pub(crate) fn slots(repo: &Repository, credential: &Credential) -> Result<Vec<SlotInfo>, OpError> {
    Ok(repo.key_ring().slots(credential)?)
}

/// A slot to remove.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemovePlan {
    /// The slot.
    pub slot: SlotId,
    /// Also if it is the slot in use, or the last one of a full key.
    pub force: bool,
}

/// The slot whose id begins so.
///
/// # Errors
/// When there is none, or too few digits are given.
pub(crate) fn plan_remove(
    prefix: &str,
    force: bool,
    repo: &Repository,
    credential: &Credential,
) -> Result<RemovePlan, OpError> {
    let slots = repo.key_ring().slots(credential)?;
    let fits: Vec<SlotId> =
        slots.iter().map(|slot| slot.id).filter(|id| id.to_string().starts_with(prefix)).collect();
    let wrong = |message: String| Err(OpError::Job { message, next: None });
    match fits.as_slice() {
        [slot] if prefix.len() >= DIGITS_MIN => Ok(RemovePlan { slot: *slot, force }),
        [] => wrong(format!("no key `{prefix}`: see `dumpvault key list`")),
        [_] => wrong("give at least four digits of the key's id".to_owned()),
        _ => wrong(format!("`{prefix}` could be {} keys: give more digits", fits.len())),
    }
}

/// Removes the slot.
///
/// # Errors
/// When it is needed, or the repository fails.
pub(crate) fn run_remove(
    plan: &RemovePlan,
    repo: &Repository,
    credential: &Credential,
) -> Result<(), OpError> {
    Ok(repo.key_ring().remove(&plan.slot, credential, plan.force)?)
}

/// Whether [`run_remove`] would remove the slot. Nothing is deleted.
///
/// # Errors
/// Those of [`run_remove`].
pub(crate) fn check_remove(
    plan: &RemovePlan,
    repo: &Repository,
    credential: &Credential,
) -> Result<(), OpError> {
    Ok(repo.key_ring().check_remove(&plan.slot, credential, plan.force)?)
}

/// Puts another credential in the place of the one that opened the repository.
///
/// # Errors
/// When the repository fails; the old one opens it then.
pub(crate) fn run_passwd(
    old: &Credential,
    new: &Credential,
    repo: &Repository,
    run: &Run,
) -> Result<SlotId, OpError> {
    Ok(repo.key_ring().change_credential(old, new, now_ms(run))?)
}

/// The slot that [`run_passwd`] would replace.
///
/// # Errors
/// When the credential opens no slot, or the repository fails.
pub(crate) fn slot_in_use(credential: &Credential, repo: &Repository) -> Result<SlotId, OpError> {
    Ok(repo.key_ring().current(credential)?.id)
}

/// Writes the slot that opened the repository, still sealed, to a file that is not there yet.
///
/// # Errors
/// When the file is there or cannot be written, or the repository fails.
pub(crate) fn run_export(file: &Path, repo: &Repository, credential: &Credential) -> Result<SlotId, OpError> {
    use std::os::unix::fs::OpenOptionsExt;
    let (id, bytes) = repo.key_ring().export(credential)?;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut out| out.write_all(&bytes).and_then(|()| out.sync_all()));
    written.map_err(|source| OpError::File { path: file.to_owned(), source })?;
    Ok(id)
}

/// Puts an exported slot back, or says which one it is. No key is needed for that.
///
/// # Errors
/// When the file cannot be read or is no slot of this repository, or the storage fails.
pub(crate) fn run_import(file: &Path, dry_run: bool, storage: &dyn Storage) -> Result<SlotId, OpError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(SLOT_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| OpError::File { path: file.to_owned(), source })?;
    let outcome = if dry_run { KeyRing::check_import } else { KeyRing::import };
    Ok(outcome(storage, &bytes)?)
}

fn now_ms(run: &Run) -> i64 {
    Clock::now(run.clock.as_ref()).as_millisecond()
}
