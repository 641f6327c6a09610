//! The limiters of several shards on a mesh that delivers late, in any order, or not at all: no more is granted over any time
//! than the rate allows, no more slots are held than there are, and where nothing is lost, everything comes back.

use conduit_protocol::limiter::{Allowance, Category, Charge, Gate as _, Rate, Subject, Verdict};
use conduit_protocol::{Now, ShardId, TenantId};
use conduit_shard::testing::random::Random;
use conduit_shard::testing::tolls::{Passage, Tollgate, Tolls};
use conduit_shard::{Errand, Planted};

const MS: u64 = 1_000_000;
/// How long leases are kept, with the time between two looks at them.
const LEASE_NS: u64 = 150 * MS;

#[derive(Debug, Clone, Copy)]
enum Message {
    Charge { from: usize, session: usize, charge: Charge },
    Charged { session: usize, charge: Charge, outcome: Result<u32, Option<u32>> },
    Errand(Errand),
}

/// What a session of some shard does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Idle,
    /// It has asked another shard, and will not be asked for anything else before the answer.
    Asking,
    Holds(Charge),
    /// Its connection is gone while it asks.
    Gone,
}

struct Mesh {
    random: Random,
    gates: Vec<Tollgate>,
    sessions: Vec<(usize, Session)>,
    /// When each arrives, and where.
    travelling: Vec<(u64, usize, Message)>,
    late_ns_max: u64,
    lost_per_mille: u64,
    tolls: Tolls,
    now: Now,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    granted: u64,
    refused: u64,
    lost: u64,
    gone: u64,
}

impl Mesh {
    fn new(seed: u64, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let shards = random.between(1, 5) as u16;
        let late_ns_max = random.magnitude(MS / 100, 400 * MS);
        let lost_per_mille = *random.pick(&[0, 0, 50, 300]);
        let gates = (0..shards).map(|shard| Tollgate::new(ShardId(shard), shards, planted)).collect();
        let sessions = (0..30).map(|_| (random.below(u64::from(shards)) as usize, Session::Idle)).collect();
        // What a shard was given in advance came late, and so may have been taken from its account that much before.
        let tolls = Tolls::new(LEASE_NS + late_ns_max);
        let (travelling, counts) = (Vec::new(), Counts::default());
        Self { random, gates, sessions, travelling, late_ns_max, lost_per_mille, tolls, now: Now::default(), counts }
    }

    fn shards(&self) -> u16 {
        self.gates.len() as u16
    }

    fn send(&mut self, to: usize, message: Message) {
        if self.random.chance(self.lost_per_mille) {
            self.counts.lost += 1;
            return;
        }
        let arrives_ns = self.now.mono_ns + self.random.magnitude(1, self.late_ns_max);
        self.travelling.push((arrives_ns, to, message));
    }

    fn ask(&mut self, session: usize, charge: Charge) {
        let (shard, state) = self.sessions[session];
        if state != Session::Idle {
            return;
        }
        self.sessions[session].1 = match self.gates[shard].charge(self.now, &charge) {
            Verdict::Granted => holding(charge),
            Verdict::Refused(_) => Session::Idle,
            Verdict::Away => {
                let home = usize::from(charge.home(self.shards()).0);
                self.send(home, Message::Charge { from: shard, session, charge });
                Session::Asking
            }
        };
    }

    /// The connection ends, and another one begins in its place when nothing is on its way to it any more.
    fn leave(&mut self, session: usize) {
        let (shard, state) = self.sessions[session];
        self.sessions[session].1 = match state {
            Session::Holds(charge) => {
                self.gates[shard].release(&charge);
                Session::Idle
            }
            Session::Asking => Session::Gone,
            other => other,
        };
    }

    fn arrive(&mut self, at: usize, message: Message) {
        match message {
            Message::Charge { from, session, charge } => {
                let outcome = self.gates[at].limiter.charge_for_peer(self.now, &charge);
                self.send(from, Message::Charged { session, charge, outcome });
            }
            Message::Charged { session, charge, outcome } => {
                if let Ok(lease) = outcome {
                    self.gates[at].limiter.keep_lease(self.now, &charge, lease);
                }
                let is_there = self.sessions[session].1 == Session::Asking;
                self.sessions[session].1 = Session::Idle;
                match outcome {
                    Ok(_) if is_there => {
                        self.gates[at].note(Passage::Granted(charge));
                        self.sessions[session].1 = holding(charge);
                    }
                    Ok(_) => {
                        self.counts.gone += 1;
                        self.gates[at].limiter.release(&charge);
                    }
                    Err(_) => self.gates[at].note(Passage::Refused(charge)),
                }
            }
            Message::Errand(errand) => self.gates[at].limiter.run_errand(self.now, &errand),
        }
    }

