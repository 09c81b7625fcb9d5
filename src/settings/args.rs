//! Options of the command line that are no settings: text becomes a value as soon as it is read, and the error names
//! the option.

use super::ConfigError;
use crate::base::level::Level;
use crate::base::setting::{Origin, Problem, SettingError};
use crate::base::unit::{self, Age, Since};
use std::time::Duration;

fn by<T>(
    parse: impl Fn(&str) -> Result<T, Problem>,
    text: &str,
    option: &'static str,
) -> Result<T, ConfigError> {
    parse(text).map_err(|problem| SettingError::new(option, Origin::Flag(option), problem).into())
}

/// As [`unit::level`].
///
/// # Errors
/// When it is none.
pub fn level(text: &str, option: &'static str) -> Result<Level, ConfigError> {
    by(unit::level, text, option)
}

/// As [`unit::duration`].
///
/// # Errors
/// When it is none.
pub fn duration(text: &str, option: &'static str) -> Result<Duration, ConfigError> {
    by(unit::duration, text, option)
}

/// As [`unit::fraction`].
///
/// # Errors
/// When it is none.
pub fn fraction(text: &str, option: &'static str) -> Result<f64, ConfigError> {
    by(unit::fraction, text, option)
}

/// As [`unit::part`].
///
/// # Errors
/// When it is none.
pub fn part(text: &str, option: &'static str) -> Result<f64, ConfigError> {
    by(unit::part, text, option)
}

/// As [`unit::since`].
///
/// # Errors
/// When it is none.
pub fn since(text: &str, option: &'static str) -> Result<Since, ConfigError> {
    by(unit::since, text, option)
}

/// As [`unit::grace`].
///
/// # Errors
/// When it is none.
pub fn grace(text: &str, option: &'static str) -> Result<Duration, ConfigError> {
    by(unit::grace, text, option)
}

/// As [`unit::age`].
///
/// # Errors
/// When it is none.
pub fn age(text: &str, option: &'static str) -> Result<Age, ConfigError> {
    by(unit::age, text, option)
}
