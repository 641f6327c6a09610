//! A consumer that dies takes nothing with it: whatever it had not acked goes to another, in order.

use crate::common::foreign::python;
use crate::common::{Server, eventually};
use rustix::process::Signal;

#[test]
fn what_a_killed_consumer_held_is_redelivered_in_order() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        server.publish("work", 0..100);
        let mut doomed = python("hold.py", &[&server.ws.to_string(), "work", "60"]);
        let held = doomed.stdout.lines_with(" 1", 60);
        assert_eq!(held.len(), 60, "{}", doomed.words());
        assert_eq!(server.stats("work")["inflight"], 60);

        let mut heir = server.consume("work", "");
        doomed.signal(Signal::KILL);
        eventually("the dead consumer's messages come back", || {
            let stats = server.stats("work");
            (stats["inflight"] == 0 && stats["consumers"] == 1).then_some(())
        });
        heir.credit(1_000);
        let got = heir.deliveries(100);
        let expected: Vec<_> = (1..=100).map(|seq| (seq, if seq <= 60 { 2 } else { 1 }, seq - 1)).collect();
        let seen: Vec<_> = got
            .iter()
            .map(|delivery| (delivery.seq, delivery.attempt, delivery.envelope["n"].as_u64().expect("n")))
            .collect();
        assert_eq!(seen, expected);
        heir.send(serde_json::json!({"ackUpTo": 100}));
        let stats = eventually("all are acked", || {
            let stats = server.stats("work");
            (stats["ackedTotal"] == 100).then_some(stats)
        });
        assert_eq!(
            (&stats["depth"], &stats["inflight"], &stats["redeliveredTotal"]),
            (&0.into(), &0.into(), &60.into())
        );
    }
}

#[test]
fn a_consumer_that_is_killed_again_and_again_loses_nothing() {
    let server = Server::with_shards(2);
    server.publish("work", 0..30);
    for attempt in 1..=3 {
        let mut doomed = python("hold.py", &[&server.ws.to_string(), "work", "10"]);
        let held = doomed.stdout.lines_with(&format!(" {attempt}"), 10);
        assert_eq!(held.len(), 10, "{}", doomed.words());
        doomed.signal(Signal::KILL);
        eventually("its messages come back", || (server.stats("work")["depth"] == 30).then_some(()));
    }
    let got = server.consume("work", "credit=100").deliveries(30);
    assert!(got.iter().map(|delivery| delivery.seq).eq(1..=30));
    assert!(got.iter().all(|delivery| delivery.attempt == if delivery.seq <= 10 { 4 } else { 1 }));
}
