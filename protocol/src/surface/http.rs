//! Conduit over HTTP: paths and parameters.

use super::streams::{StreamPath, StreamRoute};
use crate::Encoding;
use crate::codec::{check_group_name, check_stream_name};
use crate::command::{AdminAction, Command, From, Report, Subscribe, View, decimal};
use crate::error::{ErrorCode, Violation};
use crate::http::{Method, parameter, percent_decode, read_last_id};
use crate::ids::Seq;
use crate::limits::Limits;
use crate::policy::Scope;
use crate::telemetry::Endpoint;

/// One path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST /v1/enqueue`.
    Enqueue,
    /// `GET /v1/stats?stream=`.
    Stats,
    /// `GET /health`, `/v1/metrics`, `/metrics`, `/v1/streams`.
    Report(Report),
    /// `GET /v1/histograms?format=`.
    Histograms,
    /// `GET /v1/snapshot?view=`.
    Snapshot,
    /// `POST /v1/admin/reload`.
    AdminReload,
    /// `POST /v1/admin/drain`.
    AdminDrain,
    /// `GET /v1/subscribe?stream=`, upgraded.
    Subscribe,
    /// `GET /v1/publish`, upgraded.
    Publish,
    /// `GET /v1/live`: events.
    Live,
    /// A path below `/v1/streams/`.
    Stream(StreamRoute),
}

impl Route {
    /// The route of a path as it came. `None`: there is no such path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let route = if memchr::memchr(b'%', path.as_bytes()).is_some() {
            // Escapes are equivalent to what they stand for (RFC 3986, section 6.2.2.2), but an escaped slash does not
            // separate segments. Bad escapes name nothing.
            let decoded = percent_decode(path, false).ok()?;
            let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
            if slashes(path) == slashes(&decoded) { Self::of_plain(&decoded) } else { None }
        } else {
            Self::of_plain(path)
        };
        route.or_else(|| StreamPath::of(path).map(|path| Self::Stream(path.route)))
    }

    fn of_plain(path: &str) -> Option<Self> {
        match path {
            "/v1/enqueue" => Some(Self::Enqueue),
            "/v1/stats" => Some(Self::Stats),
            "/health" => Some(Self::Report(Report::Health)),
            "/v1/metrics" => Some(Self::Report(Report::Metrics)),
            "/metrics" => Some(Self::Report(Report::Prometheus)),
            "/v1/streams" => Some(Self::Report(Report::Streams)),
            "/v1/histograms" => Some(Self::Histograms),
            "/v1/snapshot" => Some(Self::Snapshot),
            "/v1/admin/reload" => Some(Self::AdminReload),
            "/v1/admin/drain" => Some(Self::AdminDrain),
            "/v1/subscribe" => Some(Self::Subscribe),
            "/v1/publish" => Some(Self::Publish),
            "/v1/live" => Some(Self::Live),
            _ => None,
        }
    }

    /// Whether the path takes this method. What takes GET takes HEAD.
    pub(crate) const fn takes(self, method: Method) -> bool {
        match self {
            Self::Enqueue | Self::AdminReload | Self::AdminDrain => matches!(method, Method::Post),
            Self::Stream(route) => route.takes(method),
            _ => matches!(method, Method::Get | Method::Head),
        }
    }

    /// The `Allow` field of a 405 (RFC 9110, section 10.2.1).
    pub(crate) const fn allow(self) -> &'static str {
        match self {
            Self::Enqueue | Self::AdminReload | Self::AdminDrain => "POST",
            Self::Stream(route) => route.allow(),
            _ => "GET, HEAD",
        }
    }

    /// Whether a draining server refuses it. Reading stays possible to the end.
    pub(crate) const fn is_refused_when_draining(self, method: Method) -> bool {
        match self {
            Self::Enqueue | Self::Subscribe | Self::Publish | Self::Live => true,
            Self::Stream(_) => !matches!(method, Method::Get | Method::Head),
            Self::Stats | Self::Report(_) | Self::Histograms | Self::Snapshot => false,
            Self::AdminReload | Self::AdminDrain => false,
        }
    }

    /// Whether a request with this method brings settings.
    pub(crate) const fn takes_settings(self, method: Method) -> bool {
        matches!((self, method), (Self::Stream(_), Method::Put))
    }

    /// Speaks WebSocket only.
    pub(crate) const fn is_websocket(self) -> bool {
        matches!(self, Self::Subscribe | Self::Publish)
    }

    /// Where it is counted.
    pub(crate) const fn endpoint(self) -> Endpoint {
        match self {
            Self::Enqueue => Endpoint::Enqueue,
            Self::Stats => Endpoint::Stats,
            Self::Report(Report::Health) => Endpoint::Health,
            Self::Report(Report::Metrics | Report::Prometheus) => Endpoint::Metrics,
            Self::Report(Report::Streams) | Self::Stream(_) => Endpoint::Streams,
            Self::Report(Report::Snapshot(_)) | Self::Snapshot => Endpoint::Snapshot,
            Self::Report(_) | Self::Histograms => Endpoint::Histograms,
            Self::AdminReload | Self::AdminDrain => Endpoint::Admin,
            Self::Subscribe => Endpoint::Subscribe,
            Self::Publish => Endpoint::Publish,
            Self::Live => Endpoint::Live,
        }
    }
}

