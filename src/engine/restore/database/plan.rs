//! What a restore into a database comes to: what has to hold before it is touched, and what becomes of what is there.

use super::super::Without;
use super::super::extract::{Extract, Picked};
use super::super::guard::{ExpectedHost, refuse_protected};
use super::super::left_behind::LeftBehind;
use super::super::swap::Manners;
use super::hooks;
use crate::base::fault::Next;
use crate::base::run::Run;
use crate::base::words;
use crate::content::pg::{DataKind, script_encoding};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::{Programs, ServerAt};
use crate::settings::Hooks;
use crate::source::postgres::{
    Difference, DumpKind, InTheWay, Leftover, PostgresError, RestoreTarget, TargetState, Triggers,
    kind_of_dump, name_beside,
};
use crate::source::process::Limits;
use std::ffi::OsString;
use std::time::Duration;

/// Within so many bytes a script says what it is written in.
const SCRIPT_FRONT_BYTES: usize = 4096;

/// Where a refusal about the host leads to.
const CHECK_TARGET: &str = "check {to_database}, {pg_host}, PGHOST and the service file, or {expect_host}";

/// Whether rows are counted afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Count {
    /// Where that proves something: rows that are added to tables in use prove little.
    #[default]
    Usual,
    /// Also then.
    Always,
    /// No.
    Never,
}

/// What somebody asks to restore into a database.
#[derive(Debug, Clone)]
pub struct DatabaseJob {
    /// The server.
    pub server: ServerAt,
    /// The database; `None` for the one that the server's address names.
    pub database: Option<String>,
    /// Words that client programs are run behind.
    pub exec: Option<Vec<OsString>>,
    /// Make it when it is not there.
    pub create: bool,
    /// Replace what it holds and the dump holds, too.
    pub clean: bool,
    /// Restore beside it, and put the new one in its place.
    pub swap: bool,
    /// How connections of others are met.
    pub manners: Manners,
    /// What of the dump is left behind.
    pub without: Without,
    /// A script may run any command of psql's on this machine.
    pub psql_commands: bool,
    /// Refuse another host.
    pub expected_host: ExpectedHost,
    /// Commands around it, before those of the configuration.
    pub hooks: Hooks,
    /// So many workers side by side; `None` for one stream.
    pub workers: Option<usize>,
    /// Whether rows are counted.
    pub count: Count,
    /// How long the restore may take.
    pub timeout: Option<Duration>,
}

impl DatabaseJob {
    /// A restore into the database that `server` names, which has to be empty; nothing of the dump is left behind.
    pub fn new(server: ServerAt) -> Self {
        Self {
            server,
            database: None,
            exec: None,
            create: false,
            clean: false,
            swap: false,
            manners: Manners::default(),
            without: Without::default(),
            psql_commands: false,
            expected_host: ExpectedHost::default(),
            hooks: Hooks::default(),
            workers: None,
            count: Count::default(),
            timeout: None,
        }
    }

    /// The database and the way to it. No server is asked.
    ///
    /// # Errors
    /// When the address makes no sense, or names no database.
    pub fn target(&self, app: &App, run: &Run) -> Result<RestoreTarget, OpError> {
        let connection = self.server.connection()?;
        let named = self.database.clone().or_else(|| connection.database().map(str::to_owned));
        let database = named.ok_or_else(|| OpError::Job {
            message: "the address of the database to restore into names no database".to_owned(),
            next: Some(Next::new("{to_database} postgres://user@host/name")),
        })?;
        let programs = Programs::of(app);
        let limits = Limits::new(run.cancel.clone()).with_timeout(self.timeout);
        Ok(RestoreTarget {
            create: self.create,
            clean: self.clean,
            no_owner: self.without.owner,
            no_privileges: self.without.privileges,
            no_tablespaces: self.without.tablespaces,
            terminate: self.manners.terminate,
            psql_commands: self.psql_commands,
            clients: programs.clients(programs.wrapper(self.exec.as_deref())),
            maker: Some(app.maker(run.clock.as_ref())),
            ..RestoreTarget::new(connection, database, limits)
        })
    }

    /// Refuses another host than the one that is expected, if one is.
    ///
    /// # Errors
    /// When it is another, or cannot be asked.
    pub fn check_host(&self, target: &RestoreTarget) -> Result<(), OpError> {
        match self.expected_host.0 {
            Some(_) => self.check_host_of(&target.inspect()?),
            None => Ok(()),
        }
    }

