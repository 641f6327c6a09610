//! Readers of events get every message of a stream once and in order, whatever breaks their connections, and harm nobody.

use crate::common::foreign::{curl, node_with_event_source, passes};
use crate::common::{Http, Server, Start, eventually};
use serde_json::{Value, json};

/// A reader of events.
struct Events {
    connection: Http,
    last_id: Option<u64>,
}

impl Events {
    fn open(server: &Server, query: &str, last_id: Option<u64>) -> Self {
        Self::over(Http::connect(server.http), query, last_id)
    }

    fn over(mut connection: Http, query: &str, last_id: Option<u64>) -> Self {
        let resume = last_id.map_or(String::new(), |id| format!("last-event-id: {id}\r\n"));
        connection.send(format!("GET /v1/live{query} HTTP/1.1\r\nhost: conduit\r\n{resume}\r\n").as_bytes());
        let head = connection.head();
        assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
        Self { connection, last_id }
    }

    /// The next event: its type and its data. `None` at the end of the connection.
    fn next(&mut self) -> Option<(String, String)> {
        let (mut kind, mut data) = ("message".to_owned(), Vec::new());
        loop {
            let line = self.connection.line()?;
            match line.split_once(": ") {
                None if line.is_empty() && !data.is_empty() => return Some((kind, data.join("\n"))),
                Some(("event", of)) => kind = of.to_owned(),
                Some(("data", more)) => data.push(more.to_owned()),
                Some(("id", id)) => self.last_id = Some(id.parse().expect("a seq")),
                // Comments, and what stands between events.
                _ => {}
            }
        }
    }

    fn message(&mut self) -> Value {
        let (kind, data) = self.next().expect("another message");
        assert_eq!(kind, "message", "{data}");
        serde_json::from_str(&data).expect("JSON")
    }

    /// The members `n` of so many messages.
    fn numbers(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.message()["n"].as_u64().expect("a number")).collect()
    }
}

fn keep(server: &Server, stream: &str) {
    let body = br#"{"retention":{"policy":"log"}}"#;
    let request = format!("PUT /v1/streams/{stream} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut client = Http::connect(server.http);
    client.send(&[request.as_bytes(), body].concat());
    assert_eq!(client.response().status, 201);
}

#[test]
fn an_event_source_resumes_by_itself_without_loss_and_without_a_repeat() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        passes(node_with_event_source("event_source.mjs", &[&server.http.to_string()]));
    }
}

#[test]
fn curl_shows_messages_as_they_come_and_the_end() {
    let mut server = Server::with_shards(2);
    keep(&server, "c");
    server.publish("c", 0..2);
    let url = format!("http://{}/v1/live?stream=c&from=first", server.http);
    let reading = std::thread::spawn(move || curl(&["-N", &url]));
    eventually("curl reads", || (server.stats("c")["consumers"] == 1).then_some(()));
    server.publish("c", 2..3);
    eventually("three messages", || (server.stats("c")["deliveredTotal"] == 3).then_some(()));
    server.terminate();
    let ran = reading.join().expect("curl ends");
    assert_eq!(ran.code, 0, "{ran:?}");
    let data: Vec<&str> = ran.stdout.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let numbers: Vec<Value> =
        data[..3].iter().map(|data| serde_json::from_str::<Value>(data).unwrap()["n"].clone()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert!(ran.stdout.contains("event: end\ndata: {\"code\":\"ServerDraining\""), "{ran:?}");
}

#[test]
fn a_reader_that_comes_again_and_again_misses_nothing_and_sees_nothing_twice() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        keep(&server, "r");
        let (mut got, mut last_id) = (Vec::new(), None);
        for round in 0..20_u64 {
            server.publish("r", round * 10..(round + 1) * 10);
            let mut events = Events::open(&server, "?stream=r&from=first", last_id);
            // It leaves in the middle of what is on the way.
            let wanted = if round == 19 { 200 - got.len() } else { 7 };
            got.extend(events.numbers(wanted));
            last_id = events.last_id;
        }
        assert!(got.iter().copied().eq(0..200), "{got:?}");
        eventually("all of them are gone", || (server.stats("r")["consumers"] == 0).then_some(()));
    }
}

