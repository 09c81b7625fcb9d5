//! What became of something from one snapshot to another.

use schemars::JsonSchema;
use serde::Serialize;

/// What became of a table, or of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TableChange")]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only the second snapshot has it.
    New,
    /// Only the first has it.
    Gone,
    /// It has as many rows, or keys, and bytes as before.
    None,
    /// Their number or their bytes differ.
    Changed,
}
