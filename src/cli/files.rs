//! `dumpvault ls SNAPSHOT:/PATH`, `find`, and `diff` of paths: files of snapshots.

use super::args::{DiffArgs, FindArgs, LsArgs};
use super::exit::Exit;
use super::report::CliError;
use super::which::chosen;
use super::{Context, render};
use crate::base::name::SnapshotName;
use crate::base::words::path as shown;
use crate::content::index::{Kind, Row};
use crate::engine::files::{Became, ChangedRow, Moves, Tree, WantedFiles, lies_below};
use crate::engine::report::{ChangedFile, ChangedFiles, ListedFile, ListedFiles};
use crate::engine::restore::Chosen;

/// The files of a snapshot.
pub(super) fn tree_of<'a>(chosen: &'a Chosen, path: &str) -> Result<Tree<'a>, CliError> {
    Tree::of(chosen, None)?.ok_or_else(|| {
        let id = chosen.summary.id.short();
        CliError::usage_hint(
            format!("snapshot {id} holds no files, so no `{path}`"),
            format!("use `dumpvault ls {id}`"),
        )
    })
}

pub(super) fn list(context: &Context, args: &LsArgs, name: &SnapshotName) -> Result<Exit, CliError> {
    let chosen = chosen(context, name, args.which.any_host)?;
    let path = name.stream.clone().unwrap_or_default();
    let tree = tree_of(&chosen, &path)?;
    let wanted = tree.path_of(&path);
    let is_of_objects = tree.is_of_objects();
    let (mut listed, mut found) = (Vec::new(), tree.is_empty());
    let mut folder: Option<Vec<u8>> = None;
    tree.files(&WantedFiles::exactly(wanted).with_versions(args.versions), &context.cancel, &mut |file| {
        let row = &file.row;
        found |= row.path == wanted || is_of_objects;
        if is_of_objects && !args.recursive {
            // What keys have in common up to the next slash is listed once, as a folder.
            if let Some(below) = folder_below(&row.path, wanted) {
                if folder.as_deref() != Some(below) {
                    folder = Some(below.to_vec());
                    list_folder(context, args.long, below, &mut listed);
                }
                return Ok(());
            }
            list_one(context, args.long, row, &mut listed);
            return Ok(());
        }
        let is_itself = row.path == wanted && row.kind == Kind::Directory;
        if is_itself || !lies_below(&row.path, wanted) || !args.recursive && is_deeper(&row.path, wanted) {
            return Ok(());
        }
        list_one(context, args.long, row, &mut listed);
        Ok(())
    })?;
    if !found {
        return Err(CliError::usage_hint(
            format!("snapshot {} has no `{path}`", chosen.summary.id.short()),
            format!("`dumpvault ls {name}:/ -R` lists all {}s", tree.noun()),
        ));
    }
    if context.json {
        context.report(ListedFiles::new(&chosen.summary.id, listed));
    }
    Ok(Exit::Good)
}

/// The folder that a key is in, right below another: up to and with its slash.
fn folder_below<'a>(key: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let rest = key.get(wanted.len()..)?;
    // Of a folder that was named without its slash that slash is none further down.
    let own = usize::from(!wanted.is_empty() && !wanted.ends_with(b"/") && rest.starts_with(b"/"));
    let slash = rest.get(own..)?.iter().position(|byte| *byte == b'/')?;
    key.get(..wanted.len() + own + slash + 1)
}

fn list_folder(context: &Context, is_long: bool, folder: &[u8], listed: &mut Vec<ListedFile>) {
    match context.json {
        true => listed.push(ListedFile::folder(folder)),
        false if is_long => context.output(&format!("{:>10} {:25} {}", "", "", shown(folder))),
        false => context.output(&shown(folder)),
    }
}

/// Prints a row, or keeps it for the report.
fn list_one(context: &Context, is_long: bool, row: &Row, listed: &mut Vec<ListedFile>) {
    match context.json {
        true => listed.push(ListedFile::new(row)),
        false if is_long => context.output(&long(row, &context.app.settings.calendar.zone)),
        false => context.output(&named(row)),
    }
}

