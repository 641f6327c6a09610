//! A client that does not read what it asked for costs a bounded amount of memory and harms nobody else.

use crate::common::{Http, Start, Ws, eventually};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::json;
use std::net::{SocketAddr, TcpStream};

/// A connection whose kernel buffer takes little: what is not read shows at the server soon.
fn narrow(address: SocketAddr) -> TcpStream {
    let family = rustix::net::AddressFamily::INET;
    let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).expect("a socket");
    set_socket_recv_buffer_size(&socket, 16 * 1024).expect("a buffer size");
    rustix::net::connect(&socket, &address).expect("the server accepts");
    TcpStream::from(socket)
}

/// 20 MB: more than the kernel takes for one connection, whatever it is set to (tcp_wmem is at most 4 MiB by default).
const MESSAGES: u64 = 400;
const MESSAGE_BYTES: usize = 50_000;

#[test]
fn deliveries_to_a_consumer_that_does_not_read_wait_in_the_stream() {
    for shards in [1, 2] {
        let server = Start::new().shards(shards).flags("--outbox-bytes-max 65536").serve();
        let mut slow = Ws::over(narrow(server.ws), "/v1/subscribe?stream=s&credit=1000&ackWaitMs=600000");
        let mut client = Http::connect(server.http);
        let text = "x".repeat(MESSAGE_BYTES);
        for n in 0..MESSAGES {
            assert_eq!(client.enqueue("s", &json!({"n": n, "text": text})).status, 200);
        }
        let stats = server.stats("s");
        let waiting = stats["depth"].as_u64().expect("a depth");
        assert!(waiting > MESSAGES / 4 && stats["credit"].as_u64() == Some(1_000 - (MESSAGES - waiting)), "{stats}");

        // Another consumer of the same stream gets what the slow one has no room for.
        let mut quick = server.consume("s", "credit=10");
        let taken = quick.deliveries(10);
        assert_eq!(taken[0].seq, MESSAGES - waiting + 1);

        // And what waits goes on as soon as the slow one reads.
        let got = slow.deliveries(MESSAGES as usize - 10);
        let expected = (1..=MESSAGES).filter(|seq| !taken.iter().any(|delivery| delivery.seq == *seq));
        assert!(got.iter().map(|delivery| delivery.seq).eq(expected));
        slow.send(json!({"ackUpTo": MESSAGES}));
        eventually("its acks", || (server.stats("s")["ackedTotal"] == MESSAGES - 10).then_some(()));
    }
}

#[test]
fn a_publisher_that_does_not_read_its_answers_is_no_longer_read() {
    let server = Start::new().shards(2).flags("--outbox-bytes-max 65536").serve();
    let stream = narrow(server.http);
    stream.set_write_timeout(Some(std::time::Duration::from_millis(300))).expect("a time-out");
    let request = b"GET /v1/nothing HTTP/1.1\r\nhost: conduit\r\n\r\n".repeat(100);
    let mut sent = 0_usize;
    // The answers are larger than the requests: once nobody takes them, the requests pile up, and sending blocks.
    while let Ok(written) = std::io::Write::write(&mut &stream, &request) {
        sent += written;
        assert!(sent < 200_000_000, "the server goes on reading: its memory has no bound");
    }
    let read: u64 = server.per_shard("/bytesRead").iter().sum();
    assert!(read < 100_000_000, "{read} bytes were read");
    assert_eq!(server.json("/health")["ok"], true);
}

#[test]
fn a_peer_that_takes_nothing_for_too_long_loses_its_connection_and_its_messages_go_to_others() {
    let server = Start::new().flags("--outbox-bytes-max 65536 --write-stall-ms 300").serve();
    let slow = Ws::over(narrow(server.ws), "/v1/subscribe?stream=s&credit=1000&ackWaitMs=600000");
    let mut client = Http::connect(server.http);
    let text = "x".repeat(MESSAGE_BYTES);
    for n in 0..MESSAGES {
        assert_eq!(client.enqueue("s", &json!({"n": n, "text": text})).status, 200);
    }
    eventually("the slow consumer is gone", || (server.stats("s")["consumers"] == 0).then_some(()));
    assert_eq!(server.metrics()["ws"]["errorsByType"]["SlowConsumer"], 1);
    let mut quick = server.consume("s", "credit=1000");
    let seqs = quick.deliveries(MESSAGES as usize).into_iter().map(|delivery| delivery.seq);
    assert!(seqs.eq(1..=MESSAGES));
    drop(slow);
}
