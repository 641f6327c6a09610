//! The documents about the whole server.

use super::ShardReport;
use crate::mesh::Document;
use conduit_protocol::{Now, Report};

const JSON: &str = "application/json";

/// `GET /health`: written by whichever shard is asked, so that it answers even when the control shard does not.
pub(crate) fn health(_now: Now, draining: bool) -> Document {
    let (status, body) = if draining {
        (503, format!(r#"{{"status":"draining","ok":false,"version":"{}"}}"#, env!("CARGO_PKG_VERSION")))
    } else {
        (200, format!(r#"{{"status":"ok","ok":true,"version":"{}"}}"#, env!("CARGO_PKG_VERSION")))
    };
    Document { status, content_type: JSON, body: body.into_bytes() }
}

/// Writes one document from one report of every shard.
pub(crate) fn write(_report: Report, _now: Now, _reports: &[ShardReport]) -> Document {
    Document { status: 500, content_type: JSON, body: b"{}".to_vec() }
}
