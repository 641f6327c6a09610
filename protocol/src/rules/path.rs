//! Paths as rules write them: a literal, a glob, `{param}` for a segment, or a pattern between slashes.

use super::glob::Glob;
use super::limits;
use super::pattern::Pattern;
use super::syntax::SyntaxError;
use crate::http::percent_decode;
use std::borrow::Cow;

/// The path of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct PathPattern {
    text: Box<str>,
    form: Form,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    /// Exactly this.
    Literal,
    /// With stars, which stand for slashes too.
    Glob(Glob),
    /// Every parameter fills a segment.
    Segments(Box<[Segment]>),
    /// Anything else: searched for anywhere in the path unless it is anchored.
    Pattern(Pattern),
}

#[derive(Debug, Clone, PartialEq)]
enum Segment {
    Literal(Box<str>),
    Param(Box<str>),
}

impl PathPattern {
    /// Reads the path of a rule.
    ///
    /// # Errors
    /// What cannot be read, and where.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(SyntaxError::new(0, format!("a path has at most {} bytes", limits::TEXT_BYTES_MAX)));
        }
        if !text.starts_with('/') && !text.starts_with('*') {
            return Err(SyntaxError::new(0, "a path begins with `/` or `*`"));
        }
        let form = if let Some(inner) = between_slashes(text) {
            Form::Pattern(Pattern::parse(inner).map_err(|error| error.behind(1))?)
        } else if text.contains(['{', '}']) {
            params(text)?
        } else if text.contains('*') {
            Form::Glob(Glob::new(text))
        } else {
            Form::Literal
        };
        Ok(Self { text: text.into(), form })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The path when there is exactly one.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        matches!(self.form, Form::Literal).then_some(&*self.text)
    }

    /// How it is matched, in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.form {
            Form::Literal => "literal",
            Form::Glob(_) => "glob",
            Form::Segments(_) => "parameters",
            Form::Pattern(_) => "pattern",
        }
    }

    /// Whether `path` is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match &self.form {
            Form::Literal => *self.text == *path,
            Form::Glob(glob) => glob.matches(path.as_bytes()),
            Form::Segments(segments) => match_segments(segments, path, &mut |_, _| {}),
            Form::Pattern(pattern) => pattern.is_match(path),
        }
    }

    /// The value of a parameter in a path that matches.
    pub(super) fn param<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        match &self.form {
            Form::Literal | Form::Glob(_) => None,
            Form::Segments(segments) => {
                let mut found = None;
                match_segments(segments, path, &mut |known, value| {
                    if known == name {
                        found = Some(value);
                    }
                })
                .then_some(found)
                .flatten()
            }
            Form::Pattern(pattern) => pattern.named(name, path),
        }
    }

    /// The names of its parameters.
    #[must_use]
    pub fn params(&self) -> Vec<&str> {
        match &self.form {
            Form::Literal | Form::Glob(_) => Vec::new(),
            Form::Segments(segments) => segments
                .iter()
                .filter_map(|segment| match segment {
                    Segment::Param(name) => Some(&**name),
                    Segment::Literal(_) => None,
                })
                .collect(),
            Form::Pattern(pattern) => pattern.names().collect(),
        }
    }

    /// Whether whatever `other` means is meant by this one too. `false` may also mean that it is not known.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if let Some(path) = other.literal() {
            return self.matches(path);
        }
        match (&self.form, &other.form) {
            (Form::Glob(glob), Form::Glob(narrow)) => glob.covers(narrow),
            // As a glob, `{param}` means less than a star.
            (Form::Glob(glob), Form::Segments(segments)) => glob.covers(&Glob::new(&starred(segments))),
            (Form::Segments(ours), Form::Segments(theirs)) => {
                ours.len() == theirs.len()
                    && ours.iter().zip(theirs).all(|pair| match pair {
                        (Segment::Literal(ours), Segment::Literal(theirs)) => ours == theirs,
                        (Segment::Literal(_), Segment::Param(_)) => false,
                        (Segment::Param(_), Segment::Literal(theirs)) => !theirs.is_empty(),
                        (Segment::Param(_), Segment::Param(_)) => true,
                    })
            }
            _ => self.text == other.text,
        }
    }

    /// Texts of which every path that it means has all.
    pub(super) fn fragments(&self) -> Vec<Vec<u8>> {
        match &self.form {
            Form::Literal => vec![self.text.as_bytes().to_vec()],
            Form::Glob(glob) => glob.fragments().map(<[u8]>::to_vec).collect(),
            Form::Segments(segments) => {
                let starred = starred(segments);
                Glob::new(&starred).fragments().map(<[u8]>::to_vec).collect()
            }
            Form::Pattern(pattern) => pattern.fragments(),
        }
    }
}

