//! The thread that tells: it makes messages of what is written, and attempts to deliver them. No run waits for it, and
//! none fails by it.

use super::message::{Item, Message, local};
use super::plan::Speaker;
use super::redact::redact;
use super::send::{SendError, send};
use crate::base::clock::Clock;
use crate::base::secret::Entropy;
use crate::daemon::book::StateError;
use crate::daemon::launch::new_id;
use crate::daemon::state::State;
use crate::settings::{Alerts, Channel, Environment, Way};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use jiff::tz::TimeZone;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Attempts go on for a day.
const GIVE_UP_MS: i64 = 86_400_000;
/// A ping that comes late says something that is not so.
const PING_ATTEMPTS: u32 = 3;
const MINUTE_MS: i64 = 60_000;
const SLEEP_MS_MAX: i64 = 60_000;

/// How an attempt is made: over the wire, or by a test.
pub type Deliver = dyn Fn(&Channel, &Message, &str, i64) -> Result<(), SendError> + Send + Sync;

/// What it works with.
pub struct Postman {
    /// The state directory.
    pub state: PathBuf,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// For the names of deliveries.
    pub entropy: Arc<dyn Entropy>,
    /// This host.
    pub host: String,
    /// For times in messages.
    pub zone: TimeZone,
    /// How attempts are made.
    pub deliver: Arc<Deliver>,
}

/// Attempts over the wire.
pub fn over_the_wire(environment: Environment) -> Arc<Deliver> {
    Arc::new(move |channel, message, id, now| send(channel, message, id, now, &environment))
}

/// A message that waits for its delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its name, the same in each attempt.
    pub id: String,
    /// When it was made.
    pub made: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// What to say.
    pub message: Message,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It was taken.
    Sent,
    /// It was not; once more then.
    Again {
        /// When.
        due: i64,
        /// Why.
        error: SendError,
    },
    /// It was not, and there is no other attempt.
    GivenUp {
        /// Why.
        error: SendError,
    },
}

impl Postman {
    /// Makes messages and attempts what is due. Says when to come again.
    ///
    /// # Errors
    /// When the state cannot be read or written: what was sent may be sent again then, under the same name.
    pub fn round(&self, state: &mut State, alerts: &Alerts) -> Result<i64, StateError> {
        let now = self.clock.now().as_millisecond();
        let speaker = Speaker { host: &self.host, zone: &self.zone };
        let new_name = || new_id(self.entropy.as_ref(), now).0;
        let wake = state.plan_messages(now, alerts, &speaker, &new_name)?;
        let mut work = Vec::new();
        for (name, channel) in &alerts.channels {
            let due = state.due_deliveries(name, now)?;
            if !due.is_empty() {
                work.push((name.clone(), channel, due));
            }
        }
        // One that is slow keeps no other waiting. What came of each attempt is written at once: a restart repeats one
        // at most.
        let (tell, told) = unbounded();
        std::thread::scope(|scope| {
            for (name, channel, due) in &work {
                let tell = tell.clone();
                scope.spawn(move || self.attempt(name, channel, due, &tell));
            }
            drop(tell);
            told.iter().try_for_each(|(name, delivery, attempt): (String, Delivery, Attempt)| {
                state.note_attempt(&name, &delivery, &attempt, self.clock.now().as_millisecond())
            })
        })?;
        let later = state.next_delivery()?;
        Ok(wake.into_iter().chain(later).min().unwrap_or(i64::MAX))
    }

    /// One attempt on each channel, and no memory of it.
    fn urgent(&self, alerts: &Alerts, text: &str) {
        let now = self.clock.now().as_millisecond();
        let item = Item { condition: "storage".to_owned(), text: redact(text), count: 1, ..Item::default() };
        let message = Message {
            version: 1,
            event: "failing".to_owned(),
            condition: "storage".to_owned(),
            host: self.host.clone(),
            at: local(now, &self.zone),
            title: format!("dumpvault {}: the state cannot be used", self.host),
            incident: String::new(),
            items: vec![item],
        };
        let id = new_id(self.entropy.as_ref(), now).0;
        let is_meant =
            |channel: &&Channel| !matches!(channel.way, Way::Ping { .. }) && channel.on.contains("storage");
        for channel in alerts.channels.values().filter(is_meant) {
            // Safe to ignore: there is nowhere to write it, and the line is on standard error.
            let _ = (self.deliver)(channel, &message, &id, now);
        }
    }

