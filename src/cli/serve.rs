//! `dumpvault serve`, `user` and `token`.

use super::args::{RoleName, TokenArgs, TokenCommand, UserArgs, UserCommand};
use super::exit::Exit;
use super::report::CliError;
use super::schedule::{actor, machine, program, run_jobs};
use super::table::Table;
use super::{Context, clean, prompt, render};
use crate::base::clock::{Clock, SystemClock};
use crate::base::secret::OsEntropy;
use crate::base::setting::{Origin, Shown};
use crate::daemon::book::Note;
use crate::daemon::launch::new_id;
use crate::daemon::serve::{ServeError, ring};
use crate::daemon::state::State;
use crate::daemon::web::store::{Access, NewUser, Role, Token};
use crate::daemon::web::{
    Children, LENGTH_MIN, Passwords, Server, Site, TOKEN_PREFIX, Watcher, Web, hash, hex,
};
use crate::engine::app::Settings;
use crate::engine::report::{ListedToken, ListedUser, MadeToken, Time, TokenList, UserChanged, UserList};
use crate::settings::{Flags, age};
use std::io::BufRead;
use std::sync::Arc;
use zeroize::Zeroizing;

pub(super) fn run(context: &Context, flags: &Flags) -> Result<Exit, CliError> {
    let root = context.app.environment.state_root();
    let settings = &context.app.settings;
    let site = site(settings, &context.app.host());
    let children = Children::new(program(flags)?);
    let shared = (Arc::new(SystemClock) as _, Arc::new(OsEntropy) as _);
    let web = Arc::new(Web::new(root.clone(), machine(context), children, shared, site));
    let mut running: Option<(Server, Watcher)> = None;
    let users = Access::open(&root)?.users()?.len();
    let outcome = run_jobs(
        context,
        flags,
        &mut || {
            let io = |source| ServeError::Io { path: settings.serve.listen.to_string().into(), source };
            let server = Server::start(Arc::clone(&web)).map_err(io)?;
            clean::tell(&format!("dumpvault: listening on {}", server.address));
            if users == 0 {
                clean::tell("dumpvault: nobody may sign in yet: run `dumpvault user add NAME --role admin`");
            }
            running = Some((server, Watcher::start(Arc::clone(&web)).map_err(io)?));
            Ok(())
        },
        &mut |settings| web.configure(self::site(settings, &context.app.host())),
    );
    if let Some((server, watcher)) = running {
        server.stop();
        watcher.stop();
    }
    outcome
}

/// What pages show of the configuration.
fn site(settings: &Settings, host: &str) -> Site {
    let sources =
        settings.sources.iter().map(|(name, source)| (name.clone(), (source.series.clone(), String::new())));
    let systems = settings.systems.iter().map(|(name, system)| (name.clone(), system.sources.clone()));
    // What nobody set of a job is the same for all, and there may be thousands of jobs: it would be most of the idle
    // memory.
    let is_told = |shown: &&Shown| shown.origin != Origin::Default || !shown.setting.starts_with("job.");
    let shown = settings.shown.iter().filter(is_told).map(|shown| {
        let value = shown.value.as_ref().map_or_else(|| "(secret)".to_owned(), ToString::to_string);
        (shown.setting.clone(), value, shown.origin.to_string())
    });
    let repository = settings.repository.place.as_ref().map(|place| place.value.to_string());
    Site {
        jobs: settings.jobs.clone(),
        sources: sources.collect(),
        systems: systems.collect(),
        repository: repository.unwrap_or_else(|| "not configured".to_owned()),
        host: host.to_owned(),
        zone: settings.calendar.zone.clone(),
        serve: settings.serve.clone(),
        rules: rules(settings),
        copies: settings.copies.keys().cloned().collect(),
        settings: shown.collect(),
    }
}

/// What the rules keep, in words.
fn rules(settings: &Settings) -> Option<String> {
    let policy = settings
        .retention
        .as_ref()
        .or_else(|| settings.sources.values().find_map(|source| source.retention.as_ref()))?;
    Some(policy.words())
}

fn role(name: RoleName) -> Role {
    match name {
        RoleName::Viewer => Role::Viewer,
        RoleName::Operator => Role::Operator,
        RoleName::Admin => Role::Admin,
    }
}

fn access(context: &Context) -> Result<Access, CliError> {
    Ok(Access::open(&context.app.environment.state_root())?)
}

