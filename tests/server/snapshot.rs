//! `/v1/snapshot`: one table of the server for each view, and a list of the views for whoever asks for another.

use crate::common::foreign::mkctl;
use crate::common::{Server, Start, eventually};
use conduit_protocol::View;
use serde_json::{Value, json};

fn rows(server: &Server, view: &str) -> Vec<Value> {
    let mut document = server.json(&format!("/v1/snapshot?view={view}"));
    let Value::Array(rows) = document["rows"].take() else { panic!("no rows: {document}") };
    rows
}

#[test]
fn every_view_has_rows_that_say_what_there_is() {
    let server = Server::with_shards(2);
    server.publish("jobs", 0..5);
    let mut worker = server.consume("jobs", "credit=2&refill=ack");
    assert_eq!(worker.deliveries(2).len(), 2);
    let _audit = server.consume("jobs", "group=audit&from=new");
    let streams = rows(&server, "streams");
    assert_eq!(streams.len(), 1);
    let said = |row: &Value, name: &str| row[name].clone();
    assert_eq!((said(&streams[0], "stream"), said(&streams[0], "inflight")), (json!("jobs"), json!(2)));

    let consumers = rows(&server, "consumers");
    let of: Vec<_> =
        consumers.iter().map(|row| (said(row, "group"), said(row, "inflight"), said(row, "credit"))).collect();
    assert_eq!(of, [(json!(""), json!(2), json!(0)), (json!("audit"), json!(0), json!(0))]);
    for row in &consumers {
        assert_eq!((said(row, "stream"), said(row, "ip")), (json!("jobs"), json!("127.0.0.1")));
        assert!(row["ageMs"].is_u64() && row["connection"].is_string(), "{row}");
    }
    assert_eq!(consumers[0]["refill"], "ack");

    let groups = rows(&server, "groups");
    let of: Vec<_> = groups.iter().map(|row| (said(row, "group"), said(row, "backlog"))).collect();
    assert_eq!(of, [(json!(""), json!(3)), (json!("audit"), json!(0))]);

    let tenants = rows(&server, "tenants");
    assert_eq!(
        (tenants.len(), said(&tenants[0], "tenant"), said(&tenants[0], "streams")),
        (1, json!("default"), json!(1))
    );
    assert_eq!((said(&tenants[0], "activeConnections"), said(&tenants[0], "messagesDelivered")), (json!(2), json!(2)));

    let shards: Vec<_> = rows(&server, "shards").iter().map(|row| said(row, "shard")).collect();
    assert_eq!(shards, [json!(0), json!(1)]);

    let limits = rows(&server, "limits");
    let connections = limits.iter().find(|row| row["limit"] == "connections").expect("a limit of connections");
    assert_eq!((said(connections, "per"), said(connections, "max")), (json!("server"), json!(100_000)));
    assert!(connections["now"].as_u64() >= Some(2), "{connections}");
}

#[test]
fn an_unknown_view_is_a_404_that_names_the_views() {
    let server = Server::with_shards(1);
    for target in ["/v1/snapshot", "/v1/snapshot?view=", "/v1/snapshot?view=Streams", "/v1/snapshot?view=everything"] {
        let refused = server.get(target);
        assert_eq!((refused.status, refused.code().as_str()), (404, "NotFound"), "{target}");
        for view in View::ALL {
            assert!(refused.text().contains(view.name()), "{target}: {}", refused.text());
        }
    }
}

#[test]
fn rows_come_and_go_with_what_they_show() {
    let server = Server::with_shards(2);
    assert_eq!(rows(&server, "consumers"), Vec::<Value>::new());
    let consumers: Vec<_> = (0..20).map(|n| server.consume(&format!("s{n}"), "credit=1")).collect();
    assert_eq!(rows(&server, "consumers").len(), 20);
    for consumer in consumers {
        consumer.close();
    }
    eventually("nobody", || rows(&server, "consumers").is_empty().then_some(()));
}

#[test]
fn limits_tell_what_holds_and_nothing_else() {
    let server = Start::new().flags("--http-rate-limit-enabled true --http-rate-limit-per-ip 50").serve();
    let limits = rows(&server, "limits");
    let rates: Vec<_> = limits.iter().filter_map(|row| row["limit"].as_str()?.strip_prefix("requests ")).collect();
    assert!(rates.contains(&"/v1/enqueue") && !rates.contains(&"/health"), "health costs nothing: {rates:?}");
}

#[test]
fn mkctl_shows_each_view() {
    let server = Server::with_shards(2);
    server.publish("jobs", 0..3);
    let _worker = server.consume("jobs", "credit=1");
    for view in View::ALL {
        let shown = mkctl(&server, &["snapshot", view.name(), "--json"]).json();
        assert_eq!(shown["view"], view.name());
        assert!(shown["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{shown}");
    }
    let table = mkctl(&server, &["snapshot", "streams"]).stdout;
    let mut lines = table.lines();
    assert!(lines.next().is_some_and(|titles| titles.contains("stream") && titles.contains("depth")), "{table}");
    assert!(lines.next().is_some_and(|row| row.contains("jobs")) && lines.next().is_none(), "{table}");
    assert_eq!(mkctl(&server, &["snapshot", "everything"]).code, 2);
}
