//! Who may come in, and as whom.

use crate::ids::TenantId;

/// Who a request comes from, once its token has been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// Whose streams it sees.
    pub tenant: TenantId,
    /// May look at the whole server and change it.
    pub is_admin: bool,
    /// When it stops being believed, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

impl Principal {
    /// Anybody, on a server without tokens.
    pub const ANYBODY: Self = Self { tenant: TenantId::DEFAULT, is_admin: true, expires_unix_ms: u64::MAX };
}

/// How much of the server a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Server,
    /// What belongs to one tenant.
    Tenant(TenantId),
}

impl Principal {
    /// What its documents may tell.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        if self.is_admin { Scope::Server } else { Scope::Tenant(self.tenant) }
    }
}

/// Who is let in. The default lets everybody in.
#[derive(Debug, Default)]
pub struct Access {
    /// The metrics need a token too.
    pub protects_metrics: bool,
}
