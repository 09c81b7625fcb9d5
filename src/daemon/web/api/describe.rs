//! The API's description, OpenAPI 3.1: made of the table of routes, so that neither can be without the other.

use crate::daemon::web::route::{Access, Route};
use serde_json::{Map, Value, json};

/// The description of these routes.
pub(super) fn document(routes: &[Route], base: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let own = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        if let Some(methods) = own.as_object_mut() {
            methods.insert(route.method.to_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "dumpvault", "version": env!("CARGO_PKG_VERSION"), "description": "The API of `dumpvault serve`. Send `Authorization: Bearer TOKEN`."},
        "servers": [{"url": if base.is_empty() { "/" } else { base }}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": schemas()},
    })
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(route.query.iter().map(|(name, about)| {
        json!({"name": name, "in": "query", "required": false, "description": about, "schema": {"type": "string"}})
    }));
    let role = match route.access {
        Access::Open => "nobody in particular",
        Access::Of(role) | Access::Proved(role) => role.word(),
    };
    let (kind, status) = match route.answer {
        "" => ("", "204"),
        "Text" => ("text/plain", "200"),
        "Events" => ("text/event-stream", "200"),
        "Bytes" => ("application/octet-stream", "200"),
        "Started" => ("application/json", "202"),
        "NewToken" | "Link" => ("application/json", "201"),
        _ => ("application/json", "200"),
    };
    let content = match (kind, route.answer) {
        ("", _) => json!({}),
        ("application/json", name) => {
            json!({kind: {"schema": {"$ref": format!("#/components/schemas/{name}")}}})
        }
        _ => json!({kind: {"schema": {"type": "string"}}}),
    };
    let mut done = json!({"description": "done"});
    if let (Some(done), false) = (done.as_object_mut(), kind.is_empty()) {
        done.insert("content".to_owned(), content);
    }
    let problem = json!({"description": "refused", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}});
    let id: String = format!("{}{}", route.method.to_lowercase(), route.path.trim_start_matches("/api/v1"));
    let id = id.replace(['/', '{', '}', '.'], "_");
    let mut operation = json!({
        "operationId": id,
        "summary": route.about,
        "description": format!("Needs the role {role}."),
        "parameters": parameters,
        "responses": {status: done, "default": problem},
    });
    if let (Some(fields), false) = (operation.as_object_mut(), route.body.is_empty()) {
        let each = route.body.iter().map(|(name, about)| {
            ((*name).to_owned(), json!({"description": about, "type": ["string", "number", "null"]}))
        });
        let properties: Map<String, Value> = each.collect();
        let schema = json!({"type": "object", "properties": properties});
        fields.insert(
            "requestBody".to_owned(),
            json!({"required": false, "content": {"application/json": {"schema": schema}}}),
        );
    }
    operation
}

