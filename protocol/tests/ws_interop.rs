//! A tungstenite client and the session understand each other, both ways.

mod ws_wire;

use conduit_protocol::ws::Role;
use conduit_protocol::{Answer, Delivery, Encoding, ErrorCode, Seq, Violation};
use proptest::prelude::*;
use std::io::{self, Read, Write};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{self, CloseFrame, WebSocketContext};
use tungstenite::{Bytes, Error, Message};
use ws_wire::{End, Server};

/// A client whose socket is two buffers.
struct Client {
    context: WebSocketContext,
    wire: Wire,
}

#[derive(Default)]
struct Wire {
    to_client: Vec<u8>,
    to_server: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.to_client.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = buffer.len().min(self.to_client.len());
        buffer[..length].copy_from_slice(&self.to_client[..length]);
        self.to_client.drain(..length);
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to_server.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Client {
    fn new() -> Self {
        Self { context: WebSocketContext::new(protocol::Role::Client, None), wire: Wire::default() }
    }

    fn send(&mut self, message: Message, server: &mut Server) -> End {
        self.context.write(&mut self.wire, message).expect("written to memory");
        self.context.flush(&mut self.wire).expect("written to memory");
        server.receive(&std::mem::take(&mut self.wire.to_server))
    }

    /// Everything that the server has said, as the client understands it.
    fn read(&mut self, server: &mut Server) -> Vec<Message> {
        self.wire.to_client.append(&mut server.out);
        let mut messages = Vec::new();
        loop {
            match self.context.read(&mut self.wire) {
                Ok(message) => messages.push(message),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return messages,
                Err(Error::ConnectionClosed) => return messages,
                Err(error) => panic!("the client does not understand: {error}"),
            }
        }
    }
}

fn delivery(encoding: Encoding, envelope: &[u8]) -> Delivery<'_> {
    Delivery {
        id: b"m1",
        seq: Seq(3),
        attempt: 1,
        published: conduit_protocol::Now::default(),
        trace: None,
        encoding,
        envelope,
    }
}

