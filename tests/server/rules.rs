//! A rules file in a running server: requests, handshakes and messages are answered as it says.

use super::common::http::{Http, request};
use super::common::server::{Server, Start};
use super::common::ws::Ws;
use serde_json::{Value, json};
use std::path::PathBuf;

const RULES: &str = r#"
version: proto-dsl/v0
rules:
  - id: status-page
    when: {http: {method: GET, path: /status}}
    send: {http: {status: 200, headers: {x-served-by: rules}, body: {service: conduit, ok: true}}}

  - id: hook
    when: {http: {method: POST, path: "/hooks/{source}", headers: {x-source: "ci*"}}}
    send:
      frame:
        type: enqueue
        fields: {to: hooks/$params.source, envelope: {id: $body.id, payload: $body}}
        respond: {http: {status: 202, headers: {location: "/hooks/$result.id"}, body: {accepted: true, id: $result.id, seq: $result.seq}}}
    onError:
      InvalidEnvelope: {http: {status: 422, body: {error: bad hook}}}
      InvalidStream: {http: {status: 404, body: {error: no such hook}}}

  - id: depth
    when: {http: {method: GET, path: /depth}}
    send:
      frame:
        type: stats
        fields: {stream: $query.name}
        respond: {http: {status: 200, body: {name: $query.name, depth: $result.depth}}}
    onError:
      "*": {http: {status: 200, body: {name: $query.name, depth: 0, why: $error.code}}}

  - id: audited
    when: {http: {method: POST, path: /audited}}
    send: {http: {status: 200, body: {seen: $body.n}}}
    onComplete: {frame: {type: enqueue, fields: {to: audit, envelope: {n: $body.n, from: $path}}}}

  - id: rare
    when: {http: {method: GET, path: /rare}}
    rateLimit: {perMinute: 1, burst: 3, by: all}
    send: {http: {status: 200, body: {ok: true}}}
    onError: {RateLimitExceeded: {http: {status: 429, body: {slow: down}}}}

  - id: only-json
    when: {http: {method: POST, path: /typed, contentType: application/json}}
    send: {http: {status: 200, body: {typed: true}}}

  - id: who
    when: {http: {path: /who}}
    send: {frame: {type: hello}}

  - id: big-enough
    when: {http: {method: POST, path: /v1/enqueue}, where: $body.envelope.n > 100}
    send: {http: {status: 403, body: {error: too large a number}}}

  - id: tail
    when: {ws: {path: "/tail/{name}"}}
    send:
      frame:
        type: subscribe
        fields: {stream: tails/$params.name, credit: "10", refill: ack}
        respond: {ws: {body: {following: $result.subscribed}}}

  - id: lobby
    when: {ws: {path: /lobby}}
    send: {ws: {body: {welcome: $query.name}}}

  - id: say
    when: {ws: {path: /lobby, message: {json.has: say}}}
    send:
      frame:
        type: enqueue
        fields: {to: lobby, envelope: {said: $message.say}}
        respond: {ws: {body: {said: $result.seq}}}

  - id: bye
    when: {ws: {path: /lobby, message: {json.match: {bye: true}}}}
    send: {ws: {body: {bye: true}, close: {code: 4000, reason: as you wish}}}

  - id: ping
    when: {ws: {path: /lobby, message: {json.has: ping}}}
    rateLimit: {perMinute: 1, burst: 3, by: all}
    send: {ws: {body: {pong: true}}}
"#;

