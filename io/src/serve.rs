//! Puts the server together: checks the machine, binds, starts an executor per shard and one for control, and waits.

use crate::clock::Clock;
use crate::control::{self, Control};
use crate::data::Data;
use crate::egress::{Egress, Operation};
use crate::ending::Ending;
use crate::error::ServeError;
use crate::host::Host;
use crate::link::{Inbound, Links};
use crate::listener::{Listeners, bind_all};
use crate::log_writer::LogWriter;
use crate::mesh::Mesh;
use crate::placement::place;
use crate::preflight;
use crate::pump::pump;
use crate::readiness::Readiness;
use crate::recovery::{self, Beginning};
use crate::signals::SignalPipes;
use conduit_config::Config;
use conduit_protocol::access_log::LogSettings;
use conduit_protocol::{AccessLog, Policy, ShardId};
use glommio::{LocalExecutorBuilder, Placement};
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The addresses in use: the configured ones, with the numbers that the kernel chose for port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The HTTP listener. Serves WebSocket too.
    pub http: SocketAddr,
    /// The WebSocket listener. Serves HTTP too.
    pub ws: SocketAddr,
}

/// glommio's preemption timer, which must not fire. When it does before the first task of a turn has run (a thread that
/// loses its core at the wrong moment is enough), glommio takes the queue of tasks for empty and sleeps on it: the
/// server then never starts, or stands still until something else wakes it. Nothing here needs the timer: a busy shard
/// looks at its sockets, its links and its deadlines once a round by itself.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Memory of an executor's registered I/O buffers: sockets do not use them.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// News from the threads that may block, on its way to the control shard.
const NEWS_MAX: usize = 64;

/// Runs the server until a signal ends it. `on_ready` is called once, when every shard accepts connections.
///
/// # Errors
/// When the machine or the configuration does not allow the start; see [`ServeError`].
pub fn serve(config: &Config, operation: Operation, on_ready: impl FnOnce(&Bound)) -> Result<(), ServeError> {
    preflight::check(config)?;
    let shards = usize::from(config.shards);
    let (http, http_sockets) = bind_all(SocketAddr::new(config.bind, config.http_port), shards)?;
    let (ws, ws_sockets) = bind_all(SocketAddr::new(config.bind, config.ws_port), shards)?;
    let signals = SignalPipes::register()?;

    let zero = Instant::now();
    let mut data = Data::open(config)?;
    if let Some(data) = &mut data {
        recovery::move_if_needed(config, data, zero)?;
    }
    let ending = Arc::new(Ending::default());
    let writer = LogWriter::start(&config.access_log, config.shards)?;
    let mut links = Links::between(shards + 1, config.mesh_capacity)?;
    let news = links.last_mut().expect("the last set is control's").inbound.open(NEWS_MAX);
    signals.watch(news.clone())?;
    let (egress, policy) = Egress::start(operation, news)?;
    let mut links = links.into_iter();
    let sockets = http_sockets.into_iter().zip(ws_sockets).map(|(http, ws)| vec![http, ws]);
    let (ready, readiness) = mpsc::channel();
    let mut threads = Vec::with_capacity(shards + 1);
    for (index, (sockets, cpu)) in sockets.zip(place(config)).enumerate() {
        let links = links.next().expect("one set of links per shard");
        let beginning = beginning(config, index as u16, data.as_ref())?;
        let policy = policy.clone();
        threads.push(start_shard(
            config,
            beginning,
            policy,
            writer.as_ref(),
            cpu,
            zero,
            links,
            sockets,
            ready.clone(),
            ending.clone(),
        )?);
    }
    let links = links.next().expect("the last set is control's");
    threads.push(start_control(config, zero, links, egress, policy, ending.clone(), ready)?);

    for _ in 0..threads.len() {
        // A thread that cannot start says why; one that dies without a word ends the process by its guard.
        readiness.recv().map_err(|_| gone())??;
    }
    on_ready(&Bound { http, ws });
    for thread in threads {
        thread.join().map_err(|_| gone())?;
    }
    // Every shard has handed its last lines over.
    if let Some(writer) = writer {
        writer.finish();
    }
    // The directory is held until here.
    drop(data);
    ending.tell();
    if ending.has_log_failed() { Err(ServeError::LogFailed) } else { Ok(()) }
}

fn beginning(config: &Config, index: u16, data: Option<&Data>) -> Result<Beginning, ServeError> {
    let log = match data {
        Some(data) => Some((data.log_of(index)?, config.log.clone(), recovery::rules_of(config))),
        None => None,
    };
    let (id, shards, limits) = (ShardId(index), config.shards, config.shard.clone());
    Ok(Beginning { id, shards, limits, seed: random_seed(), log })
}

fn log_settings(config: &Config, policy: &Policy) -> LogSettings {
    let logs = &config.access_log;
    LogSettings { http: logs.http.is_some(), ws: logs.ws.is_some(), budgets: policy.logs }
}

