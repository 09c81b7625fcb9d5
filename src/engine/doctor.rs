//! Doctor: what dumpvault works with, and what a person should put right.

mod examine;

pub use examine::{Examined, Part, class_of, examine};

use crate::base::clock::Clock;
use crate::base::event::Cancel;
use crate::base::fault::Fault;
use crate::base::secret::Entropy;
use crate::base::unfinished::Unfinished;
use crate::source::command::CommandSource;
use crate::source::postgres::{Clients, FoundClient};
use crate::source::process::{Invocation, Limits};
use crate::storage::bucket::{Bucket, BucketLock, Replacing};
use crate::storage::{ErrorKind, Manner, Storage, StorageError};
use crate::vault::crypto::Role;
use crate::vault::session::{SKEW_MAX, is_same_time};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How it stands with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it should be.
    #[serde(rename = "ok")]
    Good,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Error,
}

impl Status {
    /// The word shown to people and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    pub next: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Good, detail: detail.into(), next: None }
    }

    /// Could be better.
    pub fn warning(name: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name, status: Status::Warning, detail: detail.into(), next: Some(next.into()) }
    }

    /// Does not work.
    pub fn error(name: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name, status: Status::Error, detail: detail.into(), next: Some(next.into()) }
    }
}

/// Bytes of the object that is put to see whether that works.
const PROBE_BYTES: usize = 4096;
/// Requests whose time is taken.
const ROUND_TRIPS: usize = 5;
/// Above this every command is slow.
const LATENCY_SLOW: Duration = Duration::from_millis(250);
/// A cache on a disk with less room than this is of little use.
const ROOM_MIN: u64 = 1 << 30;
/// How long a program may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

const POLICIES: &str = "docs/offsite.md lists what a writer, a reader and a pruner need";

/// Looks at the storage: rights, ranges, listing, clock, latency. What it puts it deletes again, as far as it may.
pub fn storage(
    storage: &dyn Storage,
    bucket: Option<&dyn Bucket>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let began = Instant::now();
    if let Err(error) = storage.size("config") {
        let next = match error.kind {
            ErrorKind::Denied if !Right::has_words(&storage.location()) => {
                "check the key, the host's key and the account; docs/offsite.md shows how to set one up"
                    .to_owned()
            }
            ErrorKind::Denied => {
                let right = Right::Read.word(&storage.location());
                format!("check the credentials and what they may do, which must include {right}")
            }
            ErrorKind::NoCredentials => match error.next() {
                Some(next) => next.render(str::to_owned),
                None => "set credentials".to_owned(),
            },
            _ => "check address, network and service; remaining checks skipped".to_owned(),
        };
        findings.push(Finding::error("reach", error.to_string(), next));
        return findings;
    }
    let first = began.elapsed();
    findings.push(Finding::good("reach", storage.location()));
    findings.push(latency(storage, first));
    let mut random = [0; 16];
    if let Err(error) = entropy.fill(&mut random) {
        findings.push(Finding::error(
            "random numbers",
            error.to_string(),
            "nothing can be encrypted without",
        ));
        return findings;
    }
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let probe = Probe { storage, key: format!("sessions/doctor-{name}"), bytes: content(&random) };
    let wrote = probe.write_and_read(clock);
    let is_there = wrote.iter().any(|finding| finding.name == "write" && finding.status == Status::Good);
    findings.extend(wrote);
    if let Some(bucket) = bucket.filter(|_| is_there) {
        findings.push(probe.replace(bucket));
    }
    if is_there {
        findings.extend(manners(storage));
    }
    findings.push(probe.delete());
    findings.push(deletion_elsewhere(storage, bucket.is_some(), &name));
    if let Some(bucket) = bucket {
        findings.extend(protection(bucket));
    }
    findings
}

/// Bytes that no service has seen before.
fn content(seed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; PROBE_BYTES];
    blake3::Hasher::new().update(seed).finalize_xof().fill(&mut bytes);
    bytes
}

fn latency(storage: &dyn Storage, first: Duration) -> Finding {
    let time = |_| {
        let began = Instant::now();
        storage.size("config").is_ok().then(|| began.elapsed())
    };
    let mut times: Vec<Duration> = (0..ROUND_TRIPS).filter_map(time).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or(first);
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let detail = format!("{} a request, {} the first", ms(median), ms(first));
    if median > LATENCY_SLOW {
        let next =
            "a bucket in a region near by answers within 50 ms; backups wait little for it, commands do";
        return Finding::warning("latency", detail, next);
    }
    Finding::good("latency", detail)
}