/// `/pattern/`: between slashes, with something that only a pattern has. `/v1/live/` is a literal, and `/a/*/` a glob.
fn between_slashes(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('/')?.strip_suffix('/')?;
    inner.contains(['^', '$', '\\', '[', '(', '+', '?', '|']).then_some(inner)
}

/// A path with parameters.
fn params(text: &str) -> Result<Form, SyntaxError> {
    let mut names: Vec<&str> = Vec::new();
    // The same as a pattern, in case a parameter does not fill its segment.
    let mut pattern = String::from("^");
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        let at = text.len() - rest.len() + open;
        let close = rest[open..].strip_prefix('{').and_then(|inner| inner.find(['{', '}']));
        let Some(close) = close.filter(|close| rest[open + 1 + close..].starts_with('}')) else {
            return Err(SyntaxError::new(at, "`{` and `}` stand around the name of a parameter: `/users/{id}`"));
        };
        let name = &rest[open + 1..open + 1 + close];
        if !is_name(name) {
            return Err(SyntaxError::new(
                at,
                "the name of a parameter has letters, digits and `_`, and begins with a letter",
            ));
        }
        if names.contains(&name) {
            return Err(SyntaxError::new(at, format!("the parameter `{name}` appears twice")));
        }
        names.push(name);
        pattern.push_str(&escaped(&rest[..open]));
        pattern.push_str(&format!("(?P<{name}>[^/]+)"));
        rest = &rest[open + close + 2..];
    }
    pattern.push_str(&escaped(rest));
    pattern.push('$');
    let segments: Option<Vec<Segment>> = text.split('/').map(segment).collect();
    match segments.filter(|_| !text.contains('*')) {
        Some(segments) => Ok(Form::Segments(segments.into())),
        None => Pattern::parse(&pattern).map(Form::Pattern).map_err(|error| SyntaxError::new(0, error.message)),
    }
}

fn segment(text: &str) -> Option<Segment> {
    match text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
        Some(name) if !name.contains(['{', '}']) => Some(Segment::Param(name.into())),
        None if !text.contains(['{', '}']) => Some(Segment::Literal(text.into())),
        _ => None,
    }
}

/// A part of a glob as a pattern.
fn escaped(text: &str) -> String {
    text.split('*').map(regex::escape).collect::<Vec<_>>().join(".*")
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A star for each parameter.
fn starred(segments: &[Segment]) -> String {
    let texts = segments.iter().map(|segment| match segment {
        Segment::Literal(text) => text,
        Segment::Param(_) => "*",
    });
    texts.collect::<Vec<_>>().join("/")
}

/// Whether the path has these segments, a parameter standing for one that is not empty. Tells every parameter on the way.
fn match_segments<'p>(segments: &[Segment], path: &'p str, visit: &mut dyn FnMut(&str, &'p str)) -> bool {
    let mut rest = path;
    for (nth, segment) in segments.iter().enumerate() {
        let is_last = nth + 1 == segments.len();
        let (part, behind) = match memchr::memchr(b'/', rest.as_bytes()) {
            Some(at) if !is_last => (&rest[..at], &rest[at + 1..]),
            None if is_last => (rest, ""),
            _ => return false,
        };
        match segment {
            Segment::Literal(text) if **text == *part => {}
            Segment::Param(name) if !part.is_empty() => visit(name, part),
            _ => return false,
        }
        rest = behind;
    }
    true
}

/// A path as rules compare it: escapes are decoded, since they are equivalent to what they stand for (RFC 3986, section
/// 6.2.2.2), unless that would make a slash of an escaped one, which separates nothing.
#[derive(Debug, Clone)]
pub(super) struct MatchedPath<'h> {
    pub(super) text: Cow<'h, str>,
    /// Parameters taken from it still have their escapes.
    is_raw: bool,
}

