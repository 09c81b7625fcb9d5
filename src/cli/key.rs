//! `dumpvault init` and `dumpvault key`: how new passphrases are asked for, and how slots are shown.

mod authors;

use super::args::{InitArgs, KeyCommand, NewKeyArgs, PasswdArgs};
use super::exit::Exit;
use super::render;
use super::report::CliError;
use super::table::Table;
use super::{Context, clean, prompt};
use crate::base::clock::Clock;
use crate::base::id::SlotId;
use crate::base::secret::Passphrase;
use crate::engine::app::{App, Opened, Reading, Vacancy};
use crate::engine::keyring::{
    PASSPHRASE_MIN, check_passphrase, check_remove, fresh_key_file, key_file_or_fresh, plan_remove,
    run_export, run_import, run_passwd, run_remove, slot_in_use, slots,
};
use crate::engine::report::{Id, KeyList, KeySlot, NewRepository, NewRepositoryPlan, Slot};
use crate::vault::Repository;
use crate::vault::crypto::Credential;
use std::io::ErrorKind;
use std::path::Path;
use zeroize::Zeroizing;

/// So often a person is asked for two passphrases that are the same, and long enough.
const ATTEMPTS: usize = 3;

pub(super) fn init(context: &Context, args: &InitArgs) -> Result<Exit, CliError> {
    if args.dry_run {
        return would_init(context);
    }
    let credential = of_new_repository(context, &context.app, args.force)?;
    let repo = context.app.init(&credential, &args.label, now_ms(context))?;
    if context.json {
        context.report(NewRepository::from(&repo));
    } else {
        context.say(&format!("created repository {} at {}", repo.id(), repo.location()));
        context.say(
            "keep a copy of the passphrase or key file on another machine: without it the data cannot be read",
        );
        recovery_sheet(context, &repo, &credential);
    }
    Ok(Exit::Good)
}

/// Says what `init` would make. Nothing is asked.
fn would_init(context: &Context) -> Result<Exit, CliError> {
    let Vacancy { location, key_file } = context.app.plan_init()?;
    let key_file = key_file.map(|path| path.display().to_string());
    if context.json {
        context.report(NewRepositoryPlan { dry_run: true, location, key_file });
        return Ok(Exit::Good);
    }
    if let Some(path) = key_file {
        context.output(&format!("would create key file {path}"));
    }
    context.output(&format!("would create a repository at {location}"));
    Ok(Exit::Good)
}

/// What a person needs who has nothing but the storage. It holds no secret.
fn recovery_sheet(context: &Context, repo: &Repository, credential: &Credential) {
    let key = match (credential, context.app.key_file_named()) {
        (Credential::Passphrase(_), _) => "passphrase: ______________________________".to_owned(),
        (_, Some(path)) => format!("a copy of key file {}", path.display()),
        (_, None) => "a copy of the key file".to_owned(),
    };
    let now = render::time(now_ms(context), &context.app.settings.calendar.zone);
    let address = repo.location().to_string();
    for line in [
        "",
        "Recovery sheet: print it, and keep it away from this machine",
        &format!("  repository  {address}"),
        &format!("  id          {}", repo.id()),
        &format!("  authority   {} (fingerprint)", repo.authority_fingerprint()),
        &format!("  created     {now} on {}", context.app.host()),
        &format!("  opens with  {key}"),
        &format!("  restore     dumpvault --repo {address} restore SERIES --output FILE"),
    ] {
        context.say(line);
    }
}

/// What will open the repository that is about to be made at `app`'s address. A key file that is named and not there is
/// made.
pub(super) fn of_new_repository(context: &Context, app: &App, force: bool) -> Result<Credential, CliError> {
    // That none can be made there is told before anything is asked or made.
    app.check_vacant()?;
    let credential = match app.key_file_named() {
        Some(path) if !path.exists() => {
            let made = fresh_key_file(&path, app.entropy())?;
            context.say(&format!("made key file {}", path.display()));
            made.credential
        }
        _ => {
            let found = app.credential(&|| {
                if prompt::is_answered_by_a_person() {
                    clean::tell("choose a passphrase, or press Enter for a generated one");
                }
                match ask_twice("New passphrase: ", force)? {
                    Ok(text) if text.is_empty() => generated(app),
                    answer => Some(answer),
                }
            })?;
            found.warnings.into_iter().for_each(|message| context.warn(message));
            found.credential
        }
    };
    check_length(context, &credential, force)?;
    Ok(credential)
}

