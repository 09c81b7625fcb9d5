//! Forget: let go of snapshots that no policy keeps, or that a person names.

#[cfg(feature = "daemon")]
mod expiry;
mod sets;

#[cfg(feature = "daemon")]
pub(crate) use expiry::expiries;

use super::OpError;
use crate::base::calendar::Calendar;
use crate::base::clock::Clock;
use crate::base::event::{Event, Observer};
use crate::base::id::SnapshotId;
use crate::base::name::{SeriesName, SnapshotName};
use crate::engine::app::Settings;
use crate::vault::history::{History, HistoryDamage};
use crate::vault::snapshot::retention::{
    Candidate, Policy, Reckoning, Representative, Rule, Verdict, decide,
};
use crate::vault::snapshot::selection::{Viewpoint, check_series, select};
use crate::vault::snapshot::{Body, Head, State, Summary};
use crate::vault::{RepoError, Repository};
use std::collections::BTreeMap;

/// Which policy holds for which series.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Of a series that has none of its own; `None` leaves it alone.
    pub default: Option<Policy>,
    /// By series.
    pub by_series: BTreeMap<String, Policy>,
    /// By system: what a run that is kept holds is kept, too.
    pub by_system: BTreeMap<String, Policy>,
}

impl Policies {
    /// Those that somebody gives, or else those of the configuration. With `representative`, that one of a period
    /// stays, whatever the configuration says.
    pub fn of_settings(settings: &Settings, given: Policy, representative: Option<Representative>) -> Self {
        if !given.is_empty() {
            return Self { default: Some(given), ..Self::default() };
        }
        let (mut default, mut by_series) = settings.retention();
        if let Some(representative) = representative {
            let all = default.iter_mut().chain(by_series.values_mut());
            all.for_each(|policy| policy.representative = representative);
        }
        Self { default, by_series, by_system: settings.retention_of_systems() }
    }

    /// The rules that hold for a series, in words; none where it has none.
    pub fn words(&self, series: &str) -> Option<String> {
        let own = self.by_series.get(series).or(self.default.as_ref());
        own.filter(|policy| !policy.is_empty()).map(Policy::words)
    }

    /// The rules for a snapshot. Those of its system alone keep it with its run, or not at all.
    fn of<'a>(&'a self, head: &Head, none: &'a Policy) -> Option<&'a Policy> {
        let own = self.by_series.get(&head.series).or(self.default.as_ref());
        let is_of_system = head.system.as_ref().is_some_and(|system| self.by_system.contains_key(system));
        own.filter(|policy| !policy.is_empty()).or_else(|| is_of_system.then_some(none))
    }

    /// Whether no series has a policy that keeps anything.
    pub fn are_empty(&self) -> bool {
        let all = self.default.iter().chain(self.by_series.values()).chain(self.by_system.values());
        all.into_iter().all(Policy::is_empty)
    }
}

/// What to let go of.
#[derive(Debug, Clone)]
pub(crate) struct ForgetRequest {
    /// The policies.
    pub policies: Policies,
    /// Only this series.
    pub series: Option<SeriesName>,
    /// Only of this host.
    pub host: Option<String>,
    /// Also what is younger than a day.
    pub force: bool,
    /// Of snapshots that are named: also the newest complete one of its series.
    pub even_the_last: bool,
    /// Decide, and let go of nothing.
    pub dry_run: bool,
    /// How buckets are reckoned.
    pub calendar: Calendar,
}

/// A snapshot and what was decided on it.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Id and head.
    pub summary: Summary,
    /// Why it stays; without a reason it goes.
    pub verdict: Verdict,
}

/// Removes what nobody's key vouches for; or says what that is.
///
/// # Errors
/// When the key is no full one, or the repository fails.
pub(crate) fn forget_foreign(repo: &Repository, dry_run: bool) -> Result<Vec<String>, OpError> {
    Ok(if dry_run { repo.foreign_objects()? } else { repo.forget_foreign()? })
}