/// An object that is put to see what happens.
struct Probe<'a> {
    storage: &'a dyn Storage,
    key: String,
    bytes: Vec<u8>,
}

impl Probe<'_> {
    fn write_and_read(&self, clock: &dyn Clock) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.storage.put(&self.key, &self.bytes) {
            Ok(_) => findings.push(Finding::good("write", format!("{} bytes", self.bytes.len()))),
            Err(error) => {
                findings.push(Finding::error("write", error.to_string(), next_of(&error, Right::Write)));
                findings.push(self.list(None).0);
                return findings;
            }
        }
        findings.push(match self.storage.get(&self.key, PROBE_BYTES as u64) {
            Ok(bytes) if bytes == self.bytes => Finding::good("read", "data matches"),
            Ok(_) => Finding::error("read", "data differs from what was written", "do not use this service"),
            Err(error) => Finding::error("read", error.to_string(), next_of(&error, Right::Read)),
        });
        let mut part = [0; 100];
        findings.push(match self.storage.get_range(&self.key, 1000, &mut part) {
            Ok(()) if self.bytes.get(1000..1100) == Some(&part) => {
                Finding::good("read a range", "data matches")
            }
            Ok(()) => Finding::error(
                "read a range",
                "data differs from what was written",
                "do not use this service",
            ),
            Err(error) => Finding::error(
                "read a range",
                error.to_string(),
                "a proxy in between, or the service, does not do ranges: restores need them",
            ),
        });
        let (finding, time) = self.list(Some(clock));
        findings.push(finding);
        findings.extend(time.map(|time| self.keeps_time(time)));
        findings
    }

    /// Whether a listing is allowed, and shows at once what was put; by the way, what time it is there, and the
    /// object's own.
    fn list(&self, clock: Option<&dyn Clock>) -> (Finding, Option<SystemTime>) {
        let seen = match self.listed_at() {
            Err(error) => {
                return (Finding::error("list", error.to_string(), next_of(&error, Right::List)), None);
            }
            Ok(seen) => seen,
        };
        let finding = match (clock, seen) {
            (None, _) => Finding::good("list", "allowed"),
            (Some(_), None) => Finding::error("list", "what was just written is not listed yet", LISTS_LATE),
            (Some(clock), Some(time)) => skew(clock, time),
        };
        (finding, seen)
    }

    /// The time that a listing tells of the object.
    fn listed_at(&self) -> Result<Option<SystemTime>, StorageError> {
        let mut seen = None;
        self.storage.list("sessions/", &mut |listed| {
            if listed.key == self.key {
                seen = Some(listed.modified);
            }
        })?;
        Ok(seen)
    }

    /// Whether a later listing tells the same time, also after another object was put: by it a backup knows its own
    /// session.
    fn keeps_time(&self, time: SystemTime) -> Finding {
        const NAME: &str = "times in listings";
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if since.subsec_nanos() == 0 && !self.storage.is_local() {
            // Times to the second: one that is that of the listing shows as such only then.
            std::thread::sleep(Duration::from_millis(1_100));
        }
        // What may not be deleted is not put: one object left behind is enough.
        let other = format!("{}-2", self.key);
        let put = match self.storage.delete(&other) {
            Ok(()) => self.storage.put(&other, &self.bytes).err(),
            Err(_) => None,
        };
        let later = self.listed_at();
        let deleted = match put {
            None => self.storage.delete(&other).err().filter(|error| error.kind != ErrorKind::Denied),
            put => put,
        };
        match (later, deleted) {
            (Ok(Some(later)), _) if !is_same_time(time, later) => Finding::error(
                NAME,
                "two listings tell different times of one object",
                "keep other programs from changing times there, or use another service: backup and prune end with 5 here \
                 (docs/offsite.md: What the storage must promise)",
            ),
            (Err(error), _) | (_, Some(error)) => {
                Finding::warning(NAME, error.to_string(), "run `dumpvault doctor` again")
            }
            (Ok(Some(_)), None) => Finding::good(NAME, "an object keeps its time"),
            (Ok(None), None) => Finding::error(NAME, "what was listed before is listed no more", LISTS_LATE),
        }
    }

    fn replace(&self, bucket: &dyn Bucket) -> Finding {
        const NAME: &str = "writing without replacing";
        let others: Vec<u8> = self.bytes.iter().map(|byte| !byte).collect();
        const NEXT: &str = "nothing relies on it; do not run two `init` at the same moment";
        match bucket.probe_replacing(&self.key, &others) {
            Ok(Replacing::Refused) => Finding::good(NAME, replaced_refused(&self.storage.location())),
            Ok(Replacing::HeaderUnknown) => Finding::warning(NAME, "If-None-Match is refused", NEXT),
            Ok(Replacing::Replaced) => Finding::warning(NAME, "If-None-Match is ignored", NEXT),
            Err(error) if error.kind == ErrorKind::Denied => {
                Finding::good(NAME, "the policy does not allow objects to be replaced")
            }
            Err(error) => Finding::warning(NAME, error.to_string(), NEXT),
        }
    }

    /// Whether a listing shows at once that the object was deleted.
    fn gone_from_listings(&self, name: &'static str) -> Finding {
        let mut is_listed = false;
        match self.storage.list("sessions/", &mut |listed| is_listed |= listed.key == self.key) {
            Ok(()) if is_listed => Finding::error(name, "what was just deleted is still listed", LISTS_LATE),
            // Whether a listing is allowed was told before.
            Ok(()) | Err(_) => Finding::good(name, "allowed"),
        }
    }

    fn delete(&self) -> Finding {
        const NAME: &str = "delete own sessions";
        match self.storage.delete(&self.key) {
            Err(error) => {
                let left = match self.storage.size(&self.key) {
                    Ok(None) => "nothing was left behind".to_owned(),
                    Err(_) => format!("`{}/{}` may be left behind", self.storage.location(), self.key),
                    Ok(Some(_)) => format!("`{}/{}` was left behind", self.storage.location(), self.key),
                };
                let next = match Right::has_words(&error.object) {
                    true => format!(
                        "backups work; allow {} below sessions/ so that they can remove their session markers: {POLICIES}",
                        Right::Delete.word(&error.object)
                    ),
                    false => {
                        "backups work; their session markers stay until a host that may delete removes them"
                            .to_owned()
                    }
                };
                Finding::warning(NAME, format!("{error}; {left}"), next)
            }
            Ok(()) => match self.storage.size(&self.key) {
                Ok(None) => self.gone_from_listings(NAME),
                Ok(Some(_)) => Finding::warning(
                    NAME,
                    format!("`{}/{}` is still there", self.storage.location(), self.key),
                    "the service shows deleted objects for a while, or locks them",
                ),
                Err(error) => Finding::warning(NAME, error.to_string(), POLICIES),
            },
        }
    }
}

