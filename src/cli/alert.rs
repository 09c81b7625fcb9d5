//! `dumpvault alert`: what is wrong, who was told, and whether a channel works.

use super::args::{AlertArgs, AlertCommand};
use super::exit::Exit;
use super::report::CliError;
use super::schedule::{actor, postman};
use super::table::Table;
use super::{Context, render};
use crate::base::clock::Clock;
use crate::base::name::nearest;
use crate::base::secret::OsEntropy;
use crate::daemon::alert::message::{Item, Message, local};
use crate::daemon::launch::new_id;
use crate::daemon::serve::ring;
use crate::daemon::state::State;
use crate::engine::report::{Alert, AlertAcknowledged, AlertChannel, AlertTested, Alerts, Time};

/// Deliveries that are looked at for what became of each channel.
const DELIVERIES: u32 = 1000;

pub(super) fn run(context: &Context, args: &AlertArgs) -> Result<Exit, CliError> {
    match &args.command {
        AlertCommand::List => list(context),
        AlertCommand::Test { channel, dry_run } => test(context, channel, *dry_run),
        AlertCommand::Ack { subject, condition, note } => {
            acknowledge(context, subject, condition.as_deref(), note.as_deref())
        }
    }
}

fn state(context: &Context) -> Result<State, CliError> {
    Ok(State::open(&context.app.environment.state_root())?)
}

fn channels(context: &Context, state: &State) -> Result<Vec<AlertChannel>, CliError> {
    let (deliveries, waiting) = (state.deliveries(DELIVERIES)?, state.waiting_deliveries()?);
    let all = context.app.settings.alerts.channels.iter();
    let channels = all.map(|(name, channel)| {
        let own = || deliveries.iter().filter(|delivery| delivery.channel == *name);
        AlertChannel {
            name: name.clone(),
            kind: channel.way.word().to_owned(),
            on: channel.on.iter().cloned().collect(),
            pending: waiting.get(name).copied().unwrap_or_default(),
            last_sent: own()
                .filter(|delivery| delivery.result == "sent")
                .filter_map(|delivery| delivery.ended)
                .max()
                .map(Time::from_ms),
            error: own().find(|delivery| delivery.attempts > 0).and_then(|delivery| delivery.error.clone()),
        }
    });
    Ok(channels.collect())
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let state = state(context)?;
    let (alerts, channels) = (state.alerts()?, channels(context, &state)?);
    let exit = if alerts.is_empty() { Exit::Good } else { Exit::Partial };
    if context.json {
        let alerts = alerts.into_iter().map(|alert| Alert {
            condition: alert.condition,
            subject: alert.subject,
            cause: alert.cause,
            text: alert.text,
            hint: alert.hint,
            since: Time::from_ms(alert.since),
            count: alert.count,
            run: alert.run,
            last_good: alert.last_good.map(Time::from_ms),
            acknowledged_by: alert.acked_by,
            note: alert.note,
        });
        context.report(Alerts { alerts: alerts.collect(), channels });
        return Ok(exit);
    }
    let now = context.clock.now().as_millisecond();
    let rows: Vec<Vec<String>> = alerts
        .iter()
        .map(|alert| {
            let by =
                alert.acked_by.as_ref().map_or_else(String::new, |by| format!(" (acknowledged by {by})"));
            vec![
                alert.condition.clone(),
                alert.subject.clone(),
                render::ago(now.saturating_sub(alert.since)),
                alert.count.to_string(),
                format!("{}{by}", in_one_line(&alert.text)),
            ]
        })
        .collect();
    if rows.is_empty() {
        context.output("nothing is wrong");
    } else {
        context.table(&Table {
            fixed: &[0, 1],
            ..Table::new(&["ALERT", "ABOUT", "SINCE", "TIMES", "WHAT"], &[3], &rows)
        });
    }
    let rows: Vec<Vec<String>> = channels
        .iter()
        .map(|channel| {
            vec![
                channel.name.clone(),
                channel.kind.clone(),
                channel.pending.to_string(),
                channel.last_sent.as_ref().map_or_else(|| "never".to_owned(), ToString::to_string),
                in_one_line(channel.error.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    if rows.is_empty() {
        context.warn("nobody is told: add an [alert.NAME] to the configuration".to_owned());
    } else {
        context.table(&Table {
            fixed: &[0],
            ..Table::new(&["CHANNEL", "KIND", "WAITING", "LAST SENT", "ERROR"], &[2], &rows)
        });
    }
    Ok(exit)
}

/// Lines of a message as one: what programs said has several, and a row of a table has one.
fn in_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

fn test(context: &Context, name: &str, dry_run: bool) -> Result<Exit, CliError> {
    let channels = &context.app.settings.alerts.channels;
    let channel = channels.get(name).ok_or_else(|| {
        let hint = match nearest(name, channels.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add [alert.{name}] to the configuration"),
        };
        CliError::usage_hint(format!("there is no alert `{name}`"), hint)
    })?;
    let postman = postman(context);
    let now = context.clock.now().as_millisecond();
    let item = Item { text: "this is a test; nothing is wrong".to_owned(), count: 1, ..Item::default() };
    let message = Message {
        version: 1,
        event: "test".to_owned(),
        condition: String::new(),
        host: postman.host.clone(),
        at: local(now, &postman.zone),
        title: format!("dumpvault {}: test of `{name}`", postman.host),
        incident: String::new(),
        items: vec![item],
    };
    if dry_run {
        if context.json {
            context.report(AlertTested { dry_run, channel: name.to_owned() });
        } else {
            context.output(&format!("would send to `{name}` ({}): {}", channel.way.word(), message.title));
        }
        return Ok(Exit::Good);
    }
    let id = new_id(&OsEntropy, now).0;
    if let Err(error) = (postman.deliver)(channel, &message, &id, now) {
        return Err(CliError::Told {
            message: format!("alert `{name}`: {error}"),
            hint: Some("check its address, its secret and the way to it; then try again".to_owned()),
            code: Some("not_delivered"),
            kind: None,
            exit: Exit::Target,
        });
    }
    if context.json {
        context.report(AlertTested { dry_run, channel: name.to_owned() });
    } else {
        context.say(&format!("{name}: the message was taken; see that it arrives"));
    }
    Ok(Exit::Good)
}

fn acknowledge(
    context: &Context,
    subject: &str,
    condition: Option<&str>,
    note: Option<&str>,
) -> Result<Exit, CliError> {
    let mut state = state(context)?;
    let now = context.clock.now().as_millisecond();
    let alerts = state.acknowledge(subject, condition, note, now, &actor(context))?;
    if alerts == 0 {
        return Err(CliError::usage_hint(
            format!("nothing is wrong with `{subject}`"),
            "`dumpvault alert list` lists what is wrong",
        ));
    }
    ring(&context.app.environment.state_root());
    if context.json {
        let alerts = u64::try_from(alerts).unwrap_or(u64::MAX);
        context.report(AlertAcknowledged { subject: subject.to_owned(), alerts });
    } else {
        context.say(&format!("{subject}: {}; no reminders are sent", render::count(alerts, "alert")));
    }
    Ok(Exit::Good)
}
