use super::*;
use crate::access_log::LogSettings;
use serde_json::{Value, json};

const REQUEST: Request<'static> = Request {
    ip: IpAddr::V4(core::net::Ipv4Addr::new(192, 168, 1, 100)),
    method: b"POST",
    path: "/v1/enqueue",
    query: "",
    tenant: "",
    traceparent: None,
};

const OUTCOME: Outcome<'static> = Outcome {
    status: 200,
    error: None,
    own_error: "",
    reason: "",
    cap: None,
    is_admin: false,
    rule: "",
    decoded_ns: 1_000_000,
    bytes_in: 1_024,
    bytes_out: 200,
    codec: Encoding::Json,
    is_gzip: false,
};

fn noted(request: &Request<'_>) -> Value {
    line(Some(request), &OUTCOME)
}

fn line(request: Option<&Request<'_>>, outcome: &Outcome<'_>) -> Value {
    let mut log = AccessLog::new(0, &LogSettings::default());
    let mut notes = Notes::default();
    let note = request.map(|request| notes.add(request, true));
    let text = note.and_then(|note| notes.text(note));
    log.request(Now { mono_ns: 16_500_000, unix_ms: 0 }, text, REQUEST.ip, outcome);
    let batch = log.take(LogFile::Http, Vec::new).expect("a line");
    assert_eq!((batch.lines, batch.bytes.iter().filter(|byte| **byte == b'\n').count()), (1, 1));
    serde_json::from_slice(&batch.bytes).expect("JSON")
}

#[test]
fn a_line_has_the_fields_of_the_runbook_and_the_earlier_ones() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request { query: "a=1&b", tenant: "acme", traceparent: Some(traceparent.as_bytes()), ..REQUEST };
    let expected = json!({
        "ts": "1970-01-01T00:00:00.000Z", "event": "http_request_complete", "ip": "192.168.1.100", "method": "POST",
        "url": "/v1/enqueue?a=1&b", "path": "/v1/enqueue", "tenant": "acme", "tenantId": "acme",
        "traceparent": traceparent, "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "status": 200, "durationMs": 15.5, "durMs": 15.5, "bytes": 1024, "bytesOut": 200, "codec": "json",
        "ruleMatch": "r-1", "ruleId": "r-1",
    });
    assert_eq!(line(Some(&request), &Outcome { rule: "r-1", ..OUTCOME }), expected);
    let plain = noted(&REQUEST);
    assert_eq!(
        (&plain["url"], &plain["tenant"], plain.get("traceId")),
        (&json!("/v1/enqueue"), &json!("default"), None)
    );
    assert_eq!((plain.get("error"), plain.get("ruleMatch")), (None, None));
    assert_eq!(noted(&Request { traceparent: Some(b"00-not-one"), ..REQUEST }).get("traceparent"), None);
}

#[test]
fn a_request_that_could_not_be_read_has_a_line_too() {
    let line = line(None, &Outcome { status: 400, error: Some(ErrorCode::BadFraming), ..OUTCOME });
    assert_eq!((&line["ip"], &line["url"], &line["method"]), (&json!("192.168.1.100"), &Value::Null, &Value::Null));
    assert_eq!((&line["tenant"], &line["error"]), (&json!("default"), &json!("BadFraming")));
}

#[test]
fn every_refusal_says_what_kind_it_is() {
    let of =
        |code: ErrorCode| line(Some(&REQUEST), &Outcome { status: code.http_status(), error: Some(code), ..OUTCOME });
    for (code, event, error) in [
        (ErrorCode::InvalidJson, "http_request_complete", "decode_error"),
        (ErrorCode::DecodeError, "http_request_complete", "decode_error"),
        (ErrorCode::InvalidEnvelope, "http_request_complete", "invalid_request"),
        (ErrorCode::NotFound, "http_request_complete", "not_found"),
        (ErrorCode::Unauthorized, "http_auth_failed", "Unauthorized"),
        (ErrorCode::Forbidden, "http_request_rejected", "Forbidden"),
        (ErrorCode::HeadersTooLarge, "http_request_rejected", "RequestHeaderFieldsTooLarge"),
        (ErrorCode::RateLimitExceeded, "http_request_rejected", "RateLimitExceeded"),
        (ErrorCode::ServerDraining, "http_request_rejected", "ServerDraining"),
        (ErrorCode::RequestTimeout, "http_timeout", "RequestTimeout"),
        (ErrorCode::Internal, "http_request_complete", "internal_error"),
    ] {
        let line = of(code);
        assert_eq!(
            (&line["event"], &line["error"], &line["code"]),
            (&json!(event), &json!(error), &json!(code.code()))
        );
    }
    for code in ErrorCode::ALL {
        assert!(of(*code)["error"].as_str().is_some_and(|error| !error.is_empty()));
    }
}

