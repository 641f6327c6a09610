//! A request in its usual, compact form, which is recognised without a walk, means what the same request means in any
//! other form, and what is wrong with it is told in the same way.

use conduit_protocol::codec::{FrameError, decode_frame, decode_publish, transcode};
use conduit_protocol::{Encoding, Limits};
use proptest::prelude::*;

/// What decoding came to, in a form that compares: messages name the byte, which differs between the forms.
fn frame(encoding: Encoding, bytes: &[u8], limits: &Limits) -> String {
    match decode_frame(encoding, bytes, limits) {
        Ok(frame) => format!("{frame:?}"),
        Err(FrameError::Fatal(violation)) => format!("{:?}", violation.code),
        Err(FrameError::Refused { violation, reference }) => format!("{:?} {reference:?}", violation.code),
    }
}

fn body(encoding: Encoding, bytes: &[u8], limits: &Limits) -> String {
    match decode_publish(encoding, bytes, limits) {
        Ok(publish) => format!("{publish:?}"),
        Err(violation) => format!("{:?}", violation.code),
    }
}

/// The same value, written so that its first bytes are not the usual ones. `None` when there is no such form.
fn unusual(encoding: Encoding, bytes: &[u8]) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Json => Some([b" ", bytes].concat()),
        Encoding::MessagePack => {
            let (first, rest) = bytes.split_first()?;
            matches!(first, 0x80..=0x8f).then(|| [&[0xde, 0, first & 0x0f], rest].concat())
        }
    }
}

fn same(encoding: Encoding, bytes: &[u8], limits: &Limits) {
    if let Some(other) = unusual(encoding, bytes) {
        assert_eq!(frame(encoding, bytes, limits), frame(encoding, &other, limits), "{bytes:?}");
        assert_eq!(body(encoding, bytes, limits), body(encoding, &other, limits), "{bytes:?}");
    }
}

fn encoded(encoding: Encoding, json: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    transcode(Encoding::Json, encoding, json.as_bytes(), &mut bytes);
    bytes
}

/// Names, ids and references around every edge.
fn text() -> impl Strategy<Value = String> {
    prop::sample::select(
        ["", "s", "agents/user123/inbox", "$x", "a\u{7f}b", "größe", "0123456789abcdef0123456789abcdef"]
            .map(|text| format!("\"{text}\""))
            .into_iter()
            .chain(["\"\\u0061\"".into(), "7".into(), "null".into(), "{}".into(), "[1]".into()])
            .chain([300, 256, 257].map(|length| format!("\"{}\"", "x".repeat(length))))
            .collect::<Vec<_>>(),
    )
}

fn envelope() -> impl Strategy<Value = String> {
    let member = (
        prop::sample::select(vec!["id", "payload", "p", "\\u0069d", "a name of more than thirty-one bytes"]),
        prop_oneof![text(), Just(r#"{"a":[1,{"b":null}],"c":-1.5e3}"#.to_owned())],
    );
    let members = proptest::collection::vec(member, 0..4).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    });
    prop_oneof![4 => members, 1 => text()]
}

fn request() -> impl Strategy<Value = String> {
    let publish =
        (text(), envelope()).prop_map(|(to, envelope)| format!(r#"{{"to":{to},"envelope":{envelope}}}"#)).boxed();
    let options = prop::sample::select(vec![
        r#""delayMs":5"#,
        r#""deliverAt":"1970-01-01T00:00:00Z""#,
        r#""ttlMs":0"#,
        r#""priority":3"#,
        r#""dedupId":"k""#,
        r#""delayMs":1,"ttlMs":1"#,
    ]);
    let asking = (publish.clone(), options, any::<bool>()).prop_map(|(publish, options, at_end)| {
        let members = &publish[1..publish.len() - 1];
        if at_end { format!("{{{members},{options}}}") } else { format!("{{{options},{members}}}") }
    });
    let publish = prop_oneof![3 => publish, 1 => asking].boxed();
    let number = prop_oneof![
        prop::sample::select(vec![0, 1, 9, 10, 127, 128, 255, 256, 65_535, 65_536, 1 << 32, u64::MAX]),
        any::<u64>()
    ];
    let number = prop_oneof![
        4 => number.prop_map(|number| number.to_string()),
        1 => prop::sample::select(vec!["-1", "01", "1.0", "1e3", "18446744073709551616", "99999999999999999999", "[1,2]"])
            .prop_map(str::to_owned),
        1 => text(),
    ];
    prop_oneof![
        publish.clone(),
        publish.clone().prop_map(|publish| format!(r#"{{"enqueue":{publish}}}"#)),
        (publish, text()).prop_map(|(publish, reference)| format!(r#"{{"enqueue":{publish},"ref":{reference}}}"#)),
        (prop::sample::select(vec!["ack", "credit", "ackUpTo", "nack"]), number)
            .prop_map(|(operation, number)| format!(r#"{{"{operation}":{number}}}"#)),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    (0..6_usize, prop::sample::select(vec![0, 1, 19, 256]), 0..8_usize).prop_map(|(depth_max, text_max, ref_max)| {
        Limits {
            depth_max: if depth_max == 5 { 32 } else { depth_max },
            stream_name_bytes_max: text_max.max(1),
            message_id_bytes_max: text_max,
            ref_bytes_max: ref_max,
            ..Limits::default()
        }
    })
}

proptest! {
    #[test]
    fn valid_requests(request in request(), limits in limits()) {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            same(encoding, &encoded(encoding, &request), &limits);
            same(encoding, &encoded(encoding, &request), &Limits::default());
        }
    }

    #[test]
    fn damaged_requests(request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let mut bytes = encoded(encoding, &request);
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
            same(encoding, &bytes, &Limits::default());
        }
    }
}

#[test]
fn numbers_of_every_width_are_acked() {
    for seq in [1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let bytes = encoded(encoding, &format!(r#"{{"ack":{seq}}}"#));
            assert_eq!(frame(encoding, &bytes, &Limits::default()), format!("Ack([Seq(Seq({seq}))])"));
        }
    }
}

#[test]
fn an_object_has_as_many_members_as_it_says() {
    let inner = b"\xa7enqueue\x82\xa2to\xa1s\xa8envelope\x80";
    let reference = b"\xa3ref\x07";
    let none: &[u8] = b"";
    for (count, follows, is_whole) in
        [(b"\x81", none, true), (b"\x82", reference, true), (b"\x82", none, false), (b"\x81", reference, false)]
    {
        let bytes = [&count[..], inner, follows].concat();
        let decoded = frame(Encoding::MessagePack, &bytes, &Limits::default());
        assert_eq!(decoded != "DecodeError", is_whole, "{bytes:x?}: {decoded}");
        same(Encoding::MessagePack, &bytes, &Limits::default());
    }
}
