//! What the repository said when it was last asked: its snapshots, what they take, which rule keeps each, their tables.
//! A child process asks; pages never wait for it but where somebody looks into a snapshot for the first time.

use super::request::Refusal;
use super::site::Web;
use super::words::ms_of;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A repository that says nothing for so long is not reachable.
const PATIENCE: Duration = Duration::from_secs(300);
/// Under that name the answer is kept.
const KEY: &str = "listing";

/// A snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(super) struct Snapshot {
    /// All digits of its id.
    pub id: String,
    /// When the dump was made.
    pub time: String,
    /// Its series.
    pub series: String,
    /// Its host.
    pub host: String,
    /// Tags, calendar tags among them.
    #[serde(default)]
    pub tags: Vec<String>,
    /// `complete`, `suspect`, `partial`.
    pub state: String,
    /// What proves that it is whole.
    #[serde(default)]
    pub proof: Option<String>,
    /// The one that it was compared with.
    #[serde(default)]
    pub parent: Option<String>,
    /// Plain bytes.
    #[serde(default)]
    pub bytes: u64,
    /// What it added to the storage.
    #[serde(default)]
    pub bytes_stored: u64,
    /// How long it took.
    #[serde(default)]
    pub duration_ms: u64,
    /// Whether it stays whatever the rules say.
    #[serde(default)]
    pub pinned: bool,
    /// When it was last restored and counted.
    #[serde(default)]
    pub verified: Value,
    /// Its streams.
    #[serde(default)]
    pub streams: Vec<Stream>,
}

/// A stream of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(super) struct Stream {
    /// Its name.
    pub name: String,
    /// Plain bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Its digest.
    #[serde(default)]
    pub blake3: String,
    /// What the bytes are.
    #[serde(default)]
    pub format: Option<String>,
    /// Bytes that were not there before.
    #[serde(default)]
    pub bytes_new: u64,
    /// What was noted beside it.
    #[serde(default)]
    pub attributes: BTreeMap<String, Value>,
}

impl Snapshot {
    /// When the dump was made, in milliseconds.
    pub(super) fn at(&self) -> i64 {
        ms_of(&self.time).unwrap_or_default()
    }

    /// `monthly`, `weekly`, `daily`, `manual`: the most lasting of its calendar tags.
    pub(super) fn kind(&self) -> &'static str {
        let has = |tag: &str| self.tags.iter().any(|own| own == tag);
        ["monthly", "weekly", "daily"].into_iter().find(|tag| has(tag)).unwrap_or("manual")
    }

    /// The first digits of its id.
    pub(super) fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }

    /// When it was last restored and counted, in milliseconds.
    pub(super) fn verified_at(&self) -> Option<i64> {
        let text = self.verified.as_str().or_else(|| self.verified.get("time").and_then(Value::as_str));
        text.and_then(ms_of)
    }

    /// Bytes that were not there before.
    pub(super) fn bytes_new(&self) -> u64 {
        self.streams.iter().map(|stream| stream.bytes_new).sum()
    }
}

/// What the repository said.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
pub(super) struct Listing {
    /// When it was asked.
    pub at: i64,
    /// Its snapshots, the oldest first.
    pub snapshots: Vec<Snapshot>,
    /// What it all takes.
    pub disk_bytes: u64,
    /// What the snapshots are as plain files.
    pub plain_bytes: u64,
    /// By snapshot, the rules that keep it; none for one that the next `forget` removes.
    pub kept_by: BTreeMap<String, Vec<String>>,
    /// Why it could not be asked, since when.
    pub error: Option<(i64, String)>,
}

