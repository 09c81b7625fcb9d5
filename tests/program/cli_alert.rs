//! Alerts by a real scheduler: over mail with TLS, webhooks, pings and commands, to receivers that are down, slow, or
//! refuse.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use crate::support::cli::{HANGS, Running, Vault, exit, may_mount, noise};
use crate::support::receivers::{Answer, Http, Mode, Request, Smtp, certificate, file};
use ring::hmac;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// Unmistakable where it must not turn up.
const CANARY: &str = "canary-7f3a";

fn with_config(toml: &str) -> Vault {
    let vault = Vault::new();
    fs::write(vault.work().join("dumpvault.toml"), toml).unwrap();
    vault
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < HANGS, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn daemon(vault: &Vault) -> Running {
    let running = Running::start(vault.command(["schedule", "daemon"]));
    wait("the scheduler runs", || {
        let listed = vault.run(["schedule", "list", "--json"]).expect(exit::OK).json();
        listed["running"].as_bool().filter(|running| *running)
    });
    running
}

fn stop(daemon: Running) {
    daemon.signal(Signal::TERM);
    daemon.wait().expect(exit::OK);
}

fn alerts(vault: &Vault) -> Value {
    vault.run(["alert", "list", "--json"]).expect_one_of(&[exit::OK, exit::PART_FAILED]).json()
}

/// Requests of an event, once there are so many.
fn told(http: &Http, event: &str, count: usize) -> Vec<Request> {
    wait(event, || {
        let found: Vec<Request> =
            http.requests().into_iter().filter(|request| request.json()["event"] == event).collect();
        (found.len() >= count).then_some(found)
    })
}

/// A job that fails until the file `good` is there.
const JOB: &str = "[source.app]\ncommand = [\"sh\", \"-c\", \"test -e good && echo dump || { echo password=canary-7f3a >&2; exit 1; }\"]\n\
    [job.nightly]\nsources = [\"app\"]\ncron = \"@yearly\"\nretry = { attempts = 1 }\n[schedule]\ngroup_alerts = \"1s\"\nspace_below = 0\n";

#[test]
fn given_a_job_that_fails_and_is_good_again_then_mail_and_webhook_tell_both_once_and_signed() {
    let (tls, pem) = certificate();
    let (smtp, http) = (Smtp::start(Mode::StartTls(tls.clone())), Http::start(Some(tls)));
    let vault = with_config("");
    let ca = file(vault.home(), "ca.pem", &pem);
    let key = file(vault.home(), "hook.key", "signing-key-canary-7f3a\n");
    let password = file(vault.home(), "smtp", &format!("mail-{CANARY}\n"));
    let toml = format!(
        "{JOB}[alert.mail]\nkind = \"email\"\nhost = \"localhost\"\nport = {}\nca_file = {ca:?}\nuser = \"backup\"\n\
         password_file = {password:?}\nfrom = \"Backups <backup@example.org>\"\nto = [\"ops@example.org\", \"dba@example.org\"]\n\
         [alert.hook]\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = {key:?}\nca_file = {ca:?}\n",
        smtp.port,
        http.url(&format!("/T0/{CANARY}")),
    );
    fs::write(vault.work().join("dumpvault.toml"), toml).unwrap();
    let daemon = daemon(&vault);
    vault.run(["schedule", "trigger", "nightly"]).expect(exit::OK);
    let request = told(&http, "failing", 1).remove(0);
    let said = request.json();
    assert_eq!((&said["version"], &said["condition"]), (&1.into(), &"failure".into()), "{said}");
    assert_eq!(said["items"][0]["subject"], "nightly");
    assert!(said["items"][0]["text"].as_str().unwrap().contains("nothing was stored"), "{said}");
    assert_eq!(said["id"].as_str().unwrap(), request.headers["x-dumpvault-delivery"]);
    let signature = &request.headers["x-dumpvault-signature"];
    let (time, tag) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"signing-key-canary-7f3a");
    let expected = hmac::sign(&key, format!("{time}.{}", request.body).as_bytes());
    let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(tag, expected);

    let mail = wait("the mail", || smtp.mails().into_iter().next());
    assert!(mail.was_encrypted && mail.login.is_some() && mail.to.len() == 2, "{mail:?}");
    assert!(mail.text.contains("Subject: ") && mail.text.contains("nightly"), "{}", mail.text);
    assert!(mail.text.contains("References: <alert-") && mail.text.contains("text/html"), "{}", mail.text);

    // Listed while it is so, and not told again by another failure.
    vault.run(["schedule", "trigger", "nightly"]).expect_one_of(&[exit::OK, exit::CONFLICT]);
    wait("it counts", || (alerts(&vault)["alerts"][0]["count"] == 2).then_some(()));
    fs::write(vault.work().join("good"), "").unwrap();
    vault.run(["schedule", "trigger", "nightly"]).expect_one_of(&[exit::OK, exit::CONFLICT]);
    told(&http, "recovered", 1);
    wait("the second mail", || (smtp.mails().len() == 2).then_some(()));
    stop(daemon);
    let events: Vec<String> = http.requests().iter().map(|one| one.json()["event"].to_string()).collect();
    assert_eq!(events, ["\"failing\"", "\"recovered\""]);
    assert_eq!(smtp.mails().len(), 2);
    assert_eq!(
        vault.run(["alert", "list", "--json"]).expect(exit::OK).json()["alerts"],
        Value::Array(Vec::new())
    );

    // No secret is in what was told, listed, or written down.
    let sent: String = http
        .requests()
        .iter()
        .map(|one| one.body.clone())
        .chain(smtp.mails().into_iter().map(|mail| mail.text))
        .collect();
    assert!(!sent.contains(CANARY), "{sent}");
    let shown = vault.run(["config", "show", "--json"]).expect(exit::OK).text();
    assert!(!shown.contains(CANARY) && shown.contains("https://localhost"), "{shown}");
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    for sql in [
        "SELECT group_concat(body || coalesce(error, '')) FROM delivery",
        "SELECT group_concat(coalesce(detail, '')) FROM audit",
    ] {
        let text: Option<String> = db.query_row(sql, [], |row| row.get(0)).unwrap();
        assert!(!text.unwrap_or_default().contains(CANARY), "{sql}");
    }
}

