//! One run from connecting to the verdict.

use crate::engine::connect::{ConnectFault, begin_websocket, open, read_some};
use crate::engine::generator::{Generator, Outcome, Seat, WAKE};
use crate::engine::role::Role;
use crate::engine::shared::{Phase, Shared};
use crate::engine::tally::{Counts, Interval, Latencies};
use crate::engine::tickets::Tickets;
use crate::engine::world::World;
use crate::pace::Timetable;
use crate::plan::{ConsumeWire, Plan, PublishWire};
use crate::process;
use crate::progress::Display;
use crate::report::{Generation, Report, ServerUse, TimePoint, Verdict};
use crate::role::http_producer::HttpProducer;
use crate::role::nats::{self, NatsConsumer, NatsProducer};
use crate::role::redis::{self, RedisConsumer, RedisProducer};
use crate::role::ws_consumer::WsConsumer;
use crate::role::ws_producer::WsProducer;
use crate::verify::{OrderSeen, Published, StreamLedger};
use crate::wire::frame::{MaskKeys, append};
use mio::{Poll, Waker};
use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// Between a run's beginning and the open loop's first message: threads are up by then.
const OPEN_LOOP_START_NS: u64 = 50_000_000;

/// Seconds of the timeline that are kept open for threads that report late.
const OPEN_SECONDS_MAX: usize = 4;

/// Why a run did not come about.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// The plan contradicts itself.
    #[error("{0}")]
    Plan(String),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectFault),
    /// The system refused something.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Set when the user wants the run to end early; the report covers what there was.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Runs `plan` and reports.
///
/// # Errors
/// When the plan is invalid, no connection comes about, or the system refuses threads or polls. Everything that goes
/// wrong later is in the report.
pub fn run(plan: &Plan, display: &mut Display) -> Result<Report, RunFault> {
    plan.check().map_err(RunFault::Plan)?;
    // The connections need it; a limit that stays too low shows itself when one cannot be opened.
    let _ = process::raise_file_limit();
    let plan = Arc::new(plan.clone());
    let (crew, polls) = connect(&plan)?;
    let wakers = polls.iter().map(|poll| Waker::new(poll.registry(), WAKE)).collect::<Result<Vec<_>, _>>()?;
    let shared = Arc::new(Shared::new(&plan, wakers));
    let mut conductor = Conductor::new(&plan, &shared);
    if plan.warmup.is_zero() {
        // Before the threads start: a short run could be over before its window is opened.
        conductor.open_window();
    }
    let threads = start(&plan, crew, polls, &shared)?;
    conductor.conduct(display);
    let outcomes = join(threads, &shared);
    conductor.collect(display);
    Ok(conductor.report(&outcomes))
}

type Threads = Vec<JoinHandle<std::io::Result<Outcome>>>;

/// Connects everything; the threads' polls are made first, since connecting takes longer than failing here.
fn connect(plan: &Plan) -> Result<(Crew<'_>, Vec<Poll>), RunFault> {
    let polls = (0..plan.threads).map(|_| Poll::new()).collect::<Result<Vec<_>, _>>()?;
    let mut crew = Crew::new(plan);
    // Consumers first: the first message then finds its reader.
    for consumer in 0..plan.consumers {
        crew.seat_consumer(consumer)?;
    }
    for producer in 0..plan.producers {
        crew.seat_producer(producer)?;
    }
    Ok((crew, polls))
}

/// Starts the threads.
fn start(plan: &Arc<Plan>, mut crew: Crew<'_>, polls: Vec<Poll>, shared: &Arc<Shared>) -> std::io::Result<Threads> {
    let mut threads = Vec::new();
    for (thread, (poll, seats)) in polls.into_iter().zip(crew.seats).enumerate() {
        let (plan, shared) = (Arc::clone(plan), Arc::clone(shared));
        let ledgers = std::mem::take(&mut crew.ledgers[thread]);
        let cpu = plan.cpus.get(thread % plan.cpus.len().max(1)).copied();
        let body = move || {
            process::pin(cpu.as_slice())?;
            let mut world = World::new(plan, shared, thread);
            world.ledgers = ledgers;
            Ok(Generator::new(poll, seats, world)?.run())
        };
        threads.push(std::thread::Builder::new().name(format!("generator-{thread}")).spawn(body)?);
    }
    Ok(threads)
}