pub(super) fn run(context: &Context, command: &KeyCommand) -> Result<Exit, CliError> {
    match command {
        KeyCommand::Add(args) => authors::add(context, args),
        KeyCommand::List => list(context),
        KeyCommand::Grant(args) => authors::grant(context, args),
        KeyCommand::Rotate(args) => authors::rotate(context, None, None, args),
        KeyCommand::Revoke { key, since, rotate } => {
            authors::rotate(context, Some(key.clone()), *since, rotate)
        }
        KeyCommand::Remove { id, force, dry_run } => remove(context, id, *force, *dry_run),
        KeyCommand::Passwd(args) => passwd(context, args),
        KeyCommand::Export { file } => export(context, file),
        KeyCommand::Import { file, dry_run } => import(context, file, *dry_run),
    }
}

fn now_ms(context: &Context) -> i64 {
    context.clock.now().as_millisecond()
}

/// Asks for a new passphrase, and again for the same. Who mistypes is asked once more.
fn ask_twice(question: &str, force: bool) -> Option<std::io::Result<String>> {
    for _ in 1..ATTEMPTS {
        match ask_pair(question)? {
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                clean::tell(&format!("{error}, try again"))
            }
            Ok(text) if !force && !text.is_empty() && text.chars().count() < PASSPHRASE_MIN => {
                clean::tell(&format!("a passphrase has at least {PASSPHRASE_MIN} characters, try again"));
            }
            answer => return Some(answer),
        }
    }
    ask_pair(question)
}

/// Letters and digits that nobody confuses: 32 of them, 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstvwxyz0123456789";

