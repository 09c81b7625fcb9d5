//! Garbage: what no snapshot reaches, and how it goes without taking anything from a backup that runs at the same time.
//!
//! | file | hides |
//! |---|---|
//! | `forget` | the order in which a snapshot goes |
//! | `full` | how a store that takes nothing any more is pruned all the same |
//! | `live` | the set of live chunks |
//! | `mark` | how recipes are followed to chunks |
//! | `witness` | which pack was seen to hold a chunk that several claim |
//! | `tables` | what packs say of themselves, beside what indexes say of them |
//! | `unseen` | what becomes of snapshots that no full author has seen whole |
//! | `weigh` | how much of each pack is live |
//! | `survey` | what is there, read in the order that makes it safe |
//! | `sweep` | rescuing, rewriting indexes, deleting |
//!
//! A prune works in two steps, mostly of two runs. It *plans*: packs that are dead, or mostly dead, are condemned by a
//! plan object, and no backup that begins later relies on them. After the grace period it *sweeps*: what is still (or
//! again) live in them is copied, then they go. A pack that is condemned never comes back: whoever made the plan may
//! have been suspended half way through carrying it out, and goes on when nobody expects it. So what lies in condemned
//! packs never counts as stored, for backups and for other prunes alike.

mod alone;
mod forget;
mod full;
mod live;
mod mark;
mod survey;
mod sweep;
mod tables;
mod unseen;
mod weigh;
mod witness;

pub(super) use sweep::INDEX_CHUNKS;

use super::format::index::BlockKind;
use super::format::plan::{PLAN_PACKS_MAX, Plan};
use super::format::session::SessionKind;
use super::session::{LIVE, SKEW_MAX, SeenPlan, Session};
use super::{RepoError, Repository};
use crate::base::event::{Cancel, Event, Observer};
use crate::base::id::{PackId, PlanId, SnapshotId};
use crate::vault::crypto::{CryptoError, Role};
use crate::vault::format::FormatError;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};
use survey::{HINT_INDEX, Survey};
use weigh::Weight;
use witness::Witness;

/// A pack of less than one so-manieth of a full one is small …
const SMALL_PACK: u64 = 4;
/// … and so many small ones are made into one.
const SMALL_PACKS: usize = 32;

/// How a prune works.
#[derive(Debug, Clone, Copy)]
pub struct PruneSettings {
    /// How long a condemned pack stays, and how old a pack must be to be condemned. Zero works while no backup is under
    /// way.
    pub grace: Duration,
    /// A pack of which at most this share is live is condemned, and what is live in it copied when it goes.
    pub live_share_max: f64,
    /// The host's clock, ms since the epoch.
    pub now_ms: i64,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// End all sessions, as if they had not been heard of for long: those of killed programs need not be waited for. A
    /// backup that is under way all the same fails when it is to commit.
    pub end_sessions: bool,
    /// The store is full, and nothing else uses the repository: where not even a session can be put, one pack that
    /// nothing needs goes first. What is partly live stays, since copying it takes room.
    pub full_store: bool,
}

impl PruneSettings {
    /// The usual settings: a day of grace, packs repacked once half of them is dead.
    pub fn new(now_ms: i64) -> Self {
        Self {
            grace: Duration::from_secs(86_400),
            live_share_max: 0.5,
            now_ms,
            dry_run: false,
            end_sessions: false,
            full_store: false,
        }
    }
}

/// A pack that goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CondemnedPack {
    /// The pack.
    pub pack: PackId,
    /// Its size in bytes.
    pub bytes: u64,
    /// What of it is live, in stored bytes: will be copied.
    pub live_bytes: u64,
}

/// A plan that cannot be carried out yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingPlan {
    /// The plan.
    pub plan: PlanId,
    /// Packs that it condemns.
    pub packs: u64,
    /// When its grace period is over; `None` when it is.
    pub until: Option<SystemTime>,
    /// Backups under way that began before the plan.
    pub sessions: u64,
    /// When the last of its packs can be deleted, where the storage has them locked.
    pub locked_until: Option<SystemTime>,
}

