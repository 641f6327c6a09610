//! Variables of the operations runbook that belong to parts not built in this version.
//!
//! Ignoring one could be worse than failing: a server that ignores `CONDUIT_RECORD` leaves no record. So each fails
//! the start by name, except with a value that asks for nothing this version does not do.

/// A variable of a part that is not built.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    /// Its name.
    pub env: &'static str,
    /// What it would do.
    pub part: &'static str,
    /// The values that ask for nothing; an empty value always passes.
    harmless: &'static [&'static str],
    /// A word that fits the value, for the remedy.
    alternative: Option<&'static str>,
}

impl Reserved {
    /// The value can be accepted without building anything.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        let value = value.trim();
        value.is_empty() || self.harmless == ANY || self.harmless.contains(&value)
    }

    /// What to do about a value that is not accepted.
    #[must_use]
    pub fn remedy(&self) -> String {
        match (self.alternative, self.harmless.first()) {
            (Some(alternative), _) => alternative.to_owned(),
            (None, Some(harmless)) => format!("not built in this version; unset it or set it to {harmless}"),
            (None, None) => "not built in this version; unset it".to_owned(),
        }
    }
}

/// Any value passes: the variable is read by test scripts, never by a server.
const ANY: &[&str] = &["any value"];
/// Only the absence of a value passes.
const NONE: &[&str] = &[];
/// The switch is off.
const OFF: &[&str] = &["false", "0"];

const fn part(env: &'static str, part: &'static str, harmless: &'static [&'static str]) -> Reserved {
    Reserved { env, part, harmless, alternative: None }
}

const fn instead(
    env: &'static str,
    part: &'static str,
    harmless: &'static [&'static str],
    alternative: &'static str,
) -> Reserved {
    Reserved { env, part, harmless, alternative: Some(alternative) }
}

