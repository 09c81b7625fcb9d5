//! Completions that depend on the repository and the configuration: series, snapshots, sources.
//!
//! The script of the shell asks the hidden command `complete`. It never asks for a passphrase and never reads remote
//! storage: who presses a key does not want to wait.

use super::Context;
use super::args::Globals;
use super::exit::Exit;
use super::report::CliError;
use crate::engine::listing::survey;
use std::collections::BTreeSet;

/// Behind what clap writes for bash: its own words, and those of this program.
const BASH: &str = r#"
_dumpvault_dynamic() {
    _dumpvault "$@"
    local current="${COMP_WORDS[COMP_CWORD]}"
    case "$current" in -*) return ;; esac
    local -a before=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
    local word
    # Names come from other hosts, too: nothing of them is expanded, as compgen -W would.
    while IFS= read -r word; do
        if [[ "$word" == "$current"* ]]; then COMPREPLY+=("$(printf '%q' "$word")"); fi
    done < <("${COMP_WORDS[0]}" --quiet complete -- "${before[@]}" 2>/dev/null)
}
complete -F _dumpvault_dynamic -o bashdefault -o default dumpvault
"#;

/// Before what clap writes for zsh runs, under another name. `compadd` quotes what is not plain.
const ZSH: &str = r#"
_dumpvault() {
    local ret=1
    if [[ "${words[CURRENT]}" != -* ]]; then
        local -a names
        names=("${(@f)$("${words[1]}" --quiet complete -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
        names=("${(@)names:#}")
        (( $#names )) && compadd -a names && ret=0
    fi
    _dumpvault_static "$@" && ret=0
    return ret
}

"#;

/// Where clap's script for zsh calls its function, or registers it.
const ZSH_END: &str = "if [ \"$funcstack[1]\" = \"_dumpvault\" ]; then";

/// Behind what clap writes for fish. The lines of a command are offered as they are, and quoted where needed.
const FISH: &str = r#"
function __dumpvault_names
    set -l words (commandline -opc)
    $words[1] --quiet complete -- $words[2..-1] 2>/dev/null
end
complete -c dumpvault -n 'not string match -q -- "-*" (commandline -ct)' -a '(__dumpvault_names)'
"#;

/// Adds them to a script for a shell that has them.
pub(super) fn extend(shell: clap_complete::Shell, script: String) -> String {
    use clap_complete::Shell::{Bash, Fish, Zsh};
    match shell {
        Bash => script + BASH,
        Fish => script + FISH,
        Zsh => script.replacen("\n_dumpvault() {", "\n_dumpvault_static() {", 1).replacen(
            ZSH_END,
            &format!("{ZSH}{ZSH_END}"),
            1,
        ),
        _ => script,
    }
}

/// A word as a person types it, without its quotes.
fn unquoted(word: &str) -> String {
    let mut plain = String::new();
    let (mut quote, mut letters) = (None, word.chars());
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(mark), _) if letter == mark => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None | Some('"'), '\\') => plain.extend(letters.next()),
            _ => plain.push(letter),
        }
    }
    plain
}

/// Options of all commands with a value that decides what is offered.
const ELSEWHERE: [(&str, &str); 4] = [
    ("--repo", "-r"),
    ("--config", "--config"),
    ("--key-file", "--key-file"),
    ("--password-file", "--password-file"),
];

/// The words without those options, and what they say: each is one of [`ELSEWHERE`] with its value.
fn apart(words: &[String], home: Option<&str>) -> (Vec<String>, Vec<(&'static str, String)>) {
    let value = |word: &str| match (word.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => format!("{home}/{}", unquoted(below)),
        _ => unquoted(word),
    };
    let (mut left, mut said) = (Vec::new(), Vec::new());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let (name, joined) =
            word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let Some((option, _)) = ELSEWHERE.iter().find(|(long, short)| [*long, *short].contains(&name)) else {
            left.push(word.clone());
            continue;
        };
        // bash makes a word of its own of `=`.
        let _ = words.next_if(|next| joined.is_none() && *next == "=");
        match joined.map(str::to_owned).or_else(|| words.next().cloned()) {
            Some(text) => said.push((*option, value(&text))),
            // What is being typed is its value.
            None => left.push(word.clone()),
        }
    }
    (left, said)
}

