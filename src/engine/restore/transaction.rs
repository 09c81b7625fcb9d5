//! Whether a restore into a database that is there can be one transaction: that takes a lock for every object that it
//! makes, until the end.

use super::{Chosen, Content};
use crate::base::event::{Event, Observer};
use crate::content::pg::{DataKind, Toc};
use crate::engine::OpError;
use crate::engine::tables::table_map;
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
        let Ok(Some(map)) = table_map(content.stream) else { return 0 };
        let tables = match content.parts.map(|parts| Toc::parse(&parts.head)) {
            Some(Ok(toc)) => toc.entries().iter().filter(|entry| entry.desc() == b"TABLE").count() as u64,
            Some(Err(_)) => return 0,
            None => map.tables.iter().filter(|table| table.kind == DataKind::Table).count() as u64,
        };
        // What gives an object to its owner locks it.
        let has_objects = content.parts.is_none() && !target.no_owner;
        let objects = map.tables.iter().filter(|table| table.kind == DataKind::LargeObjects && has_objects);
        objects.filter_map(|table| table.rows).fold(tables, u64::saturating_add)
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
