//! Whatever words a rule answers an error with, the access log says which error it was, of which rule, and why; and the words may
//! be made of it.

mod rules_server;

use conduit_protocol::access_log::LogFile;
use rules_server::http_wire::{get, post, upgrade};
use rules_server::{lines, peer, said, tell};

const RULES: &str = r#"
  - id: hook
    when: {http: {method: POST, path: /hook}}
    assert:
      - {that: $body.n > 0, code: BadSum, status: 422, message: "the secret is $body.secret"}
      - $body.n < 10
    send: {http: {status: "$body.status", body: {n: $body.n}}}
    onError: {"*": {http: {status: 499, body: {why: $error.detail, all: $error}}}}
  - id: plain
    when: {http: {method: POST, path: /plain}}
    send: {http: {status: 200, body: {n: $body.n}}}
  - id: rare
    when: {http: {method: POST, path: /rare}, where: $body.n == 1}
    rateLimit: 1
    send: {http: {status: 200}}
  - id: bye
    when: {ws: {path: /v1/publish, message: {json.has: bye}}}
    send: {ws: {body: {see: you}, close: {code: 4001}}}
  - id: want
    when: {ws: {path: /v1/publish, message: {json.has: want}}}
    assert: {that: $message.want == 1, code: NotThat}
    send: {ws: {body: {ok: true}}}
    onError: {"*": {ws: {body: {no: $error.detail}}}}
"#;

/// Error, code, reason and rule of the one line of a request.
fn told(body: &str, path: &str) -> [String; 4] {
    let mut peer = peer(RULES);
    peer.ask_one(post(path, "", body));
    let lines = lines(&mut peer, LogFile::Http);
    assert_eq!(lines.len(), 1);
    ["error", "code", "reason", "ruleMatch"].map(|name| lines[0][name].as_str().unwrap_or_default().to_owned())
}

#[test]
fn an_error_in_a_rules_words_is_logged_as_what_it_is() {
    let [error, code, reason, rule] = told("{", "/hook");
    assert_eq!([&*error, &*code, &*rule], ["decode_error", "InvalidJSON", "hook"]);
    assert!(reason.contains("byte"), "{reason}");
    let [error, code, reason, rule] = told(r#"{"n":1,"status":7}"#, "/hook");
    assert_eq!([&*error, &*code, &*rule], ["internal_error", "Internal", "hook"]);
    assert!(reason.contains("status"), "{reason}");
    let [error, code, reason, _] = told(r#"{"n":11}"#, "/hook");
    assert_eq!([&*error, &*code], ["invalid_request", "InvalidField"]);
    assert!(reason.contains("$body.n < 10"), "{reason}");
    // The usual words are logged likewise.
    assert_eq!(told("{", "/plain")[..2], ["decode_error".to_owned(), "InvalidJSON".to_owned()]);
}

#[test]
fn a_code_of_the_rules_own_is_logged_and_its_sentence_is_not() {
    let told = told(r#"{"n":0,"secret":"s3cr3t"}"#, "/hook");
    assert_eq!(told, ["BadSum", "BadSum", "", "hook"].map(str::to_owned));
}

#[test]
fn a_refusal_by_a_rules_rate_names_the_rule() {
    let mut peer = peer(RULES);
    for status in [200, 429] {
        assert_eq!(peer.ask_one(post("/rare", "", r#"{"n":1}"#)).status, status);
    }
    let line = &lines(&mut peer, LogFile::Http)[1];
    assert_eq!((line["ruleMatch"].as_str(), line["code"].as_str()), (Some("rare"), Some("RateLimitExceeded")));
}

#[test]
fn the_detail_of_an_error_is_there() {
    let mut peer = peer(RULES);
    let answer = peer.ask_one(post("/hook", "", "{"));
    let why = answer.json()["why"].as_str().expect("a detail").to_owned();
    assert!(why.contains("byte"), "{why}");
    assert_eq!(answer.json()["all"]["detail"].as_str(), Some(&*why));
    let usual = peer.ask_one(post("/plain", "", "{")).json();
    assert_eq!(usual["detail"], usual["message"]);
}

#[test]
fn a_websocket_is_logged_with_the_rules_close_code_and_the_errors_of_rules() {
    let mut peer = peer(RULES);
    peer.feed(upgrade("/v1/publish", ""));
    assert_eq!(tell(&mut peer, r#"{"want":2}"#), [r#"{"no":"the request must have: $message.want == 1"}"#]);
    peer.feed(rules_server::message(r#"{"bye":1}"#));
    assert_eq!(said(&mut peer)[1], "close 4001");
    peer.hang_up();
    let lines = lines(&mut peer, LogFile::Ws);
    let error = lines.iter().find(|line| line["event"] == "error").expect("the error has a line");
    assert_eq!((error["error"].as_str(), error["code"].as_str()), (Some("NotThat"), Some("NotThat")));
    let last = lines.last().expect("a last line");
    assert_eq!((last["event"].as_str(), last["closeCode"].as_u64()), (Some("disconnect"), Some(4_001)));
}

#[test]
fn a_drain_is_not_hidden_by_a_rule_about_health() {
    let mut peer =
        peer("  - {id: fine, when: {http: {path: /health}}, send: {http: {status: 200, body: {fine: true}}}}");
    assert_eq!(peer.ask_one(get("/health", "")).json()["fine"], true);
    assert!(peer.commands.is_empty());
    peer.draining = true;
    peer.feed(get("/health", ""));
    assert_eq!(peer.commands, ["report Health"]);
}
