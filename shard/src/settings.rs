//! What was set of a stream and of a group, and what holds where nothing was set.

use crate::Limits;
use conduit_protocol::streams::{Durability, GroupSettings, Policy, Retention, StreamSettings};

/// The settings of one stream. Most streams were never told anything: they hold one word.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// What a PUT said, all of them together. `None`: the stream made itself, and is forgotten by itself.
    put: Option<Box<StreamSettings>>,
}

impl Settings {
    /// Somebody made the stream on purpose: it is never forgotten.
    pub(crate) const fn is_put(&self) -> bool {
        self.put.is_some()
    }

    /// Sets what `settings` names and leaves the rest.
    pub(crate) fn put(&mut self, settings: &StreamSettings) {
        let put = self.put.get_or_insert_default();
        let StreamSettings {
            retention,
            durability,
            max_messages,
            max_bytes,
            max_deliver,
            dead_letter_expired,
            dedup_window_ms,
        } = settings;
        put.retention = retention.or(put.retention);
        put.durability = durability.or(put.durability);
        put.max_messages = max_messages.or(put.max_messages);
        put.max_bytes = max_bytes.or(put.max_bytes);
        put.max_deliver = max_deliver.or(put.max_deliver);
        put.dead_letter_expired = dead_letter_expired.or(put.dead_letter_expired);
        put.dedup_window_ms = dedup_window_ms.or(put.dedup_window_ms);
    }

    /// As the log keeps it: a JSON object, or nothing when nothing was set.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        self.put.as_deref().map(|put| serde_json::to_vec(put).unwrap_or_default()).unwrap_or_default()
    }

    /// What the log kept.
    pub(crate) fn replace_json(&mut self, json: &[u8]) {
        self.put = if json.is_empty() { None } else { serde_json::from_slice(json).ok().map(Box::new) };
    }

    /// What accepted messages survive, if that was set.
    pub(crate) fn durability(&self) -> Option<Durability> {
        self.put.as_deref().and_then(|put| put.durability)
    }

    /// When messages go.
    #[inline]
    pub(crate) fn retention(&self) -> Retention {
        self.put.as_deref().and_then(|put| put.retention).unwrap_or_default()
    }

    /// Messages stay for whoever reads them; groups hold nothing back.
    #[inline]
    pub(crate) fn is_log(&self) -> bool {
        self.log().is_some()
    }

    /// When a log's messages go.
    #[inline]
    fn log(&self) -> Option<Retention> {
        self.put.as_deref()?.retention.filter(|retention| retention.policy == Policy::Log)
    }

    /// Messages that the stream may hold.
    #[inline]
    pub(crate) fn messages_max(&self, limits: &Limits) -> u64 {
        let asked = self.put.as_deref().and_then(|put| put.max_messages);
        asked.map_or(limits.stream_messages_max, |asked| asked.clamp(1, limits.stream_messages_max))
    }

    /// Bytes that the stream may hold.
    #[inline]
    pub(crate) fn bytes_max(&self, limits: &Limits) -> u64 {
        let asked = self.put.as_deref().and_then(|put| put.max_bytes);
        asked.map_or(limits.stream_bytes_max, |asked| asked.clamp(1, limits.stream_bytes_max))
    }

    /// Messages that a log keeps; `None` when their number does not matter to it.
    #[inline]
    pub(crate) fn kept_messages(&self, limits: &Limits) -> Option<u64> {
        let retention = self.log()?;
        (retention.max_messages > 0).then(|| retention.max_messages.min(self.messages_max(limits)))
    }

    /// Bytes that a log keeps; `None` when they do not matter to it.
    #[inline]
    pub(crate) fn kept_bytes(&self, limits: &Limits) -> Option<u64> {
        let retention = self.log()?;
        (retention.max_bytes > 0).then(|| retention.max_bytes.min(self.bytes_max(limits)))
    }

    /// It may have bounds of its own.
    #[inline]
    pub(crate) const fn has_bounds(&self) -> bool {
        self.put.is_some()
    }

    /// Deliveries of one message before it goes to the dead letters, for groups that say nothing else; 0: for ever.
    pub(crate) fn max_deliver(&self, limits: &Limits) -> u32 {
        self.put.as_deref().and_then(|put| put.max_deliver).unwrap_or(limits.max_deliver_default)
    }

    /// Expired messages go to the dead letters.
    pub(crate) fn dead_letter_expired(&self) -> bool {
        self.put.as_deref().and_then(|put| put.dead_letter_expired).unwrap_or(false)
    }

    /// Milliseconds in which a repeated dedup id is recognised; 0: never.
    pub(crate) fn dedup_window_ms(&self, limits: &Limits) -> u64 {
        let asked = self.put.as_deref().and_then(|put| put.dedup_window_ms);
        asked.unwrap_or(limits.dedup_window_ms_default).min(limits.dedup_window_ms_max)
    }
}

/// Milliseconds until an unacked delivery is redelivered, for consumers that say nothing else.
pub(crate) fn ack_wait_ms(group: &GroupSettings, limits: &Limits) -> u64 {
    clamp_ack_wait(group.ack_wait_ms.unwrap_or(limits.ack_wait_ms_default), limits)
}

/// An ack wait as it may be.
pub(crate) fn clamp_ack_wait(ack_wait_ms: u64, limits: &Limits) -> u64 {
    ack_wait_ms.min(limits.ack_wait_ms_max).max(limits.ack_wait_ms_min)
}

/// Sets what `asked` names of a group and leaves the rest.
pub(crate) const fn put_group(settings: &mut GroupSettings, asked: &GroupSettings) {
    if asked.ack_wait_ms.is_some() {
        settings.ack_wait_ms = asked.ack_wait_ms;
    }
    if asked.max_deliver.is_some() {
        settings.max_deliver = asked.max_deliver;
    }
}
