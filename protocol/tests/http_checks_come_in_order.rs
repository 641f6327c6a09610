//! The checks of a request come in one order: of two reasons to refuse it, the earlier one is told.

mod edge_policy;
mod http_wire;

use conduit_protocol::limiter::Category;
use conduit_protocol::policy::{Cors, Guards, Policy, Rates, Tenant};
use edge_policy::{bearer, by_ip, per_minute, tenant, with_tenants};
use http_wire::{Peer, get, post, request};

/// Everything that can be refused is: with the reasons before the `nth` out of the way.
struct Refuser {
    draining: bool,
    busy: bool,
    tenant_is_poor: bool,
    head_is_long: bool,
    token: &'static str,
    address_is_poor: bool,
    is_binary: bool,
}

impl Refuser {
    const ALL: Self = Self {
        draining: true,
        busy: true,
        tenant_is_poor: true,
        head_is_long: true,
        token: "",
        address_is_poor: true,
        is_binary: true,
    };

    fn answer(&self, method: &str, path: &str) -> (u16, String, Vec<Category>) {
        let requests = Some(per_minute(1));
        let mut policy = with_tenants(vec![Tenant { requests, ..tenant("acme") }]);
        policy.drain.rejects_all = true;
        policy.rates = Rates { in_progress_per_shard_max: self.busy.then_some(0), ..by_ip(per_minute(1)) };
        policy.guards = Guards { header_bytes_max: 400, large_bytes: 4, refuses_binary: true, ..Guards::default() };
        let mut peer = Peer::under(policy);
        peer.draining = self.draining;
        // Somebody has used up what there was.
        if self.tenant_is_poor && self.token == "acme-token" {
            spend(&mut peer, Category::AllRequests);
        }
        if self.address_is_poor {
            spend(&mut peer, Category::Requests(conduit_protocol::telemetry::Endpoint::Other));
            spend(&mut peer, Category::Requests(conduit_protocol::telemetry::Endpoint::Enqueue));
        }
        peer.accounts.taken.clear();
        let mut headers = if self.token.is_empty() { String::new() } else { bearer(self.token) };
        if self.head_is_long {
            headers += &format!("X-Filler: {}\r\n", "x".repeat(400));
        }
        if self.is_binary {
            headers += "Content-Type: image/png; charset=x\r\n";
        }
        let response = peer.ask_one(request(method, path, &headers, "12345"));
        let code = response.json()["code"].as_str().unwrap_or_default().to_owned();
        (response.status, code, peer.accounts.taken)
    }
}

fn spend(peer: &mut Peer, category: Category) {
    use conduit_protocol::limiter::{Allowance, Charge, Subject};
    let subject = match category {
        Category::AllRequests => Subject::Tenant(conduit_protocol::TenantId::of_name("acme")),
        _ => Subject::ip(peer.peer),
    };
    let charge = Charge { subject, category, allowance: Allowance::Rate(per_minute(1)) };
    peer.accounts.take(peer.now, &charge).unwrap();
}

#[test]
fn of_two_reasons_the_earlier_one_is_told() {
    let mut refuser = Refuser { token: "acme-token", ..Refuser::ALL };
    let mut next = |change: fn(&mut Refuser)| {
        let (status, code, _) = refuser.answer("POST", "/v1/enqueue");
        change(&mut refuser);
        (status, code)
    };
    let told = [
        next(|refuser| refuser.draining = false),
        next(|refuser| refuser.busy = false),
        next(|refuser| refuser.tenant_is_poor = false),
        next(|refuser| refuser.head_is_long = false),
        next(|refuser| refuser.address_is_poor = false),
        next(|refuser| refuser.is_binary = false),
        next(|_| ()),
    ];
    let told: Vec<(u16, &str)> = told.iter().map(|(status, code)| (*status, &**code)).collect();
    assert_eq!(
        told,
        [
            (503, "ServerDraining"),
            (503, "TooManyConnections"),
            (429, "TenantRateLimitExceeded"),
            (431, "RequestHeaderFieldsTooLarge"),
            (429, "RateLimitExceeded"),
            (413, "PayloadTooLarge"),
            (413, "PayloadTooLarge"),
        ]
    );
}

