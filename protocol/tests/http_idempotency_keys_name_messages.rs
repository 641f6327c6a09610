//! `Idempotency-Key` is the `dedupId` of the one message of its request, and of no other.

mod http_wire;

use conduit_protocol::http::{HttpDate, HttpSession};
use conduit_protocol::{Command, Context, Inbox, Limits, Now, Step, Telemetry};
use http_wire::{Peer, post};

/// The dedup ids of the messages in `wire`, which comes in pieces of so many bytes; what is refused has none.
fn dedup_ids(wire: &[u8], piece_bytes: usize) -> Vec<Option<String>> {
    let (limits, mut telemetry, mut out, mut date) =
        (Limits::default(), Telemetry::default(), Vec::new(), HttpDate::default());
    let mut session = HttpSession::default();
    let mut found = Vec::new();
    let mut rest = Vec::new();
    for piece in wire.chunks(piece_bytes) {
        rest.extend_from_slice(piece);
        let mut context = Context {
            now: Now { mono_ns: 1, unix_ms: 1 },
            limits: &limits,
            policy: &conduit_protocol::Policy::default(),
            gate: &mut conduit_protocol::OpenGate,
            log: &mut conduit_protocol::AccessLog::default(),
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
            telemetry: &mut telemetry,
            out: &mut out,
            date: &mut date,
            draining: false,
            resting: false,
        };
        let mut inbox = Inbox::new(&mut rest);
        loop {
            match session.next(&mut inbox, &mut context) {
                Step::Command { command: Command::Publish(publish), .. } => {
                    found.push(publish.options.dedup_id.map(std::borrow::Cow::into_owned));
                }
                Step::Again => {}
                Step::NeedBytes => break,
                other => panic!("{other:?}"),
            }
        }
        let consumed = inbox.consumed();
        rest.drain(..consumed);
    }
    found
}

fn keyed(key: &str, body: &str) -> Vec<u8> {
    post("/v1/enqueue", &format!("Idempotency-Key: {key}\r\n"), body)
}

const PLAIN: &str = r#"{"to":"s","envelope":{}}"#;

#[test]
fn a_key_names_the_message_of_its_request_and_no_other() {
    let unkeyed = post("/v1/enqueue", "", PLAIN);
    let wire = [
        unkeyed.clone(),
        unkeyed.clone(),
        keyed("one", PLAIN),
        unkeyed.clone(),
        keyed("two", PLAIN),
        keyed("two", PLAIN),
        keyed("\"two\"", PLAIN),
        // The head that repeats an earlier one is recognised without parsing it; it has no key either.
        unkeyed,
        keyed("same", r#"{"to":"s","envelope":{},"dedupId":"same"}"#),
        post("/v1/enqueue", "", r#"{"to":"s","envelope":{},"dedupId":"in the body"}"#),
    ]
    .concat();
    let wanted =
        [None, None, Some("one"), None, Some("two"), Some("two"), Some("two"), None, Some("same"), Some("in the body")];
    for piece_bytes in [usize::MAX, 1, 7, 100] {
        let found = dedup_ids(&wire, piece_bytes.min(wire.len()));
        assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn a_key_is_taken_with_chunks_and_with_message_pack() {
    let head = "POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nidempotency-key: k\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{PLAIN}\r\n0\r\n\r\n", PLAIN.len());
    assert_eq!(dedup_ids(chunked.as_bytes(), 1), [Some("k".to_owned())]);
    let headers = "Content-Type: application/msgpack\r\nIdempotency-Key: k\r\n";
    let packed = post("/v1/enqueue", headers, b"\x82\xa2to\xa1s\xa8envelope\x80");
    assert_eq!(dedup_ids(&packed, 1), [Some("k".to_owned())]);
}

/// The refusal of one request, after which the connection goes on.
fn refused(request: &[u8]) -> String {
    let mut peer = Peer::new();
    peer.feed(request);
    peer.feed(http_wire::get("/health", ""));
    assert_eq!((peer.statuses(), peer.commands.len()), (vec![400, 200], 1));
    let response = peer.responses().remove(0);
    assert_eq!(response.code(), "InvalidField");
    response.json()["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_key_that_names_nothing_is_refused() {
    let max = Limits::default().dedup_id_bytes_max;
    let longest = "k".repeat(max);
    assert_eq!(dedup_ids(&keyed(&longest, PLAIN), 50), [Some(longest.clone())]);
    for key in ["", "\"\"", "\"open", "\"a\"b", &format!("{longest}k")] {
        assert!(refused(&keyed(key, PLAIN)).contains("`Idempotency-Key`"), "{key}");
    }
}

#[test]
fn a_key_and_another_dedup_id_are_refused() {
    let message = refused(&keyed("a", r#"{"to":"s","envelope":{},"dedupId":"b"}"#));
    assert!(message.contains("`dedupId`") && message.contains("`Idempotency-Key`"));
}

#[test]
fn one_key_cannot_name_the_messages_of_a_batch() {
    let headers = "Content-Type: application/x-ndjson\r\nIdempotency-Key: k\r\n";
    assert!(refused(&post("/v1/enqueue", headers, PLAIN)).contains("`dedupId`"));
}

#[test]
fn two_keys_end_the_connection() {
    let mut peer = Peer::new();
    peer.feed(post("/v1/enqueue", "Idempotency-Key: a\r\nIdempotency-Key: a\r\n", PLAIN));
    assert_eq!((peer.statuses(), peer.is_closed), (vec![400], true));
    assert_eq!(peer.responses()[0].code(), "BadFraming");
}

#[test]
fn elsewhere_the_field_means_nothing() {
    let mut peer = Peer::new();
    peer.feed(http_wire::get("/health", "Idempotency-Key: \"\r\n"));
    peer.feed(http_wire::request("PUT", "/v1/streams/s", "Idempotency-Key: a\r\n", "{}"));
    assert_eq!(peer.statuses(), [200, 200]);
}