/// What a storage whose listings lag behind is good for.
const LISTS_LATE: &str = "use another service: backup, forget and prune refuse here (docs/offsite.md: What the storage must promise)";

/// What the storage does in its own way.
fn manners(storage: &dyn Storage) -> Vec<Finding> {
    let found = match storage.manners() {
        Ok(found) => found,
        Err(error) => return vec![Finding::warning("manners", error.to_string(), "check the service")],
    };
    let finding = |manner: Manner| match manner.next {
        None => Finding::good(manner.name, manner.detail),
        Some(next) => Finding::warning(manner.name, manner.detail, next),
    };
    found.into_iter().map(finding).collect()
}

/// How far the clocks are from each other, as the time of an object that was put a moment ago tells.
fn skew(clock: &dyn Clock, theirs: SystemTime) -> Finding {
    let ours = SystemTime::from(clock.now());
    let (apart, direction) = match ours.duration_since(theirs) {
        Ok(apart) => (apart, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    let detail = format!("allowed; this host's clock is {} s {direction} the storage's", apart.as_secs());
    if apart > SKEW_MAX {
        return Finding::error(
            "list and clock",
            detail,
            "fix the clock (timedatectl, chronyc makestep); forget and prune refuse until then",
        );
    }
    // To the second, and a request long.
    Finding::good(
        "list and clock",
        if apart < Duration::from_secs(3) { "allowed; the clocks agree".to_owned() } else { detail },
    )
}

/// By what header the storage at that address refuses to replace.
fn replaced_refused(location: &str) -> &'static str {
    match location.starts_with("gs:") {
        true => "ifGenerationMatch is honoured",
        false => "If-None-Match is honoured",
    }
}

/// Whether packs may be deleted, told by deleting one that never was.
fn deletion_elsewhere(storage: &dyn Storage, is_bucket: bool, name: &str) -> Finding {
    const NAME: &str = "delete packs";
    match storage.delete(&format!("packs/00/doctor-{name}")) {
        Ok(()) if is_bucket => Finding::good(
            NAME,
            "allowed; forget and prune can run here, and an intruder could delete backups",
        ),
        Ok(()) => Finding::good(NAME, "allowed"),
        Err(error) if error.kind == ErrorKind::Denied => {
            Finding::good(NAME, "denied; this host cannot delete backups, so run forget and prune elsewhere")
        }
        Err(error) => Finding::warning(NAME, error.to_string(), POLICIES),
    }
}

/// What the bucket does for objects that somebody wants gone.
fn protection(bucket: &dyn Bucket) -> Vec<Finding> {
    let lock = match bucket.bucket_lock() {
        Ok(BucketLock::On(Some(default))) => Finding::good("object lock", format!("on, {default}")),
        Ok(BucketLock::On(None)) => Finding::good("object lock", "on; objects get what --object-lock says"),
        Ok(BucketLock::Off) => Finding::good("object lock", "off"),
        Ok(BucketLock::Unknown(code)) => Finding::good("object lock", format!("not told ({code})")),
        Err(error) => Finding::warning("object lock", error.to_string(), POLICIES),
    };
    let versions = match bucket.keeps_versions() {
        Ok(Some(true)) => Finding::good("versioning", "on; overwritten or deleted objects can be recovered"),
        Ok(Some(false)) => Finding::warning(
            "versioning",
            "off; overwritten or deleted objects cannot be recovered",
            "turn on the bucket's versioning, with a lifecycle rule that removes old versions after some weeks",
        ),
        Ok(None) => Finding::good("versioning", "not told"),
        Err(error) => Finding::warning("versioning", error.to_string(), POLICIES),
    };
    vec![lock, versions]
}

/// A right that a storage grants.
#[derive(Debug, Clone, Copy)]
enum Right {
    Read,
    Write,
    List,
    Delete,
}

impl Right {
    /// Whether the storage at that address has words for what it grants.
    fn has_words(location: &str) -> bool {
        matches!(location.split(':').next(), Some("s3" | "azure" | "gs"))
    }

    /// What the storage at that address calls it.
    fn word(self, location: &str) -> &'static str {
        let words = match location.split(':').next() {
            Some("azure") => [
                "the right to read (`r`)",
                "the right to create (`c`)",
                "the right to list (`l`)",
                "the right to delete (`d`)",
            ],
            Some("gs") => [
                "storage.objects.get",
                "storage.objects.create",
                "storage.objects.list",
                "storage.objects.delete",
            ],
            _ => ["s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:DeleteObject"],
        };
        let [read, write, list, delete] = words;
        match self {
            Self::Read => read,
            Self::Write => write,
            Self::List => list,
            Self::Delete => delete,
        }
    }
}

