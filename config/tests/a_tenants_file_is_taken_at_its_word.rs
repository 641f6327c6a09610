//! The tenants file: what it says is what holds, and what it cannot mean is an error with its place.

use conduit_config::Problem;
use conduit_config::secret::{TOKEN_BYTES_MAX, TOKENS_MAX};
use conduit_config::tenants::{NAME_BYTES_MAX, TENANTS_MAX, TenantsFile, compile};
use conduit_protocol::TenantId;
use conduit_protocol::limiter::Rate;
use std::collections::HashMap;

fn valid(text: &str) -> TenantsFile {
    compile("tenants.yaml", text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn problems(text: &str) -> Vec<Problem> {
    compile("tenants.yaml", text).expect_err(text)
}

#[test]
fn the_documented_form_means_what_it_says() {
    let file = valid(
        "\
tenants:
  acme:
    tokens: [acme-1, 'acme-2']
    limits: {rateLimit: 1000, burst: 50, maxConnections: 3, maxConcurrentUploads: 5, maxUploadSize: 2MiB}
  '7':
    tokens: []
    limits: {rateLimit: 60, maxUploadSize: 1_000}
  globex: ~
",
    );
    let tenant = |name: &str| file.tenants.get(TenantId::of_name(name)).expect(name).clone();
    let acme = tenant("acme");
    assert_eq!(acme.requests, Some(Rate { per_window: 1_000, window_ms: 60_000, burst: 50 }));
    assert_eq!((acme.connections_max, acme.uploads_max, acme.upload_bytes_max), (Some(3), Some(5), Some(2 << 20)));
    let seven = tenant("7");
    assert_eq!(seven.requests, Some(Rate { per_window: 60, window_ms: 60_000, burst: 60 }), "full at the start");
    assert_eq!((seven.connections_max, seven.upload_bytes_max), (None, Some(1_000)));
    assert_eq!(tenant("globex").requests, None, "what is not limited has no limit");
    let tokens: Vec<_> = file.tokens.iter().map(|(name, tokens)| (name.as_str(), tokens.len())).collect();
    assert_eq!(tokens, [("acme", 2), ("7", 0), ("globex", 0)]);
}

#[test]
fn a_file_without_tenants_has_none() {
    for text in ["", "tenants:", "tenants: {}", "# nothing yet\n"] {
        assert!(valid(text).tenants.by_id.is_empty(), "{text:?}");
    }
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let problems = problems(
        "\
tenants:
  acme:
    tokens: [one, 12, one]
    limit: {}
    limits: {rateLimt: 5, burst: 3}
  acme: {}
  globex:
    tokens: [one, 'a b']
    limits: {maxConnections: 0, rateLimit: -1, maxUploadSize: big, maxConcurrentUploads: 1.5}
  'a b': {}
  list: []
version: 1
",
    );
    let told: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    let at = |line, column| format!("tenants.yaml:{line}:{column}");
    let expected: Vec<String> = [
        (3, 19),
        (3, 23),
        (4, 5),
        (5, 14),
        (5, 27),
        (6, 3),
        (8, 14),
        (8, 19),
        (9, 30),
        (9, 44),
        (9, 63),
        (9, 90),
        (10, 3),
        (11, 9),
        (12, 1),
    ]
    .map(|(line, column)| at(line, column))
    .to_vec();
    assert_eq!(told, expected);
    let all: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    for part in [
        "did you mean `limits`?",
        "did you mean `rateLimit`?",
        "`acme` stands twice: the first is on line 2",
        "this token is that of `acme` on line 3 already",
        "`burst` means nothing without `rateLimit`",
        "leave it out for no limit",
        "put it into quotation marks",
        "     4 |     limit: {}",
    ] {
        assert!(all.contains(part), "{part:?} is missing from:\n{all}");
    }
}

#[test]
fn two_names_with_one_number_are_refused() {
    let mut names = HashMap::new();
    let pair = (0u32..).find_map(|at| {
        let name = format!("t{at}");
        let other = names.insert(TenantId::of_name(&name), name.clone())?;
        Some((other, name))
    });
    let (one, other) = pair.expect("numbers of 32 bits meet soon");
    let problems = problems(&format!("tenants: {{{one}: {{}}, {other}: {{}}}}"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.contains(&one) && problems[0].remedy.contains("rename"), "{}", problems[0]);
}

#[test]
fn limits_and_limits_plus_one() {
    let named = |bytes: usize| format!("tenants: {{{}: {{}}}}", "x".repeat(bytes));
    assert_eq!(valid(&named(NAME_BYTES_MAX)).tenants.by_id.len(), 1);
    assert_eq!(problems(&named(NAME_BYTES_MAX + 1)).len(), 1);

    let token = |bytes: usize| format!("tenants: {{a: {{tokens: [{}]}}}}", "x".repeat(bytes));
    valid(&token(TOKEN_BYTES_MAX));
    assert_eq!(problems(&token(TOKEN_BYTES_MAX + 1)).len(), 1);

    let tokens = |count: usize| {
        let tokens: String = (0..count).map(|at| format!("t{at}, ")).collect();
        format!("tenants: {{a: {{tokens: [{tokens}]}}}}")
    };
    valid(&tokens(TOKENS_MAX));
    assert_eq!(problems(&tokens(TOKENS_MAX + 1)).len(), 1);

    let tenants = |count: usize| -> String {
        "tenants:\n".to_owned() + &(0..count).map(|at| format!("  t{at}: ~\n")).collect::<String>()
    };
    assert_eq!(valid(&tenants(TENANTS_MAX)).tenants.by_id.len(), TENANTS_MAX);
    assert_eq!(problems(&tenants(TENANTS_MAX + 1)).len(), 1);

    let rate = |number: u64| format!("tenants: {{a: {{limits: {{rateLimit: {number}}}}}}}");
    valid(&rate(1));
    valid(&rate(1_000_000_000));
    assert_eq!((problems(&rate(0)).len(), problems(&rate(1_000_000_001)).len()), (1, 1));
}

#[test]
fn the_sample_is_valid_and_names_nobody() {
    let sample = include_str!("../tenants.yaml");
    assert!(valid(sample).tenants.by_id.is_empty());
    // Its example, with the marks taken away, is valid too.
    let example: String =
        sample.lines().filter_map(|line| line.strip_prefix("#   ")).map(|line| format!("  {line}\n")).collect();
    let example = valid(&format!("tenants:\n{example}"));
    assert_eq!(example.tenants.by_id.len(), 2);
}

#[test]
fn nobody_is_called_what_those_without_a_tenant_are_called() {
    let told = problems("tenants:\n  acme: {}\n  default: {}\n");
    assert_eq!(told.len(), 1);
    let text = told[0].to_string();
    assert!(text.contains("tenants.yaml:3:3") && text.contains("`default` is what figures and logs call"), "{text}");
    assert_eq!(valid("tenants:\n  Default: {}\n  default-1: {}\n").tenants.by_id.len(), 2);
}
