//! Restoring files into a directory: what is asked before, and what is told after.

use super::super::args::{RestoreArgs, RestoreFilesArgs};
use super::super::exit::Exit;
use super::super::report::CliError;
use super::super::{Context, doubts, prompt, render};
use crate::base::words;
use crate::engine::files::{
    Assent, Extras, FilesJob, FilesPlan, FilesReport, Overwrite, Tree, WantedFiles,
    check_protected_directory, first, usual_ownership,
};
use crate::engine::report::{RestoreFilesPlan, RestoredFiles};
use crate::engine::restore::Chosen;
use crate::source::files::Ownership;
use std::path::Path;
use std::time::Instant;

pub(super) fn run(
    context: &Context,
    args: &RestoreArgs,
    chosen: &Chosen,
    stream: Option<&str>,
    into: &Path,
) -> Result<Exit, CliError> {
    let began = Instant::now();
    let job = job(context, &args.files)?;
    let tree = Tree::any(chosen, stream)?;
    let into = context.app.environment.directory.join(into);
    for data in &chosen.body.streams {
        doubts::tell(context, chosen, data);
    }
    let plan = tree.plan(&job, &into, &context.cancel)?;
    tree.check_matches(plan.files + plan.directories + plan.unreadable + plan.unfit)?;
    if plan.holds_something {
        check_protected_directory(&context.app, &into)?;
    }
    let extras = match args.bucket.delete {
        true => {
            let assent = Assent { yes: args.yes, force: args.force };
            tree.extras(&job.wanted, &into, assent, &context.app, &context.run())?
        }
        false => Extras::default(),
    };
    if args.dry_run {
        return Ok(dry_run(context, &tree, chosen, (&plan, &extras), &into));
    }
    let question = || question(&tree, &plan, &extras, &into);
    if plan.holds_something && !prompt::agreed(context, &question(), args.yes)? {
        return Err(CliError::Refused { message: "cancelled; nothing was restored".to_owned(), hint: None });
    }
    let report = tree.restore_without(&job, &into, &extras, &context.progress, &context.cancel)?;
    Ok(told(context, &tree, chosen, &report, &into, began))
}

pub(super) fn overwrite(args: &RestoreFilesArgs) -> Overwrite {
    match args.overwrite.as_deref() {
        Some("never") => Overwrite::Never,
        Some("older") => Overwrite::Older,
        Some("always") => Overwrite::Always,
        _ => Overwrite::Changed,
    }
}

fn job(context: &Context, args: &RestoreFilesArgs) -> Result<FilesJob, CliError> {
    let wanted = WantedFiles::of(&args.path).map_err(|error| CliError::usage(error.to_string()))?;
    let overwrite = overwrite(args);
    let ownership = match args.owner.as_deref() {
        Some("names") => Ownership::Names,
        Some("numeric") => Ownership::Numbers,
        Some("no") => Ownership::None,
        _ => usual_ownership(&context.app),
    };
    Ok(FilesJob { wanted, overwrite, ownership })
}

/// Objects have no directories.
fn counted(tree: &Tree<'_>, files: u64, directories: u64) -> String {
    match tree.is_of_objects() {
        true => words::count(files, "object"),
        false => format!("{} and {}", words::count(files, "file"), words::count(directories, "directory")),
    }
}

fn question(tree: &Tree<'_>, plan: &FilesPlan, extras: &Extras, into: &Path) -> String {
    let FilesPlan { files, replaced, replaced_first, kept, .. } = plan;
    let replaced = (*replaced, &*first(replaced_first, *replaced));
    let deletes = match extras.paths.len() as u64 {
        0 => String::new(),
        deleted => {
            let hit = first(&extras.first(), deleted);
            format!(" {} would be deleted{hit}.", words::count(deleted, "path"))
        }
    };
    format!(
        "`{}` is not empty: {}.{deletes}",
        into.display(),
        in_the_way(tree.noun(), *files, replaced, *kept)
    )
}

/// What happens to what a place holds: how many of `all` replace something, with the first of them, and how many are
/// there already.
pub(super) fn in_the_way(noun: &str, all: u64, (replaced, first): (u64, &str), kept: u64) -> String {
    let mut words = match replaced {
        0 => format!("no {noun} there would be replaced"),
        replaced => format!("{} there would be replaced{first}", words::count(replaced, noun)),
    };
    let new = all.saturating_sub(replaced).saturating_sub(kept);
    if kept > 0 {
        words.push_str(&format!(
            ", {} there already",
            if kept == 1 { "1 is".to_owned() } else { format!("{kept} are") }
        ));
    }
    words.push_str(&match new {
        0 => String::new(),
        1 => ", 1 is new".to_owned(),
        new => format!(", {new} are new"),
    });
    words
}

fn dry_run(
    context: &Context,
    tree: &Tree<'_>,
    chosen: &Chosen,
    (plan, extras): (&FilesPlan, &Extras),
    into: &Path,
) -> Exit {
    let id = chosen.summary.id;
    if context.json {
        context.report(RestoreFilesPlan::new(&id, plan, extras, into));
        return Exit::Good;
    }
    context.output(&format!(
        "would restore {} ({}) of snapshot {} into `{}`",
        counted(tree, plan.files, plan.directories),
        render::bytes(plan.bytes),
        id.short(),
        into.display()
    ));
    if plan.unfit > 0 {
        let count = words::count(plan.unfit, "object");
        context.output(&format!("{count} cannot be restored into a directory: their keys are not paths"));
    }
    if plan.holds_something {
        context.output(&question(tree, plan, extras, into));
    }
    for lying in &extras.paths {
        context.output(&format!(
            "would delete `{}`",
            into.join(words::path(&lying.path).trim_start_matches('/')).display()
        ));
    }
    Exit::Good
}

fn told(
    context: &Context,
    tree: &Tree<'_>,
    chosen: &Chosen,
    report: &FilesReport,
    into: &Path,
    began: Instant,
) -> Exit {
    let exit = report.class().map_or(Exit::Good, Exit::from);
    let ms = began.elapsed().as_millis() as u64;
    let id = chosen.summary.id;
    if report.unreadable > 0 {
        let count = words::count(report.unreadable, tree.noun());
        context.warn(format!("{count} could not be read when the backup was made, and are not in it"));
    }
    for (count, what) in [
        (report.damaged.len() as u64, "damaged and not restored"),
        (report.failed, "could not be restored or deleted"),
    ] {
        if count > 0 {
            context.warn(format!("{}: {what}", words::count(count, tree.noun())));
        }
    }
    if context.json {
        context.report(RestoredFiles::new(&id, report, into, ms));
        return exit;
    }
    let kept = match report.kept {
        0 => String::new(),
        kept => format!(", {} there already", words::count(kept, tree.noun())),
    };
    let deleted = match report.deleted {
        0 => String::new(),
        deleted => format!(", {} deleted", words::count(deleted, "path")),
    };
    context.say(&format!(
        "{}: restored {} of snapshot {} to `{}`: {} in {}{kept}{deleted}",
        chosen.summary.head.series,
        counted(tree, report.files, report.directories),
        id.short(),
        into.display(),
        render::bytes(report.bytes),
        render::duration(ms),
    ));
    exit
}
