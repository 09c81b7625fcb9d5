//! Which objects are locked, and for how long.

use std::time::Duration;

/// How long objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Keys with a right of their own may end the lock (*governance*); otherwise nobody may (*compliance*).
    pub governance: bool,
    /// How long.
    pub lasts: Duration,
}

/// What a restore needs. Sessions and prune plans come and go.
pub(super) fn is_kept(key: &str) -> bool {
    key == "config"
        || ["keys/", "authors/", "epochs/", "packs/", "index/", "snapshots/", "marks/"]
            .iter()
            .any(|folder| key.starts_with(folder))
}
