//! `dumpvault history` and `dumpvault audit`, and how each `backup` and `run` writes itself down.

use super::args::{AuditArgs, AuditCommand, Command, HistoryArgs, HistoryCommand};
use super::exit::Exit;
use super::report::CliError;
use super::table::Table;
use super::{Context, clean, print_as_is, render};
use crate::base::clock::{Clock, SystemClock};
use crate::base::numbers::State as Kept;
use crate::base::secret::OsEntropy;
use crate::daemon::book::RunId;
use crate::daemon::launch::{RUN_VARIABLE, new_id};
use crate::daemon::process;
use crate::daemon::state::{AuditEntry, AuditFault, Entry, Invocation, Record, RunRow, State, not_kept};
use crate::engine::backup::{BackupReport, sha256_of};
use crate::engine::forget::{Decided, Policies};
use crate::engine::listing::sizes;
use crate::engine::report::{AuditLine, AuditLog, AuditVerified, BackupRecord, History, HistoryShown, Time};
use crate::engine::tables::{Sorted, table_map};
use crate::settings::Environment;
use crate::vault::snapshot::{Body, Summary};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The history says why each snapshot went: the rules that did not keep it, or that somebody named it.
pub(super) fn note_gone(context: &Context, decided: &[Decided], policies: &Policies) {
    let gone = decided.iter().filter(|one| !one.verdict.is_kept());
    let gone: Vec<(String, String)> = gone
        .map(|one| {
            let why = policies.words(&one.summary.head.series).map(|rules| not_kept(&rules));
            (one.summary.id.to_string(), why.unwrap_or_else(|| "removed by hand".to_owned()))
        })
        .collect();
    let state = State::open(&context.app.environment.state_root());
    let written = state.and_then(|mut state| state.note_gone(&gone, context.clock.now().as_millisecond()));
    if let Err(error) = written {
        context.warn(format!("the history does not say why snapshots went: {error}"));
    }
}

/// What a command writes down of itself. Nothing here stops a backup: what cannot be written is a warning.
#[derive(Default)]
pub(super) struct Memoir(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    root: PathBuf,
    /// The scheduler's run, and the number of its try.
    run: Option<(RunId, u32)>,
    invocation: Option<Invocation>,
    records: Vec<Record>,
    /// It deletes what no snapshot reaches.
    prunes: bool,
}

impl Memoir {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command begins. Those that store nothing only tell the scheduler how they ended.
    pub(super) fn begin(&self, command: &Command, environment: &Environment) {
        let mut inner = self.lock();
        inner.root = environment.state_root();
        inner.run = environment.text(RUN_VARIABLE).and_then(|text| {
            let (run, attempt) = text.split_once(':')?;
            Some((RunId(run.to_owned()), attempt.parse().ok()?))
        });
        let (name, words) = match command {
            Command::Backup(args) if args.dry_run => return,
            Command::Run(args) if args.dry_run => return,
            Command::Backup(args) if !args.sources.is_empty() => {
                // An address may contain a password.
                let named = args.sources.iter().filter(|source| !source.contains("://"));
                ("backup", named.cloned().collect::<Vec<_>>().join(" "))
            }
            Command::Backup(args) => ("backup", args.series.clone().unwrap_or_default()),
            Command::Run(args) => ("run", args.system.clone().unwrap_or_default()),
            Command::Prune(args) if !args.dry_run => {
                inner.prunes = true;
                return;
            }
            _ => return,
        };
        clean::keep_lines();
        let started = SystemClock.now().as_millisecond();
        let invocation = Invocation {
            id: new_id(&OsEntropy, started).0,
            command: name.to_owned(),
            words,
            run: inner.run.as_ref().map(|(run, _)| run.0.clone()),
            started,
            ended: None,
            exit: None,
            error: None,
            hint: None,
            repository: None,
            process: process::this(),
            log: None,
        };
        let attempt = inner.run.as_ref().map(|(_, attempt)| *attempt);
        let written = State::open(&inner.root).and_then(|mut state| state.begin(&invocation, attempt));
        match written {
            Ok(()) => inner.invocation = Some(invocation),
            Err(error) => tracing::warn!("the history is not written: {error}"),
        }
    }

    /// Where it stores.
    pub(super) fn repository(&self, address: String) {
        if let Some(invocation) = &mut self.lock().invocation {
            invocation.repository = Some(address);
        }
    }

