//! The page and the API: a real service, and requests as browsers, programs and enemies send them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{HANGS, Running, Vault, exit, noise, text};
use crate::support::http::{Answer, Client, form, over, raw};
use crate::support::receivers::Http;
use dumpvault::daemon::web::store::Role;
use dumpvault::daemon::web::{Access, routes};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PASSWORD: &str = "correct horse battery";
const CANARY: &str = "xyzzy-canary-secret";

/// A service with users of all roles.
struct Service {
    vault: Vault,
    running: Option<Running>,
    client: Client,
}

fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < HANGS, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn user(vault: &Vault, name: &str) {
    let words = ["user", "add", name, "--role", name, "--stdin"];
    vault.run_with(words, format!("{PASSWORD}\n").as_bytes()).expect(exit::OK);
}

impl Service {
    fn start(toml: &str, serve: &str) -> Self {
        Self::of(Vault::new(), toml, serve)
    }

    fn of(vault: Vault, toml: &str, serve: &str) -> Self {
        for role in Role::ALL {
            user(&vault, role.word());
        }
        Self::without_users(vault, toml, serve)
    }

    fn without_users(vault: Vault, toml: &str, serve: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let serve = serve.replace("PORT", &port.to_string());
        let file = format!("{toml}\n[serve]\nlisten = \"127.0.0.1:{port}\"\n{serve}\n");
        fs::write(vault.work().join("dumpvault.toml"), file).unwrap();
        let running = Running::start(vault.command(["serve"]));
        wait("the service listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { vault, running: Some(running), client: Client::new(port) }
    }

    fn token(&self, role: &str, more: &[&str]) -> String {
        let words = ["token", "add", "test", "--user", "admin", "--role", role];
        let words: Vec<&str> = words.into_iter().chain(more.iter().copied()).collect();
        self.vault.run(words).expect(exit::OK).text().trim().to_owned()
    }

    fn of_role(&self, role: &str) -> Client {
        self.client.with_token(&self.token(role, &[]))
    }

    fn sql(&self, file: &str, sql: &str) {
        let db = rusqlite::Connection::open(self.vault.state().join("dumpvault").join(file)).unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        db.execute(sql, []).unwrap();
    }

    /// Waits until the service knows a snapshot of the repository.
    fn knows(&self, client: &Client, count: usize) -> Vec<Value> {
        wait("the repository was asked", || {
            let all =
                client.get("/api/v1/snapshots").expect(200).json()["snapshots"].as_array().unwrap().clone();
            (all.len() == count).then_some(all)
        })
    }

    fn stop(mut self) -> Vault {
        let running = self.running.take().unwrap();
        running.signal(Signal::TERM);
        running.wait().expect(exit::OK);
        self.vault
    }
}

const SOURCES: &str = r#"
[source.app]
command = ["cat", "dump"]
[source.other]
command = ["cat", "dump"]
[job.nightly]
sources = ["app"]
cron = "@yearly"
[job.others]
sources = ["other"]
cron = "@yearly"
"#;

fn with_dump(serve: &str) -> Service {
    let vault = Vault::new();
    fs::write(vault.work().join("dump"), noise(1, 300_000)).unwrap();
    Service::of(vault, SOURCES, serve)
}

fn backed_up(client: &Client, source: &str) -> Value {
    let run =
        client.call("POST", "/api/v1/admin/backup/trigger", &json!({"source": source})).expect(202).json();
    let path = format!("/api/v1/runs/{}", text(&run, "id"));
    wait("the backup ends", || {
        let run = client.get(&path).expect(200).json();
        match run["status"].as_str().unwrap() {
            "COMPLETED" => Some(run),
            "FAILED" => panic!("{run}"),
            _ => None,
        }
    })
}

/// What a path's `{}` is filled with: nothing that is there.
fn path_of(pattern: &str) -> String {
    let parts: Vec<&str> =
        pattern.split('/').map(|part| if part.starts_with('{') { "nothing" } else { part }).collect();
    parts.join("/")
}

#[test]
fn given_each_route_when_walked_by_whoever_may_not_then_it_is_refused_and_by_whoever_may_it_is_not() {
    let service = with_dump("");
    let by_role: Vec<(Role, Client)> =
        Role::ALL.into_iter().map(|role| (role, service.of_role(role.word()))).collect();
    let expired = service.of_role("admin");
    service.sql("access.sqlite", "UPDATE token SET expires = 1 WHERE used IS NULL AND role = 'admin'");
    let admin = service.of_role("admin");
    let by_role: Vec<(Role, Client)> = by_role
        .into_iter()
        .map(|(role, own)| (role, if role == Role::Admin { admin.clone() } else { own }))
        .collect();
    let scoped = service.client.with_token(&service.token("admin", &["--source", "other"]));
    let ended = service.client.sign_in("admin", PASSWORD);
    service.sql("access.sqlite", "UPDATE session SET seen = 1");
    let foreign = service.client.with_token("dv_0000");
    let mut walked = 0;
    for route in routes() {
        let path = path_of(route.path);
        let ask = |client: &Client| client.send(route.method, &path, &[], b"").status;
        let name = format!("{} {path}", route.method);
        walked += 1;
        let (Access::Of(needed) | Access::Proved(needed)) = route.access else {
            let open = ["/assets/nothing", "/healthz", "/favicon.ico", "/login"];
            assert!(open.contains(&path.as_str()), "{name} is open to everybody");
            continue;
        };
        let is_page = route.method == "GET" && !path.starts_with("/api/");
        for (who, client) in [("nobody", &service.client), ("an ended session", &ended)] {
            let answer = client.send(route.method, &path, &[], b"");
            let is_sent_away =
                answer.status == 303 && answer.header("location").unwrap().starts_with("/login?next=");
            assert!(
                if is_page { is_sent_away } else { answer.status == 401 },
                "{name} by {who}: {}",
                answer.status
            );
        }
        for (who, client) in [("an expired token", &expired), ("an unknown token", &foreign)] {
            let status = ask(client);
            assert!(status == 401 || is_page && status == 303, "{name} by {who}: {status}");
        }
        for (role, client) in by_role.iter().filter(|(role, _)| *role < needed) {
            assert_eq!(ask(client), 403, "{name} by {}", role.word());
        }
        if !route.scoped {
            assert_eq!(ask(&scoped), 403, "{name} by a token of another source");
        }
        // Signing out and starting things would change what comes later.
        if route.method == "GET" && !path.ends_with("/events") {
            let status = ask(&by_role.iter().find(|(role, _)| *role == needed).unwrap().1);
            assert!(![401, 403].contains(&status), "{name} by {}: {status}", needed.word());
        }
    }
    assert!(walked > 70, "{walked}");
    assert_eq!(service.client.get("/nothing").status, 303, "nobody learns what there is");
    assert_eq!(service.client.get("/api/v1/nothing").status, 401);
    service.stop();
}

#[test]
fn given_no_users_then_nothing_answers_and_the_page_says_what_to_do() {
    let service = Service::without_users(Vault::new(), "", "");
    let page = service.client.get("/").expect(503).text();
    assert!(page.contains("dumpvault user add NAME --role admin"));
    assert_eq!(service.client.get("/api/v1/jobs").expect(503).json()["code"], "no_users");
    service.client.post("/login", &[("user", "admin"), ("password", "admin")]).expect(403);
    user(&service.vault, "admin");
    service.client.sign_in("admin", PASSWORD).get("/").expect(200);
    service.stop();
}

#[test]
fn given_requests_of_other_sites_then_they_are_refused_whatever_they_bear() {
    let service = with_dump("");
    let admin = service.client.sign_in("admin", PASSWORD);
    let csrf = admin.csrf.clone().unwrap();
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let body = form(&[("csrf", &csrf)]);
    let post = |more: &[(&str, &str)], body: &str| {
        let all: Vec<(&str, &str)> = [kind].into_iter().chain(more.iter().copied()).collect();
        admin.send("POST", "/jobs/nightly/pause", &all, body.as_bytes()).status
    };
    assert_eq!(post(&[], &body), 303, "one's own form is taken");
    assert_eq!(post(&[], ""), 403, "without the session's token");
    assert_eq!(post(&[], &form(&[("csrf", &csrf.replace(|_: char| true, "0"))])), 403, "with another token");
    assert_eq!(post(&[("Origin", "https://evil.example")], &body), 403);
    assert_eq!(post(&[("Origin", "null")], &body), 403);
    assert_eq!(post(&[("Sec-Fetch-Site", "cross-site")], &body), 403);
    assert_eq!(post(&[("Sec-Fetch-Site", "same-site")], &body), 403);
    let own = format!("http://127.0.0.1:{}", admin.port);
    assert_eq!(post(&[("Origin", &own), ("Sec-Fetch-Site", "same-origin")], &body), 303);
    for host in ["evil.example", "127.0.0.1", "localhost.evil.example:80", ""] {
        assert_eq!(admin.send("GET", "/", &[("Host", host)], b"").status, 403, "{host}");
    }
    assert_eq!(
        raw(admin.port, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").status,
        403,
        "no host at all"
    );
    // A form of another site may send text that looks like JSON.
    let kind = [("Content-Type", "text/plain"), ("X-CSRF", csrf.as_str())];
    assert_eq!(admin.send("POST", "/api/v1/admin/backup/trigger", &kind, b"{}").status, 415);
    let login = service.client.send("POST", "/login", &[("Origin", "https://evil.example")], b"");
    assert_eq!(login.status, 403);
    // Proxies that nobody trusts are not believed: the address stays the peer's.
    service.client.send(
        "POST",
        "/login",
        &[("X-Forwarded-For", "1.2.3.4"), ("Content-Type", "application/x-www-form-urlencoded")],
        form(&[("user", "x"), ("password", "y")]).as_bytes(),
    );
    let log = admin.get("/api/v1/audit").expect(200).text();
    assert!(!log.contains("1.2.3.4") && log.contains("127.0.0.1"));
    service.stop();
}

#[test]
fn given_requests_that_are_too_long_or_too_slow_then_others_are_answered_meanwhile() {
    use std::io::Write;
    let service = with_dump("");
    let port = service.client.port;
    let head = |length: usize| {
        format!(
            "POST /login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut long = head(100_000).into_bytes();
    long.extend(vec![b'a'; 100_000]);
    assert_eq!(raw(port, &long).status, 413);
    let mut headers = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n").into_bytes();
    headers.extend(format!("X-Long: {}\r\n\r\n", "a".repeat(200_000)).into_bytes());
    assert!([0, 400, 431].contains(&raw(port, &headers).status));
    assert!([0, 400].contains(&raw(port, b"\0\x01nonsense\r\n\r\n").status));
    // So many that take their time have all the places there are for connections.
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
            stream
        })
        .collect();
    service.client.get("/healthz").expect(200);
    drop(slow);
    assert_eq!(raw(port, head(10).as_bytes()).status, 408, "a body that never comes");
    for path in [
        "/assets/../access.sqlite",
        "/assets/%2e%2e%2faccess.sqlite",
        "//evil.example/",
        "/login?next=//evil.example",
    ] {
        let answer = service.client.get(path);
        assert!(
            answer.header("location").is_none_or(|there| there.starts_with("/login?next=%2F")),
            "{path}: {answer:?}"
        );
        assert!(!answer.text().contains("SQLite"));
    }
    service.stop();
}

#[test]
fn given_wrong_passwords_then_the_address_waits_and_nobody_else() {
    let service = with_dump("trusted_proxies = [\"127.0.0.1\"]");
    let client = &service.client;
    let from = |address: &str, password: &str| {
        let more = [("X-Forwarded-For", address), ("Content-Type", "application/x-www-form-urlencoded")];
        client.send("POST", "/login", &more, form(&[("user", "admin"), ("password", password)]).as_bytes())
    };
    let statuses: Vec<u16> = (0..8).map(|_| from("9.9.9.9", "wrong").status).collect();
    assert_eq!(statuses, [403, 403, 403, 403, 429, 429, 429, 429]);
    let waits = from("9.9.9.9", PASSWORD);
    assert_eq!(waits.status, 429, "even the right one has to wait");
    let seconds = |answer: &Answer| answer.header("retry-after").unwrap().parse::<u64>().unwrap();
    assert!(seconds(&waits) <= 60);
    assert_eq!(from("8.8.8.8", PASSWORD).status, 303, "the account is not locked for other addresses");
    let admin = service.of_role("admin");
    let log = admin.get("/api/v1/audit").expect(200).json();
    let kinds: Vec<&str> =
        log["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "security").count(), 1, "one alarm: {kinds:?}");
    assert!(!log.to_string().contains("wrong\""), "what was typed stands nowhere");
    // Each guess after that makes it wait twice as long, up to an hour.
    let mut longest = Vec::new();
    for _ in 0..7 {
        service.sql("access.sqlite", "UPDATE throttle SET until = 0");
        longest.push(seconds(&from("9.9.9.9", "wrong")).div_ceil(60));
    }
    assert_eq!(longest, [2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(admin.get("/api/v1/audit/verify").expect(200).json()["ok"], true);
    service.stop();
}

#[test]
fn given_sessions_then_a_change_of_password_ends_the_others_and_removal_ends_all() {
    let service = with_dump("");
    let (one, other) =
        (service.client.sign_in("viewer", PASSWORD), service.client.sign_in("viewer", PASSWORD));
    let new = "another horse battery";
    one.post("/account/password", &[("old", "wrong one"), ("new", new)]).expect(200);
    one.post("/account/password", &[("old", PASSWORD), ("new", "short")]).expect(200);
    one.post("/account/password", &[("old", PASSWORD), ("new", new)]).expect(303);
    one.get("/account").expect(200);
    other.get("/account").expect(303);
    service.client.sign_in("viewer", new).post("/logout", &[]).expect(303);
    service.vault.run(["user", "remove", "viewer"]).expect(exit::OK);
    one.get("/account").expect(303);
    let cookie = service.client.post("/login", &[("user", "admin"), ("password", PASSWORD)]).expect(303);
    let cookie = cookie.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    service.stop();
}

#[test]
fn given_a_backup_when_triggered_then_it_shows_downloads_once_and_is_not_deleted_young() {
    let service = with_dump("");
    let admin = service.of_role("admin");
    let operator = service.of_role("operator");
    let trigger = "/api/v1/admin/backup/trigger";
    let keyed = |key: &str| {
        let more = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
        operator.send("POST", trigger, &more, br#"{"source": "app"}"#)
    };
    let first = keyed("one").expect(202).json();
    assert_eq!(keyed("one").expect(202).json(), first, "the same key, the same answer");
    let path = format!("/api/v1/runs/{}", text(&first, "id"));
    let run = wait("it ends", || Some(operator.get(&path).json()).filter(|run| run["status"] == "COMPLETED"));
    assert_eq!((run["trigger"].as_str(), run["exitCode"].as_i64()), (Some("manual"), Some(0)));
    let again = keyed("two");
    assert_eq!((again.status, again.json()["code"].as_str()), (429, Some("too_soon")));
    assert!(again.header("retry-after").unwrap().parse::<u64>().unwrap() > 3000);
    backed_up(&operator, "other");

    service.knows(&admin, 2);
    let history = admin.get("/api/v1/admin/backup/history?series=app").expect(200).json();
    let backup = history["backups"][0].clone();
    assert_eq!(
        (text(&backup, "status"), backup["size"].as_u64()),
        ("COMPLETED".into(), Some(300_000)),
        "{history}"
    );
    let id = text(&backup, "id");
    let of = |path: &str| admin.get(&format!("/api/v1/admin/backup/{id}{path}"));
    let whole = of("/download").expect(200);
    let dump = fs::read(service.vault.work().join("dump")).unwrap();
    assert_eq!(
        (whole.body == dump, whole.is_whole, whole.header("content-length")),
        (true, true, Some("300000"))
    );
    assert!(whole.header("content-disposition").unwrap().starts_with("attachment; filename=\"app_"));
    let part = admin
        .send("GET", &format!("/api/v1/admin/backup/{id}/download"), &[("Range", "bytes=100000-")], b"")
        .expect(206);
    assert_eq!(
        (part.body.as_slice(), part.header("content-range")),
        (&dump[100_000..], Some("bytes 100000-299999/300000"))
    );
    operator.get(&format!("/api/v1/admin/backup/{id}/download")).expect(403);

    let person = service.client.sign_in("admin", PASSWORD);
    let page = person.post(&format!("/settings/backup/{id}/download"), &[]).expect(200).text();
    let link =
        page.split("href=\"").find(|part| part.starts_with("/download/")).unwrap().split('"').next().unwrap();
    service.client.sign_in("viewer", PASSWORD).get(link).expect(403);
    assert_eq!(person.get(link).expect(200).body, dump);
    person.get(link).expect(410);
    let late = person.post(&format!("/settings/backup/{id}/download"), &[]).expect(200).text();
    let late =
        late.split("href=\"").find(|part| part.starts_with("/download/")).unwrap().split('"').next().unwrap();
    service.sql("access.sqlite", "UPDATE link SET expires = 1");
    person.get(late).expect(410);

    let refused = admin.call("DELETE", &format!("/api/v1/admin/backup/{id}"), &json!({}));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("last_good")));
    let log = wait("the download is in the log", || {
        Some(admin.get("/api/v1/audit").text()).filter(|log| log.contains("300000 bytes were sent; complete"))
    });
    assert!(log.contains("a link was made"));
    assert_eq!(service.vault.ids().len(), 2, "nothing changed");
    service.stop();
}

#[test]
fn given_snapshots_then_the_rails_hold_and_what_may_go_goes_once() {
    let vault = Vault::new();
    let old = |days: u32| format!("2026-01-{days:02}T03:00:00Z");
    for day in 1..=3 {
        vault.backup_with("app", &noise(u64::from(day), 50_000), &["--time", &old(day)]);
    }
    vault.backup("app", &noise(9, 50_000));
    let service = Service::of(vault, SOURCES, "");
    let admin = service.of_role("admin");
    let all = service.knows(&admin, 4);
    let (newest, third, second) = (&all[0], &all[1], &all[2]);
    let delete = |snapshot: &Value| {
        admin.call("DELETE", &format!("/api/v1/admin/backup/{}", text(snapshot, "id")), &json!({}))
    };
    assert_eq!(delete(newest).expect(409).json()["code"], "last_good");
    admin.call("POST", &format!("/api/v1/snapshots/{}/pin", text(third, "id")), &json!({})).expect(204);
    assert_eq!(delete(third).expect(409).json()["code"], "pinned");
    assert_eq!(service.vault.ids().len(), 4);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| delete(second).status)).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 404, 409].contains(status)), "{statuses:?}");
    assert_eq!(service.vault.ids().len(), 3);
    service.stop();
}

