//! Other ways to a Redis server: the file that it saves, TLS, what it says of its settings, and a whole system that has
//! one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::cli::{Output, Vault, exit, text};
use crate::support::redis::{ALL, Redis};
use dumpvault::content::rdb::{Reader, Structure};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

fn configured(vault: &Vault, text: &str) -> PathBuf {
    let path = vault.work().join("dumpvault.toml");
    fs::write(&path, text).unwrap();
    path
}

fn with(vault: &Vault, config: &str, args: &[&str]) -> Output {
    let config = configured(vault, config);
    let front = ["--config", config.to_str().unwrap()];
    vault.run(front.iter().chain(args))
}

#[test]
fn given_bgsave_then_the_file_of_that_very_save_is_stored_for_each_version() {
    for kind in ALL {
        let server = Redis::start(kind);
        let keys = server.fill();
        let vault = Vault::new();
        let config =
            format!("[source.queue]\ntype = \"redis\"\nuri = \"{}\"\nmethod = \"bgsave\"\n", server.uri());
        with(&vault, &config, &["backup", "queue"]).expect(exit::OK);
        server.ask("SET another 1");
        // A save that runs already began too early.
        server.ask("BGSAVE");
        with(&vault, &config, &["backup", "queue"]).expect(exit::OK);
        let snapshot = vault.snapshots().pop().unwrap();
        assert_eq!(text(&snapshot, "proof"), "exit-status+structure", "{kind}");
        let mut reader = Reader::new();
        reader.push(&vault.restore("queue").expect(exit::OK).stdout);
        let (structure, survey) = reader.finish();
        assert_eq!((structure, survey.keys()), (Structure::Whole, keys as u64 + 1), "{kind}");
        // Where the file lies may be known better outside, and something else may have to read it there.
        let path = server.home().join("dump.rdb");
        let more = format!("{config}rdb_path = \"{}\"\nexec = [\"env\", \"X=1\"]\n", path.display());
        with(&vault, &more, &["backup", "queue"]).expect(exit::OK);
    }
}

#[test]
fn given_a_save_that_fails_or_another_file_then_there_is_no_snapshot_and_the_old_file_is_not_taken() {
    let server = Redis::start("redis70");
    server.fill();
    let vault = Vault::new();
    let config =
        format!("[source.queue]\ntype = \"redis\"\nuri = \"{}\"\nmethod = \"bgsave\"\n", server.uri());
    with(&vault, &config, &["backup", "queue"]).expect(exit::OK);
    // The file of yesterday.
    let old = vault.work().join("old.rdb");
    let mut bytes = fs::read(server.home().join("dump.rdb")).unwrap();
    let at = bytes.windows(5).position(|word| word == b"ctime").unwrap() + 5;
    assert_eq!(bytes[at], 0xc2);
    bytes[at + 1..at + 5].copy_from_slice(&1_600_000_000u32.to_le_bytes());
    fs::write(&old, bytes).unwrap();
    let other = format!("{config}rdb_path = \"{}\"\n", old.display());
    with(&vault, &other, &["backup", "queue"]).expect(exit::NOTHING_DONE).says("is not what");
    let missing = format!("{config}rdb_path = \"{}\"\n", vault.work().join("none").display());
    with(&vault, &missing, &["backup", "queue"]).expect(exit::NOTHING_DONE).says("rdb_path");
    // A folder in the place of the file: the save fails, and yesterday's time stays.
    fs::remove_file(server.home().join("dump.rdb")).unwrap();
    fs::create_dir(server.home().join("dump.rdb")).unwrap();
    with(&vault, &config, &["backup", "queue"]).expect(exit::NOTHING_DONE).says("did not save its data: err");
    assert_eq!(vault.ids().len(), 1);
    let wrong = format!("[source.queue]\ntype = \"redis\"\nuri = \"{}\"\nrdb_path = \"/x\"\n", server.uri());
    with(&vault, &wrong, &["backup", "queue"]).expect(exit::USAGE).says("go with `method");
}

#[test]
fn given_settings_and_users_then_they_are_a_stream_beside_the_data_without_passwords() {
    let server =
        Redis::start_with("redis82", &["--maxmemory-policy", "allkeys-lru", "--masterauth", "s3cret-word"]);
    server.fill();
    server.ask("ACL SETUSER reader on >other-s3cret +get ~x:*");
    let vault = Vault::new();
    vault.run(["backup", &server.uri(), "--series", "queue"]).expect(exit::OK);
    let stored = vault.run(["cat", "queue:queue/settings"]).expect(exit::OK).stdout;
    let stored: serde_json::Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(stored["config"]["maxmemory-policy"], "allkeys-lru");
    assert!(stored["config"]["masterauth"].is_null(), "{stored}");
    assert!(
        stored["acl"].to_string().contains("user reader on")
            && stored["acl"].to_string().contains("#2e34f5a7"),
        "{stored}"
    );
    assert!(!stored.to_string().contains("s3cret"), "{stored}");
    // The data is what is meant where nothing is named.
    assert!(vault.restore("queue").expect(exit::OK).stdout.starts_with(b"REDIS"));
    // Who may not read them stores the data alone.
    server.ask("ACL SETUSER vault on >vault-word +psync +replconf +info");
    let config = format!(
        "[source.q]\ntype = \"redis\"\nuri = \"redis://vault@127.0.0.1:{0}\"\nenv = {{ REDISCLI_AUTH = \"vault-word\" }}\n\
         [source.n]\ntype = \"redis\"\nuri = \"redis://127.0.0.1:{0}\"\nsettings = false\n",
        server.port
    );
    for name in ["q", "n"] {
        with(&vault, &config, &["backup", name]).expect(exit::OK).does_not_say("warning");
        let id = vault.ids().pop().unwrap();
        assert_eq!(vault.snapshot(&id)["streams"].as_array().unwrap().len(), 1, "{name}");
    }
}

