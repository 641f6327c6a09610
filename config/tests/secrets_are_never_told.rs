//! Tokens and keys, wherever they come from, are in no listing, no error and no debug text.

use conduit_config::{ConfigFile, Flags, Loader, document, resolve_with, tenants, tree};
use std::io;
use std::path::Path;

const HUSH: &str = "hush-hush-hush-hush-hush-hush-hush-hush";

fn told(texts: &[String]) {
    for text in texts {
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn a_listing_says_only_that_there_are_some() {
    let text = format!("access: {{tokens: [{HUSH}, b], controlToken: {HUSH}, jwt: {{secret: '{HUSH}'}}}}\n");
    let file = ConfigFile::read("conduit.yaml", &text);
    let flags = Flags::default().with("tokens", HUSH);
    let resolved = resolve_with(&flags, [], Some(&file), 1).expect("valid");
    told(&[
        format!("{file:?} {flags:?} {resolved:?}"),
        resolved.listing(),
        tree::yaml(&resolved, true),
        tree::json(&resolved).to_string(),
        tree::schema().to_string(),
        document::environment(),
    ]);
    assert!(resolved.listing().contains("1 token, not shown"));
}

#[test]
fn an_error_quotes_none() {
    for text in [
        "access: {tokens: [hush hush]}",
        "access: {tokens: {a: hush}}",
        "access: {tokens: [[hush]]}",
        "access: {token: [hush]}",
        "access: {controlTokens: hush}",
        "access: {jwt: {secret: hush}}",
        "access: hush",
        "access: {jwt: {jwksUri: 'https://me:hush@id.example.com/'}}",
        "acess: {tokens: [hush], controlToken: hush}",
        "access: {tokens: [hush",
        "access:\n  tokens:\n   - 'hush\n",
        "access: {tokens: [hush], tokens: [hush]}",
        "hush",
        "access: {tokens: *hush}",
        "access:\n  tokens:\n  - hush\n bad: hush",
    ] {
        let file = ConfigFile::read("conduit.yaml", text);
        let problems = resolve_with(&Flags::default(), [], Some(&file), 1).expect_err(text);
        told(&[problems.to_string(), format!("{problems:?}")]);
    }
    for text in [
        "tenants: {a: {tokens: [hush, hush]}}",
        "tenants: {a: {tokens: [hush]}, b: {tokens: [hush]}}",
        "tenants: {a: {tokens: hush}}",
        "tenants: {a: {tokens: ['hush hush']}}",
        "tenants: {a: {token: [hush]}}",
        "tenants: {a: {limits: {tokens: [hush]}}}",
        "tenants: {a: [hush]}",
        "tenants: [hush]",
        "tokens: [hush]",
        "tenants: {a: {tokens: [hush",
        "tenants:\n  a:\n    tokens: hush: x\n",
    ] {
        let problems = tenants::compile("tenants.yaml", text).expect_err(text);
        told(&[format!("{problems:?}"), problems.iter().map(ToString::to_string).collect()]);
    }
}

#[test]
fn variables_flags_and_the_tokens_file_are_no_exception() {
    let environment = [
        ("CONDUIT_TOKENS", "a,hush hush"),
        ("CONDUIT_CONTROL_TOKEN", "hush hush"),
        ("CONDUIT_JWT_SECRET", "hush"),
        ("CONDUIT_TOKENZ", "hush"),
        ("CONDUIT_OIDC_JWKS_URI", "https://me:hush@id.example.com/"),
        ("CONDUIT_TOKENS_FILE", "tokens"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let loader = Loader::new(Flags::default().with("control-token", "hush hush"), environment, 1);
    let read = |path: &Path| {
        if path == Path::new("tokens") {
            Ok("good\nhush hush\n".to_owned())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    let problems = loader.load(&read, 0).expect_err("much is wrong");
    assert_eq!(problems.0.len(), 6, "{problems}");
    told(&[problems.to_string(), format!("{problems:?} {loader:?}")]);
}
