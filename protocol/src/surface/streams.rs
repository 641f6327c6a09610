//! Streams and groups as objects over HTTP: the paths below `/v1/streams`, and what they ask of the shard.

use super::http::number;
use crate::codec::{check_group_name, check_stream_name, decode_group_settings, decode_stream_settings};
use crate::command::{From, StreamAction, StreamCommand};
use crate::error::{ErrorCode, Violation};
use crate::http::{Method, percent_decode};
use crate::limits::Limits;
use crate::streams::{GroupSettings, StreamSettings};
use crate::{Encoding, Seq};
use std::borrow::Cow;

/// What a path below `/v1/streams` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamRoute {
    /// `/v1/streams/{name}`.
    Stream,
    /// `/v1/streams/{name}/purge`.
    Purge,
    /// `/v1/streams/{name}/messages?from=&limit=`.
    Messages,
    /// `/v1/streams/{name}/redrive?limit=`.
    Redrive,
    /// `/v1/streams/{name}/groups/{group}`.
    Group,
}

impl StreamRoute {
    /// Whether the path takes this method. What takes GET takes HEAD.
    pub(crate) const fn takes(self, method: Method) -> bool {
        match self {
            Self::Stream | Self::Group => matches!(method, Method::Get | Method::Head | Method::Put | Method::Delete),
            Self::Messages => matches!(method, Method::Get | Method::Head),
            Self::Purge | Self::Redrive => matches!(method, Method::Post),
        }
    }

    /// The `Allow` field of a 405 (RFC 9110, section 10.2.1).
    pub(crate) const fn allow(self) -> &'static str {
        match self {
            Self::Stream | Self::Group => "GET, HEAD, PUT, DELETE",
            Self::Messages => "GET, HEAD",
            Self::Purge | Self::Redrive => "POST",
        }
    }
}

/// A path below `/v1/streams`, its names as they came, escapes and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamPath<'p> {
    pub(crate) route: StreamRoute,
    stream: &'p str,
    /// Of [`StreamRoute::Group`]. Empty: the default group.
    group: &'p str,
}

impl<'p> StreamPath<'p> {
    /// Takes a path apart at its slashes; one that is escaped belongs to a name. `None`: there is no such path.
    pub(crate) fn of(path: &'p str) -> Option<Self> {
        let is = |segment: Option<&str>, word| {
            segment.is_some_and(|segment| percent_decode(segment, false).is_ok_and(|text| text == word))
        };
        let mut segments = path.split('/');
        if !(is(segments.next(), "") && is(segments.next(), "v1") && is(segments.next(), "streams")) {
            return None;
        }
        let stream = segments.next()?;
        let (route, group) = match (segments.next(), segments.next(), segments.next()) {
            (None, ..) => (StreamRoute::Stream, ""),
            (purge, None, _) if is(purge, "purge") => (StreamRoute::Purge, ""),
            (messages, None, _) if is(messages, "messages") => (StreamRoute::Messages, ""),
            (redrive, None, _) if is(redrive, "redrive") => (StreamRoute::Redrive, ""),
            (groups, Some(group), None) if is(groups, "groups") => (StreamRoute::Group, group),
            _ => return None,
        };
        Some(Self { route, stream, group })
    }

