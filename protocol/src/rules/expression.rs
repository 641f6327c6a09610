//! `where`: conditions as text, such as `$body.size > 100 and not exists $query.dry`.
//!
//! ```text
//! or      = and ("or" and)*
//! and     = not ("and" not)*
//! not     = "not" not | "exists" operand | test
//! test    = operand [("==" | "!=" | "<" | "<=" | ">" | ">=") operand | ["not"] "in" operand | "matches" /pattern/]
//! operand = selector | "text" | 'text' | number | true | false | null | "[" [operand ("," operand)*] "]" | "(" or ")"
//! ```
//!
//! Every expression has a value for every request: comparing what cannot be compared is false, and so is a name that is
//! not there.

use super::limits;
use super::pattern::Pattern;
use super::scope::{Found, Scope};
use super::selector::{Names, Reference, Selector, Uses, reference};
use super::syntax::SyntaxError;
use serde_json::{Number, Value};
use std::cmp::Ordering;

/// Yes, no, or not known before the body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    No,
    Maybe,
    Yes,
}

impl Verdict {
    pub(super) const fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    pub(super) const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }

    /// Of several that must all be so. Stops at the first no.
    pub(super) fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::Yes;
        for verdict in verdicts {
            match verdict {
                Self::No => return Self::No,
                Self::Maybe => all = Self::Maybe,
                Self::Yes => {}
            }
        }
        all
    }

    /// Of several of which one is enough. Stops at the first yes.
    pub(super) fn any(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut any = Self::No;
        for verdict in verdicts {
            match verdict {
                Self::Yes => return Self::Yes,
                Self::Maybe => any = Self::Maybe,
                Self::No => {}
            }
        }
        any
    }
}

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: Box<str>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Or(Vec<Test>),
    And(Vec<Test>),
    Not(Box<Test>),
    Exists(Operand),
    True(Operand),
    Compare(Operand, Comparison, Operand),
    In(Operand, Operand),
    Matches(Operand, Pattern),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Undefined,
    Literal(Value),
    Select(Selector),
    List(Vec<Operand>),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What cannot be read, and where.
    pub fn parse(text: &str, names: &Names<'_>) -> Result<Self, SyntaxError> {
        if text.len() > limits::EXPRESSION_BYTES_MAX {
            return Err(SyntaxError::new(
                0,
                format!("an expression has at most {} bytes", limits::EXPRESSION_BYTES_MAX),
            ));
        }
        let mut parser = Parser { text, at: 0, depth: 0, names };
        let test = parser.or()?;
        parser.skip_space();
        match parser.rest() {
            "" => Ok(Self { text: text.trim().into(), test }),
            rest if rest.starts_with('=') => Err(parser.error("equality is written `==`")),
            rest if rest.starts_with("&&") => Err(parser.error("`and` is written as a word")),
            rest if rest.starts_with("||") => Err(parser.error("`or` is written as a word")),
            _ => {
                Err(parser
                    .error("expected the end, `and`, `or`, or one of `== != < <= > >= in matches` behind a value"))
            }
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it looks at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.test.uses()
    }

    pub(super) fn judge(&self, scope: &Scope<'_>) -> Verdict {
        self.test.judge(scope)
    }

    /// The texts that selectors must be equal to wherever it holds.
    pub(super) fn demands(&self) -> Vec<(&Selector, &str)> {
        let mut found = Vec::new();
        self.test.demands(&mut found);
        found
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    names: &'t Names<'t>,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.at, message)
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes a symbol.
    fn takes(&mut self, symbol: &str) -> bool {
        self.skip_space();
        let is_next = self.rest().starts_with(symbol);
        if is_next {
            self.at += symbol.len();
        }
        is_next
    }

    /// Takes a word, which ends where letters do.
    fn takes_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(behind) = self.rest().strip_prefix(word) else { return false };
        let ends = !behind.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        if ends {
            self.at += word.len();
        }
        ends
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>) -> Result<T, SyntaxError> {
        if self.depth >= limits::NESTING_MAX {
            return Err(self.error(format!("an expression nests at most {} deep", limits::NESTING_MAX)));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn or(&mut self) -> Result<Test, SyntaxError> {
        let mut tests = vec![self.and()?];
        while self.takes_word("or") {
            tests.push(self.and()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::Or(tests) })
    }

    fn and(&mut self) -> Result<Test, SyntaxError> {
        let mut tests = vec![self.not()?];
        while self.takes_word("and") {
            tests.push(self.not()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::And(tests) })
    }

    fn not(&mut self) -> Result<Test, SyntaxError> {
        if self.takes_word("not") {
            let inner = self.deeper(Self::not)?;
            return Ok(Test::Not(Box::new(inner)));
        }
        if self.takes_word("exists") {
            let round = self.takes("(");
            let operand = self.operand()?;
            if round && !self.takes(")") {
                return Err(self.error("expected `)`"));
            }
            return Ok(Test::Exists(operand));
        }
        if self.takes("(") {
            let inner = self.deeper(Self::or)?;
            if !self.takes(")") {
                return Err(self.error("expected `)`"));
            }
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Test, SyntaxError> {
        const COMPARISONS: &[(&str, Comparison)] = &[
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            ("<", Comparison::Less),
            (">=", Comparison::GreaterOrEqual),
            (">", Comparison::Greater),
        ];
        let left = self.operand()?;
        for (symbol, comparison) in COMPARISONS {
            if self.takes(symbol) {
                return Ok(Test::Compare(left, *comparison, self.operand()?));
            }
        }
        if self.takes_word("in") {
            return Ok(Test::In(left, self.operand()?));
        }
        if self.takes_word("not") {
            if !self.takes_word("in") {
                return Err(self.error("behind a value, `not` goes on with `in`"));
            }
            return Ok(Test::Not(Box::new(Test::In(left, self.operand()?))));
        }
        if self.takes_word("matches") {
            return Ok(Test::Matches(left, self.pattern()?));
        }
        Ok(Test::True(left))
    }

    /// `/pattern/`, a slash in it escaped.
    fn pattern(&mut self) -> Result<Pattern, SyntaxError> {
        if !self.takes("/") {
            return Err(self.error("`matches` is followed by a pattern between slashes: `matches /^a/`"));
        }
        let (mut escaped, mut end) = (false, None);
        for (at, byte) in self.rest().bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'/' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else { return Err(self.error("the pattern has no end: `/pattern/`")) };
        let pattern = Pattern::parse(&self.rest()[..end]).map_err(|error| error.behind(self.at))?;
        self.at += end + 1;
        Ok(pattern)
    }

    fn operand(&mut self) -> Result<Operand, SyntaxError> {
        self.skip_space();
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)] {
            if self.takes_word(word) {
                return Ok(Operand::Literal(value));
            }
        }
        let rest = self.rest();
        match rest.bytes().next() {
            Some(b'$') => {
                let (found, length) = reference(rest, self.names).map_err(|error| error.behind(self.at))?;
                self.at += length;
                Ok(match found {
                    Reference::Select(selector) => Operand::Select(selector),
                    Reference::Known(Some(text)) => Operand::Literal(text.into()),
                    Reference::Known(None) => Operand::Undefined,
                })
            }
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote),
            Some(b'[') => self.list(),
            Some(b'-' | b'0'..=b'9') => {
                let length = rest
                    .bytes()
                    .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'))
                    .count();
                let number: Number =
                    rest[..length].parse().map_err(|_| self.error(format!("`{}` is no number", &rest[..length])))?;
                self.at += length;
                Ok(Operand::Literal(Value::Number(number)))
            }
            _ => Err(self.error(
                "expected a value: a selector such as `$body.id`, a text in quotes, a number, true, false, null or a list",
            )),
        }
    }

    /// A text in quotes; a backslash takes the quote or the backslash behind it as it is.
    fn quoted(&mut self, quote: u8) -> Result<Operand, SyntaxError> {
        let (mut text, mut escaped) = (String::new(), false);
        for (at, next) in self.rest().char_indices().skip(1) {
            match next {
                _ if escaped => {
                    text.push(match next {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                    escaped = false;
                }
                '\\' => escaped = true,
                next if next == char::from(quote) => {
                    self.at += at + 1;
                    return Ok(Operand::Literal(Value::String(text)));
                }
                next => text.push(next),
            }
        }
        Err(self.error("the text has no end: a quote is missing"))
    }

    fn list(&mut self) -> Result<Operand, SyntaxError> {
        self.takes("[");
        let mut elements = Vec::new();
        while !self.takes("]") {
            if !elements.is_empty() && !self.takes(",") {
                return Err(self.error("expected `,` or `]`"));
            }
            elements.push(self.deeper(Self::operand)?);
        }
        Ok(Operand::List(elements))
    }
}

impl Test {
    fn demands<'t>(&'t self, found: &mut Vec<(&'t Selector, &'t str)>) {
        match self {
            Self::And(tests) => tests.iter().for_each(|test| test.demands(found)),
            Self::Compare(left, Comparison::Equal, right) => match (left, right) {
                (Operand::Select(selector), Operand::Literal(Value::String(text)))
                | (Operand::Literal(Value::String(text)), Operand::Select(selector)) => found.push((selector, text)),
                _ => {}
            },
            _ => {}
        }
    }

    fn uses(&self) -> Uses {
        let all = |tests: &[Self]| tests.iter().map(Self::uses).fold(Uses::NONE, Uses::and);
        match self {
            Self::Or(tests) | Self::And(tests) => all(tests),
            Self::Not(test) => test.uses(),
            Self::Exists(operand) | Self::True(operand) | Self::Matches(operand, _) => operand.uses(),
            Self::Compare(left, _, right) | Self::In(left, right) => left.uses().and(right.uses()),
        }
    }

    fn judge(&self, scope: &Scope<'_>) -> Verdict {
        match self {
            Self::Or(tests) => Verdict::any(tests.iter().map(|test| test.judge(scope))),
            Self::And(tests) => Verdict::all(tests.iter().map(|test| test.judge(scope))),
            Self::Not(test) => test.judge(scope).not(),
            Self::Exists(operand) => match operand.find(scope) {
                Found::Unknown => Verdict::Maybe,
                Found::Undefined => Verdict::No,
                _ => Verdict::Yes,
            },
            Self::True(operand) => match operand.find(scope) {
                Found::Unknown => Verdict::Maybe,
                found => Verdict::of(is_true(&found)),
            },
            Self::Compare(left, comparison, right) => match (left.find(scope), right.find(scope)) {
                (Found::Unknown, _) | (_, Found::Unknown) => Verdict::Maybe,
                (left, right) => Verdict::of(comparison.holds(&left, &right)),
            },
            Self::In(left, list) => is_in(&left.find(scope), list, scope),
            Self::Matches(operand, pattern) => match operand.find(scope) {
                Found::Unknown => Verdict::Maybe,
                found => Verdict::of(found.as_text().is_some_and(|text| pattern.is_match(text))),
            },
        }
    }
}

fn is_in(left: &Found<'_>, list: &Operand, scope: &Scope<'_>) -> Verdict {
    if matches!(left, Found::Unknown) {
        return Verdict::Maybe;
    }
    match list {
        Operand::List(elements) => Verdict::any(elements.iter().map(|element| match element.find(scope) {
            Found::Unknown => Verdict::Maybe,
            found => Verdict::of(equal(left, &found)),
        })),
        other => match other.find(scope) {
            Found::Unknown => Verdict::Maybe,
            found => Verdict::of(match found.as_value() {
                Some(Value::Array(elements)) => elements.iter().any(|element| equal(left, &Found::Is(element))),
                _ => false,
            }),
        },
    }
}

impl Operand {
    fn uses(&self) -> Uses {
        match self {
            Self::Undefined | Self::Literal(_) => Uses::NONE,
            Self::Select(selector) => selector.root.uses(),
            Self::List(elements) => elements.iter().map(Self::uses).fold(Uses::NONE, Uses::and),
        }
    }

    fn find<'s>(&'s self, scope: &Scope<'s>) -> Found<'s> {
        match self {
            Self::Undefined => Found::Undefined,
            Self::Literal(value) => Found::Is(value),
            Self::Select(selector) => scope.find(selector),
            Self::List(elements) => {
                let mut values = Vec::with_capacity(elements.len());
                for element in elements {
                    match element.find(scope) {
                        Found::Unknown => return Found::Unknown,
                        found => values.push(found.into_value().unwrap_or(Value::Null)),
                    }
                }
                Found::Made(Value::Array(values))
            }
        }
    }
}

impl Comparison {
    fn holds(self, left: &Found<'_>, right: &Found<'_>) -> bool {
        match self {
            Self::Equal => equal(left, right),
            Self::NotEqual => !equal(left, right),
            Self::Less => order(left, right) == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order(left, right), Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order(left, right) == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order(left, right), Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// What is not there, null, false, 0 and an empty text are not true; everything else is.
fn is_true(found: &Found<'_>) -> bool {
    if let Some(text) = found.as_text() {
        return !text.is_empty();
    }
    match found.as_value() {
        None | Some(Value::Null) => false,
        Some(Value::Bool(bool)) => *bool,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(_) => true,
    }
}

/// Equality. What is not there equals null and nothing else.
fn equal(left: &Found<'_>, right: &Found<'_>) -> bool {
    if let (Some(left), Some(right)) = (left.as_text(), right.as_text()) {
        return left == right;
    }
    if let Some(order) = numbers(left, right) {
        return order == Ordering::Equal;
    }
    match (left.as_value(), right.as_value()) {
        (Some(left), Some(right)) => left == right,
        (None, Some(Value::Null)) => left.as_text().is_none(),
        (Some(Value::Null), None) => right.as_text().is_none(),
        (None, None) => left.as_text().is_none() && right.as_text().is_none(),
        _ => false,
    }
}

/// The order of two texts or two numbers.
fn order(left: &Found<'_>, right: &Found<'_>) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (left.as_text(), right.as_text()) {
        return Some(left.cmp(right));
    }
    numbers(left, right)
}

/// The order of two numbers, one of which may be a text that is one: queries and headers have only texts.
fn numbers(left: &Found<'_>, right: &Found<'_>) -> Option<Ordering> {
    let is_number = |found: &Found<'_>| matches!(found.as_value(), Some(Value::Number(_)));
    if !is_number(left) && !is_number(right) {
        return None;
    }
    let (left, right) = (number(left)?, number(right)?);
    match (whole(&left), whole(&right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn number(found: &Found<'_>) -> Option<Number> {
    match found.as_value() {
        Some(Value::Number(number)) => Some(number.clone()),
        _ => found.as_text()?.parse().ok(),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
}
