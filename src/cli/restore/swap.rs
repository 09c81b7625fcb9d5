//! Replacing a live database: restored beside it, counted, and renamed.

use super::fill::fill;
use super::{Work, done};
use crate::base::clock::Clock;
use crate::cli::args::{RestoreArgs, ServerArgs, SwapArgs};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;
use crate::cli::servers::{clients, connection};
use crate::cli::{Context, prompt, render};
use crate::engine::OpError;
use crate::engine::report::Swap;
use crate::engine::restore::Expected;
use crate::settings;
use crate::source::postgres::{Connection, PostgresError, RestoreTarget, name_beside};
use crate::source::process::Limits;
use std::time::Duration;

/// How long a rename is waited for at the end where nothing else is said: nobody was connected at the beginning.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(60);

/// How connections of others are met.
struct Manners {
    terminate: bool,
    patience: Option<Duration>,
}

impl Manners {
    fn new(terminate: bool, patience: Option<&str>) -> Result<Self, CliError> {
        let patience = patience.map(|text| settings::duration(text, "--swap-timeout")).transpose()?;
        Ok(Self { terminate, patience })
    }
}

/// Refuses a swap that cannot be done, before anything is restored. Those who are connected may leave meanwhile, if somebody said
/// that they will be waited for.
pub(super) fn look(context: &Context, args: &RestoreArgs, live: &RestoreTarget) -> Result<(), CliError> {
    let manners = Manners::new(args.terminate_connections, args.swap_timeout.as_deref())?;
    let in_the_way = live.look_before_swap().map_err(OpError::from)?;
    let goes_away = in_the_way.prepared == 0 && manners.terminate;
    if in_the_way.is_nothing() || goes_away {
        return Ok(());
    }
    if manners.patience.is_some() {
        context
            .say(&format!("database `{}` is in use: {in_the_way}; waiting for it at the end", live.database));
        return Ok(());
    }
    let refused = PostgresError::InUse { database: live.database.clone(), by: in_the_way };
    Err(OpError::from(refused).into())
}

/// Restores beside the database, and renames both once the new one is whole.
pub(super) fn run(
    work: &Work<'_>,
    args: &RestoreArgs,
    live: RestoreTarget,
    (workers, expected): (Option<usize>, Option<Expected>),
) -> Result<Exit, CliError> {
    let context = work.context;
    let manners = Manners::new(args.terminate_connections, args.swap_timeout.as_deref())?;
    let stamp = stamp(context);
    let kept = name_beside(&live.database, &format!("_before_{stamp}"));
    let fresh = RestoreTarget {
        database: name_beside(&live.database, &format!("_new_{stamp}")),
        create: true,
        clean: false,
        terminate: false,
        like: Some(live.database.clone()),
        ..live.clone()
    };
    let (stats, findings) = fill(work, workers, &fresh, expected)?;
    if findings.as_ref().is_some_and(|findings| !findings.is_good()) {
        let exit = done(work, &format!("database `{}`", fresh.database), stats, findings.as_ref());
        fresh.drop_database().map_err(OpError::from)?;
        context.warn(format!(
            "row counts differ from the dump; `{}` is unchanged, the new database was dropped",
            live.database
        ));
        return Ok(exit);
    }
    let patience = manners.patience.unwrap_or(PATIENCE_DEFAULT);
    if let Err(error) = fresh.take_place_of(&live.database, &kept, manners.terminate, patience) {
        return Err(not_swapped(context, &fresh, &live, &args.server, OpError::from(error)));
    }
    let into = format!("database `{}`, and the old one is now `{kept}`", live.database);
    Ok(done(work, &into, stats, findings.as_ref()))
}