#[test]
fn given_a_token_of_one_source_then_it_sees_that_one_alone() {
    let service = with_dump("");
    let operator = service.of_role("operator");
    backed_up(&operator, "app");
    backed_up(&operator, "other");
    let admin = service.of_role("admin");
    let all = service.knows(&admin, 2);
    let scoped = service.client.with_token(&service.token("admin", &["--source", "app"]));
    let history = scoped.get("/api/v1/admin/backup/history").expect(200).json();
    assert!(history["backups"].as_array().unwrap().iter().all(|row| row["source"] == "app"), "{history}");
    let other = all.iter().find(|snapshot| snapshot["series"] == "other").unwrap();
    scoped.get(&format!("/api/v1/snapshots/{}", text(other, "id"))).expect(404);
    scoped.get(&format!("/api/v1/admin/backup/{}/download", text(other, "id"))).expect(404);
    scoped.call("POST", "/api/v1/admin/backup/trigger", &json!({"source": "other"})).expect(403);
    service.stop();
}

#[test]
fn given_the_description_then_it_names_each_route_and_each_answer_is_as_it_says() {
    let service = with_dump("");
    let admin = service.of_role("admin");
    let run = backed_up(&admin, "app");
    service.vault.backup("app", &noise(2, 300_000));
    let all = service.knows(&admin, 2);
    let (snapshot, before) = (text(&all[0], "id"), text(&all[1], "id"));
    let backup =
        admin.get("/api/v1/admin/backup/history").json()["backups"][0]["id"].as_str().unwrap().to_owned();
    admin.call("POST", &format!("/api/v1/snapshots/{snapshot}/pin"), &json!({})).expect(204);
    let operation =
        admin.get("/api/v1/operations").json()["operations"][0]["id"].as_str().unwrap().to_owned();
    let document = admin.get("/api/v1/openapi.json").expect(200).json();
    let mut compared = 0;
    for route in routes().filter(|route| route.path.starts_with("/api/")) {
        let described = &document["paths"][route.path][route.method.to_lowercase()];
        assert!(
            described["summary"].as_str().is_some_and(|words| !words.is_empty()),
            "{} {}",
            route.method,
            route.path
        );
        if route.method != "GET" || route.path.ends_with("/events") {
            continue;
        }
        let id = if route.path.contains("/runs/") {
            text(&run, "id")
        } else if route.path.contains("/operations/") {
            operation.clone()
        } else if route.path.contains("/backup/") {
            backup.clone()
        } else {
            snapshot.clone()
        };
        let path = route.path.replace("{id}", &id).replace("{job}", "nightly");
        let path =
            if path.ends_with("/diff") { format!("{path}?before={before}&after={snapshot}") } else { path };
        let answer = admin.get(&path).expect(200);
        let Some(schema) =
            described["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].as_str()
        else {
            continue;
        };
        let mut whole = document.clone();
        whole["$ref"] = json!(schema);
        let validator = jsonschema::options().should_validate_formats(true).build(&whole).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(&answer.json())
            .map(|fault| format!("{fault} at {}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{path}: {faults:?} in {}", answer.text());
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.keys().all(|path| routes().any(|route| route.path == path)));
    let problem = admin.get("/api/v1/runs/nothing").expect(404);
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    service.stop();
}

#[test]
fn given_planted_secrets_then_no_page_and_no_answer_holds_one() {
    let vault = Vault::new();
    fs::write(vault.work().join("dump"), b"x").unwrap();
    let toml = format!(
        "{SOURCES}\n[source.secret]\ncommand = [\"sh\", \"-c\", \"echo \\\"$TOKEN\\\" >&2; exit 1\"]\nenv = {{ TOKEN = \"{CANARY}\" }}\n[job.secret]\nsources = [\"secret\"]\ncron = \"@yearly\"\nretry = {{ attempts = 1 }}\n"
    );
    let service = Service::of(vault, &toml, "");
    let token = service.token("admin", &[]);
    let admin = service.client.with_token(&token);
    backed_up(&admin, "app");
    service.client.sign_in("admin", PASSWORD);
    let mut seen = 0;
    for route in routes().filter(|route| route.method == "GET" && !route.path.ends_with("/events")) {
        let path = path_of(route.path)
            .replace("/jobs/nothing", "/jobs/nightly")
            .replace("/series/nothing", "/series/app");
        let answer = admin.get(&path);
        for secret in [CANARY, PASSWORD, token.as_str(), "argon2id"] {
            assert!(!answer.text().contains(secret), "{path} holds {secret}");
        }
        seen += 1;
    }
    assert!(seen > 40);
    // Nor in the files of the state: only hashes are kept.
    let folder = service.vault.state().join("dumpvault");
    for file in ["access.sqlite", "schedule.sqlite", "schedule.sqlite-wal"] {
        let bytes = fs::read(folder.join(file)).unwrap_or_default();
        for secret in [CANARY, PASSWORD, token.as_str()] {
            assert!(
                !bytes.windows(secret.len()).any(|part| part == secret.as_bytes()),
                "{file} holds {secret}"
            );
        }
    }
    service.stop();
}

#[test]
fn given_hostile_words_then_pages_escape_them() {
    let vault = Vault::new();
    fs::write(vault.work().join("dump"), b"x").unwrap();
    let service = Service::of(
        vault,
        &format!(
            "{SOURCES}\n[source.bad]\ncommand = [\"sh\", \"-c\", \"printf '<script>alert(1)</script>\\\\033[31m' >&2; exit 1\"]\n[job.bad]\nsources = [\"bad\"]\ncron = \"@yearly\"\nretry = {{ attempts = 1 }}\n"
        ),
        "",
    );
    let admin = service.client.sign_in("admin", PASSWORD);
    let there =
        admin.post("/settings/backup/run", &[("source", "bad"), ("description", "<b>note</b>")]).expect(303);
    assert_eq!(there.header("location"), Some("/settings/backup"));
    wait("it fails", || {
        let runs = admin.get("/api/v1/runs?status=failed").expect(200).json();
        (runs["pagination"]["total"] == 1).then_some(())
    });
    for path in [
        "/",
        "/settings/backup",
        "/settings/backup?series=%3Cscript%3E",
        "/runs",
        "/jobs/bad",
        "/audit",
        "/checks",
        "/admin",
        "/nothing%3Cscript%3E",
        "/login?next=%22%3E%3Cscript%3E",
    ] {
        let page = admin.get(path).text();
        assert!(
            !page.contains("<script>alert")
                && !page.contains("<script>\"")
                && !page.contains('\u{1b}')
                && !page.contains("<b>note"),
            "{path}: {page}"
        );
        assert!(
            !page.contains(" style=\"") && !page.contains(" onclick"),
            "{path} has what the policy forbids"
        );
    }
    let policy = admin.get("/").header("content-security-policy").unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    service.stop();
}

#[test]
fn given_a_proxy_and_a_base_path_then_links_redirects_and_cookies_are_below_it() {
    let service =
        with_dump("external_url = \"https://backup.example.org/dv\"\ntrusted_proxies = [\"127.0.0.1\"]");
    let client = &service.client;
    let host = ("Host", "backup.example.org");
    // One proxy takes the base path away, another does not.
    for path in ["/", "/dv/"] {
        let answer = client.send("GET", path, &[host], b"").expect(303);
        assert_eq!(answer.header("location"), Some("/dv/login?next=%2F"), "{path}");
    }
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let origin = ("Origin", "https://backup.example.org");
    let body = form(&[("user", "admin"), ("password", PASSWORD)]);
    let answer = client.send("POST", "/dv/login", &[host, origin, kind], body.as_bytes()).expect(303);
    assert_eq!(answer.header("location"), Some("/dv/"));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Secure-dv=") && cookie.contains("Path=/dv/;") && cookie.contains("; Secure"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page =
        client.send("GET", "/dv/settings/backup", &[host, ("Cookie", &cookie)], b"").expect(200).text();
    for part in page
        .split("href=\"")
        .skip(1)
        .chain(page.split("action=\"").skip(1))
        .chain(page.split("src=\"").skip(1))
    {
        let there = part.split('"').next().unwrap();
        assert!(there.starts_with("/dv/") || there.starts_with('#'), "{there}");
    }
    assert_eq!(
        client
            .send(
                "POST",
                "/dv/login",
                &[host, ("Origin", "http://backup.example.org"), kind],
                body.as_bytes()
            )
            .status,
        403
    );
    service.stop();
}

#[test]
fn given_a_run_when_cancelled_then_it_ends_and_events_tell_it() {
    let toml = "[source.slow]\ncommand = [\"sh\", \"-c\", \"touch started; sleep 600\"]\n[job.slow]\nsources = [\"slow\"]\ncron = \"@yearly\"\n";
    let service = Service::start(toml, "");
    let operator = service.of_role("operator");
    let run = operator.call("POST", "/api/v1/jobs/slow/run", &json!({})).expect(202).json();
    let id = text(&run, "id");
    wait("it runs", || service.vault.work().join("started").exists().then_some(()));
    let busy =
        operator.call("POST", "/api/v1/admin/backup/trigger", &json!({"source": "slow"})).expect(409).json();
    assert_eq!((busy["code"].as_str(), busy["id"].as_str()), (Some("running"), Some(id.as_str())));
    let events = std::thread::spawn({
        let (operator, id) = (operator.clone(), id.clone());
        move || operator.get(&format!("/api/v1/runs/{id}/events")).expect(200)
    });
    operator.call("POST", &format!("/api/v1/runs/{id}/cancel"), &json!({})).expect(204);
    let ended = wait("it ends", || {
        Some(operator.get(&format!("/api/v1/runs/{id}")).json()).filter(|run| run["status"] == "FAILED")
    });
    assert_eq!(ended["reason"], "cancelled");
    let told: Answer = events.join().unwrap();
    assert_eq!(told.header("content-type"), Some("text/event-stream"));
    assert!(
        told.text().contains("\"status\":\"FAILED\"") && told.text().contains("event: end"),
        "{}",
        told.text()
    );
    operator.call("POST", &format!("/api/v1/runs/{id}/cancel"), &json!({})).expect(409);
    service.stop();
}

#[test]
fn given_idle_streams_of_events_then_one_too_many_is_refused_and_the_api_goes_on() {
    let toml = "[source.slow]\ncommand = [\"sh\", \"-c\", \"touch started; sleep 600\"]\n[job.slow]\nsources = [\"slow\"]\ncron = \"@yearly\"\n";
    let service = Service::start(toml, "");
    let token = service.token("operator", &[]);
    let operator = service.client.with_token(&token);
    let run = operator.call("POST", "/api/v1/jobs/slow/run", &json!({})).expect(202).json();
    let id = text(&run, "id");
    wait("it runs", || service.vault.work().join("started").exists().then_some(()));
    let port = service.client.port;
    let head = format!(
        "GET /api/v1/runs/{id}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let first_line = |stream: &mut TcpStream| {
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).unwrap();
        String::from_utf8_lossy(&line).into_owned()
    };
    let mut open: Vec<TcpStream> =
        (0..64).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for stream in &mut open {
        assert_eq!(first_line(stream), "HTTP/1.1 200");
    }
    let refused = operator.get(&format!("/api/v1/runs/{id}/events"));
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("streams")));
    operator.get(&format!("/api/v1/runs/{id}")).expect(200);
    operator.call("POST", &format!("/api/v1/runs/{id}/cancel"), &json!({})).expect(204);
    service.stop();
}

