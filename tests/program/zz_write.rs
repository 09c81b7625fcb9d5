#[test]
fn write_documents() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (command, schema) in dumpvault::engine::report::schemas() {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        std::fs::write(root.join(format!("docs/json/{command}.schema.json")), text).unwrap();
    }
    std::fs::write(root.join("docs/configuration.md"), dumpvault::settings::manual(&dumpvault::engine::app::sections())).unwrap();
}
