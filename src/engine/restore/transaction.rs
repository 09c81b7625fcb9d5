//! Whether a restore into a database that is there can be one transaction: that takes a lock for every object that it
//! makes, until the end.

use super::{Chosen, Content};
use crate::base::event::{Event, Observer};
use crate::content::pg::{DataKind, Toc};
use crate::engine::OpError;
use crate::engine::tables::each_table;
use crate::source::postgres::{DatabasePlan, Discarded, DumpKind, Failure, Prepared, RestoreTarget};
use crate::vault::reader::ReadStats;
use crate::vault::snapshot::Stream;

impl Chosen {
    /// Feeds an archive or a script into its database: in one transaction where the server has room for its locks, or
    /// where something is at stake. A database that was empty gets the dump in several transactions otherwise, and what
    /// did not fit is told.
    pub(super) fn restore_into(
        &self,
        content: Content<'_>,
        target: &RestoreTarget,
        (kind, plan): (DumpKind, Option<&DatabasePlan>),
        feed: &dyn Fn(&Prepared) -> Result<ReadStats, OpError>,
        observer: &dyn Observer,
    ) -> Result<ReadStats, OpError> {
        let mut prepared = target.prepare_as(kind, plan)?;
        let may_split = prepared.is_empty_one();
        let mut splits = may_split && !target.may_have_room_for_locks(self.objects(content, target))?;
        loop {
            if splits {
                tell(observer, content.stream, target);
                prepared = prepared.in_parts();
            }
            let failure = match feed(&prepared) {
                Ok(stats) => {
                    super::keep(prepared, &target.database, observer)?;
                    return Ok(stats);
                }
                Err(failure) => failure,
            };
            let is_of_locks = failure.failure() == Some(Failure::OutOfLocks);
            if splits || !may_split || !is_of_locks {
                return Err(super::discard(prepared, &target.database, failure));
            }
            match prepared.discard() {
                Ok(Discarded::WasThereBefore) => {}
                discarded => return Err(super::aftermath(discarded, false, &target.database, failure)),
            }
            prepared = target.prepare_as(kind, plan)?;
            splits = true;
        }
    }

    /// How many objects a restore makes and locks, at least; none where that cannot be told without reading all of the
    /// stream.
    fn objects(&self, content: Content<'_>, target: &RestoreTarget) -> u64 {
        if let Some(parts) = content.parts {
            let toc = Toc::parse(&parts.head);
            let tables = |toc: Toc| toc.entries().iter().filter(|entry| entry.desc() == b"TABLE").count();
            return toc.map_or(0, tables) as u64;
        }
        let mut objects = 0u64;
        let is_read = each_table(content.stream, |table| match table.kind {
            DataKind::Table => objects = objects.saturating_add(1),
            // What gives an object to its owner locks it.
            DataKind::LargeObjects if !target.no_owner => {
                objects = objects.saturating_add(table.rows.unwrap_or(0));
            }
            DataKind::LargeObjects => {}
        });
        if is_read { objects } else { 0 }
    }
}

fn tell(observer: &dyn Observer, stream: &Stream, target: &RestoreTarget) {
    let message = format!(
        "`{}` holds more objects than the server can lock at once (`max_locks_per_transaction`): restoring in several transactions. \
         A failure leaves a part of it in `{}`, which was empty",
        stream.name, target.database
    );
    observer.observe(Event::Warning { message });
}
