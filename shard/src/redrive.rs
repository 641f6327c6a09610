//! Redrive: dead letters go back to the stream that they came from.

use crate::Effects;
use crate::message::Extras;
use crate::placement::DEAD_LETTERS;
use crate::publish::NewMessage;
use crate::shard::Shard;
use conduit_protocol::streams::{Done, StreamAnswer};
use conduit_protocol::{ErrorCode, Now, codec};

/// Dead letters that one request brings back at most, whatever it asks for: its answer says how many it were, and the next
/// request goes on.
const REDRIVEN_MAX: u64 = 1_000;
/// What cannot happen is said so.
const GONE: (ErrorCode, &str) = (ErrorCode::Internal, "the dead letters are gone");

impl Shard {
    /// Publishes the original objects of a stream's dead letters again, oldest first and byte for byte, and releases the
    /// letters. Those in flight stay. A message that is no dead letter goes back as it is.
    ///
    /// # Errors
    /// `InvalidStream` for a name that does not end with `.dlq`, and what a publish would be refused with, when not even
    /// the first could be stored. When a later one cannot be stored, the answer says how many were.
    pub(crate) fn redrive(
        &mut self,
        now: Now,
        letters: u32,
        limit: u64,
        effects: &mut Effects,
    ) -> Result<StreamAnswer, (ErrorCode, &'static str)> {
        let Some(stream) = self.streams.at(letters) else { return Err(GONE) };
        let (tenant, name) = (stream.tenant, stream.name.to_string());
        let Some(origin) = name.strip_suffix(DEAD_LETTERS).filter(|origin| !origin.is_empty()) else {
            return Err((
                ErrorCode::InvalidStream,
                "only dead letters can be redriven: name a stream that ends with .dlq",
            ));
        };
        let (mut redriven, mut from) = (0, 0);
        while redriven < limit.min(REDRIVEN_MAX)
            && let Some(seq) = self.next_settled(letters, from)
        {
            from = seq + 1;
            match self.redrive_one(now, letters, seq, origin) {
                Ok(()) => redriven += 1,
                Err(refused) if redriven == 0 => return Err(refused),
                Err(_) => break,
            }
        }
        let origin = self.streams.find(tenant, origin, &self.seeded);
        if let Some(origin) = origin {
            self.deliver_all(now, origin, effects);
        }
        self.resume_when_roomy(letters, effects);
        Ok(StreamAnswer::Done(Done { stream: name, group: None, deleted: None, redriven: Some(redriven) }))
    }

    /// The first message from a seq on that is in flight nowhere.
    pub(crate) fn next_settled(&self, key: u32, from: u64) -> Option<u64> {
        let stream = self.streams.at(key)?;
        let mut from = from;
        while let Some(seq) = stream.held.next_held(from, stream.held.visible()) {
            if !stream.is_in_flight(seq) {
                return Some(seq);
            }
            from = seq + 1;
        }
        None
    }

    fn redrive_one(&mut self, now: Now, letters: u32, seq: u64, origin: &str) -> Result<(), (ErrorCode, &'static str)> {
        let Some(stream) = self.streams.at(letters) else { return Err(GONE) };
        let Some(letter) = stream.message(seq) else {
            self.want_message(letters, seq);
            return Err((ErrorCode::Backpressure, "the dead letter is being read from the disk; retry at once"));
        };
        let (tenant, encoding, id) = (stream.tenant, letter.encoding(), letter.id().to_owned());
        let extras = Extras::of_trace(letter.trace());
        let original = codec::dead_letter_original(encoding, letter.envelope()).unwrap_or(letter.envelope());
        let mut envelope = std::mem::take(&mut self.scratch);
        envelope.clear();
        envelope.extend_from_slice(original);
        let original =
            NewMessage { id: id.as_bytes(), encoding, envelope: &envelope, extras, dedup_id: "", is_letter: false };
        let found = self.streams.find(tenant, origin, &self.seeded);
        let stored = self.append_message(now, tenant, origin, found, &original);
        self.keep_scratch(envelope);
        stored?;
        self.withdraw(letters, seq);
        self.release_message(letters, seq);
        self.totals.redriven += 1;
        Ok(())
    }
}