pub(super) fn find(context: &Context, args: &FindArgs) -> Result<Exit, CliError> {
    let wanted = WantedFiles::each_of(&args.patterns).map_err(|error| CliError::usage(error.to_string()))?;
    let chosen = chosen(context, &context.whole_name(&args.snapshot)?, args.which.any_host)?;
    let tree = tree_of(&chosen, "/")?;
    let mut listed = Vec::new();
    tree.files(&wanted, &context.cancel, &mut |file| {
        let row = &file.row;
        if !wanted.fits(&row.path, row.kind == Kind::Directory) {
            return Ok(());
        }
        list_one(context, args.long, row, &mut listed);
        Ok(())
    })?;
    if context.json {
        context.report(ListedFiles::new(&chosen.summary.id, listed));
    }
    Ok(Exit::Good)
}

pub(super) fn diff(context: &Context, args: &DiffArgs) -> Result<Exit, CliError> {
    let (before, after) = (context.name(&args.before)?, context.name(&args.after)?);
    let path = before.stream.clone().unwrap_or_default();
    let other = after.stream.clone();
    if other.is_some_and(|other| other.trim_matches('/') != path.trim_matches('/')) {
        return Err(CliError::usage("both snapshots are compared below the same path"));
    }
    let (before, after) =
        (chosen(context, &before, args.which.any_host)?, chosen(context, &after, args.which.any_host)?);
    let mut found = Vec::new();
    let (old, new) = (tree_of(&before, &path)?, tree_of(&after, &path)?);
    if old.is_of_objects() != new.is_of_objects() {
        return Err(CliError::usage("one of the snapshots holds files, the other objects"));
    }
    let mut tell = |changes: Vec<ChangedRow>| {
        for change in changes {
            if context.json {
                found.push(ChangedFile::new(&change));
                continue;
            }
            let letter = match change.became {
                Became::Added => '+',
                Became::Removed => '-',
                Became::Changed => 'M',
                Became::Moved => 'R',
                Became::Adorned => 'm',
            };
            let from = change.from.as_ref().map(|from| format!("{} => ", shown(from))).unwrap_or_default();
            context.output(&format!("{letter} {from}{}", named(&change.row)));
        }
    };
    let mut moves = Moves::default();
    old.changes(&new, old.path_of(&path), &context.cancel, &mut |became, row| {
        tell(moves.push(became, row));
        Ok(())
    })?;
    tell(moves.finish());
    if context.json {
        context.report(ChangedFiles::new(&before.summary.id, &after.summary.id, found));
    }
    Ok(Exit::Good)
}

/// Whether a path is in a directory below that one.
fn is_deeper(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.get(directory.len()..).unwrap_or_default();
    rest.strip_prefix(b"/").unwrap_or(rest).contains(&b'/')
}

fn named(row: &Row) -> String {
    let path = match (&row.extra.version, row.is_old) {
        (Some(version), true) => format!("{} (version {version})", shown(&row.path)),
        _ => shown(&row.path),
    };
    match &row.kind {
        Kind::Directory => format!("{path}/"),
        Kind::Symlink(to) => format!("{path} -> {}", String::from_utf8_lossy(to)),
        _ => path,
    }
}

fn long(row: &Row, zone: &jiff::tz::TimeZone) -> String {
    let letter = match row.kind {
        Kind::File { .. } | Kind::HardLink(_) => '-',
        Kind::Directory => 'd',
        Kind::Symlink(_) => 'l',
        Kind::CharDevice(..) => 'c',
        Kind::BlockDevice(..) => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::Unreadable | Kind::Vanished => '?',
    };
    let size = if let Kind::File { size, .. } = row.kind { size } else { 0 };
    let time = render::time(row.mtime.seconds.saturating_mul(1000), zone);
    let torn = if row.is_torn { " (changed while it was read)" } else { "" };
    if row.extra.etag.is_some() || row.extra.facts.is_some() {
        let facts = row.extra.facts.as_ref();
        let kind = facts.and_then(|facts| facts.content_type.as_deref()).unwrap_or("-");
        return format!("{:>10} {time} {kind:<24} {}{torn}", render::bytes(size), named(row));
    }
    let owner = match &row.extra.names {
        Some((user, group)) if !user.is_empty() && !group.is_empty() => {
            format!("{}:{}", String::from_utf8_lossy(user), String::from_utf8_lossy(group))
        }
        _ => format!("{}:{}", row.uid, row.gid),
    };
    format!("{letter}{:04o} {owner:<17} {:>10} {time} {}{torn}", row.mode, render::bytes(size), named(row))
}
