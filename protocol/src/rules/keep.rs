//! What of a body or message a rule still looks at once the broker has been asked: the rest need not wait with it.

use super::frame::FrameTemplate;
use super::reply::{ErrorReplies, Replies};
use super::selector::{Root, Selector, Step};
use super::template::Template;
use serde_json::{Map, Value};

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing of it, or these members.
    Members(Vec<Box<str>>),
    /// All of it.
    Whole,
}

/// What a rule keeps.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) body: Part,
    pub(super) message: Part,
}

impl Keep {
    /// For the answers that are still to be given.
    pub(super) fn of(answer: Option<&Replies>, errors: &ErrorReplies, then: &[FrameTemplate]) -> Self {
        let mut keep = Self { body: Part::Members(Vec::new()), message: Part::Members(Vec::new()) };
        let answers = answer.into_iter().flat_map(Replies::templates).chain(errors.templates());
        for template in answers.chain(then.iter().flat_map(FrameTemplate::templates)) {
            template.selectors(&mut |selector| keep.add(selector));
        }
        keep
    }

    fn add(&mut self, selector: &Selector) {
        let part = match selector.root {
            Root::Body => &mut self.body,
            Root::Message => &mut self.message,
            _ => return,
        };
        match (&mut *part, selector.steps.first()) {
            (Part::Members(names), Some(Step::Key(name))) => {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
            _ => *part = Part::Whole,
        }
    }
}

impl Part {
    /// Takes the part out of a value, and gives the memory of the rest back.
    pub(super) fn take(&self, value: Value) -> Option<Value> {
        match (self, value) {
            (Self::Members(names), _) if names.is_empty() => None,
            (Self::Members(names), Value::Object(mut members)) => {
                let kept = names.iter().filter_map(|name| members.remove_entry(&**name));
                Some(Value::Object(kept.collect::<Map<_, _>>()))
            }
            (_, value) => Some(value),
        }
    }
}

impl Template {
    /// Shows every selector in it.
    fn selectors(&self, visit: &mut dyn FnMut(&Selector)) {
        use super::template::{Helper, Piece};
        match self {
            Self::Undefined | Self::Literal(_) => {}
            Self::Select(selector) => visit(selector),
            Self::Text(pieces) => {
                for piece in pieces {
                    if let Piece::Select(selector) = piece {
                        visit(selector);
                    }
                }
            }
            Self::List(elements) => elements.iter().for_each(|element| element.selectors(visit)),
            Self::Object(members) => members.iter().for_each(|(_, value)| value.selectors(visit)),
            Self::Helper(helper) => match &**helper {
                Helper::Coalesce(values) => values.iter().for_each(|value| value.selectors(visit)),
                Helper::Default(first, second) => {
                    first.selectors(visit);
                    second.selectors(visit);
                }
                Helper::Pick(value, _)
                | Helper::Regex(value, ..)
                | Helper::ToInt(value)
                | Helper::ToFloat(value)
                | Helper::ToString(value) => value.selectors(visit),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(names: &[&str]) -> Part {
        Part::Members(names.iter().map(|name| Box::from(*name)).collect())
    }

    #[test]
    fn only_what_is_named_stays() {
        let body = || json!({"id": 1, "x": [[], []], "y": {"z": 2}});
        assert_eq!(part(&[]).take(body()), None);
        assert_eq!(part(&["y", "none"]).take(body()), Some(json!({"y": {"z": 2}})));
        assert_eq!(Part::Whole.take(body()), Some(body()));
        // A list may be asked for its elements by name.
        assert_eq!(part(&["0"]).take(json!([7])), Some(json!([7])));
    }

    #[test]
    fn a_selector_without_a_name_in_front_means_the_whole() {
        let select = |steps: Vec<Step>| Selector { root: Root::Body, steps: steps.into() };
        let mut keep = Keep::of(None, &ErrorReplies::default(), &[]);
        keep.add(&select(vec![Step::Key("a".into()), Step::Index(0)]));
        keep.add(&select(vec![Step::Key("a".into())]));
        assert_eq!((&keep.body, &keep.message), (&part(&["a"]), &part(&[])));
        keep.add(&select(Vec::new()));
        assert_eq!(keep.body, Part::Whole);
        keep.add(&select(vec![Step::Key("b".into())]));
        assert_eq!(keep.body, Part::Whole);
    }
}
