//! Settings that make a restore faster, of a database that is not in use yet: set while it fills, and gone when it is
//! whole.
//!
//! They belong to the database and not to a session, so that they hold behind poolers and in every worker.

use super::super::Connection;
use super::create::DatabasePlan;
use super::{RestoreTarget, quoted_name, quoted_text};
use crate::base::event::Cancel;

/// Nothing is lost by a crash that the restore does not begin anew for. The commit that gives the database its name, or
/// takes the mark off it, waits for the disk, and so for all that came before.
const COMMIT: &str = "synchronous_commit";
/// Indexes are sorted in it: an eighth of the shared buffers where that is more than what is set, and at most 512 MiB,
/// since each worker takes so much.
const MEMORY: &str = "maintenance_work_mem";

/// Pages of 8 KiB are an eighth of themselves in KiB.
const MEMORY_SET: &str = "SELECT least(524288, shared.setting::bigint) INTO wanted FROM pg_settings shared, pg_settings memory \
    WHERE shared.name = 'shared_buffers' AND memory.name = 'maintenance_work_mem' \
    AND shared.setting::bigint > memory.setting::bigint AND memory.setting::bigint < 524288";

impl RestoreTarget {
    /// Sets them, but for those that the dump has values for. That they cannot be set costs only time.
    pub(super) fn hasten(&self, asked: &Connection, plan: &DatabasePlan) {
        let database = quoted_name(&self.database);
        for name in free(plan) {
            let statement = match name {
                COMMIT => format!("ALTER DATABASE {database} SET {COMMIT} = off"),
                _ => {
                    let set = quoted_text(&format!("ALTER DATABASE {database} SET {MEMORY} = "));
                    let body = format!(
                        "DECLARE wanted bigint; BEGIN {MEMORY_SET}; \
                         IF wanted IS NOT NULL THEN EXECUTE {set} || wanted; END IF; END"
                    );
                    format!("DO {}", quoted_text(&body))
                }
            };
            self.about_haste(asked, &statement);
        }
    }

    /// Takes them back.
    pub(super) fn slow_down(&self, asked: &Connection, plan: &DatabasePlan) {
        for name in free(plan) {
            self.about_haste(asked, &format!("ALTER DATABASE {} RESET {name}", quoted_name(&self.database)));
        }
    }

    fn about_haste(&self, asked: &Connection, statement: &str) {
        let what = format!("change database `{}`", self.database);
        if let Err(error) = self.clients.ask(asked, &what, statement, &Cancel::new()) {
            tracing::debug!("{error}");
        }
    }
}

fn free(plan: &DatabasePlan) -> impl Iterator<Item = &'static str> + '_ {
    let is_free = |name: &&str| !plan.statements.iter().any(|it| it.setting.as_deref() == Some(*name));
    [COMMIT, MEMORY].into_iter().filter(is_free)
}
