//! Progress: a line that moves on a terminal, plain lines now and then without one.

use super::clean;
use super::said::Said;
use super::table::shorten;
use crate::base::event::{Event, Observer};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Without a terminal, a line at least so long after the last.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// The file is written that often at most.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Columns of the line that a stream's name may take.
const NAME_COLUMNS: usize = 20;

/// Draws events.
pub(super) struct Progress {
    draw: bool,
    terminal: bool,
    said: Said,
    state: Mutex<State>,
    /// A file that says how far it is, for whoever started the command.
    file: Option<PathBuf>,
}

#[derive(Default)]
struct State {
    stream: String,
    bytes: u64,
    known: u64,
    expected: Option<u64>,
    began: Option<Instant>,
    last_line: Option<Instant>,
    last_written: Option<Instant>,
}

impl Progress {
    /// Draws nothing at all without `draw`; warnings are always told.
    pub(super) fn new(draw: bool, terminal: bool, said: Said) -> Self {
        Self { draw, terminal, said, state: Mutex::default(), file: None }
    }

    /// The same, which also writes into that file how far it is.
    pub(super) fn told_in(mut self, file: Option<PathBuf>) -> Self {
        self.file = file;
        self
    }

    /// Whole, or not at all: others read it meanwhile.
    fn write(&self, state: &mut State) {
        let Some(file) = &self.file else { return };
        if state.last_written.is_some_and(|last| last.elapsed() < WRITE_INTERVAL) {
            return;
        }
        state.last_written = Some(Instant::now());
        let seconds = state.began.map_or(0.0, |began| began.elapsed().as_secs_f64()).max(0.001);
        let text = serde_json::json!({
            "stream": state.stream,
            "bytes": state.bytes,
            "known": state.known,
            "expected": state.expected,
            "rate": (state.bytes as f64 / seconds) as u64,
        });
        let partial = file.with_extension("partial");
        // Safe to ignore: only a picture of the run lacks it.
        let _ = std::fs::write(&partial, text.to_string()).and_then(|()| std::fs::rename(&partial, file));
    }

    /// Runs `print` with the moving line out of the way.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        self.said.aside(print);
    }

    /// What was said aside so far.
    pub(super) fn said(&self) -> &Said {
        &self.said
    }

    fn start(&self, stream: String, expected: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Some(Instant::now());
        *state = State { stream, expected, began: now, last_line: now, ..State::default() };
        self.write(&mut state);
        if self.draw && self.terminal {
            let bar = match expected {
                Some(bytes) => ProgressBar::new(bytes).with_style(style(
                    "{spinner} {prefix}  {bytes}/{total_bytes} {percent}%  {binary_bytes_per_sec}  ETA {eta}",
                )),
                None => ProgressBar::no_length().with_style(style(
                    "{spinner} {prefix}  {bytes}  {binary_bytes_per_sec}  {msg}  {elapsed}",
                )),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            // What is longer than a line is drawn on two, and the terminal scrolls.
            bar.set_prefix(shorten(&clean::line(&state.stream), NAME_COLUMNS));
            bar.enable_steady_tick(Duration::from_millis(125));
            self.said.set_bar(Some(bar));
        }
    }

    fn advance(&self, bytes: u64, known: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes;
        state.known += known;
        self.write(&mut state);
        if let Some(bar) = self.said.bar() {
            // What is expected may be what the dump before had, and this one be longer.
            if state.expected.is_some_and(|expected| state.bytes > expected) {
                bar.set_length(state.bytes);
            }
            bar.set_position(state.bytes);
            if state.expected.is_none() {
                let new = state.bytes - state.known.min(state.bytes);
                bar.set_message(format!("{} new, {} deduplicated", HumanBytes(new), HumanBytes(state.known)));
            }
            return;
        }
        let due = state.last_line.is_some_and(|last| last.elapsed() >= PLAIN_INTERVAL);
        if self.draw && due {
            state.last_line = Some(Instant::now());
            let seconds = state.began.map_or(0.0, |began| began.elapsed().as_secs_f64()).max(0.001);
            let rate = HumanBytes((state.bytes as f64 / seconds) as u64);
            let text = match state.expected {
                Some(all) if state.bytes <= all => {
                    format!("{}: {} of {}, {rate}/s", state.stream, HumanBytes(state.bytes), HumanBytes(all))
                }
                _ => format!("{}: {}, {rate}/s", state.stream, HumanBytes(state.bytes)),
            };
            drop(state);
            self.said.line(&text);
        }
    }

    /// Wipes the line that moves.
    pub(super) fn end(&self) {
        self.said.set_bar(None);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

impl Observer for Progress {
    fn observe(&self, event: Event) {
        match event {
            Event::StreamStarted { stream, bytes_expected } => self.start(stream, bytes_expected),
            Event::Advanced { bytes, bytes_known } => self.advance(bytes, bytes_known),
            Event::Settled => {}
            Event::StreamFinished { .. } | Event::StreamFailed { .. } => self.end(),
            Event::Step { what } => {
                tracing::info!("{what}");
                self.end();
            }
            // Not to standard output, which is for results.
            Event::Printed { line } => self.said.line(&line),
            Event::Warning { message } => self.said.warn(message),
            Event::Damage { object, message } => self.said.damage(&object, &message),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
