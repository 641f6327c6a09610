//! What a limit grants is granted, one more is refused, and a request never pays twice: wherever the account is kept, however
//! often its head is read, and whichever shard it moves to.

mod edge_policy;
mod http_wire;

use conduit_protocol::limiter::{Category, Rate};
use conduit_protocol::policy::{Policy, Rates, Tenant};
use conduit_protocol::telemetry::Endpoint;
use conduit_protocol::{ErrorCode, Limits, Session, Telemetry};
use edge_policy::{bearer, by_ip, per_minute, tenant, with_tenants};
use http_wire::{Answering, Peer, get, post, upgrade};

const BODY: &str = r#"{"to":"s","envelope":{"id":"m"}}"#;

fn limited_tenant(count: u32) -> Policy {
    with_tenants(vec![Tenant { requests: Some(per_minute(count)), ..tenant("acme") }])
}

/// The statuses of so many publishes of the tenant.
fn publishes(peer: &mut Peer, count: usize) -> Vec<u16> {
    let one = post("/v1/enqueue", &bearer("acme-token"), BODY);
    (0..count).map(|_| peer.ask_one(&one).status).collect()
}

#[test]
fn a_tenant_gets_all_of_its_rate_and_not_one_request_more() {
    for are_away in [false, true] {
        let mut peer = Peer::under(limited_tenant(10));
        peer.accounts.are_away = are_away;
        assert_eq!(publishes(&mut peer, 12), [[200; 10].as_slice(), &[429; 2]].concat());
        // Every request has cost one token, not two.
        assert_eq!(peer.accounts.taken, [Category::AllRequests; 10]);
        peer.pass_ms(5_999);
        assert_eq!(publishes(&mut peer, 1), [429]);
        peer.pass_ms(1);
        assert_eq!(publishes(&mut peer, 2), [200, 429]);
    }
}

#[test]
fn a_refusal_names_the_limit_the_tenant_and_the_time_to_wait() {
    let mut peer = Peer::under(limited_tenant(10));
    publishes(&mut peer, 10);
    let refused = peer.ask_one(post("/v1/enqueue", &bearer("acme-token"), BODY));
    let json = refused.json();
    assert_eq!((refused.status, json["error"].as_str()), (429, Some("Too Many Requests")));
    assert_eq!((json["code"].as_str(), json["tenantId"].as_str()), (Some("TenantRateLimitExceeded"), Some("acme")));
    assert_eq!((json["retryAfter"].as_u64(), refused.header("retry-after")), (Some(6), Some("6")));
    let message = json["message"].as_str().unwrap();
    assert!(message.contains("10 requests in 60 s"), "{message}");
    assert_eq!(peer.telemetry.errors[ErrorCode::TenantRateLimitExceeded as usize], 1);
}

#[test]
fn tenants_do_not_use_each_others_rate() {
    let limited = |name| Tenant { requests: Some(per_minute(2)), ..tenant(name) };
    let mut peer = Peer::under(with_tenants(vec![limited("acme"), limited("globex")]));
    let mut statuses = Vec::new();
    for token in ["acme-token", "acme-token", "acme-token", "globex-token", "globex-token", "globex-token", "plain"] {
        statuses.push(peer.ask_one(post("/v1/enqueue", &bearer(token), BODY)).status);
    }
    assert_eq!(statuses, [200, 200, 429, 200, 200, 429, 200]);
}

