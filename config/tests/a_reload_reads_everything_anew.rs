//! A reload keeps the command line and the environment of the start, reads every file anew, and says what it changes and
//! what waits for a restart.

use conduit_config::{Changes, Flags, Loaded, Loader, Problems, diff};
use std::collections::HashMap;
use std::io;
use std::path::Path;

type Disk = HashMap<&'static str, &'static str>;

fn load(loader: &Loader, disk: &Disk) -> Result<Loaded, Problems> {
    let read = |path: &Path| {
        let text = path.to_str().and_then(|path| disk.get(path));
        text.map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    loader.load(&read, 7)
}

fn loader(environment: &[(&str, &str)]) -> Loader {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Loader::new(Flags::default(), environment, 2)
}

fn files(loaded: &Loaded) -> Vec<(&'static str, String, bool)> {
    let row = |file: &conduit_config::LoadedFile| (file.kind, file.path.display().to_string(), file.digest.is_some());
    loaded.files.iter().map(row).collect()
}

const RULES: &str = "version: proto-dsl/v0\nrules: []\n";

#[test]
fn without_any_setting_the_usual_files_are_read_if_they_are_there() {
    let loaded = load(&loader(&[]), &Disk::new()).expect("none is needed");
    let absent = [("tenants", "config/tenants.yaml", false), ("rules", "config/rules.yaml", false)];
    assert_eq!(files(&loaded), absent.map(|(kind, path, is_there)| (kind, path.to_owned(), is_there)));
    assert!(loaded.policy.access.is_open() && loaded.rules.is_none());
    assert_eq!(loaded.policy.generation, 7);

    let disk = Disk::from([("config/tenants.yaml", "tenants: {a: {tokens: [t]}}"), ("config/rules.yaml", RULES)]);
    let loaded = load(&loader(&[]), &disk).expect("valid");
    assert_eq!((loaded.tenants, loaded.rules.is_some()), (1, true));
    assert!(!loaded.policy.access.is_open());
}

#[test]
fn beside_a_configuration_file_the_usual_files_are_its_neighbours() {
    let disk = Disk::from([
        ("/etc/conduit/conduit.yaml", "listen: {httpPort: 1234}"),
        ("/etc/conduit/tenants.yaml", "tenants: {a: ~}"),
        ("config/rules.yaml", "this is not read"),
    ]);
    let loaded = load(&loader(&[("CONDUIT_CONFIG", "/etc/conduit/conduit.yaml")]), &disk).expect("valid");
    assert_eq!((loaded.resolved.config.http_port, loaded.tenants), (1_234, 1));
    let flags = Flags::default().with_config("/etc/conduit/conduit.yaml").with("tenant-config", "none");
    let loaded = load(&Loader::new(flags, [], 2), &disk).expect("valid");
    assert_eq!((loaded.resolved.config.http_port, loaded.tenants), (1_234, 0));
}

#[test]
fn a_file_that_is_named_has_to_be_there() {
    let given =
        [("CONDUIT_CONFIG", "a"), ("CONDUIT_TENANT_CONFIG", "b"), ("CONDUIT_RULES", "c"), ("CONDUIT_TOKENS_FILE", "d")];
    let problems = load(&loader(&given), &Disk::new()).expect_err("none is there").0;
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["a", "d", "b", "c"]);
    let problems = load(&loader(&given[3..]), &Disk::from([("d", "# none\n")])).expect_err("no token").0;
    assert!(problems[0].reason.contains("0 tokens"), "{problems:?}");
}

#[test]
fn problems_of_all_files_are_told_at_once() {
    let disk = Disk::from([
        ("c.yaml", "listen: {httpPrt: 1}\nrules: {file: r}\n"),
        ("tenants.yaml", "tenant: {}"),
        ("r", "version: 1\nrules: 7\n"),
        ("tokens", "fine\nnot fine\n"),
    ]);
    let given = [("CONDUIT_CONFIG", "c.yaml"), ("CONDUIT_TOKENS_FILE", "tokens"), ("CONDUIT_SHARDS", "0")];
    let text = load(&loader(&given), &disk).expect_err("five files and sources").to_string();
    for part in ["c.yaml:1:10", "CONDUIT_SHARDS", "tokens:2", "tenants.yaml:1:1", "r:1:10", "r:2:8"] {
        assert!(text.contains(part), "{part} is missing from:\n{text}");
    }
}

#[test]
fn what_only_shows_together_is_told_too() {
    let given = [("CONDUIT_PROTECT_METRICS", "true")];
    let problems = load(&loader(&given), &Disk::new()).expect_err("nothing to ask for").0;
    assert_eq!(problems[0].key, "--protect-metrics");
    let disk = Disk::from([("config/tenants.yaml", "tenants: {a: {tokens: [t]}}")]);
    assert!(load(&loader(&given), &disk).is_ok(), "a tenant has a token");
    let given = [("CONDUIT_CONTROL_TOKEN", "t")];
    let problems = load(&loader(&given), &disk).expect_err("one token, two meanings").0;
    assert!(problems[0].reason.contains("control token"), "{problems:?}");
}

