//! Which statements of a script would tell a scheduler within the server what to run.

use super::Reason;
use super::foreign::{named, without};

/// Extensions that run jobs by themselves, and the table that holds these: schema and name.
const SCHEDULERS: [(&str, &str, &str); 2] =
    [("pg_cron", "cron", "job"), ("timescaledb", "_timescaledb_config", "bgw_job")];

/// The schedulers that a script has made so far. Without one of them, a table of the name is like any other.
#[derive(Debug, Default)]
pub(super) struct Schedules(Vec<&'static str>);

impl Schedules {
    /// Takes the front of a statement that is about to run, as [`super::foreign::Foreign::see`] does; gives the table
    /// where it is a COPY into one that holds jobs. `pg_dump` writes such a COPY also where there are none.
    ///
    /// # Errors
    /// When it would add a job, or change one.
    pub(super) fn see(&mut self, front: &[&str]) -> Result<Option<String>, Reason> {
        let changed = match front {
            ["create", "extension", rest @ ..] => {
                let (made, _) = named(without(rest, &["if", "not", "exists"]));
                let is_it =
                    |(extension, ..): &&(&str, _, _)| made.as_ref().is_some_and(|(_, it)| it == extension);
                self.0.extend(SCHEDULERS.iter().find(is_it).map(|(extension, ..)| *extension));
                return Ok(None);
            }
            ["copy", "(", ..] => return Ok(None),
            ["copy", rest @ ..] => return Ok(self.table(without(rest, &["binary"]))),
            ["insert" | "merge", "into", rest @ ..] => rest,
            ["update", rest @ ..] => without(rest, &["only"]),
            _ => return Ok(None),
        };
        match self.table(changed) {
            None => Ok(None),
            Some(table) => Err(Reason::Schedule(table)),
        }
    }

    /// The table that is named there, if it holds jobs.
    fn table(&self, words: &[&str]) -> Option<String> {
        let (schema, name) = named(words).0?;
        let is_it = |(extension, its_schema, its_name): &&(&str, &str, &str)| {
            self.0.contains(extension)
                && name == *its_name
                && schema.as_ref().is_none_or(|schema| schema == its_schema)
        };
        SCHEDULERS.iter().find(is_it).map(|(_, schema, name)| format!("{schema}.{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first statement that is refused, and the tables of jobs that COPY fills before it.
    fn seen(statements: &[&str]) -> (Option<usize>, Vec<String>) {
        let (mut schedules, mut copied) = (Schedules::default(), Vec::new());
        let refused = statements.iter().position(|statement| {
            let front: Vec<&str> = statement.split(' ').collect();
            let outcome = schedules.see(&front);
            copied.extend(outcome.iter().flatten().cloned());
            outcome.is_err()
        });
        (refused, copied)
    }

    #[test]
    fn jobs_of_a_scheduler_are_told_apart_from_other_rows() {
        let made = "create extension if not exists pg_cron with schema pg_catalog";
        let job = || vec!["cron.job".to_owned()];
        for (statements, expected) in [
            (vec![made, "copy cron . job ( jobid ) from stdin"], (None, job())),
            (vec!["create extension \"pg_cron", "copy cron . \"job from stdin"], (None, job())),
            (vec![made, "copy job from stdin"], (None, job())),
            (vec![made, "copy cron . job_run_details from stdin"], (None, vec![])),
            (vec![made, "copy public . job from stdin"], (None, vec![])),
            (vec![made, "insert into cron . job values ( 1"], (Some(1), vec![])),
            (vec![made, "update only cron . job set"], (Some(1), vec![])),
            (vec![made, "insert into app . job values ( 1"], (None, vec![])),
            // A table of the user's own.
            (vec!["create table cron . job (", "insert into cron . job values ( 1"], (None, vec![])),
            (
                vec!["create extension timescaledb", "insert into _timescaledb_config . bgw_job values"],
                (Some(1), vec![]),
            ),
        ] {
            assert_eq!(seen(&statements), expected, "{statements:?}");
        }
    }
}
