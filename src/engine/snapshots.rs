//! Which snapshots are meant, with all that a list or a closer look tells of them.

use super::OpError;
use super::backup::tags_of;
use super::listing::{Listing, Present, Seen, check_series, survey};
use super::report::{ListedSnapshot, Snapshots};
use super::restore::{check_stream, find_in, rollback_words, tell_rollback};
use crate::base::calendar::Calendar;
use crate::base::event::{Event, Observer};
use crate::base::fault::Class;
use crate::base::name::{SeriesName, SnapshotName};
use crate::vault::Repository;
use crate::vault::history::HistoryDamage;
use crate::vault::snapshot::Summary;
use crate::vault::snapshot::selection::Viewpoint;
use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

/// What somebody asks to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct SnapshotsJob {
    /// Only of this series.
    pub series: Option<SeriesName>,
    /// Only of this host.
    pub host: Option<String>,
    /// Only with all of these tags.
    pub tags: Vec<String>,
    /// Only those that are not older.
    pub since: Option<Timestamp>,
    /// Of each series and host only the newest so many.
    pub latest: Option<u32>,
}

impl SnapshotsJob {
    fn wants(&self, summary: &Summary, tags: &[String]) -> bool {
        let head = &summary.head;
        self.series.as_ref().is_none_or(|series| head.is_of(series))
            && self.host.as_ref().is_none_or(|host| *host == head.host)
            && self.tags.iter().all(|tag| tags.contains(tag))
            && self.since.is_none_or(|since| head.time() >= since)
    }
}

/// What was found.
pub(crate) struct SnapshotList {
    /// The snapshots that are meant, oldest first.
    pub report: Snapshots,
    /// What kind of failure their damage is.
    pub class: Option<Class>,
    /// All that there are.
    pub present: Present,
}

/// Looks for the snapshots that are meant. Damage is told, too.
///
/// # Errors
/// When there is no such series, or the repository cannot be read.
pub(crate) fn snapshots(
    job: &SnapshotsJob,
    repo: &Repository,
    calendar: &Calendar,
    observer: &dyn Observer,
) -> Result<SnapshotList, OpError> {
    let Listing { snapshots, history, pack_bytes } = survey(repo, observer)?;
    let summaries: Vec<Summary> = snapshots.iter().map(|seen| seen.summary.clone()).collect();
    let present = Present::of(summaries.iter(), &history);
    if let Some(series) = &job.series {
        check_series(&summaries, series)?;
    }
    let all_tags = tags_of(&summaries, calendar);
    let tagged = snapshots.into_iter().zip(all_tags).map(|(seen, calendar)| {
        let tags = tags(&calendar, &seen.summary);
        (seen, tags)
    });
    let mut shown: Vec<(Seen, Vec<String>)> =
        tagged.filter(|(seen, tags)| job.wants(&seen.summary, tags)).collect();
    if let Some(count) = job.latest {
        keep_latest(&mut shown, count);
    }
    for damage in history.damaged.iter().filter(|damage| damage.is_failure()) {
        let message = damage.error.to_string();
        observer.observe(Event::Damage { object: "history".to_owned(), message });
    }
    let odd = history.damage_beside().into_iter().chain(rollback_words(&history.turned_back));
    odd.for_each(|message| observer.observe(Event::Warning { message }));
    let class = history.damaged.iter().any(HistoryDamage::is_failure).then_some(Class::Integrity);
    let list = shown.into_iter().map(|(seen, tags)| ListedSnapshot::new(&seen, tags, &history)).collect();
    let time_zone = calendar.zone_name().to_owned();
    let turned_back = history.turned_back;
    let report = Snapshots { snapshots: list, time_zone, pack_bytes, turned_back };
    Ok(SnapshotList { report, class, present })
}

/// Of each series and host only the newest so many.
fn keep_latest(shown: &mut Vec<(Seen, Vec<String>)>, count: u32) {
    let head_of =
        |one: &(Seen, Vec<String>)| (one.0.summary.head.series.clone(), one.0.summary.head.host.clone());
    let mut groups: BTreeMap<(String, String), Vec<&Summary>> = BTreeMap::new();
    for one in shown.iter() {
        groups.entry(head_of(one)).or_default().push(&one.0.summary);
    }
    let mut latest = HashSet::new();
    for mut members in groups.into_values() {
        members.sort_by_key(|summary| Reverse(summary.rank()));
        latest.extend(members.iter().take(count as usize).map(|summary| summary.id));
    }
    shown.retain(|(seen, _)| latest.contains(&seen.summary.id));
}

/// The snapshot that a name stands for, its tags among all others; only the stream that the name says.
///
/// # Errors
/// When there is none, or it cannot be read.
pub(crate) fn one(
    repo: &Repository,
    name: &SnapshotName,
    from: &Viewpoint,
    calendar: &Calendar,
    observer: &dyn Observer,
) -> Result<(Seen, Vec<String>), OpError> {
    let (mut catalog, mut history) = repo.told(observer)?;
    // Who only looks is told.
    tell_rollback(&mut history, observer);
    let summary = find_in(repo, &mut catalog, &history, name, from, observer)?;
    let all_tags = tags_of(&history.snapshots, calendar);
    let mut paired = history.snapshots.iter().zip(&all_tags);
    let own = paired.find(|(other, _)| other.id == summary.id).map(|(_, tags)| tags.as_slice());
    let tags = tags(own.unwrap_or_default(), &summary);
    let mut body = repo.body(&mut catalog, &summary.id)?;
    if let Some(stream) = &name.stream {
        check_stream(&summary, &body, stream)?;
        body.streams.retain(|own| own.name == *stream);
        body.failed.clear();
    }
    Ok((Seen { summary, body: Some(body) }, tags))
}

/// A snapshot's tags: calendar tags, then the user's.
fn tags(calendar: &[&str], summary: &Summary) -> Vec<String> {
    let user = summary.head.tags.iter().cloned();
    calendar.iter().map(|tag| (*tag).to_owned()).chain(user).collect()
}
