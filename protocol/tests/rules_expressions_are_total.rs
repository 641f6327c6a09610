//! Every text either reads as an expression or is told why not; every expression has a value for every request.

use conduit_protocol::rules::expression::Expression;
use conduit_protocol::rules::limits;
use conduit_protocol::rules::selector::{EnvLookup, Names, Uses};
use conduit_protocol::rules::template::Template;
use proptest::prelude::*;

fn names() -> Names<'static> {
    let everything = [Uses::BODY, Uses::HEAD, Uses::ALWAYS].into_iter().fold(Uses::NONE, Uses::and);
    Names { variables: &[], later: &[], available: everything, params: &[], env: &|_| EnvLookup::NotAllowed }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,64}") {
        let _ = Expression::parse(&text, &names()).is_ok();
        let _ = Template::parse_text(&text, &names()).is_ok();
    }

    #[test]
    fn nothing_like_an_expression_panics(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("$body.a"), Just("$query['x']"), Just("=="), Just("in"), Just("not"), Just("and"), Just("or"),
                Just("("), Just(")"), Just("["), Just("]"), Just(","), Just("'t'"), Just("\"é"), Just("1e9"), Just("-"),
                Just("matches"), Just("/a\\/b/"), Just("/("), Just("exists"), Just("null"), Just("<"), Just("$"),
            ],
            0..16,
        )
    ) {
        let text = pieces.join(" ");
        match Expression::parse(&text, &names()) {
            Ok(expression) => prop_assert_eq!(expression.text(), text.trim()),
            Err(error) => prop_assert!(error.at <= text.len() && !error.message.is_empty()),
        }
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(limits::NESTING_MAX), &names()).is_ok());
    assert!(Expression::parse(&nested(limits::NESTING_MAX + 1), &names()).is_err());
    assert!(Expression::parse(&"not ".repeat(100_000), &names()).is_err());
    assert!(Expression::parse(&"[".repeat(1_000), &names()).is_err());
    let long = |bytes: usize| format!("true{}", " ".repeat(bytes - 4));
    assert!(Expression::parse(&long(limits::EXPRESSION_BYTES_MAX), &names()).is_ok());
    assert!(Expression::parse(&long(limits::EXPRESSION_BYTES_MAX + 1), &names()).is_err());
    let deep = |steps: usize| format!("exists $body{}", ".a".repeat(steps));
    assert!(Expression::parse(&deep(limits::NESTING_MAX), &names()).is_ok());
    assert!(Expression::parse(&deep(limits::NESTING_MAX + 1), &names()).is_err());
}
