//! `dumpvault restore SNAPSHOT --all-databases`: what is asked before a whole server is restored, and what is told of
//! it.

use crate::base::fault::Fault as _;
use crate::base::pattern::NamePattern;
use crate::cli::args::RestoreArgs;
use crate::cli::exit::Exit;
use crate::cli::report::{CliError, shown};
use crate::cli::servers::{exec, server};
use crate::cli::{Context, doubts, prompt, render, verify};
use crate::engine::OpError;
use crate::engine::report::{Id, RestoreServerPlan, RestoredServer};
use crate::engine::restore::{
    Chosen, DatabaseOutcome, Findings, Restored, ServerJob, ServerPlan, ServerReport, Standing, Without,
    plan_server, run_server,
};
use crate::settings;

/// What is to be restored; told before a passphrase is asked for.
pub(super) fn job(args: &RestoreArgs) -> Result<ServerJob, CliError> {
    let excluded = args.exclude_database.iter().map(|text| {
        NamePattern::name_or_pattern(text)
            .map_err(|error| CliError::usage(format!("--exclude-database: {error}")))
    });
    let job = ServerJob {
        server: server(args.server_uri.as_ref(), &args.server),
        exec: exec(&args.server.exec),
        excluded: excluded.collect::<Result<_, _>>()?,
        globals: !args.no_globals,
        without: Without {
            owner: args.no_owner,
            privileges: args.no_privileges,
            tablespaces: args.no_tablespaces,
        },
        workers: args.jobs.map(usize::from),
        count: !args.no_verify,
        timeout: args.timeout.as_deref().map(|text| settings::duration(text, "--timeout")).transpose()?,
    };
    job.server.connection()?;
    Ok(job)
}

pub(super) fn run(
    context: &Context,
    args: &RestoreArgs,
    job: ServerJob,
    chosen: Chosen,
) -> Result<Exit, CliError> {
    let run = context.run();
    for stream in &chosen.body.streams {
        match args.dry_run {
            true => doubts::tell(context, &chosen, stream),
            false => doubts::settle(context, &chosen, stream, args.accept_change)?,
        }
    }
    let plan = plan_server(job, chosen, &context.app, &run)?;
    refuse_other_host(args, &plan)?;
    for name in &plan.skipped {
        context.warn(format!("skipped `{name}`: not a dump of a database"));
    }
    if args.dry_run && context.json {
        context.report(RestoreServerPlan::new(&plan));
        return refused(context, &plan).map_or(Ok(Exit::Good), |_| Ok(Exit::Refused));
    }
    if args.dry_run {
        tell(context, &plan);
    }
    if let Some(refused) = refused(context, &plan) {
        return Err(refused);
    }
    if args.dry_run {
        return Ok(Exit::Good);
    }
    if !plan.is_done() && !prompt::agreed(context, &question(context, &plan, args.yes), args.yes)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let (id, server) = (Id::of(plan.chosen.summary.id), plan.server.host_name().to_owned());
    let series = plan.chosen.summary.head.series.clone();
    let report = run_server(plan, &context.app, &run, &mut |outcome| tell_database(context, outcome))
        .map_err(|error| without_globals(error, args))?;
    if context.json {
        context.report(RestoredServer::new(id, &server, &report, &shown));
    } else {
        conclude(context, &series, &server, &report);
    }
    Ok(report.class().map_or(Exit::Good, Exit::from))
}

/// Roles that cannot be made can be done without.
fn without_globals(error: OpError, args: &RestoreArgs) -> CliError {
    let hint = match &error {
        OpError::Source { what, .. } if what == "roles" && !args.no_globals && !error.is_cancelled() => {
            Some("connect as a superuser, or use --no-globals if the roles are there".to_owned())
        }
        other => other.next().map(shown),
    };
    CliError::Hinted { error: Box::new(error.into()), hint }
}

fn refuse_other_host(args: &RestoreArgs, plan: &ServerPlan) -> Result<(), CliError> {
    let Some(expected) = &args.expect_host else { return Ok(()) };
    let host = plan.server.host_name();
    if host == expected || plan.server.address.as_ref() == Some(expected) {
        return Ok(());
    }
    Err(CliError::Refused {
        message: format!("refused: the target host is `{host}`, not `{expected}` (--expect-host)"),
        hint: Some("check --server, --pg-host, PGHOST and the service file".to_owned()),
    })
}

/// Databases that hold something else: nothing is restored at all, so that nobody takes a half for the whole.
fn refused(context: &Context, plan: &ServerPlan) -> Option<CliError> {
    let blocked = plan.in_the_way();
    let names: Vec<String> = blocked
        .iter()
        .map(|one| match &one.standing {
            Standing::InTheWay { tables, differs } => {
                let patterns = context.app.settings.protect.iter();
                let protects: Vec<String> = patterns
                    .filter(|pattern| pattern.matches(&one.name))
                    .map(|pattern| format!("; protected by `protect = [\"{pattern}\"]`"))
                    .collect();
                format!(
                    "`{}` ({}; {differs}{})",
                    one.name,
                    render::count(*tables, "table"),
                    protects.concat()
                )
            }
            _ => format!("`{}`", one.name),
        })
        .collect();
    let first = blocked.first()?;
    Some(CliError::Refused {
        message: format!(
            "refused: on {} there are databases that hold something else than the snapshot: {}",
            plan.server.place(),
            names.join(", ")
        ),
        hint: Some(format!(
            "leave them out with --exclude-database, or replace one by `restore {}:{} --to-database {} --swap`",
            plan.chosen.summary.head.series, first.stream.name, first.name
        )),
    })
}

