//! Known security holes of client programs, which matter where dumps of others are restored.

use super::FoundClient;

/// A hole: what it lets a dump do, and in which release of each major version it was closed.
struct Hole {
    cve: &'static str,
    danger: &'static str,
    closed_in: &'static [(u32, u32)],
}

/// From <https://www.postgresql.org/support/security/>. Each is in `pg_dump`, `pg_restore` and `psql` alike.
const HOLES: [Hole; 2] = [
    Hole {
        cve: "CVE-2026-116314",
        danger: "a crafted dump runs programs where it is restored",
        closed_in: &[(15, 20), (16, 16), (17, 12), (18, 7)],
    },
    Hole {
        cve: "CVE-2025-8714",
        danger: "the superuser of a dumped server runs programs where the dump is restored",
        closed_in: &[(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)],
    },
];

impl FoundClient {
    /// The first known hole of this release, and the release to install, in words.
    pub fn known_hole(&self) -> Option<String> {
        let major = self.version.major();
        HOLES.iter().find_map(|Hole { cve, danger, closed_in }| {
            let oldest = closed_in.first()?.0;
            let closed = closed_in.iter().find(|(fixed, _)| *fixed == major);
            match (closed, self.minor) {
                (Some((_, closed)), Some(minor)) if minor < *closed => {
                    Some(format!("{cve}: {danger}; closed in {major}.{closed}"))
                }
                _ if major < oldest => {
                    Some(format!("{cve}: {danger}; not closed in version {}", self.version))
                }
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;

    #[test]
    fn releases_with_a_hole_are_known() {
        for (major, minor, cve) in [
            (15, Some(13), Some("CVE-2026-116314")),
            (15, Some(19), Some("closed in 15.20")),
            (15, Some(20), None),
            (17, Some(12), None),
            (17, Some(11), Some("closed in 17.12")),
            (18, None, None),
            (19, Some(0), None),
            (14, Some(30), Some("not closed in version 14")),
        ] {
            let client = FoundClient { path: "psql".into(), version: Version::new(major), minor };
            let hole = client.known_hole();
            match cve {
                Some(words) => assert!(hole.is_some_and(|hole| hole.contains(words)), "{major}.{minor:?}"),
                None => assert_eq!(hole, None, "{major}.{minor:?}"),
            }
        }
    }
}