fn note(context: &Context, kind: &'static str, object: &str, text: String) -> Result<(), CliError> {
    let note = Note { kind, object: object.to_owned(), text };
    let root = context.app.environment.state_root();
    State::open(&root)?.note(&note, context.clock.now().as_millisecond(), &actor(context))?;
    // Whoever is told of users and tokens is told now.
    ring(&root);
    Ok(())
}

fn new_password(context: &Context, from_stdin: bool) -> Result<String, CliError> {
    let read = if from_stdin {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line).map_err(|error| CliError::usage(error.to_string()))?;
        Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned())
    } else {
        let nobody = || CliError::usage_hint("there is no terminal to ask for a password", "use --stdin");
        let ask = |question: &str| {
            let answer = prompt::ask(question).ok_or_else(nobody)?;
            answer.map(Zeroizing::new).map_err(|error| CliError::usage(error.to_string()))
        };
        let first = ask("Password: ")?;
        if *first != *ask("Repeat password: ")? {
            return Err(CliError::usage("the two are not the same"));
        }
        first
    };
    if read.chars().count() < LENGTH_MIN {
        return Err(CliError::usage(format!("the password is shorter than {LENGTH_MIN} characters")));
    }
    let hashed = Passwords::default().hash(&read, context.app.entropy());
    hashed.map_err(|error| CliError::usage(error.to_string()))
}

fn no_user(name: &str) -> CliError {
    CliError::usage_hint(format!("there is no user `{name}`"), "`dumpvault user list` lists them")
}

/// Says what would be changed.
fn would_change(context: &Context, name: &str, line: &str) -> Exit {
    if context.json {
        context.report(UserChanged { dry_run: true, name: name.to_owned() });
    } else {
        context.output(line);
    }
    Exit::Good
}

fn changed(context: &Context, name: &str, line: &str) -> Exit {
    if context.json {
        context.report(UserChanged { dry_run: false, name: name.to_owned() });
    } else {
        context.say(line);
    }
    Exit::Good
}

pub(super) fn user(context: &Context, args: &UserArgs) -> Result<Exit, CliError> {
    let now = context.clock.now().as_millisecond();
    match &args.command {
        UserCommand::Add { name, role: of, stdin } => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
                return Err(CliError::usage_hint(
                    format!("invalid name of a user `{name}`"),
                    "use up to 64 letters, digits, `.`, `_`, `-` and `@`",
                ));
            }
            let password = new_password(context, *stdin)?;
            let role = role(*of);
            if !access(context)?.add_user(&NewUser { name, role, password: &password }, now)? {
                return Err(CliError::usage_hint(
                    format!("there is a user `{name}` already"),
                    "`dumpvault user passwd` changes the password",
                ));
            }
            note(context, "user", name, format!("added, role {}", role.word()))?;
            Ok(changed(context, name, &format!("{name}: added, role {}", role.word())))
        }
        UserCommand::List => list_users(context, now),
        UserCommand::Remove { name, dry_run: true } => {
            let access = access(context)?;
            if access.user(name)?.is_none() {
                return Err(no_user(name));
            }
            let sessions = access.sessions(Some(name), now)?.len();
            let tokens = access.tokens()?.iter().filter(|token| token.creator == *name).count();
            let (sessions, tokens) = (render::count(sessions, "session"), render::count(tokens, "token"));
            Ok(would_change(context, name, &format!("would remove user `{name}`, {sessions} and {tokens}")))
        }
        UserCommand::Remove { name, dry_run: false } => {
            if !access(context)?.remove_user(name)? {
                return Err(no_user(name));
            }
            note(context, "user", name, "removed".to_owned())?;
            Ok(changed(context, name, &format!("{name}: removed")))
        }
        UserCommand::Passwd { name, stdin } => {
            if access(context)?.user(name)?.is_none() {
                return Err(no_user(name));
            }
            let password = new_password(context, *stdin)?;
            access(context)?.change_password(name, &password, None, now)?;
            note(context, "user", name, "password changed".to_owned())?;
            Ok(changed(context, name, &format!("{name}: password changed; all sessions ended")))
        }
    }
}