/// Connections, seated at the threads that will drive them.
struct Crew<'a> {
    plan: &'a Plan,
    seats: Vec<Vec<Seat>>,
    ledgers: Vec<Vec<StreamLedger>>,
    keys: MaskKeys,
}

impl<'a> Crew<'a> {
    fn new(plan: &'a Plan) -> Self {
        let mut ledgers: Vec<Vec<StreamLedger>> = (0..plan.threads).map(|_| Vec::new()).collect();
        if plan.consume != ConsumeWire::None {
            for stream in 0..plan.streams {
                let ledger = StreamLedger::new(plan.layout(), plan.run, stream);
                ledgers[plan.thread_of_stream(stream)].push(ledger);
            }
        }
        Self { plan, seats: (0..plan.threads).map(|_| Vec::new()).collect(), ledgers, keys: MaskKeys::new(7) }
    }

    fn seat_consumer(&mut self, consumer: u32) -> Result<(), ConnectFault> {
        let plan = self.plan;
        let stream = consumer % plan.streams;
        let thread = plan.thread_of_stream(stream);
        // Streams go to threads in turn, so this stream's ledger is this far down its thread's list.
        let ledger = stream as usize / plan.threads;
        let order = self.ledgers[thread].get(ledger).map_or_else(OrderSeen::default, StreamLedger::order);
        let (socket, rest, role): (TcpStream, Vec<u8>, Box<dyn Role>) = match plan.consume {
            ConsumeWire::None => return Ok(()),
            ConsumeWire::Ws => {
                let (socket, rest) = websocket(plan, &WsConsumer::target(plan, stream))?;
                (socket, rest, Box::new(WsConsumer::new(plan, ledger, order)))
            }
            ConsumeWire::Nats => {
                let hello = [format!("SUB {} 1\r\n", nats::subject(plan, stream)).as_bytes(), nats::CONNECT].concat();
                (self.nats(&hello)?, Vec::new(), Box::new(NatsConsumer::new(plan, ledger, order)))
            }
            ConsumeWire::RedisSubscribe => {
                let hello = redis::command(&[b"SUBSCRIBE", plan.stream_name(stream).as_bytes()]);
                let socket = greeted(open(&plan.ws)?, plan, &hello, b":1\r\n")?;
                (socket, Vec::new(), Box::new(RedisConsumer::new(plan, ledger, order)))
            }
        };
        self.seats[thread].push(Seat { socket, rest, role, producer: None });
        Ok(())
    }

    fn seat_producer(&mut self, producer: u32) -> Result<(), ConnectFault> {
        let plan = self.plan;
        let timetable = plan.rate.map(|rate| Timetable::new(OPEN_LOOP_START_NS, rate, producer, plan.producers));
        let tickets = Tickets::new(plan.share_of(producer), timetable);
        let (socket, rest, role): (TcpStream, Vec<u8>, Box<dyn Role>) = match plan.publish {
            PublishWire::Http | PublishWire::HttpBatch => {
                (open(&plan.http)?, Vec::new(), Box::new(HttpProducer::new(plan, producer, tickets)))
            }
            PublishWire::Ws => {
                let (socket, rest) = websocket(plan, &format!("/v1/publish?codec={}", plan.codec.name()))?;
                (socket, rest, Box::new(WsProducer::new(plan, producer, tickets)))
            }
            PublishWire::Nats => {
                let socket = self.nats(nats::CONNECT)?;
                (socket, Vec::new(), Box::new(NatsProducer::new(plan, producer, tickets)))
            }
            PublishWire::RedisPublish | PublishWire::RedisAppend | PublishWire::RedisStream => {
                (open(&plan.ws)?, Vec::new(), Box::new(RedisProducer::new(plan, producer, tickets)))
            }
        };
        let seat = Seat { socket, rest, role, producer: Some((producer, timetable)) };
        self.seats[plan.thread_of_producer(producer)].push(seat);
        Ok(())
    }

