//! A consumer that outlives the server: it acks most of what it gets, now or later, gives some back, gives some up, and
//! forgets some.

use super::dice::Dice;
use super::gate::{Life, Phase};
use super::load::{Shared, lock};
use super::payload::Mark;
use super::socket::{Broken, Socket};
use super::tally::Wrong;
use std::time::Duration;

/// Credit of one consumer.
const CREDIT: usize = 256;

/// Acks that are held back before they go in one frame.
const HELD_MAX: usize = 32;

/// Milliseconds until what a consumer forgot comes again.
const ACK_WAIT_MS: u64 = 300;

/// One consumer.
pub(crate) struct Consumer {
    pub(crate) shared: Shared,
    /// Which group: its place in the tally, and its name; empty for the default group.
    pub(crate) group: (usize, String),
    pub(crate) dice: Dice,
}

/// A delivery, as far as it is kept.
#[derive(Debug, Clone, Copy)]
struct Came {
    mark: Option<Mark>,
    seq: u64,
    attempt: u32,
}

impl Consumer {
    /// Works until the round ends.
    pub(crate) fn run(mut self) {
        while self.shared.gate.phase() != Phase::End {
            let Some(life) = self.shared.gate.wait(Duration::from_millis(20)) else { continue };
            if self.serve(&life).is_err() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn serve(&mut self, life: &Life) -> Result<(), Broken> {
        let name = lock(&self.shared.tally).name.clone();
        let path = subscribe_path(&name, &self.group.1, &format!("&credit={CREDIT}&ackWaitMs={ACK_WAIT_MS}&hello=1"));
        let mut socket = Socket::open(&life.target, &path)?;
        let (mut came, mut held): (Vec<Came>, Vec<(Mark, u64)>) = (Vec::new(), Vec::new());
        let (mut last_first, mut wrongs) = (0, Vec::new());
        while self.shared.gate.phase() != Phase::End {
            let mut epoch = None;
            let has_come = socket.read(Duration::from_millis(10), |said| {
                if let Some(envelope) = &said.deliver {
                    came.push(Came { mark: envelope.mark(), seq: said.seq, attempt: said.attempt });
                } else if let Some(hello) = said.subscribed {
                    epoch = Some(hello.epoch);
                } else if let Some(gap) = said.gap {
                    wrongs.push((Wrong::Gap, format!("{} to {}", gap.from, gap.to)));
                } else if let Some(error) = &said.error {
                    wrongs.push((Wrong::Refused, format!("a consumer was told {}: {}", error.code, error.message)));
                }
            })?;
            if !self.shared.gate.counts(life.number) {
                return Err(Broken("the life of the server has ended".into()));
            }
            let mut tally = lock(&self.shared.tally);
            epoch.into_iter().for_each(|epoch| tally.note_epoch(epoch));
            for (what, words) in wrongs.drain(..) {
                // A server that is being stopped, or whose disk is going, may say so to its consumers.
                let is_of_a_stop = words.contains("ServerDraining") || words.contains("ServerRestarting");
                if !is_of_a_stop && !self.shared.may_fail {
                    tally.note_wrong(what, &words);
                }
            }
            let spent = came.len();
            let (mut nacked, mut given_up) = (Vec::new(), Vec::new());
            for Came { mark, seq, attempt } in came.drain(..) {
                if attempt == 1 && seq <= last_first {
                    let words = format!("a first delivery of {seq} after {last_first} on one connection");
                    tally.note_wrong(Wrong::OutOfSequence, &words);
                }
                last_first = if attempt == 1 { last_first.max(seq) } else { last_first };
                let Some(mark) = mark else {
                    tally.note_wrong(Wrong::Corrupted, &format!("the message with seq {seq}"));
                    continue;
                };
                tally.note_delivery(mark, seq, attempt);
                match self.dice.below(100) {
                    0..90 => held.push((mark, seq)),
                    90..94 => nacked.push(seq),
                    94..95 if self.shared.keeps => {
                        tally.note_given_up(self.group.0, mark, seq);
                        given_up.push(seq);
                    }
                    _ => {}
                }
            }
            // Held acks go when there are many, and otherwise when nothing comes: late enough to be lost in a crash.
            let acks = if held.len() > HELD_MAX || !has_come || self.dice.chance(1, 2) { held.len() } else { 0 };
            let acked: Vec<u64> =
                held.drain(..acks).map(|(mark, seq)| (tally.note_ack(self.group.0, mark, seq), seq).1).collect();
            drop(tally);
            if !acked.is_empty() {
                socket.queue(&format!(r#"{{"ack":{acked:?}}}"#));
            }
            if !nacked.is_empty() {
                let delay_ms = self.dice.below(30);
                socket.queue(&format!(r#"{{"nack":{nacked:?},"delayMs":{delay_ms}}}"#));
            }
            if !given_up.is_empty() {
                socket.queue(&format!(r#"{{"nack":{given_up:?},"dead":true,"error":"given up"}}"#));
            }
            if spent > 0 {
                socket.queue(&format!(r#"{{"credit":{spent}}}"#));
            }
            socket.flush()?;
        }
        Ok(())
    }
}

/// The path of a subscription; `more` is what else its query says.
pub(crate) fn subscribe_path(stream: &str, group: &str, more: &str) -> String {
    let group = if group.is_empty() { String::new() } else { format!("&group={group}") };
    format!("/v1/subscribe?stream={}&codec=json{group}{more}", super::rest::path_segment(stream))
}
