//! Tables of dumps: what `ls` shows below the streams, and `dumpvault diff`.

use super::args::DiffArgs;
use super::exit::Exit;
use super::render;
use super::report::CliError;
use super::table::{Made, Table};
use super::{Context, keys, which};
use crate::engine::keys::{Keys, difference as keys_difference};
use crate::engine::report::{Diff, Streamed, TableAmount};
use crate::engine::tables::{
    Amount, Difference, Maps, Sorted, TableChange, TableName, difference, table_map,
};
use crate::vault::snapshot::{Body, Stream};

/// The tables of all streams, below the list of streams.
pub(super) fn list(context: &Context, body: Body) {
    for found in sorted(context, body) {
        let rows = Made(|| {
            found.iter().map(|(name, amount)| {
                let new_bytes = amount.new_bytes.map_or_else(|| "?".to_owned(), render::bytes);
                vec![shown(&name), rows(&amount), render::bytes(amount.bytes), new_bytes]
            })
        });
        let count = found.iter().count();
        let heading = match found.map().server_version.as_str() {
            "" => format!("{}: {}", found.stream(), render::count(count, "table")),
            version => format!("{}: {}, PostgreSQL {version}", found.stream(), render::count(count, "table")),
        };
        context.output("");
        context.output(&heading);
        if count > 0 {
            context.table(&Table::new(&["TABLE", "ROWS", "SIZE", "NEW"], &[1, 2, 3], &rows));
        }
    }
}

/// The streams with a map. What is stored of the maps is let go.
fn sorted(context: &Context, body: Body) -> Vec<Sorted> {
    let of_stream = |mut stream: Stream| {
        let map = table_map(&stream);
        stream.table_map = None;
        match map {
            Ok(map) => Some(Sorted::of(&stream.name, map?)),
            Err(error) => {
                context.warn(format!("the tables of `{}` cannot be listed: {error}", stream.name));
                None
            }
        }
    };
    body.streams.into_iter().filter_map(of_stream).collect()
}

/// The same for programs. Streams without a map are not in it.
pub(super) fn amounts_of(context: &Context, body: Body) -> Streamed<TableAmount> {
    Streamed::of(sorted(context, body))
}

pub(super) fn diff(context: &Context, args: &DiffArgs) -> Result<Exit, CliError> {
    let names = [context.whole_name(&args.before)?, context.whole_name(&args.after)?];
    // Opened once: a passphrase is asked for once, and a key takes its time.
    let repo = context.repository()?;
    // One after the other: of a million tables, what is stored takes as much again as what is kept of it.
    let maps = |name| {
        let (seen, _) = which::one(context, &repo, &name, args.which.any_host)?;
        Ok::<_, CliError>((seen.summary, seen.body.map(|body| (Keys::of(&body), Maps::of(body)))))
    };
    let [before, after] = names.map(maps);
    let ((before, was), (after, is)) = (before?, after?);
    let (Some(was), Some(is)) = (was, is) else { return Ok(Exit::NothingDone) };
    let ((keys_before, was), (keys_after, is)) = (was, is);
    let changes = keys_difference(keys_before, &keys_after);
    let mut found = difference(was, is);
    // Of what has keys there are no tables to know of.
    found.streams_unknown.retain(|stream| !keys_after.streams.contains(stream));
    if context.json {
        context.report(Diff::new(found, &changes, &before.id, &after.id));
        return Ok(Exit::Good);
    }
    let zone = context.app.settings.calendar.zone.clone();
    context.say(&format!(
        "{} of {} -> {} of {}",
        before.id.short(),
        render::time(before.head.time_ms, &zone),
        after.id.short(),
        render::time(after.head.time_ms, &zone)
    ));
    tell(context, &found, !keys_after.streams.is_empty());
    keys::tell_changes(context, &changes);
    Ok(Exit::Good)
}

fn tell(context: &Context, found: &Difference, has_keys: bool) {
    for name in &found.streams_gone {
        context.output(&format!("stream {name} removed"));
    }
    for name in &found.streams_new {
        context.output(&format!("stream {name} added"));
    }
    for name in &found.streams_unknown {
        context.output(&format!(
            "stream {name}: not compared: at least one of the two snapshots has no list of its tables"
        ));
    }
    for (_, database, schema) in &found.schemas_gone {
        context.output(&format!("schema gone: {}", qualified(database, schema)));
    }
    for (_, database, schema) in &found.schemas_new {
        context.output(&format!("schema new: {}", qualified(database, schema)));
    }
    let is_changed = |change: &TableChange| change.before != change.after;
    let (changed, all) = found.tables().fold((0, 0), |(changed, all): (u64, u64), change| {
        (changed + u64::from(is_changed(&change)), all + 1)
    });
    if changed > 0 {
        let lines = Made(|| found.tables().filter(is_changed).map(change_row));
        context.table(&Table::new(&["TABLE", "", "ROWS", "+/-", "SIZE", "+/-"], &[2, 3, 4, 5], &lines));
    }
    let is_told = !found.streams_unknown.is_empty() || has_keys;
    match (all, changed) {
        (0, _) if is_told => {}
        (0, _) => context.say("neither snapshot has tables"),
        (_, 0) => context.say(&format!("no differences in {}", render::count(all, "table"))),
        (_, 1) => context.say(&format!("1 table differs in rows or bytes, {} do not", all - 1)),
        (_, _) => context.say(&format!("{changed} tables differ in rows or bytes, {} do not", all - changed)),
    }
}

fn change_row(TableChange { name, before, after }: TableChange) -> Vec<String> {
    let bytes = |amount: &Option<Amount>| amount.map_or(0, |amount| amount.bytes);
    let count = |amount: &Option<Amount>| amount.map_or(Some(0), |amount| amount.rows);
    let mark = match (&before, &after) {
        (None, _) => "new",
        (_, None) => "gone",
        _ => "",
    };
    vec![
        shown(&name),
        mark.to_owned(),
        after.as_ref().map_or_else(|| "-".to_owned(), rows),
        count(&before).zip(count(&after)).map_or_else(
            || "?".to_owned(),
            |(was, is)| render::signed(was, is, |difference| difference.to_string()),
        ),
        after.map_or_else(|| "-".to_owned(), |amount| render::bytes(amount.bytes)),
        render::signed(bytes(&before), bytes(&after), render::bytes),
    ]
}

fn rows(amount: &Amount) -> String {
    amount.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string())
}

fn qualified(database: &str, name: &str) -> String {
    if database.is_empty() { name.to_owned() } else { format!("{database}: {name}") }
}

fn shown(name: &TableName) -> String {
    let TableName { database, schema, name, .. } = name;
    let table = if schema.is_empty() { name.clone() } else { format!("{schema}.{name}") };
    qualified(database, &table)
}
