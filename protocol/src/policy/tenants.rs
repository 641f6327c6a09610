//! Tenants: whom streams belong to, and what each may use.

use crate::ids::TenantId;
use crate::limiter::Rate;
use std::collections::HashMap;

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, as in the tenants file.
    pub name: String,
    /// HTTP requests over time.
    pub requests: Option<Rate>,
    /// WebSocket connections at a time.
    pub connections_max: Option<u32>,
    /// Uploads at a time.
    pub uploads_max: Option<u32>,
    /// Bytes of one upload.
    pub upload_bytes_max: Option<u64>,
}

/// All tenants, by their id. The default has none.
#[derive(Debug, Clone, Default)]
pub struct Tenants {
    /// The tenants.
    pub by_id: HashMap<TenantId, Tenant>,
}

impl Tenants {
    /// The name of a tenant; empty for the default tenant and for one that is no longer configured.
    #[must_use]
    pub fn name(&self, id: TenantId) -> &str {
        self.get(id).map_or("", |tenant| &tenant.name)
    }

    /// The tenant of this name, if there is one.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<TenantId> {
        let id = TenantId::of_name(name);
        self.by_id.get(&id).is_some_and(|tenant| tenant.name == name).then_some(id)
    }

    /// A tenant. The default tenant is none.
    #[inline]
    #[must_use]
    pub fn get(&self, id: TenantId) -> Option<&Tenant> {
        // Nearly every request of a server without tenants is the default tenant's.
        if id == TenantId::DEFAULT { None } else { self.by_id.get(&id) }
    }
}
