//! Replacing a live database by one that stands beside it: both are renamed, and the old one stays under another name.

use crate::base::clock::Clock;
use crate::base::fault::{Next, as_it_is};
use crate::base::run::Run;
use crate::engine::OpError;
use crate::engine::app::App;
use crate::engine::plan::{Programs, ServerAt};
use crate::source::postgres::{InTheWay, PostgresError, RestoreTarget, TargetState, name_beside};
use crate::source::process::Limits;
use std::ffi::OsString;
use std::time::Duration;

/// How connections of others are met.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manners {
    /// They are ended.
    pub terminate: bool,
    /// They are waited for so long.
    pub patience: Option<Duration>,
}

impl Manners {
    /// Whether somebody said that those who are connected go away in the end.
    fn wait_for(self, in_the_way: &InTheWay) -> bool {
        self.patience.is_some() || (self.terminate && in_the_way.prepared == 0)
    }

    /// Refuses a swap that cannot be done. Those who are connected may leave meanwhile, if somebody said that they will
    /// be waited for: they are the answer then.
    pub(super) fn look(self, live: &RestoreTarget) -> Result<Option<InTheWay>, OpError> {
        let in_the_way = live.look_before_swap()?;
        let goes_away = self.terminate && in_the_way.prepared == 0;
        if in_the_way.is_nothing() || goes_away {
            return Ok(None);
        }
        match self.wait_for(&in_the_way) {
            true => Ok(Some(in_the_way)),
            false => Err(PostgresError::InUse { database: live.database.clone(), by: in_the_way }.into()),
        }
    }
}

/// What the old database is called from then on.
pub(super) fn kept_name(live: &RestoreTarget, clock: &dyn Clock) -> Result<String, OpError> {
    unused_name(live, "before", clock)
}

/// What a database is called that will take the place of another.
pub(super) fn fresh_name(live: &RestoreTarget, clock: &dyn Clock) -> Result<String, OpError> {
    unused_name(live, "new", clock)
}

/// A name that no database of the server has. Another restore may have taken the one of this second.
fn unused_name(live: &RestoreTarget, kind: &str, clock: &dyn Clock) -> Result<String, OpError> {
    let stamp = clock.now().strftime("%Y%m%d_%H%M%S").to_string();
    let mut name = name_beside(&live.database, &format!("_{kind}_{stamp}"));
    let mut number = 1;
    while (RestoreTarget { database: name.clone(), ..live.clone() }).inspect()?.exists {
        number += 1;
        name = name_beside(&live.database, &format!("_{kind}_{stamp}_{number}"));
    }
    Ok(name)
}

/// What somebody asks to swap.
#[derive(Debug, Clone)]
pub struct SwapJob {
    /// Takes the place of the other.
    pub new: String,
    /// Is replaced, and kept under another name.
    pub live: String,
    /// The server of both.
    pub server: ServerAt,
    /// Words that client programs are run behind.
    pub exec: Option<Vec<OsString>>,
    /// How connections of others are met.
    pub manners: Manners,
}

/// A swap that can be done.
pub struct SwapPlan {
    /// How the new database stands.
    pub new_state: TargetState,
    /// How the live one does.
    pub live_state: TargetState,
    /// What the old one is called afterwards.
    pub kept: String,
    /// As asked for.
    pub job: SwapJob,
    new: RestoreTarget,
}

/// Looks at both databases and says whether one can take the place of the other. Changes nothing.
///
/// # Errors
/// When one is not there, the new one is empty, or the live one is in use and nobody is to be waited for.
pub fn plan_swap(job: SwapJob, app: &App, run: &Run) -> Result<SwapPlan, OpError> {
    let connection = job.server.connection()?;
    let programs = Programs::of(app);
    let clients = programs.clients(programs.wrapper(job.exec.as_deref()));
    let limits = Limits::new(run.cancel.clone());
    let named = |database: &str, other: &str| RestoreTarget {
        clients: clients.clone(),
        maker: Some(app.maker(run.clock.as_ref())),
        // Never asked about one from within the other.
        like: Some(other.to_owned()),
        ..RestoreTarget::new(connection.clone(), database, limits.clone())
    };
    let (new, live) = (named(&job.new, &job.live), named(&job.live, &job.new));
    if job.new == job.live {
        return Err(OpError::Job { message: "NEW and LIVE are the same database".to_owned(), next: None });
    }
    let (new_state, live_state) = (state_of(&new)?, state_of(&live)?);
    // An empty database in the place of a live one is a mistake, whatever is said.
    if new_state.is_empty() && !live_state.is_empty() {
        return Err(OpError::Job {
            message: format!("refused: `{}` is empty and `{}` is not", job.new, job.live),
            next: Some(Next::new("the restored database comes first: `dumpvault swap NEW LIVE`")),
        });
    }
    let in_the_way = live.look_before_swap()?;
    if !in_the_way.is_nothing() && !job.manners.wait_for(&in_the_way) {
        return Err(PostgresError::InUse { database: job.live, by: in_the_way }.into());
    }
    let kept = kept_name(&live, run.clock.as_ref())?;
    Ok(SwapPlan { new_state, live_state, kept, job, new })
}

fn state_of(target: &RestoreTarget) -> Result<TargetState, OpError> {
    let state = target.inspect()?;
    if state.exists {
        return Ok(state);
    }
    let missing =
        PostgresError::NoDatabase { database: target.database.clone(), target: state.server.place() };
    let next = Next::new("check both names: `psql -l` lists the databases");
    Err(OpError::Hinted { source: Box::new(missing.into()), next })
}

/// Carries out a plan.
///
/// # Errors
/// When somebody is still connected, or the server refuses. Both databases are as before then.
pub fn run_swap(plan: &SwapPlan) -> Result<(), OpError> {
    let Manners { terminate, patience } = plan.job.manners;
    Ok(plan.new.take_place_of(&plan.job.live, &plan.kept, terminate, patience.unwrap_or_default())?)
}

/// The error of a swap whose new database is whole and waits; the next step is the command that finishes it.
pub(super) fn not_swapped(
    fresh: &RestoreTarget,
    live: &RestoreTarget,
    exec: Option<&[OsString]>,
    error: OpError,
) -> OpError {
    let [new, old] = [&fresh.database, &live.database].map(|name| as_it_is(&quoted(name)).into_owned());
    let mut words = vec!["dumpvault swap".to_owned(), new, old];
    let uri = live.connection.server_uri();
    if uri != "postgresql://" {
        words.push(format!("{{server}} {}", as_it_is(&quoted(&uri))));
    }
    if let Some(exec) = exec {
        let exec: Vec<String> = exec.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.push(format!("{{pg_exec}} {}", as_it_is(&quoted(&exec.join(" ")))));
    }
    let next = format!("finish it with `{}`, or drop `{}`", words.join(" "), as_it_is(&fresh.database));
    OpError::Hinted { source: Box::new(error), next: Next::new(next) }
}

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%,+=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_only_where_they_must_be() {
        assert_eq!(quoted("shop_new_1"), "shop_new_1");
        assert_eq!(quoted("postgresql://a@h:5/x?sslmode=require"), "'postgresql://a@h:5/x?sslmode=require'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