    /// A snapshot was made.
    pub(super) fn stored(&self, source: &str, report: &BackupReport) {
        let record = record_of(source, &report.committed.summary, &report.committed.body, &report.suspects);
        self.lock().records.push(record);
    }

    /// There is no snapshot of a source.
    pub(super) fn failed(&self, source: &str, series: &str, host: &str, why: String) {
        self.lock().records.push(Record {
            source: source.to_owned(),
            series: series.to_owned(),
            host: host.to_owned(),
            status: "FAILED".to_owned(),
            error: Some(why),
            ..Record::default()
        });
    }

    /// The command has ended.
    pub(super) fn end(&self, exit: Exit, error: Option<(String, Option<String>)>) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let has_pruned = inner.prunes && exit == Exit::Good;
        if inner.invocation.is_none() && inner.run.is_none() && !has_pruned {
            return;
        }
        let ended = SystemClock.now().as_millisecond();
        let (error, hint) = error.unzip();
        let written = State::open(&inner.root).and_then(|mut state| {
            if let Some(invocation) = &mut inner.invocation {
                invocation.ended = Some(ended);
                invocation.exit = Some(exit.code());
                (invocation.error, invocation.hint) = (error, hint.flatten());
                invocation.log = Some(clean::kept_lines());
                state.end(invocation, &inner.records)?;
            }
            if has_pruned {
                state.set_counter("pruned", ended)?;
            }
            match &inner.run {
                Some((run, attempt)) => state.note_exit(run, *attempt, exit.code()),
                None => Ok(()),
            }
        });
        if let Err(error) = written {
            clean::tell(&format!("dumpvault: warning: the history is not written: {error}"));
        }
    }
}

/// What is written down of a snapshot.
pub(super) fn record_of(source: &str, summary: &Summary, body: &Body, suspects: &[String]) -> Record {
    let head = &summary.head;
    let (bytes, stored) = sizes(body);
    let maps = body.streams.iter().filter_map(|stream| {
        let map = table_map(stream).ok().flatten()?;
        Some(Sorted::of(&stream.name, map))
    });
    let (mut tables, mut rows) = (None, Some(0_u64));
    for map in maps {
        // A dump without a table has none, and one that nobody can look into has not said.
        tables = tables.or(Some(0));
        for (_, amount) in map.iter() {
            tables = Some(tables.unwrap_or(0_u64).saturating_add(1));
            rows = rows.zip(amount.rows).map(|(all, more)| all.saturating_add(more));
        }
    }
    let only = match body.streams.as_slice() {
        [one] => Some(one),
        _ => None,
    };
    let failed: Vec<String> =
        body.failed.iter().map(|failed| format!("{}: {}", failed.name, failed.reason)).collect();
    Record {
        source: source.to_owned(),
        series: head.series.clone(),
        host: head.host.clone(),
        // A part of it is no backup of it.
        status: if head.state == Kept::Partial { "FAILED" } else { "COMPLETED" }.to_owned(),
        snapshot: Some(summary.id.to_string()),
        time: Some(head.time_ms),
        bytes: Some(bytes),
        stored: Some(stored),
        new: Some(body.streams.iter().map(|stream| stream.stats.bytes_new).sum()),
        rows: rows.filter(|_| tables.is_some()),
        tables,
        calendar: head.calendar.clone(),
        digest: only.map(|stream| stream.digest.to_string()),
        sha256: only.and_then(sha256_of).map(str::to_owned),
        suspect: (!suspects.is_empty()).then(|| suspects.join("; ")),
        error: (!failed.is_empty()).then(|| failed.join("; ")),
        duration: Some(body.streams.iter().map(|stream| stream.stats.duration_ms).sum()),
        ..Record::default()
    }
}

pub(super) fn run(context: &Context, args: &HistoryArgs) -> Result<Exit, CliError> {
    let state = State::open(&context.app.environment.state_root())?;
    match &args.command {
        HistoryCommand::List { count } => list(context, &state.history(*count, None)?),
        HistoryCommand::Show { id } => show(context, &state, id),
        HistoryCommand::Export => export(context, &state),
        // That is `cli::rebuild`.
        HistoryCommand::Rebuild => Ok(Exit::Good),
    }
}

