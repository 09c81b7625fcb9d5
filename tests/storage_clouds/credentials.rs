//! Where credentials come from, how they are renewed, and that nothing shows them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dumpvault::storage::azure::{AzureOptions, Secrets};
use dumpvault::storage::gcs::{GcsOptions, Places};
use dumpvault::storage::scheme::Connected;
use dumpvault::storage::{ErrorKind, Storage};
use serde_json::json;

use crate::cli::{HANGS, Vault, exit, run};
use crate::clouds::{ACCOUNT_KEY, azure, gcs};
use crate::stub::{Call, Fault, Stub};

fn client(server: &Stub) -> Secrets {
    Secrets {
        tenant: Some("tenant".to_owned()),
        client: Some("client".to_owned()),
        client_secret: Some("the-client-secret".to_owned()),
        authority: Some(server.endpoint()),
        machine: Some(server.endpoint()),
        ..Secrets::default()
    }
}

fn of_azure(server: &Stub, auth: &str, secrets: Secrets) -> Connected {
    azure(&server.azure(), AzureOptions { auth: auth.to_owned(), secrets, ..AzureOptions::default() })
}

fn of_gcs(server: &Stub, auth: &str, places: Places) -> Connected {
    let endpoint = Some(server.endpoint());
    gcs("gs://vault/repo", GcsOptions { auth: auth.to_owned(), endpoint, places, ..GcsOptions::default() })
}

/// The request that a token was fetched by.
fn token_call(server: &Stub) -> Call {
    server.calls().into_iter().find(|call| call.path.ends_with("/token")).unwrap()
}

fn works(server: &Stub, storage: &dyn Storage) {
    storage.put("sessions/a", b"1").unwrap();
    assert_eq!(storage.get("sessions/a", 1).unwrap(), b"1");
    let last = server.calls().pop().unwrap();
    assert!(last.header("authorization").starts_with("Bearer secret-token-"), "{last:?}");
    assert_eq!(server.tokens_given(), 1);
}

#[test]
fn azure_gives_tokens_to_a_client_a_workload_an_app_and_a_machine() {
    let server = Stub::new();
    works(&server, &*of_azure(&server, "auto", client(&server)).storage);
    let call = token_call(&server);
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/tenant/oauth2/v2.0/token"));
    assert_eq!(call.field("client_secret"), "the-client-secret");
    assert_eq!(call.field("scope"), "https://storage.azure.com/.default");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "the-assertion\n").unwrap();
    let server = Stub::new();
    let secrets = Secrets { client_secret: None, federated_token_file: Some(file), ..client(&server) };
    works(&server, &*of_azure(&server, "auto", secrets).storage);
    assert_eq!(token_call(&server).field("client_assertion"), "the-assertion");

    let server = Stub::new();
    let url = format!("{}/app/token", server.endpoint());
    let secrets = Secrets { identity: Some((url, "the-header".to_owned())), ..Secrets::default() };
    works(&server, &*of_azure(&server, "auto", secrets).storage);
    assert_eq!(token_call(&server).header("x-identity-header"), "the-header");

    let server = Stub::new();
    let secrets = Secrets { machine: Some(server.endpoint()), ..Secrets::default() };
    works(&server, &*of_azure(&server, "managed", secrets).storage);
    let call = token_call(&server);
    assert_eq!((call.path.as_str(), call.header("metadata")), ("/metadata/identity/oauth2/token", "true"));
    assert_eq!(call.asked("resource"), "https://storage.azure.com/");
}

#[test]
fn a_shared_access_signature_is_sent_as_it_is() {
    let server = Stub::new();
    let sas = "?sv=2024-11-04&sp=rcld&sig=a%2Bb%2Fc%3D";
    let secrets = Secrets { sas: Some(sas.to_owned()), ..Secrets::default() };
    let Connected { storage, .. } = of_azure(&server, "auto", secrets);
    storage.put("config", b"1").unwrap();
    storage.list("", &mut |_| {}).unwrap();
    for call in server.calls() {
        assert_eq!((call.asked("sig"), call.asked("sp")), ("a+b/c=", "rcld"));
        assert_eq!(call.header("authorization"), "");
    }
}

