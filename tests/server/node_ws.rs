//! The npm client `ws` publishes, consumes and errs; the scripts in `tests/foreign` assert what comes of it.

use crate::common::Server;
use crate::common::foreign::{node, passes};

fn run(script: &str) {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        passes(node(script, &[&server.http.to_string(), &server.ws.to_string()]));
    }
}

#[test]
fn credit_bounds_deliveries_and_every_form_of_ack_settles() {
    run("credit_and_acks.mjs");
}

#[test]
fn a_nacked_message_comes_back_at_once_or_after_its_delay() {
    run("nacks.mjs");
}

#[test]
fn every_publish_with_a_ref_is_answered_with_it() {
    run("publishing.mjs");
}

#[test]
fn each_kind_of_mistake_has_its_close_code() {
    run("close_codes.mjs");
}

#[test]
fn fragments_and_control_frames_are_understood() {
    run("frames.mjs");
}

#[test]
fn messagepack_means_the_same_as_json() {
    run("messagepack.mjs");
}