/// Names the database that holds the dump, and the command that finishes what was begun. Told at once: an interrupted program says
/// nothing more than that.
fn not_swapped(
    context: &Context,
    fresh: &RestoreTarget,
    live: &RestoreTarget,
    server: &ServerArgs,
    error: OpError,
) -> CliError {
    // Safe to ignore: the mark only helps a later run to find what is named here.
    let _ = fresh.mark_waiting();
    context.warn(format!(
        "`{}` holds the complete dump, but could not replace `{}`",
        fresh.database, live.database
    ));
    let mut words = vec!["dumpvault swap".to_owned(), quoted(&fresh.database), quoted(&live.database)];
    let uri = live.connection.server_uri();
    if uri != "postgresql://" {
        words.push(format!("--server {}", quoted(&uri)));
    }
    if let Some(exec) = &server.exec.exec {
        words.push(format!("--exec {}", quoted(exec)));
    }
    let hint = format!("finish it with `{}`, or drop `{}`", words.join(" "), fresh.database);
    CliError::Hinted { error: Box::new(error.into()), hint: Some(hint) }
}

/// A word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%,+=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

pub(super) fn stamp(context: &Context) -> String {
    context.clock.now().strftime("%Y%m%d_%H%M%S").to_string()
}

/// `dumpvault swap`.
pub(in crate::cli) fn swap_databases(context: &Context, args: &SwapArgs) -> Result<Exit, CliError> {
    let manners = Manners::new(args.terminate_connections, args.swap_timeout.as_deref())?;
    let connection = match &args.uri {
        Some(uri) => Connection::from_uri(uri).map_err(OpError::from)?,
        None => connection(None, &args.server)?,
    };
    let clients = clients(context, &args.server.exec);
    let limits = Limits::new(context.cancel.clone());
    let named = |database: &str, other: &str| RestoreTarget {
        clients: clients.clone(),
        maker: Some(context.app.maker(&context.clock)),
        // Never asked about one from within the other.
        like: Some(other.to_owned()),
        ..RestoreTarget::new(connection.clone(), database, limits.clone())
    };
    let (new, live) = (named(&args.new, &args.live), named(&args.live, &args.new));
    if args.new == args.live {
        return Err(CliError::usage("NEW and LIVE are the same database"));
    }
    let mut states = Vec::new();
    for target in [&new, &live] {
        let state = target.inspect().map_err(OpError::from)?;
        if !state.exists {
            let missing =
                PostgresError::NoDatabase { database: target.database.clone(), target: state.server.place() };
            return Err(CliError::Hinted {
                error: Box::new(OpError::from(missing).into()),
                hint: Some("check both names: `psql -l` lists the databases".to_owned()),
            });
        }
        states.push(state);
    }
    let [new_state, live_state] = states.as_slice() else {
        return Err(CliError::usage("two databases are needed"));
    };
    // An empty database in the place of a live one is a mistake, whatever is said.
    if new_state.is_empty() && !live_state.is_empty() {
        return Err(CliError::Usage {
            message: format!("refused: `{}` is empty and `{}` is not", args.new, args.live),
            hint: Some("the restored database comes first: `dumpvault swap NEW LIVE`".to_owned()),
        });
    }
    let in_the_way = live.look_before_swap().map_err(OpError::from)?;
    let is_waited_for = manners.patience.is_some() || (manners.terminate && in_the_way.prepared == 0);
    if !in_the_way.is_nothing() && !is_waited_for {
        let refused = PostgresError::InUse { database: args.live.clone(), by: in_the_way };
        return Err(OpError::from(refused).into());
    }
    let kept = name_beside(&args.live, &format!("_before_{}", stamp(context)));
    let question = format!(
        "Put `{}` ({}) in the place of `{}` ({}) on {}? `{}` will be kept as `{kept}`.",
        args.new,
        render::count(new_state.tables, "table"),
        args.live,
        render::count(live_state.tables, "table"),
        live_state.server.place(),
        args.live
    );
    if !prompt::agreed(context, &question, args.yes)? {
        return Err(CliError::Refused { message: "cancelled; nothing was changed".to_owned(), hint: None });
    }
    let patience = manners.patience.unwrap_or_default();
    new.take_place_of(&args.live, &kept, manners.terminate, patience).map_err(OpError::from)?;
    if context.json {
        context.report(Swap { database: args.live.clone(), replaced: args.new.clone(), kept });
    } else {
        context
            .say(&format!("`{}` took the place of `{}`; the old one is now `{kept}`", args.new, args.live));
    }
    Ok(Exit::Good)
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
