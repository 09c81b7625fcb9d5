//! Which rows of a restore may be written as frozen (`COPY … FREEZE`), and by which commands.
//!
//! The server then writes each page once: the first vacuum of a restored table has nothing to write again. With
//! `wal_level = minimal` it writes no log for such a table either.

use super::entry::Entry;
use super::toc::Toc;
use std::collections::HashSet;

/// Whether rows may be written as frozen: of a table that the restore makes, so that nothing is lost when it is emptied
/// first. Not where rows go through the root of partitions, and not where another access method than the heap keeps
/// them. The caller knows that no other entry has rows for the same table.
pub(super) fn may_freeze(toc: &Toc, index: usize, made: &HashSet<usize>) -> bool {
    let Some(entry) = toc.entries().get(index) else { return false };
    let is_heap = |table: &Entry| matches!(table.access_method().unwrap_or_default(), b"" | b"heap");
    let is_own = |table: &Entry| (table.namespace(), table.tag()) == (entry.namespace(), entry.tag());
    let is_made = toc.needs(index).filter(|needed| made.contains(needed)).any(|needed| {
        let table = toc.entries().get(needed).filter(|table| table.desc() == b"TABLE");
        table.is_some_and(|table| is_own(&table) && is_heap(&table))
    });
    let target = entry.copy().map(copy_target).unwrap_or_default();
    is_made
        && entry.desc() == b"TABLE DATA"
        && is_name_of(target, entry.namespace().unwrap_or_default(), entry.tag())
}

/// Whether `name`, as it is written in SQL, is that of a table.
fn is_name_of(name: &[u8], schema: &[u8], table: &[u8]) -> bool {
    let mut parts = [Vec::new(), Vec::new()];
    let (mut at, mut is_quoted, mut bytes) = (0, false, name.iter().peekable());
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' if is_quoted && bytes.next_if_eq(&&b'"').is_none() => is_quoted = false,
            b'"' if !is_quoted => is_quoted = true,
            b'.' if !is_quoted => at += 1,
            byte => match parts.get_mut(at) {
                Some(part) => part.push(byte),
                None => return false,
            },
        }
    }
    at == 1 && parts == [schema, table]
}

/// The command that empties the table first, and fills it with rows that are frozen. `None` where it does not look as
/// `pg_dump` writes it.
pub(super) fn freezing(copy: &[u8]) -> Option<Vec<u8>> {
    let target = copy_target(copy.strip_prefix(b"COPY ").map(|_| copy)?);
    let rows = copy.strip_suffix(b" FROM stdin;\n")?;
    Some([b"TRUNCATE TABLE ONLY ", target, b";\n", rows, b" FROM stdin WITH (FREEZE);\n"].concat())
}

/// The table of `COPY table (columns) FROM stdin;`, as it is written there: behind the first space, up to one outside
/// of quotes.
pub(super) fn copy_target(copy: &[u8]) -> &[u8] {
    let name = copy.strip_prefix(b"COPY ").unwrap_or(copy);
    let mut quoted = false;
    let end = name.iter().position(|&byte| {
        quoted ^= byte == b'"';
        byte == b' ' && !quoted
    });
    name.get(..end.unwrap_or(name.len())).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_emptied_and_filled_with_frozen_rows() {
        let copy = b"COPY public.\"a b\" (id, \"x\"\"y\") FROM stdin;\n";
        let both = freezing(copy).unwrap();
        let told = "TRUNCATE TABLE ONLY public.\"a b\";\n\
            COPY public.\"a b\" (id, \"x\"\"y\") FROM stdin WITH (FREEZE);\n";
        assert_eq!(String::from_utf8(both).unwrap(), told);
        for other in [
            "COPY t (a) FROM stdin WITH OIDS;\n",
            "INSERT INTO t VALUES (1);\n",
            "",
            "COPY t (a) FROM stdin;",
        ] {
            assert_eq!(freezing(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn names_are_told_from_those_of_other_tables() {
        for (name, schema, table) in [
            ("public.t", "public", "t"),
            ("\"a.b\".\"c\"\"d\"", "a.b", "c\"d"),
            ("\"\"\"\".\"T t\"", "\"", "T t"),
        ] {
            assert!(is_name_of(name.as_bytes(), schema.as_bytes(), table.as_bytes()), "{name}");
        }
        // Partitions that are loaded through their root, a name without its schema, one with too much.
        for (name, schema, table) in [
            ("public.root", "public", "part"),
            ("t", "public", "t"),
            ("d.public.t", "public", "t"),
            ("", "", ""),
        ] {
            assert!(!is_name_of(name.as_bytes(), schema.as_bytes(), table.as_bytes()), "{name}");
        }
    }
}
