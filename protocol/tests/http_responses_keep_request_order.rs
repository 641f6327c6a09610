//! Responses leave in the order of the requests, whatever the order of the answers.

mod http_wire;

use conduit_protocol::{Limits, Token};
use http_wire::{Answering, Peer, publish};
use proptest::prelude::*;

fn ids(peer: &Peer) -> Vec<String> {
    peer.responses().iter().map(|response| response.json()["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_early_answer_waits_for_those_before_it() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed([publish("0"), publish("1"), publish("2")].concat());
    peer.answer_at(2);
    peer.answer_at(1);
    assert!(peer.out.is_empty());
    peer.answer_at(0);
    assert_eq!(ids(&peer), ["0", "1", "2"]);
    assert!(peer.session.is_idle());
}

#[test]
fn an_answer_that_nobody_waits_for_is_ignored() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed([publish("0"), publish("1")].concat());
    let tokens: Vec<Token> = peer.unanswered.iter().map(|(token, _)| *token).collect();
    let answer = conduit_protocol::Answer::Published {
        id: "again",
        stream: "s",
        seq: conduit_protocol::Seq(9),
        promise: conduit_protocol::Promise::Unsaid,
        duplicate: false,
    };
    for stray in [Token::NONE, Token(tokens[1].0 + 1), Token(0x7fff_ffff), Token(0x8000_0000)] {
        peer.give(stray, &answer);
    }
    peer.answer_at(1);
    peer.give(tokens[1], &answer);
    peer.answer_at(0);
    peer.give(tokens[0], &answer);
    assert_eq!(ids(&peer), ["0", "1"]);
}

#[test]
fn one_stuck_request_does_not_make_the_queue_grow_with_traffic() {
    // Answers that wait behind others are kept; those that left must not be.
    let mut peer = Peer::with(Limits { unanswered_max: 64, ..Limits::default() }, Answering::OnDemand);
    let mut expected = Vec::new();
    for n in 0..20_000 {
        let id = n.to_string();
        peer.feed(publish(&id));
        expected.push(id);
        if peer.unanswered.len() == 40 {
            // Always out of order, and never all of them: early responses are there at any time.
            for index in [39, 20, 10, 0, 0, 0] {
                peer.answer_at(index.min(peer.unanswered.len() - 1));
            }
        }
    }
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
    }
    assert_eq!(ids(&peer), expected);
}

proptest! {
    #[test]
    fn any_order_of_answers_gives_the_order_of_requests(
        batches in prop::collection::vec((1..8_usize, prop::collection::vec(any::<prop::sample::Index>(), 0..8)), 1..20),
    ) {
        let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
        let mut expected = Vec::new();
        for (requests, answers) in batches {
            for _ in 0..requests {
                let id = expected.len().to_string();
                peer.feed(publish(&id));
                expected.push(id);
            }
            for answer in answers {
                if !peer.unanswered.is_empty() {
                    peer.answer_at(answer.index(peer.unanswered.len()));
                }
            }
        }
        while !peer.unanswered.is_empty() {
            peer.answer_at(peer.unanswered.len() - 1);
        }
        prop_assert_eq!(ids(&peer), expected);
        prop_assert!(peer.session.is_idle());
    }
}
