//! `dumpvault demo`.

use super::args::DemoArgs;
use super::report::{CliError, Exit};
use super::{Context, render};
use crate::clock::Clock;
use crate::crypto::Credential;
use crate::ops::demo::{Demo, DemoDay, DemoReport, DemoSource};
use crate::repo::format::config::Config;
use crate::repo::{Repository, Surroundings};
use crate::secret::{OsEntropy, Passphrase, SecretKey};
use crate::source::postgres::PrivateServer;
use crate::storage::local::LocalStorage;
use serde_json::json;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder that goes when this does, unless it is to stay.
struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // Safe to ignore because the folder lies where the system clears up by itself.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

pub(super) fn run(context: &Context, args: &DemoArgs) -> Result<Exit, CliError> {
    let secret = SecretKey::random(context.app.entropy()).map_err(crate::repo::RepoError::from)?;
    let passphrase = blake3::hash(secret.expose()).to_hex().to_string();
    let scratch = make_scratch(&passphrase, args.keep)?;
    let home = &scratch.path;
    let surroundings = Surroundings { entropy: Arc::new(OsEntropy), cache_root: home.join("cache") };
    let repository = home.join("repository");
    let storage = Arc::new(LocalStorage::create(&repository).map_err(crate::repo::RepoError::from)?);
    let credential = Credential::Passphrase(Passphrase::new(passphrase));
    let config = Config::new(context.clock.now().as_millisecond());
    let repo = Repository::init(storage, &credential, "demo", config, &surroundings)?;

    let source = source(context, args, home)?;
    let kind = match &source {
        DemoSource::Postgres(_) => "a private PostgreSQL server with a shop's database",
        DemoSource::Generated => {
            "generated dumps of a shop's database (no PostgreSQL server is installed, or --generated)"
        }
    };
    context.say(&format!("An encrypted repository in {}, {kind}.\n", repository.display()));
    let demo = Demo {
        repo,
        source,
        bytes: args.size.max(1) << 20,
        cores: context.cores(),
        clock: &context.clock,
        observer: &context.progress,
        cancel: &context.cancel,
    };
    let report = demo.run(&mut |day| context.say(&day_line(day)))?;
    // The server goes before its folder.
    drop(demo);
    if context.json {
        context.output(&to_json(&report).to_string());
    } else {
        conclude(context, &report, &scratch);
    }
    Ok(if report.is_proven() { Exit::Good } else { Exit::Integrity })
}

fn make_scratch(passphrase: &str, keep: bool) -> Result<Scratch, CliError> {
    let name: String = blake3::hash(passphrase.as_bytes()).to_hex().chars().take(10).collect();
    let path = std::env::temp_dir().join(format!("dumpvault-demo-{name}"));
    let failed = |path: &Path, source| CliError::File { path: path.display().to_string(), source };
    // Others may pass through, since the private server runs as another user; what is secret is closed by itself.
    DirBuilder::new().mode(0o711).create(&path).map_err(|source| failed(&path, source))?;
    let scratch = Scratch { path, keep };
    let file = scratch.path.join("passphrase");
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let written = opened.and_then(|mut out| std::io::Write::write_all(&mut out, passphrase.as_bytes()));
    written.map_err(|source| failed(&file, source))?;
    Ok(scratch)
}

/// A private server where one is installed, generated dumps otherwise.
fn source(context: &Context, args: &DemoArgs, home: &Path) -> Result<DemoSource, CliError> {
    if args.generated {
        return Ok(DemoSource::Generated);
    }
    let Some(bin) = PrivateServer::installed() else { return Ok(DemoSource::Generated) };
    let folder = home.join("pg");
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.map_err(|source| CliError::File { path: folder.display().to_string(), source })?;
    match PrivateServer::start(&bin, &folder) {
        Ok(server) => Ok(DemoSource::Postgres(server)),
        Err(error) => {
            context
                .warn(format!("a private PostgreSQL server does not start ({error}); using generated dumps"));
            Ok(DemoSource::Generated)
        }
    }
}

fn day_line(day: &DemoDay) -> String {
    let rate = day.bytes.saturating_mul(1000) / day.duration_ms.max(1);
    format!(
        "Day {}: a dump of {:>10}, stored {:>10} ({:>4.1} % of it), in {} ({}/s)",
        day.day,
        render::bytes(day.bytes),
        render::bytes(day.bytes_stored),
        day.bytes_stored as f64 * 100.0 / day.bytes.max(1) as f64,
        render::duration(day.duration_ms),
        render::bytes(rate),
    )
}

fn totals(report: &DemoReport) -> (u64, u64) {
    report.days.iter().fold((0, 0), |(plain, stored), day| (plain + day.bytes, stored + day.bytes_stored))
}

fn conclude(context: &Context, report: &DemoReport, scratch: &Scratch) {
    let (plain, stored) = totals(report);
    let word = |good: bool, yes: &'static str, no: &'static str| if good { yes } else { no };
    context.say(&format!(
        "\nRestored day {} in {}: {}.",
        report.days.len(),
        render::duration(report.restore_ms),
        word(report.restored_equal, "byte for byte what was backed up", "NOT EQUAL to what was backed up"),
    ));
    context.say(&format!(
        "Checked {} of packs, every byte read back: {}.",
        render::bytes(report.bytes_checked),
        word(report.check_clean, "no damage", "DAMAGE FOUND"),
    ));
    context.say(&format!(
        "\n{} dumps of {} in all take {}. Every one restores by itself.",
        report.days.len(),
        render::bytes(plain),
        render::bytes(stored),
    ));
    if scratch.keep {
        let home = scratch.path.display();
        context.say(&format!(
            "\nThe folder stays: dumpvault --repo {home}/repository --password-file {home}/passphrase snapshots"
        ));
    }
    context.say(
        "\nWith your own data:\n  dumpvault --repo /srv/vault init\n  dumpvault --repo /srv/vault backup postgres://user@host/app\n  dumpvault --repo /srv/vault restore app --to-database app_copy --create",
    );
}

fn to_json(report: &DemoReport) -> serde_json::Value {
    let (plain, stored) = totals(report);
    let days: Vec<_> = report
        .days
        .iter()
        .map(|day| {
            json!({
                "day": day.day, "bytes": day.bytes, "bytes_stored": day.bytes_stored,
                "duration_ms": day.duration_ms,
            })
        })
        .collect();
    json!({
        "version": 1, "ok": report.is_proven(), "days": days, "bytes": plain, "bytes_stored": stored,
        "restored_equal": report.restored_equal, "restore_ms": report.restore_ms,
        "check_clean": report.check_clean, "bytes_checked": report.bytes_checked,
    })
}
