//! One HTTP request at a time on one connection that is kept.

use super::socket::Broken;
use crate::engine::connect::{open, read_some};
use crate::plan::Target;
use crate::wire::http::split_response;
use serde_json::Value;
use std::io::Write;
use std::net::TcpStream;

/// A connection.
pub(crate) struct Rest {
    host: String,
    stream: TcpStream,
    inbox: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Status and body, for the text of a complaint.
    pub(crate) fn words(&self) -> String {
        format!("{}: {}", self.status, crate::wire::answer::clip(&String::from_utf8_lossy(&self.body)))
    }
}

impl Rest {
    /// Connects.
    pub(crate) fn open(target: &Target) -> Result<Self, Broken> {
        let stream = open(target).map_err(|fault| Broken(fault.to_string()))?;
        Ok(Self { host: target.host.clone(), stream, inbox: Vec::new() })
    }

    /// Sends a request without waiting for its answer. `fields` are whole header lines, each with its line end.
    pub(crate) fn send(&mut self, method: &str, path: &str, fields: &str, body: &str) -> Result<(), Broken> {
        let Self { host, .. } = self;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: conduit-loadtest\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{fields}\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).map_err(|error| Broken(format!("write: {error}")))
    }

    /// Waits for the answer to the oldest request without one.
    pub(crate) fn receive(&mut self) -> Result<Reply, Broken> {
        loop {
            let response = split_response(&self.inbox).map_err(|fault| Broken(fault.to_string()))?;
            if let Some(response) = response {
                let (reply, used) = (Reply { status: response.status, body: response.body.to_vec() }, response.bytes);
                self.inbox.drain(..used);
                // Interim answers are not the answer (RFC 9110, section 15.2).
                if reply.status >= 200 {
                    return Ok(reply);
                }
                continue;
            }
            if read_some(&mut self.stream, &mut self.inbox).map_err(Broken)? == 0 {
                return Err(Broken("the server closed the connection".into()));
            }
        }
    }

    /// A request and its answer.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Reply, Broken> {
        self.send(method, path, "", body)?;
        self.receive()
    }
}

/// A name as one segment of a path (RFC 3986, section 3.3): everything but unreserved characters is escaped.
pub(crate) fn path_segment(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_segment() {
        assert_eq!(path_segment("crash/0.dlq"), "crash%2F0.dlq");
        assert_eq!(path_segment("ä b"), "%C3%A4%20b");
    }
}