/// Decides on every snapshot that the request is about, by its series' policy, and lets go of what no rule keeps. The
/// answer is oldest first; series without a policy are not in it.
///
/// # Errors
/// When no policy was given, the clocks of host and storage disagree, or the repository fails; then nothing or a part
/// was let go of, and it can be run again.
pub(crate) fn forget(
    repo: &Repository,
    clock: &dyn Clock,
    request: &ForgetRequest,
    observer: &dyn Observer,
) -> Result<Vec<Decided>, OpError> {
    if request.policies.are_empty() {
        return Err(OpError::NoPolicy);
    }
    let now = clock.now();
    if !request.dry_run {
        repo.check_clock(now.as_millisecond())?;
    }
    let (history, bodies) = read(repo, observer)?;
    if let Some(series) = &request.series {
        check_series(&history.snapshots, series)?;
    }
    let concerned = |summary: &&Summary| {
        request.series.as_ref().is_none_or(|series| summary.head.is_of(series))
            && request.host.as_ref().is_none_or(|host| *host == summary.head.host)
    };
    let none = Policy::default();
    let mut by_policy: Vec<(&Policy, Vec<&Summary>)> = Vec::new();
    for summary in history.snapshots.iter().filter(concerned) {
        let Some(policy) = request.policies.of(&summary.head, &none) else { continue };
        match by_policy.iter_mut().find(|(other, _)| *other == policy) {
            Some((_, members)) => members.push(summary),
            None => by_policy.push((policy, vec![summary])),
        }
    }
    let reckoning = Reckoning { calendar: &request.calendar, now, force: request.force };
    let mut decided = Vec::new();
    for (policy, members) in by_policy {
        let candidates: Vec<Candidate<'_>> =
            members.iter().map(|summary| candidate(summary, &bodies, &history)).collect();
        let verdicts = decide(policy, &candidates, &reckoning);
        decided.extend(
            members
                .into_iter()
                .zip(verdicts)
                .map(|(summary, verdict)| Decided { summary: summary.clone(), verdict }),
        );
    }
    let with_runs = sets::kept_by_runs(&history, &request.policies.by_system, &reckoning);
    for one in decided.iter_mut().filter(|one| !one.verdict.is_kept()) {
        one.verdict.reasons = with_runs.get(&one.summary.id).cloned().unwrap_or_default();
    }
    decided.sort_by_key(|one| (one.summary.head.time_ms, one.summary.head.counter, one.summary.id));
    if !request.dry_run {
        let gone: Vec<SnapshotId> =
            decided.iter().filter(|one| !one.verdict.is_kept()).map(|one| one.summary.id).collect();
        repo.forget(&gone)?;
    }
    Ok(decided)
}

/// Lets go of the snapshots that `names` stand for. By its id also one that is damaged, missing or was never committed.
///
/// # Errors
/// When a name stands for none; when one is pinned, or, unless the request says so, the newest complete one of its
/// series or younger than a day: then all stay.
pub(crate) fn forget_named(
    repo: &Repository,
    clock: &dyn Clock,
    names: &[SnapshotName],
    from: &Viewpoint,
    request: &ForgetRequest,
    observer: &dyn Observer,
) -> Result<Vec<Decided>, OpError> {
    let now = clock.now();
    if !request.dry_run {
        repo.check_clock(now.as_millisecond())?;
    }
    let (history, bodies) = read(repo, observer)?;
    // What no policy at all would still keep: the pinned, the young, the newest.
    let candidates: Vec<Candidate<'_>> =
        history.snapshots.iter().map(|summary| candidate(summary, &bodies, &history)).collect();
    let reckoning = Reckoning { calendar: &request.calendar, now, force: request.force };
    let verdicts = decide(&Policy::default(), &candidates, &reckoning);
    let (mut gone, mut ids) = (Vec::new(), Vec::new());
    for name in names {
        if let Some(id) = broken(&history, name) {
            ids.push(id);
            continue;
        }
        let summary = select(&history.snapshots, name, from)?;
        let at = history.snapshots.iter().position(|other| other.id == summary.id);
        let verdict = at.and_then(|at| verdicts.get(at)).cloned().unwrap_or_default();
        // A doubtful time is a person's to judge.
        let held = verdict.reasons.iter().map(|(rule, _)| rule).filter(|rule| match rule {
            Rule::Newest => summary.head.state == State::Complete && !request.even_the_last,
            rule => matches!(rule, Rule::Pinned | Rule::Young),
        });
        let mut rules: Vec<Rule> = held.cloned().collect();
        rules.sort();
        rules.dedup();
        if !rules.is_empty() {
            return Err(OpError::Kept { snapshot: summary.id.short(), rules });
        }
        ids.push(summary.id);
        gone.push(Decided { summary: summary.clone(), verdict: Verdict::default() });
    }
    if !request.dry_run {
        repo.forget(&ids)?;
    }
    Ok(gone)
}

/// A series as a whole, as it is now.
#[derive(Debug)]
pub(crate) struct WholeSeries {
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Summary>,
    /// Snapshots of it that cannot be read, and marks of such.
    damaged: Vec<SnapshotId>,
}