#[test]
fn the_token_comes_after_the_head_and_before_the_address() {
    let refuser = Refuser { draining: false, busy: false, ..Refuser::ALL };
    assert_eq!(refuser.answer("POST", "/v1/enqueue").0, 431);
    let refuser = Refuser { head_is_long: false, ..refuser };
    let (status, code, taken) = refuser.answer("POST", "/v1/enqueue");
    assert_eq!((status, &*code), (401, "Unauthorized"));
    assert!(taken.is_empty(), "somebody without a token costs nobody anything");
    let refuser = Refuser { token: "plain", ..refuser };
    assert_eq!(refuser.answer("POST", "/v1/enqueue").0, 429);
}

#[test]
fn a_preflight_ends_before_the_token_and_after_the_head() {
    let refuser = Refuser { draining: false, busy: false, ..Refuser::ALL };
    assert_eq!(refuser.answer("OPTIONS", "/v1/enqueue").0, 431);
    let refuser = Refuser { head_is_long: false, ..refuser };
    let (status, code, _) = refuser.answer("OPTIONS", "/v1/enqueue");
    assert_eq!((status, &*code), (403, "OriginNotAllowed"));
}

#[test]
fn a_path_that_does_not_exist_is_told_last() {
    let refuser = Refuser { draining: false, busy: false, head_is_long: false, ..Refuser::ALL };
    assert_eq!(refuser.answer("POST", "/nowhere").0, 429);
    let refuser = Refuser { address_is_poor: false, ..refuser };
    assert_eq!(refuser.answer("POST", "/nowhere").0, 413);
    let refuser = Refuser { is_binary: false, ..refuser };
    assert_eq!(refuser.answer("POST", "/nowhere").0, 413);
    assert_eq!(refuser.answer("DELETE", "/nowhere").0, 404);
    assert_eq!(refuser.answer("PATCH", "/nowhere").1, "NotFound");
    assert_eq!(refuser.answer("POST", "/v1/upload").0, 401, "files go there, with a token");
}

#[test]
fn header_and_cookie_bytes_are_limited_inclusively() {
    let guards = |header_bytes_max, cookie_bytes_max| Policy {
        guards: Guards { header_bytes_max, cookie_bytes_max, ..Guards::default() },
        ..Policy::default()
    };
    // `Host: x` has 5, `A: ..` the rest.
    let of_headers = |bytes: usize| get("/health", &format!("A: {}\r\n", "x".repeat(bytes - 5 - 1)));
    assert_eq!(Peer::under(guards(100, 9_999)).ask_one(of_headers(100)).status, 200);
    let refused = Peer::under(guards(100, 9_999)).ask_one(of_headers(101));
    let json = refused.json();
    assert_eq!((refused.status, json["code"].as_str()), (431, Some("RequestHeaderFieldsTooLarge")));
    assert_eq!((json["size"].as_u64(), json["limit"].as_u64()), (Some(101), Some(100)));
    let of_cookies = |first: usize, second: usize| {
        get("/health", &format!("Cookie: {}\r\ncookie: {}\r\n", "x".repeat(first), "y".repeat(second)))
    };
    assert_eq!(Peer::under(guards(9_999, 50)).ask_one(of_cookies(20, 30)).status, 200);
    let refused = Peer::under(guards(9_999, 50)).ask_one(of_cookies(20, 31));
    let json = refused.json();
    assert_eq!((refused.status, json["code"].as_str()), (431, Some("CookieTooLarge")));
    assert_eq!((json["size"].as_u64(), json["limit"].as_u64()), (Some(51), Some(50)));
}