#[test]
fn given_a_job_in_another_zone_then_page_api_and_command_line_tell_one_moment_with_its_offset() {
    let toml = "time_zone = \"UTC\"\n[job.far]\ncommand = \"true\"\ncron = \"15 3 1 7 *\"\ntime_zone = \"Asia/Tokyo\"\njitter = \"10m\"\n";
    let service = Service::start(toml, "");
    let viewer = service.of_role("viewer");
    let api: jiff::Timestamp = wait("the job is known", || {
        let job = viewer.get("/api/v1/jobs/far").expect(200).json();
        Some(job["next"].as_str()?.parse().unwrap())
    });
    let listed = service.vault.run(["schedule", "list", "--json"]).expect(exit::OK).json();
    let listed: jiff::Timestamp = listed["jobs"][0]["next"].as_str().unwrap().parse().unwrap();
    assert_eq!(api.as_second(), listed.as_second());
    let local = api.to_zoned(jiff::tz::TimeZone::get("Asia/Tokyo").unwrap());
    assert_eq!((local.month(), local.day(), local.hour()), (7, 1, 3), "{local}");
    let page = service.client.sign_in("viewer", PASSWORD).get("/jobs/far").expect(200).text();
    let told = local.strftime("%a %-d %b %H:%M:%S +09:00").to_string();
    assert!(page.contains(&told), "no `{told}` in {page}");
    service.stop();
}

