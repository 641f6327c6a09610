//! How a server that is going away lets its clients go.

/// What clients are told. The default names no other server and lets reading go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Requests that only read are refused too; all but `/health`.
    pub rejects_all: bool,
    /// Other servers, as clients write them.
    pub alternates: Vec<String>,
    /// When connecting again makes sense.
    pub retry_after_ms: u32,
    /// So long after a reload `/health` says that the server drains, so that load balancers give it a rest.
    pub after_reload_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self { rejects_all: false, alternates: Vec::new(), retry_after_ms: 1_000, after_reload_ms: 0 }
    }
}
