//! Progress: a line that moves on a terminal, plain lines now and then without one.

use crate::event::{Event, Observer};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Without a terminal, a line at least so long after the last.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Draws events.
pub(super) struct Progress {
    draw: bool,
    terminal: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bar: Option<ProgressBar>,
    stream: String,
    bytes: u64,
    known: u64,
    expected: Option<u64>,
    began: Option<Instant>,
    last_line: Option<Instant>,
}

impl Progress {
    /// Draws nothing at all without `draw`; warnings are always told.
    pub fn new(draw: bool, terminal: bool) -> Self {
        Self { draw, terminal, state: Mutex::default() }
    }

    /// Runs `print` with the moving line out of the way.
    pub fn suspend(&self, print: impl FnOnce()) {
        let bar = self.state.lock().unwrap_or_else(PoisonError::into_inner).bar.clone();
        match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn line(&self, text: &str) {
        self.suspend(|| {
            // Safe to ignore because there is nowhere left to say it.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }

    fn start(&self, stream: String, expected: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Some(Instant::now());
        *state = State { stream, expected, began: now, last_line: now, ..State::default() };
        if self.draw && self.terminal {
            let bar = match expected {
                Some(bytes) => ProgressBar::new(bytes).with_style(style(
                    "{spinner} {prefix}  {bytes}/{total_bytes} {percent}%  {binary_bytes_per_sec}  {elapsed}",
                )),
                None => ProgressBar::no_length().with_style(style(
                    "{spinner} {prefix}  {bytes}  {binary_bytes_per_sec}  {msg}  {elapsed}",
                )),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            bar.set_prefix(state.stream.clone());
            bar.enable_steady_tick(Duration::from_millis(125));
            state.bar = Some(bar);
        }
    }

    fn advance(&self, bytes: u64, known: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes;
        state.known += known;
        if let Some(bar) = &state.bar {
            bar.set_position(state.bytes);
            if state.expected.is_none() {
                let new = state.bytes - state.known.min(state.bytes);
                bar.set_message(format!("new {}, known {}", HumanBytes(new), HumanBytes(state.known)));
            }
            return;
        }
        let due = state.last_line.is_some_and(|last| last.elapsed() >= PLAIN_INTERVAL);
        if self.draw && due {
            state.last_line = Some(Instant::now());
            let seconds = state.began.map_or(0.0, |began| began.elapsed().as_secs_f64()).max(0.001);
            let rate = HumanBytes((state.bytes as f64 / seconds) as u64);
            let text = match state.expected {
                Some(all) => {
                    format!("{}: {} of {}, {rate}/s", state.stream, HumanBytes(state.bytes), HumanBytes(all))
                }
                None => format!("{}: {}, {rate}/s", state.stream, HumanBytes(state.bytes)),
            };
            drop(state);
            self.line(&text);
        }
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
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
            Event::StreamFinished { .. } | Event::StreamFailed { .. } => self.end(),
            Event::Step { what } => {
                tracing::info!("{what}");
                self.end();
            }
            Event::Warning { message } => self.line(&format!("dumpvault: warning: {message}")),
            Event::Damage { object, message } => {
                self.line(&format!("dumpvault: damage: {object}: {message}"))
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
