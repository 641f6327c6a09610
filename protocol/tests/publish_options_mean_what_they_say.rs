//! What a publish may ask for besides being stored has its meaning, its type and its bounds: the same in both encodings,
//! over HTTP, in a line of a batch, and over WebSocket, however the bytes are cut.

mod http_wire;
mod ws_wire;

use conduit_protocol::codec::decode_publish;
use conduit_protocol::ws::Role;
use conduit_protocol::{Encoding, ErrorCode, Limits, NotBefore, PublishOptions, TraceContext};
use http_wire::{Peer, post};
use serde_json::{Value, json};
use std::num::NonZeroU64;
use ws_wire::{BINARY, Server, TEXT, client_frame};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

/// The time of all sessions here, and of the tests' times near it.
const NOW_UNIX_MS: u64 = 784_111_777_000;

fn encode(encoding: Encoding, value: &Value) -> Vec<u8> {
    match encoding {
        Encoding::Json => serde_json::to_vec(value).unwrap(),
        Encoding::MessagePack => rmp_serde::to_vec(value).unwrap(),
    }
}

/// `{"to","envelope"}` and these members.
fn publish(options: &Value) -> Value {
    let mut publish = json!({"to": "s", "envelope": {"id": "m"}});
    publish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    publish
}

/// What the options come to, or the complaint.
fn decoded(options: &Value) -> Result<PublishOptions<'static>, (ErrorCode, String)> {
    let [json, msgpack] = BOTH.map(|encoding| {
        let bytes = encode(encoding, &publish(options));
        match decode_publish(encoding, &bytes, &Limits::default()) {
            Ok(publish) => Ok(publish.options.into_owned()),
            Err(violation) => Err((violation.code, violation.message.into_owned())),
        }
    });
    assert_eq!(json, msgpack, "{options}");
    json
}

fn default() -> PublishOptions<'static> {
    PublishOptions::default()
}

/// Options that are right, and what they mean.
fn good() -> Vec<(Value, PublishOptions<'static>)> {
    let limits = Limits::default();
    let longest = "é".repeat(limits.dedup_id_bytes_max / 2);
    let at = |not_before| PublishOptions { not_before, ..default() };
    let ttl = |ttl_ms| PublishOptions { ttl_ms: NonZeroU64::new(ttl_ms), ..default() };
    let priority = |priority| PublishOptions { priority, ..default() };
    let id = |id: &str| PublishOptions { dedup_id: Some(id.to_owned().into()), ..default() };
    vec![
        (json!({}), default()),
        (json!({"more": [1], "ref": 2}), default()),
        (json!({"delayMs": 0}), at(NotBefore::AfterMs(0))),
        (json!({"delayMs": limits.delay_ms_max}), at(NotBefore::AfterMs(limits.delay_ms_max))),
        (json!({"deliverAt": 0}), at(NotBefore::AtUnixMs(0))),
        (json!({"deliverAt": NOW_UNIX_MS}), at(NotBefore::AtUnixMs(NOW_UNIX_MS))),
        (
            json!({"deliverAt": NOW_UNIX_MS + limits.delay_ms_max}),
            at(NotBefore::AtUnixMs(NOW_UNIX_MS + limits.delay_ms_max)),
        ),
        (json!({"deliverAt": "1994-11-06T08:49:37.5Z"}), at(NotBefore::AtUnixMs(NOW_UNIX_MS + 500))),
        (json!({"deliverAt": "1994-11-06T09:49:37+01:00"}), at(NotBefore::AtUnixMs(NOW_UNIX_MS))),
        (json!({"deliverAt": "1931-01-01T00:00:00Z"}), at(NotBefore::AtUnixMs(0))),
        (json!({"ttlMs": 1}), ttl(1)),
        (json!({"ttlMs": u64::MAX}), ttl(u64::MAX)),
        (json!({"priority": 0}), priority(0)),
        (json!({"priority": 3}), priority(3)),
        (json!({"dedupId": "x"}), id("x")),
        (json!({"dedupId": "a \"b\"\n"}), id("a \"b\"\n")),
        (json!({ "dedupId": longest }), id(&longest)),
        (
            json!({"delayMs": 5, "ttlMs": 9, "priority": 2, "dedupId": "k", "traceparent": TRACE}),
            PublishOptions {
                not_before: NotBefore::AfterMs(5),
                ttl_ms: NonZeroU64::new(9),
                priority: 2,
                dedup_id: Some("k".into()),
                trace: TraceContext::parse(TRACE.as_bytes()),
            },
        ),
    ]
}

