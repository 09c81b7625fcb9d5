//! Programs that a job runs: behind which words, and what they find around them.

use crate::base::event::{Event, Observer};
use crate::engine::OpError;
use crate::engine::app::App;
use crate::settings::{Environment, Programs as Around};
use crate::source::postgres::Clients;
use crate::source::surroundings::{Account, Surroundings};
use crate::source::wrapper::Wrapper;
use std::ffi::OsString;
use std::path::Path;

/// What the configuration says of the programs of all jobs.
#[derive(Clone, Copy)]
pub struct Programs<'a>(&'a App);

impl<'a> Programs<'a> {
    /// As `app`'s configuration has it.
    pub fn of(app: &'a App) -> Self {
        Self(app)
    }

    /// What client programs are run behind: those words, or else the configuration's.
    pub fn wrapper(self, exec: Option<&[OsString]>) -> Wrapper {
        let settings = &self.0.settings;
        let words = exec.map_or_else(|| settings.exec.clone().unwrap_or_default(), <[OsString]>::to_vec);
        Wrapper::new(words).with_shell(settings.exec_shell)
    }

    /// What programs find around them that no source of the configuration says more of.
    pub fn surroundings(self) -> Surroundings {
        let pass_env = self.0.settings.pass_env.clone();
        Surroundings { pass_env, ..Surroundings::default() }
    }

    /// Where PostgreSQL's client programs are looked for, behind those words if there are any.
    pub fn clients(self, exec: Wrapper) -> Clients {
        let found = Clients::installed().with_directories(self.0.settings.pg_bin_dirs.clone());
        found.through(exec).within(self.surroundings())
    }

    /// The same on this machine, behind no words.
    pub fn own_clients(self) -> Clients {
        self.clients(Wrapper::default())
    }

    /// What the programs of a configured source find around them.
    ///
    /// # Errors
    /// When its variables cannot be read, or it names a user that there is not.
    pub fn surroundings_of(
        self,
        name: &str,
        settings: &Around,
        events: &dyn Observer,
    ) -> Result<Surroundings, OpError> {
        let environment = &self.0.environment;
        let mut around = self.surroundings();
        around.pass_env.extend(settings.pass_env.iter().cloned());
        let file = settings.env_file.as_ref();
        if let Some(path) = file.filter(|path| is_exposed(&environment.directory.join(path))) {
            events.observe(Event::Warning {
                message: format!(
                    "environment file `{path}` is readable by other users: run `chmod 600 {path}`",
                    path = path.display()
                ),
            });
        }
        let variables = settings.variables(environment)?;
        around.env = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        around.directory = settings.workdir.as_ref().map(|folder| environment.directory.join(folder));
        around.account =
            settings.run_as.as_deref().map(|user| account(user, name, environment)).transpose()?;
        Ok(around)
    }
}

/// A command line's words, split at spaces.
pub fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o044 != 0)
}

fn account(user: &str, source: &str, environment: &Environment) -> Result<Account, OpError> {
    let wrong =
        |reason: String| OpError::Job { message: format!("source.{source}.run_as: {reason}"), next: None };
    let found = Account::find(user).map_err(|error| wrong(format!("`{user}`: {error}")))?;
    let account = found.ok_or_else(|| wrong(format!("no user `{user}` on this machine")))?;
    if !environment.is_root() && account.uid() != environment.uid {
        return Err(wrong(format!("only root can run programs as `{user}`")));
    }
    Ok(account)
}
