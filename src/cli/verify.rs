//! `dumpvault verify`, and what a restore tells of the rows that it counted.

use super::args::VerifyArgs;
use super::exit::Exit;
use super::leftovers::{self, Consent};
use super::report::{CliError, hint_of};
use super::servers::{clients, connection};
use super::{Context, doubts, render, which};
use crate::base::clock::Clock;
use crate::base::event::{Event, Observer};
use crate::content::pg::DumpForm;
use crate::engine::OpError;
use crate::engine::report::{VerifiedStream, Verify};
use crate::engine::restore::{Chosen, Findings, Jobs, Verified};
use crate::engine::tables::table_map;
use crate::settings;
use crate::source::postgres::{Connection, Doing, Failure, RestoreTarget, ScratchAttempt, ScratchRole};
use crate::source::process::Limits;
use crate::vault::RepoError;
use crate::vault::crypto::CryptoError;
use crate::vault::format::mark::MarkKind;
use crate::vault::snapshot::Stream;

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let timeout = args.timeout.as_deref().map(|text| settings::duration(text, "--timeout")).transpose()?;
    let limits = Limits::new(context.cancel.clone()).with_timeout(timeout);
    let share = args.sample.as_deref().map_or(Ok(1.0), |text| settings::part(text, "--sample"))?;
    let connection = match &args.server {
        Some(uri) => Connection::from_uri(uri).map_err(OpError::from)?,
        None => connection(None, &args.parts)?,
    };
    let name = context.name(&args.snapshot)?;
    let wanted = which::stream_of(&name, args.stream.as_deref())?;
    let chosen = which::chosen(context, &name, args.which.any_host)?;
    let streams: Vec<Stream> = match &wanted {
        Some(name) => vec![chosen.stream(Some(name))?.clone()],
        None => chosen.body.streams.iter().filter(|stream| !is_cluster_script(stream)).cloned().collect(),
    };
    if let Some(name) = streams.iter().find(|stream| is_cluster_script(stream)).map(|stream| &stream.name) {
        return Err(CliError::usage(format!(
            "cannot verify `{name}`: roles and tablespaces belong to the whole server"
        )));
    }
    if streams.is_empty() {
        return Err(CliError::Usage {
            message: format!(
                "nothing to verify in snapshot {}: pg_dumpall scripts are not supported",
                chosen.summary.id.short()
            ),
            hint: Some("back up with --pg-all --globals".to_owned()),
        });
    }
    for stream in &streams {
        doubts::settle(context, &chosen, stream, args.accept_change)?;
    }
    let mut exit = Exit::Good;
    let mut results = Vec::new();
    let mut role = None;
    for (at, stream) in streams.iter().enumerate() {
        let target = RestoreTarget {
            create: true,
            no_owner: true,
            no_privileges: true,
            // A scratch copy needs no disk of its own.
            no_tablespaces: true,
            scratch: true,
            clients: clients(context, &args.parts.exec),
            maker: Some(leftovers::maker(context)),
            ..RestoreTarget::new(connection.clone(), scratch_name(context, &chosen, at), limits.clone())
        };
        if at == 0 {
            let consent = Consent::new(args.drop_leftovers, false);
            leftovers::offer(context, &target, consent, |leftover| !leftover.is_whole)?;
            role = scratch_role(context, &target, args.no_superuser)?;
        }
        let trial = Trial { context, chosen: &chosen, share, workers: usize::from(args.jobs) };
        let outcome = trial.as_role(stream, &target, role.as_ref(), args.no_superuser);
        match &outcome {
            Ok(verified) => {
                if !verified.is_good() {
                    exit = Exit::Integrity;
                } else if verified.findings.is_none() && exit == Exit::Good {
                    // That it could be restored says nothing of what is in it.
                    exit = Exit::Partial;
                }
                report(context, &chosen, stream, verified);
            }
            // That it cannot be restored is the very thing that was to be found out.
            Err(error) if is_about_the_dump(error) => {
                exit = Exit::Integrity;
                let hint = hint(error).map_or_else(String::new, |hint| format!(" ({hint})"));
                context.warn(format!("`{}` cannot be restored: {error}{hint}", stream.name));
            }
            Err(_) => {}
        }
        let found = match outcome {
            Err(error) if !is_about_the_dump(&error) => {
                let hint = hint(&error);
                return Err(CliError::Hinted { error: Box::new(error.into()), hint });
            }
            found => found,
        };
        results.push(match &found {
            Ok(verified) => VerifiedStream::restored(&stream.name, verified),
            Err(error) => VerifiedStream::failed(&stream.name, error.to_string(), hint(error)),
        });
    }
    if let Some(Err(error)) = role.map(ScratchRole::end) {
        context.warn(error.to_string());
    }
    if exit == Exit::Good && share >= 1.0 && wanted.is_none() && !results.is_empty() {
        remember(context, &chosen)?;
    }
    if context.json {
        context.report(Verify::new(&chosen.summary.id, exit == Exit::Good, results));
    }
    Ok(exit)
}

