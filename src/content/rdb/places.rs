//! Where the keys of a file stand.

/// A key with its value, or a library of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The database.
    pub database: u64,
    /// When it ends by itself, in milliseconds since 1970.
    pub ends_ms: Option<u64>,
    /// Where its type stands.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
}

/// All of a file.
#[derive(Debug, Default)]
pub struct Places {
    /// Keys, as they stand there.
    pub keys: Vec<Place>,
    /// Libraries of functions.
    pub functions: Vec<Place>,
    /// There is more than keys and functions, which belongs where it stands.
    pub has_more: bool,
}

impl Places {
    pub(super) fn add(&mut self, place: Place, is_function: bool) {
        match is_function {
            true => self.functions.push(place),
            false => self.keys.push(place),
        }
    }
}
