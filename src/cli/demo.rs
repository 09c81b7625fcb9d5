//! `dumpvault demo`: how its days are told.

use super::args::DemoArgs;

use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::base::secret::OsEntropy;
use crate::engine::demo::{
    DemoDatabase, DemoDay, DemoPlan, DemoReport, DemoRestore, Milestone, WhyGenerated, World,
    passphrase_file, repository,
};
use crate::engine::report::Demo;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn run(context: &Context, args: &DemoArgs) -> Result<Exit, CliError> {
    let plan = DemoPlan {
        bytes: args.size.saturating_mul(1_000_000),
        keep: args.keep,
        scratch_parent: context.app.environment.temporary(),
        scratch_passable: context.app.environment.is_root(),
        workers: context.cores(),
        server: if args.generated {
            Err(WhyGenerated::Wished)
        } else {
            let search_path = context.app.environment.path("PATH");
            DemoPlan::server(
                &context.programs().own_clients(),
                search_path.as_ref().map(|path| path.as_os_str()),
            )
        },
    };
    let world = World {
        clock: &context.clock,
        entropy: Arc::new(OsEntropy),
        observer: &context.progress,
        cancel: &context.cancel,
    };
    let mut kept = None;
    let mut first_day = None;
    let outcome = plan.execute(&world, &mut |milestone| {
        match milestone {
            Milestone::Scratch(folder) => kept = plan.keep.then(|| folder.to_path_buf()),
            Milestone::Day(day) if first_day.is_none() => first_day = Some(day.bytes_stored),
            _ => {}
        }
        tell(context, milestone, first_day.unwrap_or(0));
    });
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            if let Some(folder) = kept {
                context.warn(format!("`{}` was kept: it holds what there is so far", folder.display()));
            }
            return Err(error.into());
        }
    };
    if context.json {
        context.report(Demo::from(&report));
    } else {
        conclude(context, &report);
    }
    Ok(if report.is_proven() { Exit::Good } else { Exit::Integrity })
}

/// What was reached, as it is reached. What is bad is said with --quiet, too.
fn tell(context: &Context, milestone: &Milestone<'_>, bytes_full_copy: u64) {
    match milestone {
        Milestone::Scratch(folder) => {
            context.say("Three days of a changing database, in a new directory.");
            context.say("");
            context.say(&format!("repository  {}, encrypted", repository(folder).display()));
        }
        Milestone::Database(database) => {
            context.say(&format!("database    {}", database_words(database)));
            let [dump, stored, copy, time, rate] = ["dump", "newly stored", "a full copy", "time", "rate"];
            context.say("");
            context.say(&format!("       {dump:>11}  {stored:>12}  {copy:>12}  {time:>7}  {rate:>13}"));
        }
        Milestone::Day(day) => context.say(&day_line(day, bytes_full_copy)),
        Milestone::Restored(restore) => {
            let line = restore_words(restore);
            context.say("");
            if restore.is_same { context.say(&line) } else { problem(context, &line) }
        }
        Milestone::Checked(check) => {
            let report = &check.report;
            let read = format!(
                "Every byte of the repository ({} in {} packs) was read, opened and compared in {}",
                render::bytes(report.bytes_read),
                report.packs,
                render::duration(check.duration_ms),
            );
            if report.is_clean() {
                context.say(&format!("{read}: no damage."));
                return;
            }
            problem(context, &format!("{read}: there is damage."));
            for damage in &report.damage {
                problem(context, &format!("damaged: {}: {}", damage.object, damage.what));
            }
            for hit in &report.hits {
                problem(context, &format!("incomplete: snapshot {}: {}", hit.id.short(), hit.what));
            }
        }
    }
}

/// A line that is said with --quiet, too; the JSON object has it in its own way.
fn problem(context: &Context, line: &str) {
    if !context.json {
        context.output(line);
    }
}

fn database_words(database: &DemoDatabase) -> String {
    let DemoDatabase { tables, rows, .. } = database;
    match &database.server {
        Ok(version) => {
            // Without what the packager adds in brackets.
            let number = version.split(' ').next().unwrap_or(version);
            let took = render::duration(database.duration_ms);
            format!("a private PostgreSQL {number}: a shop, {tables} tables, {rows} rows, loaded in {took}")
        }
        Err(why) => {
            let reason = match why {
                WhyGenerated::Wished => "",
                WhyGenerated::NoServer => " (no PostgreSQL server is installed)",
                WhyGenerated::DoesNotStart => " (the PostgreSQL server does not start)",
            };
            format!("generated dumps{reason}: a shop, {tables} tables, {rows} rows")
        }
    }
}

fn day_line(day: &DemoDay, bytes_full_copy: u64) -> String {
    let since = match day.rows_touched {
        0 => String::new(),
        rows => format!("  after {rows} rows changed"),
    };
    format!(
        "day {}  {:>11}  {:>12}  {:>12}  {:>7}  {:>13}{since}",
        day.day,
        render::bytes(day.bytes),
        render::bytes(day.bytes_stored),
        render::bytes(bytes_full_copy),
        render::duration(day.duration_ms),
        format!("{}/s", render::bytes(rate(day.bytes, day.duration_ms))),
    )
}

fn restore_words(restore: &DemoRestore) -> String {
    let DemoRestore { day, is_same, .. } = restore;
    let took = render::duration(restore.duration_ms);
    match (restore.into_database, is_same) {
        (true, true) => {
            format!(
                "Day {day} was restored into a second database in {took}: pg_dump writes the same for both, byte for byte."
            )
        }
        (true, false) => {
            format!(
                "Day {day} was restored into a second database in {took}: it is NOT THE SAME as the first."
            )
        }
        (false, true) => {
            format!("Day {day} was restored in {took}: it is the dump that was backed up, byte for byte.")
        }
        (false, false) => {
            format!("Day {day} was restored in {took}: it is NOT THE DUMP that was backed up.")
        }
    }
}

fn conclude(context: &Context, report: &DemoReport) {
    let days = report.days.len() as u64;
    context.say("");
    context.say(&format!(
        "{days} dumps of {} in all take {} here; {days} compressed copies would take {}.",
        render::bytes(report.bytes()),
        render::bytes(report.bytes_stored()),
        render::bytes(report.bytes_full_copy().saturating_mul(days)),
    ));
    if report.is_proven() {
        context.say("Each day restores bit for bit, on its own, and only with the passphrase.");
    }
    let took = render::duration(report.duration_ms);
    match &report.folder {
        None => context.say(&format!("Done in {took}; all demo files were removed.")),
        Some(folder) => {
            context.say(&format!("Done in {took}; the repository was kept. Look around in it:"));
            context.say("");
            context.say(&format!("  {} snapshots", opening(folder)));
            context.say(&format!("  {} restore shop~1 --output shop.dump", opening(folder)));
        }
    }
    for line in [
        "",
        "The same with your own data:",
        "",
        "  dumpvault --repo /srv/vault init",
        "  dumpvault --repo /srv/vault backup --pg-database app",
        "  dumpvault --repo /srv/vault restore app --to-database app_copy --create",
    ] {
        context.say(line);
    }
}

/// The program with what opens the kept repository.
fn opening(folder: &Path) -> String {
    let quoted = |path: PathBuf| {
        let text = path.display().to_string();
        let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+".contains(c));
        if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    format!(
        "dumpvault --repo {} --password-file {}",
        quoted(repository(folder)),
        quoted(passphrase_file(folder))
    )
}

fn rate(bytes: u64, ms: u64) -> u64 {
    bytes.saturating_mul(1000) / ms.max(1)
}
