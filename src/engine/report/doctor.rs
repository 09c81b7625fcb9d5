//! What was looked at, and how it stands.

use super::Report;
use crate::engine::doctor::{Finding, Part, Status};
use schemars::JsonSchema;
use serde::Serialize;

/// What was looked at.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Doctor {
    /// Nothing fails. Warnings are no failures.
    pub ok: bool,
    /// All findings, as a person would read them.
    pub checks: Vec<DoctorCheck>,
}

impl Report for Doctor {}

/// A finding, and where it belongs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DoctorCheck {
    /// What it belongs to.
    pub part: Part,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

impl Doctor {
    /// Findings in the order of looking.
    pub fn new<'a>(findings: impl IntoIterator<Item = (Part, &'a Finding)>) -> Self {
        let check = |(part, finding): (Part, &Finding)| DoctorCheck { part, finding: finding.clone() };
        let checks: Vec<DoctorCheck> = findings.into_iter().map(check).collect();
        Self { ok: checks.iter().all(|check| check.finding.status != Status::Error), checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_read_the_words_that_people_read() {
        for part in [Part::Storage, Part::Repository, Part::Machine] {
            assert_eq!(serde_json::to_value(part).unwrap(), part.word());
        }
        for status in [Status::Good, Status::Warning, Status::Error] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.word());
        }
    }
}