fn rsa_key(folder: &Path) -> String {
    let path = folder.join("rsa.pem");
    let script = "import sys\nfrom cryptography.hazmat.primitives.asymmetric import rsa\nfrom cryptography.hazmat.primitives import serialization as s\nkey = rsa.generate_private_key(public_exponent=65537, key_size=2048)\nopen(sys.argv[1], 'wb').write(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))";
    let status = Command::new(crate::independent::python()).args(["-c", script]).arg(&path).status().unwrap();
    assert!(status.success());
    std::fs::read_to_string(path).unwrap()
}

fn file(folder: &Path, content: &serde_json::Value) -> PathBuf {
    let path = folder.join("credentials.json");
    std::fs::write(&path, content.to_string()).unwrap();
    path
}

#[test]
fn google_gives_tokens_to_a_service_account_a_person_a_workload_and_a_machine() {
    let folder = tempfile::tempdir().unwrap();
    let server = Stub::new();
    let url = format!("{}/token", server.endpoint());
    let key = json!({
        "type": "service_account", "client_email": "backup@p.iam", "private_key_id": "k1",
        "private_key": rsa_key(folder.path()), "token_uri": url,
    });
    let places = Places { key_file: Some(file(folder.path(), &key)), ..Places::default() };
    works(&server, &*of_gcs(&server, "auto", places).storage);
    let assertion = token_call(&server).field("assertion");
    let claims = assertion.split('.').nth(1).unwrap().replace('-', "+").replace('_', "/");
    let padded = format!("{claims}{}", &"==="[..(4 - claims.len() % 4) % 4]);
    let claims: serde_json::Value =
        serde_json::from_slice(&aws_smithy_types::base64::decode(padded).unwrap()).unwrap();
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("backup@p.iam"), &json!(url)));

    let server = Stub::new();
    let person = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "the-refresh-token",
        "token_uri": format!("{}/token", server.endpoint()),
    });
    let places = Places { adc: Some(file(folder.path(), &person)), ..Places::default() };
    works(&server, &*of_gcs(&server, "auto", places).storage);
    assert_eq!(token_call(&server).field("refresh_token"), "the-refresh-token");

    let server = Stub::new();
    let workload = json!({
        "type": "external_account", "audience": "//iam/pool", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", server.endpoint()),
        "credential_source": {
            "url": format!("{}/subject", server.endpoint()), "headers": {"x-own": "header"},
            "format": {"type": "json", "subject_token_field_name": "id_token"},
        },
    });
    let places = Places { usual_adc: Some(file(folder.path(), &workload)), ..Places::default() };
    works(&server, &*of_gcs(&server, "auto", places).storage);
    assert_eq!(token_call(&server).field("subject_token"), "the-subject");
    let subject = server.calls().into_iter().find(|call| call.path == "/subject").unwrap();
    assert_eq!(subject.header("x-own"), "header");

    let server = Stub::new();
    let places = Places { machine: Some(server.host()), ..Places::default() };
    works(&server, &*of_gcs(&server, "auto", places).storage);
    let call = token_call(&server);
    assert_eq!(call.header("metadata-flavor"), "Google");
    assert!(call.path.starts_with("/computeMetadata/v1/instance/"), "{call:?}");
}

#[test]
fn a_workload_may_act_as_a_service_account() {
    let folder = tempfile::tempdir().unwrap();
    let server = Stub::new();
    std::fs::write(folder.path().join("subject"), "the-subject\n").unwrap();
    let workload = json!({
        "type": "external_account", "audience": "a", "subject_token_type": "t",
        "token_url": format!("{}/v1/token", server.endpoint()),
        "service_account_impersonation_url": format!("{}/x:generateAccessToken", server.endpoint()).replace("x:", "x/"),
        "credential_source": {"file": folder.path().join("subject")},
    });
    let places = Places { key_file: Some(file(folder.path(), &workload)), ..Places::default() };
    let Connected { storage, .. } = of_gcs(&server, "auto", places);
    storage.put("config", b"1").unwrap();
    assert_eq!(server.tokens_given(), 2);
    assert_eq!(server.calls().pop().unwrap().header("authorization"), "Bearer secret-token-1");
}