#[test]
fn given_a_backup_that_fails_then_alerts_show_it_and_an_operator_acknowledges_it() {
    let service = Service::start("[source.bad]\ncommand = [\"false\"]\n[schedule]\nspace_below = 0\n", "");
    service.vault.run(["backup", "bad"]).expect(exit::NOTHING_DONE);
    let (viewer, operator) = (service.of_role("viewer"), service.of_role("operator"));
    let listed = viewer.get("/api/v1/alerts").expect(200).json();
    let alert = &listed["alerts"][0];
    assert_eq!(
        (text(alert, "subject"), &alert["acknowledgedBy"]),
        ("series bad".into(), &Value::Null),
        "{listed}"
    );
    let of_viewer = service.client.sign_in("viewer", PASSWORD);
    let page = of_viewer.get("/alerts").expect(200).text();
    assert!(page.contains("series bad") && !page.contains("/alerts/acknowledge"), "{page}");
    let of_operator = service.client.sign_in("operator", PASSWORD);
    assert!(of_operator.get("/alerts").expect(200).text().contains("/alerts/acknowledge"));

    let path = "/api/v1/alerts/acknowledge";
    operator.call("POST", path, &json!({})).expect(400);
    operator.call("POST", path, &json!({"subject": "series god"})).expect(404);
    let fields = [("subject", "series bad"), ("note", "a <known> one")];
    of_operator.post("/alerts/acknowledge", &fields).expect(303);
    let listed = viewer.get("/api/v1/alerts").expect(200).json();
    assert_eq!(text(&listed["alerts"][0], "note"), "a <known> one");
    let page = of_viewer.get("/alerts").expect(200).text();
    assert!(page.contains("a &lt;known&gt; one") && page.contains("Acknowledged by operator"), "{page}");
    assert!(viewer.get("/api/v1/audit").expect(200).text().contains("all acknowledged: a <known> one"));
    service.stop();
}

