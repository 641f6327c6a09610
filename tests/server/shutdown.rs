//! SIGTERM: nothing new, everything in progress to its end, and then exit code 0.

use crate::common::{Http, Server, Start, Ws};
use rustix::process::Signal;
use serde_json::json;

/// A request whose last byte is still missing.
const HALF: &[u8] = b"POST /v1/enqueue HTTP/1.1\r\nhost: conduit\r\ncontent-length: 24\r\n\r\n{\"to\":\"x\",\"envelo";
const OTHER_HALF: &[u8] = b"pe\":{}}";

/// A connection that is busy: its request has begun and is known to the server to have.
fn busy(server: &Server) -> Http {
    let mut client = Http::connect(server.http);
    assert_eq!(client.get("/health").status, 200);
    let before = bytes_read(server);
    client.send(HALF);
    crate::common::eventually("the half request arrives", || {
        // Each look is a request too, of less than a hundred bytes.
        (bytes_read(server) >= before + HALF.len() as u64).then_some(())
    });
    client
}

fn bytes_read(server: &Server) -> u64 {
    server.per_shard("/bytesRead").iter().sum()
}

#[test]
fn an_idle_server_ends_at_once() {
    for (shards, signal) in [(1, Signal::TERM), (2, Signal::TERM), (2, Signal::INT)] {
        let mut server = Server::with_shards(shards);
        let mut idle = Http::connect(server.http);
        assert_eq!(idle.get("/health").status, 200);
        // The shutdown time is 30 s, longer than this test waits.
        server.process.signal(signal);
        assert_eq!(server.process.exit_code(), 0);
        assert_eq!(idle.rest(), "", "an idle connection is closed without a word");
        assert!(std::net::TcpStream::connect(server.http).is_err(), "nobody listens any more");
    }
}

#[test]
fn websockets_are_told_and_closed_with_1001() {
    let mut server = Server::with_shards(2);
    server.publish("s", 0..3);
    let mut sockets: Vec<Ws> = (0..8).map(|n| server.consume(&format!("s{n}"), "credit=1")).collect();
    sockets.push(server.publisher());
    let mut holder = server.consume("s", "credit=3");
    assert_eq!(holder.deliveries(3).len(), 3);
    server.terminate();
    // Whoever has work in flight is waited for.
    holder.send(json!({"ackUpTo": 3}));
    sockets.push(holder);
    for socket in &mut sockets {
        let (told, code, reason) = socket.end();
        assert_eq!((told, code), (vec!["ServerDraining".to_owned()], 1001));
        assert!(!reason.is_empty());
    }
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn a_peer_that_does_not_answer_the_close_frame_is_not_waited_for_long() {
    let mut server = Start::new().flags("--ws-close-ms 50").serve();
    let silent = server.consume("s", "credit=1");
    server.terminate();
    assert_eq!(server.process.exit_code(), 0);
    drop(silent);
}

#[test]
fn a_request_in_progress_is_answered_and_its_message_stored() {
    for shards in [1, 2] {
        let mut server = Server::with_shards(shards);
        let mut client = busy(&server);
        server.terminate();
        server.is_stopping();
        client.send(OTHER_HALF);
        let answer = client.response();
        assert_eq!((answer.status, &answer.json()["seq"]), (200, &json!(1)), "{}", answer.text());
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(client.rest(), "");
        assert_eq!(server.process.exit_code(), 0);
    }
}

#[test]
fn while_it_drains_health_is_503_and_new_work_is_refused() {
    let mut server = Server::with_shards(2);
    let mut client = busy(&server);
    let mut half_asked = Http::connect(server.http);
    assert_eq!(half_asked.get("/health").status, 200);
    let before = bytes_read(&server);
    half_asked.send(b"GET /health HTTP/1.1\r\nhost: con");
    crate::common::eventually("the half request arrives", || (bytes_read(&server) >= before + 32).then_some(()));
    server.terminate();
    server.is_stopping();
    half_asked.send(b"duit\r\n\r\n");
    let health = half_asked.response();
    assert_eq!(
        (health.status, &health.json()["status"], &health.json()["ok"]),
        (503, &json!("draining"), &json!(false))
    );

    // A request behind the one in progress is new work.
    client.send(OTHER_HALF);
    client.try_send(HALF);
    client.try_send(OTHER_HALF);
    assert_eq!(client.response().status, 200);
    assert!(!client.rest().contains("200 OK"), "new work was taken on");
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn the_shutdown_time_ends_what_does_not_end_by_itself() {
    for timeout in ["0", "100"] {
        let mut server = Start::new().variable("CONDUIT_SHUTDOWN_TIMEOUT_MS", timeout).serve();
        let client = busy(&server);
        server.terminate();
        assert_eq!(server.process.exit_code(), 0);
        assert!(server.process.stderr.whole().contains("they are cut"));
        assert_eq!(client.rest(), "");
    }
}

#[test]
fn the_last_line_says_why_the_server_stopped_and_how_many_were_cut_off() {
    let mut server = Start::new().shards(2).flags("--shutdown-timeout-ms 1").serve();
    let clients = [busy(&server), busy(&server)];
    server.terminate();
    assert_eq!(server.process.exit_code(), 0);
    let last = server.process.stderr.whole().lines().last().expect("a line").to_owned();
    for part in ["INFO", "the server has stopped", "a signal", "connections_cut=2"] {
        assert!(last.contains(part), "{part} is missing from: {last}");
    }
    drop(clients);

    let mut server = Server::with_shards(2);
    assert_eq!(Http::connect(server.http).post("/v1/admin/drain", "application/json", b"").status, 202);
    assert_eq!(server.process.exit_code(), 0);
    let last = server.process.stderr.whole().lines().last().expect("a line").to_owned();
    assert!(last.contains("a request of the administration") && last.contains("connections_cut=0"), "{last}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::with_shards(2);
    let client = busy(&server);
    server.terminate();
    server.is_stopping();
    server.terminate();
    assert_eq!(server.process.exit_code(), 130);
    assert!(server.process.stderr.whole().contains("second time"));
    assert_eq!(client.rest(), "");
}
