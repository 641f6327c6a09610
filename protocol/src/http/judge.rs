//! What rules see of a body, and what they say of a batch. No state.

use super::ruled::rule_of;
use crate::Encoding;
use crate::codec;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::rules::{Body, Candidates, HeadView, Outcome, Rule, RuleError, limits};
use serde_json::Value;

/// The value of a body; `None` for an empty one.
///
/// # Errors
/// Those of the built-in endpoints, which read by the same grammar; and `DecodedSizeExceeded` where only rules mind.
pub(crate) fn decode(encoding: Encoding, bytes: &[u8], context: &Context<'_>) -> Result<Option<Value>, Violation> {
    if bytes.is_empty() {
        return Ok(None);
    }
    codec::check_decoded_size(encoding, bytes, context.policy.guards.decoded_bytes_max)?;
    codec::value(encoding, bytes, context.limits, limits::BODY_VALUE_BYTES_MAX).map(Some)
}

/// A body as rules see it. The error, if there is one, is the decoder's.
pub(super) fn body_of<'b>(decoded: Result<Option<Value>, Violation>, encoding: Encoding, bytes: &'b [u8]) -> Body<'b> {
    match decoded {
        Ok(None) => Body::Absent,
        Ok(Some(value)) => {
            let json = if encoding == Encoding::Json { std::str::from_utf8(bytes).ok() } else { None };
            Body::Decoded { value, json }
        }
        Err(violation) => Body::Broken(RuleError::from(violation)),
    }
}

/// The lines of a batch that are not blank.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// There is more than one line: rules have to look at each.
pub(super) fn is_many(body: &[u8]) -> bool {
    lines(body).nth(1).is_some()
}

/// What the rules say of a batch: every line is judged as a body of its own, and the first that a rule answers speaks for all
/// of them. None has been stored by then.
///
/// # Errors
/// What the rules ask for cannot be done for several messages at once.
pub(super) fn judge_lines(
    candidates: &Candidates,
    head: &HeadView<'_>,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Outcome, Violation> {
    let mut chosen = Outcome::NoMatch;
    // One with too many lines is refused as a whole by the endpoint.
    if lines(body).count() > context.limits.batch_lines_max {
        return Ok(chosen);
    }
    for line in lines(body) {
        let decoded = decode(Encoding::Json, line, context);
        if let Err(violation) = &decoded
            && violation.code == ErrorCode::DecodedSizeExceeded
        {
            return Err(violation.clone());
        }
        match candidates.run(head, body_of(decoded, Encoding::Json, line)) {
            Outcome::NoMatch => {}
            Outcome::Native { rule } => {
                let known = rule_of(&chosen);
                if asks(&rule) && known.is_some_and(|known| asks(known) && known.index() != rule.index()) {
                    let message = "several rules with `authRequired` or `rateLimit` apply to lines of this batch: send those \
                                   that fall under one rule together";
                    return Err(Violation::new(ErrorCode::InvalidField, message));
                }
                if known.is_none() || asks(&rule) {
                    chosen = Outcome::Native { rule };
                }
            }
            outcome @ Outcome::Respond { .. } => return Ok(outcome),
            Outcome::Frame { rule, .. } => {
                let message = format!(
                    "the rule {} makes a frame (`send.frame`) of each message, and cannot do that for a batch: send the lines \
                     one by one, each as a request of its own",
                    rule.id()
                );
                return Err(Violation::new(ErrorCode::InvalidField, message));
            }
        }
    }
    Ok(chosen)
}

/// A rule asks for something before the built-in endpoint may go on.
fn asks(rule: &Rule) -> bool {
    rule.auth_required() == Some(true) || rule.rate().is_some()
}
