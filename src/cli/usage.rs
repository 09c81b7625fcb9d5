//! Arguments that are not understood: what clap says, and for what other tools call otherwise, what it is called here.

use super::args::{Cli, asked_for};
use super::clean;
use super::exit::Exit;
use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What people type who know other tools, and what does it here.
const ELSEWHERE: [(&str, &str); 21] = [
    (
        "--latest",
        "name the snapshot `app` or `latest`; `snapshots --latest N` lists the newest N of each series",
    ),
    ("--date", "name the snapshot `app@2026-11-01`; `snapshots --since` lists from a day on"),
    ("--time", "name the snapshot `app@2026-11-01T03:00`"),
    ("--at", "name the snapshot `app@2026-11-01T03:00`"),
    ("--snapshot", "give the snapshot's name without an option: `dumpvault restore app~1`"),
    ("--target", "use --output FILE, or --to-database DB"),
    ("--file", "use --output FILE"),
    ("--dbname", "use --to-database DB for a restore, --pg-database DB for a backup"),
    ("--password", "use --password-file FILE, or DUMPVAULT_PASSWORD in the environment"),
    ("--passphrase", "use --password-file FILE, or DUMPVAULT_PASSWORD in the environment"),
    ("--repository", "use --repo REPO"),
    ("--stdin-filename", "use --stdin --series SERIES"),
    ("--stdin-from-command", "use --command --series SERIES -- PROGRAM"),
    ("--keep-minutely", "the shortest rule is --keep-hourly; --keep-within 2h keeps all of two hours"),
    ("--group-by", "retention is always by series and host"),
    ("--stats", "the summary is printed anyway; `dumpvault stats` shows totals"),
    ("--list", "use `dumpvault snapshots` for snapshots, `dumpvault ls SNAPSHOT` for what one holds"),
    ("--progress", "progress is shown on a terminal; --quiet hides it"),
    ("--compress", "use --compression LEVEL"),
    ("--exclude-database", "use --pg-exclude-database DB"),
    ("--database", "use --pg-database DB for a backup, --to-database DB for a restore"),
];

/// The same of commands.
const COMMANDS_ELSEWHERE: [(&str, &str); 14] = [
    ("create", "`dumpvault backup`"),
    ("list", "`dumpvault snapshots`, or `dumpvault ls SNAPSHOT`"),
    ("dump", "`dumpvault backup` makes a snapshot, `dumpvault cat SNAPSHOT` writes one to standard output"),
    ("extract", "`dumpvault restore`"),
    ("delete", "`dumpvault forget SNAPSHOT`, then `dumpvault prune`"),
    ("rm", "`dumpvault forget SNAPSHOT`, then `dumpvault prune`"),
    ("expire", "`dumpvault forget`"),
    ("compact", "`dumpvault prune`"),
    ("gc", "`dumpvault prune`"),
    ("unlock", "nothing is ever locked; `dumpvault prune --end-sessions` ends sessions of killed programs"),
    ("mount", "`dumpvault ls SNAPSHOT` lists, `dumpvault restore SNAPSHOT --table TABLE` takes a part"),
    ("info", "`dumpvault stats`, or `dumpvault show SNAPSHOT`"),
    ("rebuild-index", "`dumpvault repair index`"),
    ("recover", "`dumpvault repair snapshots`"),
];

/// Says what is wrong with the arguments; help and version, which clap hands over the same way, are printed as they
/// are.
pub(super) fn refuse(error: Error) -> Exit {
    if !error.use_stderr() {
        // The same once more, of the command line as it is shown.
        let shown = asked_for().try_get_matches_from(std::env::args_os()).err();
        let error = shown.filter(|shown| shown.kind() == error.kind()).unwrap_or(error);
        return match error.print() {
            Ok(()) => Exit::Good,
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Good,
            Err(_) => Exit::NothingDone,
        };
    }
    // The parser quotes arguments, and a script may have them from anywhere: it is given clean ones to complain of.
    let args = std::env::args_os().map(|arg| clean::line(&arg.to_string_lossy()).into_owned());
    let error = <Cli as clap::Parser>::try_parse_from(args).err().unwrap_or(error);
    // Its lines are many, and its own.
    with_tip(error).render().to_string().trim_end().lines().for_each(clean::tell);
    Exit::Usage
}

/// In the place of clap's guess, which goes by letters alone.
fn with_tip(mut error: Error) -> Error {
    let known: (ContextKind, &[(&str, &str)]) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, &ELSEWHERE),
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, &COMMANDS_ELSEWHERE),
        _ => return error,
    };
    let Some(ContextValue::String(given)) = error.get(known.0) else { return error };
    let word = given.split('=').next().unwrap_or_default();
    let Some((_, tip)) = known.1.iter().find(|(name, _)| *name == word) else { return error };
    // Its usage line is made for the guess, too.
    for guess in [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::Suggested,
        ContextKind::Usage,
    ] {
        error.remove(guess);
    }
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![(*tip).into()]));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn what_other_tools_call_otherwise_is_answered_with_what_it_is_called_here() {
        for (args, tip) in [
            (&["dumpvault", "restore", "app", "--latest"][..], "name the snapshot `app`"),
            (&["dumpvault", "restore", "app", "--date", "2026-11-01"], "app@2026-11-01"),
            (&["dumpvault", "restore", "app", "--target=/tmp/x"], "--output FILE"),
            (&["dumpvault", "unlock"], "nothing is ever locked"),
        ] {
            let error = <Cli as clap::Parser>::try_parse_from(args).unwrap_err();
            let said = with_tip(error).to_string();
            assert!(said.contains(tip) && !said.contains("--after"), "{args:?}: {said}");
        }
    }

    #[test]
    fn no_tip_is_about_what_there_is() {
        let cli = Cli::command();
        for (word, _) in COMMANDS_ELSEWHERE {
            assert!(cli.find_subcommand(word).is_none(), "{word}");
        }
    }
}
