//! What nobody reports because it does not happen: runs that are overdue, series that get old, a disk that fills.

use super::alert::overdue;
use super::alert::{AlertRow, Fact, SIGN_IN};
use super::book::StateError;
use super::due::Slots;
use super::launch::moment_of;
use super::state::State;
use crate::settings::{Alerts, Job};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How often jobs and series are looked at.
const LOOK_MS: i64 = 60_000;
/// How often the disk is.
const SPACE_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// What somebody mistyped is not told for longer, unless it happens again.
const MISTYPED_MS: i64 = 26 * 3_600_000;
/// So long after the last address that had to wait, nobody guesses passwords any more.
const GUESSING_MS: i64 = 3_600_000;
/// A trend needs so much time behind it, and is told so long ahead.
const TREND_MS: i64 = 2 * DAY_MS;
const FULL_WITHIN_MS: i64 = 14 * DAY_MS;

/// What is looked at.
pub(crate) struct Watch {
    /// This machine, for jitter.
    pub machine: String,
    /// For ages in months.
    pub zone: TimeZone,
    /// Folders of disks that may fill: what each is, and where.
    pub disks: Vec<(&'static str, PathBuf)>,
    looked: i64,
    measured: i64,
}

/// A disk at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    free: u64,
    total: u64,
}

impl Watch {
    /// Has not looked yet.
    pub(crate) fn new(machine: String, zone: TimeZone, disks: Vec<(&'static str, PathBuf)>) -> Self {
        Self { machine, zone, disks, looked: i64::MIN, measured: i64::MIN }
    }

    /// Looks if it is time, and writes down what it finds. Says whether it wrote.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub(crate) fn look(
        &mut self,
        state: &mut State,
        jobs: &BTreeMap<String, Job>,
        alerts: &Alerts,
        now: i64,
    ) -> Result<bool, StateError> {
        if (now.saturating_sub(self.looked)).unsigned_abs() < LOOK_MS.unsigned_abs() {
            return Ok(false);
        }
        let alerts_now = state.alerts()?;
        let mistyped = mistyped(&alerts_now, now);
        let open: BTreeSet<(String, String)> =
            alerts_now.into_iter().map(|alert| (alert.condition, alert.subject)).collect();
        let mut facts = self.jobs(state, jobs, now)?;
        facts.extend(self.series(state, alerts, now)?);
        if now.saturating_sub(self.measured).unsigned_abs() >= SPACE_MS.unsigned_abs() {
            facts.extend(self.space(state, alerts, now)?);
            self.measured = now;
        }
        facts.extend(orphans(&open, jobs, alerts));
        facts.extend(mistyped);
        facts.extend(guessing(state, &open, now)?);
        // Only what changes is written.
        facts.retain(|fact| match fact {
            Fact::Bad { condition, subject, .. } => {
                !open.contains(&((*condition).to_owned(), subject.clone()))
            }
            Fact::Good { condition, subject } => open.contains(&((*condition).to_owned(), subject.clone())),
        });
        if !facts.is_empty() {
            state.state_facts(now, &facts)?;
        }
        self.looked = now;
        Ok(!facts.is_empty())
    }

    fn jobs(&self, state: &State, jobs: &BTreeMap<String, Job>, now: i64) -> Result<Vec<Fact>, StateError> {
        let pasts = state.pasts()?;
        let each = jobs.iter().filter_map(|(name, job)| {
            let past = pasts.get(name)?;
            Some(overdue::fact(name, &Slots::of(&self.machine, name, job), job, past, now))
        });
        Ok(each.collect())
    }

    fn series(&self, state: &State, alerts: &Alerts, now: i64) -> Result<Vec<Fact>, StateError> {
        let known = state.series()?;
        let each = alerts.watched.iter().map(|(name, age)| {
            let subject = format!("series {name}");
            let is_meant = |host: &str, series: &str| match name.split_once('/') {
                Some((wanted, rest)) => wanted == host && rest == series,
                None => name == series,
            };
            let good =
                known.iter().filter(|one| is_meant(&one.host, &one.series)).filter_map(|one| one.good).max();
            let moment = Timestamp::from_millisecond(now).unwrap_or_default();
            let oldest = age.before(moment, &self.zone).as_millisecond();
            match good {
                Some(good) if good >= oldest => Fact::good("overdue", &subject),
                Some(_) => Fact::bad(
                    "overdue",
                    &subject,
                    "too old",
                    "its newest good snapshot is older than `max_age`",
                ),
                None => {
                    Fact::bad("overdue", &subject, "too old", "the repository has no good snapshot of it")
                }
            }
        });
        Ok(each.collect())
    }

