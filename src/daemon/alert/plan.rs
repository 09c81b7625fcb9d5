//! Who is told of what, and when: a function of what is written, of the configuration and of the time, and of nothing
//! else.
//!
//! An alert is a state, and a channel was told of it or was not. So nothing depends on whether a message was made when
//! the state changed: a channel that is new, or was full, or was read wrong, learns of it at the next look. What
//! happened once is a numbered notice, and a channel knows how far it has heard.

use super::message::{Item, Message, local};
use super::{AlertRow, Notice};
use crate::settings::{Alerts, Channel, Way};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// Messages an hour to a channel. What is more comes in one.
pub(crate) const HOURLY_MAX: usize = 20;
pub(in crate::daemon) const HOUR_MS: i64 = 3_600_000;

/// What a channel has heard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Alerts that it was told of, and when last.
    pub told: BTreeMap<i64, i64>,
    /// Notices up to there; `None` for a channel that is new.
    pub seen: Option<i64>,
    /// When its last digest was made.
    pub digest: Option<i64>,
    /// When the messages of the last hour were made.
    pub recent: Vec<i64>,
    /// What jobs did since the last digest: name, good runs, bad runs. Only where a digest is due.
    pub activity: Vec<(String, u64, u64)>,
}

/// Everything that there is to go by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picture {
    /// What is wrong, or was.
    pub alerts: Vec<AlertRow>,
    /// What happened, by number.
    pub notices: Vec<Notice>,
    /// The newest number, whether or not that notice is still there.
    pub newest: i64,
    /// By channel.
    pub heard: BTreeMap<String, Heard>,
}

/// What is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// New messages: the channel, and what to say.
    pub messages: Vec<(String, Message)>,
    /// Who was told of what: channel and alert.
    pub told: Vec<(String, i64)>,
    /// Who was told of an end: nothing is to be remembered of it.
    pub ended: Vec<(String, i64)>,
    /// How far channels have heard.
    pub seen: BTreeMap<String, i64>,
    /// Channels whose digest was made, or whose counting begins.
    pub digests: BTreeSet<String>,
    /// Alerts that are over, and whoever was told knows.
    pub over: Vec<i64>,
    /// Notices up to there are of no use any more.
    pub consumed: i64,
    /// When there may be something to say, if nothing happens.
    pub wake: Option<i64>,
}

/// Who speaks.
pub struct Speaker<'a> {
    /// This host.
    pub host: &'a str,
    /// For times in messages.
    pub zone: &'a TimeZone,
}

/// Whether a digest is due.
pub(crate) fn is_digest_due(channel: &Channel, heard: &Heard, now: i64) -> bool {
    next_digest(channel, heard).is_some_and(|due| due <= now)
}

fn next_digest(channel: &Channel, heard: &Heard) -> Option<i64> {
    let last = Timestamp::from_millisecond(heard.digest?).ok()?;
    Some(channel.digest.as_ref()?.next(last)?.as_millisecond())
}

/// What is to be told now.
pub(crate) fn plan(now: i64, picture: &Picture, settings: &Alerts, speaker: &Speaker<'_>) -> Plan {
    let mut plan = Plan { consumed: picture.newest, ..Plan::default() };
    let nothing = Heard::default();
    for (name, channel) in &settings.channels {
        let heard = picture.heard.get(name).unwrap_or(&nothing);
        let look = Look { now, picture, settings, speaker, name, channel, heard };
        let seen = match &channel.way {
            Way::Ping { .. } => look.pings(&mut plan),
            _ => look.messages(&mut plan),
        };
        if heard.seen != Some(seen) {
            plan.seen.insert(name.clone(), seen);
        }
        plan.consumed = plan.consumed.min(seen);
    }
    let is_waited_for = |alert: &AlertRow| {
        settings.channels.iter().any(|(name, channel)| {
            let was_told = picture.heard.get(name).is_some_and(|heard| heard.told.contains_key(&alert.id));
            let is_told = plan.ended.iter().any(|(told, id)| told == name && *id == alert.id);
            was_told && !is_told && channel.on.contains("recovery")
        })
    };
    let over = picture.alerts.iter().filter(|alert| alert.recovered.is_some() && !is_waited_for(alert));
    plan.over = over.map(|alert| alert.id).collect();
    plan
}

