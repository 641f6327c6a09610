//! Python's `websockets` publishes and consumes with every option, on both listeners.

use crate::common::Server;
use crate::common::foreign::{passes, python};

#[test]
fn every_option_of_a_subscription_holds_on_both_listeners() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        passes(python("publish_and_consume.py", &[&server.http.to_string(), &server.ws.to_string()]));
    }
}
