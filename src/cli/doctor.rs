//! `dumpvault doctor`: how findings are shown, and which exit code they come to.

use super::exit::Exit;
use super::report::{CliError, hint_of};
use super::table::Table;
use super::{Context, prompt};
use crate::engine::doctor::{Examined, Status, class_of, examine};
use crate::engine::report::Doctor;

pub(super) fn run(context: &Context) -> Result<Exit, CliError> {
    let ask = || prompt::ask("passphrase of the repository: ");
    let found = examine(&context.app, &context.run(), &ask, &|error| hint_of(error));
    tell(context, &found);
    Ok(class_of(&found).map_or(Exit::Good, Exit::from))
}

fn tell(context: &Context, lines: &[Examined]) {
    if context.json {
        context.report(Doctor::new(lines.iter().map(|line| (line.part, &line.finding))));
        return;
    }
    let shown: Vec<&Examined> =
        lines.iter().filter(|line| !context.quiet || line.finding.status != Status::Good).collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|Examined { part, finding, .. }| {
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
