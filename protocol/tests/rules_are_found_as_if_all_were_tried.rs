//! The index of rules finds the rule that trying one after the other would find, whatever the rules and the request are.

use conduit_protocol::rules::condition::Condition;
use conduit_protocol::rules::expression::Expression;
use conduit_protocol::rules::glob::Glob;
use conduit_protocol::rules::path::PathPattern;
use conduit_protocol::rules::reply::{ErrorReplies, Phase, Replies};
use conduit_protocol::rules::ruleset::{RuleSpec, Send};
use conduit_protocol::rules::selector::{EnvLookup, Names, Uses};
use conduit_protocol::rules::{Body, HeadView, Outcome, OwnedFields, Rules};
use proptest::prelude::*;

/// A rule before it is compiled: any of these paths, and what header and parameter must be.
#[derive(Debug, Clone)]
struct Sketch {
    paths: Vec<String>,
    header: Option<String>,
    query: Option<String>,
    asks_by_expression: bool,
}

impl Sketch {
    fn condition(&self) -> Condition {
        let path = |text: &String| Condition::Path(PathPattern::parse(text).expect("a path"));
        let mut parts = Vec::new();
        match &*self.paths {
            [] => {}
            [one] => parts.push(path(one)),
            several => parts.push(Condition::Any(several.iter().map(path).collect())),
        }
        parts.extend(self.header.as_ref().map(|value| Condition::Header("h".into(), Glob::new(value))));
        if let Some(value) = &self.query {
            parts.push(if self.asks_by_expression && !value.contains('*') {
                let names = Names {
                    variables: &[],
                    later: &[],
                    available: Uses::HEAD,
                    params: &[],
                    env: &|_| EnvLookup::NotAllowed,
                };
                Condition::Where(Expression::parse(&format!("'{value}' == $query.q"), &names).expect("an expression"))
            } else {
                Condition::Query("q".into(), Glob::new(value))
            });
        }
        Condition::All(parts.into())
    }

    /// Whether it applies, by looking at each part.
    fn applies(&self, path: &str, header: Option<&str>, query: Option<&str>) -> bool {
        let holds = |glob: &Option<String>, value: Option<&str>| match (glob, value) {
            (None, _) => true,
            (Some(glob), Some(value)) => Glob::new(glob).matches(value.as_bytes()),
            (Some(_), None) => false,
        };
        let is_there = |text: &String| PathPattern::parse(text).expect("a path").matches(path);
        (self.paths.is_empty() || self.paths.iter().any(is_there))
            && holds(&self.header, header)
            && holds(&self.query, query)
    }

    fn spec(&self, nth: usize) -> RuleSpec {
        RuleSpec {
            id: nth.to_string(),
            tenant: None,
            phase: Phase::Http,
            when: self.condition(),
            variables: Vec::new(),
            asserts: Vec::new(),
            send: Send::Answer(Replies::default()),
            on_error: ErrorReplies::default(),
            then: Vec::new(),
            auth_required: None,
            rate: None,
        }
    }
}

fn path_text() -> impl Strategy<Value = String> {
    // Few letters, so that paths and patterns meet.
    prop_oneof![
        "/[ab]{0,2}(/[ab]{0,2}){0,2}",
        "(/[ab*]{0,3}){1,3}",
        Just("*".to_owned()),
        "/[ab]{0,2}/[{]x[}](/[ab]{0,2})?",
        "/[{]x[}][ab]{1,2}/[ab]",
        "/\\^\\\\/[ab]{1,2}\\(\\?P<x>[ab]\\+\\)[ab]{0,2}\\[ab\\]\\*\\$/",
        "/\\^\\\\/\\(a\\|b\\)[ab]/",
        "/[ab]{1,2}\\?[ab]{0,2}\\+/",
    ]
    .prop_filter("reads as a path", |text| PathPattern::parse(text).is_ok())
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let value = || prop::option::weighted(0.4, "[ab*]{0,2}");
    (prop::collection::vec(path_text(), 0..3), value(), value(), any::<bool>())
        .prop_map(|(paths, header, query, asks_by_expression)| Sketch { paths, header, query, asks_by_expression })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_first_rule_that_applies_is_found(
        sketches in prop::collection::vec(sketch(), 1..40),
        requests in prop::collection::vec(
            ("/[ab]{0,4}(/[ab]{0,3}){0,2}", prop::option::of("[ab]{0,2}"), prop::option::of("[ab]{0,2}")), 1..20),
    ) {
        let rules = Rules::compile(
            sketches.iter().enumerate().map(|(nth, sketch)| sketch.spec(nth)).collect(),
            ErrorReplies::default(),
        );
        for (path, header, query) in &requests {
            let expected = sketches.iter().position(|sketch| sketch.applies(path, header.as_deref(), query.as_deref()));
            let fields: OwnedFields =
                header.iter().map(|value| ("H".into(), value.as_bytes().into())).collect();
            let query = query.as_ref().map(|value| format!("q={value}")).unwrap_or_default();
            let head = HeadView { method: "GET", path, query: &query, headers: &fields, tenant: "", now_unix_ms: 0 };
            let found = match rules.request(&head).run(&head, Body::Absent) {
                Outcome::Respond { rule, .. } => Some(rule.index()),
                _ => None,
            };
            prop_assert_eq!(found, expected, "{} {:?} {}", path, header, query);
        }
    }

    /// A pattern that is said to cover another leaves it nothing.
    #[test]
    fn what_is_covered_is_never_reached(one in sketch(), other in sketch(), path in "/[ab]{0,3}(/[ab]{0,3}){0,2}",
        header in prop::option::of("[ab]{0,2}"), query in prop::option::of("[ab]{0,2}"))
    {
        if one.condition().covers(&other.condition()) && other.applies(&path, header.as_deref(), query.as_deref()) {
            prop_assert!(one.applies(&path, header.as_deref(), query.as_deref()));
        }
    }
}