fn gone() -> ServeError {
    ServeError::Start(std::io::Error::other("a shard's thread ended"))
}

type Ready = mpsc::Sender<Result<(), ServeError>>;

#[allow(clippy::too_many_arguments, reason = "each is one part of what a shard begins with")]
fn start_shard(
    config: &Config,
    beginning: Beginning,
    policy: Arc<Policy>,
    writer: Option<&LogWriter>,
    cpu: Option<usize>,
    zero: Instant,
    links: Links,
    sockets: Vec<OwnedFd>,
    ready: Ready,
    ending: Arc<Ending>,
) -> Result<JoinHandle<()>, ServeError> {
    let (id, control) = (beginning.id, ShardId(config.shards));
    let wire_limits = config.protocol.clone();
    // The kernel spreads connections over the shards' listeners; each shard counts its own.
    let connections_max = config.connections_max.div_ceil(usize::from(config.shards));
    // Deliveries are bounded by the core's window; what is above it is answers to a peer that does not read them.
    let outbox_bytes_max = 2 * config.shard.outbox_bytes_max as usize;
    let spin_ns = config.spin_us * 1_000;
    let lane = writer.map(|writer| writer.lane(id.0));
    let log = AccessLog::new(id.0, &log_settings(config, &policy));
    spawn(format!("shard-{}", id.0), cpu, ready, move |ready| async move {
        let Links { senders, inbound } = links;
        let readiness = match watch(&sockets, &inbound) {
            Ok(readiness) => readiness,
            Err(error) => {
                let _ = ready.send(Err(ServeError::Start(error)));
                return;
            }
        };
        let mut clock = Clock::new(zero);
        let (core, disk) = match beginning.core(clock.now(), &readiness) {
            Ok(begun) => begun,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let mesh = Mesh::new(senders);
        let listeners = Listeners::new(sockets);
        let mut host = Host::new(
            id,
            control,
            clock,
            core,
            disk,
            mesh,
            inbound,
            listeners,
            readiness,
            wire_limits,
            policy,
            connections_max,
            outbox_bytes_max,
            spin_ns,
        );
        (host.log, host.lane) = (log, lane);
        let _ = ready.send(Ok(()));
        pump(host, &ending).await;
    })
}

fn watch(listeners: &[OwnedFd], inbound: &Inbound) -> std::io::Result<Readiness> {
    let readiness = Readiness::new()?;
    inbound.watch(&readiness)?;
    for (position, socket) in listeners.iter().enumerate() {
        readiness.watch_listener(socket, position)?;
    }
    Ok(readiness)
}

fn start_control(
    config: &Config,
    zero: Instant,
    links: Links,
    egress: Egress,
    policy: Arc<Policy>,
    ending: Arc<Ending>,
    ready: Ready,
) -> Result<JoinHandle<()>, ServeError> {
    let (shards, shutdown_timeout_ms, connections_max) =
        (config.shards, config.shutdown_timeout_ms, config.connections_max);
    let (limits, core_limits) = (config.protocol.clone(), config.shard.clone());
    spawn("control".to_owned(), None, ready, move |ready| async move {
        let Links { senders, inbound } = links;
        let readiness = match watch(&[], &inbound) {
            Ok(readiness) => readiness,
            Err(error) => {
                let _ = ready.send(Err(ServeError::Start(error)));
                return;
            }
        };
        let mesh = Mesh::new(senders);
        let control = Control::new(control::Beginning {
            shards,
            clock: Clock::new(zero),
            mesh,
            inbound,
            readiness,
            egress,
            policy,
            limits,
            connections_max,
            core_limits,
            shutdown_timeout_ms,
            ending,
        });
        let _ = ready.send(Ok(()));
        control::run(control).await;
    })
}

/// One thread with one executor. A panic that leaves the executor ends the process: the other shards could not go on
/// without it, and a supervisor outside restarts a process more surely than we restart a thread.
fn spawn<G, F>(name: String, cpu: Option<usize>, ready: Ready, body: G) -> Result<JoinHandle<()>, ServeError>
where
    G: FnOnce(Ready) -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        let guard = AbortOnPanic(name);
        let made = LocalExecutorBuilder::new(placement).preempt_timer(NEVER).io_memory(IO_MEMORY_BYTES).make();
        match made {
            Ok(executor) => executor.run(body(ready)),
            Err(error) => {
                let _ = ready.send(Err(ServeError::Start(std::io::Error::other(error.to_string()))));
            }
        }
        std::mem::forget(guard);
    })?;
    Ok(thread)
}

struct AbortOnPanic(String);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!(thread = self.0, "a shard's executor panicked: this is a bug; stopping the process");
        std::process::abort();
    }
}

/// Randomness from the operating system, by way of the standard library's hash keys.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
