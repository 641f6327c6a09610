//! The examples of `docs/protocol.md` are what a client may send and what the server says.

use conduit_protocol::codec::{Frame, decode_frame, decode_publish, decode_stream_settings};
use conduit_protocol::streams::{Messages, StreamInfo, Subscribed};
use conduit_protocol::{Encoding, ErrorCode, Limits, NotBefore, Violation};
use serde_json::Value;
use std::path::Path;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    std::fs::read_to_string(path).expect("the document exists")
}

/// The lines of all code blocks.
fn code_lines(document: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    document.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        in_code ^= is_fence;
        in_code && !is_fence
    })
}

/// The code block that begins with `start`, as JSON.
fn block<'d>(document: &'d str, start: &str) -> &'d str {
    let from = document.find(&format!("```\n{start}")).unwrap_or_else(|| panic!("no block begins with {start}")) + 4;
    let length = document[from..].find("```").expect("the block ends");
    &document[from..from + length]
}

#[test]
fn what_curl_sends_is_judged_as_the_example_says() {
    let document = document();
    let lines: Vec<&str> = code_lines(&document).collect();
    let mut commands = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((command, body)) = line.split_once(" -d '") else { continue };
        let body = body.strip_suffix('\'').expect("the quote is closed").as_bytes();
        let limits = Limits::default();
        let judged: Result<(), Violation> = match command.contains("/v1/streams/") {
            true => decode_stream_settings(Encoding::Json, body, &limits).map(drop),
            false => decode_publish(Encoding::Json, body, &limits).map(|publish| {
                assert_ne!(publish.options.not_before, NotBefore::Now);
                assert!(publish.options.dedup_id.is_some() && publish.options.priority > 0);
            }),
        };
        let answer: Value = lines.get(at + 1).and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        match answer.get("code") {
            Some(code) => {
                let violation = judged.expect_err(line);
                assert_eq!(*code, violation.code.code());
                assert_eq!(answer["message"], *violation.message);
            }
            None => assert_eq!(judged, Ok(()), "{line}"),
        }
        commands += 1;
    }
    assert_eq!(commands, 4);
}

#[test]
fn what_a_websocket_sends_and_hears_is_what_the_example_says() {
    let document = document();
    let (mut sent, mut heard, mut nacks) = (0, 0, 0);
    for line in code_lines(&document) {
        if let Some(message) = line.strip_prefix("-> {") {
            let message = format!("{{{message}");
            let frame = decode_frame(Encoding::Json, message.as_bytes(), &Limits::default()).expect(line);
            nacks += u32::from(matches!(frame, Frame::Nack(nack) if nack.error.is_some()));
            sent += 1;
        } else if let Some(message) = line.strip_prefix("<- {") {
            let message = message.split_once("      (").map_or(message, |(message, _)| message);
            let value: Value = serde_json::from_str(&format!("{{{message}")).expect(line);
            if let Some(subscribed) = value.get("subscribed") {
                serde_json::from_value::<Subscribed>(subscribed.clone()).expect(line);
            }
            heard += 1;
        }
    }
    assert_eq!((sent, heard, nacks), (5, 5, 1));
}

#[test]
fn documents_about_streams_have_the_members_that_are_shown() {
    let document = document();
    let text = block(&document, r#"{"stream":"jobs","shard":0,"#);
    let info: StreamInfo = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(info).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    let text = block(&document, r#"{"stream":"jobs","messages":"#);
    let messages: Messages = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&messages).unwrap(), text.trim());
}

#[test]
fn every_code_is_explained() {
    let document = document();
    for code in ErrorCode::ALL {
        let rows = document.lines().filter(|line| line.starts_with(&format!("| `{}` | ", code.code()))).count();
        assert_eq!(rows, 2, "{}", code.code());
    }
}