/// Shows a new passphrase of 125 bits, and asks for it until it is typed as it was shown.
fn generated(app: &App) -> Option<std::io::Result<String>> {
    let mut bytes = Zeroizing::new([0u8; 25]);
    if let Err(error) = app.entropy().fill(&mut *bytes) {
        return Some(Err(std::io::Error::other(error.to_string())));
    }
    let groups = bytes.chunks(5).map(|group| -> String {
        let letter = |byte: &u8| LETTERS.get(usize::from(byte & 31)).copied().unwrap_or(b'a');
        group.iter().map(|byte| char::from(letter(byte))).collect()
    });
    let text = groups.collect::<Vec<_>>().join("-");
    clean::tell(&format!("generated passphrase: {text}"));
    clean::tell("write it down and keep it away from this machine, then type it");
    for _ in 0..ATTEMPTS {
        match prompt::ask("Repeat passphrase: ")?.map(Zeroizing::new) {
            Ok(typed) if *typed == text => return Some(Ok(text)),
            Ok(_) => clean::tell("that is another one, try again"),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Err(std::io::Error::new(ErrorKind::InvalidInput, "passphrases do not match")))
}

fn ask_pair(question: &str) -> Option<std::io::Result<String>> {
    let first = match prompt::ask(question)? {
        Ok(first) => first,
        // Whoever gives up is not asked again.
        Err(error) => return Some(Err(error)),
    };
    // Asks for a generated one, or for nothing.
    if first.is_empty() {
        return Some(Ok(first));
    }
    let second = prompt::ask("Repeat passphrase: ")?.map(Zeroizing::new);
    Some(second.and_then(|second| match first == *second {
        true => Ok(first),
        false => {
            drop(Zeroizing::new(first));
            Err(std::io::Error::new(ErrorKind::InvalidInput, "passphrases do not match"))
        }
    }))
}

/// Refuses a passphrase that is guessed in no time, and warns of one that is short.
fn check_length(context: &Context, credential: &Credential, force: bool) -> Result<(), CliError> {
    if let Some(warning) = check_passphrase(credential, force)? {
        context.warn(warning);
    }
    Ok(())
}

fn new_credential(context: &Context, args: &NewKeyArgs) -> Result<Credential, CliError> {
    if let Some(path) = &args.new_key_file {
        let fresh = key_file_or_fresh(path, context.app.entropy())?;
        if fresh.is_exposed {
            context.warn(format!("key file `{}` is readable by other users", path.display()));
        }
        return Ok(fresh.credential);
    }
    let credential = match &args.new_password_file {
        Some(path) => {
            let found = App::passphrase_file(path)?;
            found.warnings.into_iter().for_each(|message| context.warn(message));
            found.credential
        }
        None => match ask_twice("new passphrase: ", args.force) {
            Some(Ok(text)) if text.is_empty() => return Err(CliError::usage("the new passphrase is empty")),
            Some(Ok(text)) => Credential::Passphrase(Passphrase::new(text)),
            Some(Err(error)) => return Err(CliError::usage(format!("new passphrase: {error}"))),
            None => {
                return Err(CliError::Usage {
                    message: "no new key given, and no terminal to ask".to_owned(),
                    hint: Some("use --new-password-file or --new-key-file".to_owned()),
                });
            }
        },
    };
    check_length(context, &credential, args.force)?;
    Ok(credential)
}

fn opened(context: &Context) -> Result<(Repository, Credential), CliError> {
    let Opened { repo, credential } = context.opened(Reading::Cached)?;
    Ok((repo, credential))
}

fn told(context: &Context, line: &str, id: &SlotId) -> Result<Exit, CliError> {
    if context.json {
        context.report(KeySlot { dry_run: false, id: Id::of(id) });
    } else {
        context.say(line);
    }
    Ok(Exit::Good)
}

/// Says what would become of a slot.
fn foretold(context: &Context, line: &str, id: &SlotId) -> Result<Exit, CliError> {
    if context.json {
        context.report(KeySlot { dry_run: true, id: Id::of(id) });
    } else {
        context.output(line);
    }
    Ok(Exit::Good)
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let (repo, credential) = opened(context)?;
    let report = KeyList::new(&repo, &slots(&repo, &credential)?);
    let exit = if report.is_damaged { Exit::Integrity } else { Exit::Good };
    if context.json {
        context.report(report);
        return Ok(exit);
    }
    let zone = &context.app.settings.calendar.zone;
    let id = |id: &Id, is_current: bool| format!("{}{}", id.short(), if is_current { " *" } else { "" });
    let row = |slot: &Slot| match slot {
        Slot::Readable(slot) => vec![
            id(&slot.id, slot.current),
            slot.kind.word().to_owned(),
            slot.role.clone(),
            render::time(slot.created.ms(), zone),
            slot.label.clone(),
        ],
        Slot::Unreadable(slot) => vec![id(&slot.id, slot.is_current), slot.error.clone()],
    };
    let rows: Vec<Vec<String>> = report.keys.iter().map(row).collect();
    let authors = authors::rows(&report.authors);
    context.table(&Table::new(&["KEY", "ROLE", "MAY", "NAME"], &[], &authors));
    context.output("");
    context.table(&Table::new(&["SLOT", "KIND", "ROLE", "MADE", "LABEL"], &[], &rows));
    context.say("* the slot that opened the repository; roles and labels of slots are what the slots say");
    Ok(exit)
}

fn remove(context: &Context, prefix: &str, force: bool, dry_run: bool) -> Result<Exit, CliError> {
    let (repo, credential) = opened(context)?;
    let plan = plan_remove(prefix, force, &repo, &credential)?;
    if dry_run {
        check_remove(&plan, &repo, &credential)?;
        return foretold(context, &format!("would remove key slot {}", plan.slot.short()), &plan.slot);
    }
    run_remove(&plan, &repo, &credential)?;
    let line = format!(
        "removed key slot {}; whoever copied it keeps access until `dumpvault key revoke`",
        plan.slot.short()
    );
    told(context, &line, &plan.slot)
}

fn passwd(context: &Context, args: &PasswdArgs) -> Result<Exit, CliError> {
    let (repo, old) = opened(context)?;
    if args.dry_run {
        let id = slot_in_use(&old, &repo)?;
        return foretold(context, &format!("would replace key slot {}", id.short()), &id);
    }
    let new = new_credential(context, &args.new)?;
    let id = run_passwd(&old, &new, &repo, &context.run())?;
    let line = format!(
        "changed; the slot is now {}. Whoever copied the old slot and knows its passphrase keeps access: only a new key and `dumpvault key revoke` of this one end that",
        id.short()
    );
    told(context, &line, &id)
}

fn export(context: &Context, file: &Path) -> Result<Exit, CliError> {
    let (repo, credential) = opened(context)?;
    let id = run_export(file, &repo, &credential)?;
    let line = format!(
        "wrote key {} to {}: it opens with the same passphrase or key file",
        id.short(),
        file.display()
    );
    told(context, &line, &id)
}

fn import(context: &Context, file: &Path, dry_run: bool) -> Result<Exit, CliError> {
    let storage = context.app.storage()?;
    let id = run_import(file, dry_run, storage.as_ref())?;
    if dry_run {
        return foretold(context, &format!("would put back key slot {}", id.short()), &id);
    }
    told(context, &format!("put back key {}", id.short()), &id)
}
