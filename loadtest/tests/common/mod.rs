//! A relay in a thread of the test, to be loaded and, where a test wants it, to misbehave.

use conduit_loadtest::plan::{Plan, Target};
use conduit_loadtest::progress::Display;
use conduit_loadtest::reference::relay::{Misdeed, Relay};
use conduit_loadtest::report::Report;
use conduit_loadtest::run::run;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A relay that runs until this value goes.
pub(crate) struct RunningRelay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    /// Where it listens.
    pub(crate) target: Target,
}

impl RunningRelay {
    /// Starts one.
    pub(crate) fn start(misdeed: Misdeed) -> Self {
        let relay = Relay::bind(0, misdeed).expect("a loopback port is free");
        let target = Target::loopback(relay.address().expect("it is bound").port());
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || relay.run(&flag)));
        Self { stop, thread, target }
    }

    /// A plan of 2,000 messages from one producer to one consumer.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            messages: Some(2_000),
            duration: None,
            warmup: Duration::ZERO,
            // Never waited for when everything comes; so long that a busy machine is not taken for a lossy server.
            drain: Duration::from_secs(30),
            retry: Duration::from_millis(1),
            ..Plan::new(&self.target)
        }
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the relay does not panic").expect("the relay ends well");
        }
    }
}

/// Runs a plan without showing anything.
pub(crate) fn run_quietly(plan: &Plan) -> Report {
    run(plan, &mut Display::quiet()).expect("the run comes about")
}
