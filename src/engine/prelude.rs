//! What a program needs that embeds the engine: jobs, plans, reports, and the values that they are made of.
//! `docs/embedding.md` has one.

pub use super::OpError;
pub use super::app::{App, AppError};
pub use super::backup::{BackupsReport, ParentChoice, run_backups};
pub use super::listing::{Listing, Seen, survey};
pub use super::plan::{BackupJob, BackupPlan, Wanted, plan_backup};
pub use super::restore::{Chosen, OnRollback, Target, choose};
pub use crate::base::clock::{Clock, SystemClock};
pub use crate::base::event::{Cancel, Event, Observer, Silent};
pub use crate::base::fault::{Class, Fault};
pub use crate::base::name::SnapshotName;
pub use crate::base::run::{Room, Run};
pub use crate::base::secret::OsEntropy;
pub use crate::settings::{Environment, Flags};
pub use crate::vault::crypto::{Credential, KeyFile};
pub use crate::vault::reader::ReadSettings;
pub use crate::vault::snapshot::selection::Viewpoint;
pub use crate::vault::{Access, Repository};
