//! Listings: folders below a folder, several of them read at the same time.

use super::packets::{Answer, Attributes, Kind, Request, Status};
use super::session::{Lane, refused};
use super::transfer::{Handle, link_in_the_way};
use super::trouble::Trouble;
use crate::storage::{KEY_BYTES_MAX, Listed, is_key_part};
use std::collections::HashMap;

/// Folders that are read at the same time.
const FOLDERS: usize = 24;
/// Requests for names of one folder under way at the same time: a server gives some hundred at a time.
const DEPTH: usize = 4;

/// What is asked for about a folder.
enum Asked {
    Open(String),
    Names(usize),
}

/// A folder that is read.
struct Reading<'a> {
    key: String,
    handle: Handle<'a>,
    under_way: usize,
    has_ended: bool,
}

/// Calls `each` for every object below the folder `key` ("" is the root). False when that folder is not there.
pub(super) fn list(
    lane: &Lane<'_>,
    path_of: &dyn Fn(&str) -> String,
    key: &str,
    each: &mut dyn FnMut(Listed),
) -> Result<bool, Trouble> {
    let mut pending = vec![key.to_owned()];
    let mut asked: HashMap<u32, Asked> = HashMap::new();
    let mut reading: HashMap<usize, Reading<'_>> = HashMap::new();
    let (mut next, mut opening) = (0, 0);
    let mut is_there = true;
    loop {
        while reading.len() + opening < FOLDERS
            && let Some(folder) = pending.pop()
        {
            asked.insert(lane.send(Request::Folder(&path_of(&folder)))?, Asked::Open(folder));
            opening += 1;
        }
        if asked.is_empty() {
            return Ok(is_there);
        }
        let (id, answer) = lane.receive()?;
        let number = match asked.remove(&id) {
            Some(Asked::Open(folder)) => {
                opening -= 1;
                match answer {
                    // A folder that went while its parent was read holds nothing any more.
                    Answer::Status(Status::Missing, _) => is_there &= folder != key,
                    opened => {
                        let handle = Handle::of(lane.session(), opened)?;
                        reading.insert(next, Reading { key: folder, handle, under_way: 0, has_ended: false });
                        next += 1;
                    }
                }
                next.wrapping_sub(1)
            }
            Some(Asked::Names(number)) => {
                let Some(folder) = reading.get_mut(&number) else { continue };
                folder.under_way -= 1;
                match answer {
                    Answer::Names(names) => {
                        for (name, found) in names {
                            entry(&folder.key, &name, &found, &mut pending, each)?;
                        }
                    }
                    Answer::Status(Status::End, _) => folder.has_ended = true,
                    other => return Err(refused(other)),
                }
                number
            }
            None => continue,
        };
        let Some(folder) = reading.get_mut(&number) else { continue };
        while !folder.has_ended && folder.under_way < DEPTH {
            asked.insert(lane.send(Request::Names(folder.handle.name()))?, Asked::Names(number));
            folder.under_way += 1;
        }
        if folder.has_ended && folder.under_way == 0 {
            reading.remove(&number);
        }
    }
}

fn entry(
    folder: &str,
    name: &[u8],
    found: &Attributes,
    pending: &mut Vec<String>,
    each: &mut dyn FnMut(Listed),
) -> Result<(), Trouble> {
    // A name that is no part of a key does not exist for a repository.
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_key_part(name)) else { return Ok(()) };
    let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    if key.len() > KEY_BYTES_MAX || key == super::TMP {
        return Ok(());
    }
    match found.kind() {
        Kind::File => each(Listed { key, bytes: found.size.unwrap_or_default(), modified: found.modified() }),
        Kind::Folder => pending.push(key),
        Kind::Link => return Err(link_in_the_way()),
        Kind::Other => {}
    }
    Ok(())
}