fn record(entry: &Entry) -> BackupRecord {
    let Entry { command, number, record } = entry;
    let part = record.clone().unwrap_or_default();
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let status = entry.status().to_owned();
    let snapshot = part.snapshot.clone();
    let path = command
        .repository
        .clone()
        .zip(snapshot.clone())
        .map(|(address, snapshot)| format!("{address} {snapshot}"));
    let checksum = part.sha256.map(|digest| format!("sha256:{digest}"));
    BackupRecord {
        id: format!("{}.{number}", command.id),
        command: command.command.clone(),
        run: command.run.clone(),
        status,
        kind: entry.kind().to_owned(),
        file_name: entry.file_name(),
        source: said(&part.source).or_else(|| said(&command.words)),
        series: said(&part.series),
        host: said(&part.host),
        storage: entry.storage().map(str::to_owned),
        path,
        snapshot,
        size: part.bytes,
        stored: part.stored,
        new: part.new,
        checksum: checksum.or_else(|| part.digest.map(|digest| format!("blake3:{digest}"))),
        table_count: part.tables,
        rows: part.rows,
        suspect: part.suspect,
        warning: entry.warning().map(str::to_owned),
        error: entry.error(),
        hint: command.hint.clone(),
        exit_code: command.exit,
        created: Time::from_ms(command.started),
        ended: command.ended.map(Time::from_ms),
        duration_ms: part.duration,
        expires: part.expires.map(Time::from_ms),
        removed_by: part.gone_by,
    }
}

fn list(context: &Context, entries: &[Entry]) -> Result<Exit, CliError> {
    let records: Vec<BackupRecord> = entries.iter().map(record).collect();
    if context.json {
        context.report(History { backups: records });
        return Ok(Exit::Good);
    }
    if records.is_empty() {
        context.output("no backups were made from this host's state directory");
        return Ok(Exit::Good);
    }
    let zone = &context.app.settings.calendar.zone;
    let dash = || "-".to_owned();
    let rows: Vec<Vec<String>> = entries
        .iter()
        .zip(&records)
        .map(|(entry, record)| {
            let suspect = || record.suspect.as_ref().map(|why| format!("suspect: {why}"));
            let odd = || record.warning.as_ref().map(|why| format!("warning: {why}"));
            let why =
                record.error.clone().or_else(|| record.removed_by.clone()).or_else(suspect).or_else(odd);
            vec![
                record.id.clone(),
                render::time(entry.command.started, zone),
                record.source.clone().unwrap_or_else(dash),
                record.kind.clone(),
                record.status.clone(),
                record.size.map_or_else(dash, render::bytes),
                record.stored.map_or_else(dash, render::bytes),
                record.duration_ms.map_or_else(dash, render::duration),
                why.unwrap_or_default(),
            ]
        })
        .collect();
    let titles = ["ID", "TIME", "SOURCE", "TYPE", "STATUS", "SIZE", "STORED", "DURATION", "WHY"];
    context.table(&Table { fixed: &[0, 1], ..Table::new(&titles, &[5, 6, 7], &rows) });
    Ok(Exit::Good)
}

fn show(context: &Context, state: &State, id: &str) -> Result<Exit, CliError> {
    let prefix = id.split('.').next().unwrap_or_default();
    let entries = state.invocation(prefix)?;
    let Some(first) = entries.first() else {
        if let Some(run) = state.run(prefix)? {
            return show_run(context, &run);
        }
        return Err(CliError::usage_hint(
            format!("there is no command `{id}` in the history, or several begin so"),
            "`dumpvault history list` lists the ids",
        ));
    };
    let log = first.command.log.clone();
    if context.json {
        context.report(HistoryShown { backups: entries.iter().map(record).collect(), log });
        return Ok(Exit::Good);
    }
    list(context, &entries)?;
    for line in log.iter().flat_map(|log| log.lines()) {
        context.output(line);
    }
    Ok(Exit::Good)
}

/// A run of the scheduler that is no backup, or did not get so far.
fn show_run(context: &Context, run: &RunRow) -> Result<Exit, CliError> {
    if context.json {
        context.report(HistoryShown { backups: Vec::new(), log: run.log.clone() });
        return Ok(Exit::Good);
    }
    let why = run.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    context.output(&format!("{} ({}): {}{why}", run.job, run.kind, run.status));
    for line in run.log.iter().flat_map(|log| log.lines()) {
        context.output(line);
    }
    Ok(Exit::Good)
}

