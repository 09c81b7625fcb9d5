//! What help shows of each command: its own options, and examples.

use super::Cli;
use clap::{Command, CommandFactory};

/// The last line of a command's help.
const GLOBAL: &str = "Global options: see `dumpvault --help`";

/// The command line as help, manual pages and the reference show it. Global options are shown once, by the program
/// itself; a command without examples of its own has those of the command above that begin with its name.
pub(in crate::cli) fn shown() -> Command {
    // Before it is built: whether a command has a long help is settled then.
    let mut root = Cli::command().mut_subcommands(|one| with_examples(one, "dumpvault", ""));
    // Only then does each command know the global options.
    root.build();
    root.mut_subcommands(without_global)
}

/// The same, where a person asked for help of one command: it says where the global options are.
pub(in crate::cli) fn asked_for() -> Command {
    shown().mut_subcommands(noted)
}

fn without_global(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let is_global = arg.is_global_set();
        arg.hide(is_global)
    });
    command.mut_subcommands(without_global)
}

fn noted(command: Command) -> Command {
    let words = words_of(&command);
    let long = if words.is_empty() { GLOBAL.to_owned() } else { format!("{words}\n\n{GLOBAL}") };
    command.after_help(GLOBAL).after_long_help(long).mut_subcommands(noted)
}

fn words_of(command: &Command) -> String {
    command.get_after_long_help().map(ToString::to_string).unwrap_or_default()
}

fn with_examples(command: Command, above: &str, words_above: &str) -> Command {
    let name = format!("{above} {}", command.get_name());
    let mut words = words_of(&command);
    if !words.contains("Examples:") {
        let is_of = |line: &&str| {
            let rest = line.trim_start().strip_prefix(&name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let lines: Vec<&str> = words_above.lines().filter(is_of).collect();
        if !lines.is_empty() {
            let own = if words.is_empty() { String::new() } else { format!("\n\n{words}") };
            words = format!("Examples:\n{}{own}", lines.join("\n"));
        }
    }
    let command = if words.is_empty() { command } else { command.after_long_help(words.clone()) };
    command.mut_subcommands(|one| with_examples(one, &name, &words))
}

#[cfg(test)]
#[cfg(feature = "daemon")]
mod tests {
    use super::*;
    use crate::cli::manual::visible;

    fn leaves(command: &Command, name: &str, each: &mut dyn FnMut(&str, &Command)) {
        let mut has_some = false;
        for one in visible(command) {
            has_some = true;
            leaves(one, &format!("{name} {}", one.get_name()), each);
        }
        if !has_some {
            each(name, command);
        }
    }

    #[test]
    fn every_command_has_an_example_and_not_the_options_of_all_others() {
        let mut count = 0;
        leaves(&asked_for(), "dumpvault", &mut |name, command| {
            count += 1;
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:\n"), "{name}: {help}");
            assert!(help.ends_with(&format!("{GLOBAL}\n")), "{name}: {help}");
            assert!(command.clone().render_help().to_string().contains(GLOBAL), "{name}");
            assert!(
                !help.contains("--password-file <FILE>\n") && !help.contains("--s3-region"),
                "{name}: {help}"
            );
        });
        assert!(count > 60, "{count}");
        let help = shown().render_long_help().to_string();
        assert!(help.contains("--s3-region") && help.contains("--password-file"), "{help}");
    }
}