/// A look at one channel.
struct Look<'a> {
    now: i64,
    picture: &'a Picture,
    settings: &'a Alerts,
    speaker: &'a Speaker<'a>,
    name: &'a str,
    channel: &'a Channel,
    heard: &'a Heard,
}

/// Messages that are one because their cause is.
struct Group<'a> {
    event: &'static str,
    condition: &'a str,
    oldest: i64,
    alerts: Vec<&'a AlertRow>,
    notices: Vec<&'a Notice>,
}

impl<'a> Look<'a> {
    /// Every run of a ping's jobs is told, in order, and only that.
    fn pings(&self, plan: &mut Plan) -> i64 {
        let Some(seen) = self.heard.seen else { return self.picture.newest };
        let meant =
            self.picture.notices.iter().filter(|notice| notice.seq > seen && self.is_meant(&notice.subject));
        for notice in meant.filter(|notice| matches!(notice.event.as_str(), "start" | "success" | "failed")) {
            let item = self.item_of(notice);
            let incident = notice.run.clone().unwrap_or_default();
            let message = self.message(&notice.event, "", notice.subject.clone(), incident, vec![item]);
            plan.messages.push((self.name.to_owned(), message));
        }
        self.picture.newest
    }

    fn is_meant(&self, subject: &str) -> bool {
        self.channel.jobs.is_empty() || self.channel.jobs.contains(subject)
    }

    fn wants(&self, topic: &str, subject: &str) -> bool {
        let is_own_trouble = topic == "channel" && subject == self.name;
        self.channel.on.contains(topic) && self.is_meant(subject) && !is_own_trouble
    }

    fn messages(&self, plan: &mut Plan) -> i64 {
        let mut groups: Vec<Group<'a>> = Vec::new();
        self.states(&mut groups, plan);
        let seen = self.happenings(&mut groups, plan);
        self.digest(plan);
        // The most urgent first.
        groups.sort_by_key(|group| (group.event != "failing", group.condition != "integrity", group.oldest));
        if !self.put(groups, plan) {
            return self.heard.seen.unwrap_or(self.picture.newest);
        }
        seen
    }

