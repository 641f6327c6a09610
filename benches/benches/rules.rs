//! What rules cost a request: none, the standard few, and a thousand in shapes that make them hard to find.

use conduit_protocol::rules::condition::{Condition, Methods};
use conduit_protocol::rules::expression::Expression;
use conduit_protocol::rules::glob::Glob;
use conduit_protocol::rules::path::PathPattern;
use conduit_protocol::rules::reply::{ErrorReplies, HttpReply, Phase, Replies};
use conduit_protocol::rules::ruleset::{RuleSpec, Send};
use conduit_protocol::rules::selector::{EnvLookup, Names, Uses};
use conduit_protocol::rules::template::Template;
use conduit_protocol::rules::{Body, HeadView, Rules};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const COUNT: usize = 1_000;

fn rule(nth: usize, when: Condition) -> RuleSpec {
    let http = HttpReply {
        status: Template::Literal(200.into()),
        headers: Vec::new(),
        body: Some(Template::Literal(serde_json::json!({"ok": true}))),
    };
    RuleSpec {
        id: format!("rule-{nth}"),
        tenant: None,
        phase: Phase::Http,
        when,
        variables: Vec::new(),
        asserts: Vec::new(),
        send: Send::Answer(Replies { http: Some(http), ws: None }),
        on_error: ErrorReplies::default(),
        then: Vec::new(),
        auth_required: None,
        rate: None,
    }
}

fn rules(when: impl Fn(usize) -> Condition) -> Rules {
    Rules::compile((0..COUNT).map(|nth| rule(nth, when(nth))).collect(), ErrorReplies::default())
}

fn get_at(path: &str) -> Condition {
    let methods = Methods::default().with("GET").expect("a method");
    let path = PathPattern::parse(path).expect("a path");
    Condition::All(Box::new([Condition::Method(methods), Condition::Path(path)]))
}

fn both(one: Condition, other: Condition) -> Condition {
    Condition::All(Box::new([one, other]))
}

fn expression(text: &str) -> Condition {
    let names = Names {
        variables: &[],
        later: &[],
        available: Uses::HEAD.and(Uses::ALWAYS),
        params: &[],
        env: &|_| EnvLookup::NotAllowed,
    };
    Condition::Where(Expression::parse(text, &names).expect("an expression"))
}

/// Header fields of a usual request.
const HEADERS: &[(&str, &[u8])] = &[
    ("host", b"localhost:9087"),
    ("user-agent", b"bench/1.0"),
    ("accept", b"*/*"),
    ("content-type", b"application/json"),
    ("content-length", b"120"),
    ("x-kind", b"kind-999"),
];

fn measure(c: &mut Criterion) {
    let fields: Vec<httparse::Header<'_>> =
        HEADERS.iter().map(|(name, value)| httparse::Header { name, value }).collect();
    let fields = &*fields;
    let head = |path: &'static str| HeadView {
        method: "GET",
        path,
        query: "kind=kind-999",
        headers: black_box(&fields),
        tenant: "",
        now_unix_ms: 0,
    };
    let missed = head("/v1/stats");
    let mut group = c.benchmark_group("rules");

    let none = Rules::default();
    group.bench_function("none", |b| b.iter(|| black_box(&none).request(black_box(&missed)).is_empty()));

    let literal = rules(|nth| get_at(&format!("/hooks/{nth}/in")));
    let globs = rules(|nth| get_at(&format!("/hooks/{nth}/*")));
    let endings = rules(|nth| get_at(&format!("/*/in-{nth}")));
    let params = rules(|nth| get_at(&format!("/tenants/{{tenant}}/in-{nth}")));
    let patterns = rules(|nth| get_at(&format!("/^\\/hooks\\/[a-z]+\\/in-{nth}$/")));
    let headers =
        rules(|nth| both(get_at("/hook"), Condition::Header("x-kind".into(), Glob::new(&format!("kind-{nth}")))));
    let queries =
        rules(|nth| both(get_at("/hook"), Condition::Query("kind".into(), Glob::new(&format!("kind-{nth}")))));
    let anywhere = rules(|nth| expression(&format!("$query.kind == 'kind-{nth}' and not exists $query.dry")));
    let blind = rules(|nth| expression(&format!("$headers.x-kind matches /^kind-{nth}$/")));
    for (name, rules, hit) in [
        ("literal paths", &literal, "/hooks/999/in"),
        ("globs by their beginning", &globs, "/hooks/999/x"),
        ("globs by their end", &endings, "/some/where/in-999"),
        ("parameters", &params, "/tenants/acme/in-999"),
        ("patterns", &patterns, "/hooks/abc/in-999"),
        ("one path, by header", &headers, "/hook"),
        ("one path, by query", &queries, "/hook"),
        ("any path, by expression", &anywhere, "/hook"),
        // Nothing tells these apart but looking at each: the check warns of such a file.
        ("any path, by pattern in an expression", &blind, "/hook"),
    ] {
        let hit = head(hit);
        assert!(!rules.request(&hit).is_empty(), "{name}");
        group.bench_function(format!("1000 {name}: missed"), |b| {
            b.iter(|| black_box(rules).request(black_box(&missed)).is_empty());
        });
        group.bench_function(format!("1000 {name}: selected"), |b| {
            b.iter(|| black_box(rules).request(black_box(&hit)).is_empty());
        });
        group.bench_function(format!("1000 {name}: answered"), |b| {
            b.iter(|| black_box(rules).request(black_box(&hit)).run(&hit, Body::Absent));
        });
    }
    group.finish();
}

criterion_group!(benches, measure);
criterion_main!(benches);
