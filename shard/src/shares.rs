//! What each tenant holds of what all tenants of a shard share. Where there are named tenants, none of them takes all of it:
//! what is left is there for the others.

use crate::Limits;
use conduit_protocol::{ErrorCode, TenantId};
use std::collections::BTreeMap;

/// What is shared.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shared {
    Streams,
    Groups,
    DedupIds,
}

/// Numbers by [`Shared`].
type Held = [usize; 3];

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// Of whoever has no tenant: everybody, on a server without tenants.
    nobody: Held,
    /// Of named tenants; those that hold nothing are not in it. Each of the others has a stream at least.
    named: BTreeMap<TenantId, Held>,
    /// There are named tenants: whoever has none does not take everything either.
    pub(crate) has_tenants: bool,
}

impl Shares {
    /// A tenant holds so many more.
    pub(crate) fn add(&mut self, tenant: TenantId, shared: Shared, count: usize) {
        match tenant {
            TenantId::DEFAULT => self.nobody[shared as usize] += count,
            tenant => self.named.entry(tenant).or_default()[shared as usize] += count,
        }
    }

    /// A tenant holds so many fewer.
    pub(crate) fn remove(&mut self, tenant: TenantId, shared: Shared, count: usize) {
        if tenant == TenantId::DEFAULT {
            self.nobody[shared as usize] -= count;
        } else if let Some(held) = self.named.get_mut(&tenant) {
            held[shared as usize] -= count;
            if *held == Held::default() {
                self.named.remove(&tenant);
            }
        }
    }

    /// What a tenant holds.
    fn held(&self, tenant: TenantId, shared: Shared) -> usize {
        match tenant {
            TenantId::DEFAULT => self.nobody[shared as usize],
            tenant => self.named.get(&tenant).map_or(0, |held| held[shared as usize]),
        }
    }

    /// Whether a tenant may hold one more.
    ///
    /// # Errors
    /// It has its share: the error is that of a shard which has none left for anybody.
    pub(crate) fn check(
        &self,
        tenant: TenantId,
        shared: Shared,
        limits: &Limits,
    ) -> Result<(), (ErrorCode, &'static str)> {
        if tenant == TenantId::DEFAULT && !self.has_tenants {
            return Ok(());
        }
        let all = match shared {
            Shared::Streams => limits.streams_max,
            Shared::Groups => limits.groups_max,
            Shared::DedupIds => limits.dedup_entries_max,
        };
        // Where there is anything to be had, a share is one at least.
        let share = ((all as u64).saturating_mul(limits.tenant_share_percent) / 100).max(1);
        if (self.held(tenant, shared) as u64) < share {
            return Ok(());
        }
        Err(match shared {
            Shared::Streams => (
                ErrorCode::TooManyStreams,
                "the tenant has its share of the shard's streams (`--tenant-share-percent`); use existing ones, or delete some",
            ),
            Shared::Groups => (
                ErrorCode::TooManyGroups,
                "the tenant has its share of the shard's groups (`--tenant-share-percent`); delete some of them",
            ),
            Shared::DedupIds => (
                ErrorCode::Backpressure,
                "the tenant has its share of the dedup ids that the shard remembers (`--tenant-share-percent`); retry later, or use shorter windows",
            ),
        })
    }
}

#[cfg(any(test, feature = "testing"))]
impl crate::Shard {
    /// The counts are those of what is there.
    pub(crate) fn are_shares_right(&self) -> bool {
        let mut counted = Shares::default();
        for stream in self.streams.iter() {
            counted.add(stream.tenant, Shared::Streams, 1);
            counted.add(stream.tenant, Shared::Groups, stream.groups.len());
            counted.add(stream.tenant, Shared::DedupIds, stream.dedup.as_ref().map_or(0, |dedup| dedup.len()));
        }
        (counted.nobody, &counted.named) == (self.shares.nobody, &self.shares.named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_nothing_takes_no_memory() {
        let mut shares = Shares::default();
        for number in 0..100 {
            shares.add(TenantId(number), Shared::Streams, 1);
            shares.add(TenantId(number), Shared::DedupIds, 3);
        }
        assert_eq!(shares.named.len(), 99);
        for number in 0..100 {
            shares.remove(TenantId(number), Shared::DedupIds, 3);
            shares.remove(TenantId(number), Shared::Streams, 1);
        }
        assert_eq!((shares.named.len(), shares.nobody), (0, Held::default()));
    }

    #[test]
    fn a_share_is_rounded_down_and_one_at_least() {
        let holds = |streams_max, percent| {
            let limits = Limits { streams_max, tenant_share_percent: percent, ..Limits::default() };
            let mut shares = Shares::default();
            while shares.check(TenantId(7), Shared::Streams, &limits).is_ok() {
                shares.add(TenantId(7), Shared::Streams, 1);
            }
            shares.held(TenantId(7), Shared::Streams)
        };
        assert_eq!([holds(1, 50), holds(2, 50), holds(3, 50), holds(99, 50), holds(99, 100)], [1, 1, 1, 49, 99]);
    }
}
