//! Metrics for Prometheus: what the state says, in its text form. The repository is not asked, and what is not known is
//! left out.

use super::alert::overdue;
use super::book::StateError;
use super::due::Slots;
use super::state::{JobFigures, State};
use crate::settings::Job;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A metric: its name, what it is, and its samples.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Vec<(String, f64)>,
}

/// Collects samples, each family in its place.
#[derive(Default)]
struct Page {
    families: Vec<Family>,
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let each: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", label(value))).collect();
    if each.is_empty() { String::new() } else { format!("{{{}}}", each.join(",")) }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

impl Page {
    fn put(
        &mut self,
        name: &'static str,
        kind: &'static str,
        help: &'static str,
        at: &[(&str, &str)],
        value: Option<f64>,
    ) {
        let Some(value) = value else { return };
        let sample = (labels(at), value);
        match self.families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push(sample),
            None => self.families.push(Family { name, kind, help, samples: vec![sample] }),
        }
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, at: &[(&str, &str)], value: Option<f64>) {
        self.put(name, "gauge", help, at, value);
    }

    fn counter(&mut self, name: &'static str, help: &'static str, at: &[(&str, &str)], value: Option<f64>) {
        self.put(name, "counter", help, at, value);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Family { name, kind, help, samples } in &self.families {
            // Writing into a string does not fail.
            let _ = writeln!(text, "# HELP dumpvault_{name} {help}\n# TYPE dumpvault_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "dumpvault_{name}{labels} {value}");
            }
        }
        text
    }
}

/// Everything that the state says of these jobs, in Prometheus' text form.
///
/// # Errors
/// When the state cannot be read.
pub fn render(
    state: &State,
    jobs: &BTreeMap<String, Job>,
    machine: &str,
    now: i64,
) -> Result<String, StateError> {
    let mut page = Page::default();
    page.gauge(
        "build_info",
        "The version of the program.",
        &[("version", env!("CARGO_PKG_VERSION"))],
        Some(1.0),
    );
    let heartbeat = state.counter("heartbeat")?.map(seconds);
    page.gauge(
        "scheduler_heartbeat_timestamp_seconds",
        "When the scheduler last decided; absent where none ever ran.",
        &[],
        heartbeat,
    );
    page.counter("clock_jumps_total", "Jumps of the clock.", &[], Some(state.clock_jumps()? as f64));
    let (pasts, figures) = (state.pasts()?, state.job_figures()?);
    let nothing = JobFigures::default();
    for (name, job) in jobs {
        let task = [("task", name.as_str())];
        let slots = Slots::of(machine, name, job);
        let past = pasts.get(name).copied();
        let own = figures.get(name).unwrap_or(&nothing);
        let zone = job.schedule.zone().iana_name().unwrap_or("UTC").to_owned();
        let info = [("task", name.as_str()), ("kind", job.work.word()), ("time_zone", zone.as_str())];
        page.gauge("job_info", "The jobs of the configuration.", &info, Some(1.0));
        page.gauge("job_enabled", "Whether the job runs at all.", &task, Some(flag(job.enabled)));
        schedule(&mut page, &task, job, &slots, past, now);
        running(&mut page, &task, own);
        last(&mut page, &task, own);
        counts(&mut page, name, own);
    }
    series(&mut page, state)?;
    repository(&mut page, state, jobs, &figures)?;
    notifications(&mut page, state)?;
    Ok(page.text())
}

fn schedule(
    page: &mut Page,
    task: &[(&str, &str)],
    job: &Job,
    slots: &Slots<'_>,
    past: Option<overdue::Past>,
    now: i64,
) {
    let until = past.and_then(|past| past.paused_until).filter(|until| *until > now);
    page.gauge(
        "job_paused_until_timestamp_seconds",
        "When the pause of the job ends; absent where it is not paused.",
        task,
        until.map(seconds),
    );
    let from = until.unwrap_or(now);
    let next = slots.next(from).map(|(_, due)| due).filter(|_| job.enabled);
    page.gauge("job_next_run_timestamp_seconds", "When the job runs next.", task, next.map(seconds));
    let Some(past) = past else { return };
    let deadline = overdue::deadline(slots, job, &past);
    page.gauge(
        "job_deadline_timestamp_seconds",
        "When there must have been a good run.",
        task,
        deadline.map(seconds),
    );
    let is_overdue = overdue::is_overdue(deadline, job, &past, now);
    page.gauge("job_overdue", "Whether a slot had no good run in time.", task, Some(flag(is_overdue)));
}

fn running(page: &mut Page, task: &[(&str, &str)], own: &JobFigures) {
    page.gauge("job_running", "Whether a run is under way.", task, Some(flag(own.running_since.is_some())));
    page.gauge(
        "job_running_since_timestamp_seconds",
        "Since when it is.",
        task,
        own.running_since.map(seconds),
    );
}

