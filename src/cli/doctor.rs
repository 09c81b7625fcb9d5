//! `dumpvault doctor`: how findings are shown, and which exit code they come to.

use super::exit::Exit;
use super::report::CliError;
use super::table::Table;
use super::{Context, prompt};
use crate::engine::app::AppError;
use crate::engine::doctor::{self, Finding, Status};
use crate::engine::report::{Doctor, Part};
use crate::source::wrapper::Wrapper;
use crate::storage::scheme::Connected;
use crate::vault::Repository;

/// A finding, the part of the house that it belongs to, and the exit code if it is an error.
struct Line {
    part: Part,
    finding: Finding,
    exit: Exit,
}

pub(super) fn run(context: &Context) -> Result<Exit, CliError> {
    let mut lines = Vec::new();
    let mut add = |part, exit, findings: Vec<Finding>| {
        lines.extend(findings.into_iter().map(|finding| Line { part, finding, exit }));
    };
    match context.app.connected() {
        Err(error @ AppError::NoRepositoryNamed) => {
            let next = error.hint().unwrap_or_default();
            add(Part::Storage, Exit::Good, vec![Finding::warning("address", error.to_string(), next)]);
        }
        Err(error) => {
            let (exit, finding) = failure("address", error.into());
            add(Part::Storage, exit, vec![finding]);
        }
        Ok(Connected { bare, bucket, .. }) => {
            let entropy = context.app.entropy();
            let found = doctor::storage(bare.as_ref(), bucket.as_deref(), &context.clock, entropy);
            let is_reached =
                found.iter().all(|finding| finding.name != "reach" || finding.status == Status::Good);
            add(Part::Storage, Exit::NothingDone, found);
            if is_reached {
                let (exit, findings) = repository(context);
                add(Part::Repository, exit, findings);
            }
        }
    }
    let root = context.app.environment.cache_root();
    let is_remote = context.app.is_remote();
    add(Part::Machine, Exit::NothingDone, doctor::cache(&root, context.app.settings.cache_bytes, is_remote));
    let state = doctor::state(&context.app.environment.state_root(), context.app.environment.in_container());
    add(Part::Machine, Exit::NothingDone, vec![state]);
    let clients = context.programs().clients(Wrapper::default());
    add(Part::Machine, Exit::NothingDone, doctor::programs(&clients, &context.cancel));
    tell(context, &lines);
    let first = lines.iter().find(|line| line.finding.status == Status::Error);
    Ok(first.map_or(Exit::Good, |line| line.exit))
}

/// Whether there is a repository, and what the key may do there.
fn repository(context: &Context) -> (Exit, Vec<Finding>) {
    let open = || -> Result<Vec<Finding>, CliError> {
        let connected = context.app.connected()?;
        let identity = Repository::identify(connected.bare.as_ref())?;
        let found = context.app.credential(&|| prompt::ask("passphrase of the repository: "))?;
        let warnings = found.warnings;
        let warnings = warnings.into_iter().map(|message| Finding::warning("key", message, "put that right"));
        let repo = context.app.open_uncached(&identity, &found.credential)?;
        let slots = repo.list_keys(&found.credential)?.len();
        let mut findings = vec![Finding::good("repository", identity.id.to_string())];
        findings.push(doctor::key(repo.role(), slots));
        findings.extend(warnings);
        Ok(findings)
    };
    match open() {
        Ok(findings) => (Exit::NothingDone, findings),
        Err(error) => {
            let (exit, finding) = failure("repository", error);
            (exit, vec![finding])
        }
    }
}

fn failure(name: &'static str, error: CliError) -> (Exit, Finding) {
    let next = error.hint().unwrap_or_else(|| "check the repository's address and key".to_owned());
    (error.exit(), Finding::error(name, error.to_string(), next))
}

fn tell(context: &Context, lines: &[Line]) {
    if context.json {
        context.report(Doctor::new(lines.iter().map(|line| (line.part, &line.finding))));
        return;
    }
    let shown: Vec<&Line> =
        lines.iter().filter(|line| !context.quiet || line.finding.status != Status::Good).collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|Line { part, finding, .. }| {
            let cells = [finding.status.word(), part.word(), finding.name, &finding.detail];
            cells.map(|cell| cell.replace('\n', " ")).to_vec()
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let table = Table::new(&["", "", "", ""], &[], &rows).lines(None, false);
    for (line, shown) in table.lines().skip(1).zip(shown) {
        context.output(line);
        if let Some(next) = shown.finding.next.as_ref().filter(|_| shown.finding.status != Status::Good) {
            context.output(&format!("         -> {next}"));
        }
    }
}
