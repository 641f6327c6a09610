//! Bugs that can be planted, to see that the simulator finds them. A server has none: without the feature `mutants` a
//! [`Planted`] is nothing, and every question to it is answered while it is compiled.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A publish is answered as durable before its commit is done.
    AckBeforeSync,
    /// A sync that failed is tried again, and believed when that succeeds.
    RetryFailedSync,
    /// A new segment is written before its entry in the directory is durable.
    SkipDirectorySync,
    /// Recovery gives out seqs again that were reserved and may have been used.
    ReuseSeq,
    /// A grant of credit counts one more than it says.
    CreditOffByOne,
    /// Recovery believes what can be read, without making it durable first.
    TrustTheCache,
    /// Recovery does not check the checksums of records.
    BelieveTornTail,
    /// A segment goes although a message in it is needed.
    TrimWhatIsNeeded,
    /// Dedup ids are forgotten at a restart.
    ForgetDedupIds,
    /// Acks are forgotten at a restart.
    ForgetAcks,
    /// A message that comes again has the attempt of the first time.
    AttemptNotCounted,
    /// A delivery that is never acked is never taken back.
    IgnoreAckDeadline,
    /// A repeat is answered with a seq that is not the first one's.
    DuplicateOtherSeq,
    /// A message that was given back with a delay comes again at once.
    IgnoreNackDelay,
    /// What a reader that sends no acks was given is done, although its connection took none of it.
    AckUndrained,
    /// The home of an account hands out tokens in advance without taking them from it.
    LeaseForFree,
    /// A slot that another shard gives back counts twice.
    ReleaseTwice,
}

impl Mutant {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AckBeforeSync,
        Self::RetryFailedSync,
        Self::SkipDirectorySync,
        Self::ReuseSeq,
        Self::CreditOffByOne,
        Self::TrustTheCache,
        Self::BelieveTornTail,
        Self::TrimWhatIsNeeded,
        Self::ForgetDedupIds,
        Self::ForgetAcks,
        Self::AttemptNotCounted,
        Self::IgnoreAckDeadline,
        Self::DuplicateOtherSeq,
        Self::IgnoreNackDelay,
        Self::AckUndrained,
        Self::LeaseForFree,
        Self::ReleaseTwice,
    ];

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeSync => "ack before sync",
            Self::RetryFailedSync => "retry a failed sync",
            Self::SkipDirectorySync => "skip the directory sync",
            Self::ReuseSeq => "reuse seqs",
            Self::CreditOffByOne => "credit off by one",
            Self::TrustTheCache => "trust the cache at recovery",
            Self::BelieveTornTail => "believe a torn tail",
            Self::TrimWhatIsNeeded => "trim what is needed",
            Self::ForgetDedupIds => "forget dedup ids at a restart",
            Self::ForgetAcks => "forget acks at a restart",
            Self::AttemptNotCounted => "do not count attempts",
            Self::IgnoreAckDeadline => "ignore the ack deadline",
            Self::DuplicateOtherSeq => "answer a repeat with another seq",
            Self::IgnoreNackDelay => "ignore the delay of a nack",
            Self::AckUndrained => "ack what no reader took",
            Self::LeaseForFree => "lease tokens without taking them",
            Self::ReleaseTwice => "give a slot back twice",
        }
    }
}

/// Which bug is planted, if any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

impl Planted {
    /// This one, where the feature allows it.
    #[must_use]
    #[cfg_attr(not(feature = "mutants"), allow(unused_variables, reason = "nothing can be planted"))]
    pub const fn new(mutant: Option<Mutant>) -> Self {
        Self {
            #[cfg(feature = "mutants")]
            mutant,
        }
    }

    /// Is it this one?
    #[inline(always)]
    #[must_use]
    #[cfg(feature = "mutants")]
    pub fn has(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Is it this one? There is none.
    #[inline(always)]
    #[must_use]
    #[cfg(not(feature = "mutants"))]
    pub const fn has(self, _: Mutant) -> bool {
        false
    }
}
