//! What keeps a restore from a server that was not meant, or that must stay as it is.

use crate::base::fault::Next;
use crate::base::pattern::NamePattern;
use crate::engine::OpError;

/// The host that somebody expects to restore to.
#[derive(Debug, Clone, Default)]
pub struct ExpectedHost(pub Option<String>);

impl ExpectedHost {
    /// Refuses another host. The server itself says which it is: `names` are all of its, the first one is shown.
    pub(super) fn check(&self, names: &[&str], next: &'static str) -> Result<(), OpError> {
        let Some(expected) = &self.0 else { return Ok(()) };
        if names.contains(&expected.as_str()) {
            return Ok(());
        }
        let host = names.first().unwrap_or(&"unknown");
        Err(OpError::Refused {
            message: format!("refused: the target host is `{host}`, not `{expected}`"),
            next: Some(Next::new(next)),
        })
    }
}

/// Refuses what `protect` in the configuration names. To be asked only of what is not empty: `holds` says what it
/// holds, `place` where it is.
pub(in crate::engine) fn refuse_protected(
    protect: &[NamePattern],
    names: &[&str],
    place: &str,
    holds: &str,
    next: &'static str,
) -> Result<(), OpError> {
    match protect.iter().find(|pattern| names.iter().any(|name| pattern.matches(name))) {
        None => Ok(()),
        Some(pattern) => Err(OpError::Refused {
            message: format!(
                "refused: {place} is not empty ({holds}) and is protected by `protect = [\"{pattern}\"]`"
            ),
            next: Some(Next::new(next)),
        }),
    }
}
