//! The settings: each described once. `docs/configuration.md` and `dumpvault config example` are made of this.

use crate::base::level::Level;
use crate::base::name::SeriesName;
use crate::base::pattern::NamePattern;
use crate::base::retention::Representative;
use crate::base::secret::Passphrase;
use crate::base::setting::{
    AGE, BOOLEAN, COMMAND, COUNT, Described, Entry, FACTOR, FILE, FRACTION, HOST, Key, Kind, LEVEL, PART,
    PATHS, Problem, QUERIES, Raw, SECRET, SERIES, SINCE, SIZE, SOME, Section, TAGS, TEXT, TEXTS, TIME,
    VARIABLES, WORDS, ZONE,
};
use crate::base::unit::{Age, Since};
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A kind of source: its name for `type`, and its own keys.
#[derive(Clone, Copy)]
pub struct SourceKind {
    /// `postgres`
    pub name: &'static str,
    /// Its keys in `[source.NAME]`.
    pub section: &'static Section,
    /// What addresses for it begin with.
    pub schemes: &'static [&'static str],
}

/// A kind of storage that has settings: its name, and its keys.
#[derive(Clone, Copy)]
pub struct StorageKind {
    /// `s3`, also the name of its table.
    pub name: &'static str,
    /// Its keys.
    pub section: &'static Section,
    /// The same of a destination.
    pub of_copy: &'static Section,
}

fn some(raw: &Raw) -> Option<Raw> {
    Some(raw.clone())
}

/// A day of the week.
const WEEKDAY: Kind<Weekday> = Kind { word: "weekday", parse: weekday, show: some };
/// Patterns of databases.
const PATTERNS: Kind<Vec<NamePattern>> = Kind {
    word: "list of names and patterns",
    parse: |raw| {
        let each = raw.texts()?.into_iter().map(|text| text.parse());
        each.collect::<Result<_, _>>()
            .map_err(|error: crate::base::pattern::PatternError| Problem::new(error.to_string()))
    },
    show: some,
};
/// Series, each perhaps with its host.
const SERIES_NAMES: Kind<Vec<SeriesName>> = Kind {
    word: "list of series",
    parse: |raw| {
        let each = raw.texts()?.into_iter().map(|text| SeriesName::parse(&text));
        each.collect::<Result<_, _>>().map_err(|error| Problem::new(error.to_string()).next(error.hint()))
    },
    show: some,
};
/// Whose packs backups with an append key rely on; true for everybody's.
const DEDUP: Kind<bool> = Kind {
    word: "choice",
    parse: |raw| match raw.text()? {
        "trusted" => Ok(false),
        "all" => Ok(true),
        other => Err(Problem::new(format!("invalid value `{other}`")).next("use trusted or all")),
    },
    show: some,
};
/// Which snapshot of a day, week and so on is kept.
const KEEP: Kind<Representative> = Kind {
    word: "choice",
    parse: |raw| match raw.text()? {
        "first" => Ok(Representative::First),
        "last" => Ok(Representative::Last),
        other => Err(Problem::new(format!("invalid value `{other}`")).next("use first or last")),
    },
    show: some,
};
fn weekday(raw: &Raw) -> Result<Weekday, Problem> {
    let name = raw.text()?;
    Ok(match name.to_ascii_lowercase().as_str() {
        "sunday" => Weekday::Sunday,
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        _ => {
            return Err(
                Problem::new(format!("invalid weekday `{name}`")).next("use sunday, monday and so on")
            );
        }
    })
}