#[test]
fn given_a_socket_of_the_machine_then_it_is_served_there_and_one_that_is_left_is_replaced() {
    let vault = Vault::new();
    for role in Role::ALL {
        user(&vault, role.word());
    }
    let path = vault.home().join("http.sock");
    drop(UnixListener::bind(&path).unwrap());
    let serve = format!("[serve]\nlisten = \"unix:{}\"\n", path.display());
    fs::write(vault.work().join("dumpvault.toml"), serve).unwrap();
    let running = Running::start(vault.command(["serve"]));
    let stream = wait("the service listens", || UnixStream::connect(&path).ok());
    let ask = |stream: UnixStream, host: &str, path: &str| {
        over(stream, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())
    };
    assert_eq!(ask(stream, "localhost", "/healthz").status, 200);
    let again = || UnixStream::connect(&path).unwrap();
    assert_eq!(ask(again(), "evil.example", "/healthz").status, 403);
    assert_eq!(ask(again(), "localhost", "/").status, 303, "nobody is let in without signing in");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    running.signal(Signal::TERM);
    running.wait().expect(exit::OK).says("listening on unix:/");
    assert!(!path.exists(), "the socket is left");
    // What is no socket is not removed.
    fs::write(&path, "a file").unwrap();
    vault.run(["serve"]).expect_one_of(&[exit::USAGE, exit::NOTHING_DONE]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
}

/// A certificate for `localhost`, and its key, in files.
fn certified(folder: &Path) -> (rustls::pki_types::CertificateDer<'static>, String) {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    fs::write(&certificate, own.cert.pem()).unwrap();
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let files = format!("tls_certificate = \"{}\"\ntls_key = \"{}\"", certificate.display(), key.display());
    (own.cert.der().clone(), files)
}

#[test]
fn given_a_certificate_then_the_listener_encrypts_and_its_cookie_is_for_encrypted_ways_only() {
    let vault = Vault::new();
    let (root, serve) = certified(vault.home());
    let service = Service::of(vault, SOURCES, &serve);
    let port = service.client.port;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth());
    let ask = |head: &str, body: &str| {
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let stream = rustls::StreamOwned::new(session, TcpStream::connect(("127.0.0.1", port)).unwrap());
        let head = format!("{head} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n");
        over(stream, format!("{head}Content-Length: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nOrigin: https://localhost:{port}\r\n\r\n{body}", body.len()).as_bytes())
    };
    assert!(ask("GET /healthz", "").expect(200).is_whole);
    let signed_in = ask("POST /login", &form(&[("user", "viewer"), ("password", PASSWORD)])).expect(303);
    let cookie = signed_in.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-dv=") && cookie.contains("; Secure"), "{cookie}");
    let plain = service.client.get("/healthz");
    assert_ne!(plain.status, 200, "it answers without encryption: {}", plain.text());
    // Whoever begins no handshake is in nobody's way.
    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    ask("GET /healthz", "").expect(200);
    service.stop();
}