/// Packs that are of little or no use, and too young to be condemned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct YoungPacks {
    /// How many.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last of them is old enough, by the storage's clock.
    pub until: Option<SystemTime>,
    /// Backups under way that may have written some of them: these wait until they end, however old they are.
    pub sessions: u64,
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Default)]
pub struct PruneReport {
    /// Snapshots that keep what they reach.
    pub snapshots: u64,
    /// Packs before.
    pub packs: u64,
    /// Bytes of those packs.
    pub pack_bytes: u64,
    /// Stored bytes in them that are live.
    pub live_bytes: u64,
    /// Chunks that snapshots want and no pack holds: damage that was there before.
    pub lost_chunks: u64,
    /// Packs condemned by this run.
    pub condemned: Vec<CondemnedPack>,
    /// Packs that would be condemned if they were older.
    pub young: YoungPacks,
    /// Plans that could not be carried out yet.
    pub waiting: Vec<WaitingPlan>,
    /// Plans carried out.
    pub plans_done: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Bytes of those packs.
    pub bytes_deleted: u64,
    /// Packs written with what was still live in condemned ones.
    pub packs_written: u64,
    /// Bytes of those packs.
    pub bytes_written: u64,
    /// Chunks and recipe nodes in them.
    pub chunks_rescued: u64,
    /// Index objects replaced by others.
    pub indexes_replaced: u64,
    /// Index objects written.
    pub indexes_written: u64,
    /// Snapshots without a mark that were removed: left behind long ago by backups that never ended.
    pub uncommitted_removed: Vec<SnapshotId>,
    /// Until when nothing is deleted, since a snapshot of an append key that was never seen whole may hide what it
    /// needs.
    pub held_until: Option<SystemTime>,
    /// Damage that was met and gone round.
    pub warnings: Vec<String>,
}

