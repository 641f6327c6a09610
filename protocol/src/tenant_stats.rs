//! What the sessions of one shard count for each tenant. The default tenant has no figures of its own: they are what the
//! shard's leave over.

use crate::ids::TenantId;

/// Tenants with figures of their own. More are counted with the shard only.
pub const TENANTS_COUNTED_MAX: usize = 10_000;

/// Figures of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantStats {
    /// HTTP requests answered.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Of them, uploads.
    pub uploads: u64,
    /// Errors told, on either wire.
    pub errors: u64,
    /// WebSocket handshakes.
    pub connections_total: u64,
    /// WebSockets open.
    pub connections_active: u64,
    /// WebSocket messages received.
    pub messages_in: u64,
    /// Deliveries written.
    pub messages_delivered: u64,
    /// Bytes of their envelopes.
    pub bytes_delivered: u64,
}

impl TenantStats {
    /// Adds another shard's.
    pub const fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes_in += other.bytes_in;
        self.uploads += other.uploads;
        self.errors += other.errors;
        self.connections_total += other.connections_total;
        self.connections_active += other.connections_active;
        self.messages_in += other.messages_in;
        self.messages_delivered += other.messages_delivered;
        self.bytes_delivered += other.bytes_delivered;
    }

    /// Takes another one's away. What was counted for both at different moments never makes it negative.
    pub const fn subtract(&mut self, other: &Self) {
        self.requests = self.requests.saturating_sub(other.requests);
        self.bytes_in = self.bytes_in.saturating_sub(other.bytes_in);
        self.uploads = self.uploads.saturating_sub(other.uploads);
        self.errors = self.errors.saturating_sub(other.errors);
        self.connections_total = self.connections_total.saturating_sub(other.connections_total);
        self.connections_active = self.connections_active.saturating_sub(other.connections_active);
        self.messages_in = self.messages_in.saturating_sub(other.messages_in);
        self.messages_delivered = self.messages_delivered.saturating_sub(other.messages_delivered);
        self.bytes_delivered = self.bytes_delivered.saturating_sub(other.bytes_delivered);
    }
}

/// The tenants' figures, found without hashing: what one session counts it usually counts again.
#[derive(Debug, Clone, Default)]
pub struct TenantFigures {
    /// In the order of the ids.
    entries: Vec<(TenantId, TenantStats)>,
    last: usize,
}

impl TenantFigures {
    /// Counts something for a tenant.
    #[inline]
    pub fn count(&mut self, tenant: TenantId, count: impl FnOnce(&mut TenantStats)) {
        if tenant == TenantId::DEFAULT {
            return;
        }
        if self.entries.get(self.last).is_none_or(|(id, _)| *id != tenant) && !self.find(tenant) {
            return;
        }
        count(&mut self.entries[self.last].1);
    }

    /// Points `last` at the tenant. False when there is no room for one more.
    #[inline(never)]
    fn find(&mut self, tenant: TenantId) -> bool {
        match self.entries.binary_search_by_key(&tenant, |(id, _)| *id) {
            Ok(at) => self.last = at,
            Err(_) if self.entries.len() >= TENANTS_COUNTED_MAX => return false,
            Err(at) => {
                self.entries.insert(at, (tenant, TenantStats::default()));
                self.last = at;
            }
        }
        true
    }

    /// All that were ever counted, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (TenantId, &TenantStats)> {
        self.entries.iter().map(|(id, stats)| (*id, stats))
    }

    /// One tenant's.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> TenantStats {
        let found = self.entries.binary_search_by_key(&tenant, |(id, _)| *id);
        found.map_or_else(|_| TenantStats::default(), |at| self.entries[at].1)
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        for (tenant, stats) in other.iter() {
            self.count(tenant, |mine| mine.merge(stats));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_is_counted_for_itself_and_the_default_one_not_at_all() {
        let mut figures = TenantFigures::default();
        for tenant in [7, 3, 7, 0, 9, 3, 7] {
            figures.count(TenantId(tenant), |stats| stats.requests += 1);
        }
        let counted: Vec<_> = figures.iter().map(|(id, stats)| (id.0, stats.requests)).collect();
        assert_eq!(counted, [(3, 2), (7, 3), (9, 1)]);
        let mut sum = figures.clone();
        sum.merge(&figures);
        assert_eq!((sum.of(TenantId(7)).requests, sum.of(TenantId(8)).requests), (6, 0));
    }

    #[test]
    fn one_tenant_more_than_fits_is_left_to_the_shard() {
        let mut figures = TenantFigures::default();
        for tenant in 1..=TENANTS_COUNTED_MAX as u32 + 1 {
            figures.count(TenantId(tenant), |stats| stats.uploads += 1);
        }
        assert_eq!(figures.iter().count(), TENANTS_COUNTED_MAX);
        assert_eq!(figures.of(TenantId(TENANTS_COUNTED_MAX as u32)).uploads, 1);
        figures.count(TenantId(1), |stats| stats.uploads += 1);
        assert_eq!(figures.of(TenantId(1)).uploads, 2);
    }
}