/// The command of a route that only reads.
///
/// # Errors
/// `InvalidField`, `InvalidStream`, `Forbidden`.
pub(crate) fn query_command<'q>(
    route: Route,
    query: &'q str,
    scope: Scope,
    limits: &Limits,
) -> Result<Command<'q>, Violation> {
    let document = |report| Ok(Command::Report { report, scope });
    match route {
        Route::Stats => {
            let stream = parameter(query, "stream")?.filter(|stream| !stream.is_empty());
            let stream = stream.ok_or_else(|| Violation::new(ErrorCode::InvalidField, "missing stream"))?;
            check_stream_name(&stream, limits)?;
            Ok(Command::Stats { stream })
        }
        Route::Histograms => match parameter(query, "format")?.as_deref() {
            None | Some("json") => document(Report::HistogramsJson),
            Some("hlog") => document(Report::HistogramsHlog),
            Some("hgrm") => document(Report::HistogramsHgrm),
            Some(_) => Err(Violation::new(ErrorCode::InvalidField, "`format` is json, hlog or hgrm")),
        },
        Route::Report(report) => document(report),
        Route::Snapshot => {
            let view = parameter(query, "view")?.and_then(|name| View::of_name(&name));
            view.map_or_else(
                || Err(Violation::new(ErrorCode::NotFound, NO_SUCH_VIEW)),
                |view| document(Report::Snapshot(view)),
            )
        }
        Route::AdminReload => Ok(Command::Admin(AdminAction::Reload)),
        Route::AdminDrain => {
            let timeout_ms = number(query, "timeoutMs", 0)?.map(|ms| ms.min(DRAIN_MS_MAX));
            Ok(Command::Admin(AdminAction::Drain { timeout_ms }))
        }
        Route::Enqueue | Route::Subscribe | Route::Publish | Route::Live | Route::Stream(_) => {
            Err(Violation::new(ErrorCode::Internal, "the path does not answer queries"))
        }
    }
}

const NO_SUCH_VIEW: &str = "there is no such view: `view` is streams, consumers, groups, tenants, shards or limits";

/// A drain takes an hour at most.
const DRAIN_MS_MAX: u64 = 3_600_000;

/// The encoding of a WebSocket: `codec=` when it names one, else the first subprotocol that does, else JSON.
///
/// # Errors
/// `InvalidField` for a bad escape or a repeated parameter.
pub(crate) fn websocket_encoding(query: &str, offered: Option<Encoding>) -> Result<Encoding, Violation> {
    let named = parameter(query, "codec")?.and_then(|name| Encoding::named(name.as_bytes()));
    Ok(named.or(offered).unwrap_or_default())
}

