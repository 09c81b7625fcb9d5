//! The service from nothing, by the words of `docs/service.md`: the commands are taken from the page and followed in a
//! folder of their own. Only what a test cannot have is stood in for: accounts, `systemd-creds`, and systemd, of which
//! the test does what the unit asks for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use crate::support::cli::{HANGS, Running, exit};
use crate::support::http::Client;
use crate::support::receivers::Http;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PASSWORD: &str = "correct horse battery";
/// Programs that a test may not run, or that are not there: each notes how it was called.
const STAND_INS: [(&str, &str); 5] = [
    ("useradd", ""),
    ("chown", ""),
    ("chgrp", ""),
    ("systemctl", ""),
    // `encrypt --name=NAME FROM TO`
    ("systemd-creds", "cp \"$3\" \"$4\""),
];

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

/// A machine in a folder.
struct Machine {
    root: tempfile::TempDir,
    port: u16,
    hook: Http,
}

impl Machine {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let machine = Self { root: tempfile::tempdir().unwrap(), port, hook: Http::start(None) };
        for folder in ["bin", "etc", "var/lib", "var/cache", "srv/app", "download"] {
            fs::create_dir_all(machine.at(folder)).unwrap();
        }
        for (name, act) in STAND_INS {
            let script =
                format!("#!/bin/sh\necho \"{name} $*\" >> '{}'\n{act}\n", machine.at("called").display());
            fs::write(machine.at("bin").join(name), script).unwrap();
            fs::set_permissions(machine.at("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(machine.at("srv/app/upload"), "what an application keeps").unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_dumpvault"));
        let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib");
        std::os::unix::fs::symlink(program, machine.at("download/dumpvault")).unwrap();
        std::os::unix::fs::symlink(contrib, machine.at("download/contrib")).unwrap();
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Words of the page or of a unit, as they hold on this machine.
    fn here(&self, text: &str) -> String {
        let root = self.root.path().display();
        let mut text = text.to_owned();
        for folder in ["/etc/", "/srv/", "/var/", "/usr/bin/"] {
            for before in [" ", "\"", "=", ":", "\n"] {
                text = text.replace(&format!("{before}{folder}"), &format!("{before}{root}{folder}"));
            }
        }
        // Messages come together after half a minute; a test has no time for that.
        let at_once = "[schedule]\ngroup_alerts = \"1s\"\nspace_below = 0\n\n[serve]\n";
        text.replace("[serve]\n", at_once)
            .replace("127.0.0.1:7878", &format!("127.0.0.1:{}", self.port))
            .replace("https://hooks.example.org/T000/B000", &self.hook.url("/T000/B000"))
            // There is no terminal to ask at.
            .replace("user add mara --role admin", "user add mara --role admin --stdin")
    }

    fn surround(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap();
        let (bin, usr) = (self.at("bin"), self.at("usr/bin"));
        command
            .env_clear()
            .env("PATH", format!("{}:{}:{path}", bin.display(), usr.display()))
            .env("HOME", self.root.path())
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            // Where root has these by itself.
            .env("XDG_CONFIG_HOME", self.at("etc"))
            .env("XDG_STATE_HOME", self.at("var/lib"))
            .env("XDG_CACHE_HOME", self.at("var/cache"))
            .current_dir(self.at("download"))
            .stdin(Stdio::null());
    }

    /// Follows commands of the page.
    fn follow(&self, script: &str, stdin: &str) -> Output {
        use std::io::Write;
        let mut command = Command::new("sh");
        command.args(["-euc", script]);
        self.surround(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever asks for nothing closes its end.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{}{said}", String::from_utf8_lossy(&output.stdout));
        output
    }

    fn json(&self, words: &str) -> Value {
        let output = self.follow(&format!("dumpvault --json {words}"), "");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Does what systemd does of a unit with its additions, until it is ready.
    fn start(&self, unit: &str) -> (Running, UnixDatagram) {
        let folder = self.at("etc/systemd/system");
        let mut text = fs::read_to_string(folder.join(unit)).unwrap();
        let additions = fs::read_dir(folder.join(format!("{unit}.d"))).unwrap();
        for addition in additions {
            text += &fs::read_to_string(addition.unwrap().path()).unwrap();
        }
        let text = self.here(&text);
        let mut values: Vec<(&str, &str)> = Vec::new();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            // An empty value takes back all of that name.
            match value {
                "" => values.retain(|(own, _)| *own != name),
                value => values.push((name, value)),
            }
        }
        let all = |name: &str| -> Vec<&str> {
            values.iter().filter(|(own, _)| *own == name).map(|(_, value)| *value).collect()
        };
        let only = |name: &str| -> &str {
            let [value] = all(name)[..] else { panic!("{name}: {:?}", all(name)) };
            value
        };
        let mut words = only("ExecStart").split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        self.surround(&mut command);
        for (name, value) in
            all("Environment").iter().flat_map(|all| all.split(' ')).filter_map(|one| one.split_once('='))
        {
            command.env(name, value);
        }
        let credentials = self.at("credentials");
        fs::create_dir_all(&credentials).unwrap();
        for (name, path) in all("LoadCredentialEncrypted").iter().filter_map(|one| one.split_once(':')) {
            fs::copy(path, credentials.join(name)).unwrap();
        }
        let seconds: u64 = only("WatchdogSec").parse().unwrap();
        let socket = self.at("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(HANGS)).unwrap();
        command.env("CREDENTIALS_DIRECTORY", &credentials).env("NOTIFY_SOCKET", &socket);
        command.env("WATCHDOG_USEC", (seconds * 1_000_000).to_string());
        assert_eq!(only("Type"), "notify");
        let repository = self.at("srv/vault");
        assert!(all("ReadWritePaths").contains(&repository.to_str().unwrap()), "it could not write there");
        let running = Running::start(command);
        let mut bytes = [0; 200];
        loop {
            let length = manager.recv(&mut bytes).unwrap();
            if &bytes[..length] == b"READY=1" {
                return (running, manager);
            }
        }
    }

    /// What was sent to the channel.
    fn told(&self) -> Vec<String> {
        let all = self.hook.requests();
        all.iter().map(|request| request.json()["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// What systemd says of the unit with its additions: nothing, and that it exposes little.
fn analyze(machine: &Machine, unit: &str) {
    let folder = machine.at("analyzed");
    let from = machine.at("etc/systemd/system");
    for file in [unit.to_owned(), format!("{unit}.d/local.conf")] {
        let to = folder.join(&file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        // The program is not installed where tests run.
        let text = fs::read_to_string(from.join(&file)).unwrap();
        let program = text.split("ExecStart=").find(|rest| rest.contains("/usr/bin/dumpvault"));
        let program = program.unwrap().split(' ').next().unwrap().to_owned();
        fs::write(to, text.replace(&program, "/bin/true")).unwrap();
    }
    let unit = format!("./{unit}");
    for words in [&["verify", unit.as_str()][..], &["security", "--offline=true", "--threshold=25", &unit]] {
        let out = Command::new("systemd-analyze").args(words).current_dir(&folder).output();
        let out = out.expect("systemd-analyze, which `tests/run.sh` installs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.trim().is_empty(), "{words:?}: {said}");
    }
}

#[test]
fn given_a_fresh_machine_when_the_page_is_followed_then_backups_are_scheduled_alerts_come_and_the_page_is_there()
 {
    let began = Instant::now();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/service.md")).unwrap();
    let section = page.split("\n## Five minutes\n").nth(1).unwrap();
    let block = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let machine = Machine::new();
    let script = machine.here(block);
    let (before, after) = script.split_once("systemctl enable --now dumpvault\n").expect("it is started");

    let said = machine.follow(before, "");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("nightly") && said.contains("check"), "what will run when: {said}");
    analyze(&machine, "dumpvault.service");
    // Nobody reads what the manager is told from here on, and there is place for ten words: that stops no backup.
    let (service, _manager) = machine.start("dumpvault.service");
    machine.follow(after, &format!("{PASSWORD}\n"));

    // Alerting: the test message came.
    let told = machine.told();
    assert!(told.iter().any(|text| text.contains("nothing is wrong")), "{told:?}");
    // Scheduled: a scheduler runs, and every job has a next time.
    let listed = machine.json("schedule list");
    let jobs = listed["jobs"].as_array().unwrap();
    assert!(listed["running"] == true && jobs.len() >= 3, "{listed}");
    assert!(jobs.iter().all(|job| job["next"].is_string()), "{listed}");
    // Backed up, by the service, with the key that it was given.
    wait("the first backup", || {
        let history = machine.json("history list");
        let first = history["backups"].as_array().unwrap().first()?.clone();
        assert_ne!(first["status"], "FAILED", "{first}");
        (first["status"] == "COMPLETED").then_some(())
    });
    // And the page shows it to whoever signs in.
    let client = Client::new(machine.port);
    let mara = client.sign_in("mara", PASSWORD);
    let shown = wait("the page shows it", || {
        let page = mara.get("/settings/backup").expect(200).text();
        page.contains("/settings/backup/").then_some(page)
    });
    assert!(shown.contains("app"), "{shown}");
    let time = began.elapsed();

    // A night that fails is told.
    fs::rename(machine.at("srv/vault"), machine.at("srv/away")).unwrap();
    wait("the job is free", || {
        let words = "dumpvault schedule trigger nightly > /dev/null || echo busy";
        machine.follow(words, "").stdout.is_empty().then_some(())
    });
    wait("the alert", || machine.told().iter().any(|text| text.contains("failure: nightly")).then_some(()));
    fs::rename(machine.at("srv/away"), machine.at("srv/vault")).unwrap();

    // The commands of the API, with the token that the page makes.
    let section = page.split("\n## The page and the API\n").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap().replace("\\\n", " ");
    let made = block.lines().find(|line| line.starts_with("token=")).unwrap();
    let token = machine.follow(&format!("{made}\nprintf %s \"$token\""), "").stdout;
    let program = client.with_token(&String::from_utf8(token).unwrap());
    let mut asked = 0;
    for line in block.lines().filter(|line| line.starts_with("curl ")) {
        let path = line.split("http://127.0.0.1:7878").nth(1).unwrap().trim_end_matches('\'');
        if let Some(body) = line.split("-d '").nth(1).and_then(|rest| rest.split('\'').next()) {
            let answer = program.call("POST", path, &serde_json::from_str(body).unwrap());
            // There was one within the hour, as that page says.
            assert_eq!(answer.expect(429).json()["code"], "too_soon");
        } else {
            let history = program.get(path).expect(200).json();
            assert_eq!(history["backups"].as_array().unwrap().len(), 1, "the one that failed: {history}");
        }
        asked += 1;
    }
    assert_eq!(asked, 2, "{block}");

    let called = fs::read_to_string(machine.at("called")).unwrap();
    for words in ["useradd --system", "chown -R dumpvault: ", "chgrp dumpvault ", "systemctl daemon-reload"] {
        assert!(called.contains(words), "no `{words}` in {called}");
    }
    service.signal(Signal::TERM);
    service.wait().expect(exit::OK);
    eprintln!("from the program to a scheduled, alerting backup with a page: {:.1} s", time.as_secs_f64());
}
