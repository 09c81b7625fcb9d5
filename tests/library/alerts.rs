//! Who is told of what and when, over weeks of virtual time: the real state, and receivers that are down.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dumpvault::base::clock::Clock;
use dumpvault::base::secret::OsEntropy;
use dumpvault::daemon::alert::Fact;
use dumpvault::daemon::alert::message::Message;
use dumpvault::daemon::alert::post::Postman;
use dumpvault::daemon::alert::send::SendError;
use dumpvault::daemon::book::{
    Changes, Decision, Ending, OpenRun, RunChange, RunId, SlotRow, Store, Trigger,
};
use dumpvault::daemon::state::State;
use dumpvault::engine::app::{Settings, settings};
use dumpvault::settings::{Alerts, Environment, Flags};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A Tuesday.
const BEGIN: i64 = 1_796_083_200_000;

#[derive(Clone)]
struct Hands(Arc<Mutex<i64>>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(*self.0.lock().unwrap()).unwrap()
    }
}

/// A message as it came: when, on which channel, its id, and what.
type Told = (i64, String, String, Message);

struct World {
    folder: tempfile::TempDir,
    state: State,
    clock: Hands,
    alerts: Alerts,
    postman: Postman,
    told: Arc<Mutex<Vec<Told>>>,
    /// Channels that take nothing: the address of each is its name.
    down: Arc<Mutex<BTreeSet<String>>>,
    runs: u64,
}

fn configured(toml: &str) -> Alerts {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, toml).unwrap();
    let environment = Environment {
        variables: std::collections::HashMap::new(),
        directory: folder.path().to_owned(),
        uid: rustix::process::geteuid().as_raw(),
        is_interactive: false,
    };
    let mut flags = Flags::default();
    flags.say("--config", Some(path));
    let read: Settings = settings(&flags, &environment).unwrap();
    read.alerts
}

impl World {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Hands(Arc::new(Mutex::new(BEGIN)));
        let (told, down) = (Arc::<Mutex<Vec<Told>>>::default(), Arc::<Mutex<BTreeSet<String>>>::default());
        let (heard, dead, hands) = (Arc::clone(&told), Arc::clone(&down), clock.clone());
        let postman = Postman {
            state: folder.path().to_owned(),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(OsEntropy),
            host: "db1".to_owned(),
            zone: TimeZone::UTC,
            deliver: Arc::new(move |channel, message, id, _| {
                let name = match &channel.way {
                    dumpvault::settings::Way::Command { command, .. } => command.clone(),
                    way => panic!("{way:?}"),
                };
                if dead.lock().unwrap().contains(&name) {
                    return Err(SendError { reason: "down".to_owned(), is_permanent: false });
                }
                let now = hands.now().as_millisecond();
                heard.lock().unwrap().push((now, name, id.to_owned(), message.clone()));
                Ok(())
            }),
        };
        let state = State::open(folder.path()).unwrap();
        Self { state, folder, clock, alerts: configured(toml), postman, told, down, runs: 0 }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Time passes, and the thread that tells comes as often as it wants to.
    fn pass(&mut self, time: i64) {
        let end = self.now() + time;
        loop {
            let wake = self.postman.round(&mut self.state, &self.alerts).unwrap();
            let now = self.now();
            if wake >= end || now >= end {
                break;
            }
            *self.clock.0.lock().unwrap() = wake.max(now + 1000);
        }
        *self.clock.0.lock().unwrap() = end;
        self.postman.round(&mut self.state, &self.alerts).unwrap();
    }

    /// A run of a job that ends now: well, or with that exit code.
    fn run(&mut self, job: &str, exit: i32) {
        self.runs += 1;
        let (id, now) = (RunId(format!("{:08}", self.runs)), self.now());
        let mut changes = Changes::new(now);
        changes.queued.push(OpenRun {
            id: id.clone(),
            job: job.to_owned(),
            kind: "backup".to_owned(),
            trigger: Trigger::Manual,
            slot: None,
            queued: now,
            not_before: now,
            attempt: 0,
            started: None,
            parts: Vec::new(),
        });
        self.state.commit(&changes).unwrap();
        let mut changes = Changes::new(now);
        changes.runs.push((id.clone(), RunChange::Starts));
        self.state.commit(&changes).unwrap();
        let mut changes = Changes::new(now);
        let reason = (exit != 0).then(|| format!("bad (exit code {exit})"));
        changes.facts.push(match exit {
            0 => Fact::good("failure", job),
            _ => Fact::Bad {
                condition: "failure",
                subject: job.to_owned(),
                cause: format!("bad (exit code {exit})"),
                text: "backup failed".to_owned(),
                hint: None,
                run: Some(id.0.clone()),
            },
        });
        changes
            .runs
            .push((id, RunChange::Ended { ok: exit == 0, ending: Ending { reason, exit: Some(exit) } }));
        self.state.commit(&changes).unwrap();
    }