#[test]
fn a_reload_that_was_asked_for_has_a_name_of_its_own() {
    let of = |path, status| {
        let outcome = Outcome { is_admin: true, status, ..OUTCOME };
        line(Some(&Request { path, ..REQUEST }), &outcome)["event"].as_str().unwrap().to_owned()
    };
    assert_eq!([of("/v1/admin/reload", 200), of("/v1/admin/reload", 207)], ["http_admin_reload"; 2]);
    assert_eq!(of("/v1/admin/reload", 401), "http_auth_failed");
    assert_eq!(of("/v1/admin/drain", 202), "http_request_complete");
    assert_eq!(noted(&Request { path: "/v1/admin/reload", ..REQUEST })["event"], "http_request_complete");
}

#[test]
fn what_was_exceeded_is_told() {
    let refused = |error, cap, reason| line(Some(&REQUEST), &Outcome { status: 413, error, cap, reason, ..OUTCOME });
    let size = refused(Some(ErrorCode::PayloadTooLarge), Some((10, Some(11))), "too much");
    assert_eq!(
        (&size["capViolation"], &size["capLimit"], &size["capActual"]),
        (&json!("size"), &json!(10), &json!(11))
    );
    assert_eq!(size["reason"], "too much");
    let depth = refused(Some(ErrorCode::DepthExceeded), Some((32, None)), "");
    assert_eq!((&depth["capViolation"], &depth["capLimit"]), (&json!("depth"), &json!(32)));
    assert_eq!((depth.get("capActual"), depth.get("reason")), (None, None));
    let long = refused(Some(ErrorCode::PayloadTooLarge), None, &"\u{fc}".repeat(200));
    assert_eq!(long["reason"].as_str().unwrap(), "\u{fc}".repeat(128));
}

#[test]
fn a_long_url_is_cut_and_said_to_be() {
    let path_of = |bytes: usize| format!("/{}", "p".repeat(bytes - 1));
    let at_limit = path_of(URL_BYTES_MAX);
    let whole = noted(&Request { path: &at_limit, ..REQUEST });
    assert_eq!((whole["url"].as_str().unwrap(), whole.get("urlBytes")), (&*at_limit, None));
    let beyond = path_of(URL_BYTES_MAX + 1);
    let cut = noted(&Request { path: &beyond, query: "q=1", ..REQUEST });
    assert_eq!((cut["url"].as_str().unwrap(), &cut["urlBytes"]), (&*at_limit, &json!(URL_BYTES_MAX + 5)));
    assert_eq!(cut["path"], cut["url"]);
    let query = "q".repeat(URL_BYTES_MAX);
    let cut = noted(&Request { path: "/x", query: &query, ..REQUEST });
    assert_eq!(cut["url"].as_str().unwrap().len(), URL_BYTES_MAX);
    assert_eq!((&cut["path"], &cut["urlBytes"]), (&json!("/x"), &json!(URL_BYTES_MAX + 3)));
    let method = noted(&Request { method: &[b'M'; 40], ..REQUEST });
    assert_eq!(method["method"].as_str().unwrap(), "M".repeat(32));
}