/// Declares keys, and the section of all of them.
macro_rules! section {
    ($(#[$about:meta])* $section:ident, $name:literal, $which:literal, $words:literal,
     $($key:ident: $type:ty = $kind:ident, $entry:expr;)*) => {
        $(pub(super) static $key: Key<$type> = Key::new(&$kind, $entry);)*
        $(#[$about])*
        pub(super) static $section: Section =
            Section { name: $name, which: $which, about: $words, keys: &[$(&$key as &dyn Described),*] };
    };
}

section! {
    /// What stands in no table.
    TOP, "", "", "What holds for all commands.",
    REPOSITORY: String = TEXT, Entry::new(
        "repository", "Address of the repository: a directory, file:///path, s3://bucket/prefix, azure://container/prefix or gs://bucket/prefix.",
        "\"s3://company-vault/db1\"").flag("--repo").variable("DUMPVAULT_REPOSITORY");
    KEY_FILE: PathBuf = FILE, Entry::new(
        "key_file", "Key file that opens the repository.", "\"/root/vault.key\"")
        .flag("--key-file").variable("DUMPVAULT_KEY_FILE");
    MAINTENANCE_KEY_FILE: PathBuf = FILE, Entry::new(
        "maintenance_key_file", "Key file of a full key, with which `run` does forget, prune and check where backups have an append key.",
        "\"/root/maintenance.key\"").variable("DUMPVAULT_MAINTENANCE_KEY_FILE");
    PASSWORD: Passphrase = SECRET, Entry::new(
        "password", "Passphrase of the repository. Only in the environment; a file names `password_file`.", "\"\"")
        .variable("DUMPVAULT_PASSWORD").not_in_file();
    PASSWORD_FILE: PathBuf = FILE, Entry::new(
        "password_file", "File with the passphrase in its first line.", "\"/root/vault.pass\"")
        .flag("--password-file").variable("DUMPVAULT_PASSWORD_FILE");
    PASSWORD_COMMAND: String = COMMAND, Entry::new(
        "password_command", "Shell command that prints the passphrase.", "\"pass show vault\"")
        .variable("DUMPVAULT_PASSWORD_COMMAND");
    PASSWORD_COMMAND_TIMEOUT: Duration = TIME, Entry::new(
        "password_command_timeout", "Stop a password command that runs longer.", "\"2m\"")
        .default("60s").variable("DUMPVAULT_PASSWORD_COMMAND_TIMEOUT");
    HOST_NAME: String = HOST, Entry::new(
        "host", "Name of this host in snapshots; the machine's own name otherwise.", "\"db1\"");
    TIME_ZONE: TimeZone = ZONE, Entry::new(
        "time_zone", "Time zone whose days count; the system's otherwise.", "\"Europe/Berlin\"");
    WEEK_START: Weekday = WEEKDAY, Entry::new("week_start", "First day of the week.", "\"monday\"").default("sunday");
    COMPRESSION: Level = LEVEL, Entry::new(
        "compression", "Compression: columns (rows by column), auto (columns, or zstd while the source is faster), zstd, fast, max, or a zstd level, 0 (off) to 19.", "\"max\"")
        .default("columns").flag("--compression");
    MAX_READ_AMPLIFICATION: f64 = FACTOR, Entry::new(
        "max_read_amplification",
        "Store a full copy once restoring the parent would read more than this times its own stored size.", "3")
        .default("3").flag("--max-read-amplification");
    SUSPECT_BELOW: f64 = FRACTION, Entry::new(
        "suspect_below",
        "Mark a snapshot suspect if a stream is smaller than this fraction of its usual size, or lost all rows of a table; 0 disables.",
        "0.5").default("0.5").flag("--suspect-below");
    DEDUP_REACH: bool = DEDUP, Entry::new(
        "dedup",
        "Whose packs backups with an append key rely on: `trusted` (full keys' and their own) or `all`. With `all`, a host that was broken into can spoil later backups of others.",
        "\"trusted\"").default("trusted");
    LIMIT_UPLOAD: u64 = SIZE, Entry::new(
        "limit_upload", "Send at most this many bytes a second; 0 for no limit.", "\"10M\"").flag("--limit-upload");
    LIMIT_DOWNLOAD: u64 = SIZE, Entry::new(
        "limit_download", "Receive at most this many bytes a second; 0 for no limit.", "\"50M\"")
        .flag("--limit-download");
    CACHE_SIZE: u64 = SIZE, Entry::new(
        "cache_size", "Size of the pack cache on this machine; 0 for none.", "\"4G\"").default("2G").flag("--cache-size");
    PG_BIN_DIRS: Vec<PathBuf> = PATHS, Entry::new(
        "pg_bin_dirs", "Directories with PostgreSQL's client programs, searched first.", "[\"/usr/lib/postgresql/18/bin\"]");
    PROTECT: Vec<NamePattern> = PATTERNS, Entry::new(
        "protect", "Databases that no restore touches while they hold something.", "[\"shop\", \"billing_*\"]");
    EXEC: Vec<OsString> = WORDS, Entry::new(
        "exec", "Run PostgreSQL's client programs through this command; a list where an argument holds a blank.",
        "\"docker exec -i db\"").flag("--pg-exec");
    EXEC_SHELL: bool = BOOLEAN, Entry::new(
        "exec_shell", "Whether that command has a shell split its arguments once more, as `ssh` does.", "true")
        .default("false");
    PASS_ENV: Vec<String> = TEXTS, Entry::new(
        "pass_env", "Variables that all programs get though they look like secrets of dumpvault.", "[\"AWS_PROFILE\"]");
}

section! {
    /// What forget keeps.
    RETENTION_TABLE, "retention", "",
    "What `forget` keeps of a series whose source has no rules of its own. A snapshot stays if any rule keeps it.",
    KEEP_LAST: u32 = COUNT, Entry::new("keep_last", "Keep the newest N snapshots.", "3");
    KEEP_HOURLY: u32 = COUNT, Entry::new("keep_hourly", "Keep one snapshot of each of the last N hours that have one.", "24");
    KEEP_DAILY: u32 = COUNT, Entry::new("keep_daily", "The same for days.", "7");
    KEEP_WEEKLY: u32 = COUNT, Entry::new("keep_weekly", "The same for weeks.", "4");
    KEEP_MONTHLY: u32 = COUNT, Entry::new("keep_monthly", "The same for months.", "12");
    KEEP_YEARLY: u32 = COUNT, Entry::new("keep_yearly", "The same for years.", "3");
    KEEP_WITHIN: Age = AGE, Entry::new(
        "keep_within", "Keep snapshots at most this much older than the newest: 36h, 30d, 2w, 6mo, 1y.", "\"30d\"");
    KEEP_TAGS: Vec<String> = TEXTS, Entry::new("keep_tags", "Keep snapshots with one of these tags.", "[\"release\"]");
    KEEP_WHICH: Representative = KEEP, Entry::new(
        "keep", "Which snapshot of an hour, day, week, month or year to keep: first or last.", "\"last\"").default("first");
}

section! {
    /// Commands around restores.
    RESTORE_TABLE, "restore", "", "Shell commands that run around restores into databases.",
    BEFORE: String = COMMAND, Entry::new(
        "before", "Run before anything changes; if it fails, nothing is restored.", "\"systemctl stop app\"").flag("--before");
    AFTER: String = COMMAND, Entry::new("after", "Run after a successful restore.", "\"systemctl start app\"").flag("--after");
    AFTER_FAILURE: String = COMMAND, Entry::new("after_failure", "Run after a failed restore.", "\"systemctl start app\"").flag("--after-failure");
}

section! {
    /// What every kind of source has.
    SOURCE_TABLE, "source.NAME", "",
    "A source that `dumpvault backup NAME` stores. Keys of its kind are listed below.",
    KIND: String = TEXT, Entry::new(
        "type", "Kind of the source; may be left out where its other settings tell.", "\"postgres\"");
    SOURCE_SERIES: String = SERIES, Entry::new("series", "Series of its snapshots; the source's name otherwise.", "\"website\"");
    SOURCE_TAGS: Vec<String> = TAGS, Entry::new("tags", "Tags of its snapshots.", "[\"nightly\"]");
    SOURCE_TIMEOUT: Duration = TIME, Entry::new("timeout", "Stop a dump that runs longer.", "\"2h\"");
    ALLOW_EMPTY: bool = BOOLEAN, Entry::new("allow_empty", "Accept an empty dump.", "true").default("false");
    SOURCE_COMPRESSION: Level = LEVEL, Entry::new("compression", "In the place of `compression` for all.", "\"fast\"");
    SOURCE_SUSPECT_BELOW: f64 = FRACTION, Entry::new(
        "suspect_below", "In the place of `suspect_below` for all.", "\"20%\"");
    SOURCE_ENV: BTreeMap<String, String> = VARIABLES, Entry::new(
        "env", "Variables for its programs.", "{ PGSSLMODE = \"require\" }");
    ENV_FILE: PathBuf = FILE, Entry::new(
        "env_file", "File with more of them, NAME=value on each line; those of `env` come before it.", "\"/etc/dumpvault/app.env\"");
    SOURCE_PASS_ENV: Vec<String> = TEXTS, Entry::new(
        "pass_env", "Variables that its programs get though they look like secrets of dumpvault.", "[\"AWS_PROFILE\"]");
    RUN_AS: String = TEXT, Entry::new("run_as", "User of the system that its programs run as.", "\"postgres\"");
    WORKDIR: PathBuf = FILE, Entry::new("workdir", "Folder that its programs run in.", "\"/srv/app\"");
    REQUIRED: bool = BOOLEAN, Entry::new(
        "required", "Whether a `run` has failed when this source has. If not, its failure is a warning.", "false").default("true");
    NEEDS: Vec<String> = TEXTS, Entry::new(
        "needs", "Sources that come first in a `run`; if one of them fails, this one is skipped.", "[\"db\"]");
    REFERENCES: BTreeMap<String, String> = QUERIES, Entry::new(
        "references",
        "By source of files: a query whose first column names a file of it in each row. `verify SYSTEM` looks for them. `\"DATABASE:SOURCE\"` where this source has several databases.",
        "{ uploads = \"SELECT path FROM uploads\" }");
    RETRIES: u32 = COUNT, Entry::new("retries", "How often a `run` tries this source again after a failure.", "2").default("0");
    BACKUP_BEFORE: String = COMMAND, Entry::new(
        "before", "Shell command to run before a backup of this source; if it fails, the source is not read.", "\"lvcreate --snapshot …\"");
    BACKUP_AFTER: String = COMMAND, Entry::new(
        "after", "Shell command to run after a successful backup.", "\"lvremove --yes …\"");
    BACKUP_AFTER_FAILURE: String = COMMAND, Entry::new(
        "after_failure", "Shell command to run after a failed backup.", "\"lvremove --yes …\"");
}

section! {
    /// What is backed up together.
    SYSTEM_TABLE, "system.NAME", "",
    "Sources that `dumpvault run NAME` stores together, and what it does afterwards.",
    SYSTEM_SOURCES: Vec<String> = TEXTS, Entry::new(
        "sources", "Names of its sources, in the order in which they are read: what refers to others first (queue, database, files).",
        "[\"app\"]");
    SYSTEM_PARALLEL: u32 = SOME, Entry::new(
        "parallel", "Read at most this many of its sources at the same time.", "1").default("2");
    SYSTEM_FORGET: bool = BOOLEAN, Entry::new(
        "forget", "Afterwards, apply the retention rules to the series of its sources.", "true").default("false");
    SYSTEM_PRUNE: Age = AGE, Entry::new(
        "prune", "Afterwards, prune if the last prune from this host is older than this.", "\"7d\"");
    SYSTEM_CHECK: f64 = PART, Entry::new(
        "check", "Afterwards, check this share of the packs.", "\"1/30\"");
    SYSTEM_COPY: Vec<String> = TEXTS, Entry::new(
        "copy", "Afterwards, copy to these destinations of `[copy.NAME]`.", "[\"offsite\"]");
}

section! {
    /// Repositories to copy into.
    COPY_TABLE, "copy.NAME", "", "A repository that `dumpvault copy` copies snapshots into.",
    COPY_REPOSITORY: String = TEXT, Entry::new(
        "repository", "Address of the repository to copy into.", "\"s3://offsite-vault/db1\"");
    TO_KEY_FILE: PathBuf = FILE, Entry::new(
        "key_file", "Its key file. Where nothing says how it is opened, it is what opens the source.", "\"/root/offsite.key\"")
        .flag("--to-key-file").variable("DUMPVAULT_TO_KEY_FILE");
    TO_PASSWORD: Passphrase = SECRET, Entry::new("password", "Its passphrase. Only in the environment.", "\"\"")
        .variable("DUMPVAULT_TO_PASSWORD").not_in_file();
    TO_PASSWORD_FILE: PathBuf = FILE, Entry::new(
        "password_file", "File with its passphrase in the first line.", "\"/root/offsite.pass\"")
        .flag("--to-password-file").variable("DUMPVAULT_TO_PASSWORD_FILE");
    TO_PASSWORD_COMMAND: String = COMMAND, Entry::new(
        "password_command", "Shell command that prints its passphrase.", "\"pass show offsite\"")
        .variable("DUMPVAULT_TO_PASSWORD_COMMAND");
    COPY_SERIES: Vec<SeriesName> = SERIES_NAMES, Entry::new("series", "Copy only these series.", "[\"app\", \"db1/web\"]");
    COPY_HOST: String = TEXT, Entry::new("host", "Copy only snapshots of this host.", "\"db1\"");
    COPY_TAGS: Vec<String> = TEXTS, Entry::new(
        "tags", "Copy only snapshots with all of these tags.", "[\"weekly\"]");
    COPY_SINCE: Since = SINCE, Entry::new("since", "Copy only dumps made since then.", "\"30d\"");
    COPY_COMPRESSION: Level = LEVEL, Entry::new("compression", "Compress anew at the destination, at this level.", "\"max\"");
}

/// The same keys in another table.
static SOURCE_RETENTION: Section = Section {
    name: "source.NAME.retention",
    which: "",
    about: "What `forget` keeps of this source's series, in the place of `[retention]`.",
    keys: RETENTION_TABLE.keys,
};
static SYSTEM_RETENTION: Section = Section {
    name: "system.NAME.retention",
    which: "",
    about: "What `forget` keeps of the runs of this system: a snapshot stays with its run, whatever its own rules say.",
    keys: RETENTION_TABLE.keys,
};

/// All tables, with those of the kinds of sources and storages.
pub fn sections(kinds: &[SourceKind], storages: &[StorageKind]) -> Vec<&'static Section> {
    let mut sections = vec![&TOP];
    sections.extend(storages.iter().map(|kind| kind.section));
    sections.extend([&RETENTION_TABLE, &RESTORE_TABLE, &SOURCE_TABLE]);
    sections.extend(kinds.iter().map(|kind| kind.section));
    sections.extend([&SOURCE_RETENTION, &SYSTEM_TABLE, &SYSTEM_RETENTION, &COPY_TABLE]);
    sections.extend(storages.iter().map(|kind| kind.of_copy));
    sections.extend(super::jobs::SECTIONS);
    sections.extend(super::alerts::SECTIONS);
    sections.push(&super::serve::SERVE_TABLE);
    sections
}

/// `docs/configuration.md`.
pub fn manual(sections: &[&Section]) -> String {
    const INTRO: &str = "# Configuration

This page is made from the program's own description of its settings, as is `dumpvault config example`.

The first of these files that is there is read: `./dumpvault.toml`, `$XDG_CONFIG_HOME/dumpvault/config.toml`,
`/etc/dumpvault/config.toml`; or the one that `--config` or `DUMPVAULT_CONFIG` names. It is written in TOML. Only you and root may be able to write to it.
The command line comes before the environment, the environment before the file.

Every command checks the whole file, also what it does not need itself, and names file and line of what is wrong.
`dumpvault config check` lists everything that is wrong; `dumpvault config show` tells every value and where it comes from.

- **size**: `500M`, `2G` or a number of bytes; units are powers of 1024.
- **duration**: `90s`, `30m`, `1h 30m`, or a number of seconds.
- **age**: `36h`, `30d`, `2w`, `6mo`, `1y`.
- **fraction**: `0.1`, `10%` or `1/30`.
- **command**: text that is split at blanks, or a list of words.
";
    format!("{INTRO}{}", crate::base::setting::manual(sections))
}
