//! Every path: what it asks of the shard, and what it tells the client.

mod http_wire;

use conduit_protocol::{Answer, Encoding, ErrorCode, Limits, Promise, Refusal, Seq};
use http_wire::{Answering, Peer, Response, get, post, publish};
use serde_json::json;

fn one(bytes: impl AsRef<[u8]>) -> Response {
    let mut responses = Peer::exchange(bytes);
    assert_eq!(responses.len(), 1, "{responses:?}");
    responses.remove(0)
}

/// What a request makes of the shard.
fn commands(bytes: impl AsRef<[u8]>) -> Vec<String> {
    let mut peer = Peer::new();
    peer.feed(bytes);
    peer.commands
}

#[test]
fn a_publish_answers_id_stream_and_seq() {
    let response = one(publish("m1"));
    assert_eq!(response.status, 200);
    assert_eq!(response.json(), json!({"id":"m1","stream":"s","seq":1}));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(response.header("connection"), None);
}

#[test]
fn a_plain_answer_has_the_bytes_that_it_always_had() {
    let mut peer = Peer::new();
    peer.feed(publish("m1"));
    let json = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: application/json\r\ncontent-length: 32\r\n\r\n\
                {\"id\":\"m1\",\"stream\":\"s\",\"seq\":1}";
    assert_eq!(String::from_utf8_lossy(&peer.out), json);
    let mut peer = Peer::new();
    peer.feed(post("/v1/enqueue", "X-Codec: msgpack\r\n", r#"{"to":"s","envelope":{"id":"m1"}}"#));
    let msgpack = b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: application/msgpack\r\ncontent-length: 21\r\n\r\n\
                    \x83\xa2id\xa2m1\xa6stream\xa1s\xa3seq\x01";
    assert_eq!(peer.out, msgpack);
}

#[test]
fn an_answer_says_what_was_promised_and_what_came_before() {
    for (promise, duplicate, wanted) in [
        (Promise::Unsaid, true, json!({"id":"m","stream":"s","seq":1,"duplicate":true})),
        (Promise::Durable, false, json!({"id":"m","stream":"s","seq":1,"durable":true})),
        (Promise::Volatile, false, json!({"id":"m","stream":"s","seq":1,"durable":false})),
        (Promise::Durable, true, json!({"id":"m","stream":"s","seq":1,"durable":true,"duplicate":true})),
    ] {
        // Around the change of the number of digits of the length, which is guessed.
        for length in (1..60).chain(900..1_000) {
            let id = "m".repeat(length);
            let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
            peer.feed(publish("x"));
            let (token, _) = peer.unanswered.remove(0);
            peer.give(token, &Answer::Published { id: &id, stream: "s", seq: Seq(1), promise, duplicate });
            let mut body = peer.responses().remove(0).json();
            assert_eq!(body["id"], json!(id));
            body["id"] = json!("m");
            assert_eq!(body, wanted);
        }
    }
}

#[test]
fn the_length_is_right_for_bodies_of_any_length() {
    // The number of digits is guessed before the body is known: all guesses around the changes of digits are tried.
    for id_bytes in (1..=256).step_by(1) {
        let id = "\u{1}".repeat(id_bytes / 6).replace('\u{1}', "\\u0001") + &"i".repeat(id_bytes % 6 + 1);
        let response = one(post("/v1/enqueue", "", format!(r#"{{"to":"s","envelope":{{"id":"{id}"}}}}"#)));
        assert_eq!(response.status, 200);
        assert!(response.json()["id"].is_string());
    }
}

#[test]
fn the_paths_that_read_ask_for_their_report() {
    for (target, report) in [
        ("/health", "Health"),
        ("/health?verbose=1", "Health"),
        ("/v1/streams", "Streams"),
        ("/v1/metrics", "Metrics"),
        ("/metrics", "Prometheus"),
        ("/v1/histograms", "HistogramsJson"),
        ("/v1/histograms?format=json", "HistogramsJson"),
        ("/v1/histograms?format=hlog", "HistogramsHlog"),
        ("/v1/histograms?format=hgrm", "HistogramsHgrm"),
        ("http://host:1/health", "Health"),
    ] {
        assert_eq!(commands(get(target, "")), [format!("report {report}")], "{target}");
        assert_eq!(one(get(target, "")).status, 200);
    }
    assert_eq!(commands(get("/v1/stats?stream=agents%2Fa%20b+c", "")), ["stats agents/a b c"]);
    assert_eq!(one(get("/v1/stats?stream=s", "")).json()["depth"], 0);
    assert_eq!(one(get("/v1/histograms?format=xml", "")).code(), "InvalidField");
}

#[test]
fn refusals_of_the_request_itself_have_their_shapes() {
    let bodies = [
        (post("/v1/enqueue", "", "{"), 400, "InvalidJSON", "Request body decode failed"),
        (post("/v1/enqueue", "", ""), 400, "InvalidJSON", "Request body decode failed"),
        (
            post("/v1/enqueue", "Content-Type: application/msgpack\r\n", b"\xc1"),
            400,
            "DecodeError",
            "Request body decode failed",
        ),
        (post("/v1/enqueue", "", r#"{"to":"s"}"#), 400, "InvalidEnvelope", "Envelope must be an object"),
        (post("/v1/enqueue", "", r#"{"to":"s","envelope":[]}"#), 400, "InvalidEnvelope", "Envelope must be an object"),
        (get("/v1/stats", ""), 400, "InvalidField", "missing stream"),
        (get("/v1/stats?stream=", ""), 400, "InvalidField", "missing stream"),
        (get("/nowhere", ""), 404, "NotFound", "Not Found"),
        (get("/", ""), 404, "NotFound", "Not Found"),
        (get("/v1/enqueue", ""), 405, "MethodNotAllowed", "Method Not Allowed"),
        (get("/v1/subscribe?stream=s", ""), 426, "UpgradeRequired", "Upgrade Required"),
    ];
    for (bytes, status, code, error) in bodies {
        let response = one(&bytes);
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!((response.status, response.code().as_str()), (status, code), "{shown}");
        assert_eq!(response.json()["error"], error, "{shown}");
        assert!(response.json()["message"].is_string() && !response.closes(), "{shown}");
    }
    let decode = one(post("/v1/enqueue", "Content-Type: application/x-msgpack\r\n", b"\xc1")).json();
    assert_eq!(decode["codec"], "msgpack");
    assert!(decode["details"].is_string());
    let deep =
        post("/v1/enqueue", "", format!(r#"{{"to":"s","envelope":{{"a":{}{}}}}}"#, "[".repeat(40), "]".repeat(40)));
    assert_eq!(one(deep).json()["details"], "depth_exceeded");
}

#[test]
fn bad_escapes_are_an_invalid_field_on_every_path() {
    for target in ["/health?x=%", "/v1/stats?stream=%zz", "/%", "/v1/stats?stream=%ff"] {
        let response = one(get(target, ""));
        assert_eq!((response.status, response.code().as_str(), response.closes()), (400, "InvalidField", false));
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    for (method, target, allow) in [
        ("GET", "/v1/enqueue", "POST"),
        ("post", "/v1/enqueue", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("PATCH", "/v1/stats?stream=a", "GET, HEAD"),
        ("BREW", "/v1/subscribe", "GET, HEAD"),
    ] {
        let response = one(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{method} {target}");
    }
}

#[test]
fn an_upgrade_path_without_an_upgrade_says_what_it_takes() {
    let handshakes = [
        "",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ];
    for headers in handshakes {
        let response = one(get("/v1/publish", headers));
        assert_eq!(response.status, 426);
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert_eq!(response.header("sec-websocket-version"), Some("13"));
        assert_eq!(response.header("connection"), Some("upgrade"));
    }
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    for target in ["/health", "/v1/stats?stream=s", "/v1/stats", "/nowhere", "/v1/subscribe", "/metrics"] {
        let with_body = one(get(target, ""));
        let mut peer = Peer::new();
        peer.feed(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (bytes, without) = Response::parse_head(&peer.out);
        assert_eq!(bytes, peer.out.len(), "{target} has a body");
        assert_eq!((without.status, without.headers), (with_body.status, with_body.headers), "{target}");
    }
}

#[test]
fn the_shards_refusals_reach_the_client_with_their_wait() {
    let cases = [
        (ErrorCode::Backpressure, Some(1_001), 429, Some("2")),
        (ErrorCode::Backpressure, Some(1), 429, Some("1")),
        (ErrorCode::TooManyStreams, None, 503, None),
        (ErrorCode::StorageFull, None, 507, Some("1")),
        (ErrorCode::StorageFull, Some(5_000), 507, Some("5")),
        (ErrorCode::StorageFailed, None, 503, None),
        (ErrorCode::Timeout, None, 504, None),
        (ErrorCode::Internal, None, 500, None),
    ];
    for (code, retry_after_ms, status, retry_after) in cases {
        let mut peer = Peer::new();
        peer.refusal = Some(Refusal { code, message: "the stream is full".into(), retry_after_ms });
        peer.feed(publish("1"));
        let response = peer.responses().remove(0);
        assert_eq!((response.status, response.code().as_str()), (status, code.code()));
        assert_eq!(response.header("retry-after"), retry_after);
        assert_eq!(response.json()["message"], "the stream is full");
        assert_eq!(response.json()["retryAfter"].as_u64().map(|seconds| seconds.to_string()).as_deref(), retry_after);
        assert_eq!(peer.telemetry.errors[code as usize], 1);
    }
}

#[test]
fn an_unknown_stream_is_told_as_before() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed(get("/v1/stats?stream=s", ""));
    let (token, _) = peer.unanswered.remove(0);
    let refusal = Refusal { code: ErrorCode::UnknownStream, message: "no stream `s`".into(), retry_after_ms: None };
    peer.give(token, &Answer::Refused(refusal));
    let response = peer.responses().remove(0);
    assert_eq!(response.status, 404);
    assert_eq!(response.json(), json!({"error":"UnknownStream","message":"no stream `s`","code":"UnknownStream"}));
}

#[test]
fn answers_come_in_the_negotiated_encoding() {
    let msgpack = |response: &Response| -> serde_json::Value {
        assert_eq!(response.header("content-type"), Some("application/msgpack"));
        rmp_serde::from_slice(&response.body).expect("MessagePack")
    };
    let accept = "Accept: application/json;q=0.1, application/msgpack\r\n";
    let published = one(post("/v1/enqueue", accept, r#"{"to":"s","envelope":{"id":"a"}}"#));
    assert_eq!(msgpack(&published), json!({"id":"a","stream":"s","seq":1}));
    assert_eq!(msgpack(&one(get("/health", accept))), json!({"status":"ok","ok":true}));
    assert_eq!(msgpack(&one(get("/v1/stats?stream=s", "X-Codec: msgpack\r\n")))["depth"], 0);
    assert_eq!(msgpack(&one(get("/nowhere", "X-Codec: msgpack\r\n")))["code"], "NotFound");
    assert_eq!(msgpack(&one(post("/v1/enqueue", accept, "x")))["codec"], "json");
    for headers in [
        "",
        "Accept: */*\r\n",
        "X-Codec: cbor\r\n",
        "X-Codec: json\r\nAccept: application/msgpack\r\n",
        "Accept: text/html\r\n",
    ] {
        assert_eq!(one(get("/health", headers)).json()["status"], "ok", "{headers}");
    }
    assert_eq!(msgpack(&one(get("/health", "X-Codec: MsgPack\r\nAccept: application/msgpack\r\n")))["ok"], true);
}

#[test]
fn bodies_are_read_by_their_content_type() {
    let message_pack = b"\x82\xa2to\xa1s\xa8envelope\x81\xa2id\xa1a";
    for content_type in
        ["application/msgpack", "application/vnd.msgpack", "application/x-msgpack; v=1", "Application/MsgPack"]
    {
        let response = one(post("/v1/enqueue", &format!("Content-Type: {content_type}\r\n"), message_pack));
        assert_eq!(response.json()["id"], "a", "{content_type}");
    }
    for content_type in
        ["application/json", "text/plain", "application/cloudevents+json", "text/json; charset=utf-8", "nonsense"]
    {
        let headers = format!("Content-Type: {content_type}\r\n");
        let response = one(post("/v1/enqueue", &headers, r#"{"to":"s","envelope":{"id":"a"}}"#));
        assert_eq!(response.json()["id"], "a", "{content_type}");
    }
}

#[test]
fn an_expectation_that_cannot_be_met_is_refused() {
    assert_eq!(one(get("/health", "Expect: magic\r\n")).status, 417);
    assert_eq!(one(get("/health", "Expect: magic\r\nExpect: 100-continue\r\n")).status, 417);
    let with_body = one(post("/v1/enqueue", "Expect: 100-continue, x\r\n", "{}"));
    assert_eq!((with_body.status, with_body.code().as_str()), (417, "ExpectationFailed"));
}

#[test]
fn requests_are_counted_where_they_belong() {
    let mut peer = Peer::new();
    let bad = post("/v1/enqueue", "Content-Type: application/msgpack\r\n", b"\xc1");
    peer.feed([publish("1"), bad, get("/health", ""), get("/nowhere", "")].concat());
    let telemetry = &peer.telemetry;
    let [enqueue, health, other] = ["/v1/enqueue", "/health", "other"].map(|path| {
        telemetry
            .endpoints
            .iter()
            .zip(conduit_protocol::telemetry::Endpoint::ALL)
            .find(|(_, endpoint)| endpoint.path() == path)
            .unwrap()
            .0
    });
    assert_eq!((enqueue.requests, enqueue.errors, enqueue.duration_ns.len()), (2, 1, 2));
    assert_eq!(enqueue.bytes_in, 33);
    assert_eq!((health.requests, health.errors, other.requests, other.errors), (1, 0, 1, 1));
    assert_eq!(enqueue.bytes_out + health.bytes_out + other.bytes_out, peer.out.len() as u64);
    assert_eq!(
        telemetry.statuses.iter().map(|(status, n)| (*status, *n)).collect::<Vec<_>>(),
        [(200, 2), (400, 1), (404, 1)]
    );
    let codecs = &telemetry.http_codecs;
    assert_eq!(codecs[Encoding::MessagePack as usize].decode_errors, 1);
    assert_eq!((codecs[Encoding::Json as usize].requests, codecs[Encoding::Json as usize].decode_errors), (1, 0));
    assert_eq!(telemetry.errors[ErrorCode::DecodeError as usize], 1);
    assert_eq!(telemetry.errors[ErrorCode::NotFound as usize], 1);
}