impl Repository {
    /// Plans what to delete, and carries out the plans whose time has come; see the module.
    ///
    /// # Errors
    /// Nothing is deleted when a snapshot, a recipe or a mark cannot be read, or a chunk that a snapshot needs is in no
    /// pack. The same holds when the clocks of host and storage disagree ([`RepoError::ClockSkew`]), another prune is
    /// running, or the grace period is zero and a backup is running ([`RepoError::Busy`]). Whatever else fails, at any
    /// step, leaves garbage at worst: run it again.
    pub fn prune(
        &self,
        settings: &PruneSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<PruneReport, RepoError> {
        if self.keys.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "pruning" }.into());
        }
        let mut report = PruneReport::default();
        if settings.dry_run {
            let now = storage_time(settings.now_ms);
            let survey = Survey::take(self, now, Witness::new(self), observer, cancel)?;
            survey.refuse_loss()?;
            survey.describe(&mut report);
            self.plan(&survey, settings, observer, cancel, &mut report)?;
            report.uncommitted_removed.clone_from(&survey.stale);
            for plan in &survey.plans {
                let wait = waiting(plan, &survey, settings.grace, now);
                report.waiting.extend(wait.or_else(|| survey.held.map(|_| held(plan, &survey))));
            }
            return Ok(report);
        }
        let session = match self.begin_prune(settings.now_ms) {
            Err(refused) if settings.full_store && refused.is_no_space() => {
                report.bytes_deleted += self.make_room(refused, settings, observer, cancel)?;
                report.packs_deleted += 1;
                self.begin_prune(settings.now_ms)?
            }
            session => session?,
        };
        self.probe_listings()?;
        match self.prune_registered(&session, settings, observer, cancel, &mut report) {
            Ok(()) => {
                self.memory.note_pruned(settings.now_ms);
                Ok(report)
            }
            // What it was reading may have been removed under its hands.
            Err(error) if error.is_integrity() && !session.is_registered().unwrap_or(true) => {
                Err(RepoError::Overtaken { what: format!("another prune has ended this one: {error}") })
            }
            Err(error) => Err(error),
        }
    }

    fn prune_registered(
        &self,
        session: &Session,
        settings: &PruneSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        let now = session.registered();
        if !settings.end_sessions {
            self.refuse_beside(session, settings, now)?;
        }
        self.end_lapsed(session, settings, now)?;
        observer.observe(Event::Step { what: "finding referenced data".to_owned() });
        let mut survey = Survey::take(self, now, Witness::new(self), observer, cancel)?;
        survey.refuse_loss()?;
        for id in &survey.stale {
            self.remove_abandoned(id, settings.now_ms)?;
            report.uncommitted_removed.push(*id);
        }
        self.note_seen_whole(&survey)?;
        survey.describe(report);
        self.plan(&survey, settings, observer, cancel, report)?;
        if let Some(plan) = self.condemn(&survey, settings.now_ms, cancel, report)? {
            tracing::info!("prune plan {plan} condemns {} packs", report.condemned.len());
            // The plan is there: what is read from now on knows of it.
            survey = self.survey_again(survey, session, settings, observer, cancel)?;
        }
        self.sweep_what_is_due(&survey, settings, session, observer, cancel, report)
    }

    /// The packs that hold what a snapshot needs, those that a prune condemned left out: what is needed of them lies in
    /// others, too.
    ///
    /// # Errors
    /// When a snapshot or recipe cannot be read. Takes a full key.
    pub(super) fn packs_needed(
        &self,
        now_ms: i64,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Vec<PackId>, RepoError> {
        if self.keys.role() != Role::Full {
            return Err(CryptoError::RoleTooWeak { needed: "knowing what snapshots need" }.into());
        }
        let survey = Survey::take(self, storage_time(now_ms), Witness::new(self), observer, cancel)?;
        let weights = survey.weigh(&survey.condemned(), cancel)?;
        let (needed, dead): (Vec<Weight>, Vec<Weight>) =
            weights.into_iter().partition(|weight| weight.live_chunks > 0);
        if survey.held.is_some() {
            return Ok(needed.iter().chain(&dead).map(|weight| weight.pack.id).collect());
        }
        // An index object that says of a pack that it holds nothing must not let its lock run out.
        let dead = dead.iter().map(|weight| weight.pack.id).collect();
        let disputed = self.disputed(&survey, &dead, cancel)?;
        Ok(needed.iter().map(|weight| weight.pack.id).chain(disputed.into_keys()).collect())
    }

    /// Registers the session of whoever changes packs and indexes otherwise, so that no prune runs at the same time.
    ///
    /// # Errors
    /// [`RepoError::Busy`] when one does.
    pub(super) fn begin_beside_backups(&self, now_ms: i64) -> Result<Session, RepoError> {
        let session = Session::register(self, SessionKind::Prune)?;
        let now = session.registered();
        self.refuse_beside(&session, &PruneSettings::new(now_ms), now)?;
        Ok(session)
    }

    /// Registers a session, and compares the clocks.
    fn begin_prune(&self, now_ms: i64) -> Result<Session, RepoError> {
        let session = Session::register(self, SessionKind::Prune)?;
        self.refuse_skew(&session, now_ms)?;
        Ok(session)
    }

    /// Puts an object, lists it, deletes it and lists again: a prune sees by listings who is at work.
    ///
    /// # Errors
    /// [`RepoError::ListsLate`] when a listing does not show what has just happened.
    fn probe_listings(&self) -> Result<(), RepoError> {
        let mut name = [0; 16];
        self.entropy.fill(&mut name)?;
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("sessions/probe-{name}");
        let probes = || -> Result<HashMap<String, SystemTime>, RepoError> {
            let mut probes = HashMap::new();
            self.storage.list("sessions/", &mut |listed| {
                if listed.key.starts_with("sessions/probe-") {
                    probes.insert(listed.key, listed.modified);
                }
            })?;
            Ok(probes)
        };
        self.storage.put(&key, name.as_bytes())?;
        let shown = probes();
        self.storage.delete(&key)?;
        let shown = shown?;
        let now = shown.get(&key).copied().ok_or_else(|| RepoError::ListsLate { object: key.clone() })?;
        // Of prunes that were killed in between.
        let is_old = |put: &SystemTime| now.duration_since(*put).unwrap_or_default() > LIVE;
        for (old, _) in shown.iter().filter(|(_, put)| is_old(put)) {
            self.storage.delete(old)?;
        }
        if probes()?.contains_key(&key) { Err(RepoError::ListsLate { object: key }) } else { Ok(()) }
    }

    /// Compares the clocks of the host, which shows `now_ms`, and of the storage.
    ///
    /// # Errors
    /// [`RepoError::ClockSkew`] when they are more than five minutes apart.
    pub fn check_clock(&self, now_ms: i64) -> Result<(), RepoError> {
        match Session::register(self, SessionKind::Write) {
            // Nothing can be put to learn the time, and what is about to be deleted makes room.
            Err(refused) if refused.is_no_space() => self.told_time(now_ms).map(drop),
            session => self.refuse_skew(&session?, now_ms),
        }
    }

    fn refuse_skew(&self, session: &Session, now_ms: i64) -> Result<(), RepoError> {
        let seconds = session.skew_seconds(now_ms);
        if seconds.unsigned_abs() > SKEW_MAX.as_secs() {
            return Err(RepoError::ClockSkew { seconds });
        }
        Ok(())
    }

    /// Two prunes at once would be safe, and would do each other's work. With no grace a backup under way cannot know
    /// the plan.
    fn refuse_beside(
        &self,
        own: &Session,
        settings: &PruneSettings,
        now: SystemTime,
    ) -> Result<(), RepoError> {
        let live = self.sessions()?;
        let live = live.iter().filter(|session| session.id != own.id() && session.is_live(now));
        for session in live {
            let heard = now.duration_since(session.heard).unwrap_or_default().as_secs();
            let what = match session.kind() {
                SessionKind::Prune => "another prune is",
                _ if settings.grace.is_zero() => "a backup is",
                _ => continue,
            };
            let what = format!("{what} under way (session {}, heard of {heard} s ago)", session.id.short());
            return Err(RepoError::Busy { what });
        }
        Ok(())
    }

    /// Ends the sessions that have not been heard of for long. If anything is to be deleted, these are all that are not
    /// live; else those not heard of for the whole grace period, since nothing that was put after they began is
    /// condemned. Before snapshots are listed: from now on they cannot commit.
    fn end_lapsed(&self, own: &Session, settings: &PruneSettings, now: SystemTime) -> Result<(), RepoError> {
        let plans = self.plans()?.0;
        let deletes = settings.grace.is_zero()
            || plans.iter().any(|plan| is_mature(plan, settings.grace, now))
            || settings.end_sessions;
        for session in self.sessions()? {
            let unheard = now.duration_since(session.heard).unwrap_or_default();
            let is_over = settings.end_sessions
                || session.is_foreign
                || session.was_ended
                || !session.is_live(now) && (deletes || unheard >= settings.grace);
            if session.id != own.id() && is_over {
                self.end_session(&session)?;
            }
        }
        Ok(())
    }

    /// Finds the packs to condemn.
    fn plan(
        &self,
        survey: &Survey,
        settings: &PruneSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        let now = survey.now;
        let oldest = survey.writers().filter_map(|session| session.started).min();
        let is_young = |pack: &PackId| {
            survey.listed.get(pack).is_none_or(|(_, put)| {
                let age = now.duration_since(*put).unwrap_or_default();
                // A backup under way may have written it. (Times may be coarse.)
                age < settings.grace || oldest.is_some_and(|oldest| *put + SKEW_MAX >= oldest)
            })
        };
        let mut young = Young::new(survey, settings.grace);
        let share = if settings.full_store { 0.0 } else { settings.live_share_max.clamp(0.0, 1.0) };
        let mut small: HashMap<BlockKind, Vec<CondemnedPack>> = HashMap::new();
        for weight in survey.weigh(&survey.condemned(), cancel)? {
            report.live_bytes += weight.live_bytes;
            let Weight { pack, live_bytes, used_bytes, live_chunks, kind } = weight;
            // What seems dead may be what is hidden.
            if survey.held.is_some() || report.condemned.len() >= PLAN_PACKS_MAX {
                continue;
            }
            let damaged = survey.is_damaged(&pack.id);
            let mostly_dead = live_bytes as f64 <= used_bytes as f64 * share;
            let condemned = CondemnedPack { pack: pack.id, bytes: pack.bytes, live_bytes };
            if is_young(&pack.id) {
                let is_small = pack.bytes < self.config.pack_bytes as u64 / SMALL_PACK;
                young.take(&condemned, kind, live_chunks == 0 || mostly_dead, is_small);
            } else if live_chunks == 0 || mostly_dead && !damaged {
                report.condemned.push(condemned);
            } else if !damaged
                && !settings.full_store
                && pack.bytes < self.config.pack_bytes as u64 / SMALL_PACK
            {
                small.entry(kind).or_default().push(condemned);
            }
        }
        report.young = young.finish(&small);
        // Each byte is copied once for so many packs: cheap, and a bucket with a thousand tiny objects is not.
        for packs in small.into_values().filter(|packs| packs.len() >= SMALL_PACKS) {
            report.condemned.extend(packs);
        }
        let mut going = report.condemned.iter().map(|condemned| condemned.pack).collect();
        self.keep_disputed(survey, &mut going, observer, cancel, report)?;
        report.condemned.retain(|condemned| going.contains(&condemned.pack));
        Ok(())
    }

    /// Takes out of `going` the packs of which it is not certain what they hold, and says why they stay; and which
    /// packs were found to be other than they should.
    fn keep_disputed(
        &self,
        survey: &Survey,
        going: &mut HashSet<PackId>,
        observer: &dyn Observer,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        let mut warnings = Vec::new();
        for (pack, why) in self.disputed(survey, going, cancel)? {
            going.remove(&pack);
            warnings.push(format!("pack {} stays: {why}; {HINT_INDEX}", pack.short()));
        }
        for (pack, why) in survey.witness().failed() {
            warnings.push(format!(
                "nothing relies on pack {}: {why}; `dumpvault check --read-data` tells what is damaged",
                pack.short()
            ));
        }
        warnings.retain(|message| !report.warnings.contains(message));
        for message in warnings {
            observer.observe(Event::Warning { message: message.clone() });
            report.warnings.push(message);
        }
        Ok(())
    }

    /// Copies what is live in the packs to condemn, so that backups that begin afterwards find it, and condemns them.
    fn condemn(
        &self,
        survey: &Survey,
        now_ms: i64,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<Option<PlanId>, RepoError> {
        let mut packs: HashSet<PackId> = report.condemned.iter().map(|condemned| condemned.pack).collect();
        let written = self.copy_live(survey, &mut packs, cancel, report)?;
        report.condemned.retain(|condemned| packs.contains(&condemned.pack));
        self.index_packs(survey, written, report)?;
        self.put_plan(&report.condemned, now_ms)
    }

    fn put_plan(&self, packs: &[CondemnedPack], now_ms: i64) -> Result<Option<PlanId>, RepoError> {
        if packs.is_empty() {
            return Ok(None);
        }
        let plan = Plan { time_ms: now_ms, packs: packs.iter().map(|condemned| condemned.pack).collect() };
        self.put_hashed(&plan.seal(self.id, &self.keys, self.entropy.as_ref())?).map(Some)
    }

    /// Reads everything anew.
    fn survey_again(
        &self,
        old: Survey,
        session: &Session,
        settings: &PruneSettings,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Survey, RepoError> {
        // Two sets of live chunks at once would be too much.
        let witness = old.into_witness();
        let now = session.beat()?;
        self.end_lapsed(session, settings, now)?;
        let survey = Survey::take(self, now, witness, observer, cancel)?;
        survey.refuse_loss()?;
        Ok(survey)
    }

    fn sweep_what_is_due(
        &self,
        survey: &Survey,
        settings: &PruneSettings,
        session: &Session,
        observer: &dyn Observer,
        cancel: &Cancel,
        report: &mut PruneReport,
    ) -> Result<(), RepoError> {
        if survey.held.is_some() {
            let waiting = survey.plans.iter().map(|plan| held(plan, survey));
            report.waiting.extend(waiting);
            return Ok(());
        }
        let mut due = Vec::new();
        for plan in &survey.plans {
            match waiting(plan, survey, settings.grace, survey.now) {
                Some(waiting) => report.waiting.push(waiting),
                // What is deleted under a lock stays, and costs what it did: not before all of them can go.
                None => match self.object_locks().last_lock_end(&plan.plan.packs)? {
                    None => due.push(plan.id),
                    locked_until => report.waiting.push(WaitingPlan {
                        plan: plan.id,
                        packs: plan.plan.packs.len() as u64,
                        until: None,
                        sessions: 0,
                        locked_until,
                    }),
                },
            }
        }
        // An index that names what is gone and not missed is rewritten, too: a backup that was fenced may have left it.
        if due.is_empty() && survey.missing_and_dead()?.is_empty() {
            return Ok(());
        }
        if !session.is_registered()? {
            let what = "another prune has ended this one, which was suspended for long, or ends all sessions"
                .to_owned();
            return Err(RepoError::Overtaken { what });
        }
        self.sweep(survey, &due, session, observer, cancel, report)
    }

    /// Removes a plan whose packs are all gone.
    fn drop_plan(&self, id: &PlanId) -> Result<(), RepoError> {
        use super::objects::ObjectName as _;
        Ok(self.storage.delete(&id.key())?)
    }
}

/// Gathers what is too young.
struct Young<'a> {
    survey: &'a Survey,
    grace: Duration,
    dead: Vec<CondemnedPack>,
    small: HashMap<BlockKind, Vec<CondemnedPack>>,
}

impl<'a> Young<'a> {
    fn new(survey: &'a Survey, grace: Duration) -> Self {
        Self { survey, grace, dead: Vec::new(), small: HashMap::new() }
    }

    fn take(&mut self, pack: &CondemnedPack, kind: BlockKind, is_dead: bool, is_small: bool) {
        match (is_dead, is_small) {
            (true, _) => self.dead.push(*pack),
            (false, true) => self.small.entry(kind).or_default().push(*pack),
            (false, false) => {}
        }
    }

    /// Small ones count where there will be enough of them, together with those that are `old` enough.
    fn finish(self, old: &HashMap<BlockKind, Vec<CondemnedPack>>) -> YoungPacks {
        let Self { survey, grace, dead, small } = self;
        let old_of = |kind: &BlockKind| old.get(kind).map_or(0, Vec::len);
        let is_enough = |kind: &BlockKind, young: &[CondemnedPack]| {
            let old = old_of(kind);
            old < SMALL_PACKS && old + young.len() >= SMALL_PACKS
        };
        let merged = small.into_iter().filter(|(kind, young)| is_enough(kind, young));
        let packs: Vec<CondemnedPack> = dead.into_iter().chain(merged.flat_map(|(_, young)| young)).collect();
        let put = packs.iter().filter_map(|pack| survey.listed.get(&pack.pack)).map(|(_, put)| *put).max();
        YoungPacks {
            packs: packs.len() as u64,
            bytes: packs.iter().map(|pack| pack.bytes).sum(),
            until: put.map(|put| put + grace).filter(|until| *until > survey.now),
            sessions: if packs.is_empty() { 0 } else { survey.writers().count() as u64 },
        }
    }
}

/// Why a plan cannot be carried out at the storage's time `now`; `None` when it can.
fn waiting(plan: &SeenPlan, survey: &Survey, grace: Duration, now: SystemTime) -> Option<WaitingPlan> {
    // Also those that were not heard of for long: what was not ended may still commit.
    let sessions = survey.writers().filter(|session| !session.knows(&plan.id)).count() as u64;
    let until = (!is_mature(plan, grace, now)).then(|| plan.put + grace);
    let packs = plan.plan.packs.len() as u64;
    (until.is_some() || sessions > 0).then_some(WaitingPlan {
        plan: plan.id,
        packs,
        until,
        sessions,
        locked_until: None,
    })
}

/// A plan that is not carried out, since what it condemns may be hidden.
fn held(plan: &SeenPlan, survey: &Survey) -> WaitingPlan {
    WaitingPlan {
        plan: plan.id,
        packs: plan.plan.packs.len() as u64,
        until: survey.held,
        sessions: 0,
        locked_until: None,
    }
}

fn is_mature(plan: &SeenPlan, grace: Duration, now: SystemTime) -> bool {
    now.duration_since(plan.put).unwrap_or_default() >= grace
}

/// Packs of the plans that are due.
fn targets(survey: &Survey, due: &[PlanId]) -> HashSet<PackId> {
    let plans = survey.plans.iter().filter(|plan| due.contains(&plan.id));
    plans.flat_map(|plan| plan.plan.packs.iter().copied()).collect()
}

fn storage_time(ms: i64) -> SystemTime {
    let since = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since }
}

/// An error of integrity as one of its own, for where only a reference is left.
fn same(error: &RepoError) -> RepoError {
    match error {
        RepoError::Missing { object } => RepoError::Missing { object: object.clone() },
        RepoError::Damaged { object, source } => RepoError::Damaged {
            object: object.clone(),
            source: match source {
                FormatError::NewerVersion { version } => FormatError::NewerVersion { version: *version },
                FormatError::UnknownFeatures { bits } => FormatError::UnknownFeatures { bits: *bits },
                FormatError::WrongHash => FormatError::WrongHash,
                _ => FormatError::Malformed { what: "it cannot be read" },
            },
        },
        other => RepoError::Inconsistent { object: "the history".to_owned(), what: other.to_string() },
    }
}