impl Listing {
    /// What was said last, also before this process began.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub(super) fn last(web: &Web) -> Result<Self, Refusal> {
        let kept = web.access(|access| access.kept(KEY))?;
        Ok(kept.and_then(|(_, text)| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Whether anything is known.
    pub(super) fn is_known(&self) -> bool {
        self.at > 0
    }

    /// Snapshots of a series, the oldest first.
    pub(super) fn of<'a>(&'a self, series: &'a str) -> impl DoubleEndedIterator<Item = &'a Snapshot> {
        self.snapshots.iter().filter(move |snapshot| snapshot.series == series)
    }

    /// All series.
    pub(super) fn series(&self) -> BTreeSet<&str> {
        self.snapshots.iter().map(|snapshot| snapshot.series.as_str()).collect()
    }

    /// The only snapshot whose id begins so.
    pub(super) fn find(&self, prefix: &str) -> Option<&Snapshot> {
        let is_id = prefix.len() >= 4 && prefix.chars().all(|c| c.is_ascii_hexdigit());
        let mut found = self.snapshots.iter().filter(|snapshot| is_id && snapshot.id.starts_with(prefix));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Why a snapshot may not be removed: a code, and words.
    pub(super) fn guards(&self, snapshot: &Snapshot, now: i64) -> Option<(&'static str, String)> {
        const DAY_MS: i64 = 86_400_000;
        if snapshot.pinned {
            return Some(("pinned", "it is pinned".to_owned()));
        }
        let own: Vec<&Snapshot> =
            self.of(&snapshot.series).filter(|other| other.host == snapshot.host).collect();
        let newest =
            |is: fn(&Snapshot) -> bool| own.iter().filter(|other| is(other)).max_by_key(|other| other.at());
        if newest(|other| other.state == "complete").is_some_and(|last| last.id == snapshot.id) {
            return Some(("last_good", "it is the newest good backup of its series".to_owned()));
        }
        if newest(|other| other.verified_at().is_some()).is_some_and(|last| last.id == snapshot.id) {
            return Some((
                "last_verified",
                "it is the newest backup of its series that was proved by a restore".to_owned(),
            ));
        }
        if now.saturating_sub(snapshot.at()) < DAY_MS {
            return Some(("too_young", "it is younger than 24 hours".to_owned()));
        }
        None
    }
}

/// Asks the repository, and keeps what it says.
pub(super) fn refresh(web: &Web) {
    let now = web.now();
    let before = Listing::last(web).unwrap_or_default();
    let answer = web.children.ask(&["snapshots"], PATIENCE);
    let listing = match (&answer.error, answer.report.get("snapshots")) {
        (None, Some(snapshots)) => read(web, now, snapshots.clone()),
        (error, _) => {
            let why = error.clone().unwrap_or_else(|| "its answer cannot be read".to_owned());
            let since = before.error.as_ref().map_or(now, |(since, _)| *since);
            Listing { error: Some((since, why)), ..before }
        }
    };
    if let Ok(text) = serde_json::to_string(&listing) {
        // Safe to ignore: it is asked again soon.
        let _ = web.access(|access| access.keep(KEY, &text, now));
    }
}

fn read(web: &Web, now: i64, snapshots: Value) -> Listing {
    let mut snapshots: Vec<Snapshot> = serde_json::from_value(snapshots).unwrap_or_default();
    snapshots.sort_by_key(Snapshot::at);
    let stats = web.children.ask(&["stats"], PATIENCE).report;
    let number = |path: &str| stats.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let mut kept_by = BTreeMap::new();
    if web.site().rules.is_some() {
        let decided = web.children.ask(&["forget", "--dry-run"], PATIENCE).report;
        for one in decided.get("snapshots").and_then(Value::as_array).into_iter().flatten() {
            let rules = one.get("reasons").and_then(Value::as_array).into_iter().flatten();
            let rules = rules.filter_map(|reason| Some(reason.get("rule")?.as_str()?.to_owned())).collect();
            if let Some(id) = one.get("id").and_then(Value::as_str) {
                kept_by.insert(id.to_owned(), rules);
            }
        }
    }
    Listing {
        at: now,
        disk_bytes: number("/disk_bytes"),
        plain_bytes: number("/total/bytes"),
        snapshots,
        kept_by,
        error: None,
    }
}

/// A table of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(super) struct Table {
    /// The stream that holds it.
    #[serde(default)]
    pub stream: String,
    /// The database, where a stream holds several.
    #[serde(default)]
    pub database: String,
    /// Its schema.
    #[serde(default)]
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Rows, where they are known.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Bytes in the dump.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes of it that were not there before.
    #[serde(default)]
    pub new_bytes: Option<u64>,
}

impl Table {
    /// Schema and name, as people write it.
    pub(super) fn full_name(&self) -> String {
        match self.schema.as_str() {
            "" | "public" => self.name.clone(),
            schema => format!("{schema}.{}", self.name),
        }
    }
}

/// The tables of a snapshot. What is in a snapshot never changes, so the answer is kept for ever.
///
/// # Errors
/// Where the repository cannot be asked.
pub(super) fn tables(web: &Web, snapshot: &str) -> Result<Vec<Table>, Refusal> {
    let report = kept_answer(web, &format!("ls {snapshot}"), &["ls", snapshot])?;
    let tables = report.get("tables").cloned().unwrap_or_default();
    Ok(serde_json::from_value(tables).unwrap_or_default())
}

/// The tables of a snapshot, if somebody has asked for them before.
pub(super) fn tables_kept(web: &Web, snapshot: &str) -> Option<Vec<Table>> {
    let (_, text) = web.access(|access| access.kept(&format!("ls {snapshot}"))).ok()??;
    let report: Value = serde_json::from_str(&text).ok()?;
    serde_json::from_value(report.get("tables")?.clone()).ok()
}

/// What became of tables between two snapshots.
///
/// # Errors
/// Where the repository cannot be asked.
pub(super) fn diff(web: &Web, before: &str, after: &str) -> Result<Value, Refusal> {
    kept_answer(web, &format!("diff {before} {after}"), &["diff", before, after])
}

fn kept_answer(web: &Web, key: &str, words: &[&str]) -> Result<Value, Refusal> {
    if let Some((_, text)) = web.access(|access| access.kept(key))?
        && let Ok(report) = serde_json::from_str(&text)
    {
        return Ok(report);
    }
    let answer = web.children.ask(words, PATIENCE);
    if let Some(error) = answer.error {
        return Err(Refusal::new(502, "repository", error).hint("`dumpvault doctor` on the server says more"));
    }
    let text = answer.report.to_string();
    web.access(|access| access.keep(key, &text, web.now()))?;
    Ok(answer.report)
}