    fn check_host_of(&self, state: &TargetState) -> Result<(), OpError> {
        let address = state.server.address.as_deref();
        let names: Vec<&str> = [state.server.host_name()].into_iter().chain(address).collect();
        self.expected_host.check(&names, CHECK_TARGET)
    }
}

/// What becomes of what a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is not there, or holds nothing.
    Nothing,
    /// It is replaced as a whole, and kept under another name.
    Swapped,
    /// Objects of the same name are replaced.
    Cleaned,
    /// Rows are added to its tables.
    RowsAdded,
    /// Objects are added.
    ObjectsAdded,
}

/// A restore into a database.
pub struct DatabasePlan {
    /// What is restored.
    pub extract: Extract,
    /// The database.
    pub target: RestoreTarget,
    /// How it stands.
    pub state: TargetState,
    /// What killed runs left behind on its server, as far as it matters to this database.
    leftovers: Vec<Leftover>,
    /// Who uses it and will be waited for.
    pub waits_for: Option<InTheWay>,
    /// Where it differs from the dumped one, whose encoding and locale it does not get.
    pub differences: Vec<String>,
    /// Where its encoding is not that of the script, whose texts are converted.
    pub script_encoding: Option<Difference>,
    /// What fires for rows that are loaded.
    pub triggers: Triggers,
    /// What becomes of what is there.
    pub effect: Effect,
    /// Why it is not to be. [`super::run_database`] fails with it.
    pub refusal: Option<OpError>,
    pub(super) job: DatabaseJob,
    pub(super) hooks: Hooks,
    /// Tables that are there and get rows.
    pub(super) loaded: Vec<(String, String)>,
}

impl DatabasePlan {
    /// What killed runs left behind on its server, as far as it matters to this database.
    pub fn left_behind(&self) -> Vec<LeftBehind> {
        LeftBehind::all(&self.target, &self.leftovers)
    }

    /// The encodings of the database and of the script, where texts of the script are converted.
    pub fn conversion(&self) -> Option<(&str, &str)> {
        self.script_encoding.as_ref().map(|Difference { is, was, .. }| (is.as_str(), was.as_str()))
    }

    /// Whether triggers are off while rows are loaded. Where no trigger would fire, foreign keys stay on, too.
    pub fn turns_triggers_off(&self) -> bool {
        self.triggers.can_be_off && !self.triggers.firing.is_empty()
    }

    /// The same, looked at once more: something that was left behind is gone.
    ///
    /// # Errors
    /// As [`plan_database`].
    pub fn again(self, app: &App, run: &Run) -> Result<Self, OpError> {
        plan_database(self.job, self.extract, app, run)
    }
}

/// Looks at the database and says what a restore into it would do. Changes nothing. What keeps it from being done is in
/// the plan, so that all of it can be shown.
///
/// # Errors
/// When the stream must not go there, it is not the host that was expected, or the server cannot be asked.
pub fn plan_database(
    job: DatabaseJob,
    extract: Extract,
    app: &App,
    run: &Run,
) -> Result<DatabasePlan, OpError> {
    let target = job.target(app, run)?;
    let disable_triggers = !extract.circular().is_empty();
    let target = RestoreTarget { add: extract.stands_beside(), disable_triggers, ..target };
    if extract.picked.is_none() {
        extract.chosen.admit(&extract.stream, &target, run.events.as_ref(), &run.cancel)?;
    }
    let state = target.inspect()?;
    job.check_host_of(&state)?;
    let concerns = |leftover: &Leftover| {
        !leftover.is_whole || leftover.database.starts_with(&name_beside(&target.database, "_new_"))
    };
    // Safe to ignore: a role that may not ask the server about other databases may well restore into its own.
    let mut leftovers = target.leftovers().unwrap_or_default();
    leftovers.retain(concerns);
    let mut plan = DatabasePlan {
        effect: effect(&job, &extract, &state),
        hooks: hooks::either(&job.hooks, &app.settings.restore),
        loaded: loaded_tables(&extract),
        waits_for: None,
        differences: Vec::new(),
        script_encoding: None,
        triggers: Triggers::default(),
        refusal: None,
        leftovers,
        extract,
        target,
        state,
        job,
    };
    match plan.look(app, run) {
        Ok(()) => {}
        // Whoever shows the plan shows it, too.
        Err(Stop::Refused(error)) => plan.refusal = Some(error),
        Err(Stop::Failed(error)) => return Err(error),
    }
    Ok(plan)
}

