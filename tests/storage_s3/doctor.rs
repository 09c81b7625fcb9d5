//! What `doctor` sees of services that behave in one way or another.

use std::time::Duration;

use serde_json::Value;

use crate::cli::{Output, exit, run, text};
use crate::program::Remote;
use crate::s3::{Conditional, HttpFault};

/// Status and detail of one check, and what to do next.
fn told(output: &Output, name: &str) -> (String, String, String) {
    let report = output.json();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    let check: &Value = found.unwrap_or_else(|| panic!("no `{name}` in {report}"));
    (text(check, "status"), text(check, "detail"), check["next"].as_str().unwrap_or_default().to_owned())
}

fn doctor(remote: &Remote) -> Output {
    remote.run(["--json", "doctor"])
}

#[test]
fn given_a_good_bucket_then_everything_is_well_and_nothing_is_left_behind() {
    let remote = Remote::new();
    let before = remote.server.names();
    let output = doctor(&remote).expect(exit::OK);
    assert_eq!(output.json()["ok"], true);
    for name in [
        "reach",
        "latency",
        "write",
        "read",
        "read a range",
        "list and clock",
        "writing without replacing",
        "delete own sessions",
        "delete packs",
        "repository",
        "key",
        "cache directory",
        "redis-cli",
    ] {
        assert_eq!(told(&output, name).0, "ok", "{name}: {output}");
    }
    assert_eq!(remote.server.names(), before);
    // People get a line for each, and the next step below what could be better.
    let lines = remote.run(["doctor"]).expect(exit::OK).text();
    assert!(lines.contains("If-None-Match is honoured") && lines.contains("pg_dump"), "{lines}");
}

#[test]
fn given_services_that_know_no_conditions_then_it_is_told_which_way_and_is_no_error() {
    for (conditional, words) in [(Conditional::Ignores, "ignored"), (Conditional::Refuses, "refused")] {
        let remote = Remote::new();
        remote.server.set_conditional(conditional);
        let before = remote.server.names();
        let (status, detail, next) = told(&doctor(&remote).expect(exit::OK), "writing without replacing");
        assert!(status == "warning" && detail.contains(words) && next.contains("init"), "{detail}");
        assert_eq!(remote.server.names(), before);
    }
}

#[test]
fn given_keys_that_may_not_delete_then_it_says_what_it_left_behind_and_that_backups_work() {
    let remote = Remote::new();
    remote
        .server
        .set_hook(|call| (call.method == "DELETE").then_some(HttpFault::Status(403, "AccessDenied")));
    let before = remote.server.names().len();
    let output = doctor(&remote).expect(exit::OK);
    let (status, detail, next) = told(&output, "delete own sessions");
    assert!(status == "warning" && next.contains("docs/offsite.md"), "{detail}");
    let left = remote.server.names().into_iter().find(|name| name.contains("/doctor-")).unwrap();
    assert!(detail.contains(&left), "{detail} does not name {left}");
    assert_eq!(remote.server.names().len(), before + 1);
    let (status, detail, _) = told(&output, "delete packs");
    assert!(status == "ok" && detail.contains("denied"), "{detail}");
    remote.backup(b"some dump", &[]);
    remote.run(["check"]).expect(exit::OK);
}

#[test]
fn given_rights_that_are_missing_then_each_is_named_with_what_to_grant() {
    let refuse = |what: fn(&crate::s3::Call) -> bool| {
        let remote = Remote::new();
        remote.server.set_hook(move |call| what(call).then_some(HttpFault::Status(403, "AccessDenied")));
        doctor(&remote).expect(exit::NOTHING_DONE)
    };
    let output = refuse(|call| call.method == "PUT");
    let (status, _, next) = told(&output, "write");
    assert!(status == "error" && next.contains("s3:PutObject"), "{output}");
    let output = refuse(|call| call.query.contains("list-type"));
    let (status, _, next) = told(&output, "list");
    assert!(status == "error" && next.contains("s3:ListBucket"), "{output}");
    let output = refuse(|call| call.method == "GET" && call.path.contains("doctor"));
    let (status, _, next) = told(&output, "read");
    assert!(status == "error" && next.contains("s3:GetObject"), "{output}");
}

