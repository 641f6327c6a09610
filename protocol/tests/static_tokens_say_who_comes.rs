//! Tokens that are written in the configuration let in, each as its tenant, and nothing else does.

use conduit_protocol::policy::access::{TOKEN_BYTES_MAX, TOKENS_MAX};
use conduit_protocol::policy::{
    Access, AccessError, AccessParts, Basis, Denial, Identity, JwtParts, Need, Principal, Refused, Scope, Tenant,
    Tenants,
};
use conduit_protocol::{Now, TenantId};

const NOW: Now = Now { mono_ns: 0, unix_ms: 1_700_000_000_000 };

fn tenants(names: &[&str]) -> Tenants {
    let tenant = |name: &str| Tenant {
        name: name.to_owned(),
        requests: None,
        connections_max: None,
        uploads_max: None,
        upload_bytes_max: None,
    };
    Tenants { by_id: names.iter().map(|name| (TenantId::of_name(name), tenant(name))).collect() }
}

fn parts(tokens: &[&str], tenant_tokens: &[(&str, &[&str])], control_token: Option<&str>) -> AccessParts {
    let own = |tokens: &[&str]| tokens.iter().map(|token| (*token).to_owned()).collect();
    AccessParts {
        tokens: own(tokens),
        tenant_tokens: tenant_tokens.iter().map(|(name, tokens)| ((*name).to_owned(), own(tokens))).collect(),
        control_token: control_token.map(str::to_owned),
        ..AccessParts::default()
    }
}

fn identify(access: &Access, tenants: &Tenants, token: &str) -> Identity {
    access.identify(Some(token.as_bytes()), tenants, NOW)
}

fn tenant_of(access: &Access, tenants: &Tenants, token: &str) -> TenantId {
    match identify(access, tenants, token) {
        Identity::Known(principal) => principal.tenant,
        other => panic!("{token}: {other:?}"),
    }
}

#[test]
fn without_tokens_everybody_is_anybody() {
    let access = Access::default();
    assert!(access.is_open() && access.is_absent());
    let identity = access.identify(Some(b"whatever"), &Tenants::default(), NOW);
    assert_eq!(identity, Identity::Anonymous);
    for need in [Need::Token, Need::Admin] {
        assert_eq!(access.admit(identity, need), Ok(Principal::ANYBODY));
    }
    let unasked = Principal { basis: Basis::Unasked, ..Principal::ANYBODY };
    assert_eq!(access.admit(identity, Need::Nothing), Ok(unasked));
}

#[test]
fn a_token_belongs_to_the_tenant_that_lists_it_or_names_it_or_to_nobody() {
    let tenants = tenants(&["acme", "globex", "two-words", "ab"]);
    let listed: &[(&str, &[&str])] = &[("acme", &["secret-of-acme", "globex-7"]), ("globex", &["g"])];
    let access = Access::new(
        &parts(&["plain", "acme-1", "two-words-x", "ab-1", "initech-1", "acme", "globex-7", "g"], listed, None),
        &tenants,
    )
    .unwrap();
    for (token, tenant) in [
        ("secret-of-acme", "acme"),
        // A list says more than a name does.
        ("globex-7", "acme"),
        ("g", "globex"),
        ("acme-1", "acme"),
        ("two-words-x", "two-words"),
    ] {
        assert_eq!(tenant_of(&access, &tenants, token), TenantId::of_name(tenant), "{token}");
    }
    for token in ["plain", "ab-1", "initech-1", "acme"] {
        assert_eq!(tenant_of(&access, &tenants, token), TenantId::DEFAULT, "{token}");
    }
    for token in ["", "Plain", "plain ", "plai", "plainn", "acme-", "acme-2", "globex", "x.y.z", "\u{fc}"] {
        assert_eq!(identify(&access, &tenants, token), Identity::Denied(Denial::Unknown), "{token}");
    }
}

#[test]
fn tenants_tokens_let_in_without_being_listed_twice() {
    let tenants = tenants(&["acme"]);
    let access = Access::new(&parts(&[], &[("acme", &["t"])], None), &tenants).unwrap();
    assert!(!access.is_open());
    let known = identify(&access, &tenants, "t");
    let principal = access.admit(known, Need::Token).unwrap();
    assert_eq!(principal.scope(), Scope::Tenant(TenantId::of_name("acme")));
    assert_eq!(access.admit(known, Need::Admin), Err(Refused::NotAdmin));
    let nobody = access.identify(None, &tenants, NOW);
    assert_eq!(access.admit(nobody, Need::Token), Err(Refused::Missing));
    assert_eq!(access.admit(nobody, Need::Admin), Err(Refused::Missing));
    assert!(access.admit(nobody, Need::Nothing).is_ok());
    let wrong = identify(&access, &tenants, "u");
    assert_eq!(access.admit(wrong, Need::Token), Err(Refused::Denied(Denial::Unknown)));
    assert!(access.admit(wrong, Need::Nothing).is_ok());
}

