//! With more than one shard, streams and sockets are spread over them, and no client can tell.

use crate::common::{Http, Server, Start, Ws, eventually, request};
use serde_json::json;
use tungstenite::handshake::derive_accept_key;

const STREAMS: u64 = 16;
const MESSAGES: u64 = 50;
/// A WebSocket key: 16 bytes in base64.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

fn name(stream: u64) -> String {
    format!("spread/{stream}")
}

#[test]
fn everything_is_delivered_once_and_in_order_whichever_shard_is_asked() {
    let server = Server::with_shards(2);
    // A consumer for each stream, by both listeners in turn; whichever shard accepts it, the stream's owner serves it.
    let mut consumers: Vec<Ws> = (0..STREAMS)
        .map(|stream| {
            let address = if stream % 2 == 0 { server.http } else { server.ws };
            Ws::connect(address, &format!("/v1/subscribe?stream={}&credit=1000", name(stream)))
        })
        .collect();
    // Publishers of both kinds; each sends to every stream, so every one of them needs the other shard as well.
    let mut sockets: Vec<Ws> = (0..8).map(|_| server.publisher()).collect();
    let mut clients: Vec<Http> = (0..8).map(|_| Http::connect(server.http)).collect();
    for n in 0..MESSAGES {
        for stream in 0..STREAMS {
            let at = stream as usize % 8;
            if n % 2 == 0 {
                sockets[at].send(json!({"enqueue": {"to": name(stream), "envelope": {"n": n}}, "ref": n}));
                assert_eq!(sockets[at].next()["ok"]["seq"], n + 1);
            } else {
                let answer = clients[at].enqueue(&name(stream), &json!({"n": n}));
                assert_eq!((answer.status, &answer.json()["seq"]), (200, &json!(n + 1)));
            }
        }
    }
    for (stream, consumer) in consumers.iter_mut().enumerate() {
        for (n, delivery) in (0..MESSAGES).zip(consumer.deliveries(MESSAGES as usize)) {
            assert_eq!(
                (delivery.seq, delivery.attempt, &delivery.envelope["n"]),
                (n + 1, 1, &json!(n)),
                "stream {stream}"
            );
        }
        consumer.send(json!({"ackUpTo": MESSAGES}));
    }
    eventually("every ack", || {
        (server.per_shard("/core/acked").iter().sum::<u64>() == STREAMS * MESSAGES).then_some(())
    });

    let owned = server.per_shard("/core/streamsNow");
    assert!(owned.iter().all(|streams| *streams > 0) && owned.iter().sum::<u64>() == STREAMS, "{owned:?}");
    let sockets = server.per_shard("/webSockets");
    assert!(sockets.iter().all(|sockets| *sockets > 0), "{sockets:?}");
    let delivered = server.per_shard("/core/delivered");
    assert!(delivered.iter().sum::<u64>() == STREAMS * MESSAGES, "something was delivered twice: {delivered:?}");
    assert!(server.per_shard("/forwarded").iter().sum::<u64>() > 0);
    assert!(server.per_shard("/handedOver").iter().sum::<u64>() > 0);
    assert_eq!(server.per_shard("/core/messagesNow"), [0, 0]);
}

#[test]
fn pipelined_requests_to_streams_of_both_shards_are_answered_in_their_order() {
    let server = Server::with_shards(2);
    let mut requests = Vec::new();
    for n in 0..200_u64 {
        let body = json!({"to": name(n % STREAMS), "envelope": {"id": format!("m-{n}")}}).to_string();
        requests.extend(request("/v1/enqueue", "application/json", body.as_bytes()));
        // Answered at once by the shard that is asked, and yet not before the others.
        requests.extend_from_slice(b"GET /health HTTP/1.1\r\nhost: conduit\r\n\r\n");
    }
    let mut client = Http::connect(server.http);
    client.send(&requests);
    for n in 0..200 {
        let answer = client.response().json();
        let expected = json!({"id": format!("m-{n}"), "stream": name(n % STREAMS), "seq": n / STREAMS + 1});
        assert_eq!(answer, expected);
        assert_eq!(client.response().json()["status"], "ok");
    }
    assert!(server.per_shard("/core/published").iter().all(|published| *published > 0));
}

#[test]
fn a_batch_for_streams_of_both_shards_is_answered_line_by_line() {
    let server = Server::with_shards(2);
    let lines: String = (0..100_u64)
        .map(|n| match n % 10 {
            3 => "{\"to\":\"x\",\"envelope\":[]}\n".to_owned(),
            7 => "not json\n\n".to_owned(),
            _ => format!("{}\n", json!({"to": name(n % STREAMS), "envelope": {"id": format!("m-{n}")}})),
        })
        .collect();
    let answer = Http::connect(server.ws).post("/v1/enqueue", "application/x-ndjson", lines.as_bytes()).json();
    assert_eq!((&answer["accepted"], &answer["failed"]), (&json!(80), &json!(20)));
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), 100);
    for (n, result) in results.iter().enumerate() {
        match n % 10 {
            3 => assert_eq!(result["error"]["code"], "InvalidEnvelope"),
            7 => assert_eq!(result["error"]["code"], "InvalidJSON"),
            _ => assert_eq!(
                (&result["id"], &result["stream"]),
                (&json!(format!("m-{n}")), &json!(name(n as u64 % STREAMS)))
            ),
        }
    }
}

