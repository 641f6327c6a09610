//! The shard's counters of the wire: plain numbers that sessions raise and the control shard merges. Per shard, never
//! shared; a snapshot is a clone sent as a message.

use crate::error::ErrorCode;
use crate::tenant_stats::TenantFigures;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// The endpoints that have figures of their own. Bounded on purpose: no label comes from what a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `/v1/enqueue`.
    Enqueue,
    /// `/v1/stats`.
    Stats,
    /// `/v1/streams` and all below it.
    Streams,
    /// `/v1/metrics` and `/metrics`.
    Metrics,
    /// `/v1/histograms`.
    Histograms,
    /// `/v1/snapshot`.
    Snapshot,
    /// `/v1/admin/reload` and `/v1/admin/drain`.
    Admin,
    /// `/health`.
    Health,
    /// `/v1/subscribe` (refused or not upgraded).
    Subscribe,
    /// `/v1/publish` (refused or not upgraded).
    Publish,
    /// `/v1/live`: counted when it is answered, not when it ends.
    Live,
    /// Any other path.
    Other,
}

impl Endpoint {
    /// All of them, in index order.
    pub const ALL: [Self; 12] = [
        Self::Enqueue,
        Self::Stats,
        Self::Streams,
        Self::Metrics,
        Self::Histograms,
        Self::Snapshot,
        Self::Admin,
        Self::Health,
        Self::Subscribe,
        Self::Publish,
        Self::Live,
        Self::Other,
    ];

    /// The path as shown in metrics.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Enqueue => "/v1/enqueue",
            Self::Stats => "/v1/stats",
            Self::Streams => "/v1/streams",
            Self::Metrics => "/v1/metrics",
            Self::Histograms => "/v1/histograms",
            Self::Snapshot => "/v1/snapshot",
            Self::Admin => "/v1/admin",
            Self::Health => "/health",
            Self::Subscribe => "/v1/subscribe",
            Self::Publish => "/v1/publish",
            Self::Live => "/v1/live",
            Self::Other => "other",
        }
    }
}

/// Figures of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointStats {
    /// Requests answered.
    pub requests: u64,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response bytes, heads included.
    pub bytes_out: u64,
    /// Answers with a status of 400 or more.
    pub errors: u64,
    /// Nanoseconds from the decoded request to its encoded answer. Two significant digits.
    pub duration_ns: Histogram<u64>,
}

impl Default for EndpointStats {
    fn default() -> Self {
        Self { requests: 0, bytes_in: 0, bytes_out: 0, errors: 0, duration_ns: latency_histogram() }
    }
}

/// A histogram for nanoseconds from 1 us to 1 hour with two significant digits; it grows to what it meets.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(2).expect("2 significant digits are within the library's range");
    histogram.auto(true);
    histogram
}

/// Counters per codec, indexed by `Encoding as usize`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CodecStats {
    /// Requests or messages.
    pub requests: u64,
    /// Bytes in.
    pub bytes_in: u64,
    /// Bytes out.
    pub bytes_out: u64,
    /// Bodies or messages that did not decode.
    pub decode_errors: u64,
}

/// WebSocket figures.
#[derive(Debug, Clone, Default)]
pub struct WsStats {
    /// Handshakes completed.
    pub connections_total: u64,
    /// Upgraded and not yet gone.
    pub connections_active: u64,
    /// Messages received (not frames; control frames not counted).
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Credit granted by clients, with the handshake or later.
    pub credits_granted: u64,
    /// Deliveries written.
    pub deliveries_total: u64,
    /// Bytes of their envelopes.
    pub delivery_bytes_total: u64,
    /// Messages refused for their size.
    pub size_cap_violations: u64,
    /// Messages refused for their depth.
    pub depth_cap_violations: u64,
    /// Per codec.
    pub codecs: [CodecStats; 2],
}

/// Figures of event streams.
#[derive(Debug, Clone, Copy, Default)]
pub struct LiveStats {
    /// Begun.
    pub connections_total: u64,
    /// Begun and not yet gone.
    pub connections_active: u64,
    /// Messages written.
    pub events_total: u64,
    /// Bytes of their envelopes.
    pub event_bytes_total: u64,
}