    fn attempt(
        &self,
        name: &str,
        channel: &Channel,
        due: &[Delivery],
        tell: &Sender<(String, Delivery, Attempt)>,
    ) {
        for delivery in due {
            let now = self.clock.now().as_millisecond();
            let result = (self.deliver)(channel, &delivery.message, &delivery.id, now);
            let is_ping = matches!(channel.way, Way::Ping { .. });
            let attempt = match result {
                Ok(()) => Attempt::Sent,
                Err(error) => verdict(delivery, error, is_ping, now),
            };
            let failed = attempt != Attempt::Sent;
            // Safe to ignore: nobody hears any more because the state cannot be written; it is told there.
            let _ = tell.send((name.to_owned(), delivery.clone(), attempt));
            // The others would fail as well, each after its time limit.
            if failed && !is_ping {
                break;
            }
        }
    }
}

fn verdict(delivery: &Delivery, error: SendError, is_ping: bool, now: i64) -> Attempt {
    let attempts = delivery.attempts.saturating_add(1);
    let is_over = match is_ping {
        true => attempts >= PING_ATTEMPTS,
        false => now.saturating_sub(delivery.made) >= GIVE_UP_MS,
    };
    if is_over {
        return Attempt::GivenUp { error };
    }
    let wait = match is_ping {
        true => MINUTE_MS / 6,
        false => MINUTE_MS.saturating_mul(1_i64 << attempts.saturating_sub(1).min(6)).min(60 * MINUTE_MS),
    };
    Attempt::Again { due: now.saturating_add(wait), error }
}

enum Order {
    Look,
    Configure(Box<Alerts>),
    Urgent(String),
    Stop,
}

/// The thread, and how it is woken.
pub struct Post {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
    trouble: Receiver<String>,
}

impl Post {
    /// Starts it.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(postman: Postman, alerts: Alerts) -> std::io::Result<Self> {
        let (orders, heard) = unbounded();
        let (tell, trouble) = bounded(16);
        let thread = std::thread::Builder::new().name("alerts".to_owned()).spawn(move || {
            work(&postman, alerts, &heard, &tell);
        })?;
        Ok(Self { orders, thread: Some(thread), trouble })
    }

    /// Something was written.
    pub fn look(&self) {
        // Safe to ignore: a thread that is gone was told to stop.
        let _ = self.orders.send(Order::Look);
    }

    /// From now on these channels.
    pub fn configure(&self, alerts: Alerts) {
        // As above.
        let _ = self.orders.send(Order::Configure(Box::new(alerts)));
    }

    /// Something that cannot be written down: it is told once, to all who want to hear of storage.
    pub fn urgent(&self, text: String) {
        // As above.
        let _ = self.orders.send(Order::Urgent(text));
    }

    /// What could not be done, for people.
    pub fn trouble(&self) -> Vec<String> {
        self.trouble.try_iter().collect()
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        // Safe to ignore: then it has ended already.
        let _ = self.orders.send(Order::Stop);
        // Safe to ignore: a panic of that thread was told when it came.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn work(postman: &Postman, mut alerts: Alerts, orders: &Receiver<Order>, trouble: &Sender<String>) {
    let mut state: Option<State> = None;
    loop {
        if state.is_none() {
            state = State::open(&postman.state).ok();
        }
        let now = postman.clock.now().as_millisecond();
        let wake = match state.as_mut().map(|state| postman.round(state, &alerts)) {
            Some(Ok(wake)) => wake,
            Some(Err(error)) => {
                // Safe to ignore: a full queue says the same.
                let _ = trouble.try_send(format!("alerts: {error}"));
                state = None;
                now.saturating_add(5000)
            }
            None => now.saturating_add(5000),
        };
        let wait = wake.saturating_sub(postman.clock.now().as_millisecond()).clamp(10, SLEEP_MS_MAX);
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(1000));
        let mut order = orders.recv_timeout(wait).ok();
        let mut is_over = false;
        while let Some(one) = order {
            match one {
                Order::Look => {}
                Order::Configure(new) => alerts = *new,
                Order::Urgent(text) => postman.urgent(&alerts, &text),
                Order::Stop => is_over = true,
            }
            order = orders.try_recv().ok();
        }
        if is_over {
            // A last look: what was just written is told if the channel takes it at once.
            if let Some(Err(error)) = state.as_mut().map(|state| postman.round(state, &alerts)) {
                // As above.
                let _ = trouble.try_send(format!("alerts: {error}"));
            }
            return;
        }
    }
}
