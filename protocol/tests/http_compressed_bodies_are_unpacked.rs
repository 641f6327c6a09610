//! A body that comes compressed by gzip means what it means unpacked, up to the same limit; any other coding, and any body
//! that is not what it says, is refused by name, and the connection goes on.

mod http_wire;

use conduit_protocol::access_log::{LogFile, LogSettings};
use conduit_protocol::{AccessLog, Limits};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_wire::{Answering, Peer, get, post, request};
use proptest::prelude::*;
use std::io::Write as _;

const GZIP: &str = "Content-Encoding: gzip\r\n";
const MESSAGE: &str = r#"{"to":"s","envelope":{"id":"m-1","text":"hello"}}"#;
const STORED: &str = r#"publish s {"id":"m-1","text":"hello"}"#;

fn gzip(body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn chunked(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /v1/enqueue HTTP/1.1\r\nHost: x\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
    let (first, second) = body.split_at(body.len() / 2);
    let mut wire = head.into_bytes();
    for chunk in [first, second, b""] {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

fn publish_after(bytes: usize) -> String {
    let frame = r#"{"to":"s","envelope":{"t":""}}"#;
    frame.replace("\"\"", &format!("\"{}\"", "a".repeat(bytes - frame.len())))
}

#[test]
fn a_packed_message_is_the_message_however_it_comes() {
    for wire in [
        post("/v1/enqueue", GZIP, gzip(MESSAGE)),
        post("/v1/enqueue", "content-encoding: X-GZip\r\n", gzip(MESSAGE)),
        post("/v1/enqueue", "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", gzip(MESSAGE)),
        chunked(GZIP, &gzip(MESSAGE)),
        post("/v1/enqueue", "Content-Encoding: identity\r\n", MESSAGE),
    ] {
        for step in [1, 7, wire.len()] {
            let mut peer = Peer::new();
            wire.chunks(step).for_each(|piece| peer.feed(piece));
            assert_eq!((peer.statuses(), &*peer.commands), (vec![200], &[STORED.to_owned()][..]), "by {step}");
        }
    }
}

#[test]
fn a_repeated_head_and_pipelined_requests_are_unpacked_too() {
    let mut peer = Peer::new();
    let packed = post("/v1/enqueue", GZIP, gzip(MESSAGE));
    let plain = post("/v1/enqueue", "", MESSAGE);
    peer.feed([&packed[..], &packed, &packed, &plain, &plain, &packed].concat());
    assert_eq!(peer.statuses(), [200; 6]);
    assert_eq!(peer.commands, [STORED; 6]);
}

#[test]
fn batches_settings_and_msgpack_may_be_packed() {
    let lines = format!("{MESSAGE}\n{MESSAGE}\n");
    let mut peer = Peer::new();
    let headers = format!("{GZIP}Content-Type: application/x-ndjson\r\n");
    assert_eq!(peer.ask_one(post("/v1/enqueue", &headers, gzip(&lines))).json()["accepted"], 2);

    let mut peer = Peer::new();
    peer.policy.codecs.http = true;
    let body = b"\x82\xa2to\xa1s\xa8envelope\x81\xa2id\xa3m-1";
    let headers = format!("{GZIP}Content-Type: application/msgpack\r\n");
    assert_eq!(peer.ask_one(post("/v1/enqueue", &headers, gzip(body))).status, 200);
    assert_eq!(peer.commands.len(), 1);

    let mut peer = Peer::new();
    let settings = r#"{"maxDeliver":7}"#;
    assert_eq!(peer.ask_one(request("PUT", "/v1/streams/s", GZIP, gzip(settings))).status, 200);
    let mut plain = Peer::new();
    plain.ask_one(request("PUT", "/v1/streams/s", "", settings));
    assert_eq!(peer.commands, plain.commands);
}

#[test]
fn the_limit_counts_unpacked_and_is_inclusive() {
    let limits = Limits { body_bytes_max: 10_000, settings_bytes_max: 1_000, ..Limits::default() };
    let mut peer = Peer::with(limits, Answering::AtOnce);
    assert_eq!(peer.ask_one(post("/v1/enqueue", GZIP, gzip(publish_after(10_000)))).status, 200);
    let refused = peer.ask_one(post("/v1/enqueue", GZIP, gzip(publish_after(10_001))));
    assert_eq!((refused.status, &*refused.code()), (413, "PayloadTooLarge"));
    assert_eq!(refused.json()["limit"], 10_000);
    assert!(!refused.closes(), "all of it has been read");
    // A bomb is no more than any other body that is too large.
    assert_eq!(peer.ask_one(post("/v1/enqueue", GZIP, gzip(vec![b' '; 9 << 20]))).status, 413);
    let lines = format!("{GZIP}Content-Type: application/x-ndjson\r\n");
    assert_eq!(peer.ask_one(post("/v1/enqueue", &lines, gzip(vec![b'\n'; 10_001]))).status, 413);

    let settings = |bytes: usize| format!("{{\"maxDeliver\":7{}}}", " ".repeat(bytes - 16));
    assert_eq!(peer.ask_one(request("PUT", "/v1/streams/s", GZIP, gzip(settings(1_000)))).status, 200);
    let refused = peer.ask_one(request("PUT", "/v1/streams/s", GZIP, gzip(settings(1_001))));
    assert_eq!((refused.status, &refused.json()["limit"]), (413, &serde_json::json!(1_000)));
    assert_eq!(peer.ask_one(post("/v1/enqueue", GZIP, gzip(MESSAGE))).status, 200);
}

#[test]
fn what_is_no_gzip_is_refused_and_the_connection_goes_on() {
    let packed = gzip(MESSAGE);
    let mut damaged = packed.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    let mut peer = Peer::new();
    for (what, body) in [
        ("plain", MESSAGE.as_bytes().to_vec()),
        ("cut short", packed[..packed.len() - 1].to_vec()),
        ("only a head", packed[..10].to_vec()),
        ("trailing byte", [&packed[..], b"\n"].concat()),
        ("two members", [&packed[..], &packed].concat()),
        ("damaged", damaged),
        ("packed twice, said once", gzip(&packed)),
    ] {
        let refused = peer.ask_one(post("/v1/enqueue", GZIP, &body));
        assert_eq!(refused.status, 400, "{what}");
        if what != "packed twice, said once" {
            assert_eq!(refused.code(), "InvalidGzipEncoding", "{what}");
            assert_eq!(refused.json()["error"], "Invalid gzip encoding");
        }
        assert!(!refused.closes(), "{what}");
    }
    assert!(peer.commands.is_empty());
    // No body is not a damaged one.
    assert_eq!(peer.ask_one(post("/v1/enqueue", GZIP, "")).code(), "InvalidJSON");
    assert_eq!(peer.ask_one(post("/v1/enqueue", GZIP, &packed)).status, 200);
    assert_eq!(peer.ask_one(get("/health", GZIP)).status, 200);
}

#[test]
fn other_codings_are_refused_and_those_that_are_taken_named() {
    for coding in ["br", "deflate", "zstd", "gzip, gzip", "compress", "gzip, br", "*"] {
        let headers = format!("Content-Encoding: {coding}\r\n");
        let mut peer = Peer::new();
        for wire in [post("/v1/enqueue", &headers, "{}"), chunked(&headers, b"{}")] {
            let refused = peer.ask_one(wire);
            assert_eq!((refused.status, &*refused.code()), (415, "UnsupportedContentEncoding"), "{coding}");
            assert_eq!(refused.header("accept-encoding"), Some("gzip, identity"));
            assert!(refused.json()["message"].as_str().unwrap().contains("gzip"), "{coding}");
        }
        assert_eq!(peer.ask_one(request("PUT", "/v1/streams/s", &headers, "{}")).status, 415);
        assert!(peer.commands.is_empty(), "{coding}");
        // Where there is no body, nothing has been done to it.
        assert_eq!(peer.ask_one(get("/health", &headers)).status, 200);
    }
}

#[test]
fn a_line_of_the_log_says_what_came_and_which_limit_it_passed() {
    let limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    let mut peer = Peer { log: AccessLog::new(0, &LogSettings::default()), ..Peer::with(limits, Answering::AtOnce) };
    let packed = gzip(MESSAGE);
    peer.ask(post("/v1/enqueue", GZIP, &packed));
    peer.ask(post("/v1/enqueue", GZIP, gzip(publish_after(1_001))));
    peer.ask(post("/v1/enqueue", "Content-Encoding: br\r\n", "{}"));
    peer.ask(post("/v1/enqueue", "Content-Type: image/png\r\n", "{}"));
    (peer.policy.guards.refuses_binary, peer.policy.generation) = (true, 1);
    peer.ask(post("/v1/enqueue", "Content-Type: image/png\r\n", "{}"));
    peer.policy.guards.large_bytes = 3;
    peer.ask(post("/v1/enqueue", "", "1234"));
    let batch = peer.log.take(LogFile::Http, Vec::new).expect("lines");
    let text = String::from_utf8(batch.bytes).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["status"].as_u64().unwrap(), line.get("capLimit").and_then(serde_json::Value::as_u64)))
        .collect();
    assert_eq!(told, [(200, None), (413, Some(1_000)), (415, None), (400, None), (413, None), (413, Some(3))]);
    assert_eq!((&lines[0]["gzipped"], &lines[0]["bytes"]), (&true.into(), &packed.len().into()));
    assert_eq!((lines[4].get("capViolation"), &lines[5]["capActual"]), (None, &4.into()));
    assert!(lines[2..].iter().all(|line| line.get("gzipped").is_none()));
}

proptest! {
    #[test]
    fn arbitrary_and_damaged_bodies_are_answered_and_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 1..200),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        step in 1..64_usize,
    ) {
        let mut damaged = gzip(MESSAGE);
        for (at, value) in &damage {
            let at = at.index(damaged.len());
            damaged[at] = *value;
        }
        for body in [bytes.clone(), [&gzip("")[..10], &bytes].concat(), damaged] {
            let mut peer = Peer::new();
            post("/v1/enqueue", GZIP, &body).chunks(step).for_each(|piece| peer.feed(piece));
            let statuses = peer.statuses();
            prop_assert!(matches!(statuses[..], [200 | 400 | 413]), "{:?}", statuses);
            // Whatever came through is what was meant.
            prop_assert!(peer.commands.iter().all(|command| command == STORED), "{:?}", peer.commands);
            prop_assert_eq!(peer.ask_one(post("/v1/enqueue", "", MESSAGE)).status, 200);
        }
    }
}