/// The subscription that the query of `/v1/subscribe` describes. Parameters that are not ours are ignored.
///
/// # Errors
/// `InvalidStream`, `Forbidden`, `InvalidField`.
pub(crate) fn subscribe<'q>(query: &'q str, encoding: Encoding, limits: &Limits) -> Result<Subscribe<'q>, Violation> {
    let stream = parameter(query, "stream")?;
    let stream = stream.ok_or_else(|| Violation::new(ErrorCode::InvalidStream, "missing stream"))?;
    check_stream_name(&stream, limits)?;
    let refill_on_ack = match parameter(query, "refill")?.as_deref() {
        None => false,
        Some("ack") => true,
        Some(_) => return Err(Violation::new(ErrorCode::InvalidField, "`refill` can only be `ack`")),
    };
    let group = parameter(query, "group")?;
    if let Some(group) = &group {
        check_group_name(group, limits)?;
    }
    let ephemeral = flag(query, "ephemeral")?;
    if ephemeral && group.is_some() {
        return Err(Violation::new(
            ErrorCode::InvalidField,
            "`group` and `ephemeral` exclude each other: give one of them",
        ));
    }
    let from = match parameter(query, "from")? {
        None => From::default(),
        Some(from) => From::parse(&from).ok_or_else(|| Violation::new(ErrorCode::InvalidField, FROM_WRONG))?,
    };
    Ok(Subscribe {
        stream,
        encoding,
        credit: number(query, "credit", 0)?.unwrap_or(0).min(limits.credit_max),
        refill_on_ack,
        ack_wait_ms: number(query, "ackWaitMs", 1)?,
        max_inflight: number(query, "maxInflight", 1)?.map(saturated),
        group,
        from,
        ephemeral,
        auto_ack: false,
        hello: flag(query, "hello")?,
        max_deliver: number(query, "maxDeliver", 0)?.map(saturated),
    })
}

/// What the query of `/v1/live` asks for.
pub(crate) struct Live<'q> {
    /// The subscription; `hello` is set when the session has to know where it begins.
    pub(crate) subscribe: Subscribe<'q>,
    /// What the client has seen.
    pub(crate) after: Option<Seq>,
    /// The client wants the greeting.
    pub(crate) hello: bool,
}

/// Messages in flight of one reader of events that does not say `maxInflight`.
const LIVE_INFLIGHT: u32 = 1_024;

/// The subscription that the query of `/v1/live` describes; none when it names no stream. `after` is what `Last-Event-ID`
/// says: a browser that connects again says there what it has seen last, and in the query what the page once wrote.
///
/// # Errors
/// As [`subscribe`].
pub(crate) fn live<'q>(query: &'q str, after: Option<Seq>, limits: &Limits) -> Result<Option<Live<'q>>, Violation> {
    let after = match (after, parameter(query, "lastEventId")?) {
        (None, Some(id)) => read_last_id(&id)?,
        _ => after,
    };
    if parameter(query, "stream")?.is_none() {
        return match parameter(query, "group")? {
            None => Ok(None),
            Some(_) => Err(Violation::new(ErrorCode::InvalidField, "`group` says who reads: say which `stream`, too")),
        };
    }
    let mut subscribe = subscribe(query, Encoding::Json, limits)?;
    let hello = subscribe.hello;
    subscribe.ephemeral = subscribe.group.is_none();
    subscribe.auto_ack = true;
    // Acks come as fast as the client reads, so its window is what may be on the way.
    subscribe.max_inflight = Some(subscribe.max_inflight.map_or(LIVE_INFLIGHT, |wanted| wanted.min(LIVE_INFLIGHT)));
    subscribe.credit = subscribe.max_inflight.map_or(0, u64::from);
    subscribe.refill_on_ack = true;
    if let Some(after) = after {
        subscribe.from = From::After(after);
        subscribe.hello = true;
    } else if subscribe.ephemeral && parameter(query, "from")?.is_none() {
        subscribe.from = From::New;
    }
    Ok(Some(Live { subscribe, after, hello }))
}

const FROM_WRONG: &str =
    "`from` is first, new, seq:N, time:T (RFC 3339, its `+` escaped as %2B) or last:N, where N is at least 1";

/// A number that is more than fits is more than the server allows, or than anybody will count to.
fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A parameter that is a decimal number of at least `min`.
pub(super) fn number(query: &str, name: &'static str, min: u64) -> Result<Option<u64>, Violation> {
    let Some(text) = parameter(query, name)? else { return Ok(None) };
    match decimal(&text) {
        Some(number) if number >= min => Ok(Some(number)),
        _ => Err(Violation::new(ErrorCode::InvalidField, format!("`{name}` is a whole number from {min}"))),
    }
}