    /// Alerts that it was not told of, or is to be reminded of, or that have ended.
    fn states(&self, groups: &mut Vec<Group<'a>>, plan: &mut Plan) {
        let remind = i64::try_from(self.channel.remind.as_millis()).unwrap_or(i64::MAX);
        let mut all: BTreeMap<(&'static str, &'a str, &'a str), Vec<_>> = BTreeMap::new();
        for alert in &self.picture.alerts {
            let told = self.heard.told.get(&alert.id).copied();
            let (event, at) = match (told, alert.recovered) {
                (None, None) if alert.acked_by.is_none() && self.wants(&alert.condition, &alert.subject) => {
                    ("failing", alert.since)
                }
                (Some(told), None) if alert.acked_by.is_none() => ("reminder", told),
                (Some(_), Some(ended)) if self.channel.on.contains("recovery") => ("recovered", ended),
                _ => continue,
            };
            all.entry((event, &alert.condition, &alert.cause)).or_default().push((at, alert));
        }
        for ((event, condition, _), members) in all {
            let oldest = members.iter().map(|(at, _)| *at).min().unwrap_or(self.now);
            let wait = if event == "reminder" { remind } else { self.group_ms() };
            if !self.is_ripe(oldest, wait) {
                plan.wake_by(oldest.saturating_add(wait));
                continue;
            }
            // Who is reminded of one is reminded of all that would follow within an hour.
            let near = |at: i64| {
                event != "reminder" || at.saturating_add(remind) <= self.now.saturating_add(HOUR_MS)
            };
            let alerts = members.into_iter().filter(|(at, _)| near(*at)).map(|(_, alert)| alert).collect();
            groups.push(Group { event, condition, oldest, alerts, notices: Vec::new() });
        }
    }

    /// What happened and is no state: missed slots, pauses that ended, users and tokens that changed, and good runs for
    /// whoever wants to know.
    fn happenings(&self, groups: &mut Vec<Group<'a>>, plan: &mut Plan) -> i64 {
        let Some(seen) = self.heard.seen else { return self.picture.newest };
        let topic = |notice: &Notice| match notice.event.as_str() {
            "missed" => Some(("missed", "overdue")),
            "resumed" => Some(("resumed", "recovery")),
            "security" => Some(("security", "security")),
            "success" => Some(("success", "success")),
            _ => None,
        };
        let mut all: BTreeMap<(&'static str, &'static str), Vec<&'a Notice>> = BTreeMap::new();
        for notice in self.picture.notices.iter().filter(|notice| notice.seq > seen) {
            if let Some((event, topic)) = topic(notice)
                && self.wants(topic, &notice.subject)
            {
                all.entry((event, topic)).or_default().push(notice);
            }
        }
        let Some(oldest) = all.values().flatten().map(|notice| notice.at).min() else {
            return self.picture.newest;
        };
        if !self.is_ripe(oldest, self.group_ms()) {
            plan.wake_by(oldest.saturating_add(self.group_ms()));
            return seen;
        }
        for ((event, condition), notices) in all {
            groups.push(Group { event, condition, oldest, alerts: Vec::new(), notices });
        }
        self.picture.newest
    }

    fn digest(&self, plan: &mut Plan) {
        if self.channel.digest.is_none() {
            return;
        }
        if self.heard.digest.is_none() {
            plan.digests.insert(self.name.to_owned());
            return;
        }
        if !is_digest_due(self.channel, self.heard, self.now) {
            plan.wake = plan.wake.into_iter().chain(next_digest(self.channel, self.heard)).min();
            return;
        }
        let mut items: Vec<Item> = self
            .heard
            .activity
            .iter()
            .filter(|(job, ..)| self.is_meant(job))
            .map(|(job, good, bad)| Item {
                condition: "digest".to_owned(),
                subject: job.clone(),
                text: format!("{good} good, {bad} failed"),
                ..Item::default()
            })
            .collect();
        let bad: u64 = self.heard.activity.iter().map(|(_, _, bad)| bad).sum();
        let open = self.picture.alerts.iter().filter(|alert| alert.recovered.is_none());
        // What is only odd is known once somebody said so.
        let open = open.filter(|alert| alert.condition != "warning" || alert.acked_by.is_none());
        items.extend(open.filter(|alert| self.is_meant(&alert.subject)).map(|alert| self.item(alert)));
        let title = if bad == 0 && items.iter().all(|item| item.condition == "digest") {
            "all well"
        } else {
            "see below"
        };
        let message = self.message("digest", "digest", format!("digest: {title}"), String::new(), items);
        plan.messages.push((self.name.to_owned(), message));
        plan.digests.insert(self.name.to_owned());
    }

    fn group_ms(&self) -> i64 {
        i64::try_from(self.settings.group.as_millis()).unwrap_or(i64::MAX)
    }

    /// A clock that was set back keeps nothing waiting.
    fn is_ripe(&self, oldest: i64, wait: i64) -> bool {
        oldest.saturating_add(wait) <= self.now || oldest > self.now.saturating_add(HOUR_MS.max(wait))
    }

    /// As many messages as an hour takes, and the rest in one; nothing where that was sent.
    fn put(&self, groups: Vec<Group<'a>>, plan: &mut Plan) -> bool {
        if groups.is_empty() {
            return true;
        }
        let recent = self.heard.recent.iter().filter(|at| self.now.saturating_sub(**at) < HOUR_MS).count();
        let Some(room) = HOURLY_MAX.checked_sub(recent).filter(|room| *room > 0) else {
            let oldest = self.heard.recent.iter().min().copied().unwrap_or(self.now);
            plan.wake_by(oldest.saturating_add(HOUR_MS));
            return false;
        };
        let mut groups = groups;
        let rest = if groups.len() > room { groups.split_off(room.saturating_sub(1)) } else { Vec::new() };
        for group in &groups {
            let items = self.items(std::slice::from_ref(group));
            let message =
                self.message(group.event, group.condition, self.title(group), incident(group), items);
            plan.messages.push((self.name.to_owned(), message));
        }
        if !rest.is_empty() {
            let items = self.items(&rest);
            let title = format!("{} more alerts in this hour", items.len());
            let message = self.message("summary", "", title, String::new(), items);
            plan.messages.push((self.name.to_owned(), message));
        }
        for group in groups.iter().chain(&rest) {
            let list = if group.event == "recovered" { &mut plan.ended } else { &mut plan.told };
            list.extend(group.alerts.iter().map(|alert| (self.name.to_owned(), alert.id)));
        }
        true
    }

    fn items(&self, groups: &[Group<'a>]) -> Vec<Item> {
        let each = groups.iter().flat_map(|group| {
            let recovered = group.event == "recovered";
            let alerts = group.alerts.iter().map(move |alert| match recovered {
                true => Item {
                    text: format!("is good again ({} was wrong: {})", alert.condition, alert.text),
                    hint: None,
                    ..self.item(alert)
                },
                false => self.item(alert),
            });
            alerts.chain(group.notices.iter().map(|notice| self.item_of(notice)))
        });
        each.collect()
    }

    fn item(&self, alert: &AlertRow) -> Item {
        Item {
            condition: alert.condition.clone(),
            subject: alert.subject.clone(),
            text: alert.text.clone(),
            hint: alert.hint.clone(),
            since: Some(local(alert.since, self.speaker.zone)),
            last_good: alert.last_good.map(|at| local(at, self.speaker.zone)),
            count: alert.count,
            run: alert.run.clone(),
        }
    }

    fn item_of(&self, notice: &Notice) -> Item {
        Item {
            condition: notice.event.clone(),
            subject: notice.subject.clone(),
            text: notice.text.clone(),
            since: Some(local(notice.at, self.speaker.zone)),
            count: 1,
            run: notice.run.clone(),
            ..Item::default()
        }
    }

    fn title(&self, group: &Group<'_>) -> String {
        let subjects: BTreeSet<&str> = (group.alerts.iter().map(|alert| alert.subject.as_str()))
            .chain(group.notices.iter().map(|notice| notice.subject.as_str()))
            .collect();
        let what = match subjects.len() {
            0..=3 => subjects.into_iter().collect::<Vec<_>>().join(", "),
            many if group.event == "security" => format!("{many} users and tokens"),
            many => format!("{many} jobs"),
        };
        let cause = group.alerts.first().map(|alert| alert.cause.as_str()).unwrap_or_default();
        match group.event {
            "failing" => format!("{}: {what}: {cause}", group.condition),
            "reminder" => format!("still {}: {what}: {cause}", group.condition),
            "missed" => format!("missed: {what}"),
            event => format!("{event}: {what}"),
        }
    }

    fn message(
        &self,
        event: &str,
        condition: &str,
        title: String,
        incident: String,
        items: Vec<Item>,
    ) -> Message {
        Message {
            version: 1,
            event: event.to_owned(),
            condition: condition.to_owned(),
            host: self.speaker.host.to_owned(),
            at: local(self.now, self.speaker.zone),
            title: format!("dumpvault {}: {title}", self.speaker.host),
            incident,
            items,
        }
    }
}

/// Messages about the same are threaded: by the number of the first alert.
fn incident(group: &Group<'_>) -> String {
    group.alerts.iter().map(|alert| alert.id).min().map_or_else(String::new, |id| format!("alert-{id}"))
}

impl Plan {
    fn wake_by(&mut self, at: i64) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}