#[test]
fn messages_and_deliveries_of_every_length_class_arrive() {
    for length in [0, 10, 60, 70, 80, 90, 125, 126, 1_000, 65_400, 65_450, 65_500, 65_535, 65_536, 300_000] {
        let mut server = Server::consumer();
        let mut client = Client::new();
        let envelope = format!(r#"{{"id":"m1","x":"{}"}}"#, "x".repeat(length));
        let message = format!(r#"{{"enqueue":{{"to":"s","envelope":{envelope}}},"ref":"{length}"}}"#);
        assert_eq!(client.send(Message::text(message), &mut server), End::NeedBytes);
        assert_eq!(server.commands.len(), 1);
        let token = server.tokens[0];
        server.answer(
            token,
            &Answer::Published { id: "m1", stream: "s", seq: Seq(3), promise: Default::default(), duplicate: false },
        );
        server.deliver(&delivery(Encoding::Json, envelope.as_bytes()));
        let expected = [
            Message::text(format!(r#"{{"ok":{{"id":"m1","stream":"s","seq":3}},"ref":"{length}"}}"#)),
            Message::text(format!(r#"{{"deliver":{envelope},"id":"m1","seq":3,"attempt":1}}"#)),
        ];
        assert_eq!(client.read(&mut server), expected);
    }
}

#[test]
fn message_pack_goes_out_in_binary_frames() {
    let mut server = Server::new(Role::Consumer, Encoding::MessagePack);
    let mut client = Client::new();
    assert_eq!(client.send(Message::binary(b"\x81\xA6credit\x05".to_vec()), &mut server), End::NeedBytes);
    assert_eq!(server.commands, ["Token(4294967295) Credit(5)"]);
    server.deliver(&delivery(Encoding::MessagePack, b"\x81\xA1x\x01"));
    let [Message::Binary(bytes)] = &client.read(&mut server)[..] else { panic!("one binary message") };
    let value: serde_json::Value = rmp_serde::from_slice(bytes).expect("MessagePack");
    assert_eq!(value, serde_json::json!({"deliver": {"x": 1}, "id": "m1", "seq": 3, "attempt": 1}));
}

#[test]
fn pings_are_answered_both_ways() {
    let mut server = Server::consumer();
    let mut client = Client::new();
    client.send(Message::Ping(Bytes::from_static(b"are you there")), &mut server);
    assert_eq!(client.read(&mut server), [Message::Pong(Bytes::from_static(b"are you there"))]);

    server.now = server.now.plus_ns(server.limits.ping_ms * 1_000_000);
    server.handle_deadline();
    let deadline_after_ping_ns = server.deadline_ns();
    assert_eq!(client.read(&mut server), [Message::Ping(Bytes::new())]);
    // The client's library queues the pong by itself.
    client.context.flush(&mut client.wire).expect("written to memory");
    let pong = std::mem::take(&mut client.wire.to_server);
    assert!(!pong.is_empty());
    assert_eq!(server.receive(&pong), End::NeedBytes);
    assert!(server.deadline_ns() > deadline_after_ping_ns);
}

#[test]
fn a_close_by_the_client_is_completed() {
    let mut server = Server::consumer();
    let mut client = Client::new();
    let frame = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    assert_eq!(client.send(Message::Close(Some(frame)), &mut server), End::Close);
    assert!(server.session.is_finished());
    let [Message::Close(Some(echo))] = &client.read(&mut server)[..] else { panic!("a close with a code") };
    assert_eq!(echo.code, CloseCode::Normal);
}

#[test]
fn a_close_by_the_server_is_completed_after_its_error() {
    let mut server = Server::consumer();
    let mut client = Client::new();
    server.close(&Violation::new(ErrorCode::ServerDraining, "the server is shutting down"));
    assert!(server.session.is_closing() && !server.session.is_finished());
    let read = client.read(&mut server);
    let [Message::Text(error), Message::Close(Some(close))] = &read[..] else { panic!("{read:?}") };
    assert_eq!(error.as_str(), r#"{"error":{"code":"ServerDraining","message":"the server is shutting down"}}"#);
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Away, "the server is shutting down"));
    // The client's library answered the close by itself.
    client.context.flush(&mut client.wire).ok();
    assert_eq!(server.receive(&client.wire.to_server), End::Close);
    assert!(server.session.is_finished());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_published_comes_back_in_the_delivery(
        strings in prop::collection::vec("\\PC{0,300}", 1..20),
        read_bytes in 1..5_000_usize,
    ) {
        let mut server = Server::consumer();
        let mut client = Client::new();
        for string in &strings {
            let envelope = serde_json::json!({"id": "m1", "x": string});
            let message = serde_json::json!({"enqueue": {"to": "s", "envelope": envelope}});
            client.context.write(&mut client.wire, Message::text(message.to_string())).expect("written to memory");
        }
        client.context.flush(&mut client.wire).expect("written to memory");
        for read in std::mem::take(&mut client.wire.to_server).chunks(read_bytes) {
            prop_assert_eq!(server.receive(read), End::NeedBytes);
        }
        prop_assert_eq!(server.commands.len(), strings.len());
        for string in &strings {
            let envelope = serde_json::json!({"id": "m1", "x": string}).to_string();
            server.deliver(&delivery(Encoding::Json, envelope.as_bytes()));
        }
        let delivered: Vec<serde_json::Value> = client
            .read(&mut server)
            .iter()
            .map(|message| serde_json::from_str(message.to_text().expect("text")).expect("JSON"))
            .collect();
        for (delivered, string) in delivered.iter().zip(&strings) {
            prop_assert_eq!(delivered["deliver"]["x"].as_str(), Some(string.as_str()));
        }
        prop_assert_eq!(delivered.len(), strings.len());
    }
}
