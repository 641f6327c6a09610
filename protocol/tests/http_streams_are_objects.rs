//! Streams and groups are objects over HTTP: every path below `/v1/streams` with every method, what it asks of the shard,
//! and what it tells the client.

mod http_wire;

use conduit_protocol::streams::{Done, Durability, GroupInfo, Messages, PeekedMessage, Policy, RawJson, Retention};
use conduit_protocol::streams::{StreamAnswer, StreamInfo};
use conduit_protocol::{Answer, ErrorCode, Limits, Refusal};
use http_wire::{Answering, Peer, Response, get, request};
use serde_json::json;

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"];

/// A path, the methods that it takes, and what each asks for; `None` for what is no stream's business.
type Route = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const ROUTES: [Route; 7] = [
    ("/v1/streams", "GET, HEAD", &[("GET", "report Streams"), ("HEAD", "report Streams")]),
    (
        "/v1/streams/a%2Fb",
        "GET, HEAD, PUT, DELETE",
        &[
            ("GET", "Describe"),
            ("HEAD", "Describe"),
            (
                "PUT",
                "Put(StreamSettings { retention: None, durability: None, max_messages: None, max_bytes: None, max_deliver: None, \
                 dead_letter_expired: None, dedup_window_ms: None })",
            ),
            ("DELETE", "Delete"),
        ],
    ),
    ("/v1/streams/a%2Fb/purge", "POST", &[("POST", "Purge")]),
    (
        "/v1/streams/a%2Fb/messages?from=3&limit=2",
        "GET, HEAD",
        &[("GET", "Peek { from: Seq(3), limit: 2 }"), ("HEAD", "Peek { from: Seq(3), limit: 2 }")],
    ),
    ("/v1/streams/a%2Fb/redrive?limit=5", "POST", &[("POST", "Redrive { limit: 5 }")]),
    (
        "/v1/streams/a%2Fb/groups/g%2Fh",
        "GET, HEAD, PUT, DELETE",
        &[
            ("GET", "DescribeGroup { group: \"g/h\" }"),
            ("HEAD", "DescribeGroup { group: \"g/h\" }"),
            (
                "PUT",
                "PutGroup { group: \"g/h\", from: First, settings: GroupSettings { ack_wait_ms: None, max_deliver: None } }",
            ),
            ("DELETE", "DeleteGroup { group: \"g/h\" }"),
        ],
    ),
    (
        "/v1/streams/a%2Fb/groups/",
        "GET, HEAD, PUT, DELETE",
        &[
            ("GET", "DescribeGroup { group: \"\" }"),
            ("HEAD", "DescribeGroup { group: \"\" }"),
            (
                "PUT",
                "PutGroup { group: \"\", from: First, settings: GroupSettings { ack_wait_ms: None, max_deliver: None } }",
            ),
            ("DELETE", "DeleteGroup { group: \"\" }"),
        ],
    ),
];

fn command(action: &str) -> String {
    match action.starts_with("report") {
        true => action.to_owned(),
        false => format!("Stream(StreamCommand {{ stream: \"a/b\", action: {action} }})"),
    }
}

fn one(bytes: impl AsRef<[u8]>) -> Response {
    let mut responses = Peer::exchange(bytes);
    assert_eq!(responses.len(), 1, "{responses:?}");
    responses.remove(0)
}

/// The response to a HEAD request has no body, and nothing follows it.
fn head_of(peer: &Peer) -> Response {
    let (bytes, response) = Response::parse_head(&peer.out);
    assert_eq!(bytes, peer.out.len(), "a HEAD is answered without a body");
    response
}

#[test]
fn every_path_takes_its_methods_and_no_others() {
    for (target, allow, actions) in ROUTES {
        for method in METHODS {
            let mut peer = Peer::new();
            peer.feed(request(method, target, "", ""));
            let wanted = actions.iter().find(|(known, _)| *known == method).map(|(_, action)| command(action));
            assert_eq!(peer.commands, Vec::from_iter(wanted.clone()), "{method} {target}");
            let response = if method == "HEAD" { head_of(&peer) } else { peer.responses().remove(0) };
            match wanted {
                Some(_) => assert_eq!(response.status, 200, "{method} {target}"),
                None => {
                    let told = (response.status, response.header("allow"));
                    assert_eq!(told, (405, Some(allow)), "{method} {target}");
                }
            }
            assert!(!response.closes());
        }
    }
}