#[test]
fn an_address_has_a_rate_of_its_own_at_every_endpoint() {
    let mut http_by_ip = vec![per_minute(3); Endpoint::ALL.len()];
    http_by_ip[Endpoint::Enqueue as usize] = Rate { burst: 2, ..per_minute(1) };
    let policy = Policy { rates: Rates { http_by_ip, ..Rates::default() }, ..Policy::default() };
    let mut peer = Peer::under(policy);
    let enqueue = post("/v1/enqueue", "", BODY);
    let stats = get("/v1/stats?stream=s", "");
    let mut statuses =
        |request: &[u8], count: usize| -> Vec<u16> { (0..count).map(|_| peer.ask_one(request).status).collect() };
    assert_eq!(statuses(&enqueue, 4), [200, 200, 429, 429]);
    assert_eq!(statuses(&stats, 4), [200, 200, 200, 429]);
    assert_eq!(statuses(&get("/nowhere", ""), 4), [404, 404, 404, 429]);
    assert_eq!(statuses(&get("/health", ""), 9), [200; 9]);
    let refused = peer.ask_one(&enqueue);
    let json = refused.json();
    assert_eq!(
        (json["error"].as_str(), json["code"].as_str()),
        (Some("Rate limit exceeded"), Some("RateLimitExceeded"))
    );
    assert_eq!((json["retryAfter"].as_u64(), refused.header("retry-after")), (Some(60), Some("60")));
    assert!(json["message"].as_str().unwrap().contains("/v1/enqueue"));
    peer.peer = "127.0.0.2".parse().unwrap();
    assert_eq!(peer.ask_one(&enqueue).status, 200);
}

#[test]
fn pipelined_requests_pay_one_token_each_in_their_order() {
    for are_away in [false, true] {
        let policy = Policy { rates: by_ip(per_minute(5)), ..limited_tenant(7) };
        let mut peer = Peer::under(policy);
        peer.accounts.are_away = are_away;
        peer.feed(post("/v1/enqueue", &bearer("acme-token"), BODY).repeat(9));
        while peer.is_waiting {
            peer.feed("");
        }
        assert_eq!(peer.statuses(), [200, 200, 200, 200, 200, 429, 429, 429, 429]);
        let of_tenant = peer.accounts.taken.iter().filter(|category| **category == Category::AllRequests).count();
        // Those that the address was refused for have cost the tenant its token all the same, until there was none.
        assert_eq!((of_tenant, peer.accounts.taken.len()), (7, 12));
    }
}

#[test]
fn nothing_goes_on_while_another_shard_is_asked_and_nothing_is_paid_twice() {
    let policy = Policy { rates: by_ip(per_minute(5)), ..limited_tenant(7) };
    let mut peer = Peer { policy, ..Peer::with(Default::default(), Answering::OnDemand) };
    peer.accounts.are_away = true;
    peer.feed(post("/v1/enqueue", &bearer("acme-token"), BODY).repeat(2));
    for _ in 0..3 {
        peer.feed("");
        assert!(peer.is_waiting && peer.session.owes_answer() && !peer.session.is_idle());
        assert_eq!(peer.unanswered.len(), 1);
    }
    peer.answer_at(0);
    peer.feed("");
    assert!(peer.is_waiting, "the address's account is asked next");
    assert_eq!(peer.commands.len(), 2);
    peer.answer_at(0);
    peer.feed("");
    assert!(peer.commands[2].starts_with("publish"), "{:?}", peer.commands);
    assert!(peer.commands[3].starts_with("charge"), "{:?}", peer.commands);
    assert_eq!(peer.accounts.taken.len(), 2);
}

#[test]
fn a_request_that_waits_for_others_pays_once() {
    // A batch waits while another one is worked on.
    let mut peer = Peer { policy: limited_tenant(10), ..Peer::with(Default::default(), Answering::OnDemand) };
    let batch = post("/v1/enqueue", &(bearer("acme-token") + "Content-Type: application/x-ndjson\r\n"), BODY);
    peer.feed(batch.repeat(3));
    for _ in 0..5 {
        peer.feed("");
    }
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
        peer.feed("");
    }
    assert_eq!(peer.statuses(), [200; 3]);
    assert_eq!(peer.accounts.taken.len(), 3);
}

#[test]
fn a_head_that_repeats_pays_like_any_other() {
    let policy = || Policy { rates: by_ip(per_minute(6)), ..limited_tenant(100) };
    for are_away in [false, true] {
        let mut peer = Peer::under(policy());
        peer.accounts.are_away = are_away;
        assert_eq!(publishes(&mut peer, 8), [[200; 6].as_slice(), &[429; 2]].concat());
        assert_eq!(peer.accounts.taken.len(), 8 + 6);
    }
}