#[test]
fn given_a_receiver_that_fails_then_the_message_comes_later_with_the_same_id_and_no_run_fails_for_it() {
    let http = Http::start(None);
    http.script([Answer::Status(500, ""), Answer::Silence(Duration::from_secs(2)), Answer::Status(429, "")]);
    let vault = with_config(&format!(
        "{JOB}[alert.hook]\nkind = \"webhook\"\nurl = \"{}\"\ntimeout = \"1s\"\n",
        http.url("/hook")
    ));
    let daemon = daemon(&vault);
    vault.run(["schedule", "trigger", "nightly"]).expect(exit::OK);
    // Attempts are a minute and more apart: what waits is made due, as if time had passed.
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    let all = wait("four attempts", || {
        db.execute("UPDATE delivery SET due = 0 WHERE result = 'pending'", []).unwrap();
        // The scheduler looks at what others wrote when somebody rings.
        vault.run(["schedule", "resume", "nightly"]).expect(exit::OK);
        let all = http.requests();
        (all.len() >= 4).then_some(all)
    });
    let ids: Vec<&String> = all.iter().map(|request| &request.headers["x-dumpvault-delivery"]).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    wait("it is sent", || {
        let sent: i64 = db
            .query_row("SELECT count(*) FROM delivery WHERE result = 'sent'", [], |row| row.get(0))
            .unwrap();
        (sent == 1).then_some(())
    });
    let attempts: i64 = db.query_row("SELECT attempts FROM delivery", [], |row| row.get(0)).unwrap();
    assert_eq!(attempts, 4);
    stop(daemon);
}