#[test]
fn given_eight_threads_whose_token_is_taken_back_then_it_is_fetched_once_for_all() {
    let (one, other) = (Stub::new(), Stub::new());
    let places = Places { machine: Some(other.host()), ..Places::default() };
    let azure = of_azure(&one, "auto", client(&one));
    let gcs = of_gcs(&other, "auto", places);
    for (server, Connected { storage, .. }) in [(&one, azure), (&other, gcs)] {
        let write = |round: usize| {
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let storage = &storage;
                    scope.spawn(move || storage.put(&format!("packs/{round}-{thread}"), b"1").unwrap());
                }
            });
        };
        write(0);
        assert_eq!(server.tokens_given(), 1);
        server.take_tokens_back();
        write(1);
        assert_eq!(server.tokens_given(), 2);
    }
}

#[test]
fn given_eight_threads_whose_token_ends_then_it_is_fetched_once_for_all_and_none_fails() {
    let (one, other) = (Stub::new(), Stub::new());
    let places = Places { machine: Some(other.host()), ..Places::default() };
    let azure = of_azure(&one, "auto", client(&one));
    let gcs = of_gcs(&other, "auto", places);
    for (server, Connected { bare, .. }) in [(&one, azure), (&other, gcs)] {
        server.shorten_tokens(Duration::from_secs(1), 1);
        // All of them ask and ask until the first token has ended, and then once more.
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let bare = &bare;
                scope.spawn(move || {
                    let began = Instant::now();
                    while server.tokens_given() < 2 {
                        assert!(began.elapsed() < HANGS, "no second token");
                        bare.size("config").unwrap();
                    }
                    bare.put(&format!("packs/{thread}"), b"1").unwrap();
                });
            }
        });
        assert_eq!(server.tokens_given(), 2);
        assert_eq!(server.names().len(), 8);
    }
}

#[test]
fn given_a_token_that_is_refused_for_good_then_it_is_fetched_once_more_and_no_oftener() {
    let server = Stub::new();
    let Connected { storage, .. } = of_azure(&server, "auto", client(&server));
    server.set_hook(|call| {
        let code = vec![("x-ms-error-code", "InvalidAuthenticationInfo".to_owned())];
        call.path.starts_with("/dev").then(|| Fault::Answer(401, code, String::new()))
    });
    let error = storage.put("config", b"1").unwrap_err();
    assert_eq!((error.kind, server.tokens_given()), (ErrorKind::Denied, 2), "{error}");
}

#[test]
fn given_a_token_service_that_refuses_or_is_busy_then_only_the_second_is_tried_again() {
    let server = Stub::new();
    let Connected { storage, .. } = of_azure(&server, "auto", client(&server));
    let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"}"#;
    server.set_hook(|call| {
        call.path.ends_with("/token").then(|| Fault::Answer(401, Vec::new(), body.to_owned()))
    });
    let error = storage.put("config", b"1").unwrap_err();
    assert_eq!((error.kind, server.calls().len()), (ErrorKind::Denied, 1), "{error}");
    assert!(error.to_string().contains("AADSTS7000215") && !error.to_string().contains("Trace"), "{error}");
    server.set_hook(|call| {
        (call.path.ends_with("/token") && call.repetition < 3)
            .then(|| Fault::Answer(503, Vec::new(), String::new()))
    });
    storage.put("config", b"1").unwrap();
}

#[test]
fn given_credentials_then_nobody_asks_the_machine_for_its_identity_and_without_any_it_is_asked_last() {
    let machine = Stub::new();
    let folder = tempfile::tempdir().unwrap();
    let server = Stub::new();
    let own = |secrets: Secrets| Secrets { machine: Some(machine.endpoint()), ..secrets };
    let key = Secrets { key: Some(ACCOUNT_KEY.to_owned()), ..Secrets::default() };
    let sas = Secrets { sas: Some("sv=1&sig=a".to_owned()), ..Secrets::default() };
    for secrets in [key, sas] {
        of_azure(&server, "auto", own(secrets)).storage.size("config").unwrap();
    }
    let person = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "token_uri": format!("{}/token", server.endpoint()),
    });
    let places = Places { machine: Some(machine.host()), ..Places::default() };
    let adc = Places { adc: Some(file(folder.path(), &person)), ..places.clone() };
    let emulator = Places { is_emulator: true, ..places.clone() };
    for places in [adc, emulator] {
        of_gcs(&server, "auto", places).storage.size("config").unwrap();
    }
    assert_eq!(machine.calls().len(), 0, "{:?}", machine.calls());
    of_azure(&machine, "auto", own(Secrets::default())).storage.size("config").unwrap();
    assert_eq!(machine.tokens_given(), 1);
}

