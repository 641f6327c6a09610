//! A WebSocket client: tungstenite, reading with patience.

use super::process::PATIENCE;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// One connection that speaks JSON.
#[derive(Debug)]
pub(crate) struct Ws {
    pub(crate) socket: WebSocket<TcpStream>,
}

/// What a consumer was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) envelope: Value,
    pub(crate) id: String,
    pub(crate) seq: u64,
    pub(crate) attempt: u64,
}

impl Ws {
    pub(crate) fn connect(address: SocketAddr, target: &str) -> Self {
        Self::over(TcpStream::connect(address).expect("the server accepts"), target)
    }

    /// A handshake over a connection that is there already.
    pub(crate) fn over(stream: TcpStream, target: &str) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        let (socket, _) = tungstenite::client(format!("ws://conduit{target}"), stream)
            .unwrap_or_else(|error| panic!("{target}: {error}"));
        Self { socket }
    }

    #[expect(clippy::needless_pass_by_value, reason = "frames are written where they are sent")]
    pub(crate) fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).expect("the server reads");
    }

    pub(crate) fn credit(&mut self, credit: u64) {
        self.send(json!({ "credit": credit }));
    }

    /// The next frame that is not a control frame.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            match self.socket.read().expect("the server sends") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    /// The next frame, which has to be a delivery.
    pub(crate) fn delivery(&mut self) -> Delivery {
        let frame = self.next();
        let number = |name: &str| frame[name].as_u64().unwrap_or_else(|| panic!("no delivery: {frame}"));
        Delivery {
            envelope: frame["deliver"].clone(),
            id: frame["id"].as_str().expect("an id").to_owned(),
            seq: number("seq"),
            attempt: number("attempt"),
        }
    }

    pub(crate) fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        (0..count).map(|_| self.delivery()).collect()
    }

    /// Reads to the end: the codes of the errors that were told, the close code and its reason.
    pub(crate) fn end(&mut self) -> (Vec<String>, u16, String) {
        let mut told = Vec::new();
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).expect("JSON");
                    told.extend(frame["error"]["code"].as_str().map(str::to_owned));
                }
                Ok(Message::Close(Some(close))) => {
                    // Sends our half of the closing handshake.
                    let _ = self.socket.flush();
                    return (told, CloseCode::into(close.code), close.reason.to_string());
                }
                Ok(Message::Close(None)) => return (told, 1005, String::new()),
                Ok(_) => {}
                Err(error) => panic!("the connection ended without a close frame: {error}"),
            }
        }
    }

    /// Ends the connection from this side and waits until it is over.
    pub(crate) fn close(mut self) {
        let _ = self.socket.close(None);
        while self.socket.read().is_ok() {}
    }
}
