//! What is said, and in whose form.

use crate::settings::Preset;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;

/// Receivers refuse longer texts: Discord 2000, Telegram 4096 characters.
const TEXT_MAX: usize = 1900;

/// A message to a channel. What it is stored and signed as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The version of this form.
    pub version: u32,
    /// `failing`, `reminder`, `recovered`, `missed`, `resumed`, `security`, `success`, `digest`, `summary`, `test`; to
    /// a ping `start`, `success`, `failed`.
    pub event: String,
    /// The topic; empty where several are in one message.
    pub condition: String,
    /// This host.
    pub host: String,
    /// When it was made.
    pub at: String,
    /// One line.
    pub title: String,
    /// What threads messages about the same together.
    pub incident: String,
    /// What it is about.
    pub items: Vec<Item>,
}

/// A job, a series, or another thing that a message is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The topic.
    pub condition: String,
    /// The job, the series, `storage`.
    pub subject: String,
    /// What is said of it.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
    /// Since when, with offset.
    pub since: Option<String>,
    /// The last good run before, with offset.
    pub last_good: Option<String>,
    /// How often.
    pub count: u64,
    /// The run: `dumpvault history show RUN` tells more.
    pub run: Option<String>,
}

/// A moment as people read it.
pub fn local(ms: i64, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default();
    at.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %:z").to_string()
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Nobody is called by what a job is named.
fn tame(text: &str) -> String {
    text.replace('@', "@\u{200b}")
}

impl Message {
    /// The lines behind the title.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for item in &self.items {
            let mut line = match item.subject.is_empty() {
                true => item.text.clone(),
                false => format!("{}: {}", item.subject, item.text),
            };
            if item.count > 1 {
                // Writing into a string does not fail.
                let _ = write!(line, " ({} times)", item.count);
            }
            lines.push(line);
            let more = [
                item.since.as_ref().map(|since| format!("  since {since}")),
                item.last_good.as_ref().map(|good| format!("  last good run {good}")),
                item.hint.as_ref().map(|hint| format!("  hint: {hint}")),
                item.run.as_ref().map(|run| format!("  log: dumpvault history show {run}")),
            ];
            lines.extend(more.into_iter().flatten());
        }
        lines
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut text = self.lines().join("\n");
        // Writing into a string does not fail.
        let _ = write!(text, "\n\n{} on {}", self.at, self.host);
        text
    }

    /// All of it as a small page.
    pub fn page(&self) -> String {
        let lines: String = self.lines().iter().map(|line| format!("{}\n", html(line))).collect();
        format!(
            "<!doctype html><html><body><h3>{}</h3><pre>{lines}</pre><p>{} on {}</p></body></html>",
            html(&self.title),
            html(&self.at),
            html(&self.host)
        )
    }

    fn short(&self) -> String {
        cut(&format!("{}\n{}", self.title, self.lines().join("\n")), TEXT_MAX)
    }

    fn is_bad(&self) -> bool {
        matches!(self.event.as_str(), "failing" | "reminder" | "missed" | "security" | "summary")
    }

    /// The body of a request in that form, and what goes into its header besides.
    pub fn body(
        &self,
        preset: Preset,
        id: &str,
        chat: Option<&str>,
    ) -> (String, Vec<(&'static str, String)>) {
        let body = match preset {
            Preset::Plain => {
                let mut body = serde_json::to_value(self).unwrap_or_default();
                if let Value::Object(fields) = &mut body {
                    fields.insert("id".to_owned(), Value::from(id));
                }
                body
            }
            Preset::Slack => {
                let text = self.short().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({ "text": text })
            }
            Preset::Mattermost => json!({ "text": tame(&self.short()) }),
            Preset::Discord => json!({ "content": self.short(), "allowed_mentions": { "parse": [] } }),
            Preset::Teams => {
                let block = |text: &str, weight: &str| json!({ "type": "TextBlock", "text": text, "weight": weight, "wrap": true });
                let mut blocks = vec![block(&cut(&self.title, 300), "Bolder")];
                blocks.extend(self.lines().iter().take(40).map(|line| block(&cut(line, 500), "Default")));
                json!({
                    "type": "message",
                    "attachments": [{
                        "contentType": "application/vnd.microsoft.card.adaptive",
                        "content": {
                            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                            "type": "AdaptiveCard", "version": "1.4", "body": blocks,
                        },
                    }],
                })
            }
            Preset::Telegram => {
                json!({ "chat_id": chat, "text": self.short(), "disable_web_page_preview": true })
            }
            Preset::Ntfy => {
                // A header takes no line ends and no letters outside of ASCII.
                let title: String = self
                    .title
                    .chars()
                    .map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' })
                    .collect();
                let headers = vec![
                    ("Title", title),
                    ("Priority", if self.is_bad() { "4" } else { "3" }.to_owned()),
                    ("Tags", if self.is_bad() { "warning" } else { "white_check_mark" }.to_owned()),
                ];
                return (cut(&self.text(), TEXT_MAX), headers);
            }
        };
        (body.to_string(), Vec::new())
    }
}
