//! `dumpvault status`: how ages are shown, and how monitoring programs are told.

use super::args::StatusArgs;
use super::exit::Exit;
use super::render;
use super::report::CliError;
use super::style::Colour;
use super::table::Table;
use super::{Context, print, remember};
use crate::base::clock::Clock;
use crate::base::name::SeriesName;
use crate::engine::report::Status;
use crate::engine::status::{SeriesStatus, StatusReport, StatusRequest, status};
use crate::settings::age;

pub(super) fn run(context: &Context, args: &StatusArgs) -> Result<Exit, CliError> {
    let now = context.clock.now();
    let zone = context.app.settings.calendar.zone.clone();
    let oldest = args.max_age.as_deref().map(|text| age(text, "--max-age")).transpose()?;
    let host = context.app.host();
    let sources = context.app.settings.sources.values();
    let request = StatusRequest {
        series: args.series.as_deref().map(SeriesName::parse).transpose()?,
        expected: sources.map(|source| (source.series.clone(), host.clone())).collect(),
        not_before: oldest.map(|age| age.before(now, &zone)),
    };
    let found = context
        .repository()
        .and_then(|repo| status(&repo, &request, context.progress.as_ref()).map_err(CliError::from));
    let found = match found {
        Ok(found) => found,
        Err(error) if args.nagios => {
            print(&format!("DUMPVAULT UNKNOWN - {error}"));
            return Ok(plugin(Exit::NothingDone));
        }
        Err(error) => return Err(error.ends(Exit::NothingDone)),
    };
    remember(context, &found.present, now.as_millisecond());
    let exit = match (found.unclear.is_empty(), found.is_too_old()) {
        (_, true) => Exit::Partial,
        (false, false) => Exit::NothingDone,
        (true, false) => Exit::Good,
    };
    if args.nagios {
        context.progress.suspend(|| print(&line(context, &found, exit)));
        return Ok(plugin(exit));
    }
    if context.json {
        context.report(Status::new(&found, now));
        return Ok(exit);
    }
    tell(context, &found);
    Ok(exit)
}

/// What monitoring plugins end with: 0 OK, 2 critical, 3 unknown.
fn plugin(exit: Exit) -> Exit {
    match exit {
        Exit::Good => Exit::Good,
        Exit::Partial => Exit::NothingDone,
        _ => Exit::Usage,
    }
}

/// How old the good snapshot is.
fn age_of(context: &Context, one: &SeriesStatus) -> Option<String> {
    let now_ms = context.clock.now().as_millisecond();
    one.good.as_ref().map(|good| render::ago(now_ms.saturating_sub(good.head.time_ms)))
}

/// One line of a monitoring plugin.
fn line(context: &Context, found: &StatusReport, exit: Exit) -> String {
    let name = |one: &SeriesStatus| format!("{}/{}", one.host, one.series);
    let old: Vec<String> = found
        .series
        .iter()
        .filter(|one| one.is_too_old)
        .map(|one| match age_of(context, one) {
            Some(age) => format!("{} ({age})", name(one)),
            None => format!("{} (no good snapshot)", name(one)),
        })
        .collect();
    match exit {
        Exit::Good => format!("DUMPVAULT OK - {}", render::count(found.series.len(), "series")),
        Exit::Partial if found.series.is_empty() => "DUMPVAULT CRITICAL - no snapshots".to_owned(),
        Exit::Partial => format!("DUMPVAULT CRITICAL - too old: {}", old.join(", ")),
        _ => format!("DUMPVAULT UNKNOWN - {}", found.unclear.join("; ")),
    }
}

fn tell(context: &Context, found: &StatusReport) {
    let rows: Vec<Vec<String>> = found.series.iter().map(|one| row(context, one)).collect();
    if rows.is_empty() {
        context.output("no snapshots");
        return;
    }
    let colour = |at: usize, column: usize| {
        let one = found.series.get(at).filter(|_| column == 6)?;
        Some(if one.is_too_old { Colour::Red } else { Colour::Green })
    };
    let titles = ["SERIES", "HOST", "NEWEST GOOD", "AGE", "VERIFIED", "CHECKED", "STATUS"];
    context.table(&Table { colour: Some(&colour), fixed: &[2, 3], ..Table::new(&titles, &[], &rows) });
    for why in &found.unclear {
        context.warn(why.clone());
    }
}

fn row(context: &Context, one: &SeriesStatus) -> Vec<String> {
    let zone = &context.app.settings.calendar.zone;
    let now_ms = context.clock.now().as_millisecond();
    let never = || "never".to_owned();
    let mut word = match (&one.good, one.is_too_old) {
        (None, _) => "no good snapshot".to_owned(),
        (Some(_), true) => "too old".to_owned(),
        (Some(_), false) => "ok".to_owned(),
    };
    if let Some(newest) = &one.newest {
        word += &format!("; newest is {}", newest.head.state.word());
    }
    vec![
        one.series.clone(),
        one.host.clone(),
        one.good.as_ref().map_or_else(never, |good| render::time(good.head.time_ms, zone)),
        age_of(context, one).unwrap_or_else(|| "-".to_owned()),
        one.verified_ms.map_or_else(never, |ms| render::ago(now_ms.saturating_sub(ms))),
        one.checked_ms.map_or_else(never, |ms| render::ago(now_ms.saturating_sub(ms))),
        word,
    ]
}