#[test]
fn the_control_token_takes_the_right_to_change_the_server_from_all_others() {
    let tenants = tenants(&["acme"]);
    let without = Access::new(&parts(&["a", "acme-1"], &[], None), &tenants).unwrap();
    assert!(without.admit(identify(&without, &tenants, "a"), Need::Admin).is_ok());
    assert_eq!(without.admit(identify(&without, &tenants, "acme-1"), Need::Admin), Err(Refused::NotAdmin));

    let with = Access::new(&parts(&["a"], &[], Some("control")), &tenants).unwrap();
    let control = identify(&with, &tenants, "control");
    assert_eq!(with.admit(control, Need::Admin).unwrap().scope(), Scope::Server);
    assert_eq!(with.admit(control, Need::Token).unwrap().tenant, TenantId::DEFAULT);
    assert_eq!(with.admit(identify(&with, &tenants, "a"), Need::Admin), Err(Refused::NotAdmin));

    // Alone, it protects what it is for and nothing else.
    let alone = Access::new(&parts(&[], &[], Some("control")), &tenants).unwrap();
    assert!(alone.is_open() && !alone.is_absent());
    let stranger = identify(&alone, &tenants, "x");
    assert_eq!(stranger, Identity::Anonymous);
    assert!(alone.admit(stranger, Need::Token).is_ok());
    assert_eq!(alone.admit(stranger, Need::Admin), Err(Refused::Missing));
    assert!(alone.admit(identify(&alone, &tenants, "control"), Need::Admin).is_ok());
}

#[test]
fn ten_thousand_tokens_are_told_apart_and_one_more_is_refused() {
    let many: Vec<String> = (0..TOKENS_MAX).map(|number| format!("token-{number}")).collect();
    let all = AccessParts { tokens: many.clone(), ..AccessParts::default() };
    let tenants = Tenants::default();
    let access = Access::new(&all, &tenants).unwrap();
    for token in &many {
        assert!(matches!(identify(&access, &tenants, token), Identity::Known(_)));
        assert_eq!(identify(&access, &tenants, &token[1..]), Identity::Denied(Denial::Unknown));
        assert_eq!(identify(&access, &tenants, &format!("{token}x")), Identity::Denied(Denial::Unknown));
    }
    let mut more = all;
    more.tokens.push("one-more".to_owned());
    assert!(Access::new(&more, &tenants).unwrap_err().to_string().contains("10000"));
}

#[test]
fn what_cannot_be_a_token_is_refused_by_its_place_and_never_shown() {
    let tenants = tenants(&["acme", "globex"]);
    let refusal = |parts: AccessParts| -> AccessError { Access::new(&parts, &tenants).unwrap_err() };
    let long = "s".repeat(TOKEN_BYTES_MAX + 1);
    assert!(Access::new(&parts(&[&long[1..]], &[], None), &tenants).is_ok());
    for (parts, says) in [
        (parts(&["fine", ""], &[], None), "token 2 of the list"),
        (parts(&[&long], &[], None), "token 1 of the list"),
        (parts(&["sec ret"], &[], None), "cannot be sent"),
        (parts(&[], &[("acme", &["fine", "sec\u{e9}ret"])], None), "token 2 of tenant `acme`"),
        (parts(&[], &[("initech", &["secret"])], None), "no tenant `initech`"),
        (parts(&[], &[("acme", &["secret"]), ("globex", &["secret"])], None), "two tenants"),
        (parts(&["secret"], &[], Some("secret")), "control token"),
        (parts(&[], &[("acme", &["secret"])], Some("secret")), "control token"),
        (parts(&[], &[], Some("")), "the control token"),
    ] {
        let error = refusal(parts).to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let secret = "s3cr3t-0123456789-0123456789-0123456789";
    let mut parts = parts(&[secret], &[("acme", &["s3cr3t-of-acme"])], Some("s3cr3t-control"));
    parts.jwt = Some(JwtParts { hs256_secret: Some(secret.to_owned()), ..JwtParts::default() });
    let tenants = tenants(&["acme"]);
    let access = Access::new(&parts, &tenants).unwrap();
    let principal = identify(&access, &tenants, secret);
    let printed = format!("{parts:?} {access:#?} {principal:?}");
    assert!(!printed.contains("s3cr3t") && !printed.contains("115, 51, 99"), "{printed}");
}

#[test]
fn tags_tell_tokens_apart_and_are_never_none() {
    let tenants = Tenants::default();
    let access = Access::new(&parts(&["a", "b"], &[], None), &tenants).unwrap();
    let tag = |token| match identify(&access, &tenants, token) {
        Identity::Known(principal) => principal.token,
        other => panic!("{other:?}"),
    };
    assert_eq!(tag("a"), tag("a"));
    assert_ne!(tag("a"), tag("b"));
    assert!(tag("a").is_some());
}