/// Everything the sessions of one shard count.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// By `Endpoint as usize`.
    pub endpoints: [EndpointStats; Endpoint::ALL.len()],
    /// Answers by HTTP status. Bounded: statuses are ours.
    pub statuses: BTreeMap<u16, u64>,
    /// Per codec, HTTP only.
    pub http_codecs: [CodecStats; 2],
    /// HTTP requests that have come, at least their heads, and whose responses have not been written.
    pub http_in_progress: u32,
    /// HTTP bodies refused for the size of what they decode to.
    pub http_size_cap_violations: u64,
    /// HTTP bodies refused for their depth.
    pub http_depth_cap_violations: u64,
    /// WebSocket figures.
    pub ws: WsStats,
    /// Event streams.
    pub live: LiveStats,
    /// Errors told on either wire, by position in `ErrorCode::ALL`.
    pub errors: Vec<u64>,
    /// Of them, those told over WebSockets.
    pub ws_errors: Vec<u64>,
    /// For each tenant.
    pub tenants: TenantFigures,
    /// Requests that each rule has answered, by its position among the rules; as long as the highest one that did.
    pub rule_hits: Vec<u64>,
    /// Tokens that were signed with a key that is not known.
    pub unknown_keys: u64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            endpoints: std::array::from_fn(|_| EndpointStats::default()),
            statuses: BTreeMap::new(),
            http_codecs: Default::default(),
            http_in_progress: 0,
            http_size_cap_violations: 0,
            http_depth_cap_violations: 0,
            ws: WsStats::default(),
            live: LiveStats::default(),
            errors: vec![0; ErrorCode::ALL.len()],
            ws_errors: vec![0; ErrorCode::ALL.len()],
            tenants: TenantFigures::default(),
            rule_hits: Vec::new(),
            unknown_keys: 0,
        }
    }
}

impl Telemetry {
    /// Counts an error told to a peer.
    pub fn count_error(&mut self, code: ErrorCode) {
        self.errors[code as usize] += 1;
    }

    /// Counts an error told over a WebSocket.
    pub fn count_ws_error(&mut self, code: ErrorCode) {
        self.count_error(code);
        self.ws_errors[code as usize] += 1;
    }

    /// Counts a request that a rule answers.
    pub fn count_rule(&mut self, position: usize) {
        if self.rule_hits.len() <= position {
            self.rule_hits.resize(position + 1, 0);
        }
        self.rule_hits[position] += 1;
    }

    /// Adds another shard's counters to these.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.endpoints.iter_mut().zip(&other.endpoints) {
            mine.requests += theirs.requests;
            mine.bytes_in += theirs.bytes_in;
            mine.bytes_out += theirs.bytes_out;
            mine.errors += theirs.errors;
            // An auto-resizing histogram takes any other one of the same precision.
            mine.duration_ns.add(&theirs.duration_ns).expect("auto-resizing histograms merge");
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        merge_codecs(&mut self.http_codecs, &other.http_codecs);
        self.http_in_progress += other.http_in_progress;
        self.http_size_cap_violations += other.http_size_cap_violations;
        self.http_depth_cap_violations += other.http_depth_cap_violations;
        for (mine, theirs) in self.errors.iter_mut().zip(&other.errors) {
            *mine += theirs;
        }
        for (mine, theirs) in self.ws_errors.iter_mut().zip(&other.ws_errors) {
            *mine += theirs;
        }
        self.live.connections_total += other.live.connections_total;
        self.live.connections_active += other.live.connections_active;
        self.live.events_total += other.live.events_total;
        self.live.event_bytes_total += other.live.event_bytes_total;
        self.tenants.merge(&other.tenants);
        if self.rule_hits.len() < other.rule_hits.len() {
            self.rule_hits.resize(other.rule_hits.len(), 0);
        }
        for (mine, theirs) in self.rule_hits.iter_mut().zip(&other.rule_hits) {
            *mine += theirs;
        }
        self.unknown_keys += other.unknown_keys;
        let (mine, theirs) = (&mut self.ws, &other.ws);
        mine.connections_total += theirs.connections_total;
        mine.connections_active += theirs.connections_active;
        mine.messages_in += theirs.messages_in;
        mine.messages_out += theirs.messages_out;
        mine.bytes_in += theirs.bytes_in;
        mine.bytes_out += theirs.bytes_out;
        mine.credits_granted += theirs.credits_granted;
        mine.deliveries_total += theirs.deliveries_total;
        mine.delivery_bytes_total += theirs.delivery_bytes_total;
        mine.size_cap_violations += theirs.size_cap_violations;
        mine.depth_cap_violations += theirs.depth_cap_violations;
        merge_codecs(&mut mine.codecs, &theirs.codecs);
    }
}

fn merge_codecs(mine: &mut [CodecStats; 2], theirs: &[CodecStats; 2]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        mine.requests += theirs.requests;
        mine.bytes_in += theirs.bytes_in;
        mine.bytes_out += theirs.bytes_out;
        mine.decode_errors += theirs.decode_errors;
    }
}