    /// What a request asks of the shard. For PUT with settings that change nothing yet: they are in the body.
    ///
    /// # Errors
    /// `InvalidStream`, `Forbidden` (the stream's name), `InvalidField` (the group's name, a parameter, an escape).
    pub(crate) fn command(
        self,
        method: Method,
        query: &str,
        limits: &Limits,
    ) -> Result<StreamCommand<'static>, Violation> {
        let stream = percent_decode(self.stream, false)?;
        check_stream_name(&stream, limits)?;
        let action = match (self.route, method) {
            (StreamRoute::Stream, Method::Get | Method::Head) => StreamAction::Describe,
            (StreamRoute::Stream, Method::Put) => StreamAction::Put(StreamSettings::default()),
            (StreamRoute::Stream, Method::Delete) => StreamAction::Delete,
            (StreamRoute::Purge, Method::Post) => StreamAction::Purge,
            (StreamRoute::Messages, Method::Get | Method::Head) => peek(query, limits)?,
            (StreamRoute::Redrive, Method::Post) => redrive(query)?,
            (StreamRoute::Group, _) => self.group_action(method, limits)?,
            _ => return Err(wrong_method()),
        };
        Ok(StreamCommand { stream: Cow::Owned(stream.into_owned()), action })
    }

    fn group_action(self, method: Method, limits: &Limits) -> Result<StreamAction<'static>, Violation> {
        let group = percent_decode(self.group, false)?;
        // The default group has no name. It is an object like the others, so its path ends with the slash.
        if !group.is_empty() {
            check_group_name(&group, limits)?;
        }
        let group = Cow::Owned(group.into_owned());
        match method {
            Method::Get | Method::Head => Ok(StreamAction::DescribeGroup { group }),
            Method::Put => {
                Ok(StreamAction::PutGroup { group, from: From::default(), settings: GroupSettings::default() })
            }
            Method::Delete => Ok(StreamAction::DeleteGroup { group }),
            Method::Post | Method::Other => Err(wrong_method()),
        }
    }
}

/// Puts the settings that `bytes`, the body of a PUT, bring into its command.
///
/// # Errors
/// As [`decode_stream_settings`].
pub(crate) fn read_settings(
    command: &mut StreamCommand<'_>,
    encoding: Encoding,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(), Violation> {
    match &mut command.action {
        StreamAction::Put(settings) => *settings = decode_stream_settings(encoding, bytes, limits)?,
        StreamAction::PutGroup { from, settings, .. } => {
            (*from, *settings) = decode_group_settings(encoding, bytes, limits)?;
        }
        // No other request has settings.
        _ => {}
    }
    Ok(())
}

/// `from=` is a seq, the first one when absent; `limit=` is cut to what the server allows, which is also the default.
fn peek(query: &str, limits: &Limits) -> Result<StreamAction<'static>, Violation> {
    let from = Seq(number(query, "from", 1)?.unwrap_or(1));
    let limit = number(query, "limit", 1)?.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    Ok(StreamAction::Peek { from, limit: limit.min(limits.peek_max) })
}

/// Without `limit=` as many as the shard does at a time.
fn redrive(query: &str) -> Result<StreamAction<'static>, Violation> {
    Ok(StreamAction::Redrive { limit: number(query, "limit", 1)?.unwrap_or(u64::MAX) })
}

