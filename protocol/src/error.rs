//! The one error table: every way a request can be refused or a connection ended, whose fault it is, and how it is
//! told on each wire. Nothing else in the project maps an error to a status or a close code.

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer sent something wrong; sending it again unchanged fails again.
    Peer,
    /// The server is too busy, full, or going away; the same request may pass later.
    Load,
    /// A defect or a broken device on our side.
    Server,
}

macro_rules! error_table {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal, $status:literal, $close:literal, $fault:ident;)*) => {
        /// Every error that can cross the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of the table: telemetry counts by this index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable text that clients may compare.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Self::$variant => $code,)* } }

            /// The HTTP status (RFC 9110, section 15).
            #[must_use]
            pub const fn http_status(self) -> u16 { match self { $(Self::$variant => $status,)* } }

            /// The WebSocket close code (RFC 6455, section 7.4, and the IANA registry), used when the error ends the
            /// connection.
            #[must_use]
            pub const fn close_code(self) -> u16 { match self { $(Self::$variant => $close,)* } }

            /// Whose fault it is.
            #[must_use]
            pub const fn fault(self) -> Fault { match self { $(Self::$variant => Fault::$fault,)* } }
        }
    };
}

error_table! {
    /// The bytes are not HTTP/1.1 or not WebSocket frames.
    BadFraming = "BadFraming", 400, 1002, Peer;
    /// The method does not exist for this path.
    MethodNotAllowed = "MethodNotAllowed", 405, 1002, Peer;
    /// No such path.
    NotFound = "NotFound", 404, 1008, Peer;
    /// The path takes only a WebSocket upgrade.
    UpgradeRequired = "UpgradeRequired", 426, 1002, Peer;
    /// The request took too long to arrive.
    RequestTimeout = "RequestTimeout", 408, 1002, Peer;
    /// `Expect` named something other than `100-continue`.
    ExpectationFailed = "ExpectationFailed", 417, 1002, Peer;
    /// A transfer coding other than `chunked`.
    UnsupportedTransferCoding = "UnsupportedTransferCoding", 501, 1002, Peer;
    /// An HTTP version other than 1.0 and 1.1.
    UnsupportedVersion = "UnsupportedVersion", 505, 1002, Peer;
    /// The body or message is not valid JSON.
    InvalidJson = "InvalidJSON", 400, 1007, Peer;
    /// The body or message is not valid MessagePack, or a text frame is not UTF-8.
    DecodeError = "DecodeError", 400, 1007, Peer;
    /// The body says that it is gzip and is not, or not all of it.
    InvalidGzip = "InvalidGzipEncoding", 400, 1007, Peer;
    /// The body is compressed in a way that is not taken here.
    UnsupportedContentCoding = "UnsupportedContentEncoding", 415, 1003, Peer;
    /// The decoded value nests deeper than the limit.
    DepthExceeded = "DepthExceeded", 400, 1007, Peer;
    /// The decoded value is larger than the limit.
    DecodedSizeExceeded = "DecodedSizeExceeded", 400, 1007, Peer;
    /// Well-formed, but none of the operations that this connection offers.
    UnknownOp = "UnknownOp", 400, 1003, Peer;
    /// A field is missing, of the wrong type or out of range.
    InvalidField = "InvalidField", 400, 1003, Peer;
    /// The envelope is missing or not an object.
    InvalidEnvelope = "InvalidEnvelope", 400, 1003, Peer;
    /// The stream name is empty, too long, or has control characters.
    InvalidStream = "InvalidStream", 400, 1008, Peer;
    /// No such stream.
    UnknownStream = "UnknownStream", 404, 1008, Peer;
    /// No such group.
    UnknownGroup = "UnknownGroup", 404, 1008, Peer;
    /// No such view.
    UnknownView = "UnknownView", 404, 1008, Peer;
    /// The request does not fit what is there, such as another durability for a stream that has messages.
    Conflict = "Conflict", 409, 1008, Peer;
    /// The stream, or the group that the connection consumed from, was deleted.
    StreamDeleted = "StreamDeleted", 410, 1008, Peer;
    /// The request body is larger than the limit.
    PayloadTooLarge = "PayloadTooLarge", 413, 1009, Peer;
    /// The WebSocket message is larger than the limit.
    MessageTooLarge = "MessageTooLarge", 413, 1009, Peer;
    /// The request line is longer than the limit.
    UriTooLong = "UriTooLong", 414, 1009, Peer;
    /// The header section is larger than the limit, in bytes or in fields.
    HeadersTooLarge = "RequestHeaderFieldsTooLarge", 431, 1009, Peer;
    /// The cookies are larger than the limit.
    CookieTooLarge = "CookieTooLarge", 431, 1009, Peer;
    /// No valid token.
    Unauthorized = "Unauthorized", 401, 1008, Peer;
    /// The name is reserved, or the principal may not do this.
    Forbidden = "Forbidden", 403, 1008, Peer;
    /// The page that asks comes from an origin that may not.
    OriginNotAllowed = "OriginNotAllowed", 403, 1008, Peer;
    /// A rate limit of an address, a connection, a token or a rule.
    RateLimitExceeded = "RateLimitExceeded", 429, 1008, Load;
    /// The rate limit of a tenant's requests.
    TenantRateLimitExceeded = "TenantRateLimitExceeded", 429, 1008, Load;
    /// The rate limit of one address's new WebSocket connections.
    ConnectionRateLimitExceeded = "ConnectionRateLimitExceeded", 429, 1008, Load;
    /// A tenant has its maximum of WebSocket connections open.
    TenantConnectionLimitExceeded = "TenantConnectionLimitExceeded", 429, 1008, Load;
    /// A tenant has its maximum of uploads in progress.
    TenantUploadQuotaExceeded = "TenantUploadQuotaExceeded", 429, 1008, Load;
    /// The server has its maximum of uploads in progress.
    TooManyUploads = "TooManyUploads", 503, 1013, Load;
    /// One address has its maximum of uploads in progress.
    TooManyUploadsPerIp = "TooManyUploadsPerIp", 503, 1013, Load;
    /// The stream or the shard is full; nothing was stored.
    Backpressure = "Backpressure", 429, 1013, Load;
    /// Too many connections, streams or consumers.
    TooManyConnections = "TooManyConnections", 503, 1013, Load;
    /// The shard cannot take more streams.
    TooManyStreams = "TooManyStreams", 503, 1013, Load;
    /// The stream or the shard cannot take more groups.
    TooManyGroups = "TooManyGroups", 503, 1013, Load;
    /// The disk, or the room that the log may take on it, is full. Service returns when there is room again.
    StorageFull = "storage_full", 507, 1011, Load;
    /// A write to the log failed: this shard stores nothing durable until the server is started again.
    StorageFailed = "storage_failed", 503, 1011, Server;
    /// The peer does not read what it asked for.
    SlowConsumer = "SlowConsumer", 503, 1013, Load;
    /// A WebSocket peer did not answer pings.
    PingTimeout = "PingTimeout", 408, 1001, Peer;
    /// The server is shutting down.
    ServerDraining = "ServerDraining", 503, 1001, Load;
    /// The server is shutting down and ends a connection that still has work in flight.
    ServerRestarting = "ServerRestarting", 503, 1012, Load;
    /// The shard that owns the stream did not answer in time.
    Timeout = "Timeout", 504, 1013, Server;
    /// A defect of the server.
    Internal = "Internal", 500, 1011, Server;
}

impl ErrorCode {
    /// Milliseconds after which trying again makes sense, where the code alone tells: room on a disk is looked for every
    /// second, and a group makes room when somebody deletes it; the waits of slots are those that clients know.
    #[must_use]
    pub const fn usual_wait_ms(self) -> Option<u32> {
        match self {
            Self::StorageFull => Some(1_000),
            Self::TooManyGroups | Self::TooManyConnections | Self::TenantUploadQuotaExceeded => Some(10_000),
            Self::TooManyUploads | Self::TooManyUploadsPerIp => Some(30_000),
            _ => None,
        }
    }
}

/// Why a session ends: the code of the table and a sentence for the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.code())]
pub struct Violation {
    /// Which row of the table.
    pub code: ErrorCode,
    /// What, where, and how to fix it.
    pub message: std::borrow::Cow<'static, str>,
}

impl Violation {
    /// A violation with its sentence.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}
