//! The archive's header and table of contents, which announce the tables.
//!
//! Layout as in PostgreSQL 15's custom format, version 1.14: integers are a sign byte and four bytes, little-endian;
//! strings are a length (negative: null) and bytes.

use super::schema::{TABLES, TableSpec};
use super::text::Out;
use jiff::civil::Date;

/// The dump id of a table's data entry.
pub(super) fn data_dump_id(table: usize) -> u32 {
    3400 + table as u32
}

/// An entry of the table of contents. Its tag is its name, but for those that pg_dump names after their table too.
#[derive(Default)]
struct Entry {
    dump_id: u32,
    catalog: (u32, u32),
    has_data: bool,
    section: u32,
    kind: &'static str,
    tag: String,
    create: Option<String>,
    drop: Option<String>,
    copy: Option<String>,
    schema: Option<&'static str>,
    tablespace: Option<&'static str>,
    access_method: Option<&'static str>,
    owned: bool,
    needs: Vec<u32>,
}

const PRE_DATA: u32 = 2;
const DATA: u32 = 3;
const POST_DATA: u32 = 4;

const TYPE_ID: u32 = 880;
const FUNCTION_ID: u32 = 260;
const SCHEMA_ID: u32 = 6;

fn table_id(table: usize) -> u32 {
    215 + 2 * table as u32
}

fn key_id(table: usize) -> u32 {
    3200 + table as u32
}

/// The object identifiers that a catalog would have given.
fn oid(table: usize, nth: u32) -> u32 {
    16_500 + 10 * table as u32 + nth
}

/// Writes header and table of contents of the dump of one day; `last_id` is each table's highest id.
pub(super) fn write(out: &mut Out, database: &str, taken: Date, last_id: &[u64]) {
    out.text("PGDMP");
    // Version 1.14.0, integers of 4 bytes, offsets of 8, custom format; then no compression.
    for byte in [1, 14, 0, 4, 8, 1] {
        out.byte(byte);
    }
    out.int(0);
    let month = taken.month().unsigned_abs() - 1;
    let year = taken.year().unsigned_abs() - 1900;
    for part in [7, 0, 0, u32::from(taken.day().unsigned_abs()), u32::from(month), u32::from(year), 0] {
        out.int(part);
    }
    for text in [database, "15.8", "15.8"] {
        string(out, Some(text));
    }
    let entries = entries(database, last_id);
    out.int(entries.len() as u32);
    for entry in &entries {
        entry.write(out);
    }
}

fn string(out: &mut Out, text: Option<&str>) {
    match text {
        Some(text) => {
            out.int(text.len() as u32);
            out.text(text);
        }
        // Minus one.
        None => [1, 1, 0, 0, 0].into_iter().for_each(|byte| out.byte(byte)),
    }
}

impl Entry {
    fn write(&self, out: &mut Out) {
        out.int(self.dump_id);
        out.int(u32::from(self.has_data));
        string(out, Some(&self.catalog.0.to_string()));
        string(out, Some(&self.catalog.1.to_string()));
        string(out, Some(&self.tag));
        string(out, Some(self.kind));
        out.int(self.section);
        for text in [&self.create, &self.drop, &self.copy] {
            string(out, text.as_deref());
        }
        for text in [self.schema, self.tablespace, self.access_method] {
            string(out, text);
        }
        string(out, self.owned.then_some("shop"));
        string(out, Some("false"));
        for id in &self.needs {
            string(out, Some(&id.to_string()));
        }
        string(out, None);
        // A dump to a pipe cannot go back to fill offsets in: "not set" with data, "none" without.
        out.byte(if self.has_data { 1 } else { 3 });
        (0..8).for_each(|_| out.byte(0));
    }
}