/// The snapshot bears from now on that it was restored and compared.
fn remember(context: &Context, chosen: &Chosen) -> Result<(), CliError> {
    let now_ms = context.clock.now().as_millisecond();
    let marked = chosen.repo().mark_snapshot(
        &chosen.summary.id,
        MarkKind::Verified,
        Some(None),
        &context.app.host(),
        now_ms,
    );
    match marked {
        Err(RepoError::Crypto(CryptoError::RoleTooWeak { .. })) => {
            context.warn("verified, but not recorded: this key cannot write to the repository".to_owned());
            Ok(())
        }
        other => Ok(other.map_err(OpError::from)?),
    }
}

/// Roles of a server are not for trying out beside those that are there.
fn is_cluster_script(stream: &Stream) -> bool {
    matches!(table_map(stream), Ok(Some(map)) if map.form == DumpForm::ClusterScript)
}

/// How streams are tried out.
struct Trial<'a> {
    context: &'a Context,
    chosen: &'a Chosen,
    share: f64,
    workers: usize,
}

impl Trial<'_> {
    /// As the scratch role first, if there is one; as the server's own role only where the dump needs that.
    fn as_role(
        &self,
        stream: &Stream,
        target: &RestoreTarget,
        role: Option<&ScratchRole>,
        no_superuser: bool,
    ) -> Result<Verified, OpError> {
        let Some(role) = role else { return self.run(stream, target) };
        match self.run(stream, &role.target(target)) {
            Err(error) if !no_superuser && needs_superuser(&error) => {
                self.context.warn(format!(
                    "`{}` needs more permissions than the scratch role has; restoring it as a superuser: {error}",
                    stream.name
                ));
                self.run(stream, target)
            }
            outcome => outcome,
        }
    }

    fn run(&self, stream: &Stream, target: &RestoreTarget) -> Result<Verified, OpError> {
        let Self { context, chosen, share, workers } = *self;
        let scratch = context.app.environment.directory.join(std::env::temp_dir());
        let jobs = Jobs { workers, scratch: &scratch, observer: &context.progress, cancel: &context.cancel };
        chosen.verify(stream, target, share, &jobs)
    }
}

/// Whether an honest dump may fail like this for want of rights. None needs programs or files of the server's machine.
fn needs_superuser(error: &OpError) -> bool {
    let text = error.to_string();
    let reaches_out = ["external program", "_server_program", "_server_files", "COPY to or from a file"];
    error.failure() == Some(Failure::PermissionDenied)
        && !reaches_out.iter().any(|words| text.contains(words))
}

/// A role without rights, where the server's own role is a superuser and lets others log in.
fn scratch_role(
    context: &Context,
    target: &RestoreTarget,
    no_superuser: bool,
) -> Result<Option<ScratchRole>, CliError> {
    let mut random = [0; 24];
    let filled = context.app.entropy().fill(&mut random);
    filled.map_err(RepoError::from)?;
    let letters: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let (name, password) = letters.split_at_checked(8).unwrap_or((&letters, ""));
    let made = ScratchRole::make(target, &format!("dumpvault_verify_role_{name}"), password);
    match made.map_err(OpError::from)? {
        ScratchAttempt::Role(role) => Ok(Some(*role)),
        ScratchAttempt::NotSuperuser => Ok(None),
        ScratchAttempt::Refused(error) if no_superuser || context.cancel.is_cancelled() => {
            Err(OpError::from(error).into())
        }
        ScratchAttempt::Refused(error) => {
            context.warn(format!(
                "the dump is restored as a superuser, because no other role can log in: {error}"
            ));
            Ok(None)
        }
    }
}