/// All of them.
pub static RESERVED: &[Reserved] = &[
    part("CONDUIT_BACKEND", "an external backend", &["demo"]),
    instead(
        "CONDUIT_ALLOWED_PATHS",
        "a list of allowed paths",
        NONE,
        "write rules with authRequired into the rules file instead",
    ),
    instead("CONDUIT_HTTP_CODEC", "a codec of HTTP alone", &["json"], "set CONDUIT_DEFAULT_CODEC instead"),
    instead("CONDUIT_WS_CODEC", "a codec of WebSocket alone", &["json"], "let clients ask for it with ?codec="),
    part("CONDUIT_SERIAL_CODEC", "serial lines", NONE),
    part("CONDUIT_BLE_CODEC", "Bluetooth", NONE),
    part("CONDUIT_MAX_QUERY_PARAMS", "a limit on query parameters", NONE),
    part("CONDUIT_REQUIRE_GZIP_JSON", "a demand that bodies come compressed", OFF),
    part("CONDUIT_MAX_CONCURRENT_UPLOADS", "uploads", &["100"]),
    part("CONDUIT_MAX_CONCURRENT_UPLOADS_PER_IP", "uploads", &["10"]),
    part("CONDUIT_HTTP_RATE_LIMIT_UPLOAD", "uploads", &["10"]),
    part("CONDUIT_HTTP_RATE_LIMIT_QUEUE", "job queues", &["50"]),
    part("CONDUIT_HTTP_BURST_LIMIT_UPLOAD", "uploads", &["20"]),
    part("CONDUIT_HTTP_BURST_LIMIT_QUEUE", "job queues", &["100"]),
    part("CONDUIT_RATE_LIMIT_BURST_UPLOAD", "uploads", &["20"]),
    part("CONDUIT_UPLOAD_SYNC", "uploads", OFF),
    part("CONDUIT_UPLOAD_MODE", "uploads", &["async"]),
    part("CONDUIT_UPLOAD_DIR", "uploads", NONE),
    part("CONDUIT_UPLOAD_FILE", "uploads", NONE),
    part("CONDUIT_UPLOAD_USE_BLOB_SINK", "uploads", OFF),
    part("CONDUIT_UPLOAD_AUTO_ENQUEUE", "uploads", OFF),
    part("CONDUIT_UPLOAD_ENQUEUE_TARGET", "uploads", &["agents/uploads/inbox"]),
    part("CONDUIT_MULTIPART_MAX_PARTS", "uploads", &["10"]),
    part("CONDUIT_MULTIPART_MAX_FIELDS", "uploads", &["50"]),
    part("CONDUIT_MULTIPART_MAX_PART_SIZE", "uploads", &["104857600"]),
    part("CONDUIT_BLOB_BACKEND", "uploads", &["local"]),
    part("CONDUIT_BLOB_DIR", "uploads", NONE),
    part("CONDUIT_BLOB_LOCAL_DIR", "uploads", &["/tmp/blobs"]),
    part("CONDUIT_BLOB_S3_REGION", "uploads to S3", &["us-east-1"]),
    part("CONDUIT_BLOB_S3_BUCKET", "uploads to S3", &["uploads"]),
    part("CONDUIT_BLOB_S3_ACCESS_KEY_ID", "uploads to S3", NONE),
    part("CONDUIT_BLOB_S3_SECRET_ACCESS_KEY", "uploads to S3", NONE),
    part("CONDUIT_BLOB_S3_ENDPOINT", "uploads to S3", NONE),
    part("CONDUIT_BLOB_MINIO_ENDPOINT", "uploads to MinIO", NONE),
    part("CONDUIT_BLOB_MINIO_BUCKET", "uploads to MinIO", &["uploads"]),
    part("CONDUIT_BLOB_MINIO_ACCESS_KEY", "uploads to MinIO", NONE),
    part("CONDUIT_BLOB_MINIO_SECRET_KEY", "uploads to MinIO", NONE),
    part("CONDUIT_BLOB_MINIO_USE_SSL", "uploads to MinIO", OFF),
    part("CONDUIT_QUEUE_BACKEND", "job queues", &["none"]),
    part("CONDUIT_QUEUE_REDIS_URL", "job queues", &["redis://localhost:6379"]),
    part("CONDUIT_QUEUE_PREFIX", "job queues", &["conduit"]),
    part("CONDUIT_REDIS_URL", "job queues", NONE),
    part("CONDUIT_QUEUE_KAFKA_BROKERS", "job queues", NONE),
    part("CONDUIT_QUEUE_MQTT_URL", "job queues", NONE),
    part("CONDUIT_RECORD", "recording control frames", NONE),
    part("CONDUIT_RECORD_REDACT", "recording control frames", &["true"]),
    part("CONDUIT_RECORD_FILTER", "recording control frames", NONE),
    part("CONDUIT_SOAK_DURATION_MIN", "test scripts", ANY),
];

/// Families of names that the runbook only promises.
pub static RESERVED_FAMILIES: &[(&str, &str)] =
    &[("CONDUIT_RESUMABLE_", "resumable uploads"), ("CONDUIT_HTTP2_", "HTTP/2"), ("CONDUIT_HTTP3_", "HTTP/3")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_both_reserved_and_a_setting() {
        for reserved in RESERVED {
            assert!(crate::table::by_env(reserved.env).is_none(), "{} is in both tables", reserved.env);
            let times = RESERVED.iter().filter(|other| other.env == reserved.env).count();
            assert_eq!(times, 1, "{} is reserved {times} times", reserved.env);
        }
    }

    #[test]
    fn a_switch_of_a_part_that_is_not_built_accepts_only_its_absence() {
        for env in ["CONDUIT_ALLOWED_PATHS", "CONDUIT_RECORD", "CONDUIT_QUEUE_MQTT_URL"] {
            let reserved = RESERVED.iter().find(|reserved| reserved.env == env).expect("reserved");
            assert!(reserved.accepts("") && reserved.accepts("  "));
            assert!(!reserved.accepts("anything"), "{env} was ignored");
        }
    }
}
