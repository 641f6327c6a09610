//! A WebSocket to the server, as any client would open one.

use crate::address::Server;
use crate::command_line::Codec;
use crate::failure::Failure;
use conduit_protocol::codec::{self, Encoding};
use conduit_protocol::streams::{Gap, Subscribed};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{HandshakeError, Message, WebSocket};

/// Longest wait for the server's half of the closing handshake.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// An open WebSocket.
pub(crate) struct Socket {
    socket: WebSocket<TcpStream>,
    codec: Codec,
    json: Vec<u8>,
}

/// One message of the server.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A delivery.
    Delivery(Delivery),
    /// Something about the subscription itself.
    Notice(Notice),
    /// Nothing came in the time given.
    Nothing,
}

/// What a server tells a consumer beside messages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Notice {
    /// Where it begins.
    Subscribed(Subscribed),
    /// What is lost.
    Gap(Gap),
    /// The server is going away, and where else to go.
    Drain(DrainNotice),
}

/// What a server says that is going away.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DrainNotice {
    /// When connecting again makes sense.
    pub(crate) retry_after_ms: u64,
    /// Other servers.
    #[serde(default)]
    pub(crate) alternates: Vec<String>,
}

/// A delivered message.
#[derive(Debug, Deserialize)]
pub(crate) struct Delivery {
    /// The envelope, as JSON text.
    pub(crate) deliver: Box<RawValue>,
    /// Its id.
    pub(crate) id: String,
    /// Its position in the stream.
    pub(crate) seq: u64,
    /// 1 for the first delivery.
    pub(crate) attempt: u32,
}

#[derive(Deserialize)]
struct ErrorFrame {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
}

impl Socket {
    /// Connects and shakes hands. `path` begins with a slash and may hold a query.
    pub(crate) fn open(server: &Server, path: &str, codec: Codec) -> Result<Self, Failure> {
        let stream = connect(server)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(64 * 1024)
            .max_message_size(Some(1 << 30))
            .max_frame_size(Some(1 << 30));
        let url = format!("ws://{}{path}", server.authority());
        let mut request = url.into_client_request().map_err(|error| Failure::Usage(error.to_string()))?;
        if let Some(authorization) = server.authorization() {
            let value = authorization.parse().map_err(|_| {
                Failure::Usage("the token has characters that cannot be sent: use visible ASCII".to_owned())
            })?;
            request.headers_mut().insert("authorization", value);
        }
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::Unreachable(format!("no WebSocket at {}: {error}", server.authority()))
        };
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Ok(Self { socket, codec, json: Vec::new() }),
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                let body = response.body().clone().unwrap_or_default();
                Err(crate::http::Reply { status: response.status().as_u16(), retry_after: None, body }.refusal())
            }
            Err(HandshakeError::Failure(error)) => Err(unreachable(&error)),
            Err(HandshakeError::Interrupted(_)) => Err(unreachable(&"the handshake took too long")),
        }
    }

    /// Queues one frame; it leaves with the next [`Self::flush`] or [`Self::read`].
    pub(crate) fn send(&mut self, frame: &serde_json::Value) -> Result<(), Failure> {
        let text = frame.to_string();
        let message = match self.codec {
            Codec::Json => Message::text(text),
            Codec::Msgpack => {
                let mut packed = Vec::new();
                codec::transcode(Encoding::Json, Encoding::MessagePack, text.as_bytes(), &mut packed);
                Message::binary(packed)
            }
        };
        self.socket.write(message).map_err(|error| self.broken(&error))
    }

    /// Hands queued frames to the network.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.socket.flush().map_err(|error| self.broken(&error))
    }

    /// The next delivery, or nothing within `wait` (`None`: for ever). An error frame or a close is a failure.
    pub(crate) fn read(&mut self, wait: Option<Duration>) -> Result<Incoming, Failure> {
        self.set_read_timeout(wait)?;
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if is_timeout(&error) => return Ok(Incoming::Nothing),
                Err(error) => return Err(self.broken(&error)),
            };
            match message {
                Message::Text(text) => return parse(text.as_bytes()),
                Message::Binary(packed) => {
                    self.json.clear();
                    codec::transcode(Encoding::MessagePack, Encoding::Json, &packed, &mut self.json);
                    return parse(&self.json);
                }
                Message::Close(frame) => {
                    let why = frame.map_or_else(|| "without a reason".to_owned(), |frame| frame.to_string());
                    return Err(Failure::Refused(format!("the server closed the connection: {why}")));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Closes in order, so that the server has taken every frame that was sent before.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + CLOSE_WAIT;
        let mut result = self.socket.close(None).and_then(|()| self.socket.flush());
        while result.is_ok() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.set_read_timeout(Some(left))?;
            // What still comes is not for us any more: it was never acked, so it goes back to the stream.
            result = self.socket.read().map(|_| ());
        }
        Ok(())
    }

    fn set_read_timeout(&self, wait: Option<Duration>) -> Result<(), Failure> {
        // A time-out of nothing would mean none at all.
        let wait = wait.map(|wait| wait.max(Duration::from_millis(1)));
        self.socket.get_ref().set_read_timeout(wait).map_err(|error| Failure::Unreachable(error.to_string()))
    }

    fn broken(&self, error: &tungstenite::Error) -> Failure {
        Failure::Unreachable(format!("the connection broke: {error}"))
    }
}

fn connect(server: &Server) -> Result<TcpStream, Failure> {
    let unreachable = |error: io::Error| Failure::Unreachable(format!("cannot reach {}: {error}", server.authority()));
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (server.host.as_str(), server.port).to_socket_addrs().map_err(unreachable)? {
        match TcpStream::connect_timeout(&address, server.timeout) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(unreachable)?;
                stream.set_read_timeout(Some(server.timeout)).map_err(unreachable)?;
                stream.set_write_timeout(Some(server.timeout)).map_err(unreachable)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}

fn parse(json: &[u8]) -> Result<Incoming, Failure> {
    if let Ok(delivery) = serde_json::from_slice(json) {
        return Ok(Incoming::Delivery(delivery));
    }
    if let Ok(notice) = serde_json::from_slice(json) {
        return Ok(Incoming::Notice(notice));
    }
    match serde_json::from_slice::<ErrorFrame>(json) {
        Ok(frame) => Err(Failure::Refused(format!("{}: {}", frame.error.code, frame.error.message))),
        Err(_) => {
            Err(Failure::Unreachable("the server sent a frame that is neither a delivery nor an error".to_owned()))
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
