//! A full stream refuses or holds back its publishers, and never drops what it has accepted.

use crate::common::{Http, Start, Ws, eventually};
use serde_json::json;

#[test]
fn a_full_stream_answers_429_and_keeps_what_it_accepted() {
    for shards in [1, 2] {
        let server = Start::new().shards(shards).flags("--stream-messages-max 4 --retry-after-ms 2500").serve();
        let mut client = Http::connect(server.http);
        for n in 0..4 {
            assert_eq!(client.enqueue("full", &json!({"n": n})).status, 200, "the limit itself is allowed");
        }
        let refused = client.enqueue("full", &json!({"n": 4}));
        assert_eq!((refused.status, refused.code().as_str()), (429, "Backpressure"));
        assert_eq!((refused.field("retry-after"), &refused.json()["retryAfter"]), (Some("3"), &json!(3)));
        assert_eq!(client.enqueue("another", &json!({})).status, 200, "one full stream is no trouble for others");

        // Delivered is not done: there is room only once something is acked.
        let mut consumer = server.consume("full", "credit=100");
        assert!(consumer.deliveries(4).iter().map(|delivery| delivery.envelope["n"].as_u64()).eq((0..4).map(Some)));
        assert_eq!(client.enqueue("full", &json!({"n": 4})).status, 429);
        consumer.send(json!({"ackUpTo": 1}));
        eventually("room for one message", || (server.stats("full")["inflight"] == 3).then_some(()));
        let accepted = client.enqueue("full", &json!({"n": 4}));
        assert_eq!((accepted.status, &accepted.json()["seq"]), (200, &json!(5)), "a refused publish takes no seq");
        assert_eq!(client.enqueue("full", &json!({"n": 5})).status, 429);
        assert_eq!(consumer.delivery().envelope["n"], 4);
        assert_eq!(server.per_shard("/core/refusedBackpressure").iter().sum::<u64>(), 3);
    }
}

#[test]
fn bytes_fill_a_stream_as_messages_do() {
    let server = Start::new().flags("--stream-bytes-max 100000 --ws-max-message-size 50000").serve();
    let mut client = Http::connect(server.http);
    let envelope = json!({"text": "x".repeat(10_000)});
    let answers: Vec<u16> = (0..12).map(|_| client.enqueue("full", &envelope).status).collect();
    let accepted = answers.iter().filter(|status| **status == 200).count();
    assert!((8..=9).contains(&accepted) && answers[accepted..].iter().all(|status| *status == 429), "{answers:?}");
    assert!(server.stats("full")["bytes"].as_u64().is_some_and(|bytes| bytes <= 100_000));
    // What could never fit is the publisher's fault, not the load's.
    let never = client.enqueue("empty", &json!({"text": "x".repeat(100_000)}));
    assert_eq!((never.status, never.code().as_str()), (413, "PayloadTooLarge"));
}

#[test]
fn a_full_shard_refuses_its_streams_in_a_batch_line_by_line() {
    let server = Start::new().shards(1).flags("--stream-messages-max 5 --shard-messages-max 5").serve();
    let lines: String = (0..8).map(|n| format!("{}\n", json!({"to": format!("s{n}"), "envelope": {}}))).collect();
    let mut client = Http::connect(server.http);
    let answer = client.post("/v1/enqueue", "application/x-ndjson", lines.as_bytes());
    assert_eq!((answer.status, &answer.json()["accepted"], &answer.json()["failed"]), (200, &json!(5), &json!(3)));
    assert!(
        answer.json()["results"].as_array().expect("results")[5..]
            .iter()
            .all(|line| line["error"]["code"] == "Backpressure")
    );
    let answer = client.post("/v1/enqueue", "application/x-ndjson", lines.as_bytes());
    assert_eq!((answer.status, &answer.json()["accepted"]), (429, &json!(0)));
    assert!(answer.field("retry-after").is_some());
}

#[test]
fn streams_are_counted_and_one_more_is_refused() {
    let server = Start::new().shards(1).flags("--streams-max 3").serve();
    let mut client = Http::connect(server.http);
    let answers: Vec<u16> = (0..4).map(|n| client.enqueue(&format!("s{n}"), &json!({})).status).collect();
    assert_eq!(answers, [200, 200, 200, 503]);
    assert_eq!(client.enqueue("s3", &json!({})).code(), "TooManyStreams");
    assert_eq!(client.enqueue("s0", &json!({})).status, 200, "those that exist go on");
    let (told, code, _) = server.consume("s3", "credit=1").end();
    assert_eq!((told, code), (vec!["TooManyStreams".to_owned()], 1013));
}

#[test]
fn a_websocket_publisher_is_held_back_and_not_refused() {
    // When the stream lives on another shard, publishes are on their way while the word to pause comes back: at most as
    // many as one connection may have unanswered (4,096). The eighth of the limit above the pause mark has room for them.
    for (shards, limit, messages) in [(1, 100, 2_000), (2, 40_000, 100_000)] {
        // A pause lasts until there is room: longer than the test may take.
        let flags = format!("--stream-messages-max {limit} --pause-ms-max 60000");
        let server = Start::new().shards(shards).flags(&flags).serve();
        let mut consumer = server.consume("narrow", "credit=1000&refill=ack");
        let mut publisher = server.publisher();
        let publishing = std::thread::spawn(move || publish_without_looking(&mut publisher, messages));
        // The consumer acks nothing until the publisher is held back.
        eventually("the publisher is paused", || {
            (server.per_shard("/core/pausedNow").iter().sum::<u64>() == 1).then_some(())
        });
        for seq in 1..=messages {
            let delivery = consumer.delivery();
            assert_eq!((delivery.seq, delivery.envelope["n"].as_u64()), (seq, Some(seq)));
            if seq % 50 == 0 {
                consumer.send(json!({"ackUpTo": seq}));
            }
        }
        publishing.join().expect("every publish was accepted");
        assert_eq!(server.per_shard("/core/refusedBackpressure").iter().sum::<u64>(), 0);
        assert!(server.per_shard("/core/pauses").iter().sum::<u64>() > 0);
    }
}

/// Publishes as fast as the socket takes it, and looks at the answers only now and then: all of them have to be `ok`.
fn publish_without_looking(publisher: &mut Ws, messages: u64) {
    const AHEAD: u64 = 20_000;
    for n in 1..=messages + AHEAD {
        if n <= messages {
            let frame = json!({"enqueue": {"to": "narrow", "envelope": {"n": n}}, "ref": n});
            publisher.socket.write(tungstenite::Message::text(frame.to_string())).expect("queued");
        }
        if n == messages {
            publisher.socket.flush().expect("sent");
        }
        if n > AHEAD {
            let answer = publisher.next();
            assert_eq!(answer["ok"]["seq"], n - AHEAD, "{answer}");
        }
    }
}

#[test]
fn a_pause_without_end_becomes_a_refusal() {
    let server = Start::new().flags("--stream-messages-max 10 --pause-ms-max 50").serve();
    let mut publisher = server.publisher();
    for n in 0..12 {
        publisher.send(json!({"enqueue": {"to": "stuck", "envelope": {}}, "ref": n}));
    }
    let answers: Vec<_> = (0..12).map(|_| publisher.next()).collect();
    assert!(answers[..10].iter().all(|answer| answer["ok"].is_object()), "{answers:?}");
    for answer in &answers[10..] {
        assert_eq!(answer["error"]["code"], "Backpressure", "{answer}");
        assert!(answer["error"]["retryAfterMs"].as_u64() > Some(0), "{answer}");
    }
}
