//! Each setting of a stream or group has its type and its bounds, the same in both encodings; what is wrong is named.

use conduit_protocol::codec::{decode_group_settings, decode_stream_settings};
use conduit_protocol::streams::{Durability, GroupSettings, Policy, Retention, StreamSettings};
use conduit_protocol::{Encoding, ErrorCode, From, Limits, Seq, Violation};
use proptest::prelude::*;
use serde_json::{Value, json};

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::MessagePack];

fn encode(encoding: Encoding, value: &Value) -> Vec<u8> {
    match encoding {
        Encoding::Json => serde_json::to_vec(value).unwrap(),
        Encoding::MessagePack => rmp_serde::to_vec(value).unwrap(),
    }
}

/// The same judgement in both encodings.
fn both<T: PartialEq + std::fmt::Debug>(
    value: &Value,
    decode: impl Fn(Encoding, &[u8], &Limits) -> Result<T, Violation>,
) -> Result<T, Violation> {
    let [json, msgpack] = BOTH.map(|encoding| decode(encoding, &encode(encoding, value), &Limits::default()));
    assert_eq!(json, msgpack, "{value}");
    json
}

fn stream(value: &Value) -> Result<StreamSettings, Violation> {
    both(value, decode_stream_settings)
}

fn group(value: &Value) -> Result<(From, GroupSettings), Violation> {
    both(value, decode_group_settings)
}

/// The complaint is about this member.
fn names(result: Result<impl std::fmt::Debug, Violation>, member: &str, value: &Value) {
    let violation = result.expect_err(&value.to_string());
    assert_eq!(violation.code, ErrorCode::InvalidField, "{value}: {violation}");
    assert!(violation.message.contains(&format!("`{member}`")), "{value}: {violation}");
}

#[test]
fn nothing_changes_nothing() {
    for encoding in BOTH {
        assert_eq!(decode_stream_settings(encoding, b"", &Limits::default()), Ok(StreamSettings::default()));
        assert_eq!(decode_group_settings(encoding, b"", &Limits::default()), Ok(Default::default()));
    }
    assert_eq!(stream(&json!({})), Ok(StreamSettings::default()));
    assert_eq!(group(&json!({})), Ok((From::First, GroupSettings::default())));
    let spaces = decode_stream_settings(Encoding::Json, b" {\n} ", &Limits::default());
    assert_eq!(spaces, Ok(StreamSettings::default()));
}

#[test]
fn numbers_have_bounds() {
    let over = json!(18_446_744_073_709_551_616.0);
    for (member, good, bad) in [
        ("maxMessages", vec![json!(1), json!(u64::MAX)], vec![json!(0)]),
        ("maxBytes", vec![json!(1), json!(u64::MAX)], vec![json!(0)]),
        ("maxDeliver", vec![json!(0), json!(u32::MAX)], vec![json!(u64::from(u32::MAX) + 1)]),
        ("dedupWindowMs", vec![json!(0), json!(86_400_000)], vec![json!(86_400_001)]),
    ] {
        for value in good {
            let settings = stream(&json!({ member: value })).unwrap();
            assert_eq!(serde_json::to_value(settings).unwrap(), json!({ member: value }));
        }
        let wrong = [json!(-1), json!(1.5), json!("1"), json!(null), json!([1]), json!({}), json!(true), over.clone()];
        for value in bad.into_iter().chain(wrong) {
            let value = json!({ member: value });
            names(stream(&value), member, &value);
        }
    }
    assert_eq!(group(&json!({"ackWaitMs": 1, "maxDeliver": 0})).unwrap().1.ack_wait_ms, Some(1));
    for value in [json!({"ackWaitMs": 0}), json!({"ackWaitMs": "1"}), json!({"maxDeliver": -1})] {
        let member = value.as_object().unwrap().keys().next().unwrap().clone();
        names(group(&value), &member, &value);
    }
}

#[test]
fn a_switch_is_true_or_false() {
    assert_eq!(stream(&json!({"deadLetterExpired": true})).unwrap().dead_letter_expired, Some(true));
    assert_eq!(stream(&json!({"deadLetterExpired": false})).unwrap().dead_letter_expired, Some(false));
    for wrong in [json!(1), json!("true"), json!(null), json!([])] {
        let value = json!({ "deadLetterExpired": wrong });
        names(stream(&value), "deadLetterExpired", &value);
    }
}