/// An authority of the test's own, and what it vouches for: files by name.
fn certificates(vault: &Vault) -> impl Fn(&str) -> String + use<> {
    let folder = vault.work();
    // One that is called as its issuer is would be taken for one that vouches for itself.
    let named = |name: &str| {
        let mut names = rcgen::DistinguishedName::new();
        names.push(rcgen::DnType::CommonName, name);
        names
    };
    let key = || rcgen::KeyPair::generate().unwrap();
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = named("an authority");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let own = key();
    write("ca.crt", params.self_signed(&own).unwrap().pem());
    let issuer = rcgen::Issuer::new(params, own);
    for (name, host) in [("server", "localhost"), ("other", "elsewhere.example"), ("client", "client")] {
        let key = key();
        let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name = named(host);
        write(&format!("{name}.crt"), params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    move |name| folder.join(name).display().to_string()
}

#[test]
fn given_tls_with_an_authority_of_its_own_then_it_is_trusted_where_that_is_said_and_nowhere_else() {
    let vault = Vault::new();
    let file = certificates(&vault);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (cert, key, ca) = (file("server.crt"), file("server.key"), file("ca.crt"));
    let settings =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let server = Redis::start_with("redis70", &settings);
    server.fill();
    let uri = format!("rediss://localhost:{port}");
    vault.run(["backup", &uri]).expect(exit::NOTHING_DONE).says("cannot use TLS").says("tls_ca");
    let trusting = format!("[source.queue]\ntype = \"redis\"\nuri = \"{uri}\"\ntls_ca = \"{ca}\"\n");
    // The server wants to know who comes.
    with(&vault, &trusting, &["backup", "queue"]).expect(exit::NOTHING_DONE);
    let known =
        format!("{trusting}tls_cert = \"{}\"\ntls_key = \"{}\"\n", file("client.crt"), file("client.key"));
    with(&vault, &known, &["backup", "queue"]).expect(exit::OK);
    assert_eq!(text(&vault.snapshots().pop().unwrap(), "proof"), "exit-status+structure");
    // Keys go back the same way, by what is configured for that address.
    server.ask("FLUSHALL");
    with(&vault, &known, &["restore", "queue", "--to-redis", &uri, "--via", "keys"]).expect(exit::OK);
    assert_eq!(server.ask("DBSIZE"), "314");

    // A certificate of the same authority for another host.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (cert, key) = (file("other.crt"), file("other.key"));
    let settings = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ];
    let _other = Redis::start_with("redis70", &settings);
    let elsewhere =
        format!("[source.queue]\ntype = \"redis\"\nuri = \"rediss://localhost:{port}\"\ntls_ca = \"{ca}\"\n");
    with(&vault, &elsewhere, &["backup", "queue"]).expect(exit::NOTHING_DONE).says("cannot use TLS");
    // A server without TLS there.
    let plain = format!("[source.queue]\ntype = \"redis\"\nuri = \"rediss://localhost:{}\"\n", server.port);
    with(&vault, &plain, &["backup", "queue"]).expect(exit::NOTHING_DONE).says("cannot use TLS");
}

#[test]
fn given_a_server_with_a_password_file_when_its_system_is_restored_then_the_file_opens_it_there_too() {
    let server = Redis::start("redis70");
    server.fill();
    let contents = server.contents();
    server.ask("CONFIG SET requirepass s3cret-word");
    server.login("s3cret-word");
    let vault = Vault::new();
    fs::write(vault.work().join("pass"), "s3cret-word\n").unwrap();
    let config = format!(
        "[source.queue]\ntype = \"redis\"\nuri = \"{}\"\npassword_file = \"{}\"\n[system.shop]\nsources = [\"queue\"]\n",
        server.uri(),
        vault.work().join("pass").display()
    );
    with(&vault, &config, &["run", "shop"]).expect(exit::OK);
    server.ask("FLUSHALL");
    let told = with(&vault, &config, &["restore", "--set", "shop", "--apply", "--yes"]).expect(exit::OK);
    assert!(!told.text().contains("s3cret"), "{told}");
    assert_eq!(server.contents(), contents);
}
