//! A start that fails names everything that is wrong, with key, value, bound and remedy.

use conduit_config::{Flags, resolve};

#[test]
fn every_problem_is_told_at_once() {
    let flags = Flags::default().with("http-port", "65536").with("shards", "zero");
    let environment = [
        ("CONDUIT_WS_PORT", "-1"),
        ("CONDUIT_HTTP_PROT", "9087"),
        ("CONDUIT_REDIS_URL", "redis://:s3cret@redis"),
        ("CONDUIT_TOKENS", "s3cret and blanks"),
        ("CONDUIT_JWT_SECRET", "s3cret"),
        ("CONDUIT_HTTP2_ENABLED", "true"),
        ("PATH", "/bin"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let problems = resolve(&flags, environment, 2).expect_err("eight mistakes");
    let keys: Vec<&str> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "--http-port",
            "CONDUIT_WS_PORT",
            "--shards",
            "CONDUIT_TOKENS",
            "CONDUIT_JWT_SECRET",
            "CONDUIT_HTTP_PROT",
            "CONDUIT_REDIS_URL",
            "CONDUIT_HTTP2_ENABLED"
        ]
    );

    let text = problems.to_string();
    for part in [
        "\"65536\"",
        "maximum of 65535",
        "from 0 to 65535",
        "did you mean CONDUIT_HTTP_PORT?",
        "not built",
        "8 problems",
    ] {
        assert!(text.contains(part), "{part:?} is missing from:\n{text}");
    }
    assert!(!text.contains("s3cret"), "a token was shown");
}

#[test]
fn contradictions_are_told_under_the_name_that_was_used() {
    let environment = [("CONDUIT_ACK_WAIT_MS".to_owned(), "50".to_owned())];
    let flags = Flags::default().with("ws-port", "9087").with("resume-at-per-mille", "900");
    let problems = resolve(&flags, environment, 2).expect_err("three contradictions");
    let keys: Vec<&str> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["--ack-wait-ms-min", "--resume-at-per-mille", "--ws-port"]);
}

#[test]
fn a_contradiction_is_told_beside_a_bad_value_but_not_about_it() {
    let flags =
        Flags::default().with("ws-port", "9087").with("stream-bytes-max", "1 PiB").with("shard-bytes-max", "2MiB");
    let problems = resolve(&flags, [], 2).expect_err("one bad value, one contradiction");
    let keys: Vec<&str> = problems.0.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["--stream-bytes-max", "--ws-port"]);
}
