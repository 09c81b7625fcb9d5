use super::*;
use crate::base::level::Level;
use crate::base::setting::{Origin, SettingError, Value, example};
use crate::settings::{ConfigError, Environment, Flags, KeySource, manual, resolve_text};
use crate::source::kind::Around;
use crate::storage::s3::S3Options;
use std::collections::HashMap;
use std::ffi::OsString;

/// What the file's text says, with these variables and options.
fn resolved(
    text: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Settings, ConfigError> {
    let variables: HashMap<OsString, OsString> =
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let environment =
        Environment { variables, directory: "/from/here".into(), uid: 1000, is_interactive: false };
    let mut said = Flags::default();
    flags.iter().for_each(|(flag, word)| said.say(flag, Some(word)));
    let known = Known::new(&environment.directory, Kinds::OWN);
    resolve_text(Some(("x.toml".into(), text.to_owned())), &said, &environment, &known)
}

fn errors(text: &str) -> Vec<SettingError> {
    match resolved(text, &[], &[]).map(drop) {
        Err(ConfigError::Settings(errors)) => errors,
        other => panic!("{text}: {other:?}"),
    }
}

/// The line of each error, and what it is about.
fn lines(text: &str) -> Vec<(usize, String)> {
    let place = |error: SettingError| match error.origin {
        Origin::File { line, .. } => (line, error.setting),
        other => panic!("{other}"),
    };
    errors(text).into_iter().map(place).collect()
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let text = "compression = 'hard'\n\n[s3]\nstall_timeout = '1ms'\nendpiont = 'x'\n[source.app]\ntimeout = 'soon'\n\
                databse = 'app'\n[source.app.retention]\nkeep_within = '5'\nkeep_daily = 1\n[copy.off]\nrepository = 'ftp://x'\n\
                [restore]\nbefore = 5\n[source.ftp]\ntype = 'ftp'\n[unknown]\nx = 1\n";
    let expected = [
        (1, "compression"),
        (4, "s3.stall_timeout"),
        (5, "s3.endpiont"),
        (7, "source.app.timeout"),
        (8, "source.app.databse"),
        (10, "source.app.retention.keep_within"),
        (13, "copy.off.repository"),
        (15, "restore.before"),
        (17, "source.ftp.type"),
        (18, "unknown"),
    ];
    let expected: Vec<(usize, String)> =
        expected.iter().map(|(line, setting)| (*line, (*setting).to_owned())).collect();
    assert_eq!(lines(text), expected);
}

#[test]
fn values_that_this_run_does_not_use_are_checked_all_the_same() {
    for (text, setting) in [
        ("limit_upload = 'fast'", "limit_upload"),
        ("time_zone = 'Mars/Olympus'", "time_zone"),
        ("week_start = 'someday'", "week_start"),
        ("max_read_amplification = 0.5", "max_read_amplification"),
        ("suspect_below = 2", "suspect_below"),
        ("protect = ['\"x']", "protect"),
        ("repository = 'ftp:host:/x'", "repository"),
        ("repository = 'sftp://-oProxyCommand=x/y'", "repository"),
        ("repository = 'rclone:x'", "repository"),
        (
            "[copy.x]\nrepository = 'sftp:h:x'\n[copy.x.sftp]\nstall_timeout = '0s'",
            "copy.x.sftp.stall_timeout",
        ),
        ("repository = 5", "repository"),
        ("host = 'a/b'", "host"),
        ("password = 'x'", "password"),
        ("[retention]\nkeep_tags = []", "retention"),
        ("[retention]\nkeep_last = -1\nkeep_daily = 1", "retention.keep_last"),
        ("[s3]\nobject_lock = 'compliance'", "s3.object_lock"),
        ("[copy.x]\nsince = '30d'", "copy.x"),
        ("[copy.x]\nrepository = '/x'\nsince = 'soon'", "copy.x.since"),
        ("[copy.x]\nrepository = '/x'\nseries = ['a/b/c']", "copy.x.series"),
        ("[copy.x]\nrepository = '/x'\n[copy.x.s3]\nstall_timeout = '0s'", "copy.x.s3.stall_timeout"),
        ("[source.a]\ntags = ['']", "source.a.tags"),
        ("[source.a]\nseries = 'a:b'", "source.a.series"),
        ("[source.'--help']", "source.--help"),
        ("[source.a]\ncommand = []", "source.a.command"),
        ("[source.a]\ntype = 'command'", "source.a"),
        ("[source.a]\nuri = 'http://x'", "source.a.uri"),
        ("[source.a]\nport = 70000", "source.a.port"),
        ("[source.a]\nlock_wait_timeout = 'x'", "source.a.lock_wait_timeout"),
        ("[source.a]\ndatabase = 'a'\nall_databases = true", "source.a.database"),
        ("[source.a]\nenv = { 'A B' = 'x' }", "source.a.env"),
        ("source = 5", "source"),
        ("[source]\na = 5", "source.a"),
    ] {
        let found = errors(text);
        assert_eq!(
            found.iter().map(|error| error.setting.as_str()).collect::<Vec<_>>(),
            [setting],
            "{text}: {found:?}"
        );
    }
}

#[test]
fn a_slip_is_told_what_was_meant() {
    let hint = |text: &str| errors(text).remove(0).next.unwrap();
    assert_eq!(hint("compresion = 'max'"), "did you mean `compression`?");
    assert_eq!(hint("[source.a]\ntype = 'postgre'"), "did you mean `postgres`?");
    assert_eq!(hint("[sources.a]"), "did you mean `source`?");
    let wrong_kind = hint("[source.a]\ntype = 'command'\ncommand = ['x']\nschemas = ['x']");
    assert_eq!(wrong_kind, "it belongs to `[source.NAME]` with `type = \"postgres\"`");
}

#[test]
fn an_error_never_shows_a_password() {
    for text in [
        "[source.a]\nuri = 'postgres://u:s3cret@more@h/x'",
        "[source.a]\nenv = { 'A B' = 's3cret' }",
        "repository = 's3:https://key:s3cret@host/bucket'",
        "password = 's3cret'",
    ] {
        let error = resolved(text, &[], &[]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

#[test]
fn secrets_are_not_shown_and_everything_else_is_with_its_origin() {
    let text = "password_command = 'pass --token=s3cret show'\nprotect = ['a']\n[source.a]\nuri = 'postgres://u:s3cret@h/x'\n\
                env = { A = 's3cret' }\n[source.b]\ncommand = ['curl', 's3cret']\n[restore]\nafter = 'T=s3cret x'\n";
    let settings = resolved(text, &[("DUMPVAULT_PASSWORD", "s3cret")], &[("--limit-upload", "5M")]).unwrap();
    assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
    let shown = |setting: &str| {
        let found = settings.shown.iter().find(|shown| shown.setting == setting).unwrap();
        let value = found.value.as_ref().map_or_else(|| "(secret)".to_owned(), ToString::to_string);
        (value, found.origin.clone())
    };
    assert_eq!(shown("password"), ("(secret)".to_owned(), Origin::Variable("DUMPVAULT_PASSWORD")));
    assert_eq!(shown("limit_upload"), ("\"5M\"".to_owned(), Origin::Flag("--limit-upload")));
    assert_eq!(shown("max_read_amplification"), ("3".to_owned(), Origin::Default));
    assert_eq!(shown("source.a.uri").0, "\"postgresql://u@h/x\"");
    assert_eq!(shown("source.b.command").0, "\"curl …\"");
    assert!(matches!(shown("protect").1, Origin::File { line: 2, .. }));
}

fn path_of(key: Value<KeySource>) -> String {
    match key.value {
        KeySource::KeyFile(path) => format!("key file {}", path.display()),
        KeySource::PassphraseFile(path) => format!("passphrase file {}", path.display()),
        KeySource::Passphrase(_) => "passphrase".to_owned(),
        KeySource::PassphraseCommand(command) => format!("command {command}"),
    }
}

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let text = "repository = '/file'\nkey_file = '/file.key'\n";
    let place = |variables: &[(&str, &str)], flags: &[(&'static str, &str)]| {
        let settings = resolved(text, variables, flags).unwrap();
        (settings.repository.place.unwrap().value.to_string(), settings.repository.key.map(path_of).unwrap())
    };
    let folder = str::to_owned;
    let key = |path: &str| format!("key file {path}");
    let variable = ("DUMPVAULT_REPOSITORY", "relative");
    assert_eq!(place(&[], &[]), (folder("/file"), key("/file.key")));
    assert_eq!(place(&[variable], &[]).0, folder("/from/here/relative"));
    assert_eq!(place(&[variable], &[("--repo", "file:///flag")]).0, folder("/flag"));
    let by_variable = place(&[("DUMPVAULT_PASSWORD_FILE", "/p"), ("DUMPVAULT_PASSWORD_COMMAND", "c")], &[]).1;
    assert_eq!(by_variable, "passphrase file /p");
    let by_flag = place(&[("DUMPVAULT_KEY_FILE", "/k")], &[("--password-file", "/q")]).1;
    assert_eq!(by_flag, "passphrase file /q");
    // What comes first does not hide what is wrong behind it.
    assert!(resolved("repository = 'ftp:x'", &[], &[("--repo", "/x")]).is_err());
}

#[test]
fn a_destination_is_opened_and_reached_by_its_own_settings_and_else_by_those_of_the_source() {
    let text = "key_file = '/k'\n[s3]\nregion = 'r'\nprofile = 'p'\n[copy.a]\nrepository = 's3://bucket-a/x'\n\
                [copy.b]\nrepository = '/b'\nkey_file = '/kb'\n[copy.b.s3]\nregion = 'rb'\n";
    let settings = resolved(text, &[], &[("--s3-endpoint", "https://e"), ("--s3-region", "flag")]).unwrap();
    let key = |name: &str| match &settings.copies[name].repository.key.as_ref().unwrap().value {
        KeySource::KeyFile(path) => path.to_str().unwrap().to_owned(),
        _ => panic!(),
    };
    assert_eq!((key("a"), key("b")), ("/k".to_owned(), "/kb".to_owned()));
    let s3 = |name: &str| {
        let options = &settings.copies[name].repository.storages["s3"];
        let s3 = options.downcast_ref::<S3Options>().unwrap().clone();
        (s3.endpoint.unwrap().value, s3.region.unwrap().value, s3.profile)
    };
    assert_eq!(s3("a"), ("https://e".to_owned(), "flag".to_owned(), Some("p".to_owned())));
    assert_eq!(s3("b"), ("https://e".to_owned(), "rb".to_owned(), None));
    let by_variable = resolved(text, &[("DUMPVAULT_TO_KEY_FILE", "/kt")], &[("--to", "/elsewhere")]).unwrap();
    let destination = &by_variable.copies["/elsewhere"].repository;
    assert_eq!(destination.place.as_ref().unwrap().value.to_string(), "/elsewhere");
    assert!(
        matches!(&destination.key.as_ref().unwrap().value, KeySource::KeyFile(path) if path.ends_with("kt"))
    );
}

#[test]
fn defaults_are_those_of_the_parts_that_go_by_them() {
    let settings = resolved("", &[], &[]).unwrap();
    assert_eq!(settings.compression, Level::DEFAULT);
    assert_eq!(settings.cache_bytes, crate::storage::cache::CACHE_BYTES_DEFAULT);
    assert!((settings.suspect_below - crate::engine::backup::SUSPECT_BELOW).abs() < f64::EPSILON);
    let amplification = settings.max_read_amplification - crate::engine::backup::READ_AMPLIFICATION_MAX;
    assert!(amplification.abs() < f64::EPSILON);
    assert!(settings.repository.place.is_none() && settings.repository.key.is_none());
}

#[test]
fn sources_tell_their_kind_by_type_or_by_what_they_say() {
    let text = "[source.a]\ncommand = ['echo', 'x']\n[source.b]\n[source.c]\nall_databases = true\nhost = '/run'\n\
                [source.d]\nuri = 'postgres://h/x'\nseries = 'y'\nretention = { keep_daily = 3 }\n";
    let settings = resolved(text, &[], &[]).unwrap();
    let described = |name: &str| settings.sources[name].kind.source(&Around::default()).describe();
    assert_eq!(described("a")["kind"], "command");
    assert!(described("b")["address"].ends_with("/b"), "{:?}", described("b"));
    assert!(!described("c")["address"].ends_with("/c"), "all of them: {:?}", described("c"));
    assert!(described("d")["address"].ends_with("/x"), "{:?}", described("d"));
    assert_eq!(settings.retention().1["y"].daily, 3);
    let text =
        "[source.e]\nuri = 'redis://h'\n[source.f]\npaths = ['/srv']\n[source.g]\nuri = 'postgres://h/y'\n";
    let settings = resolved(text, &[], &[]).unwrap();
    let kind = |name: &str| settings.sources[name].kind.source(&Around::default()).describe()["kind"].clone();
    assert_eq!(["e", "f", "g"].map(kind), ["redis", "files", "postgres"]);
}

#[test]
fn every_example_and_default_is_a_value_of_its_setting() {
    let faults: Vec<String> = sections().iter().flat_map(|section| section.faults()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let text = example(&sections());
    resolved(&text, &[], &[]).unwrap();
    // Without the marks it is one file, each table once.
    let open =
        |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
    // Kinds of sources have some names in common: each stands once.
    let mut table = String::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut once = |line: &String| {
        if line.starts_with('[') {
            table = line.clone();
        }
        let key = line.split_once(" = ").map(|(key, _)| (table.clone(), key.to_owned()));
        key.is_none_or(|key| key.1.starts_with('#') || seen.insert(key))
    };
    let open: Vec<String> = text.lines().map(open).filter(|line| once(line)).collect();
    let all = errors(&open.join("\n"));
    // A source is of one kind, and has one database or several.
    let settings: Vec<&str> =
        all.iter().map(|error| error.setting.trim_start_matches("source.app.")).collect();
    let of_redis = [
        "password_file",
        "password_command",
        "tls",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "buffer",
        "normalise",
        "method",
        "rdb_path",
        "settings",
        "sort_memory",
    ];
    let of_files = ["paths", "exclude", "exclude_caches", "newer_than", "one_file_system"];
    let of_buckets = [
        "bucket",
        "endpoint",
        "region",
        "path_style",
        "profile",
        "ca_file",
        "stall_timeout",
        "object_tags",
        "versions",
    ];
    // A job is of one kind, says once when it runs, and names what is there.
    let of_jobs = ["", ".system", ".system", ".part", ".snapshot", ".server", ".to", ".command"];
    let of_jobs = of_jobs.map(|key| format!("job.nightly{key}"));
    let of_jobs: Vec<&str> = of_jobs.iter().map(String::as_str).collect();
    // A channel is of one kind.
    let of_alerts = [
        ".url",
        ".url_file",
        ".url_command",
        ".start_url",
        ".fail_url",
        ".preset",
        ".secret_file",
        ".secret_command",
        ".token_file",
        ".token_command",
        ".chat",
        ".allow_link_local",
        ".command",
        "",
        "",
        "",
        "",
    ];
    let of_alerts = of_alerts.map(|key| format!("alert.ops{key}"));
    let of_alerts: Vec<&str> = of_alerts.iter().map(String::as_str).collect();
    let expected =
        [&["database"][..], &of_redis, &["command"], &of_files, &of_buckets, &of_jobs, &of_alerts].concat();
    assert_eq!(settings, expected, "{all:?}");
}

#[test]
fn the_manual_says_what_the_program_knows() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let made = manual(&sections());
    if std::env::var_os("DUMPVAULT_TEST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "docs/configuration.md is out of date: run this test with DUMPVAULT_TEST_WRITE_DOCS=1"
    );
}