#[test]
fn given_pings_then_each_run_tells_its_start_and_how_it_ended() {
    let http = Http::start(None);
    let vault = with_config(&format!(
        "{JOB}[job.other]\ncommand = \"true\"\ncron = \"@yearly\"\n\
         [alert.dead-man]\nkind = \"ping\"\nurl = \"{}\"\njobs = [\"nightly\"]\n",
        http.url("/ping/abc")
    ));
    let daemon = daemon(&vault);
    // A channel hears of what comes after it was first seen.
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    wait("the channel is known", || {
        let known: i64 = db.query_row("SELECT count(*) FROM channel", [], |row| row.get(0)).unwrap();
        (known == 1).then_some(())
    });
    vault.run(["schedule", "trigger", "other"]).expect(exit::OK);
    vault.run(["schedule", "trigger", "nightly"]).expect(exit::OK);
    wait("start and failure", || (http.requests().len() == 2).then_some(()));
    fs::write(vault.work().join("good"), "").unwrap();
    wait("the job is free", || {
        (vault.run(["schedule", "trigger", "nightly"]).code == Some(exit::OK)).then_some(())
    });
    wait("start and success", || (http.requests().len() == 4).then_some(()));
    stop(daemon);
    let paths: Vec<String> =
        http.requests().iter().map(|request| request.path.split('?').next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["/ping/abc/start", "/ping/abc/fail", "/ping/abc/start", "/ping/abc"]);
    let runs: Vec<String> = http
        .requests()
        .iter()
        .map(|request| request.path.split_once("?rid=").unwrap().1.to_owned())
        .collect();
    assert!(runs[0] == runs[1] && runs[2] == runs[3] && runs[0] != runs[2], "{runs:?}");
    assert!(http.requests()[1].body.contains("exit code 2"), "{:?}", http.requests()[1]);
}

#[test]
fn given_every_kind_of_channel_then_a_test_says_whether_it_works_and_nothing_of_its_secret() {
    let http = Http::start(None);
    let (tls, pem) = certificate();
    let mail = Smtp::start(Mode::Implicit(tls.clone()));
    let clear = Smtp::start(Mode::Plain);
    let secure = Http::start(Some(tls));
    let vault = Vault::new();
    let ca = file(vault.home(), "ca.pem", &pem);
    let token = file(vault.home(), "token", &format!("{CANARY}\n"));
    let hook = |name: &str, more: &str| {
        format!("[alert.{name}]\nkind = \"webhook\"\nurl = \"{}\"\n{more}\n", http.url(&format!("/{name}")))
    };
    let mut toml = String::new();
    for preset in ["slack", "discord", "teams", "mattermost", "plain"] {
        toml += &hook(preset, &format!("preset = \"{preset}\""));
    }
    toml += &hook("ntfy", &format!("preset = \"ntfy\"\ntoken_file = {token:?}"));
    toml += &hook("telegram", &format!("preset = \"telegram\"\ntoken_file = {token:?}\nchat = \"-100\""));
    toml += &hook("local", "").replace("localhost", "169.254.169.254");
    toml += &format!("[alert.down]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/{CANARY}\"\n");
    toml +=
        &format!("[alert.secure]\nkind = \"webhook\"\nurl = \"{}\"\nca_file = {ca:?}\n", secure.url("/x"));
    toml +=
        &format!("[alert.unknown]\nkind = \"webhook\"\nurl = \"{}\"\n", secure.url(&format!("/{CANARY}")));
    let email = |name: &str, port: u16, more: &str| {
        format!(
            "[alert.{name}]\nkind = \"email\"\nhost = \"localhost\"\nport = {port}\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n{more}\n"
        )
    };
    toml += &email("mail", mail.port, &format!("tls = \"implicit\"\nca_file = {ca:?}"));
    toml += &email("clear", clear.port, "tls = \"none\"");
    toml += &email("stripped", clear.port, "");
    toml += "[alert.program]\nkind = \"command\"\ncommand = \"cat > told; env > told.env; false\"\n";
    toml += "[alert.slow]\nkind = \"command\"\ncommand = \"sleep 1000\"\ntimeout = \"1s\"\n";
    fs::write(vault.work().join("dumpvault.toml"), toml).unwrap();

    for name in
        ["slack", "discord", "teams", "mattermost", "plain", "ntfy", "telegram", "secure", "mail", "clear"]
    {
        vault.run(["alert", "test", name, "--json"]).expect(exit::OK);
    }
    let by_path =
        |path: &str| http.requests().into_iter().find(|request| request.path.starts_with(path)).unwrap();
    assert!(by_path("/slack").json()["text"].as_str().unwrap().contains("nothing is wrong"));
    assert!(by_path("/mattermost").json()["text"].is_string());
    assert_eq!(by_path("/discord").json()["allowed_mentions"]["parse"], Value::Array(Vec::new()));
    let card = &by_path("/teams").json()["attachments"][0];
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(by_path("/plain").json()["event"], "test");
    let ntfy = by_path("/ntfy");
    assert_eq!(
        (&*ntfy.headers["authorization"], &*ntfy.headers["priority"]),
        (&*format!("Bearer {CANARY}"), "3")
    );
    let telegram = by_path(&format!("/telegram/bot{CANARY}/sendMessage"));
    assert_eq!(telegram.json()["chat_id"], "-100");
    assert!(mail.mails()[0].was_encrypted && !clear.mails()[0].was_encrypted);

    for (name, why) in [
        ("down", "http://127.0.0.1:1"),
        ("local", "link-local"),
        ("unknown", "https://localhost"),
        ("stripped", "mail server localhost"),
        ("program", "the command failed"),
        ("slow", "exceeded 1s and was stopped"),
    ] {
        vault.run(["alert", "test", name]).expect(exit::TARGET).says(why).does_not_say(CANARY);
    }
    assert_eq!(clear.mails().len(), 1, "nothing is sent to a server that has no TLS");
    assert_eq!(secure.requests().len(), 1, "nor to one whose certificate nobody trusts");
    http.script([
        Answer::Status(302, "location: /elsewhere\r\n"),
        Answer::Status(404, ""),
        Answer::Status(503, ""),
    ]);
    vault.run(["alert", "test", "plain"]).expect(exit::TARGET).says("redirects are not followed");
    vault.run(["alert", "test", "plain"]).expect(exit::TARGET).says("answered 404");
    vault.run(["alert", "test", "plain"]).expect(exit::TARGET).says("answered 503");
    assert!(!http.requests().iter().any(|request| request.path == "/elsewhere"));
    let told: Value = serde_json::from_slice(&fs::read(vault.work().join("told")).unwrap()).unwrap();
    assert_eq!(told["event"], "test");
    let env = fs::read_to_string(vault.work().join("told.env")).unwrap();
    assert!(!env.contains("DUMPVAULT_KEY_FILE"), "{env}");
    vault.run(["alert", "test", "slak"]).expect(exit::USAGE).says("did you mean `slack`?");
}

