//! A delivery that is not acked in time goes back to the stream.

use crate::common::{Http, Server, Start, eventually};
use serde_json::json;

#[test]
fn a_delivery_past_its_deadline_goes_to_another_consumer() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        server.publish("work", 0..3);
        let mut idle = server.consume("work", "credit=3&ackWaitMs=100");
        assert!(idle.deliveries(3).iter().all(|delivery| delivery.attempt == 1));
        // It has spent its credit, so what comes back can only go to the other one.
        let mut other = server.consume("work", "credit=3");
        let got: Vec<_> = other.deliveries(3).iter().map(|delivery| (delivery.seq, delivery.attempt)).collect();
        assert_eq!(got, [(1, 2), (2, 2), (3, 2)]);

        // The late acks are of nothing in flight there: counted, ignored, and nothing is settled by them.
        idle.send(json!({"ack": [1, 2, 3]}));
        eventually("the late acks are counted", || {
            (server.per_shard("/core/acksIgnored").iter().sum::<u64>() == 3).then_some(())
        });
        assert_eq!(server.stats("work")["ackedTotal"], 0);
        other.send(json!({"ackUpTo": 3}));
        eventually("the acks of the second consumer", || (server.stats("work")["ackedTotal"] == 3).then_some(()));
        assert_eq!(server.per_shard("/core/ackTimeouts").iter().sum::<u64>(), 3);
    }
}

#[test]
fn a_deadline_holds_on_a_server_that_is_busy() {
    let server = Server::with_shards(1);
    server.publish("work", 0..1);
    let mut idle = server.consume("work", "credit=1&ackWaitMs=100");
    assert_eq!(idle.delivery().attempt, 1);
    let mut other = server.consume("work", "credit=1");
    // Requests without a pause: the shard has no reason to sleep, and must look at its deadlines all the same.
    let address = server.http;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let busy = std::thread::spawn(move || {
        let mut client = Http::connect(address);
        let requests = b"GET /health HTTP/1.1\r\nhost: conduit\r\n\r\n".repeat(200);
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            client.send(&requests);
            for _ in 0..200 {
                assert_eq!(client.response().status, 200);
            }
        }
    });
    assert_eq!((other.delivery().attempt, server.stats("work")["redeliveredTotal"].as_u64()), (2, Some(1)));
    drop(stop);
    busy.join().expect("every request was answered");
}

#[test]
fn the_servers_default_deadline_holds_where_a_subscription_names_none() {
    let server = Start::new().flags("--ack-wait-ms 100").serve();
    server.publish("work", 0..1);
    let mut consumer = server.consume("work", "credit=1&refill=ack");
    assert_eq!([consumer.delivery().attempt, consumer.delivery().attempt, consumer.delivery().attempt], [1, 2, 3]);
}