#[test]
fn given_a_certificate_that_is_renewed_badly_then_the_old_one_goes_on_and_that_is_told_until_it_is_mended() {
    let vault = Vault::new();
    let (old, serve) = certified(vault.home());
    let service = Service::of(vault, SOURCES, &serve);
    let port = service.client.port;
    let is_answered = |root: &rustls::pki_types::CertificateDer<'static>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let session = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let stream = rustls::StreamOwned::new(session.unwrap(), stream);
        let head = format!("GET /healthz HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
        over(stream, head.as_bytes()).status == 200
    };
    let told = || {
        let told = service.vault.run(["alert", "list", "--json"]).json();
        let alerts = told["alerts"].as_array().unwrap().clone();
        alerts.into_iter().find(|alert| alert["subject"] == "certificate")
    };
    assert!(is_answered(&old) && told().is_none());
    fs::write(service.vault.home().join("tls.key"), "no key").unwrap();
    let alert = wait("the alert", told);
    assert!(alert["condition"] == "config" && text(&alert, "text").contains("tls.key"), "{alert}");
    assert!(is_answered(&old), "the old one goes on");
    let (new, _) = certified(service.vault.home());
    wait("the new certificate is used", || is_answered(&new).then_some(()));
    wait("the alert is over", || told().is_none().then_some(()));
    assert!(!is_answered(&old));
    service.stop();
}

