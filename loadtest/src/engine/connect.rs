//! Opens connections and takes them through their handshakes, before any load flows.

use crate::plan::Target;
use crate::wire::WireFault;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// How long a peer may take for each step of a handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest handshake response taken.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {host}: {reason}")]
pub struct ConnectFault {
    /// Whom.
    pub host: String,
    /// What went wrong.
    pub reason: String,
}

impl ConnectFault {
    fn new(target: &Target, reason: &dyn std::fmt::Display) -> Self {
        Self { host: target.host.clone(), reason: reason.to_string() }
    }
}

/// Opens a TCP connection without Nagle's delay.
pub(crate) fn open(target: &Target) -> Result<TcpStream, ConnectFault> {
    let fault = |error: std::io::Error| ConnectFault::new(target, &error);
    let socket = TcpStream::connect_timeout(&target.address, PATIENCE).map_err(fault)?;
    socket.set_nodelay(true).map_err(fault)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(fault)?;
    Ok(socket)
}

/// A WebSocket whose request has been sent and whose answer is still to come, so that many can be on their way at once.
pub(crate) struct Handshake {
    socket: TcpStream,
    key: String,
}

/// Connects and asks for the upgrade (RFC 6455, section 4.1).
pub(crate) fn begin_websocket(target: &Target, path: &str) -> Result<Handshake, ConnectFault> {
    let mut socket = open(target)?;
    let key = generate_key();
    let (host, authorization) = (&target.host, target.authorization());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nUser-Agent: conduit-loadtest\r\n{authorization}\r\n"
    );
    socket.write_all(request.as_bytes()).map_err(|error| ConnectFault::new(target, &error))?;
    Ok(Handshake { socket, key })
}

impl Handshake {
    /// Waits for the answer: the socket, and what came behind the answer.
    pub(crate) fn finish(mut self, target: &Target) -> Result<(TcpStream, Vec<u8>), ConnectFault> {
        let mut response = Vec::new();
        let head_end = loop {
            if let Some(at) = memchr::memmem::find(&response, b"\r\n\r\n") {
                break at + 4;
            }
            let more =
                read_some(&mut self.socket, &mut response).map_err(|reason| ConnectFault::new(target, &reason))?;
            if more == 0 || response.len() > RESPONSE_BYTES_MAX {
                return Err(ConnectFault::new(target, &"the peer ended the handshake"));
            }
        };
        check_upgrade(&response[..head_end], &self.key).map_err(|fault| ConnectFault::new(target, &fault))?;
        let rest = response.split_off(head_end);
        Ok((self.socket, rest))
    }
}

/// Reads whatever comes next; 0 at the end.
pub(crate) fn read_some(socket: &mut TcpStream, into: &mut Vec<u8>) -> Result<usize, String> {
    let mut chunk = [0; 4096];
    let count = socket.read(&mut chunk).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => format!("no answer within {} s", PATIENCE.as_secs()),
        _ => error.to_string(),
    })?;
    into.extend_from_slice(&chunk[..count]);
    Ok(count)
}

fn check_upgrade(head: &[u8], key: &str) -> Result<(), WireFault> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(WireFault(format!("the upgrade was refused: {status}")));
    }
    let accept = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"))
        .map(|(_, value)| value.trim().to_owned());
    if accept.as_deref() != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(WireFault("the upgrade answer has a wrong Sec-WebSocket-Accept (RFC 6455, section 4.2.2)".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_accept_key_passes() {
        // The example of RFC 6455, section 1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = b"HTTP/1.1 101 Switching Protocols\r\nSEC-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(check_upgrade(good, key), Ok(()));
        let bad = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n\r\n";
        assert!(check_upgrade(bad, key).is_err());
        assert!(check_upgrade(b"HTTP/1.1 404 Not Found\r\n\r\n", key).is_err());
    }
}
