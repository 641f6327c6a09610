//! Reload: whatever is asked for by whomever comes into force without a connection lost; what cannot be used changes
//! nothing, and everybody is told.

use crate::common::foreign::{Ran, mkctl_command};
use crate::common::http::Response;
use crate::common::{Http, Process, Server, Start, Ws, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A server with files of its own, administered by the token `boss`.
struct Site {
    server: Server,
    folder: PathBuf,
}

impl Site {
    /// The files are `conduit.yaml`, and beside it `tokens`, `tenants.yaml` and `rules.yaml` where they are given.
    fn with(start: Start, files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("reload-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a file");
        }
        if !files.iter().any(|(name, _)| *name == "conduit.yaml") {
            fs::write(folder.join("conduit.yaml"), "{}\n").expect("a file");
        }
        let config = folder.join("conduit.yaml").display().to_string();
        let logs = "--http-log none --ws-log none";
        let start = start.variable("CONDUIT_CONFIG", &config).variable("CONDUIT_CONTROL_TOKEN", "boss").flags(logs);
        Self { server: start.serve(), folder }
    }

    /// Puts a new file in the place of the old one, as editors and orchestrators do.
    fn write(&self, name: &str, text: &str) {
        let new = self.folder.join(format!("{name}.new"));
        fs::write(&new, text).expect("a file");
        fs::rename(new, self.folder.join(name)).expect("a new name");
    }

    fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        let mut client = Http::connect(self.server.http);
        let fields = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
        client.send(
            format!("{method} {target} HTTP/1.1\r\nhost: conduit\r\n{fields}content-length: 0\r\n\r\n").as_bytes(),
        );
        client.response()
    }

    fn reload(&self) -> Response {
        self.ask("POST", "/v1/admin/reload", "authorization: Bearer boss")
    }

    /// The answer to a reload that works.
    fn reloaded(&self) -> Value {
        let answer = self.reload();
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("reloaded")), "{}", answer.text());
        answer.json()
    }

    fn json(&self, target: &str) -> Value {
        let answer = self.ask("GET", target, "authorization: Bearer boss");
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    fn health(&self) -> Value {
        self.server.get("/health").json()
    }

    /// The status of a request with a token.
    fn with_token(&self, token: &str) -> u16 {
        self.ask("GET", "/v1/stats?stream=s", &format!("authorization: Bearer {token}")).status
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const TENANTS: &str = "tenants:\n  acme:\n    tokens: [acme-1]\n  globex:\n    tokens: [globex-1]\n";
const RULES: &str = "version: proto-dsl/v0\nrules:\n  - id: hello\n    when: {http: {method: GET, path: /hello}}\n    send: {http: {status: 200, body: {n: 1}}}\n";

#[test]
fn a_reload_says_what_is_in_force() {
    let site = Site::with(Start::new().shards(2), &[("tenants.yaml", TENANTS), ("rules.yaml", RULES)]);
    let health = site.health();
    assert_eq!(
        health["reload"],
        json!({"status": "idle", "lastReloadTime": null, "reloadSupported": true, "isDraining": false})
    );
    let answer = site.reloaded();
    assert_eq!((&answer["rulesCount"], &answer["tenantsCount"]), (&json!(1), &json!(2)));
    assert!(answer["guardrails"]["maxDecodedSize"].is_u64() && answer["guardrails"]["maxDepth"].is_u64(), "{answer}");
    assert_eq!((&answer["changed"], &answer["needsRestart"]), (&json!([]), &json!([])));
    eventually("every shard knows", || site.health()["reload"]["lastReloadTime"].is_string().then_some(()));
}

#[test]
fn a_hundred_websockets_and_every_message_outlive_many_reloads() {
    const STREAMS: u64 = 10;
    const MESSAGES: u64 = 300;
    let site = Site::with(Start::new().shards(2), &[("rules.yaml", RULES)]);
    let consume = |n: u64| {
        let target = format!("/v1/subscribe?stream=s{}&credit=1000&refill=ack", n % STREAMS);
        Ws::connect(site.server.ws, &target)
    };
    let mut sockets: Vec<Ws> = (0..100).map(consume).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for stream in 0..STREAMS {
            let (address, is_over) = (site.server.http, &is_over);
            scope.spawn(move || {
                let mut client = Http::connect(address);
                for n in 0..MESSAGES {
                    let answer = client.enqueue(&format!("s{stream}"), &json!({"n": n}));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        let mut reloads = 0;
        while !is_over.load(Ordering::Relaxed) || reloads < 5 {
            site.write("rules.yaml", &format!("{RULES}# {reloads}\n"));
            site.reloaded();
            reloads += 1;
        }
    });
    // Every message reaches one of its stream's ten consumers, once.
    let mut seen = vec![Vec::new(); STREAMS as usize];
    for (at, socket) in sockets.iter_mut().enumerate() {
        // Whatever was delivered before the answer to this has been read before it.
        socket.send(json!({"enqueue": {"to": "last", "envelope": {}}, "ref": 1}));
        loop {
            let frame = socket.next();
            if frame["ok"].is_object() {
                break;
            }
            assert_eq!(frame["attempt"], 1, "{frame}");
            seen[at % STREAMS as usize].push(frame["seq"].as_u64().expect("a seq"));
        }
    }
    for seqs in &mut seen {
        seqs.sort_unstable();
        assert!(seqs.iter().copied().eq(1..=MESSAGES), "{seqs:?}");
    }
    assert_eq!(site.json("/v1/metrics")["gateway"]["ws"]["connections"], json!({"active": 100, "total": 100}));
}

#[test]
fn what_cannot_be_used_changes_nothing_and_is_told_everywhere() {
    let site = Site::with(Start::new().shards(2), &[("tenants.yaml", TENANTS)]);
    assert_eq!(site.with_token("acme-1"), 404, "a tenant's token lets in");
    site.write("tenants.yaml", "tenants:\n  acme:\n    tokens: [acme-1]\n    limit: {}\n");
    let answer = site.reload();
    assert_eq!((answer.status, &answer.json()["status"]), (207, &json!("partial")));
    let errors = answer.json()["errors"].clone();
    assert!(
        errors[0].as_str().is_some_and(|text| text.contains("tenants.yaml:4") && text.contains("limit")),
        "{errors}"
    );
    assert_eq!(answer.json()["tenantsCount"], 2, "what was in force still is");
    assert_eq!((site.with_token("acme-1"), site.with_token("globex-1")), (404, 404));
    let metrics = site.json("/v1/metrics");
    assert_eq!((&metrics["reload"]["success"], &metrics["reload"]["failed"]), (&json!(false), &json!(1)));
    let page = site.ask("GET", "/metrics", "authorization: Bearer boss").text();
    assert!(page.contains("\nconduit_config_reload_success 0\n"), "{page}");
    assert!(page.contains("conduit_config_reloads_total{result=\"failure\"} 1\n"), "{page}");
    eventually("health tells", || (site.health()["reload"]["status"] == "error").then_some(()));
    assert_eq!(site.server.get("/health").status, 200, "the server is as well as before");
    assert!(site.server.process.stderr.line_with("nothing was changed").is_some());
    let ran = Ran::of(Process::start(mkctl_command(&site.server).env("CONDUIT_CONTROL_TOKEN", "boss").arg("reload")));
    assert!(ran.code == 1 && ran.stderr.contains("tenants.yaml:4"), "{ran:?}");

    site.write("tenants.yaml", TENANTS);
    site.reloaded();
    eventually("health tells", || (site.health()["reload"]["status"] == "idle").then_some(()));
    let page = site.ask("GET", "/metrics", "authorization: Bearer boss").text();
    assert!(page.contains("\nconduit_config_reload_success 1\n"), "{page}");
    assert!(page.contains("conduit_config_last_reload_success_timestamp_seconds "), "{page}");
}

#[test]
fn tokens_tenants_rules_and_settings_reload() {
    let site = Site::with(Start::new().shards(2), &[("tenants.yaml", TENANTS)]);
    assert_eq!((site.with_token("acme-2"), site.ask("GET", "/hello", "").status), (401, 404));
    site.write("tenants.yaml", "tenants:\n  acme:\n    tokens: [acme-2]\n");
    site.write("rules.yaml", RULES);
    site.write(
        "conduit.yaml",
        "access: {corsOrigins: [\"https://console.example.com\"]}\nprocess: {logLevel: debug}\n",
    );
    let answer = site.reloaded();
    for changed in ["tenants", "rules", "cors-origins", "log-level"] {
        let list = answer["changed"].as_array().expect("a list");
        assert!(list.contains(&json!(changed)), "{changed}: {answer}");
    }
    assert_eq!((site.with_token("acme-1"), site.with_token("acme-2")), (401, 404));
    assert_eq!(site.ask("GET", "/hello", "").json(), json!({"n": 1}));
    let fields = "origin: https://console.example.com";
    let allowed = site.ask("GET", "/health", fields);
    assert_eq!(allowed.field("access-control-allow-origin"), Some("https://console.example.com"));
    site.write("conduit.yaml", "rates: {http: {enabled: true, stats: 1, burst: {stats: 1}}}\n");
    site.reloaded();
    let statuses: Vec<u16> = (0..3).map(|_| site.with_token("acme-2")).collect();
    assert!(statuses.contains(&429), "a rate was set: {statuses:?}");
}

#[test]
fn what_needs_a_restart_is_named_as_long_as_it_waits_for_one() {
    let site = Site::with(Start::new().shards(1), &[]);
    site.write("conduit.yaml", "ws: {pingMs: 7000}\n");
    for _ in 0..2 {
        let answer = site.reload();
        if answer.status == 207 {
            panic!("{}", answer.text());
        }
        assert_eq!(answer.json()["needsRestart"], json!(["ws-ping-ms"]), "{}", answer.text());
    }
    site.write("conduit.yaml", "{}\n");
    assert_eq!(site.reloaded()["needsRestart"], json!([]));
}

#[test]
fn a_hang_up_reloads() {
    let mut site = Site::with(Start::new().shards(2), &[("tenants.yaml", TENANTS)]);
    site.write("tenants.yaml", "tenants:\n  acme:\n    tokens: [acme-2]\n");
    site.server.process.signal(Signal::HUP);
    eventually("the new token", || (site.with_token("acme-2") == 404).then_some(()));
    assert_eq!(site.with_token("acme-1"), 401);
}

#[test]
fn files_that_are_watched_reload_by_themselves() {
    let site = Site::with(Start::new().shards(2).flags("--watch true"), &[("tenants.yaml", TENANTS)]);
    for n in 2..5 {
        site.write("tenants.yaml", &format!("tenants:\n  acme:\n    tokens: [acme-{n}]\n"));
        eventually("the new token", || (site.with_token(&format!("acme-{n}")) == 404).then_some(()));
    }
    // A file that was not there is watched too.
    site.write("rules.yaml", RULES);
    eventually("the rule", || (site.ask("GET", "/hello", "").status == 200).then_some(()));
}

#[test]
fn many_who_ask_at_once_all_get_an_answer() {
    let site = Site::with(Start::new().shards(2), &[("rules.yaml", RULES)]);
    let mut clients: Vec<Http> = (0..40).map(|_| Http::connect(site.server.http)).collect();
    for client in &mut clients {
        client.send(
            b"POST /v1/admin/reload HTTP/1.1\r\nhost: c\r\nauthorization: Bearer boss\r\ncontent-length: 0\r\n\r\n",
        );
    }
    for client in &mut clients {
        let answer = client.response();
        assert_eq!((answer.status, &answer.json()["rulesCount"]), (200, &json!(1)), "{}", answer.text());
    }
    let total = site.json("/v1/metrics")["reload"]["total"].as_u64().expect("a total");
    assert!((1..40).contains(&total), "{total} reloads for 40 who asked at once");
}

#[test]
fn load_balancers_can_be_sent_away_for_a_while_after_a_reload() {
    let site = Site::with(
        Start::new().shards(2).variable("CONDUIT_RELOAD_DRAIN_TIMEOUT_MS", "1500"),
        &[("rules.yaml", RULES)],
    );
    let mut consumer = Ws::connect(site.server.ws, "/v1/subscribe?stream=s&credit=10");
    assert_eq!(site.server.get("/health").status, 200);
    site.reloaded();
    eventually("health sends them away", || (site.server.get("/health").status == 503).then_some(()));
    assert_eq!(site.health()["reload"]["isDraining"], true);
    let answer = Http::connect(site.server.http).enqueue("s", &json!({}));
    assert_eq!(answer.status, 200, "work goes on: {}", answer.text());
    assert_eq!(consumer.delivery().seq, 1);
    eventually("health lets them come back", || (site.server.get("/health").status == 200).then_some(()));
}

#[test]
fn the_administration_wants_its_token() {
    let site = Site::with(Start::new().shards(1), &[("tenants.yaml", TENANTS)]);
    for (fields, status) in [("", 401), ("authorization: Bearer acme-1", 403), ("authorization: Bearer wrong", 401)] {
        for target in ["/v1/admin/reload", "/v1/admin/drain"] {
            assert_eq!(site.ask("POST", target, fields).status, status, "{target} with {fields:?}");
        }
    }
    assert_eq!(site.server.get("/health").status, 200);
}

#[test]
fn a_tenant_sees_its_own_and_nothing_of_others() {
    let site = Site::with(Start::new().shards(2), &[("tenants.yaml", TENANTS)]);
    let publish = |token: &str, count: usize| {
        let body = r#"{"to":"jobs","envelope":{}}"#;
        let mut client = Http::connect(site.server.http);
        for _ in 0..count {
            client.send(
                format!(
                    "POST /v1/enqueue HTTP/1.1\r\nhost: c\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
            assert_eq!(client.response().status, 200);
        }
    };
    publish("acme-1", 3);
    publish("globex-1", 5);
    let mut consumer = Ws::connect(site.server.ws, "/v1/subscribe?stream=jobs&credit=2&access_token=acme-1");
    assert_eq!(consumer.deliveries(2).len(), 2);
    let seen = |token: &str, target: &str| {
        let answer = site.ask("GET", target, &format!("authorization: Bearer {token}"));
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    };
    let metrics = seen("acme-1", "/v1/metrics");
    assert_eq!(metrics["streams"].as_array().map(Vec::len), Some(1));
    assert_eq!(metrics["streams"][0]["stats"]["publishedTotal"], 3);
    let tenants: Vec<_> = metrics["tenants"].as_object().expect("tenants").keys().collect();
    assert_eq!(tenants, ["acme"]);
    assert_eq!(metrics["tenants"]["acme"]["messagesDelivered"], 2);
    assert_eq!(metrics["tenants"]["acme"]["activeConnections"], 1);
    assert!(!metrics.to_string().contains("globex"), "{metrics}");
    let rows = |token: &str, view: &str| {
        seen(token, &format!("/v1/snapshot?view={view}"))["rows"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((rows("acme-1", "streams"), rows("acme-1", "consumers"), rows("acme-1", "groups")), (1, 1, 1));
    assert_eq!((rows("globex-1", "streams"), rows("globex-1", "consumers"), rows("globex-1", "tenants")), (1, 0, 1));
    for target in ["/v1/snapshot?view=shards", "/v1/snapshot?view=limits", "/v1/histograms"] {
        let refused = site.ask("GET", target, "authorization: Bearer acme-1");
        assert_eq!((refused.status, refused.code().as_str()), (403, "Forbidden"), "{target}");
    }
    let own = site.ask("GET", "/metrics", "authorization: Bearer globex-1").text();
    assert!(own.contains("\nconduit_published_total 5\n") && !own.contains("acme"), "{own}");

    // The administration sees everybody.
    let all = site.json("/v1/metrics");
    assert_eq!(all["streams"].as_array().map(Vec::len), Some(2));
    for (tenant, requests) in [("acme", 4), ("globex", 6)] {
        assert!(all["tenants"][tenant]["requests"].as_u64() >= Some(requests), "{}", all["tenants"]);
    }
    assert_eq!(all["tenants"]["acme"]["bytesDelivered"].as_u64().map(|bytes| bytes > 0), Some(true));
    assert_eq!(rows("boss", "consumers"), 1);
}

#[test]
fn connections_whose_token_or_tenant_is_gone_end_and_the_others_stay() {
    for shards in [1, 2] {
        let site = Site::with(Start::new().shards(shards), &[("tenants.yaml", TENANTS)]);
        site.write("conduit.yaml", "access: {tokens: [one, two]}\n");
        site.reloaded();
        let connect = |target: &str, token: &str| Ws::connect(site.server.ws, &format!("{target}access_token={token}"));
        let all = |token: &str| -> Vec<Ws> {
            let subscribe = |n| connect(&format!("/v1/subscribe?stream=s{n}&credit=10&"), token);
            (0..4).map(subscribe).chain([connect("/v1/publish?", token)]).collect()
        };
        let live = |token: &str| {
            let mut client = Http::connect(site.server.http);
            let request = format!("GET /v1/live?stream=s0&access_token={token} HTTP/1.1\r\nhost: conduit\r\n\r\n");
            client.send(request.as_bytes());
            assert_eq!(client.head().status, 200);
            client
        };
        let (leaving, staying) = (["one", "acme-1"], ["two", "globex-1", "boss"]);
        let gone: Vec<Ws> = leaving.into_iter().flat_map(all).collect();
        let mut kept: Vec<Ws> = staying.into_iter().flat_map(all).collect();
        let (gone_live, mut kept_live) = (leaving.map(live), live("two"));
        site.write("conduit.yaml", "access: {tokens: [two]}\n");
        site.write("tenants.yaml", "tenants:\n  globex:\n    tokens: [globex-1, acme-1]\n");
        site.reloaded();
        for mut socket in gone {
            let (told, code, _) = socket.end();
            assert_eq!((told, code), (vec!["Unauthorized".to_owned()], 1008));
        }
        for client in gone_live {
            let said = client.rest();
            assert!(said.contains("event: end\n") && said.contains("Unauthorized"), "{said}");
        }
        for socket in &mut kept {
            socket.send(json!({"enqueue": {"to": "s0", "envelope": {}}, "ref": 1}));
        }
        for socket in &mut kept {
            while !socket.next()["ok"].is_object() {}
        }
        while !kept_live.line().expect("events go on").starts_with("data: {") {}
        let connections = site.json("/v1/metrics")["gateway"]["ws"]["connections"]["active"].clone();
        assert_eq!(connections, 15);
    }
}

#[test]
fn a_reload_asks_every_connection_however_many_there_are() {
    const EACH: usize = 300;
    let site = Site::with(Start::new().shards(1), &[("tenants.yaml", TENANTS)]);
    let connect = |token: &str| Ws::connect(site.server.ws, &format!("/v1/publish?access_token={token}"));
    let mut pairs: Vec<(Ws, Ws)> = (0..EACH).map(|_| (connect("acme-1"), connect("globex-1"))).collect();
    site.write("tenants.yaml", "tenants:\n  globex:\n    tokens: [globex-1]\n");
    site.reloaded();
    for (gone, kept) in &mut pairs {
        assert_eq!(gone.end().1, 1008);
        kept.send(json!({"enqueue": {"to": "s", "envelope": {}}, "ref": 1}));
    }
    assert!(pairs.iter_mut().all(|(_, kept)| kept.next()["ok"].is_object()));
}

#[test]
fn a_busy_directory_keeps_no_reload_waiting() {
    let site = Site::with(Start::new().shards(2).flags("--watch true"), &[("tenants.yaml", TENANTS)]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs::write(site.folder.join("access.log"), "one more line\n").expect("a file");
            }
        });
        for n in 2..5 {
            site.write("tenants.yaml", &format!("tenants:\n  acme:\n    tokens: [acme-{n}]\n"));
            // By hand, which must not wait for the watch, and then by the watch alone.
            if n == 2 {
                site.reloaded();
            }
            eventually("the new token", || (site.with_token(&format!("acme-{n}")) == 404).then_some(()));
            assert_eq!(site.with_token(&format!("acme-{}", n - 1)), 401);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_tenants_file_that_is_lost_opens_the_server_to_nobody() {
    let site = Site::with(Start::new().shards(2), &[("tenants.yaml", TENANTS)]);
    fs::remove_file(site.folder.join("tenants.yaml")).expect("removed");
    for _ in 0..2 {
        let answer = site.reload();
        assert_eq!(answer.status, 207, "{}", answer.text());
        let errors = answer.json()["errors"].to_string();
        assert!(errors.contains("tenants.yaml") && errors.contains("put it back"), "{errors}");
        assert_eq!((site.with_token("acme-1"), site.with_token("nobody")), (404, 401));
    }
    // Nor does one that is emptied, or half written.
    site.write("tenants.yaml", "");
    let answer = site.reload();
    assert_eq!(answer.status, 207, "{}", answer.text());
    assert!(answer.json()["errors"].to_string().contains("start it anew"), "{}", answer.text());
    assert_eq!((site.with_token("acme-1"), site.with_token("nobody")), (404, 401));
    site.write("tenants.yaml", TENANTS);
    assert_eq!(site.reloaded()["status"], "reloaded");
}
