//! Programs that run another program: in a container, on another host, as another user.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The words before a program: `docker exec -i db`, `ssh db1`. Without words the program runs by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrapper {
    words: Vec<OsString>,
    is_shell: bool,
}

impl Wrapper {
    /// These words. Of `ssh` it is known that it joins all its arguments and has a shell take them apart again at the
    /// other end.
    pub fn new(words: Vec<OsString>) -> Self {
        let is_ssh = |word: &OsString| Path::new(word).file_name() == Some(OsStr::new("ssh"));
        let is_shell = words.first().is_some_and(is_ssh);
        Self { words, is_shell }
    }

    /// The same, of a program that does as `ssh` does, if that is what `is_shell` says.
    pub fn with_shell(self, is_shell: bool) -> Self {
        Self { is_shell: self.is_shell || is_shell, ..self }
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The program that is started in the place of another, if it is.
    pub(super) fn program(&self) -> Option<&OsString> {
        self.words.first()
    }

    /// The words by which `program` is run with `args`: the program to start, and its arguments.
    pub(super) fn wrap(&self, program: &OsString, args: &[OsString]) -> (OsString, Vec<OsString>) {
        let Some((outer, front)) = self.words.split_first() else { return (program.clone(), args.to_vec()) };
        let inner = std::iter::once(program).chain(args);
        let inner = inner.map(|word| if self.is_shell { quoted(word) } else { word.clone() });
        (outer.clone(), front.iter().cloned().chain(inner).collect())
    }
}

/// The word as every shell takes it for itself: POSIX shells, csh and fish agree on single quotes.
fn quoted(word: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(word.len() + 2);
    bytes.push(b'\'');
    for byte in word.as_bytes() {
        match byte {
            b'\'' => bytes.extend_from_slice(b"'\\''"),
            byte => bytes.push(*byte),
        }
    }
    bytes.push(b'\'');
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn only_what_a_shell_takes_apart_is_quoted() {
        let wrapped = |text: &str, is_shell| {
            let wrapper = Wrapper::new(words(text)).with_shell(is_shell);
            wrapper.wrap(&"psql".into(), &["-c".into(), "it's (1)".into()])
        };
        let plain = ["exec", "db", "psql", "-c", "it's (1)"].map(OsString::from).to_vec();
        assert_eq!(wrapped("docker exec db", false), ("docker".into(), plain));
        let quoted = ["db1", "sudo", "'psql'", "'-c'", r"'it'\''s (1)'"].map(OsString::from).to_vec();
        for ssh in ["ssh", "/usr/bin/ssh"] {
            assert_eq!(wrapped(&format!("{ssh} db1 sudo"), false), (ssh.into(), quoted.clone()));
        }
        assert_eq!(wrapped("sshx db1 sudo", false).1[2], "psql");
        assert_eq!(wrapped("sshx db1 sudo", true).1, quoted);
        assert_eq!(wrapped("", true), ("psql".into(), vec!["-c".into(), "it's (1)".into()]));
    }

    #[test]
    fn a_shell_gives_every_word_back() {
        for word in ["", "a b", "it's", "$(id)", "`id`", "a\nb", "*", "\\", "'", "''", "!!", "é", "-x;y&z|"]
        {
            let mut script = OsString::from("printf %s ");
            script.push(quoted(OsStr::new(word)));
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
