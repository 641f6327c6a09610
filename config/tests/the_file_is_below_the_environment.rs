//! Order: flag > environment > file > default, and every value knows the line that it came from.

use conduit_config::table::{SETTINGS, by_flag};
use conduit_config::{ConfigFile, Flags, Resolved, resolve_with, tree};

const TEXT: &str = "\
# What this machine does.
listen:
  bind: 0.0.0.0
  httpPort: 1111
  wsPort: 2222
threads: {shards: 2, cpus: [0, 3]}
http:
  maxJsonSize: 2MiB
  maxHeaders: '70'
codecs: {http: false, default: msgpack}
access:
  tokens: [one, two]
  trustedProxies: [10.0.0.0/8, '::1']
  corsOrigins: '*'
streams: ~
";

fn resolved(flags: &Flags, environment: &[(&str, &str)]) -> Resolved {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let file = ConfigFile::read("etc/conduit.yaml", TEXT);
    resolve_with(flags, environment, Some(&file), 8).expect("valid")
}

#[test]
fn every_kind_of_value_is_read_and_remembers_its_line() {
    let resolved = resolved(&Flags::default(), &[]);
    let config = &resolved.config;
    assert_eq!((config.http_port, config.ws_port, config.shards), (1_111, 2_222, 2));
    assert_eq!(config.cpus, Some(vec![0, 3]));
    assert_eq!((config.protocol.body_bytes_max, config.protocol.headers_max), (2 << 20, 70));
    assert!(!config.codecs.http && config.codecs.ws && config.access.cors_origins.any);
    assert_eq!(config.access.tokens.len(), 2);
    assert_eq!(config.access.trusted_proxies.to_string(), "10.0.0.0/8,::1");
    let origin = |flag: &str| resolved.origin(by_flag(flag).expect("a setting")).to_string();
    assert_eq!(origin("http-port"), "etc/conduit.yaml:4");
    assert_eq!(origin("cpus"), "etc/conduit.yaml:6");
    assert_eq!(origin("trusted-proxies"), "etc/conduit.yaml:13");
    assert_eq!(origin("streams-max"), "default");
}

#[test]
fn a_variable_beats_the_file_and_a_flag_beats_both() {
    let flags = Flags::default().with("http-port", "3333").with("tokens", "");
    let resolved = resolved(&flags, &[("CONDUIT_HTTP_PORT", "4444"), ("CONDUIT_WS_PORT", "5555")]);
    assert_eq!((resolved.config.http_port, resolved.config.ws_port), (3_333, 5_555));
    assert!(resolved.config.access.tokens.is_empty(), "a flag can take away what the file gives");
    assert_eq!(resolved.config.bind.to_string(), "0.0.0.0");
}

#[test]
fn what_is_shown_as_yaml_reads_back_as_the_same() {
    let flags = Flags::default().with("durability", "a/*=memory,*=interval(5)").with("data-dir", "/some where");
    let shown = resolved(&flags, &[("CONDUIT_RULES_ENV", "REGION,STAGE"), ("CONDUIT_DRAIN_ALTERNATES", "wss://b/x")]);
    let defaults = resolved(&Flags::default(), &[]);
    for (shown, with_origins) in [(&shown, false), (&shown, true), (&defaults, false), (&defaults, true)] {
        let file = ConfigFile::read("shown.yaml", &tree::yaml(shown, with_origins));
        let again = resolve_with(&Flags::default(), [], Some(&file), 8).expect("valid");
        for setting in SETTINGS.iter().filter(|setting| !setting.is_secret()) {
            assert_eq!(setting.show(&again.config), setting.show(&shown.config), "--{}", setting.flag);
        }
    }
    assert!(tree::yaml(&shown, true).contains("# etc/conduit.yaml:4"));
}

#[test]
fn the_sample_says_every_setting_and_changes_none() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conduit.yaml");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, tree::sample()).expect("the sample can be written");
    }
    let sample = std::fs::read_to_string(path).expect("the sample is there");
    assert_eq!(sample, tree::sample(), "run `UPDATE_DOCS=1 cargo test -p conduit-config`");
    let file = ConfigFile::read("conduit.yaml", &sample);
    let from_sample = resolve_with(&Flags::default(), [], Some(&file), 8).expect("valid");
    let default = resolve_with(&Flags::default(), [], None, 8).expect("valid");
    assert!(SETTINGS.iter().all(|setting| setting.is_same(&from_sample.config, &default.config)));

    // With the marks taken away every line is a setting with its default.
    let lines = sample.lines().map(|line| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && is_setting(rest) => format!("{indent}{rest}"),
        _ => line.to_owned(),
    });
    let uncommented: String = lines.map(|line| line + "\n").collect();
    let file = ConfigFile::read("conduit.yaml", &uncommented);
    let secrets = Flags::default().with("tokens", "t").with("control-token", "c").with("jwt-secret", &"k".repeat(32));
    // To ask for a durability needs a place for it.
    let flags = secrets.with("data-dir", "data");
    let resolved = resolve_with(&flags, [], Some(&file), 4).expect("valid");
    for setting in SETTINGS.iter().filter(|setting| !setting.is_secret() && setting.flag != "data-dir") {
        assert!(resolved.origin(setting).to_string().starts_with("conduit.yaml:"), "--{} is missing", setting.flag);
    }
}

fn is_setting(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(key, _)| {
        key.starts_with(|c: char| c.is_ascii_lowercase()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}
