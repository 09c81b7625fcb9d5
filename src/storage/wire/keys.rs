//! Keys that the tables of all services by HTTP have.

#[cfg(any(feature = "azure", feature = "gcs"))]
use crate::base::setting::FILE;
use crate::base::setting::{Entry, Key, PATIENCE};
#[cfg(any(feature = "azure", feature = "gcs"))]
use std::path::PathBuf;
use std::time::Duration;

/// How long a request may stand still, if nobody says otherwise.
pub(crate) const STALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How long it may.
pub(crate) static STALL_TIMEOUT: Key<Duration> = Key::new(
    &PATIENCE,
    Entry::new(
        "stall_timeout",
        "Give up a request, and make it again, when nothing moved for this long.",
        "\"20s\"",
    )
    .default("60s"),
);

/// Who is trusted besides.
#[cfg(any(feature = "azure", feature = "gcs"))]
pub(crate) static CA_FILE: Key<PathBuf> = Key::new(
    &FILE,
    Entry::new(
        "ca_file",
        "Certificates of authorities to trust besides the system's.",
        "\"/etc/ssl/private-ca.pem\"",
    ),
);
