//! Keys of Redis and Valkey: what `ls` shows below the streams, and `diff` of two snapshots.

use super::Context;
use super::render;
use super::table::Table;
use crate::engine::keys::{KeyChange, Keys, key_map};
use crate::engine::report::KeyAmount;
use crate::vault::snapshot::Body;

/// The keys of all streams. A map that makes no sense is told.
pub(super) fn of(context: &Context, body: &Body) -> Keys {
    let mut keys = Keys::default();
    for stream in &body.streams {
        match key_map(stream) {
            Ok(Some(map)) => keys.add(&stream.name, map),
            Ok(None) => {}
            Err(error) => context.warn(format!("the keys of `{}` cannot be listed: {error}", stream.name)),
        }
    }
    keys
}

/// The keys of all streams, below the list of streams.
pub(super) fn list(context: &Context, body: &Body) {
    let keys = of(context, body);
    let amounts = KeyAmount::all(&keys);
    for stream in &keys.streams {
        let amounts = || amounts.iter().filter(|one| one.prefix.stream == *stream);
        let count: u64 = amounts().map(|one| one.count.keys).sum();
        context.output("");
        context.output(&format!("{stream}: {}", render::count(count as usize, "key")));
        let row = |KeyAmount { prefix, count }: &KeyAmount| {
            vec![
                database(prefix.database),
                prefix.prefix.clone(),
                count.keys.to_string(),
                count.expiring.to_string(),
                render::bytes(count.bytes),
            ]
        };
        let rows: Vec<Vec<String>> = amounts().map(row).collect();
        if !rows.is_empty() {
            context.table(&Table::new(&["DB", "PREFIX", "KEYS", "EXPIRING", "SIZE"], &[0, 2, 3, 4], &rows));
        }
    }
}

/// What changed, where there is anything to compare.
pub(super) fn tell_changes(context: &Context, changes: &[KeyChange]) {
    if changes.is_empty() {
        return;
    }
    let changed: Vec<&KeyChange> = changes.iter().filter(|change| change.before != change.after).collect();
    let rows: Vec<Vec<String>> = changed.iter().map(|change| row(change)).collect();
    if !rows.is_empty() {
        let titles = ["DB", "PREFIX", "", "KEYS", "+/-", "SIZE", "+/-"];
        context.table(&Table::new(&titles, &[0, 3, 4, 5, 6], &rows));
    }
    let count = changed.len();
    context.say(&format!("{count} key prefixes differ in keys or bytes, {} do not", changes.len() - count));
}

fn row(KeyChange { name, before, after }: &KeyChange) -> Vec<String> {
    let (was, is) = (before.unwrap_or_default(), after.unwrap_or_default());
    let mark = match (before, after) {
        (None, _) => "new",
        (_, None) => "gone",
        _ => "",
    };
    vec![
        database(name.database),
        name.shown(),
        mark.to_owned(),
        is.keys.to_string(),
        render::signed(was.keys, is.keys, |difference| difference.to_string()),
        render::bytes(is.bytes),
        render::signed(was.bytes, is.bytes, render::bytes),
    ]
}

fn database(number: Option<u64>) -> String {
    number.map_or_else(|| "*".to_owned(), |number| number.to_string())
}
