//! Whatever bytes arrive, the server lives on and everybody else is served.

use crate::common::{Http, Server, Ws, eventually};

/// A sequence of numbers that look random and are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Messages flow through the server, it has not panicked, and every connection of the past is gone.
fn is_unharmed(server: &Server, stream: &str) {
    let mut consumer = server.consume(stream, "credit=10");
    server.publish(stream, 0..3);
    assert!(consumer.deliveries(3).iter().map(|delivery| delivery.seq).eq(1..=3));
    consumer.close();
    eventually("every connection is forgotten", || {
        (server.per_shard("/connections").iter().sum::<u64>() <= 1).then_some(())
    });
    assert!(server.per_shard("/panics").iter().all(|panics| *panics == 0));
}

#[test]
fn random_bytes_end_only_their_own_connection() {
    let server = Server::with_shards(2);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for _ in 0..200 {
        let mut client = Http::connect(if numbers.below(2) == 0 { server.http } else { server.ws });
        let length = 1 + numbers.below(3_000);
        client.try_send(&numbers.bytes(length));
        if numbers.below(2) == 0 {
            drop(client);
        } else {
            // A line end makes it a request line, so that there is an answer to wait for.
            client.try_send(b"\r\n\r\n");
            let answer = client.rest();
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"),
                "{answer}"
            );
        }
    }
    is_unharmed(&server, "after");
}

#[test]
fn requests_with_broken_bytes_end_only_their_own_connection() {
    const WHOLE: &[u8] = b"POST /v1/enqueue HTTP/1.1\r\nhost: conduit\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n1d\r\n{\"to\":\"broken\",\"envelope\":{}}\r\n0\r\n\r\n";
    let server = Server::with_shards(2);
    let mut numbers = Numbers(42);
    for round in 0..300 {
        let mut bytes = WHOLE.to_vec();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(bytes.len());
            bytes[at] = numbers.next() as u8;
        }
        bytes.truncate(1 + numbers.below(bytes.len() * 2).min(bytes.len() - 1));
        let mut client = Http::connect(server.http);
        client.try_send(&bytes);
        if round % 3 == 0 {
            // In two pieces, with the connection cut behind them.
            client.try_send(&bytes[..bytes.len() / 2]);
        }
    }
    is_unharmed(&server, "after");
}

#[test]
fn frames_with_broken_bytes_end_only_their_own_connection() {
    let server = Server::with_shards(2);
    let mut numbers = Numbers(7);
    for round in 0..150 {
        let target =
            ["/v1/publish", "/v1/subscribe?stream=s&credit=5", "/v1/subscribe?stream=t&codec=msgpack"][round % 3];
        let ws = Ws::connect(server.ws, target);
        let length = 1 + numbers.below(200);
        let mut bytes = numbers.bytes(length);
        if round % 2 == 0 {
            // A sound header, so that the garbage is in the message.
            bytes.truncate(125);
            let header = [0x81 + (round / 2 % 2) as u8, 0x80 | bytes.len() as u8, 0, 0, 0, 0];
            bytes = [&header[..], &bytes].concat();
        }
        let _ = std::io::Write::write_all(&mut ws.socket.get_ref(), &bytes);
        if numbers.below(2) == 0 {
            // Some garbage is the beginning of a long frame, so only an end makes the server give up on it.
            let mut stream = ws.socket.get_ref();
            stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        }
    }
    is_unharmed(&server, "after");
}

#[test]
fn connections_that_say_nothing_cost_others_nothing() {
    let server = Server::with_shards(2);
    let silent: Vec<Http> = (0..500).map(|_| Http::connect(server.ws)).collect();
    let half: Vec<Http> = (0..100)
        .map(|_| {
            let mut client = Http::connect(server.http);
            client.send(b"GET /health HTTP/1.1\r\nhos");
            client
        })
        .collect();
    server.publish("s", 0..10);
    assert_eq!(server.consume("s", "credit=10").deliveries(10).len(), 10);
    drop((silent, half));
    is_unharmed(&server, "after");
}
