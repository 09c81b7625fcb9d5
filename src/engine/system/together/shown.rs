//! What several sources do at the same time, as one that is shown: the stream that began last, and when it ends the one
//! before.

use crate::base::event::{Event, Observer};
use std::sync::{Arc, Mutex, PoisonError};

/// A stream under way.
struct Stream {
    /// Number of its source.
    source: usize,
    name: String,
    bytes_expected: Option<u64>,
    bytes: u64,
    bytes_known: u64,
}

/// Passes on what happens to several sources.
pub(super) struct Shown {
    events: Arc<dyn Observer>,
    /// The last is shown.
    under_way: Mutex<Vec<Stream>>,
}

impl Shown {
    pub(super) fn new(events: Arc<dyn Observer>) -> Self {
        Self { events, under_way: Mutex::default() }
    }

    /// Something happened to a source.
    pub(super) fn observe(&self, source: usize, name: &str, event: Event) {
        // Held until it is told, so that what is told of several is in order. Streams are whole after any panic.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StreamStarted { stream, bytes_expected } => {
                under_way.retain(|one| one.source != source);
                under_way.push(Stream { source, name: stream, bytes_expected, bytes: 0, bytes_known: 0 });
                self.show(&under_way);
            }
            Event::Advanced { bytes, bytes_known } => {
                if under_way.last().is_some_and(|one| one.source == source) {
                    self.events.observe(Event::Advanced { bytes, bytes_known });
                }
                for one in under_way.iter_mut().filter(|one| one.source == source) {
                    one.bytes += bytes;
                    one.bytes_known += bytes_known;
                }
            }
            event @ (Event::StreamFinished { .. } | Event::StreamFailed { .. }) => {
                under_way.retain(|one| one.source != source);
                self.events.observe(event);
                self.show(&under_way);
            }
            event @ Event::Step { .. } => {
                self.events.observe(event);
                self.show(&under_way);
            }
            // Of whom it speaks is clear where only one is read.
            Event::Warning { message } if !message.starts_with(&format!("{name}: ")) => {
                self.events.observe(Event::Warning { message: format!("{name}: {message}") });
            }
            event => self.events.observe(event),
        }
    }

    fn show(&self, under_way: &[Stream]) {
        let Some(Stream { name, bytes_expected, bytes, bytes_known, .. }) = under_way.last() else { return };
        let (stream, bytes_expected) = (name.clone(), *bytes_expected);
        self.events.observe(Event::StreamStarted { stream, bytes_expected });
        if *bytes > 0 {
            self.events.observe(Event::Advanced { bytes: *bytes, bytes_known: *bytes_known });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Observer for Heard {
        fn observe(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[test]
    fn given_two_streams_then_the_later_is_shown_and_then_the_other_with_all_that_it_had() {
        let heard = Arc::new(Heard::default());
        let shown = Shown::new(Arc::clone(&heard) as Arc<dyn Observer>);
        let started =
            |stream: &str, bytes_expected| Event::StreamStarted { stream: stream.into(), bytes_expected };
        let advanced = |bytes, bytes_known| Event::Advanced { bytes, bytes_known };
        let finished = |stream: &str| Event::StreamFinished { stream: stream.to_owned() };
        let warning = |message: &str| Event::Warning { message: message.to_owned() };
        for (source, name, event) in [
            (0, "db", started("app", Some(9))),
            (0, "db", advanced(3, 1)),
            (1, "up", started("up/data", None)),
            (0, "db", advanced(4, 1)),
            (1, "up", advanced(5, 0)),
            (1, "up", warning("no room")),
            (0, "db", warning("db: no room")),
            (1, "up", finished("up/data")),
            (0, "db", advanced(2, 0)),
            (0, "db", finished("app")),
        ] {
            shown.observe(source, name, event);
        }
        let expected = [
            started("app", Some(9)),
            advanced(3, 1),
            started("up/data", None),
            advanced(5, 0),
            warning("up: no room"),
            warning("db: no room"),
            finished("up/data"),
            started("app", Some(9)),
            advanced(7, 2),
            advanced(2, 0),
            finished("app"),
        ];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }
}