#[test]
fn a_repeated_head_grows_no_further_than_the_limit() {
    let body = |bytes: usize| format!(r#"{{"to":"s","envelope":{{"x":"{}"}}}}"#, "x".repeat(bytes));
    let mut peer = Peer::under(Policy::default());
    let short = post("/v1/enqueue", "", body(1));
    // `Host`, `x`, `Content-Length` and two digits.
    peer.policy.guards.header_bytes_max = 4 + 1 + 14 + 2;
    let statuses: Vec<u16> = (0..4).map(|_| peer.ask_one(&short).status).collect();
    assert_eq!(statuses, [200; 4]);
    assert_eq!(peer.ask_one(post("/v1/enqueue", "", body(100))).status, 431);
}

#[test]
fn large_bodies_and_binary_ones_are_sent_elsewhere() {
    let policy = || Policy {
        guards: Guards { large_bytes: 5 << 20, refuses_binary: true, ..Guards::default() },
        ..Policy::default()
    };
    let head = |method: &str, path: &str, bytes: u64, kind: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {bytes}\r\n\r\n")
    };
    let mut peer = Peer::under(policy());
    peer.limits.body_bytes_max = 64 << 20;
    let refused = peer.ask_one(head("POST", "/v1/enqueue", (5 << 20) + 104_858, "application/json"));
    let json = refused.json();
    assert_eq!((refused.status, json["error"].as_str()), (413, Some("Payload Too Large")));
    assert_eq!(json["reason"], "5.10MB exceeds 5MB threshold");
    assert!(json["suggestion"].as_str().unwrap().contains("elsewhere"));
    for large_bytes in [2_000, (1 << 20) - 1, (1 << 20) + 1] {
        let policy = Policy { guards: Guards { large_bytes, ..Guards::default() }, ..Policy::default() };
        let refused = Peer::under(policy).ask_one(head("POST", "/v1/enqueue", large_bytes + 1, "application/json"));
        let exact = format!("the body has {} bytes, and may have {large_bytes}", large_bytes + 1);
        assert_eq!(refused.json()["reason"], exact, "no part of a megabyte is rounded away");
    }
    let mut peer = Peer::under(policy());
    peer.limits.body_bytes_max = 64 << 20;
    peer.feed(head("POST", "/v1/enqueue", 5 << 20, "application/json"));
    assert!(peer.out.is_empty(), "the limit itself is allowed");
    for kind in ["application/octet-stream", "IMAGE/PNG", "video/mp4;codecs=x", "audio/wav"] {
        let refused = Peer::under(policy()).ask(head("PUT", "/v1/streams/s", 2, kind) + "{}").remove(0);
        assert_eq!((refused.status, refused.code().as_str()), (413, "PayloadTooLarge"), "{kind}");
        assert!(refused.json()["reason"].as_str().unwrap().contains(&*kind[..8].to_lowercase()));
    }
    for kind in ["application/json", "text/plain", "image/svg+xml", "application/msgpack"] {
        assert_eq!(
            Peer::under(policy()).ask(head("POST", "/v1/enqueue", 2, kind) + "{}").remove(0).status,
            400,
            "{kind}"
        );
    }
    assert_eq!(Peer::under(policy()).ask_one(get("/health", "Content-Type: image/png\r\n")).status, 200);
}

#[test]
fn draining_refuses_what_it_is_told_to_refuse() {
    for (rejects_all, statuses) in [(false, [200, 200, 503, 404]), (true, [200, 503, 503, 503])] {
        let mut policy = Policy { cors: Cors { any: true, ..Cors::default() }, ..Policy::default() };
        policy.drain.rejects_all = rejects_all;
        let told = |request: Vec<u8>| {
            let mut peer = Peer::under(policy.clone());
            peer.draining = true;
            let response = peer.ask_one(request);
            assert_eq!(response.header("access-control-allow-origin"), Some("https://a"));
            if response.status == 503 {
                assert_eq!(
                    (response.code().as_str(), response.json()["error"].as_str()),
                    ("ServerDraining", Some("Service draining"))
                );
                assert!(response.json()["reason"].is_string());
            }
            response.status
        };
        let origin = "Origin: https://a\r\n";
        let told = [
            told(get("/health", origin)),
            told(get("/v1/stats?stream=s", origin)),
            told(post("/v1/enqueue", origin, "{}")),
            told(get("/nowhere", origin)),
        ];
        assert_eq!(told, statuses);
    }
}
