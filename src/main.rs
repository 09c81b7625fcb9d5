//! The dumpvault binary.
fn main() {}
