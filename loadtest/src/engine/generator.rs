//! One thread: an event loop over its connections.

use super::link::{Link, ReadEnd};
use super::role::Role;
use super::shared::Phase;
use super::world::World;
use crate::pace::Timetable;
use crate::verify::{Published, StreamLedger};
use mio::{Events, Interest, Poll, Token};
use std::time::Duration;

/// The event of [`super::shared::ThreadFlow`]'s waker.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// Longest sleep, so that figures and intervals stay fresh.
const SLEEP_NS_MAX: u64 = 50_000_000;

/// A connection that is ready to be driven.
pub(crate) struct Seat {
    pub(crate) socket: std::net::TcpStream,
    /// What came behind the handshake.
    pub(crate) rest: Vec<u8>,
    pub(crate) role: Box<dyn Role>,
    /// Whose it is, for a producer.
    pub(crate) producer: Option<(u32, Option<Timetable>)>,
}

/// What a thread knows when the run is over.
pub(crate) struct Outcome {
    pub(crate) ledgers: Vec<StreamLedger>,
    pub(crate) published: Vec<(u32, Published)>,
}

/// One thread's event loop.
pub(crate) struct Generator {
    poll: Poll,
    links: Vec<Link>,
    world: World,
    scratch: Vec<u8>,
    /// Connections that a turn left with bytes to read.
    unfinished: Vec<usize>,
    pacer: Pacer,
    producers: Vec<usize>,
    phase: Phase,
}

impl Generator {
    /// Takes over the connections.
    ///
    /// # Errors
    /// When a socket cannot be watched.
    pub(crate) fn new(poll: Poll, seats: Vec<Seat>, mut world: World) -> std::io::Result<Self> {
        let (mut links, mut producers, mut pacer) = (Vec::new(), Vec::new(), Pacer::default());
        for (place, seat) in seats.into_iter().enumerate() {
            seat.socket.set_nonblocking(true)?;
            let mut socket = mio::net::TcpStream::from_std(seat.socket);
            poll.registry().register(&mut socket, Token(place), Interest::READABLE | Interest::WRITABLE)?;
            links.push(Link::new(socket, seat.rest, seat.role));
            if let Some((producer, timetable)) = seat.producer {
                world.place_of_producer[producer as usize] = place;
                producers.push(place);
                pacer.seats.extend(timetable.map(|timetable| (place, timetable)));
            }
        }
        let unfinished = Vec::new();
        Ok(Self { poll, links, world, scratch: Vec::new(), unfinished, pacer, producers, phase: Phase::Warmup })
    }

    /// Drives the connections until the run is over.
    pub(crate) fn run(mut self) -> Outcome {
        let mut events = Events::with_capacity(1_024);
        for place in 0..self.links.len() {
            let taken = self.links[place].take_rest(&mut self.world);
            self.note_end(place, taken);
        }
        self.run_all_producers();
        let mut released = 0;
        loop {
            // 1 the phase of the run
            let phase = self.world.shared.phase();
            if phase != self.phase && self.enter(phase) {
                return self.finish();
            }
            // 2 wait
            self.wait(&mut events, released);
            let released_now = self.world.shared.threads[self.world.thread].released();
            if released_now != released {
                released = released_now;
                self.run_all_producers();
            }
            // 3 read what came, and what an earlier turn left
            for place in std::mem::take(&mut self.unfinished) {
                self.read(place);
            }
            for event in &events {
                if event.token() != WAKE {
                    self.serve(event.token().0, event.is_readable(), event.is_writable(), event.is_read_closed());
                }
            }
            // 4 what the clock says is due
            self.run_due();
            // 5 send
            for _ in 0..self.world.runnable.len() {
                let Some(place) = self.world.runnable.pop_front() else { break };
                self.fill(place);
            }
            self.world.release_others();
            // 6 figures
            self.publish_figures();
        }
    }

