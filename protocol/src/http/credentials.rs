//! Who sends a request, and whether that is enough for what it asks for. Functions of the head and the policy, no state.

use super::edge::{Caller, Halt, Permit};
use super::head::RequestHead;
use super::response::Extra;
use super::target::parameter;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::TenantId;
use crate::policy::{Denial, Identity, Need, Policy, Principal, Refused, Scope};
use crate::surface::http::Route;
use crate::telemetry::Endpoint;

/// Who has sent a request. `may_hide`: the token may stand in the query or among the subprotocols, since browsers let a page
/// set no header fields there.
///
/// # Errors
/// `BadFraming` when there are two tokens, `InvalidField` for a query that cannot be read.
pub(super) fn caller(
    head: &RequestHead<'_, '_>,
    may_hide: bool,
    context: &mut Context<'_>,
) -> Result<Caller, Violation> {
    let policy = context.policy;
    let address = if policy.proxies.trusts(context.peer) {
        let values = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("x-forwarded-for"));
        policy.proxies.client(context.peer, values.map(|header| header.value))
    } else {
        context.peer
    };
    if policy.access.is_absent() {
        return Ok(Caller { address, identity: Identity::Anonymous });
    }
    let now = context.now;
    let identify = |token| policy.access.identify(token, &policy.tenants, now);
    let shown = shown_token(head)?;
    let identity = match shown {
        Shown::Token(token) => identify(Some(token)),
        Shown::Nothing if may_hide => match parameter(head.target.query, "access_token")? {
            Some(token) => identify(Some(token.as_bytes())),
            None => identify(head.fields.handshake.offered.bearer()),
        },
        Shown::Nothing => identify(None),
        // It may be meant for a proxy in front of a server that lets everybody in.
        Shown::Another if policy.access.is_open() => Identity::Anonymous,
        Shown::Another => Identity::Denied(Denial::Unknown),
    };
    // The control shard fetches the set anew.
    context.telemetry.unknown_keys += u64::from(identity == Identity::Denied(Denial::UnknownKey));
    Ok(Caller { address, identity })
}

/// The token in the header fields.
enum Shown<'b> {
    Nothing,
    Token(&'b [u8]),
    /// A credential of another scheme.
    Another,
}

fn shown_token<'b>(head: &RequestHead<'_, 'b>) -> Result<Shown<'b>, Violation> {
    let mut authorization = None;
    let mut x_token = None;
    for header in head.headers {
        let slot = match header.name.len() {
            13 if header.name.eq_ignore_ascii_case("authorization") => &mut authorization,
            7 if header.name.eq_ignore_ascii_case("x-token") => &mut x_token,
            _ => continue,
        };
        if slot.replace(header.value).is_some() {
            return Err(Violation::new(ErrorCode::BadFraming, "there are two Authorization or two X-Token fields"));
        }
    }
    Ok(match (authorization, x_token) {
        (Some(value), _) => match value.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => Shown::Token(token.trim_ascii()),
            _ => Shown::Another,
        },
        (None, Some(token)) => Shown::Token(token),
        (None, None) => Shown::Nothing,
    })
}

/// Says also how a page sends its token with a handshake: it can set no header fields.
pub(super) fn for_handshake(halt: Halt) -> Halt {
    match halt {
        Halt::Refuse(mut refusal, extra) if refusal.code == ErrorCode::Unauthorized => {
            refusal.message.to_mut().push_str(", the parameter `access_token`, or the subprotocol `bearer.TOKEN`");
            Halt::Refuse(refusal, extra)
        }
        other => other,
    }
}

/// What a path asks of those who come.
pub(super) fn need(head: &RequestHead<'_, '_>, route: Option<Route>, policy: &Policy) -> Need {
    let Some(route) = route else {
        // They come with a later version, and are not open before they do anything.
        let is_to_come = matches!(head.target.path, "/v1/upload" | "/v1/queue");
        return if is_to_come { Need::Token } else { Need::Nothing };
    };
    match route.endpoint() {
        Endpoint::Health | Endpoint::Other => Need::Nothing,
        // Where nobody else has one, it is the control token that is asked for.
        Endpoint::Metrics | Endpoint::Histograms if policy.access.protects_metrics && policy.access.is_open() => {
            Need::Admin
        }
        Endpoint::Metrics | Endpoint::Histograms if policy.access.protects_metrics => Need::Token,
        Endpoint::Metrics | Endpoint::Histograms => Need::Nothing,
        Endpoint::Admin => Need::Admin,
        // Heartbeats are for everybody, messages are not.
        Endpoint::Live if parameter(head.target.query, "stream").is_ok_and(|stream| stream.is_none()) => Need::Nothing,
        _ => Need::Token,
    }
}

/// What documents may tell somebody who has been let in: whoever shows no token sees the whole server only where nobody needs
/// one for anything.
fn scope(identity: Identity, principal: &Principal, policy: &Policy) -> Scope {
    let is_open = policy.access.is_open() && !policy.access.protects_metrics;
    match identity {
        Identity::Known(_) => principal.scope(),
        Identity::Anonymous if is_open => Scope::Server,
        Identity::Anonymous | Identity::Denied(_) => Scope::Tenant(TenantId::DEFAULT),
    }
}

/// The same for the document of a path. Metrics are about the health of the server, which is nobody's secret from those whom no
/// tenant has sent: whoever scrapes them need not be able to change it, and needs a token only where they are protected. A
/// rule's frame is another matter.
pub(super) fn scope_at(route: Route, permit: &Permit, identity: Identity, policy: &Policy) -> Scope {
    let may_scrape = matches!(identity, Identity::Known(_)) || !policy.access.protects_metrics;
    match route.endpoint() {
        Endpoint::Metrics | Endpoint::Histograms if may_scrape && permit.principal.tenant == TenantId::DEFAULT => {
            Scope::Server
        }
        _ => permit.scope,
    }
}

/// Lets somebody in.
///
/// # Errors
/// 401 or 403, in a sentence that says how to send a token.
pub(super) fn permit(identity: Identity, need: Need, policy: &Policy) -> Result<Permit, Halt> {
    const HOW: &str = "send a valid token: `Authorization: Bearer TOKEN` or `X-Token: TOKEN`";
    let refused = match policy.access.admit(identity, need) {
        Ok(principal) => {
            return Ok(Permit { principal, scope: scope(identity, &principal, policy) });
        }
        Err(refused) => refused,
    };
    Err(match refused {
        Refused::Missing => Halt::because(ErrorCode::Unauthorized, HOW, Extra::Challenge("Bearer")),
        Refused::Denied(denial) => {
            let message = format!("{}; {HOW}", denial.sentence());
            Halt::because(ErrorCode::Unauthorized, message, Extra::Challenge("Bearer error=\"invalid_token\""))
        }
        Refused::NoTenant => Halt::because(ErrorCode::Forbidden, Denial::Tenant.sentence(), Extra::None),
        Refused::NotAdmin => {
            let message = "this token may not look at the whole server or change it: use the control token";
            Halt::because(ErrorCode::Forbidden, message, Extra::None)
        }
    })
}
