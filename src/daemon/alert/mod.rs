//! Alerts: what is wrong is a row that is written with what made it so; a channel is told of it once, reminded, and
//! told of its end.
//!
//! | file | hides |
//! |---|---|
//! | `message` | what is said, and in whose form |
//! | `overdue` | when a job should have had a good run |
//! | `plan` | who is told of what, and when |
//! | `post` | the thread that tells, and its attempts |
//! | `redact` | which text is a secret |
//! | `send` | mail, HTTP, commands |

pub mod message;
pub(crate) mod overdue;
pub(crate) mod plan;
pub mod post;
pub(crate) mod redact;
pub mod send;

/// What an alert about wrong passwords is about: one stands for all addresses.
pub(crate) const SIGN_IN: &str = "sign-in";

/// What is found to be so, of a condition and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Something is wrong.
    Bad {
        /// A topic: `failure`, `integrity`.
        condition: &'static str,
        /// The job, the series, `storage`.
        subject: String,
        /// What makes it the same as others: they are told together.
        cause: String,
        /// What is wrong.
        text: String,
        /// What to do.
        hint: Option<String>,
        /// The run that found it. Each counts once more.
        run: Option<String>,
    },
    /// It is not wrong, or no longer. The subject `*` stands for all.
    Good {
        /// The topic.
        condition: &'static str,
        /// What it is about.
        subject: String,
    },
}

impl Fact {
    /// Something is wrong that no run found.
    pub fn bad(condition: &'static str, subject: &str, cause: &str, text: impl Into<String>) -> Self {
        Self::Bad {
            condition,
            subject: subject.to_owned(),
            cause: cause.to_owned(),
            text: text.into(),
            hint: None,
            run: None,
        }
    }

    /// It is not wrong.
    pub fn good(condition: &'static str, subject: &str) -> Self {
        Self::Good { condition, subject: subject.to_owned() }
    }
}

/// Something that is wrong, or was until a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    /// Its number: another one each time that something goes wrong anew.
    pub id: i64,
    /// The topic.
    pub condition: String,
    /// What it is about.
    pub subject: String,
    /// What makes it the same as others.
    pub cause: String,
    /// Since when.
    pub since: i64,
    /// How many runs found it.
    pub count: u64,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
    /// The newest run that found it.
    pub run: Option<String>,
    /// Who knows of it and wants no reminders.
    pub acked_by: Option<String>,
    /// What they said.
    pub note: Option<String>,
    /// When it ended.
    pub recovered: Option<i64>,
    /// The last good run of the job before.
    pub last_good: Option<i64>,
}

/// Something that happened once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub seq: i64,
    /// When.
    pub at: i64,
    /// `start`, `success`, `failed`, `missed`, `resumed`, `security`.
    pub event: String,
    /// The job, the user or the token.
    pub subject: String,
    /// The run.
    pub run: Option<String>,
    /// What there is to say.
    pub text: String,
}
