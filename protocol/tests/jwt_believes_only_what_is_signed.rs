//! A token that is signed elsewhere is believed only as far as a key of ours has signed it, by the algorithm that the key is
//! for, in its time, by its issuer, for us, and for a tenant that exists.

mod edge_policy;
mod http_wire;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conduit_protocol::policy::{Access, AccessParts, Denial, Identity, JwtParts, Policy, Principal, Tenants};
use conduit_protocol::{Now, TenantId};
use serde_json::{Value, json};
use std::sync::LazyLock;

const SECRET: &str = "a secret that has more than 32 bytes in it";
const NOW: Now = Now { mono_ns: 0, unix_ms: 1_700_000_000_000 };
const NOW_S: u64 = NOW.unix_ms / 1_000;
const LEEWAY_S: u64 = 60;

/// Keys that sign, with their public halves in one set.
struct Signers {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    jwks: Value,
    /// The public key of RSA as bytes that everybody knows.
    rsa_public: Vec<u8>,
}

static SIGNERS: LazyLock<Signers> = LazyLock::new(|| {
    let rsa = rsa::KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let ec = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let ed = Ed25519KeyPair::generate().expect("a key");
    // RSAPublicKey in DER: a sequence of the modulus and of the exponent 65,537.
    let rsa_public = rsa.public_key().as_ref().to_vec();
    let modulus = &rsa_public[9..9 + 256];
    assert_eq!(rsa_public[rsa_public.len() - 5..], [2, 3, 1, 0, 1]);
    let point = ec.public_key().as_ref();
    let jwks = json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": base64(modulus), "e": "AQAB"},
        {"kty": "EC", "kid": "ec", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..])},
        {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": base64(ed.public_key().as_ref())},
        {"kty": "RSA", "kid": "for-encryption", "use": "enc", "n": base64(modulus), "e": "AQAB"},
        {"kty": "oct", "kid": "everybody-knows", "k": base64(b"a secret in a public place: 32 bytes")},
        {"kty": "of-the-future", "kid": "new", "z": "?"},
    ]});
    Signers { rsa, ec, ed, jwks, rsa_public }
});

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()))
}

fn by_secret(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", base64(tag.as_ref()))
}

fn by_rsa(header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let mut made = vec![0; SIGNERS.rsa.public_modulus_len()];
    SIGNERS.rsa.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut made).unwrap();
    format!("{message}.{}", base64(&made))
}

fn by_ec(header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let made = SIGNERS.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    format!("{message}.{}", base64(made.as_ref()))
}

fn by_ed(header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    format!("{message}.{}", base64(SIGNERS.ed.sign(message.as_bytes()).as_ref()))
}

fn claims() -> Value {
    json!({"exp": NOW_S + 600, "iss": "https://issuer", "aud": "conduit"})
}

/// The usual claims with some of them changed; null removes one.
fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn parts() -> AccessParts {
    let jwt = JwtParts {
        hs256_secret: Some(SECRET.to_owned()),
        jwks: Some(SIGNERS.jwks.to_string()),
        issuer: Some("https://issuer".to_owned()),
        audiences: vec!["conduit".to_owned(), "other".to_owned()],
        leeway_ms: LEEWAY_S * 1_000,
        ..JwtParts::default()
    };
    AccessParts { jwt: Some(jwt), ..AccessParts::default() }
}

fn tenants() -> Tenants {
    let tenant = edge_policy::tenant("acme");
    Tenants { by_id: [(TenantId::of_name("acme"), tenant)].into() }
}

fn look(token: &str, tenants: &Tenants, now: Now) -> Identity {
    let access = Access::new(&parts(), tenants).unwrap();
    access.identify(Some(token.as_bytes()), tenants, now)
}

fn denial(token: &str) -> Denial {
    match look(token, &Tenants::default(), NOW) {
        Identity::Denied(denial) => denial,
        other => panic!("{other:?}"),
    }
}

