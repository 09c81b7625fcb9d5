//! What a program finds around it: which secrets it does not, which variables it does, where and as whom it runs.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables by whose names secrets of this process go: the key to the backups, and those of their storage. A program
/// that makes or takes a dump does not need them, and what prints its environment would put them into the backup.
const SECRET_PREFIXES: [&[u8]; 4] = [b"DUMPVAULT_", b"AWS_", b"AZURE_", b"GOOGLE_"];

/// Whether a variable of that name is kept from other programs.
fn is_secret(name: &OsStr) -> bool {
    SECRET_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix))
}

/// What any program may know.
const PLAIN: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TERM",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGSSLMODE",
    "PGSSLROOTCERT",
];

fn is_plain(name: &OsStr) -> bool {
    PLAIN.iter().any(|plain| name == *plain) || name.as_bytes().starts_with(b"LC_")
}

/// Said of programs by whoever runs them. By default they get this process's environment but its secrets, its folder
/// and its user.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Variables to set.
    pub env: Vec<(OsString, OsString)>,
    /// Names of variables that may be passed on though they look like secrets of this process.
    pub pass_env: Vec<OsString>,
    /// The working directory.
    pub directory: Option<PathBuf>,
    /// The user.
    pub account: Option<Account>,
    /// Of this process's variables only those that say nothing of secrets: where programs and folders are, language,
    /// time zone, and the way to a PostgreSQL server.
    pub is_bare: bool,
}

impl std::fmt::Debug for Surroundings {
    // Values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&OsString> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Surroundings")
            .field("env", &names)
            .field("pass_env", &self.pass_env)
            .field("directory", &self.directory)
            .field("account", &self.account)
            .field("is_bare", &self.is_bare)
            .finish()
    }
}

impl Surroundings {
    /// Gives the command these surroundings.
    pub(super) fn put_around(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let is_kept_back = if self.is_bare { !is_plain(&name) } else { is_secret(&name) };
            if is_kept_back && !self.pass_env.contains(&name) {
                command.env_remove(name);
            }
        }
        if let Some(account) = &self.account {
            account.put_around(command);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
    }
}

/// A user of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl Account {
    /// The user of that name; `None` when there is none.
    ///
    /// # Errors
    /// When the list of users cannot be read.
    pub fn find(name: &str) -> io::Result<Option<Self>> {
        let of_file = std::fs::read_to_string("/etc/passwd").map(|users| Self::among(&users, name));
        match of_file {
            Ok(Some(found)) => Ok(Some(found)),
            // A directory service may know it.
            listed => match Command::new("getent").args(["passwd", "--", name]).output() {
                Ok(output) => Ok(Self::among(&String::from_utf8_lossy(&output.stdout), name)),
                Err(_) => listed,
            },
        }
    }

    fn among(users: &str, name: &str) -> Option<Self> {
        let mut fields = users
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name) && !name.is_empty()).then_some(fields))?;
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = PathBuf::from(fields.nth(1)?);
        Some(Self { name: name.to_owned(), uid, gid, home })
    }

    /// The user's number.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The number of the user's own group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Runs the command as this user, in its own group and no other.
    fn put_around(&self, command: &mut Command) {
        use std::os::unix::process::CommandExt;
        if rustix::process::geteuid().as_raw() != self.uid {
            command.uid(self.uid).gid(self.gid);
        }
        let home: &Path = &self.home;
        command.env("HOME", home).env("USER", &self.name).env("LOGNAME", &self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for name in
            ["DUMPVAULT_PASSWORD", "DUMPVAULT_TO_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AZURE_X", "GOOGLE_X"]
        {
            assert!(is_secret(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "PGPASSWORD", "LAWS_X", "AWS", "dumpvault_x"] {
            assert!(!is_secret(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:999:998:A, B:/srv/app:/bin/false\n";
        let app = Account { name: "app".into(), uid: 999, gid: 998, home: "/srv/app".into() };
        assert_eq!(Account::among(users, "app"), Some(app));
        for name in ["ap", "broken", "", "x"] {
            assert_eq!(Account::among(users, name), None, "{name}");
        }
        assert_eq!(Account::find("root").unwrap().unwrap().uid(), 0);
        assert_eq!(Account::find("no such user").unwrap(), None);
    }
}