#[test]
fn given_settings_of_the_listener_that_would_be_unsafe_then_they_are_refused() {
    let vault = Vault::new();
    for (serve, says) in [
        ("listen = \"0.0.0.0:7878\"", "would be reached without encryption"),
        ("external_url = \"ftp://x\"", "invalid address"),
        ("listen = \"unix:http.sock\"", "invalid path of a socket"),
        ("tls_certificate = \"/tls.crt\"", "a certificate and its key belong together"),
        ("listen = \"unix:/s\"\ntls_certificate = \"/c\"\ntls_key = \"/k\"", "is not encrypted"),
        ("trusted_proxies = [\"proxy\"]", "is not an IP address"),
        ("listn = \"127.0.0.1:1\"", "listn"),
    ] {
        fs::write(vault.work().join("dumpvault.toml"), format!("[serve]\n{serve}\n")).unwrap();
        vault.run(["serve"]).expect(exit::USAGE).says(says);
    }
    vault.run_with(["user", "add", "x", "--stdin"], b"short\n").expect(exit::USAGE);
    let (_, serve) = certified(vault.home());
    fs::write(vault.home().join("tls.key"), "no key").unwrap();
    fs::write(vault.work().join("dumpvault.toml"), format!("[serve]\nlisten = \"127.0.0.1:0\"\n{serve}\n"))
        .unwrap();
    vault.run(["serve"]).expect_one_of(&[exit::USAGE, exit::NOTHING_DONE]).says("tls.key");
}

/// Processes that a process started, with how each was called.
fn children(parent: i32) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if of == Some(parent) {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&words).replace('\0', " ")));
        }
    }
    found
}

/// What a process holds in memory of its own, in KiB.
fn memory_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn given_a_download_whose_child_is_killed_then_the_client_learns_it_and_goes_on_where_it_ended() {
    const WHOLE: usize = 96 << 20;
    let vault = Vault::new();
    fs::write(vault.work().join("dump"), noise(1, WHOLE)).unwrap();
    let service = Service::of(vault, SOURCES, "");
    let token = service.token("admin", &[]);
    let admin = service.client.with_token(&token);
    backed_up(&admin, "app");
    service.knows(&admin, 1);
    let history = admin.get("/api/v1/admin/backup/history").expect(200).json();
    let id = text(&history["backups"][0], "id");
    let pid = service.running.as_ref().unwrap().pid().as_raw_nonzero().get();
    let before = memory_kib(pid);
    let port = service.client.port;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(HANGS)).unwrap();
    let path = format!("/api/v1/admin/backup/{id}/download");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = vec![0; 4 << 20];
    stream.read_exact(&mut first).unwrap();
    let (child, _) = wait("the child", || {
        children(pid).into_iter().find(|(_, words)| words.contains("restore") || words.contains("cat"))
    });
    assert!(memory_kib(pid) < before + (20 << 10), "a download is not kept in memory");
    rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), Signal::KILL).unwrap();
    let broken = stream.read_to_end(&mut first);
    let end = first.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let (head, part) = (String::from_utf8_lossy(&first[..end]).to_lowercase(), &first[end + 4..]);
    assert!(head.contains(&format!("content-length: {WHOLE}")), "{head}");
    assert!(part.len() < WHOLE, "it ended early: {broken:?}");
    let rest = admin.send("GET", &path, &[("Range", &format!("bytes={}-", part.len()))], b"").expect(206);
    assert!(rest.is_whole);
    let whole = blake3::hash(&[part, &rest.body].concat());
    assert_eq!(whole, blake3::hash(&fs::read(service.vault.work().join("dump")).unwrap()));
    let log = wait("both ends are in the log", || {
        let log = admin.get("/api/v1/audit").text();
        log.contains(&format!("{} bytes were sent; complete", rest.body.len())).then_some(log)
    });
    assert!(log.matches("bytes were sent").count() == 2, "{log}");
    assert!(memory_kib(pid) < before + (20 << 10), "nothing is left of it in memory");
    service.stop();
}

