//! When descriptors run out, the server waits with the connections it has, and serves again when there is room.

use crate::common::{Http, Start, eventually};
use std::net::TcpStream;

#[test]
fn a_flood_beyond_the_open_files_passes_and_the_server_serves_on() {
    for shards in [1, 2] {
        let server = Start::new().shards(shards).resource_limit("--nofile=96:96").serve();
        let mut early = Http::connect(server.http);
        assert_eq!(early.get("/health").status, 200);
        let mut consumer = server.consume("s", "credit=10");

        // The kernel accepts for the server until its backlog is full, so every connect succeeds.
        let flood: Vec<TcpStream> =
            (0..300).map(|_| TcpStream::connect(server.http).expect("the backlog has room")).collect();
        assert!(server.process.stderr.line_with("cannot accept").is_some(), "{}", server.process.words());

        // Those that are connected do not suffer.
        assert_eq!(early.enqueue("s", &serde_json::json!({"n": 1})).status, 200);
        assert_eq!(consumer.delivery().envelope["n"], 1);

        drop(flood);
        // While descriptors are still scarce, a newcomer may be turned away.
        eventually("a new connection is served", || {
            let mut client = Http::connect(server.http);
            client.try_send(b"GET /health HTTP/1.1\r\nhost: conduit\r\nconnection: close\r\n\r\n");
            client.rest().starts_with("HTTP/1.1 200").then_some(())
        });
        eventually("the flood is forgotten", || {
            (server.per_shard("/connections").iter().sum::<u64>() <= 4).then_some(())
        });
        assert!(server.per_shard("/acceptErrors").iter().sum::<u64>() > 0);
    }
}