/// Options of which one is wrong, and its name.
fn bad() -> Vec<(Value, &'static str)> {
    let limits = Limits::default();
    let too_long = format!("{}x", "é".repeat(limits.dedup_id_bytes_max / 2));
    let mut bad = vec![
        (json!({"delayMs": limits.delay_ms_max + 1}), "delayMs"),
        (json!({"delayMs": u64::MAX}), "delayMs"),
        (json!({"deliverAt": ""}), "deliverAt"),
        (json!({"deliverAt": "tomorrow"}), "deliverAt"),
        (json!({"deliverAt": "1994-11-06T08:49:37"}), "deliverAt"),
        (json!({"deliverAt": "784111777000"}), "deliverAt"),
        (json!({"deliverAt": -1}), "deliverAt"),
        (json!({"delayMs": 1, "deliverAt": 1}), "deliverAt"),
        (json!({"delayMs": 0, "deliverAt": "1994-11-06T08:49:37Z"}), "delayMs"),
        (json!({"ttlMs": 0}), "ttlMs"),
        (json!({"priority": 4}), "priority"),
        (json!({"priority": "high"}), "priority"),
        (json!({"dedupId": ""}), "dedupId"),
        (json!({"dedupId": 7}), "dedupId"),
        (json!({ "dedupId": too_long }), "dedupId"),
    ];
    for member in ["delayMs", "ttlMs", "priority"] {
        for wrong in [json!(-1), json!(1.5), json!("1"), json!(null), json!([1]), json!({"a": 1}), json!(true)] {
            bad.push((json!({ member: wrong }), member));
        }
    }
    for member in ["deliverAt", "dedupId"] {
        for wrong in [json!(1.5), json!(null), json!(["a"]), json!({}), json!(false)] {
            bad.push((json!({ member: wrong }), member));
        }
    }
    bad
}

#[test]
fn each_option_has_its_meaning_and_its_bounds() {
    for (options, wanted) in good() {
        assert_eq!(decoded(&options), Ok(wanted), "{options}");
    }
    for (options, member) in bad() {
        let (code, message) = decoded(&options).expect_err(&options.to_string());
        assert_eq!(code, ErrorCode::InvalidField, "{options}");
        assert!(message.contains(&format!("`{member}`")), "{options}: {message}");
    }
}

