//! Files of variables for a source's programs, as service managers and containers have them: `NAME=value`, one a line.

use super::{ConfigError, trust};
use crate::base::setting::{Origin, Problem, SettingError};
use std::path::Path;
use std::sync::Arc;

/// Variables in the order of the file; a value in quotes is what stands between them, and nothing is expanded.
pub(super) fn read(path: &Path, uid: u32) -> Result<Vec<(String, String)>, ConfigError> {
    let missing = || ConfigError::Read { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() };
    let text = trust::read(path, uid)?.ok_or_else(missing)?;
    let mut variables = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line itself may be secret, and is not quoted.
        let wrong = || {
            let origin = Origin::File { path: Arc::new(path.to_owned()), line: at + 1 };
            SettingError::new("", origin, Problem::new("not NAME=value"))
        };
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if !is_name(name) || value.contains('\0') {
            return Err(wrong().into());
        }
        variables.push((name.to_owned(), unquoted(value.trim()).to_owned()));
    }
    Ok(variables)
}

/// Whether a variable can have that name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control())
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, text).unwrap();
        read(&path, rustix::process::geteuid().as_raw())
    }

    #[test]
    fn names_and_values_are_taken_as_they_are() {
        let text = "\n# a remark\nA=1\nexport B = two words \nC=\"quoted # \"\nD='x'\nE=\nF=a=b$A\nG='\n";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "quoted # "),
            ("D", "x"),
            ("E", ""),
            ("F", "a=b$A"),
            ("G", "'"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read_text(text).unwrap(), expected);
    }

    #[test]
    fn a_line_that_is_none_is_named_by_its_number_and_not_shown() {
        for text in ["A=1\ns3cret\n", "A=1\n=s3cret\n", "A=1\nA B=s3cret\n"] {
            let error = read_text(text).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains("s3cret"), "{error}");
        }
    }
}