fn list_users(context: &Context, now: i64) -> Result<Exit, CliError> {
    let access = access(context)?;
    let sessions = access.sessions(None, now)?;
    let count = |name: &str| sessions.iter().filter(|session| session.user == name).count();
    let users: Vec<ListedUser> = access
        .users()?
        .into_iter()
        .map(|user| ListedUser {
            sessions: u64::try_from(count(&user.name)).unwrap_or(u64::MAX),
            role: user.role.word().to_owned(),
            created: Time::from_ms(user.created),
            name: user.name,
        })
        .collect();
    if context.json {
        context.report(UserList { users });
        return Ok(Exit::Good);
    }
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| vec![user.name.clone(), user.role.clone(), user.sessions.to_string()])
        .collect();
    context.table(&Table { fixed: &[0, 1], ..Table::new(&["NAME", "ROLE", "SESSIONS"], &[2], &rows) });
    Ok(Exit::Good)
}

pub(super) fn token(context: &Context, args: &TokenArgs) -> Result<Exit, CliError> {
    let now = context.clock.now();
    match &args.command {
        TokenCommand::Add { name, user, role: of, source, expires } => {
            if access(context)?.user(user)?.is_none() {
                return Err(no_user(user));
            }
            if let Some(unknown) =
                source.iter().find(|name| !context.app.settings.sources.contains_key(*name))
            {
                return Err(CliError::usage(format!("there is no `[source.{unknown}]`")));
            }
            let zone = &context.app.settings.calendar.zone;
            let expires = match expires.as_str() {
                "never" => None,
                text => {
                    // Backwards and forwards an age is as long but for months.
                    let long = now.duration_since(age(text, "--expires")?.before(now, zone));
                    Some(
                        now.as_millisecond()
                            .saturating_add(i64::try_from(long.as_millis()).unwrap_or(i64::MAX)),
                    )
                }
            };
            let secret = crate::base::secret::SecretKey::random(context.app.entropy())
                .map_err(|error| CliError::usage(error.to_string()))?;
            let secret = format!("{TOKEN_PREFIX}{}", hex(secret.expose()));
            let token = Token {
                id: new_id(context.app.entropy(), now.as_millisecond()).0,
                name: clean::line(name).chars().take(64).collect(),
                role: role(*of),
                creator: user.clone(),
                sources: source.clone(),
                created: now.as_millisecond(),
                expires,
                used: None,
            };
            access(context)?.add_token(&hash(&secret), &token)?;
            note(
                context,
                "token",
                &token.id,
                format!("made for {}, role {}", token.name, token.role.word()),
            )?;
            if context.json {
                context.report(MadeToken { id: token.id, token: secret });
            } else {
                context.output(&secret);
            }
            Ok(Exit::Good)
        }
        TokenCommand::List => list_tokens(context),
        TokenCommand::Remove { id, dry_run } => {
            let no_token = || {
                let message = format!("there is no token `{id}`");
                CliError::usage_hint(message, "`dumpvault token list` lists them")
            };
            if *dry_run {
                let tokens = access(context)?.tokens()?;
                let token = tokens.iter().find(|token| token.id == *id).ok_or_else(no_token)?;
                let line = format!("would remove token {id}, for {} of user `{}`", token.name, token.creator);
                return Ok(would_change(context, id, &line));
            }
            if !access(context)?.remove_token(id)? {
                return Err(no_token());
            }
            note(context, "token", id, "removed".to_owned())?;
            Ok(changed(context, id, &format!("{id}: removed")))
        }
    }
}

fn list_tokens(context: &Context) -> Result<Exit, CliError> {
    let tokens = access(context)?.tokens()?;
    let zone = &context.app.settings.calendar.zone;
    let when = |at: Option<i64>, none: &str| at.map_or_else(|| none.to_owned(), |at| render::time(at, zone));
    if context.json {
        let tokens = tokens.into_iter().map(|token| ListedToken {
            id: token.id,
            name: token.name,
            role: token.role.word().to_owned(),
            creator: token.creator,
            sources: token.sources,
            expires: token.expires.map(Time::from_ms),
            used: token.used.map(Time::from_ms),
        });
        context.report(TokenList { tokens: tokens.collect() });
        return Ok(Exit::Good);
    }
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| {
            vec![
                token.id.clone(),
                token.name.clone(),
                token.role.word().to_owned(),
                token.creator.clone(),
                when(token.expires, "never"),
                when(token.used, "never"),
            ]
        })
        .collect();
    let titles = ["ID", "FOR", "ROLE", "USER", "EXPIRES", "USED"];
    context.table(&Table { fixed: &[0], ..Table::new(&titles, &[], &rows) });
    Ok(Exit::Good)
}
