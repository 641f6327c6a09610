//! Tenants of a running server: what one has, another does not see; what one may use holds to the last request and to
//! the last connection, over two shards.

use super::common::foreign::mkctl;
use super::common::http::{Http, Response};
use super::common::server::{Server, Start};
use super::common::ws::Ws;
use serde_json::{Value, json};
use std::path::PathBuf;

const TENANTS: &str = "
tenants:
  acme:
    tokens: [acme-secret]
    limits: {rateLimit: 100000, maxConnections: 3}
  globex:
    tokens: [globex-secret]
    limits: {rateLimit: 20}
";

/// A server with these tenants, and `plain` and `control` beside.
fn start(name: &str, shards: usize) -> Server {
    start_with(name, shards, "")
}

fn start_with(name: &str, shards: usize, flags: &str) -> Server {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tenants-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("tenants.yaml");
    std::fs::write(&file, TENANTS).expect("a file");
    Start::new()
        .shards(shards)
        .flags(flags)
        .variable("CONDUIT_TENANT_CONFIG", file.to_str().expect("text"))
        .variable("CONDUIT_TOKENS", "plain")
        .variable("CONDUIT_CONTROL_TOKEN", "control")
        .variable("CONDUIT_PROTECT_METRICS", "true")
        .serve()
}

fn ask(server: &Server, method: &str, target: &str, token: &str, body: &str) -> Response {
    let mut http = Http::connect(server.http);
    let length = body.len();
    http.send(
        format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    );
    http.response()
}

fn publish(server: &Server, token: &str, stream: &str, who: &str) -> Response {
    ask(server, "POST", "/v1/enqueue", token, &json!({"to": stream, "envelope": {"id": who, "who": who}}).to_string())
}

fn consume(server: &Server, token: &str, stream: &str) -> Ws {
    Ws::connect(server.ws, &format!("/v1/subscribe?stream={stream}&credit=100&access_token={token}"))
}

/// Streams of two tenants with one name are two streams, whichever shard each is on.
#[test]
fn tenants_never_see_each_other() {
    let server = start("apart", 2);
    let names: Vec<String> = (0..8).map(|number| format!("shared/{number}")).collect();
    for name in &names {
        assert_eq!(publish(&server, "acme-secret", name, "acme").status, 200);
        assert_eq!(publish(&server, "plain", name, "plain").status, 200);
        let seq = publish(&server, "globex-secret", name, "globex").json()["seq"].clone();
        assert_eq!(seq, 1, "a stream of its own");
    }
    for name in &names {
        let escaped = name.replace('/', "%2F");
        for (token, who) in [("acme-secret", "acme"), ("plain", "plain")] {
            let mut consumer = consume(&server, token, name);
            assert_eq!(consumer.delivery().envelope["who"], who, "{name}");
            consumer.send(json!({"ack": who}));
            consumer.close();
            let seen = ask(&server, "GET", &format!("/v1/streams/{escaped}/messages"), token, "").json();
            let seen = seen["messages"].as_array().expect("messages").clone();
            assert!(seen.iter().all(|message| message["envelope"]["who"] == who), "{seen:?}");
            let stats = ask(&server, "GET", &format!("/v1/stats?stream={escaped}"), token, "").json();
            assert_eq!(stats["publishedTotal"], 1, "{stats}");
        }
    }
    // What one deletes, others keep.
    assert_eq!(ask(&server, "DELETE", "/v1/streams/shared%2F0", "acme-secret", "").status, 200);
    assert_eq!(ask(&server, "GET", "/v1/streams/shared%2F0", "acme-secret", "").status, 404);
    assert_eq!(ask(&server, "GET", "/v1/streams/shared%2F0", "plain", "").status, 200);
    assert_eq!(ask(&server, "GET", "/v1/stats?stream=only-mine", "acme-secret", "").status, 404);
}