#[test]
fn durability_is_one_of_three() {
    let durability =
        |value: Value| stream(&json!({ "durability": value })).map(|settings| settings.durability.unwrap());
    assert_eq!(durability(json!("commit")), Ok(Durability::Commit));
    assert_eq!(durability(json!("memory")), Ok(Durability::Memory));
    assert_eq!(durability(json!({"interval": 1})), Ok(Durability::Interval(1)));
    assert_eq!(durability(json!({"interval": 60_000})), Ok(Durability::Interval(60_000)));
    for wrong in [json!("disk"), json!("interval"), json!(""), json!(1), json!(null), json!(["commit"]), json!({})] {
        let value = json!({ "durability": wrong });
        names(stream(&value), "durability", &value);
    }
    for wrong in [json!(0), json!(60_001), json!("1"), json!(-1)] {
        let value = json!({"durability": {"interval": wrong}});
        names(stream(&value), "durability.interval", &value);
    }
    let value = json!({"durability": {"interval": 5, "ms": 5}});
    names(stream(&value), "ms", &value);
}

#[test]
fn retention_is_a_policy_and_its_amounts() {
    let retention = |value: Value| stream(&json!({ "retention": value })).map(|settings| settings.retention.unwrap());
    let log = Retention { policy: Policy::Log, max_age_ms: 1, max_bytes: 2, max_messages: u64::MAX };
    let whole = json!({"policy": "log", "maxAgeMs": 1, "maxBytes": 2, "maxMessages": u64::MAX});
    assert_eq!(retention(whole), Ok(log));
    assert_eq!(retention(json!({"policy": "log"})), Ok(Retention { policy: Policy::Log, ..Retention::default() }));
    assert_eq!(retention(json!({"policy": "work"})), Ok(Retention::default()));
    assert_eq!(retention(json!({})), Ok(Retention::default()));
    // What changes nothing contradicts nothing.
    assert_eq!(retention(json!({"policy": "work", "maxAgeMs": 0})), Ok(Retention::default()));
    for (wrong, member) in [
        (json!("log"), "retention"),
        (json!(null), "retention"),
        (json!({"policy": "Log"}), "retention.policy"),
        (json!({"policy": null}), "retention.policy"),
        (json!({"policy": "log", "maxAgeMs": -1}), "retention.maxAgeMs"),
        (json!({"policy": "log", "maxBytes": "1"}), "retention.maxBytes"),
        (json!({"policy": "log", "maxMessages": 0.5}), "retention.maxMessages"),
        (json!({"policy": "work", "maxAgeMs": 1}), "retention.maxAgeMs"),
        (json!({"maxBytes": 1}), "retention.maxBytes"),
        (json!({"policy": "work", "maxMessages": 1}), "retention.maxMessages"),
        (json!({"policy": "log", "maxAge": 1}), "maxAge"),
    ] {
        let value = json!({ "retention": wrong });
        names(stream(&value), member, &value);
    }
}

#[test]
fn a_group_begins_where_from_says() {
    for (text, from) in [
        ("first", From::First),
        ("new", From::New),
        ("seq:7", From::Seq(Seq(7))),
        ("time:1970-01-01T00:00:01+00:00", From::TimeUnixMs(1_000)),
        ("last:9", From::Last(9)),
    ] {
        assert_eq!(group(&json!({ "from": text })).unwrap().0, from);
    }
    for wrong in [json!("seq:0"), json!("oldest"), json!(""), json!(7), json!(null)] {
        let value = json!({ "from": wrong });
        names(group(&value), "from", &value);
    }
}

#[test]
fn strange_members_are_named_and_not_ignored() {
    for (value, member) in [
        (json!({"maxmessages": 1}), "maxmessages"),
        (json!({"from": "first"}), "from"),
        (json!({"ackWaitMs": 1}), "ackWaitMs"),
        (json!({"": 1}), ""),
        (json!({"maxMessages": 1, "größe": {"deep": [1]}}), "größe"),
    ] {
        names(stream(&value), member, &value);
    }
    names(group(&json!({"retention": {}})), "retention", &json!(null));
    let long = json!({ "é".repeat(1_000): 1 });
    assert!(stream(&long).unwrap_err().message.len() < 120);
}