/// Methods are checked before; this is for a path that forgets to.
#[cold]
fn wrong_method() -> Violation {
    Violation::new(ErrorCode::MethodNotAllowed, "the path does not take this method")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> Option<StreamRoute> {
        StreamPath::of(path).map(|path| path.route)
    }

    #[test]
    fn slashes_separate_and_escaped_slashes_do_not() {
        for (path, wanted) in [
            ("/v1/streams/a", StreamRoute::Stream),
            ("/v1/streams/", StreamRoute::Stream),
            ("/v1/streams/a%2Fpurge", StreamRoute::Stream),
            ("/%761/s%74reams/a", StreamRoute::Stream),
            ("/v1/streams/purge", StreamRoute::Stream),
            ("/v1/streams/a/purge", StreamRoute::Purge),
            ("/v1/streams/purge/purge", StreamRoute::Purge),
            ("/v1/streams/a/%70urge", StreamRoute::Purge),
            ("/v1/streams/a/messages", StreamRoute::Messages),
            ("/v1/streams/a/redrive", StreamRoute::Redrive),
            ("/v1/streams/a/groups/g", StreamRoute::Group),
            ("/v1/streams/a/groups/", StreamRoute::Group),
            ("/v1/streams/a/groups/g%2Fh", StreamRoute::Group),
        ] {
            assert_eq!(route(path), Some(wanted), "{path}");
        }
        for none in [
            "",
            "/",
            "*",
            "/v1",
            "/v1/streams",
            "/v1/stream/a",
            "v1/streams/a",
            "//v1/streams/a",
            "/v1%2Fstreams/a",
            "/v1/streams/a/",
            "/v1/streams/a/purge/",
            "/v1/streams/a/b",
            "/v1/streams/a/groups",
            "/v1/streams/a/groups/g/",
            "/v1/streams/a/groups/g/h",
            "/v1/streams/a/Purge",
            "/V1/streams/a",
        ] {
            assert_eq!(route(none), None, "{none}");
        }
    }

    #[test]
    fn names_are_decoded_and_then_checked() {
        let limits = Limits { stream_name_bytes_max: 5, group_name_bytes_max: 3, ..Limits::default() };
        let command = |path: &str| {
            let path = StreamPath::of(path).unwrap();
            path.command(Method::Delete, "", &limits).map_err(|violation| violation.code)
        };
        let deleted = |stream: &'static str| Ok(StreamCommand { stream: stream.into(), action: StreamAction::Delete });
        assert_eq!(command("/v1/streams/a%2Fb"), deleted("a/b"));
        assert_eq!(command("/v1/streams/a+b"), deleted("a+b"));
        assert_eq!(command("/v1/streams/%C3%A9%C3%A9a"), deleted("ééa"));
        assert_eq!(command("/v1/streams/%252F"), deleted("%2F"));
        assert_eq!(command("/v1/streams/.."), deleted(".."));
        assert_eq!(command("/v1/streams/%C3%A9%C3%A9ab"), Err(ErrorCode::InvalidStream));
        assert_eq!(command("/v1/streams/"), Err(ErrorCode::InvalidStream));
        assert_eq!(command("/v1/streams/a%0A"), Err(ErrorCode::InvalidStream));
        assert_eq!(command("/v1/streams/$a"), Err(ErrorCode::Forbidden));
        assert_eq!(command("/v1/streams/%24a"), Err(ErrorCode::Forbidden));
        assert_eq!(command("/v1/streams/%f"), Err(ErrorCode::InvalidField));
        let group = |group: &'static str| {
            Ok(StreamCommand { stream: "a".into(), action: StreamAction::DeleteGroup { group: group.into() } })
        };
        assert_eq!(command("/v1/streams/a/groups/"), group(""));
        assert_eq!(command("/v1/streams/a/groups/g%2F1"), group("g/1"));
        for bad in ["g%2F12", "%00", "%zz", "%ff"] {
            assert_eq!(command(&format!("/v1/streams/a/groups/{bad}")), Err(ErrorCode::InvalidField), "{bad}");
        }
    }

    #[test]
    fn parameters_have_defaults_and_bounds() {
        let limits = Limits { peek_max: 100, ..Limits::default() };
        let action = |path: &str, method, query: &str| {
            let command = StreamPath::of(path).unwrap().command(method, query, &limits);
            command.map(|command| command.action).map_err(|violation| violation.code)
        };
        let peek = |query| action("/v1/streams/a/messages", Method::Get, query);
        let peeked = |from, limit| Ok(StreamAction::Peek { from: Seq(from), limit });
        assert_eq!(peek(""), peeked(1, 100));
        assert_eq!(peek("from=7&limit=1&other=x"), peeked(7, 1));
        assert_eq!(peek("limit=100"), peeked(1, 100));
        assert_eq!(peek("limit=101"), peeked(1, 100));
        assert_eq!(peek("from=18446744073709551615&limit=18446744073709551615"), peeked(u64::MAX, 100));
        let redrive = |query| action("/v1/streams/a/redrive", Method::Post, query);
        assert_eq!(redrive(""), Ok(StreamAction::Redrive { limit: u64::MAX }));
        assert_eq!(redrive("limit=3"), Ok(StreamAction::Redrive { limit: 3 }));
        assert_eq!(redrive("limit=1&from=x"), Ok(StreamAction::Redrive { limit: 1 }));
        for bad in ["limit=0", "limit=", "limit=-1", "limit=1.5", "limit=x", "limit=1&limit=1", "limit=%31%"] {
            assert_eq!(peek(bad), Err(ErrorCode::InvalidField), "{bad}");
            assert_eq!(redrive(bad), Err(ErrorCode::InvalidField), "{bad}");
        }
        for bad in ["from=0", "from=first", "from=18446744073709551616"] {
            assert_eq!(peek(bad), Err(ErrorCode::InvalidField), "{bad}");
        }
    }
}
