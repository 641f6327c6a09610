//! The files of a report: all there, readable by machines, and about the run that was made.

mod common;

use base64::prelude::*;
use common::{RunningRelay, run_quietly};
use conduit_loadtest::reference::relay::Misdeed;
use conduit_loadtest::report::files::write_all;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

#[test]
fn every_file_is_written_and_the_json_has_every_member() {
    let relay = RunningRelay::start(Misdeed::None);
    let mut plan = relay.plan();
    (plan.confirm, plan.server_pid) = (true, Some(std::process::id()));
    let report = run_quietly(&plan);
    let folder = std::env::temp_dir().join(format!("conduit-loadtest-report-{}", std::process::id()));
    write_all(&report, &folder).expect("the folder can be written");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect("the file is there");
    let json: Value = serde_json::from_str(&text("report.json")).expect("valid JSON");
    assert_eq!(json["schema"], "conduit-loadtest/1");
    for pointer in [
        "/verdict/passed",
        "/rates/deliveredPerS",
        "/latency/deliver/p99",
        "/latency/accept/p50",
        "/window/windowNs",
        "/window/delivered",
        "/total/published",
        "/server/cpuNsPerMessage",
        "/server/memory/anonBytes",
        "/generator/cpuNs",
        "/timeline/0/published",
        "/plan/payload_bytes",
    ] {
        assert!(json.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer} in {json:#}");
    }
    assert_eq!(json["verdict"]["passed"], true);
    assert_eq!(json["total"]["delivered"], 2_000);
    assert!(text("report.html").matches("<svg").count() >= 3);
    assert!(text("deliver.hgrm").contains("#[Mean"));
    let log = text("deliver.hlog");
    let deliveries: u64 = IntervalLogIterator::new(log.as_bytes())
        .filter_map(|entry| match entry.expect("every line parses") {
            LogEntry::Interval(interval) => Some(interval.encoded_histogram().to_owned()),
            _ => None,
        })
        .map(|text| BASE64_STANDARD.decode(text).expect("base64"))
        .map(|bytes| Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).expect("it decodes").len())
        .sum();
    assert_eq!(Some(deliveries), json["latency"]["deliver"]["count"].as_u64());
    std::fs::remove_dir_all(&folder).expect("it was just written");
}
