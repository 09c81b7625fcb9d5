//! What was said aside: warnings, kept for the report of a program, and told without tearing the line that moves.

use super::clean;
use indicatif::ProgressBar;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Warnings so far, and the line to keep out of the way of.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    warnings: Mutex<Vec<String>>,
    bar: Mutex<Option<ProgressBar>>,
}

impl Said {
    /// Tells a warning on standard error, and keeps it.
    pub(super) fn warn(&self, message: String) {
        self.line(&format!("dumpvault: warning: {message}"));
        self.keep(message);
    }

    /// Tells of damage on standard error, and keeps it.
    pub(super) fn damage(&self, object: &str, message: &str) {
        let text = format!("damage: {object}: {message}");
        self.line(&format!("dumpvault: {text}"));
        self.keep(text);
    }

    /// Each is kept once, however often it is told.
    fn keep(&self, message: String) {
        let mut warnings = self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&message) {
            warnings.push(message);
        }
    }

    /// All that was told, in order.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.0.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A line on standard error.
    pub(super) fn line(&self, text: &str) {
        self.aside(|| clean::tell(text));
    }

    /// Runs `print` with the moving line out of the way.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        let bar = self.0.bar.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// From now on this line moves, and none that did before.
    pub(super) fn set_bar(&self, bar: Option<ProgressBar>) {
        let before = std::mem::replace(&mut *self.0.bar.lock().unwrap_or_else(PoisonError::into_inner), bar);
        if let Some(before) = before {
            before.finish_and_clear();
        }
    }

    /// The line that moves, if one does.
    pub(super) fn bar(&self) -> Option<ProgressBar> {
        self.0.bar.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Warnings of the library's depths are told and kept as all others are.
impl<S: Subscriber> Layer<S> for Said {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut words = Words(String::new());
        event.record(&mut words);
        self.warn(words.0);
    }
}

/// The message of an event.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Safe to ignore because writing to a string does not fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}