fn principal(token: &str) -> Principal {
    match look(token, &Tenants::default(), NOW) {
        Identity::Known(principal) => principal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_key_signs_by_its_own_algorithm() {
    let tokens = [
        by_secret(SECRET.as_bytes(), &json!({"alg": "HS256", "typ": "JWT"}), &claims()),
        by_secret(SECRET.as_bytes(), &json!({"alg": "HS256", "kid": "whatever"}), &claims()),
        by_rsa(&json!({"alg": "RS256", "kid": "rsa"}), &claims()),
        by_rsa(&json!({"alg": "RS256"}), &claims()),
        by_ec(&json!({"alg": "ES256", "kid": "ec"}), &claims()),
        by_ed(&json!({"alg": "EdDSA", "kid": "ed"}), &claims()),
    ];
    for token in tokens {
        let principal = principal(&token);
        assert_eq!((principal.tenant, principal.is_admin), (TenantId::DEFAULT, false));
        assert_eq!(principal.expires_unix_ms, (NOW_S + 600 + LEEWAY_S) * 1_000);
        assert!(principal.token.is_some());
    }
}

#[test]
fn nothing_is_believed_without_a_signature() {
    let unsigned = message(&json!({"alg": "none"}), &claims());
    for token in [format!("{unsigned}."), format!("{unsigned}.{}", base64(b"x"))] {
        assert_eq!(denial(&token), Denial::Forged, "{token}");
    }
    for none in ["None", "NONE", "nOnE", "", "HS384", "HS512", "RS1", "hs256"] {
        let token = by_secret(SECRET.as_bytes(), &json!({"alg": none}), &claims());
        assert_eq!(denial(&token), Denial::Forged, "{none}");
    }
    let empty = message(&json!({"alg": "HS256"}), &claims());
    assert_eq!(denial(&format!("{empty}.")), Denial::Forged);
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let pem =
        format!("-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n", base64(&SIGNERS.rsa_public));
    let modulus = SIGNERS.rsa_public[9..9 + 256].to_vec();
    for known in
        [SIGNERS.rsa_public.clone(), pem.into_bytes(), modulus, b"a secret in a public place: 32 bytes".to_vec()]
    {
        for kid in ["rsa", "everybody-knows", "x"] {
            let token = by_secret(&known, &json!({"alg": "HS256", "kid": kid}), &claims());
            assert_eq!(denial(&token), Denial::Forged);
        }
    }
}

#[test]
fn a_key_signs_by_no_other_algorithm_and_under_no_other_name() {
    assert_eq!(denial(&by_rsa(&json!({"alg": "RS512", "kid": "rsa"}), &claims())), Denial::Forged);
    assert_eq!(denial(&by_rsa(&json!({"alg": "PS256", "kid": "rsa"}), &claims())), Denial::Forged);
    assert_eq!(denial(&by_rsa(&json!({"alg": "RS256", "kid": "ec"}), &claims())), Denial::Forged);
    assert_eq!(denial(&by_rsa(&json!({"alg": "ES256", "kid": "ec"}), &claims())), Denial::Forged);
    assert_eq!(denial(&by_rsa(&json!({"alg": "HS256"}), &claims())), Denial::Forged);
    assert_eq!(denial(&by_ec(&json!({"alg": "RS256", "kid": "rsa"}), &claims())), Denial::Forged);
    // A key of the set that is for something else does not exist here; nor does one that the set does not have.
    for unknown in ["for-encryption", "new", "no-such-key"] {
        assert_eq!(denial(&by_rsa(&json!({"alg": "RS256", "kid": unknown}), &claims())), Denial::UnknownKey);
    }
}

#[test]
fn what_was_signed_cannot_be_changed() {
    let token = by_rsa(&json!({"alg": "RS256", "kid": "rsa"}), &claims_with(&json!({"tenant": "acme"})));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let other = base64(claims_with(&json!({"tenant": "globex"})).to_string().as_bytes());
    assert_eq!(denial(&format!("{header}.{other}.{signature}")), Denial::Forged);
    for at in (0..token.len()).filter(|at| token.as_bytes()[*at] != b'.') {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character of base64 has bits that mean nothing; a strict reader refuses them too.
        assert!(matches!(look(&changed, &Tenants::default(), NOW), Identity::Denied(_)), "{at}");
    }
    for cut in 0..token.len() {
        assert!(matches!(look(&token[..cut], &Tenants::default(), NOW), Identity::Denied(_)), "{cut}");
    }
}

#[test]
fn a_token_is_believed_in_its_time_and_as_much_longer_as_clocks_differ() {
    let token = |changes: Value| by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims_with(&changes));
    let ends = token(json!({"exp": NOW_S}));
    let at = |token: &str, unix_ms| look(token, &Tenants::default(), Now { mono_ns: 0, unix_ms });
    let last = (NOW_S + LEEWAY_S) * 1_000 - 1;
    assert!(matches!(at(&ends, last), Identity::Known(_)));
    assert_eq!(at(&ends, last + 1), Identity::Denied(Denial::Expired));
    let begins = token(json!({"nbf": NOW_S}));
    let first = (NOW_S - LEEWAY_S) * 1_000;
    assert!(matches!(at(&begins, first), Identity::Known(_)));
    assert_eq!(at(&begins, first - 1), Identity::Denied(Denial::NotYet));
    // One that never ends is no token for us.
    assert_eq!(denial(&token(json!({"exp": null}))), Denial::Endless);
    assert_eq!(denial(&token(json!({"exp": -1}))), Denial::Expired);
    assert_eq!(denial(&token(json!({"exp": "tomorrow"}))), Denial::Malformed);
    assert_eq!(principal(&token(json!({"exp": 1e300}))).expires_unix_ms, u64::MAX);
    let half = principal(&token(json!({"exp": NOW_S as f64 + 0.5})));
    assert_eq!(half.expires_unix_ms, (NOW_S + LEEWAY_S) * 1_000 + 500);
}

#[test]
fn a_token_is_by_our_issuer_and_for_us() {
    let token = |changes: Value| by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims_with(&changes));
    for issuer in [json!(null), json!("https://issuer/"), json!("https://elsewhere")] {
        assert_eq!(denial(&token(json!({"iss": issuer}))), Denial::Issuer);
    }
    for audience in [json!(null), json!("elsewhere"), json!([]), json!(["elsewhere"]), json!("conduit ")] {
        assert_eq!(denial(&token(json!({"aud": audience}))), Denial::Audience);
    }
    for audience in [json!("other"), json!(["elsewhere", "conduit"])] {
        principal(&token(json!({"aud": audience})));
    }
}

