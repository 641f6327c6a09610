//! Answers on their way back: from this shard's core, from a peer's, from the control shard.

use crate::host::{Host, context};
use crate::mesh::{Batch, Document, Item};
use conduit_protocol::{Answer, Charge, Command, ConnectionId, Context, Gate, Origin, Refusal, Token};
use conduit_shard::{AnswerValue, Input};
use std::borrow::Cow;

impl Host {
    pub(crate) fn answer_here(&mut self, origin: Origin, answer: AnswerValue) {
        let Some(connection) = self.connections.find(origin.connection) else { return };
        let mut context = context!(self, connection);
        let session = &mut connection.session;
        match answer {
            AnswerValue::Published { stream, seq, accepted } => {
                // Publishers that asked for no answer get none: do not even look the message up.
                if origin.token == Token::NONE {
                    return;
                }
                let (id, stream) = self.shard.published(stream, seq);
                let answer = Answer::Published { id, stream, seq, promise: accepted.promise(), duplicate: false };
                session.answer(origin.token, &answer, &mut context);
            }
            AnswerValue::Duplicate { stream, seq, id, accepted } => {
                let stream = self.shard.stream_name(stream);
                let answer = Answer::Published { id: &id, stream, seq, promise: accepted.promise(), duplicate: true };
                session.answer(origin.token, &answer, &mut context);
            }
            AnswerValue::Subscribed(hello) => session.answer(origin.token, &Answer::Subscribed(hello), &mut context),
            AnswerValue::Stream(answer) => session.answer(origin.token, &Answer::Stream(*answer), &mut context),
            AnswerValue::Refused { code, message, retry_after_ms } => {
                let refusal = Refusal { code, message: Cow::Borrowed(message), retry_after_ms };
                session.answer(origin.token, &Answer::Refused(refusal), &mut context);
            }
            AnswerValue::Stats(stats) => session.answer(origin.token, &Answer::Stats(*stats), &mut context),
        }
        self.answered(origin.connection);
    }

    pub(crate) fn answer_peer(&mut self, origin: Origin, answer: AnswerValue) {
        let batch = self.mesh.batch_to(origin.shard);
        match answer {
            AnswerValue::Published { .. } if origin.token == Token::NONE => {}
            AnswerValue::Published { stream, seq, accepted } => {
                let (id, stream) = self.shard.published(stream, seq);
                batch.push_published(origin, (id, stream), seq, accepted.promise(), false);
            }
            AnswerValue::Duplicate { stream, seq, id, accepted } => {
                let stream = self.shard.stream_name(stream);
                batch.push_published(origin, (&id, stream), seq, accepted.promise(), true);
            }
            AnswerValue::Stream(answer) => batch.push(Item::StreamAnswer { origin, answer }),
            AnswerValue::Refused { code, message, retry_after_ms } => {
                batch.push(Item::Refused { origin, code, message, retry_after_ms });
            }
            AnswerValue::Stats(stats) => batch.push(Item::StatsAnswer { origin, stats }),
            AnswerValue::Subscribed(_) => debug_assert!(false, "a subscription is never forwarded"),
        }
    }

    pub(crate) fn answer_document(&mut self, origin: Origin, document: &Document) {
        let Document { status, content_type, body } = document;
        self.answer(origin, &Answer::Document { status: *status, content_type, body });
    }

    /// Gives an answer that came from elsewhere to the connection that waits for it.
    fn answer(&mut self, origin: Origin, answer: &Answer<'_>) {
        let Some(connection) = self.connections.find(origin.connection) else { return };
        let mut context = context!(self, connection);
        connection.session.answer(origin.token, answer, &mut context);
        self.answered(origin.connection);
    }

    /// Another shard's session takes from an account that is kept here.
    fn charge_for_peer(&mut self, origin: Origin, charge: &Charge) {
        let outcome = self.gate.charge_for_peer(self.now, charge);
        self.mesh.batch_to(origin.shard).push(Item::Charged { origin, charge: *charge, outcome });
    }

    /// The shard that keeps an account has answered.
    fn take_charged(&mut self, origin: Origin, charge: &Charge, outcome: Result<u32, Option<u32>>) {
        let is_there = self.connections.find(origin.connection).is_some();
        match outcome {
            Ok(lease) => {
                self.gate.keep_lease(self.now, charge, lease);
                if is_there {
                    self.answer(origin, &Answer::Granted);
                } else {
                    // The connection is gone, and was not there to give back what was taken for it.
                    self.gate.release(charge);
                }
            }
            Err(wait_ms) => self.answer(origin, &Answer::Refused(charge.refusal(wait_ms))),
        }
    }

    /// Tells the homes of accounts what they have to do.
    pub(crate) fn send_errands(&mut self) {
        for errand in self.gate.errands() {
            let home = errand.charge().home(self.control.0);
            self.mesh.batch_to(home).push(Item::Errand(errand));
        }
    }

    /// What follows every answer: it is to be written, and decoding may go on.
    pub(crate) fn answered(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        let mut waited = std::mem::take(&mut connection.waiting);
        // A rule may have more to say than its answer, whether or not bytes come.
        if connection.session.has_more() {
            connection.resumed = true;
            waited = true;
        }
        // One that waited has more to decode, even if its peer has sent its last byte.
        let is_deaf = connection.read_closed && !waited;
        let over = connection.session.is_closing() || (is_deaf && !connection.session.owes_answer());
        if over && !connection.closing {
            self.begin_close(id);
        }
        self.settle(id);
        if waited {
            self.want_turn(id);
        }
    }

    /// Takes a batch from a peer: forwarded commands go through the core, answers to their connections.
    pub(crate) fn take_batch(&mut self, batch: Box<Batch>) {
        for item in batch.items() {
            match item {
                &Item::Publish { origin, tenant, stream, envelope, encoding, id, pausable, ref options } => {
                    let options = options.as_deref();
                    let command = Command::Publish(batch.publish(stream, envelope, encoding, id, pausable, options));
                    self.input(Input::Command { origin, tenant, command });
                }
                &Item::Stats { origin, tenant, stream } => {
                    let command = Command::Stats { stream: Cow::Borrowed(batch.text_at(stream)) };
                    self.input(Input::Command { origin, tenant, command });
                }
                Item::Stream { origin, tenant, command } => {
                    let command = Command::Stream(command.clone());
                    self.input(Input::Command { origin: *origin, tenant: *tenant, command });
                }
                Item::StreamAnswer { origin, answer } => self.answer(*origin, &Answer::Stream((**answer).clone())),
                &Item::Published { origin, id, stream, seq, promise, duplicate } => {
                    let (id, stream) = (batch.text_at(id), batch.text_at(stream));
                    self.answer(origin, &Answer::Published { id, stream, seq, promise, duplicate });
                }
                &Item::Refused { origin, code, message, retry_after_ms } => {
                    let refusal = Refusal { code, message: Cow::Borrowed(message), retry_after_ms };
                    self.answer(origin, &Answer::Refused(refusal));
                }
                Item::StatsAnswer { origin, stats } => self.answer(*origin, &Answer::Stats((**stats).clone())),
                &Item::Charge { origin, charge } => self.charge_for_peer(origin, &charge),
                Item::Errand(errand) => self.gate.run_errand(self.now, errand),
                &Item::Charged { origin, charge, outcome } => self.take_charged(origin, &charge, outcome),
                Item::Pause(id) => self.pause(*id),
                Item::Resume(id) => self.resume(*id),
            }
        }
        self.mesh.recycle(batch);
    }
}