fn entries(database: &str, last_id: &[u64]) -> Vec<Entry> {
    let mut all = preamble(database);
    for (n, table) in TABLES.iter().enumerate() {
        all.extend(table_entries(n, table));
    }
    all.extend(TABLES.iter().enumerate().map(|(n, table)| Entry {
        dump_id: data_dump_id(n),
        catalog: (0, oid(n, 1)),
        has_data: true,
        section: DATA,
        kind: "TABLE DATA",
        tag: table.name.into(),
        copy: Some(format!("COPY {} ({}) FROM stdin;\n", table.path(), table.column_names())),
        schema: Some(table.schema),
        owned: true,
        needs: vec![table_id(n)],
        ..Entry::default()
    }));
    for ((n, table), &last) in TABLES.iter().enumerate().zip(last_id).filter(|((_, table), _)| table.identity)
    {
        all.push(Entry {
            dump_id: 3500 + n as u32,
            section: DATA,
            kind: "SEQUENCE SET",
            tag: format!("{}_id_seq", table.name),
            create: Some(format!(
                "SELECT pg_catalog.setval('{}_id_seq', {}, {});\n",
                table.path(),
                last.max(1),
                last > 0
            )),
            schema: Some(table.schema),
            owned: true,
            needs: vec![table_id(n) - 1],
            ..Entry::default()
        });
    }
    all.extend(post_data());
    all
}

/// What stands before the tables.
fn preamble(database: &str) -> Vec<Entry> {
    let plain = |dump_id, kind: &'static str, create: &str| Entry {
        dump_id,
        section: PRE_DATA,
        kind,
        tag: kind.into(),
        create: Some(create.into()),
        ..Entry::default()
    };
    let owned = |dump_id, catalog, kind, tag: &str, schema: Option<&'static str>, create: &str| Entry {
        dump_id,
        catalog,
        section: PRE_DATA,
        kind,
        tag: tag.into(),
        create: Some(create.into()),
        drop: Some(format!(
            "DROP {kind} {}{tag};\n",
            schema.map(|name| format!("{name}.")).unwrap_or_default()
        )),
        schema,
        owned: true,
        ..Entry::default()
    };
    vec![
        plain(3600, "ENCODING", "SET client_encoding = 'UTF8';\n"),
        plain(3601, "STDSTRINGS", "SET standard_conforming_strings = 'on';\n"),
        plain(3602, "SEARCHPATH", "SELECT pg_catalog.set_config('search_path', '', false);\n"),
        owned(
            3603,
            (1262, 16_384),
            "DATABASE",
            database,
            None,
            &format!(
                "CREATE DATABASE {database} WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';\n"
            ),
        ),
        owned(SCHEMA_ID, (2615, 16_385), "SCHEMA", "audit", None, "CREATE SCHEMA audit;\n"),
        owned(
            TYPE_ID,
            (1247, 16_400),
            "TYPE",
            "order_status",
            Some("public"),
            "CREATE TYPE public.order_status AS ENUM (\n    'pending',\n    'paid',\n    'packed',\n    'shipped',\n    'delivered',\n    \
             'returned',\n    'cancelled'\n);\n",
        ),
        owned(
            FUNCTION_ID,
            (1255, 16_416),
            "FUNCTION",
            "touch_updated_at()",
            Some("public"),
            "CREATE FUNCTION public.touch_updated_at() RETURNS trigger\n    LANGUAGE plpgsql\n    AS $$\nBEGIN\n  \
             NEW.updated_at := now();\n  RETURN NEW;\nEND;\n$$;\n",
        ),
    ]
}

/// A table and its sequence.
fn table_entries(n: usize, table: &'static TableSpec) -> Vec<Entry> {
    let mut needs = Vec::new();
    if table.schema == "audit" {
        needs.push(SCHEMA_ID);
    }
    if table.columns.iter().any(|(_, kind)| kind.starts_with("public.order_status")) {
        needs.push(TYPE_ID);
    }
    let mut entries = vec![Entry {
        dump_id: table_id(n),
        catalog: (1259, oid(n, 1)),
        section: PRE_DATA,
        kind: "TABLE",
        tag: table.name.into(),
        create: Some(table.create()),
        drop: Some(format!("DROP TABLE {};\n", table.path())),
        schema: Some(table.schema),
        tablespace: Some(""),
        access_method: Some("heap"),
        owned: true,
        needs,
        ..Entry::default()
    }];
    if table.identity {
        let path = table.path();
        entries.push(Entry {
            dump_id: table_id(n) - 1,
            catalog: (1259, oid(n, 0)),
            section: PRE_DATA,
            kind: "SEQUENCE",
            tag: format!("{}_id_seq", table.name),
            create: Some(format!(
                "ALTER TABLE {path} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (\n    SEQUENCE NAME {path}_id_seq\n    \
                 START WITH 1\n    INCREMENT BY 1\n    NO MINVALUE\n    NO MAXVALUE\n    CACHE 1\n);\n"
            )),
            drop: Some(String::new()),
            schema: Some(table.schema),
            owned: true,
            needs: vec![table_id(n)],
            ..Entry::default()
        });
    }
    entries
}

