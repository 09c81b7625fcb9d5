//! `dumpvault demo`: how its days are told.

use super::args::DemoArgs;

use super::exit::Exit;
use super::report::CliError;
use super::{Context, render};
use crate::base::secret::OsEntropy;
use crate::engine::demo::{
    DemoDatabase, DemoDay, DemoFile, DemoFlip, DemoPlan, DemoReport, DemoRestore, DemoTable, Milestone,
    WhyGenerated, World, passphrase_file, repository,
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
        run: context.run(),
    };
    let mut kept = None;
    let mut first_day = None;
    let outcome = plan.execute(&world, &mut |milestone| {
        match milestone {
            Milestone::Scratch(folder) => kept = plan.keep.then(|| folder.to_path_buf()),
            Milestone::Day(day) if first_day.is_none() => {
                first_day = Some((day.bytes_stored, day.uploads.bytes_stored));
            }
            _ => {}
        }
        tell(context, milestone, first_day.unwrap_or_default());
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
fn tell(context: &Context, milestone: &Milestone<'_>, full_copies: (u64, u64)) {
    match milestone {
        Milestone::Scratch(folder) => {
            context.say(
                "Three days of a shop, in a new directory: a database, and a folder of uploads beside it.",
            );
            context.say("");
            context.say(&format!("repository  {}, encrypted", repository(folder).display()));
        }
        Milestone::Database(database) => {
            context.say(&format!("database    {}", database_words(database)));
            let [size, stored, copy, time, rate] = ["size", "newly stored", "a full copy", "time", "rate"];
            context.say("");
            context
                .say(&format!("                {size:>11}  {stored:>12}  {copy:>12}  {time:>7}  {rate:>13}"));
        }
        Milestone::Day(day) => {
            context.say(&day_line(day, full_copies.0));
            context.say(&uploads_line(day, full_copies.1));
        }
        Milestone::Restored(restore) => {
            let line = restore_words(restore);
            context.say("");
            if restore.is_same { context.say(&line) } else { problem(context, &line) }
        }
        Milestone::Returned(table) => {
            let line = table_words(table);
            if table.is_same { context.say(&line) } else { problem(context, &line) }
        }
        Milestone::FileReturned(file) => {
            let line = file_words(file);
            if file.is_same { context.say(&line) } else { problem(context, &line) }
        }
        Milestone::Flipped(flip) => {
            let line = flip_words(flip);
            if flip.is_found { context.say(&line) } else { problem(context, &line) }
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
    let what = format!("day {}  shop", day.day);
    columns(&what, (day.bytes, day.bytes_stored, bytes_full_copy), day.duration_ms) + &since
}

fn uploads_line(day: &DemoDay, bytes_full_copy: u64) -> String {
    let uploads = &day.uploads;
    let since = match uploads.files_touched {
        0 => format!("  {} files", uploads.files),
        files => format!("  after {files} of {} files changed", uploads.files),
    };
    let bytes = (uploads.bytes, uploads.bytes_stored, bytes_full_copy);
    columns("       uploads", bytes, uploads.duration_ms) + &since
}

fn columns(what: &str, (bytes, stored, full_copy): (u64, u64, u64), ms: u64) -> String {
    format!(
        "{what:<14}  {:>11}  {:>12}  {:>12}  {:>7}  {:>13}",
        render::bytes(bytes),
        render::bytes(stored),
        render::bytes(full_copy),
        render::duration(ms),
        format!("{}/s", render::bytes(rate(bytes, ms))),
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

fn table_words(table: &DemoTable) -> String {
    let DemoTable { table: name, rows, bytes, is_same, .. } = table;
    let verdict = if *is_same { "they are the same" } else { "they are NOT THE SAME" };
    format!(
        "Table {name} was dropped. Its {rows} rows came back in {} by reading {} of the dump: {verdict}.",
        render::duration(table.duration_ms),
        render::bytes(*bytes)
    )
}

fn file_words(file: &DemoFile) -> String {
    let verdict = if file.is_same { "it is the same" } else { "it is NOT THE SAME" };
    format!(
        "File {} was deleted. It came back in {}: {verdict}.",
        file.name,
        render::duration(file.duration_ms)
    )
}

fn flip_words(flip: &DemoFlip) -> String {
    let pack = flip.pack.get(..8).unwrap_or(&flip.pack);
    let took = render::duration(flip.duration_ms);
    match flip.is_found {
        true => format!(
            "One bit of pack {pack} was flipped: a check found it and named {}. The bit was put back ({took}).",
            render::count(flip.snapshots, "snapshot")
        ),
        false => format!("One bit of pack {pack} was flipped, and the check did NOT FIND IT."),
    }
}

fn conclude(context: &Context, report: &DemoReport) {
    let days = report.days.len();
    let saved = report.saved();
    let found = u64::from(report.flip.is_found);
    context.say("");
    context.say("What was saved");
    for (title, value) in [
        ("snapshots", format!("{}, of which each restores on its own", saved.snapshots)),
        ("read", format!("{} of dumps and files", render::bytes(saved.bytes))),
        (
            "stored",
            format!(
                "{}; {days} compressed copies would take {}",
                render::bytes(saved.bytes_stored),
                render::bytes(saved.bytes_full_copies)
            ),
        ),
        ("restores", format!("{} of {} brought back the same bytes", saved.restores_proven, saved.restores)),
        ("damage", format!("{found} of 1 flipped bit was found")),
    ] {
        context.say(&format!("  {title:<10}{value}"));
    }
    context.say("");
    let took = render::duration(report.duration_ms);
    match &report.folder {
        None => context.say(&format!("Done in {took}; all demo files were removed.")),
        Some(folder) => {
            context.say(&format!("Done in {took}; the repository was kept. Look around in it:"));
            context.say("");
            context.say(&format!("  {} snapshots", opening(folder)));
            context.say(&format!("  {} restore shop~1 --output shop.dump", opening(folder)));
            context.say(&format!("  {} restore uploads --to-dir restored", opening(folder)));
        }
    }
    for line in [
        "",
        "The same with your own data:",
        "",
        "  dumpvault --repo /srv/vault init",
        "  dumpvault --repo /srv/vault backup --pg-database app",
        "  dumpvault --repo /srv/vault backup --series uploads --path /srv/app/uploads",
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
