//! A build without the scheduler writes nothing down of itself.

use super::Context;
use super::args::Command;
use super::exit::Exit;
use crate::engine::backup::BackupReport;
use crate::engine::forget::{Decided, Policies};
use crate::engine::listing::Present;
use crate::settings::Environment;

/// Nothing is written down.
#[derive(Default)]
pub(super) struct Memoir {}

impl Memoir {
    pub(super) fn begin(&self, _command: &Command, _environment: &Environment) {}

    pub(super) fn repository(&self, _address: String) {}

    pub(super) fn stored(&self, _source: &str, _report: &BackupReport) {}

    pub(super) fn failed(&self, _source: &str, _series: &str, _host: &str, _why: String) {}

    pub(super) fn end(&self, _exit: Exit, _error: Option<(String, Option<String>)>) {}
}

pub(super) fn remember(_context: &Context, _present: &Present, _looked: i64) {}

pub(super) fn note_gone(_context: &Context, _decided: &[Decided], _policies: &Policies) {}