    fn space(&self, state: &mut State, alerts: &Alerts, now: i64) -> Result<Vec<Fact>, StateError> {
        let mut facts = Vec::new();
        for (what, path) in &self.disks {
            let Some(space) = space_of(path) else { continue };
            state.note_figure("free_bytes", what, now, space.free)?;
            state.note_figure("total_bytes", what, now, space.total)?;
            let past = state.figures("free_bytes", what, now.saturating_sub(7 * DAY_MS))?;
            facts.push(match trouble(space, &past, alerts.space_below, now) {
                Some(text) => Fact::bad("storage", what, "little space", text),
                None => Fact::good("storage", what),
            });
        }
        Ok(facts)
    }
}

/// Alerts about jobs and series that the configuration has no more.
fn orphans(open: &BTreeSet<(String, String)>, jobs: &BTreeMap<String, Job>, alerts: &Alerts) -> Vec<Fact> {
    let of_jobs = ["failure", "overdue", "warning", "retention", "suspect"];
    let is_gone = |condition: &str, subject: &str| match subject.strip_prefix("series ") {
        Some(series) => condition == "overdue" && !alerts.watched.contains_key(series),
        None => !subject.contains(' ') && subject != "repository" && !jobs.contains_key(subject),
    };
    let gone = open.iter().filter(|(condition, subject)| is_gone(condition, subject));
    gone.filter_map(|(condition, subject)| {
        let condition = of_jobs.into_iter().find(|known| known == condition)?;
        Some(Fact::good(condition, subject))
    })
    .collect()
}

/// Commands by hand that were refused for how they were written, a day ago or longer. A crontab writes its line every
/// night; for whoever mistyped a name once, no good run of the same line will come.
fn mistyped(alerts: &[AlertRow], now: i64) -> Vec<Fact> {
    let is_old = |alert: &&AlertRow| {
        let last = alert.run.as_deref().and_then(moment_of).unwrap_or(alert.since);
        let is_command = alert.subject.starts_with("backup ") || alert.subject.starts_with("run ");
        is_command
            && alert.condition == "failure"
            && alert.cause == "exit code 3"
            && now.saturating_sub(last) > MISTYPED_MS
    };
    alerts.iter().filter(is_old).map(|alert| Fact::good("failure", &alert.subject)).collect()
}

/// The end of guessing: the page itself says when it begins.
fn guessing(state: &State, open: &BTreeSet<(String, String)>, now: i64) -> Result<Option<Fact>, StateError> {
    if !open.contains(&("security".to_owned(), SIGN_IN.to_owned())) {
        return Ok(None);
    }
    let last = state.last_noted("security")?;
    let is_over = last.is_none_or(|last| now.saturating_sub(last).saturating_abs() > GUESSING_MS);
    Ok(is_over.then(|| Fact::good("security", SIGN_IN)))
}