#[test]
fn a_reload_says_what_it_changes_and_what_waits() {
    let loader =
        loader(&[("CONDUIT_CONFIG", "c.yaml"), ("CONDUIT_WS_PORT", "4444"), ("CONDUIT_TOKENS_FILE", "tokens")]);
    let mut disk = Disk::from([
        ("c.yaml", "listen: {httpPort: 1111}\naccess: {controlToken: one}\nprocess: {logLevel: info}\n"),
        ("tokens", "a\n"),
        ("rules.yaml", RULES),
    ]);
    let old = load(&loader, &disk).expect("valid");
    assert_eq!(diff(&old, &load(&loader, &disk).expect("valid")), Changes::default());

    disk.insert(
        "c.yaml",
        "listen: {httpPort: 2222, wsPort: 5555}\naccess: {controlToken: two}\nprocess: {logLevel: debug}\nrates: {ws: {messages: 5}}\n",
    );
    disk.insert("tokens", "b\n");
    disk.insert("tenants.yaml", "tenants: {a: ~}");
    disk.insert("rules.yaml", "# changed\nversion: proto-dsl/v0\nrules: []\n");
    let new = load(&loader, &disk).expect("valid");
    let changes = diff(&old, &new);
    assert_eq!(
        changes.reloaded,
        ["log-level", "control-token", "ws-message-rate-limit", "tokens-file", "tenants", "rules"]
    );
    assert_eq!(changes.needs_restart, ["http-port"], "the environment of the start still says the other port");
    assert!(!format!("{changes:?}").contains("two"));
}

#[test]
fn a_usual_file_that_was_in_force_and_is_gone_is_not_taken_back_by_that() {
    let tenants = ("config/tenants.yaml", "tenants: {a: {tokens: [t]}}");
    let rules = ("config/rules.yaml", RULES);
    let start = loader(&[("CONDUIT_TOKENS", "another")]);
    let disk = Disk::from([tenants, rules]);
    let read = |disk: Disk| {
        move |path: &Path| {
            let text = path.to_str().and_then(|path| disk.get(path));
            text.map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    };
    let in_force = load(&start, &disk).expect("valid");
    assert_eq!(in_force.tenants, 1);
    let rows = [
        (rules, tenants.0, "an empty one", "tenants.file to none"),
        (tenants, rules.0, "rules: []", "rules.file to none"),
    ];
    for (left, gone, empty, setting) in rows {
        let problems = start.reload(&read(Disk::from([left])), &in_force).expect_err("it is gone").0;
        assert_eq!(problems.iter().map(|problem| &*problem.key).collect::<Vec<_>>(), [gone]);
        let text = problems[0].to_string();
        assert!(text.contains(empty) && text.contains(setting), "{text}");
    }
    // Put back, it is in force as before; empty, it is meant.
    assert!(start.reload(&read(disk), &in_force).is_ok());
    let empty = start.reload(&read(Disk::from([(tenants.0, ""), rules])), &in_force).expect("meant");
    assert!(empty.tenants == 0 && empty.policy.rules.is_empty());
    let absent = load(&start, &Disk::new()).expect("a start needs none of them");
    assert!(start.reload(&read(Disk::new()), &absent).is_ok(), "nor a server that never had them");
}

#[test]
fn a_usual_file_may_go_when_the_configuration_file_says_so() {
    let start = loader(&[("CONDUIT_CONFIG", "c.yaml"), ("CONDUIT_TOKENS", "another")]);
    let tenants = ("tenants.yaml", "tenants: {a: {tokens: [t]}}");
    let in_force = load(&start, &Disk::from([("c.yaml", "{}\n"), tenants])).expect("valid");
    let read = |_: &Path| Ok::<_, io::Error>("tenants: {file: none}\nrules: {file: none}\n".to_owned());
    let next = start.reload(&read, &in_force).expect("meant");
    assert_eq!(next.tenants, 0);
}

/// A file that is being written is read from its beginning to some place, or is empty.
#[test]
fn no_reload_opens_a_server_that_asks_for_tokens() {
    let start = loader(&[("CONDUIT_CONFIG", "c.yaml")]);
    let whole = "process: {shutdownTimeoutMs: 5}\naccess:\n  tokens: [t]\n";
    let in_force = load(&start, &Disk::from([("c.yaml", whole)])).expect("valid");
    assert!(!in_force.policy.access.is_open());
    let reload = |in_force: &Loaded, text: &str| {
        let read = |path: &Path| match path.to_str() {
            Some("c.yaml") => Ok(text.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        start.reload(&read, in_force)
    };
    for end in 0..whole.len() {
        match reload(&in_force, &whole[..end]) {
            Ok(next) => assert!(!next.policy.access.is_open(), "{:?}", &whole[..end]),
            Err(problems) => assert!(!problems.0.is_empty()),
        }
    }
    let text = reload(&in_force, "").expect_err("it would let everybody in").0[0].to_string();
    assert!(text.contains("start it anew"), "{text}");
    assert!(reload(&in_force, "access: {tokens: [other]}").is_ok());
    let open = load(&start, &Disk::from([("c.yaml", "{}")])).expect("valid");
    assert!(reload(&open, "{}").is_ok(), "one that is open stays so");
}

#[test]
fn no_reload_takes_the_control_token_away() {
    let start = loader(&[("CONDUIT_CONFIG", "c.yaml")]);
    let reload = |text: &str| {
        let disk = Disk::from([("c.yaml", "access: {controlToken: c}")]);
        let in_force = load(&start, &disk).expect("valid");
        let read = |path: &Path| match path.to_str() {
            Some("c.yaml") => Ok(text.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        start.reload(&read, &in_force)
    };
    let text = reload("{}").expect_err("everybody could stop the server").0[0].to_string();
    assert!(text.contains("control-token") && text.contains("start the server anew"), "{text}");
    assert!(reload("access: {controlToken: other}").is_ok());
    assert!(reload("access: {controlToken: c, tokens: [t]}").is_ok());
}