#[test]
fn a_repeated_head_is_looked_at_anew_after_a_reload() {
    let mut peer = Peer::under(limited_tenant(100));
    assert_eq!(publishes(&mut peer, 4), [200; 4]);
    peer.policy = Policy { generation: 1, ..with_tenants(vec![tenant("globex")]) };
    assert_eq!(publishes(&mut peer, 2), [401; 2]);
    peer.policy = Policy { generation: 2, ..with_tenants(vec![tenant("acme")]) };
    assert_eq!(publishes(&mut peer, 2), [200; 2]);
}

#[test]
fn requests_in_progress_are_counted_and_bounded() {
    let rates = Rates { in_progress_per_shard_max: Some(3), ..Rates::default() };
    let policy = Policy { rates, ..Policy::default() };
    let limits = Limits { documents_max: 5, ..Limits::default() };
    let mut peer = Peer { policy, ..Peer::with(limits, Answering::OnDemand) };
    peer.feed(get("/v1/stats?stream=s", "").repeat(5));
    assert_eq!(peer.unanswered.len(), 3);
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
    }
    let responses = peer.responses();
    assert_eq!(peer.statuses(), [200, 200, 200, 503, 503]);
    let json = responses[3].json();
    assert_eq!((json["code"].as_str(), json["limit"].as_u64()), (Some("TooManyConnections"), Some(3)));
    assert_eq!((responses[3].header("retry-after"), json["error"].as_str()), (Some("10"), Some("Service Unavailable")));
    assert_eq!(peer.telemetry.http_in_progress, 0);
    // Requests ever made are not what is counted.
    for _ in 0..10 {
        peer.feed(get("/v1/stats?stream=s", ""));
        assert_eq!(peer.telemetry.http_in_progress, 1);
        peer.answer_at(0);
    }
    assert_eq!(peer.statuses()[5..], [200; 10]);
    // One whose body is still coming is in progress, and one whose client is gone is not.
    peer.feed(&post("/v1/enqueue", "", BODY)[..80]);
    assert_eq!(peer.telemetry.http_in_progress, 1);
    peer.hang_up();
    peer.hang_up();
    assert_eq!(peer.telemetry.http_in_progress, 0);
}

#[test]
fn a_reader_of_events_is_in_progress_until_it_ends() {
    let rates = Rates { in_progress_per_shard_max: Some(1), ..Rates::default() };
    for (path, asks) in [("/v1/live", false), ("/v1/live?stream=s", true)] {
        let policy = Policy { rates: rates.clone(), ..Policy::default() };
        let mut reader = Peer { policy: policy.clone(), ..Peer::with(Limits::default(), Answering::OnDemand) };
        reader.feed(get(path, ""));
        if asks {
            assert_eq!(reader.telemetry.http_in_progress, 1, "{path}");
            reader.answer_at(0);
        }
        reader.feed("");
        assert!(reader.session.is_live());
        assert_eq!(reader.telemetry.http_in_progress, 1, "{path}");
        let mut other = Peer { telemetry: reader.telemetry.clone(), ..Peer::under(policy) };
        assert_eq!(other.ask_one(get("/v1/stats?stream=s", "")).status, 503, "{path}");
        reader.hang_up();
        reader.hang_up();
        assert_eq!(reader.telemetry.http_in_progress, 0, "{path}");
    }
}

#[test]
fn a_refused_request_whose_body_does_not_come_takes_no_place() {
    let rates = Rates { in_progress_per_shard_max: Some(1), ..Rates::default() };
    let mut peer = Peer::under(Policy { rates, ..Policy::default() });
    peer.feed("POST /nope HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nthe beginning");
    assert_eq!((peer.statuses(), peer.telemetry.http_in_progress), (vec![404], 0));
    let mut other = Peer { telemetry: peer.telemetry.clone(), ..Peer::under(peer.policy.clone()) };
    assert_eq!(other.ask_one(post("/v1/enqueue", "", BODY)).status, 200);
    // One that may still come to something takes a place.
    peer = Peer::new();
    peer.feed(&post("/v1/enqueue", "", BODY)[..80]);
    assert_eq!(peer.telemetry.http_in_progress, 1);
}