/// Keys, indexes, triggers and foreign keys, each kind for all tables before the next.
fn post_data() -> Vec<Entry> {
    let mut dump_id = 3700;
    let mut entry =
        |n: usize, table: &'static TableSpec, kind, class: (u32, u32), tag, create, drop, needs| {
            dump_id += 1;
            Entry {
                dump_id: if class == (2606, 2) { key_id(n) } else { dump_id },
                catalog: (class.0, oid(n, class.1)),
                section: POST_DATA,
                kind,
                tag,
                create: Some(create),
                drop: Some(drop),
                schema: Some(table.schema),
                tablespace: matches!(kind, "CONSTRAINT" | "INDEX").then_some(""),
                owned: true,
                needs,
                ..Entry::default()
            }
        };
    let mut all = Vec::new();
    for (n, table) in TABLES.iter().enumerate() {
        let (name, path) = (table.name, table.path());
        let create = format!(
            "ALTER TABLE ONLY {path}\n    ADD CONSTRAINT {name}_pkey PRIMARY KEY ({});\n",
            table.primary_key
        );
        let drop = format!("ALTER TABLE ONLY {path} DROP CONSTRAINT {name}_pkey;\n");
        let needs = vec![table_id(n); 1 + table.primary_key.matches(',').count()];
        all.push(entry(
            n,
            table,
            "CONSTRAINT",
            (2606, 2),
            format!("{name} {name}_pkey"),
            create,
            drop,
            needs,
        ));
    }
    for (n, table) in TABLES.iter().enumerate() {
        for (nth, (name, unique, on)) in (3..).zip(table.indexes) {
            let create = format!("CREATE {unique}INDEX {name} ON {} USING btree ({on});\n", table.path());
            let drop = format!("DROP INDEX {}.{name};\n", table.schema);
            all.push(entry(
                n,
                table,
                "INDEX",
                (1259, nth),
                (*name).to_owned(),
                create,
                drop,
                vec![table_id(n)],
            ));
        }
    }
    for (n, table) in TABLES.iter().enumerate().filter(|(_, table)| table.has_touch_trigger()) {
        let (name, path) = (table.name, table.path());
        let create = format!(
            "CREATE TRIGGER {name}_touch BEFORE UPDATE ON {path} FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();\n"
        );
        let drop = format!("DROP TRIGGER {name}_touch ON {path};\n");
        let needs = vec![table_id(n), FUNCTION_ID];
        all.push(entry(n, table, "TRIGGER", (2620, 5), format!("{name} {name}_touch"), create, drop, needs));
    }
    for (n, table) in TABLES.iter().enumerate() {
        for (nth, (column, target)) in (6..).zip(table.references) {
            let (name, path) = (table.name, table.path());
            let key = format!("{name}_{column}_fkey");
            let create = format!(
                "ALTER TABLE ONLY {path}\n    ADD CONSTRAINT {key} FOREIGN KEY ({column}) REFERENCES public.{target}(id);\n"
            );
            let drop = format!("ALTER TABLE ONLY {path} DROP CONSTRAINT {key};\n");
            let targets = TABLES.iter().position(|table| table.name == *target).into_iter();
            let needs = targets.flat_map(|to| [table_id(n), key_id(to), table_id(to)]).collect();
            all.push(entry(
                n,
                table,
                "FK CONSTRAINT",
                (2606, nth),
                format!("{name} {key}"),
                create,
                drop,
                needs,
            ));
        }
    }
    all
}
