//! A client that says it will send no more still gets every answer it is owed, and then its connection ends.

use crate::common::{Http, Server, eventually, request};
use serde_json::json;

#[test]
fn what_was_asked_is_answered_and_what_is_incomplete_is_dropped() {
    let server = Server::with_shards(2);
    for ending in
        ["", "\r\n", "GET /hea", "POST /v1/enqueue HTTP/1.1\r\nhost: conduit\r\ncontent-length: 24\r\n\r\n{\"to"]
    {
        let mut client = Http::connect(server.http);
        let mut requests = Vec::new();
        // Streams of both shards: some answers are still on their way when the end of the stream is read.
        for n in 0..16 {
            let body = json!({"to": format!("s{n}"), "envelope": {}}).to_string();
            requests.extend(request("/v1/enqueue", "application/json", body.as_bytes()));
        }
        requests.extend_from_slice(ending.as_bytes());
        client.send(&requests);
        client.end_sending();
        for n in 0..16 {
            assert_eq!(client.response().json()["stream"], format!("s{n}"), "{ending:?}");
        }
        assert_eq!(client.rest(), "", "{ending:?}");
    }
}

#[test]
fn a_client_that_leaves_anywhere_is_forgotten_at_once() {
    let whole = "POST /v1/enqueue HTTP/1.1\r\nhost: conduit\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"to\"";
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        for length in 0..=whole.len() {
            Http::connect(server.http).send(&whole.as_bytes()[..length]);
        }
        for beginning in ["\r\n", "\r", "GET /health HTTP/1.1\r\nhost: conduit\r\nexpect: 100-continue\r\n\r\n"] {
            Http::connect(server.ws).send(beginning.as_bytes());
        }
        // The time-outs of requests and of idle connections are minutes, longer than this waits.
        eventually("all are forgotten", || (server.per_shard("/connections").iter().sum::<u64>() <= 1).then_some(()));
    }
}

#[test]
fn a_consumer_that_leaves_right_behind_a_frame_gives_its_messages_back() {
    let server = Server::with_shards(2);
    for n in 0..20 {
        let stream = format!("s{n}");
        server.publish(&stream, 0..3);
        let mut consumer = server.consume(&stream, "credit=3");
        assert_eq!(consumer.deliveries(3).len(), 3);
        // The frame and the end of the stream arrive as one.
        consumer.send(json!({"ack": 1}));
        drop(consumer);
        let stats = eventually("the consumer is gone", || {
            let stats = server.stats(&stream);
            (stats["consumers"] == 0).then_some(stats)
        });
        assert_eq!((&stats["depth"], &stats["inflight"], &stats["ackedTotal"]), (&json!(2), &json!(0), &json!(1)));
    }
}