#[test]
fn a_batch_longer_than_what_may_be_unanswered_is_answered_whole() {
    const LINES: u64 = 10_000;
    let server = Server::with_shards(2);
    // The kernel chooses the shard of each connection: with so many, some surely lie away from their stream.
    for stream in 0..24 {
        server.publish(&name(stream), 0..LINES);
        assert_eq!(server.stats(&name(stream))["publishedTotal"], LINES);
    }
    assert!(server.per_shard("/forwarded").iter().sum::<u64>() >= LINES, "no batch crossed over");
}

#[test]
fn links_between_shards_that_fill_up_slow_clients_down_and_lose_nothing() {
    const CLIENTS: u64 = 8;
    const REQUESTS: u64 = 2_000;
    let server = Start::new().shards(2).flags("--mesh-capacity 16").serve();
    let text = "x".repeat(1_000);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, text) = (if client % 2 == 0 { server.http } else { server.ws }, &text);
            scope.spawn(move || {
                let mut reading = Http::connect(address);
                let mut writing = reading.other_half();
                scope.spawn(move || {
                    for n in 0..REQUESTS {
                        let to = format!("{client}/{}", n % STREAMS);
                        let body = json!({"to": to, "envelope": {"id": n.to_string(), "text": text}}).to_string();
                        writing.send(&request("/v1/enqueue", "application/json", body.as_bytes()));
                    }
                });
                for n in 0..REQUESTS {
                    let answer = reading.response().json();
                    assert_eq!((&answer["id"], &answer["seq"]), (&json!(n.to_string()), &json!(n / STREAMS + 1)));
                }
            });
        }
    });
    assert_eq!(server.per_shard("/core/published").iter().sum::<u64>(), CLIENTS * REQUESTS);
}

#[test]
fn consumers_of_one_stream_share_it_and_none_gets_what_another_got() {
    const CONSUMERS: usize = 4;
    let server = Server::with_shards(2);
    let mut consumers: Vec<Ws> = (0..CONSUMERS).map(|_| server.consume("shared", "credit=10")).collect();
    server.publish("shared", 0..40);
    let mut seen: Vec<u64> = Vec::new();
    for consumer in &mut consumers {
        let got: Vec<u64> = consumer.deliveries(10).iter().map(|delivery| delivery.seq).collect();
        assert!(got.is_sorted(), "{got:?}");
        consumer.send(json!({ "ack": got }));
        seen.extend(got);
    }
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(1..=40), "{seen:?}");
    eventually("every ack", || (server.stats("shared")["ackedTotal"] == 40).then_some(()));
}

#[test]
fn stats_are_the_owners_whichever_shard_is_asked() {
    let server = Server::with_shards(2);
    for stream in 0..STREAMS {
        server.publish(&name(stream), 0..stream + 1);
    }
    // A connection each: the kernel spreads them over the shards.
    for round in 0..4 {
        for stream in 0..STREAMS {
            assert_eq!(server.stats(&name(stream))["depth"], stream + 1, "round {round}");
        }
    }
    let accepted = server.per_shard("/connectionsTotal");
    assert!(accepted.iter().all(|accepted| *accepted > 0), "one shard was never asked: {accepted:?}");
    assert_eq!(server.get("/v1/stats?stream=unheard-of").status, 404);
}

#[test]
fn what_waits_behind_a_handshake_reaches_the_shard_that_owns_the_stream() {
    let server = Server::with_shards(2);
    for stream in 0..STREAMS {
        // A short id keeps the frame short, so that its header is two bytes long.
        assert_eq!(Http::connect(server.http).enqueue(&name(stream), &json!({"id": "m"})).status, 200);
        // A request, the handshake and the first frame in one piece: a hand-over must lose none of them.
        let mut client = Http::connect(server.ws);
        let handshake = format!(
            "GET /v1/subscribe?stream={} HTTP/1.1\r\nhost: conduit\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n",
            name(stream)
        );
        let grant = br#"{"credit":1}"#;
        let frame = [&[0x81, 0x80 | grant.len() as u8, 0, 0, 0, 0][..], grant].concat();
        let health = "GET /health HTTP/1.1\r\nhost: conduit\r\n\r\n";
        client.send(&[health.as_bytes(), handshake.as_bytes(), &frame].concat());
        assert_eq!(client.response().json()["status"], "ok");
        let upgraded = client.head();
        assert_eq!(upgraded.status, 101);
        assert_eq!(upgraded.field("sec-websocket-accept"), Some(derive_accept_key(KEY.as_bytes()).as_str()));
        let header = client.bytes(2);
        assert_eq!(header[0], 0x81);
        let delivery: serde_json::Value =
            serde_json::from_slice(&client.bytes(header[1].into())).expect("a small frame");
        assert_eq!(delivery, json!({"deliver": {"id": "m"}, "id": "m", "seq": 1, "attempt": 1}));
    }
    assert!(server.per_shard("/handedOver").iter().sum::<u64>() > 0);
}
