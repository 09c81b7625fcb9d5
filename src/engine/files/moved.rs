//! Files that went from one path and came to another with the same contents.

use super::Became;
use crate::content::index::{Kind, Row};
use std::collections::{HashMap, VecDeque};

/// Among more changes nobody looks for what moved.
const CHANGES_MAX: usize = 200_000;

/// A change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRow {
    /// What became of it.
    pub became: Became,
    /// The newer row, or the older one of a file that went.
    pub row: Row,
    /// Where it was, if it moved.
    pub from: Option<Vec<u8>>,
}

/// Gathers changes one after another, and tells moves from the rest at the end. Where there are too many, they come as
/// they are.
#[derive(Debug, Default)]
pub struct Moves {
    held: Vec<ChangedRow>,
    is_full: bool,
}

impl Moves {
    /// Takes a change; gives those that are ready.
    pub fn push(&mut self, became: Became, row: &Row) -> Vec<ChangedRow> {
        self.held.push(ChangedRow { became, row: row.clone(), from: None });
        self.is_full |= self.held.len() > CHANGES_MAX;
        match self.is_full {
            true => std::mem::take(&mut self.held),
            false => Vec::new(),
        }
    }

    /// All that is left. A file that moved stands where it is now.
    pub fn finish(self) -> Vec<ChangedRow> {
        let mut gone: HashMap<(u64, [u8; 32]), VecDeque<usize>> = HashMap::new();
        for (at, change) in self.held.iter().enumerate() {
            if let (Became::Removed, Some(contents)) = (change.became, contents(&change.row)) {
                gone.entry(contents).or_default().push_back(at);
            }
        }
        let mut from: HashMap<usize, usize> = HashMap::new();
        for (at, change) in self.held.iter().enumerate() {
            if let (Became::Added, Some(contents)) = (change.became, contents(&change.row))
                && let Some(was) = gone.get_mut(&contents).and_then(VecDeque::pop_front)
            {
                from.insert(at, was);
            }
        }
        let moved: std::collections::HashSet<usize> = from.values().copied().collect();
        let path = |at: usize| self.held.get(at).map(|change| change.row.path.clone());
        let told = self.held.iter().enumerate().filter(|(at, _)| !moved.contains(at));
        let told = told.map(|(at, change)| match from.get(&at).and_then(|was| path(*was)) {
            Some(from) => ChangedRow { became: Became::Moved, from: Some(from), ..change.clone() },
            None => change.clone(),
        });
        told.collect()
    }
}

/// What is the same in a file that moved. Empty files are all the same.
fn contents(row: &Row) -> Option<(u64, [u8; 32])> {
    match row.kind {
        Kind::File { size, digest } if size > 0 && !row.is_old => Some((size, digest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, size: u64, digest: u8) -> Row {
        Row {
            path: path.into(),
            kind: Kind::File { size, digest: [digest; 32] },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Default::default(),
            is_torn: false,
            is_old: false,
            extra: Default::default(),
        }
    }

    #[test]
    fn a_file_moves_once_and_only_to_the_same_contents() {
        let mut moves = Moves::default();
        let each = [
            (Became::Added, row("a", 5, 1)),
            (Became::Added, row("b", 5, 1)),
            (Became::Removed, row("c", 5, 1)),
            (Became::Removed, row("d", 5, 2)),
            (Became::Added, row("e", 6, 2)),
            (Became::Removed, row("f", 0, 3)),
            (Became::Added, row("g", 0, 3)),
        ];
        for (became, row) in &each {
            assert_eq!(moves.push(*became, row), []);
        }
        let told: Vec<(Became, String, Option<Vec<u8>>)> = moves
            .finish()
            .into_iter()
            .map(|change| (change.became, String::from_utf8(change.row.path).unwrap(), change.from))
            .collect();
        let other = |became, path: &str| (became, path.to_owned(), None);
        let expected = [
            (Became::Moved, "a".to_owned(), Some(b"c".to_vec())),
            other(Became::Added, "b"),
            other(Became::Removed, "d"),
            other(Became::Added, "e"),
            other(Became::Removed, "f"),
            other(Became::Added, "g"),
        ];
        assert_eq!(told, expected);
    }
}