/// Documents tell a tenant of itself, and whoever has the control token of everybody.
#[test]
fn documents_tell_each_tenant_its_own() {
    let server = start("documents", 2);
    for (token, who) in [("acme-secret", "acme"), ("globex-secret", "globex"), ("plain", "plain")] {
        assert_eq!(publish(&server, token, &format!("of/{who}"), who).status, 200);
    }
    for path in ["/v1/streams", "/v1/metrics", "/metrics", "/v1/snapshot?view=streams", "/v1/snapshot?view=tenants"] {
        let told = ask(&server, "GET", path, "acme-secret", "").text();
        assert!(!told.contains("globex") && !told.contains("of/plain"), "{path}: {told}");
    }
    let own = ask(&server, "GET", "/v1/streams", "acme-secret", "").text();
    assert!(own.contains("of/acme"), "{own}");
    let all = ask(&server, "GET", "/v1/streams", "control", "").text();
    assert!(["of/acme", "of/globex", "of/plain"].iter().all(|stream| all.contains(stream)), "{all}");
    for path in ["/v1/streams", "/v1/metrics", "/metrics", "/v1/stats?stream=of%2Facme"] {
        assert_eq!(ask(&server, "GET", path, "wrong", "").status, 401, "{path}");
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(ask(&server, "POST", "/v1/admin/reload", "acme-secret", "").status, 403);
    assert_eq!(ask(&server, "POST", "/v1/admin/reload", "plain", "").status, 403);
}

/// A rate is the whole server's: connections that the kernel spreads over the shards share it.
#[test]
fn a_rate_holds_to_the_last_request_over_two_shards() {
    let server = start("rate", 2);
    let mut connections: Vec<Http> = (0..16).map(|_| Http::connect(server.http)).collect();
    let mut statuses = Vec::new();
    for turn in 0..40 {
        let http = &mut connections[turn % 16];
        http.send(b"GET /v1/stats?stream=none HTTP/1.1\r\nhost: x\r\nx-token: globex-secret\r\n\r\n");
        statuses.push(http.response());
    }
    let granted = statuses.iter().take_while(|response| response.status == 404).count();
    // The machine may be slow: a token comes back every three seconds.
    assert!((20..24).contains(&granted), "{granted}");
    let refused = statuses.iter().find(|response| response.status == 429).expect("a refusal");
    let told: Value = refused.json();
    assert_eq!((told["code"].as_str(), told["tenantId"].as_str()), (Some("TenantRateLimitExceeded"), Some("globex")));
    assert!(refused.field("retry-after").is_some());
    assert_eq!(publish(&server, "acme-secret", "s", "acme").status, 200, "others go on");
}

/// Consumers move to the shard of their stream and keep their place among their tenant's connections.
#[test]
fn connections_hold_to_the_last_one_and_come_back() {
    let server = start("connections", 2);
    let streams: Vec<String> = (0..10).map(|number| format!("s/{number}")).collect();
    for round in 0..30 {
        let mut open: Vec<Ws> = Vec::new();
        for number in 0..3 {
            let stream = &streams[(round + number) % streams.len()];
            assert_eq!(publish(&server, "acme-secret", stream, "acme").status, 200);
            open.push(connect_in_the_end(&server, stream));
        }
        let one_more = consume(&server, "acme-secret", &streams[round % streams.len()]);
        let (told, code, _) = { one_more }.end();
        assert_eq!((told, code), (vec!["TenantConnectionLimitExceeded".to_owned()], 1008), "round {round}");
        // Nobody else is held up.
        consume(&server, "plain", "s").close();
        for consumer in open {
            consumer.close();
        }
    }
}

/// What was closed is free once the server has seen it; until then one more is refused and may come again.
fn connect_in_the_end(server: &Server, stream: &str) -> Ws {
    for _ in 0..1_000 {
        let mut consumer = consume(server, "acme-secret", stream);
        let frame = consumer.next();
        if frame.get("deliver").is_some() {
            return consumer;
        }
        assert_eq!(frame["error"]["code"], "TenantConnectionLimitExceeded");
    }
    panic!("the tenant is locked out");
}

/// A list that is cut says so, and is never cut because of what others have.
#[test]
fn a_tenants_list_is_whole_or_says_that_it_is_not() {
    let server = start_with("lists", 2, "--snapshot-streams-max 3");
    // Another tenant has more on each shard than is listed.
    for number in 0..20 {
        let published = publish(&server, "acme-secret", &format!("others/{number}"), "m");
        assert_eq!(published.status, 200);
    }
    publish(&server, "globex-secret", "mine/1", "m");
    publish(&server, "globex-secret", "mine/2", "m");
    let seen = |token: &str, target: &str| ask(&server, "GET", target, token, "").json();
    let listed = |document: &Value, member: &str| document[member].as_array().map(Vec::len);
    for (target, member) in [("/v1/streams", "streams"), ("/v1/snapshot?view=streams", "rows")] {
        let own = seen("globex-secret", target);
        assert_eq!((listed(&own, member), &own["omitted"], &own["truncated"]), (Some(2), &json!(0), &json!(false)));
        let others = seen("acme-secret", target);
        assert_eq!((listed(&others, member), &others["omitted"]), (Some(6), &json!(14)), "{others}");
        assert_eq!(others["truncated"], true);
        let all = seen("control", target);
        assert_eq!((listed(&all, member), &all["omitted"], &all["truncated"]), (Some(6), &json!(16), &json!(true)));
    }
    let own = seen("globex-secret", "/v1/metrics");
    assert_eq!((&own["truncated"], &own["totals"]["core"]["published"]), (&json!(false), &json!(2)));
    let others = seen("acme-secret", "/v1/metrics");
    assert_eq!((&others["truncated"], &others["totals"]["core"]["streamsNow"]), (&json!(true), &json!(20)));
    assert_eq!(seen("plain", "/v1/metrics")["totals"]["core"]["streamsNow"], 22, "of no tenant: the whole server's");
    let page = ask(&server, "GET", "/metrics", "acme-secret", "").text();
    assert!(page.contains("\nconduit_streams 20\n") && page.contains("\nconduit_streams_omitted 14\n"), "{page}");
    assert_eq!(seen("globex-secret", "/v1/snapshot?view=tenants")["truncated"], false);
    assert_eq!(seen("control", "/v1/snapshot?view=tenants")["truncated"], true);
}

#[test]
fn what_was_delivered_to_nobodys_consumers_never_becomes_less() {
    let server = start("delivered", 1);
    let delivered = || {
        let page = ask(&server, "GET", "/metrics", "control", "").text();
        let of = |name: &str| {
            let name = format!("{name}{{tenant=\"default\"}} ");
            let line = page.lines().find_map(|line| line.strip_prefix(&*name)).expect("a figure");
            line.parse::<u64>().expect("a number")
        };
        (of("conduit_tenant_delivered_total"), of("conduit_tenant_delivered_bytes_total"))
    };
    let mut consumer = consume(&server, "plain", "s");
    publish(&server, "plain", "s", "plain");
    assert_eq!(consumer.deliveries(1).len(), 1);
    let before = delivered();
    assert_eq!(before.0, 1);
    let mut events = Http::connect(server.http);
    events.send(b"GET /v1/live?stream=s HTTP/1.1\r\nhost: x\r\nx-token: acme-secret\r\n\r\n");
    assert_eq!(events.head().status, 200);
    for _ in 0..3 {
        publish(&server, "acme-secret", "s", "acme");
        while !events.line().expect("an event").starts_with("data:") {}
    }
    assert_eq!(delivered(), before, "a tenant that reads events takes nothing from the others");
}

#[test]
fn one_tenant_leaves_streams_for_the_others() {
    let server = start_with("share", 1, "--streams-max 4");
    for stream in ["a", "b"] {
        assert_eq!(publish(&server, "acme-secret", stream, "m").status, 200);
    }
    let refused = publish(&server, "acme-secret", "c", "m");
    assert_eq!((refused.status, refused.code()), (503, "TooManyStreams".to_owned()));
    assert!(refused.text().contains("--tenant-share-percent"), "{}", refused.text());
    assert_eq!(publish(&server, "globex-secret", "a", "m").status, 200);
    assert_eq!(publish(&server, "plain", "a", "m").status, 200);
}

#[test]
fn mkctl_tells_streams_of_one_name_apart() {
    let server = start("mkctl", 2);
    for token in ["acme-secret", "globex-secret", "plain"] {
        publish(&server, token, "jobs", "m");
    }
    for command in [&["streams"][..], &["top", "--once"]] {
        let all = mkctl(&server, &[command, &["--token", "control"]].concat()).stdout;
        let rows: Vec<_> = all.lines().filter(|line| line.starts_with("jobs ")).collect();
        assert_eq!(rows.len(), 3, "{all}");
        for tenant in ["default", "acme", "globex"] {
            assert_eq!(rows.iter().filter(|row| row.split_whitespace().nth(1) == Some(tenant)).count(), 1, "{all}");
        }
        assert!(all.lines().any(|line| line.starts_with("stream ") && line.contains("tenant")), "{all}");
    }
    let own = mkctl(&server, &["top", "--once", "--token", "acme-secret"]).stdout;
    assert!(own.contains("jobs") && !own.contains("tenant"), "{own}");
}