fn last(page: &mut Page, task: &[(&str, &str)], own: &JobFigures) {
    let number = |value: Option<i64>| value.map(|value| value as f64);
    page.gauge(
        "job_last_start_timestamp_seconds",
        "When the newest run began.",
        task,
        own.last_start.map(seconds),
    );
    page.gauge(
        "job_last_success_timestamp_seconds",
        "When the newest good run ended.",
        task,
        own.last_success.map(seconds),
    );
    page.gauge(
        "job_last_failure_timestamp_seconds",
        "When the newest bad run ended.",
        task,
        own.last_failure.map(seconds),
    );
    let failures = (own.last_success.is_some() || own.last_failure.is_some()).then_some(own.failures);
    page.gauge("job_consecutive_failures", "Bad runs since the last good one.", task, number(failures));
    page.gauge(
        "job_last_duration_seconds",
        "How long the newest good run took.",
        task,
        own.last_duration.map(seconds),
    );
    page.gauge("job_last_plain_bytes", "Size of what the newest good run read.", task, number(own.bytes));
    page.gauge("job_last_new_bytes", "How much of that was new.", task, number(own.new));
    page.gauge("job_last_stored_bytes", "How much it added to the storage.", task, number(own.stored));
    page.gauge("job_last_rows", "Rows of all tables in it.", task, number(own.rows));
    page.gauge("job_last_tables", "Tables in it.", task, number(own.tables));
}

fn counts(page: &mut Page, name: &str, own: &JobFigures) {
    let task = [("task", name)];
    for (status, count) in [("completed", own.completed), ("failed", own.failed)] {
        page.counter(
            "job_runs_total",
            "Runs that have ended, by how.",
            &[("task", name), ("status", status)],
            Some(count as f64),
        );
    }
    page.counter("job_missed_slots_total", "Slots that were missed.", &task, Some(own.missed as f64));
    page.counter(
        "job_skipped_total",
        "Slots that were skipped because the job still ran.",
        &task,
        Some(own.skipped as f64),
    );
    page.counter("job_retries_total", "Attempts behind the first.", &task, Some(own.retries as f64));
}

fn series(page: &mut Page, state: &State) -> Result<(), StateError> {
    for one in state.series()? {
        let at = [("host", one.host.as_str()), ("series", one.series.as_str())];
        page.gauge(
            "series_newest_snapshot_timestamp_seconds",
            "Moment of the newest good snapshot.",
            &at,
            one.good.map(seconds),
        );
        for (word, count) in [("complete", one.complete), ("partial", one.partial), ("suspect", one.suspect)]
        {
            let at = [("host", one.host.as_str()), ("series", one.series.as_str()), ("state", word)];
            page.gauge("series_snapshots", "Snapshots that are kept.", &at, Some(count as f64));
        }
        page.gauge(
            "series_last_verified_timestamp_seconds",
            "When a snapshot was last restored and compared.",
            &at,
            one.verified.map(seconds),
        );
        page.gauge(
            "series_last_checked_timestamp_seconds",
            "When a check last found one whole.",
            &at,
            one.checked.map(seconds),
        );
        page.gauge(
            "series_suspect",
            "Whether the newest snapshot is suspect.",
            &at,
            Some(flag(one.is_suspect)),
        );
    }
    let looked = state.counter("looked")?.map(seconds);
    page.gauge(
        "repository_looked_timestamp_seconds",
        "When the repository was last looked at for the series.",
        &[],
        looked,
    );
    Ok(())
}

fn repository(
    page: &mut Page,
    state: &State,
    jobs: &BTreeMap<String, Job>,
    figures: &BTreeMap<String, JobFigures>,
) -> Result<(), StateError> {
    use crate::settings::Work;
    let mut checks: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, job) in jobs {
        let Work::Check { part } = job.work else { continue };
        let mode = match part {
            None => "metadata",
            Some(part) if part < 1.0 => "part",
            Some(_) => "all",
        };
        if let Some(at) = figures.get(name).and_then(|own| own.last_success) {
            checks.entry(mode).and_modify(|before| *before = at.max(*before)).or_insert(at);
        }
    }
    for (mode, at) in checks {
        page.gauge(
            "check_last_success_timestamp_seconds",
            "When a check last found nothing wrong.",
            &[("mode", mode)],
            Some(seconds(at)),
        );
    }
    for (name, label, value) in state.newest_figures()? {
        let disk = [("disk", label.as_str())];
        match (name.as_str(), label.as_str()) {
            ("free_bytes", "repository") => {
                page.gauge("repository_free_bytes", "Free space where the repository lies.", &[], Some(value))
            }
            ("total_bytes", "repository") => {
                page.gauge("repository_disk_bytes", "Size of the disk where it lies.", &[], Some(value))
            }
            ("free_bytes", _) => {
                page.gauge("disk_free_bytes", "Free space of other disks.", &disk, Some(value))
            }
            ("damaged_objects", _) => page.gauge(
                "damaged_objects",
                "Packs and snapshots that are known to be damaged.",
                &[],
                Some(value),
            ),
            _ => {}
        }
    }
    Ok(())
}

fn notifications(page: &mut Page, state: &State) -> Result<(), StateError> {
    for (channel, result, count) in state.delivery_counts()? {
        let at = [("channel", channel.as_str()), ("result", result.as_str())];
        page.counter("notifications_total", "Messages by what became of them.", &at, Some(count as f64));
    }
    let oldest = state.oldest_pending()?.map(seconds);
    page.gauge(
        "notification_oldest_pending_timestamp_seconds",
        "The oldest message that waits; absent where none does.",
        &[],
        oldest,
    );
    let open = state.alerts()?.len();
    page.gauge("alerts_open", "What is wrong now.", &[], Some(open as f64));
    let failures = state.counter("login_failures")?.map(|count| count as f64);
    page.counter("login_failures_total", "Logins that failed.", &[], failures);
    page.gauge("state_bytes", "Size of the state.", &[], state.bytes().map(|bytes| bytes as f64));
    Ok(())
}
