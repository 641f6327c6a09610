//! Subscriptions and settings with a wish or two, in few words.

use super::{Bench, Outcome, subscription};
use conduit_protocol::command::StreamAction;
use conduit_protocol::streams::{
    GroupInfo, GroupSettings, Policy, Retention, StreamAnswer, StreamInfo, StreamSettings,
};
use conduit_protocol::{Command, From, Subscribe};

/// Of a named group.
pub fn in_group<'a>(stream: &'a str, group: &'a str, credit: u64) -> Subscribe<'a> {
    Subscribe { group: Some(group.into()), ..subscription(stream, credit) }
}

/// For itself alone.
pub fn alone(stream: &str, credit: u64) -> Subscribe<'_> {
    Subscribe { ephemeral: true, ..subscription(stream, credit) }
}

/// The retention of a log; 0 for what does not matter.
pub fn log(max_age_ms: u64, max_bytes: u64, max_messages: u64) -> StreamSettings {
    let retention = Retention { policy: Policy::Log, max_age_ms, max_bytes, max_messages };
    StreamSettings { retention: Some(retention), ..StreamSettings::default() }
}

impl Bench {
    pub fn join(&mut self, slot: u32, subscribe: Subscribe<'_>) -> Outcome {
        self.command(slot, Command::Subscribe(subscribe))
    }

    /// Publishes so many messages of two bytes.
    pub fn fill(&mut self, stream: &str, messages: u64) {
        for n in 0..messages {
            let outcome = self.publish(stream, &format!("m{n}"), b"{}");
            assert_eq!((outcome.published.len(), outcome.refused.len()), (1, 0));
        }
    }

    pub fn describe(&mut self, stream: &str) -> StreamInfo {
        match self.act(stream, StreamAction::Describe).answer {
            Some(StreamAnswer::Stream(info)) => *info,
            other => panic!("{other:?}"),
        }
    }

    pub fn describe_group(&mut self, stream: &str, group: &str) -> GroupInfo {
        match self.act(stream, StreamAction::DescribeGroup { group: group.into() }).answer {
            Some(StreamAnswer::Group(info)) => *info,
            other => panic!("{other:?}"),
        }
    }

    pub fn put_group(&mut self, stream: &str, group: &str, from: From, settings: GroupSettings) -> Outcome {
        self.act(stream, StreamAction::PutGroup { group: group.into(), from, settings })
    }

    pub fn delete_group(&mut self, stream: &str, group: &str) -> Outcome {
        self.act(stream, StreamAction::DeleteGroup { group: group.into() })
    }

    /// Seqs that a stream holds, as a look into it shows them.
    pub fn held(&mut self, stream: &str) -> Vec<u64> {
        let from = conduit_protocol::Seq(0);
        match self.act(stream, StreamAction::Peek { from, limit: 1_000 }).answer {
            Some(StreamAnswer::Messages(messages)) => messages.messages.iter().map(|message| message.seq).collect(),
            other => panic!("{other:?}"),
        }
    }
}
