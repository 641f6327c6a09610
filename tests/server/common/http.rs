//! An HTTP client that sends exactly the bytes it is told to.

use super::process::PATIENCE;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One connection.
#[derive(Debug)]
pub(crate) struct Http {
    stream: TcpStream,
    /// Read and not yet taken.
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// A header field; its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The stable code of a refusal.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes to a server that may have gone: false when it has.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: conduit\r\n\r\n").as_bytes());
        self.response()
    }

    pub(crate) fn post(&mut self, target: &str, content_type: &str, body: &[u8]) -> Response {
        self.send(&request(target, content_type, body));
        self.response()
    }

    /// Publishes one message.
    pub(crate) fn enqueue(&mut self, stream: &str, envelope: &Value) -> Response {
        let body = serde_json::json!({"to": stream, "envelope": envelope}).to_string();
        self.post("/v1/enqueue", "application/json", body.as_bytes())
    }

    /// The next answer, interim ones (1xx) included.
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.head();
        let length = response.field("content-length").map_or(0, |length| length.parse().expect("a length"));
        response.body = self.take(length);
        response
    }

    /// The next answer of a request that gets no body, such as HEAD.
    pub(crate) fn head(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.read() > 0,
                "the connection ended before an answer: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        };
        let head = String::from_utf8(self.take(end)).expect("a head of text");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let fields = lines.filter_map(|line| line.split_once(':'));
        Response {
            status: status.unwrap_or_else(|| panic!("no status line: {status_line:?}")),
            fields: fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect(),
            body: Vec::new(),
        }
    }

    /// The next line, without its end; `None` at the end of the connection.
    pub(crate) fn line(&mut self) -> Option<String> {
        let end = loop {
            match self.unread.iter().position(|byte| *byte == b'\n') {
                Some(at) => break at + 1,
                None if self.read() == 0 => return None,
                None => {}
            }
        };
        let line = String::from_utf8(self.take(end)).expect("a line of text");
        Some(line.trim_end_matches('\n').to_owned())
    }

    /// So many bytes of what the connection has become after an upgrade.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            assert!(self.read() > 0, "the connection ended within an answer");
        }
        let rest = self.unread.split_off(length);
        std::mem::replace(&mut self.unread, rest)
    }

    fn read(&mut self) -> usize {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(length) => {
                self.unread.extend_from_slice(&bytes[..length]);
                length
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("the server does not answer: {error}"),
        }
    }

    /// The same connection once more, to be written to by another thread.
    pub(crate) fn other_half(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("a descriptor"), unread: Vec::new() }
    }

    /// Says that nothing more comes from this side.
    pub(crate) fn end_sending(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
    }

    /// Reads to the end of the connection, however it ends.
    pub(crate) fn rest(mut self) -> String {
        while self.read() > 0 {}
        String::from_utf8_lossy(&self.unread).into_owned()
    }
}

/// A request with a body of known length.
pub(crate) fn request(target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: conduit\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}
