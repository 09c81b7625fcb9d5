//! The schemas in `docs/json`: those of the reports' types, closed, and described field by field.
//!
//! `DUMPVAULT_TEST_WRITE_DOCS=1` writes them anew.

use crate::support::reports::{Promise, faults, folder};
use dumpvault::engine::report::schemas;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_schemas_in_the_documents_are_those_of_the_types() {
    let wanted = std::env::var_os("DUMPVAULT_TEST_WRITE_DOCS").is_some();
    let mut names = BTreeSet::new();
    for (command, schema) in schemas() {
        let name = format!("{command}.schema.json");
        let path = folder().join(&name);
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if wanted {
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == text,
            "{name} is not that of the type: run this test with DUMPVAULT_TEST_WRITE_DOCS=1"
        );
        assert!(names.insert(name), "twice: {command}");
    }
    let files = std::fs::read_dir(folder()).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".json")).collect();
    assert_eq!(files, names, "a schema of no command");
}

/// Visits every schema within a schema.
fn visit(schema: &Value, path: &str, each: &mut impl FnMut(&str, &Value)) {
    each(path, schema);
    match schema {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, inner)| visit(inner, &format!("{path}/{key}"), each))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, inner)| visit(inner, &format!("{path}/{at}"), each))
        }
        _ => {}
    }
}

#[test]
fn every_object_is_closed_and_every_field_described() {
    let mut fields = 0;
    for (command, schema) in schemas() {
        visit(schema.as_value(), command, &mut |path, schema| {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
            // A field may be called so.
            if schema.get("type").is_none_or(Value::is_object) {
                return;
            }
            assert_eq!(schema["additionalProperties"], false, "{path}");
            for (name, property) in properties {
                fields += 1;
                let described = property.get("description").is_some() || property.get("const").is_some();
                assert!(described, "{path}: `{name}` is not described");
            }
        });
    }
    assert!(fields > 300, "{fields}");
}

#[test]
fn a_field_too_many_or_too_few_or_of_another_kind_is_found() {
    let tagged =
        json!({"version": 1, "warnings": [], "dry_run": false, "id": "0a", "tags": ["x"], "pinned": true});
    assert_eq!(faults("tag", &tagged), [""; 0]);
    for (change, value) in [
        ("version", json!(2)),
        ("more", json!(1)),
        ("id", json!("0A")),
        ("tags", json!([1])),
        ("pinned", json!(null)),
    ] {
        let mut other = tagged.clone();
        other[change] = value;
        assert_ne!(faults("tag", &other), [""; 0], "{change}");
    }
    for field in ["version", "warnings", "id", "tags", "pinned"] {
        let mut other = tagged.clone();
        other.as_object_mut().unwrap().remove(field);
        assert_ne!(faults("tag", &other), [""; 0], "{field}");
    }
    let time =
        |time: &str| json!({"version": 1, "warnings": [], "dry_run": true, "objects": 1, "until": time});
    assert_eq!(faults("object-lock-extend", &time("2026-11-01T03:00:00Z")), [""; 0]);
    assert_ne!(faults("object-lock-extend", &time("yesterday")), [""; 0]);
    let deep = json!({"version": 1, "warnings": [], "ok": true, "checks": [
        {"part": "storage", "name": "reach", "status": "ok", "detail": "", "next": null, "more": 1}
    ]});
    assert_eq!(faults("doctor", &deep).len(), 1);
}

#[test]
fn a_command_line_tells_which_report_it_promises() {
    let promise = |words: &str| {
        let mut command = Command::new("/x/dumpvault");
        command.args(words.split(' '));
        Promise::of(&command)
    };
    let report = |name: &str| Promise::Report(name.to_owned());
    for (words, promised) in [
        ("snapshots --json", report("snapshots")),
        ("--repo /x --json key add --label x", report("key-add")),
        ("repair marks --dry-run --json", report("repair-marks")),
        ("snapshots", Promise::Nothing),
        ("backup --command --series x -- echo --json", Promise::Nothing),
        ("snapshots --json --help", Promise::Nothing),
        ("--json cat app", Promise::Stream),
        ("--json restore app", Promise::Stream),
        ("--json restore app --output -", Promise::Stream),
        ("--json restore app --output - --dry-run", report("restore")),
        ("--json restore app --output=x.dump", report("restore")),
        ("--json restore app --to-database x", report("restore")),
    ] {
        assert_eq!(promise(words), promised, "{words}");
    }
    assert_eq!(Promise::of(Command::new("/bin/sh").args(["-c", "--json snapshots"])), Promise::Nothing);
}