    fn events(&self) -> Vec<String> {
        self.told.lock().unwrap().iter().map(|(.., message)| message.event.clone()).collect()
    }

    fn of(&self, channel: &str) -> Vec<Told> {
        self.told.lock().unwrap().iter().filter(|(_, name, ..)| name == channel).cloned().collect()
    }
}

fn channel(name: &str, more: &str) -> String {
    format!("[alert.{name}]\nkind = \"command\"\ncommand = \"{name}\"\n{more}\n")
}

#[test]
fn fifty_jobs_that_fail_by_one_cause_are_one_message_and_another_cause_is_another() {
    let mut world = World::new(&channel("ops", ""));
    for job in 0..50 {
        world.run(&format!("job{job}"), 12);
        world.pass(200);
    }
    world.run("other", 2);
    world.pass(10 * MINUTE);
    let told = world.of("ops");
    assert_eq!(told.len(), 2, "{told:?}");
    let counts: Vec<usize> = told.iter().map(|(.., message)| message.items.len()).collect();
    assert_eq!(counts, [50, 1]);
    assert!(
        told[0].3.title.contains("50 jobs") && told[0].3.title.contains("exit code 12"),
        "{}",
        told[0].3.title
    );
}

#[test]
fn the_same_failure_for_a_week_is_one_message_six_reminders_and_one_recovery() {
    let mut world = World::new(&channel("ops", ""));
    world.run("nightly", 0);
    for _ in 0..7 {
        world.run("nightly", 2);
        world.pass(DAY);
    }
    let before = world.events();
    world.run("nightly", 0);
    world.pass(3 * DAY);
    assert_eq!(before.iter().filter(|event| *event == "failing").count(), 1, "{before:?}");
    assert_eq!(before.iter().filter(|event| *event == "reminder").count(), 6, "{before:?}");
    assert_eq!(world.events()[before.len()..], ["recovered"]);
    let last = world.of("ops")[6].3.clone();
    assert_eq!(last.items[0].count, 7);
    assert!(last.items[0].last_good.is_some());
    assert!(world.state.alerts().unwrap().is_empty());
}

#[test]
fn thirty_good_days_are_four_digests_and_nothing_else() {
    let mut world = World::new(&channel("ops", "on = [\"failure\", \"recovery\", \"digest\"]"));
    for _ in 0..30 {
        world.run("nightly", 0);
        world.pass(DAY);
    }
    assert_eq!(world.events(), ["digest"; 4]);
    let message = world.of("ops")[1].3.clone();
    assert!(message.title.ends_with("all well"), "{}", message.title);
    assert_eq!(message.items[0].text, "7 good, 0 failed");
}