#[test]
fn a_token_for_somebody_is_not_for_a_server_without_a_name() {
    let mut parts = parts();
    let jwt = parts.jwt.as_mut().unwrap();
    (jwt.audiences, jwt.issuer) = (Vec::new(), None);
    let tenants = Tenants::default();
    let access = Access::new(&parts, &tenants).unwrap();
    let look = |changes: Value| {
        let token = by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims_with(&changes));
        access.identify(Some(token.as_bytes()), &tenants, NOW)
    };
    assert_eq!(look(json!({})), Identity::Denied(Denial::Audience));
    assert!(matches!(look(json!({"aud": null})), Identity::Known(_)));
    assert!(matches!(look(json!({"aud": null, "iss": "anybody"})), Identity::Known(_)));
}

#[test]
fn where_there_are_tenants_a_token_names_one() {
    let tenants = tenants();
    let look = |changes: Value| {
        let token = by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims_with(&changes));
        look(&token, &tenants, NOW)
    };
    let Identity::Known(acme) = look(json!({"tenant": "acme"})) else { panic!("a tenant") };
    assert_eq!(acme.tenant, TenantId::of_name("acme"));
    for tenant in [json!(null), json!(""), json!("globex"), json!("Acme"), json!(["acme"]), json!(7)] {
        assert_eq!(look(json!({"tenant": tenant})), Identity::Denied(Denial::Tenant));
    }
}