/// A name that tells what the database is, should it ever be left behind, and that no other verification has: in containers, all
/// processes may have the same number.
fn scratch_name(context: &Context, chosen: &Chosen, at: usize) -> String {
    let now = context.clock.now().as_millisecond();
    format!("dumpvault_verify_{}_{}_{now:x}_{at}", chosen.summary.id.short(), std::process::id())
}

/// What to do about it: the options of a restore do not apply here.
fn hint(error: &OpError) -> Option<String> {
    match error.failure() {
        Some(failure) => failure.hint(Doing::Verify).map(str::to_owned),
        None => hint_of(error),
    }
}

fn is_about_the_dump(error: &OpError) -> bool {
    match error {
        error if error.is_cancelled() => false,
        // A full disk of the test server, say: nothing was found out.
        error if error.failure().is_some_and(Failure::is_of_the_server) => false,
        OpError::Source { .. } | OpError::Incomplete { .. } | OpError::Archive(_) => true,
        OpError::Aftermath { failure, .. } => is_about_the_dump(failure),
        _ => false,
    }
}

/// Tells what was found: what is wrong always, what is well not with `--quiet`.
fn report(context: &Context, chosen: &Chosen, stream: &Stream, verified: &Verified) {
    let verdict = match (verified.is_good(), &verified.findings) {
        (false, _) => "FAILED verification",
        (true, Some(_)) => "verified",
        (true, None) => "not compared",
    };
    let keys = &verified.constraints;
    let line = format!(
        "{}: snapshot {}, `{}` {verdict}: restored, {}, in {}",
        chosen.summary.head.series,
        chosen.summary.id.short(),
        stream.name,
        render::count(keys.foreign_keys, "foreign key"),
        render::duration(verified.duration_ms)
    );
    match verified.is_good() {
        true => context.say(&line),
        false if context.json => {}
        false => context.output(&line),
    }
    if !verified.left_out.is_empty() {
        context.say(&format!("left out of the scratch database: {}", some_of(&verified.left_out)));
    }
    match &verified.findings {
        Some(findings) => tell(context, findings),
        None => context.warn("nothing is known of the dump's tables: rows were not compared".to_owned()),
    }
    if let Some(expected) = verified.foreign_keys_expected.filter(|expected| keys.foreign_keys < *expected) {
        complain(
            context,
            &format!("{expected} foreign keys are in the dump, {} were restored", keys.foreign_keys),
        );
    }
    if keys.indexes_not_valid > 0 {
        complain(context, &format!("{} not valid", render::count(keys.indexes_not_valid, "index")));
    }
    if keys.foreign_keys_not_valid > 0 {
        context.say(&format!(
            "{} NOT VALID, as in the dump",
            render::count(keys.foreign_keys_not_valid, "foreign key")
        ));
    }
}

/// The first few, and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Tells what was counted; what is wrong even with `--quiet`.
pub(super) fn tell(context: &Context, findings: &Findings) {
    for table in findings.wrong() {
        complain(context, &table.to_string());
    }
    if let Some((expected, found)) = findings.large_objects.filter(|_| !findings.large_objects_are_right()) {
        complain(context, &format!("{found} large objects restored, {expected} in the dump"));
    }
    let uncounted = findings.tables.iter().filter(|table| table.expected.is_none()).count();
    if uncounted > 0 {
        context.say(&format!(
            "{}: readable; the dump's row count is not known",
            render::count(uncounted as u64, "table")
        ));
    }
    // Of what was not compared nothing is claimed.
    for (at_least, verdict) in [(false, "all counts match"), (true, "at least the rows of the dump")] {
        let counted = || {
            let compared = findings.tables.iter().filter(|table| table.expected.is_some());
            compared.filter(|table| table.at_least == at_least)
        };
        let rows: u64 = counted().filter_map(|table| table.found.as_ref().ok()).sum();
        if findings.is_good() && counted().next().is_some() {
            let tables = render::count(counted().count() as u64, "table");
            context.say(&format!("{tables}, {}: {verdict}", render::count(rows, "row")));
        }
    }
}

fn complain(context: &Context, what: &str) {
    context.progress.observe(Event::Warning { message: what.to_owned() });
}
