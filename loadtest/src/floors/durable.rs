//! The durable rows: what an answer that waits for the disk costs in CPU, and in time.

use super::disk::time_syncs;
use super::{FloorOptions, Line, Row, Yardstick, figure, measure_plan, median, undisturbed};
use crate::plan::Plan;
use crate::reference::{Reference, ReferenceServer};
use crate::report::Report;
use crate::survival::rest::{Rest, path_segment};
use crate::sweep::Server;
use hdrhistogram::Histogram;
use std::path::PathBuf;

/// A stream that nobody consumes keeps so many messages. Redis keeps all of its own.
const KEPT_MAX: u64 = 100_000;

/// Syncs of the disk that are timed before and after each lone round.
const PROBES: u64 = 1_000;

/// Throughput: messages per CPU-second against Redis, with `XADD` and with `RPUSH`.
pub(super) fn measure_throughput(options: &FloorOptions) -> anyhow::Result<Line> {
    let Yardstick::Ratio(reference, floor, aim) = Row::Durable.yardstick() else { unreachable!("it is a ratio") };
    let (mut ours, mut streams, mut lists) = (vec![], vec![], vec![]);
    let (mut own_cost, mut rates, mut faults, mut disturbed_rounds) = (vec![], vec![], vec![], 0);
    for _ in 0..options.rounds.max(1) {
        for (reference, figures) in [(reference, &mut streams), (Reference::RedisAof, &mut lists)] {
            let report = undisturbed(&mut disturbed_rounds, || measure_redis(options, reference))?;
            figures.push(figure(&report, &mut faults));
        }
        let report = undisturbed(&mut disturbed_rounds, || measure_ours(options, Row::Durable))?;
        ours.push(figure(&report, &mut faults));
        own_cost.push(report.generator_ns_per_message());
        rates.push(report.messages_per_s());
    }
    let (mine, other, list) = (median(&ours), median(&streams), median(&lists));
    let result = mine / other;
    Ok(Line {
        row: Row::Durable,
        ours: mine,
        reference: Some(other),
        result,
        floor,
        aim,
        meets_floor: result >= floor,
        meets_aim: result >= aim,
        ours_rounds: ours,
        reference_rounds: streams,
        generator_ns_per_message: median(&own_cost),
        ours_per_s: median(&rates),
        disturbed_rounds,
        faults,
        also: vec![("Redis RPUSH".to_owned(), list, mine / list)],
    })
}

/// Latency: one publish at a time, against one write and sync at a time of the same disk in the same run.
pub(super) fn measure_lone(options: &FloorOptions) -> anyhow::Result<Line> {
    let Yardstick::AtMost(floor, aim) = Row::DurableLone.yardstick() else { unreachable!("it is a bound") };
    let (mut ours, mut disk, mut ratios) = (vec![], vec![], vec![]);
    let (mut own_cost, mut rates, mut faults, mut disturbed_rounds) = (vec![], vec![], vec![], 0);
    for _ in 0..options.rounds.max(1) {
        let mut times_ns = Histogram::new_with_max(60_000_000_000, 3)?;
        time_syncs(&options.disk, PROBES, &mut times_ns)?;
        let report = undisturbed(&mut disturbed_rounds, || measure_ours(options, Row::DurableLone))?;
        time_syncs(&options.disk, PROBES, &mut times_ns)?;
        // A run that is not sound notes why; its latency counts all the same.
        figure(&report, &mut faults);
        let lone = report.latency.accept.map_or(f64::MAX, |latency| latency.p99 as f64);
        let own = times_ns.value_at_quantile(0.99) as f64;
        ours.push(lone);
        disk.push(own);
        ratios.push(lone / own);
        own_cost.push(report.generator_ns_per_message());
        rates.push(report.messages_per_s());
    }
    let result = median(&ratios);
    Ok(Line {
        row: Row::DurableLone,
        ours: median(&ours),
        reference: Some(median(&disk)),
        result,
        floor,
        aim,
        // Less is better.
        meets_floor: result <= floor,
        meets_aim: result <= aim,
        ours_rounds: ours,
        reference_rounds: disk,
        generator_ns_per_message: median(&own_cost),
        ours_per_s: median(&rates),
        disturbed_rounds,
        faults,
        also: Vec::new(),
    })
}

fn measure_redis(options: &FloorOptions, reference: Reference) -> anyhow::Result<Report> {
    let mut server = ReferenceServer::start_on(reference, &[options.server_cpu], &options.disk)?;
    let mut plan = server.plan();
    (plan.producers, plan.inflight) = (4, 64);
    let report = measure_plan(options, plan)?;
    server.stop();
    Ok(report)
}

/// Our server in a fresh data directory.
fn measure_ours(options: &FloorOptions, row: Row) -> anyhow::Result<Report> {
    let folder = Folder::new(options)?;
    let mut server = Server::start_in(&options.server_bin, 1, &[options.server_cpu], Some(&folder.0))?;
    let mut plan = Plan { server_pid: Some(server.pid()), ..Plan::new(&server.target) };
    row.apply(&mut plan);
    bound_streams(&plan)?;
    let report = measure_plan(options, plan)?;
    server.stop();
    Ok(report)
}

/// Nobody consumes, so the streams let their oldest messages go.
fn bound_streams(plan: &Plan) -> anyhow::Result<()> {
    let mut rest = Rest::open(&plan.http)?;
    let settings = format!(r#"{{"durability":"commit","retention":{{"policy":"log","maxMessages":{KEPT_MAX}}}}}"#);
    for stream in 0..plan.streams {
        let path = format!("/v1/streams/{}", path_segment(&plan.stream_name(stream)));
        let reply = rest.ask("PUT", &path, &settings)?;
        anyhow::ensure!(matches!(reply.status, 200 | 201), "PUT {path}: {}", reply.words());
    }
    Ok(())
}

/// A data directory that is removed when this value goes.
struct Folder(PathBuf);

impl Folder {
    fn new(options: &FloorOptions) -> anyhow::Result<Self> {
        let path = options.disk.join(format!("conduit-floors-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind is named like ours and can be removed by hand.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