#[test]
fn a_success_is_told_to_whoever_asks_and_to_nobody_else() {
    let mut world = World::new(
        &(channel("all", "on = [\"success\"]\njobs = [\"a\"]")
            + &channel("ops", "")
            + "[job.a]\ncommand = \"true\"\ncron = \"@daily\"\n"),
    );
    world.pass(MINUTE);
    world.run("a", 0);
    world.run("b", 0);
    world.pass(MINUTE);
    world.run("a", 0);
    world.pass(MINUTE);
    let told = world.told.lock().unwrap().clone();
    assert!(told.iter().all(|(_, name, _, message)| name == "all" && message.event == "success"), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn a_channel_that_is_down_for_two_hours_gets_it_once_afterwards() {
    let mut world = World::new(&channel("ops", ""));
    world.down.lock().unwrap().insert("ops".to_owned());
    world.run("nightly", 2);
    world.pass(2 * HOUR);
    assert!(world.events().is_empty());
    world.down.lock().unwrap().clear();
    world.pass(2 * HOUR);
    assert_eq!(world.events(), ["failing"]);
}

#[test]
fn a_channel_that_is_down_for_a_day_is_told_to_the_others() {
    let mut world = World::new(&(channel("mail", "") + &channel("pager", "")));
    world.down.lock().unwrap().insert("mail".to_owned());
    world.run("nightly", 2);
    world.pass(23 * HOUR);
    assert_eq!(world.events(), ["failing"], "only the pager");
    world.pass(3 * HOUR);
    let told = world.of("pager");
    assert!(
        told.iter().any(|(.., message)| message.condition == "channel" && message.items[0].subject == "mail"),
        "{told:?}"
    );
    // It works again: the next message ends that alert.
    world.down.lock().unwrap().clear();
    world.pass(DAY);
    assert!(world.state.alerts().unwrap().iter().all(|alert| alert.condition != "channel"));
}

#[test]
fn a_restart_between_delivery_and_its_note_repeats_one_message_under_the_same_id() {
    let mut world = World::new(&channel("ops", ""));
    world.run("nightly", 2);
    world.pass(20_000);
    *world.clock.0.lock().unwrap() += MINUTE;
    // What was sent cannot be written down: the process dies there, or the disk is full.
    let heard = Arc::clone(&world.told);
    let folder = world.folder.path().to_owned();
    let inner = Arc::clone(&world.postman.deliver);
    world.postman.deliver = Arc::new(move |channel, message, id, now| {
        inner(channel, message, id, now)?;
        let db = rusqlite::Connection::open(folder.join("schedule.sqlite")).unwrap();
        db.execute_batch(
            "CREATE TRIGGER full BEFORE UPDATE ON delivery BEGIN SELECT raise(FAIL, 'disk full'); END",
        )
        .unwrap();
        Ok(())
    });
    assert!(world.postman.round(&mut world.state, &world.alerts).is_err());
    let db = rusqlite::Connection::open(world.folder.path().join("schedule.sqlite")).unwrap();
    db.execute_batch("DROP TRIGGER full").unwrap();
    let mut fresh = World::new(&channel("ops", ""));
    fresh.state = State::open(world.folder.path()).unwrap();
    *fresh.clock.0.lock().unwrap() = world.now() + MINUTE;
    fresh.pass(HOUR);
    let (first, second) = (heard.lock().unwrap().clone(), fresh.of("ops"));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(first[0].2, second[0].2, "the id is the same");
}

#[test]
fn more_than_twenty_messages_an_hour_come_in_one_and_none_is_lost() {
    let mut world = World::new(&channel("ops", ""));
    for exit in 20..60 {
        world.run(&format!("job{exit}"), exit);
    }
    world.pass(30 * MINUTE);
    let told = world.of("ops");
    assert_eq!(told.len(), 20);
    let subjects: BTreeSet<String> =
        told.iter().flat_map(|(.., message)| &message.items).map(|item| item.subject.clone()).collect();
    assert_eq!(subjects.len(), 40, "the last one tells all others");
    assert_eq!(told.iter().filter(|(.., message)| message.event == "summary").count(), 1);
    world.run("late", 2);
    world.pass(10 * MINUTE);
    assert_eq!(world.of("ops").len(), 20);
    world.pass(HOUR);
    assert_eq!(world.of("ops").last().unwrap().3.items[0].subject, "late");
}

#[test]
fn an_acknowledged_alert_is_not_reminded_of_and_its_end_is_told() {
    let mut world = World::new(&channel("ops", ""));
    world.run("nightly", 2);
    world.pass(HOUR);
    let now = world.now();
    assert_eq!(world.state.acknowledge("nightly", None, Some("known"), now, "me").unwrap(), 1);
    world.pass(5 * DAY);
    assert_eq!(world.events(), ["failing"]);
    world.run("nightly", 0);
    world.pass(HOUR);
    assert_eq!(world.events(), ["failing", "recovered"]);
}

#[test]
fn missed_slots_of_several_jobs_after_a_downtime_are_one_message() {
    let mut world = World::new(&channel("ops", ""));
    world.pass(MINUTE);
    let mut changes = Changes::new(world.now());
    for job in ["a", "b", "c"] {
        changes.slots.push(SlotRow {
            job: job.to_owned(),
            at: BEGIN - DAY,
            decision: Decision::Missed,
            covers: 2,
            run: None,
        });
    }
    world.state.commit(&changes).unwrap();
    for job in ["a", "b", "c"] {
        world.run(job, 0);
    }
    world.pass(HOUR);
    let told = world.of("ops");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].3.items.len(), 3);
    assert_eq!(told[0].3.items[0].text, "2 slots were missed");
}