#[test]
fn a_group_of_readers_shares_a_stream_and_is_done_with_what_was_written() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        let mut readers: Vec<Events> = (0..3).map(|_| Events::open(&server, "?stream=g&group=screens", None)).collect();
        server.publish("g", 0..30);
        let mut got: Vec<u64> = readers.iter_mut().flat_map(|reader| reader.numbers(10)).collect();
        got.sort_unstable();
        assert!(got.into_iter().eq(0..30));
        // Nobody sends an ack, and yet nothing is left.
        eventually("everything is done", || {
            let stats = server.stats("g");
            (stats["ackedTotal"] == 30 && stats["inflight"] == 0 && stats["depth"] == 0).then_some(())
        });
    }
}

#[test]
fn what_was_published_as_messagepack_is_shown_as_json() {
    let server = Server::with_shards(1);
    let mut events = Events::open(&server, "?stream=m", None);
    let body = b"\x82\xa2to\xa1m\xa8envelope\x82\xa2id\xa1x\xa1n\x07";
    assert_eq!(Http::connect(server.http).post("/v1/enqueue", "application/msgpack", body).status, 200);
    assert_eq!(events.message(), json!({"id": "x", "n": 7}));
}

#[test]
fn heartbeats_come_and_the_first_event_says_that_it_is_connected() {
    let server = Start::new().flags("--sse-heartbeat-ms 100").serve();
    let mut events = Events::open(&server, "", None);
    assert_eq!(events.message(), json!({"connected": true}));
    for _ in 0..2 {
        assert_eq!(events.connection.line().as_deref(), Some(": heartbeat"));
        assert_eq!(events.connection.line().as_deref(), Some(""));
    }
}

#[test]
fn a_reader_that_does_not_read_stalls_only_itself() {
    let server = Start::new().flags("--outbox-bytes-max 65536").serve();
    keep(&server, "s");
    let mut slow = Events::open(&server, "?stream=s&from=first", None);
    let mut quick = Events::open(&server, "?stream=s&from=first", None);
    let text = "x".repeat(50_000);
    let mut client = Http::connect(server.http);
    for n in 0..400 {
        assert_eq!(client.enqueue("s", &json!({"n": n, "text": text})).status, 200);
        assert_eq!(quick.numbers(1), [n]);
    }
    // The slow one was given what the kernel takes and a window more, and goes on from there.
    assert!(slow.numbers(400).into_iter().eq(0..400));
}

#[test]
fn a_reader_that_leaves_or_ends_its_side_is_gone() {
    let server = Server::with_shards(2);
    let mut half = Events::open(&server, "?stream=h", None);
    let whole = Events::open(&server, "?stream=h", None);
    eventually("both read", || (server.stats("h")["consumers"] == 2).then_some(()));
    drop(whole);
    half.connection.end_sending();
    assert_eq!(half.next(), None);
    eventually("both are gone", || (server.stats("h")["consumers"] == 0).then_some(()));
}

#[test]
fn what_a_broken_reader_of_a_group_was_not_given_goes_to_the_next() {
    let server = Start::new().flags("--outbox-bytes-max 65536").serve();
    let stuck = Events::open(&server, "?stream=b&group=g", None);
    let text = "x".repeat(50_000);
    let mut client = Http::connect(server.http);
    for n in 0..400 {
        assert_eq!(client.enqueue("b", &json!({"n": n, "text": text})).status, 200);
    }
    let acked = server.stats("b")["ackedTotal"].as_u64().expect("a number");
    assert!(acked < 400, "the kernel took everything");
    drop(stuck);
    let mut next = Events::open(&server, "?stream=b&group=g", None);
    let got = next.numbers(400 - acked as usize);
    assert!(got.iter().copied().eq(acked..400), "{got:?}");
}

#[test]
fn readers_of_events_are_not_counted_as_websockets() {
    let server = Server::with_shards(1);
    keep(&server, "jobs");
    server.publish("jobs", 0..5);
    let mut events = Events::open(&server, "?stream=jobs&from=first", None);
    assert_eq!(events.numbers(5), [0, 1, 2, 3, 4]);
    let mut consumer = server.consume("jobs", "group=g&from=first&credit=3");
    assert_eq!(consumer.deliveries(3).len(), 3);
    let metrics = server.metrics();
    let (ws, live) = (&metrics["gateway"]["ws"], &metrics["gateway"]["live"]);
    assert_eq!((&live["connections"]["active"], &live["events"]), (&json!(1), &json!(5)));
    assert_eq!(ws["credit"], json!({"granted": 3, "used": 3, "windowUtil": 1.0}));
    assert_eq!(ws["deliveries"]["count"], 3);
    assert_eq!(metrics["totals"]["core"]["delivered"], 8);
}