/// The program with a repository at the stub.
fn command(vault: &Vault, server: &Stub, args: &[&str]) -> Command {
    let mut command = vault.command(args);
    command.env("DUMPVAULT_REPOSITORY", server.azure()).env("DUMPVAULT_KEY_FILE", vault.key_file());
    command
}

/// A program of that name, which prints a text.
fn program(folder: &Path, name: &str, prints: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\ncat <<'X'\n{prints}\nX\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

#[test]
fn given_az_or_a_token_command_then_what_it_prints_is_used() {
    let (vault, server) = (Vault::empty(), Stub::new());
    let ends = crate::clouds::now_s() + 3600;
    let told = format!(r#"{{"accessToken":"of-the-tool","expires_on":{ends}}}"#);
    let path = program(vault.home(), "az", &told);
    let mut init = command(&vault, &server, &["init"]);
    init.env("PATH", &path);
    run(init, b"").expect(exit::OK);
    assert!(server.calls().iter().all(|call| call.header("authorization") == "Bearer of-the-tool"));

    let server = Stub::new();
    let text =
        format!("[gcs]\nendpoint = \"{}\"\ntoken_command = \"echo of-the-command\"\n", server.endpoint());
    std::fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
    let mut init = command(&vault, &server, &["init"]);
    init.env("DUMPVAULT_REPOSITORY", "gs://vault/repo");
    run(init, b"").expect(exit::OK);
    assert!(server.calls().iter().all(|call| call.header("authorization") == "Bearer of-the-command"));
}

/// Commands that ask a repository, each with what it needs to get so far.
const COMMANDS: [&[&str]; 12] = [
    &["init"],
    &["snapshots"],
    &["doctor"],
    &["backup", "--stdin", "--series", "app"],
    &["restore", "app", "--output", "-"],
    &["forget", "--keep-last", "1"],
    &["prune"],
    &["check"],
    &["stats"],
    &["object-lock", "extend", "--object-lock", "compliance:30d"],
    &["copy", "--to", "elsewhere", "--to-key-file", "elsewhere.key"],
    &["key", "list"],
];

/// What must not be seen, and how the program is told of it.
struct Way {
    address: String,
    variables: Vec<(&'static str, String)>,
    secrets: Vec<&'static str>,
}

fn ways(vault: &Vault, server: &Stub) -> Vec<Way> {
    let endpoint = server.endpoint();
    let azure = |secrets: &[&'static str], variables: &[(&'static str, &str)]| Way {
        address: server.azure(),
        variables: variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        secrets: secrets.to_vec(),
    };
    let google = |secrets: &[&'static str], credentials: serde_json::Value| {
        let path = vault.home().join(format!("{}.json", secrets[0]));
        std::fs::write(&path, credentials.to_string()).unwrap();
        Way {
            address: "gs://vault/repo".to_owned(),
            variables: vec![("GOOGLE_APPLICATION_CREDENTIALS", path.display().to_string())],
            secrets: secrets.to_vec(),
        }
    };
    let url = format!("{endpoint}/token");
    let key = rsa_key(vault.home());
    vec![
        azure(&["SharedKey ", &ACCOUNT_KEY[..20]], &[("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY)]),
        azure(
            &["SECRETSIGNATURE"],
            &[("AZURE_STORAGE_SAS_TOKEN", "sv=2024-11-04&sp=rcld&sig=SECRETSIGNATURE")],
        ),
        azure(
            &["secret-token", "THECLIENTSECRET"],
            &[
                ("AZURE_TENANT_ID", "t"),
                ("AZURE_CLIENT_ID", "c"),
                ("AZURE_CLIENT_SECRET", "THECLIENTSECRET"),
                ("AZURE_AUTHORITY_HOST", &endpoint),
            ],
        ),
        google(
            &["THEREFRESHTOKEN", "THECLIENTSECRET", "secret-token"],
            json!({
                "type": "authorized_user", "client_id": "c", "client_secret": "THECLIENTSECRET",
                "refresh_token": "THEREFRESHTOKEN", "token_uri": url,
            }),
        ),
        google(
            &["PRIVATE KEY", "secret-token", "eyJ"],
            json!({
                "type": "service_account", "client_email": "backup@p.iam", "private_key_id": "k1",
                "private_key": key, "token_uri": url,
            }),
        ),
    ]
}

#[test]
fn given_any_failure_of_any_command_at_the_highest_verbosity_then_no_credential_is_shown() {
    let redirect = || vec![("location", "http://127.0.0.1:1/?sig=SECRETSIGNATURE&t=secret-token".to_owned())];
    let faults = [
        Fault::Answer(403, vec![("x-ms-error-code", "AuthenticationFailed".to_owned())], String::new()),
        Fault::Answer(401, Vec::new(), String::new()),
        Fault::Answer(302, redirect(), String::new()),
        Fault::Answer(200, Vec::new(), "what".to_owned()),
    ];
    let vault = Vault::empty();
    let server = Stub::new();
    let text = format!("[gcs]\nendpoint = \"{}\"\n", server.endpoint());
    std::fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
    for way in ways(&vault, &server) {
        for (n, args) in COMMANDS.into_iter().enumerate() {
            // Each command meets one of them, each way all of them.
            let fault = faults[n % faults.len()].clone();
            let shown = format!("{} {args:?} {fault:?}", way.address);
            server.set_hook(move |call| (!call.path.ends_with("/token")).then(|| fault.clone()));
            let mut command = vault.command([&["-vvv"], args].concat());
            command.env("DUMPVAULT_REPOSITORY", &way.address).env("DUMPVAULT_KEY_FILE", vault.key_file());
            command.envs(way.variables.iter().map(|(name, value)| (name, value)));
            server.forget_calls();
            let output = run(command, b"dump");
            assert_ne!(output.code, Some(exit::OK), "{shown}: {output}");
            assert_ne!(output.code, Some(exit::USAGE), "{shown}: {output}");
            assert!(!server.calls().is_empty(), "{shown} asks nobody: {output}");
            let said = format!("{}{}", output.text(), output.stderr);
            for word in &way.secrets {
                assert!(!said.contains(word), "`{word}`, {shown}: {output}");
            }
        }
    }
}

#[test]
fn given_any_credentials_in_the_environment_then_the_program_asks_no_machine_who_it_is() {
    let (vault, server, machine) = (Vault::empty(), Stub::new(), Stub::new());
    let text = format!("[gcs]\nendpoint = \"{0}\"\n[s3]\nendpoint = \"{0}\"\n", server.endpoint());
    std::fs::write(vault.work().join("dumpvault.toml"), text).unwrap();
    let mut all = ways(&vault, &server);
    let keys = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "SK")];
    all.push(Way {
        address: "s3://bucket/repo".to_owned(),
        variables: keys.map(|(name, value)| (name, value.to_owned())).to_vec(),
        secrets: Vec::new(),
    });
    let emulator = vec![("STORAGE_EMULATOR_HOST", server.endpoint())];
    all.push(Way { address: "gs://vault/repo".to_owned(), variables: emulator, secrets: Vec::new() });
    for way in all {
        for args in [&["init"][..], &["snapshots"], &["doctor"]] {
            let mut command = vault.command(args);
            command.env("DUMPVAULT_REPOSITORY", &way.address).env("DUMPVAULT_KEY_FILE", vault.key_file());
            command.envs(way.variables.iter().map(|(name, value)| (name, value)));
            // The places that stand for 169.254.169.254 and metadata.google.internal.
            command.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", machine.endpoint());
            command.env("GCE_METADATA_HOST", machine.host());
            command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.endpoint());
            run(command, b"");
            assert_eq!(machine.calls().len(), 0, "{} {args:?}: {:?}", way.address, machine.calls());
        }
        assert!(!server.calls().is_empty(), "{} asks nobody", way.address);
        server.forget_calls();
    }
}

#[test]
fn given_no_credentials_then_the_error_says_what_to_set() {
    let (vault, server) = (Vault::empty(), Stub::new());
    let nobody = {
        let gone = Stub::new();
        gone.host()
    };
    let mut azure = command(&vault, &server, &["snapshots"]);
    azure.env("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://{nobody}"));
    run(azure, b"").expect(exit::NOTHING_DONE).says("AZURE_STORAGE_ACCOUNT_KEY");
    let mut gcs = command(&vault, &server, &["snapshots"]);
    gcs.env("DUMPVAULT_REPOSITORY", "gs://vault/repo").env("GCE_METADATA_HOST", &nobody);
    run(gcs, b"").expect(exit::NOTHING_DONE).says("GOOGLE_APPLICATION_CREDENTIALS");
}