#[test]
fn secret_parameters_are_left_out_however_they_are_spelt() {
    let url = |query: &str| noted(&Request { path: "/p", query, ..REQUEST })["url"].as_str().unwrap().to_owned();
    assert_eq!(url("stream=a&access_token=hunter2&b=1"), "/p?stream=a&access_token=[REDACTED]&b=1");
    for query in [
        "access_token=hunter2",
        "a&ACCESS_TOKEN=hunter2",
        "access%5Ftoken=hunter2",
        "access-token=hunter2",
        "%61ccess_toke%6e=hunter2&x",
        "token=hunter2=hunter2",
        "password=hunter2",
        "Secret=hunter2",
        "api-key=hunter2",
        "X-Token=hunter2",
        "x_token=hunter2",
        "ID_token=hunter2",
        "refresh_token=hunter2",
        "Jwt=hunter2",
        "BEARER=hunter2",
        "client-secret=hunter2",
        "access_token=hunter2&access_token=hunter2",
    ] {
        let url = url(query);
        assert!(!url.contains("hunter2") && url.contains("[REDACTED]"), "{url}");
    }
    assert_eq!(url("access_token"), "/p?access_token");
    assert_eq!(url("tokens=1&x_tokens=2&stream=token"), "/p?tokens=1&x_tokens=2&stream=token");
    // However the cut falls, nothing of the value shows.
    for before in URL_BYTES_MAX - 40..URL_BYTES_MAX + 2 {
        let query = format!("{}&access_token=hunter2", "q".repeat(before));
        let url = url(&query);
        assert!(!url.contains("hun") && !url.contains("=h"), "{before}: {url}");
    }
}

#[test]
fn beyond_the_budget_one_request_stands_for_many() {
    let requests = crate::access_log::LogBudget { lines_per_s: 2, sample: 10 };
    let budgets = crate::access_log::LogBudgets { requests, ..Default::default() };
    let mut log = AccessLog::new(0, &LogSettings { budgets, ..LogSettings::default() });
    for _ in 0..2 + 35 {
        log.request(Now { mono_ns: 5, unix_ms: 0 }, None, REQUEST.ip, &OUTCOME);
    }
    let batch = log.take(LogFile::Http, Vec::new).unwrap();
    let text = String::from_utf8(batch.bytes).unwrap();
    let samples: Vec<Option<u64>> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap().get("sample").and_then(Value::as_u64))
        .collect();
    assert_eq!(samples, [None, None, Some(10), Some(10), Some(10)]);
    let figures = log.figures(LogFile::Http);
    assert_eq!((figures.lines, figures.left_out), (5, 32));
}

#[test]
fn notes_last_until_no_request_needs_them() {
    let mut notes = Notes::default();
    let first = notes.add(&REQUEST, true);
    let second = notes.add(&Request { path: "/other", ..REQUEST }, false);
    let text = |notes: &Notes, note| notes.text(note).map(|text| String::from_utf8(text.to_vec()).unwrap());
    assert!(text(&notes, first).unwrap().contains("/v1/enqueue"));
    let kept = text(&notes, second).unwrap();
    assert!(kept.contains("/other") && !kept.contains("enqueue"));
    let third = notes.add(&REQUEST, true);
    assert_eq!((text(&notes, first), text(&notes, second)), (None, None));
    assert!(text(&notes, third).is_some());
    let again = notes.add_again(kept.as_bytes(), false);
    assert_eq!(text(&notes, again).unwrap(), kept);
    assert_eq!(notes.text(Note::NONE), None);
    assert_eq!(Notes::default().text(Note::NONE), None);
}

#[test]
fn notes_of_one_connection_are_bounded() {
    let mut notes = Notes::default();
    let path = format!("/{}", "\\".repeat(URL_BYTES_MAX));
    let request = Request { path: &path, query: &path, ..REQUEST };
    let mut last = notes.add(&request, true);
    assert!(!notes.is_full());
    for _ in 0..1_000 {
        last = notes.add(&request, false);
    }
    assert_eq!((last, notes.is_full()), (Note::NONE, true));
    assert!(notes.bytes.len() < NOTES_BYTES_MAX + 20 * URL_BYTES_MAX, "{}", notes.bytes.len());
    notes.shrink();
    assert_eq!(notes.bytes.capacity(), 0);
    assert_ne!(notes.add(&request, false), Note::NONE);
}