/// A parameter that says yes or no; absent, it says no.
fn flag(query: &str, name: &'static str) -> Result<bool, Violation> {
    match parameter(query, name)?.as_deref() {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(_) => Err(Violation::new(ErrorCode::InvalidField, format!("`{name}` is 1 or true, 0 or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_paths_are_the_same_paths() {
        assert_eq!(Route::of("/v1/%65nqueue"), Some(Route::Enqueue));
        for none in ["/v1%2Fenqueue", "/v1/enqueue/", "/V1/enqueue", "", "/", "/v1/%6", "*"] {
            assert_eq!(Route::of(none), None, "{none}");
        }
    }

    fn reader(limits: &Limits) -> impl for<'q> Fn(&'q str) -> Result<Subscribe<'q>, Violation> + '_ {
        move |query| subscribe(query, Encoding::Json, limits)
    }

    #[test]
    fn subscriptions_are_read_and_checked() {
        let limits = Limits { credit_max: 100, ..Limits::default() };
        let read = reader(&limits);
        let whole = read("stream=agents%2Fx&credit=7&refill=ack&ackWaitMs=1&maxInflight=4294967296&other=1").unwrap();
        assert_eq!((whole.stream.as_ref(), whole.credit, whole.refill_on_ack), ("agents/x", 7, true));
        assert_eq!((whole.ack_wait_ms, whole.max_inflight), (Some(1), Some(u32::MAX)));
        assert_eq!(read("stream=a&credit=100").unwrap().credit, 100);
        assert_eq!(read("stream=a&credit=101").unwrap().credit, 100);
        assert_eq!(read("credit=1").unwrap_err().code, ErrorCode::InvalidStream);
        for bad in [
            "credit=-1",
            "credit=",
            "credit=%2B1",
            "credit=1.5",
            "credit=99999999999999999999",
            "refill=no",
            "ackWaitMs=0",
            "maxInflight=0",
            "credit=1&credit=1",
            "stream=b",
            "refill=%",
        ] {
            let query = format!("stream=a&{bad}");
            assert_eq!(read(&query).unwrap_err().code, ErrorCode::InvalidField, "{bad}");
        }
    }

    #[test]
    fn a_subscription_names_its_group_and_where_that_begins() {
        let limits = Limits { group_name_bytes_max: 4, ..Limits::default() };
        let read = reader(&limits);
        let plain = read("stream=a").unwrap();
        assert_eq!((plain.group, plain.from, plain.ephemeral, plain.hello), (None, From::First, false, false));
        assert_eq!(plain.max_deliver, None);
        let whole = read("stream=a&group=g%2F1&from=seq:5&hello=1&maxDeliver=0&ephemeral=0").unwrap();
        assert_eq!((whole.group.as_deref(), whole.from), (Some("g/1"), From::Seq(crate::Seq(5))));
        assert_eq!((whole.ephemeral, whole.hello, whole.max_deliver), (false, true, Some(0)));
        let own =
            read("stream=a&ephemeral=true&hello=false&from=time:1970-01-01T01:00:01%2B01:00&maxDeliver=9999999999");
        let own = own.unwrap();
        assert_eq!((own.ephemeral, own.hello, own.from), (true, false, From::TimeUnixMs(1_000)));
        assert_eq!(own.max_deliver, Some(u32::MAX));
        assert_eq!(read("stream=a&group=four").unwrap().group.as_deref(), Some("four"));
        assert_eq!(read("stream=a&group=g&ephemeral=false").unwrap().group.as_deref(), Some("g"));
        for bad in [
            "group=",
            "group",
            "group=five5",
            "group=%0A",
            "group=a&group=b",
            "group=g&ephemeral=1",
            "ephemeral=1&group=g",
            "ephemeral",
            "ephemeral=yes",
            "hello=",
            "hello=2",
            "hello=1&hello=1",
            "maxDeliver=-1",
            "maxDeliver=",
            "maxDeliver=many",
            "from=",
            "from=last",
            "from=seq:0",
            "from=time:1970-01-01T01:00:01+01:00",
            "from=new&from=new",
        ] {
            let query = format!("stream=a&{bad}");
            assert_eq!(read(&query).unwrap_err().code, ErrorCode::InvalidField, "{bad}");
        }
    }

    #[test]
    fn the_codec_parameter_beats_the_subprotocol() {
        let choice = |query, offered| websocket_encoding(query, offered).unwrap();
        assert_eq!(choice("", None), Encoding::Json);
        assert_eq!(choice("codec=msgpack", Some(Encoding::Json)), Encoding::MessagePack);
        assert_eq!(choice("codec=cbor", Some(Encoding::MessagePack)), Encoding::MessagePack);
        assert_eq!(choice("codec=cbor", None), Encoding::Json);
    }
}
