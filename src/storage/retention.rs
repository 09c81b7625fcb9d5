//! Which objects are locked, and for how long.

use crate::base::setting::{Entry, Key, OBJECT_LOCK};
use crate::base::unit::ObjectLock;
use std::time::Duration;

/// How long objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Keys with a right of their own may end the lock (*governance*); otherwise nobody may (*compliance*).
    pub governance: bool,
    /// How long.
    pub lasts: Duration,
}

impl From<ObjectLock> for Retention {
    fn from(lock: ObjectLock) -> Self {
        Self { governance: lock.governance, lasts: lock.lasts }
    }
}

/// The key of a table that says how long.
pub(super) static LOCK: Key<Option<ObjectLock>> = Key::new(
    &OBJECT_LOCK,
    Entry::new("object_lock", "Lock new objects against deletion for this long.", "\"compliance:30d\"")
        .flag("--object-lock"),
);

/// What a restore needs. Sessions and prune plans come and go.
pub(super) fn is_kept(key: &str) -> bool {
    key == "config"
        || ["keys/", "authors/", "epochs/", "packs/", "index/", "snapshots/", "marks/"]
            .iter()
            .any(|folder| key.starts_with(folder))
}