/// The global options as the line that is being typed has them.
pub(super) fn take_globals(globals: &mut Globals, words: &[String], home: Option<&str>) {
    for (option, value) in apart(words, home).1 {
        match option {
            "--repo" => globals.repo = Some(value),
            "--config" => globals.config = Some(value.into()),
            "--key-file" => globals.key_file = Some(value.into()),
            _ => globals.password_file = Some(value.into()),
        }
    }
}

/// What a word stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Series,
    Snapshots,
    Sources,
    Systems,
}

/// Whether a command takes names of snapshots.
fn has_snapshots(command: &str) -> bool {
    let all = ["restore", "cat", "verify", "ls", "find", "diff", "show", "tag", "forget", "copy"];
    all.contains(&command)
}

/// What may come behind these words.
fn wanted(words: &[String]) -> Wanted {
    let has = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    match words.last().map(String::as_str) {
        Some("--series") if !has(&["backup", "setup", "key"]) => return Wanted::Series,
        Some("--parent") => return Wanted::Snapshots,
        // The value of an option, which is not known here.
        Some(option) if option.starts_with("--") && !option.contains('=') => return Wanted::Nothing,
        _ => {}
    }
    // Values of global options may come before the command.
    let known = |word: &&String| matches!(word.as_str(), "backup" | "run") || has_snapshots(word);
    match words.iter().find(known).map(String::as_str) {
        Some("backup") => Wanted::Sources,
        Some("run") => Wanted::Systems,
        Some(_) => Wanted::Snapshots,
        None => Wanted::Nothing,
    }
}

pub(super) fn run(context: &Context, words: &[String]) -> Result<Exit, CliError> {
    let settings = &context.app.settings;
    let mut found: BTreeSet<String> = BTreeSet::new();
    let wanted = wanted(&apart(words, None).0);
    match wanted {
        Wanted::Nothing => {}
        Wanted::Sources => found.extend(settings.sources.keys().cloned()),
        Wanted::Systems => found.extend(settings.systems.keys().cloned()),
        Wanted::Series | Wanted::Snapshots if context.app.is_remote() => {}
        Wanted::Series | Wanted::Snapshots => {
            // A key that would have to be asked for is none.
            let credential = context.app.credential(&|| None)?.credential;
            let repo = context.app.open(&context.app.identify()?, &credential)?;
            let own = context.app.host();
            for seen in survey(&repo, &context.progress)?.snapshots {
                let (id, head) = (seen.summary.id, &seen.summary.head);
                let is_own = head.host == own;
                found.insert(if is_own {
                    head.series.clone()
                } else {
                    format!("{}/{}", head.host, head.series)
                });
                if wanted == Wanted::Snapshots {
                    found.insert(id.short().to_string());
                }
            }
        }
    }
    found.iter().for_each(|word| super::print(word));
    Ok(Exit::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_what_may_come_next() {
        for (line, expected) in [
            ("restore", Wanted::Snapshots),
            ("--quiet ls", Wanted::Snapshots),
            ("snapshots --series", Wanted::Series),
            ("forget --keep-last 3 --series", Wanted::Series),
            ("backup", Wanted::Sources),
            ("backup --series", Wanted::Nothing),
            ("run", Wanted::Systems),
            ("--repo /srv/vault cat", Wanted::Snapshots),
            ("restore app --output", Wanted::Nothing),
            ("init", Wanted::Nothing),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(wanted(&apart(&words, None).0), expected, "{line}");
        }
    }

    #[test]
    fn options_of_all_commands_are_heeded_wherever_they_stand() {
        for (line, left, said) in [
            ("--repo /srv/restore cat", "cat", vec![("--repo", "/srv/restore")]),
            ("-r ~/vault show", "show", vec![("--repo", "/root/vault")]),
            ("ls --config=~/my\\ x.toml", "ls", vec![("--config", "/root/my x.toml")]),
            ("--key-file = '/a b' ls", "ls", vec![("--key-file", "/a b")]),
            ("ls --repo", "ls --repo", vec![]),
        ] {
            // Words as a shell takes them apart: quotes stay.
            let line = line.replace("\\ ", "\u{1}").replace("/a b", "/a\u{2}b");
            let plain = |word: &str| word.replace('\u{1}', "\\ ").replace('\u{2}', " ");
            let words: Vec<String> = line.split(' ').map(plain).collect();
            let expected: Vec<_> = said.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert_eq!(
                apart(&words, Some("/root")),
                (left.split(' ').map(str::to_owned).collect(), expected)
            );
        }
    }
}