#[test]
fn given_a_service_that_gives_other_ranges_then_it_cannot_be_used() {
    let remote = Remote::new();
    remote.server.ignore_ranges();
    let output = doctor(&remote).expect(exit::NOTHING_DONE);
    assert_eq!(told(&output, "read a range").0, "error");
}

#[test]
fn given_clocks_that_differ_and_a_slow_wire_then_both_are_told() {
    let remote = Remote::new();
    remote.server.set_skew(Duration::from_secs(600));
    let (status, detail, next) = told(&doctor(&remote).expect(exit::NOTHING_DONE), "list and clock");
    assert!(status == "error" && detail.contains("behind") && next.contains("timedatectl"), "{detail}");
    remote.server.set_skew(Duration::ZERO);

    remote.server.set_latency(Duration::from_millis(300));
    let (status, detail, _) = told(&doctor(&remote).expect(exit::OK), "latency");
    assert!(status == "warning" && detail.contains("ms a request"), "{detail}");
}

#[test]
fn given_what_keeps_a_repository_from_opening_then_it_is_told_and_the_rest_is_looked_at_all_the_same() {
    let remote = Remote::bare();
    let output = doctor(&remote).expect(exit::NO_REPOSITORY);
    let (status, _, next) = told(&output, "repository");
    assert!(status == "error" && next.contains("dumpvault init"), "{output}");
    assert_eq!(told(&output, "write").0, "ok");
    told(&output, "pg_dump");

    let remote = Remote::new();
    let mut wrong = remote.command(&["--json", "doctor"]);
    wrong.env_remove("DUMPVAULT_KEY_FILE").env("DUMPVAULT_PASSWORD", "not the right one");
    assert_eq!(told(&run(wrong, b"").expect(exit::WRONG_KEY), "repository").0, "error");
    let mut nowhere = remote.command(&["--json", "doctor"]);
    nowhere.env("DUMPVAULT_REPOSITORY", "s3:http://127.0.0.1:1/vault/repo");
    let output = run(nowhere, b"").expect(exit::NOTHING_DONE);
    assert_eq!(told(&output, "reach").0, "error");
    told(&output, "cache directory");
    let mut unnamed = remote.command(&["--json", "doctor"]);
    unnamed.env_remove("DUMPVAULT_REPOSITORY");
    assert_eq!(told(&run(unnamed, b"").expect(exit::OK), "address").0, "warning");
}

#[test]
fn given_a_folder_then_it_is_looked_at_the_same_way() {
    let vault = crate::cli::Vault::new();
    let before = vault.objects();
    let output = vault.run(["--json", "doctor"]).expect(exit::OK);
    for name in ["write", "read", "read a range", "list and clock", "delete own sessions", "key"] {
        assert_eq!(told(&output, name).0, "ok", "{name}: {output}");
    }
    assert_eq!(vault.objects(), before);
    assert!(vault.work().read_dir().unwrap().next().is_none());
}

#[test]
fn given_a_storage_that_lists_late_then_it_is_told_and_that_a_grace_is_needed() {
    use dumpvault::base::clock::SystemClock;
    use dumpvault::base::secret::OsEntropy;
    use dumpvault::engine::doctor::{Status, storage};
    use dumpvault::storage::faulty::{Fault, Faulty, Rule};
    use dumpvault::storage::memory::MemoryStorage;

    let rule = Rule::on("sessions/").with(1.0, Fault::StaleList);
    let late = Faulty::new(MemoryStorage::new(), 1).with_rule(rule);
    let findings = storage(&late, None, &SystemClock, &OsEntropy);
    let list = findings.iter().find(|finding| finding.name == "list").unwrap();
    assert_eq!(list.status, Status::Error, "{list:?}");
    assert!(list.next.as_ref().unwrap().contains("docs/offsite.md"), "{list:?}");
    // One that lists at once is well.
    let prompt = Faulty::new(MemoryStorage::new(), 1);
    let findings = storage(&prompt, None, &SystemClock, &OsEntropy);
    assert!(findings.iter().all(|finding| finding.status == Status::Good), "{findings:?}");
}
