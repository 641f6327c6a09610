//! A head that repeats the one before is recognised without parsing. That must never be seen: after two publishes, every
//! request means what it means on a fresh connection.

mod http_wire;

use http_wire::{Peer, post, publish};

fn after(earlier: &[u8], bytes: &[u8], draining: bool) -> (Vec<String>, Vec<u16>, bool, Vec<u8>) {
    let mut peer = Peer::new();
    peer.feed(earlier);
    let commands = peer.commands.len();
    let written = peer.out.len();
    peer.draining = draining;
    peer.feed(bytes);
    let statuses =
        http_wire::Response::parse_all(&peer.out[written..]).iter().map(|response| response.status).collect();
    (peer.commands.split_off(commands), statuses, peer.is_closed, peer.rest)
}

#[test]
fn damage_anywhere_is_judged_as_on_a_fresh_connection() {
    let earlier = publish("12").repeat(2);
    let same = publish("34");
    for at in 0..same.len() {
        for byte in *b"\0\t\n\r 0:9Aa{\x7f\xff" {
            let mut damaged = same.clone();
            damaged[at] = byte;
            for draining in [false, true] {
                let fresh = after(b"", &damaged, draining);
                let shown = String::from_utf8_lossy(&damaged);
                assert_eq!(after(&earlier, &damaged, draining), fresh, "{shown}");
            }
        }
        let mut without = same.clone();
        without.remove(at);
        assert_eq!(after(&earlier, &without, false), after(b"", &without, false));
        let doubled = [&same[..=at], &same[at..]].concat();
        assert_eq!(after(&earlier, &doubled, false), after(b"", &doubled, false));
    }
}

#[test]
fn what_a_head_asked_for_is_not_inherited_by_another() {
    let json = |id: &str| post("/v1/enqueue", "", format!(r#"{{"to":"s","envelope":{{"id":"{id}"}}}}"#));
    let message_pack = post("/v1/enqueue", "Accept: application/msgpack\r\n", r#"{"to":"s","envelope":{"id":"a"}}"#);
    let last = post("/v1/enqueue", "Connection: close\r\n", r#"{"to":"s","envelope":{"id":"a"}}"#);
    let mut peer = Peer::new();
    for id in ["1", "22", "a long one", "4"] {
        peer.feed([json(id), json(id), message_pack.clone(), message_pack.clone()].concat());
    }
    peer.feed([json("5"), last, json("6")].concat());
    let types: Vec<_> =
        peer.responses().iter().map(|response| response.header("content-type").unwrap().to_owned()).collect();
    let [j, m] = ["application/json", "application/msgpack"];
    assert_eq!(types, [[j, j, m, m].repeat(4), vec![j, j]].concat());
    assert!(peer.is_closed && peer.responses().last().unwrap().closes());
}