fn with_connections(max: u32) -> Policy {
    with_tenants(vec![Tenant { connections_max: Some(max), ..tenant("acme") }])
}

/// A connection that shares the accounts of those before it; gives them back with whether it was let in.
fn connect(mut peer: Peer) -> (Peer, bool) {
    let response = peer.ask_one(upgrade("/v1/subscribe?stream=s", &bearer("acme-token")));
    assert_eq!(response.status, 101);
    let is_in = response.body.is_empty();
    if !is_in {
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert!(text.contains(r#""code":"TenantConnectionLimitExceeded""#) && text.contains("5 WebSocket"), "{text}");
        assert!(response.body.windows(2).any(|code| code == 1008_u16.to_be_bytes()));
    }
    (peer, is_in)
}

#[test]
fn ten_thousand_connects_lock_no_tenant_out() {
    for are_away in [false, true] {
        let (policy, mut accounts) = (with_connections(5), Peer::new().accounts);
        accounts.are_away = are_away;
        for _ in 0..10_000 {
            let (mut peer, is_in) = connect(Peer { policy: policy.clone(), accounts, ..Peer::new() });
            assert!(is_in);
            peer.hang_up();
            peer.hang_up();
            accounts = peer.accounts;
            assert_eq!(accounts.slots_taken(), 0);
        }
    }
}

#[test]
fn a_tenant_has_all_of_its_connections_and_not_one_more() {
    let (policy, mut accounts) = (with_connections(5), Peer::new().accounts);
    let mut open = Vec::new();
    for number in 0..7 {
        let (mut peer, is_in) = connect(Peer { policy: policy.clone(), accounts, ..Peer::new() });
        assert_eq!(is_in, number < 5);
        accounts = std::mem::take(&mut peer.accounts);
        if is_in {
            open.push(peer);
        } else {
            peer.accounts = accounts;
            peer.hang_up();
            accounts = peer.accounts;
        }
        assert_eq!(accounts.slots_taken(), 5.min(number + 1));
    }
    let mut gone = open.pop().unwrap();
    gone.accounts = accounts;
    gone.hang_up();
    assert!(connect(Peer { policy, accounts: gone.accounts, ..Peer::new() }).1);
}

/// A way for a connection to end, in words and in deeds.
type Way = (&'static str, fn(&mut Peer));

#[test]
fn a_slot_comes_back_on_every_way_that_a_connection_ends() {
    let ways: [Way; 6] = [
        ("the shard refuses the subscription", |peer| {
            peer.refusal = Some(conduit_protocol::Refusal {
                code: ErrorCode::TooManyGroups,
                message: "full".into(),
                retry_after_ms: None,
            });
            peer.feed(upgrade("/v1/subscribe?stream=s", &bearer("acme-token")));
        }),
        ("the subscription cannot be read", |peer| {
            peer.feed(upgrade("/v1/subscribe?stream=s&credit=x", &bearer("acme-token")));
        }),
        ("the frames are garbage", |peer| {
            peer.feed(upgrade("/v1/subscribe?stream=s", &bearer("acme-token")));
            peer.feed([0xFF; 64]);
        }),
        ("we close it", |peer| {
            peer.feed(upgrade("/v1/publish", &bearer("acme-token")));
            peer.close(ErrorCode::ServerDraining);
        }),
        ("events end", |peer| {
            peer.feed(get("/v1/live?stream=s", &bearer("acme-token")));
            peer.close(ErrorCode::ServerDraining);
        }),
        ("events are refused", |peer| {
            peer.refusal = Some(conduit_protocol::Refusal {
                code: ErrorCode::TooManyGroups,
                message: "full".into(),
                retry_after_ms: None,
            });
            peer.feed(get("/v1/live?stream=s", &bearer("acme-token")));
            assert_eq!(peer.accounts.slots_taken(), 0);
            peer.feed(get("/v1/stats?stream=s", &bearer("acme-token")));
        }),
    ];
    for (way, end) in ways {
        for are_away in [false, true] {
            let mut peer = Peer::under(with_connections(5));
            peer.accounts.are_away = are_away;
            end(&mut peer);
            while peer.is_waiting && !peer.is_closed {
                peer.feed("");
            }
            assert!(peer.accounts.slots_taken() <= 1, "{way}");
            peer.hang_up();
            assert_eq!(peer.accounts.slots_taken(), 0, "{way}");
        }
    }
}

#[test]
fn a_request_for_events_that_cannot_be_read_keeps_no_slot() {
    for are_away in [false, true] {
        let mut peer = Peer::under(with_connections(2));
        peer.accounts.are_away = are_away;
        for _ in 0..5 {
            let refused = peer.ask_one(get("/v1/live?stream=s&from=nowhere", &bearer("acme-token")));
            assert_eq!((refused.status, peer.accounts.slots_taken()), (400, 0));
        }
    }
}

#[test]
fn a_grant_that_comes_after_the_end_is_given_back() {
    let mut peer = Peer { policy: with_connections(5), ..Peer::with(Default::default(), Answering::OnDemand) };
    peer.accounts.are_away = true;
    peer.feed(upgrade("/v1/subscribe?stream=s", &bearer("acme-token")));
    assert!(peer.commands[0].starts_with("charge"));
    peer.close(ErrorCode::ServerDraining);
    peer.answer_at(0);
    assert_eq!(peer.accounts.slots_taken(), 1);
    peer.hang_up();
    assert_eq!(peer.accounts.slots_taken(), 0);
}

#[test]
fn a_connection_that_moves_to_another_shard_pays_once_and_keeps_its_slot() {
    let rates = Rates { ws_connects_by_ip: Some(per_minute(1)), ..Rates::default() };
    let policy = Policy { rates, ..with_connections(1) };
    let mut first = Peer { policy: policy.clone(), ..Peer::with(Default::default(), Answering::OnDemand) };
    let wire = upgrade("/v1/subscribe?stream=s", &bearer("acme-token"));
    first.feed(&wire);
    assert!(matches!(first.unanswered[..], [(_, http_wire::Asked::Subscribe)]), "{:?}", first.unanswered);
    let carried = first.session.carry(&mut first.telemetry);
    let accounts = std::mem::take(&mut first.accounts);
    let mut second = Peer { policy, accounts, session: Session::carried(carried), ..Peer::new() };
    let response = second.ask_one(&wire);
    assert_eq!((response.status, response.body.is_empty()), (101, true));
    assert_eq!(second.accounts.taken, [Category::Connects, Category::Connections]);
    assert_eq!(second.accounts.slots_taken(), 1);
    second.hang_up();
    assert_eq!(second.accounts.slots_taken(), 0);
    assert_eq!(first.telemetry.http_in_progress, 0);
    // One that goes down on its way gives its slot back as well.
    let mut carried = Session::new().carry(&mut Telemetry::default());
    carried.release(&mut second.accounts);
}

#[test]
fn an_address_opens_websockets_at_its_rate() {
    let rates = Rates { ws_connects_by_ip: Some(per_minute(2)), ..Rates::default() };
    let policy = Policy { rates, ..Policy::default() };
    let mut accounts = Peer::new().accounts;
    let mut lets_in = |address: &str| {
        let peer = address.parse().unwrap();
        let mut peer = Peer { policy: policy.clone(), accounts: std::mem::take(&mut accounts), peer, ..Peer::new() };
        let response = peer.ask_one(upgrade("/v1/publish", ""));
        accounts = peer.accounts;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        let says_when = text.contains("ConnectionRateLimitExceeded") && text.contains("\"retryAfterMs\":30000");
        assert!(text.is_empty() || says_when, "{text}");
        text.is_empty()
    };
    for address in ["10.0.0.1", "10.0.0.2", "2001:db8::1"] {
        assert_eq!([lets_in(address), lets_in(address), lets_in(address)], [true, true, false]);
    }
    assert!(!lets_in("2001:db8::2"), "a host has all the addresses of its network");
    assert!(lets_in("2001:db8:0:1::1"));
    assert!(!lets_in("::ffff:10.0.0.1"));
}
