//! What is wrong, and who was told.

use super::{Report, Time};
use schemars::JsonSchema;
use serde::Serialize;

/// What is wrong, and the channels.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Alerts {
    /// What is wrong, the oldest first.
    pub alerts: Vec<Alert>,
    /// The channels of the configuration, by name.
    pub channels: Vec<AlertChannel>,
}

/// Something that is wrong.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Alert {
    /// The topic: `failure`, `warning`, `overdue`, `suspect`, `integrity`, `storage`, `retention`, `config`, `clock`,
    /// `channel`, `security`.
    pub condition: String,
    /// The job, `series NAME`, or another thing.
    pub subject: String,
    /// What makes it the same as others: they are told together.
    pub cause: String,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
    /// Since when.
    pub since: Time,
    /// How many runs found it.
    pub count: u64,
    /// The newest run that did.
    pub run: Option<String>,
    /// The last good run of the job before.
    pub last_good: Option<Time>,
    /// Who knows of it and wants no reminders.
    pub acknowledged_by: Option<String>,
    /// What they said.
    pub note: Option<String>,
}

/// A channel.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AlertChannel {
    /// Its name.
    pub name: String,
    /// `email`, `webhook`, `ping`, `command`.
    pub kind: String,
    /// Its topics.
    pub on: Vec<String>,
    /// Messages that wait for their delivery.
    pub pending: u64,
    /// When the last message was delivered.
    pub last_sent: Option<Time>,
    /// Why the newest attempt failed; null where it did not.
    pub error: Option<String>,
}

/// A message for a test was taken.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AlertTested {
    /// The message was not sent, only made.
    pub dry_run: bool,
    /// The channel.
    pub channel: String,
}

/// Somebody knows.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AlertAcknowledged {
    /// What it is about.
    pub subject: String,
    /// Of how many alerts.
    pub alerts: u64,
}

impl Report for Alerts {}
impl Report for AlertTested {}
impl Report for AlertAcknowledged {}