#[test]
fn garbage_in_three_parts_is_no_token() {
    let ok = base64(br#"{"alg":"HS256"}"#);
    let header_of = |header: &Value| by_secret(SECRET.as_bytes(), header, &claims());
    for token in [
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{ok}..x"),
        format!("{ok}.{}.x", base64(b"[]")),
        format!("{ok}.{}.x", base64(b"null")),
        format!("{ok}.{}=.x", base64(b"{}")),
        format!("{}.{}.x", base64(b"\xff"), base64(b"{}")),
        header_of(&json!({"alg": "HS256", "crit": ["exp"]})),
        header_of(&json!({"alg": 7})),
        header_of(&json!({"kid": "x"})),
        format!("{ok}.{}.x", "A".repeat(9_000)),
    ] {
        assert_eq!(denial(&token), Denial::Malformed, "{token}");
    }
    for token in ["", "a", "a.b", "a.b.c.d"] {
        assert_eq!(denial(token), Denial::Unknown, "{token}");
    }
}

#[test]
fn keys_can_be_exchanged_and_a_set_without_any_is_refused() {
    let mut parts = parts();
    parts.jwt.as_mut().unwrap().jwks = None;
    let tenants = Tenants::default();
    let before = Access::new(&parts, &tenants).unwrap();
    assert!(!before.is_open(), "keys that have not been fetched yet open nothing");
    let token = by_rsa(&json!({"alg": "RS256", "kid": "rsa"}), &claims());
    assert_eq!(before.identify(Some(token.as_bytes()), &tenants, NOW), Identity::Denied(Denial::UnknownKey));
    let after = before.with_jwks(&SIGNERS.jwks.to_string()).unwrap();
    assert!(matches!(after.identify(Some(token.as_bytes()), &tenants, NOW), Identity::Known(_)));
    let secret = by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims());
    assert!(matches!(after.identify(Some(secret.as_bytes()), &tenants, NOW), Identity::Known(_)));

    let only_useless = json!({"keys": [SIGNERS.jwks["keys"][3], SIGNERS.jwks["keys"][4], SIGNERS.jwks["keys"][5]]});
    let too_many = json!({"keys": vec![SIGNERS.jwks["keys"][0].clone(); 65]});
    let long = format!("{}{}", SIGNERS.jwks, " ".repeat(256 * 1024));
    for wrong in
        ["", "[]", "{}", "{\"keys\":7}", r#"{"keys":[]}"#, &only_useless.to_string(), &too_many.to_string(), &long]
    {
        assert!(after.with_jwks(wrong).is_err(), "{wrong:.100}");
    }
    let most = json!({"keys": vec![SIGNERS.jwks["keys"][0].clone(); 64]});
    assert!(after.with_jwks(&most.to_string()).is_ok());
}

#[test]
fn whoever_was_let_in_stays_as_long_as_the_names_of_the_token_are_right() {
    let tenants = Tenants::default();
    let under = |issuer: Option<&str>, audiences: &[&str]| {
        let mut parts = parts();
        let jwt = parts.jwt.as_mut().unwrap();
        jwt.issuer = issuer.map(str::to_owned);
        jwt.audiences = audiences.iter().map(|name| (*name).to_owned()).collect();
        Access::new(&parts, &tenants).unwrap()
    };
    let ours = (Some("https://issuer"), ["conduit", "other"]);
    let for_both = principal(&by_secret(
        SECRET.as_bytes(),
        &json!({"alg": "HS256"}),
        &claims_with(&json!({"aud": ["stranger", "other", "conduit"]})),
    ));
    let for_one = principal(&by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims()));
    for (access, one, both) in [
        (under(ours.0, &ours.1), true, true),
        (under(None, &ours.1), true, true),
        (under(Some("https://other"), &ours.1), false, false),
        (under(ours.0, &["conduit"]), true, false),
        (under(ours.0, &["conduit", "other", "third"]), true, true),
        (under(ours.0, &["third"]), false, false),
        (under(ours.0, &[]), false, false),
    ] {
        assert_eq!((access.keeps(&for_one, &tenants), access.keeps(&for_both, &tenants)), (one, both), "{access:?}");
    }

    // A token that names nobody is taken only where nobody has to be named.
    let anonymous = claims_with(&json!({"aud": null, "iss": null}));
    let token = by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &anonymous);
    let Identity::Known(anonymous) = under(None, &[]).identify(Some(token.as_bytes()), &tenants, NOW) else {
        panic!("nobody has to be named")
    };
    assert!(under(None, &[]).keeps(&anonymous, &tenants));
    assert!(!under(None, &["conduit"]).keeps(&anonymous, &tenants));
    assert!(!under(ours.0, &[]).keeps(&anonymous, &tenants));
}

#[test]
fn a_secret_that_can_be_guessed_is_refused_and_not_shown() {
    let mut parts = parts();
    for (secret, is_taken) in [("x".repeat(31), false), ("x".repeat(32), true)] {
        parts.jwt.as_mut().unwrap().hs256_secret = Some(secret);
        let made = Access::new(&parts, &Tenants::default());
        assert_eq!(made.is_ok(), is_taken);
        assert!(!format!("{made:?} {parts:?}").contains("xxx"));
    }
}

#[test]
fn a_head_that_repeats_is_believed_no_longer_than_its_token() {
    let tenants = Tenants::default();
    let access = Access::new(&parts(), &tenants).unwrap();
    let policy = Policy { access, ..Policy::default() };
    let mut peer = http_wire::Peer { now: NOW, ..http_wire::Peer::under(policy) };
    let token = by_secret(SECRET.as_bytes(), &json!({"alg": "HS256"}), &claims());
    let one = http_wire::post("/v1/enqueue", &edge_policy::bearer(&token), r#"{"to":"s","envelope":{}}"#);
    let mut publish = |unix_ms: u64| {
        peer.now.unix_ms = unix_ms;
        let statuses: Vec<u16> = (0..4).map(|_| peer.ask_one(&one).status).collect();
        statuses
    };
    assert_eq!(publish(NOW.unix_ms), [200; 4]);
    let ends = (NOW_S + 600 + LEEWAY_S) * 1_000;
    assert_eq!(publish(ends - 1), [200; 4]);
    assert_eq!(publish(ends), [401; 4]);
}