#[test]
fn a_setting_comes_once() {
    for text in [
        r#"{"maxBytes":1,"maxBytes":1}"#,
        r#"{"maxBytes":1,"max\u0042ytes":1}"#,
        r#"{"retention":{"policy":"log","policy":"log"}}"#,
        r#"{"durability":{"interval":1,"interval":1}}"#,
        r#"{"durability":"commit","durability":"commit"}"#,
    ] {
        let violation = decode_stream_settings(Encoding::Json, text.as_bytes(), &Limits::default()).unwrap_err();
        assert_eq!(violation.code, ErrorCode::InvalidField, "{text}");
        assert!(violation.message.contains("appears twice"), "{text}: {violation}");
    }
    let twice = b"\x82\xaamaxDeliver\x01\xaamaxDeliver\x01";
    let violation = decode_group_settings(Encoding::MessagePack, twice, &Limits::default()).unwrap_err();
    assert_eq!(violation.code, ErrorCode::InvalidField);
}

#[test]
fn what_is_no_object_of_settings_is_told_as_what_it_is() {
    for value in [json!([]), json!(1), json!("commit"), json!(null), json!([{"maxBytes": 1}])] {
        assert_eq!(stream(&value).unwrap_err().code, ErrorCode::InvalidField, "{value}");
        assert_eq!(group(&value).unwrap_err().code, ErrorCode::InvalidField, "{value}");
    }
    // What is no value at all is told before a setting that is wrong.
    for text in
        [" ", "{", r#"{"maxBytes":0"#, r#"{"maxBytes":0}}"#, r#"{"maxBytes":01}"#, r#"{"deadLetterExpired":tru}"#]
    {
        let result = decode_stream_settings(Encoding::Json, text.as_bytes(), &Limits::default());
        assert_eq!(result.unwrap_err().code, ErrorCode::InvalidJson, "{text}");
    }
    for bytes in [&b"\xc1"[..], b"\x81\xa8maxBytes", b"\x81\xa8maxBytes\x00\x00", b"\x81\xa3abc\xa1\xff"] {
        let result = decode_stream_settings(Encoding::MessagePack, bytes, &Limits::default());
        assert_eq!(result.unwrap_err().code, ErrorCode::DecodeError, "{bytes:?}");
    }
    let flat = Limits { depth_max: 1, ..Limits::default() };
    let deep = decode_stream_settings(Encoding::Json, br#"{"retention":{}}"#, &flat);
    assert_eq!(deep.unwrap_err().code, ErrorCode::DepthExceeded);
    assert!(decode_stream_settings(Encoding::Json, br#"{"maxBytes":1}"#, &flat).is_ok());
}

fn stream_settings() -> impl Strategy<Value = StreamSettings> {
    let amount = || prop_oneof![Just(0), any::<u64>()];
    let log = (amount(), amount(), amount()).prop_map(|(max_age_ms, max_bytes, max_messages)| Retention {
        policy: Policy::Log,
        max_age_ms,
        max_bytes,
        max_messages,
    });
    let durability = prop_oneof![
        Just(Durability::Commit),
        Just(Durability::Memory),
        (1..=60_000_u64).prop_map(Durability::Interval)
    ];
    (
        prop::option::of(prop_oneof![Just(Retention::default()), log]),
        prop::option::of(durability),
        prop::option::of(1..=u64::MAX),
        prop::option::of(1..=u64::MAX),
        prop::option::of(any::<u32>()),
        prop::option::of(any::<bool>()),
        prop::option::of(0..=86_400_000_u64),
    )
        .prop_map(
            |(retention, durability, max_messages, max_bytes, max_deliver, dead_letter_expired, dedup_window_ms)| {
                StreamSettings {
                    retention,
                    durability,
                    max_messages,
                    max_bytes,
                    max_deliver,
                    dead_letter_expired,
                    dedup_window_ms,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_serde_writes_is_read_as_it_was(settings in stream_settings(), ack_wait_ms in prop::option::of(1..=u64::MAX), max_deliver in prop::option::of(any::<u32>())) {
        let value = serde_json::to_value(&settings).unwrap();
        prop_assert_eq!(stream(&value), Ok(settings.clone()));
        let packed = rmp_serde::to_vec_named(&settings).unwrap();
        prop_assert_eq!(decode_stream_settings(Encoding::MessagePack, &packed, &Limits::default()), Ok(settings));
        let settings = GroupSettings { ack_wait_ms, max_deliver };
        let value = serde_json::to_value(&settings).unwrap();
        prop_assert_eq!(group(&value), Ok((From::First, settings)));
    }
}
