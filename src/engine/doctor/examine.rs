//! All that is looked at, in the order in which a person would: the storage, the repository in it, this machine.

use super::{Finding, Status, cache, key, programs, state, storage};
use crate::base::fault::{Class, Fault};
use crate::base::run::Run;
use crate::engine::app::{App, AppError, Ask};
use crate::engine::plan::Programs;
use crate::storage::scheme::Connected;
use crate::vault::Repository;
use schemars::JsonSchema;
use serde::Serialize;

/// What a finding belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Part {
    /// Where objects lie.
    #[serde(rename = "storage")]
    Storage,
    /// The repository there, and the key.
    #[serde(rename = "repository")]
    Repository,
    /// Cache, state directory and client programs.
    #[serde(rename = "this machine")]
    Machine,
}

impl Part {
    /// The word shown to people and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Repository => "repository",
            Self::Machine => "this machine",
        }
    }
}

/// A finding, and the part of the house that it belongs to.
#[derive(Debug, Clone)]
pub struct Examined {
    /// The part.
    pub part: Part,
    /// What was found.
    pub finding: Finding,
    /// What it comes to if it is an error; `None` for nothing.
    class: Option<Class>,
}

/// What all findings come to; `None` where nothing fails.
pub fn class_of(found: &[Examined]) -> Option<Class> {
    found.iter().find(|one| one.finding.status == Status::Error)?.class
}

/// Looks at everything. Whoever can tell the key is asked for it, where it is needed and not configured. `shown` says a
/// next step.
pub fn examine(
    app: &App,
    run: &Run,
    ask: Ask<'_>,
    shown: &dyn Fn(&dyn Fault) -> Option<String>,
) -> Vec<Examined> {
    let mut all = Vec::new();
    let mut add = |part, class, findings: Vec<Finding>| {
        all.extend(findings.into_iter().map(|finding| Examined { part, finding, class }));
    };
    let usual = Some(Class::NothingDone);
    match app.connected() {
        Err(error @ AppError::NoRepositoryNamed) => {
            let next = error.hint().unwrap_or_default();
            add(Part::Storage, None, vec![Finding::warning("address", error.to_string(), next)]);
        }
        Err(error) => add(Part::Storage, Some(error.class()), vec![failure("address", &error, shown)]),
        Ok(Connected { bare, bucket, .. }) => {
            let found = storage(bare.as_ref(), bucket.as_deref(), run.clock.as_ref(), app.entropy());
            let is_reached =
                found.iter().all(|finding| finding.name != "reach" || finding.status == Status::Good);
            add(Part::Storage, usual, found);
            if is_reached {
                match repository(app, ask) {
                    Ok(findings) => add(Part::Repository, usual, findings),
                    Err(error) => {
                        let finding = failure("repository", &error, shown);
                        add(Part::Repository, Some(error.class()), vec![finding]);
                    }
                }
            }
        }
    }
    let environment = &app.environment;
    add(Part::Machine, usual, cache(&environment.cache_root(), app.settings.cache_bytes, app.is_remote()));
    add(Part::Machine, usual, vec![state(&environment.state_root(), environment.in_container())]);
    add(Part::Machine, usual, programs(&Programs::of(app).own_clients(), &run.cancel));
    all
}

/// Whether there is a repository, and what the key may do there.
fn repository(app: &App, ask: Ask<'_>) -> Result<Vec<Finding>, AppError> {
    let connected = app.connected()?;
    let identity = Repository::identify(connected.bare.as_ref())?;
    let found = app.credential(ask)?;
    let warnings = found.warnings;
    let warnings = warnings.into_iter().map(|message| Finding::warning("key", message, "put that right"));
    let repo = app.open_uncached(&identity, &found.credential)?;
    let slots = repo.key_ring().slots(&found.credential)?.len();
    let mut findings = vec![Finding::good("repository", identity.id.to_string())];
    findings.push(key(repo.role(), slots));
    findings.extend(warnings);
    Ok(findings)
}

fn failure(name: &'static str, error: &AppError, shown: &dyn Fn(&dyn Fault) -> Option<String>) -> Finding {
    let next = shown(error).unwrap_or_else(|| "check the repository's address and key".to_owned());
    Finding::error(name, error.to_string(), next)
}
