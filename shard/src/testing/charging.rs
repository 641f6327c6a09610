//! A host and the limiter: what sessions take from accounts that other shards keep, and what those have to do.

use super::host::{Host, Surroundings, context};
use super::mesh::Item;
use super::sometimes;
use super::tolls::Passage;
use conduit_protocol::limiter::{Charge, Gate};
use conduit_protocol::{Answer, Context, Origin};

impl Host {
    /// Another shard's session takes from an account that is kept here.
    pub(super) fn charge_for_peer(&mut self, origin: Origin, charge: Charge, around: &mut Surroundings<'_>) {
        let outcome = self.gate.limiter.charge_for_peer(around.now, &charge);
        around.trace.event(
            around.now.mono_ns,
            "charge",
            &[self.id as u64, origin.connection.0, u64::from(outcome.is_ok())],
        );
        sometimes!(around.marks, "a lease is given", outcome.is_ok_and(|lease| lease > 0));
        self.batches[usize::from(origin.shard.0)].push(Item::Charged(origin, charge, outcome));
    }

    /// The shard that keeps an account has answered.
    pub(super) fn take_charged(
        &mut self,
        origin: Origin,
        charge: &Charge,
        outcome: Result<u32, Option<u32>>,
        around: &mut Surroundings<'_>,
    ) {
        sometimes!(around.marks, "a request waits for another shard's account", true);
        if let Ok(lease) = outcome {
            self.gate.limiter.keep_lease(around.now, charge, lease);
        }
        let Some(connection) = self.connections.find(origin.connection) else {
            // The connection is gone, and was not there to give back what was taken for it.
            if outcome.is_ok() {
                self.gate.limiter.release(charge);
            }
            return;
        };
        let answer = match outcome {
            Ok(_) => {
                self.gate.note(Passage::Granted(*charge));
                Answer::Granted
            }
            Err(wait_ms) => {
                self.gate.note(Passage::Refused(*charge));
                Answer::Refused(charge.refusal(wait_ms))
            }
        };
        connection.session.answer(origin.token, &answer, &mut context!(self, connection, around.now));
        connection.waiting = false;
        if connection.session.is_closing() {
            self.begin_close(origin.connection, around);
        }
    }

    /// Tells the homes of accounts what they have to do.
    pub(super) fn send_errands(&mut self, around: &mut Surroundings<'_>) {
        let shards = self.batches.len() as u16;
        for errand in self.gate.limiter.errands() {
            sometimes!(around.marks, "a lease is returned", matches!(errand, crate::Errand::GiveBack(..)));
            self.batches[usize::from(errand.charge().home(shards).0)].push(Item::Errand(errand));
        }
    }

    /// Holds what the limiter has said against what it may say.
    pub(super) fn judge_tolls(&mut self, around: &mut Surroundings<'_>) {
        for passage in self.gate.take() {
            sometimes!(around.marks, "a lease is spent", matches!(passage, Passage::Leased(_)));
            if let Passage::Refused(charge) = passage {
                sometimes!(around.marks, "all slots are taken", charge.is_slot());
                sometimes!(around.marks, "a rate refuses a request", !charge.is_slot());
            }
            if let Err(what) = around.ledger.tolls.pass(around.now, passage) {
                around.ledger.violation(format!("shard {}: {what}", self.id));
            }
        }
    }
}