/// Looks at a series that is to go as a whole.
///
/// # Errors
/// When there is none of that name, or one of its snapshots is pinned.
pub(crate) fn whole_series(
    repo: &Repository,
    series: &SeriesName,
    observer: &dyn Observer,
) -> Result<WholeSeries, OpError> {
    let mut catalog = repo.catalog(observer)?;
    let history = repo.history(&mut catalog)?;
    check_series(&history.snapshots, series)?;
    let snapshots: Vec<Summary> =
        history.snapshots.iter().filter(|summary| summary.head.is_of(series)).cloned().collect();
    let pinned: Vec<String> = snapshots
        .iter()
        .filter(|summary| history.pinned.contains(&summary.id))
        .map(|summary| summary.id.short())
        .collect();
    if !pinned.is_empty() {
        return Err(OpError::PinnedInSeries { series: series.to_string(), snapshots: pinned });
    }
    // The mark of a damaged one tells its series, and not its host: another host's stays unless all go.
    let others = history
        .snapshots
        .iter()
        .any(|summary| summary.head.series == series.series && !summary.head.is_of(series));
    let is_ours = |damage: &&HistoryDamage| !others && damage.series.as_ref() == Some(&series.series);
    let damaged = history.damaged.iter().filter(is_ours).filter_map(snapshot_of).collect();
    Ok(WholeSeries { snapshots, damaged })
}

/// Removes a series as a whole, its newest snapshot too.
///
/// # Errors
/// When the key is not a full one, or the repository fails; then a part of it may be gone.
pub(crate) fn forget_series(repo: &Repository, whole: &WholeSeries) -> Result<Vec<Decided>, OpError> {
    let ids = whole.snapshots.iter().map(|summary| summary.id).chain(whole.damaged.iter().copied());
    repo.forget(&ids.collect::<Vec<_>>())?;
    Ok(whole.decided())
}

impl WholeSeries {
    /// The snapshots as decided on: all go.
    pub(crate) fn decided(&self) -> Vec<Decided> {
        let gone = |summary: &Summary| Decided { summary: summary.clone(), verdict: Verdict::default() };
        self.snapshots.iter().map(gone).collect()
    }
}

/// What keeps a snapshot that was named, in words.
pub(super) fn reasons(rules: &[Rule]) -> String {
    let word = |rule: &Rule| match rule {
        Rule::Newest => "newest complete of its series".to_owned(),
        rule => rule.to_string(),
    };
    rules.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// What has to be said for a snapshot to go that those rules keep.
pub(super) fn way_out(snapshot: &str, rules: &[Rule]) -> String {
    if rules.contains(&Rule::Pinned) {
        return format!("unpin it first: `dumpvault tag {snapshot} --unpin`");
    }
    let options = [(Rule::Young, "--force"), (Rule::Newest, "--even-the-last")];
    let needed: Vec<&str> =
        options.iter().filter(|(rule, _)| rules.contains(rule)).map(|(_, option)| *option).collect();
    format!("use {} to remove it anyway", needed.join(" and "))
}

fn snapshot_of(damage: &HistoryDamage) -> Option<SnapshotId> {
    damage.error.object()?.strip_prefix("snapshots/")?.parse().ok()
}

/// A snapshot that cannot be listed, by the front of its id.
fn broken(history: &History, name: &SnapshotName) -> Option<SnapshotId> {
    let digits = name.id_digits().filter(|digits| digits.len() >= 8)?;
    let named = |id: &SnapshotId| id.to_string().starts_with(&digits);
    let damaged = history.damaged.iter().filter_map(snapshot_of);
    let uncommitted = history.uncommitted.iter().map(|summary| summary.id);
    match damaged.chain(uncommitted).filter(named).collect::<Vec<_>>().as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

fn candidate<'a>(
    summary: &'a Summary,
    bodies: &'a BTreeMap<SnapshotId, Body>,
    history: &History,
) -> Candidate<'a> {
    let body = bodies.get(&summary.id);
    let streams = body.iter().flat_map(|body| &body.streams).map(|stream| stream.name.as_str());
    let failed = body.iter().flat_map(|body| &body.failed).map(|failed| failed.name.as_str());
    Candidate {
        summary,
        streams: streams.collect(),
        failed: failed.collect(),
        pinned: history.pinned.contains(&summary.id),
        verified: history.verified.contains_key(&summary.id),
    }
}

/// The history, and the bodies that can be read.
fn read(
    repo: &Repository,
    observer: &dyn Observer,
) -> Result<(History, BTreeMap<SnapshotId, Body>), OpError> {
    let mut catalog = repo.catalog(observer)?;
    let history = repo.history(&mut catalog)?;
    for damage in &history.damaged {
        let object = damage.error.object().unwrap_or_default().to_owned();
        observer.observe(Event::Damage { object, message: damage.error.to_string() });
    }
    let mut bodies = BTreeMap::new();
    for summary in &history.snapshots {
        match repo.body(&mut catalog, &summary.id) {
            Ok(body) => {
                bodies.insert(summary.id, body);
            }
            // By its head alone: it stays as long as the head says so.
            Err(error) if error.is_integrity() => {
                let object = error.object().unwrap_or_default().to_owned();
                observer.observe(Event::Damage { object, message: error.to_string() });
            }
            Err(RepoError::Crypto(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((history, bodies))
}