#[test]
fn a_draining_server_only_reads() {
    for (target, _, actions) in ROUTES {
        for (method, action) in actions {
            let mut peer = Peer::new();
            peer.draining = true;
            peer.feed(request(method, target, "", ""));
            if matches!(*method, "GET" | "HEAD") {
                assert_eq!(peer.commands, [command(action)], "{method} {target}");
            } else {
                assert_eq!(peer.commands, [""; 0], "{method} {target}");
                let response = peer.responses().remove(0);
                assert_eq!((response.status, response.code().as_str()), (503, "ServerDraining"), "{method} {target}");
            }
        }
    }
}

#[test]
fn names_are_checked_before_the_shard_is_asked() {
    let long = "x".repeat(256);
    let long_group = format!("/v1/streams/a/groups/{}", "g".repeat(129));
    let cases = [
        ("/v1/streams/", 400, "InvalidStream"),
        ("/v1/streams//messages", 400, "InvalidStream"),
        ("/v1/streams/a%00", 400, "InvalidStream"),
        ("/v1/streams/$audit", 403, "Forbidden"),
        ("/v1/streams/%24audit", 403, "Forbidden"),
        ("/v1/streams/%zz", 400, "InvalidField"),
        ("/v1/streams/%ff", 400, "InvalidField"),
        ("/v1/streams/a/groups/%0A", 400, "InvalidField"),
        ("/v1/streams/a/messages?limit=0", 400, "InvalidField"),
        ("/v1/streams/a/groups", 404, "NotFound"),
        ("/v1/streams/a/", 404, "NotFound"),
        ("/v1/streams/a/b", 404, "NotFound"),
        (&*format!("/v1/streams/{long}"), 400, "InvalidStream"),
        (&long_group, 400, "InvalidField"),
    ];
    for (target, status, code) in cases {
        let response = one(get(target, ""));
        assert_eq!((response.status, response.code().as_str(), response.closes()), (status, code, false), "{target}");
    }
    for good in [format!("/v1/streams/{}", &long[1..]), long_group[..long_group.len() - 1].to_owned()] {
        assert_eq!(one(get(&good, "")).status, 200, "{good}");
    }
}

#[test]
fn settings_come_in_either_encoding_and_in_any_pieces() {
    let stream = "Stream(StreamCommand { stream: \"s\", action: Put(StreamSettings { retention: Some(Retention { policy: Log, \
                  max_age_ms: 1000, max_bytes: 0, max_messages: 0 }), durability: Some(Interval(5)), max_messages: Some(7), \
                  max_bytes: None, max_deliver: None, dead_letter_expired: None, dedup_window_ms: None }) })";
    let group = "Stream(StreamCommand { stream: \"s\", action: PutGroup { group: \"g\", from: Last(3), settings: GroupSettings { \
                 ack_wait_ms: Some(50), max_deliver: Some(0) } } })";
    let cases = [
        (
            "/v1/streams/s",
            json!({"retention": {"policy": "log", "maxAgeMs": 1000}, "durability": {"interval": 5}, "maxMessages": 7}),
            stream,
        ),
        ("/v1/streams/s/groups/g", json!({"from": "last:3", "ackWaitMs": 50, "maxDeliver": 0}), group),
    ];
    for (target, settings, wanted) in cases {
        let json = serde_json::to_vec(&settings).unwrap();
        let chunks = [format!("{:x}\r\n", json.len()).as_bytes(), &json, b"\r\n0\r\n\r\n"].concat();
        let chunked_head = format!("PUT {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        let requests = [
            request("PUT", target, "", &json),
            request("PUT", target, "Content-Type: application/msgpack\r\n", rmp_serde::to_vec(&settings).unwrap()),
            [chunked_head.as_bytes(), &chunks].concat(),
        ];
        for bytes in requests {
            let mut whole = Peer::new();
            whole.feed(&bytes);
            assert_eq!(whole.commands, [wanted]);
            assert_eq!(whole.statuses(), [200]);
            let mut pieces = Peer::new();
            for byte in &bytes {
                pieces.feed([*byte]);
            }
            assert_eq!((pieces.commands, pieces.out), (whole.commands, whole.out));
        }
    }
}