#[test]
fn given_alerts_that_are_wrong_then_the_check_names_each_with_its_line_and_no_secret() {
    let vault = with_config(&format!(
        "[alert.a]\nkind = \"mail\"\n\
         [alert.b]\nkind = \"email\"\nhost = \"h\"\nurl = \"https://x/{CANARY}\"\non = [\"failur\"]\n\
         [alert.c]\nkind = \"webhook\"\nurl = \"ftp://x/{CANARY}\"\n\
         [alert.d]\nkind = \"email\"\nhost = \"h\"\nfrom = \"a@b\"\nto = [\"c@d\"]\ntls = \"none\"\nuser = \"u\"\npassword_file = \"/x\"\n\
         [alert.e]\nkind = \"ping\"\nurl = \"https://x/\"\njobs = [\"none\"]\n\
         [alert.f]\nurl = \"https://x/\"\n\
         [watch.g]\n"
    ));
    let said = vault.run(["config", "check"]).expect(exit::USAGE).stderr;
    for wanted in [
        "alert.a.kind: invalid value `mail`",
        "hint: did you mean `email`?",
        "alert.b.on: invalid value `failur`",
        "alert.b.url: an alert of kind email has no `url`",
        "alert.b: an alert of kind email needs `from`",
        "alert.c.url: not the address of a webhook",
        "alert.d: a password is not sent in the clear",
        "alert.e.jobs: there is no `[job.none]`",
        "alert.f: `kind` is missing",
        "watch.g: `max_age` is missing",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in:\n{said}");
    }
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn given_an_acknowledgement_then_it_is_listed_with_its_note_and_in_the_audit_log() {
    let vault = with_config("[source.bad]\ncommand = [\"false\"]\n");
    vault.run(["backup", "bad"]).expect(exit::NOTHING_DONE);
    let listed = alerts(&vault);
    assert_eq!(
        listed["alerts"][0]["subject"], "series bad",
        "a run of cron's or a person's is told, too: {listed}"
    );
    vault.run(["alert", "ack", "series god"]).expect(exit::USAGE).says("nothing is wrong with");
    vault.run(["alert", "ack", "series bad", "--note", "known", "--json"]).expect(exit::OK);
    let listed = alerts(&vault);
    assert_eq!(listed["alerts"][0]["note"], "known");
    let log = vault.run(["audit", "list", "--json"]).expect(exit::OK).text();
    assert!(log.contains("acknowledged: known"), "{log}");
    vault.run(["alert", "list"]).expect(exit::PART_FAILED).says("nobody is told");
}

#[test]
fn given_whatever_keeps_backups_from_running_then_each_is_told_with_its_cause() {
    let http = Http::start(None);
    let vault = with_config("");
    let other = Vault::new();
    let toml = format!(
        "[source.app]\ncommand = [\"echo\", \"a dump\"]\n[source.gone]\ncommand = [\"/no/such/program\"]\n\
         [job.app]\nsources = [\"app\"]\ncron = \"@yearly\"\nretry = {{ attempts = 1 }}\n\
         [job.gone]\nsources = [\"gone\"]\ncron = \"@yearly\"\nretry = {{ attempts = 1 }}\n\
         [job.often]\ncommand = \"true\"\nevery = \"1s\"\n\
         [schedule]\ngroup_alerts = \"1s\"\nspace_below = 0\n\
         [alert.hook]\nkind = \"webhook\"\nurl = \"{}\"\n",
        http.url("/x"),
    );
    fs::write(vault.work().join("dumpvault.toml"), toml).unwrap();
    let daemon = daemon(&vault);
    let said = |job: &str, words: &str| {
        vault.run(["schedule", "trigger", job]).expect(exit::OK);
        wait(words, || {
            let all = http.requests();
            let items = all.iter().flat_map(|one| one.json()["items"].as_array().unwrap().clone());
            items
                .into_iter()
                .find(|item| item["subject"] == job && item["text"].as_str().unwrap().contains(words))
        });
    };
    let good = |job: &str, count: usize| {
        vault.run(["schedule", "trigger", job]).expect(exit::OK);
        told(&http, "recovered", count);
    };
    said("gone", "/no/such/program");
    let away = vault.home().join("away");
    fs::rename(vault.repo(), &away).unwrap();
    said("app", "exit code 10");
    fs::rename(&away, vault.repo()).unwrap();
    good("app", 1);
    let key = fs::read(vault.key_file()).unwrap();
    fs::copy(other.key_file(), vault.key_file()).unwrap();
    said("app", "exit code 12");
    fs::write(vault.key_file(), key).unwrap();
    good("app", 2);
    // A state that cannot be written is told without it.
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    wait("the state", || {
        http.requests().iter().any(|one| one.json()["condition"] == "storage").then_some(())
    });
    db.execute_batch("ROLLBACK").unwrap();
    stop(daemon);
}

#[test]
fn given_an_alert_of_several_lines_and_many_messages_then_the_list_has_a_row_for_it_and_counts_all() {
    let vault = with_config("[alert.ops]\nkind = \"command\"\ncommand = \"true\"\n");
    vault.run(["alert", "list"]).expect(exit::OK);
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.execute_batch(
        "INSERT INTO alert(condition, subject, cause, since, count, text)
             VALUES ('failure', 'app', 'x', 1, 1, 'it failed:' || char(10) || '  no route' || char(10) || 'to host');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO delivery(id, channel, event, made, due, attempts, result, body)
             SELECT i, 'ops', 'failing', i, i, 0, 'pending', '{}' FROM n;",
    )
    .unwrap();
    let listed = vault.run(["alert", "list"]).expect(exit::PART_FAILED).text();
    assert!(listed.contains("it failed:; no route; to host") && listed.contains("1500"), "{listed}");
    assert!(!listed.contains('?'), "{listed}");
}

#[test]
fn given_a_pause_that_ends_by_itself_then_that_is_told_and_one_that_somebody_ends_is_not() {
    let http = Http::start(None);
    let vault = with_config(&format!(
        "{JOB}[job.other]\ncommand = \"true\"\ncron = \"@yearly\"\n\
         [alert.hook]\nkind = \"webhook\"\nurl = \"{}\"\n",
        http.url("/x")
    ));
    let daemon = daemon(&vault);
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    wait("the channel is known", || {
        let known: i64 = db.query_row("SELECT count(*) FROM channel", [], |row| row.get(0)).unwrap();
        (known == 1).then_some(())
    });
    vault.run(["schedule", "pause", "other", "--for", "1d"]).expect(exit::OK);
    vault.run(["schedule", "resume", "other"]).expect(exit::OK);
    vault.run(["schedule", "pause", "nightly", "--for", "1d"]).expect(exit::OK);
    // A day passes.
    db.execute("UPDATE job_state SET paused_until = 1 WHERE job = 'nightly'", []).unwrap();
    vault.run(["schedule", "resume", "other"]).expect(exit::OK);
    let message = told(&http, "resumed", 1).remove(0).json();
    let item = &message["items"][0];
    assert_eq!((&message["condition"], &item["subject"]), (&"recovery".into(), &"nightly".into()));
    assert!(item["text"].as_str().unwrap().contains("the pause is over"), "{message}");
    vault.run(["schedule", "trigger", "nightly"]).expect(exit::OK);
    told(&http, "failing", 1);
    stop(daemon);
    assert_eq!(told(&http, "resumed", 1).len(), 1);
    let log = vault.run(["audit", "list", "--json"]).expect(exit::OK).text();
    assert!(log.contains("the pause is over"), "{log}");
}

#[test]
fn given_a_disk_that_fills_in_the_middle_of_a_run_then_that_is_told_with_its_cause_and_its_end_too() {
    let http = Http::start(None);
    let vault = with_config(&format!(
        "[source.app]\ncommand = [\"cat\", \"dump\"]\n\
         [job.nightly]\nsources = [\"app\"]\ncron = \"@yearly\"\nretry = {{ attempts = 1 }}\n\
         [schedule]\ngroup_alerts = \"1s\"\nspace_below = 0\n[alert.hook]\nkind = \"webhook\"\nurl = \"{}\"\n",
        http.url("/x")
    ));
    let disk = vault.home().join("disk");
    fs::create_dir(&disk).unwrap();
    let (script, words, why) = match may_mount(&vault) {
        // The scheduler's own mount: the file system is gone with it, whatever happens.
        Some(words) => {
            let script = format!(
                "set -e; mount -t tmpfs -o size=24m,mode=700 tmpfs '{disk}'; cp -a '{repo}/.' '{disk}'
                 mount --bind '{disk}' '{repo}'; exec \"$dumpvault\" schedule daemon",
                disk = disk.display(),
                repo = vault.repo().display()
            );
            (script, format!("exec unshare {words} sh -c \"$script\""), "no space left")
        }
        None => {
            eprintln!("this user may not mount: a limit on file sizes stands for the full disk");
            let script = "trap '' XFSZ; ulimit -f 16384; exec \"$dumpvault\" schedule daemon".to_owned();
            (script, "exec sh -c \"$script\"".to_owned(), "large")
        }
    };
    fs::write(vault.work().join("dump"), noise(7, 50_000_000)).unwrap();
    let mut command = vault.shell(&words);
    command.env("script", script);
    let daemon = Running::start(command);
    wait("the scheduler runs", || {
        let listed = vault.run(["schedule", "list", "--json"]).expect(exit::OK).json();
        listed["running"].as_bool().filter(|running| *running)
    });
    vault.run(["schedule", "trigger", "nightly"]).expect(exit::OK);
    let message = told(&http, "failing", 1).remove(0).json();
    let item = &message["items"][0];
    assert_eq!((&message["condition"], &item["subject"]), (&"failure".into(), &"nightly".into()));
    assert!(item["text"].as_str().unwrap().to_lowercase().contains(why), "{message}");
    // What the broken run left behind is in nobody's way.
    fs::write(vault.work().join("dump"), noise(8, 1_000_000)).unwrap();
    vault.run(["schedule", "trigger", "nightly"]).expect(exit::OK);
    told(&http, "recovered", 1);
    let history = vault.run(["history", "list", "--json"]).expect(exit::OK).json();
    let statuses: Vec<&Value> =
        history["backups"].as_array().unwrap().iter().map(|backup| &backup["status"]).collect();
    assert_eq!(statuses, ["COMPLETED", "FAILED"]);
    stop(daemon);
}