    /// A NATS connection that has been greeted with `hello` (which ends in `PING`).
    fn nats(&mut self, hello: &[u8]) -> Result<TcpStream, ConnectFault> {
        let (socket, _) = websocket(self.plan, "/")?;
        let mut frame = Vec::new();
        append(&mut frame, OpCode::Data(Data::Binary), hello, self.keys.draw());
        greeted(socket, self.plan, &frame, b"PONG\r\n")
    }
}

fn websocket(plan: &Plan, path: &str) -> Result<(TcpStream, Vec<u8>), ConnectFault> {
    begin_websocket(&plan.ws, path)?.finish(&plan.ws)
}

/// Sends `hello` and waits for an answer that ends in `end`.
fn greeted(mut socket: TcpStream, plan: &Plan, hello: &[u8], end: &[u8]) -> Result<TcpStream, ConnectFault> {
    let fault = |reason: String| ConnectFault { host: plan.ws.host.clone(), reason };
    socket.write_all(hello).map_err(|error| fault(error.to_string()))?;
    let mut answer = Vec::new();
    while !answer.ends_with(end) {
        if read_some(&mut socket, &mut answer).map_err(&fault)? == 0 {
            return Err(fault(format!("it hung up: {}", String::from_utf8_lossy(&answer))));
        }
    }
    Ok(socket)
}

fn join(threads: Threads, shared: &Shared) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(Ok(outcome)) => outcomes.push(outcome),
            Ok(Err(error)) => shared.note_fault(format!("a generator thread failed: {error}")),
            Err(_) => shared.note_fault("a generator thread panicked".into()),
        }
    }
    outcomes
}

/// Everything measured at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Moment {
    at_ns: u64,
    counts: Counts,
    server_cpu_ns: Option<u64>,
    server_wait_ns: Option<u64>,
    own_cpu_ns: u64,
}

/// Ends when nothing has moved for a while.
#[derive(Debug)]
struct Patience {
    length: Duration,
    since: Instant,
    last: (u64, u64, u64),
}

impl Patience {
    fn new(length: Duration) -> Self {
        Self { length, since: Instant::now(), last: (0, 0, 0) }
    }

    fn is_over(&mut self, counts: &Counts) -> bool {
        let now = (counts.published, counts.accepted, counts.delivered);
        if now != self.last {
            (self.since, self.last) = (Instant::now(), now);
        }
        self.since.elapsed() > self.length
    }
}

/// Leads the threads through the phases and gathers what they say.
struct Conductor<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    begin: Moment,
    end: Moment,
    latencies: Latencies,
    timeline: Vec<TimePoint>,
    /// The last seconds, into which late intervals may still fall.
    open_seconds: VecDeque<(u64, Latencies)>,
    /// The seconds before those: their delivery latencies, packed.
    deliver_per_second: Vec<(u64, Vec<u8>)>,
    has_drained: bool,
}

impl<'a> Conductor<'a> {
    fn new(plan: &'a Plan, shared: &'a Shared) -> Self {
        Self {
            plan,
            shared,
            begin: Moment::default(),
            end: Moment::default(),
            latencies: Latencies::new(),
            timeline: Vec::new(),
            open_seconds: VecDeque::new(),
            deliver_per_second: Vec::new(),
            has_drained: false,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            at_ns: self.shared.now_ns(),
            counts: self.shared.figures(),
            server_cpu_ns: self.plan.server_pid.and_then(|pid| process::cpu_ns_with_children(pid).ok()),
            server_wait_ns: self.plan.server_pid.and_then(|pid| process::wait_ns(pid).ok()),
            own_cpu_ns: process::cpu_ns(std::process::id()).unwrap_or(0),
        }
    }