fn next_of(error: &StorageError, right: Right) -> String {
    match error.kind {
        ErrorKind::Denied if Right::has_words(&error.object) => {
            format!("grant {}: {POLICIES}", right.word(&error.object))
        }
        ErrorKind::Denied => "let the account read and write below the repository's directory".to_owned(),
        ErrorKind::NoSpace => "free space".to_owned(),
        _ => "check the service; backups fail until this works".to_owned(),
    }
}

/// What the key may do.
pub fn key(role: Role, slots: usize) -> Finding {
    let others = match slots {
        0 | 1 => "the only one".to_owned(),
        slots => format!("one of {slots}"),
    };
    match role {
        Role::Full => Finding::good("key", format!("full: may do everything; {others}")),
        Role::Append => Finding::good("key", format!("append: adds backups, cannot read any; {others}")),
    }
}

/// Looks at the folder of catalogs and packs.
pub fn cache(root: &Path, pack_bytes_max: u64, is_remote: bool) -> Vec<Finding> {
    let wanted = if is_remote && pack_bytes_max == 0 {
        Some(Finding::warning(
            "pack cache",
            "disabled; backups deduplicate whole chunks only",
            "remove --no-cache, or set --cache-size 2G",
        ))
    } else {
        None
    };
    let shown = root.display();
    let tried = std::fs::create_dir_all(root)
        .and_then(|()| Unfinished::within(root, ".doctor-")?.file().write_all(b"doctor"));
    let folder = match tried {
        Err(error) => Finding::warning(
            "cache directory",
            format!("`{shown}`: {error}"),
            "set XDG_CACHE_HOME to a writable directory; without one every command reads the whole index again",
        ),
        Ok(()) => match rustix::fs::statvfs(root) {
            Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_MIN => Finding::warning(
                "cache directory",
                format!("`{shown}` has {} MiB of room", disk.f_bavail.saturating_mul(disk.f_frsize) >> 20),
                "free space, or move it with XDG_CACHE_HOME",
            ),
            Ok(disk) => Finding::good(
                "cache directory",
                format!("`{shown}`, {} GiB of room", disk.f_bavail.saturating_mul(disk.f_frsize) >> 30),
            ),
            Err(_) => Finding::good("cache directory", format!("`{shown}`")),
        },
    };
    std::iter::once(folder).chain(wanted).collect()
}

