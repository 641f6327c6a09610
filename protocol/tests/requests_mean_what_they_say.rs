//! Each member of a request has its meaning, its type and its bounds, the same in both encodings.

use conduit_protocol::codec::{DEPTH_CEILING, Frame, FrameError, decode_frame, decode_publish};
use conduit_protocol::{Encoding, Envelope, EnvelopeId, ErrorCode, Limits, MessageRef, Nack, Publish, Seq};
use serde_json::{Value, json};

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

fn encode(encoding: Encoding, value: &Value) -> Vec<u8> {
    match encoding {
        Encoding::Json => serde_json::to_vec(value).unwrap(),
        Encoding::MessagePack => rmp_serde::to_vec(value).unwrap(),
    }
}

/// The same judgement on the same value in both encodings, borrowed bytes aside.
fn each(value: &Value, check: impl Fn(Result<Frame<'_>, FrameError<'_>>)) {
    for encoding in BOTH {
        check(decode_frame(encoding, &encode(encoding, value), &Limits::default()));
    }
}

fn fatal(value: &Value, code: ErrorCode) {
    each(value, |frame| match frame {
        Err(FrameError::Fatal(violation)) => assert_eq!(violation.code, code, "{value}: {violation}"),
        other => panic!("{value}: {other:?}"),
    });
}

fn refused(value: &Value, code: ErrorCode, has_reference: bool) {
    each(value, |frame| match frame {
        Err(FrameError::Refused { violation, reference }) => {
            assert_eq!((violation.code, reference.is_some()), (code, has_reference), "{value}: {violation}");
        }
        other => panic!("{value}: {other:?}"),
    });
}

fn is(value: &Value, wanted: &Frame<'_>) {
    // By their debug form: a frame's lifetime cannot be shortened, so two frames of different bytes do not compare.
    let wanted = format!("{wanted:?}");
    each(value, |frame| assert_eq!(frame.map(|frame| format!("{frame:?}")), Ok(wanted.clone()), "{value}"));
}

fn publish_error(value: &Value, code: ErrorCode) {
    for encoding in BOTH {
        let bytes = encode(encoding, value);
        let result = decode_publish(encoding, &bytes, &Limits::default());
        assert_eq!(result.map_err(|violation| violation.code), Err(code), "{value}");
    }
}

fn id_of(envelope: &Value) -> EnvelopeId<'static> {
    let ids = BOTH.map(|encoding| {
        let bytes = encode(encoding, &json!({"to": "s", "envelope": envelope}));
        match decode_publish(encoding, &bytes, &Limits::default()).unwrap().envelope.id {
            EnvelopeId::Given(id) => EnvelopeId::Given(id.into_owned().into()),
            EnvelopeId::Absent => EnvelopeId::Absent,
            EnvelopeId::Unusable => EnvelopeId::Unusable,
        }
    });
    assert_eq!(ids[0], ids[1]);
    let [id, _] = ids;
    id
}

fn by_id(id: &str) -> MessageRef<'_> {
    MessageRef::Id(id.into())
}

fn by_seq(seq: u64) -> MessageRef<'static> {
    MessageRef::Seq(Seq(seq))
}

fn nack<'a>(targets: [MessageRef<'a>; 1], delay_ms: u64) -> Frame<'a> {
    Frame::Nack(Nack { targets: targets.into(), delay_ms, dead: false, error: None })
}

#[test]
fn credit_is_a_positive_integer() {
    is(&json!({"credit": 1}), &Frame::Credit(1));
    is(&json!({"type": "credit", "credit": u64::MAX}), &Frame::Credit(u64::MAX));
    for wrong in [json!(0), json!(-1), json!(1.5), json!("1"), json!(null), json!([1]), json!(true)] {
        fatal(&json!({ "credit": wrong }), ErrorCode::InvalidField);
    }
}