#[test]
fn given_many_wrong_passwords_of_many_then_two_hashes_at_once_and_the_good_one_comes_in() {
    let service = with_dump("trusted_proxies = [\"127.0.0.1\"]");
    let count = if std::env::var_os("DUMPVAULT_TEST_LONG").is_some() { 20_000 } else { 400 };
    let pid = service.running.as_ref().unwrap().pid().as_raw_nonzero().get();
    let client = &service.client;
    let from = |address: &str, password: &str| {
        let more = [("X-Forwarded-For", address), ("Content-Type", "application/x-www-form-urlencoded")];
        client
            .send("POST", "/login", &more, form(&[("user", "admin"), ("password", password)]).as_bytes())
            .status
    };
    let before = memory_kib(pid);
    // Each hash takes 19 MiB while it is computed.
    let most = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (from, most) = (&from, &most);
            scope.spawn(move || {
                for guess in (thread..count).step_by(8) {
                    let address = format!("10.0.{}.{}", guess % 4, guess % 16);
                    let status = from(&address, &format!("wrong {guess}"));
                    assert!([403, 429, 503].contains(&status), "{status}");
                    most.fetch_max(memory_kib(pid), std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    let most = most.into_inner();
    assert!(most < before + 3 * (19 << 10), "more than two hashes at once: {most} KiB after {before}");
    assert_eq!(from("192.0.2.7", PASSWORD), 303, "the account is open for a good address");
    service.stop();
}

#[test]
fn given_a_scheduler_that_is_stuck_then_the_watchdog_hears_nothing_however_many_requests_are_answered() {
    let vault = Vault::new();
    user(&vault, "admin");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file =
        format!("[job.often]\ncommand = \"true\"\nevery = \"1s\"\n[serve]\nlisten = \"127.0.0.1:{port}\"\n");
    fs::write(vault.work().join("dumpvault.toml"), file).unwrap();
    let socket = vault.home().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let mut command = vault.command(["serve"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let running = Running::start(command);
    let client = Client::new(port);
    let heard = |within: Duration| {
        manager.set_read_timeout(Some(within)).unwrap();
        manager.recv(&mut [0; 200]).is_ok()
    };
    wait("it is fed while all is well", || heard(HANGS).then_some(()));
    wait("the service listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    // Whoever holds the state keeps the scheduler from deciding for ten seconds; then it tries again.
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.busy_timeout(HANGS).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let is_fed = wait("it is stuck", || {
        if heard(Duration::from_secs(2)) {
            return None;
        }
        let began = Instant::now();
        for _ in 0..50 {
            client.get("/healthz").expect(200);
        }
        // A machine that is too slow for fifty answers says nothing.
        (began.elapsed() < Duration::from_secs(5)).then(|| heard(Duration::from_millis(1)))
    });
    assert!(!is_fed, "requests feed the watchdog");
    db.execute_batch("ROLLBACK").unwrap();
    wait("it goes on", || heard(HANGS).then_some(()));
    running.signal(Signal::TERM);
    running.wait().expect(exit::OK);
}

#[test]
fn given_guessed_passwords_and_new_users_then_whoever_hears_of_security_is_told_once_and_of_the_end() {
    let http = Http::start(None);
    let toml = format!(
        "{SOURCES}[schedule]\ngroup_alerts = \"1s\"\nspace_below = 0\n\
         [alert.hook]\nkind = \"webhook\"\nurl = \"{}\"\n\
         [alert.deaf]\nkind = \"webhook\"\nurl = \"{}\"\non = [\"failure\"]\n",
        http.url("/hook"),
        http.url("/deaf")
    );
    let serve = "trusted_proxies = [\"127.0.0.1\"]";
    let service = Service::start(&toml, serve);
    let guess = |address: &str| {
        let more = [("X-Forwarded-For", address), ("Content-Type", "application/x-www-form-urlencoded")];
        let body = form(&[("user", "admin"), ("password", CANARY)]);
        for _ in 0..6 {
            service.client.send("POST", "/login", &more, body.as_bytes());
        }
    };
    let told = |event: &str| -> Vec<Value> {
        let all = http.requests().into_iter().map(|request| request.json());
        all.filter(|message| message["event"] == event).collect()
    };
    let items = |event: &str| -> Vec<Value> {
        told(event).iter().flat_map(|message| message["items"].as_array().unwrap().clone()).collect()
    };
    guess("192.0.2.1");
    let alert = wait("the alert", || told("failing").into_iter().next());
    assert_eq!((&alert["condition"], &alert["items"][0]["subject"]), (&"security".into(), &"sign-in".into()));
    assert!(text(&alert["items"][0], "text").contains("192.0.2.1"), "{alert}");
    for address in ["192.0.2.2", "192.0.2.3"] {
        guess(address);
    }
    let listed = service.vault.run(["alert", "list", "--json"]).expect(exit::PART_FAILED).json();
    let said = text(&listed["alerts"][0], "text");
    assert!(said.contains("3 addresses") && said.contains("192.0.2.3"), "{listed}");

    let words = ["user", "add", "dba", "--role", "admin", "--stdin"];
    service.vault.run_with(words, format!("{PASSWORD}\n").as_bytes()).expect(exit::OK);
    let dba = service.client.sign_in("dba", PASSWORD);
    let fields = [("name", "deploy"), ("role", "operator"), ("days", "30")];
    dba.post("/admin/tokens", &fields).expect(200);
    for (subject, what) in [("user dba", "added, role admin"), ("token ", "role operator, 30 days, by dba")] {
        let item = wait(subject, || {
            let all = items("security");
            all.into_iter().find(|item| item["subject"].as_str().unwrap().starts_with(subject))
        });
        assert!(text(&item, "text").contains(what), "{item}");
    }
    // Those of before the channel was known are nobody's news.
    assert!(items("security").iter().all(|item| item["subject"] != "user viewer"));

    // An hour after the last address that had to wait it is over.
    let vault = service.stop();
    let db = rusqlite::Connection::open(vault.state().join("dumpvault/schedule.sqlite")).unwrap();
    db.execute("UPDATE audit SET at = at - 3700000 WHERE kind = 'security'", []).unwrap();
    drop(db);
    let service = Service::without_users(vault, &toml, serve);
    let ended = wait("the end", || told("recovered").into_iter().next());
    assert_eq!(ended["condition"], "security", "{ended}");
    service.stop();
    assert_eq!(told("failing").len(), 1, "one alarm");
    let requests = http.requests();
    assert!(requests.iter().all(|request| request.path == "/hook" && !request.body.contains(CANARY)));
}

/// A value of an attribute of a page.
fn attribute(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split('"').next().unwrap().to_owned()
}

#[test]
fn given_a_proxy_that_holds_events_back_then_the_page_shows_progress_and_the_end_by_asking() {
    use std::io::{BufRead, BufReader};
    let vault = Vault::new();
    fs::write(vault.work().join("dump"), noise(1, 100_000)).unwrap();
    // A source for each way: by hand each runs once an hour.
    let slow = |name: &str| {
        format!(
            "[source.{name}]\ncommand = [\"sh\", \"-c\", \"while [ ! -e go ]; do cat dump; sleep 0.05; done; rm go\"]\n\
             [job.{name}]\nsources = [\"{name}\"]\ncron = \"@yearly\"\n"
        )
    };
    let service = Service::of(vault, &(slow("held") + &slow("open")), "");
    let operator = service.of_role("operator");
    let viewer = service.client.sign_in("viewer", PASSWORD);
    for way in ["held", "open"] {
        let run = wait("the job is free", || {
            let run = operator.call("POST", &format!("/api/v1/jobs/{way}/run"), &json!({}));
            (run.status == 202).then(|| run.json())
        });
        let path = format!("/api/v1/runs/{}", text(&run, "id"));
        wait("it runs", || {
            let run = operator.get(&path).json();
            (run["status"] == "IN_PROGRESS" && run["progress"]["bytes"].as_u64() > Some(0)).then_some(())
        });
        let page = viewer.get("/settings/backup").expect(200).text();
        let (events, asked) = (attribute(&page, "data-events"), attribute(&page, "data-run"));
        assert_eq!((events.as_str(), asked.as_str()), (&*format!("{path}/events"), &*path));
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut node = std::process::Command::new("node");
        node.arg(manifest.join("tests/support/page.js")).arg(manifest.join("src/daemon/web/assets/app.js"));
        node.arg(service.client.port.to_string()).arg(viewer.cookie.as_deref().unwrap());
        node.args([events.as_str(), &asked, way]).stdout(std::process::Stdio::piped());
        let mut node = node.spawn().expect("node, which `tests/run.sh` installs");
        let mut seen: Vec<String> = Vec::new();
        for line in BufReader::new(node.stdout.take().unwrap()).lines() {
            seen.push(line.unwrap());
            if seen.last().unwrap().starts_with("shown ") && !service.vault.work().join("go").exists() {
                // The page knows how far it is: now it may end.
                fs::write(service.vault.work().join("go"), "").unwrap();
            }
        }
        assert!(node.wait().unwrap().success(), "{seen:?}");
        assert!(seen.iter().any(|line| line.starts_with(&format!("shown {way}: "))), "{way}: {seen:?}");
        assert_eq!(seen.last().unwrap(), "reload", "{way}: {seen:?}");
        let count = |what: &str| seen.iter().filter(|line| *line == what).count();
        if way == "held" {
            assert!(count("heard") == 0 && count("asked") >= 2, "{seen:?}");
        } else {
            assert!(count("heard") >= 1, "{seen:?}");
        }
        let _ = fs::remove_file(service.vault.work().join("go"));
    }
    service.stop();
}