impl<'h> MatchedPath<'h> {
    #[inline]
    pub(super) fn of(path: &'h str) -> Self {
        if memchr::memchr(b'%', path.as_bytes()).is_none() {
            return Self { text: Cow::Borrowed(path), is_raw: false };
        }
        let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
        match percent_decode(path, false) {
            Ok(decoded) if slashes(&decoded) == slashes(path) => Self { text: decoded, is_raw: false },
            _ => Self { text: Cow::Borrowed(path), is_raw: true },
        }
    }

    /// A parameter of the first pattern that has it and matches.
    pub(super) fn param(&self, name: &str, patterns: &[PathPattern]) -> Option<Cow<'_, str>> {
        let value = patterns.iter().find_map(|pattern| pattern.param(name, &self.text))?;
        if self.is_raw { percent_decode(value, false).ok() } else { Some(Cow::Borrowed(value)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn the_four_forms_mean_what_they_say() {
        for (text, kind, yes, no) in [
            ("/status", "literal", &["/status"][..], &["/status/", "/statusx", "/"][..]),
            ("/v1/live/", "literal", &["/v1/live/"], &["/v1/live"]),
            ("/hooks/*", "glob", &["/hooks/", "/hooks/a/b"], &["/hooks", "/hook/a"]),
            ("/a.b", "literal", &["/a.b"], &["/axb"]),
            ("/users/{id}", "parameters", &["/users/7", "/users/a.b"], &["/users/", "/users", "/users/7/x"]),
            ("/u/{a}/x/{b}", "parameters", &["/u/1/x/2"], &["/u/1/y/2", "/u//x/2", "/u/1/x/"]),
            ("/f/{name}.json", "pattern", &["/f/a.json", "/f/a.json.json"], &["/f/.json", "/f/axjson", "/f/a/b.json"]),
            ("/t/{t}/*", "pattern", &["/t/a/", "/t/a/b/c"], &["/t//b"]),
            ("/^\\/n\\/(?P<n>[0-9]+)$/", "pattern", &["/n/12"], &["/n/x", "/n/1/"]),
        ] {
            let parsed = pattern(text);
            assert_eq!(parsed.kind(), kind, "{text}");
            for path in yes {
                assert!(parsed.matches(path), "{text} {path}");
            }
            for path in no {
                assert!(!parsed.matches(path), "{text} {path}");
            }
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        assert_eq!(pattern("/u/{a}/x/{b}").param("b", "/u/1/x/2"), Some("2"));
        assert_eq!(pattern("/f/{name}.json").param("name", "/f/a.json"), Some("a"));
        assert_eq!(pattern("/^\\/n\\/(?P<n>[0-9]+)$/").param("n", "/n/12"), Some("12"));
        assert_eq!(pattern("/u/{a}").param("b", "/u/1"), None);
    }

    #[test]
    fn a_bad_path_is_told() {
        for bad in ["", "status", "/u/{", "/u/}", "/u/{}", "/u/{1a}", "/u/{a}{a}", "/u/{a{b}}", "/[/", "/(x/"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escapes_are_what_they_stand_for_and_an_escaped_slash_separates_nothing() {
        assert_eq!(MatchedPath::of("/%73tatus").text, "/status");
        let raw = MatchedPath::of("/files/a%2Fb");
        assert_eq!(raw.text, "/files/a%2Fb");
        assert_eq!(raw.param("name", &[pattern("/files/{name}")]).as_deref(), Some("a/b"));
        let once = MatchedPath::of("/files/a%252Fb");
        assert_eq!(once.param("name", &[pattern("/files/{name}")]).as_deref(), Some("a%2Fb"));
    }

    #[test]
    fn a_pattern_covers_what_it_surely_includes() {
        for (wide, narrow, covers) in [
            ("/u/{a}", "/u/7", true),
            ("/u/{a}", "/u/{b}", true),
            ("/u/*", "/u/{b}", true),
            ("/u/{a}", "/u/*", false),
            ("/u/7", "/u/{a}", false),
            ("/^\\/u/", "/u/7", true),
            ("/^\\/u/", "/^\\/u/", true),
            ("/u/{a}/x", "/u/{a}", false),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }
}