#[test]
fn wrong_settings_name_the_member_and_leave_the_connection_open() {
    let mut peer = Peer::new();
    peer.feed(request("PUT", "/v1/streams/s", "", r#"{"maxMessages":0}"#));
    peer.feed(request("PUT", "/v1/streams/s/groups/g", "", r#"{"maxBytes":1}"#));
    peer.feed(request("PUT", "/v1/streams/s", "", "{"));
    peer.feed(request("PUT", "/v1/streams/s", "Content-Type: application/msgpack\r\n", b"\xc1"));
    peer.feed(request("PUT", "/v1/streams/s", "", "{}"));
    assert_eq!(peer.commands.len(), 1);
    let told: Vec<_> = peer
        .responses()
        .iter()
        .map(|response| (response.status, response.json()["code"].clone(), response.json()["error"].clone()))
        .collect();
    assert_eq!(told[0], (400, json!("InvalidField"), json!("`maxMessages` must be an integer of at least 1")));
    assert_eq!(told[1], (400, json!("InvalidField"), json!("a group has no member `maxBytes`")));
    assert_eq!(told[2], (400, json!("InvalidJSON"), json!("Request body decode failed")));
    assert_eq!(told[3], (400, json!("DecodeError"), json!("Request body decode failed")));
    assert_eq!(told[4].0, 200);
}

#[test]
fn settings_are_bounded_in_bytes() {
    let max = Limits::default().settings_bytes_max;
    let padded = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    assert_eq!(one(request("PUT", "/v1/streams/s", "", padded(max))).status, 200);
    let mut peer = Peer::new();
    peer.feed(request("PUT", "/v1/streams/s", "", padded(max + 1)));
    peer.feed(get("/health", ""));
    assert_eq!(peer.statuses(), [413, 200]);
    assert_eq!(peer.commands, ["report Health"]);
    let chunked = |bytes: usize| {
        let head = "PUT /v1/streams/s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}{bytes:x}\r\n{}\r\n0\r\n\r\n", padded(bytes))
    };
    assert_eq!(one(chunked(max)).status, 200);
    let refused = one(chunked(max + 1));
    assert_eq!((refused.status, refused.closes()), (413, true));
}

#[test]
fn a_body_where_none_is_wanted_is_passed_over() {
    let mut peer = Peer::new();
    peer.feed(request("POST", "/v1/streams/s/purge", "", "not json"));
    peer.feed(request("DELETE", "/v1/streams/s", "", "{}"));
    peer.feed(get("/v1/streams/s", ""));
    assert_eq!(peer.statuses(), [200, 200, 200]);
    let actions: Vec<_> = peer.commands.iter().map(|command| command.split("action: ").nth(1).unwrap()).collect();
    assert_eq!(actions, ["Purge })", "Delete })", "Describe })"]);
}

fn stream_info(created: bool) -> StreamAnswer {
    StreamAnswer::Stream(Box::new(StreamInfo {
        stream: "s".into(),
        created,
        shard: 1,
        epoch: 1_700_000_000_000,
        first: Some(1),
        last: 2,
        messages: 2,
        bytes: 300,
        messages_on_disk: 0,
        retention: Retention { policy: Policy::Work, ..Retention::default() },
        durability: Durability::Interval(5),
        max_messages: 10,
        max_bytes: 1_000,
        max_deliver: 10,
        dead_letter_expired: false,
        dedup_window_ms: 120_000,
        gaps: Vec::new(),
        groups: vec![group_info(false)],
    }))
}

fn group_info(created: bool) -> GroupInfo {
    GroupInfo {
        stream: "s".into(),
        group: String::new(),
        created,
        next: 2,
        backlog: 1,
        inflight: 1,
        delayed: 0,
        consumers: 1,
        credit: 3,
        ack_wait_ms: 30_000,
        max_deliver: 10,
    }
}

/// The response to a request whose answer is this.
fn answered(headers: &str, answer: &StreamAnswer) -> Response {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed(get("/v1/streams/s", headers));
    let (token, _) = peer.unanswered.remove(0);
    peer.give(token, &Answer::Stream(answer.clone()));
    peer.responses().remove(0)
}

#[test]
fn answers_are_documents_and_what_is_new_is_created() {
    let group = |created| StreamAnswer::Group(Box::new(group_info(created)));
    let cases = [(stream_info(false), 200), (stream_info(true), 201), (group(false), 200), (group(true), 201)];
    for (answer, status) in &cases {
        let response = answered("", answer);
        assert_eq!((response.status, response.header("content-type")), (*status, Some("application/json")));
        assert_eq!(response.json(), serde_json::to_value(answer).unwrap());
        assert_eq!(response.json()["created"], json!(if *status == 201 { Some(true) } else { None }));
        let packed = answered("Accept: application/msgpack\r\n", answer);
        assert_eq!((packed.status, packed.header("content-type")), (*status, Some("application/msgpack")));
        let value: serde_json::Value = rmp_serde::from_slice(&packed.body).unwrap();
        assert_eq!(value, response.json());
    }
    let info = answered("", &stream_info(false)).json();
    assert_eq!((&info["durability"], &info["retention"]["policy"]), (&json!({"interval": 5}), &json!("work")));
}

#[test]
fn looking_at_messages_shows_their_envelopes_as_they_are() {
    let envelope = serde_json::value::RawValue::from_string(r#"{ "n": 1.0 }"#.into()).unwrap();
    let message = PeekedMessage {
        seq: 7,
        id: "m".into(),
        ts: "2026-01-01T00:00:00.000Z".into(),
        traceparent: None,
        envelope: RawJson(envelope),
    };
    let answer = StreamAnswer::Messages(Messages { stream: "s".into(), messages: vec![message], next: Some(8) });
    let response = answered("", &answer);
    let wanted = r#"{"stream":"s","messages":[{"seq":7,"id":"m","ts":"2026-01-01T00:00:00.000Z","envelope":{ "n": 1.0 }}],"next":8}"#;
    assert_eq!(String::from_utf8(response.body).unwrap(), wanted);
}

#[test]
fn what_a_change_did_is_told_by_its_number() {
    let done = |deleted, redriven| {
        let done = Done { stream: "s".into(), group: None, deleted, redriven };
        String::from_utf8(answered("", &StreamAnswer::Done(done)).body).unwrap()
    };
    assert_eq!(done(None, None), r#"{"stream":"s"}"#);
    assert_eq!(done(Some(3), None), r#"{"stream":"s","deleted":3}"#);
    assert_eq!(done(None, Some(0)), r#"{"stream":"s","redriven":0}"#);
}

#[test]
fn refusals_have_the_status_of_their_code() {
    for (code, status, error) in [
        (ErrorCode::UnknownStream, 404, "UnknownStream"),
        (ErrorCode::UnknownGroup, 404, "Not Found"),
        (ErrorCode::Conflict, 409, "Conflict"),
        (ErrorCode::StreamDeleted, 410, "Gone"),
        (ErrorCode::TooManyGroups, 503, "Service Unavailable"),
        (ErrorCode::StorageFull, 507, "Insufficient Storage"),
        (ErrorCode::StorageFailed, 503, "Service Unavailable"),
    ] {
        let mut peer = Peer::new();
        peer.refusal = Some(Refusal { code, message: "why".into(), retry_after_ms: None });
        peer.feed(request("PUT", "/v1/streams/s", "", ""));
        let response = peer.responses().remove(0);
        assert_eq!((response.status, response.code().as_str()), (status, code.code()));
        assert_eq!(response.json()["error"], error);
        assert!(!response.closes());
        let wait = match code {
            ErrorCode::StorageFull => Some("1"),
            ErrorCode::TooManyGroups => Some("10"),
            _ => None,
        };
        assert_eq!(response.header("retry-after"), wait, "{}", code.code());
    }
}

#[test]
fn requests_about_streams_are_counted_together() {
    let mut peer = Peer::new();
    for (target, _, actions) in ROUTES {
        for (method, _) in actions {
            peer.feed(request(method, target, "", ""));
        }
    }
    peer.feed(get("/v1/streams/a/nothing", ""));
    let endpoints = conduit_protocol::telemetry::Endpoint::ALL.iter().zip(&peer.telemetry.endpoints);
    let counted: Vec<_> = endpoints
        .filter(|(_, stats)| stats.requests > 0)
        .map(|(endpoint, stats)| (endpoint.path(), stats.requests))
        .collect();
    assert_eq!(counted, [("/v1/streams", 18), ("other", 1)]);
}