#[test]
fn an_option_comes_once_however_its_name_is_spelt() {
    for member in ["delayMs", "deliverAt", "ttlMs", "priority"] {
        let escaped = format!("\\u{:04x}{}", member.as_bytes()[0], &member[1..]);
        for second in [member, &escaped] {
            let text = format!(r#"{{"to":"s","envelope":{{}},"{member}":1,"{second}":1}}"#);
            let result = decode_publish(Encoding::Json, text.as_bytes(), &Limits::default());
            assert_eq!(result.map_err(|violation| violation.code), Err(ErrorCode::InvalidField), "{text}");
        }
    }
    let text = br#"{"to":"s","dedup\u0049d":"k","envelope":{"dedupId":"inner","delayMs":-1}}"#;
    let publish = decode_publish(Encoding::Json, text, &Limits::default()).unwrap();
    assert_eq!(publish.options, PublishOptions { dedup_id: Some("k".into()), ..default() });
}

#[test]
fn what_the_message_is_is_judged_before_what_it_asks_for() {
    let wrong = |text: &str| decode_publish(Encoding::Json, text.as_bytes(), &Limits::default()).unwrap_err().code;
    assert_eq!(wrong(r#"{"delayMs":-1,"to":"s"}"#), ErrorCode::InvalidEnvelope);
    assert_eq!(wrong(r#"{"delayMs":-1,"to":"","envelope":{}}"#), ErrorCode::InvalidStream);
    assert_eq!(wrong(r#"{"delayMs":-1,"to":"s","envelope":{}"#), ErrorCode::InvalidJson);
}

/// What a connection made of `bytes`: whether it asked the shard, and what it said.
fn over_http(bytes: &[u8]) -> (usize, Vec<u8>) {
    let mut whole = Peer::new();
    assert_eq!(whole.now.unix_ms, NOW_UNIX_MS);
    whole.feed(bytes);
    let mut pieces = Peer::new();
    for byte in bytes {
        pieces.feed([*byte]);
    }
    assert_eq!((&pieces.commands, &pieces.out), (&whole.commands, &whole.out));
    (whole.commands.len(), whole.out)
}

fn over_websocket(encoding: Encoding, bytes: &[u8]) -> (Vec<String>, Vec<u8>) {
    let opcode = if encoding == Encoding::Json { TEXT } else { BINARY };
    let frame = client_frame(true, opcode, bytes);
    let run = |pieces: Vec<&[u8]>| {
        let mut server = Server::new(Role::Publisher, encoding);
        server.now.unix_ms = NOW_UNIX_MS;
        for piece in pieces {
            server.receive(piece);
        }
        assert!(!server.session.is_closing(), "an option that is wrong never ends the connection");
        (server.commands, server.out)
    };
    let whole = run(vec![&frame]);
    assert_eq!(run(frame.chunks(1).collect()), whole);
    whole
}

#[test]
fn every_wire_takes_what_is_right() {
    for (options, wanted) in good() {
        let line = encode(Encoding::Json, &publish(&options));
        let batch = post("/v1/enqueue", "Content-Type: application/x-ndjson\r\n", &line);
        assert_eq!(over_http(&batch).0, 1, "{options}");
        for (encoding, headers) in
            [(Encoding::Json, ""), (Encoding::MessagePack, "Content-Type: application/msgpack\r\n")]
        {
            let body = encode(encoding, &publish(&options));
            assert_eq!(over_http(&post("/v1/enqueue", headers, body)).0, 1, "{options}");
            let frame = encode(encoding, &json!({"enqueue": publish(&options), "ref": 1}));
            let (commands, said) = over_websocket(encoding, &frame);
            assert_eq!((commands.len(), said.len()), (1, 0), "{options}");
            assert!(commands[0].contains(&format!("options: {wanted:?}")), "{}", commands[0]);
        }
    }
}

#[test]
fn every_wire_refuses_what_is_wrong() {
    // Only a session knows the time, so only it can tell that this is too far away.
    let far = (json!({"deliverAt": NOW_UNIX_MS + Limits::default().delay_ms_max + 1}), "deliverAt");
    for (options, member) in bad().into_iter().chain([far]) {
        let named = format!("`{member}`");
        let says = |out: &[u8]| {
            let text = String::from_utf8_lossy(out);
            assert!(text.contains("InvalidField") && text.contains(&named), "{options}: {text}");
        };
        let line = encode(Encoding::Json, &publish(&options));
        let (asked, out) = over_http(&post("/v1/enqueue", "Content-Type: application/x-ndjson\r\n", &line));
        assert_eq!(asked, 0, "{options}");
        assert!(out.starts_with(b"HTTP/1.1 200 "));
        says(&out);
        for (encoding, headers) in
            [(Encoding::Json, ""), (Encoding::MessagePack, "Content-Type: application/msgpack\r\n")]
        {
            let body = encode(encoding, &publish(&options));
            let (asked, out) = over_http(&post("/v1/enqueue", headers, body));
            assert_eq!(asked, 0, "{options}");
            assert!(out.starts_with(b"HTTP/1.1 400 "));
            says(&out);
            let frame = encode(encoding, &json!({"enqueue": publish(&options), "ref": 1}));
            let (commands, said) = over_websocket(encoding, &frame);
            assert_eq!(commands, [""; 0], "{options}");
            says(&said);
        }
    }
}

#[test]
fn options_beside_the_enqueue_and_not_in_it_are_ignored() {
    let frame = br#"{"enqueue":{"to":"s","envelope":{}},"ttlMs":0,"priority":9,"dedupId":""}"#;
    let (commands, said) = over_websocket(Encoding::Json, frame);
    assert!(commands[0].contains(&format!("options: {:?}", default())));
    assert!(said.is_empty());
}
