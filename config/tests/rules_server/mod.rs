//! A server without sockets that follows a rules file: one connection of it, from bytes to commands and back.
#![allow(dead_code, unused_imports, reason = "every test file uses its own part of this")]

#[path = "../../../protocol/tests/edge_policy/mod.rs"]
pub(crate) mod edge_policy;
#[path = "../../../protocol/tests/http_wire/mod.rs"]
pub(crate) mod http_wire;

use conduit_config::rules::{Surroundings, compile};
use conduit_protocol::access_log::{LogFile, LogSettings};
use conduit_protocol::rules::Rules;
use conduit_protocol::rules::selector::EnvLookup;
use conduit_protocol::{AccessLog, Policy};
use http_wire::{Peer, Response};

/// The rules of a list of rules.
pub(crate) fn rules(list: &str) -> Rules {
    let file = format!("version: proto-dsl/v0\nrules:\n{list}\n");
    rules_of_file(&file)
}

/// The rules of a whole file.
pub(crate) fn rules_of_file(file: &str) -> Rules {
    let nothing = |_: &str| EnvLookup::NotAllowed;
    let compiled = compile(file, Surroundings { file: "rules.yaml", env: &nothing });
    compiled.unwrap_or_else(|findings| panic!("{file}\n{findings}")).rules
}

/// A connection to an open server with these rules, and with access logs.
pub(crate) fn peer(list: &str) -> Peer {
    peer_under(Policy::default(), list)
}

/// The same under a policy.
pub(crate) fn peer_under(policy: Policy, list: &str) -> Peer {
    let mut peer = Peer::under(Policy { rules: rules(list), ..policy });
    peer.log = AccessLog::new(0, &LogSettings::default());
    peer
}

/// Takes the lines of one access log.
pub(crate) fn lines(peer: &mut Peer, file: LogFile) -> Vec<serde_json::Value> {
    let Some(batch) = peer.log.take(file, Vec::new) else { return Vec::new() };
    let text = String::from_utf8(batch.bytes).expect("lines are UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// A text message as a client sends it, under the mask of zeros.
pub(crate) fn message(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// What a WebSocket has said since it was asked last: texts, and the code of a close.
pub(crate) fn said(peer: &mut Peer) -> Vec<String> {
    let mut bytes = std::mem::take(&mut peer.out);
    if bytes.starts_with(b"HTTP/1.1 101") {
        let head_bytes = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends") + 4;
        bytes.drain(..head_bytes);
    }
    let mut said = Vec::new();
    let mut rest = &bytes[..];
    while let [first, second, after @ ..] = rest {
        let (length, after) = match second {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            127 => panic!("the server says more than a test expects"),
            length => (usize::from(*length), after),
        };
        let (payload, after) = after.split_at(length);
        said.push(match first & 0x0f {
            8 => format!("close {}", payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))),
            _ => String::from_utf8(payload.to_vec()).expect("text"),
        });
        rest = after;
    }
    said
}

/// Gives a WebSocket a message; what it says to that.
pub(crate) fn tell(peer: &mut Peer, text: &str) -> Vec<String> {
    peer.out.clear();
    peer.feed(message(text));
    said(peer)
}

/// A list of so many empty lists.
pub(crate) fn nested(elements: usize) -> String {
    let mut text = String::with_capacity(3 * elements + 2);
    text.push('[');
    for nth in 0..elements {
        text.push_str(if nth == 0 { "[]" } else { ",[]" });
    }
    text.push(']');
    text
}
