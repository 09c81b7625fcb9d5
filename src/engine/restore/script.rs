//! Whether a script may go into a database, as far as that can be told before anything is touched.

use super::{Chosen, Content};
use crate::base::event::{Cancel, Observer};
use crate::content::pg::DumpForm;
use crate::engine::OpError;
use crate::engine::tables::table_map;
use crate::source::postgres::{
    DumpKind, FilterError, PostgresError, Reason, RestoreTarget, ScriptFilter, ScriptRefused, SessionSettings,
};
use crate::vault::RepoError;
use crate::vault::snapshot::Stream;

/// Scripts up to this length are read whole before the target is touched. Longer ones are judged as they stream.
const JUDGED_BYTES_MAX: u64 = 8 << 20;

impl Chosen {
    /// Refuses scripts that make or choose their database by themselves, and short ones with commands of psql's in
    /// them.
    ///
    /// # Errors
    /// When the script must not go into the database; nothing was touched then.
    pub fn admit(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<(), OpError> {
        self.admit_form(stream, target)?;
        let is_short = stream.bytes <= JUDGED_BYTES_MAX;
        if target.psql_commands || !is_short || self.dump_kind(stream, cancel)? != DumpKind::Sql {
            return Ok(());
        }
        match self.judge(stream, target, observer, cancel)? {
            // How it is read depends on the server, too, which is asked when the script streams.
            Some(ScriptRefused { reason: Reason::Ambiguous(_), .. }) | None => Ok(()),
            Some(refused) => Err(PostgresError::from(refused).into()),
        }
    }

    /// What the survey of the script found at backup.
    pub(super) fn admit_form(&self, stream: &Stream, target: &RestoreTarget) -> Result<(), OpError> {
        let Ok(Some(map)) = table_map(stream) else { return Ok(()) };
        let database = target.database.clone();
        match map.form {
            DumpForm::ClusterScript => Err(PostgresError::ClusterScript { database }.into()),
            DumpForm::Script => {
                let tables = map.tables.iter().map(|table| table.database);
                let mut named = tables.chain([map.database.as_str()]);
                match named.find(|named| !named.is_empty() && **named != *database) {
                    None => Ok(()),
                    Some(named) => {
                        Err(PostgresError::ConnectsElsewhere { named: named.to_owned(), database }.into())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn judge(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        observer: &dyn Observer,
        cancel: &Cancel,
    ) -> Result<Option<ScriptRefused>, OpError> {
        let settings = SessionSettings { conforming: Some(true), encoding: "UTF8".to_owned() };
        let filter = ScriptFilter::new(&target.database, &settings);
        let mut filter = if target.scratch { filter.keep_from_others() } else { filter };
        let mut found = None;
        let mut keep = |outcome| match outcome {
            Ok(()) => Ok(()),
            Err(FilterError::Io(error)) => Err(error),
            Err(FilterError::Refused(refused)) => {
                found = Some(refused);
                Err(std::io::Error::other("refused"))
            }
        };
        let content = Content { stream, parts: None, skipped: 0 };
        let content = Content { skipped: self.mark_bytes(content, DumpKind::Sql, cancel)?, ..content };
        let read =
            self.read(content, observer, cancel, &mut |bytes| keep(filter.push(bytes, &mut |_| Ok(()))));
        match read {
            Ok(_) => {
                // Safe to ignore because a refusal is kept, and there is nothing else that could fail.
                let _ = keep(filter.finish(&mut |_| Ok(())));
                Ok(found)
            }
            Err(RepoError::Output { .. }) if found.is_some() => Ok(found),
            Err(error) => Err(error.into()),
        }
    }
}