/// Why a look at a database ends early.
enum Stop {
    Refused(OpError),
    Failed(OpError),
}

fn failed(error: impl Into<OpError>) -> Stop {
    Stop::Failed(error.into())
}

impl DatabasePlan {
    fn look(&mut self, app: &App, run: &Run) -> Result<(), Stop> {
        let (job, state) = (&self.job, &self.state);
        if !state.is_empty() {
            let place = format!("`{}` on {}", self.target.database, state.server.place());
            let holds = words::count(state.tables, "table");
            let next = "restore under another name, or edit `protect`";
            refuse_protected(&app.settings.protect, &[&self.target.database], &place, &holds, next)
                .map_err(Stop::Refused)?;
        }
        if job.swap && !state.exists {
            let (database, target) = (self.target.database.clone(), state.server.place());
            return Err(Stop::Refused(PostgresError::NoDatabase { database, target }.into()));
        }
        // What a hook stops is still there.
        if job.swap && self.hooks.before.is_none() {
            self.waits_for = job.manners.look(&self.target).map_err(Stop::Refused)?;
        }
        if state.exists && !job.swap {
            self.differences = differences(&self.extract, &self.target, run).map_err(Stop::Failed)?;
        }
        if !job.swap {
            self.script_encoding = self.script_encoding(run).map_err(Stop::Failed)?;
        }
        if state.exists && !self.loaded.is_empty() {
            self.triggers = self.target.triggers(&self.loaded).map_err(failed)?;
        }
        self.target.disable_triggers |= self.turns_triggers_off();
        let may_hold_something = job.clean || job.swap || self.target.add;
        if !self.state.is_empty() && !may_hold_something {
            let TargetState { tables, other_objects, .. } = self.state;
            let database = self.target.database.clone();
            return Err(Stop::Refused(PostgresError::NotEmpty { database, tables, other_objects }.into()));
        }
        Ok(())
    }

    /// A script says what it is written in, and not how its database is to be made.
    fn script_encoding(&self, run: &Run) -> Result<Option<Difference>, OpError> {
        let Extract { chosen, stream, .. } = &self.extract;
        let front = chosen.front(stream, SCRIPT_FRONT_BYTES, &run.cancel)?;
        let Some(was) = script_encoding(&front) else { return Ok(None) };
        if self.extract.picked.is_some() || kind_of_dump(&front) != DumpKind::Sql {
            return Ok(None);
        }
        let is = self.target.encoding(self.state.exists)?;
        Ok((is != was).then_some(Difference { what: "encoding", is, was }))
    }
}

fn effect(job: &DatabaseJob, extract: &Extract, state: &TargetState) -> Effect {
    match (job.swap, job.clean, extract.is_rows_alone()) {
        _ if state.is_empty() => Effect::Nothing,
        (true, _, _) => Effect::Swapped,
        (_, true, _) => Effect::Cleaned,
        (_, false, true) => Effect::RowsAdded,
        (_, false, false) => Effect::ObjectsAdded,
    }
}

/// A database that is there keeps its encoding and locale, whatever the dump says of its own.
fn differences(extract: &Extract, target: &RestoreTarget, run: &Run) -> Result<Vec<String>, OpError> {
    let plan = match &extract.picked {
        Some(Picked { archive, .. }) => archive.database_plan(false),
        None => extract.chosen.database_plan(&extract.stream, run.events.as_ref(), &run.cancel)?,
    };
    let Some(plan) = plan else { return Ok(Vec::new()) };
    Ok(target.differences(&plan)?.iter().map(Difference::to_string).collect())
}

fn loaded_tables(extract: &Extract) -> Vec<(String, String)> {
    let picked = extract.picked.iter().filter(|_| extract.is_rows_alone());
    let tables = picked.flat_map(Picked::tables);
    let tables = tables.filter(|table| table.kind == DataKind::Table);
    tables.map(|table| (table.schema.to_owned(), table.name.to_owned())).collect()
}
