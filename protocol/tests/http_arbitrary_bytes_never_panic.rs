//! No bytes, in no pieces, with answers in no order, make the session panic, loop or write something that is not HTTP.

mod http_wire;

use conduit_protocol::Limits;
use http_wire::{Answering, Peer, Response, get, post, publish, request, upgrade};
use proptest::prelude::*;

fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[ -~\r\n\t]{0,40}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            &b"POST /v1/enqueue HTTP/1.1\r\n"[..],
            b"GET /v1/stats?stream=%41 HTTP/1.1\r\n",
            b"PUT /v1/streams/a%2Fb HTTP/1.1\r\n",
            b"DELETE /v1/streams/a/groups/g HTTP/1.1\r\n",
            b"Idempotency-Key: \"k\"\r\n",
            b"{\"maxBytes\":5}",
            b"Host: x\r\n",
            b"\r\n",
            b"\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 18446744073709551615\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n",
            b"0\r\n\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
            b"{\"to\":\"a\",\"envelope\":{}}",
            b"Content-Type: application/x-ndjson\r\n",
            b"Accept: application/msgpack\r\n",
            b"ffffffffffffffff\r\n",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::sample::select(vec![
            publish("1"),
            get("/health", ""),
            request("PUT", "/v1/streams/a/groups/g", "", r#"{"from":"new"}"#),
            request("POST", "/v1/streams/a/redrive?limit=1", "", "x"),
            post("/v1/enqueue", "Idempotency-Key: k\r\n", r#"{"to":"a","envelope":{},"deliverAt":1}"#),
            get("/v1/stats?stream=a", "Accept: ;q=,*/*;q=9\r\n"),
            post("/v1/enqueue", "Content-Type: application/x-ndjson\r\n", "{}\n\n{\"to\":\"a\",\"envelope\":{}}"),
            upgrade("/v1/publish", ""),
            upgrade("/v1/subscribe?stream=a", ""),
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn any_bytes_in_any_pieces_are_survived(
        pieces in prop::collection::vec((fragment(), prop::option::of(any::<prop::sample::Index>()), 0..200_000_u64), 0..20),
        at_once in any::<bool>(),
        draining_from in 0..40_usize,
    ) {
        let limits = Limits { body_bytes_max: 200, head_bytes_max: 300, unanswered_max: 4, ..Limits::default() };
        let answering = if at_once { Answering::AtOnce } else { Answering::OnDemand };
        let mut peer = Peer::with(limits, answering);
        for (index, (bytes, answer, ms)) in pieces.into_iter().enumerate() {
            peer.draining = index >= draining_from;
            if !peer.is_closed {
                peer.feed(bytes);
            }
            if let Some(answer) = answer && !peer.unanswered.is_empty() {
                peer.answer_at(answer.index(peer.unanswered.len()));
            }
            peer.pass_ms(ms);
            // What waits for more bytes is never more than a head; a pause may leave a whole read.
            prop_assert!(peer.is_waiting || peer.is_closed || peer.session.is_websocket() || peer.rest.len() <= 301);
        }
        // Whatever came, what went out is responses: this parses them strictly.
        let head = peer.out.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some() {
            Response::parse_all(&peer.out);
        } else {
            prop_assert!(peer.out.is_empty());
        }
    }
}