    /// One shard looks at its clock, and all of them are judged.
    fn settle(&mut self) {
        for shard in 0..self.gates.len() {
            let errands: Vec<Errand> = self.gates[shard].limiter.errands().collect();
            for errand in errands {
                self.send(usize::from(errand.charge().home(self.shards()).0), Message::Errand(errand));
            }
            for passage in self.gates[shard].take() {
                let count = if matches!(passage, Passage::Refused(_)) {
                    &mut self.counts.refused
                } else {
                    &mut self.counts.granted
                };
                *count += 1;
                self.tolls.pass(self.now, passage).unwrap();
            }
        }
    }

    /// Lets time pass, with everything that arrives and is due in it.
    fn pass_ns(&mut self, ns: u64) {
        let end_ns = self.now.mono_ns + ns;
        loop {
            let arrival = self.travelling.iter().enumerate().map(|(at, (ns, ..))| (*ns, Some(at))).min();
            let sweeps = self.gates.iter().filter_map(|gate| gate.limiter.next_deadline_ns()).map(|ns| (ns, None));
            let Some((due_ns, arrived)) = sweeps.chain(arrival).min().filter(|(due_ns, _)| *due_ns <= end_ns) else {
                break;
            };
            self.now.mono_ns = self.now.mono_ns.max(due_ns);
            for gate in &mut self.gates {
                gate.limiter.sweep(self.now);
            }
            if let Some(arrived) = arrived {
                let (_, at, message) = self.travelling.swap_remove(arrived);
                self.arrive(at, message);
            }
            self.settle();
        }
        self.now.mono_ns = end_ns;
    }
}

fn holding(charge: Charge) -> Session {
    if charge.is_slot() { Session::Holds(charge) } else { Session::Idle }
}

fn charges(random: &mut Random) -> Vec<Charge> {
    let rate = |random: &mut Random| Rate {
        per_window: random.magnitude(1, 50) as u32,
        window_ms: random.magnitude(10, 2_000) as u32,
        burst: random.magnitude(1, 2_000) as u32,
    };
    let subject = |number| Subject::Tenant(TenantId(number));
    let mut charges = Vec::new();
    for number in 1..=3 {
        let allowance = Allowance::Rate(rate(random));
        charges.push(Charge { subject: subject(number), category: Category::AllRequests, allowance });
        let allowance = Allowance::Slots(random.magnitude(1, 12) as u32);
        charges.push(Charge { subject: subject(number), category: Category::Connections, allowance });
    }
    charges
}

fn run(seed: u64, planted: Planted) -> Counts {
    let mut mesh = Mesh::new(seed, planted);
    let charges = charges(&mut mesh.random);
    let pause_ns_max = mesh.random.magnitude(1_000, 20 * MS);
    for _ in 0..2_000 {
        let session = mesh.random.below(mesh.sessions.len() as u64) as usize;
        if mesh.random.chance(100) {
            mesh.leave(session);
        } else {
            let charge = *mesh.random.pick(&charges);
            mesh.ask(session, charge);
        }
        mesh.settle();
        let pause_ns = mesh.random.magnitude(1, pause_ns_max);
        mesh.pass_ns(pause_ns);
    }
    if mesh.counts.lost > 0 {
        return mesh.counts;
    }
    // Everybody leaves, and everything on its way arrives.
    for session in 0..mesh.sessions.len() {
        mesh.leave(session);
    }
    mesh.settle();
    mesh.pass_ns(3_000 * MS);
    for session in 0..mesh.sessions.len() {
        mesh.leave(session);
    }
    mesh.settle();
    mesh.pass_ns(3_000 * MS);
    for charge in &charges {
        let home = usize::from(charge.home(mesh.shards()).0);
        assert_eq!(mesh.gates[home].limiter.slots_taken(charge.subject, charge.category), 0, "{charge:?}");
        if let Allowance::Rate(rate) = charge.allowance {
            // Full again: what was handed out in advance and not needed was not lost.
            mesh.pass_ns(u64::from(rate.burst) * u64::from(rate.window_ms) * MS);
            let granted = (0..=rate.burst).filter(|_| mesh.gates[home].charge(mesh.now, charge) == Verdict::Granted);
            assert_eq!(granted.count() as u32, rate.burst, "{charge:?}");
            mesh.settle();
        }
    }
    mesh.counts
}

#[test]
fn never_more_than_there_is_and_nothing_is_lost_that_the_mesh_does_not_lose() {
    let mut sum = Counts::default();
    for seed in 0..400 {
        let counts = run(seed, Planted::default());
        sum.granted += counts.granted;
        sum.refused += counts.refused;
        sum.lost += counts.lost;
        sum.gone += counts.gone;
    }
    assert!(sum.granted > 100_000 && sum.refused > 10_000 && sum.lost > 1_000 && sum.gone > 1_000, "{sum:?}");
}

#[test]
#[cfg(feature = "mutants")]
fn a_limiter_that_is_not_exact_is_found() {
    use conduit_shard::Mutant;
    for mutant in [Mutant::LeaseForFree, Mutant::ReleaseTwice] {
        let is_found = |seed| std::panic::catch_unwind(|| run(seed, Planted::new(Some(mutant)))).is_err();
        assert!((0..400).any(is_found), "{mutant:?}");
    }
}
