//! Which statements of a script would write to another server: those that put rows into foreign tables.

use super::Reason;
use std::collections::{HashMap, HashSet};

/// A table's schema, where it is named, and its name.
pub(super) type Table = (Option<String>, String);

/// The foreign tables that a script has made so far, and the tables that hand rows on to one of them.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    tables: HashSet<Table>,
    /// The roots of partitions.
    roots: HashMap<Table, Table>,
    /// There is a foreign table whose name is written in a way that is not read here: it may be any.
    has_unknown: bool,
}

impl Foreign {
    /// Takes the front of a statement that is about to run: its words and `.`, quoted names behind a `"`.
    ///
    /// # Errors
    /// When it would change rows of a foreign table.
    pub(super) fn see(&mut self, front: &[&str]) -> Result<(), Reason> {
        match front {
            ["create", "foreign", "table", rest @ ..] => {
                let (table, behind) = named(without(rest, &["if", "not", "exists"]));
                if let (Some(child), ["partition", "of", root @ ..]) = (&table, behind) {
                    self.attach(child.clone(), named(root).0);
                }
                self.has_unknown |= table.is_none();
                table.into_iter().for_each(|table| self.add(table));
            }
            ["alter", "table", rest @ ..] => {
                let (root, behind) = named(without(without(rest, &["if", "exists"]), &["only"]));
                if let ["attach", "partition", child @ ..] = behind
                    && let Some(child) = named(child).0
                {
                    self.attach(child, root);
                }
            }
            ["create", "table", rest @ ..] => {
                let (child, behind) = named(without(rest, &["if", "not", "exists"]));
                if let (Some(child), ["partition", "of", root @ ..]) = (child, behind) {
                    self.attach(child, named(root).0);
                }
            }
            ["copy", "(", ..] => {}
            ["copy", rest @ ..] => return self.refuse(without(rest, &["binary"])),
            ["insert" | "merge", "into", rest @ ..] => return self.refuse(rest),
            ["update", rest @ ..] | ["delete", "from", rest @ ..] => {
                return self.refuse(without(rest, &["only"]));
            }
            ["truncate", rest @ ..] => return self.refuse(without(without(rest, &["table"]), &["only"])),
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, table: Table) {
        let mut next = Some(table);
        while let Some(table) = next {
            let root = self.roots.get(&table).cloned();
            // What is known has handed on to its roots already; a circle ends here, too.
            next = if self.tables.insert(table) { root } else { None };
        }
    }

    fn attach(&mut self, child: Table, root: Option<Table>) {
        let Some(root) = root else { return };
        if self.tables.contains(&child) {
            self.add(root.clone());
        }
        self.roots.insert(child, root);
    }

    /// Refuses a statement that changes rows of a table, unless it is known to be none of the foreign ones.
    fn refuse(&self, table: &[&str]) -> Result<(), Reason> {
        if self.tables.is_empty() && !self.has_unknown {
            return Ok(());
        }
        let table = named(table).0.filter(|_| !self.has_unknown);
        let Some((schema, name)) = table else {
            return Err(Reason::ForeignRows("unknown".to_owned()));
        };
        let is_it = |(its_schema, its_name): &Table| {
            *its_name == name && (its_schema.is_none() || schema.is_none() || *its_schema == schema)
        };
        match self.tables.iter().find(|table| is_it(table)) {
            None => Ok(()),
            Some((Some(schema), name)) => Err(Reason::ForeignRows(format!("{schema}.{name}"))),
            Some((None, name)) => Err(Reason::ForeignRows(name.clone())),
        }
    }
}

/// The words behind some that may stand there.
pub(super) fn without<'a, 'b>(words: &'a [&'b str], optional: &[&str]) -> &'a [&'b str] {
    match words.starts_with(optional) {
        true => words.get(optional.len()..).unwrap_or_default(),
        false => words,
    }
}

/// The table that is named there, and what stands behind it. A database's name before the schema is passed over.
pub(super) fn named<'a, 'b>(words: &'a [&'b str]) -> (Option<Table>, &'a [&'b str]) {
    let Some((mut name, mut rest)) = words.split_first() else { return (None, words) };
    let mut schema = None;
    while let [".", next, behind @ ..] = rest {
        (schema, name, rest) = (Some(name), next, behind);
    }
    let unquoted = |name: &str| name.strip_prefix('"').unwrap_or(name).to_owned();
    let is_name =
        |name: &&&str| name.starts_with(|first: char| first.is_alphabetic() || matches!(first, '_' | '"'));
    let table =
        Some(name).filter(is_name).map(|name| (schema.map(|schema| unquoted(schema)), unquoted(name)));
    (table, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first statement that is refused, and for which table.
    fn refused(statements: &[&str]) -> Option<(usize, String)> {
        let mut foreign = Foreign::default();
        statements.iter().enumerate().find_map(|(at, statement)| {
            let front: Vec<&str> = statement.split(' ').collect();
            match foreign.see(&front) {
                Err(Reason::ForeignRows(table)) => Some((at, table)),
                _ => None,
            }
        })
    }

    #[test]
    fn rows_for_foreign_tables_are_refused_and_no_others() {
        let made = "create foreign table public . far ( id";
        let far = |at, name: &str| Some((at, name.to_owned()));
        for (statements, expected) in [
            (vec![made, "copy public . near ( id ) from stdin"], None),
            (vec!["copy public . far from stdin", made], None),
            (vec![made, "copy other . far from stdin"], None),
            (vec![made, "copy public . far ( id ) from stdin"], far(1, "public.far")),
            (vec![made, "copy public . \"far from stdin"], far(1, "public.far")),
            (vec![made, "copy \"Far from stdin"], None),
            (vec![made, "copy far from stdin"], far(1, "public.far")),
            (vec![made, "copy app . public . far from stdin"], far(1, "public.far")),
            (vec![made, "insert into public . far values ( 1"], far(1, "public.far")),
            (vec![made, "update only public . far set"], far(1, "public.far")),
            (vec![made, "delete from public . far"], far(1, "public.far")),
            (vec![made, "truncate table public . far"], far(1, "public.far")),
            (
                vec!["create foreign table if not exists far ( id", "insert into a . far values"],
                far(1, "far"),
            ),
            // What cannot be told is not let through.
            (vec![made, "insert into  values"], far(1, "unknown")),
            (vec!["create foreign table public .  ( id", "copy near from stdin"], far(1, "unknown")),
            // Rows of a partitioned table go on to its partitions.
            (
                vec![
                    made,
                    "alter table only a . root attach partition public . far for",
                    "copy a . root from stdin",
                ],
                far(2, "a.root"),
            ),
            (
                vec![
                    "alter table only a . top attach partition a . root",
                    "create foreign table f partition of a . root for values",
                    "copy a . top from stdin",
                ],
                far(2, "a.top"),
            ),
            (
                vec![
                    "create table m partition of top for",
                    "alter table m attach partition far",
                    made,
                    "copy m from stdin",
                ],
                None,
            ),
        ] {
            assert_eq!(refused(&statements), expected, "{statements:?}");
        }
    }

    #[test]
    fn a_circle_of_partitions_ends() {
        let circle = ["alter table a attach partition b", "alter table b attach partition a"];
        let last = ["create foreign table a ( id", "copy b from stdin"];
        assert_eq!(refused(&[circle, last].concat()), Some((3, "b".to_owned())));
    }
}
