//! A whole server that was restored, or would be.

use super::verify::Verification;
use super::{Hint, Id, Report};
use crate::base::fault::Fault as _;
use crate::engine::restore::{
    DatabaseOutcome, Findings, PlannedDatabase, Restored, ServerPlan, ServerReport, Standing,
};
use schemars::JsonSchema;
use serde::Serialize;

/// A server that was restored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredServer {
    /// The snapshot.
    pub snapshot: Id,
    /// The server's host, as it says itself.
    pub server: String,
    /// Everything is there.
    pub ok: bool,
    /// Roles that were made.
    pub roles: Vec<String>,
    /// Tablespaces that were made.
    pub tablespaces: Vec<String>,
    /// Tablespaces that could not be made: databases were restored without tablespaces.
    pub tablespaces_lost: Vec<String>,
    /// In the order of the snapshot. Those after an interruption are missing.
    pub databases: Vec<RestoredDatabase>,
}

impl Report for RestoredServer {}

/// A database of a server that was restored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoredDatabase {
    /// Its name.
    pub name: String,
    /// What was done.
    pub status: DatabaseStatus,
    /// Plain bytes that were written.
    pub bytes: Option<u64>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// The database holds what the dump does, where that was compared.
    pub verified: Option<bool>,
    /// What was compared.
    pub verification: Option<Verification>,
    /// What failed.
    pub error: Option<String>,
    /// What to do next, where that can be known.
    pub hint: Option<String>,
}

/// What was done with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseStatus {
    /// It was restored.
    Restored,
    /// It was there already, as in the snapshot.
    There,
    /// It could not be restored.
    Failed,
}

/// What a restore of a server would do, by `--dry-run`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RestoreServerPlan {
    /// Always true.
    pub dry_run: bool,
    /// The snapshot.
    pub snapshot: Id,
    /// The server's host, as it says itself.
    pub server: String,
    /// Roles that would be made.
    pub roles: Vec<String>,
    /// Roles that are there, and stay as they are.
    pub roles_there: Vec<String>,
    /// Tablespaces that would be made.
    pub tablespaces: Vec<String>,
    /// Tablespaces that are there.
    pub tablespaces_there: Vec<String>,
    /// In the order of the snapshot.
    pub databases: Vec<DatabaseToRestore>,
}

impl Report for RestoreServerPlan {}

/// A database that would be restored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DatabaseToRestore {
    /// Its name.
    pub name: String,
    /// What would be done.
    pub action: DatabaseAction,
    /// Plain bytes of its dump.
    pub bytes: u64,
    /// Tables that it holds.
    pub tables: u64,
    /// Why it is in the way.
    pub differs: Option<String>,
}

/// What would be done with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseAction {
    /// It is made and filled.
    Create,
    /// A run before this one did not finish it: it is dropped, made and filled.
    Finish,
    /// It is there and empty, and is filled.
    Fill,
    /// Nothing: it is there, as in the snapshot.
    Skip,
    /// It holds something else: nothing is restored.
    Refuse,
}

impl RestoredServer {
    /// What became of a server.
    pub fn new(snapshot: Id, server: &str, report: &ServerReport, hint: Hint<'_>) -> Self {
        Self {
            snapshot,
            server: server.to_owned(),
            ok: report.class().is_none(),
            roles: report.made.roles.clone(),
            tablespaces: report.made.tablespaces.clone(),
            tablespaces_lost: report.lost.iter().map(|(name, _)| name.clone()).collect(),
            databases: report.databases.iter().map(|one| RestoredDatabase::new(one, hint)).collect(),
        }
    }
}

impl RestoredDatabase {
    fn new(outcome: &DatabaseOutcome, hint: Hint<'_>) -> Self {
        let mut one = Self {
            name: outcome.name.clone(),
            status: DatabaseStatus::There,
            bytes: None,
            duration_ms: None,
            verified: None,
            verification: None,
            error: None,
            hint: None,
        };
        match &outcome.result {
            Ok(Restored::WasBack { .. }) => {}
            Ok(Restored::Whole { bytes, duration_ms, findings }) => {
                one.status = DatabaseStatus::Restored;
                (one.bytes, one.duration_ms) = (Some(*bytes), Some(*duration_ms));
                one.verified = findings.as_ref().map(Findings::is_good);
                one.verification = findings.as_ref().map(Verification::from);
            }
            Err(error) => {
                one.status = DatabaseStatus::Failed;
                one.error = Some(error.to_string());
                one.hint = error.next().map(hint);
            }
        }
        one
    }
}

impl RestoreServerPlan {
    /// What would be done.
    pub fn new(plan: &ServerPlan) -> Self {
        let globals = plan.globals.clone().unwrap_or_default();
        Self {
            dry_run: true,
            snapshot: Id::of(plan.chosen.summary.id),
            server: plan.server.host_name().to_owned(),
            roles: globals.roles,
            roles_there: globals.roles_there,
            tablespaces: globals.tablespaces,
            tablespaces_there: globals.tablespaces_there,
            databases: plan.databases.iter().map(DatabaseToRestore::new).collect(),
        }
    }
}

impl DatabaseToRestore {
    fn new(planned: &PlannedDatabase) -> Self {
        let (action, tables, differs) = match &planned.standing {
            Standing::Missing => (DatabaseAction::Create, 0, None),
            Standing::Unfinished(_) => (DatabaseAction::Finish, 0, None),
            Standing::Empty => (DatabaseAction::Fill, 0, None),
            Standing::Back { tables } => (DatabaseAction::Skip, *tables, None),
            Standing::InTheWay { tables, differs } => {
                (DatabaseAction::Refuse, *tables, Some(differs.clone()))
            }
        };
        Self { name: planned.name.clone(), action, bytes: planned.stream.bytes, tables, differs }
    }
}