/// Looks at the folder of what this host remembers of repositories. In a container it must outlive the container.
pub fn state(root: &Path, in_container: bool) -> Finding {
    let shown = root.display();
    let tried = std::fs::create_dir_all(root)
        .and_then(|()| Unfinished::within(root, ".doctor-")?.file().write_all(b"doctor"));
    let device = |path: &Path| std::fs::metadata(path).map(|meta| std::os::unix::fs::MetadataExt::dev(&meta));
    match tried {
        Err(error) => Finding::warning(
            "state directory",
            format!("`{shown}`: {error}"),
            "set XDG_STATE_HOME to a writable directory; without one a rollback of the repository is not detected",
        ),
        Ok(())
            if in_container && matches!((device(root), device(Path::new("/"))), (Ok(a), Ok(b)) if a == b) =>
        {
            Finding::warning(
                "state directory",
                format!("`{shown}` goes with the container"),
                "mount a volume there, or set XDG_STATE_HOME to one; without it a rollback of the repository is not detected",
            )
        }
        Ok(()) => Finding::good("state directory", format!("`{shown}`")),
    }
}

/// Looks for the programs that dump and restore.
pub fn programs(clients: &Clients, cancel: &Cancel) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tool in ["pg_dump", "pg_restore", "psql"] {
        let found = match clients.find(tool, cancel) {
            Ok(found) => found,
            Err(error) => {
                findings.push(Finding::warning(tool, error.to_string(), "check the program"));
                continue;
            }
        };
        // What comes from `PATH` is most often one of the others.
        let mut told: Vec<String> = Vec::new();
        for client in &found {
            let of_path = client.path.components().count() == 1;
            if !of_path || found.iter().filter(|other| other.version == client.version).count() == 1 {
                told.push(format!("{} ({})", client.version, client.path.display()));
            }
        }
        findings.push(if told.is_empty() {
            Finding::warning(
                tool,
                "not found",
                "to back up PostgreSQL, install its client programs in the server's version, or set pg_bin_dirs",
            )
        } else {
            Finding::good(tool, told.join(", "))
        });
        findings.extend(holes(tool, &found));
    }
    findings.push(redis(cancel));
    findings
}

/// A warning for each release of `tool` with a known hole.
fn holes(tool: &'static str, found: &[FoundClient]) -> Vec<Finding> {
    let mut warnings: Vec<Finding> = Vec::new();
    for client in found {
        let Some(hole) = client.known_hole() else { continue };
        let detail = format!("{}: {hole}", client.path.display());
        let is_told = |warning: &Finding| warning.detail.ends_with(&hole);
        if !warnings.iter().any(is_told) {
            let next = "install the newest minor release of PostgreSQL's client programs before you restore dumps of others";
            warnings.push(Finding::warning(tool, detail, next));
        }
    }
    warnings
}

fn redis(cancel: &Cancel) -> Finding {
    let limits = Limits::new(cancel.clone()).with_timeout(Some(VERSION_TIMEOUT));
    let invocation = Invocation::new("redis-cli").arg("--version");
    let mut answer = Vec::new();
    let told = CommandSource::new(invocation, limits)
        .open()
        .ok()
        .and_then(|dump| dump.take(1024).read_to_end(&mut answer).ok());
    let words = String::from_utf8_lossy(&answer);
    match words.lines().next().filter(|_| told.is_some()) {
        Some(line) if !line.is_empty() => Finding::good("redis-cli", line),
        // Most hosts have no Redis.
        _ => Finding::good("redis-cli", "not found (needed only for Redis)"),
    }
}
