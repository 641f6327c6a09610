//! The server to talk to, as people write it.

use crate::failure::Failure;
use std::time::Duration;

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 9087;

/// A server and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Host name or address, IPv6 without brackets.
    pub(crate) host: String,
    /// Port; each of a server's ports serves HTTP and WebSocket.
    pub(crate) port: u16,
    /// Longest wait for a connection, and for an answer.
    pub(crate) timeout: Duration,
    /// The token that opens its doors. Never printed.
    pub(crate) token: Option<String>,
}

impl Server {
    /// Reads `host:port`, `host`, `[ipv6]:port`, or the same behind `http://` or `ws://`.
    pub(crate) fn parse(text: &str, timeout: Duration) -> Result<Self, Failure> {
        let wrong = || Failure::Usage(format!("{text:?} is not an address; write host:port, such as 127.0.0.1:9087"));
        let rest = ["http://", "ws://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| wrong())?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port, timeout, token: None })
    }

    /// What goes into the `Authorization` field, if anything does.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }

    /// `host:port`, IPv6 in brackets.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A text as a value in a query: everything but unreserved characters (RFC 3986, section 2.3) and `/` is escaped.
pub(crate) fn query_value(text: &str) -> String {
    escaped(text, b"-._~/")
}

/// A text as one segment of a path: everything but unreserved characters is escaped.
pub(crate) fn path_segment(text: &str) -> String {
    escaped(text, b"-._~")
}

/// Everything but letters, digits and what is `kept` is escaped.
fn escaped(text: &str, kept: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(text: &str) -> Option<String> {
        Server::parse(text, Duration::ZERO).ok().map(|server| server.authority())
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, expected) in [
            ("10.0.0.5:9087", "10.0.0.5:9087"),
            ("example.org", "example.org:9087"),
            ("http://localhost:80/", "localhost:80"),
            ("ws://[::1]:9088", "[::1]:9088"),
            ("[fe80::1]", "[fe80::1]:9087"),
        ] {
            assert_eq!(authority(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", ":9087", "host:65536", "host:", "host:x", "[::1", "[::1]9087", "a b:1", "host:1/path", "https://h"]
        {
            assert_eq!(authority(text), None, "{text:?} was accepted");
        }
    }

    #[test]
    fn query_values_survive_any_stream_name() {
        assert_eq!(query_value("agents/Me/inbox"), "agents/Me/inbox");
        assert_eq!(query_value("a b&c=ä+%"), "a%20b%26c%3D%C3%A4%2B%25");
        assert_eq!(path_segment("agents/Me.dlq ?#"), "agents%2FMe.dlq%20%3F%23");
    }
}
