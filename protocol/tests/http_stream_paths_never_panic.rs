//! Whatever stands in a path below `/v1/streams`, in its query, in the fields or in the body: the session answers, once a
//! request, strictly HTTP, and the same however the bytes are cut. A name that reaches the shard is a checked one.

mod http_wire;

use conduit_protocol::Limits;
use http_wire::{Answering, Peer, Response};
use proptest::prelude::*;

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["GET", "PUT", "DELETE", "POST"]).prop_map(str::to_owned),
        1 => "[A-Z]{1,8}",
    ]
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec!["v1", "streams", "groups", "purge", "messages", "redrive", "a", "", "..", "$a"])
            .prop_map(str::to_owned),
        2 => "(%[0-9a-fA-F]{2}|[a-z]|%){0,6}",
        1 => prop::sample::select(vec!["%2F", "%00", "%24x", "%c3%a9", "%ff", "%", "%zz", "%25"]).prop_map(str::to_owned),
    ]
}

fn target() -> impl Strategy<Value = String> {
    let query = prop_oneof![
        Just(String::new()),
        "\\?(from|limit|group)=[0-9a-z:%]{0,21}(&(from|limit|[a-z%]{0,4})=?[0-9%]{0,5}){0,3}",
    ];
    let anywhere = prop::collection::vec(segment(), 0..5).prop_map(|segments| format!("/{}", segments.join("/")));
    let below =
        prop::collection::vec(segment(), 0..4).prop_map(|segments| format!("/v1/streams/{}", segments.join("/")));
    let known = prop::sample::select(vec!["", "/purge", "/messages", "/redrive", "/groups/", "/groups/g", "/%70urge"]);
    let object = (segment(), known).prop_map(|(name, rest)| format!("/v1/streams/{name}{rest}"));
    (prop_oneof![1 => anywhere, 1 => below, 4 => object], query).prop_map(|(path, query)| path + &query)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let member = prop::sample::select(vec![
        r#""retention":{"policy":"log","maxAgeMs":5}"#,
        r#""retention":{"maxBytes":5}"#,
        r#""durability":"commit""#,
        r#""durability":{"interval":7}"#,
        r#""maxMessages":1"#,
        r#""maxDeliver":0"#,
        r#""deadLetterExpired":true"#,
        r#""dedupWindowMs":86400001"#,
        r#""from":"time:1970-01-01T00:00:00Z""#,
        r#""ackWaitMs":1"#,
        r#""max\u0042ytes":18446744073709551615"#,
    ]);
    prop_oneof![
        2 => Just(Vec::new()),
        4 => prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")).into_bytes()),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![b'['; 300]),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let headers = prop::sample::select(vec![
        "",
        "Content-Type: application/msgpack\r\n",
        "Content-Type: application/x-ndjson\r\n",
        "Accept: application/msgpack\r\n",
        "Idempotency-Key: \"a\r\n",
        "Expect: 100-continue\r\n",
    ]);
    (method(), target(), headers, body())
        .prop_map(|(method, target, headers, body)| http_wire::request(&method, &target, headers, body))
}

/// The name that a command has, if it is about one stream.
fn name_of(command: &str) -> Option<&str> {
    command.strip_prefix("Stream(StreamCommand { stream: \"")?.split("\", action: ").next()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_request_is_answered_once(requests in prop::collection::vec(request(), 1..5), draining: bool, cuts in prop::collection::vec(1..50_usize, 0..8)) {
        let limits = || Limits { settings_bytes_max: 100, stream_name_bytes_max: 4, ..Limits::default() };
        let mut whole = Peer::with(limits(), Answering::AtOnce);
        whole.draining = draining;
        for request in &requests {
            if !whole.is_closed {
                whole.feed(request);
            }
        }
        let responses = Response::parse_all(&whole.out);
        let answered = responses.iter().filter(|response| response.status != 100).count();
        prop_assert!(answered == requests.len() || whole.is_closed, "{} of {}", answered, requests.len());
        for name in whole.commands.iter().filter_map(|command| name_of(command)) {
            prop_assert!(!name.is_empty() && !name.starts_with('$') && !name.contains("\\0"), "{}", name);
        }
        let mut pieces = Peer::with(limits(), Answering::AtOnce);
        pieces.draining = draining;
        let wire = requests.concat();
        let mut rest = &wire[..];
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            if !pieces.is_closed {
                pieces.feed(piece);
            }
            rest = after;
        }
        if !pieces.is_closed {
            pieces.feed(rest);
        }
        prop_assert_eq!(&pieces.commands, &whole.commands);
    }
}

#[test]
fn the_requests_of_this_test_reach_the_shard() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut commands = Vec::new();
    for _ in 0..3_000 {
        let mut peer = Peer::new();
        peer.feed(request().new_tree(&mut runner).unwrap().current());
        commands.extend(peer.commands);
    }
    for action in
        ["Describe", "Put(", "Delete ", "Purge", "Peek", "Redrive", "DescribeGroup", "PutGroup", "DeleteGroup"]
    {
        let reached = commands.iter().filter(|command| command.contains(&format!("action: {action}"))).count();
        assert!(reached > 0, "no request asks for {action}");
    }
}
