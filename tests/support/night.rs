//! How many requests commands take, held against the table in `docs/offsite.md`.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

/// Commands of the table, in the order of its columns.
pub const COMMANDS: [&str; 7] = ["init", "first", "changed", "unchanged", "forget", "prune", "check"];

/// Holds what was counted of a storage against its row; `None` where nobody counts.
#[track_caller]
pub fn holds(storage: &str, counted: [Option<u64>; 7]) {
    eprintln!("{storage}: {counted:?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/offsite.md");
    let text = std::fs::read_to_string(path).unwrap();
    let start = format!("| {storage} |");
    let rows = text.lines().filter(|line| line.starts_with(&start));
    // Other tables have a row of that name, too.
    let told = rows.map(|row| row.split('|').skip(2).take(7).map(|cell| cell.trim().parse::<u64>().ok()));
    let told: Vec<Vec<_>> = told.map(Iterator::collect).collect();
    let told = told
        .iter()
        .find(|row| row.iter().any(Option::is_some))
        .unwrap_or_else(|| panic!("no row `{storage}`"));
    for ((command, counted), told) in COMMANDS.iter().zip(counted).zip(told) {
        let Some(counted) = counted else { continue };
        let told = told.unwrap_or_else(|| panic!("{storage} has no figure for {command}: {counted}"));
        // A refresh of the session is one more, on a machine that is slow.
        assert!(
            counted <= told + 2 && told <= counted + 2,
            "{storage}, {command}: {counted}, the table has {told}"
        );
    }
    assert!(counted[3].is_some_and(|unchanged| unchanged <= 30), "{storage}: {counted:?}");
}