    fn wait(&mut self, events: &mut Events, released: u64) {
        let world = &self.world;
        let sleep_ns = if world.plan.spin || !self.unfinished.is_empty() || !world.runnable.is_empty() {
            0
        } else {
            let now_ns = world.shared.now_ns();
            let due = self.pacer.next_ns(world.is_stopping).into_iter();
            let due = due.chain(world.later.front().map(|(due_ns, _)| *due_ns)).min();
            due.map_or(SLEEP_NS_MAX, |due_ns| due_ns.saturating_sub(now_ns)).min(SLEEP_NS_MAX)
        };
        let flow = &world.shared.threads[world.thread];
        flow.park(sleep_ns > 0);
        // A release between the last look and parking wakes nobody, so it is looked for once more.
        let sleep_ns = if flow.released() == released { sleep_ns } else { 0 };
        if let Err(error) = self.poll.poll(events, Some(Duration::from_nanos(sleep_ns)))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            self.world.note_error(format!("poll: {error}"));
        }
        self.world.shared.threads[self.world.thread].park(false);
    }

    /// Moves to the next phase; true when the run is over.
    fn enter(&mut self, phase: Phase) -> bool {
        let now_ns = self.world.shared.now_ns();
        let interval = self.world.tally.cut(now_ns, self.phase == Phase::Measure);
        self.world.shared.push_interval(interval);
        self.phase = phase;
        self.world.is_measured = phase == Phase::Measure;
        if phase >= Phase::Drain && !self.world.is_stopping {
            self.world.is_stopping = true;
            self.say_to_all(|role, out, world| role.stop(out, world));
        }
        if phase == Phase::Quit {
            self.say_to_all(|role, out, world| role.farewell(out, world));
        }
        phase == Phase::Quit
    }

    fn say_to_all(&mut self, speak: impl Fn(&mut dyn Role, &mut Vec<u8>, &mut World)) {
        for (place, link) in self.links.iter_mut().enumerate().filter(|(_, link)| link.is_open) {
            self.world.current = place;
            link.say(&mut self.world, &speak);
        }
    }

    fn serve(&mut self, place: usize, is_readable: bool, is_writable: bool, is_read_closed: bool) {
        if is_writable && self.links[place].is_open && !self.links[place].is_written() {
            let written = self.links[place].write(&mut self.world);
            self.note_end(place, written);
            self.world.runnable.push_back(place);
        }
        if is_readable {
            self.read(place);
        }
        // With the peer's end in sight the socket is read to that end, whatever a short read seemed to say.
        if is_read_closed && self.links[place].is_open && self.unfinished.last() != Some(&place) {
            self.unfinished.push(place);
        }
    }

    fn read(&mut self, place: usize) {
        let link = &mut self.links[place];
        if !link.is_open {
            return;
        }
        self.world.current = place;
        match link.read(&mut self.scratch, &mut self.world) {
            ReadEnd::More => self.unfinished.push(place),
            ReadEnd::Drained => {}
            ReadEnd::Lost(reason) => return self.note_end(place, Err(reason)),
        }
        self.fill(place);
    }

    fn fill(&mut self, place: usize) {
        if self.links[place].is_open && !self.world.is_stopping {
            self.world.current = place;
            let filled = self.links[place].fill(&mut self.world);
            self.note_end(place, filled);
        }
    }

    fn run_due(&mut self) {
        let now_ns = self.world.shared.now_ns();
        self.pacer.push_due(now_ns, &mut self.world.runnable);
        while let Some((_, place)) = self.world.later.pop_front_if(|(due_ns, _)| *due_ns <= now_ns) {
            self.world.runnable.push_back(place);
        }
    }

    fn run_all_producers(&mut self) {
        self.world.runnable.extend(&self.producers);
    }

    /// Closes a connection that has failed.
    fn note_end(&mut self, place: usize, result: Result<(), String>) {
        let Err(reason) = result else { return };
        let link = &mut self.links[place];
        if !link.is_open {
            return;
        }
        link.is_open = false;
        // Deregistering fails only for sockets that are not registered.
        let _ = self.poll.registry().deregister(&mut link.socket);
        let _ = link.socket.shutdown(std::net::Shutdown::Both);
        self.world.tally.counts.disconnected += 1;
        self.world.tally.counts.excused += link.role.unanswered();
        self.world.note_error(format!("a connection was lost: {reason}"));
    }

    fn publish_figures(&mut self) {
        let now_ns = self.world.shared.now_ns();
        if let Some(interval) = self.world.tally.cut_if_due(now_ns, self.phase == Phase::Measure) {
            self.world.shared.push_interval(interval);
        }
        let is_settled = self.phase >= Phase::Drain
            && self.links.iter().all(|link| !link.is_open || (link.is_written() && link.role.is_settled()));
        self.world.shared.threads[self.world.thread].publish(&self.world.tally.counts, is_settled);
    }

    fn finish(self) -> Outcome {
        let published = self.links.iter().filter_map(|link| link.role.published()).collect();
        let flow = &self.world.shared.threads[self.world.thread];
        flow.publish(&self.world.tally.counts, true);
        Outcome { ledgers: self.world.ledgers, published }
    }
}

/// The open loop's clock. Producers of a thread take turns at even distances, so the next to be due is always the next
/// in line.
#[derive(Debug, Default)]
struct Pacer {
    seats: Vec<(usize, Timetable)>,
    at: usize,
    round: u64,
}

impl Pacer {
    fn next_ns(&self, is_stopping: bool) -> Option<u64> {
        let (_, timetable) = self.seats.get(self.at)?;
        (!is_stopping).then(|| timetable.intended_ns(self.round))
    }

    fn push_due(&mut self, now_ns: u64, runnable: &mut std::collections::VecDeque<usize>) {
        while let Some((place, timetable)) = self.seats.get(self.at)
            && timetable.intended_ns(self.round) <= now_ns
        {
            if self.seats.len() == 1 {
                // Alone in line: everything that is due goes in one batch.
                self.round = timetable.due(now_ns);
                runnable.push_back(*place);
                return;
            }
            runnable.push_back(*place);
            self.at += 1;
            if self.at == self.seats.len() {
                self.at = 0;
                self.round += 1;
            }
        }
    }
}