/// Names by what is done with them.
struct Steps<'a> {
    create: Vec<&'a str>,
    again: Vec<&'a str>,
    fill: Vec<&'a str>,
    back: Vec<&'a str>,
}

impl<'a> Steps<'a> {
    fn of(plan: &'a ServerPlan) -> Self {
        let mut steps = Self { create: Vec::new(), again: Vec::new(), fill: Vec::new(), back: Vec::new() };
        for one in &plan.databases {
            let step = match &one.standing {
                Standing::Missing => &mut steps.create,
                Standing::Unfinished(_) => &mut steps.again,
                Standing::Empty => &mut steps.fill,
                Standing::Back { .. } => &mut steps.back,
                Standing::InTheWay { .. } => continue,
            };
            step.push(&one.name);
        }
        steps
    }
}

/// What will happen, a sentence each.
fn sentences(plan: &ServerPlan) -> Vec<String> {
    let steps = Steps::of(plan);
    let globals = plan.globals.clone().unwrap_or_default();
    let names = |names: &[String]| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut all = vec![
        ("creates roles ", names(&globals.roles)),
        ("leaves roles as they are: ", names(&globals.roles_there)),
        ("creates tablespaces ", names(&globals.tablespaces)),
        ("tablespaces there already: ", names(&globals.tablespaces_there)),
        ("creates databases ", steps.create.join(", ")),
        ("drops and restores unfinished databases ", steps.again.join(", ")),
        ("fills empty databases ", steps.fill.join(", ")),
        ("skips databases that are back already: ", steps.back.join(", ")),
    ];
    all.retain(|(_, names)| !names.is_empty());
    all.into_iter().map(|(what, names)| format!("{what}{names}")).collect()
}

fn about(context: &Context, plan: &ServerPlan) -> String {
    let head = &plan.chosen.summary.head;
    let bytes: u64 = plan.databases.iter().map(|one| one.stream.bytes).sum();
    format!(
        "snapshot {} of `{}` ({}, {}, {})",
        plan.chosen.summary.id.short(),
        head.series,
        render::time(head.time_ms, &context.app.settings.calendar.zone),
        render::count(plan.databases.len() as u64, "database"),
        render::bytes(bytes)
    )
}

fn question(context: &Context, plan: &ServerPlan, yes: bool) -> String {
    let end = if yes { '.' } else { '?' };
    format!(
        "Restore {} into the server {} (PostgreSQL {}){end} This {}.",
        about(context, plan),
        plan.server.place(),
        plan.server.version,
        sentences(plan).join("; ")
    )
}

fn tell(context: &Context, plan: &ServerPlan) {
    context.output(&format!(
        "would restore {} into the server {} (PostgreSQL {})",
        about(context, plan),
        plan.server.place(),
        plan.server.version
    ));
    sentences(plan).iter().for_each(|line| context.output(line));
}

fn tell_database(context: &Context, outcome: &DatabaseOutcome) {
    let name = &outcome.name;
    match &outcome.result {
        Ok(Restored::WasBack { tables }) => {
            let tables = render::count(*tables, "table");
            context.say(&format!("`{name}`: back already ({tables}, rows as in the dump); skipped"));
        }
        Ok(Restored::Whole { bytes, duration_ms, findings }) => {
            let counted = match findings.as_ref().map(Findings::is_good) {
                Some(true) => ", all counts match",
                Some(false) => ", counts DIFFER from the dump",
                None => "",
            };
            context.say(&format!(
                "`{name}`: restored, {} in {}{counted}",
                render::bytes(*bytes),
                render::duration(*duration_ms)
            ));
            if let Some(findings) = findings.as_ref().filter(|findings| !findings.is_good()) {
                verify::tell(context, findings);
            }
        }
        Err(error) if error.is_cancelled() => {}
        Err(error) => {
            let failed = CliError::Told {
                message: format!("`{name}`: {error}"),
                hint: error.next().map(shown),
                code: Some(error.code()),
                kind: error.failure().map(|failure| failure.to_string()),
                exit: error.class().into(),
            };
            context.fail(&failed, false);
        }
    }
}

/// The last line: how many of all are there.
fn conclude(context: &Context, series: &str, server: &str, report: &ServerReport) {
    let there = report.databases.iter().filter(|one| one.class().is_none()).count();
    let all = render::count(report.databases.len() as u64, "database");
    let mut words = vec![format!("{there} of {all} there")];
    for (names, what) in [(&report.made.roles, "role"), (&report.made.tablespaces, "tablespace")] {
        if !names.is_empty() {
            words.push(format!("{} created", render::count(names.len() as u64, what)));
        }
    }
    if !report.lost.is_empty() {
        let lost = render::count(report.lost.len() as u64, "tablespace");
        words.push(format!("{lost} not created"));
    }
    context.say(&format!("{series}: server `{server}`: {}", words.join(", ")));
}
