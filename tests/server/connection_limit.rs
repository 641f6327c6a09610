//! Connections are counted: the last one allowed is served, one more is told why not.

use crate::common::{Http, Start, eventually};

#[test]
fn the_limit_is_served_and_one_more_is_refused() {
    let server = Start::new().shards(1).flags("--max-global-connections 3").serve();
    let mut kept: Vec<Http> = (0..3).map(|_| Http::connect(server.http)).collect();
    for client in &mut kept {
        assert_eq!(client.get("/health").status, 200);
    }
    let mut beyond = Http::connect(server.ws);
    let refused = beyond.response();
    assert_eq!((refused.status, refused.code().as_str()), (503, "TooManyConnections"));
    assert_eq!((refused.field("retry-after"), refused.field("connection")), (Some("10"), Some("close")));
    assert_eq!(beyond.rest(), "");

    // Those within the limit go on, and a place that becomes free is given away.
    assert_eq!(kept[0].get("/health").status, 200);
    drop(kept.pop());
    eventually("the free place is given away", || {
        let mut next = Http::connect(server.http);
        next.try_send(b"GET /health HTTP/1.1\r\nhost: conduit\r\n\r\n");
        (next.response().status == 200).then_some(())
    });
    let metrics = kept[0].get("/v1/metrics").json();
    assert!(metrics["shards"][0]["connectionsRefused"].as_u64() > Some(0), "{metrics}");
}

#[test]
fn a_flood_of_refusals_is_bounded_too() {
    let server = Start::new().shards(1).flags("--max-global-connections 1").serve();
    let mut kept = Http::connect(server.http);
    assert_eq!(kept.get("/health").status, 200);
    // Nobody of these reads what it is told: all stay open on our side until the end.
    let flood: Vec<_> = (0..200).map(|_| Http::connect(server.http)).collect();
    eventually("all of them are refused", || {
        (kept.get("/v1/metrics").json()["shards"][0]["connectionsRefused"] == 200).then_some(())
    });
    let open = kept.get("/v1/metrics").json()["shards"][0]["connections"].as_u64();
    assert!(open.is_some_and(|open| open <= 65), "{open:?} are open");
    drop(flood);
}

#[test]
fn consumers_are_counted_and_one_more_is_told_1013() {
    let server = Start::new().shards(1).flags("--consumers-max 2").serve();
    let kept = [server.consume("s", ""), server.consume("t", "")];
    let (told, code, _) = server.consume("s", "").end();
    assert_eq!((told, code), (vec!["TooManyConnections".to_owned()], 1013));
    for consumer in kept {
        consumer.close();
    }
    server.publish("s", 0..1);
    eventually("a free place", || (server.stats("s")["consumers"] == 0).then_some(()));
    assert_eq!(server.consume("s", "credit=1").delivery().seq, 1);
}