#[test]
fn whatever_the_order_of_good_and_bad_every_channel_knows_the_end_of_what_it_was_told() {
    let seeds = std::env::var("DUMPVAULT_TEST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    for seed in 0..seeds {
        let mut dice = seed * 2 + 1;
        let mut roll = |sides: u64| {
            dice = u64::wrapping_add(
                u64::wrapping_mul(dice, 6_364_136_223_846_793_005),
                1_442_695_040_888_963_407,
            );
            (dice >> 33) % sides
        };
        let mut world = World::new(
            &(channel("a", "remind = \"6h\"") + &channel("b", "on = [\"failure\", \"recovery\"]")),
        );
        for _ in 0..60 {
            match roll(8) {
                0 => drop(world.down.lock().unwrap().insert("a".to_owned())),
                1 => world.down.lock().unwrap().clear(),
                2 => world.state = State::open(world.folder.path()).unwrap(),
                side => world.run(&format!("job{}", roll(3)), if side < 5 { 2 } else { 0 }),
            }
            world.pass(i64::try_from(roll(7200)).unwrap() * 1000);
        }
        world.down.lock().unwrap().clear();
        for job in 0..3 {
            world.run(&format!("job{job}"), 0);
        }
        world.pass(2 * DAY);
        for channel in ["a", "b"] {
            let mut open: BTreeMap<String, bool> = BTreeMap::new();
            for (.., message) in world.of(channel) {
                for item in message.items.iter().filter(|item| item.condition == "failure") {
                    open.insert(item.subject.clone(), message.event != "recovered");
                }
            }
            assert!(open.values().all(|open| !open), "seed {seed}, channel {channel}: {open:?}");
        }
        assert!(world.state.alerts().unwrap().is_empty(), "seed {seed}");
    }
}

#[test]
fn what_is_odd_of_a_dump_is_in_each_digest_until_somebody_acknowledges_it() {
    let on = "on = [\"digest\"]\ndigest = \"08:00\"";
    let mut world = World::new(&channel("ops", on));
    let hollow = Fact::bad("warning", "series app", "empty dump", "the dump has no table");
    let days = |world: &mut World, count: usize| -> Vec<(String, Vec<String>)> {
        let before = world.of("ops").len();
        for _ in 0..count {
            world.pass(MINUTE);
            world.run("nightly", 0);
            let now = world.now();
            world.state.state_facts(now, std::slice::from_ref(&hollow)).unwrap();
            world.pass(DAY - MINUTE);
        }
        let told = world.of("ops").split_off(before);
        let subjects = |message: &Message| message.items.iter().map(|item| item.subject.clone()).collect();
        told.into_iter().map(|(.., message)| (message.title.clone(), subjects(&message))).collect()
    };
    days(&mut world, 1);
    for (title, subjects) in days(&mut world, 3) {
        assert!(title.ends_with("see below"), "{title}");
        assert_eq!(subjects, ["nightly", "series app"]);
    }
    let now = world.now();
    assert_eq!(world.state.acknowledge("series app", None, Some("it is a template"), now, "me").unwrap(), 1);
    let after = days(&mut world, 3);
    assert_eq!(after.len(), 3);
    for (title, subjects) in after {
        assert!(title.ends_with("all well"), "{title}");
        assert_eq!(subjects, ["nightly"], "the next dump without a table is known, too");
    }
    assert_eq!(world.state.alerts().unwrap().len(), 1, "it is so all the same");
    // What is wrong stays in the digest, known or not.
    world.run("broken", 2);
    let now = world.now();
    world.state.acknowledge("broken", None, None, now, "me").unwrap();
    assert!(days(&mut world, 1)[0].1.contains(&"broken".to_owned()));
}
