//! A producer that outlives the server: it repeats what was not answered, under the same dedup id, until it is.

use super::gate::{Gate, Life, Phase};
use super::load::{Shared, lock};
use super::outbox::Outbox;
use super::payload::Mark;
use super::rest::Rest;
use super::said::{Accepted, Refused};
use super::socket::{Broken, Socket};
use super::tally::Wrong;
use std::time::{Duration, Instant};

/// How a producer publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Frames with `dedupId`, so many on their way.
    WebSocket(usize),
    /// One request at a time with `Idempotency-Key`.
    Http,
}

/// A server that owes an answer for so long has stalled.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between a refusal and the next try.
const RETRY: Duration = Duration::from_millis(5);

/// Bytes that go out in one write, at most by one message more.
const WRITE_BYTES: usize = 64 * 1024;

/// One producer.
pub(crate) struct Producer {
    pub(crate) number: u32,
    pub(crate) wire: Wire,
    pub(crate) shared: Shared,
    /// New messages a second.
    pub(crate) rate: f64,
}

impl Producer {
    /// Works until the round ends, or until everything made is answered when it is to settle.
    pub(crate) fn run(self) {
        let mut work =
            Work { producer: &self, outbox: Outbox::default(), began: Instant::now(), progress: Instant::now() };
        while !work.is_over() {
            let Some(life) = self.shared.gate.wait(Duration::from_millis(20)) else { continue };
            work.outbox.reconnect();
            let served = match self.wire {
                Wire::WebSocket(window) => work.serve_socket(&life, window),
                Wire::Http => work.serve_http(&life),
            };
            if served.is_err() {
                // The server is gone, or will say why it is not when it is asked again.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

struct Work<'a> {
    producer: &'a Producer,
    outbox: Outbox,
    began: Instant,
    /// When an answer came last, or one began to be owed.
    progress: Instant,
}

impl Work<'_> {
    fn gate(&self) -> &Gate {
        &self.producer.shared.gate
    }

    fn is_over(&mut self) -> bool {
        match self.gate().phase() {
            Phase::Load => false,
            Phase::Settle => self.outbox.is_settled() || self.has_stalled(),
            Phase::End => true,
        }
    }

    /// No progress, though there is a server.
    fn has_stalled(&mut self) -> bool {
        if self.progress.elapsed() < PATIENCE || self.outbox.is_settled() {
            return false;
        }
        let words = format!("producer {} gets no answer for {PATIENCE:?}: {:?}", self.producer.number, self.outbox);
        lock(&self.producer.shared.tally).note_wrong(Wrong::Stalled, &words);
        self.progress = Instant::now();
        true
    }

    fn mark(&self, number: u64) -> Mark {
        Mark { producer: self.producer.number, number }
    }

    /// The next message to send.
    fn draw(&mut self, window: usize) -> Option<Mark> {
        let due = (self.began.elapsed().as_secs_f64() * self.producer.rate) as u64;
        let may_make = self.gate().phase() == Phase::Load && self.outbox.made() < due;
        let before = self.outbox.made();
        let mark = self.outbox.draw(window, may_make).map(|number| self.mark(number))?;
        if self.outbox.made() > before {
            lock(&self.producer.shared.tally).note_made(mark);
        }
        Some(mark)
    }

    fn serve_socket(&mut self, life: &Life, window: usize) -> Result<(), Broken> {
        let mut socket = Socket::open(&life.target, "/v1/publish?codec=json")?;
        let stream = serde_json::Value::from(lock(&self.producer.shared.tally).name.clone()).to_string();
        self.progress = Instant::now();
        let has_dedup = self.producer.shared.keeps;
        let mut answers: Vec<(u64, Result<Accepted, Refused<'static>>)> = Vec::new();
        while !self.is_over() {
            while socket.queued_bytes() < WRITE_BYTES
                && let Some(mark) = self.draw(window)
            {
                let (envelope, id, number) = (mark.envelope(), mark.dedup_id(), mark.number);
                let dedup = if has_dedup { format!(r#","dedupId":"{id}""#) } else { String::new() };
                socket
                    .queue(&format!(r#"{{"enqueue":{{"to":{stream},"envelope":{envelope}{dedup}}},"ref":{number}}}"#));
            }
            socket.flush()?;
            if self.outbox.on_their_way() == 0 {
                self.progress = Instant::now();
            }
            socket.read(Duration::from_millis(2), |said| {
                let answer = match (&said.ok, &said.error) {
                    (Some(accepted), _) => Ok(*accepted),
                    (None, Some(refused)) => Err(refused.to_static()),
                    (None, None) => return,
                };
                answers.push((said.number.unwrap_or(u64::MAX), answer));
            })?;
            if !self.gate().counts(life.number) {
                return Err(Broken("the life of the server has ended".into()));
            }
            let mut was_refused = false;
            for (number, answer) in answers.drain(..) {
                was_refused |= answer.is_err();
                self.take(number, answer)?;
            }
            if was_refused {
                std::thread::sleep(RETRY);
            }
            self.has_stalled();
        }
        Ok(())
    }

    fn serve_http(&mut self, life: &Life) -> Result<(), Broken> {
        let mut rest = Rest::open(&life.target)?;
        let stream = serde_json::Value::from(lock(&self.producer.shared.tally).name.clone()).to_string();
        self.progress = Instant::now();
        while !self.is_over() {
            let Some(mark) = self.draw(1) else {
                self.progress = Instant::now();
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let body = format!(r#"{{"to":{stream},"envelope":{}}}"#, mark.envelope());
            let key = format!("Idempotency-Key: {}\r\n", mark.dedup_id());
            let fields = if self.producer.shared.keeps { key.as_str() } else { "" };
            rest.send("POST", "/v1/enqueue", fields, &body)?;
            let reply = rest.receive()?;
            if !self.gate().counts(life.number) {
                return Err(Broken("the life of the server has ended".into()));
            }
            let answer = match reply.status {
                200 => serde_json::from_slice::<Accepted>(&reply.body).map_err(|error| Broken(error.to_string()))?,
                _ => {
                    let refused = serde_json::from_slice::<Refused<'_>>(&reply.body);
                    let refused =
                        refused.map_err(|_| Broken(format!("an answer without a code: {}", reply.words())))?;
                    self.take(mark.number, Err(refused.to_static()))?;
                    std::thread::sleep(RETRY);
                    continue;
                }
            };
            self.take(mark.number, Ok(answer))?;
        }
        Ok(())
    }

    fn take(&mut self, number: u64, answer: Result<Accepted, Refused<'static>>) -> Result<(), Broken> {
        let mark = self.mark(number);
        let mut tally = lock(&self.producer.shared.tally);
        match answer {
            Ok(accepted) if self.outbox.accept(number) => tally.note_answer(mark, accepted),
            Err(refused) if refused.is_temporary() && self.outbox.refuse(number) => tally.note_refusal(mark),
            Err(refused) if refused.code == "storage_failed" && self.producer.shared.may_fail => {
                // The power is going; the life of this server ends in a moment.
                return Err(Broken("its disk is gone".into()));
            }
            Err(refused) => {
                tally
                    .note_wrong(Wrong::Refused, &format!("{}: {}: {}", mark.dedup_id(), refused.code, refused.message));
                drop(tally);
                // Once is enough to fail; repeating it at full speed would only hide what else is wrong.
                std::thread::sleep(Duration::from_millis(200));
                return Err(Broken(format!("refused: {}", refused.code)));
            }
            Ok(_) => tally
                .note_wrong(Wrong::Unpublished, &format!("an answer to {}, which none was due for", mark.dedup_id())),
        }
        self.progress = Instant::now();
        Ok(())
    }
}
