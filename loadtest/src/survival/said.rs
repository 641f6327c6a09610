//! What a server says on a WebSocket, as far as a trial cares.

use super::payload::Envelope;
use serde::Deserialize;
use std::borrow::Cow;

/// One message of the server; exactly one of the options is there.
#[derive(Debug, Deserialize)]
pub(crate) struct Said<'a> {
    #[serde(borrow)]
    pub(crate) deliver: Option<Envelope<'a>>,
    #[serde(default)]
    pub(crate) seq: u64,
    #[serde(default)]
    pub(crate) attempt: u32,
    pub(crate) ok: Option<Accepted>,
    /// The number of the message that the answer is for.
    #[serde(rename = "ref")]
    pub(crate) number: Option<u64>,
    #[serde(borrow)]
    pub(crate) error: Option<Refused<'a>>,
    pub(crate) subscribed: Option<Subscribed>,
    pub(crate) gap: Option<Gap>,
}

/// An acceptance, on either wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) seq: u64,
    /// What was promised.
    #[serde(default)]
    pub(crate) durable: bool,
    #[serde(default)]
    pub(crate) duplicate: bool,
}

/// A refusal, on either wire.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Refused<'a> {
    #[serde(borrow)]
    pub(crate) code: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) message: Cow<'a, str>,
}

impl Refused<'_> {
    /// The same, on its own.
    pub(crate) fn to_static(&self) -> Refused<'static> {
        let own = |text: &Cow<'_, str>| Cow::Owned(text.clone().into_owned());
        Refused { code: own(&self.code), message: own(&self.message) }
    }

    /// The same message may pass later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(&*self.code, "Backpressure" | "storage_full" | "ServerDraining" | "Timeout")
    }
}

/// The greeting of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Subscribed {
    /// Names the numbering.
    pub(crate) epoch: u64,
    /// The newest seq ever given.
    pub(crate) last: u64,
}

/// Seqs that were lost on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

#[cfg(test)]
mod tests {
    use super::super::payload::Mark;
    use super::*;

    fn said(text: &str) -> Said<'_> {
        serde_json::from_str(text).expect("a message of the server")
    }

    #[test]
    fn every_message_of_the_protocol_is_read() {
        let mark = Mark { producer: 1, number: 2 };
        let text = format!(r#"{{"deliver":{},"id":"1-2","seq":9,"attempt":3}}"#, mark.envelope());
        let deliver = said(&text);
        assert_eq!(
            (deliver.deliver.and_then(|envelope| envelope.mark()), deliver.seq, deliver.attempt),
            (Some(mark), 9, 3)
        );
        let ok = said(r#"{"ok":{"id":"a","stream":"s","seq":4,"durable":true,"duplicate":true},"ref":7}"#);
        assert_eq!((ok.ok, ok.number), (Some(Accepted { seq: 4, durable: true, duplicate: true }), Some(7)));
        let refused = said(r#"{"error":{"code":"Backpressure","message":"full","retryAfterMs":5},"ref":7}"#);
        assert!(refused.error.is_some_and(|error| error.is_temporary()));
        let hello = said(r#"{"subscribed":{"stream":"s","group":"","epoch":5,"first":1,"last":8,"next":2}}"#);
        assert_eq!(hello.subscribed, Some(Subscribed { epoch: 5, last: 8 }));
        assert_eq!(said(r#"{"gap":{"from":3,"to":4}}"#).gap, Some(Gap { from: 3, to: 4 }));
    }
}