/// An object with these members: name and type, a `?` behind the type where it may be null.
fn object(members: &[(&str, &str)]) -> Value {
    let schema = |kind: &str| {
        let (kind, is_optional) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
        let own = match kind {
            "time" => json!({"type": "string", "format": "date-time"}),
            "any" => return json!({}),
            "strings" => json!({"type": "array", "items": {"type": "string"}}),
            "string" | "integer" | "number" | "boolean" => json!({"type": kind}),
            list if list.starts_with('[') => {
                let name = list.trim_matches(['[', ']']);
                json!({"type": "array", "items": {"$ref": format!("#/components/schemas/{name}")}})
            }
            name => json!({"$ref": format!("#/components/schemas/{name}")}),
        };
        if is_optional { json!({"anyOf": [own, {"type": "null"}]}) } else { own }
    };
    let properties: Map<String, Value> =
        members.iter().map(|(name, kind)| ((*name).to_owned(), schema(kind))).collect();
    let required: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn schemas() -> Value {
    let list = |name: &'static str, kind: &'static str| object(&[(name, kind)]);
    json!({
        "Any": {},
        "Problem": {"type": "object", "properties": {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}, "code": {"type": "string"}, "detail": {"type": "string"}, "hint": {"type": "string"}, "id": {"type": "string"}}, "required": ["type", "title", "status", "code", "detail"], "additionalProperties": false},
        "Me": object(&[("name", "string"), ("role", "string"), ("sources", "strings")]),
        "Ready": object(&[("state", "boolean"), ("scheduler", "boolean")]),
        "Started": object(&[("id", "string"), ("status", "string"), ("message", "string"), ("url", "string")]),
        "Link": object(&[("url", "string"), ("expiresAt", "time")]),
        "Pagination": object(&[("page", "integer"), ("limit", "integer"), ("total", "integer"), ("pages", "integer")]),
        "Backup": object(&[
            ("id", "string"), ("filename", "string?"), ("size", "integer?"), ("sizeHuman", "string?"), ("stored", "integer?"), ("new", "integer?"),
            ("checksum", "string?"), ("type", "string"), ("storage", "string?"), ("storagePath", "string?"), ("status", "string"),
            ("duration", "number?"), ("tableCount", "integer?"), ("rows", "integer?"), ("error", "string?"), ("suspect", "string?"), ("warning", "string?"),
            ("removedBy", "string?"),
            ("source", "string"), ("series", "string?"), ("snapshot", "string?"), ("run", "string?"), ("pinned", "boolean"),
            ("verifiedAt", "time?"), ("keptBy", "strings?"), ("createdAt", "time"), ("endedAt", "time?"), ("expiresAt", "time?"),
        ]),
        "Summary": object(&[("storageBytes", "integer?"), ("storageHuman", "string?"), ("kept", "integer"), ("nextScheduled", "time?"), ("asOf", "time?")]),
        "History": object(&[("backups", "[Backup]"), ("pagination", "Pagination"), ("summary", "Summary")]),
        "Progress": {"type": ["object", "null"]},
        "Run": object(&[
            ("id", "string"), ("job", "string"), ("kind", "string"), ("trigger", "string"), ("slot", "time?"), ("status", "string"),
            ("queuedAt", "time"), ("startedAt", "time?"), ("endedAt", "time?"), ("attempts", "integer"), ("exitCode", "integer?"),
            ("reason", "string?"), ("progress", "Progress"),
        ]),
        "Runs": object(&[("runs", "[Run]"), ("pagination", "Pagination")]),
        "Job": object(&[
            ("name", "string"), ("kind", "string"), ("sources", "strings"), ("schedule", "string"), ("timeZone", "string?"), ("enabled", "boolean"),
            ("state", "string"), ("reason", "string"), ("next", "time?"), ("slot", "time?"), ("dueBy", "time?"), ("pausedUntil", "time?"),
            ("lastGood", "time?"), ("open", "Run?"), ("last", "Run?"),
        ]),
        "Jobs": list("jobs", "[Job]"),
        "Status": object(&[("jobs", "[Job]"), ("lastGood", "Backup?"), ("storageBytes", "integer?"), ("plainBytes", "integer"), ("snapshots", "integer"), ("asOf", "time?"), ("repositoryError", "string?")]),
        "Stream": object(&[("name", "string"), ("bytes", "integer"), ("blake3", "string"), ("format", "string?")]),
        "Snapshot": object(&[
            ("id", "string"), ("series", "string"), ("host", "string"), ("time", "time"), ("type", "string"), ("tags", "strings"), ("state", "string"),
            ("size", "integer"), ("stored", "integer"), ("new", "integer"), ("durationMs", "integer"), ("pinned", "boolean"), ("verifiedAt", "time?"),
            ("keptBy", "strings?"), ("notDeletable", "string?"), ("streams", "[Stream]"),
        ]),
        "Snapshots": object(&[("snapshots", "[Snapshot]"), ("asOf", "time?")]),
        "Series": object(&[("series", "string"), ("snapshots", "integer"), ("newest", "string"), ("newestTime", "time"), ("lastGood", "time?"), ("lastVerified", "time?"), ("stored", "integer")]),
        "SeriesList": object(&[("series", "[Series]"), ("asOf", "time?"), ("error", "string?")]),
        "Table": object(&[("stream", "string"), ("database", "string"), ("schema", "string"), ("name", "string"), ("rows", "integer?"), ("bytes", "integer"), ("new_bytes", "integer?")]),
        "Tables": object(&[("snapshot", "string"), ("tables", "[Table]")]),
        "Operation": object(&[
            ("id", "string"), ("kind", "string"), ("object", "string"), ("actor", "string"), ("status", "string"), ("startedAt", "time"),
            ("endedAt", "time?"), ("exitCode", "integer?"), ("report", "any"), ("error", "string?"), ("progress", "Progress"),
        ]),
        "Operations": list("operations", "[Operation]"),
        "Alert": object(&[
            ("condition", "string"), ("subject", "string"), ("text", "string"), ("hint", "string?"), ("since", "time"), ("count", "integer"),
            ("run", "string?"), ("lastGood", "time?"), ("acknowledgedBy", "string?"), ("note", "string?"),
        ]),
        "Delivery": object(&[("id", "string"), ("channel", "string"), ("event", "string"), ("madeAt", "time"), ("attempts", "integer"), ("endedAt", "time?"), ("result", "string"), ("error", "string?")]),
        "Alerts": object(&[("alerts", "[Alert]"), ("deliveries", "[Delivery]")]),
        "Entry": object(&[("seq", "integer"), ("at", "time"), ("actor", "string"), ("kind", "string"), ("object", "string"), ("detail", "string"), ("hash", "string")]),
        "Audit": list("entries", "[Entry]"),
        "Chain": object(&[("ok", "boolean"), ("entries", "integer"), ("head", "string?"), ("brokenAt", "integer?")]),
        "Setting": object(&[("setting", "string"), ("value", "string"), ("origin", "string")]),
        "Config": list("settings", "[Setting]"),
        "User": object(&[("name", "string"), ("role", "string"), ("createdAt", "time")]),
        "Users": list("users", "[User]"),
        "Token": object(&[("id", "string"), ("name", "string"), ("role", "string"), ("creator", "string"), ("sources", "strings"), ("createdAt", "time"), ("expiresAt", "time?"), ("usedAt", "time?")]),
        "Tokens": list("tokens", "[Token]"),
        "NewToken": object(&[("id", "string"), ("name", "string"), ("role", "string"), ("creator", "string"), ("sources", "strings"), ("createdAt", "time"), ("expiresAt", "time?"), ("usedAt", "time?"), ("token", "string")]),
    })
}
