//! One master of a cluster: its keys are read as those of any server, and it is seen afterwards whether any moved
//! meanwhile.

use super::cluster::{Shard, is_moving, shards};
use super::login::Access;
use crate::base::event::{Event, Observer};
use crate::base::id::StreamDigest;
use crate::base::numbers::{Proof, StreamFormat};
use crate::source::process::Limits;
use crate::source::{Dump, SourceError, StartedDump};
use std::io::{self, Read};
use std::sync::Arc;

/// Attribute of a stream: the slots whose keys are in it.
const SLOTS: &str = "slots";

/// What is read of a master.
pub(super) struct Watched {
    dump: Box<dyn Dump>,
    access: Access,
    before: Vec<Shard>,
    limits: Limits,
    events: Arc<dyn Observer>,
}

impl Watched {
    /// A dump of `shard`, one of those that there were `before`.
    pub(super) fn of(
        started: StartedDump,
        shard: &Shard,
        before: Vec<Shard>,
        access: Access,
        limits: Limits,
        events: Arc<dyn Observer>,
    ) -> StartedDump {
        let StartedDump { dump, mut attributes } = started;
        attributes.insert(SLOTS.to_owned(), shard.shown());
        StartedDump { dump: Box::new(Self { dump, access, before, limits, events }), attributes }
    }

    /// Whether a key may have left for a master that was read before, or may be in no stream for another reason.
    fn moved(&self) -> Result<bool, SourceError> {
        let mut wire = self.access.enter(&self.limits)?;
        Ok(shards(&mut wire, &self.access)? != self.before || is_moving(&mut wire)?)
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.dump.read(buffer)
    }
}

impl Dump for Watched {
    fn finish(self: Box<Self>) -> Result<Proof, SourceError> {
        self.dump.finish()
    }

    fn format(&self) -> Option<StreamFormat> {
        self.dump.format()
    }

    fn digest(&self) -> Option<StreamDigest> {
        self.dump.digest()
    }

    fn is_settled(&self) -> bool {
        self.dump.is_settled()
    }

    fn map(&self) -> Option<Vec<u8>> {
        self.dump.map()
    }

    fn unread(&self) -> Option<String> {
        let server = self.access.address.server();
        let what = match self.moved() {
            Ok(false) => None,
            Ok(true) => Some(
                "slots moved between servers while they were read: keys of these may be missing".to_owned(),
            ),
            Err(error) => Some(format!("whether slots moved meanwhile is not known: {error}")),
        };
        if let Some(what) = &what {
            self.events.observe(Event::Warning { message: format!("`{server}`: {what}") });
        }
        what
    }
}