    /// From here on, what happens counts.
    fn open_window(&mut self) {
        self.begin = self.moment();
        self.shared.enter(Phase::Measure);
    }

    fn conduct(&mut self, display: &mut Display) {
        if !self.plan.warmup.is_zero() {
            self.hold(Some(self.plan.warmup), display);
            self.open_window();
        }
        self.hold(self.plan.duration, display);
        self.end = self.moment();
        self.shared.enter(Phase::Drain);
        self.has_drained = self.drain(display);
        self.shared.enter(Phase::Quit);
    }

    /// Lets the load flow for a while, or until everything has been published.
    fn hold(&mut self, duration: Option<Duration>, display: &mut Display) {
        let since = Instant::now();
        let mut patience = Patience::new(self.plan.drain);
        while !self.is_over() && !self.is_stuck(&mut patience) {
            let left = duration.map_or(Duration::MAX, |whole| whole.saturating_sub(since.elapsed()));
            if left.is_zero() {
                return;
            }
            // With a set number of messages the end is looked for often, so that the window ends with the load.
            let nap = Duration::from_millis(if self.plan.messages.is_some() { 2 } else { 50 });
            std::thread::sleep(left.min(nap));
            self.collect(display);
        }
    }

    fn is_over(&self) -> bool {
        let counts = self.shared.figures();
        let is_complete = self.plan.messages.is_some_and(|all| self.is_complete(&counts, all));
        is_complete || self.is_dead(&counts) || is_interrupted()
    }

    /// A run of a set number of messages goes nowhere any more: what is missing will not come.
    fn is_stuck(&self, patience: &mut Patience) -> bool {
        let counts = self.shared.figures();
        let Some(all) = self.plan.messages else { return false };
        // An open loop may rightly be silent until its next message is due.
        (self.plan.rate.is_none() || counts.published >= all) && patience.is_over(&counts)
    }

    /// All messages have been published, answered and, where there are consumers, delivered.
    fn is_complete(&self, counts: &Counts, all: u64) -> bool {
        let done = if self.plan.consume == ConsumeWire::None { counts.accepted } else { counts.delivered };
        counts.published >= all && done + counts.excused >= all
    }

    fn is_dead(&self, counts: &Counts) -> bool {
        counts.disconnected >= u64::from(self.plan.producers) + u64::from(self.plan.consumers)
    }

    /// Waits for what is on its way; false when it stopped coming.
    fn drain(&mut self, display: &mut Display) -> bool {
        let mut patience = Patience::new(self.plan.drain);
        loop {
            std::thread::sleep(Duration::from_millis(2));
            self.collect(display);
            let counts = self.shared.figures();
            let has_all =
                self.plan.consume == ConsumeWire::None || counts.delivered + counts.excused >= counts.published;
            if (self.shared.is_settled() && has_all) || self.is_dead(&counts) {
                return true;
            }
            if patience.is_over(&counts) {
                return false;
            }
        }
    }

    /// Takes the threads' intervals into the totals and the timeline.
    fn collect(&mut self, display: &mut Display) {
        for interval in self.shared.take_intervals() {
            if interval.is_measured {
                self.latencies.add(&interval.latencies);
            }
            display.note_interval(&interval);
            self.place_on_timeline(&interval);
        }
        display.refresh(&self.shared.figures(), self.shared.now_ns(), self.shared.phase());
    }