#[test]
fn acks_name_messages_by_id_by_seq_or_by_an_array_of_these() {
    is(&json!({"ack": "a"}), &Frame::Ack([by_id("a")].into()));
    is(&json!({"ack": 7}), &Frame::Ack([by_seq(7)].into()));
    is(&json!({"ack": [7, "a", 9]}), &Frame::Ack(vec![by_seq(7), by_id("a"), by_seq(9)].into()));
    is(&json!({"ack": []}), &Frame::Ack(vec![].into()));
    is(&json!({"ack": "say \"hé\"\n"}), &Frame::Ack([by_id("say \"hé\"\n")].into()));
    for wrong in
        [json!(0), json!(-1), json!(1.5), json!(""), json!(null), json!({"id": 1}), json!([1, null, 2]), json!([[1]])]
    {
        fatal(&json!({ "ack": wrong }), ErrorCode::InvalidField);
        fatal(&json!({ "nack": wrong }), ErrorCode::InvalidField);
    }
}

#[test]
fn an_id_is_bounded_in_bytes() {
    let max = Limits::default().message_id_bytes_max;
    let id = "é".repeat(max / 2);
    is(&json!({"ack": id}), &Frame::Ack([by_id(&id)].into()));
    fatal(&json!({"ack": format!("{id}x")}), ErrorCode::InvalidField);
    // Escapes count as what they stand for.
    let escaped = "\n".repeat(max);
    is(&json!({"ack": escaped}), &Frame::Ack([by_id(&escaped)].into()));
}

#[test]
fn an_array_of_acks_is_bounded() {
    let max = Limits::default().ack_array_max as u64;
    let targets = |count| (1..=count).collect::<Vec<u64>>();
    each(&json!({"ack": targets(max)}), |frame| match frame {
        Ok(Frame::Ack(targets)) => assert_eq!(targets.len() as u64, max),
        other => panic!("{other:?}"),
    });
    fatal(&json!({"ack": targets(max + 1)}), ErrorCode::InvalidField);
    fatal(&json!({"nack": targets(max + 1)}), ErrorCode::InvalidField);
}

#[test]
fn ack_up_to_takes_a_seq() {
    is(&json!({"ackUpTo": 12}), &Frame::AckUpTo(Seq(12)));
    for wrong in [json!(0), json!("12"), json!([12]), json!(-12)] {
        fatal(&json!({ "ackUpTo": wrong }), ErrorCode::InvalidField);
    }
}

#[test]
fn a_nack_may_have_a_delay() {
    is(&json!({"nack": "a"}), &nack([by_id("a")], 0));
    is(&json!({"delayMs": 250, "nack": [3]}), &nack([by_seq(3)], 250));
    for wrong in [json!(-1), json!("1"), json!(0.5), json!(null)] {
        fatal(&json!({"nack": "a", "delayMs": wrong}), ErrorCode::InvalidField);
    }
}

#[test]
fn a_nack_may_say_what_went_wrong_and_that_it_is_over() {
    let wanted = |error: Option<&str>, dead| {
        let error = error.map(|error| error.to_owned().into());
        Frame::Nack(Nack { targets: [by_seq(3)].into(), delay_ms: 0, dead, error })
    };
    is(&json!({"nack": 3, "error": "no such customer"}), &wanted(Some("no such customer"), false));
    is(&json!({"nack": 3, "error": ""}), &wanted(Some(""), false));
    is(&json!({"error": "say \"no\"\n", "dead": true, "nack": 3}), &wanted(Some("say \"no\"\n"), true));
    is(&json!({"nack": 3, "dead": false}), &wanted(None, false));
    for wrong in [json!(1), json!("true"), json!(null), json!([])] {
        fatal(&json!({"nack": 3, "dead": wrong}), ErrorCode::InvalidField);
    }
    for wrong in [json!(1), json!(true), json!(null), json!({"message": "no"}), json!(["no"])] {
        fatal(&json!({"nack": 3, "error": wrong}), ErrorCode::InvalidField);
    }
    // They belong to a nack, and mean nothing elsewhere.
    is(&json!({"ack": 3, "error": 1, "dead": 1}), &Frame::Ack([by_seq(3)].into()));
}

