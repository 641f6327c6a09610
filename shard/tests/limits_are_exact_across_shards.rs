//! The limiter of several shards together: no more is ever granted than there is, whichever shard is asked, and what few
//! tokens and slots there are can all be used.

use conduit_protocol::limiter::{Allowance, Category, Charge, Gate as _, Rate, Subject, Verdict};
use conduit_protocol::{Now, ShardId, TenantId};
use conduit_shard::{Errand, Limiter};

/// The limiters of a server, with messages that arrive at once.
struct Server {
    shards: Vec<Limiter>,
    now: Now,
    /// Questions that crossed from shard to shard.
    asked: u64,
}

impl Server {
    fn new(shards: u16) -> Self {
        let shards = (0..shards).map(|shard| Limiter::new(ShardId(shard), shards)).collect();
        Self { shards, now: Now::default(), asked: 0 }
    }

    /// A session of `shard` takes something.
    fn take(&mut self, shard: usize, charge: &Charge) -> bool {
        match self.shards[shard].charge(self.now, charge) {
            Verdict::Granted => true,
            Verdict::Refused(_) => false,
            Verdict::Away => {
                self.asked += 1;
                let home = charge.home(self.shards.len() as u16).0 as usize;
                assert_ne!(home, shard);
                let outcome = self.shards[home].charge_for_peer(self.now, charge);
                if let Ok(lease) = outcome {
                    self.shards[shard].keep_lease(self.now, charge, lease);
                }
                outcome.is_ok()
            }
        }
    }

    fn release(&mut self, shard: usize, charge: &Charge) {
        self.shards[shard].release(charge);
        self.run_errands();
    }

    fn run_errands(&mut self) {
        for shard in 0..self.shards.len() {
            let errands: Vec<Errand> = self.shards[shard].errands().collect();
            for errand in errands {
                let home = errand.charge().home(self.shards.len() as u16).0 as usize;
                self.shards[home].run_errand(self.now, &errand);
            }
            assert!(self.shards[shard].is_settled());
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            self.now = self.now.plus_ns(50_000_000);
            for shard in &mut self.shards {
                shard.sweep(self.now);
            }
            self.run_errands();
        }
    }
}

fn tenant(number: u32) -> Subject {
    Subject::Tenant(TenantId(number))
}

fn rate(subject: Subject, burst: u32) -> Charge {
    let allowance = Allowance::Rate(Rate { per_window: 1, window_ms: u32::MAX, burst });
    Charge { subject, category: Category::AllRequests, allowance }
}

fn slots(subject: Subject, slots: u32) -> Charge {
    Charge { subject, category: Category::Connections, allowance: Allowance::Slots(slots) }
}

#[test]
fn few_tokens_are_all_there_for_any_mixture_of_shards() {
    for shards in [1, 2, 3, 8] {
        let mut server = Server::new(shards);
        for number in 0..50 {
            let charge = rate(tenant(number), 60);
            let granted = (0..100).filter(|turn| server.take((turn * 7 + number as usize) % shards as usize, &charge));
            assert_eq!(granted.count(), 60, "{shards} shards");
        }
    }
}

#[test]
fn many_tokens_are_never_more_than_there_are_and_all_come_back() {
    let mut server = Server::new(4);
    for number in 0..20 {
        let charge = rate(tenant(number), 10_000);
        let mut granted = 0;
        // One shard after the other asks until it is refused: each may hold a lease that it does not spend.
        for shard in 0..4 {
            for _ in 0..3_000 {
                granted += u32::from(server.take(shard, &charge));
            }
        }
        let unspent = 10_000 - granted;
        assert!(unspent <= 3 * 256, "{granted}");
        server.pass_ms(200);
        // What was set aside and not needed is there again.
        for turn in 0..unspent {
            assert!(server.take(turn as usize % 4, &charge), "{turn} of {unspent}");
            if turn % 100 == 0 {
                server.pass_ms(200);
            }
        }
        server.pass_ms(200);
        assert!((0..4).all(|shard| !server.take(shard, &charge)));
    }
}

#[test]
fn a_busy_tenant_does_not_ask_for_every_request() {
    let mut server = Server::new(2);
    let charge = rate(tenant(1), 1_000_000);
    let away = 1 - charge.home(2).0 as usize;
    for _ in 0..100_000 {
        assert!(server.take(away, &charge));
    }
    assert!(server.asked <= 100_000 / 256, "{}", server.asked);
    let few = rate(tenant(2), 63);
    let (away, before) = (1 - few.home(2).0 as usize, server.asked);
    for _ in 0..63 {
        assert!(server.take(away, &few));
    }
    assert_eq!(server.asked - before, 63, "few tokens are never set aside");
}

#[test]
fn slots_are_exact_and_come_back_from_every_shard() {
    for shards in [1, 2, 5] {
        let mut server = Server::new(shards);
        let charge = slots(tenant(9), 5);
        for round in 0..2_000 {
            let shard = round % shards as usize;
            let taken = (0..7).filter(|turn| server.take((shard + turn) % shards as usize, &charge)).count();
            assert_eq!(taken, 5);
            for turn in 0..5 {
                server.release((shard + turn) % shards as usize, &charge);
            }
        }
        let home = charge.home(shards).0 as usize;
        assert_eq!(server.shards[home].slots_taken(charge.subject, charge.category), 0);
        // One too many releases nothing that somebody else has.
        server.release(0, &charge);
        assert_eq!((0..7).filter(|_| server.take(0, &charge)).count(), 5);
    }
}

#[test]
fn a_limit_that_is_lowered_holds_at_once_and_takes_nothing_back() {
    let mut server = Server::new(2);
    for _ in 0..5 {
        assert!(server.take(0, &slots(tenant(3), 5)));
    }
    assert!(!server.take(1, &slots(tenant(3), 2)));
    for _ in 0..4 {
        server.release(0, &slots(tenant(3), 5));
    }
    assert!(server.take(1, &slots(tenant(3), 2)));
    assert!(!server.take(1, &slots(tenant(3), 2)));
    assert!(server.take(1, &slots(tenant(3), 3)));
}

#[test]
fn homes_are_spread_over_the_shards() {
    for shards in [2_u16, 3, 16] {
        let mut counts = vec![0_u32; usize::from(shards)];
        for number in 0..16_000 {
            counts[usize::from(rate(tenant(number), 1).home(shards).0)] += 1;
        }
        let expected = 16_000 / u32::from(shards);
        assert!(counts.iter().all(|count| count.abs_diff(expected) < expected / 5), "{counts:?}");
    }
}