fn export(context: &Context, state: &State) -> Result<Exit, CliError> {
    let entries = state.history(u32::MAX, None)?;
    let records: Vec<BackupRecord> = entries.iter().map(record).collect();
    if context.json {
        context.report(History { backups: records });
        return Ok(Exit::Good);
    }
    let mut lines = super::Lines::new();
    let titles = "id,command,status,type,file_name,source,series,host,path,size,stored,checksum,tables,rows,duration_ms,created,ended,exit_code,suspect,error";
    lines.put(&[titles, "\n"]);
    for record in &records {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let cells = [
            Some(record.id.clone()),
            Some(record.command.clone()),
            Some(record.status.clone()),
            Some(record.kind.clone()),
            record.file_name.clone(),
            record.source.clone(),
            record.series.clone(),
            record.host.clone(),
            record.path.clone(),
            number(record.size),
            number(record.stored),
            record.checksum.clone(),
            number(record.table_count),
            number(record.rows),
            number(record.duration_ms),
            Some(record.created.to_string()),
            record.ended.as_ref().map(ToString::to_string),
            record.exit_code.map(|code| code.to_string()),
            record.suspect.clone(),
            record.error.clone(),
        ];
        let line: Vec<String> =
            cells.into_iter().map(|cell| cell_of_csv(&cell.unwrap_or_default())).collect();
        lines.put(&[&line.join(","), "\n"]);
    }
    lines.end();
    Ok(Exit::Good)
}

/// A cell as RFC 4180 has it. One that a spreadsheet would take for a formula begins with an apostrophe.
fn cell_of_csv(text: &str) -> String {
    let text = clean::line(text);
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.into_owned() };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

pub(super) fn audit(context: &Context, args: &AuditArgs) -> Result<Exit, CliError> {
    let entries = State::open(&context.app.environment.state_root())?.audit()?;
    match args.command {
        AuditCommand::Verify => verify(context, &entries),
        command if context.json => {
            let _ = command;
            context.report(AuditLog { entries: entries.iter().map(line).collect() });
            Ok(Exit::Good)
        }
        AuditCommand::List => {
            let zone = &context.app.settings.calendar.zone;
            let row = |entry: &AuditEntry| {
                let time = render::time(entry.at, zone);
                vec![
                    entry.seq.to_string(),
                    time,
                    entry.actor.clone(),
                    entry.kind.clone(),
                    entry.object.clone(),
                    entry.detail.clone(),
                ]
            };
            let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
            let titles = ["SEQ", "TIME", "ACTOR", "KIND", "OBJECT", "DETAIL"];
            context.table(&Table { fixed: &[0, 1], ..Table::new(&titles, &[0], &rows) });
            Ok(Exit::Good)
        }
        AuditCommand::Export => {
            print_as_is("seq,at,actor,kind,object,detail,hash");
            for entry in entries.iter().map(line) {
                let cells = [
                    entry.seq.to_string(),
                    entry.at.to_string(),
                    entry.actor,
                    entry.kind,
                    entry.object,
                    entry.detail,
                    entry.hash,
                ];
                print_as_is(&cells.map(|cell| cell_of_csv(&cell)).join(","));
            }
            Ok(Exit::Good)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(entry: &AuditEntry) -> AuditLine {
    AuditLine {
        seq: entry.seq,
        at: Time::from_ms(entry.at),
        actor: entry.actor.clone(),
        kind: entry.kind.clone(),
        object: entry.object.clone(),
        detail: entry.detail.clone(),
        hash: hex(&entry.hash),
    }
}

fn verify(context: &Context, entries: &[AuditEntry]) -> Result<Exit, CliError> {
    let fault = AuditFault::find(entries);
    let head = entries.last().map(|entry| hex(&entry.hash));
    let exit = if fault.is_none() { Exit::Good } else { Exit::Integrity };
    if context.json {
        context.report(AuditVerified {
            ok: fault.is_none(),
            entries: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            head,
            broken_at: fault.as_ref().map(|fault| fault.seq),
            problem: fault.map(|fault| fault.problem.to_owned()),
        });
        return Ok(exit);
    }
    match fault {
        Some(fault) => {
            context.warn(format!("the audit log is broken at entry {}: {}", fault.seq, fault.problem))
        }
        None => context.output(&format!(
            "{} fit; newest hash {}",
            render::count(entries.len(), "entry"),
            head.unwrap_or_default()
        )),
    }
    Ok(exit)
}
