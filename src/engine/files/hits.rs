//! What a restore would hit, in a few words.

/// Names of what is hit, in parentheses.
pub fn first(names: &[String], count: u64) -> String {
    match names {
        [] => String::new(),
        names if names.len() as u64 == count => format!(" ({})", names.join(", ")),
        names => format!(" ({}, …)", names.join(", ")),
    }
}