/// A server with these rules, and the file, which goes with the test's directory.
fn server(shards: usize, more: &str) -> Server {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("rules-{}-{shards}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(format!("{}.yaml", more.len()));
    std::fs::write(&file, RULES).expect("written");
    Start::new().shards(shards).flags(more).flags(&format!("--rules {}", file.display())).serve()
}

fn post(http: &mut Http, target: &str, fields: &str, body: &str) -> super::common::http::Response {
    let length = body.len();
    http.send(
        format!("POST {target} HTTP/1.1\r\nhost: x\r\n{fields}content-length: {length}\r\n\r\n{body}").as_bytes(),
    );
    http.response()
}

#[test]
fn a_rule_answers_from_the_head_alone() {
    let server = server(1, "");
    let response = server.get("/status");
    assert_eq!((response.status, response.field("x-served-by")), (200, Some("rules")));
    assert_eq!(response.json(), json!({"service": "conduit", "ok": true}));
    let mut http = Http::connect(server.http);
    http.send(b"HEAD /status HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(http.head().field("content-length"), Some("31"));
    http.send(b"GET /status HTTP/1.1\r\nhost: x\r\nx-codec: msgpack\r\n\r\n");
    let packed = http.response();
    assert_eq!(packed.field("content-type"), Some("application/msgpack"));
    assert_eq!(packed.body[0], 0x82, "a map of two");
    assert_eq!(http.get("/who").json()["version"], json!("v1"));
}

#[test]
fn a_rule_that_does_not_apply_leaves_the_request_to_the_server() {
    let server = server(1, "");
    let mut http = Http::connect(server.http);
    for (target, fields, status) in [
        ("/hooks/build", "", 404),
        ("/typed", "content-type: text/plain\r\n", 404),
        ("/typed", "content-type: application/json; charset=utf-8\r\n", 200),
    ] {
        let response = post(&mut http, target, fields, "{}");
        assert_eq!(response.status, status, "{target} {fields}: {}", response.text());
        assert!(response.json().is_object());
    }
    assert_eq!(http.enqueue("s", &json!({"n": 100})).status, 200);
    let refused = http.enqueue("s", &json!({"n": 101}));
    assert_eq!((refused.status, refused.json()), (403, json!({"error": "too large a number"})));
    assert_eq!(server.stats("s")["depth"], json!(1));
}

#[test]
fn a_frame_is_said_to_the_broker_and_answered_with_what_came_of_it() {
    for shards in [1, 3] {
        let server = server(shards, "");
        let mut http = Http::connect(server.http);
        for (n, source) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
            let target = format!("/hooks/{source}");
            let response = post(&mut http, &target, "x-source: ci-7\r\n", &json!({"id": source, "n": n}).to_string());
            assert_eq!(
                (response.status, response.field("location").unwrap_or("")),
                (202, &*format!("/hooks/{source}"))
            );
            assert_eq!(response.json(), json!({"accepted": true, "id": source, "seq": 1}));
            let depth = http.get(&format!("/depth?name=hooks/{source}"));
            assert_eq!(depth.json(), json!({"name": format!("hooks/{source}"), "depth": 1}), "{shards} shards");
        }
        assert_eq!(
            http.get("/depth?name=nothing").json(),
            json!({"name": "nothing", "depth": 0, "why": "UnknownStream"})
        );
        let broken = post(&mut http, "/hooks/a", "x-source: ci\r\n", "{");
        assert_eq!((broken.status, broken.code()), (400, "InvalidJSON".to_owned()));
        let mut consumer = server.consume("hooks/a", "credit=1");
        assert_eq!(consumer.delivery().envelope["payload"], json!({"id": "a", "n": 0}));
        let hits = &server.metrics()["http"]["ruleHits"];
        assert_eq!((&hits["hook"], &hits["depth"]), (&json!(7), &json!(7)), "{hits}");
    }
}

#[test]
fn answers_of_rules_keep_the_order_of_pipelined_requests() {
    let server = server(2, "");
    let mut http = Http::connect(server.http);
    let mut all = Vec::new();
    for n in 0..50 {
        let body = json!({"n": n}).to_string();
        all.extend_from_slice(&request("/audited", "application/json", body.as_bytes()));
        all.extend_from_slice(format!("GET /depth?name=q{n} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    }
    http.send(&all);
    for n in 0..50 {
        assert_eq!(http.response().json(), json!({"seen": n}));
        assert_eq!(http.response().json()["name"], json!(format!("q{n}")));
    }
    let mut consumer = server.consume("audit", "credit=50");
    let seen: Vec<Value> = consumer.deliveries(50).into_iter().map(|delivery| delivery.envelope["n"].clone()).collect();
    assert_eq!(seen, (0..50).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn the_rate_of_a_rule_holds_across_shards_to_the_last_request() {
    for shards in [1, 3] {
        let server = server(shards, "");
        let statuses: Vec<u16> = (0..20).map(|_| server.get("/rare").status).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 3, "{statuses:?}");
        let refused = server.get("/rare");
        assert_eq!((refused.status, refused.json()), (429, json!({"slow": "down"})));
        assert!(refused.field("retry-after").is_some());
    }
}

#[test]
fn a_rule_makes_a_subscription_of_a_path() {
    let server = server(3, "");
    server.publish("tails/x", 0..3);
    let mut consumer = Ws::connect(server.ws, "/tail/x");
    assert_eq!(consumer.next(), json!({"following": "tails/x"}));
    let seqs: Vec<u64> = consumer.deliveries(3).iter().map(|delivery| delivery.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
}

#[test]
fn rules_answer_messages_and_close_as_they_say() {
    for shards in [1, 3] {
        let server = server(shards, "");
        let mut guest = Ws::connect(server.ws, "/lobby?name=ann");
        assert_eq!(guest.next(), json!({"welcome": "ann"}));
        for seq in 1..=3 {
            guest.send(json!({"say": "hi"}));
            assert_eq!(guest.next(), json!({"said": seq}));
        }
        // What no rule is about has its usual meaning there.
        guest.send(json!({"enqueue": {"to": "lobby", "envelope": {"said": "plainly"}}, "ref": 1}));
        let answer = guest.next();
        assert_eq!((&answer["ok"]["seq"], &answer["ref"]), (&json!(4), &json!(1)), "{answer}");
        guest.send(json!({"bye": true}));
        assert_eq!(guest.next(), json!({"bye": true}));
        let (errors, code, reason) = guest.end();
        assert_eq!((errors.len(), code, &*reason), (0, 4_000, "as you wish"));
        assert_eq!(server.stats("lobby")["depth"], json!(4));
    }
}

#[test]
fn the_rate_of_a_rule_for_messages_holds_across_shards_and_connections() {
    for shards in [1, 3] {
        let server = server(shards, "");
        let answered = |_| {
            let mut guest = Ws::connect(server.ws, "/lobby");
            guest.next();
            guest.send(json!({"ping": 1}));
            guest.next() == json!({"pong": true})
        };
        assert_eq!((0..9).map(answered).filter(|answered| *answered).count(), 3);
    }
}

#[test]
fn a_body_that_rules_look_into_has_a_limit_of_its_own() {
    let server = server(1, "--max-body 2000");
    let mut http = Http::connect(server.http);
    let body = |bytes: usize| format!(r#"{{"to":"s","envelope":{{"x":"{}"}}}}"#, "x".repeat(bytes));
    assert_eq!(post(&mut http, "/v1/enqueue", "", &body(1_000)).status, 200);
    assert_eq!(post(&mut http, "/v1/enqueue", "", &body(2_000)).status, 413);
}