#[test]
fn an_error_is_cut_at_a_character() {
    let max = Limits::default().error_bytes_max;
    let error_of = |error: &str| {
        let cut = BOTH.map(|encoding| {
            let bytes = encode(encoding, &json!({"nack": 1, "error": error}));
            match decode_frame(encoding, &bytes, &Limits::default()) {
                Ok(Frame::Nack(Nack { error: Some(error), .. })) => error.into_owned(),
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(cut[0], cut[1]);
        cut[0].clone()
    };
    let plain = "x".repeat(max);
    assert_eq!(error_of(&plain), plain);
    assert_eq!(error_of(&format!("{plain}y")), plain);
    // A character of two bytes does not fit into the last one.
    let odd = "x".repeat(max - 1);
    assert_eq!(error_of(&format!("{odd}é")), odd);
    // Escapes count as what they stand for.
    assert_eq!(error_of(&"\n".repeat(max + 1)), "\n".repeat(max));
}

#[test]
fn the_first_operation_in_order_counts() {
    is(&json!({"enqueue": 1, "nack": "a", "ackUpTo": 4, "ack": 3, "credit": 2}), &Frame::Credit(2));
    is(&json!({"enqueue": 1, "nack": "a", "ackUpTo": 4, "ack": 3}), &Frame::Ack([by_seq(3)].into()));
    is(&json!({"enqueue": 1, "nack": "a", "ackUpTo": 4}), &Frame::AckUpTo(Seq(4)));
    is(&json!({"enqueue": 1, "nack": "a"}), &nack([by_id("a")], 0));
    fatal(&json!({"credit": "no", "ack": "a"}), ErrorCode::InvalidField);
}

#[test]
fn what_is_no_operation_is_unknown() {
    for value in [json!({}), json!({"type": "ack", "msgId": "a"}), json!([]), json!(1), json!("ack"), json!(null)] {
        fatal(&value, ErrorCode::UnknownOp);
    }
}

#[test]
fn an_enqueue_carries_a_message_and_a_reference() {
    let envelope = json!({"id": "m", "payload": {"id": 5}});
    for reference in [None, Some(json!(null)), Some(json!({"n": [1, "x"]})), Some(json!(-3.5))] {
        for encoding in BOTH {
            let mut value = json!({"enqueue": {"to": "a/b", "envelope": envelope, "more": 1}});
            if let Some(reference) = &reference {
                value["ref"] = reference.clone();
            }
            let bytes = encode(encoding, &value);
            let envelope_bytes = encode(encoding, &envelope);
            let reference_bytes = reference.as_ref().map(|reference| encode(encoding, reference));
            let publish = Publish {
                stream: "a/b".into(),
                envelope: Envelope { encoding, bytes: &envelope_bytes, id: EnvelopeId::Given(b"m".into()) },
                pausable: false,
                options: conduit_protocol::PublishOptions::default(),
            };
            let wanted = Frame::Enqueue { publish, reference: reference_bytes.as_deref() };
            assert_eq!(decode_frame(encoding, &bytes, &Limits::default()), Ok(wanted), "{value}");
        }
    }
}

#[test]
fn a_wrong_enqueue_is_refused_and_says_which() {
    let good = json!({"a": 1});
    refused(&json!({"enqueue": {"to": "s"}, "ref": 1}), ErrorCode::InvalidEnvelope, true);
    refused(&json!({"enqueue": {"to": "s", "envelope": [1]}}), ErrorCode::InvalidEnvelope, false);
    refused(&json!({"enqueue": {"envelope": good}, "ref": null}), ErrorCode::InvalidField, true);
    refused(&json!({"enqueue": {"to": 1, "envelope": good}, "ref": 1}), ErrorCode::InvalidField, true);
    refused(&json!({"enqueue": {"to": "", "envelope": good}, "ref": 1}), ErrorCode::InvalidStream, true);
    refused(&json!({"enqueue": {"to": "a\nb", "envelope": good}, "ref": 1}), ErrorCode::InvalidStream, true);
    refused(&json!({"enqueue": {"to": "$audit", "envelope": good}, "ref": 1}), ErrorCode::Forbidden, true);
    refused(&json!({"enqueue": 5, "ref": 1}), ErrorCode::InvalidField, true);
    refused(&json!({"enqueue": [], "ref": 1}), ErrorCode::InvalidField, true);
}

#[test]
fn a_reference_is_bounded() {
    let max = Limits::default().ref_bytes_max;
    for encoding in BOTH {
        // A text's own header or quotes count too.
        let head = encode(encoding, &json!("x".repeat(max - 10))).len() - (max - 10);
        for (length, passes) in [(max - head, true), (max - head + 1, false)] {
            let value = json!({"enqueue": {"to": "s", "envelope": {}}, "ref": "x".repeat(length)});
            let bytes = encode(encoding, &value);
            match decode_frame(encoding, &bytes, &Limits::default()) {
                Ok(Frame::Enqueue { reference, .. }) => {
                    assert_eq!((passes, reference.map(<[u8]>::len)), (true, Some(max)));
                }
                Err(FrameError::Fatal(violation)) => {
                    assert_eq!((passes, violation.code), (false, ErrorCode::InvalidField));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn members_that_count_may_not_repeat() {
    let repeats = [
        r#"{"credit":1,"credit":1}"#,
        r#"{"ack":1,"ack":1}"#,
        r#"{"ackUpTo":1,"ackUpTo":1}"#,
        r#"{"nack":1,"nack":1}"#,
        r#"{"nack":1,"delayMs":1,"delayMs":1}"#,
        r#"{"nack":1,"dead":true,"dead":true}"#,
        r#"{"nack":1,"error":"a","\u0065rror":"a"}"#,
        r#"{"enqueue":{"to":"s","envelope":{}},"ref":1,"ref":1}"#,
        r#"{"ack":1,"\u0061ck":1}"#,
    ];
    for text in repeats {
        let Err(FrameError::Fatal(violation)) = decode_frame(Encoding::Json, text.as_bytes(), &Limits::default())
        else {
            panic!("{text}");
        };
        assert_eq!(violation.code, ErrorCode::InvalidField, "{text}");
    }
    for text in [r#"{"to":"s","to":"s","envelope":{}}"#, r#"{"to":"s","envelope":{},"envelope":{}}"#] {
        let result = decode_publish(Encoding::Json, text.as_bytes(), &Limits::default());
        assert_eq!(result.map_err(|violation| violation.code), Err(ErrorCode::InvalidField), "{text}");
    }
    let twice = b"\x82\xa6credit\x01\xa6credit\x01";
    let Err(FrameError::Fatal(violation)) = decode_frame(Encoding::MessagePack, twice, &Limits::default()) else {
        panic!()
    };
    assert_eq!(violation.code, ErrorCode::InvalidField);
}

#[test]
fn of_two_envelope_ids_the_last_counts() {
    let bytes = br#"{"to":"s","envelope":{"id":"a","\u0069d":"b"}}"#;
    let publish = decode_publish(Encoding::Json, bytes, &Limits::default()).unwrap();
    assert_eq!(publish.envelope.id, EnvelopeId::Given(b"b".into()));
    let bytes = br#"{"to":"s","envelope":{"id":"a","id":1}}"#;
    let publish = decode_publish(Encoding::Json, bytes, &Limits::default()).unwrap();
    assert_eq!(publish.envelope.id, EnvelopeId::Unusable);
}

#[test]
fn an_envelope_id_is_given_absent_or_unusable() {
    let max = Limits::default().message_id_bytes_max;
    let longest = "x".repeat(max);
    assert_eq!(id_of(&json!({"id": "m-1"})), EnvelopeId::Given(b"m-1".into()));
    assert_eq!(id_of(&json!({"id": "tab\t"})), EnvelopeId::Given(b"tab\t".into()));
    assert_eq!(id_of(&json!({"id": longest})), EnvelopeId::Given(longest.clone().into_bytes().into()));
    assert_eq!(id_of(&json!({"id": format!("{longest}x")})), EnvelopeId::Unusable);
    assert_eq!(id_of(&json!({})), EnvelopeId::Absent);
    assert_eq!(id_of(&json!({"payload": {"id": "inner"}, "ID": "other"})), EnvelopeId::Absent);
    for wrong in [json!(""), json!(1), json!(null), json!(["a"]), json!({"id": "a"}), json!(false)] {
        assert_eq!(id_of(&json!({ "id": wrong })), EnvelopeId::Unusable, "{wrong}");
    }
}

#[test]
fn a_publish_needs_an_envelope_and_a_stream() {
    publish_error(&json!({}), ErrorCode::InvalidEnvelope);
    publish_error(&json!({"to": "s", "envelope": []}), ErrorCode::InvalidEnvelope);
    publish_error(&json!({"to": "s", "envelope": null}), ErrorCode::InvalidEnvelope);
    publish_error(&json!({"envelope": {}}), ErrorCode::InvalidField);
    publish_error(&json!({"to": 5, "envelope": {}}), ErrorCode::InvalidField);
    publish_error(&json!({"to": "", "envelope": {}}), ErrorCode::InvalidStream);
    publish_error(&json!({"to": "x".repeat(256), "envelope": {}}), ErrorCode::InvalidStream);
    publish_error(&json!({"to": "$alerts", "envelope": {}}), ErrorCode::Forbidden);
    for value in [json!([]), json!(null), json!("to"), json!(1)] {
        publish_error(&value, ErrorCode::InvalidField);
    }
}

#[test]
fn an_envelope_is_kept_byte_for_byte() {
    let body = b" { \"envelope\" : { \"a\" : [ 1.0 , 1e2 ] , \"\\u0062\":\"\\/\" } \n, \"to\":\"s\" } \r\n";
    let publish = decode_publish(Encoding::Json, body, &Limits::default()).unwrap();
    assert_eq!(publish.envelope.bytes, b"{ \"a\" : [ 1.0 , 1e2 ] , \"\\u0062\":\"\\/\" }");
}

/// `depth` containers around nothing.
fn nested(depth: usize) -> Value {
    (1..depth).fold(json!({}), |inner, _| json!([inner]))
}

#[test]
fn depth_is_bounded() {
    let max = Limits::default().depth_max;
    // The outer object and the envelope are two levels themselves.
    let body = |depth| json!({"to": "s", "envelope": {"p": nested(depth - 2)}});
    for encoding in BOTH {
        let bytes = encode(encoding, &body(max));
        assert!(decode_publish(encoding, &bytes, &Limits::default()).is_ok());
    }
    publish_error(&body(max + 1), ErrorCode::DepthExceeded);
    fatal(&nested(max + 1), ErrorCode::DepthExceeded);
    fatal(&nested(max), ErrorCode::UnknownOp);
    // A scalar is level 0: it passes even then.
    let flat = Limits { depth_max: 0, ..Limits::default() };
    let result = decode_publish(Encoding::Json, b"1", &flat);
    assert_eq!(result.map_err(|violation| violation.code), Err(ErrorCode::InvalidField));
    let result = decode_publish(Encoding::Json, b"[]", &flat);
    assert_eq!(result.map_err(|violation| violation.code), Err(ErrorCode::DepthExceeded));
}

#[test]
fn a_limit_above_the_ceiling_counts_as_the_ceiling() {
    let limits = Limits { depth_max: usize::MAX, ..Limits::default() };
    for (depth, wanted) in [
        (DEPTH_CEILING, ErrorCode::InvalidField),
        (DEPTH_CEILING + 1, ErrorCode::DepthExceeded),
        (500_000, ErrorCode::DepthExceeded),
    ] {
        let json = [vec![b'['; depth], vec![b']'; depth]].concat();
        let msgpack = [vec![0x91; depth - 1], vec![0x90]].concat();
        for (encoding, bytes) in [(Encoding::Json, json), (Encoding::MessagePack, msgpack)] {
            let result = decode_publish(encoding, &bytes, &limits);
            assert_eq!(result.map_err(|violation| violation.code), Err(wanted), "{encoding:?} {depth}");
        }
    }
}

#[test]
fn what_is_no_value_is_told_before_wrong_fields() {
    for text in [
        "",
        " ",
        "{\"credit\":-1",
        "{\"credit\":01}",
        "{\"credit\":1}x",
        "{\"credit\":1}{\"credit\":1}",
        "nul",
        "{\"credit\":1,}",
    ] {
        let Err(FrameError::Fatal(violation)) = decode_frame(Encoding::Json, text.as_bytes(), &Limits::default())
        else {
            panic!("{text}");
        };
        assert_eq!(violation.code, ErrorCode::InvalidJson, "{text}");
    }
    let broken: [&[u8]; 12] = [
        b"",
        b"\xc1",
        b"\x81\xa6credit",
        b"\x81\xa6credit\x01\x01",
        b"\x81\xa6credit\xc1",
        b"\x81\xa6cred",
        b"\x81\xa3ack\xa2\xff\xfe",
        b"\x81\xa1\xff\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff\x01",
        b"\xdb\xff\xff\xff\xff\x01",
        b"\xc9\xff\xff\xff\xff\x01",
    ];
    for bytes in broken {
        let Err(FrameError::Fatal(violation)) = decode_frame(Encoding::MessagePack, bytes, &Limits::default()) else {
            panic!("{bytes:x?}");
        };
        assert_eq!(violation.code, ErrorCode::DecodeError, "{bytes:x?}");
    }
}

#[test]
fn messagepack_takes_any_form_of_map_text_and_integer() {
    let keys: [&[u8]; 4] = [b"\xa6credit", b"\xd9\x06credit", b"\xda\x00\x06credit", b"\xdb\x00\x00\x00\x06credit"];
    let maps: [&[u8]; 3] = [b"\x81", b"\xde\x00\x01", b"\xdf\x00\x00\x00\x01"];
    let fives: [&[u8]; 11] = [
        b"\x05",
        b"\xcc\x05",
        b"\xcd\x00\x05",
        b"\xce\0\0\0\x05",
        b"\xcf\0\0\0\0\0\0\0\x05",
        b"\xd0\x05",
        b"\xd1\0\x05",
        b"\xd2\0\0\0\x05",
        b"\xd3\0\0\0\0\0\0\0\x05",
        b"\xca\x40\xa0\0\0",
        b"\xcb\x40\x14\0\0\0\0\0\0",
    ];
    for map in maps {
        for key in keys {
            for five in fives {
                let bytes = [map, key, five].concat();
                assert_eq!(
                    decode_frame(Encoding::MessagePack, &bytes, &Limits::default()),
                    Ok(Frame::Credit(5)),
                    "{bytes:x?}"
                );
            }
        }
    }
    for wrong in [
        &b"\xcb\x40\x14\0\0\0\0\0\x01"[..],
        b"\xcb\x7f\xf0\0\0\0\0\0\0",
        b"\xcb\x7f\xf8\0\0\0\0\0\0",
        b"\xff",
        b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let bytes = [b"\x81\xa6credit", wrong].concat();
        assert!(
            matches!(decode_frame(Encoding::MessagePack, &bytes, &Limits::default()), Err(FrameError::Fatal(_))),
            "{bytes:x?}"
        );
    }
}

#[test]
fn messagepack_ids_are_text_and_payloads_may_be_anything() {
    let bytes = b"\x81\xa3ack\xc4\x01a";
    assert!(matches!(decode_frame(Encoding::MessagePack, bytes, &Limits::default()), Err(FrameError::Fatal(_))));
    // {"to":"s","envelope":{1:bin,nil:ext,[1]:{..},"id":"m"}}
    let bytes = b"\x82\xa2to\xa1s\xa8envelope\x84\x01\xc4\x02\xff\xfe\xc0\xd6\xff\0\0\0\0\x91\x01\x81\xc4\x01\xff\x01\xa2id\xa1m";
    let publish = decode_publish(Encoding::MessagePack, bytes, &Limits::default()).unwrap();
    assert_eq!(publish.envelope.id, EnvelopeId::Given(b"m".into()));
    assert_eq!(publish.envelope.bytes, &bytes[15..]);
}
