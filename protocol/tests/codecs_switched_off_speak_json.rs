//! What is negotiated is what the operator offers.

mod http_wire;

use conduit_protocol::Encoding;
use conduit_protocol::policy::{Codecs, Guards, Policy};
use http_wire::{Peer, get, post, upgrade};

fn speaking(codecs: Codecs) -> Policy {
    Policy { codecs, ..Policy::default() }
}

const OFF: Codecs = Codecs { http: false, ws: false, default: Encoding::MessagePack };

#[test]
fn http_without_codecs_is_json_whatever_is_asked_for() {
    let response = |headers: &str, body: &[u8]| Peer::under(speaking(OFF)).ask_one(post("/v1/enqueue", headers, body));
    let json = br#"{"to":"s","envelope":{"id":"m"}}"#;
    for headers in
        ["", "Accept: application/msgpack\r\n", "X-Codec: msgpack\r\n", "Content-Type: application/msgpack\r\n"]
    {
        let response = response(headers, json);
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")), "{headers}");
    }
    let packed = rmp_serde::to_vec(&serde_json::json!({"to": "s", "envelope": {"id": "m"}})).unwrap();
    let refused = response("Content-Type: application/msgpack\r\n", &packed);
    assert_eq!((refused.status, refused.json()["codec"].as_str()), (400, Some("json")));
}

#[test]
fn whoever_leaves_it_to_the_server_gets_its_default() {
    let kind = |default, headers: &str| {
        let mut peer = Peer::under(speaking(Codecs { default, ..Codecs::default() }));
        let response = peer.ask_one(get("/v1/stats?stream=s", headers));
        response.header("content-type").unwrap().to_owned()
    };
    for open in ["", "Accept: */*\r\n", "Accept: text/html\r\n", "X-Codec: cbor\r\n"] {
        assert_eq!(kind(Encoding::MessagePack, open), "application/msgpack", "{open}");
        assert_eq!(kind(Encoding::Json, open), "application/json", "{open}");
    }
    for json in ["Accept: application/json\r\n", "X-Codec: json\r\n", "Accept: application/json, */*\r\n"] {
        assert_eq!(kind(Encoding::MessagePack, json), "application/json", "{json}");
    }
    assert_eq!(kind(Encoding::Json, "X-Codec: msgpack\r\n"), "application/msgpack");
}

#[test]
fn websockets_without_codecs_are_json_and_confirm_nothing_else() {
    let open = |target: &str, protocols: &str| {
        let mut peer = Peer::under(speaking(OFF));
        let headers =
            if protocols.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocols}\r\n") };
        let response = peer.ask_one(upgrade(target, &headers));
        let confirmed = response.header("sec-websocket-protocol").map(str::to_owned);
        peer.out.clear();
        peer.close(conduit_protocol::ErrorCode::Internal);
        // The first byte of a text frame: it is JSON.
        (confirmed, peer.out[0] == 0x81)
    };
    assert_eq!(open("/v1/publish?codec=msgpack", ""), (None, true));
    assert_eq!(open("/v1/publish", "msgpack"), (None, true));
    assert_eq!(open("/v1/publish", "msgpack, json"), (Some("json".to_owned()), true));
}

#[test]
fn a_value_that_grows_beyond_the_limit_when_it_is_decoded_is_refused() {
    let limited = || Policy { guards: Guards { decoded_bytes_max: 400, ..Guards::default() }, ..Policy::default() };
    let body = |numbers: usize| format!(r#"{{"to":"s","envelope":{{"n":[{}]}}}}"#, vec!["1"; numbers].join(","));
    // `to`, `s`, `envelope` and `n` are 12 bytes of text.
    assert_eq!(Peer::under(limited()).ask_one(post("/v1/enqueue", "", body(48))).status, 200);
    let refused = Peer::under(limited()).ask_one(post("/v1/enqueue", "", body(49)));
    let json = refused.json();
    assert_eq!((refused.status, json["details"].as_str()), (400, Some("decoded_size_exceeded")));
    assert_eq!((json["code"].as_str(), json["codec"].as_str()), (Some("DecodedSizeExceeded"), Some("json")));
    assert_eq!(json["message"], "Decoded payload decoded_size_exceeded: limit=400, actual=404");
}
