//! How a database that is there differs from the dumped one in what no restore can change: encoding and locale.

use super::RestoreTarget;
use super::create::DatabasePlan;
use crate::source::postgres::client::{columns, unclear};
use crate::source::postgres::{Connection, PostgresError};
use std::fmt;

/// What a version does not know is not in its row: all of them are asked the same.
const PROPERTIES: &str = "
SELECT pg_encoding_to_char(encoding), coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), datcollate, datctype,
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '')
FROM pg_database d WHERE datname = current_database()";

/// Something of a database that is not as the dump says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub what: &'static str,
    /// How the database has it.
    pub is: String,
    /// How the dumped one had it.
    pub was: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, was {}", self.what, self.is, self.was)
    }
}

/// Encoding and locale of a database; what is empty is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Likeness {
    encoding: String,
    provider: String,
    collate: String,
    ctype: String,
    /// The locale of a provider that is not the system's library.
    own: String,
}

impl Likeness {
    fn of_plan(plan: &DatabasePlan) -> Self {
        let option = |keys: &[&str]| {
            let found = plan.options.iter().find(|(key, _)| keys.contains(&key.as_str()));
            found.map(|(_, value)| value.trim_matches('\'').replace("''", "'")).unwrap_or_default()
        };
        let provider = option(&["LOCALE_PROVIDER"]);
        Self {
            encoding: option(&["ENCODING"]),
            // Before version 15 there was one, and no word for it.
            provider: if provider.is_empty() { "libc".to_owned() } else { provider },
            collate: option(&["LC_COLLATE", "LOCALE"]),
            ctype: option(&["LC_CTYPE", "LOCALE"]),
            own: option(&["ICU_LOCALE", "BUILTIN_LOCALE"]),
        }
    }

    fn of_row(row: &str) -> Option<Self> {
        let mut columns = columns(row).map(str::to_owned);
        let mut next = || columns.next();
        let (encoding, provider, collate, ctype, own) = (next()?, next()?, next()?, next()?, next()?);
        let provider = match provider.as_str() {
            "i" => "icu",
            "b" => "builtin",
            _ => "libc",
        };
        Some(Self { encoding, provider: provider.to_owned(), collate, ctype, own })
    }

    /// The locale by which text is sorted, as a person would name it.
    fn locale(&self) -> String {
        match (self.provider.as_str(), self.collate == self.ctype) {
            ("libc", true) => self.collate.clone(),
            ("libc", false) => format!("{}/{}", self.collate, self.ctype),
            _ => self.own.clone(),
        }
    }

    /// How this one differs from the one that was dumped.
    fn differences(&self, was: &Self) -> Vec<Difference> {
        let pairs = [
            ("encoding", self.encoding.clone(), was.encoding.clone()),
            ("locale provider", self.provider.clone(), was.provider.clone()),
            ("locale", self.locale(), was.locale()),
        ];
        let differs = |(what, is, was): &(&'static str, String, String)| match *what {
            "locale" => plain_locale(is) != plain_locale(was),
            _ => is != was,
        };
        let told = pairs.into_iter().filter(|pair| !pair.1.is_empty() && !pair.2.is_empty() && differs(pair));
        told.map(|(what, is, was)| Difference { what, is, was }).collect()
    }
}

/// The same locale has several spellings: `en_US.UTF-8` and `en_US.utf8`, `C` and `POSIX`.
fn plain_locale(name: &str) -> String {
    let each = name.split('/').map(|name| match name.split_once('.') {
        Some((language, codes)) => {
            let codes: String = codes.chars().filter(char::is_ascii_alphanumeric).collect();
            format!("{language}.{}", codes.to_ascii_lowercase())
        }
        None if name == "POSIX" => "C".to_owned(),
        None => name.to_owned(),
    });
    each.collect::<Vec<_>>().join("/")
}

impl RestoreTarget {
    /// The encoding of the database; of one that is to be made, where nothing says how, that of the server's template.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn encoding(&self, exists: bool) -> Result<String, PostgresError> {
        let what = format!("ask for the encoding of database `{}`", self.database);
        let (target, named) = match exists {
            true => (self.connection.with_database(&self.database), "current_database()"),
            false => (self.maintenance(&self.limits.cancel)?.0, "'template0'"),
        };
        let sql = format!("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = {named}");
        self.clients.ask(&target, &what, &sql, &self.limits.cancel)
    }

    /// How the database, which is there, differs from the one that `plan` tells of, in what a restore cannot change.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn differences(&self, plan: &DatabasePlan) -> Result<Vec<Difference>, PostgresError> {
        let what = format!("ask for encoding and locale of database `{}`", self.database);
        let target: Connection = self.connection.with_database(&self.database);
        let row = self.clients.ask(&target, &what, PROPERTIES, &self.limits.cancel)?;
        let is = Likeness::of_row(&row).ok_or_else(|| unclear(&what, &row))?;
        Ok(is.differences(&Likeness::of_plan(plan)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(options: &[(&str, &str)]) -> Likeness {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Likeness::of_plan(&DatabasePlan { options, ..DatabasePlan::default() })
    }

    fn told(is: &Likeness, was: &Likeness) -> Vec<String> {
        is.differences(was).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn what_differs_is_named_and_other_spellings_are_not() {
        let icu = plan(&[
            ("ENCODING", "'UTF8'"),
            ("LOCALE_PROVIDER", "icu"),
            ("LOCALE", "'C'"),
            ("ICU_LOCALE", "'de'"),
        ]);
        let old =
            plan(&[("ENCODING", "'UTF8'"), ("LC_COLLATE", "'en_US.UTF-8'"), ("LC_CTYPE", "'en_US.UTF-8'")]);
        let same = plan(&[("ENCODING", "'UTF8'"), ("LOCALE_PROVIDER", "libc"), ("LOCALE", "'en_US.utf8'")]);
        let mixed = plan(&[("ENCODING", "'LATIN1'"), ("LC_COLLATE", "'POSIX'"), ("LC_CTYPE", "'C'")]);
        assert!(told(&old, &same).is_empty() && told(&icu, &icu).is_empty());
        assert_eq!(told(&same, &icu), ["locale provider libc, was icu", "locale en_US.utf8, was de"]);
        assert_eq!(told(&mixed, &old), ["encoding LATIN1, was UTF8", "locale POSIX/C, was en_US.UTF-8"]);
        // An archive that says nothing of it.
        assert!(told(&mixed, &plan(&[])).is_empty());
    }
}
