//! Completions that depend on the repository and the configuration: series, snapshots, sources.
//!
//! The script of the shell asks the hidden command `complete`. It never asks for a passphrase and never reads remote
//! storage: who presses a key does not want to wait.

use super::Context;
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

/// Adds them to a script for a shell that has them.
pub(super) fn extend(shell: clap_complete::Shell, script: &mut Vec<u8>) {
    if shell == clap_complete::Shell::Bash {
        script.extend_from_slice(BASH.as_bytes());
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
    let wanted = wanted(words);
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
            assert_eq!(wanted(&words), expected, "{line}");
        }
    }
}