    /// Threads cut their intervals at slightly different times; each goes to the second its end is nearest to.
    fn place_on_timeline(&mut self, interval: &Interval) {
        let second = (interval.end_ns + 500_000_000) / 1_000_000_000;
        // An interval that comes too late for its second goes to the oldest that is still open.
        let oldest = self.open_seconds.front().map_or(0, |(oldest, _)| *oldest);
        let second = second.max(oldest);
        let at = match self.open_seconds.iter().position(|(known, _)| *known == second) {
            Some(at) => at,
            None => self.open_second(second),
        };
        let place = self.timeline.len() - self.open_seconds.len() + at;
        let latencies = &mut self.open_seconds[at].1;
        latencies.add(&interval.latencies);
        let shown = if latencies.deliver.is_empty() { &latencies.accept } else { &latencies.deliver };
        let point = &mut self.timeline[place];
        point.published += interval.counts.published;
        point.accepted += interval.counts.accepted;
        point.delivered += interval.counts.delivered;
        point.errors += interval.counts.errors;
        point.backpressure += interval.counts.backpressure;
        point.is_measured |= interval.is_measured;
        (point.p50_ns, point.p99_ns) = (shown.value_at_quantile(0.5), shown.value_at_quantile(0.99));
        if self.open_seconds.len() > OPEN_SECONDS_MAX {
            self.pack_oldest();
        }
    }

    fn open_second(&mut self, second: u64) -> usize {
        let at = self.open_seconds.iter().take_while(|(known, _)| *known < second).count();
        let place = self.timeline.len() - self.open_seconds.len() + at;
        self.open_seconds.insert(at, (second, Latencies::new()));
        self.timeline.insert(place, TimePoint { second, ..TimePoint::default() });
        at
    }

    fn pack_oldest(&mut self) {
        let place = self.timeline.len() - self.open_seconds.len();
        if let Some((second, latencies)) = self.open_seconds.pop_front()
            && self.timeline[place].is_measured
        {
            self.deliver_per_second.push((second, crate::report::files::pack(&latencies.deliver)));
        }
    }

    fn report(mut self, outcomes: &[Outcome]) -> Report {
        while !self.open_seconds.is_empty() {
            self.pack_oldest();
        }
        let verdict = self.verdict(outcomes);
        let window_ns = self.end.at_ns.saturating_sub(self.begin.at_ns).max(1);
        let window = self.end.counts.since(&self.begin.counts);
        let server = self.plan.server_pid.and_then(|pid| {
            let cpu_ns = self.end.server_cpu_ns?.checked_sub(self.begin.server_cpu_ns?)?;
            let waited_ns = self.end.server_wait_ns?.saturating_sub(self.begin.server_wait_ns?);
            let memory = process::memory(pid).unwrap_or_default();
            Some(ServerUse { pid, cpu_ns, waited_ns, memory })
        });
        let generation = Generation { cpu_ns: self.end.own_cpu_ns.saturating_sub(self.begin.own_cpu_ns) };
        Report::new(crate::report::Findings {
            plan: self.plan.clone(),
            window_ns,
            window,
            total: self.shared.figures(),
            latencies: self.latencies,
            deliver_per_second: self.deliver_per_second,
            timeline: self.timeline,
            server,
            generation,
            verdict,
        })
    }

    fn verdict(&self, outcomes: &[Outcome]) -> Verdict {
        let mut published = vec![Published::default(); self.plan.producers as usize];
        for (producer, what) in outcomes.iter().flat_map(|outcome| &outcome.published) {
            published[*producer as usize] = what.clone();
        }
        let ledgers = outcomes.iter().flat_map(|outcome| &outcome.ledgers);
        let missing = ledgers.flat_map(|ledger| ledger.missing(&published)).collect();
        Verdict::new(&self.shared.figures(), missing, &published, self.has_drained, self.shared.faults())
    }
}

/// Lets SIGINT and SIGTERM end a run early, with a report of what there was; a second one ends the process.
///
/// # Errors
/// When the system refuses the handlers.
pub fn end_early_on_signal() -> std::io::Result<()> {
    let once = interruption();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&once))?;
        signal_hook::flag::register(signal, Arc::clone(&once))?;
    }
    Ok(())
}

/// The flag that such a signal sets.
#[must_use]
pub fn interruption() -> Arc<AtomicBool> {
    Arc::clone(INTERRUPTED.get_or_init(Arc::default))
}

fn is_interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}
