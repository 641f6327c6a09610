//! Order of sources, and the origin of every value.

use conduit_config::resolve::Origin;
use conduit_config::table::{SETTINGS, by_flag};
use conduit_config::{Flags, LogFormat, resolve};

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn flags_beat_the_environment_and_the_environment_beats_defaults() {
    let given =
        environment(&[("CONDUIT_HTTP_PORT", "1111"), ("CONDUIT_WS_PORT", "2222"), ("CONDUIT_LOG_FORMAT", "json")]);
    let resolved = resolve(&Flags::default().with("http-port", "3333"), given, 4).expect("valid");
    assert_eq!((resolved.config.http_port, resolved.config.ws_port, resolved.config.shards), (3333, 2222, 4));
    assert_eq!(resolved.config.log_format, LogFormat::Json);

    let origin = |flag: &str| resolved.origin(by_flag(flag).expect("a setting"));
    assert_eq!(origin("http-port"), Origin::Flag);
    assert_eq!(origin("ws-port"), Origin::Environment);
    assert_eq!(origin("shards"), Origin::Default);

    let listing = resolved.listing();
    for setting in SETTINGS {
        assert!(listing.contains(setting.flag), "--{} is not listed", setting.flag);
    }
    assert!(listing.contains("memory bound"));
}

#[test]
fn a_variable_set_to_nothing_counts_as_not_set() {
    let resolved = resolve(&Flags::default(), environment(&[("CONDUIT_HTTP_PORT", ""), ("CONDUIT_TOKENS", "")]), 1);
    assert_eq!(resolved.expect("valid").config.http_port, 9087);
}

#[test]
fn cpus_set_the_number_of_shards_unless_it_is_given() {
    let resolved = resolve(&Flags::default().with("cpus", "0,2-5"), [], 8).expect("valid");
    assert_eq!(resolved.config.shards, 5);
    assert_eq!(resolved.origin(by_flag("shards").expect("a setting")), Origin::Follows("cpus"));

    assert!(resolve(&Flags::default().with("cpus", "0-1").with("shards", "2"), [], 8).is_ok());
    let problems =
        resolve(&Flags::default().with("cpus", "0-1").with("shards", "3"), [], 8).expect_err("no CPU for one");
    assert_eq!(problems.0[0].key, "--shards");
}

#[test]
fn the_runbook_defaults_hold() {
    let config = resolve(&Flags::default(), [], 2).expect("valid").config;
    assert_eq!(config.bind.to_string(), "127.0.0.1");
    assert_eq!((config.http_port, config.ws_port, config.shutdown_timeout_ms), (9087, 9088, 30_000));
    assert_eq!((config.protocol.body_bytes_max, config.protocol.message_bytes_max), (10_485_760, 1_048_576));
    assert_eq!((config.protocol.head_bytes_max, config.protocol.depth_max), (16_384, 32));
}

#[test]
fn the_harmless_values_of_the_runbook_pass() {
    let given = environment(&[
        ("CONDUIT_BACKEND", "demo"),
        ("CONDUIT_CODECS_HTTP", "true"),
        ("CONDUIT_HTTP_RATE_LIMIT_ENABLED", "false"),
        ("CONDUIT_QUEUE_BACKEND", "none"),
    ]);
    assert!(resolve(&Flags::default(), given, 1).is_ok());
    for (name, value) in [("CONDUIT_BACKEND", "tcp://10.0.0.1:7000"), ("CONDUIT_UPLOAD_SYNC", "true")] {
        let problems = resolve(&Flags::default(), environment(&[(name, value)]), 1).expect_err("cannot be honoured");
        assert_eq!(problems.0[0].key, name);
    }
}

#[test]
fn more_shards_than_cores_is_a_warning() {
    let at = resolve(&Flags::default().with("shards", "2"), [], 2).expect("valid");
    assert!(at.warnings.is_empty());
    let above = resolve(&Flags::default().with("shards", "3"), [], 2).expect("valid");
    assert!(above.warnings[0].contains("unpinned"));
}

#[test]
fn a_variable_by_another_name_counts_and_may_not_say_something_else() {
    let given = environment(&[("CONDUIT_REQUEST_TIMEOUT", "90000")]);
    let resolved = resolve(&Flags::default(), given, 1).expect("valid");
    assert_eq!(resolved.config.protocol.request_ms, 90_000);
    let setting = by_flag("request-timeout-ms").expect("a setting");
    assert_eq!(resolved.origin(setting).to_string(), "environment (CONDUIT_REQUEST_TIMEOUT)");

    for (text, problems) in [("90000", 0), ("90001", 1)] {
        let given = environment(&[("CONDUIT_REQUEST_TIMEOUT", "90000"), ("CONDUIT_REQUEST_TIMEOUT_MS", text)]);
        assert_eq!(resolve(&Flags::default(), given, 1).err().map_or(0, |it| it.0.len()), problems, "{text}");
    }
}