fn space_of(path: &Path) -> Option<Space> {
    // A folder that is not there yet will be where its parent is.
    let there = path.ancestors().find(|folder| folder.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some(Space { free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
}

/// What is wrong with a disk: too little is free, or soon nothing by the line through the past.
fn trouble(space: Space, past: &[(i64, f64)], below: f64, now: i64) -> Option<String> {
    let (free, total) = (space.free as f64, space.total as f64);
    if below <= 0.0 || total <= 0.0 {
        return None;
    }
    if free < below * total {
        return Some(format!("{:.1} % of the disk is free", 100.0 * free / total));
    }
    let first = past.first().map(|(at, _)| *at)?;
    if now.saturating_sub(first) < TREND_MS {
        return None;
    }
    let left = time_left(past, free)?;
    let (limit, day) = (FULL_WITHIN_MS as f64, DAY_MS as f64);
    (left < limit)
        .then(|| format!("the disk will be full in {:.0} days by the trend of a week", (left / day).max(0.0)))
}

/// Milliseconds until nothing is free, by least squares; `None` where there is no end.
fn time_left(past: &[(i64, f64)], free: f64) -> Option<f64> {
    let (origin, _) = *past.first()?;
    let count = past.len() as f64;
    let times = past.iter().map(|(at, value)| ((at - origin) as f64, *value));
    let (mean_time, mean) =
        times.clone().fold((0.0, 0.0), |(a, b), (time, value)| (a + time / count, b + value / count));
    let (up, down) = times.fold((0.0, 0.0), |(up, down), (time, value)| {
        (up + (time - mean_time) * (value - mean), down + (time - mean_time) * (time - mean_time))
    });
    let slope = if down > 0.0 { up / down } else { 0.0 };
    (slope < 0.0).then(|| free / -slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::schedule::Schedule;
    use crate::base::series::SeenSeries;
    use crate::daemon::book::{Changes, Ending, OpenRun, RunChange, RunId, Store, Trigger};
    use crate::daemon::launch::id_of;
    use crate::settings::{CatchUp, Overlap, Retry, Work};
    use std::time::Duration;

    #[test]
    fn a_command_that_was_mistyped_is_told_for_a_day_and_a_crontab_as_long_as_it_is_wrong() {
        let now = 1_800_000_000_000;
        let alert = |subject: &str, cause: &str, age: i64| AlertRow {
            id: 1,
            condition: "failure".to_owned(),
            subject: subject.to_owned(),
            cause: cause.to_owned(),
            since: now - 9 * DAY_MS,
            count: 1,
            text: String::new(),
            hint: None,
            run: Some(id_of("command", now - age).0),
            acked_by: None,
            note: None,
            recovered: None,
            last_good: None,
        };
        let ended =
            |subject: &str, cause: &str, age| !mistyped(&[alert(subject, cause, age)], now).is_empty();
        assert!(ended("backup ap", "exit code 3", MISTYPED_MS + 1));
        assert!(!ended("backup ap", "exit code 3", DAY_MS), "last night's");
        assert!(!ended("backup app", "exit code 2", 3 * DAY_MS), "a good one will end it");
        assert!(!ended("nightly", "exit code 3", 3 * DAY_MS), "a job has runs");
    }

    /// What is overdue by then, as a watch that begins anew finds it.
    fn overdue_at(state: &mut State, job: &Job, watched: &[(&str, &str)], now: i64) -> Vec<(String, String)> {
        let jobs = BTreeMap::from([("nightly".to_owned(), job.clone())]);
        let age = |text| crate::settings::age(text, "max_age").unwrap();
        let alerts = Alerts {
            channels: BTreeMap::new(),
            group: Duration::ZERO,
            space_below: 0.0,
            watched: watched.iter().map(|(name, text)| ((*name).to_owned(), age(text))).collect(),
        };
        let mut watch = Watch::new("machine".to_owned(), TimeZone::UTC, Vec::new());
        watch.look(state, &jobs, &alerts, now).unwrap();
        let found = state.alerts().unwrap().into_iter().filter(|alert| alert.condition == "overdue");
        found.map(|alert| (alert.subject, alert.text)).collect()
    }

    fn hourly() -> Job {
        Job {
            work: Work::Backup { sources: vec!["app".to_owned()] },
            schedule: Schedule::every(Duration::from_secs(3600), TimeZone::UTC).unwrap(),
            jitter: Duration::ZERO,
            catch_up: CatchUp::Always,
            overlap: Overlap::Skip,
            timeout: None,
            stall: Duration::from_secs(900),
            retry: Retry { attempts: 3, first: Duration::from_secs(60), factor: 5 },
            grace: Duration::from_secs(1800),
            enabled: true,
            run_at_start: false,
        }
    }

    /// A run of a slot: it is queued then, and ends well if `ends`.
    fn run(state: &mut State, id: &str, (slot, queued): (i64, i64), ends: bool) {
        let id = RunId(id.to_owned());
        let mut changes = Changes::new(queued);
        changes.queued.push(OpenRun {
            id: id.clone(),
            job: "nightly".to_owned(),
            kind: "backup".to_owned(),
            trigger: Trigger::Schedule,
            slot: Some(slot),
            queued,
            not_before: queued,
            attempt: 0,
            started: None,
            parts: Vec::new(),
        });
        state.commit(&changes).unwrap();
        if ends {
            let mut changes = Changes::new(queued);
            changes.runs.push((id.clone(), RunChange::Starts));
            state.commit(&changes).unwrap();
            let mut changes = Changes::new(queued);
            let ending = Ending { reason: None, exit: Some(0) };
            changes.runs.push((id, RunChange::Ended { ok: true, ending }));
            state.commit(&changes).unwrap();
        }
    }

    #[test]
    fn a_job_is_overdue_once_its_grace_is_over_without_a_good_run_and_no_sooner() {
        const HOUR: i64 = 3_600_000;
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::open(folder.path()).unwrap();
        let (job, begin) = (hourly(), 500_000 * HOUR);
        let text = job.schedule.text();
        state.pause("nightly", &text, None, begin, "me").unwrap();
        let is = |state: &mut State, now: i64| {
            overdue_at(state, &hourly(), &[], now).pop().map(|(subject, text)| {
                assert_eq!(subject, "nightly");
                text
            })
        };
        let grace = HOUR / 2;
        assert_eq!(is(&mut state, begin + HOUR + grace), None, "its grace is not over");
        let said = is(&mut state, begin + HOUR + grace + 1).expect("nothing ran");
        assert!(said.contains("never had a good run"), "{said}");
        // A good run of that slot ends it, and begins the time of the next.
        run(&mut state, "1", (begin + HOUR, begin + 2 * HOUR - 1), true);
        assert_eq!(is(&mut state, begin + 2 * HOUR + grace), None);
        let said = is(&mut state, begin + 2 * HOUR + grace + 1).expect("the second slot had no run");
        assert!(said.contains("no good run within `grace`"), "{said}");
        // Nothing is said of a job that is paused, disabled, or at it for no longer than its grace.
        let late = begin + 10 * HOUR;
        state.pause("nightly", &text, Some(late + 1), late, "me").unwrap();
        assert_eq!(is(&mut state, late), None);
        state.pause("nightly", &text, None, late, "me").unwrap();
        assert!(is(&mut state, late).is_some());
        let disabled = Job { enabled: false, ..hourly() };
        assert_eq!(overdue_at(&mut state, &disabled, &[], late), []);
        run(&mut state, "2", (begin + 2 * HOUR, late), false);
        assert_eq!(is(&mut state, late + grace), None);
        assert!(is(&mut state, late + grace + 1).is_some(), "it hangs");
    }

    #[test]
    fn a_series_of_another_host_is_overdue_once_its_newest_good_snapshot_is_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::open(folder.path()).unwrap();
        let (now, day) = (1_800_000_000_000, DAY_MS);
        let series = |host: &str, series: &str, good: Option<i64>| SeenSeries {
            host: host.to_owned(),
            series: series.to_owned(),
            newest: Some(now),
            good,
            complete: 1,
            ..SeenSeries::default()
        };
        let all = [
            series("db1", "app", Some(now - day)),
            series("db2", "app", Some(now - 3 * day)),
            series("db1", "bad", None),
        ];
        state.note_series(&all, now).unwrap();
        let watched = [("app", "26h"), ("bad", "26h"), ("db1/app", "1d"), ("db2/app", "1d"), ("none", "1d")];
        let found = overdue_at(&mut state, &hourly(), &watched, now);
        let subjects: Vec<&str> = found.iter().map(|(subject, _)| subject.as_str()).collect();
        assert_eq!(subjects, ["series bad", "series db2/app", "series none"]);
        assert!(found[1].1.contains("older than `max_age`") && found[2].1.contains("no good snapshot"));
        // Whatever was written since, and whatever nobody watches any more, is not.
        state.note_series(&[series("db2", "app", Some(now + day))], now + day).unwrap();
        let found = overdue_at(&mut state, &hourly(), &[("db2/app", "1d"), ("none", "1d")], now + day);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "series none");
    }

    #[test]
    fn guessing_is_over_an_hour_after_the_last_address_that_had_to_wait() {
        use crate::daemon::book::Note;
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::open(folder.path()).unwrap();
        let now = 1_800_000_000_000;
        let note = |kind| Note { kind, object: "x".to_owned(), text: String::new() };
        state.note(&note("security"), now - 2 * GUESSING_MS, "nobody").unwrap();
        state.note(&note("security"), now, "nobody").unwrap();
        state.note(&note("login"), now + GUESSING_MS, "nobody").unwrap();
        let open = BTreeSet::from([("security".to_owned(), SIGN_IN.to_owned())]);
        assert_eq!(guessing(&state, &open, now + GUESSING_MS).unwrap(), None);
        let over = Some(Fact::good("security", SIGN_IN));
        assert_eq!(guessing(&state, &open, now + GUESSING_MS + 1).unwrap(), over);
        assert_eq!(
            guessing(&state, &BTreeSet::new(), now + 2 * GUESSING_MS).unwrap(),
            None,
            "nobody was told"
        );
    }

    #[test]
    fn a_disk_is_told_of_when_it_is_nearly_full_or_will_be() {
        let now = 100 * DAY_MS;
        let disk = |free| Space { free, total: 1000 };
        assert_eq!(trouble(disk(500), &[], 0.1, now), None);
        assert_eq!(trouble(disk(99), &[], 0.1, now).unwrap(), "9.9 % of the disk is free");
        assert_eq!(trouble(disk(99), &[], 0.0, now), None, "it was switched off");
        let falling = |by: i64| -> Vec<(i64, f64)> {
            (0..7)
                .map(|day| (now - (6 - day) * DAY_MS, f64::from(u32::try_from(500 - day * by).unwrap())))
                .collect()
        };
        // 200 left, 50 a day.
        assert_eq!(
            trouble(disk(200), &falling(50), 0.1, now).unwrap(),
            "the disk will be full in 4 days by the trend of a week"
        );
        assert_eq!(trouble(disk(200), &falling(10), 0.1, now), None, "20 days are more than 14");
        assert_eq!(trouble(disk(200), &falling(0), 0.1, now), None);
        assert_eq!(trouble(disk(200), &falling(50)[5..], 0.1, now), None, "a day is no trend");
        let growing: Vec<(i64, f64)> =
            falling(50).into_iter().map(|(at, value)| (at, 1000.0 - value)).collect();
        assert_eq!(trouble(disk(200), &growing, 0.1, now), None);
    }
}
