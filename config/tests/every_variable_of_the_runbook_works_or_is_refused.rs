//! Every environment variable of the runbook and of the implementation before this one either changes what a server is
//! built of, or fails the start by its name. None is ignored.

use conduit_config::{Flags, Loaded, Loader, LogLevel};
use conduit_protocol::limiter::Rate;
use conduit_protocol::policy::{Identity, Need};
use conduit_protocol::telemetry::Endpoint;
use conduit_protocol::{Encoding, Now, TenantId};
use std::io;
use std::path::Path;

/// What becomes of a variable.
enum Fate {
    /// With this value this holds, and without it it does not.
    Works(&'static str, fn(&Loaded) -> bool),
    /// This value says what is the case anyway, and every other fails the start.
    OnlyAs(&'static str),
    /// Every value fails the start.
    Refused,
    /// Test scripts read it; a server does not mind.
    NotOurs,
}
use Fate::{NotOurs, OnlyAs, Refused, Works};

fn knows(loaded: &Loaded, token: &str) -> bool {
    let now = Now { mono_ns: 0, unix_ms: 0 };
    matches!(loaded.policy.access.identify(Some(token.as_bytes()), &loaded.policy.tenants, now), Identity::Known(_))
}

const RATE: Rate = Rate { per_window: 7, window_ms: 60_000, burst: 7 };

/// A rate of the HTTP endpoints, once they are switched on.
fn http_rate(loaded: &Loaded, endpoint: Endpoint) -> Option<Rate> {
    loaded.policy.rates.by_ip(endpoint)
}

const FATES: &[(&str, Fate)] = &[
    ("CONDUIT_HTTP_PORT", Works("7", |loaded| loaded.resolved.config.http_port == 7)),
    ("CONDUIT_WS_PORT", Works("7", |loaded| loaded.resolved.config.ws_port == 7)),
    ("CONDUIT_BIND", Works("::1", |loaded| loaded.resolved.config.bind.is_ipv6())),
    ("CONDUIT_BACKEND", OnlyAs("demo")),
    ("CONDUIT_RULES", Works("rules", |loaded| loaded.rules.is_some())),
    (
        "CONDUIT_TENANT_CONFIG",
        Works("tenants", |loaded| loaded.policy.tenants.get(TenantId::of_name("acme")).is_some()),
    ),
    (
        "CONDUIT_TOKENS",
        Works("a,b", |loaded| knows(loaded, "a") && knows(loaded, "b") && !loaded.policy.access.is_open()),
    ),
    ("CONDUIT_OIDC_ENABLED", Works("true", |loaded| !loaded.policy.access.is_open())),
    (
        "CONDUIT_OIDC_ISSUER",
        Works("other", |loaded| loaded.resolved.config.access.jwt.issuer.as_deref() == Some("other")),
    ),
    ("CONDUIT_OIDC_AUDIENCE", Works("a,b", |loaded| loaded.resolved.config.access.jwt.audiences == ["a", "b"])),
    (
        "CONDUIT_OIDC_JWKS_URI",
        Works("https://other.example.com/keys", |loaded| {
            loaded.resolved.config.access.jwt.jwks_uri.as_deref() == Some("https://other.example.com/keys")
        }),
    ),
    ("CONDUIT_CORS_ORIGINS", Works("*", |loaded| loaded.policy.cors.any)),
    ("CONDUIT_CODECS_HTTP", Works("false", |loaded| !loaded.policy.codecs.http)),
    ("CONDUIT_CODECS_WS", Works("false", |loaded| !loaded.policy.codecs.ws)),
    ("CONDUIT_DEFAULT_CODEC", Works("msgpack", |loaded| loaded.policy.codecs.default == Encoding::MessagePack)),
    ("CONDUIT_CODEC_MAX_DECODED_SIZE", Works("2048", |loaded| loaded.policy.guards.decoded_bytes_max == 2_048)),
    ("CONDUIT_CODEC_MAX_DEPTH", Works("7", |loaded| loaded.resolved.config.protocol.depth_max == 7)),
    ("CONDUIT_MAX_BODY", Works("2048", |loaded| loaded.policy.guards.ruled_body_bytes_max == 2_048)),
    ("CONDUIT_MAX_JSON_SIZE", Works("2048", |loaded| loaded.resolved.config.protocol.body_bytes_max == 2_048)),
    ("CONDUIT_LARGE_THRESHOLD", Works("2048", |loaded| loaded.policy.guards.large_bytes == 2_048)),
    ("CONDUIT_MAX_HEADER_SIZE", Works("9000", |loaded| loaded.resolved.config.protocol.head_bytes_max == 9_000)),
    ("CONDUIT_MAX_COOKIE_LENGTH", Works("7", |loaded| loaded.policy.guards.cookie_bytes_max == 7)),
    ("CONDUIT_KEEPALIVE_TIMEOUT_MS", Works("7", |loaded| loaded.resolved.config.protocol.keep_alive_ms == 7)),
    ("CONDUIT_HEADERS_TIMEOUT_MS", Works("7", |loaded| loaded.resolved.config.protocol.headers_ms == 7)),
    ("CONDUIT_REQUEST_TIMEOUT_MS", Works("70000", |loaded| loaded.resolved.config.protocol.request_ms == 70_000)),
    ("CONDUIT_MAX_GLOBAL_CONNECTIONS", Works("7", |loaded| loaded.resolved.config.connections_max == 7)),
    ("CONDUIT_MAX_CONCURRENT_UPLOADS", OnlyAs("100")),
    ("CONDUIT_MAX_CONCURRENT_UPLOADS_PER_IP", OnlyAs("10")),
    ("CONDUIT_HTTP_RATE_LIMIT_ENABLED", Works("true", |loaded| http_rate(loaded, Endpoint::Other).is_some())),
    ("CONDUIT_HTTP_RATE_LIMIT_PER_IP", Works("7", |loaded| http_rate(loaded, Endpoint::Other) == Some(RATE))),
    (
        "CONDUIT_HTTP_RATE_LIMIT_WINDOW_MS",
        Works("7", |loaded| http_rate(loaded, Endpoint::Enqueue).is_some_and(|rate| rate.window_ms == 7)),
    ),
    (
        "CONDUIT_HTTP_RATE_LIMIT_ENQUEUE",
        Works("7", |loaded| http_rate(loaded, Endpoint::Enqueue) == Some(Rate { burst: 100, ..RATE })),
    ),
    (
        "CONDUIT_HTTP_RATE_LIMIT_STATS",
        Works("7", |loaded| http_rate(loaded, Endpoint::Stats) == Some(Rate { burst: 200, ..RATE })),
    ),
    ("CONDUIT_HTTP_RATE_LIMIT_UPLOAD", OnlyAs("10")),
    ("CONDUIT_HTTP_RATE_LIMIT_QUEUE", OnlyAs("50")),
    (
        "CONDUIT_HTTP_BURST_LIMIT_ENQUEUE",
        Works("7", |loaded| http_rate(loaded, Endpoint::Enqueue) == Some(Rate { per_window: 50, ..RATE })),
    ),
    (
        "CONDUIT_HTTP_BURST_LIMIT_STATS",
        Works("7", |loaded| http_rate(loaded, Endpoint::Stats) == Some(Rate { per_window: 100, ..RATE })),
    ),
    ("CONDUIT_HTTP_BURST_LIMIT_UPLOAD", OnlyAs("20")),
    ("CONDUIT_HTTP_BURST_LIMIT_QUEUE", OnlyAs("100")),
    ("CONDUIT_WS_MAX_MESSAGE_SIZE", Works("2048", |loaded| loaded.resolved.config.protocol.message_bytes_max == 2_048)),
    ("CONDUIT_WS_MESSAGE_RATE_LIMIT", Works("7", |loaded| loaded.policy.rates.ws_messages == Some(RATE))),
    (
        "CONDUIT_WS_RATE_WINDOW_MS",
        Works("7", |loaded| loaded.policy.rates.ws_messages.is_some_and(|rate| rate.window_ms == 7)),
    ),
    ("CONDUIT_WS_CONN_RATE_LIMIT", Works("7", |loaded| loaded.policy.rates.ws_connects_by_ip == Some(RATE))),
    (
        "CONDUIT_WS_CONN_RATE_WINDOW_MS",
        Works("7", |loaded| loaded.policy.rates.ws_connects_by_ip.is_some_and(|rate| rate.window_ms == 7)),
    ),
    ("CONDUIT_UPLOAD_SYNC", OnlyAs("false")),
    ("CONDUIT_UPLOAD_MODE", OnlyAs("async")),
    ("CONDUIT_UPLOAD_DIR", Refused),
    ("CONDUIT_UPLOAD_FILE", Refused),
    ("CONDUIT_UPLOAD_USE_BLOB_SINK", OnlyAs("false")),
    ("CONDUIT_UPLOAD_AUTO_ENQUEUE", OnlyAs("false")),
    ("CONDUIT_UPLOAD_ENQUEUE_TARGET", OnlyAs("agents/uploads/inbox")),
    ("CONDUIT_MULTIPART_MAX_PARTS", OnlyAs("10")),
    ("CONDUIT_MULTIPART_MAX_FIELDS", OnlyAs("50")),
    ("CONDUIT_MULTIPART_MAX_PART_SIZE", OnlyAs("104857600")),
    ("CONDUIT_BLOB_BACKEND", OnlyAs("local")),
    ("CONDUIT_BLOB_LOCAL_DIR", OnlyAs("/tmp/blobs")),
    ("CONDUIT_BLOB_S3_REGION", OnlyAs("us-east-1")),
    ("CONDUIT_BLOB_S3_BUCKET", OnlyAs("uploads")),
    ("CONDUIT_BLOB_S3_ACCESS_KEY_ID", Refused),
    ("CONDUIT_BLOB_S3_SECRET_ACCESS_KEY", Refused),
    ("CONDUIT_BLOB_S3_ENDPOINT", Refused),
    ("CONDUIT_BLOB_MINIO_ENDPOINT", Refused),
    ("CONDUIT_BLOB_MINIO_BUCKET", OnlyAs("uploads")),
    ("CONDUIT_BLOB_MINIO_ACCESS_KEY", Refused),
    ("CONDUIT_BLOB_MINIO_SECRET_KEY", Refused),
    ("CONDUIT_BLOB_MINIO_USE_SSL", OnlyAs("false")),
    ("CONDUIT_QUEUE_BACKEND", OnlyAs("none")),
    ("CONDUIT_QUEUE_REDIS_URL", OnlyAs("redis://localhost:6379")),
    ("CONDUIT_QUEUE_PREFIX", OnlyAs("conduit")),
    (
        "CONDUIT_HTTP_LOG",
        Works("a.jsonl", |loaded| loaded.resolved.config.access_log.http.as_deref() == Some(Path::new("a.jsonl"))),
    ),
    ("CONDUIT_RECORD", Refused),
    ("CONDUIT_RECORD_REDACT", OnlyAs("true")),
    ("CONDUIT_DRAIN_REJECT_NEW", Works("true", |loaded| loaded.policy.drain.rejects_all)),
    ("CONDUIT_RELOAD_DRAIN_TIMEOUT_MS", Works("30000", |loaded| loaded.policy.drain.after_reload_ms == 30_000)),
    ("CONDUIT_SHUTDOWN_TIMEOUT_MS", Works("7", |loaded| loaded.resolved.config.shutdown_timeout_ms == 7)),
    ("CONDUIT_SOAK_DURATION_MIN", NotOurs),
    // Named by documents, and read by nothing before.
    ("CONDUIT_ALLOWED_PATHS", Refused),
    ("CONDUIT_BLOB_DIR", Refused),
    ("CONDUIT_CONTROL_TOKEN", Works("c", |loaded| knows(loaded, "c") && !admits_anybody(loaded))),
    ("CONDUIT_PROTECT_METRICS", Works("true", |loaded| loaded.policy.access.protects_metrics)),
    ("CONDUIT_REDIS_URL", Refused),
    ("CONDUIT_WS_LOG", Works("none", |loaded| loaded.resolved.config.access_log.ws.is_none())),
    ("CONDUIT_MAX_BODY_SIZE", Works("2048", |loaded| loaded.resolved.config.protocol.body_bytes_max == 2_048)),
    ("CONDUIT_REQUEST_TIMEOUT", Works("70000", |loaded| loaded.resolved.config.protocol.request_ms == 70_000)),
    ("CONDUIT_MAX_HEADERS", Works("9", |loaded| loaded.resolved.config.protocol.headers_max == 9)),
    ("CONDUIT_MAX_QUERY_PARAMS", Refused),
    ("CONDUIT_REQUIRE_GZIP_JSON", OnlyAs("false")),
    ("CONDUIT_RATE_LIMIT_ENABLED", Works("true", |loaded| http_rate(loaded, Endpoint::Other).is_some())),
    ("CONDUIT_RATE_LIMIT_RATE", Works("7", |loaded| http_rate(loaded, Endpoint::Other) == Some(RATE))),
    (
        "CONDUIT_RATE_LIMIT_WINDOW_MS",
        Works("7", |loaded| http_rate(loaded, Endpoint::Other).is_some_and(|rate| rate.window_ms == 7)),
    ),
    (
        "CONDUIT_RATE_LIMIT_BURST_ENQUEUE",
        Works("7", |loaded| http_rate(loaded, Endpoint::Enqueue) == Some(Rate { per_window: 50, ..RATE })),
    ),
    ("CONDUIT_RATE_LIMIT_BURST_UPLOAD", OnlyAs("20")),
    ("CONDUIT_RECORD_FILTER", Refused),
    ("CONDUIT_QUEUE_KAFKA_BROKERS", Refused),
    ("CONDUIT_QUEUE_MQTT_URL", Refused),
    ("CONDUIT_RESUMABLE_UPLOADS", Refused),
    ("CONDUIT_HTTP2_ENABLED", Refused),
    ("CONDUIT_HTTP3_ENABLED", Refused),
    ("CONDUIT_HTTP_CODEC", OnlyAs("json")),
    ("CONDUIT_WS_CODEC", OnlyAs("json")),
    ("CONDUIT_SERIAL_CODEC", Refused),
    ("CONDUIT_BLE_CODEC", Refused),
    // Of this implementation, for the same parts.
    ("CONDUIT_TOKENS_FILE", Works("tokens", |loaded| knows(loaded, "from-the-file"))),
    ("CONDUIT_TRUSTED_PROXIES", Works("10.0.0.0/8", |loaded| loaded.policy.proxies.trusted.len() == 1)),
    ("CONDUIT_DRAIN_ALTERNATES", Works("wss://b/x", |loaded| loaded.policy.drain.alternates == ["wss://b/x"])),
    ("CONDUIT_DRAIN_RETRY_AFTER_MS", Works("7", |loaded| loaded.policy.drain.retry_after_ms == 7)),
    ("CONDUIT_MAX_INFLIGHT_REQUESTS", Works("9", |loaded| loaded.policy.rates.in_progress_per_shard_max == Some(4))),
    ("CONDUIT_WATCH", Works("true", |loaded| loaded.resolved.config.watch)),
    ("CONDUIT_LOG_LEVEL", Works("warn", |loaded| loaded.resolved.config.log_level == LogLevel::Warn)),
    ("CONDUIT_HTTP_LOG_LINES_PER_S", Works("7", |loaded| loaded.policy.logs.requests.lines_per_s == 7)),
    ("CONDUIT_HTTP_LOG_SAMPLE", Works("7", |loaded| loaded.policy.logs.requests.sample == 7)),
    ("CONDUIT_WS_LOG_LINES_PER_S", Works("7", |loaded| loaded.policy.logs.messages.lines_per_s == 7)),
    ("CONDUIT_WS_LOG_SAMPLE", Works("7", |loaded| loaded.policy.logs.messages.sample == 7)),
    ("CONDUIT_RULES_ENV", Works("REGION", |loaded| loaded.resolved.config.rules_env == ["REGION"])),
    ("CONDUIT_CONFIG", Works("config", |loaded| loaded.resolved.config.protocol.headers_max == 99)),
];

fn admits_anybody(loaded: &Loaded) -> bool {
    loaded.policy.access.admit(Identity::Anonymous, Need::Admin).is_ok()
}

/// Files that variables of the table name.
fn read(path: &Path) -> io::Result<String> {
    let text = match path.to_str().unwrap_or("") {
        "rules" => "version: proto-dsl/v0\nrules: []\n",
        "tenants" => "tenants: {acme: ~}",
        "tokens" => "from-the-file\n",
        "config" => "http: {maxHeaders: 99}",
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(text.to_owned())
}

/// What some variables need beside them to mean something.
fn beside(env: &str) -> &'static [(&'static str, &'static str)] {
    match env {
        "CONDUIT_OIDC_ENABLED" => {
            &[("CONDUIT_OIDC_ISSUER", "issuer"), ("CONDUIT_OIDC_JWKS_URI", "https://id.example.com/keys")]
        }
        "CONDUIT_PROTECT_METRICS" => &[("CONDUIT_TOKENS", "t")],
        "CONDUIT_WS_RATE_WINDOW_MS" => &[("CONDUIT_WS_MESSAGE_RATE_LIMIT", "7")],
        "CONDUIT_WS_CONN_RATE_WINDOW_MS" => &[("CONDUIT_WS_CONN_RATE_LIMIT", "7")],
        "CONDUIT_HTTP_RATE_LIMIT_ENABLED" | "CONDUIT_RATE_LIMIT_ENABLED" => &[],
        _ if env.contains("RATE_LIMIT") || env.contains("BURST") => &[("CONDUIT_HTTP_RATE_LIMIT_ENABLED", "true")],
        _ => &[],
    }
}

fn load(env: &str, value: Option<&str>) -> Result<Loaded, String> {
    let given = beside(env).iter().copied().chain(value.map(|value| (env, value)));
    let environment = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Loader::new(Flags::default(), environment, 2).load(&read, 0).map_err(|problems| problems.to_string())
}

#[test]
fn every_variable_of_the_runbook_works_or_is_refused() {
    let fails_by_name = |env: &str, value: &str| {
        let told = load(env, Some(value)).expect_err(env);
        assert!(told.contains(env) && told.contains("remedy: "), "{env}={value} fails without its name:\n{told}");
    };
    for (env, fate) in FATES {
        match fate {
            Works(value, holds) => {
                let without = load(env, None).unwrap_or_else(|told| panic!("without {env}: {told}"));
                assert!(!holds(&without), "{env} changes nothing that this test could see");
                let with = load(env, Some(value)).unwrap_or_else(|told| panic!("{env}={value}: {told}"));
                assert!(holds(&with), "{env}={value} has no effect");
            }
            OnlyAs(value) => {
                assert!(load(env, Some(value)).is_ok(), "{env}={value} is what is the case anyway");
                fails_by_name(env, "something-else");
            }
            Refused => fails_by_name(env, "something"),
            NotOurs => assert!(load(env, Some("something")).is_ok()),
        }
        assert!(load(env, Some("")).is_ok(), "{env} set to nothing is not set");
    }
}

#[test]
fn every_variable_that_is_known_has_a_fate() {
    let listed = |env: &str| FATES.iter().any(|(name, _)| *name == env);
    for (alias, _) in conduit_config::table::ALIASES {
        assert!(listed(alias), "{alias} is missing");
    }
    for reserved in conduit_config::reserved::RESERVED {
        assert!(listed(reserved.env), "{} is missing", reserved.env);
    }
}
